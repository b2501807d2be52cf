//! When an order that failed may be tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::store::record::Failures;

/// Whose word a domain waits for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// certd's own pauses
    Pause,
    /// The CA named an instant
    Ca,
}

/// The earliest instant of the next order; `None` without failures
///
/// 1, 10, 100 minutes after the last failure, then daily, as Let's Encrypt's integration guide
/// asks; later where the CA itself named an instant, at most a week ahead. Daily is an hour less
/// than a day: an order fails some time after its run began, a timer spreads its runs, and the same
/// run of the next day must not come too early, or a try a day is one in a day and a half.
///
/// `expires` is when the certificate ends that the order would replace: no wait takes more than a
/// quarter of what was left of it, or six hours. A failure that lies ahead of `now` was noted by a
/// clock that was wrong, and counts for nothing.
#[must_use]
pub fn next_try(
    failures: &Failures,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let last = last(failures, now)?;
    let own = last.saturating_add(pause(failures.count));
    let own = own.unwrap_or(Timestamp::MAX).min(latest(last, expires));
    let named = named(failures, expires, now);
    Some(named.map_or(own, |named| own.max(named)))
}

/// The instant before which the CA itself wants no order, within the same bounds
#[must_use]
pub fn named(failures: &Failures, expires: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let last = last(failures, now)?;
    Some(failures.not_before?.min(latest(last, expires)))
}

/// The pause after so many failures in a row, from 1
#[must_use]
pub fn pause(failures: u32) -> Duration {
    let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    STEPS.get(step).copied().unwrap_or(LAST_STEP)
}

/// When the last failure happened
fn last(failures: &Failures, now: Timestamp) -> Option<Timestamp> {
    let soon = now.saturating_add(CLOCKS_DIFFER).unwrap_or(Timestamp::MAX);
    failures.last.filter(|last| *last <= soon)
}

/// The end of the longest wait after a failure
fn latest(last: Timestamp, expires: Option<Timestamp>) -> Timestamp {
    let left = expires.map(|expires| expires.duration_since(last));
    let longest = match left {
        None => LONGEST,
        Some(left) if left > SignedDuration::ZERO => (left / 4).clamp(SHORTEST, LONGEST),
        Some(_) => DAY,
    };
    last.saturating_add(longest).unwrap_or(Timestamp::MAX)
}

const STEPS: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(6_000),
];
const LAST_STEP: Duration = Duration::from_secs(23 * 3_600);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Of the longest wait: a certificate that is nearly over is tried four times a day
const SHORTEST: SignedDuration = SignedDuration::from_hours(6);
/// A record may have been written by another host
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(count: u32, not_before: Option<&str>) -> Failures {
        Failures {
            count,
            last: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            not_before: not_before.map(|at| at.parse().unwrap()),
            ..Failures::default()
        }
    }

    #[track_caller]
    fn check(count: u32, not_before: Option<&str>, expires: Option<&str>, expected: &str) {
        let failures = failures(count, not_before);
        let now = failures.last.unwrap();
        let expires = expires.map(|at| at.parse().unwrap());
        let next = next_try(&failures, expires, now);
        assert_eq!(next, Some(expected.parse().unwrap()));
    }

    #[test]
    fn tries_are_one_ten_hundred_minutes_then_nearly_a_day_apart() {
        check(1, None, None, "2027-01-01T00:01:00Z");
        check(2, None, None, "2027-01-01T00:10:00Z");
        check(3, None, None, "2027-01-01T01:40:00Z");
        check(4, None, None, "2027-01-01T23:00:00Z");
        check(400, None, None, "2027-01-01T23:00:00Z");
        assert_eq!(next_try(&Failures::default(), None, Timestamp::MAX), None);
    }

    #[test]
    fn what_the_ca_names_is_obeyed_within_a_week() {
        check(
            1,
            Some("2027-01-01T05:00:00Z"),
            None,
            "2027-01-01T05:00:00Z",
        );
        check(
            3,
            Some("2027-01-01T00:00:05Z"),
            None,
            "2027-01-01T01:40:00Z",
        );
        check(
            1,
            Some("2037-01-01T00:00:00Z"),
            None,
            "2027-01-08T00:00:00Z",
        );
        let far = Some("2037-01-01T00:00:00Z");
        check(1, far, Some("2027-03-01T00:00:00Z"), "2027-01-08T00:00:00Z");
    }

    #[test]
    fn no_wait_outlasts_the_certificate() {
        let far = Some("2037-01-01T00:00:00Z");
        check(1, far, Some("2027-01-03T12:00:00Z"), "2027-01-01T15:00:00Z");
        check(
            9,
            None,
            Some("2027-01-03T12:00:00Z"),
            "2027-01-01T15:00:00Z",
        );
        check(9, far, Some("2027-01-01T07:00:00Z"), "2027-01-01T06:00:00Z");
        check(
            1,
            None,
            Some("2027-01-01T07:00:00Z"),
            "2027-01-01T00:01:00Z",
        );
        // One that is over waits as one does that never was, a day at most.
        check(9, far, Some("2026-12-31T00:00:00Z"), "2027-01-02T00:00:00Z");
        check(
            9,
            None,
            Some("2026-12-31T00:00:00Z"),
            "2027-01-01T23:00:00Z",
        );
    }

    #[test]
    fn a_failure_that_lies_ahead_counts_for_nothing() {
        let failures = failures(4, Some("2027-01-05T00:00:00Z"));
        let at = |now: &str| {
            let now = now.parse().unwrap();
            (
                next_try(&failures, None, now),
                named(&failures, None, now).is_some(),
            )
        };
        assert_eq!(at("2026-12-31T23:58:00Z"), (None, false));
        let next = Some("2027-01-05T00:00:00Z".parse().unwrap());
        assert_eq!(at("2026-12-31T23:59:30Z"), (next, true));
        assert_eq!(at("2027-01-04T00:00:00Z"), (next, true));
    }
}
