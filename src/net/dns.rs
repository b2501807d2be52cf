//! DNS as a CA sees it: nothing from the hosts file, from search domains or from a cache.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Answered, NetError};
use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::facts::dns::{
    Answer, Authority, Caa, Criticality, Dnssec, Lookup, LookupFailure, RecordData, RecordKind,
};
use crate::finding::{excerpt, is_out_of_descriptors};

mod system;

/// Asks name servers
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
    servers: Vec<SocketAddr>,
    timeout: Duration,
    reach: Arc<Reach>,
}

/// How name servers of zones were asked so far; clones of a resolver share it
#[derive(Debug, Default)]
struct Reach {
    answered: AtomicUsize,
    silent: AtomicUsize,
}

impl Reach {
    /// Whether port 53 of the internet is closed, as it is in many networks
    fn is_closed(&self) -> bool {
        self.answered.load(Ordering::Relaxed) == 0
            && self.silent.load(Ordering::Relaxed) >= SILENT_SERVERS
    }

    fn note(&self, outcome: &Result<Answer, LookupFailure>) {
        let count = match outcome {
            Err(LookupFailure::TimedOut | LookupFailure::Failed(_)) => &self.silent,
            _ => &self.answered,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Resolver {
    /// A resolver that asks these servers, or the system's where there are none
    ///
    /// # Errors
    /// [`DnsError::Configuration`] where the system names no server.
    pub fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, DnsError> {
        let unusable = |error: &(dyn Error + 'static)| match is_out_of_descriptors(error) {
            true => DnsError::NoDescriptor,
            false => DnsError::Configuration(error.to_string()),
        };
        let servers = match servers {
            [] => system::servers().map_err(|error| unusable(&error))?,
            servers => servers.to_vec(),
        };
        if servers.is_empty() {
            return Err(DnsError::Configuration("it names no server".to_owned()));
        }
        let asked = servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), asked);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        options.timeout = timeout;
        options.attempts = 1;
        Ok(Self {
            inner: builder.build().map_err(|error| unusable(&error))?,
            servers,
            timeout,
            reach: Arc::default(),
        })
    }

    /// The servers that are asked
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
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
        let (v4, v6) = tokio::join!(
            self.ask(name, RecordKind::A),
            self.ask(name, RecordKind::Aaaa)
        );
        let mut addresses = Vec::new();
        for address in [&v4, &v6].into_iter().flatten().flat_map(Answer::addresses) {
            // An IPv4 address that is written as IPv6 is reached by IPv4.
            if !addresses.contains(&address) && !addresses.contains(&address.to_canonical()) {
                addresses.push(address);
            }
        }
        if !addresses.is_empty() {
            return Ok(addresses);
        }
        match (v4, v6) {
            (Err(failure), _) | (_, Err(failure)) => Err(failure.into()),
            _ => Err(DnsError::NoAddress),
        }
    }

    /// The records of one type that a name has
    ///
    /// After SERVFAIL it is asked once without validation, and then once more as before: a server
    /// that recovered in between must not look like broken DNSSEC.
    pub async fn lookup(&self, name: &str, kind: RecordKind) -> Lookup {
        let mut outcome = self.ask(name, kind).await;
        if let Err(LookupFailure::ServFail(_)) = outcome {
            let dnssec = self.without_validation(name, kind).await;
            outcome = self.ask(name, kind).await.map_err(|failure| match failure {
                LookupFailure::ServFail(_) => LookupFailure::ServFail(dnssec),
                failure => failure,
            });
        }
        Lookup {
            name: name.to_owned(),
            kind,
            outcome,
        }
    }

    async fn ask(&self, name: &str, kind: RecordKind) -> Result<Answer, LookupFailure> {
        // From a text the resolver would take host names alone, without underscores.
        let asked = Name::from_ascii(format!("{name}."));
        let asked = asked.map_err(|error| LookupFailure::Failed(error.to_string()))?;
        match self.inner.lookup(asked, kind.into()).await {
            Ok(found) => Ok(answer(found.answers(), kind)),
            Err(NetError::Timeout) => Err(LookupFailure::TimedOut),
            Err(NetError::Dns(Answered::NoRecordsFound(none))) => match none.response_code {
                // The name is there; how long that holds stands in the SOA.
                ResponseCode::NoError => Ok(Answer {
                    ttl: none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into())),
                    ..Answer::default()
                }),
                code => Err(failure_of(code)),
            },
            Err(NetError::Dns(Answered::ResponseCode(code))) => Err(failure_of(code)),
            Err(_) if has_no_descriptor() => Err(LookupFailure::NoDescriptor),
            Err(error) => Err(LookupFailure::Failed(excerpt(
                &error.to_string(),
                MOST_REASON,
            ))),
        }
    }

    /// Whether a server that gave SERVFAIL has an answer when it need not validate it
    ///
    /// hickory's resolver has no CD bit, its messages have one.
    async fn without_validation(&self, name: &str, kind: RecordKind) -> Dnssec {
        let asking = self.servers.iter().map(async |server| {
            let asked = timeout(self.timeout, ask_unchecked(*server, name, kind)).await;
            matches!(
                asked,
                Ok(Some(ResponseCode::NoError | ResponseCode::NXDomain))
            )
        });
        match join_all(asking).await.contains(&true) {
            true => Dnssec::Broken,
            false => Dnssec::NotTheCause,
        }
    }

    /// What the name servers of the zone around a name say of its addresses and CAA themselves
    ///
    /// Empty where no NS set is found or none of its servers can be found. In a network that lets
    /// nobody ask them, few are tried, for a second each.
    pub async fn authorities(&self, name: &str, port: u16) -> Vec<Authority> {
        let servers = self.zone_servers(name).await;
        let asking = servers.into_iter().map(async |(server, ip)| {
            let address = SocketAddr::new(ip, port);
            let direct = Self::new(&[address], self.timeout.min(DIRECT)).ok()?;
            let lookups = KINDS.map(async |kind| {
                let outcome = match self.reach.is_closed() {
                    true => Err(LookupFailure::TimedOut),
                    false => direct.ask(name, kind).await,
                };
                self.reach.note(&outcome);
                Lookup {
                    name: name.to_owned(),
                    kind,
                    outcome,
                }
            });
            Some(Authority {
                server,
                address,
                lookups: join_all(lookups).await,
            })
        });
        join_all(asking).await.into_iter().flatten().collect()
    }

    /// Names and addresses of the servers of the nearest NS set above a name, a few of them
    async fn zone_servers(&self, name: &str) -> Vec<(String, IpAddr)> {
        let mut zone = name;
        let names: Vec<String> = loop {
            let found = match self.ask(zone, RecordKind::Ns).await {
                // Who does not answer for the name does not for the zone above it either.
                Err(LookupFailure::TimedOut) => return Vec::new(),
                found => found.unwrap_or_default(),
            };
            // The servers of an alias's target may know nothing of the name.
            let records = Some(found.records).filter(|_| found.aliases.is_empty());
            let names: Vec<String> = records
                .unwrap_or_default()
                .into_iter()
                .filter_map(|record| match record {
                    RecordData::NameServer(server) => Some(server),
                    _ => None,
                })
                .collect();
            match zone.split_once('.') {
                _ if !names.is_empty() => break names,
                // The servers of a top-level domain know the delegation, not the records.
                Some((_, parent)) if parent.contains('.') => zone = parent,
                _ => return Vec::new(),
            }
        };
        let finding = names.into_iter().take(MOST_SERVERS).map(async |server| {
            let addresses = self.addresses(&server).await.unwrap_or_default();
            addresses.first().map(|address| (server, *address))
        });
        join_all(finding).await.into_iter().flatten().collect()
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
        connection.bind_addr = system::source_for(address);
    }
    server
}

fn failure_of(code: ResponseCode) -> LookupFailure {
    match code {
        ResponseCode::NXDomain => LookupFailure::NoSuchName,
        ResponseCode::ServFail => LookupFailure::ServFail(Dnssec::NotTheCause),
        ResponseCode::Refused => LookupFailure::Refused,
        code => LookupFailure::Failed(format!("{code:?}")),
    }
}

fn answer(records: &[Record], kind: RecordKind) -> Answer {
    let mut answer = Answer::default();
    for record in records {
        match &record.data {
            RData::CNAME(target) => answer.aliases.push(text_of(&target.0)),
            // A set holds a record once (RFC 2181 section 5), whatever a server sends.
            data => {
                let data = data_of(data).filter(|_| record.record_type() == kind.into());
                let records = &mut answer.records;
                records.extend(data.filter(|data| !records.contains(data)));
            }
        }
        let ttl = Duration::from_secs(record.ttl.into());
        answer.ttl = Some(answer.ttl.map_or(ttl, |shortest| shortest.min(ttl)));
    }
    answer
}

/// What a message says, as bytes; `None` where it is none
#[cfg(any(test, fuzzing))]
pub(crate) fn answer_in(message: &[u8], kind: RecordKind) -> Option<Answer> {
    let message = Message::from_vec(message).ok()?;
    Some(answer(&message.answers, kind))
}

fn data_of(data: &RData) -> Option<RecordData> {
    Some(match data {
        RData::A(a) => RecordData::Address(a.0.into()),
        RData::AAAA(aaaa) => RecordData::Address(aaaa.0.into()),
        RData::NS(server) => RecordData::NameServer(text_of(&server.0)),
        RData::CAA(caa) => RecordData::Caa(Caa {
            // Many write 1 for the bit of 128, and Let's Encrypt takes it for that.
            criticality: match caa.issuer_critical || caa.reserved_flags & 1 != 0 {
                true => Criticality::Critical,
                false => Criticality::NonCritical,
            },
            tag: caa.tag.to_ascii_lowercase(),
            value: String::from_utf8_lossy(&caa.value).into_owned(),
        }),
        _ => return None,
    })
}

fn text_of(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// One question over UDP with the CD bit; the answer's code
async fn ask_unchecked(server: SocketAddr, name: &str, kind: RecordKind) -> Option<ResponseCode> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = true;
    let name = Name::from_ascii(format!("{name}.")).ok()?;
    message.add_query(Query::query(name, kind.into()));
    let here: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((here, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    socket.send(&message.to_vec().ok()?).await.ok()?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await.ok()?;
        // What is no answer to this question is passed over: a late one, or a forged one.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && answer.metadata.id == message.metadata.id
            && answer.queries == message.queries
        {
            return Some(answer.metadata.response_code);
        }
    }
}

impl From<RecordKind> for RecordType {
    fn from(kind: RecordKind) -> Self {
        match kind {
            RecordKind::A => Self::A,
            RecordKind::Aaaa => Self::AAAA,
            RecordKind::Caa => Self::CAA,
            RecordKind::Ns => Self::NS,
        }
    }
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
    /// This process may open no more files, and nobody was asked
    #[error("{}", LookupFailure::NoDescriptor)]
    NoDescriptor,
    /// SERVFAIL and the like
    #[error("the DNS server failed: {0}")]
    Failed(String),
    /// The system's resolver configuration is of no use
    #[error("no DNS server is known: {0}")]
    Configuration(String),
}

impl From<LookupFailure> for DnsError {
    fn from(failure: LookupFailure) -> Self {
        match failure {
            LookupFailure::NoSuchName => Self::NoSuchName,
            LookupFailure::TimedOut => Self::TimedOut,
            LookupFailure::NoDescriptor => Self::NoDescriptor,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Whether there are too few descriptors for what is asked at a time
///
/// hickory says that it has no connection, whatever kept it from one, and the question beside this
/// one may have ended since.
fn has_no_descriptor() -> bool {
    let bind = |_| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let sockets: io::Result<Vec<_>> = (0..AT_A_TIME).map(bind).collect();
    sockets.is_err_and(|error| is_out_of_descriptors(&error))
}

/// Sockets of one name: two families, by UDP and then by TCP
const AT_A_TIME: usize = 4;

/// What name servers of zones are asked for
const KINDS: [RecordKind; 3] = [RecordKind::A, RecordKind::Aaaa, RecordKind::Caa];
/// Time for one question to a name server of a zone, of which there are two attempts
const DIRECT: Duration = Duration::from_secs(1);
/// Questions without an answer after which no name server of a zone is asked any more
const SILENT_SERVERS: usize = 6;
/// Name servers of a zone that are asked themselves
const MOST_SERVERS: usize = 4;
/// Characters of what the library says of a failure
const MOST_REASON: usize = 200;

#[cfg(test)]
mod tests;
