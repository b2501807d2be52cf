//! Annotations of a GitHub workflow: commands on stdout, which its runner takes from the log.
//!
//! GitHub shows ten errors, ten warnings and ten notices of a step and drops the others, so the
//! worst come first.

use std::cmp::Reverse;
use std::io::{self, Write};

use super::checkout::Checkout;
use super::{EndpointReport, VerifyReport, in_words};
use crate::finding::{Finding, Severity, one_line, words};

/// Writes one annotation for each finding that is not good, and a last line with the counts
///
/// A file is named by its path in `checkout`, whose root GitHub takes it relative to.
///
/// # Errors
/// Those of the stream.
pub fn write(report: &VerifyReport, checkout: &Checkout, out: &mut impl Write) -> io::Result<()> {
    let mut told: Vec<(&EndpointReport, &Finding)> = report
        .endpoints
        .iter()
        .flat_map(|endpoint| {
            endpoint
                .findings
                .iter()
                .map(move |finding| (endpoint, finding))
        })
        .collect();
    told.sort_by_key(|(_, finding)| Reverse(finding.severity));
    for (endpoint, finding) in told {
        if let Some(command) = command(finding.severity) {
            let properties = properties(endpoint, finding, checkout);
            writeln!(
                out,
                "::{command} {properties}::{}",
                data(&in_words(finding))
            )?;
        }
    }
    let (failures, warnings) = (
        report.count(Severity::Failure),
        report.count(Severity::Warning),
    );
    let good = report.endpoints.len() - failures - warnings;
    writeln!(
        out,
        "certd verify: {good} good, {warnings} with warnings, {failures} failed"
    )
}

/// The workflow command that a finding becomes; `None` for good news
const fn command(severity: Severity) -> Option<&'static str> {
    match severity {
        Severity::Ok => None,
        Severity::Note => Some("notice"),
        Severity::Warning => Some("warning"),
        Severity::Failure => Some("error"),
    }
}

fn properties(endpoint: &EndpointReport, finding: &Finding, checkout: &Checkout) -> String {
    let title = format!(
        "title={}",
        property(&one_line(&format!(
            "{}: {}",
            finding.code,
            endpoint.label()
        )))
    );
    match &endpoint.origin {
        None => title,
        Some(origin) => {
            let file = checkout.path(&origin.file);
            let file = property(&words::path(&file));
            format!("file={file},line={},{title}", origin.line)
        }
    }
}

/// A text as the runner takes it back from what stands behind `::`
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A text as the runner takes it back from a property
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_end_its_command() {
        assert_eq!(data("50%\r\n::error::"), "50%25%0D%0A::error::");
        assert_eq!(property("a:b,c%3A"), "a%3Ab%2Cc%253A");
    }
}
