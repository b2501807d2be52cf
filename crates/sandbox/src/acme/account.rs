//! Accounts (RFC 8555 section 7.3).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::edge::{Signed, TERMS, created};
use super::jws::{self, Key, Signer, Unverified};
use super::problem::Problem;
use super::state::{Account, Status};
use super::{Accounts, Shared, lock};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NewAccount {
    contact: Vec<String>,
    terms_of_service_agreed: bool,
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

/// Registers an account, or finds the one that has the key
pub(super) async fn register(
    State(shared): State<Arc<Shared>>,
    signed: Signed,
) -> Result<Response, Problem> {
    let wanted: NewAccount = jws::payload(&signed.payload)?;
    let key = signed.key()?;
    let mut state = lock(&shared.state);
    if let Some((id, account)) = state.account_of(key) {
        if account.status == Status::Deactivated {
            return Err(Problem::unauthorized("the account is deactivated"));
        }
        return Ok(shared.show(StatusCode::OK, id, account));
    }
    if wanted.only_return_existing {
        return Err(Problem::new(
            400,
            "accountDoesNotExist",
            "no account exists with the provided key",
        ));
    }
    if !wanted.terms_of_service_agreed {
        let detail = format!("must agree to the terms of service: {TERMS}");
        return Err(Problem::new(403, "userActionRequired", detail).link(TERMS, "terms-of-service"));
    }
    check_contact(&wanted.contact)?;
    shared.check_binding(wanted.external_account_binding.as_ref(), &signed)?;
    let account = Account {
        key: key.clone(),
        contact: wanted.contact,
        status: Status::Valid,
        binding: wanted.external_account_binding,
    };
    let id = state.next_id();
    let response = shared.show(StatusCode::CREATED, id, &account);
    state.accounts.insert(id, account);
    Ok(response)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Update {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

/// Shows, changes or deactivates an account
pub(super) async fn update(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    signed: Signed,
) -> Result<Response, Problem> {
    if signed.account()? != id {
        return Err(Problem::unauthorized("the account belongs to another key"));
    }
    let update: Update = match signed.payload.as_slice() {
        [] => Update::default(),
        payload => jws::payload(payload)?,
    };
    let mut state = lock(&shared.state);
    let account = state
        .accounts
        .get_mut(&id)
        .ok_or_else(|| Problem::not_found("account"))?;
    if let Some(contact) = update.contact {
        check_contact(&contact)?;
        account.contact = contact;
    }
    match update.status.as_deref() {
        None | Some("valid") => {}
        Some("deactivated") => account.status = Status::Deactivated,
        Some(other) => {
            return Err(Problem::malformed(format!("no account can be {other:?}")));
        }
    }
    Ok(shared.show(StatusCode::OK, id, account))
}

/// Lists the orders of an account (RFC 8555 section 7.1.2.1)
pub(super) async fn orders(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    signed: Signed,
) -> Result<Json<Value>, Problem> {
    signed.as_get()?;
    if signed.account()? != id {
        return Err(Problem::unauthorized("the account belongs to another key"));
    }
    let (state, now) = (lock(&shared.state), shared.now());
    let orders = state.orders.iter().filter(|(_, order)| {
        order.account == id && state.order_status(order, now) != Status::Invalid
    });
    let urls: Vec<String> = orders
        .map(|(id, _)| shared.url(&format!("order/{id}")))
        .collect();
    Ok(Json(json!({ "orders": urls })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Value,
}

/// Gives an account another key (RFC 8555 section 7.3.5)
pub(super) async fn change_key(
    State(shared): State<Arc<Shared>>,
    signed: Signed,
) -> Result<Response, Problem> {
    let id = signed.account()?;
    let inner = Unverified::parse(&signed.payload)?;
    if inner.url() != Some(&signed.url) {
        return Err(Problem::malformed(
            "inner and outer JWS name different URLs",
        ));
    }
    let Signer::Key(new) = inner.signer()? else {
        return Err(Problem::malformed(
            "the inner JWS must be signed with \"jwk\"",
        ));
    };
    let change: KeyChange = jws::payload(&inner.verified_by(&new)?)?;
    if change.account != shared.url(&format!("account/{id}")) {
        return Err(Problem::malformed("the inner JWS names another account"));
    }
    let old = Key::from_value(&change.old_key)?;
    let mut state = lock(&shared.state);
    if let Some((holder, _)) = state.account_of(&new) {
        let url = shared.url(&format!("account/{holder}"));
        return Err(Problem::new(409, "malformed", "an account has the new key").located(url));
    }
    match state.accounts.get_mut(&id) {
        Some(account) if account.key == old => {
            account.key = new;
            Ok(shared.show(StatusCode::OK, id, account))
        }
        _ => Err(Problem::malformed("`oldKey` is not the account's key")),
    }
}

impl Shared {
    fn show(&self, status: StatusCode, id: u64, account: &Account) -> Response {
        let url = self.url(&format!("account/{id}"));
        let mut body = json!({
            "status": account.status,
            "contact": account.contact,
            "termsOfServiceAgreed": true,
            "orders": format!("{url}/orders"),
        });
        if let Some(binding) = &account.binding {
            body["externalAccountBinding"] = binding.clone();
        }
        match account.status {
            Status::Valid => created(status, &url, body),
            _ => (status, Json(body)).into_response(),
        }
    }

    /// Checks that an external account's owner agreed (RFC 8555 section 7.3.4)
    fn check_binding(&self, binding: Option<&Value>, signed: &Signed) -> Result<(), Problem> {
        let Accounts::Bound(known) = &self.options.accounts else {
            return Ok(());
        };
        let Some(binding) = binding else {
            let detail = "an external account binding is required";
            return Err(Problem::new(403, "externalAccountRequired", detail));
        };
        let jws = Unverified::parse(binding.to_string().as_bytes())?;
        if jws.nonce().is_some() {
            let detail = "an external account binding has no nonce of its own";
            return Err(Problem::malformed(detail));
        }
        if jws.url() != Some(&signed.url) {
            return Err(Problem::malformed(
                "the external account binding names another URL",
            ));
        }
        let Signer::Account(kid) = jws.signer()? else {
            return Err(Problem::malformed(
                "an external account binding needs \"kid\"",
            ));
        };
        let secret = known
            .get(&kid)
            .ok_or_else(|| Problem::unauthorized("the external account is not known"))?;
        let bound: Value = jws::payload(&jws.verified_by_secret(secret)?)?;
        if Key::from_value(&bound)? != *signed.key()? {
            return Err(Problem::malformed(
                "the external account binding is for another key",
            ));
        }
        Ok(())
    }
}

fn check_contact(contact: &[String]) -> Result<(), Problem> {
    for url in contact {
        let Some(address) = url.strip_prefix("mailto:") else {
            let detail = format!("contact {url:?} is no mailto URL");
            return Err(Problem::new(400, "unsupportedContact", detail));
        };
        let parts = address.split_once('@');
        if parts.is_none_or(|(user, domain)| user.is_empty() || !domain.contains('.')) {
            let detail = format!("contact {address:?} is no e-mail address");
            return Err(Problem::new(400, "invalidContact", detail));
        }
    }
    Ok(())
}
