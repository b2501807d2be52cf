//! Where a container's TLS ports can be reached from this host, and where it sees that come in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::choice::Inlet;
use crate::facts::{Container, Network, Published};

/// An address at which a container answers
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where this host connects to
    pub address: SocketAddr,
    /// Whether nginx must listen there
    pub claim: Claim,
}

/// Whether nginx must listen at an endpoint
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The host publishes it
    Published,
    /// One of several addresses or families, of which nginx may have chosen some
    Possible,
}

/// Every address at which a container answers for a port
///
/// The published addresses where there are any, else those in the container's networks; in the
/// network of the host its two loopback addresses stand for all of its own. A port counts as the
/// one in the container, or else as the one on the host: an unprivileged nginx listens on 8443 and
/// is published as 443.
pub fn endpoints(container: &Container, port: u16, engine: IpAddr) -> Vec<Endpoint> {
    if container.network == Network::Host {
        return of_host(container, port, engine);
    }
    let inside = |candidate: &&Published| candidate.container_port == port;
    let outside = |candidate: &&Published| candidate.host.port() == port;
    let all = || container.published.iter();
    let published: Vec<&Published> = match all().any(|candidate| inside(&candidate)) {
        true => all().filter(inside).collect(),
        false => all().filter(outside).collect(),
    };
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut add = |endpoint: Endpoint| {
        let is_known = |known: &Endpoint| known.address == endpoint.address;
        if !endpoints.iter().any(is_known) {
            endpoints.push(endpoint);
        }
    };
    // The networks of a Swarm are not the host's: their addresses may be somebody else's here.
    if published.is_empty() && container.swarm.is_none() {
        let own = container.addresses.iter();
        own.for_each(|ip| add(possible(SocketAddr::new(*ip, port))));
    }
    for one in &published {
        let any_v6 = one.host.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let own_v6 = container.addresses.iter().find(|ip| ip.is_ipv6());
        match own_v6 {
            // The engine may have no proxy that would take connections to `::1`.
            Some(ip) if any_v6 && engine.is_loopback() => {
                add(possible(SocketAddr::new(*ip, one.container_port)));
            }
            None if any_v6 && has_twin(&published, one) => {}
            _ => add(Endpoint {
                address: reachable(one.host, engine),
                claim: Claim::Published,
            }),
        }
    }
    endpoints
}

/// Whether the host publishes a port of a container, or takes connections to it there at all
///
/// A port counts as in [`endpoints`]. In the network of the host nothing needs to be published.
pub fn is_published(container: &Container, port: u16) -> bool {
    let mut published = container.published.iter();
    container.network == Network::Host
        || published.any(|one| one.container_port == port || one.host.port() == port)
}

/// Whether a port that is published at all IPv6 addresses is so at all IPv4 addresses, and the
/// container has IPv4 alone: both lead to the same socket
fn has_twin(published: &[&Published], v6: &Published) -> bool {
    let twin = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), v6.host.port());
    let mut published = published.iter();
    published.any(|other| other.host == twin && other.container_port == v6.container_port)
}

fn of_host(container: &Container, port: u16, engine: IpAddr) -> Vec<Endpoint> {
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let first: &[IpAddr] = match engine.is_loopback() {
        true => &loopback,
        false => &[engine],
    };
    let own = container.addresses.iter();
    let own = own.filter(|own| !first.contains(own));
    first
        .iter()
        .chain(own)
        .map(|ip| possible(SocketAddr::new(*ip, port)))
        .collect()
}

fn possible(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        claim: Claim::Possible,
    }
}

/// The addresses at which a container sees connections come in that go to an address of this kind
///
/// Without an IPv6 address of its own it sees them all come in by IPv4.
pub fn entrances(container: &Container, ip: IpAddr) -> Vec<IpAddr> {
    if container.network == Network::Host {
        return vec![ip];
    }
    let is_v6 = ip.is_ipv6() && container.addresses.iter().any(IpAddr::is_ipv6);
    let own = container.addresses.iter().copied();
    own.filter(|own| own.is_ipv6() == is_v6).collect()
}

/// Where a container sees connections to an address come in, the converse of [`endpoints`]
///
/// `None` where the address is not known to lead into it: one in front of it, say.
pub fn inlet(container: &Container, address: SocketAddr, engine: IpAddr) -> Option<Inlet> {
    let ip = address.ip();
    if container.network == Network::Host {
        let is_own = ip == engine
            || (ip.is_loopback() && engine.is_loopback())
            || container.addresses.contains(&ip);
        return is_own.then(|| Inlet {
            addresses: entrances(container, ip),
            port: address.port(),
        });
    }
    let mut published = container.published.iter();
    let published = published.find(|published| reachable(published.host, engine) == address);
    let port = match published {
        Some(published) => published.container_port,
        None if container.addresses.contains(&ip) => address.port(),
        None => return None,
    };
    Some(Inlet {
        addresses: entrances(container, ip),
        port,
    })
}

/// The port in a container that is one of this host's
pub fn container_port(container: &Container, outside: u16) -> u16 {
    let mut ports = container.published.iter();
    let published = ports.find(|published| published.host.port() == outside);
    match published {
        Some(published) if container.network == Network::Own => published.container_port,
        _ => outside,
    }
}

/// An address to connect to for one that is listened on: `0.0.0.0` means every address
fn reachable(listening: SocketAddr, engine: IpAddr) -> SocketAddr {
    if !listening.ip().is_unspecified() {
        return listening;
    }
    let ip = match (listening.ip(), engine) {
        (IpAddr::V6(_), IpAddr::V4(Ipv4Addr::LOCALHOST)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => engine,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn container(published: &[(u16, &str)]) -> Container {
        Container {
            published: published
                .iter()
                .map(|(container_port, host)| Published {
                    container_port: *container_port,
                    host: host.parse().unwrap(),
                })
                .collect(),
            addresses: vec!["172.20.0.5".parse().unwrap()],
            ..Container::default()
        }
    }

    fn addresses(container: &Container, port: u16) -> Vec<String> {
        let found = endpoints(container, port, HERE);
        let address = |endpoint: &Endpoint| endpoint.address.to_string();
        found.iter().map(address).collect()
    }

    #[test]
    fn the_published_address_comes_before_the_networks() {
        #[track_caller]
        fn check(container: &Container, port: u16, expected: &str) {
            assert_eq!(addresses(container, port), [expected]);
        }
        check(&container(&[(443, "0.0.0.0:443")]), 443, "127.0.0.1:443");
        check(&container(&[(443, "[::]:443")]), 443, "[::1]:443");
        check(
            &container(&[(443, "127.0.0.1:34443")]),
            443,
            "127.0.0.1:34443",
        );
        check(&container(&[(8443, "192.0.2.1:443")]), 443, "192.0.2.1:443");
        check(&container(&[(80, "0.0.0.0:80")]), 443, "172.20.0.5:443");
    }

    #[test]
    fn every_family_and_every_address_is_an_endpoint() {
        #[track_caller]
        fn check(container: &Container, expected: &[&str]) {
            assert_eq!(addresses(container, 443), expected);
        }
        let both = [(443, "0.0.0.0:443"), (443, "[::]:443")];
        // Without IPv6 in the container both lead to one socket.
        check(&container(&both), &["127.0.0.1:443"]);
        let dual = |published: &[(u16, &str)]| {
            let mut container = container(published);
            container.addresses.push("fd00:7::5".parse().unwrap());
            container
        };
        check(&dual(&both), &["127.0.0.1:443", "[fd00:7::5]:443"]);
        let other = [(8443, "0.0.0.0:443"), (8443, "[::]:443")];
        check(&dual(&other), &["127.0.0.1:443", "[fd00:7::5]:8443"]);
        check(&dual(&[]), &["172.20.0.5:443", "[fd00:7::5]:443"]);
        let several = [
            (443, "127.0.0.1:443"),
            (443, "192.0.2.1:443"),
            (443, "[2001:db8::1]:443"),
            (443, "192.0.2.1:443"),
        ];
        let expected = ["127.0.0.1:443", "192.0.2.1:443", "[2001:db8::1]:443"];
        check(&container(&several), &expected);
        let mut host = Container {
            network: Network::Host,
            ..Container::default()
        };
        check(&host, &["127.0.0.1:443", "[::1]:443"]);
        host.addresses = vec!["192.0.2.1".parse().unwrap()];
        check(&host, &["127.0.0.1:443", "[::1]:443", "192.0.2.1:443"]);
        let far = endpoints(&host, 443, "192.0.2.9".parse().unwrap());
        assert_eq!(far[0].address.to_string(), "192.0.2.9:443");
    }

    #[test]
    fn a_container_sees_the_family_that_it_has() {
        let mut container = container(&[(443, "[::]:443")]);
        let v6 = "2001:db8::1".parse().unwrap();
        assert_eq!(entrances(&container, v6), [container.addresses[0]]);
        let own: IpAddr = "fd00:7::5".parse().unwrap();
        container.addresses.push(own);
        assert_eq!(entrances(&container, v6), [own]);
        assert_eq!(entrances(&container, HERE), [container.addresses[0]]);
    }

    #[test]
    fn what_comes_in_there_is_seen_in_the_container() {
        #[track_caller]
        fn check(container: &Container, address: &str, expected: Option<u16>) {
            let found = inlet(container, address.parse().unwrap(), HERE);
            assert_eq!(found.map(|inlet| inlet.port), expected, "{address}");
        }
        let unprivileged = container(&[(8080, "0.0.0.0:80"), (8443, "0.0.0.0:443")]);
        check(&unprivileged, "127.0.0.1:443", Some(8443));
        check(&unprivileged, "127.0.0.1:8443", None);
        check(&unprivileged, "172.20.0.5:8443", Some(8443));
        check(&unprivileged, "192.0.2.1:443", None);
        check(
            &container(&[(443, "192.0.2.1:443")]),
            "192.0.2.1:443",
            Some(443),
        );
        let host = Container {
            network: Network::Host,
            ..Container::default()
        };
        check(&host, "127.0.0.1:443", Some(443));
        check(&host, "[::1]:443", Some(443));
        check(&host, "192.0.2.1:443", None);
        for port in [443, 8443] {
            check(
                &unprivileged,
                &addresses(&unprivileged, port)[0],
                Some(8443),
            );
        }
    }

    #[test]
    fn a_task_of_a_swarm_has_no_address_of_its_own() {
        let mut task = container(&[]);
        task.swarm = Some("web".to_owned());
        assert_eq!(endpoints(&task, 443, HERE), []);
        task.published = container(&[(443, "0.0.0.0:443")]).published;
        assert_eq!(addresses(&task, 443), ["127.0.0.1:443"]);
    }

    #[test]
    fn a_container_without_any_address_has_no_endpoint() {
        assert_eq!(endpoints(&Container::default(), 443, HERE), []);
    }
}
