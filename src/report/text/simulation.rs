//! A report of `renew --simulate` as text.

use std::io::{self, Write};

use jiff::SignedDuration;

use super::{
    BOLD, DIM, GREEN, RED, WIDTH, YELLOW, plural, widest, write_finding, write_line, write_wrapped,
};
use crate::finding::{Finding, Severity};
use crate::report::Verdict;
use crate::report::simulation::{
    Cast, Expired, Life, Part, Played, SimulationReport, Spread, Unit, Waits, Windows,
};
use crate::time::{display, display_date, in_words};

/// Writes a report of `renew --simulate`: the verdict first
///
/// # Errors
/// Those of the stream.
pub fn simulation(report: &SimulationReport, out: &mut impl Write) -> io::Result<()> {
    let (sign, style) = match report.verdict() {
        Verdict::Well => ("✓", GREEN),
        Verdict::Later => ("!", YELLOW),
        Verdict::Failed => ("✗", RED),
    };
    // Codes for colours have no width, which wrapping does not know.
    for (number, line) in textwrap::wrap(&verdict(report), WIDTH - 2)
        .iter()
        .enumerate()
    {
        let sign = if number == 0 { sign } else { " " };
        writeln!(out, "{style}{sign} {line}{style:#}")?;
    }
    for finding in &report.findings {
        write_finding(finding, "  ", out)?;
    }
    write_expired(report, out)?;
    write_stopped(report, out)?;
    writeln!(out)?;
    for (word, fact) in facts(report) {
        let indent = " ".repeat(FACT_COLUMN);
        write_line(&format!("{word:<FACT_COLUMN$}"), &indent, &fact, out)?;
    }
    writeln!(out)?;
    write_spread(&report.spread, out)
}

fn verdict(report: &SimulationReport) -> String {
    let span = in_words(report.played.until.duration_since(report.played.from));
    let expired = match report.expired.len() {
        0 => "no certificate expires".to_owned(),
        1 => "a certificate expires".to_owned(),
        expired => format!("{expired} certificates expire"),
    };
    let least = report.least_life.as_ref();
    let least = least.filter(|life| life.left_secs >= 0);
    let least = least.map(|life| format!("the least life left is {} days", days(life.left_secs)));
    let without = match report.without_certificate.len() {
        0 => None,
        1 => Some("a domain has none at the end".to_owned()),
        without => Some(format!("{without} domains have none at the end")),
    };
    let failure = |finding: &&Finding| finding.severity == Severity::Failure;
    let left_out = match report.findings.iter().filter(failure).count() {
        0 => None,
        1 => Some("a domain cannot take part".to_owned()),
        left_out => Some(format!("{left_out} domains cannot take part")),
    };
    let all = [
        Some(format!("{expired} in {span}")),
        without,
        left_out,
        least,
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    all.join("; ")
}

/// The certificates that expire, the first ones by name
fn write_expired(report: &SimulationReport, out: &mut impl Write) -> io::Result<()> {
    for expired in report.expired.iter().take(SHOWN) {
        write_wrapped("  ", &expired_in_words(expired, report), out)?;
    }
    let more = report.expired.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(out, "  and {more} more; --format json lists all")?;
    }
    let by_chance = report.played.failure_rate > 0.0 && !report.expired.is_empty();
    if by_chance && report.stopped.is_empty() {
        let cure = "so many failures in a row outlast what is kept in reserve: a profile with a \
                    longer life leaves time for more tries";
        write_line("  -> ", "     ", cure, out)?;
    }
    Ok(())
}

fn expired_in_words(expired: &Expired, report: &SimulationReport) -> String {
    let until = expired.until.unwrap_or(report.played.until);
    let span = in_words(until.duration_since(expired.at));
    let end = match expired.until {
        Some(_) => format!("renewed {span} later"),
        None => format!("still not renewed {span} later"),
    };
    format!("{} at {}, {end}", expired.domain, display(expired.at))
}

/// The domains that a person must act for
fn write_stopped(report: &SimulationReport, out: &mut impl Write) -> io::Result<()> {
    for name in report.stopped.iter().take(SHOWN) {
        let words = format!("{name}: the CA has refused its order, and none is placed");
        write_wrapped("  ", &words, out)?;
    }
    if report.stopped.is_empty() {
        return Ok(());
    }
    let cure = "`certd status` says why; do what it asks for, then `certd obtain --force`";
    write_line("  -> ", "     ", cure, out)
}

fn facts(report: &SimulationReport) -> Vec<(&'static str, String)> {
    let mut facts = vec![("played", played(&report.played))];
    let least = report.least_life.as_ref();
    facts.extend(least.map(|life| ("least life", life_in_words(life))));
    // A short life may have less left than a long one that came nearer to its end.
    let part = report.least_part.as_ref();
    let part = part.filter(|part| least.is_some_and(|least| least.domain != part.domain));
    facts.extend(part.map(|life| ("least part", life_in_words(life))));
    let orders = &report.orders;
    let failed = match orders.failed {
        0 => "none failed".to_owned(),
        failed => format!("{failed} failed"),
    };
    facts.push(("orders", format!("{}, {failed}", orders.placed)));
    let most = &report.most_orders;
    let peaks = format!(
        "{} in 3 h, {} in a day, {} in a week",
        most.in_3_hours, most.in_a_day, most.in_a_week
    );
    facts.push(("most orders", peaks));
    facts.extend(renewals(report.windows).map(|words| ("renewals", words)));
    facts.extend(
        report
            .put_off
            .iter()
            .map(|waits| ("put off", put_off(waits))),
    );
    facts
}

fn played(played: &Played) -> String {
    let kind = match played.cast {
        Cast::Configured => "domain",
        Cast::MadeUp => "made-up domain",
    };
    let rate = match played.failure_rate {
        0.0 => "no order fails".to_owned(),
        rate => format!("{} of the orders fail", percent(rate)),
    };
    let (domains, from) = (plural(played.domains, kind), display(played.from));
    format!("{domains} from {from}, {rate}, seed {}", played.seed)
}

/// How many renewals are made when the CA would have them; `None` where it suggests nothing
fn renewals(windows: Windows) -> Option<String> {
    let all = windows.inside + windows.outside;
    if all == 0 {
        return None;
    }
    let inside = percent(windows.inside as f64 / all as f64);
    let cure = match windows.inside * 2 < all {
        true => "; more runs a day meet more windows",
        false => "",
    };
    Some(format!("{all}, {inside} of them in the CA's window{cure}"))
}

fn put_off(waits: &Waits) -> String {
    format!(
        "{} for up to {}, by the limit of {} {} in {}",
        plural(waits.orders, "order"),
        in_words(waits.longest),
        waits.most,
        waits.of,
        in_words(waits.period),
    )
}

fn life_in_words(life: &Life) -> String {
    let (left, of) = (days(life.left_secs), days(life.lifetime_secs));
    let words = match life.left_secs {
        0.. => format!("{left} of {of} days ({})", percent(life.left_part)),
        _ => format!("expired for {left} days"),
    };
    format!("{words}: {} on {}", life.domain, display_date(life.at))
}

/// Days, as precisely as it matters: `29.8`, `90`
fn days(seconds: i64) -> String {
    let days = SignedDuration::from_secs(seconds).abs().as_secs_f64() / 86_400.0;
    shortest(format!("{days:.1}"))
}

/// A part of a whole, as precisely as it matters: `5%`, `0.25%`, `33%`
fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let number = match percent {
        1.0..10.0 => format!("{percent:.1}"),
        10.0..99.0 => format!("{percent:.0}"),
        _ => format!("{percent:.2}"),
    };
    format!("{}%", shortest(number))
}

/// A decimal number without zeros at its end
fn shortest(number: String) -> String {
    match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => number,
    }
}

/// How orders spread, as bars
fn write_spread(spread: &Spread, out: &mut impl Write) -> io::Result<()> {
    let orders = |part: &Part| part.issued + part.failed;
    let most = spread.parts.iter().map(orders).max().unwrap_or_default();
    let any_failed = spread.parts.iter().any(|part| part.failed > 0);
    let legend = match any_failed {
        true => format!(" ({ISSUED} issued, {FAILED} failed)"),
        false => String::new(),
    };
    writeln!(
        out,
        "{BOLD}orders by {}{BOLD:#}{legend}",
        spread.by.as_str()
    )?;
    let width = widest(
        spread
            .parts
            .iter()
            .map(|part| orders(part).to_string().len()),
    );
    for part in &spread.parts {
        let from = match spread.by {
            Unit::Day | Unit::Week => part.from.strftime("%Y-%m-%d"),
            Unit::Month => part.from.strftime("%Y-%m"),
            Unit::Year => part.from.strftime("%Y"),
        };
        let all = bar(orders(part), most);
        let failed = bar(part.failed, most).min(all);
        let issued = ISSUED.repeat(all - failed);
        let failed = FAILED.repeat(failed);
        write!(out, "  {from}  {:>width$}", orders(part))?;
        if all > 0 {
            write!(out, "  {issued}{DIM}{failed}{DIM:#}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Columns for a number, where this is the highest: at least one for what is not nothing
fn bar(number: u64, most: u64) -> usize {
    let columns = (number * BAR).div_ceil(most.max(1));
    usize::try_from(columns).unwrap_or_default()
}

/// Columns before a fact
const FACT_COLUMN: usize = 12;
/// Certificates that are named one by one
const SHOWN: usize = 5;
/// Columns of the longest bar
const BAR: u64 = 50;
const ISSUED: &str = "█";
const FAILED: &str = "░";
