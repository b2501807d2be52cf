//! What is wrong with domains, and who was told of it: so that a change is told once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Store;
use super::record::{self, RecordError};
use crate::config::notify::Event;
use crate::input::MIB;

/// The memory of alerts, `alerts.json`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// Format of the file
    #[serde(default)]
    pub version: u32,
    /// Domains that are not well, or were not lately, by their primary names
    #[serde(default)]
    pub domains: BTreeMap<String, Trouble>,
}

/// What is wrong with a domain
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when; `None` where it is well again, and what was told of it still counts
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What: neither `still_failing` nor `recovered` is among them
    #[serde(default)]
    pub events: BTreeSet<Event>,
    /// What each channel was told, by a digest of its identity
    #[serde(default)]
    pub told: BTreeMap<String, Told>,
}

/// What a channel was told of a domain
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Since when it knows the domain to fail; `None` where it knows nothing bad
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it knows to be wrong
    #[serde(default)]
    pub known: BTreeSet<Event>,
    /// When it was told last, by event
    #[serde(default)]
    pub last: BTreeMap<Event, Timestamp>,
}

impl Store {
    /// The memory of alerts; an empty one where none was written yet
    ///
    /// # Errors
    /// [`RecordError`] for a file that is there and cannot be understood.
    pub fn alerts(&self) -> Result<Alerts, RecordError> {
        let path = self.alerts_file();
        let alerts: Alerts = record::read(&self.state, &path, MOST_REMEMBERED)?.unwrap_or_default();
        match alerts.version {
            ..=VERSION => Ok(alerts),
            version => Err(RecordError::Newer { path, version }),
        }
    }

    /// Keeps the memory of alerts
    ///
    /// Of two passes that end at the same time the last one counts: the worst that comes of it is
    /// an alert that is told twice, so that no lock is held while channels are waited for.
    ///
    /// # Errors
    /// [`RecordError`]; the old memory stays.
    pub fn save_alerts(&self, alerts: &Alerts) -> Result<(), RecordError> {
        let versioned = Alerts {
            version: VERSION,
            domains: alerts.domains.clone(),
        };
        record::keep(&self.state, &self.alerts_file(), &versioned)
    }
}

const VERSION: u32 = 1;
/// Bytes of the memory that are read: ten thousand domains that fail, told to five channels
const MOST_REMEMBERED: u64 = 16 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_comes_back_and_a_newer_memory_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), &home.path().join("state"), None).unwrap();
        assert_eq!(store.alerts().unwrap(), Alerts::default());
        let at: Timestamp = "2027-03-01T12:00:00Z".parse().unwrap();
        let told = Told {
            since: Some(at),
            known: BTreeSet::from([Event::Failed]),
            last: BTreeMap::from([(Event::Failed, at)]),
        };
        let trouble = Trouble {
            since: Some(at),
            events: BTreeSet::from([Event::Failed, Event::Expiring]),
            told: BTreeMap::from([("channel".to_owned(), told)]),
        };
        let alerts = Alerts {
            version: VERSION,
            domains: BTreeMap::from([("shop.test".to_owned(), trouble)]),
        };
        store.save_alerts(&alerts).unwrap();
        assert_eq!(store.alerts().unwrap(), alerts);
        let newer = Alerts {
            version: VERSION + 1,
            ..alerts
        };
        record::keep(&store.state, &store.alerts_file(), &newer).unwrap();
        assert!(matches!(store.alerts(), Err(RecordError::Newer { .. })));
    }
}
