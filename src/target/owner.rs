//! Who listens at a TCP port of this host: the socket's process, and the container that it runs in.
//!
//! The kernel tells it in `/proc`, and only of one's own processes, or to root.

use std::collections::HashSet;
use std::fs;
use std::iter::successors;
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

/// Who listens at a TCP port of this host; blocks while `/proc` is read
pub fn owner(port: u16) -> Owner {
    owner_in(Path::new("/proc"), port)
}

fn owner_in(proc: &Path, port: u16) -> Owner {
    let tables = ["net/tcp", "net/tcp6"];
    let tables = tables.map(|table| fs::read_to_string(proc.join(table)).unwrap_or_default());
    let sockets: HashSet<String> = tables
        .iter()
        .flat_map(|table| listening(table, port))
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

/// The sockets of a table that listen at a port, by their inodes
fn listening(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let port = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace();
        let is_there = fields.nth(1)?.ends_with(&port);
        let listens = fields.nth(1)? == LISTEN;
        let inode = fields.nth(5)?;
        (is_there && listens).then_some(inode)
    })
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
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0 100 0 0 10 0
   1: 0100007F:01BB 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 2222 1 0 100 0 0 10 0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3333 1 0 100 0 0 10 0
";
        assert_eq!(listening(table, 443).collect::<Vec<_>>(), ["1111"]);
        assert_eq!(listening(table, 80).collect::<Vec<_>>(), ["3333"]);
        assert_eq!(listening(table, 8443).count(), 0);
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
        let found = owner_in(proc.path(), 443);
        assert!(matches!(found, Owner::Process { pid: 90, .. }), "{found:?}");
    }

    #[test]
    fn a_socket_of_ones_own_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = owner(port);
        let is_own = matches!(&found, Owner::Process { pid, .. } if *pid == std::process::id());
        assert!(is_own, "{found:?}");
        drop(listener);
        assert_eq!(owner(port), Owner::Nobody);
    }
}
