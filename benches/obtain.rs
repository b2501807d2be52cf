//! What `certd obtain --all` costs where nothing is ordered: nothing to do, and every certificate to
//! be deployed and proven, for 100 and for 1000 domains of one nginx.
//!
//! A web server of the sandbox stands in nginx's place, in this process and on the same processors.
//! Prints wall and processor time of certd, each the least of several runs.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark writes its own files and prints its figures"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::runtime::Builder;

#[path = "support/served.rs"]
mod served;

use served::{State, serve};

fn main() {
    // `cargo test` builds and starts benchmarks too, with another argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("{:<24} {:>9} {:>9}", "", "wall", "cpu");
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for domains in [100, 1_000] {
        let home = tempfile::tempdir().expect("a directory");
        let _servers = serve(&runtime, home.path(), domains, State::Proven);
        let runs = (0..RUNS).map(|_| obtain(home.path(), "unchanged"));
        show(domains, "nothing to do", runs.min());
        let runs = (0..RUNS).map(|_| {
            let home = tempfile::tempdir().expect("a directory");
            let _servers = serve(&runtime, home.path(), domains, State::Issued);
            obtain(home.path(), "proven")
        });
        show(domains, "deploy", runs.min());
    }
}

fn show(domains: usize, what: &str, least: Option<(Duration, i64)>) {
    let (wall, cpu) = least.expect("a run");
    let (label, wall) = (format!("{domains}, {what}"), wall.as_millis());
    println!("{label:<24} {wall:>6} ms {cpu:>6} ms");
}

/// One run, in which all domains end like this: its wall time, and its CPU time in milliseconds
fn obtain(home: &Path, outcome: &str) -> (Duration, i64) {
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
        usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
    };
    let (before, begun) = (cpu(), Instant::now());
    let output = Command::new(env!("CARGO_BIN_EXE_certd"))
        .args([
            "--config",
            "domains.toml",
            "obtain",
            "--all",
            "--format",
            "json",
        ])
        .current_dir(home)
        .output()
        .expect("certd runs");
    let wall = begun.elapsed();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    for domain in report["domains"].as_array().expect("domains") {
        assert_eq!(domain["outcome"], outcome, "{domain}");
    }
    (wall, cpu() - before)
}

const RUNS: usize = 3;
