//! A directory by its descriptor: no symlink leads away from it what is done in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
#[cfg(target_env = "gnu")]
use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, umask};
use nix::unistd::{
    AccessFlags, Gid, Uid, UnlinkatFlags, faccessat, fchown, geteuid, symlinkat, unlinkat,
};

use super::acting::{Acting, Owner};
use super::obstacle::Obstacle;
use super::resolve::{self, DIRECTORY};
use super::{Access, Entry};
use crate::crash::synced;

/// An open directory
#[derive(Debug)]
pub(super) struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
    owner: Owner,
    /// Permissions, sticky bit and the like
    mode: u32,
}

/// What a name in a directory stands for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    Other,
}

impl Directory {
    /// The directory at a path of the operator's, whose symlinks are followed
    pub(super) fn root(path: &Path) -> io::Result<Self> {
        Self::new(resolve::root(path)?, path.to_owned())
    }

    /// The directory at a relative path below it, where nothing on the way is a symlink
    pub(super) fn beneath(&self, below: &Path) -> io::Result<Self> {
        let path = self.path.join(below);
        if below.as_os_str().is_empty() {
            return Self::new(self.descriptor.try_clone()?, path);
        }
        let opened = resolve::beneath(&self.descriptor, below, DIRECTORY);
        Self::new(opened.map_err(|error| self.explained(below, error))?, path)
    }

    /// The directory with this name in it
    pub(super) fn enter(&self, name: &OsStr) -> io::Result<Self> {
        self.beneath(Path::new(name))
    }

    fn new(descriptor: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let stat = fstat(&descriptor)?;
        Ok(Self {
            descriptor,
            path,
            owner: owner(&stat),
            mode: stat.st_mode,
        })
    }

    /// Where it was opened, for messages
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Who owns it
    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// Makes a directory in it, with its mode from the start whatever the umask
    pub(super) fn make(&self, name: &OsStr, entry: Entry) -> io::Result<()> {
        let _acting = Acting::as_owner(self.owner);
        let _alone = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = Mode::from_bits_truncate(entry.mode());
        // The umask is the process's own: commands that it starts shall have it as it was.
        let before = umask(Mode::from_bits_truncate(OTHERS_WRITE));
        let made = mkdirat(&self.descriptor, name, mode);
        umask(before);
        Ok(made?)
    }

    /// Opens a directory that was just made in it, and mends its mode and group
    ///
    /// They are left alone where others may have put another directory in its place meanwhile.
    pub(super) fn settle(&self, name: &OsStr, entry: Entry) -> io::Result<Self> {
        let made = self.enter(name)?;
        if ![self.owner.user, geteuid()].contains(&made.owner.user) {
            // Whoever owns this one would own what is written to it.
            return Err(self.foreign(name));
        }
        if made.owner.user != self.owner.user || self.is_shared() {
            return Ok(made);
        }
        let _acting = Acting::as_owner(self.owner);
        if made.owner.group != self.owner.group {
            give_group(&made.descriptor, self.owner.group)?;
        }
        if made.mode & PERMISSIONS != entry.mode() {
            fchmod(&made.descriptor, Mode::from_bits_truncate(entry.mode()))?;
        }
        Ok(made)
    }

    /// Whether others than its owner may replace what is in it
    fn is_shared(&self) -> bool {
        self.mode & OTHERS_WRITE != 0 && self.mode & Mode::S_ISVTX.bits() == 0
    }

    /// Makes a file in it, which nobody else can read yet; an existing one is an error
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        let _acting = Acting::as_owner(self.owner);
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | PLAIN;
        let file = openat(
            &self.descriptor,
            name,
            flags,
            Mode::from_bits_truncate(0o600),
        )?;
        Ok(file.into())
    }

    /// Gives a file that was just made in it the owner of the directory, and a mode
    pub(super) fn give(&self, file: &File, access: Access) -> io::Result<()> {
        let made = fstat(file)?;
        if made.st_uid != self.owner.user.as_raw() {
            match fchown(file, Some(self.owner.user), Some(self.owner.group)) {
                // Only root can give files away; without root they stay the user's own.
                Err(Errno::EPERM) if !geteuid().is_root() => {}
                outcome => outcome?,
            }
        } else if made.st_gid != self.owner.group.as_raw() {
            give_group(file, self.owner.group)?;
        }
        if let Access::Group(group) = access {
            fchown(file, None, Some(Gid::from_raw(group)))?;
        }
        match made.st_mode & PERMISSIONS == access.mode() {
            true => Ok(()),
            false => self.chmod(file, access),
        }
    }

    /// Gives a file in it a mode, with the rights of the directory's owner
    pub(super) fn chmod(&self, file: &File, access: Access) -> io::Result<()> {
        let _acting = Acting::as_owner(self.owner);
        Ok(fchmod(file, Mode::from_bits_truncate(access.mode()))?)
    }

    /// The error for something in it that somebody else may use too
    pub(super) fn foreign(&self, name: &OsStr) -> io::Error {
        match self.obstacle(Path::new(name)) {
            Some(obstacle) => io::Error::other(obstacle),
            None => io::ErrorKind::NotFound.into(),
        }
    }

    /// Opens a plain file in it, as it is
    pub(super) fn open(&self, name: &OsStr, flags: OFlag) -> io::Result<File> {
        let _acting = Acting::as_owner(self.owner);
        let opened = resolve::beneath(&self.descriptor, Path::new(name), flags | PLAIN);
        let file = File::from(opened.map_err(|error| self.explained(Path::new(name), error))?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(self.explained(Path::new(name), Errno::ENOTSUP)),
        }
    }

    /// Opens a plain file below it to read it, where nothing on the way is a symlink
    pub(super) fn read(&self, below: &Path) -> io::Result<File> {
        let opened = resolve::beneath(&self.descriptor, below, OFlag::O_RDONLY | PLAIN);
        let file = File::from(opened.map_err(|error| self.explained(below, error))?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(self.explained(below, Errno::ENOTSUP)),
        }
    }

    /// Renames what is in it
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let _acting = Acting::as_owner(self.owner);
        Ok(renameat(&self.descriptor, from, &self.descriptor, to)?)
    }

    /// Exchanges what two names in it stand for
    pub(super) fn exchange(&self, one: &OsStr, other: &OsStr) -> io::Result<()> {
        #[cfg(target_env = "gnu")]
        {
            let _acting = Acting::as_owner(self.owner);
            let (at, flags) = (&self.descriptor, RenameFlags::RENAME_EXCHANGE);
            Ok(renameat2(at, one, at, other, flags)?)
        }
        // nix has the call for glibc alone.
        #[cfg(not(target_env = "gnu"))]
        {
            let _ = (one, other);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Makes a symlink in it
    pub(super) fn link(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        let _acting = Acting::as_owner(self.owner);
        Ok(symlinkat(target, &self.descriptor, name)?)
    }

    /// What a symlink in it holds
    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<PathBuf> {
        Ok(readlinkat(&self.descriptor, name)?.into())
    }

    /// Removes a file or a symlink
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        let _acting = Acting::as_owner(self.owner);
        Ok(unlinkat(
            &self.descriptor,
            name,
            UnlinkatFlags::NoRemoveDir,
        )?)
    }

    /// Removes a directory that holds nothing
    pub(super) fn remove_empty(&self, name: &OsStr) -> io::Result<()> {
        let _acting = Acting::as_owner(self.owner);
        Ok(unlinkat(&self.descriptor, name, UnlinkatFlags::RemoveDir)?)
    }

    /// Removes a directory with all that is in it
    pub(super) fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        self.remove_below(name, DEEPEST)
    }

    fn remove_below(&self, name: &OsStr, left: usize) -> io::Result<()> {
        let directory = self.enter(name)?;
        for (inner, kind) in directory.entries()? {
            match (kind, left) {
                (Kind::Directory, 0) => return Err(Errno::ELOOP.into()),
                (Kind::Directory, _) => directory.remove_below(&inner, left - 1)?,
                _ => directory.remove(&inner)?,
            }
        }
        self.remove_empty(name)
    }

    /// Whether names may be made in it, as far as the system tells
    ///
    /// Where it does not tell, which an engine's filter of system calls may see to, they may.
    pub(super) fn admits(&self) -> io::Result<()> {
        let _acting = Acting::as_owner(self.owner);
        let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
        match faccessat(&self.descriptor, ".", wanted, AtFlags::AT_EACCESS) {
            Err(error @ (Errno::EACCES | Errno::EROFS)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// What a name in it stands for, no symlink followed
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(fstatat(
            &self.descriptor,
            name,
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?)
    }

    /// The names in it and what they stand for
    pub(super) fn entries(&self) -> io::Result<Vec<(OsString, Kind)>> {
        let mut listing = Dir::openat(&self.descriptor, ".", DIRECTORY, Mode::empty())?;
        let mut found = Vec::new();
        for entry in listing.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                Some(Type::File) => Kind::File,
                Some(Type::Directory) => Kind::Directory,
                Some(Type::Symlink) => Kind::Symlink,
                Some(_) => Kind::Other,
                // Some file systems do not tell with the name.
                None => kind(&self.stat(name)?),
            };
            found.push((name.to_owned(), kind));
        }
        Ok(found)
    }

    /// Has its names on disk
    ///
    /// Some file systems (CIFS, some in user space) cannot do so for a directory, and say so.
    pub(super) fn sync(&self) -> io::Result<()> {
        synced(&self.path);
        match nix::unistd::fsync(&self.descriptor) {
            Err(Errno::EINVAL | Errno::ENOTSUP) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// The error for a path below it that does not lead to what it should, told as what is there
    fn explained(&self, below: &Path, error: Errno) -> io::Error {
        if !matches!(
            error,
            Errno::ELOOP
                | Errno::ENOTDIR
                | Errno::EXDEV
                | Errno::EISDIR
                | Errno::ENOTSUP
                | Errno::ENXIO
        ) {
            return error.into();
        }
        match self.obstacle(below) {
            Some(obstacle) => io::Error::other(obstacle),
            None => error.into(),
        }
    }

    /// The first thing on a path below it that is no directory
    fn obstacle(&self, below: &Path) -> Option<Obstacle> {
        let mut at = PathBuf::new();
        for part in below.components() {
            at.push(part);
            let stat = fstatat(&self.descriptor, &at, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
            let kind = kind(&stat);
            if kind != Kind::Directory || at == below {
                return Some(Obstacle {
                    path: self.path.join(at),
                    what: match kind {
                        Kind::File if stat.st_nlink > 1 => "a file with another name",
                        Kind::File => "a file",
                        Kind::Directory => "a directory",
                        Kind::Symlink => "a symlink",
                        Kind::Other => "no plain file",
                    },
                    user: stat.st_uid,
                });
            }
        }
        None
    }
}

/// Gives something a group, where the process may do so
fn give_group(file: impl AsFd, group: Gid) -> io::Result<()> {
    match fchown(file, None, Some(group)) {
        // Only root can give to groups that it is not in; without root the user's own stays.
        Err(Errno::EPERM) if !geteuid().is_root() => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn owner(stat: &FileStat) -> Owner {
    Owner {
        user: Uid::from_raw(stat.st_uid),
        group: Gid::from_raw(stat.st_gid),
    }
}

/// What something is
pub(super) fn kind(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Symlink,
        _ => Kind::Other,
    }
}

/// A pipe or a device in a file's place must not make certd wait
const PLAIN: OFlag = OFlag::O_NOFOLLOW
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);
/// Held while the umask is another than the process was started with
static UMASK: Mutex<()> = Mutex::new(());
const PERMISSIONS: u32 = 0o777;
const OTHERS_WRITE: u32 = 0o022;
/// Directories in each other that are removed: certd makes none in a generation
const DEEPEST: usize = 8;
