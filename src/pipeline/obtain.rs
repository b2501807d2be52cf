//! `certd obtain`: plan, target, order, install, switch, reload, proof, for many domains at once.
//!
//! Orders run `jobs` at a time and only fill the archive. Then each target is closed in one step:
//! all its domains are made live, tested together, reloaded once, and proven name by name.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use jiff::Timestamp;

use super::defect::caught;
use super::desk::Desk;
use super::preflight::sweep_webroots;
use super::threads::side_by_side;
use super::{Context, Mode, Occasion, Options, Work, account_url, clock, renewal_info};
use crate::chain::{Certificate, KeyType};
use crate::config::Domain;
use crate::finding::Finding;
use crate::name::DnsName;
use crate::plan;
use crate::plan::agenda::Newest;
use crate::report::{DomainReport, Outcome, Report, SCHEMA_VERSION, Stage, TargetReport};
use crate::store::lineage::LineageError;
use crate::time::{display_date, in_words};

mod accept;
mod changes;
mod check;
mod close;
mod conclude;
mod configured;
mod drift;
mod dumps;
mod failed;
mod fit;
mod gate;
mod gatekeeper;
mod holders;
mod look;
mod mounts;
mod order;
mod pinned;
mod prove;
mod reload;
mod resume;
mod stock;
pub(super) mod stopped;
mod target;
mod tested;
mod ways;
mod words;

use check::Counting;
pub(super) use configured::{Configured, live_in_use, live_of, unjudged, whereabouts};
pub(super) use gatekeeper::Gatekeeper;
pub(super) use holders::{Holder, find_holder, taken};
pub(super) use look::{Host, look_at_targets};
pub(super) use order::no_issuer;
use order::{issuer_of, must_order};
pub(super) use pinned::CODE as PINNED;
pub(super) use stock::no_target;
use stock::{make_plan, makes_live, plan_in_words, ready, renewal_time, stopped, take_stock};
use target::Target;
pub(super) use target::is_file_of;
pub(super) use tested::{ABSOLUTE, not_what_runs};
pub(super) use ways::{Way, to_publish, way_to};

/// Brings each of these domains to a proven certificate, or says why not
///
/// The caller holds the lock. Dropping the future removes published tokens; what is live stays
/// live, and the next run goes on from there.
pub async fn obtain(context: &Context<'_>, options: &Options, domains: &[&Domain]) -> Report {
    let begun = Instant::now();
    let store = context.store.hold();
    let context = &Context {
        store: &store,
        trust: Arc::default(),
        ..context.clone()
    };
    let mut desk = Desk::default();
    let clock = match (options.occasion, options.mode) {
        (Occasion::Timer | Occasion::Sweep, Mode::Deploy | Mode::NoDeploy) => {
            ask_cas(context, options, &mut desk, domains).await
        }
        _ => clock::Standing::default(),
    };
    let mut works = take_stock_of_all(context, options, &clock, domains);
    if options.occasion != Occasion::ByHand {
        check::foretell_webroots(&mut works);
    }
    let mut targets = match options.mode {
        Mode::Deploy | Mode::Rehearse => target::find(context, options.mode, &mut works).await,
        Mode::NoDeploy | Mode::DryRun | Mode::Check => Vec::new(),
    };
    for target in &mut targets {
        let begun = Instant::now();
        let ready = target::make_ready(context, options, target, &mut works);
        if let Err(defect) = caught(ready).await {
            target::fail_members(target, &mut works, Stage::Target, begun, &defect);
        }
    }
    order(context, options, &mut desk, &targets, &mut works).await;
    let fresh = renewal_info::fresh(&desk, &works);
    let (answers, ()) = tokio::join!(
        renewal_info::ask_about(&desk, fresh),
        deploy(context, options, &mut targets, &mut works),
    );
    renewal_info::enter(context, &mut works, answers);
    works.iter_mut().for_each(Work::end_confirmed);
    if options.mode != Mode::DryRun {
        conclude::conclude_all(context, options, &mut works);
    }
    Report {
        schema_version: SCHEMA_VERSION,
        command: options.occasion.command(),
        started: context.started.0,
        elapsed: begun.elapsed(),
        ca_requests: desk.requests(),
        targets: targets
            .into_iter()
            .filter_map(|target| report_of(target, &works))
            .collect(),
        domains: works
            .into_iter()
            .map(|work| report_on(context, work))
            .collect(),
        orphans: match options.occasion {
            Occasion::ByHand => Vec::new(),
            Occasion::Timer | Occasion::Sweep => orphans(context),
        },
    }
}

/// Orders what is due, once it was seen that nothing stands in the way
async fn order(
    context: &Context<'_>,
    options: &Options,
    desk: &mut Desk,
    targets: &[Target],
    works: &mut [Work<'_>],
) {
    check::check_budgets(context, options, Counting::Alone, works);
    let ordering = works.iter().filter(|work| must_order(work));
    sweep_webroots(ordering.clone().map(|work| work.domain));
    let mut orders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for work in ordering {
        let issuer = issuer_of(options, work).to_owned();
        orders.entry(issuer).or_default().push(work.names.len());
    }
    desk.open(context, orders.keys().map(String::as_str)).await;
    // Without an account the CA may want something first that is not there.
    orders.retain(|issuer, _| account_url(context.config, context.store, issuer).is_some());
    tokio::join!(
        check::check_names(context, options, desk, targets, works),
        desk.fetch_nonces(orders, context.config.jobs),
    );
    check::check_budgets(context, options, Counting::InTurn(desk), works);
    order::place_all(context, options, desk, works).await;
}

/// Makes live what is ready, as the mode says, and has it proven
async fn deploy(
    context: &Context<'_>,
    options: &Options,
    targets: &mut [Target],
    works: &mut [Work<'_>],
) {
    match options.mode {
        Mode::Deploy => {
            for target in targets {
                let begun = Instant::now();
                let closed = close::close(context, target, works);
                if let Err(defect) = caught(closed).await {
                    target::fail_members(target, works, Stage::Proof, begun, &defect);
                }
            }
            make_all_live(context, works, |work| makes_live(options, work));
        }
        Mode::NoDeploy => make_all_live(context, works, |_| true),
        Mode::Rehearse | Mode::DryRun | Mode::Check => {}
    }
}

/// Asks CAs for what they say without an order: when they would have certificates renewed, and what
/// time it is
///
/// By a clock that is wrong it cannot be told what to ask.
async fn ask_cas(
    context: &Context<'_>,
    options: &Options,
    desk: &mut Desk,
    domains: &[&Domain],
) -> clock::Standing {
    let questions = renewal_info::questions(context, domains);
    desk.open(context, renewal_info::issuers(&questions)).await;
    clock::ask(context, options, desk).await;
    let standing = clock::Standing::by(desk);
    if standing.failure().is_none() {
        renewal_info::ask(context, desk, questions).await;
    }
    standing
}

/// What there is of each domain, in their order: read by as many threads as there are processors,
/// where that is worth it and somebody waits
fn take_stock_of_all<'c>(
    context: &Context<'c>,
    options: &Options,
    clock: &clock::Standing,
    domains: &[&'c Domain],
) -> Vec<Work<'c>> {
    let threads = match options.occasion {
        Occasion::ByHand | Occasion::Timer => {
            thread::available_parallelism().map_or(1, usize::from)
        }
        // The daemon has time, and would keep the memory.
        Occasion::Sweep => 1,
    };
    let mut domains = domains.to_vec();
    side_by_side(&mut domains, threads, LEAST_SHARE, |domain| {
        take_stock(context, options, clock, domain)
    })
}

/// Domains for which a thread of its own is worth it
const LEAST_SHARE: usize = 64;

/// Lineages whose domain is no longer in the configuration
fn orphans(context: &Context<'_>) -> Vec<String> {
    let domains = context.config.domains.iter();
    let known: HashSet<&DnsName> = domains.map(|domain| &domain.name).collect();
    let names = context.store.lineage_names().unwrap_or_default();
    let orphans = names.into_iter().filter(|name| !known.contains(name));
    orphans.map(|name| name.to_string()).collect()
}

/// What came of a domain, and when it needs something again
fn report_on(context: &Context<'_>, work: Work<'_>) -> DomainReport {
    let ready = work.ready.as_ref();
    let newest = ready.map(|ready| Newest {
        number: ready.generation,
        renewal: renewal_time(context, &work, ready),
    });
    let record = &work.lineage.record;
    DomainReport {
        renewal_at: newest.map(|newest| newest.renewal),
        next_at: plan::agenda::next(record, newest, failed::expires(&work), context.now()),
        ..work.into_report()
    }
}

fn report_of(target: Target, works: &[Work<'_>]) -> Option<TargetReport> {
    if target.stages.is_empty() {
        return None;
    }
    Some(TargetReport {
        name: target.label(),
        domains: target
            .members
            .iter()
            .map(|member| works[*member].name().to_string())
            .collect(),
        stages: target.stages,
    })
}

/// Makes domains live that have no target, and that is all
fn make_all_live(
    context: &Context<'_>,
    works: &mut [Work<'_>],
    is_meant: impl Fn(&Work<'_>) -> bool,
) {
    let begun = Instant::now();
    let mut live: Vec<&mut Work<'_>> = Vec::new();
    for work in works.iter_mut().filter(|work| is_meant(work)) {
        live.extend(make_live(context, work));
    }
    if live.is_empty() {
        return;
    }
    if let Err(error) = context.store.sync_live() {
        let finding = Finding::from_error(&error);
        live.into_iter()
            .for_each(|work| work.fail_with(Stage::Switch, begun, finding.clone()));
    }
}

/// Makes a domain live; gives it back if it is now
fn make_live<'w, 'c>(context: &Context<'_>, work: &'w mut Work<'c>) -> Option<&'w mut Work<'c>> {
    let ready = work.ready.clone().filter(|_| work.is_open())?;
    let begun = work.begin(Stage::Switch);
    if let Err(error) = context.store.switch(work.name(), ready.generation) {
        work.fail(Stage::Switch, begun, &LineageError::from(error));
        return None;
    }
    work.lineage.live = Some(ready.generation);
    let live = format!("generation {} is live", ready.generation);
    work.done(Stage::Switch, begun, live.clone());
    if let Some(unfit) = fit::alone(context, work) {
        work.fail(Stage::Switch, begun, &unfit);
        return Some(work);
    }
    work.end(Outcome::Live, format!("{live}, no target was touched"));
    Some(work)
}

/// A certificate in a few words: `p256, valid until 2027-02-18 (89 days)`
fn certificate_in_words(leaf: &Certificate, now: Timestamp) -> String {
    let key = leaf
        .key_type
        .map_or("a key of another kind", KeyType::as_str);
    format!(
        "{key}, valid until {} ({})",
        display_date(leaf.validity.not_after),
        in_words(leaf.validity.remaining(now))
    )
}
