//! A year of renewals in seconds: the daemon's and the timer's decisions, over real sockets, with
//! the CA's clock set to the instant of each pass.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certd::config::{Config, Domain, Environment};
use certd::pipeline::{Context, Occasion, Options};
use certd::report::{Outcome, Report, Verdict};
use certd::run;
use certd::sandbox::Clock;
use certd::sandbox::acme::{Call, Problem, Reuse, Window};
use certd::sandbox::fault::{Fault, Times};
use certd::schedule::agenda::Agenda;
use certd::schedule::sweeps;
use certd::store::Store;
use certd::time::Validity;
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs;

use crate::support::{Host, Setting};

/// Who decides when a pass runs
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    /// `certd run`
    Daemon,
    /// `certd renew`, at the times of `[renewal] schedule`
    Timer,
}

/// What goes wrong whenever a certificate is to be renewed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// The CA is down from then on, for so long
    Outage(SignedDuration),
    /// A third of the nonces is refused
    Nonces,
    /// certd ends while the CA issues, and starts anew
    Crash,
    /// The CA asks for the renewal of everything, a quarter of a lifetime after it was issued
    Recall,
}

/// What came of a year
#[derive(Debug)]
struct Year {
    /// The least life that the live certificate ever had left
    least: SignedDuration,
    /// Certificates that were issued
    issued: usize,
    /// Passes that were made
    passes: usize,
    /// When a certificate had expired, and when the next was live
    lapses: Vec<(Timestamp, Timestamp)>,
    /// When the first pass failed before each lapse
    alarms: Vec<Timestamp>,
    /// When the last outage ended
    recovered: Option<Timestamp>,
}

/// A host whose CA takes this instant for the time
struct World {
    host: Host,
    now: Arc<Mutex<Timestamp>>,
    config: Config,
    store: Store,
    driver: Driver,
    trouble: Trouble,
    agenda: Agenda,
    /// Until when the CA is down
    down_until: Option<Timestamp>,
    /// The certificate whose renewal was troubled already
    troubled: Option<Timestamp>,
}

impl World {
    fn new(lifetime: SignedDuration, driver: Driver, trouble: Trouble) -> Self {
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
        text.push_str("[renewal]\ntimezone = \"Europe/Berlin\"\n");
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
            down_until: None,
            troubled: None,
        }
    }

    fn now(&self) -> Timestamp {
        *self.now.lock().expect("nobody panicked")
    }

    fn set_now(&self, now: Timestamp) {
        *self.now.lock().expect("nobody panicked") = now;
    }

    /// The next sweep, or run of the timer
    fn next_run(&self) -> Timestamp {
        let schedule = self.config.schedule.as_ref().expect("a schedule");
        let jitter = Duration::from_secs(3_600);
        sweeps::after(schedule, jitter, 0.7, self.now()).expect("it comes")
    }

    /// One pass; `None` where it was dropped, because that future ended first
    fn pass(&self, end: impl Future<Output = ()>) -> Option<Report> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let context = Context::new(&self.config, &self.store, provider, self.now());
        let options = Options {
            occasion: match self.driver {
                Driver::Daemon => Occasion::Sweep,
                Driver::Timer => Occasion::Timer,
            },
            next: (self.driver == Driver::Timer).then(|| self.next_run()),
            ..Options::default()
        };
        let domains: Vec<&Domain> = self.config.domains.iter().collect();
        self.host.runtime.block_on(async {
            tokio::select! {
                report = run::obtain(&context, &options, &domains) => {
                    Some(report.expect("nobody else is at work"))
                }
                () = end => None,
            }
        })
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
        if self.down_until.is_some_and(|until| until <= now) {
            self.down_until = None;
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
            Trouble::Outage(length) if self.is_about_to_renew(live) => {
                self.troubled = Some(live.not_after);
                self.down_until = Some(now + length);
                // As Let's Encrypt says it.
                let down = Problem::new(503, "serverInternal", "The service is down");
                self.host.ca.fault(Call::Directory, Times::Always, down);
            }
            _ => {}
        }
    }

    /// Whether the instant of the renewal has come, as near as it can be told from outside
    fn is_about_to_renew(&self, live: Validity) -> bool {
        let from_start = match live.lifetime() < SignedDuration::from_hours(240) {
            true => live.lifetime() / 2,
            false => live.lifetime() / 3 * 2,
        };
        live.not_before + from_start - live.lifetime() / 100 <= self.now()
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

    fn live_through(mut self, span: SignedDuration) -> Year {
        let end = self.now() + span;
        let mut year = Year {
            least: SignedDuration::MAX,
            issued: 0,
            passes: 0,
            lapses: Vec::new(),
            alarms: Vec::new(),
            recovered: None,
        };
        if self.trouble == Trouble::Nonces {
            self.host.ca.reject_nonces(33);
        }
        let mut alarm = None;
        while self.now() < end {
            let now = self.now();
            let before = self.live();
            if let Some(live) = before {
                year.least = year.least.min(live.remaining(now));
            }
            let outage = self.down_until;
            self.make_trouble();
            if outage.is_some() && self.down_until.is_none() {
                year.recovered = outage;
            }
            let report = self.pass_or_crash();
            year.passes += 1;
            self.agenda.note(&report, self.now());
            if report.domains[0].outcome == Outcome::Proven && self.trouble == Trouble::Recall {
                self.host.ca.set_window(None);
            }
            match report.verdict() {
                Verdict::Well => {
                    if let Some(before) = before.filter(|live| live.not_after < now) {
                        year.lapses.push((before.not_after, now));
                        year.alarms.extend(alarm);
                    }
                    alarm = None;
                }
                _ => alarm = alarm.or(Some(now)),
            }
            let next = match self.driver {
                Driver::Daemon => self.agenda.next().map(|(at, _)| at),
                Driver::Timer => None,
            };
            let next = next.unwrap_or(Timestamp::MAX).min(self.next_run());
            self.set_now(next.max(now + SignedDuration::from_secs(1)));
        }
        year.issued = self.host.ca.issued().len();
        assert_eq!(self.host.leftovers(), [""; 0]);
        year
    }
}

const fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

const fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// So many days with certificates of this lifetime: at least `least` is left at any time, and not
/// more certificates are issued than the trouble explains
#[track_caller]
fn check_days(
    span: i64,
    driver: Driver,
    lifetime: SignedDuration,
    trouble: Trouble,
    least: SignedDuration,
) {
    let year = World::new(lifetime, driver, trouble).live_through(days(span));
    assert!(year.lapses.is_empty(), "{year:?}");
    assert!(year.least >= least, "{year:?}");
    // At a third of its life, at a half of a short one, or at a quarter after a recall.
    let each = match trouble {
        Trouble::Recall => lifetime / 4,
        _ if lifetime < days(10) => lifetime / 100 * 49,
        _ => lifetime / 100 * 65,
    };
    let most = 1 + span * 24 / each.as_hours();
    let fewest = span * 24 / lifetime.as_hours();
    let issued = i64::try_from(year.issued).expect("a number");
    assert!((fewest..=most).contains(&issued), "{most}: {year:?}");
}

#[track_caller]
fn check(driver: Driver, lifetime: SignedDuration, trouble: Trouble, least: SignedDuration) {
    check_days(365, driver, lifetime, trouble, least);
}

#[test]
fn certificates_of_90_days_never_lapse() {
    use Trouble::{Crash, Nothing, Outage};
    check(Driver::Timer, days(90), Nothing, days(28));
    check(Driver::Daemon, days(90), Outage(days(7)), days(21));
    check(Driver::Timer, days(90), Crash, days(28));
}

#[test]
fn certificates_of_64_days_never_lapse() {
    use Trouble::{Nonces, Nothing, Outage};
    check(Driver::Daemon, days(64), Nothing, days(20));
    check(Driver::Timer, days(64), Outage(days(7)), days(12));
    check(Driver::Timer, days(64), Nonces, days(20));
}

#[test]
fn certificates_of_45_days_never_lapse() {
    use Trouble::{Outage, Recall};
    check(Driver::Timer, days(45), Outage(days(7)), days(6));
    check(Driver::Daemon, days(45), Outage(days(1)), days(13));
    check(Driver::Timer, days(45), Recall, days(30));
}

#[test]
fn certificates_of_6_days_never_lapse() {
    use Trouble::{Crash, Outage};
    let life = hours(160);
    check(Driver::Timer, life, Outage(hours(1)), hours(54));
    check_days(90, Driver::Daemon, life, Outage(days(1)), hours(50));
    check_days(90, Driver::Timer, life, Crash, hours(64));
}

#[test]
fn an_outage_longer_than_the_life_that_is_left_is_told_in_time_and_ends_at_once() {
    let world = World::new(hours(160), Driver::Daemon, Trouble::Outage(days(7)));
    let year = world.live_through(days(60));
    assert!(year.lapses.len() >= 3, "{year:?}");
    assert_eq!(year.lapses.len(), year.alarms.len(), "{year:?}");
    for ((lapse, mended), alarm) in year.lapses.iter().zip(&year.alarms) {
        assert!(lapse.duration_since(*alarm) >= hours(72), "{year:?}");
        // The outage ended a week after the alarm.
        let end = *alarm + days(7);
        assert!(mended.duration_since(end) <= hours(2), "{year:?}");
    }
}
