//! The hosts file, in which programs of this host look for a name before they ask DNS.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

/// The names of a hosts file, with their addresses
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// The hosts file of this host; empty where it cannot be read
    pub fn of_system() -> Self {
        let mut bytes = Vec::new();
        let file = File::open(PATH).map(|file| file.take(MOST_BYTES));
        let read = file.and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Ok(_) => Self::parse(&String::from_utf8_lossy(&bytes)),
            Err(_) => Self::default(),
        }
    }

    /// What a hosts file says; lines that begin with no address are passed over, as by the system
    pub fn parse(text: &str) -> Self {
        let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let line = line.split_once('#').map_or(line, |(before, _)| before);
            let mut words = line.split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
                continue;
            };
            for name in words {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let addresses = hosts.entry(name).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self(hosts)
    }

    /// The addresses of a name in lower case; empty where DNS is asked
    ///
    /// `localhost` is not looked up: it is the loopback address (RFC 6761 section 6.3).
    pub fn addresses(&self, name: &str) -> &[IpAddr] {
        match name {
            "localhost" => &[],
            name => self.0.get(name).map_or(&[], Vec::as_slice),
        }
    }
}

/// Where it is
pub const PATH: &str = "/etc/hosts";
/// Some block ten thousands of names by it
const MOST_BYTES: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_hosts_file_are_read_as_the_system_reads_them() {
        let hosts = Hosts::parse(
            "127.0.0.1\tlocalhost\n# 192.0.2.9 shop.test\n192.0.2.1 Shop.test www.shop.test # mine\n\
             2001:db8::1 shop.test.\nnonsense shop.test\n192.0.2.1 shop.test\n\n::1 localhost\n",
        );
        let addresses = |name: &str| {
            let found = hosts.addresses(name).iter();
            found.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(addresses("shop.test"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(addresses("www.shop.test"), ["192.0.2.1"]);
        assert_eq!(addresses("mine"), [""; 0]);
        assert_eq!(addresses("localhost"), [""; 0]);
    }
}
