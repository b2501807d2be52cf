//! Before an order: what a CA would find, and whether its limits leave room.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;

use super::order::{Desk, account_url, issuer_of, must_order};
use super::target::Target;
use crate::config::Check;
use crate::finding::{Finding, Severity, chain_of_causes};
use crate::pipeline::budget;
use crate::pipeline::preflight::{Known, Scout, issuer_kind};
use crate::pipeline::{Context, Options, Work};
use crate::report::check::NameFindings;
use crate::report::{Outcome, Stage, StageResult};
use crate::time::display;

/// Looks at the names of every domain that is to be ordered; ends those that a CA would refuse
pub(super) async fn check_names(
    context: &Context<'_>,
    options: &Options,
    desk: &Desk,
    targets: &[Target],
    works: &mut [Work<'_>],
) {
    let scout = &Scout::new(context);
    let known: BTreeMap<usize, Known> = works
        .iter()
        .enumerate()
        .filter(|(_, work)| must_order(work) && desk.is_open(options, work))
        .map(|(position, work)| {
            (
                position,
                known(context, options, desk, targets, position, work),
            )
        })
        .collect();
    let checking = works.iter_mut().enumerate().filter_map(|(position, work)| {
        let known = known.get(&position)?;
        Some(async move { check_domain(context, options, scout, known, work).await })
    });
    stream::iter(checking)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
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
    let target = targets
        .iter()
        .find(|target| target.members.contains(&position));
    Known {
        containers: target.map(Target::doors).unwrap_or_default(),
        identities: desk.caa_identities(options, work),
        account: account_url(context, options, work),
        issuer: issuer_kind(context, issuer_of(options, work)),
    }
}

async fn check_domain(
    context: &Context<'_>,
    options: &Options,
    scout: &Scout,
    known: &Known,
    work: &mut Work<'_>,
) {
    let begun = work.begin(Stage::Check);
    work.known = Some(known.clone());
    let required = |check: Check| {
        context.config.preflight.require.contains(&check) && !options.skip.contains(&check)
    };
    if !Check::ALL.into_iter().any(required) {
        return;
    }
    let names = scout.examine(work.domain, known).await;
    let mut failures: Vec<Finding> = Vec::new();
    for failure in names.iter().flat_map(|name| name.failures(required)) {
        if !failures.contains(failure) {
            failures.push(failure.clone());
        }
    }
    let warnings = names.iter().flat_map(NameFindings::all);
    let warnings = warnings.filter(|finding| finding.severity == Severity::Warning);
    work.findings.extend(warnings.cloned());
    match failures.pop() {
        Some(last) => {
            work.findings.append(&mut failures);
            work.fail_with(Stage::Check, begun, last);
        }
        None => {
            let checked: Vec<&str> = Check::ALL
                .into_iter()
                .filter(|check| required(*check))
                .map(Check::as_str)
                .collect();
            work.done(Stage::Check, begun, checked.join(", "));
        }
    }
}

/// Ends the domains for whose orders a limit of the CA leaves no room; the CA is not asked
pub(super) fn check_budgets(context: &Context<'_>, options: &Options, works: &mut [Work<'_>]) {
    if options.skip.contains(&Check::Budget) {
        return;
    }
    for work in works.iter_mut().filter(|work| must_order(work)) {
        let begun = Instant::now();
        if let Some((finding, summary)) = exhausted(context, options, work) {
            let code = finding.code.to_owned();
            work.note(Stage::Check, begun, StageResult::Failed, code);
            work.findings.push(finding);
            work.end(Outcome::Later, summary);
        }
    }
}

/// Whether the CA would refuse the order for one of its limits, and until when
fn exhausted(
    context: &Context<'_>,
    options: &Options,
    work: &Work<'_>,
) -> Option<(Finding, String)> {
    let issuer = issuer_of(options, work);
    let issuer = context.config.issuers.get(issuer)?;
    let account = account_url(context, options, work);
    let issuance = super::order::issuance(work);
    let directory = &issuer.directory;
    match budget::usage(
        context,
        directory,
        account.as_deref(),
        &work.names,
        issuance,
    ) {
        Ok(usages) => {
            let blocked = usages
                .iter()
                .filter_map(|usage| Some((usage, usage.next?)))
                .max_by_key(|(_, next)| *next);
            blocked.map(|(usage, next)| {
                let finding = budget::finding(usage, context.now());
                let until = display(next);
                (
                    finding,
                    format!("no order is placed before {until}; --skip-check budget overrides"),
                )
            })
        }
        Err(error) => {
            tracing::warn!(error = chain_of_causes(&error), "the ledger cannot be read");
            None
        }
    }
}

/// What this host sees of a name that the CA could not validate: the cause, or that it is not here
pub(super) async fn look_again(context: &Context<'_>, name: &str, work: &mut Work<'_>) {
    let Some(known) = work.known.clone() else {
        return;
    };
    let names = Scout::new(context).examine(work.domain, &known).await;
    let Some(seen) = names.iter().find(|seen| seen.name == name) else {
        return;
    };
    let failures: Vec<Finding> = seen.failures(|_| true).cloned().collect();
    if !failures.is_empty() {
        return work.findings.extend(failures);
    }
    let good: Vec<&str> = seen
        .all()
        .filter(|finding| finding.severity <= Severity::Note)
        .map(|finding| finding.evidence.as_str())
        .collect();
    let finding = Finding::note(
        "check.no_cause",
        format!("seen from this host: {}", good.join("; ")),
    );
    work.findings.push(finding.with_cure(
        "the CA looks from several places: is port 80 open to all the world, and does DNS give everyone the same addresses?",
    ));
}

/// Domains that are looked at at once; their names wait for others far more than they work
const AT_ONCE: usize = 16;
