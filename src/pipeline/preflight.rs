//! Looking at the names of a domain before a CA does: DNS, CAA and a token on port 80, for
//! `check`, and for `obtain` before it orders.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use super::Context;
use crate::challenge::Published;
use crate::config::{Check, Domain, defaults};
use crate::facts::dns::{Lookup, LookupFailure, RecordKind};
use crate::facts::fetch::{Fetch, Whose};
use crate::finding::Finding;
use crate::name::DnsName;
use crate::net::dns::{DnsError, Resolver};
use crate::net::fetch::Fetcher;
use crate::preflight::caa::{self, Issuing};
use crate::preflight::judge::dns::{IssuerKind, NameFacts, Policy};
use crate::preflight::judge::{dns, http};
use crate::preflight::probe::{Doors, Ports, Prober};
use crate::report::check::NameFindings;

/// What looks at names
#[derive(Clone)]
pub struct Scout {
    resolver: Result<Resolver, DnsError>,
    fetcher: Fetcher,
    ports: Ports,
}

/// What there is to know of a domain beside its configuration
#[derive(Clone, Debug)]
pub struct Known {
    /// Ports 80 and 443 of the containers that serve it
    pub containers: Vec<Doors>,
    /// Domains that stand for its CA in CAA records
    pub identities: Vec<String>,
    /// Its account there
    pub account: Option<String>,
    /// From where that CA looks
    pub issuer: IssuerKind,
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
        }
    }

    /// Looks at every name of a domain
    pub async fn examine(&self, domain: &Domain, known: &Known) -> Vec<NameFindings> {
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(error) => return domain.names().map(|name| unusable(name, error)).collect(),
        };
        let token = Token::new(domain);
        let policy = Policy {
            own: &domain.addresses,
            issuer: known.issuer,
        };
        let names: Vec<&DnsName> = domain.names().collect();
        stream::iter(names)
            .map(|name| self.examine_name(resolver, name, &policy, known, &token))
            .buffered(AT_ONCE)
            .collect()
            .await
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
        let addresses: Vec<IpAddr> = [&a, &aaaa]
            .into_iter()
            .filter_map(|lookup| lookup.outcome.as_ref().ok())
            // For each family alone: many A records must not hide the IPv6 that a CA tries first.
            .flat_map(|answer| answer.addresses().take(MOST_ADDRESSES))
            .collect();
        let addresses = sought(addresses, policy.issuer);
        let facts = NameFacts {
            name: name.clone(),
            a,
            aaaa,
            authorities,
        };
        let issuing = Issuing {
            identities: &known.identities,
            account: known.account.as_deref(),
        };
        let http = match &token.published {
            Ok(_) => {
                let fetches = self.fetch(resolver, name, &addresses, known, token).await;
                http::judge(name, &token.content, &fetches)
            }
            Err(finding) => vec![finding.clone()],
        };
        let caa = vec![caa::judge(name, &caa, &issuing)];
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
        let prober = &Prober::new(self.fetcher.clone(), resolver.clone(), self.ports);
        let public = addresses
            .iter()
            .map(|address| (self.ports.at(*address), Whose::Public));
        let containers = known
            .containers
            .iter()
            .map(|doors| (*doors, Whose::Container));
        let places: Vec<(Doors, Whose)> = public.chain(containers).collect();
        let path = &format!("{CHALLENGES}{}", token.name);
        let asking = places
            .into_iter()
            .map(async |(doors, whose)| prober.probe(name, path, doors, whose).await);
        join_all(asking).await
    }
}

/// The addresses that a CA goes to: a public one passes over those that nobody can reach, where
/// there are others
fn sought(addresses: Vec<IpAddr>, issuer: IssuerKind) -> Vec<IpAddr> {
    let is_public = |address: &IpAddr| dns::scope(*address).is_none();
    match issuer {
        IssuerKind::Public if addresses.iter().any(is_public) => {
            addresses.into_iter().filter(is_public).collect()
        }
        _ => addresses,
    }
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

/// A file in the webroot that only certd can have written
struct Token {
    name: String,
    content: String,
    published: Result<Published, Finding>,
}

impl Token {
    fn new(domain: &Domain) -> Self {
        let name = format!("certd-check-{}", random());
        let content = format!("{name}.{}", random());
        let published = Published::publish(&domain.webroot, [(name.as_str(), content.as_str())]);
        Self {
            published: published.map_err(|error| Finding::from_error(&error)),
            name,
            content,
        }
    }
}

/// 64 random bits as text
fn random() -> String {
    let mut bytes = [0; 8];
    // The library documents no failure of its generator that it survives.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn unusable(name: &DnsName, error: &DnsError) -> NameFindings {
    let finding = Finding::failure("dns.no_server", error.to_string())
        .with_cure("set `[dns] servers` in domains.toml");
    NameFindings {
        name: name.to_string(),
        checks: BTreeMap::from([(Check::Dns, vec![finding])]),
    }
}

/// Whether the CA of this name looks from the internet
pub(super) fn issuer_kind(context: &Context<'_>, issuer: &str) -> IssuerKind {
    let directory = context
        .config
        .issuers
        .get(issuer)
        .map(|issuer| issuer.directory.as_str());
    let mut built_in = defaults::ISSUERS.iter();
    match built_in.any(|(_, known)| directory == Some(*known)) {
        true => IssuerKind::Public,
        false => IssuerKind::Private,
    }
}

const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// Names that are looked at at once
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
