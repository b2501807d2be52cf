//! Errors and problem documents as instant-acme has them, and what they stand for.

use bytes::Bytes;
use http::Response;
use instant_acme::Identifier;

use super::AcmeError;
use crate::acme::reply::{Hints, RetryAfter, excerpt, words_of_ca};
use crate::facts::{Problem, Subproblem};
use crate::net::http::HttpError;

/// The error that instant-acme's stands for
pub(crate) fn explain(what: &'static str, error: instant_acme::Error, hints: Hints) -> AcmeError {
    match error {
        instant_acme::Error::Api(problem) => AcmeError::Refused {
            what,
            problem: Box::new(problem_of(&problem)),
            hints,
        },
        instant_acme::Error::Other(error) => match error.downcast::<AcmeError>() {
            Ok(error) => *error,
            Err(error) => AcmeError::Protocol {
                what,
                reason: words_of_ca(&error.to_string()),
            },
        },
        other => AcmeError::Protocol {
            what,
            reason: words_of_ca(&other.to_string()),
        },
    }
}

/// An error of certd's own, carried through instant-acme
pub(in crate::acme) fn carried(error: impl Into<AcmeError>) -> instant_acme::Error {
    instant_acme::Error::Other(Box::new(error.into()))
}

/// The error that an answer with an unexpected status stands for, to be carried
pub(crate) fn refusal(url: &str, response: &Response<Bytes>) -> instant_acme::Error {
    match serde_json::from_slice::<instant_acme::Problem>(response.body()) {
        Ok(problem) if problem.r#type.is_some() => instant_acme::Error::Api(problem),
        _ => carried(AcmeError::Status {
            url: url.to_owned(),
            status: response.status().as_u16(),
            excerpt: excerpt(response.body()),
            retry_after: RetryAfter::from_headers(response.headers()),
        }),
    }
}

/// Whether a connection broke, or a balancer answered in the CA's place
///
/// A request that ran into its timeout is not repeated: that has cost enough time.
pub(in crate::acme) fn is_broken(error: &instant_acme::Error) -> bool {
    let instant_acme::Error::Other(carried) = error else {
        return false;
    };
    matches!(
        carried.downcast_ref(),
        Some(
            AcmeError::Http(HttpError::Unreachable { .. } | HttpError::Truncated { .. })
                | AcmeError::Status {
                    status: 500..,
                    retry_after: None,
                    ..
                }
        )
    )
}

/// Whether a request ran into its timeout
pub(in crate::acme) fn is_timed_out(error: &instant_acme::Error) -> bool {
    let instant_acme::Error::Other(carried) = error else {
        return false;
    };
    let error = carried.downcast_ref();
    matches!(error, Some(AcmeError::Http(HttpError::TimedOut { .. })))
}

/// Whether the CA refused a nonce (RFC 8555 section 6.5), in which case nothing was done
pub(in crate::acme) fn is_bad_nonce(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Api(problem)
        if problem.r#type.as_deref().is_some_and(|kind| kind == BAD_NONCE))
}

/// The problem document as plain data
pub(in crate::acme) fn problem_of(problem: &instant_acme::Problem) -> Problem {
    let detail = match is_empty(problem) {
        true => "the CA gave no reason".to_owned(),
        false => words_of_ca(problem.detail.as_deref().unwrap_or_default()),
    };
    Problem {
        kind: kind(problem.r#type.as_deref()),
        detail,
        status: problem.status,
        subproblems: problem
            .subproblems
            .iter()
            .map(|subproblem| Subproblem {
                name: subproblem.identifier.as_ref().and_then(dns_name),
                kind: kind(subproblem.r#type.as_deref()),
                detail: words_of_ca(subproblem.detail.as_deref().unwrap_or_default()),
            })
            .collect(),
    }
}

/// Whether a document says nothing: some CAs have an empty one where RFC 8555 wants none
pub(in crate::acme) fn is_empty(problem: &instant_acme::Problem) -> bool {
    let says_nothing = |words: Option<&String>| words.is_none_or(|words| words.trim().is_empty());
    says_nothing(problem.r#type.as_ref())
        && says_nothing(problem.detail.as_ref())
        && problem.subproblems.is_empty()
}

fn kind(urn: Option<&str>) -> String {
    let urn = urn.unwrap_or(Problem::BLANK);
    words_of_ca(urn.strip_prefix(ERROR_URN).unwrap_or(urn))
}

fn dns_name(identifier: &Identifier) -> Option<String> {
    match identifier {
        Identifier::Dns(name) => Some(words_of_ca(name)),
        _ => None,
    }
}

/// Whether instant-acme makes no sense of an answer that was no refusal
pub(in crate::acme) fn is_misread(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Other(error) if !error.is::<AcmeError>())
}

const ERROR_URN: &str = "urn:ietf:params:acme:error:";
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::problem::Invalid;

    #[test]
    fn a_problem_of_any_size_is_told_in_two_kilobytes() {
        let part = || instant_acme::Subproblem {
            r#type: Some(format!("{ERROR_URN}dns")),
            detail: Some("y".repeat(300)),
            identifier: Some(Identifier::Dns("shop.test".to_owned())),
        };
        let document = instant_acme::Problem {
            r#type: Some(format!("{ERROR_URN}malformed")),
            detail: Some("x".repeat(1_000)),
            status: None,
            subproblems: (0..200).map(|_| part()).collect(),
        };
        let told = problem_of(&document);
        let shown = told.to_string();
        assert!(shown.len() <= 2_100, "{} bytes", shown.len());
        assert!(shown.ends_with("; and 197 more"), "{shown}");
        let long = instant_acme::Problem {
            detail: Some("x".repeat(1_000_000)),
            subproblems: Vec::new(),
            ..document
        };
        assert!(problem_of(&long).detail.len() <= 2_048);
        let invalid = vec![
            Invalid {
                name: "shop.test".to_owned(),
                problem: told,
            };
            100
        ];
        assert!(AcmeError::Validation(invalid).to_string().len() <= 2_100);
    }
}
