//! The only writer of files: atomic, synced, with the right mode and owner whatever the umask.
//!
//! A file is complete and on disk before it has its name. New files take owner and group of the
//! directory that they are made in, so that a storage owned by a service stays its own, and root
//! works there with its owner's rights (`acting`). Whatever lies below one of certd's
//! directories is reached from its descriptor, and no symlink on the way is followed.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, fchown, geteuid};
use zeroize::Zeroizing;

use crate::crash::{step, synced};
use crate::input;

mod acting;
mod appended;
mod beneath;
mod directory;
mod error;
mod links;
mod meant;
mod obstacle;
mod probe;
mod resolve;
mod unfinished;

pub(in crate::store) use acting::owner_instead;
pub use beneath::{Absent, Beneath};
pub use error::{FileError, let_write};
pub(super) use error::{code, cure};
pub use meant::{meant, question};
pub use obstacle::Obstacle;
pub use resolve::{Passed, Walk};

use directory::{Directory, Kind};
use unfinished::{UNFINISHED, Unfinished, unfinished};

/// Who may read a file
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// 0644
    Everyone,
    /// 0600
    Owner,
    /// 0640, for the group with this identifier
    Group(u32),
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o644,
            Self::Owner => 0o600,
            Self::Group(_) => 0o640,
        }
    }
}

/// Who may enter a directory
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// 0755
    Everyone,
    /// 0700
    Owner,
}

impl Entry {
    const fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o755,
            Self::Owner => 0o700,
        }
    }
}

/// A file to be written: its name, its bytes, and who may read it
pub type NewFile<'f> = (&'f str, &'f [u8], Access);

/// A directory of the operator's, below which certd reads and writes and never outside of it
///
/// Symlinks in its own path are the operator's and are followed; below it none is. Paths that its
/// functions take begin with its own.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    /// The directory itself, where it is held open
    held: Option<Arc<Directory>>,
}

impl Root {
    /// The directory at this path, which need not exist yet
    pub fn new(path: PathBuf) -> Self {
        Self { path, held: None }
    }

    /// The same, held open if it is there: to open it by its path takes several calls of the system,
    /// and symlinks in the path are looked at each time
    #[must_use]
    pub fn hold(&self) -> Self {
        Self {
            path: self.path.clone(),
            held: Directory::root(&self.path).ok().map(Arc::new),
        }
    }

    /// Its path, as given
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, and says so where root works in it with the rights of somebody else
    ///
    /// # Errors
    /// [`FileError`] for a directory that cannot be opened, or that a stranger's symlink leads to.
    pub fn reach(&self) -> Result<(), FileError> {
        let opened = Directory::root(&self.path);
        let opened = opened.map_err(|source| FileError::new("open", &self.path, source))?;
        let user = opened.owner().user;
        if geteuid().is_root() && !user.is_root() {
            let (directory, user) = (self.path.display(), user.as_raw());
            tracing::info!(%directory, user, "root uses the rights of the directory's owner");
        }
        Ok(())
    }

    /// Writes a file in one step: it holds the old bytes or the new ones, never a part
    ///
    /// # Errors
    /// [`FileError`] with the path; the old file is untouched then.
    pub fn write(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
        let directory = self.put(path, bytes, access)?;
        let synced = directory.sync();
        synced.map_err(|source| FileError::new("write", path, source))
    }

    /// The same, but for the directory: until that is synced ([`Root::sync`]) a power cut may bring
    /// the old file back
    ///
    /// # Errors
    /// As [`Root::write`].
    pub fn write_unsynced(
        &self,
        path: &Path,
        bytes: &[u8],
        access: Access,
    ) -> Result<(), FileError> {
        self.put(path, bytes, access).map(drop)
    }

    /// Has the names in a directory on disk
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn sync(&self, path: &Path) -> Result<(), FileError> {
        let synced = self.directory(path).and_then(|directory| directory.sync());
        synced.map_err(|source| FileError::new("write", path, source))
    }

    fn put(&self, path: &Path, bytes: &[u8], access: Access) -> Result<Directory, FileError> {
        let failed = |source| FileError::new("write", path, source);
        let (directory, name) = self.holder(path).map_err(failed)?;
        let (unfinished, mut file) = Unfinished::file(&directory).map_err(failed)?;
        step("begun", path).map_err(failed)?;
        file.write_all(bytes).map_err(failed)?;
        directory.give(&file, access).map_err(failed)?;
        step("written", path).map_err(failed)?;
        sync(&file, path).map_err(failed)?;
        unfinished.rename(name).map_err(failed)?;
        step("renamed", path).map_err(failed)?;
        Ok(directory)
    }

    /// Makes a directory, if it is not there, with exactly this mode
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn create_directory(&self, path: &Path, entry: Entry) -> Result<(), FileError> {
        let failed = |source| FileError::new("create", path, source);
        let (directory, name) = self.holder(path).map_err(failed)?;
        match directory.make(name, entry) {
            // What is there must be a directory, and no symlink to one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return directory.enter(name).map(drop).map_err(failed);
            }
            outcome => outcome.map_err(failed)?,
        }
        step("made", path).map_err(failed)?;
        directory.settle(name, entry).map_err(failed)?;
        directory.sync().map_err(failed)?;
        step("finished", path).map_err(failed)
    }

    /// Makes a directory with all its files appear in one step, complete and synced
    ///
    /// # Errors
    /// [`FileError`]; nothing has the final name then.
    pub fn create_complete(&self, path: &Path, files: &[NewFile<'_>]) -> Result<(), FileError> {
        let failed = |source| FileError::new("write", path, source);
        let (above, name) = self.holder(path).map_err(failed)?;
        let (unfinished, directory) = Unfinished::directory(&above).map_err(failed)?;
        for (name, bytes, access) in files {
            let create = || {
                let mut file = directory.create(OsStr::new(name))?;
                file.write_all(bytes)?;
                directory.give(&file, *access)?;
                sync(&file, &path.join(name))
            };
            create().map_err(failed)?;
            step("written", &path.join(name)).map_err(failed)?;
        }
        directory.sync().map_err(failed)?;
        unfinished.rename(name).map_err(failed)?;
        step("renamed", path).map_err(failed)?;
        above.sync().map_err(failed)
    }

    /// Puts a file that makes no sense out of the way, beside those that were put there before
    ///
    /// Gives where it is.
    ///
    /// # Errors
    /// [`FileError`]; the file is where it was.
    pub fn set_aside(&self, path: &Path) -> Result<PathBuf, FileError> {
        let failed = |source| FileError::new("set aside", path, source);
        let (directory, name) = self.holder(path).map_err(failed)?;
        let numbered = |number: u32| {
            let mut aside = name.to_owned();
            aside.push(".damaged");
            if number > 1 {
                aside.push(format!("-{number}"));
            }
            aside
        };
        let mut free = (1..MOST_ASIDE)
            .map(numbered)
            .filter(|aside| directory.stat(aside).is_err());
        let aside = free.next().unwrap_or_else(|| numbered(MOST_ASIDE));
        directory.rename(name, &aside).map_err(failed)?;
        step("set aside", path).map_err(failed)?;
        directory.sync().map_err(failed)?;
        Ok(parent(path).join(aside))
    }

    /// Removes what an interrupted run left unfinished in a directory, and in those in it if asked
    ///
    /// What another process holds is its own: `certd check` takes no lock.
    ///
    /// # Errors
    /// [`FileError`] with the path that could not be read or removed.
    pub fn sweep(&self, path: &Path, depth: Depth) -> Result<(), FileError> {
        let failed = |source| FileError::new("clean", path, source);
        sweep(&self.directory(path).map_err(failed)?, depth)
    }

    /// The names in a directory, those left out that are not UTF-8
    ///
    /// # Errors
    /// Those of the system.
    pub fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = self.directory(path)?.entries()?;
        let names = entries.into_iter().map(|(name, _)| name.into_string());
        Ok(names.filter_map(Result::ok).collect())
    }

    /// Removes a file, a symlink, or a directory with all that is in it
    ///
    /// A directory loses its name first: it is there whole, or not at all.
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn remove(&self, path: &Path) -> Result<(), FileError> {
        let failed = |source| FileError::new("remove", path, source);
        let (directory, name) = self.holder(path).map_err(failed)?;
        let stat = directory.stat(name).map_err(failed)?;
        remove(&directory, name, directory::kind(&stat))
    }

    /// Lets a group read a file that is there already; its owner keeps it
    ///
    /// # Errors
    /// [`FileError`] with the path; only its owner and root may do so.
    pub fn share(&self, path: &Path, group: u32) -> Result<(), FileError> {
        let failed = |source| FileError::new("share", path, source);
        let (directory, name) = self.holder(path).map_err(failed)?;
        let file = directory.open(name, OFlag::O_RDONLY).map_err(failed)?;
        let now = file.metadata().map_err(failed)?;
        if now.nlink() != 1 || now.uid() != directory.owner().user.as_raw() {
            // Whoever owns the storage could otherwise have any file of root's shared.
            return Err(failed(directory.foreign(name)));
        }
        if now.gid() == group && now.mode() & 0o040 != 0 {
            return Ok(());
        }
        fchown(&file, None, Some(Gid::from_raw(group))).map_err(|error| failed(error.into()))?;
        step("given", path).map_err(failed)?;
        directory
            .chmod(&file, Access::Group(group))
            .map_err(failed)?;
        step("shared", path).map_err(failed)
    }

    /// What a file holds, as far as `most` bytes
    ///
    /// Whoever owns the directory would otherwise have certd read until its memory is full.
    ///
    /// # Errors
    /// Those of the system, and an obstacle where a symlink or no file is in its place;
    /// [`io::ErrorKind::FileTooLarge`] with [`input::TooLong`] for a longer one.
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        input::whole(self.open(path)?, most)
    }

    /// When a file was last written to; `None` where that cannot be told
    pub fn modified(&self, path: &Path) -> Option<std::time::SystemTime> {
        self.open(path).ok()?.metadata().ok()?.modified().ok()
    }

    /// A file that is made for the lock, or opened if it is there
    ///
    /// One that is there is left as it is, and must be a file of the directory's owner or of this
    /// process's user with one name: no other file of theirs may lose what it holds.
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn open_lock(&self, path: &Path) -> Result<File, FileError> {
        let failed = |source| FileError::new("open", path, source);
        let (directory, name) = self.holder(path).map_err(failed)?;
        let file = match directory.create(name) {
            Ok(file) => {
                directory.give(&file, Access::Owner).map_err(failed)?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                directory.open(name, OFlag::O_RDWR).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        check_own(&directory, name, &file).map_err(failed)?;
        step("opened", path).map_err(failed)?;
        Ok(file)
    }

    /// Opens a file for the lock as [`Root::open_lock`] does, if there is one
    ///
    /// # Errors
    /// As [`Root::open_lock`].
    pub fn try_lock_file(&self, path: &Path) -> Result<(), FileError> {
        let tried = self.holder(path).and_then(|(directory, name)| {
            let file = directory.open(name, OFlag::O_RDWR)?;
            check_own(&directory, name, &file)
        });
        match tried {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.map_err(|source| FileError::new("open", path, source)),
        }
    }

    /// The directory that holds a path, open, and the path's last part
    fn holder<'p>(&self, path: &'p Path) -> io::Result<(Directory, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.directory(parent(path))?, name))
    }

    fn directory(&self, path: &Path) -> io::Result<Directory> {
        self.top()?.beneath(self.below(path)?)
    }

    /// The directory itself, open
    fn top(&self) -> io::Result<Arc<Directory>> {
        match &self.held {
            Some(held) => Ok(Arc::clone(held)),
            None => Directory::root(&self.path).map(Arc::new),
        }
    }

    fn below<'p>(&self, path: &'p Path) -> io::Result<&'p Path> {
        let below = path.strip_prefix(&self.path);
        below.map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

/// Has what a file holds on disk
fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    synced(path);
    Ok(())
}

/// Refuses a file that may be somebody else's too: it must not lose what it holds, nor grow
fn check_own(directory: &Directory, name: &OsStr, file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let users = [directory.owner().user, geteuid()];
    let is_own = users.iter().any(|user| user.as_raw() == found.uid());
    match found.nlink() == 1 && is_own {
        true => Ok(()),
        false => Err(directory.foreign(name)),
    }
}

/// How far a sweep goes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The directory alone
    Flat,
    /// The directories in it too
    Inner,
}

fn sweep(directory: &Directory, depth: Depth) -> Result<(), FileError> {
    let path = directory.path();
    let failed = |source| FileError::new("clean", path, source);
    for (name, kind) in directory.entries().map_err(failed)? {
        if name.as_bytes().starts_with(UNFINISHED.as_bytes()) {
            if !is_held(directory, &name) {
                remove(directory, &name, kind)?;
            }
        } else if depth == Depth::Inner && kind == Kind::Directory {
            let inner = directory.enter(&name);
            let inner =
                inner.map_err(|source| FileError::new("clean", &path.join(&name), source))?;
            sweep(&inner, Depth::Flat)?;
        }
    }
    Ok(())
}

fn is_held(directory: &Directory, name: &OsStr) -> bool {
    let file = directory.open(name, OFlag::O_RDONLY);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn remove(directory: &Directory, name: &OsStr, kind: Kind) -> Result<(), FileError> {
    let path = directory.path().join(name);
    let failed = |source| FileError::new("remove", &path, source);
    if kind == Kind::Directory {
        let nameless = unfinished(name);
        if nameless != name {
            directory.rename(name, &nameless).map_err(failed)?;
        }
        step("nameless", &path).map_err(failed)?;
        directory.remove_directory(&nameless).map_err(failed)?;
    } else {
        directory.remove(name).map_err(failed)?;
    }
    step("removed", &path).map_err(failed)
}

/// The directory that holds `path`; the working directory for a bare file name
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What a file with a secret of the operator's holds
///
/// # Errors
/// Those of [`input::read`], and [`io::ErrorKind::InvalidData`] for one that is no UTF-8.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(input::read(path, MOST_OF_SECRET)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8")),
    }
}

/// Bytes of a token, a password or a URL: far more than any has
const MOST_OF_SECRET: u64 = 64 * input::KIB;
/// Damaged files of one name that are kept
const MOST_ASIDE: u32 = 100;

#[cfg(test)]
mod tests;
