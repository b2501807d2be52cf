//! The log on stderr.

use std::fmt;
use std::io;

use clap::ValueEnum;
use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::finding::words::{Escapes, Guarded};

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
    let escapes = match format {
        LogFormat::Text => Escapes::Text,
        LogFormat::Json => Escapes::Json,
    };
    let lines = layer()
        .with_writer(move || Guarded::new(io::stderr(), escapes))
        .with_target(false)
        .with_ansi(false);
    // Only a second start can fail, and then the first one holds.
    let _ = match format {
        LogFormat::Text if is_journal() => log.with(lines.event_format(Journal)).try_init(),
        LogFormat::Text => log.with(lines).try_init(),
        LogFormat::Json => log.with(lines.json()).try_init(),
    };
}

/// Whether stderr is systemd's journal
///
/// `$JOURNAL_STREAM` alone does not say so: a child whose stderr was led elsewhere inherits it
/// (systemd.exec(5)).
pub fn is_journal() -> bool {
    let (Ok(stream), Ok(stderr)) = (std::env::var("JOURNAL_STREAM"), fstat(io::stderr())) else {
        return false;
    };
    stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

/// What a line of the journal begins with that tells of an error
pub const ERROR: &str = "<3>";

/// A line for systemd's journal: its priority as in sd-daemon(3), without the time and the level,
/// which the journal shows by itself
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => ERROR,
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        };
        let mut words = String::new();
        event.record(&mut Copied(&mut words));
        if words.is_empty() {
            context.format_fields(Writer::new(&mut words), event)?;
        }
        // A line without a priority would have that of the whole stream.
        words
            .lines()
            .try_for_each(|line| writeln!(writer, "{priority}{line}"))
    }
}

/// Takes the message of an event that begins with a blank: a line that somebody copies, to which
/// no field may be added
struct Copied<'w>(&'w mut String);

impl Visit for Copied<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            return;
        }
        let message = format!("{value:?}");
        if message.starts_with(' ') {
            self.0.push_str(&message);
        }
    }
}

fn usual(level: LogLevel) -> Targets {
    // What the resolver finds odd is told in certd's own words, where it matters.
    let quiet = ["hickory_net", "hickory_proto", "hickory_resolver"];
    let of_others = |level| {
        let all = Targets::new().with_default(level);
        all.with_targets(quiet.map(|target| (target, LevelFilter::ERROR)))
    };
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
