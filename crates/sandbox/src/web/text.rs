//! The text of one configuration file: its directives up to the first mistake in its syntax, and
//! nginx's words for that.
//!
//! The parser ends a word at a brace or a quotation mark within it, where nginx reads on: such a
//! word is refused here in other words than nginx has, or although nginx would take it.

use nginx_lint_parser::ast::{Argument, Config, Directive};
use nginx_lint_parser::parse_string_with_errors;

/// A parsed file
pub(super) struct Text {
    /// Its path in the container
    name: String,
    text: String,
    config: Config,
    mistake: Option<Mistake>,
}

/// The first mistake in the syntax
struct Mistake {
    offset: usize,
    words: String,
}

impl Text {
    pub(super) fn parse(name: &str, bytes: &[u8]) -> Self {
        // To the parser a carriage return is no white space, which it is to nginx.
        let text = String::from_utf8_lossy(bytes).replace('\r', " ");
        let (config, errors) = parse_string_with_errors(&text);
        let mistake = errors.first().map(|error| {
            let offset = skip_blank(&text, error.offset);
            Mistake {
                offset,
                words: match text[offset..].chars().next() {
                    Some(unexpected) => format!("unexpected \"{unexpected}\""),
                    None if error.message == BLOCK_IS_OPEN => {
                        "unexpected end of file, expecting \"}\"".to_owned()
                    }
                    None => "unexpected end of file, expecting \";\" or \"}\"".to_owned(),
                },
            }
        });
        Self {
            name: name.to_owned(),
            text,
            config,
            mistake,
        }
    }

    pub(super) fn directives(&self) -> impl Iterator<Item = &Directive> {
        self.config.directives()
    }

    /// The place where a directive ends or its block begins, which is the one that nginx names
    ///
    /// # Errors
    /// nginx's complaint where a mistake in the syntax comes before that.
    pub(super) fn place_of(&self, directive: &Directive) -> Result<String, String> {
        if let Some(unexpected) = behind_quotes(directive) {
            let words = format!("unexpected \"{}\"", first_of(unexpected));
            return Err(emergency(&words, &self.place(unexpected.span.start.offset)));
        }
        let last = directive.args.last().map(|argument| argument.span);
        let after = last.unwrap_or(directive.name_span).end.offset;
        let offset = skip_blank(&self.text, after);
        match &self.mistake {
            Some(mistake) if mistake.offset <= offset => Err(self.complaint(mistake)),
            _ => Ok(self.place(offset)),
        }
    }

    /// Whether its syntax is right to the end
    ///
    /// # Errors
    /// nginx's complaint of the first mistake.
    pub(super) fn end(&self) -> Result<(), String> {
        match &self.mistake {
            Some(mistake) => Err(self.complaint(mistake)),
            None => Ok(()),
        }
    }

    fn complaint(&self, mistake: &Mistake) -> String {
        emergency(&mistake.words, &self.place(mistake.offset))
    }

    fn place(&self, offset: usize) -> String {
        let line = 1 + self.text[..offset].matches('\n').count();
        format!("{}:{line}", self.name)
    }
}

/// The arguments of a directive
///
/// The parser takes `/x/$host.pem` for two arguments, as a variable begins within it.
pub(super) fn arguments(directive: &Directive) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    let mut end = 0;
    for argument in &directive.args {
        match whole.last_mut() {
            Some(last) if argument.span.start.offset == end => last.push_str(argument.as_str()),
            _ => whole.push(argument.as_str().to_owned()),
        }
        end = argument.span.end.offset;
    }
    whole
}

/// The argument that begins where the quotes of another end, which nginx takes for a mistake
fn behind_quotes(directive: &Directive) -> Option<&Argument> {
    directive
        .args
        .windows(2)
        .find(|pair| pair[0].is_quoted() && pair[0].span.end.offset == pair[1].span.start.offset)
        .map(|pair| &pair[1])
}

fn first_of(argument: &Argument) -> &str {
    argument.raw.get(..1).unwrap_or(&argument.raw)
}

/// What nginx says of a place in the configuration, on a line of its own
pub(super) fn emergency(words: &str, place: &str) -> String {
    format!("nginx: [emerg] {words} in {place}\n")
}

/// Where white space and comments end that begin here
fn skip_blank(text: &str, offset: usize) -> usize {
    let mut rest = text.get(offset..).unwrap_or_default();
    loop {
        rest = rest.trim_start();
        match rest.strip_prefix('#') {
            Some(comment) => rest = comment.find('\n').map_or("", |end| &comment[end..]),
            None => return text.len() - rest.len(),
        }
    }
}

/// The parser's words at the end of a file that lacks a closing brace
const BLOCK_IS_OPEN: &str = "expected '}'";
