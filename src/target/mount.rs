//! Which path of the host is which in a container, and which mounts hold an old file.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::facts::{Container, Mount};
use crate::name::DnsName;

/// The path in the container of a path on the host; `None` where no mount holds it
///
/// Both sides are compared with symlinks resolved; the deepest mount wins.
pub fn in_container(container: &Container, host: &Path) -> Option<PathBuf> {
    container
        .mounts
        .iter()
        .filter_map(|mount| {
            host.strip_prefix(&mount.source)
                .ok()
                .map(|rest| (mount, rest))
        })
        .max_by_key(|(mount, _)| mount.source.components().count())
        .map(|(mount, rest)| join(&mount.destination, rest))
}

/// `base/rest`, without the trailing slash that joining an empty path leaves
fn join(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        base.to_owned()
    } else {
        base.join(rest)
    }
}

/// A mount inside a lineage: it holds the generation of the container's start
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The mount
    pub mount: Mount,
}

/// The mounts that pin a generation of this lineage
///
/// Docker resolves the source of a mount once, when the container starts. A mount of
/// `live/<name>`, of a generation, or of a file in one therefore shows the old generation until
/// the container restarts, whatever the link on the host says.
pub fn pinned(container: &Container, storage: &Path, name: &DnsName) -> Vec<Pinned> {
    let live = storage.join("live").join(name.as_str());
    let archive = storage.join("archive").join(name.as_str());
    container
        .mounts
        .iter()
        .filter(|mount| mount.source.starts_with(&live) || mount.source.starts_with(&archive))
        .map(|mount| Pinned {
            mount: mount.clone(),
        })
        .collect()
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is mounted at {}",
            self.mount.source.display(),
            self.mount.destination.display()
        )
    }
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
    fn the_deepest_mount_gives_the_path() {
        let container = container(&[
            ("/srv", "/data"),
            ("/srv/letsencrypt", "/etc/letsencrypt"),
            ("/var/www/certbot", "/var/www/certbot"),
        ]);
        #[track_caller]
        fn check(container: &Container, host: &str, expected: Option<&str>) {
            let found = in_container(container, Path::new(host));
            assert_eq!(found, expected.map(PathBuf::from), "{host}");
        }
        check(
            &container,
            "/srv/letsencrypt/live/a",
            Some("/etc/letsencrypt/live/a"),
        );
        check(&container, "/srv/letsencrypt", Some("/etc/letsencrypt"));
        check(&container, "/srv/other", Some("/data/other"));
        check(&container, "/srv2/other", None);
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
