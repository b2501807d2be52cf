//! The HTTP client under instant-acme: keeps what that crate drops of an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use super::problem;
use super::reply::{self, Hints, RetryAfter};
use crate::finding::excerpt;
use crate::net::http::Client;

/// One order's view of the shared client
///
/// Each order has its own, so that a `Retry-After` is never taken for another order's.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
    directory_url: String,
    directory: Bytes,
    nonces: Nonces,
    last: Arc<Mutex<Hints>>,
    /// That of the last answer: whoever asks next uses it, or nobody
    last_nonce: Arc<Mutex<Option<HeaderValue>>>,
    /// An order that is known without a request, until it was asked for: its URL and document
    known: Arc<Mutex<Option<(String, String)>>>,
}

/// Nonces that nobody has used yet (RFC 8555 section 6.5): those that were fetched before the orders
/// began, and those that orders left behind for others of the same run
///
/// One that the CA has forgotten meanwhile costs the request that it was to save.
#[derive(Clone, Debug)]
pub(super) struct Nonces {
    /// Where a new one is asked for
    url: String,
    left: Arc<Mutex<Vec<HeaderValue>>>,
}

impl Nonces {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            left: Arc::default(),
        }
    }

    /// Leaves nonces to whoever asks next
    pub(super) fn leave(&self, nonces: impl IntoIterator<Item = HeaderValue>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.extend(nonces);
    }

    /// The answer that the CA would give, if one was left behind
    fn answer(&self, request: &Request<BodyWrapper<Bytes>>) -> Option<BytesResponse> {
        let is_asked_for = request.method() == Method::HEAD && *request.uri() == *self.url;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let nonce = is_asked_for.then(|| left.pop())??;
        let mut response = Response::new(Full::<Bytes>::default());
        response.headers_mut().insert(REPLAY_NONCE, nonce);
        Some(response.into())
    }
}

impl Transport {
    pub(super) fn new(
        client: Client,
        directory_url: String,
        directory: Bytes,
        nonces: Nonces,
    ) -> Self {
        Self {
            client,
            directory_url,
            directory,
            nonces,
            last: Arc::default(),
            last_nonce: Arc::default(),
            known: Arc::default(),
        }
    }

    /// One to the same CA for work beside that of this one, by which the order at this URL is read
    /// as this document
    pub(super) fn beside(&self, url: String, document: String) -> Self {
        Self {
            last: Arc::default(),
            last_nonce: Arc::default(),
            known: Arc::new(Mutex::new(Some((url, document)))),
            ..self.clone()
        }
    }

    /// Leaves the nonce of the last answer to others: nothing more is asked for here
    pub(super) fn leave_nonce(&self) {
        let mut nonce = self
            .last_nonce
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.nonces.leave(nonce.take());
    }

    /// What the headers of the last answer added
    pub(super) fn hints(&self) -> Hints {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Has the next wait be what these headers ask for
    pub(super) fn note(&self, hints: Hints) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = hints;
    }

    /// The answer to what is known without a request
    ///
    /// A request for it is signed all the same, with a nonce that no CA sees.
    fn known_answer(&self, request: &Request<BodyWrapper<Bytes>>) -> Option<BytesResponse> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (url, _) = known.as_ref()?;
        if *request.uri() == **url {
            let (_, document) = known.take()?;
            return Some(Response::new(Full::new(Bytes::from(document))).into());
        }
        let is_nonce = request.method() == Method::HEAD && *request.uri() == *self.nonces.url;
        let mut response = Response::new(Full::<Bytes>::default());
        let unsent = HeaderValue::from_static("unsent");
        response.headers_mut().insert(REPLAY_NONCE, unsent);
        is_nonce.then(|| response.into())
    }

    async fn answer(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        // The directory is fetched once a run; instant-acme would fetch it for each account.
        if request.method() == Method::GET && *request.uri() == *self.directory_url {
            return Ok(Response::new(Full::new(self.directory)).into());
        }
        if let Some(answer) = self.known_answer(&request) {
            return Ok(answer);
        }
        if let Some(answer) = self.nonces.answer(&request) {
            return Ok(answer);
        }
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let body = body
            .collect()
            .await
            .map_or_else(|never| match never {}, |body| body.to_bytes());
        let mut response = self
            .client
            .send(Request::from_parts(parts, body))
            .await
            .map_err(problem::carried)?;
        RetryAfter::replace_in(response.headers_mut());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Hints::from_headers(response.headers());
        *self
            .last_nonce
            .lock()
            .unwrap_or_else(PoisonError::into_inner) =
            response.headers().get(REPLAY_NONCE).cloned();
        if reply::says_no(&response) {
            let document = excerpt(&String::from_utf8_lossy(response.body()), MOST_DOCUMENT);
            tracing::info!(
                url,
                status = response.status().as_u16(),
                document,
                "the CA says no"
            );
        }
        if response.status().as_u16() >= 400 && !reply::is_document(response.body()) {
            return Err(problem::refusal(&url, &response));
        }
        Ok(response.map(Full::new).into())
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().answer(request))
    }
}

pub(super) const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");
/// Characters of an answer that are logged
const MOST_DOCUMENT: usize = 2 * 1024;
