//! A host whose clock is wrong: no run of a timer is well by it, and nobody is blamed for it.

use std::time::Duration;

use certd_sandbox::acme::Window;
use jiff::{SignedDuration, Timestamp};

use crate::support::{Authority, Daemon, Hook, Host, Run, Server, Setting, Wish, tls_config};

const SHOP: &str = "rare-books.test";

/// A proven host with a dead man's switch
fn host(heart: &Hook) -> Host {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let config = host.place.read("domains.toml");
    let heartbeat = format!("heartbeat = \"{}\"\n", heart.url("/ping"));
    host.place.write("domains.toml", heartbeat + &config);
    host
}

/// The CA's clock is this far ahead of the host's
fn ca_is_ahead(host: &Host, hours: i64) {
    let date = Timestamp::now() + SignedDuration::from_hours(hours);
    host.ca.tell_time(Some(date));
}

#[test]
fn a_clock_that_is_weeks_off_makes_no_run_well_and_orders_nothing() {
    for (hours, words) in [(21 * 24, "20 days behind"), (-21 * 24, "21 days ahead of")] {
        let heart = Hook::start();
        let host = host(&heart);
        let (requests, live) = (host.ca.requests().len(), host.live());
        ca_is_ahead(&host, hours);
        let run = host.certd(&["renew"]).exits(1);
        assert!(run.stdout.contains("✗ ca.clock"), "{run}");
        assert!(run.stdout.contains(words), "{run}");
        assert!(run.stdout.contains("timedatectl set-ntp true"), "{run}");
        assert_eq!(host.ca.requests()[requests..], ["GET /directory"]);
        assert_eq!((host.live(), heart.requests().len()), (live, 0));
        ca_is_ahead(&host, 0);
        host.certd(&["renew"]).exits(0);
        assert_eq!(heart.requests().len(), 1);
    }
}

#[test]
fn a_few_hours_are_a_warning_where_they_decide_nothing() {
    let heart = Hook::start();
    let host = host(&heart);
    for hours in [2, -2] {
        ca_is_ahead(&host, hours);
        let run = host.certd(&["renew"]).exits(0);
        assert!(run.stdout.contains("! ca.clock"), "{run}");
    }
    assert_eq!(heart.requests().len(), 2);
}

#[test]
fn a_domain_that_is_due_by_the_cas_clock_alone_is_not_said_to_be_well() {
    let heart = Hook::start();
    let host = host(&heart);
    let minutes = |minutes| Timestamp::now() + SignedDuration::from_mins(minutes);
    host.ca.set_window(Some(Window {
        start: minutes(60),
        end: minutes(70),
        explanation: None,
        retry_after: Some(Duration::from_secs(3_600)),
    }));
    let record = "state/domains/rare-books.test.json";
    let mut known: serde_json::Value =
        serde_json::from_str(&host.place.read(record)).expect("JSON");
    known["generations"]["1"]["renewal"]["next_look"] = "2026-01-01T00:00:00Z".into();
    host.place.write(record, known.to_string());
    ca_is_ahead(&host, 3);
    let run = host.certd(&["renew"]).exits(1);
    assert!(
        flat(&run).contains("by the CA's the domain is due"),
        "{run}"
    );
    assert_eq!((host.ca.orders(), heart.requests().len()), (1, 0));
}

#[test]
fn the_daemon_says_so_and_its_heart_does_not_beat() {
    let heart = Hook::start();
    let host = host(&heart);
    ca_is_ahead(&host, 21 * 24);
    let daemon = Daemon::start(&host);
    daemon.wait_for("code=\"ca.clock\"");
    daemon.wait_until("the pass has ended", || daemon.passes() > 0);
    assert_eq!(heart.requests().len(), 0);
}

#[test]
fn a_ca_out_of_time_by_this_clock_asks_for_the_clock_with_both_dates() {
    for (valid, words) in [
        ((2100, 2120), "is valid from 2100-01-01 00:00 UTC"),
        ((1990, 2000), "expired at 2000-01-01 00:00 UTC"),
    ] {
        let host = Host::new(&Setting::default());
        let _server = ca_with_validity(&host, valid);
        let run = host.obtain(&[]).exits(1);
        for words in [
            "✗ ca.clock",
            words,
            "this host's clock says 20",
            "is this host's clock right?",
        ] {
            assert!(flat(&run).contains(words), "{words}: {run}");
        }
        assert!(!run.stdout.contains("must mend"), "{run}");
    }
}

#[test]
fn a_ca_that_is_not_valid_yet_leaves_no_idle_run_well() {
    let heart = Hook::start();
    let host = host(&heart);
    let server = ca_with_validity(&host, (2100, 2120));
    let run = host.certd(&["renew"]).exits(1);
    assert!(run.stdout.contains("✗ ca.clock"), "{run}");
    assert_eq!(heart.requests().len(), 0);
    // One that does not answer at all says nothing of the time.
    drop(server);
    host.certd(&["renew"]).exits(0);
    assert_eq!(heart.requests().len(), 1);
    assert!(host.live().contains_key(SHOP));
}

/// What a run says, however its lines are broken
fn flat(run: &Run) -> String {
    run.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts a server in the place of the CA whose certificate is valid between these years
fn ca_with_validity(host: &Host, valid: (i32, i32)) -> Server {
    let root = Authority::root("Root of a CA of another time");
    host.place.write("root.pem", root.pem());
    let leaf = root.issue(&Wish {
        valid,
        ..Wish::names(&["127.0.0.1"])
    });
    let server = Server::tls(tls_config(&leaf));
    let text = host.place.read("domains.toml");
    let text = text.replace(
        &host.ca.directory(),
        &format!("https://{}/", server.address),
    );
    host.place.write("domains.toml", text);
    server
}

#[test]
fn an_instant_that_was_asked_for_is_no_clock_that_is_wrong() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    for (at, code) in [
        ("2049-01-01", "served.expired"),
        ("2020-01-01", "served.not_yet_valid"),
    ] {
        let run = host.certd(&["verify", SHOP, "--at", at]).exits(1);
        assert!(run.stdout.contains(code), "{run}");
        assert!(!run.stdout.contains("clock"), "{run}");
    }
}
