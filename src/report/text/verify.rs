//! A report of `verify` as text.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{BOLD, DIM, plural, sign, write_finding, write_line};
#[cfg(feature = "sandbox")]
use super::{GREEN, widest};
use crate::finding::{Finding, Severity, words};
use crate::report::verify::{EndpointReport, ServedCertificate, VerifyReport};
#[cfg(feature = "sandbox")]
use crate::time::display_date;
use crate::time::{elapsed_in_words, in_words};

/// Which endpoints are shown
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Every one
    All,
    /// Those that warn or fail
    WhatNeedsAttention,
}

/// Writes a report of `verify`: what is good in a line each, then what warns, then what fails
///
/// The worst comes last, where a terminal and the log of a CI job show it first.
///
/// # Errors
/// Those of the stream.
pub fn verify(report: &VerifyReport, shown: Shown, out: &mut impl Write) -> io::Result<()> {
    let of = |severity| move |endpoint: &&EndpointReport| group(endpoint) == severity;
    let count = |severity| report.endpoints.iter().filter(of(severity)).count();
    let detail = match report.endpoints.len() {
        ..=FEW => Detail::Facts,
        _ => Detail::Life,
    };
    if shown == Shown::All && count(Severity::Ok) > 0 {
        for endpoint in report.endpoints.iter().filter(of(Severity::Ok)) {
            write_good(endpoint, detail, report.started, out)?;
        }
        writeln!(out)?;
    }
    if shown == Shown::All && count(Severity::Note) > 0 {
        for endpoint in report.endpoints.iter().filter(of(Severity::Note)) {
            write_good(endpoint, detail, report.started, out)?;
        }
        writeln!(out)?;
    }
    for severity in [Severity::Warning, Severity::Failure] {
        for endpoint in report.endpoints.iter().filter(of(severity)) {
            write_bad(endpoint, out)?;
            writeln!(out)?;
        }
    }
    let counts = [
        (Severity::Ok, "good"),
        (Severity::Note, "not looked at"),
        (Severity::Warning, "with warnings"),
        (Severity::Failure, "failed"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(severity, word)| (count(severity), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    writeln!(
        out,
        "{}: {} in {}",
        plural(report.endpoints.len(), "endpoint"),
        counts.join(", "),
        elapsed_in_words(report.elapsed)
    )
}

/// The group of an endpoint: what is only worth knowing is good, if anything was seen at all
fn group(endpoint: &EndpointReport) -> Severity {
    match endpoint.severity {
        Severity::Note if endpoint.certificate.is_none() => Severity::Note,
        Severity::Ok | Severity::Note => Severity::Ok,
        severity => severity,
    }
}

/// How much is said of what is good
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// How long it will be
    Life,
    /// What else was seen too, on a line of its own
    Facts,
}

fn write_good(
    endpoint: &EndpointReport,
    detail: Detail,
    now: Timestamp,
    out: &mut impl Write,
) -> io::Result<()> {
    let served = endpoint.certificate.as_ref();
    let life = served.map(|served| {
        let left = in_words(served.not_after.duration_since(now));
        let percent = (served.remaining_fraction * 100.0).round();
        format!("  {left} left ({percent}%)")
    });
    let (sign, style) = sign(group(endpoint));
    let (name, address) = place(endpoint);
    writeln!(
        out,
        "{style}{sign}{style:#} {BOLD}{name}{BOLD:#}  {DIM}{address}{DIM:#}{}",
        life.unwrap_or_default()
    )?;
    if let (Some(served), Detail::Facts) = (served, detail) {
        write_line(INDENT, INDENT, &facts(endpoint, served).join(", "), out)?;
    }
    let notes = endpoint.findings.iter();
    for note in notes.filter(|finding| finding.severity == Severity::Note) {
        write_finding(note, INDENT, out)?;
    }
    Ok(())
}

/// Name and address; either may be the path of a file
fn place(endpoint: &EndpointReport) -> (String, String) {
    (
        words::whole(&endpoint.name),
        words::whole(&endpoint.address),
    )
}

/// What a person may want to know of an endpoint that is good
fn facts(endpoint: &EndpointReport, served: &ServedCertificate) -> Vec<String> {
    let mut facts = vec![served.issuer.clone()];
    let connection = [&served.protocol, &served.key_exchange];
    facts.extend(
        connection
            .into_iter()
            .filter(|word| !word.is_empty())
            .cloned(),
    );
    facts.extend(served.alpn.clone());
    if let Some(http) = &endpoint.http {
        let hsts = http.hsts.as_ref().map(|_| "HSTS");
        let redirect = match http.redirects_to_https {
            Some(true) => Some("http redirects"),
            Some(false) => Some("http does not redirect"),
            None => None,
        };
        facts.extend(
            [hsts, redirect]
                .into_iter()
                .flatten()
                .map(ToOwned::to_owned),
        );
    }
    let probe =
        |finding: &&Finding| finding.code.starts_with("probe.") && finding.severity == Severity::Ok;
    let probe = endpoint.findings.iter().find(probe);
    facts.extend(probe.map(|finding| finding.evidence.clone()));
    facts
}

fn write_bad(endpoint: &EndpointReport, out: &mut impl Write) -> io::Result<()> {
    let (sign, style) = sign(endpoint.severity);
    let (name, address) = place(endpoint);
    write!(out, "{style}{sign}{style:#} {BOLD}{name}{BOLD:#}")?;
    match endpoint.is_unusable() {
        true => writeln!(out)?,
        false => writeln!(out, "  {DIM}{address}{DIM:#}")?,
    }
    let findings = endpoint.findings.iter();
    for finding in findings.filter(|finding| finding.severity != Severity::Ok) {
        write_finding(finding, INDENT, out)?;
    }
    Ok(())
}

/// Writes the names that are served with the same certificate in a line, or what is wrong
///
/// What to do about it is left out: `obtain` says it better, because it sees more.
#[cfg(feature = "sandbox")]
pub(in crate::report) fn brief_verify(
    report: &VerifyReport,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut good: Vec<(&ServedCertificate, Vec<&str>)> = Vec::new();
    for endpoint in &report.endpoints {
        let bad = |finding: &&Finding| finding.severity > Severity::Note;
        if let Some(finding) = endpoint.findings.iter().find(bad) {
            let without_cure = Finding {
                cure: None,
                ..finding.clone()
            };
            write_finding(&without_cure, "  ", out)?;
        } else if let Some(served) = &endpoint.certificate {
            let same =
                |(known, _): &&mut (&ServedCertificate, _)| known.fingerprint == served.fingerprint;
            match good.iter_mut().find(same) {
                Some((_, names)) => names.push(&endpoint.name),
                None => good.push((served, vec![&endpoint.name])),
            }
        }
    }
    let lines = good
        .iter()
        .map(|(served, names)| (served, names.join(", ")));
    let lines: Vec<_> = lines.collect();
    let width = widest(lines.iter().map(|(_, names)| names.len()));
    for (served, names) in &lines {
        let fingerprint = served.fingerprint.get(..8).unwrap_or_default();
        let until = display_date(served.not_after);
        writeln!(
            out,
            "  {GREEN}✓{GREEN:#} {names:<width$}  {fingerprint}, until {until}"
        )?;
    }
    Ok(())
}

const INDENT: &str = "    ";
/// Endpoints of which all is told
const FEW: usize = 10;
