//! Whether a chain leads to a trusted root, and if not, why: by rustls's verifier.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use crate::chain::{Certificate, Chain};
use crate::net::roots::{self, TrustError};

/// Roots that are believed, and the algorithms that are known
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// The system's roots and those in these PEM files
    ///
    /// # Errors
    /// [`TrustError`] for a file that cannot be read or holds no certificate.
    pub fn load(
        files: &[PathBuf],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, TrustError> {
        let mut roots = roots::system();
        for path in files {
            roots::add_file(&mut roots, path)?;
        }
        Ok(Self { roots, algorithms })
    }
}

/// Where a chain leads
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// To a trusted root
    Trusted,
    /// Nowhere: the leaf signed itself
    SelfSigned,
    /// A certificate between the leaf and its root was not sent
    Incomplete {
        /// The issuer whose certificate is missing
        missing: String,
        /// Where it can be fetched, if the certificate below says so
        url: Option<String>,
    },
    /// To a root that is not trusted here
    UnknownIssuer {
        /// That issuer
        issuer: String,
    },
    /// A certificate on the way has expired or is not valid yet
    IntermediateTime,
    /// A CA certificate was used as a server's
    CaAsLeaf,
    /// The leaf is not meant for servers (no serverAuth)
    Purpose,
    /// A signature does not verify, or an algorithm is too weak or unknown
    Signature {
        /// The verifier's words
        reason: String,
    },
}

/// Where this chain leads, leaving the leaf's own validity aside
///
/// The path is judged at an instant inside the leaf's validity: an expired leaf is a problem of
/// its own and must not hide a missing intermediate.
pub fn judge_path(chain: &Chain, trust: &Trust, now: Timestamp) -> Path {
    let leaf = CertificateDer::from(chain.leaf().der.as_slice());
    let above: Vec<CertificateDer<'_>> = chain
        .above()
        .iter()
        .map(|certificate| CertificateDer::from(certificate.der.as_slice()))
        .collect();
    let parsed = match ParsedCertificate::try_from(&leaf) {
        Ok(parsed) => parsed,
        Err(error) => return signature(&error),
    };
    let verdict = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &trust.roots,
        &above,
        instant_inside(chain.leaf(), now),
        trust.algorithms.all,
    );
    match verdict {
        Ok(()) => Path::Trusted,
        Err(_) if signed_itself(chain) => Path::SelfSigned,
        Err(Error::InvalidCertificate(error)) => explain(error, chain),
        Err(error) => signature(&error),
    }
}

/// Whether the leaf names itself as its issuer, and no other certificate of that name was sent
fn signed_itself(chain: &Chain) -> bool {
    let leaf = chain.leaf();
    let namesake = |above: &Certificate| {
        above.subject_der == leaf.issuer_der && above.fingerprint != leaf.fingerprint
    };
    leaf.is_self_issued() && !chain.above().iter().any(namesake)
}

fn explain(error: CertificateError, chain: &Chain) -> Path {
    match error {
        CertificateError::UnknownIssuer => unknown_issuer(chain),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Path::IntermediateTime,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Path::Purpose
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            Path::CaAsLeaf
        }
        other => signature(&Error::InvalidCertificate(other)),
    }
}

fn signature(error: &Error) -> Path {
    Path::Signature {
        reason: error.to_string(),
    }
}

/// Tells a chain that lacks a certificate from one that ends at a stranger's root
///
/// The certificates that were sent are followed from issuer to subject. What stands at the end
/// and signed itself is a root that is not trusted. Otherwise its issuer was not sent: public CAs
/// never sign a server's certificate with a root, and name the place of the missing certificate
/// in those of their intermediates.
fn unknown_issuer(chain: &Chain) -> Path {
    let top = top_of(chain);
    let is_leaf = top.fingerprint == chain.leaf().fingerprint;
    if !top.is_self_issued() && (is_leaf || top.ca_issuers.is_some()) {
        return Path::Incomplete {
            missing: top.issuer.clone(),
            url: top.ca_issuers.clone(),
        };
    }
    Path::UnknownIssuer {
        issuer: top.issuer.clone(),
    }
}

/// The last certificate that can be reached from the leaf among those that were sent
fn top_of(chain: &Chain) -> &Certificate {
    let mut top = chain.leaf();
    // Each step uses a certificate up, so that a loop of issuers ends.
    for _ in chain.above() {
        let issuer = chain.above().iter().find(|candidate| {
            candidate.subject_der == top.issuer_der && candidate.fingerprint != top.fingerprint
        });
        match issuer {
            Some(issuer) => top = issuer,
            None => break,
        }
    }
    top
}

/// `now`, or the end of the leaf's validity that is nearer to it
fn instant_inside(leaf: &Certificate, now: Timestamp) -> UnixTime {
    let validity = leaf.validity;
    let inside = if now < validity.not_before {
        validity.not_before
    } else {
        now.min(validity.not_after)
    };
    let seconds = u64::try_from(inside.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
