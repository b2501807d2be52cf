//! `certd check`.

use jiff::Timestamp;

use super::args::{CheckArguments, Global, SkippedCheck};
use super::error::CliError;
use super::obtain::{enabled, named_by};
use super::{Ended, configuration, crypto_provider, now, print_report};
use crate::config::Environment;
use crate::finding::Severity;
use crate::pipeline::check::check;
use crate::pipeline::{Context, Mode};
use crate::report::check::{CheckReport, Readiness};
use crate::report::text;
use crate::store::Store;

pub(super) async fn run(
    global: &Global,
    args: &CheckArguments,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let report = report(global, args, environment, now()).await?;
    let is_well = report.readiness() == Readiness::Ready && report.severity() < Severity::Warning;
    if !global.keeps_back(is_well) {
        print_report(&report, global.format, global.color, |report, out| {
            text::check(report, out)
        })?;
    }
    Ok(match report.readiness() {
        Readiness::Ready => Ended::Well,
        Readiness::Later => Ended::Later,
        Readiness::NotReady => Ended::Failed,
    })
}

/// What the command does, without printing what came of it
pub(super) async fn report(
    global: &Global,
    args: &CheckArguments,
    environment: &Environment,
    now: Timestamp,
) -> Result<CheckReport, CliError> {
    let config = configuration(global, environment)?;
    let domains = match args.domains.as_slice() {
        [] => enabled(&config)?,
        names => named_by(&config, names)?,
    };
    let store = Store::for_reading(&config.storage, &config.state);
    let context = Context::new(&config, &store, crypto_provider(), now);
    let skip = args.skip_check.iter().copied().map(SkippedCheck::check);
    let mode = match args.no_deploy {
        true => Mode::NoDeploy,
        false => Mode::Deploy,
    };
    Ok(check(&context, mode, &skip.collect(), &domains).await)
}
