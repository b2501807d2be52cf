//! From a leaf to a root: whether there is a way, and whether what is sent is fit to find it.

use jiff::Timestamp;

use super::certificate::{critical, long_life, malformed, strange_issuer};
use crate::chain::{Certificate, Chain, is_same};
use crate::finding::Finding;
use crate::time::display;
use crate::verify::path::{Flaw, Given, Path, Root, Way};
use crate::verify::proof::covers;

/// Where the chain leads
pub(super) fn path(path: Path, way: &Way<'_>, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Path::Trusted(Root::System) = path {
        findings.extend(long_life(way.chain.leaf()));
    }
    if let Path::Trusted(_) = path {
        findings.extend(short_life_above(way));
    }
    findings.extend(finding(path, way, now));
    findings
}

fn finding(path: Path, way: &Way<'_>, now: Timestamp) -> Option<Finding> {
    Some(match path {
        Path::Trusted(_) => Finding::ok(
            "served.path",
            format!("issued by {}", way.chain.leaf().issuer),
        ),
        Path::SelfSigned => Finding::failure("served.self_signed", "the certificate signed itself")
            .with_cure("it is a placeholder or a test certificate: obtain one from a CA"),
        Path::Incomplete { missing, url } => incomplete(&missing, url),
        Path::UnknownIssuer { issuer } => Finding::failure(
            "served.unknown_issuer",
            format!("no trusted CA issued it: {issuer}"),
        )
        .with_cure("for a private or test CA, name its root: `[verify] trust`, or --trust FILE"),
        Path::IntermediateTime => return out_of_time(way, now),
        Path::OtherSpelling { issuer } => Finding::failure(
            "served.issuer_spelling",
            format!("the name of the issuer, {issuer}, is written in another way in its own certificate"),
        )
        .with_cure("Firefox and rustls compare every byte: have it issued anew by a CA that copies its name"),
        Path::CaAsLeaf => ca_as_leaf(),
        path @ (Path::RootExpired { .. } | Path::RootLimited { .. } | Path::WeakRoot { .. }) => {
            return about_root(path);
        }
        Path::IntermediatePurpose => Finding::failure(
            "served.intermediate_purpose",
            "a certificate above the leaf is not meant for servers (no serverAuth)",
        )
        .with_cure("obtain one from a CA that issues for web servers"),
        Path::Flawed { label, flaw } => flawed(&label, flaw),
        Path::OtherConstraints => Finding::warning(
            "served.other_constraints",
            "a CA above it is bound to names of a kind that certd cannot judge",
        )
        .with_cure("browsers may take it; to have it judged, use a CA bound to DNS names alone"),
        Path::Malformed { reason } => malformed("a certificate on the way", &reason),
        Path::OtherKey {
            issuer,
            below,
            given,
        } => other_key(&issuer, &below, given),
        Path::StrangeRoot { root } => strange_issuer(&format!("the root, {root},")),
        Path::TooLong { found } => Finding::failure(
            "served.long_chain",
            format!("{found} CAs stand between it and the root; Firefox follows six"),
        )
        .with_cure("obtain one from a CA that is nearer to its root"),
        Path::LargeKey(whose) => large_key(&whose),
        Path::Tangled => Finding::failure(
            "served.tangled_chain",
            "its certificates make more ways to a root than certd or Chrome try",
        )
        .with_cure("serve the leaf and its own intermediates alone, as the CA sends them"),
        Path::Damaged { reason } => broken(&reason)
            .with_cure("serve the chain as the CA sent it: a certificate of it is damaged"),
        Path::Broken { reason } => broken(&reason).with_cure("serve the chain as the CA sends it"),
    })
}

fn about_root(path: Path) -> Option<Finding> {
    Some(match path {
        Path::RootExpired { root, until } => Finding::failure(
            "served.root_expired",
            format!(
                "the root that is trusted, {root}, expired at {}",
                display(until)
            ),
        )
        .with_cure("trust the CA's root of today, and renew: what is below an old one is refused"),
        Path::RootLimited { root, limit } => Finding::failure(
            "served.root_limits",
            format!("browsers do not take the root that is trusted, {root}: {limit}"),
        )
        .with_cure("make the CA a root without that limit, trust that, and issue from it"),
        Path::WeakRoot { root, key } => Finding::failure(
            "served.weak_key",
            format!("the key of the root, {root}, is too short: {key}"),
        )
        .with_cure("obtain one from a CA whose root has P-256, or RSA of 2048 bits or more"),
        _ => return None,
    })
}

/// A key beyond what the verifier takes: what browsers make of it is not known
pub(super) fn large_key(whose: &Certificate) -> Finding {
    let evidence = format!(
        "the key of {} is {}: certd cannot judge RSA of more than 8192 bits",
        whose.label(),
        whose.key
    );
    Finding::warning("served.large_key", evidence)
        .with_cure("browsers may take it; CAs have keys of 2048 to 4096 bits")
}

fn broken(reason: &str) -> Finding {
    Finding::failure(BROKEN, format!("the chain does not verify: {reason}"))
}

/// An issuer by its name alone
fn other_key(issuer: &str, below: &str, given: Given) -> Finding {
    let (who, cure) = match given {
        Given::Trusted => (
            format!("the trusted root {issuer}"),
            "it is another CA of that name, or its root was renewed with a new key: name the root that signed it, `[verify] trust` or --trust FILE, or obtain one from the CA of today",
        ),
        Given::Sent => (
            format!("{issuer}, as it is sent,"),
            "serve the chain that the CA sent with this certificate: the CA's key was renewed, or files of two chains are mixed",
        ),
    };
    let evidence = format!("{who} has another key than the one that signed {below}");
    Finding::failure("served.other_key", evidence).with_cure(cure)
}

/// A leaf with CA:TRUE
pub(super) fn ca_as_leaf() -> Finding {
    Finding::failure(
        "served.ca_as_leaf",
        "a CA's own certificate is served as the server's",
    )
    .with_cure("let `ssl_certificate` name the domain's own certificate, followed by its chain")
}

/// A certificate above the leaf that lets no path lead over it
fn flawed(label: &str, flaw: Flaw) -> Finding {
    let (code, evidence, cure) = match flaw {
        Flaw::NoAuthority => (
            "served.not_a_ca",
            format!("{label} has issued it, and is no CA (no CA:TRUE)"),
            "obtain one from a CA, and serve the chain that it sends",
        ),
        Flaw::PathLength { allowed, found } => (
            "served.path_length",
            format!("{label} allows {allowed} CAs below it, and there are {found}"),
            "obtain one from a CA that may issue: its own issuer has forbidden this one",
        ),
        Flaw::Forbids(name) => (
            "served.name_constraints",
            format!("{label} may not issue for {name} (name constraints)"),
            "obtain one from a CA that may issue for every name in it",
        ),
        Flaw::Critical {
            identifier, kind, ..
        } => return critical(&format!("{label}, above the leaf,"), &identifier, kind),
    };
    Finding::failure(code, evidence).with_cure(cure)
}

/// The certificate above the leaf that is not valid now
///
/// Beside an expired leaf one may be found that was not valid in the leaf's time, and is now.
fn out_of_time(way: &Way<'_>, now: Timestamp) -> Option<Finding> {
    // The verifier may have found it on another way than the nearest.
    let others = match way.chain.leaf().validity.contains(now) {
        true => way.chain.above(),
        false => &[],
    };
    let mut above = way.above().chain(others);
    let stale = above.find(|above| !above.validity.contains(now))?;
    let (label, validity) = (stale.label(), stale.validity);
    let evidence = match now < validity.not_before {
        true => format!(
            "{label}, above the leaf, is not valid before {}",
            display(validity.not_before)
        ),
        false => format!(
            "{label}, above the leaf, expired at {}",
            display(validity.not_after)
        ),
    };
    let finding = Finding::failure("served.intermediate_expired", evidence);
    Some(finding.with_cure("serve the chain as the CA sends it today: renew"))
}

/// A certificate above the leaf that ends before it: the leaf is of no use from then on
fn short_life_above(way: &Way<'_>) -> Option<Finding> {
    let until = way.chain.leaf().validity.not_after;
    let mut above = way.above();
    let short = above.find(|above| above.validity.not_after < until)?;
    let evidence = format!(
        "{}, above the leaf, ends before it: at {}",
        short.label(),
        display(short.validity.not_after)
    );
    let finding = Finding::warning("served.short_intermediate", evidence);
    Some(finding.with_cure("renew before that, and serve the chain that the CA sends then"))
}

fn incomplete(missing: &str, url: Option<String>) -> Finding {
    let from = url.map_or_else(String::new, |url| format!(" (to be had from {url})"));
    let evidence = format!("the certificate of the issuer is not sent: {missing}{from}");
    Finding::failure("served.incomplete_chain", evidence).with_cure(
        "`ssl_certificate` must name fullchain.pem, not cert.pem; for a private CA that signs directly, name its root: `[verify] trust`, or --trust FILE",
    )
}

/// A chain whose leaf comes after its issuer, as `cat chain.pem cert.pem` makes it
pub(super) fn leaf_not_first(name: &str, chain: &Chain) -> Option<Finding> {
    if !chain.leaf().is_ca || covers(&chain.leaf().der, name) {
        return None;
    }
    let above = chain.above().iter();
    let place = above.clone().position(|above| covers(&above.der, name))?;
    let evidence = format!(
        "the certificate of {name} is number {} of the chain, after a CA's",
        place + 2
    );
    let finding = Finding::failure("served.leaf_not_first", evidence);
    Some(
        finding
            .with_cure("put it first: cert.pem, then chain.pem; nginx refuses to start otherwise"),
    )
}

/// What is sent in another order than RFC 8446 section 4.4.2 wants, or for nothing
pub(super) fn order(way: &Way<'_>, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    let root = way
        .chain
        .above()
        .iter()
        .position(|above| above.is_self_issued() && above.subject_der == way.top().issuer_der);
    if !way.places.iter().chain(&root).is_sorted() {
        findings.push(
            Finding::warning(
                "served.chain_order",
                "the certificates above the leaf are not in the order in which each signs the one before",
            )
            .with_cure("some clients give up at that: serve the chain as the CA sends it"),
        );
    }
    let above = way.chain.above().iter().enumerate();
    let needless = above.filter(|(place, _)| !way.places.contains(place));
    let needless = needless.filter_map(|(place, above)| {
        let (code, why) = needlessly_sent(way, place, now)?;
        Some((code, above.label(), why))
    });
    let mut counts: Vec<(_, usize)> = Vec::new();
    for told in needless {
        match counts.iter_mut().find(|(other, _)| *other == told) {
            Some((_, count)) => *count += 1,
            None => counts.push((told, 1)),
        }
    }
    let notes = counts.into_iter().map(|((code, label, why), count)| {
        let times = match count {
            1 => String::new(),
            _ => format!(" (it is, {count} times)"),
        };
        Finding::note(code, format!("{label} need not be sent{times}: {why}"))
            .with_cure("serve the chain as the CA sends it")
    });
    findings.extend(notes);
    findings
}

/// A certificate that is no part of the way, where it helps no other client either
///
/// A cross-signed certificate does: an older client may know the other root alone.
fn needlessly_sent(
    way: &Way<'_>,
    place: usize,
    now: Timestamp,
) -> Option<(&'static str, &'static str)> {
    let above = way.chain.above();
    let certificate = &above[place];
    let same = |other: &Certificate| other.fingerprint == certificate.fingerprint;
    let is_used = way.certificates().any(same) || above[..place].iter().any(same);
    let is_issuer = |of: &Certificate| is_same(&certificate.subject_der, &of.issuer_der);
    let reason = if is_used {
        ("served.needless_certificate", "it is sent twice")
    } else if certificate.is_self_issued() {
        ("served.needless_root", "whoever trusts a root has it")
    } else if certificate.ends_early(way.chain.leaf(), now) || certificate.is_weak() {
        (
            "served.needless_certificate",
            "the way to the root does without it",
        )
    } else if way.certificates().chain(above).any(is_issuer) {
        return None;
    } else {
        ("served.needless_certificate", "it is no part of the chain")
    };
    Some(reason)
}

/// Code of a chain that does not verify
pub(super) const BROKEN: &str = "served.signature";
