//! One page over a TLS connection that is open already, in the protocol that both sides agreed to.

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::uri::Scheme;
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::{AGENT, MOST_PAGE, Reply, broken, exchange_up_to, reply};
use crate::facts::fetch::FetchFailure;
use crate::net::tls::{Connection, Protocol};

/// What `url` is answered with over this connection, which ends with it
///
/// Bounded in what is read, and not in time: that is for the caller.
///
/// # Errors
/// [`FetchFailure`] where there is no whole answer.
pub async fn page(url: &Uri, connection: Connection) -> Result<Reply, FetchFailure> {
    match connection.protocol() {
        Some(Protocol::Http2) => over_http2(url, connection).await,
        Some(Protocol::Http1) | None => exchange_up_to(MOST_PAGE, url, connection.0).await,
    }
}

async fn over_http2(url: &Uri, connection: Connection) -> Result<Reply, FetchFailure> {
    let failed = |error: hyper::Error| broken(url, &error);
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(MOST_FIELDS)
        // A server may send no more than is read.
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(connection.0))
        .await
        .map_err(failed)?;
    // Dropped with this future, on whichever way it ends, and the connection with it.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let target = Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority)
        .path_and_query(path)
        .build();
    let target = target.map_err(|error| FetchFailure::NotHttp(error.to_string()))?;
    let request = Request::builder()
        .method(Method::GET)
        .uri(target)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchFailure::NotHttp(error.to_string()))?;
    let mut response = sender.send_request(request).await.map_err(failed)?;
    reply(&mut response, MOST_PAGE).await.map_err(failed)
}

/// Bytes that may be on their way: [`MOST_PAGE`], and the least that RFC 9113 knows
const WINDOW: u32 = 65_536;
/// Bytes of the fields of an answer, beyond which it is refused
const MOST_FIELDS: u32 = 64 * 1024;
