//! What `certd obtain --all` costs where nothing is ordered: nothing to do, and every certificate to
//! be deployed and proven, for 100 and for 1000 domains of one nginx.
//!
//! Beside the first stands what its handshakes alone cost, in a process of their own.
//! A web server of the sandbox stands in nginx's place, in this process and on the same processors.
//! Prints wall and processor time of certd, each the least of several runs.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark writes its own files and prints its figures"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::runtime::Builder;

#[path = "support/handshakes.rs"]
mod handshakes;
#[path = "support/served.rs"]
mod served;

use handshakes::{RAW, shake_hands};
use served::{State, name, serve};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, address, domains] = arguments.as_slice()
        && word == RAW
    {
        let domains: usize = domains.parse().expect("a number");
        return shake_hands(address.parse().expect("an address"), (0..domains).map(name));
    }
    // `cargo test` builds and starts benchmarks too, with another argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    println!("{:<24} {:>9} {:>9}", "", "wall", "cpu");
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for domains in [100, 1_000] {
        let home = tempfile::tempdir().expect("a directory");
        let (_ca, _dns, web, _engine) = serve(&runtime, home.path(), domains, State::Proven);
        let runs = (0..RUNS).map(|_| handshakes_alone(web.https(), domains));
        show(domains, "handshakes alone", runs.min());
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

fn handshakes_alone(address: SocketAddr, domains: usize) -> (Duration, i64) {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args([RAW, &address.to_string(), &domains.to_string()]);
    let (output, wall, cpu) = run(&mut command);
    assert!(output.status.success());
    (wall, cpu)
}

/// One run, in which all domains end like this: its wall time, and its CPU time in milliseconds
fn obtain(home: &Path, outcome: &str) -> (Duration, i64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certd"));
    command.args(["--config", "domains.toml"]);
    command.args(["obtain", "--all", "--format", "json"]);
    let (output, wall, cpu) = run(command.current_dir(home));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    for domain in report["domains"].as_array().expect("domains") {
        assert_eq!(domain["outcome"], outcome, "{domain}");
    }
    (wall, cpu)
}

fn run(command: &mut Command) -> (Output, Duration, i64) {
    let cpu = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
        usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
    };
    let (before, begun) = (cpu(), Instant::now());
    let output = command.output().expect("it starts");
    (output, begun.elapsed(), cpu() - before)
}

const RUNS: usize = 3;
