//! Asking for a token as a CA does: at one address, with the Host header, following few redirects.

use std::net::{IpAddr, SocketAddr};

use http::{StatusCode, Uri};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use tokio::time::timeout;

use super::judge::dns::{IssuerKind, scope};
use crate::facts::fetch::{BadRedirect, Body, Fetch, FetchFailure, Hop, Whose};
use crate::name::DnsName;
use crate::net::dns::Resolver;
use crate::net::fetch::{Fetcher, Reply};

/// Where a host answers for the two ports that a CA knows
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doors {
    /// For port 80
    pub http: SocketAddr,
    /// For port 443, to which a site may redirect; `None` where there is no such port
    pub https: Option<SocketAddr>,
}

/// Which ports of other hosts stand for 80 and 443
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For port 80
    pub http: u16,
    /// For port 443
    pub https: u16,
}

impl Ports {
    /// The doors of a host at this address
    pub fn at(self, ip: IpAddr) -> Doors {
        Doors {
            http: SocketAddr::new(ip, self.http),
            https: Some(SocketAddr::new(ip, self.https)),
        }
    }
}

/// Looks at sites
#[derive(Clone)]
pub struct Prober {
    fetcher: Fetcher,
    resolver: Resolver,
    ports: Ports,
    issuer: IssuerKind,
}

impl Prober {
    /// A prober that finds the hosts of redirects through this resolver, at these ports, where
    /// such a CA would find them
    pub fn new(fetcher: Fetcher, resolver: Resolver, ports: Ports, issuer: IssuerKind) -> Self {
        Self {
            fetcher,
            resolver,
            ports,
            issuer,
        }
    }

    /// What `http://name/path` is answered with by the host behind these doors
    ///
    /// Redirects get no time of their own: all in all it takes as long as one connection and one
    /// request may.
    pub async fn probe(&self, name: &DnsName, path: &str, doors: Doors, whose: Whose) -> Fetch {
        let mut hops: Vec<Hop> = Vec::new();
        let place = Place { name, doors, whose };
        let following = self.follow(place, path, &mut hops);
        let outcome = match timeout(2 * self.fetcher.timeout(), following).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchFailure::TooSlow),
        };
        Fetch {
            name: name.to_string(),
            address: doors.http,
            whose,
            is_local: is_local(doors.http.ip()),
            hops,
            outcome,
        }
    }

    async fn follow(
        &self,
        place: Place<'_>,
        path: &str,
        hops: &mut Vec<Hop>,
    ) -> Result<Body, FetchFailure> {
        let name = place.name;
        let unusable = |_| FetchFailure::NotHttp(format!("{name}{path} fits in no URL"));
        let mut url: Uri = format!("http://{name}{path}").parse().map_err(unusable)?;
        loop {
            let address = self.address_of(&url, place).await?;
            let reply = self.ask(&url, address, place.whose).await?;
            hops.push(Hop {
                url: url.to_string(),
                status: reply.status,
                server: reply.server.clone(),
            });
            match next(&url, reply, hops)? {
                Next::Follow(target) => url = target,
                Next::Done(body) => return Ok(body),
            }
        }
    }

    /// What one URL is answered with
    ///
    /// nginx closes what comes without a header where it awaits a balancer (`listen 80
    /// proxy_protocol`). Its container is reached past that one, and gets its header.
    async fn ask(&self, url: &Uri, at: SocketAddr, whose: Whose) -> Result<Reply, FetchFailure> {
        let asked = self.fetcher.fetch(url, at).await;
        match (&asked, whose) {
            (Err(FetchFailure::Closed(_)), Whose::Container) => {
                match self.fetcher.as_balancer().fetch(url, at).await {
                    // To a server that awaits none, the header itself is a bad request.
                    Ok(reply) if reply.status != BAD_REQUEST => Ok(reply),
                    _ => asked,
                }
            }
            _ => asked,
        }
    }

    async fn address_of(&self, url: &Uri, place: Place<'_>) -> Result<SocketAddr, FetchFailure> {
        let host = url.host().unwrap_or_default().trim_end_matches('.');
        let nowhere = || FetchFailure::NoAddress(host.to_owned());
        let doors = match host.eq_ignore_ascii_case(place.name.as_str()) {
            true => place.doors,
            false => self.doors_of(host, place).await.ok_or_else(nowhere)?,
        };
        let is_tls = url.scheme_str() == Some("https");
        // A CA goes by the port in a URL, whichever its scheme.
        match url.port_u16().unwrap_or(if is_tls { 443 } else { 80 }) {
            443 => doors.https.ok_or_else(nowhere),
            _ => Ok(doors.http),
        }
    }

    /// Where another host is: behind the same doors, if its addresses say so
    async fn doors_of(&self, host: &str, place: Place<'_>) -> Option<Doors> {
        let found = self.resolver.addresses(host).await.ok()?;
        // The inside is tried because the public address may be out of reach from here; a
        // redirect to another name of the same host must not lead back out to that address.
        // So it is where the resolver has an inner view, and the world another.
        let own = self.resolver.addresses(place.name.as_str()).await;
        let home = own.unwrap_or_default();
        let public = place.doors.http.ip();
        let is_home = |address: &IpAddr| {
            home.contains(address) || place.whose == Whose::Public && *address == public
        };
        if found.iter().any(is_home) {
            return Some(place.doors);
        }
        let is_usable = |address: &&IpAddr| match self.issuer {
            IssuerKind::Public => scope(**address).is_none(),
            IssuerKind::Private => true,
        };
        let (v4, v6): (Vec<&IpAddr>, Vec<&IpAddr>) = found
            .iter()
            .filter(is_usable)
            .partition(|address| address.is_ipv4());
        // A CA tries IPv6 first. This host may have none, and then cannot judge it.
        if let Some(first) = v6.first() {
            let doors = self.ports.at(**first);
            if v4.is_empty() || self.fetcher.connects(doors.http).await {
                return Some(doors);
            }
        }
        v4.first().map(|address| self.ports.at(**address))
    }
}

/// Whether this host has an address itself
///
/// Asked of its interfaces: with `net.ipv4.ip_nonlocal_bind` any address can be bound to.
pub fn is_local(address: IpAddr) -> bool {
    let has = |interface: InterfaceAddress| {
        let found = interface.address?;
        let v4 = found.as_sockaddr_in().map(|found| IpAddr::from(found.ip()));
        v4.or_else(|| {
            found
                .as_sockaddr_in6()
                .map(|found| IpAddr::from(found.ip()))
        })
    };
    address.is_loopback()
        || getifaddrs().is_ok_and(|mut all| all.any(|interface| has(interface) == Some(address)))
}

/// The host that is asked
#[derive(Clone, Copy)]
struct Place<'p> {
    name: &'p DnsName,
    doors: Doors,
    whose: Whose,
}

/// What follows from an answer
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Follow(Uri),
    Done(Body),
}

/// The rules of a CA: which redirects it follows, and when it has had enough
fn next(url: &Uri, reply: Reply, hops: &[Hop]) -> Result<Next, FetchFailure> {
    // Let's Encrypt takes no other success for one.
    if reply.status == StatusCode::OK {
        return Ok(Next::Done(Body(reply.body)));
    }
    if !REDIRECTS.contains(&reply.status) {
        return Err(FetchFailure::Status(reply.status));
    }
    let location = reply.location.unwrap_or_default();
    let target = redirect(url, &location)
        .map_err(|reason| FetchFailure::Redirect(location.clone(), reason))?;
    if hops.iter().any(|hop| target == hop.url.as_str()) {
        return Err(FetchFailure::Loop(target.to_string()));
    }
    if hops.len() > MOST_REDIRECTS {
        return Err(FetchFailure::TooMany);
    }
    Ok(Next::Follow(target))
}

/// The target of a redirect, absolute
pub(crate) fn redirect(from: &Uri, location: &str) -> Result<Uri, BadRedirect> {
    let location = sendable(location);
    let absolute = absolute(from, &location)?;
    let target: Uri = absolute.parse().map_err(|_| BadRedirect::Unusable)?;
    if target
        .port_u16()
        .is_some_and(|port| ![80, 443].contains(&port))
    {
        return Err(BadRedirect::Port);
    }
    // "https:" alone reads as a host of that name.
    if target.scheme().is_none() {
        return Err(BadRedirect::Unusable);
    }
    let host = target.host().unwrap_or_default().trim_end_matches('.');
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return Err(BadRedirect::Address);
    }
    match host.is_empty() {
        true => Err(BadRedirect::Unusable),
        false => Ok(target),
    }
}

/// A reference without its fragment, which never reaches a server, and with blanks and foreign
/// letters encoded, as clients do
fn sendable(location: &str) -> String {
    let location = location.split('#').next().unwrap_or_default().trim();
    let mut text = String::with_capacity(location.len());
    for byte in location.bytes() {
        match byte {
            0x21..=0x7e => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// A reference as an absolute URL (RFC 3986 section 5.2)
///
/// Dot segments stay: a server resolves them as well.
fn absolute(from: &Uri, location: &str) -> Result<String, BadRedirect> {
    let scheme = from.scheme_str().unwrap_or("http");
    let authority = from.authority().ok_or(BadRedirect::Unusable)?;
    let path = from.path();
    if location.is_empty() {
        return Err(BadRedirect::Unusable);
    }
    if let Some(scheme) = scheme_of(location) {
        let is_known = ["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        return is_known
            .then(|| location.to_owned())
            .ok_or(BadRedirect::Scheme);
    }
    Ok(match location.as_bytes() {
        [b'/', b'/', ..] => format!("{scheme}:{location}"),
        [b'/', ..] => format!("{scheme}://{authority}{location}"),
        [b'?', ..] => format!("{scheme}://{authority}{path}{location}"),
        _ => {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{scheme}://{authority}{directory}/{location}")
        }
    })
}

/// The scheme of a reference (RFC 3986 section 3.1); `None` for a relative one
fn scheme_of(location: &str) -> Option<&str> {
    let (scheme, _) = location.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some(scheme)
}

/// What a server answers that takes the header of a balancer for a request
const BAD_REQUEST: u16 = 400;
/// Redirects that a CA follows (CA/Browser Forum Baseline Requirements 3.2.2.4.19)
const REDIRECTS: [u16; 4] = [301, 302, 307, 308];
/// Redirects in a row that Let's Encrypt follows
const MOST_REDIRECTS: usize = 10;

#[cfg(test)]
mod tests;
