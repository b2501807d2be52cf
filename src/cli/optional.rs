//! domains.toml for a command that can do without: one that looks at a host that it is given.

use std::path::Path;

use super::args::Global;
use super::error::CliError;
use crate::config::{Config, ConfigError, Demand, Environment};

/// The configuration; `None` where none was found, or one that was not named is of no use
///
/// A file that may not be read, which root keeps for itself, is none. Neither is one with mistakes
/// that merely lies in the current directory, and is perhaps another program's.
pub(super) fn config(
    global: &Global,
    environment: &Environment,
) -> Result<Option<Config>, CliError> {
    let is_named = global.config.is_some() || environment.config.is_some();
    let path = match Config::locate(global.config.as_deref(), environment) {
        Err(ConfigError::NotFound { .. }) => return Ok(None),
        located => located?,
    };
    match Config::read_for(&path, environment, Demand::Nothing) {
        Err(error) if error.is_forbidden() && !is_named => Ok(None),
        Err(error) if !is_named && path == Path::new(LOCAL) => {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            tracing::warn!(file = LOCAL, reason, "left aside");
            Ok(None)
        }
        read => Ok(Some(read?)),
    }
}

const LOCAL: &str = "domains.toml";
