//! Several addresses of one name, of which a browser ends up at the one or the other.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use certd_sandbox::dns::{self, Zone};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::support::{Leaf, first_bytes, server_hello};

pub(super) const NAME: &str = "shop.test";
const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A machine that sees the network alone, and on which a name leads to both addresses
pub(super) struct Laptop {
    pub(super) place: Place,
    port: u16,
    _dns: dns::Server,
    _runtime: Runtime,
}

impl Laptop {
    /// One that looks at this port, and trusts this root
    pub(super) fn new(port: u16, root: &Authority) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let zone = Zone::new();
        zone.set(NAME, [Record::A(FIRST), Record::A(SECOND)]);
        let anywhere = (FIRST, 0).into();
        let dns = runtime.block_on(dns::Server::start(anywhere, zone));
        let dns = dns.expect("the loopback has a free port");
        let place = Place::with(&format!(
            "storage = \"storage\"\nstate = \"state\"\n\
             [dns]\nservers = [\"{}\"]\n[verify]\ntrust = [\"root.pem\"]\n\
             [[domain]]\nname = \"other.test\"\n",
            dns.address()
        ));
        place.write("root.pem", root.pem());
        Self {
            place,
            port,
            _dns: dns,
            _runtime: runtime,
        }
    }

    /// The report, and what a person sees of it
    #[track_caller]
    pub(super) fn why(&self, status: i32) -> (Value, Run) {
        let target = format!("{NAME}:{}", self.port);
        let ask = |arguments: &[&str]| {
            let mut certd = self.place.certd(&["why", &target]);
            certd.args(arguments);
            certd.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
            Run::of(&mut certd).exits(status)
        };
        let text = ask(&[]);
        assert_fits(&text);
        (ask(&["--format", "json"]).json(), text)
    }

    /// The same text without what differs from run to run
    pub(super) fn filters(&self) -> insta::Settings {
        let mut settings = self.place.filters();
        settings.add_filter(&format!(r"\b{}\b", self.port), "[PORT]");
        settings.add_filter(r"\(TTL [^)]*\)", "(TTL [TTL])");
        settings.add_filter(r"\b[0-9a-f]{8}\b", "[FINGERPRINT]");
        settings.add_filter(r"\b\d+% of\b", "[N]% of");
        settings
    }
}

/// Who answers at an address, at this port, 0 for any
fn listen(address: Ipv4Addr, port: u16) -> TcpListener {
    TcpListener::bind((address, port)).expect("nobody else is there")
}

fn plain(stream: &mut TcpStream) {
    first_bytes(stream);
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
}

#[test]
fn a_dead_address_beside_one_that_is_refused() {
    let server = Server::on(listen(FIRST, 0), |mut stream| plain(&mut stream));
    let port = server.address.port();
    let laptop = Laptop::new(port, &Authority::root("Root of a laptop"));
    let (report, text) = laptop.why(1);
    assert_eq!(report["verdict"]["answer"], "refused", "{report:#}");
    assert_eq!(report["change"]["code"], "handshake.not_tls", "{report:#}");
    assert_eq!(step(&report, "listener")["severity"], "warning");
    let reason = report["verdict"]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("127.0.0.1:"), "{reason}");
    laptop
        .filters()
        .bind(|| insta::assert_snapshot!("dead_address", text));
}

#[test]
fn a_dead_address_beside_a_good_one() {
    let root = Authority::root("Root of a laptop");
    let leaf = root.issue(&Wish::names(&[NAME]));
    let server = Server::tls_on(listen(FIRST, 0), tls_config(&leaf));
    let laptop = Laptop::new(server.address.port(), &root);
    let (report, _) = laptop.why(0);
    assert_eq!(report["verdict"]["answer"], "accepted", "{report:#}");
    assert_eq!(report["change"]["code"], "connect.refused", "{report:#}");
}

#[test]
fn a_server_that_certd_cannot_judge() {
    // Of three connections that are made, the second asks for suites that certd has not, and the last
    // for groups.
    let connections = AtomicUsize::new(0);
    let server = Server::on(listen(FIRST, 0), move |mut stream| {
        first_bytes(&mut stream);
        let _ = match connections.fetch_add(1, Ordering::SeqCst) % 3 {
            1 => stream.write_all(&server_hello([3, 3, 0xc0, 0x13])),
            _ => stream.write_all(b"\x15\x03\x01\x00\x02\x02\x28"),
        };
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let port = server.address.port();
    let laptop = Laptop::new(port, &Authority::root("Root of a laptop"));
    let (report, text) = laptop.why(0);
    assert_eq!(report["verdict"]["answer"], "unjudged", "{report:#}");
    let code = &report["change"]["code"];
    assert_eq!(code, "handshake.other_cipher", "{report:#}");
    laptop
        .filters()
        .bind(|| insta::assert_snapshot!("unjudged", text));
}

/// Both addresses, each with a certificate of its own
pub(super) fn two_servers(first: &Leaf, second: &Leaf) -> ([Server; 2], u16) {
    let server = Server::tls_on(listen(FIRST, 0), tls_config(first));
    let port = server.address.port();
    let other = Server::tls_on(listen(SECOND, port), tls_config(second));
    ([server, other], port)
}

#[test]
fn the_verdict_is_of_the_worst_address() {
    let root = Authority::root("Root of a laptop");
    let good = root.issue(&Wish::names(&[NAME]));
    let strange = root.issue(&Wish::names(&["strange.test"]));
    let (servers, port) = two_servers(&good, &strange);
    let laptop = Laptop::new(port, &root);
    let (report, text) = laptop.why(1);
    assert_eq!(report["verdict"]["answer"], "refused", "{report:#}");
    assert_eq!(report["change"]["code"], "served.wrong_name", "{report:#}");
    laptop
        .filters()
        .bind(|| insta::assert_snapshot!("worst_address", text));

    // Of two that are refused the first is the one.
    let mut wish = Wish::names(&[NAME]);
    wish.valid = (2020, 2021);
    let expired = root.issue(&wish);
    drop(servers);
    let (_servers, port) = two_servers(&expired, &strange);
    let laptop = Laptop::new(port, &root);
    let (report, text) = laptop.why(1);
    assert_eq!(report["change"]["code"], "served.expired", "{report:#}");
    let reason = report["verdict"]["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with(&format!("{FIRST}:{port}: expired")),
        "{reason}"
    );
    laptop
        .filters()
        .bind(|| insta::assert_snapshot!("two_refused", text));
}

#[test]
fn two_good_certificates_of_one_name() {
    let root = Authority::root("Root of a laptop");
    let issue = || root.issue(&Wish::names(&[NAME]));
    let (_servers, port) = two_servers(&issue(), &issue());
    let laptop = Laptop::new(port, &root);
    let (report, text) = laptop.why(0);
    assert_eq!(report["verdict"]["answer"], "accepted", "{report:#}");
    // A name of no domain may have them on purpose.
    assert_eq!(report["change"], Value::Null, "{report:#}");
    assert_eq!(differing(&report), [("note", FIRST), ("note", SECOND)]);
    laptop
        .filters()
        .bind(|| insta::assert_snapshot!("two_certificates", text));

    // Of a domain it is a warning, which blames neither.
    let config = laptop.place.read("domains.toml");
    laptop
        .place
        .write("domains.toml", config.replace("other.test", NAME));
    fs::remove_dir(laptop.place.path("storage")).expect("it is empty");
    let (report, _) = laptop.why(0);
    assert_eq!(report["change"]["code"], "served.differs", "{report:#}");
    let evidence = report["change"]["evidence"].as_str().expect("evidence");
    for address in [FIRST, SECOND] {
        assert!(
            evidence.contains(&format!(" at {address}:{port}")),
            "{evidence}"
        );
    }
    assert_eq!(
        differing(&report),
        [("warning", FIRST), ("warning", SECOND)]
    );
}

/// The lines of what is served that are told to differ, with their addresses
fn differing(report: &Value) -> Vec<(&str, Ipv4Addr)> {
    let steps = report["steps"].as_array().expect("steps").iter();
    let served = steps.filter(|step| step["link"] == "served");
    let differing = served.filter_map(|step| {
        let mut findings = step["findings"].as_array()?.iter();
        let finding = findings.find(|finding| finding["code"] == "served.differs")?;
        let seen = step["seen"].as_str()?;
        let address = [FIRST, SECOND]
            .into_iter()
            .find(|address| seen.contains(&format!(" at {address}:")))?;
        Some((finding["severity"].as_str()?, address))
    });
    differing.collect()
}

#[test]
fn a_good_certificate_is_not_blamed_for_a_bad_one_beside_it() {
    let root = Authority::root("Root of a laptop");
    let good = root.issue(&Wish::names(&[NAME]));
    let strange = root.issue(&Wish::names(&["strange.test"]));
    for (first, second) in [(&good, &strange), (&strange, &good)] {
        let (_servers, port) = two_servers(first, second);
        let (report, _) = Laptop::new(port, &root).why(1);
        assert_eq!(differing(&report), [], "{report:#}");
    }
}

#[test]
fn the_address_that_differs_from_what_is_installed_is_blamed() {
    let root = Authority::root("Root of a laptop");
    let issue = || root.issue(&Wish::names(&[NAME]));
    let (installed, other) = (issue(), issue());
    for (first, second, blamed) in [(&installed, &other, SECOND), (&other, &installed, FIRST)] {
        let (_servers, port) = two_servers(first, second);
        let laptop = Laptop::new(port, &root);
        let config = laptop.place.read("domains.toml");
        laptop
            .place
            .write("domains.toml", config.replace("other.test", NAME));
        laptop.place.archive(NAME, 1, &installed);
        laptop.place.go_live(NAME, 1);
        let (report, _) = laptop.why(1);
        let differing = differing(&report);
        assert_eq!(differing, [("warning", blamed)], "{report:#}");
    }
}
