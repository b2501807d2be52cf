//! `certd check`: everything that `obtain` would meet before an order, and no order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use super::obtain::{Host, look_at_targets, no_issuer};
use super::preflight::{Known, Scout, issuer_kind};
use super::{Context, budget};
use crate::acme::{AcmeError, Session};
use crate::config::{Check, Domain, Terms};
use crate::finding::{Finding, Severity, chain_of_causes};
use crate::net::http::Meter;
use crate::plan::budget::Issuance;
use crate::preflight::judge::host::{self, Purpose};
use crate::report::SCHEMA_VERSION;
use crate::report::check::{CheckReport, DomainCheck, Group};
use crate::store::space;

/// Looks at these domains; nothing is ordered, registered or changed
///
/// Tokens and probe files are written and removed again. No lock is taken.
pub async fn check(
    context: &Context<'_>,
    skip: &BTreeSet<Check>,
    domains: &[&Domain],
) -> CheckReport {
    let begun = Instant::now();
    let (hosts, issuers) = tokio::join!(
        look_at_targets(context, domains),
        look_at_issuers(context, domains)
    );
    let scout = &Scout::new(context);
    let issuers = &issuers;
    let examined = stream::iter(domains.iter().zip(hosts))
        .map(|(domain, host)| async move {
            let issuer = issuers.get(domain.issuer.as_str());
            examine(context, skip, scout, domain, host, issuer).await
        })
        .buffered(AT_ONCE);
    CheckReport {
        schema_version: SCHEMA_VERSION,
        command: "check",
        started: context.started.0,
        domains: examined.collect().await,
        elapsed: begun.elapsed(),
    }
}

async fn examine(
    context: &Context<'_>,
    skip: &BTreeSet<Check>,
    scout: &Scout,
    domain: &Domain,
    host: Host,
    issuer: Option<&Issuer>,
) -> DomainCheck {
    let known = Known {
        containers: host.doors.clone(),
        identities: issuer
            .map(|issuer| issuer.identities.clone())
            .unwrap_or_default(),
        account: issuer.and_then(|issuer| issuer.account.clone()),
        issuer: issuer_kind(context, &domain.issuer),
    };
    let names = scout.examine(domain, &known).await;
    let mut ca = issuer
        .map(|issuer| issuer.findings.clone())
        .unwrap_or_default();
    ca.extend(issuer.and_then(|issuer| issuer.profile(domain)));
    let budget = match skip.contains(&Check::Budget) {
        true => Vec::new(),
        false => spent(context, domain, &known),
    };
    let groups = vec![
        Group::new("files", directories(context, domain)),
        Group::new("docker", containers(domain, &host)),
        Group::new("ca", ca),
        Group::new("budget", budget),
    ];
    let is_required =
        |check: Check| context.config.preflight.require.contains(&check) && !skip.contains(&check);
    DomainCheck::new(domain.name.to_string(), groups, names, is_required)
}

fn directories(context: &Context<'_>, domain: &Domain) -> Vec<Finding> {
    let config = context.config;
    let places: [(Purpose, &Path); 3] = [
        (Purpose::Webroot, &domain.webroot),
        (Purpose::Storage, &config.storage),
        (Purpose::State, &config.state),
    ];
    places
        .into_iter()
        .flat_map(|(purpose, path)| match space::look(path) {
            Ok(facts) => host::directory(purpose, &facts),
            Err((path, error)) => {
                let evidence = format!("{} cannot be looked at: {error}", path.display());
                vec![Finding::failure("files.unreadable", evidence)]
            }
        })
        .collect()
}

fn containers(domain: &Domain, host: &Host) -> Vec<Finding> {
    if domain.nginx.is_none() {
        let evidence = "no nginx is configured: nothing would be reloaded";
        return vec![Finding::note("docker.none", evidence)];
    }
    let mut findings = host.findings.clone();
    findings.extend(host.containers.iter().filter_map(host::container));
    let is_bad = |finding: &Finding| finding.severity == Severity::Failure;
    if !findings.iter().any(is_bad) {
        findings.push(Finding::ok("docker.ready", host.detail.clone()));
    }
    findings
}

fn spent(context: &Context<'_>, domain: &Domain, known: &Known) -> Vec<Finding> {
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
    match budget::usage(context, &issuer.directory, account, &names, issuance) {
        Ok(usages) => usages
            .iter()
            .map(|usage| budget::finding(usage, context.now()))
            .collect(),
        Err(error) => vec![Finding::warning("budget.unknown", chain_of_causes(&error))],
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
    let provider = context.provider.clone();
    let session = match Session::open(
        name,
        issuer,
        provider,
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
    match context.config.terms {
        Terms::Agreed => Finding::note(
            "ca.no_account",
            "no account yet: it is registered with the first order",
        ),
        Terms::NotAgreed => Finding::from_error(&AcmeError::Terms {
            url: session.terms_of_service().map(ToOwned::to_owned),
        }),
    }
}

/// Domains that are looked at at once
const AT_ONCE: usize = 16;
