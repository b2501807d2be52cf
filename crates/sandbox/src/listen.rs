//! TLS for axum: handshakes run beside each other, so that a slow client stops no other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Background;

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Hands out connections whose TLS handshake is done
pub(super) struct TlsListener {
    address: SocketAddr,
    accepted: Receiver<Accepted>,
    _task: Background,
}

impl TlsListener {
    /// Accepts at `listener` with the configuration that `config` gives for each connection
    pub(super) fn new(
        listener: TcpListener,
        config: impl Fn() -> Arc<ServerConfig> + Send + 'static,
    ) -> io::Result<Self> {
        Self::while_open(listener, move || Some(config()))
    }

    /// The same, for a server that may be closed: without a configuration it hangs up at once
    pub(super) fn while_open(
        listener: TcpListener,
        config: impl Fn() -> Option<Arc<ServerConfig>> + Send + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = channel(BACKLOG);
        let task = Background::spawn(async move {
            loop {
                match (listener.accept().await, config()) {
                    (Ok((stream, peer)), Some(config)) => {
                        tokio::spawn(handshake(stream, peer, config, sender.clone()));
                    }
                    (Ok(_), None) => {}
                    // For want of descriptors, say: there may be some in a moment.
                    (Err(_), _) => sleep(PAUSE).await,
                }
            }
        });
        Ok(Self {
            address,
            accepted,
            _task: task,
        })
    }
}

async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
    accepted: Sender<Accepted>,
) {
    let _ = stream.set_nodelay(true);
    // A client that ends the handshake has its reasons, and hears none from us.
    if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
        let _ = accepted.send((stream, peer)).await;
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

const PAUSE: Duration = Duration::from_millis(50);
const BACKLOG: usize = 64;
