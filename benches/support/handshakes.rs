//! What handshakes alone cost, by the library that certd uses and with as many at once.

use std::net::SocketAddr;
use std::sync::Arc;

use certd_sandbox::anyone::client_config;
use futures_util::{StreamExt, stream};
use rustls::ALL_VERSIONS;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

/// Word by which a benchmark is told to do handshakes alone, in a process of its own
pub(crate) const RAW: &str = "handshakes";
/// certd's own default
const CONCURRENCY: usize = 64;

/// One handshake for each name, and nothing else
pub(crate) fn shake_hands(address: SocketAddr, names: impl Iterator<Item = String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(
        stream::iter(names).for_each_concurrent(CONCURRENCY, |name| {
            let config = client_config(ALL_VERSIONS).expect("rustls has its versions");
            async move {
                let stream = tokio::net::TcpStream::connect(address).await;
                let stream = stream.expect("the server listens");
                let name = ServerName::try_from(name).expect("a name");
                let connector = TlsConnector::from(Arc::new(config));
                connector.connect(name, stream).await.expect("a handshake");
            }
        }),
    );
}
