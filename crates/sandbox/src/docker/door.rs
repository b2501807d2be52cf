//! The engine's socket, which may answer its clients with something that is no HTTP.

use std::io;
use std::sync::{Arc, Mutex};

use axum::serve::Listener;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

use crate::lock;

/// What each new connection gets in the place of an answer; `None` where it is served
pub(super) type Instead = Arc<Mutex<Option<Bytes>>>;

/// Accepts connections, and turns those away that shall hear no HTTP
pub(super) struct Door {
    pub(super) listener: UnixListener,
    pub(super) instead: Instead,
}

impl Listener for Door {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            let instead = lock(&self.instead).clone();
            match instead {
                Some(words) => drop(tokio::spawn(turn_away(stream, words))),
                None => return (stream, peer),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The request is read first: closing on unread bytes would take the words away with it
async fn turn_away(mut stream: UnixStream, words: Bytes) {
    let mut request = [0; 8192];
    let _ = stream.read(&mut request).await;
    let _ = stream.write_all(&words).await;
    let _ = stream.shutdown().await;
}
