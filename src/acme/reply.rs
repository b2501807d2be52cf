//! Reading what a CA answered: headers that matter, problem documents, and pages that are none.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{DATE, LINK, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Response};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::finding::one_line;

/// How long a CA asks to wait (RFC 9110 section 10.2.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// The header's value: a number of seconds, or a date by the clock of whoever sent it
    ///
    /// [`LONGEST_WAIT`] at most; `None` where it is neither.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // Only a number that is too large cannot be read.
            let seconds = value.parse().unwrap_or(u64::MAX);
            return Some(Self::at_most_a_week(Duration::from_secs(seconds)));
        }
        let until = httpdate::parse_http_date(value).ok()?;
        let wait = until.duration_since(sent(headers)).unwrap_or_default();
        Some(Self::at_most_a_week(wait))
    }

    fn at_most_a_week(wait: Duration) -> Self {
        Self(wait.min(LONGEST_WAIT))
    }

    /// Puts the wait, as it was understood, in the place of what the headers say of it
    ///
    /// instant-acme adds the header's number to the clock, and panics where the sum is no time.
    pub(crate) fn replace_in(headers: &mut HeaderMap) {
        match Self::from_headers(headers) {
            Some(Self(wait)) => {
                headers.insert(RETRY_AFTER, wait.as_secs().into());
            }
            None => {
                headers.remove(RETRY_AFTER);
            }
        }
    }
}

/// When an answer was sent, by the sender's clock; now, where it does not say
fn sent(headers: &HeaderMap) -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "an answer without a date is as old as its arrival"
    )]
    let now = SystemTime::now;
    date(headers).map_or_else(now, SystemTime::from)
}

/// How long a CA asks to wait in its words, as Let's Encrypt does: "retry after 2026-11-20 13:00:00
/// UTC"
pub(super) fn retry_after_in(words: &str, now: Timestamp) -> Option<RetryAfter> {
    let (_, rest) = words.split_once("retry after ")?;
    let at = DateTime::strptime("%Y-%m-%d %H:%M:%S", rest.get(..19)?).ok()?;
    let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let wait = at.duration_since(now).try_into().unwrap_or_default();
    Some(RetryAfter::at_most_a_week(wait))
}

/// The server's clock, in whole seconds
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Timestamp::try_from(date).ok()
}

/// What the headers of an answer add to it
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// How long the CA asks to wait
    pub retry_after: Option<RetryAfter>,
    /// Where the CA sends people: terms of service, help (RFC 8288); never a protocol resource
    pub link: Option<String>,
    /// URL of what the request made (RFC 8555 section 7.4 for an order)
    pub location: Option<String>,
}

impl Hints {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let links = headers
            .get_all(LINK)
            .iter()
            .filter_map(|value| value.to_str().ok());
        Self {
            retry_after: RetryAfter::from_headers(headers),
            link: links
                .flat_map(|value| value.split(", "))
                .find_map(link_for_people),
            location: headers
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
                .map(ToOwned::to_owned),
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
    (!PROTOCOL_RELATIONS.contains(&relation)).then(|| words_of_ca(url))
}

/// Words of a CA on one line, cut off after [`MOST_WORDS`]
pub(crate) fn words_of_ca(words: &str) -> String {
    cut(one_line(words))
}

/// A text of which no more than [`MOST_WORDS`] is kept; an ellipsis shows that there was more
pub(super) fn cut(mut text: String) -> String {
    if text.len() > MOST_WORDS {
        text.truncate(text.floor_char_boundary(MOST_WORDS - ELLIPSIS.len()));
        text.push_str(ELLIPSIS);
    }
    text
}

/// Whether a body is a problem document, whatever its content type says
pub(crate) fn is_document(body: &[u8]) -> bool {
    serde_json::from_slice::<instant_acme::Problem>(body)
        .is_ok_and(|problem| problem.r#type.is_some())
}

/// Whether the CA says no: in a refusal, or of an order, an authorization or a challenge
pub(crate) fn says_no(response: &Response<Bytes>) -> bool {
    #[derive(Deserialize)]
    struct State {
        status: String,
    }
    let is_invalid = |state: State| state.status == "invalid";
    response.status().as_u16() >= 400
        || serde_json::from_slice(response.body()).is_ok_and(is_invalid)
}

/// The first words of a body, with tags removed and white space joined
pub(super) fn excerpt(body: &[u8]) -> String {
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
    let words = one_line(&bare.split_whitespace().collect::<Vec<_>>().join(" "));
    match words.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None if words.is_empty() => "(no text)".to_owned(),
        None => words,
    }
}

/// The longest time that a CA is believed to ask for: after a week at the latest it is asked again
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Bytes of a CA's words that are kept or shown
pub(super) const MOST_WORDS: usize = 2048;
const ELLIPSIS: &str = "…";
/// Relations of RFC 8555 that lead to resources, not to pages
const PROTOCOL_RELATIONS: [&str; 4] = ["index", "up", "next", "alternate"];
/// Characters of a foreign reply that are shown
const EXCERPT: usize = 160;

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

    #[test]
    fn a_date_to_wait_for_is_measured_by_the_senders_clock() {
        let mut headers = HeaderMap::new();
        headers.insert(
            RETRY_AFTER,
            "Fri, 31 Dec 1999 23:59:59 GMT".parse().unwrap(),
        );
        headers.insert(DATE, "Fri, 31 Dec 1999 23:58:59 GMT".parse().unwrap());
        assert_eq!(
            RetryAfter::from_headers(&headers),
            Some(RetryAfter(Duration::from_secs(60)))
        );
    }

    #[test]
    fn no_wait_is_longer_than_a_week_and_none_reaches_instant_acme_unread() {
        #[track_caller]
        fn check(value: &str, expected: Option<&str>) {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, "Fri, 31 Dec 1999 23:58:59 GMT".parse().unwrap());
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            RetryAfter::replace_in(&mut headers);
            let left = headers.get(RETRY_AFTER);
            let left = left.map(|value| value.to_str().unwrap());
            assert_eq!(left, expected, "{value}");
        }
        check("86400", Some("86400"));
        check("9223372036854775807", Some("604800"));
        check("18446744073709551616000", Some("604800"));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some("604800"));
        check("Sat, 01 Jan 2000 00:58:59 GMT", Some("3600"));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some("0"));
        check("+5", None);
        check("-1", None);
        check("soon", None);
        check("", None);
    }

    #[test]
    fn words_of_a_ca_are_cut_between_characters() {
        assert_eq!(words_of_ca(" a\nb "), "a b");
        let long = words_of_ca(&"é".repeat(MOST_WORDS));
        assert!(long.len() <= MOST_WORDS && long.ends_with("é…"), "{long}");
    }

    #[test]
    fn a_time_in_the_words_counts_where_no_header_names_one() {
        #[track_caller]
        fn check(words: &str, expected: Option<u64>) {
            let now = "2026-11-20T12:00:00Z".parse().unwrap();
            let expected = expected.map(|seconds| RetryAfter(Duration::from_secs(seconds)));
            assert_eq!(retry_after_in(words, now), expected, "{words}");
        }
        let said = "too many certificates (5) in the last 168h, retry after 2026-11-20 13:00:00 UTC: see https://ca.test";
        check(said, Some(3_600));
        check("retry after 2026-11-20 11:00:00 UTC", Some(0));
        check("retry after 3600", None);
        check("retry after 2026-11-20 13:00:\u{fc}0", None);
        check("too many", None);
    }
}
