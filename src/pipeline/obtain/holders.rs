//! Who has the sockets of this host to which DNS leads visitors, where nginx shares the network of the
//! host and listens at addresses of its own: it may be another nginx, or another program.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::target::Target;
use super::ways::Way;
use crate::facts::{Container, Network};
use crate::finding::{Finding, one_line};
use crate::pipeline::Work;
use crate::preflight::probe::is_local;
use crate::target::container::{AtPort, Engine, RUNNING};
use crate::target::dump::Configuration;

impl Target {
    /// Adds the addresses of this host to which DNS leads visitors, and at which nginx does not listen in
    /// particular: it may not be nginx that they meet there
    pub(super) fn add_visited(&mut self, sites: &[(Vec<IpAddr>, Arc<Configuration>)]) {
        let is_own = |ip: &IpAddr| sites.iter().any(|(own, _)| own.contains(ip));
        let all = self.resolved.values().flatten().copied();
        let led = all.filter(|ip| is_local(*ip) && !LOOPBACK.contains(ip) && !is_own(ip));
        self.led = led.collect();
        let mut containers = self.containers.iter_mut();
        if let Some(first) = containers.find(|one| one.network == Network::Host) {
            first.addresses.extend(&self.led);
        }
    }

    /// Learns who has the sockets of this host to which DNS leads and at which nginx does not listen in
    /// particular
    pub(super) async fn learn_holders(&mut self, works: &[Work<'_>]) {
        let ports = self.members.iter().flat_map(|member| {
            let domain = works[*member].domain;
            domain.ports.iter().filter(|_| domain.connect.is_none())
        });
        let ports: BTreeSet<u16> = ports.copied().collect();
        let all = self.led.iter();
        let all = all.flat_map(|ip| ports.iter().map(|port| SocketAddr::new(*ip, *port)));
        for at in all.collect::<Vec<_>>() {
            let is_known = self.holders.contains_key(&at);
            if is_known || self.ways.get(&at) != Some(&Way::Open) {
                continue;
            }
            let found = find_holder(&self.engine, &self.containers, at).await;
            let other = match found {
                Some(Holder::Other(other)) => Some(other),
                _ => None,
            };
            self.holders.insert(at, other);
        }
    }

    /// That somebody else than nginx has the socket at which a name was to be proven
    pub(super) fn taken(&self, name: &str, at: SocketAddr) -> Option<Finding> {
        let holder = self.holders.get(&at)?.as_deref()?;
        Some(taken(name, &self.label(), holder, at))
    }
}

/// Who takes connections at an address, where containers share the network of the host
pub(in crate::pipeline) enum Holder {
    /// One of these containers
    Own(Box<Container>),
    /// Somebody else: a container, or a process
    Other(String),
}

/// Who has a socket of this host; `None` where that cannot be seen, and where the network of one of
/// these containers is its own
pub(in crate::pipeline) async fn find_holder(
    engine: &Engine,
    containers: &[Container],
    at: SocketAddr,
) -> Option<Holder> {
    let is_of_host = |one: &Container| one.network == Network::Host && one.state == RUNNING;
    if containers.is_empty() || !containers.iter().all(is_of_host) {
        return None;
    }
    let own = |found: Option<&Container>| found.map(|own| Holder::Own(Box::new(own.clone())));
    match engine.at_port(at.port(), Some(at.ip())).await.ok()? {
        AtPort::Containers(found) => {
            let running = found.iter().find(|one| one.state == RUNNING)?;
            own(containers.iter().find(|own| own.id == running.id))
                .or_else(|| Some(Holder::Other(running.name.clone())))
        }
        AtPort::Process { name, pid } => {
            let has = |one: &&Container| one.processes.iter().any(|process| process.id == pid);
            // What is not known to run in one of them may do so all the same.
            let are_known = containers.iter().all(|one| !one.processes.is_empty());
            let other = || Holder::Other(format!("{} (process {pid})", one_line(&name)));
            own(containers.iter().find(has)).or_else(|| are_known.then(other))
        }
        AtPort::Perhaps(_) => None,
    }
}

/// That another has the socket to which a name leads than the container that is to serve it
///
/// A `listen` there would let its nginx stumble over that socket, at the next start at the latest.
pub(in crate::pipeline) fn taken(
    name: &str,
    container: &str,
    holder: &str,
    at: SocketAddr,
) -> Finding {
    let evidence = format!("{holder} takes connections at {at}, and {container} does not");
    Finding::failure("target.taken", evidence).with_cure(format!(
        "if {container} is to serve {name}, correct the DNS record, which leads to {}; else let `nginx` of the domain name what is to serve it",
        at.ip()
    ))
}

/// What stands for the addresses of a host
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
