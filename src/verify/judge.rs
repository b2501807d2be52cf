//! Judging one handshake: name, time, path, key and what was expected, each apart from the
//! others, so that every problem is listed and not only the first.
//!
//! A failure is what a browser refuses or what contradicts the installed certificate; everything
//! else is a warning or a note.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::path::{Path, Trust, judge_path};
use super::proof::covers;
use crate::chain::{Certificate, Chain, Fingerprint};
use crate::config::{MinRemaining, Sharing};
use crate::facts::{ConnectFailure, Handshake, KeyProof, Served};
use crate::finding::{Finding, Severity};
use crate::name::DnsName;
use crate::time::{display, in_words};

/// What a certificate is held against
#[derive(Clone, Debug)]
pub struct Expectation<'e> {
    /// Names that its Common Name may be; empty where only the SAN counts
    pub own_names: &'e [DnsName],
    /// Whether another lineage's certificate is accepted
    pub sharing: Sharing,
    /// Installed certificates of this host; `None` where the storage cannot be read
    pub installed: Option<&'e Installed>,
    /// Life below which a warning is given
    pub min_remaining: MinRemaining,
    /// Roots that are believed
    pub trust: &'e Trust,
}

/// What is known of the certificates in a storage
#[derive(Clone, Debug, Default)]
pub struct Installed {
    /// Primary name of the lineage that should be served
    pub lineage: String,
    /// The live certificate
    pub live: Option<Known>,
    /// Every other certificate in the storage
    pub others: Vec<Known>,
}

/// A certificate in the storage
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Primary name of its lineage
    pub lineage: String,
    /// Number of its generation
    pub generation: u32,
    /// Its fingerprint
    pub fingerprint: Fingerprint,
    /// Its public key, DER
    pub public_key: Vec<u8>,
}

/// Everything to be said of one handshake, the worst first
pub fn judge(handshake: &Handshake, expected: &Expectation<'_>, now: Timestamp) -> Vec<Finding> {
    let mut findings = match &handshake.outcome {
        Err(failure) => vec![connect_failure(handshake, failure)],
        Ok(served) => match Chain::from_der(served.chain.clone()) {
            Ok(chain) => judge_served(handshake, served, &chain, expected, now),
            Err(error) => vec![
                Finding::failure("served.unreadable", error.to_string())
                    .with_cure("let `ssl_certificate` name a PEM file that a CA issued"),
            ],
        },
    };
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn connect_failure(handshake: &Handshake, failure: &ConnectFailure) -> Finding {
    let Handshake { name, address, .. } = handshake;
    let evidence = format!("{address}: {failure}");
    let (code, cure) = match failure {
        ConnectFailure::Refused => (
            "connect.refused",
            format!("nothing listens at {address}: is nginx up, and is the port published?"),
        ),
        ConnectFailure::TimedOut => (
            "connect.timeout",
            format!("no answer from {address}: a firewall, or an address that is not this host"),
        ),
        ConnectFailure::Reset => (
            "connect.reset",
            "the server closed the connection: see its log".to_owned(),
        ),
        ConnectFailure::NoRoute => (
            NO_ROUTE,
            "look from a host that has such addresses".to_owned(),
        ),
        ConnectFailure::Unreachable(_) => (
            "connect.unreachable",
            format!("does {address} still belong to this site? A stale record counts"),
        ),
        ConnectFailure::Alert(alert) if alert == UNRECOGNIZED_NAME => (
            "handshake.unrecognized_name",
            format!("no server block with TLS serves {name}"),
        ),
        ConnectFailure::Alert(alert) if alert == PROTOCOL_VERSION => (
            "handshake.protocol",
            "the server has neither TLS 1.2 nor 1.3: browsers refuse it".to_owned(),
        ),
        ConnectFailure::Alert(_) | ConnectFailure::Handshake(_) => (
            "handshake.failed",
            format!("a server block for {name} may lack a certificate, or its ciphers are too old"),
        ),
        ConnectFailure::NotTls => (
            "handshake.not_tls",
            "the port answers without TLS: `listen 443 ssl` is what it takes".to_owned(),
        ),
    };
    Finding::failure(code, evidence).with_cure(cure)
}

fn judge_served(
    handshake: &Handshake,
    served: &Served,
    chain: &Chain,
    expected: &Expectation<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    let leaf = chain.leaf();
    let mut findings = vec![
        name(handshake, leaf),
        time(leaf, expected.min_remaining, now),
        path(chain, expected.trust, now),
        key(served),
    ];
    findings.extend(common_name(&handshake.name, leaf, expected));
    findings.extend(installed(leaf, expected));
    if served.proof != KeyProof::Proven {
        // Whoever sent the certificate may not be who it names.
        for finding in &mut findings {
            finding.severity = finding.severity.max(Severity::Note);
        }
    }
    findings
}

fn name(handshake: &Handshake, leaf: &Certificate) -> Finding {
    let wanted = &handshake.name;
    if covers(&leaf.der, wanted) {
        return Finding::ok("served.name", format!("valid for {wanted}"));
    }
    let listed = if leaf.names.is_empty() {
        "no name at all".to_owned()
    } else {
        shortened(&leaf.names)
    };
    Finding::failure(
        "served.wrong_name",
        format!("the certificate served for {wanted} is for {listed}"),
    )
    .with_cure(format!(
        "browsers refuse it (NET::ERR_CERT_COMMON_NAME_INVALID): name the certificate of {wanted} in its server block"
    ))
}

fn shortened(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(SHOWN_NAMES)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn time(leaf: &Certificate, least: MinRemaining, now: Timestamp) -> Finding {
    let validity = leaf.validity;
    let left = validity.remaining(now);
    if now < validity.not_before {
        let evidence = format!("not valid before {}", display(validity.not_before));
        return Finding::failure("served.not_yet_valid", evidence)
            .with_cure("is a clock wrong, here or where it was issued?");
    }
    if left < SignedDuration::ZERO {
        let evidence = format!(
            "expired {} ago, at {}",
            in_words(left),
            display(validity.not_after)
        );
        return Finding::failure("served.expired", evidence)
            .with_cure("renew it, and see that nginx is reloaded");
    }
    let percent = (validity.remaining_fraction(now) * 100.0).round();
    let evidence = format!(
        "valid until {} ({} left, {percent}% of its life)",
        display(validity.not_after),
        in_words(left)
    );
    if is_short(leaf, least, now) {
        return Finding::warning("served.expires_soon", evidence)
            .with_cure("its renewal seems to fail: see `certd status`");
    }
    Finding::ok("served.time", evidence)
}

fn is_short(leaf: &Certificate, least: MinRemaining, now: Timestamp) -> bool {
    match least {
        MinRemaining::Fraction(least) => leaf.validity.remaining_fraction(now) < least.as_f64(),
        MinRemaining::Duration(least) => {
            let left = Duration::try_from(leaf.validity.remaining(now)).unwrap_or_default();
            left < least
        }
    }
}

fn path(chain: &Chain, trust: &Trust, now: Timestamp) -> Finding {
    match judge_path(chain, trust, now) {
        Path::Trusted => Finding::ok("served.path", format!("issued by {}", chain.leaf().issuer)),
        Path::SelfSigned => Finding::failure("served.self_signed", "the certificate signed itself")
            .with_cure("it is a placeholder or a test certificate: obtain one from a CA"),
        Path::Incomplete { missing, url } => {
            let from = url.map_or_else(String::new, |url| format!(" (to be had from {url})"));
            Finding::failure(
                "served.incomplete_chain",
                format!("the certificate of the issuer is not sent: {missing}{from}"),
            )
            .with_cure(
                "`ssl_certificate` must name fullchain.pem, not cert.pem; for a private CA that signs directly, add its root to `[verify] trust`",
            )
        }
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
        Path::Purpose => Finding::failure(
            "served.purpose",
            "the certificate is not meant for servers (no serverAuth)",
        )
        .with_cure("obtain one from a CA that issues for web servers"),
        Path::Signature { reason } => Finding::failure(
            "served.signature",
            format!("the chain does not verify: {reason}"),
        )
        .with_cure("serve the chain as the CA sent it: the file is damaged, or mixed from several"),
    }
}

fn key(served: &Served) -> Finding {
    match &served.proof {
        KeyProof::Proven => Finding::ok(
            "served.key",
            format!(
                "key proven in a {} handshake ({})",
                served.protocol, served.cipher
            ),
        ),
        KeyProof::Missing(reason) => Finding::failure(
            "served.key_unproven",
            format!("the server did not prove that it holds the key: {reason}"),
        )
        .with_cure("see the server's log: do certificate and key belong together?"),
    }
}

/// The Common Name, where there is one, must be one of the domain's own names
///
/// Browsers ignore it. certd does not: a name of another domain there means that the certificate
/// was made for that domain, which is the mistake that a shared certificate hides.
fn common_name(asked: &str, leaf: &Certificate, expected: &Expectation<'_>) -> Option<Finding> {
    let common_name = leaf.common_name.as_deref()?;
    let own = |name: &DnsName| name.as_str().eq_ignore_ascii_case(common_name);
    if common_name.eq_ignore_ascii_case(asked) || expected.own_names.iter().any(own) {
        return None;
    }
    let evidence = format!("its Common Name is {common_name}");
    if expected.own_names.is_empty() || expected.sharing == Sharing::Shared {
        return Some(Finding::note("served.other_common_name", evidence));
    }
    Some(
        Finding::failure(
            "served.other_common_name",
            format!("{evidence}, which is another domain's"),
        )
        .with_cure(format!(
            "{asked} should have a certificate of its own; to share one on purpose, set shared = true"
        )),
    )
}

fn installed(leaf: &Certificate, expected: &Expectation<'_>) -> Option<Finding> {
    let installed = expected.installed?;
    let live = installed.live.as_ref()?;
    if leaf.fingerprint == live.fingerprint {
        let evidence = format!("generation {} is served", live.generation);
        return Some(Finding::ok("served.installed", evidence));
    }
    let known = installed
        .others
        .iter()
        .find(|known| known.fingerprint == leaf.fingerprint);
    Some(match known {
        Some(known) if known.lineage == installed.lineage => Finding::failure(
            "served.other_generation",
            format!(
                "generation {} is served, generation {} is live",
                known.generation, live.generation
            ),
        )
        .with_cure("nginx was not reloaded since: run `certd obtain` for it"),
        Some(known) if expected.sharing == Sharing::Shared => Finding::note(
            "served.other_lineage",
            format!("the certificate of {} is served", known.lineage),
        ),
        Some(known) => Finding::failure(
            "served.other_lineage",
            format!(
                "the certificate of {} is served, not that of {}",
                known.lineage, installed.lineage
            ),
        )
        .with_cure(format!(
            "the server block names live/{}/: let it name live/{}/",
            known.lineage, installed.lineage
        )),
        None if leaf.public_key == live.public_key => Finding::failure(
            "served.not_installed",
            format!(
                "another certificate for the installed key is served ({})",
                leaf.fingerprint.short()
            ),
        )
        .with_cure("another program orders with the same key: let one of the two serve this name"),
        None => Finding::failure(
            "served.not_installed",
            format!(
                "a certificate unknown to certd is served ({} from {}, {})",
                leaf.label(),
                leaf.issuer,
                leaf.fingerprint.short()
            ),
        )
        .with_cure("another program or another storage serves this name"),
    })
}

/// Code of an address of a kind that this host cannot reach at all
pub const NO_ROUTE: &str = "connect.no_route";
const UNRECOGNIZED_NAME: &str = "unrecognized_name";
const PROTOCOL_VERSION: &str = "protocol_version";
/// Names of a wrong certificate that are listed
const SHOWN_NAMES: usize = 4;
