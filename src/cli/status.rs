//! `certd status`.

use std::collections::BTreeSet;

use super::args::{Global, StatusArguments};
use super::error::CliError;
use super::obtain::named;
use super::{Ended, now, print_report};
use crate::config::{Config, Environment};
use crate::name::DnsName;
use crate::pipeline::status::status;
use crate::report::status::StatusReport;
use crate::report::text::{self, Detail};
use crate::store::Store;

pub(super) fn run(
    global: &Global,
    args: &StatusArguments,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let path = Config::locate(global.config.as_deref(), environment)?;
    let config = Config::read(&path, environment)?;
    let store = Store::for_reading(&config.storage, &config.state);
    let mut report = status(&config, &store, now());
    let detail = match args.domains.is_empty() {
        true => Detail::WhatMatters,
        false => {
            let wanted = wanted(&config, &report, &args.domains)?;
            report
                .lineages
                .retain(|lineage| wanted.contains(&lineage.name));
            Detail::All
        }
    };
    print_report(&report, global.format, global.color, |report, out| {
        text::status(report, detail, out)
    })?;
    Ok(Ended::Well)
}

/// The names of these lineages; one that is stored and no longer configured is known too
fn wanted(
    config: &Config,
    report: &StatusReport,
    names: &[String],
) -> Result<BTreeSet<String>, CliError> {
    let stored = |text: &str| {
        let name = DnsName::parse(text).ok()?.to_string();
        let mut lineages = report.lineages.iter();
        lineages.any(|lineage| lineage.name == name).then_some(name)
    };
    let wanted = names.iter().map(|text| match stored(text) {
        Some(name) => Ok(name),
        None => Ok(named(config, text)?.name.to_string()),
    });
    wanted.collect()
}
