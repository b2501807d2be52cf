//! The text of nginx's configuration files, read into words and directives as nginx reads them.
//!
//! A parser for linters takes variables, braces and quotation marks within a word for its end,
//! which they are not to nginx, and keeps white space and comments in a tree of some hundred bytes
//! a directive. Here a word borrows from the text, and blocks are places in one list: nothing
//! nests, whatever a file holds.

use std::borrow::Cow;
use std::ops::Range;

use super::Unjudged;
use super::files::directory_of;
use crate::finding::words;

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
    /// Reads the files of a dump, and gives each with its name and the place of its directives
    ///
    /// What stands before the first header is of none, and nothing is what has no header.
    ///
    /// # Errors
    /// [`Unjudged`] where it goes beyond what is judged, or is what no `nginx -T` prints.
    pub(super) fn read(dump: &'d str) -> Result<(Self, Vec<FileOf<'d>>), Unjudged> {
        let mut texts = Self::default();
        let mut files = Vec::new();
        let Some((main, begin)) = first_header(dump) else {
            return Ok((texts, files));
        };
        let mut lexer = Lexer::new(dump, begin);
        let mut name = main;
        loop {
            let begin = texts.directives.len();
            let next = texts.file(&mut lexer, (name, main))?;
            files.push((name, begin..texts.directives.len()));
            match next {
                Some(next) => name = next,
                None => return Ok((texts, files)),
            }
        }
    }

    /// Reads one file, and gives the name of the one behind it
    ///
    /// nginx prints nothing that it does not read to its end, so a header inside of a block or of a
    /// directive is a comment.
    fn file(
        &mut self,
        lexer: &mut Lexer<'d>,
        (name, main): (&'d str, &'d str),
    ) -> Result<Option<&'d str>, Unjudged> {
        let mut open: Vec<usize> = Vec::new();
        let mut first = self.words.len();
        let mut line = 1;
        lexer.line = 1;
        loop {
            let is_between = self.words.len() == first;
            match lexer.next() {
                Token::Word(word) => {
                    if self.words.len() == MOST_WORDS {
                        return Err(Unjudged::Words);
                    }
                    if is_between {
                        line = lexer.word_line;
                    }
                    self.words.push(word);
                }
                Token::Semicolon if !is_between => first = self.push(line, first, Kind::Line),
                Token::Open if !is_between => {
                    if open.len() == super::MOST_DEPTH {
                        return Err(Unjudged::Depth);
                    }
                    let is_lua = self.words[first].ends_with(LUA);
                    let number = self.directives.len();
                    first = self.push(line, first, Kind::Block);
                    match is_lua {
                        true => lexer.skip_lua().ok_or_else(|| syntax(name, line))?,
                        false => open.push(number),
                    }
                }
                Token::Close if is_between && !open.is_empty() => {
                    open.pop().into_iter().for_each(|number| self.close(number));
                }
                Token::Header(file) => {
                    let is_absolute = file.starts_with('/');
                    let is_path = is_absolute || file.starts_with(directory_of(main));
                    if is_between && open.is_empty() && is_path {
                        return Ok(Some(file));
                    }
                }
                Token::End if is_between && open.is_empty() => return Ok(None),
                Token::Semicolon | Token::Open | Token::Close | Token::End | Token::Broken => {
                    return Err(syntax(name, lexer.line));
                }
            }
        }
    }

    /// The directives at the top of a file that was added
    pub(super) fn items(&self, file: Range<usize>) -> Items<'_, 'd> {
        Items {
            texts: self,
            range: file,
        }
    }

    /// How many directives there are
    pub(super) fn len(&self) -> usize {
        self.directives.len()
    }

    /// Every directive of a part of the list, whatever block it stands in
    pub(super) fn every(&self, numbers: Range<usize>) -> impl Iterator<Item = Item<'_, 'd>> {
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

/// A file's name, and the place of its directives
type FileOf<'d> = (&'d str, Range<usize>);

fn syntax(file: &str, line: u32) -> Unjudged {
    Unjudged::Syntax {
        file: file.to_owned(),
        line: line as usize,
    }
}

/// The file that a line of a dump is the header of; `None` for any other line
fn header(line: &str) -> Option<&str> {
    let name = line.strip_prefix(HEADER)?.strip_suffix(":\n")?;
    (!name.is_empty()).then_some(name)
}

/// The first header of a dump, and where the text behind it begins
fn first_header(dump: &str) -> Option<(&str, usize)> {
    let mut begin = 0;
    dump.split_inclusive('\n').find_map(|line| {
        begin += line.len();
        Some((header(line)?, begin))
    })
}

enum Token<'d> {
    Word(Cow<'d, str>),
    Semicolon,
    Open,
    Close,
    /// A comment that is written as the header of this file is
    Header(&'d str),
    End,
    /// The end of the text inside of quotation marks
    Broken,
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
    fn new(text: &'d str, at: usize) -> Self {
        Self {
            text,
            at,
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

    fn next(&mut self) -> Token<'d> {
        loop {
            match self.peek() {
                None => return Token::End,
                Some(b' ' | b'\t' | b'\r' | b'\n') => {
                    self.bump();
                }
                Some(b'#') => {
                    if let Some(file) = self.comment() {
                        return Token::Header(file);
                    }
                }
                Some(b';') => return self.one(Token::Semicolon),
                Some(b'{') => return self.one(Token::Open),
                Some(b'}') => return self.one(Token::Close),
                Some(quote @ (b'"' | b'\'')) => {
                    self.word_line = self.line;
                    self.bump();
                    return self.quoted(quote).map_or(Token::Broken, Token::Word);
                }
                Some(_) => {
                    self.word_line = self.line;
                    return Token::Word(self.bare());
                }
            }
        }
    }

    fn one(&mut self, token: Token<'d>) -> Token<'d> {
        self.bump();
        token
    }

    /// Passes over a comment, and gives the file that it is the header of if it is one
    fn comment(&mut self) -> Option<&'d str> {
        let begin = self.at;
        while self.bump().is_some_and(|byte| byte != b'\n') {}
        let begins_line = begin == 0 || self.text.as_bytes()[begin - 1] == b'\n';
        header(&self.text[begin..self.at]).filter(|_| begins_line)
    }

    /// A word in quotation marks; `None` where the text ends in it
    fn quoted(&mut self, quote: u8) -> Option<Cow<'d, str>> {
        let begin = self.at;
        loop {
            match self.bump()? {
                b'\\' => {
                    self.bump();
                }
                byte if byte == quote => {
                    return Some(unescaped(&self.text[begin..self.at - 1]));
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
    ///
    /// `None` where it does not end, or where a header stands in it: Lua is not read as exactly as
    /// that would take.
    fn skip_lua(&mut self) -> Option<()> {
        let begin = self.at;
        let mut depth = 1_usize;
        while depth > 0 {
            match self.bump()? {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                quote @ (b'"' | b'\'') => {
                    while self.bump().is_some_and(|next| {
                        if next == b'\\' {
                            self.bump();
                        }
                        next != quote && next != b'\n'
                    }) {}
                }
                b'-' if self.peek() == Some(b'-') => self.skip_lua_comment(),
                b'[' => {
                    self.skip_long_bracket();
                }
                _ => {}
            }
        }
        let mut lines = self.text[begin..self.at].split_inclusive('\n').skip(1);
        lines.all(|line| header(line).is_none()).then_some(())
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

/// A word of a directive: one that nginx would not take for one word stands in quotation marks
///
/// A dollar stays what it is to nginx, the beginning of a variable: nothing escapes it.
pub fn word(text: &str) -> String {
    // The brace of `${name}` is nginx's own.
    let bare = text.replace("${", "");
    let is_split = bare.contains(|c: char| c.is_whitespace() || matches!(c, ';' | '{' | '\\'));
    if !is_split && !text.is_empty() && !text.starts_with(['"', '\'', '#', '}']) {
        return words::whole(text);
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    // What it shows of a line break is what nginx reads as one.
    format!("\"{}\"", words::whole(&quoted))
}

/// Words that are read: a thousand real sites have a quarter of a million
const MOST_WORDS: usize = 1_000_000;
/// How a line begins that names the file behind it
const HEADER: &str = "# configuration file ";
/// Ends the name of a directive whose block holds Lua
const LUA: &str = "_by_lua_block";
