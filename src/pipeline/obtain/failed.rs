//! Orders that gave no certificate: what is remembered of them, and when the next one may be placed.

use std::time::Instant;

use jiff::Timestamp;

use super::order::asked;
use crate::acme::AcmeError;
use crate::acme::problem::Consequence;
use crate::acme::reply::RetryAfter;
use crate::finding::{Explain, Finding, Severity, chain_of_causes};
use crate::pipeline::{Context, Options, Work};
use crate::plan::{By, backoff};
use crate::report::{Outcome, Stage, StageResult};
use crate::store::record::RecordError;
use crate::time::display;

/// Ends the work after an error of the CA, and remembers it at once where it cost something
pub(super) fn fail_order(
    context: &Context<'_>,
    options: &Options,
    work: &mut Work<'_>,
    begun: Instant,
    error: &AcmeError,
    consequence: Consequence,
) {
    match consequence {
        Consequence::Unspent => {
            work.fail(Stage::Order, begun, error);
            let evidence = match work.lineage.record.order {
                Some(_) => "the order is kept: the next run goes on with it",
                None => "nothing was spent at the CA: the next run tries again",
            };
            work.findings.push(Finding::note("order.retry", evidence));
        }
        Consequence::Stop => {
            let asked = asked(context, options, work);
            let failures = &mut work.lineage.record.order_failures;
            failures.add(error.code(), context.now(), None, chain_of_causes(error));
            failures.refused = Some(asked);
            save(context, work);
            work.fail(Stage::Order, begun, error);
            let evidence =
                "this order is not placed again until a person has acted; --force tries it";
            work.findings.push(Finding::note("order.stopped", evidence));
        }
        Consequence::Spent => fail_spent(context, work, Stage::Order, begun, error),
        Consequence::Later(RetryAfter(wait)) => {
            let now = context.now();
            let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
            let expires = expires(work);
            let failures = &mut work.lineage.record.order_failures;
            failures.add(error.code(), now, Some(until), chain_of_causes(error));
            let until = backoff::next_try(failures, expires, now).unwrap_or(until);
            postpone(work, begun, error, until);
            save(context, work);
        }
    }
}

/// Ends the work after something was spent at the CA for nothing, and remembers it at once
pub(super) fn fail_spent<E: Explain + 'static>(
    context: &Context<'_>,
    work: &mut Work<'_>,
    stage: Stage,
    begun: Instant,
    error: &E,
) {
    let (expires, now) = (expires(work), context.now());
    let failures = &mut work.lineage.record.order_failures;
    failures.add(error.code(), now, None, chain_of_causes(error));
    let next = backoff::next_try(failures, expires, now);
    save(context, work);
    work.fail(stage, begun, error);
    if let Some(until) = next {
        let evidence = no_order_before(until, By::Pause);
        work.findings.push(Finding::note("order.backoff", evidence));
    }
}

/// When the certificate ends that an order for the domain replaces
pub(super) fn expires(work: &Work<'_>) -> Option<Timestamp> {
    work.newest.map(|validity| validity.not_after)
}

pub(super) fn no_order_before(until: Timestamp, by: By) -> String {
    let until = display(until);
    let way = match by {
        By::Pause => "--force tries now",
        By::Ca => "--force --skip-check budget asks the CA all the same",
    };
    format!("no order is placed before {until}; {way}")
}

/// Keeps the record now: a run that is stopped must not forget what it cost the CA
pub(super) fn save(context: &Context<'_>, work: &mut Work<'_>) {
    if let Err(error) = context.store.save_record(work.name(), &work.lineage.record) {
        note_unsaved(work, &error);
    }
}

pub(super) fn note_unsaved(work: &mut Work<'_>, error: &RecordError) {
    let evidence = chain_of_causes(error);
    work.findings
        .push(Finding::warning("store.record", evidence));
}

/// Ends the work without a failure: the CA named a time
fn postpone(work: &mut Work<'_>, begun: Instant, error: &AcmeError, until: Timestamp) {
    let finding = Finding::from_error(error);
    work.note(
        Stage::Order,
        begun,
        StageResult::Failed,
        finding.code.to_owned(),
    );
    work.findings.push(Finding {
        severity: Severity::Warning,
        ..finding
    });
    work.end(Outcome::Later, no_order_before(until, By::Ca));
}
