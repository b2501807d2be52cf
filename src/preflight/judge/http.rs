//! What sites answered to a request for a token, held against what a CA accepts.

use crate::facts::ConnectFailure;
use crate::facts::fetch::{Body, Fetch, FetchFailure, Hop, Whose};
use crate::finding::{Finding, Severity, excerpt};
use crate::name::DnsName;

/// Every fetch of one name's token, the worst first
///
/// `token` is what the file holds. A failure is one only where the CA would meet it: not where
/// this host cannot reach its own public address, not on a way that the CA does not take.
pub fn judge(name: &DnsName, token: &str, fetches: &[Fetch]) -> Vec<Finding> {
    let ways = Ways::of(token, fetches);
    let judged = fetches.iter().map(|fetch| {
        (
            fetch,
            ways.weigh(name, fetch, judge_one(name, token, fetch)),
        )
    });
    let mut findings: Vec<Finding> = Vec::new();
    for (fetch, finding) in judged {
        // The container's answer adds nothing where the public address gives the same.
        let is_known = findings.iter().any(|known| known.code == finding.code);
        if fetch.whose == Whose::Public || !is_known {
            findings.push(finding);
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// On which ways the token is served, of those that were tried
struct Ways {
    container: Served,
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
            container: served(&|fetch| !is_public(fetch)),
            ipv4: served(&|fetch| is_public(fetch) && fetch.address.is_ipv4()),
            ipv6: served(&|fetch| is_public(fetch) && fetch.address.is_ipv6()),
        }
    }

    /// The finding of one fetch in the light of the others
    fn weigh(&self, name: &DnsName, fetch: &Fetch, finding: Finding) -> Finding {
        if finding.severity != Severity::Failure {
            return finding;
        }
        let is_public_right = self.ipv4 != Served::Nowhere || self.ipv6 != Served::Nowhere;
        match fetch.whose {
            Whose::Container if is_public_right => Finding::note(
                finding.code,
                format!("{}; the CA does not come this way", finding.evidence),
            ),
            Whose::Container => finding,
            Whose::Public if fetch.address.is_ipv6() => finding,
            // The CA tries IPv6 first, and IPv4 only where that fails.
            Whose::Public if self.ipv6 == Served::Everywhere => Finding {
                severity: Severity::Warning,
                evidence: format!("{}; the CA takes IPv6, which works", finding.evidence),
                ..finding
            },
            Whose::Public
                if self.container != Served::Nowhere
                    && self.ipv4 == Served::Nowhere
                    && !fetch.is_local
                    && cannot_connect(fetch) =>
            {
                hairpin(name, fetch)
            }
            Whose::Public => finding,
        }
    }
}

fn is_right(fetch: &Fetch, token: &str) -> bool {
    fetch
        .outcome
        .as_ref()
        .is_ok_and(|Body(body)| body.trim_ascii_end() == token.as_bytes())
}

/// Whether the first connection itself failed, as it does where a router does not turn packets back
fn cannot_connect(fetch: &Fetch) -> bool {
    fetch.hops.is_empty()
        && matches!(
            &fetch.outcome,
            Err(FetchFailure::Connect(
                _,
                ConnectFailure::TimedOut | ConnectFailure::Refused | ConnectFailure::Unreachable(_)
            ))
        )
}

fn hairpin(name: &DnsName, fetch: &Fetch) -> Finding {
    Finding::note(
        "http.hairpin",
        format!(
            "this host cannot reach {name} at its own address {}, and the container answers right: the CA may well reach it",
            fetch.address.ip()
        ),
    )
}

fn judge_one(name: &DnsName, token: &str, fetch: &Fetch) -> Finding {
    let place = match fetch.whose {
        Whose::Public => fetch.address.to_string(),
        Whose::Container => format!("{} (the container)", fetch.address),
    };
    match &fetch.outcome {
        Ok(Body(body)) if body.trim_ascii_end() == token.as_bytes() => {
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
        Ok(Body(body)) => wrong_body(name, &place, body, fetch),
        Err(failure) => failed(name, &place, failure, fetch),
    }
}

fn wrong_body(name: &DnsName, place: &str, body: &[u8], fetch: &Fetch) -> Finding {
    let hop = last(fetch);
    let body = match beginning(body).as_str() {
        "" => "an empty body".to_owned(),
        body => format!("something else: {body:?}"),
    };
    let url = hop.map_or(name.as_str(), |hop| hop.url.as_str());
    let evidence = format!(
        "{place} answers {} with {body}{}",
        excerpt(url, MOST_URL),
        server(hop),
    );
    Finding::failure("http.wrong_body", evidence).with_cure(location(hop))
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

/// What to do where the right file is not found: whose answer it is decides
fn location(hop: Option<&Hop>) -> String {
    let server = hop.and_then(|hop| hop.server.as_deref());
    let stranger = server.filter(|server| {
        let server = server.to_ascii_lowercase();
        !NGINX.iter().any(|nginx| server.contains(nginx))
    });
    match stranger {
        Some(server) => format!(
            "{server} answers, not nginx: let nginx have port 80, or let {server} pass /.well-known/acme-challenge/ on to it; then {LOCATION}"
        ),
        None => LOCATION.to_owned(),
    }
}

fn failed(name: &DnsName, place: &str, failure: &FetchFailure, fetch: &Fetch) -> Finding {
    let hop = last(fetch);
    let url = |url: &str| excerpt(url, MOST_URL);
    let (code, evidence, cure) = match failure {
        FetchFailure::Connect(url, reason) => return connect(name, place, url, reason, fetch),
        FetchFailure::Status(status) => return refused(place, *status, hop),
        FetchFailure::Closed(at) => (
            "http.reset",
            format!(
                "{place} closes the connection for {} without an answer",
                url(at)
            ),
            "is it nginx that listens there, and does it speak plain HTTP on port 80?".to_owned(),
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
        FetchFailure::Loop(at) => (
            "http.redirect_loop",
            format!("{place} redirects in a circle, back to {}", url(at)),
            LOCATION.to_owned(),
        ),
        FetchFailure::TooMany => (
            "http.redirects",
            format!("{place} redirects more than ten times{}", server(hop)),
            LOCATION.to_owned(),
        ),
        FetchFailure::Redirect(target, reason) => (
            "http.bad_redirect",
            format!("{place} redirects to {:?}: {reason}", url(target)),
            LOCATION.to_owned(),
        ),
        FetchFailure::NoAddress(host) => (
            "http.redirect_nowhere",
            format!(
                "{place} redirects to {}, which cannot be reached",
                url(host)
            ),
            LOCATION.to_owned(),
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
    name: &DnsName,
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
            let evidence =
                format!("this host has no IPv6, so {place} cannot be tried; the CA tries it first");
            return Finding::note("http.no_ipv6", evidence);
        }
        ConnectFailure::NoRoute => {
            let evidence = format!("this host has no route to try {url} at {place}");
            return Finding::note("http.no_route", evidence);
        }
        _ if !is_first => {
            let evidence = format!("{place} redirects to {url}, which cannot be reached: {reason}");
            return Finding::failure("http.redirect_nowhere", evidence).with_cure(LOCATION);
        }
        _ if is_v6 && fetch.whose == Whose::Public => (
            "http.dead_ipv6",
            format!(
                "the CA tries IPv6 first: publish port 80 on IPv6 too, or remove the AAAA record of {name}"
            ),
        ),
        ConnectFailure::Refused => (
            "http.refused",
            "is nginx running, and is port 80 published? `docker ps` shows both".to_owned(),
        ),
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

/// An answer that is neither 2xx nor a redirect: whose is it?
fn refused(place: &str, status: u16, hop: Option<&Hop>) -> Finding {
    let url = hop.map_or("the token", |hop| hop.url.as_str());
    let url = excerpt(url, MOST_URL);
    let evidence = format!("{place} answers {url} with {status}{}", server(hop));
    let (code, cure) = match status {
        401 | 407 => (
            "http.login",
            "the CA has no password: let the location of challenges have `auth_basic off;`".to_owned(),
        ),
        403 => (
            "http.forbidden",
            "nginx may not read the file, or a rule denies it: are webroot and its directories 0755, and is there no `deny` or `location ~ /\\.` before?".to_owned(),
        ),
        404 => ("http.not_found", location(hop)),
        500.. => (
            "http.server_error",
            "the request went to an upstream that is down: challenges need a location of their own\n    location /.well-known/acme-challenge/ { root /var/www/certbot; }".to_owned(),
        ),
        _ => ("http.status", location(hop)),
    };
    Finding::failure(code, evidence).with_cure(cure)
}

/// What servers that read nginx's configuration call themselves
const NGINX: [&str; 4] = ["nginx", "openresty", "angie", "tengine"];
/// Characters that are shown of a URL
const MOST_URL: usize = 200;

const LOCATION: &str = "the server block for port 80 needs, before any redirect,\n    location /.well-known/acme-challenge/ { root /var/www/certbot; }\nwith the webroot that certd writes to";

#[cfg(test)]
mod tests;
