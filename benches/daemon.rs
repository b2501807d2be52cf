//! What an idle `certd run` costs: memory and processor, for 50 and for 1000 domains.
//!
//! Each domain is served by a web server in nginx's place, and the first pass has looked at all of
//! them before anything is counted. Prints resident memory and the processor time of a while.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark writes its own files and prints its figures"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tokio::runtime::Builder;

#[path = "support/served.rs"]
#[expect(dead_code, reason = "the daemon has nothing to deploy")]
mod served;

use served::{State, serve};

fn main() {
    // `cargo test` builds and starts benchmarks too, with another argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!(
        "{:<10} {:>12} {:>22}",
        "domains", "resident", "processor, in a minute"
    );
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for domains in [50, 1_000] {
        let home = tempfile::tempdir().expect("a directory");
        let _servers = serve(&runtime, home.path(), domains, State::Proven);
        let daemon = Daemon::start(home.path());
        let (resident, before) = (daemon.resident_kib(), daemon.ticks());
        sleep(MINUTE);
        // A tick is a hundredth of a second (sysconf(_SC_CLK_TCK) on Linux).
        let spent = (daemon.ticks() - before) * 10;
        println!("{domains:<10} {resident:>8} KiB {spent:>19} ms");
    }
}

/// A daemon that has looked at every domain once, killed on drop
struct Daemon(Child);

impl Daemon {
    fn start(home: &Path) -> Self {
        let socket = home.join("notify.sock");
        let systemd = UnixDatagram::bind(&socket).expect("a socket");
        let child = Command::new(env!("CARGO_BIN_EXE_certd"))
            .args(["--config", "domains.toml", "run"])
            .current_dir(home)
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .spawn()
            .expect("certd starts");
        let mut told = [0; 4096];
        let mut statuses = 0;
        // Ready, at work, and at rest again.
        while statuses < 3 {
            let length = systemd.recv(&mut told).expect("it is told");
            let text = String::from_utf8_lossy(&told[..length]);
            statuses += text.matches("STATUS=").count();
        }
        Self(child)
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("the kernel tells").parse().expect("a number")
    }

    /// Processor time, its threads' too
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()));
        let stat = stat.expect("it runs");
        // The name in parentheses may hold blanks; utime and stime are fields 14 and 15.
        let (_, after_name) = stat.rsplit_once(") ").expect("a name");
        let fields = after_name.split_whitespace().skip(11).take(2);
        fields
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const MINUTE: Duration = Duration::from_secs(60);
