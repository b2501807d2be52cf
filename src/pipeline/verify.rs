//! `certd verify`: every name at every address, looked at in a fresh handshake and judged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;

use crate::chain::Chain;
use crate::config::{Connect, Domain, MinRemaining, Sharing};
use crate::facts::{Handshake, Served};
use crate::finding::{Finding, Severity};
use crate::name::DnsName;
use crate::net::dns::{DnsError, Resolver};
use crate::net::tls::Observer;
use crate::report::SCHEMA_VERSION;
use crate::report::verify::{EndpointReport, ServedCertificate, VerifyReport};
use crate::verify::judge::{Expectation, Installed, NO_ROUTE, judge};
use crate::verify::path::Trust;

/// One name to be looked at
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name or IP address that is asked for
    pub name: String,
    /// Ports
    pub ports: Vec<u16>,
    /// Where to connect instead of the addresses that DNS gives
    pub connect: Option<Connect>,
    /// The domain's own names; empty for a host that is in no configuration
    pub own_names: Vec<DnsName>,
    /// Primary name of the domain
    pub domain: Option<String>,
    /// Whether another lineage's certificate is accepted
    pub sharing: Sharing,
    /// What the storage holds, where it can be read
    pub installed: Option<Installed>,
}

impl Subject {
    /// A host that is in no configuration
    pub fn host(name: String, port: u16) -> Self {
        Self {
            name,
            ports: vec![port],
            connect: None,
            own_names: Vec::new(),
            domain: None,
            sharing: Sharing::Separate,
            installed: None,
        }
    }

    /// One name of a domain
    pub fn of_domain(domain: &Domain, name: &DnsName, installed: Option<Installed>) -> Self {
        Self {
            name: name.to_string(),
            ports: domain.ports.clone(),
            connect: domain.connect,
            own_names: domain.names().cloned().collect(),
            domain: Some(domain.name.to_string()),
            sharing: domain.sharing,
            installed,
        }
    }
}

/// How to look
#[derive(Clone)]
pub struct Means {
    /// Asks for addresses; where it cannot be had, only names that need it suffer
    pub resolver: Result<Resolver, DnsError>,
    /// Makes handshakes
    pub observer: Observer,
    /// Roots that are believed
    pub trust: Trust,
    /// Life below which a warning is given
    pub min_remaining: MinRemaining,
    /// Connections at once
    pub concurrency: usize,
}

/// Looks at all subjects and judges them at `now`
///
/// One slow host delays nobody: each endpoint has its own timeout.
pub async fn verify(means: &Means, subjects: &[Subject], now: Timestamp) -> VerifyReport {
    let begun = Instant::now();
    let places: Vec<Place<'_>> = stream::iter(subjects)
        .map(|subject| locate(means, subject))
        .buffered(means.concurrency)
        .flat_map(stream::iter)
        .collect()
        .await;
    let mut endpoints: Vec<EndpointReport> = stream::iter(places)
        .map(|place| look(means, place, now))
        .buffered(means.concurrency)
        .collect()
        .await;
    excuse_missing_routes(&mut endpoints);
    VerifyReport {
        schema_version: SCHEMA_VERSION,
        command: "verify",
        started: now,
        elapsed: begun.elapsed(),
        endpoints,
    }
}

/// Where a subject is looked at, or why it is nowhere
struct Place<'s> {
    subject: &'s Subject,
    address: Result<SocketAddr, (u16, DnsError)>,
}

async fn locate<'s>(means: &Means, subject: &'s Subject) -> Vec<Place<'s>> {
    let place = |address| Place { subject, address };
    if let Some(connect) = subject.connect {
        let endpoints = connect.endpoints(&subject.ports);
        return endpoints
            .into_iter()
            .map(|address| place(Ok(address)))
            .collect();
    }
    let addresses = match subject.name.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => match &means.resolver {
            Ok(resolver) => resolver.addresses(&subject.name).await,
            Err(error) => Err(error.clone()),
        },
    };
    let mut places = Vec::new();
    for port in &subject.ports {
        match &addresses {
            Ok(addresses) => places.extend(
                addresses
                    .iter()
                    .map(|address| place(Ok(SocketAddr::new(*address, *port)))),
            ),
            Err(error) => places.push(place(Err((*port, error.clone())))),
        }
    }
    places
}

async fn look(means: &Means, place: Place<'_>, now: Timestamp) -> EndpointReport {
    let subject = place.subject;
    let address = match place.address {
        Ok(address) => address,
        Err((port, error)) => {
            let findings = vec![dns_finding(&subject.name, &error)];
            return report(
                subject,
                format!("port {port}"),
                findings,
                None,
                Duration::ZERO,
            );
        }
    };
    let handshake = means.observer.observe(&subject.name, address).await;
    let expectation = Expectation {
        own_names: &subject.own_names,
        sharing: subject.sharing,
        installed: subject.installed.as_ref(),
        min_remaining: means.min_remaining,
        trust: &means.trust,
    };
    let findings = judge(&handshake, &expectation, now);
    let certificate = served(&handshake, now);
    report(
        subject,
        address.to_string(),
        findings,
        certificate,
        handshake.elapsed,
    )
}

/// A host without IPv6 cannot judge an IPv6 address: no failure, if the name was reached at the
/// same port by another
fn excuse_missing_routes(endpoints: &mut [EndpointReport]) {
    let place = |endpoint: &EndpointReport| {
        let port = endpoint.address.rsplit(':').next().map(ToOwned::to_owned);
        (endpoint.name.clone(), port)
    };
    let reached: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.certificate.is_some())
        .map(place)
        .collect();
    for endpoint in endpoints {
        let excused = endpoint.address.starts_with('[') && reached.contains(&place(endpoint));
        if let [finding] = endpoint.findings.as_mut_slice()
            && finding.code == NO_ROUTE
            && excused
        {
            finding.severity = Severity::Note;
            endpoint.severity = Severity::Note;
        }
    }
}

fn report(
    subject: &Subject,
    address: String,
    findings: Vec<Finding>,
    certificate: Option<ServedCertificate>,
    elapsed: Duration,
) -> EndpointReport {
    EndpointReport {
        name: subject.name.clone(),
        domain: subject.domain.clone(),
        address,
        severity: findings
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or(Severity::Failure),
        certificate,
        findings,
        elapsed,
    }
}

fn dns_finding(name: &str, error: &DnsError) -> Finding {
    let (code, cure) = match error {
        DnsError::NoSuchName => ("dns.nxdomain", format!("add an A record for {name}")),
        DnsError::NoAddress => ("dns.no_address", format!("add an A record for {name}")),
        DnsError::TimedOut => (
            "dns.timeout",
            "is a DNS server reachable from here? `[dns] servers` names others".to_owned(),
        ),
        DnsError::Failed(_) | DnsError::Configuration(_) => (
            "dns.failed",
            "ask another server: `[dns] servers` in domains.toml".to_owned(),
        ),
    };
    Finding::failure(code, format!("{name}: {error}")).with_cure(cure)
}

fn served(handshake: &Handshake, now: Timestamp) -> Option<ServedCertificate> {
    let Served {
        chain,
        protocol,
        cipher,
        ..
    } = handshake.outcome.as_ref().ok()?;
    let parsed = Chain::from_der(chain.clone()).ok()?;
    let leaf = parsed.leaf();
    Some(ServedCertificate {
        common_name: leaf.common_name.clone(),
        names: leaf.names.clone(),
        issuer: leaf.issuer.clone(),
        serial: leaf.serial.clone(),
        fingerprint: leaf.fingerprint.to_string(),
        not_before: leaf.validity.not_before,
        not_after: leaf.validity.not_after,
        remaining_fraction: (leaf.validity.remaining_fraction(now) * 1000.0).round() / 1000.0,
        chain_length: chain.len(),
        protocol: protocol.clone(),
        cipher: cipher.clone(),
    })
}
