//! What a CA can answer instead of what was asked for, and what follows from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::reply::{self, Hints, RetryAfter};
use crate::facts::{Problem, Subproblem};
use crate::net::http::HttpError;
use crate::net::roots::TrustError;
use crate::store::account::AccountError;

mod foreign;

pub(super) use foreign::{
    carried, is_bad_nonce, is_broken, is_empty, is_misread, is_timed_out, problem_of,
};
pub(crate) use foreign::{explain, refusal};

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
    /// Names could not be validated: those that the CA gave a reason for, at least one
    #[error("the CA could not validate {}", in_words(.0))]
    Validation(Vec<Invalid>),
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
    /// The CA answers, and is not done with the order
    #[error("the CA is still {doing} after {} s", after.as_secs())]
    AtWork {
        /// What it is doing
        doing: &'static str,
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
    /// The order has more authorizations than names: nobody knows how many more there would be
    #[error("the order has more authorizations than names: {found} for {names}")]
    Crowded {
        /// How many names were ordered
        names: usize,
        /// How many authorizations it has
        found: usize,
    },
    /// The CA broke the protocol
    #[error("the CA's answer to {what} makes no sense: {reason}")]
    Protocol {
        /// What was asked for, as a noun
        what: &'static str,
        /// What is wrong with it
        reason: String,
    },
}

/// A name that the CA could not validate
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The name
    pub name: String,
    /// Why
    pub problem: Problem,
}

fn in_words(invalid: &[Invalid]) -> String {
    let each = invalid.iter();
    let each = each.map(|Invalid { name, problem }| format!("{name}: {problem}"));
    reply::cut(each.collect::<Vec<_>>().join("; nor "))
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
    /// The CA will refuse the same again until a person has acted
    Stop,
}

impl AcmeError {
    /// What the error means for the next attempt
    pub fn consequence(&self, now: Timestamp) -> Consequence {
        match self {
            Self::Registration(error) => error.consequence(now),
            Self::Status {
                retry_after: Some(after),
                status: 429 | 503,
                ..
            } => Consequence::Later(*after),
            Self::Refused { problem, hints, .. } if unpause_link(problem, hints).is_some() => {
                Consequence::Stop
            }
            Self::Refused { problem, hints, .. } if problem.kind == RATE_LIMITED => {
                let said = || reply::retry_after_in(&problem.detail, now);
                let wait = hints.retry_after.or_else(said);
                Consequence::Later(wait.unwrap_or(RetryAfter(UNNAMED_WAIT)))
            }
            Self::Refused { problem, .. } => match problem.kind.as_str() {
                SERVER_INTERNAL | NONCE_REFUSED => Consequence::Unspent,
                REJECTED | UNSUPPORTED | INVALID_PROFILE | USER_ACTION | EAB_REQUIRED
                | INVALID_CONTACT | UNSUPPORTED_CONTACT | BAD_CSR | BAD_PUBLIC_KEY => {
                    Consequence::Stop
                }
                UNAUTHORIZED if self.is_of_account() => Consequence::Stop,
                _ => Consequence::Spent,
            },
            Self::Validation(_)
            | Self::Crowded { .. }
            | Self::Protocol { .. }
            | Self::Deadline { .. }
            | Self::AtWork { .. } => Consequence::Spent,
            _ => Consequence::Unspent,
        }
    }

    /// The names that the CA tried to validate in vain
    pub fn invalid_names(&self) -> impl Iterator<Item = &str> {
        let invalid = match self {
            Self::Validation(invalid) => invalid.as_slice(),
            _ => &[],
        };
        invalid.iter().map(|invalid| invalid.name.as_str())
    }

    /// Whether the CA refused for what it saw of this name, so that this host may see it too
    pub fn concerns(&self, name: &str) -> bool {
        let in_document = |problem: &Problem| {
            let mut names = problem
                .subproblems
                .iter()
                .filter(|subproblem| subproblem.name.is_some());
            let is_this = |subproblem: &Subproblem| subproblem.name.as_deref() == Some(name);
            match names.clone().next() {
                // A document that names no one is about the whole order.
                None => true,
                Some(_) => names.any(is_this),
            }
        };
        match self {
            Self::Refused { .. } if self.is_of_account() => false,
            Self::Refused { problem, .. } => is_of_validation(problem) && in_document(problem),
            Self::Validation(invalid) => invalid.iter().any(|invalid| {
                invalid.name == name
                    || !invalid.problem.subproblems.is_empty() && in_document(&invalid.problem)
            }),
            _ => false,
        }
    }

    /// What the CA refused this name for, such as `caa`; `None` where it says nothing of it
    pub fn kind_for(&self, name: &str) -> Option<&str> {
        let documents: Vec<(&str, &Problem)> = match self {
            Self::Refused { problem, .. } => vec![(name, problem)],
            Self::Validation(invalid) => {
                let all = invalid.iter();
                all.map(|invalid| (invalid.name.as_str(), &invalid.problem))
                    .collect()
            }
            _ => Vec::new(),
        };
        let parts = documents
            .iter()
            .flat_map(|(_, problem)| &problem.subproblems);
        let part = parts
            .clone()
            .find(|part| part.name.as_deref() == Some(name));
        let whole = documents.iter().find(|(of, _)| *of == name);
        let (kind, detail) = part
            .map(|part| (part.kind.as_str(), &part.detail))
            .or_else(|| whole.map(|(_, problem)| (problem.kind.as_str(), &problem.detail)))?;
        Some(match caa_lookup(kind, detail) {
            Some(_) => CAA,
            None => kind,
        })
    }

    /// Whether the account itself may not order: a new order is refused, and for no name
    pub(super) fn is_of_account(&self) -> bool {
        matches!(self, Self::Refused { what, problem, .. }
            if *what == ORDER && problem.kind == UNAUTHORIZED && problem.subproblems.is_empty())
    }

    /// Whether the key of an external account may be why an account is refused
    pub(super) fn may_be_of_binding(&self) -> bool {
        matches!(self, Self::Refused { what, problem, .. }
            if *what == ACCOUNT && OF_BINDING.contains(&problem.kind.as_str()))
    }

    /// Whether the CA does not know the account
    pub(super) fn is_account_unknown(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.kind == ACCOUNT_UNKNOWN)
    }

    /// Whether what is to be replaced may be why an order is refused (RFC 9773 section 5): another
    /// order does it already, or the CA does not know the certificate
    ///
    /// CAs have more words for that than the RFC: only what is surely for another reason is not.
    pub(super) fn may_be_of_replacement(&self) -> bool {
        match self {
            Self::Refused { problem, .. } => {
                !OF_NO_REPLACEMENT.contains(&problem.kind.as_str())
                    && (problem.kind == UNAUTHORIZED || !is_of_validation(problem))
            }
            Self::Status { status, .. } => (400..500).contains(status) && *status != 429,
            _ => false,
        }
    }

    /// Whether the order is past the state in which it can be finalized
    pub(super) fn is_not_ready(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.kind == ORDER_NOT_READY)
    }

    /// Whether the CA asks to wait for longer than this
    pub(super) fn asks_for_more_than(&self, time: Duration) -> bool {
        let asked = match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Refused { hints, .. } => hints.retry_after,
            _ => None,
        };
        asked.is_some_and(|RetryAfter(wait)| wait > time)
    }

    /// Whether an order that met this is over: another try of the same would meet it again
    ///
    /// Not where the CA is down, busy or slow: then it may have issued already.
    pub fn ends_order(&self) -> bool {
        match self {
            Self::Validation(_) | Self::NoHttp01 { .. } | Self::Crowded { .. } => true,
            Self::Refused { problem, .. } => {
                ![RATE_LIMITED, SERVER_INTERNAL, NONCE_REFUSED].contains(&problem.kind.as_str())
            }
            _ => false,
        }
    }

    /// Whether nothing is there, in whatever words
    pub(super) fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 404 | 410,
                ..
            }
        )
    }

    /// Whether the CA gave no answer, so that it will hardly give one to the next who asks
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Registration(error) => error.is_silence(),
            Self::Http(error) => matches!(
                error,
                HttpError::TimedOut { .. }
                    | HttpError::Unreachable { .. }
                    | HttpError::Proxy { .. }
            ),
            Self::Deadline { .. } => true,
            _ => false,
        }
    }

    /// Whether the CA's certificate is out of time by this host's clock, and nothing else is wrong
    pub fn is_of_clock(&self) -> bool {
        matches!(self, Self::Http(HttpError::OutOfTime { .. }))
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

/// Whether a problem says that the CA looked and did not find what it should (RFC 8555 section 6.7)
pub(super) fn is_of_validation(problem: &Problem) -> bool {
    let of_validation = |kind: &str| VALIDATION.contains(&kind);
    let mut subproblems = problem.subproblems.iter();
    of_validation(&problem.kind)
        || problem.kind == COMPOUND && subproblems.any(|part| of_validation(&part.kind))
}

/// The page on which a person ends the pause of an account; `None` where none was paused
///
/// Let's Encrypt pauses an account that keeps failing for a name. Its refusal looks like a rate
/// limit, but names no time, and its text holds the page.
pub(super) fn unpause_link<'p>(problem: &'p Problem, hints: &Hints) -> Option<&'p str> {
    if problem.kind != RATE_LIMITED || hints.retry_after.is_some() {
        return None;
    }
    let mut words = problem.detail.split_whitespace();
    words.find(|word| word.starts_with("https://") && word.contains("unpause"))
}

/// What is missing where a CA says that DNS failed for CAA records; `None` where it says no such
/// thing
///
/// Let's Encrypt names the domain at which it failed, which may be the TLD: CAA is looked for up
/// the whole tree (RFC 8659 section 3).
pub(super) fn caa_lookup(kind: &str, detail: &str) -> Option<CaaLookup> {
    if kind != DNS || !detail.contains("CAA") {
        return None;
    }
    // The last one is where it failed: "While processing CAA for" comes before it.
    let of = detail.rsplit_once("CAA for ").map(|(_, of)| of);
    let of = of.unwrap_or_default();
    let of = of.split_whitespace().next().unwrap_or_default();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let of = of.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    if of.is_empty() || !of.chars().all(is_of_name) {
        return Some(CaaLookup::Somewhere);
    }
    Some(match of.contains('.') {
        true => CaaLookup::Zone(of.to_owned()),
        false => CaaLookup::Tld(of.to_owned()),
    })
}

/// Where a CA could not look CAA records up
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CaaLookup {
    /// At a domain that somebody runs
    Zone(String),
    /// At a top-level domain
    Tld(String),
    /// It does not say where
    Somewhere,
}

const VALIDATION: [&str; 6] = [
    CAA,
    "connection",
    DNS,
    "incorrectResponse",
    "tls",
    UNAUTHORIZED,
];
const DNS: &str = "dns";
pub(super) const NONCE_REFUSED: &str = "badNonce";
pub(super) const RATE_LIMITED: &str = "rateLimited";
pub(super) const SERVER_INTERNAL: &str = "serverInternal";
pub(super) const INVALID_CONTACT: &str = "invalidContact";
/// What is asked for, as a noun
pub(super) const ORDER: &str = "the order";
pub(super) const ACCOUNT: &str = "the account";
pub(super) const CAA: &str = "caa";
/// Kinds that say nothing of the certificate that an order replaces
const OF_NO_REPLACEMENT: [&str; 13] = [
    RATE_LIMITED,
    SERVER_INTERNAL,
    NONCE_REFUSED,
    ACCOUNT_UNKNOWN,
    REJECTED,
    UNSUPPORTED,
    INVALID_PROFILE,
    USER_ACTION,
    EAB_REQUIRED,
    INVALID_CONTACT,
    UNSUPPORTED_CONTACT,
    BAD_CSR,
    BAD_PUBLIC_KEY,
];
/// What CAs say of a binding whose signature is wrong
const OF_BINDING: [&str; 3] = [UNAUTHORIZED, "malformed", EAB_REQUIRED];
pub(super) const ALREADY_REPLACED: &str = "alreadyReplaced";
pub(super) const UNAUTHORIZED: &str = "unauthorized";
pub(super) const BAD_CSR: &str = "badCSR";
pub(super) const BAD_PUBLIC_KEY: &str = "badPublicKey";
pub(super) const UNSUPPORTED_CONTACT: &str = "unsupportedContact";
pub(super) const EAB_REQUIRED: &str = "externalAccountRequired";
pub(super) const COMPOUND: &str = "compound";
pub(super) const USER_ACTION: &str = "userActionRequired";
pub(super) const REJECTED: &str = "rejectedIdentifier";
pub(super) const UNSUPPORTED: &str = "unsupportedIdentifier";
/// draft-ietf-acme-profiles
pub(super) const INVALID_PROFILE: &str = "invalidProfile";
const ORDER_NOT_READY: &str = "orderNotReady";
const ACCOUNT_UNKNOWN: &str = "accountDoesNotExist";
/// Wait after a rate limit that names no time
const UNNAMED_WAIT: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_caa_could_not_be_looked_up_is_read_from_the_words() {
        #[track_caller]
        fn check(kind: &str, detail: &str, expected: Option<CaaLookup>) {
            assert_eq!(caa_lookup(kind, detail), expected, "{detail}");
        }
        let zone = |zone: &str| Some(CaaLookup::Zone(zone.to_owned()));
        check(
            "dns",
            "DNS problem: SERVFAIL looking up CAA for shop.test - the domain's nameservers may be malfunctioning",
            zone("shop.test"),
        );
        check(
            "dns",
            "While processing CAA for shop.test: DNS problem: query timed out looking up CAA for test",
            Some(CaaLookup::Tld("test".to_owned())),
        );
        check(
            "dns",
            "DNS problem: query timed out looking up CAA for com",
            Some(CaaLookup::Tld("com".to_owned())),
        );
        check("dns", "CAA records: no answer", Some(CaaLookup::Somewhere));
        check("dns", "DNS problem: NXDOMAIN looking up A for a.test", None);
        check("caa", "CAA record for a.test prevents issuance", None);
    }
}
