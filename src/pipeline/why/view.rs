//! Each look of `certd why`: at every address that a browser would go to, and at the container's own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::Means;
use super::docker::Search;
use super::seen::{Dns, Look, Nginx, Stored, Whereabouts};
use crate::config::{self, Connect, Domain};
use crate::facts::dns::RecordKind;
use crate::facts::{ConnectFailure, Container, Handshake, Network, Opening, Published};
use crate::finding::Finding;
use crate::name::{DnsName, HostName};
use crate::pipeline::defect::caught;
use crate::preflight::judge::dns::{self as dns_judge, IssuerKind, NameFacts, Policy};
use crate::preflight::probe::is_local;
use crate::target::choice::Inlet;
use crate::target::container::Engine;
use crate::target::endpoint::{Claim, Endpoint, entrances};
use crate::verify::judge::{Expectation, judge};

/// What looks are made with and judged by
pub(super) struct View<'v> {
    pub(super) means: &'v Means<'v>,
    pub(super) name: &'v str,
    pub(super) domain: Option<&'v Domain>,
    pub(super) stored: &'v Stored,
    pub(super) now: Timestamp,
}

impl View<'_> {
    /// What DNS says, and what each address shows
    pub(super) async fn look_outside(
        &self,
        port: u16,
        connect: Option<Connect>,
    ) -> (Dns, Vec<Look>) {
        let (dns, addresses) = self.resolve().await;
        let places: Vec<SocketAddr> = match connect {
            Some(connect) => connect.endpoints(&[port]),
            None => addresses
                .into_iter()
                .take(MOST_ADDRESSES)
                .map(|address| SocketAddr::new(address, port))
                .collect(),
        };
        let looking = places.into_iter().map(|place| self.look_at(place));
        (dns, join_all(looking).await)
    }

    async fn resolve(&self) -> (Dns, Vec<IpAddr>) {
        if let Ok(address) = self.name.parse() {
            return (Dns::Unasked, vec![address]);
        }
        // RFC 6761 section 6.3
        if self.name == "localhost" {
            return (Dns::Unasked, vec![Ipv4Addr::LOCALHOST.into()]);
        }
        let Ok(name) = HostName::parse(self.name) else {
            return (Dns::Unasked, Vec::new());
        };
        // A browser on this host looks there first.
        let by_hosts = self.means.hosts.addresses(self.name);
        if !by_hosts.is_empty() {
            let finding = dns_judge::by_hosts_file(self.name, by_hosts);
            return (Dns::Judged(vec![finding]), by_hosts.to_vec());
        }
        let resolver = match &self.means.resolver {
            Ok(resolver) => resolver,
            Err(error) => {
                let finding = Finding::failure("dns.no_server", error.to_string())
                    .with_cure("set `[dns] servers` in domains.toml");
                return (Dns::Judged(vec![finding]), Vec::new());
            }
        };
        let (a, aaaa) = tokio::join!(
            resolver.lookup(self.name, RecordKind::A),
            resolver.lookup(self.name, RecordKind::Aaaa)
        );
        let facts = NameFacts {
            name,
            asked: resolver.servers().to_vec(),
            a,
            aaaa,
            authorities: Vec::new(),
        };
        // A browser may look from inside, as a private CA does.
        let policy = Policy {
            own: self.domain.map_or(&[], |domain| &domain.addresses),
            issuer: IssuerKind::Private,
        };
        let addresses = facts.addresses(policy.issuer);
        (Dns::Judged(dns_judge::judge(&facts, &policy)), addresses)
    }

    async fn look_at(&self, address: SocketAddr) -> Look {
        self.look_by(address, Opening::Direct).await
    }

    /// A defect of certd that shows at one address hides no other
    async fn look_by(&self, address: SocketAddr, opening: Opening) -> Look {
        match caught(self.meet(address, opening)).await {
            Ok(look) => look,
            Err(defect) => Look {
                address,
                place: self.whereabouts(address),
                handshake: Handshake {
                    name: self.name.to_owned(),
                    address,
                    outcome: Err(ConnectFailure::Handshake(defect.to_string())),
                    elapsed: Duration::ZERO,
                },
                findings: vec![Finding::from_error(&defect)],
            },
        }
    }

    fn whereabouts(&self, address: SocketAddr) -> Whereabouts {
        let listed = self.domain.map_or(&[][..], |domain| &domain.addresses);
        match address.ip() {
            ip if is_local(ip) => Whereabouts::Here,
            ip if listed.contains(&ip.to_canonical()) => Whereabouts::Listed,
            _ => Whereabouts::Unknown,
        }
    }

    async fn meet(&self, address: SocketAddr, opening: Opening) -> Look {
        let own_names: Vec<DnsName> = self
            .domain
            .into_iter()
            .flat_map(Domain::names)
            .cloned()
            .collect();
        let met = self.means.observer.meet(self.name, address, opening).await;
        let handshake = met.0;
        let expectation = Expectation {
            own_names: &own_names,
            sharing: self
                .domain
                .map_or(config::Sharing::Separate, |domain| domain.sharing),
            installed: self.stored.installed.as_ref(),
            min_remaining: self.means.min_remaining,
            ..Expectation::of_browser(&self.means.trust)
        };
        Look {
            address,
            place: self.whereabouts(address),
            findings: judge(&handshake, &expectation, self.now),
            handshake,
        }
    }

    /// What the container shows at the first of its own addresses, and at the others, without those that
    /// were looked at already and those at which nginx need not listen and does not
    pub(super) async fn look_inside(
        &self,
        container: Option<(&Engine, &Container)>,
        own: &[Endpoint],
        looks: &[Look],
    ) -> (Option<Look>, Vec<Look>) {
        let Some((_, container)) = container else {
            return (None, Vec::new());
        };
        let is_known = |endpoint: &Endpoint| {
            let mut looks = looks.iter();
            looks.any(|look| leads_to(container, look, endpoint.address))
        };
        let (known, unknown): (Vec<Endpoint>, Vec<Endpoint>) =
            own.iter().copied().partition(is_known);
        let looking = unknown.iter().map(|one| self.look_at(one.address));
        let mut seen = join_all(looking).await;
        let has_answer = |look: &Look| look.unreached().is_none();
        let is_answered = !known.is_empty() || seen.iter().any(has_answer);
        let must_answer = |look: &Look| {
            let mut own = unknown.iter();
            own.any(|one| one.address == look.address && one.claim == Claim::Published)
        };
        match is_answered {
            true => seen.retain(|look| has_answer(look) || must_answer(look)),
            false => seen.truncate(1),
        }
        let is_first_known = known
            .first()
            .is_some_and(|known| Some(known) == own.first());
        let beside = seen.split_off(usize::from(!is_first_known).min(seen.len()));
        (seen.pop(), beside)
    }

    /// The same looks, those again as a balancer at which nginx awaits one
    pub(super) async fn as_balancer(
        &self,
        nginx: Option<&Result<Nginx, Finding>>,
        mut looks: Vec<Look>,
        mut inside: Option<Look>,
        mut beside: Vec<Look>,
    ) -> (Vec<Look>, Option<Look>, Vec<Look>) {
        if let Some(Ok(nginx)) = nginx {
            let awaits = |look: &Look| {
                matches!(look.handshake.outcome, Err(ConnectFailure::Reset))
                    && nginx.configured.awaits_header(look.address)
            };
            for look in inside
                .iter_mut()
                .chain(&mut beside)
                .filter(|look| awaits(look))
            {
                *look = self.look_by(look.address, Opening::Proxied).await;
            }
            // Visitors have no such header.
            let closed = looks.iter_mut().filter(|look| awaits(look));
            for finding in closed.flat_map(|look| &mut look.findings) {
                finding.cure = Some(AWAITS_BALANCER.to_owned());
            }
        }
        (looks, inside, beside)
    }

    pub(super) async fn read_nginx(
        &self,
        container: Option<(&Engine, &Container)>,
        inlet: u16,
        looks: &[Look],
        inside: &[&Look],
    ) -> Option<Result<Nginx, Finding>> {
        let (engine, container) = container?;
        let search = Search {
            engine,
            container,
            nginx: self.domain.and_then(|domain| domain.nginx.as_ref()),
            domains: self.means.config.map_or(&[][..], |config| &config.domains),
            name: self.name,
            lineage: self.domain.map_or(self.name, |domain| domain.name.as_str()),
            storage: self
                .means
                .config
                .map_or_else(|| Path::new(""), |config| &config.storage),
            inlets: inlets(container, inlet, looks, inside),
            shown: inside
                .iter()
                .copied()
                .chain(looks)
                .filter_map(|look| Some(look.leaf()?.fingerprint))
                .collect(),
            stored: self.stored,
        };
        let found = caught(search.run()).await;
        Some(found.unwrap_or_else(|defect| Err(Finding::from_error(&defect))))
    }
}

/// Where nginx sees connections come in, each family by itself, IPv4 first; at least one
///
/// In the network of the host these are the host's own that were looked at: Docker knows none.
/// Loopback stands for them where there is none.
fn inlets(container: &Container, port: u16, looks: &[Look], inside: &[&Look]) -> Vec<Inlet> {
    let is_own = |look: &&Look| match container.network {
        Network::Host => look.place == Whereabouts::Here,
        Network::Own => takes(container, look) || container.addresses.contains(&look.address.ip()),
    };
    let entrances_of = |looks: &mut dyn Iterator<Item = &Look>| -> BTreeSet<IpAddr> {
        let found = looks.flat_map(|look| entrances(container, look.address.ip()));
        found.collect()
    };
    let by_looks = entrances_of(&mut looks.iter().filter(is_own));
    let by_inside = entrances_of(&mut inside.iter().copied());
    let none = by_looks.is_empty() && by_inside.is_empty();
    let docker = container.addresses.iter().filter(|_| none);
    let by_docker: BTreeSet<IpAddr> = docker.copied().collect();
    let of_family = |is_meant: fn(&IpAddr) -> bool| {
        let all = [&by_looks, &by_inside, &by_docker].into_iter();
        let mut all = all.map(|ips| ips.iter().copied().filter(is_meant).collect::<Vec<_>>());
        all.find(|ips| !ips.is_empty())
    };
    let families = [of_family(IpAddr::is_ipv4), of_family(IpAddr::is_ipv6)];
    let inlets = families.into_iter().flatten();
    let mut inlets: Vec<Inlet> = inlets.map(|addresses| Inlet { addresses, port }).collect();
    if inlets.is_empty() {
        let addresses = Vec::new();
        inlets.push(Inlet { addresses, port });
    }
    inlets
}

/// Whether a look shows what nginx shows to those who come to one of the container's own addresses
fn leads_to(container: &Container, look: &Look, own: SocketAddr) -> bool {
    let [seen, ip] = [look.address.ip(), own.ip()];
    let is_same = match container.network {
        Network::Own => {
            takes(container, look) && entrances(container, seen) == entrances(container, ip)
        }
        Network::Host => look.place == Whereabouts::Here && seen.is_ipv6() && ip.is_ipv6(),
    };
    look.address == own || is_same
}

/// Whether a look went to a port of this host that the container publishes, and was answered
fn takes(container: &Container, look: &Look) -> bool {
    let is_published = |published: &Published| {
        let host = published.host;
        let is_meant = host.ip() == look.address.ip()
            || (host.ip().is_unspecified() && look.place == Whereabouts::Here);
        is_meant && host.port() == look.address.port()
    };
    container.published.iter().any(is_published) && look.unreached().is_none()
}

/// What to do where nginx closes what visitors send
const AWAITS_BALANCER: &str = "nginx awaits a balancer there (`listen ... proxy_protocol`): lead the name to the balancer, or take `proxy_protocol` out of that `listen`";
/// Addresses that are looked at
const MOST_ADDRESSES: usize = 8;
