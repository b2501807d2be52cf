//! What was seen of each link between a name and its certificate: plain data for the judge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::chain::{Certificate, Chain, Fingerprint};
use crate::config::{Connect, Domain, Sharing};
use crate::facts::{Container, Handshake};
use crate::finding::{Finding, Severity};
use crate::pipeline::obtain::Configured;
use crate::target::choice::Inlet;
use crate::target::dump::{CertificateLine, ServerBlock, StreamServer};
use crate::verify::judge::{Installed, Known};

/// All that was seen
pub(super) struct Seen<'c> {
    pub(super) name: &'c str,
    pub(super) typed: &'c str,
    pub(super) port: u16,
    pub(super) file: ConfigFile,
    pub(super) domain: Option<&'c Domain>,
    pub(super) dns: Dns,
    pub(super) connect: Option<Connect>,
    /// A look at each address
    pub(super) looks: Vec<Look>,
    /// A look at the container itself, where none of the addresses is its own
    pub(super) inside: Option<Look>,
    /// Looks at the container's other addresses and families
    pub(super) beside: Vec<Look>,
    /// That this host cannot reach one of the container's addresses
    pub(super) barred: Option<Finding>,
    pub(super) listener: Listener,
    /// The port in the container
    pub(super) inlet: u16,
    /// `None` without a container
    pub(super) nginx: Option<Result<Nginx, Finding>>,
    pub(super) stored: Stored,
}

/// Whether there is a domains.toml
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ConfigFile {
    Read,
    Absent,
}

/// What DNS said
pub(super) enum Dns {
    /// It was not asked: the name is an address, or `localhost`
    Unasked,
    /// This, as it was judged
    Judged(Vec<Finding>),
}

/// One handshake, judged
pub(super) struct Look {
    pub(super) address: SocketAddr,
    /// Whose address it is
    pub(super) place: Whereabouts,
    pub(super) handshake: Handshake,
    /// The worst first
    pub(super) findings: Vec<Finding>,
}

/// Whose an address is
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// An interface of this host has it
    Here,
    /// `addresses` lists it
    Listed,
    /// Neither: another host's, or it is translated on the way
    Unknown,
}

impl Look {
    pub(super) fn is_good(&self) -> bool {
        self.worst() < Severity::Failure
    }

    /// Whether it shows what it should: nothing fails, and it could be judged
    pub(super) fn is_right(&self) -> bool {
        self.is_good() && self.unjudged().is_none()
    }

    pub(super) fn worst(&self) -> Severity {
        let severities = self.findings.iter().map(|finding| finding.severity);
        severities.max().unwrap_or(Severity::Ok)
    }

    /// Why there was no connection; `None` where there was one
    pub(super) fn unreached(&self) -> Option<&Finding> {
        let mut findings = self.findings.iter();
        findings.find(|finding| finding.code.starts_with("connect."))
    }

    /// Why nothing can be said of what was shown; `None` where it was judged
    pub(super) fn unjudged(&self) -> Option<&Finding> {
        let mut findings = self.findings.iter();
        findings.find(|finding| finding.code == UNJUDGED)
    }

    /// The certificate that was shown
    pub(super) fn leaf(&self) -> Option<Certificate> {
        let served = self.handshake.outcome.as_ref().ok()?;
        let chain = Chain::from_der(served.chain.clone()).ok()?;
        Some(chain.leaf().clone())
    }
}

/// Who takes connections at the port, as far as Docker tells
pub(super) enum Listener {
    /// Docker cannot be asked
    NoDocker(Finding),
    /// The container that domains.toml names is not there
    Lost(Finding),
    /// It is there and does not run
    Stopped(Finding),
    /// No container publishes the port
    Nobody,
    /// This container
    Found(Container),
    /// Nobody knows whether it is this container, which is in the network of the host
    Perhaps(Container),
    /// Somebody else has the socket to which the name leads than these, which domains.toml names
    Taken {
        named: Vec<String>,
        holder: String,
        at: SocketAddr,
    },
    /// A process of the host
    Process { name: String, pid: u32 },
    /// Somebody who cannot be seen; these containers are in the network of the host
    Hidden(Vec<String>),
}

impl Listener {
    pub(super) fn container(&self) -> Option<&Container> {
        match self {
            Self::Found(container) | Self::Perhaps(container) => Some(container),
            _ => None,
        }
    }
}

/// What nginx's configuration says of the name
pub(super) struct Nginx {
    pub(super) configured: Configured,
    pub(super) chosen: Chosen,
    /// Where connections come in
    pub(super) inlet: Option<Inlet>,
    /// The stream servers that led there
    pub(super) through: Vec<StreamServer>,
    /// The certificate file of the chosen block
    pub(super) named: Option<Named>,
    /// Where the name's block does not listen and others do
    pub(super) astray: Option<Astray>,
    /// Where the name has a certificate of its own in the container
    pub(super) own: Own,
}

/// A way in at which others than the block that lists the name take its connections
pub(super) struct Astray {
    /// The one that lists the name
    pub(super) block: ServerBlock,
    /// Where the others listen
    pub(super) at: SocketAddr,
    /// The way in
    pub(super) inlet: Inlet,
}

/// The server block that nginx chooses
pub(super) enum Chosen {
    /// It lists the name; those after it that list it again are ignored
    Listed(ServerBlock, Vec<ServerBlock>),
    /// None lists the name, and this is the default one
    Default(ServerBlock),
    /// None lists the name, and a regular expression of this one may match it
    Pattern(ServerBlock),
    /// A stream server takes connections, and leads to no block that is known
    Stream(StreamServer),
    /// None speaks TLS there; the one that lists the name elsewhere
    Nobody(Option<ServerBlock>),
}

impl Chosen {
    pub(super) fn block(&self) -> Option<&ServerBlock> {
        match self {
            Self::Listed(block, _) | Self::Default(block) => Some(block),
            Self::Pattern(_) | Self::Stream(_) | Self::Nobody(_) => None,
        }
    }
}

/// The certificate file of a server block that handshakes show, else the one that it names first
pub(super) struct Named {
    pub(super) line: CertificateLine,
    /// The file for this name; `None` where it depends on what cannot be told
    pub(super) path: Option<PathBuf>,
    pub(super) content: Content,
    /// The others that it names, for clients that take other kinds of keys
    pub(super) beside: Vec<Self>,
}

/// What stands in a certificate file, as the container sees it
pub(super) enum Content {
    Chain(Box<Chain>),
    Missing,
    /// The reason
    Unknown(String),
}

/// Whether the name has a certificate of its own that nginx could be told to use
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// It has, and the container sees it
    Seen,
    /// It has, and no mount shows it to the container
    NotMounted,
    /// There is none, or none is known
    None,
}

/// What certd has on disk
#[derive(Default)]
pub(super) struct Stored {
    pub(super) storage: PathBuf,
    /// Whether this host has it
    pub(super) presence: Presence,
    /// Every certificate in the archive
    pub(super) known: Arc<[Known]>,
    /// What the domain should be served with
    pub(super) installed: Option<Installed>,
    /// The live certificate of the domain
    pub(super) live: Option<Certificate>,
    /// Its newest generation in the archive
    pub(super) newest: Option<u32>,
    /// What `certd obtain` does about it
    pub(super) next: Next,
    /// Another program's lineage stands where the domain's should
    pub(super) foreign: Option<Finding>,
    /// Why the storage cannot be read
    pub(super) problem: Option<Finding>,
}

/// What `certd obtain` does about a domain
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Next {
    /// It deploys what is there
    Deploy,
    /// It may order: the certificate's time is near
    Either,
    /// It orders
    #[default]
    Order,
}

/// Whether there is a storage on this host
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    #[default]
    Absent,
}

impl Stored {
    pub(super) fn known(&self, fingerprint: Fingerprint) -> Option<&Known> {
        let mut known = self.known.iter();
        known.find(|known| known.fingerprint == fingerprint)
    }
}

impl Seen<'_> {
    pub(super) fn container(&self) -> Option<&Container> {
        self.listener.container()
    }

    /// Whether certd and nginx are at home on another host, as far as can be told: neither the
    /// storage nor the container is on this one
    pub(super) fn is_elsewhere(&self) -> bool {
        let is_here = |look: &Look| look.place == Whereabouts::Here;
        let is_containers_elsewhere = match &self.listener {
            Listener::NoDocker(_) => true,
            // A machine with a Docker of its own may be anybody's.
            Listener::Lost(_) | Listener::Nobody => {
                !self.looks.is_empty() && !self.looks.iter().any(is_here)
            }
            Listener::Stopped(_)
            | Listener::Found(_)
            | Listener::Perhaps(_)
            | Listener::Taken { .. }
            | Listener::Process { .. }
            | Listener::Hidden(_) => false,
        };
        self.domain.is_some() && self.stored.presence == Presence::Absent && is_containers_elsewhere
    }

    /// Whether a browser gets what it should at every address that answers
    pub(super) fn is_good(&self) -> bool {
        !self.looks.is_empty() && self.looks.iter().all(Look::is_good)
    }

    /// The look that shows what the container itself serves
    pub(super) fn at_container(&self) -> Option<&Look> {
        let is_here = |look: &Look| look.place == Whereabouts::Here || self.connect.is_some();
        let answers = |look: &&Look| look.unreached().is_none() && is_here(look);
        self.inside
            .as_ref()
            .or_else(|| self.looks.iter().find(answers))
    }

    pub(super) fn sharing(&self) -> Sharing {
        self.domain
            .map_or(Sharing::Separate, |domain| domain.sharing)
    }
}

/// Code of a handshake that says nothing of what a browser gets
pub(super) const UNJUDGED: &str = "handshake.other_cipher";
