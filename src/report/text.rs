//! Reports as text for 80 columns. Colours are written as escape codes; whoever owns the stream
//! strips them where they are not wanted.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{DomainReport, Outcome, Report, StageReport, StageResult};
use crate::finding::{Finding, Severity};
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
pub use status::status;
#[cfg(feature = "sandbox")]
pub(super) use verify::brief_verify;
pub use verify::{Shown, verify};
pub use why::why;

/// Writes a report of `obtain`
///
/// # Errors
/// Those of the stream.
pub fn obtain(report: &Report, out: &mut impl Write) -> io::Result<()> {
    write_all(report.domains.iter(), report, out)?;
    writeln!(out, "{}", summary(report))
}

/// Writes a report of `renew`: what is not due is counted
///
/// # Errors
/// Those of the stream.
pub fn renew(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let is_idle = |domain: &&DomainReport| domain.outcome == Outcome::Unchanged && !domain.warns();
    let told = report.domains.iter().filter(|domain| !is_idle(domain));
    write_all(told, report, out)?;
    let idle = report.domains.iter().filter(is_idle);
    let next = idle.filter_map(|domain| Some((domain.renewal_at?, domain.name.as_str())));
    if let Some((at, name)) = next.min() {
        writeln!(out, "next: {name} at {}", display(at))?;
    }
    for orphan in &report.orphans {
        let words = format!("{orphan} is not in the configuration: nobody renews it");
        write_wrapped("", &words, out)?;
    }
    writeln!(out, "{}", summary(report))
}

fn write_all<'r>(
    domains: impl Iterator<Item = &'r DomainReport>,
    report: &Report,
    out: &mut impl Write,
) -> io::Result<()> {
    for domain in domains {
        write_domain(domain, out)?;
        writeln!(out)?;
    }
    for target in &report.targets {
        writeln!(out, "{BOLD}{}{BOLD:#}", target.name)?;
        for stage in &target.stages {
            write_stage(stage, out)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_domain(domain: &DomainReport, out: &mut impl Write) -> io::Result<()> {
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
    for finding in &domain.findings {
        write_finding(finding, "  ", out)?;
    }
    Ok(())
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
    let lines = textwrap::wrap(&stage.detail, options);
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
    let inner = format!("{indent}  ");
    write_wrapped(&inner, &finding.evidence, out)?;
    match &finding.cure {
        Some(cure) => write_cure(cure, &inner, out),
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
    // nginx's own words keep their lines, and nothing else that a terminal would obey.
    let line: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
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
/// Columns before a stage's detail
const STAGE_COLUMN: usize = 12;
