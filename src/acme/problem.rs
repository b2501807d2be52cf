//! What a CA can answer instead of what was asked for, and what follows from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{LINK, RETRY_AFTER};
use http::{HeaderMap, Response};
use instant_acme::Identifier;
use thiserror::Error;

use crate::facts::{Problem, Subproblem};
use crate::finding::{Explain, one_line};
use crate::net::http::HttpError;
use crate::net::roots::TrustError;
use crate::store::account::AccountError;

/// Why a certificate could not be had
#[derive(Debug, Error)]
pub enum AcmeError {
    /// The CA did not answer
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It answered with something that is no ACME reply
    #[error("{url} answered {status}: {excerpt}")]
    Status {
        /// What was asked for
        url: String,
        /// HTTP status
        status: u16,
        /// Start of the body as text, without markup
        excerpt: String,
        /// How long it asks to wait
        retry_after: Option<RetryAfter>,
    },
    /// It refused with a problem document
    #[error("the CA refused {what}: {problem}")]
    Refused {
        /// What was asked for, as a noun
        what: &'static str,
        /// The document
        problem: Box<Problem>,
        /// What its headers add
        hints: Hints,
    },
    /// A name could not be validated
    #[error("the CA could not validate {name}: {problem}")]
    Validation {
        /// The name
        name: String,
        /// The document
        problem: Box<Problem>,
    },
    /// The CA offers no HTTP-01 challenge for a name
    #[error("the CA offers no http-01 challenge for {name}, only {offered}")]
    NoHttp01 {
        /// The name
        name: String,
        /// What it offers
        offered: String,
    },
    /// The CA took too long
    #[error("the CA did not get to {waiting_for} within {} s", after.as_secs())]
    Deadline {
        /// What was waited for, as a noun
        waiting_for: &'static str,
        /// The limit
        after: Duration,
    },
    /// The URL is no ACME directory
    #[error("{url} is not an ACME directory: {reason}")]
    Directory {
        /// As configured
        url: String,
        /// Why not
        reason: String,
    },
    /// The trust file of the issuer is of no use
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The terms of service were not agreed to
    #[error("no account yet, and the terms of service of the CA are not agreed to")]
    Terms {
        /// Where they can be read
        url: Option<String>,
    },
    /// The account could not be had, as another domain of the run found out
    #[error("{0}")]
    Registration(Arc<Self>),
    /// The CA's certificate is from a CA that is not trusted
    #[error("the certificate of {url} is from a CA that is not trusted here")]
    NotTrusted {
        /// Directory URL
        url: String,
        /// Issuer in the configuration
        issuer: String,
        /// Its trust file
        trust: Option<PathBuf>,
    },
    /// The CA wants an external account
    #[error("the CA registers accounts with external account binding only")]
    EabRequired {
        /// Issuer in the configuration
        issuer: String,
    },
    /// The external account's key is of no use
    #[error("the HMAC key {} cannot be used: {reason}", path.display())]
    EabKey {
        /// The file
        path: PathBuf,
        /// Why
        reason: String,
    },
    /// The CA does not offer the profile
    #[error("the CA has no profile `{wanted}`")]
    Profile {
        /// As configured
        wanted: String,
        /// What the directory lists
        offered: Vec<String>,
    },
    /// The stored account is of no use
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The key or the request for the certificate cannot be made
    #[error("cannot make a key and a CSR")]
    Csr(#[from] rcgen::Error),
    /// The CA broke the protocol
    #[error("the CA's answer to {what} makes no sense: {reason}")]
    Protocol {
        /// What was asked for, as a noun
        what: &'static str,
        /// What is wrong with it
        reason: String,
    },
}

/// What an error means for the next attempt
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing was spent: try again at any time
    Unspent,
    /// An attempt was spent at the CA: back off
    Spent,
    /// The CA named a time
    Later(RetryAfter),
}

impl AcmeError {
    /// What the error means for the next attempt
    pub fn consequence(&self) -> Consequence {
        match self {
            Self::Registration(error) => error.consequence(),
            Self::Status {
                retry_after: Some(after),
                status: 429 | 503,
                ..
            } => Consequence::Later(*after),
            Self::Refused { problem, hints, .. } if problem.kind == RATE_LIMITED => {
                Consequence::Later(hints.retry_after.unwrap_or(RetryAfter(UNNAMED_WAIT)))
            }
            Self::Refused { problem, .. } if problem.kind != SERVER_INTERNAL => Consequence::Spent,
            Self::Validation { .. } | Self::Protocol { .. } | Self::Deadline { .. } => {
                Consequence::Spent
            }
            _ => Consequence::Unspent,
        }
    }

    /// Whether the CA does not know the account
    pub(super) fn is_account_unknown(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.kind == ACCOUNT_UNKNOWN)
    }

    /// Whether the order is past the state in which it can be finalized
    pub(super) fn is_not_ready(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.kind == ORDER_NOT_READY)
    }

    /// Whether asking again soon may help: a broken connection, a 5xx
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Http(_) => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Refused { problem, .. } => problem.kind == SERVER_INTERNAL,
            _ => false,
        }
    }
}

impl Explain for AcmeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Registration(error) => error.code(),
            Self::NotTrusted { .. } => "acme.not_trusted",
            Self::Http(_) => "acme.unreachable",
            Self::Status { .. } => "acme.status",
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
        Some(match self {
            Self::Registration(error) => return error.cure(),
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
            Self::Http(HttpError::Untrusted { .. }) => {
                "the CA must mend its certificate, or `directory` names another host".to_owned()
            }
            Self::Http(HttpError::TooLarge { .. }) => {
                "set `directory` to the URL that the CA documents".to_owned()
            }
            Self::Http(_) => {
                "check the `directory` URL and that this host may connect to it".to_owned()
            }
            Self::Status { status, .. } if *status < 500 && *status != 429 => {
                "set `directory` to the URL that the CA documents".to_owned()
            }
            Self::Status { .. } | Self::Deadline { .. } => {
                "the CA is in trouble: run certd again later; nothing was changed".to_owned()
            }
            Self::Refused { problem, .. } if problem.kind == RATE_LIMITED => {
                "a limit of the CA is reached; revoking certificates frees nothing".to_owned()
            }
            Self::Refused { problem, hints, .. } => {
                let link = hints.link.as_deref();
                let link = match (problem.kind.as_str(), link) {
                    (SERVER_INTERNAL, _) => {
                        return Some("the CA is in trouble: run certd again later".to_owned());
                    }
                    (INVALID_CONTACT, _) => return Some("change `email`".to_owned()),
                    (_, link) => link?,
                };
                match problem.kind.as_str() {
                    USER_ACTION => format!("do what {link} asks for, then run certd again"),
                    _ => format!("the CA points to {link}"),
                }
            }
            Self::Validation { name, problem } => validation_cure(name, problem),
            Self::NoHttp01 { .. } => {
                "this CA or name needs another challenge, which is not supported yet".to_owned()
            }
            Self::Directory { .. } => "set `directory` to the URL that the CA documents".to_owned(),
            Self::Trust(_) => "set `trust` to a PEM file with the CA's root".to_owned(),
            Self::Terms { url } => match url {
                Some(url) => format!("read {url}, then set terms_of_service_agreed = true"),
                None => "set terms_of_service_agreed = true".to_owned(),
            },
            Self::EabRequired { issuer } => format!(
                "set eab_kid and eab_hmac_file in [issuers.{issuer}] to what the CA gave you"
            ),
            Self::EabKey { .. } => "the file holds the key in base64url, on one line".to_owned(),
            Self::Profile { offered, .. } if offered.is_empty() => {
                "remove `profile`: this CA has none".to_owned()
            }
            Self::Profile { offered, .. } => format!("it offers: {}", offered.join(", ")),
            Self::Account(AccountError::Unreadable { path, .. }) => format!(
                "put {} back from a backup, or move it away to register anew",
                path.display()
            ),
            Self::Account(_) | Self::Csr(_) | Self::Protocol { .. } => return None,
        })
    }
}

fn validation_cure(name: &str, problem: &Problem) -> String {
    match problem.kind.as_str() {
        "dns" => format!("does `{name}` have an A or AAAA record that points to this host?"),
        "connection" => format!(
            "is port 80 of {name} open to the internet, and does nginx listen on it? A stale AAAA record counts too"
        ),
        "caa" => format!("a CAA record of {name} forbids this CA"),
        _ => format!(
            "http://{name}/.well-known/acme-challenge/ must be served from `webroot`: check the location in nginx's server block for port 80"
        ),
    }
}

/// How long a CA asks to wait (RFC 9110 section 10.2.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// The header's value, whether it is a number of seconds or a date
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Self(Duration::from_secs(seconds)));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a date in a header is relative to the moment of its arrival"
        )]
        let wait = date.duration_since(SystemTime::now()).unwrap_or_default();
        Some(Self(wait))
    }
}

/// What the headers of an answer add to it
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// How long the CA asks to wait
    pub retry_after: Option<RetryAfter>,
    /// Where the CA sends people: terms of service, help (RFC 8288); never a protocol resource
    pub link: Option<String>,
}

impl Hints {
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let links = headers
            .get_all(LINK)
            .iter()
            .filter_map(|value| value.to_str().ok());
        Self {
            retry_after: RetryAfter::from_headers(headers),
            link: links
                .flat_map(|value| value.split(", "))
                .find_map(link_for_people),
        }
    }
}

/// The target of a link whose relation is meant for people
fn link_for_people(link: &str) -> Option<String> {
    let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let relation = parameters
        .split(';')
        .find_map(|parameter| parameter.trim().strip_prefix("rel="))?;
    let relation = relation.trim_matches('"');
    (!PROTOCOL_RELATIONS.contains(&relation)).then(|| one_line(url))
}

/// Whether a body is a problem document, whatever its content type says
pub(super) fn is_document(body: &[u8]) -> bool {
    serde_json::from_slice::<instant_acme::Problem>(body)
        .is_ok_and(|problem| problem.r#type.is_some())
}

/// The error that an answer with an unexpected status stands for, to be carried
pub(super) fn refusal(url: &str, response: &Response<Bytes>) -> instant_acme::Error {
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

/// The first words of a body, with tags removed and white space joined
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2048)]);
    // A page's title says what its heading says again.
    let text = match (text.find("<title>"), text.find("</title>")) {
        (Some(start), Some(end)) if start < end => format!("{}{}", &text[..start], &text[end..]),
        _ => text.into_owned(),
    };
    let mut inside_tag = false;
    let bare: String = text
        .chars()
        .map(|c| match c {
            '<' => {
                inside_tag = true;
                ' '
            }
            '>' => {
                inside_tag = false;
                ' '
            }
            _ if inside_tag || c.is_control() => ' ',
            c => c,
        })
        .collect();
    let words = bare.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None if words.is_empty() => "(no text)".to_owned(),
        None => words,
    }
}

/// The error that instant-acme's stands for
pub(super) fn explain(what: &'static str, error: instant_acme::Error, hints: Hints) -> AcmeError {
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
                reason: error.to_string(),
            },
        },
        other => AcmeError::Protocol {
            what,
            reason: one_line(&other.to_string()),
        },
    }
}

/// An error of certd's own, carried through instant-acme
pub(super) fn carried(error: impl Into<AcmeError>) -> instant_acme::Error {
    instant_acme::Error::Other(Box::new(error.into()))
}

/// Whether a connection broke, or a balancer answered in the CA's place
///
/// A request that ran into its timeout is not repeated: that has cost enough time.
pub(super) fn is_broken(error: &instant_acme::Error) -> bool {
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

/// Whether the CA refused a nonce (RFC 8555 section 6.5), in which case nothing was done
pub(super) fn is_bad_nonce(error: &instant_acme::Error) -> bool {
    matches!(error, instant_acme::Error::Api(problem)
        if problem.r#type.as_deref().is_some_and(|kind| kind == BAD_NONCE))
}

/// The problem document as plain data
pub(super) fn problem_of(problem: &instant_acme::Problem) -> Problem {
    Problem {
        kind: kind(problem.r#type.as_deref()),
        detail: one_line(problem.detail.as_deref().unwrap_or_default()),
        status: problem.status,
        subproblems: problem
            .subproblems
            .iter()
            .map(|subproblem| Subproblem {
                name: subproblem.identifier.as_ref().and_then(dns_name),
                kind: kind(subproblem.r#type.as_deref()),
                detail: one_line(subproblem.detail.as_deref().unwrap_or_default()),
            })
            .collect(),
    }
}

fn kind(urn: Option<&str>) -> String {
    let urn = urn.unwrap_or("about:blank");
    one_line(urn.strip_prefix(ERROR_URN).unwrap_or(urn))
}

fn dns_name(identifier: &Identifier) -> Option<String> {
    match identifier {
        Identifier::Dns(name) => Some(one_line(name)),
        _ => None,
    }
}

/// Relations of RFC 8555 that lead to resources, not to pages
const PROTOCOL_RELATIONS: [&str; 4] = ["index", "up", "next", "alternate"];
const ERROR_URN: &str = "urn:ietf:params:acme:error:";
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";
const RATE_LIMITED: &str = "rateLimited";
const SERVER_INTERNAL: &str = "serverInternal";
const INVALID_CONTACT: &str = "invalidContact";
const USER_ACTION: &str = "userActionRequired";
const ORDER_NOT_READY: &str = "orderNotReady";
const ACCOUNT_UNKNOWN: &str = "accountDoesNotExist";
/// Characters of a foreign reply that are shown
const EXCERPT: usize = 160;
/// Wait after a rate limit that names no time
const UNNAMED_WAIT: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balancer_page_is_shown_without_markup() {
        let html = b"<html><head><title>503 Service Unavailable</title></head>\n\
            <body><h1>Service   Unavailable</h1></body>";
        assert_eq!(excerpt(html), "Service Unavailable");
        assert_eq!(excerpt(b""), "(no text)");
        assert_eq!(excerpt("x".repeat(500).as_bytes()).len(), EXCERPT + 3);
    }

    #[test]
    fn a_link_for_people_is_kept_and_resources_are_not() {
        let mut headers = HeaderMap::new();
        headers.append(LINK, "<https://ca.test/dir>;rel=\"index\"".parse().unwrap());
        assert_eq!(Hints::from_headers(&headers).link, None);
        let both = "<https://ca.test/order/1>;rel=\"up\", <https://ca.test/terms>; rel=\"terms-of-service\"";
        headers.append(LINK, both.parse().unwrap());
        let link = Hints::from_headers(&headers).link;
        assert_eq!(link.as_deref(), Some("https://ca.test/terms"));
        headers.clear();
        headers.append(LINK, "nonsense".parse().unwrap());
        assert_eq!(Hints::from_headers(&headers).link, None);
    }

    #[test]
    fn retry_after_is_read_as_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(RetryAfter::from_headers(&headers), None);
        headers.insert(RETRY_AFTER, "120".parse().unwrap());
        assert_eq!(
            RetryAfter::from_headers(&headers),
            Some(RetryAfter(Duration::from_secs(120)))
        );
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(RetryAfter::from_headers(&headers), None);
        headers.insert(
            RETRY_AFTER,
            "Fri, 31 Dec 1999 23:59:59 GMT".parse().unwrap(),
        );
        assert_eq!(
            RetryAfter::from_headers(&headers),
            Some(RetryAfter(Duration::ZERO))
        );
    }
}
