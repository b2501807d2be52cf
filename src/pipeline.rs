//! The journeys: the only place that knows the order of the stages and when to go back.
//!
//! A journey gathers facts from the stages, hands them to the judges, and keeps a report of what
//! it did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use tokio::sync::mpsc::UnboundedSender;

use crate::acme;
use crate::config::{Check, Config, Domain};
use crate::finding::{Explain, Finding, Severity};
use crate::name::DnsName;
use crate::net::roots::TrustError;
use crate::net::tls::Observer;
use crate::plan::{Plan, Urgency};
use crate::report::{DomainReport, Outcome, Stage, StageReport, StageResult};
use crate::store::Store;
use crate::store::lineage::Lineage;
use crate::time::Validity;
use crate::verify::path::Trust;

mod budget;
pub mod check;
mod clock;
pub mod defect;
mod desk;
pub mod installed;
pub mod obtain;
pub mod preflight;
mod renewal_info;
pub mod simulate;
pub mod status;
mod threads;
pub mod verify;
pub mod why;

/// What every journey needs
#[derive(Clone, Debug)]
pub struct Context<'c> {
    /// The configuration
    pub config: &'c Config,
    /// The opened store
    pub store: &'c Store,
    /// Cryptography for TLS
    pub provider: Arc<CryptoProvider>,
    /// The instant at which the run began, and what a steady clock said then
    pub started: (Timestamp, Instant),
    /// Whoever watches
    pub progress: Progress,
    /// How long nginx may take
    pub patience: Patience,
    /// Read once in a run: the roots of a system are a hundred files or more
    trust: Arc<OnceLock<Result<Trust, TrustError>>>,
}

/// How long a run waits for others; the first three times begin at the reload
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// When nginx is asked what it is configured to serve, if that is not what was wanted
    pub first_look: Duration,
    /// When a reload that changed nothing is tried once more
    pub reload: Duration,
    /// When the last handshake of the proof is made
    pub deadline: Duration,
    /// For the CA
    pub ca: acme::Patience,
    /// For one answer of the Docker engine, and for one command in a container
    pub engine: Duration,
}

impl Patience {
    /// What the commands have
    pub const USUAL: Self = Self {
        first_look: Duration::from_millis(500),
        reload: Duration::from_secs(5),
        deadline: Duration::from_secs(15),
        ca: acme::Patience::USUAL,
        engine: Duration::from_secs(30),
    };
}

impl<'c> Context<'c> {
    /// What a run that begins at `now` needs; nobody watches it yet
    pub fn new(
        config: &'c Config,
        store: &'c Store,
        provider: Arc<CryptoProvider>,
        now: Timestamp,
    ) -> Self {
        Self {
            config,
            store,
            provider,
            started: (now, Instant::now()),
            progress: Progress::default(),
            patience: Patience::USUAL,
            trust: Arc::default(),
        }
    }

    /// The roots of this host and of its operator
    fn trust(&self) -> Result<&Trust, &TrustError> {
        let algorithms = self.provider.signature_verification_algorithms;
        let load = || Trust::load(&self.config.verify.trust, algorithms);
        self.trust.get_or_init(load).as_ref()
    }

    /// The instant now: the beginning of the run and the time since, whatever the wall clock does
    pub fn now(&self) -> Timestamp {
        let (wall, steady) = self.started;
        wall.saturating_add(steady.elapsed()).unwrap_or(wall)
    }

    /// What makes the handshakes of a run
    fn observer(&self) -> Observer {
        let verify = &self.config.verify;
        Observer::new(self.provider.clone(), verify.timeout).at_most(verify.concurrency)
    }
}

/// What the operator asks of `obtain` beyond the configuration
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether being due decides
    pub urgency: Urgency,
    /// Issuer of this run, against the configuration
    pub issuer: Option<String>,
    /// How far to go
    pub mode: Mode,
    /// Checks that stop nothing this once
    pub skip: BTreeSet<Check>,
    /// What the run is for
    pub occasion: Occasion,
    /// When a deployment that failed is tried again
    pub retry: Retry,
    /// When the next run comes; `None` where nobody knows
    pub next: Option<Timestamp>,
    /// When domains were last seen served by whoever asks for the run, by primary name
    pub seen_served: Arc<BTreeMap<String, Timestamp>>,
    /// Whether the time is asked for
    pub clock: ClockCheck,
}

/// Whether a run asks for the time: a clock that is behind finds nothing due, so that no CA is asked
/// for anything else
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockCheck {
    /// It takes note of what CAs say that it asks for something else
    #[default]
    AlongTheWay,
    /// It asks a CA where it has nothing else to ask: whether all is well depends on it
    Always,
}

/// What a run is for
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occasion {
    /// A person wants these domains served: where nothing is due, that is looked at (`obtain`)
    #[default]
    ByHand,
    /// A timer looks for what is due: CAs are asked for their windows where it is time to ask, and
    /// what is not due is left alone (`renew`)
    Timer,
    /// The daemon looks: as for a timer, and at what is served too (`run`)
    Sweep,
}

impl Occasion {
    /// The command that a run stands for
    pub(crate) const fn command(self) -> &'static str {
        match self {
            Self::ByHand => "obtain",
            Self::Timer => "renew",
            Self::Sweep => "run",
        }
    }
}

/// When a deployment that failed is tried again
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// By each run: whoever started it has mended something
    #[default]
    Now,
    /// After 1, 10 and 100 minutes, then daily
    AfterBackoff,
}

/// How far `obtain` goes
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// To the proof
    #[default]
    Deploy,
    /// Into the archive and live, no target touched
    NoDeploy,
    /// Everything up to a certificate, which is then dropped
    Rehearse,
    /// Everything before an order, and no order
    Check,
    /// Nothing is sent and nothing is written
    DryRun,
}

impl Mode {
    /// Whether nothing of it is kept
    const fn is_trial(self) -> bool {
        matches!(self, Self::Rehearse | Self::Check)
    }
}

/// Tells a watcher what happens; without one it is silent
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<UnboundedSender<Event>>);

impl Progress {
    /// Progress that goes to this channel
    pub fn to(sender: UnboundedSender<Event>) -> Self {
        Self(Some(sender))
    }

    fn tell(&self, domain: &DnsName, news: News) {
        if let Some(sender) = &self.0 {
            // A watcher that has gone away misses nothing that matters.
            let _ = sender.send(Event {
                domain: domain.clone(),
                news,
            });
        }
    }
}

/// Something that happened to a domain
#[derive(Clone, Debug)]
pub struct Event {
    /// Its primary name
    pub domain: DnsName,
    /// What
    pub news: News,
}

/// What happened
#[derive(Clone, Debug)]
pub enum News {
    /// A stage began
    Begun(Stage),
    /// The run is over for this domain
    Ended,
}

/// Random bytes, for names that nobody else uses and for chances: no secret depends on them
fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    // The library documents no failure of its generator that it survives.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

/// A random number from 0.0 up to 1.0
pub(crate) fn chance() -> f64 {
    f64::from(u32::from_be_bytes(random())) / (f64::from(u32::MAX) + 1.0)
}

/// The account at an issuer, if there is one that can be read
fn account_url(config: &Config, store: &Store, issuer: &str) -> Option<String> {
    let directory = &config.issuers.get(issuer)?.directory;
    // One that cannot be read is told of when it is needed.
    let account = store.account(issuer, directory).ok()??;
    Some(account.url)
}

/// A domain on its way through a journey
#[derive(Debug)]
struct Work<'c> {
    domain: &'c Domain,
    names: Vec<DnsName>,
    lineage: Lineage,
    plan: Plan,
    /// The generation to be deployed, once there is one
    ready: Option<Ready>,
    end: Option<End>,
    stages: Vec<StageReport>,
    findings: Vec<Finding>,
    /// Whether its lineage could be read
    is_known: bool,
    /// Whether the archive has a generation that the record on disk does not tell of yet
    is_ahead: bool,
    /// Whether it only waits: for the end of a back-off, or for a person
    is_waiting: bool,
    /// What is said of it if nothing happens to its target: nothing is due, and it is served
    confirmed: Option<String>,
    /// What was known of it when its names were looked at before the order
    known: Option<preflight::Known>,
    /// Validity of the generation that was the newest when the run began
    newest: Option<Validity>,
    progress: Progress,
}

/// A generation in the archive that is to be made live
#[derive(Clone, Debug)]
struct Ready {
    generation: u32,
    leaf: crate::chain::Certificate,
    /// The intermediates that were installed with it
    above: Vec<crate::chain::Fingerprint>,
    /// What to go back to: live until now, its files in order, and still valid
    previous: Option<Previous>,
}

/// A generation to go back to
#[derive(Clone, Debug)]
struct Previous {
    generation: u32,
    fingerprint: crate::chain::Fingerprint,
    validity: Validity,
}

#[derive(Clone, Debug)]
struct End {
    outcome: Outcome,
    summary: String,
}

impl Work<'_> {
    /// Whether there is something to do for it
    fn is_open(&self) -> bool {
        self.end.is_none() && self.confirmed.is_none()
    }

    /// Whether nothing is to be done, unless its target is reloaded for another domain
    fn is_confirmed(&self) -> bool {
        self.end.is_none() && self.confirmed.is_some()
    }

    /// Ends what was confirmed and is still served
    fn end_confirmed(&mut self) {
        if let Some(summary) = self.confirmed.clone().filter(|_| self.end.is_none()) {
            self.end(Outcome::Unchanged, summary);
        }
    }

    fn name(&self) -> &DnsName {
        &self.domain.name
    }

    /// What failed it first
    fn failure(&self) -> Option<&Finding> {
        let mut findings = self.findings.iter();
        findings.find(|finding| finding.severity == Severity::Failure)
    }

    fn begin(&self, stage: Stage) -> Instant {
        tracing::debug!(domain = %self.name(), stage = stage.as_str(), "begun");
        self.progress.tell(self.name(), News::Begun(stage));
        Instant::now()
    }

    fn done(&mut self, stage: Stage, begun: Instant, detail: impl Into<String>) {
        self.note(stage, begun, StageResult::Done, detail.into());
    }

    fn note(&mut self, stage: Stage, begun: Instant, result: StageResult, detail: String) {
        tracing::info!(domain = %self.name(), stage = stage.as_str(), ?result, detail, "ended");
        self.stages.push(StageReport {
            stage,
            result,
            detail,
            elapsed: begun.elapsed(),
        });
    }

    /// Ends the work with a failure that an error explains
    fn fail<E: Explain + 'static>(&mut self, stage: Stage, begun: Instant, error: &E) {
        self.fail_with(stage, begun, Finding::from_error(error));
    }

    /// Ends the work with this failure
    fn fail_with(&mut self, stage: Stage, begun: Instant, finding: Finding) {
        self.note(stage, begun, StageResult::Failed, finding.code.to_owned());
        let summary = finding.evidence.clone();
        self.findings.push(finding);
        self.end(Outcome::Failed, summary);
    }

    fn end(&mut self, outcome: Outcome, summary: impl Into<String>) {
        let summary = summary.into();
        self.progress.tell(self.name(), News::Ended);
        self.end = Some(End { outcome, summary });
    }

    /// Validity of what is live, of the newest generation where nothing is known to be
    fn validity(&self) -> Option<Validity> {
        let live = self.lineage.live;
        match &self.ready {
            Some(ready) if live == Some(ready.generation) => Some(ready.leaf.validity),
            Some(Ready {
                previous: Some(previous),
                ..
            }) if live == Some(previous.generation) => Some(previous.validity),
            _ => self.newest,
        }
    }

    /// What came of it, but for when it needs something again
    fn into_report(self) -> DomainReport {
        let validity = self.validity();
        let end = self.end.unwrap_or_else(|| End {
            outcome: Outcome::Failed,
            summary: "the run ended without a result".to_owned(),
        });
        DomainReport {
            name: self.domain.name.to_string(),
            names: self.names.iter().map(ToString::to_string).collect(),
            outcome: end.outcome,
            summary: end.summary,
            generation: self.ready.as_ref().map(|ready| ready.generation),
            fingerprint: self.ready.map(|ready| ready.leaf.fingerprint.to_string()),
            validity,
            renewal_at: None,
            next_at: None,
            stages: self.stages,
            findings: self.findings,
        }
    }
}
