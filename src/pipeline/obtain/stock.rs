//! Before anything is done: what there is of a domain, and what is to be done for it.

use std::time::Instant;

use jiff::Timestamp;

use super::failed::{expires, no_order_before, save};
use super::{fit, order, resume};
use crate::config::Domain;
use crate::finding::{Finding, Severity, chain_of_causes};
use crate::name::DnsName;
use crate::pipeline::defect::caught_now;
use crate::pipeline::{Context, Mode, Occasion, Options, Previous, Ready, Retry, Work, clock};
use crate::plan::{self, Demand, Due, Goal, Newest, Plan, Subject, Urgency, backoff, due};
use crate::report::{Outcome, Stage};
use crate::store::lineage::{Generation, GenerationError, Lineage, LineageError};
use crate::store::record::{Failures, Record, RecordError};
use crate::time::{display, display_date};

/// What there is of a domain, and what is to be done for it
pub(super) fn take_stock<'c>(
    context: &Context<'c>,
    options: &Options,
    clock: &clock::Standing,
    domain: &'c Domain,
) -> Work<'c> {
    let mut work = unknown(context, domain);
    let begun = work.begin(Stage::Plan);
    if let Err(defect) = caught_now(|| look_up(context, options, clock, &mut work, begun)) {
        // What was read of it may be half of it, and is not written back.
        work.is_known = false;
        work.fail(Stage::Plan, begun, &defect);
    }
    work
}

/// A domain of which nothing is known yet
fn unknown<'c>(context: &Context<'c>, domain: &'c Domain) -> Work<'c> {
    Work {
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
        is_ahead: false,
        is_waiting: false,
        confirmed: None,
        known: None,
        newest: None,
        progress: context.progress.clone(),
    }
}

/// Reads what there is, makes the plan, and ends the work where there is nothing to do
fn look_up(
    context: &Context<'_>,
    options: &Options,
    clock: &clock::Standing,
    work: &mut Work<'_>,
    begun: Instant,
) {
    let domain = work.domain;
    let (lineage, set_aside) = lineage(context, options, &domain.name);
    work.findings.extend(set_aside);
    match lineage {
        Ok(lineage) => {
            work.lineage = lineage;
            work.is_known = true;
            resume::settle(context, options, work);
        }
        Err(error) => return work.fail(Stage::Plan, begun, &error),
    }
    let newest = work
        .lineage
        .newest()
        .map(|number| context.store.generation(&domain.name, number));
    work.findings
        .extend(clock.doubt().map(|(_, finding)| finding.clone()));
    if let Some(Ok(newest)) = &newest
        && matches!(options.mode, Mode::Deploy | Mode::NoDeploy)
    {
        work.findings.extend(mend(context, &domain.name, newest));
    }
    work.newest = match &newest {
        Some(Ok(newest)) => Some(newest.chain.leaf().validity),
        _ => None,
    };
    work.plan = match options.mode {
        Mode::Rehearse | Mode::Check => Plan::Order {
            reason: Due::Rehearsal,
        },
        _ => make_plan(context, options, work, newest.as_ref(), context.now()),
    };
    if let Some(finding) = misled(context, options, clock, work, newest.as_ref()) {
        work.is_waiting = true;
        return work.fail_with(Stage::Plan, begun, finding);
    }
    forget_failures(context, options, work);
    apply_plan(context, options, work, begun, newest);
}

/// Writes files of a generation again that are missing or damaged, where its chain tells what
/// belongs into them
fn mend(context: &Context<'_>, name: &DnsName, generation: &Generation) -> Option<Finding> {
    if generation.damaged.is_empty() {
        return None;
    }
    let files = generation.damaged.join(" and ");
    let number = generation.number;
    Some(match context.store.mend(name, generation) {
        Ok(()) => Finding::warning(
            "store.mended",
            format!("{files} of generation {number} did not fit its fullchain.pem: written again"),
        ),
        Err(error) => Finding::from_error(&error).at_most(Severity::Warning),
    })
}

/// The lineage of a domain; a record that makes no sense is set aside, and told as that
///
/// Certificates and keys are files of their own: what is lost is when they were proven, and which
/// orders failed.
fn lineage(
    context: &Context<'_>,
    options: &Options,
    name: &DnsName,
) -> (Result<Lineage, LineageError>, Option<Finding>) {
    let store = context.store;
    let error = match store.lineage(name) {
        Err(LineageError::Record(error @ RecordError::Damaged { .. }))
            if matches!(options.mode, Mode::Deploy | Mode::NoDeploy) =>
        {
            error
        }
        lineage => return (lineage, None),
    };
    match store.set_aside_record(name) {
        Ok(aside) => {
            let evidence = format!(
                "{}; it is set aside as {}, and the newest certificate is proven anew",
                chain_of_causes(&error),
                aside.display()
            );
            let told = Finding::warning("store.record", evidence);
            (store.lineage(name), Some(told))
        }
        Err(error) => (Err(error.into()), None),
    }
}

/// Forgets orders that failed where none is due any more: the next one begins anew
///
/// What the CA named holds until then, whatever the order was for.
fn forget_failures(context: &Context<'_>, options: &Options, work: &mut Work<'_>) {
    let is_over = matches!(work.plan, Plan::Confirm { .. } | Plan::Deploy { .. });
    let failures = &work.lineage.record.order_failures;
    if failures.count == 0 || !is_over || !matches!(options.mode, Mode::Deploy | Mode::NoDeploy) {
        return;
    }
    let (now, expires) = (context.now(), expires(work));
    if backoff::named(failures, expires, now).is_none_or(|until| until <= now) {
        work.lineage.record.order_failures.clear();
        save(context, work);
    }
}

/// What is wrong with the clock, where it decides what is done for the domain
fn misled(
    context: &Context<'_>,
    options: &Options,
    clock: &clock::Standing,
    work: &mut Work<'_>,
    newest: Option<&Result<Generation, GenerationError>>,
) -> Option<Finding> {
    let finding = match (clock.failure(), clock.doubt()) {
        (Some(finding), _) => finding.clone(),
        (None, Some((ahead, finding))) => {
            let by_ca = context.now().checked_sub(ahead).ok()?;
            let is_due = |plan: &Plan| !matches!(plan, Plan::Confirm { .. } | Plan::Deploy { .. });
            let plan = make_plan(context, options, work, newest, by_ca);
            if is_due(&plan) == is_due(&work.plan) {
                return None;
            }
            let due = match is_due(&plan) {
                true => "by the CA's the domain is due",
                false => "by the CA's the domain is not due yet",
            };
            let evidence = format!("{}: {due}", finding.evidence);
            Finding {
                evidence,
                ..finding.clone().at_least(Severity::Failure)
            }
        }
        (None, None) => return None,
    };
    // It is told once.
    work.findings.retain(|known| known.code != finding.code);
    Some(finding)
}

pub(super) fn make_plan(
    context: &Context<'_>,
    options: &Options,
    work: &Work<'_>,
    newest: Option<&Result<Generation, GenerationError>>,
    now: Timestamp,
) -> Plan {
    let is_refused = work.lineage.record.order_failures.refused.is_some();
    let asks = is_refused.then(|| order::asked(context, options, work));
    let goal = goal(options, work);
    let unfit = newest.and_then(|newest| fit::unfit(context, work, goal, newest.as_ref().ok()?));
    let is_checked = work.lineage.record.order_failures.checked.is_some();
    let subject = Subject {
        domain: work.domain,
        lineage: &work.lineage,
        newest: newest.map(|newest| newest.as_ref().map(Newest::from)),
        asks: asks.as_ref(),
        unfit: unfit.as_deref(),
    };
    let demand = Demand {
        urgency: match (options.urgency, options.occasion) {
            (Urgency::WhenDue, Occasion::ByHand) if is_checked => Urgency::Again,
            (urgency, _) => urgency,
        },
        goal,
        issuer: options.issuer.as_deref(),
        fraction: context.config.renewal_fraction,
        next: options.next,
    };
    plan::plan(subject, demand, now)
}

/// What counts as done for the domain in this run
pub(super) fn goal(options: &Options, work: &Work<'_>) -> Goal {
    match options.mode {
        Mode::NoDeploy => Goal::Live,
        _ if makes_live(options, work) => Goal::Live,
        _ => Goal::Proven,
    }
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
        work.ready = Some(ready(context, &work.lineage, newest));
    }
    match (&work.plan, held_until(context, options, work)) {
        (Plan::Wait { until, by, .. }, _) => {
            let summary = no_order_before(*until, *by);
            wait_to_order(work, begun, &words, summary);
        }
        (Plan::Stop { .. }, _) => {
            work.is_waiting = true;
            let finding = stopped(&work.lineage.record.order_failures, &words);
            work.fail_with(Stage::Plan, begun, finding);
        }
        (Plan::Deploy { generation }, Some(until)) => {
            let generation = *generation;
            wait_to_deploy(work, begun, generation, until);
        }
        _ => begin(context, options, work, begun, words),
    }
}

/// Notes what is to be done, and ends the work where that is nothing
fn begin(
    context: &Context<'_>,
    options: &Options,
    work: &mut Work<'_>,
    begun: Instant,
    words: String,
) {
    work.done(Stage::Plan, begun, words);
    match (options.mode, &work.plan) {
        (Mode::DryRun, Plan::Confirm { .. }) if options.occasion == Occasion::Timer => {
            let at = renewal_in_words(context, work);
            work.end(Outcome::Unchanged, format!("renewal due {at}"));
        }
        (Mode::DryRun, _) => {
            let summary = intention(context, options, work);
            work.end(Outcome::Planned, summary);
        }
        (Mode::Deploy | Mode::NoDeploy, Plan::Confirm { .. }) if leaves_alone(options, work) => {
            let at = renewal_in_words(context, work);
            work.end(Outcome::Unchanged, format!("renewal due {at}"));
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

/// Ends the work until the back-off of orders is over
fn wait_to_order(work: &mut Work<'_>, begun: Instant, words: &str, summary: String) {
    let reason = work.lineage.record.order_failures.reason.as_deref();
    let last = reason.map(|reason| format!("; the last: {reason}"));
    let evidence = format!("{words}{}", last.unwrap_or_default());
    work.findings
        .push(Finding::warning("order.backoff", evidence));
    work.done(Stage::Plan, begun, "wait");
    work.is_waiting = true;
    work.end(Outcome::Later, summary);
}

/// Until when a deployment that failed waits for its next try, where this run waits for it
///
/// Each try of a generation that was rolled back may break TLS for a moment: a timer has mended
/// nothing since, and waits too.
fn held_until(context: &Context<'_>, options: &Options, work: &Work<'_>) -> Option<Timestamp> {
    let failures = &work.lineage.record.deploy_failures;
    let now = context.now();
    let until = backoff::next_try(failures, None, now).filter(|until| *until > now);
    let waits = match options.retry {
        Retry::AfterBackoff => true,
        Retry::Now => options.occasion == Occasion::Timer && is_rolled_back(work),
    };
    until.filter(|_| waits)
}

/// Whether the newest generation was taken back when it was deployed
fn is_rolled_back(work: &Work<'_>) -> bool {
    let rolled_back = work.lineage.record.rolled_back;
    rolled_back.is_some() && rolled_back == work.lineage.newest()
}

/// Ends the work until the back-off of deployments is over
fn wait_to_deploy(work: &mut Work<'_>, begun: Instant, generation: u32, until: Timestamp) {
    let failures = &work.lineage.record.deploy_failures;
    let last = failures.reason.as_deref().unwrap_or_default();
    let until = display(until);
    let evidence =
        format!("generation {generation} is tried again at {until}; the last try failed: {last}");
    let name = work.name();
    let cure = match is_rolled_back(work) {
        true => format!(
            "once that is mended, `certd obtain {name}` deploys at once, without an order; `certd obtain {name} --force` orders another"
        ),
        false => "once that is mended, `certd obtain` deploys at once, without an order".to_owned(),
    };
    let finding = Finding::warning("deploy.backoff", evidence).with_cure(cure);
    let summary = finding.evidence.clone();
    work.findings.push(finding);
    work.done(Stage::Plan, begun, "wait");
    work.is_waiting = true;
    work.end(Outcome::Later, summary);
}

/// Whether a daemon has nothing to reload for the domain: it is made live, and that is all
pub(super) fn makes_live(options: &Options, work: &Work<'_>) -> bool {
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
pub(super) fn stopped(failures: &Failures, words: &str) -> Finding {
    let reason = failures.reason.as_deref().unwrap_or_default();
    let since = failures.last.map(display_date).unwrap_or_default();
    let evidence = format!("{words} since {since}: {reason}");
    Finding::failure("order.stopped", evidence).with_cure(
        "do what it asks for, then --force; with other names, `profile`, `issuer`, `key_type`, `email` or account it is tried at once",
    )
}

/// Why nothing is ordered where nothing would pick a certificate up
pub(in crate::pipeline) fn no_target() -> Finding {
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
            let due = renewal_in_words(context, work);
            match options.occasion {
                Occasion::ByHand => format!("would look whether it is served; due from {due}"),
                Occasion::Timer | Occasion::Sweep => format!("renewal due {due}"),
            }
        }
    }
}

pub(super) fn plan_in_words(plan: &Plan) -> String {
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
                failures => format!("{failures} failures of a kind"),
            };
            format!("an order is due ({reason}), and must wait after {times}")
        }
        Plan::Stop { reason } => {
            format!("an order is due ({reason}), and the CA has refused it")
        }
    }
}

/// When a generation will be due
pub(super) fn renewal_time(context: &Context<'_>, work: &Work<'_>, ready: &Ready) -> Timestamp {
    let (record, number) = (&work.lineage.record, ready.generation);
    let fraction = context.config.renewal_fraction;
    let validity = &ready.leaf.validity;
    due::moment(record, number, validity, fraction, work.name().as_str()).at()
}

/// The same, shown; empty without a generation
fn renewal_in_words(context: &Context<'_>, work: &Work<'_>) -> String {
    let ready = work.ready.as_ref();
    let at = ready.map(|ready| display(renewal_time(context, work, ready)));
    at.unwrap_or_default()
}

/// A generation of the archive, ready to be made live
pub(super) fn ready(context: &Context<'_>, lineage: &Lineage, generation: Generation) -> Ready {
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
