//! Certificates that are believed to be roots: the system's, and those in PEM files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use thiserror::Error;

use crate::chain::pem;
use crate::input;

/// The system's roots
pub fn system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_certificates());
    roots
}

/// Their certificates; `$SSL_CERT_FILE` and `$SSL_CERT_DIR` are obeyed
pub fn system_certificates() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// What to do where [`system`] has none
pub fn cure() -> String {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter();
    let mut named = named.filter_map(|name| Some((name, std::env::var_os(name)?)));
    cure_of(named.next())
}

/// `named` is the variable of the environment that says where the roots are
fn cure_of(named: Option<(&str, OsString)>) -> String {
    match named {
        Some((name, place)) => format!(
            "{name} names {}, which holds none: correct it, or unset it",
            place.to_string_lossy()
        ),
        None => "install the package ca-certificates, or let SSL_CERT_FILE name a file of roots; in a container, mount the host's".to_owned(),
    }
}

/// That [`system`] has none
pub const NO_ROOTS: &str = "this host has no root certificates";

/// Adds every certificate of a PEM file, and gives them
///
/// # Errors
/// [`TrustError`] for a file that cannot be read, holds no certificate, or holds a broken one.
pub fn add_file(
    roots: &mut RootCertStore,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let certificates = certificates(path)?;
    for certificate in &certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|_| TrustError::new(path, "it holds something that is no certificate"))?;
    }
    Ok(certificates)
}

/// The certificates of a PEM file, at least one
///
/// # Errors
/// [`TrustError`] for a file that cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let text = input::read(path, MOST_OF_ROOTS)
        .map_err(|error| TrustError::new(path, error.to_string()))?;
    let certificates = pem::certificates(&text, pem::Use::Roots)
        .map_err(|error| TrustError::new(path, error.to_string()))?;
    match certificates.is_empty() {
        true => Err(TrustError::new(path, "it holds no certificate")),
        false => Ok(certificates.into_iter().map(CertificateDer::from).collect()),
    }
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

impl TrustError {
    fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Bytes of a file of roots: all those that browsers know have half a MiB
const MOST_OF_ROOTS: u64 = 4 * input::MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trust_file_without_end_or_writer_is_refused() {
        let refused = |path: &Path| certificates(path).unwrap_err().to_string();
        assert_eq!(
            refused(Path::new("/dev/zero")),
            "the trust file /dev/zero cannot be used: it is longer than 4 MiB"
        );
        let home = tempfile::tempdir().unwrap();
        let fifo = home.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(refused(&fifo).ends_with("it is a FIFO, and no file"));
    }

    #[test]
    fn a_host_without_roots_is_told_to_install_them_or_which_variable_is_wrong() {
        let nowhere = cure_of(None);
        assert!(nowhere.contains("ca-certificates") && nowhere.contains("SSL_CERT_FILE"));
        assert_eq!(
            cure_of(Some(("SSL_CERT_DIR", "/nowhere".into()))),
            "SSL_CERT_DIR names /nowhere, which holds none: correct it, or unset it"
        );
    }
}
