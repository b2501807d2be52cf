//! Values of the options of `certd renew --simulate`.

use jiff::{SignedDuration, Timestamp};

/// A span of time that can be played
pub(super) fn span(text: &str) -> Result<SignedDuration, String> {
    let span = humantime::parse_duration(text).map_err(|_| UNITS.to_owned())?;
    let span = SignedDuration::try_from(span).map_err(|_| LONGEST_SPAN.to_owned())?;
    match span {
        span if span < DAY => Err("at least a day, 1d".to_owned()),
        span if span > DAY * MOST_DAYS => Err(LONGEST_SPAN.to_owned()),
        span => Ok(span),
    }
}

/// A part of a whole in percent, with its sign
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%');
    let number = number.and_then(|number| number.trim_end().parse::<f64>().ok());
    match number {
        Some(number) if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        Some(_) => Err("from 0% to 100%".to_owned()),
        None => Err("write it with its sign: 5%".to_owned()),
    }
}

/// An instant at which a play can begin
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let instant: Timestamp = text.parse().map_err(|_| INSTANT.to_owned())?;
    let years = instant.to_zoned(jiff::tz::TimeZone::UTC).year();
    match (FIRST_YEAR..=LAST_YEAR).contains(&years) {
        true => Ok(instant),
        false => Err(format!("from {FIRST_YEAR} to {LAST_YEAR}")),
    }
}

/// Most domains that can be made up
pub(super) const MOST_DOMAINS: i64 = 100_000;
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Ten years
const MOST_DAYS: i32 = 3_660;
const UNITS: &str = "write it with its unit: 365d, 52w, 1y";
const LONGEST_SPAN: &str = "ten years at most, 10y";
const INSTANT: &str = "write it with its zone: 2027-01-31T03:00:00Z";
const FIRST_YEAR: i16 = 2000;
const LAST_YEAR: i16 = 2100;
