//! `certd run`: what the daemon does by itself, and what it is told.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use certd_sandbox::Clock;
use certd_sandbox::acme::{Call, Reuse, Window};
use certd_sandbox::docker as engine;
use certd_sandbox::fault::{Answer, Fault, Times};
use certd_sandbox::web::Site;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Daemon, Hook, Host, Setting, sites};

const SHOP: &str = "rare-books.test";
const MESSENGER: &str = "messenger.rare-books.test";

/// A host with two domains, whose CA looks at each name again
fn host() -> Host {
    Host::new(&Setting {
        reuse: Reuse::Never,
        // The CA's clock is slow, so that its certificates are two days old.
        clock: Clock::new(|| Timestamp::now() - SignedDuration::from_hours(48)),
        ..Setting::two_domains()
    })
}

/// A host whose certificates are proven already
fn proven() -> Host {
    let host = host();
    host.obtain(&[]).exits(0);
    host
}

/// The CA suggests the time between so many seconds from now
fn suggest(host: &Host, from: i64, until: i64) {
    let seconds = |seconds| Timestamp::now() + SignedDuration::from_secs(seconds);
    host.ca.set_window(Some(Window {
        start: seconds(from),
        end: seconds(until),
        explanation: None,
        retry_after: Some(Duration::from_secs(3_600)),
    }));
}

/// Restarts nginx's container, as an operator would
fn restart(host: &Host) {
    ask_docker(host, "restart");
}

/// Has the engine do something to nginx's container
fn ask_docker(host: &Host, what: &str) {
    let mut docker = UnixStream::connect(host.engine.socket()).expect("the engine listens");
    let request = format!(
        "POST /containers/web/{what} HTTP/1.1\r\nhost: docker\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    docker.write_all(request.as_bytes()).expect("it listens");
    let mut answer = String::new();
    docker.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

/// nginx serves this domain with the certificate of that lineage, from its next start on
fn misconfigure(host: &Host, name: &str, lineage: &str) {
    let sites = [SHOP, MESSENGER].map(|site| Site {
        names: match site {
            SHOP => vec![SHOP.to_owned(), format!("www.{SHOP}")],
            site => vec![site.to_owned()],
        },
        lineage: if site == name { lineage } else { site }.to_owned(),
    });
    host.web.configure(&sites).expect("files can be written");
}

/// Waits until the daemon has looked at all domains, and listens to Docker
fn wait_until_idle(host: &Host, daemon: &Daemon) {
    let listens = || {
        let requests = host.engine.requests();
        requests.iter().any(|request| request.contains("/events"))
    };
    daemon.wait_until("it waits", || daemon.passes() > 0 && listens());
}

#[test]
fn what_is_missing_is_obtained_at_once_and_then_it_waits() {
    let host = host();
    let mut daemon = Daemon::start(&host);
    daemon.wait_for("generation 1 is served for its name");
    daemon.wait_for("generation 1 is served for both names");
    wait_until_idle(&host, &daemon);
    assert_eq!(host.ca.orders(), 2);
    let status = daemon.status();
    assert!(status.contains("; at all of them: 20"), "{status}");
    assert!(status.contains("rare-books.test at 20"), "{status}");
    assert!(daemon.ends_by(Signal::SIGTERM).success(), "{daemon}");
    assert_eq!(daemon.told("STOPPING=1"), 1);
    assert_eq!(host.leftovers(), [""; 0]);
}

#[test]
fn each_certificate_is_renewed_at_its_own_instant() {
    let host = host();
    // After the first pass, also on a machine that is busy.
    suggest(&host, 8, 10);
    let daemon = Daemon::start(&host);
    daemon.wait_for("generation 2 is served for its name");
    daemon.wait_for("generation 2 is served for both names");
    // As old as the CA makes them, they are due again as long as the window lasts.
    let (orders, replacements) = (host.ca.orders(), host.ca.replacements());
    assert!(orders >= 4, "{orders}");
    assert_eq!(replacements, orders - 2);
}

#[test]
fn a_window_that_is_past_for_good_is_no_reason_to_order_without_end() {
    let host = proven();
    suggest(&host, -3_600, -1_800);
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    let orders = host.ca.orders();
    // Each look that follows is a minute off, at least.
    let status = daemon.status();
    daemon.wait_for_a_pass(|| daemon.signal(Signal::SIGHUP));
    assert!(host.ca.orders() <= orders + 2, "{status}\n{daemon}");
}

#[test]
fn a_hangup_reads_the_configuration_and_mistakes_change_nothing() {
    let host = Host::new(&Setting::two_domains());
    let both = host.place.read("domains.toml");
    let second = both.rfind("[[domain]]").expect("two domains");
    let one = &both[..second];
    host.place.write("domains.toml", one);
    let sites = |setting: &Setting| {
        let sites = sites(setting);
        host.web.configure(&sites).expect("files can be written");
    };
    sites(&Setting::default());
    let daemon = Daemon::start(&host);
    daemon.wait_for("generation 1 is served for both names");

    host.place
        .write("domains.toml", format!("jobbs = 1\n{one}"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("domains.toml is refused, the old one stays in force");
    daemon.wait_for("did you mean `jobs`?");
    assert_eq!(daemon.told("RELOADING=1"), 1);
    daemon.wait_until("it is ready again", || daemon.told("READY=1") == 2);
    let refused = || daemon.status().starts_with("domains.toml is refused");
    daemon.wait_until("it says so", refused);
    assert_eq!(host.ca.orders(), 1);

    host.place.write("domains.toml", &both);
    sites(&Setting::two_domains());
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("generation 1 is served for its name");
    assert_eq!(host.ca.orders(), 2);
    let no_domain = &one[..one.find("[[domain]]").expect("a domain")];
    host.place.write("domains.toml", no_domain);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("has a mistake");
}

#[test]
fn a_hangup_that_names_the_same_state_by_another_path_is_taken() {
    let host = proven();
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    symlink(host.place.path("state"), host.place.path("same")).expect("it is ours");
    let text = host.place.read("domains.toml");
    let again = text.replace("state = \"state\"", "state = \"same\"");
    assert_ne!(again, text);
    host.place.write("domains.toml", again);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("domains.toml is read again");
    // It is the only one there as before.
    let run = host.certd(&["run"]).exits(75);
    assert!(run.stderr.contains("another certd runs already"), "{run}");
}

#[test]
fn a_container_that_does_not_come_back_is_told_and_status_says_when_it_was_seen_last() {
    let host = proven();
    let status = || {
        let report = host.certd(&["status", "--format", "json"]).exits(0).json();
        report["lineages"][0].clone()
    };
    let proven_at =
        |lineage: &Value| -> Timestamp { lineage["proven_at"].as_str().unwrap().parse().unwrap() };
    let before = proven_at(&status());
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    ask_docker(&host, "kill?signal=TERM");
    daemon.wait_for("INFO a container has stopped");
    daemon.wait_for("ERROR a container has stopped 10 s ago and not started again");
    daemon.wait_until("the look has failed", || {
        status()["last_result"]["verdict"] == "failed"
    });
    assert!(proven_at(&status()) > before, "{}", status());
    let text = host.certd(&["status"]).exits(0).stdout;
    assert!(text.contains("is live, last seen served"), "{text}");
    // What is seen later has disproved it.
    restart(&host);
    host.obtain(&[]).exits(0);
    assert_eq!(status()["last_result"]["verdict"], "well");
}

#[test]
fn the_memory_of_the_daemon_cannot_be_dumped() {
    let host = proven();
    let socket = host.place.path("notify.sock");
    let daemon = Daemon::start_with(&host, |command| {
        *command = host.place.certd_without_rights(&["run"]);
        command.env("NOTIFY_SOCKET", socket);
    });
    // What belongs to a process that must not be dumped is root's (proc(5)).
    let environment = std::fs::metadata(format!("/proc/{}/environ", daemon.id()));
    assert_eq!(environment.expect("it runs").uid(), 0);
}

#[test]
fn somebody_elses_certificate_is_told_and_nothing_is_reloaded() {
    let host = proven();
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    misconfigure(&host, MESSENGER, SHOP);
    restart(&host);
    daemon.wait_for("INFO a container has started again");
    assert!(!daemon.log().contains("not started again"), "{daemon}");
    daemon.wait_for("code=\"proof.other_lineage\"");
    daemon.wait_for("ssl_certificate");
    let log = daemon.log();
    assert!(log.contains("ERROR"), "{log}");
    assert!(log.contains("ssl_certificate"), "{log}");
    assert_eq!(host.engine.commands(&["nginx", "-s", "reload"]), 1);
    assert_eq!(host.ca.orders(), 2);
}

#[test]
fn what_changes_is_told_and_a_good_sweep_beats() {
    let (hook, beats) = (Hook::start(), Hook::start());
    let host = proven();
    let config = host.place.read("domains.toml");
    let told = format!(
        "heartbeat = \"{}\"\n{config}[[notify]]\nkind = \"webhook\"\nurl = \"{}\"\n",
        beats.url("/beat"),
        hook.url("/alert"),
    );
    host.place.write("domains.toml", told);
    let daemon = Daemon::start(&host);
    daemon.wait_until("a heartbeat", || beats.requests().len() == 1);
    wait_until_idle(&host, &daemon);
    assert!(hook.told().is_empty(), "{:?}", hook.told());

    misconfigure(&host, MESSENGER, SHOP);
    restart(&host);
    let wrong = vec![vec![format!("wrong_certificate {MESSENGER}")]];
    daemon.wait_until("an alert", || hook.told() == wrong);
    let status = || host.certd(&["status"]).exits(0).stdout;
    assert!(status().contains("  drifted  "), "{}", status());
    // A sweep in which something is wrong is no good one.
    daemon.wait_for_a_pass(|| daemon.signal(Signal::SIGHUP));
    assert!(!daemon.log().contains("well again"), "{daemon}");

    misconfigure(&host, MESSENGER, MESSENGER);
    host.web.reload().expect("its configuration is right");
    daemon.signal(Signal::SIGHUP);
    let recovered = [wrong, vec![vec![format!("recovered {MESSENGER}")]]].concat();
    daemon.wait_until("its end", || hook.told() == recovered);
    daemon.wait_for("well again");
    // Where a sweep saw a trouble, a sweep sees its end.
    assert!(!status().contains("drifted"), "{}", status());
    daemon.wait_until("another heartbeat", || beats.requests().len() == 2);
}

#[test]
fn an_older_generation_that_is_served_is_mended_by_a_reload() {
    let host = proven();
    host.certd(&["obtain", MESSENGER, "--force"]).exits(0);
    let live = host.place.path("storage/live").join(MESSENGER);
    let point_at = |generation: u32| {
        std::fs::remove_file(&live).expect("a link");
        let target = format!("../archive/{MESSENGER}/{generation}");
        symlink(target, &live).expect("it is writable");
    };
    point_at(1);
    host.web.restart().expect("it starts");
    point_at(2);
    let daemon = Daemon::start(&host);
    daemon.wait_for("was still served with generation 1");
    daemon.wait_for("generation 2 is served for its name");
    assert_eq!(host.ca.orders(), 3);
}

#[test]
fn a_command_beside_an_idle_daemon_just_works() {
    let host = proven();
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    let run = host.certd(&["obtain", SHOP, "--force"]).exits(0);
    assert!(run.stdout.contains("1 proven"), "{run}");
    let run = host.certd(&["renew"]).exits(0);
    assert!(run.stdout.contains("2 unchanged"), "{run}");
}

#[test]
fn a_command_beside_a_pass_gives_up_and_the_daemon_drains() {
    let host = host();
    host.ca.fault(Call::Challenge, Times::Always, Fault::Silent);
    let mut daemon = Daemon::start(&host);
    let asked = || {
        let requests = host.ca.requests();
        requests
            .iter()
            .any(|line| line.starts_with("POST /challenge/"))
    };
    daemon.wait_until("the CA is asked to look", asked);
    let run = host.certd(&["obtain", SHOP]).exits(75);
    assert!(run.stderr.contains("another certd is at work"), "{run}");
    assert!(daemon.ends_by(Signal::SIGTERM).success(), "{daemon}");
    daemon.wait_for("the next start goes on with it");
    assert_eq!(host.leftovers(), [""; 0]);
    host.ca.behave();
    let orders = host.ca.orders();
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    assert_eq!((host.ca.orders(), host.ca.issued().len()), (orders, 2));
}

#[test]
fn a_ca_that_is_down_is_tried_again_and_the_daemon_stays() {
    let host = host();
    host.ca
        .fault(Call::Directory, Times::Always, Answer::status(503));
    let daemon = Daemon::start(&host);
    daemon.wait_for("acme.");
    wait_until_idle(&host, &daemon);
    assert_eq!(host.ca.orders(), 0);
    host.ca.behave();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("generation 1 is served for its name");
}

#[test]
fn in_the_journal_each_line_has_a_priority_and_what_to_do_stands_alone() {
    let host = proven();
    misconfigure(&host, MESSENGER, SHOP);
    host.web.restart().expect("it starts");
    let daemon = Daemon::start_in_journal(&host);
    daemon.wait_for("code=\"proof.other_lineage\"");
    wait_until_idle(&host, &daemon);
    let log = daemon.log();
    let mut lines = log.lines();
    assert!(
        lines.all(|line| line.starts_with("<3>") || line.starts_with("<6>")),
        "{log}"
    );
    let first = log.lines().next().expect("a line");
    assert!(first.starts_with("<6>certd runs domains=2"), "{log}");
    let seen = log
        .lines()
        .position(|line| line.contains("proof.other_lineage"));
    let failure: Vec<&str> = log.lines().skip(seen.expect("a line")).collect();
    assert!(
        failure[0].starts_with("<3>") && !failure[0].contains("->"),
        "{log}"
    );
    assert!(failure[1].starts_with("<3>-> "), "{log}");
    // They can be copied: nothing is added to them.
    let mut copied = failure
        .iter()
        .filter(|line| line.contains("ssl_certificate"));
    assert!(copied.clone().count() > 1, "{log}");
    assert!(copied.all(|line| line.ends_with(';')), "{log}");
    drop(daemon);
    // Nor does one that does not start go by without.
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", format!("emial = 1\n{config}"));
    let log = Daemon::refused_in_journal(&host);
    assert!(log.contains("did you mean"), "{log}");
    assert!(log.lines().all(|line| line.starts_with("<3>")), "{log}");
    host.place.write("domains.toml", config);
    // Elsewhere nobody adds the time.
    let daemon = Daemon::start_with(&host, |command| {
        command.env("JOURNAL_STREAM", "8:12345");
    });
    daemon.wait_for("  INFO certd runs");
}

/// A directory where a file of certd's should be, in which nothing can be written
fn block(host: &Host, file: &str) {
    // It may not have been written yet.
    let _ = std::fs::remove_file(host.place.path(file));
    std::fs::create_dir(host.place.path(file)).expect("the place is writable");
}

#[test]
fn passes_that_do_not_come_about_are_told_from_the_second_on_and_so_is_their_end() {
    let hook = Hook::start();
    let host = proven();
    let config = host.place.read("domains.toml");
    let channel = format!(
        "[[notify]]\nkind = \"webhook\"\nurl = \"{}\"\n",
        hook.url("/")
    );
    host.place.write("domains.toml", config + &channel);
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    // Neither a pass nor the memory of alerts is possible then.
    block(&host, "state/lock");
    block(&host, "state/alerts.json");
    let look = || daemon.wait_for_a_pass(|| daemon.signal(Signal::SIGHUP));
    look();
    daemon.wait_for("the pass is put off");
    assert!(hook.told().is_empty(), "{daemon}");
    let both = |event: &str| vec![format!("{event} {MESSENGER}"), format!("{event} {SHOP}")];
    for _ in 0..3 {
        look();
        assert_eq!(hook.told(), [both("failed")], "{daemon}");
    }
    let entry = &hook.requests()[0].json()["domains"][0];
    assert_eq!(entry["code"], "run.lock");
    let summary = entry["summary"].as_str().expect("words");
    assert!(
        summary.starts_with("no pass comes about: the lock cannot be taken"),
        "{summary}"
    );
    assert!(entry["not_after"].is_string(), "{entry}");
    std::fs::remove_dir(host.place.path("state/lock")).expect("it is empty");
    look();
    assert_eq!(hook.told(), [both("failed"), both("recovered")], "{daemon}");
}

#[test]
fn a_second_daemon_does_not_start() {
    let host = proven();
    let daemon = Daemon::start(&host);
    let run = host.certd(&["run"]).exits(75);
    assert!(run.stderr.contains("another certd runs already"), "{run}");
    drop(daemon);
    Daemon::start(&host);
}

/// A messenger that was issued, and whose server block names the shop's certificate
fn undeployable(reload: &'static str) -> Host {
    let host = Host::new(&Setting {
        nginx: reload,
        ..Setting::two_domains()
    });
    host.obtain(&[]).exits(0);
    misconfigure(&host, MESSENGER, SHOP);
    host.certd(&["obtain", MESSENGER, "--force"]).exits(1);
    host
}

#[test]
fn a_deployment_that_fails_is_not_tried_again_by_each_start_of_its_container() {
    let host = undeployable("container = \"web\"\nreload = \"restart\"");
    let restarts = || {
        let requests = host.engine.requests();
        let is_restart = |request: &&String| request.contains("/restart");
        requests.iter().filter(is_restart).count()
    };
    let before = restarts();
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    assert_eq!(restarts(), before, "{daemon}");
    daemon.wait_for("generation 2 is tried again at");
    // An operator who has read it again has mended something.
    misconfigure(&host, MESSENGER, MESSENGER);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("generation 2 is served for its name");
    daemon.wait_for("a container has started");
    assert!(restarts() > before);
}

/// A host whose messenger is a target of its own, through the same engine and container
fn two_targets() -> Host {
    let host = proven();
    let config = host.place.read("domains.toml");
    let messenger = format!("name = \"{MESSENGER}\"\n");
    let nginx = format!(
        "{messenger}nginx = {{ docker = \"{}\", container = \"web\", reload = \"exec\" }}\n",
        host.engine.socket().display()
    );
    host.place
        .write("domains.toml", config.replace(&messenger, &nginx));
    host
}

/// Has nginx serve each domain with the other's certificate, from a restart on
fn exchange(host: &Host) {
    let sites = [(SHOP, MESSENGER), (MESSENGER, SHOP)].map(|(name, lineage)| Site {
        names: vec![name.to_owned()],
        lineage: lineage.to_owned(),
    });
    host.web.configure(&sites).expect("files can be written");
    restart(host);
}

fn wait_for_both(daemon: &Daemon) {
    let is_told = |name: &str| {
        let log = daemon.log();
        let mut failures = log
            .lines()
            .filter(|line| line.contains("proof.other_lineage"));
        failures.any(|line| line.contains(&format!("domain=\"{name}\"")))
    };
    daemon.wait_until("both are looked at", || is_told(SHOP) && is_told(MESSENGER));
}

#[test]
fn an_engine_is_listened_to_once_for_all_its_targets() {
    let host = two_targets();
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    exchange(&host);
    wait_for_both(&daemon);
    let log = daemon.log();
    assert_eq!(log.matches("a container has started").count(), 1, "{log}");
    let requests = host.engine.requests();
    let streams = requests.iter().filter(|line| line.contains("/events"));
    assert_eq!(streams.count(), 1, "{requests:?}");
}

#[test]
fn what_started_while_an_engine_refused_its_events_is_looked_at_later() {
    let host = two_targets();
    host.engine
        .fault(engine::Call::Events, Times::Always, Answer::status(403));
    let daemon = Daemon::start(&host);
    wait_until_idle(&host, &daemon);
    daemon.wait_for("containers that start and stop are not noticed");
    exchange(&host);
    host.engine.behave();
    wait_for_both(&daemon);
    let log = daemon.log();
    assert!(!log.contains("a container has started"), "{log}");
    assert_eq!(log.matches("are not noticed").count(), 1, "{log}");
}

#[test]
fn a_docker_that_was_away_for_a_moment_leaves_no_trace() {
    let host = proven();
    host.engine
        .fault(engine::Call::Inspect, Times::Next(2), Answer::status(500));
    let daemon = Daemon::start(&host);
    daemon.wait_for("code=\"docker.");
    daemon.wait_for_a_pass(|| daemon.signal(Signal::SIGHUP));
    let status = daemon.status();
    let minute = (Timestamp::now() + SignedDuration::from_mins(2)).to_string();
    assert!(!status.contains(&minute[11..16]), "{status}");
    let records = || {
        let record = |name| host.place.read(&format!("state/domains/{name}.json"));
        [SHOP, MESSENGER].map(record)
    };
    for record in records() {
        let failures = serde_json::from_str::<Value>(&record).expect("JSON");
        assert_eq!(failures["deploy_failures"]["count"], 0, "{record}");
    }
    // The first pass that sees it served takes back that it was not seen.
    daemon.wait_for_a_pass(|| daemon.signal(Signal::SIGHUP));
    for record in records() {
        assert!(!record.contains("docker"), "{record}");
        assert!(record.contains("\"unchanged\""), "{record}");
    }
}

#[test]
fn a_domain_without_nginx_is_made_live() {
    let host = Host::new(&Setting::default());
    let config = host.place.read("domains.toml");
    let without = config.replace("[nginx]", "[ignored]");
    let (before, after) = without.split_once("[ignored]").expect("it is there");
    let domains = after.find("[[domain]]").expect("a domain");
    host.place
        .write("domains.toml", format!("{before}{}", &after[domains..]));
    let daemon = Daemon::start(&host);
    daemon.wait_for("generation 1 is live");
    assert_eq!(host.ca.orders(), 1);
}

#[test]
fn an_interrupt_ends_it_at_once() {
    let host = proven();
    let mut daemon = Daemon::start(&host);
    assert_eq!(daemon.ends_by(Signal::SIGINT).code(), Some(130));
}

#[test]
fn systemd_is_told_that_it_is_alive() {
    let host = proven();
    let daemon = Daemon::start_with(&host, |command| {
        command.env("WATCHDOG_USEC", "100000");
    });
    daemon.wait_until("three signs of life", || daemon.told("WATCHDOG=1") >= 3);
    assert_eq!(daemon.told("READY=1"), 1);
}

#[test]
fn it_does_not_start_without_what_it_needs() {
    let host = host();
    host.place
        .write("domains.toml", "terms_of_service_agreed = 1\n");
    host.certd(&["run"]).exits(2);
    host.place.write(
        "domains.toml",
        "[[domain]]\nname = \"a.test\"\nenabled = false\n",
    );
    let run = host.certd(&["run"]).exits(2);
    assert!(run.stderr.contains("no enabled domain"), "{run}");
    host.place.write(
        "domains.toml",
        "state = \"domains.toml\"\nstorage = \"storage\"\n[[domain]]\nname = \"a.test\"\n",
    );
    host.certd(&["run"]).exits(1);
}
