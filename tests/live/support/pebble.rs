//! Pebble, the ACME CA for tests, always strict.

use std::path::{Path, PathBuf};
use std::process::Command;

use certd_sandbox::acme::Reuse;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;
use tempfile::TempDir;

use super::ca::{Accounts, EAB_HMAC, EAB_KID, Options};
use super::dns::Dns;
use super::ports;
use super::process::{self, Process};

/// A running Pebble with a CA of its own for its API
#[derive(Debug)]
pub(crate) struct Pebble {
    process: Process,
    port: u16,
    management: u16,
    dir: TempDir,
    // What it is started with, and started with again.
    dns: String,
    options: Options,
}

impl Pebble {
    /// Starts Pebble and waits for its two interfaces
    pub(crate) fn start(dns: &Dns, options: Options) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (port, management) = (ports::free(), ports::free());
        write_api_certificate(dir.path());
        let text = configuration(&dir, options, port, management);
        std::fs::write(dir.path().join("pebble.json"), text)
            .expect("Pebble's configuration can be written");
        let mut pebble = Self {
            process: start(&dir, options, &dns.server()),
            port,
            management,
            dir,
            dns: dns.server(),
            options,
        };
        pebble.wait_ready();
        pebble
    }

    /// Ends Pebble and starts it at the same URL: accounts, orders, counts and root are new ones
    pub(crate) fn restart(&mut self) {
        self.process.stop();
        self.process = start(&self.dir, self.options, &self.dns);
        self.wait_ready();
    }

    fn wait_ready(&mut self) {
        self.process.wait_listening(self.port);
        self.process.wait_listening(self.management);
        let root = self.root_pem();
        std::fs::write(self.root_path(), root).expect("the root can be written");
    }

    /// The port of its API
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory URL
    pub(crate) fn directory_url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The CA that Pebble's API is trusted by, as `[issuers.NAME] trust` wants it
    pub(crate) fn trust_pem_path(&self) -> PathBuf {
        self.dir.path().join("api-ca.pem")
    }

    /// The root of the certificates that Pebble issues
    pub(crate) fn root_pem(&self) -> String {
        let url = format!("https://localhost:{}/roots/0", self.management);
        process::stdout_of(
            Command::new("curl")
                .args(["--silent", "--show-error", "--fail", "--noproxy", "*"])
                .arg("--cacert")
                .arg(self.trust_pem_path())
                .arg(url),
        ) + "\n"
    }

    /// A file with [`Self::root_pem`], as `[verify] trust` wants it
    pub(crate) fn root_path(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// How many orders were placed: those that Pebble accepted
    pub(crate) fn orders(&self) -> usize {
        self.count("Added order ")
    }

    /// How many accounts were registered
    pub(crate) fn accounts(&self) -> usize {
        self.count(" accounts in memory")
    }

    /// How many challenges were answered, valid or not
    pub(crate) fn validations(&self) -> usize {
        self.count("Pulled a task from the Tasks queue")
    }

    /// How many certificates were issued
    pub(crate) fn certificates(&self) -> usize {
        self.count("Issued certificate serial ")
    }

    /// How many HTTP requests were made, refused nonces included
    pub(crate) fn requests(&self) -> usize {
        self.count("-> calling handler()")
    }

    /// How many lines of the log contain `text`
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log()
            .lines()
            .filter(|line| line.contains(text))
            .count()
    }

    /// Everything that Pebble has logged so far
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

fn start(dir: &TempDir, options: Options, dns: &str) -> Process {
    let reuse = match options.authz_reuse {
        Reuse::Never => "0",
        Reuse::WhileValid => "100",
    };
    let mut command = Command::new("pebble");
    command
        .arg("-config")
        .arg(dir.path().join("pebble.json"))
        .args(["-strict", "-dnsserver", dns])
        .env("PEBBLE_WFE_NONCEREJECT", options.nonce_reject.to_string())
        .env("PEBBLE_AUTHZREUSE", reuse);
    match options.sleep {
        None => command.env("PEBBLE_VA_NOSLEEP", "1"),
        Some(secs) => command.env("PEBBLE_VA_SLEEPTIME", secs.to_string()),
    };
    Process::start(&mut command, &dir.path().join("pebble.log"))
}

fn configuration(dir: &TempDir, options: Options, port: u16, management: u16) -> String {
    let bound = options.accounts == Accounts::Bound;
    let keys = if bound {
        json!({ EAB_KID: EAB_HMAC })
    } else {
        json!({})
    };
    json!({ "pebble": {
        "listenAddress": format!("127.0.0.1:{port}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": dir.path().join("api.pem"),
        "privateKey": dir.path().join("api.key"),
        "httpPort": options.http_port,
        "tlsPort": 1,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": bound,
        "externalAccountMACKeys": keys,
        "certificateValidityPeriod": options.validity.map_or(90 * 24 * 3600, |left| left.as_secs()),
    }})
    .to_string()
}

/// Writes a CA (`api-ca.pem`), and `api.pem` and `api.key` for an API at `localhost`
pub(crate) fn write_api_certificate(dir: &Path) {
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "certd test API");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate().expect("a key");
    let ca_pem = ca.self_signed(&ca_key).expect("a CA certificate").pem();
    let issuer = Issuer::new(ca, ca_key);

    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).expect("two valid names");
    let key = KeyPair::generate().expect("a key");
    let pem = params
        .signed_by(&key, &issuer)
        .expect("a certificate")
        .pem();
    for (file, text) in [
        ("api-ca.pem", ca_pem),
        ("api.pem", pem),
        ("api.key", key.serialize_pem()),
    ] {
        std::fs::write(dir.join(file), text).expect("PEM file can be written");
    }
}
