//! Judging one handshake, or one chain in a file: name, time, path, key and what was expected, each
//! apart from the others, so that every problem is listed and not only the first.
//!
//! A failure is what a browser refuses or what contradicts the installed certificate; everything
//! else is a warning or a note.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::path::{Judged, Path, Trust, Way, judge_path, unsigned};
use crate::chain::ocsp::{self, Status};
use crate::chain::{Chain, ChainError, Fingerprint, Stapling};
use crate::config::{MinRemaining, Sharing};
use crate::facts::{ConnectFailure, Handshake, KeyProof, Served};
use crate::finding::{Finding, Severity};
use crate::name::DnsName;

mod certificate;
pub(crate) use certificate::IS_THE_CLOCK_RIGHT;
pub use certificate::WRONG_NAME;
mod links;
mod origin;

/// What a certificate is held against
#[derive(Clone, Debug)]
pub struct Expectation<'e> {
    /// Names that its Common Name may be; empty where only the SAN counts
    pub own_names: &'e [DnsName],
    /// Whether another lineage's certificate is accepted
    pub sharing: Sharing,
    /// Installed certificates of this host; `None` where the storage cannot be read
    pub installed: Option<&'e Installed>,
    /// Beginning of the hexadecimal SHA-256 that it must have, if it must
    pub fingerprint: Option<&'e str>,
    /// Words that its issuer's name must hold, if it must
    pub issuer: Option<&'e str>,
    /// Life below which a warning is given
    pub min_remaining: MinRemaining,
    /// Roots that are believed
    pub trust: &'e Trust,
    /// Which instant it is judged at
    pub moment: Moment,
}

/// Which instant certificates are judged at
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The present, by this host's clock
    Now,
    /// Another, that somebody asked for
    AskedFor,
}

impl<'e> Expectation<'e> {
    /// Whether a certain certificate or issuer is demanded
    fn is_demanding(&self) -> bool {
        self.fingerprint.is_some() || self.issuer.is_some()
    }

    /// What a browser expects of a host that is in no configuration
    pub fn of_browser(trust: &'e Trust) -> Self {
        Self {
            own_names: &[],
            sharing: Sharing::Separate,
            installed: None,
            fingerprint: None,
            issuer: None,
            min_remaining: MinRemaining::Duration(Duration::ZERO),
            trust,
            moment: Moment::Now,
        }
    }
}

/// What is known of the certificates in a storage
#[derive(Clone, Debug, Default)]
pub struct Installed {
    /// Primary name of the lineage that should be served
    pub lineage: String,
    /// The live certificate
    pub live: Option<Known>,
    /// Every certificate in the storage, this one too: one list for all that is judged
    pub all: Arc<[Known]>,
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
    let chain = handshake.outcome.as_ref().ok().map(parse);
    judge_parsed(handshake, chain.as_ref(), expected, now)
}

/// The chain that was served
///
/// # Errors
/// As [`Chain::from_der`].
pub fn parse(served: &Served) -> Result<Chain, ChainError> {
    Chain::from_der(served.chain.clone())
}

/// As [`judge`], with what [`parse`] gave where something was served
pub fn judge_parsed(
    handshake: &Handshake,
    chain: Option<&Result<Chain, ChainError>>,
    expected: &Expectation<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings = match (&handshake.outcome, chain) {
        (Err(failure), _) => {
            let finding = connect_failure(handshake, failure);
            match expected.is_demanding() {
                // What was demanded was not seen.
                true => vec![finding.at_least(Severity::Failure)],
                false => vec![finding],
            }
        }
        (Ok(served), Some(Ok(chain))) => judge_served(handshake, served, chain, expected, now),
        (Ok(_), Some(Err(error))) => vec![unreadable(error)],
        (Ok(_), None) => vec![unreadable(&ChainError::Empty)],
    };
    findings.sort_by_key(|finding| Reverse(finding.severity));
    findings
}

fn unreadable(error: &ChainError) -> Finding {
    Finding::failure("served.unreadable", error.to_string())
        .with_cure("let `ssl_certificate` name a PEM file that a CA issued")
}

/// Everything to be said of a chain that is asked to be `name`'s, wherever it was found, the worst
/// first
pub fn judge_chain(
    name: &str,
    chain: &Chain,
    expected: &Expectation<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    let leaf = chain.leaf();
    if let Some(finding) = links::leaf_not_first(name, chain) {
        // Whatever else there is to be said would be said of the wrong certificate.
        return vec![finding];
    }
    if let Some(finding) = certificate::unknown_extension(leaf) {
        return vec![finding, certificate::time(leaf, expected, now)];
    }
    if let Some(finding) = certificate::unreadable(leaf) {
        return vec![finding, certificate::time(leaf, expected, now)];
    }
    let mut findings = Vec::from_iter(certificate::name(name, leaf));
    findings.push(certificate::time(leaf, expected, now));
    let Judged { path, way } = judge_path(chain, expected.trust, now);
    let weak = certificate::weakness(&way);
    let path = links::path(path, &way, now);
    let purpose = certificate::purpose(&way);
    // What is weak or malformed breaks the path, and says better why.
    let is_malformed = |finding: &Finding| finding.code == certificate::MALFORMED;
    let is_known = !weak.is_empty() || purpose.iter().any(is_malformed);
    let general = [links::BROKEN, certificate::MALFORMED];
    let is_told = |finding: &Finding| general.contains(&finding.code) && is_known;
    findings.extend(path.into_iter().filter(|finding| !is_told(finding)));
    findings.extend(weak);
    findings.extend(links::order(&way, now));
    findings.extend(purpose);
    findings.extend(origin::common_name(name, leaf, expected));
    findings.extend(origin::installed(leaf, expected));
    findings.extend(origin::wanted(leaf, expected));
    findings.sort_by_key(|finding| Reverse(finding.severity));
    findings
}

/// Why browsers refuse a chain's leaf for what that says of itself, whoever signed it and whatever the
/// time is; `None` where it does not speak against itself
///
/// Whether its kind of signature counts is left to whoever trusts the CA: not only browsers may be
/// its clients.
pub fn flaw(chain: &Chain) -> Option<Finding> {
    let leaf = chain.leaf();
    let way = Way::of_leaf(chain);
    let unread = certificate::unknown_extension(leaf).or_else(|| certificate::unreadable(leaf));
    let of_ca = leaf.is_ca.then(|| Finding {
        evidence: "it is a CA's own (CA:TRUE)".to_owned(),
        ..links::ca_as_leaf()
    });
    let told = unread.into_iter().chain(of_ca);
    let told = told.chain(certificate::purpose(&way));
    let mut told = told.chain(certificate::weakness(&way));
    told.find(|finding| {
        let of_kind = [certificate::KEY_KIND, certificate::SIGNATURE_KIND];
        finding.severity == Severity::Failure && !of_kind.contains(&finding.code)
    })
}

/// That the certificates of a chain have not signed each other, whoever is trusted
pub fn broken_link(chain: &Chain, trust: &Trust) -> Option<Finding> {
    let (below, issuer) = unsigned(chain, trust)?;
    let evidence = format!(
        "{} has not signed {}, and came with it as its issuer",
        issuer.label(),
        below.label()
    );
    Some(Finding::failure(links::BROKEN, evidence))
}

/// Why no client that trusts these roots alone takes a chain; `None` where one does, or where that
/// cannot be judged
pub fn distrust(chain: &Chain, trust: &Trust, now: Timestamp) -> Option<String> {
    let Judged { path, way } = judge_path(chain, trust, now);
    match path {
        Path::Trusted(_) => None,
        Path::UnknownIssuer { issuer: root } | Path::Incomplete { missing: root, .. } => {
            Some(format!("it leads to {root}, which is no root of this host"))
        }
        path => {
            let mut told = links::path(path, &way, now).into_iter();
            let failure = told.find(|finding| finding.severity == Severity::Failure);
            failure.map(|finding| finding.evidence)
        }
    }
}

/// The issuer whose certificate was not sent, where no trusted root is that either
pub fn missing_issuer(chain: &Chain, trust: &Trust, now: Timestamp) -> Option<String> {
    match judge_path(chain, trust, now).path {
        Path::Incomplete { missing, .. } => Some(missing),
        _ => None,
    }
}

fn judge_served(
    handshake: &Handshake,
    served: &Served,
    chain: &Chain,
    expected: &Expectation<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings = judge_chain(&handshake.name, chain, expected, now);
    let leaf = chain.leaf();
    if leaf.key.is_large() {
        findings.push(links::large_key(leaf));
    } else if !leaf.key.is_weak() {
        // With a weak key nothing can be proven, and that it is weak is said already.
        findings.push(key(served));
    }
    findings.extend(staple(chain, served));
    if served.proof != KeyProof::Proven {
        // Whoever sent the certificate may not be who it names.
        for finding in &mut findings {
            finding.severity = finding.severity.max(Severity::Note);
        }
    }
    findings
}

fn connect_failure(handshake: &Handshake, failure: &ConnectFailure) -> Finding {
    let Handshake { name, address, .. } = handshake;
    let evidence = format!("{address}: {failure}");
    let (code, cure) = match failure {
        ConnectFailure::OtherCipher(suite) if browsers_have(suite) => {
            // It is no verdict on the certificate, and not a browser's.
            return Finding::warning("handshake.other_cipher", evidence).with_cure(
                "certd cannot judge this server, and a browser may connect: offer ECDHE with AES-GCM or ChaCha20 (`ssl_ciphers`)",
            );
        }
        ConnectFailure::OtherCipher(_) => ("handshake.old_cipher", OLD_CIPHER.to_owned()),
        ConnectFailure::OtherGroup => ("handshake.other_group", OTHER_GROUP.to_owned()),
        ConnectFailure::NoDescriptor => return Finding::no_descriptor(evidence),
        ConnectFailure::Refused => (
            "connect.refused",
            format!("nothing listens at {address}: is nginx up, and is the port published?"),
        ),
        ConnectFailure::TimedOut => (
            "connect.timeout",
            format!("no answer from {address}: a firewall, or an address that is not this host"),
        ),
        ConnectFailure::Silent => ("handshake.timeout", SILENT.to_owned()),
        ConnectFailure::Reset => (
            "connect.reset",
            "the server closed the connection: see its log".to_owned(),
        ),
        ConnectFailure::NoRoute | ConnectFailure::Unreachable(_) => {
            (NO_ROUTE, "look from a host that has a way there".to_owned())
        }
        ConnectFailure::Alert(alert) if alert == UNRECOGNIZED_NAME => (
            "handshake.unrecognized_name",
            format!("no server block with TLS serves {name}"),
        ),
        ConnectFailure::OldProtocol(_) => ("handshake.protocol", OLD.to_owned()),
        ConnectFailure::Alert(alert) if alert == PROTOCOL_VERSION => {
            ("handshake.protocol", OLD.to_owned())
        }
        ConnectFailure::Alert(_) | ConnectFailure::Handshake(_) => (
            "handshake.failed",
            format!("see the server's log: a server block for {name} may lack a certificate"),
        ),
        ConnectFailure::TooLarge => (
            "handshake.too_large",
            "serve the leaf and its intermediates alone, not a bundle of roots".to_owned(),
        ),
        ConnectFailure::NotTls => ("handshake.not_tls", NOT_TLS.to_owned()),
        ConnectFailure::NoStartTls(_) => (
            "handshake.no_starttls",
            "switch STARTTLS on in the server, or look at its port that begins with TLS".to_owned(),
        ),
    };
    Finding::failure(code, evidence).with_cure(cure)
}

fn key(served: &Served) -> Finding {
    match &served.proof {
        KeyProof::Proven if served.protocol.is_empty() => Finding::ok(
            "served.key",
            "key proven; then the server ended the handshake, as one that wants a client's certificate does",
        ),
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

/// Whether Chrome or Firefox has a cipher suite that rustls has not: some with CBC or with RSA key
/// exchange, and none with finite-field Diffie-Hellman, 3DES or RC4
fn browsers_have(suite: &str) -> bool {
    let gone = ["_DHE_", "_3DES_", "_RC4_"];
    !gone.iter().any(|gone| suite.contains(gone))
}

/// What a stapled OCSP response says, and whether one is demanded that says that all is well
///
/// Firefox refuses a certificate that demands one and comes without.
fn staple(chain: &Chain, served: &Served) -> Option<Finding> {
    let leaf = chain.leaf();
    let response = served.staple.as_deref();
    let evidence = match response.map(|response| ocsp::status(response, leaf)) {
        Some(Status::Revoked) => {
            let evidence = "its CA has revoked it: the OCSP response that the server sends says so";
            return Some(Finding::failure("served.revoked", evidence).with_cure(
                "browsers refuse it: obtain a new one, after asking the CA why this one is revoked",
            ));
        }
        Some(Status::Good) => return None,
        Some(Status::Unknown) => {
            "the certificate demands an OCSP response (must-staple), and the one that came does not say that it is good"
        }
        None => "the certificate demands an OCSP response (must-staple), and none came",
    };
    (leaf.stapling == Stapling::Demanded).then(|| {
        Finding::failure("served.staple_missing", evidence).with_cure(
            "set `ssl_stapling on`, or obtain one without must-staple: Let's Encrypt has no OCSP any more",
        )
    })
}

/// A certificate at one address that is not the one at another: visitors get the one or the other
///
/// `place` is what the evidence begins with; the fingerprints are in hexadecimal.
pub fn differs(place: &str, own: &str, other: &str, at: &str) -> Finding {
    let [own, other] = [own, other].map(short);
    let evidence = format!("{place} shows another certificate ({own}) than {at} ({other})");
    Finding::warning("served.differs", evidence).with_cure(ONE_FOR_ALL)
}

/// The same where none of the addresses is to blame: each with the fingerprint that it shows
pub fn differ(shown: &[(String, String)]) -> Finding {
    let shown = shown
        .iter()
        .map(|(at, whole)| format!("{} at {at}", short(whole)));
    let shown: Vec<String> = shown.collect();
    let evidence = format!(
        "its addresses show different certificates: {}",
        shown.join(", ")
    );
    Finding::warning("served.differs", evidence).with_cure(ONE_FOR_ALL)
}

/// A fingerprint as far as people compare it
fn short(whole: &str) -> &str {
    whole.get(..8).unwrap_or(whole)
}

/// Whether a private key belongs to a chain's leaf, by its public half in DER
pub fn pairing(chain: &Chain, public_key: &[u8]) -> Finding {
    match chain.leaf().public_key == public_key {
        true => Finding::ok("served.key", "the key belongs to the certificate"),
        false => Finding::failure(
            "served.key_mismatch",
            "the key is not the certificate's: a server does not start with the two",
        )
        .with_cure("take both from one generation: the files of one directory belong together"),
    }
}

/// Code of an address of a kind that this host cannot reach at all
pub const NO_ROUTE: &str = "connect.no_route";
const ONE_FOR_ALL: &str =
    "deploy the same one to every server of this name; a stale record points elsewhere";
const UNRECOGNIZED_NAME: &str = "unrecognized_name";
const PROTOCOL_VERSION: &str = "protocol_version";
const OLD_CIPHER: &str =
    "no browser of today has it: offer ECDHE with AES-GCM or ChaCha20 (`ssl_ciphers`)";
const OTHER_GROUP: &str = "Chrome has no other: leave `ssl_ecdh_curve` at its default, or add X25519 and P-256 (`prime256v1`) to it";
const SILENT: &str =
    "somebody takes the connection there and says nothing of TLS: is it the right port?";
const NOT_TLS: &str =
    "the port answers without TLS: `listen 443 ssl` is what it takes; for mail, --starttls";
const OLD: &str = "browsers refuse it: let `ssl_protocols` name TLSv1.2 and TLSv1.3";

#[cfg(test)]
mod tests;
