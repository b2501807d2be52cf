//! What `certd why` saw between a name and its certificate, link by link, and the one thing to
//! change.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::finding::{Finding, Severity};
use crate::time::serialize_millis;

/// The chain from a name to its certificate
#[derive(Clone, Debug, Serialize)]
pub struct WhyReport {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Always `why`
    pub command: &'static str,
    /// When it began
    pub started: Timestamp,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    pub elapsed: Duration,
    /// What was asked about, without path and credentials
    pub url: String,
    /// Its name, as A-label, or its IP address
    pub name: String,
    /// Its port
    pub port: u16,
    /// Primary name of the domain in the configuration, if it is one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The links that could be looked at, from the top
    pub steps: Vec<Step>,
    /// What a browser gets
    pub verdict: Judgement,
    /// The one thing to change; `None` where all is well
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
}

impl WhyReport {
    /// How much attention it needs
    pub fn severity(&self) -> Severity {
        match (self.verdict.answer, &self.change) {
            (Answer::Accepted, None) => Severity::Ok,
            (Answer::Accepted, Some(_)) | (Answer::Unjudged, _) => Severity::Warning,
            _ => Severity::Failure,
        }
    }
}

/// One link of the chain, and what was seen of it
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which link
    pub link: Link,
    /// The worst of the findings; `ok` where there is none
    pub severity: Severity,
    /// What was seen, in one sentence without a full stop
    pub seen: String,
    /// What is wrong or worth knowing
    pub findings: Vec<Finding>,
}

impl Step {
    /// A link with what was found of it
    pub fn new(link: Link, seen: impl Into<String>, findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.severity).max();
        Self {
            link,
            severity: worst.unwrap_or(Severity::Ok),
            seen: seen.into(),
            findings,
        }
    }

    /// The same link where nothing of it does more harm than this
    #[must_use]
    pub fn at_most(self, severity: Severity) -> Self {
        let findings = self.findings.into_iter();
        let findings = findings.map(|finding| finding.at_most(severity)).collect();
        Self::new(self.link, self.seen, findings)
    }
}

/// A link between a name and its certificate, from the top
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The name in domains.toml
    Name,
    /// What DNS says of it
    Dns,
    /// Where that leads
    Address,
    /// Who takes connections there
    Listener,
    /// The server block that nginx chooses
    Block,
    /// The certificate file that the block names
    File,
    /// What certd has installed for the domain
    Installed,
    /// What a handshake shows
    Served,
}

impl Link {
    /// The word for it in text
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Dns => "dns",
            Self::Address => "address",
            Self::Listener => "listener",
            Self::Block => "block",
            Self::File => "file",
            Self::Installed => "installed",
            Self::Served => "served",
        }
    }
}

/// What a browser gets, with the reason
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// In a word
    pub answer: Answer,
    /// Why, in one sentence without a full stop
    pub reason: String,
}

/// What a browser gets
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The certificate that it should get
    Accepted,
    /// One that it accepts, and that is not the one that should be served
    Contradicted,
    /// One that it refuses, or no TLS
    Refused,
    /// No connection
    Unreached,
    /// Something that certd cannot judge, and a browser may accept
    Unjudged,
}

/// The one thing to change
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The first link from the top that is broken
    pub link: Link,
    /// Code of what is wrong with it
    pub code: &'static str,
    /// What is wrong with it
    pub evidence: String,
    /// What to do; may hold lines to copy
    pub cure: String,
}
