//! `certd status`.

use super::args::Global;
use super::error::CliError;
use super::{Ended, now, print_report};
use crate::config::{Config, Environment};
use crate::pipeline::status::status;
use crate::report::text;
use crate::store::Store;

pub(super) fn run(global: &Global, environment: &Environment) -> Result<Ended, CliError> {
    let path = Config::locate(global.config.as_deref(), environment)?;
    let config = Config::read(&path, environment)?;
    let store = Store::for_reading(&config.storage, &config.state);
    let report = status(&config, &store, now());
    print_report(&report, global.format, global.color, |report, out| {
        text::status(report, out)
    })?;
    Ok(Ended::Well)
}
