//! Reports as text for 80 columns. Colours are written as escape codes; whoever owns the stream
//! strips them where they are not wanted.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::cause::{Cause, Causes, Findings};
use super::{DomainReport, Outcome, Report, StageReport, StageResult, Verdict};
use crate::finding::{Finding, Severity, words};
use crate::time::{display, elapsed_in_words};

mod check;
mod notify;
mod simulation;
mod status;
mod verify;
mod why;

#[cfg(feature = "sandbox")]
pub(super) use check::brief_check;
pub use check::check;
pub use notify::{findings, notify};
pub use simulation::simulation;
pub use status::{Detail, status};
#[cfg(feature = "sandbox")]
pub(super) use verify::brief_verify;
pub use verify::{Shown, verify};
pub use why::why;

/// Writes a report of `obtain`
///
/// # Errors
/// Those of the stream.
pub fn obtain(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let told: Vec<&DomainReport> = report.domains.iter().collect();
    write_all(&told, report, out)?;
    writeln!(out, "{}", summary(report))
}

/// Writes words under a heading, as an error and its hint have them; what is indented is to be copied, and
/// stays whole
///
/// # Errors
/// Those of the stream.
pub fn under(heading: &str, below: &str, words: &str, out: &mut impl Write) -> io::Result<()> {
    let mut lines = words.lines();
    let first = lines.next().unwrap_or_default();
    write_line(heading, below, first, out)?;
    lines.try_for_each(|line| write_line(below, below, line, out))
}

/// How a report of `renew` tells of what is not due
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// As a number
    Counted,
    /// In a line each
    Listed,
}

/// Writes a report of `renew`
///
/// # Errors
/// Those of the stream.
pub fn renew(report: &Report, idle: Idle, out: &mut impl Write) -> io::Result<()> {
    let is_idle = |domain: &&DomainReport| domain.outcome == Outcome::Unchanged && !domain.warns();
    let told = report.domains.iter().filter(|domain| !is_idle(domain));
    write_all(&told.collect::<Vec<_>>(), report, out)?;
    if idle == Idle::Listed {
        let mut listed = report.domains.iter().filter(is_idle);
        listed.try_for_each(|domain| write_line_of(domain, out))?;
    }
    let idle = report.domains.iter().filter(is_idle);
    let next = idle.filter_map(|domain| Some((domain.renewal_at?, domain.name.as_str())));
    if let Some((at, name)) = next.min() {
        writeln!(out, "next: {name} at {}", display(at))?;
    }
    for orphan in &report.orphans {
        let words = format!("{orphan} is not in the configuration: certd no longer renews it");
        write_wrapped("", &words, out)?;
    }
    writeln!(out, "{}", summary(report))
}

/// Writes these domains, then what several of them have in common
///
/// Of many domains those that are well have a line each.
fn write_all(domains: &[&DomainReport], report: &Report, out: &mut impl Write) -> io::Result<()> {
    let found: Vec<Findings<'_>> = domains
        .iter()
        .map(|domain| Findings::from(*domain))
        .collect();
    let Causes { causes, left } = Causes::of(&found);
    let is_brief = |domain: &DomainReport| {
        domains.len() > FEW && domain.outcome.verdict() == Verdict::Well && !domain.warns()
    };
    let mut brief = domains.iter().filter(|domain| is_brief(domain)).peekable();
    if brief.peek().is_some() {
        brief.try_for_each(|domain| write_line_of(domain, out))?;
        writeln!(out)?;
    }
    for (domain, left) in domains.iter().zip(&left) {
        let matters = |finding: &&Finding| finding.severity >= Severity::Warning;
        let is_told = domain.warns() && !left.iter().any(matters);
        if !is_told && !is_brief(domain) {
            write_domain(domain, left, out)?;
            writeln!(out)?;
        }
    }
    write_causes(&causes, out)?;
    for target in &report.targets {
        writeln!(out, "{BOLD}{}{BOLD:#}", target.name)?;
        for stage in &target.stages {
            write_stage(stage, out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Writes what several domains have in common, with how many and which they are
fn write_causes(causes: &[Cause<'_>], out: &mut impl Write) -> io::Result<()> {
    for cause in causes {
        let (sign, style) = sign(cause.finding.severity);
        let stops = match cause.finding.severity {
            Severity::Failure => " stops",
            _ => ":",
        };
        let (code, count) = (cause.finding.code, plural(cause.domains.len(), "domain"));
        writeln!(out, "{style}{sign} {code}{style:#}{stops} {count}")?;
        write_told(cause.finding, "  ", out)?;
        if !cause.consequences.is_empty() {
            let codes: Vec<&str> = cause.consequences.iter().copied().collect();
            let follow = match codes.len() {
                1 => "and 1 that follows".to_owned(),
                count => format!("and {count} that follow"),
            };
            write_wrapped(
                "  ",
                &format!("{follow} from it: {}", codes.join(", ")),
                out,
            )?;
        }
        write_wrapped("  ", &cause.some_domains(), out)?;
        writeln!(out)?;
    }
    Ok(())
}

/// Writes a domain, and of its findings these
fn write_domain(
    domain: &DomainReport,
    findings: &[&Finding],
    out: &mut impl Write,
) -> io::Result<()> {
    let style = outcome_style(domain.outcome);
    writeln!(
        out,
        "{BOLD}{}{BOLD:#}  {style}{}{style:#}",
        domain.name,
        domain.outcome.as_str().replace('_', " ")
    )?;
    for stage in &domain.stages {
        write_stage(stage, out)?;
    }
    let said = domain
        .findings
        .iter()
        .any(|finding| finding.evidence == domain.summary);
    if !said {
        write_wrapped("  ", &domain.summary, out)?;
    }
    let mut findings = findings.iter();
    findings.try_for_each(|finding| write_finding(finding, "  ", out))
}

/// A domain that is as it should be, in a line
fn write_line_of(domain: &DomainReport, out: &mut impl Write) -> io::Result<()> {
    let style = outcome_style(domain.outcome);
    let word = domain.outcome.as_str().replace('_', " ");
    let first = format!("{BOLD}{}{BOLD:#}  {style}{word}{style:#}  ", domain.name);
    write_line(&first, "  ", &domain.summary, out)
}

fn write_stage(stage: &StageReport, out: &mut impl Write) -> io::Result<()> {
    let style = match stage.result {
        StageResult::Done => Style::new(),
        StageResult::Failed => RED,
    };
    let elapsed = elapsed_in_words(stage.elapsed);
    let room = WIDTH - STAGE_COLUMN - elapsed.len() - 2;
    // A path is copied more often than it is admired.
    let options = textwrap::Options::new(room).break_words(false);
    let detail = words::lines(&stage.detail);
    let lines = textwrap::wrap(&detail, options);
    for (number, line) in lines.iter().enumerate() {
        if number == 0 {
            let name = stage.stage.as_str();
            writeln!(
                out,
                "  {style}{name:<8}{style:#}  {line:<room$}  {DIM}{elapsed}{DIM:#}"
            )?;
        } else {
            writeln!(out, "{:STAGE_COLUMN$}{line}", "")?;
        }
    }
    Ok(())
}

/// A finding: its sign and code, what was seen, and after an arrow what to do
fn write_finding(finding: &Finding, indent: &str, out: &mut impl Write) -> io::Result<()> {
    let (sign, style) = sign(finding.severity);
    writeln!(out, "{indent}{style}{sign} {}{style:#}", finding.code)?;
    write_told(finding, &format!("{indent}  "), out)
}

/// What was seen, and what to do
fn write_told(finding: &Finding, indent: &str, out: &mut impl Write) -> io::Result<()> {
    write_wrapped(indent, &finding.evidence, out)?;
    match &finding.cure {
        Some(cure) => write_cure(cure, indent, out),
        None => Ok(()),
    }
}

/// What to do, after an arrow
fn write_cure(cure: &str, indent: &str, out: &mut impl Write) -> io::Result<()> {
    let mut lines = cure.lines();
    let Some(first) = lines.next() else {
        return Ok(());
    };
    let arrow = format!("{indent}-> ");
    let below = format!("{indent}   ");
    write_line(&arrow, &below, first, out)?;
    lines.try_for_each(|line| write_line(&below, &below, line, out))
}

/// Writes each domain of a report of `obtain` in a line, or what is wrong with it
#[cfg(feature = "sandbox")]
pub(super) fn brief(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let width = widest(report.domains.iter().map(|domain| domain.name.len()));
    for domain in &report.domains {
        let failure = |finding: &&Finding| finding.severity == Severity::Failure;
        if let Some(finding) = domain.findings.iter().find(failure) {
            write_finding(finding, "  ", out)?;
            continue;
        }
        let style = outcome_style(domain.outcome);
        let (name, outcome) = (&domain.name, domain.outcome.as_str());
        let generation = domain.generation.unwrap_or_default();
        let fingerprint = domain.fingerprint.as_deref().and_then(|all| all.get(..8));
        writeln!(
            out,
            "  {style}✓{style:#} {name:<width$}  {outcome}: generation {generation}, {}",
            fingerprint.unwrap_or_default()
        )?;
    }
    Ok(())
}

fn widest(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.max().unwrap_or_default()
}

fn write_wrapped(indent: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    text.lines()
        .try_for_each(|line| write_line(indent, indent, line, out))
}

/// One line of prose, wrapped; a line that is indented itself is to be copied, and stays whole
fn write_line(first: &str, below: &str, line: &str, out: &mut impl Write) -> io::Result<()> {
    let line = words::lines(line);
    let line = line.as_str();
    if line.starts_with(' ') {
        return writeln!(out, "{first}{line}");
    }
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(below)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    for line in textwrap::wrap(line, options) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn summary(report: &Report) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for domain in &report.domains {
        *counts
            .entry(domain.outcome.as_str().replace('_', " "))
            .or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let requests = match report.ca_requests {
        0 => "no request to a CA".to_owned(),
        1 => "1 request to the CA".to_owned(),
        requests => format!("{requests} requests to the CA"),
    };
    format!(
        "{}: {} in {}, {requests}",
        plural(report.domains.len(), "domain"),
        counts.join(", "),
        elapsed_in_words(report.elapsed)
    )
}

fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

const fn sign(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Ok => ("✓", GREEN),
        Severity::Note => ("·", DIM),
        Severity::Warning => ("!", YELLOW),
        Severity::Failure => ("✗", RED),
    }
}

const fn outcome_style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Proven | Outcome::Unchanged | Outcome::Rehearsed => GREEN,
        Outcome::Live | Outcome::Planned => Style::new(),
        Outcome::Later => YELLOW,
        Outcome::NotServed | Outcome::Drifted | Outcome::Failed => RED,
    }
}

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const RED: Style = AnsiColor::Red.on_default();
const WIDTH: usize = 80;
/// Domains of which all is told, be they well
const FEW: usize = 10;
/// Columns before a stage's detail
const STAGE_COLUMN: usize = 12;
