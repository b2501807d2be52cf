//! `certd obtain` where it ends before the CA is asked for anything, and where no CA is needed.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::{
    Authority, Behaviour, CLOSED, Ca, Engine, Executed, Host, Leaf, Place, Run, Server, Setting,
    Wish, codes, finding, inspected, over_80_columns, tls_config,
};

const NAME: &str = "shop.rare-books.test";

/// A configuration whose issuer is at this directory; `rest` holds its tables
fn config(directory: &str, rest: &str) -> String {
    format!(
        "email = \"admin@rare-books.test\"\nterms_of_service_agreed = true\n\
         issuer = \"test\"\nstorage = \"storage\"\nstate = \"state\"\nwebroot = \"webroot\"\n\
         [issuers.test]\ndirectory = \"{directory}\"\ntrust = \"root.pem\"\n[preflight]\nrequire = []\n\
         [dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"100ms\"\n{rest}\n"
    )
}

fn domain(extra: &str) -> String {
    format!("[[domain]]\nname = \"{NAME}\"\n{extra}\n")
}

/// A CA of which nothing but connections is counted
fn counted_ca() -> (Server, String) {
    let server = Server::start(drop);
    let directory = format!("https://{}/directory", server.address);
    (server, directory)
}

/// What must be in the way of a run without Docker, and the code under which it is told
#[track_caller]
fn no_deploy_fails(title: &str, prepare: impl Fn(&Place), shown: &mut String) -> Place {
    let (ca, directory) = counted_ca();
    let place = Place::with(&config(&directory, &domain("")));
    prepare(&place);
    let arguments = ["obtain", NAME, "--no-deploy"];
    // An unknown group is a mistake in domains.toml.
    let status = if title == "the key group is unknown" {
        2
    } else {
        1
    };
    place.run(&arguments).exits(status);
    shown.push_str(&format!("# {title}\n"));
    shown.push_str(&place.without_directory(&place.transcript(&[&arguments])));
    assert_eq!(ca.connections(), 0, "{title}");
    place
}

#[test]
fn a_store_that_is_of_no_use_is_found_before_the_ca_is_asked() {
    let mut shown = String::new();
    let place = no_deploy_fails(
        "the storage is missing",
        |place| fs::remove_dir(place.path("storage")).unwrap(),
        &mut shown,
    );
    // A typing error must not make an empty storage.
    assert!(!place.path("storage").exists());
    no_deploy_fails(
        "another storage is meant",
        |place| fs::rename(place.path("storage"), place.path("storrage")).unwrap(),
        &mut shown,
    );
    no_deploy_fails(
        "the storage is a file",
        |place| {
            fs::remove_dir(place.path("storage")).unwrap();
            place.write("storage", "");
        },
        &mut shown,
    );
    no_deploy_fails(
        "live is a file",
        |place| place.write("storage/live", "precious"),
        &mut shown,
    );
    no_deploy_fails(
        "archive is a link to nowhere",
        |place| symlink("nowhere", place.path("storage/archive")).unwrap(),
        &mut shown,
    );
    no_deploy_fails(
        "the state is a file",
        |place| place.write("state", ""),
        &mut shown,
    );
    no_deploy_fails(
        "the lock is a directory",
        |place| place.write("state/lock/file", ""),
        &mut shown,
    );
    no_deploy_fails(
        "the key group is unknown",
        |place| {
            let config = place.read("domains.toml");
            place.write(
                "domains.toml",
                format!("key_group = \"no-such-group\"\n{config}"),
            );
        },
        &mut shown,
    );
    snapshot!(Place::new(), "store", shown);
}

#[test]
fn a_storage_without_the_right_to_write_is_told_with_who_may() {
    use std::os::unix::fs::PermissionsExt;
    let (ca, directory) = counted_ca();
    let place = Place::with(&config(&directory, &domain("")));
    let storage = place.path("storage");
    fs::set_permissions(&storage, fs::Permissions::from_mode(0o555)).unwrap();
    let mut certd = place.certd_without_rights(&["obtain", NAME, "--no-deploy"]);
    let run = Run::of(&mut certd).exits(1);
    fs::set_permissions(&storage, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(run.stderr.contains("Permission denied"), "{run}");
    assert!(run.stderr.contains("as root"), "{run}");
    assert_eq!(ca.connections(), 0);
}

#[test]
fn certbots_lineage_is_left_as_it_is_and_a_storage_of_its_own_is_offered() {
    let mut shown = String::new();
    for mode in [
        ["obtain", NAME, "--no-deploy"].as_slice(),
        &["obtain", NAME],
    ] {
        let (ca, directory) = counted_ca();
        let rest = domain("[nginx]\ncontainer = \"web\"\ndocker = \"/nowhere/docker.sock\"");
        let place = Place::with(&config(&directory, &rest));
        place.write(&format!("storage/renewal/{NAME}.conf"), "version = 2.1.0\n");
        for file in ["cert", "chain", "fullchain", "privkey"] {
            place.write(&format!("storage/archive/{NAME}/{file}1.pem"), "certbot's");
            let link = place.path(&format!("storage/live/{NAME}/{file}.pem"));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(format!("../../archive/{NAME}/{file}1.pem"), link).unwrap();
        }
        let before = place.tree("storage");
        let run = place.run(mode).exits(1);
        assert_eq!(place.tree("storage"), before);
        assert_eq!(ca.connections(), 0);
        let json = place.run(&[mode, &["--format", "json"]].concat()).json();
        assert_eq!(codes(&json), ["store.foreign_lineage"]);
        shown = run.stdout;
        snapshot!(place, "certbot", shown);
    }
    assert!(shown.contains("storage = "));
}

#[test]
fn a_live_link_that_is_not_certds_is_left_as_it_is() {
    for target in [
        "../../elsewhere",
        "../archive/other.test/1",
        "/etc/ssl",
        "7",
    ] {
        let (ca, directory) = counted_ca();
        let place = Place::with(&config(&directory, &domain("")));
        fs::create_dir(place.path("storage/live")).unwrap();
        symlink(target, place.path(&format!("storage/live/{NAME}"))).unwrap();
        let report = place
            .run(&["obtain", NAME, "--no-deploy", "--format", "json"])
            .exits(1)
            .json();
        assert_eq!(codes(&report), ["store.foreign_lineage"], "{target}");
        let link = fs::read_link(place.path(&format!("storage/live/{NAME}"))).unwrap();
        assert_eq!(link, Path::new(target));
        assert_eq!(ca.connections(), 0);
    }
}

#[test]
fn a_record_of_a_later_certd_stops_its_domain_and_stays_as_it_is() {
    let (ca, directory) = counted_ca();
    let place = Place::with(&config(&directory, &domain("")));
    let (file, record) = (format!("state/domains/{NAME}.json"), "{\"version\": 2}");
    place.write(&file, record);
    let run = place.run(&["obtain", NAME, "--no-deploy"]).exits(1);
    assert!(run.stdout.contains("store.record"), "{run}");
    assert_eq!(place.read(&file), record);
    assert_eq!(ca.connections(), 0);
}

#[test]
fn a_damaged_record_is_set_aside_and_costs_no_order() {
    for record in ["", "{\"version\": 1, ", "\"text\""] {
        let host = Host::new(&Setting::default());
        host.obtain(&[]).exits(0);
        let file = "state/domains/rare-books.test.json";
        host.place.write(file, record);
        for reading in [&["status"][..], &["renew", "--dry-run"], &["check"]] {
            host.certd(reading);
            assert_eq!(host.place.read(file), record, "{reading:?}");
        }
        let run = host.certd(&["renew"]).exits(0);
        assert!(run.stdout.contains("it is set aside as"), "{run}");
        assert_eq!(host.place.read(&format!("{file}.damaged")), record);
        assert_eq!(host.ca.orders(), 1, "{run}");
        let again = host.certd(&["renew"]).exits(0);
        assert!(again.stdout.contains("1 unchanged"), "{again}");
    }
}

#[test]
fn a_damaged_account_is_set_aside_and_neither_overwritten_nor_shown() {
    for account in [
        "",
        "{\"directory\": ",
        "{\"directory\": \"x\", \"url\": 7, \"key\": \"c2VjcmV0\"}",
        "c2VjcmV0",
    ] {
        let host = Host::new(&Setting::default());
        let file = "state/accounts/test.json";
        host.place.write(file, account);
        let check = host.certd(&["check"]);
        assert!(check.stdout.contains("accounts/test.json"), "{check}");
        assert_eq!(host.place.read(file), account);
        let run = host.obtain(&["-v"]).exits(0);
        assert!(run.stderr.contains("test.json.damaged"), "{run}");
        assert!(!run.to_string().contains("c2VjcmV0"), "{run}");
        assert_eq!(host.place.read(&format!("{file}.damaged")), account);
        assert_eq!(host.ca.accounts(), 1);
    }
}

#[test]
fn without_agreed_terms_no_account_is_registered() {
    let place = Place::new();
    let ca = Ca::start(&place, |_| None);
    let config = config(&ca.directory(), &domain(""));
    place.write(
        "domains.toml",
        config.replace("agreed = true", "agreed = false"),
    );
    let run = place.run(&["obtain", NAME, "--no-deploy"]).exits(1);
    snapshot!(place, "terms", run.stdout);
    assert_eq!(ca.requests(), ["GET /directory"]);
    assert!(!place.path("state/accounts/test.json").exists());
}

#[test]
fn a_webroot_that_is_of_no_use_costs_no_order() {
    let mut shown = String::new();
    let elsewhere = Place::new();
    let mut check = |title: &str, prepare: &dyn Fn(&Place)| {
        let place = Place::new();
        let ca = Ca::start(&place, |_| None);
        place.write("domains.toml", config(&ca.directory(), &domain("")));
        prepare(&place);
        let run = place.run(&["obtain", NAME, "--no-deploy"]).exits(1);
        assert!(run.stdout.contains("challenge.webroot"), "{run}");
        assert_eq!(ca.requests(), ["GET /directory"]);
        let run = place.without_directory(&run.to_string());
        shown.push_str(&format!("# {title}\n{run}\n"));
    };
    check("it is missing", &|place| {
        fs::remove_dir(place.path("webroot")).unwrap();
    });
    check("another is meant", &|place| {
        fs::rename(place.path("webroot"), place.path("webroots")).unwrap();
    });
    check("it is a file", &|place| {
        fs::remove_dir(place.path("webroot")).unwrap();
        place.write("webroot", "");
    });
    check("a directory in it is a link", &|place| {
        symlink(elsewhere.path(""), place.path("webroot/.well-known")).unwrap();
    });
    snapshot!(elsewhere, "webroot", shown);
    assert_eq!(elsewhere.tree("webroot").len(), 1);
}

#[test]
fn without_nginx_only_no_deploy_goes_on() {
    let (ca, directory) = counted_ca();
    let place = Place::with(&config(&directory, &domain("")));
    let run = place.run(&["obtain", NAME]).exits(1);
    snapshot!(place, "no_nginx", run.stdout);
    place.run(&["obtain", NAME, "--staging"]).exits(1);
    assert_eq!(ca.connections(), 0);
}

#[test]
fn a_dry_run_sends_nothing_and_writes_nothing() {
    let (ca, directory) = counted_ca();
    let docker = Server::start(drop);
    let rest = format!(
        "[nginx]\ncontainer = \"web\"\ndocker = \"tcp://{}\"\n{}",
        docker.address,
        domain("aliases = [\"www.shop.rare-books.test\"]")
    );
    let place = Place::with(&config(&directory, &rest));
    let before = place.tree("");
    let run = place.run(&["obtain", "--all", "--dry-run"]).exits(0);
    snapshot!(place, "dry_run", run.stdout);
    assert_eq!(place.tree(""), before);
    assert_eq!((ca.connections(), docker.connections()), (0, 0));
    // Not even a directory.
    fs::remove_dir(place.path("storage")).unwrap();
    place.run(&["obtain", "--all", "--dry-run"]).exits(0);
    assert!(!place.path("storage").exists() && !place.path("state").exists());
}

#[test]
fn a_second_certd_waits_ten_seconds_and_then_says_try_later() {
    let (ca, directory) = counted_ca();
    let place = Place::with(&config(&directory, &domain("")));
    place.write("state/lock", "4711");
    let lock = File::options()
        .write(true)
        .open(place.path("state/lock"))
        .unwrap();
    lock.lock().unwrap();
    let begun = std::time::Instant::now();
    let run = place.run(&["obtain", NAME, "--no-deploy"]).exits(75);
    assert!(begun.elapsed().as_secs() >= 9, "{:?}", begun.elapsed());
    assert!(
        run.stderr.ends_with(
            "error: another certd is at work (process 4711)\n\
             hint: it ends by itself: try again in a moment\n"
        ),
        "{run}"
    );
    // Ten seconds of silence would look like a hang.
    assert!(run.stderr.contains("waiting for it"), "{run}");
    assert_eq!(run.stdout, "");
    assert_eq!(ca.connections(), 0);
    // Looking takes no lock.
    place.run(&["status"]).exits(0);
    place.run(&["obtain", NAME, "--dry-run"]).exits(0);
}

/// A domain that nginx serves at this address, with two generations: the first proven and live,
/// the second issued
fn half_renewed(server: &Server, first: &Leaf, second: &Leaf) -> Place {
    let (directory, extra) = (
        format!("https://{CLOSED}/directory"),
        format!("connect = \"{}\"", server.address),
    );
    let rest = format!(
        "[nginx]\ncontainer = \"web\"\ndocker = \"docker.sock\"\n{}",
        domain(&extra)
    );
    let place = Place::with(&config(&directory, &rest));
    let config = place.read("domains.toml");
    let socket = place.path("docker.sock");
    place.write(
        "domains.toml",
        config.replace("docker.sock", &socket.to_string_lossy()),
    );
    place.archive(NAME, 1, first);
    place.archive(NAME, 2, second);
    place.go_live(NAME, 1);
    place.write(
        &format!("state/domains/{NAME}.json"),
        r#"{"version": 1, "generations": {
            "1": {"issuer": "test", "account": "https://ca.test/1",
                "issued_at": "2026-01-01T00:00:00Z", "proven_at": "2026-01-01T00:00:05Z"},
            "2": {"issuer": "test", "account": "https://ca.test/1",
                "issued_at": "2026-02-01T00:00:00Z"}}}"#,
    );
    place
}

#[test]
fn an_issued_generation_is_deployed_and_proven_without_an_order() {
    let ca = Authority::root("Root");
    let [first, second] = [(); 2].map(|()| ca.issue(&Wish::names(&[NAME])));
    let server = Server::tls(tls_config(&second));
    let place = half_renewed(&server, &first, &second);
    let docker = Engine::start(&place, Behaviour::healthy(&place));
    let run = place.run(&["obtain", NAME]).exits(0);
    assert_eq!(run.stderr, "");
    assert_eq!(over_80_columns(&run.stdout), [""; 0]);
    snapshot!(place, "deployed", run.stdout);
    let live = fs::read_link(place.path(&format!("storage/live/{NAME}"))).unwrap();
    assert_eq!(live, Path::new(&format!("../archive/{NAME}/2")));
    let reloads = || {
        docker
            .commands()
            .iter()
            .filter(|command| *command == "nginx -s reload")
            .count()
    };
    assert_eq!(reloads(), 1);
    // Proven and not due: nothing is done, and nginx is not reloaded again.
    let run = place.run(&["obtain", NAME]).exits(0);
    snapshot!(place, "unchanged", run.stdout);
    assert_eq!(reloads(), 1);
    let status = place.run(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(status["lineages"][0]["state"], "proven");
    // No probe is left behind.
    assert_eq!(place.tree("webroot").len(), 1);
    assert_eq!(place.tree("storage/archive").len(), 12);
}

#[test]
fn a_generation_that_nginx_refuses_is_taken_back() {
    let ca = Authority::root("Root");
    let [first, second] = [(); 2].map(|()| ca.issue(&Wish::names(&[NAME])));
    let server = Server::tls(tls_config(&first));
    let place = half_renewed(&server, &first, &second);
    let link = place.path(&format!("storage/live/{NAME}"));
    let key = link.join("privkey.pem");
    let seen = link.clone();
    let docker = Engine::start(
        &place,
        Behaviour {
            exec: Box::new(move |command| {
                let live = fs::read_link(&seen).ok()?;
                let refuses = command[0] == "nginx" && live.ends_with("2");
                refuses.then(|| Executed {
                    status: 1,
                    stderr: format!(
                        "nginx: [emerg] cannot load certificate key \"{}\": BIO_new_file() failed \
                         (SSL: error:8000000D:system library::Permission denied)\n\
                         nginx: configuration file /etc/nginx/nginx.conf test failed\n",
                        key.display()
                    ),
                    ..Executed::default()
                })
            }),
            ..Behaviour::healthy(&place)
        },
    );
    let report = place
        .run(&["obtain", NAME, "--format", "json"])
        .exits(1)
        .json();
    assert_eq!(codes(&report), ["target.test_failed"]);
    let finding = finding(&report, "target.test_failed");
    let cure = finding["cure"].as_str().unwrap();
    assert!(cure.contains("key_group"), "{cure}");
    let live = fs::read_link(&link).unwrap();
    assert_eq!(live, Path::new(&format!("../archive/{NAME}/1")));
    let told = docker.requests();
    assert!(
        !told.iter().any(|request| request.ends_with("/kill")),
        "{told:?}"
    );
}

#[test]
fn the_certificate_of_another_lineage_is_named_with_the_lines_to_change() {
    let ca = Authority::root("Root");
    let [first, second] = [(); 2].map(|()| ca.issue(&Wish::names(&[NAME])));
    let other = ca.issue(&Wish::names(&["rare-books.test"]));
    let server = Server::tls(tls_config(&other));
    let place = half_renewed(&server, &first, &second);
    place.archive("rare-books.test", 1, &other);
    place.go_live("rare-books.test", 1);
    let live = place.path("storage/live").display().to_string();
    let dump = format!(
        "# configuration file /etc/nginx/conf.d/shop.conf:\nserver {{\n    listen 443 ssl;\n    \
         server_name {NAME};\n    ssl_certificate {live}/rare-books.test/fullchain.pem;\n    \
         ssl_certificate_key {live}/rare-books.test/privkey.pem;\n}}\n\
         server {{ listen 443 ssl; server_name rare-books.test; }}\n"
    );
    let docker = Engine::start(
        &place,
        Behaviour {
            exec: Box::new(move |command| {
                (command == ["nginx", "-T"]).then(|| Executed {
                    stdout: format!(
                        "# configuration file /etc/nginx/nginx.conf:\nhttp {{\n    \
                         include conf.d/*.conf;\n}}\n{dump}"
                    ),
                    ..Executed::default()
                })
            }),
            ..Behaviour::healthy(&place)
        },
    );
    let run = place.run(&["obtain", NAME]).exits(1);
    snapshot!(place, "other_lineage", run.stdout);
    drop(docker);
    let status = place.run(&["status"]).exits(0);
    snapshot!(place, "status_after_other_lineage", status.stdout);
}

#[test]
fn nginx_prints_its_configuration_once_before_a_reload_and_once_after_it() {
    let ca = Authority::root("Root");
    let [first, second] = [(); 2].map(|()| ca.issue(&Wish::names(&[NAME])));
    let server = Server::tls(tls_config(&ca.issue(&Wish::names(&["rare-books.test"]))));
    let place = half_renewed(&server, &first, &second);
    let dump = "# configuration file /etc/nginx/nginx.conf:\nhttp {\n    server {\n        \
                listen 443 ssl;\n        server_name rare-books.test;\n    }\n}\n";
    let asked = Arc::new(AtomicUsize::new(0));
    let (printed, mut container) = (asked.clone(), inspected(&place));
    // There it is read for the addresses of the host, too.
    container["HostConfig"]["NetworkMode"] = json!("host");
    let docker = Engine::start(
        &place,
        Behaviour {
            container,
            exec: Box::new(move |command| {
                (command == ["nginx", "-T"]).then(|| {
                    printed.fetch_add(1, Ordering::SeqCst);
                    Executed {
                        stdout: dump.to_owned(),
                        ..Executed::default()
                    }
                })
            }),
            ..Behaviour::healthy(&place)
        },
    );
    place.run(&["obtain", NAME]).exits(1);
    drop(docker);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_domain_that_fails_stops_no_other() {
    let ca = Authority::root("Root");
    let [first, second] = [(); 2].map(|()| ca.issue(&Wish::names(&[NAME])));
    let server = Server::tls(tls_config(&second));
    let place = half_renewed(&server, &first, &second);
    let config = place.read("domains.toml");
    place.write(
        "domains.toml",
        config
            + &format!(
                "[[domain]]\nname = \"damaged.test\"\nconnect = \"{CLOSED}\"\n\
                 [[domain]]\nname = \"foreign.test\"\nconnect = \"{CLOSED}\"\n"
            ),
    );
    place.write("state/domains/damaged.test.json", "{\"version\": 2}");
    place.write("storage/live/foreign.test/fullchain.pem", "precious");
    let docker = Engine::start(&place, Behaviour::healthy(&place));
    let report = place
        .run(&["obtain", "--all", "--format", "json"])
        .exits(1)
        .json();
    let outcomes: Vec<&str> = report["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|domain| domain["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["proven", "failed", "failed"]);
    assert_eq!(codes(&report), ["store.foreign_lineage", "store.record"]);
    drop(docker);
}

#[test]
fn the_report_goes_to_stdout_and_the_log_to_stderr() {
    let ca = Authority::root("Root");
    let [first, second] = [(); 2].map(|()| ca.issue(&Wish::names(&[NAME])));
    let server = Server::tls(tls_config(&second));
    let place = half_renewed(&server, &first, &second);
    let docker = Engine::start(&place, Behaviour::healthy(&place));
    let run = place
        .run(&[
            "obtain",
            NAME,
            "-vv",
            "--log-format",
            "json",
            "--format",
            "json",
        ])
        .exits(0);
    let report = run.json();
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["command"], "obtain");
    assert_eq!(report["ca_requests"], 0);
    assert_eq!(report["targets"][0]["name"], "web");
    let domain = &report["domains"][0];
    assert_eq!(domain["names"], serde_json::json!([NAME]));
    assert_eq!(domain["generation"], 2);
    assert_eq!(domain["fingerprint"].as_str().map(str::len), Some(64));
    let mut stages = Vec::new();
    for line in run.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        stages.extend(event["fields"]["stage"].as_str().map(ToOwned::to_owned));
    }
    assert!(stages.contains(&"proof".to_owned()), "{stages:?}");
    let quiet = place.run(&["obtain", NAME, "-q"]).exits(0);
    assert_eq!(quiet.stderr, "");
    drop(docker);
}
