//! A CA, a DNS server, a web server and a Docker API for `certd demo` and for tests, in memory.
//!
//! They are real parts that speak real protocols, so that certd and any other ACME client can be
//! played with and tested where there is neither a public domain nor a container. They are not
//! fit for anything else, and see to that themselves:
//!
//! - everything listens on loopback, and refuses to start elsewhere;
//! - the CA issues for names that can belong to nobody ([`RESERVED`]), under a root that is made
//!   anew each time, whose key is never written down, and that is constrained to these names.
//!
//! Each part is a handle: dropping it stops the part, and a reply that a fault holds back ends with
//! its client. Tests set from outside how a part departs
//! from what it should do, one [`fault`] at a time. The modules use layer 0 alone, so that they
//! cannot mirror certd's own mistakes.
//!
//! ```
//! use std::net::Ipv4Addr;
//! use std::time::Duration;
//!
//! use certd::sandbox::acme::{Ca, Call, Limit, Options, Problem};
//! use certd::sandbox::dns::{Record, Server, Zone};
//! use certd::sandbox::fault::Times;
//! use certd::sandbox::Clock;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # runtime.block_on(async {
//! let now = "2027-02-10T00:00:00Z".parse()?;
//! let zone = Zone::new();
//! zone.add("shop.test", Record::A(Ipv4Addr::LOCALHOST));
//! let dns = Server::start("127.0.0.1:0".parse()?, zone).await?;
//!
//! // It fetches tokens from port 8080, and lives in February 2027.
//! let options = Options::new(Clock::new(move || now), dns.address(), 8080);
//! let ca = Ca::start(options).await?;
//!
//! // The next order is one too many.
//! let problem = Problem::limited(Limit::ExactSet, now, Duration::from_secs(3600));
//! ca.fault(Call::NewOrder, Times::Next(1), problem);
//! assert!(ca.directory().starts_with("https://127.0.0.1:"));
//! # Ok(())
//! # })
//! # }
//! ```

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub mod acme;
pub mod container;
pub mod dns;
pub mod docker;
pub mod fault;
mod listen;
pub mod web;

/// What a part of the sandbox takes for the time
///
/// Tests hand in a clock that they move themselves, so that a year takes no time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks this function
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Why a part of the sandbox did not start
#[derive(Debug, Error)]
pub enum SandboxError {
    /// The address is reachable from elsewhere
    #[error("the sandbox listens on loopback only, not on {address}")]
    NotLoopback {
        /// As asked for
        address: SocketAddr,
    },
    /// The system refused the address or the socket
    #[error("cannot listen on {place}")]
    Listen {
        /// Address or path
        place: String,
        /// Why
        source: io::Error,
    },
    /// No key or certificate can be made
    #[error("cannot make a key or a certificate")]
    Certificate(#[from] rcgen::Error),
    /// TLS is not usable
    #[error("TLS is not usable")]
    Tls(#[from] rustls::Error),
    /// DNS is not usable
    #[error("DNS is not usable: {reason}")]
    Dns {
        /// Why
        reason: String,
    },
}

/// A background task that ends with the value that holds it
#[derive(Debug)]
struct Background(JoinHandle<()>);

impl Background {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A TCP listener on loopback
async fn listen(address: SocketAddr) -> Result<TcpListener, SandboxError> {
    if !address.ip().is_loopback() {
        return Err(SandboxError::NotLoopback { address });
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| SandboxError::Listen {
            place: address.to_string(),
            source,
        })
}

/// A lock that no panic of another test takes away
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Domains that belong to nobody (RFC 2606, RFC 6761); the CA issues for names below them alone
pub const RESERVED: [&str; 6] = [
    "test",
    "example",
    "localhost",
    "example.com",
    "example.net",
    "example.org",
];
