//! What a sweep does where nothing is due and something else is served than what is live.
//!
//! A reload is the cure where an older generation of the same lineage is served. Where it is not,
//! a sweep reloads nothing: it would make an edit real that its author has not finished.

use std::time::Instant;

use futures_util::future::join_all;

use super::target::{Target, nothing_to_do};
use super::{configured, words};
use crate::finding::Finding;
use crate::pipeline::defect::caught;
use crate::pipeline::installed;
use crate::pipeline::{Context, Work};
use crate::plan::{Plan, backoff};
use crate::report::{Outcome, Stage, StageResult};
use crate::verify::proof::{self, Proof};

/// Looks again at what the baseline did not show served, and ends or deploys it
///
/// A server that is just being started or reloaded gets its time.
pub(super) async fn look(context: &Context<'_>, target: &Target, works: &mut [Work<'_>]) {
    let begun = Instant::now();
    let seen = look_again(context, target, works).await;
    target.fail_of_defects(works, Stage::Proof, begun);
    let configured = match seen.iter().find_map(|(_, proofs)| unproven(proofs)) {
        Some(first) => configured::configured(context, target, works, first.address).await,
        None => None,
    };
    for (member, proofs) in &seen {
        let container = unproven(proofs).map(|worst| target.name_at(works, worst.address));
        let work = &mut works[*member];
        if !work.is_open() {
            continue;
        }
        let Some((worst, container)) = unproven(proofs).zip(container) else {
            // It was only slow.
            let summary = work.ready.as_ref();
            work.confirmed = summary.map(|ready| nothing_to_do(context, work, ready));
            continue;
        };
        let failures = &work.lineage.record.deploy_failures;
        let now = context.now();
        let may_reload = backoff::next_try(failures, None, now).is_none_or(|until| until <= now);
        if let Some(generation) = stale(context, work, proofs).filter(|_| may_reload) {
            work.findings.push(outdated(worst, generation));
            if let Plan::Confirm { generation } = work.plan {
                work.plan = Plan::Deploy { generation };
            }
            continue;
        }
        let (_, finding) = words::not_proven(
            context,
            target,
            &container,
            configured.as_ref(),
            work,
            worst,
        );
        let code = finding.code.to_owned();
        work.note(Stage::Proof, begun, StageResult::Failed, code);
        let summary = finding.evidence.clone();
        work.findings.push(finding);
        work.end(Outcome::Drifted, summary);
    }
}

fn unproven(proofs: &[Proof]) -> Option<&Proof> {
    proofs.iter().find(|proof| !proof.is_proven())
}

/// The members of the target that are open with nothing due, and what each place shows now
async fn look_again(
    context: &Context<'_>,
    target: &Target,
    works: &[Work<'_>],
) -> Vec<(usize, Vec<Proof>)> {
    let observer = &target.observer(context);
    let mut places = Vec::new();
    for member in &target.members {
        let work = &works[*member];
        let (Plan::Confirm { .. }, true, Some(ready)) = (&work.plan, work.is_open(), &work.ready)
        else {
            continue;
        };
        let shared = installed::sharable(context.store, work.domain, context.now());
        places.extend(target.places(work).into_iter().map(|(name, address)| {
            let wanted = installed::wanted(ready, &shared, &name);
            (*member, name, address, wanted)
        }));
    }
    let looking = places
        .into_iter()
        .map(|(member, name, address, wanted)| async move {
            let patience = context.patience.reload;
            let proof = proof::wait_for(observer, name.as_str(), address, &wanted, patience);
            (member, caught(proof).await)
        });
    let seen = join_all(looking).await.into_iter();
    let seen =
        seen.filter_map(|(member, proof)| Some((member, target.unless_defect(member, proof)?)));
    let mut seen: Vec<(usize, Proof)> = seen.collect();
    seen.sort_by_key(|(member, _)| *member);
    let groups = seen.chunk_by(|one, other| one.0 == other.0);
    groups
        .map(|group| {
            let proofs = group.iter().map(|(_, proof)| proof.clone()).collect();
            (group[0].0, proofs)
        })
        .collect()
}

/// The older generation that is served wherever the live one is not, if a reload may help
fn stale(context: &Context<'_>, work: &Work<'_>, proofs: &[Proof]) -> Option<u32> {
    let known = installed::known_of(context.store, work.name());
    let generation_of = |proof: &Proof| {
        let shown = proof.other()?;
        let known = known.iter().find(|known| known.fingerprint == shown)?;
        Some(known.generation)
    };
    let generations: Option<Vec<u32>> = proofs
        .iter()
        .filter(|proof| !proof.is_proven())
        .map(generation_of)
        .collect();
    generations?.into_iter().min()
}

fn outdated(proof: &Proof, generation: u32) -> Finding {
    let evidence = format!(
        "{} at {} was still served with generation {generation}",
        proof.name, proof.address
    );
    Finding::warning("proof.outdated", evidence)
        .with_cure("nginx is reloaded; was it started from another storage, or a copy of it?")
}
