//! The crash matrix: a run is killed by SIGKILL at each of its points, which are at every request
//! that may change something at the CA and at every change in the file system (`src/crash.rs`). At that moment the live
//! files are a matching pair, and the next run, which nothing disturbs, reaches the goal.
//!
//! No certificate is ordered twice. An order may be placed twice in one case alone: certd was
//! killed after the CA had made it and before its URL was on disk, the next thing that it does. No client can know of such an
//! order; it costs one of those that a CA grants, and no certificate ever comes of it. The same
//! holds for an account.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test makes its own files, reads the clock and prints its figures"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::iter;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use certd::chain::{Chain, Fingerprint};
use certd::net::tls::Observer;
use certd_sandbox::Clock;
use certd_sandbox::acme::Reuse;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use rustls::crypto::aws_lc_rs::default_provider;
use serde_json::{Value, json};

#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the matrix needs a part of the command suite's support"
)]
mod command {
    pub(crate) mod support;
}

use command::support::{Daemon, Host, Run, Setting, codes};

/// What is to be reached, and from where
struct Scenario {
    domains: fn() -> Setting,
    /// Generations that each domain has before; the newest is due then
    generations: u32,
    /// Arguments of certd
    goal: &'static [&'static str],
}

const FIRST: Scenario = Scenario {
    domains: Setting::default,
    generations: 0,
    goal: &["obtain", "--all"],
};

/// The sixth generation makes the first one go.
const RENEWAL: Scenario = Scenario {
    domains: Setting::default,
    generations: 5,
    goal: &["renew"],
};

const TWO_RENEWALS: Scenario = Scenario {
    domains: Setting::two_domains,
    generations: 1,
    goal: &["renew"],
};

#[test]
fn a_first_issuance_that_is_killed_anywhere_is_gone_on_with() {
    matrix("first", &FIRST);
}

#[test]
fn a_renewal_that_is_killed_anywhere_is_gone_on_with() {
    matrix("renewal", &RENEWAL);
}

#[test]
fn two_renewals_that_are_killed_anywhere_are_gone_on_with() {
    let (begun, next) = (Instant::now(), AtomicUsize::new(1));
    let points = AtomicUsize::new(usize::MAX);
    // Two orders at once pass their points in an order of chance: none is foretold.
    side_by_side(|| {
        let at = next.fetch_add(1, Ordering::SeqCst);
        if at > points.load(Ordering::SeqCst) {
            return Next::Enough;
        }
        let mut case = Case::new(&TWO_RENEWALS);
        match case.kill_at(at) {
            Ended::Killed(_) => case.reach_goal(),
            Ended::Through(passed) => {
                let passed = passed.iter().filter(|line| !is_sync(line));
                points.fetch_min(passed.count(), Ordering::SeqCst);
                case.check_goal();
            }
        }
        Next::More
    });
    let points = points.into_inner();
    tell(format_args!("two renewals: {points} points"), begun);
}

#[test]
fn a_renewal_that_is_killed_twice_is_gone_on_with() {
    let (begun, twice) = (Instant::now(), AtomicUsize::new(0));
    let pairs = Mutex::new(pairs().take(PAIRS));
    side_by_side(|| {
        let pair = pairs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((first, second)) = pair else {
            return Next::Enough;
        };
        let mut case = Case::new(&RENEWAL);
        for at in [first, second] {
            if let Ended::Killed(_) = case.kill_at(at)
                && case.kills == 2
            {
                twice.fetch_add(1, Ordering::SeqCst);
            }
        }
        case.reach_goal();
        Next::More
    });
    let twice = twice.into_inner();
    tell(format_args!("{twice} of {PAIRS} killed twice"), begun);
    assert!(twice > PAIRS / 2);
}

#[test]
fn a_panic_in_the_work_for_one_domain_ends_that_domain_alone() {
    // Where its order begins, where that is kept, where the certificate is, and where it goes live.
    for at in [
        "orders/messenger",
        "domains/messenger",
        "archive/messenger",
        "live/messenger",
    ] {
        let host = Host::new(&Setting::two_domains());
        host.obtain(&[]).exits(0);
        let again = ["obtain", "--all", "--force", "--format", "json"];
        let run = panicking(&host, &again, at).exits(1);
        let report = run.json();
        let outcome = |position: usize| report["domains"][position]["outcome"].clone();
        assert_eq!(outcome(0), "proven", "{at}: {run}");
        assert_eq!(outcome(1), "failed", "{at}: {run}");
        assert!(codes(&report).contains(&"run.defect"), "{at}: {run}");
        host.obtain(&[]).exits(0);
    }
}

#[test]
fn a_panic_where_one_domain_is_proven_ends_that_domain_alone() {
    let host = Host::new(&Setting::two_domains());
    host.obtain(&[]).exits(0);
    for arguments in [&["--force"][..], &[]] {
        let again = [&["obtain", "--all", "--format", "json"], arguments].concat();
        let run = panicking(&host, &again, "greet messenger").exits(1);
        let report = run.json();
        let outcome = |position: usize| report["domains"][position]["outcome"].clone();
        assert_ne!(outcome(0), "failed", "{run}");
        assert_eq!(outcome(1), "failed", "{run}");
        assert_eq!(codes(&report), ["run.defect"], "{run}");
    }
    host.obtain(&[]).exits(0);
}

#[test]
fn a_panic_at_one_endpoint_is_told_beside_what_the_others_show() {
    let host = Host::new(&Setting::two_domains());
    host.obtain(&[]).exits(0);
    let run = panicking(&host, &["verify", "--format", "json"], "greet messenger").exits(1);
    let report = run.json();
    let endpoints = report["endpoints"].as_array().expect("endpoints");
    for endpoint in endpoints {
        let is_struck = endpoint["name"]
            .as_str()
            .is_some_and(|name| name.contains("messenger"));
        let has_defect = endpoint.to_string().contains("run.defect");
        assert_eq!(has_defect, is_struck, "{run}");
        assert_eq!(endpoint["severity"] == "failure", is_struck, "{run}");
    }
    let names = endpoints
        .iter()
        .filter_map(|endpoint| endpoint["name"].as_str());
    assert_eq!(names.collect::<BTreeSet<_>>().len(), 3, "{run}");
}

#[test]
fn a_panic_at_a_link_hides_no_other_link() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let why = ["why", "rare-books.test", "--format", "json"];
    let run = panicking(&host, &why, "greet rare-books").exits(1);
    let report = run.json();
    let links = report["steps"].as_array().expect("steps").iter();
    let links: Vec<&str> = links.filter_map(|step| step["link"].as_str()).collect();
    assert!(
        links.contains(&"listener") && links.contains(&"block"),
        "{run}"
    );
    assert!(run.stdout.contains("run.defect"), "{run}");
}

#[test]
fn a_panic_outside_of_any_domain_is_told_as_a_defect() {
    let host = Host::new(&Setting::default());
    let run = panicking(&host, &["renew"], "/state/lock").exits(1);
    assert!(run.stderr.contains("error: certd has a defect"), "{run}");
}

#[test]
fn a_daemon_outlives_panics() {
    for at in ["orders/messenger", "/state/lock"] {
        let host = Host::new(&Setting::two_domains());
        let mut daemon = Daemon::start_with(&host, |command| {
            command.env("CERTD_PANIC_AT", at);
        });
        daemon.wait_for("certd has a defect");
        if at == "orders/messenger" {
            let is_live = || host.live().contains_key("rare-books.test");
            daemon.wait_until("the other one is live", is_live);
        }
        assert!(daemon.ends_by(Signal::SIGTERM).success(), "{at}");
    }
}

/// A run that panics at each point that has these words in its name
fn panicking(host: &Host, arguments: &[&str], at: &str) -> Run {
    Run::of(host.place.certd(arguments).env("CERTD_PANIC_AT", at))
}

/// Kills a run at each of its points in turn, until one run has no more of them; a snapshot holds
/// the names of all
fn matrix(name: &str, scenario: &Scenario) {
    let (begun, next) = (Instant::now(), AtomicUsize::new(1));
    let (killed, complete) = (Mutex::new(BTreeMap::new()), Mutex::new(None));
    side_by_side(|| {
        let lock = || complete.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().is_some() {
            return Next::Enough;
        }
        let at = next.fetch_add(1, Ordering::SeqCst);
        let mut case = Case::new(scenario);
        match case.kill_at(at) {
            Ended::Killed(point) => {
                case.reach_goal();
                let mut killed = killed.lock().unwrap_or_else(PoisonError::into_inner);
                killed.insert(at, point);
                Next::More
            }
            Ended::Through(passed) => {
                case.check_goal();
                *lock() = Some(passed);
                Next::Enough
            }
        }
    });
    let complete = complete
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let complete = complete.expect("a run that was not killed");
    let killed = killed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let points = complete.iter().filter(|line| !is_sync(line));
    for (at, point) in (1..).zip(points) {
        assert_eq!(
            killed.get(&at),
            Some(point),
            "a run was killed at each point"
        );
    }
    let syncs = complete.iter().filter(|line| is_sync(line)).count();
    let points = complete.len() - syncs;
    tell(
        format_args!("{name}: {points} points, {syncs} syncs"),
        begun,
    );
    insta::with_settings!({omit_expression => true}, {
        insta::assert_snapshot!(name, complete.join("\n"));
    });
}

/// Whether a line of a run's log tells of a sync, at which no run is killed
fn is_sync(line: &str) -> bool {
    line.starts_with("    synced ")
}

fn tell(what: fmt::Arguments<'_>, begun: Instant) {
    println!("{what} in {:.1?}", begun.elapsed());
}

/// What a thread does after a case
#[derive(PartialEq, Eq)]
enum Next {
    More,
    Enough,
}

/// Runs cases on a few threads, each until it has enough
fn side_by_side(case: impl Fn() -> Next + Sync) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| while case() == Next::More {});
        }
    });
}

/// How a run that was to be killed ended
enum Ended {
    /// At the point with this name
    Killed(String),
    /// By itself, for it has fewer points; their names
    Through(Vec<String>),
}

/// A host on which runs are killed
struct Case<'s> {
    scenario: &'s Scenario,
    host: Host,
    /// Certificates of the CA before the first run
    before: BTreeSet<Fingerprint>,
    /// Where each run was killed, for the messages of a failure
    story: String,
    kills: usize,
    /// What the CA made in a run that was killed before it could note that
    unknown: Placed,
}

/// What a CA made at certd's word
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Placed {
    accounts: usize,
    orders: usize,
}

impl<'s> Case<'s> {
    fn new(scenario: &'s Scenario) -> Self {
        let days_behind = Arc::new(AtomicI64::new(0));
        let behind = days_behind.clone();
        let host = Host::new(&Setting {
            reuse: Reuse::Never,
            clock: Clock::new(move || {
                let days = behind.load(Ordering::SeqCst);
                Timestamp::now() - SignedDuration::from_hours(24 * days)
            }),
            require: &["dns", "caa", "http", "budget"],
            ..(scenario.domains)()
        });
        let mut case = Self {
            scenario,
            host,
            before: BTreeSet::new(),
            story: String::new(),
            kills: 0,
            unknown: Placed::default(),
        };
        if scenario.generations > 0 {
            // Two thirds of 90 days are over, and the window that the CA suggests with them.
            days_behind.store(61, Ordering::SeqCst);
            case.host.obtain(&[]).exits(0);
            days_behind.store(0, Ordering::SeqCst);
            case.names().iter().for_each(|name| case.grow_old(name));
        }
        case.before = case.issued();
        case
    }

    /// Names of the lineages
    fn names(&self) -> Vec<String> {
        let domains = (self.scenario.domains)().domains;
        domains.iter().map(|names| names[0].to_owned()).collect()
    }

    /// Gives a lineage all its generations, copies of the first, and lets its CA be asked again
    fn grow_old(&self, name: &str) {
        let mut record = self.record(name);
        let first = &mut record["generations"]["1"];
        first["renewal"]["next_look"] = json!("2026-01-01T00:00:00Z");
        let (first, newest) = (first.clone(), self.scenario.generations);
        for number in 1..=newest {
            record["generations"][number.to_string()] = first.clone();
            for (path, bytes) in self.host.place.tree(&format!("storage/archive/{name}/1")) {
                if let Some(file) = path.file_name().filter(|_| path.is_file()) {
                    let file = file.to_string_lossy();
                    let copy = format!("storage/archive/{name}/{number}/{file}");
                    self.host.place.write(&copy, bytes);
                }
            }
        }
        self.host
            .place
            .write(&record_file(name), record.to_string());
        let live = self.host.place.path(&format!("storage/live/{name}"));
        fs::remove_file(&live).expect("it is there");
        symlink(format!("../archive/{name}/{newest}"), live).expect("nothing is there");
        self.host.web.reload().expect("it can be loaded");
    }

    fn record(&self, name: &str) -> Value {
        match self.host.place.path(&record_file(name)).exists() {
            true => serde_json::from_str(&self.host.place.read(&record_file(name))).expect("JSON"),
            false => Value::Null,
        }
    }

    fn issued(&self) -> BTreeSet<Fingerprint> {
        let issued = self.host.ca.issued();
        let chains = issued.iter().map(|chain| Chain::from_pem(chain.as_bytes()));
        let leaves = chains.map(|chain| chain.expect("a chain").leaf().fingerprint);
        leaves.collect()
    }

    /// What the CA made so far
    fn made(&self) -> Placed {
        Placed {
            accounts: self.host.ca.accounts(),
            orders: self.host.ca.orders(),
        }
    }

    /// What certd has on disk of what the CA made for the goal: an order, or what came of it
    fn known(&self) -> Placed {
        let is_there = |below: String| self.host.place.path(&below).exists();
        let number = self.scenario.generations + 1;
        let is_known = |name: &String| {
            is_there(format!("storage/archive/{name}/{number}"))
                || self.record(name)["order"].is_object()
        };
        let names = self.names();
        Placed {
            accounts: usize::from(is_there("state/accounts/test.json".to_owned())),
            orders: self.before.len() + names.into_iter().filter(is_known).count(),
        }
    }

    /// Runs certd until it is killed at its `at`-th point, and looks at what is there then
    fn kill_at(&mut self, at: usize) -> Ended {
        let (made, known) = (self.made(), self.known());
        let (output, passed) = self.run_until(at);
        if output.status.success() {
            return Ended::Through(passed);
        }
        let passed: Vec<String> = passed.into_iter().filter(|line| !is_sync(line)).collect();
        let point = passed.last().cloned().unwrap_or_default();
        self.story = format!("{}killed at {at}, {point:?}; ", self.story);
        self.kills += 1;
        let words = String::from_utf8_lossy(&output.stderr);
        let signal = output.status.signal();
        assert_eq!(
            signal,
            Some(Signal::SIGKILL as i32),
            "{}: {words}",
            self.story
        );
        assert_eq!(passed.len(), at, "{}", self.story);
        self.check_live();
        let (made_now, known_now) = (self.made(), self.known());
        let lost = |made: usize, known: usize| made.saturating_sub(known);
        self.unknown.accounts += lost(
            made_now.accounts - made.accounts,
            known_now.accounts - known.accounts,
        );
        // Those that are under way may come to the CA after the kill.
        let is_asked = passed.iter().any(|point| point == "ask CA/new-order");
        let under_way = if is_asked { self.names().len() } else { 0 };
        self.unknown.orders += lost(
            under_way.max(made_now.orders - made.orders),
            known_now.orders - known.orders,
        );
        Ended::Killed(point)
    }

    fn run_until(&self, at: usize) -> (Output, Vec<String>) {
        let log = self.host.place.path("points");
        let _ = fs::remove_file(&log);
        let mut command = self.host.place.certd(self.scenario.goal);
        command
            .env("CERTD_CRASH_LOG", &log)
            .env("CERTD_CRASH_AT", at.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = command.output().expect("certd can be started");
        (output, self.points(&log))
    }

    /// The points of a run and its syncs, without what differs from run to run
    fn points(&self, log: &PathBuf) -> Vec<String> {
        let text = fs::read_to_string(log).unwrap_or_default();
        let root = self.host.place.path("");
        let directory = self.host.ca.directory();
        let ca = directory.strip_suffix("/directory").unwrap_or_default();
        let text = text.replace(&*root.to_string_lossy(), "").replace(ca, "CA");
        let unnumbered = |line: &str| match line.split_once("/.certd-") {
            Some((above, _)) if is_sync(line) => format!("{above}/.certd-[...]"),
            _ => without_turn(&without_chance(line)),
        };
        text.lines().map(unnumbered).collect()
    }

    /// Each generation is whole and a matching pair, what is live is one, and a renewal is never
    /// without
    fn check_live(&self) {
        assert_eq!(self.host.broken(), [""; 0], "{}", self.story);
        let live = self.host.live();
        for name in self.names() {
            let is_live = live.contains_key(&name);
            assert!(is_live || self.scenario.generations == 0, "{}", self.story);
        }
    }

    /// One run that nothing disturbs
    fn reach_goal(&self) {
        let run = self.host.certd(self.scenario.goal);
        assert_eq!(run.status, Some(0), "{}: {run}", self.story);
        self.check_goal();
    }

    /// All is as if nothing had happened
    fn check_goal(&self) {
        let (story, names) = (&self.story, self.names());
        let issued = self.issued();
        let new: BTreeSet<_> = issued.difference(&self.before).copied().collect();
        assert_eq!(new.len(), names.len(), "{story}: new certificates");
        let (made, needed) = (self.made(), self.before.len() + names.len());
        assert!(
            (needed..=needed + self.unknown.orders).contains(&made.orders)
                && made.accounts == 1 + self.unknown.accounts,
            "{story}: {made:?}, unknown {:?}",
            self.unknown
        );
        assert_eq!(self.host.leftovers(), [""; 0], "{story}");
        let keys = self.host.place.tree("state/orders");
        assert!(
            keys.iter().all(|(path, _)| path.is_dir()),
            "{story}: {keys:?}"
        );
        for name in &names {
            self.check_proven(name, &new);
        }
    }

    /// A domain's new generation is live, proven and served
    fn check_proven(&self, name: &str, new: &BTreeSet<Fingerprint>) {
        let (story, record) = (&self.story, self.record(name));
        let number = self.scenario.generations + 1;
        let kept: Vec<String> = (1..=number)
            .rev()
            .take(5)
            .map(|one| one.to_string())
            .collect();
        let known = record["generations"].as_object().expect("generations");
        let known: Vec<&String> = known.keys().rev().collect();
        assert_eq!(known, kept.iter().collect::<Vec<_>>(), "{story}");
        let newest = &record["generations"][number.to_string()];
        assert!(newest["proven_at"].is_string(), "{story}: {newest}");
        assert_eq!(newest["issuer"], "test", "{story}");
        assert!(newest["account"].is_string(), "{story}: {newest}");
        let installed = newest["fingerprint"].as_str().expect("a fingerprint");
        let is_it = |new: &Fingerprint| new.to_string() == installed;
        assert!(new.iter().any(is_it), "{story}: {newest}");
        assert_eq!(record["order"], Value::Null, "{story}");
        for failures in ["order_failures", "deploy_failures"] {
            assert_eq!(record[failures]["count"], 0, "{story}: {record:#}");
        }
        let live = PathBuf::from(format!("../archive/{name}/{number}"));
        assert_eq!(self.host.live().get(name), Some(&live), "{story}");
        assert!(new.contains(&self.served(name)), "{story}: what is served");
    }

    /// What nginx shows for a name
    fn served(&self, name: &str) -> Fingerprint {
        let observer = Observer::new(Arc::new(default_provider()), Duration::from_secs(10));
        let seen = observer.observe(name, self.host.web.https());
        let seen = self.host.runtime.block_on(seen).outcome;
        Fingerprint::of(&seen.expect("a handshake").chain[0])
    }
}

fn record_file(name: &str) -> String {
    format!("state/domains/{name}.json")
}

/// A text whose long words, all of them tokens, serial numbers and the like, are left out
fn without_chance(text: &str) -> String {
    let is_of_word =
        |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let parts = text.split_inclusive(|character| !is_of_word(character));
    let named = parts.map(|part| {
        let word = part.trim_end_matches(|character| !is_of_word(character));
        match word.len() {
            CHANCE.. => part.replace(word, "[...]"),
            _ => part.to_owned(),
        }
    });
    named.collect()
}

/// The names of an order are asked for side by side: which is asked for or answered first is chance
fn without_turn(line: &str) -> String {
    let kinds = ["CA/authorization/", "CA/challenge/"];
    match kinds.iter().find(|kind| line.contains(**kind)) {
        Some(kind) => format!("at {kind}[...]"),
        None => line.to_owned(),
    }
}

/// Pairs of points, the same in each run of the test
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let mut state: usize = 20_270_210;
    let mut point = move |most: usize| {
        // A linear congruential generator, of which the high bits are good enough.
        state = (state * 1_664_525 + 1_013_904_223) % (1 << 32);
        1 + (state >> 16) % most
    };
    // A run that goes on with another has fewer points.
    iter::from_fn(move || Some((point(MOST_POINTS), point(MOST_POINTS / 2))))
}

/// Cases at once; each waits for its disk, its CA and its handshakes most of the time
const THREADS: usize = 4;
const PAIRS: usize = 30;
/// Points of a renewal
const MOST_POINTS: usize = 67;
/// Length from which a word is one of chance
const CHANCE: usize = 20;
