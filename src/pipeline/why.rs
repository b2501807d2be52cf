//! `certd why`: every link between a name and its certificate, looked at from the top.
//!
//! Facts are gathered first and judged afterwards. Nothing is written, ordered or reloaded, no lock
//! is taken, and no key is read.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::chain::Certificate;
use crate::config::{self, Config, Connect, Domain, MinRemaining};
use crate::facts::dns::RecordKind;
use crate::facts::{ConnectFailure, Container, Handshake, Network, Opening, Published};
use crate::finding::{Finding, Severity};
use crate::name::{DnsName, HostName};
use crate::net::dns::{DnsError, Resolver};
use crate::net::hosts::Hosts;
use crate::net::tls::Observer;
use crate::pipeline::defect::caught;
use crate::pipeline::installed::{expected_of, known_certificates};
use crate::pipeline::obtain::stopped::Supply;
use crate::pipeline::obtain::{Way, way_to};
use crate::preflight::judge::dns::{self as dns_judge, IssuerKind, NameFacts, Policy};
use crate::preflight::probe::is_local;
use crate::report::SCHEMA_VERSION;
use crate::report::why::WhyReport;
use crate::store::Store;
use crate::store::lineage::LineageError;
use crate::target::choice::Inlet;
use crate::target::container::Engine;
use crate::target::endpoint::{Claim, Endpoint, container_port, endpoints, entrances};
use crate::time::Fraction;
use crate::verify::judge::{Expectation, NO_ROUTE, judge};
use crate::verify::path::Trust;

mod cure;
mod docker;
mod inner;
mod judge;
mod outer;
mod seen;
mod served;

use docker::Search;
use seen::{
    Chosen, ConfigFile, Dns, Listener, Look, Next, Nginx, Presence, Seen, Stored, Whereabouts,
};

/// What is asked about
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name as A-label, or an IP address
    pub name: String,
    /// The name as it was typed
    pub typed: String,
    /// Port on which a browser connects; `None` for the domain's own
    pub port: Option<u16>,
}

/// How to look
pub struct Means<'c> {
    /// domains.toml, where there is one
    pub config: Option<&'c Config>,
    /// What this host's programs believe before DNS
    pub hosts: Hosts,
    /// Asks for addresses
    pub resolver: Result<Resolver, DnsError>,
    /// Makes handshakes
    pub observer: Observer,
    /// Roots that are believed
    pub trust: Trust,
    /// Life below which a warning is given
    pub min_remaining: MinRemaining,
    /// Docker API that is asked where no `[nginx]` names one
    pub docker: String,
}

/// Looks at every link between a name and its certificate, and judges them at `now`
///
/// Each look has its own timeout, and a link that cannot be seen stops no other.
pub async fn why(means: &Means<'_>, question: &Question, now: Timestamp) -> WhyReport {
    let begun = Instant::now();
    let seen = look(means, question, now).await;
    let steps = judge::steps(&seen, now);
    let port = seen.port;
    WhyReport {
        schema_version: SCHEMA_VERSION,
        command: "why",
        started: now,
        elapsed: begun.elapsed(),
        url: url(&question.name, port),
        name: question.name.clone(),
        port,
        domain: seen.domain.map(|domain| domain.name.to_string()),
        change: judge::change(&steps),
        verdict: judge::verdict(&seen),
        steps,
    }
}

fn url(name: &str, port: u16) -> String {
    let host = match name.contains(':') {
        true => format!("[{name}]"),
        false => name.to_owned(),
    };
    match port {
        config::defaults::PORT => format!("https://{host}/"),
        port => format!("https://{host}:{port}/"),
    }
}

async fn look<'q>(means: &Means<'q>, question: &'q Question, now: Timestamp) -> Seen<'q> {
    let name = question.name.as_str();
    let domain = means.domain(name);
    let ports = domain.map_or(&[][..], |domain| &domain.ports);
    let usual = ports.first().copied().unwrap_or(config::defaults::PORT);
    let port = question.port.unwrap_or(usual);
    let connect = domain.and_then(|domain| domain.connect);
    let connect = connect.filter(|_| ports.contains(&port));
    let stored = domain.map(|domain| means.stored(domain, now));
    let stored = stored.unwrap_or_default();
    let view = View {
        means,
        name,
        domain,
        stored: &stored,
        now,
    };
    let outside = connect.and_then(|connect| connect.port).unwrap_or(port);
    let nginx = domain.and_then(|domain| domain.nginx.as_ref());
    let store = means.store();
    let supply = store.as_ref().map(|store| Supply {
        store,
        domains: means.domains_of(nginx),
    });
    let ((dns, looks), (engine, listener)) = tokio::join!(
        view.look_outside(port, connect),
        docker::find(means.docker_api(), nginx, outside, supply.as_ref())
    );
    let inlet = listener
        .container()
        .map_or(port, |container| container_port(container, outside));
    let container = engine.as_ref().zip(listener.container());
    let (open, barred) = reachable(means, container, inlet).await;
    let (inside, beside) = view.look_inside(container, &open, &looks).await;
    let own: Vec<&Look> = inside.iter().chain(&beside).collect();
    let nginx = view.read_nginx(container, inlet, &looks, &own).await;
    let (mut looks, inside, beside) = view
        .as_balancer(nginx.as_ref(), looks, inside, beside)
        .await;
    // A container that has nothing at the port is not the one that listens there.
    let is_none = matches!(&nginx, Some(Ok(nginx)) if matches!(nginx.chosen, Chosen::Nobody(_)));
    let is_none = is_none || matches!(&nginx, Some(Err(_)));
    let (listener, inside, barred, nginx) = match listener {
        Listener::Perhaps(container) if is_none => {
            (Listener::Hidden(vec![container.name]), None, None, None)
        }
        listener => (listener, inside, barred, nginx),
    };
    judge::allow_for_proxies(&mut looks, inside.as_ref());
    judge::excuse(&mut looks, NO_ROUTE);
    if listener.container().is_some_and(is_open) {
        excuse_hairpins(&mut looks, inside.as_ref());
    }
    Seen {
        name,
        typed: &question.typed,
        port,
        file: means
            .config
            .map_or(ConfigFile::Absent, |_| ConfigFile::Read),
        domain,
        dns,
        connect,
        looks,
        inside,
        beside,
        barred,
        listener,
        inlet,
        nginx,
        stored,
    }
}

/// The addresses of a container that this host can reach, and the finding for those that it cannot
async fn reachable(
    means: &Means<'_>,
    container: Option<(&Engine, &Container)>,
    inlet: u16,
) -> (Vec<Endpoint>, Option<Finding>) {
    let Some((engine, container)) = container else {
        return (Vec::new(), None);
    };
    let (mut open, mut barred) = (Vec::new(), None);
    for endpoint in endpoints(container, inlet, engine.address()) {
        match way_to(engine, &means.observer, container, endpoint.address).await {
            Way::Open | Way::Closed => open.push(endpoint),
            Way::Barred(why) => {
                let (name, address) = (&container.name, endpoint.address);
                let evidence = format!("this host cannot connect to {name} at {address}: {why}");
                barred = barred.or_else(|| Some(Finding::note("target.no_route", evidence)));
            }
        }
    }
    (open, barred)
}

/// Whether others than this host can connect to a container
fn is_open(container: &Container) -> bool {
    let mut ports = container.published.iter();
    container.network == Network::Host || ports.any(|port| !port.host.ip().is_loopback())
}

/// A router may not turn packets back to this host's own public address
fn excuse_hairpins(looks: &mut [Look], inside: Option<&Look>) {
    if !inside.is_some_and(Look::is_right) {
        return;
    }
    let listed = looks
        .iter_mut()
        .filter(|look| look.place == Whereabouts::Listed && look.unreached().is_some());
    for finding in listed.flat_map(|look| &mut look.findings) {
        finding.severity = finding.severity.min(Severity::Note);
    }
}

impl<'c> Means<'c> {
    /// The domain that a name belongs to
    fn domain(&self, name: &str) -> Option<&'c Domain> {
        let mut domains = self.config?.domains.iter();
        domains.find(|domain| domain.names().any(|own| own.as_str() == name))
    }

    /// The engine that is asked about a name of no domain: that of the first `[nginx]`
    fn docker_api(&self) -> &str {
        let mut domains = self.config.iter().flat_map(|config| &config.domains);
        let nginx = domains.find_map(|domain| domain.nginx.as_ref());
        nginx.map_or(&self.docker, |nginx| &nginx.docker)
    }

    fn store(&self) -> Option<Store> {
        let config = self.config?;
        Some(Store::for_reading(&config.storage, &config.state))
    }

    /// The domains that this nginx serves; all where none is named
    fn domains_of(&self, nginx: Option<&config::Nginx>) -> Vec<&DnsName> {
        let domains = self.config.iter().flat_map(|config| &config.domains);
        let served = domains.filter(|domain| nginx.is_none() || domain.nginx.as_ref() == nginx);
        served.map(|domain| &domain.name).collect()
    }

    /// What the storage holds for a domain
    fn stored(&self, domain: &Domain, now: Timestamp) -> Stored {
        let (Some(config), Some(store)) = (self.config, self.store()) else {
            return Stored::default();
        };
        let problem = store.lineage_names().err();
        let known = known_certificates(&store);
        let (live, foreign) = match store.live(&domain.name) {
            Ok(live) => (live, None),
            Err(error @ LineageError::Foreign { .. }) => (None, Some(Finding::from_error(&error))),
            Err(_) => (None, None),
        };
        let live = live.and_then(|live| store.certificate(&domain.name, live).ok());
        let live = live.map(|live| live.chain.leaf().clone());
        let generations = store.generations(&domain.name).unwrap_or_default();
        let newest = generations.last().copied();
        let next = match (&live, newest) {
            (Some(live), _) if live.validity.not_after <= now => Next::Order,
            (Some(live), _) if is_near(live, config.renewal_fraction, now) => Next::Either,
            (None, None) => Next::Order,
            _ => Next::Deploy,
        };
        Stored {
            storage: config.storage.clone(),
            presence: match config.storage.is_dir() {
                true => Presence::Here,
                false => Presence::Absent,
            },
            installed: expected_of(&store, &known, &domain.name),
            live,
            newest,
            next,
            foreign,
            known,
            problem: problem.map(|error| Finding::from_error(&error)),
        }
    }
}

/// Whether a certificate may be renewed by a run of now
///
/// A CA may suggest a time that comes before the one that its life gives.
fn is_near(live: &Certificate, fraction: Fraction, now: Timestamp) -> bool {
    let life = live
        .validity
        .not_after
        .duration_since(live.validity.not_before);
    let left = live.validity.not_after.duration_since(now);
    left.as_secs_f64() < life.as_secs_f64() * (fraction.as_f64().max(0.5) + 0.1)
}

/// What looks are made with and judged by
struct View<'v> {
    means: &'v Means<'v>,
    name: &'v str,
    domain: Option<&'v Domain>,
    stored: &'v Stored,
    now: Timestamp,
}

impl View<'_> {
    /// What DNS says, and a look at each address
    async fn look_outside(&self, port: u16, connect: Option<Connect>) -> (Dns, Vec<Look>) {
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
            ip if listed.contains(&ip) => Whereabouts::Listed,
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

    /// A look at the first of the container's own addresses, and at the others, without those that
    /// were looked at already and those at which nginx need not listen and does not
    async fn look_inside(
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
    async fn as_balancer(
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

    async fn read_nginx(
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
