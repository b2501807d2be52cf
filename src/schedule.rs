//! The daemon: sweeps by the clock, each domain at its own instant, and what happens in between.
//!
//! One loop decides what is looked at next; a pass runs beside it, so that signals, systemd's
//! watchdog and Docker's events are heard meanwhile. What is to be done for a domain is decided by
//! the pass, from the state on disk: the daemon only knows when.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::crypto::CryptoProvider;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior, sleep, timeout};

use crate::config::{Config, ConfigError, Environment, Nginx};
use crate::finding::chain_of_causes;
use crate::name::DnsName;
use crate::notify::Unkept;
use crate::pipeline::defect::{Defect, caught_now};
use crate::pipeline::{ClockCheck, Patience, Retry, chance};
use crate::report::{DomainReport, Outcome, Report};
use crate::run::RunError;
use crate::store::lock::{Attempt, Lock, LockError};
use crate::store::{Store, StoreError};
use crate::systemd;
use crate::time::{display, in_words};

pub mod agenda;
mod log;
mod look;
pub mod sweeps;
mod watch;

use agenda::Agenda;
use look::{Heartbeat, Task, look};
use sweeps::{SweepError, Sweeps};
use watch::Watch;

/// What the daemon is started with
#[derive(Clone, Debug)]
pub struct Setup {
    /// domains.toml
    pub path: PathBuf,
    /// What that file leaves to the process environment
    pub environment: Environment,
    /// Cryptography for TLS
    pub provider: Arc<CryptoProvider>,
    /// The wall clock
    pub clock: fn() -> Timestamp,
}

/// What the daemon is told to do
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read domains.toml again
    Reload,
    /// End once the pass that runs has ended, [`DRAIN`] later at most
    Drain,
    /// End at once
    Stop,
}

/// Runs until it is told to stop
///
/// Dropping the future ends a pass as [`crate::pipeline::obtain::obtain`] says.
///
/// # Errors
/// [`DaemonError`] where it cannot begin; what fails later is logged, and tried again.
pub async fn run(setup: Setup, orders: mpsc::UnboundedReceiver<Order>) -> Result<(), DaemonError> {
    let daemon = Daemon::start(setup).await?;
    daemon.work(orders).await;
    Ok(())
}

/// A configuration, and the store that it names
struct Settings {
    config: Config,
    store: Store,
}

impl Settings {
    fn read(setup: &Setup) -> Result<Self, DaemonError> {
        let config = Config::read(&setup.path, &setup.environment)?;
        if config.enabled().next().is_none() {
            return Err(DaemonError::NoDomain);
        }
        config.warn_of_exposure();
        let store = Store::open(&config.storage, &config.state, config.key_group.as_deref())?;
        Ok(Self { config, store })
    }
}

/// Makes this the only daemon of a state directory
fn claim(store: &Store) -> Result<Lock, DaemonError> {
    match store.try_daemon_lock()? {
        Attempt::Taken(lock) => Ok(lock),
        Attempt::Busy(holder) => Err(DaemonError::Busy { holder }),
    }
}

/// A pass that runs, and the domains that it is about
struct Pass {
    is_sweep: bool,
    retry: Retry,
    domains: BTreeSet<DnsName>,
    ending: Pin<Box<dyn Future<Output = Result<Report, RunError>>>>,
}

/// Whether a daemon works by what domains.toml says
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It does
    Current,
    /// What it says now was refused: the dead man's switch must notice
    Refused,
}

struct Daemon {
    setup: Setup,
    settings: Arc<Settings>,
    /// Whether that is what domains.toml says
    standing: Standing,
    /// Held as long as it runs
    only: Lock,
    agenda: Agenda,
    sweeps: Sweeps,
    watch: Watch,
    /// Domains that were not well when they were looked at last
    troubled: BTreeSet<String>,
    /// Whether every domain is to be looked at next
    wants_sweep: bool,
    /// Whether the next sweep deploys what is in a back-off: whoever has it read domains.toml again
    /// has mended something
    retry: Retry,
    /// When a sweep is tried again that did not come about
    owed: Option<Timestamp>,
    /// The clocks, when they were looked at last
    clocks: Clocks,
    /// Passes in a row that did not come about
    put_off: u32,
    /// What was told where the state directory cannot be written
    unkept: Unkept,
    /// When domains were last seen served, by primary name
    seen_served: Arc<BTreeMap<String, Timestamp>>,
    /// Domains whose container started or stopped while a pass ran
    started: BTreeMap<DnsName, Timestamp>,
    /// The last look at the containers of each target because one had started, past or to come
    looks: BTreeMap<Nginx, Timestamp>,
}

impl Daemon {
    async fn start(setup: Setup) -> Result<Self, DaemonError> {
        let settings = Arc::new(Settings::read(&setup)?);
        let mut daemon = Self {
            only: claim(&settings.store)?,
            standing: Standing::Current,
            watch: Watch::start(&settings.config, Patience::USUAL.engine),
            settings,
            clocks: Clocks::read(setup.clock),
            setup,
            agenda: Agenda::default(),
            sweeps: Sweeps::default(),
            wants_sweep: true,
            troubled: BTreeSet::new(),
            retry: Retry::AfterBackoff,
            owed: None,
            put_off: 0,
            unkept: Unkept::default(),
            looks: BTreeMap::new(),
            started: BTreeMap::new(),
            seen_served: Arc::default(),
        };
        daemon.plan_sweep().await;
        let domains = daemon.settings.config.enabled().count();
        tracing::info!(domains, config = %daemon.setup.path.display(), "certd runs");
        systemd::ready(&daemon.outlook());
        Ok(daemon)
    }

    async fn work(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut watchdog = Watchdog::new();
        let mut pass: Option<Pass> = None;
        let order = loop {
            // In each turn, so that a clock that was set is noticed whatever else happens.
            self.follow_the_clock();
            self.keep_a_sweep_planned().await;
            if pass.is_none() {
                pass = self.next_pass();
            }
            let idle = self.idle_time();
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Reload) => self.reload().await,
                    order => break order.unwrap_or(Order::Stop),
                },
                report = ending(&mut pass) => self.conclude(&mut pass, report).await,
                () = self.sweeps.next() => self.wants_sweep = true,
                nginx = self.watch.next() => self.note_start(&nginx, pass.as_ref()),
                () = watchdog.tick() => systemd::alive(),
                () = sleep(idle), if pass.is_none() => {}
            }
        };
        systemd::stopping();
        if let (Order::Drain, Some(pass)) = (order, pass) {
            drain(pass, orders).await;
        }
        tracing::info!("certd ends");
    }

    fn now(&self) -> Timestamp {
        (self.setup.clock)()
    }

    /// The next pass, if its time has come
    fn next_pass(&mut self) -> Option<Pass> {
        let now = self.now();
        let is_owed = self.owed.is_some_and(|at| at <= now);
        let is_sweep = mem::take(&mut self.wants_sweep) || is_owed;
        if is_sweep {
            self.owed = None;
        }
        let domains: BTreeSet<DnsName> = match is_sweep {
            true => self
                .settings
                .config
                .enabled()
                .map(|domain| domain.name.clone())
                .collect(),
            false => self.agenda.due(now).into_iter().collect(),
        };
        let heartbeat = match self.standing {
            Standing::Current if is_sweep => Heartbeat::IfWell,
            _ => Heartbeat::Never,
        };
        if domains.is_empty() {
            return None;
        }
        let retry = match is_sweep {
            true => mem::replace(&mut self.retry, Retry::AfterBackoff),
            false => Retry::AfterBackoff,
        };
        systemd::status(&format!("looking at {}", count(domains.len())));
        let task = Task {
            domains: domains.clone(),
            heartbeat,
            retry,
            clock: match is_sweep {
                true => ClockCheck::Always,
                false => ClockCheck::AlongTheWay,
            },
            put_off: self.put_off,
            unkept: self.unkept.clone(),
            seen_served: Arc::clone(&self.seen_served),
        };
        let work = look(self.setup.clone(), self.settings.clone(), task);
        Some(Pass {
            is_sweep,
            retry,
            domains,
            ending: Box::pin(work),
        })
    }

    /// Notes what came of a pass
    async fn conclude(&mut self, pass: &mut Option<Pass>, result: Result<Report, RunError>) {
        let now = self.now();
        let Some(Pass {
            domains,
            is_sweep,
            retry,
            ..
        }) = pass.take()
        else {
            return;
        };
        match result {
            Ok(report) => {
                self.put_off = 0;
                log::tell(&report, &mut self.troubled);
                self.note_seen_served(&report, now);
                self.agenda.note(&report, now);
            }
            Err(error) => {
                tracing::warn!(error = %chain_of_causes(&error), "the pass is put off");
                self.put_off = self.put_off.saturating_add(1);
                // A sweep is tried again as a whole: only then does it tell whether all is well.
                if is_sweep {
                    self.owed = Some(agenda::after_put_off(self.put_off, now));
                }
                let due = self.agenda.due(now).into_iter();
                self.agenda
                    .postpone(due.filter(|name| domains.contains(name)), now);
                if retry == Retry::Now {
                    self.retry = retry;
                }
            }
        }
        let known: BTreeSet<&DnsName> = self
            .settings
            .config
            .enabled()
            .map(|domain| &domain.name)
            .collect();
        self.agenda.keep(|name| known.contains(name));
        for (name, at) in mem::take(&mut self.started) {
            self.agenda.bring_forward(name, at.max(now));
        }
        systemd::status(&self.outlook());
    }

    /// Notes which domains a pass has seen served
    fn note_seen_served(&mut self, report: &Report, now: Timestamp) {
        let seen = Arc::make_mut(&mut self.seen_served);
        let is_served =
            |domain: &&DomainReport| matches!(domain.outcome, Outcome::Proven | Outcome::Unchanged);
        for domain in report.domains.iter().filter(is_served) {
            seen.insert(domain.name.clone(), now);
        }
    }

    /// Looks at all domains where the clock was set back: what was noted by it lies too far ahead
    fn follow_the_clock(&mut self) {
        let clocks = Clocks::read(self.setup.clock);
        let back = self.clocks.set_back(clocks);
        self.clocks = clocks;
        if back > CLOCK_STEP {
            let by = in_words(back);
            tracing::warn!("the clock was set back by {by}: all domains are looked at");
            self.agenda = Agenda::default();
            self.looks.clear();
            self.wants_sweep = true;
        }
    }

    /// Plans a sweep where none is planned, or one by a clock that was ahead
    async fn keep_a_sweep_planned(&mut self) {
        let (config, now) = (&self.settings.config, self.now());
        let is_right = |at, schedule| !sweeps::is_misplaced(at, schedule, config.jitter, now);
        let planned = self.sweeps.planned().zip(config.schedule.as_ref());
        if !planned.is_some_and(|(at, schedule)| is_right(at, schedule)) {
            self.plan_sweep().await;
        }
        tell_of_sweeps(self.sweeps.approach(now).await);
    }

    /// Plans the next sweep, in place of the one that was planned
    async fn plan_sweep(&mut self) {
        let (config, now) = (&self.settings.config, self.now());
        let schedule = config.schedule.as_ref();
        let at =
            schedule.and_then(|schedule| sweeps::after(schedule, config.jitter, chance(), now));
        tell_of_sweeps(self.sweeps.plan(at, now).await);
    }

    /// Reads domains.toml again; one with mistakes changes nothing
    async fn reload(&mut self) {
        systemd::reloading();
        match caught_now(|| self.read_again()).unwrap_or_else(|defect| Err(defect.into())) {
            Ok(settings) => {
                self.standing = Standing::Current;
                self.watch = Watch::start(&settings.config, Patience::USUAL.engine);
                self.settings = Arc::new(settings);
                self.wants_sweep = true;
                self.retry = Retry::Now;
                // By the new schedule.
                self.plan_sweep().await;
                let domains = self.settings.config.enabled().count();
                tracing::info!(domains, "domains.toml is read again");
            }
            Err(error) => {
                self.standing = Standing::Refused;
                let error = chain_of_causes(&error);
                tracing::error!(%error, "domains.toml is refused, the old one stays in force");
            }
        }
        systemd::ready(&self.outlook());
    }

    fn read_again(&mut self) -> Result<Settings, DaemonError> {
        let settings = Settings::read(&self.setup)?;
        if !self.only.is_daemon_of(&settings.store) {
            self.only = claim(&settings.store)?;
            // That one has a memory of its own.
            self.unkept = Unkept::default();
        }
        Ok(settings)
    }

    /// A container has started or stopped: what its domains are served with may have changed
    fn note_start(&mut self, nginx: &Nginx, pass: Option<&Pass>) {
        let now = self.now();
        let at = agenda::after_start(self.looks.get(nginx).copied(), now);
        self.looks.insert(nginx.clone(), at);
        let served = self
            .settings
            .config
            .enabled()
            .filter(|domain| domain.nginx.as_ref() == Some(nginx))
            .map(|domain| domain.name.clone());
        for name in served {
            match pass {
                Some(_) => drop(self.started.insert(name, at)),
                None => self.agenda.bring_forward(name, at),
            }
        }
    }

    /// Time until something is to be done, as far as the clock tells
    fn idle_time(&self) -> Duration {
        let next = self.agenda.next().map(|(at, _)| at);
        let next = next.into_iter().chain(self.owed).min();
        let wait = next.map(|at| at.duration_since(self.now()));
        let wait = wait.map(|wait| Duration::try_from(wait).unwrap_or_default());
        wait.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    /// What comes next, in a line
    fn outlook(&self) -> String {
        let domains = count(self.settings.config.enabled().count());
        let next = self.agenda.next();
        let next = next.map(|(at, name)| format!("; next look: {name} at {}", display(at)));
        let sweep = self.owed.or_else(|| self.sweeps.planned());
        let sweep = sweep.map(display);
        let sweep = sweep.map(|at| format!("; at all of them: {at}"));
        let standing = match self.standing {
            Standing::Current => "",
            Standing::Refused => "domains.toml is refused, see the log; ",
        };
        format!(
            "{standing}{domains}{}{}",
            next.unwrap_or_default(),
            sweep.unwrap_or_default()
        )
    }
}

/// The wall clock and the one that nobody sets, at the same moment
#[derive(Clone, Copy, Debug)]
struct Clocks {
    wall: Timestamp,
    steady: time::Instant,
}

impl Clocks {
    fn read(clock: fn() -> Timestamp) -> Self {
        Self {
            wall: clock(),
            steady: time::Instant::now(),
        }
    }

    /// By how much the wall clock was set back until `later`; less than zero where it went ahead,
    /// as it does while a host sleeps
    fn set_back(self, later: Self) -> SignedDuration {
        let passed = later.steady.saturating_duration_since(self.steady);
        let expected = self.wall.saturating_add(passed);
        expected.map_or(SignedDuration::ZERO, |at| at.duration_since(later.wall))
    }
}

fn tell_of_sweeps(outcome: Result<(), SweepError>) {
    if let Err(error) = outcome {
        tracing::error!(error = %chain_of_causes(&error), "sweeps may not come");
    }
}

/// Waits for the end of the pass that runs, if one does
async fn ending(pass: &mut Option<Pass>) -> Result<Report, RunError> {
    match pass {
        Some(pass) => pass.ending.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Lets a pass come to its end, for a while, unless it is told to stop at once
async fn drain(pass: Pass, mut orders: mpsc::UnboundedReceiver<Order>) {
    tokio::select! {
        biased;
        () = stop(&mut orders) => {}
        ended = timeout(DRAIN, pass.ending) => match ended {
            Ok(Ok(report)) => log::tell(&report, &mut BTreeSet::new()),
            Ok(Err(error)) => tracing::warn!(error = %chain_of_causes(&error), "the pass failed"),
            Err(_) => tracing::info!("a pass is broken off; the next start goes on with it"),
        },
    }
}

/// Waits until it is told to stop at once, or once more to come to an end
async fn stop(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while orders.recv().await == Some(Order::Reload) {}
}

/// systemd's watchdog, where there is one
struct Watchdog(Option<time::Interval>);

impl Watchdog {
    fn new() -> Self {
        Self(systemd::watchdog().map(|period| {
            let mut interval = time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Waits until systemd is to be told that the daemon is alive
    async fn tick(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}

fn count(domains: usize) -> String {
    match domains {
        1 => "1 domain".to_owned(),
        domains => format!("{domains} domains"),
    }
}

/// Why the daemon did not begin
#[derive(Debug, Error)]
pub enum DaemonError {
    /// domains.toml cannot be used
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It has no domain that is enabled
    #[error("no enabled domain is configured")]
    NoDomain,
    /// The directories that it names cannot be used
    #[error(transparent)]
    Store(#[from] StoreError),
    /// domains.toml meets a defect of certd
    #[error(transparent)]
    Defect(#[from] Defect),
    /// Another daemon works with the same state directory
    #[error("another certd runs already{}", holder.map(|id| format!(" (process {id})")).unwrap_or_default())]
    Busy {
        /// Its process identifier, where known
        holder: Option<u32>,
    },
    /// Whether one does cannot be told
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Time that a pass has to come to its end
pub const DRAIN: Duration = Duration::from_secs(4);
/// A clock that is set back by more than this was wrong; less is how clocks are kept right
const CLOCK_STEP: SignedDuration = SignedDuration::from_mins(1);
/// How often the wall clock is looked at, at least: a host may sleep, and clocks are set
///
/// A sweep is handed to the scheduler in the last of these that begins before it is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
