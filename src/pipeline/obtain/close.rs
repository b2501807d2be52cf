//! The closing step of a target: live, tested, reloaded, proven, and back where it must be.

use std::time::Instant;

use futures_util::future::join_all;

use super::prove::{self, Broken};
use super::reload::{has_ended, reload, reload_containers};
use super::target::{Target, is_file_of, open};
use super::tested::{BROKEN, Before, Tested, Untested, test, test_as_it_is};
use super::words;
use crate::config::{ConfigTest, Reload};
use crate::finding::Finding;
use crate::pipeline::defect::{caught, caught_now};
use crate::pipeline::{Context, Previous, Work};
use crate::report::{Stage, StageResult};
use crate::store::lineage::LineageError;
use crate::verify::proof::{self, Verdict, Wanted};

/// Deploys every ready domain of a target, with one reload
///
/// A configuration that nginx refused before the orders were placed, and refuses still, is not
/// reloaded: what was ordered waits in the archive.
pub(super) async fn close(context: &Context<'_>, target: &mut Target, works: &mut [Work<'_>]) {
    if target.before == Before::Refused && put_off(context, target, works).await {
        return sync_links(context, target, works);
    }
    open(target, works)
        .filter(|work| work.ready.is_some())
        .for_each(|work| {
            let begun = Instant::now();
            if let Err(defect) = caught_now(|| switch(context, work)) {
                work.fail(Stage::Switch, begun, &defect);
            }
        });
    if open(target, works).next().is_none() {
        return;
    }
    if target.nginx.test == ConfigTest::Run {
        test_all(context, target, works).await;
    }
    sync_links(context, target, works);
    if open(target, works).next().is_none() || !reload(context, target, works).await {
        return;
    }
    let broken = prove::prove(context, target, works).await;
    if !broken.is_empty() {
        roll_back(context, target, works, broken).await;
    }
}

/// Ends the domains whose new generation waits until nginx's configuration is mended; `false`
/// where that was done meanwhile
///
/// A first generation is made live all the same: once the rest is mended, nginx must not miss it.
async fn put_off(context: &Context<'_>, target: &Target, works: &mut [Work<'_>]) -> bool {
    let tested = test_as_it_is(context, target, works).await;
    for work in open(target, works) {
        let begun = Instant::now();
        work.findings.retain(|finding| finding.code != BROKEN);
        let Tested::Barred(untested @ Untested::Refused { .. }) = &tested else {
            continue;
        };
        if work.lineage.live.is_none() {
            switch(context, work);
        }
        if work.is_open() {
            work.fail_with(Stage::Test, begun, untested.puts_off());
        }
    }
    open(target, works).next().is_none()
}

fn switch(context: &Context<'_>, work: &mut Work<'_>) {
    let Some(ready) = &work.ready else { return };
    let generation = ready.generation;
    if work.lineage.live == Some(generation) {
        return;
    }
    let begun = work.begin(Stage::Switch);
    match context.store.switch(work.name(), generation) {
        Ok(()) => {
            work.lineage.live = Some(generation);
            work.done(
                Stage::Switch,
                begun,
                format!("generation {generation} is live"),
            );
        }
        Err(error) => work.fail(Stage::Switch, begun, &LineageError::from(error)),
    }
}

/// Has the live links on disk that nginx is to read, and those that went back
fn sync_links(context: &Context<'_>, target: &Target, works: &mut [Work<'_>]) {
    let begun = Instant::now();
    if let Err(error) = context.store.sync_live() {
        let finding = Finding::from_error(&error);
        for work in open(target, works) {
            work.fail_with(Stage::Switch, begun, finding.clone());
        }
    }
}

/// What came of pointing the live link elsewhere
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pointed {
    /// It names that generation now
    Live,
    /// It names what it named before: there is no such generation, or the link cannot be changed
    Stays,
}

/// Makes the previous generation live again, if there is one
fn point_back(context: &Context<'_>, work: &mut Work<'_>) -> Pointed {
    let previous = work
        .ready
        .as_ref()
        .and_then(|ready| ready.previous.as_ref());
    match previous.map(|previous| previous.generation) {
        Some(generation) => point(context, work, generation),
        None => Pointed::Stays,
    }
}

fn point(context: &Context<'_>, work: &mut Work<'_>, generation: u32) -> Pointed {
    match context.store.switch(work.name(), generation) {
        Ok(()) => {
            work.lineage.live = Some(generation);
            Pointed::Live
        }
        Err(error) => {
            tracing::error!(domain = %work.name(), generation, %error, "cannot switch");
            Pointed::Stays
        }
    }
}

/// `nginx -t` for all at once; domain by domain only when that fails
async fn test_all(context: &Context<'_>, target: &mut Target, works: &mut [Work<'_>]) {
    let begun = Instant::now();
    for work in open(target, works) {
        work.begin(Stage::Test);
    }
    let Err(untested) = test_containers(target).await else {
        return target.note(Stage::Test, begun, StageResult::Done, "nginx -t passed");
    };
    target.note(Stage::Test, begun, StageResult::Failed, "nginx -t failed");
    let mut candidates = Vec::new();
    for member in &target.members {
        let work = &mut works[*member];
        if work.is_open() && point_back(context, work) == Pointed::Live {
            candidates.push(*member);
        }
    }
    let blocked = match untested {
        Untested::Refused { .. } => test_containers(target).await,
        Untested::Docker(_) | Untested::NoNginx { .. } | Untested::Elsewhere { .. } => {
            return fail_all(context, target, works, &untested, begun);
        }
    };
    match blocked {
        Ok(()) => test_apart(context, target, works, candidates, &untested).await,
        Err(untested) => fail_all(context, target, works, &untested, begun),
    }
}

/// Finds the new generations that nginx refuses, and makes all others live: `untested` is what it said
/// of all at once
///
/// Each test reads the whole configuration, so there are as few as may be: whom nginx names is taken
/// out, and where it names nobody each half is tested, beside what has passed by then.
async fn test_apart(
    context: &Context<'_>,
    target: &Target,
    works: &mut [Work<'_>],
    candidates: Vec<usize>,
    untested: &Untested,
) {
    let mut groups = divide(context, target, works, candidates, untested);
    while let Some(group) = groups.pop() {
        for member in &group {
            point_on(context, &mut works[*member]);
        }
        if let Err(untested) = test_containers(target).await {
            for member in &group {
                point_back(context, &mut works[*member]);
            }
            groups.extend(divide(context, target, works, group, &untested));
        }
    }
}

/// Ends those of a refused group that are known to be to blame; gives the groups to be tested next,
/// the last one first
fn divide(
    context: &Context<'_>,
    target: &Target,
    works: &mut [Work<'_>],
    mut group: Vec<usize>,
    untested: &Untested,
) -> Vec<Vec<usize>> {
    let begun = Instant::now();
    let is_named = |member: &usize| names(context, target, &works[*member], untested);
    let guilty = match (untested, group.len()) {
        (Untested::Docker(_) | Untested::NoNginx { .. } | Untested::Elsewhere { .. }, _)
        | (_, 1) => std::mem::take(&mut group),
        (Untested::Refused { .. }, _) => group.extract_if(.., |member| is_named(member)).collect(),
    };
    let is_divided = guilty.is_empty();
    for member in guilty {
        let work = &mut works[member];
        let finding = refused(context, target, work, untested);
        work.fail_with(Stage::Test, begun, finding);
        note_back(work, begun);
    }
    if group.is_empty() {
        return Vec::new();
    }
    let second = match is_divided {
        true => group.split_off(group.len().div_ceil(2)),
        false => Vec::new(),
    };
    let groups = [second, group].into_iter();
    groups.filter(|group| !group.is_empty()).collect()
}

/// Makes the new generation live again
fn point_on(context: &Context<'_>, work: &mut Work<'_>) {
    if let Some(generation) = work.ready.as_ref().map(|ready| ready.generation) {
        point(context, work, generation);
    }
}

/// Says in the report which generation is live again
fn note_back(work: &mut Work<'_>, begun: Instant) {
    if let Some(live) = work.lineage.live {
        work.done(
            Stage::Rollback,
            begun,
            format!("generation {live} is live again"),
        );
    }
}

/// Nothing can be loaded, whatever is live: the configuration itself, or a first certificate
fn fail_all(
    context: &Context<'_>,
    target: &Target,
    works: &mut [Work<'_>],
    untested: &Untested,
    begun: Instant,
) {
    for work in open(target, works) {
        let finding = refused(context, target, work, untested);
        let is_back = work.lineage.live != work.ready.as_ref().map(|ready| ready.generation);
        work.fail_with(Stage::Test, begun, finding);
        if is_back {
            note_back(work, begun);
        }
    }
}

async fn test_containers(target: &Target) -> Result<(), Untested> {
    for container in &target.containers {
        test(target, container).await?;
    }
    Ok(())
}

/// What nginx's refusal means for one domain
fn refused(
    context: &Context<'_>,
    target: &Target,
    work: &Work<'_>,
    untested: &Untested,
) -> Finding {
    let (container, said, stumble) = match untested {
        Untested::Refused {
            container,
            words,
            stumble,
        } => (container, words, stumble.as_ref()),
        other => return other.finding(),
    };
    let guilt = match stumble {
        Some(_) if !names(context, target, work, untested) => words::Guilt::Others,
        _ => words::Guilt::Own,
    };
    let lives = target.lives_in(context, container);
    words::refused(work.name(), container, said, stumble, guilt, &lives)
}

/// Whether nginx stumbled over a file of the domain's live generation
fn names(context: &Context<'_>, target: &Target, work: &Work<'_>, untested: &Untested) -> bool {
    match untested {
        Untested::Refused {
            container,
            stumble: Some(stumble),
            ..
        } => is_file_of(
            &target.lives_in(context, container),
            work.name(),
            &stumble.path,
        ),
        _ => false,
    }
}

/// Back to the previous generation, a reload, and a look whether that helped
async fn roll_back(
    context: &Context<'_>,
    target: &mut Target,
    works: &mut [Work<'_>],
    broken: Vec<Broken>,
) {
    let begun = Instant::now();
    let pointed = point_all_back(context, target, works, broken, begun);
    if let Err(error) = context.store.sync_live() {
        tracing::error!(%error, "a power cut may bring the new generation back");
    }
    let reloaded = reload_containers(target).await;
    let result = match reloaded {
        Ok(_) => StageResult::Done,
        Err(_) => StageResult::Failed,
    };
    target.note(Stage::Reload, begun, result, "after the rollback");
    let ended = match target.nginx.reload {
        Reload::Restart => target.engine.ended(&target.containers).await,
        Reload::Exec | Reload::Signal => Vec::new(),
    };
    if let Some(first) = ended.first() {
        let ended = has_ended(first, target.told);
        for (broken, container, previous) in pointed {
            let work = &works[broken.member];
            let healing = words::Healing::StillBroken;
            let Finding { evidence, .. } = words::rolled_back(
                work,
                &container,
                &broken.proof,
                previous.generation,
                healing,
            );
            let finding =
                Finding::failure("proof.broken", format!("{evidence}\n{}", ended.evidence));
            let cure = ended.cure.clone().unwrap_or_default();
            works[broken.member].fail_with(Stage::Rollback, begun, finding.with_cure(cure));
        }
        return;
    }
    for (member, finding) in join_all(looks_after(context, target, works, pointed)).await {
        works[member].fail_with(Stage::Rollback, begun, finding);
    }
}

/// Points each live link at the generation before; gives those for which that was possible
fn point_all_back(
    context: &Context<'_>,
    target: &Target,
    works: &mut [Work<'_>],
    broken: Vec<Broken>,
    begun: Instant,
) -> Vec<(Broken, String, Previous)> {
    let mut pointed = Vec::new();
    for broken in broken {
        let container = target.name_at(works, broken.proof.address);
        let work = &mut works[broken.member];
        work.begin(Stage::Rollback);
        let stays = point_back(context, work) == Pointed::Stays;
        let ready = work.ready.as_ref().filter(|_| !stays);
        match ready.and_then(|ready| Some((ready.generation, ready.previous.clone()?))) {
            Some((generation, previous)) => {
                work.lineage.record.rolled_back = Some(generation);
                pointed.push((broken, container, previous));
            }
            None => work.fail_with(
                Stage::Rollback,
                begun,
                words::not_rolled_back(&container, &broken.proof),
            ),
        }
    }
    pointed
}

/// Looks whether the previous generations are served again; gives what is said of each domain
fn looks_after<'t>(
    context: &'t Context<'_>,
    target: &'t Target,
    works: &'t [Work<'_>],
    pointed: Vec<(Broken, String, Previous)>,
) -> impl Iterator<Item = impl Future<Output = (usize, Finding)> + 't> {
    let patience = context.patience.reload;
    pointed
        .into_iter()
        .map(move |(broken, container, previous)| async move {
            let observer = &target.observer(context);
            let wanted = Wanted::only(previous.fingerprint);
            let proof = &broken.proof;
            let (name, address) = (proof.name.as_str(), proof.address);
            let after = caught(proof::wait_for(observer, name, address, &wanted, patience)).await;
            let healing = match after.map(|after| after.verdict) {
                Ok(Verdict::Proven { .. }) => words::Healing::Served,
                _ => words::Healing::StillBroken,
            };
            let work = &works[broken.member];
            let previous = previous.generation;
            let finding = words::rolled_back(work, &container, proof, previous, healing);
            let finding = match &broken.trouble {
                Some(trouble) => trouble.explain(finding),
                None => finding,
            };
            (broken.member, finding)
        })
}
