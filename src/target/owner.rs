//! Who listens at a TCP port of this host, or at one address of it: the socket's process, and the
//! container that it runs in.
//!
//! The kernel tells it in `/proc`, and only of one's own processes, or to root.

use std::collections::HashSet;
use std::fs;
use std::iter::successors;
use std::net::IpAddr;
use std::path::Path;

/// Who listens at a port
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process
    Process {
        /// What it is called
        name: String,
        /// Its number
        pid: u32,
        /// Full identifier of the container that it runs in
        container: Option<String>,
    },
    /// Somebody who cannot be seen
    Hidden,
    /// Nobody
    Nobody,
}

/// Who takes connections at a TCP port of this host, at this address where one is given; blocks while
/// `/proc` is read
pub fn owner(port: u16, at: Option<IpAddr>) -> Owner {
    owner_in(Path::new("/proc"), port, at)
}

fn owner_in(proc: &Path, port: u16, at: Option<IpAddr>) -> Owner {
    let tables = ["net/tcp", "net/tcp6"];
    let tables = tables.map(|table| fs::read_to_string(proc.join(table)).unwrap_or_default());
    let sockets = tables.iter().flat_map(|table| listening(table, port));
    let sockets: HashSet<String> = taking(sockets.collect(), at)
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return Owner::Nobody;
    }
    let holds = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten();
        let mut links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| link.to_str().is_some_and(|link| sockets.contains(link)))
    };
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in numbers {
        let process = proc.join(pid.to_string());
        if !holds(&process) {
            continue;
        }
        // What is about to become another program has its parent's sockets until then. An
        // init that listens on behalf of a service is not who answers.
        let parents = successors(Some(pid), |pid| {
            parent_of(&fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?)
                .filter(|&parent| parent > 1 && holds(&proc.join(parent.to_string())))
        });
        let pid = parents.take(MOST_PARENTS).last().unwrap_or(pid);
        let process = proc.join(pid.to_string());
        let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
        return Owner::Process {
            name: read("comm").trim().to_owned(),
            pid,
            container: container_of(&read("cgroup")).map(str::to_owned),
        };
    }
    Owner::Hidden
}

/// Those of some sockets that take connections at an address, by their inodes: those that listen at it
/// alone come before those that listen at all of its host's
fn taking(sockets: Vec<(IpAddr, &str)>, at: Option<IpAddr>) -> impl Iterator<Item = &str> {
    let is_own = move |own: IpAddr| at.is_none_or(|at| own == at.to_canonical());
    let has_own = sockets.iter().any(|(own, _)| is_own(*own));
    // A socket at `::` may take IPv4 too, and none at `0.0.0.0` takes IPv6.
    let is_v6 = at.is_some_and(|at| at.to_canonical().is_ipv6());
    let takes = move |own: IpAddr| match has_own {
        true => is_own(own),
        false => own.is_unspecified() && (own.is_ipv6() || !is_v6),
    };
    let taking = sockets.into_iter().filter(move |(own, _)| takes(*own));
    taking.map(|(_, inode)| inode)
}

/// The sockets of a table that listen at a port: their addresses and inodes
fn listening(table: &str, port: u16) -> impl Iterator<Item = (IpAddr, &str)> {
    let port = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace();
        let address = fields.nth(1)?.strip_suffix(&port)?;
        let listens = fields.nth(1)? == LISTEN;
        let inode = fields.nth(5)?;
        Some((address_of(address)?, inode)).filter(|_| listens)
    })
}

/// An address as the kernel writes it: words of 32 bits, each in the order of this machine's bytes
fn address_of(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8);
    let words = words.map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let words: Vec<[u8; 4]> = words
        .map(|word| Some(word?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [v4] => Some(IpAddr::from(*v4)),
        [_, _, _, _] => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// The parent of a process, by its `stat`: its name stands between parentheses, and may hold some
fn parent_of(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The container that a process is in, by its control group
///
/// `docker-ID.scope`, `/docker/ID` and what other engines make of it: the last word of 64
/// hexadecimal digits.
fn container_of(cgroup: &str) -> Option<&str> {
    let mut words = cgroup.split(|letter: char| !letter.is_ascii_hexdigit());
    words.rfind(|word| word.len() == ID)
}

/// Processes above each other that are followed
const MOST_PARENTS: usize = 64;
/// TCP_LISTEN, as the kernel writes it
const LISTEN: &str = "0A";
/// Hexadecimal digits of a container's identifier
const ID: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0 100 0 0 10 0
   1: 0100007F:01BB 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 2222 1 0 100 0 0 10 0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3333 1 0 100 0 0 10 0
";
        let inodes = |port| listening(table, port).map(|(_, inode)| inode);
        assert_eq!(inodes(443).collect::<Vec<_>>(), ["1111"]);
        assert_eq!(inodes(80).collect::<Vec<_>>(), ["3333"]);
        assert_eq!(inodes(8443).count(), 0);
    }

    #[test]
    fn a_socket_at_an_address_comes_before_those_at_all() {
        let [first, second]: [IpAddr; 2] =
            ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let [all, all_v6]: [IpAddr; 2] = ["0.0.0.0", "::"].map(|ip| ip.parse().unwrap());
        #[track_caller]
        fn check(sockets: &[(IpAddr, &str)], at: &str, expected: &[&str]) {
            let found = taking(sockets.to_vec(), Some(at.parse().unwrap()));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{at}");
        }
        let own = [(first, "1"), (second, "2")];
        check(&own, "192.0.2.1", &["1"]);
        check(&own, "2001:db8::1", &["2"]);
        check(&own, "192.0.2.2", &[]);
        let mixed = [(all, "1"), (second, "2"), (all_v6, "3")];
        check(&mixed, "192.0.2.2", &["1", "3"]);
        check(&mixed, "2001:db8::1", &["2"]);
        check(&mixed, "2001:db8::2", &["3"]);
        let table = "0: 00000000000000000000000001000000:01BB 0:0 0A 0:0 0:0 0 0 0 7 1\n1: 0000000000000000FFFF00000100007F:01BB 0:0 0A 0:0 0:0 0 0 0 8 1\n";
        let read: Vec<(IpAddr, &str)> = listening(table, 443).collect();
        let expected = ["::1", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(read, [(expected[0], "7"), (expected[1], "8")]);
    }

    #[test]
    fn the_container_of_a_process_is_read_from_its_control_group() {
        let id = "0123456789abcdef".repeat(4);
        #[track_caller]
        fn check(cgroup: &str, expected: Option<&str>) {
            assert_eq!(container_of(cgroup), expected, "{cgroup}");
        }
        check(&format!("0::/system.slice/docker-{id}.scope\n"), Some(&id));
        check(&format!("12:pids:/docker/{id}\n0::/\n"), Some(&id));
        check(&format!("0::/docker/{id}/init\n"), Some(&id));
        check("0::/system.slice/nginx.service\n", None);
        check("", None);
    }

    #[test]
    fn a_child_that_has_its_parents_socket_is_not_the_owner() {
        use std::os::unix::fs::symlink;
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("net")).unwrap();
        let table = "head\n0: 0100007F:01BB 00000000:0000 0A 0:0 0:0 0 0 0 1111 1\n";
        let put = |file: &str, text: &str| {
            let from = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut from.as_file(), text.as_bytes()).unwrap();
            fs::copy(from.path(), proc.path().join(file)).unwrap();
        };
        put("net/tcp", table);
        for (pid, parent) in [(7, 90), (80, 7), (90, 1)] {
            let fds = proc.path().join(format!("{pid}/fd"));
            fs::create_dir_all(&fds).unwrap();
            symlink("socket:[1111]", fds.join("3")).unwrap();
            put(
                &format!("{pid}/stat"),
                &format!("{pid} (a (b) c) S {parent} 0\n"),
            );
            put(&format!("{pid}/comm"), "nginx\n");
        }
        let found = owner_in(proc.path(), 443, None);
        assert!(matches!(found, Owner::Process { pid: 90, .. }), "{found:?}");
    }

    #[test]
    fn a_socket_of_ones_own_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for at in [None, Some(Ipv4Addr::LOCALHOST.into())] {
            let found = owner(port, at);
            let is_own = matches!(&found, Owner::Process { pid, .. } if *pid == std::process::id());
            assert!(is_own, "{found:?}");
        }
        let other = Some(Ipv4Addr::new(127, 0, 0, 2).into());
        assert_eq!(owner(port, other), Owner::Nobody);
        drop(listener);
        assert_eq!(owner(port, None), Owner::Nobody);
    }
}
