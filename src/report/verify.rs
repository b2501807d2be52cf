//! What `certd verify` found, endpoint by endpoint.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::finding::{Finding, Severity};
use crate::time::serialize_millis;

/// All endpoints that were looked at
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Always `verify`
    pub command: &'static str,
    /// When it began
    pub started: Timestamp,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
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
}

/// One name at one address
#[derive(Clone, Debug, Serialize)]
pub struct EndpointReport {
    /// Name that was asked for
    pub name: String,
    /// Primary name of the domain in the configuration, if it is one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Address and port, or the port alone where the name has no address
    pub address: String,
    /// The worst of the findings
    pub severity: Severity,
    /// What is served, where a certificate was seen
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ServedCertificate>,
    /// Everything that was judged, the worst first
    pub findings: Vec<Finding>,
    /// How long the connection and handshake took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    pub elapsed: Duration,
}

/// A certificate seen in a handshake
#[derive(Clone, Debug, Serialize)]
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
}
