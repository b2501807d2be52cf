//! A report of `check` as text.

use std::io::{self, Write};

use anstyle::Style;

use super::{BOLD, FEW, GREEN, RED, YELLOW, plural, sign, write_causes, write_finding, write_line};
use crate::finding::{Finding, Severity};
use crate::report::cause::{Causes, Findings};
use crate::report::check::{CheckReport, DomainCheck, NameFindings, Readiness};
use crate::time::elapsed_in_words;

/// Writes a report of `check`
///
/// # Errors
/// Those of the stream.
pub fn check(report: &CheckReport, out: &mut impl Write) -> io::Result<()> {
    let found: Vec<Findings<'_>> = report.domains.iter().map(Findings::from).collect();
    let Causes { causes, left } = Causes::of(&found);
    let is_brief = |domain: &DomainCheck, left: &[&Finding]| {
        let mut bad = left
            .iter()
            .filter(|finding| finding.severity >= Severity::Warning);
        report.domains.len() > FEW && domain.readiness == Readiness::Ready && bad.next().is_none()
    };
    for ((domain, found), left) in report.domains.iter().zip(&found).zip(&left) {
        let is_bad = |finding: &&Finding| finding.severity >= Severity::Warning;
        let is_told = found.findings.iter().any(is_bad) && !left.iter().any(is_bad);
        if is_brief(domain, left) {
            writeln!(
                out,
                "{GREEN}✓{GREEN:#} {BOLD}{}{BOLD:#}  ready",
                domain.name
            )?;
        } else if !is_told {
            write_domain(domain, left, out)?;
            writeln!(out)?;
        }
    }
    write_causes(&causes, out)?;
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

impl<'r> From<&'r DomainCheck> for Findings<'r> {
    fn from(domain: &'r DomainCheck) -> Self {
        let groups = domain.groups.iter().flat_map(|group| &group.findings);
        let checks = domain.names.iter().flat_map(|name| name.checks.values());
        Self {
            name: &domain.name,
            names: domain.names.iter().map(|name| name.name.as_str()).collect(),
            findings: groups.chain(checks.flatten()).collect(),
        }
    }
}

/// Writes a domain, and of its findings these
fn write_domain(domain: &DomainCheck, left: &[&Finding], out: &mut impl Write) -> io::Result<()> {
    let style = style(domain.readiness);
    let readiness = domain.readiness.as_str();
    writeln!(
        out,
        "{BOLD}{}{BOLD:#}  {style}{readiness}{style:#}",
        domain.name
    )?;
    for group in &domain.groups {
        write_all(group.about, "", &those_of(&group.findings, left), out)?;
    }
    match domain.names.as_slice() {
        // The domain's own name stands above.
        [name] => write_checks(name, "", left, out),
        names => names.iter().try_for_each(|name| {
            writeln!(out, "  {}", name.name)?;
            write_checks(name, "  ", left, out)
        }),
    }
}

/// The findings that are among those that are left
fn those_of<'r>(findings: &'r [Finding], left: &[&Finding]) -> Vec<&'r Finding> {
    let is_left = |finding: &&Finding| left.iter().any(|left| std::ptr::eq(*left, *finding));
    findings.iter().filter(is_left).collect()
}

const fn style(readiness: Readiness) -> Style {
    match readiness {
        Readiness::Ready => GREEN,
        Readiness::Later => YELLOW,
        Readiness::NotReady => RED,
    }
}

fn write_checks(
    name: &NameFindings,
    indent: &str,
    left: &[&Finding],
    out: &mut impl Write,
) -> io::Result<()> {
    let mut checks = name.checks.iter();
    checks.try_for_each(|(check, findings)| {
        write_all(check.as_str(), indent, &those_of(findings, left), out)
    })
}

/// What is good in a line, what is not in full
fn write_all(
    about: &str,
    indent: &str,
    findings: &[&Finding],
    out: &mut impl Write,
) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
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
