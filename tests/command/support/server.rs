//! Servers on the loopback that answer as they are told to, one thread a connection.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DEFAULT_VERSIONS, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::Leaf;

/// A TCP port at which nothing listens: tcpmux, which no system has
pub(crate) const CLOSED: &str = "127.0.0.1:1";

/// A listening server, stopped on drop
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server that hands each connection to `serve`
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        Self::on(listener, serve)
    }

    pub(crate) fn on(
        listener: TcpListener,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let (connections, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counter, stopped, serve) = (connections.clone(), stop.clone(), Arc::new(serve));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                counter.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                // A client that goes silent must not keep the thread for ever.
                let _ = stream.set_read_timeout(Some(PATIENCE));
                thread::spawn(move || serve(stream));
            }
        });
        Self {
            address,
            connections,
            stop,
            thread: Some(thread),
        }
    }

    /// A TLS server that completes handshakes and then waits for the client to go
    pub(crate) fn tls(config: Arc<ServerConfig>) -> Self {
        Self::start(shake_hands(config))
    }

    /// The same, where this listens
    pub(crate) fn tls_on(listener: TcpListener, config: Arc<ServerConfig>) -> Self {
        Self::on(listener, shake_hands(config))
    }

    /// A TLS server on the IPv6 loopback; `None` where there is none
    pub(crate) fn tls_v6(config: Arc<ServerConfig>) -> Option<Self> {
        let listener = TcpListener::bind("[::1]:0").ok()?;
        Some(Self::tls_on(listener, config))
    }

    /// How many connections were made so far
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn shake_hands(config: Arc<ServerConfig>) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| {
        let mut tls = ServerConnection::new(config.clone()).expect("the configuration is sound");
        while tls.is_handshaking() {
            if tls.complete_io(&mut stream).is_err() {
                break;
            }
        }
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a client says first
pub(crate) fn first_bytes(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; 16 * 1024];
    let read = stream.read(&mut buffer).unwrap_or(0);
    buffer.truncate(read);
    buffer
}

/// A ServerHello with this version and this cipher suite
pub(crate) fn server_hello([major, minor, high, low]: [u8; 4]) -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, major, minor];
    hello.extend([7; 32]);
    hello.extend([0, high, low, 0]);
    hello
}

/// TLS with this certificate for every name
pub(crate) fn tls_config(leaf: &Leaf) -> Arc<ServerConfig> {
    tls_config_for(leaf, leaf, DEFAULT_VERSIONS)
}

/// TLS with the chain of one certificate and the key of another, at these versions
pub(crate) fn tls_config_for(
    chain_of: &Leaf,
    key_of: &Leaf,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let key = PrivatePkcs8KeyDer::from(key_of.key.serialize_der());
    let key = any_supported_type(&PrivateKeyDer::Pkcs8(key)).expect("the key can sign");
    let certified = CertifiedKey::new(chain_of.chain.clone(), key);
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has them")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Only(Arc::new(certified))));
    Arc::new(config)
}

/// One certificate for every name; whether its key belongs to it is not asked
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
