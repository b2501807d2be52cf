//! Where a container's TLS ports can be reached from this host, and where it sees that come in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::choice::Inlet;
use crate::facts::{Container, Network};

/// The addresses at which a container answers for these ports
///
/// The published address where there is one, else the address in the container's network. A port
/// counts as the one in the container, or else as the one on the host: an unprivileged nginx
/// listens on 8443 and is published as 443.
pub fn endpoints(container: &Container, ports: &[u16], engine: IpAddr) -> Vec<SocketAddr> {
    ports
        .iter()
        .filter_map(|port| endpoint(container, *port, engine))
        .collect()
}

fn endpoint(container: &Container, port: u16, engine: IpAddr) -> Option<SocketAddr> {
    if container.network == Network::Host {
        return Some(SocketAddr::new(engine, port));
    }
    let inside = |candidate: &&crate::facts::Published| candidate.container_port == port;
    let outside = |candidate: &&crate::facts::Published| candidate.host.port() == port;
    let published = container
        .published
        .iter()
        .find(inside)
        .or_else(|| container.published.iter().find(outside));
    match published {
        Some(published) => Some(reachable(published.host, engine)),
        None => container
            .addresses
            .first()
            .map(|address| SocketAddr::new(*address, port)),
    }
}

/// Where a container sees connections to an address come in, the converse of [`endpoints`]
///
/// `None` where the address is not known to lead into it: one in front of it, say.
pub fn inlet(container: &Container, address: SocketAddr, engine: IpAddr) -> Option<Inlet> {
    if container.network == Network::Host {
        return (address.ip() == engine).then(|| Inlet {
            addresses: vec![engine],
            port: address.port(),
        });
    }
    let mut published = container.published.iter();
    let published = published.find(|published| reachable(published.host, engine) == address);
    let port = match published {
        Some(published) => published.container_port,
        None if container.addresses.contains(&address.ip()) => address.port(),
        None => return None,
    };
    Some(Inlet {
        addresses: container.addresses.clone(),
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
    use crate::facts::Published;

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

    #[test]
    fn the_published_address_comes_before_the_networks() {
        #[track_caller]
        fn check(container: &Container, port: u16, expected: &str) {
            let found = endpoints(container, &[port], HERE);
            assert_eq!(found, [expected.parse().unwrap()]);
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
        let host = Container {
            network: Network::Host,
            ..container(&[])
        };
        check(&host, 8443, "127.0.0.1:8443");
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
        check(&host, "192.0.2.1:443", None);
        for port in [443, 8443] {
            let ports = endpoints(&unprivileged, &[port], HERE);
            check(&unprivileged, &ports[0].to_string(), Some(8443));
        }
    }

    #[test]
    fn a_container_without_any_address_has_no_endpoint() {
        assert_eq!(endpoints(&Container::default(), &[443], HERE), []);
    }
}
