//! What a certificate's extensions say (RFC 5280 section 4.2), as far as certd asks.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    AuthorityInfoAccess, DistributionPointName, ExtendedKeyUsage, GeneralName, ParsedExtension,
};
use x509_parser::oid_registry::{
    OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS, OID_PKIX_ACCESS_DESCRIPTOR_OCSP, Oid,
};

use crate::finding::excerpt;

/// What a certificate may be used for
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// For servers, or for anything
    #[default]
    Servers,
    /// For other things alone: its extended key usage lacks serverAuth
    Other,
}

/// Whether a certificate demands a stapled OCSP response
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stapling {
    /// It does not
    #[default]
    Optional,
    /// It has the TLS feature `status_request`, known as must-staple
    Demanded,
}

/// A critical extension that rustls's verifier does not know
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Critical {
    /// Its object identifier
    pub identifier: String,
    /// What kind it is of
    pub kind: CriticalKind,
}

/// Which critical extension is unknown
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriticalKind {
    /// Certificate policies and their constraints, which browsers know
    Policies,
    /// One that nobody knows
    Unknown,
}

/// What a key may sign (RFC 5280 section 4.2.1.3): everything, where the extension is absent
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySigns {
    /// digitalSignature
    pub signs_handshakes: bool,
    /// keyCertSign
    pub signs_certificates: bool,
}

impl Default for KeySigns {
    fn default() -> Self {
        Self {
            signs_handshakes: true,
            signs_certificates: true,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) critical: Option<Critical>,
    pub(super) key_usage: KeySigns,
    pub(super) purpose: Purpose,
    pub(super) stapling: Stapling,
    pub(super) ca_issuers: Option<String>,
    pub(super) ocsp: Option<String>,
    pub(super) crl: Option<String>,
    pub(super) scts: usize,
}

impl Extensions {
    pub(super) fn of(x509: &X509Certificate<'_>) -> Self {
        let mut all = Self::default();
        for extension in x509.extensions() {
            let identifier = extension.oid.to_id_string();
            if extension.critical && !KNOWN.contains(&identifier.as_str()) {
                let kind = match POLICIES.contains(&identifier.as_str()) {
                    true => CriticalKind::Policies,
                    false => CriticalKind::Unknown,
                };
                all.critical = Some(Critical { identifier, kind });
            }
            match extension.parsed_extension() {
                ParsedExtension::KeyUsage(usage) => {
                    all.key_usage = KeySigns {
                        signs_handshakes: usage.digital_signature(),
                        signs_certificates: usage.key_cert_sign(),
                    };
                }
                ParsedExtension::ExtendedKeyUsage(usage) => all.purpose = purpose(usage),
                ParsedExtension::AuthorityInfoAccess(access) => {
                    all.ca_issuers = url(access, &OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS);
                    all.ocsp = url(access, &OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
                }
                ParsedExtension::CRLDistributionPoints(points) => {
                    let names = points.iter().filter_map(|point| {
                        match point.distribution_point.as_ref()? {
                            DistributionPointName::FullName(names) => Some(names),
                            DistributionPointName::NameRelativeToCRLIssuer(_) => None,
                        }
                    });
                    all.crl = names.flatten().find_map(uri);
                }
                ParsedExtension::SCT(timestamps) => all.scts = timestamps.len(),
                _ if extension.oid.as_bytes() == TLS_FEATURE
                    && extension.value == STATUS_REQUEST =>
                {
                    all.stapling = Stapling::Demanded;
                }
                _ => {}
            }
        }
        all
    }
}

fn purpose(usage: &ExtendedKeyUsage<'_>) -> Purpose {
    // `anyExtendedKeyUsage` does not count: browsers want serverAuth by name.
    match usage.server_auth {
        true => Purpose::Servers,
        false => Purpose::Other,
    }
}

fn url(access: &AuthorityInfoAccess<'_>, method: &Oid<'_>) -> Option<String> {
    let descriptions = access.accessdescs.iter();
    let mut locations = descriptions
        .filter(|description| description.access_method == *method)
        .map(|description| &description.access_location);
    locations.find_map(uri)
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(url) => Some(excerpt(url, MOST_OF_URL)),
        _ => None,
    }
}

/// Extensions that the verifier knows: key usage, SAN, basic constraints, name constraints, CRL
/// distribution points, extended key usage
const KNOWN: [&str; 6] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.37",
];
/// Certificate policies, their mappings and constraints, and the inhibition of any (RFC 5280)
const POLICIES: [&str; 4] = ["2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54"];
/// 1.3.6.1.5.5.7.1.24 (RFC 7633 section 4)
const TLS_FEATURE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18];
/// A list of the one feature 5, in DER: no CA issues with another
const STATUS_REQUEST: &[u8] = &[0x30, 0x03, 0x02, 0x01, 0x05];
/// Characters that are kept of a URL
const MOST_OF_URL: usize = 500;
