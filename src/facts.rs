//! What was seen of a container, a handshake or a CA: plain data that stages hand to judges.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::time::Window;

pub mod dns;
pub mod fetch;

/// One attempt at a TLS handshake with a server name (RFC 6066 section 3)
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Name sent as SNI
    pub name: String,
    /// Where the connection went
    pub address: SocketAddr,
    /// What came of it
    pub outcome: Result<Served, ConnectFailure>,
    /// From the first packet to the outcome
    pub elapsed: Duration,
}

/// What a server showed in a handshake
#[derive(Clone, Debug)]
pub struct Served {
    /// Certificates in DER, as sent
    pub chain: Vec<Vec<u8>>,
    /// Whether the server proved that it holds the leaf's key
    pub proof: KeyProof,
    /// Negotiated version, such as `TLSv1.3`; empty where the handshake ended before
    pub protocol: String,
    /// Negotiated cipher suite; empty as `protocol` is
    pub cipher: String,
    /// Negotiated key exchange, such as `X25519MLKEM768`; empty as `protocol` is
    pub key_exchange: String,
    /// Negotiated application protocol, such as `h2`
    pub alpn: Option<String>,
    /// The OCSP response that came with the certificate (RFC 6066 section 8), in DER
    pub staple: Option<Vec<u8>>,
}

/// Whether the proxies that the environment names are used, for CAs and notifications
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Those of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`
    OfEnvironment,
    /// Every connection is direct
    None,
}

/// What is said in the clear before TLS begins
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: TLS begins at once
    #[default]
    Direct,
    /// The header of the PROXY protocol, as a balancer in front of the server sends it
    Proxied,
    /// STARTTLS of SMTP (RFC 3207)
    Smtp,
    /// STARTTLS of IMAP (RFC 9051 section 6.2.1)
    Imap,
    /// STLS of POP3 (RFC 2595 section 4)
    Pop3,
}

/// Whether the handshake was signed with the key of the certificate that was sent
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyProof {
    /// The signature over the handshake verified
    Proven,
    /// It did not, or the handshake broke off after the certificate: the reason
    Missing(String),
}

/// Why no certificate was seen
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nothing listens there
    Refused,
    /// No answer within the timeout
    TimedOut,
    /// Connected, and no whole answer within the timeout
    Silent,
    /// The connection was closed in the middle of the handshake
    Reset,
    /// This host has no way to such addresses: no IPv6, or no network at all
    NoRoute,
    /// The network says that the host cannot be reached
    Unreachable(String),
    /// The server ended the handshake with this TLS alert (RFC 8446 section 6)
    Alert(String),
    /// What answered does not speak TLS
    NotTls,
    /// The server would not begin TLS on this connection: its words
    NoStartTls(String),
    /// The server speaks versions older than TLS 1.2 alone: the newest of them
    OldProtocol(String),
    /// The server shares no cipher suite with certd: the one that it would choose
    OtherCipher(String),
    /// The server shares no group for the key exchange with certd and Chrome
    OtherGroup,
    /// This process may open no more files, and nobody was asked
    NoDescriptor,
    /// What the server sent is larger than any browser takes
    TooLarge,
    /// The handshake failed in another way
    Handshake(String),
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Silent => f.write_str("connected, and no answer in time"),
            Self::Reset => f.write_str("connection closed during the handshake"),
            Self::NoRoute => f.write_str("this host has no route to such addresses"),
            Self::Unreachable(reason) => write!(f, "unreachable ({reason})"),
            Self::Alert(alert) => write!(f, "TLS alert {alert}"),
            Self::NotTls => f.write_str("the port does not speak TLS"),
            Self::NoStartTls(words) => write!(f, "no STARTTLS ({words})"),
            Self::OldProtocol(version) => write!(f, "nothing newer than {version}"),
            Self::OtherCipher(suite) => write!(f, "no cipher suite in common ({suite})"),
            Self::OtherGroup => {
                f.write_str("no group in common for the key exchange: not X25519, P-256 or P-384")
            }
            Self::NoDescriptor => f.write_str("too many open files here"),
            Self::TooLarge => f.write_str("a handshake message of more than 64 KiB"),
            Self::Handshake(reason) => write!(f, "handshake failed ({reason})"),
        }
    }
}

/// A container as the Docker API describes it
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Full identifier
    pub id: String,
    /// Name without the leading slash
    pub name: String,
    /// Its host name, which nginx takes for `$hostname`; empty where the engine does not tell
    pub hostname: String,
    /// State word of the engine, such as `running` or `exited`
    pub state: String,
    /// What its health check says, such as `unhealthy`; `None` where it has none
    pub health: Option<String>,
    /// Command line of the main process
    pub command: Vec<String>,
    /// Bind mounts and volumes
    pub mounts: Vec<Mount>,
    /// Published ports
    pub published: Vec<Published>,
    /// Addresses in the container's networks, IPv4 first; in the host's network those of it at
    /// which nginx listens in particular
    pub addresses: Vec<IpAddr>,
    /// Which network stack its processes see
    pub network: Network,
    /// Name of the container whose network it shares
    pub lender: Option<String>,
    /// The Swarm service of which it is a task
    pub swarm: Option<String>,
    /// As whom its commands run, as configured; empty is root
    pub user: String,
    /// Its processes, the main one first; empty where none runs or the engine does not tell
    pub processes: Vec<Process>,
    /// When the engine starts it again
    pub restart: Restart,
    /// How often the engine has started it again since it was last started by hand
    pub restarts: u32,
    /// What is known of its last run
    pub last_run: LastRun,
}

/// Another container that sees files of the host which one sees
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Name without the leading slash
    pub name: String,
    /// Its mounts of them
    pub mounts: Vec<Mount>,
}

/// What an engine knows of the last run of a container
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRun {
    /// When it began; `None` where the engine does not tell
    pub began: Option<Timestamp>,
    /// Exit status of its main process; `None` while it runs
    pub exit_code: Option<i64>,
    /// Where what it writes goes
    pub output: Output,
}

impl LastRun {
    /// Whether what stands at the end of its errors must be what ended it
    ///
    /// A visitor's URI can write any line into nginx's log. An nginx that fails while it reads its
    /// files has had no visitors, and ends with a status of its own; one that was ended otherwise ends
    /// with 0 or by a signal. Of a run that goes on it is known that nginx has no workers yet.
    pub fn tells_why_it_ended(&self) -> bool {
        let failed = self
            .exit_code
            .is_none_or(|code| (1..SIGNALS).contains(&code));
        failed && self.began.is_some() && self.output == Output::Streams
    }
}

/// Where what a container writes goes
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// Its errors apart from all else
    #[default]
    Streams,
    /// To a terminal, where all is one
    Terminal,
}

/// Exit statuses from here on stand for signals
const SIGNALS: i64 = 128;

/// A process of a container
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its identifier, as the engine's host sees it
    pub id: u32,
    /// The identifier of the process that started it
    pub parent: u32,
    /// Its command line, words joined by blanks, or the title that it gave itself
    pub command: String,
    /// As whom it runs; `None` where the engine does not tell
    pub user: Option<User>,
}

/// As whom a process runs, as the engine's host counts users and groups
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its user
    pub uid: u32,
    /// Its group
    pub gid: u32,
    /// Further groups that it is in, as far as `ps` shows them
    pub groups: Vec<u32>,
}

/// The server block that answers for a name at port 80, as nginx's configuration has it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Where it begins, as `FILE:LINE`
    pub place: String,
    /// Why it is the one that answers
    pub claim: Claim,
    /// What it obeys before it looks for a location, such as `` `return` at FILE:LINE ``; empty where
    /// that is nothing
    pub early: Vec<String>,
    /// Where the first of these comes into the block, as `FILE:LINE`
    pub from: String,
    /// Its lines beside any location, and those that can stand in one as well; `None` where they have
    /// to stay where they are
    pub apart: Option<(Vec<String>, Vec<String>)>,
    /// The `return` by which it closes every connection without an answer (444), as `FILE:LINE`
    pub closes: Option<String>,
    /// The server block whose `listen` has nginx await the header of a balancer there, as `FILE:LINE`
    pub balanced: Option<String>,
    /// How a change comes to nginx: where the files are, and what to run
    pub next: String,
}

/// Why a server block answers for a name
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It lists the name, or a wildcard that covers it
    Listed,
    /// No server block lists the name, and it is the default one
    Default {
        /// The arguments of each `listen` with which another block takes the name from it; none where
        /// such a block is not to be added
        listens: Vec<String>,
    },
}

/// When an engine starts a container again that has ended
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Never, or only after a failure
    #[default]
    Seldom,
    /// After each end, and with the engine, unless somebody stopped it (`unless-stopped`)
    UnlessStopped,
    /// After each end, unless somebody stopped it, and always with the engine (`always`)
    Always,
}

/// Which network stack a container's processes see
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own
    #[default]
    Own,
    /// The host's (`network_mode: host`)
    Host,
}

/// A bind mount or a volume of a container
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Path on the host, symlinks resolved where it can be read
    pub source: PathBuf,
    /// Path in the container
    pub destination: PathBuf,
}

/// A port of a container that the host publishes
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// TCP port in the container
    pub container_port: u16,
    /// Address on the host where it answers
    pub host: SocketAddr,
}

/// A directory that certd writes to
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// As configured
    pub path: PathBuf,
    /// The same, or the nearest directory above it that is there
    pub nearest: PathBuf,
    /// Where it is not there, and somebody asks: one that is, and that may be meant
    pub meant: Option<PathBuf>,
    /// Whether this process may make files there
    pub writing: Writing,
    /// The user who owns it, where root works there with the rights of somebody else
    pub acts_as: Option<String>,
    /// Room for this process, in bytes; the largest number where that is not known
    pub free_bytes: u64,
    /// What it lies on
    pub file_system: FileSystem,
}

/// Whether files may be made in a directory
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// They may
    Allowed,
    /// This user lacks the right
    Forbidden,
    /// Its file system is read-only, for this process at least
    ReadOnly,
}

/// What a directory lies on
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Something that lasts
    Disk,
    /// tmpfs: gone after a restart of the host
    Memory,
    /// A container's own layer: gone with the container
    ContainerLayer,
}

/// When a CA would have a certificate renewed (RFC 9773 section 4.2)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The span in which it should happen
    pub window: Window,
    /// A page for people that says why
    pub explanation: Option<String>,
    /// When the CA wants to be asked again
    pub retry_after: Duration,
}

/// Why a CA suggests nothing (RFC 9773 section 4.3.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSuggestion {
    /// It does not answer, or with a 5xx: that may be over soon
    ForNow,
    /// Anything else: a refusal, an answer that is none
    LongTerm,
}

/// A problem document of the CA (RFC 7807, RFC 8555 section 6.7)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Last part of the type URN, such as `unauthorized`; the whole type where it is no ACME one
    pub kind: String,
    /// The CA's own words
    pub detail: String,
    /// HTTP status, if the document had one
    pub status: Option<u16>,
    /// One entry for each identifier at fault (RFC 8555 section 6.7.1)
    pub subproblems: Vec<Subproblem>,
}

/// A part of a problem that concerns one identifier
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subproblem {
    /// The name at fault, if given
    pub name: Option<String>,
    /// As [`Problem::kind`]
    pub kind: String,
    /// The CA's own words
    pub detail: String,
}

impl Problem {
    /// The type of a document that names none (RFC 9457 section 4.2.1)
    pub const BLANK: &str = "about:blank";
    /// Bytes of a document that are shown, but for the words of the last part
    const MOST_SHOWN: usize = 2048;
}

/// As much of it as a person reads: a document may be of any size, and its parts of any number
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = match self.kind.as_str() {
            Self::BLANK => self.detail.clone(),
            kind => format!("{kind}: {}", self.detail),
        };
        for (position, subproblem) in self.subproblems.iter().enumerate() {
            let name = subproblem.name.as_deref().unwrap_or("-");
            let part = format!("; {name}: {}: {}", subproblem.kind, subproblem.detail);
            if shown.len() + part.len() > Self::MOST_SHOWN {
                let left = self.subproblems.len() - position;
                shown.push_str(&format!("; and {left} more"));
                break;
            }
            shown.push_str(&part);
        }
        f.write_str(&shown)
    }
}
