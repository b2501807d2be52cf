//! From a leaf to a root: whether there is a way, and whether what is sent is fit to find it.

use jiff::Timestamp;

use super::certificate::long_life;
use crate::chain::Chain;
use crate::finding::Finding;
use crate::time::display;
use crate::verify::path::{Path, Root, Trust, judge_path};
use crate::verify::proof::covers;

/// Where the chain leads
pub(super) fn path(chain: &Chain, trust: &Trust, now: Timestamp) -> Vec<Finding> {
    let path = judge_path(chain, trust, now);
    let mut findings = Vec::new();
    if let Path::Trusted(Root::System) = path {
        findings.extend(long_life(chain.leaf()));
    }
    if let Path::Trusted(_) = path {
        findings.extend(short_life_above(chain));
    }
    findings.extend(finding(path, chain, now));
    findings
}

fn finding(path: Path, chain: &Chain, now: Timestamp) -> Option<Finding> {
    Some(match path {
        Path::Trusted(_) => {
            Finding::ok("served.path", format!("issued by {}", chain.leaf().issuer))
        }
        Path::SelfSigned => Finding::failure("served.self_signed", "the certificate signed itself")
            .with_cure("it is a placeholder or a test certificate: obtain one from a CA"),
        Path::Incomplete { missing, url } => incomplete(&missing, url),
        Path::UnknownIssuer { issuer } => Finding::failure(
            "served.unknown_issuer",
            format!("no trusted CA issued it: {issuer}"),
        )
        .with_cure("for a private or test CA, name its root: `[verify] trust`, or --trust FILE"),
        Path::IntermediateTime => return out_of_time(chain, now),
        Path::CaAsLeaf => Finding::failure(
            "served.ca_as_leaf",
            "a CA's own certificate is served as the server's",
        )
        .with_cure(
            "let `ssl_certificate` name the domain's own certificate, followed by its chain",
        ),
        Path::RootExpired { root, until } => Finding::failure(
            "served.root_expired",
            format!(
                "the root that is trusted, {root}, expired at {}",
                display(until)
            ),
        )
        .with_cure("trust the CA's root of today, and renew: what is below an old one is refused"),
        Path::IntermediatePurpose => Finding::failure(
            "served.intermediate_purpose",
            "a certificate above the leaf is not meant for servers (no serverAuth)",
        )
        .with_cure("obtain one from a CA that issues for web servers"),
        Path::Broken { reason } => {
            Finding::failure(BROKEN, format!("the chain does not verify: {reason}")).with_cure(
                "serve the chain as the CA sent it: the file is damaged, or mixed from several",
            )
        }
    })
}

/// The certificate above the leaf that is not valid now
///
/// Beside an expired leaf one may be found that was not valid in the leaf's time, and is now.
fn out_of_time(chain: &Chain, now: Timestamp) -> Option<Finding> {
    let mut above = chain.linked().skip(1);
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
fn short_life_above(chain: &Chain) -> Option<Finding> {
    let until = chain.leaf().validity.not_after;
    let mut above = chain.linked().skip(1);
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
pub(super) fn order(chain: &Chain) -> Vec<Finding> {
    let places = chain.linked_places();
    let mut findings = Vec::new();
    if !places.is_sorted() {
        findings.push(
            Finding::warning(
                "served.chain_order",
                "the certificates above the leaf are not in the order in which each signs the one before",
            )
            .with_cure("some clients give up at that: serve the chain as the CA sends it"),
        );
    }
    let needless = chain
        .above()
        .iter()
        .enumerate()
        .filter(|(place, above)| above.is_self_issued() || !places.contains(place));
    for (_, above) in needless {
        let (code, why) = match above.is_self_issued() {
            true => ("served.needless_root", "whoever trusts a root has it"),
            false => ("served.needless_certificate", "it is no part of the chain"),
        };
        let evidence = format!("{} is sent for nothing: {why}", above.label());
        findings
            .push(Finding::note(code, evidence).with_cure("serve the chain as the CA sends it"));
    }
    findings
}

/// Code of a chain that does not verify
pub(super) const BROKEN: &str = "served.signature";
