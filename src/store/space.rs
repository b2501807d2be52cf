//! What a directory lies on: enough room, and a place that survives a restart?

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, User, access};

use super::files::owner_instead;
use crate::facts::{DirectoryFacts, FileSystem, Writing};

/// What there is to know of a directory
///
/// One that is not there yet is judged by the nearest directory above it, which it will be made
/// in.
///
/// # Errors
/// Those of the system, with the path that was looked at.
pub fn look(path: &Path) -> Result<DirectoryFacts, (PathBuf, io::Error)> {
    let mut existing = Path::new("/");
    for at in path.ancestors() {
        // What may not be looked at is not missing.
        if at.try_exists().map_err(|error| (at.to_owned(), error))? {
            existing = at;
            break;
        }
    }
    let failed = |error: nix::Error| (existing.to_owned(), io::Error::from(error));
    let stat = statfs(existing).map_err(failed)?;
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    Ok(DirectoryFacts {
        path: path.to_owned(),
        nearest: existing.to_owned(),
        meant: None,
        writing: match access(existing, flags) {
            Ok(()) => Writing::Allowed,
            Err(Errno::EROFS) => Writing::ReadOnly,
            Err(_) => Writing::Forbidden,
        },
        acts_as: acts_as(existing),
        free_bytes: match stat.blocks() {
            // Some network file systems do not say how large they are.
            0 => u64::MAX,
            _ => stat
                .blocks_available()
                .saturating_mul(u64::try_from(stat.block_size()).unwrap_or_default()),
        },
        file_system: kind(stat.filesystem_type()),
    })
}

/// The owner of a directory, if root works there with his rights; his number where he has no name
fn acts_as(directory: &Path) -> Option<String> {
    let owner = owner_instead(directory)?;
    Some(match User::from_uid(owner) {
        Ok(Some(user)) => user.name,
        _ => format!("user {owner}"),
    })
}

fn kind(found: FsType) -> FileSystem {
    if found == TMPFS_MAGIC {
        FileSystem::Memory
    } else if found == OVERLAYFS_SUPER_MAGIC && is_in_container() {
        FileSystem::ContainerLayer
    } else {
        FileSystem::Disk
    }
}

/// Whether Docker or Podman runs this process: other systems lie on an overlay that lasts
fn is_in_container() -> bool {
    MARKS.iter().any(|mark| Path::new(mark).exists())
}

const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_judged_by_the_one_above() {
        let home = tempfile::tempdir().unwrap();
        let there = look(home.path()).unwrap();
        assert_eq!((&*there.path, &*there.nearest), (home.path(), home.path()));
        assert_eq!(there.writing, Writing::Allowed);
        assert!(there.free_bytes > 0);
        let missing = home.path().join("a/b");
        let facts = look(&missing).unwrap();
        assert_eq!((facts.path, &*facts.nearest), (missing, home.path()));
        assert_eq!(facts.writing, Writing::Allowed);
    }
}
