//! Talking to an ACME CA (RFC 8555): directory, account, order.
//!
//! instant-acme signs and speaks the protocol; everything that it leaves open (timeouts, bounds,
//! `Retry-After`, replies that are no JSON, nonces refused more than three times) is done here,
//! so that no other module knows the crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};

use crate::config::Issuer;
use crate::facts::Proxies;
use crate::net::http::{Client, HttpError, Limits, Meter, Schemes};
use crate::net::roots;
use crate::store::account::StoredAccount;

pub mod account;
mod authorization;
pub mod csr;
mod cure;
pub mod order;
mod pace;
mod part;
pub mod problem;
pub mod renewal_info;
pub mod reply;
mod transport;

pub use authorization::Answer;
pub use problem::AcmeError;
use reply::Hints;
use transport::{Nonces, REPLAY_NONCE, Transport};

/// A CA during one run: its directory is fetched once, its connections are shared
pub struct Session {
    name: String,
    issuer: Issuer,
    patience: Patience,
    client: Client,
    directory: Directory,
    directory_json: Bytes,
    date: Option<Timestamp>,
    nonces: Nonces,
    /// One for each part of an order that may be gone on with beside others
    lanes: Arc<Semaphore>,
    account: Mutex<Registered>,
    silence: Silence,
}

/// Questions in a row that a CA has left unanswered
#[derive(Debug, Default)]
pub struct Silence(AtomicUsize);

impl Silence {
    /// How many they are
    pub fn length(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more has come to nothing
    pub fn go_on(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer has come
    pub fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Session {
    /// Fetches the directory of an issuer
    ///
    /// # Errors
    /// [`AcmeError`] when the CA cannot be reached, does not answer with a directory, or the
    /// issuer's trust file is of no use.
    pub async fn open(
        name: &str,
        issuer: &Issuer,
        provider: Arc<CryptoProvider>,
        proxies: Proxies,
        meter: Meter,
        patience: Patience,
    ) -> Result<Self, AcmeError> {
        let roots = match &issuer.trust {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                roots::add_file(&mut roots, path)?;
                roots
            }
            None => roots::system(),
        };
        let limits = Limits {
            request: patience.request,
            ..LIMITS
        };
        let client = Client::new(Schemes::Https, provider, roots, proxies, limits, meter)?;
        let fetched = fetch_directory(&client, &issuer.directory).await;
        let (directory, directory_json, date) = fetched.map_err(|error| match error {
            AcmeError::Http(HttpError::UnknownIssuer { url }) => AcmeError::NotTrusted {
                url,
                issuer: name.to_owned(),
                trust: issuer.trust.clone(),
            },
            error => error,
        })?;
        let nonces = Nonces::new(directory.new_nonce.clone());
        Ok(Self {
            name: name.to_owned(),
            issuer: issuer.clone(),
            patience,
            client,
            directory,
            directory_json,
            date,
            nonces,
            lanes: Arc::new(Semaphore::new(LANES)),
            account: Mutex::new(Registered::NotYet),
            silence: Silence::default(),
        })
    }

    /// Questions about renewals in a row to which nothing came back
    pub fn silence(&self) -> &Silence {
        &self.silence
    }

    /// The issuer's name in the configuration
    pub fn issuer(&self) -> &str {
        &self.name
    }

    /// Its directory URL
    pub fn directory(&self) -> &str {
        &self.issuer.directory
    }

    /// What the CA took for the time when it gave its directory (RFC 9110 section 6.6.1)
    pub fn date(&self) -> Option<Timestamp> {
        self.date
    }

    /// Terms of service that the directory names
    fn terms_of_service(&self) -> Option<&str> {
        self.directory.meta.terms_of_service.as_deref()
    }

    /// Domains that stand for the CA in CAA records (RFC 8555 section 7.1.1); none if it says none
    pub fn caa_identities(&self) -> &[String] {
        &self.directory.meta.caa_identities
    }

    /// Checks that the CA offers a profile
    ///
    /// # Errors
    /// [`AcmeError::Profile`] with those that it offers.
    pub fn check_profile(&self, profile: Option<&str>) -> Result<(), AcmeError> {
        let Some(wanted) = profile else { return Ok(()) };
        let offered = &self.directory.meta.profiles;
        if offered.contains_key(wanted) {
            return Ok(());
        }
        Err(AcmeError::Profile {
            wanted: wanted.to_owned(),
            offered: offered.keys().cloned().collect(),
        })
    }

    /// Fetches nonces for orders with so many names each, all at once, while there is something else
    /// to do
    ///
    /// Where the CA gives none in time each order asks for its own, and says why that fails.
    pub async fn fetch_nonces(&self, orders: &[usize]) {
        let parts: usize = orders.iter().map(|names| order::parts(*names)).sum();
        let wanted = orders.len() + parts.min(LANES);
        let asking = (0..wanted).map(|_| async {
            let request = Request::head(&self.directory.new_nonce).body(Bytes::new());
            let answer = self.client.send(request.ok()?).await.ok()?;
            answer.headers().get(REPLAY_NONCE).cloned()
        });
        if let Ok(nonces) = timeout(FOR_NONCES, join_all(asking)).await {
            self.nonces.leave(nonces.into_iter().flatten());
        }
    }

    fn transport(&self) -> Transport {
        Transport::new(
            self.client.clone(),
            self.issuer.directory.clone(),
            self.directory_json.clone(),
            self.nonces.clone(),
        )
    }
}

/// How long a CA is waited for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one request, with DNS, TCP and TLS
    pub request: Duration,
    /// For an order, from placing it to holding its certificate
    pub order: Duration,
}

impl Patience {
    /// What the commands have
    pub const USUAL: Self = Self {
        request: Duration::from_secs(30),
        order: Duration::from_secs(120),
    };
}

/// What is known of the account during a run
enum Registered {
    NotYet,
    Account(StoredAccount),
    /// It could not be had: the other domains need not try again
    Failed(Arc<AcmeError>),
}

/// What certd reads of a directory (RFC 8555 section 7.1.1)
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    // Presence of these two tells a directory from any other JSON.
    new_nonce: String,
    #[serde(rename = "newOrder")]
    _new_order: String,
    renewal_info: Option<String>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    terms_of_service: Option<String>,
    #[serde(default)]
    caa_identities: Vec<String>,
    #[serde(default)]
    external_account_required: bool,
    #[serde(default)]
    profiles: std::collections::BTreeMap<String, String>,
}

async fn fetch_directory(
    client: &Client,
    url: &str,
) -> Result<(Directory, Bytes, Option<Timestamp>), AcmeError> {
    let not_one = |reason: String| AcmeError::Directory {
        url: url.to_owned(),
        reason,
    };
    let once = async || {
        let request = Request::get(url).body(Bytes::new())?;
        let response = client.send(request).await.map_err(problem::carried)?;
        if response.status() != StatusCode::OK {
            return Err(problem::refusal(url, &response));
        }
        Ok((reply::date(response.headers()), response.into_body()))
    };
    let fetch = || repeat(once);
    let explained = |error| match problem::explain("the directory", error, Hints::default()) {
        // A server with ACME, and no directory there.
        AcmeError::Refused { problem, .. } if problem.status == Some(404) => {
            not_one(problem.to_string())
        }
        error => error,
    };
    let mut fetched = fetch().await;
    // All domains of the run depend on it: one that was lost on the way is asked for once more.
    if fetched.as_ref().is_err_and(problem::is_timed_out) {
        fetched = fetch().await;
    }
    let (date, body) = fetched.map_err(explained)?;
    let directory = serde_json::from_slice(&body).map_err(|error| not_one(error.to_string()))?;
    Ok((directory, body, date))
}

/// Whether an answer would be taken for a directory
#[cfg(any(test, fuzzing))]
pub(crate) fn is_directory(body: &[u8]) -> bool {
    serde_json::from_slice::<Directory>(body).is_ok()
}

/// Repeats a call whose nonce alone was refused (RFC 8555 section 6.5), or whose connection broke
///
/// instant-acme tries a refused nonce three times itself, which is not enough for a CA that
/// refuses many. A broken connection carries other orders too, and must not cost them all.
async fn repeat<T>(
    mut call: impl AsyncFnMut() -> Result<T, instant_acme::Error>,
) -> Result<T, instant_acme::Error> {
    let mut nonces = 1;
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if problem::is_bad_nonce(&error) && nonces < NONCE_TRIES {
            nonces += 1;
            continue;
        }
        match pauses.next().filter(|_| problem::is_broken(&error)) {
            Some(pause) => sleep(pause).await,
            None => return Err(error),
        }
    }
}

const NONCE_TRIES: u32 = 10;
/// Parts of orders that are gone on with at once at a CA, each with a nonce of its own: Let's Encrypt
/// gives an address twenty a second
const LANES: usize = 16;
/// Time for nonces that nobody waits for yet
const FOR_NONCES: Duration = Duration::from_secs(3);
/// Pauses before a call whose connection broke is made again
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// A directory, an order or a chain of a real CA has a few kilobytes; [`Patience`] gives the time.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    request: Duration::ZERO,
    body: 1024 * 1024,
};
