//! `certd renew --simulate`, and what its arguments may be.

use std::io;
use std::thread;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use super::args::{Global, Renew};
use super::error::CliError;
use super::obtain::enabled;
use super::{Ended, configuration, now, print_report};
use crate::config::Environment;
use crate::pipeline::simulate::{Wish, scene};
use crate::plan::simulation::{self, Course, Play};
use crate::report::simulation::SimulationReport;
use crate::report::{Verdict, text};
use crate::store::Store;

pub(super) async fn run(
    global: &Global,
    args: &Renew,
    span: SignedDuration,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let config = configuration(global, environment)?;
    let domains = enabled(&config)?;
    let schedule = config.schedule.as_ref().ok_or(CliError::NoSchedule)?;
    let store = Store::for_reading(&config.storage, &config.state);
    let wish = Wish {
        from: args.from.unwrap_or_else(now),
        span,
        failure_rate: args.failure_rate.unwrap_or_default(),
        seed: args.seed.unwrap_or(SEED),
        made_up: args.domains.and_then(|count| usize::try_from(count).ok()),
    };
    let scene = scene(&config, &store, schedule, &domains, wish);
    let course = played(scene.play).await?;
    let report = SimulationReport::new(scene.played, course, scene.findings);
    conclude(global, &report)
}

/// What comes of a play, on a thread that nobody waits for when a signal ends the command
async fn played(play: Play) -> Result<Course, CliError> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        // Whoever has gone away wants no answer.
        let _ = sender.send(simulation::play(play));
    });
    let course = receiver.await;
    course.map_err(|error| CliError::Runtime(io::Error::other(error)))
}

fn conclude(global: &Global, report: &SimulationReport) -> Result<Ended, CliError> {
    let verdict = report.verdict();
    let needs_attention = verdict != Verdict::Well || !report.findings.is_empty();
    if !global.keeps_back(!needs_attention) {
        print_report(report, global.format, global.color, |report, out| {
            text::simulation(report, out)
        })?;
    }
    Ok(verdict.into())
}

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
const SEED: u64 = 1;
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Ten years
const MOST_DAYS: i32 = 3_660;
const UNITS: &str = "write it with its unit: 365d, 52w, 1y";
const LONGEST_SPAN: &str = "ten years at most, 10y";
const INSTANT: &str = "write it with its zone: 2027-01-31T03:00:00Z";
const FIRST_YEAR: i16 = 2000;
const LAST_YEAR: i16 = 2100;
