//! Certificates that are believed to be roots: the system's, and those in PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// The system's roots; `$SSL_CERT_FILE` and `$SSL_CERT_DIR` are obeyed
pub fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Adds every certificate of a PEM file
///
/// # Errors
/// [`TrustError`] for a file that cannot be read, holds no certificate, or holds a broken one.
pub fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let unusable = |reason: String| TrustError {
        path: path.to_owned(),
        reason,
    };
    let pem = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|_| unusable("it holds something that is no certificate".to_owned()))?;
    }
    if roots.len() == before {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(())
}

/// A trust file that is of no use
#[derive(Clone, Debug, Error)]
#[error("the trust file {} cannot be used: {reason}", path.display())]
pub struct TrustError {
    /// The file
    pub path: PathBuf,
    /// Why
    pub reason: String,
}
