//! One HTTP request to one address, over TCP or over TLS that trusts anyone: how a CA asks for a
//! token.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT, DATE, HOST, LOCATION, SERVER, STRICT_TRANSPORT_SECURITY, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use rustls::crypto::CryptoProvider;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::http::AGENT;
use super::tls::opening::open;
use super::tls::{Observer, connect_failure};
use crate::facts::fetch::FetchFailure;
use crate::facts::{ConnectFailure, Opening};
use crate::finding::{excerpt, one_line};

/// Makes single requests, each on a connection of its own
#[derive(Clone, Debug)]
pub struct Fetcher {
    tls: Observer,
    timeout: Duration,
    /// What is said before a request, or before TLS
    opening: Opening,
}

/// What one request was answered with
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status
    pub status: u16,
    /// `Server`, its first [`MOST_SERVER`] characters
    pub server: Option<String>,
    /// `Strict-Transport-Security` (RFC 6797), its first [`MOST_SERVER`] characters
    pub hsts: Option<String>,
    /// `Date`: what the server takes for the time (RFC 9110 section 6.6.1)
    pub date: Option<Timestamp>,
    /// `Location`; as the whole head it is at most [`MOST_HEAD`] bytes long
    pub location: Option<String>,
    /// The first [`MOST_BODY`] bytes
    pub body: Vec<u8>,
}

impl Fetcher {
    /// A fetcher that gives each connection, and then each request, this much time
    pub fn new(provider: Arc<CryptoProvider>, timeout: Duration) -> Self {
        Self {
            tls: Observer::new(provider, timeout),
            timeout,
            opening: Opening::Direct,
        }
    }

    /// The same, which comes as a balancer does: with the PROXY protocol
    #[must_use]
    pub fn as_balancer(&self) -> Self {
        Self {
            opening: Opening::Proxied,
            ..self.clone()
        }
    }

    /// What `url` is answered with at `address`, wherever its host should be
    ///
    /// # Errors
    /// [`FetchFailure`] where there is no whole answer.
    pub async fn fetch(&self, url: &Uri, address: SocketAddr) -> Result<Reply, FetchFailure> {
        let failed = |failure| FetchFailure::Connect(url.to_string(), failure);
        let stream = match timeout(self.timeout, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(|error| failed(connect_failure(error)))?,
            Err(_) => return Err(failed(ConnectFailure::TimedOut)),
        };
        let _ = stream.set_nodelay(true);
        match timeout(self.timeout, self.talk(url, stream)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchFailure::TimedOut(url.to_string())),
        }
    }

    /// Time for one connection, and for one request
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether anything takes a connection there in time
    pub async fn connects(&self, address: SocketAddr) -> bool {
        let connected = timeout(self.timeout, TcpStream::connect(address)).await;
        matches!(connected, Ok(Ok(_)))
    }

    async fn talk(&self, url: &Uri, mut stream: TcpStream) -> Result<Reply, FetchFailure> {
        let closed = |_| FetchFailure::Closed(url.to_string());
        open(self.opening, &mut stream).await.map_err(closed)?;
        if url.scheme() != Some(&Scheme::HTTPS) {
            return exchange(url, stream).await;
        }
        let name = url.host().unwrap_or_default();
        let stream = self.tls.connect_anyone(name, stream).await;
        let failed = |failure| FetchFailure::Connect(url.to_string(), failure);
        exchange(url, stream.map_err(failed)?).await
    }
}

/// The host of a URL, with a port that is not its scheme's usual one (RFC 9110 section 7.2)
fn host(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let usual = match url.scheme() == Some(&Scheme::HTTPS) {
        true => 443,
        false => 80,
    };
    match url.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

async fn exchange<S>(url: &Uri, stream: S) -> Result<Reply, FetchFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    exchange_up_to(MOST_BODY, url, stream).await
}

/// The same, with this many bytes of the body
async fn exchange_up_to<S>(most: usize, url: &Uri, stream: S) -> Result<Reply, FetchFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| broken(url, &error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // Dropped with this future, on whichever way it ends, and the connection with it.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, host(url))
        .header(USER_AGENT, AGENT)
        // Some firewalls of sites take a request without it for an attack; CAs send it too.
        .header(ACCEPT, "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchFailure::NotHttp(error.to_string()))?;
    let mut sending = pin!(sender.send_request(request));
    let sent = tokio::select! {
        biased;
        sent = &mut sending => sent,
        // A server that speaks or closes before it is asked ends the connection, and a request
        // that comes in just then is never answered.
        ended = connections.join_next() => match (&mut sending).now_or_never() {
            Some(sent) => sent,
            None => return Err(lost(url, ended)),
        },
    };
    let mut response = match sent {
        Ok(response) => response,
        // Where the error does not say why, the connection has ended and does.
        Err(error) if error.is_canceled() && cause_of(&error).is_none() => {
            return Err(lost(url, connections.join_next().await));
        }
        Err(error) => return Err(failed(error)),
    };
    reply(&mut response, most).await.map_err(failed)
}

/// What is read of an answer: its head, and this many bytes of its body
async fn reply(response: &mut Response<Incoming>, most: usize) -> Result<Reply, hyper::Error> {
    let body = beginning(response, most).await?;
    let short = |name| text(response.headers(), name).map(|value| excerpt(&value, MOST_SERVER));
    Ok(Reply {
        status: response.status().as_u16(),
        server: short(SERVER),
        hsts: short(STRICT_TRANSPORT_SECURITY),
        date: text(response.headers(), DATE).and_then(|value| instant(&value)),
        location: text(response.headers(), LOCATION),
        body,
    })
}

fn instant(date: &str) -> Option<Timestamp> {
    Some(rfc2822::parse(date).ok()?.timestamp())
}

/// An answer that is there already
#[cfg(any(test, fuzzing))]
pub(crate) async fn read(url: &Uri, answer: &[u8]) -> Result<Reply, FetchFailure> {
    use tokio::io::AsyncWriteExt;
    let (here, mut there) = tokio::io::duplex(answer.len() + MOST_HEAD);
    let said = async {
        there.write_all(answer).await?;
        there.shutdown().await
    };
    said.await
        .map_err(|error| FetchFailure::NotHttp(error.to_string()))?;
    exchange(url, here).await
}

async fn beginning(
    response: &mut Response<Incoming>,
    most: usize,
) -> Result<Vec<u8>, hyper::Error> {
    let mut body = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        body.extend_from_slice(&frame?.into_data().unwrap_or_default());
        if body.len() >= most {
            body.truncate(most);
            break;
        }
    }
    Ok(body)
}

/// What a connection ended with under a request
fn lost(url: &Uri, ended: Option<Result<Result<(), hyper::Error>, JoinError>>) -> FetchFailure {
    match ended {
        Some(Ok(Err(cause))) => broken(url, &cause),
        _ => FetchFailure::Closed(url.to_string()),
    }
}

/// What ended the connection under a request that was cancelled, where the error says so
fn cause_of(error: &hyper::Error) -> Option<&hyper::Error> {
    StdError::source(error)?.downcast_ref()
}

fn broken(url: &Uri, error: &hyper::Error) -> FetchFailure {
    let error = cause_of(error).unwrap_or(error);
    let is_reset = StdError::source(error)
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some();
    let is_closed = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
    if is_reset || is_closed {
        return FetchFailure::Closed(url.to_string());
    }
    FetchFailure::NotHttp(one_line(&error.to_string()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?.as_bytes();
    Some(one_line(&String::from_utf8_lossy(value)))
}

/// Bytes of a page that are read, where words are looked for in it
pub const MOST_PAGE: usize = 64 * 1024;
/// Bytes of a body that are read: a token's answer is shorter, a page says enough with these
pub const MOST_BODY: usize = 512;
/// Bytes of the head of an answer, beyond which it is refused
pub const MOST_HEAD: usize = 64 * 1024;
/// Characters that are kept of `Server`
pub const MOST_SERVER: usize = 100;

pub mod page;

#[cfg(test)]
mod tests;
