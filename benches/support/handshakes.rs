//! What handshakes alone cost, by the library that certd uses and with as many at once.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;

/// Word by which a benchmark is told to do handshakes alone, in a process of its own
pub(crate) const RAW: &str = "handshakes";
/// certd's own default
const CONCURRENCY: usize = 64;

/// One handshake for each name, and nothing else
pub(crate) fn shake_hands(address: SocketAddr, names: impl Iterator<Item = String>) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(
        stream::iter(names).for_each_concurrent(CONCURRENCY, |name| {
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect("the provider has them")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(Arc::clone(&provider))))
                .with_no_client_auth();
            config.resumption = Resumption::disabled();
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

/// Believes everyone who has the key of the certificate shown
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
