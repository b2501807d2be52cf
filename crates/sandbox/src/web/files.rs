//! Certificates and keys from files, and nginx's words for those that it cannot load.
//!
//! The words are those of nginx 1.22 with OpenSSL 3.0.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{Options, STORAGE, place};

/// The live pair of a lineage, or what nginx says of it
pub(super) fn live(options: &Options, lineage: &str) -> Result<Arc<CertifiedKey>, String> {
    pair_in(options, &format!("{STORAGE}/live/{lineage}"))
}

/// The newest pair of a lineage that is older than the live one
pub(super) fn previous(options: &Options, lineage: &str) -> Option<Arc<CertifiedKey>> {
    let storage = &options.storage;
    let live = fs::canonicalize(storage.join("live").join(lineage)).ok()?;
    let live: u32 = live.file_name()?.to_str()?.parse().ok()?;
    let archive = fs::read_dir(storage.join("archive").join(lineage)).ok()?;
    let newest = archive
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|generation| *generation < live)
        .max()?;
    pair_in(options, &format!("{STORAGE}/archive/{lineage}/{newest}")).ok()
}

/// The pair in the files of these names, or what nginx says of it
pub(super) fn load(
    options: &Options,
    certificate: &str,
    key: &str,
) -> Result<Arc<CertifiedKey>, String> {
    let chain_file = File::new(certificate, Kind::Certificate);
    let key_file = File::new(key, Kind::Key);
    let chain_pem = chain_file.read(options)?;
    // nginx parses the certificate before it opens the key, so its problem comes first.
    certificates(&chain_pem).map_err(|unfit| chain_file.unreadable(&unfit))?;
    let key_pem = key_file.read(options)?;
    pair(&chain_pem, &key_pem).map_err(|unfit| key_file.unreadable(&unfit))
}

/// The pair in these two texts
pub(super) fn pair(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<CertifiedKey>, Unfit> {
    let certificates = certificates(chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| Unfit::Key)?;
    let signer = any_supported_type(&key).map_err(|_| Unfit::Key)?;
    let pair = CertifiedKey::new(certificates, signer);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(_) => Err(Unfit::Mismatch),
    }
}

/// The certificates in a text, each of which parses
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| Unfit::Pem)?;
    let unreadable = |der: &CertificateDer<'_>| X509Certificate::from_der(der).is_err();
    match certificates.iter().position(unreadable) {
        _ if certificates.is_empty() => Err(Unfit::Empty),
        Some(0) => Err(Unfit::Leaf),
        Some(_) => Err(Unfit::Above),
        None => Ok(certificates),
    }
}

/// Why two texts are no certificate and its key
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Unfit {
    #[error("there is no certificate in it")]
    Empty,
    #[error("the certificate is no PEM")]
    Pem,
    #[error("the certificate cannot be parsed")]
    Leaf,
    #[error("a certificate after the first cannot be parsed")]
    Above,
    #[error("the key cannot be read")]
    Key,
    #[error("the key is of another certificate")]
    Mismatch,
}

fn pair_in(options: &Options, directory: &str) -> Result<Arc<CertifiedKey>, String> {
    let name = |file: &str| format!("{directory}/{file}");
    load(options, &name("fullchain.pem"), &name("privkey.pem"))
}

/// A file by its full path in the container
struct File {
    shown: String,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Certificate,
    Key,
}

impl File {
    fn new(path: &str, kind: Kind) -> Self {
        Self {
            shown: place::full(path),
            kind,
        }
    }

    fn read(&self, options: &Options) -> Result<Vec<u8>, String> {
        let shown = &self.shown;
        let reason = match place::read(options, shown) {
            Ok(bytes) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => format!(
                "error:80000002:system library::No such file or directory:calling fopen({shown}, r) error:10000080:BIO routines::no such file"
            ),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => format!(
                "error:8000000D:system library::Permission denied:calling fopen({shown}, r) error:10080002:BIO routines::system lib"
            ),
            // Anything else that can be opened, a directory say, is a file without a line to nginx.
            Err(_) => return Ok(Vec::new()),
        };
        Err(self.cannot_load("BIO_new_file", &reason))
    }

    fn unreadable(&self, unfit: &Unfit) -> String {
        match unfit {
            Unfit::Empty => self.cannot_load("PEM_read_bio_X509_AUX", NO_START_LINE),
            Unfit::Pem => self.cannot_load("PEM_read_bio_X509_AUX", BAD_BASE64),
            Unfit::Leaf => self.cannot_load("PEM_read_bio_X509_AUX", BAD_DER),
            Unfit::Above => self.cannot_load("PEM_read_bio_X509", BAD_DER),
            Unfit::Key => self.cannot_load("PEM_read_bio_PrivateKey", NO_KEY),
            Unfit::Mismatch => format!(
                "nginx: [emerg] SSL_CTX_use_PrivateKey(\"{}\") failed (SSL: {MISMATCH})\n",
                self.shown
            ),
        }
    }

    fn cannot_load(&self, call: &str, reason: &str) -> String {
        let what = match self.kind {
            Kind::Certificate => "certificate",
            Kind::Key => "certificate key",
        };
        format!(
            "nginx: [emerg] cannot load {what} \"{}\": {call}() failed (SSL: {reason})\n",
            self.shown
        )
    }
}

const NO_START_LINE: &str =
    "error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE";
const BAD_BASE64: &str = "error:04800064:PEM routines::bad base64 decode";
const BAD_DER: &str = "error:0680009F:asn1 encoding routines::unexpected eoc:Type=X509_CINF error:0688010A:asn1 encoding routines::nested asn1 error:Field=cert_info, Type=X509 error:0488000D:PEM routines::ASN1 lib";
const NO_KEY: &str =
    "error:1E08010C:DECODER routines::unsupported:No supported data to decode. Input type: PEM";
const MISMATCH: &str = "error:05800074:x509 certificate routines::key values mismatch";
