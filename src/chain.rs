//! A parsed certificate chain: names, validity, serial, fingerprint, and which key it belongs to.
//!
//! It parses, it does not judge: whether a name matches or a path is trusted is for
//! [`crate::verify`]. Bounds keep a hostile chain cheap.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Serialize, Serializer};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{X509Name, X509Version};

use crate::finding::excerpt;
use crate::name::DnsName;
use crate::time::Validity;

mod algorithm;
mod extensions;
mod names;
pub mod ocsp;
pub mod pem;

pub use algorithm::{KeyKind, Signature, Standing};
use extensions::Extensions;
pub use extensions::{Basic, Critical, CriticalKind, KeySigns, NameLimits, Purpose, Stapling};
pub use names::{is_same, is_within};
use pem::PemError;

/// A chain in the order in which it was sent, its leaf first; never empty
#[derive(Clone, Debug)]
pub struct Chain {
    leaf: Certificate,
    above: Vec<Certificate>,
}

impl Chain {
    /// The chain in a PEM text, its leaf first
    ///
    /// # Errors
    /// [`ChainError`] for a text without a certificate, one that is too long, or one whose
    /// certificates do not parse.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ChainError> {
        Self::from_der(pem::certificates(pem, pem::Use::Chain)?)
    }

    /// The chain of these DER certificates, the leaf first
    ///
    /// # Errors
    /// As [`Chain::from_pem`].
    pub fn from_der(ders: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        if ders.len() > MAX_CERTIFICATES {
            return Err(ChainError::TooMany { found: ders.len() });
        }
        let mut certificates = Vec::with_capacity(ders.len());
        for (position, der) in ders.into_iter().enumerate() {
            certificates.push(Certificate::parse(der).map_err(|reason| {
                ChainError::Certificate {
                    position: position + 1,
                    reason,
                }
            })?);
        }
        let mut certificates = certificates.into_iter();
        let leaf = certificates.next().ok_or(ChainError::Empty)?;
        Ok(Self {
            leaf,
            above: certificates.collect(),
        })
    }

    /// The first certificate, the server's own
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The certificates after the leaf, in the order sent
    pub fn above(&self) -> &[Certificate] {
        &self.above
    }

    /// Places in [`Self::above`] of the certificates by which the leaf leads up, by the names of
    /// their issuers alone, in that order
    pub fn linked_places(&self) -> Vec<usize> {
        let mut places = Vec::new();
        let mut top = &self.leaf;
        // Each step uses a certificate up, so that a loop of issuers ends.
        while !top.is_self_issued() {
            let issuer = self.above.iter().position(|above| {
                above.subject_der == top.issuer_der && above.fingerprint != top.fingerprint
            });
            match issuer {
                Some(place) if !places.contains(&place) => {
                    places.push(place);
                    top = &self.above[place];
                }
                _ => break,
            }
        }
        places
    }
}

/// One X.509 certificate (RFC 5280), reduced to what certd asks of it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate as received
    pub der: Vec<u8>,
    /// Subject as text; empty for a certificate that is named by its SAN alone
    pub subject: String,
    /// Issuer as text
    pub issuer: String,
    /// Subject in DER, for comparing with an issuer
    pub subject_der: Vec<u8>,
    /// Issuer in DER, for comparing with a subject
    pub issuer_der: Vec<u8>,
    /// Last Common Name of the subject, if there is one
    pub common_name: Option<String>,
    /// DNS names and IP addresses of the subject alternative name, in order
    pub names: Vec<String>,
    /// Validity period
    pub validity: Validity,
    /// Serial number in hexadecimal, leading zeros kept
    pub serial: String,
    /// Subject public key info in DER
    pub public_key: Vec<u8>,
    /// Kind and size of the public key; `None` for kinds that certd does not order
    pub key_type: Option<KeyType>,
    /// Kind and size of the public key, whoever ordered it
    pub key: KeyKind,
    /// How the issuer signed it
    pub signature: Signature,
    /// SHA-256 of the DER
    pub fingerprint: Fingerprint,
    /// Whether basic constraints say CA:TRUE
    pub is_ca: bool,
    /// Whether it may issue others
    pub basic: Basic,
    /// Identifier of its own key (RFC 5280 section 4.2.1.2)
    pub key_id: Option<Vec<u8>>,
    /// Identifier of the key that signed it (RFC 5280 section 4.2.1.1)
    pub issuer_key_id: Option<Vec<u8>>,
    /// For which names it may issue
    pub name_limits: Option<NameLimits>,
    /// What stands in it against RFC 5280, and makes a browser refuse it
    pub malformed: Option<String>,
    /// A critical extension that rustls's verifier does not know
    pub critical: Option<Critical>,
    /// What its key may sign
    pub key_usage: KeySigns,
    /// What it may be used for (RFC 5280 section 4.2.1.12)
    pub purpose: Purpose,
    /// Whether it demands an OCSP response in every handshake (RFC 7633)
    pub stapling: Stapling,
    /// First URL from which the issuer's certificate can be fetched (RFC 5280 section 4.2.2.1)
    pub ca_issuers: Option<String>,
    /// First URL at which the issuer answers by OCSP
    pub ocsp: Option<String>,
    /// First URL at which the issuer lists what it revoked (RFC 5280 section 4.2.1.13)
    pub crl: Option<String>,
    /// Number of signed certificate timestamps in it (RFC 6962 section 3.3)
    pub scts: usize,
}

impl Certificate {
    fn parse(der: Vec<u8>) -> Result<Self, &'static str> {
        if der.len() > MAX_CERTIFICATE {
            return Err("it is larger than 64 KiB");
        }
        let (rest, x509) = X509Certificate::from_der(&der).map_err(|_| "it is no X.509 DER")?;
        if !rest.is_empty() {
            return Err("bytes follow its end");
        }
        let extensions = Extensions::of(&x509);
        let basic = match (extensions.basic, x509.version()) {
            (Some(basic), _) => basic,
            (None, X509Version::V1) => Basic::Version1,
            (None, _) => Basic::Absent,
        };
        let validity = Validity {
            not_before: timestamp(x509.validity().not_before.timestamp()),
            not_after: timestamp(x509.validity().not_after.timestamp()),
        };
        Ok(Self {
            subject: excerpt(&x509.subject().to_string(), MOST_WORDS),
            issuer: excerpt(&x509.issuer().to_string(), MOST_WORDS),
            subject_der: x509.subject().as_raw().to_vec(),
            issuer_der: x509.issuer().as_raw().to_vec(),
            common_name: common_name(x509.subject()),
            names: alternative_names(&x509)?,
            validity,
            serial: hex(x509.raw_serial()),
            public_key: x509.public_key().raw.to_vec(),
            key_type: key_type(&x509),
            key: KeyKind::of(x509.public_key()),
            signature: Signature::of(&x509.signature_algorithm),
            fingerprint: Fingerprint::of(&der),
            is_ca: x509.is_ca(),
            basic,
            key_id: extensions.key_id,
            issuer_key_id: extensions.issuer_key_id,
            name_limits: extensions.name_limits,
            malformed: malformed(&x509).or(extensions.malformed),
            critical: extensions.critical,
            key_usage: extensions.key_usage,
            purpose: extensions.purpose,
            stapling: extensions.stapling,
            ca_issuers: extensions.ca_issuers,
            ocsp: extensions.ocsp,
            crl: extensions.crl,
            scts: extensions.scts,
            der,
        })
    }

    /// What its issuer signed, and the signature, as they stand in it
    pub fn signed(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (_, x509) = X509Certificate::from_der(&self.der).ok()?;
        let signed = x509.tbs_certificate.as_ref().to_vec();
        Some((signed, x509.signature_value.data.to_vec()))
    }

    /// Whether subject and issuer are the same name
    pub fn is_self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }

    /// Whether its issuer is the subject of another, which is written in another way there
    pub fn names_otherwise(&self, other: &Self) -> bool {
        self.issuer_der != other.subject_der && is_same(&self.issuer_der, &other.subject_der)
    }

    /// Whether it is not valid now, or ends before this leaf does
    pub fn ends_early(&self, leaf: &Self, now: Timestamp) -> bool {
        !self.validity.contains(now) || self.validity.not_after < leaf.validity.not_after
    }

    /// Whether its key, or the signature on it, is too weak for browsers
    pub fn is_weak(&self) -> bool {
        self.key.is_weak() || self.signature.is_weak()
    }

    /// Whether the SAN lists exactly this name (wildcards are not expanded)
    pub fn lists(&self, name: &DnsName) -> bool {
        self.names
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(name.as_str()))
    }

    /// The name that people know it by: its Common Name, else its first SAN, else its subject
    pub fn label(&self) -> &str {
        match (&self.common_name, self.names.first()) {
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => &self.subject,
        }
    }
}

/// What stands in a certificate against RFC 5280, its extensions aside
fn malformed(x509: &X509Certificate<'_>) -> Option<String> {
    let is_nameless = x509.subject().iter().next().is_none();
    let san = x509.subject_alternative_name().ok().flatten();
    let (from, until) = (x509.validity().not_before, x509.validity().not_after);
    let reason = match x509.version() {
        _ if until < from => "it ends before it begins",
        _ if is_nameless && x509.is_ca() => "it is a CA without a name",
        _ if is_nameless && san.is_some_and(|san| !san.critical) => {
            "its subject is empty, and its SAN is not marked as critical"
        }
        X509Version::V1 if !x509.extensions().is_empty() => "version 1 has no extensions",
        X509Version::V1 | X509Version::V3 => return None,
        X509Version(number) => {
            return Some(format!(
                "it is of X.509 version {}",
                number.saturating_add(1)
            ));
        }
    };
    Some(reason.to_owned())
}

/// The last instant of all stands for "without end" (RFC 5280 section 4.1.2.5), an hour later than
/// what jiff has
fn timestamp(seconds: i64) -> Timestamp {
    let nearest = match seconds < 0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    };
    Timestamp::from_second(seconds).unwrap_or(nearest)
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_by_oid(&OID_X509_COMMON_NAME)
        .last()
        .and_then(|attribute| attribute.as_str().ok())
        .map(|name| excerpt(name, MOST_WORDS))
}

fn alternative_names(x509: &X509Certificate<'_>) -> Result<Vec<String>, &'static str> {
    let extension = x509
        .subject_alternative_name()
        .map_err(|_| "its SAN stands in it twice or does not parse")?;
    let Some(extension) = extension else {
        return Ok(Vec::new());
    };
    Ok(extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(excerpt(name, MOST_WORDS)),
            GeneralName::IPAddress(octets) => ip_address(octets),
            _ => None,
        })
        .collect())
}

fn ip_address(octets: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(octets).ok()?;
    Some(std::net::Ipv6Addr::from(v6).to_string())
}

fn key_type(x509: &X509Certificate<'_>) -> Option<KeyType> {
    match x509.public_key().parsed().ok()? {
        PublicKey::EC(point) => match point.key_size() {
            256 => Some(KeyType::P256),
            384 => Some(KeyType::P384),
            _ => None,
        },
        PublicKey::RSA(key) => match key.key_size() {
            2048 => Some(KeyType::Rsa2048),
            4096 => Some(KeyType::Rsa4096),
            _ => None,
        },
        _ => None,
    }
}

/// Subject public key info in DER of the private key in a PEM text
///
/// Comparing it with [`Certificate::public_key`] tells whether the two belong together.
///
/// # Errors
/// [`KeyError`] where the text holds no private key of a kind that TLS uses.
pub fn public_key_of(private_key_pem: &[u8]) -> Result<Vec<u8>, KeyError> {
    let text = private_key_pem.strip_prefix(pem::BYTE_ORDER_MARK);
    let text = text.unwrap_or(private_key_pem);
    let key = PrivateKeyDer::from_pem_slice(text).map_err(|_| KeyError)?;
    let signer = any_supported_type(&key).map_err(|_| KeyError)?;
    Ok(signer.public_key().ok_or(KeyError)?.to_vec())
}

/// SHA-256 of a certificate's DER
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of this certificate
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(bytes)
    }

    /// The first eight hexadecimal digits, enough to tell two generations apart by eye
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, *byte].map(digit));
    digits.collect()
}

/// Kind and size of a certificate's key
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256, the default
    #[default]
    P256,
    /// ECDSA on P-384
    P384,
    /// RSA with 2048 bits
    Rsa2048,
    /// RSA with 4096 bits
    Rsa4096,
}

impl KeyType {
    /// Every key type, in the order of the reference
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::Rsa2048, Self::Rsa4096];

    /// The word for it in domains.toml
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa4096 => "rsa4096",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(())
    }
}

impl Serialize for KeyType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why bytes are no certificate chain
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ChainError {
    /// No certificate at all
    #[error("the chain holds no certificate")]
    Empty,
    /// The PEM text is none that a server could read
    #[error(transparent)]
    Pem(#[from] PemError),
    /// More certificates than any real chain has
    #[error("the chain has {found} certificates, 16 are allowed")]
    TooMany {
        /// How many there were
        found: usize,
    },
    /// One certificate does not parse
    #[error("certificate {position} of the chain cannot be read: {reason}")]
    Certificate {
        /// Its place in the chain, from 1
        position: usize,
        /// What is wrong with it
        reason: &'static str,
    },
}

/// A text holds no private key that TLS can use
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no usable private key in PEM form")]
pub struct KeyError;

/// Let's Encrypt sends four; sixteen leaves room for any public or private hierarchy.
const MAX_CERTIFICATES: usize = 16;
const MAX_CERTIFICATE: usize = 64 * 1024;
/// Characters that are kept of a name: no name of DNS or of a real CA has more
const MOST_WORDS: usize = 300;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(common_name: Option<&str>, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_leaf_tells_its_names_and_its_key() {
        let (pem, key) = certificate(Some("a.test"), &["a.test", "b.test", "192.0.2.7"]);
        let chain = Chain::from_pem(pem.as_bytes()).unwrap();
        let leaf = chain.leaf();
        assert_eq!(leaf.common_name.as_deref(), Some("a.test"));
        assert_eq!(leaf.names, ["a.test", "b.test", "192.0.2.7"]);
        assert_eq!(leaf.key_type, Some(KeyType::P256));
        assert_eq!(leaf.public_key, public_key_of(key.as_bytes()).unwrap());
        assert!(leaf.is_self_issued());
        assert!(leaf.lists(&DnsName::parse("B.test").unwrap()));
        assert!(!leaf.lists(&DnsName::parse("c.test").unwrap()));
    }

    #[test]
    fn another_key_does_not_pair() {
        let (pem, _) = certificate(None, &["a.test"]);
        let (_, other) = certificate(None, &["a.test"]);
        let chain = Chain::from_pem(pem.as_bytes()).unwrap();
        assert_ne!(
            chain.leaf().public_key,
            public_key_of(other.as_bytes()).unwrap()
        );
        assert_eq!(chain.leaf().label(), "a.test");
    }

    #[test]
    fn bytes_that_are_no_chain_are_refused() {
        let (pem, _) = certificate(None, &["a.test"]);
        assert_eq!(Chain::from_pem(b"").unwrap_err(), ChainError::Empty);
        assert!(matches!(
            Chain::from_pem(&pem.as_bytes()[..60]),
            Err(ChainError::Pem(PemError { line: 1, .. }))
        ));
        assert!(matches!(
            Chain::from_der(vec![vec![0x30, 0x03, 0x02, 0x01, 0x01]]),
            Err(ChainError::Certificate { position: 1, .. })
        ));
        assert_eq!(
            Chain::from_pem(pem.repeat(17).as_bytes()).unwrap_err(),
            ChainError::TooMany { found: 17 }
        );
        assert_eq!(public_key_of(pem.as_bytes()), Err(KeyError));
    }
}
