//! What `certd status` shows, as a table with notes below it.

use std::io::{self, Write};

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use jiff::{SignedDuration, Timestamp};

use super::{BOLD, write_cure, write_finding, write_wrapped};
use crate::report::status::{LastRun, LineageState, LineageStatus, Standing, StatusReport};
use crate::time::{display, display_date, in_words};

/// Writes a report of `status` as a table
///
/// # Errors
/// Those of the stream.
pub fn status(report: &StatusReport, detail: Detail, out: &mut impl Write) -> io::Result<()> {
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
    let is_told = |lineage: &&LineageStatus| match detail {
        Detail::All => true,
        Detail::WhatMatters => report.lineages.len() <= FEW || lineage.needs_attention(),
    };
    report
        .lineages
        .iter()
        .filter(is_told)
        .try_for_each(|lineage| write_notes(lineage, report.now, out))
}

/// What is told of a lineage beside its line in the table
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All there is
    All,
    /// Of what is well nothing, where there are more than a few lineages
    WhatMatters,
}

fn row(lineage: &LineageStatus) -> Vec<Cell> {
    let dash = || "-".to_owned();
    let left = lineage.remaining_secs.map(SignedDuration::from_secs);
    let left = left.map(|left| match left.is_negative() {
        true => "none".to_owned(),
        false => in_words(left),
    });
    let expires = lineage.not_after.map(display_date);
    let generation = lineage.generation.map(|number| number.to_string());
    vec![
        Cell::new(&lineage.name),
        Cell::new(generation.unwrap_or_else(dash)),
        Cell::new(standing(lineage)),
        Cell::new(expires.unwrap_or_else(dash)),
        Cell::new(left.unwrap_or_else(dash)),
        Cell::new(lineage.issuer.clone().unwrap_or_else(dash)),
    ]
}

/// A word for how a lineage stands: that it has expired comes first, and that its last run failed
/// before what was proven once
fn standing(lineage: &LineageStatus) -> String {
    match (lineage.state, lineage.failure()) {
        (
            LineageState::Damaged
            | LineageState::Unreadable
            | LineageState::Foreign
            | LineageState::Expired,
            _,
        )
        | (_, None) => lineage.state.as_str().to_owned(),
        (_, Some(failure)) => outcome(failure),
    }
}

fn outcome(last: &LastRun) -> String {
    last.outcome.replace('_', " ")
}

/// What a table has no room for: problems, and how the last run ended
fn write_notes(lineage: &LineageStatus, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let mut notes = Vec::new();
    write_aliases(lineage, &mut notes)?;
    if let Some(problem) = &lineage.problem {
        note(problem, &mut notes)?;
    }
    write_last_run(lineage, now, &mut notes)?;
    write_generations(lineage, now, &mut notes)?;
    write_orders(lineage, &mut notes)?;
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{BOLD}{}{BOLD:#}", lineage.name)?;
    out.write_all(&notes)
}

fn note(words: &str, out: &mut impl Write) -> io::Result<()> {
    write_wrapped(INDENT, words, out)
}

fn write_aliases(lineage: &LineageStatus, out: &mut impl Write) -> io::Result<()> {
    let names = lineage.names.iter().map(String::as_str);
    let aliases: Vec<&str> = names.filter(|name| *name != lineage.name).collect();
    match aliases.is_empty() {
        true => Ok(()),
        false => note(&format!("also {}", aliases.join(", ")), out),
    }
}

fn write_last_run(lineage: &LineageStatus, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
    let Some(last) = &lineage.last_result else {
        return Ok(());
    };
    let ago = since(last.at, now);
    note(&format!("{} {ago}: {}", outcome(last), last.message), out)?;
    match &last.cure {
        Some(cure) => write_cure(cure, INDENT, out),
        None => Ok(()),
    }
}

/// When something happened; a clock that was set back has it ahead
fn since(at: Timestamp, now: Timestamp) -> String {
    match at <= now {
        true => format!("{} ago", in_words(now.duration_since(at))),
        false => format!("at {}, by a clock ahead of this host's of now", display(at)),
    }
}

/// What there is all the same where the last run failed, and what waits
fn write_generations(
    lineage: &LineageStatus,
    now: Timestamp,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(generation) = lineage.generation else {
        return Ok(());
    };
    if lineage.failure().is_some() || lineage.state == LineageState::Expired {
        let proven = lineage.proven_at.map_or_else(
            || "never seen served".to_owned(),
            |at| format!("last seen served {}", since(at, now)),
        );
        match lineage.state {
            LineageState::Proven | LineageState::Live => {
                note(&format!("generation {generation} is live, {proven}"), out)?;
            }
            LineageState::Issued => {
                note(&format!("generation {generation} is issued, not live"), out)?;
            }
            LineageState::Expired => {
                note(
                    &format!("generation {generation} has expired, {proven}"),
                    out,
                )?;
            }
            LineageState::None
            | LineageState::Damaged
            | LineageState::Unreadable
            | LineageState::Foreign => {}
        }
    }
    match lineage
        .newest_generation
        .filter(|newest| *newest > generation)
    {
        Some(newest) => {
            let name = &lineage.name;
            let words = "is issued, not live: `certd obtain";
            note(
                &format!("generation {newest} {words} {name}` deploys it"),
                out,
            )
        }
        None => Ok(()),
    }
}

/// What keeps an order from being placed, and when the next one is due
fn write_orders(lineage: &LineageStatus, out: &mut impl Write) -> io::Result<()> {
    let told = lineage.last_result.as_ref();
    let told = told.map_or("", |last| last.message.as_str());
    let reason = lineage.order_failure.as_deref();
    // What the last result says already is not said twice.
    let reason = reason.filter(|reason| !told.contains(reason));
    let reason = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    if lineage.order_stopped {
        note(
            &format!("stopped until a person has acted, then --force{reason}"),
            out,
        )?;
    } else if let Some(at) = lineage.next_try {
        let at = display(at);
        note(&format!("no order is placed before {at}{reason}"), out)?;
    }
    match lineage.standing {
        Standing::Configured => {}
        Standing::Disabled => note("enabled = false: left out by --all", out)?,
        Standing::Orphaned => note("not in domains.toml: certd no longer renews it", out)?,
    }
    if let Some(removal) = &lineage.removal {
        write_cure(removal, INDENT, out)?;
    }
    match lineage.renewal_at {
        Some(at) if lineage.state == LineageState::Proven && !told.contains("due from") => {
            note(&format!("due from {}", display(at)), out)
        }
        _ => Ok(()),
    }
}

const INDENT: &str = "  ";
const ISSUER_COLUMN: usize = 5;
/// Lineages of which all is told
const FEW: usize = 10;
