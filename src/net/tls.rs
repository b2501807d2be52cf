//! One TLS handshake that records what the server shows, good or bad.
//!
//! The connection is used for nothing else: no byte of application data goes over it, so it is
//! safe to complete a handshake with any certificate. Judging is for [`crate::verify`].

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::facts::{ConnectFailure, Handshake, KeyProof, Served};

/// Makes handshakes that each start fresh: no session is ever resumed
#[derive(Clone, Debug)]
pub struct Observer {
    provider: Arc<CryptoProvider>,
    timeout: Duration,
}

impl Observer {
    /// An observer that gives every connection and handshake this much time
    pub fn new(provider: Arc<CryptoProvider>, timeout: Duration) -> Self {
        Self { provider, timeout }
    }

    /// What a server at `address` shows to a client that asks for `name`
    pub async fn observe(&self, name: &str, address: SocketAddr) -> Handshake {
        let started = Instant::now();
        let outcome = match timeout(self.timeout, self.handshake(name, address)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ConnectFailure::TimedOut),
        };
        Handshake {
            name: name.to_owned(),
            address,
            outcome,
            elapsed: started.elapsed(),
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

    async fn handshake(&self, name: &str, address: SocketAddr) -> Result<Served, ConnectFailure> {
        let server_name = server_name(name)?;
        let seen = self.recorder();
        let config = self.client_config(Arc::clone(&seen))?;
        let stream = TcpStream::connect(address).await.map_err(connect_failure)?;
        let _ = stream.set_nodelay(true);
        match TlsConnector::from(Arc::new(config))
            .connect(server_name, stream)
            .await
        {
            Ok(stream) => {
                let (_, connection) = stream.get_ref();
                let protocol = connection
                    .protocol_version()
                    .and_then(|version| version.as_str());
                let cipher = connection
                    .negotiated_cipher_suite()
                    .and_then(|suite| suite.suite().as_str());
                Ok(Served {
                    chain: seen.take_chain().unwrap_or_default(),
                    proof: KeyProof::Proven,
                    protocol: protocol.unwrap_or_default().replace('_', "."),
                    cipher: cipher.unwrap_or_default().to_owned(),
                })
            }
            Err(error) => match seen.take_chain() {
                Some(chain) => Ok(Served {
                    chain,
                    proof: KeyProof::Missing(handshake_failure(&error).to_string()),
                    protocol: String::new(),
                    cipher: String::new(),
                }),
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

fn server_name(name: &str) -> Result<ServerName<'static>, ConnectFailure> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| ConnectFailure::Handshake(format!("{name} is no server name")))
}

pub(super) fn connect_failure(error: io::Error) -> ConnectFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
        io::ErrorKind::ConnectionReset => ConnectFailure::Reset,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            ConnectFailure::NoRoute
        }
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

/// A verifier that accepts every certificate and keeps it, but checks the handshake's signature
#[derive(Debug)]
struct Recorder {
    algorithms: WebPkiSupportedAlgorithms,
    chain: Mutex<Option<Vec<Vec<u8>>>>,
}

impl Recorder {
    fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            algorithms,
            chain: Mutex::new(None),
        }
    }

    fn take_chain(&self) -> Option<Vec<Vec<u8>>> {
        self.chain
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.to_vec())
            .collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms).map_err(explain)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms).map_err(explain)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn explain(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            Error::General("the handshake is not signed with the certificate's key".to_owned())
        }
        other => other,
    }
}
