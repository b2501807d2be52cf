//! Alerts: `[[notify]]` and `heartbeat`, against servers on the loopback.

use std::fs::File;
use std::time::{Duration, SystemTime};

use certd_sandbox::Clock;
use certd_sandbox::acme::{Call, Limit, Problem};
use certd_sandbox::fault::{Answer, Times};
use certd_sandbox::web::Site;
use jiff::{SignedDuration, Timestamp};
use nix::unistd::gethostname;
use serde_json::{Value, json};

use crate::support::{Hook, Host, Reply, Setting};

mod channels;

const SHOP: &str = "rare-books.test";
const MESSENGER: &str = "messenger.rare-books.test";

/// A host with two domains that tells these channels
fn host(channels: &str) -> Host {
    host_with(&Setting::two_domains(), channels)
}

fn host_with(setting: &Setting, channels: &str) -> Host {
    let host = Host::new(setting);
    add(&host, channels);
    host
}

fn add(host: &Host, channels: &str) {
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", format!("{config}{channels}"));
}

/// What a configuration needs beside channels
const DOMAIN: &str = "[[domain]]\nname = \"shop.test\"\n";

fn webhook(url: &str) -> String {
    format!("[[notify]]\nkind = \"webhook\"\nurl = \"{url}\"\n")
}

/// The CA is down
fn break_down(host: &Host) {
    host.ca
        .fault(Call::Directory, Times::Always, Answer::status(502));
}

/// So many hours pass, as far as the memory of alerts is concerned
fn let_pass(host: &Host, hours: i64) {
    let memory: Value = serde_json::from_str(&host.place.read("state/alerts.json")).expect("JSON");
    let memory = earlier(memory, SignedDuration::from_hours(hours));
    host.place.write("state/alerts.json", memory.to_string());
}

fn earlier(value: Value, by: SignedDuration) -> Value {
    match value {
        Value::String(text) => match text.parse::<Timestamp>() {
            Ok(at) => json!(at - by),
            Err(_) => Value::String(text),
        },
        Value::Array(values) => values.into_iter().map(|value| earlier(value, by)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(
                fields
                    .map(|(key, value)| (key, earlier(value, by)))
                    .collect(),
            )
        }
        other => other,
    }
}

#[test]
fn a_failure_is_told_once_then_daily_and_at_last_that_it_is_over() {
    let hook = Hook::start();
    let host = host(&webhook(&hook.url("/alerts")));
    let both = |event: &str| vec![format!("{event} {MESSENGER}"), format!("{event} {SHOP}")];
    break_down(&host);
    for _ in 0..3 {
        host.certd(&["renew"]).exits(1);
        assert_eq!(hook.told(), [both("failed")]);
    }
    for day in 2..4 {
        let_pass(&host, 24);
        host.certd(&["renew"]).exits(1);
        assert_eq!(hook.told().len(), day);
        assert_eq!(hook.told()[day - 1], both("still_failing"));
    }
    host.ca.behave();
    let run = host.certd(&["renew"]).exits(0);
    assert_eq!(run.stderr, "");
    assert_eq!(hook.told().last(), Some(&both("recovered")));
    host.certd(&["renew"]).exits(0);
    assert_eq!(hook.told().len(), 4);
    // What was told counts for a day, and is forgotten then.
    assert!(host.place.path("state/alerts.json").exists());
    let_pass(&host, 24);
    host.certd(&["renew"]).exits(0);
    assert_eq!(
        host.place.read("state/alerts.json"),
        "{\n  \"version\": 1,\n  \"domains\": {}\n}"
    );
}

#[test]
fn where_all_is_well_nothing_is_remembered_and_nobody_is_asked() {
    let hook = Hook::start();
    let host = host(&webhook(&hook.url("/")));
    host.certd(&["renew"]).exits(0);
    let before = host.place.tree("state/domains");
    host.certd(&["renew"]).exits(0);
    assert_eq!(host.place.tree("state/domains"), before);
    assert!(!host.place.path("state/alerts.json").exists());
    assert_eq!(hook.requests().len(), 0);
}

#[test]
fn a_message_tells_programs_all_there_is_to_know() {
    let hook = Hook::start();
    let host = host(&format!(
        "{}headers_file = \"headers\"\n",
        webhook(&hook.url("/alerts?id=7"))
    ));
    host.place.write_secret(
        "headers",
        "# for the gateway\nAuthorization: Bearer s3cret\n\nX-Team: web\n",
    );
    host.certd(&["renew"]).exits(0);
    // Names are added to one domain, and the CA is down.
    let config = host.place.read("domains.toml");
    let config = config.replace(
        "\"www.rare-books.test\"",
        "\"www.rare-books.test\", \"a.rare-books.test\"",
    );
    host.place.write("domains.toml", config);
    break_down(&host);
    host.certd(&["renew"]).exits(1);
    let [request] = &hook.requests()[..] else {
        panic!("{:?}", hook.requests());
    };
    assert_eq!(
        (request.line().as_str(), request.query.as_str()),
        ("POST /alerts", "id=7")
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
    assert_eq!(request.header("x-team"), Some("web"));
    let mut message = request.json();
    assert!(message["time"].as_str() > Some("2026"));
    let not_after = message["domains"][0]["not_after"].take();
    assert!(not_after.as_str() > Some("2026"), "{not_after}");
    let since = message["domains"][0]["since"].take();
    assert_eq!(since, message["time"]);
    message["time"] = json!("[TIME]");
    let text = serde_json::to_string_pretty(&message).expect("JSON");
    snapshot!(
        host.place,
        "message",
        without_host(&text).replace(&host.ca.directory(), "[CA]")
    );
}

/// The host's name is another on each host
fn without_host(text: &str) -> String {
    let name = gethostname().expect("it has one");
    text.replace(
        &format!("certd on {}", name.to_string_lossy()),
        "certd on [HOST]",
    )
    .replace(&format!("` on {}", name.to_string_lossy()), "` on [HOST]")
    .replace(&format!("\"{}\"", name.to_string_lossy()), "\"[HOST]\"")
}

#[test]
fn a_paused_account_is_told_as_such() {
    let hook = Hook::start();
    let host = host(&webhook(&hook.url("/")));
    let paused = Problem::paused(SHOP, "https://ca.test/unpause?jwt=x");
    host.ca.fault(Call::NewOrder, Times::Always, paused);
    host.certd(&["renew"]).exits(1);
    assert_eq!(
        hook.told(),
        [[format!("paused {MESSENGER}"), format!("paused {SHOP}")]]
    );
    let message = hook.requests()[0].json();
    assert_eq!(message["domains"][0]["code"], "acme.paused");
    let cure = message["domains"][0]["cure"].as_str().unwrap_or_default();
    assert!(cure.contains("https://ca.test/unpause?jwt=x"), "{cure}");
    // The next run does not ask the CA, and has nothing new to tell.
    host.certd(&["renew"]).exits(1);
    assert_eq!(hook.requests().len(), 1);
}

#[test]
fn a_wrong_certificate_is_told_as_such() {
    let hook = Hook::start();
    let host = host(&webhook(&hook.url("/")));
    let site = |name: &str, lineage: &str| Site {
        names: vec![name.to_owned(), format!("www.{name}")],
        lineage: lineage.to_owned(),
    };
    let sites = |lineage| [site(SHOP, SHOP), site(MESSENGER, lineage)];
    host.web
        .configure(&sites(SHOP))
        .expect("files can be written");
    host.certd(&["renew"]).exits(1);
    assert_eq!(hook.told(), [[format!("wrong_certificate {MESSENGER}")]]);
    host.web
        .configure(&sites(MESSENGER))
        .expect("files can be written");
    host.certd(&["renew"]).exits(0);
    assert_eq!(hook.told()[1], [format!("recovered {MESSENGER}")]);
}

#[test]
fn a_limit_alone_is_not_told_until_time_runs_out() {
    let hook = Hook::start();
    // Certificates are half a quarter old, or have a tenth of their life left.
    for (age, expected) in [(65, None), (81, Some(format!("expiring {SHOP}")))] {
        let setting = Setting {
            clock: Clock::new(move || Timestamp::now() - SignedDuration::from_hours(24 * age)),
            ..Setting::default()
        };
        let host = host_with(&setting, &webhook(&hook.url("/")));
        host.certd(&["obtain", "--all"]).exits(0);
        let limited = Problem::limited(Limit::Orders, Timestamp::now(), Duration::from_secs(7200));
        host.ca.fault(Call::NewOrder, Times::Always, limited);
        for _ in 0..2 {
            host.certd(&["renew"]).exits(75);
        }
        let told: Vec<String> = hook.told().into_iter().flatten().collect();
        assert_eq!(told, Vec::from_iter(expected), "{age} days");
    }
    let text = hook.requests()[0].json()["text"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(
        text.contains("rare-books.test: about to expire\n  its certificate is valid until"),
        "{text}"
    );
    assert!(text.contains("too many new orders"), "{text}");
}

#[test]
fn a_domain_that_waits_for_its_first_certificate_is_told() {
    let hook = Hook::start();
    let host = host_with(&Setting::default(), &webhook(&hook.url("/")));
    let limited = Problem::limited(Limit::Orders, Timestamp::now(), Duration::from_secs(7200));
    host.ca.fault(Call::NewOrder, Times::Always, limited);
    for _ in 0..2 {
        host.certd(&["renew"]).exits(75);
        assert_eq!(hook.told(), [[format!("failed {SHOP}")]]);
    }
    let_pass(&host, 24);
    host.certd(&["renew"]).exits(75);
    assert_eq!(hook.told()[1], [format!("still_failing {SHOP}")]);
    host.ca.behave();
    host.certd(&["obtain", SHOP, "--force", "--skip-check", "budget"])
        .exits(0);
    host.certd(&["renew"]).exits(0);
    assert_eq!(hook.told()[2], [format!("recovered {SHOP}")]);
}

#[test]
fn a_run_of_the_timer_that_does_not_come_about_is_told() {
    let hook = Hook::start();
    let host = host(&webhook(&hook.url("/")));
    host.certd(&["renew"]).exits(0);
    // A command is at work for a moment, or hangs.
    let lock = host.place.path("state/lock");
    let held = File::open(&lock).expect("it was made");
    held.lock().expect("nobody has it");
    host.certd(&["renew"]).exits(75);
    assert!(hook.told().is_empty());
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 3600);
    let file = File::options().write(true).open(&lock).unwrap();
    file.set_modified(long_ago).unwrap();
    let both = |event: &str| vec![format!("{event} {MESSENGER}"), format!("{event} {SHOP}")];
    for _ in 0..2 {
        host.certd(&["renew"]).exits(75);
        assert_eq!(hook.told(), [both("failed")]);
    }
    drop(held);
    host.certd(&["renew"]).exits(0);
    assert_eq!(hook.told().last(), Some(&both("recovered")));
    // One that cannot be taken at all.
    let_pass(&host, 24);
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    host.certd(&["renew", "--dry-run"]).exits(0);
    host.certd(&["renew"]).exits(1);
    let told = hook.requests();
    let entry = &told.last().expect("a message").json()["domains"][0];
    assert_eq!(entry["code"], "run.lock");
    // Nor can the storage be used that is not mounted.
    std::fs::remove_dir(&lock).unwrap();
    let_pass(&host, 24);
    std::fs::rename(host.place.path("storage"), host.place.path("away")).unwrap();
    host.certd(&["renew"]).exits(1);
    let told = hook.requests();
    let entry = &told.last().expect("a message").json()["domains"][0];
    assert_eq!(entry["code"], "store.storage_missing");
}

#[test]
fn a_channel_hears_what_it_asked_for() {
    let (all, ends) = (Hook::start(), Hook::start());
    let host = host(&format!(
        "{}{}on = [\"recovered\", \"still_failing\"]\n",
        webhook(&all.url("/")),
        webhook(&ends.url("/"))
    ));
    break_down(&host);
    host.certd(&["renew"]).exits(1);
    host.ca.behave();
    host.certd(&["renew"]).exits(0);
    assert_eq!(all.requests().len(), 2);
    // Who was told of no failure is told of no recovery.
    assert_eq!(ends.requests().len(), 0);
}

#[test]
fn what_a_channel_does_not_take_is_told_by_the_next_run_and_fails_none() {
    // The first message is taken; of the others three attempts come to nothing.
    let hook = Hook::answering(|number| match number {
        0 | 4 => Reply::new(204, "text/plain", ""),
        _ => Reply::new(500, "text/plain", "/s3cret is broken"),
    });
    let host = host(&webhook(&hook.url("/s3cret")));
    break_down(&host);
    let run = host.certd(&["renew"]).exits(1);
    assert_eq!(run.stderr, "");
    host.ca.behave();
    // A renewal is one all the same.
    let run = host.certd(&["-q", "renew"]).exits(0);
    assert_eq!(host.ca.orders(), 2);
    insta::assert_snapshot!(run.stderr, @r"
    ! notify.webhook
      webhook 127.0.0.1: answered 500: /... is broken
      -> see why the other side fails; `certd notify --test` tries it
    ");
    assert_eq!(hook.requests().len(), 4);
    host.certd(&["renew"]).exits(0);
    assert_eq!(
        hook.told()[4],
        [
            format!("recovered {MESSENGER}"),
            format!("recovered {SHOP}")
        ]
    );
}

#[test]
fn the_heartbeat_is_heard_after_each_good_run_and_no_other() {
    let heart = Hook::start();
    let host = host("");
    let config = host.place.read("domains.toml");
    let heartbeat = format!("heartbeat = \"{}\"\n", heart.url("/ping/s3cret"));
    host.place.write("domains.toml", heartbeat + &config);
    host.certd(&["renew", "--dry-run"]).exits(0);
    host.certd(&["obtain", "--all"]).exits(0);
    assert_eq!(heart.requests().len(), 0);
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", format!("key_type = \"p384\"\n{config}"));
    break_down(&host);
    host.certd(&["renew"]).exits(1);
    assert_eq!(heart.requests().len(), 0);
    host.ca.behave();
    for beats in 1..3 {
        host.certd(&["renew"]).exits(0);
        assert_eq!(heart.requests().len(), beats);
    }
    assert_eq!(heart.requests()[0].line(), "GET /ping/s3cret");
    drop(heart);
    let run = host.certd(&["renew"]).exits(0);
    insta::assert_snapshot!(run.stderr, @r"
    ! notify.heartbeat
      heartbeat 127.0.0.1: cannot be reached: Connection refused
      -> see that the other side runs, and that this host may connect there
    ");
}

#[test]
fn a_memory_that_is_damaged_is_told_and_stops_no_alert() {
    let hook = Hook::start();
    let host = host(&webhook(&hook.url("/")));
    host.certd(&["renew"]).exits(0);
    host.place.write("state/alerts.json", "{\"domains\": 7");
    let run = host.certd(&["renew"]).exits(0);
    snapshot!(host.place, "memory_damaged", run.stderr);
    // It is written anew.
    assert_eq!(host.certd(&["renew"]).exits(0).stderr, "");
    // One of a newer certd is left alone.
    let newer = "{\"version\": 2, \"domains\": {}}";
    host.place.write("state/alerts.json", newer);
    break_down(&host);
    let config = host.place.read("domains.toml");
    host.place.write(
        "domains.toml",
        config.replace("\"www.rare-books.test\"", ""),
    );
    let run = host.certd(&["renew"]).exits(1);
    assert!(
        run.stderr.contains("has version 2, this certd knows 1"),
        "{run}"
    );
    assert_eq!(hook.told(), [[format!("failed {SHOP}")]]);
    assert_eq!(host.place.read("state/alerts.json"), newer);
}

#[test]
fn a_domain_that_is_removed_or_disabled_is_forgotten() {
    let hook = Hook::start();
    let host = host(&webhook(&hook.url("/")));
    host.certd(&["renew"]).exits(0);
    let config = format!("key_type = \"p384\"\n{}", host.place.read("domains.toml"));
    host.place.write("domains.toml", &config);
    break_down(&host);
    host.certd(&["renew"]).exits(1);
    let without = config.replace(
        "name = \"messenger.rare-books.test\"",
        "name = \"messenger.rare-books.test\"\nenabled = false",
    );
    host.place.write("domains.toml", without);
    host.certd(&["renew"]).exits(1);
    let memory = host.place.read("state/alerts.json");
    assert!(memory.contains("\"rare-books.test\""), "{memory}");
    assert!(!memory.contains(MESSENGER), "{memory}");
    // Which URL was told is not to be read there.
    assert!(!memory.contains("127.0.0.1"), "{memory}");
    host.ca.behave();
    host.certd(&["renew"]).exits(0);
    assert_eq!(hook.told()[1], [format!("recovered {SHOP}")]);
}
