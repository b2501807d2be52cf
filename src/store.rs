//! What certd keeps on disk: generations and live links in the storage; accounts, records and
//! the lock in the state directory.
//!
//! ```text
//! <storage>/archive/<name>/<generation>/{cert,chain,fullchain,privkey}.pem
//! <storage>/live/<name> -> ../archive/<name>/<generation>
//! <state>/accounts/<issuer>.json  domains/<name>.json  orders/<name>.{key,tokens}
//! <state>/ledger.{json,log}  alerts.json  lock  daemon.lock
//! ```
//!
//! The switch from one generation to the next is one rename of one symlink, made after the new
//! generation's directory is complete and synced: a kill at any instant leaves the old generation
//! live or the new one, and always a certificate with its own key.
//!
//! # What a power cut may take
//!
//! A write that is not synced is there after a kill, and may be gone after a power cut. So these are
//! on disk, each before what depends on it:
//!
//! | what | before |
//! |---|---|
//! | an account, and the key of an order | an order is placed |
//! | the order's URL, in the record | anything else is asked of the CA |
//! | a generation, and its directory | its domain's live link names it |
//! | all live links of a target | nginx is reloaded |
//! | the record of a generation | the key of its order is removed |
//!
//! A generation is entered into the record with its result, at the end of the run: until then the
//! order on record and its key tell of it. Hints are not synced at all, and what they are for goes on
//! without them: the tokens of an order, the last entries of the ledger, when a CA would have a
//! certificate renewed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use thiserror::Error;

use crate::finding::Explain;
use crate::name::DnsName;

pub mod account;
pub mod alerts;
pub mod files;
pub mod foreign;
pub mod ledger;
pub mod lineage;
pub mod lock;
mod orders;
pub mod placeholder;
pub mod record;
pub mod space;

use files::{Access, Depth, Entry, FileError, Root};
use lock::Lock;

/// The storage and the state directory of one configuration
#[derive(Clone, Debug)]
pub struct Store {
    storage: Root,
    state: Root,
    key_access: Access,
}

impl Store {
    /// The store, checked to be writable, with its directories made
    ///
    /// The storage itself must exist: it is what nginx mounts, and a typing error must not create
    /// an empty one. The state directory is made where it is missing.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was written except for directories.
    pub fn open(storage: &Path, state: &Path, key_group: Option<&str>) -> Result<Self, StoreError> {
        let key_access = match key_group {
            Some(group) => Access::Group(group_id(group)?),
            None => Access::Owner,
        };
        let store = Self {
            storage: Root::new(existing_directory(storage)?),
            state: Root::new(state.to_owned()),
            key_access,
        };
        for name in [LIVE, ARCHIVE] {
            let directory = store.storage().join(name);
            let made = store.storage.create_directory(&directory, Entry::Everyone);
            made.map_err(|error| store.refused(error))?;
        }
        store.make_state()?;
        store.admits()?;
        Ok(store)
    }

    /// Why nothing can be written to the storage: certbot lets nobody but root into its own
    fn refused(&self, error: FileError) -> StoreError {
        let renewals = self.storage.names(&self.storage().join(lineage::RENEWALS));
        let mut renewals = renewals.unwrap_or_default().into_iter();
        match error.source.kind() {
            io::ErrorKind::PermissionDenied if renewals.any(|name| name.ends_with(".conf")) => {
                StoreError::Certbots {
                    path: self.storage().to_owned(),
                    source: error,
                }
            }
            _ => StoreError::StorageNotWritable(error),
        }
    }

    /// Refuses directories in which nothing can be made: an order or a renewal would find out when
    /// its certificate is there, or months from now
    fn admits(&self) -> Result<(), StoreError> {
        let of_storage = [LIVE, ARCHIVE].map(|name| self.storage().join(name));
        admit(&self.storage, &of_storage).map_err(|error| self.refused(error))?;
        let of_state = [ACCOUNTS, DOMAINS, ORDERS].map(|name| self.state().join(name));
        let with_itself = [&[self.state().to_owned()], of_state.as_slice()].concat();
        admit(&self.state, &with_itself).map_err(StoreError::StateNotWritable)
    }

    /// The store for reading alone: nothing is checked and nothing is made
    pub fn for_reading(storage: &Path, state: &Path) -> Self {
        Self {
            storage: Root::new(storage.to_owned()),
            state: Root::new(state.to_owned()),
            key_access: Access::Owner,
        }
    }

    /// The same store for the time of one run, its two directories held open
    ///
    /// What is mounted over them meanwhile is seen by the next run.
    #[must_use]
    pub fn hold(&self) -> Self {
        Self {
            storage: self.storage.hold(),
            state: self.state.hold(),
            key_access: self.key_access,
        }
    }

    fn make_state(&self) -> Result<(), StoreError> {
        let failed = StoreError::StateNotWritable;
        let state = self.state();
        for missing in missing_directories(state) {
            let above = Root::new(files::parent(&missing).to_owned());
            let entry = match missing == state {
                true => Entry::Owner,
                false => Entry::Everyone,
            };
            above.create_directory(&missing, entry).map_err(failed)?;
        }
        self.state.reach().map_err(failed)?;
        for name in [ACCOUNTS, DOMAINS, ORDERS] {
            let directory = state.join(name);
            let made = self.state.create_directory(&directory, Entry::Owner);
            made.map_err(failed)?;
        }
        Ok(())
    }

    /// Does in each directory that is there what a run does: writes a file, to its very end, and
    /// removes it; and opens the locks
    ///
    /// Gives what failed.
    pub fn try_writing(&self, key_group: Option<&str>) -> Vec<FileError> {
        let key_access = match key_group.map(group_id) {
            Some(Ok(group)) => Access::Group(group),
            _ => Access::Owner,
        };
        let own = [LIVE, ARCHIVE];
        // In the storage itself nothing is made but these.
        let is_missing = own.iter().any(|name| !self.storage().join(name).exists());
        let storage = is_missing.then_some("").into_iter().chain(own);
        let storage = storage.map(|name| (&self.storage, name, key_access));
        let state = ["", ACCOUNTS, DOMAINS, ORDERS].map(|name| (&self.state, name, Access::Owner));
        let tried = storage.chain(state);
        let mut failed: Vec<FileError> = tried
            .filter_map(|(root, name, access)| {
                root.try_writing(&root.path().join(name), access).err()
            })
            .collect();
        for lock in [self.lock_file(), self.daemon_lock_file()] {
            failed.extend(self.state.try_lock_file(&lock).err());
        }
        failed
    }

    /// Removes what an interrupted run left unfinished
    ///
    /// Needs the lock: what is unfinished without it may be another process's work.
    ///
    /// # Errors
    /// [`FileError`] with what could not be removed.
    pub fn sweep(&self, _lock: &Lock) -> Result<(), FileError> {
        let storage = self.storage();
        self.storage.sweep(storage, Depth::Flat)?;
        self.storage.sweep(&storage.join(LIVE), Depth::Flat)?;
        self.storage.sweep(&storage.join(ARCHIVE), Depth::Inner)?;
        self.state.sweep(self.state(), Depth::Flat)?;
        for name in [ACCOUNTS, DOMAINS, ORDERS] {
            self.state.sweep(&self.state().join(name), Depth::Flat)?;
        }
        self.sweep_orders()
    }

    /// Directory of `live/` and `archive/`, with symlinks resolved
    pub fn storage(&self) -> &Path {
        self.storage.path()
    }

    /// Directory of accounts, records and the lock, as configured
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The symlink that names a domain's live generation
    pub fn live_link(&self, name: &DnsName) -> PathBuf {
        self.storage().join(LIVE).join(name.as_str())
    }

    /// Directory of a domain's generations
    pub fn archive(&self, name: &DnsName) -> PathBuf {
        self.storage().join(ARCHIVE).join(name.as_str())
    }

    fn alerts_file(&self) -> PathBuf {
        self.state().join("alerts.json")
    }

    fn ledger_file(&self) -> PathBuf {
        self.state().join("ledger.json")
    }

    fn ledger_log(&self) -> PathBuf {
        self.state().join("ledger.log")
    }

    /// The directory of the records
    pub fn records(&self) -> PathBuf {
        self.state().join(DOMAINS)
    }

    fn record_file(&self, name: &DnsName) -> PathBuf {
        self.records().join(format!("{name}.json"))
    }

    fn account_file(&self, issuer: &str) -> PathBuf {
        self.state().join(ACCOUNTS).join(format!("{issuer}.json"))
    }

    fn lock_file(&self) -> PathBuf {
        self.state().join(LOCK)
    }

    fn daemon_lock_file(&self) -> PathBuf {
        self.state().join(DAEMON_LOCK)
    }
}

/// Asks for each of a root's directories whether anything can be made there
fn admit(root: &Root, directories: &[PathBuf]) -> Result<(), FileError> {
    for directory in directories {
        root.admits(directory).map_err(|error| FileError {
            // It is mounted as a whole.
            path: match error.is_read_only() {
                true => root.path().to_owned(),
                false => error.path,
            },
            ..error
        })?;
    }
    Ok(())
}

/// The directory `path` and those above it, as far as they do not exist, outermost first
fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing = path.ancestors().filter(is_missing);
    let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    missing.reverse();
    missing
}

fn existing_directory(path: &Path) -> Result<PathBuf, StoreError> {
    let canonical = fs::canonicalize(path).map_err(|source| StoreError::StorageMissing {
        path: path.to_owned(),
        source,
    })?;
    if !canonical.is_dir() {
        return Err(StoreError::StorageMissing {
            path: path.to_owned(),
            source: io::ErrorKind::NotADirectory.into(),
        });
    }
    // What leads there as configured counts, not only what lies there.
    let reached = Root::new(path.to_owned()).reach();
    reached.map_err(StoreError::StorageNotWritable)?;
    Ok(canonical)
}

/// Numeric identifier of a group that is given by name or by number
///
/// # Errors
/// [`StoreError::KeyGroup`] for a name that no group has.
pub fn group_id(group: &str) -> Result<u32, StoreError> {
    // A container's group often has no name on the host, so a number is taken as it is.
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    match Group::from_name(group) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(StoreError::KeyGroup {
            group: group.to_owned(),
        }),
    }
}

/// Why the store cannot be used
#[derive(Debug, Error)]
pub enum StoreError {
    /// The storage is missing or no directory
    #[error("the storage {} is not usable", path.display())]
    StorageMissing {
        /// As configured
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// The storage is certbot's, and closed
    #[error("certbot keeps its certificates in the storage {}", path.display())]
    Certbots {
        /// The storage
        path: PathBuf,
        /// What could not be done there
        source: FileError,
    },
    /// `live/` or `archive/` cannot be written
    #[error("the storage is not writable")]
    StorageNotWritable(#[source] FileError),
    /// The state directory cannot be written
    #[error("the state directory is not writable")]
    StateNotWritable(#[source] FileError),
    /// `key_group` names no group
    #[error("there is no group `{group}`")]
    KeyGroup {
        /// As configured
        group: String,
    },
}

impl Explain for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::StorageMissing { .. } => "store.storage_missing",
            Self::StorageNotWritable(error) | Self::StateNotWritable(error)
                if error.is_read_only() =>
            {
                error.code()
            }
            Self::Certbots { .. } => "store.foreign_lineage",
            Self::StorageNotWritable(_) => "store.storage_not_writable",
            Self::StateNotWritable(_) => "store.state_not_writable",
            Self::KeyGroup { .. } => "store.key_group",
        }
    }

    fn cure(&self) -> Option<String> {
        Some(match self {
            Self::StorageMissing { path, source } => match source.kind() {
                io::ErrorKind::NotFound => format!(
                    "{}create the directory that nginx mounts: mkdir -p {}",
                    files::question("storage", files::meant(path).as_deref(), &[]),
                    path.display()
                ),
                _ => files::cure(path, source),
            },
            Self::Certbots { .. } => foreign::move_out("--all"),
            Self::StateNotWritable(error) if error.is_read_only() && !error.path.exists() => {
                let path = error.path.display();
                let write = files::let_write(&error.path);
                format!("make it first, for the user of certd:\n    install -d -o certd -m 700 {path}\n{write}")
            }
            Self::StorageNotWritable(error) | Self::StateNotWritable(error) => {
                files::cure(&error.path, &error.source)
            }
            Self::KeyGroup { .. } => {
                "set `key_group` to a group of this host or to a number, such as the group of nginx in its container".to_owned()
            }
        })
    }
}

/// Where the live links lie in the storage
pub const LIVE: &str = "live";
/// Where the generations lie in the storage
pub const ARCHIVE: &str = "archive";
const ACCOUNTS: &str = "accounts";
const DOMAINS: &str = "domains";
const ORDERS: &str = "orders";
const LOCK: &str = "lock";
const DAEMON_LOCK: &str = "daemon.lock";

#[cfg(test)]
mod tests;
