//! Whether a chain leads to a trusted root, and if not, why: by the verifier that rustls uses.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath,
};

use super::memory::Remembering;
use crate::chain::{Certificate, Chain, Purpose};
use crate::net::roots::{TrustError, add_file, system_certificates};

mod cause;
mod flaw;
mod roots;
mod signed;
mod way;

use cause::explain;
pub(super) use cause::read_error;
pub use flaw::Flaw;
use roots::KnownRoot;
pub use roots::Limit;
pub use signed::unsigned;
pub use way::Way;

/// Roots that are believed, and the algorithms that are known
#[derive(Clone, Debug)]
pub struct Trust {
    /// All of them
    roots: RootCertStore,
    /// Those that the operator named
    own: RootCertStore,
    /// What their certificates say, which a trust anchor does not tell
    known: Arc<[KnownRoot]>,
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
        let mut roots = RootCertStore::empty();
        let mut known = Vec::new();
        for path in files {
            let own = add_file(&mut roots, path)?;
            let own = own.iter();
            known.extend(own.filter_map(|der| KnownRoot::of(der, Root::Own)));
        }
        let own = roots.clone();
        let system = system_certificates();
        let systems = system.iter();
        known.extend(systems.filter_map(|der| KnownRoot::of(der, Root::System)));
        roots.add_parsable_certificates(system);
        Ok(Self {
            roots,
            own,
            known: known.into(),
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

    /// The certificates of a root: a CA that renews its root and keeps the key has several
    fn known<'t>(&'t self, anchor: &TrustAnchor<'_>) -> Vec<&'t KnownRoot> {
        let known = self.known.iter();
        known.filter(|root| root.is_of(anchor)).collect()
    }

    /// The roots that an issuer's name is that of
    fn named<'t>(&'t self, below: &'t Certificate) -> impl Iterator<Item = &'t Certificate> {
        let known = self.known.iter().map(|root| &root.certificate);
        known.filter(|root| root.subject_der == below.issuer_der)
    }

    /// One of the system's stays that where the operator names it too
    fn kind_of(&self, anchor: &TrustAnchor<'_>) -> Root {
        let is_systems = |known: &KnownRoot| known.root == Root::System;
        let is_own = || self.own.roots.iter().any(|own| own == anchor);
        match self.known(anchor).into_iter().any(is_systems) || !is_own() {
            true => Root::System,
            false => Root::Own,
        }
    }

    /// Whether a certificate is signed with a key of its own, as a root is, and not with that of
    /// another of its name
    fn is_root(&self, certificate: &Certificate) -> bool {
        certificate.is_self_issued() && self.has_signed(certificate, certificate)
    }

    /// Whether a certificate is signed with the key of another
    fn has_signed(&self, issuer: &Certificate, below: &Certificate) -> bool {
        let der = CertificateDer::from(issuer.der.as_slice());
        let (Ok(key), Some((signed, signature))) = (EndEntityCert::try_from(&der), below.signed())
        else {
            return false;
        };
        let mut algorithms = self.algorithms.iter();
        let verifies = |algorithm| key.verify_signature(algorithm, &signed, &signature).is_ok();
        algorithms.any(|algorithm| verifies(algorithm))
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
    /// To a root that the operator trusts, and whose own limits forbid it
    RootLimited {
        /// That root
        root: String,
        /// Its limit
        limit: Limit,
    },
    /// To an issuer of the right name, whose key has not signed what is below it
    OtherKey {
        /// That issuer
        issuer: String,
        /// What it has not signed
        below: String,
        /// How the issuer came here
        given: Given,
    },
    /// Over more CAs than Firefox and the verifier follow
    TooLong {
        /// As many as there are
        found: usize,
    },
    /// Over this certificate, whose RSA key is too large for the verifier, and nothing else is wrong
    LargeKey(Box<Certificate>),
    /// Over one of more ways than the verifier tries
    Tangled,
    /// To a root whose key is of a kind that browsers do not have
    StrangeRoot {
        /// That root
        root: String,
    },
    /// To a root whose key is too short
    WeakRoot {
        /// That root
        root: String,
        /// Its key
        key: String,
    },
    /// Over a certificate with a flaw of its own
    Flawed {
        /// That certificate
        label: String,
        /// What is wrong with it
        flaw: Flaw,
    },
    /// A certificate on the way has expired or is not valid yet
    IntermediateTime,
    /// A CA certificate was used as a server's
    CaAsLeaf,
    /// A certificate on the way is not meant for servers (no serverAuth)
    IntermediatePurpose,
    /// Over name constraints of a kind that the verifier does not evaluate
    OtherConstraints,
    /// To an issuer whose own certificate has its name written in another way
    OtherSpelling {
        /// The name, as the certificate below has it
        issuer: String,
    },
    /// Over a certificate that the verifier does not read
    Malformed {
        /// The verifier's words
        reason: String,
    },
    /// A signature does not verify, and the certificates are those that should belong together
    Damaged {
        /// The verifier's words
        reason: String,
    },
    /// For a reason that the certificates do not tell
    Broken {
        /// The verifier's words
        reason: String,
    },
}

/// How the certificate of an issuer came here
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// With the chain
    Sent,
    /// It is a root that is trusted
    Trusted,
}

/// Where a chain leads, and by which of its certificates
#[derive(Clone, Debug)]
pub struct Judged<'c> {
    /// Where it leads
    pub path: Path,
    /// The way that was verified, or else the one that comes nearest to a root
    pub way: Way<'c>,
}

/// Where this chain leads, leaving the leaf's own validity and purpose aside
///
/// The path is judged at an instant inside the leaf's validity: an expired leaf is a problem of
/// its own and must not hide a missing intermediate. So is a leaf that is not meant for servers.
pub fn judge_path<'c>(chain: &'c Chain, trust: &Trust, now: Timestamp) -> Judged<'c> {
    let search = Search::new(chain, trust, now);
    let at = inside(chain.leaf(), now);
    let found = match search.way(at, KeyUsage::server_auth()) {
        Err(Error::RequiredEkuNotFoundContext(_)) => match search.way(at, AnyPurpose) {
            Ok(_) if chain.leaf().purpose != Purpose::Other => {
                return Judged {
                    path: Path::IntermediatePurpose,
                    way: Way::likely(chain, trust),
                };
            }
            found => found,
        },
        found => found,
    };
    match found {
        Ok((root, way)) => Judged {
            path: Path::Trusted(root),
            way: search.lasting(&way, at).unwrap_or(way),
        },
        Err(error) => {
            let way = Way::likely(chain, trust);
            let refused = search.refused.into_inner();
            let path = refused.unwrap_or_else(|| explain(error, &way, trust, now));
            Judged { path, way }
        }
    }
}

/// One search for a way from a leaf to a root
struct Search<'a, 'c> {
    chain: &'c Chain,
    trust: &'a Trust,
    now: Timestamp,
    /// Why the first root that was reached does not count
    refused: RefCell<Option<Path>>,
}

impl<'a, 'c> Search<'a, 'c> {
    fn new(chain: &'c Chain, trust: &'a Trust, now: Timestamp) -> Self {
        Self {
            chain,
            trust,
            now,
            refused: RefCell::new(None),
        }
    }

    fn way(
        &self,
        at: Timestamp,
        purpose: impl ExtendedKeyUsageValidator,
    ) -> Result<(Root, Way<'c>), Error> {
        let leaf = CertificateDer::from(self.chain.leaf().der.as_slice());
        let leaf = EndEntityCert::try_from(&leaf)?;
        let above = self.chain.above().iter();
        let above: Vec<CertificateDer<'_>> = above
            .map(|certificate| CertificateDer::from(certificate.der.as_slice()))
            .collect();
        let algorithms = self.trust.algorithms.iter();
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> = algorithms
            .map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm)
            .collect();
        // A way to a root that does not count must not hide one to a root that does.
        let accepts = |path: &VerifiedPath<'_>| match self.refusal(path) {
            None => Ok(()),
            Some(refusal) => {
                self.refused.borrow_mut().get_or_insert(refusal);
                Err(Error::UnknownIssuer)
            }
        };
        let seconds = u64::try_from(at.as_second()).unwrap_or(0);
        let path = leaf.verify_for_usage(
            &algorithms,
            &self.trust.roots.roots,
            &above,
            UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
            purpose,
            None,
            Some(&accepts),
        )?;
        Ok((
            self.trust.kind_of(path.anchor()),
            Way::of(self.chain, &path),
        ))
    }

    /// Why browsers do not take the root at the end of this path: for every certificate of it there
    /// is a reason, and that of the one that lasts longest is told
    fn refusal(&self, path: &VerifiedPath<'_>) -> Option<Path> {
        let below = path.intermediate_certificates().count();
        let mut known = self.trust.known(path.anchor());
        known.sort_by_key(|root| Reverse(root.certificate.validity.not_after));
        let mut refusals = known.iter().map(|root| self.refusal_of(root, below));
        let first = refusals.next()??;
        refusals.all(|refusal| refusal.is_some()).then_some(first)
    }

    fn refusal_of(&self, root: &KnownRoot, below: usize) -> Option<Path> {
        let label = || root.certificate.label().to_owned();
        let until = root.certificate.validity.not_after;
        if until < self.now {
            return Some(Path::RootExpired {
                root: label(),
                until,
            });
        }
        // Browsers take their own roots without looking at what these say.
        if root.root == Root::System {
            return None;
        }
        let limit = roots::limit(&root.certificate, below)?;
        Some(Path::RootLimited {
            root: label(),
            limit,
        })
    }

    /// A way of now that is still there at the leaf's end, where `way` is not
    fn lasting(&self, way: &Way<'c>, at: Timestamp) -> Option<Way<'c>> {
        let until = self.chain.leaf().validity.not_after;
        if way.above().all(|above| above.validity.not_after >= until) {
            return None;
        }
        let (_, other) = self.way(until, KeyUsage::server_auth()).ok()?;
        let is_now = other.above().all(|above| above.validity.contains(at));
        is_now.then_some(other)
    }
}

/// Takes a certificate whatever it is meant for
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

/// `now`, or the end of the leaf's validity that is nearer to it
fn inside(leaf: &Certificate, now: Timestamp) -> Timestamp {
    let validity = leaf.validity;
    match now < validity.not_before {
        true => validity.not_before,
        false => now.min(validity.not_after),
    }
}
