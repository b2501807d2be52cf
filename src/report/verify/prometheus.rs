//! The text format of Prometheus, for the textfile collector of its node exporter.
//!
//! The collector drops a whole file in which two samples have the same name and labels. Of an
//! endpoint that was asked for twice the worse look is the one that is told.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use jiff::Timestamp;

use super::{EndpointReport, HttpReport, ServedCertificate, VerifyReport};
use crate::finding::{Severity, words};

/// Writes the metrics of a report, all of them gauges
///
/// An endpoint is a success below `fails_from`, the severity from which the command fails.
///
/// # Errors
/// Those of the stream.
pub fn write(report: &VerifyReport, fails_from: Severity, out: &mut impl Write) -> io::Result<()> {
    let endpoints = Endpoints::of(report);
    endpoints.write_verdicts(fails_from, out)?;
    endpoints.write_certificates(out)?;
    endpoints.write_http(out)?;
    let findings = [Severity::Note, Severity::Warning, Severity::Failure].map(|severity| {
        let labels = format!("severity=\"{}\"", word(severity));
        (labels, endpoints.findings(severity).to_string())
    });
    let [name, help] = FINDINGS;
    write_family(name, help, findings, out)?;
    let [name, help] = TIMESTAMP;
    let started = seconds(report.started);
    write_family(name, help, [(String::new(), started)], out)?;
    let [name, help] = DURATION;
    let elapsed = report.elapsed.as_secs_f64().to_string();
    write_family(name, help, [(String::new(), elapsed)], out)
}

/// The endpoints by their labels
struct Endpoints<'r>(BTreeMap<String, &'r EndpointReport>);

impl<'r> Endpoints<'r> {
    fn of(report: &'r VerifyReport) -> Self {
        let mut all = BTreeMap::new();
        for endpoint in &report.endpoints {
            let kept = all.entry(labels(endpoint)).or_insert(endpoint);
            if endpoint.severity > kept.severity {
                *kept = endpoint;
            }
        }
        Self(all)
    }

    /// Writes a family with a sample for each endpoint that has a value
    fn write(
        &self,
        [name, help]: [&str; 2],
        value: impl Fn(&EndpointReport) -> Option<String>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let all = self.0.iter();
        let samples = all.filter_map(|(labels, endpoint)| Some((labels.clone(), value(endpoint)?)));
        write_family(name, help, samples, out)
    }

    fn write_verdicts(&self, fails_from: Severity, out: &mut impl Write) -> io::Result<()> {
        let is_good = |endpoint: &EndpointReport| endpoint.severity < fails_from;
        self.write(SUCCESS, |endpoint| Some(flag(is_good(endpoint))), out)?;
        self.write(
            SEVERITY,
            |endpoint| Some(rank(endpoint.severity).to_string()),
            out,
        )
    }

    fn write_certificates(&self, out: &mut impl Write) -> io::Result<()> {
        let of = |value: fn(&ServedCertificate) -> String| {
            move |endpoint: &EndpointReport| endpoint.certificate.as_ref().map(value)
        };
        self.write(NOT_BEFORE, of(|seen| seconds(seen.not_before)), out)?;
        self.write(NOT_AFTER, of(|seen| seconds(seen.not_after)), out)?;
        // A handshake without a certificate came to no end, and with a file there was none.
        let handshake = |endpoint: &EndpointReport| {
            endpoint.certificate.as_ref().and(endpoint.port)?;
            Some(endpoint.elapsed.as_secs_f64().to_string())
        };
        self.write(HANDSHAKE, handshake, out)
    }

    fn write_http(&self, out: &mut impl Write) -> io::Result<()> {
        let of = |value: fn(&HttpReport) -> Option<String>| {
            move |endpoint: &EndpointReport| endpoint.http.as_ref().and_then(value)
        };
        self.write(STATUS, of(|http| Some(http.status?.to_string())), out)?;
        let hsts = |http: &HttpReport| http.status.map(|_| flag(http.hsts.is_some()));
        self.write(HSTS, of(hsts), out)?;
        self.write(REDIRECTS, of(|http| http.redirects_to_https.map(flag)), out)
    }

    fn findings(&self, severity: Severity) -> usize {
        let all = self.0.values().flat_map(|endpoint| &endpoint.findings);
        all.filter(|finding| finding.severity == severity).count()
    }
}

/// Name, address and port; the address is empty where the name has none
fn labels(endpoint: &EndpointReport) -> String {
    let address = match (endpoint.address.parse::<SocketAddr>(), endpoint.port) {
        (Ok(address), _) => address.ip().to_string(),
        (Err(_), Some(_)) => String::new(),
        (Err(_), None) => endpoint.address.clone(),
    };
    let port = endpoint.port.map(|port| port.to_string());
    format!(
        "name=\"{}\",address=\"{}\",port=\"{}\"",
        escaped(&endpoint.name),
        escaped(&address),
        port.unwrap_or_default()
    )
}

/// A label's value as it stands between quotes
fn escaped(value: &str) -> String {
    words::without_marks(&words::whole(value))
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
}

/// Writes a family, and nothing where it has no sample
fn write_family(
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = (String, String)>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "# HELP {name} {help}")?;
    writeln!(out, "# TYPE {name} gauge")?;
    samples.try_for_each(|(labels, value)| match labels.is_empty() {
        true => writeln!(out, "{name} {value}"),
        false => writeln!(out, "{name}{{{labels}}} {value}"),
    })
}

fn seconds(at: Timestamp) -> String {
    at.as_second().to_string()
}

fn flag(is_set: bool) -> String {
    u8::from(is_set).to_string()
}

const fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Ok => 0,
        Severity::Note => 1,
        Severity::Warning => 2,
        Severity::Failure => 3,
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Failure => "failure",
    }
}

const SUCCESS: [&str; 2] = [
    "certd_verify_success",
    "Whether nothing failed at the endpoint.",
];
const SEVERITY: [&str; 2] = [
    "certd_verify_severity",
    "Worst finding at the endpoint: 0 ok, 1 note, 2 warning, 3 failure.",
];
const NOT_BEFORE: [&str; 2] = [
    "certd_certificate_not_before_timestamp_seconds",
    "Start of the validity of the certificate that is served.",
];
const NOT_AFTER: [&str; 2] = [
    "certd_certificate_not_after_timestamp_seconds",
    "End of the validity of the certificate that is served.",
];
const HANDSHAKE: [&str; 2] = [
    "certd_verify_handshake_seconds",
    "Time that connection and handshake took.",
];
const STATUS: [&str; 2] = [
    "certd_http_status_code",
    "HTTP status of the page over TLS.",
];
const HSTS: [&str; 2] = [
    "certd_http_hsts",
    "Whether the page has Strict-Transport-Security.",
];
const REDIRECTS: [&str; 2] = [
    "certd_http_redirects_to_https",
    "Whether port 80 redirects to https for the name.",
];
const FINDINGS: [&str; 2] = [
    "certd_verify_findings",
    "Findings at all endpoints, by severity.",
];
const TIMESTAMP: [&str; 2] = ["certd_verify_timestamp_seconds", "When certd verify began."];
const DURATION: [&str; 2] = [
    "certd_verify_duration_seconds",
    "Time that certd verify took.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_its_label() {
        assert_eq!(escaped("a\\b\"} 1\nx"), "a\\\\b\\\"} 1\\\\nx");
    }
}
