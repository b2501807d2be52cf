//! What every request passes: counting, faults, nonces, signatures (RFC 8555 sections 6 and 7.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderName, LINK};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::super::fault::Fault;
use super::jws::{self, Key, Signer, Unverified};
use super::problem::Problem;
use super::profile::PROFILES;
use super::state::Status;
use super::{Accounts, Call, Shared, lock};

/// A request whose signature, nonce and URL are right
#[derive(Debug)]
pub(super) struct Signed {
    by: By,
    /// Empty for POST-as-GET
    pub(super) payload: Vec<u8>,
    /// The URL that was signed
    pub(super) url: String,
}

#[derive(Debug)]
pub(super) enum By {
    /// An account that is valid
    Account(u64),
    /// A key, whether an account has it or not
    Key(Key),
}

impl Signed {
    /// The account that signed
    pub(super) fn account(&self) -> Result<u64, Problem> {
        match self.by {
            By::Account(id) => Ok(id),
            By::Key(_) => Err(Problem::malformed(
                "this request must be signed with \"kid\"",
            )),
        }
    }

    /// The key that signed
    pub(super) fn key(&self) -> Result<&Key, Problem> {
        match &self.by {
            By::Key(key) => Ok(key),
            By::Account(_) => Err(Problem::malformed(
                "this request must be signed with \"jwk\"",
            )),
        }
    }

    pub(super) fn by(&self) -> &By {
        &self.by
    }

    /// Refuses a payload where there must be none
    pub(super) fn as_get(&self) -> Result<(), Problem> {
        if self.payload.is_empty() {
            return Ok(());
        }
        Err(Problem::malformed("POST-as-GET must have an empty payload"))
    }
}

impl FromRequest<Arc<Shared>> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let url = format!("{}{}", shared.base, request.uri().path());
        let content_type = request.headers().get(CONTENT_TYPE).cloned();
        let body = Bytes::from_request(request, shared)
            .await
            .map_err(|error| Problem::malformed(error.to_string()))?;
        let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
        shared.authenticate(jws::from_request(content_type, &body)?, url)
    }
}

impl Shared {
    fn authenticate(&self, jws: Unverified, url: String) -> Result<Signed, Problem> {
        self.check_nonce(jws.nonce())?;
        if jws.url() != Some(&url) {
            let found = jws.url().unwrap_or_default();
            return Err(Problem::unauthorized(format!(
                "JWS header parameter \"url\" is {found:?}, the request went to {url:?}"
            )));
        }
        let (by, key) = match jws.signer()? {
            Signer::Key(key) => (By::Key(key.clone()), key),
            Signer::Account(kid) => {
                let (id, key) = self.account_key(&kid)?;
                (By::Account(id), key)
            }
        };
        let payload = jws.verified_by(&key)?;
        Ok(Signed { by, payload, url })
    }

    fn check_nonce(&self, nonce: Option<&str>) -> Result<(), Problem> {
        let nonce = nonce.ok_or_else(Problem::bad_nonce)?;
        if !lock(&self.state).use_nonce(nonce) {
            return Err(Problem::bad_nonce());
        }
        let mut controls = lock(&self.controls);
        controls.nonce_debt += controls.nonce_rejection;
        if controls.nonce_debt >= 100 {
            controls.nonce_debt -= 100;
            return Err(Problem::bad_nonce());
        }
        Ok(())
    }

    /// The account at this URL, if it may still act
    pub(super) fn account_key(&self, url: &str) -> Result<(u64, Key), Problem> {
        let state = lock(&self.state);
        let id = url
            .strip_prefix(&self.url("account/"))
            .and_then(|id| id.parse().ok());
        let account = id
            // `01` and `+1` are numbers too, but not in an URL that the CA gave.
            .filter(|id| self.url(&format!("account/{id}")) == url)
            .and_then(|id| Some((id, state.accounts.get(&id)?)));
        match account {
            Some((_, account)) if account.status == Status::Deactivated => {
                Err(Problem::unauthorized("the account is deactivated"))
            }
            Some((id, account)) => Ok((id, account.key.clone())),
            None => Err(Problem::new(
                400,
                "accountDoesNotExist",
                format!("account {url:?} not found"),
            )),
        }
    }

    fn fresh_nonce(&self) -> Option<HeaderValue> {
        let nonce = random_text();
        let value = nonce.parse().ok();
        lock(&self.state).keep_nonce(nonce);
        value
    }
}

/// Counts a request, plays the fault that is set for it, and adds the headers of every answer
pub(super) async fn around(
    State((shared, call)): State<(Arc<Shared>, Call)>,
    request: Request,
    next: Next,
) -> Response {
    let line = format!("{} {}", request.method(), request.uri().path());
    lock(&shared.controls).requests.push(line);
    let wants_nonce = request.method() == Method::POST || call == Call::Nonce;
    let fault = shared.faults.take(&call);
    let is_answer = matches!(fault, Some(Fault::Answer(_)));
    let played = match fault {
        Some(fault) => fault.play().await,
        None => None,
    };
    let mut response = match played {
        // What stands before the CA, and answers in its place, knows neither nonces nor links. A
        // reply of the CA's own that breaks off had its headers.
        Some(response) if is_answer && !is_problem(&response) => return response,
        Some(response) => response,
        None => next.run(request).await,
    };
    let nonce = wants_nonce.then(|| shared.fresh_nonce()).flatten();
    let headers = response.headers_mut();
    if let Some(nonce) = nonce {
        headers.insert(REPLAY_NONCE, nonce);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if call != Call::Directory
        && let Ok(index) = format!("<{}>;rel=\"index\"", shared.url("directory")).parse()
    {
        headers.append(LINK, index);
    }
    response
}

fn is_problem(response: &Response) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json")
}

/// Refuses a method, such as GET where it should be POST-as-GET (RFC 8555 section 6.3)
pub(super) async fn wrong_method(method: Method) -> Problem {
    Problem::new(405, "malformed", format!("{method} is not allowed here"))
}

pub(super) async fn nothing_there() -> Problem {
    Problem::not_found("resource")
}

/// The directory (RFC 8555 section 7.1.1)
pub(super) async fn directory(State(shared): State<Arc<Shared>>) -> Response {
    let profiles: BTreeMap<&str, &str> = PROFILES
        .iter()
        .map(|profile| (profile.name, profile.description))
        .collect();
    let body = Json(json!({
        "newNonce": shared.url("nonce"),
        "newAccount": shared.url("new-account"),
        "newOrder": shared.url("new-order"),
        "revokeCert": shared.url("revoke"),
        "keyChange": shared.url("key-change"),
        "renewalInfo": shared.url("renewal-info"),
        "meta": {
            "termsOfService": TERMS,
            "website": TERMS,
            "caaIdentities": [IDENTITY],
            "externalAccountRequired": shared.options.accounts != Accounts::Open,
            "profiles": profiles,
        },
    }));
    let mut response = body.into_response();
    let date = lock(&shared.controls).date;
    let date = date.and_then(|date| httpdate::fmt_http_date(date.into()).parse().ok());
    if let Some(date) = date {
        response.headers_mut().insert(DATE, date);
    }
    response
}

/// The directory by POST-as-GET, which RFC 8555 section 6.3 wants as well
pub(super) async fn directory_signed(
    state: State<Arc<Shared>>,
    signed: Signed,
) -> Result<Response, Problem> {
    signed.as_get()?;
    Ok(directory(state).await)
}

/// A nonce by POST-as-GET
pub(super) async fn nonce_signed(signed: Signed) -> Result<StatusCode, Problem> {
    signed.as_get()?;
    Ok(StatusCode::NO_CONTENT)
}

/// A nonce (RFC 8555 section 7.2); the header comes from [`around`]
pub(super) async fn nonce(method: Method) -> StatusCode {
    match method {
        Method::HEAD => StatusCode::OK,
        _ => StatusCode::NO_CONTENT,
    }
}

/// JSON with a status and `Location`
pub(super) fn created(status: StatusCode, location: &str, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Ok(location) = location.parse() {
        response
            .headers_mut()
            .insert(http::header::LOCATION, location);
    }
    response
}

/// 128 random bits as base64url: a nonce, a token
pub(super) fn random_text() -> String {
    let mut bytes = [0; 16];
    // The library documents no failure of its generator that it survives.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    jws::encode(bytes)
}

/// The domain that CAA records name for this CA
pub const IDENTITY: &str = "ca.sandbox.test";
pub(super) const TERMS: &str = "https://ca.sandbox.test/terms";
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");
