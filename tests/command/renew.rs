//! `certd renew`: what is due by the CA's window or by its life, and nothing else.

use std::time::Duration;

use certd_sandbox::Clock;
use certd_sandbox::acme::{Call, Mishap, Problem, Reuse, Window};
use certd_sandbox::fault::{Answer, Times};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Authority, Host, Setting, Wish};

const SHOP: &str = "rare-books.test";
const MESSENGER: &str = "messenger.rare-books.test";

/// A host whose domains are proven, and whose CA looks at each name again
fn host() -> Host {
    let host = Host::new(&Setting {
        reuse: Reuse::Never,
        // The CA's clock is slow, so that its certificates are two days old.
        clock: Clock::new(|| Timestamp::now() - SignedDuration::from_hours(48)),
        ..Setting::two_domains()
    });
    host.certd(&["obtain", "--all"]).exits(0);
    assert_eq!(host.ca.orders(), 2);
    host
}

fn record_file(name: &str) -> String {
    format!("state/domains/{name}.json")
}

/// What certd remembers of a domain
fn record(host: &Host, name: &str) -> Value {
    serde_json::from_str(&host.place.read(&record_file(name))).expect("JSON")
}

/// What it remembers of the window of a generation
fn renewal(host: &Host, name: &str, generation: u32) -> Value {
    record(host, name)["generations"][generation.to_string()]["renewal"].take()
}

/// The time has come to ask the CA again
fn may_ask(host: &Host, name: &str) {
    let mut record = record(host, name);
    let generations = record["generations"].as_object_mut().expect("generations");
    for generation in generations.values_mut() {
        generation["renewal"]["next_look"] = json!("2026-01-01T00:00:00Z");
    }
    host.place.write(&record_file(name), record.to_string());
}

/// The CA suggests the time between so many hours from now
fn suggest(host: &Host, from: i64, until: i64) {
    let hours = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    host.ca.set_window(Some(Window {
        start: hours(from),
        end: hours(until),
        explanation: Some("https://ca.sandbox.test/why".to_owned()),
        retry_after: Some(Duration::from_secs(3_600)),
    }));
    may_ask(host, SHOP);
    may_ask(host, MESSENGER);
}

/// A time that `certd status` shows of the shop
fn shown(host: &Host, key: &str) -> Timestamp {
    let status = host.certd(&["status", "--format", "json"]).exits(0).json();
    let lineages = status["lineages"].as_array().expect("lineages");
    let shop = lineages.iter().find(|lineage| lineage["name"] == SHOP);
    let time = shop.and_then(|shop| shop[key].as_str());
    time.and_then(|time| time.parse().ok())
        .unwrap_or_else(|| panic!("{status}"))
}

#[test]
fn what_is_not_due_is_left_alone_and_costs_one_question_about_the_time() {
    let host = host();
    let requests = host.ca.requests().len();
    let before = host.place.tree("state/domains");
    for _ in 0..20 {
        let run = host.certd(&["renew"]).exits(0);
        assert!(run.stdout.contains("2 unchanged"), "{run}");
        assert!(run.stdout.contains("1 request to the CA"), "{run}");
    }
    let run = host.certd(&["-q", "renew"]).exits(0);
    assert_eq!(run.stdout, "");
    assert_eq!(host.ca.requests()[requests..], ["GET /directory"; 21]);
    assert_eq!(host.place.tree("state/domains"), before);
}

#[test]
fn a_new_certificate_is_asked_about_at_once() {
    let host = host();
    let kept = renewal(&host, SHOP, 1);
    let at = |key: &str| -> Timestamp {
        let text = kept[key].as_str().unwrap_or_else(|| panic!("{kept}"));
        text.parse().expect("a time")
    };
    let window: certd::time::Window =
        serde_json::from_value(kept["window"].clone()).expect("a window");
    assert!(window.start <= at("instant") && at("instant") < window.end);
    assert!(at("next_look") > Timestamp::now());
    assert_eq!(shown(&host, "renewal_at"), at("instant"));
}

#[test]
fn a_window_that_is_past_renews_and_replaces() {
    let host = host();
    suggest(&host, -48, -24);
    let run = host.certd(&["renew"]).exits(0);
    assert!(run.stdout.contains("the CA asks for it before"), "{run}");
    assert!(run.stdout.contains("https://ca.sandbox.test/why"), "{run}");
    assert!(run.stdout.contains("2 proven"), "{run}");
    assert_eq!((host.ca.orders(), host.ca.replacements()), (4, 2));
    // The window is of another certificate now: nothing is due any more.
    host.ca.set_window(None);
    may_ask(&host, SHOP);
    may_ask(&host, MESSENGER);
    let run = host.certd(&["renew"]).exits(0);
    assert_eq!(host.ca.orders(), 4, "{run}");
}

#[test]
fn an_instant_before_the_next_run_is_kept_and_one_after_it_waits() {
    let host = host();
    let config = host.place.read("domains.toml");
    let each = |pattern: &str| {
        let renewal = format!("schedule = {pattern:?}\ntimezone = \"UTC\"\njitter = \"0s\"");
        host.place
            .write("domains.toml", format!("{config}\n[renewal]\n{renewal}\n"));
    };
    // The window has begun and goes on for ten days.
    suggest(&host, 0, 240);
    each("* * * * *");
    let run = host.certd(&["renew"]).exits(0);
    assert_eq!(host.ca.orders(), 2, "{run}");
    assert!(run.stdout.contains("next: "), "{run}");
    // No other run comes before the instant.
    each("0 0 29 2 *");
    host.certd(&["renew"]).exits(0);
    assert_eq!((host.ca.orders(), host.ca.replacements()), (4, 2));
}

#[test]
fn the_next_run_may_come_as_late_as_the_timer_delays_it() {
    let host = host();
    let config = host.place.read("domains.toml");
    suggest(&host, 0, 1);
    let renewal = "schedule = \"* * * * *\"\njitter = \"2h\"";
    host.place
        .write("domains.toml", format!("{config}\n[renewal]\n{renewal}\n"));
    let run = host.certd(&["renew"]).exits(0);
    assert_eq!(host.ca.orders(), 4, "{run}");
}

#[test]
fn a_certificate_that_was_replaced_already_is_ordered_without_saying_so() {
    let host = host();
    suggest(&host, -48, -24);
    let problem = Problem::new(
        409,
        "alreadyReplaced",
        "certificate has already been replaced",
    );
    host.ca.fault(Call::NewOrder, Times::Next(1), problem);
    host.certd(&["renew"]).exits(0);
    assert_eq!(host.ca.orders(), 4);
    assert_eq!(host.ca.replacements(), 1);
}

/// RFC 9773 has the CA reflect `replaces`: one that does not has placed the order all the same
#[test]
fn a_ca_that_does_not_reflect_what_is_replaced_renews_all_the_same() {
    let host = host();
    suggest(&host, -48, -24);
    host.ca.mishap(Times::Always, Mishap::ReplacesIgnored);
    host.certd(&["renew"]).exits(0);
    assert_eq!((host.ca.orders(), host.ca.replacements()), (4, 0));
}

#[test]
fn whatever_a_ca_refuses_for_what_is_replaced_is_asked_for_once_without() {
    for (status, kind) in [
        (403, "unauthorized"),
        (404, "about:blank"),
        (409, "conflict"),
        (400, "malformed"),
    ] {
        let host = host();
        suggest(&host, -48, -24);
        let problem = Problem::new(status, kind, "what certificate?");
        host.ca.fault(Call::NewOrder, Times::Next(1), problem);
        let run = host.certd(&["renew"]).exits(0);
        assert_eq!(host.ca.orders(), 4, "{kind}: {run}");
    }
}

#[test]
fn a_ca_that_has_no_answer_stops_nothing_and_is_asked_again_later() {
    let host = host();
    let known = renewal(&host, SHOP, 1);
    may_ask(&host, SHOP);
    host.ca
        .fault(Call::RenewalInfo, Times::Always, Answer::status(502));
    host.certd(&["renew"]).exits(0);
    let kept = renewal(&host, SHOP, 1);
    assert_eq!(kept["failures"], 1);
    assert_eq!(kept["instant"], known["instant"]);
    assert!(kept["next_look"].as_str() > Some("2026-01-02"));
    assert_eq!(host.ca.orders(), 2);
}

#[test]
fn a_window_that_comes_too_late_lets_no_certificate_expire() {
    let host = host();
    // Ninety days are nearly over when the window begins.
    suggest(&host, 24 * 89, 24 * 90);
    host.certd(&["renew"]).exits(0);
    let left = shown(&host, "not_after").duration_since(shown(&host, "renewal_at"));
    assert!(left > SignedDuration::from_hours(24 * 14), "{left}");
    assert!(left < SignedDuration::from_hours(24 * 16), "{left}");
}

#[test]
fn a_domain_that_was_removed_is_listed_and_left_alone() {
    let host = host();
    let ca = Authority::root("Root");
    let gone = "old.rare-books.test";
    host.place
        .archive(gone, 1, &ca.issue(&Wish::names(&[gone])));
    host.place.go_live(gone, 1);
    let before = host.place.tree(&format!("storage/archive/{gone}"));
    let run = host.certd(&["renew"]).exits(0);
    let words = format!("{gone} is not in the configuration: certd no longer renews it");
    assert!(run.stdout.contains(&words), "{run}");
    let report = host.certd(&["renew", "--format", "json"]).exits(0).json();
    assert_eq!(report["orphans"], json!([gone]));
    assert_eq!(report["command"], "renew");
    assert_eq!(host.place.tree(&format!("storage/archive/{gone}")), before);
}

#[test]
fn a_dry_run_says_when_each_is_renewed() {
    let host = host();
    let requests = host.ca.requests().len();
    let run = host.certd(&["renew", "--dry-run"]).exits(0);
    assert_eq!(run.stdout.matches("renewal due 20").count(), 2, "{run}");
    assert_eq!(host.ca.requests().len(), requests);
}

#[test]
fn parts_of_a_chain_that_are_missing_or_damaged_are_written_again() {
    let host = host();
    let file = |name: &str| format!("storage/live/{SHOP}/{name}");
    let (cert, chain) = (
        host.place.read(&file("cert.pem")),
        host.place.read(&file("chain.pem")),
    );
    host.place.write(&file("cert.pem"), "junk");
    std::fs::remove_file(host.place.path(&file("chain.pem"))).unwrap();
    let dry = host.certd(&["renew", "--dry-run"]).exits(0);
    assert!(!dry.stdout.contains("written again"), "{dry}");
    let run = host.certd(&["renew"]).exits(0);
    assert!(
        run.stdout
            .contains("cert.pem and chain.pem of generation 1"),
        "{run}"
    );
    assert_eq!(host.place.read(&file("cert.pem")), cert);
    assert_eq!(host.place.read(&file("chain.pem")), chain);
    assert_eq!(host.ca.orders(), 2);
    let again = host.certd(&["renew"]).exits(0);
    assert!(!again.stdout.contains("written again"), "{again}");
}

#[test]
fn the_next_try_comes_before_the_certificate_ends() {
    // Ten hours of ninety days are left, and the CA has refused four orders.
    let behind = SignedDuration::from_hours(24 * 90 - 10);
    let host = Host::new(&Setting {
        clock: Clock::new(move || Timestamp::now() - behind),
        ..Setting::default()
    });
    host.obtain(&[]).exits(0);
    let file = format!("state/domains/{SHOP}.json");
    let mut record: Value = serde_json::from_str(&host.place.read(&file)).expect("JSON");
    record["order_failures"] = json!({"count": 4, "last": Timestamp::now(), "reason": "no"});
    host.place.write(&file, record.to_string());
    let report = host.certd(&["renew", "--format", "json"]).exits(75).json();
    let next: Timestamp = report["domains"][0]["next_at"]
        .as_str()
        .expect("a time")
        .parse()
        .expect("a time");
    let wait = next.duration_since(Timestamp::now());
    assert!(wait < SignedDuration::from_hours(7), "{report:#}");
}
