//! `certd verify`: every name at every address, looked at in a fresh handshake and judged.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join3;
use futures_util::stream;
use jiff::Timestamp;

use crate::chain::{Chain, ChainError};
use crate::config::MinRemaining;
use crate::facts::Handshake;
use crate::finding::{Finding, Severity};
use crate::net::dns::{DnsError, Resolver};
use crate::net::hosts::Hosts;
use crate::net::tls::Observer;
use crate::pipeline::defect::caught;
use crate::preflight::judge::dns as dns_judge;
use crate::report::SCHEMA_VERSION;
use crate::report::verify::{EndpointReport, HttpReport, ServedCertificate, VerifyReport};
use crate::verify::judge::{
    Expectation, Moment, WRONG_NAME, judge_chain, judge_parsed, pairing, parse,
};
use crate::verify::path::Trust;

mod addresses;
mod pages;
mod subject;

use addresses::{compare_addresses, excuse_missing_routes};
pub use subject::{Subject, Unusable};

/// What is asked for beside the certificate
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// A page over TLS, and whether this port redirects to it
    Asked {
        /// That of http://
        port: u16,
    },
    /// Nothing
    Left,
}

/// What every certificate must be, beyond what a browser wants
#[derive(Clone, Debug)]
pub struct Demand {
    /// Life below which a warning is given
    pub min_remaining: MinRemaining,
    /// Beginning of its hexadecimal SHA-256
    pub fingerprint: Option<String>,
    /// Words that its issuer's name must hold
    pub issuer: Option<String>,
}

/// How to look
#[derive(Clone)]
pub struct Means {
    /// What this host's programs believe before DNS
    pub hosts: Hosts,
    /// Asks for addresses; where it cannot be had, only names that need it suffer
    pub resolver: Result<Resolver, DnsError>,
    /// Makes handshakes
    pub observer: Observer,
    /// What is asked over HTTP, and with how much time
    pub http: Http,
    /// Time for one connection and handshake, and for one page
    pub timeout: Duration,
    /// Roots that are believed
    pub trust: Trust,
    /// What every certificate must be
    pub demand: Demand,
    /// Endpoints, and names, that are looked at at once; each may take [`FILES_EACH`]
    pub concurrency: usize,
    /// Which instant certificates are judged at
    pub moment: Moment,
}

/// Connections, and so files, that one endpoint or name may take at once: TLS, port 80 and a probe,
/// or questions for two kinds of addresses
pub const FILES_EACH: usize = 3;

impl Means {
    fn expectation<'e>(&'e self, subject: &'e Subject) -> Expectation<'e> {
        Expectation {
            own_names: &subject.own_names,
            sharing: subject.sharing,
            installed: subject.installed.as_ref(),
            fingerprint: self.demand.fingerprint.as_deref(),
            issuer: self.demand.issuer.as_deref(),
            min_remaining: self.demand.min_remaining,
            trust: &self.trust,
            moment: self.moment,
        }
    }
}

/// Looks at all subjects and judges them at `now`
///
/// One slow host delays nobody: each endpoint has its own timeout. What cannot be looked at has a
/// place of its own among the others.
pub async fn verify(
    means: &Means,
    asked: &[Result<Subject, Unusable>],
    now: Timestamp,
) -> VerifyReport {
    let begun = Instant::now();
    let numbered = || asked.iter().enumerate();
    let subjects = numbered().filter_map(|(number, asked)| Some((number, asked.as_ref().ok()?)));
    let mut looks: Vec<(Number, EndpointReport)> = stream::iter(subjects)
        .map(async |(number, subject)| located(means, number, subject).await)
        .buffer_unordered(means.concurrency)
        .flat_map(stream::iter)
        .map(async |place| match place {
            Ok(place) => (place.number, looked_at(means, place, now).await),
            Err(told) => told,
        })
        .buffer_unordered(means.concurrency)
        .collect()
        .await;
    looks.extend(numbered().filter_map(|(subject, asked)| {
        let number = Number {
            subject,
            address: 0,
        };
        Some((number, asked.as_ref().err()?.report()))
    }));
    looks.sort_unstable_by_key(|(number, _)| *number);
    for of_subject in looks.chunk_by_mut(|(one, _), (other, _)| one.subject == other.subject) {
        excuse_missing_routes(of_subject);
        let asked = of_subject
            .first()
            .and_then(|(number, _)| asked.get(number.subject)?.as_ref().ok());
        let installed = asked.and_then(|subject| subject.installed.as_ref()?.live.as_ref());
        compare_addresses(of_subject, installed);
    }
    let endpoints = looks.into_iter().map(|(_, endpoint)| endpoint).collect();
    VerifyReport {
        schema_version: SCHEMA_VERSION,
        command: "verify",
        started: now,
        elapsed: begun.elapsed(),
        endpoints,
    }
}

/// A chain in a file, with its key where that is to be judged too
#[derive(Clone, Debug)]
pub struct OnDisk<'f> {
    /// The file
    pub file: &'f str,
    /// What it holds
    pub chain: Chain,
    /// Public half of the private key beside it, in DER
    pub public_key: Option<Vec<u8>>,
}

/// Judges a chain as if it were served for this subject at `at`; nothing is connected to
pub fn judge_file(
    means: &Means,
    subject: &Subject,
    on_disk: &OnDisk<'_>,
    at: Timestamp,
) -> EndpointReport {
    let expectation = means.expectation(subject);
    let mut findings = judge_chain(&subject.name, &on_disk.chain, &expectation, at);
    let key = on_disk.public_key.as_deref();
    findings.extend(key.map(|key| pairing(&on_disk.chain, key)));
    let mut report = report(subject, on_disk.file.to_owned(), None, findings);
    report.certificate = Some(certificate_of(&on_disk.chain, at));
    report
}

/// Which address of which subject, in the order in which they are told
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number {
    subject: usize,
    address: usize,
}

/// Where a subject is looked at, or why it is nowhere
struct Place<'s> {
    number: Number,
    subject: &'s Subject,
    address: Result<SocketAddr, (u16, DnsError)>,
    /// Whether it stands in the hosts file
    source: Source,
    /// Whether its port is the first of the subject's: the probe goes there, and port 80 is asked
    /// beside it
    is_of_first_port: bool,
}

/// How an address was found
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// It was given, or DNS gave it
    Usual,
    /// By the hosts file, before DNS
    HostsFile,
}

/// The same; a defect of certd that shows there is told in the place of the subject
async fn located<'s>(
    means: &Means,
    number: usize,
    subject: &'s Subject,
) -> Vec<Result<Place<'s>, (Number, EndpointReport)>> {
    match caught(locate(means, number, subject)).await {
        Ok(places) => places.into_iter().map(Ok).collect(),
        Err(defect) => {
            let port = subject.ports.first().copied();
            let at = format!("port {}", port.unwrap_or(crate::config::defaults::PORT));
            let findings = vec![Finding::from_error(&defect)];
            let number = Number {
                subject: number,
                address: 0,
            };
            vec![Err((number, report(subject, at, port, findings)))]
        }
    }
}

/// Observes one place; a defect that shows there hides no other place
async fn looked_at(means: &Means, place: Place<'_>, now: Timestamp) -> EndpointReport {
    let subject = place.subject;
    let (at, port) = match &place.address {
        Ok(address) => (address.to_string(), address.port()),
        Err((port, _)) => (format!("port {port}"), *port),
    };
    let looked = caught(look(means, place, now)).await;
    looked.unwrap_or_else(|defect| {
        report(subject, at, Some(port), vec![Finding::from_error(&defect)])
    })
}

async fn locate<'s>(means: &Means, number: usize, subject: &'s Subject) -> Vec<Place<'s>> {
    let by_hosts = means.hosts.addresses(&subject.host);
    let (source, addresses) = match (subject.connect, by_hosts) {
        (Some(connect), _) => {
            let endpoints = connect.endpoints(&subject.ports).into_iter();
            (Source::Usual, endpoints.map(Ok).collect())
        }
        (None, []) => (Source::Usual, resolve(means, subject).await),
        (None, addresses) => (
            Source::HostsFile,
            at_each_port(subject, &Ok(addresses.to_vec())),
        ),
    };
    let port = |address: &Result<SocketAddr, (u16, DnsError)>| match address {
        Ok(address) => address.port(),
        Err((port, _)) => *port,
    };
    let first = addresses.first().map(port);
    let place = |(place, address)| Place {
        number: Number {
            subject: number,
            address: place,
        },
        subject,
        is_of_first_port: first == Some(port(&address)),
        source,
        address,
    };
    addresses.into_iter().enumerate().map(place).collect()
}

/// Each address that DNS gives at each port
async fn resolve(means: &Means, subject: &Subject) -> Vec<Result<SocketAddr, (u16, DnsError)>> {
    let addresses = match subject.host.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => match &means.resolver {
            Ok(resolver) => resolver.addresses(&subject.host).await,
            Err(error) => Err(error.clone()),
        },
    };
    at_each_port(subject, &addresses)
}

fn at_each_port(
    subject: &Subject,
    addresses: &Result<Vec<IpAddr>, DnsError>,
) -> Vec<Result<SocketAddr, (u16, DnsError)>> {
    let mut places = Vec::new();
    for port in &subject.ports {
        match addresses {
            Ok(addresses) => places.extend(
                addresses
                    .iter()
                    .map(|address| Ok(SocketAddr::new(*address, *port))),
            ),
            Err(error) => places.push(Err((*port, error.clone()))),
        }
    }
    places
}

async fn look(means: &Means, place: Place<'_>, now: Timestamp) -> EndpointReport {
    let subject = place.subject;
    let address = match place.address {
        Ok(address) => address,
        Err((port, error)) => {
            let findings = vec![dns_finding(&subject.host, &error)];
            return report(subject, format!("port {port}"), Some(port), findings);
        }
    };
    let is_asked = place.is_of_first_port && pages::are_asked(means, subject);
    let at_tls = async {
        let met = means.observer.meet(&subject.name, address, subject.opening);
        let (handshake, connection) = met.await;
        let page = pages::over_tls(means, subject, connection).await;
        (handshake, page)
    };
    let probe = async {
        let probe = subject.probe.as_ref().filter(|_| is_asked)?;
        Some(pages::probe(means, probe, address).await)
    };
    let beside = async {
        match is_asked {
            true => pages::redirects_to_https(means, subject, address).await,
            false => None,
        }
    };
    let ((handshake, page), redirects_to_https, probed) = join3(at_tls, beside, probe).await;
    let chain = handshake.outcome.as_ref().ok().map(parse);
    let expectation = means.expectation(subject);
    let mut findings = judge_parsed(&handshake, chain.as_ref(), &expectation, now);
    findings.extend(probed);
    let wrong = findings
        .iter_mut()
        .find(|finding| finding.code == WRONG_NAME);
    if let Some(cure) = wrong.and_then(|wrong| wrong.cure.as_mut()) {
        let place = subject.in_words();
        cure.push_str(&format!(
            "; `certd why {place}` tells which block nginx takes"
        ));
    }
    let (page, date) = page.unwrap_or_default();
    if let (Some(date), Moment::Now) = (date, means.moment) {
        pages::doubt_the_clock(&mut findings, date, now);
    }
    findings.extend(pages::trouble(subject, &page));
    if place.source == Source::HostsFile {
        findings.push(dns_judge::by_hosts_file(&subject.host, &[address.ip()]));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let http = HttpReport {
        redirects_to_https,
        ..page
    };
    EndpointReport {
        certificate: served(&handshake, chain.as_ref(), now),
        http: Some(http).filter(|http| *http != HttpReport::default()),
        elapsed: handshake.elapsed,
        ..report(subject, address.to_string(), Some(address.port()), findings)
    }
}

fn report(
    subject: &Subject,
    address: String,
    port: Option<u16>,
    findings: Vec<Finding>,
) -> EndpointReport {
    EndpointReport {
        name: subject.name.clone(),
        domain: subject.domain.clone(),
        address,
        port,
        origin: subject.origin.clone(),
        severity: findings
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or(Severity::Failure),
        certificate: None,
        http: None,
        findings,
        elapsed: Duration::ZERO,
    }
}

fn dns_finding(name: &str, error: &DnsError) -> Finding {
    let (code, cure) = match error {
        DnsError::NoDescriptor => return Finding::no_descriptor(format!("{name}: {error}")),
        DnsError::NoSuchName => (
            "dns.nxdomain",
            format!("correct the name, or add an A record for {name}"),
        ),
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

/// What was served, and how; `None` where nothing was, or nothing that parses
fn served(
    handshake: &Handshake,
    chain: Option<&Result<Chain, ChainError>>,
    now: Timestamp,
) -> Option<ServedCertificate> {
    let served = handshake.outcome.as_ref().ok()?;
    let chain = chain?.as_ref().ok()?;
    Some(ServedCertificate {
        protocol: served.protocol.clone(),
        cipher: served.cipher.clone(),
        post_quantum: served.key_exchange.contains("MLKEM"),
        key_exchange: served.key_exchange.clone(),
        alpn: served.alpn.clone(),
        ocsp_stapled: served.staple.is_some(),
        ..certificate_of(chain, now)
    })
}

/// What a chain says of itself
fn certificate_of(chain: &Chain, now: Timestamp) -> ServedCertificate {
    let leaf = chain.leaf();
    ServedCertificate {
        common_name: leaf.common_name.clone(),
        names: leaf.names.clone(),
        issuer: leaf.issuer.clone(),
        serial: leaf.serial.clone(),
        fingerprint: leaf.fingerprint.to_string(),
        not_before: leaf.validity.not_before,
        not_after: leaf.validity.not_after,
        remaining_fraction: (leaf.validity.remaining_fraction(now) * 1000.0).round() / 1000.0,
        chain_length: chain.above().len() + 1,
        key: leaf.key.to_string(),
        signature: leaf.signature.name.clone(),
        crl: leaf.crl.clone(),
        ocsp: leaf.ocsp.clone(),
        scts: leaf.scts,
        protocol: String::new(),
        cipher: String::new(),
        key_exchange: String::new(),
        post_quantum: false,
        alpn: None,
        ocsp_stapled: false,
    }
}
