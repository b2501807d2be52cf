//! From a path to a descriptor: whose symlinks are followed, and whose are not.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
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
        true => chase(path),
    }
}

/// The same, part by part
fn chase(path: &Path) -> io::Result<OwnedFd> {
    let mut walk = Walk::new(path)?;
    let mut strangers: Vec<Obstacle> = Vec::new();
    while let Some(passed) = walk.step()? {
        if passed.is_symlink() && passed.stat.st_uid != 0 {
            strangers.push(Obstacle {
                path: passed.path,
                what: "a symlink",
                user: passed.stat.st_uid,
            });
        }
    }
    let directory = openat(walk.end()?, ".", DIRECTORY, Mode::empty())?;
    let owner = fstat(&directory)?.st_uid;
    match strangers.into_iter().find(|link| link.user != owner) {
        Some(link) => Err(io::Error::other(link)),
        None => Ok(directory),
    }
}

/// The way from `/` to the end of a path, each part by its descriptor: nothing can be exchanged
/// between look and use
#[derive(Debug)]
pub struct Walk {
    left: VecDeque<OsString>,
    /// From `/` to where the walk is, without symlinks
    above: Vec<OwnedFd>,
    at: PathBuf,
    followed: usize,
}

/// A directory, a symlink or a file on the way
#[derive(Debug)]
pub struct Passed {
    /// Where it is, with no symlink above it
    pub path: PathBuf,
    /// What the system says of it
    pub stat: FileStat,
}

impl Passed {
    fn is_symlink(&self) -> bool {
        SFlag::from_bits_truncate(self.stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK
    }
}

impl Walk {
    /// The way to a path, of which no step is taken yet
    ///
    /// # Errors
    /// Those of the system for a relative path, where there is no working directory.
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            left: parts(&std::path::absolute(path)?).collect(),
            above: Vec::new(),
            at: PathBuf::new(),
            followed: 0,
        })
    }

    /// Takes a step, and gives what it came to; `None` at the end
    ///
    /// # Errors
    /// Those of the system, for what is missing or closed.
    pub fn step(&mut self) -> io::Result<Option<Passed>> {
        while let Some(part) = self.left.pop_front() {
            if part == ".." {
                // Above the root directory there is the root directory.
                if self.above.len() > 1 {
                    self.above.pop();
                    self.at.pop();
                }
                continue;
            }
            if part == ROOT {
                self.above.clear();
            }
            let next = match self.above.last() {
                Some(here) => openat(here, part.as_os_str(), PASSING, Mode::empty()),
                None => openat(AT_FDCWD, part.as_os_str(), PASSING, Mode::empty()),
            }?;
            let passed = Passed {
                path: self.at.join(&part),
                stat: fstat(&next)?,
            };
            match passed.is_symlink() {
                true => self.follow(&next)?,
                false => {
                    self.above.push(next);
                    self.at.push(part);
                }
            }
            return Ok(Some(passed));
        }
        Ok(None)
    }

    fn follow(&mut self, link: &OwnedFd) -> io::Result<()> {
        self.followed += 1;
        if self.followed > MOST_SYMLINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = PathBuf::from(readlinkat(link, "")?);
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            self.left.push_front(part);
        }
        Ok(())
    }

    /// Where the walk is, which is no symlink
    fn end(&self) -> io::Result<&OwnedFd> {
        Ok(self.above.last().ok_or(Errno::ENOENT)?)
    }

    /// Where the walk is, with no symlink above it
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Opens the file that the walk has come to; a symlink that took its place is not followed
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(&self, flags: OFlag) -> io::Result<File> {
        let [.., directory, _] = self.above.as_slice() else {
            return Err(Errno::EISDIR.into());
        };
        let name = self.at.file_name().ok_or(Errno::EISDIR)?;
        Ok(openat(directory, name, flags | OFlag::O_NOFOLLOW, Mode::empty())?.into())
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir => Some(ROOT.into()),
        Component::Prefix(_) | Component::CurDir => None,
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

const ROOT: &str = "/";
/// How something on the way is opened, a symlink as itself
const PASSING: OFlag = OFlag::O_PATH
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// As many as the kernel follows (path_resolution(7))
const MOST_SYMLINKS: usize = 40;
