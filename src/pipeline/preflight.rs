//! Looking at the names of a domain before a CA does: DNS, CAA and a token on port 80, for
//! `check`, and for `obtain` before it orders.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::http::Uri;
use futures_util::future::join_all;
use tokio::sync::{OnceCell, Semaphore};

use super::Context;
use super::obtain::Gatekeeper;
use crate::challenge::{OWN, Published};
use crate::config::{Check, Domain, defaults};
use crate::facts::Handshake;
use crate::facts::dns::{Lookup, LookupFailure, RecordKind};
use crate::facts::fetch::{Fetch, Whose};
use crate::finding::Finding;
use crate::name::DnsName;
use crate::net::dns::{DnsError, Resolver};
use crate::net::fetch::Fetcher;
use crate::preflight::caa::{self, Issuing};
use crate::preflight::judge::dns::{IssuerKind, NameFacts, Policy};
use crate::preflight::judge::http::Ipv6;
use crate::preflight::judge::{dns, http};
use crate::preflight::probe::{Doors, Ports, Prober};
use crate::report::check::NameFindings;

/// What looks at names
#[derive(Clone)]
pub struct Scout {
    resolver: Result<Resolver, DnsError>,
    fetcher: Fetcher,
    ports: Ports,
    room: Arc<Semaphore>,
    ipv6: Arc<OnceCell<Ipv6>>,
}

/// What there is to know of a domain beside its configuration
#[derive(Clone, Debug)]
pub struct Known {
    /// Where its challenges are served
    pub(super) served: Served,
    /// Domains that stand for its CA in CAA records
    pub identities: Vec<String>,
    /// Its account there
    pub account: Option<String>,
    /// From where that CA looks
    pub issuer: IssuerKind,
    /// Its directory URL
    pub directory: String,
}

/// Where the challenges of a domain are served
#[derive(Clone, Debug)]
pub(super) struct Served {
    /// Ports 80 and 443 of the containers; empty where none is known
    pub(super) doors: Vec<Doors>,
    /// Where port 80 of each of them is published
    pub(super) inlets: Vec<http::Inlet>,
    /// The webroot as nginx sees it
    pub(super) root: PathBuf,
    /// nginx, where it may be asked: its configuration tells more of what fails
    pub(super) nginx: Option<Gatekeeper>,
}

impl Known {
    /// What there is to know of a domain whose certificate is to come from this issuer
    pub(super) fn new(
        context: &Context<'_>,
        issuer: &str,
        identities: Vec<String>,
        account: Option<String>,
        served: Served,
    ) -> Self {
        Self {
            served,
            identities,
            account,
            issuer: issuer_kind(context, issuer),
            directory: directory_of(context, issuer),
        }
    }
}

impl Scout {
    /// A scout that looks as the configuration says
    pub fn new(context: &Context<'_>) -> Self {
        let (dns, preflight) = (&context.config.dns, &context.config.preflight);
        Self {
            resolver: Resolver::new(&dns.servers, dns.timeout),
            fetcher: Fetcher::new(context.provider.clone(), preflight.timeout),
            ports: Ports {
                http: preflight.http_port,
                https: preflight.https_port,
            },
            room: Arc::new(Semaphore::new(AT_ONCE)),
            ipv6: Arc::default(),
        }
    }

    /// Looks at every name of a domain
    pub async fn examine(&self, domain: &Domain, known: &Known) -> Vec<NameFindings> {
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(error) => return domain.names().map(|name| unusable(name, error)).collect(),
        };
        let token = OnceCell::new();
        let policy = Policy {
            own: &domain.addresses,
            issuer: known.issuer,
        };
        let examining = domain.names().map(async |name| {
            // Nothing closes it.
            let _room = self.room.acquire().await;
            // Not before its turn: the files of all domains at once would be too many.
            let token = token.get_or_init(async || Token::new(domain)).await;
            self.examine_name(resolver, name, &policy, known, token)
                .await
        });
        join_all(examining).await
    }

    async fn examine_name(
        &self,
        resolver: &Resolver,
        name: &DnsName,
        policy: &Policy<'_>,
        known: &Known,
        token: &Token,
    ) -> NameFindings {
        let (a, aaaa, authorities, caa) = tokio::join!(
            resolver.lookup(name.as_str(), RecordKind::A),
            resolver.lookup(name.as_str(), RecordKind::Aaaa),
            resolver.authorities(name.as_str(), defaults::DNS_PORT),
            climb(resolver, name),
        );
        let facts = NameFacts {
            name: name.clone().into(),
            asked: resolver.servers().to_vec(),
            a,
            aaaa,
            authorities,
        };
        let addresses = sought(facts.addresses(policy.issuer), policy.issuer);
        let issuing = Issuing {
            identities: &known.identities,
            account: known.account.as_deref(),
        };
        let http = match &token.published {
            Ok(_) => {
                let fetches = self.fetch(resolver, name, &addresses, known, token).await;
                let site = http::Site {
                    name,
                    token: &token.content,
                    root: &known.served.root,
                    inlets: &known.served.inlets,
                    own: policy.own,
                    ipv6: self.ipv6(resolver, &fetches, known).await,
                    gate: None,
                };
                let found = http::judge(site, &fetches);
                match &known.served.nginx {
                    Some(nginx) if http::asks_for_gate(&found) => {
                        let gate = nginx.gate(name).await;
                        let gate = gate.as_ref();
                        http::judge(http::Site { gate, ..site }, &fetches)
                    }
                    _ => found,
                }
            }
            Err(finding) => vec![finding.clone()],
        };
        let caa = vec![caa::judge(name, &caa, &facts.authorities, &issuing)];
        NameFindings {
            name: name.to_string(),
            checks: BTreeMap::from([
                (Check::Dns, dns::judge(&facts, policy)),
                (Check::Caa, caa),
                (Check::Http, http),
            ]),
        }
    }

    /// Asks for the token at each address, and at each container
    async fn fetch(
        &self,
        resolver: &Resolver,
        name: &DnsName,
        addresses: &[IpAddr],
        known: &Known,
        token: &Token,
    ) -> Vec<Fetch> {
        let (fetcher, resolver) = (self.fetcher.clone(), resolver.clone());
        let prober = &Prober::new(fetcher, resolver, self.ports, known.issuer);
        let public = addresses
            .iter()
            .map(|address| (self.ports.at(*address), Whose::Public));
        let loopback = self.ports.at(Ipv4Addr::LOCALHOST.into());
        let inside: Vec<(Doors, Whose)> = match known.served.doors.as_slice() {
            [] => vec![(loopback, Whose::Loopback)],
            containers => containers
                .iter()
                .map(|doors| (*doors, Whose::Container))
                .collect(),
        };
        let places: Vec<(Doors, Whose)> = public.chain(inside).collect();
        let path = &format!("{CHALLENGES}{}", token.name);
        let asking = places
            .into_iter()
            .map(async |(doors, whose)| prober.probe(name, path, doors, whose).await);
        join_all(asking).await
    }
}

impl Scout {
    /// Applications that are down behind a certificate that is served
    pub async fn applications(&self, handshakes: &[Handshake]) -> Vec<Finding> {
        let answered = handshakes
            .iter()
            .filter(|handshake| handshake.outcome.is_ok());
        let asking = answered.map(async |handshake| {
            let url: Uri = format!("https://{}/", handshake.name).parse().ok()?;
            let reply = self.fetcher.fetch(&url, handshake.address).await.ok()?;
            http::application(&url.to_string(), reply.status, reply.server.as_deref())
        });
        let found = join_all(asking).await;
        let mut findings: Vec<Finding> = found.into_iter().flatten().collect();
        findings.dedup();
        findings
    }

    /// Whether an IPv6 address that does not answer says something
    ///
    /// Where one did not, the CA's own is tried, once for all names.
    async fn ipv6(&self, resolver: &Resolver, fetches: &[Fetch], known: &Known) -> Ipv6 {
        let is_in_doubt =
            |fetch: &Fetch| fetch.address.is_ipv6() && !fetch.is_local && fetch.never_connected();
        if !fetches.iter().any(is_in_doubt) {
            return Ipv6::Usable;
        }
        let look = async || {
            let url: Option<Uri> = known.directory.parse().ok();
            let host = url.as_ref().and_then(Uri::host).unwrap_or_default();
            let port = url
                .as_ref()
                .and_then(Uri::port_u16)
                .unwrap_or(defaults::PORT);
            let found = resolver.lookup(host, RecordKind::Aaaa).await;
            let addresses: Vec<IpAddr> = match &found.outcome {
                Ok(answer) => answer.addresses().take(MOST_ADDRESSES).collect(),
                Err(_) => Vec::new(),
            };
            let trying = addresses
                .iter()
                .map(|address| self.fetcher.connects(SocketAddr::new(*address, port)));
            match join_all(trying).await.as_slice() {
                [] => Ipv6::Usable,
                tried if tried.contains(&true) => Ipv6::Usable,
                _ => Ipv6::Dead,
            }
        };
        *self.ipv6.get_or_init(look).await
    }
}

/// The addresses that a CA goes to: a public one passes over those that nobody can reach, where
/// there are others
///
/// A few of each family: many A records must not hide the IPv6 that a CA tries first.
fn sought(addresses: Vec<IpAddr>, issuer: IssuerKind) -> Vec<IpAddr> {
    let is_public = |address: &IpAddr| dns::scope(*address).is_none();
    let only_public = issuer == IssuerKind::Public && addresses.iter().any(is_public);
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses
        .into_iter()
        .filter(|address| !only_public || is_public(address))
        .partition(IpAddr::is_ipv4);
    let few = |family: Vec<IpAddr>| family.into_iter().take(MOST_ADDRESSES);
    few(v4).chain(few(v6)).collect()
}

/// The CAA lookups of a name and those above it, up to the first that has records
async fn climb(resolver: &Resolver, name: &DnsName) -> Vec<Lookup> {
    let mut lookups = Vec::new();
    for at in caa::tree(name) {
        let lookup = resolver.lookup(at, RecordKind::Caa).await;
        let goes_on = match &lookup.outcome {
            Ok(answer) => answer.records.is_empty(),
            Err(failure) => *failure == LookupFailure::NoSuchName,
        };
        lookups.push(lookup);
        if !goes_on {
            break;
        }
    }
    lookups
}

/// Removes what killed runs left in the webroots of these domains, in each once
///
/// It opens every file of certd's own there: with each token that is published it would look at all
/// the others.
pub(super) fn sweep_webroots<'d>(domains: impl IntoIterator<Item = &'d Domain>) {
    let webroots: BTreeSet<&Path> = domains
        .into_iter()
        .map(|domain| domain.webroot.as_path())
        .collect();
    webroots.into_iter().for_each(Published::sweep);
}

/// A file in the webroot that only certd can have written
struct Token {
    name: String,
    content: String,
    published: Result<Published, Finding>,
}

impl Token {
    fn new(domain: &Domain) -> Self {
        let name = format!("{OWN}check-{}", random_word());
        let content = format!("{name}.{}", random_word());
        let published = Published::publish(&domain.webroot, [(name.as_str(), content.as_str())]);
        Self {
            published: published.map_err(|error| Finding::from_error(&error)),
            name,
            content,
        }
    }
}

/// 64 random bits as text
fn random_word() -> String {
    format!("{:016x}", u64::from_be_bytes(super::random()))
}

/// Without DNS nothing of a name can be checked
fn unusable(name: &DnsName, error: &DnsError) -> NameFindings {
    let finding = Finding::failure("dns.no_server", error.to_string())
        .with_cure("set `[dns] servers` in domains.toml");
    let checks = [Check::Dns, Check::Caa, Check::Http];
    NameFindings {
        name: name.to_string(),
        checks: checks.map(|check| (check, vec![finding.clone()])).into(),
    }
}

/// Whether a failure of this check stops an order
pub(super) fn required(context: &Context<'_>, skip: &BTreeSet<Check>, check: Check) -> bool {
    context.config.preflight.require.contains(&check) && !skip.contains(&check)
}

/// Directory URL of an issuer; empty where there is none
fn directory_of(context: &Context<'_>, issuer: &str) -> String {
    let issuer = context.config.issuers.get(issuer);
    issuer
        .map(|issuer| issuer.directory.clone())
        .unwrap_or_default()
}

/// Whether the CA of this name looks from the internet
pub(super) fn issuer_kind(context: &Context<'_>, issuer: &str) -> IssuerKind {
    let directory = directory_of(context, issuer);
    let mut built_in = defaults::ISSUERS.iter();
    match built_in.any(|(_, known)| directory == *known) {
        true => IssuerKind::Public,
        false => IssuerKind::Private,
    }
}

const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// Names of all domains that are looked at at once: each needs a few dozen sockets
const AT_ONCE: usize = 16;
/// Addresses of one name and one family that are tried
const MOST_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_ca_passes_over_what_it_cannot_reach() {
        #[track_caller]
        fn check(all: &[&str], issuer: IssuerKind, expected: &[&str]) {
            let parse = |texts: &[&str]| -> Vec<IpAddr> {
                let addresses = texts.iter().map(|text| text.parse());
                addresses
                    .map(|address| address.expect("an address"))
                    .collect()
            };
            assert_eq!(sought(parse(all), issuer), parse(expected));
        }
        let mixed = ["1.2.3.4", "10.0.0.1", "fd00::1"];
        check(&mixed, IssuerKind::Public, &mixed[..1]);
        check(&mixed, IssuerKind::Private, &mixed);
        check(&mixed[1..], IssuerKind::Public, &mixed[1..]);
        check(&[], IssuerKind::Public, &[]);
    }
}
