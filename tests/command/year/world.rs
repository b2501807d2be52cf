//! A host that lives through a span of time in big steps, and what goes wrong there.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certd::config::{Config, Domain, Environment};
use certd::notify::{self, Look, Unkept};
use certd::pipeline::{Context, Occasion, Options};
use certd::report::{Outcome, Report, Verdict};
use certd::run;
use certd::schedule::agenda::Agenda;
use certd::schedule::sweeps;
use certd::store::Store;
use certd::time::Validity;
use certd_sandbox::Clock;
use certd_sandbox::acme::{Call, Limit, Problem, Reuse, Window};
use certd_sandbox::fault::{Fault, Times};
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs;
use serde_json::Value;

use crate::support::{Host, Setting};

/// Who decides when a pass runs
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// `certd run`
    Daemon,
    /// `certd renew`, at the times of `[renewal] schedule`
    Timer,
}

/// What goes wrong whenever a certificate is to be renewed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// The CA is down from then on, for so long
    Outage(SignedDuration),
    /// A third of the nonces is refused
    Nonces,
    /// certd ends while the CA issues, and starts anew
    Crash,
    /// The CA asks for the renewal of everything, a quarter of a lifetime after it was issued
    Recall,
    /// The CA refuses the first order once, for years
    Limit,
}

/// What came of a span of time
#[derive(Debug)]
pub(super) struct Year {
    /// The least life that the live certificate ever had left
    pub(super) least: SignedDuration,
    /// Certificates that were issued
    pub(super) issued: usize,
    /// Passes that were made
    pub(super) passes: usize,
    /// Outages of the CA
    pub(super) outages: Vec<Outage>,
    /// What the channel was told
    pub(super) alerts: Vec<Alert>,
}

/// The CA was down
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    /// The first pass that failed
    pub(super) failure: Option<Timestamp>,
    /// When the live certificate expired, if it did
    pub(super) lapse: Option<Timestamp>,
    /// The first pass that was well again
    pub(super) proven: Option<Timestamp>,
}

/// What a channel was told
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) at: Timestamp,
    pub(super) event: String,
    /// When the certificate expires, of which it was said
    pub(super) not_after: Option<Timestamp>,
}

/// A host whose CA takes this instant for the time
pub(super) struct World {
    host: Host,
    now: Arc<Mutex<Timestamp>>,
    config: Config,
    store: Store,
    driver: Driver,
    trouble: Trouble,
    agenda: Agenda,
    /// The certificate whose renewal was troubled already
    troubled: Option<Timestamp>,
    year: Year,
}

impl World {
    pub(super) fn new(lifetime: SignedDuration, driver: Driver, trouble: Trouble) -> Self {
        // Within the validity of what the CA's own server shows, which rustls holds against the
        // system's clock.
        let now = Arc::new(Mutex::new(Timestamp::now()));
        let shared = Arc::clone(&now);
        let host = Host::new(&Setting {
            reuse: Reuse::Never,
            lifetime: Some(lifetime),
            clock: Clock::new(move || *shared.lock().unwrap_or_else(PoisonError::into_inner)),
            domains: vec![vec!["rare-books.test"]],
            ..Setting::default()
        });
        let path = host.place.path("domains.toml");
        let mut text = host.place.read("domains.toml");
        host.place.write(TOLD, "");
        let script = format!("(cat; echo) >> {}", host.place.path(TOLD).display());
        let _ = write!(
            text,
            "[renewal]\ntimezone = \"Europe/Berlin\"\n\
             [[notify]]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", {script:?}]\n"
        );
        let config = Config::parse(&text, &path, &Environment::default()).expect("no mistake");
        let store = Store::open(&config.storage, &config.state, None).expect("a store");
        Self {
            host,
            now,
            config,
            store,
            driver,
            trouble,
            agenda: Agenda::default(),
            troubled: None,
            year: Year {
                least: SignedDuration::MAX,
                issued: 0,
                passes: 0,
                outages: Vec::new(),
                alerts: Vec::new(),
            },
        }
    }

    pub(super) fn live_through(mut self, span: SignedDuration) -> Year {
        let end = self.now() + span;
        if self.trouble == Trouble::Nonces {
            self.host.ca.reject_nonces(33);
        }
        while self.now() < end {
            let before = self.live();
            if let Some(live) = before {
                self.year.least = self.year.least.min(live.remaining(self.now()));
            }
            self.make_trouble();
            let report = self.pass_or_crash();
            self.note(&report, before);
            self.set_now(self.next_look());
        }
        self.year.issued = self.host.ca.issued().len();
        self.year.alerts = self.alerts();
        assert_eq!(self.host.leftovers(), [""; 0]);
        self.year
    }

    fn now(&self) -> Timestamp {
        *self.now.lock().expect("nobody panicked")
    }

    fn set_now(&self, now: Timestamp) {
        *self.now.lock().expect("nobody panicked") = now;
        self.host.ca.tell_time(Some(now));
    }

    /// The next sweep, or run of the timer
    fn next_run(&self) -> Timestamp {
        let schedule = self.config.schedule.as_ref().expect("a schedule");
        let jitter = Duration::from_secs(3_600);
        sweeps::after(schedule, jitter, 0.7, self.now()).expect("it comes")
    }

    /// When the next run begins at the latest
    fn latest_run(&self) -> Option<Timestamp> {
        let schedule = self.config.schedule.as_ref();
        schedule.and_then(|schedule| sweeps::latest(schedule, self.config.jitter, self.now()))
    }

    /// When the next pass comes
    fn next_look(&self) -> Timestamp {
        let own = match self.driver {
            Driver::Daemon => self.agenda.next().map(|(at, _)| at),
            Driver::Timer => None,
        };
        let next = own.unwrap_or(Timestamp::MAX).min(self.next_run());
        next.max(self.now() + SignedDuration::from_secs(1))
    }

    /// One pass and its alerts; `None` where it was dropped, because that future ended first
    fn pass(&self, end: impl Future<Output = ()>) -> Option<Report> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let context = Context::new(&self.config, &self.store, provider, self.now());
        let (occasion, look) = match self.driver {
            Driver::Daemon => (Occasion::Sweep, Look::AtWhatIsServed),
            Driver::Timer => (Occasion::Timer, Look::AtWhatIsDue),
        };
        let options = Options {
            occasion,
            next: self.latest_run().filter(|_| self.driver == Driver::Timer),
            ..Options::default()
        };
        let domains: Vec<&Domain> = self.config.domains.iter().collect();
        let work = async {
            let report = run::obtain(&context, &options, &domains).await;
            let report = report.expect("nobody else is at work");
            let troubles = notify::after(&context, &report, look, &Unkept::default()).await;
            assert!(troubles.is_empty(), "{troubles:?}");
            report
        };
        self.host.runtime.block_on(async {
            tokio::select! {
                report = work => Some(report),
                () = end => None,
            }
        })
    }

    /// One pass, and what a crash makes of it
    fn pass_or_crash(&mut self) -> Report {
        if self.trouble == Trouble::Crash
            && let Some(live) = self.live().filter(|live| self.is_about_to_renew(*live))
            && self.troubled != Some(live.not_after)
        {
            let orders = self.host.ca.orders();
            self.host
                .ca
                .fault(Call::Certificate, Times::Always, Fault::Silent);
            let ended = self.pass(self.certificate_is_asked_for());
            self.host.ca.behave();
            if ended.is_none() {
                assert_eq!(self.host.ca.orders(), orders + 1);
                self.troubled = Some(live.not_after);
                self.agenda = Agenda::default();
            }
        }
        self.pass(std::future::pending()).expect("it ends")
    }

    /// Ends when the CA is asked for a certificate, which it does not give
    async fn certificate_is_asked_for(&self) {
        let asked = |line: &String| line.starts_with("POST /certificate/");
        let count = || {
            let requests = self.host.ca.requests();
            requests.iter().filter(|line| asked(line)).count()
        };
        let before = count();
        while count() == before {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Validity of the live certificate
    fn live(&self) -> Option<Validity> {
        let name = &self.config.domains[0].name;
        let number = self.store.live(name).expect("a link")?;
        let generation = self.store.certificate(name, number).expect("a chain");
        Some(generation.chain.leaf().validity)
    }

    /// Lets go wrong what is to go wrong now
    fn make_trouble(&mut self) {
        let now = self.now();
        let last = self.year.outages.last();
        if last.is_some_and(|outage| outage.until <= now) {
            self.host.ca.behave();
        }
        let Some(live) = self
            .live()
            .filter(|live| self.troubled != Some(live.not_after))
        else {
            return;
        };
        let quarter = live.not_before + live.lifetime() / 4;
        match self.trouble {
            Trouble::Recall if quarter <= now => {
                self.troubled = Some(live.not_after);
                self.host.ca.set_window(Some(Window {
                    start: now - SignedDuration::from_hours(2),
                    end: now - SignedDuration::from_hours(1),
                    explanation: None,
                    retry_after: Some(Duration::from_secs(21_600)),
                }));
            }
            Trouble::Limit if self.is_about_to_renew(live) => {
                self.troubled = Some(live.not_after);
                let limit = Problem::limited(Limit::Orders, now, Duration::from_secs(99_999_999));
                self.host.ca.fault(Call::NewOrder, Times::Next(1), limit);
            }
            Trouble::Outage(length) if self.is_about_to_renew(live) => {
                self.troubled = Some(live.not_after);
                self.break_down(length);
            }
            _ => {}
        }
    }

    /// The CA is down for so long
    fn break_down(&mut self, length: SignedDuration) {
        let now = self.now();
        self.year.outages.push(Outage {
            since: now,
            until: now + length,
            failure: None,
            lapse: None,
            proven: None,
        });
        // As Let's Encrypt says it.
        let down = Problem::new(503, "serverInternal", "The service is down");
        self.host.ca.fault(Call::Directory, Times::Always, down);
    }

    /// Whether the instant of the renewal has come, as near as it can be told from outside
    fn is_about_to_renew(&self, live: Validity) -> bool {
        let from_start = match live.lifetime() < SignedDuration::from_hours(240) {
            true => live.lifetime() / 2,
            false => live.lifetime() / 3 * 2,
        };
        live.not_before + from_start - live.lifetime() / 100 <= self.now()
    }

    /// Notes what came of a pass, `before` which that was live
    fn note(&mut self, report: &Report, before: Option<Validity>) {
        let now = self.now();
        self.year.passes += 1;
        self.agenda.note(report, now);
        if report.domains[0].outcome == Outcome::Proven && self.trouble == Trouble::Recall {
            self.host.ca.set_window(None);
        }
        let outages = &mut self.year.outages;
        let Some(outage) = outages.last_mut().filter(|outage| outage.proven.is_none()) else {
            return;
        };
        let not_after = before.map(|live| live.not_after);
        outage.lapse = outage.lapse.or_else(|| not_after.filter(|at| *at < now));
        match report.verdict() {
            // While it lasts, only what is not due is well.
            Verdict::Well if outage.until <= now => outage.proven = Some(now),
            Verdict::Well => {}
            _ => outage.failure = outage.failure.or(Some(now)),
        }
    }

    /// What the channel was told so far
    fn alerts(&self) -> Vec<Alert> {
        let told = self.host.place.read(TOLD);
        let messages = told.lines().filter(|line| !line.is_empty());
        let alert = |line: &str| {
            let message: Value = serde_json::from_str(line).expect("JSON");
            let entry = &message["domains"][0];
            let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
            Alert {
                at: time(&message["time"]).expect("a time"),
                event: entry["event"].as_str().expect("an event").to_owned(),
                not_after: time(&entry["not_after"]),
            }
        };
        messages.map(alert).collect()
    }
}

/// What the channel was told, a message a line
const TOLD: &str = "told.jsonl";
