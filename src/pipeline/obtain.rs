//! `certd obtain`: plan, target, order, install, switch, reload, proof, for many domains at once.
//!
//! Orders run `jobs` at a time and only fill the archive. Then each target is closed in one step:
//! all its domains are made live, tested together, reloaded once, and proven name by name.

use std::time::Instant;

use jiff::Timestamp;

use super::{Context, Mode, Occasion, Options, Previous, Ready, Retry, Work, renewal_info};
use crate::chain::{Certificate, KeyType};
use crate::config::Domain;
use crate::finding::{Finding, chain_of_causes};
use crate::name::DnsName;
use crate::plan::{self, Demand, Due, Goal, Newest, Plan, Subject, backoff, due};
use crate::report::{Outcome, Report, SCHEMA_VERSION, Stage, TargetReport};
use crate::store::files::FileError;
use crate::store::lineage::{Generation, GenerationError, Lineage, LineageError};
use crate::store::record::{Failures, LastResult, Record};
use crate::time::{display, display_date, in_words};

mod changes;
mod check;
mod close;
mod drift;
mod look;
mod mounts;
mod order;
mod prove;
mod resume;
mod target;
mod words;

use check::Counting;
pub(super) use look::{Host, look_at_targets};
use order::Desk;
pub(super) use order::no_issuer;
use target::Target;

/// Brings each of these domains to a proven certificate, or says why not
///
/// The caller holds the lock. Dropping the future removes published tokens; what is live stays
/// live, and the next run goes on from there.
pub async fn obtain(context: &Context<'_>, options: &Options, domains: &[&Domain]) -> Report {
    let begun = Instant::now();
    let asked = match (options.occasion, options.mode) {
        (Occasion::Timer | Occasion::Sweep, Mode::Deploy | Mode::NoDeploy) => {
            renewal_info::ask(context, domains).await
        }
        _ => 0,
    };
    let mut works: Vec<Work<'_>> = domains
        .iter()
        .map(|domain| take_stock(context, options, domain))
        .collect();
    let mut targets = match options.mode {
        Mode::Deploy | Mode::Rehearse => target::find(context, &mut works).await,
        Mode::NoDeploy | Mode::DryRun | Mode::Check => Vec::new(),
    };
    for target in &mut targets {
        target::make_ready(context, options, target, &mut works).await;
    }
    check::check_budgets(context, options, Counting::Alone, &mut works);
    let desk = Desk::open(context, options, &works).await;
    check::check_names(context, options, &desk, &targets, &mut works).await;
    check::check_budgets(context, options, Counting::InTurn(&desk), &mut works);
    let ca_requests = order::place_all(context, options, &desk, &mut works).await;
    match options.mode {
        Mode::Deploy => {
            for target in &mut targets {
                close::close(context, target, &mut works).await;
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
            .for_each(|work| keep_result(context, options, work));
    }
    works.iter_mut().for_each(|work| look_ahead(context, work));
    Report {
        schema_version: SCHEMA_VERSION,
        command: options.occasion.command(),
        started: context.started.0,
        elapsed: begun.elapsed(),
        ca_requests: asked + ca_requests,
        targets: targets
            .into_iter()
            .filter_map(|target| report_of(target, &works))
            .collect(),
        domains: works.into_iter().map(Work::into_report).collect(),
        orphans: match options.occasion {
            Occasion::ByHand => Vec::new(),
            Occasion::Timer | Occasion::Sweep => orphans(context),
        },
    }
}

/// Lineages whose domain is no longer in the configuration
fn orphans(context: &Context<'_>) -> Vec<String> {
    let known = |name: &DnsName| context.config.domain(name).is_some();
    let names = context.store.lineage_names().unwrap_or_default();
    let orphans = names.into_iter().filter(|name| !known(name));
    orphans.map(|name| name.to_string()).collect()
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

/// What there is of a domain, and what is to be done for it
fn take_stock<'c>(context: &Context<'c>, options: &Options, domain: &'c Domain) -> Work<'c> {
    let lineage = context.store.lineage(&domain.name);
    let mut work = Work {
        domain,
        names: domain.names().cloned().collect(),
        lineage: Lineage {
            name: domain.name.clone(),
            generations: Vec::new(),
            live: None,
            record: Record::default(),
        },
        plan: Plan::Order { reason: Due::First },
        ready: None,
        end: None,
        stages: Vec::new(),
        findings: Vec::new(),
        is_known: false,
        is_waiting: false,
        confirmed: None,
        known: None,
        newest: None,
        renewal_at: None,
        next_at: None,
        progress: context.progress.clone(),
    };
    let begun = work.begin(Stage::Plan);
    match lineage {
        Ok(lineage) => {
            work.lineage = lineage;
            work.is_known = true;
            resume::settle(context, options, &mut work);
        }
        Err(error) => {
            work.fail(Stage::Plan, begun, &error);
            return work;
        }
    }
    let newest = work
        .lineage
        .newest()
        .map(|number| context.store.generation(&domain.name, number));
    work.newest = match &newest {
        Some(Ok(newest)) => Some(newest.chain.leaf().validity),
        _ => None,
    };
    work.plan = match options.mode {
        Mode::Rehearse | Mode::Check => Plan::Order {
            reason: Due::Rehearsal,
        },
        _ => make_plan(context, options, &work, newest.as_ref()),
    };
    apply_plan(context, options, &mut work, begun, newest);
    work
}

fn make_plan(
    context: &Context<'_>,
    options: &Options,
    work: &Work<'_>,
    newest: Option<&Result<Generation, GenerationError>>,
) -> Plan {
    let is_refused = work.lineage.record.order_failures.refused.is_some();
    let asks = is_refused.then(|| order::asked(context, options, work));
    let subject = Subject {
        domain: work.domain,
        lineage: &work.lineage,
        newest: newest.map(|newest| newest.as_ref().map(Newest::from)),
        asks: asks.as_ref(),
    };
    let demand = Demand {
        urgency: options.urgency,
        goal: match options.mode {
            Mode::NoDeploy => Goal::Live,
            _ if makes_live(options, work) => Goal::Live,
            _ => Goal::Proven,
        },
        issuer: options.issuer.as_deref(),
        fraction: context.config.renewal_fraction,
        next: options.next,
    };
    plan::plan(subject, demand, context.now())
}

/// Notes the plan, and ends the work where the plan is to do nothing
fn apply_plan(
    context: &Context<'_>,
    options: &Options,
    work: &mut Work<'_>,
    begun: Instant,
    newest: Option<Result<Generation, GenerationError>>,
) {
    let words = plan_in_words(&work.plan);
    if let Some(Err(error)) = newest.as_ref().filter(|_| !options.mode.is_trial())
        && error.is_unreadable()
    {
        let finding = Finding::failure("store.unreadable", chain_of_causes(error))
            .with_cure("run certd as the owner of the storage, or as root");
        return work.fail_with(Stage::Plan, begun, finding);
    }
    if let (Plan::Deploy { .. } | Plan::Confirm { .. }, Some(Ok(newest))) = (&work.plan, newest) {
        let ready = ready(context, &work.lineage, newest);
        work.renewal_at = Some(renewal_time(context, work, &ready));
        work.ready = Some(ready);
    }
    if let Plan::Wait { until, .. } = work.plan {
        let reason = work.lineage.record.order_failures.reason.as_deref();
        let last = reason.map(|reason| format!("; the last: {reason}"));
        let evidence = format!("{words}{}", last.unwrap_or_default());
        work.findings
            .push(Finding::warning("order.backoff", evidence));
        work.done(Stage::Plan, begun, "wait");
        let until = display(until);
        work.end(
            Outcome::Later,
            format!("no order is placed before {until}; --force tries now"),
        );
        return;
    }
    if let Plan::Stop { .. } = work.plan {
        let finding = stopped(&work.lineage.record.order_failures, &words);
        return work.fail_with(Stage::Plan, begun, finding);
    }
    if let (Plan::Deploy { generation }, Retry::AfterBackoff) = (&work.plan, options.retry)
        && let Some(until) = backoff::next_try(&work.lineage.record.deploy_failures)
        && until > context.now()
    {
        return wait_to_deploy(work, begun, *generation, until);
    }
    work.done(Stage::Plan, begun, words.clone());
    match (options.mode, &work.plan) {
        (Mode::DryRun, _) => {
            let summary = intention(context, options, work);
            work.end(Outcome::Planned, summary);
        }
        (Mode::Deploy | Mode::NoDeploy, Plan::Confirm { .. }) if leaves_alone(options, work) => {
            let at = work.renewal_at.map(display).unwrap_or_default();
            work.end(Outcome::Unchanged, format!("renewed at {at}"));
        }
        (Mode::NoDeploy, Plan::Confirm { generation }) => {
            let summary = format!("generation {generation} is live, nothing is due");
            work.end(Outcome::Unchanged, summary);
        }
        (Mode::Deploy, _) if work.domain.nginx.is_none() && !makes_live(options, work) => {
            work.fail_with(Stage::Plan, begun, no_target());
        }
        _ => {}
    }
}

/// Ends the work until the back-off of deployments is over
fn wait_to_deploy(work: &mut Work<'_>, begun: Instant, generation: u32, until: Timestamp) {
    let failures = &work.lineage.record.deploy_failures;
    let last = failures.reason.as_deref().unwrap_or_default();
    let until = display(until);
    let evidence =
        format!("generation {generation} is deployed again from {until}; the last: {last}");
    let finding = Finding::warning("deploy.backoff", evidence)
        .with_cure("once that is mended, `certd obtain` deploys at once, without an order");
    let summary = finding.evidence.clone();
    work.findings.push(finding);
    work.done(Stage::Plan, begun, "wait");
    work.is_waiting = true;
    work.end(Outcome::Later, summary);
}

/// Whether a daemon has nothing to reload for the domain: it is made live, and that is all
fn makes_live(options: &Options, work: &Work<'_>) -> bool {
    options.occasion == Occasion::Sweep && work.domain.nginx.is_none()
}

/// Whether what is served does not matter where nothing is due: a timer looks at nothing, and a
/// sweep has no place to look at without a target
fn leaves_alone(options: &Options, work: &Work<'_>) -> bool {
    match options.occasion {
        Occasion::ByHand => false,
        Occasion::Timer => true,
        Occasion::Sweep => makes_live(options, work),
    }
}

/// Why an order that the CA refused is not placed again
fn stopped(failures: &Failures, words: &str) -> Finding {
    let reason = failures.reason.as_deref().unwrap_or_default();
    let since = failures.last.map(display_date).unwrap_or_default();
    let evidence = format!("{words} since {since}: {reason}");
    Finding::failure("order.stopped", evidence).with_cure(
        "do what it asks for, then --force; with other names, `profile`, `issuer`, `key_type`, `email` or account it is tried at once",
    )
}

fn no_target() -> Finding {
    Finding::failure(
        "target.none",
        "no nginx is configured that could pick the certificate up",
    )
    .with_cure(
        "add [nginx] with `container`, `label` or `service` to domains.toml, or use --no-deploy",
    )
}

/// What a run without --dry-run would do
fn intention(context: &Context<'_>, options: &Options, work: &Work<'_>) -> String {
    match &work.plan {
        Plan::Order { .. } => {
            let names: Vec<&str> = work.names.iter().map(DnsName::as_str).collect();
            let issuer = options.issuer.as_ref().unwrap_or(&work.domain.issuer);
            format!("would order {} from {issuer}", names.join(", "))
        }
        Plan::Deploy { generation } => format!("would deploy generation {generation}"),
        Plan::Confirm { .. } | Plan::Wait { .. } | Plan::Stop { .. } => {
            let due = work
                .ready
                .as_ref()
                .map(|ready| renewal_time(context, work, ready));
            let due = due.map(display).unwrap_or_default();
            match options.occasion {
                Occasion::ByHand => format!("would look whether it is served; due from {due}"),
                Occasion::Timer | Occasion::Sweep => format!("renewed at {due}"),
            }
        }
    }
}

fn plan_in_words(plan: &Plan) -> String {
    match plan {
        Plan::Order { reason } => format!("order: {reason}"),
        Plan::Deploy { generation } => {
            format!("deploy generation {generation} without an order: it is not proven yet")
        }
        Plan::Confirm { generation } => format!("nothing due, generation {generation} is live"),
        Plan::Wait {
            reason, failures, ..
        } => {
            let times = match failures {
                1 => "a failure".to_owned(),
                failures => format!("{failures} failures in a row"),
            };
            format!("an order is due ({reason}), and must wait after {times}")
        }
        Plan::Stop { reason } => {
            format!("an order is due ({reason}), and the CA has refused it")
        }
    }
}

/// When a generation will be due
fn renewal_time(context: &Context<'_>, work: &Work<'_>, ready: &Ready) -> Timestamp {
    let generations = &work.lineage.record.generations;
    let renewal = generations.get(&ready.generation);
    let renewal = renewal.and_then(|generation| generation.renewal.as_ref());
    let fraction = context.config.renewal_fraction;
    let validity = &ready.leaf.validity;
    due::moment(renewal, validity, fraction, work.name().as_str()).at()
}

/// Reckons when the domain needs something again
fn look_ahead(context: &Context<'_>, work: &mut Work<'_>) {
    if let Some(ready) = &work.ready {
        work.renewal_at = Some(renewal_time(context, work, ready));
    }
    let generation = work.ready.as_ref().map(|ready| ready.generation);
    work.next_at = plan::agenda::next(
        &work.lineage.record,
        generation.zip(work.renewal_at),
        context.now(),
    );
}

/// A generation of the archive, ready to be made live
fn ready(context: &Context<'_>, lineage: &Lineage, generation: Generation) -> Ready {
    Ready {
        generation: generation.number,
        previous: previous(context, lineage, generation.number),
        leaf: generation.chain.leaf().clone(),
        above: generation
            .chain
            .above()
            .iter()
            .map(|certificate| certificate.fingerprint)
            .collect(),
    }
}

/// The generation to go back to: what is live, or else what was proven last
///
/// Never one that has expired or does not match its key.
fn previous(context: &Context<'_>, lineage: &Lineage, number: u32) -> Option<Previous> {
    let proven = |candidate: &&u32| **candidate < number && lineage.record.is_proven(**candidate);
    let before = lineage
        .live
        .filter(|live| *live != number)
        .or_else(|| lineage.generations.iter().rev().find(proven).copied())?;
    let generation = context.store.generation(&lineage.name, before).ok()?;
    let leaf = generation.chain.leaf();
    leaf.validity.contains(context.now()).then_some(Previous {
        generation: before,
        fingerprint: leaf.fingerprint,
        validity: leaf.validity,
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

/// Keeps how the run ended, and removes generations that nobody needs any more
fn keep_result(context: &Context<'_>, options: &Options, work: &mut Work<'_>) {
    let Some(end) = work.end.clone() else { return };
    // What is another program's, or cannot be read, is left as it is.
    if !work.is_known || options.mode.is_trial() {
        return;
    }
    let failures = &mut work.lineage.record.deploy_failures;
    let is_well_again = end.outcome == Outcome::Unchanged && failures.count > 0;
    if is_well_again {
        failures.clear();
    }
    // That a timer or a sweep found nothing to do is no news.
    let is_idle = options.occasion != Occasion::ByHand && end.outcome == Outcome::Unchanged;
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
            let failures = &mut work.lineage.record.deploy_failures;
            failures.add(context.now(), None, end.summary.clone());
        }
        _ => {}
    }
    // A run that only waited says less than the one before it.
    if !matches!(work.plan, Plan::Wait { .. } | Plan::Stop { .. }) {
        work.lineage.record.last_result = Some(LastResult {
            at: context.now(),
            outcome: end.outcome.as_str().to_owned(),
            message: end.summary,
        });
    }
    if let Err(error) = context.store.save_record(work.name(), &work.lineage.record) {
        work.findings
            .push(Finding::warning("store.record", chain_of_causes(&error)));
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
