//! JUnit XML, as Jenkins and GitLab read it: a test case for each endpoint.
//!
//! GitLab shows the text of a `failure` and not its `message`, Jenkins both, so the text holds all.
//! The elements are those of Jenkins's schema, which has no `file` at a test case.

use std::io::{self, Write};
use std::time::Duration;

use jiff::tz::TimeZone;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{EndpointReport, VerifyReport, in_words};
use crate::finding::words::{Escapes, Guarded};
use crate::finding::{Finding, Severity, one_line, words};

/// Writes one test suite with a test case for each endpoint
///
/// A test case fails by what is as bad as `fails_from`, the severity from which the command fails:
/// what CI shows must agree with the exit status. What is not as bad stands in `system-out`.
///
/// # Errors
/// Those of the stream.
pub fn write(report: &VerifyReport, fails_from: Severity, out: &mut impl Write) -> io::Result<()> {
    let mut out = Guarded::new(out, Escapes::Xml);
    let mut xml = Writer::new_with_indent(&mut out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let failures = report
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.severity >= fails_from)
        .count();
    let (tests, failures) = (report.endpoints.len().to_string(), failures.to_string());
    let elapsed = seconds(report.elapsed);
    let attributes = [
        ("name", "certd verify"),
        ("tests", &tests),
        ("failures", &failures),
        ("errors", "0"),
        ("time", &elapsed),
    ];
    // The schema of JUnit's own writer has no zone in it: UTC, as all times of certd.
    let started = report.started.to_zoned(TimeZone::UTC);
    let started = started.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let suites = xml.create_element("testsuites").with_attributes(attributes);
    suites.write_inner_content(|xml| {
        let suite = xml
            .create_element("testsuite")
            .with_attributes(attributes)
            .with_attribute(("timestamp", started.as_str()));
        suite.write_inner_content(|xml| {
            let mut endpoints = report.endpoints.iter();
            endpoints.try_for_each(|endpoint| write_case(endpoint, fails_from, xml))
        })?;
        Ok(())
    })?;
    writeln!(out)?;
    out.flush()
}

fn write_case<W: Write>(
    endpoint: &EndpointReport,
    fails_from: Severity,
    xml: &mut Writer<W>,
) -> io::Result<()> {
    let class = attribute(endpoint.domain.as_deref().unwrap_or(&endpoint.name));
    let (name, elapsed) = (attribute(&endpoint.label()), seconds(endpoint.elapsed));
    let case = xml.create_element("testcase").with_attributes([
        ("classname", class.as_str()),
        ("name", &name),
        ("time", &elapsed),
    ]);
    let told = || {
        let findings = endpoint.findings.iter();
        findings.filter(|finding| finding.severity > Severity::Ok)
    };
    let failures: Vec<&Finding> = told()
        .filter(|finding| finding.severity >= fails_from)
        .collect();
    let others: Vec<&Finding> = told()
        .filter(|finding| finding.severity < fails_from)
        .collect();
    let Some(worst) = failures.first() else {
        if others.is_empty() {
            case.write_empty()?;
            return Ok(());
        }
        case.write_inner_content(|xml| write_others(&others, xml))?;
        return Ok(());
    };
    case.write_inner_content(|xml| {
        let message = attribute(&worst.evidence);
        let mut text = all_in_words(&failures);
        if let Some(origin) = &endpoint.origin {
            text.push_str(&format!(
                "\nasked for in {}:{}",
                words::path(&origin.file),
                origin.line
            ));
        }
        xml.create_element("failure")
            .with_attributes([("type", worst.code), ("message", &message)])
            .write_text_content(BytesText::new(&content(&text)))?;
        match others.is_empty() {
            true => Ok(()),
            false => write_others(&others, xml),
        }
    })?;
    Ok(())
}

fn write_others<W: Write>(findings: &[&Finding], xml: &mut Writer<W>) -> io::Result<()> {
    xml.create_element("system-out")
        .write_text_content(BytesText::new(&content(&all_in_words(findings))))?;
    Ok(())
}

/// The findings with their codes, one below the other
fn all_in_words(findings: &[&Finding]) -> String {
    let lines = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.code, in_words(finding)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Seconds with three decimals: the schema allows no more
fn seconds(elapsed: Duration) -> String {
    format!("{:.3}", elapsed.as_secs_f64())
}

/// A text as the value of an attribute, in which a line break would be read as a blank
fn attribute(text: &str) -> String {
    content(&one_line(text))
}

/// A text with characters of XML 1.0 alone (section 2.2): what is not one cannot be escaped either
fn content(text: &str) -> String {
    words::lines(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_of_xml_are_left() {
        assert_eq!(
            content("a\0\u{1b}[2J\r\n\u{85}b"),
            "a\\u{0}\\u{1b}[2J \n\\u{85}b"
        );
        assert_eq!(content("\u{fffe}\u{ffff}"), "\u{fffd}\u{fffd}");
        assert_eq!(attribute(" a\nb\t"), "a b");
    }

    #[test]
    fn seconds_have_three_decimals() {
        assert_eq!(seconds(Duration::from_micros(41_900)), "0.042");
        assert_eq!(seconds(Duration::from_secs(3_600)), "3600.000");
    }
}
