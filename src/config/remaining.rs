//! How much of its life a certificate that is served should have left.

use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::defaults::{SHORT_LIFE, SHORT_RESERVE};
use crate::time::Fraction;

/// How much life a served certificate should have left
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinRemaining {
    /// What suits its lifetime, for certificates that are renewed with this part of it left
    Usual(Fraction),
    /// A part of its lifetime
    Fraction(Fraction),
    /// A span of time
    Duration(Duration),
}

impl MinRemaining {
    /// The time that a certificate of this lifetime must have left
    ///
    /// By default three quarters of the reserve with which it is renewed, and a quarter of its life at
    /// most: a renewal that has failed for a while shows, and one that is not due does not. For a long
    /// life that is stricter than any usual number of days: 22 of 90, 99 of 398. One that lives under
    /// ten days is renewed at half of its life, by certd and as Let's Encrypt advises; what asks it
    /// for more than that was written for another kind, and counts as the default.
    pub fn of(self, lifetime: SignedDuration) -> SignedDuration {
        let part = |part: f64| SignedDuration::from_secs_f64(lifetime.as_secs_f64() * part);
        match self {
            Self::Usual(renewal) => {
                let reserve = renewal.as_f64().min(MOST_RESERVE);
                part(reserve * OF_RESERVE)
            }
            Self::Fraction(least) => part(least.as_f64()),
            Self::Duration(least) => {
                let least = SignedDuration::try_from(least).unwrap_or(SignedDuration::MAX);
                match lifetime < SHORT_LIFE && least >= part(SHORT_RESERVE) {
                    true => part(MOST_RESERVE * OF_RESERVE),
                    false => least,
                }
            }
        }
    }
}

impl FromStr for MinRemaining {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text.parse(), humantime::parse_duration(text)) {
            (Ok(fraction), _) => Ok(Self::Fraction(fraction)),
            (_, Ok(duration)) if duration > MOST => Err("expected at most 10 years"),
            (_, Ok(duration)) => Ok(Self::Duration(duration)),
            _ => Err("expected \"14d\" or a fraction such as \"1/4\""),
        }
    }
}

/// Longer than any certificate of a server lives
const MOST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// The part of the reserve that must be left
const OF_RESERVE: f64 = 0.75;
/// The part of a lifetime that counts as reserve at most: other clients renew at a third, too
const MOST_RESERVE: f64 = 1.0 / 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_suits_every_lifetime() {
        #[track_caller]
        fn check(lifetime_hours: i64, least: &str, expected_hours: f64) {
            let least = match least {
                "" => MinRemaining::Usual(Fraction::new(1, 3)),
                least => least.parse().unwrap(),
            };
            let found = least.of(SignedDuration::from_hours(lifetime_hours));
            let found = found.as_secs_f64() / 3_600.0;
            assert!((found - expected_hours).abs() < 0.01, "{found}");
        }
        // Let's Encrypt's profile `shortlived`, renewed with 80 hours left.
        check(160, "", 40.0);
        check(45 * 24, "", 11.25 * 24.0);
        check(64 * 24, "", 16.0 * 24.0);
        check(90 * 24, "", 22.5 * 24.0);
        check(200 * 24, "", 50.0 * 24.0);
        check(398 * 24, "", 99.5 * 24.0);
        // What is asked for counts, but for a certificate that could never have it.
        check(160, "14d", 40.0);
        check(160, "80h", 40.0);
        check(160, "79h", 79.0);
        check(160, "99/100", 158.4);
        check(239, "7d", 59.75);
        check(240, "7d", 168.0);
        check(45 * 24, "30d", 30.0 * 24.0);
        check(90 * 24, "14d", 14.0 * 24.0);
        check(398 * 24, "60d", 60.0 * 24.0);
        check(398 * 24, "30d", 30.0 * 24.0);
    }

    #[test]
    fn what_is_not_due_for_renewal_yet_is_not_short_of_life() {
        let of_90_days = |renewal| {
            let least = MinRemaining::Usual(renewal).of(SignedDuration::from_hours(90 * 24));
            least.as_hours() / 24
        };
        assert_eq!(of_90_days(Fraction::new(1, 5)), 13);
        assert_eq!(of_90_days(Fraction::new(2, 3)), 22);
    }
}
