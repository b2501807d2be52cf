//! A fresh key and the certificate signing request that belongs to it (RFC 2986).

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize,
};
use zeroize::Zeroizing;

use crate::chain::KeyType;
use crate::name::DnsName;

/// A private key and the request that it signed
pub struct KeyAndCsr {
    /// Private key, PKCS#8 in PEM
    pub key_pem: Zeroizing<String>,
    /// The request in DER
    pub csr: Vec<u8>,
}

/// Makes a key and a request for these names, the first of which is the primary one
///
/// The Common Name is the primary name where it has at most 64 characters (RFC 5280, upper bound
/// of a common name); all names stand in the SAN. An RSA key takes up to seconds of CPU: call it
/// where blocking is allowed.
///
/// # Errors
/// [`rcgen::Error`] when the key cannot be made.
pub fn generate(names: &[DnsName], key_type: KeyType) -> Result<KeyAndCsr, rcgen::Error> {
    let key = match key_type {
        KeyType::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        KeyType::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?,
        KeyType::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        KeyType::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096)?,
    };
    request(names, &key)
}

/// The same with a key that is there already
///
/// # Errors
/// [`rcgen::Error`] where the text is no private key.
pub fn with_key(names: &[DnsName], key_pem: &str) -> Result<KeyAndCsr, rcgen::Error> {
    request(names, &KeyPair::from_pem(key_pem)?)
}

fn request(names: &[DnsName], key: &KeyPair) -> Result<KeyAndCsr, rcgen::Error> {
    let sans: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(sans)?;
    params.distinguished_name = DistinguishedName::new();
    if let Some(primary) = names
        .first()
        .filter(|name| name.as_str().len() <= MAX_COMMON_NAME)
    {
        params
            .distinguished_name
            .push(DnType::CommonName, primary.as_str());
    }
    let csr = params.serialize_request(key)?.der().to_vec();
    Ok(KeyAndCsr {
        key_pem: Zeroizing::new(key.serialize_pem()),
        csr,
    })
}

const MAX_COMMON_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    use super::*;
    use crate::chain::public_key_of;

    fn subject_of(csr: &[u8]) -> String {
        let (_, request) = X509CertificationRequest::from_der(csr).unwrap();
        request.certification_request_info.subject.to_string()
    }

    #[test]
    fn the_primary_name_is_the_common_name_if_it_fits() {
        let short = DnsName::parse("a.test").unwrap();
        let alias = DnsName::parse("www.a.test").unwrap();
        let made = generate(&[short, alias], KeyType::P256).unwrap();
        assert_eq!(subject_of(&made.csr), "CN=a.test");

        let label = "x".repeat(30);
        let long = DnsName::parse(&format!("{label}.{label}.test")).unwrap();
        assert_eq!(long.as_str().len(), 66);
        let made = generate(&[long], KeyType::P256).unwrap();
        assert_eq!(subject_of(&made.csr), "");
    }

    #[test]
    fn each_key_type_is_made_and_each_key_is_fresh() {
        let names = [DnsName::parse("a.test").unwrap()];
        for key_type in KeyType::ALL {
            let first = generate(&names, key_type).unwrap();
            let public = public_key_of(first.key_pem.as_bytes()).unwrap();
            let (_, request) = X509CertificationRequest::from_der(&first.csr).unwrap();
            assert_eq!(request.certification_request_info.subject_pki.raw, public);
            if key_type != KeyType::Rsa4096 {
                let second = generate(&names, key_type).unwrap();
                assert_ne!(public, public_key_of(second.key_pem.as_bytes()).unwrap());
            }
        }
    }
}
