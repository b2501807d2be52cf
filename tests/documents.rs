//! README.md, domains.toml and CHANGELOG.md, held against what certd does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use certd::config::notify::{Event, MailTls, Means};
use certd::config::{Config, Environment, Terms, defaults};
use certd::finding::codes::CODES;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).expect("the file is there")
}

fn parse(text: &str) -> Config {
    let path = Path::new("/etc/certd/domains.toml");
    Config::parse(text, path, &Environment::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The code blocks of a Markdown text in one language, their indentation removed
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut current: Option<String> = None;
    for line in markdown.lines().map(str::trim_start) {
        match (&mut current, line.strip_prefix("```")) {
            (None, Some(opened)) if opened == language => current = Some(String::new()),
            (Some(_), Some(_)) => blocks.extend(current.take()),
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn the_configuration_of_the_readme_works() {
    let blocks = blocks(&file("README.md"), "toml");
    assert_eq!(blocks.len(), 3);
    let config = parse(&blocks[0]);
    assert_eq!(config.terms, Terms::Agreed);
    assert_eq!(config.domains.len(), 1);
    assert!(config.domains[0].nginx.is_some());
    // The third goes in front of it: it begins with a key of the top level.
    let config = parse(&[&blocks[2][..], "[[domain]]\nname = \"example.com\"\n"].concat());
    assert!(config.heartbeat.is_some());
    assert_eq!(config.notify.len(), 4);
    let domain = "terms_of_service_agreed = true\n[[domain]]\nname = \"messenger.example.com\"\n";
    let (short, long) = blocks[1].split_once("# or: ").expect("both forms");
    let [short, long] = [short, long].map(|probe| parse(&[domain, probe].concat()));
    let probe = |config: &Config| config.domains[0].probe.clone().expect("a probe");
    assert_eq!(probe(&short).url, probe(&long).url);
    assert_eq!(probe(&short).status, probe(&long).status);
}

#[test]
fn the_readme_names_every_event_and_every_field_of_an_alert() {
    let readme = file("README.md");
    for event in Event::ALL {
        assert!(
            readme.contains(&format!("| `{}` |", event.as_str())),
            "{event:?}"
        );
    }
    let shown = &blocks(&readme, "json")[0];
    let shown: serde_json::Value = serde_json::from_str(shown).expect("JSON");
    let sent = file("tests/command/snapshots/command__notify__message.snap");
    let sent = sent.splitn(3, "---\n").nth(2).expect("a snapshot");
    let sent: serde_json::Value = serde_json::from_str(sent).expect("JSON");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(keys(shown.pointer("").unwrap()), keys(&sent));
    assert_eq!(keys(&shown["domains"][0]), keys(&sent["domains"][0]));
}

#[test]
fn the_readme_begins_with_the_demo_and_shows_what_it_prints() {
    let readme = file("README.md");
    assert_eq!(blocks(&readme, "sh")[0], "cargo run --release -- demo\n");
    let shown = &blocks(&readme, "text")[0];
    assert_is_told(shown, "tests/command/snapshots/command__demo__story.snap");
}

#[test]
fn what_the_readme_shows_of_a_check_is_what_it_prints() {
    let blocks = blocks(&file("README.md"), "text");
    let shown = blocks.iter().find(|block| block.contains("http.dead_ipv6"));
    assert_is_told(
        shown.expect("the block is there"),
        "tests/command/snapshots/command__check__dns.snap",
    );
}

#[test]
fn what_the_readme_shows_of_why_is_what_it_prints() {
    let blocks = blocks(&file("README.md"), "text");
    let shown = blocks.iter().find(|block| block.contains("why.other_file"));
    assert_is_told(
        shown.expect("the block is there"),
        "tests/command/snapshots/command__why__classic.snap",
    );
}

#[test]
fn what_the_readme_shows_of_ci_stands_in_the_examples() {
    let blocks = blocks(&file("README.md"), "yaml");
    let [_, github, gitlab] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    for (shown, example) in [
        (github, "examples/ci/github-actions.yml"),
        (gitlab, "examples/ci/gitlab-ci.yml"),
    ] {
        let example = file(example);
        let mut lines = example.lines().map(str::trim_start);
        for line in shown.lines() {
            assert!(lines.any(|other| other == line), "{line:?}");
        }
    }
}

#[test]
fn what_the_readme_shows_of_a_play_is_what_it_prints() {
    let blocks = blocks(&file("README.md"), "text");
    let shown = blocks.iter().find(|block| block.contains("made-up"));
    assert_is_told(
        shown.expect("the block is there"),
        "tests/command/snapshots/command__simulate__ten_thousand.snap",
    );
}

/// The lines are lines of a snapshot, in its order
#[track_caller]
fn assert_is_told(shown: &str, snapshot: &str) {
    let text = file(snapshot);
    let told = text.splitn(3, "---\n").nth(2).expect("a snapshot");
    // The indentation is lost to `blocks`.
    let mut lines = told.lines().map(str::trim_start);
    for line in shown.lines() {
        assert!(
            lines.any(|told| is_told(line, told)),
            "{snapshot} does not hold {line:?}, or not there"
        );
    }
}

/// Whether a line is one of a snapshot with its `[PLACEHOLDERS]` filled in
fn is_told(line: &str, told: &str) -> bool {
    let mut rest = line;
    let mut pieces = told
        .split('[')
        .map(|piece| piece.split_once(']').map_or(piece, |(_, after)| after));
    pieces.all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    }) && (rest.is_empty() || told.ends_with(']'))
}

#[test]
fn the_sample_is_valid_and_agrees_to_nothing() {
    let config = parse(&file("domains.toml"));
    assert_eq!(config.terms, Terms::NotAgreed);
    assert_eq!(config.domains.len(), 2);
}

/// The sample with every example in it switched on, but for the two other ways to find nginx
fn uncommented(sample: &str) -> String {
    let is_example = |line: &str| {
        let word = line.split([' ', '=']).next().unwrap_or_default();
        let key = !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        line.starts_with('[') || (key && line[word.len()..].starts_with(" = "))
    };
    let lines = sample
        .lines()
        .filter_map(|line| match line.strip_prefix("# ") {
            Some(example) if is_example(example) => {
                let other = ["label", "service", "project"]
                    .iter()
                    .any(|key| example.starts_with(key));
                (!other).then_some(example)
            }
            _ => Some(line),
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_default_in_the_sample_is_the_real_one() {
    let silent = parse(&file("domains.toml"));
    let spoken = parse(&uncommented(&file("domains.toml")).replace("key_group = \"101\"", ""));
    assert_eq!(spoken.jobs, silent.jobs);
    assert_eq!(spoken.storage, silent.storage);
    assert_eq!(spoken.state, silent.state);
    assert_eq!(spoken.renewal_fraction, silent.renewal_fraction);
    assert_eq!(spoken.verify.timeout, silent.verify.timeout);
    assert_eq!(spoken.verify.concurrency, silent.verify.concurrency);
    assert_eq!(silent.verify.min_remaining, defaults::MIN_REMAINING);
    assert_eq!(spoken.dns.timeout, silent.dns.timeout);
    assert_eq!(spoken.preflight, silent.preflight);
    for (spoken, silent) in spoken.domains.iter().zip(&silent.domains) {
        assert_eq!(spoken.issuer, silent.issuer);
        assert_eq!(spoken.key_type, silent.key_type);
        assert_eq!(spoken.webroot, silent.webroot);
        assert_eq!(spoken.nginx, silent.nginx);
        assert_eq!(spoken.ports, silent.ports);
        assert_eq!(spoken.sharing, silent.sharing);
        assert_eq!(spoken.enabled, silent.enabled);
    }
    assert_eq!(spoken.domains[0].addresses.len(), 2);
    assert!(silent.domains[0].addresses.is_empty());
    assert_eq!(silent.storage, PathBuf::from(defaults::STORAGE));
    assert!(spoken.issuers["company"].trust.is_some());
    assert!(spoken.issuers["zerossl"].eab.is_some());
    assert_eq!((silent.notify.len(), spoken.notify.len()), (0, 4));
    assert!(silent.heartbeat.is_none() && spoken.heartbeat.is_some());
    for channel in &spoken.notify {
        assert_eq!(channel.on, Event::ALL.into());
        match &channel.means {
            Means::Mail(mail) => {
                assert_eq!(mail.tls, MailTls::StartTls);
                assert_eq!(mail.server.port, defaults::SUBMISSION_PORT);
            }
            Means::Telegram(telegram) => {
                assert_eq!(
                    telegram.api.uri().to_string(),
                    format!("{}/", defaults::TELEGRAM)
                );
            }
            Means::Webhook(_) | Means::Command(_) => {}
        }
    }
}

#[test]
fn the_readme_names_each_command_and_option_of_obtain() {
    let readme = file("README.md");
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_certd"))
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands: Vec<String> = help(&["-h"])
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(ToOwned::to_owned))
        .collect();
    assert_eq!(
        commands,
        [
            "obtain", "renew", "run", "check", "verify", "why", "notify", "status", "schema",
            "demo", "help"
        ]
    );
    for command in commands.iter().filter(|command| *command != "help") {
        assert!(readme.contains(&format!("| `certd {command}")), "{command}");
    }
    let help = help(&["obtain", "-h"]);
    let own = help.split("Options of every command:").next().unwrap();
    for option in own
        .split_whitespace()
        .filter(|word| word.starts_with("--") && *word != "--help")
    {
        let option = option.trim_end_matches(')').trim_end_matches('\'');
        assert!(readme.contains(option), "{option}");
    }
}

#[test]
fn the_readme_lists_every_code_as_the_source_does() {
    let readme = file("README.md");
    let (before, rest) = readme.split_once(CODES_BEGIN).expect("the first marker");
    let (listed, after) = rest.split_once(CODES_END).expect("the second marker");
    let expected = table_of_codes();
    if std::env::var_os("CERTD_UPDATE_README").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let written = format!("{before}{CODES_BEGIN}{expected}{CODES_END}{after}");
        #[expect(
            clippy::disallowed_methods,
            reason = "the file is the checkout's, not an operator's"
        )]
        fs::write(path, written).expect("README.md is writable");
        return;
    }
    assert!(
        listed == expected,
        "README.md has another table of codes than src/finding/codes.rs: \
         CERTD_UPDATE_README=1 cargo test --test documents"
    );
}

const CODES_BEGIN: &str =
    "<!-- codes: CERTD_UPDATE_README=1 cargo test --test documents writes this table -->\n";
const CODES_END: &str = "<!-- end of codes -->\n";

fn table_of_codes() -> String {
    let mut table = "\n| code | meaning | cure |\n|---|---|---|\n".to_owned();
    for code in CODES {
        if let Some(cure) = code.cure {
            table.push_str(&format!(
                "| `{}` | {} | {cure} |\n",
                code.code, code.meaning
            ));
        }
    }
    table + "\n"
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    let readme = file("README.md");
    for named in [
        "examples/pebble/run.sh",
        "examples/ci/github-actions.yml",
        "examples/ci/gitlab-ci.yml",
        "action.yml",
        "tests/run.sh",
        "domains.toml",
    ] {
        assert!(readme.contains(named), "{named}");
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(named).exists(),
            "{named}"
        );
    }
    assert!(file("CHANGELOG.md").starts_with("# Changelog"));
}
