//! Killed in the middle: the next run goes on with the order that was under way.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Child;
use std::time::Duration;

use certd_sandbox::acme::{Call, Problem, Reuse};
use certd_sandbox::fault::{Answer, Fault, Times};
use jiff::{SignedDuration, Timestamp};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::support::{Host, Setting};

const SHOP: &str = "rare-books.test";
const OBTAIN: [&str; 3] = ["obtain", SHOP, "--force"];

fn host() -> Host {
    Host::new(&Setting {
        reuse: Reuse::Never,
        ..Setting::default()
    })
}

/// Starts certd, and waits until it waits for the CA, which says nothing to this call
fn stuck_at(host: &Host, call: Call) -> Child {
    host.ca.fault(call, Times::Always, Fault::Silent);
    let is_asked = |line: &String| match call {
        Call::Challenge => line.starts_with("POST /challenge/"),
        Call::Order => line.starts_with("POST /order/") && !line.ends_with("/finalize"),
        Call::Finalize => line.ends_with("/finalize"),
        Call::Certificate => line.starts_with("POST /certificate/"),
        call => panic!("no path is known for {call:?}"),
    };
    let asked = || {
        host.ca
            .requests()
            .iter()
            .filter(|line| is_asked(line))
            .count()
    };
    let before = asked();
    let mut child = host.place.certd(&OBTAIN).spawn().expect("certd starts");
    while asked() == before {
        let ended = child.try_wait().expect("it can be asked");
        assert_eq!(ended, None, "it ended before {call:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn kill(mut child: Child) {
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

fn record(host: &Host) -> Value {
    let text = host.place.read(&format!("state/domains/{SHOP}.json"));
    serde_json::from_str(&text).expect("JSON")
}

/// How many orders have a key or tokens that are kept
fn keys(host: &Host) -> usize {
    let tree = host.place.tree("state/orders");
    let files = tree.iter().filter(|(path, _)| path.is_file());
    let orders: BTreeSet<_> = files.map(|(path, _)| path.with_extension("")).collect();
    orders.len()
}

#[test]
fn a_killed_run_is_gone_on_with_without_another_order() {
    for call in [
        Call::Challenge,
        Call::Order,
        Call::Finalize,
        Call::Certificate,
    ] {
        for earlier in [0, 1] {
            let host = host();
            for _ in 0..earlier {
                host.certd(&OBTAIN).exits(0);
            }
            kill(stuck_at(&host, call));
            assert_eq!(keys(&host), 1, "{call:?}");
            let url = record(&host)["order"]["url"].clone();
            assert!(url.is_string(), "{call:?}");
            host.ca.behave();
            let run = host.certd(&OBTAIN).exits(0);
            assert!(run.stdout.contains("1 proven"), "{call:?}: {run}");
            assert_eq!(host.ca.orders(), earlier + 1, "{call:?}: {run}");
            assert_eq!(host.ca.issued().len(), earlier + 1, "{call:?}");
            assert_eq!((keys(&host), &record(&host)["order"]), (0, &Value::Null));
            assert_eq!(host.leftovers(), [""; 0]);
        }
    }
}

#[test]
fn an_order_that_asks_for_something_else_is_not_gone_on_with() {
    let host = host();
    kill(stuck_at(&host, Call::Finalize));
    host.ca.behave();
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", format!("key_type = \"p384\"\n{config}"));
    let run = host.certd(&OBTAIN).exits(0);
    assert_eq!(placed(&host), 2);
    assert!(run.stdout.contains("p384"), "{run}");
    assert_eq!(keys(&host), 0);
}

#[test]
fn an_order_that_the_ca_has_no_more_is_placed_anew() {
    let host = host();
    kill(stuck_at(&host, Call::Certificate));
    host.ca.behave();
    let gone = Problem::new(404, "malformed", "order not found");
    host.ca.fault(Call::Order, Times::Next(1), gone);
    host.certd(&OBTAIN).exits(0);
    assert_eq!((host.ca.orders(), keys(&host)), (2, 0));
    // A balancer says so in words of its own.
    kill(stuck_at(&host, Call::Certificate));
    host.ca.behave();
    host.ca
        .fault(Call::Order, Times::Next(1), Answer::html(404, "Not Found"));
    host.certd(&OBTAIN).exits(0);
    assert_eq!((host.ca.orders(), keys(&host)), (4, 0));
}

#[test]
fn a_certificate_whose_announcement_was_lost_is_downloaded() {
    let host = host();
    host.ca
        .fault(Call::Finalize, Times::Always, Fault::CutShort);
    host.ca.fault(Call::Order, Times::Always, Fault::CutShort);
    host.certd(&OBTAIN).exits(1);
    assert_eq!(keys(&host), 1);
    host.ca.behave();
    host.certd(&OBTAIN).exits(0);
    assert_eq!((host.ca.orders(), host.ca.issued().len()), (1, 1));
}

#[test]
fn a_ca_that_is_busy_is_not_asked_for_another_certificate() {
    for call in [Call::Certificate, Call::Order] {
        let host = host();
        let busy = Problem::new(503, "rateLimited", "Service busy; retry later.");
        kill(stuck_at(&host, call));
        host.ca.behave();
        host.ca.fault(call, Times::Always, busy);
        host.certd(&OBTAIN).exits(75);
        assert_eq!(keys(&host), 1, "{call:?}");
        host.ca.behave();
        let regardless = [&OBTAIN[..], &["--skip-check", "budget"]].concat();
        host.certd(&regardless).exits(0);
        assert_eq!(
            (host.ca.orders(), host.ca.issued().len()),
            (1, 1),
            "{call:?}"
        );
    }
}

/// How often an order was asked for
///
/// That a CA gives the same one for the same names is its affair.
fn placed(host: &Host) -> usize {
    let asked = host.ca.requests();
    let orders = asked.iter().filter(|line| *line == "POST /new-order");
    orders.count()
}

/// As if the order that is under way had been placed a day and an hour ago
fn grow_old(host: &Host) {
    let mut record = record(host);
    let began = Timestamp::now() - SignedDuration::from_hours(25);
    record["order"]["began"] = json!(began);
    host.place
        .write(&format!("state/domains/{SHOP}.json"), record.to_string());
}

#[test]
fn an_order_that_leads_nowhere_is_given_up_after_a_few_tries() {
    let host = host();
    kill(stuck_at(&host, Call::Challenge));
    host.ca.behave();
    host.ca
        .fault(Call::Challenge, Times::Always, Answer::status(502));
    for _ in 0..3 {
        host.certd(&OBTAIN).exits(1);
        assert_eq!(placed(&host), 1);
    }
    host.certd(&OBTAIN).exits(1);
    assert_eq!(placed(&host), 2);
}

#[test]
fn a_certificate_that_is_issued_is_had_and_not_ordered_again() {
    for call in [Call::Certificate, Call::Order] {
        let host = host();
        kill(stuck_at(&host, Call::Certificate));
        host.ca.behave();
        host.ca.fault(call, Times::Always, Answer::status(502));
        for _ in 0..5 {
            host.certd(&OBTAIN).exits(1);
        }
        host.ca.behave();
        // The lid was closed, too.
        grow_old(&host);
        host.certd(&OBTAIN).exits(0);
        let made = (host.ca.orders(), host.ca.issued().len());
        assert_eq!(made, (1, 1), "{call:?}");
    }
}

#[test]
fn a_certificate_that_cannot_be_had_for_a_day_is_given_up() {
    let host = host();
    kill(stuck_at(&host, Call::Certificate));
    host.ca.behave();
    host.ca
        .fault(Call::Certificate, Times::Always, Answer::status(502));
    for _ in 0..3 {
        host.certd(&OBTAIN).exits(1);
    }
    grow_old(&host);
    for expected in [1, 2] {
        host.certd(&OBTAIN).exits(1);
        assert_eq!(placed(&host), expected);
    }
    // Nor one of which the CA says nothing: three times, and not by a limit.
    let busy = Problem::new(503, "rateLimited", "Service busy; retry later.");
    let regardless = [&OBTAIN[..], &["--skip-check", "budget"]].concat();
    host.ca.fault(Call::Order, Times::Always, busy);
    grow_old(&host);
    for _ in 0..4 {
        host.certd(&regardless).exits(75);
    }
    host.ca.behave();
    host.ca
        .fault(Call::Order, Times::Always, Answer::status(502));
    for expected in [2, 2, 3] {
        grow_old(&host);
        host.certd(&regardless).exits(1);
        assert_eq!(placed(&host), expected);
    }
}

#[test]
fn an_order_that_is_old_stays_while_its_ca_is_down() {
    let host = host();
    kill(stuck_at(&host, Call::Certificate));
    host.ca.behave();
    grow_old(&host);
    for call in [Call::Order, Call::NewOrder] {
        host.ca.fault(call, Times::Always, Answer::status(502));
    }
    host.certd(&OBTAIN).exits(1);
    host.ca.behave();
    host.certd(&OBTAIN).exits(0);
    assert_eq!((host.ca.orders(), host.ca.issued().len()), (1, 1));
}

#[test]
fn an_order_whose_challenges_could_not_be_read_is_gone_on_with() {
    let host = host();
    host.ca
        .fault(Call::Authorization, Times::Always, Answer::status(503));
    for _ in 0..3 {
        let run = host.certd(&OBTAIN).exits(1);
        assert!(!run.stdout.contains("nothing was spent"), "{run}");
    }
    host.ca.behave();
    host.certd(&OBTAIN).exits(0);
    assert_eq!(placed(&host), 1);
}

#[test]
fn nothing_is_ordered_that_could_not_be_kept() {
    for directory in ["domains", "orders"] {
        let host = host();
        let path = host.place.path(&format!("state/{directory}"));
        fs::create_dir_all(&path).unwrap();
        let mut command = host.place.certd_without_rights(&OBTAIN);
        if geteuid().is_root() {
            chown(&path, Some(0), Some(0)).unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{directory}: {said}");
        assert!(
            said.contains("run certd as the owner"),
            "{directory}: {said}"
        );
        assert_eq!(placed(&host), 0, "{directory}: {said}");
    }
}

#[test]
fn a_rehearsal_leaves_the_order_alone() {
    let host = host();
    kill(stuck_at(&host, Call::Certificate));
    host.ca.behave();
    let before = host.place.read(&format!("state/orders/{SHOP}.key"));
    let refused = Problem::new(400, "badCSR", "a key that it will not have");
    host.ca.fault(Call::Finalize, Times::Always, refused);
    host.certd(&["obtain", SHOP, "--staging", "--issuer", "test"])
        .exits(1);
    let after = host.place.read(&format!("state/orders/{SHOP}.key"));
    assert_eq!(before, after);
    assert!(record(&host)["order"]["url"].is_string());
}

#[test]
fn a_ca_that_is_down_keeps_the_order_for_later() {
    let host = host();
    kill(stuck_at(&host, Call::Certificate));
    host.ca.behave();
    host.ca
        .fault(Call::Order, Times::Always, Answer::status(503));
    host.certd(&OBTAIN).exits(1);
    assert_eq!(keys(&host), 1);
    host.ca.behave();
    host.certd(&OBTAIN).exits(0);
    assert_eq!((host.ca.orders(), keys(&host)), (1, 0));
}

#[test]
fn a_certificate_that_was_kept_just_before_the_end_is_not_had_again() {
    let host = host();
    kill(stuck_at(&host, Call::Certificate));
    host.ca.behave();
    let before = host.place.read(&format!("state/domains/{SHOP}.json"));
    let key = host.place.read(&format!("state/orders/{SHOP}.key"));
    host.certd(&OBTAIN).exits(0);
    // As if certd had been killed between the archive and its record.
    host.place
        .write(&format!("state/domains/{SHOP}.json"), before);
    host.place.write(&format!("state/orders/{SHOP}.key"), key);
    let run = host.certd(&["obtain", SHOP]).exits(0);
    assert_eq!(host.ca.orders(), 1, "{run}");
    // And a renewal does not take up what is over.
    host.certd(&OBTAIN).exits(0);
    assert_eq!((host.ca.orders(), host.ca.issued().len()), (2, 2));
}
