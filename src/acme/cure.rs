//! What an operator can do about an error of a CA, under a stable code.

use super::problem::{
    AcmeError, CAA, COMPOUND, INVALID_CONTACT, NONCE_REFUSED, RATE_LIMITED, SERVER_INTERNAL,
    USER_ACTION, unpause_link,
};
use super::reply::Hints;
use crate::facts::Problem;
use crate::finding::Explain;
use crate::net::http::HttpError;
use crate::store::account::AccountError;

impl Explain for AcmeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Registration(error) => error.code(),
            Self::NotTrusted { .. } => "acme.not_trusted",
            Self::Http(_) => "acme.unreachable",
            Self::Status { .. } => "acme.status",
            Self::Refused { problem, hints, .. } if unpause_link(problem, hints).is_some() => {
                "acme.paused"
            }
            Self::Refused { problem, .. } if problem.kind == RATE_LIMITED => "acme.rate_limited",
            Self::Refused { .. } => "acme.refused",
            Self::Validation { .. } => "acme.validation",
            Self::NoHttp01 { .. } => "acme.no_http01",
            Self::Deadline { .. } => "acme.deadline",
            Self::Directory { .. } => "acme.directory",
            Self::Trust(_) => "acme.trust",
            Self::Terms { .. } => "acme.terms",
            Self::EabRequired { .. } | Self::EabKey { .. } => "acme.eab",
            Self::Profile { .. } => "acme.profile",
            Self::Account(_) => "acme.account",
            Self::Csr(_) => "acme.csr",
            Self::Protocol { .. } => "acme.protocol",
        }
    }

    fn cure(&self) -> Option<String> {
        match self {
            Self::Registration(error) => error.cure(),
            Self::Http(error) => Some(http_cure(error)),
            Self::Status { status, .. } => Some(status_cure(*status)),
            Self::Refused { problem, hints, .. } => refusal_cure(problem, hints),
            Self::Validation { name, problem } => Some(validation_cure(name, problem)),
            Self::Deadline { .. } => Some(TROUBLE.to_owned()),
            Self::Directory { .. } => Some(DOCUMENTED.to_owned()),
            Self::NoHttp01 { .. } => Some(
                "this CA or name needs another challenge, which is not supported yet".to_owned(),
            ),
            Self::Account(AccountError::Unreadable { path, .. }) => Some(format!(
                "put {} back from a backup, or move it away to register anew",
                path.display()
            )),
            Self::Account(_) | Self::Csr(_) | Self::Protocol { .. } => None,
            Self::NotTrusted { .. }
            | Self::Trust(_)
            | Self::Terms { .. }
            | Self::EabRequired { .. }
            | Self::EabKey { .. }
            | Self::Profile { .. } => self.configuration_cure(),
        }
    }
}

impl AcmeError {
    /// What to write in domains.toml
    fn configuration_cure(&self) -> Option<String> {
        Some(match self {
            Self::NotTrusted {
                issuer,
                trust: Some(file),
                ..
            } => format!(
                "`trust` in [issuers.{issuer}] must name the root of this CA: {} does not hold it, or it has expired",
                file.display()
            ),
            Self::NotTrusted { issuer, .. } => {
                format!("a private or test CA needs its root: set `trust` in [issuers.{issuer}]")
            }
            Self::Trust(_) => "set `trust` to a PEM file with the CA's root".to_owned(),
            Self::Terms { url: Some(url) } => {
                format!("read {url}, then set terms_of_service_agreed = true")
            }
            Self::Terms { url: None } => "set terms_of_service_agreed = true".to_owned(),
            Self::EabRequired { issuer } => format!(
                "set eab_kid and eab_hmac_file in [issuers.{issuer}] to what the CA gave you"
            ),
            Self::EabKey { .. } => "the file holds the key in base64url, on one line".to_owned(),
            Self::Profile { offered, .. } if offered.is_empty() => {
                "remove `profile`: this CA has none".to_owned()
            }
            Self::Profile { offered, .. } => format!("it offers: {}", offered.join(", ")),
            _ => return None,
        })
    }
}

fn http_cure(error: &HttpError) -> String {
    let cure = match error {
        HttpError::Untrusted { .. } => {
            "the CA must mend its certificate, or `directory` names another host"
        }
        HttpError::TooLarge { .. } => {
            "something else than the CA answers there: a proxy, or `directory` names another server"
        }
        HttpError::Truncated { .. } | HttpError::TimedOut { .. } => {
            "the CA, or something on the way to it, is in trouble: run certd again later"
        }
        _ => "check that this host may connect there, and the `directory` URL",
    };
    cure.to_owned()
}

fn status_cure(status: u16) -> String {
    match status {
        429 | 500.. => TROUBLE.to_owned(),
        _ => DOCUMENTED.to_owned(),
    }
}

fn refusal_cure(problem: &Problem, hints: &Hints) -> Option<String> {
    if let Some(link) = unpause_link(problem, hints) {
        return Some(format!(
            "waiting does not help: mend what made the orders fail, open this page, then run certd with --force\n{link}"
        ));
    }
    Some(match (problem.kind.as_str(), hints.link.as_deref()) {
        (RATE_LIMITED, _) => {
            "a limit of the CA is reached; revoking certificates frees nothing".to_owned()
        }
        (SERVER_INTERNAL | NONCE_REFUSED, _) => TROUBLE.to_owned(),
        (CAA, _) => caa_cure("the name"),
        (INVALID_CONTACT, _) => "change `email`".to_owned(),
        (UNAUTHORIZED, _) => "the CA no longer accepts the account: move its file in `state`/accounts away, and a new one is registered".to_owned(),
        (REJECTED, _) => "the CA does not issue for such a name: is it spelt right, and public? Another `issuer` may".to_owned(),
        (BAD_CSR, _) => "the CA wants another key: set `key_type`".to_owned(),
        (ALREADY_REPLACED, _) => {
            "an earlier order replaces the certificate already: run certd again".to_owned()
        }
        (USER_ACTION, Some(link)) => format!("do what {link} asks for, then run certd again"),
        (_, Some(link)) => format!("the CA points to {link}"),
        (_, None) => return None,
    })
}

fn validation_cure(name: &str, problem: &Problem) -> String {
    // What went wrong with each name stands below such a problem (RFC 8555 section 6.7.1).
    let (name, kind) = match problem.subproblems.first() {
        Some(first) if problem.kind == COMPOUND => {
            (first.name.as_deref().unwrap_or(name), &first.kind)
        }
        _ => (name, &problem.kind),
    };
    match kind.as_str() {
        "dns" => format!(
            "do the name servers of `{name}` answer, and with an A or AAAA record that points to this host?"
        ),
        "connection" | "tls" if problem.detail.contains("edirect") || kind == "tls" => format!(
            "the CA was redirected and got lost: in the server block for port 80 let /.well-known/acme-challenge/ of {name} be served from `webroot` before any redirect"
        ),
        "connection" => format!(
            "is port 80 of {name} open to the internet, and does nginx listen on it? A stale AAAA record counts too"
        ),
        CAA => caa_cure(name),
        _ => format!(
            "http://{name}/.well-known/acme-challenge/ must be served from `webroot`: check the location in nginx's server block for port 80"
        ),
    }
}

fn caa_cure(name: &str) -> String {
    format!("the CAA records of {name} must allow this CA, for this account and for http-01")
}

const TROUBLE: &str = "the CA is in trouble: run certd again later; what is served is untouched";
const UNAUTHORIZED: &str = "unauthorized";
const REJECTED: &str = "rejectedIdentifier";
const BAD_CSR: &str = "badCSR";
const ALREADY_REPLACED: &str = "alreadyReplaced";
const DOCUMENTED: &str = "set `directory` to the URL that the CA documents";
