//! What `certd renew` costs where nothing is due: it runs twice a day, for ever.
//!
//! Prints wall time, CPU time and peak memory for 1000 and for 10,000 lineages, each the least of
//! several runs. No request is sent.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark writes its own files and prints its figures"
)]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

fn main() {
    // `cargo test` builds and starts benchmarks too, with another argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "{:<16} {:>9} {:>9} {:>10}",
        "lineages", "wall", "cpu", "memory"
    );
    for lineages in [1_000, 10_000] {
        let home = tempfile::tempdir().expect("a directory");
        write_lineages(home.path(), lineages);
        let runs: Vec<(Duration, i64)> = (0..RUNS).map(|_| renew(home.path())).collect();
        let (wall, cpu) = runs.into_iter().min().expect("a run");
        // Of all children, of which the last and largest counts.
        let memory = usage().max_rss() / 1024;
        let wall = wall.as_millis();
        println!("{lineages:<16} {wall:>6} ms {cpu:>6} ms {memory:>6} MiB");
    }
}

/// One run: its wall time, and its CPU time in milliseconds
fn renew(home: &Path) -> (Duration, i64) {
    let cpu = || {
        let usage = usage();
        usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
    };
    let (before, begun) = (cpu(), Instant::now());
    let output = Command::new(env!("CARGO_BIN_EXE_certd"))
        .args(["--config", "domains.toml", "renew"])
        .current_dir(home)
        .output()
        .expect("certd runs");
    let wall = begun.elapsed();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("no request to a CA"), "{said}");
    (wall, cpu() - before)
}

fn usage() -> nix::sys::resource::Usage {
    getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts")
}

/// Proven lineages with a window that is weeks away
fn write_lineages(home: &Path, lineages: usize) {
    let directory = |path: String| {
        let path = home.join(path);
        fs::create_dir_all(&path).expect("a directory");
        path
    };
    let (live, records) = (
        directory("storage/live".to_owned()),
        directory("state/domains".to_owned()),
    );
    let mut config = String::from(
        "terms_of_service_agreed = true\nstorage = \"storage\"\nstate = \"state\"\n\
         webroot = \"webroot\"\n[nginx]\ncontainer = \"web\"\n",
    );
    let record = json!({"version": 1, "generations": {"1": {
        "issuer": "letsencrypt",
        "account": "https://acme-v02.api.letsencrypt.org/acme/acct/1",
        "issued_at": "2026-01-01T00:00:00Z",
        "proven_at": "2026-01-01T00:00:05Z",
        "renewal": {
            "window": {"start": "3999-01-01T00:00:00Z", "end": "3999-01-02T00:00:00Z"},
            "instant": "3999-01-01T12:00:00Z",
            "next_look": Timestamp::now() + SignedDuration::from_hours(12),
            "failures": 0,
        },
    }}});
    let record = record.to_string();
    for number in 0..lineages {
        let name = format!("d{number}.example");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.clone()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let archive = directory(format!("storage/archive/{name}/1"));
        for (file, text) in [
            ("cert.pem", certificate.clone()),
            ("chain.pem", certificate.clone()),
            ("fullchain.pem", certificate.repeat(2)),
            ("privkey.pem", key.serialize_pem()),
        ] {
            fs::write(archive.join(file), text).expect("a file");
        }
        symlink(format!("../archive/{name}/1"), live.join(&name)).expect("a link");
        fs::write(records.join(format!("{name}.json")), &record).expect("a file");
        let _ = writeln!(config, "[[domain]]\nname = {name:?}");
    }
    fs::write(home.join("domains.toml"), config).expect("a file");
}

const RUNS: usize = 5;
