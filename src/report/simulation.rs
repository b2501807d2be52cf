//! What `certd renew --simulate` shows of a play.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Serialize, Serializer};

use super::{SCHEMA_VERSION, Verdict};
use crate::finding::{Finding, Severity};
use crate::plan::budget::Limit;
use crate::plan::simulation::{self, Course, PutOff, Run};

/// A finished play
#[derive(Clone, Debug, Serialize)]
pub struct SimulationReport {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Always `renew --simulate`
    pub command: &'static str,
    /// What was played
    pub played: Played,
    /// Why a domain could not take part, or a play tells less than it could
    pub findings: Vec<Finding>,
    /// The certificate that had the least life left; `None` where there was none
    pub least_life: Option<Life>,
    /// The certificate that had the least part of its life left; `None` where there was none
    pub least_part: Option<Life>,
    /// Certificates that expired before they were replaced, by time
    pub expired: Vec<Expired>,
    /// Domains that have no certificate at the end
    pub without_certificate: Vec<String>,
    /// Domains whose order the CA has refused until a person acts
    pub stopped: Vec<String>,
    /// Orders that were placed
    pub orders: Orders,
    /// Renewals by the windows that CAs suggested; those without a window are left out
    pub windows: Windows,
    /// Orders that had to wait for a limit of the CA, by limit
    pub put_off: Vec<Waits>,
    /// Most orders in a span of time
    pub most_orders: Peaks,
    /// How the orders spread over time
    pub spread: Spread,
}

/// What was played
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Played {
    /// Domains that took part
    pub domains: usize,
    /// Where they come from
    pub cast: Cast,
    /// When it began
    pub from: Timestamp,
    /// When it ended
    pub until: Timestamp,
    /// Part of the orders that failed by chance, from 0.0 to 1.0
    pub failure_rate: f64,
    /// Where chance began
    pub seed: u64,
}

/// Where the domains of a play come from
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cast {
    /// The configuration, with what is installed
    Configured,
    /// They are made up, without certificates
    MadeUp,
}

/// What a certificate had left when it was replaced, or at the end
#[derive(Clone, Debug, Serialize)]
pub struct Life {
    /// Its domain
    pub domain: String,
    /// When that was
    pub at: Timestamp,
    /// Seconds that were left; negative after expiry
    pub left_secs: i64,
    /// Seconds of its whole life
    pub lifetime_secs: i64,
    /// The part that was left; negative after expiry
    pub left_part: f64,
}

/// A certificate that expired
#[derive(Clone, Debug, Serialize)]
pub struct Expired {
    /// Its domain
    pub domain: String,
    /// When it expired
    pub at: Timestamp,
    /// When the domain had another; `None` where it had none until the end
    pub until: Option<Timestamp>,
}

/// Orders that were placed
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Orders {
    /// All of them
    pub placed: u64,
    /// Those that brought a certificate
    pub issued: u64,
    /// Those that failed
    pub failed: u64,
}

/// Renewals by the windows that CAs suggested
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Windows {
    /// In the window
    pub inside: u64,
    /// Before or after it
    pub outside: u64,
}

/// Orders that had to wait for one limit
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Waits {
    /// Its name
    pub limit: &'static str,
    /// What it is of, in words
    pub of: &'static str,
    /// How many it grants at once
    pub most: u32,
    /// Time in which they all come back
    #[serde(rename = "period_secs", serialize_with = "whole_seconds")]
    pub period: SignedDuration,
    /// Orders that waited
    pub orders: usize,
    /// The longest wait
    #[serde(rename = "longest_secs", serialize_with = "whole_seconds")]
    pub longest: SignedDuration,
}

/// Most orders in any span of so much time
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Peaks {
    /// In three hours
    pub in_3_hours: u64,
    /// In a day
    pub in_a_day: u64,
    /// In a week
    pub in_a_week: u64,
}

/// How orders spread over time
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// What each entry stands for, in UTC
    pub by: Unit,
    /// One entry for each unit from the beginning to the end
    pub parts: Vec<Part>,
}

/// A unit of the calendar
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A day
    Day,
    /// Seven days, from the day of the beginning on
    Week,
    /// A month of the calendar
    Month,
    /// A year of the calendar
    Year,
}

/// The orders of one unit
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its first day
    pub from: Date,
    /// Orders that brought a certificate
    pub issued: u64,
    /// Orders that failed
    pub failed: u64,
}

impl SimulationReport {
    /// The report of a play and its result
    pub fn new(played: Played, course: Course, findings: Vec<Finding>) -> Self {
        let expired = course.expired.into_iter().map(|expired| Expired {
            domain: expired.domain,
            at: expired.at,
            until: expired.until,
        });
        Self {
            schema_version: SCHEMA_VERSION,
            command: "renew --simulate",
            findings,
            least_life: course.least_life.as_ref().map(life),
            least_part: course.least_part.as_ref().map(life),
            expired: expired.collect(),
            without_certificate: course.without,
            stopped: course.stopped,
            orders: orders(&course.runs),
            windows: Windows {
                inside: course.in_window,
                outside: course.out_of_window,
            },
            put_off: waits(&course.put_off),
            most_orders: Peaks {
                in_3_hours: most_in(SignedDuration::from_hours(3), &course.runs),
                in_a_day: most_in(SignedDuration::from_hours(24), &course.runs),
                in_a_week: most_in(SignedDuration::from_hours(7 * 24), &course.runs),
            },
            spread: Spread::over(played.from, played.until, &course.runs),
            played,
        }
    }

    /// How the play ended: an expired certificate is a failure, one that is missing may yet come
    pub fn verdict(&self) -> Verdict {
        let failure = |finding: &Finding| finding.severity == Severity::Failure;
        match self.expired.is_empty() && !self.findings.iter().any(failure) {
            false => Verdict::Failed,
            true if self.without_certificate.is_empty() => Verdict::Well,
            true => Verdict::Later,
        }
    }
}

fn life(life: &simulation::Life) -> Life {
    Life {
        domain: life.domain.clone(),
        at: life.at,
        left_secs: life.left().as_secs(),
        lifetime_secs: life.validity.lifetime().as_secs(),
        left_part: life.part(),
    }
}

fn orders(runs: &[Run]) -> Orders {
    let sum = |count: fn(&Run) -> u32| runs.iter().map(|run| u64::from(count(run))).sum();
    Orders {
        placed: sum(Run::orders),
        issued: sum(|run| run.issued),
        failed: sum(|run| run.failed),
    }
}

fn waits(put_off: &[PutOff]) -> Vec<Waits> {
    let mut all: Vec<Waits> = Vec::new();
    for PutOff { limit, waited } in put_off {
        match all.iter_mut().find(|known| known.limit == limit.name) {
            Some(known) => {
                known.orders += 1;
                known.longest = known.longest.max(*waited);
            }
            None => all.push(first_wait(limit, *waited)),
        }
    }
    all.sort_by_key(|waits| waits.limit);
    all
}

const fn first_wait(limit: &Limit, waited: SignedDuration) -> Waits {
    Waits {
        limit: limit.name,
        of: limit.what,
        most: limit.most,
        period: limit.period,
        orders: 1,
        longest: waited,
    }
}

/// Most orders of runs that lie less than this apart
fn most_in(span: SignedDuration, runs: &[Run]) -> u64 {
    let (mut first, mut now, mut most) = (0, 0, 0);
    for run in runs {
        now += u64::from(run.orders());
        while run.at.duration_since(runs[first].at) >= span {
            now -= u64::from(runs[first].orders());
            first += 1;
        }
        most = most.max(now);
    }
    most
}

impl Spread {
    /// The orders of these runs, in the smallest units that a person takes in at a glance
    fn over(from: Timestamp, until: Timestamp, runs: &[Run]) -> Self {
        let days = until.duration_since(from).as_hours() / 24;
        let by = match days {
            ..17 => Unit::Day,
            17..113 => Unit::Week,
            113..800 => Unit::Month,
            _ => Unit::Year,
        };
        let begins = by.begin(day(from)).series(by.span());
        let last = until.saturating_sub(SignedDuration::from_secs(1));
        let last = day(last.unwrap_or(until));
        let begins = begins.take_while(|begin| *begin <= last);
        let mut parts: Vec<Part> = begins.map(Part::empty).collect();
        for run in runs {
            let last = parts.partition_point(|part| part.from <= day(run.at));
            if let Some(part) = last.checked_sub(1).and_then(|last| parts.get_mut(last)) {
                part.issued += u64::from(run.issued);
                part.failed += u64::from(run.failed);
            }
        }
        Self { by, parts }
    }
}

impl Part {
    const fn empty(from: Date) -> Self {
        Self {
            from,
            issued: 0,
            failed: 0,
        }
    }
}

impl Unit {
    /// The word for it in text
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The first day of the unit that a day lies in
    fn begin(self, day: Date) -> Date {
        match self {
            Self::Day | Self::Week => day,
            Self::Month => day.first_of_month(),
            Self::Year => day.first_of_year(),
        }
    }

    fn span(self) -> Span {
        match self {
            Self::Day => Span::new().days(1),
            Self::Week => Span::new().weeks(1),
            Self::Month => Span::new().months(1),
            Self::Year => Span::new().years(1),
        }
    }
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Serialises a span of time as whole seconds
fn whole_seconds<S: Serializer>(span: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(span.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn run(text: &str, issued: u32) -> Run {
        Run {
            at: at(text),
            issued,
            failed: 1,
        }
    }

    #[test]
    fn the_most_orders_of_a_span_are_those_of_any_span_of_that_length() {
        let runs = [
            run("2027-01-01T03:00:00Z", 1),
            run("2027-01-01T05:59:59Z", 10),
            run("2027-01-01T06:00:00Z", 100),
            run("2027-01-02T03:00:00Z", 5),
        ];
        assert_eq!(most_in(SignedDuration::from_hours(3), &runs), 112);
        assert_eq!(most_in(SignedDuration::from_hours(24), &runs), 118);
        assert_eq!(most_in(SignedDuration::from_hours(48), &runs), 120);
        assert_eq!(most_in(SignedDuration::from_hours(3), &[]), 0);
    }

    #[test]
    fn the_units_of_a_spread_are_made_for_its_span() {
        #[track_caller]
        fn check(days: i64, by: Unit, parts: usize, first: &str) {
            let from = at("2026-11-20T12:00:00Z");
            let until = from + SignedDuration::from_hours(24 * days);
            let spread = Spread::over(from, until, &[]);
            assert_eq!((spread.by, spread.parts.len()), (by, parts), "{days}");
            assert_eq!(spread.parts[0].from.to_string(), first);
        }
        check(1, Unit::Day, 2, "2026-11-20");
        check(16, Unit::Day, 17, "2026-11-20");
        check(17, Unit::Week, 3, "2026-11-20");
        check(112, Unit::Week, 17, "2026-11-20");
        check(365, Unit::Month, 13, "2026-11-01");
        check(3_650, Unit::Year, 11, "2026-01-01");
    }

    #[test]
    fn each_run_is_counted_in_its_unit() {
        let runs = [
            run("2026-11-30T23:59:59Z", 3),
            run("2026-12-01T00:00:00Z", 5),
            run("2027-11-20T11:00:00Z", 7),
        ];
        let (from, until) = (at("2026-11-20T12:00:00Z"), at("2027-11-20T12:00:00Z"));
        let parts = Spread::over(from, until, &runs).parts;
        let issued: Vec<u64> = parts.iter().map(|part| part.issued).collect();
        assert_eq!(issued, [3, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(parts.iter().map(|part| part.failed).sum::<u64>(), 3);
    }
}
