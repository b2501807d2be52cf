//! What `certd demo` showed, act by act.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::text::{BOLD, DIM, GREEN, RED, brief, brief_verify};
use super::verify::VerifyReport;
use super::{Report, Verdict};
use crate::finding::Severity;
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
    /// Of `certd obtain`
    Obtain(Report),
    /// Of `certd verify`
    Verify(VerifyReport),
}

impl StepReport {
    /// Whether the command ended with exit status 0
    pub fn is_well(&self) -> bool {
        match self {
            Self::Obtain(report) => report.verdict() == Verdict::Well,
            Self::Verify(report) => report.severity() < Severity::Failure,
        }
    }

    /// HTTP requests that it sent to the CA
    pub fn ca_requests(&self) -> u64 {
        match self {
            Self::Obtain(report) => report.ca_requests,
            Self::Verify(_) => 0,
        }
    }
}

/// Writes one act
///
/// # Errors
/// Those of the stream.
pub fn write_act(act: &Act, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{BOLD}{}{BOLD:#}", act.title)?;
    if let Some(edit) = &act.edit {
        writeln!(out, "  {DIM}{}:{}{DIM:#}", edit.file, edit.line)?;
        writeln!(out, "    {}", edit.after)?;
    }
    for step in &act.steps {
        writeln!(out, "  {DIM}${DIM:#} {}", step.typed)?;
        match &step.report {
            StepReport::Obtain(report) => brief(report, out)?,
            StepReport::Verify(report) => brief_verify(report, out)?,
        }
        if step.ending == Ending::Otherwise {
            writeln!(out, "  {RED}This is not how the story goes.{RED:#}")?;
        }
    }
    writeln!(out)
}

/// Writes what it came to
///
/// # Errors
/// Those of the stream.
pub fn write_summary(report: &DemoReport, out: &mut impl Write) -> io::Result<()> {
    let requests: u64 = report.steps().map(|step| step.report.ca_requests()).sum();
    let elapsed = elapsed_in_words(report.elapsed);
    match report.ending() {
        Ending::AsTold => writeln!(
            out,
            "{GREEN}✓{GREEN:#} {} commands in {elapsed}, {requests} requests to the CA",
            report.steps().count()
        ),
        Ending::Otherwise => writeln!(
            out,
            "{RED}✗{RED:#} the demo went wrong; --dir DIR keeps its files"
        ),
    }
}
