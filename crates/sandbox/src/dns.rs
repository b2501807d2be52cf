//! A DNS server that answers from memory, for every domain that there is.
//!
//! Several servers with a zone of their own each, on different loopback addresses, stand for
//! name servers that do not agree. There are no delegations, no transfers and no DNSSEC.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{A, AAAA, CAA, CNAME, NS, TXT};
use hickory_server::proto::rr::{Name, RData, RecordType};

use super::lock;

mod server;
#[cfg(test)]
mod tests;

pub use server::{Question, Server};

/// Records by name; clones share them, so that a zone can be changed while servers answer from it
///
/// Names are compared without regard to case and to a dot at their end. `*.NAME` answers for what
/// is not there below `NAME`, as in [RFC 4592](https://www.rfc-editor.org/rfc/rfc4592).
#[derive(Clone, Debug, Default)]
pub struct Zone(Arc<Mutex<Names>>);

type Names = BTreeMap<String, Entry>;

impl Zone {
    /// A zone without names
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one record to a name
    pub fn add(&self, name: &str, record: Record) {
        lock(&self.0)
            .entry(normal(name))
            .or_default()
            .records
            .push(record);
    }

    /// Replaces all that there is of a name
    ///
    /// Without records the name still exists, and has none of any type.
    pub fn set(&self, name: &str, records: impl IntoIterator<Item = Record>) {
        let entry = Entry {
            records: records.into_iter().collect(),
            failure: None,
        };
        lock(&self.0).insert(normal(name), entry);
    }

    /// Removes a name, which is answered with NXDOMAIN from then on
    pub fn remove(&self, name: &str) {
        lock(&self.0).remove(&normal(name));
    }

    /// Fails for a name until it is set or removed
    pub fn fail(&self, name: &str, failure: Failure) {
        lock(&self.0).entry(normal(name)).or_default().failure = Some(failure);
    }

    /// What there is to say about a name, with the aliases that lead to it
    fn find(&self, name: &str, kind: RecordType, checking: Checking) -> Answer {
        let names = lock(&self.0);
        let mut found: Vec<(String, Record)> = Vec::new();
        let mut owner = normal(name);
        // A loop of aliases comes back to a name that was passed already.
        while found.len() < MAX_ALIASES && found.iter().all(|(passed, _)| *passed != owner) {
            let outcome = match lookup(&names, &owner) {
                Lookup::Entry(entry) => entry.answer(&owner, kind, checking, &mut found),
                Lookup::Empty => Step::End(Outcome::NoData),
                Lookup::Missing => Step::End(Outcome::NoSuchName),
            };
            match outcome {
                Step::Alias(target) => owner = target,
                Step::End(outcome) => return Answer { found, outcome },
            }
        }
        Answer {
            found,
            outcome: Outcome::Found,
        }
    }
}

fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[derive(Clone, Debug, Default)]
struct Entry {
    records: Vec<Record>,
    failure: Option<Failure>,
}

impl Entry {
    fn answer(
        &self,
        owner: &str,
        kind: RecordType,
        checking: Checking,
        found: &mut Vec<(String, Record)>,
    ) -> Step {
        if let Some(failure) = self
            .failure
            .filter(|failure| failure.strikes(kind, checking))
        {
            return Step::End(Outcome::Failed(failure));
        }
        let of_kind = |record: &&Record| record.kind() == kind;
        if self.records.iter().any(|record| of_kind(&record)) {
            let records = self.records.iter().filter(of_kind).cloned();
            found.extend(records.map(|record| (owner.to_owned(), record)));
            return Step::End(Outcome::Found);
        }
        for record in &self.records {
            if let Record::Cname(target) = record {
                found.push((owner.to_owned(), record.clone()));
                return Step::Alias(normal(target));
            }
        }
        Step::End(Outcome::NoData)
    }
}

enum Step {
    Alias(String),
    End(Outcome),
}

/// The records of an answer, each with its name, and how it ended
struct Answer {
    found: Vec<(String, Record)>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Found,
    NoData,
    NoSuchName,
    Failed(Failure),
}

enum Lookup<'n> {
    Entry(&'n Entry),
    /// An empty non-terminal: there are names below it alone
    Empty,
    Missing,
}

fn lookup<'n>(names: &'n Names, name: &str) -> Lookup<'n> {
    if let Some(entry) = names.get(name) {
        return Lookup::Entry(entry);
    }
    if exists(names, name) {
        return Lookup::Empty;
    }
    // RFC 4592 section 3.3.1: only a wildcard right below the closest ancestor that exists counts.
    let mut below = name;
    while let Some((_, ancestor)) = below.split_once('.') {
        if let Some(entry) = names.get(&format!("*.{ancestor}")) {
            return Lookup::Entry(entry);
        }
        if exists(names, ancestor) {
            return Lookup::Missing;
        }
        below = ancestor;
    }
    Lookup::Missing
}

fn exists(names: &Names, name: &str) -> bool {
    names.keys().any(|known| {
        known
            .strip_suffix(name)
            .is_some_and(|above| above.is_empty() || above.ends_with('.'))
    })
}

/// One record of a name
///
/// Names in it are absolute, with or without the dot at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// IPv4 address
    A(Ipv4Addr),
    /// IPv6 address
    Aaaa(Ipv6Addr),
    /// The name of which this one is an alias
    Cname(String),
    /// Who may issue certificates ([RFC 8659](https://www.rfc-editor.org/rfc/rfc8659))
    Caa {
        /// Whether a CA that does not know the tag must refuse
        criticality: Criticality,
        /// `issue`, `issuewild`, `iodef` or any other
        tag: String,
        /// As it stands in the record
        value: String,
    },
    /// A name server
    Ns(String),
    /// Any text
    Txt(String),
}

impl Record {
    fn kind(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::AAAA,
            Self::Cname(_) => RecordType::CNAME,
            Self::Caa { .. } => RecordType::CAA,
            Self::Ns(_) => RecordType::NS,
            Self::Txt(_) => RecordType::TXT,
        }
    }

    fn data(&self) -> Result<RData, ProtoError> {
        Ok(match self {
            Self::A(address) => RData::A(A(*address)),
            Self::Aaaa(address) => RData::AAAA(AAAA(*address)),
            Self::Cname(name) => RData::CNAME(CNAME(absolute(name)?)),
            Self::Caa {
                criticality,
                tag,
                value,
            } => {
                let critical = *criticality == Criticality::Critical;
                // The constructors know the three common tags only; the fields take any.
                let mut caa = CAA::new_issue(critical, None, Vec::new());
                caa.tag.clone_from(tag);
                caa.value = value.clone().into_bytes();
                RData::CAA(caa)
            }
            Self::Ns(name) => RData::NS(NS(absolute(name)?)),
            Self::Txt(text) => {
                let parts = text.as_bytes().chunks(MAX_STRING).collect();
                RData::TXT(TXT::from_bytes(parts))
            }
        })
    }
}

fn absolute(name: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}

/// The critical flag of a CAA record (RFC 8659 section 4.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criticality {
    /// A CA that does not know the tag must not issue
    Critical,
    /// A CA passes over a tag that it does not know
    NonCritical,
}

/// How a server fails for a name
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It says that it cannot answer
    ServFail,
    /// It says that it will not answer
    Refused,
    /// It says nothing, until the client gives up
    NoAnswer,
    /// It says that it does not know such questions
    NotImplemented,
    /// It says that it cannot answer where this type is asked for, as `AAAA`
    ServFailFor(&'static str),
    /// It says that it cannot answer, unless asked not to validate: DNSSEC is broken
    Bogus,
}

impl Failure {
    fn strikes(self, kind: RecordType, checking: Checking) -> bool {
        match self {
            Self::ServFailFor(only) => kind.to_string() == only,
            Self::Bogus => checking == Checking::Enabled,
            _ => true,
        }
    }
}

/// Whether a client wants answers validated (the CD bit, RFC 4035 section 3.2.2)
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checking {
    Enabled,
    Disabled,
}

const MAX_ALIASES: usize = 16;

/// A text longer than this is sent as several strings (RFC 1035 section 3.3)
const MAX_STRING: usize = 255;
