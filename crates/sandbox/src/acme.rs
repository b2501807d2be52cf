//! An ACME CA (RFC 8555 with renewal information by RFC 9773).
//!
//! Any ACME client can use it: signatures, nonces, URLs and states are checked as by a real CA,
//! names are validated by a real fetch, CAA records are obeyed. It differs from a real CA in what
//! it is for: it issues for names that belong to nobody, trusts nobody's root, keeps nothing on
//! disk, takes the time from its caller, connects to loopback only, and fails on demand.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::fault::{Fault, Faults, Times};
use super::listen::TlsListener;
use super::{Clock, SandboxError, lock};
use crate::Validity;

mod account;
mod authority;
mod caa;
mod certificate;
mod csr;
mod edge;
mod fetch;
mod jws;
mod order;
mod problem;
mod profile;
mod state;
#[cfg(test)]
mod tests;
mod validation;

use authority::{Authority, Leaf};
pub use edge::IDENTITY;
use fetch::Fetcher;
pub use problem::{Limit, Problem};
pub use profile::{PROFILES, Profile, Subject};
use state::State;

/// How a CA is set up
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens, on loopback; port 0 for a free one
    pub address: SocketAddr,
    /// What it takes for the time
    pub clock: Clock,
    /// The DNS server that it asks
    pub dns: SocketAddr,
    /// Where it connects to for port 80
    pub http_port: u16,
    /// Where it connects to for port 443, to which a site may redirect
    pub https_port: u16,
    /// Who may register
    pub accounts: Accounts,
    /// Whether a name that was validated once is validated again
    pub reuse: Reuse,
    /// Lifetime of certificates; `None` for that of their profile
    pub lifetime: Option<SignedDuration>,
    /// Time that it takes before it looks
    pub validation_pause: Duration,
    /// How long a client should wait between two looks
    pub poll_pause: Option<Duration>,
}

impl Options {
    /// A CA at a free port that asks this DNS server and fetches tokens from this port
    pub fn new(clock: Clock, dns: SocketAddr, http_port: u16) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            clock,
            dns,
            http_port,
            https_port: 443,
            accounts: Accounts::Open,
            reuse: Reuse::WhileValid,
            lifetime: None,
            validation_pause: Duration::ZERO,
            poll_pause: None,
        }
    }
}

/// Who may register
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accounts {
    /// Anyone
    Open,
    /// Whoever holds one of these external accounts: HMAC key by identifier (RFC 8555 section 7.3.4)
    Bound(BTreeMap<String, Vec<u8>>),
}

/// Whether a valid authorization serves later orders
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As long as it is valid, as Let's Encrypt does
    WhileValid,
    /// Every order is validated anew
    Never,
}

/// A running CA, stopped on drop
#[derive(Debug)]
pub struct Ca {
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

/// What all requests share
struct Shared {
    /// URL without a slash at its end
    base: String,
    options: Options,
    authority: Authority,
    fetcher: Fetcher,
    state: Mutex<State>,
    controls: Mutex<Controls>,
    faults: Faults<Call>,
    mishaps: Faults<Step, Mishap>,
}

/// What tests set while the CA runs
#[derive(Debug, Default)]
struct Controls {
    /// Good nonces that are refused, in percent
    nonce_rejection: u32,
    /// What has gathered towards the next refusal
    nonce_debt: u32,
    window: Option<Window>,
    requests: Vec<String>,
    date: Option<Timestamp>,
}

/// When a certificate should be renewed (RFC 9773 section 4.2)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// From when on
    pub start: Timestamp,
    /// Until when; before `start` it is one that makes no sense
    pub end: Timestamp,
    /// A page that says why
    pub explanation: Option<String>,
    /// How long a client should wait before it asks again; `None` sends no `Retry-After`
    pub retry_after: Option<Duration>,
}

/// What a client asks the CA for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The directory
    Directory,
    /// A nonce
    Nonce,
    /// A new account, or the one of a key
    NewAccount,
    /// A change of an account
    Account,
    /// Another key for an account
    KeyChange,
    /// A new order
    NewOrder,
    /// The state of an order
    Order,
    /// The state of an authorization
    Authorization,
    /// To validate a challenge, or its state
    Challenge,
    /// To issue
    Finalize,
    /// The certificate
    Certificate,
    /// To revoke
    Revoke,
    /// When to renew
    RenewalInfo,
}

/// How an order goes wrong although every request was answered well
#[derive(Clone, Debug)]
pub enum Mishap {
    /// An order is placed as if it replaced nothing
    ReplacesIgnored,
    /// A validation fails with this
    Validation(Problem),
    /// The order becomes invalid when it is finalized, for this reason
    Invalid(Problem),
    /// The certificate is for another key than that of the CSR
    ForeignKey,
    /// The certificate had expired when it was issued
    Expired,
    /// Browsers refuse the certificate for this
    Flawed(Flaw),
    /// The certificate comes without the intermediates
    Alone,
    /// The signature of the certificate is not its issuer's: one bit of it is another
    BrokenSignature,
    /// The certificate, and the intermediates that come with it, are below another root
    OtherRoot,
    /// An order has so many authorizations more than it has names
    Crowded(usize),
    /// The order stays in processing for so many looks at it; `None` for ever
    Processing(Option<u32>),
}

/// What a certificate says of itself that browsers refuse it for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is meant for clients alone
    ForClients,
    /// It is a CA's own
    Authority,
    /// It has a critical extension that nobody knows
    UnknownExtension,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Order,
    Authorize,
    Validation,
    Finalize,
    Issue,
}

impl Mishap {
    const fn step(&self) -> Step {
        match self {
            Self::ReplacesIgnored => Step::Order,
            Self::Validation(_) => Step::Validation,
            Self::Invalid(_) | Self::Processing(_) => Step::Finalize,
            Self::ForeignKey
            | Self::Expired
            | Self::Flawed(_)
            | Self::Alone
            | Self::BrokenSignature
            | Self::OtherRoot => Step::Issue,
            Self::Crowded(_) => Step::Authorize,
        }
    }
}

/// A certificate and its key that the CA made at the wish of a test
#[derive(Clone, Debug)]
pub struct Pair {
    /// The leaf and the intermediates
    pub chain_pem: String,
    /// PKCS #8
    pub key_pem: String,
}

/// An identifier of RFC 8555 section 9.7.7
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl Identifier {
    fn dns(name: &str) -> Self {
        Self {
            kind: "dns".to_owned(),
            value: name.to_owned(),
        }
    }
}

impl Ca {
    /// Starts a CA with new keys
    ///
    /// # Errors
    /// [`SandboxError`], for an address that is not on loopback too.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        let listener = super::listen(options.address).await?;
        let listening = |source| SandboxError::Listen {
            place: options.address.to_string(),
            source,
        };
        let address = listener.local_addr().map_err(listening)?;
        let authority = Authority::new(options.clock.now())?;
        let tls = Arc::new(api_config(&authority, options.clock.now())?);
        let listener = TlsListener::new(listener, move || Arc::clone(&tls)).map_err(listening)?;
        let shared = Arc::new(Shared {
            base: format!("https://{address}"),
            authority,
            fetcher: Fetcher::new(options.dns, options.http_port, options.https_port)?,
            options,
            state: Mutex::default(),
            controls: Mutex::default(),
            faults: Faults::default(),
            mishaps: Faults::default(),
        });
        let router = router(&shared);
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            // Dropping the sender ends it too, and closes the connections that wait for a request.
            let ended = async { drop(stopped.await) };
            let _ = axum::serve(listener, router)
                .with_graceful_shutdown(ended)
                .await;
        });
        Ok(Self {
            shared,
            _stop: stop,
        })
    }

    /// URL of the directory
    pub fn directory(&self) -> String {
        self.shared.url("directory")
    }

    /// The root below which it issues, and below which its own API's certificate lies, as PEM
    pub fn root_pem(&self) -> String {
        self.shared.authority.root_pem()
    }

    /// Answers calls of this kind with a fault
    pub fn fault(&self, call: Call, times: Times, fault: impl Into<Fault>) {
        self.shared.faults.add(call, times, fault.into());
    }

    /// Lets orders go wrong
    pub fn mishap(&self, times: Times, mishap: Mishap) {
        self.shared.mishaps.add(mishap.step(), times, mishap);
    }

    /// Ends all faults and mishaps
    pub fn behave(&self) {
        self.shared.faults.clear();
        self.shared.mishaps.clear();
        self.reject_nonces(0);
    }

    /// Refuses so many percent of good nonces, evenly
    pub fn reject_nonces(&self, percent: u32) {
        lock(&self.shared.controls).nonce_rejection = percent.min(100);
    }

    /// Gives this window for every certificate; `None` for the one that Let's Encrypt would give
    pub fn set_window(&self, window: Option<Window>) {
        lock(&self.shared.controls).window = window;
    }

    /// Gives this time with the directory, whatever its clock says; `None` for the system's
    pub fn tell_time(&self, time: Option<Timestamp>) {
        lock(&self.shared.controls).date = time;
    }

    /// Makes a certificate for these names without an order
    ///
    /// For names that are not [`super::RESERVED`] the CA's own constraints make it worthless.
    ///
    /// # Errors
    /// [`SandboxError::Certificate`] where a name is none.
    pub fn issue(&self, names: &[&str], validity: Validity) -> Result<Pair, SandboxError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate()?;
        let leaf = Leaf {
            names: &names,
            common_name: names.first().map(String::as_str),
            validity,
            serial: certificate::serial(),
            flaw: None,
        };
        let certificate = self.shared.authority.sign(&leaf, &key)?;
        let above = self.shared.authority.above_pem();
        Ok(Pair {
            chain_pem: format!("{}{above}", certificate.pem()),
            key_pem: key.serialize_pem(),
        })
    }

    /// Every request so far, as `POST /order/3`
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.controls).requests.clone()
    }

    /// How many accounts were registered
    pub fn accounts(&self) -> usize {
        lock(&self.shared.state).accounts.len()
    }

    /// How many orders were placed
    pub fn orders(&self) -> usize {
        lock(&self.shared.state).orders.len()
    }

    /// How many orders take the place of a certificate (RFC 9773 section 5)
    pub fn replacements(&self) -> usize {
        let state = lock(&self.shared.state);
        let orders = state.orders.values();
        orders.filter(|order| order.replaces.is_some()).count()
    }

    /// How many names were validated, well or not
    pub fn validations(&self) -> usize {
        lock(&self.shared.state).validations
    }

    /// Chains in PEM of all certificates that were ordered, in no particular order
    pub fn issued(&self) -> Vec<String> {
        let state = lock(&self.shared.state);
        let chains = state.certificates.values();
        chains.map(|issued| issued.chain_pem.clone()).collect()
    }

    /// How many certificates were revoked
    pub fn revoked(&self) -> usize {
        let state = lock(&self.shared.state);
        let issued = state.certificates.values();
        issued.filter(|issued| issued.revoked.is_some()).count()
    }
}

impl Shared {
    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// In whole seconds, as certificates say it and as some clients want it in JSON
    fn now(&self) -> Timestamp {
        let now = self.options.clock.now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    let routes: [(Call, &str, MethodRouter<Arc<Shared>>); 14] = [
        (
            Call::Directory,
            "/directory",
            get(edge::directory).post(edge::directory_signed),
        ),
        (
            Call::Nonce,
            "/nonce",
            get(edge::nonce).post(edge::nonce_signed),
        ),
        (Call::NewAccount, "/new-account", post(account::register)),
        (Call::Account, "/account/{id}", post(account::update)),
        (Call::Account, "/account/{id}/orders", post(account::orders)),
        (Call::KeyChange, "/key-change", post(account::change_key)),
        (Call::NewOrder, "/new-order", post(order::place)),
        (Call::Order, "/order/{id}", post(order::show)),
        (
            Call::Authorization,
            "/authorization/{id}",
            post(order::authorization),
        ),
        (Call::Challenge, "/challenge/{id}", post(order::challenge)),
        (
            Call::Finalize,
            "/order/{id}/finalize",
            post(certificate::finalize),
        ),
        (
            Call::Certificate,
            "/certificate/{serial}",
            post(certificate::download),
        ),
        (Call::Revoke, "/revoke", post(certificate::revoke)),
        (
            Call::RenewalInfo,
            "/renewal-info/{id}",
            get(certificate::renewal_info),
        ),
    ];
    for (call, path, route) in routes {
        let layer = axum::middleware::from_fn_with_state((Arc::clone(shared), call), edge::around);
        let route = route.fallback(edge::wrong_method).layer(layer);
        router = router.route(path, route);
    }
    router
        .fallback(edge::nothing_there)
        .with_state(Arc::clone(shared))
}

/// TLS for the API, with a certificate of the CA's own
fn api_config(authority: &Authority, now: Timestamp) -> Result<ServerConfig, SandboxError> {
    let key = KeyPair::generate()?;
    let leaf = Leaf {
        names: &["localhost", "127.0.0.1", "::1"].map(ToOwned::to_owned),
        common_name: None,
        validity: Validity {
            not_before: now - authority::LIFETIME,
            not_after: now + authority::LIFETIME,
        },
        serial: certificate::serial(),
        flaw: None,
    };
    let mut chain = vec![authority.sign(&leaf, &key)?.der().clone()];
    chain.extend(authority.above());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
