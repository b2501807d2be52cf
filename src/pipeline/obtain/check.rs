//! Before an order: what a CA would find, and whether its limits leave room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::gatekeeper::Gatekeeper;
use super::order::{account_url, issuance, issuer_of, must_order};
use super::target::Target;
use crate::acme::AcmeError;
use crate::config::{Check, Domain};
use crate::finding::{Finding, Severity};
use crate::name::DnsName;
use crate::pipeline::budget::{self, Planned};
use crate::pipeline::check::{directories, of_directory};
use crate::pipeline::defect::caught;
use crate::pipeline::desk::Desk;
use crate::pipeline::preflight::{Known, Scout, Served, required};
use crate::pipeline::{Context, Options, Work};
use crate::plan::budget::{Balance, blocking};
use crate::preflight::judge::host::{self, Purpose};
use crate::report::check::NameFindings;
use crate::report::{Outcome, Stage, StageResult};
use crate::store::space;
use crate::time::display;

/// Looks at what a CA would meet for every domain that is to be ordered; ends those that it would
/// refuse
pub(super) async fn check_names(
    context: &Context<'_>,
    options: &Options,
    desk: &Desk,
    targets: &[Target],
    works: &mut [Work<'_>],
) {
    let scout = &Scout::new(context);
    let ordered = works.iter_mut().enumerate();
    let is_open = |work: &Work<'_>| desk.session(issuer_of(options, work)).is_some();
    let ordered = ordered.filter(|(_, work)| must_order(work) && is_open(work));
    let checking = ordered.map(|(position, work)| {
        let known = known(context, options, desk, targets, position, work);
        work.known = Some(known);
        let ahead = desk.ahead(issuer_of(options, work));
        async move {
            let begun = Instant::now();
            let checked = check_domain(context, options, scout, ahead, work);
            if let Err(defect) = caught(checked).await {
                work.fail(Stage::Check, begun, &defect);
            }
        }
    });
    join_all(checking).await;
}

/// What is known of a domain by now
fn known(
    context: &Context<'_>,
    options: &Options,
    desk: &Desk,
    targets: &[Target],
    position: usize,
    work: &Work<'_>,
) -> Known {
    let target = targets.iter().find(|target| target.serves(position));
    let identities = desk.caa_identities(issuer_of(options, work));
    let account = account_url(context, options, work);
    let place = where_served(target, work);
    Known::new(
        context,
        issuer_of(options, work),
        identities,
        account,
        place,
    )
}

/// Where the containers of a target answer, and the webroot as nginx sees it there
pub(super) fn where_served(target: Option<&Target>, work: &Work<'_>) -> Served {
    let webroot = &work.domain.webroot;
    let seen = target.and_then(|target| target.seen_at(webroot));
    Served {
        doors: target.map(Target::doors).unwrap_or_default(),
        inlets: target.map(Target::inlets).unwrap_or_default(),
        root: seen.unwrap_or_else(|| webroot.clone()),
        nginx: target.and_then(Gatekeeper::of),
    }
}

/// `ahead` is how far this host's clock is before the CA's
async fn check_domain(
    context: &Context<'_>,
    options: &Options,
    scout: &Scout,
    ahead: Option<SignedDuration>,
    work: &mut Work<'_>,
) {
    let required = |check| required(context, &options.skip, check);
    let of_names = [Check::Dns, Check::Caa, Check::Http].map(|check| (check, required(check)));
    let mut found = of_host(context, work.domain);
    found.extend(ahead.and_then(host::clock));
    let begun = work.begin(Stage::Check);
    let names = match (&work.known, of_names.iter().any(|(_, required)| *required)) {
        (Some(known), true) => scout.examine(work.domain, known).await,
        _ => Vec::new(),
    };
    for (check, finding) in names.iter().flat_map(NameFindings::each) {
        found.push(match required(check) {
            true => finding.clone(),
            false => finding.clone().at_most(Severity::Warning),
        });
    }
    let mut failures: Vec<Finding> = Vec::new();
    for finding in found {
        match finding.severity {
            Severity::Failure if failures.contains(&finding) => {}
            Severity::Failure => failures.push(finding),
            Severity::Warning if work.findings.contains(&finding) => {}
            Severity::Warning => work.findings.push(finding),
            Severity::Ok | Severity::Note => {}
        }
    }
    let checked: Vec<&str> = of_names
        .iter()
        .filter(|(_, required)| *required)
        .map(|(check, _)| check.as_str())
        .collect();
    match failures.pop() {
        Some(last) => {
            work.findings.append(&mut failures);
            work.fail_with(Stage::Check, begun, last);
            let failures = &mut work.lineage.record.order_failures;
            if failures.count > 0 {
                failures.checked = Some(context.now());
            }
        }
        None if checked.is_empty() => {}
        None => work.done(Stage::Check, begun, checked.join(", ")),
    }
}

/// What an order would cost and lose on this host: no room, nothing that lasts
fn of_host(context: &Context<'_>, domain: &Domain) -> Vec<Finding> {
    let looking = directories(context, domain).into_iter();
    looking
        .filter_map(|(purpose, path)| Some((purpose, space::look(path).ok()?)))
        .flat_map(|(purpose, facts)| host::room(purpose, &facts))
        .collect()
}

/// Tells, where no order is due, of a webroot that takes no token now: the next renewal would find
/// it out
pub(super) fn foretell_webroots(works: &mut [Work<'_>]) {
    let mut seen: BTreeMap<&Path, Vec<Finding>> = BTreeMap::new();
    for work in works.iter_mut().filter(|work| !must_order(work)) {
        let webroot = work.domain.webroot.as_path();
        let found = seen.entry(webroot).or_insert_with(|| {
            let found = of_directory(Purpose::Webroot, webroot, &[]).into_iter();
            let bad = found.filter(|finding| finding.severity == Severity::Failure);
            bad.map(|finding| finding.at_most(Severity::Warning))
                .collect()
        });
        work.findings.extend(found.iter().cloned());
    }
}

/// Which orders count for a limit
#[derive(Clone, Copy)]
pub(super) enum Counting<'d> {
    /// Those of the ledger: what leaves no room now costs no look at a name and asks no CA
    Alone,
    /// Those before it in the run too, which are about to be placed where the CA answers
    InTurn(&'d Desk),
}

/// Ends the domains for whose orders a limit of the CA leaves no room
pub(super) fn check_budgets(
    context: &Context<'_>,
    options: &Options,
    counting: Counting<'_>,
    works: &mut [Work<'_>],
) {
    if !works.iter().any(must_order) {
        return;
    }
    let now = context.now();
    let ledger = context.store.ledger();
    let mut balances: BTreeMap<&str, Option<Balance>> = BTreeMap::new();
    let mut registering: BTreeSet<&str> = BTreeSet::new();
    for work in works.iter_mut().filter(|work| must_order(work)) {
        let begun = Instant::now();
        let Some(issuer) = context.config.issuers.get(issuer_of(options, work)) else {
            continue;
        };
        let ledger = match &ledger {
            Ok(ledger) => ledger,
            Err(error) => {
                if matches!(counting, Counting::Alone) {
                    work.findings.push(budget::unknown(error));
                }
                continue;
            }
        };
        let directory = issuer.directory.as_str();
        let balance = balances.entry(directory);
        let Some(balance) = balance.or_insert_with(|| Balance::of(ledger, directory, now)) else {
            continue;
        };
        let account = account_url(context, options, work);
        // The first order of a run registers for all.
        let registered = registering.contains(directory).then(String::new);
        let (account, names) = (account.or(registered), work.names.clone());
        let planned = Planned {
            account: account.as_deref(),
            names: &names,
            issuance: issuance(options, work),
        };
        let usages = planned.usage(balance, now);
        match blocking(&usages) {
            Some((usage, next)) if required(context, &options.skip, Check::Budget) => {
                put_off(work, begun, budget::finding(usage, now), next);
            }
            _ => {
                if let Counting::InTurn(desk) = counting
                    && desk.session(issuer_of(options, work)).is_some()
                {
                    planned.spend(balance, now);
                    registering.insert(directory);
                }
            }
        }
    }
}

/// Ends the work until a limit of the CA leaves room
fn put_off(work: &mut Work<'_>, begun: Instant, finding: Finding, until: Timestamp) {
    let code = finding.code.to_owned();
    work.note(Stage::Check, begun, StageResult::Failed, code);
    work.findings.push(finding);
    let until = display(until);
    let summary = format!("no order is placed before {until}; --skip-check budget overrides");
    work.end(Outcome::Later, summary);
}

/// What this host sees of the names that the CA refused for what it saw: the cause, or none
pub(super) async fn look_again(context: &Context<'_>, error: &AcmeError, work: &mut Work<'_>) {
    let concerned = |name: &DnsName| error.concerns(name.as_str());
    let Some(known) = work.known.clone() else {
        return;
    };
    if !work.domain.names().any(concerned) {
        return;
    }
    let names = Scout::new(context).examine(work.domain, &known).await;
    let seen = names.iter().filter(|seen| error.concerns(&seen.name));
    for finding in seen.flat_map(|seen| hindsight(seen, error.kind_for(&seen.name))) {
        if !work.findings.contains(&finding) {
            work.findings.push(finding);
        }
    }
}

/// What may be the cause, or that there is nothing to see
fn hindsight(seen: &NameFindings, refused_for: Option<&str>) -> Vec<Finding> {
    let bad = seen
        .all()
        .filter(|finding| finding.severity >= Severity::Warning);
    let bad: Vec<Finding> = bad.cloned().collect();
    if !bad.is_empty() {
        return bad;
    }
    let good: Vec<&str> = seen
        .all()
        .map(|finding| finding.evidence.as_str())
        .collect();
    let evidence = format!("seen from this host: {}", good.join("; "));
    let cure = match refused_for {
        Some("caa") => {
            "the CA asks from several places: do all servers of the zone have the same CAA records, and does DNSSEC hold?"
        }
        Some("dns") => {
            "the CA asks from several places: do all servers of the zone answer, to everyone, and does DNSSEC hold?"
        }
        _ => {
            "the CA looks from several places: is port 80 open to all the world, and does DNS give everyone the same addresses?"
        }
    };
    vec![Finding::note("check.no_cause", evidence).with_cure(cure)]
}
