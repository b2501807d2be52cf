//! A DNS server that answers every name with the loopback address.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::ports;
use super::process::Process;

/// pebble-challtestsrv as a DNS server: A is 127.0.0.1 and AAAA empty unless set
#[derive(Debug)]
pub(crate) struct Dns {
    process: Process,
    port: u16,
    management: u16,
    _dir: TempDir,
}

impl Dns {
    /// Starts the server and waits for it to answer
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (port, management) = (ports::free(), ports::free());
        let process = Process::start(
            Command::new("pebble-challtestsrv")
                .args(["-dns01", &format!("127.0.0.1:{port}")])
                .args(["-management", &format!("127.0.0.1:{management}")])
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""]),
            &dir.path().join("dns.log"),
        );
        let mut dns = Self {
            process,
            port,
            management,
            _dir: dir,
        };
        dns.process.wait_listening(port);
        dns.process.wait_listening(management);
        dns
    }

    /// Where it answers
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The same, as `[dns] servers` and Pebble's `-dnsserver` want it
    pub(crate) fn server(&self) -> String {
        self.address().to_string()
    }

    /// Replaces the A records of `name`
    pub(crate) fn set_a(&self, name: &str, addresses: &[&str]) {
        self.post("/clear-a", &json!({ "host": name }));
        self.post("/add-a", &json!({ "host": name, "addresses": addresses }));
    }

    /// Replaces the AAAA records of `name`
    pub(crate) fn set_aaaa(&self, name: &str, addresses: &[&str]) {
        self.post("/clear-aaaa", &json!({ "host": name }));
        let records = json!({ "host": name, "addresses": addresses });
        self.post("/add-aaaa", &records);
    }

    /// Replaces the CAA records of `name` by one `issue` record
    pub(crate) fn set_caa(&self, name: &str, value: &str) {
        self.post("/clear-caa", &json!({ "host": name }));
        let policies = json!([{ "tag": "issue", "value": value }]);
        let records = json!({ "host": name, "policies": policies });
        self.post("/add-caa", &records);
    }

    /// Lets every query for `name` end in SERVFAIL
    pub(crate) fn set_servfail(&self, name: &str) {
        self.post("/set-servfail", &json!({ "host": name }));
    }

    // HTTP/1.0 by hand: the server closes the connection after its reply, and
    // a client library would be the largest part of this file.
    fn post(&self, path: &str, body: &Value) {
        let body = body.to_string();
        let length = body.len();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.management))
            .expect("management interface answers");
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .expect("request can be sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply in text");
        assert!(reply.contains(" 200 "), "{path} {body}: {reply}");
    }
}
