use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::facts::dns::{Answer, RecordKind};
use crate::finding::Severity;

const ACCOUNT: &str = "https://ca.test/acct/7";

/// Records at a name, as `flags tag value`
fn at(name: &str, records: &[(Criticality, &str, &str)]) -> Lookup {
    let records = records.iter().map(|(criticality, tag, value)| {
        RecordData::Caa(Caa {
            criticality: *criticality,
            tag: (*tag).to_owned(),
            value: (*value).to_owned(),
        })
    });
    Lookup {
        name: name.to_owned(),
        kind: RecordKind::Caa,
        outcome: Ok(Answer {
            records: records.collect(),
            ..Answer::default()
        }),
    }
}

fn failed(name: &str, failure: LookupFailure) -> Lookup {
    Lookup {
        outcome: Err(failure),
        ..at(name, &[])
    }
}

fn name(text: &str) -> DnsName {
    DnsName::parse(text).expect("a name")
}

#[track_caller]
fn verdict(lookups: &[Lookup], identities: &[&str], account: Option<&str>) -> Finding {
    let identities: Vec<String> = identities.iter().map(ToString::to_string).collect();
    let issuing = Issuing {
        identities: &identities,
        account,
    };
    judge(&name("www.shop.test"), lookups, &[], &issuing)
}

#[test]
fn the_tree_is_climbed_to_the_top_level_domain() {
    let climb = |text| {
        let tree: Vec<String> = tree(&name(text)).iter().map(ToString::to_string).collect();
        tree
    };
    assert_eq!(
        climb("www.shop.test"),
        ["www.shop.test", "shop.test", "test"]
    );
    assert_eq!(climb("localhost"), ["localhost"]);
}

#[test]
fn a_set_of_records_decides_who_may_issue() {
    use Criticality::{Critical, NonCritical};
    #[track_caller]
    fn check(records: &[(Criticality, &str, &str)], code: &str) {
        let lookups = [at("www.shop.test", records)];
        let found = verdict(&lookups, &["ca.test", "ca.example"], Some(ACCOUNT));
        assert_eq!(found.code, code, "{records:?}: {found:?}");
        let is_good = matches!(code, "caa.none" | "caa.allowed");
        assert_eq!(found.severity == Severity::Ok, is_good, "{found:?}");
    }
    check(&[], "caa.none");
    check(&[(NonCritical, "issue", "ca.test")], "caa.allowed");
    check(&[(NonCritical, "issue", "ca.example")], "caa.allowed");
    check(&[(Critical, "issue", "ca.test")], "caa.allowed");
    check(&[(NonCritical, "ISSUE", " ca.test ")], "caa.allowed");
    check(&[(NonCritical, "issue", "ca.test;")], "caa.allowed");
    check(
        &[(NonCritical, "issue", "\tca.test ; cansignhttpexchanges=yes")],
        "caa.allowed",
    );
    check(
        &[
            (NonCritical, "issue", "other.test"),
            (NonCritical, "issue", "ca.test"),
        ],
        "caa.allowed",
    );
    check(&[(NonCritical, "issue", "other.test")], "caa.forbidden");
    check(&[(NonCritical, "Issue", "other.test")], "caa.forbidden");
    check(&[(NonCritical, "issue", ";")], "caa.forbidden");
    check(&[(NonCritical, "issue", "")], "caa.forbidden");
    check(&[(NonCritical, "issue", "notca.test")], "caa.forbidden");
    // RFC 8659 section 4.2: a malformed value allows nobody.
    check(
        &[(NonCritical, "issue", "ca.test; policy")],
        "caa.forbidden",
    );
    check(
        &[(NonCritical, "issue", "ca.test policy=ev")],
        "caa.forbidden",
    );
    for against_the_grammar in [
        "ca.test.",
        "CA.test",
        "ca.test;;",
        "ca.test; policy=ev;",
        "ca.test; a b=c",
        "ca.test; policy=\u{fc}n\u{ef}",
        "ca.test; policy=a b",
    ] {
        check(
            &[(NonCritical, "issue", against_the_grammar)],
            "caa.forbidden",
        );
    }
    // RFC 8659 section 4.3: `issuewild` is not for names without a wildcard.
    check(&[(NonCritical, "issuewild", "other.test")], "caa.none");
    check(
        &[
            (NonCritical, "issuewild", "ca.test"),
            (NonCritical, "issue", ";"),
        ],
        "caa.forbidden",
    );
    check(&[(Critical, "iodef", "mailto:a@shop.test")], "caa.none");
    check(&[(NonCritical, "tbs", "x")], "caa.none");
    check(&[(Critical, "tbs", "x")], "caa.critical");
    check(
        &[(NonCritical, "issue", "ca.test"), (Critical, "tbs", "x")],
        "caa.critical",
    );
}

#[test]
fn parameters_bind_to_a_method_and_to_an_account() {
    #[track_caller]
    fn check(values: &[&str], account: Option<&str>, code: &str) {
        let records: Vec<_> = values
            .iter()
            .map(|value| (Criticality::NonCritical, "issue", *value))
            .collect();
        let found = verdict(&[at("shop.test", &records)], &["ca.test"], account);
        assert_eq!(found.code, code, "{values:?}: {found:?}");
    }
    let mine = "ca.test; accounturi=https://ca.test/acct/7";
    let other = "ca.test; accounturi = https://ca.test/acct/8";
    check(&["ca.test; validationmethods=http-01"], None, "caa.allowed");
    check(
        &["ca.test;validationmethods=dns-01,http-01"],
        None,
        "caa.allowed",
    );
    check(&["ca.test; validationmethods=dns-01"], None, "caa.method");
    check(&["ca.test; validationmethods="], None, "caa.method");
    let blank = "ca.test; validationmethods=dns-01, http-01";
    check(&[blank], None, "caa.forbidden");
    let no_word = "ca.test; validationmethods=http_01,http-01";
    check(&[no_word], None, "caa.method");
    // It is read up to the first that fits.
    let behind = "ca.test; validationmethods=http-01,http_01";
    check(&[behind], None, "caa.allowed");
    // Of a parameter in other letters Let's Encrypt knows nothing.
    check(&["ca.test; ValidationMethods=dns-01"], None, "caa.allowed");
    check(&[mine], Some(ACCOUNT), "caa.allowed");
    check(&[other], Some(ACCOUNT), "caa.account");
    check(&[mine], None, "caa.account");
    // One record that allows is enough, and both parameters of one record bind.
    check(&[other, mine], Some(ACCOUNT), "caa.allowed");
    check(
        &["ca.test; validationmethods=dns-01", "ca.test"],
        None,
        "caa.allowed",
    );
    check(
        &["ca.test; accounturi=https://ca.test/acct/7; validationmethods=dns-01"],
        Some(ACCOUNT),
        "caa.method",
    );
}

#[test]
fn the_nearest_set_counts_alone() {
    let forbids = |name| at(name, &[(Criticality::NonCritical, "issue", ";")]);
    let allows = |name| at(name, &[(Criticality::NonCritical, "issue", "ca.test")]);
    let nothing = |name| at(name, &[]);
    let missing = |name| failed(name, LookupFailure::NoSuchName);
    #[track_caller]
    fn check(lookups: &[Lookup], code: &str) {
        assert_eq!(
            verdict(lookups, &["ca.test"], None).code,
            code,
            "{lookups:?}"
        );
    }
    check(
        &[allows("www.shop.test"), forbids("shop.test")],
        "caa.allowed",
    );
    check(
        &[
            nothing("www.shop.test"),
            forbids("shop.test"),
            allows("test"),
        ],
        "caa.forbidden",
    );
    check(
        &[
            missing("www.shop.test"),
            nothing("shop.test"),
            forbids("test"),
        ],
        "caa.forbidden",
    );
    check(
        &[
            missing("www.shop.test"),
            missing("shop.test"),
            nothing("test"),
        ],
        "caa.none",
    );
    let broken = failed("shop.test", LookupFailure::ServFail(Dnssec::NotTheCause));
    check(&[allows("www.shop.test"), broken.clone()], "caa.allowed");
    check(
        &[nothing("www.shop.test"), broken, allows("test")],
        "caa.unknown",
    );
}

#[test]
fn servers_of_the_zone_answer_where_a_resolver_fails() {
    #[track_caller]
    fn check(failure: LookupFailure, at_name: &str, said: Lookup, code: &str) {
        let authority = Authority {
            server: "ns1.shop.test".to_owned(),
            address: "192.0.2.53:53".parse().expect("an address"),
            lookups: vec![said],
        };
        let issuing = Issuing {
            identities: &["ca.test".to_owned()],
            account: None,
        };
        let lookups = [failed(at_name, failure)];
        let found = judge(&name("www.shop.test"), &lookups, &[authority], &issuing);
        assert_eq!(found.code, code, "{found:?}");
    }
    const NAME: &str = "www.shop.test";
    let issue = |value| at(NAME, &[(Criticality::NonCritical, "issue", value)]);
    let forwarder = || LookupFailure::ServFail(Dnssec::NotTheCause);
    check(forwarder(), NAME, issue("ca.test"), "caa.allowed");
    check(forwarder(), NAME, issue("other.test"), "caa.forbidden");
    check(
        LookupFailure::Refused,
        NAME,
        issue("other.test"),
        "caa.forbidden",
    );
    // What stands above the name nobody could read.
    check(forwarder(), NAME, at(NAME, &[]), "caa.unread");
    let fails = || failed(NAME, forwarder());
    check(forwarder(), NAME, fails(), "caa.unknown");
    // They answer for the name, and not for the zone above.
    check(forwarder(), "shop.test", issue("ca.test"), "caa.unknown");
    let broken = LookupFailure::ServFail(Dnssec::Broken);
    check(broken, NAME, issue("ca.test"), "caa.unknown");
}

#[test]
fn only_what_a_ca_sees_too_is_a_failure() {
    #[track_caller]
    fn check(failure: LookupFailure, code: &str, severity: Severity) {
        let found = verdict(&[failed("shop.test", failure)], &["ca.test"], None);
        assert_eq!((found.code, found.severity), (code, severity), "{found:?}");
        assert_eq!(found.cure.is_some(), severity != Severity::Ok);
    }
    check(
        LookupFailure::ServFail(Dnssec::NotTheCause),
        "caa.unknown",
        Severity::Failure,
    );
    check(
        LookupFailure::ServFail(Dnssec::Broken),
        "caa.unknown",
        Severity::Failure,
    );
    check(LookupFailure::Refused, "caa.unread", Severity::Warning);
    check(LookupFailure::TimedOut, "caa.unread", Severity::Warning);
    check(
        LookupFailure::Failed("NotImp".to_owned()),
        "caa.unread",
        Severity::Warning,
    );
    check(LookupFailure::NoSuchName, "caa.none", Severity::Ok);
}

#[test]
fn a_ca_without_identities_is_judged_where_nobody_may_issue() {
    let some = at(
        "shop.test",
        &[(Criticality::NonCritical, "issue", "ca.test")],
    );
    let found = verdict(&[some], &[], None);
    assert_eq!(
        (found.code, found.severity),
        ("caa.no_identity", Severity::Warning)
    );
    let nobody = at("shop.test", &[(Criticality::NonCritical, "issue", ";")]);
    let found = verdict(&[nobody], &[], None);
    assert_eq!(
        found.evidence,
        "shop.test has CAA 0 issue \";\": that forbids every CA"
    );
}

#[test]
fn a_record_that_is_not_well_formed_is_said_to_be_so() {
    let check = |value: &str, is_meant: bool| {
        let records = [(Criticality::NonCritical, "issue", value)];
        let found = verdict(&[at("shop.test", &records)], &["ca.test"], None);
        assert_eq!(found.code, "caa.forbidden", "{value}");
        let says_so = found.evidence.contains("read by the letter");
        assert_eq!(says_so, is_meant, "{found:?}");
    };
    check("ca.test; validationmethods=dns-01, http-01", true);
    check("ca.test.", true);
    check("CA.test", true);
    check("other.test", false);
    check(";", false);
}

#[test]
fn the_record_that_decides_is_the_one_that_is_shown() {
    let records = [
        (Criticality::NonCritical, "issue", "another.test"),
        (Criticality::NonCritical, "issue", "ca.test"),
    ];
    let found = verdict(&[at("shop.test", &records)], &["ca.test"], None);
    assert_eq!(
        found.evidence,
        "shop.test has CAA 0 issue \"ca.test\", which allows the CA"
    );
    let found = verdict(&[at("shop.test", &records)], &["third.test"], None);
    assert_eq!(
        found.evidence,
        "shop.test has CAA 0 issue \"another.test\", CAA 0 issue \"ca.test\": that forbids third.test"
    );
    assert_eq!(
        found.cure.as_deref(),
        Some(
            "add the record\n    shop.test. CAA 0 issue \"third.test\"\nor set `issuer` to a CA that is allowed"
        )
    );
}

#[test]
fn evidence_is_bounded_and_on_one_line() {
    let long = format!("a\n\u{1b}[31m{}", "x".repeat(60_000));
    let values: Vec<String> = (0..500).map(|number| format!("{number}{long}")).collect();
    let records: Vec<_> = values
        .iter()
        .map(|value| (Criticality::NonCritical, "issue", value.as_str()))
        .collect();
    let found = verdict(&[at("shop.test", &records)], &["ca.test"], None);
    assert_eq!(found.code, "caa.forbidden");
    assert!(found.evidence.len() < 2_500, "{}", found.evidence.len());
    assert!(
        found
            .evidence
            .ends_with("and 492 more: that forbids ca.test")
    );
    assert!(!found.evidence.contains(char::is_control));
}

#[test]
fn without_an_account_the_cure_does_not_name_one() {
    let bound = [(
        Criticality::NonCritical,
        "issue",
        "ca.test; accounturi=https://ca.test/acct/7",
    )];
    let found = verdict(&[at("shop.test", &bound)], &["ca.test"], None);
    assert!(
        found.evidence.ends_with("and certd has no account yet"),
        "{found:?}"
    );
    assert!(found.cure.unwrap().starts_with("remove `accounturi`"));
}

fn any_record() -> impl Strategy<Value = Caa> {
    let tag = prop_oneof![
        Just("issue".to_owned()),
        Just("ISSUE".to_owned()),
        Just("issuewild".to_owned()),
        Just("iodef".to_owned()),
        "[a-z0-9]{1,8}",
    ];
    let value = prop_oneof![
        Just("ca.test".to_owned()),
        Just("ca.test; validationmethods=dns-01".to_owned()),
        Just("ca.test; accounturi=https://ca.test/acct/7".to_owned()),
        "ca\\.test[.; ]{0,3}validationmethods=(http-01|dns-01|[, _]){1,3}",
        Just(";".to_owned()),
        "[a-z.;= \t]{0,20}",
        ".{0,20}",
    ];
    let criticality = prop_oneof![Just(Criticality::Critical), Just(Criticality::NonCritical)];
    (criticality, tag, value).prop_map(|(criticality, tag, value)| Caa {
        criticality,
        tag,
        value,
    })
}

fn any_lookup() -> impl Strategy<Value = Lookup> {
    let failure = prop_oneof![
        Just(LookupFailure::NoSuchName),
        Just(LookupFailure::TimedOut),
        Just(LookupFailure::ServFail(Dnssec::Broken)),
    ];
    (vec(any_record(), 0..5), option::weighted(0.2, failure)).prop_map(|(records, failure)| {
        let found = lookup_of(&records);
        match failure {
            Some(failure) => Lookup {
                outcome: Err(failure),
                ..found
            },
            None => found,
        }
    })
}

fn lookup_of(records: &[Caa]) -> Lookup {
    Lookup {
        outcome: Ok(Answer {
            records: records.iter().cloned().map(RecordData::Caa).collect(),
            ..Answer::default()
        }),
        ..at("shop.test", &[])
    }
}

fn is_strange(record: &Caa) -> bool {
    record.criticality == Criticality::Critical && !KNOWN.contains(&tag(record).as_str())
}

proptest! {
    #[test]
    fn the_tree_is_the_name_and_each_parent(labels in vec("[a-z0-9]{1,10}", 1..8)) {
        prop_assume!(labels.iter().any(|label| label.contains(|c: char| c.is_ascii_alphabetic())));
        let text = labels.join(".");
        let Ok(name) = DnsName::parse(&text) else { return Ok(()) };
        let tree = tree(&name);
        prop_assert_eq!(tree.len(), labels.len());
        for (depth, at) in tree.iter().enumerate() {
            prop_assert_eq!(*at, labels[depth..].join("."));
        }
    }

    #[test]
    fn any_answers_give_one_finding_of_bounded_length(lookups in vec(any_lookup(), 0..5)) {
        let found = verdict(&lookups, &["ca.test"], None);
        prop_assert!(found.code.starts_with("caa."));
        prop_assert!(found.evidence.len() < 4_000);
        prop_assert_eq!(found.severity == Severity::Ok, found.cure.is_none());
    }

    #[test]
    fn the_order_of_records_does_not_matter(
        (records, shuffled) in vec(any_record(), 0..6)
            .prop_flat_map(|records| (Just(records.clone()), Just(records).prop_shuffle())),
        account in option::of(Just(ACCOUNT)),
    ) {
        prop_assert_eq!(
            verdict(&[lookup_of(&records)], &["ca.test"], account),
            verdict(&[lookup_of(&shuffled)], &["ca.test"], account)
        );
    }

    #[test]
    fn a_record_that_names_the_ca_allows_it_unless_something_critical_is_there(
        mut records in vec(any_record(), 0..6),
    ) {
        let is_strange = records.iter().any(is_strange);
        records.push(Caa {
            criticality: Criticality::NonCritical,
            tag: "issue".to_owned(),
            value: "ca.test".to_owned(),
        });
        let found = verdict(&[lookup_of(&records)], &["ca.test"], None);
        prop_assert_eq!(found.code, if is_strange { "caa.critical" } else { "caa.allowed" });
    }

    #[test]
    fn nothing_beyond_the_nearest_set_matters(
        records in vec(any_record(), 1..5),
        beyond in vec(any_lookup(), 0..4),
    ) {
        let nearest = lookup_of(&records);
        let mut all = vec![failed("www.shop.test", LookupFailure::NoSuchName), nearest.clone()];
        all.extend(beyond);
        prop_assert_eq!(
            verdict(&all, &["ca.test"], None),
            verdict(&[nearest], &["ca.test"], None)
        );
    }

    #[test]
    fn what_others_may_do_never_allows_us(records in vec(any_record(), 1..6)) {
        let has_issue = records.iter().any(|record| tag(record) == "issue");
        let found = verdict(&[lookup_of(&records)], &["nobody.invalid"], None);
        prop_assert_eq!(found.severity == Severity::Ok, !has_issue && !records.iter().any(is_strange));
    }
}
