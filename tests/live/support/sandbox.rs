//! The CA of the sandbox, for tests that are not asynchronous.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use certd_sandbox::{Clock, acme};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::ca::{Accounts, EAB_HMAC, EAB_KID, Options};
use super::ports;

/// A running CA of the sandbox, with a thread of its own
#[derive(Debug)]
pub(crate) struct Sandbox {
    // Stopped before the runtime that it runs in.
    ca: acme::Ca,
    runtime: Runtime,
    dir: TempDir,
    // What it is started with, and started with again.
    dns: SocketAddr,
    port: u16,
    options: Options,
}

impl Sandbox {
    /// Starts a CA that asks this DNS server
    pub(crate) fn start(dns: SocketAddr, options: Options) -> Self {
        let (runtime, port) = (runtime(), ports::free());
        let sandbox = Self {
            ca: start(&runtime, dns, port, options),
            runtime,
            dir: tempfile::tempdir().expect("temporary directory"),
            dns,
            port,
            options,
        };
        sandbox.write_root();
        sandbox
    }

    /// Ends the CA and starts another one at the same URL
    pub(crate) fn restart(&mut self) {
        // The end of the old runtime closes the port.
        self.runtime = runtime();
        self.ca = start(&self.runtime, self.dns, self.port, self.options);
        self.write_root();
    }

    fn write_root(&self) {
        std::fs::write(self.root_path(), self.ca.root_pem()).expect("the root can be written");
    }

    /// The port of its API
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory URL
    pub(crate) fn directory_url(&self) -> String {
        self.ca.directory().replace("127.0.0.1", "localhost")
    }

    /// The CA that its API is trusted by: its own root
    pub(crate) fn trust_pem_path(&self) -> PathBuf {
        self.root_path()
    }

    /// A file with the root of the certificates that it issues
    pub(crate) fn root_path(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// Suggests for every certificate the hour that begins so long from now
    pub(crate) fn suggest_window(&self, from_now: SignedDuration) {
        let start = Timestamp::now() + from_now;
        self.ca.set_window(Some(acme::Window {
            start,
            end: start + SignedDuration::from_hours(1),
            explanation: None,
            // A client would remember a longer pause, and not look again when the window changes.
            retry_after: Some(Duration::ZERO),
        }));
    }

    /// How many certificates were issued
    pub(crate) fn certificates(&self) -> usize {
        self.ca.issued().len()
    }

    /// How many HTTP requests were made
    pub(crate) fn requests(&self) -> usize {
        self.ca.requests().len()
    }
}

impl Deref for Sandbox {
    type Target = acme::Ca;

    fn deref(&self) -> &acme::Ca {
        &self.ca
    }
}

/// A runtime that works while the test waits for other programs
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn start(runtime: &Runtime, dns: SocketAddr, port: u16, options: Options) -> acme::Ca {
    let clock = clock(options.validity);
    let mut all = acme::Options::new(clock, dns, options.http_port);
    all.address = (Ipv4Addr::LOCALHOST, port).into();
    all.reuse = options.authz_reuse;
    all.validation_pause = Duration::from_secs(options.sleep.unwrap_or(0).into()) / 2;
    if options.accounts == Accounts::Bound {
        let key = BASE64_URL_SAFE_NO_PAD.decode(EAB_HMAC).expect("base64url");
        all.accounts = acme::Accounts::Bound(BTreeMap::from([(EAB_KID.to_owned(), key)]));
    }
    let ca = runtime.block_on(acme::Ca::start(all)).expect("a CA starts");
    ca.reject_nonces(options.nonce_reject.into());
    ca
}

/// The time, or a clock so slow that new certificates have only `validity` left
fn clock(validity: Option<Duration>) -> Clock {
    let late = match validity {
        None => SignedDuration::ZERO,
        Some(left) => {
            let left = SignedDuration::try_from(left).expect("a short time");
            acme::PROFILES[0].validity - BACKDATED - left
        }
    };
    Clock::new(move || Timestamp::now() - late)
}

/// By how much the CA's certificates are older than they are
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
