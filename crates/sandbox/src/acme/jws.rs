//! Signed requests (RFC 8555 section 6.2, RFC 7515), really checked.

use axum::body::Bytes;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::Problem;

/// A JWS whose signature was not checked yet
#[derive(Debug)]
pub(super) struct Unverified {
    protected: Protected,
    raw: Flattened,
}

/// Flattened JSON serialisation (RFC 7515 section 7.2.2), which ACME wants
#[derive(Debug, Deserialize)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
    /// Not allowed: it would not be signed
    header: Option<Value>,
    /// Not allowed: a request has one signature
    signatures: Option<Value>,
}

/// The protected header (RFC 8555 section 6.2)
#[derive(Debug, Deserialize)]
struct Protected {
    alg: String,
    nonce: Option<String>,
    url: Option<String>,
    kid: Option<String>,
    jwk: Option<Value>,
}

/// Who says that he signed
#[derive(Clone, Debug)]
pub(super) enum Signer {
    /// An account, by its URL
    Account(String),
    /// A key
    Key(Key),
}

/// A public key that may sign
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(Box<Jwk>);

impl Unverified {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let raw: Flattened = serde_json::from_slice(body)
            .map_err(|error| Problem::malformed(format!("the request is no JWS: {error}")))?;
        if raw.header.is_some() {
            return Err(Problem::malformed("a JWS must have no unprotected header"));
        }
        if raw.signatures.is_some() {
            return Err(Problem::malformed("a JWS must have one signature"));
        }
        let protected = serde_json::from_slice(&decode(&raw.protected)?)
            .map_err(|error| Problem::malformed(format!("unusable protected header: {error}")))?;
        Ok(Self { protected, raw })
    }

    pub(super) fn signer(&self) -> Result<Signer, Problem> {
        match (&self.protected.kid, &self.protected.jwk) {
            (Some(kid), None) => Ok(Signer::Account(kid.clone())),
            (None, Some(jwk)) => Ok(Signer::Key(Key::parse(jwk.clone())?)),
            _ => Err(Problem::malformed(
                "the JWS must have either \"kid\" or \"jwk\", and not both",
            )),
        }
    }

    pub(super) fn nonce(&self) -> Option<&str> {
        self.protected.nonce.as_deref()
    }

    pub(super) fn url(&self) -> Option<&str> {
        self.protected.url.as_deref()
    }

    /// The payload, if the key's owner signed it; empty for POST-as-GET
    pub(super) fn verified_by(self, key: &Key) -> Result<Vec<u8>, Problem> {
        let algorithm = key.check_algorithm(&self.protected.alg)?;
        let key = DecodingKey::from_jwk(&key.0)
            .map_err(|error| Problem::new(400, "badPublicKey", error.to_string()))?;
        self.verify(&key, algorithm)
    }

    /// The payload of an external account binding (RFC 8555 section 7.3.4)
    pub(super) fn verified_by_secret(self, secret: &[u8]) -> Result<Vec<u8>, Problem> {
        if self.protected.alg != "HS256" {
            return Err(Problem::malformed(
                "an external account binding needs alg HS256",
            ));
        }
        self.verify(&DecodingKey::from_secret(secret), Algorithm::HS256)
    }

    fn verify(self, key: &DecodingKey, algorithm: Algorithm) -> Result<Vec<u8>, Problem> {
        let signed = format!("{}.{}", self.raw.protected, self.raw.payload);
        match crypto::verify(&self.raw.signature, signed.as_bytes(), key, algorithm) {
            Ok(true) => decode(&self.raw.payload),
            _ => Err(Problem::malformed("JWS verification error")),
        }
    }
}

impl Key {
    fn parse(jwk: Value) -> Result<Self, Problem> {
        let mut jwk: Jwk = serde_json::from_value(jwk)
            .map_err(|error| Problem::new(400, "badPublicKey", error.to_string()))?;
        // Members such as `alg` and `use` make it no other key.
        jwk.common = CommonParameters::default();
        let key = Self(Box::new(jwk));
        match key.algorithm() {
            Some(_) => Ok(key),
            None => Err(Problem::new(
                400,
                "badPublicKey",
                "account keys are P-256, P-384, or RSA with 2048 to 4096 bits",
            )),
        }
    }

    /// The key in an `oldKey` or the like
    pub(super) fn from_value(jwk: &Value) -> Result<Self, Problem> {
        Self::parse(jwk.clone())
    }

    /// Digest of the key (RFC 7638), as key authorizations hold it
    pub(super) fn thumbprint(&self) -> String {
        self.0.thumbprint(ThumbprintHash::SHA256)
    }

    /// The one algorithm that the key may sign with
    fn algorithm(&self) -> Option<(Algorithm, &'static str)> {
        match &self.0.algorithm {
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => Some((Algorithm::ES256, "ES256")),
                EllipticCurve::P384 => Some((Algorithm::ES384, "ES384")),
                _ => None,
            },
            AlgorithmParameters::RSA(key) => {
                let modulus = BASE64_URL_SAFE_NO_PAD.decode(&key.n).ok()?;
                // RFC 7518 section 6.3.1.1: zeros in front would give another thumbprint.
                let is_canonical = modulus.first().is_some_and(|byte| *byte != 0);
                (is_canonical && (256..=512).contains(&modulus.len()))
                    .then_some((Algorithm::RS256, "RS256"))
            }
            _ => None,
        }
    }

    fn check_algorithm(&self, found: &str) -> Result<Algorithm, Problem> {
        match self.algorithm() {
            Some((algorithm, name)) if name == found => Ok(algorithm),
            _ => Err(Problem::bad_algorithm(found, &["ES256", "ES384", "RS256"])),
        }
    }

    /// Whether this is the public key of a certificate, given the contents of its bit string
    pub(super) fn is_of(&self, certificate: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> bool {
        use x509_parser::public_key::PublicKey;
        let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        match (&self.0.algorithm, certificate.parsed()) {
            (AlgorithmParameters::EllipticCurve(key), Ok(PublicKey::EC(point))) => {
                // An uncompressed point (SEC 1 section 2.3.3).
                point.data() == [vec![4], bytes(&key.x), bytes(&key.y)].concat()
            }
            (AlgorithmParameters::RSA(key), Ok(PublicKey::RSA(rsa))) => {
                let unsigned = |number: &[u8]| {
                    number
                        .iter()
                        .skip_while(|byte| **byte == 0)
                        .copied()
                        .collect::<Vec<u8>>()
                };
                unsigned(rsa.modulus) == bytes(&key.n) && unsigned(rsa.exponent) == bytes(&key.e)
            }
            _ => false,
        }
    }
}

/// A payload as what it should be
pub(super) fn payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(payload)
        .map_err(|error| Problem::malformed(format!("unusable payload: {error}")))
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Problem::malformed("not base64url without padding"))
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The body of a request as a JWS; its `Content-Type` must say so
pub(super) fn from_request(
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<Unverified, Problem> {
    if content_type != Some("application/jose+json") {
        return Err(Problem::new(
            415,
            "malformed",
            "Content-Type must be application/jose+json",
        ));
    }
    Unverified::parse(body)
}
