//! The log on stderr.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

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

/// Starts the log; `$CERTD_LOG` overrides the level with targets and levels, such as
/// `certd::schedule=debug,warn`
///
/// Called again it changes nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    let wanted = std::env::var("CERTD_LOG").ok();
    let filter = wanted.and_then(|wanted| wanted.parse().ok());
    let log = registry().with(filter.unwrap_or_else(|| usual(level)));
    let lines = layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false);
    // Only a second start can fail, and then the first one holds.
    let _ = match format {
        LogFormat::Text => log.with(lines).try_init(),
        LogFormat::Json => log.with(lines.json()).try_init(),
    };
}

fn usual(level: LogLevel) -> Targets {
    let of_others = |level| Targets::new().with_default(level);
    match level {
        LogLevel::Error => of_others(LevelFilter::ERROR),
        LogLevel::Warn => of_others(LevelFilter::WARN),
        LogLevel::News => {
            of_others(LevelFilter::WARN).with_target("certd::schedule", LevelFilter::INFO)
        }
        LogLevel::Info => of_others(LevelFilter::WARN).with_target("certd", LevelFilter::INFO),
        // hickory-server tells of every question at info.
        LogLevel::Debug => of_others(LevelFilter::INFO)
            .with_target("certd", LevelFilter::DEBUG)
            .with_target("hickory_server", LevelFilter::WARN),
    }
}
