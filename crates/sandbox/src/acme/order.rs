//! Orders, authorizations and challenges (RFC 8555 sections 7.4 and 7.5).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State as FromState};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::RESERVED;
use super::edge::{Signed, created, random_text};
use super::jws;
use super::problem::Problem;
use super::profile::{PROFILES, Profile};
use super::state::{Authorization, Challenge, Order, OrderStage, State, Status};
use super::validation::validate;
use super::{Identifier, Mishap, Reuse, Shared, Step, certificate, lock};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<Identifier>,
    profile: Option<String>,
    replaces: Option<String>,
    not_before: Option<Value>,
    not_after: Option<Value>,
}

/// Places an order, or finds the same one that still waits
pub(super) async fn place(
    FromState(shared): FromState<Arc<Shared>>,
    signed: Signed,
) -> Result<Response, Problem> {
    let account = signed.account()?;
    let wanted: NewOrder = jws::payload(&signed.payload)?;
    if wanted.not_before.is_some() || wanted.not_after.is_some() {
        return Err(Problem::malformed(
            "notBefore and notAfter are not supported",
        ));
    }
    let now = shared.now();
    let (profile, asked) = profile(wanted.profile.as_deref())?;
    let names = names(&wanted.identifiers, profile)?;
    let is_ignored = wanted.replaces.is_some() && shared.mishaps.take(&Step::Order).is_some();
    let replaces = wanted.replaces.filter(|_| !is_ignored);
    let mut state = lock(&shared.state);
    if let Some(replaces) = &replaces {
        check_replaces(&shared, &state, replaces, account, &names)?;
    }
    let mut order = Order {
        account,
        names,
        profile,
        asked,
        replaces,
        authorizations: Vec::new(),
        expires: now + profile.order,
        stage: OrderStage::Open,
    };
    let id = match state.same_order(&order, now) {
        Some(id) => id,
        None => {
            order.authorizations = authorizations(&shared, &mut state, &order, now);
            order.expires = earliest(&state, &order);
            let id = state.next_id();
            state.orders.insert(id, order);
            id
        }
    };
    let url = shared.url(&format!("order/{id}"));
    let mut body = shared.order_json(&state, id, now)?;
    if let Some(Mishap::Crowded(more)) = shared.mishaps.take(&Step::Authorize)
        && let Some(authorizations) = body["authorizations"].as_array_mut()
    {
        let first = authorizations.first().cloned().unwrap_or_default();
        authorizations.extend(std::iter::repeat_n(first, more));
    }
    Ok(created(StatusCode::CREATED, &url, body))
}

fn profile(asked: Option<&str>) -> Result<(Profile, Option<&'static str>), Problem> {
    let Some(asked) = asked else {
        return Ok((PROFILES[0], None));
    };
    match Profile::named(asked) {
        Some(profile) => Ok((profile, Some(profile.name))),
        None => {
            let detail = format!("the profile {asked:?} is not recognized");
            Err(Problem::new(400, "invalidProfile", detail))
        }
    }
}

/// The names of an order, each once, in alphabetical order as Let's Encrypt gives them back
fn names(identifiers: &[Identifier], profile: Profile) -> Result<Vec<String>, Problem> {
    if identifiers.is_empty() || identifiers.len() > profile.most_names {
        let most = profile.most_names;
        return Err(Problem::malformed(format!(
            "an order has 1 to {most} identifiers, this one {}",
            identifiers.len()
        )));
    }
    let names: Result<BTreeSet<String>, Problem> = identifiers.iter().map(name_of).collect();
    Ok(names?.into_iter().collect())
}

fn name_of(identifier: &Identifier) -> Result<String, Problem> {
    let text = identifier.value.to_ascii_lowercase();
    if identifier.kind != "dns" {
        let detail = format!("identifier type {:?} is not supported", identifier.kind);
        return Err(Problem::new(400, "unsupportedIdentifier", detail));
    }
    let rejected = |reason: String| {
        let detail = format!("Cannot issue for {text:?}: {reason}");
        Problem::new(400, "rejectedIdentifier", detail)
    };
    if !is_host_name(&text) {
        return Err(rejected("it is no name of a host (RFC 1123)".to_owned()));
    }
    let belongs_to_nobody = RESERVED
        .iter()
        .any(|domain| text == *domain || text.ends_with(&format!(".{domain}")));
    if !belongs_to_nobody {
        return Err(rejected(format!(
            "this is a sandbox; it issues for names that belong to nobody, below {}",
            RESERVED.join(", ")
        )));
    }
    Ok(text)
}

/// Labels of letters, digits and hyphens inside, as RFC 1123 section 2.1 has them
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// RFC 9773 section 5: a certificate of this account, for one of these names, not replaced yet
fn check_replaces(
    shared: &Shared,
    state: &State,
    replaces: &str,
    account: u64,
    names: &[String],
) -> Result<(), Problem> {
    let serial = certificate::serial_of_identifier(shared, replaces)?;
    let known = state
        .certificates
        .get(&serial)
        .ok_or_else(|| Problem::not_found("the certificate to be replaced was"))?;
    if known.account != account {
        return Err(Problem::unauthorized(
            "another account ordered the certificate to be replaced",
        ));
    }
    if !known.names.iter().any(|name| names.contains(name)) {
        return Err(Problem::malformed(
            "the certificate to be replaced has none of these names",
        ));
    }
    if state.is_replaced(replaces, shared.now()) {
        return Err(Problem::already_replaced(&serial));
    }
    Ok(())
}

/// An authorization for each name of an order: one that is still valid, or a new one
fn authorizations(shared: &Shared, state: &mut State, order: &Order, now: Timestamp) -> Vec<u64> {
    let mut ids = Vec::new();
    for name in &order.names {
        let reusable = match shared.options.reuse {
            Reuse::WhileValid => state.reusable(order, name, now),
            Reuse::Never => None,
        };
        ids.push(match reusable {
            Some(id) => id,
            None => {
                let id = state.next_id();
                let authorization = Authorization {
                    account: order.account,
                    name: name.clone(),
                    status: Status::Pending,
                    expires: now + order.profile.pending,
                    profile: order.profile,
                    challenge: Challenge {
                        token: random_text(),
                        status: Status::Pending,
                        validated: None,
                        error: None,
                    },
                };
                state.authorizations.insert(id, authorization);
                id
            }
        });
    }
    ids
}

/// When an order ends: with the first of its authorizations, or by itself
fn earliest(state: &State, order: &Order) -> Timestamp {
    let authorizations = order.authorizations.iter();
    authorizations
        .filter_map(|id| state.authorizations.get(id))
        .map(|authorization| authorization.expires)
        .fold(order.expires, Timestamp::min)
}

/// Shows an order
pub(super) async fn show(
    FromState(shared): FromState<Arc<Shared>>,
    Path(id): Path<u64>,
    signed: Signed,
) -> Result<Response, Problem> {
    signed.as_get()?;
    let (account, now) = (signed.account()?, shared.now());
    let mut state = lock(&shared.state);
    let order = state
        .orders
        .get_mut(&id)
        .filter(|order| order.account == account)
        .ok_or_else(|| Problem::not_found("order"))?;
    if let OrderStage::Processing(serial, left) = &mut order.stage {
        match left {
            Some(0) => order.stage = OrderStage::Valid(serial.clone()),
            Some(left) => *left -= 1,
            None => {}
        }
    }
    let body = shared.order_json(&state, id, now)?;
    Ok(shared.polled(body))
}

/// Shows an authorization, or deactivates it (RFC 8555 section 7.5.2)
pub(super) async fn authorization(
    FromState(shared): FromState<Arc<Shared>>,
    Path(id): Path<u64>,
    signed: Signed,
) -> Result<Response, Problem> {
    let now = shared.now();
    let mut state = lock(&shared.state);
    let authorization = own(&mut state, id, &signed)?;
    if !signed.payload.is_empty() {
        let wanted: Value = jws::payload(&signed.payload)?;
        if wanted["status"] != "deactivated" {
            return Err(Problem::malformed(
                "an authorization can only be deactivated",
            ));
        }
        let status = authorization.status(now);
        if !matches!(status, Status::Pending | Status::Valid) {
            let detail = format!("an authorization that is {status:?} cannot be deactivated");
            return Err(Problem::malformed(detail));
        }
        authorization.status = Status::Deactivated;
    }
    let challenge = authorization
        .challenge
        .to_json(&shared.url(&format!("challenge/{id}")));
    Ok(shared.polled(authorization.to_json(&challenge, now)))
}

/// Shows a challenge; with a payload the client says that it can be validated
pub(super) async fn challenge(
    FromState(shared): FromState<Arc<Shared>>,
    Path(id): Path<u64>,
    signed: Signed,
) -> Result<Response, Problem> {
    if !signed.payload.is_empty() {
        let _: Map<String, Value> = jws::payload(&signed.payload)?;
    }
    let mut state = lock(&shared.state);
    let authorization = own(&mut state, id, &signed)?;
    let is_pending = authorization.status(shared.now()) == Status::Pending
        && authorization.challenge.status == Status::Pending;
    if !signed.payload.is_empty() && is_pending {
        authorization.challenge.status = Status::Processing;
        tokio::spawn(validate(Arc::clone(&shared), id));
    }
    let challenge = authorization
        .challenge
        .to_json(&shared.url(&format!("challenge/{id}")));
    let mut response = shared.polled(challenge);
    let up = format!(
        "<{}>;rel=\"up\"",
        shared.url(&format!("authorization/{id}"))
    );
    if let Ok(up) = up.parse() {
        response.headers_mut().append(http::header::LINK, up);
    }
    Ok(response)
}

fn own<'s>(
    state: &'s mut State,
    id: u64,
    signed: &Signed,
) -> Result<&'s mut Authorization, Problem> {
    let account = signed.account()?;
    state
        .authorizations
        .get_mut(&id)
        .filter(|authorization| authorization.account == account)
        .ok_or_else(|| Problem::not_found("authorization"))
}

impl Shared {
    pub(super) fn order_json(
        &self,
        state: &State,
        id: u64,
        now: Timestamp,
    ) -> Result<Value, Problem> {
        let order = state
            .orders
            .get(&id)
            .ok_or_else(|| Problem::not_found("order"))?;
        let identifiers = order.names.iter().map(|name| Identifier::dns(name));
        let authorizations = order.authorizations.iter();
        let mut body = json!({
            "status": state.order_status(order, now),
            "expires": order.expires,
            "identifiers": identifiers.collect::<Vec<_>>(),
            "authorizations": authorizations
                .map(|id| self.url(&format!("authorization/{id}")))
                .collect::<Vec<_>>(),
            "finalize": self.url(&format!("order/{id}/finalize")),
            "profile": order.profile.name,
        });
        if let Some(replaces) = &order.replaces {
            body["replaces"] = json!(replaces);
        }
        match &order.stage {
            OrderStage::Valid(serial) => {
                body["certificate"] = json!(self.url(&format!("certificate/{serial}")));
            }
            OrderStage::Invalid(problem) => body["error"] = json!(problem),
            OrderStage::Open | OrderStage::Processing(..) => {}
        }
        Ok(body)
    }

    /// An answer that a client polls for
    pub(super) fn polled(&self, body: Value) -> Response {
        let mut response = Json(body).into_response();
        if let Some(pause) = self.options.poll_pause {
            response
                .headers_mut()
                .insert(RETRY_AFTER, pause.as_secs().into());
        }
        response
    }
}
