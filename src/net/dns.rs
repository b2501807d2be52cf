//! Addresses of a name, from DNS alone.
//!
//! No hosts file, no search domain and no cache: what is seen is what the servers answer now.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use thiserror::Error;

/// Asks for addresses
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
}

impl Resolver {
    /// A resolver that asks these servers, or the system's where there are none
    ///
    /// # Errors
    /// [`DnsError::Configuration`] where the system names no server.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, DnsError> {
        let unusable = |error: NetError| DnsError::Configuration(error.to_string());
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(unusable)?
        } else {
            let servers = servers.iter().map(name_server).collect();
            TokioResolver::builder_with_config(
                ResolverConfig::from_parts(None, Vec::new(), servers),
                TokioRuntimeProvider::default(),
            )
        };
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        options.timeout = timeout;
        options.attempts = 1;
        Ok(Self {
            inner: builder.build().map_err(unusable)?,
        })
    }

    /// The addresses of a name, IPv6 and IPv4 asked for apart, without duplicates
    ///
    /// `localhost` is the loopback address, without asking anyone (RFC 6761 section 6.3).
    ///
    /// # Errors
    /// [`DnsError`] when neither family gave an address.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        if name == "localhost" {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        let absolute = format!("{name}.");
        let (v4, v6) = tokio::join!(
            self.lookup(&absolute, RecordType::A),
            self.lookup(&absolute, RecordType::AAAA)
        );
        let mut addresses = Vec::new();
        for address in [&v4, &v6].into_iter().flatten().flatten() {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        match (v4, v6) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Err(DnsError::NoAddress),
        }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, DnsError> {
        match self.inner.lookup(name, kind).await {
            Ok(lookup) => Ok(lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::A(a) => Some(IpAddr::V4(a.0)),
                    RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                    _ => None,
                })
                .collect()),
            Err(error) if error.is_nx_domain() => Err(DnsError::NoSuchName),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(NetError::Timeout) => Err(DnsError::TimedOut),
            Err(error) => Err(DnsError::Failed(error.to_string())),
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// Why a name has no address
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DnsError {
    /// NXDOMAIN
    #[error("the name does not exist (NXDOMAIN)")]
    NoSuchName,
    /// The name exists without A and AAAA records
    #[error("the name has no address (no A and no AAAA record)")]
    NoAddress,
    /// No server answered in time
    #[error("no DNS server answered in time")]
    TimedOut,
    /// SERVFAIL and the like
    #[error("the DNS server failed: {0}")]
    Failed(String),
    /// The system's resolver configuration is of no use
    #[error("no DNS server is known: {0}")]
    Configuration(String),
}
