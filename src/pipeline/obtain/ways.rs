//! Where the domains of a target are verified: every family and every address at which its
//! containers answer, as far as this host has a way there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::target::Target;
use crate::config::{ConfigTest, Domain};
use crate::facts::{ConnectFailure, Container, Network};
use crate::finding::{Finding, one_line};
use crate::name::DnsName;
use crate::net::dns::Resolver;
use crate::net::tls::Observer;
use crate::pipeline::{Context, Work};
use crate::preflight::probe::is_local;
use crate::target::choice::{self, Choice, Inlet};
use crate::target::container::{AtPort, Engine, RUNNING};
use crate::target::dump::Configuration;
use crate::target::endpoint::{self, Claim, Endpoint};

/// What a connection to an address showed
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Way {
    /// Somebody takes connections there
    Open,
    /// Nobody does
    Closed,
    /// This host cannot reach it: why
    Barred(String),
}

/// The endpoints of one port of one container
struct Group<'t> {
    container: &'t Container,
    endpoints: Vec<Endpoint>,
}

impl Target {
    /// Where a domain is verified: `connect`, else every address at which its containers answer
    pub(super) fn endpoints(&self, domain: &Domain) -> Vec<SocketAddr> {
        if let Some(connect) = domain.connect {
            return connect.endpoints(&domain.ports);
        }
        let mut endpoints = Vec::new();
        for address in self.groups(domain).flat_map(|group| self.used(&group)) {
            if !endpoints.contains(&address) {
                endpoints.push(address);
            }
        }
        endpoints
    }

    fn groups(&self, domain: &Domain) -> impl Iterator<Item = Group<'_>> {
        let engine = self.engine.address();
        let astray = self.astray.get(&domain.name);
        self.containers.iter().flat_map(move |container| {
            domain.ports.iter().map(move |port| {
                let mut endpoints = endpoint::endpoints(container, *port, engine);
                if let (Network::Host, Some(astray)) = (container.network, astray) {
                    endpoints.retain(|endpoint| !astray.contains(&endpoint.address.ip()));
                }
                Group {
                    container,
                    endpoints,
                }
            })
        })
    }

    /// The endpoints of a group that can be reached, without those at which nginx need not listen
    /// and does not
    fn used(&self, group: &Group<'_>) -> Vec<SocketAddr> {
        let way = |endpoint: &Endpoint| self.ways.get(&endpoint.address);
        let mut all = group.endpoints.iter();
        let is_open = all.any(|endpoint| way(endpoint) == Some(&Way::Open));
        let is_used = |endpoint: &&Endpoint| match (way(endpoint), endpoint.claim) {
            (Some(Way::Barred(_)), _) => false,
            (Some(Way::Closed), Claim::Possible) => !is_open,
            _ => true,
        };
        let used = group.endpoints.iter().filter(is_used);
        used.map(|endpoint| endpoint.address).collect()
    }

    /// Connects once to each address at which a domain may be served and nobody was seen to listen
    pub(super) async fn explore(&mut self, context: &Context<'_>, works: &[Work<'_>]) {
        self.read_own_addresses(context, works).await;
        let observer = &context.observer();
        let mut unknown: BTreeMap<SocketAddr, &Container> = BTreeMap::new();
        for member in &self.members {
            let domain = works[*member].domain;
            if domain.connect.is_some() {
                continue;
            }
            for group in self.groups(domain) {
                let addresses = group.endpoints.iter().map(|endpoint| endpoint.address);
                let unseen = addresses.filter(|one| self.ways.get(one) != Some(&Way::Open));
                unknown.extend(unseen.map(|address| (address, group.container)));
            }
        }
        let engine = &self.engine;
        let knocking = unknown.into_iter().map(|(address, container)| async move {
            let way = way_to(engine, observer, container, address).await;
            (address, way)
        });
        let found = join_all(knocking).await;
        self.ways.extend(found);
        self.learn_holders(works).await;
    }

    /// Reads at which of the host's addresses nginx listens in particular, where it shares the
    /// host's network: who comes there is served by other blocks than who comes to loopback
    async fn read_own_addresses(&mut self, context: &Context<'_>, works: &[Work<'_>]) {
        if self.nginx.test == ConfigTest::Skip {
            return;
        }
        let mut sites = Vec::new();
        let (engine, dumps) = (&self.engine, &self.dumps);
        let of_host = |container: &&mut Container| container.network == Network::Host;
        for container in self.containers.iter_mut().filter(of_host) {
            let Some(dump) = dumps.of(engine, container).await else {
                continue;
            };
            // A floating address may be another host's just now.
            let own = dump.addresses.iter().copied().filter(|ip| is_local(*ip));
            container.addresses = own.collect();
            if let (false, Ok(configuration)) =
                (container.addresses.is_empty(), &dump.configuration)
            {
                sites.push((container.addresses.clone(), Arc::clone(configuration)));
            }
        }
        if sites.is_empty() {
            return;
        }
        self.resolve(context, works).await;
        self.add_visited(&sites);
        self.astray.clear();
        for member in &self.members {
            let domain = works[*member].domain;
            let astray = sites
                .iter()
                .flat_map(|(own, configuration)| self.not_visited(domain, own, configuration));
            let resolved = domain.names().filter_map(|name| self.resolved.get(name));
            let resolved: BTreeSet<&IpAddr> = resolved.flatten().collect();
            let others = self.led.iter().filter(|led| !resolved.contains(led));
            let astray = astray.chain(others.copied()).collect();
            self.astray.insert(domain.name.clone(), astray);
        }
    }

    /// Asks DNS, once in a run, where visitors of the domains come
    async fn resolve(&mut self, context: &Context<'_>, works: &[Work<'_>]) {
        let dns = &context.config.dns;
        let Ok(resolver) = &Resolver::new(&dns.servers, dns.timeout) else {
            return;
        };
        let names = self
            .members
            .iter()
            .flat_map(|member| works[*member].domain.names());
        let unknown = names.filter(|name| !self.resolved.contains_key(*name));
        let asking = unknown.map(|name| async move {
            // Where nobody tells, all addresses count.
            let found = resolver.addresses(name.as_str()).await.unwrap_or_default();
            (name.clone(), found)
        });
        let asking = futures_util::stream::iter(asking).buffer_unordered(AT_ONCE);
        let found: Vec<(DnsName, Vec<IpAddr>)> = asking.collect().await;
        self.resolved.extend(found);
    }

    /// Those of the addresses at which nginx listens in particular to which nobody comes for a domain
    ///
    /// They are other sites' where visitors of this one are known to come elsewhere: DNS leads them
    /// to another address of this host, or a block that lists a name listens at another one.
    fn not_visited(
        &self,
        domain: &Domain,
        own: &[IpAddr],
        configuration: &Configuration,
    ) -> Vec<IpAddr> {
        let resolved = || {
            let names = domain.names().filter_map(|name| self.resolved.get(name));
            names.flatten().copied()
        };
        let is_listed = |ip: &IpAddr| {
            domain.ports.iter().any(|port| {
                let inlet = Inlet {
                    addresses: vec![*ip],
                    port: *port,
                };
                domain.names().any(|name| {
                    let chosen = choice::choose(configuration, name.as_str(), &inlet);
                    !matches!(chosen, Choice::Default(_) | Choice::Nobody)
                })
            })
        };
        let visited: BTreeSet<IpAddr> = own
            .iter()
            .copied()
            .filter(|ip| is_listed(ip) || resolved().any(|led| led == *ip))
            .collect();
        match visited.is_empty() && !resolved().any(is_local) {
            true => Vec::new(),
            false => own
                .iter()
                .copied()
                .filter(|ip| !visited.contains(ip))
                .collect(),
        }
    }

    /// What makes the handshakes at this target
    pub(super) fn observer(&self, context: &Context<'_>) -> Observer {
        let balanced = self.balanced.iter().copied();
        context.observer().as_balancer(balanced)
    }

    /// Learns at which of these addresses, where connections were closed, nginx awaits a balancer;
    /// `true` where there is a new one
    ///
    /// Its configuration is read for that alone where something was closed at all.
    pub(super) async fn learn_balanced(
        &mut self,
        works: &[Work<'_>],
        closed: BTreeSet<SocketAddr>,
    ) -> bool {
        let before = self.balanced.len();
        for address in closed {
            if !self.balanced.contains(&address) && self.awaits_header(works, address).await {
                self.balanced.insert(address);
            }
        }
        self.balanced.len() > before
    }

    /// Whether the configuration of the container that answers at an address awaits a balancer there
    async fn awaits_header(&self, works: &[Work<'_>], address: SocketAddr) -> bool {
        let Some(container) = self.answering(works, address) else {
            return false;
        };
        let dump = self.dumps.of(&self.engine, container).await;
        let configuration = dump.as_deref().map(|dump| &dump.configuration);
        let inlet = endpoint::inlet(container, address, self.engine.address());
        match (configuration, inlet) {
            (Some(Ok(configuration)), Some(inlet)) => {
                choice::awaits_header(&configuration.servers, &inlet)
            }
            _ => false,
        }
    }

    /// Why a domain cannot be verified at one of its ports at all
    pub(super) fn no_way(&self, domain: &Domain) -> Option<Finding> {
        if domain.connect.is_some() {
            return None;
        }
        let mut groups = self.groups(domain);
        let lost = groups.find(|group| self.used(group).is_empty())?;
        let name = &lost.container.name;
        if let Some(service) = &lost.container.swarm {
            return Some(of_swarm(name, service));
        }
        let Some((address, failure)) = self.barred(&lost).next() else {
            let evidence = format!("{name} has no address to verify at");
            return Some(
                Finding::failure("target.no_endpoint", evidence)
                    .with_cure("publish its TLS port, or set `connect` for the domain"),
            );
        };
        let evidence = format!("this host cannot connect to {name} at {address}: {failure}");
        Some(Finding::failure("target.no_route", evidence).with_cure(
            "set `connect` to an address at which visitors arrive, or publish its TLS port",
        ))
    }

    /// Warns once of the open domains that are verified where no visitor comes
    pub(super) async fn warn_of_unpublished(&self, works: &mut [Work<'_>]) {
        let mut holders: BTreeMap<u16, Option<String>> = BTreeMap::new();
        for member in &self.members {
            let work = &mut works[*member];
            let is_told = work.findings.iter().any(|one| one.code == NOT_PUBLISHED);
            let unpublished = self.unpublished(work.domain);
            let unpublished = unpublished.filter(|_| work.is_open() && !is_told);
            let Some((container, port, address)) = unpublished else {
                continue;
            };
            let holder = match holders.entry(port) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(holder(&self.engine, port).await),
            };
            let (name, holder) = (&container.name, holder.as_deref());
            let finding = not_published(name, port, work.name(), address, holder);
            work.findings.push(finding);
        }
    }

    /// A port that no container publishes, and where nginx listens inside for it
    fn unpublished(&self, domain: &Domain) -> Option<(&Container, u16, SocketAddr)> {
        let container = self.containers.first()?;
        if domain.connect.is_some() {
            return None;
        }
        let is_published = |port: u16| {
            let mut containers = self.containers.iter();
            containers.any(|container| endpoint::is_published(container, port))
        };
        let port = *domain.ports.iter().find(|port| !is_published(**port))?;
        let ways = endpoint::endpoints(container, port, self.engine.address());
        let is_open = |endpoint: &&Endpoint| self.ways.get(&endpoint.address) == Some(&Way::Open);
        let address = ways.iter().find(is_open)?.address;
        Some((container, port, address))
    }

    /// Where a domain is not verified although visitors may come there
    pub(super) fn unproven(&self, domain: &Domain) -> Option<String> {
        if domain.connect.is_some() {
            return None;
        }
        let groups: Vec<Group<'_>> = self.groups(domain).collect();
        let barred = groups.iter().flat_map(|group| self.barred(group));
        let barred: Vec<String> = barred
            .map(|(address, failure)| format!("not verified at {address}: {failure}"))
            .collect();
        (!barred.is_empty()).then(|| barred.join("; "))
    }

    fn barred<'t>(
        &'t self,
        group: &Group<'t>,
    ) -> impl Iterator<Item = (SocketAddr, &'t str)> + use<'t> {
        let addresses: Vec<SocketAddr> = group.endpoints.iter().map(|one| one.address).collect();
        addresses
            .into_iter()
            .filter_map(|address| match self.ways.get(&address)? {
                Way::Barred(failure) => Some((address, failure.as_str())),
                Way::Open | Way::Closed => None,
            })
    }
}

/// Who has a port of the host, as far as it can be seen
async fn holder(engine: &Engine, port: u16) -> Option<String> {
    match engine.at_port(port, None).await.ok()? {
        AtPort::Containers(containers) => {
            let mut containers = containers.into_iter();
            let holder = containers.find(|container| container.state == RUNNING)?;
            Some(format!("the container {}", holder.name))
        }
        AtPort::Process { name, pid } => Some(format!("{} (process {pid})", one_line(&name))),
        AtPort::Perhaps(_) => None,
    }
}

/// How a port of a container comes to be one of the host
pub(in crate::pipeline) fn to_publish(container: &str, host: u16, inside: u16) -> String {
    format!(
        "publish it in the compose file, and create {container} anew:\n    ports: [\"{host}:{inside}\"]"
    )
}

/// That a domain is verified in a container's own network, where no visitor comes
fn not_published(
    container: &str,
    port: u16,
    domain: &DnsName,
    address: SocketAddr,
    holder: Option<&str>,
) -> Finding {
    let (evidence, cure) = match holder {
        Some(holder) => (
            format!(
                "{domain} is verified at {address}, inside: {holder} has port {port} of this host"
            ),
            format!(
                "set `connect` to where visitors come in, such as \"127.0.0.1:{port}\", if {holder} passes them on to {container}"
            ),
        ),
        None => (
            format!(
                "{container} publishes no port {port}: {domain} is verified at {address}, where no visitor comes"
            ),
            format!(
                "{}\nor, where something in front of {container} takes the connections, set `connect` to its address",
                to_publish(container, port, port)
            ),
        ),
    };
    Finding::warning(NOT_PUBLISHED, evidence).with_cure(cure)
}

/// The networks of a Swarm lead to no task from outside of it
fn of_swarm(name: &str, service: &str) -> Finding {
    let evidence = format!(
        "{name} is a task of the Swarm service {service}: this host has no way to it but by the port that the service publishes"
    );
    Finding::failure("target.no_route", evidence).with_cure(
        "set `connect` to an address and port at which the service is published, or publish it with `mode: host`",
    )
}

/// What one connection tells of an address of a container
///
/// Nothing between this host and its own bridges swallows packets: where no answer comes from an
/// address in a container's network, that is one to which the host has no way, such as a macvlan.
pub(in crate::pipeline) async fn way_to(
    engine: &Engine,
    observer: &Observer,
    container: &Container,
    address: SocketAddr,
) -> Way {
    let is_inside =
        container.network == Network::Own && container.addresses.contains(&address.ip());
    let failure = match observer.knock(address, KNOCK).await {
        Ok(()) => return Way::Open,
        Err(failure @ (ConnectFailure::NoRoute | ConnectFailure::Unreachable(_))) => failure,
        Err(failure @ ConnectFailure::TimedOut) if is_inside => failure,
        Err(_) => return Way::Closed,
    };
    let driver = match is_inside {
        true => engine.driver_at(container, address.ip()).await,
        false => None,
    };
    Way::Barred(match driver {
        Some(driver) if driver != BRIDGE => {
            format!("{failure}; it is in a network of the kind {driver}")
        }
        _ => failure.to_string(),
    })
}

const NOT_PUBLISHED: &str = "target.not_published";
/// Time for a connection within this host
const KNOCK: Duration = Duration::from_secs(2);
/// Names that are asked for at the same time
const AT_ONCE: usize = 32;
/// The driver of the networks that the host itself is in
const BRIDGE: &str = "bridge";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_something_else_has_is_not_to_be_published_too() {
        let name = DnsName::parse("shop.test").unwrap();
        let address = "172.17.0.2:443".parse().unwrap();
        let told = |holder| not_published("web", 443, &name, address, holder);
        let cure = told(None).cure.unwrap();
        assert!(cure.contains("ports: [\"443:443\"]"), "{cure}");
        let finding = told(Some("the container front"));
        assert!(
            finding.evidence.contains("front has port 443"),
            "{finding:?}"
        );
        let cure = finding.cure.unwrap();
        assert!(
            cure.contains("`connect`") && !cure.contains("ports:"),
            "{cure}"
        );
    }
}
