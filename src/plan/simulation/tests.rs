use std::path::PathBuf;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::authority::Authority;
use super::*;
use crate::config::Sharing;
use crate::name::DnsName;
use crate::store::record::{Failures, GenerationRecord, Record, Renewal};
use crate::time::Window;

const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
const PRIVATE: &str = "https://ca.test/directory";
const FROM: &str = "2026-11-20T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// A domain without a certificate
fn actor(name: &str, directory: &str, profile: Option<&str>) -> Actor {
    let name = DnsName::parse(name).expect("a name");
    Actor {
        domain: Domain {
            name: name.clone(),
            aliases: Vec::new(),
            issuer: "ca".to_owned(),
            profile: profile.map(ToOwned::to_owned),
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
        },
        directory: directory.to_owned(),
        account: None,
        asks: None,
        lineage: Lineage {
            name,
            generations: Vec::new(),
            live: None,
            record: Record::default(),
        },
        newest: None,
    }
}

/// The same with a proven certificate of this lifetime, issued so long ago
fn holder(name: &str, directory: &str, lifetime: SignedDuration, age: SignedDuration) -> Actor {
    let mut actor = actor(name, directory, None);
    let issued = at(FROM) - age;
    let record = GenerationRecord {
        issuer: Some("ca".to_owned()),
        account: None,
        profile: None,
        issued_at: issued,
        proven_at: Some(issued),
        fingerprint: None,
        renewal: None,
    };
    actor.lineage.generations = vec![7];
    actor.lineage.live = Some(7);
    actor.lineage.record.generations.insert(7, record);
    actor.newest = Some(Ok(Held {
        number: 7,
        names: vec![name.to_owned()],
        validity: Validity {
            not_before: issued,
            not_after: issued + lifetime,
        },
        key_type: Some(KeyType::P256),
    }));
    actor
}

fn schedule(pattern: &str) -> Schedule {
    let schedule = Schedule::parse(pattern).expect("a pattern");
    schedule.in_zone(TimeZone::UTC)
}

fn a_year_of(actors: Vec<Actor>) -> Play {
    Play {
        from: at(FROM),
        until: at(FROM) + days(365),
        schedule: schedule("0 3,15 * * *"),
        fraction: Fraction::new(1, 3),
        ledger: Ledger::default(),
        failure_rate: 0.0,
        seed: 1,
        actors,
    }
}

fn many(count: usize, profile: Option<&str>) -> Vec<Actor> {
    let names = (0..count).map(|number| format!("d{number}.example"));
    names
        .map(|name| actor(&name, PRODUCTION, profile))
        .collect()
}

fn orders(course: &Course) -> u32 {
    course.runs.iter().map(Run::orders).sum()
}

#[test]
fn a_first_certificate_is_ordered_in_the_first_run_and_renewed_at_two_thirds_of_its_life() {
    let course = play(a_year_of(vec![actor("shop.test", PRODUCTION, None)]));
    let times: Vec<Timestamp> = course.runs.iter().map(|run| run.at).collect();
    assert_eq!(times[0], at("2026-11-20T15:00:00Z"));
    let sixty = times[1].duration_since(times[0]);
    assert!((sixty - days(60)).abs() < days(2), "{sixty}");
    // From 10 February 2027 on it is two thirds of 64 days.
    let shorter = times[3].duration_since(times[2]);
    assert!((shorter - days(64) * 2 / 3).abs() < days(2), "{shorter}");
    assert_eq!(times.len(), 8);
    let least = course.least_life.expect("it had one");
    assert!(least.left() > days(20) && least.part() > 0.3, "{least:?}");
}

#[test]
fn what_lets_encrypt_has_announced_holds_from_its_day() {
    #[track_caller]
    fn check(profile: Option<&str>, now: &str, hours: i64) {
        let validity = Authority::LetsEncrypt.validity(profile, at(now));
        let lifetime = SignedDuration::from_hours(hours);
        assert_eq!(validity.lifetime(), lifetime, "{profile:?} {now}");
        assert_eq!(validity.not_before, at(now) - SignedDuration::from_hours(1));
    }
    check(None, "2027-02-09T23:59:59Z", 90 * 24);
    check(None, "2027-02-10T00:00:00Z", 64 * 24);
    check(None, "2028-02-15T23:59:59Z", 64 * 24);
    check(Some("classic"), "2028-02-16T00:00:00Z", 45 * 24);
    check(Some("tlsserver"), "2026-11-20T00:00:00Z", 45 * 24);
    check(Some("shortlived"), "2028-03-01T00:00:00Z", 160);
    check(Some("unheard-of"), "2027-03-01T00:00:00Z", 64 * 24);
    check(None, "2010-01-01T00:00:00Z", 90 * 24);
}

#[test]
fn a_window_of_lets_encrypt_is_two_hundredths_of_the_life_wide() {
    #[track_caller]
    fn check(hours: i64, start: &str, end: &str) {
        let validity = Validity {
            not_before: at("2027-01-01T00:00:00Z"),
            not_after: at("2027-01-01T00:00:00Z") + SignedDuration::from_hours(hours),
        };
        let window = Authority::LetsEncrypt.window(&validity);
        let (start, end) = (at(start), at(end));
        assert_eq!(window, Some(Window { start, end }), "{hours}");
    }
    check(90 * 24, "2027-03-01T02:24:00Z", "2027-03-02T21:36:00Z");
    check(160, "2027-01-04T06:24:00Z", "2027-01-04T09:36:00Z");
}

#[test]
fn an_installed_certificate_is_renewed_by_what_its_ca_said() {
    let mut shop = holder("shop.test", PRODUCTION, days(90), days(1));
    let start = at(FROM) + days(5);
    let generation = shop.lineage.record.generations.get_mut(&7);
    generation.expect("it is there").renewal = Some(Renewal {
        window: Some(Window {
            start,
            end: start + days(2),
        }),
        instant: Some(start + days(1)),
        next_look: at(FROM) + SignedDuration::from_hours(6),
        ..Renewal::default()
    });
    let course = play(a_year_of(vec![shop]));
    // The run at 3 is the last one before the instant, at noon.
    assert_eq!(course.runs[0].at, at("2026-11-26T03:00:00Z"));
}

#[test]
fn another_ca_issues_what_it_issued_before_and_suggests_nothing() {
    let course = play(a_year_of(vec![holder(
        "shop.test",
        PRIVATE,
        days(30),
        days(0),
    )]));
    // Twenty days and the domain's own share of the jitter, up to the next run.
    assert_eq!(orders(&course), 17);
    assert!(course.put_off.is_empty());
}

#[test]
fn what_the_ca_has_refused_for_good_expires() {
    let mut shop = holder("shop.test", PRODUCTION, days(90), days(30));
    let asked = Asked {
        issuer: "ca".to_owned(),
        profile: None,
        names: vec!["shop.test".to_owned()],
        key_type: "p256".to_owned(),
        email: None,
        eab_kid: None,
        account: None,
    };
    shop.lineage.record.order_failures = Failures {
        count: 1,
        last: Some(at(FROM)),
        refused: Some(asked.clone()),
        ..Failures::default()
    };
    shop.asks = Some(asked);
    let course = play(a_year_of(vec![shop]));
    assert_eq!(orders(&course), 0);
    assert_eq!(course.stopped, ["shop.test"]);
    let expired = Expired {
        domain: "shop.test".to_owned(),
        at: at(FROM) + days(60),
        until: None,
    };
    assert_eq!(course.expired, [expired]);
}

#[test]
fn what_is_not_proven_is_deployed_and_what_is_damaged_is_ordered_anew() {
    let mut waiting = holder("waiting.test", PRODUCTION, days(90), days(1));
    waiting.lineage.live = None;
    let mut damaged = holder("damaged.test", PRODUCTION, days(90), days(1));
    let error = crate::chain::ChainError::Empty;
    damaged.newest = Some(Err(GenerationError::Chain(error)));
    let course = play(Play {
        until: at(FROM) + days(30),
        ..a_year_of(vec![waiting, damaged])
    });
    assert_eq!(orders(&course), 1);
    assert_eq!(course.without, [""; 0]);
}

#[test]
fn the_first_orders_of_ten_thousand_wait_for_the_limit() {
    let course = play(Play {
        until: at(FROM) + days(30),
        ..a_year_of(many(10_000, None))
    });
    let placed: Vec<u32> = course.runs.iter().map(Run::orders).collect();
    assert_eq!(placed.len(), 34);
    assert!(
        placed[..33].iter().all(|orders| *orders == 300),
        "{placed:?}"
    );
    assert_eq!(course.put_off.len(), 9_700);
    let longest = course.put_off.iter().map(|put_off| put_off.waited).max();
    assert_eq!(longest, Some(SignedDuration::from_hours(33 * 12)));
    assert!(
        course
            .put_off
            .iter()
            .all(|put_off| put_off.limit.name == "orders")
    );
}

#[test]
fn the_names_of_one_registered_domain_wait_for_its_limit() {
    let shops = (0..60).map(|number| actor(&format!("s{number}.shop.test"), PRODUCTION, None));
    let course = play(Play {
        until: at(FROM) + days(5),
        ..a_year_of(shops.collect())
    });
    assert_eq!(course.runs[0].orders(), 50);
    assert_eq!(course.put_off.len(), 10);
    assert_eq!(course.put_off[0].limit.name, "registered_domain");
}

#[test]
fn a_play_that_ends_early_tells_who_has_no_certificate() {
    let course = play(Play {
        until: at(FROM) + days(1),
        ..a_year_of(many(700, None))
    });
    assert_eq!(course.without.len(), 100);
    assert_eq!(course.put_off.len(), 400);
}

#[test]
fn failures_back_off_and_count_as_the_product_does() {
    let course = play(Play {
        failure_rate: 1.0,
        until: at(FROM) + days(10),
        ..a_year_of(vec![actor("shop.test", PRODUCTION, None)])
    });
    let begin = course.runs[0].at;
    let since = |run: &Run| run.at.duration_since(begin).as_hours();
    let hours: Vec<i64> = course.runs.iter().map(since).collect();
    // The first three delays pass before the next run, the others before the same one of the next day.
    assert_eq!(hours, [0, 12, 24, 36, 60, 84, 108, 132, 156, 180, 204, 228]);
    assert_eq!(course.without, ["shop.test"]);
}

#[test]
fn a_certificate_expires_where_every_order_fails_and_is_counted_once() {
    let course = play(Play {
        failure_rate: 1.0,
        ..a_year_of(vec![holder("shop.test", PRODUCTION, days(90), days(0))])
    });
    assert_eq!(course.expired.len(), 1);
    assert_eq!(course.expired[0].until, None);
    assert!(course.least_life.expect("it had one").left() < days(-200));
}

/// When runs come, at least twice a day
fn any_schedule() -> impl Strategy<Value = Schedule> {
    (
        0..60_u8,
        prop::collection::btree_set(0..24_u8, 0..6),
        0..12_u8,
    )
        .prop_map(|(minute, more, first)| {
            // Half a day apart at most.
            let mut hours: Vec<String> = vec![first.to_string(), (first + 12).to_string()];
            hours.extend(more.iter().map(ToString::to_string));
            schedule(&format!("{minute} {} * * *", hours.join(",")))
        })
}

fn any_profile() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![None, Some("tlsserver"), Some("shortlived")])
}

fn any_begin() -> impl Strategy<Value = Timestamp> {
    // From before the first change of lifetimes to after the last one.
    (0..1_000_i64).prop_map(|day| at(FROM) + days(day))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_certificate_expires_where_no_order_fails(
        schedule in any_schedule(),
        profile in any_profile(),
        from in any_begin(),
        seed in any::<u64>(),
        lifetime in 4..100_i64,
    ) {
        let mut other = holder("other.test", PRIVATE, days(lifetime), days(0));
        if let Some(Ok(held)) = &mut other.newest {
            held.validity = Validity { not_before: from, not_after: from + days(lifetime) };
        }
        let mut actors = many(8, profile);
        actors.push(other);
        let until = from + days(200);
        let course = play(Play { schedule, from, until, seed, ..a_year_of(actors) });
        prop_assert_eq!(&course.expired, &[]);
        // Half of what is kept in reserve is there at the worst, less a run.
        let least = course.least_part.expect("there are some");
        prop_assert!(least.part() > 0.15, "{least:?}");
    }

    #[test]
    fn the_same_seed_plays_the_same_play(seed in any::<u64>(), rate in 0.0..1.0_f64) {
        let once = || play(Play { seed, failure_rate: rate, ..a_year_of(many(20, None)) });
        prop_assert_eq!(once(), once());
    }

    /// A bucket of the CA's own: tokens as fractions, filled by time
    #[test]
    fn the_ca_would_refuse_no_order(
        schedule in any_schedule(),
        count in 1..900_usize,
        rate in 0.0..0.9_f64,
        seed in any::<u64>(),
    ) {
        let until = at(FROM) + days(4);
        let actors = many(count, None);
        let play_of = Play { schedule, until, seed, failure_rate: rate, ..a_year_of(actors) };
        let (mut tokens, mut last) = (300.0_f64, at(FROM));
        // No certificate is renewed so soon: every order counts.
        for run in play(play_of).runs {
            let passed = run.at.duration_since(last).as_secs_f64();
            tokens = (tokens + passed / 36.0).min(300.0) - f64::from(run.orders());
            prop_assert!(tokens > -1e-6, "{tokens} at {}", run.at);
            last = run.at;
        }
    }

    #[test]
    fn a_domain_sleeps_through_no_run_that_would_find_it_due(
        schedule in any_schedule(),
        begin in any_begin(),
        lifetime_hours in 96..2_400_i64,
        offset in 0..2_400_i64,
        width in 1..100_i64,
        chance in 0.0..1.0_f64,
    ) {
        let lifetime = SignedDuration::from_hours(lifetime_hours);
        let mut shop = holder("shop.test", PRIVATE, lifetime, days(0));
        let start = begin + SignedDuration::from_hours(offset % lifetime_hours);
        let window = Window { start, end: start + SignedDuration::from_hours(width) };
        if let Some(Ok(held)) = &mut shop.newest {
            held.validity = Validity { not_before: begin, not_after: begin + lifetime };
        }
        let generation = shop.lineage.record.generations.get_mut(&7);
        generation.expect("it is there").renewal = Some(Renewal {
            window: Some(window),
            instant: Some(window.instant_at(chance)),
            next_look: Timestamp::MAX,
            ..Renewal::default()
        });
        let fraction = Fraction::new(1, 3);
        let member = Member::new(shop, 0, &Ca::new(
            &actor("x.test", PRIVATE, None), &Ledger::default(), begin,
        ));
        let is_due = |now| matches!(
            member.plan(fraction, now, schedule.next(now)),
            Plan::Order { .. }
        );
        let moment = member.moment(fraction).expect("it has a certificate");
        let wake = wake(moment, &schedule);
        let mut now = begin;
        while let Some(next) = schedule.next(now).filter(|next| *next < wake) {
            prop_assert!(!is_due(next), "asleep at {next}, until {wake}");
            now = next;
        }
        let woken = schedule.next(now).expect("runs go on");
        prop_assert!(is_due(woken), "{woken}");
    }
}
