//! An ACME server over HTTPS that registers anyone, checks nothing and issues nothing.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ServerConnection, StreamOwned};
use serde_json::json;

use super::certificates::{Authority, Wish};
use super::http::{Reply, Request, converse};
use super::place::Place;
use super::server::{Server, tls_config};

/// A listening CA, stopped on drop
pub(crate) struct Ca {
    server: Server,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Ca {
    /// A CA whose root is `root.pem` of the place; `answer` is asked before its own answer is given
    pub(crate) fn start(
        place: &Place,
        answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let root = Authority::root("Root of a test CA's API");
        place.write("root.pem", root.pem());
        let leaf = root.issue(&Wish::names(&["127.0.0.1"]));
        let config = tls_config(&leaf);
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let kept = requests.clone();
        let server = Server::start(move |stream| {
            let Ok(address) = stream.local_addr() else {
                return;
            };
            let tls = ServerConnection::new(config.clone()).expect("the configuration is sound");
            // A client that refuses the certificate ends the conversation with an error.
            let _ = converse(StreamOwned::new(tls, stream), |request| {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(request.line());
                let reply = answer(request).unwrap_or_else(|| own(request, address.port()));
                reply.with("Replay-Nonce", "bm9uY2U")
            });
        });
        Self { server, requests }
    }

    /// URL of the directory
    pub(crate) fn directory(&self) -> String {
        format!("https://{}/directory", self.server.address)
    }

    /// The requests so far, as `POST /order`
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn own(request: &Request, port: u16) -> Reply {
    let url = |path: &str| format!("https://127.0.0.1:{port}/{path}");
    match request.line().as_str() {
        "GET /directory" => Reply::json(
            200,
            &json!({
                "newNonce": url("nonce"),
                "newAccount": url("account"),
                "newOrder": url("order"),
                "revokeCert": url("revoke"),
                "keyChange": url("key"),
                "meta": {"termsOfService": "https://ca.test/terms.pdf"},
            }),
        ),
        "HEAD /nonce" => Reply::new(200, "text/plain", ""),
        "POST /account" => {
            Reply::json(201, &json!({"status": "valid"})).with("Location", &url("account/1"))
        }
        "POST /account/1" => Reply::json(200, &json!({"status": "valid"})),
        _ => Reply::json(
            404,
            &json!({
                "type": "urn:ietf:params:acme:error:malformed",
                "detail": "nothing is there",
            }),
        ),
    }
}
