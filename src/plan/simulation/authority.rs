//! The CA of a play: what it issues, and when it would have that renewed.
//!
//! What Let's Encrypt has published of itself stands in one table. Of another CA nothing is known
//! but what it issued before.

use std::time::Duration;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::time::{Fraction, Validity, Window};

/// A CA, as far as certificates go
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// Let's Encrypt, by what it has published
    LetsEncrypt,
    /// Another one
    Other {
        /// Lifetime of what it issues, as it was before
        lifetime: SignedDuration,
    },
}

impl Authority {
    /// Validity period of a certificate that is issued at `now`
    pub(super) fn validity(self, profile: Option<&str>, now: Timestamp) -> Validity {
        let (lifetime, backdated) = match self {
            Self::LetsEncrypt => (lifetime(profile.unwrap_or(DEFAULT_PROFILE), now), BACKDATED),
            Self::Other { lifetime } => (lifetime, SignedDuration::ZERO),
        };
        let not_before = now.saturating_sub(backdated).unwrap_or(now);
        Validity {
            not_before,
            not_after: not_before
                .saturating_add(lifetime)
                .unwrap_or(Timestamp::MAX),
        }
    }

    /// The window in which it would have a certificate renewed; `None` where it suggests none
    pub(super) fn window(self, validity: &Validity) -> Option<Window> {
        match self {
            Self::LetsEncrypt => Some(window(validity)),
            Self::Other { .. } => None,
        }
    }
}

/// Lifetime of what Let's Encrypt issues by this profile at `now`
///
/// One that it has not announced counts for its default.
fn lifetime(profile: &str, now: Timestamp) -> SignedDuration {
    let lifetime_of = |name: &str| {
        let known = LIFETIMES.iter().filter(|(profile, ..)| *profile == name);
        let begun = known.filter(|(_, from, _)| begin(*from) <= now);
        begun.map(|(.., lifetime)| *lifetime).next_back()
    };
    let lifetime = lifetime_of(profile).or_else(|| lifetime_of(DEFAULT_PROFILE));
    lifetime.unwrap_or(LIFETIME)
}

fn begin(day: Date) -> Timestamp {
    let zoned = day.to_zoned(TimeZone::UTC);
    zoned.map_or(Timestamp::MIN, |zoned| zoned.timestamp())
}

/// The window of Let's Encrypt, as its server boulder counts it
///
/// Two hundredths of the life wide, around two thirds of it, or half of one under ten days.
fn window(validity: &Validity) -> Window {
    let lifetime = validity.lifetime();
    let left = match lifetime < SHORT_LIFE {
        true => Fraction::new(1, 2),
        false => Fraction::new(1, 3),
    };
    let (middle, margin) = (validity.instant_with_left(left), lifetime / 100);
    Window {
        start: middle.saturating_sub(margin).unwrap_or(middle),
        end: middle.saturating_add(margin).unwrap_or(middle),
    }
}

const DEFAULT_PROFILE: &str = "classic";
const fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

const ALWAYS: Date = date(2015, 9, 14);
/// Profile, first day on which it holds, lifetime; each profile by day
///
/// <https://letsencrypt.org/docs/profiles/> and
/// <https://letsencrypt.org/2025/12/02/from-90-to-45>, as of August 2026. The staging CA is a
/// month ahead.
const LIFETIMES: [(&str, Date, SignedDuration); 5] = [
    (DEFAULT_PROFILE, ALWAYS, LIFETIME),
    (DEFAULT_PROFILE, date(2027, 2, 10), days(64)),
    (DEFAULT_PROFILE, date(2028, 2, 16), days(45)),
    ("tlsserver", ALWAYS, days(45)),
    ("shortlived", ALWAYS, SignedDuration::from_hours(160)),
];
/// Lifetime where nothing else is known
pub(super) const LIFETIME: SignedDuration = days(90);
/// Time before its issuance at which a certificate's validity begins, so that slow clocks take it
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
const SHORT_LIFE: SignedDuration = SignedDuration::from_hours(240);
/// When it wants to be asked again
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(6 * 3_600);
