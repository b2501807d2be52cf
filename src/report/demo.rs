//! What `certd demo` showed, act by act.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::check::{CheckReport, NameFindings, Readiness};
use super::text::{BOLD, DIM, GREEN, RED, brief, brief_check, brief_verify};
use super::verify::VerifyReport;
use super::{Report, Verdict};
use crate::finding::{Finding, Severity};
use crate::time::{elapsed_in_words, serialize_millis};

/// The whole demonstration
#[derive(Clone, Debug, Serialize)]
pub struct DemoReport {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Always `demo`
    pub command: &'static str,
    /// When it began
    pub started: Timestamp,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    pub elapsed: Duration,
    /// Where its files are, or were
    pub directory: PathBuf,
    /// Where its servers are, or were
    pub addresses: Addresses,
    /// What was done, in order
    pub acts: Vec<Act>,
}

/// Where the servers of a demo are
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// The CA's directory, a URL
    pub directory: String,
    /// The DNS server
    pub dns: SocketAddr,
    /// Where the sites are served with HTTP
    pub http: SocketAddr,
    /// Where they are served with TLS
    pub https: SocketAddr,
    /// The Docker engine, a URL
    pub docker: String,
}

impl DemoReport {
    /// Whether every command ended as the story has it
    pub fn ending(&self) -> Ending {
        let all = self.steps().all(|step| step.ending == Ending::AsTold);
        match all {
            true => Ending::AsTold,
            false => Ending::Otherwise,
        }
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.acts.iter().flat_map(|act| &act.steps)
    }
}

/// A part of the story
#[derive(Clone, Debug, Serialize)]
pub struct Act {
    /// What it shows
    pub title: &'static str,
    /// What was changed in nginx's configuration before it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edit: Option<Edit>,
    /// The commands, in order
    pub steps: Vec<Step>,
}

/// One command of the story
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The command, as it would be typed
    pub typed: String,
    /// Whether it ended as the story has it
    pub ending: Ending,
    /// What it reported
    pub report: StepReport,
}

/// A line of nginx's configuration that was changed
#[derive(Clone, Debug, Serialize)]
pub struct Edit {
    /// The file, below the demo's directory
    pub file: String,
    /// Which line, from 1
    pub line: usize,
    /// The line as it was
    pub before: String,
    /// The line as it is
    pub after: String,
    /// Whether it is for the worse
    pub kind: EditKind,
}

/// Whether a change is for the worse
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EditKind {
    /// It is
    Mistake,
    /// It takes a mistake back
    Correction,
}

/// Whether a command ended as the story has it
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It did
    AsTold,
    /// Something is wrong with this machine, or with certd
    Otherwise,
}

/// The report of a command
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum StepReport {
    /// Of `certd check`
    Check(CheckReport),
    /// Of `certd obtain`
    Obtain(Report),
    /// Of `certd verify`
    Verify(VerifyReport),
}

impl StepReport {
    /// Whether the command ended with exit status 0
    pub fn is_well(&self) -> bool {
        match self {
            Self::Check(report) => report.readiness() == Readiness::Ready,
            Self::Obtain(report) => report.verdict() == Verdict::Well,
            Self::Verify(report) => report.severity() < Severity::Failure,
        }
    }

    /// Codes of all that it found
    pub fn codes(&self) -> Vec<&'static str> {
        let findings: Vec<&Finding> = match self {
            Self::Check(report) => {
                let names = report.domains.iter().flat_map(|domain| &domain.names);
                names.flat_map(NameFindings::all).collect()
            }
            Self::Obtain(report) => {
                let domains = report.domains.iter();
                domains.flat_map(|domain| &domain.findings).collect()
            }
            Self::Verify(report) => {
                let endpoints = report.endpoints.iter();
                endpoints.flat_map(|endpoint| &endpoint.findings).collect()
            }
        };
        findings.into_iter().map(|finding| finding.code).collect()
    }
}

/// Writes what an act shows
///
/// # Errors
/// Those of the stream.
pub fn write_title(title: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{BOLD}{title}{BOLD:#}")
}

/// Writes what was changed before an act
///
/// # Errors
/// Those of the stream.
pub fn write_edit(edit: &Edit, out: &mut impl Write) -> io::Result<()> {
    let place = format!("{DIM}{}:{}{DIM:#}", edit.file, edit.line);
    match edit.kind {
        EditKind::Mistake => writeln!(out, "  {place}\n    {}", edit.after),
        EditKind::Correction => writeln!(out, "  {place} is as it was"),
    }
}

/// Writes one command and its outcome
///
/// # Errors
/// Those of the stream.
pub fn write_step(step: &Step, out: &mut impl Write) -> io::Result<()> {
    let status = match step.report.is_well() {
        true => "",
        false => "  (exit 1)",
    };
    writeln!(out, "  {DIM}${DIM:#} {}{DIM}{status}{DIM:#}", step.typed)?;
    match &step.report {
        StepReport::Check(report) => brief_check(report, out),
        StepReport::Obtain(report) => brief(report, out),
        StepReport::Verify(report) => brief_verify(report, out),
    }
}

/// Writes all that was done
///
/// # Errors
/// Those of the stream.
pub fn write_demo(report: &DemoReport, out: &mut impl Write) -> io::Result<()> {
    for act in &report.acts {
        write_title(act.title, out)?;
        act.edit.iter().try_for_each(|edit| write_edit(edit, out))?;
        act.steps
            .iter()
            .try_for_each(|step| write_step(step, out))?;
        writeln!(out)?;
    }
    write_summary(report, "", out)
}

/// Writes what it came to, and what there is to say after success
///
/// # Errors
/// Those of the stream.
pub fn write_summary(
    report: &DemoReport,
    afterwards: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let elapsed = elapsed_in_words(report.elapsed);
    let count = report.steps().count();
    match report.ending() {
        Ending::AsTold => {
            writeln!(
                out,
                "{GREEN}✓{GREEN:#} {count} commands in {elapsed}{afterwards}"
            )
        }
        Ending::Otherwise => writeln!(
            out,
            "{RED}✗{RED:#} stopped: the last command should have ended otherwise"
        ),
    }
}
