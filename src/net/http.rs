//! An HTTPS client with timeouts, bounded bodies and connections that are reused.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::time::timeout;

use super::roots::NO_ROOTS;
use crate::crash;
use crate::facts::Proxies;
use crate::finding::root_cause;
use crate::time::display;

mod proxy;

use proxy::{ProxyError, Way};

/// Limits of one request
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for a TCP connection; DNS and TLS count to the request
    pub connect: Duration,
    /// Time for the whole request, with DNS, TCP and TLS
    pub request: Duration,
    /// Largest body that is read, in bytes
    pub body: usize,
}

/// An HTTPS client; clones share connections and counters
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpsConnector<Way>, Full<Bytes>>,
    way: Way,
    /// Whether there is a root that a server's certificate could lead to
    has_roots: bool,
    limits: Limits,
    meter: Meter,
}

/// What a client may be asked for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schemes {
    /// https:// alone
    Https,
    /// http:// too
    Any,
}

/// Counts requests; clones share the count
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// How many requests were sent, answered or not
    pub fn requests(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Client {
    /// A client that trusts these roots, and reaches servers as `proxies` says
    ///
    /// # Errors
    /// [`HttpError::Tls`] if the crypto provider lacks TLS 1.2 and 1.3.
    pub fn new(
        schemes: Schemes,
        provider: Arc<CryptoProvider>,
        roots: RootCertStore,
        proxies: Proxies,
        limits: Limits,
        meter: Meter,
    ) -> Result<Self, HttpError> {
        let has_roots = !roots.is_empty();
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(HttpError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limits.connect));
        // Without it a POST costs 40 ms: Nagle waits for a delayed acknowledgement.
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = match schemes {
            Schemes::Https => connector.https_only(),
            Schemes::Any => connector.https_or_http(),
        };
        let way = Way::new(tcp, proxies);
        let connector = connector.enable_all_versions();
        let connector = connector.wrap_connector(way.clone());
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .build(connector);
        Ok(Self {
            pool,
            way,
            has_roots,
            limits,
            meter,
        })
    }

    /// Sends a request and reads the whole answer
    ///
    /// Dropping the future abandons the request; the connection is not used again then.
    ///
    /// # Errors
    /// [`HttpError`] with the URL; an error status of the server is an answer, not an error.
    pub async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = request.uri().to_string();
        let own = HeaderValue::from_static(AGENT);
        request.headers_mut().insert(USER_AGENT, own);
        if let Some(login) = self.way.login(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, login);
        }
        self.meter.0.fetch_add(1, Ordering::Relaxed);
        let exchange = self.exchange(request.map(Full::new), &url);
        match timeout(self.limits.request, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::TimedOut {
                url,
                after: self.limits.request,
            }),
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        url: &str,
    ) -> Result<Response<Bytes>, HttpError> {
        // What only asks leaves nothing behind, on either side.
        let may_change = !request.method().is_safe();
        if may_change {
            crash::point("ask", url);
        }
        let response = self
            .pool
            .request(request)
            .await
            .map_err(|source| self.unreachable(url, &source))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, self.limits.body)
            .collect()
            .await
            .map_err(|source| self.body_error(url, source))?;
        if may_change {
            crash::point("answered", url);
        }
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    fn unreachable(&self, url: &str, source: &(dyn StdError + 'static)) -> HttpError {
        let url = url.to_owned();
        if let Some(ProxyError { proxy, reason }) = within(source) {
            let (proxy, reason) = (proxy.clone(), reason.clone());
            return HttpError::Proxy { url, proxy, reason };
        }
        match distrust(source) {
            Some(CertificateError::UnknownIssuer) if !self.has_roots => HttpError::NoRoots { url },
            Some(CertificateError::UnknownIssuer) => HttpError::UnknownIssuer { url },
            Some(CertificateError::ExpiredContext { time, not_after }) => HttpError::OutOfTime {
                url,
                bound: Bound::Ended(instant(*not_after)),
                clock: instant(*time),
            },
            Some(CertificateError::NotValidYetContext { time, not_before }) => {
                HttpError::OutOfTime {
                    url,
                    bound: Bound::Begins(instant(*not_before)),
                    clock: instant(*time),
                }
            }
            Some(reason) => HttpError::Untrusted {
                url,
                reason: reason.to_string(),
            },
            None => HttpError::Unreachable {
                url,
                reason: root_cause(source),
            },
        }
    }

    fn body_error(&self, url: &str, source: Box<dyn StdError + Send + Sync>) -> HttpError {
        if source.is::<LengthLimitError>() {
            return HttpError::TooLarge {
                url: url.to_owned(),
                limit: self.limits.body,
            };
        }
        HttpError::Truncated {
            url: url.to_owned(),
            reason: root_cause(source.as_ref()),
        }
    }
}

fn instant(time: UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// What is wrong with the server's certificate, if that is why there is no connection
fn distrust<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e CertificateError> {
    match within(error) {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(reason),
        _ => None,
    }
}

/// An error of this kind, if that is what an error comes from
fn within<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error hides what it wraps from `source()`, and one may wrap another.
        cause = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Why a request got no answer
#[derive(Debug, Error)]
pub enum HttpError {
    /// No connection, or it broke before an answer
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked for
        url: String,
        /// Why
        reason: String,
    },
    /// The proxy that the environment names does not lead there
    #[error("cannot reach {url} through the proxy {proxy}: {reason}")]
    Proxy {
        /// What was asked for
        url: String,
        /// URL of the proxy
        proxy: String,
        /// Why
        reason: String,
    },
    /// This host has no root certificates
    #[error("the certificate of {url} cannot be checked: {NO_ROOTS}")]
    NoRoots {
        /// What was asked for
        url: String,
    },
    /// The server's certificate comes from a CA that is not trusted
    #[error("the certificate of {url} is from a CA that is not trusted here")]
    UnknownIssuer {
        /// What was asked for
        url: String,
    },
    /// The server's certificate is not to be trusted for another reason
    #[error("the certificate of {url} is not trusted: {reason}")]
    Untrusted {
        /// What was asked for
        url: String,
        /// Why
        reason: String,
    },
    /// The server's certificate is not valid by this host's clock, and nothing else is wrong with it
    #[error("the certificate of {url} {bound}, and this host's clock says {}", display(*clock))]
    OutOfTime {
        /// What was asked for
        url: String,
        /// The end of its validity that `clock` is beyond
        bound: Bound,
        /// What this host took for the time
        clock: Timestamp,
    },
    /// No whole answer in time
    #[error("{url} did not answer within {} s", after.as_secs())]
    TimedOut {
        /// What was asked for
        url: String,
        /// The limit
        after: Duration,
    },
    /// The answer is larger than anything useful
    #[error("the answer of {url} is larger than {} KiB", limit / 1024)]
    TooLarge {
        /// What was asked for
        url: String,
        /// The limit
        limit: usize,
    },
    /// The answer broke off
    #[error("the answer of {url} broke off: {reason}")]
    Truncated {
        /// What was asked for
        url: String,
        /// Why
        reason: String,
    },
    /// No TLS client can be made
    #[error("TLS is not usable")]
    Tls(#[source] rustls::Error),
}

/// Where the validity of a certificate begins or ends
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It begins then
    Begins(Timestamp),
    /// It ended then
    Ended(Timestamp),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins(at) => write!(f, "is valid from {}", display(*at)),
            Self::Ended(at) => write!(f, "expired at {}", display(*at)),
        }
    }
}

impl HttpError {
    /// What went wrong, without the URL, which may hold a secret
    pub fn without_url(&self) -> String {
        match self {
            Self::Unreachable { reason, .. } => format!("cannot be reached: {reason}"),
            Self::Proxy { proxy, reason, .. } => {
                format!("cannot be reached through the proxy {proxy}: {reason}")
            }
            Self::NoRoots { .. } => format!("its certificate cannot be checked: {NO_ROOTS}"),
            Self::UnknownIssuer { .. } => {
                "its certificate is from a CA that is not trusted here".to_owned()
            }
            Self::OutOfTime { bound, clock, .. } => {
                let clock = display(*clock);
                format!("its certificate {bound}, and this host's clock says {clock}")
            }
            Self::Untrusted { reason, .. } => format!("its certificate is not trusted: {reason}"),
            Self::TimedOut { after, .. } => format!("no answer within {} s", after.as_secs()),
            Self::TooLarge { limit, .. } => {
                format!("its answer is larger than {} KiB", limit / 1024)
            }
            Self::Truncated { reason, .. } => format!("its answer broke off: {reason}"),
            Self::Tls(_) => "TLS is not usable".to_owned(),
        }
    }
}

/// What to do about a proxy that does not lead to a server
pub const PROXY_CURE: &str = "HTTPS_PROXY or HTTP_PROXY of certd's environment names that proxy: mend it, add the server to NO_PROXY, or set ignore_proxy = true in domains.toml";
pub(super) const AGENT: &str = concat!("certd/", env!("CARGO_PKG_VERSION"));
/// A connection that died under a request is found out after this long, twice
const KEEP_ALIVE: Duration = Duration::from_secs(10);
