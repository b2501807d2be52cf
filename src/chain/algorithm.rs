//! Kinds of keys and signatures, with their usual names.

use std::fmt;

use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Kind and size of a public key
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with the bits of its modulus
    Rsa(usize),
    /// ECDSA on P-256, P-384 or P-521, with these bits
    Ec(usize),
    /// Another one
    Other,
}

impl KeyKind {
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Self {
        match key.parsed() {
            Ok(PublicKey::RSA(key)) => Self::Rsa(bits(key.modulus)),
            Ok(PublicKey::EC(_)) => match curve(key) {
                Some(P256) => Self::Ec(256),
                Some(P384) => Self::Ec(384),
                Some(P521) => Self::Ec(521),
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    /// Whether it has fewer bits than browsers take (Baseline Requirements section 6.1.5)
    pub const fn is_weak(self) -> bool {
        match self {
            Self::Rsa(bits) => bits < 2048,
            Self::Ec(_) | Self::Other => false,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ec(bits) => write!(f, "ECDSA {bits}"),
            Self::Other => f.write_str("a key of another kind"),
        }
    }
}

/// Bits of a number, without the zeros before its first one
fn bits(number: &[u8]) -> usize {
    let mut bytes = number.iter().skip_while(|byte| **byte == 0);
    let first = bytes
        .next()
        .map_or(0, |byte| byte.checked_ilog2().map_or(0, |log| log + 1));
    usize::try_from(first).unwrap_or(0) + 8 * bytes.count()
}

/// Object identifier of the curve, in DER
fn curve<'k>(key: &'k SubjectPublicKeyInfo<'_>) -> Option<&'k [u8]> {
    Some(key.algorithm.parameters.as_ref()?.data)
}

/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// 1.3.132.0.35
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];

/// Algorithm of a signature
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name, or its object identifier where it has no usual one
    pub name: String,
    /// Whether it is over SHA-1 or MD5, which nobody takes any more
    pub is_weak: bool,
    /// Whether it is by a key that is neither RSA nor ECDSA, which browsers do not have
    pub is_strange: bool,
}

impl Signature {
    pub(super) fn of(algorithm: &AlgorithmIdentifier<'_>) -> Self {
        let identifier = algorithm.algorithm.to_id_string();
        let known = ALGORITHMS.iter().find(|(known, ..)| *known == identifier);
        Self {
            is_weak: known.is_some_and(|(.., strength)| *strength == Strength::Weak),
            is_strange: known.is_some_and(|(.., strength)| *strength == Strength::Strange),
            name: known.map_or(identifier, |(_, name, _)| (*name).to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strength {
    Weak,
    Usual,
    Strange,
}

/// As OpenSSL writes them
const ALGORITHMS: [(&str, &str, Strength); 12] = [
    (
        "1.2.840.113549.1.1.4",
        "md5WithRSAEncryption",
        Strength::Weak,
    ),
    (
        "1.2.840.113549.1.1.5",
        "sha1WithRSAEncryption",
        Strength::Weak,
    ),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1", Strength::Weak),
    (
        "1.2.840.113549.1.1.11",
        "sha256WithRSAEncryption",
        Strength::Usual,
    ),
    (
        "1.2.840.113549.1.1.12",
        "sha384WithRSAEncryption",
        Strength::Usual,
    ),
    (
        "1.2.840.113549.1.1.13",
        "sha512WithRSAEncryption",
        Strength::Usual,
    ),
    ("1.2.840.113549.1.1.10", "rsassaPss", Strength::Usual),
    ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256", Strength::Usual),
    ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384", Strength::Usual),
    ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512", Strength::Usual),
    ("1.3.101.112", "ed25519", Strength::Strange),
    ("1.3.101.113", "ed448", Strength::Strange),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_before_the_first_one_are_no_bits() {
        #[track_caller]
        fn check(first: &[u8], expected: usize) {
            let modulus = [first, &[0xff; 255]].concat();
            assert_eq!(bits(&modulus), expected, "{first:?}");
        }
        check(&[0, 0x80], 2048);
        check(&[0x40], 2047);
        check(&[0x01], 2041);
        check(&[0], 2040);
        assert_eq!(bits(&[]), 0);
    }
}
