//! Why a chain leads to no root: from the verifier's one reason, and what the certificates say.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use webpki::{EndEntityCert, Error};

use super::flaw::{self, Flaw};
use super::signed::may_have_signed;
use super::{Given, Path, Trust, Way};
use crate::chain::{Certificate, Chain, KeyKind, Purpose};

/// Whether the leaf names itself as its issuer, and no other certificate of that name was sent
fn signed_itself(chain: &Chain) -> bool {
    let leaf = chain.leaf();
    let namesake = |above: &Certificate| {
        above.subject_der == leaf.issuer_der && above.fingerprint != leaf.fingerprint
    };
    leaf.is_self_issued() && !chain.above().iter().any(namesake)
}

pub(super) fn explain(error: Error, way: &Way<'_>, trust: &Trust, now: Timestamp) -> Path {
    if signed_itself(way.chain) {
        return Path::SelfSigned;
    }
    match error {
        Error::UnknownIssuer => unknown_issuer(way, trust),
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => Path::IntermediateTime,
        Error::CaUsedAsEndEntity => Path::CaAsLeaf,
        Error::MaximumSignatureChecksExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => Path::Tangled,
        other => flawed(&other, way, trust)
            .or_else(|| unfit(way, now))
            .or_else(|| other_key(way, trust))
            .or_else(|| large_key(way, trust))
            .unwrap_or_else(|| by_verifier(other, way)),
    }
}

/// What is left of the verifier's reasons, where no certificate of the likely way tells one
fn by_verifier(error: Error, way: &Way<'_>) -> Path {
    let reason = in_words(&error);
    match error {
        Error::MaximumPathDepthExceeded => Path::TooLong {
            found: way.places.len(),
        },
        Error::BadDer
        | Error::BadDerTime
        | Error::UnsupportedCertVersion
        | Error::EmptyEkuExtension
        | Error::ExtensionValueInvalid
        | Error::InvalidCertValidity
        | Error::InvalidNetworkMaskConstraint
        | Error::InvalidSerialNumber
        | Error::MalformedDnsIdentifier
        | Error::MalformedExtensions
        | Error::SignatureAlgorithmMismatch
        | Error::TrailingData(_) => Path::Malformed { reason },
        // A kind that browsers do not take is told by the certificate itself.
        Error::UnsupportedSignatureAlgorithmContext(_) => Path::Malformed {
            reason: OTHER_PARAMETERS.to_owned(),
        },
        Error::EndEntityUsedAsCa => {
            flaw_anywhere(way, |flaw| *flaw == Flaw::NoAuthority).unwrap_or(Path::Broken { reason })
        }
        Error::UnsupportedCriticalExtension => {
            flaw_anywhere(way, |flaw| matches!(flaw, Flaw::Critical { .. }))
                .unwrap_or(Path::Broken { reason })
        }
        Error::InvalidSignatureForPublicKey => Path::Damaged { reason },
        _ => Path::Broken { reason },
    }
}

/// A way on which nothing is wrong but that the verifier does not take a key as large as one of it has
fn large_key(way: &Way<'_>, trust: &Trust) -> Option<Path> {
    let is_large = |issuer: &Certificate| issuer.key.is_large();
    let top = way.top();
    let is_good = |issuer: &Certificate, below: &Certificate| {
        is_large(issuer) || trust.has_signed(issuer, below)
    };
    let are_good = links(way).all(|(below, issuer)| is_good(issuer, below))
        && trust.named(top).any(|root| is_good(root, top));
    let mut issuers = way.above().chain(trust.named(top));
    let large = issuers.find(|issuer| is_large(issuer))?;
    are_good.then(|| Path::LargeKey(Box::new(large.clone())))
}

/// Each certificate of a way, with the issuer that was sent for it
fn links<'c>(way: &Way<'c>) -> impl Iterator<Item = (&'c Certificate, &'c Certificate)> {
    way.certificates().zip(way.above())
}

/// A flaw of this kind in any certificate that was sent: the verifier tried more than the likely way
fn flaw_anywhere(way: &Way<'_>, is_sought: impl Fn(&Flaw) -> bool) -> Option<Path> {
    let mut above = way.chain.above().iter();
    above.find_map(|certificate| {
        let flaw = flaw::of(certificate, 0).filter(&is_sought)?;
        Some(Path::Flawed {
            label: certificate.label().to_owned(),
            flaw,
        })
    })
}

/// The first certificate of the way that was not signed with the key of its issuer
///
/// Where the identifiers of the two keys are the same, the certificate itself must be damaged. Keys
/// and signatures that the verifier does not have, and issuers that it does not read, are told as that.
fn other_key(way: &Way<'_>, trust: &Trust) -> Option<Path> {
    let is_other = |issuer: &Certificate, below: &Certificate| {
        let is_damaged = issuer.key_id.is_some() && issuer.key_id == below.issuer_key_id;
        !is_damaged && !may_have_signed(trust, issuer, below)
    };
    let told = |issuer: &Certificate, below: &Certificate, given| Path::OtherKey {
        issuer: issuer.label().to_owned(),
        below: below.label().to_owned(),
        given,
    };
    let mut links = links(way);
    if let Some((below, issuer)) = links.find(|(below, issuer)| is_other(issuer, below)) {
        return Some(told(issuer, below, Given::Sent));
    }
    let top = way.top();
    let mut roots = trust.named(top).peekable();
    let first = *roots.peek()?;
    roots
        .all(|root| is_other(root, top))
        .then(|| told(first, top, Given::Trusted))
}

/// What the verifier does not tell where it has tried a root with the name of an intermediate: that
/// the key of that root has not signed outranks all else
fn unfit(way: &Way<'_>, now: Timestamp) -> Option<Path> {
    if way.above().any(|above| above.purpose == Purpose::Other) {
        return Some(Path::IntermediatePurpose);
    }
    let is_stale = |above: &Certificate| !above.validity.contains(now);
    way.above().any(is_stale).then_some(Path::IntermediateTime)
}

/// Why the verifier does not read a certificate at all
pub(in crate::verify) fn read_error(certificate: &Certificate) -> Option<String> {
    let der = CertificateDer::from(certificate.der.as_slice());
    let error = EndEntityCert::try_from(&der).err()?;
    Some(in_words(&error))
}

/// The certificate for whose sake the verifier finds no way
///
/// The verifier tells one of many reasons and no certificate, so that what the certificates say
/// counts first.
fn flawed(error: &Error, way: &Way<'_>, trust: &Trust) -> Option<Path> {
    let roots = || trust.named(way.top());
    let of = |certificate: &Certificate, flaw| Path::Flawed {
        label: certificate.label().to_owned(),
        flaw,
    };
    if let Some((certificate, flaw)) = flaw::above_the_leaf(way) {
        return Some(of(certificate, flaw));
    }
    // The verifier reads no name with a dot at its end, and Chrome does.
    let of_names = [
        Error::NameConstraintViolation,
        Error::MalformedNameConstraint,
    ];
    if of_names.contains(error) {
        let mut limited = way.above().chain(roots()).enumerate();
        let limited = limited.find_map(|(place, above)| {
            let name = flaw::forbidden_name(above, &way.chain.leaf().names);
            // The leaf, and the CAs between it and this one.
            let below = || way.certificates().take(place + 1);
            let name = name.or_else(|| flaw::forbidden_subject(above, below()))?;
            Some(of(above, Flaw::Forbids(name)))
        });
        return Some(limited.unwrap_or(Path::OtherConstraints));
    }
    let root = roots().next()?;
    let label = || root.label().to_owned();
    if roots().all(|root| root.key.is_weak()) {
        return Some(Path::WeakRoot {
            root: label(),
            key: root.key.to_string(),
        });
    }
    let are_strange = roots().all(|root| root.key == KeyKind::Other);
    are_strange.then(|| Path::StrangeRoot { root: label() })
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
fn unknown_issuer(way: &Way<'_>, trust: &Trust) -> Path {
    let top = way.top();
    let known = trust.known.iter().map(|root| &root.certificate);
    let mut others = way.chain.above().iter().chain(known);
    if others.any(|other| top.names_otherwise(other)) {
        return Path::OtherSpelling {
            issuer: top.issuer.clone(),
        };
    }
    let is_leaf = top.fingerprint == way.chain.leaf().fingerprint;
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

/// What is wrong with a certificate whose kind of signature is known, and which the verifier does not
/// know all the same
const OTHER_PARAMETERS: &str =
    "its signature algorithm has other parameters than RFC 4055 and RFC 5758 give it";
