//! The text of nginx's configuration files, read into words and directives as nginx reads them.
//!
//! A parser for linters takes variables, braces and quotation marks within a word for its end,
//! which they are not to nginx, and keeps white space and comments in a tree of some hundred bytes
//! a directive. Here a word borrows from the text, and blocks are places in one list: nothing
//! nests, whatever a file holds.

use std::borrow::Cow;
use std::ops::Range;

use super::Excess;

/// The directives of several files, in one list
#[derive(Default)]
pub(super) struct Texts<'d> {
    words: Vec<Cow<'d, str>>,
    directives: Vec<Directive>,
}

/// One directive; those of its block follow it in the list
#[derive(Clone, Debug)]
struct Directive {
    /// Line on which it begins, from 1
    line: u32,
    /// Its words, the first of which is its name
    words: Range<u32>,
    /// Where the list goes on behind its block
    end: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Line,
    Block,
}

/// One directive of a text
#[derive(Clone, Copy)]
pub(super) struct Item<'t, 'd> {
    texts: &'t Texts<'d>,
    number: usize,
}

impl<'t, 'd> Item<'t, 'd> {
    fn directive(self) -> &'t Directive {
        &self.texts.directives[self.number]
    }

    /// Line on which it begins, from 1
    pub(super) fn line(self) -> usize {
        self.directive().line as usize
    }

    pub(super) fn name(self) -> &'t str {
        let words = &self.directive().words;
        &self.texts.words[words.start as usize]
    }

    /// What stands behind its name
    pub(super) fn arguments(self) -> &'t [Cow<'d, str>] {
        let words = &self.directive().words;
        &self.texts.words[words.start as usize + 1..words.end as usize]
    }

    pub(super) fn first(self) -> Option<&'t str> {
        self.arguments().first().map(AsRef::as_ref)
    }

    /// The directives of its block; `None` for one that ends with a semicolon
    pub(super) fn block(self) -> Option<Items<'t, 'd>> {
        let directive = self.directive();
        (directive.kind == Kind::Block).then(|| Items {
            texts: self.texts,
            range: self.number + 1..directive.end as usize,
        })
    }
}

/// Directives that stand side by side
#[derive(Clone)]
pub(super) struct Items<'t, 'd> {
    texts: &'t Texts<'d>,
    range: Range<usize>,
}

impl<'t, 'd> Iterator for Items<'t, 'd> {
    type Item = Item<'t, 'd>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let item = Item {
            texts: self.texts,
            number: self.range.start,
        };
        self.range.start = item.directive().end as usize;
        Some(item)
    }
}

impl<'d> Texts<'d> {
    /// Adds a file, and gives the place of its directives
    ///
    /// One that breaks off, which no `nginx -T` prints, gives what can be read of it.
    ///
    /// # Errors
    /// [`Excess`] where it goes beyond what is judged.
    pub(super) fn add(&mut self, text: &'d str) -> Result<Range<usize>, Excess> {
        let begin = self.directives.len();
        let mut lexer = Lexer::new(text);
        let mut open: Vec<usize> = Vec::new();
        let mut first = self.words.len();
        let mut line = 1;
        while let Some(token) = lexer.next() {
            match token {
                Token::Word(word) => {
                    if self.words.len() == MOST_WORDS {
                        return Err(Excess::Words);
                    }
                    if self.words.len() == first {
                        line = lexer.word_line;
                    }
                    self.words.push(word);
                }
                Token::Semicolon if self.words.len() == first => break,
                Token::Semicolon => first = self.push(line, first, Kind::Line),
                Token::Open if self.words.len() == first => break,
                Token::Open => {
                    if open.len() == super::MOST_DEPTH {
                        return Err(Excess::Depth);
                    }
                    if self.words[first].ends_with(LUA) {
                        lexer.skip_lua();
                        first = self.push(line, first, Kind::Block);
                        continue;
                    }
                    open.push(self.directives.len());
                    first = self.push(line, first, Kind::Block);
                }
                Token::Close if self.words.len() > first => break,
                Token::Close => match open.pop() {
                    Some(number) => self.close(number),
                    None => break,
                },
            }
        }
        self.words.truncate(first);
        for number in open {
            self.close(number);
        }
        Ok(begin..self.directives.len())
    }

    /// The directives at the top of a file that was added
    pub(super) fn items(&self, file: Range<usize>) -> Items<'_, 'd> {
        Items {
            texts: self,
            range: file,
        }
    }

    /// Every directive, whatever file or block it stands in
    pub(super) fn all(&self) -> impl Iterator<Item = Item<'_, 'd>> {
        let numbers = 0..self.directives.len();
        numbers.map(|number| Item {
            texts: self,
            number,
        })
    }

    /// Ends a directive whose words begin there; gives where those of the next begin
    fn push(&mut self, line: u32, first: usize, kind: Kind) -> usize {
        // There are fewer words, and directives, than a u32 counts.
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.directives.push(Directive {
            line,
            words: short(first)..short(self.words.len()),
            end: short(self.directives.len() + 1),
            kind,
        });
        self.words.len()
    }

    fn close(&mut self, number: usize) {
        self.directives[number].end = u32::try_from(self.directives.len()).unwrap_or(u32::MAX);
    }
}

enum Token<'d> {
    Word(Cow<'d, str>),
    Semicolon,
    Open,
    Close,
}

/// nginx's own reading of a file, `ngx_conf_read_token`: all that ends a word is one byte
struct Lexer<'d> {
    text: &'d str,
    at: usize,
    line: u32,
    /// Line on which the last word begins
    word_line: u32,
}

impl<'d> Lexer<'d> {
    fn new(text: &'d str) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            word_line: 1,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        self.line += u32::from(byte == b'\n');
        Some(byte)
    }

    fn next(&mut self) -> Option<Token<'d>> {
        loop {
            match self.peek()? {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.bump();
                }
                b'#' => while self.bump().is_some_and(|byte| byte != b'\n') {},
                b';' => return self.one(Token::Semicolon),
                b'{' => return self.one(Token::Open),
                b'}' => return self.one(Token::Close),
                quote @ (b'"' | b'\'') => {
                    self.word_line = self.line;
                    self.bump();
                    return self.quoted(quote);
                }
                _ => {
                    self.word_line = self.line;
                    return Some(Token::Word(self.bare()));
                }
            }
        }
    }

    fn one(&mut self, token: Token<'d>) -> Option<Token<'d>> {
        self.bump();
        Some(token)
    }

    /// A word in quotation marks; `None` where the file ends in it
    fn quoted(&mut self, quote: u8) -> Option<Token<'d>> {
        let begin = self.at;
        loop {
            match self.bump()? {
                b'\\' => {
                    self.bump();
                }
                byte if byte == quote => {
                    return Some(Token::Word(unescaped(&self.text[begin..self.at - 1])));
                }
                _ => {}
            }
        }
    }

    /// A word without quotation marks: a brace behind a dollar is a part of it
    fn bare(&mut self) -> Cow<'d, str> {
        let begin = self.at;
        let mut before = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' => break,
                b'{' if before != b'$' => break,
                b'\\' => {
                    self.bump();
                    self.bump();
                }
                _ => {
                    self.bump();
                }
            }
            before = byte;
        }
        unescaped(&self.text[begin..self.at])
    }

    /// Passes over a block of Lua, whose words are not nginx's, and its closing brace
    fn skip_lua(&mut self) {
        let mut depth = 1_usize;
        while let Some(byte) = self.bump() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return,
                b'}' => depth -= 1,
                b'"' | b'\'' => {
                    while self.bump().is_some_and(|next| {
                        if next == b'\\' {
                            self.bump();
                        }
                        next != byte && next != b'\n'
                    }) {}
                }
                b'-' if self.peek() == Some(b'-') => self.skip_lua_comment(),
                b'[' => {
                    self.skip_long_bracket();
                }
                _ => {}
            }
        }
    }

    fn skip_lua_comment(&mut self) {
        self.bump();
        if self.peek() == Some(b'[') {
            self.bump();
            if self.skip_long_bracket() == Bracket::Long {
                return;
            }
        }
        while self.bump().is_some_and(|byte| byte != b'\n') {}
    }

    /// Passes over `[[ ... ]]` or `[=[ ... ]=]`, of which the first bracket was read
    fn skip_long_bracket(&mut self) -> Bracket {
        let rest = &self.text.as_bytes()[self.at..];
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        if rest.get(level) != Some(&b'[') {
            return Bracket::Plain;
        }
        let end = format!("]{}]", "=".repeat(level));
        let rest = &self.text[self.at..];
        let length = rest.find(&end).map_or(rest.len(), |at| at + end.len());
        let until = self.at + length;
        while self.at < until {
            self.bump();
        }
        Bracket::Long
    }
}

/// What a bracket of Lua begins
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Plain,
    Long,
}

/// A word without the backslashes that nginx takes away
fn unescaped(word: &str) -> Cow<'_, str> {
    if !word.contains('\\') {
        return Cow::Borrowed(word);
    }
    let mut plain = String::with_capacity(word.len());
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some(escaped @ ('"' | '\'' | '\\')) => plain.push(escaped),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('n') => plain.push('\n'),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}

/// Words that are read: a thousand real sites have a quarter of a million
const MOST_WORDS: usize = 1_000_000;
/// Ends the name of a directive whose block holds Lua
const LUA: &str = "_by_lua_block";
