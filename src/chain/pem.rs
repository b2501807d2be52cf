//! The certificates of a PEM text, as OpenSSL reads them for nginx (RFC 7468).
//!
//! nginx passes over what it does not know and takes the next certificate instead, or gives up. Here
//! nothing that looks like a certificate is passed over: the line is named at which nginx would.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// What a text is read for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A server's chain: nginx takes a trusted certificate as the first alone
    Chain,
    /// Roots, in any order
    Roots,
}

/// Why a PEM text is not what nginx could read
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {fault}")]
pub struct PemError {
    /// The line, from 1
    pub line: usize,
    /// What is wrong there
    pub fault: Fault,
}

/// What is wrong with a line of a PEM text
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// A line that begins or ends a certificate, with something before or behind it
    #[error(
        "BEGIN or END does not stand alone on its line, so that servers pass over the certificate"
    )]
    Stray,
    /// Two certificates without a newline between them
    #[error(
        "the next certificate begins on the line that ends this one: put a newline between the two"
    )]
    Glued,
    /// Another end than that of what begins
    #[error("this is not the end of the {label} that begins at line {begun}")]
    OtherEnd {
        /// What begins
        label: String,
        /// Where
        begun: usize,
    },
    /// A part that does not end
    #[error("the {label} that begins here has no end: the file is cut off")]
    NoEnd {
        /// What begins
        label: String,
    },
    /// An empty line within a certificate
    #[error("an empty line within a certificate, which OpenSSL does not read")]
    Empty,
    /// A certificate that is no base64
    #[error("the certificate that begins here is not valid base64")]
    Base64,
    /// A trusted certificate above the leaf
    #[error(
        "nginx passes over a TRUSTED CERTIFICATE that is not the first: make it a CERTIFICATE with `openssl x509`"
    )]
    Trusted,
    /// A part that holds certificates in another form
    #[error("servers read no {0} there: make it a PEM file of CERTIFICATEs")]
    OtherForm(String),
}

/// The certificates of a PEM text in DER, in order; empty where it holds none
///
/// # Errors
/// [`PemError`] for a text of which nginx would read less than stands in it, or nothing.
pub fn certificates(text: &[u8], of: Use) -> Result<Vec<Vec<u8>>, PemError> {
    let mut found = Vec::new();
    let mut part: Option<Part<'_>> = None;
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    for (line, number) in lines.zip(1..) {
        let at = |fault| PemError {
            line: number,
            fault,
        };
        let line = line.trim_ascii_end();
        match part.take() {
            None => part = begin(line, number).map_err(at)?,
            Some(open) if line.starts_with(END) => {
                open.is_ended_by(line).map_err(at)?;
                found.extend(open.certificate(of, found.is_empty())?);
            }
            Some(open) if line.is_empty() && open.kind != Kind::Other => {
                return Err(at(Fault::Empty));
            }
            Some(mut open) => {
                open.content.extend_from_slice(line);
                open.content.push(b'\n');
                part = Some(open);
            }
        }
    }
    match part {
        Some(open) => Err(open.fault(Fault::NoEnd {
            label: open.label.to_owned(),
        })),
        None => Ok(found),
    }
}

/// What stands between BEGIN and END
struct Part<'t> {
    label: &'t str,
    kind: Kind,
    /// The line at which it begins
    begun: usize,
    content: Vec<u8>,
}

/// What a part is to those who look for certificates
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    /// A certificate with what OpenSSL trusts it for behind it
    Trusted,
    /// A key, parameters, or a request
    Other,
}

impl Part<'_> {
    fn fault(&self, fault: Fault) -> PemError {
        PemError {
            line: self.begun,
            fault,
        }
    }

    fn is_ended_by(&self, line: &[u8]) -> Result<(), Fault> {
        let end = format!("-----END {}-----", self.label);
        match line.strip_prefix(end.as_bytes()) {
            Some([]) => Ok(()),
            Some(rest) if rest.starts_with(BEGIN) => Err(Fault::Glued),
            _ => Err(Fault::OtherEnd {
                label: self.label.to_owned(),
                begun: self.begun,
            }),
        }
    }

    /// The certificate, where it is one
    fn certificate(&self, of: Use, is_first: bool) -> Result<Option<Vec<u8>>, PemError> {
        let trusted = match self.kind {
            Kind::Other => return Ok(None),
            Kind::Certificate => false,
            Kind::Trusted if of == Use::Roots || is_first => true,
            Kind::Trusted => return Err(self.fault(Fault::Trusted)),
        };
        let text = [FIRST, &self.content, LAST].concat();
        let der = CertificateDer::from_pem_slice(&text).map_err(|_| self.fault(Fault::Base64))?;
        let behind = match trusted {
            true => X509Certificate::from_der(&der).map_or(0, |(behind, _)| behind.len()),
            false => 0,
        };
        Ok(Some(der[..der.len() - behind].to_vec()))
    }
}

/// The part that a line begins; `None` for a line between two parts
fn begin(line: &[u8], number: usize) -> Result<Option<Part<'_>>, Fault> {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let label = line
        .strip_prefix(BEGIN)
        .and_then(|rest| rest.strip_suffix(DASHES));
    let label = label.and_then(|label| std::str::from_utf8(label).ok());
    let Some(label) = label.filter(|label| !label.contains("-----")) else {
        return match is_stray(line) {
            true => Err(Fault::Stray),
            false => Ok(None),
        };
    };
    let kind = match label {
        "CERTIFICATE" | "X509 CERTIFICATE" => Kind::Certificate,
        "TRUSTED CERTIFICATE" => Kind::Trusted,
        "PKCS7" | "PKCS #7 SIGNED DATA" | "CMS" => return Err(Fault::OtherForm(label.to_owned())),
        request if request.ends_with(" REQUEST") => Kind::Other,
        other if other.to_ascii_uppercase().contains("CERTIFICATE") => {
            return Err(Fault::OtherForm(other.to_owned()));
        }
        _ => Kind::Other,
    };
    Ok(Some(Part {
        label,
        kind,
        begun: number,
        content: Vec::new(),
    }))
}

/// Whether a line was meant to begin or end a certificate
fn is_stray(line: &[u8]) -> bool {
    let has = |words: &[u8]| line.windows(words.len()).any(|window| window == words);
    has(b"--") && has(b"CERTIFICATE") && !has(b"REQUEST") && (has(b"BEGIN") || has(b"END"))
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const FIRST: &[u8] = b"-----BEGIN CERTIFICATE-----\n";
const LAST: &[u8] = b"-----END CERTIFICATE-----\n";
/// OpenSSL passes over it since 3.0
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
