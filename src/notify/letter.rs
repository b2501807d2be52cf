//! A mail as text (RFC 5322): ASCII alone, whatever stands in the message.
//!
//! lettre could write it too, with a crate more whose licence `deny.toml` does not allow.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::tz::TimeZone;
use lettre::Address;

use super::error::Undelivered;
use super::message::Message;
use crate::chain::Fingerprint;
use crate::config::notify::Mail;
use crate::finding::one_line;
use crate::name::DnsName;

/// A mail, and between whom it goes
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) from: Address,
    pub(super) to: Vec<Address>,
    /// Head and body, with lines ended by CR and LF
    pub(super) text: String,
}

impl Letter {
    /// The mail that tells this
    pub(super) fn new(mail: &Mail, message: &Message) -> Result<Self, Undelivered> {
        let from = address(&mail.from)?;
        let to: Result<Vec<Address>, Undelivered> = mail.to.iter().map(|to| address(to)).collect();
        let to = to?;
        let mut text = head(&from, &to, message);
        write_body(message.body(), &mut text);
        Ok(Self { from, to, text })
    }
}

/// An address in ASCII: its host as an A-label
fn address(text: &str) -> Result<Address, Undelivered> {
    let host = text.rsplit_once('@');
    let host = host.and_then(|(user, host)| Some((user, DnsName::parse(host).ok()?)));
    let address = host.and_then(|(user, host)| Address::new(user, host.as_str()).ok());
    let address = address.filter(|address| address.to_string().is_ascii());
    address.ok_or_else(|| Undelivered::Letter(format!("`{text}` is no address in ASCII")))
}

fn head(from: &Address, to: &[Address], message: &Message) -> String {
    let to: Vec<String> = to.iter().map(ToString::to_string).collect();
    let date = message.time.to_zoned(TimeZone::UTC);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S +0000");
    // The same message has the same identifier, so that a mail program shows it once.
    let id = Fingerprint::of(&message.json());
    let mut head = String::new();
    for (name, value) in [
        ("From", from.to_string()),
        ("To", to.join(",\r\n ")),
        ("Subject", unstructured(&message.subject)),
        ("Date", date.to_string()),
        ("Message-ID", format!("<{id}@{}>", from.domain())),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        // Keeps absence notes and other machines from answering (RFC 3834 section 5).
        ("Auto-Submitted", "auto-generated".to_owned()),
    ] {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head
}

/// A text as the value of a header: it cannot begin another one
///
/// What is not plain ASCII becomes encoded words (RFC 2047 section 2).
fn unstructured(text: &str) -> String {
    let text = one_line(text);
    if text.is_ascii() && !text.contains("=?") && text.len() <= MOST_OF_LINE {
        return text;
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= MOST_OF_WORD => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words = words.iter().map(|word| BASE64_STANDARD.encode(word));
    let words: Vec<String> = words.map(|word| format!("=?utf-8?B?{word}?=")).collect();
    words.join("\r\n ")
}

/// The empty line and the body: as it is where any server takes that, else in base64
fn write_body(body: &str, text: &mut String) {
    let is_plain = |line: &str| line.is_ascii() && line.len() <= MOST_OF_LINE;
    if body.lines().all(is_plain) {
        text.push_str("Content-Transfer-Encoding: 7bit\r\n\r\n");
        for line in body.lines() {
            text.push_str(line);
            text.push_str("\r\n");
        }
        return;
    }
    text.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
    let encoded = BASE64_STANDARD.encode(body.replace('\n', "\r\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, below) = rest.split_at(rest.len().min(BASE64_LINE));
        let _ = write!(text, "{line}\r\n");
        rest = below;
    }
}

/// Characters of a line (RFC 5322 section 2.1.1), less the name of a header
const MOST_OF_LINE: usize = 900;
/// Bytes of a text in an encoded word, which has 75 characters at most
const MOST_OF_WORD: usize = 45;
/// Characters of a line of base64 (RFC 2045 section 6.8)
const BASE64_LINE: usize = 76;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_begin_a_header() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(unstructured(text), expected);
        }
        check("certd on web1: failed", "certd on web1: failed");
        check("a\r\nBcc: x@example.com", "a  Bcc: x@example.com");
        check("=?utf-8?Q?x?=", "=?utf-8?B?PT91dGYtOD9RP3g/PQ==?=");
        check("Büro", "=?utf-8?B?QsO8cm8=?=");
    }

    #[test]
    fn an_encoded_word_is_short_and_breaks_no_character() {
        let words = unstructured(&"ü".repeat(100));
        for word in words.split("\r\n ") {
            assert!(word.len() <= 75, "{word}");
            let inner = word.strip_prefix("=?utf-8?B?").unwrap();
            let inner = BASE64_STANDARD.decode(inner.strip_suffix("?=").unwrap());
            assert!(String::from_utf8(inner.unwrap()).unwrap().starts_with('ü'));
        }
        assert_eq!(words.matches("=?utf-8?B?").count(), 5);
    }

    #[test]
    fn a_body_that_not_every_server_takes_is_encoded() {
        #[track_caller]
        fn check(body: &str, expected: &str) {
            let mut text = String::new();
            write_body(body, &mut text);
            assert_eq!(text, format!("Content-Transfer-Encoding: {expected}"));
        }
        check("a\n\nb\n", "7bit\r\n\r\na\r\n\r\nb\r\n");
        check("ü\n", "base64\r\n\r\nw7wNCg==\r\n");
        let long = "x".repeat(1_000);
        let mut text = String::new();
        write_body(&long, &mut text);
        assert!(text.lines().all(|line| line.len() <= BASE64_LINE), "{text}");
    }

    #[test]
    fn an_address_is_ascii() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let found = address(text).ok();
            assert_eq!(
                found.map(|address| address.to_string()).as_deref(),
                expected
            );
        }
        check("admin@example.com", Some("admin@example.com"));
        check("admin@bücher.example", Some("admin@xn--bcher-kva.example"));
        check("bücher@example.com", None);
        check("a>\r\nBcc:<b@example.com", None);
        check("nobody", None);
    }
}
