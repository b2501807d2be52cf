//! What goes by HTTP: webhooks, Telegram, and the heartbeat.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::Delivery;
use super::chat::parcel;
use super::error::{Kind, Undelivered};
use super::message::Message;
use super::redact::Secrets;
use super::secret::{content, secret};
use crate::config::notify::{SecretUrl, Telegram, UrlSource, Webhook};
use crate::facts::Proxies;
use crate::finding::excerpt;
use crate::net::http::{Client, HttpError, Limits, Meter, Schemes};
use crate::net::roots;

/// What it takes to send by HTTP
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) proxies: Proxies,
}

/// Posts a message to a webhook
pub(super) async fn webhook(
    webhook: &Webhook,
    message: &Message,
    sender: &Sender,
) -> Result<(), Undelivered> {
    let url = match &webhook.url {
        UrlSource::Given(url) => url.clone(),
        UrlSource::File(path) => {
            let wanted = || content(path, "http:// or https:// URL");
            SecretUrl::parse(&secret(path)?).ok_or_else(wanted)?
        }
    };
    let parcel = parcel(webhook.format, message);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(parcel.content_type));
    let title = parcel.title.and_then(|title| title.parse().ok());
    if let Some(title) = title {
        headers.insert(HeaderName::from_static("title"), title);
    }
    if let Some(path) = &webhook.headers_file {
        add_headers(&mut headers, path)?;
    }
    let post = Post {
        kind: Kind::Webhook,
        method: Method::POST,
        url: url.uri(),
        secrets: secrets(url.uri(), &headers),
        headers,
        body: parcel.body.into(),
    };
    let client = client(Kind::Webhook, sender, &url, webhook.trust.as_deref())?;
    post.send(&client).await.map(drop)
}

/// Sends a message to a Telegram chat
pub(super) async fn telegram(
    telegram: &Telegram,
    message: &Message,
    sender: &Sender,
) -> Result<Delivery, Undelivered> {
    let token = token(&telegram.token_file)?;
    let base = telegram.api.uri().to_string();
    let url = format!("{}/bot{token}/sendMessage", base.trim_end_matches('/'));
    let not_a_token = |_| content(&telegram.token_file, TOKEN);
    let url: Uri = url.parse().map_err(not_a_token)?;
    let mut secrets = Secrets::of_url(&url);
    secrets.add(&token);
    let to = |chat: &str| {
        let body = json!({
            "chat_id": chat,
            // Without `parse_mode` nothing in it is markup.
            "text": excerpt_of_lines(&message.text, MOST_OF_TELEGRAM),
            "link_preview_options": {"is_disabled": true},
        });
        Post {
            kind: Kind::Telegram,
            method: Method::POST,
            url: &url,
            secrets: secrets.clone(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(JSON))]),
            body: body.to_string().into(),
        }
    };
    let client = client(Kind::Telegram, sender, &telegram.api, None)?;
    match to(&telegram.chat).send(&client).await {
        Err(Undelivered::Status {
            moved: Some(chat), ..
        }) => {
            let sent = to(&chat).send(&client).await;
            sent.map(|_| Delivery::InPart(Undelivered::Moved { chat }))
        }
        outcome => outcome.map(|_| Delivery::Whole),
    }
}

/// The token of a bot, of nothing but what may stand in one
fn token(path: &Path) -> Result<String, Undelivered> {
    let token = secret(path)?;
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-');
    match !token.is_empty() && token.bytes().all(is_of_token) {
        true => Ok(token),
        false => Err(content(path, TOKEN)),
    }
}

/// Calls the heartbeat URL
pub(super) async fn beat(url: &SecretUrl, sender: &Sender) -> Result<(), Undelivered> {
    let get = Post {
        kind: Kind::Heartbeat,
        method: Method::GET,
        url: url.uri(),
        secrets: Secrets::of_url(url.uri()),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let client = client(Kind::Heartbeat, sender, url, None)?;
    get.send(&client).await.map(drop)
}

/// A request that is sent until it is taken, three times at most
struct Post<'p> {
    kind: Kind,
    method: Method,
    url: &'p Uri,
    secrets: Secrets,
    headers: HeaderMap,
    body: Bytes,
}

impl Post<'_> {
    async fn send(&self, client: &Client) -> Result<Response<Bytes>, Undelivered> {
        for pause in PAUSES {
            match self.once(client).await {
                Err(error) if error.may_pass() => sleep(error.pause().max(pause)).await,
                outcome => return outcome,
            }
        }
        self.once(client).await
    }

    async fn once(&self, client: &Client) -> Result<Response<Bytes>, Undelivered> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = client.send(request).await;
        let answer = answer.map_err(|error| self.no_answer(&error))?;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(self.refusal(&answer)),
        }
    }

    fn refusal(&self, answer: &Response<Bytes>) -> Undelivered {
        let problem = match self.kind {
            Kind::Telegram => serde_json::from_slice::<Problem>(answer.body()).ok(),
            _ => None,
        };
        let words = match &problem {
            Some(problem) => problem.description.clone(),
            None => String::from_utf8_lossy(answer.body()).into_owned(),
        };
        let seconds = answer.headers().get(RETRY_AFTER);
        let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let parameters = problem.and_then(|problem| problem.parameters);
        Undelivered::Status {
            kind: self.kind,
            status: answer.status().as_u16(),
            words: self.shown(&words),
            later: seconds.map(Duration::from_secs),
            moved: parameters
                .and_then(|parameters| Some(parameters.migrate_to_chat_id?.to_string())),
        }
    }

    /// What the other side said, without what it repeats of a secret; `None` where it said nothing
    fn shown(&self, words: &str) -> Option<String> {
        let words = self.secrets.hide(words);
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        (!words.is_empty()).then(|| excerpt(&words, MOST_WORDS))
    }

    fn no_answer(&self, error: &HttpError) -> Undelivered {
        let kind = self.kind;
        match error {
            HttpError::TimedOut { after, .. } => Undelivered::Silent {
                kind,
                after: *after,
            },
            HttpError::NoRoots { .. } => Undelivered::NoRoots { kind },
            error @ HttpError::Proxy { .. } => Undelivered::Proxy {
                kind,
                reason: self.secrets.hide(&error.without_url()),
            },
            error => Undelivered::NoAnswer {
                kind,
                reason: self.secrets.hide(&error.without_url()),
            },
        }
    }
}

/// A client for one message: roots are read when there is something to send
fn client(
    kind: Kind,
    sender: &Sender,
    url: &SecretUrl,
    trust: Option<&Path>,
) -> Result<Client, Undelivered> {
    let roots = match (url.is_https(), trust) {
        (false, _) => RootCertStore::empty(),
        (true, None) => roots::system(),
        (true, Some(path)) => {
            let mut roots = RootCertStore::empty();
            roots::add_file(&mut roots, path)?;
            roots
        }
    };
    let client = Client::new(
        Schemes::Any,
        sender.provider.clone(),
        roots,
        sender.proxies,
        LIMITS,
        Meter::default(),
    );
    client.map_err(|error| Undelivered::NoAnswer {
        kind,
        reason: error.without_url(),
    })
}

/// Adds the headers of a file; those of the message give way
fn add_headers(headers: &mut HeaderMap, path: &Path) -> Result<(), Undelivered> {
    let text = secret(path)?;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = header(line)
            .ok_or_else(|| content(path, &format!("`Name: value` in line {}", number + 1)));
        let (name, value) = header?;
        headers.insert(name, value);
    }
    Ok(())
}

/// What of a request is not to be shown: any part of its URL, and the headers of the operator
fn secrets(url: &Uri, headers: &HeaderMap) -> Secrets {
    let mut secrets = Secrets::of_url(url);
    let given = headers.values().filter(|value| value.is_sensitive());
    for value in given.filter_map(|value| value.to_str().ok()) {
        secrets.add_header(value);
    }
    secrets
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    let name: HeaderName = name.trim().parse().ok()?;
    if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
        return None;
    }
    let mut value: HeaderValue = value.trim().parse().ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// What the API of Telegram says of an error
#[derive(Deserialize)]
struct Problem {
    description: String,
    #[serde(default)]
    parameters: Option<Parameters>,
}

/// What it says for programs (Bot API, `ResponseParameters`)
#[derive(Deserialize)]
struct Parameters {
    /// The group has become a supergroup, which has another identifier
    #[serde(default)]
    migrate_to_chat_id: Option<i64>,
}

/// The beginning of a text, cut at the end of a line
///
/// Telegram counts in UTF-16 code units, of which a character has at most two.
fn excerpt_of_lines(text: &str, most: usize) -> String {
    if text.encode_utf16().count() <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut length = CUT.encode_utf16().count();
    for line in text.split_inclusive('\n') {
        length += line.encode_utf16().count();
        if length > most {
            break;
        }
        kept.push_str(line);
    }
    kept + CUT
}

const JSON: &str = "application/json";
const TOKEN: &str = "token of a bot";
const CUT: &str = "...";
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    request: Duration::from_secs(10),
    body: 64 * 1024,
};
/// Between three attempts
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
/// Characters of a message (Bot API, `sendMessage`)
const MOST_OF_TELEGRAM: usize = 4096;
const MOST_WORDS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_for_telegram_ends_with_a_whole_line_within_its_limit() {
        let text = format!("{}\n", "x".repeat(99)).repeat(100);
        let cut = excerpt_of_lines(&text, MOST_OF_TELEGRAM);
        assert_eq!(cut.len(), 4_003);
        assert!(cut.ends_with("x\n..."), "{cut}");
        let wide = "\u{1f512}".repeat(2_048);
        assert_eq!(excerpt_of_lines(&wide, MOST_OF_TELEGRAM), wide);
        assert_eq!(excerpt_of_lines(&format!("{wide}x"), MOST_OF_TELEGRAM), CUT);
    }

    #[test]
    fn a_header_has_a_name_and_does_not_decide_on_the_length() {
        #[track_caller]
        fn check(line: &str, expected: Option<(&str, &str)>) {
            let found = header(line);
            let found = found.as_ref().map(|(name, value)| {
                let value = value.to_str().expect("ASCII");
                (name.as_str(), value)
            });
            assert_eq!(found, expected, "{line}");
        }
        check(
            "Authorization: Bearer a:b",
            Some(("authorization", "Bearer a:b")),
        );
        check("X-Empty:", Some(("x-empty", "")));
        check("Authorization Bearer", None);
        check("two words: x", None);
        check("x: a\u{1}b", None);
        check("Content-Length: 0", None);
        check("transfer-encoding: chunked", None);
    }
}
