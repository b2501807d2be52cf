//! What an idle `certd run` costs: memory and processor, for 50 and for 1000 domains.
//!
//! Each domain is served by a web server in nginx's place, and the first pass has looked at all of
//! them before anything is counted. Prints resident memory and the processor time of a while.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark writes its own files and prints its figures"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use certd::sandbox::Clock;
use certd::sandbox::acme::{self, Ca};
use certd::sandbox::dns::{self, Zone};
use certd::sandbox::docker::{Container, Engine};
use certd::sandbox::web::{self, Site, Web};
use certd::time::Validity;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

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
        let _servers = serve(&runtime, home.path(), domains);
        let daemon = Daemon::start(home.path());
        let (resident, before) = (daemon.resident_kib(), daemon.ticks());
        sleep(MINUTE);
        // A tick is a hundredth of a second (sysconf(_SC_CLK_TCK) on Linux).
        let spent = (daemon.ticks() - before) * 10;
        println!("{domains:<10} {resident:>8} KiB {spent:>19} ms");
    }
}

type Servers = (Ca, dns::Server, Web, Engine);

/// Domains that are proven, and what serves them
fn serve(runtime: &Runtime, home: &Path, domains: usize) -> Servers {
    let names: Vec<String> = (0..domains)
        .map(|number| format!("d{number}.test"))
        .collect();
    let (storage, webroot) = (home.join("storage"), home.join("webroot"));
    for directory in [&storage.join("live"), &webroot, &home.join("state/domains")] {
        fs::create_dir_all(directory).expect("a directory");
    }
    let options = web::Options {
        configuration: home.join("nginx"),
        webroot: webroot.clone(),
        storage: storage.clone(),
    };
    runtime.block_on(async {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let dns = dns::Server::start(anywhere, Zone::new()).await;
        let dns = dns.expect("a DNS server");
        let web = Web::start(options).await.expect("a web server");
        let options = acme::Options::new(Clock::new(Timestamp::now), dns.address(), 80);
        let ca = Ca::start(options).await.expect("a CA");
        write_lineages(home, &ca, &web, &names);
        web.restart().expect("its files are there");
        let container = Container::nginx("web", &storage, &webroot);
        let socket = home.join("docker.sock");
        let engine = Engine::start(&socket, container, web.clone()).await;
        (ca, dns, web, engine.expect("an engine"))
    })
}

fn write_lineages(home: &Path, ca: &Ca, web: &Web, names: &[String]) {
    fs::write(home.join("root.pem"), ca.root_pem()).expect("a file");
    let now = Timestamp::now();
    let validity = Validity {
        not_before: now - SignedDuration::from_hours(72),
        not_after: now + SignedDuration::from_hours(24 * 87),
    };
    let record = json!({"version": 1, "generations": {"1": {
        "issuer": "test",
        "issued_at": now,
        "proven_at": now,
        "renewal": {
            "window": {"start": "3999-01-01T00:00:00Z", "end": "3999-01-02T00:00:00Z"},
            "instant": "3999-01-01T12:00:00Z",
            "next_look": now + SignedDuration::from_hours(12),
            "failures": 0,
        },
    }}});
    let mut config = format!(
        "terms_of_service_agreed = true\nissuer = \"test\"\nstorage = \"storage\"\n\
         state = \"state\"\nwebroot = \"webroot\"\n[verify]\ntrust = [\"root.pem\"]\n\
         [issuers.test]\ndirectory = {:?}\ntrust = \"root.pem\"\n\
         [nginx]\ncontainer = \"web\"\ndocker = {:?}\n",
        ca.directory(),
        home.join("docker.sock"),
    );
    let mut sites = Vec::new();
    for name in names {
        let pair = ca.issue(&[name.as_str()], validity).expect("a certificate");
        let archive = home.join("storage/archive").join(name).join("1");
        fs::create_dir_all(&archive).expect("a directory");
        let end = "-----END CERTIFICATE-----\n";
        let after_leaf = pair.chain_pem.find(end).expect("a leaf") + end.len();
        let (leaf, above) = pair.chain_pem.split_at(after_leaf);
        for (file, text) in [
            ("cert.pem", leaf),
            ("chain.pem", above),
            ("fullchain.pem", &pair.chain_pem),
            ("privkey.pem", &pair.key_pem),
        ] {
            fs::write(archive.join(file), text).expect("a file");
        }
        let live = home.join("storage/live").join(name);
        symlink(format!("../archive/{name}/1"), live).expect("a link");
        let record_file = home.join(format!("state/domains/{name}.json"));
        fs::write(record_file, record.to_string()).expect("a file");
        let port = web.https().port();
        let _ = writeln!(config, "[[domain]]\nname = {name:?}\nports = [{port}]");
        sites.push(Site {
            names: vec![name.clone()],
            lineage: name.clone(),
        });
    }
    web.configure(&sites).expect("its files are writable");
    fs::write(home.join("domains.toml"), config).expect("a file");
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
