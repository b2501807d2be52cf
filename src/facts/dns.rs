//! What name servers said.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One question to DNS and what came of it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Name that was asked for
    pub name: String,
    /// Type of the records
    pub kind: RecordKind,
    /// What was answered
    pub outcome: Result<Answer, LookupFailure>,
}

/// A type of records
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// IPv4 addresses
    A,
    /// IPv6 addresses
    Aaaa,
    /// Which CAs may issue (RFC 8659)
    Caa,
    /// Name servers of a zone
    Ns,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Ns => "NS",
        })
    }
}

/// Records of one name; none where the name is there without any of the type
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names that the name is an alias of, in order (CNAME)
    pub aliases: Vec<String>,
    /// Data of the records
    pub records: Vec<RecordData>,
    /// The shortest time to live of what was answered
    pub ttl: Option<Duration>,
}

impl Answer {
    /// The addresses among the records
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.records.iter().filter_map(|record| match record {
            RecordData::Address(address) => Some(*address),
            _ => None,
        })
    }
}

/// Data of one record
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordData {
    /// A or AAAA
    Address(IpAddr),
    /// CAA
    Caa(Caa),
    /// NS
    NameServer(String),
}

/// A CAA record (RFC 8659 section 4)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caa {
    /// What a CA must do that does not know the tag
    pub criticality: Criticality,
    /// Such as `issue`, lower case
    pub tag: String,
    /// As written
    pub value: String,
}

impl fmt::Display for Caa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = match self.criticality {
            Criticality::Critical => 128,
            Criticality::NonCritical => 0,
        };
        write!(f, "CAA {flags} {} {:?}", self.tag, self.value)
    }
}

/// What a CA must do with a tag that it does not know
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criticality {
    /// Refuse
    Critical,
    /// Ignore it
    NonCritical,
}

/// Why there is no answer
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// NXDOMAIN: there is no such name, of any type
    NoSuchName,
    /// SERVFAIL
    ServFail(Dnssec),
    /// REFUSED
    Refused,
    /// Nothing within the timeout
    TimedOut,
    /// This process may open no more files, and nobody was asked
    NoDescriptor,
    /// Anything else
    Failed(String),
}

/// Whether validation is why a resolver gave SERVFAIL
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dnssec {
    /// An answer came when validation was switched off (the CD bit, RFC 4035 section 3.2.2)
    Broken,
    /// It failed all the same
    NotTheCause,
}

impl fmt::Display for LookupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName => f.write_str("NXDOMAIN"),
            Self::ServFail(Dnssec::Broken) => f.write_str("SERVFAIL, DNSSEC is broken"),
            Self::ServFail(Dnssec::NotTheCause) => f.write_str("SERVFAIL"),
            Self::Refused => f.write_str("REFUSED"),
            Self::TimedOut => f.write_str("no answer"),
            Self::NoDescriptor => f.write_str("too many open files here"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// What one name server of a zone says itself
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its name
    pub server: String,
    /// Where it was asked
    pub address: SocketAddr,
    /// Its answers, one for each type that it was asked for
    pub lookups: Vec<Lookup>,
}

impl Authority {
    /// What it says of one type
    pub fn said(&self, kind: RecordKind) -> Option<&Result<Answer, LookupFailure>> {
        let lookup = self.lookups.iter().find(|lookup| lookup.kind == kind)?;
        Some(&lookup.outcome)
    }
}
