//! Every finding of `certd check` that a host of the sandbox can show, each beside the same host
//! without its cause.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;
use std::{fs, thread};

use certd_sandbox::acme::{Call, Problem};
use certd_sandbox::dns::{Criticality, Failure, Record};
use certd_sandbox::docker::{Health, Mount};
use certd_sandbox::fault::{Answer, Times};
use certd_sandbox::web::{Asked, HttpInstead, Instead};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Host, Run, Setting, codes};

const SHOP: &str = "rare-books.test";
const WWW: &str = "www.rare-books.test";

/// A cause, and the finding that must be there with it and not without it
struct Sight {
    code: &'static str,
    severity: &'static str,
    make: fn(&Host),
}

const fn failure(code: &'static str, make: fn(&Host)) -> Sight {
    Sight {
        code,
        severity: "failure",
        make,
    }
}

const fn warning(code: &'static str, make: fn(&Host)) -> Sight {
    Sight {
        code,
        severity: "warning",
        make,
    }
}

const fn note(code: &'static str, make: fn(&Host)) -> Sight {
    Sight {
        code,
        severity: "note",
        make,
    }
}

/// Looks at the host before and after
fn check(sights: &[Sight]) {
    thread::scope(|scope| {
        for sight in sights {
            scope.spawn(move || {
                let host = host();
                let before = findings(&host.certd(&CHECK));
                let (code, severity) = (sight.code, sight.severity);
                assert!(
                    before.iter().all(|(found, _)| found != code),
                    "{code} without its cause"
                );
                (sight.make)(&host);
                let run = host.certd(&CHECK);
                let found = (code.to_owned(), severity.to_owned());
                assert!(findings(&run).contains(&found), "no {code}: {run}");
                let status = i32::from(severity == "failure");
                assert_eq!(run.status, Some(status), "{run}");
            });
        }
    });
}

/// A host whose checks are patient enough for it, and not for a stranger
fn host() -> Host {
    let host = Host::new(&Setting {
        require: &["dns", "caa", "http", "budget"],
        ..Setting::default()
    });
    let config = host.place.read("domains.toml");
    let config = config.replace("[dns]\n", "[dns]\ntimeout = \"300ms\"\n");
    let config = config.replace("[preflight]\n", "[preflight]\ntimeout = \"1s\"\n");
    host.place.write("domains.toml", config);
    host
}

/// Code and severity of everything in a report
fn findings(run: &Run) -> BTreeSet<(String, String)> {
    fn collect(value: &Value, found: &mut BTreeSet<(String, String)>) {
        match value {
            Value::Array(all) => all.iter().for_each(|value| collect(value, found)),
            Value::Object(fields) => {
                let text = |key: &str| Some(fields.get(key)?.as_str()?.to_owned());
                if let (Some(code), Some(severity)) = (text("code"), text("severity")) {
                    let needs_cure = severity == "failure" || severity == "warning";
                    assert!(!needs_cure || text("cure").is_some(), "{code} has no cure");
                    found.insert((code, severity));
                }
                fields.values().for_each(|value| collect(value, found));
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(&run.json(), &mut found);
    found
}

const CHECK: [&str; 4] = ["check", SHOP, "--format", "json"];

#[test]
fn what_is_good_is_told_too() {
    let found = findings(&host().certd(&CHECK).exits(0));
    let good = [
        ("ca.no_account", "note"),
        ("ca.reachable", "ok"),
        ("caa.none", "ok"),
        ("dns.addresses", "ok"),
        ("dns.private_address", "note"),
        ("docker.ready", "ok"),
        ("files.fit", "ok"),
        ("http.served", "ok"),
    ];
    let good = good.map(|(code, severity)| (code.to_owned(), severity.to_owned()));
    assert_eq!(found, BTreeSet::from(good));
}

#[test]
fn dns() {
    check(&[
        failure("dns.dnssec", |host| host.zone.fail(WWW, Failure::Bogus)),
        failure("dns.timeout", |host| host.zone.fail(WWW, Failure::NoAnswer)),
        failure("dns.failed", |host| {
            host.zone.fail(WWW, Failure::NotImplemented);
        }),
        warning("dns.half_answer", |host| {
            host.zone.fail(WWW, Failure::ServFailFor("AAAA"));
        }),
        note("dns.alias", |host| alias(host, WWW, SHOP)),
        warning("dns.alias_chain", |host| {
            let names: Vec<String> = (0..9).map(|number| format!("a{number}.test")).collect();
            alias(host, WWW, &names[0]);
            for pair in names.windows(2) {
                alias(host, &pair[0], &pair[1]);
            }
            alias(host, &names[8], SHOP);
        }),
    ]);
}

fn alias(host: &Host, name: &str, target: &str) {
    host.zone.set(name, [Record::Cname(target.to_owned())]);
}

fn caa(host: &Host, name: &str, value: &str) {
    let record = Record::Caa {
        criticality: Criticality::NonCritical,
        tag: "issue".to_owned(),
        value: value.to_owned(),
    };
    host.zone.add(name, record);
}

#[test]
fn caa_records() {
    check(&[
        Sight {
            code: "caa.allowed",
            severity: "ok",
            make: |host| caa(host, SHOP, "ca.sandbox.test"),
        },
        // An alias has the records of what it points to (RFC 8659 section 3).
        failure("caa.forbidden", |host| {
            alias(host, WWW, "web.example.test");
            host.zone
                .add("web.example.test", Record::A(Ipv4Addr::LOCALHOST));
            caa(host, "web.example.test", ";");
        }),
        failure("caa.unknown", |host| {
            host.zone.fail(WWW, Failure::ServFailFor("CAA"));
        }),
        warning("caa.no_identity", |host| {
            caa(host, SHOP, "ca.sandbox.test");
            let meta = json!({"termsOfService": "https://ca.test/terms"});
            directory(host, &meta);
        }),
    ]);
}

/// Has the CA give a directory with this `meta`
fn directory(host: &Host, meta: &Value) {
    let url = host.ca.directory();
    let body = json!({"newNonce": url, "newAccount": url, "newOrder": url, "meta": meta});
    host.ca
        .fault(Call::Directory, Times::Always, Answer::json(200, &body));
}

/// What a server does with each connection
type Manner = fn(TcpStream, u32);

/// Points an alias to a server at another address that answers in its own manner
fn stranger(host: &Host, manner: Manner) {
    let address = SocketAddr::new(STRANGER, host.web.http().port());
    let listener = TcpListener::bind(address).expect("the address is free");
    // It ends with the process.
    thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming().flatten()) {
            manner(stream, number);
        }
    });
    points_to_stranger(host);
}

fn points_to_stranger(host: &Host) {
    let IpAddr::V4(address) = STRANGER else {
        return;
    };
    host.zone.set(WWW, [Record::A(address)]);
}

fn answer(mut stream: TcpStream, head: &str) {
    let mut asked = [0; 2048];
    let _ = stream.read(&mut asked);
    let _ = stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes());
}

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

#[test]
fn tokens() {
    check(&[
        failure("http.status", |host| {
            instead(host, HttpInstead::Status(410))
        }),
        failure("http.timeout", |host| instead(host, HttpInstead::Silence)),
        failure("http.redirects", |host| {
            stranger(host, |stream, number| {
                let there = format!("http://{WWW}/{number}");
                answer(stream, &format!("HTTP/1.1 302 Found\r\nLocation: {there}"));
            });
        }),
        failure("http.not_http", |host| {
            stranger(host, |mut stream, _| {
                let _ = stream.write_all(b"220 mail.test ESMTP\r\n");
                let _ = stream.read(&mut [0; 2048]);
            });
        }),
        // Closed with the request unread, which resets the connection.
        failure("http.reset", |host| {
            stranger(host, |stream, _| drop(stream))
        }),
        failure("http.connect_timeout", |host| {
            let address = SocketAddr::new(STRANGER, host.web.http().port());
            let listener = TcpListener::bind(address).expect("the address is free");
            let mut waiting = Vec::new();
            // Nobody is let in: the queue fills up, and further packets are dropped.
            while let Ok(stream) = TcpStream::connect_timeout(&address, BRIEFLY) {
                waiting.push(stream);
            }
            points_to_stranger(host);
            // They last as long as the process.
            std::mem::forget((listener, waiting));
        }),
        note("http.unasked", |host| {
            // Not stopped by what DNS says.
            let config = host.place.read("domains.toml");
            let config = config.replace("\"dns\", \"caa\", ", "");
            host.place.write("domains.toml", config);
            host.zone.remove(WWW);
        }),
    ]);
}

fn instead(host: &Host, instead: HttpInstead) {
    let challenges = Asked::Path("/.well-known/acme-challenge/".to_owned());
    host.web.answer(challenges, instead);
}

const BRIEFLY: Duration = Duration::from_millis(300);

#[test]
fn directories() {
    check(&[
        failure("files.missing", |host| {
            fs::remove_dir_all(host.place.path("webroot")).expect("it is ours");
        }),
        warning("files.fleeting", |host| {
            let config = host.place.read("domains.toml");
            let config = config.replace("\"state\"", "\"/dev/shm\"");
            host.place.write("domains.toml", config);
        }),
    ]);
}

/// What a plain user sees of a host that is root's
#[track_caller]
fn forbidden(code: &str, path: &str, mode: u32) {
    let host = host();
    let config = host.place.read("domains.toml");
    let config = config.replace("\"state\"", "\"closed/state\"");
    host.place.write("domains.toml", config);
    fs::create_dir_all(host.place.path("closed/state")).expect("it is ours");
    let mut command = host.place.certd_without_rights(&CHECK);
    let before = findings(&Run::of(&mut command));
    assert!(before.iter().all(|(found, _)| found != code), "{before:?}");
    let set = |mode| fs::set_permissions(host.place.path(path), fs::Permissions::from_mode(mode));
    set(mode).expect("it is ours");
    let run = Run::of(&mut command);
    set(0o755).expect("it is ours");
    let found = (code.to_owned(), "failure".to_owned());
    assert!(findings(&run.exits(1)).contains(&found), "no {code}");
}

#[test]
fn a_directory_that_may_not_be_written_to() {
    forbidden("files.forbidden", "storage", 0o555);
}

#[test]
fn a_directory_that_may_not_be_looked_at() {
    forbidden("files.unreadable", "closed", 0o000);
}

#[test]
fn a_way_that_ends_at_a_file_or_in_a_circle_asks_for_no_other_user() {
    let host = host();
    host.place.write("file", "");
    symlink("circle", host.place.path("circle")).expect("it is ours");
    let config = host.place.read("domains.toml");
    for webroot in ["file", "circle"] {
        let other = format!("\"{webroot}\"");
        host.place
            .write("domains.toml", config.replace("\"webroot\"", &other));
        let run = host.certd(&CHECK).exits(1);
        let found = ("files.unreadable".to_owned(), "failure".to_owned());
        assert!(findings(&run).contains(&found), "{run}");
        let report = run.stdout.as_str();
        assert!(report.contains("namei -l"), "{report}");
        assert!(!report.contains("as its owner"), "{report}");
    }
}

/// A line before the first table
fn set(host: &Host, line: &str) {
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", format!("{line}\n{config}"));
}

/// Orders that the CA refuses with this problem
fn refused(host: &Host, problem: Problem) {
    host.ca.fault(Call::NewOrder, Times::Always, problem);
    host.certd(&["obtain", SHOP]).exits(1);
    host.behave();
}

#[test]
fn what_obtain_would_stumble_over() {
    check(&[
        failure("store.key_group", |host| {
            set(host, "key_group = \"nobody-is-in-it\"");
        }),
        // It is no matter of the webroot.
        failure("store.missing", |host| {
            fs::remove_dir_all(host.place.path("storage")).expect("it is ours");
        }),
        failure("order.stopped", |host| {
            let problem = Problem::new(400, "rejectedIdentifier", "a name it will not have");
            refused(host, problem);
        }),
    ]);
    let host = host();
    refused(&host, Problem::new(400, "malformed", "something is wrong"));
    let run = host.certd(&CHECK).exits(75);
    let waits = ("order.backoff".to_owned(), "warning".to_owned());
    assert!(findings(&run).contains(&waits), "{run}");
    assert_eq!(run.json()["domains"][0]["readiness"], "later");
}

#[test]
fn after_a_failed_check_nobody_is_told_to_wait() {
    let host = host();
    let obtain = |more: &[&str], status: i32| {
        let run = host.certd(&[&["obtain", SHOP, "--format", "json"], more].concat());
        codes(&run.exits(status).json()).join(" ")
    };
    let (missing, waits) = ("dns.nxdomain", "order.backoff");
    host.zone.remove(WWW);
    for _ in 0..2 {
        assert!(obtain(&[], 1).contains(missing));
    }
    host.zone.add(WWW, Record::A(Ipv4Addr::LOCALHOST));
    // The control: an order that the CA refused is waited after.
    refused(&host, Problem::new(400, "malformed", "something is wrong"));
    assert!(obtain(&[], 75).contains(waits));
    host.zone.remove(WWW);
    assert!(obtain(&["--force"], 1).contains(missing));
    assert!(obtain(&[], 1).contains(missing));
    host.zone.add(WWW, Record::A(Ipv4Addr::LOCALHOST));
    obtain(&[], 0);
}

#[test]
fn what_needs_attention_is_shown_by_quiet_too() {
    let quiet = ["-q", "check", SHOP];
    let host = host();
    let run = host.certd(&quiet).exits(0);
    assert_eq!(run.stdout, "");
    health(&host, Health::Unhealthy);
    let run = host.certd(&quiet).exits(0);
    assert!(run.stdout.contains("! docker.unhealthy"), "{run}");
}

#[test]
fn what_is_not_required_is_a_warning() {
    let host = host();
    host.zone.remove(WWW);
    let failed = ("dns.nxdomain".to_owned(), "failure".to_owned());
    assert!(findings(&host.certd(&CHECK).exits(1)).contains(&failed));
    let skipped = [CHECK.as_slice(), &["--skip-check", "dns"]].concat();
    let warned = ("dns.nxdomain".to_owned(), "warning".to_owned());
    assert!(findings(&host.certd(&skipped).exits(0)).contains(&warned));
}

#[test]
fn containers() {
    check(&[
        failure("target.none", |host| {
            let config = host.place.read("domains.toml");
            let (before, rest) = config.split_once("[nginx]").expect("a table");
            let (_, after) = rest.split_once("[[domain]]").expect("a domain");
            host.place
                .write("domains.toml", format!("{before}[[domain]]{after}"));
        }),
        note("docker.starting", |host| health(host, Health::Starting)),
        warning("docker.unhealthy", |host| health(host, Health::Unhealthy)),
        warning("target.state_mounted", |host| {
            let source = host.place.path("state");
            fs::create_dir_all(&source).expect("the place is writable");
            let destination = "/var/lib/certd".into();
            let mount = Mount {
                source,
                destination,
            };
            host.engine.change(|container| container.mounts.push(mount));
        }),
    ]);
}

fn health(host: &Host, health: Health) {
    host.engine
        .change(|container| container.health = Some(health));
}

#[test]
fn what_visitors_get() {
    check(&[warning("served.self_signed", |host| {
        host.certd(&["obtain", SHOP]).exits(0);
        let served = host.web.serve(WWW, Instead::SelfSigned);
        served.expect("a certificate can be made");
    })]);
}

#[test]
fn what_the_ca_says() {
    check(&[
        warning("ca.clock", |host| {
            let past = Timestamp::now() - SignedDuration::from_mins(10);
            host.ca.tell_time(Some(past));
        }),
        failure("ca.clock", |host| {
            let future = Timestamp::now() + SignedDuration::from_hours(2);
            host.ca.tell_time(Some(future));
        }),
        failure("acme.eab", |host| {
            directory(host, &json!({"externalAccountRequired": true}));
        }),
        Sight {
            code: "ca.account",
            severity: "ok",
            make: |host| drop(host.certd(&["obtain", SHOP]).exits(0)),
        },
    ]);
}

#[test]
fn a_clock_that_is_far_behind_costs_no_order() {
    let host = host();
    let future = Timestamp::now() + SignedDuration::from_hours(2);
    host.ca.tell_time(Some(future));
    let run = host.certd(&["obtain", SHOP]).exits(1);
    assert!(run.stdout.contains("✗ ca.clock"), "{run}");
    assert_eq!(host.ca.requests(), ["GET /directory"]);
}
