//! Validation by http-01 (RFC 8555 section 8.3), then CAA, in the order of Let's Encrypt.

use std::sync::Arc;

use tokio::time::sleep;

use super::problem::Problem;
use super::state::Status;
use super::{Mishap, Shared, Step, lock};

/// What is to be validated
struct Task {
    name: String,
    token: String,
    key_authorization: String,
    account_url: String,
}

/// Looks whether the token of an authorization is served, and remembers what came of it
pub(super) async fn validate(shared: Arc<Shared>, id: u64) {
    sleep(shared.options.validation_pause).await;
    let Some(task) = task(&shared, id) else {
        return;
    };
    let outcome = match shared.mishaps.take(&Step::Validation) {
        Some(Mishap::Validation(problem)) => Err(problem),
        _ => examine(&shared, &task).await,
    };
    let now = shared.now();
    let mut state = lock(&shared.state);
    state.validations += 1;
    let Some(authorization) = state.authorizations.get_mut(&id) else {
        return;
    };
    let status = match outcome {
        Ok(()) => {
            authorization.challenge.validated = Some(now);
            authorization.expires = now + authorization.profile.reuse;
            Status::Valid
        }
        Err(problem) => {
            authorization.challenge.error = Some(problem);
            Status::Invalid
        }
    };
    authorization.challenge.status = status;
    // A client that has deactivated it meanwhile keeps its will.
    if authorization.status == Status::Pending {
        authorization.status = status;
    }
}

fn task(shared: &Shared, id: u64) -> Option<Task> {
    let state = lock(&shared.state);
    let authorization = state.authorizations.get(&id)?;
    let account = state.accounts.get(&authorization.account)?;
    let token = authorization.challenge.token.clone();
    Some(Task {
        name: authorization.name.clone(),
        key_authorization: format!("{token}.{}", account.key.thumbprint()),
        token,
        account_url: shared.url(&format!("account/{}", authorization.account)),
    })
}

async fn examine(shared: &Shared, task: &Task) -> Result<(), Problem> {
    let path = format!("/.well-known/acme-challenge/{}", task.token);
    let fetched = shared.fetcher.fetch(&task.name, &path).await?;
    if fetched.body.trim_ascii_end() == task.key_authorization.as_bytes() {
        let fetcher = &shared.fetcher;
        return fetcher.check_caa(&task.name, &task.account_url).await;
    }
    let found = String::from_utf8_lossy(&fetched.body).into_owned();
    Err(Problem::unauthorized(format!(
        "The key authorization file from the server did not match this challenge. Expected {:?} (got {found:?})",
        task.key_authorization
    )))
}
