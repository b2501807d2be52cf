//! What issuance costs against Pebble without pauses: one certificate with a known account, and
//! fifty domains with `jobs = 16`. All writes are synced; no container takes part.
//!
//! Prints HTTP requests, wall time, CPU time and peak memory of certd, each the median of several
//! runs. Needs `pebble`, `pebble-challtestsrv` and `nginx` on the PATH; see `tests/run.sh`.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark writes its own files and prints its figures"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

#[path = "../tests/live/support"]
#[expect(
    dead_code,
    reason = "a benchmark needs a part of the live suite's support"
)]
mod support {
    pub(crate) mod ca;
    pub(crate) mod conf;
    pub(crate) mod dns;
    pub(crate) mod nginx;
    pub(crate) mod pebble;
    pub(crate) mod ports;
    pub(crate) mod process;
    pub(crate) mod sandbox;
    pub(crate) mod world;
}

use support::ca::Options;
use support::dns::Dns;
use support::pebble::Pebble;
use support::ports;
use support::process::Process;
use support::world::World;

fn main() {
    // `cargo test` builds and starts benchmarks too, with another argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let world = World::new();
    let dns = Dns::start();
    let http = ports::free();
    let _nginx = serve_webroot(&world, http);
    let pebble = Pebble::start(
        &dns,
        Options {
            nonce_reject: 0,
            ..Options::new(http)
        },
    );
    println!(
        "{:<28} {:>8} {:>9} {:>9} {:>9}",
        "", "requests", "wall", "cpu", "memory"
    );
    for (label, domains) in [
        ("1 domain, known account", 1),
        ("50 domains, jobs = 16", 50),
    ] {
        write_configuration(&world, &pebble, domains);
        // The first run registers the account and warms the page cache.
        obtain(&world);
        let runs: Vec<Figures> = (0..RUNS).map(|_| obtain(&world)).collect();
        println!(
            "{label:<28} {:>8} {:>7} ms {:>7} ms {:>6} MiB",
            median(&runs, |run| run.requests),
            median(&runs, |run| run.wall.as_millis() as u64),
            median(&runs, |run| run.cpu.as_millis() as u64),
            median(&runs, |run| run.peak_kib / 1024),
        );
    }
}

/// What one run took
struct Figures {
    requests: u64,
    wall: Duration,
    cpu: Duration,
    peak_kib: u64,
}

/// Runs certd over all domains, none of which has a certificate
fn obtain(world: &World) -> Figures {
    for used in ["storage/archive", "storage/live", "state/domains"] {
        let _ = fs::remove_dir_all(world.path().join(used));
    }
    let cpu_before = children_cpu();
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_certd"))
        .args(["--config", "domains.toml", "obtain", "--all"])
        .args(["--no-deploy", "--format", "json"])
        .current_dir(world.path())
        .env_clear()
        .stdout(Stdio::from(
            fs::File::create(world.path().join("report.json")).expect("report can be written"),
        ))
        .spawn()
        .expect("certd starts");
    let peak_kib = watch(&mut child);
    let wall = begun.elapsed();
    let report = fs::read(world.path().join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    for domain in report["domains"].as_array().expect("domains") {
        assert_eq!(domain["outcome"], "live", "{domain}");
    }
    Figures {
        requests: report["ca_requests"].as_u64().expect("a number"),
        wall,
        cpu: children_cpu() - cpu_before,
        peak_kib,
    }
}

/// Waits for the end of a process; gives the largest peak that was seen, in KiB
fn watch(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("certd can be waited for").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let seen = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(seen.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}

fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage of children");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn median(runs: &[Figures], figure: impl Fn(&Figures) -> u64) -> u64 {
    let mut figures: Vec<u64> = runs.iter().map(figure).collect();
    figures.sort_unstable();
    figures[figures.len() / 2]
}

fn serve_webroot(world: &World, port: u16) -> Process {
    let conf = world.conf().join("nginx.conf");
    let text = format!(
        "daemon off; user root; pid {0}/nginx.pid; error_log stderr crit; events {{}}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {1}; }} }}\n",
        world.conf().display(),
        world.webroot().display()
    );
    fs::write(&conf, text).expect("nginx.conf can be written");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&conf).arg("-p").arg(world.conf());
    let mut nginx = Process::start(&mut command, &world.conf().join("nginx.log"));
    nginx.wait_listening(port);
    nginx
}

fn write_configuration(world: &World, pebble: &Pebble, domains: usize) {
    let mut text = format!(
        "terms_of_service_agreed = true\nissuer = \"pebble\"\njobs = 16\n\
         webroot = \"webroot\"\nstorage = \"storage\"\nstate = \"state\"\n\
         [preflight]\nrequire = []\n[issuers.pebble]\ndirectory = \"{}\"\ntrust = \"{}\"\n",
        pebble.directory_url(),
        pebble.trust_pem_path().display()
    );
    for number in 0..domains {
        text.push_str(&format!("[[domain]]\nname = \"shop-{number}.test\"\n"));
    }
    let path: &Path = &world.path().join("domains.toml");
    fs::write(path, text).expect("domains.toml can be written");
}

const RUNS: usize = 7;
