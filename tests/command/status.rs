//! `certd status`: every lineage as it stands on disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use certd_sandbox::acme::Call;
use certd_sandbox::fault::{Answer, Times};
use jiff::Timestamp;
use nix::unistd::geteuid;
use serde_json::json;

use crate::support::{Authority, Host, Place, Run, Setting, Wish, over_80_columns, sites};

const MESSENGER: &str = "messenger.rare-books.test";
const LONG: &str = "a-domain-with-sixty-characters-in-its-name.rare-books.example";

/// A place with one lineage of each kind
fn place() -> Place {
    let place = Place::with(&format!(
        r#"
storage = "storage"
state = "state"

[[domain]]
name = "{LONG}"
aliases = ["www.{LONG}", "cdn.{LONG}"]

[[domain]]
name = "none.example"
issuer = "letsencrypt-staging"

[[domain]]
name = "issued.example"

[[domain]]
name = "live.example"

[[domain]]
name = "expired.example"

[[domain]]
name = "damaged.example"

[[domain]]
name = "certbot.example"
"#
    ));
    let ca = Authority::root("Root");
    let good = |names: &[&str]| ca.issue(&Wish::names(names));
    let aliases = [format!("www.{LONG}"), format!("cdn.{LONG}")];
    place.archive(LONG, 11, &good(&[LONG, &aliases[0], &aliases[1]]));
    place.go_live(LONG, 11);
    place.write(
        &format!("state/domains/{LONG}.json"),
        r#"{"version": 1, "generations": {"11": {"issuer": "letsencrypt", "account": "https://ca.test/1",
            "issued_at": "2026-01-01T00:00:00Z", "proven_at": "2026-01-01T00:00:05Z"}},
            "last_result": {"at": "2026-01-01T00:00:05Z", "outcome": "proven",
            "message": "generation 11 is served for all 3 names"}}"#,
    );
    place.archive("issued.example", 1, &good(&["issued.example"]));
    place.archive("live.example", 2, &good(&["live.example"]));
    place.go_live("live.example", 2);
    place.write(
        "state/domains/live.example.json",
        json!({"version": 1, "order_failures": {"count": 4, "last": Timestamp::now()},
            "last_result": {"at": "2026-01-01T00:00:05Z", "outcome": "failed",
            "message": "live.example at 127.0.0.1:443 is served with the certificate of issued.example, not its own"}})
        .to_string(),
    );
    let expired = Wish {
        valid: (2020, 2021),
        ..Wish::names(&["expired.example"])
    };
    place.archive("expired.example", 1, &ca.issue(&expired));
    place.go_live("expired.example", 1);
    place.archive("damaged.example", 3, &good(&["damaged.example"]));
    place.write(
        "storage/archive/damaged.example/3/fullchain.pem",
        "-----BEGIN CERTIFICATE-----\n",
    );
    place.go_live("damaged.example", 3);
    certbot(&place, "certbot.example");
    place.archive("orphan.example", 1, &good(&["orphan.example"]));
    place.go_live("orphan.example", 1);
    certbot(&place, "certbot-alone.example");
    place
}

/// A lineage as certbot lays it out
fn certbot(place: &Place, name: &str) {
    place.write(&format!("storage/renewal/{name}.conf"), "version = 2.1.0\n");
    let live = place.path(&format!("storage/live/{name}"));
    fs::create_dir_all(&live).expect("the place is writable");
    for file in ["cert", "chain", "fullchain", "privkey"] {
        place.write(&format!("storage/archive/{name}/{file}1.pem"), "certbot's");
        symlink(
            format!("../../archive/{name}/{file}1.pem"),
            live.join(format!("{file}.pem")),
        )
        .expect("nothing is there yet");
    }
}

#[test]
fn the_table_fits_80_columns_whatever_the_names() {
    let place = place();
    let run = place.run(&["status"]).exits(0);
    assert_eq!(run.stderr, "");
    assert_eq!(over_80_columns(&run.stdout), [""; 0], "{run}");
    snapshot!(place, "table", run.stdout);
}

#[test]
fn json_tells_the_state_of_every_lineage() {
    let place = place();
    let report = place.run(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["command"], "status");
    let lineages = report["lineages"].as_array().unwrap();
    let states: Vec<(&str, &str)> = lineages
        .iter()
        .map(|lineage| {
            (
                lineage["name"].as_str().unwrap(),
                lineage["state"].as_str().unwrap(),
            )
        })
        .collect();
    // Another program's lineages that no domain asks for are not certd's to show.
    assert_eq!(
        states,
        [
            (LONG, "proven"),
            ("none.example", "none"),
            ("issued.example", "issued"),
            ("live.example", "live"),
            ("expired.example", "expired"),
            ("damaged.example", "damaged"),
            ("certbot.example", "foreign"),
            ("orphan.example", "live"),
        ]
    );
    let proven = &lineages[0];
    assert_eq!(proven["names"][2], format!("cdn.{LONG}"));
    assert_eq!(proven["generation"], 11);
    assert_eq!(proven["newest_generation"], 11);
    assert_eq!(proven["issuer"], "letsencrypt");
    assert_eq!(proven["not_after"], "2120-01-01T00:00:00Z");
    assert_eq!(proven["fingerprint"].as_str().map(str::len), Some(64));
    assert!(proven["remaining_secs"].as_i64().unwrap() > 0);
    assert!(proven["renewal_at"].is_string());
    assert_eq!(proven["last_result"]["outcome"], "proven");
    let next: Timestamp = lineages[3]["next_try"].as_str().unwrap().parse().unwrap();
    let wait = next.duration_since(Timestamp::now());
    assert_eq!(wait.as_hours(), 22, "{next}");
    assert!(lineages[4]["remaining_secs"].as_i64().unwrap() < 0);
    assert!(lineages[5]["problem"].is_string());
}

#[test]
fn looking_changes_nothing_on_disk() {
    let place = place();
    let before = place.tree("");
    place.run(&["status"]).exits(0);
    assert_eq!(place.tree(""), before);
}

#[test]
fn a_storage_that_is_not_there_holds_nothing() {
    let place = Place::with(
        "storage = \"missing\"\nstate = \"state\"\n[[domain]]\nname = \"example.com\"\n",
    );
    let report = place.run(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(report["lineages"][0]["state"], "none");
    assert_eq!(report["warnings"][0]["code"], "store.storage_missing");
    assert!(!place.path("missing").exists());
}

#[test]
fn a_generation_that_waits_behind_the_live_one_is_seen() {
    let place = Place::with(
        "storage = \"storage\"\nstate = \"state\"\n[[domain]]\nname = \"example.com\"\n",
    );
    let ca = Authority::root("Root");
    for generation in [1, 2] {
        place.archive(
            "example.com",
            generation,
            &ca.issue(&Wish::names(&["example.com"])),
        );
    }
    place.go_live("example.com", 1);
    let report = place.run(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(report["lineages"][0]["generation"], 1);
    assert_eq!(report["lineages"][0]["newest_generation"], 2);
    let run = place.run(&["status"]).exits(0);
    snapshot!(place, "waiting_generation", run.stdout);
}

/// The first lineage of a host, and all that is shown
fn shown(host: &Host) -> (serde_json::Value, String) {
    let report = host.certd(&["status", "--format", "json"]).exits(0).json();
    let text = host.certd(&["status"]).exits(0).stdout;
    (report["lineages"][0].clone(), text)
}

#[test]
fn a_renewal_that_failed_comes_before_what_was_proven_once() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    host.ca
        .fault(Call::NewOrder, Times::Always, Answer::status(503));
    host.obtain(&["--force"]).exits(1);
    let (lineage, text) = shown(&host);
    // The generation is as it was.
    assert_eq!(lineage["state"], "proven");
    assert!(lineage["proven_at"].is_string(), "{lineage}");
    assert_eq!(lineage["last_result"]["verdict"], "failed");
    assert_eq!(lineage["last_result"]["code"], "acme.status");
    assert_eq!(over_80_columns(&text), [""; 0], "{text}");
    snapshot!(host.place, "failed_renewal", text);
    host.ca.behave();
    host.obtain(&["--force"]).exits(0);
    let (lineage, text) = shown(&host);
    assert_eq!(lineage["last_result"]["verdict"], "well");
    assert!(lineage["last_result"]["code"].is_null(), "{lineage}");
    assert!(text.contains("  2    proven "), "{text}");
    assert!(!text.contains("failed"), "{text}");
}

#[test]
fn a_deployment_that_failed_says_what_to_do_and_what_is_live() {
    let setting = Setting::two_domains();
    let host = Host::new(&setting);
    host.obtain(&[]).exits(0);
    let mut wrong = sites(&setting);
    wrong[0].lineage = "messenger.rare-books.test".to_owned();
    host.web.configure(&wrong).expect("files can be written");
    host.certd(&["obtain", "rare-books.test", "--force"])
        .exits(1);
    let (lineage, text) = shown(&host);
    assert_eq!(lineage["last_result"]["code"], "proof.other_lineage");
    let cure = lineage["last_result"]["cure"].as_str().unwrap();
    assert!(cure.contains("ssl_certificate"), "{cure}");
    snapshot!(host.place, "failed_deployment", text);
}

#[test]
fn a_live_link_to_a_generation_that_is_gone_is_damage() {
    let place = Place::with(
        "storage = \"storage\"\nstate = \"state\"\n[[domain]]\nname = \"example.com\"\n",
    );
    place.go_live("example.com", 7);
    let report = place.run(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(report["lineages"][0]["state"], "damaged");
}

#[test]
fn a_damaged_record_does_not_pass_for_none() {
    let place = Place::with(
        "storage = \"storage\"\nstate = \"state\"\n[[domain]]\nname = \"example.com\"\n",
    );
    place.write("state/domains/example.com.json", "{\"version\": ");
    let run = place.run(&["status"]).exits(0);
    assert!(
        run.stdout
            .contains("state/domains/example.com.json is damaged"),
        "{run}"
    );
}

#[test]
fn colour_is_only_there_when_it_is_asked_for() {
    let place = place();
    let shown = |arguments: &[&str], no_color: bool| {
        let mut command = place.certd(arguments);
        if !no_color {
            command.env_remove("NO_COLOR");
        }
        Run::of(&mut command).exits(0).stdout
    };
    let escaped = |text: &str| text.contains('\u{1b}');
    assert!(escaped(&shown(&["status", "--color", "always"], false)));
    assert!(!escaped(&shown(&["status"], false)), "stdout is a pipe");
    assert!(!escaped(&shown(&["status"], true)));
    assert!(!escaped(&shown(&["status", "--color", "never"], false)));
    // An explicit flag of this run comes before a variable of the session.
    assert!(escaped(&shown(&["status", "--color", "always"], true)));
    assert!(!escaped(&shown(
        &["status", "--format", "json", "--color", "always"],
        false
    )));
}

#[test]
fn records_that_may_not_be_read_are_no_reason_to_look_well() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    for closed in ["state", "state/domains"] {
        let mut command = host.place.certd_without_rights(&["status"]);
        let path = host.place.path(closed);
        if geteuid().is_root() {
            chown(&path, Some(0), Some(0)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        } else {
            fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        }
        let run = Run::of(&mut command);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        assert!(run.stdout.contains("store.state_forbidden"), "{run}");
    }
}

#[test]
fn what_was_installed_is_known_when_its_files_are_damaged() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let shown = || {
        let status = host.certd(&["status", "--format", "json"]).exits(0).json();
        let lineage = &status["lineages"][0];
        (lineage["state"].clone(), lineage["fingerprint"].clone())
    };
    let (_, fingerprint) = shown();
    let chain = "storage/archive/rare-books.test/1/fullchain.pem";
    host.place.write(chain, "junk");
    assert_eq!(shown(), (json!("damaged"), fingerprint));
}

#[test]
fn what_is_well_has_a_line_each_and_what_is_named_is_told_whole() {
    let names: Vec<String> = (0..40)
        .map(|number| format!("d{number:02}.example"))
        .collect();
    let domains = names
        .iter()
        .map(|name| format!("[[domain]]\nname = \"{name}\"\n"));
    let place = Place::with(&format!(
        "storage = \"storage\"\nstate = \"state\"\n{}",
        domains.collect::<String>()
    ));
    let ca = Authority::root("Root");
    for name in &names {
        let leaf = ca.issue(&Wish::names(&[name.as_str()]));
        place.archive(name, 1, &leaf);
        place.go_live(name, 1);
        let outcome = if name == "d07.example" {
            "failed"
        } else {
            "proven"
        };
        place.write(
            &format!("state/domains/{name}.json"),
            json!({"version": 1, "generations": {"1": {"issuer": "letsencrypt",
                "issued_at": "2026-01-01T00:00:00Z", "proven_at": "2026-01-01T00:00:05Z"}},
                "last_result": {"at": "2026-01-01T00:00:05Z", "outcome": outcome,
                "message": "what came of it"}})
            .to_string(),
        );
    }
    let text = place.run(&["status"]).exits(0).stdout;
    // A head, a line each, and what is to be known of the one that failed.
    assert_eq!(text.matches("what came of it").count(), 1, "{text}");
    assert!(text.lines().count() < 1 + names.len() + 8, "{text}");
    let one = place.run(&["status", "d03.example"]).exits(0).stdout;
    assert!(
        one.contains("what came of it") && !one.contains("d07"),
        "{one}"
    );
    let json = place
        .run(&["status", "D03.example", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(json["lineages"].as_array().unwrap().len(), 1);
}

#[test]
fn certbots_own_storage_is_known_by_whom_certbot_does_not_let_in() {
    let place = Place::with(
        "storage = \"storage\"\nstate = \"state\"\n[[domain]]\nname = \"certbot.example\"\n\
         [[domain]]\nname = \"other.example\"\n",
    );
    certbot(&place, "certbot.example");
    let closed = "chown 0:0 storage/live storage/archive; chmod 700 storage/live storage/archive";
    let run = |arguments: &[&str]| {
        let mut command = place.certd_without_rights_where(closed, arguments)?;
        Some(Run::of(&mut command))
    };
    for command in [["renew"].as_slice(), &["run"], &["obtain", "--all"]] {
        let Some(run) = run(command) else {
            return;
        };
        let told = run.exits(1).stderr;
        assert!(
            told.contains("error: certbot keeps its certificates in the storage"),
            "{told}"
        );
        assert!(
            told.contains("1. in domains.toml, a storage that is owned by"),
            "{told}"
        );
        assert!(told.contains("certd obtain --all"), "{told}");
    }
    let report = run(&["status", "--format", "json"])
        .expect("it is root")
        .json();
    let of = |at: usize| report["lineages"][at]["state"].as_str();
    assert_eq!([of(0), of(1)], [Some("foreign"), Some("unreadable")]);
    let problem = report["lineages"][1]["problem"]
        .as_str()
        .expect("a problem");
    assert!(
        problem.contains("Permission denied; run certd as the owner"),
        "{problem}"
    );
    let checked = run(&["check", "certbot.example"])
        .expect("it is root")
        .exits(1);
    assert!(
        checked.stdout.contains("store.foreign_lineage"),
        "{checked}"
    );
}

#[test]
fn what_is_configured_no_more_is_to_be_removed_and_not_to_be_served_again() {
    let host = Host::new(&Setting::two_domains());
    let mut wrong = sites(&Setting::two_domains());
    wrong[1].lineage = "rare-books.test".to_owned();
    host.web.configure(&wrong).expect("files can be written");
    host.obtain(&[]).exits(1);
    let server_block = "ssl_certificate ";
    assert!(host.certd(&["status"]).stdout.contains(server_block));
    let config = host.place.read("domains.toml");
    let (others, _) = config.rsplit_once("[[domain]]").expect("a domain");
    host.place.write("domains.toml", others);
    let run = host.certd(&["status"]).exits(0);
    assert!(!run.stdout.contains(server_block), "{run}");
    let remove = ["live", "archive"];
    let remove = remove.map(|below| format!("rm -r [DIR]/storage/{below}/{MESSENGER}\n"));
    let shown = host.place.without_directory(&run.stdout);
    assert!(remove.iter().all(|line| shown.contains(line)), "{run}");
}

#[test]
fn what_has_expired_is_called_that() {
    let place = place();
    let report = place.run(&["status", "--format", "json"]).exits(0).json();
    let lineages = report["lineages"].as_array().unwrap();
    let expired = lineages
        .iter()
        .find(|lineage| lineage["name"] == "expired.example");
    assert_eq!(expired.unwrap()["state"], "expired");
    let text = place.run(&["status"]).exits(0).stdout;
    let line = text
        .lines()
        .find(|line| line.starts_with("expired.example"));
    assert!(line.unwrap().contains(" expired "), "{text}");
}

#[test]
fn what_a_clock_that_was_set_back_has_ahead_is_not_called_past() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let path = "state/domains/rare-books.test.json".to_owned();
    let ahead = |mut record: serde_json::Value| {
        record["generations"]["1"]["proven_at"] = json!("2999-01-01T00:00:00Z");
        record["last_result"] = json!({"at": "2999-01-01T00:00:00Z", "outcome": "failed",
            "message": "made up"});
        record.to_string()
    };
    let record = serde_json::from_str(&host.place.read(&path)).unwrap();
    host.place.write(&path, ahead(record));
    let (_, text) = shown(&host);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!text.contains(" ago"), "{text}");
    assert!(
        text.contains("last seen served at 2999-01-01 00:00 UTC, by a clock ahead of this host's"),
        "{text}"
    );
}
