//! What goes wrong before or outside a domain, as people see it: `error:`, its causes, one hint.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use thiserror::Error;

use super::Ended;
use crate::chain::{ChainError, KeyError};
use crate::config::ConfigError;
use crate::finding::{Explain, without_numbers};
use crate::name::{DnsName, NameError};
use crate::net::roots::TrustError;
use crate::report::text;
use crate::run::RunError;
use crate::schedule::DaemonError;
use crate::store::StoreError;
use crate::store::lock::LockError;

/// Why a command ended without a report
#[derive(Debug, Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{name} is not in {file}")]
    UnknownDomain {
        name: DnsName,
        file: String,
        /// What was most likely meant
        close: Option<DnsName>,
    },
    #[error("{name} is an alias, not a domain of its own")]
    Alias { name: DnsName, domain: DnsName },
    #[error("`{text}` is no domain name")]
    Name { text: String, source: NameError },
    #[error("there is no issuer `{name}`")]
    UnknownIssuer { name: String, known: Vec<String> },
    #[error("`{what}` is not supported yet")]
    NotSupported { what: String },
    #[error("only `certd verify` has `--format {format}`")]
    FormatOfVerify { format: &'static str },
    #[error("no enabled domain is configured")]
    NoDomain,
    #[error("nothing says when renewals run")]
    NoSchedule,
    #[error("no [[notify]] is in {file}: there is nobody to tell")]
    NoChannel { file: String },
    #[error("`{text}` is neither a domain nor HOST:PORT")]
    Target { text: String },
    #[error("it is no UTF-8")]
    NoText,
    #[error("no target is in {}", path.display())]
    EmptyList { path: PathBuf },
    #[error("{} cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no chain", path.display())]
    NoChain { path: PathBuf, source: ChainError },
    #[error("{} holds no key", path.display())]
    NoKey { path: PathBuf, source: KeyError },
    #[error("`{text}` is no https URL")]
    Url { text: String },
    #[error("`{text}` is plain HTTP, and https is what is looked at")]
    PlainHttp { text: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[cfg(feature = "sandbox")]
    #[error(transparent)]
    Demo(#[from] super::demo::error::DemoError),
    #[error("stopped by a signal{after}")]
    Stopped { number: u8, after: &'static str },
    #[error(transparent)]
    Daemon(DaemonError),
    #[error("the process cannot be set up")]
    Runtime(#[source] io::Error),
    #[error("the result cannot be written")]
    Output(#[source] io::Error),
}

impl CliError {
    pub(super) const fn ended(&self) -> Ended {
        match self {
            Self::Config(_)
            | Self::UnknownDomain { .. }
            | Self::Alias { .. }
            | Self::Name { .. }
            | Self::UnknownIssuer { .. }
            | Self::NotSupported { .. }
            | Self::FormatOfVerify { .. }
            | Self::NoDomain
            | Self::NoSchedule
            | Self::NoChannel { .. }
            | Self::Target { .. }
            | Self::NoText
            | Self::EmptyList { .. }
            | Self::Unreadable { .. }
            | Self::NoChain { .. }
            | Self::NoKey { .. }
            | Self::Url { .. }
            | Self::PlainHttp { .. }
            | Self::Store(StoreError::KeyGroup { .. })
            | Self::Trust(_) => Ended::Usage,
            Self::Run(RunError::Busy { .. }) | Self::Daemon(DaemonError::Busy { .. }) => {
                Ended::Later
            }
            Self::Stopped { number, .. } => Ended::Signal(*number),
            #[cfg(feature = "sandbox")]
            Self::Demo(error) => error.ended(),
            Self::Store(_)
            | Self::Run(_)
            | Self::Daemon(_)
            | Self::Runtime(_)
            | Self::Output(_) => Ended::Failed,
        }
    }

    /// Writes the error with its causes and at most one hint
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let words = without_numbers(self.to_string());
        // Mistakes of a file come in lines of their own, which are indented already.
        let (first, more) = words.split_once('\n').unwrap_or((&words, ""));
        text::under(&format!("{RED}error:{RED:#} "), "       ", first, out)?;
        for line in more.lines() {
            let indent = line.len() - line.trim_start().len();
            let (indent, line) = line.split_at(indent);
            text::under(indent, "        ", line, out)?;
        }
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = without_numbers(error.to_string());
            text::under("  caused by: ", "             ", &words, out)?;
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            text::under(&format!("{CYAN}hint:{CYAN:#} "), "      ", &hint, out)?;
        }
        out.flush()
    }

    /// What to type instead
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.cure(),
            Self::Alias { domain, .. } => Some(format!(
                "write {domain}: that is its domain, and its aliases come with it"
            )),
            Self::Name { text, source } => name_hint(text, source),
            Self::UnknownDomain { name, file, close } => {
                let meant = close
                    .as_ref()
                    .map(|close| format!("did you mean {close}? Else "));
                let meant = meant.unwrap_or_default();
                Some(format!(
                    "{meant}add it to {file}:\n[[domain]]\nname = \"{name}\""
                ))
            }
            Self::UnknownIssuer { known, .. } => Some(format!("known are {}", known.join(", "))),
            Self::FormatOfVerify { .. } => {
                Some("every other command has `text` and `json`".to_owned())
            }
            Self::NoDomain => Some("a domain with enabled = false is left out by --all".to_owned()),
            Self::NoSchedule => Some("`[renewal] schedule` of domains.toml does".to_owned()),
            Self::NoChannel { .. } => Some(
                "for example\n[[notify]]\nkind = \"webhook\"\nurl = \"https://...\"".to_owned(),
            ),
            Self::Target { .. } => Some(TARGETS.to_owned()),
            Self::NoText => Some("save it as UTF-8".to_owned()),
            Self::Url { .. } => {
                Some("for example https://example.com/, example.com or example.com:8443".to_owned())
            }
            Self::PlainHttp { text } => {
                let (_, rest) = text.split_once("://").unwrap_or_default();
                Some(format!("https://{rest}"))
            }
            #[cfg(feature = "sandbox")]
            Self::Demo(error) => error.hint(),
            Self::Store(error) => error.cure(),
            Self::Run(error) => error.cure(),
            Self::Daemon(DaemonError::Lock(LockError::File(error))) => error.cure(),
            Self::Trust(_) => {
                Some("`[verify] trust` lists PEM files with CA certificates".to_owned())
            }
            _ => None,
        }
    }
}

fn name_hint(text: &str, error: &NameError) -> Option<String> {
    match error {
        NameError::Character { found: ',' } => Some("names are separated by blanks".to_owned()),
        NameError::Character { found: ':' | '/' } => {
            Some("a name alone, without https://, port and path".to_owned())
        }
        NameError::Wildcard => {
            Some("name each host; wildcards need dns-01, which is not supported yet".to_owned())
        }
        NameError::Underscore => Some(format!(
            "`certd verify {text}` looks at it; order one with `-` instead of `_`"
        )),
        _ => None,
    }
}

/// Targets of `verify` that can be used
pub(super) const TARGETS: &str = "for example example.com, example.com:443 or [2001:db8::1]:443";
const RED: Style = AnsiColor::Red.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();
