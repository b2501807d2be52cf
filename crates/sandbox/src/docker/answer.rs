//! Answers in Docker's form, and what a request may ask of a list.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

/// Why the engine does not do what it was asked
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// The same, told as the failure of an action
    pub(super) fn of(self, action: &str) -> Self {
        Self {
            message: format!("{action}: {}", self.message),
            ..self
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        document(self.status, &json!({"message": self.message}))
    }
}

/// A JSON document
pub(super) fn document(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(format!("{value}\n")));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The parameters of a request's query, decoded
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(decoded.collect())
    }

    /// The first value of a parameter
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(of, _)| of == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on, by the words that Docker takes for it
    pub(super) fn is_on(&self, name: &str) -> bool {
        let value = self.value(name).unwrap_or_default();
        !matches!(
            value.to_lowercase().as_str(),
            "" | "0" | "no" | "none" | "false"
        )
    }

    /// The filters, each one of those that the call knows
    pub(super) fn filters(&self, known: &[&str]) -> Result<Filters, Refusal> {
        let text = self.value("filters").unwrap_or_default();
        if text.is_empty() {
            return Ok(Filters::default());
        }
        let filters: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|_| Refusal::bad_request("invalid filter"))?;
        match filters.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Refusal::bad_request(format!("invalid filter '{key}'"))),
            None => Ok(Filters(
                filters
                    .into_iter()
                    .map(|(key, values)| (key, words(&values)))
                    .collect(),
            )),
        }
    }
}

/// What a request wants listed
#[derive(Clone, Debug, Default)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether one of the values fits, or none is asked for
    pub(super) fn any(&self, key: &str, fits: impl FnMut(&String) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(fits))
    }

    /// Whether each of the values fits
    pub(super) fn all(&self, key: &str, fits: impl FnMut(&String) -> bool) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().all(fits))
    }
}

/// The values of one filter: a list, or the older object whose keys they are
fn words(values: &Value) -> Vec<String> {
    match values {
        Value::Array(values) => values
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect(),
        Value::Object(values) => values.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Percent-decoded text of a URL, with `+` for a space as forms have it
pub(super) fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        let byte = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => *first,
            },
            (b'+', _) => b' ',
            _ => *first,
        };
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}
