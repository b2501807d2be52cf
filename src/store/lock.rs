//! One pass at a time: an advisory lock on a file in the state directory.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;

use super::Store;
use super::files::{self, FileError, Root};
use crate::crash;

/// The lock, held until it is dropped or the process ends
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Whether it is that of the daemon of a store, by whatever path its state directory is named
    pub fn is_daemon_of(&self, store: &Store) -> bool {
        let identity = |file: Metadata| (file.dev(), file.ino());
        let held = self.file.metadata().map(identity);
        let named = fs::symlink_metadata(store.daemon_lock_file()).map(identity);
        held.is_ok_and(|held| named.is_ok_and(|named| named == held))
    }
}

/// What came of one attempt to take the lock
#[derive(Debug)]
pub enum Attempt {
    /// It is held now
    Taken(Lock),
    /// Another process holds it; its identifier, where it can be read
    Busy(Option<u32>),
}

impl Store {
    /// Tries once to take the lock; never waits
    ///
    /// What is read from the store before the lock is taken may be stale after it.
    ///
    /// # Errors
    /// [`LockError`] when the lock file cannot be made or the file system has no locks.
    pub fn try_lock(&self) -> Result<Attempt, LockError> {
        try_lock(&self.state, self.lock_file())
    }

    /// Tries once to be the only daemon of this state directory; never waits
    ///
    /// # Errors
    /// As [`Store::try_lock`].
    pub fn try_daemon_lock(&self) -> Result<Attempt, LockError> {
        try_lock(&self.state, self.daemon_lock_file())
    }

    /// When the lock was taken that is held, or was held last; `None` where that cannot be told
    pub fn locked_since(&self) -> Option<Timestamp> {
        self.state.modified(&self.lock_file())?.try_into().ok()
    }
}

fn try_lock(state: &Root, path: PathBuf) -> Result<Attempt, LockError> {
    let mut file = state.open_lock(&path)?;
    match file.try_lock() {
        Ok(()) => {
            // The holder's identifier is a help for people; without it the lock holds too.
            let _ = note_holder(&mut file);
            crash::point("locked", path.display());
            Ok(Attempt::Taken(Lock { file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.take(32).read_to_string(&mut holder);
            Ok(Attempt::Busy(holder.trim().parse().ok()))
        }
        Err(TryLockError::Error(source)) => Err(LockError::Unsupported { path, source }),
    }
}

fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

/// Why the lock cannot be tried
#[derive(Debug, Error)]
pub enum LockError {
    /// The lock file cannot be made
    #[error(transparent)]
    File(#[from] FileError),
    /// The file system does not lock
    #[error("cannot lock {}", path.display())]
    Unsupported {
        /// The lock file
        path: PathBuf,
        /// Why
        source: io::Error,
    },
}

impl LockError {
    /// What to do about it
    pub fn cure(&self) -> String {
        match self {
            Self::File(error) => files::cure(&error.path, &error.source),
            Self::Unsupported { path, .. } => {
                let directory = path.parent().unwrap_or(path).display();
                format!(
                    "put `state` on a file system that has locks: {directory} is on one without"
                )
            }
        }
    }
}
