//! The end of a run: what is kept of it for each domain, and which generations go.

use super::failed::note_unsaved;
use super::makes_live;
use super::resume::forget_files;
use crate::finding::{Finding, chain_of_causes};
use crate::pipeline::defect::caught_now;
use crate::pipeline::threads::side_by_side;
use crate::pipeline::{Context, End, Occasion, Options, Work};
use crate::plan::{Plan, backoff};
use crate::report::{Outcome, Verdict};
use crate::store::files::FileError;
use crate::store::lineage::Lineage;
use crate::store::record::{LastResult, RecordError};
use crate::time::display;

/// Keeps how the run ended for each domain, whatever goes wrong with that
///
/// By a few threads, which wait for the disk side by side, and with one sync for all in the end.
pub(super) fn conclude_all(context: &Context<'_>, options: &Options, works: &mut [Work<'_>]) {
    let threads = match options.occasion {
        Occasion::ByHand | Occasion::Timer => WRITERS,
        // The daemon has time, and would keep the memory.
        Occasion::Sweep => 1,
    };
    let changes = side_by_side(works, threads, LEAST_SHARE, |work| {
        conclude(context, options, work)
    });
    let changed = works.iter_mut().zip(changes);
    let changed = changed.filter(|(_, change)| *change == Change::Made);
    let written: Vec<&mut Work<'_>> = changed.map(|(work, _)| work).collect();
    if written.is_empty() {
        return;
    }
    match context.store.sync_records() {
        // A record that tells of a generation is on disk before what told of it goes.
        Ok(()) => written
            .into_iter()
            .filter(|work| work.is_ahead)
            .for_each(|work| forget_files(context, work)),
        Err(error) => {
            let error = RecordError::from(error);
            written
                .into_iter()
                .for_each(|work| note_unsaved(work, &error));
        }
    }
}

fn conclude(context: &Context<'_>, options: &Options, work: &mut Work<'_>) -> Change {
    match caught_now(|| keep_result(context, options, work)) {
        Ok(change) => change,
        Err(defect) => {
            work.findings.push(Finding::from_error(&defect));
            work.end(Outcome::Failed, defect.to_string());
            Change::None
        }
    }
}

/// Whether a record was written
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Made,
    None,
}

/// Keeps how the run ended, and removes generations that nobody needs any more
fn keep_result(context: &Context<'_>, options: &Options, work: &mut Work<'_>) -> Change {
    // What is another program's, or cannot be read, is left as it is.
    if !work.is_known || options.mode.is_trial() {
        return Change::None;
    }
    let noted = match work.end.clone() {
        Some(end) => note_result(context, options, work, end),
        None => Change::None,
    };
    if noted == Change::None && !work.is_ahead {
        return Change::None;
    }
    match context
        .store
        .write_record(work.name(), &work.lineage.record)
    {
        Ok(()) => Change::Made,
        Err(error) => {
            note_unsaved(work, &error);
            Change::None
        }
    }
}

/// Enters how the run ended into the record, where that is news
fn note_result(context: &Context<'_>, options: &Options, work: &mut Work<'_>, end: End) -> Change {
    let is_well_again = is_well_again(options, work, end.outcome);
    if is_well_again {
        work.lineage.record.forget_deploy_failures();
    }
    // That there was nothing to do is no news, and a run that only waited says less than the one
    // before it.
    let is_idle = end.outcome == Outcome::Unchanged;
    if work.is_waiting || (is_idle && !is_well_again) {
        return Change::None;
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
            work.findings.extend(next_deployment(context, work));
        }
        _ => {}
    }
    if end.outcome.verdict() == Verdict::Failed {
        note_seen_served(options, work);
    }
    work.lineage.record.last_result = Some(last_result(context, work, end));
    Change::Made
}

/// When a generation that was rolled back is tried again; `None` where none was
fn next_deployment(context: &Context<'_>, work: &Work<'_>) -> Option<Finding> {
    let record = &work.lineage.record;
    let generation = work.ready.as_ref()?.generation;
    let until = backoff::next_try(&record.deploy_failures, None, context.now())?;
    (record.rolled_back == Some(generation)).then(|| {
        let until = display(until);
        let evidence =
            format!("`renew` and `run` do not try generation {generation} again before {until}");
        Finding::note("deploy.backoff", evidence)
    })
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

/// Threads that wait for the disk at once: a journal is written once for all that wait
const WRITERS: usize = 8;
/// Records for which a thread of its own is worth it
const LEAST_SHARE: usize = 8;
