//! Problem documents (RFC 7807, RFC 8555 section 6.7), and Let's Encrypt's words in them.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::fault::{Answer, Fault};
use super::Identifier;

/// A problem document with its headers
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Document>);

#[derive(Clone, Debug, Serialize)]
struct Document {
    /// Whole URN
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    status: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subproblems: Vec<Subproblem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithms: Option<Vec<&'static str>>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    link: Option<String>,
    #[serde(skip)]
    location: Option<String>,
}

/// A part of a problem that concerns one name (RFC 8555 section 6.7.1)
#[derive(Clone, Debug, Serialize)]
struct Subproblem {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    identifier: Identifier,
}

impl Problem {
    /// A problem of an ACME type such as `unauthorized`
    pub fn new(status: u16, kind: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Document {
            kind: urn(kind),
            detail: detail.into(),
            status,
            subproblems: Vec::new(),
            algorithms: None,
            retry_after: None,
            link: None,
            location: None,
        }))
    }

    /// The same, with a part about this name
    #[must_use]
    pub fn about(mut self, name: &str, kind: &str, detail: impl Into<String>) -> Self {
        self.0.subproblems.push(Subproblem {
            kind: urn(kind),
            detail: detail.into(),
            identifier: Identifier::dns(name),
        });
        self
    }

    /// The same, with `Retry-After`
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The same, with a link of this relation (RFC 8288)
    #[must_use]
    pub fn link(mut self, url: &str, relation: &str) -> Self {
        self.0.link = Some(format!("<{url}>;rel=\"{relation}\""));
        self
    }

    /// A limit of Let's Encrypt, reached until `wait` after `now`
    pub fn limited(limit: Limit<'_>, now: Timestamp, wait: Duration) -> Self {
        let wait_signed = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let until = now.saturating_add(wait_signed).unwrap_or(Timestamp::MAX);
        let until = until.strftime("%Y-%m-%d %H:%M:%S UTC");
        let (what, anchor) = limit.words();
        let detail = format!("{what}, retry after {until}: see {RATE_LIMITS}#{anchor}");
        Self::new(429, "rateLimited", detail).retry_after(wait)
    }

    /// Let's Encrypt has paused this name for the account until a person opens `url`
    pub fn paused(name: &str, url: &str) -> Self {
        let detail = format!(
            "Your account is temporarily prevented from requesting certificates for {name} and possibly others. Please visit: {url}"
        );
        Self::new(429, "rateLimited", detail)
    }

    /// The certificate that an order names in `replaces` was replaced already (RFC 9773 section 5)
    pub fn already_replaced(certificate: &str) -> Self {
        let detail = format!(
            "cannot indicate an order replaces certificate {certificate}, which already has a replacement order"
        );
        Self::new(409, "alreadyReplaced", detail)
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed", detail)
    }

    pub(super) fn bad_csr(detail: impl Into<String>) -> Self {
        Self::new(400, "badCSR", detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(403, "unauthorized", detail)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, "malformed", format!("{what} not found"))
    }

    pub(super) fn bad_nonce() -> Self {
        Self::new(400, "badNonce", "JWS has an invalid anti-replay nonce")
    }

    pub(super) fn bad_algorithm(found: &str, known: &[&'static str]) -> Self {
        let detail = format!("JWS signature algorithm {found:?} is not one of {known:?}");
        let mut problem = Self::new(400, "badSignatureAlgorithm", detail);
        problem.0.algorithms = Some(known.to_vec());
        problem
    }

    /// The same, with `Location`
    pub(super) fn located(mut self, url: String) -> Self {
        self.0.location = Some(url);
        self
    }

    fn answer(self) -> Answer {
        Answer {
            status: self.0.status,
            content_type: "application/problem+json",
            body: serde_json::to_string(&self).unwrap_or_default(),
            retry_after: self.0.retry_after.map(|wait| wait.as_secs()),
            link: self.0.link,
            location: self.0.location,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.answer().into_response()
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Answer(problem.answer())
    }
}

/// A rate limit of Let's Encrypt
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<'n> {
    /// New accounts from one address
    Accounts,
    /// New accounts from one IPv6 /48
    AccountsPerRange,
    /// New orders of one account
    Orders,
    /// Certificates for a registered domain
    RegisteredDomain(&'n str),
    /// Certificates for exactly these names
    ExactSet,
    /// Failed validations of a name by one account
    Failures(&'n str),
}

impl Limit<'_> {
    /// What is too many, and the part of the documentation that says so
    fn words(self) -> (String, &'static str) {
        match self {
            Self::Accounts => (
                "too many new registrations (10) from this IP address in the last 3h0m0s".to_owned(),
                "new-registrations-per-ip-address",
            ),
            Self::AccountsPerRange => (
                "too many new registrations (500) from this /48 subnet of IPv6 addresses in the last 3h0m0s".to_owned(),
                "new-registrations-per-ipv6-range",
            ),
            Self::Orders => (
                "too many new orders (300) from this account in the last 3h0m0s".to_owned(),
                "new-orders-per-account",
            ),
            Self::RegisteredDomain(domain) => (
                format!("too many certificates (50) already issued for {domain:?} in the last 168h0m0s"),
                "new-certificates-per-registered-domain",
            ),
            Self::ExactSet => (
                "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s".to_owned(),
                "new-certificates-per-exact-set-of-identifiers",
            ),
            Self::Failures(name) => (
                format!("too many failed authorizations (5) for {name:?} in the last 1h0m0s"),
                "authorization-failures-per-identifier-per-account",
            ),
        }
    }
}

fn urn(kind: &str) -> String {
    format!("urn:ietf:params:acme:error:{kind}")
}

const RATE_LIMITS: &str = "https://letsencrypt.org/docs/rate-limits/";
