//! `certd obtain`: plan, target, order, install, switch, reload, proof, for many domains at once.
//!
//! Orders run `jobs` at a time and only fill the archive. Then each target is closed in one step:
//! all its domains are made live, tested together, reloaded once, and proven name by name.

use std::collections::{BTreeSet, HashSet};
use std::thread;
use std::time::Instant;

use jiff::Timestamp;

use super::defect::{caught, caught_now};
use super::desk::Desk;
use super::preflight::sweep_webroots;
use super::{Context, End, Mode, Occasion, Options, Work, clock, renewal_info};
use crate::chain::{Certificate, KeyType};
use crate::config::Domain;
use crate::finding::{Finding, chain_of_causes};
use crate::name::DnsName;
use crate::plan::agenda::Newest;
use crate::plan::{self, Plan};
use crate::report::{DomainReport, Outcome, Report, SCHEMA_VERSION, Stage, TargetReport, Verdict};
use crate::store::files::FileError;
use crate::store::lineage::{Lineage, LineageError};
use crate::store::record::LastResult;
use crate::time::{display_date, in_words};

mod changes;
mod check;
mod close;
mod configured;
mod drift;
mod failed;
mod gate;
mod look;
mod mounts;
mod order;
mod prove;
mod reload;
mod resume;
mod stock;
mod target;
mod ways;
mod words;

use check::Counting;
pub(super) use configured::{Configured, live_in_use, unjudged};
pub(super) use look::{Host, look_at_targets};
pub(super) use order::no_issuer;
use order::{issuer_of, must_order};
use stock::{make_plan, makes_live, plan_in_words, ready, renewal_time, stopped, take_stock};
use target::Target;
pub(super) use ways::{Way, way_to};
pub(super) use words::listens_elsewhere;

/// Brings each of these domains to a proven certificate, or says why not
///
/// The caller holds the lock. Dropping the future removes published tokens; what is live stays
/// live, and the next run goes on from there.
pub async fn obtain(context: &Context<'_>, options: &Options, domains: &[&Domain]) -> Report {
    let begun = Instant::now();
    let mut desk = Desk::default();
    let clock = match (options.occasion, options.mode) {
        (Occasion::Timer | Occasion::Sweep, Mode::Deploy | Mode::NoDeploy) => {
            ask_cas(context, options, &mut desk, domains).await
        }
        _ => clock::Standing::default(),
    };
    let mut works = take_stock_of_all(context, options, &clock, domains);
    let mut targets = match options.mode {
        Mode::Deploy | Mode::Rehearse => target::find(context, &mut works).await,
        Mode::NoDeploy | Mode::DryRun | Mode::Check => Vec::new(),
    };
    for target in &mut targets {
        let begun = Instant::now();
        let ready = target::make_ready(context, options, target, &mut works);
        if let Err(defect) = caught(ready).await {
            target::fail_members(target, &mut works, Stage::Target, begun, &defect);
        }
    }
    check::check_budgets(context, options, Counting::Alone, &mut works);
    let ordering = works.iter().filter(|work| must_order(work));
    sweep_webroots(ordering.clone().map(|work| work.domain));
    let issuers: BTreeSet<&str> = ordering.map(|work| issuer_of(options, work)).collect();
    desk.open(context, issuers).await;
    check::check_names(context, options, &desk, &targets, &mut works).await;
    check::check_budgets(context, options, Counting::InTurn(&desk), &mut works);
    order::place_all(context, options, &desk, &mut works).await;
    match options.mode {
        Mode::Deploy => {
            for target in &mut targets {
                let begun = Instant::now();
                let closed = close::close(context, target, &mut works);
                if let Err(defect) = caught(closed).await {
                    target::fail_members(target, &mut works, Stage::Proof, begun, &defect);
                }
            }
            let without_target = works.iter_mut().filter(|work| makes_live(options, work));
            without_target.for_each(|work| make_live(context, work));
        }
        Mode::NoDeploy => works.iter_mut().for_each(|work| make_live(context, work)),
        Mode::Rehearse | Mode::DryRun | Mode::Check => {}
    }
    works.iter_mut().for_each(Work::end_confirmed);
    if options.mode != Mode::DryRun {
        works
            .iter_mut()
            .for_each(|work| conclude(context, options, work));
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
    let share = domains.len().div_ceil(threads).max(LEAST_SHARE);
    let take = |share: &[&'c Domain]| -> Vec<Work<'c>> {
        let share = share.iter();
        share
            .map(|domain| take_stock(context, options, clock, domain))
            .collect()
    };
    if domains.len() <= share {
        return take(domains);
    }
    thread::scope(|scope| {
        let begun: Vec<_> = domains
            .chunks(share)
            .map(|share| scope.spawn(move || take(share)))
            .collect();
        let works = begun.into_iter().map(|thread| match thread.join() {
            Ok(works) => works,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        works.flatten().collect()
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

/// `--no-deploy`: live, and that is all
fn make_live(context: &Context<'_>, work: &mut Work<'_>) {
    let Some(ready) = work.ready.clone().filter(|_| work.is_open()) else {
        return;
    };
    let begun = work.begin(Stage::Switch);
    match context.store.switch(work.name(), ready.generation) {
        Ok(()) => {
            work.lineage.live = Some(ready.generation);
            work.done(
                Stage::Switch,
                begun,
                format!("generation {} is live", ready.generation),
            );
            let summary = format!(
                "generation {} is live, no target was touched",
                ready.generation
            );
            work.end(Outcome::Live, summary);
        }
        Err(error) => work.fail(Stage::Switch, begun, &LineageError::from(error)),
    }
}

/// Keeps how the run ended, whatever goes wrong with that
fn conclude(context: &Context<'_>, options: &Options, work: &mut Work<'_>) {
    if let Err(defect) = caught_now(|| keep_result(context, options, work)) {
        work.findings.push(Finding::from_error(&defect));
        work.end(Outcome::Failed, defect.to_string());
    }
}

/// Keeps how the run ended, and removes generations that nobody needs any more
fn keep_result(context: &Context<'_>, options: &Options, work: &mut Work<'_>) {
    let Some(end) = work.end.clone() else { return };
    // What is another program's, or cannot be read, is left as it is.
    if !work.is_known || options.mode.is_trial() {
        return;
    }
    let is_well_again = is_well_again(options, work, end.outcome);
    if is_well_again {
        work.lineage.record.deploy_failures.clear();
    }
    // That there was nothing to do is no news, and a run that only waited says less than the one
    // before it.
    let is_idle = end.outcome == Outcome::Unchanged;
    if work.is_waiting || (is_idle && !is_well_again) {
        return;
    }
    match end.outcome {
        Outcome::Proven => prune(context, work),
        // Without a generation it was the order that failed, and that is counted where it failed.
        // Where nothing was to be deployed it was a look that failed.
        Outcome::Failed | Outcome::NotServed
            if work.ready.is_some() && !matches!(work.plan, Plan::Confirm { .. }) =>
        {
            let failed = work.failure().map_or("unproven", |finding| finding.code);
            let failures = &mut work.lineage.record.deploy_failures;
            failures.add(failed, context.now(), None, end.summary.clone());
        }
        _ => {}
    }
    if end.outcome.verdict() == Verdict::Failed {
        note_seen_served(options, work);
    }
    work.lineage.record.last_result = Some(last_result(context, work, end));
    if let Err(error) = context.store.save_record(work.name(), &work.lineage.record) {
        work.findings
            .push(Finding::warning("store.record", chain_of_causes(&error)));
    }
}

/// Keeps when the live generation was last seen served, now that it is not
///
/// Each look that finds all well is kept in memory alone: a write for each would be the most that the
/// daemon writes.
fn note_seen_served(options: &Options, work: &mut Work<'_>) {
    let seen = options.seen_served.get(work.name().as_str()).copied();
    let live = work.lineage.live;
    let generation = live.and_then(|live| work.lineage.record.generations.get_mut(&live));
    if let (Some(seen), Some(generation)) = (seen, generation) {
        // One that was never proven was not what was seen.
        generation.proven_at = generation.proven_at.map(|proven| proven.max(seen));
    }
}

/// Whether a run that found nothing to do ends a trouble: what failed to be deployed is live, what
/// was not served is, or there is no target any more that could serve it
fn is_well_again(options: &Options, work: &Work<'_>, outcome: Outcome) -> bool {
    let record = &work.lineage.record;
    let last = record.last_result.as_ref();
    let last = last.and_then(|last| Outcome::of_word(&last.outcome));
    let has_failed = last.is_some_and(|last| last.verdict() == Verdict::Failed);
    let is_seen_served = work.confirmed.is_some() || makes_live(options, work);
    outcome == Outcome::Unchanged
        && (record.deploy_failures.count > 0 || (has_failed && is_seen_served))
}

/// What is kept of a run: with what to do, for whoever asks for it later has no report
fn last_result(context: &Context<'_>, work: &Work<'_>, end: End) -> LastResult {
    let failed = match end.outcome.verdict() {
        Verdict::Failed => work.failure(),
        Verdict::Well | Verdict::Later => None,
    };
    LastResult {
        at: context.now(),
        outcome: end.outcome.as_str().to_owned(),
        message: end.summary,
        code: failed.map(|finding| finding.code.to_owned()),
        cure: failed.and_then(|finding| finding.cure.clone()),
    }
}

fn prune(context: &Context<'_>, work: &mut Work<'_>) {
    match context.store.prune(&work.lineage) {
        Ok(removed) => {
            let Lineage {
                generations,
                record,
                ..
            } = &mut work.lineage;
            generations.retain(|number| !removed.contains(number));
            // A run that was killed may have removed one that the record still speaks of.
            let is_there = |number: &u32| generations.contains(number);
            record.generations.retain(|number, _| is_there(number));
        }
        Err(error) => work.findings.push(prune_warning(&error)),
    }
}

fn prune_warning(error: &FileError) -> Finding {
    Finding::warning("store.prune", chain_of_causes(error))
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
