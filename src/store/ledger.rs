//! What certd has spent at each CA: the memory from which rate limits are foretold.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Store;
use super::record::{self, RecordError};
use crate::name::DnsName;

/// Everything spent in the last [`MEMORY`], oldest first; `ledger.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Format of the file
    #[serde(default)]
    pub version: u32,
    /// One entry for each thing that a CA counts
    #[serde(default)]
    pub entries: Vec<Entry>,
}

/// One thing that a CA counts
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When
    pub at: Timestamp,
    /// Directory URL of the CA
    pub directory: String,
    /// Account URL; empty where an account could not be had
    #[serde(default)]
    pub account: String,
    /// What it was
    pub spent: Spent,
}

/// What was spent
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spent {
    /// An account was registered
    Account,
    /// An order was placed for these names, sorted
    Order(Vec<String>),
    /// A first certificate was issued for these names, sorted
    Certificate(Vec<String>),
    /// A certificate was issued again for these names, sorted
    Renewal(Vec<String>),
    /// A name could not be validated
    Failure(String),
}

impl Spent {
    /// An order for these names
    pub fn order(names: &[DnsName]) -> Self {
        Self::Order(sorted(names))
    }

    /// A first certificate for these names
    pub fn certificate(names: &[DnsName]) -> Self {
        Self::Certificate(sorted(names))
    }

    /// Another certificate for these names
    pub fn renewal(names: &[DnsName]) -> Self {
        Self::Renewal(sorted(names))
    }
}

/// The names of an order as a CA counts them: a set
pub fn sorted(names: &[DnsName]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    names
}

impl Store {
    /// The ledger; an empty one where none was written yet
    ///
    /// # Errors
    /// [`RecordError`] for a file that is there and cannot be understood.
    pub fn ledger(&self) -> Result<Ledger, RecordError> {
        let path: PathBuf = self.ledger_file();
        let ledger: Ledger = record::read(&self.state, &path)?.unwrap_or_default();
        match ledger.version {
            ..=VERSION => Ok(ledger),
            version => Err(RecordError::Newer { path, version }),
        }
    }

    /// Adds entries, and forgets what no limit counts any more
    ///
    /// An account is counted once, however many orders found out that it is new. Needs the lock: it reads and writes.
    ///
    /// # Errors
    /// [`RecordError`]; the old ledger stays.
    pub fn spend(&self, entries: &[Entry], now: Timestamp) -> Result<(), RecordError> {
        let mut ledger = self.ledger()?;
        ledger.version = VERSION;
        ledger
            .entries
            .retain(|entry| now.duration_since(entry.at).abs() <= MEMORY);
        for entry in entries {
            let is_same =
                |known: &Entry| known.spent == entry.spent && known.account == entry.account;
            if entry.spent != Spent::Account || !ledger.entries.iter().any(is_same) {
                ledger.entries.push(entry.clone());
            }
        }
        record::keep(&self.state, &self.ledger_file(), &ledger)
    }
}

const VERSION: u32 = 1;
/// A little more than the longest period of a limit, a week
pub const MEMORY: SignedDuration = SignedDuration::from_hours(8 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: &str, spent: Spent) -> Entry {
        Entry {
            at: at.parse().expect("a time"),
            directory: "https://ca.test/directory".to_owned(),
            account: "https://ca.test/acct/7".to_owned(),
            spent,
        }
    }

    fn store(home: &std::path::Path) -> Store {
        Store::open(home, &home.join("state"), None).expect("a store")
    }

    #[test]
    fn names_are_a_set() {
        let names = ["b.test", "a.test", "b.test"].map(|name| DnsName::parse(name).unwrap());
        let expected = vec!["a.test".to_owned(), "b.test".to_owned()];
        assert_eq!(Spent::order(&names), Spent::Order(expected.clone()));
        assert_eq!(
            Spent::certificate(&names),
            Spent::Certificate(expected.clone())
        );
        assert_eq!(Spent::renewal(&names), Spent::Renewal(expected));
    }

    #[test]
    fn what_was_spent_is_kept_until_no_limit_counts_it() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        assert_eq!(store.ledger().unwrap(), Ledger::default());
        let names = vec!["shop.test".to_owned()];
        let all = [
            entry("2027-03-01T12:00:00Z", Spent::Account),
            entry("2027-03-01T12:00:01Z", Spent::Order(names.clone())),
            entry("2027-03-01T12:00:02Z", Spent::Certificate(names.clone())),
            entry("2027-03-01T12:00:03Z", Spent::Renewal(names)),
            entry(
                "2027-03-01T12:00:04Z",
                Spent::Failure("shop.test".to_owned()),
            ),
        ];
        for entry in &all {
            store.spend(std::slice::from_ref(entry), entry.at).unwrap();
        }
        assert_eq!(store.ledger().unwrap().entries, all);
        let later = all[2].at + MEMORY;
        store.spend(&[], later).unwrap();
        assert_eq!(store.ledger().unwrap().entries, all[2..]);
    }

    #[test]
    fn a_ledger_of_a_newer_program_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        let newer = Ledger {
            version: VERSION + 1,
            entries: Vec::new(),
        };
        record::keep(&store.state, &store.ledger_file(), &newer).unwrap();
        assert!(matches!(store.ledger(), Err(RecordError::Newer { .. })));
        let now = "2027-03-01T12:00:00Z".parse().unwrap();
        assert!(store.spend(&[], now).is_err());
    }
}
