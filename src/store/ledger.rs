//! What certd has spent at each CA: the memory from which rate limits are foretold.
//!
//! Each entry is added to `ledger.log`, a line of JSON each, so that an order costs the same however
//! many there were before. Now and then the log is folded into `ledger.json`. An entry is no more than
//! a hint, and is not synced: where a power cut takes the last ones, limits are foretold less well.

use std::collections::HashSet;
use std::io;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Store;
use super::record::{self, RecordError};
use crate::input::{KIB, MIB};
use crate::name::DnsName;

/// Everything spent in the last [`MEMORY`], oldest first
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
        // The log first: whoever folds it meanwhile removes it only once its entries are elsewhere.
        let logged = self.logged()?;
        let path = self.ledger_file();
        let mut ledger: Ledger = record::read(&self.state, &path, MOST_LOGGED)?.unwrap_or_default();
        if ledger.version > VERSION {
            let version = ledger.version;
            return Err(RecordError::Newer { path, version });
        }
        // One that was killed while it folded the log has left entries in both.
        let folded: HashSet<&Entry> = ledger.entries.iter().collect();
        let mut new = logged;
        new.retain(|entry| !folded.contains(entry));
        ledger.entries.extend(new);
        // However many orders found out that an account is new, it was registered once.
        let mut accounts: HashSet<String> = HashSet::new();
        ledger.entries.retain(|entry| {
            entry.spent != Spent::Account || accounts.insert(entry.account.clone())
        });
        Ok(ledger)
    }

    /// The entries of the log, without lines that a power cut has cut short
    fn logged(&self) -> Result<Vec<Entry>, RecordError> {
        let path = self.ledger_log();
        let log = match self.state.read(&path, MOST_LOGGED) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(RecordError::Unreadable { path, source }),
        };
        let lines = log.split(|byte| *byte == b'\n');
        Ok(lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect())
    }

    /// Adds an entry; now and then forgets what no limit counts any more
    ///
    /// Needs the lock, and is not to be called by two threads at once.
    ///
    /// # Errors
    /// [`RecordError`]; what was known before stays known.
    pub fn spend(&self, entry: &Entry, now: Timestamp) -> Result<(), RecordError> {
        let path = self.ledger_log();
        let line = serde_json::to_vec(entry);
        let line = line.map_err(|source| record::damaged(&path, source))?;
        let length = self.state.append(&path, &line)?;
        match length > LEAST_FOLDED && length > self.state.length(&self.ledger_file()) {
            true => self.fold(now),
            false => Ok(()),
        }
    }

    /// Puts the entries of the log beside the others that a limit still counts
    fn fold(&self, now: Timestamp) -> Result<(), RecordError> {
        let mut ledger = self.ledger()?;
        ledger.version = VERSION;
        ledger
            .entries
            .retain(|entry| now.duration_since(entry.at).abs() <= MEMORY);
        record::keep(&self.state, &self.ledger_file(), &ledger)?;
        Ok(self.state.remove(&self.ledger_log())?)
    }
}

const VERSION: u32 = 1;
/// Bytes of the log beyond which it is folded: some three hundred entries, and at least as many as
/// were folded before, so that the work grows with the entries alone
const LEAST_FOLDED: u64 = 64 * KIB;
/// Bytes of the log, and of the ledger, that are read: a hundred thousand entries, more than a CA's
/// limits let one account spend in [`MEMORY`]
const MOST_LOGGED: u64 = 16 * MIB;
/// A little more than the longest period of a limit, a week
pub const MEMORY: SignedDuration = SignedDuration::from_hours(8 * 24);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn entry(at: &str, spent: Spent) -> Entry {
        Entry {
            at: at.parse().expect("a time"),
            directory: "https://ca.test/directory".to_owned(),
            account: "https://ca.test/acct/7".to_owned(),
            spent,
        }
    }

    fn store(home: &Path) -> Store {
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
            store.spend(entry, entry.at).unwrap();
        }
        assert_eq!(store.ledger().unwrap().entries, all);
        let later = all[2].at + MEMORY;
        store.fold(later).unwrap();
        assert_eq!(store.ledger().unwrap().entries, all[2..]);
    }

    #[test]
    fn what_is_spent_costs_the_same_however_much_was_spent_before() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        let (json, log) = (store.ledger_file(), store.ledger_log());
        let mut written = 0;
        for number in 0..ORDERS {
            let order = Spent::Order(vec![format!("d{number}.test")]);
            let entry = entry("2027-03-01T12:00:00Z", order);
            let before = store.state.length(&json);
            let logged = store.state.length(&log);
            store.spend(&entry, entry.at).unwrap();
            written += match store.state.length(&json) {
                json if json == before => store.state.length(&log) - logged,
                json => json,
            };
        }
        let ledger = store.ledger().unwrap();
        assert_eq!(ledger.entries.len(), ORDERS);
        let whole = serde_json::to_vec_pretty(&ledger).unwrap().len();
        assert!(written < 3 * whole as u64, "{written} of {whole} bytes");
    }

    #[test]
    fn a_kill_between_the_two_steps_of_folding_counts_nothing_twice() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        let at = "2027-03-01T12:00:00Z";
        let all = [
            entry(at, Spent::Account),
            entry(at, Spent::Order(vec!["shop.test".to_owned()])),
        ];
        for entry in [&all[0], &all[0], &all[1]] {
            store.spend(entry, entry.at).unwrap();
        }
        let log = fs::read(store.ledger_log()).unwrap();
        store.fold(all[0].at).unwrap();
        store.state.append(&store.ledger_log(), &log).unwrap();
        assert_eq!(store.ledger().unwrap().entries, all);
    }

    #[test]
    fn a_line_that_a_power_cut_has_cut_short_spoils_no_other() {
        for torn in [&b"{\"at\":\"20"[..], b"\0\0\0\0", b"\xff{", b""] {
            let home = tempfile::tempdir().unwrap();
            let store = store(home.path());
            let order = |name: &str| Spent::Order(vec![name.to_owned()]);
            let before = entry("2027-03-01T12:00:00Z", order("a.test"));
            let after = entry("2027-03-01T12:00:01Z", order("b.test"));
            store.spend(&before, before.at).unwrap();
            store.state.append(&store.ledger_log(), torn).unwrap();
            store.spend(&after, after.at).unwrap();
            assert_eq!(store.ledger().unwrap().entries, [before, after]);
        }
    }

    #[test]
    fn a_log_that_is_no_file_of_certds_alone_is_not_added_to() {
        #[track_caller]
        fn check(make: impl Fn(&Path, &Path)) {
            let home = tempfile::tempdir().unwrap();
            let store = store(home.path());
            let victim = home.path().join("victim");
            fs::copy("/etc/hostname", &victim).unwrap();
            let precious = fs::read(&victim).unwrap();
            make(&victim, &store.ledger_log());
            let entry = entry("2027-03-01T12:00:00Z", Spent::Account);
            assert!(store.spend(&entry, entry.at).is_err());
            assert_eq!(fs::read(&victim).unwrap(), precious);
        }
        check(|victim, log| std::os::unix::fs::symlink(victim, log).unwrap());
        check(|victim, log| fs::hard_link(victim, log).unwrap());
        check(|_, log| fs::create_dir(log).unwrap());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn a_log_without_end_is_not_read_to_its_end() {
        let home = tempfile::tempdir().unwrap();
        let store = store(home.path());
        store.state.append(&store.ledger_log(), b"").unwrap();
        let log = fs::File::options().append(true).open(store.ledger_log());
        // Its holes take no room on the disk.
        log.unwrap().set_len(MOST_LOGGED + 1).unwrap();
        assert!(matches!(
            store.ledger(),
            Err(RecordError::Unreadable { .. })
        ));
    }

    const ORDERS: usize = 2_000;

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
        assert!(store.fold(now).is_err());
        assert!(matches!(store.ledger(), Err(RecordError::Newer { .. })));
    }
}
