//! Files below a webroot, where others may write too.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::directory::Directory;
use super::{Access, Entry, FileError};
use crate::crash::step;

/// A directory below a webroot, reached without following a symlink
///
/// Whoever may write into the webroot must not be able to lead certd elsewhere.
#[derive(Debug)]
pub struct Beneath {
    directory: Directory,
}

impl Beneath {
    /// The directory `root/part/part`, its missing parts made with mode 0755
    ///
    /// # Errors
    /// [`FileError`] with the part at fault; one that is no directory is an obstacle.
    pub fn open(root: &Path, parts: &[&str]) -> Result<Self, FileError> {
        let opened = Directory::root(root);
        let mut directory = opened.map_err(|source| FileError::new("open", root, source))?;
        for part in parts {
            directory = enter(&directory, OsStr::new(part))
                .map_err(|source| FileError::new("open", &directory.path().join(part), source))?;
        }
        Ok(Self { directory })
    }

    /// The same directory, if it is there; nothing is made
    pub fn existing(root: &Path, parts: &[&str]) -> Option<Self> {
        let below: PathBuf = parts.iter().collect();
        let directory = Directory::root(root).and_then(|root| root.beneath(&below));
        Some(Self {
            directory: directory.ok()?,
        })
    }

    /// Path of the directory, for messages
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a new file with mode 0644; whatever has that name already is left alone
    ///
    /// The file is given open and locked, so that [`Beneath::remove_abandoned`] leaves it until its
    /// holder drops it or ends. Tokens are not synced: after a power cut nobody asks for them.
    ///
    /// # Errors
    /// [`FileError`] with the path; nothing is left of it then.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<File, FileError> {
        let path = self.path().join(name);
        let failed = |source| FileError::new("write", &path, source);
        let mut file = self.directory.create(OsStr::new(name)).map_err(failed)?;
        // A file system without locks never lets it be taken for abandoned.
        let _ = file.try_lock();
        let fill = |file: &mut File| {
            step("begun", &path)?;
            file.write_all(bytes)?;
            self.directory.give(file, Access::Everyone)?;
            step("written", &path)
        };
        fill(&mut file).map_err(|source| {
            // The error that came first says what is wrong.
            let _ = self.remove(name, &file);
            failed(source)
        })?;
        Ok(file)
    }

    /// The names in it that are UTF-8
    ///
    /// # Errors
    /// Those of the system.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = self.directory.entries()?.into_iter();
        Ok(entries
            .filter_map(|(name, _)| name.into_string().ok())
            .collect())
    }

    /// Removes a file that nobody holds any more: its writer was killed
    ///
    /// # Errors
    /// [`FileError`] with the path; a file that cannot be opened or locked stays.
    pub fn remove_abandoned(&self, name: &str) -> Result<(), FileError> {
        let failed = |source| FileError::new("remove", &self.path().join(name), source);
        let file = self.open_file(name).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => self.remove(name, &file),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Removes a file that holds what an earlier run wrote, and that no process holds
    ///
    /// `is_own` judges its first bytes; a run that was killed may have written fewer.
    ///
    /// # Errors
    /// [`FileError`] with the path; one that is gone already is fine.
    pub fn remove_own(
        &self,
        name: &str,
        is_own: impl FnOnce(&[u8]) -> bool,
    ) -> Result<(), FileError> {
        let failed = |source| FileError::new("remove", &self.path().join(name), source);
        let file = match self.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            outcome => outcome.map_err(failed)?,
        };
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(());
        }
        let mut begin = Vec::new();
        let read = (&file).take(MOST_OF_TOKEN).read_to_end(&mut begin);
        read.map_err(failed)?;
        match is_own(&begin) {
            true => self.remove(name, &file),
            false => Ok(()),
        }
    }

    /// Removes a file if it is this one; one that is gone or was replaced is none of certd's
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn remove(&self, name: &str, file: &File) -> Result<(), FileError> {
        use std::os::unix::fs::MetadataExt;
        let path = self.path().join(name);
        let failed = |source| FileError::new("remove", &path, source);
        let own = file.metadata().map_err(failed)?;
        match self.directory.stat(OsStr::new(name)) {
            Ok(found) if (found.st_dev, found.st_ino) == (own.dev(), own.ino()) => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        match self.directory.remove(OsStr::new(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome
                .and_then(|()| step("removed", &path))
                .map_err(failed),
        }
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        self.directory.open(OsStr::new(name), OFlag::O_RDONLY)
    }
}

/// Directories below a webroot that were not there; dropping it removes those that are there by then and
/// hold nothing
///
/// For a look that shall leave a webroot as it was. One that was there before is never touched, and no
/// symlink is followed.
#[derive(Debug)]
pub struct Absent {
    root: Directory,
    /// Where each lies and what it is called, the outermost first
    missing: Vec<(PathBuf, OsString)>,
}

impl Absent {
    /// What is missing of `root/part/part`; `None` where all is there, or nobody can tell
    pub fn note(root: &Path, parts: &[&str]) -> Option<Self> {
        let root = Directory::root(root).ok()?;
        let mut missing = Vec::new();
        let mut above = PathBuf::new();
        for part in parts {
            let is_missing = !missing.is_empty()
                || root
                    .beneath(&above)
                    .ok()?
                    .stat(OsStr::new(part))
                    .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            if is_missing {
                missing.push((above.clone(), OsString::from(part)));
            }
            above.push(part);
        }
        (!missing.is_empty()).then_some(Self { root, missing })
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        for (above, name) in self.missing.iter().rev() {
            let above = self.root.beneath(above);
            // One that is not empty is of use to somebody.
            if let Err(error) = above.and_then(|above| above.remove_empty(name)) {
                tracing::debug!(%error, name = %name.display(), "a directory stays");
            }
        }
    }
}

/// The directory with this name, made if there is none
fn enter(above: &Directory, name: &OsStr) -> io::Result<Directory> {
    match above.make(name, Entry::Everyone) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return above.enter(name),
        Err(error) => return Err(error),
    }
    let path = above.path().join(name);
    step("made", &path)?;
    let made = above.settle(name, Entry::Everyone)?;
    step("finished", &path)?;
    Ok(made)
}

/// More than a key authorization has (RFC 8555 section 8.1)
const MOST_OF_TOKEN: u64 = 1024;
