//! Words of strangers: what a certificate, a CA, a web server or a path says is shown to people, and
//! obeyed by nothing that shows it.
//!
//! [`one_line`], [`excerpt`], [`lines`] and [`whole`] make words safe where they become evidence;
//! [`Guarded`] is the last door before a terminal, a log or a file.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

/// Words from outside on one line: line breaks and tabs become blanks, and what would draw on a
/// terminal, turn the direction of writing round or not be seen at all becomes an escape
pub fn one_line(words: &str) -> String {
    let words = words.trim();
    let mut line = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c => push(c, &mut line),
        }
    }
    line
}

/// Words from outside on the lines that they have, each as [`one_line`] gives it, indented as it was
pub fn lines(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for c in words.trim_end().chars() {
        match c {
            '\n' => text.push('\n'),
            '\r' | '\t' => text.push(' '),
            c => push(c, &mut text),
        }
    }
    text
}

/// Words from outside as [`one_line`] gives them, at most this many characters of them
///
/// What is cut off is shown by an ellipsis.
pub fn excerpt(words: &str, most: usize) -> String {
    let line = one_line(words);
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A name or path from outside of which every character counts: a line break in it is shown too,
/// and adds no line to what is told to be copied
pub fn whole(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c => push(c, &mut shown),
        }
    }
    shown
}

/// A path from outside as [`whole`] shows it
pub fn path(path: &Path) -> String {
    whole(&path.to_string_lossy())
}

/// A word as a shell takes it
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn push(c: char, text: &mut String) {
    match is_hidden(c) {
        true => {
            // A string takes all.
            let _ = write!(text, "{}", c.escape_unicode());
        }
        false => text.push(c),
    }
}

/// Whether a character is obeyed rather than shown: controls, line separators, marks of direction,
/// and what takes no room (the default ignorable characters of Unicode)
///
/// Joiners and variation selectors are among them. They belong to some scripts and to pictures, and
/// two names that differ by nothing else look the same.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// How a stream shows what it must not hand on as it is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// As people read it, in text that may be coloured
    Text,
    /// Inside a string of JSON, whose reader gets the very same words
    Json,
    /// As a character reference of XML, likewise
    Xml,
}

/// A stream whose lines are no commands for whatever keeps them
///
/// The log of a CI job is also where its runner takes commands from: `::error::` at the beginning of
/// a line (GitHub), `##[error]` and `##vso[...]` anywhere in one (GitHub, Azure). Colours pass; every
/// other character that [`one_line`] would escape is escaped here, whoever forgot it.
#[derive(Debug)]
pub struct Guarded<W: Write> {
    inner: W,
    escapes: Escapes,
    /// A line that has not ended yet
    begun: Vec<u8>,
}

impl<W: Write> Guarded<W> {
    /// Guards what goes to this stream; what does not end with a line break goes at `flush`
    pub const fn new(inner: W, escapes: Escapes) -> Self {
        Self {
            inner,
            escapes,
            begun: Vec::new(),
        }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.begun);
        let written = self
            .inner
            .write_all(guarded(&line, self.escapes).as_bytes());
        self.begun.clear();
        written
    }
}

impl<W: Write> Write for Guarded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.hand_on()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.begun.is_empty() {
            self.hand_on()?;
        }
        self.inner.flush()
    }
}

/// One line, with its line break if it has one, as it may be handed on
fn guarded(line: &str, escapes: Escapes) -> Cow<'_, str> {
    let end = line.strip_suffix('\n').unwrap_or(line).len();
    let command = match escapes {
        Escapes::Text => command(line),
        // Quotes and tags stand before whatever a stranger says.
        Escapes::Json | Escapes::Xml => None,
    };
    let mark = line.contains("##");
    if command.is_none() && !mark && !line[..end].contains(is_hidden) {
        return Cow::Borrowed(line);
    }
    let mut safe = String::with_capacity(line.len() + 16);
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        let is_colour = || escapes == Escapes::Text && colour(&line[at..]).is_some();
        let is_marked =
            c == '#' && before == '#' && (escapes != Escapes::Text || opens(&line[at..]));
        let is_escaped =
            Some(at) == command || is_marked || (at < end && is_hidden(c) && !is_colour());
        match is_escaped {
            true => escape(c, escapes, &mut safe),
            false => safe.push(c),
        }
        before = c;
    }
    Cow::Owned(safe)
}

fn escape(c: char, escapes: Escapes, text: &mut String) {
    // A string takes all.
    let _ = match escapes {
        Escapes::Text => write!(text, "{}", c.escape_unicode()),
        Escapes::Json => c
            .encode_utf16(&mut [0; 2])
            .iter()
            .try_for_each(|unit| write!(text, "\\u{unit:04x}")),
        Escapes::Xml => write!(text, "&#{};", u32::from(c)),
    };
}

/// Where the workflow command begins that a line would be to GitHub's runner
///
/// It passes over blanks, takes a name, and needs a second `::`: an address of IPv6 is none.
fn command(line: &str) -> Option<usize> {
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        match colour(rest) {
            Some(length) => rest = &rest[length..],
            None => break,
        }
    }
    let words = rest.strip_prefix("::")?;
    let is_command = words.starts_with(|c: char| c.is_ascii_alphabetic()) && words.contains("::");
    is_command.then(|| line.len() - rest.len())
}

/// Whether words beginning with a number sign go on as a command does: `#[`, `#vso[`
fn opens(words: &str) -> bool {
    let rest = words.trim_start_matches('#');
    rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        .starts_with('[')
}

/// Length of the colour that words begin with: an escape code that does nothing else (SGR)
fn colour(words: &str) -> Option<usize> {
    let code = words.strip_prefix("\u{1b}[")?;
    let end = code.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    code[end..].starts_with('m').then(|| end + 3)
}

/// A line of text that a runner takes no command from, wherever in a line it comes to stand
pub fn without_marks(line: &str) -> Cow<'_, str> {
    guarded(line, Escapes::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_or_not_seen_becomes_an_escape() {
        #[track_caller]
        fn check(words: &str, expected: &str) {
            assert_eq!(one_line(words), expected);
        }
        check(" a\nb\tc\r\n", "a b c");
        check("a\u{1b}[31mb\u{7f}", "a\\u{1b}[31mb\\u{7f}");
        check("pay\u{202e}lap", "pay\\u{202e}lap");
        check(
            "a\u{2028}b\u{2029}c\u{85}d",
            "a\\u{2028}b\\u{2029}c\\u{85}d",
        );
        check(
            "a\u{200b}b\u{feff}c\u{e0041}",
            "a\\u{200b}b\\u{feff}c\\u{e0041}",
        );
        check("Bücher 書籍 ✓ 😀", "Bücher 書籍 ✓ 😀");
    }

    #[test]
    fn every_mark_of_direction_is_an_escape() {
        let marks = ('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .chain(['\u{200e}', '\u{200f}', '\u{61c}']);
        for mark in marks {
            assert!(one_line(&format!("a{mark}b")).is_ascii(), "{mark:?}");
        }
    }

    #[test]
    fn lines_stay_lines_and_a_name_is_one() {
        assert_eq!(lines("a\n    b\r\n\tc\u{1b}\n"), "a\n    b \n c\\u{1b}");
        assert_eq!(whole("/etc/a\nssl off;\t#"), "/etc/a\\nssl off;\\t#");
    }

    #[test]
    fn an_excerpt_is_cut_after_its_characters() {
        assert_eq!(excerpt("äöü", 3), "äöü");
        assert_eq!(excerpt("äöüx", 3), "äöü…");
    }

    #[track_caller]
    fn check(escapes: Escapes, text: &str, expected: &str) {
        let mut guarded = Guarded::new(Vec::new(), escapes);
        // In pieces, as `write!` hands it on.
        for byte in text.as_bytes() {
            guarded.write_all(&[*byte]).unwrap();
        }
        guarded.flush().unwrap();
        assert_eq!(String::from_utf8(guarded.inner).unwrap(), expected);
    }

    #[test]
    fn no_line_of_text_is_a_command_of_a_runner() {
        let check = |text, expected| check(Escapes::Text, text, expected);
        check("::error::x\n", "\\u{3a}:error::x\n");
        check(
            "  \u{a0}::set-output name=a::b",
            "  \u{a0}\\u{3a}:set-output name=a::b",
        );
        check(
            "\u{1b}[1m::error::x\u{1b}[0m\n",
            "\u{1b}[1m\\u{3a}:error::x\u{1b}[0m\n",
        );
        check("a\r::error::x\n", "a\\u{d}::error::x\n");
        check("a\u{1b}[2Jb\n", "a\\u{1b}[2Jb\n");
        check("a ##[error]b\n", "a #\\u{23}[error]b\n");
        check("###[error]b\n", "#\\u{23}\\u{23}[error]b\n");
        check(
            "##vso[task.setvariable]b\n",
            "#\\u{23}vso[task.setvariable]b\n",
        );
        check("pay\u{202e}lap\n", "pay\\u{202e}lap\n");
    }

    #[test]
    fn what_is_no_command_stays() {
        for text in [
            "::1 is not here\n",
            "::ffff:127.0.0.1\n",
            "see ::error::x\n",
            "## Title ##\n",
            "\u{1b}[32m✓\u{1b}[0m a\n\n  b\n",
        ] {
            check(Escapes::Text, text, text);
        }
    }

    #[test]
    fn a_string_of_json_is_the_same_and_no_command() {
        let words = "a\u{202e}b ##[error] \u{e0041}\u{2028}";
        let mut guarded = Guarded::new(Vec::new(), Escapes::Json);
        serde_json::to_writer(&mut guarded, words).unwrap();
        guarded.flush().unwrap();
        let text = String::from_utf8(guarded.inner).unwrap();
        assert!(text.is_ascii() && !text.contains("##"), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), words);
    }

    #[test]
    fn a_reference_of_xml_stands_for_what_would_be_a_command() {
        check(
            Escapes::Xml,
            "<a b=\"##[error]\"/>",
            "<a b=\"#&#35;[error]\"/>",
        );
    }
}
