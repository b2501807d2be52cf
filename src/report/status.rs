//! What `certd status` shows of each lineage.

use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, Verdict};
use crate::finding::Finding;
use crate::store::record::LastResult;

/// All lineages: those of the configuration, then those that it no longer names
#[derive(Clone, Debug, Serialize)]
pub struct StatusReport {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Always `status`
    pub command: &'static str,
    /// The instant that remaining times refer to
    pub now: Timestamp,
    /// What hides a part of the truth, such as a storage that is not there
    pub warnings: Vec<Finding>,
    /// One entry for each lineage
    pub lineages: Vec<LineageStatus>,
}

/// One lineage
#[derive(Clone, Debug, Serialize)]
pub struct LineageStatus {
    /// Primary name
    pub name: String,
    /// Names of the certificate, or of the configuration where there is none
    pub names: Vec<String>,
    /// Whether it is in the configuration
    pub standing: Standing,
    /// What there is of it
    pub state: LineageState,
    /// Generation that is live, else the newest one
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// When that generation was last seen served for every name: when it was proven, or later where
    /// the daemon saw it before it saw it no more
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Timestamp>,
    /// Newest generation in the archive
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_generation: Option<u32>,
    /// Name of the issuer in the configuration
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// SHA-256 in hexadecimal
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// End of its validity
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Seconds until then; negative after it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_secs: Option<i64>,
    /// When it is due for renewal
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_at: Option<Timestamp>,
    /// A page of the CA that says why it would have it renewed then
    pub explanation: Option<String>,
    /// How the last run ended
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_result: Option<LastRun>,
    /// Before this instant no order is tried
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<Timestamp>,
    /// Whether no order is placed until a person has acted
    pub order_stopped: bool,
    /// Why the last order failed, since when none has succeeded
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_failure: Option<String>,
    /// How to be rid of it, where the configuration no longer names it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removal: Option<String>,
    /// Why the files cannot be read
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How the last run ended for a lineage
#[derive(Clone, Debug, Serialize)]
pub struct LastRun {
    /// When
    pub at: Timestamp,
    /// Word of the outcome
    pub outcome: String,
    /// What that means; `None` for a word of another version
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// In a sentence
    pub message: String,
    /// Code of the finding that failed it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What that finding says to do
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl From<&LastResult> for LastRun {
    fn from(last: &LastResult) -> Self {
        Self {
            at: last.at,
            outcome: last.outcome.clone(),
            verdict: Outcome::of_word(&last.outcome).map(Outcome::verdict),
            message: last.message.clone(),
            code: last.code.clone(),
            cure: last.cure.clone(),
        }
    }
}

/// Whether a lineage is in the configuration
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is, and `--all` takes it
    Configured,
    /// It is, with `enabled = false`
    Disabled,
    /// It is not: nobody renews it
    Orphaned,
}

impl LineageStatus {
    /// Whether there is something about it that a person may want to know
    pub fn needs_attention(&self) -> bool {
        let is_well = self
            .last_result
            .as_ref()
            .is_none_or(|last| last.verdict == Some(Verdict::Well));
        let is_served =
            self.state == LineageState::Proven && self.newest_generation == self.generation;
        !(is_well && is_served && self.standing == Standing::Configured)
            || self.problem.is_some()
            || self.next_try.is_some()
            || self.order_stopped
    }

    /// The last run, where it failed
    pub fn failure(&self) -> Option<&LastRun> {
        let last = self.last_result.as_ref();
        last.filter(|last| last.verdict == Some(Verdict::Failed))
    }
}

/// What there is of a lineage
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineageState {
    /// No certificate yet
    None,
    /// In the archive, not live
    Issued,
    /// Live, not seen served yet
    Live,
    /// Live and seen served for every name
    Proven,
    /// Live or issued, and past its end
    Expired,
    /// Its files cannot be used
    Damaged,
    /// Its files may not be read by this user
    Unreadable,
    /// Another program's files are in the way
    Foreign,
}

impl LineageState {
    /// The word for it in text
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Issued => "issued",
            Self::Live => "live",
            Self::Proven => "proven",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
            Self::Foreign => "foreign",
        }
    }
}
