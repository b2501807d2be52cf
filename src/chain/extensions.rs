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

#[derive(Debug, Default)]
pub(super) struct Extensions {
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
            match extension.parsed_extension() {
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

/// 1.3.6.1.5.5.7.1.24 (RFC 7633 section 4)
const TLS_FEATURE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18];
/// A list of the one feature 5, in DER: no CA issues with another
const STATUS_REQUEST: &[u8] = &[0x30, 0x03, 0x02, 0x01, 0x05];
/// Characters that are kept of a URL
const MOST_OF_URL: usize = 500;
