//! Certificates that no CA would issue, and some that one would.
//!
//! Their dates are literal years so far apart that tests need no clock.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A CA, a root or an intermediate
pub(crate) struct Authority {
    certificate: Certificate,
    params: CertificateParams,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_as(name, &|_| {})
    }

    /// A root that is changed before it is signed
    pub(crate) fn root_as(name: &str, change: &dyn Fn(&mut CertificateParams)) -> Self {
        let (mut params, key) = authority(name);
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a root can be made");
        Self {
            certificate,
            params: params.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn intermediate(&self, name: &str) -> Self {
        self.intermediate_as(name, &|_| {})
    }

    /// An intermediate that is changed before it is signed
    pub(crate) fn intermediate_as(
        &self,
        name: &str,
        change: &dyn Fn(&mut CertificateParams),
    ) -> Self {
        let (mut params, key) = authority(name);
        change(&mut params);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("an intermediate can be made");
        Self {
            certificate,
            params: params.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A root with this key
    pub(crate) fn root_with(name: &str, key: KeyPair) -> Self {
        let (params, _) = authority(name);
        let certificate = params.self_signed(&key).expect("a root can be made");
        Self {
            certificate,
            params: params.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An intermediate with this key
    pub(crate) fn intermediate_with(&self, name: &str, key: KeyPair) -> Self {
        let (params, _) = authority(name);
        let certificate = params.signed_by(&key, &self.issuer);
        Self {
            certificate: certificate.expect("an intermediate can be made"),
            params: params.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// The same CA, which writes its name otherwise into what it issues
    pub(crate) fn spelt(&self, name: DnValue) -> Self {
        let mut params = self.params.clone();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = self.issuer.key().serialize_pem();
        let key = KeyPair::from_pem(&key).expect("it is a key");
        Self {
            certificate: self.certificate.clone(),
            params: self.params.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate with some of its bytes changed, signed anew by this CA
    pub(crate) fn resign(
        &self,
        der: &CertificateDer<'_>,
        from: &[u8],
        to: &[u8],
    ) -> CertificateDer<'static> {
        let (_, x509) = X509Certificate::from_der(der).expect("it is a certificate");
        let mut signed = x509.tbs_certificate.as_ref().to_vec();
        let mut places = signed.windows(from.len());
        let place = places.position(|at| at == from).expect("they are there");
        signed[place..place + from.len()].copy_from_slice(to);
        let signature = self.issuer.key().sign(&signed).expect("it can sign");
        let signature = element(3, &[&[0], signature.as_slice()].concat());
        element(
            0x30,
            &[signed.as_slice(), ECDSA_SHA256, &signature].concat(),
        )
        .into()
    }

    /// A certificate of this CA for another one's name and key, changed before it is signed
    pub(crate) fn cross_sign(
        &self,
        other: &Self,
        change: &dyn Fn(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = other.params.clone();
        change(&mut params);
        let certificate = params.signed_by(other.issuer.key(), &self.issuer);
        certificate.expect("a CA can be signed").der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// A leaf by this CA; what is sent is the leaf and the CA's own certificate
    pub(crate) fn issue(&self, wish: &Wish<'_>) -> Leaf {
        let key = KeyPair::generate().expect("a key can be made");
        self.issue_for(wish, key)
    }

    /// The same, for this key
    pub(crate) fn issue_for(&self, wish: &Wish<'_>, key: KeyPair) -> Leaf {
        self.issue_as(wish.params(), key)
    }

    /// A leaf of any kind
    pub(crate) fn issue_as(&self, params: CertificateParams, key: KeyPair) -> Leaf {
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a leaf can be made");
        Leaf {
            chain: vec![certificate.der().clone(), self.der()],
            key,
        }
    }
}

fn authority(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(Some(name));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params, KeyPair::generate().expect("a key can be made"))
}

fn named(common_name: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(common_name) = common_name {
        name.push(DnType::CommonName, common_name);
    }
    name
}

/// What a leaf should be like
#[derive(Clone)]
pub(crate) struct Wish<'w> {
    /// SAN
    pub(crate) names: &'w [&'w str],
    pub(crate) common_name: Option<&'w str>,
    /// Years, both from 1 January
    pub(crate) valid: (i32, i32),
    pub(crate) usage: ExtendedKeyUsagePurpose,
    pub(crate) is_ca: bool,
    /// The TLS feature `status_request` (RFC 7633)
    pub(crate) must_staple: bool,
}

impl<'w> Wish<'w> {
    /// A leaf for these names, as it should be
    pub(crate) fn names(names: &'w [&'w str]) -> Self {
        Self {
            names,
            common_name: None,
            valid: (2020, 2120),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            is_ca: false,
            must_staple: false,
        }
    }

    pub(crate) fn self_signed(&self) -> Leaf {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = self
            .params()
            .self_signed(&key)
            .expect("a leaf can sign itself");
        Leaf {
            chain: vec![certificate.der().clone()],
            key,
        }
    }

    pub(crate) fn params(&self) -> CertificateParams {
        let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are names");
        params.distinguished_name = named(self.common_name);
        params.not_before = date_time_ymd(self.valid.0, 1, 1);
        params.not_after = date_time_ymd(self.valid.1, 1, 1);
        params.extended_key_usages = vec![self.usage.clone()];
        if self.must_staple {
            let feature = vec![0x30, 3, 2, 1, 5];
            let feature = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], feature);
            params.custom_extensions.push(feature);
        }
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }
}

/// A server's certificate with its key, and what is sent with it
pub(crate) struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
}

impl Leaf {
    /// The same leaf, sent with these certificates after it
    pub(crate) fn sent_with(mut self, above: Vec<CertificateDer<'static>>) -> Self {
        self.chain.truncate(1);
        self.chain.extend(above);
        self
    }

    /// The chain with its key, and this OCSP response
    pub(crate) fn certified(&self, response: &[u8]) -> Arc<CertifiedKey> {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let key = any_supported_type(&PrivateKeyDer::Pkcs8(key)).expect("the key can sign");
        let mut certified = CertifiedKey::new(self.chain.clone(), key);
        certified.ocsp = Some(response.to_vec()).filter(|response| !response.is_empty());
        Arc::new(certified)
    }

    pub(crate) fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| pem(der)).collect()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// An element in DER
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("it is short");
    let [high, low] = length.to_be_bytes();
    let head = match length {
        0..128 => vec![tag, low],
        128..256 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [head.as_slice(), content].concat()
}

/// The algorithm of a signature, in DER
const ECDSA_SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub(crate) fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}
