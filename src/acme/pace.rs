//! The time of an order: how often it is polled, and when it is given up.

use std::time::Duration;

use tokio::time::Instant;

use super::problem::AcmeError;
use super::reply::RetryAfter;

/// The time between two polls of an order: as the CA says, else short and growing
pub(super) struct Pace {
    next: Duration,
    /// Time that the CA has had before the first poll
    begun: Duration,
}

impl Pace {
    /// For a CA that was asked this long ago: while its answer was under way it was at work
    pub(super) const fn after(begun: Duration) -> Self {
        Self {
            next: FIRST_WAIT,
            begun,
        }
    }

    /// How long to wait, when the last look is this far away; `None` after that one
    ///
    /// A CA that asks for a day may be done in a minute: whatever it asks for is waited for in
    /// steps, and the order is looked at once more before its time is over.
    pub(super) fn wait(
        &mut self,
        asked: Option<RetryAfter>,
        until_last: Duration,
    ) -> Option<Duration> {
        if until_last.is_zero() {
            return None;
        }
        let wait = match asked {
            Some(RetryAfter(wait)) if !wait.is_zero() => wait.min(LONGEST_STEP),
            _ => {
                let begun = std::mem::take(&mut self.begun);
                let wait = self.next.saturating_sub(begun);
                self.next = (self.next * 3 / 2).min(LONGEST_WAIT);
                wait
            }
        };
        Some(wait.min(until_last))
    }
}

/// When an order is given up
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// The time that there was in all
    pub(super) after: Duration,
}

impl Deadline {
    pub(super) fn after(after: Duration) -> Self {
        Self {
            at: Instant::now() + after,
            after,
        }
    }

    /// Time until the order is looked at for the last time, which leaves some for the answer
    pub(super) fn until_last_look(self) -> Duration {
        let last = self.at - self.after / PART_FOR_LAST_LOOK;
        last.saturating_duration_since(Instant::now())
    }
}

/// Work on an order, as far as its time allows
pub(super) async fn bounded<T>(
    deadline: Deadline,
    waiting_for: &'static str,
    work: impl Future<Output = Result<T, AcmeError>>,
) -> Result<T, AcmeError> {
    match tokio::time::timeout_at(deadline.at, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(AcmeError::Deadline {
            waiting_for,
            after: deadline.after,
        }),
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// The longest time between two polls of an order, whatever the CA asks for
const LONGEST_STEP: Duration = Duration::from_secs(15);
/// The part of an order's time that is left after the last look at it, to have what is ready then:
/// 15 of 120 seconds
const PART_FOR_LAST_LOOK: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_a_day_is_taken_in_steps_that_end_with_a_last_look() {
        let day = Some(RetryAfter(Duration::from_secs(86_400)));
        let mut pace = Pace::after(Duration::ZERO);
        let mut left = Duration::from_secs(115);
        let mut waits = Vec::new();
        while let Some(wait) = pace.wait(day, left) {
            waits.push(wait.as_secs());
            left -= wait;
        }
        assert_eq!(waits, [15, 15, 15, 15, 15, 15, 15, 10]);
    }

    #[test]
    fn a_ca_that_names_no_time_is_asked_with_growing_pauses() {
        let mut pace = Pace::after(Duration::ZERO);
        let waits = [0; 20].map(|_| pace.wait(None, Duration::from_secs(60)));
        assert_eq!(waits[0], Some(FIRST_WAIT));
        assert!(waits.is_sorted());
        assert_eq!(waits[19], Some(LONGEST_WAIT));
    }

    #[test]
    fn a_ca_far_away_is_asked_at_once_whether_it_is_ready() {
        let mut pace = Pace::after(Duration::from_millis(50));
        let minute = Duration::from_secs(60);
        assert_eq!(pace.wait(None, minute), Some(Duration::ZERO));
        assert!(pace.wait(None, minute) > Some(FIRST_WAIT));
        let mut named = Pace::after(Duration::from_millis(50));
        let second = Duration::from_secs(1);
        let asked = Some(RetryAfter(second));
        assert_eq!(named.wait(asked, minute), Some(second));
    }
}
