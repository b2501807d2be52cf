//! One ACME account for each issuer, kept with its key in a file of mode 0600.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Store;
use super::files::{Access, FileError};
use crate::input::KIB;

/// A registered account (RFC 8555 section 7.1.2)
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredAccount {
    /// Directory URL that it was registered at; another URL is another account
    pub directory: String,
    /// Account URL
    pub url: String,
    /// Private key, PKCS#8 in base64url: never shown
    pub key: String,
}

// The key must not reach a log through a derived Debug.
impl fmt::Debug for StoredAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAccount")
            .field("directory", &self.directory)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The account at an issuer, if one is stored for this directory URL
    ///
    /// # Errors
    /// [`AccountError::Damaged`] for a file that is there and cannot be understood: it may hold a
    /// key, so it is never overwritten.
    pub fn account(
        &self,
        issuer: &str,
        directory: &str,
    ) -> Result<Option<StoredAccount>, AccountError> {
        let path = self.account_file(issuer);
        let text = match self.state.read(&path, MOST_OF_ACCOUNT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(AccountError::Forbidden { path });
            }
            Err(error) => {
                return Err(AccountError::Unreadable {
                    path,
                    reason: error.to_string(),
                });
            }
        };
        let account: StoredAccount = serde_json::from_slice(&text).map_err(|error| {
            AccountError::Damaged {
                path,
                // serde's words may quote the file, which holds a key: only the place is kept.
                reason: format!(
                    "no account at line {}, column {}",
                    error.line(),
                    error.column()
                ),
            }
        })?;
        Ok(Some(account).filter(|account| account.directory == directory))
    }

    /// Keeps an account; one of another directory URL under the same name is kept beside it
    ///
    /// # Errors
    /// [`AccountError`] when it cannot be written: the account is lost then, so say so.
    pub fn save_account(&self, issuer: &str, account: &StoredAccount) -> Result<(), AccountError> {
        let path = self.account_file(issuer);
        if let Ok(Some(old)) = self.any_account(issuer)
            && old.directory != account.directory
        {
            let host = old.directory.split('/').nth(2).unwrap_or("other");
            let aside = self.account_file(&format!("{issuer}.{}", host.replace(':', "-")));
            self.state.write(&aside, &to_json(&old)?, Access::Owner)?;
        }
        Ok(self.state.write(&path, &to_json(account)?, Access::Owner)?)
    }

    /// Puts a damaged account out of the way, so that another can be registered; gives where it is
    ///
    /// # Errors
    /// [`AccountError::File`]; it is where it was.
    pub fn set_aside_account(&self, issuer: &str) -> Result<PathBuf, AccountError> {
        Ok(self.state.set_aside(&self.account_file(issuer))?)
    }

    fn any_account(&self, issuer: &str) -> Result<Option<StoredAccount>, io::Error> {
        let text = self
            .state
            .read(&self.account_file(issuer), MOST_OF_ACCOUNT)?;
        Ok(serde_json::from_slice(&text).ok())
    }
}

fn to_json(account: &StoredAccount) -> Result<Vec<u8>, AccountError> {
    serde_json::to_vec_pretty(account).map_err(|_| AccountError::Unwritable)
}

/// Why an account cannot be read or kept
#[derive(Debug, Error)]
pub enum AccountError {
    /// The file may not be read
    #[error("the account {} may not be read", path.display())]
    Forbidden {
        /// The file
        path: PathBuf,
    },
    /// The file is there and cannot be read
    #[error("cannot read the account {}: {reason}", path.display())]
    Unreadable {
        /// The file
        path: PathBuf,
        /// Why
        reason: String,
    },
    /// The file cannot be understood
    #[error("the account {} is damaged: {reason}", path.display())]
    Damaged {
        /// The file
        path: PathBuf,
        /// What is wrong, without a byte of the key
        reason: String,
    },
    /// It has no JSON form
    #[error("the account cannot be written as JSON")]
    Unwritable,
    /// The file cannot be written
    #[error(transparent)]
    File(#[from] FileError),
}

/// Bytes of an account: a key and two URLs have one KiB
const MOST_OF_ACCOUNT: u64 = 64 * KIB;
