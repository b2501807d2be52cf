//! One TLS handshake that records what the server shows, good or bad.
//!
//! The connection is used for nothing else: no byte of application data goes over it, so it is
//! safe to complete a handshake with any certificate. Judging is for [`crate::verify`].

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, InvalidMessage, PeerIncompatible,
};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::crash;
use crate::facts::{ConnectFailure, Handshake, KeyProof, Opening, Served};
use crate::finding::is_out_of_descriptors;

pub(crate) mod hello;
pub(crate) mod opening;
mod recorder;

use recorder::{Recorder, Shown};

/// Makes handshakes that each start fresh: no session is ever resumed
#[derive(Clone, Debug)]
pub struct Observer {
    provider: Arc<CryptoProvider>,
    timeout: Duration,
    /// Clones share it; without it any number of connections is made at once
    room: Option<Arc<Semaphore>>,
    /// Where it comes as a balancer
    balanced: Arc<BTreeSet<SocketAddr>>,
}

impl Observer {
    /// An observer that gives every connection and handshake this much time
    pub fn new(provider: Arc<CryptoProvider>, timeout: Duration) -> Self {
        Self {
            provider,
            timeout,
            room: None,
            balanced: Arc::default(),
        }
    }

    /// The same, with so many connections at once; others wait for their turn, which costs them
    /// none of their time
    #[must_use]
    pub fn at_most(self, connections: usize) -> Self {
        let room = Some(Arc::new(Semaphore::new(connections)));
        Self { room, ..self }
    }

    /// The same, which comes to these addresses as a balancer does: with the PROXY protocol
    #[must_use]
    pub fn as_balancer(self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            balanced: Arc::new(addresses.into_iter().collect()),
            ..self
        }
    }

    /// Cryptography that it uses
    pub fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }

    /// What a server at `address` shows to a client that asks for `name`
    pub async fn observe(&self, name: &str, address: SocketAddr) -> Handshake {
        let opening = match self.balanced.contains(&address) {
            true => Opening::Proxied,
            false => Opening::Direct,
        };
        self.meet(name, address, opening).await.0
    }

    /// The same, after this opening, and the connection where a handshake came about
    ///
    /// `h2` and `http/1.1` are offered as application protocols (RFC 7301).
    pub async fn meet(
        &self,
        name: &str,
        address: SocketAddr,
        opening: Opening,
    ) -> (Handshake, Option<Connection>) {
        crash::defect("greet", name);
        let _turn = match &self.room {
            // Nothing closes it.
            Some(room) => room.acquire().await.ok(),
            None => None,
        };
        let started = Instant::now();
        let connected = AtomicBool::new(false);
        let shaking = self.handshake(name, address, opening, &connected);
        let met = match timeout(self.timeout, shaking).await {
            Ok(met) => met,
            Err(_) if connected.into_inner() => Err(ConnectFailure::Silent),
            Err(_) => Err(ConnectFailure::TimedOut),
        };
        let (outcome, stream) = match met {
            Ok((served, stream)) => (Ok(served), stream),
            Err(failure) => (Err(failure), None),
        };
        let handshake = Handshake {
            name: name.to_owned(),
            address,
            outcome,
            elapsed: started.elapsed(),
        };
        (handshake, stream)
    }

    /// Whether anybody takes connections at an address, within this time
    ///
    /// # Errors
    /// Why no connection came about.
    pub async fn knock(&self, address: SocketAddr, within: Duration) -> Result<(), ConnectFailure> {
        match timeout(within.min(self.timeout), connect(address)).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(ConnectFailure::TimedOut),
        }
    }

    /// TLS with a server whoever it is; what it shows is not looked at
    ///
    /// # Errors
    /// Why no handshake came about.
    pub(super) async fn connect_anyone(
        &self,
        name: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectFailure> {
        let server_name = server_name(name)?;
        let config = self.client_config(self.recorder())?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(server_name, stream);
        connecting.await.map_err(|error| handshake_failure(&error))
    }

    fn recorder(&self) -> Arc<Recorder> {
        let algorithms = self.provider.signature_verification_algorithms;
        Arc::new(Recorder::new(algorithms))
    }

    async fn handshake(
        &self,
        name: &str,
        address: SocketAddr,
        opening: Opening,
        connected: &AtomicBool,
    ) -> Result<Met, ConnectFailure> {
        let mut offered = match opening {
            Opening::Direct | Opening::Proxied => OFFERED,
            // Mail is none of them, and a strict server would end the handshake.
            _ => &[],
        };
        loop {
            let mut stream = connect(address).await?;
            connected.store(true, Ordering::Relaxed);
            opening::open(opening, &mut stream).await?;
            match self.shake_hands(name, stream, offered).await {
                Err(ConnectFailure::Alert(alert))
                    if alert == NO_PROTOCOL && !offered.is_empty() =>
                {
                    offered = &[];
                }
                Err(failure) if may_be_old(&failure) => {
                    return Err(choice_of(name, address, opening).await.unwrap_or(failure));
                }
                met => return met,
            }
        }
    }

    async fn shake_hands(
        &self,
        name: &str,
        stream: TcpStream,
        offered: &[&[u8]],
    ) -> Result<Met, ConnectFailure> {
        let server_name = server_name(name)?;
        let seen = self.recorder();
        let mut config = self.client_config(Arc::clone(&seen))?;
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let connecting = TlsConnector::from(Arc::new(config)).connect(server_name, stream);
        match connecting.await {
            Ok(stream) => {
                let (_, connection) = stream.get_ref();
                let served = served(connection, seen.take());
                Ok((served, Some(Connection(stream))))
            }
            Err(error) => match seen.take() {
                Some(shown) => Ok((unproven(shown, &error), None)),
                None => Err(handshake_failure(&error)),
            },
        }
    }

    fn client_config(&self, seen: Arc<Recorder>) -> Result<ClientConfig, ConnectFailure> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectFailure::Handshake(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(seen)
            .with_no_client_auth();
        // A resumed session shows no certificate, and a proof needs one each time.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// What was shown, and the connection where it can be used
type Met = (Served, Option<Connection>);

/// A connection over which a handshake came about
#[derive(Debug)]
pub struct Connection(pub(super) TlsStream<TcpStream>);

impl Connection {
    /// The application protocol that both sides agreed to (RFC 7301), where certd speaks it
    pub fn protocol(&self) -> Option<Protocol> {
        let (_, connection) = self.0.get_ref();
        match connection.alpn_protocol()? {
            HTTP2 => Some(Protocol::Http2),
            HTTP1 => Some(Protocol::Http1),
            _ => None,
        }
    }
}

/// A version of HTTP
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http/1.1`
    Http1,
    /// `h2`
    Http2,
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ConnectFailure> {
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| match error.kind() {
        // A visitor elsewhere may well reach it: it is no more than another word for no route.
        io::ErrorKind::HostUnreachable => ConnectFailure::NoRoute,
        _ => connect_failure(error),
    })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn served(connection: &ClientConnection, shown: Option<Shown>) -> Served {
    let protocol = connection.protocol_version();
    let protocol = protocol.and_then(|version| version.as_str());
    let cipher = connection.negotiated_cipher_suite();
    let cipher = cipher.and_then(|suite| suite.suite().as_str());
    let key_exchange = connection.negotiated_key_exchange_group();
    let key_exchange = key_exchange.and_then(|group| group.name().as_str());
    let alpn = connection.alpn_protocol().map(String::from_utf8_lossy);
    let (chain, staple) = shown.map_or_else(Default::default, |shown| (shown.chain, shown.staple));
    Served {
        chain,
        proof: KeyProof::Proven,
        protocol: protocol.unwrap_or_default().replace('_', "."),
        cipher: cipher.unwrap_or_default().to_owned(),
        key_exchange: key_exchange.unwrap_or_default().to_owned(),
        alpn: alpn.map(|name| name.into_owned()),
        staple,
    }
}

/// What a server that refused would choose, of what rustls does not offer
async fn choice_of(name: &str, address: SocketAddr, opening: Opening) -> Option<ConnectFailure> {
    let open = async || {
        let mut stream = connect(address).await.ok()?;
        opening::open(opening, &mut stream).await.ok()?;
        Some(stream)
    };
    let chosen = hello::choice_of_old(name, &mut open().await?).await;
    if let Some(ConnectFailure::OldProtocol(_)) = chosen {
        return chosen;
    }
    // Where a group is missing, suites are offered that browsers have not: it is the group then.
    match hello::wants_other_group(name, &mut open().await?).await {
        true => Some(ConnectFailure::OtherGroup),
        false => chosen,
    }
}

/// What was shown before the handshake broke off
fn unproven(shown: Shown, error: &io::Error) -> Served {
    Served {
        chain: shown.chain,
        proof: match shown.is_signed {
            // What ended it came later: the server may want to see a certificate itself.
            true => KeyProof::Proven,
            false => KeyProof::Missing(handshake_failure(error).to_string()),
        },
        protocol: String::new(),
        cipher: String::new(),
        key_exchange: String::new(),
        alpn: None,
        staple: shown.staple,
    }
}

/// Whether a server may have refused because it has nothing that rustls has
fn may_be_old(failure: &ConnectFailure) -> bool {
    match failure {
        ConnectFailure::Alert(alert) => REFUSALS.contains(&alert.as_str()),
        ConnectFailure::OldProtocol(_) => true,
        _ => false,
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, ConnectFailure> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| ConnectFailure::Handshake(format!("{name} is no server name")))
}

pub(super) fn connect_failure(error: io::Error) -> ConnectFailure {
    match error.kind() {
        _ if is_out_of_descriptors(&error) => ConnectFailure::NoDescriptor,
        io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
        io::ErrorKind::ConnectionReset => ConnectFailure::Reset,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable
        // A route that prohibits, one into a black hole, and a family that the kernel has not.
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput => ConnectFailure::NoRoute,
        _ if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => ConnectFailure::NoRoute,
        _ => ConnectFailure::Unreachable(error.to_string()),
    }
}

fn handshake_failure(error: &io::Error) -> ConnectFailure {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::AlertReceived(alert)) => ConnectFailure::Alert(alert_name(*alert)),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => ConnectFailure::NotTls,
        Some(Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        )) => ConnectFailure::TooLarge,
        // It answered a hello that did not offer what it chose; which that is has to be asked.
        Some(Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )) => ConnectFailure::OldProtocol("TLS before 1.2".to_owned()),
        Some(error) => ConnectFailure::Handshake(error.to_string()),
        None => match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe => ConnectFailure::Reset,
            io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
            _ => ConnectFailure::Handshake(error.to_string()),
        },
    }
}

/// The alert as RFC 8446 section 6 spells it, such as `unrecognized_name`
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    for c in alert.as_str().unwrap_or("unknown").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    // rustls spells one of them in British English.
    name.replace("recognised", "recognized")
}

/// Application protocols that are offered, the better one first
const OFFERED: &[&[u8]] = &[HTTP2, HTTP1];
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
/// Alert of a server that has none of the application protocols offered
const NO_PROTOCOL: &str = "no_application_protocol";
/// Alerts of a server that found no version or no suite in common
const REFUSALS: [&str; 3] = [
    "handshake_failure",
    "insufficient_security",
    "protocol_version",
];
