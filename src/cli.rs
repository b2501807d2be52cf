//! The command line: reads arguments, calls the library, prints results, returns an exit status.
//!
//! Results go to stdout, everything else to stderr.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anstream::AutoStream;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use serde::Serialize;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Believed, Config, Environment};
use crate::finding::words::{Escapes, Guarded};
use crate::report::Verdict;
use crate::telemetry;

mod args;
mod check;
#[cfg(feature = "sandbox")]
mod demo;
mod error;
mod notify;
mod obtain;
mod optional;
mod process;
mod progress;
mod renew;
mod run;
mod schema;
mod simulated;
mod status;
mod verify;
mod why;

use args::{Args, Color, Command, Format};
use error::CliError;

/// Runs the command that the process was started with
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return refuse(error),
    };
    telemetry::start(args.log_level(), args.global.log_format);
    process::raise_descriptors();
    if matches!(args.command, Command::Run) {
        process::hide_memory();
    }
    let color = args.global.color;
    match run_command(args) {
        Ok(ended) => ended.into(),
        Err(error) => {
            // When stderr is gone there is nobody left to tell.
            let _ = tell(&error, color);
            error.ended().into()
        }
    }
}

/// Writes an error to stderr; to systemd's journal with its priority
fn tell(error: &CliError, color: Color) -> io::Result<()> {
    if !telemetry::is_journal() {
        let stderr = AutoStream::new(io::stderr(), color.for_stderr());
        return error.print(&mut Guarded::new(stderr, Escapes::Text));
    }
    let mut words = Vec::new();
    let plain = AutoStream::never(&mut words);
    error.print(&mut Guarded::new(plain, Escapes::Text))?;
    let mut stderr = io::stderr().lock();
    for line in String::from_utf8_lossy(&words).lines() {
        writeln!(stderr, "{}{line}", telemetry::ERROR)?;
    }
    Ok(())
}

/// How a command ended
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All is well
    Well,
    /// A domain failed, or something it needs is unusable
    Failed,
    /// Usage or configuration
    Usage,
    /// Something must be tried later
    Later,
    /// By this signal
    Signal(u8),
}

impl From<Verdict> for Ended {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Well => Self::Well,
            Verdict::Later => Self::Later,
            Verdict::Failed => Self::Failed,
        }
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Well => Self::SUCCESS,
            Ended::Failed => Self::from(1),
            Ended::Usage => Self::from(2),
            Ended::Later => Self::from(75),
            Ended::Signal(number) => Self::from(128 + number),
        }
    }
}

/// What the environment says, and whose configuration counts for the command
fn environment(args: &Args) -> Environment {
    let config: Option<PathBuf> = std::env::var_os("CERTD_CONFIG")
        .filter(|path| !path.is_empty())
        .map(Into::into);
    let is_named = args.global.config.is_some() || config.is_some();
    Environment {
        config,
        docker_host: std::env::var("DOCKER_HOST")
            .ok()
            .filter(|host| !host.is_empty()),
        believed: match args.command {
            // They run nothing and write nothing of what stands in it; a file that is named is meant.
            Command::Verify(_) | Command::Why(_) if is_named => Believed::Anybodys,
            Command::Verify(_) | Command::Why(_) => {
                Believed::AnybodysButTrust(nix::unistd::geteuid().as_raw())
            }
            _ => Believed::OwnAndRoots(nix::unistd::geteuid().as_raw()),
        },
    }
}

fn run_command(args: Args) -> Result<Ended, CliError> {
    // Before anything is done whose result could not be printed then.
    if !matches!(args.command, Command::Verify(_)) {
        refuse_formats_of_verify(args.global.format)?;
    }
    let environment = environment(&args);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    #[cfg(feature = "sandbox")]
    let rubbish = demo::Rubbish::default();
    let ended = runtime.block_on(async {
        // Before the command does anything, or a signal would end it without any cleaning up.
        let mut signals = Signals::listen()?;
        let command = async {
            match &args.command {
                Command::Obtain(own) => obtain::run(&args.global, own, &environment).await,
                Command::Renew(own) => renew::run(&args.global, own, &environment).await,
                Command::Run => run::run(&args.global, &environment).await,
                Command::Check(own) => check::run(&args.global, own, &environment).await,
                Command::Verify(own) => verify::run(&args.global, own, &environment).await,
                Command::Why(own) => why::run(&args.global, own, &environment).await,
                Command::Notify(_) => notify::run(&args.global, &environment).await,
                Command::Status(own) => status::run(&args.global, own, &environment),
                Command::Version => version(args.global.color),
                Command::Schema(own) => schema::run(&args.global, own),
                #[cfg(feature = "sandbox")]
                Command::Demo(own) => demo::run(&args.global, own, &environment, &rubbish).await,
            }
        };
        // Dropping the command removes what it published. A command that waits for the same
        // signals itself comes first; the daemon does not end by all of them.
        tokio::select! {
            biased;
            ended = command => ended,
            number = signals.next(), if !args.command.takes_signals() => Err(CliError::Stopped {
                number,
                after: args.command.after_a_signal(),
            }),
        }
    });
    runtime.shutdown_timeout(GRACE);
    ended
}

/// The signals that ask the process to stop
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals from now on
    fn listen() -> Result<Self, CliError> {
        let take = |kind| signal(kind).map_err(CliError::Runtime);
        Ok(Self {
            hangup: take(SignalKind::hangup())?,
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
        })
    }

    /// The number of the next one
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.hangup.recv() => 1,
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}

/// Shows what clap says of unusable arguments, or the help that was asked for
fn refuse(mut error: clap::Error) -> ExitCode {
    if let Some(later) = not_supported_yet(&error) {
        let error = CliError::NotSupported { what: later };
        let _ = error.print(&mut AutoStream::auto(io::stderr()));
        return error.ended().into();
    }
    suggest_what_is_shown(&mut error);
    if let Some(tip) = tip(&error) {
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    let _ = error.print();
    match error.exit_code() {
        0 => Ended::Well.into(),
        _ => Ended::Usage.into(),
    }
}

/// Leaves out of what was most likely meant what the help does not show, if anything else is left
fn suggest_what_is_shown(error: &mut clap::Error) {
    let kind = ContextKind::SuggestedSubcommand;
    let Some(ContextValue::Strings(suggested)) = error.get(kind) else {
        return;
    };
    let commands = Args::command();
    let is_shown = |name: &&String| {
        let command = commands.find_subcommand(name);
        command.is_some_and(|command| !command.is_hide_set())
    };
    let shown: Vec<String> = suggested.iter().filter(is_shown).cloned().collect();
    if !shown.is_empty() {
        error.insert(kind, ContextValue::Strings(shown));
    }
}

/// What was most likely meant, where clap cannot know
fn tip(error: &clap::Error) -> Option<&'static str> {
    let words = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => std::slice::from_ref(word),
        Some(ContextValue::Strings(words)) => words,
        _ => &[],
    };
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    match error.kind() {
        ErrorKind::MissingRequiredArgument if has("<DOMAIN>...") => {
            Some("`certd obtain --all` takes every domain that is configured")
        }
        ErrorKind::UnknownArgument if has("--all") && usage.contains("[DOMAIN") => {
            Some("without a name it takes every domain that is configured")
        }
        ErrorKind::UnknownArgument if has("--force") && usage.contains("certd renew") => {
            Some("`certd obtain DOMAIN --force` orders now; `renew` renews what is due")
        }
        ErrorKind::UnknownArgument
            if usage.contains("certd renew") && !words.iter().any(|word| word.starts_with('-')) =>
        {
            Some("it renews what is due; for one domain there is `certd obtain DOMAIN`")
        }
        _ => None,
    }
}

/// The command or option that is planned and has not landed, if that is what was asked for
fn not_supported_yet(error: &clap::Error) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return None,
    };
    match error.get(kind) {
        Some(ContextValue::String(word)) if args::LATER.contains(&word.as_str()) => {
            Some(word.clone())
        }
        _ => None,
    }
}

/// The configuration of a command that acts by it
fn configuration(global: &args::Global, environment: &Environment) -> Result<Config, CliError> {
    let path = Config::locate(global.config.as_deref(), environment)?;
    let config = Config::read(&path, environment)?;
    config.warn_of_exposure();
    Ok(config)
}

fn refuse_formats_of_verify(format: Format) -> Result<(), CliError> {
    match format.is_of_verify() {
        true => Err(CliError::FormatOfVerify {
            format: format.as_str(),
        }),
        false => Ok(()),
    }
}

/// Prints the version as `--version` does
fn version(color: Color) -> Result<Ended, CliError> {
    print(color, |out| {
        write!(out, "{}", Args::command().render_version())
    })?;
    Ok(Ended::Well)
}

/// Writes a report to stdout as text or JSON
fn print_report<R: Serialize>(
    report: &R,
    format: Format,
    color: Color,
    text: impl FnOnce(&R, &mut TextOut<'_>) -> io::Result<()>,
) -> Result<(), CliError> {
    refuse_formats_of_verify(format)?;
    print(color, |out| match format {
        Format::Text => write_text(out, |out| text(report, out)),
        _ => write_json(report, out),
    })
}

/// Writes text for people, in which no words from outside are a command
fn write_text(
    out: &mut Out,
    text: impl FnOnce(&mut TextOut<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut out = Guarded::new(BufWriter::new(out), Escapes::Text);
    text(&mut out)?;
    out.flush()
}

fn write_json<S: Serialize>(value: &S, out: &mut impl Write) -> io::Result<()> {
    let mut out = Guarded::new(BufWriter::new(out), Escapes::Json);
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    out.flush()
}

/// Writes to stdout
fn print(color: Color, write: impl FnOnce(&mut Out) -> io::Result<()>) -> Result<(), CliError> {
    let mut out = AutoStream::new(io::stdout().lock(), color.for_stdout());
    match write(&mut out).and_then(|()| out.flush()) {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(CliError::Output),
    }
}

/// stdout, with colours where they are wanted
type Out = AutoStream<io::StdoutLock<'static>>;
/// The same for text
type TextOut<'o> = Guarded<BufWriter<&'o mut Out>>;

/// The wall clock, read once for a command
fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line is where time comes in"
    )]
    Timestamp::now()
}

fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Time for file operations under way when the process is told to stop
const GRACE: Duration = Duration::from_secs(5);
