//! The proof: fresh handshakes for every name at every place, and what follows from them.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use super::configured::{self, Configured};
use super::failed::fail_spent;
use super::fit;
use super::pinned;
use super::reload::{self, Logs, Trouble};
use super::target::{Target, names_in_words, open};
use super::words;
use crate::config::Sharing;
use crate::facts::{ConnectFailure, Handshake, KeyProof};
use crate::finding::Finding;
use crate::name::DnsName;
use crate::pipeline::defect::caught;
use crate::pipeline::installed;
use crate::pipeline::{Context, Work};
use crate::report::{Outcome, Stage, StageResult};
use crate::store::record::GenerationRecord;
use crate::target::choice::Serving;
use crate::target::container::Ended;
use crate::verify::proof::{self, Proof, Verdict, Wanted};

/// A name of a domain, and where it is asked for
#[derive(Clone, Debug)]
struct Place {
    /// Position of the domain
    member: usize,
    name: DnsName,
    address: SocketAddr,
    wanted: Wanted,
}

/// A domain that must go back: TLS broke, or nginx cannot load its new certificate
pub(super) struct Broken {
    /// Its position
    pub(super) member: usize,
    /// What is seen at one of its places
    pub(super) proof: Proof,
    /// What nginx says of it
    pub(super) trouble: Option<Trouble>,
}

/// Ends every open domain that is proven, or served with something else; gives those that must go
/// back
pub(super) async fn prove(
    context: &Context<'_>,
    target: &mut Target,
    works: &mut [Work<'_>],
) -> Vec<Broken> {
    let begun = Instant::now();
    for work in open(target, works) {
        work.begin(Stage::Proof);
    }
    let places = places(context, target, works);
    let patience = context.patience;
    wait_for_reload(context, target, &places).await;
    let mut seen = look(context, target, places, patience.first_look).await;
    add_opened(context, target, works, &mut seen).await;
    target.warn_of_unpublished(works).await;
    let closed = seen.iter().filter(|(_, proof)| is_closed(proof));
    let closed = closed.map(|(place, _)| place.address).collect();
    if target.learn_balanced(works, closed).await {
        let settled = |_: &Place, proof: &Proof| !is_closed(proof);
        seen = look_again(context, target, seen, settled, patience.first_look).await;
    }
    let (mut configured, mut ended) = (None, Vec::new());
    if let Some((place, _)) = seen.iter().find(|(_, proof)| !proof.is_proven()) {
        configured = configured::configured(context, target, works, place.address).await;
        let settled = |place: &Place, proof: &Proof| {
            // A server that shows nothing at all may be starting, and of several containers one
            // alone was asked.
            target.containers.len() == 1
                && proof.shows_something()
                && is_settled(configured.as_ref(), works, place, proof)
        };
        let second = patience.reload.saturating_sub(patience.first_look);
        (seen, ended) = watch(context, target, seen, settled, second).await;
    }
    if ended.is_empty() && seen.iter().any(|(_, proof)| !proof.is_proven()) {
        reload_if_stale(context, target, works, &seen).await;
        let settled =
            |place: &Place, proof: &Proof| is_settled(configured.as_ref(), works, place, proof);
        let last = patience.deadline.saturating_sub(patience.reload);
        (seen, ended) = watch(context, target, seen, settled, last).await;
    }
    if reload::is_over(target, works, &ended, begun) {
        return Vec::new();
    }
    target.fail_of_defects(works, Stage::Proof, begun);
    seen.retain(|(place, _)| works[place.member].end.is_none());
    let logs = match seen.iter().all(|(_, proof)| proof.is_proven()) {
        true => Logs::default(),
        false => reload::logs(context, target).await,
    };
    let reasons = Reasons {
        configured: configured.as_ref(),
        logs: &logs,
    };
    let broken = conclude(context, target, works, seen, &reasons, begun);
    if broken.is_empty() {
        pinned::warn_at_first(context, target, works).await;
    }
    broken
}

/// What nginx itself says of a name that is not proven
struct Reasons<'r> {
    /// Its configuration
    configured: Option<&'r Configured>,
    /// Its log
    logs: &'r Logs,
}

/// Whether the server closed the connection without a word
fn is_closed(proof: &Proof) -> bool {
    matches!(proof.verdict, Verdict::Broken(ConnectFailure::Reset))
}

/// Looks where nginx listens only since its reload, and drops what has shown to be no such place
async fn add_opened(
    context: &Context<'_>,
    target: &mut Target,
    works: &[Work<'_>],
    seen: &mut Vec<(Place, Proof)>,
) {
    target.explore(context, works).await;
    let now = places(context, target, works);
    let ways = |places: &mut dyn Iterator<Item = &Place>| -> HashSet<(usize, SocketAddr)> {
        places.map(|place| (place.member, place.address)).collect()
    };
    let before = ways(&mut seen.iter().map(|(place, _)| place));
    let after = ways(&mut now.iter());
    seen.retain(|(place, _)| after.contains(&(place.member, place.address)));
    let is_new = |place: &Place| !before.contains(&(place.member, place.address));
    let opened = now.into_iter().filter(is_new).collect();
    seen.extend(look(context, target, opened, context.patience.first_look).await);
}

fn places(context: &Context<'_>, target: &Target, works: &[Work<'_>]) -> Vec<Place> {
    let mut places = Vec::new();
    for member in &target.members {
        let work = &works[*member];
        // What was confirmed before the reload must be served after it, too.
        let is_of_interest = work.is_open() || work.is_confirmed();
        let Some(ready) = work.ready.as_ref().filter(|_| is_of_interest) else {
            continue;
        };
        let shared = installed::sharable(context.store, work.domain, context.now());
        for (name, address) in target.places(work) {
            places.push(Place {
                member: *member,
                wanted: installed::wanted(ready, &shared, &name),
                name,
                address,
            });
        }
    }
    places
}

/// Looks at each place; a defect that shows there ends the domain of that place alone
async fn look(
    context: &Context<'_>,
    target: &Target,
    places: Vec<Place>,
    patience: Duration,
) -> Vec<(Place, Proof)> {
    let observer = &target.observer(context);
    // All at once: what waits for its next handshake keeps no other from its own.
    let looking = places.into_iter().map(|place| async move {
        let name = place.name.as_str();
        let (address, wanted) = (place.address, &place.wanted);
        let proof = caught(proof::wait_for(observer, name, address, wanted, patience)).await;
        (place, proof)
    });
    let looks = join_all(looking).await.into_iter();
    let seen = looks.filter_map(|(place, proof)| {
        let proof = target.unless_defect(place.member, proof)?;
        Some((place, proof))
    });
    seen.collect()
}

/// Waits until nginx shows something new, where there are many places to look at
///
/// A configuration with a thousand server blocks takes a while to load, and until then each look at
/// each place would be for nothing.
async fn wait_for_reload(context: &Context<'_>, target: &Target, places: &[Place]) {
    if places.len() <= context.config.verify.concurrency {
        return;
    }
    let is_new = |place: &&Place| {
        let before = target.baseline.get(&(place.name.clone(), place.address));
        before.is_some_and(|before| {
            let before = proof::judge(before.clone(), &place.wanted);
            !matches!(before, Verdict::Proven { .. })
        })
    };
    if let Some(place) = places.iter().find(is_new) {
        let (name, patience) = (place.name.as_str(), context.patience.first_look);
        let observer = &target.observer(context);
        let first = proof::wait_for_first(observer, name, place.address, &place.wanted, patience);
        // A defect shows again where each place is looked at.
        let _ = caught(first).await;
    }
}

/// Looks again, until a container has ended: what was seen, and the containers that have
async fn watch(
    context: &Context<'_>,
    target: &Target,
    seen: Vec<(Place, Proof)>,
    is_settled: impl Fn(&Place, &Proof) -> bool,
    patience: Duration,
) -> (Vec<(Place, Proof)>, Vec<Ended>) {
    let before = seen.clone();
    let end = async {
        loop {
            let ended = target.engine.ended(&target.containers).await;
            if !ended.is_empty() {
                return ended;
            }
            sleep(BETWEEN_INSPECTIONS).await;
        }
    };
    tokio::select! {
        seen = look_again(context, target, seen, is_settled, patience) => (seen, Vec::new()),
        ended = end => (before, ended),
    }
}

/// Looks again where a name is neither proven nor settled
async fn look_again(
    context: &Context<'_>,
    target: &Target,
    seen: Vec<(Place, Proof)>,
    is_settled: impl Fn(&Place, &Proof) -> bool,
    patience: Duration,
) -> Vec<(Place, Proof)> {
    let (mut settled, open): (Vec<_>, Vec<_>) = seen
        .into_iter()
        .partition(|(place, proof)| proof.is_proven() || is_settled(place, proof));
    let open = open.into_iter().map(|(place, _)| place).collect();
    settled.extend(look(context, target, open, patience).await);
    settled
}

/// Whether nginx's configuration shows that waiting longer changes nothing: it has no TLS server
/// block for the name, or one that names another lineage's certificate or no intermediates
fn is_settled(
    configured: Option<&Configured>,
    works: &[Work<'_>],
    place: &Place,
    proof: &Proof,
) -> bool {
    let Some(configured) = configured else {
        return false;
    };
    let block = match configured.serving(place.name.as_str(), place.address) {
        Serving::Listed(block) => block,
        Serving::Elsewhere { .. } | Serving::Unknown => return false,
        // Another nginx beside it may serve the name.
        Serving::Nobody => return !configured.is_one_of_several(),
    };
    if matches!(proof.verdict, Verdict::Incomplete { .. }) {
        return block.certificate_lines().any(words::names_no_intermediates);
    }
    let domain = works[place.member].domain;
    // One that shares may have to wait until nginx shows the shared certificate.
    let name = place.name.as_str();
    domain.sharing == Sharing::Separate
        && configured.site(domain, name, block).names_another_lineage()
}

/// Reloads once more where another generation of the same lineage is still served
async fn reload_if_stale(
    context: &Context<'_>,
    target: &mut Target,
    works: &[Work<'_>],
    seen: &[(Place, Proof)],
) {
    let stale = seen.iter().any(|(place, proof)| {
        let name = works[place.member].name();
        proof.other().is_some_and(|shown| {
            let known = installed::known_of(context.store, name);
            known.iter().any(|known| known.fingerprint == shown)
        })
    });
    if !stale {
        return;
    }
    let begun = Instant::now();
    let (result, detail) = match reload::reload_containers(target).await {
        Ok(_) => (
            StageResult::Done,
            "once more: the old certificate was still served".to_owned(),
        ),
        Err(finding) => (StageResult::Failed, finding.evidence),
    };
    target.note(Stage::Reload, begun, result, detail);
}

/// Ends the domains that are proven or served with something else; gives those to roll back
fn conclude(
    context: &Context<'_>,
    target: &Target,
    works: &mut [Work<'_>],
    seen: Vec<(Place, Proof)>,
    reasons: &Reasons<'_>,
    begun: Instant,
) -> Vec<Broken> {
    let mut to_roll_back = Vec::new();
    let mut by_member: BTreeMap<usize, Vec<Proof>> = BTreeMap::new();
    for (place, proof) in seen {
        by_member.entry(place.member).or_default().push(proof);
    }
    for (member, proofs) in by_member {
        // A place where TLS broke comes before one that shows another certificate.
        let worst = proofs
            .iter()
            .find(|proof| is_broken(target, proof))
            .or_else(|| proofs.iter().find(|proof| !proof.is_proven()))
            .cloned();
        let container = worst
            .as_ref()
            .map(|worst| target.name_at(works, worst.address));
        let container = container.unwrap_or_default();
        let work = &mut works[member];
        match worst {
            None if work.is_confirmed() => work.end_confirmed(),
            None => proven(context, work, &proofs, begun),
            Some(proof) => {
                let trouble = trouble(reasons.logs, work.name(), &proofs);
                let is_refused = trouble.as_ref().is_some_and(Trouble::is_of_the_certificate);
                if (is_broken(target, &proof) || is_refused) && can_go_back(work) {
                    to_roll_back.push(Broken {
                        member,
                        proof,
                        trouble,
                    });
                    continue;
                }
                let configured = reasons.configured;
                let (outcome, finding) =
                    words::not_proven(context, target, &container, configured, work, &proof);
                let finding = match trouble {
                    Some(trouble) => trouble.explain(finding),
                    None => reasons.logs.elsewhere(finding),
                };
                end_unproven(work, outcome, finding, begun);
            }
        }
    }
    to_roll_back
}

fn end_unproven(work: &mut Work<'_>, outcome: Outcome, finding: Finding, begun: Instant) {
    let code = finding.code.to_owned();
    work.note(Stage::Proof, begun, StageResult::Failed, code);
    let summary = finding.evidence.clone();
    work.findings.push(finding);
    work.end(outcome, summary);
}

/// What nginx's log says of a domain
///
/// Visitors write lines into it, too: that nothing was loaded is not true where the new certificate is
/// served.
fn trouble(logs: &Logs, name: &DnsName, proofs: &[Proof]) -> Option<Trouble> {
    let is_loaded = proofs.iter().any(Proof::is_proven);
    let trouble = logs.trouble(name)?;
    (!is_loaded || !trouble.is_of_loading()).then_some(trouble)
}

fn proven(context: &Context<'_>, work: &mut Work<'_>, proofs: &[Proof], begun: Instant) {
    let Some(ready) = work.ready.clone() else {
        return;
    };
    if let Some(unfit) = fit::alone(context, work) {
        return fail_spent(context, work, Stage::Proof, begun, &unfit);
    }
    let record = &mut work.lineage.record;
    record.forget_deploy_failures();
    record
        .generations
        .entry(ready.generation)
        .or_insert_with(|| GenerationRecord::of_unknown_origin(context.now()))
        .proven_at = Some(context.now());
    let handshakes: u32 = proofs.iter().map(|proof| proof.handshakes).sum();
    let mut shown: Vec<String> = proofs
        .iter()
        .filter_map(|proof| match &proof.verdict {
            Verdict::Proven { shown } => Some(shown.short()),
            _ => None,
        })
        .collect();
    shown.dedup();
    let detail = format!("{handshakes} handshakes show {}", shown.join(", "));
    work.done(Stage::Proof, begun, detail);
    let summary = format!(
        "generation {} is served for {}",
        ready.generation,
        names_in_words(work.names.len())
    );
    work.end(Outcome::Proven, summary);
}

/// Whether an older generation could be made live instead of the one that was
pub(super) fn can_go_back(work: &Work<'_>) -> bool {
    // What was only confirmed was not switched, so there is nothing to take back.
    !work.is_confirmed()
        && work
            .ready
            .as_ref()
            .is_some_and(|ready| ready.previous.is_some())
}

/// Whether TLS fails now at a place where the baseline worked
fn is_broken(target: &Target, proof: &Proof) -> bool {
    if !matches!(
        proof.verdict,
        Verdict::Broken(_) | Verdict::KeyUnproven { .. }
    ) {
        return false;
    }
    let Ok(name) = DnsName::parse(&proof.name) else {
        return false;
    };
    let worked = |handshake: &Handshake| {
        let served = handshake.outcome.as_ref();
        served.is_ok_and(|served| served.proof == KeyProof::Proven)
    };
    match target.baseline.get(&(name.clone(), proof.address)) {
        Some(before) => worked(before),
        // A restarted container may answer at another address than before.
        None => {
            let mut before = target.baseline.iter();
            before.any(|((before, _), handshake)| *before == name && worked(handshake))
        }
    }
}

/// Between two questions whether a container still runs
const BETWEEN_INSPECTIONS: Duration = Duration::from_secs(1);
