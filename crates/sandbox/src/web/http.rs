//! HTTP: challenges from the webroot, a redirect for all else; and the pages behind TLS.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::serve::Listener;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::net::{TcpListener, TcpStream};

use super::super::listen::TlsListener;
use super::super::{Background, lock};
use super::Shared;
use super::sites::site_for;

/// Which requests over HTTP are meant
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Those for this host
    Name(String),
    /// Those whose path begins so; `/` means all
    Path(String),
}

impl Asked {
    fn fits(&self, request: &Request) -> bool {
        match self {
            Self::Name(name) => name.eq_ignore_ascii_case(&request.host),
            Self::Path(beginning) => request.path.starts_with(beginning),
        }
    }
}

/// What requests over HTTP get instead of what they should
#[derive(Clone, Debug)]
pub enum HttpInstead {
    /// A redirect (301) to this URL, in which `$request_uri` is the path, as in nginx
    Redirect(String),
    /// A short page with this status
    Status(u16),
    /// 200 with this body
    Body(String),
    /// No answer at all
    Silence,
}

/// What was asked for over HTTP
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `Host`, lower case, without a port; empty where there was none
    pub host: String,
    /// Path, without the query
    pub path: String,
}

/// Answers HTTP at this listener while the server runs
pub(super) fn serve_plain(listener: TcpListener, shared: Arc<Shared>) -> Background {
    let door = Door {
        listener,
        shared: shared.clone(),
    };
    let router = Router::new().fallback(move |request: axum::extract::Request| {
        let response = answer(&shared, &request);
        async move {
            match response {
                Some(response) => closing(response),
                None => std::future::pending().await,
            }
        }
    });
    Background::spawn(async move {
        let _ = axum::serve(door, router).await;
    })
}

/// Shows the page of each site at this listener
pub(super) fn serve_pages(listener: TlsListener, shared: Arc<Shared>) -> Background {
    let router = Router::new().fallback(move |request: axum::extract::Request| {
        let page = page(&shared, &request);
        async move { closing(page) }
    });
    Background::spawn(async move {
        let _ = axum::serve(listener, router).await;
    })
}

/// One request a connection, so that no connection outlives a reload or a stop
fn closing(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// The answer to a request over HTTP; `None` is silence
fn answer(shared: &Shared, request: &axum::extract::Request) -> Option<Response> {
    let asked = Request {
        host: host(request),
        path: request.uri().path().to_owned(),
    };
    let instead = {
        let mut state = lock(&shared.state);
        state.requests.push(asked.clone());
        let fitting = state.http.iter().rev().find(|(of, _)| of.fits(&asked));
        fitting.map(|(_, instead)| instead.clone())
    };
    Some(match instead {
        None => behave(shared, &asked, request.method(), request.uri()),
        Some(HttpInstead::Redirect(url)) => redirect(&url.replace("$request_uri", &asked.path)),
        Some(HttpInstead::Status(status)) => {
            short(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        }
        Some(HttpInstead::Body(body)) => text(StatusCode::OK, body),
        Some(HttpInstead::Silence) => return None,
    })
}

/// What the configuration says
fn behave(shared: &Shared, asked: &Request, method: &Method, uri: &Uri) -> Response {
    let Some(token) = asked.path.strip_prefix(CHALLENGES) else {
        let query = uri.path_and_query().map_or("/", |uri| uri.as_str());
        return redirect(&format!("https://{}{query}", asked.host));
    };
    if method != Method::GET && method != Method::HEAD {
        return short(StatusCode::METHOD_NOT_ALLOWED);
    }
    match challenge(&shared.options.webroot, token) {
        Ok(authorization) => text(StatusCode::OK, authorization),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => short(StatusCode::FORBIDDEN),
        Err(_) => short(StatusCode::NOT_FOUND),
    }
}

/// The file of a token, which must be in the webroot itself
fn challenge(webroot: &Path, token: &str) -> io::Result<Vec<u8>> {
    let in_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if token.is_empty() || !token.chars().all(in_token) {
        return Err(ErrorKind::NotFound.into());
    }
    let webroot = fs::canonicalize(webroot)?;
    let directory = webroot.join(CHALLENGES.trim_matches('/'));
    let file = fs::canonicalize(directory.join(token))?;
    if !file.starts_with(&webroot) || !file.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    fs::read(file)
}

fn page(shared: &Shared, request: &axum::extract::Request) -> Response {
    let state = lock(&shared.state);
    let served = state.served.as_deref().unwrap_or_default();
    match site_for(served, Some(&host(request))) {
        Some(served) => text(StatusCode::OK, served.page.clone()),
        None => short(StatusCode::NOT_FOUND),
    }
}

fn host(request: &axum::extract::Request) -> String {
    let header = request.headers().get(HOST);
    let host = header.and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.to_ascii_lowercase()
}

fn redirect(url: &str) -> Response {
    let mut response = short(StatusCode::MOVED_PERMANENTLY);
    set(&mut response, LOCATION, url);
    response
}

/// A page that says its status and no more
fn short(status: StatusCode) -> Response {
    text(status, format!("{status}\n"))
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, "text/plain");
    response
}

/// Sets a header, unless its value cannot be one
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Hands out connections while the server runs, and closes them at once while it does not
struct Door {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let accepted = Listener::accept(&mut self.listener).await;
            if self.shared.is_running() {
                return accepted;
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Where challenges are asked for (RFC 8555 section 8.3)
const CHALLENGES: &str = "/.well-known/acme-challenge/";
