//! `[[notify]]` and `heartbeat`: whom certd tells when the state of a domain changes, and how.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use http::Uri;
use serde::{Deserialize, Serialize};

/// A change of a domain's state, or its lasting, that is told
///
/// The order is that of urgency: of several that hold at once the first one is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The CA refuses the domain until a person acts
    Paused,
    /// What is served is not the domain's certificate
    WrongCertificate,
    /// Half of the reserve of its life is gone, and it could not be renewed
    Expiring,
    /// It failed for the first time
    Failed,
    /// It still fails, a day after the last word
    StillFailing,
    /// It is well again
    Recovered,
}

impl Event {
    /// All of them
    pub const ALL: [Self; 6] = [
        Self::Paused,
        Self::WrongCertificate,
        Self::Expiring,
        Self::Failed,
        Self::StillFailing,
        Self::Recovered,
    ];

    /// The word for it in the configuration and in messages
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::WrongCertificate => "wrong_certificate",
            Self::Expiring => "expiring",
            Self::Failed => "failed",
            Self::StillFailing => "still_failing",
            Self::Recovered => "recovered",
        }
    }
}

/// One `[[notify]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What it is told of
    pub on: BTreeSet<Event>,
    /// How it is told
    pub means: Means,
    /// Its place among all, from 0, where others have the same name
    pub place: Option<usize>,
}

impl Channel {
    /// Its name for people, without a secret
    pub fn label(&self) -> String {
        let place = self.place.map(|place| format!(" (notify[{place}])"));
        format!("{}{}", self.name(), place.unwrap_or_default())
    }

    /// The same, which others may have too
    pub(super) fn name(&self) -> String {
        match &self.means {
            Means::Webhook(webhook) => match &webhook.url {
                UrlSource::Given(url) => format!("webhook {}", url.host()),
                UrlSource::File(path) => format!("webhook of {}", path.display()),
            },
            Means::Mail(mail) => format!("mail to {}", mail.to.join(", ")),
            Means::Telegram(telegram) => format!("telegram chat {}", telegram.chat),
            Means::Command(command) => format!("command {}", command.program()),
        }
    }

    /// What tells it from the others, whatever their order; may hold a secret
    pub fn identity(&self) -> String {
        match &self.means {
            Means::Webhook(webhook) => match &webhook.url {
                UrlSource::Given(url) => format!("webhook {}", url.uri()),
                UrlSource::File(path) => format!("webhook of {}", path.display()),
            },
            Means::Mail(mail) => format!("mail {} {}", mail.server.host, mail.to.join(" ")),
            Means::Telegram(telegram) => {
                format!("telegram {} {}", telegram.api.uri(), telegram.chat)
            }
            Means::Command(command) => format!("command {}", command.arguments.join(" ")),
        }
    }
}

/// How a channel is told
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// A POST of JSON
    Webhook(Webhook),
    /// A mail
    Mail(Mail),
    /// A message of a Telegram bot
    Telegram(Telegram),
    /// A program that reads JSON
    Command(Command),
}

/// What a webhook is sent
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookFormat {
    /// All there is, for programs
    #[default]
    Json,
    /// What Slack takes, and chats that take the same (Mattermost, Rocket.Chat)
    Slack,
    /// What Discord's own webhooks take
    Discord,
    /// What a webhook of a Google Chat space takes
    GoogleChat,
    /// An adaptive card, as a workflow of Microsoft Teams takes it
    Teams,
    /// What Gotify takes at `/message`
    Gotify,
    /// Plain text with a title, as ntfy takes it at the URL of a topic
    Ntfy,
}

impl WebhookFormat {
    /// All of them
    pub const ALL: [Self; 7] = [
        Self::Json,
        Self::Slack,
        Self::Discord,
        Self::GoogleChat,
        Self::Teams,
        Self::Gotify,
        Self::Ntfy,
    ];

    /// The word for it in the configuration
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::GoogleChat => "google_chat",
            Self::Teams => "teams",
            Self::Gotify => "gotify",
            Self::Ntfy => "ntfy",
        }
    }
}

/// `kind = "webhook"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to
    pub url: UrlSource,
    /// What it takes
    pub format: WebhookFormat,
    /// File with further headers, one `Name: value` a line
    pub headers_file: Option<PathBuf>,
    /// PEM file of roots that replace the system's
    pub trust: Option<PathBuf>,
}

/// Where a URL is to be had
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlSource {
    /// It stands in domains.toml
    Given(SecretUrl),
    /// It stands alone in this file
    File(PathBuf),
}

/// `kind = "mail"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// SMTP server
    pub server: Server,
    /// How the connection is protected
    pub tls: MailTls,
    /// Sender's address
    pub from: String,
    /// Recipients' addresses, at least one
    pub to: Vec<String>,
    /// Who logs in; `None` where nobody does
    pub login: Option<Login>,
    /// PEM file of roots that replace the system's
    pub trust: Option<PathBuf>,
}

/// Host and port of a server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address, the latter without brackets
    pub host: String,
    /// Port
    pub port: u16,
}

impl Server {
    /// Whether no packet for it leaves this host
    pub fn is_this_host(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

/// How a connection to an SMTP server is protected
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// By STARTTLS, without which nothing is sent (RFC 3207)
    StartTls,
    /// From its first byte (RFC 8314 section 3.3)
    Implicit,
    /// Not at all: for a server on this host, or where `allow_plaintext` says so
    None,
}

/// Who logs in to an SMTP server
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Name
    pub username: String,
    /// File with the password
    pub password_file: PathBuf,
}

/// `kind = "telegram"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telegram {
    /// Base URL of the bot API
    pub api: SecretUrl,
    /// File with the bot's token
    pub token_file: PathBuf,
    /// Identifier of the chat, or `@channel`
    pub chat: String,
}

/// `kind = "command"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments, at least the program
    pub arguments: Vec<String>,
}

impl Command {
    /// Path of the program, or its name in `$PATH`
    pub fn program(&self) -> &str {
        self.arguments
            .first()
            .map(String::as_str)
            .unwrap_or_default()
    }
}

/// A URL whose path may be a secret: shown by its host alone
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Uri);

impl SecretUrl {
    /// An http or https URL in a text; `None` for anything else, or with a user in it
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority()?;
        let is_plain = !authority.host().is_empty() && !authority.as_str().contains('@');
        (is_http && is_plain).then_some(Self(uri))
    }

    /// Its host
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// The whole of it
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether TLS protects it
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({})", self.host())
    }
}
