//! The authorizations of an order (RFC 8555 section 7.1.4): what each asks for, and why it failed.

use instant_acme::{AuthorizationStatus, Challenge, ChallengeStatus, ChallengeType, Order};

use super::problem::{self, problem_of};
use super::reply::words_of_ca;
use crate::facts::Problem;

/// What must be served for one name before the order can go on
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name to be validated
    pub name: String,
    /// Last part of the URL path (RFC 8555 section 8.3); not yet checked
    pub token: String,
    /// Body to serve there
    pub key_authorization: String,
    /// Position of its authorization in the order
    pub(super) position: usize,
}

/// What an authorization asks for
pub(super) enum Found {
    Valid,
    Challenge(Answer),
    Missing { name: String, offered: String },
}

impl Found {
    /// The same where the authorization is at that position of its order
    pub(super) fn at(mut self, position: usize) -> Self {
        if let Self::Challenge(answer) = &mut self {
            answer.position = position;
        }
        self
    }
}

/// Reads the authorization at a position; those before it are known and cost no request
pub(super) async fn answer_at(
    order: &mut Order,
    position: usize,
) -> Result<Found, instant_acme::Error> {
    let mut authorizations = order.authorizations();
    for _ in 0..position {
        if let Some(known) = authorizations.next().await {
            known?;
        }
    }
    let mut authorization = match authorizations.next().await {
        Some(authorization) => authorization?,
        None => return Ok(Found::Valid),
    };
    if authorization.status == AuthorizationStatus::Valid {
        return Ok(Found::Valid);
    }
    let name = authorization.identifier().to_string();
    let offered: Vec<String> = authorization
        .challenges
        .iter()
        .map(|challenge| kind_of(&challenge.r#type))
        .collect();
    Ok(match authorization.challenge(ChallengeType::Http01) {
        Some(challenge) => Found::Challenge(Answer {
            name,
            token: challenge.token.clone(),
            key_authorization: challenge.key_authorization().as_str().to_owned(),
            position,
        }),
        None => Found::Missing {
            name,
            offered: offered.join(", "),
        },
    })
}

/// The word of RFC 8555 section 9.7.8 for a kind of challenge
fn kind_of(kind: &ChallengeType) -> String {
    match kind {
        ChallengeType::Http01 => "http-01".to_owned(),
        ChallengeType::Dns01 => "dns-01".to_owned(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        ChallengeType::Unknown(name) => words_of_ca(name),
        other => format!("{other:?}"),
    }
}

/// Tells the CA that the challenge at a position can be validated, if it is pending
pub(super) async fn set_ready(
    order: &mut Order,
    position: usize,
) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    let mut index = 0;
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if index == position && authorization.status == AuthorizationStatus::Pending {
            return match authorization.challenge(ChallengeType::Http01) {
                Some(mut challenge) => challenge.set_ready().await,
                None => Ok(()),
            };
        }
        index += 1;
    }
    Ok(())
}

/// The name of the authorization at a position, and why it is invalid
pub(super) async fn challenge_problem(
    order: &mut Order,
    position: usize,
) -> Result<Option<(String, Problem)>, instant_acme::Error> {
    let mut authorizations = order.authorizations();
    let mut index = 0;
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if index == position {
            let name = authorization.identifier().to_string();
            let state = authorization.refresh().await?;
            return Ok(why_invalid(&state.challenges).map(|problem| (name, problem_of(problem))));
        }
        index += 1;
    }
    Ok(None)
}

/// The problem of the challenge that failed
///
/// An empty one counts only where the challenge is invalid: ZeroSSL adds one to each.
fn why_invalid(challenges: &[Challenge]) -> Option<&instant_acme::Problem> {
    let told = |challenge: &&Challenge| {
        let error = challenge.error.as_ref();
        error.is_some_and(|error| !problem::is_empty(error))
    };
    let failed = |challenge: &&Challenge| challenge.status == ChallengeStatus::Invalid;
    let challenge = challenges.iter().find(told);
    let challenge = challenge.or_else(|| challenges.iter().find(failed));
    challenge?.error.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_error_blames_only_a_challenge_that_failed() {
        #[track_caller]
        fn check(challenges: &str, expected: Option<&str>) {
            let challenges: Vec<Challenge> = serde_json::from_str(challenges).unwrap();
            let found = why_invalid(&challenges).map(problem_of);
            let found = found.map(|problem| problem.to_string());
            assert_eq!(found.as_deref(), expected);
        }
        let challenge = |status: &str, error: &str| {
            format!(r#"{{"type": "http-01", "url": "", "status": "{status}", "error": {error}}}"#)
        };
        let told = r#"{"type": "urn:ietf:params:acme:error:dns", "detail": "no A"}"#;
        let valid = challenge("valid", "{}");
        let pending = challenge("pending", "{}");
        let invalid = challenge("invalid", "{}");
        let failed = challenge("invalid", told);
        check(&format!("[{valid}, {pending}]"), None);
        check(
            &format!("[{pending}, {invalid}]"),
            Some("the CA gave no reason"),
        );
        check(&format!("[{invalid}, {failed}]"), Some("dns: no A"));
    }
}
