//! `listen` of a server block: at which address and port nginx takes connections for it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::dump::Tls;

/// One `listen` directive for TCP
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address and port in the container; an unspecified address is any of its family
    pub at: SocketAddr,
    /// Whether it has `ssl`
    pub tls: Tls,
    /// Whether it takes what no server block lists
    pub rank: Rank,
    /// Who connects there
    pub from: Peer,
}

/// Who connects to a port
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Visitors
    Visitors,
    /// A balancer, which says first for whom it comes (`proxy_protocol`)
    Balancer,
}

/// How a server block stands among those of one address
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// `default_server`
    Default,
    /// One of several
    Ordinary,
}

impl Listen {
    /// What the arguments of `listen` say of its first port, and its last one, which is another for
    /// a range such as `440-450`; `None` for a Unix socket, QUIC and a host's name
    pub fn parse(arguments: &[&str]) -> Option<(Self, u16)> {
        let (place, parameters) = arguments.split_first()?;
        let has = |word: &str| parameters.contains(&word);
        if has("quic") {
            return None;
        }
        let (at, last) = range_of(place)?;
        let listen = Self {
            at,
            tls: if has("ssl") { Tls::On } else { Tls::Off },
            rank: match has("default_server") || has("default") {
                true => Rank::Default,
                false => Rank::Ordinary,
            },
            from: match has("proxy_protocol") {
                true => Peer::Balancer,
                false => Peer::Visitors,
            },
        };
        Some((listen, last))
    }

    /// The same for each port from its own to this one
    pub fn until(self, last: u16) -> impl Iterator<Item = Self> {
        (self.at.port()..=last).map(move |port| Self {
            at: SocketAddr::new(self.at.ip(), port),
            ..self
        })
    }
}

/// The addresses among these at which nginx listens in particular, not at all of a family
pub fn particular<'l>(listens: impl IntoIterator<Item = &'l Listen>) -> BTreeSet<IpAddr> {
    let addresses = listens.into_iter().map(|listen| listen.at.ip());
    addresses.filter(|ip| !ip.is_unspecified()).collect()
}

/// An address with its first port, and the last one
fn range_of(text: &str) -> Option<(SocketAddr, u16)> {
    if let Some(at) = place_of(text) {
        return Some((at, at.port()));
    }
    let (first, last) = text.rsplit_once('-')?;
    let (first, last) = (place_of(first)?, last.parse().ok()?);
    (first.port() <= last).then_some((first, last))
}

fn place_of(text: &str) -> Option<SocketAddr> {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if let Ok(port) = text.parse() {
        return Some(SocketAddr::new(any, port));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => PORT,
        };
        return Some(SocketAddr::new(address.parse().ok()?, port));
    }
    let (address, port) = match text.split_once(':') {
        Some((address, port)) => (address, port.parse().ok()?),
        None => (text, PORT),
    };
    let address = match address {
        "*" => any,
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address.parse().ok()?,
    };
    Some(SocketAddr::new(address, port))
}

/// Where nginx listens that is told no port
pub(super) const PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_listen_is_read() {
        #[track_caller]
        fn check(text: &str, expected: Option<(&str, Tls, Rank)>) {
            let arguments: Vec<&str> = text.split(' ').collect();
            let expected = expected.map(|(at, tls, rank)| Listen {
                at: at.parse().unwrap(),
                tls,
                rank,
                from: Peer::Visitors,
            });
            let found = Listen::parse(&arguments).map(|(listen, last)| {
                assert_eq!(last, listen.at.port(), "{text}");
                listen
            });
            assert_eq!(found, expected, "{text}");
        }
        let plain = |at| Some((at, Tls::Off, Rank::Ordinary));
        let secure = |at| Some((at, Tls::On, Rank::Ordinary));
        check("80", plain("0.0.0.0:80"));
        check("443 ssl", secure("0.0.0.0:443"));
        check("*:443 ssl http2", secure("0.0.0.0:443"));
        check("[::]:443 ssl ipv6only=on", secure("[::]:443"));
        check("[::1]", plain("[::1]:80"));
        check("127.0.0.1", plain("127.0.0.1:80"));
        check("localhost:8000", plain("127.0.0.1:8000"));
        check(
            "192.0.2.1:8443 default_server ssl",
            Some(("192.0.2.1:8443", Tls::On, Rank::Default)),
        );
        check("443 quic reuseport", None);
        check("unix:/run/nginx.sock ssl", None);
        check("shop.example.com:443 ssl", None);
        check("99999 ssl", None);
        let balanced = Listen::parse(&["443", "ssl", "proxy_protocol"]);
        let balanced = balanced.map(|(listen, _)| listen.from);
        assert_eq!(balanced, Some(Peer::Balancer));
    }

    #[test]
    fn a_range_of_ports_is_every_port_of_it() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            let found = Listen::parse(&[text, "ssl"]);
            let found = found
                .into_iter()
                .flat_map(|(first, last)| first.until(last));
            let found: Vec<String> = found.map(|listen| listen.at.to_string()).collect();
            assert_eq!(found, expected, "{text}");
        }
        check("442-444", &["0.0.0.0:442", "0.0.0.0:443", "0.0.0.0:444"]);
        check("[::1]:443-444", &["[::1]:443", "[::1]:444"]);
        check("192.0.2.1:443-443", &["192.0.2.1:443"]);
        check("65534-65535", &["0.0.0.0:65534", "0.0.0.0:65535"]);
        check("444-443", &[]);
        check("443-", &[]);
        check("443-99999", &[]);
        check("my-host:443", &[]);
    }
}
