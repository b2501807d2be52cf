//! `certd renew`.

use std::io;

use anstream::AutoStream;
use jiff::{SignedDuration, Timestamp};

use super::args::{Global, Renew, SkippedCheck};
use super::error::CliError;
use super::obtain::{conclude, enabled, pass, store};
use super::{Ended, configuration, crypto_provider, now, simulated};
use crate::config::{Config, Environment};
use crate::finding::Finding;
use crate::finding::words::{Escapes, Guarded};
use crate::notify::{self, Look, Unkept};
use crate::pipeline::{ClockCheck, Context, Mode, Occasion, Options};
use crate::report::Report;
use crate::report::text::{self, Idle};
use crate::run::{self, RunError};
use crate::schedule::sweeps;
use crate::store::Store;

pub(super) async fn run(
    global: &Global,
    args: &Renew,
    environment: &Environment,
) -> Result<Ended, CliError> {
    if let Some(span) = args.simulate {
        return simulated::run(global, args, span, environment).await;
    }
    let config = configuration(global, environment)?;
    let now = now();
    let options = options(args, &config, now);
    let domains = enabled(&config)?;
    let tell_of = async |store: &Store, finding: &Finding| {
        let context = Context::new(&config, store, crypto_provider(), now);
        let report = run::put_off(&context, options.occasion, &domains, finding);
        tell(global, &context, &report).await;
    };
    let store = match store(&config, options.mode) {
        Err(CliError::Store(error)) if options.mode != Mode::DryRun => {
            let reading = Store::for_reading(&config.storage, &config.state);
            tell_of(&reading, &run::reason(&error)).await;
            return Err(error.into());
        }
        store => store?,
    };
    let context = Context::new(&config, &store, crypto_provider(), now);
    let report = match pass(global, &context, &options, &domains).await {
        Err(CliError::Run(error)) => {
            if options.mode != Mode::DryRun && is_trouble(&context, &error) {
                tell_of(&store, &run::reason_of_run(&error)).await;
            }
            return Err(error.into());
        }
        report => report?,
    };
    // A reader of stdout that has gone must not keep an alert back.
    let idle = match options.mode {
        Mode::DryRun => Idle::Listed,
        _ => Idle::Counted,
    };
    let ended = conclude(global, &report, |report, out| {
        text::renew(report, idle, out)
    });
    if options.mode != Mode::DryRun {
        tell(global, &context, &report).await;
    }
    ended
}

/// Whether it is a trouble that the run did not come about: not where a command, or the daemon, has
/// been at work for a moment
fn is_trouble(context: &Context<'_>, error: &RunError) -> bool {
    match error {
        RunError::Busy { .. } => {
            let since = context.store.locked_since();
            since.is_some_and(|since| context.now().duration_since(since) > LONGEST_PASS)
        }
        RunError::Lock(_) | RunError::Sweep(_) | RunError::Defect(_) => true,
    }
}

/// What the command does, without printing or telling what came of it
#[cfg(feature = "sandbox")]
pub(super) async fn report(
    global: &Global,
    args: &Renew,
    environment: &Environment,
    now: Timestamp,
) -> Result<Report, CliError> {
    let config = configuration(global, environment)?;
    let options = options(args, &config, now);
    let store = store(&config, options.mode)?;
    let context = Context::new(&config, &store, crypto_provider(), now);
    pass(global, &context, &options, &enabled(&config)?).await
}

fn options(args: &Renew, config: &Config, now: Timestamp) -> Options {
    let schedule = config.schedule.as_ref();
    let skipped = args.skip_check.iter().copied();
    Options {
        mode: match (args.dry_run, args.no_deploy) {
            (true, _) => Mode::DryRun,
            (_, true) => Mode::NoDeploy,
            _ => Mode::Deploy,
        },
        occasion: Occasion::Timer,
        next: schedule.and_then(|schedule| sweeps::latest(schedule, config.jitter, now)),
        skip: skipped.map(SkippedCheck::check).collect(),
        clock: ClockCheck::Always,
        ..Options::default()
    }
}

/// Tells who is to be told, and on stderr what went wrong with that: it changes no exit status
async fn tell(global: &Global, context: &Context<'_>, report: &Report) {
    // Nothing is told after this.
    let unkept = Unkept::default();
    let (mut findings, late) = tokio::join!(
        notify::after(context, report, Look::AtWhatIsDue, &unkept),
        notify::heartbeat(context, report)
    );
    findings.extend(late);
    let stderr = AutoStream::new(io::stderr(), global.color.for_stderr());
    let mut stderr = Guarded::new(stderr, Escapes::Text);
    // When stderr is gone there is nobody left to tell.
    let _ = text::findings(&findings, &mut stderr);
}

/// Time after which another certd that is still at work hangs
const LONGEST_PASS: SignedDuration = SignedDuration::from_hours(1);
