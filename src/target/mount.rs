//! Which path of the host is which in a container, and which mounts hold an old file.

use std::fs;
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

/// The path on the host of a path of a container; `None` where it lies on no mount
pub fn on_host(container: &Container, path: &Path) -> Option<PathBuf> {
    match lies(container, path) {
        Lies::OnMount(mount) => {
            let rest = path.strip_prefix(&mount.destination).ok()?;
            Some(join(&mount.source, rest))
        }
        Lies::InContainer => None,
    }
}

/// Where a path of a container leads through the symlinks that lie on its mounts
///
/// They are read on the host: the container need not run.
pub fn goal(container: &Container, path: &Path) -> PathBuf {
    followed(container, path, |at| fs::read_link(at).ok())
}

/// The same, where `link` gives what a symlink of the host holds
fn followed(
    container: &Container,
    path: &Path,
    link: impl Fn(&Path) -> Option<PathBuf>,
) -> PathBuf {
    let parts = |path: &Path| -> Vec<PathBuf> {
        let parts = path.components().rev();
        parts.map(|part| PathBuf::from(part.as_os_str())).collect()
    };
    let (mut left, mut at, mut links) = (parts(path), PathBuf::new(), 0);
    while let Some(part) = left.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        let next = at.join(part);
        match on_host(container, &next).and_then(|at| link(&at)) {
            // What it holds starts from the directory that it lies in, or from the root.
            Some(target) if links < MOST_LINKS => {
                links += 1;
                left.extend(parts(&target));
            }
            _ => at = next,
        }
    }
    at
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

/// Symlinks on the way of one path, as many as Linux follows
const MOST_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlinks_on_mounts_are_followed_as_the_container_would() {
        let web = container(&[
            ("/srv/nginx", "/etc/nginx"),
            ("/srv/le", "/etc/letsencrypt"),
        ]);
        let links = [
            (
                "/srv/nginx/certs/a.pem",
                "/etc/letsencrypt/live/a.test/fullchain.pem",
            ),
            (
                "/srv/nginx/certs/b.pem",
                "../../letsencrypt/live/b.test/fullchain.pem",
            ),
            ("/srv/nginx/c", "certs/."),
            ("/srv/nginx/loop", "loop"),
        ];
        let link = |path: &Path| {
            let mut links = links.iter();
            let found = links.find(|(at, _)| Path::new(at) == path);
            found.map(|(_, target)| PathBuf::from(target))
        };
        let check = |path: &str, expected: &str| {
            assert_eq!(followed(&web, Path::new(path), link), Path::new(expected));
        };
        let a = "/etc/letsencrypt/live/a.test/fullchain.pem";
        check("/etc/nginx/certs/a.pem", a);
        check("/etc/nginx/c/a.pem", a);
        check(
            "/etc/nginx/certs/b.pem",
            "/etc/letsencrypt/live/b.test/fullchain.pem",
        );
        check("/etc/nginx/loop", "/etc/nginx/loop");
        check("/opt/certs/a.pem", "/opt/certs/a.pem");
        assert_eq!(on_host(&web, Path::new("/opt/a")), None);
    }

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
