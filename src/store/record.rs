//! What certd remembers of a domain beside its files: which generations are proven, who issued
//! them, what failed and when.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Store;
use super::files::{Access, FileError, Root};
use crate::input::MIB;
use crate::name::DnsName;
use crate::time::Window;

/// The memory of one domain, `domains/<name>.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format of the file
    #[serde(default = "version")]
    pub version: u32,
    /// By generation number
    #[serde(default)]
    pub generations: BTreeMap<u32, GenerationRecord>,
    /// Issuer that `--issuer` chose for the newest generation, against the configuration
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_override: Option<String>,
    /// The order that is under way, or was when certd was stopped
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<RunningOrder>,
    /// How the last run ended
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<LastResult>,
    /// Orders that the CA refused since the last one that succeeded
    #[serde(default)]
    pub order_failures: Failures,
    /// Deployments that failed since the last one that was proven
    #[serde(default)]
    pub deploy_failures: Failures,
    /// Generation that was taken back after a reload: TLS broke with it, or nginx could not load it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<u32>,
}

/// What is known of one generation
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// Name of the issuer in the configuration; `None` where the record was lost
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Account URL that ordered it; `None` as above
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// ACME profile that was asked for
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// When it came into the archive
    pub issued_at: Timestamp,
    /// When every target was last seen to serve it for every name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Timestamp>,
    /// SHA-256 of the certificate that was installed, in hexadecimal digits; `None` as above
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// When its CA would have it renewed; `None` where the CA was not asked yet
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
}

impl GenerationRecord {
    /// Of a generation of which no record says where it came from
    pub const fn of_unknown_origin(now: Timestamp) -> Self {
        Self {
            issuer: None,
            account: None,
            profile: None,
            issued_at: now,
            proven_at: None,
            fingerprint: None,
            renewal: None,
        }
    }
}

/// What a CA suggested for a renewal (RFC 9773), and what was made of it
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The span in which it should happen; `None` where there was no usable answer yet
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The instant in it that was chosen at random
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instant: Option<Timestamp>,
    /// A page for people that says why
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// When the CA is to be asked again
    #[serde(default)]
    pub next_look: Timestamp,
    /// Looks in a row that brought no answer
    #[serde(default)]
    pub failures: u32,
}

/// An order at a CA; its key lies in a file of its own
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningOrder {
    /// Its URL
    pub url: String,
    /// When it was placed
    pub began: Timestamp,
    /// Tokens that an earlier certd had published for it; now they are in a file of their own
    /// ([`Store::order_tokens`])
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// How often it was taken up again, and the CA answered
    #[serde(default)]
    pub tries: u32,
    /// How often nothing useful was heard of it, although the CA could be asked
    #[serde(default)]
    pub unanswered: u32,
    /// What it asks for
    pub asked: Asked,
}

/// The end of a run for one domain
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastResult {
    /// When it ended
    pub at: Timestamp,
    /// Word of the outcome, as in reports
    pub outcome: String,
    /// What was said of it
    pub message: String,
    /// Code of the finding that failed it; `None` where nothing failed
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What that finding says to do
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// Failures in a row, counted apart by what they are
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many are as the last one
    pub count: u32,
    /// Code of the last one
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// How many there were of other classes, by code
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, u32>,
    /// When the last one happened
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// What the last one was
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Not before this instant, by the CA's own word
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When a check on this host stopped an order since: what was wrong is known by then
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Timestamp>,
    /// What the CA refused until a person acts; the same is not asked again without `--force`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Asked>,
}

/// What an order asks for: another one is worth trying where it differs
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Name of the issuer in the configuration
    pub issuer: String,
    /// ACME profile
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The certificate's names
    pub names: Vec<String>,
    /// Kind of its key
    #[serde(default)]
    pub key_type: String,
    /// Contact address
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Key identifier of the external account
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eab_kid: Option<String>,
    /// Account URL; `None` where there is no account yet
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Failures {
    /// Counts one more of a class
    ///
    /// Another cause begins with a short pause, and two that take turns do not begin anew.
    pub fn add(
        &mut self,
        class: &str,
        now: Timestamp,
        not_before: Option<Timestamp>,
        reason: String,
    ) {
        if self.class.as_deref() != Some(class) {
            let count = self.others.remove(class).unwrap_or_default();
            let count = std::mem::replace(&mut self.count, count);
            if let Some(class) = self.class.replace(class.to_owned()) {
                self.others.insert(class, count);
            }
        }
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
        self.not_before = not_before;
        self.checked = None;
        self.refused = None;
        self.reason = Some(reason);
    }

    /// Forgets them after a success
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Record {
    /// Enters a generation that has come into the archive: its order is over, and succeeded
    ///
    /// `issuer_override` as in [`Record::issuer_override`].
    pub fn enter(
        &mut self,
        number: u32,
        generation: GenerationRecord,
        issuer_override: Option<String>,
    ) {
        self.generations.insert(number, generation);
        self.issuer_override = issuer_override;
        self.order_failures.clear();
        self.order = None;
    }

    /// Forgets the deployments that failed, after one that did not
    pub fn forget_deploy_failures(&mut self) {
        self.deploy_failures.clear();
        self.rolled_back = None;
    }

    /// When a generation was last proven; `None` where it never was
    pub fn proven_at(&self, generation: u32) -> Option<Timestamp> {
        self.generations.get(&generation)?.proven_at
    }

    /// Whether a generation was ever seen served for every name
    pub fn is_proven(&self, generation: u32) -> bool {
        self.proven_at(generation).is_some()
    }
}

impl Store {
    /// The record of a domain; an empty one where none was written yet
    ///
    /// # Errors
    /// [`RecordError`] for a file that is there and cannot be understood.
    pub fn record(&self, name: &DnsName) -> Result<Record, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let path = self.record_file(name);
        let record = read(&self.state, &path, MOST_OF_RECORD);
        // What a later certd wrote may be of another shape: it is not damaged for that.
        if let Err(RecordError::Damaged { .. }) = record
            && let Ok(Some(Versioned { version })) = read(&self.state, &path, MOST_OF_RECORD)
            && version > VERSION
        {
            return Err(RecordError::Newer { path, version });
        }
        let record = record?.unwrap_or_else(|| Record {
            version: VERSION,
            ..Record::default()
        });
        match record.version {
            ..=VERSION => Ok(record),
            version => Err(RecordError::Newer { path, version }),
        }
    }

    /// Puts a damaged record out of the way; gives where it is
    ///
    /// # Errors
    /// [`RecordError::File`]; it is where it was.
    pub fn set_aside_record(&self, name: &DnsName) -> Result<PathBuf, RecordError> {
        Ok(self.state.set_aside(&self.record_file(name))?)
    }

    /// Keeps a record, whatever happens from here on
    ///
    /// # Errors
    /// [`RecordError::File`]; the old record stays.
    pub fn save_record(&self, name: &DnsName, record: &Record) -> Result<(), RecordError> {
        keep(&self.state, &self.record_file(name), record)
    }

    /// Keeps a record that a power cut may take back until [`Store::sync_records`]
    ///
    /// # Errors
    /// As [`Store::save_record`].
    pub fn write_record(&self, name: &DnsName, record: &Record) -> Result<(), RecordError> {
        let path = self.record_file(name);
        let json = json(&path, record)?;
        Ok(self.state.write_unsynced(&path, &json, Access::Owner)?)
    }

    /// Has all records on disk that were written before
    ///
    /// # Errors
    /// [`FileError`]; after a power cut some of them may be as they were.
    pub fn sync_records(&self) -> Result<(), FileError> {
        self.state.sync(&self.records())
    }

    /// Shows that a record could be kept now, without a wait for the disk
    ///
    /// # Errors
    /// As [`Store::save_record`].
    pub fn try_record(&self, name: &DnsName, record: &Record) -> Result<(), RecordError> {
        let path = self.record_file(name);
        let json = json(&path, record)?;
        Ok(self.state.try_write(&path, &json, Access::Owner)?)
    }
}

/// What a JSON file of the state holds, as far as `most` bytes; `None` where there is no file
pub(super) fn read<T: DeserializeOwned>(
    state: &Root,
    path: &Path,
    most: u64,
) -> Result<Option<T>, RecordError> {
    let text = match state.read(path, most) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(RecordError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    let read = serde_json::from_slice(&text);
    read.map(Some).map_err(|source| damaged(path, source))
}

/// Writes a JSON file of the state
pub(super) fn keep<T: Serialize>(state: &Root, path: &Path, value: &T) -> Result<(), RecordError> {
    Ok(state.write(path, &json(path, value)?, Access::Owner)?)
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec_pretty(value).map_err(|source| damaged(path, source))
}

pub(super) fn damaged(path: &Path, source: serde_json::Error) -> RecordError {
    RecordError::Damaged {
        path: path.to_owned(),
        source,
    }
}

/// Bytes of a record: five generations have a few KiB
const MOST_OF_RECORD: u64 = MIB;
const VERSION: u32 = 1;

const fn version() -> u32 {
    VERSION
}

impl RecordError {
    /// Whether it is there, and may not be read
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// Why a record cannot be read or kept
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file cannot be opened
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file
        path: PathBuf,
        /// Why
        source: io::Error,
    },
    /// The file is no record
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file
        path: PathBuf,
        /// What is wrong with it
        source: serde_json::Error,
    },
    /// A later certd wrote it
    #[error("{} has version {version}, this certd knows 1", path.display())]
    Newer {
        /// The file
        path: PathBuf,
        /// Its version
        version: u32,
    },
    /// The file cannot be written
    #[error(transparent)]
    File(#[from] FileError),
}
