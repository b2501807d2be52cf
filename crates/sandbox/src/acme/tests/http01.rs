//! HTTP-01 (RFC 8555 section 8.3) by the rules of Let's Encrypt.

use axum::Router;
use axum::response::Redirect;
use rcgen::KeyPair;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::super::dns::Failure;
use super::super::super::listen::TlsListener;
use super::client::kind;
use super::*;
use crate::Background;

/// An order whose challenge can be answered in many ways
struct Trial {
    client: Client,
    url: String,
    /// Path of the challenge
    path: String,
    /// What should be served there
    answer: String,
}

impl Trial {
    async fn new(stage: &Stage, name: &str) -> Self {
        let client = stage.client().await;
        let order = client.order(&[name]).await;
        let url = order.authorizations().remove(0);
        let challenge = client.get(&url).await.json()["challenges"][0].clone();
        let token = challenge["token"].as_str().unwrap();
        Self {
            path: format!("/.well-known/acme-challenge/{token}"),
            answer: format!("{token}.{}", client.key.thumbprint()),
            url,
            client,
        }
    }

    /// What became of it: `valid`, or the type of the problem and its words
    async fn outcome(&self) -> String {
        let authorization: Value = self.client.validate(&self.url).await;
        let error = &authorization["challenges"][0]["error"];
        match error["detail"].as_str() {
            Some(detail) => format!("{}: {detail}", kind(error)),
            None => authorization["status"].as_str().unwrap().to_owned(),
        }
    }
}

/// Serves something else for `shop.test` and compares what becomes of it, `PATH` put in
async fn check(expected: &str, serve: impl FnOnce(&Stage, &Trial) -> HttpInstead) {
    let stage = Stage::new().await;
    let trial = Trial::new(&stage, "shop.test").await;
    let instead = serve(&stage, &trial);
    stage.web.answer(Asked::Path(trial.path.clone()), instead);
    let found = trial.outcome().await.replace(&trial.path, "PATH");
    let found = found.replace(&trial.answer, "ANSWER");
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_is_served_decides() {
    let mismatch = "unauthorized: The key authorization file from the server did not match this challenge. Expected \"ANSWER\" (got ";
    check("valid", |_, trial| HttpInstead::Body(trial.answer.clone())).await;
    check("valid", |_, trial| {
        HttpInstead::Body(format!("{} \r\n\t", trial.answer))
    })
    .await;
    check(&format!("{mismatch}\" ANSWER\")"), |_, trial| {
        HttpInstead::Body(format!(" {}", trial.answer))
    })
    .await;
    check(&format!("{mismatch}\"\")"), |_, _| {
        HttpInstead::Body(String::new())
    })
    .await;
    let almost = "x".repeat(127);
    check(&format!("{mismatch}{almost:?})"), |_, _| {
        HttpInstead::Body(almost.clone())
    })
    .await;
    let begin = "x".repeat(64);
    check(
        &format!("unauthorized: 127.0.0.1: Invalid response from http://shop.testPATH: {begin:?}"),
        |_, _| HttpInstead::Body("x".repeat(128)),
    )
    .await;
    for status in [303, 400, 403, 404, 500] {
        let expected = format!(
            "unauthorized: 127.0.0.1: Invalid response from http://shop.testPATH: {status}"
        );
        check(&expected, |_, _| HttpInstead::Status(status)).await;
    }
}

/// Serves the right answer at this path
fn elsewhere(stage: &Stage, trial: &Trial, path: &str) {
    stage.web.answer(
        Asked::Path(path.to_owned()),
        HttpInstead::Body(trial.answer.clone()),
    );
}

#[tokio::test]
async fn redirects_are_followed_to_names_over_http() {
    for target in [
        "http://blog.test/moved",
        "http://blog.test:80/moved?x=1",
        "/moved",
        "//blog.test/moved",
    ] {
        check("valid", |stage, trial| {
            elsewhere(stage, trial, "/moved");
            HttpInstead::Redirect(target.to_owned())
        })
        .await;
    }
}

#[tokio::test]
async fn redirects_to_other_ports_and_addresses_are_refused() {
    let fetching = "connection: 127.0.0.1: Fetching http://shop.testPATH: ";
    for (target, reason) in [
        (
            "http://blog.test:8080/moved",
            "Invalid port in redirect target. Only ports 80 and 443 are supported, not 8080",
        ),
        (
            "http://127.0.0.1/moved",
            "Invalid host in redirect target \"127.0.0.1\". Only domain names are supported, not IP addresses",
        ),
        (
            "http://[::1]/moved",
            "Invalid host in redirect target \"[::1]\". Only domain names are supported, not IP addresses",
        ),
        (
            "ftp://blog.test/moved",
            "Invalid protocol scheme in redirect target. Only \"http\" and \"https\" protocol schemes are supported, not \"ftp\"",
        ),
        ("http://", "Invalid redirect target"),
    ] {
        check(&format!("{fetching}{reason}"), |stage, trial| {
            elsewhere(stage, trial, "/moved");
            HttpInstead::Redirect(target.to_owned())
        })
        .await;
    }
}

#[tokio::test]
async fn ten_redirects_are_followed_and_no_more() {
    for (hops, is_valid) in [(10, true), (11, false)] {
        let stage = Stage::new().await;
        let trial = Trial::new(&stage, "shop.test").await;
        let to = |hop: u32| HttpInstead::Redirect(format!("/hop/{hop}/"));
        stage.web.answer(Asked::Path(trial.path.clone()), to(1));
        for hop in 1..hops {
            stage
                .web
                .answer(Asked::Path(format!("/hop/{hop}/")), to(hop + 1));
        }
        elsewhere(&stage, &trial, &format!("/hop/{hops}/"));
        let outcome = trial.outcome().await;
        assert_eq!(outcome == "valid", is_valid, "{outcome}");
    }
}

#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let stage = Stage::new().await;
    let trial = Trial::new(&stage, "shop.test").await;
    let there = HttpInstead::Redirect(format!("http://shop.test{}", trial.path));
    stage.web.answer(Asked::Path(trial.path.clone()), there);
    assert!(trial.outcome().await.ends_with("Too many redirects"));
    assert_eq!(stage.web.requests().len(), 11);
}

/// A site behind TLS that says one thing, with a certificate that nobody trusts
async fn secure_site(says: Arc<Mutex<String>>) -> (u16, Background) {
    let key = rcgen::generate_simple_self_signed(vec!["else.test".to_owned()]).unwrap();
    let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = TlsListener::new(listener, move || Arc::clone(&config)).unwrap();
    let router = Router::new().fallback(move || std::future::ready(lock(&says).clone()));
    let task = Background::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    (port, task)
}

#[tokio::test]
async fn a_redirect_to_https_is_followed_whatever_the_certificate() {
    let says = Arc::new(Mutex::new(String::new()));
    let (port, _site) = secure_site(Arc::clone(&says)).await;
    let stage = Stage::with(|options| options.https_port = port).await;
    let trial = Trial::new(&stage, "shop.test").await;
    lock(&says).clone_from(&trial.answer);
    let target = HttpInstead::Redirect(format!("https://shop.test{}", trial.path));
    stage.web.answer(Asked::Path(trial.path.clone()), target);
    assert_eq!(trial.outcome().await, "valid");
}

#[tokio::test]
async fn a_redirect_to_a_port_without_tls_fails() {
    let stage = Stage::with(|options| options.https_port = options.http_port).await;
    let trial = Trial::new(&stage, "shop.test").await;
    let target = HttpInstead::Redirect(format!("https://shop.test{}", trial.path));
    stage.web.answer(Asked::Path(trial.path.clone()), target);
    let outcome = trial.outcome().await;
    assert!(
        outcome.starts_with("tls: 127.0.0.1: Fetching https://shop.test/"),
        "{outcome}"
    );
}

#[tokio::test]
async fn where_a_name_leads_decides() {
    for (records, expected) in [
        (
            vec![Record::A([127, 0, 0, 9].into())],
            "connection: 127.0.0.9: Fetching http://shop.testPATH: Connection refused",
        ),
        (
            vec![Record::A([192, 0, 2, 1].into())],
            "connection: 192.0.2.1: Fetching http://shop.testPATH: the sandbox connects to loopback only, and shop.test is 192.0.2.1",
        ),
        (
            vec![
                Record::Aaaa("2001:db8::1".parse().unwrap()),
                Record::A(Ipv4Addr::LOCALHOST),
            ],
            "connection: 2001:db8::1: Fetching http://shop.testPATH: the sandbox connects to loopback only, and shop.test is 2001:db8::1",
        ),
        (
            // Nobody listens there, and a refusal is no timeout.
            vec![
                Record::Aaaa("::1".parse().unwrap()),
                Record::A(Ipv4Addr::LOCALHOST),
            ],
            "connection: ::1: Fetching http://shop.testPATH: Connection refused",
        ),
        (
            vec![],
            "dns: no valid A records found for shop.test; no valid AAAA records found for shop.test",
        ),
        (
            vec![Record::Cname("gone.example".to_owned())],
            "dns: DNS problem: NXDOMAIN looking up A for shop.test - check that a DNS record exists for this domain",
        ),
        (vec![Record::Cname("blog.test".to_owned())], "valid"),
    ] {
        check(expected, |stage, trial| {
            stage.zone.set("shop.test", records);
            HttpInstead::Body(trial.answer.clone())
        })
        .await;
    }
    check(
        "dns: DNS problem: SERVFAIL looking up A for shop.test",
        |stage, trial| {
            stage.zone.fail("shop.test", Failure::ServFail);
            HttpInstead::Body(trial.answer.clone())
        },
    )
    .await;
}

/// A site on IPv6 and one on IPv4 with the same port
async fn two_sites() -> (TcpSocket, TcpListener, u16) {
    loop {
        let v6 = TcpSocket::new_v6().unwrap();
        v6.bind("[::1]:0".parse().unwrap()).unwrap();
        let port = v6.local_addr().unwrap().port();
        if let Ok(v4) = TcpListener::bind(("127.0.0.1", port)).await {
            return (v6, v4, port);
        }
    }
}

fn serve(listener: TcpListener, router: Router) -> Background {
    Background::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    })
}

fn saying(text: &'static str) -> Router {
    Router::new().fallback(move || std::future::ready(text))
}

/// Both addresses, for `shop.test` and `blog.test`
fn dual_stack() -> Zone {
    let zone = Zone::new();
    for name in ["shop.test", "blog.test"] {
        zone.add(name, Record::A(Ipv4Addr::LOCALHOST));
        zone.add(name, Record::Aaaa("::1".parse().unwrap()));
    }
    zone
}

async fn fetcher(zone: Zone, port: u16) -> (Fetcher, Server) {
    let local = "127.0.0.1:0".parse().unwrap();
    let dns = Server::start(local, zone).await.unwrap();
    let mut fetcher = Fetcher::new(dns.address(), port, 443).unwrap();
    fetcher.patience = Duration::from_millis(100);
    (fetcher, dns)
}

#[tokio::test]
async fn ipv6_is_asked_first() {
    let (v6, v4, port) = two_sites().await;
    let _sites = [
        serve(v6.listen(16).unwrap(), saying("six")),
        serve(v4, saying("four")),
    ];
    let (fetcher, _dns) = fetcher(dual_stack(), port).await;
    let fetched = fetcher.fetch("shop.test", "/").await.unwrap();
    assert_eq!(fetched.body, b"six");
}

#[tokio::test]
async fn ipv4_is_asked_after_a_timeout_but_not_after_a_redirect() {
    let (v6, v4, port) = two_sites().await;
    // One connection fills the queue of a listener that accepts none; the next one waits.
    let _full = v6.listen(0).unwrap();
    let _first = TcpStream::connect(("::1", port)).await.unwrap();
    let router = saying("four").route(
        "/moved",
        get(|| std::future::ready(Redirect::temporary("http://blog.test/"))),
    );
    let _site = serve(v4, router);
    let (fetcher, _dns) = fetcher(dual_stack(), port).await;
    let fetched = fetcher.fetch("shop.test", "/").await.unwrap();
    assert_eq!(fetched.body, b"four");
    let problem = fetcher.fetch("shop.test", "/moved").await.err().unwrap();
    let problem = serde_json::to_value(&problem).unwrap();
    assert_eq!(
        problem["detail"],
        "::1: Fetching http://blog.test/: Timeout during connect (likely firewall problem)"
    );
}

#[tokio::test]
async fn the_ca_looks_after_the_pause_that_is_set() {
    let stage = Stage::with(|options| options.validation_pause = Duration::from_millis(1)).await;
    let client = stage.client().await;
    client.obtain(&stage, &["shop.test"]).await;
    assert_eq!(stage.ca.validations(), 1);
}

#[tokio::test]
async fn accounts_are_validated_by_the_thumbprint_of_any_kind_of_key() {
    for key in [Key::p256(), Key::p384(), Key::rsa()] {
        let stage = Stage::new().await;
        let mut client = stage.stranger(key).await;
        client.register().await;
        let order = client.order(&["shop.test"]).await;
        let key = KeyPair::generate().unwrap();
        client.complete(&stage, &order, &key).await;
    }
}
