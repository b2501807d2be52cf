//! A Docker Engine API on a Unix socket, with containers in which [`Web`] is the nginx.
//!
//! It runs no process and starts no container. A container is a description ([`Container`]), the
//! host's directories that it mounts, and the web server; the commands that can be run in it are
//! `cat` and those of nginx that certd knows. Everything else is answered as Docker answers for
//! what is not there.

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use bytes::Bytes;
use http::Method;
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::fault::{Fault, Faults, Times};
use super::web::Web;
use super::{Background, SandboxError, lock};

mod answer;
mod api;
mod container;
mod describe;
mod door;
mod events;
mod exec;
mod execs;
mod files;
mod host;
mod stream;
#[cfg(test)]
mod tests;

pub use container::{Container, Health, Mount, Network, Ports, State};
pub use exec::Executed;

use answer::Refusal;
use door::Door;
use events::Events;
use execs::Execs;
use host::Host;

/// A listening engine, stopped on drop, its socket file removed
pub struct Engine {
    socket: PathBuf,
    shared: Arc<Shared>,
    /// Dropping it stops what goes on over connections that are open
    _running: watch::Sender<()>,
    _server: Background,
}

/// A call of the API, for which a fault can be set
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /_ping`
    Ping,
    /// `GET /version`
    Version,
    /// `GET /containers/json`
    List,
    /// `GET /containers/{id}/json`
    Inspect,
    /// `GET /containers/{id}/top`
    Top,
    /// `GET /containers/{id}/logs`
    ///
    /// All that nginx wrote, whenever it was: lines have no time here.
    Logs,
    /// `POST /containers/{id}/exec`
    CreateExec,
    /// `POST /exec/{id}/start`
    ///
    /// A fault of the body is one of the command's output here: [`Fault::CutShort`] ends it
    /// early, with [`Fault::Stalled`] the command hangs, with [`Fault::Endless`] it prints on.
    StartExec,
    /// `GET /exec/{id}/json`
    InspectExec,
    /// `POST /containers/{id}/kill`
    Kill,
    /// `POST /containers/{id}/restart`
    Restart,
    /// `GET /events`
    Events,
}

impl Call {
    /// Every call, for an engine of which nothing works
    pub const ALL: [Self; 12] = [
        Self::Ping,
        Self::Version,
        Self::List,
        Self::Inspect,
        Self::Top,
        Self::Logs,
        Self::CreateExec,
        Self::StartExec,
        Self::InspectExec,
        Self::Kill,
        Self::Restart,
        Self::Events,
    ];
}

impl Engine {
    /// An engine that listens at a path which is not taken, with one container
    ///
    /// Only the user of this process can connect. A task of the runtime serves it.
    ///
    /// # Errors
    /// [`SandboxError::Listen`] where the socket cannot be made.
    pub async fn start(
        socket: &Path,
        container: Container,
        web: Web,
    ) -> Result<Self, SandboxError> {
        let listener = bind(socket).map_err(|source| SandboxError::Listen {
            place: socket.display().to_string(),
            source,
        })?;
        let (running, stopped) = watch::channel(());
        let shared = Arc::new(Shared {
            hosts: Mutex::new(vec![Host::new(container, web)]),
            execs: Mutex::default(),
            instead: Mutex::default(),
            requests: Mutex::default(),
            versions: Mutex::new(VERSIONS),
            paths: Mutex::new(Paths::Any),
            faults: Faults::default(),
            events: Events::default(),
            turned_away: door::Instead::default(),
            stopped: Stopped(stopped),
        });
        let door = Door {
            listener,
            instead: shared.turned_away.clone(),
        };
        let stopped = shared.stopped.clone();
        let router = Router::new()
            .fallback(api::answer)
            .with_state(shared.clone());
        let server = Background::spawn(async move {
            // It accepts until it is dropped, and then asks each connection to end.
            let _ = axum::serve(door, router)
                .with_graceful_shutdown(async move { stopped.wait().await })
                .await;
        });
        Ok(Self {
            socket: socket.to_owned(),
            shared,
            _running: running,
            _server: server,
        })
    }

    /// Path of the socket
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Another container beside those that are there, with a web server of its own
    pub fn add(&self, container: Container, web: Web) {
        lock(&self.shared.hosts).push(Host::new(container, web));
    }

    /// The containers of this name are there no more
    pub fn remove(&self, name: &str) {
        lock(&self.shared.hosts).retain(|host| host.container.name != name);
    }

    /// Changes the container that the engine was started with, as if it had been created anew
    ///
    /// Its mounts are resolved anew too. Nothing happens once it is removed.
    pub fn change(&self, change: impl FnOnce(&mut Container)) {
        if let Some(host) = lock(&self.shared.hosts).first_mut() {
            host.change(change);
        }
    }

    /// Plays a fault in the place of what a call should do
    pub fn fault(&self, call: Call, times: Times, fault: impl Into<Fault>) {
        self.shared.faults.add(call, times, fault.into());
    }

    /// Lets a command end so, whose first words are these, without a look at the container
    ///
    /// Of several that fit, the one counts that was set last.
    pub fn exec_instead(&self, command: &[&str], executed: Executed) {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        lock(&self.shared.instead).push((command, executed));
    }

    /// Writes these bytes to each new connection and closes it, as something does that is no engine
    pub fn turn_away(&self, words: impl Into<Bytes>) {
        *lock(&self.shared.turned_away) = Some(words.into());
    }

    /// Understands the minor versions of API 1 in this range and refuses all others
    ///
    /// Requests without a version are served always. Engines older than their client are the
    /// rule, since engines are seldom replaced.
    pub fn understand(&self, versions: RangeInclusive<u32>) {
        *lock(&self.shared.versions) = versions;
    }

    /// Refuses paths without a version, as some proxies do: all but `/_ping` and `/version`
    pub fn pass_versioned_paths_alone(&self) {
        *lock(&self.shared.paths) = Paths::Versioned;
    }

    /// Does again what it should: all that was set is taken back, and containers stay as they are
    pub fn behave(&self) {
        self.shared.faults.clear();
        lock(&self.shared.instead).clear();
        *lock(&self.shared.turned_away) = None;
        *lock(&self.shared.versions) = VERSIONS;
        *lock(&self.shared.paths) = Paths::Any;
    }

    /// The latest requests in order, decoded and without version: `GET /containers/web/json`
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).iter().cloned().collect()
    }

    /// How often a command was run that begins with these words
    pub fn commands(&self, words: &[&str]) -> usize {
        lock(&self.shared.execs).count(words)
    }

    /// What the nginx of each container wrote to its log, such as why it did not reload
    pub fn log(&self) -> Vec<String> {
        let hosts = lock(&self.shared.hosts);
        hosts.iter().flat_map(|host| host.log.clone()).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Nothing can be done about a file that stays.
        let _ = fs::remove_file(&self.socket);
    }
}

/// A socket that only this user can connect to
fn bind(socket: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600)).inspect_err(|_| {
        let _ = fs::remove_file(socket);
    })?;
    Ok(listener)
}

/// Which paths pass
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paths {
    Any,
    /// Those that begin with a version
    Versioned,
}

/// What the handle and the connections share
struct Shared {
    hosts: Mutex<Vec<Host>>,
    execs: Mutex<Execs>,
    instead: Mutex<Vec<(Vec<String>, Executed)>>,
    requests: Mutex<VecDeque<String>>,
    versions: Mutex<RangeInclusive<u32>>,
    paths: Mutex<Paths>,
    faults: Faults<Call>,
    events: Events,
    turned_away: door::Instead,
    stopped: Stopped,
}

type Refused<T> = Result<T, Refusal>;

impl Shared {
    /// Does something to the container that a name or identifier means
    ///
    /// The whole identifier and the name come before the beginning of an identifier.
    fn with<T>(&self, reference: &str, act: impl FnOnce(&mut Host) -> Refused<T>) -> Refused<T> {
        let mut hosts = lock(&self.hosts);
        let exact =
            |host: &Host| host.container.name == reference || host.container.id == reference;
        let position = hosts
            .iter()
            .position(exact)
            .or_else(|| hosts.iter().position(|host| host.is_meant_by(reference)));
        match position {
            Some(position) => act(&mut hosts[position]),
            None => Err(Refusal::not_found(format!(
                "No such container: {reference}"
            ))),
        }
    }

    fn instead_of(&self, command: &[String]) -> Option<Executed> {
        let instead = lock(&self.instead);
        let mut latest = instead.iter().rev();
        latest
            .find(|(words, _)| command.starts_with(words))
            .map(|(_, executed)| executed.clone())
    }

    fn record(&self, method: &Method, path: &str, query: &str) {
        let mark = if query.is_empty() { "" } else { "?" };
        let line = format!(
            "{method} {}{mark}{}",
            answer::decode(path),
            answer::decode(query)
        );
        let mut requests = lock(&self.requests);
        if requests.len() == REQUESTS {
            requests.pop_front();
        }
        requests.push_back(line);
    }
}

/// Known to all that waits, so that nothing outlives the engine
#[derive(Clone)]
struct Stopped(watch::Receiver<()>);

impl Stopped {
    async fn wait(&self) {
        let mut running = self.0.clone();
        while running.changed().await.is_ok() {}
    }
}

/// 64 hexadecimal digits that are the same for the same words
fn identifier(words: &str) -> String {
    let digest = digest(&SHA256, words.as_bytes());
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Minor versions of the API since Docker 1.12
const VERSIONS: RangeInclusive<u32> = 24..=53;
/// Requests that are remembered
const REQUESTS: usize = 10_000;
