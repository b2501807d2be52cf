use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::store::ledger::Entry;

const PRODUCTION_URL: &str = "https://acme-v02.api.letsencrypt.org/directory";
const ACCOUNT: &str = "https://ca.test/acct/7";
const NOW: &str = "2027-03-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// This many entries, each a minute after the last, the first at `begin`
fn spent(count: usize, begin: &str, account: &str, spent: Spent) -> Vec<Entry> {
    let minutes = (0..).map(SignedDuration::from_mins);
    let times = minutes.take(count).map(|later| at(begin) + later);
    times
        .map(|at| Entry {
            at,
            directory: PRODUCTION_URL.to_owned(),
            account: account.to_owned(),
            spent: spent.clone(),
        })
        .collect()
}

fn usage_of(
    entries: &[Entry],
    account: Option<&str>,
    wanted: &[&str],
    issuance: Issuance,
) -> Vec<(&'static str, String, u32, Option<String>)> {
    let ledger = Ledger {
        version: 1,
        entries: entries.to_vec(),
    };
    let wanted = names(wanted);
    let intent = Intent {
        account,
        names: &wanted,
        issuance,
    };
    let balance = Balance::of(&ledger, PRODUCTION_URL, at(NOW)).expect("known limits");
    let used = balance.usage(intent, at(NOW)).into_iter();
    used.map(|usage| {
        let next = usage.next.map(|next| next.to_string());
        (usage.limit.name, usage.of, usage.used, next)
    })
    .collect()
}

/// Tokens used of a bucket from which one was taken at each of these times
fn drain(limit: Limit, times: &[Timestamp], now: Timestamp) -> (u32, Option<Timestamp>) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let mut bucket = Bucket::default();
    for at in times {
        bucket.take(limit, at);
    }
    bucket.used(limit, now)
}

#[test]
fn limits_are_known_for_lets_encrypt_alone() {
    assert!(limits_of(PRODUCTION_URL).is_some());
    assert!(limits_of("https://acme-staging-v02.api.letsencrypt.org/directory").is_some());
    assert_eq!(limits_of("https://acme.zerossl.com/v2/DV90"), None);
}

#[test]
fn each_limit_counts_what_it_is_for() {
    #[track_caller]
    fn check(entries: Vec<Entry>, limit: &str, expected: u32) {
        let all = usage_of(
            &entries,
            Some(ACCOUNT),
            &["a.shop.test", "b.shop.test"],
            Issuance::First,
        );
        let found = all.iter().find(|(name, of, ..)| {
            *name == limit && (of.is_empty() || of == "a.shop.test" || of == "shop.test")
        });
        assert_eq!(
            found.map(|(.., used, _)| *used),
            Some(expected),
            "{limit}: {all:?}"
        );
    }
    const SOON: &str = "2027-03-01T11:57:00Z";
    let both = names(&["a.shop.test", "b.shop.test"]);
    let other = names(&["c.shop.test"]);
    let order = Spent::Order(both.clone());
    check(spent(1, NOW, ACCOUNT, order.clone()), "orders", 1);
    check(spent(1, NOW, "https://ca.test/acct/8", order), "orders", 0);
    check(
        spent(2, SOON, ACCOUNT, Spent::Certificate(both.clone())),
        "exact_set",
        2,
    );
    check(
        spent(2, SOON, ACCOUNT, Spent::Renewal(both)),
        "exact_set",
        2,
    );
    check(
        spent(2, SOON, "", Spent::Certificate(other.clone())),
        "exact_set",
        0,
    );
    check(
        spent(2, SOON, "", Spent::Certificate(other.clone())),
        "registered_domain",
        2,
    );
    check(
        spent(2, SOON, "", Spent::Renewal(other)),
        "registered_domain",
        0,
    );
    check(
        spent(
            2,
            SOON,
            "",
            Spent::Certificate(names(&["shop.test.example"])),
        ),
        "registered_domain",
        0,
    );
    let failure = Spent::Failure("a.shop.test".to_owned());
    check(spent(2, SOON, ACCOUNT, failure.clone()), "failures", 2);
    check(
        spent(2, SOON, "https://ca.test/acct/8", failure),
        "failures",
        0,
    );
    check(
        spent(2, SOON, ACCOUNT, Spent::Failure("b.shop.test".to_owned())),
        "failures",
        0,
    );
    // A clock that was wrong is no reason to wait.
    let failure = Spent::Failure("a.shop.test".to_owned());
    check(
        spent(9, "2099-01-01T00:00:00Z", ACCOUNT, failure),
        "failures",
        0,
    );
}

#[test]
fn a_renewal_is_exempt_from_two_limits() {
    let limits = |entries: &[Entry], issuance| {
        let all = usage_of(entries, Some(ACCOUNT), &["shop.test"], issuance);
        all.into_iter().map(|(name, ..)| name).collect::<Vec<_>>()
    };
    let renewal = ["exact_set", "failures"];
    assert_eq!(
        limits(&[], Issuance::First),
        ["orders", "exact_set", "registered_domain", "failures"]
    );
    assert_eq!(limits(&[], Issuance::Renewal), renewal);
    let before = spent(1, NOW, ACCOUNT, Spent::Certificate(names(&["shop.test"])));
    assert_eq!(limits(&before, Issuance::First), renewal);
}

#[test]
fn a_hundred_renewals_of_one_domain_do_not_block_a_new_name() {
    let entries: Vec<Entry> = (0..100)
        .flat_map(|number| {
            let name = format!("n{number}.shop.test");
            spent(
                1,
                "2027-03-01T11:00:00Z",
                ACCOUNT,
                Spent::Renewal(vec![name]),
            )
        })
        .collect();
    let all = usage_of(&entries, Some(ACCOUNT), &["new.shop.test"], Issuance::First);
    assert!(
        all.iter()
            .all(|(_, _, used, next)| (*used, next) == (0, &None)),
        "{all:?}"
    );
}

#[test]
fn a_new_account_has_no_failures_and_no_orders() {
    let failure = Spent::Failure("shop.test".to_owned());
    let entries = spent(5, "2027-03-01T11:50:00Z", ACCOUNT, failure);
    let all = usage_of(&entries, None, &["shop.test"], Issuance::First);
    let (failures, accounts) = (&all[3], &all[0]);
    assert_eq!((failures.0, failures.2), ("failures", 0));
    assert_eq!((accounts.0, accounts.2), ("accounts", 0));
}

#[test]
fn an_empty_bucket_says_when_its_next_token_comes() {
    #[track_caller]
    fn check(times: &[&str], now: &str, used: u32, next: Option<&str>) {
        let times: Vec<Timestamp> = times.iter().map(|time| at(time)).collect();
        let expected = (used, next.map(at));
        assert_eq!(
            drain(PRODUCTION.failures, &times, at(now)),
            expected,
            "{now}"
        );
    }
    let five = ["2027-03-01T12:00:00Z"; 5];
    check(&[], "2027-03-01T12:00:00Z", 0, None);
    check(&five[..4], "2027-03-01T12:00:00Z", 4, None);
    check(&five[..1], "2027-03-01T12:11:59Z", 1, None);
    check(&five[..1], "2027-03-01T12:12:00Z", 0, None);
    check(&five[..1], "2027-03-01T12:30:00Z", 0, None);
    check(
        &five,
        "2027-03-01T12:00:00Z",
        5,
        Some("2027-03-01T12:12:00Z"),
    );
    check(
        &five,
        "2027-03-01T12:11:59Z",
        5,
        Some("2027-03-01T12:12:00Z"),
    );
    check(&five, "2027-03-01T12:12:00Z", 4, None);
    check(&five, "2027-03-01T12:12:01Z", 4, None);
    check(&five, "2027-03-01T12:59:59Z", 1, None);
    check(&five, "2027-03-01T13:00:00Z", 0, None);
    // More than the limit was had: the CA's count is another, and the wait grows no longer.
    let ten = ["2027-03-01T12:00:00Z"; 10];
    check(
        &ten,
        "2027-03-01T12:00:00Z",
        5,
        Some("2027-03-01T12:12:00Z"),
    );
}

fn any_limit() -> impl Strategy<Value = Limit> {
    let limits = [
        PRODUCTION.accounts,
        PRODUCTION.orders,
        PRODUCTION.registered_domain,
        PRODUCTION.exact_set,
        PRODUCTION.failures,
        STAGING.registered_domain,
        STAGING.exact_set,
    ];
    prop::sample::select(limits.to_vec())
}

fn any_times() -> impl Strategy<Value = Vec<Timestamp>> {
    vec(0i64..700_000, 0..80).prop_map(|seconds| {
        seconds
            .into_iter()
            .map(|second| later(at(NOW), second))
            .collect()
    })
}

fn later(from: Timestamp, seconds: i64) -> Timestamp {
    from + SignedDuration::from_secs(seconds)
}

proptest! {
    #[test]
    fn a_bucket_never_holds_less_than_nothing(
        limit in any_limit(),
        times in any_times(),
        wait in 700_000i64..1_500_000,
    ) {
        let (used, next) = drain(limit, &times, later(at(NOW), wait));
        prop_assert!(used <= limit.most);
        prop_assert!(usize::try_from(used).unwrap() <= times.len());
        prop_assert_eq!(next.is_some(), used == limit.most);
    }

    #[test]
    fn the_next_token_is_there_when_it_is_said_and_not_before(
        limit in any_limit(),
        times in any_times(),
    ) {
        let now = later(at(NOW), 700_000);
        if let (_, Some(next)) = drain(limit, &times, now) {
            prop_assert!(next > now);
            let just_before = next - SignedDuration::from_nanos(1);
            prop_assert_eq!(drain(limit, &times, just_before), (limit.most, Some(next)));
            prop_assert_eq!(drain(limit, &times, next), (limit.most - 1, None));
        }
    }

    #[test]
    fn time_only_fills_a_bucket(
        limit in any_limit(),
        times in any_times(),
        first in 700_000i64..1_500_000,
        more in 0i64..1_000_000,
    ) {
        let (before, _) = drain(limit, &times, later(at(NOW), first));
        let (after, _) = drain(limit, &times, later(at(NOW), first + more));
        prop_assert!(after <= before);
        let full = later(at(NOW), 700_000) + limit.period;
        prop_assert_eq!(drain(limit, &times, full), (0, None));
    }

    #[test]
    fn spending_more_never_leaves_more(
        limit in any_limit(),
        times in any_times(),
        another in 0i64..700_000,
    ) {
        let now = later(at(NOW), 700_000);
        let (before, _) = drain(limit, &times, now);
        let more: Vec<Timestamp> = times.iter().copied().chain([later(at(NOW), another)]).collect();
        let (after, _) = drain(limit, &more, now);
        prop_assert!(after >= before);
    }
}
