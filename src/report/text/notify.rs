//! Alerts: what became of them.

use std::io::{self, Write};

use super::{DIM, GREEN, elapsed_in_words, write_finding};
use crate::finding::{Finding, Severity};
use crate::report::notify::NotifyReport;

/// Writes a report of `notify --test`: a line for each channel that works, a finding for each other
///
/// # Errors
/// Those of the stream.
pub fn notify(report: &NotifyReport, out: &mut impl Write) -> io::Result<()> {
    for channel in &report.channels {
        match channel.finding.severity {
            Severity::Ok => {
                let elapsed = elapsed_in_words(channel.elapsed);
                let words = &channel.finding.evidence;
                writeln!(out, "{GREEN}✓{GREEN:#} {words}  {DIM}{elapsed}{DIM:#}")?;
            }
            _ => write_finding(&channel.finding, "", out)?,
        }
    }
    Ok(())
}

/// Writes findings that belong to no report
///
/// # Errors
/// Those of the stream.
pub fn findings(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    findings
        .iter()
        .try_for_each(|finding| write_finding(finding, "", out))
}
