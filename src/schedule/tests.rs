#![expect(clippy::disallowed_methods, reason = "a test makes its own files")]

use std::sync::atomic::{AtomicI64, Ordering};

use rustls::crypto::aws_lc_rs;
use tempfile::TempDir;

use super::*;

/// Seconds by which the clock of these tests is ahead
static AHEAD: AtomicI64 = AtomicI64::new(0);

fn clock() -> Timestamp {
    let ahead = SignedDuration::from_secs(AHEAD.load(Ordering::SeqCst));
    "2027-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + ahead
}

fn set_clock(seconds: i64) {
    AHEAD.store(seconds, Ordering::SeqCst);
}

/// A daemon for two domains, of which nothing runs yet
async fn daemon(place: &TempDir) -> Daemon {
    let config = "email = \"a@b.test\"\nterms_of_service_agreed = true\nstorage = \"storage\"\n\
                  state = \"state\"\n[[domain]]\nname = \"a.test\"\n[[domain]]\nname = \"b.test\"\n";
    let path = place.path().join("domains.toml");
    std::fs::write(&path, config).unwrap();
    std::fs::create_dir(place.path().join("storage")).unwrap();
    let setup = Setup {
        path,
        environment: Environment::default(),
        provider: aws_lc_rs::default_provider().into(),
        clock,
    };
    Daemon::start(setup).await.unwrap()
}

/// Starts the pass whose time has come, and lets it not come about
async fn put_off(daemon: &mut Daemon) -> (bool, usize) {
    let mut pass = daemon.next_pass();
    let begun = pass.as_ref().expect("its time has come");
    let told = (begun.is_sweep, begun.domains.len());
    let busy = Err(RunError::Busy { holder: None });
    daemon.conclude(&mut pass, busy).await;
    told
}

fn name(name: &str) -> DnsName {
    DnsName::parse(name).unwrap()
}

/// One test, for they share a clock
#[tokio::test]
async fn what_is_looked_at_when_follows_what_happened() {
    let place = TempDir::new().unwrap();
    let mut daemon = daemon(&place).await;
    daemon.retry = Retry::Now;
    assert_eq!(put_off(&mut daemon).await, (true, 2));
    assert!(daemon.next_pass().is_none());

    // A pass in between is no sweep, and leaves alone what a sweep is to try at once.
    daemon.agenda.bring_forward(name("a.test"), clock());
    assert_eq!(put_off(&mut daemon).await, (false, 1));
    assert_eq!(daemon.retry, Retry::Now);

    // The sweep is tried again as a whole, whatever pauses its domains had.
    set_clock(61);
    assert_eq!(put_off(&mut daemon).await, (true, 2));
    assert_eq!(daemon.idle_time(), LONGEST_SLEEP);
    assert!(daemon.outlook().contains("at all of them: 2027-01-01"));

    // A clock that is set back makes what was noted by it void.
    daemon.owed = None;
    set_clock(400 * 86_400);
    daemon.follow_the_clock();
    assert!(!daemon.wants_sweep);
    let far = clock() + SignedDuration::from_hours(1);
    daemon.agenda = Agenda::default();
    daemon.agenda.bring_forward(name("b.test"), far);
    set_clock(70);
    daemon.follow_the_clock();
    assert_eq!(daemon.agenda, Agenda::default());
    assert_eq!(put_off(&mut daemon).await, (true, 2));
    daemon.follow_the_clock();
    assert!(!daemon.wants_sweep);
}

#[test]
fn clocks_that_part_are_noticed() {
    let at = |wall: &str, seconds| Clocks {
        wall: wall.parse().unwrap(),
        steady: *BEGIN + Duration::from_secs(seconds),
    };
    let before = at("2027-01-01T00:00:00Z", 0);
    let back = |later| before.set_back(later).as_secs();
    assert_eq!(back(at("2027-01-01T00:01:00Z", 60)), 0);
    assert_eq!(back(at("2027-01-01T00:00:00Z", 60)), 60);
    assert_eq!(back(at("2026-12-31T00:00:00Z", 60)), 86_460);
    assert!(back(at("2027-01-01T08:00:00Z", 60)) < 0);
}

static BEGIN: std::sync::LazyLock<time::Instant> = std::sync::LazyLock::new(time::Instant::now);
