//! Alerts: whom `[[notify]]` names is told of a change, and `heartbeat` is called when all is well.
//!
//! What is told is decided by [`crate::plan::alert`]. Delivery is bounded in time and never fails a
//! pass: what goes wrong becomes a warning, and what a channel has not taken is decided anew with
//! the next pass, for each channel by what it was told itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use tokio::time::timeout;

use crate::chain::Fingerprint;
use crate::config::Config;
use crate::config::notify::{Channel, Event, Means};
use crate::finding::{Finding, chain_of_causes};
use crate::pipeline::Context;
use crate::plan::alert::{self, Channels};
use crate::report::notify::{ChannelReport, NotifyReport};
use crate::report::{DomainReport, Report, SCHEMA_VERSION, Verdict};
use crate::store::Store;
use crate::store::alerts::Alerts;
use crate::store::record::RecordError;

mod chat;
mod command;
mod error;
mod letter;
mod mail;
mod markup;
pub mod message;
mod post;
mod redact;
mod secret;
mod seen;

use error::Undelivered;
use message::{Entry, Message};
use post::Sender;
use seen::seen;

/// What a pass has looked at: where nothing was due, only a look tells that a wrong certificate is
/// mended
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What is due, as `certd renew` does
    AtWhatIsDue,
    /// What is served too, for every domain of the report
    AtWhatIsServed,
}

/// Tells every channel what it is to hear of a pass
///
/// The report may be of a part of the domains. What comes back is what went wrong, as warnings: an
/// alert that nobody could be told is no failure of the pass. Takes [`PATIENCE`] at most. Dropping
/// the future leaves what was told unremembered, so that it is told again.
pub async fn after(
    context: &Context<'_>,
    report: &Report,
    look: Look,
    unkept: &Unkept,
) -> Vec<Finding> {
    let config = context.config;
    if config.notify.is_empty() {
        return Vec::new();
    }
    let now = context.now();
    let mut memory = Memory::of(context.store, unkept);
    let mut alerts = memory.told.clone();
    let identities: Vec<String> = config.notify.iter().map(identity).collect();
    let wanted = config.notify.iter().map(|channel| &channel.on);
    let channels: Channels<'_> = identities.iter().cloned().zip(wanted).collect();
    let enabled = enabled(config, &alerts);
    let seen = seen(report, &alerts, config.renewal_fraction, look, now);
    let is_known = |domain: &str| enabled.contains(domain);
    alert::remember(&mut alerts, &seen, &channels, is_known, now);
    let mut findings = Vec::new();
    for told in tell(context, report, &identities, &alerts, now).await {
        if told.outcome.is_ok() {
            for (domain, event) in &told.events {
                alert::note(&mut alerts, domain, told.identity, *event, now);
            }
        }
        if let Ok(Delivery::InPart(error)) | Err(error) = &told.outcome {
            findings.push(error.warning(&told.channel.label()));
        }
    }
    memory.keep(context.store, alerts, unkept);
    findings.extend(memory.trouble.as_ref().map(forgetful));
    findings
}

/// Tells the dead man's switch that a sweep over all domains went well
///
/// Calls nobody where one did not. What comes back is what went wrong, as a warning.
pub async fn heartbeat(context: &Context<'_>, report: &Report) -> Vec<Finding> {
    let Some(url) = &context.config.heartbeat else {
        return Vec::new();
    };
    if report.verdict() != Verdict::Well {
        return Vec::new();
    }
    match post::beat(url, &sender(context.config, &context.provider)).await {
        Ok(()) => Vec::new(),
        Err(error) => vec![error.warning(&format!("heartbeat {}", url.host()))],
    }
}

/// Sends a message of its own kind through every channel
///
/// The heartbeat is not called: that would say that a sweep went well.
pub async fn test(config: &Config, provider: &Arc<CryptoProvider>, now: Timestamp) -> NotifyReport {
    let (message, sender) = (Message::test(now), &sender(config, provider));
    let channels = config.notify.iter().map(|channel| async {
        let begun = Instant::now();
        let label = channel.label();
        let finding = match deliver(channel, &message, sender).await {
            Ok(Delivery::Whole) => {
                Finding::ok("notify.sent", format!("{label} has taken the message"))
            }
            Ok(Delivery::InPart(error)) | Err(error) => error.failure(&label),
        };
        ChannelReport {
            channel: label,
            finding,
            elapsed: begun.elapsed(),
        }
    });
    NotifyReport {
        schema_version: SCHEMA_VERSION,
        command: "notify",
        channels: join_all(channels).await,
    }
}

/// What came of a message that a channel has taken
#[derive(Debug)]
enum Delivery {
    /// All that it is for have it
    Whole,
    /// Somebody has it, and this is why others have not
    InPart(Undelivered),
}

/// What was told, as long as it cannot be kept on disk
///
/// With it a daemon whose state directory cannot be written tells nothing twice. A clone shares it.
#[derive(Clone, Debug, Default)]
pub struct Unkept(Arc<Mutex<Option<Alerts>>>);

impl Unkept {
    fn told(&self) -> Option<Alerts> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, told: Option<Alerts>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }
}

/// What was told before, and what is wrong with the memory of it
struct Memory {
    /// What is on disk; `None` where that cannot be read
    kept: Option<Alerts>,
    told: Alerts,
    trouble: Option<RecordError>,
}

impl Memory {
    fn of(store: &Store, unkept: &Unkept) -> Self {
        let (kept, trouble) = match store.alerts() {
            Ok(kept) => (Some(kept), None),
            Err(error) => (None, Some(error)),
        };
        let told = unkept.told().or_else(|| kept.clone());
        Self {
            kept,
            told: told.unwrap_or_default(),
            trouble,
        }
    }

    /// Keeps what was told now, if there is news; one that was damaged is written anew
    fn keep(&mut self, store: &Store, told: Alerts, unkept: &Unkept) {
        if matches!(self.trouble, Some(RecordError::Newer { .. })) {
            return unkept.set(Some(told));
        }
        if self.kept.as_ref() == Some(&told) {
            return unkept.set(None);
        }
        match store.save_alerts(&told) {
            Ok(()) => unkept.set(None),
            Err(error) => {
                self.trouble = Some(error);
                unkept.set(Some(told));
            }
        }
    }
}

/// What a channel was to hear of which domain, and what came of it
struct Told<'c> {
    channel: &'c Channel,
    identity: &'c str,
    events: Vec<(String, Event)>,
    outcome: Result<Delivery, Undelivered>,
}

/// Sends each channel its message, all at once
async fn tell<'c>(
    context: &Context<'c>,
    report: &Report,
    identities: &'c [String],
    alerts: &Alerts,
    now: Timestamp,
) -> Vec<Told<'c>> {
    // Where nothing is wrong, nothing is looked up.
    if alerts.domains.is_empty() {
        return Vec::new();
    }
    let domains = report.domains.iter();
    let reports: BTreeMap<&str, &DomainReport> = domains
        .map(|domain| (domain.name.as_str(), domain))
        .collect();
    let channels = context.config.notify.iter().zip(identities);
    let due = channels.filter_map(|(channel, identity)| {
        let entries = entries(alerts, &reports, channel, identity, now);
        (!entries.is_empty()).then_some((channel, identity, entries))
    });
    let sender = &sender(context.config, &context.provider);
    let jobs = due.map(|(channel, identity, entries)| {
        let events = entries.iter();
        let events = events.map(|entry| (entry.domain.clone(), entry.event));
        let events = events.collect();
        let message = Message::alert(entries, now);
        async move {
            Told {
                channel,
                identity,
                events,
                outcome: deliver(channel, &message, sender).await,
            }
        }
    });
    join_all(jobs).await
}

/// What a channel is to hear of the domains of a report
fn entries(
    alerts: &Alerts,
    reports: &BTreeMap<&str, &DomainReport>,
    channel: &Channel,
    identity: &str,
    now: Timestamp,
) -> Vec<Entry> {
    let domains = alerts.domains.iter();
    domains
        .filter_map(|(domain, trouble)| {
            let report = reports.get(domain.as_str())?;
            let event = alert::due(trouble, identity, &channel.on, now)?;
            Some(Entry::new(report, event, alert::since(trouble, identity)))
        })
        .collect()
}

/// What it takes to send by HTTP, as the configuration says
fn sender(config: &Config, provider: &Arc<CryptoProvider>) -> Sender {
    Sender {
        provider: Arc::clone(provider),
        proxies: config.proxies,
    }
}

async fn deliver(
    channel: &Channel,
    message: &Message,
    sender: &Sender,
) -> Result<Delivery, Undelivered> {
    let delivery = async {
        match &channel.means {
            Means::Webhook(webhook) => post::webhook(webhook, message, sender).await?,
            Means::Mail(mail) => return mail::send(mail, message).await,
            Means::Telegram(telegram) => {
                return post::telegram(telegram, message, sender).await;
            }
            Means::Command(command) => command::run(command, message).await?,
        }
        Ok(Delivery::Whole)
    };
    let outcome = timeout(PATIENCE, delivery).await;
    let outcome = outcome.unwrap_or_else(|_| Err(Undelivered::late(&channel.means)));
    let label = channel.label();
    match &outcome {
        Ok(_) => tracing::info!(channel = label, domains = message.domains.len(), "told"),
        Err(error) => tracing::debug!(channel = label, %error, "not told"),
    }
    outcome
}

/// Names of the domains that are looked after; not asked for where nothing is remembered
fn enabled<'c>(config: &'c Config, alerts: &Alerts) -> BTreeSet<&'c str> {
    if alerts.domains.is_empty() {
        return BTreeSet::new();
    }
    let names = config.enabled().map(|domain| domain.name.as_str());
    names.collect()
}

/// A digest of what tells a channel from the others: its URL may be a secret
fn identity(channel: &Channel) -> String {
    let digest = Fingerprint::of(channel.identity().as_bytes()).to_string();
    digest.chars().take(DIGEST).collect()
}

fn forgetful(error: &RecordError) -> Finding {
    let causes = chain_of_causes(error);
    let evidence = format!("{causes}: what was told may be told again");
    let cure = match error {
        RecordError::Damaged { .. } => "nothing: it is written anew",
        RecordError::Newer { .. } => "run the certd that wrote it, or move it away",
        RecordError::Unreadable { .. } | RecordError::File(_) => {
            "run certd as the owner of the state directory, or as root"
        }
    };
    Finding::warning("notify.memory", evidence).with_cure(cure)
}

/// Time that one channel may take for one message
pub const PATIENCE: Duration = Duration::from_secs(30);
const DIGEST: usize = 16;
