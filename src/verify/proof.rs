//! Waiting until a server shows a certificate, and saying what it shows instead.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::time::{Instant, sleep};

use crate::chain::Fingerprint;
use crate::config::Sharing;
use crate::facts::{ConnectFailure, Handshake, KeyProof};
use crate::net::tls::Observer;

/// What a server showed for one name when waiting ended
#[derive(Clone, Debug)]
pub struct Proof {
    /// The name
    pub name: String,
    /// Where it was asked
    pub address: SocketAddr,
    /// Whether the wanted certificate was shown often enough
    pub verdict: Verdict,
    /// Handshakes made
    pub handshakes: u32,
}

impl Proof {
    /// Whether the wanted certificate was shown
    pub fn is_proven(&self) -> bool {
        matches!(self.verdict, Verdict::Proven)
    }

    /// Whether this other certificate was shown
    pub fn shows(&self, fingerprint: Fingerprint) -> bool {
        let Verdict::Other { chain } = &self.verdict else {
            return false;
        };
        chain
            .first()
            .is_some_and(|leaf| Fingerprint::of(leaf) == fingerprint)
    }
}

/// What a name at an address is served with
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The wanted certificate, [`IN_A_ROW`] times in a row, its key proven each time
    Proven,
    /// Another certificate
    Other {
        /// The chain in DER, leaf first
        chain: Vec<Vec<u8>>,
    },
    /// The wanted certificate, but the server could not prove its key
    KeyUnproven {
        /// What failed
        reason: String,
    },
    /// No certificate at all
    Broken(ConnectFailure),
}

/// Which certificate is waited for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This one
    Only(Fingerprint),
    /// Any whose SAN covers the name (`shared = true`)
    AnyForTheName,
}

impl Wanted {
    /// What is wanted of a domain with this live certificate
    pub fn of(fingerprint: Fingerprint, sharing: Sharing) -> Self {
        match sharing {
            Sharing::Separate => Self::Only(fingerprint),
            Sharing::Shared => Self::AnyForTheName,
        }
    }
}

/// Waits until a server shows a certificate [`IN_A_ROW`] times, in fresh handshakes, or until
/// the deadline
///
/// nginx serves the old certificate for a moment after it was told to reload, and for a tenth of
/// a second old and new workers accept side by side. The handshakes therefore lie [`APART`].
pub async fn wait_for(
    observer: &Observer,
    name: &str,
    address: SocketAddr,
    wanted: Wanted,
    deadline: Instant,
) -> Proof {
    let mut in_a_row = 0;
    let mut handshakes = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let handshake = observe_until(observer, name, address, deadline).await;
        handshakes += 1;
        let verdict = judge(handshake, wanted);
        if matches!(verdict, Verdict::Proven) {
            in_a_row += 1;
        } else {
            in_a_row = 0;
        }
        let proven = in_a_row == IN_A_ROW;
        let late = Instant::now() + pause >= deadline;
        if proven || (late && in_a_row == 0) {
            return Proof {
                name: name.to_owned(),
                address,
                verdict,
                handshakes,
            };
        }
        if in_a_row > 0 {
            sleep(APART).await;
        } else {
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }
}

/// One handshake, cut off at the deadline as a timeout
async fn observe_until(
    observer: &Observer,
    name: &str,
    address: SocketAddr,
    deadline: Instant,
) -> Handshake {
    let started = Instant::now();
    let limit = deadline.max(started + FIRST_PAUSE);
    match tokio::time::timeout_at(limit, observer.observe(name, address)).await {
        Ok(handshake) => handshake,
        Err(_) => Handshake {
            name: name.to_owned(),
            address,
            outcome: Err(ConnectFailure::TimedOut),
            elapsed: started.elapsed(),
        },
    }
}

/// What one handshake shows, held against what is wanted
pub fn judge(handshake: Handshake, wanted: Wanted) -> Verdict {
    let served = match handshake.outcome {
        Ok(served) => served,
        Err(failure) => return Verdict::Broken(failure),
    };
    let found = served.chain.first().is_some_and(|leaf| match wanted {
        Wanted::Only(fingerprint) => Fingerprint::of(leaf) == fingerprint,
        Wanted::AnyForTheName => covers(leaf, &handshake.name),
    });
    match (found, served.proof) {
        (true, KeyProof::Proven) => Verdict::Proven,
        (true, KeyProof::Missing(reason)) => Verdict::KeyUnproven { reason },
        (false, _) => Verdict::Other {
            chain: served.chain,
        },
    }
}

/// Whether a certificate's SAN covers a name (RFC 9525), by rustls
pub(super) fn covers(leaf: &[u8], name: &str) -> bool {
    let leaf = CertificateDer::from(leaf);
    ServerName::try_from(name).is_ok_and(|server| {
        ParsedCertificate::try_from(&leaf)
            .is_ok_and(|parsed| verify_server_name(&parsed, &server).is_ok())
    })
}

/// Handshakes in a row that must show the certificate
pub const IN_A_ROW: u32 = 3;
/// Pause between two handshakes that both show it: nginx starts its new workers and dismisses
/// the old ones 100 ms later, so a row must take longer than that
pub const APART: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
