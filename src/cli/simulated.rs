//! `certd renew --simulate`.

use std::io;
use std::thread;

use jiff::SignedDuration;

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

const SEED: u64 = 1;
