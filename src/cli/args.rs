//! Arguments, with their help.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Arguments, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::config::{Check, Connect, MinRemaining};
use crate::telemetry::{LogFormat, LogLevel};

mod output;
mod play;

pub(super) use output::{Color, Format};

/// One proven certificate per domain for nginx in Docker
///
/// certd obtains a certificate of its own for each domain, makes nginx load it, and proves with
/// fresh TLS handshakes that it is what a browser gets.
///
/// Exit status: 0 all is well; 1 a domain failed, or something it needs is unusable; 2 usage or
/// configuration; 75 nothing failed but something must be tried later; 129, 130 and 143 after
/// SIGHUP, SIGINT and SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "certd", version, max_term_width = 80)]
pub(super) struct Args {
    #[command(flatten, next_help_heading = "Options of every command")]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command
#[derive(Arguments, Clone, Debug)]
pub(super) struct Global {
    /// Configuration to read [default: $CERTD_CONFIG, ./domains.toml (but for root),
    /// /etc/certd/domains.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Form of the result on stdout; all but text and json are of `verify` alone
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(super) format: Format,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(super) color: Color,
    /// Print a result only if something needs attention; no progress
    ///
    /// What is for programs, JSON too, is printed all the same: they take an empty file for a failure.
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Log what is done; twice for details
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Form of the log on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(super) log_format: LogFormat,
}

impl Args {
    pub(super) fn log_level(&self) -> LogLevel {
        match (self.global.quiet, self.global.verbose, &self.command) {
            (true, _, _) => LogLevel::Error,
            // It has no other way to say what it does.
            (false, 0, Command::Run) => LogLevel::News,
            (false, 0, _) => LogLevel::Warn,
            (false, 1, _) => LogLevel::Info,
            (false, _, _) => LogLevel::Debug,
        }
    }
}

impl Global {
    /// Whether a report is kept back: from people who want to hear of trouble alone, and from no
    /// program
    pub(super) fn keeps_back(&self, is_well: bool) -> bool {
        self.quiet && is_well && self.format == Format::Text
    }

    /// Whether live progress is shown: on a terminal, for people, unless a log takes its place
    pub(super) fn shows_progress(&self) -> bool {
        self.format == Format::Text && !self.quiet && self.verbose == 0 && stderr().is_terminal()
    }
}

/// The commands that have landed
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Obtain certificates, deploy them, and prove that they are served
    ///
    /// The whole loop for the domains of domains.toml: plan, check the containers, check what a CA
    /// would see, order, install, test and reload nginx, prove what is served.
    ///
    /// Where nothing is due and the certificate is seen served, nothing is done. A certificate
    /// that was issued and is not proven yet is deployed without a new order.
    Obtain(Obtain),
    /// Renew what is due: for a timer, safe to run at any time
    ///
    /// For every enabled domain: asks its CA when it would have the certificate renewed, where it
    /// is time to ask again (RFC 9773), and runs the whole loop of `obtain` where a certificate is
    /// due: at an instant of the CA's window, or with a third of its life left (half of one under
    /// ten days); where its names, key type, profile or issuer changed; where its files are
    /// damaged. What is not due is left alone.
    ///
    /// A renewal whose instant comes before the next run of `[renewal] schedule` is made now.
    Renew(Renew),
    /// Obtain, renew and look at what is served, as a daemon
    ///
    /// Obtains what is missing, then waits. Every certificate is renewed at its own instant: at one
    /// in its CA's window, or with a third of its life left. At each time of `[renewal] schedule`,
    /// and up to `jitter` later, it looks at every domain as `renew` does, and at what is served:
    /// where an older certificate is, nginx is reloaded; where it is somebody else's, that is told.
    /// When a container of `[nginx]` starts, its domains are looked at again.
    ///
    /// HUP: domains.toml is read again; one with mistakes is refused, and the old one stays in
    /// force. TERM: a pass under way has 4 s to come to its end, then published tokens are removed;
    /// exit status 0. The log on stderr tells what changed and what is wrong; systemd is told when
    /// it is ready, what comes next, and that it is alive.
    Run,
    /// Look at everything that an order needs, without ordering
    ///
    /// For each name: what DNS says, whether CAA records allow the CA, and whether a token in the
    /// webroot is served on port 80 at each address, as the CA would look. For the host: the
    /// directories, the containers and nginx's configuration, the CA and its clock, and what is
    /// left of its rate limits. `obtain` checks the names and the limits before each order too.
    ///
    /// Nothing is ordered, registered or reloaded; files that are written to be read back are
    /// removed. Exit status 1 if an order would fail, 75 if a rate limit leaves no room for it.
    Check(CheckArguments),
    /// Judge what is served, from any machine
    ///
    /// Connects to each name at each of its addresses, and judges the certificate as a browser
    /// does. Needs no root, no Docker and no state. A DOMAIN of domains.toml is looked at with all
    /// its names, and held against the installed certificate where that can be read.
    Verify(Verify),
    /// Show why a name gets its certificate or not, link by link
    ///
    /// From the top: what DNS says, where that leads, which container takes connections there,
    /// which server block nginx chooses for the name, which certificate file that names, what is
    /// installed, and what a handshake shows. The first link that is broken is the one to mend,
    /// and its cure stands last.
    ///
    /// Needs neither domains.toml nor Docker: without Docker it stops at what the network shows.
    /// Nothing is written, ordered or reloaded. Exit status 1 if a browser does not get the
    /// certificate that it should.
    Why(Why),
    /// Send a test through every `[[notify]]` of domains.toml
    ///
    /// `certd renew` tells these channels when a domain fails, and still fails a day later, is well
    /// again, is about to expire, is served with a wrong certificate, or is refused by its CA until
    /// a person acts.
    ///
    /// The heartbeat is not called: that would say that all domains are well. Exit status 1 if a
    /// channel does not take the message, 2 if there is none.
    Notify(Notify),
    /// Show every certificate: names, expiry, state, last result
    ///
    /// What is well has a line; of a DOMAIN that is named, and of up to ten in all, everything is told.
    Status(StatusArguments),
    /// Print the version, as --version does
    #[command(hide = true)]
    Version,
    /// Print the JSON Schema of a report
    ///
    /// Of what `--format json` prints, in the version that this certd has (draft 2020-12). Fields
    /// may be added within a version: a reader passes over those that it does not know.
    Schema(SchemaArguments),
    /// Show the whole loop on this machine, with nothing installed
    ///
    /// Needs no domain, no Docker, no network and no rights. Starts a CA, a DNS server, a web
    /// server in nginx's place and a Docker API on loopback, writes a domains.toml, and runs the
    /// real commands: two certificates, a classic mistake, its correction, a renewal. Takes a
    /// second or two and leaves nothing behind.
    #[cfg(feature = "sandbox")]
    Demo(Demo),
}

impl Command {
    /// Whether it decides itself what a signal means
    pub(super) const fn takes_signals(&self) -> bool {
        matches!(self, Self::Run)
    }

    /// What else there is to say when a signal has ended the command
    pub(super) const fn after_a_signal(&self) -> &'static str {
        match self {
            Self::Renew(own) if own.simulate.is_some() => "",
            Self::Obtain(_) | Self::Renew(_) => "; published tokens are removed",
            Self::Check(_) => "; what was written to be read back is removed",
            Self::Run
            | Self::Verify(_)
            | Self::Why(_)
            | Self::Notify(_)
            | Self::Status(_)
            | Self::Version
            | Self::Schema(_) => "",
            #[cfg(feature = "sandbox")]
            Self::Demo(_) => "; nothing runs any more",
        }
    }
}

/// Arguments of `obtain`
#[derive(Arguments, Debug, Default)]
pub(super) struct Obtain {
    /// Primary names of the domains
    #[arg(
        value_name = "DOMAIN",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(super) domains: Vec<String>,
    /// Take every enabled domain
    #[arg(long)]
    pub(super) all: bool,
    /// Order even if nothing is due and a back-off runs
    ///
    /// A certificate that is issued and not proven is still deployed without an order, unless it was
    /// rolled back. What stops an order otherwise still does, as does a time that the CA named: see
    /// --skip-check.
    #[arg(long)]
    pub(super) force: bool,
    /// Order from this issuer, this once
    ///
    /// It is remembered, so that the next renewal does not take it for a change.
    #[arg(long, value_name = "NAME")]
    pub(super) issuer: Option<String>,
    /// Print what would be done; nothing is sent, nothing is written
    #[arg(long, conflicts_with_all = ["staging", "no_deploy"])]
    pub(super) dry_run: bool,
    /// Rehearse with the staging CA; nothing is installed
    ///
    /// With --issuer, with that one instead.
    #[arg(long, conflicts_with = "no_deploy")]
    pub(super) staging: bool,
    /// Let this check stop no order, this once; may be repeated
    ///
    /// The checks that stop an order else are those of `[preflight] require` in domains.toml
    /// (all four, if it is silent).
    #[arg(long, value_name = "CHECK", value_enum)]
    pub(super) skip_check: Vec<SkippedCheck>,
    /// Make the certificate live and touch no container; Docker is not needed
    #[arg(long)]
    pub(super) no_deploy: bool,
}

/// Arguments of `renew`
#[derive(Arguments, Debug, Default)]
pub(super) struct Renew {
    /// Print what is due and when the others will be; ask nobody
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Make certificates live and touch no container
    #[arg(long)]
    pub(super) no_deploy: bool,
    /// Let this check stop no order, this once; may be repeated
    #[arg(long, value_name = "CHECK", value_enum)]
    pub(super) skip_check: Vec<SkippedCheck>,
    /// Play renewals forward over this time, such as 365d; ask nobody, write nothing
    ///
    /// Begins with what is configured and installed, and plays every run of `[renewal] schedule`
    /// with the limits and lifetimes of Let's Encrypt as it has published them. Shows the least
    /// life that any certificate had left and how the orders spread. Exit status 1 if a certificate
    /// expires, 75 if a domain has none at the end.
    #[arg(
        long,
        value_name = "SPAN",
        value_parser = play::span,
        conflicts_with_all = ["dry_run", "no_deploy", "skip_check"]
    )]
    pub(super) simulate: Option<SignedDuration>,
    /// Play so many made-up domains, without certificates
    ///
    /// Each has a registered domain of its own, and issuer and profile of the first enabled one of
    /// domains.toml.
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "simulate",
        value_parser = clap::value_parser!(u32).range(1..=play::MOST_DOMAINS)
    )]
    pub(super) domains: Option<u32>,
    /// Let this part of the orders fail [default: 0%]
    #[arg(
        long,
        value_name = "PERCENT",
        requires = "simulate",
        value_parser = play::percent
    )]
    pub(super) failure_rate: Option<f64>,
    /// Begin at this instant, such as 2027-01-31T03:00:00Z [default: now]
    #[arg(
        long,
        value_name = "TIME",
        requires = "simulate",
        value_parser = play::instant
    )]
    pub(super) from: Option<Timestamp>,
    /// Where chance begins; the same seed and instant give the same report [default: 1]
    #[arg(long, value_name = "NUMBER", requires = "simulate")]
    pub(super) seed: Option<u64>,
}

/// Arguments of `check`
#[derive(Arguments, Debug, Default)]
pub(super) struct CheckArguments {
    /// Primary names of the domains; every enabled domain if none is given
    #[arg(value_name = "DOMAIN")]
    pub(super) domains: Vec<String>,
    /// Let this check decide nothing; may be repeated
    ///
    /// What it finds is still shown, and does not count for the exit status.
    #[arg(long, value_name = "CHECK", value_enum)]
    pub(super) skip_check: Vec<SkippedCheck>,
    /// Look at what `obtain --no-deploy` needs: no container is looked at
    #[arg(long)]
    pub(super) no_deploy: bool,
}

/// Arguments of `verify`
#[derive(Arguments, Debug, Default)]
pub(super) struct Verify {
    /// Domains of domains.toml, or any HOST[:PORT]; none for all of domains.toml
    #[arg(value_name = "DOMAIN|HOST:PORT")]
    pub(super) targets: Vec<String>,
    /// Take DOMAINs and HOST:PORTs from this file too, one a line; `-` is stdin
    ///
    /// Empty lines and what follows a `#` do not count. A line that cannot be used fails by itself; the
    /// others are looked at.
    #[arg(long = "targets", value_name = "FILE")]
    pub(super) list: Option<PathBuf>,
    /// Ask every target for this name, instead of its own
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Connect to this address, whatever DNS says
    ///
    /// With a port it counts for all ports of a target.
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(super) connect: Option<Connect>,
    /// Begin in the clear, and ask for TLS as this protocol does
    ///
    /// The port is 25, 143 or 110 where a target names none.
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    pub(super) starttls: Option<StartTls>,
    /// Look at TLS alone: no page, no redirect, no probe
    ///
    /// Otherwise one page is asked for over each connection that speaks HTTP, and one at port 80.
    #[arg(long)]
    pub(super) tls_only: bool,
    #[command(flatten)]
    pub(super) offline: Offline,
    /// Trust the roots in this PEM file too; may be given several times
    #[arg(long, value_name = "PEM")]
    pub(super) trust: Vec<PathBuf>,
    /// Warn below this life: a duration, or a part of the lifetime
    ///
    /// Such as 14d or 1/4, instead of `[verify] min_remaining`. By default a quarter of the lifetime,
    /// and never more than three quarters of `[renewal] fraction`. A time that is half or more of the
    /// life of a certificate under ten days counts as a quarter.
    #[arg(long, value_name = "LEAST")]
    pub(super) min_remaining: Option<MinRemaining>,
    /// Fail unless the certificate's SHA-256 begins so, in hexadecimal
    #[arg(long, value_name = "SHA256", value_parser = fingerprint)]
    pub(super) expect_fingerprint: Option<String>,
    /// Fail unless the issuer's name holds these words
    #[arg(long, value_name = "WORDS", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) expect_issuer: Option<String>,
    /// Look again until nothing fails, for so long at most
    ///
    /// For what was deployed a moment ago. With --strict until nothing warns either. The last look may
    /// take its own time beyond that.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with = "chain")]
    pub(super) wait: Option<Duration>,
    /// Time for one connection, and for one page [default: `[verify] timeout`, else 10s]
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    pub(super) timeout: Option<Duration>,
    /// Exit with 1 for warnings too
    #[arg(long)]
    pub(super) strict: bool,
}

/// Judging files instead of servers
#[derive(Arguments, Debug, Default)]
pub(super) struct Offline {
    /// Judge this chain instead of what is served; nothing is connected to
    #[arg(
        long,
        value_name = "FULLCHAIN",
        requires = "name",
        conflicts_with_all = ["targets", "list", "connect", "starttls"]
    )]
    pub(super) chain: Option<PathBuf>,
    /// Judge whether this private key belongs to the chain
    #[arg(long, value_name = "PRIVKEY", requires = "chain")]
    pub(super) key: Option<PathBuf>,
    /// Judge as if it were this instant, such as 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "wait", value_parser = instant)]
    pub(super) at: Option<Timestamp>,
}

/// Protocols that begin in the clear
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StartTls {
    Smtp,
    Imap,
    Pop3,
}

/// An instant, or the beginning of a day in UTC
fn instant(text: &str) -> Result<Timestamp, String> {
    let day = || format!("{text}T00:00:00Z").parse();
    let parsed = text.parse().or_else(|_| day());
    parsed.map_err(|_| "expected 2027-01-31, or 2027-01-31T12:00:00Z".to_owned())
}

/// A duration that is longer than none
fn some_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time.is_zero() {
        true => Err("expected some time, such as 5s".to_owned()),
        false => Ok(time),
    }
}

/// The beginning of a SHA-256, with colons or without
fn fingerprint(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let is_hexadecimal = digits.chars().all(|c| c.is_ascii_hexdigit());
    if !is_hexadecimal || !(8..=64).contains(&digits.len()) {
        return Err("expected 8 to 64 hexadecimal digits".to_owned());
    }
    Ok(digits.to_ascii_lowercase())
}

/// Arguments of `why`
#[derive(Arguments, Debug)]
pub(super) struct Why {
    /// A URL, a name, or HOST:PORT; a name alone is looked at on the port of its domain
    #[arg(value_name = "URL")]
    pub(super) url: String,
    /// Trust the roots in this PEM file too; may be given several times
    #[arg(long, value_name = "PEM")]
    pub(super) trust: Vec<PathBuf>,
}

/// Arguments of `notify`
#[derive(Arguments, Debug)]
pub(super) struct Notify {
    /// Send a message that says that it is a test
    #[arg(long, required = true)]
    test: bool,
}

/// Arguments of `status`
#[derive(Arguments, Debug, Default)]
pub(super) struct StatusArguments {
    /// Primary names; every certificate if none is given
    #[arg(value_name = "DOMAIN")]
    pub(super) domains: Vec<String>,
}

/// Arguments of `schema`
#[derive(Arguments, Debug)]
pub(super) struct SchemaArguments {
    /// Command that prints the report
    #[arg(value_name = "REPORT", value_enum)]
    pub(super) report: DescribedReport,
}

/// A report whose schema is published
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DescribedReport {
    Verify,
}

/// Arguments of `demo`
#[cfg(feature = "sandbox")]
#[derive(Arguments, Debug)]
pub(super) struct Demo {
    /// Use this new or empty directory, and leave the files there
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Keep everything running until Ctrl-C, to be tried with curl or another ACME client
    ///
    /// With --format json the report comes first, and holds the addresses.
    #[arg(long)]
    pub(super) serve: bool,
    /// With a real nginx, in a container of this image
    ///
    /// The image must be there; $DOCKER_HOST is respected.
    #[arg(long, value_name = "IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) docker: Option<String>,
}

/// A check that can be skipped
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SkippedCheck {
    /// Addresses of the names
    Dns,
    /// CAA records
    Caa,
    /// Whether a token is served on port 80
    Http,
    /// Whether the CA's rate limits leave room
    Budget,
}

impl SkippedCheck {
    pub(super) const fn check(self) -> Check {
        match self {
            Self::Dns => Check::Dns,
            Self::Caa => Check::Caa,
            Self::Http => Check::Http,
            Self::Budget => Check::Budget,
        }
    }
}

/// Commands and options of the design that have not landed
pub(super) const LATER: [&str; 8] = [
    "man",
    "audit",
    "rollback",
    "revoke",
    "bootstrap",
    "import",
    "init",
    "completions",
];
