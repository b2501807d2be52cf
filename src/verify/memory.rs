//! Signatures that were checked already: a thousand endpoints have a few issuers in common.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// An algorithm that checks no signature twice
///
/// Whether a signature is right depends on nothing but what is digested here, and two inputs with
/// one SHA-256 are not to be had.
#[derive(Debug)]
pub(super) struct Remembering {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    known: Mutex<HashMap<[u8; 32], Result<(), InvalidSignature>>>,
}

impl Remembering {
    pub(super) fn new(algorithm: &'static dyn SignatureVerificationAlgorithm) -> Self {
        Self {
            algorithm,
            known: Mutex::default(),
        }
    }
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let input = digest([public_key, message, signature]);
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = known().get(&input) {
            return *outcome;
        }
        let checked = self
            .algorithm
            .verify_signature(public_key, message, signature);
        let mut known = known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(input, checked);
        checked
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// SHA-256 of the parts, each after its length
fn digest(parts: [&[u8]; 3]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// A few hundred kilobytes
const MOST_KNOWN: usize = 4_096;

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    #[test]
    fn what_is_remembered_of_one_signature_counts_for_no_other() {
        let all = default_provider().signature_verification_algorithms.all;
        let algorithm = all
            .iter()
            .find(|algorithm| {
                algorithm.signature_alg_id() == rustls::pki_types::alg_id::ECDSA_SHA256
            })
            .unwrap();
        let remembering = Remembering::new(*algorithm);
        let key = rcgen::KeyPair::generate().unwrap();
        let signature = rcgen::SigningKey::sign(&key, b"message").unwrap();
        let public_key = rcgen::PublicKeyData::der_bytes(&key);
        for _ in 0..2 {
            let check = |message, signature| {
                remembering
                    .verify_signature(public_key, message, signature)
                    .is_ok()
            };
            assert!(check(b"message", &signature));
            assert!(!check(b"massage", &signature));
            assert!(!check(b"messag", &[&b"e"[..], &signature].concat()));
        }
        assert_eq!(remembering.known.lock().unwrap().len(), 3);
    }
}
