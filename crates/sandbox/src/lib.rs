#![doc = include_str!("../README.md")]
//!
//! # Handles
//!
//! Each part is a handle: dropping it stops the part, and a reply that a fault holds back ends with
//! its client. Tests set from outside how a part departs from what it should do, one [`fault`] at a
//! time. Nothing here is certd's own code, so that no part can mirror a mistake of the client that it
//! plays with.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub mod acme;
pub mod anyone;
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

/// The validity period of a certificate (RFC 5280 section 4.1.2.5)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First instant at which the certificate is valid
    pub not_before: Timestamp,
    /// Last instant at which it is valid
    pub not_after: Timestamp,
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
