//! What sites answered to a request for a token, held against what a CA accepts.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::facts::fetch::{Body, Fetch, FetchFailure, Hop, Whose};
use crate::facts::{ConnectFailure, Gate, Network};
use crate::finding::{Finding, Severity, excerpt};
use crate::name::DnsName;

use blocks::{block, closed, for_balancers, location, stranger};

mod blocks;

/// What was looked for, and what is known beside the answers
#[derive(Clone, Copy, Debug)]
pub struct Site<'s> {
    /// The name
    pub name: &'s DnsName,
    /// What the token's file holds
    pub token: &'s str,
    /// The webroot as nginx sees it
    pub root: &'s Path,
    /// Where port 80 of each container that serves it is published
    pub inlets: &'s [Inlet],
    /// The host's public addresses (`addresses`); empty where they are not known
    pub own: &'s [IpAddr],
    /// Whether this host can judge an IPv6 address
    pub ipv6: Ipv6,
    /// The server block that answers for the name; `None` where it is not known
    pub gate: Option<&'s Gate>,
}

/// Where the host publishes port 80 of a container
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inlet {
    /// Its name
    pub container: String,
    /// Which network stack it sees
    pub network: Network,
    /// Addresses of the host; none in the host's network
    pub published: Vec<SocketAddr>,
}

/// What is known of this host's own way to the IPv6 internet
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6 {
    /// It works, or nothing is known against it
    Usable,
    /// The CA does not answer there either
    Dead,
}

/// Whether the server block that answers would add to what these findings say
pub fn asks_for_gate(findings: &[Finding]) -> bool {
    let mut bad = findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning);
    bad.any(|finding| OF_BLOCKS.contains(&finding.code))
}

/// Every fetch of one name's token, the worst first
///
/// A failure is one only where the CA would meet it: not where this host cannot reach its own
/// public address, not on a way that the CA does not take.
pub fn judge(site: Site<'_>, fetches: &[Fetch]) -> Vec<Finding> {
    let ways = Ways::of(site.token, fetches);
    let is_public = |fetch: &Fetch| fetch.whose == Whose::Public;
    let mut findings: Vec<Finding> = Vec::new();
    for fetch in fetches {
        let finding = ways.weigh(site, fetch, judge_one(site, fetch));
        // What the host says of itself adds nothing where the public address says the same.
        let is_known = findings.iter().any(|known| known.code == finding.code);
        let counts = match fetch.whose {
            Whose::Public => true,
            Whose::Container => !is_known,
            // It is a guess that nginx is there: that it is not says nothing.
            Whose::Loopback => !is_known && finding.severity == Severity::Ok,
        };
        if counts {
            findings.push(finding);
        }
    }
    if !fetches.iter().any(is_public) {
        let evidence = format!(
            "no address of {} is known at which the CA could ask",
            site.name
        );
        findings.retain(|finding| finding.severity != Severity::Ok);
        findings.push(Finding::note("http.unasked", evidence));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// On which ways the token is served, of those that were tried
struct Ways {
    /// Not over the public address: at the container, or on this host
    inside: Served,
    ipv4: Served,
    ipv6: Served,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Everywhere,
    Somewhere,
    Nowhere,
}

impl Ways {
    fn of(token: &str, fetches: &[Fetch]) -> Self {
        let served = |is_counted: &dyn Fn(&Fetch) -> bool| {
            let counted = || fetches.iter().filter(|fetch| is_counted(fetch));
            match counted().filter(|fetch| is_right(fetch, token)).count() {
                0 => Served::Nowhere,
                right if right == counted().count() => Served::Everywhere,
                _ => Served::Somewhere,
            }
        };
        let is_public = |fetch: &Fetch| fetch.whose == Whose::Public;
        Self {
            inside: served(&|fetch| !is_public(fetch)),
            ipv4: served(&|fetch| is_public(fetch) && fetch.address.is_ipv4()),
            ipv6: served(&|fetch| is_public(fetch) && fetch.address.is_ipv6()),
        }
    }

    /// The finding of one fetch in the light of the others
    fn weigh(&self, site: Site<'_>, fetch: &Fetch, finding: Finding) -> Finding {
        if finding.severity != Severity::Failure {
            return finding;
        }
        let is_public_right = self.ipv4 != Served::Nowhere || self.ipv6 != Served::Nowhere;
        match fetch.whose {
            Whose::Container | Whose::Loopback if is_public_right => Finding::note(
                finding.code,
                format!("{}; the CA does not come this way", finding.evidence),
            ),
            Whose::Container | Whose::Loopback => finding,
            Whose::Public if fetch.address.is_ipv6() => match is_blind(site, fetch) {
                true => no_ipv6(site, fetch),
                false if self.ipv4 == Served::Nowhere && fetch.never_connected() => finding
                    .with_cure(format!(
                        "publish port 80 on IPv6 too, or point {} to an address of this host alone",
                        site.name
                    )),
                false => finding,
            },
            // The CA tries IPv6 first, and IPv4 only where that fails.
            Whose::Public if self.ipv6 == Served::Everywhere => Finding {
                severity: Severity::Warning,
                evidence: format!("{}; the CA takes IPv6, which works", finding.evidence),
                ..finding
            },
            Whose::Public if self.ipv4 == Served::Somewhere && fetch.never_connected() => {
                let ip = fetch.address.ip();
                finding.with_cure(format!(
                    "other addresses of {} answer: remove {ip} from its records, or mend that host",
                    site.name
                ))
            }
            Whose::Public if self.inside == Served::Nowhere || self.ipv4 != Served::Nowhere => {
                finding
            }
            Whose::Public => outside(site, fetch, finding),
        }
    }
}

fn is_right(fetch: &Fetch, token: &str) -> bool {
    // Let's Encrypt reads so far, and refuses what goes on.
    let is_short = |body: &[u8]| body.len() < MOST_BODY;
    fetch
        .outcome
        .as_ref()
        .is_ok_and(|Body(body)| is_short(body) && body.trim_ascii_end() == token.as_bytes())
}

/// Whether an IPv6 address that does not answer says nothing, this host's IPv6 being dead
fn is_blind(site: Site<'_>, fetch: &Fetch) -> bool {
    let is_silent = matches!(
        fetch.outcome,
        Err(FetchFailure::Connect(
            _,
            ConnectFailure::TimedOut | ConnectFailure::Unreachable(_)
        ))
    );
    site.ipv6 == Ipv6::Dead && !fetch.is_local && fetch.hops.is_empty() && is_silent
}

/// The CA will try it first: a note where it is known to be this host's
fn no_ipv6(site: Site<'_>, fetch: &Fetch) -> Finding {
    let ip = fetch.address.ip();
    let evidence =
        format!("this host has no IPv6 that works, so {ip} cannot be tried; the CA tries it first");
    match site.own.contains(&ip) {
        true => Finding::note("http.no_ipv6", evidence),
        false => Finding::warning("http.no_ipv6", evidence).with_cure(format!(
            "is {ip} this host? Then add it to `addresses`; else remove the AAAA record"
        )),
    }
}

/// A public address that does not serve the token, where nginx serves it inside
///
/// It may be another host, to which the CA would go. Only where `addresses` names it is silence its
/// router's, which does not turn packets back: what answers there answers the CA too.
fn outside(site: Site<'_>, fetch: &Fetch, finding: Finding) -> Finding {
    let ip = fetch.address.ip();
    let (name, is_own) = (site.name, site.own.contains(&ip));
    if fetch.is_local || for_balancers(site, fetch).is_some() {
        return finding;
    }
    match (is_own, fetch.never_connected()) {
        (true, true) => Finding::note(
            "http.hairpin",
            format!(
                "this host cannot reach {name} at its own address {ip}, and nginx answers right inside: the CA may well reach it"
            ),
        ),
        (true, false) => finding.with_cure(format!(
            "nginx answers right inside, so something else has port 80 of {ip}: is that port forwarded to nginx? A router that answers so to this host alone is passed over by leaving `http` out of `[preflight] require`"
        )),
        (false, true) if site.own.is_empty() => finding.with_cure(format!(
            "correct the record of {name} if {ip} is not this host; if it is, behind a router that turns nothing back, leave `http` out of `[preflight] require`: this host cannot see there what the CA sees"
        )),
        (false, _) => finding,
    }
}

fn judge_one(site: Site<'_>, fetch: &Fetch) -> Finding {
    let place = match fetch.whose {
        Whose::Public => fetch.address.to_string(),
        Whose::Container => format!("{} (the container)", fetch.address),
        Whose::Loopback => format!("{} (this host)", fetch.address),
    };
    match &fetch.outcome {
        Ok(_) if is_right(fetch, site.token) => {
            let through = match fetch.hops.len() {
                0 | 1 => String::new(),
                2 => ", after a redirect".to_owned(),
                hops => format!(", after {} redirects", hops - 1),
            };
            Finding::ok(
                "http.served",
                format!("the token is served at {place}{through}"),
            )
        }
        Ok(Body(body)) => wrong_body(site, &place, body, fetch),
        Err(failure) => failed(site, &place, failure, fetch),
    }
}

fn wrong_body(site: Site<'_>, place: &str, body: &[u8], fetch: &Fetch) -> Finding {
    let hop = last(fetch);
    let body = match beginning(body).as_str() {
        "" => "an empty body".to_owned(),
        body => format!("something else: {body:?}"),
    };
    let evidence = format!("{} with {body}{}", answering(place, fetch), server(hop));
    Finding::failure("http.wrong_body", evidence).with_cure(location(site, fetch))
}

/// Who answers for which URL, where it came to an answer
fn answering(place: &str, fetch: &Fetch) -> String {
    let url = last(fetch).map_or(fetch.name.as_str(), |hop| hop.url.as_str());
    let url = excerpt(url, MOST_URL);
    match fetch.hops.len() {
        0 | 1 => format!("{place} answers {url}"),
        _ => format!("{place} redirects to {url}, which answers"),
    }
}

fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(60)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn last(fetch: &Fetch) -> Option<&Hop> {
    fetch.hops.last()
}

fn server(hop: Option<&Hop>) -> String {
    let server = hop.and_then(|hop| hop.server.as_deref());
    server
        .map(|server| format!(" (server: {server})"))
        .unwrap_or_default()
}

fn failed(site: Site<'_>, place: &str, failure: &FetchFailure, fetch: &Fetch) -> Finding {
    let hop = last(fetch);
    let url = |url: &str| excerpt(url, MOST_URL);
    let (code, evidence, cure) = match failure {
        FetchFailure::Connect(url, reason) => return connect(site, place, url, reason, fetch),
        FetchFailure::Status(status) => return refused(site, place, *status, fetch),
        FetchFailure::Closed(at) => (
            "http.reset",
            format!(
                "{place} closes the connection for {} without an answer",
                url(at)
            ),
            closed(site, fetch),
        ),
        FetchFailure::TimedOut(at) => (
            "http.timeout",
            format!(
                "{place} takes the request for {} and does not answer",
                url(at)
            ),
            "see nginx's log: does the location wait for an upstream? Challenges are files"
                .to_owned(),
        ),
        FetchFailure::TooSlow => (
            "http.timeout",
            format!("{place} redirects, and does not get to an end in time"),
            block(site),
        ),
        FetchFailure::Loop(at) => (
            "http.redirect_loop",
            format!("{place} redirects in a circle, back to {}", url(at)),
            block(site),
        ),
        FetchFailure::TooMany => (
            "http.redirects",
            format!("{place} redirects more than ten times{}", server(hop)),
            block(site),
        ),
        FetchFailure::Redirect(target, reason) => (
            "http.bad_redirect",
            format!("{place} redirects to {:?}: {reason}", url(target)),
            block(site),
        ),
        FetchFailure::NoAddress(host) => (
            "http.redirect_nowhere",
            format!(
                "{place} redirects to {}, which cannot be reached",
                url(host)
            ),
            block(site),
        ),
        FetchFailure::NotHttp(reason) => (
            "http.not_http",
            format!("what answers at {place} is no HTTP: {}", url(reason)),
            "is port 80 mapped to the right port of the container?".to_owned(),
        ),
    };
    Finding::failure(code, evidence).with_cure(cure)
}

fn connect(
    site: Site<'_>,
    place: &str,
    url: &str,
    reason: &ConnectFailure,
    fetch: &Fetch,
) -> Finding {
    let url = excerpt(url, MOST_URL);
    let is_v6 = fetch.address.is_ipv6();
    let is_first = fetch.hops.is_empty();
    let (code, cure) = match reason {
        ConnectFailure::NoRoute if is_first && is_v6 => {
            return no_ipv6(site, fetch);
        }
        ConnectFailure::NoRoute => {
            let evidence = format!("this host has no route to try {url} at {place}");
            return Finding::warning("http.no_route", evidence)
                .with_cure("is the address right, and this host's network up?");
        }
        _ if !is_first => {
            let evidence = format!("{place} redirects to {url}, which cannot be reached: {reason}");
            return Finding::failure("http.redirect_nowhere", evidence).with_cure(block(site));
        }
        _ if is_v6 && fetch.whose == Whose::Public => (
            "http.dead_ipv6",
            format!(
                "the CA tries IPv6 first: publish port 80 on IPv6 too, or remove the AAAA record of {}",
                site.name
            ),
        ),
        ConnectFailure::Refused => ("http.refused", nobody_listens(site, fetch)),
        ConnectFailure::TimedOut => (
            "http.connect_timeout",
            "a firewall drops packets to port 80: open it, here and at the provider".to_owned(),
        ),
        ConnectFailure::Reset => (
            "http.reset",
            "something between closes connections to port 80: a firewall, a proxy?".to_owned(),
        ),
        _ => (
            "http.unreachable",
            "check the address in DNS, and the route to it".to_owned(),
        ),
    };
    let evidence = format!("cannot connect to {place} for {url}: {reason}");
    Finding::failure(code, evidence).with_cure(cure)
}

/// Why nobody may take connections to port 80, by what is known of the containers
fn nobody_listens(site: Site<'_>, fetch: &Fetch) -> String {
    let ip = fetch.address.ip();
    let listen = "a server block of its nginx needs `listen 80;`";
    let Some(first) = site.inlets.first() else {
        return "is nginx running, and is port 80 published? `docker ps` shows both".to_owned();
    };
    let name = &first.container;
    let published = site.inlets.iter().flat_map(|inlet| &inlet.published);
    let published: Vec<String> = published.map(ToString::to_string).collect();
    match (fetch.whose, first.network) {
        (Whose::Container, _) => {
            format!("{name} runs, and nothing in it listens on port 80: {listen}")
        }
        (_, Network::Host) => format!(
            "{name} runs in the network of the host, and nothing listens on port 80 of {ip}: {listen}; if {ip} is another host, correct the record of {}",
            site.name
        ),
        (_, Network::Own) if published.is_empty() => format!(
            "{name} runs, and publishes no port 80: publish it in the compose file, and create {name} anew:\n    ports: [\"80:80\"]"
        ),
        (_, Network::Own) => format!(
            "{name} runs, and its port 80 is published at {}: is {ip} that host, and is its port 80 forwarded there? Else correct the record of {}",
            published.join(", "),
            site.name
        ),
    }
}

/// An answer that is neither 200 nor a redirect: whose is it?
fn refused(site: Site<'_>, place: &str, status: u16, fetch: &Fetch) -> Finding {
    let hop = last(fetch);
    let evidence = format!("{} with {status}{}", answering(place, fetch), server(hop));
    let (code, cure) = match status {
        401 | 407 => (
            "http.login",
            "the CA has no password: let the location of challenges have `auth_basic off;`".to_owned(),
        ),
        403 if site.gate.is_some_and(|gate| !gate.early.is_empty()) => {
            ("http.forbidden", block(site))
        }
        403 => (
            "http.forbidden",
            "nginx may not read the file, or a rule denies it: are webroot and its directories 0755, and is the location of challenges `location ^~`, so that no `location ~ /\\.` comes before it?".to_owned(),
        ),
        404 => ("http.not_found", location(site, fetch)),
        500.. => (
            "http.server_error",
            format!("an upstream may be down, and challenges need none: {}", block(site)),
        ),
        _ => ("http.status", location(site, fetch)),
    };
    let cure = match stranger(site, hop) {
        Some(_) => location(site, fetch),
        None => cure,
    };
    Finding::failure(code, evidence).with_cure(cure)
}

/// An application that does not answer behind a certificate that may be good (5xx)
pub fn application(url: &str, status: u16, server: Option<&str>) -> Option<Finding> {
    if status < 500 {
        return None;
    }
    let server = server.map(|server| format!(" (server: {server})"));
    let evidence = format!("{url} answers {status}{}", server.unwrap_or_default());
    Some(Finding::warning("site.server_error", evidence).with_cure(
        "that is no matter of certificates: does the application behind nginx run? `docker ps` shows it, nginx's log says what failed",
    ))
}

/// Codes of what a server block of nginx may have answered
const OF_BLOCKS: [&str; 11] = [
    "http.bad_redirect",
    "http.forbidden",
    "http.not_found",
    "http.redirect_loop",
    "http.redirect_nowhere",
    "http.redirects",
    "http.reset",
    "http.server_error",
    "http.status",
    "http.timeout",
    "http.wrong_body",
];
/// Characters that are shown of a URL
const MOST_URL: usize = 200;
/// Bytes of a body below which Let's Encrypt reads all of it
const MOST_BODY: usize = 128;

#[cfg(test)]
mod tests;
