//! `certd renew`.

use jiff::Timestamp;

use super::args::{Global, Renew, SkippedCheck};
use super::error::CliError;
use super::obtain::{conclude, enabled, pass};
use super::{Ended, now, simulated};
use crate::config::{Config, Environment};
use crate::pipeline::{Mode, Occasion, Options};
use crate::report::{Report, text};

pub(super) async fn run(
    global: &Global,
    args: &Renew,
    environment: &Environment,
) -> Result<Ended, CliError> {
    if let Some(span) = args.simulate {
        return simulated::run(global, args, span, environment).await;
    }
    let report = report(global, args, environment, now()).await?;
    conclude(global, &report, text::renew)
}

/// What the command does, without printing what came of it
pub(super) async fn report(
    global: &Global,
    args: &Renew,
    environment: &Environment,
    now: Timestamp,
) -> Result<Report, CliError> {
    let path = Config::locate(global.config.as_deref(), environment)?;
    let config = Config::read(&path, environment)?;
    let domains = enabled(&config)?;
    let options = Options {
        mode: match (args.dry_run, args.no_deploy) {
            (true, _) => Mode::DryRun,
            (_, true) => Mode::NoDeploy,
            _ => Mode::Deploy,
        },
        occasion: Occasion::Timer,
        next: config
            .schedule
            .as_ref()
            .and_then(|schedule| schedule.next(now)),
        skip: args
            .skip_check
            .iter()
            .copied()
            .map(SkippedCheck::check)
            .collect(),
        ..Options::default()
    };
    pass(global, &config, &options, &domains, now).await
}
