use std::net::SocketAddr;

use super::*;
use crate::facts::Claim;
use crate::facts::fetch::BadRedirect;

const TOKEN: &str = "certd-check-1.2";
const URL: &str = "http://shop.test/.well-known/acme-challenge/certd-check-1";
const IPV4: &str = "192.0.2.1:80";
const IPV6: &str = "[2001:db8::1]:80";
const INNER: &str = "172.18.0.2:80";

type Outcome = Result<Body, FetchFailure>;

fn fetch(address: &str, whose: Whose, hops: Vec<Hop>, outcome: Outcome) -> Fetch {
    Fetch {
        name: "shop.test".to_owned(),
        address: address.parse::<SocketAddr>().expect("an address"),
        whose,
        is_local: false,
        hops,
        outcome,
    }
}

/// A first answer with this status by this server
fn hop(status: u16, server: Option<&str>) -> Hop {
    Hop {
        url: URL.to_owned(),
        status,
        server: server.map(ToOwned::to_owned),
    }
}

fn says(body: &str) -> Outcome {
    Ok(Body(body.as_bytes().to_vec()))
}

fn right(address: &str, whose: Whose) -> Fetch {
    fetch(address, whose, vec![hop(200, Some("nginx"))], says(TOKEN))
}

fn wrong(address: &str, whose: Whose) -> Fetch {
    let hops = vec![hop(404, Some("nginx"))];
    fetch(address, whose, hops, Err(FetchFailure::Status(404)))
}

/// A first connection that failed
fn dead(address: &str, whose: Whose, failure: ConnectFailure) -> Fetch {
    let failure = FetchFailure::Connect(URL.to_owned(), failure);
    fetch(address, whose, Vec::new(), Err(failure))
}

fn judged(fetches: &[Fetch]) -> Vec<Finding> {
    judged_at(&[], Ipv6::Usable, fetches)
}

/// On a host with these public addresses
fn judged_at(own: &[&str], ipv6: Ipv6, fetches: &[Fetch]) -> Vec<Finding> {
    let own: Vec<IpAddr> = own
        .iter()
        .map(|address| address.parse().expect("an address"))
        .collect();
    let site = Site {
        name: &DnsName::parse("shop.test").expect("a name"),
        token: TOKEN,
        root: Path::new("/var/www/acme"),
        inlets: &[],
        own: &own,
        ipv6,
        gate: None,
    };
    judge(site, fetches)
}

fn found(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings
        .iter()
        .map(|finding| (finding.code, finding.severity))
        .collect()
}

#[test]
fn the_right_body_is_good_with_blanks_behind_it() {
    #[track_caller]
    fn check(body: &str, expected: (&'static str, Severity)) {
        let fetch = fetch(IPV4, Whose::Public, vec![hop(200, None)], says(body));
        assert_eq!(found(&judged(&[fetch])), [expected], "{body:?}");
    }
    let good = ("http.served", Severity::Ok);
    let bad = ("http.wrong_body", Severity::Failure);
    check(TOKEN, good);
    check(&format!("{TOKEN}\r\n \t"), good);
    check(&format!(" {TOKEN}"), bad);
    check(&format!("{TOKEN}<html>"), bad);
    check("", bad);
    // Beyond it Let's Encrypt does not read.
    check(&format!("{TOKEN:<127}"), good);
    check(&format!("{TOKEN:<128}"), bad);
}

#[test]
fn a_name_without_addresses_is_not_called_served() {
    let unasked = ("http.unasked", Severity::Note);
    assert_eq!(found(&judged(&[])), [unasked]);
    let inside = right(INNER, Whose::Container);
    assert_eq!(found(&judged(&[inside])), [unasked]);
    let inside = wrong(INNER, Whose::Container);
    let failure = ("http.not_found", Severity::Failure);
    assert_eq!(found(&judged(&[inside])), [failure, unasked]);
}

#[test]
fn the_line_for_nginx_names_the_webroot_that_nginx_sees() {
    for fetch in [
        wrong(IPV4, Whose::Public),
        fetch(IPV4, Whose::Public, vec![hop(200, None)], says("another")),
        fetch(
            IPV4,
            Whose::Public,
            vec![hop(502, None)],
            Err(FetchFailure::Status(502)),
        ),
    ] {
        let cure = judged(&[fetch]).remove(0).cure.unwrap_or_default();
        let line = "    location ^~ /.well-known/acme-challenge/ { root /var/www/acme; }";
        assert!(cure.lines().any(|found| found == line), "{cure}");
    }
}

#[test]
fn a_webroot_within_well_known_is_told_to_be_the_directory_above() {
    let site = Site {
        name: &DnsName::parse("shop.test").expect("a name"),
        token: TOKEN,
        root: Path::new("/var/www/acme/.well-known/acme-challenge"),
        inlets: &[],
        own: &[],
        ipv6: Ipv6::Usable,
        gate: None,
    };
    let cure = judge(site, &[wrong(IPV4, Whose::Public)]).remove(0).cure;
    let cure = cure.unwrap_or_default();
    assert!(cure.contains("`webroot`"), "{cure}");
    assert!(cure.ends_with("set it to /var/www/acme"), "{cure}");
}

#[test]
fn no_redirect_is_made_up_for_a_block_that_nobody_has_read() {
    let cure_of = |hops: Vec<Hop>| {
        let answer = fetch(IPV4, Whose::Public, hops, Err(FetchFailure::Status(404)));
        judged(&[answer]).remove(0).cure.unwrap_or_default()
    };
    let redirected = cure_of(vec![hop(301, None), hop(404, None)]);
    assert!(!redirected.contains("return 301"), "{redirected}");
    assert!(redirected.contains("{ break; }"), "{redirected}");
    assert_eq!(redirected, cure_of(vec![hop(404, None)]));
}

/// A block that answers, and closes connections
fn gate(claim: Claim) -> Gate {
    Gate {
        place: "/n/a.conf:1".to_owned(),
        claim,
        early: vec!["`return 444` at /n/a.conf:3".to_owned()],
        from: "/n/a.conf:3".to_owned(),
        apart: Some((
            vec!["listen 80 default_server;".to_owned()],
            vec!["return 444;".to_owned()],
        )),
        closes: Some("/n/a.conf:3".to_owned()),
        balanced: None,
        next: "then reload".to_owned(),
    }
}

/// The cure for what is closed without an answer
fn cure_of_closed(whose: Whose, gate: Option<&Gate>) -> String {
    let site = Site {
        name: &DnsName::parse("shop.test").expect("a name"),
        token: TOKEN,
        root: Path::new("/var/www/acme"),
        inlets: &[],
        own: &[],
        ipv6: Ipv6::Usable,
        gate,
    };
    let closed = || Err(FetchFailure::Closed(URL.to_owned()));
    let mut fetches = vec![fetch(IPV4, whose, vec![], closed())];
    if whose == Whose::Public {
        fetches.push(right(INNER, Whose::Container));
    }
    let findings = judge(site, &fetches);
    assert!(asks_for_gate(&findings));
    let finding = findings.iter().find(|one| one.code == "http.reset");
    finding.unwrap().cure.clone().unwrap()
}

#[test]
fn what_a_default_block_closes_gets_a_block_of_its_own() {
    let listens = vec!["80".to_owned(), "[::]:80".to_owned()];
    let default = gate(Claim::Default { listens });
    let expected = "no server block lists shop.test at port 80, and the default one there, at /n/a.conf:1, closes the connection (`return 444` at /n/a.conf:3). Add this server block after it:
server {
    listen 80;
    listen [::]:80;
    server_name shop.test;
    location ^~ /.well-known/acme-challenge/ { root /var/www/acme; }
    location / { return 444; }
}
then reload";
    assert_eq!(cure_of_closed(Whose::Container, Some(&default)), expected);
    // Where none may be added, and where the block is the name's own, that block lets challenges by.
    let listens = Vec::new();
    for claim in [Claim::Listed, Claim::Default { listens }] {
        let cure = cure_of_closed(Whose::Container, Some(&gate(claim)));
        let begin = "the server block at /n/a.conf:1, which answers there, obeys `return 444` at";
        assert!(cure.starts_with(begin), "{cure}");
        assert!(cure.contains("        return 444;\n"), "{cure}");
    }
}

#[test]
fn where_nginx_awaits_a_balancer_its_listen_is_named() {
    let balanced = Gate {
        early: Vec::new(),
        apart: None,
        closes: None,
        balanced: Some("/n/b.conf:7".to_owned()),
        ..gate(Claim::Listed)
    };
    let cure = cure_of_closed(Whose::Public, Some(&balanced));
    let named = "(`proxy_protocol` in `listen` of the server block at /n/b.conf:7)";
    assert!(cure.contains(named), "{cure}");
    let cure = cure_of_closed(Whose::Container, None);
    assert!(cure.contains("`return 444`"), "{cure}");
    assert!(cure.contains("`proxy_protocol`"), "{cure}");
}

#[test]
fn where_nobody_listens_what_is_known_of_the_container_is_said() {
    #[track_caller]
    fn check(whose: Whose, network: Network, published: &[&str], expected: &str) {
        let inlet = Inlet {
            container: "web".to_owned(),
            network,
            published: published.iter().map(|at| at.parse().unwrap()).collect(),
        };
        let site = Site {
            name: &DnsName::parse("shop.test").expect("a name"),
            token: TOKEN,
            root: Path::new("/var/www/acme"),
            inlets: &[inlet],
            own: &[],
            ipv6: Ipv6::Usable,
            gate: None,
        };
        let url = "http://shop.test/".to_owned();
        let refused = FetchFailure::Connect(url, ConnectFailure::Refused);
        let findings = judge(site, &[fetch(IPV4, whose, vec![], Err(refused))]);
        let finding = findings.iter().find(|one| one.code == "http.refused");
        let cure = finding.unwrap().cure.clone().unwrap();
        assert!(cure.starts_with(expected), "{cure}");
        assert!(!cure.contains("docker ps"), "{cure}");
    }
    let (public, inside) = (Whose::Public, Whose::Container);
    check(
        public,
        Network::Own,
        &[],
        "web runs, and publishes no port 80: ",
    );
    let elsewhere = "web runs, and its port 80 is published at 127.0.0.1:8080: is 192.0.2.1";
    check(public, Network::Own, &["127.0.0.1:8080"], elsewhere);
    let host = "web runs in the network of the host, and nothing listens on port 80";
    check(public, Network::Host, &[], host);
    let nothing = "web runs, and nothing in it listens on port 80: ";
    check(inside, Network::Own, &["0.0.0.0:80"], nothing);
}

#[test]
fn each_failure_has_its_code_evidence_and_cure() {
    #[track_caller]
    fn check(hops: Vec<Hop>, failure: FetchFailure, code: &str, evidence: &str) {
        let findings = judged(&[fetch(IPV4, Whose::Public, hops, Err(failure))]);
        assert_eq!(findings.len(), 1);
        let finding = (findings[0].code, findings[0].severity);
        assert_eq!(finding, (code, Severity::Failure), "{findings:?}");
        assert_eq!(findings[0].evidence, evidence);
        assert!(findings[0].cure.is_some());
    }
    let url = || "http://x.test/".to_owned();
    let connect = |failure| FetchFailure::Connect(url(), failure);
    let once = || vec![hop(302, Some("nginx"))];
    check(
        vec![],
        connect(ConnectFailure::Refused),
        "http.refused",
        "cannot connect to 192.0.2.1:80 for http://x.test/: connection refused",
    );
    check(
        vec![],
        connect(ConnectFailure::TimedOut),
        "http.connect_timeout",
        "cannot connect to 192.0.2.1:80 for http://x.test/: timed out",
    );
    check(
        vec![],
        connect(ConnectFailure::Reset),
        "http.reset",
        "cannot connect to 192.0.2.1:80 for http://x.test/: connection closed during the handshake",
    );
    check(
        vec![],
        connect(ConnectFailure::Unreachable("no route".to_owned())),
        "http.unreachable",
        "cannot connect to 192.0.2.1:80 for http://x.test/: unreachable (no route)",
    );
    check(
        once(),
        connect(ConnectFailure::Refused),
        "http.redirect_nowhere",
        "192.0.2.1:80 redirects to http://x.test/, which cannot be reached: connection refused",
    );
    check(
        once(),
        connect(ConnectFailure::Alert("internal_error".to_owned())),
        "http.redirect_nowhere",
        "192.0.2.1:80 redirects to http://x.test/, which cannot be reached: TLS alert internal_error",
    );
    check(
        once(),
        FetchFailure::NoAddress("x.test".to_owned()),
        "http.redirect_nowhere",
        "192.0.2.1:80 redirects to x.test, which cannot be reached",
    );
    check(
        vec![],
        FetchFailure::Closed(url()),
        "http.reset",
        "192.0.2.1:80 closes the connection for http://x.test/ without an answer",
    );
    check(
        vec![],
        FetchFailure::TimedOut(url()),
        "http.timeout",
        "192.0.2.1:80 takes the request for http://x.test/ and does not answer",
    );
    check(
        once(),
        FetchFailure::Loop(url()),
        "http.redirect_loop",
        "192.0.2.1:80 redirects in a circle, back to http://x.test/",
    );
    check(
        once(),
        FetchFailure::TooMany,
        "http.redirects",
        "192.0.2.1:80 redirects more than ten times (server: nginx)",
    );
    check(
        once(),
        FetchFailure::Redirect("http://x.test:81/".to_owned(), BadRedirect::Port),
        "http.bad_redirect",
        "192.0.2.1:80 redirects to \"http://x.test:81/\": a CA follows to ports 80 and 443 alone",
    );
    check(
        vec![],
        FetchFailure::NotHttp("invalid HTTP version parsed".to_owned()),
        "http.not_http",
        "what answers at 192.0.2.1:80 is no HTTP: invalid HTTP version parsed",
    );
}

#[test]
fn a_status_tells_what_to_look_at() {
    #[track_caller]
    fn check(status: u16, code: &str, cure: &str) {
        let hops = vec![hop(status, Some("nginx/1.29"))];
        let findings = judged(&[fetch(
            IPV4,
            Whose::Public,
            hops,
            Err(FetchFailure::Status(status)),
        )]);
        assert_eq!(
            (findings[0].code, findings[0].severity),
            (code, Severity::Failure)
        );
        let evidence = format!("192.0.2.1:80 answers {URL} with {status} (server: nginx/1.29)");
        assert_eq!(findings[0].evidence, evidence);
        let found = findings[0].cure.as_deref().unwrap_or_default();
        assert!(found.contains(cure), "{found}");
    }
    check(401, "http.login", "auth_basic off;");
    check(403, "http.forbidden", "0755");
    check(
        404,
        "http.not_found",
        "location ^~ /.well-known/acme-challenge/",
    );
    check(
        410,
        "http.status",
        "location ^~ /.well-known/acme-challenge/",
    );
    check(
        303,
        "http.status",
        "location ^~ /.well-known/acme-challenge/",
    );
    check(502, "http.server_error", "an upstream may be down");
}

#[test]
fn an_answer_of_another_server_is_said_to_be_one() {
    #[track_caller]
    fn check(server: Option<&str>, is_stranger: bool) {
        let missing = fetch(
            IPV4,
            Whose::Public,
            vec![hop(404, server)],
            Err(FetchFailure::Status(404)),
        );
        let other = fetch(
            IPV4,
            Whose::Public,
            vec![hop(200, server)],
            says("<h1>It works</h1>"),
        );
        for fetch in [missing, other] {
            let finding = judged(&[fetch]).remove(0);
            let cure = finding.cure.unwrap_or_default();
            assert_eq!(cure.contains("not nginx"), is_stranger, "{cure}");
        }
    }
    check(Some("Apache/2.4.62 (Debian)"), true);
    check(Some("cloudflare"), true);
    check(Some("nginx"), false);
    check(Some("openresty/1.27"), false);
    check(None, false);
    let other = fetch(
        IPV4,
        Whose::Public,
        vec![hop(200, Some("Apache"))],
        says("<h1>It\nworks</h1>"),
    );
    assert_eq!(
        judged(&[other])[0].evidence,
        format!(
            "192.0.2.1:80 answers {URL} with something else: \"<h1>It works</h1>\" (server: Apache)"
        )
    );
}

#[test]
fn a_router_that_does_not_turn_packets_back_is_a_note() {
    use ConnectFailure::{NoRoute, Refused, Reset, TimedOut};
    #[track_caller]
    fn check(fetches: &[Fetch], expected: &[(&'static str, Severity)]) {
        assert_eq!(found(&judged(fetches)), expected, "{fetches:?}");
    }
    let silence = ("http.connect_timeout", Severity::Failure);
    let served = ("http.served", Severity::Ok);
    let inner = || right(INNER, Whose::Container);
    let other = |whose| wrong("172.18.0.3:80", whose);
    let dead_v4 = |failure| dead(IPV4, Whose::Public, failure);
    // It may be another host, to which the CA would go.
    check(&[dead_v4(TimedOut), inner()], &[silence, served]);
    let own = |fetches: &[Fetch]| judged_at(&["192.0.2.1"], Ipv6::Usable, fetches);
    let hairpin = ("http.hairpin", Severity::Note);
    for failure in [TimedOut, Refused] {
        let findings = own(&[dead_v4(failure), inner()]);
        assert_eq!(found(&findings), [hairpin, served]);
    }
    assert_eq!(
        found(&own(&[dead_v4(TimedOut), other(Whose::Container), inner()])),
        [("http.not_found", Severity::Failure), hairpin, served]
    );
    // No router stands between a host and an address of its own.
    let local = Fetch {
        is_local: true,
        ..dead_v4(Refused)
    };
    assert_eq!(
        found(&own(&[local, inner()])),
        [("http.refused", Severity::Failure), served]
    );
    // Connected, so that it is no matter of routers.
    check(
        &[dead_v4(Reset), inner()],
        &[("http.reset", Severity::Failure), served],
    );
    check(
        &[wrong(IPV4, Whose::Public), inner()],
        &[("http.not_found", Severity::Failure), served],
    );
    // The router turns packets back for another address.
    check(
        &[
            dead_v4(TimedOut),
            right("192.0.2.2:80", Whose::Public),
            inner(),
        ],
        &[("http.connect_timeout", Severity::Failure), served],
    );
    check(
        &[dead_v4(TimedOut)],
        &[("http.connect_timeout", Severity::Failure)],
    );
    check(
        &[dead_v4(TimedOut), wrong(INNER, Whose::Container)],
        &[
            ("http.connect_timeout", Severity::Failure),
            ("http.not_found", Severity::Failure),
        ],
    );
    // No router is in the way of IPv6.
    let dead_v6 = |failure| dead(IPV6, Whose::Public, failure);
    check(
        &[dead_v6(TimedOut), inner()],
        &[("http.dead_ipv6", Severity::Failure), served],
    );
    check(
        &[right(IPV4, Whose::Public), dead_v6(Refused)],
        &[("http.dead_ipv6", Severity::Failure), served],
    );
    check(
        &[dead_v6(NoRoute), inner()],
        &[("http.no_ipv6", Severity::Warning), served],
    );
    check(
        &[dead_v4(NoRoute), inner()],
        &[("http.no_route", Severity::Warning), served],
    );
}

#[test]
fn silence_is_the_routers_only_where_the_address_is_known_to_be_ours() {
    #[track_caller]
    fn check(own: &[&str], fetch: Fetch, code: &str, severity: Severity, is_asked: bool) {
        let fetches = [fetch, right(INNER, Whose::Container)];
        let finding = judged_at(own, Ipv6::Usable, &fetches).remove(0);
        assert_eq!((finding.code, finding.severity), (code, severity));
        let asks = finding
            .cure
            .is_some_and(|cure| cure.contains("leave `http` out of `[preflight] require`"));
        assert_eq!(asks, is_asked);
    }
    let ours: &[&str] = &["192.0.2.1"];
    let page = || {
        let login = FetchFailure::Status(401);
        fetch(
            IPV4,
            Whose::Public,
            vec![hop(401, Some("lighttpd"))],
            Err(login),
        )
    };
    let silent = || dead(IPV4, Whose::Public, ConnectFailure::TimedOut);
    check(ours, silent(), "http.hairpin", Severity::Note, false);
    // It may be another host, to which the CA would go.
    check(
        &[],
        silent(),
        "http.connect_timeout",
        Severity::Failure,
        true,
    );
    // What answers here answers the CA too.
    check(ours, page(), "http.login", Severity::Failure, false);
    check(&[], page(), "http.login", Severity::Failure, false);
    let others: &[&str] = &["192.0.2.99"];
    check(others, page(), "http.login", Severity::Failure, false);
    check(
        others,
        silent(),
        "http.connect_timeout",
        Severity::Failure,
        false,
    );
}

#[test]
fn without_a_container_this_host_itself_is_the_witness() {
    #[track_caller]
    fn check(fetches: &[Fetch], expected: &[(&'static str, Severity)]) {
        assert_eq!(found(&judged(fetches)), expected, "{fetches:?}");
    }
    const HERE: &str = "127.0.0.1:80";
    let silent = || dead(IPV4, Whose::Public, ConnectFailure::TimedOut);
    let refused = || dead(HERE, Whose::Loopback, ConnectFailure::Refused);
    let served = ("http.served", Severity::Ok);
    let hairpin = ("http.hairpin", Severity::Note);
    let here = || right(HERE, Whose::Loopback);
    let own = judged_at(&["192.0.2.1"], Ipv6::Usable, &[silent(), here()]);
    assert_eq!(found(&own), [hairpin, served]);
    // That nginx is not on this host says nothing.
    let silence = ("http.connect_timeout", Severity::Failure);
    check(&[silent(), refused()], &[silence]);
    check(&[silent(), wrong(HERE, Whose::Loopback)], &[silence]);
    check(&[right(IPV4, Whose::Public), refused()], &[served]);
    check(&[right(IPV4, Whose::Public), here()], &[served]);
}

#[test]
fn a_host_whose_ipv6_is_dead_cannot_say_that_an_address_is() {
    #[track_caller]
    fn check(ipv6: Ipv6, fetch: Fetch, code: &str, severity: Severity) {
        let finding = judged_at(&[], ipv6, &[fetch]).remove(0);
        assert_eq!((finding.code, finding.severity), (code, severity));
    }
    use ConnectFailure::{Refused, TimedOut};
    let dead = |failure| dead(IPV6, Whose::Public, failure);
    check(
        Ipv6::Usable,
        dead(TimedOut),
        "http.dead_ipv6",
        Severity::Failure,
    );
    let blind = ("http.no_ipv6", Severity::Warning);
    check(Ipv6::Dead, dead(TimedOut), blind.0, blind.1);
    let ours = judged_at(&["2001:db8::1"], Ipv6::Dead, &[dead(TimedOut)]);
    assert_eq!(found(&ours), [("http.no_ipv6", Severity::Note)]);
    // A refusal is an answer, over IPv6 that works.
    check(
        Ipv6::Dead,
        dead(Refused),
        "http.dead_ipv6",
        Severity::Failure,
    );
    let own = Fetch {
        is_local: true,
        ..dead(Refused)
    };
    check(Ipv6::Dead, own, "http.dead_ipv6", Severity::Failure);
    let answered = wrong(IPV6, Whose::Public);
    check(Ipv6::Dead, answered, "http.not_found", Severity::Failure);
}

#[test]
fn what_answers_over_ipv6_is_told_by_its_answer() {
    let location = |fetches: &[Fetch]| {
        let finding = judged(fetches).remove(0);
        assert_eq!(finding.code, "http.not_found");
        finding
            .cure
            .is_some_and(|cure| cure.contains("location ^~ /"))
    };
    assert!(location(&[wrong(IPV6, Whose::Public)]));
    let both = [wrong(IPV4, Whose::Public), wrong(IPV6, Whose::Public)];
    assert!(location(&both));
}

#[test]
fn where_the_ca_does_not_go_nothing_fails() {
    #[track_caller]
    fn check(fetches: &[Fetch], expected: &[(&'static str, Severity)]) {
        assert_eq!(found(&judged(fetches)), expected, "{fetches:?}");
    }
    let served = ("http.served", Severity::Ok);
    let public = |address| right(address, Whose::Public);
    check(
        &[public(IPV4), wrong(INNER, Whose::Container)],
        &[("http.not_found", Severity::Note), served],
    );
    check(
        &[
            public(IPV4),
            dead(INNER, Whose::Container, ConnectFailure::TimedOut),
        ],
        &[("http.connect_timeout", Severity::Note), served],
    );
    check(
        &[
            dead(IPV4, Whose::Public, ConnectFailure::TimedOut),
            public(IPV6),
        ],
        &[("http.connect_timeout", Severity::Warning), served],
    );
    check(
        &[public(IPV4), wrong(IPV6, Whose::Public)],
        &[("http.not_found", Severity::Failure), served],
    );
    // One of several IPv6 addresses is wrong, so that IPv4 may be needed.
    check(
        &[
            wrong(IPV4, Whose::Public),
            public(IPV6),
            wrong("[2001:db8::2]:80", Whose::Public),
        ],
        &[
            ("http.not_found", Severity::Failure),
            ("http.not_found", Severity::Failure),
            served,
        ],
    );
    let unasked = ("http.unasked", Severity::Note);
    let v6_inner = dead("[fd00::2]:80", Whose::Container, ConnectFailure::Refused);
    check(&[v6_inner], &[("http.refused", Severity::Failure), unasked]);
}

#[test]
fn evidence_is_bounded_and_on_one_line() {
    let long = format!("http://shop.test/\n{}", "x".repeat(60_000));
    let hops = vec![Hop {
        url: long.clone(),
        ..hop(404, None)
    }];
    let connect = FetchFailure::Connect(long.clone(), ConnectFailure::Refused);
    for failure in [
        FetchFailure::Status(404),
        FetchFailure::Loop(long.clone()),
        FetchFailure::Closed(long.clone()),
        FetchFailure::TimedOut(long.clone()),
        FetchFailure::NoAddress(long.clone()),
        FetchFailure::NotHttp(long.clone()),
        FetchFailure::Redirect(long.clone(), BadRedirect::Port),
        connect,
    ] {
        let findings = judged(&[fetch(IPV4, Whose::Public, hops.clone(), Err(failure))]);
        assert!(findings[0].evidence.len() < 500, "{findings:?}");
        assert!(!findings[0].evidence.contains('\n'), "{findings:?}");
    }
    let body = "\u{1b}[31m".repeat(1_000);
    let findings = judged(&[fetch(IPV4, Whose::Public, hops, says(&body))]);
    assert!(findings[0].evidence.len() < 700, "{findings:?}");
    assert!(!findings[0].evidence.contains('\u{1b}'), "{findings:?}");
}
