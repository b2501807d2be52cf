//! Messages as chats and push services take them, each by its own documents.
//!
//! Words of a CA or of a web server stand in a message, and must be read there, not obeyed: what
//! would call people, or show one address and lead to another, is taken apart.

use serde_json::{Value, json};

use super::markup::for_slack;
use super::message::{Kind, Message};
use crate::config::notify::{Event, WebhookFormat};

/// A message on its way to a webhook
#[derive(Debug)]
pub(super) struct Parcel {
    /// Its media type
    pub(super) content_type: &'static str,
    /// A title that travels as a header, in ASCII
    pub(super) title: Option<String>,
    pub(super) body: Vec<u8>,
}

/// The message in this form
pub(super) fn parcel(format: WebhookFormat, message: &Message) -> Parcel {
    let json = |value: Value| Parcel {
        content_type: JSON,
        title: None,
        body: value.to_string().into_bytes(),
    };
    match format {
        WebhookFormat::Json => Parcel {
            content_type: JSON,
            title: None,
            body: message.json().to_vec(),
        },
        WebhookFormat::Slack => json(json!({"text": for_slack(&message.text)})),
        WebhookFormat::Discord => json(discord(message)),
        WebhookFormat::GoogleChat => json(json!({
            "text": cut(&without_markup(&message.text), MOST_OF_GOOGLE_CHAT),
        })),
        WebhookFormat::Teams => json(teams(message)),
        WebhookFormat::Gotify => json(json!({
            "title": message.subject,
            "message": message.body(),
            "priority": if is_urgent(message) { 8 } else { 5 },
            "extras": {"client::display": {"contentType": "text/plain"}},
        })),
        WebhookFormat::Ntfy => Parcel {
            content_type: "text/plain; charset=utf-8",
            title: Some(message.subject.replace(|c: char| !c.is_ascii(), "?")),
            body: cut(message.body(), MOST_OF_NTFY).into_bytes(),
        },
    }
}

/// Google Chat has no escape for `<users/all>` and `<https://a|b>`: other brackets stand for them
fn without_markup(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}

/// A block of code, in which no markup counts, and nobody who may be called
fn discord(message: &Message) -> Value {
    let text = message.text.replace("```", "'''");
    let text = cut(&text, MOST_OF_DISCORD - 2 * FENCE.len());
    json!({
        "content": format!("{FENCE}{}{FENCE}", text.trim_end()),
        "allowed_mentions": {"parse": []},
    })
}

/// An adaptive card; a run of text in it has no markup, as a block of text would have
fn teams(message: &Message) -> Value {
    let text = cut(message.body(), MOST_OF_TEAMS);
    let run = |text: &str, more: Value| {
        let mut run = json!({"type": "TextRun", "text": text});
        if let (Some(run), Value::Object(more)) = (run.as_object_mut(), more) {
            run.extend(more);
        }
        json!({"type": "RichTextBlock", "inlines": [run]})
    };
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [
                    run(&message.subject, json!({"weight": "Bolder"})),
                    run(&text, json!({"fontType": "Monospace"})),
                ],
            },
        }],
    })
}

/// Whether somebody should be woken
fn is_urgent(message: &Message) -> bool {
    let is_good = |event| event == Event::Recovered;
    message.kind == Kind::Alert && !message.domains.iter().all(|entry| is_good(entry.event))
}

/// The beginning of a text, of so many bytes at most, cut at the end of a line where there is one
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let room = most.saturating_sub(CUT.len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end));
    let kept = &text[..end.unwrap_or_default()];
    let whole = kept.rfind('\n').map_or(kept, |end| &kept[..=end]);
    format!("{whole}{CUT}")
}

const JSON: &str = "application/json";
const FENCE: &str = "```\n";
const CUT: &str = "...";
/// Characters of a message's `content`; counted in bytes here, of which there are no fewer
const MOST_OF_DISCORD: usize = 2_000;
/// Bytes of a message; more becomes an attachment
const MOST_OF_NTFY: usize = 4_096;
/// Bytes of a message
const MOST_OF_GOOGLE_CHAT: usize = 4_096;
/// Bytes of a text, whose card may have 28 KiB with all that stands around it
const MOST_OF_TEAMS: usize = 12_000;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::notify::message::Entry;

    const HOSTILE: &str =
        "<!channel> <https://evil.test|here> & @everyone @all ``` admin@example.com <users/all>";

    fn message(summary: &str) -> Message {
        let entry = Entry {
            domain: "a.test".to_owned(),
            event: Event::Failed,
            since: None,
            summary: summary.to_owned(),
            code: Some("acme.refused"),
            cure: None,
            not_after: None,
        };
        Message::alert(vec![entry], Timestamp::UNIX_EPOCH)
    }

    fn sent(format: WebhookFormat, summary: &str) -> Value {
        serde_json::from_slice(&parcel(format, &message(summary)).body).unwrap()
    }

    #[test]
    fn slack_is_told_what_no_markup_obeys() {
        let text = sent(WebhookFormat::Slack, HOSTILE)["text"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            text.contains(
                "&lt;!channel> &lt;https://evil.test|here> &amp; @ everyone @ all ``` admin@example.com"
            ),
            "{text}"
        );
        assert!(!text.contains('<'), "{text}");
        // The form for programs is shown by chats too.
        let json = sent(WebhookFormat::Json, HOSTILE);
        assert_eq!(json["text"], text);
        assert_eq!(json["domains"][0]["summary"], HOSTILE);
    }

    #[test]
    fn discord_shows_a_block_of_code_that_nothing_ends_and_calls_nobody() {
        let json = sent(WebhookFormat::Discord, HOSTILE);
        assert_eq!(json["allowed_mentions"], json!({"parse": []}));
        let content = json["content"].as_str().unwrap();
        assert_eq!(content.matches("```").count(), 2, "{content}");
        let long = sent(WebhookFormat::Discord, &"ü ".repeat(3_000));
        let content = long["content"].as_str().unwrap();
        assert!(
            content.chars().count() <= 2_000 && content.ends_with("...```\n"),
            "{content}"
        );
    }

    #[test]
    fn google_chat_takes_a_text_alone() {
        let json = sent(WebhookFormat::GoogleChat, HOSTILE);
        assert_eq!(json.as_object().unwrap().len(), 1);
        let text = json["text"].as_str().unwrap();
        assert!(
            text.contains("‹users/all›") && !text.contains('<'),
            "{text}"
        );
        let long = sent(WebhookFormat::GoogleChat, &"<".repeat(4_000));
        assert!(long["text"].as_str().unwrap().len() <= 4_096);
    }

    #[test]
    fn teams_takes_a_card_whose_text_has_no_markup() {
        let json = sent(WebhookFormat::Teams, HOSTILE);
        assert_eq!(json["type"], "message");
        let card = &json["attachments"][0];
        assert_eq!(
            card["contentType"],
            "application/vnd.microsoft.card.adaptive"
        );
        assert_eq!(card["content"]["type"], "AdaptiveCard");
        for block in card["content"]["body"].as_array().unwrap() {
            assert_eq!(block["type"], "RichTextBlock");
            assert_eq!(block["inlines"][0]["type"], "TextRun");
        }
    }

    #[test]
    fn gotify_and_ntfy_take_a_title_and_plain_text() {
        let json = sent(WebhookFormat::Gotify, "no route");
        assert_eq!(json["priority"], 8);
        assert!(json["title"].as_str().unwrap().ends_with("a.test: failed"));
        assert!(json["message"].as_str().unwrap().contains("no route"));
        assert_eq!(
            json["extras"]["client::display"]["contentType"],
            "text/plain"
        );

        let parcel = parcel(WebhookFormat::Ntfy, &message(&"long ".repeat(2_000)));
        assert!(parcel.content_type.starts_with("text/plain"));
        assert!(parcel.title.unwrap().ends_with("a.test: failed"));
        assert!(parcel.body.len() <= 4_096);
    }
}
