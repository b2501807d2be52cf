//! A report of `check` as text.

use std::io::{self, Write};

use anstyle::Style;

use super::{BOLD, GREEN, RED, YELLOW, plural, sign, write_finding, write_line};
use crate::finding::{Finding, Severity};
use crate::report::check::{CheckReport, DomainCheck, Group, NameFindings, Readiness};
use crate::time::elapsed_in_words;

/// Writes a report of `check`
///
/// # Errors
/// Those of the stream.
pub fn check(report: &CheckReport, out: &mut impl Write) -> io::Result<()> {
    for domain in &report.domains {
        write_domain(domain, out)?;
        writeln!(out)?;
    }
    let count = |readiness| {
        let all = report.domains.iter();
        all.filter(|domain| domain.readiness == readiness).count()
    };
    let parts: Vec<String> = [Readiness::Ready, Readiness::Later, Readiness::NotReady]
        .into_iter()
        .map(|readiness| (readiness, count(readiness)))
        .filter(|(_, count)| *count > 0)
        .map(|(readiness, count)| format!("{count} {}", readiness.as_str()))
        .collect();
    writeln!(
        out,
        "{}: {} in {}",
        plural(report.domains.len(), "domain"),
        parts.join(", "),
        elapsed_in_words(report.elapsed)
    )
}

/// Writes each domain in a line, or the first thing that is wrong with each of its names
///
/// What to do about it is left out.
#[cfg(feature = "sandbox")]
pub(in crate::report) fn brief_check(report: &CheckReport, out: &mut impl Write) -> io::Result<()> {
    for domain in &report.domains {
        if domain.readiness == Readiness::Ready {
            writeln!(out, "  {GREEN}✓{GREEN:#} {}  ready", domain.name)?;
            continue;
        }
        let first = |name: &NameFindings| name.failures(|_| true).next().cloned();
        for finding in domain.names.iter().filter_map(first) {
            let without_cure = Finding {
                cure: None,
                ..finding
            };
            write_finding(&without_cure, "  ", out)?;
        }
    }
    Ok(())
}

fn write_domain(domain: &DomainCheck, out: &mut impl Write) -> io::Result<()> {
    let style = style(domain.readiness);
    let readiness = domain.readiness.as_str();
    writeln!(
        out,
        "{BOLD}{}{BOLD:#}  {style}{readiness}{style:#}",
        domain.name
    )?;
    for group in domain
        .groups
        .iter()
        .filter(|group| !group.findings.is_empty())
    {
        write_group(group, out)?;
    }
    match domain.names.as_slice() {
        // The domain's own name stands above.
        [name] => write_checks(name, "", out),
        names => names.iter().try_for_each(|name| {
            writeln!(out, "  {}", name.name)?;
            write_checks(name, "  ", out)
        }),
    }
}

const fn style(readiness: Readiness) -> Style {
    match readiness {
        Readiness::Ready => GREEN,
        Readiness::Later => YELLOW,
        Readiness::NotReady => RED,
    }
}

/// What is good in a line, what is not in full
fn write_group(group: &Group, out: &mut impl Write) -> io::Result<()> {
    let findings: Vec<&Finding> = group.findings.iter().collect();
    write_all(group.about, "", &findings, out)
}

fn write_checks(name: &NameFindings, indent: &str, out: &mut impl Write) -> io::Result<()> {
    for (check, findings) in &name.checks {
        let findings: Vec<&Finding> = findings.iter().collect();
        write_all(check.as_str(), indent, &findings, out)?;
    }
    Ok(())
}

fn write_all(
    about: &str,
    indent: &str,
    findings: &[&Finding],
    out: &mut impl Write,
) -> io::Result<()> {
    let is_bad =
        |finding: &&&Finding| finding.severity >= Severity::Warning || finding.cure.is_some();
    let bad: Vec<&&Finding> = findings.iter().filter(is_bad).collect();
    if bad.is_empty() {
        let worst = findings.iter().map(|finding| finding.severity).max();
        let (sign, style) = sign(worst.unwrap_or(Severity::Ok));
        let evidence: Vec<&str> = findings
            .iter()
            .map(|finding| finding.evidence.as_str())
            .collect();
        let first = format!("  {indent}{style}{sign}{style:#} {about:<WORD$}  ");
        let below = format!("  {indent}{:WIDTH_OF_SIGN$}", "");
        return write_line(&first, &below, &evidence.join("; "), out);
    }
    let indent = format!("  {indent}");
    bad.into_iter()
        .try_for_each(|finding| write_finding(finding, &indent, out))
}

/// The widest word that stands for a group
const WORD: usize = 6;
const WIDTH_OF_SIGN: usize = 2 + WORD + 2;
