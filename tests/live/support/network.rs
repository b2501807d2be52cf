//! A network of its own: one thread, and every program that it starts, in which any address can be
//! had and none leads out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Command;
use std::thread;

use certd_sandbox::dns::{Record, Server, Zone};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::process::{self, Process};
use super::sandbox::runtime;

/// A network with a resolver at [`RESOLVER`], and two name servers of a zone
pub(crate) struct Network {
    /// What the resolver says
    pub(crate) resolver: Zone,
    /// What the first and the second server of the zone say
    pub(crate) servers: [Zone; 2],
    _dns: Vec<Server>,
    _runtime: Runtime,
    logs: TempDir,
}

/// Plays a scene in a new network; root alone may
#[track_caller]
pub(crate) fn in_new_network(scene: impl FnOnce(&Network) + Send) {
    let played = thread::scope(|scope| {
        let player = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may have a network of its own");
            ip("link set lo up");
            scene(&Network::start());
        });
        player.join()
    });
    if let Err(panic) = played {
        resume_unwind(panic);
    }
}

impl Network {
    fn start() -> Self {
        // Its thread begins here, and so belongs to the network.
        let runtime = runtime();
        let zones = [Zone::new(), Zone::new(), Zone::new()];
        let addresses = [RESOLVER, SERVERS[0], SERVERS[1]];
        let dns = addresses.into_iter().zip(&zones).map(|(address, zone)| {
            let address = SocketAddr::new(address.into(), 53);
            runtime
                .block_on(Server::start(address, zone.clone()))
                .expect("every port is free")
        });
        let dns = dns.collect();
        let [resolver, first, second] = zones;
        Self {
            resolver,
            servers: [first, second],
            _dns: dns,
            _runtime: runtime,
            logs: tempfile::tempdir().expect("temporary directory"),
        }
    }

    /// Gives this host an address
    pub(crate) fn has(&self, address: &str) {
        ip(&format!("address add {address} dev lo"));
    }

    /// Makes an address one to which packets go, and from which none come
    pub(crate) fn swallows(&self, address: &str) {
        // The far end of the cable takes what is addressed to it; nothing here is.
        ip("link add swallower type veth peer name beyond");
        ip("link set swallower up");
        ip("link set beyond up");
        ip("address add 10.99.0.1/32 dev swallower");
        ip(&format!("route add {address} dev swallower src 10.99.0.1"));
        let nobody = "lladdr 02:00:00:00:00:99 dev swallower";
        ip(&format!("neighbour add {address} {nobody} nud permanent"));
    }

    /// Makes an address one of which the network says that it cannot be reached
    pub(crate) fn cannot_reach(&self, address: &str) {
        ip(&format!("route add unreachable {address}"));
    }

    /// Lets the resolver name servers for a zone
    pub(crate) fn delegate(&self, zone: &str) {
        for (number, address) in SERVERS.into_iter().enumerate() {
            let server = format!("ns{number}.dns.test");
            self.resolver.add(zone, Record::Ns(server.clone()));
            self.resolver.add(&server, Record::A(address));
        }
    }

    /// Says the same at the resolver and at both servers
    pub(crate) fn publish(&self, name: &str, addresses: &[&str]) {
        for zone in [&self.resolver, &self.servers[0], &self.servers[1]] {
            zone.set(name, addresses.iter().map(|address| record(address)));
        }
    }

    /// Serves a directory on port 80 of every address of this host
    pub(crate) fn serve(&self, webroot: &Path) -> Process {
        let mut python = Command::new("python3");
        python.args(["-m", "http.server", "80", "--bind", "::", "--directory"]);
        let log = self.logs.path().join("http.log");
        let mut server = Process::start(python.arg(webroot), &log);
        server.wait_listening(80);
        server
    }
}

/// An address record
pub(crate) fn record(address: &str) -> Record {
    match address.parse().expect("an address") {
        IpAddr::V4(address) => Record::A(address),
        IpAddr::V6(address) => Record::Aaaa(address),
    }
}

fn ip(arguments: &str) {
    process::stdout_of(Command::new("ip").args(arguments.split(' ')));
}

/// Where the resolver answers
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 1, 0, 1), Ipv4Addr::new(127, 1, 0, 2)];
