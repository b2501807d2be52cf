//! The output of a command, on a connection that is no HTTP any more.

use std::convert::Infallible;
use std::future::Future;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::exec::Executed;
use crate::fault::Fault;

/// How the stream of a command's output ends
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With the output
    Whole,
    /// In the middle of it
    Early,
    /// Not at all: the command hangs in the middle of it
    Never,
    /// Not at all: the command prints on and on
    Endless,
}

impl Ending {
    /// The ending that a fault means; `None` for a fault of the answer as a whole
    pub(super) fn of(fault: &Fault) -> Option<Self> {
        match fault {
            Fault::CutShort => Some(Self::Early),
            Fault::Stalled => Some(Self::Never),
            Fault::Endless => Some(Self::Endless),
            Fault::Answer(_) | Fault::Silent | Fault::Slow(_) | Fault::Meeting(_) => None,
        }
    }

    fn stream(self, mut output: Bytes) -> BoxStream<'static, Bytes> {
        let half = output.len() / 2;
        match self {
            Self::Whole => stream::iter([output]).boxed(),
            Self::Early => stream::iter([output.split_to(half)]).boxed(),
            Self::Never => stream::iter([output.split_to(half)])
                .chain(stream::pending())
                .boxed(),
            Self::Endless => stream::iter([output])
                .chain(stream::repeat(endless_frame()))
                .boxed(),
        }
    }
}

/// How the bytes of both outputs share one connection
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In frames, each with the number of its output and its length
    Multiplexed,
    /// As they are, which is the way of a terminal
    Raw,
}

impl Form {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Multiplexed => "application/vnd.docker.multiplexed-stream",
            Self::Raw => "application/vnd.docker.raw-stream",
        }
    }

    fn encode(self, executed: &Executed) -> Bytes {
        let mut bytes = BytesMut::new();
        for (output, text) in [(STDOUT, &executed.stdout), (STDERR, &executed.stderr)] {
            for part in text.as_bytes().chunks(FRAME) {
                if self == Self::Multiplexed {
                    bytes.put(header(output, part.len()).as_slice());
                }
                bytes.put(part);
            }
        }
        bytes.freeze()
    }
}

/// Takes the connection of a request, where it asks for that
pub(super) fn upgrade(request: &mut Request) -> Option<OnUpgrade> {
    let asked = request.headers().contains_key(UPGRADE);
    asked.then(|| hyper::upgrade::on(request))
}

/// Sends the output until `stopped`: over the connection itself where it was handed over
pub(super) fn respond(
    upgrade: Option<OnUpgrade>,
    form: Form,
    executed: &Executed,
    ending: Ending,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let output = ending
        .stream(form.encode(executed))
        .take_until(Box::pin(stopped));
    let mut response = match upgrade {
        Some(upgrade) => {
            tokio::spawn(send(upgrade, output));
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
            response
        }
        None => Response::new(Body::from_stream(output.map(Ok::<_, Infallible>))),
    };
    let content_type = HeaderValue::from_static(form.content_type());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// What a container wrote, each entry with a line end
pub(super) fn log(entries: &[String]) -> Response {
    let lines = entries.iter().map(|entry| entry.trim_end());
    let executed = Executed::failure(0, lines.fold(String::new(), |log, line| log + line + "\n"));
    let form = Form::Multiplexed;
    let mut response = Response::new(Body::from(form.encode(&executed)));
    let content_type = HeaderValue::from_static(form.content_type());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

async fn send(upgrade: OnUpgrade, mut output: impl Stream<Item = Bytes> + Unpin) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let mut connection = TokioIo::new(upgraded);
    while let Some(bytes) = output.next().await {
        if connection.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = connection.shutdown().await;
}

fn header(output: u8, length: usize) -> [u8; 8] {
    // No part is longer than a frame.
    let [.., a, b, c, d] = length.to_be_bytes();
    [output, 0, 0, 0, a, b, c, d]
}

fn endless_frame() -> Bytes {
    let mut frame = BytesMut::new();
    frame.put(header(STDOUT, FRAME).as_slice());
    frame.put_bytes(b' ', FRAME);
    frame.freeze()
}

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// Bytes of output in one frame, as Docker copies them
const FRAME: usize = 32 * 1024;
