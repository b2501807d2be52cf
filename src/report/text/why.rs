//! A report of `why` as text: one screen, the cure last.

use std::io::{self, Write};

use super::{BOLD, DIM, sign, write_line};
use crate::finding::Severity;
use crate::report::why::{Answer, Change, Link, Step, WhyReport};

/// Writes a report of `why`
///
/// # Errors
/// Those of the stream.
pub fn why(report: &WhyReport, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{BOLD}{}{BOLD:#}", report.url)?;
    for step in &report.steps {
        write_step(step, report, out)?;
    }
    writeln!(out)?;
    let (sign, style) = sign(report.severity());
    let words = match report.verdict.answer {
        Answer::Accepted => "browsers accept it",
        Answer::Contradicted => "browsers accept it, but it is the wrong certificate",
        Answer::Refused => "browsers refuse it",
        Answer::Unreached => "no browser gets through",
        Answer::Unjudged => "it cannot be judged, and a browser may accept it",
    };
    // The first line alone is coloured: a style that spans lines survives no pager.
    let first = format!("{style}{sign} {words}{style:#}: ");
    write_line(&first, "  ", &report.verdict.reason, out)?;
    match &report.change {
        Some(change) => write_change(report, change, out),
        None => Ok(()),
    }
}

fn write_step(step: &Step, report: &WhyReport, out: &mut impl Write) -> io::Result<()> {
    let (sign, style) = sign(step.severity);
    let word = step.link.as_str();
    let first = format!("  {style}{sign}{style:#} {word:<WORD$}  ");
    let below = " ".repeat(WORD + 6);
    write_line(&first, &below, &step.seen, out)?;
    let least = match step.link {
        // The verdict says what is wrong with the first certificate, which is the worst.
        Link::Served if is_first(step, report) => return Ok(()),
        // That it differs is to be seen.
        Link::Served => Severity::Failure,
        _ => Severity::Warning,
    };
    let change = report.change.as_ref();
    let is_told = |evidence: &str| {
        step.seen.contains(evidence) || change.is_some_and(|change| change.evidence == evidence)
    };
    step.findings
        .iter()
        .filter(|finding| finding.severity >= least && !is_told(&finding.evidence))
        .flat_map(|finding| finding.evidence.lines())
        .try_for_each(|line| write_line(&below, &below, line, out))
}

/// Whether it is the first step of its link
fn is_first(step: &Step, report: &WhyReport) -> bool {
    let mut steps = report.steps.iter();
    steps.find(|other| other.link == step.link) == Some(step)
}

fn write_change(report: &WhyReport, change: &Change, out: &mut impl Write) -> io::Result<()> {
    let (link, code) = (change.link.as_str(), change.code);
    let what = match report.verdict.answer {
        Answer::Accepted | Answer::Unjudged => "the first odd link",
        _ => "the first broken link",
    };
    let mut seen = report.steps.iter().map(|step| step.seen.as_str());
    let is_told = report.verdict.reason.ends_with(&change.evidence)
        || seen.any(|seen| seen.contains(&change.evidence));
    if is_told {
        writeln!(out, "  {what}: {link} {DIM}({code}){DIM:#}")?;
    } else {
        let first = format!("  {what}: {link} {DIM}({code}){DIM:#}, ");
        let mut lines = change.evidence.lines();
        write_line(&first, "  ", lines.next().unwrap_or_default(), out)?;
        lines.try_for_each(|line| write_line("    ", "    ", line, out))?;
    }
    let mut lines = change.cure.lines();
    write_line("  -> ", "     ", lines.next().unwrap_or_default(), out)?;
    lines.try_for_each(|line| write_line("     ", "     ", line, out))
}

/// The widest word that stands for a link
const WORD: usize = 9;
