//! The CA as clients see it, from the directory to the end of a certificate, and how it fails.

use std::sync::{Arc, Mutex};

use super::super::dns::{Record, Server, Zone};
use super::super::web::{self, Asked, HttpInstead, Web};
use super::*;

mod accounts;
mod authorizations;
mod caa;
mod certificates;
mod client;
mod faults;
mod http01;
mod leaf;
mod orders;
mod renewal;
mod requests;
mod setup;

use client::{Client, Key, Reply};

/// A CA with the DNS server and the web server that it looks at, and its clock
struct Stage {
    ca: Ca,
    zone: Zone,
    web: Web,
    clock: Arc<Mutex<Timestamp>>,
    _dns: Server,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A stage whose CA is set up a little differently
    async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let zone = Zone::new();
        zone.add("*.test", Record::A(Ipv4Addr::LOCALHOST));
        let dns = Server::start("127.0.0.1:0".parse().unwrap(), zone.clone())
            .await
            .unwrap();
        let web = Web::start(web::Options {
            configuration: "/nowhere".into(),
            webroot: "/nowhere".into(),
            storage: "/nowhere".into(),
        })
        .await
        .unwrap();
        let clock = Arc::new(Mutex::new(at("2026-11-20T12:00:00Z")));
        let reading = Arc::clone(&clock);
        let mut options = Options::new(
            Clock::new(move || *lock(&reading)),
            dns.address(),
            web.http().port(),
        );
        options.https_port = web.https().port();
        change(&mut options);
        Self {
            ca: Ca::start(options).await.unwrap(),
            zone,
            web,
            clock,
            _dns: dns,
        }
    }

    fn travel(&self, text: &str) {
        *lock(&self.clock) = at(text);
    }

    fn now(&self) -> Timestamp {
        *lock(&self.clock)
    }

    /// Answers a challenge with this body
    fn serve(&self, token: &str, body: &str) {
        let path = format!("/.well-known/acme-challenge/{token}");
        self.web
            .answer(Asked::Path(path), HttpInstead::Body(body.to_owned()));
    }

    /// A client with an account
    async fn client(&self) -> Client {
        let mut client = self.stranger(Key::p256()).await;
        client.register().await;
        client
    }

    /// A client without an account
    async fn stranger(&self, key: Key) -> Client {
        Client::new(&self.ca.root_pem(), &self.ca.directory(), key).await
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
