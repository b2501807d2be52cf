//! What a site answered over HTTP, as a CA asks for a token (RFC 8555 section 8.3).

use std::fmt;
use std::net::SocketAddr;

use super::ConnectFailure;

/// One attempt to fetch a token, from the first request to the last redirect
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Name that was asked for first
    pub name: String,
    /// Where the first connection went
    pub address: SocketAddr,
    /// Whose address that is
    pub whose: Whose,
    /// Whether this host has that address itself, so that no router stands before it
    pub is_local: bool,
    /// Every request that was answered, in order
    pub hops: Vec<Hop>,
    /// Why it ended
    pub outcome: Result<Body, FetchFailure>,
}

impl Fetch {
    /// Whether the first connection itself failed, as where a router does not turn packets back
    pub fn never_connected(&self) -> bool {
        self.hops.is_empty()
            && matches!(
                &self.outcome,
                Err(FetchFailure::Connect(
                    _,
                    ConnectFailure::TimedOut
                        | ConnectFailure::Refused
                        | ConnectFailure::Unreachable(_)
                ))
            )
    }
}

/// Whose address a fetch went to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The one that DNS gives, where the CA will look
    Public,
    /// The container's, which this host can always reach
    Container,
    /// This host's own, where nothing is known of a container
    Loopback,
}

/// One request that was answered
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// URL that was asked for
    pub url: String,
    /// HTTP status
    pub status: u16,
    /// `Server`, which tells whose answer it is
    pub server: Option<String>,
}

/// The body of an answer with status 200, its beginning
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

/// Why there is no body
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// No connection to a URL
    Connect(String, ConnectFailure),
    /// The connection was closed without an answer
    Closed(String),
    /// Connected, and no whole answer in time
    TimedOut(String),
    /// Neither 200 nor a redirect that a CA follows: the last hop says which
    Status(u16),
    /// Answers came, and not all that it takes in time
    TooSlow,
    /// The URL was asked for before
    Loop(String),
    /// More redirects than a CA follows
    TooMany,
    /// A redirect that no CA follows: its target, and why
    Redirect(String, BadRedirect),
    /// The host of a redirect has no address
    NoAddress(String),
    /// What came is no HTTP
    NotHttp(String),
}

/// Why a CA does not follow a redirect (CA/Browser Forum Baseline Requirements 3.2.2.4.19)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRedirect {
    /// It has no usable target
    Unusable,
    /// Neither http nor https
    Scheme,
    /// Neither 80 nor 443
    Port,
    /// An address instead of a name
    Address,
}

impl fmt::Display for BadRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unusable => "it is no URL",
            Self::Scheme => "a CA follows http and https alone",
            Self::Port => "a CA follows to ports 80 and 443 alone",
            Self::Address => "a CA follows to names alone, not to addresses",
        })
    }
}
