//! Looking at a site from outside, by the rules of a CA: DNS without a cache, IPv6 first, few
//! redirects, small bodies (CA/Browser Forum Baseline Requirements 3.2.2.4.19).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use http::header::{HOST, LOCATION, USER_AGENT};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ALL_VERSIONS;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::SandboxError;
use super::problem::Problem;
use crate::anyone;

/// What the CA looks with
pub(super) struct Fetcher {
    resolver: TokioResolver,
    http_port: u16,
    https_port: u16,
    tls: TlsConnector,
    /// How long a connection may take
    pub(super) patience: Duration,
}

/// What a site answered
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
}

impl Fetcher {
    pub(super) fn new(dns: SocketAddr, http: u16, https: u16) -> Result<Self, SandboxError> {
        let mut server = NameServerConfig::udp_and_tcp(dns.ip());
        for connection in &mut server.connections {
            connection.port = dns.port();
        }
        let mut builder = TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), vec![server]),
            TokioRuntimeProvider::default(),
        );
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        options.timeout = DNS_TIMEOUT;
        options.attempts = 1;
        let resolver = builder.build().map_err(|error| SandboxError::Dns {
            reason: error.to_string(),
        })?;
        Ok(Self {
            resolver,
            http_port: http,
            https_port: https,
            tls: TlsConnector::from(Arc::new(anyone::client_config(ALL_VERSIONS)?)),
            patience: CONNECT_TIMEOUT,
        })
    }

    /// The records of one type, none for a name that is not there
    pub(super) async fn records(
        &self,
        name: &str,
        kind: RecordType,
    ) -> Result<Vec<RData>, Problem> {
        let why = |reason: String| {
            let detail = format!("DNS problem: {reason} looking up {kind} for {name}");
            Problem::new(400, "dns", detail)
        };
        match self.resolver.lookup(format!("{name}."), kind).await {
            Ok(lookup) => {
                let answers = lookup.answers().iter();
                Ok(answers.map(|record| record.data.clone()).collect())
            }
            Err(error) if error.is_nx_domain() && kind == RecordType::CAA => Ok(Vec::new()),
            Err(error) if error.is_nx_domain() => Err(Problem::new(
                400,
                "dns",
                format!(
                    "DNS problem: NXDOMAIN looking up {kind} for {name} - check that a DNS record exists for this domain"
                ),
            )),
            Err(NetError::Timeout) => Err(why("query timed out".to_owned())),
            Err(error) => match response_code(&error) {
                Some(ResponseCode::NoError) => Ok(Vec::new()),
                Some(code) => Err(why(format!("{code:?}").to_uppercase())),
                None if error.is_no_records_found() => Ok(Vec::new()),
                None => Err(why(error.to_string())),
            },
        }
    }

    /// Addresses of a name, IPv6 first
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Problem> {
        let (v6, v4) = tokio::join!(
            self.records(name, RecordType::AAAA),
            self.records(name, RecordType::A)
        );
        let addresses: Vec<IpAddr> = [&v6, &v4]
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|data| match data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                _ => None,
            })
            .collect();
        match (addresses.is_empty(), v4, v6) {
            (false, ..) => Ok(addresses),
            (true, Err(problem), _) | (true, _, Err(problem)) => Err(problem),
            (true, ..) => Err(Problem::new(
                400,
                "dns",
                format!(
                    "no valid A records found for {name}; no valid AAAA records found for {name}"
                ),
            )),
        }
    }

    /// What `http://name/path` answers in the end
    pub(super) async fn fetch(&self, name: &str, path: &str) -> Result<Fetched, Problem> {
        let mut target = Target::new(name, path)?;
        for redirects in 0..=MOST_REDIRECTS {
            let response = self.ask(&mut target, redirects).await?;
            let status = response.status();
            if REDIRECTS.contains(&status) {
                target = target.redirected(&response)?;
                continue;
            }
            if !status.is_success() {
                return Err(target.invalid(&status.as_u16().to_string()));
            }
            return target.read(response).await;
        }
        Err(target.failed("Too many redirects"))
    }

    async fn ask(
        &self,
        target: &mut Target,
        redirects: usize,
    ) -> Result<Response<Incoming>, Problem> {
        let addresses = self.addresses(&target.host).await?;
        let port = match target.is_tls() {
            true => self.https_port,
            false => self.http_port,
        };
        let first = addresses[0];
        target.address = Some(first);
        let other = addresses
            .iter()
            .find(|address| address.is_ipv4() != first.is_ipv4());
        let stream = match (self.connect(target, first, port).await, other) {
            // IPv4 is tried after a timeout alone, and never after a redirect.
            (Err(error), Some(other))
                if error.kind() == io::ErrorKind::TimedOut && redirects == 0 =>
            {
                target.address = Some(*other);
                self.connect(target, *other, port).await
            }
            (outcome, _) => outcome,
        };
        let stream = stream.map_err(|error| target.failed(&words(&error)))?;
        match timeout(REQUEST_TIMEOUT, self.request(target, stream)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(target.failed("Timeout after connect (your server may be slow or overloaded)"))
            }
        }
    }

    async fn connect(&self, target: &Target, ip: IpAddr, port: u16) -> io::Result<TcpStream> {
        if !ip.is_loopback() {
            let reason = format!(
                "the sandbox connects to loopback only, and {} is {ip}",
                target.host
            );
            return Err(io::Error::other(reason));
        }
        match timeout(self.patience, TcpStream::connect((ip, port))).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn request(
        &self,
        target: &Target,
        stream: TcpStream,
    ) -> Result<Response<Incoming>, Problem> {
        if !target.is_tls() {
            return target.send(stream).await;
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| target.failed(&error.to_string()))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| {
            let detail = target.at(&format!("Fetching {}: {}", target.uri, words(&error)));
            Problem::new(400, "tls", detail)
        })?;
        target.send(stream).await
    }
}

/// One request on the way to the token
struct Target {
    uri: Uri,
    host: String,
    /// The one that was asked last
    address: Option<IpAddr>,
}

impl Target {
    fn new(name: &str, path: &str) -> Result<Self, Problem> {
        let uri = format!("http://{name}{path}")
            .parse()
            .map_err(|_| Problem::malformed("the name fits in no URL"))?;
        Ok(Self {
            uri,
            host: name.to_owned(),
            address: None,
        })
    }

    fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    fn failed(&self, reason: &str) -> Problem {
        let detail = self.at(&format!("Fetching {}: {reason}", self.uri));
        Problem::new(400, "connection", detail)
    }

    fn invalid(&self, found: &str) -> Problem {
        Problem::unauthorized(self.at(&format!("Invalid response from {}: {found}", self.uri)))
    }

    /// Let's Encrypt says first which address it asked
    fn at(&self, reason: &str) -> String {
        match self.address {
            Some(address) => format!("{address}: {reason}"),
            None => reason.to_owned(),
        }
    }

    async fn send<S>(&self, stream: S) -> Result<Response<Incoming>, Problem>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed = |error: hyper::Error| self.failed(&root_of(&error));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, &self.host)
            .header(USER_AGENT, AGENT)
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.failed(&error.to_string()))?;
        sender.send_request(request).await.map_err(failed)
    }

    fn redirected(&self, response: &Response<Incoming>) -> Result<Self, Problem> {
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let uri: Uri = match location {
            // RFC 3986 section 4.2: a reference to another host with the same scheme.
            _ if location.starts_with("//") => format!("{scheme}:{location}"),
            _ if location.starts_with('/') => format!("{scheme}://{}{location}", self.host),
            _ => location.to_owned(),
        }
        .parse()
        .map_err(|_| self.failed("Invalid redirect target"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        if scheme != "http" && scheme != "https" {
            return Err(self.failed(&format!("Invalid protocol scheme in redirect target. Only \"http\" and \"https\" protocol schemes are supported, not {scheme:?}")));
        }
        if let Some(port) = uri.port_u16().filter(|port| ![80, 443].contains(port)) {
            return Err(self.failed(&format!(
                "Invalid port in redirect target. Only ports 80 and 443 are supported, not {port}"
            )));
        }
        let host = uri.host().unwrap_or_default().to_owned();
        if host.is_empty() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(self.failed(&format!("Invalid host in redirect target {host:?}. Only domain names are supported, not IP addresses")));
        }
        Ok(Self {
            uri,
            host,
            address: None,
        })
    }

    async fn read(&self, mut response: Response<Incoming>) -> Result<Fetched, Problem> {
        let mut body = Vec::new();
        let reading = async {
            while let Some(frame) = response.body_mut().frame().await {
                let frame = frame.map_err(|error| self.failed(&root_of(&error)))?;
                body.extend_from_slice(&frame.into_data().unwrap_or_default());
                if body.len() >= LARGEST_BODY {
                    break;
                }
            }
            Ok(())
        };
        match timeout(REQUEST_TIMEOUT, reading).await {
            Ok(outcome) => outcome?,
            Err(_) => return Err(self.failed("Timeout while reading the body")),
        }
        if body.len() >= LARGEST_BODY {
            let begin = String::from_utf8_lossy(&body[..64]).into_owned();
            return Err(self.invalid(&format!("{begin:?}")));
        }
        Ok(Fetched { body })
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
            "Connection reset by peer".to_owned()
        }
        io::ErrorKind::TimedOut => "Timeout during connect (likely firewall problem)".to_owned(),
        _ => error.to_string(),
    }
}

/// What lies at the bottom of an error of the HTTP client
fn root_of(error: &hyper::Error) -> String {
    match std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => words(cause),
        None => error.to_string(),
    }
}

fn response_code(error: &NetError) -> Option<ResponseCode> {
    match error {
        NetError::Dns(hickory_resolver::net::DnsError::ResponseCode(code)) => Some(*code),
        NetError::Dns(hickory_resolver::net::DnsError::NoRecordsFound(none)) => {
            Some(none.response_code)
        }
        _ => None,
    }
}

const REDIRECTS: [StatusCode; 4] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];
const MOST_REDIRECTS: usize = 10;
/// Bytes from which on a body is too large to be a key authorization
const LARGEST_BODY: usize = 128;
const DNS_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const AGENT: &str = "certd-sandbox (a test CA)";
