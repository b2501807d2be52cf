//! From a path to a descriptor: whose symlinks are followed, and whose are not.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::geteuid;

use super::obstacle::Obstacle;

/// How a directory is opened
pub(super) const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Opens a directory at a path of the operator's, and follows symlinks in it
///
/// Where root does so, a symlink of somebody else's may lead to a directory of his own alone: he
/// could otherwise have root make its files anywhere.
pub(super) fn root(path: &Path) -> io::Result<OwnedFd> {
    match geteuid().is_root() {
        false => Ok(openat(AT_FDCWD, path, DIRECTORY, Mode::empty())?),
        true => chase(&std::path::absolute(path)?),
    }
}

/// The same, part by part, each by its descriptor: nothing can be exchanged between look and use
fn chase(path: &Path) -> io::Result<OwnedFd> {
    let mut left: VecDeque<OsString> = parts(path).collect();
    let mut above = vec![openat(AT_FDCWD, "/", PASSING, Mode::empty())?];
    let mut strangers: Vec<Obstacle> = Vec::new();
    let mut followed = 0;
    let mut at = PathBuf::from("/");
    while let Some(part) = left.pop_front() {
        if part == ".." {
            // Above the root directory there is the root directory.
            if above.len() > 1 {
                above.pop();
                at.pop();
            }
            continue;
        }
        let Some(here) = above.last() else {
            return Err(Errno::ENOENT.into());
        };
        let next = openat(here, part.as_os_str(), PASSING, Mode::empty())?;
        let found = fstat(&next)?;
        if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
            above.push(next);
            at.push(part);
            continue;
        }
        followed += 1;
        if followed > MOST_SYMLINKS {
            return Err(Errno::ELOOP.into());
        }
        if found.st_uid != 0 {
            strangers.push(Obstacle {
                path: at.join(&part),
                what: "a symlink",
                user: found.st_uid,
            });
        }
        let target = PathBuf::from(readlinkat(&next, "")?);
        if target.is_absolute() {
            above.truncate(1);
            at = PathBuf::from("/");
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            left.push_front(part);
        }
    }
    let Some(end) = above.last() else {
        return Err(Errno::ENOENT.into());
    };
    let directory = openat(end, ".", DIRECTORY, Mode::empty())?;
    let owner = fstat(&directory)?.st_uid;
    match strangers.into_iter().find(|link| link.user != owner) {
        Some(link) => Err(io::Error::other(link)),
        None => Ok(directory),
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

/// Opens a relative path below a directory; no symlink is followed and nothing leads out of it
pub(super) fn beneath(directory: &OwnedFd, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(flags).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    );
    match openat2(directory, below, how) {
        // Older kernels lack it, older container engines forbid what they do not know, and
        // something may have been renamed on the way while the kernel looked.
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EAGAIN) => walk(directory, below, flags),
        outcome => outcome,
    }
}

/// The same, one part of the path after the other
pub(super) fn walk(directory: &OwnedFd, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let mut parts = below.components().peekable();
    let mut above: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(Errno::EXDEV);
        };
        let here = above.as_ref().unwrap_or(directory);
        if parts.peek().is_none() {
            return openat(here, name, flags | OFlag::O_NOFOLLOW, Mode::empty());
        }
        let flags = PASSING | OFlag::O_DIRECTORY;
        above = Some(openat(here, name, flags, Mode::empty())?);
    }
    Err(Errno::EINVAL)
}

/// How something on the way is opened, a symlink as itself
const PASSING: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// As many as the kernel follows (path_resolution(7))
const MOST_SYMLINKS: usize = 40;
