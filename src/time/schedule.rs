//! When sweeps come: a cron pattern in a time zone.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

/// A cron pattern of five fields, in a time zone
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// The schedule of a pattern such as `0 3,15 * * *`, in the system's time zone
    ///
    /// # Errors
    /// [`ScheduleError`] where the pattern does not read as one, or never matches.
    pub fn parse(pattern: &str) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let fields = pattern.split_whitespace().count();
        if fields != FIELDS {
            return Err(ScheduleError::Fields(fields));
        }
        let unusable = |error: croner::errors::CronError| {
            let words = error.to_string();
            let words = words.strip_prefix("Component error: ").unwrap_or(&words);
            ScheduleError::Pattern(words.trim_end_matches('.').to_lowercase())
        };
        let schedule = Self {
            cron: parser.parse(pattern).map_err(unusable)?,
            zone: TimeZone::system(),
        };
        let first = schedule.next(Timestamp::UNIX_EPOCH);
        first.map(|_| schedule).ok_or(ScheduleError::Never)
    }

    /// The same in another time zone
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// The first instant after this one that the pattern matches
    ///
    /// A time that the clock skips when summer time begins comes right after the gap.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.timestamp())
    }

    /// The last instant up to this one that the pattern matches
    pub fn last(&self, until: Timestamp) -> Option<Timestamp> {
        let until = until.to_zoned(self.zone.clone());
        let last = self.cron.find_previous_occurrence(&until, true).ok()?;
        Some(last.timestamp())
    }
}

/// Why a text is no schedule
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// It has another number of fields
    #[error("a cron pattern has five fields, and it has {0}")]
    Fields(usize),
    /// A field is none
    #[error("no cron pattern ({0})")]
    Pattern(String),
    /// No day has such a date
    #[error("no such time ever comes")]
    Never,
}

const FIELDS: usize = 5;

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_next_instant_is_found_in_the_zone() {
        #[track_caller]
        fn check(pattern: &str, zone: &str, after: &str, expected: &str) {
            let zone = TimeZone::get(zone).expect("a time zone");
            let schedule = Schedule::parse(pattern).expect("a pattern").in_zone(zone);
            assert_eq!(schedule.next(at(after)), Some(at(expected)), "{pattern}");
        }
        let twice = "0 3,15 * * *";
        check(twice, "UTC", "2026-11-20T02:59:59Z", "2026-11-20T03:00:00Z");
        check(twice, "UTC", "2026-11-20T03:00:00Z", "2026-11-20T15:00:00Z");
        check(twice, "UTC", "2026-11-20T15:30:00Z", "2026-11-21T03:00:00Z");
        let berlin = "Europe/Berlin";
        check(
            twice,
            berlin,
            "2026-11-20T00:00:00Z",
            "2026-11-20T02:00:00Z",
        );
        // Clocks go back an hour at 03:00 on 25 October, and on from 02:00 on 28 March.
        check(
            twice,
            berlin,
            "2026-10-24T20:00:00Z",
            "2026-10-25T02:00:00Z",
        );
        check(
            "30 2 * * *",
            berlin,
            "2027-03-27T20:00:00Z",
            "2027-03-28T01:00:00Z",
        );
        check(
            "0 0 29 2 *",
            "UTC",
            "2026-11-20T00:00:00Z",
            "2028-02-29T00:00:00Z",
        );
    }

    #[test]
    fn the_last_instant_is_the_one_whose_next_lies_ahead() {
        for (zone, day) in [
            ("UTC", "2026-11-20"),
            ("Europe/Berlin", "2026-10-25"),
            ("Europe/Berlin", "2027-03-28"),
        ] {
            for pattern in ["0 3,15 * * *", "30 2 * * *", "*/20 * * * *", "0 0 1 * *"] {
                let zone = TimeZone::get(zone).expect("a time zone");
                let schedule = Schedule::parse(pattern).expect("a pattern").in_zone(zone);
                for minutes in 0..1440 {
                    let midnight = at(&format!("{day}T00:00:00Z"));
                    let until = midnight + SignedDuration::from_mins(minutes);
                    let last = schedule.last(until).expect("it came");
                    assert!(last <= until, "{pattern}: {last} is after {until}");
                    let next = schedule.next(last).expect("it comes");
                    assert!(
                        next > until,
                        "{pattern}: {next} lies between {last} and {until}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, fields) in [("", 0), ("* * * *", 4), ("0 0 3 * * *", 6), ("@x", 1)] {
            let refused = Schedule::parse(text);
            assert_eq!(refused, Err(ScheduleError::Fields(fields)), "{text:?}");
        }
        for text in ["61 * * * *", "* * * * \u{1b}"] {
            let refused = Schedule::parse(text);
            assert!(
                matches!(refused, Err(ScheduleError::Pattern(_))),
                "{text:?}"
            );
        }
        assert_eq!(Schedule::parse("0 0 31 2 *"), Err(ScheduleError::Never));
    }
}
