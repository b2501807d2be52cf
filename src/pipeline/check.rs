//! `certd check`: everything that `obtain` would meet before an order, and no order.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use super::budget::{self, Planned};
use super::installed::{expected_of, known_certificates};
use super::obtain::{Host, look_at_targets, no_issuer, no_target};
use super::preflight::{Known, Scout, required, sweep_webroots};
use super::{Context, Mode};
use crate::acme::{AcmeError, Session};
use crate::challenge::{Published, WELL_KNOWN};
use crate::config::{Check, Domain};
use crate::facts::{Container, DirectoryFacts, Writing};
use crate::finding::{Finding, Severity, chain_of_causes};
use crate::name::DnsName;
use crate::net::http::Meter;
use crate::plan::budget::{Balance, Issuance};
use crate::preflight::judge::host::{self, Purpose};
use crate::report::SCHEMA_VERSION;
use crate::report::check::{CheckReport, DomainCheck, Group};
use crate::store::files;
use crate::store::files::Absent;
use crate::store::ledger::Ledger;
use crate::store::record::RecordError;
use crate::store::{self, ARCHIVE, LIVE, space};
use crate::verify::judge::{Expectation, Known as Installable, judge};

/// Looks at these domains; nothing is ordered, registered or changed
///
/// Tokens and probe files are written and removed again. No lock is taken. `mode` is that of the
/// `obtain` that would order: one that deploys needs containers.
pub async fn check(
    context: &Context<'_>,
    mode: Mode,
    skip: &BTreeSet<Check>,
    domains: &[&Domain],
) -> CheckReport {
    let begun = Instant::now();
    sweep_webroots(domains.iter().copied());
    let webroots: BTreeSet<&Path> = domains
        .iter()
        .map(|domain| domain.webroot.as_path())
        .collect();
    let absent: Vec<Absent> = webroots.into_iter().filter_map(Published::absent).collect();
    let (hosts, issuers) = tokio::join!(
        look_at_targets(context, mode, domains),
        look_at_issuers(context, domains)
    );
    let (issuers, shared) = (&issuers, &Shared::new(context, mode, skip));
    let examined = stream::iter(domains.iter().zip(hosts))
        .map(|(domain, host)| async move {
            let issuer = issuers.get(domain.issuer.as_str());
            examine(context, shared, domain, host, issuer).await
        })
        .buffered(AT_ONCE);
    let mut domains_seen: Vec<DomainCheck> = examined.collect().await;
    // It is the host's, and told once.
    if let (Some(first), Some(note)) = (domains_seen.first_mut(), acting(context, domains)) {
        first.add(FILES, note);
    }
    drop(absent);
    CheckReport {
        schema_version: SCHEMA_VERSION,
        command: "check",
        started: context.started.0,
        domains: domains_seen,
        elapsed: begun.elapsed(),
    }
}

async fn examine(
    context: &Context<'_>,
    shared: &Shared<'_>,
    domain: &Domain,
    host: Host,
    issuer: Option<&Issuer>,
) -> DomainCheck {
    let identities = issuer.map(|issuer| issuer.identities.clone());
    let known = Known::new(
        context,
        &domain.issuer,
        identities.unwrap_or_default(),
        issuer.and_then(|issuer| issuer.account.clone()),
        host.place.clone(),
    );
    let names = shared.scout.examine(domain, &known).await;
    let mut ca = issuer
        .map(|issuer| issuer.findings.clone())
        .unwrap_or_default();
    ca.extend(issuer.and_then(|issuer| issuer.profile(domain)));
    let is_required = |check| required(context, shared.skip, check);
    let groups = vec![
        Group::new(FILES, files(context, domain, &host, &shared.tried)),
        Group::new("docker", containers(shared.mode, domain, &host)),
        Group::new("order", host.obstacle.iter().cloned().collect()),
        Group::new("served", served(context, &shared.known, domain, &host)),
        Group::new("site", shared.scout.applications(&host.handshakes).await),
        Group::new("ca", ca),
        Group::new("budget", spent(context, &shared.ledger, domain, &known)),
    ];
    DomainCheck::new(domain.name.to_string(), groups, names, is_required)
}

/// What the looks at all domains share
struct Shared<'s> {
    mode: Mode,
    skip: &'s BTreeSet<Check>,
    scout: Scout,
    known: Arc<[Installable]>,
    /// What is used of the limits of each CA
    ledger: Result<Balances, RecordError>,
    /// What went wrong where a run would write
    tried: Vec<Finding>,
}

/// By directory URL; a CA whose limits are not known is left out
type Balances = BTreeMap<String, Balance>;

impl<'s> Shared<'s> {
    fn new(context: &Context<'_>, mode: Mode, skip: &'s BTreeSet<Check>) -> Self {
        let balances = |ledger: Ledger| {
            let issuers = context.config.issuers.values();
            let balances = issuers.filter_map(|issuer| {
                let balance = Balance::of(&ledger, &issuer.directory, context.now())?;
                Some((issuer.directory.clone(), balance))
            });
            balances.collect()
        };
        let key_group = context.config.key_group.as_deref();
        let tried = context.store.try_writing(key_group);
        Self {
            mode,
            skip,
            tried: tried.iter().map(Finding::from_error).collect(),
            scout: Scout::new(context),
            known: known_certificates(context.store),
            ledger: context.store.ledger().map(balances),
        }
    }
}

/// That root works with the rights of others, where it does
fn acting(context: &Context<'_>, domains: &[&Domain]) -> Option<Finding> {
    let paths = domains
        .iter()
        .flat_map(|domain| directories(context, domain));
    let paths: BTreeSet<&Path> = paths.map(|(_, path)| path).collect();
    let looks = paths.into_iter().filter_map(|path| space::look(path).ok());
    let facts: Vec<DirectoryFacts> = looks.collect();
    host::acting(&facts)
}

/// The directories that certd writes to for a domain
pub(super) fn directories<'d>(
    context: &'d Context<'_>,
    domain: &'d Domain,
) -> [(Purpose, &'d Path); 3] {
    let config = context.config;
    [
        (Purpose::Webroot, &domain.webroot),
        (Purpose::Storage, &config.storage),
        (Purpose::State, &config.state),
    ]
}

fn files(context: &Context<'_>, domain: &Domain, host: &Host, tried: &[Finding]) -> Vec<Finding> {
    let is_bad = |finding: &Finding| finding.severity == Severity::Failure;
    let mut findings = of_directories(context, domain, &host.containers);
    if findings.iter().any(is_bad) || tried.is_empty() {
        // What could be seen says more than how the attempt ended.
        return findings;
    }
    findings.retain(|finding| finding.severity != Severity::Ok);
    findings.extend(tried.iter().cloned());
    findings
}

fn of_directories(
    context: &Context<'_>,
    domain: &Domain,
    containers: &[Container],
) -> Vec<Finding> {
    let group = context.config.key_group.as_deref();
    let no_group = group.and_then(|group| store::group_id(group).err());
    let no_group = no_group.map(|error| Finding::from_error(&error));
    directories(context, domain)
        .into_iter()
        .flat_map(|(purpose, path)| of_directory(purpose, path, containers))
        .chain(no_group)
        .collect()
}

/// What is wrong with a directory that is for this purpose, or that nothing is
pub(super) fn of_directory(
    purpose: Purpose,
    path: &Path,
    containers: &[Container],
) -> Vec<Finding> {
    match look(purpose, path) {
        Ok(facts) => host::directory(purpose, &facts, containers),
        Err((path, error)) => {
            let path = path.display();
            let evidence = format!("{path} cannot be looked at: {error}");
            let finding = Finding::failure("files.unreadable", evidence);
            vec![finding.with_cure(match error.kind() {
                io::ErrorKind::PermissionDenied => "run certd as its owner, or as root".to_owned(),
                _ => format!("see what is on the way to it:\n    namei -l {path}"),
            })]
        }
    }
}

/// What there is to know of the directories that certd makes files in, in one that is for this purpose
///
/// Those below it may be others' than the directory itself.
fn look(purpose: Purpose, path: &Path) -> Result<DirectoryFacts, (PathBuf, io::Error)> {
    let mut facts = space::look(path)?;
    let below: Vec<PathBuf> = match purpose {
        Purpose::Webroot => vec![WELL_KNOWN.iter().collect()],
        Purpose::Storage => vec![LIVE.into(), ARCHIVE.into()],
        Purpose::State => Vec::new(),
    };
    if facts.nearest != facts.path {
        facts.meant = files::meant(path);
        return Ok(facts);
    }
    if below.is_empty() {
        return Ok(facts);
    }
    for below in below {
        let inner = space::look(&path.join(below))?;
        match inner.writing {
            Writing::Allowed => {}
            // It is mounted as a whole.
            Writing::ReadOnly => {
                return Ok(DirectoryFacts {
                    writing: Writing::ReadOnly,
                    ..facts
                });
            }
            Writing::Forbidden => {
                return Ok(DirectoryFacts {
                    path: inner.nearest.clone(),
                    ..inner
                });
            }
        }
    }
    Ok(DirectoryFacts {
        writing: Writing::Allowed,
        ..facts
    })
}

fn containers(mode: Mode, domain: &Domain, host: &Host) -> Vec<Finding> {
    let mut findings = host.findings.clone();
    match (mode, &domain.nginx) {
        (Mode::NoDeploy, _) => return findings,
        (_, None) => {
            findings.push(no_target());
            return findings;
        }
        (_, Some(_)) => {}
    }
    findings.extend(host.containers.iter().filter_map(host::container));
    let is_bad = |finding: &Finding| finding.severity == Severity::Failure;
    if !findings.iter().any(is_bad) {
        findings.push(Finding::ok("docker.ready", host.detail.clone()));
    }
    findings
}

/// What visitors get now, where TLS answers: an order changes nothing as long as it is not right
fn served(
    context: &Context<'_>,
    known: &Arc<[Installable]>,
    domain: &Domain,
    host: &Host,
) -> Vec<Finding> {
    let trust = match context.trust() {
        Ok(trust) => trust,
        Err(error) => {
            let told = Finding::warning("acme.trust", chain_of_causes(error));
            return vec![told.with_cure("correct `[verify] trust`")];
        }
    };
    let own_names: Vec<DnsName> = domain.names().cloned().collect();
    let installed = expected_of(context.store, known, &domain.name);
    let expectation = Expectation {
        own_names: &own_names,
        sharing: domain.sharing,
        installed: installed.as_ref(),
        min_remaining: context.config.verify.min_remaining,
        ..Expectation::of_browser(trust)
    };
    let mut findings: Vec<Finding> = Vec::new();
    let answered = host.handshakes.iter();
    for handshake in answered.filter(|handshake| handshake.outcome.is_ok()) {
        let judged = judge(handshake, &expectation, context.now());
        let judged = judged
            .into_iter()
            .map(|finding| finding.at_most(Severity::Warning));
        let mut judged: Vec<Finding> = judged
            .filter(|finding| finding.severity == Severity::Warning)
            .collect();
        // That it is another certificate is said once, with the lines to change.
        let mut is_told = false;
        judged.retain_mut(|finding| {
            if !OF_ANOTHER.contains(&finding.code) {
                return true;
            }
            let change = host.changes.get(&handshake.name).cloned();
            finding.cure = Some(change.unwrap_or_else(|| {
                format!(
                    "`certd obtain {}` supplies its certificate, and shows what to change where nginx names another",
                    domain.name
                )
            }));
            !std::mem::replace(&mut is_told, true)
        });
        for finding in judged {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

fn spent(
    context: &Context<'_>,
    ledger: &Result<Balances, RecordError>,
    domain: &Domain,
    known: &Known,
) -> Vec<Finding> {
    let Some(issuer) = context.config.issuers.get(&domain.issuer) else {
        return Vec::new();
    };
    let names: Vec<_> = domain.names().cloned().collect();
    let account = known.account.as_deref();
    // Where certificates are in the archive the next is a renewal, or certd knows when it orders.
    let issuance = match context.store.lineage(&domain.name) {
        Ok(lineage) if !lineage.generations.is_empty() => Issuance::Renewal,
        _ => Issuance::First,
    };
    let planned = Planned {
        account,
        names: &names,
        issuance,
    };
    match ledger {
        Ok(balances) => {
            let balance = balances.get(&issuer.directory);
            let usages: Vec<_> = balance
                .iter()
                .flat_map(|balance| planned.usage(balance, context.now()))
                .collect();
            match usages.iter().all(|usage| usage.used == 0) {
                true if usages.is_empty() => Vec::new(),
                true => vec![budget::unused(usages.len())],
                false => usages
                    .iter()
                    .map(|usage| budget::finding(usage, context.now()))
                    .collect(),
            }
        }
        Err(error) => vec![budget::unknown(error)],
    }
}

/// What a CA says of itself
struct Issuer {
    findings: Vec<Finding>,
    identities: Vec<String>,
    account: Option<String>,
    session: Option<Session>,
}

impl Issuer {
    fn profile(&self, domain: &Domain) -> Option<Finding> {
        let session = self.session.as_ref()?;
        let checked = session.check_profile(domain.profile.as_deref());
        checked.err().map(|error| Finding::from_error(&error))
    }
}

/// Asks the CA of each domain for its directory, once
async fn look_at_issuers(context: &Context<'_>, domains: &[&Domain]) -> BTreeMap<String, Issuer> {
    let needed: BTreeSet<&str> = domains
        .iter()
        .map(|domain| domain.issuer.as_str())
        .collect();
    let looking = needed.into_iter().map(async |name| {
        let issuer = look_at_issuer(context, name).await;
        (name.to_owned(), issuer)
    });
    join_all(looking).await.into_iter().collect()
}

async fn look_at_issuer(context: &Context<'_>, name: &str) -> Issuer {
    let unusable = |finding| Issuer {
        findings: vec![finding],
        identities: Vec::new(),
        account: None,
        session: None,
    };
    let Some(issuer) = context.config.issuers.get(name) else {
        return unusable(no_issuer(name));
    };
    let (provider, proxies) = (context.provider.clone(), context.config.proxies);
    let session = match Session::open(
        name,
        issuer,
        provider,
        proxies,
        Meter::default(),
        context.patience.ca,
    )
    .await
    {
        Ok(session) => session,
        Err(error) => return unusable(Finding::from_error(&error)),
    };
    let mut findings = vec![Finding::ok("ca.reachable", format!("{name} answers"))];
    let ahead = session
        .date()
        .map(|date| context.now().duration_since(date));
    findings.extend(ahead.and_then(host::clock));
    let account = context.store.account(name, session.directory());
    let account = match account {
        Ok(Some(account)) => {
            findings.push(Finding::ok("ca.account", "the account is known"));
            Some(account.url)
        }
        Ok(None) => {
            findings.push(no_account(context, &session));
            None
        }
        Err(error) => {
            findings.push(Finding::from_error(&AcmeError::from(error)));
            None
        }
    };
    Issuer {
        findings,
        identities: session.caa_identities().to_vec(),
        account,
        session: Some(session),
    }
}

fn no_account(context: &Context<'_>, session: &Session) -> Finding {
    match session.check_registration(context.config.terms) {
        Ok(()) => Finding::note(
            "ca.no_account",
            "no account yet: it is registered with the first order",
        ),
        Err(error) => Finding::from_error(&error),
    }
}

/// Codes that say that another certificate than the domain's own is served
const OF_ANOTHER: [&str; 4] = [
    "served.wrong_name",
    "served.other_lineage",
    "served.not_installed",
    "served.other_common_name",
];
/// What the group of findings about directories is called
const FILES: &str = "files";
/// Domains that are looked at at once
const AT_ONCE: usize = 16;
