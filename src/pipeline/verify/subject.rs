//! What is asked for, and what cannot be.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Connect, Domain, Probe, Sharing, defaults};
use crate::facts::Opening;
use crate::finding::Finding;
use crate::name::DnsName;
use crate::report::verify::{EndpointReport, Origin};
use crate::verify::judge::Installed;

/// One name to be looked at
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name or IP address that is asked for
    pub name: String,
    /// Name or IP address whose addresses are connected to
    pub host: String,
    /// Ports
    pub ports: Vec<u16>,
    /// Where to connect instead of the addresses that DNS gives
    pub connect: Option<Connect>,
    /// What is said before TLS begins
    pub opening: Opening,
    /// The domain's own names; empty for a host that is in no configuration
    pub own_names: Vec<DnsName>,
    /// Primary name of the domain
    pub domain: Option<String>,
    /// Whether another lineage's certificate is accepted
    pub sharing: Sharing,
    /// What the storage holds, where it can be read
    pub installed: Option<Installed>,
    /// What the application must answer
    pub probe: Option<Probe>,
    /// Where it was asked for
    pub origin: Option<Origin>,
}

impl Subject {
    /// A host that is in no configuration
    pub fn host(name: String, port: u16) -> Self {
        Self {
            host: name.clone(),
            name,
            ports: vec![port],
            connect: None,
            opening: Opening::Direct,
            own_names: Vec::new(),
            domain: None,
            sharing: Sharing::Separate,
            installed: None,
            probe: None,
            origin: None,
        }
    }

    /// One name of a domain
    ///
    /// The domain's probe goes with the name that its URL has.
    pub fn of_domain(domain: &Domain, name: &DnsName, installed: Option<Installed>) -> Self {
        let probe = domain.probe.clone().filter(|probe| {
            let host = probe.url.host().unwrap_or_default();
            name.as_str().eq_ignore_ascii_case(host)
        });
        Self {
            name: name.to_string(),
            host: name.to_string(),
            ports: domain.ports.clone(),
            connect: domain.connect,
            opening: Opening::Direct,
            own_names: domain.names().cloned().collect(),
            domain: Some(domain.name.to_string()),
            sharing: domain.sharing,
            installed,
            probe,
            origin: None,
        }
    }

    /// Has one port alone looked at
    ///
    /// `connect` goes on to say where, and its port too where that stands for this one.
    pub fn ask_at(&mut self, port: u16) {
        if !self.ports.contains(&port) {
            self.connect = self.connect.map(|connect| Connect {
                port: None,
                ..connect
            });
        }
        self.ports = vec![port];
    }

    /// As it is asked for: its first port where that is not the usual one
    pub(super) fn in_words(&self) -> String {
        match self.ports.first() {
            None | Some(&defaults::PORT) => self.name.clone(),
            Some(port) => format!("{}:{port}", self.name),
        }
    }

    /// What makes two subjects the same
    pub fn place(&self) -> (String, String, Vec<u16>, Vec<SocketAddr>) {
        let connect = self.connect.map(|connect| connect.endpoints(&self.ports));
        (
            self.name.clone(),
            self.host.clone(),
            self.ports.clone(),
            connect.unwrap_or_default(),
        )
    }
}

/// What was asked for, and names nothing that could be looked at
#[derive(Clone, Debug)]
pub struct Unusable {
    /// The words
    pub text: String,
    /// Where they stand, and what is wrong with them
    pub evidence: String,
    /// What to write instead
    pub cure: String,
    /// The line that they stand in
    pub origin: Option<Origin>,
}

impl Unusable {
    /// A failed endpoint without an address
    pub(super) fn report(&self) -> EndpointReport {
        let finding = Finding::failure("verify.no_target", self.evidence.as_str());
        EndpointReport {
            name: self.text.clone(),
            domain: None,
            address: String::new(),
            port: None,
            origin: self.origin.clone(),
            severity: finding.severity,
            certificate: None,
            http: None,
            findings: vec![finding.with_cure(self.cure.as_str())],
            elapsed: Duration::ZERO,
        }
    }
}
