//! `certd check`, and the same looks before an order: nothing is asked of the CA for a cause that
//! shows here.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use certd_sandbox::acme::Call;
use certd_sandbox::dns::{Criticality, Failure, Record};
use certd_sandbox::docker::{Mount, State};
use certd_sandbox::fault::{Fault, Times};
use certd_sandbox::web::{Asked, HttpInstead};

use crate::support::{Daemon, Host, Place, Run, Setting, over_80_columns, sites};

const SHOP: &str = "rare-books.test";
const WWW: &str = "www.rare-books.test";

/// Who owns nothing
const NOBODY: u32 = 65534;
const REQUIRE: &[&str] = &["dns", "caa", "http"];

fn setting() -> Setting {
    Setting {
        require: REQUIRE,
        ..Setting::default()
    }
}

fn two_domains() -> Setting {
    Setting {
        require: REQUIRE,
        ..Setting::two_domains()
    }
}

fn token() -> Asked {
    Asked::Path("/.well-known/acme-challenge/".to_owned())
}

/// Says in domains.toml which address the host has
fn is_at(host: &Host, address: &str) {
    let config = host.place.read("domains.toml");
    let config = format!("addresses = [{address:?}]\n{config}");
    host.place.write("domains.toml", config);
}

/// A cause that shows before an order
struct Cause {
    title: &'static str,
    code: &'static str,
    make: fn(&Host),
}

const fn cause(title: &'static str, code: &'static str, make: fn(&Host)) -> Cause {
    Cause { title, code, make }
}

/// Plays each cause: `check` and `obtain` end with 1 and its code, the CA is asked for no order,
/// and the other domain is served
fn check(name: &str, causes: &[Cause]) {
    let mut shown = String::new();
    let mut wrong = String::new();
    for cause in causes {
        let host = Host::new(&setting());
        (cause.make)(&host);
        let checked = host.certd(&["check", SHOP]);
        let _ = write!(shown, "# {}\n{checked}\n", cause.title);
        if checked.status != Some(1) || !checked.stdout.contains(cause.code) {
            let _ = writeln!(wrong, "{}: check: {checked}", cause.title);
        }
        // URLs and lines for nginx are to be copied, and stay whole.
        let wide = over_80_columns(&checked.stdout);
        let is_prose = |line: &&str| !line.contains("location /") && !line.contains("://");
        if wide.iter().any(is_prose) {
            let _ = writeln!(wrong, "{}: over 80 columns", cause.title);
        }
        let obtained = host.certd(&["obtain", SHOP]);
        let is_told = obtained.stdout.contains(cause.code);
        if obtained.status != Some(1) || !is_told || host.ca.orders() > 0 {
            let _ = writeln!(wrong, "{}: obtain: {obtained}", cause.title);
        }
        let asked = host.ca.requests();
        if asked.iter().any(|line| line != "GET /directory") {
            let _ = writeln!(wrong, "{}: the CA was asked for {asked:?}", cause.title);
        }
    }
    let mut settings = Place::new().filters();
    settings.add_filter(r"certd-check-[0-9a-f]{16}", "[TOKEN]");
    settings.add_filter(r"/tmp/\.tmp\w{6}", "[DIR]");
    settings.add_filter(r"127\.0\.0\.9:\d+", "127.0.0.9:[PORT]");
    settings.bind(|| insta::assert_snapshot!(name, shown));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_host_that_is_ready_is_told_so_and_nothing_is_changed() {
    let host = Host::new(&two_domains());
    let tree = || [host.place.tree("storage"), host.place.tree("webroot")].concat();
    let before = tree();
    let run = host.certd(&["check"]).exits(0);
    assert_eq!(over_80_columns(&run.stdout), [""; 0]);
    // The directory for challenges was missing, and is again.
    assert_eq!(tree(), before);
    assert_eq!(host.ca.requests(), ["GET /directory"]);
    let settings = host.place.filters();
    settings
        .bind(|| insta::assert_snapshot!("ready", host.place.without_directory(&run.to_string())));
    let report = host.certd(&["check", "--format", "json"]).exits(0).json();
    assert_eq!(report["command"], "check");
    assert_eq!(report["domains"][0]["readiness"], "ready");
    assert_eq!(report["domains"][0]["names"][1]["name"], WWW);
    host.certd(&["obtain", "--all"]).exits(0);
}

#[test]
fn dns_that_does_not_lead_here() {
    check(
        "dns",
        &[
            cause("no such name", "dns.nxdomain", |host| host.zone.remove(WWW)),
            cause("no address", "dns.no_address", |host| {
                host.zone.set(WWW, [])
            }),
            cause("a zone that is broken", "dns.servfail", |host| {
                host.zone.fail(WWW, Failure::ServFail);
            }),
            cause("refused", "dns.refused", |host| {
                host.zone.fail(WWW, Failure::Refused)
            }),
            cause("another host", "dns.elsewhere", |host| {
                is_at(host, "127.0.0.1");
                host.zone.set(WWW, [Record::A(Ipv4Addr::new(127, 0, 0, 9))]);
            }),
            cause("one of two addresses", "dns.one_of_several", |host| {
                is_at(host, "127.0.0.1");
                host.zone.add(WWW, Record::A(Ipv4Addr::new(127, 0, 0, 9)));
            }),
            cause(
                "one of two addresses that answers nobody",
                "http.refused",
                |host| {
                    host.zone.add(WWW, Record::A(Ipv4Addr::new(127, 0, 0, 9)));
                },
            ),
            cause("IPv6 that answers nobody", "http.dead_ipv6", |host| {
                host.zone.add(WWW, Record::Aaaa(Ipv6Addr::LOCALHOST));
            }),
        ],
    );
}

#[test]
fn caa_records_that_forbid_it() {
    fn caa(host: &Host, value: &str) {
        host.zone.add(
            SHOP,
            Record::Caa {
                criticality: Criticality::NonCritical,
                tag: "issue".to_owned(),
                value: value.to_owned(),
            },
        );
    }
    check(
        "caa",
        &[
            cause("another CA", "caa.forbidden", |host| {
                caa(host, "letsencrypt.org")
            }),
            cause("nobody", "caa.forbidden", |host| caa(host, ";")),
            cause("another method", "caa.method", |host| {
                caa(host, "ca.sandbox.test; validationmethods=dns-01");
            }),
            cause("another account", "caa.account", |host| {
                caa(host, "ca.sandbox.test; accounturi=https://ca.test/1");
            }),
            cause("a critical tag", "caa.critical", |host| {
                host.zone.add(
                    WWW,
                    Record::Caa {
                        criticality: Criticality::Critical,
                        tag: "future".to_owned(),
                        value: "x".to_owned(),
                    },
                );
            }),
        ],
    );
}

#[test]
fn tokens_that_are_not_served() {
    check(
        "http",
        &[
            cause("not found", "http.not_found", |host| {
                host.web.answer(token(), HttpInstead::Status(404));
            }),
            cause("forbidden", "http.forbidden", |host| {
                host.web.answer(token(), HttpInstead::Status(403));
            }),
            cause("a login", "http.login", |host| {
                host.web.answer(token(), HttpInstead::Status(401));
            }),
            cause("an upstream that is down", "http.server_error", |host| {
                host.web.answer(token(), HttpInstead::Status(502));
            }),
            cause("another application", "http.wrong_body", |host| {
                let page = "<!doctype html><title>Welcome to the shop</title>";
                host.web.answer(token(), HttpInstead::Body(page.to_owned()));
            }),
            cause("a circle", "http.redirect_loop", |host| {
                let here = "http://$host$request_uri".replace("$host", SHOP);
                host.web
                    .answer(Asked::Name(SHOP.to_owned()), HttpInstead::Redirect(here));
            }),
            cause("to another port", "http.bad_redirect", |host| {
                let there = "http://rare-books.test:8080/".to_owned();
                host.web.answer(token(), HttpInstead::Redirect(there));
            }),
            cause(
                "to a host that is not there",
                "http.redirect_nowhere",
                |host| {
                    let there = "http://gone.test$request_uri".to_owned();
                    host.web.answer(token(), HttpInstead::Redirect(there));
                },
            ),
        ],
    );
}

#[test]
fn a_host_that_is_not_fit() {
    check(
        "host",
        &[
            cause("a stopped container", "target.not_running", |host| {
                host.engine
                    .change(|container| container.state = State::Exited);
            }),
            cause(
                "a webroot that is not mounted",
                "target.not_mounted",
                |host| {
                    host.engine.change(|container| container.mounts.truncate(1));
                },
            ),
        ],
    );
}

#[test]
fn a_webroot_that_is_mistyped_leads_to_the_one_that_nginx_mounts() {
    let host = Host::new(&setting());
    let config = host.place.read("domains.toml");
    let mistyped = config.replace("webroot = \"webroot\"", "webroot = \"webrot\"");
    host.place.write("domains.toml", mistyped);
    let question = "webroot is there, and web mounts it: is that meant by `webroot`?";
    for command in ["check", "obtain"] {
        let run = host.certd(&[command, SHOP, "--format", "json"]).exits(1);
        assert!(run.stdout.contains(question), "{run}");
    }
    assert_eq!(host.ca.orders(), 0);
}

#[test]
fn a_rehearsal_finds_a_storage_that_is_not_mounted() {
    let host = Host::new(&setting());
    let rehearse = ["obtain", "--all", "--staging", "--issuer", "test"];
    host.certd(&rehearse).exits(0);
    host.engine.change(|container| {
        let storage = |mount: &Mount| mount.destination.ends_with("letsencrypt");
        container.mounts.retain(|mount| !storage(mount));
    });
    let run = host.certd(&rehearse).exits(1);
    assert!(run.stdout.contains("target.not_mounted"), "{run}");
    assert!(run.stdout.contains("the storage"), "{run}");
}

#[test]
fn a_ca_that_does_not_answer_is_told_of() {
    let host = Host::new(&setting());
    let page = certd_sandbox::fault::Answer::html(503, "503 Service Unavailable");
    host.ca
        .fault(Call::Directory, Times::Always, Fault::from(page));
    let run = host.certd(&["check", SHOP]).exits(1);
    assert!(run.stdout.contains("acme.status"), "{run}");
    assert!(run.stdout.contains("the token is served"), "{run}");
}

#[test]
fn a_check_that_is_skipped_or_not_required_stops_nothing() {
    let host = Host::new(&setting());
    host.web.answer(token(), HttpInstead::Status(404));
    host.certd(&["check", SHOP]).exits(1);
    let skipped = host
        .certd(&["check", SHOP, "--skip-check", "http"])
        .exits(0);
    assert!(skipped.stdout.contains("http.not_found"), "{skipped}");
    let run = host
        .certd(&["obtain", SHOP, "--skip-check", "http"])
        .exits(1);
    // What the CA saw, and what this host sees.
    assert!(run.stdout.contains("acme.validation"), "{run}");
    assert!(run.stdout.contains("http.not_found"), "{run}");
    assert_eq!(host.ca.orders(), 1);
}

#[test]
fn root_says_once_whose_rights_it_works_with() {
    let host = Host::new(&two_domains());
    let told = || {
        host.certd(&["check", "--format", "json"])
            .json()
            .to_string()
    };
    assert_eq!(told().matches("files.acting").count(), 0);
    for directory in ["storage", "webroot"] {
        let path = host.place.path(directory);
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    let told = told();
    assert_eq!(told.matches("files.acting").count(), 1, "{told}");
    let paths = ["storage", "webroot"].map(|name| host.place.path(name).display().to_string());
    let words = format!("of nobody in {}", paths.join(", "));
    assert!(told.contains(&words), "{words}: {told}");
}

/// Runs `check` and `obtain` by a user who is not root, after these commands of a shell have said
/// what is whose: both fail and name this directory, or both succeed
#[track_caller]
fn agree(changes: &str, told: Option<&str>) {
    let host = Host::new(&setting());
    for command in ["check", "obtain"] {
        let Some(mut run) = host
            .place
            .certd_without_rights_where(changes, &[command, SHOP])
        else {
            return;
        };
        let run = Run::of(&mut run);
        let status = i32::from(told.is_some());
        assert_eq!(run.status, Some(status), "{changes}: {run}");
        let shown = host
            .place
            .without_directory(&format!("{}{}", run.stdout, run.stderr));
        assert!(
            told.is_none_or(|path| shown.contains(path)),
            "{changes}: {run}"
        );
    }
    assert_eq!(host.ca.orders() == 0, told.is_some(), "{changes}");
}

#[test]
fn a_check_tries_the_very_directories_in_which_an_order_makes_files() {
    let tokens = "webroot/.well-known/acme-challenge";
    let own = "storage/live storage/archive";
    let closed = |paths: &str| format!("chown 0:0 {paths}; chmod 755 {paths}");
    let make = format!("mkdir -p {tokens} {own}; chown -R {NOBODY}:{NOBODY} webroot storage");
    let check = |paths: &str, told| agree(&format!("{make}; {}", closed(paths)), told);
    check("webroot webroot/.well-known storage", None);
    check(tokens, Some("[DIR]/webroot/.well-known/acme-challenge"));
    check("storage/archive", Some("[DIR]/storage/archive"));
    check("storage/live", Some("[DIR]/storage/live"));
    // What is missing is made in the directory above it.
    let made = format!("{make}; rmdir {tokens}; {}", closed("webroot/.well-known"));
    agree(&made, Some("[DIR]/webroot/.well-known"));
}

#[test]
fn a_check_without_nginx_ends_as_an_order_does() {
    for (further, status) in [([].as_slice(), 1), (&["--no-deploy"], 0)] {
        let host = Host::new(&setting());
        let config = host.place.read("domains.toml");
        let (before, rest) = config.split_once("[nginx]").expect("a table");
        let (_, domain) = rest.split_once("[[domain]]").expect("a domain");
        host.place
            .write("domains.toml", format!("{before}[[domain]]{domain}"));
        for command in ["check", "obtain"] {
            let run = host
                .certd(&[&[command, SHOP], further].concat())
                .exits(status);
            assert_eq!(run.stdout.contains("target.none"), status == 1, "{run}");
        }
    }
}

/// Has a directory mounted read-only, as a unit of systemd that does not name it has
fn sealed(directory: &str) -> String {
    format!("mount --bind {directory} {directory}; mount -o remount,bind,ro {directory}")
}

#[test]
fn a_storage_or_state_that_is_read_only_is_told_at_each_start_with_the_lines_for_the_unit() {
    for directory in ["storage", "state"] {
        let host = Host::new(&setting());
        host.certd(&["obtain", SHOP]).exits(0);
        let told = host.place.path(directory);
        let told = format!("ReadWritePaths=-{}\n", told.display());
        for command in [
            ["run"].as_slice(),
            &["renew"],
            &["obtain", SHOP],
            &["check"],
        ] {
            let sealed = sealed(directory);
            let Some(mut run) = host.place.certd_without_rights_where(&sealed, command) else {
                return;
            };
            let run = Run::of(&mut run).exits(1);
            let shown = format!("{}{}", run.stdout, run.stderr);
            assert!(shown.contains(&told), "{command:?}: {run}");
            assert!(!shown.contains("run certd as"), "{command:?}: {run}");
        }
        assert_eq!(host.ca.orders(), 1);
    }
}

#[test]
fn a_run_in_which_nothing_is_due_tells_of_a_webroot_that_takes_no_token() {
    let host = Host::new(&two_domains());
    host.certd(&["obtain", "--all"]).exits(0);
    let closed = "chown 0:0 webroot/.well-known/*; chmod 755 webroot/.well-known/*";
    for (changes, code) in [
        (sealed("webroot").as_str(), "files.read_only"),
        (closed, "files.forbidden"),
    ] {
        let quiet = ["-q", "renew"];
        let Some(mut run) = host.place.certd_without_rights_where(changes, &quiet) else {
            return;
        };
        let run = Run::of(&mut run).exits(0);
        assert_eq!(run.stdout.matches(&format!("! {code}")).count(), 1, "{run}");
        let run = host.place.certd_without_rights_where(changes, &["check"]);
        let run = Run::of(&mut run.expect("it is root")).exits(1);
        assert!(run.stdout.contains(&format!("✗ {code}")), "{run}");
    }
    // The daemon says so after its start.
    let host = Host::new(&setting());
    host.certd(&["obtain", SHOP]).exits(0);
    std::fs::remove_dir_all(host.place.path("webroot")).expect("it is ours");
    Daemon::start(&host).wait_for("files.missing");
}

#[test]
fn the_other_domains_go_on() {
    let host = Host::new(&two_domains());
    let written = host.web.configure(&sites(&setting()));
    written.expect("it can be written");
    host.zone.remove("messenger.rare-books.test");
    let run = host.certd(&["obtain", "--all"]).exits(1);
    assert!(run.stdout.contains("1 failed, 1 proven"), "{run}");
    assert_eq!(host.ca.orders(), 1);
}

/// A place with Let's Encrypt as its CA, and a ledger in which so many certificates were issued
///
/// Nothing may be asked of that CA here: its name leads out of this machine.
fn spent(certificates: usize) -> Place {
    let place = Place::with(&format!(
        "terms_of_service_agreed = true\nstorage = \"storage\"\nstate = \"state\"\n\
         webroot = \"webroot\"\n[[domain]]\nname = \"{SHOP}\"\n"
    ));
    let now = jiff::Timestamp::now();
    let entry = serde_json::json!({
        "at": now,
        "directory": "https://acme-v02.api.letsencrypt.org/directory",
        "account": "https://acme-v02.api.letsencrypt.org/acme/acct/1",
        "spent": {"certificate": [SHOP]},
    });
    let ledger = serde_json::json!({"version": 1, "entries": vec![entry; certificates]});
    place.write("state/ledger.json", ledger.to_string());
    place
}

#[test]
fn a_limit_that_leaves_no_room_is_waited_for_without_asking_the_ca() {
    let place = spent(5);
    let run = place.run(&["obtain", SHOP, "--no-deploy"]).exits(75);
    snapshot!(place, "exhausted", run);
}

#[test]
fn a_record_with_an_address_that_no_host_has_is_not_ready() {
    let host = Host::new(&setting());
    host.zone.set(WWW, [Record::A(Ipv4Addr::UNSPECIFIED)]);
    let report = host.certd(&["check", "--format", "json"]).exits(1).json();
    let report = report.to_string();
    assert!(report.contains("\"dns.no_host\""), "{report}");
}
