//! An HTTP server that takes alerts and remembers them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::http::{Reply, Request, converse};
use super::server::Server;

/// A listening server, stopped on drop
pub(crate) struct Hook {
    server: Server,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hook {
    /// One that takes everything
    pub(crate) fn start() -> Self {
        Self::answering(|_| Reply::new(200, "text/plain", "ok"))
    }

    /// One that answers the request with this number, from 0, in this way
    pub(crate) fn answering(answer: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let kept = requests.clone();
        let server = Server::start(move |stream| {
            let _ = converse(stream, |request| answer(keep(&kept, request)));
        });
        Self { server, requests }
    }

    /// One that takes everything, over TLS
    pub(crate) fn protected(tls: Arc<ServerConfig>) -> Self {
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let kept = requests.clone();
        let server = Server::start(move |stream| {
            let tls = ServerConnection::new(tls.clone()).expect("the configuration is sound");
            let _ = converse(StreamOwned::new(tls, stream), |request| {
                keep(&kept, request);
                Reply::new(200, "text/plain", "ok")
            });
        });
        Self { server, requests }
    }

    /// The URL of a path
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    /// Where it listens
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The requests so far
    pub(crate) fn requests(&self) -> Vec<Request> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What each request told of which domain, as `event domain`
    pub(crate) fn told(&self) -> Vec<Vec<String>> {
        let requests = self.requests();
        let told = requests.iter().map(|request| {
            let json = request.json();
            let domains = json["domains"].as_array().cloned().unwrap_or_default();
            let words = domains.iter().map(|domain| {
                let word = |key: &str| domain[key].as_str().unwrap_or_default().to_owned();
                format!("{} {}", word("event"), word("domain"))
            });
            words.collect()
        });
        told.collect()
    }
}

/// Remembers a request, and gives its number
fn keep(requests: &Mutex<Vec<Request>>, request: &Request) -> usize {
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.push(request.clone());
    requests.len() - 1
}
