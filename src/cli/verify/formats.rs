//! Which writer prints the report of `verify`.

use std::env;
use std::path::{Path, PathBuf};

use crate::cli::args::{Format, Global};
use crate::cli::error::CliError;
use crate::cli::{print, write_json, write_text};
use crate::finding::Severity;
use crate::report::text;
use crate::report::verify::checkout::Checkout;
use crate::report::verify::{VerifyReport, github, junit, prometheus, sarif};

/// Prints the report in the format that was asked for
///
/// `--quiet` spares people a good report. A program that was promised a file must get one: without
/// any test case CI calls the job broken, and without any metric the last ones stay for ever.
pub(super) fn print_report(
    global: &Global,
    report: &VerifyReport,
    fails_from: Severity,
) -> Result<(), CliError> {
    if global.keeps_back(report.severity() < Severity::Warning) {
        return Ok(());
    }
    print(global.color, |out| match global.format {
        Format::Text => {
            let shown = match global.quiet {
                true => text::Shown::WhatNeedsAttention,
                false => text::Shown::All,
            };
            write_text(out, |out| text::verify(report, shown, out))
        }
        Format::Json => write_json(report, out),
        Format::Junit => junit::write(report, fails_from, out),
        Format::Sarif => sarif::write(report, &checkout()?, out),
        Format::Github => github::write(report, &checkout()?, out),
        Format::Prometheus => prometheus::write(report, fails_from, out),
    })
}

/// The checkout that the CI system says it works on; else the current directory is its root
fn checkout() -> std::io::Result<Checkout> {
    let directory = env::current_dir()?;
    let root = ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"]
        .into_iter()
        .find_map(env::var_os)
        .map(PathBuf::from);
    Ok(Checkout::new(
        root.as_deref().unwrap_or_else(|| Path::new(&directory)),
        &directory,
    ))
}
