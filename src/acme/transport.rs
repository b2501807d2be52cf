//! The HTTP client under instant-acme: keeps what that crate drops of an answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use super::problem;
use super::reply::{self, Hints};
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
    last: Arc<Mutex<Hints>>,
}

impl Transport {
    pub(super) fn new(client: Client, directory_url: String, directory: Bytes) -> Self {
        Self {
            client,
            directory_url,
            directory,
            last: Arc::default(),
        }
    }

    /// What the headers of the last answer added
    pub(super) fn hints(&self) -> Hints {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn answer(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        // The directory is fetched once a run; instant-acme would fetch it for each account.
        if request.method() == Method::GET && *request.uri() == *self.directory_url {
            return Ok(Response::new(Full::new(self.directory)).into());
        }
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let body = body
            .collect()
            .await
            .map_or_else(|never| match never {}, |body| body.to_bytes());
        let response = self
            .client
            .send(Request::from_parts(parts, body))
            .await
            .map_err(problem::carried)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Hints::from_headers(response.headers());
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
            return Err(reply::refusal(&url, &response));
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

/// Characters of an answer that are logged
const MOST_DOCUMENT: usize = 16 * 1024;
