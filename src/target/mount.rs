//! Which path of the host is which in a container, and which mounts hold an old file.

use std::path::{Path, PathBuf};

use crate::facts::{Container, Mount};
use crate::name::DnsName;

/// The paths in the container of a path on the host, by path; none where no mount holds it
///
/// Both sides are compared with symlinks resolved. A path that a deeper mount covers is given
/// only where there is no other: reading it shows what covers it.
pub fn in_container(container: &Container, host: &Path) -> Vec<PathBuf> {
    let (mut covered, mut open) = (Vec::new(), Vec::new());
    for mount in &container.mounts {
        let Ok(rest) = host.strip_prefix(&mount.source) else {
            continue;
        };
        let path = join(&mount.destination, rest);
        let covers = |other: &Mount| {
            path.starts_with(&other.destination)
                && other.destination.starts_with(&mount.destination)
                && other.destination != mount.destination
        };
        if container.mounts.iter().any(covers) {
            covered.push(path);
        } else {
            open.push(path);
        }
    }
    let mut paths = if open.is_empty() { covered } else { open };
    paths.sort();
    paths
}

/// Where a file of a container lies
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies<'c> {
    /// On this mount, the deepest one that holds it
    OnMount(&'c Mount),
    /// On none: in the container's own layer, or in memory
    InContainer,
}

/// Where a path of a container lies, by the mounts that its engine tells of
pub fn lies<'c>(container: &'c Container, path: &Path) -> Lies<'c> {
    let mounts = container.mounts.iter();
    let holding = mounts.filter(|mount| path.starts_with(&mount.destination));
    let deepest = holding.max_by_key(|mount| mount.destination.components().count());
    deepest.map_or(Lies::InContainer, Lies::OnMount)
}

/// `base/rest`, without the trailing slash that joining an empty path leaves
fn join(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        base.to_owned()
    } else {
        base.join(rest)
    }
}

/// The mounts that pin a generation of this lineage
///
/// Docker resolves the source of a mount once, when the container starts. A mount of
/// `live/<name>`, of a generation, or of a file in one therefore shows the old generation until
/// the container restarts, whatever the link on the host says.
pub fn pinned<'c>(container: &'c Container, storage: &Path, name: &DnsName) -> Vec<&'c Mount> {
    let live = storage.join("live").join(name.as_str());
    let archive = storage.join("archive").join(name.as_str());
    container
        .mounts
        .iter()
        .filter(|mount| mount.source.starts_with(&live) || mount.source.starts_with(&archive))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(mounts: &[(&str, &str)]) -> Container {
        Container {
            mounts: mounts
                .iter()
                .map(|(source, destination)| Mount {
                    source: source.into(),
                    destination: destination.into(),
                })
                .collect(),
            ..Container::default()
        }
    }

    #[test]
    fn every_mount_that_is_not_covered_gives_a_path() {
        let container = container(&[
            ("/srv", "/data"),
            ("/srv/letsencrypt", "/etc/letsencrypt"),
            ("/srv/letsencrypt", "/backup"),
            ("/elsewhere", "/data/letsencrypt"),
            ("/srv/letsencrypt/live", "/certs"),
        ]);
        #[track_caller]
        fn check(container: &Container, host: &str, expected: &[&str]) {
            let found = in_container(container, Path::new(host));
            assert_eq!(
                found,
                expected.iter().map(PathBuf::from).collect::<Vec<_>>(),
                "{host}"
            );
        }
        let both = ["/backup", "/etc/letsencrypt"];
        check(&container, "/srv/letsencrypt", &both);
        let live = ["/backup/live", "/certs", "/etc/letsencrypt/live"];
        check(&container, "/srv/letsencrypt/live", &live);
        check(&container, "/srv/other", &["/data/other"]);
        check(&container, "/srv2/other", &[]);
    }

    #[test]
    fn a_mount_inside_a_lineage_pins_it() {
        let storage = Path::new("/etc/letsencrypt");
        let name = DnsName::parse("a.test").unwrap();
        #[track_caller]
        fn check(storage: &Path, name: &DnsName, source: &str, expected: usize) {
            let container = container(&[(source, "/x")]);
            assert_eq!(
                pinned(&container, storage, name).len(),
                expected,
                "{source}"
            );
        }
        check(storage, &name, "/etc/letsencrypt", 0);
        check(storage, &name, "/etc/letsencrypt/live", 0);
        check(storage, &name, "/etc/letsencrypt/live/a.test", 1);
        check(storage, &name, "/etc/letsencrypt/archive/a.test/3", 1);
        check(
            storage,
            &name,
            "/etc/letsencrypt/archive/a.test/3/fullchain.pem",
            1,
        );
        check(storage, &name, "/etc/letsencrypt/live/a.test.example", 0);
        check(storage, &name, "/etc/letsencrypt/live/b.test", 0);
    }
}
