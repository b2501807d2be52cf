//! `certd demo`: the whole loop in the sandbox.

use std::fs;
use std::io::BufReader;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Place, Run, over_80_columns};

/// A place whose temporary files lie below it, so that what is left behind shows
fn place() -> Place {
    let place = Place::new();
    fs::create_dir(place.path("tmp")).expect("it can be made");
    place
}

fn demo(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.certd(&[&["demo"], arguments].concat());
    command.env("TMPDIR", place.path("tmp"));
    command
}

#[track_caller]
fn assert_nothing_left(place: &Place) {
    let left: Vec<_> = fs::read_dir(place.path("tmp"))
        .expect("it is there")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_whole_loop_is_told_in_forty_lines() {
    let place = place();
    let run = Run::of(&mut demo(&place, &[])).exits(0);
    assert_eq!(run.stderr, "");
    assert!(run.stdout.lines().count() <= 40, "{run}");
    // Lines of nginx's configuration are to be copied, and stay whole.
    let prose = over_80_columns(&run.stdout)
        .into_iter()
        .filter(|line| !line.contains("ssl_certificate"));
    assert_eq!(prose.collect::<Vec<_>>(), [""; 0]);
    assert_nothing_left(&place);
    let mut settings = place.filters();
    settings.add_filter(r"certd-demo-\w+", "certd-demo-[NAME]");
    settings.add_filter(r"(  |, )[0-9a-f]{8}\b", "${1}[FINGERPRINT]");
    settings.bind(|| assert_snapshot!("story", run.stdout));
}

#[test]
fn its_report_shows_a_certificate_of_its_own_for_each_domain_and_new_ones_after_renewal() {
    let place = place();
    let report = Run::of(&mut demo(&place, &["--format", "json"]))
        .exits(0)
        .json();
    assert_eq!(report["command"], "demo");
    let acts = report["acts"].as_array().unwrap();
    let steps: Vec<&Value> = acts
        .iter()
        .flat_map(|act| act["steps"].as_array().unwrap())
        .collect();
    for step in &steps {
        assert_eq!(step["ending"], "as_told", "{step:#}");
    }
    let typed: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["typed"].as_str())
        .collect();
    assert_eq!(
        typed,
        [
            "certd check",
            "certd obtain --all",
            "certd verify messenger.rare-books.test",
            "certd obtain messenger.rare-books.test",
            "certd renew",
        ]
    );
    let domains = &steps[0]["report"]["domains"];
    assert_eq!(domains[0]["readiness"], "ready");
    assert_eq!(domains[1]["readiness"], "not_ready");
    let first = fingerprints(steps[1]);
    let renewed = fingerprints(steps[4]);
    let all = [first.clone(), renewed].concat();
    for (position, fingerprint) in all.iter().enumerate() {
        assert_eq!(fingerprint.len(), 64);
        assert!(!all[..position].contains(fingerprint), "{all:?}");
    }
    assert_eq!(acts[2]["edit"]["line"], 5);
    let mistake = &steps[2]["report"]["endpoints"][0];
    assert_eq!(mistake["certificate"]["fingerprint"], first[0]);
    let codes: Vec<_> = steps[3]["report"]["domains"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["proof.other_lineage"]);
    assert_nothing_left(&place);
}

/// Of the shop's and the messenger's certificates in a report of `obtain`
fn fingerprints(step: &Value) -> Vec<String> {
    let domains = step["report"]["domains"].as_array().expect("it is there");
    domains
        .iter()
        .map(|domain| {
            assert_eq!(domain["outcome"], "proven", "{domain:#}");
            domain["fingerprint"]
                .as_str()
                .expect("it is there")
                .to_owned()
        })
        .collect()
}

#[test]
fn colours_are_escape_codes_around_the_same_words() {
    let place = place();
    let run = Run::of(demo(&place, &["--color", "always"]).env_remove("NO_COLOR")).exits(0);
    for line in run.stdout.lines().filter(|line| line.contains('✗')) {
        assert!(line.contains("\u{1b}[31m✗"), "{line:?}");
    }
    assert!(run.stdout.contains("\u{1b}[32m✓\u{1b}[0m"), "{run}");
    assert_nothing_left(&place);
}

#[test]
fn quiet_says_nothing_when_all_is_well() {
    let place = place();
    let run = Run::of(&mut demo(&place, &["-q"])).exits(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
}

#[test]
fn anyone_may_play_it() {
    let place = place();
    let mut command = place.certd_without_rights(&["demo", "--quiet"]);
    Run::of(command.env("TMPDIR", place.path("tmp"))).exits(0);
    assert_nothing_left(&place);
}

#[test]
fn a_directory_keeps_the_files_and_is_not_played_in_twice() {
    let place = place();
    Run::of(&mut demo(&place, &["--dir", "new/demo"])).exits(0);
    assert_nothing_left(&place);
    let config = "new/demo/domains.toml";
    let status = place.run(&["status", "--config", config]).exits(0);
    assert!(status.stdout.contains("rare-books.test"), "{status}");
    assert!(!place.path("new/demo/docker.sock").exists());
    let again = Run::of(&mut demo(&place, &["--dir", "new/demo"])).exits(2);
    let expected =
        "[DIR]/new/demo is not empty\nhint: --dir wants a directory that is new or empty";
    let said = place.without_directory(&again.stderr);
    assert_eq!(said, format!("error: {expected}\n"));
    let elsewhere = Run::of(&mut demo(&place, &["--dir", config])).exits(2);
    assert!(
        elsewhere.stderr.contains("is not a directory"),
        "{elsewhere}"
    );
    let own = Run::of(&mut demo(&place, &["--config", config])).exits(2);
    assert!(own.stderr.contains("a configuration of its own"), "{own}");
}

#[test]
fn a_directory_that_is_too_deep_for_a_socket_is_explained() {
    let place = place();
    let deep = "d".repeat(120);
    let run = Run::of(&mut demo(&place, &["--dir", &deep])).exits(1);
    assert!(run.stderr.contains("a socket's path 107"), "{run}");
    assert!(run.stderr.contains("choose a shorter --dir"), "{run}");
    assert!(!place.path(&deep).join("nginx").exists());
}

#[test]
fn no_engine_is_named_where_docker_is_asked_for() {
    let place = place();
    let mut command = demo(&place, &["--docker", "nginx"]);
    let nowhere = format!("unix://{}", place.path("none.sock").display());
    let run = Run::of(command.env("DOCKER_HOST", nowhere)).exits(1);
    assert!(run.stderr.contains("no Docker socket at"), "{run}");
    let mut command = demo(&place, &["--docker", "nginx"]);
    let run = Run::of(command.env("DOCKER_HOST", "tcp://192.0.2.1:2375")).exits(1);
    assert!(run.stderr.contains("may be on another machine"), "{run}");
    Run::of(&mut demo(&place, &["--docker", ""])).exits(2);
    assert_nothing_left(&place);
}

#[test]
fn it_serves_until_it_is_told_to_stop_and_leaves_nothing() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let place = place();
        let mut command = demo(&place, &["--serve", "--format", "json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let report = first_document(&mut child);
        let directory = report["directory"].as_str().unwrap();
        let config = format!("{directory}/domains.toml");
        let verified = place.run(&["verify", "--config", &config]).exits(0);
        assert!(verified.stdout.contains("3 good"), "{verified}");
        let renewed = ["obtain", "--all", "--force", "--config", &config];
        let renewed = place.run(&renewed).exits(0);
        assert!(renewed.stdout.contains("2 proven"), "{renewed}");
        stop(&child, signal);
        let status_seen = child.wait().unwrap().code();
        assert_eq!(status_seen, Some(status));
        assert_nothing_left(&place);
    }
}

#[test]
fn its_nginx_serves_what_a_person_writes_into_the_configuration() {
    const MESSENGER: &str = "messenger.rare-books.test";
    let place = place();
    let mut command = demo(&place, &["--serve", "--format", "json", "--dir", "d"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    first_document(&mut child);
    let obtain = |further: &[&str]| {
        let command = ["obtain", MESSENGER, "--config", "d/domains.toml"];
        place.run(&[&command, ["--format", "json"].as_slice(), further].concat())
    };
    let failure = |further: &[&str]| {
        let report = obtain(further).exits(1).json();
        report["domains"][0]["findings"][0].clone()
    };
    let site = format!("d/nginx/sites/{MESSENGER}.conf");
    let text = place.read(&site);
    let mistaken = text.replace("live/messenger.rare-books.test", "live/rare-books.test");
    assert_ne!(mistaken, text);
    place.write(&site, &mistaken);
    // nginx has not been told, and with nothing due certd has no reason to tell it.
    let unchanged = obtain(&[]).exits(0).json();
    assert_eq!(unchanged["domains"][0]["outcome"], "unchanged");
    let finding = failure(&["--force"]);
    assert_eq!(finding["code"], "proof.other_lineage", "{finding:#}");
    place.write(&site, format!("{mistaken}garbage\n"));
    let finding = failure(&[]);
    assert_eq!(finding["code"], "target.config_broken", "{finding:#}");
    let complaint = format!("in /etc/nginx/sites/{MESSENGER}.conf:14");
    assert!(finding.to_string().contains(&complaint), "{finding:#}");
    place.write(&site, &text);
    let proven = obtain(&[]).exits(0).json();
    assert_eq!(proven["domains"][0]["outcome"], "proven");
    stop(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_signal_at_any_time_leaves_nothing() {
    // Each run is stopped a little later; they go on beside each other.
    thread::scope(|scope| {
        for late in 0..60 {
            scope.spawn(move || {
                let place = place();
                let mut command = demo(&place, &["--quiet"]);
                let mut child = command.stderr(Stdio::null()).spawn().unwrap();
                thread::sleep(Duration::from_millis(20 * late));
                stop(&child, "INT");
                let status = child.wait().unwrap();
                // Before the first line of certd runs, a signal ends it as any other process.
                let is_early = status.signal() == Some(2);
                assert!(
                    is_early || matches!(status.code(), Some(0 | 130)),
                    "{status}"
                );
                assert_nothing_left(&place);
            });
        }
    });
}

#[test]
fn an_odd_directory_is_written_into_the_configuration_as_it_should() {
    let place = place();
    let odd = "a \"b\" \\ c'ü";
    Run::of(&mut demo(&place, &["--dir", odd])).exits(0);
    let config = format!("{odd}/domains.toml");
    place.run(&["status", "--config", &config]).exits(0);
}

#[test]
fn nothing_listens_beyond_loopback() {
    let place = place();
    let mut command = demo(&place, &["--serve", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    first_document(&mut child);
    let addresses = listening(child.id());
    stop(&child, "INT");
    child.wait().unwrap();
    // The CA, HTTP, TLS, and DNS over TCP and UDP.
    assert!(addresses.len() >= 5, "{addresses:?}");
    for address in addresses {
        // 127.0.0.1 as the kernel writes it.
        assert!(address.starts_with("0100007F:"), "{address}");
    }
}

/// Local addresses of the sockets of a process that wait for others
fn listening(process: u32) -> Vec<String> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .expect("it runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| {
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let mut addresses = Vec::new();
    for (table, waits) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let table = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            if columns[3] == waits && sockets.iter().any(|inode| inode == columns[9]) {
                addresses.push(columns[1].to_owned());
            }
        }
    }
    addresses
}

/// The first JSON document that a process writes
fn first_document(child: &mut Child) -> Value {
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut documents = serde_json::Deserializer::from_reader(stdout).into_iter();
    documents.next().expect("a document").expect("JSON")
}

fn stop(child: &Child, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args(["-s", signal, &child.id().to_string()]);
    assert!(kill.status().expect("it can be started").success());
}
