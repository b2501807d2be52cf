//! Kinds of keys and signatures, with their usual names.

use std::fmt;

use x509_parser::oid_registry::Oid;
use x509_parser::public_key::PublicKey;
use x509_parser::signature_algorithm::{RsaSsaPssParams, SignatureAlgorithm};
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

    /// Whether it has more bits than the verifier takes
    pub const fn is_large(self) -> bool {
        match self {
            Self::Rsa(bits) => bits > 8192,
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
    /// What browsers make of it
    pub standing: Standing,
}

/// What browsers make of an algorithm with which certificates are signed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// RSA or ECDSA over SHA-256, SHA-384 or SHA-512: they take it
    Taken,
    /// Over SHA-1 or MD5, which nobody takes any more
    Weak,
    /// By a key that is neither RSA nor ECDSA, which browsers do not have
    OtherKey,
    /// RSA or ECDSA over another digest or with other parameters, or one that is not known here:
    /// they refuse it
    Refused,
}

impl Signature {
    pub(super) fn of(algorithm: &AlgorithmIdentifier<'_>) -> Self {
        if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = algorithm.try_into() {
            return Self::of_pss(&parameters);
        }
        let identifier = algorithm.algorithm.to_id_string();
        let known = ALGORITHMS.iter().find(|(known, ..)| *known == identifier);
        Self {
            standing: known.map_or(Standing::Refused, |(.., standing)| *standing),
            name: known.map_or(identifier, |(_, name, _)| (*name).to_owned()),
        }
    }

    /// Chrome and Firefox take three sets of parameters: one digest for both of its uses, and a salt
    /// as long as that
    fn of_pss(parameters: &RsaSsaPssParams<'_>) -> Self {
        const USUAL: [(&str, u32); 3] = [("SHA-256", 32), ("SHA-384", 48), ("SHA-512", 64)];
        let digest = digest(parameters.hash_algorithm_oid());
        let mask = parameters.mask_gen_algorithm().map_or_else(
            |_| "another digest".to_owned(),
            |mask| self::digest(&mask.hash),
        );
        let salt = parameters.salt_length();
        let is_usual = USUAL.contains(&(digest.as_str(), salt)) && mask == digest;
        let with = match mask == digest {
            true => String::new(),
            false => format!("MGF1 with {mask}, "),
        };
        let unusual = || format!("rsassaPss ({digest}, {with}a salt of {salt} bytes)");
        let standing = match is_usual && parameters.trailer_field() == 1 {
            true => Standing::Taken,
            false if ["SHA-1", "MD5"].contains(&digest.as_str()) => Standing::Weak,
            false => Standing::Refused,
        };
        Self {
            name: match standing {
                Standing::Taken => "rsassaPss".to_owned(),
                _ => unusual(),
            },
            standing,
        }
    }

    /// Whether it is over SHA-1 or MD5
    pub fn is_weak(&self) -> bool {
        self.standing == Standing::Weak
    }
}

/// The usual name of a digest, or its object identifier
fn digest(identifier: &Oid<'_>) -> String {
    let identifier = identifier.to_id_string();
    let known = DIGESTS.iter().find(|(known, _)| *known == identifier);
    known.map_or(identifier, |(_, name)| (*name).to_owned())
}

const DIGESTS: [(&str, &str); 6] = [
    ("1.2.840.113549.2.5", "MD5"),
    ("1.3.14.3.2.26", "SHA-1"),
    ("2.16.840.1.101.3.4.2.1", "SHA-256"),
    ("2.16.840.1.101.3.4.2.2", "SHA-384"),
    ("2.16.840.1.101.3.4.2.3", "SHA-512"),
    ("2.16.840.1.101.3.4.2.4", "SHA-224"),
];

/// As OpenSSL writes them
// One line for each: a table that is broken into lines of fields cannot be read as one.
#[rustfmt::skip]
const ALGORITHMS: &[(&str, &str, Standing)] = &[
    ("1.2.840.113549.1.1.2", "md2WithRSAEncryption", Standing::Weak),
    ("1.2.840.113549.1.1.4", "md5WithRSAEncryption", Standing::Weak),
    ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption", Standing::Weak),
    ("1.3.14.3.2.29", "sha1WithRSA", Standing::Weak),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1", Standing::Weak),
    ("1.2.840.113549.1.1.11", "sha256WithRSAEncryption", Standing::Taken),
    ("1.2.840.113549.1.1.12", "sha384WithRSAEncryption", Standing::Taken),
    ("1.2.840.113549.1.1.13", "sha512WithRSAEncryption", Standing::Taken),
    ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256", Standing::Taken),
    ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384", Standing::Taken),
    ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512", Standing::Taken),
    ("1.3.101.112", "ed25519", Standing::OtherKey),
    ("1.3.101.113", "ed448", Standing::OtherKey),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44", Standing::OtherKey),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65", Standing::OtherKey),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87", Standing::OtherKey),
    ("1.2.840.10040.4.3", "dsaWithSHA1", Standing::OtherKey),
    ("2.16.840.1.101.3.4.3.2", "dsa_with_SHA256", Standing::OtherKey),
    ("1.2.156.10197.1.501", "SM2-with-SM3", Standing::OtherKey),
    ("1.2.840.113549.1.1.14", "sha224WithRSAEncryption", Standing::Refused),
    ("1.2.840.113549.1.1.15", "sha512-224WithRSAEncryption", Standing::Refused),
    ("1.2.840.113549.1.1.16", "sha512-256WithRSAEncryption", Standing::Refused),
    ("1.2.840.113549.1.1.10", "rsassaPss without parameters", Standing::Refused),
    ("1.2.840.10045.4.3.1", "ecdsa-with-SHA224", Standing::Refused),
    ("2.16.840.1.101.3.4.3.9", "ecdsa_with_SHA3-224", Standing::Refused),
    ("2.16.840.1.101.3.4.3.10", "ecdsa_with_SHA3-256", Standing::Refused),
    ("2.16.840.1.101.3.4.3.11", "ecdsa_with_SHA3-384", Standing::Refused),
    ("2.16.840.1.101.3.4.3.12", "ecdsa_with_SHA3-512", Standing::Refused),
    ("2.16.840.1.101.3.4.3.13", "RSA-SHA3-224", Standing::Refused),
    ("2.16.840.1.101.3.4.3.14", "RSA-SHA3-256", Standing::Refused),
    ("2.16.840.1.101.3.4.3.15", "RSA-SHA3-384", Standing::Refused),
    ("2.16.840.1.101.3.4.3.16", "RSA-SHA3-512", Standing::Refused),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_that_browsers_do_not_have_is_not_taken_though_the_verifier_has_it() {
        #[track_caller]
        fn check(identifier: &[u64], standing: Standing) {
            let identifier = Oid::from(identifier).unwrap();
            let algorithm = AlgorithmIdentifier::new(identifier, None);
            assert_eq!(Signature::of(&algorithm).standing, standing);
        }
        check(&[2, 16, 840, 1, 101, 3, 4, 3, 18], Standing::OtherKey);
        check(&[1, 2, 3, 4], Standing::Refused);
        check(&[1, 2, 840, 10045, 4, 3, 2], Standing::Taken);
    }

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
