//! SARIF 2.1.0, as GitHub's code scanning reads it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::checkout::{Checkout, encoded};
use super::{EndpointReport, VerifyReport, in_words};
use crate::finding::codes::CODES;
use crate::finding::words::{Escapes, Guarded};
use crate::finding::{Finding, Severity};

/// Writes one run with a result for each finding that is not good, and the rules that they name
///
/// A file is named by its path in `checkout`, whose root GitHub takes it relative to.
///
/// # Errors
/// Those of the stream.
pub fn write(report: &VerifyReport, checkout: &Checkout, out: &mut impl Write) -> io::Result<()> {
    let rules: Vec<&str> = findings(report)
        .map(|(_, finding)| finding.code)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let results: Vec<Value> = findings(report)
        .filter_map(|(endpoint, finding)| result(endpoint, finding, &rules, checkout))
        .collect();
    let ended = report.started.saturating_add(report.elapsed);
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "certd",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|code| rule(code)).collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": true,
                "startTimeUtc": report.started,
                "endTimeUtc": ended.unwrap_or(report.started),
            }],
            "results": results,
        }],
    });
    let mut out = Guarded::new(out, Escapes::Json);
    serde_json::to_writer_pretty(&mut out, &log)?;
    writeln!(out)?;
    out.flush()
}

/// What is not good, with where it was found
fn findings(report: &VerifyReport) -> impl Iterator<Item = (&EndpointReport, &Finding)> {
    let all = report.endpoints.iter().flat_map(|endpoint| {
        let findings = endpoint.findings.iter();
        findings.map(move |finding| (endpoint, finding))
    });
    all.filter(|(_, finding)| level(finding.severity).is_some())
}

/// What the table of codes says of one
fn rule(code: &str) -> Value {
    let row = CODES.iter().find(|row| row.code == code);
    let meaning = row.map_or(code, |row| row.meaning);
    let cure = row.and_then(|row| row.cure).unwrap_or("see the result");
    // GitHub wants all three, and shows the second above each alert.
    json!({
        "id": code,
        "shortDescription": { "text": meaning },
        "fullDescription": { "text": format!("{meaning}: {cure}") },
        "help": { "text": cure },
    })
}

fn result(
    endpoint: &EndpointReport,
    finding: &Finding,
    rules: &[&str],
    checkout: &Checkout,
) -> Option<Value> {
    let fingerprint = fingerprint(endpoint, finding);
    Some(json!({
        "ruleId": finding.code,
        "ruleIndex": rules.binary_search(&finding.code).ok()?,
        "level": level(finding.severity)?,
        "message": { "text": message(finding) },
        "locations": [{
            "physicalLocation": physical_location(endpoint, checkout),
            "logicalLocations": [{
                "fullyQualifiedName": endpoint.label(),
                "kind": "resource",
            }],
        }],
        // GitHub matches alerts by this one key. Without it its uploader would take a hash of the
        // line, which all names of a domain have in common.
        "partialFingerprints": { "primaryLocationLineHash": fingerprint },
    }))
}

/// The words of a result; brackets of a certificate must not make a link (section 3.11.6)
fn message(finding: &Finding) -> String {
    in_words(finding).replace("](", "] (")
}

/// What stays the same from run to run: neither time nor address, which may change with DNS
fn fingerprint(endpoint: &EndpointReport, finding: &Finding) -> String {
    let (code, name) = (finding.code, &endpoint.name);
    match endpoint.port {
        Some(port) => format!("{code}/{name}/{port}"),
        None => format!("{code}/{name}/{}", endpoint.address),
    }
}

/// The line that asked for the endpoint, or the file that was judged
///
/// GitHub refuses a whole log for one result without such a location, and for one whose URI has
/// another scheme than `file`. For a word of the command line there is no file that could be
/// changed, and domains.toml would be a lie: what was judged then is the artifact itself, so its
/// name stands there as a relative reference, without a line.
fn physical_location(endpoint: &EndpointReport, checkout: &Checkout) -> Value {
    match (&endpoint.origin, endpoint.port) {
        (Some(origin), _) => json!({
            "artifactLocation": { "uri": checkout.uri(&origin.file) },
            "region": { "startLine": origin.line.max(1) },
        }),
        (None, None) if !endpoint.is_unusable() => json!({
            "artifactLocation": { "uri": checkout.uri(Path::new(&endpoint.address)) },
        }),
        (None, _) => json!({
            "artifactLocation": { "uri": encoded(&endpoint.name) },
        }),
    }
}

/// How SARIF calls a severity; `None` for good news
const fn level(severity: Severity) -> Option<&'static str> {
    match severity {
        Severity::Ok => None,
        Severity::Note => Some("note"),
        Severity::Warning => Some("warning"),
        Severity::Failure => Some("error"),
    }
}

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
