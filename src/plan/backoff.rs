//! When an order that failed may be tried again.

use std::time::Duration;

use jiff::Timestamp;

use crate::store::record::Failures;

/// The earliest instant of the next order; `None` without failures
///
/// 1, 10, 100 minutes after the last failure, then daily, as Let's Encrypt's integration guide
/// asks; later where the CA itself named an instant, at most a week ahead. Daily is an hour less
/// than a day: an order fails some time after its run began, a timer spreads its runs, and the same
/// run of the next day must not come too early, or a try a day is one in a day and a half.
#[must_use]
pub fn next_try(failures: &Failures) -> Option<Timestamp> {
    let last = failures.last?;
    let own = last.saturating_add(pause(failures.count));
    let own = own.unwrap_or(Timestamp::MAX);
    let cap = last.saturating_add(CAP).unwrap_or(Timestamp::MAX);
    Some(
        failures
            .not_before
            .map_or(own, |asked| own.max(asked.min(cap))),
    )
}

/// The pause after so many failures in a row, from 1
#[must_use]
pub fn pause(failures: u32) -> Duration {
    let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    STEPS.get(step).copied().unwrap_or(LAST_STEP)
}

const STEPS: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(6_000),
];
const LAST_STEP: Duration = Duration::from_secs(23 * 3_600);
const CAP: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_one_ten_hundred_minutes_then_nearly_a_day_apart() {
        #[track_caller]
        fn check(count: u32, not_before: Option<&str>, expected: &str) {
            let failures = Failures {
                count,
                last: Some("2027-01-01T00:00:00Z".parse().unwrap()),
                not_before: not_before.map(|at| at.parse().unwrap()),
                reason: None,
                refused: None,
            };
            assert_eq!(next_try(&failures), Some(expected.parse().unwrap()));
        }
        check(1, None, "2027-01-01T00:01:00Z");
        check(2, None, "2027-01-01T00:10:00Z");
        check(3, None, "2027-01-01T01:40:00Z");
        check(4, None, "2027-01-01T23:00:00Z");
        check(400, None, "2027-01-01T23:00:00Z");
        check(1, Some("2027-01-01T05:00:00Z"), "2027-01-01T05:00:00Z");
        check(3, Some("2027-01-01T00:00:05Z"), "2027-01-01T01:40:00Z");
        check(1, Some("2037-01-01T00:00:00Z"), "2027-01-08T00:00:00Z");
        assert_eq!(next_try(&Failures::default()), None);
    }
}
