//! Whether a chain leads to a trusted root, and if not, why: by the verifier that rustls uses.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};

use super::memory::Remembering;
use crate::chain::{Certificate, Chain, Purpose};
use crate::net::roots::{self, TrustError};

/// Roots that are believed, and the algorithms that are known
#[derive(Clone, Debug)]
pub struct Trust {
    /// All of them
    roots: RootCertStore,
    /// Those that the operator named
    own: RootCertStore,
    /// When each of them ends, which a trust anchor does not tell
    ends: Arc<[Ends]>,
    algorithms: Arc<[Remembering]>,
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
        let mut own = RootCertStore::empty();
        let mut all = Vec::new();
        for path in files {
            all.extend(roots::add_file(&mut own, path)?);
        }
        let mut roots = own.clone();
        let system = roots::system_certificates();
        roots.add_parsable_certificates(system.iter().cloned());
        all.extend(system);
        let ends = all.into_iter().filter_map(Ends::of).collect();
        Ok(Self {
            roots,
            own,
            ends,
            algorithms: algorithms
                .all
                .iter()
                .map(|algorithm| Remembering::new(*algorithm))
                .collect(),
        })
    }

    /// Whether there is no root at all: then nothing can be trusted
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    fn ends_of(&self, anchor: &TrustAnchor<'_>) -> Option<&Ends> {
        let mut ends = self.ends.iter();
        ends.find(|ends| ends.is_of(anchor))
    }

    fn kind_of(&self, anchor: &TrustAnchor<'_>) -> Root {
        match self.own.roots.iter().any(|own| own == anchor) {
            true => Root::Own,
            false => Root::System,
        }
    }
}

/// When a root ends
#[derive(Debug)]
struct Ends {
    label: String,
    /// Name and key, as a trust anchor has them: the contents of their sequences
    subject: Vec<u8>,
    public_key: Vec<u8>,
    until: Timestamp,
}

impl Ends {
    /// `None` for what is no certificate to [`Chain`]: its end is then not known
    fn of(root: CertificateDer<'static>) -> Option<Self> {
        let root = Chain::from_der(vec![root.to_vec()]).ok()?;
        let root = root.leaf();
        Some(Self {
            label: root.label().to_owned(),
            subject: root.subject_der.clone(),
            public_key: root.public_key.clone(),
            until: root.validity.not_after,
        })
    }

    fn is_of(&self, anchor: &TrustAnchor<'_>) -> bool {
        self.subject.ends_with(&anchor.subject)
            && self.public_key.ends_with(&anchor.subject_public_key_info)
    }
}

/// Whose word a root is believed on
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The system's, as browsers have it
    System,
    /// The operator's, who named its file
    Own,
}

/// Where a chain leads
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// To a trusted root
    Trusted(Root),
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
    /// To a trusted root that has expired: browsers hold roots to their dates too
    RootExpired {
        /// That root
        root: String,
        /// Its end
        until: Timestamp,
    },
    /// A certificate on the way has expired or is not valid yet
    IntermediateTime,
    /// A CA certificate was used as a server's
    CaAsLeaf,
    /// A certificate on the way is not meant for servers (no serverAuth)
    IntermediatePurpose,
    /// A signature does not verify, an algorithm is unknown, or a constraint is broken
    Broken {
        /// The verifier's words
        reason: String,
    },
}

/// Where this chain leads, leaving the leaf's own validity and purpose aside
///
/// The path is judged at an instant inside the leaf's validity: an expired leaf is a problem of
/// its own and must not hide a missing intermediate. So is a leaf that is not meant for servers.
pub fn judge_path(chain: &Chain, trust: &Trust, now: Timestamp) -> Path {
    match way(chain, trust, now, KeyUsage::server_auth()) {
        Ok(root) => root.judged(now),
        Err(Error::RequiredEkuNotFoundContext(_)) => match way(chain, trust, now, AnyPurpose) {
            Ok(root) if chain.leaf().purpose == Purpose::Other => root.judged(now),
            Ok(_) => Path::IntermediatePurpose,
            Err(error) => explain(error, chain),
        },
        Err(error) => explain(error, chain),
    }
}

/// The root at which a way from the leaf ends
struct End<'t> {
    root: Root,
    ends: Option<&'t Ends>,
}

impl End<'_> {
    fn judged(self, now: Timestamp) -> Path {
        match self.ends.filter(|ends| ends.until < now) {
            Some(ends) => Path::RootExpired {
                root: ends.label.clone(),
                until: ends.until,
            },
            None => Path::Trusted(self.root),
        }
    }
}

fn way<'t>(
    chain: &Chain,
    trust: &'t Trust,
    now: Timestamp,
    purpose: impl ExtendedKeyUsageValidator,
) -> Result<End<'t>, Error> {
    let leaf = CertificateDer::from(chain.leaf().der.as_slice());
    let leaf = EndEntityCert::try_from(&leaf)?;
    let above: Vec<CertificateDer<'_>> = chain
        .above()
        .iter()
        .map(|certificate| CertificateDer::from(certificate.der.as_slice()))
        .collect();
    let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = trust
        .algorithms
        .iter()
        .map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm)
        .collect();
    let path = leaf.verify_for_usage(
        &algorithms,
        &trust.roots.roots,
        &above,
        instant_inside(chain.leaf(), now),
        purpose,
        None,
        None,
    )?;
    let anchor = path.anchor();
    Ok(End {
        root: trust.kind_of(anchor),
        ends: trust.ends_of(anchor),
    })
}

/// Takes a certificate whatever it is meant for
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
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

fn explain(error: Error, chain: &Chain) -> Path {
    if signed_itself(chain) {
        return Path::SelfSigned;
    }
    match error {
        Error::UnknownIssuer => unknown_issuer(chain),
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => Path::IntermediateTime,
        Error::CaUsedAsEndEntity => Path::CaAsLeaf,
        other => Path::Broken {
            reason: in_words(&other),
        },
    }
}

/// The verifier's words, `NameConstraintViolation` as `name constraint violation`
fn in_words(error: &Error) -> String {
    let words = error.to_string();
    let mut text = String::new();
    for c in words.chars().take_while(|c| c.is_ascii_alphanumeric()) {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Tells a chain that lacks a certificate from one that ends at a stranger's root
///
/// The certificates that were sent are followed from issuer to subject. What stands at the end
/// and signed itself is a root that is not trusted. Otherwise its issuer was not sent: public CAs
/// never sign a server's certificate with a root, and name the place of the missing certificate
/// in those of their intermediates.
fn unknown_issuer(chain: &Chain) -> Path {
    let top = chain.top();
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
