//! What a channel is sent: JSON for programs, a subject and a text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use nix::unistd::gethostname;
use serde::Serialize;

use super::markup::for_slack;
use crate::config::notify::Event;
use crate::finding::{Finding, Severity, excerpt, words};
use crate::report::{DomainReport, Outcome};
use crate::time::{display, in_words};

/// A message, one for all domains of a pass that a channel is to hear of
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// Version of this JSON form
    pub schema_version: u32,
    /// What it is sent for
    pub kind: Kind,
    /// Name of the host that certd runs on
    pub host: String,
    /// When the pass ended
    pub time: Timestamp,
    /// The whole in a line
    pub subject: String,
    /// The whole for people, its first line the subject; chats that take JSON show this
    pub text: String,
    /// What happened, the most urgent first, at most [`MOST_DOMAINS`]
    pub domains: Vec<Entry>,
    /// How many more there are
    pub omitted: usize,
}

/// What a message is sent for
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something happened to domains
    Alert,
    /// `certd notify --test`
    Test,
}

/// What happened to one domain
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its primary name
    pub domain: String,
    /// What
    pub event: Event,
    /// Since when it is, or was, not well
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What the pass said of it
    pub summary: String,
    /// Code of the failure
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What to do next; may hold lines to copy
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// When its certificate expires
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
}

impl Entry {
    /// What a report says of a domain
    pub(super) fn new(report: &DomainReport, event: Event, since: Option<Timestamp>) -> Self {
        let finding = match event {
            Event::Recovered => None,
            _ => worst(&report.findings),
        };
        // A pass that waits says until when, and its finding why.
        let summary = match (report.outcome, finding) {
            (Outcome::Later, Some(finding)) => &finding.evidence,
            _ => &report.summary,
        };
        Self {
            domain: report.name.clone(),
            event,
            since,
            summary: printable(summary),
            code: finding.map(|finding| finding.code),
            cure: finding.and_then(|finding| finding.cure.as_deref().map(printable)),
            not_after: report.validity.map(|validity| validity.not_after),
        }
    }
}

/// The first of the findings that matter most, if any matters
fn worst(findings: &[Finding]) -> Option<&Finding> {
    let of = |severity| move |finding: &&Finding| finding.severity == severity;
    let failure = findings.iter().find(of(Severity::Failure));
    failure.or_else(|| findings.iter().find(of(Severity::Warning)))
}

impl Message {
    /// The message for these domains
    pub(super) fn alert(mut entries: Vec<Entry>, now: Timestamp) -> Self {
        let host = host();
        entries.sort_by(|a, b| (a.event, &a.domain).cmp(&(b.event, &b.domain)));
        let subject = format!("certd on {host}: {}", headline(&entries));
        let omitted = entries.len().saturating_sub(MOST_DOMAINS);
        entries.truncate(MOST_DOMAINS);
        let body = body(&entries, omitted, now);
        Self {
            schema_version: SCHEMA_VERSION,
            kind: Kind::Alert,
            text: format!("{subject}\n\n{body}\n`certd status` on {host} shows every domain.\n"),
            host,
            time: now,
            subject,
            domains: entries,
            omitted,
        }
    }

    /// A message that only shows that the channel works
    pub(super) fn test(now: Timestamp) -> Self {
        let host = host();
        let subject = format!("certd on {host}: a test");
        Self {
            schema_version: SCHEMA_VERSION,
            kind: Kind::Test,
            text: format!("{subject}\n\nThis channel works: alerts of certd will come this way.\n"),
            host,
            time: now,
            subject,
            domains: Vec::new(),
            omitted: 0,
        }
    }

    /// The JSON form
    ///
    /// Its `text` is for chats, and written so that nothing in it is markup to them.
    pub(super) fn json(&self) -> Bytes {
        let for_chats = Self {
            text: for_slack(&self.text),
            ..self.clone()
        };
        // Strings, numbers and times: there is nothing that could not be written.
        serde_json::to_vec(&for_chats).unwrap_or_default().into()
    }

    /// The text without its subject
    pub(super) fn body(&self) -> &str {
        let rest = self.text.strip_prefix(&self.subject);
        rest.unwrap_or(&self.text).trim_start_matches('\n')
    }
}

/// What happened, in a few words: `shop.test: failed`, `2 failed, 1 recovered`
fn headline(entries: &[Entry]) -> String {
    if let [entry] = entries {
        return format!("{}: {}", entry.domain, in_a_word(entry.event));
    }
    let mut counts: BTreeMap<Event, usize> = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.event).or_default() += 1;
    }
    let counts = counts.into_iter();
    let counts: Vec<String> = counts
        .map(|(event, count)| format!("{count} {}", in_a_word(event)))
        .collect();
    counts.join(", ")
}

const fn in_a_word(event: Event) -> &'static str {
    match event {
        Event::Paused => "refused by the CA until you act",
        Event::WrongCertificate => "served with a wrong certificate",
        Event::Expiring => "about to expire",
        Event::Failed => "failed",
        Event::StillFailing => "still failing",
        Event::Recovered => "well again",
    }
}

/// Domains with the same cause are told together: when a CA is down it is the same for all
fn body(entries: &[Entry], omitted: usize, now: Timestamp) -> String {
    let mut body = String::new();
    for same in entries.chunk_by(has_same_cause) {
        for entry in same {
            let _ = writeln!(body, "{}: {}", entry.domain, in_a_word(entry.event));
            write_times(entry, now, &mut body);
        }
        if let Some(entry) = same.first() {
            write_cause(entry, &mut body);
        }
        body.push('\n');
    }
    if omitted > 0 {
        let _ = writeln!(body, "... and {omitted} more\n");
    }
    body.pop();
    body
}

fn has_same_cause(one: &Entry, other: &Entry) -> bool {
    (one.event, &one.summary, one.code, &one.cure)
        == (other.event, &other.summary, other.code, &other.cure)
}

fn write_times(entry: &Entry, now: Timestamp, body: &mut String) {
    let since = entry.since.map(|since| (since, now.duration_since(since)));
    // That it began just now is the news itself.
    if let Some((since, ago)) = since.filter(|(_, ago)| *ago >= MOMENT) {
        let words = match entry.event {
            Event::Recovered => "it was not since",
            _ => "since",
        };
        let _ = writeln!(body, "  {words} {} ({})", display(since), in_words(ago));
    }
    // Of what is well again only the end of the trouble is news.
    if let Some(until) = entry.not_after.filter(|_| entry.event != Event::Recovered) {
        let left = until.duration_since(now);
        let (at, span) = (display(until), in_words(left));
        let _ = match left <= SignedDuration::ZERO {
            true => writeln!(body, "  its certificate expired {at}, {span} ago"),
            false => writeln!(body, "  its certificate is valid until {at} ({span} left)"),
        };
    }
}

fn write_cause(entry: &Entry, body: &mut String) {
    for line in entry.summary.lines() {
        let _ = writeln!(body, "  {line}");
    }
    for (number, line) in entry.cure.iter().flat_map(|cure| cure.lines()).enumerate() {
        let sign = if number == 0 { "->" } else { "  " };
        let _ = writeln!(body, "  {sign} {line}");
    }
    if let Some(code) = entry.code {
        let _ = writeln!(body, "  ({code})");
    }
}

/// Words of others with their lines, as far as a message has room for them
fn printable(text: &str) -> String {
    words::lines(text).chars().take(MOST_WORDS).collect()
}

/// The host's name
pub(super) fn host() -> String {
    let name = gethostname().unwrap_or_default();
    match excerpt(&name.to_string_lossy(), MOST_HOST) {
        name if name.is_empty() => "this host".to_owned(),
        name => name,
    }
}

/// Version of the JSON form of messages
pub const SCHEMA_VERSION: u32 = 1;
/// Domains that one message lists
pub const MOST_DOMAINS: usize = 100;
/// Characters of a summary or a cure
const MOST_WORDS: usize = 4_000;
const MOST_HOST: usize = 64;
const MOMENT: SignedDuration = SignedDuration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(domain: &str, event: Event) -> Entry {
        Entry {
            domain: domain.to_owned(),
            event,
            since: Some("2027-03-01T03:00:00Z".parse().unwrap()),
            summary: "cannot reach the CA".to_owned(),
            code: Some("acme.unreachable"),
            cure: Some("see to the network:\n    ping ca.test".to_owned()),
            not_after: Some("2027-03-20T03:00:00Z".parse().unwrap()),
        }
    }

    fn now() -> Timestamp {
        "2027-03-02T03:00:00Z".parse().unwrap()
    }

    #[test]
    fn one_domain_stands_in_the_subject_and_several_are_counted() {
        #[track_caller]
        fn check(entries: &[Entry], expected: &str) {
            assert_eq!(headline(entries), expected);
        }
        let failed = entry("a.test", Event::Failed);
        check(std::slice::from_ref(&failed), "a.test: failed");
        let entries = [
            failed,
            entry("b.test", Event::Failed),
            entry("c.test", Event::Recovered),
        ];
        check(&entries, "2 failed, 1 well again");
    }

    #[test]
    fn the_same_cause_is_told_once() {
        let mut other = entry("c.test", Event::StillFailing);
        other.not_after = Some("2027-03-01T03:00:00Z".parse().unwrap());
        let entries = vec![
            entry("b.test", Event::StillFailing),
            entry("a.test", Event::StillFailing),
            entry("d.test", Event::Recovered),
            other,
        ];
        let message = Message::alert(entries, now());
        insta::assert_snapshot!(message.body().replace(&message.host, "[HOST]"), @r"
        a.test: still failing
          since 2027-03-01 03:00 UTC (24 h)
          its certificate is valid until 2027-03-20 03:00 UTC (18 days left)
        b.test: still failing
          since 2027-03-01 03:00 UTC (24 h)
          its certificate is valid until 2027-03-20 03:00 UTC (18 days left)
        c.test: still failing
          since 2027-03-01 03:00 UTC (24 h)
          its certificate expired 2027-03-01 03:00 UTC, 24 h ago
          cannot reach the CA
          -> see to the network:
                 ping ca.test
          (acme.unreachable)

        d.test: well again
          it was not since 2027-03-01 03:00 UTC (24 h)
          cannot reach the CA
          -> see to the network:
                 ping ca.test
          (acme.unreachable)

        `certd status` on [HOST] shows every domain.
        ");
    }

    #[test]
    fn a_thousand_domains_are_counted_and_not_listed() {
        let domains = (0..1_000).map(|number| format!("d{number}.test"));
        let entries = domains.map(|domain| entry(&domain, Event::Failed));
        let message = Message::alert(entries.collect(), now());
        assert!(
            message.subject.ends_with(": 1000 failed"),
            "{}",
            message.subject
        );
        assert_eq!(
            (message.domains.len(), message.omitted),
            (MOST_DOMAINS, 900)
        );
        assert!(
            message.text.contains("... and 900 more"),
            "{}",
            message.text
        );
    }

    #[test]
    fn nothing_in_a_message_obeys_others() {
        assert_eq!(
            printable("a\u{1b}[31m\rb\nc\u{7f}"),
            "a\\u{1b}[31m b\nc\\u{7f}"
        );
    }
}
