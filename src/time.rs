//! Validity periods, fractions of a lifetime, and durations in words.
//!
//! Nothing here reads a clock: `now` is an argument.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

pub mod schedule;

/// The validity period of a certificate (RFC 5280 section 4.1.2.5)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Validity {
    /// First instant at which the certificate is valid
    pub not_before: Timestamp,
    /// Last instant at which it is valid
    pub not_after: Timestamp,
}

impl Validity {
    /// The whole lifetime; zero where the period is reversed
    pub fn lifetime(&self) -> SignedDuration {
        self.not_after
            .duration_since(self.not_before)
            .max(SignedDuration::ZERO)
    }

    /// What is left at `now`; negative after expiry
    pub fn remaining(&self, now: Timestamp) -> SignedDuration {
        self.not_after.duration_since(now)
    }

    /// The part of the lifetime that is left at `now`, from 0.0 to 1.0
    pub fn remaining_fraction(&self, now: Timestamp) -> f64 {
        let lifetime = self.lifetime().as_secs_f64();
        if lifetime <= 0.0 {
            return 0.0;
        }
        (self.remaining(now).as_secs_f64() / lifetime).clamp(0.0, 1.0)
    }

    /// The instant from which less than `fraction` of the lifetime is left
    #[must_use]
    pub fn instant_with_left(&self, fraction: Fraction) -> Timestamp {
        let left = self.lifetime().as_secs_f64() * fraction.as_f64();
        self.not_after
            .saturating_sub(SignedDuration::from_secs_f64(left))
            .unwrap_or(self.not_after)
    }

    /// Whether `now` lies inside the period
    pub fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// A span of time, its end left out
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First instant in it
    pub start: Timestamp,
    /// First instant after it
    pub end: Timestamp,
}

impl Window {
    /// Whether no instant lies in it: it is empty, or reversed
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether `now` lies in it
    pub fn contains(&self, now: Timestamp) -> bool {
        self.start <= now && now < self.end
    }

    /// The instant that lies at this part of it, from 0.0 up to 1.0
    #[must_use]
    pub fn instant_at(&self, part: f64) -> Timestamp {
        let width = self.end.duration_since(self.start).as_secs_f64();
        let offset = SignedDuration::from_secs_f64(width.max(0.0) * part.clamp(0.0, 1.0));
        self.start.saturating_add(offset).unwrap_or(self.start)
    }
}

/// A proper fraction such as `1/3`, above zero and below one
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    numerator: u16,
    denominator: u16,
}

impl Fraction {
    /// `numerator / denominator`, for constants that are known to be proper
    pub const fn new(numerator: u16, denominator: u16) -> Self {
        Self {
            numerator,
            denominator,
        }
    }

    /// The value, above 0.0 and below 1.0
    pub fn as_f64(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }
}

impl FromStr for Fraction {
    type Err = FractionError;

    fn from_str(text: &str) -> Result<Self, FractionError> {
        let (numerator, denominator) = text.split_once('/').ok_or(FractionError)?;
        let numerator: u16 = numerator.trim().parse().map_err(|_| FractionError)?;
        let denominator: u16 = denominator.trim().parse().map_err(|_| FractionError)?;
        if numerator == 0 || numerator >= denominator {
            return Err(FractionError);
        }
        Ok(Self::new(numerator, denominator))
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// A text is no fraction between zero and one
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected a fraction between 0 and 1, such as \"1/3\"")]
pub struct FractionError;

/// A moment as operators read it: `2027-02-18 09:30 UTC`
pub fn display(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string()
}

/// Two moments that are to be told apart: with seconds where they lie in one minute
pub fn display_apart(one: Timestamp, other: Timestamp) -> [String; 2] {
    let both = [one, other];
    match both.map(display) {
        [one, other] if one == other => both.map(|at| {
            let at = at.to_zoned(TimeZone::UTC);
            at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
        }),
        apart => apart,
    }
}

/// A day as operators read it, in UTC: `2027-02-18`
pub fn display_date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

/// A span of time in its one or two largest useful units: `89 days`, `3 h 20 min`, `45 s`
///
/// The sign is dropped: the caller's words say whether it lies ahead or behind.
pub fn in_words(span: SignedDuration) -> String {
    let seconds = span.unsigned_abs().as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600, seconds / 60);
    match (days, hours, minutes) {
        (3.., _, _) => format!("{days} days"),
        (_, 2.., _) if minutes % 60 > 0 && hours < 10 => format!("{hours} h {} min", minutes % 60),
        (_, 2.., _) => format!("{hours} h"),
        (_, _, 2..) => format!("{minutes} min"),
        _ => format!("{seconds} s"),
    }
}

/// Time that a stage took, for people: `8 ms`, `1.25 s`
pub fn elapsed_in_words(elapsed: Duration) -> String {
    match elapsed.as_millis() {
        0 => "<1 ms".to_owned(),
        ms @ 1..1000 => format!("{ms} ms"),
        _ => format!("{:.2} s", elapsed.as_secs_f64()),
    }
}

/// Serialises a duration as whole milliseconds
///
/// # Errors
/// Those of the serializer.
pub fn serialize_millis<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validity(not_before: &str, not_after: &str) -> Validity {
        Validity {
            not_before: not_before.parse().unwrap(),
            not_after: not_after.parse().unwrap(),
        }
    }

    #[test]
    fn a_third_of_ninety_days_is_left_after_sixty() {
        let validity = validity("2027-01-01T00:00:00Z", "2027-04-01T00:00:00Z");
        assert_eq!(
            validity.instant_with_left(Fraction::new(1, 3)),
            "2027-03-02T00:00:00Z".parse().unwrap()
        );
        let now = "2027-02-15T00:00:00Z".parse().unwrap();
        assert!((validity.remaining_fraction(now) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_reversed_period_has_nothing_left() {
        let validity = validity("2027-04-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(validity.lifetime(), SignedDuration::ZERO);
        assert!(validity.remaining_fraction(now).abs() < 1e-9);
    }

    #[test]
    fn fractions_are_proper() {
        #[track_caller]
        fn check(text: &str, expected: Result<Fraction, FractionError>) {
            assert_eq!(text.parse(), expected, "{text}");
        }
        check("1/3", Ok(Fraction::new(1, 3)));
        check(" 2 / 5 ", Ok(Fraction::new(2, 5)));
        check("0/3", Err(FractionError));
        check("3/3", Err(FractionError));
        check("1/0", Err(FractionError));
        check("0.33", Err(FractionError));
        check("-1/3", Err(FractionError));
    }

    #[test]
    fn spans_read_as_words() {
        #[track_caller]
        fn check(seconds: i64, expected: &str) {
            assert_eq!(in_words(SignedDuration::from_secs(seconds)), expected);
        }
        check(89 * 86_400 + 5, "89 days");
        check(2 * 86_400, "48 h");
        check(3 * 3_600 + 20 * 60, "3 h 20 min");
        check(120, "2 min");
        check(-45, "45 s");
    }
}
