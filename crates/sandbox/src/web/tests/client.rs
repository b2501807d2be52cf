//! A client that looks at what it is shown, and trusts it all.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Web;
use crate::anyone;

/// The whole answer to a request over HTTP; empty where the connection was closed
pub(super) async fn request(address: SocketAddr, host: &str, path: &str) -> String {
    exchange(TcpStream::connect(address).await.unwrap(), host, path).await
}

/// The whole answer to a request over HTTPS
pub(super) async fn get(
    web: &Web,
    name: &str,
    version: &'static SupportedProtocolVersion,
) -> String {
    exchange(connect(web, name, &[version]).await.unwrap(), name, "/").await
}

/// The leaf that is shown for a name; `None` where the handshake fails
pub(super) async fn leaf(web: &Web, name: &str) -> Option<Vec<u8>> {
    handshake(web, name).await?.into_iter().next()
}

/// The certificates that are shown for a name; `None` where the handshake fails
pub(super) async fn handshake(web: &Web, name: &str) -> Option<Vec<Vec<u8>>> {
    let stream = connect(web, name, &[&TLS12, &TLS13]).await?;
    let certificates = stream.get_ref().1.peer_certificates()?;
    Some(certificates.iter().map(|der| der.to_vec()).collect())
}

async fn connect(
    web: &Web,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> Option<TlsStream<TcpStream>> {
    let config = anyone::client_config(versions).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(web.https()).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .ok()
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut answer = Vec::new();
    // A connection that is closed at once may also be reset, before the request or after it.
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_end(&mut answer).await;
    }
    String::from_utf8(answer).unwrap()
}
