//! Whether a chain may take the place of what is live: browsers must not refuse it for its own sake.
//!
//! Trust counts only where the last chain of the same CA has it: a test CA is trusted by nobody. Clocks
//! are judged elsewhere. Where it cannot be told, the chain is fit.

use jiff::{SignedDuration, Timestamp};

use crate::chain::{Certificate, Chain, is_same};
use crate::finding::{Explain, Finding};
use crate::install::Unfit;
use crate::name::DnsName;
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

/// Holds a chain against what browsers refuse, and against what is live; gives what is to be told of
/// one that is taken all the same
///
/// # Errors
/// [`Unfit::RefusedByBrowsers`], unless what is live has the same flaw: somebody lives with that, and
/// nothing becomes worse. [`Unfit::Incomplete`] where the CA sent the issuer of the last one, or always
/// does; a first one is taken all the same, and told of by [`alone`]. [`Unfit::Untrusted`] where the last
/// one of that CA is trusted, until that ends.
pub(super) fn judge(
    context: &Context<'_>,
    lineage: &Lineage,
    goal: Goal,
    candidate: Candidate<'_>,
) -> Result<Option<Finding>, Unfit> {
    let chain = candidate.chain;
    let trust = context.trust().ok();
    let before = || before(context, lineage, goal, candidate.number);
    if let Some(flaw) = flaw(chain, trust) {
        let before = before().and_then(|(_, before)| self::flaw(&before, trust));
        if before.is_none_or(|before| before.code != flaw.code) {
            let reason = flaw.evidence;
            return Err(Unfit::RefusedByBrowsers { reason });
        }
    }
    let (Some(trust), before) = (trust, before()) else {
        return Ok(None);
    };
    let is_of_same = |number: &u32| {
        let before = lineage.record.generations.get(number);
        let before = before.and_then(|before| before.issuer.as_deref());
        before.is_some() && before == candidate.issuer
    };
    let same = before.as_ref().filter(|(number, _)| is_of_same(number));
    let same = same.map(|(_, before)| before);
    if is_alone(chain) {
        let is_worse = match &before {
            Some(_) => same.is_some_and(has_intermediate),
            None => lineage.live.is_some() && is_of_public_ca(context, candidate.issuer),
        };
        let missing = judge::missing_issuer(chain, trust, context.now());
        if let Some(missing) = missing.filter(|_| is_worse) {
            return Err(Unfit::Incomplete { missing });
        }
    }
    match same {
        Some(before) => hold_against(before, chain, trust, &lineage.name, context.now()),
        None => Ok(None),
    }
}

/// Whether a chain is trusted by this host where the one before it is
///
/// This host's roots may be old, and only a new one is known to visitors. Shortly before the one that is
/// live ends the other is the better risk: it is taken, and told of.
fn hold_against(
    before: &Chain,
    chain: &Chain,
    trust: &Trust,
    domain: &DnsName,
    now: Timestamp,
) -> Result<Option<Finding>, Unfit> {
    let validity = before.leaf().validity;
    if now >= validity.not_after || judge::distrust(before, trust, now).is_some() {
        return Ok(None);
    }
    let Some(reason) = judge::distrust(chain, trust, now) else {
        return Ok(None);
    };
    let until = validity.not_after - LAST_RESORT.min(validity.lifetime() / 4);
    let unfit = Unfit::Untrusted {
        domain: domain.clone(),
        reason,
        until,
    };
    if now < until {
        return Err(unfit);
    }
    let told = Finding::warning(unfit.code(), unfit.to_string());
    Ok(Some(told.with_cure(
        "it is taken, for what was live ends. Look at the site with a browser; update ca-certificates on this host, or name the CA's root in `[verify] trust`",
    )))
}

/// What browsers refuse a chain for, whoever its CA is
fn flaw(chain: &Chain, trust: Option<&Trust>) -> Option<Finding> {
    judge::flaw(chain).or_else(|| judge::broken_link(chain, trust?))
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
    judge::missing_issuer(chain, context.trust().ok()?, context.now())
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
        Unfit::RefusedByBrowsers { reason } => format!("browsers refuse it: {reason}"),
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

/// Before the end of what is live, or a quarter of its life if that is less
const LAST_RESORT: SignedDuration = SignedDuration::from_hours(48);

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn root(name: &str) -> Issuer {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A certificate of these days, which ends at the beginning of `until`
    fn issued(issuer: &Issuer, until: i32) -> Chain {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), issuer);
        Chain::from_pem(leaf.unwrap().pem().as_bytes()).unwrap()
    }

    fn trust(root: &Issuer) -> Trust {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(root.pem().as_bytes()).unwrap();
        let algorithms = default_provider().signature_verification_algorithms;
        Trust::load(&[file.path().to_owned()], algorithms).unwrap()
    }

    #[test]
    fn what_is_not_trusted_waits_until_what_is_trusted_ends() {
        let (known, strange) = (root("Known"), root("Strange"));
        let trust = trust(&known);
        let (before, good, bad) = (
            issued(&known, 2027),
            issued(&known, 2028),
            issued(&strange, 2028),
        );
        let domain = DnsName::parse("a.test").unwrap();
        let at = |before: &Chain, chain: &Chain, now: &str| {
            let judged = hold_against(before, chain, &trust, &domain, now.parse().unwrap());
            match judged {
                Ok(None) => "taken",
                Ok(Some(_)) => "taken, and told",
                Err(_) => "refused",
            }
        };
        assert_eq!(at(&before, &good, "2026-12-01T00:00:00Z"), "taken");
        assert_eq!(at(&before, &bad, "2026-12-01T00:00:00Z"), "refused");
        assert_eq!(at(&before, &bad, "2026-12-29T23:00:00Z"), "refused");
        assert_eq!(at(&before, &bad, "2026-12-30T01:00:00Z"), "taken, and told");
        assert_eq!(at(&before, &bad, "2027-01-01T01:00:00Z"), "taken");
        assert_eq!(
            at(&issued(&strange, 2027), &bad, "2026-12-01T00:00:00Z"),
            "taken"
        );
    }
}
