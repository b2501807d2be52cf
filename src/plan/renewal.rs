//! When a certificate is renewed: at an instant in the window that its CA suggests (RFC 9773), and
//! where there is none by its own lifetime.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::defaults::{SHORT_LIFE, SHORT_RESERVE};
use crate::facts::{NoSuggestion, Suggestion};
use crate::store::record::Renewal;
use crate::time::{Fraction, Validity, Window};

/// What is remembered after a CA was asked
///
/// `chance` is a random number from 0.0 up to 1.0. The instant is chosen once for each window: one
/// that was only asked for again moves nothing. A window without an instant in it is no answer.
#[must_use]
pub fn remember(
    known: Option<&Renewal>,
    answer: Result<Suggestion, NoSuggestion>,
    chance: f64,
    now: Timestamp,
) -> Renewal {
    let after = |wait: Duration| now.saturating_add(wait).unwrap_or(Timestamp::MAX);
    let known = known.cloned().unwrap_or_default();
    let reason = match answer {
        Ok(suggestion) if !suggestion.window.is_empty() => {
            let instant = match (known.window, known.instant) {
                (Some(window), Some(instant)) if window == suggestion.window => instant,
                _ => suggestion.window.instant_at(chance),
            };
            return Renewal {
                window: Some(suggestion.window),
                instant: Some(instant),
                explanation: suggestion.explanation,
                next_look: after(suggestion.retry_after.clamp(SOONEST, LATEST)),
                failures: 0,
            };
        }
        Ok(_) => NoSuggestion::LongTerm,
        Err(reason) => reason,
    };
    let wait = match reason {
        NoSuggestion::ForNow => SOONEST * 2_u32.saturating_pow(known.failures.min(MOST_DOUBLINGS)),
        NoSuggestion::LongTerm => LONG_TERM,
    };
    Renewal {
        next_look: after(wait.min(LONG_TERM)),
        failures: known.failures.saturating_add(1),
        ..known
    }
}

/// Whether a CA may be asked again
///
/// A look that lies further ahead than any answer allows was noted by a clock that was wrong.
#[must_use]
pub fn may_ask(known: Option<&Renewal>, now: Timestamp) -> bool {
    let latest = now.saturating_add(LATEST).unwrap_or(Timestamp::MAX);
    known.is_none_or(|known| known.next_look <= now || known.next_look > latest)
}

/// When a certificate is renewed, and by whose word
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At the instant that was chosen of the CA's window
    Suggested {
        /// That window
        window: Window,
        /// The instant
        at: Timestamp,
    },
    /// When a part of the lifetime is left
    Lifetime {
        /// The instant
        at: Timestamp,
    },
    /// Before the CA's window: too little life would be left
    Emergency {
        /// The instant
        at: Timestamp,
    },
}

impl Moment {
    /// The instant
    pub const fn at(self) -> Timestamp {
        match self {
            Self::Suggested { at, .. } | Self::Lifetime { at } | Self::Emergency { at } => at,
        }
    }

    /// The same, but at this instant at the earliest where it is the CA's wish
    pub(super) fn not_before(self, rests: Option<Timestamp>) -> Self {
        match (self, rests) {
            (Self::Suggested { window, at }, Some(rests)) if at < rests => Self::Suggested {
                window: Window {
                    start: window.start.max(rests),
                    ..window
                },
                at: rests,
            },
            (moment, _) => moment,
        }
    }

    /// The first instant at which it can have come, whenever it is looked at next
    pub fn earliest(self) -> Timestamp {
        match self {
            Self::Suggested { window, at } => at.min(window.start),
            Self::Lifetime { at } | Self::Emergency { at } => at,
        }
    }

    /// Whether it has come at `now`, when it is looked at next at `next`
    ///
    /// Outside its window a renewal counts for the CA's limits, so that one whose instant would
    /// pass between two looks is better early than late (RFC 9773 section 4.2).
    pub fn has_come(self, now: Timestamp, next: Option<Timestamp>) -> bool {
        let comes_first = |at: Timestamp| next.is_some_and(|next| at < next);
        self.at() <= now
            || match self {
                Self::Suggested { window, at } => window.start <= now && comes_first(at),
                Self::Lifetime { .. } | Self::Emergency { .. } => false,
            }
    }
}

/// When a certificate with this validity is renewed
///
/// `seed` is the domain's own number: without a window it spreads domains over time, each always
/// to the same place.
#[must_use]
pub fn moment(
    renewal: Option<&Renewal>,
    validity: &Validity,
    fraction: Fraction,
    seed: u64,
) -> Moment {
    let reserve = reserve(validity, fraction);
    let suggested = renewal.and_then(|renewal| Some((renewal.window?, renewal.instant?)));
    let Some((window, at)) = suggested else {
        let share = f64::from(u16::try_from(seed % STEPS).unwrap_or_default()) / STEPS as f64;
        let at = with_left(validity, reserve * (1.0 - JITTER * share));
        return Moment::Lifetime { at };
    };
    let emergency = emergency(validity, fraction);
    match at <= emergency {
        true => Moment::Suggested { window, at },
        false => Moment::Emergency { at: emergency },
    }
}

/// The instant at which half of the reserve is gone: from then on no window counts, and who could
/// not renew until then is told
#[must_use]
pub fn emergency(validity: &Validity, fraction: Fraction) -> Timestamp {
    with_left(validity, reserve(validity, fraction) * EMERGENCY)
}

/// The instant with this part of the lifetime left
fn with_left(validity: &Validity, part: f64) -> Timestamp {
    let left = SignedDuration::from_secs_f64(validity.lifetime().as_secs_f64() * part);
    let at = validity.not_after.saturating_sub(left);
    at.unwrap_or(validity.not_after)
}

/// The part of the lifetime that is kept in reserve
///
/// Half of one under ten days, so that a 6-day certificate has three days for retries (Let's
/// Encrypt's integration guide).
fn reserve(validity: &Validity, fraction: Fraction) -> f64 {
    match validity.lifetime() < SHORT_LIFE {
        true => fraction.as_f64().max(SHORT_RESERVE),
        false => fraction.as_f64(),
    }
}

/// Time between two looks at a window, which is the CA's to choose within these
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(86_400);
/// Time after which a CA is asked again that has no answer (RFC 9773 section 4.3.3)
const LONG_TERM: Duration = Duration::from_secs(6 * 3_600);
const MOST_DOUBLINGS: u32 = 16;
/// The part of the reserve at which no window counts any more
const EMERGENCY: f64 = 0.5;
/// The part of the reserve over which domains without a window are spread
const JITTER: f64 = 0.06;
const STEPS: u64 = 1_000;

#[cfg(test)]
mod tests;
