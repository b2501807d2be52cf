//! A container as a test describes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::identifier;
use crate::web::{STORAGE, WEBROOT};

/// A container, as the engine describes it
#[derive(Clone, Debug)]
pub struct Container {
    /// Full identifier: 64 hexadecimal digits
    pub id: String,
    /// Name without the leading slash
    pub name: String,
    /// Labels, such as those that Compose sets
    pub labels: BTreeMap<String, String>,
    /// What it does; one that runs counts as exited while its web server is down
    pub state: State,
    /// What its health check says; `None` where it has none
    pub health: Option<Health>,
    /// Command line of the main process
    pub command: Vec<String>,
    /// The command lines of its processes, each started by the one before it
    pub processes: Vec<String>,
    /// User and group as whom its processes run
    pub user: (u32, u32),
    /// Restart policy, in the engine's words
    pub restart: &'static str,
    /// Bind mounts
    pub mounts: Vec<Mount>,
    /// Bind mounts that the engine does not tell of, and that cover others at the same place
    ///
    /// With these, a container sees something else than the mounts say, as behind an engine in a
    /// virtual machine, which has other files at the same paths.
    pub hidden_mounts: Vec<Mount>,
    /// Which ports the host publishes
    pub ports: Ports,
    /// Its address in the container network; `None` where it is in none
    pub address: Option<IpAddr>,
    /// Which network stack its processes see
    pub network: Network,
}

/// A bind mount
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Path on the host, as the operator wrote it
    pub source: PathBuf,
    /// Path in the container
    pub destination: PathBuf,
}

/// What a container does, in the engine's words
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was never started
    Created,
    /// It runs
    Running,
    /// Its processes are frozen
    Paused,
    /// It ended and will be started again
    Restarting,
    /// It is being removed
    Removing,
    /// It ended
    Exited,
    /// It could not be removed
    Dead,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether the engine says of it that it runs, which it does of a frozen one too
    pub(super) const fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// What a health check says, in the engine's words
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not been asked often enough
    Starting,
    /// All is well
    Healthy,
    /// It failed too often
    Unhealthy,
}

impl Health {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Which ports of a container the host publishes
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// 80 and 443 at the addresses at which the web server listens
    Web,
    /// None
    Hidden,
    /// These, each with its address on the host
    Other(Vec<(u16, SocketAddr)>),
}

/// Which network stack a container's processes see
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// One of its own
    Bridge,
    /// The host's
    Host,
}

impl Network {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
        }
    }
}

impl Container {
    /// A running nginx that mounts storage and webroot where the web server looks for them
    ///
    /// Its address in the container network is on loopback, so that nothing that is asked for
    /// there leaves the host.
    pub fn nginx(name: &str, storage: &Path, webroot: &Path) -> Self {
        let mount = |source: &Path, destination: &str| Mount {
            source: source.to_owned(),
            destination: destination.into(),
        };
        Self {
            id: identifier(name),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            state: State::Running,
            health: None,
            command: COMMAND.map(str::to_owned).to_vec(),
            processes: PROCESSES.map(str::to_owned).to_vec(),
            user: (0, 0),
            restart: "unless-stopped",
            mounts: vec![mount(storage, STORAGE), mount(webroot, WEBROOT)],
            hidden_mounts: Vec::new(),
            ports: Ports::Web,
            address: Some(Ipv4Addr::LOCALHOST.into()),
            network: Network::Bridge,
        }
    }

    /// The same, with a label
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }
}

const PROCESSES: [&str; 2] = [
    "nginx: master process nginx -g daemon off;",
    "nginx: worker process",
];
const COMMAND: [&str; 4] = ["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"];
