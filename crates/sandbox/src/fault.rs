//! How an HTTP server departs from what it should do, on demand.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tokio::sync::Barrier;
use tokio::time::sleep;

use super::lock;

/// What a server does instead of answering as it should
#[derive(Clone, Debug)]
pub enum Fault {
    /// It answers with this
    Answer(Answer),
    /// It breaks the connection in the middle of the body
    CutShort,
    /// Its body has no end
    Endless,
    /// It begins a body and then says nothing more
    Stalled,
    /// It says nothing at all
    Silent,
    /// It does what it should, after this long
    Slow(Duration),
    /// It does what it should once so many calls are there at once as the barrier waits for
    Meeting(Arc<Barrier>),
}

/// An answer with an error
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status
    pub status: u16,
    /// `Content-Type`
    pub content_type: &'static str,
    /// The body
    pub body: String,
    /// `Retry-After`, in seconds
    pub retry_after: Option<u64>,
    /// `Link`, whole
    pub link: Option<String>,
    /// `Location`
    pub location: Option<String>,
}

impl Answer {
    /// An empty answer
    pub fn status(status: u16) -> Self {
        Self::text(status, "")
    }

    /// An answer in plain text
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain",
            body: body.into(),
            retry_after: None,
            link: None,
            location: None,
        }
    }

    /// A page, as a balancer sends it in the place of the server behind it
    pub fn html(status: u16, title: &str) -> Self {
        Self {
            content_type: "text/html",
            ..Self::text(
                status,
                format!(
                    "<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
                ),
            )
        }
    }

    /// JSON
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            content_type: "application/json",
            ..Self::text(status, body.to_string())
        }
    }

    /// The same, with `Retry-After`
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait.as_secs()),
            ..self
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, wait.into());
        }
        for (name, value) in [(LINK, self.link), (LOCATION, self.location)] {
            if let Some(value) = value.and_then(|value| value.parse().ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl Fault {
    /// So many calls are waited for, and answered when all are there
    pub fn meeting(calls: usize) -> Self {
        Self::Meeting(Arc::new(Barrier::new(calls)))
    }

    /// The answer that stands for the fault; `None` where the server may answer after all
    pub(super) async fn play(self) -> Option<Response> {
        match self {
            Self::Answer(answer) => Some(answer.into_response()),
            Self::CutShort => {
                let begun = stream::iter([Ok(BEGINNING), Err(std::io::Error::other("cut short"))]);
                let mut response = Response::new(Body::from_stream(begun));
                response.headers_mut().insert(CONTENT_LENGTH, 4096.into());
                Some(response)
            }
            Self::Endless => {
                let lines =
                    stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[b' '; 8192])));
                Some(Response::new(Body::from_stream(lines)))
            }
            Self::Stalled => {
                let begun = stream::iter([Ok::<_, Infallible>(BEGINNING)]).chain(stream::pending());
                Some(Response::new(Body::from_stream(begun)))
            }
            Self::Silent => std::future::pending().await,
            Self::Slow(pause) => {
                sleep(pause).await;
                None
            }
            Self::Meeting(barrier) => {
                barrier.wait().await;
                None
            }
        }
    }
}

const BEGINNING: Bytes = Bytes::from_static(b"{\"status\":");

/// How often a fault is played
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// So many times
    Next(u32),
    /// Until it is removed
    Always,
}

/// The faults that a server plays, by the kind of call
#[derive(Clone, Debug)]
pub(super) struct Faults<C, F = Fault>(Arc<Mutex<Vec<(C, Times, F)>>>);

impl<C, F> Default for Faults<C, F> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C: PartialEq, F: Clone> Faults<C, F> {
    pub(super) fn add(&self, call: C, times: Times, fault: F) {
        lock(&self.0).push((call, times, fault));
    }

    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The fault to be played for this call, counted
    pub(super) fn take(&self, call: &C) -> Option<F> {
        let mut faults = lock(&self.0);
        let position = faults
            .iter()
            .position(|(of, times, _)| of == call && *times != Times::Next(0))?;
        let (_, times, fault) = &mut faults[position];
        if let Times::Next(left) = times {
            *left -= 1;
        }
        Some(fault.clone())
    }
}
