//! The way to a server: direct, or through the proxy that the environment names for it.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are read as curl reads them. To an
//! `https://` URL leads a tunnel (CONNECT, RFC 9110 section 9.3.6), so that the proxy sees the name
//! of the server and nothing else; an `http://` URL is asked of the proxy itself.

use std::error::Error as StdError;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::facts::Proxies;
use crate::finding::root_cause;

/// Makes connections, direct or through a proxy
#[derive(Clone, Debug)]
pub(super) struct Way {
    tcp: HttpConnector,
    proxies: Option<Arc<Matcher>>,
}

impl Way {
    /// A way over connections like these
    pub(super) fn new(tcp: HttpConnector, proxies: Proxies) -> Self {
        let proxies = match proxies {
            Proxies::OfEnvironment => Some(Arc::new(Matcher::from_env())),
            Proxies::None => None,
        };
        Self { tcp, proxies }
    }

    fn proxy(&self, url: &Uri) -> Option<Intercept> {
        self.proxies.as_ref()?.intercept(url)
    }

    /// What a request that is asked of a proxy itself must bring along, where that wants a login
    pub(super) fn login(&self, url: &Uri) -> Option<HeaderValue> {
        let proxy = self.proxy(url).filter(|_| !is_tunnelled(url))?;
        proxy.basic_auth().cloned()
    }
}

/// Whether a proxy passes the bytes on without reading them
fn is_tunnelled(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

type Connecting = Pin<Box<dyn Future<Output = Result<Stream, Failure>> + Send>>;
type Failure = Box<dyn StdError + Send + Sync>;

impl Service<Uri> for Way {
    type Response = Stream;
    type Error = Failure;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, url: Uri) -> Connecting {
        let Some(proxy) = self.proxy(&url) else {
            let connecting = self.tcp.call(url);
            return Box::pin(async move { Ok(Stream::new(connecting.await?, End::Server)) });
        };
        let address = proxy.uri().clone();
        let failed = move |reason: String| -> Failure {
            let proxy = address.to_string();
            Box::new(ProxyError { proxy, reason })
        };
        if proxy.uri().scheme_str() != Some("http") {
            let reason = "certd speaks to proxies with http:// alone".to_owned();
            return Box::pin(async move { Err(failed(reason)) });
        }
        if !is_tunnelled(&url) {
            let connecting = self.tcp.call(proxy.uri().clone());
            return Box::pin(async move {
                let stream = connecting.await;
                let stream = stream.map_err(|error| failed(root_cause(&error)))?;
                Ok(Stream::new(stream, End::Proxy))
            });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
        if let Some(login) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(login.clone());
        }
        let connecting = tunnel.call(url);
        Box::pin(async move {
            let stream = connecting.await;
            let stream = stream.map_err(|error| failed(refusal(&root_cause(&error))))?;
            Ok(Stream::new(stream, End::Server))
        })
    }
}

/// Why there is no tunnel, in words that say who has refused it
fn refusal(words: &str) -> String {
    match words.strip_prefix("tunnel error: ") {
        Some("unsuccessful") => "it refuses to connect to that server (CONNECT)".to_owned(),
        Some("proxy authorization required") => "it wants a login (407)".to_owned(),
        Some(other) => other.to_owned(),
        None => words.to_owned(),
    }
}

/// A proxy through which a server cannot be reached
#[derive(Debug, Error)]
#[error("{proxy}: {reason}")]
pub(super) struct ProxyError {
    /// Its URL, without a login
    pub(super) proxy: String,
    pub(super) reason: String,
}

/// Who reads what is written to a connection
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Server,
    /// Requests name the whole URL then (RFC 9112 section 3.2.2)
    Proxy,
}

/// A connection
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TokioIo<TcpStream>,
    end: End,
}

impl Stream {
    const fn new(tcp: TokioIo<TcpStream>, end: End) -> Self {
        Self { tcp, end }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.tcp.connected().proxy(self.end == End::Proxy)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, parts)
    }
}
