//! What a command found and did, as data; one writer per output format turns it into text.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::finding::{Finding, Severity};
use crate::time::{Validity, serialize_millis};

pub mod cause;
pub mod check;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod notify;
pub mod simulation;
pub mod status;
pub mod text;
pub mod verify;
pub mod why;

/// A finished run over some domains
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Command that made it
    pub command: &'static str,
    /// When the run began
    pub started: Timestamp,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    pub elapsed: Duration,
    /// HTTP requests sent to CAs
    pub ca_requests: u64,
    /// What concerns a target as a whole, such as a reload
    pub targets: Vec<TargetReport>,
    /// One entry for each domain, in the order of the configuration
    pub domains: Vec<DomainReport>,
    /// Domains with a certificate that are not in the configuration: left alone, renewed by nobody
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<String>,
}

impl Report {
    /// The outcome of the whole run: the worst of its domains'
    pub fn verdict(&self) -> Verdict {
        self.domains
            .iter()
            .map(|domain| domain.outcome.verdict())
            .max()
            .unwrap_or(Verdict::Well)
    }

    /// Whether anything is told that needs attention, though nothing failed
    pub fn warns(&self) -> bool {
        self.domains.iter().any(DomainReport::warns)
    }
}

/// Whether a run went well
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything is as it should be
    Well,
    /// Nothing failed, something must be tried later
    Later,
    /// A domain failed
    Failed,
}

/// What was done to the containers behind one `[nginx]`
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// Names of the containers
    pub name: String,
    /// Domains that it serves, of this run
    pub domains: Vec<String>,
    /// What was done, in order
    pub stages: Vec<StageReport>,
}

/// What happened to one domain
#[derive(Clone, Debug, Serialize)]
pub struct DomainReport {
    /// Primary name
    pub name: String,
    /// All names, the primary one first
    pub names: Vec<String>,
    /// How it ended
    pub outcome: Outcome,
    /// The same in a sentence
    pub summary: String,
    /// Generation that the run was about
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// SHA-256 of its certificate, in hexadecimal
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// `not_before` and `not_after` of what is live after the run, of the newest generation where
    /// nothing is; `None` where there is none that can be read
    #[serde(flatten)]
    pub validity: Option<Validity>,
    /// When it is renewed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_at: Option<Timestamp>,
    /// When something can be done for it again: its renewal, a question to its CA, another try;
    /// absent where only a person can do something
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// What was done, in order
    pub stages: Vec<StageReport>,
    /// What is wrong or worth knowing
    pub findings: Vec<Finding>,
}

impl DomainReport {
    /// Whether something was found that is worth a look
    pub fn warns(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.severity >= Severity::Warning)
    }
}

/// How a run ended for one domain
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A generation was deployed and every target was seen to serve it for every name
    Proven,
    /// Nothing was due; in a run by hand the live generation was seen served
    Unchanged,
    /// Live, and no target was touched (`--no-deploy`)
    Live,
    /// Issued and live, but no server block serves it yet
    NotServed,
    /// The staging CA issued; nothing was installed (`--staging`)
    Rehearsed,
    /// Nothing was done (`--dry-run`)
    Planned,
    /// Nothing was due, and something else is served than what is live
    Drifted,
    /// It must be tried later
    Later,
    /// It failed
    Failed,
}

impl Outcome {
    /// All of them
    pub const ALL: [Self; 9] = [
        Self::Proven,
        Self::Unchanged,
        Self::Live,
        Self::NotServed,
        Self::Rehearsed,
        Self::Planned,
        Self::Drifted,
        Self::Later,
        Self::Failed,
    ];

    /// The one that a record has this word for; `None` for a word of another version
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }

    /// The word for it in text and in records
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unchanged => "unchanged",
            Self::Live => "live",
            Self::NotServed => "not_served",
            Self::Rehearsed => "rehearsed",
            Self::Planned => "planned",
            Self::Drifted => "drifted",
            Self::Later => "later",
            Self::Failed => "failed",
        }
    }

    /// What the outcome means for the whole run
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Proven | Self::Unchanged | Self::Live | Self::Rehearsed | Self::Planned => {
                Verdict::Well
            }
            Self::Later => Verdict::Later,
            Self::NotServed | Self::Drifted | Self::Failed => Verdict::Failed,
        }
    }
}

/// One step and what came of it
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageReport {
    /// Which step
    pub stage: Stage,
    /// Whether it went well
    pub result: StageResult,
    /// What it did, in a few words
    pub detail: String,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    pub elapsed: Duration,
}

/// A step of the loop
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// What is due and why
    Plan,
    /// Container, mounts, configuration, baseline
    Target,
    /// What the CA would find
    Check,
    /// Order, challenges, certificate
    Order,
    /// Looking at the chain and writing it into the archive
    Install,
    /// Making it live
    Switch,
    /// `nginx -t`
    Test,
    /// Telling nginx
    Reload,
    /// Handshakes
    Proof,
    /// Back to the previous generation
    Rollback,
}

impl Stage {
    /// The word for it in text
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Target => "target",
            Self::Check => "check",
            Self::Order => "order",
            Self::Install => "install",
            Self::Switch => "switch",
            Self::Test => "test",
            Self::Reload => "reload",
            Self::Proof => "proof",
            Self::Rollback => "rollback",
        }
    }
}

/// Whether a step went well
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageResult {
    /// It did what it should
    Done,
    /// It did not
    Failed,
}

/// Version of the JSON forms of all reports
pub const SCHEMA_VERSION: u32 = 1;
