//! One ACME account for each issuer, kept with its key in a file of mode 0600.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Store;
use super::files::{Access, FileError};
use crate::chain::Fingerprint;
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
    /// The account at an issuer, if one is stored for this directory URL: the last one, or one that was
    /// put beside it when the issuer had another URL
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
        if account.directory != directory {
            return Ok(self.account_beside(issuer, directory));
        }
        match is_key(&account.key) {
            true => Ok(Some(account)),
            false => Err(AccountError::Damaged {
                path: self.account_file(issuer),
                reason: "its key is none for P-256".to_owned(),
            }),
        }
    }

    /// One that is of no use is left where it is, as it may hold a key
    fn account_beside(&self, issuer: &str, directory: &str) -> Option<StoredAccount> {
        // Earlier versions named it by the host alone.
        let places = [beside(issuer, directory), named_by_host(issuer, directory)];
        places.into_iter().find_map(|place| {
            let text = self.state.read(&self.account_file(&place), MOST_OF_ACCOUNT);
            let account: StoredAccount = serde_json::from_slice(&text.ok()?).ok()?;
            (account.directory == directory && is_key(&account.key)).then_some(account)
        })
    }

    /// Keeps an account; one of another directory URL under the same name is kept beside it, so that
    /// it is found when the issuer has that URL again
    ///
    /// # Errors
    /// [`AccountError`] when it cannot be written: the account is lost then, so say so.
    pub fn save_account(&self, issuer: &str, account: &StoredAccount) -> Result<(), AccountError> {
        let path = self.account_file(issuer);
        if let Ok(Some(old)) = self.any_account(issuer)
            && old.directory != account.directory
        {
            let aside = self.account_file(&beside(issuer, &old.directory));
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

/// Where the account of a directory URL lies beside that of another: the host is for people
fn beside(issuer: &str, directory: &str) -> String {
    let digest = Fingerprint::of(directory.as_bytes()).short();
    format!("{}.{digest}", named_by_host(issuer, directory))
}

fn named_by_host(issuer: &str, directory: &str) -> String {
    let host = directory.split('/').nth(2).unwrap_or("other");
    format!("{issuer}.{}", host.replace(':', "-"))
}

/// Whether a stored key can sign: without this check the CA would be blamed for it
fn is_key(text: &str) -> bool {
    let der = BASE64_URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new);
    der.is_ok_and(|der| EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).is_ok())
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
