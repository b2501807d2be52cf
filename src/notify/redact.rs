//! What a server says, without the secrets that it repeats.
//!
//! Servers quote what they refuse: a path, a header, the response of a login. What they say is shown
//! and logged, and the secrets of the channel must not be, however they are written there.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::Uri;

/// The secrets of one channel
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Those that may be in the path and the query of a URL
    ///
    /// Whoever serves it decides which part is one, so that each may be.
    pub(super) fn of_url(url: &Uri) -> Self {
        let mut secrets = Self::default();
        let path = url.path_and_query().map_or("", |path| path.as_str());
        let parts = path.split(['/', '?', '&', '=']);
        for part in parts.filter(|part| part.len() >= SHORTEST_PART) {
            secrets.add(part);
            secrets.add(&percent_decoded(part));
        }
        secrets
    }

    /// Adds one that is known as such
    pub(super) fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
            // One may be a part of another, of which nothing is to be left.
            self.0.sort_by_key(|known| std::cmp::Reverse(known.len()));
        }
    }

    /// Adds the value of a header, its words, and the password in the credentials of `Basic`
    /// (RFC 7617)
    pub(super) fn add_header(&mut self, value: &str) {
        let words = value.split([' ', ';', ',', '=']).chain([value]);
        for word in words.filter(|word| word.len() >= SHORTEST_PART) {
            self.add(word);
        }
        for word in value.split(' ') {
            let credentials = from_base64(word.trim_end_matches('='));
            let credentials = credentials.and_then(|bytes| String::from_utf8(bytes).ok());
            if let Some((_, password)) =
                credentials.as_deref().and_then(|text| text.split_once(':'))
            {
                self.add(password);
            }
        }
    }

    /// The same words, with dots for each secret: in plain, percent-encoded (RFC 3986 section 2.1), or
    /// in base64 (RFC 4648), there also as a part of something longer, such as the response of a login
    pub(super) fn hide(&self, words: &str) -> String {
        let mut hidden = words.to_owned();
        // What is encoded first: of a secret that holds another only that one would be found in plain.
        let pieces = words.split(|c: char| c.is_whitespace() || DELIMITERS.contains(&c));
        for piece in pieces.filter(|piece| self.is_in(piece)) {
            hidden = hidden.replace(piece, HIDDEN);
        }
        for secret in &self.0 {
            hidden = hidden.replace(secret, HIDDEN);
        }
        hidden
    }

    /// Whether one is encoded in a piece of text
    fn is_in(&self, piece: &str) -> bool {
        let texts = [
            percent_decoded(piece),
            percent_decoded(&piece.replace('+', " ")),
        ];
        let encoded = texts
            .iter()
            .any(|text| text != piece && self.is_part_of(text.as_bytes()));
        encoded || self.is_in_base64(&texts[0])
    }

    fn is_in_base64(&self, text: &str) -> bool {
        let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
        let runs = text.split(|c| !is_digit(c));
        // What stands before it, such as the path of a URL, may be made of digits too.
        let mut readings = runs.flat_map(|run| (0..4).filter_map(move |from| run.get(from..)));
        readings.any(|digits| from_base64(digits).is_some_and(|bytes| self.is_part_of(&bytes)))
    }

    fn is_part_of(&self, bytes: &[u8]) -> bool {
        let is_there = |secret: &String| {
            let mut windows = bytes.windows(secret.len());
            windows.any(|window| window == secret.as_bytes())
        };
        self.0.iter().any(is_there)
    }
}

/// What digits of base64 stand for, of either alphabet; one too many is left out
fn from_base64(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.replace('-', "+").replace('_', "/");
    let whole = digits.len() - usize::from(digits.len() % 4 == 1);
    BASE64.decode(digits.get(..whole)?).ok()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const HIDDEN: &str = "...";
/// What stands around a word in a sentence, in HTML or in JSON, and in none that is encoded
const DELIMITERS: [char; 6] = ['"', '\'', '<', '>', '(', ')'];
/// Bytes of a secret: a shorter one would be found in every other word
const SHORTEST: usize = 4;
/// Bytes of a part of a URL or a header that may be a secret
const SHORTEST_PART: usize = 6;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn a_secret_is_hidden_in_each_form_in_which_a_server_may_repeat_it() {
        let mut secrets = Secrets::default();
        secrets.add("hunter2 s/cret?");
        secrets.add("hunter2");
        let check = |words: &str, expected: &str| assert_eq!(secrets.hide(words), expected);
        check("no hunter2 s/cret? here", "no ... here");
        check("password hunter2!", "password ...!");
        check("at /hooks/hunter2%20s%2fcret%3F/x", "at ...");
        check("'hunter2+s%2Fcret%3F'", "'...'");
        check("%68unter2", "...");
        check("?a=hunter2&b=hunter%32 hunter2", "... ...");
        check("100% of 5%zz and %", "100% of 5%zz and %");
        for user in ["", "a", "ab", "abc"] {
            let login = format!("\0{user}\0hunter2");
            let login = BASE64_STANDARD.encode(login);
            check(&format!("535 rejected ({login})"), "535 rejected (...)");
            let login = BASE64_URL_SAFE_NO_PAD.encode(format!("{user}:hunter2 s/cret?~"));
            check(&format!("Basic {login}"), "Basic ...");
            check(&format!("no /x/{login}"), "no ...");
        }
        check(
            "the mailbox administrators is full",
            "the mailbox administrators is full",
        );
    }

    #[test]
    fn the_password_of_basic_credentials_is_a_secret_and_the_user_is_none() {
        let mut secrets = Secrets::default();
        secrets.add_header(&format!(
            "Basic {}",
            BASE64_STANDARD.encode("certd:hunter2secret")
        ));
        let said = secrets.hide("basic certd:hunter2secret is wrong");
        assert_eq!(said, "basic certd:... is wrong");
    }

    #[test]
    fn a_part_of_a_url_is_hidden_as_it_is_written_and_as_it_is_read() {
        let url = "https://chat.test/hooks/my%20secret%2Fkey?token=abc-def"
            .parse()
            .unwrap();
        let secrets = Secrets::of_url(&url);
        let said = secrets.hide("no my secret/key, my%20secret%2Fkey; abc-def, abc%2Ddef in hooks");
        assert_eq!(said, "no ..., ... ..., ... in hooks");
    }
}
