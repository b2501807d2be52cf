//! What `certd verify` costs over many endpoints: one nginx with 200 certificates, 1000 endpoints.
//!
//! Beside it stands what handshakes alone cost, by the same library with as many at once and
//! without looking at anything. Prints wall time, processor time and peak memory, each the least of
//! several runs, taken in turn. Needs `nginx` on the PATH.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark writes its own files and prints its figures"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair,
};

#[path = "support/handshakes.rs"]
mod handshakes;

use handshakes::{RAW, shake_hands};

fn main() {
    // `cargo test` builds and starts benchmarks too, with another argument.
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, address] = arguments.as_slice()
        && word == RAW
    {
        return shake_hands(
            address.parse().expect("an address"),
            (0..ENDPOINTS).map(name),
        );
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    let address = write_host(home);
    let _nginx = Nginx::start(home, address);
    let certd = |more: &'static [&'static str]| {
        move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_certd"));
            command.args(["verify", "--quiet", "--config", "domains.toml"]);
            command.args(more);
            command
        }
    };
    let raw = move || {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args([RAW, &address.to_string()]);
        command
    };
    let commands: [(&str, Make); 3] = [
        ("handshakes alone", Box::new(raw)),
        ("verify --tls-only", Box::new(certd(&["--tls-only"]))),
        ("verify", Box::new(certd(&[]))),
    ];
    let mut least = [Cost::MOST; 3];
    for _ in 0..RUNS {
        for (least, (_, command)) in least.iter_mut().zip(&commands) {
            *least = least.min(run(home, command()));
        }
    }
    println!(
        "{:<20} {:>9} {:>7} {:>9} {:>9}",
        "1000 endpoints", "wall", "", "cpu", "memory"
    );
    for (cost, (name, _)) in least.iter().zip(&commands) {
        let part = cost.wall.as_secs_f64() / least[0].wall.as_secs_f64();
        println!(
            "{name:<20} {:>6} ms {part:>6.2}x {:>6} ms {:>5} MiB",
            cost.wall.as_millis(),
            cost.cpu_millis,
            cost.memory_kib / 1024
        );
    }
}

/// Makes the command of a run
type Make = Box<dyn Fn() -> Command>;

#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu_millis: i64,
    memory_kib: u64,
}

impl Cost {
    const MOST: Self = Self {
        wall: Duration::MAX,
        cpu_millis: i64::MAX,
        memory_kib: u64::MAX,
    };

    fn min(self, other: Self) -> Self {
        Self {
            wall: self.wall.min(other.wall),
            cpu_millis: self.cpu_millis.min(other.cpu_millis),
            memory_kib: self.memory_kib.min(other.memory_kib),
        }
    }
}

fn run(home: &Path, mut command: Command) -> Cost {
    command.current_dir(home).stdin(Stdio::null());
    let before = cpu_millis();
    let begun = Instant::now();
    let mut child = command.spawn().expect("it starts");
    let mut memory_kib = 0;
    // The peak is read while it runs: the kernel's figure of all children never falls.
    let status = loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
        let peak = status.ok().and_then(|status| peak_kib(&status));
        memory_kib = memory_kib.max(peak.unwrap_or(0));
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    Cost {
        wall: begun.elapsed(),
        cpu_millis: cpu_millis() - before,
        memory_kib,
    }
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_millis() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel tells");
    usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
}

/// nginx, ended on drop
struct Nginx(Child);

impl Nginx {
    fn start(home: &Path, address: SocketAddr) -> Self {
        let child = Command::new("nginx")
            .args(["-e", "error.log", "-c"])
            .arg(home.join("nginx.conf"))
            .arg("-p")
            .arg(home)
            .spawn()
            .expect("nginx is installed");
        let nginx = Self(child);
        while TcpStream::connect(address).is_err() {
            sleep(Duration::from_millis(10));
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let id = i32::try_from(self.0.id()).expect("a process identifier");
        let id = nix::unistd::Pid::from_raw(id);
        // The master ends its workers.
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Certificates, nginx.conf and domains.toml: each name stands for five endpoints
fn write_host(home: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().expect("a key"))
    };
    let (params, key) = authority("Root");
    let root = CertifiedIssuer::self_signed(params, key).expect("a root");
    let (params, key) = authority("Intermediate");
    let intermediate = params.signed_by(&key, &root).expect("an intermediate");
    let issuer = Issuer::new(params, key);
    fs::write(home.join("root.pem"), root.pem()).expect("a file");
    let mut servers = String::new();
    let mut domains = format!(
        "[verify]\ntrust = [\"root.pem\"]\n[preflight]\nhttp_port = {}\n",
        address.port()
    );
    for number in 0..CERTIFICATES {
        let names: Vec<String> = (number..ENDPOINTS)
            .step_by(CERTIFICATES)
            .map(name)
            .collect();
        let (name, aliases) = (&names[0], &names[1..]);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names.clone()).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        let leaf = params.signed_by(&key, &issuer).expect("a certificate");
        let chain = format!("{}{}", leaf.pem(), intermediate.pem());
        fs::write(home.join(format!("{name}.pem")), chain).expect("a file");
        fs::write(home.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
        let _ = writeln!(
            servers,
            "server {{ listen {address} ssl; server_name {}; ssl_certificate {name}.pem; \
             ssl_certificate_key {name}.key; location / {{ return 200; }} }}",
            names.join(" ")
        );
        let _ = writeln!(
            domains,
            "[[domain]]\nname = {name:?}\naliases = {aliases:?}\nconnect = \"{address}\""
        );
    }
    let conf = format!(
        "daemon off;\npid nginx.pid;\nworker_processes 1;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; server_names_hash_max_size 4096;\n{servers} }}\n"
    );
    fs::write(home.join("nginx.conf"), conf).expect("a file");
    fs::write(home.join("domains.toml"), domains).expect("a file");
    drop(listener);
    address
}

/// The name of an endpoint; each certificate has several
fn name(number: usize) -> String {
    let domain = format!("n{}.test", number % CERTIFICATES);
    match number / CERTIFICATES {
        0 => domain,
        alias => format!("a{alias}.{domain}"),
    }
}

const CERTIFICATES: usize = 200;
const ENDPOINTS: usize = 1_000;
const RUNS: usize = 5;
