//! What a client reads in a certificate that it was given.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use crate::Validity;

/// The first certificate of a chain
pub(super) struct Leaf {
    pub(super) der: Vec<u8>,
    pub(super) subject: String,
    pub(super) common_name: Option<String>,
    pub(super) names: Vec<String>,
    pub(super) validity: Validity,
    pub(super) is_ca: bool,
    /// Subject public key info in DER
    pub(super) public_key: Vec<u8>,
    /// How many certificates came after it
    pub(super) above: usize,
}

impl Leaf {
    pub(super) fn of(chain_pem: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes());
        let chain: Vec<CertificateDer<'_>> = chain.map(Result::unwrap).collect();
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        let common_name = leaf.subject().iter_common_name().last();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        let names = names.value.general_names.iter().map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            other => panic!("{other}"),
        });
        let instant = |time: ASN1Time| Timestamp::from_second(time.timestamp()).unwrap();
        Self {
            der: chain[0].to_vec(),
            subject: leaf.subject().to_string(),
            common_name: common_name.map(|name| name.as_str().unwrap().to_owned()),
            names: names.collect(),
            validity: Validity {
                not_before: instant(leaf.validity().not_before),
                not_after: instant(leaf.validity().not_after),
            },
            is_ca: leaf.is_ca(),
            public_key: leaf.public_key().raw.to_vec(),
            above: chain.len() - 1,
        }
    }
}
