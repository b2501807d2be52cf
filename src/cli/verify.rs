//! `certd verify`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::args::{Global, StartTls, Verify};
use super::error::CliError;
use super::process::descriptors;
use super::{Ended, crypto_provider, now, optional};
use crate::chain::{Chain, public_key_of};
use crate::config::{Config, Domain, Environment, defaults};
use crate::facts::Opening;
use crate::finding::Severity;
use crate::name::DnsName;
use crate::net::dns::Resolver;
use crate::net::hosts::Hosts;
use crate::net::tls::Observer;
use crate::pipeline::installed::{expected_of, known_certificates};
use crate::pipeline::verify::{
    Demand, FILES_EACH, Http, Means, OnDisk, Subject, Unusable, judge_file, verify,
};
use crate::report::SCHEMA_VERSION;
use crate::report::verify::{Origin, VerifyReport};
use crate::store::Store;
use crate::verify::judge::{Known, Moment};
use crate::verify::path::Trust;

mod formats;
mod input;
mod targets;

use targets::Target;

pub(super) async fn run(
    global: &Global,
    args: &Verify,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let report = report(global, args, environment, now()).await?;
    let severity = report.severity();
    formats::print_report(global, &report, fails_from(args))?;
    Ok(match severity >= fails_from(args) {
        true => Ended::Failed,
        false => Ended::Well,
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
    let means = means(config.as_ref(), args)?;
    if let Some(chain) = &args.offline.chain {
        let at = args.offline.at.unwrap_or(now);
        return judge_files(&means, config.as_ref(), args, chain, at);
    }
    // A certificate that is served now can be judged by another day too.
    let now = args.offline.at.unwrap_or(now);
    let targets = targets::targets(&args.targets, args.list.as_deref())?;
    let mut asked = asked(config.as_ref(), args, targets);
    if asked.is_empty() {
        return Err(CliError::NoDomain);
    }
    for subject in asked.iter_mut().flatten() {
        direct(subject, args)?;
    }
    let mut seen = HashSet::new();
    asked.retain(|asked| match asked {
        Ok(subject) => seen.insert(subject.place()),
        Err(_) => true,
    });
    match args.wait {
        None => Ok(verify(&means, &asked, now).await),
        Some(patience) => Ok(wait_until_good(&means, args, &asked, patience).await),
    }
}

/// The least severity with which the command fails
const fn fails_from(args: &Verify) -> Severity {
    match args.strict {
        true => Severity::Warning,
        false => Severity::Failure,
    }
}

/// Looks again and again until all is good that can become so, or until this time is over
async fn wait_until_good(
    means: &Means,
    args: &Verify,
    asked: &[Result<Subject, Unusable>],
    patience: Duration,
) -> VerifyReport {
    let begun = Instant::now();
    loop {
        let report = verify(means, asked, now()).await;
        let elapsed = begun.elapsed();
        let mut reached = report.endpoints.iter().filter(|one| !one.is_unusable());
        let is_good = reached.all(|endpoint| endpoint.severity < fails_from(args));
        if is_good || elapsed + BETWEEN_LOOKS >= patience {
            return VerifyReport { elapsed, ..report };
        }
        tracing::info!(severity = ?report.severity(), "looking again in a second");
        sleep(BETWEEN_LOOKS).await;
    }
}

/// Judges what stands in files, as if it were served
fn judge_files(
    means: &Means,
    config: Option<&Config>,
    args: &Verify,
    chain: &Path,
    at: Timestamp,
) -> Result<VerifyReport, CliError> {
    let begun = std::time::Instant::now();
    let text = input::file(chain)?;
    let parsed = Chain::from_pem(&text).map_err(|source| CliError::NoChain {
        path: chain.to_owned(),
        source,
    })?;
    let public_key = match &args.offline.key {
        None => None,
        Some(path) => {
            let key = public_key_of(&input::file(path)?);
            Some(key.map_err(|source| CliError::NoKey {
                path: path.clone(),
                source,
            })?)
        }
    };
    let name = targets::name_or_address(args.name.as_deref().unwrap_or_default())?;
    let configured = config.and_then(|config| configured(config, &name, None));
    let subject = match configured {
        // A new chain is not yet installed: that is not held against it.
        Some(Asked { domain, .. }) => Subject {
            name,
            ..Subject::of_domain(domain, &domain.name, None)
        },
        None => Subject::host(name, defaults::PORT),
    };
    let file = chain.display().to_string();
    let on_disk = OnDisk {
        file: &file,
        chain: parsed,
        public_key,
    };
    Ok(VerifyReport {
        schema_version: SCHEMA_VERSION,
        command: "verify",
        started: at,
        endpoints: vec![judge_file(means, &subject, &on_disk, at)],
        elapsed: begun.elapsed(),
    })
}

/// The configuration; `None` where none is needed and none was found
fn config(
    global: &Global,
    args: &Verify,
    environment: &Environment,
) -> Result<Option<Config>, CliError> {
    let is_needed = args.targets.is_empty() && args.list.is_none() && args.offline.chain.is_none();
    if !is_needed {
        return optional::config(global, environment);
    }
    let path = Config::locate(global.config.as_deref(), environment)?;
    Ok(Some(Config::read(&path, environment)?))
}

fn means(config: Option<&Config>, args: &Verify) -> Result<Means, CliError> {
    let provider = crypto_provider();
    let algorithms = provider.signature_verification_algorithms;
    let mut trust: Vec<PathBuf> = config
        .map(|config| config.verify.trust.clone())
        .unwrap_or_default();
    trust.extend(args.trust.iter().cloned());
    let timeout = config.map_or(defaults::VERIFY_TIMEOUT, |config| config.verify.timeout);
    let timeout = args.timeout.unwrap_or(timeout);
    let dns = config.map(|config| &config.dns);
    let http_port = config.map_or(defaults::HTTP_PORT, |config| config.preflight.http_port);
    let concurrency = config.map_or(defaults::VERIFY_CONCURRENCY, |config| {
        config.verify.concurrency
    });
    Ok(Means {
        hosts: Hosts::of_system(),
        resolver: Resolver::new(
            dns.map_or(&[], |dns| dns.servers.as_slice()),
            dns.map_or(defaults::DNS_TIMEOUT, |dns| dns.timeout),
        ),
        observer: Observer::new(provider, timeout),
        http: match args.tls_only {
            true => Http::Left,
            false => Http::Asked { port: http_port },
        },
        timeout,
        trust: {
            let trust = Trust::load(&trust, algorithms)?;
            if trust.is_empty() {
                tracing::warn!(
                    "this host trusts no CA: install ca-certificates, or name roots with --trust"
                );
            }
            trust
        },
        demand: demand(config, args),
        concurrency: room_for(concurrency),
        moment: match args.offline.at {
            Some(_) => Moment::AskedFor,
            None => Moment::Now,
        },
    })
}

fn demand(config: Option<&Config>, args: &Verify) -> Demand {
    let configured = config.map_or(defaults::MIN_REMAINING, |config| {
        config.verify.min_remaining
    });
    Demand {
        min_remaining: args.min_remaining.unwrap_or(configured),
        fingerprint: args.expect_fingerprint.clone(),
        issuer: args.expect_issuer.clone(),
    }
}

/// So many endpoints, or as many as this process may have files for
fn room_for(endpoints: usize) -> usize {
    let Some(descriptors) = descriptors() else {
        return endpoints;
    };
    let room = usize::try_from(descriptors.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    endpoints.min(room / FILES_EACH).max(1)
}

/// The subjects that the targets stand for, all of domains.toml without any
fn asked(
    config: Option<&Config>,
    args: &Verify,
    targets: Vec<Result<Target, Unusable>>,
) -> Vec<Result<Subject, Unusable>> {
    let Some(config) = config else {
        let targets = targets.into_iter();
        return targets.map(|target| Ok(host(args, &target?))).collect();
    };
    let store = Store::for_reading(&config.storage, &config.state);
    let known = known_certificates(&store);
    if targets.is_empty() {
        let all = config.enabled();
        return all
            .flat_map(|domain| of_domain(config, &store, &known, domain))
            .map(Ok)
            .collect();
    }
    let mut all = Vec::new();
    for target in targets {
        match target {
            Err(unusable) => all.push(Err(unusable)),
            Ok(target) => match configured(config, &target.host, target.port) {
                Some(asked) => {
                    let subjects = asked.subjects(config, &store, &known).into_iter();
                    // A list asks by its own lines, whatever else names the host.
                    all.extend(subjects.map(|subject| {
                        Ok(Subject {
                            origin: target.origin.clone().or(subject.origin),
                            ..subject
                        })
                    }));
                }
                None => all.push(Ok(host(args, &target))),
            },
        }
    }
    all
}

/// A domain of domains.toml, as it was asked for
struct Asked<'c> {
    domain: &'c Domain,
    /// One of its names; `None` for all
    name: Option<DnsName>,
    /// One port; `None` for all
    port: Option<u16>,
}

impl Asked<'_> {
    /// What is known of the domain counts, whatever part of it was asked for
    fn subjects(&self, config: &Config, store: &Store, known: &Arc<[Known]>) -> Vec<Subject> {
        let mut subjects = of_domain(config, store, known, self.domain);
        subjects.retain(|subject| {
            let name = self.name.as_ref();
            name.is_none_or(|name| subject.name == name.as_str())
        });
        if let Some(port) = self.port {
            for subject in &mut subjects {
                subject.ask_at(port);
            }
        }
        subjects
    }
}

/// The domain that a host is a name of: with all its names where that is the primary one, and no
/// port is given
fn configured<'c>(config: &'c Config, host: &str, port: Option<u16>) -> Option<Asked<'c>> {
    let name = DnsName::parse(host).ok()?;
    if let Some(domain) = config.domain(&name) {
        let name = port.map(|_| name);
        return Some(Asked { domain, name, port });
    }
    let mut domains = config.domains.iter();
    let domain = domains.find(|domain| domain.aliases.contains(&name))?;
    Some(Asked {
        domain,
        name: Some(name),
        port,
    })
}

fn of_domain(
    config: &Config,
    store: &Store,
    known: &Arc<[Known]>,
    domain: &Domain,
) -> Vec<Subject> {
    let installed = expected_of(store, known, &domain.name);
    let subject = |name| Subject {
        origin: Some(Origin {
            file: config.path.clone(),
            line: domain.line,
        }),
        ..Subject::of_domain(domain, name, installed.clone())
    };
    domain.names().map(subject).collect()
}

fn host(args: &Verify, target: &Target) -> Subject {
    let port = target
        .port
        .unwrap_or_else(|| targets::usual_port(args.starttls));
    Subject {
        origin: target.origin.clone(),
        ..Subject::host(target.host.clone(), port)
    }
}

/// What the command line says of every subject
fn direct(subject: &mut Subject, args: &Verify) -> Result<(), CliError> {
    if let Some(name) = &args.name {
        subject.name = targets::name_or_address(name)?;
    }
    subject.connect = args.connect.or(subject.connect);
    if args.starttls.is_some() && subject.domain.is_some() {
        // Its ports are those of the web.
        subject.ask_at(targets::usual_port(args.starttls));
    }
    subject.opening = match args.starttls {
        None => Opening::Direct,
        Some(StartTls::Smtp) => Opening::Smtp,
        Some(StartTls::Imap) => Opening::Imap,
        Some(StartTls::Pop3) => Opening::Pop3,
    };
    Ok(())
}

/// Time between two looks of --wait
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Files that are open beside the connections
const OTHER_FILES: u64 = 32;
