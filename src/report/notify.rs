//! What `certd notify --test` found of each channel.

use std::time::Duration;

use serde::Serialize;

use crate::finding::{Finding, Severity};
use crate::time::serialize_millis;

/// Every channel, in the order of the configuration
#[derive(Clone, Debug, Serialize)]
pub struct NotifyReport {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Always `notify`
    pub command: &'static str,
    /// One entry for each `[[notify]]`
    pub channels: Vec<ChannelReport>,
}

impl NotifyReport {
    /// Whether every channel has taken its message
    pub fn is_well(&self) -> bool {
        let is_sent = |channel: &ChannelReport| channel.finding.severity == Severity::Ok;
        self.channels.iter().all(is_sent)
    }
}

/// One channel
#[derive(Clone, Debug, Serialize)]
pub struct ChannelReport {
    /// Its name, without a secret
    pub channel: String,
    /// Whether the message arrived
    pub finding: Finding,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    pub elapsed: Duration,
}
