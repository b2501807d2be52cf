//! HTTP to a Docker engine: a connection for each request, and a bound for what it answers.
//!
//! An engine, or whatever answers in its place, could send more than this host has memory for.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

pub use http::Response;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};
use hyper::body::Body;
pub use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Where an engine listens
#[derive(Clone, Debug)]
pub enum Peer {
    /// At a socket of this host
    Socket(PathBuf),
    /// At this host and port
    Tcp(String),
}

/// The bytes that may still come over a connection; clones share them
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicUsize>,
    whole: usize,
}

impl Budget {
    /// So many bytes
    pub fn new(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
            whole: bytes,
        }
    }

    /// Lets as many come again: a message of a stream without end has been read
    pub fn renew(&self) {
        self.left.store(self.whole, Ordering::Relaxed);
    }

    /// Whether more came than may
    pub fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: usize) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed).saturating_sub(bytes);
        self.left.store(left, Ordering::Relaxed);
        match left {
            0 => Err(io::ErrorKind::FileTooLarge.into()),
            _ => Ok(()),
        }
    }
}

/// Sends a request over a connection of its own, and gives the head of the answer
///
/// Nothing bounds the time. Of an answer that is longer than `budget` the rest is not read: reading
/// the body, or what the connection was upgraded to, fails with [`io::ErrorKind::FileTooLarge`].
///
/// # Errors
/// [`SendError`] for an engine that cannot be reached or does not speak HTTP.
pub async fn send<B>(
    peer: &Peer,
    budget: Budget,
    mut request: Request<B>,
) -> Result<Response<Incoming>, SendError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let authority = match peer {
        Peer::Socket(_) => "localhost",
        Peer::Tcp(authority) => authority,
    };
    if let Ok(host) = HeaderValue::from_str(authority) {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    match peer {
        Peer::Socket(path) => exchange(UnixStream::connect(path).await?, budget, request).await,
        Peer::Tcp(authority) => {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            exchange(stream, budget, request).await
        }
    }
}

async fn exchange<S, B>(
    stream: S,
    budget: Budget,
    request: Request<B>,
) -> Result<Response<Incoming>, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let stream = TokioIo::new(Bounded { stream, budget });
    let (mut sender, connection) = http1::handshake(stream).await?;
    // It ends with the answer, or once nobody waits for that any more.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

/// Why there is no answer
#[derive(Debug, Error)]
pub enum SendError {
    /// There is no connection
    #[error("there is no connection")]
    Connect(#[from] io::Error),
    /// It broke, or what came is no HTTP
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
}

/// A connection that fails once more came over it than may
#[derive(Debug)]
struct Bounded<S> {
    stream: S,
    budget: Budget,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.budget.spend(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
