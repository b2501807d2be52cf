//! Years of renewals in a minute: the daemon's and the timer's decisions, over real sockets, with
//! the CA's clock set to the instant of each pass.
//!
//! Certificates of 90, 64 and 45 days are renewed six times by the timer with each trouble, in a year
//! or what is as long for shorter ones; those of 6 days 18 times, in 60 days of the daemon with each
//! trouble, and of the timer.

use jiff::SignedDuration;

use world::{Alert, Driver, Outage, Trouble, World, Year};

mod world;

/// Certificates of one lifetime, and one trouble whenever they are to be renewed
#[derive(Clone, Copy, Debug)]
struct Row {
    lifetime: SignedDuration,
    driver: Driver,
    trouble: Trouble,
    span: SignedDuration,
    /// The least life that the live certificate may ever have left
    least: SignedDuration,
}

const fn row(
    lifetime: SignedDuration,
    driver: Driver,
    trouble: Trouble,
    span: SignedDuration,
    least: SignedDuration,
) -> Row {
    Row {
        lifetime,
        driver,
        trouble,
        span,
        least,
    }
}

const fn days(days: i64) -> SignedDuration {
    hours(24 * days)
}

const fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

const DAYS_90: SignedDuration = days(90);
const DAYS_64: SignedDuration = days(64);
const DAYS_45: SignedDuration = days(45);
/// What Let's Encrypt calls 6 days
const DAYS_6: SignedDuration = hours(160);

const YEAR: SignedDuration = days(365);
/// As many renewals of 64 days as a year has of 90
const MONTHS_9: SignedDuration = days(260);
/// The same of 45 days
const MONTHS_6: SignedDuration = days(183);
const SIXTY: SignedDuration = days(60);

const HOUR: Trouble = Trouble::Outage(hours(1));
const DAY: Trouble = Trouble::Outage(days(1));
const WEEK: Trouble = Trouble::Outage(days(7));

/// An outage of a week and certificates of 6 days stand apart: nobody can live through that
#[rustfmt::skip]
const ROWS: [Row; 31] = {
    use Driver::{Daemon, Timer};
    use Trouble::{Crash, Limit, Nonces, Nothing, Recall};
    [
        row(DAYS_90, Timer, Nothing, YEAR, days(28)),
        row(DAYS_90, Timer, HOUR, YEAR, days(28)),
        row(DAYS_90, Timer, DAY, YEAR, days(27)),
        row(DAYS_90, Timer, WEEK, YEAR, days(21)),
        row(DAYS_90, Timer, Nonces, YEAR, days(28)),
        row(DAYS_90, Timer, Crash, YEAR, days(28)),
        row(DAYS_90, Timer, Recall, YEAR, days(66)),
        row(DAYS_90, Timer, Limit, YEAR, days(21)),
        row(DAYS_64, Timer, Nothing, MONTHS_9, days(20)),
        row(DAYS_64, Timer, HOUR, MONTHS_9, days(20)),
        row(DAYS_64, Timer, DAY, MONTHS_9, days(19)),
        row(DAYS_64, Timer, WEEK, MONTHS_9, days(12)),
        row(DAYS_64, Timer, Nonces, MONTHS_9, days(20)),
        row(DAYS_64, Timer, Crash, MONTHS_9, days(20)),
        row(DAYS_64, Timer, Recall, MONTHS_9, days(46)),
        row(DAYS_45, Timer, Nothing, MONTHS_6, days(13)),
        row(DAYS_45, Timer, HOUR, MONTHS_6, days(13)),
        row(DAYS_45, Timer, DAY, MONTHS_6, days(12)),
        row(DAYS_45, Timer, WEEK, MONTHS_6, days(6)),
        row(DAYS_45, Timer, Nonces, MONTHS_6, days(13)),
        row(DAYS_45, Timer, Crash, MONTHS_6, days(13)),
        row(DAYS_45, Timer, Recall, MONTHS_6, days(32)),
        row(DAYS_45, Daemon, WEEK, SIXTY, days(6)),
        row(DAYS_6, Timer, Nothing, SIXTY, hours(64)),
        row(DAYS_6, Daemon, Nothing, SIXTY, hours(72)),
        row(DAYS_6, Daemon, HOUR, SIXTY, hours(72)),
        row(DAYS_6, Daemon, DAY, SIXTY, hours(50)),
        row(DAYS_6, Daemon, Nonces, SIXTY, hours(72)),
        row(DAYS_6, Daemon, Crash, SIXTY, hours(72)),
        row(DAYS_6, Daemon, Recall, SIXTY, hours(100)),
        row(DAYS_6, Daemon, Limit, SIXTY, hours(50)),
    ]
};

/// At least so much life is left at any time, and not more certificates are issued than the trouble
/// explains
#[track_caller]
fn check(row: &Row) {
    let year = World::new(row.lifetime, row.driver, row.trouble).live_through(row.span);
    assert!(year.least >= row.least, "{row:?} {year:?}");
    assert!(year.outages.iter().all(|outage| outage.lapse.is_none()));
    // At a third of its life, at a half of a short one, or at a quarter after a recall.
    let each = match row.trouble {
        Trouble::Recall => row.lifetime / 4,
        _ if row.lifetime < days(10) => row.lifetime / 100 * 49,
        _ => row.lifetime / 100 * 65,
    };
    let in_span = |each: SignedDuration| row.span.as_hours() / each.as_hours();
    let explained = in_span(row.lifetime)..=1 + in_span(each);
    let issued = i64::try_from(year.issued).expect("a number");
    assert!(
        explained.contains(&issued),
        "{explained:?} {row:?} {year:?}"
    );
}

/// Which years of a lifetime: the two halves run beside each other
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Years {
    /// The CA is always there, whatever else it does
    Served,
    /// It is down whenever it is needed
    Unserved,
}

#[track_caller]
fn check_all(lifetime: SignedDuration, years: Years) {
    let is_meant = |row: &&Row| {
        let own = match row.trouble {
            Trouble::Outage(_) => Years::Unserved,
            _ => Years::Served,
        };
        row.lifetime == lifetime && own == years
    };
    ROWS.iter().filter(is_meant).for_each(check);
}

#[test]
fn certificates_of_90_days_never_lapse() {
    check_all(DAYS_90, Years::Served);
}

#[test]
fn certificates_of_90_days_outlive_outages() {
    check_all(DAYS_90, Years::Unserved);
}

#[test]
fn certificates_of_64_days_never_lapse() {
    check_all(DAYS_64, Years::Served);
}

#[test]
fn certificates_of_64_days_outlive_outages() {
    check_all(DAYS_64, Years::Unserved);
}

#[test]
fn certificates_of_45_days_never_lapse() {
    check_all(DAYS_45, Years::Served);
}

#[test]
fn certificates_of_45_days_outlive_outages() {
    check_all(DAYS_45, Years::Unserved);
}

#[test]
fn certificates_of_6_days_never_lapse() {
    check_all(DAYS_6, Years::Served);
}

#[test]
fn certificates_of_6_days_outlive_outages() {
    check_all(DAYS_6, Years::Unserved);
}

/// Each outage lasts longer than the certificate: its alerts say so while at least `warned` is
/// left, and it is over at most `recovered` after the CA is back
#[track_caller]
fn check_outlasted(driver: Driver, warned: SignedDuration, recovered: SignedDuration) {
    let year = World::new(DAYS_6, driver, WEEK).live_through(SIXTY);
    let over = year.outages.iter().filter(|outage| outage.proven.is_some());
    let over: Vec<&Outage> = over.collect();
    assert!(over.len() >= 3, "{year:?}");
    for outage in over {
        check_alerts(&year, outage, warned, recovered);
    }
}

#[track_caller]
fn check_alerts(year: &Year, outage: &Outage, warned: SignedDuration, recovered: SignedDuration) {
    let proven = outage.proven.expect("it is over");
    let lapse = outage.lapse.expect("it is longer than a certificate lives");
    let told = year.alerts.iter();
    let told: Vec<&Alert> = told
        .filter(|alert| outage.since <= alert.at && alert.at <= proven + MOMENT)
        .collect();
    let of = |event: &str| {
        let mut of = told.iter().filter(|alert| alert.event == event);
        of.next().unwrap_or_else(|| panic!("no {event}: {told:?}"))
    };
    let failure = outage.failure.expect("a pass failed");
    assert_eq!(told[0].event, "failed", "{told:?}");
    assert!(told[0].at.duration_since(failure) < MOMENT, "{told:?}");
    let expiring = of("expiring");
    assert_eq!(expiring.not_after, Some(lapse), "{told:?}");
    assert!(lapse.duration_since(expiring.at) >= warned, "{told:?}");
    of("still_failing");
    let end = of("recovered");
    assert!(end.at.duration_since(proven) < MOMENT, "{told:?}");
    assert!(end.at.duration_since(outage.until) <= recovered, "{told:?}");
}

#[test]
fn an_outage_longer_than_the_life_that_is_left_is_told_in_time_and_ends_at_once() {
    check_outlasted(Driver::Daemon, hours(36), hours(2));
    check_outlasted(Driver::Timer, hours(26), hours(13));
}

/// Time that a pass takes
const MOMENT: SignedDuration = SignedDuration::from_mins(1);
