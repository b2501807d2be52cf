//! A web server that stands for nginx in a container: the same configuration files, the same
//! words, and files that are read when it is told to, and only then.
//!
//! It reads `nginx.conf` and what that includes, refuses what nginx refuses, and serves the server
//! blocks that listen with TLS at 443; those of other ports are read and not served, as if no
//! other port were published. Of what they say it heeds `listen`, `server_name`,
//! `ssl_certificate`, `ssl_certificate_key`, `ssl_reject_handshake` and `return 200`; the values
//! of all other directives go unread. What the files say of HTTP goes unread as well.
//!
//! It answers challenges from the webroot over HTTP, sends all else to HTTPS, and shows a page
//! there for each site. On demand it departs from its configuration, at once and without a
//! reload: [`Web::serve`] for TLS, [`Web::answer`] for HTTP.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;

use super::listen::TlsListener;
use super::{Background, SandboxError, listen, lock};

mod conf;
mod configuration;
mod directives;
mod files;
mod http;
mod listens;
mod place;
mod sites;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests make the files that nginx reads"
)]
mod tests;
mod text;
mod tls;

pub use conf::{files, write};
pub use http::{Asked, HttpInstead, Request};
pub use tls::Instead;

use configuration::Configuration;
use sites::Served;

/// Where the directories are on the host that the container sees as [`CONFIGURATION`],
/// [`STORAGE`] and [`WEBROOT`]
#[derive(Clone, Debug)]
pub struct Options {
    /// `nginx.conf` is read from it, and what that includes
    pub configuration: PathBuf,
    /// Challenges are answered from `.well-known/acme-challenge` below it
    pub webroot: PathBuf,
    /// Certificates are read from below it, and from below the configuration
    pub storage: PathBuf,
}

/// One TLS server block, to be written
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What stands in `server_name`, wildcards included
    pub names: Vec<String>,
    /// The directory in `live` with its `fullchain.pem` and `privkey.pem`
    pub lineage: String,
}

impl Site {
    /// Its first name, else its lineage
    fn title(&self) -> &str {
        self.names.first().unwrap_or(&self.lineage)
    }
}

/// The web server; clones share it, and the last one stops it
#[derive(Clone)]
pub struct Web(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    http: SocketAddr,
    https: SocketAddr,
    _servers: [Background; 2],
}

/// What the servers and their handle have in common
struct Shared {
    options: Options,
    state: Mutex<State>,
}

struct State {
    /// What was read at the last reload; `None` while the server is stopped
    served: Option<Vec<Served>>,
    tls: Vec<(String, tls::Departure)>,
    http: Vec<(Asked, HttpInstead)>,
    requests: Vec<Request>,
}

impl Web {
    /// Starts HTTP and TLS on free ports of 127.0.0.1, without a TLS site at first
    ///
    /// No file is read before a reload or a restart.
    ///
    /// # Errors
    /// [`SandboxError`] where no port can be had or TLS is not usable.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (plain, http) = bound(listen(anywhere).await?)?;
        let (secure, https) = bound(listen(anywhere).await?)?;
        let shared = Arc::new(Shared {
            options,
            state: Mutex::new(State {
                served: Some(Vec::new()),
                tls: Vec::new(),
                http: Vec::new(),
                requests: Vec::new(),
            }),
        });
        let config = tls::config(&shared)?;
        let open = shared.clone();
        let secure =
            TlsListener::while_open(secure, move || open.has_sites().then(|| config.clone()))
                .map_err(|source| unusable(https, source))?;
        let servers = [
            http::serve_plain(plain, shared.clone()),
            http::serve_pages(secure, shared.clone()),
        ];
        Ok(Self(Arc::new(Running {
            shared,
            http,
            https,
            _servers: servers,
        })))
    }

    /// Where it answers HTTP
    pub fn http(&self) -> SocketAddr {
        self.0.http
    }

    /// Where it answers HTTPS
    pub fn https(&self) -> SocketAddr {
        self.0.https
    }

    /// Writes another configuration with [`write()`], which takes effect at the next reload
    ///
    /// # Errors
    /// As there.
    pub fn configure(&self, sites: &[Site]) -> io::Result<()> {
        write(&self.options().configuration, sites)
    }

    /// What `nginx -T` prints on stdout: the files as they stand
    ///
    /// It is empty where [`Web::test`] fails: nginx shows no configuration that it cannot use.
    pub fn dump(&self) -> String {
        let read = self.read();
        read.map_or_else(|_| String::new(), |(configuration, _)| configuration.dump())
    }

    /// Whether the configuration and its files can be used, as `nginx -t` finds it
    ///
    /// nginx says [`TEST_PASSED`] where they can.
    ///
    /// # Errors
    /// What nginx says on stderr: the first problem, and that the test failed.
    pub fn test(&self) -> Result<(), String> {
        match self.read() {
            Ok(_) => Ok(()),
            Err(complaint) => Err(complaint + TEST_FAILED),
        }
    }

    /// Reads the configuration and its files again, and serves them from now on
    ///
    /// # Errors
    /// What `nginx -s reload` says on stderr; all is served as before then.
    pub fn reload(&self) -> Result<(), String> {
        let (_, served) = self.read()?;
        match &mut self.state().served {
            None => Err(NOT_RUNNING.to_owned()),
            Some(running) => {
                *running = served;
                Ok(())
            }
        }
    }

    /// Stops, then starts with the configuration and its files as they are now
    ///
    /// # Errors
    /// What nginx says on stderr; nothing is served then until a restart that works.
    pub fn restart(&self) -> Result<(), String> {
        self.stop();
        let (_, served) = self.read()?;
        self.state().served = Some(served);
        Ok(())
    }

    /// Serves nothing any more, until a restart: connections are closed as soon as they are made
    pub fn stop(&self) {
        self.state().served = None;
    }

    /// Whether it serves
    pub fn is_running(&self) -> bool {
        self.0.shared.is_running()
    }

    /// Departs from the configuration for this name in SNI, at once
    ///
    /// # Errors
    /// [`SandboxError`] for a pair that cannot be served.
    pub fn serve(&self, name: &str, instead: Instead) -> Result<(), SandboxError> {
        let name = name.to_ascii_lowercase();
        let departure = tls::Departure::prepare(&name, instead)?;
        let departures = &mut self.state().tls;
        departures.retain(|(of, _)| *of != name);
        departures.push((name, departure));
        Ok(())
    }

    /// Departs from the configuration for these requests over HTTP, at once
    ///
    /// Where several departures fit a request, the one asked for last is taken.
    pub fn answer(&self, asked: Asked, instead: HttpInstead) {
        let departures = &mut self.state().http;
        departures.retain(|(of, _)| *of != asked);
        departures.push((asked, instead));
    }

    /// Ends all departures
    pub fn behave(&self) {
        let mut state = self.state();
        state.tls.clear();
        state.http.clear();
    }

    /// What was asked for over HTTP so far, oldest first
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.shared.state)
    }

    fn options(&self) -> &Options {
        &self.0.shared.options
    }

    /// The configuration and what it has served, or what nginx says of the first problem
    fn read(&self) -> Result<(Configuration, Vec<Served>), String> {
        let configuration = Configuration::read(self.options())?;
        let served = sites::load(&configuration, self.options())?;
        Ok((configuration, served))
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web({}, {})", self.http(), self.https())
    }
}

impl Shared {
    fn is_running(&self) -> bool {
        lock(&self.state).served.is_some()
    }

    /// Without a TLS site nginx does not listen on the port at all
    fn has_sites(&self) -> bool {
        let state = lock(&self.state);
        state.served.as_ref().is_some_and(|sites| !sites.is_empty())
    }
}

fn bound(listener: TcpListener) -> Result<(TcpListener, SocketAddr), SandboxError> {
    match listener.local_addr() {
        Ok(address) => Ok((listener, address)),
        Err(source) => Err(unusable((Ipv4Addr::LOCALHOST, 0).into(), source)),
    }
}

fn unusable(address: SocketAddr, source: io::Error) -> SandboxError {
    SandboxError::Listen {
        place: address.to_string(),
        source,
    }
}

/// The configuration in the container
pub const CONFIGURATION: &str = "/etc/nginx";

/// The storage in the container
pub const STORAGE: &str = "/etc/letsencrypt";

/// The webroot in the container
pub const WEBROOT: &str = "/var/www/certbot";

/// What `nginx -t` says on stderr where all is well
pub const TEST_PASSED: &str = "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n\
    nginx: configuration file /etc/nginx/nginx.conf test is successful\n";

const TEST_FAILED: &str = "nginx: configuration file /etc/nginx/nginx.conf test failed\n";

const NOT_RUNNING: &str =
    "nginx: [error] open() \"/run/nginx.pid\" failed (2: No such file or directory)\n";
