//! Words of strangers in chats: nothing in them is markup there, and nobody is called by them.

/// Text for Slack and for chats that take what Slack takes (Mattermost, Rocket.Chat): links and
/// calls begin with a character that has an escape
pub(super) fn for_slack(text: &str) -> String {
    without_calls(&text.replace('&', "&amp;").replace('<', "&lt;"))
}

/// Nobody is called by a plain `@channel` or `@all`, as Mattermost would do
///
/// An address of a mail has something before its sign, and stays.
pub(super) fn without_calls(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        if before == '@' && c.is_alphabetic() && !ends_a_word(&safe) {
            safe.push(' ');
        }
        safe.push(c);
        before = c;
    }
    safe
}

/// Whether what stands before the last sign is the end of a word
fn ends_a_word(text: &str) -> bool {
    let before = text.strip_suffix('@').unwrap_or(text).chars().next_back();
    before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
}
