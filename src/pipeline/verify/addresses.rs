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
/// One that is better than another is not to blame for the difference: what is installed, then what a
/// browser takes. Between equals neither is: the order in which DNS gives addresses says nothing. Of a
/// host that is in no configuration it is a note, as two good certificates are what many a large site
/// has.
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
        let others = shown.iter().rev().filter(|other| {
            other.port == own.port
                && other.fingerprint != own.fingerprint
                && other.standing >= own.standing
        });
        // Of several of one standing the first that DNS gives: `max_by_key` takes the last.
        let Some(other) = others.max_by_key(|other| other.standing) else {
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
    standing: Standing,
}

/// How good what an endpoint shows is
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Browsers refuse it
    Refused,
    /// Browsers take it
    Taken,
    /// It is what is installed
    Installed,
}

impl Shown {
    fn of(endpoint: &EndpointReport, installed: Option<&str>) -> Option<Self> {
        let fingerprint = endpoint.certificate.as_ref()?.fingerprint.clone();
        Some(Self {
            port: endpoint.port,
            address: endpoint.address.clone(),
            standing: match endpoint.severity {
                _ if installed == Some(&fingerprint) => Standing::Installed,
                Severity::Failure => Standing::Refused,
                Severity::Ok | Severity::Note | Severity::Warning => Standing::Taken,
            },
            fingerprint,
        })
    }
}
