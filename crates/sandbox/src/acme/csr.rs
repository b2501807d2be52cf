//! What a certificate signing request (RFC 2986) asks for.

use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::jws::Key;
use super::problem::Problem;

/// A request whose signature is right and whose key may be certified
///
/// Clients ask for all kinds of extensions. As with Let's Encrypt they are passed over, except for
/// the names.
#[derive(Debug)]
pub(super) struct Csr {
    /// DNS names of the subject alternative name, lower case, in the client's order
    pub(super) names: Vec<String>,
    /// Lower case; `None` where it is empty too
    pub(super) common_name: Option<String>,
    pub(super) key: SubjectPublicKeyInfo,
}

impl Csr {
    /// Reads a request of the account that has this key
    pub(super) fn parse(der: &[u8], account: &Key) -> Result<Self, Problem> {
        let (rest, csr) = X509CertificationRequest::from_der(der)
            .map_err(|_| Problem::bad_csr("the CSR is no PKCS #10 DER"))?;
        if !rest.is_empty() {
            return Err(Problem::bad_csr("bytes follow the end of the CSR"));
        }
        csr.verify_signature()
            .map_err(|_| Problem::bad_csr("the signature of the CSR is wrong"))?;
        let info = &csr.certification_request_info;
        check_key(&info.subject_pki)?;
        if account.is_of(&info.subject_pki) {
            return Err(Problem::bad_csr(
                "certificate public key must be different than account key",
            ));
        }
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|error| Problem::bad_csr(error.to_string()))?;
        let common_name = info.subject.iter_common_name().next();
        let common_name = common_name.and_then(|name| name.as_str().ok());
        Ok(Self {
            names: names(&csr)?,
            common_name: common_name
                .filter(|name| !name.is_empty())
                .map(str::to_ascii_lowercase),
            key,
        })
    }

    /// Checks that it is for exactly these names, which are sorted
    pub(super) fn check_names(&self, ordered: &[String]) -> Result<(), Problem> {
        let mut asked = self.names.clone();
        asked.sort();
        asked.dedup();
        if asked != ordered {
            let detail = format!("CSR is for {asked:?}, the order for {ordered:?}");
            return Err(Problem::bad_csr(detail));
        }
        // RFC 8555 lets a name stand in the Common Name alone. Let's Encrypt does not.
        match &self.common_name {
            Some(name) if !asked.contains(name) => Err(Problem::bad_csr(format!(
                "CSR's Common Name {name:?} is not among its subject alternative names"
            ))),
            _ => Ok(()),
        }
    }
}

fn check_key(key: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Result<(), Problem> {
    let is_good = match key.parsed() {
        Ok(PublicKey::EC(point)) => [256, 384].contains(&point.key_size()),
        Ok(PublicKey::RSA(key)) => [2048, 3072, 4096].contains(&key.key_size()),
        _ => false,
    };
    match is_good {
        true => Ok(()),
        false => Err(Problem::bad_csr(
            "keys are P-256, P-384, or RSA with 2048, 3072 or 4096 bits",
        )),
    }
}

fn names(csr: &X509CertificationRequest<'_>) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension else {
            continue;
        };
        for name in &alternative.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                _ => {
                    let detail = "CSR holds something else than DNS names";
                    return Err(Problem::bad_csr(detail));
                }
            }
        }
    }
    Ok(names)
}
