//! What a container sees of the host's files: its mounts, and nothing beside them.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::container::Mount;

/// The files of a container: its mounts, those that cover others last
#[derive(Clone, Debug, Default)]
pub(super) struct Files(Vec<Mount>);

impl Files {
    /// Resolves the sources as Docker does when a container starts: once
    ///
    /// A source that is a link is therefore what it led to then. One that cannot be resolved
    /// shows nothing.
    pub(super) fn mount<'m>(mounts: impl Iterator<Item = &'m Mount>) -> Self {
        let resolved = mounts.filter_map(|mount| {
            Some(Mount {
                source: fs::canonicalize(&mount.source).ok()?,
                destination: mount.destination.clone(),
            })
        });
        let mut resolved: Vec<Mount> = resolved.collect();
        resolved.sort_by_key(|mount| mount.destination.components().count());
        Self(resolved)
    }

    /// The bytes of a file at a path in the container, at most so many
    pub(super) fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Errno> {
        let host = self.resolve(path)?.ok_or(Errno::EISDIR)?;
        let metadata = fs::metadata(&host).map_err(errno)?;
        if metadata.is_dir() {
            return Err(Errno::EISDIR);
        }
        // Opening a pipe would wait for its writer.
        if !metadata.is_file() {
            return Err(Errno::ENXIO);
        }
        let mut bytes = Vec::new();
        let file = File::open(&host).map_err(errno)?;
        file.take(limit).read_to_end(&mut bytes).map_err(errno)?;
        Ok(bytes)
    }

    /// The path on the host; `None` for a directory above the mounts, which is the image's
    ///
    /// Each link is followed in the container's own tree, one component at a time: what lies
    /// beside the mounts on the host is not there, however a link names it.
    fn resolve(&self, path: &Path) -> Result<Option<PathBuf>, Errno> {
        let mut left: VecDeque<OsString> = parts(path);
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == OsStr::new("..") {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            let Some(target) = self.link(&next)? else {
                at = next;
                if !left.is_empty() && !self.is_directory(&at)? {
                    return Err(Errno::ENOTDIR);
                }
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP);
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut ahead = parts(&target);
            ahead.append(&mut left);
            left = ahead;
        }
        Ok(self.on_host(&at))
    }

    /// Where a link at this path leads; `None` where something else is there
    fn link(&self, path: &Path) -> Result<Option<PathBuf>, Errno> {
        let Some(host) = self.on_host(path) else {
            return if self.is_above_mounts(path) {
                Ok(None)
            } else {
                Err(Errno::ENOENT)
            };
        };
        let metadata = fs::symlink_metadata(&host).map_err(errno)?;
        if metadata.is_symlink() {
            fs::read_link(&host).map(Some).map_err(errno)
        } else {
            Ok(None)
        }
    }

    fn is_directory(&self, path: &Path) -> Result<bool, Errno> {
        match self.on_host(path) {
            Some(host) => fs::symlink_metadata(host)
                .map(|metadata| metadata.is_dir())
                .map_err(errno),
            None => Ok(true),
        }
    }

    /// The path on the host by the deepest mount that holds it
    fn on_host(&self, path: &Path) -> Option<PathBuf> {
        let holds = |mount: &&Mount| path.starts_with(&mount.destination);
        let mount = self.0.iter().rev().find(holds)?;
        let rest = path.strip_prefix(&mount.destination).ok()?;
        // Joining an empty path would add a slash, and with it make a directory of a file.
        Some(if rest.as_os_str().is_empty() {
            mount.source.clone()
        } else {
            mount.source.join(rest)
        })
    }

    fn is_above_mounts(&self, path: &Path) -> bool {
        self.0
            .iter()
            .any(|mount| mount.destination.starts_with(path))
    }
}

/// The components that lead on from a directory
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Links that Linux follows in one path
const MAX_LINKS: usize = 40;
