//! What `certd verify` found, endpoint by endpoint.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::finding::{Finding, Severity, one_line, words};
use crate::time::serialize_millis;

pub mod checkout;
pub mod github;
pub mod junit;
pub mod prometheus;
pub mod sarif;

/// All endpoints that were looked at
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// Version of this JSON form
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub schema_version: u32,
    /// Always `verify`
    #[schemars(extend("const" = "verify"))]
    pub command: &'static str,
    /// When it began
    pub started: Timestamp,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    #[schemars(with = "u64")]
    pub elapsed: Duration,
    /// Each name at each address and port
    pub endpoints: Vec<EndpointReport>,
}

impl VerifyReport {
    /// The worst that was found
    pub fn severity(&self) -> Severity {
        self.endpoints
            .iter()
            .map(|endpoint| endpoint.severity)
            .max()
            .unwrap_or(Severity::Ok)
    }

    /// How many endpoints are as bad as this, and no worse
    pub fn count(&self, severity: Severity) -> usize {
        let of_it = |endpoint: &&EndpointReport| endpoint.severity == severity;
        self.endpoints.iter().filter(of_it).count()
    }

    /// The JSON Schema of this form (draft 2020-12): what is always there is required in it
    pub fn schema() -> Schema {
        SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<Self>()
    }
}

/// One name at one address
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EndpointReport {
    /// Name that was asked for, or the words that cannot be one
    pub name: String,
    /// Primary name of the domain in the configuration, if it is one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Address and port, the port alone where the name has no address, or the file that was
    /// judged; empty where what was asked for names nothing that could be looked at
    pub address: String,
    /// Port; absent for a file, and where the address is empty
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where it was asked for; absent for what stood on the command line
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The worst of the findings
    pub severity: Severity,
    /// What is served, where a certificate was seen
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ServedCertificate>,
    /// What was seen over HTTP, where that was looked at
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpReport>,
    /// Everything that was judged, the worst first
    pub findings: Vec<Finding>,
    /// How long the connection and handshake took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    #[schemars(with = "u64")]
    pub elapsed: Duration,
}

impl EndpointReport {
    /// Whether what was asked for names nothing that could be looked at, now or later
    pub fn is_unusable(&self) -> bool {
        self.address.is_empty()
    }

    /// What tells it from others: `name address`
    pub fn label(&self) -> String {
        one_line(&format!("{} {}", self.name, self.address))
    }
}

/// Where an endpoint was asked for
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Origin {
    /// domains.toml, or the list of targets
    pub file: PathBuf,
    /// Line in it, from 1
    pub line: usize,
}

/// What a web server says beside its certificate; nothing of it fails
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HttpReport {
    /// HTTP status of `/` over TLS
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `Strict-Transport-Security` (RFC 6797)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<String>,
    /// Whether port 80 redirects to https:// for this name; absent where it does not answer
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirects_to_https: Option<bool>,
}

/// A certificate seen in a handshake
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServedCertificate {
    /// Common Name, if there is one
    pub common_name: Option<String>,
    /// SAN
    pub names: Vec<String>,
    /// Issuer
    pub issuer: String,
    /// Serial number in hexadecimal
    pub serial: String,
    /// SHA-256 in hexadecimal
    pub fingerprint: String,
    /// Start of its validity
    pub not_before: Timestamp,
    /// End of its validity
    pub not_after: Timestamp,
    /// Part of its lifetime that is left, from 0 to 1
    pub remaining_fraction: f64,
    /// Certificates in the chain as sent
    pub chain_length: usize,
    /// Negotiated version
    pub protocol: String,
    /// Negotiated cipher suite
    pub cipher: String,
    /// Negotiated key exchange, such as `X25519MLKEM768`; empty where the handshake ended before
    pub key_exchange: String,
    /// Whether a recording of the connection is safe from a quantum computer
    pub post_quantum: bool,
    /// Negotiated application protocol (RFC 7301)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// Kind and size of the key, such as `p256` or `RSA 2048`
    pub key: String,
    /// Algorithm of the issuer's signature, such as `ecdsa-with-SHA384`
    pub signature: String,
    /// Where its issuer lists what it revoked
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
    /// Where its issuer answers by OCSP
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<String>,
    /// Whether an OCSP response came with it
    pub ocsp_stapled: bool,
    /// Signed certificate timestamps in it (RFC 6962)
    pub scts: usize,
}

/// A finding in words: what was seen, and below it what to do
fn in_words(finding: &Finding) -> String {
    let cure = finding.cure.as_deref().unwrap_or_default();
    let evidence = one_line(&finding.evidence);
    match cure.is_empty() {
        true => evidence,
        false => format!(
            "{evidence}\n-> {}",
            words::lines(cure).replace('\n', "\n   ")
        ),
    }
}
