//! What the certificate of a root says beyond its name and key, and which of it browsers obey.

use std::fmt;

use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::Root;
use crate::chain::{Basic, Certificate, Chain, CriticalKind, Purpose};

/// The certificate of a root that is trusted
#[derive(Debug)]
pub(super) struct KnownRoot {
    pub(super) certificate: Certificate,
    /// Whose word it is believed on
    pub(super) root: Root,
    anchor: TrustAnchor<'static>,
}

impl KnownRoot {
    /// `None` for what is no certificate to [`Chain`]: what it says is then not known
    pub(super) fn of(der: &CertificateDer<'_>, root: Root) -> Option<Self> {
        let chain = Chain::from_der(vec![der.to_vec()]).ok()?;
        Some(Self {
            certificate: chain.leaf().clone(),
            root,
            anchor: webpki::anchor_from_trusted_cert(der).ok()?.to_owned(),
        })
    }

    /// Whether this is what the verifier knows of it: two certificates of one root may be the same
    pub(super) fn is_of(&self, anchor: &TrustAnchor<'_>) -> bool {
        self.anchor == *anchor
    }
}

/// Why browsers take nothing by way of a root that a person has added
///
/// Chrome obeys what such a root says (RFC 5937), and Firefox looks at every root as it looks at an
/// intermediate. Name constraints are for the verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// CA:FALSE
    NoAuthority,
    /// Version 2 or 3 without basic constraints
    NoBasicConstraints,
    /// Key usage without certificate signing
    SignsNothing,
    /// Extended key usage without servers
    OtherPurpose,
    /// A critical extension that is not known
    Critical(String),
    /// More CAs below it than it allows
    PathLength {
        /// As many as there may be
        allowed: u32,
        /// As many as there are
        found: usize,
    },
    /// It does not keep to RFC 5280
    Malformed(String),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAuthority => f.write_str("it is not a CA (CA:FALSE)"),
            Self::NoBasicConstraints => {
                f.write_str("it does not say that it is a CA (no basic constraints)")
            }
            Self::SignsNothing => {
                f.write_str("it may not sign certificates (keyUsage without keyCertSign)")
            }
            Self::OtherPurpose => f.write_str("it is not meant for servers (no serverAuth)"),
            Self::Critical(identifier) => {
                write!(f, "it has an unknown critical extension, {identifier}")
            }
            Self::PathLength { allowed, found } => {
                write!(f, "it allows {allowed} CAs below it, and there are {found}")
            }
            Self::Malformed(reason) => f.write_str(reason),
        }
    }
}

/// The first limit of a root that a path with so many CAs below it breaks
pub(super) fn limit(root: &Certificate, below: usize) -> Option<Limit> {
    let path_length = match root.basic {
        Basic::NoAuthority => return Some(Limit::NoAuthority),
        Basic::Absent => return Some(Limit::NoBasicConstraints),
        // Both browsers believe an old root that its owner has added; Firefox none of version 2.
        Basic::Version1 => None,
        Basic::Authority { path_length } => path_length,
    };
    if !root.key_usage.signs_certificates {
        return Some(Limit::SignsNothing);
    }
    if root.purpose == Purpose::Other {
        return Some(Limit::OtherPurpose);
    }
    let critical = root.critical.as_ref();
    if let Some(critical) = critical.filter(|found| found.kind != CriticalKind::Policies) {
        return Some(Limit::Critical(critical.identifier.clone()));
    }
    if let Some(reason) = &root.malformed {
        return Some(Limit::Malformed(reason.clone()));
    }
    let allowed =
        path_length.filter(|allowed| below > usize::try_from(*allowed).unwrap_or(below))?;
    Some(Limit::PathLength {
        allowed,
        found: below,
    })
}
