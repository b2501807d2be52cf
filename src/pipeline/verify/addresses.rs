//! The addresses of one name, held against each other.

use super::Number;
use crate::finding::Severity;
use crate::report::verify::EndpointReport;
use crate::verify::judge::{Known, NO_ROUTE, differs};

/// A host without IPv6 cannot judge an IPv6 address: no failure, if the name was reached at the
/// same port by another
pub(super) fn excuse_missing_routes(endpoints: &mut [(Number, EndpointReport)]) {
    let reached: Vec<_> = endpoints
        .iter()
        .filter(|(_, endpoint)| endpoint.certificate.is_some())
        .map(|(_, endpoint)| endpoint.port)
        .collect();
    for (_, endpoint) in endpoints {
        if !endpoint.address.starts_with('[') {
            continue;
        }
        let mut findings = endpoint.findings.iter_mut();
        if let Some(finding) = findings.find(|finding| finding.code == NO_ROUTE)
            && reached.contains(&endpoint.port)
        {
            finding.severity = Severity::Note;
            finding.evidence = format!("not looked at: {}", finding.evidence);
            endpoint.severity = Severity::Note;
        }
    }
}

/// Addresses of one name that show different certificates: visitors get the one or the other
///
/// Where one shows what is installed, the others are to blame. Else none is: the order in which DNS
/// gives addresses says nothing. Of a host that is in no configuration it is a note, as two good
/// certificates are what many a large site has.
pub(super) fn compare_addresses(
    endpoints: &mut [(Number, EndpointReport)],
    installed: Option<&Known>,
) {
    let installed = installed.map(|known| known.fingerprint.to_string());
    let installed = installed.as_deref();
    let shown: Vec<Shown> = endpoints
        .iter()
        .filter_map(|(_, endpoint)| Shown::of(endpoint, installed))
        .collect();
    for (_, endpoint) in endpoints {
        let Some(own) = Shown::of(endpoint, installed) else {
            continue;
        };
        let mut others = shown.iter().filter(|other| {
            (other.port, own.is_installed) == (own.port, false)
                && other.fingerprint != own.fingerprint
        });
        let Some(other) = others
            .clone()
            .find(|other| other.is_installed)
            .or_else(|| others.next())
        else {
            continue;
        };
        let mut finding = differs("it", &own.fingerprint, &other.fingerprint, &other.address);
        if endpoint.domain.is_none() {
            finding.severity = Severity::Note;
        }
        endpoint.severity = endpoint.severity.max(finding.severity);
        endpoint.findings.push(finding);
        endpoint
            .findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    }
}

/// What an endpoint shows
struct Shown {
    port: Option<u16>,
    address: String,
    fingerprint: String,
    is_installed: bool,
}

impl Shown {
    fn of(endpoint: &EndpointReport, installed: Option<&str>) -> Option<Self> {
        let fingerprint = endpoint.certificate.as_ref()?.fingerprint.clone();
        Some(Self {
            port: endpoint.port,
            address: endpoint.address.clone(),
            is_installed: installed == Some(&fingerprint),
            fingerprint,
        })
    }
}
