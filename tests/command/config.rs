//! domains.toml, good and bad: what an operator reads when it does not do.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::support::{Place, Run};

#[test]
fn every_mistake_is_named_with_its_line_its_key_and_what_to_write() {
    let mut wrong = Vec::new();
    for (name, text) in fixtures("bad") {
        let place = Place::new();
        place.write("domains.toml", text);
        let run = place.run(&["status", "--config", "domains.toml"]).exits(2);
        assert_eq!(run.stdout, "", "{name}");
        // One mistake must not hide the others.
        let compared = catch_unwind(|| snapshot!(place, format!("bad_{name}"), run.stderr));
        wrong.extend(compared.err().map(|_| name));
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn no_snapshot_outlives_its_fixture() {
    let fixtures: BTreeSet<String> = fixtures("bad").into_iter().map(|(name, _)| name).collect();
    let snapshots: BTreeSet<String> = fs::read_dir(manifest("tests/command/snapshots"))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.strip_prefix("command__config__bad_")?;
            Some(name.strip_suffix(".snap")?.to_owned())
        })
        .collect();
    assert_eq!(snapshots, fixtures);
}

#[test]
fn every_command_refuses_a_bad_configuration_in_the_same_words() {
    let place = Place::with("[[domain]]\nname = \"*.example.com\"\n");
    let commands: [&[&str]; 4] = [
        &["status"],
        &["verify"],
        // One that is given a host, and no file, leaves it aside.
        &["verify", "127.0.0.1:1", "--config", "domains.toml"],
        &["obtain", "--all"],
    ];
    for command in commands {
        let run = place.run(command).exits(2);
        assert_eq!(
            run.stderr,
            "error: domains.toml has a mistake\n  line 2: `domain[0].name`: \"*.example.com\": \
             a wildcard is not the name of one\n        host\n    \
             name each host: wildcards need dns-01, which is not supported yet\n"
        );
    }
}

#[test]
fn good_configurations_are_accepted() {
    for (name, text) in fixtures("good") {
        let place = Place::new();
        place.write("domains.toml", text);
        let run = place.run(&["status"]).exits(0);
        assert_eq!(run.stderr, "", "{name}");
    }
}

#[test]
fn names_are_shown_as_a_labels() {
    let place = Place::new();
    place.write(
        "domains.toml",
        format!("storage = \"storage\"\n{}", fixture("good/idn.toml")),
    );
    let status = place.run(&["status", "--format", "json"]).exits(0).json();
    assert_eq!(
        status["lineages"][0]["names"],
        serde_json::json!([
            "xn--bcher-kva.example",
            "xn--bcher-kva.example.net",
            "xn--bcher-kva.example.org",
            "xn--80afohp.xn--p1ai",
            "xn--fa-hia.example"
        ])
    );
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let place = Place::with("");
    place.write("latin1.toml", b"email = \"b\xfccher@example.com\"\n");
    place.write("huge.toml", "#".repeat(4 * 1024 * 1024 + 1));
    place.write("directory.toml/file", "");
    let runs: [&[&str]; 5] = [
        &["status", "--config", "latin1.toml"],
        &["status", "--config", "huge.toml"],
        &["status", "--config", "directory.toml"],
        &["status", "--config", "missing.toml"],
        &["obtain", "--all", "--config", "missing.toml"],
    ];
    for run in runs {
        place.run(run).exits(2);
    }
    snapshot!(place, "no_text", place.transcript(&runs));
}

#[test]
fn the_largest_file_that_is_read_has_four_mebibytes() {
    let place = Place::new();
    let domain = "storage = \"storage\"\n[[domain]]\nname = \"example.com\"\n#";
    let padding = "x".repeat(4 * 1024 * 1024 - domain.len());
    place.write("domains.toml", format!("{domain}{padding}"));
    place.run(&["status"]).exits(0);
}

#[test]
fn the_file_is_looked_for_at_the_flag_then_the_variable_then_here() {
    let place = Place::with("");
    let config = |name: &str| format!("storage = \"storage\"\n[[domain]]\nname = \"{name}\"\n");
    place.write("domains.toml", config("here.example"));
    place.write("variable.toml", config("variable.example"));
    place.write("flag.toml", config("flag.example"));
    #[track_caller]
    fn check(run: &Run, expected: &str) {
        assert_eq!(run.json()["lineages"][0]["name"], expected);
    }
    let json = ["status", "--format", "json"];
    check(
        &Run::of(place.certd(&json).env("CERTD_CONFIG", "variable.toml")),
        "variable.example",
    );
    let flag = ["status", "--format", "json", "--config", "flag.toml"];
    check(
        &Run::of(place.certd(&flag).env("CERTD_CONFIG", "variable.toml")),
        "flag.example",
    );
    check(
        &Run::of(&mut place.certd_without_rights(&json)),
        "here.example",
    );
}

#[test]
fn as_root_a_file_in_the_current_directory_is_not_read_unasked() {
    if !geteuid().is_root() || Path::new("/etc/certd/domains.toml").exists() {
        return;
    }
    let place = Place::with("[[domain]]\nname = \"example.com\"\n");
    let unasked = |arguments: &[&str]| Run::of(place.certd(arguments).env_remove("CERTD_CONFIG"));
    for command in [["status"].as_slice(), &["renew"], &["obtain", "--all"]] {
        assert_eq!(
            unasked(command).exits(2).stderr,
            "error: no configuration: /etc/certd/domains.toml does not exist, and root does\n       not \
             read ./domains.toml unasked\n\
             hint: if it is yours: certd --config domains.toml ...; else see who put it there\n"
        );
    }
}

#[test]
fn a_file_that_somebody_else_could_have_written_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let place = Place::with("[[domain]]\nname = \"example.com\"\n");
    let file = place.path("domains.toml");
    let refused = || {
        let run = place.run(&["renew"]).exits(2);
        let shown = file.display().to_string();
        // Where the lines break is a matter of the path.
        let whole = run.stderr.replacen("\n       ", " ", 1);
        whole.replace(&shown, "FILE")
    };
    std::os::unix::fs::chown(&file, Some(12345), None).expect("root may");
    insta::assert_snapshot!(refused(), @r"
    error: domains.toml is not safe to use: FILE belongs to user 12345 (mode 0644)
    hint: read it through, then make it root's:
              chown root: FILE
          or run certd as its owner
    ");
    std::os::unix::fs::chown(&file, Some(0), None).expect("root may");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("it is ours");
    insta::assert_snapshot!(refused(), @r"
    error: domains.toml is not safe to use: others may write to FILE (owner 0, mode 0666)
    hint: read it through, then:
              chmod go-w FILE
    ");
}

#[test]
fn what_roots_group_may_write_is_not_believed() {
    if !geteuid().is_root() {
        return;
    }
    let place = Place::with("[[domain]]\nname = \"example.com\"\n");
    let mode = fs::Permissions::from_mode(0o664);
    fs::set_permissions(place.path("domains.toml"), mode).expect("it is ours");
    let run = place.run(&["renew"]).exits(2);
    assert!(run.stderr.contains("(owner 0, mode 0664)"), "{run}");
    assert!(run.stderr.contains("chmod go-w"), "{run}");
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let place = Place::new();
    let fifo = place.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("it is ours");
    for arguments in [
        ["status", "--config", "fifo"].as_slice(),
        &["verify", "--chain", "fifo", "--name", "example.com"],
        &["verify", "--trust", "fifo", "127.0.0.1:1"],
    ] {
        let run = place.run(arguments).exits(2);
        assert!(run.stderr.contains("it is a FIFO, and no file"), "{run}");
    }
    fs::rename(&fifo, place.path("domains.toml")).expect("it is ours");
    let run = Run::of(&mut place.certd(&["verify", "127.0.0.1:1"])).exits(1);
    assert!(run.stderr.contains("left aside"), "{run}");
}

#[test]
fn whom_to_trust_is_not_told_by_a_strangers_file_that_nobody_named() {
    if !geteuid().is_root() {
        return;
    }
    let place = Place::with("[verify]\ntrust = [\"missing.pem\"]\n");
    let file = place.path("domains.toml");
    // It is one's own, so it counts.
    let run = place.run(&["verify", "127.0.0.1:1"]).exits(2);
    assert!(run.stderr.contains("missing.pem"), "{run}");
    std::os::unix::fs::chown(&file, Some(12345), None).expect("root may");
    let run = place.run(&["verify", "127.0.0.1:1"]).exits(1);
    assert!(run.stderr.contains("are ignored"), "{run}");
    assert!(run.stderr.contains("belongs to user 12345"), "{run}");
    // It is named, so it is meant.
    let run = place
        .run(&["verify", "127.0.0.1:1", "--config", "domains.toml"])
        .exits(2);
    assert!(run.stderr.contains("missing.pem"), "{run}");
}

#[test]
fn what_others_may_write_to_is_told_once() {
    let place = Place::with(
        "storage = \"storage\"\nstate = \"state\"\n[[domain]]\nname = \"example.com\"\n",
    );
    let storage = place.path("storage");
    fs::create_dir_all(&storage).expect("it is ours");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(place.path(""), open).expect("it is ours");
    fs::set_permissions(&storage, fs::Permissions::from_mode(0o777)).expect("it is ours");
    let run = place.run(&["obtain", "--all", "--dry-run"]);
    let told = run
        .stderr
        .matches("every user of this host may write to `storage`");
    assert_eq!(told.count(), 1, "{run}");
}

/// What certd says by whom the usual place is not root's own: in a mount namespace of its own, `etc`
/// of the place is `/etc`
fn refused_where(place: &Place, changes: &str, arguments: &[&str]) -> Option<String> {
    let changes = format!("mount --bind etc /etc\n{changes}");
    let mut command = place.certd_without_rights_where(&changes, arguments)?;
    Some(Run::of(&mut command).exits(2).stderr)
}

#[test]
fn a_configuration_that_may_not_be_reached_is_not_called_missing() {
    let place = Place::new();
    place.write(
        "etc/certd/domains.toml",
        "[[domain]]\nname = \"example.com\"\n",
    );
    for mode in ["700", "750"] {
        let closed = format!("chown 0:0 etc/certd; chmod {mode} etc/certd");
        let Some(told) = refused_where(&place, &closed, &["status"]) else {
            return;
        };
        assert_eq!(
            told,
            "error: cannot read /etc/certd/domains.toml\n  caused by: Permission denied\n\
             hint: let the user of certd enter it: chmod 755 /etc/certd\n"
        );
    }
    // What is said of the file itself, where that alone is closed.
    let file = "chmod 755 etc/certd; chown 0:0 etc/certd/*; chmod 600 etc/certd/*";
    let told = refused_where(&place, file, &["status"]).expect("it is root");
    assert!(
        told.ends_with("hint: let the user of certd read /etc/certd/domains.toml\n"),
        "{told}"
    );
    // A directory that is not certd's is not to be opened to everybody.
    let home = "mkdir -p home; chown 0:0 home; chmod 700 home";
    let named = ["status", "--config", "home/domains.toml"];
    let told = refused_where(&place, home, &named).expect("it is root");
    let closed = place.path("home").display().to_string();
    assert!(
        told.contains(&format!("may not enter {closed}: keep the file")),
        "{told}"
    );
}

#[test]
fn a_current_directory_that_may_not_be_entered_is_told_and_hides_no_configuration() {
    let place = Place::new();
    place.write("etc/hosts", "");
    place.write("home/domains.toml", "");
    let elsewhere = "chown -R 0:0 home; chmod 700 home; cd home";
    let Some(told) = refused_where(&place, elsewhere, &["status"]) else {
        return;
    };
    assert_eq!(
        told,
        "error: no configuration: /etc/certd/domains.toml does not exist, and this user\n       may not \
         look into the current directory\n\
         hint: name one with --config, or write the smallest one that works: see\n      README.md\n"
    );
    place.write("etc/certd/domains.toml", "mistaken");
    let told = refused_where(&place, elsewhere, &["status"]).expect("it is root");
    assert!(
        told.starts_with("error: /etc/certd/domains.toml has a mistake"),
        "{told}"
    );
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let place = Place::new();
    place.write(
        "etc/domains.toml",
        "storage = \"missing\"\n[[domain]]\nname = \"example.com\"\n",
    );
    let run = place
        .run(&["obtain", "--all", "--config", "etc/domains.toml"])
        .exits(1);
    assert!(run.stderr.contains("etc/missing"), "{run}");
}

/// Names and texts of the fixtures in a directory, by name
fn fixtures(below: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> =
        fs::read_dir(manifest("tests/fixtures/config").join(below))
            .expect("the fixtures are there")
            .map(|entry| {
                let path = entry.expect("it is readable").path();
                let name = path
                    .file_stem()
                    .expect("a file has a name")
                    .to_string_lossy()
                    .into_owned();
                (
                    name,
                    fs::read_to_string(path).expect("the fixtures are there"),
                )
            })
            .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn fixture(path: &str) -> String {
    fs::read_to_string(manifest("tests/fixtures/config").join(path))
        .expect("the fixtures are there")
}

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
