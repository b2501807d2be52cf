//! A certificate verifier that accepts everything and keeps what it saw.

use std::sync::{Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Accepts every certificate and keeps it, but checks the handshake's signature
#[derive(Debug)]
pub(super) struct Recorder {
    algorithms: WebPkiSupportedAlgorithms,
    shown: Mutex<Option<Shown>>,
}

/// What a server showed
#[derive(Debug)]
pub(super) struct Shown {
    /// Certificates in DER, as sent
    pub(super) chain: Vec<Vec<u8>>,
    /// The OCSP response that came with them, if it is an answer
    pub(super) staple: Option<Vec<u8>>,
    /// Whether the handshake was signed with the leaf's key
    pub(super) is_signed: bool,
}

impl Recorder {
    pub(super) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            algorithms,
            shown: Mutex::new(None),
        }
    }

    fn note(
        &self,
        verdict: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = shown.as_mut() {
            shown.is_signed = verdict.is_ok();
        }
        verdict.map_err(explain)
    }

    pub(super) fn take(&self) -> Option<Shown> {
        self.shown
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
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.to_vec())
            .collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shown {
            chain,
            staple: is_answer(ocsp_response).then(|| ocsp_response.to_vec()),
            is_signed: false,
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.algorithms,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.algorithms,
        ))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether an OCSP response is `successful`, and not one that says to try later (RFC 6960 section
/// 4.2.1): the first element of its sequence, an enumeration, is 0
fn is_answer(response: &[u8]) -> bool {
    let head = match response {
        [0x30, length, rest @ ..] if *length < 0x80 => rest,
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] => rest,
        _ => return false,
    };
    head.starts_with(&[0x0a, 0x01, 0x00])
}

fn explain(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            Error::General("the handshake is not signed with the certificate's key".to_owned())
        }
        other => other,
    }
}
