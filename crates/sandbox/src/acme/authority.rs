//! The root, the intermediates, and what they sign.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints, PublicKeyData, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::super::RESERVED;
use super::Flaw;
use crate::Validity;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A root and two intermediates below it, made anew for each CA
pub(super) struct Authority {
    root: Issuer,
    middle: Issuer,
    issuing: Issuer,
    key_identifier: Vec<u8>,
}

/// What a certificate says
#[derive(Clone, Debug)]
pub(super) struct Leaf<'n> {
    /// DNS names and IP addresses
    pub(super) names: &'n [String],
    pub(super) common_name: Option<&'n str>,
    pub(super) validity: Validity,
    /// Big-endian
    pub(super) serial: Vec<u8>,
    pub(super) flaw: Option<Flaw>,
}

impl Authority {
    pub(super) fn new(now: Timestamp) -> Result<Self, rcgen::Error> {
        let validity = Validity {
            not_before: now - LIFETIME,
            not_after: now + LIFETIME,
        };
        let key = || KeyPair::generate();
        let root = Issuer::self_signed(params("certd sandbox root", validity), key()?)?;
        let middle = params("certd sandbox intermediate", validity);
        let middle = Issuer::signed_by(middle, key()?, &root)?;
        let (issuing, issuing_key) = (params("certd sandbox issuing CA", validity), key()?);
        let key_identifier = issuing.key_identifier(&issuing_key);
        let issuing = Issuer::signed_by(issuing, issuing_key, &middle)?;
        Ok(Self {
            root,
            middle,
            issuing,
            key_identifier,
        })
    }

    /// The root as PEM
    pub(super) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// The intermediates as PEM, in the order in which they follow a leaf
    pub(super) fn above_pem(&self) -> String {
        format!("{}{}", self.issuing.pem(), self.middle.pem())
    }

    /// The intermediates, in the order in which they follow a leaf
    pub(super) fn above(&self) -> Vec<CertificateDer<'static>> {
        vec![self.issuing.der().clone(), self.middle.der().clone()]
    }

    /// A certificate for a public key
    pub(super) fn sign(
        &self,
        leaf: &Leaf<'_>,
        key: &impl PublicKeyData,
    ) -> Result<rcgen::Certificate, rcgen::Error> {
        let mut params = CertificateParams::new(leaf.names.to_vec())?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = leaf.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        set_validity(&mut params, leaf.validity);
        params.serial_number = Some(SerialNumber::from_slice(&leaf.serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        match leaf.flaw {
            None => {}
            Some(Flaw::ForClients) => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
            Some(Flaw::Authority) => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Some(Flaw::UnknownExtension) => {
                let mut unknown = CustomExtension::from_oid_content(&UNKNOWN, vec![5, 0]);
                unknown.set_criticality(true);
                params.custom_extensions.push(unknown);
            }
        }
        params.signed_by(key, &self.issuing)
    }

    /// Identifier of the key that signs certificates (RFC 5280 section 4.2.1.2)
    pub(super) fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }
}

/// A CA's certificate, constrained to what belongs to nobody
fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    set_validity(&mut params, validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let names = RESERVED.map(|name| GeneralSubtree::DnsName(name.to_owned()));
    let loopback = [
        CidrSubnet::from_addr_prefix(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
        CidrSubnet::from_addr_prefix(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    ];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names
            .into_iter()
            .chain(loopback.map(GeneralSubtree::IpAddress))
            .collect(),
        excluded_subtrees: Vec::new(),
    });
    params
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let at = |instant: Timestamp| {
        let since_1970 = u64::try_from(instant.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(since_1970)
    };
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
}

/// An extension of no meaning, in the arc for examples (RFC 5612 is that of enterprises)
const UNKNOWN: [u64; 9] = [1, 3, 6, 1, 4, 1, 32473, 1, 1];
/// Ten years each way, so that a test may travel
pub(super) const LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
