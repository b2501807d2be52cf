//! `certd status`: every lineage as it stands on disk. No lock, no network, no root needed.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::config::{Config, Domain};
use crate::finding::{Finding, chain_of_causes};
use crate::name::DnsName;
use crate::plan::{self, backoff, due};
use crate::report::SCHEMA_VERSION;
use crate::report::status::{LastRun, LineageState, LineageStatus, Standing, StatusReport};
use crate::store::Store;
use crate::store::lineage::LineageError;
use crate::store::record::Record;

/// The state of every lineage at `now`
///
/// What may not be read is left out: a user without rights sees certificates, not records.
pub fn status(config: &Config, store: &Store, now: Timestamp) -> StatusReport {
    let configured: BTreeSet<&DnsName> = config.domains.iter().map(|domain| &domain.name).collect();
    let mut lineages: Vec<LineageStatus> = config
        .domains
        .iter()
        .map(|domain| lineage(config, store, &domain.name, Some(domain), now))
        .collect();
    for name in store.lineage_names().unwrap_or_default() {
        let orphan = || lineage(config, store, &name, None, now);
        // Another program's lineages are not certd's to show.
        if !configured.contains(&name)
            && !matches!(store.live(&name), Err(LineageError::Foreign { .. }))
        {
            lineages.push(orphan());
        }
    }
    StatusReport {
        schema_version: SCHEMA_VERSION,
        command: "status",
        now,
        warnings: warnings(store),
        lineages,
    }
}

fn warnings(store: &Store) -> Vec<Finding> {
    let mut warnings = Vec::new();
    if let Err(error) = std::fs::read_dir(store.storage()) {
        let path = store.storage().display();
        let evidence = format!("the storage {path} cannot be read: {error}");
        warnings.push(Finding::warning("store.storage_missing", evidence));
    }
    let forbidden = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    let own = [store.state(), &store.records()];
    if let Some(closed) = own
        .into_iter()
        .find(|directory| std::fs::read_dir(directory).is_err_and(forbidden))
    {
        let path = closed.display();
        let evidence = format!("{path} may not be read: proofs and last results are not shown");
        let warning = Finding::warning("store.state_forbidden", evidence);
        warnings.push(warning.with_cure("run certd as its owner, or as root, to see them"));
    }
    warnings
}

fn lineage(
    config: &Config,
    store: &Store,
    name: &DnsName,
    domain: Option<&Domain>,
    now: Timestamp,
) -> LineageStatus {
    let (record, damage) = match store.record(name) {
        Ok(record) => (record, None),
        // Who may not read records sees certificates all the same.
        Err(error) if error.is_forbidden() => (Record::default(), None),
        Err(error) => (Record::default(), Some(chain_of_causes(&error))),
    };
    let mut status = LineageStatus {
        last_result: record.last_result.as_ref().map(LastRun::from),
        order_stopped: is_stopped(config, store, domain, &record),
        order_failure: record.order_failures.reason.clone(),
        problem: damage,
        ..undescribed(name, domain)
    };
    if domain.is_none() {
        // What its last run asked for would have it served again.
        if let Some(last) = &mut status.last_result {
            last.cure = None;
        }
        status.removal = Some(removal(store, name));
    }
    match (store.generations(name), store.live(name)) {
        (Ok(generations), Ok(live)) => {
            status.newest_generation = generations.last().copied();
            status.generation = live.or(status.newest_generation);
            describe(config, store, name, &record, live, now, &mut status);
        }
        (Err(error), _) | (_, Err(error)) => {
            let (state, problem) = not_described(&error);
            status.state = state;
            status.problem = Some(problem);
        }
    }
    if record.order_failures.refused.is_none() {
        let next = backoff::next_try(&record.order_failures, status.not_after, now);
        status.next_try = next.filter(|at| *at > now);
    }
    status
}

/// What the configuration alone says of a lineage
fn undescribed(name: &DnsName, domain: Option<&Domain>) -> LineageStatus {
    let names = domain
        .into_iter()
        .flat_map(Domain::names)
        .map(ToString::to_string);
    LineageStatus {
        name: name.to_string(),
        names: names.collect(),
        standing: match domain {
            Some(domain) if domain.enabled => Standing::Configured,
            Some(_) => Standing::Disabled,
            None => Standing::Orphaned,
        },
        state: LineageState::None,
        generation: None,
        proven_at: None,
        newest_generation: None,
        issuer: domain.map(|domain| domain.issuer.clone()),
        fingerprint: None,
        not_after: None,
        remaining_secs: None,
        renewal_at: None,
        explanation: None,
        last_result: None,
        next_try: None,
        order_stopped: false,
        order_failure: None,
        removal: None,
        problem: None,
    }
}

/// How a person is rid of a lineage that is configured no more
fn removal(store: &Store, name: &DnsName) -> String {
    let (live, archive) = (store.live_link(name), store.archive(name));
    format!(
        "once nginx names it no more:\n    rm -r {}\n    rm -r {}",
        live.display(),
        archive.display()
    )
}

/// What is wrong with a lineage whose generations cannot be listed
fn not_described(error: &LineageError) -> (LineageState, String) {
    match error {
        LineageError::Foreign { .. } | LineageError::Placeholder { .. } => {
            (LineageState::Foreign, error.to_string())
        }
        _ if error.is_forbidden() => (LineageState::Unreadable, unreadable(error)),
        _ => (LineageState::Damaged, error.to_string()),
    }
}

/// Why nothing can be said of a lineage that is there
fn unreadable(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = chain_of_causes(error);
    format!("{causes}; run certd as the owner of the storage, or as root")
}

/// Whether what would be ordered now is what the CA has refused until a person acts
fn is_stopped(config: &Config, store: &Store, domain: Option<&Domain>, record: &Record) -> bool {
    let (Some(refused), Some(domain)) = (&record.order_failures.refused, domain) else {
        return false;
    };
    let account = super::account_url(config, store, &domain.issuer);
    plan::asked(config, domain, &domain.issuer, account) == *refused
}

fn describe(
    config: &Config,
    store: &Store,
    name: &DnsName,
    record: &Record,
    live: Option<u32>,
    now: Timestamp,
    status: &mut LineageStatus,
) {
    let Some(number) = status.generation else {
        return;
    };
    let generation = match store.certificate(name, number) {
        Ok(generation) => generation,
        Err(error) if error.is_forbidden() => {
            status.state = LineageState::Unreadable;
            status.problem = Some(unreadable(&error));
            return;
        }
        Err(error) => {
            status.state = LineageState::Damaged;
            // What was installed is on record, whatever became of its files.
            let installed = record.generations.get(&number);
            status.fingerprint = installed.and_then(|installed| installed.fingerprint.clone());
            let path = store.archive(name).join(number.to_string());
            status.problem = Some(format!(
                "{}: {}; `certd obtain {name}` mends it",
                path.display(),
                chain_of_causes(&error)
            ));
            return;
        }
    };
    let leaf = generation.chain.leaf();
    status.proven_at = record.proven_at(number);
    status.state = match live {
        _ if leaf.validity.not_after <= now => LineageState::Expired,
        Some(live) if record.is_proven(live) => LineageState::Proven,
        Some(_) => LineageState::Live,
        None => LineageState::Issued,
    };
    status.names.clone_from(&leaf.names);
    status.fingerprint = Some(leaf.fingerprint.to_string());
    status.not_after = Some(leaf.validity.not_after);
    status.remaining_secs = Some(leaf.validity.remaining(now).as_secs());
    let origin = record.generations.get(&number);
    let renewal = origin.and_then(|origin| origin.renewal.as_ref());
    let fraction = config.renewal_fraction;
    let moment = due::moment(record, number, &leaf.validity, fraction, name.as_str());
    status.renewal_at = Some(moment.at());
    status.explanation = renewal.and_then(|renewal| renewal.explanation.clone());
    if let Some(origin) = origin {
        status.issuer.clone_from(&origin.issuer);
    }
}
