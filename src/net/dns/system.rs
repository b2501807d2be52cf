//! The name servers of resolv.conf(5), and nothing else of it: whoever asks here, asks for whole
//! names.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};

use nix::ifaddrs::getifaddrs;

/// The servers that the system asks; empty where it names none
///
/// # Errors
/// Why the file cannot be read.
pub(super) fn servers() -> io::Result<Vec<SocketAddr>> {
    let text = std::fs::read(PATH)?;
    Ok(parse(&String::from_utf8_lossy(&text), |zone| {
        link_local(zone).map(|own| own.scope_id())
    }))
}

/// The same of a text, where `scope` gives the number of an interface
///
/// `search`, `domain` and `options` are passed over, and so is what cannot be read: a slip in them
/// is none in the servers.
pub(super) fn parse(text: &str, scope: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver");
        let address = address.and_then(|_| words.next())?;
        match address.split_once('%') {
            None => Some(SocketAddr::new(address.parse().ok()?, PORT)),
            Some((address, zone)) => {
                let address = address.parse().ok()?;
                Some(SocketAddrV6::new(address, PORT, 0, scope(zone)?).into())
            }
        }
    };
    text.lines().filter_map(server).collect()
}

/// Where to ask a server from that has a scope: this host's own address on that interface
pub(super) fn source_for(server: &SocketAddr) -> Option<SocketAddr> {
    match server {
        SocketAddr::V6(server) if server.scope_id() != 0 => {
            let own = link_local(&server.scope_id().to_string())?;
            Some(own.into())
        }
        _ => None,
    }
}

/// This host's link-local address on an interface, by its name or its number
fn link_local(zone: &str) -> Option<SocketAddrV6> {
    let mut interfaces = getifaddrs().ok()?;
    interfaces.find_map(|interface| {
        let address = *interface.address?.as_sockaddr_in6()?;
        let is_meant = interface.interface_name == zone || address.scope_id().to_string() == zone;
        (is_meant && address.ip().is_unicast_link_local())
            .then(|| SocketAddrV6::new(address.ip(), 0, 0, address.scope_id()))
    })
}

const PATH: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_servers_counts() {
        #[track_caller]
        fn check(text: &str, expected: &[&str]) {
            let scope = |zone: &str| (zone == "eth0").then_some(7);
            let found: Vec<String> = parse(text, scope).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
        check("nameserver 192.0.2.1\n", &["192.0.2.1:53"]);
        check(
            "search bad..name -- .\ndomain *\noptions ndots:x\nnameserver 192.0.2.1\nfoo\n",
            &["192.0.2.1:53"],
        );
        check("nameserver fe80::1%eth0", &["[fe80::1%7]:53"]);
        check("nameserver fe80::1%gone\n  nameserver ::1", &["[::1]:53"]);
        check("# nameserver 192.0.2.1\nnameserver\nnameserver x", &[]);
        assert_eq!(source_for(&SocketAddr::from(([192, 0, 2, 1], PORT))), None);
    }
}
