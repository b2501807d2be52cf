//! `certd obtain`.

use std::collections::BTreeSet;
use std::io;

use jiff::Timestamp;

use super::args::{Global, Obtain};
use super::error::CliError;
use super::progress::Watcher;
use super::{Ended, TextOut, configuration, crypto_provider, now, print_report};
use crate::config::{Check, Config, Domain, Environment};
use crate::name::DnsName;
use crate::pipeline::{Context, Mode, Occasion, Options, Retry};
use crate::plan::Urgency;
use crate::report::{Report, Verdict, text};
use crate::run;
use crate::store::Store;

pub(super) async fn run(
    global: &Global,
    args: &Obtain,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let report = report(global, args, environment, now()).await?;
    conclude(global, &report, |report, out| text::obtain(report, out))
}

/// Prints what came of a pass, if anybody wants to know, and says how the process ends
pub(super) fn conclude(
    global: &Global,
    report: &Report,
    text: impl FnOnce(&Report, &mut TextOut<'_>) -> io::Result<()>,
) -> Result<Ended, CliError> {
    let is_well = report.verdict() == Verdict::Well && !report.warns();
    if !global.keeps_back(is_well) {
        print_report(report, global.format, global.color, text)?;
    }
    Ok(report.verdict().into())
}

/// What the command does, without printing what came of it
pub(super) async fn report(
    global: &Global,
    args: &Obtain,
    environment: &Environment,
    now: Timestamp,
) -> Result<Report, CliError> {
    let config = configuration(global, environment)?;
    let domains = select(&config, args)?;
    let options = options(&config, args)?;
    let store = store(&config, options.mode)?;
    let context = Context::new(&config, &store, crypto_provider(), now);
    pass(global, &context, &options, &domains).await
}

/// The store, as a run of this mode needs it
pub(super) fn store(config: &Config, mode: Mode) -> Result<Store, CliError> {
    Ok(match mode {
        Mode::DryRun => Store::for_reading(&config.storage, &config.state),
        _ => Store::open(&config.storage, &config.state, config.key_group.as_deref())?,
    })
}

/// One pass over these domains, shown while it runs
pub(super) async fn pass(
    global: &Global,
    context: &Context<'_>,
    options: &Options,
    domains: &[&Domain],
) -> Result<Report, CliError> {
    let watcher = Watcher::start(global);
    let mut context = context.clone();
    context.progress = watcher.progress();
    let report = run::obtain(&context, options, domains).await;
    drop(context);
    watcher.finish().await;
    Ok(report?)
}

fn options(config: &Config, args: &Obtain) -> Result<Options, CliError> {
    if let Some(issuer) = &args.issuer
        && !config.issuers.contains_key(issuer)
    {
        return Err(CliError::UnknownIssuer {
            name: issuer.clone(),
            known: config.issuers.keys().cloned().collect(),
        });
    }
    let skip = args.skip_check.iter().map(|skipped| skipped.check());
    let skip: BTreeSet<Check> = skip.collect();
    Ok(Options {
        urgency: match args.force {
            true if skip.contains(&Check::Budget) => Urgency::Regardless,
            true => Urgency::Now,
            false => Urgency::WhenDue,
        },
        issuer: args.issuer.clone(),
        mode: match (args.dry_run, args.staging, args.no_deploy) {
            (true, _, _) => Mode::DryRun,
            (_, true, _) => Mode::Rehearse,
            (_, _, true) => Mode::NoDeploy,
            _ => Mode::Deploy,
        },
        skip,
        occasion: Occasion::ByHand,
        retry: Retry::Now,
        next: None,
        ..Options::default()
    })
}

fn select<'c>(config: &'c Config, args: &Obtain) -> Result<Vec<&'c Domain>, CliError> {
    match args.all {
        true => enabled(config),
        false => named_by(config, &args.domains),
    }
}

/// Every enabled domain, at least one
pub(super) fn enabled(config: &Config) -> Result<Vec<&Domain>, CliError> {
    let enabled: Vec<&Domain> = config.enabled().collect();
    match enabled.is_empty() {
        true => Err(CliError::NoDomain),
        false => Ok(enabled),
    }
}

/// The domains with these primary names, each once
pub(super) fn named_by<'c>(
    config: &'c Config,
    names: &[String],
) -> Result<Vec<&'c Domain>, CliError> {
    let mut selected: Vec<&Domain> = Vec::new();
    for text in names {
        let domain = named(config, text)?;
        if !selected.iter().any(|known| known.name == domain.name) {
            selected.push(domain);
        }
    }
    Ok(selected)
}

/// The domain with this primary name
pub(super) fn named<'c>(config: &'c Config, text: &str) -> Result<&'c Domain, CliError> {
    let name = DnsName::parse(text).map_err(|source| CliError::Name {
        text: text.to_owned(),
        source,
    })?;
    if let Some(domain) = config.domain(&name) {
        return Ok(domain);
    }
    let holder = config
        .domains
        .iter()
        .find(|domain| domain.aliases.contains(&name));
    Err(match holder {
        Some(holder) => CliError::Alias {
            domain: holder.name.clone(),
            name,
        },
        None => CliError::UnknownDomain {
            close: config.closest_domain(&name).cloned(),
            file: config.path.display().to_string(),
            name,
        },
    })
}
