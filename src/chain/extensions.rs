//! What a certificate's extensions say (RFC 5280 section 4.2), as far as certd asks.

use std::collections::BTreeSet;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    AuthorityInfoAccess, BasicConstraints, DistributionPointName, ExtendedKeyUsage, GeneralName,
    GeneralSubtree, NameConstraints, ParsedExtension, X509Extension,
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

/// A critical extension that rustls's verifier or a browser does not know
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
    /// Mappings of policies, which Chrome knows and Firefox does not
    PolicyMappings,
    /// Where revocations are listed, which the verifier knows and neither browser does
    RevocationLists,
    /// A key identifier, which RFC 5280 sections 4.2.1.1 and 4.2.1.2 never let be critical
    KeyIdentifier,
    /// One that Chrome, Firefox or both do not know
    Unknown,
}

impl CriticalKind {
    /// Whether the verifier reads a certificate with it
    pub const fn is_read(self) -> bool {
        matches!(self, Self::RevocationLists)
    }
}

/// Whether a certificate may issue others (RFC 5280 section 4.2.1.9)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    /// X.509 version 1, which has no place to say it
    Version1,
    /// A later version, and nothing is said
    Absent,
    /// CA:FALSE
    NoAuthority,
    /// CA:TRUE
    Authority {
        /// CAs that may stand between it and a leaf; `None` for any number
        path_length: Option<u32>,
    },
}

/// For which names a CA may issue (RFC 5280 section 4.2.1.10), as far as certd evaluates them
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameLimits {
    /// DNS names below which alone it may issue; empty for all
    pub permitted: Vec<String>,
    /// DNS names below which it may not
    pub excluded: Vec<String>,
    /// Distinguished names in DER below which alone its subjects may lie; empty for all
    pub permitted_subjects: Vec<Vec<u8>>,
    /// Distinguished names in DER below which they may not
    pub excluded_subjects: Vec<Vec<u8>>,
    /// Whether addresses are limited too
    pub limits_addresses: bool,
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
    pub(super) basic: Option<Basic>,
    pub(super) key_id: Option<Vec<u8>>,
    pub(super) issuer_key_id: Option<Vec<u8>>,
    pub(super) name_limits: Option<NameLimits>,
    pub(super) malformed: Option<String>,
    pub(super) key_usage: KeySigns,
    pub(super) purpose: Purpose,
    pub(super) stapling: Stapling,
    pub(super) ca_issuers: Option<String>,
    pub(super) ocsp: Option<String>,
    pub(super) crl: Option<String>,
    pub(super) scts: usize,
}

fn critical_kind(identifier: &str) -> CriticalKind {
    match identifier {
        policies if POLICIES.contains(&policies) => CriticalKind::Policies,
        "2.5.29.14" | "2.5.29.35" => CriticalKind::KeyIdentifier,
        "2.5.29.31" => CriticalKind::RevocationLists,
        "2.5.29.33" => CriticalKind::PolicyMappings,
        _ => CriticalKind::Unknown,
    }
}

impl Extensions {
    pub(super) fn of(x509: &X509Certificate<'_>) -> Self {
        let mut all = Self::default();
        let mut seen = BTreeSet::new();
        for extension in x509.extensions() {
            let identifier = extension.oid.to_id_string();
            let fault = match seen.insert(extension.oid.as_bytes()) {
                true => fault(extension, &identifier),
                false => Some("stands in it twice"),
            };
            if let Some(fault) = fault {
                let name = usual_name(&identifier).unwrap_or(&identifier);
                all.malformed = Some(format!("its {name} extension {fault}"));
            }
            if extension.critical && !KNOWN.contains(&identifier.as_str()) {
                let kind = critical_kind(&identifier);
                all.note(Critical { identifier, kind });
            }
            if fault.is_none() {
                all.read(extension);
            }
        }
        all
    }

    /// Takes from a well-formed extension what it says
    fn read(&mut self, extension: &X509Extension<'_>) {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = KeySigns {
                    signs_handshakes: usage.digital_signature(),
                    signs_certificates: usage.key_cert_sign(),
                };
            }
            ParsedExtension::BasicConstraints(basic) => self.basic = Some(authority(basic)),
            ParsedExtension::SubjectKeyIdentifier(id) => self.key_id = Some(id.0.to_vec()),
            ParsedExtension::AuthorityKeyIdentifier(issuer) => {
                self.issuer_key_id = issuer.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::NameConstraints(names) => {
                self.name_limits = Some(name_limits(names));
            }
            ParsedExtension::ExtendedKeyUsage(usage) => self.purpose = purpose(usage),
            ParsedExtension::AuthorityInfoAccess(access) => {
                self.ca_issuers = url(access, &OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS);
                self.ocsp = url(access, &OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                let names =
                    points
                        .iter()
                        .filter_map(|point| match point.distribution_point.as_ref()? {
                            DistributionPointName::FullName(names) => Some(names),
                            DistributionPointName::NameRelativeToCRLIssuer(_) => None,
                        });
                self.crl = names.flatten().find_map(uri);
            }
            ParsedExtension::SCT(timestamps) => self.scts = timestamps.len(),
            _ if extension.oid.as_bytes() == TLS_FEATURE && extension.value == STATUS_REQUEST => {
                self.stapling = Stapling::Demanded;
            }
            _ => {}
        }
    }
}

impl Extensions {
    /// Keeps a critical extension: one that is refused before one that cannot be judged, and one at
    /// which the verifier stops before one that it reads
    fn note(&mut self, critical: Critical) {
        let rank = |kind: CriticalKind| match kind {
            CriticalKind::Policies => 0,
            CriticalKind::RevocationLists => 1,
            _ => 2,
        };
        let known = self.critical.as_ref();
        if known.is_none_or(|known| rank(known.kind) < rank(critical.kind)) {
            self.critical = Some(critical);
        }
    }
}

/// What is wrong with an extension that browsers or the verifier read
fn fault(extension: &X509Extension<'_>, identifier: &str) -> Option<&'static str> {
    match extension.parsed_extension() {
        ParsedExtension::ParseError { .. } => {
            usual_name(identifier).is_some().then_some("does not parse")
        }
        ParsedExtension::KeyUsage(usage) => (usage.flags == 0).then_some("is empty"),
        ParsedExtension::ExtendedKeyUsage(usage) => {
            let known = [
                usage.any,
                usage.server_auth,
                usage.client_auth,
                usage.code_signing,
                usage.email_protection,
                usage.time_stamping,
                usage.ocsp_signing,
            ];
            (usage.other.is_empty() && !known.contains(&true)).then_some("is empty")
        }
        ParsedExtension::NameConstraints(names) => {
            let subtrees = [&names.permitted_subtrees, &names.excluded_subtrees];
            (subtrees == [&None, &None]).then_some("is empty")
        }
        ParsedExtension::SubjectAlternativeName(names) => {
            let mut names = names.general_names.iter();
            let is_none = names.any(|name| !is_name(name));
            is_none.then_some("holds something that is no name, beside others")
        }
        _ => None,
    }
}

/// Whether browsers read such a name of a SAN
fn is_name(name: &GeneralName<'_>) -> bool {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            text.is_ascii()
        }
        GeneralName::IPAddress(octets) => [4, 16].contains(&octets.len()),
        GeneralName::Invalid(..) => false,
        _ => true,
    }
}

/// The name of an extension without which a browser or the verifier reads no certificate
fn usual_name(identifier: &str) -> Option<&'static str> {
    let mut named = NAMED.iter();
    let (_, name) = named.find(|(known, _)| *known == identifier)?;
    Some(name)
}

fn authority(basic: &BasicConstraints) -> Basic {
    match basic.ca {
        true => Basic::Authority {
            path_length: basic.path_len_constraint,
        },
        false => Basic::NoAuthority,
    }
}

fn name_limits(names: &NameConstraints<'_>) -> NameLimits {
    let names_in = |subtrees| {
        let dns = bases(subtrees).filter_map(|base| match base {
            GeneralName::DNSName(name) => Some(excerpt(name, MOST_OF_URL)),
            _ => None,
        });
        dns.collect()
    };
    let subjects_in = |subtrees| {
        let subjects = bases(subtrees).filter_map(|base| match base {
            GeneralName::DirectoryName(name) => Some(name.as_raw().to_vec()),
            _ => None,
        });
        subjects.collect()
    };
    let (permitted, excluded) = (&names.permitted_subtrees, &names.excluded_subtrees);
    let mut all = bases(permitted).chain(bases(excluded));
    NameLimits {
        permitted: names_in(permitted),
        excluded: names_in(excluded),
        permitted_subjects: subjects_in(permitted),
        excluded_subjects: subjects_in(excluded),
        limits_addresses: all.any(|base| matches!(base, GeneralName::IPAddress(_))),
    }
}

fn bases<'x, 'n>(
    subtrees: &'x Option<Vec<GeneralSubtree<'n>>>,
) -> impl Iterator<Item = &'x GeneralName<'n>> {
    subtrees.iter().flatten().map(|subtree| &subtree.base)
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

/// Extensions that the verifier, Chrome and Firefox know: key usage, SAN, basic constraints, name
/// constraints, extended key usage
const KNOWN: [&str; 5] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.37",
];
/// Extensions that browsers or the verifier read; where revocations are listed the verifier alone
const NAMED: [(&str, &str); 13] = [
    ("1.3.6.1.5.5.7.1.1", "authority information access"),
    ("2.5.29.14", "subject key identifier"),
    ("2.5.29.15", "key usage"),
    ("2.5.29.17", "SAN"),
    ("2.5.29.19", "basic constraints"),
    ("2.5.29.30", "name constraints"),
    ("2.5.29.31", "CRL distribution points"),
    ("2.5.29.32", "certificate policies"),
    ("2.5.29.33", "policy mappings"),
    ("2.5.29.35", "authority key identifier"),
    ("2.5.29.36", "policy constraints"),
    ("2.5.29.37", "extended key usage"),
    ("2.5.29.54", "inhibit any-policy"),
];
/// Certificate policies, their constraints, and the inhibition of any (RFC 5280)
const POLICIES: [&str; 3] = ["2.5.29.32", "2.5.29.36", "2.5.29.54"];
/// 1.3.6.1.5.5.7.1.24 (RFC 7633 section 4)
const TLS_FEATURE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18];
/// A list of the one feature 5, in DER: no CA issues with another
const STATUS_REQUEST: &[u8] = &[0x30, 0x03, 0x02, 0x01, 0x05];
/// Characters that are kept of a URL
const MOST_OF_URL: usize = 500;
