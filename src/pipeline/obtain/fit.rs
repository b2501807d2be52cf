//! Whether a chain may take the place of what is live: browsers must not refuse it for its own sake.
//!
//! Trust and time windows are no matter here: a test CA is trusted by nobody, and clocks are judged
//! elsewhere. Where it cannot be told, the chain is fit.

use crate::chain::{Certificate, Chain, is_same};
use crate::install::Unfit;
use crate::pipeline::preflight::issuer_kind;
use crate::pipeline::{Context, Work};
use crate::plan::{self, Goal};
use crate::preflight::judge::dns::IssuerKind;
use crate::store::lineage::{Generation, Lineage};
use crate::verify::judge;
use crate::verify::path::Trust;

/// A chain that is asked to be live, and where it comes from
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'c> {
    pub(super) chain: &'c Chain,
    /// Its number in the archive; `None` where it is not there yet
    pub(super) number: Option<u32>,
    /// Name of its issuer in the configuration; `None` where nobody knows
    pub(super) issuer: Option<&'c str>,
}

/// Holds a chain against what browsers refuse, and against what is live
///
/// # Errors
/// [`Unfit::RefusedByBrowsers`], unless what is live has the same flaw: somebody lives with that, and
/// nothing becomes worse. [`Unfit::Incomplete`] where the CA sent the issuer of the last one, or always
/// does; a first one is taken all the same, and told of by [`alone`].
pub(super) fn judge(
    context: &Context<'_>,
    lineage: &Lineage,
    goal: Goal,
    candidate: Candidate<'_>,
) -> Result<(), Unfit> {
    let chain = candidate.chain;
    if let Some(flaw) = judge::flaw(chain) {
        let before = before(context, lineage, goal, candidate.number);
        let before = before.and_then(|(_, before)| judge::flaw(&before));
        if before.is_none_or(|before| before.code != flaw.code) {
            let reason = flaw.evidence;
            return Err(Unfit::RefusedByBrowsers { reason });
        }
    }
    if !is_alone(chain) {
        return Ok(());
    }
    let before = before(context, lineage, goal, candidate.number);
    let is_of_same = |number: &u32| {
        let before = lineage.record.generations.get(number);
        let before = before.and_then(|before| before.issuer.as_deref());
        before.is_some() && before == candidate.issuer
    };
    let is_worse = match before {
        Some((number, before)) => is_of_same(&number) && has_intermediate(&before),
        None => lineage.live.is_some() && is_of_public_ca(context, candidate.issuer),
    };
    match missing_issuer(context, chain).filter(|_| is_worse) {
        Some(missing) => Err(Unfit::Incomplete { missing }),
        None => Ok(()),
    }
}

/// What is wrong with the first certificate of a domain that is served as it came: a public CA sent it
/// without its issuer
///
/// There was nothing that it could make worse. Whoever runs a private CA may have given the issuer to
/// every client.
pub(super) fn alone(context: &Context<'_>, work: &Work<'_>) -> Option<Unfit> {
    let ready = work.ready.as_ref().filter(|ready| ready.above.is_empty())?;
    let record = &work.lineage.record;
    let is_later = |number: &u32| *number != ready.generation && record.is_proven(*number);
    if work.lineage.generations.iter().any(is_later) {
        return None;
    }
    let origin = record.generations.get(&ready.generation)?;
    if record.is_proven(ready.generation) || !is_of_public_ca(context, origin.issuer.as_deref()) {
        return None;
    }
    let newest = context.store.certificate(work.name(), ready.generation);
    let chain = newest.ok()?.chain;
    let missing = is_alone(&chain).then(|| missing_issuer(context, &chain))?;
    missing.map(|missing| Unfit::Alone { missing })
}

/// Whether a chain is a leaf that another certificate signed, and that came without it
fn is_alone(chain: &Chain) -> bool {
    issuers(chain).next().is_none() && !chain.leaf().is_self_issued()
}

/// Whether the CA of this name is one whose clients know its roots alone
fn is_of_public_ca(context: &Context<'_>, issuer: Option<&str>) -> bool {
    issuer.is_some_and(|issuer| issuer_kind(context, issuer) == IssuerKind::Public)
}

/// The leaf's issuer, where no root that is trusted has signed it
fn missing_issuer(context: &Context<'_>, chain: &Chain) -> Option<String> {
    let algorithms = context.provider.signature_verification_algorithms;
    let trust = Trust::load(&context.config.verify.trust, algorithms).ok()?;
    judge::missing_issuer(chain, &trust, context.now())
}

/// Why the newest generation is not to be deployed; `None` where that is done, or may be
pub(super) fn unfit(
    context: &Context<'_>,
    work: &Work<'_>,
    goal: Goal,
    newest: &Generation,
) -> Option<String> {
    let lineage = &work.lineage;
    if plan::is_done(lineage, newest.number, goal) {
        return None;
    }
    let origin = lineage.record.generations.get(&newest.number);
    let candidate = Candidate {
        chain: &newest.chain,
        number: Some(newest.number),
        issuer: origin.and_then(|origin| origin.issuer.as_deref()),
    };
    let judged = judge(context, lineage, goal, candidate);
    judged.err().map(|unfit| match unfit {
        Unfit::RefusedByBrowsers { reason } => reason,
        other => other.to_string(),
    })
}

/// What is live and as it should be, with its number, where that is not the generation in question
fn before(
    context: &Context<'_>,
    lineage: &Lineage,
    goal: Goal,
    number: Option<u32>,
) -> Option<(u32, Chain)> {
    let counts = |live: &u32| goal == Goal::Live || lineage.record.is_proven(*live);
    let live = lineage.live.filter(|live| Some(*live) != number);
    let live = live.filter(counts)?;
    let before = context.store.certificate(&lineage.name, live).ok()?;
    Some((live, before.chain))
}

/// Whether the leaf's issuer came with it, and is no root: no client has that by itself
fn has_intermediate(chain: &Chain) -> bool {
    issuers(chain).any(|issuer| !issuer.is_self_issued())
}

/// The certificates of the leaf's issuer that came with it
fn issuers(chain: &Chain) -> impl Iterator<Item = &Certificate> {
    let issuer = &chain.leaf().issuer_der;
    let above = chain.above().iter();
    above.filter(|above| is_same(&above.subject_der, issuer))
}
