//! What `certd status` shows, as a table with notes below it.

use std::io::{self, Write};

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use jiff::{SignedDuration, Timestamp};

use super::{BOLD, write_finding, write_wrapped};
use crate::report::status::{LineageState, LineageStatus, Standing, StatusReport};
use crate::time::{display, display_date, in_words};

/// Writes a report of `status` as a table
///
/// # Errors
/// Those of the stream.
pub fn status(report: &StatusReport, out: &mut impl Write) -> io::Result<()> {
    for warning in &report.warnings {
        write_finding(warning, "", out)?;
        writeln!(out)?;
    }
    if report.lineages.is_empty() {
        return writeln!(out, "no domain is configured and no certificate is stored");
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(80)
        .set_header(["DOMAIN", "GEN", "STATE", "EXPIRES", "LEFT", "ISSUER"]);
    for lineage in &report.lineages {
        table.add_row(row(lineage));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // A long issuer must not squeeze the names.
    if let Some(issuer) = table.column_mut(ISSUER_COLUMN) {
        issuer.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(14)));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    for lineage in &report.lineages {
        write_notes(lineage, report.now, out)?;
    }
    Ok(())
}

fn row(lineage: &LineageStatus) -> Vec<Cell> {
    let dash = || "-".to_owned();
    let left = lineage.remaining_secs.map(SignedDuration::from_secs);
    let left = left.map(|left| match left.is_negative() {
        true => "expired".to_owned(),
        false => in_words(left),
    });
    let expires = lineage.not_after.map(display_date);
    let generation = lineage.generation.map(|number| number.to_string());
    vec![
        Cell::new(&lineage.name),
        Cell::new(generation.unwrap_or_else(dash)),
        Cell::new(lineage.state.as_str()),
        Cell::new(expires.unwrap_or_else(dash)),
        Cell::new(left.unwrap_or_else(dash)),
        Cell::new(lineage.issuer.clone().unwrap_or_else(dash)),
    ]
}

/// What a table has no room for: problems, and a last run that did not end well
fn write_notes(lineage: &LineageStatus, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let mut notes = Vec::new();
    let aliases: Vec<&str> = lineage
        .names
        .iter()
        .map(String::as_str)
        .filter(|name| *name != lineage.name)
        .collect();
    if !aliases.is_empty() {
        notes.push(format!("also {}", aliases.join(", ")));
    }
    if let Some(problem) = &lineage.problem {
        notes.push(problem.clone());
    }
    if let Some(last) = &lineage.last_result {
        let ago = in_words(now.duration_since(last.at));
        let outcome = last.outcome.replace('_', " ");
        notes.push(format!("{outcome} {ago} ago: {}", last.message));
    }
    if let (Some(generation), Some(newest)) = (lineage.generation, lineage.newest_generation)
        && newest > generation
    {
        let name = &lineage.name;
        notes.push(format!(
            "generation {newest} is issued, not live: `certd obtain {name}` deploys it"
        ));
    }
    let told = lineage
        .last_result
        .as_ref()
        .map(|last| last.message.as_str());
    let reason = lineage.order_failure.as_deref();
    // What the last result says already is not said twice.
    let reason = reason.filter(|reason| !told.is_some_and(|told| told.contains(reason)));
    let reason = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    if lineage.order_stopped {
        notes.push(format!(
            "stopped until a person has acted, then --force{reason}"
        ));
    } else if let Some(at) = lineage.next_try {
        notes.push(format!("no order is placed before {}{reason}", display(at)));
    }
    match lineage.standing {
        Standing::Configured => {}
        Standing::Disabled => notes.push("enabled = false: left out by --all".to_owned()),
        Standing::Orphaned => notes.push("not in domains.toml: nobody renews it".to_owned()),
    }
    if let Some(at) = lineage.renewal_at.filter(|_| {
        lineage.state == LineageState::Proven && !notes.iter().any(|note| note.contains("due from"))
    }) {
        notes.push(format!("due from {}", display(at)));
    }
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}{}{BOLD:#}", lineage.name)?;
    notes
        .iter()
        .try_for_each(|note| write_wrapped("  ", note, out))
}

const ISSUER_COLUMN: usize = 5;
