use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, date_time_ymd};

use super::*;
use crate::chain::{Chain, ChainError, KeyType};
use crate::config::{Domain, Environment, Sharing};
use crate::name::DnsName;
use crate::store::record::{Failures, GenerationRecord, Record, Renewal};
use crate::time::Window;

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

fn domain() -> Domain {
    Domain {
        name: name("a.test"),
        aliases: vec![name("www.a.test")],
        issuer: "letsencrypt".to_owned(),
        profile: None,
        key_type: KeyType::P256,
        webroot: PathBuf::new(),
        nginx: None,
        ports: vec![443],
        connect: None,
        addresses: Vec::new(),
        sharing: Sharing::Separate,
        enabled: true,
        line: 1,
        probe: None,
    }
}

/// A certificate for these names, valid through 2027
fn generation(names: &[&str], key: &KeyPair) -> Result<Generation, GenerationError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2027, 1, 1);
    params.not_after = date_time_ymd(2027, 4, 1);
    let pem = params.self_signed(key).unwrap().pem();
    Ok(Generation {
        number: 2,
        chain: Chain::from_pem(pem.as_bytes())?,
        damaged: Vec::new(),
    })
}

fn good() -> Result<Generation, GenerationError> {
    generation(&["a.test", "www.a.test"], &KeyPair::generate().unwrap())
}

/// Two generations, the second live and proven
fn lineage() -> Lineage {
    let mut record = Record::default();
    let generation = GenerationRecord {
        issuer: Some("letsencrypt".to_owned()),
        account: None,
        profile: None,
        issued_at: "2027-01-01T00:00:00Z".parse().unwrap(),
        proven_at: Some("2027-01-01T00:00:00Z".parse().unwrap()),
        fingerprint: None,
        renewal: None,
    };
    record.generations.insert(2, generation);
    Lineage {
        name: name("a.test"),
        generations: vec![1, 2],
        live: Some(2),
        record,
    }
}

const EARLY: &str = "2027-01-02T00:00:00Z";
const DUE: &str = "2027-03-04T00:00:01Z";

fn demand() -> Demand<'static> {
    Demand {
        urgency: Urgency::WhenDue,
        goal: Goal::Proven,
        issuer: None,
        fraction: Fraction::new(1, 3),
        next: None,
    }
}

fn asks(domain: &Domain, issuer: Option<&str>, account: Option<&str>) -> Asked {
    let text = "[[domain]]\nname = \"a.test\"\n";
    let config = Config::parse(text, Path::new("domains.toml"), &Environment::default());
    let issuer = issuer.unwrap_or(&domain.issuer);
    asked(
        &config.expect("it is right"),
        domain,
        issuer,
        account.map(ToOwned::to_owned),
    )
}

#[track_caller]
fn planned(
    domain: &Domain,
    lineage: &Lineage,
    newest: Option<&Result<Generation, GenerationError>>,
    demand: Demand<'_>,
    now: &str,
) -> Plan {
    let asks = asks(domain, demand.issuer, None);
    let subject = Subject {
        domain,
        lineage,
        newest: newest.map(|newest| newest.as_ref().map(Newest::from)),
        asks: Some(&asks),
        unfit: None,
    };
    plan(subject, demand, now.parse().unwrap())
}

#[track_caller]
fn check_reason(
    domain: &Domain,
    lineage: &Lineage,
    newest: &Result<Generation, GenerationError>,
    expected: &str,
) {
    match planned(domain, lineage, Some(newest), demand(), EARLY) {
        Plan::Order { reason } => assert_eq!(reason.to_string(), expected),
        other => panic!("expected an order ({expected}), found {other:?}"),
    }
}

#[test]
fn a_proven_generation_that_is_not_due_is_confirmed() {
    let plan = planned(&domain(), &lineage(), Some(&good()), demand(), EARLY);
    assert_eq!(plan, Plan::Confirm { generation: 2 });
}

#[test]
fn the_first_certificate_is_ordered() {
    let mut lineage = lineage();
    lineage.generations.clear();
    lineage.live = None;
    lineage.record = Record::default();
    let plan = planned(&domain(), &lineage, None, demand(), EARLY);
    assert_eq!(plan, Plan::Order { reason: Due::First });
}

#[test]
fn what_the_ca_refuses_for_good_is_not_asked_again_until_something_else_is_asked() {
    #[track_caller]
    fn check(change: impl Fn(&mut Domain), demand: Demand<'_>, expected: &Plan) {
        let mut refused = lineage();
        refused.generations.clear();
        let failures = &mut refused.record.order_failures;
        let now = EARLY.parse().unwrap();
        failures.add("acme.refused", now, None, "rejectedIdentifier".to_owned());
        failures.refused = Some(asks(&domain(), None, None));
        let mut domain = domain();
        change(&mut domain);
        for now in [EARLY, DUE] {
            assert_eq!(planned(&domain, &refused, None, demand, now), *expected);
        }
    }
    let stop = Plan::Stop { reason: Due::First };
    let order = Plan::Order { reason: Due::First };
    check(|_| {}, demand(), &stop);
    check(|domain| domain.ports = vec![8443], demand(), &stop);
    check(
        |domain| domain.aliases = vec![name("web.a.test")],
        demand(),
        &order,
    );
    check(
        |domain| domain.profile = Some("classic".to_owned()),
        demand(),
        &order,
    );
    check(
        |domain| domain.issuer = "zerossl".to_owned(),
        demand(),
        &order,
    );
    check(
        |domain| domain.key_type = KeyType::Rsa2048,
        demand(),
        &order,
    );
    let elsewhere = Demand {
        issuer: Some("google"),
        ..demand()
    };
    check(|_| {}, elsewhere, &order);
    let forced = Demand {
        urgency: Urgency::Now,
        ..demand()
    };
    check(|_| {}, forced, &order);
}

#[test]
fn an_unproven_generation_is_deployed_and_never_ordered_again_even_by_force() {
    let mut unproven = lineage();
    unproven.record.generations.get_mut(&2).unwrap().proven_at = None;
    let mut not_live = lineage();
    not_live.live = Some(1);
    let mut forgotten = lineage();
    forgotten.record = Record::default();
    for lineage in [unproven, not_live, forgotten] {
        for urgency in [Urgency::WhenDue, Urgency::Now] {
            let demand = Demand {
                urgency,
                ..demand()
            };
            let plan = planned(&domain(), &lineage, Some(&good()), demand, EARLY);
            assert_eq!(plan, Plan::Deploy { generation: 2 });
        }
    }
}

#[test]
fn an_unproven_generation_that_is_itself_due_is_replaced() {
    let mut lineage = lineage();
    lineage.record.generations.get_mut(&2).unwrap().proven_at = None;
    let plan = planned(&domain(), &lineage, Some(&good()), demand(), DUE);
    assert!(
        matches!(
            plan,
            Plan::Order {
                reason: Due::Lifetime { .. }
            }
        ),
        "{plan:?}"
    );
}

#[test]
fn force_orders_what_is_proven_and_not_due() {
    let demand = Demand {
        urgency: Urgency::Now,
        ..demand()
    };
    let plan = planned(&domain(), &lineage(), Some(&good()), demand, EARLY);
    assert_eq!(
        plan,
        Plan::Order {
            reason: Due::Forced
        }
    );
}

#[test]
fn without_deployment_live_is_done_and_force_renews() {
    let mut lineage = lineage();
    lineage.record.generations.get_mut(&2).unwrap().proven_at = None;
    let live = Demand {
        goal: Goal::Live,
        ..demand()
    };
    let plan = planned(&domain(), &lineage, Some(&good()), live, EARLY);
    assert_eq!(plan, Plan::Confirm { generation: 2 });
    let force = Demand {
        urgency: Urgency::Now,
        ..live
    };
    let plan = planned(&domain(), &lineage, Some(&good()), force, EARLY);
    assert_eq!(
        plan,
        Plan::Order {
            reason: Due::Forced
        }
    );
    lineage.live = Some(1);
    let plan = planned(&domain(), &lineage, Some(&good()), force, EARLY);
    assert_eq!(plan, Plan::Deploy { generation: 2 });
}

#[test]
fn a_third_of_the_lifetime_left_is_due_and_a_second_earlier_is_not() {
    #[track_caller]
    fn check(now: &str, expected: Option<&str>) {
        let plan = planned(&domain(), &lineage(), Some(&good()), demand(), now);
        let reason = match plan {
            Plan::Order { reason } => Some(reason.to_string()),
            _ => None,
        };
        assert_eq!(reason.as_deref(), expected, "{now}");
    }
    let validity = good().unwrap().chain.leaf().validity;
    let due = due::moment(
        &Record::default(),
        1,
        &validity,
        Fraction::new(1, 3),
        "a.test",
    )
    .at();
    // Domains are spread over the two days after it.
    let third = "2027-03-02T00:00:00Z".parse().unwrap();
    assert!(due >= third && due < third + SignedDuration::from_hours(44));
    check(&(due - SignedDuration::from_secs(1)).to_string(), None);
    check(&due.to_string(), Some("28 days left"));
    check("2027-04-03T00:00:00Z", Some("expired 48 h ago"));
}

#[test]
fn a_changed_configuration_is_due_with_its_reason() {
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let both = ["a.test", "www.a.test"];
    check_reason(
        &domain(),
        &lineage(),
        &generation(&["a.test", "old.a.test"], &KeyPair::generate().unwrap()),
        "names changed: +www.a.test -old.a.test",
    );
    check_reason(
        &domain(),
        &lineage(),
        &generation(&both, &p384),
        "key type changed to p256",
    );
    let mut other = domain();
    other.issuer = "zerossl".to_owned();
    check_reason(
        &other,
        &lineage(),
        &good(),
        "issuer changed from letsencrypt to zerossl",
    );
    let mut profiled = domain();
    profiled.profile = Some("tlsserver".to_owned());
    check_reason(
        &profiled,
        &lineage(),
        &good(),
        "profile changed to tlsserver",
    );
    check_reason(
        &domain(),
        &lineage(),
        &Err(GenerationError::Chain(ChainError::Empty)),
        "the files are damaged: the chain holds no certificate",
    );
}

#[test]
fn an_issuer_that_was_chosen_once_is_no_change() {
    let mut lineage = lineage();
    lineage.record.generations.get_mut(&2).unwrap().issuer = Some("zerossl".to_owned());
    lineage.record.issuer_override = Some("zerossl".to_owned());
    let plan = planned(&domain(), &lineage, Some(&good()), demand(), EARLY);
    assert_eq!(plan, Plan::Confirm { generation: 2 });
    let back = Demand {
        issuer: Some("letsencrypt"),
        ..demand()
    };
    let plan = planned(&domain(), &lineage, Some(&good()), back, EARLY);
    assert!(
        matches!(
            plan,
            Plan::Order {
                reason: Due::Issuer { .. }
            }
        ),
        "{plan:?}"
    );
}

#[test]
fn what_the_ca_named_holds_by_force_too_unless_limits_are_skipped() {
    let mut lineage = lineage();
    let (now, until) = (
        DUE.parse().unwrap(),
        "2027-03-04T05:00:00Z".parse().unwrap(),
    );
    let failures = &mut lineage.record.order_failures;
    failures.add("acme.limit", now, Some(until), String::new());
    #[track_caller]
    fn check(lineage: &Lineage, urgency: Urgency, expected: Option<&str>) {
        let demand = Demand {
            urgency,
            ..demand()
        };
        let plan = planned(&domain(), lineage, Some(&good()), demand, DUE);
        let waits = match plan {
            Plan::Wait { until, by, .. } => Some((until, by)),
            _ => None,
        };
        let expected = expected.map(|until| (until.parse().unwrap(), By::Ca));
        assert_eq!(waits, expected, "{urgency:?}");
    }
    check(&lineage, Urgency::WhenDue, Some("2027-03-04T05:00:00Z"));
    check(&lineage, Urgency::Now, Some("2027-03-04T05:00:00Z"));
    check(&lineage, Urgency::Regardless, None);
}

#[test]
fn a_refused_order_waits_and_force_does_not() {
    let mut lineage = lineage();
    lineage.record.order_failures = Failures {
        count: 2,
        last: Some(DUE.parse().unwrap()),
        ..Failures::default()
    };
    let plan = planned(
        &domain(),
        &lineage,
        Some(&good()),
        demand(),
        "2027-03-04T00:10:00Z",
    );
    assert!(
        matches!(plan, Plan::Wait { until, failures: 2, .. } if until == "2027-03-04T00:10:01Z".parse().unwrap()),
        "{plan:?}"
    );
    let later = planned(
        &domain(),
        &lineage,
        Some(&good()),
        demand(),
        "2027-03-04T00:10:01Z",
    );
    assert!(matches!(later, Plan::Order { .. }), "{later:?}");
    let force = Demand {
        urgency: Urgency::Now,
        ..demand()
    };
    let now = planned(
        &domain(),
        &lineage,
        Some(&good()),
        force,
        "2027-03-02T00:00:02Z",
    );
    assert!(matches!(now, Plan::Order { .. }), "{now:?}");
}

#[test]
fn a_certificate_is_not_replaced_twice_in_a_row_for_a_window_in_its_first_hours() {
    #[track_caller]
    fn check(before: Option<&str>, now: &str, is_due: bool) {
        let mut lineage = lineage();
        let past = Window {
            start: "2026-01-01T00:00:00Z".parse().unwrap(),
            end: "2026-01-02T00:00:00Z".parse().unwrap(),
        };
        let generations = &mut lineage.record.generations;
        let newest = generations.get_mut(&2).unwrap();
        newest.renewal = Some(Renewal {
            window: Some(past),
            instant: Some(past.start),
            ..Renewal::default()
        });
        if let Some(before) = before {
            let issued_at = before.parse().unwrap();
            let before = GenerationRecord {
                issued_at,
                ..newest.clone()
            };
            // One that was replaced for another reason does not count.
            let renewal = None;
            generations.insert(
                1,
                GenerationRecord {
                    renewal,
                    ..before.clone()
                },
            );
            let other = planned(&domain(), &lineage, Some(&good()), demand(), now);
            assert!(matches!(other, Plan::Order { .. }), "{now}: {other:?}");
            let generations = &mut lineage.record.generations;
            generations.insert(1, before);
        }
        let plan = planned(&domain(), &lineage, Some(&good()), demand(), now);
        let ordered = matches!(plan, Plan::Order { .. });
        assert_eq!(ordered, is_due, "{before:?} {now}: {plan:?}");
    }
    // It may be about to be revoked.
    check(None, "2027-01-01T00:00:01Z", true);
    check(Some("2026-11-01T00:00:00Z"), "2027-01-01T00:00:01Z", true);
    // The CA asks again and again.
    let soon = Some("2026-12-31T00:00:00Z");
    check(soon, "2027-01-01T12:00:00Z", false);
    check(soon, "2027-01-02T11:59:59Z", false);
    check(soon, "2027-01-02T12:00:00Z", true);
}
