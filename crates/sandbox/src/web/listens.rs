//! The `listen` directive, read as nginx reads it.

use std::net::{Ipv4Addr, Ipv6Addr};

/// One address that a server block listens at
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    /// As nginx prints it: `0.0.0.0:443`, `[::]:443`, `unix:/run/nginx.sock`
    pub(super) address: String,
    /// `None` for a socket that is a file
    pub(super) port: Option<u16>,
    pub(super) transport: Transport,
    pub(super) rank: Rank,
}

/// What is spoken at an address
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Plain,
    Tls,
    /// Over UDP, which nobody serves here
    Quic,
}

/// Whether a server block asks to be the one for all names that no other lists
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    Default,
    Ordinary,
}

impl Listen {
    /// Reads the arguments of the directive
    ///
    /// # Errors
    /// What nginx says of them, without the place.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let (address, parameters) = arguments.split_first().ok_or("no arguments")?;
        let (address, port) = endpoint(address)
            .map_err(|problem| format!("{problem} in \"{address}\" of the \"listen\" directive"))?;
        let mut listen = Self {
            address,
            port,
            transport: Transport::Plain,
            rank: Rank::Ordinary,
        };
        for parameter in parameters {
            match parameter.as_str() {
                "ssl" => listen.transport = Transport::Tls,
                "quic" => listen.transport = Transport::Quic,
                "default_server" | "default" => listen.rank = Rank::Default,
                other if is_known(other) => {}
                other => return Err(format!("invalid parameter \"{other}\"")),
            }
        }
        Ok(listen)
    }
}

fn is_known(parameter: &str) -> bool {
    match parameter.split_once('=') {
        Some((name, _)) => VALUES.contains(&name),
        None => FLAGS.contains(&parameter),
    }
}

/// An address as nginx prints it, and its port
fn endpoint(text: &str) -> Result<(String, Option<u16>), &'static str> {
    if text.starts_with("unix:") {
        return Ok((text.to_owned(), None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("invalid IPv6 address")?;
            let host: Ipv6Addr = host.parse().map_err(|_| "invalid IPv6 address")?;
            (format!("[{host}]"), after.strip_prefix(':'))
        }
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => (ANY.to_string(), Some(text)),
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let port = match port {
        None => HTTP,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("invalid port"),
            Ok(port) => port,
        },
    };
    let host = match host.as_str() {
        "*" => ANY.to_string(),
        // No other name is known in a container.
        "localhost" => Ipv4Addr::LOCALHOST.to_string(),
        _ if host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok() => host,
        _ => return Err("host not found"),
    };
    Ok((format!("{host}:{port}"), Some(port)))
}

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const HTTP: u16 = 80;
/// Parameters without a value that make no difference here
const FLAGS: [&str; 5] = ["bind", "deferred", "http2", "proxy_protocol", "reuseport"];
/// Parameters with a value that make no difference here
const VALUES: [&str; 8] = [
    "accept_filter",
    "backlog",
    "fastopen",
    "ipv6only",
    "rcvbuf",
    "setfib",
    "sndbuf",
    "so_keepalive",
];
