//! Renewal information (RFC 9773): when a CA would have a certificate renewed.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use instant_acme::{CertificateIdentifier, RenewalInfo};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::Session;
use super::reply::RetryAfter;
use crate::facts::{NoSuggestion, Suggestion};
use crate::finding::excerpt;
use crate::net::http::HttpError;
use crate::time::Window;

impl Session {
    /// Whether the CA makes suggestions
    pub fn suggests(&self) -> bool {
        self.directory.renewal_info.is_some()
    }

    /// When the CA would have a certificate (DER) renewed
    ///
    /// One plain GET without an account (RFC 9773 section 4.1).
    ///
    /// # Errors
    /// [`NoSuggestion`] where there is no usable answer, or the CA makes no suggestions.
    pub async fn suggestion(&self, certificate: &[u8]) -> Result<Suggestion, NoSuggestion> {
        let base = self.directory.renewal_info.as_deref();
        let (Some(base), Some(id)) = (base, identifier(certificate)) else {
            return Err(NoSuggestion::LongTerm);
        };
        let request = Request::get(format!("{}/{id}", base.trim_end_matches('/')));
        let request = request.body(Bytes::new());
        let request = request.map_err(|_| NoSuggestion::LongTerm)?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| match error {
                HttpError::TimedOut { .. } | HttpError::Truncated { .. } => NoSuggestion::ForNow,
                _ => NoSuggestion::LongTerm,
            })?;
        if response.status() != StatusCode::OK {
            return Err(match response.status().is_server_error() {
                true => NoSuggestion::ForNow,
                false => NoSuggestion::LongTerm,
            });
        }
        let after = RetryAfter::from_headers(response.headers());
        suggestion_in(response.body(), after)
    }
}

/// What the body of an answer suggests
pub(crate) fn suggestion_in(
    body: &[u8],
    after: Option<RetryAfter>,
) -> Result<Suggestion, NoSuggestion> {
    let none = NoSuggestion::LongTerm;
    let info: RenewalInfo = serde_json::from_slice(body).map_err(|_| none)?;
    let start = Timestamp::from_second(info.suggested_window.start.unix_timestamp());
    let end = Timestamp::from_second(info.suggested_window.end.unix_timestamp());
    let RetryAfter(retry_after) = after.unwrap_or(RetryAfter(WITHOUT_HEADER));
    Ok(Suggestion {
        window: Window {
            start: start.map_err(|_| none)?,
            end: end.map_err(|_| none)?,
        },
        explanation: info.explanation_url.map(|url| excerpt(&url, MOST_URL)),
        retry_after,
    })
}

/// How a CA knows a certificate (RFC 9773 section 4.1); `None` for one without a key identifier
pub(super) fn identifier(certificate: &[u8]) -> Option<CertificateIdentifier<'static>> {
    let certificate = CertificateDer::from(certificate);
    let id = CertificateIdentifier::try_from(&certificate).ok()?;
    Some(id.into_owned())
}

/// Time until the next look where the CA names none: a long-term error
const WITHOUT_HEADER: Duration = Duration::from_secs(6 * 3_600);
/// Characters that are kept of a URL
const MOST_URL: usize = 500;
