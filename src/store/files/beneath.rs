//! Files below a webroot, where others may write too.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{FileError, own_like};
use crate::crash::step;

/// A directory below a webroot, reached without following a symlink
///
/// Whoever may write into the webroot must not be able to lead certd elsewhere.
#[derive(Debug)]
pub struct Beneath {
    directory: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// The directory `root/part/part`, its missing parts made with mode 0755
    ///
    /// # Errors
    /// [`FileError`] with the part at fault; a symlink there is `NotADirectory`.
    pub fn open(root: &Path, parts: &[&str]) -> Result<Self, FileError> {
        let handle = File::open(root).map_err(|source| FileError::new("open", root, source))?;
        let owner = handle
            .metadata()
            .map_err(|source| FileError::new("open", root, source))?;
        let mut beneath = Self {
            directory: handle.into(),
            path: root.to_owned(),
        };
        for part in parts {
            beneath = beneath
                .enter(part, &owner)
                .map_err(|source| FileError::new("open", &beneath.path.join(part), source))?;
        }
        Ok(beneath)
    }

    fn enter(&self, part: &str, owner: &fs::Metadata) -> io::Result<Self> {
        let made = match mkdirat(&self.directory, part, Mode::from_bits_truncate(0o755)) {
            Ok(()) => true,
            Err(nix::Error::EEXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let directory = openat(&self.directory, part, flags, Mode::empty())?;
        if made {
            step("made", &self.path.join(part))?;
            fchmod(&directory, Mode::from_bits_truncate(0o755))?;
            own_like(&directory, owner)?;
            step("finished", &self.path.join(part))?;
        }
        Ok(Self {
            directory,
            path: self.path.join(part),
        })
    }

    /// Path of the directory, for messages
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a new file with mode 0644; a file or symlink of that name is replaced, not followed
    ///
    /// The file is given open and locked, so that [`Beneath::remove_abandoned`] leaves it until its
    /// holder drops it or ends. Tokens are not synced: after a power cut nobody asks for them.
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<File, FileError> {
        let path = self.path.join(name);
        let failed = |source| FileError::new("write", &path, source);
        self.remove(name)?;
        let flags =
            OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
        let mut file = File::from(
            openat(
                &self.directory,
                name,
                flags,
                Mode::from_bits_truncate(0o644),
            )
            .map_err(|error| failed(error.into()))?,
        );
        // A file system without locks never lets it be taken for abandoned.
        let _ = file.try_lock();
        let owner = File::from(self.directory.try_clone().map_err(failed)?)
            .metadata()
            .map_err(failed)?;
        step("begun", &path).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        file.set_permissions(Permissions::from_mode(0o644))
            .map_err(failed)?;
        own_like(&file, &owner).map_err(failed)?;
        step("written", &path).map_err(failed)?;
        Ok(file)
    }

    /// Removes a file that nobody holds any more: its writer was killed
    ///
    /// # Errors
    /// [`FileError`] with the path; a file that cannot be opened or locked stays.
    pub fn remove_abandoned(&self, name: &str) -> Result<(), FileError> {
        let failed = |source| FileError::new("remove", &self.path.join(name), source);
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let file = openat(&self.directory, name, flags, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        match File::from(file).try_lock() {
            Ok(()) => self.remove(name),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Removes a file; one that is gone already is fine
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        let path = self.path.join(name);
        let failed = |source| FileError::new("remove", &path, source);
        match unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => step("removed", &path).map_err(failed),
            Err(nix::Error::ENOENT) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }
}
