//! Why a channel has not taken a message, without a secret.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::PATIENCE;
use crate::config::notify::Means;
use crate::finding::{Explain, Finding, Severity};
use crate::net::http::PROXY_CURE;
use crate::net::roots::{self, NO_ROOTS, TrustError};

/// What is sent, and how
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Webhook,
    Mail,
    Telegram,
    Command,
    Heartbeat,
}

impl From<&Means> for Kind {
    fn from(means: &Means) -> Self {
        match means {
            Means::Webhook(_) => Self::Webhook,
            Means::Mail(_) => Self::Mail,
            Means::Telegram(_) => Self::Telegram,
            Means::Command(_) => Self::Command,
        }
    }
}

/// Why a channel has not taken a message
#[derive(Debug, Error)]
pub(super) enum Undelivered {
    /// A file with a secret cannot be read
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file with a secret holds something else
    #[error("{} holds no {wanted}", path.display())]
    Content { path: PathBuf, wanted: String },
    /// The trust file is of no use
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// An HTTP server gave no answer
    #[error("{reason}")]
    NoAnswer { kind: Kind, reason: String },
    /// The proxy in front of it does not lead there
    #[error("{reason}")]
    Proxy { kind: Kind, reason: String },
    /// This host has no roots to check its certificate with
    #[error("{NO_ROOTS}")]
    NoRoots { kind: Kind },
    /// It gave none in time
    #[error("no answer within {} s", after.as_secs())]
    Silent { kind: Kind, after: Duration },
    /// It answered with an error
    #[error("answered {status}{}", words.as_ref().map(|words| format!(": {words}")).unwrap_or_default())]
    Status {
        kind: Kind,
        status: u16,
        /// What it said, without what may be a secret in it
        words: Option<String>,
        /// How long it asks to be left alone
        later: Option<Duration>,
        /// The chat that the message should have gone to, by its own word
        moved: Option<String>,
    },
    /// The chat was told under another identifier, which domains.toml lacks
    #[error("the chat is a supergroup now, and was told as {chat}")]
    Moved { chat: String },
    /// The mail cannot be written
    #[error("the mail cannot be written: {0}")]
    Letter(String),
    /// The SMTP server could not be talked to
    #[error("{server}: {reason}")]
    Smtp { server: String, reason: String },
    /// It refused
    #[error("{server} refused {what}: {words}")]
    Refused {
        server: String,
        what: String,
        words: String,
    },
    /// The program cannot be started
    #[error("cannot be started")]
    NotStarted(#[source] io::Error),
    /// It failed
    #[error("{how}{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Exit {
        how: String,
        /// The beginning of what it wrote
        said: Option<String>,
    },
    /// It took too long
    #[error("gave up after {} s", PATIENCE.as_secs())]
    Late(Kind),
}

impl Undelivered {
    /// A channel that took too long
    pub(super) fn late(means: &Means) -> Self {
        Self::Late(means.into())
    }

    /// The failure that it is in a test of the channel with this label
    pub(super) fn failure(&self, label: &str) -> Finding {
        let finding = Finding::from_error(self);
        Finding {
            evidence: format!("{label}: {}", finding.evidence),
            ..finding
        }
    }

    /// The warning that it is after a pass, which goes well all the same
    pub(super) fn warning(&self, label: &str) -> Finding {
        let finding = self.failure(label).at_most(Severity::Warning);
        let cure = finding.cure.clone().unwrap_or_default();
        match self.kind() {
            // A test of it would say that a sweep went well.
            Some(Kind::Heartbeat) => finding,
            _ => finding.with_cure(format!("{cure}; `certd notify --test` tries it")),
        }
    }

    /// Whether the same may go well in a moment
    ///
    /// A server that was silent may have taken the message, and will hardly be faster.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Proxy { .. } => true,
            Self::Status { status, .. } if *status >= 500 || *status == 429 => {
                self.pause() <= LONGEST_PAUSE
            }
            _ => false,
        }
    }

    /// How long the other side asks to be left alone
    pub(super) fn pause(&self) -> Duration {
        match self {
            Self::Status { later, .. } => later.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Unreadable { .. } | Self::Content { .. } | Self::Trust(_) => None,
            Self::NoAnswer { kind, .. }
            | Self::Proxy { kind, .. }
            | Self::NoRoots { kind }
            | Self::Silent { kind, .. }
            | Self::Status { kind, .. }
            | Self::Late(kind) => Some(*kind),
            Self::Moved { .. } => Some(Kind::Telegram),
            Self::Letter(_) | Self::Smtp { .. } | Self::Refused { .. } => Some(Kind::Mail),
            Self::NotStarted(_) | Self::Exit { .. } => Some(Kind::Command),
        }
    }
}

impl Explain for Undelivered {
    fn code(&self) -> &'static str {
        match self.kind() {
            None => "notify.file",
            Some(Kind::Webhook) => "notify.webhook",
            Some(Kind::Mail) => "notify.mail",
            Some(Kind::Telegram) => "notify.telegram",
            Some(Kind::Command) => "notify.command",
            Some(Kind::Heartbeat) => "notify.heartbeat",
        }
    }

    fn cure(&self) -> Option<String> {
        let words = match self {
            Self::Unreadable { path, .. } if path.starts_with(CREDENTIALS) => {
                return Some(
                    "systemd puts it there while that service runs, and for that service alone"
                        .to_owned(),
                );
            }
            Self::Unreadable { path, .. } => {
                return Some(format!("let the user of certd read {}", path.display()));
            }
            Self::Content { path, .. } => return Some(format!("correct {}", path.display())),
            Self::NoRoots { .. } => return Some(roots::cure()),
            Self::Proxy { .. } => PROXY_CURE,
            Self::Trust(_) => "set `trust` to a PEM file with the server's root",
            Self::NoAnswer { .. } | Self::Silent { .. } | Self::Late(_) => {
                "see that the other side runs, and that this host may connect there"
            }
            Self::Status { kind, status, .. } => status_cure(*kind, *status),
            Self::Moved { chat } => return Some(format!("set `chat = \"{chat}\"`")),
            Self::Letter(_) => "correct `from` and `to`",
            Self::Smtp { .. } => {
                "see that the server runs, and that `server`, `tls` and `trust` are right for it"
            }
            Self::Refused { .. } => {
                "do what its words ask for: `from`, `to`, `username` or the password"
            }
            Self::NotStarted(_) => "name a program that the user of certd may run",
            Self::Exit { .. } => "run it by hand with a message on its standard input",
        };
        Some(words.to_owned())
    }
}

const fn status_cure(kind: Kind, status: u16) -> &'static str {
    match (kind, status) {
        (_, 429) => "it takes no more for now: the next run tells it again",
        (Kind::Telegram, 400 | 403) => {
            "correct `chat`: the bot must be in it, or have been written to"
        }
        (Kind::Telegram, 401 | 404) => "correct the token in `token_file`",
        (Kind::Heartbeat, ..500) => "correct `heartbeat`",
        (_, 300..400) => "name the address that it redirects to: no redirect is followed",
        (Kind::Webhook, 400 | 415 | 422) => {
            "set `format` to what it takes: slack, discord, google_chat, teams, gotify or ntfy"
        }
        (_, ..500) => "correct `url` and what is in `headers_file`",
        _ => "see why the other side fails",
    }
}

/// The longest time to be left alone that is waited for, within the time for a channel
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Where systemd puts what `LoadCredential` names (systemd.exec(5))
const CREDENTIALS: &str = "/run/credentials/";
