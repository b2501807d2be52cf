use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::facts::ConnectFailure;
use certd_sandbox::dns::{Record, Server, Zone};

const FIRST: &str = "http://shop.test/.well-known/acme-challenge/t";

fn uri(text: &str) -> Uri {
    text.parse().expect("a URL")
}

fn reply(status: u16, location: Option<&str>) -> Reply {
    Reply {
        status,
        server: None,
        hsts: None,
        date: None,
        location: location.map(ToOwned::to_owned),
        body: b"token".to_vec(),
    }
}

/// What comes of a chain of answers, and the URLs that were asked for; the last answer repeats
fn follow(answers: &[Reply]) -> (Result<Body, FetchFailure>, Vec<String>) {
    let mut url = uri(FIRST);
    let mut hops: Vec<Hop> = Vec::new();
    loop {
        let answer = &answers[hops.len().min(answers.len() - 1)];
        hops.push(Hop {
            url: url.to_string(),
            status: answer.status,
            server: None,
        });
        let outcome = match next(&url, answer.clone(), &hops) {
            Ok(Next::Follow(target)) => {
                url = target;
                continue;
            }
            Ok(Next::Done(body)) => Ok(body),
            Err(failure) => Err(failure),
        };
        return (outcome, hops.into_iter().map(|hop| hop.url).collect());
    }
}

#[test]
fn a_redirect_leads_to_names_on_two_ports_alone() {
    #[track_caller]
    fn check(location: &str, expected: Result<&str, BadRedirect>) {
        let target = redirect(&uri("https://shop.test/a/b?q"), location);
        let target = target.map(|target| target.to_string());
        assert_eq!(
            target.as_deref().map_err(|reason| *reason),
            expected,
            "{location}"
        );
    }
    check("http://www.shop.test/t", Ok("http://www.shop.test/t"));
    check("HTTPS://WWW.shop.test/t", Ok("https://WWW.shop.test/t"));
    check("https://shop.test:443/t", Ok("https://shop.test:443/t"));
    check("http://shop.test:443/t", Ok("http://shop.test:443/t"));
    check("https://a_b.shop.test/t", Ok("https://a_b.shop.test/t"));
    check("http://shop.test/t#top", Ok("http://shop.test/t"));
    check(
        "http://shop.test/\u{fc} t",
        Ok("http://shop.test/%C3%BC%20t"),
    );
    check("/t", Ok("https://shop.test/t"));
    check("//www.test/t", Ok("https://www.test/t"));
    check("t", Ok("https://shop.test/a/t"));
    check("../t", Ok("https://shop.test/a/../t"));
    check("?x=1", Ok("https://shop.test/a/b?x=1"));
    check("t?u=http://x/", Ok("https://shop.test/a/t?u=http://x/"));
    check("", Err(BadRedirect::Unusable));
    check("#top", Err(BadRedirect::Unusable));
    check("http://", Err(BadRedirect::Unusable));
    check("https:", Err(BadRedirect::Unusable));
    check("http://\u{fc}.test/", Err(BadRedirect::Unusable));
    check("ftp://shop.test/t", Err(BadRedirect::Scheme));
    check("javascript:alert(1)", Err(BadRedirect::Scheme));
    check("http://shop.test:8080/t", Err(BadRedirect::Port));
    check("//shop.test:22/t", Err(BadRedirect::Port));
    check("http://192.0.2.1/t", Err(BadRedirect::Address));
    check("http://192.0.2.1./t", Err(BadRedirect::Address));
    check("http://a@192.0.2.1/t", Err(BadRedirect::Address));
    check("http://[2001:db8::1]/t", Err(BadRedirect::Address));
    check("//[::ffff:192.0.2.1]:80/t", Err(BadRedirect::Address));
}

#[test]
fn an_answer_ends_the_chain_or_leads_on() {
    #[track_caller]
    fn check(answer: Reply, expected: Result<Next, FetchFailure>) {
        let hop = Hop {
            url: FIRST.to_owned(),
            status: answer.status,
            server: None,
        };
        assert_eq!(next(&uri(FIRST), answer, &[hop]), expected);
    }
    let body = || Ok(Next::Done(Body(b"token".to_vec())));
    check(reply(200, None), body());
    for status in [301, 302, 307, 308] {
        check(
            reply(status, Some("/x")),
            Ok(Next::Follow(uri("http://shop.test/x"))),
        );
    }
    // Other successes are none to Let's Encrypt.
    for status in [101, 203, 204, 206, 300, 303, 304, 401, 403, 404, 500, 999] {
        check(reply(status, Some("/x")), Err(FetchFailure::Status(status)));
    }
    check(
        reply(301, Some(FIRST)),
        Err(FetchFailure::Loop(FIRST.to_owned())),
    );
    check(
        reply(301, None),
        Err(FetchFailure::Redirect(String::new(), BadRedirect::Unusable)),
    );
}

#[test]
fn ten_redirects_are_followed_and_no_more() {
    let chain = |redirects: usize| {
        let targets = (0..redirects).map(|number| format!("/{number}"));
        let mut answers: Vec<Reply> = targets.map(|to| reply(302, Some(&to))).collect();
        answers.push(reply(200, None));
        follow(&answers)
    };
    let (outcome, asked) = chain(10);
    assert_eq!((outcome, asked.len()), (Ok(Body(b"token".to_vec())), 11));
    let (outcome, asked) = chain(11);
    assert_eq!((outcome, asked.len()), (Err(FetchFailure::TooMany), 11));
}

/// A site that redirects `shop.test` to `www.shop.test`, and serves a token there
async fn site(tasks: &mut JoinSet<()>) -> SocketAddr {
    let answer = async |headers: HeaderMap| match headers["host"].as_bytes() {
        b"shop.test" => {
            (StatusCode::FOUND, [(LOCATION, "http://www.shop.test./t")]).into_response()
        }
        b"slow.test" => {
            // Another place each time.
            let next = format!("/{:?}", std::time::Instant::now());
            let next: String = next.chars().filter(char::is_ascii_alphanumeric).collect();
            tokio::time::sleep(Duration::from_millis(300)).await;
            (StatusCode::FOUND, [(LOCATION, next)]).into_response()
        }
        b"away.test" => (StatusCode::FOUND, [(LOCATION, "http://nowhere.test/")]).into_response(),
        _ => "token".into_response(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().fallback(answer);
    tasks.spawn(async move { axum::serve(listener, app).await.expect("an endless server") });
    address
}

#[tokio::test]
async fn a_redirect_to_another_name_of_the_host_stays_in_the_container() {
    let mut tasks = JoinSet::new();
    let site = site(&mut tasks).await;
    let zone = Zone::new();
    for name in ["shop.test", "www.shop.test"] {
        zone.add(name, Record::A([127, 0, 0, 9].into()));
    }
    let dns = Server::start("127.0.0.1:0".parse().unwrap(), zone.clone())
        .await
        .unwrap();
    let patience = Duration::from_secs(5);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let prober = Prober::new(
        Fetcher::new(provider, patience),
        Resolver::new(&[dns.address()], patience).unwrap(),
        Ports {
            http: site.port(),
            https: site.port(),
        },
        IssuerKind::Private,
    );
    let doors = Doors {
        http: site,
        https: None,
    };
    let probe = async |name: &str, whose| {
        let name = DnsName::parse(name).unwrap();
        let fetch = prober.probe(&name, "/t", doors, whose).await;
        assert_eq!((fetch.address, fetch.whose), (site, whose));
        (fetch.hops.len(), fetch.outcome)
    };
    let token = || Ok(Body(b"token".to_vec()));
    assert_eq!(probe("shop.test", Whose::Container).await, (2, token()));
    // So it does where the resolver has an inner view: both names lead to one host.
    assert_eq!(probe("shop.test", Whose::Public).await, (2, token()));
    // Where DNS leads elsewhere, the CA goes there: nothing listens at that address.
    zone.set("www.shop.test", [Record::A([127, 0, 0, 8].into())]);
    let refused = FetchFailure::Connect(
        "http://www.shop.test./t".to_owned(),
        ConnectFailure::Refused,
    );
    assert_eq!(probe("shop.test", Whose::Public).await, (1, Err(refused)));
    zone.set("www.shop.test", [Record::A([127, 0, 0, 1].into())]);
    assert_eq!(probe("shop.test", Whose::Public).await, (2, token()));
    let nowhere = FetchFailure::NoAddress("nowhere.test".to_owned());
    assert_eq!(probe("away.test", Whose::Public).await, (1, Err(nowhere)));
}

/// One that asks this place for names, and takes its port for both of HTTP's
fn prober_at(site: SocketAddr, patience: Duration) -> (Prober, Ports) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ports = Ports {
        http: site.port(),
        https: site.port(),
    };
    let prober = Prober::new(
        Fetcher::new(provider, patience),
        Resolver::new(&[site], patience).unwrap(),
        ports,
        IssuerKind::Private,
    );
    (prober, ports)
}

#[tokio::test]
async fn a_chain_of_slow_redirects_is_given_up() {
    let mut tasks = JoinSet::new();
    let site = site(&mut tasks).await;
    let patience = Duration::from_millis(500);
    let (prober, ports) = prober_at(site, patience);
    let name = DnsName::parse("slow.test").unwrap();
    let doors = ports.at(site.ip());
    let fetch = prober.probe(&name, "/t", doors, Whose::Public).await;
    assert_eq!(fetch.outcome, Err(FetchFailure::TooSlow));
    // Each hop in itself is fast enough.
    assert!((1..=3).contains(&fetch.hops.len()), "{:?}", fetch.hops);
}

/// As `listen 80 proxy_protocol` of nginx: what comes without the header of a balancer is closed
#[tokio::test]
async fn a_container_behind_a_balancer_is_asked_as_by_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut said = [0; 512];
            let length = stream.read(&mut said).await.unwrap_or_default();
            if said[..length].starts_with(b"PROXY UNKNOWN\r\n") {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoken";
                let _ = stream.write_all(answer).await;
            }
        }
    });
    let patience = Duration::from_secs(5);
    let (prober, ports) = prober_at(site, patience);
    let name = DnsName::parse("shop.test").unwrap();
    let probe = async |whose| {
        let fetch = prober.probe(&name, "/t", ports.at(site.ip()), whose).await;
        fetch.outcome
    };
    assert_eq!(probe(Whose::Container).await, Ok(Body(b"token".to_vec())));
    // A CA has no such header.
    let closed = FetchFailure::Closed("http://shop.test/t".to_owned());
    assert_eq!(probe(Whose::Public).await, Err(closed));
}

/// As `return 444` of nginx, to which the header of a balancer is a bad request
#[tokio::test]
async fn what_a_balancers_header_alone_is_answered_with_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut said = [0; 512];
            let length = stream.read(&mut said).await.unwrap_or_default();
            if said[..length].starts_with(b"PROXY UNKNOWN\r\n") {
                let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        }
    });
    let (prober, ports) = prober_at(site, Duration::from_secs(5));
    let name = DnsName::parse("shop.test").unwrap();
    let doors = ports.at(site.ip());
    let fetch = prober.probe(&name, "/t", doors, Whose::Container).await;
    let closed = FetchFailure::Closed("http://shop.test/t".to_owned());
    assert_eq!(fetch.outcome, Err(closed));
    assert_eq!(fetch.hops, []);
}

#[tokio::test]
async fn a_public_ca_follows_no_redirect_to_where_it_cannot_go() {
    let mut tasks = JoinSet::new();
    let site = site(&mut tasks).await;
    let zone = Zone::new();
    zone.add("www.shop.test", Record::A([127, 0, 0, 1].into()));
    let dns = Server::start("127.0.0.1:0".parse().unwrap(), zone)
        .await
        .unwrap();
    let patience = Duration::from_secs(5);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ports = Ports {
        http: site.port(),
        https: site.port(),
    };
    let probe = async |issuer| {
        let prober = Prober::new(
            Fetcher::new(provider.clone(), patience),
            Resolver::new(&[dns.address()], patience).unwrap(),
            ports,
            issuer,
        );
        let name = DnsName::parse("shop.test").unwrap();
        let doors = Doors {
            http: site,
            https: None,
        };
        prober
            .probe(&name, "/t", doors, Whose::Container)
            .await
            .outcome
    };
    let nowhere = FetchFailure::NoAddress("www.shop.test".to_owned());
    assert_eq!(probe(IssuerKind::Public).await, Err(nowhere));
    let token = Body(b"token".to_vec());
    assert_eq!(probe(IssuerKind::Private).await, Ok(token));
}

fn any_location() -> impl Strategy<Value = String> {
    prop_oneof![
        "(http|https|ftp|HTTP)://[a-z0-9.@\\[\\]:_-]{0,20}(:(80|443|22|99999))?/[a-z]{0,2}",
        "(//)?[a-z.]{0,6}(:[0-9]{1,3})?/?[a-z]{0,2}",
        "/[a-z]{0,2}(\\?[a-z:/]{0,8})?(#[a-z]{0,4})?",
        "https?://(192\\.0\\.2\\.1|\\[::1\\]|www\\.test|shop\\.test)(:[0-9]{1,5})?/",
        ".{0,30}",
    ]
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let status = prop_oneof![4 => Just(302u16), 1 => 100u16..=999];
    (status, option::weighted(0.9, any_location()))
        .prop_map(|(status, location)| reply(status, location.as_deref()))
}

proptest! {
    #[test]
    fn any_chain_of_answers_ends_within_eleven_requests(answers in vec(any_reply(), 1..20)) {
        let (_, asked) = follow(&answers);
        prop_assert!(asked.len() <= 11);
        let mut distinct = asked.clone();
        distinct.sort();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), asked.len(), "asked twice: {:?}", asked);
    }

    #[test]
    fn a_chain_stays_with_names_on_ports_80_and_443(answers in vec(any_reply(), 1..20)) {
        let (_, asked) = follow(&answers);
        for url in asked {
            let url = uri(&url);
            prop_assert!(["http", "https"].contains(&url.scheme_str().unwrap()));
            prop_assert!([None, Some(80), Some(443)].contains(&url.port_u16()));
            let host = url.host().unwrap().trim_end_matches('.');
            prop_assert!(!host.is_empty() && !host.starts_with('['));
            prop_assert!(host.parse::<IpAddr>().is_err());
        }
    }

    #[test]
    fn a_relative_target_stays_on_the_host(path in "[a-z0-9./?=-]{1,20}") {
        prop_assume!(!path.starts_with("//"));
        if let Ok(target) = redirect(&uri("https://shop.test/a/b"), &path) {
            prop_assert_eq!(target.authority().unwrap().as_str(), "shop.test");
            prop_assert_eq!(target.scheme_str(), Some("https"));
        }
    }

    #[test]
    fn a_circle_is_found_before_it_is_walked_twice(length in 1usize..11) {
        let targets = (1..length).map(|number| format!("http://shop.test/{number}"));
        let targets: Vec<String> = targets.chain([FIRST.to_owned()]).collect();
        let answers: Vec<Reply> = targets.iter().map(|to| reply(301, Some(to))).collect();
        let (outcome, asked) = follow(&answers);
        prop_assert_eq!(outcome, Err(FetchFailure::Loop(FIRST.to_owned())));
        prop_assert_eq!(asked.len(), length);
    }
}
