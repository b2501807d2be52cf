//! From a leaf to a root: whether there is a way, and whether what is sent is fit to find it.

use jiff::Timestamp;

use super::certificate::long_life;
use crate::chain::Chain;
use crate::finding::Finding;
use crate::verify::path::{Path, Root, Trust, judge_path};

/// Where the chain leads
pub(super) fn path(chain: &Chain, trust: &Trust, now: Timestamp) -> Vec<Finding> {
    let path = judge_path(chain, trust, now);
    let mut findings = Vec::new();
    if let Path::Trusted(Root::System) = path {
        findings.extend(long_life(chain.leaf()));
    }
    findings.extend(finding(path, chain));
    findings
}

fn finding(path: Path, chain: &Chain) -> Option<Finding> {
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
        .with_cure("for a private or test CA, add its root to `[verify] trust`"),
        Path::IntermediateTime => Finding::failure(
            "served.intermediate_expired",
            "a certificate between the leaf and its root is not valid now",
        )
        .with_cure("serve the chain as the CA sends it today: renew"),
        Path::CaAsLeaf => Finding::failure(
            "served.ca_as_leaf",
            "a CA's own certificate is served as the server's",
        )
        .with_cure(
            "let `ssl_certificate` name the domain's own certificate, followed by its chain",
        ),
        Path::IntermediatePurpose => Finding::failure(
            "served.intermediate_purpose",
            "a certificate above the leaf is not meant for servers (no serverAuth)",
        )
        .with_cure("obtain one from a CA that issues for web servers"),
        // What is weak has a finding of its own.
        Path::Broken { .. } if is_weak(chain) => return None,
        Path::Broken { reason } => Finding::failure(
            "served.signature",
            format!("the chain does not verify: {reason}"),
        )
        .with_cure("serve the chain as the CA sent it: the file is damaged, or mixed from several"),
    })
}

fn incomplete(missing: &str, url: Option<String>) -> Finding {
    let from = url.map_or_else(String::new, |url| format!(" (to be had from {url})"));
    let evidence = format!("the certificate of the issuer is not sent: {missing}{from}");
    Finding::failure("served.incomplete_chain", evidence).with_cure(
        "`ssl_certificate` must name fullchain.pem, not cert.pem; for a private CA that signs directly, add its root to `[verify] trust`",
    )
}

fn is_weak(chain: &Chain) -> bool {
    chain
        .linked()
        .any(|certificate| certificate.key.is_weak() || certificate.signature.is_weak)
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
