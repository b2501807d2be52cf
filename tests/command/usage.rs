//! Arguments: help, and what is said of those that do not do.

use crate::support::{Place, Run, over_80_columns};

#[test]
fn help_of_every_command_fits_80_columns() {
    let place = Place::new();
    for (name, arguments) in [
        ("help", ["--help"].as_slice()),
        ("help_short", &["-h"]),
        ("help_obtain", &["obtain", "--help"]),
        ("help_renew", &["renew", "--help"]),
        ("help_check", &["check", "--help"]),
        ("help_verify", &["verify", "--help"]),
        ("help_why", &["why", "--help"]),
        ("help_notify", &["notify", "--help"]),
        ("help_status", &["status", "--help"]),
        ("help_schema", &["schema", "--help"]),
        ("help_demo", &["demo", "--help"]),
    ] {
        // A wide terminal must not change it.
        let run = Run::of(place.certd(arguments).env("COLUMNS", "200")).exits(0);
        assert_eq!(run.stderr, "");
        assert_eq!(over_80_columns(&run.stdout), [""; 0], "{name}");
        snapshot!(place, name, run.stdout);
    }
}

#[test]
fn help_needs_no_configuration_and_names_no_feature_to_come() {
    let place = Place::with("not TOML");
    let help = place.run(&["--help"]).exits(0).stdout;
    for later in ["audit", "rollback", "preflight"] {
        assert!(!help.contains(&format!("  {later}")), "{later}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let place = Place::new();
    for flag in ["--version", "-V", "version"] {
        let run = place.run(&[flag]).exits(0);
        assert_eq!(
            run.stdout,
            concat!("certd ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}

#[test]
fn commands_to_come_are_not_supported_yet() {
    let place = Place::with(CONFIG);
    // The commands of the design that have not landed.
    for command in [
        "audit",
        "rollback",
        "revoke",
        "bootstrap",
        "import",
        "init",
        "completions",
        "man",
    ] {
        let run = place.run(&[command]).exits(2);
        assert_eq!(
            run.stderr,
            format!("error: `{command}` is not supported yet\n")
        );
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn unusable_arguments_are_refused_with_what_to_write() {
    let place = Place::with(CONFIG);
    let runs: [&[&str]; 30] = [
        &["renew", "--force"],
        &["status", "frobnicate.example"],
        &[],
        &["obtian"],
        &["frobnicate"],
        &["--frobnicate"],
        &["obtain"],
        &["obtain", "--all", "shop.example.com"],
        &["obtain", "--all", "--dry-run", "--staging"],
        &["obtain", "--all", "--dry-run", "--no-deploy"],
        &["obtain", "--all", "--staging", "--no-deploy"],
        &["obtain", "--all", "--issuer"],
        &["obtain", "--all", "--issuer", "letsencript"],
        &["obtain", "mail.example.com"],
        &["obtain", "www.shop.example.com"],
        &["obtain", "*.example.com"],
        &["obtain", "https://shop.example.com/"],
        &["obtain", "shop.example.com,www.shop.example.com"],
        &["status", "www.shop.example.com"],
        &["status", "--format", "yaml"],
        &["status", "--color", "sometimes"],
        &["status", "-q", "-v"],
        &["status", "--format", "junit"],
        &["schema"],
        &["schema", "obtain"],
        &["verify", "--all"],
        &["check", "--all"],
        &["renew", "shop.example.com"],
        &["renew", "--dryrun"],
        &["notify", "--all"],
    ];
    for run in runs {
        let run = place.run(run).exits(2);
        assert_eq!(run.stdout, "");
    }
    snapshot!(place, "unusable_arguments", place.transcript(&runs));
}

#[test]
fn unusable_targets_of_verify_are_refused() {
    let place = Place::new();
    let runs: [&[&str]; 13] = [
        &["verify", ""],
        &["verify", "example.com:"],
        &["verify", "example.com:0"],
        &["verify", "example.com:99999"],
        &["verify", "example.com:https"],
        &["verify", "http://example.com/"],
        &["verify", "/etc/passwd"],
        &["verify", "exa,mple.com:443"],
        &["verify", "192.0.2.256"],
        &["verify", "*.example.com"],
        &["verify", "[::1]443"],
        &["verify", "[::1"],
        &["verify", "example.com:443:443"],
    ];
    for run in runs {
        place.run(run).exits(2);
    }
    snapshot!(place, "unusable_targets", place.transcript(&runs));
}

#[test]
fn without_a_configuration_the_message_says_where_it_was_looked_for() {
    if std::path::Path::new("/etc/certd/domains.toml").exists() {
        return;
    }
    let place = Place::new();
    for command in [["status"].as_slice(), &["verify"], &["obtain", "--all"]] {
        let run = place.run(command).exits(2);
        assert_eq!(
            run.stderr,
            "error: no configuration: neither ./domains.toml nor /etc/certd/domains.toml\n       exists\n\
             hint: name one with --config, or write the smallest one that works: see\n      README.md\n"
        );
    }
}

#[test]
fn a_command_that_the_help_does_not_show_is_not_suggested() {
    let run = Place::new().run(&["verif"]).exits(2);
    assert!(run.stderr.contains("exists: 'verify'"), "{run}");
    assert!(!run.stderr.contains("version"), "{run}");
}

#[test]
fn all_without_an_enabled_domain_is_refused() {
    let place = Place::with("[[domain]]\nname = \"example.com\"\nenabled = false\n");
    let run = place.run(&["obtain", "--all"]).exits(2);
    insta::assert_snapshot!(run.stderr, @r"
    error: no enabled domain is configured
    hint: a domain with enabled = false is left out by --all
    ");
}

#[test]
fn errors_are_coloured_when_asked_for_and_plain_elsewhere() {
    let place = Place::with(CONFIG);
    let coloured = ["obtain", "mail.example.com", "--color", "always"];
    let run = Run::of(place.certd(&coloured).env_remove("NO_COLOR")).exits(2);
    assert!(run.stderr.starts_with("\u{1b}[1m\u{1b}[31merror:"), "{run}");
    for arguments in [
        ["obtain", "mail.example.com", "--color", "auto"],
        ["obtain", "mail.example.com", "--color", "never"],
    ] {
        let run = Run::of(place.certd(&arguments).env_remove("NO_COLOR")).exits(2);
        assert!(!run.stderr.contains('\u{1b}'), "{run}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let place = Place::with(CONFIG);
    let mut child = place
        .certd(&["status", "--format", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

const CONFIG: &str = r#"
storage = "storage"
state = "state"

[[domain]]
name = "shop.example.com"
aliases = ["www.shop.example.com"]
"#;
