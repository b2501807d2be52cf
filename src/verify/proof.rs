//! Waiting until a server shows a certificate, and saying what it shows instead.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::time::{Instant, sleep};

use crate::chain::Fingerprint;
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
    /// Whether a wanted certificate was shown
    pub fn is_proven(&self) -> bool {
        matches!(self.verdict, Verdict::Proven { .. })
    }

    /// Whether any certificate was shown
    pub fn shows_something(&self) -> bool {
        !matches!(self.verdict, Verdict::Broken(_))
    }

    /// The certificate that was shown instead
    pub fn other(&self) -> Option<Fingerprint> {
        let Verdict::Other { chain } = &self.verdict else {
            return None;
        };
        chain.first().map(|leaf| Fingerprint::of(leaf))
    }
}

/// What a name at an address is served with
#[derive(Clone, Debug)]
pub enum Verdict {
    /// A wanted certificate, [`IN_A_ROW`] times in a row, its key proven each time
    Proven {
        /// Which one
        shown: Fingerprint,
    },
    /// Another certificate
    Other {
        /// The chain in DER, leaf first
        chain: Vec<Vec<u8>>,
    },
    /// The wanted certificate, without intermediates that were installed with it
    Incomplete {
        /// How many are missing
        missing: usize,
    },
    /// A wanted certificate, but the server could not prove its key
    KeyUnproven {
        /// What failed
        reason: String,
    },
    /// No certificate at all
    Broken(ConnectFailure),
}

/// Which certificates count as proof
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    own: Fingerprint,
    /// The intermediates that must come with it
    above: Vec<Fingerprint>,
    /// Those of other lineages, for a domain that shares (`shared = true`)
    others: Vec<Fingerprint>,
}

impl Wanted {
    /// This certificate alone
    pub fn only(own: Fingerprint) -> Self {
        Self::or_any_of(own, Vec::new())
    }

    /// This certificate, or one of these
    pub fn or_any_of(own: Fingerprint, others: Vec<Fingerprint>) -> Self {
        Self {
            own,
            above: Vec::new(),
            others,
        }
    }

    /// The same, and these intermediates must come with the own one
    ///
    /// Some clients find them by themselves and some do not, such as curl and most programs.
    #[must_use]
    pub fn with_above(self, above: Vec<Fingerprint>) -> Self {
        Self { above, ..self }
    }

    /// How many intermediates are missing in a chain that was shown
    fn missing(&self, shown: Fingerprint, chain: &[Vec<u8>]) -> usize {
        if shown != self.own || self.above.is_empty() {
            return 0;
        }
        let sent: Vec<Fingerprint> = chain.iter().map(|der| Fingerprint::of(der)).collect();
        let missing = self.above.iter().filter(|above| !sent.contains(above));
        missing.count()
    }

    fn counts(&self, shown: Fingerprint) -> bool {
        shown == self.own || self.others.contains(&shown)
    }
}

/// Waits until a server shows a wanted certificate [`IN_A_ROW`] times, in fresh handshakes, or
/// until `patience` is over
///
/// A handshake that has begun may go on for the observer's own timeout: one that is cut off would
/// look like a broken server.
///
/// nginx serves the old certificate for a moment after it was told to reload, and for a tenth of
/// a second old and new workers accept side by side. The handshakes therefore lie [`APART`].
pub async fn wait_for(
    observer: &Observer,
    name: &str,
    address: SocketAddr,
    wanted: &Wanted,
    patience: Duration,
) -> Proof {
    wait(observer, name, address, wanted, patience, IN_A_ROW).await
}

/// Waits until a server shows a wanted certificate once, or until `patience` is over: what is seen
/// proves nothing yet
pub async fn wait_for_first(
    observer: &Observer,
    name: &str,
    address: SocketAddr,
    wanted: &Wanted,
    patience: Duration,
) {
    wait(observer, name, address, wanted, patience, 1).await;
}

async fn wait(
    observer: &Observer,
    name: &str,
    address: SocketAddr,
    wanted: &Wanted,
    patience: Duration,
    row: u32,
) -> Proof {
    let mut deadline = None;
    let mut in_a_row = 0;
    let mut handshakes = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let handshake = observer.observe(name, address).await;
        // The time that it waited for its turn among many does not count.
        let begun = Instant::now() - handshake.elapsed;
        let deadline = *deadline.get_or_insert(begun + patience);
        let verdict = judge(handshake, wanted);
        handshakes += 1;
        let good = matches!(verdict, Verdict::Proven { .. });
        in_a_row = if good { in_a_row + 1 } else { 0 };
        let late = Instant::now() + pause >= deadline;
        if in_a_row == row || (late && !good) {
            return Proof {
                name: name.to_owned(),
                address,
                verdict,
                handshakes,
            };
        }
        if good {
            sleep(APART).await;
        } else {
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }
}

/// What one handshake shows, held against what is wanted
pub fn judge(handshake: Handshake, wanted: &Wanted) -> Verdict {
    let served = match handshake.outcome {
        Ok(served) => served,
        Err(failure) => return Verdict::Broken(failure),
    };
    let shown = served.chain.first().map(|leaf| Fingerprint::of(leaf));
    let shown = shown.filter(|shown| wanted.counts(*shown));
    match (shown, served.proof) {
        (Some(shown), KeyProof::Proven) => match wanted.missing(shown, &served.chain) {
            0 => Verdict::Proven { shown },
            missing => Verdict::Incomplete { missing },
        },
        (Some(_), KeyProof::Missing(reason)) => Verdict::KeyUnproven { reason },
        (None, _) => Verdict::Other {
            chain: served.chain,
        },
    }
}

/// Whether a certificate's SAN covers a name (RFC 9525), by rustls
pub fn covers(leaf: &[u8], name: &str) -> bool {
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
