//! The log on stderr.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Form of the log
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// How much is logged
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A domain will break
    Error,
    /// Look at this
    Warn,
    /// What a daemon tells of what it does
    News,
    /// State changed
    Info,
    /// Every step
    Debug,
}

/// Starts the log; `$CERTD_LOG` overrides the level with a filter of tracing's own form
///
/// Called again it changes nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::News => "certd::schedule=info,warn",
        LogLevel::Info => "certd=info,warn",
        // hickory-server tells of every question at info.
        LogLevel::Debug => "certd=debug,hickory_server=warn,info",
    };
    let filter = EnvFilter::try_from_env("CERTD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false);
    // Only a second start can fail, and then the first one holds.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
