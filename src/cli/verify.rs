//! `certd verify`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::args::{Global, Verify};
use super::error::CliError;
use super::{Ended, crypto_provider, now, print_report};
use crate::config::{Config, ConfigError, Domain, Environment, MinRemaining, defaults};
use crate::finding::Severity;
use crate::name::DnsName;
use crate::net::dns::Resolver;
use crate::net::tls::Observer;
use crate::pipeline::installed::{expected_of, known_certificates};
use crate::pipeline::verify::{Means, Subject, verify};
use crate::report::text;
use crate::report::verify::VerifyReport;
use crate::store::Store;
use crate::verify::judge::Known;
use crate::verify::path::Trust;

pub(super) async fn run(
    global: &Global,
    args: &Verify,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let report = report(global, args, environment, now()).await?;
    if !(global.quiet && report.severity() < Severity::Warning) {
        print_report(&report, global.format, global.color, |report, out| {
            text::verify(report, out)
        })?;
    }
    Ok(match report.severity() {
        Severity::Failure => Ended::Failed,
        _ => Ended::Well,
    })
}

/// What the command does, without printing what came of it
pub(super) async fn report(
    global: &Global,
    args: &Verify,
    environment: &Environment,
    now: Timestamp,
) -> Result<VerifyReport, CliError> {
    let config = config(global, args, environment)?;
    let subjects = subjects(config.as_ref(), &args.targets)?;
    let means = means(config.as_ref())?;
    Ok(verify(&means, &subjects, now).await)
}

/// The configuration; `None` where none is needed and none was found
fn config(
    global: &Global,
    args: &Verify,
    environment: &Environment,
) -> Result<Option<Config>, CliError> {
    let is_named = global.config.is_some() || environment.config.is_some();
    let path = match Config::locate(global.config.as_deref(), environment) {
        Err(ConfigError::NotFound) if !args.targets.is_empty() => return Ok(None),
        located => located?,
    };
    match Config::read(&path, environment) {
        // A plain user who asks for a host needs no file that root keeps for itself.
        Err(error) if error.is_forbidden() && !is_named && !args.targets.is_empty() => Ok(None),
        read => Ok(Some(read?)),
    }
}

fn means(config: Option<&Config>) -> Result<Means, CliError> {
    let provider = crypto_provider();
    let algorithms = provider.signature_verification_algorithms;
    let trust: Vec<PathBuf> = config
        .map(|config| config.verify.trust.clone())
        .unwrap_or_default();
    let timeout = config.map_or(defaults::VERIFY_TIMEOUT, |config| config.verify.timeout);
    let dns = config.map(|config| &config.dns);
    Ok(Means {
        resolver: Resolver::new(
            dns.map_or(&[], |dns| dns.servers.as_slice()),
            dns.map_or(defaults::DNS_TIMEOUT, |dns| dns.timeout),
        ),
        observer: Observer::new(provider, timeout),
        trust: Trust::load(&trust, algorithms)?,
        min_remaining: config.map_or(MinRemaining::Fraction(defaults::MIN_REMAINING), |config| {
            config.verify.min_remaining
        }),
        concurrency: config.map_or(defaults::VERIFY_CONCURRENCY, |config| {
            config.verify.concurrency
        }),
    })
}

fn subjects(config: Option<&Config>, targets: &[String]) -> Result<Vec<Subject>, CliError> {
    let Some(config) = config else {
        return targets.iter().map(|target| host(target)).collect();
    };
    let store = Store::for_reading(&config.storage, &config.state);
    let known = known_certificates(&store);
    if targets.is_empty() {
        return Ok(config
            .enabled()
            .flat_map(|domain| of_domain(&store, &known, domain))
            .collect());
    }
    let mut subjects = Vec::new();
    for target in targets {
        match configured(config, target) {
            Some((domain, None)) => subjects.extend(of_domain(&store, &known, domain)),
            Some((domain, Some(name))) => {
                let installed = expected_of(&store, &known, &domain.name);
                subjects.push(Subject::of_domain(domain, &name, installed));
            }
            None => subjects.push(host(target)?),
        }
    }
    Ok(subjects)
}

/// The domain that a word names, and which of its names alone if the word is an alias
fn configured<'c>(config: &'c Config, target: &str) -> Option<(&'c Domain, Option<DnsName>)> {
    let name = DnsName::parse(target).ok()?;
    if let Some(domain) = config.domain(&name) {
        return Some((domain, None));
    }
    let domain = config
        .domains
        .iter()
        .find(|domain| domain.aliases.contains(&name))?;
    Some((domain, Some(name)))
}

fn of_domain(store: &Store, known: &[Known], domain: &Domain) -> Vec<Subject> {
    let installed = expected_of(store, known, &domain.name);
    domain
        .names()
        .map(|name| Subject::of_domain(domain, name, installed.clone()))
        .collect()
}

/// A host that is in no configuration: `HOST`, `HOST:PORT`, `[v6]:PORT`
fn host(text: &str) -> Result<Subject, CliError> {
    let refused = || CliError::Target {
        text: text.to_owned(),
    };
    if Path::new(text).is_absolute() {
        return Err(refused());
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, defaults::PORT),
        Some((host, port)) => {
            let port = port.strip_prefix(':').ok_or_else(refused)?;
            (host, port.parse().map_err(|_| refused())?)
        }
        None if text.parse::<IpAddr>().is_ok() => (text, defaults::PORT),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| refused())?),
            None => (text, defaults::PORT),
        },
    };
    let odd = host.chars().any(|c| matches!(c, ':' | '[' | ']' | '/'));
    if port == 0 || text.starts_with(':') || (odd && host.parse::<IpAddr>().is_err()) {
        return Err(refused());
    }
    if host.parse::<IpAddr>().is_ok() {
        return Ok(Subject::host(host.to_owned(), port));
    }
    let name = DnsName::parse(host).map_err(|source| CliError::Name {
        text: host.to_owned(),
        source,
    })?;
    Ok(Subject::host(name.to_string(), port))
}
