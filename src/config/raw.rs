//! Reading TOML tables key by key, so that every mistake is found and has its line.
//!
//! serde stops at the first error; here each key is taken from the parsed table, and what is
//! left over at the end is unknown, misspelt, or a feature to come.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Mistake;

/// The text being read and the mistakes found so far
pub(super) struct Source<'t> {
    text: &'t str,
    /// Offsets of the ends of its lines
    ends: Vec<usize>,
    /// With their offsets in the text
    mistakes: RefCell<Vec<(usize, Mistake)>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            ends: text.match_indices('\n').map(|(end, _)| end).collect(),
            mistakes: RefCell::default(),
        }
    }

    /// The line, from 1, in which a place of the text begins
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        self.ends.partition_point(|end| *end < span.start) + 1
    }

    /// Notes a mistake at a place in the text
    pub(super) fn report(
        &self,
        span: &Range<usize>,
        key: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let start = span.start.min(self.text.len());
        let mistake = Mistake {
            line: self.line_of(span),
            key: key.to_owned(),
            message: message.into(),
            hint,
        };
        self.mistakes.borrow_mut().push((start, mistake));
    }

    /// All mistakes, in the order of the text
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|(offset, _)| *offset);
        mistakes.into_iter().map(|(_, mistake)| mistake).collect()
    }
}

/// A value with the path of its key and its place in the text
#[derive(Clone, Debug)]
pub(super) struct Value<T> {
    pub(super) value: T,
    pub(super) key: String,
    pub(super) span: Range<usize>,
}

/// A table whose keys are taken one by one
pub(super) struct Table<'s, 't> {
    source: &'s Source<'t>,
    table: &'s DeTable<'t>,
    path: String,
    span: Range<usize>,
    taken: RefCell<BTreeSet<&'static str>>,
}

impl<'s, 't> Table<'s, 't> {
    pub(super) fn root(source: &'s Source<'t>, table: &'s Spanned<DeTable<'t>>) -> Self {
        Self {
            source,
            table: table.get_ref(),
            path: String::new(),
            span: table.span(),
            taken: RefCell::default(),
        }
    }

    /// Full path of a key of this table
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Path of the table itself
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Place of the table in the text
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Whether the key is there, whatever its value
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the value of a key is an array
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.table
            .get(key)
            .is_some_and(|value| value.get_ref().is_array())
    }

    /// Whether the value of a key is a table
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.table
            .get(key)
            .is_some_and(|value| value.get_ref().is_table())
    }

    /// Takes a key without reading it: what is wrong with it was said
    pub(super) fn skip(&self, key: &'static str) {
        self.taken.borrow_mut().insert(key);
    }

    /// Place of a key's value; that of the table where the key is missing
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table
            .get(key)
            .map_or_else(|| self.span.clone(), Spanned::span)
    }

    fn take(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        self.taken.borrow_mut().insert(key);
        self.table.get(key)
    }

    fn read<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'s DeValue<'t>) -> Option<T>,
    ) -> Option<Value<T>> {
        let found = self.take(key)?;
        let Some(value) = read(found.get_ref()) else {
            let kind = found.get_ref().type_str();
            self.source.report(
                &found.span(),
                &self.key(key),
                format!("expected {expected}, found {}", article(kind)),
                None,
            );
            return None;
        };
        Some(Value {
            value,
            key: self.key(key),
            span: found.span(),
        })
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Value<String>> {
        self.read(key, "a string", |value| {
            value.as_str().map(ToOwned::to_owned)
        })
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<Value<bool>> {
        self.read(key, "true or false", DeValue::as_bool)
    }

    pub(super) fn integer(&self, key: &'static str) -> Option<Value<i64>> {
        self.read(key, "a number", integer)
    }

    /// A string, or a number as it is written in decimals
    pub(super) fn string_or_integer(&self, key: &'static str) -> Option<Value<String>> {
        self.read(key, "a string or a number", |value| match value.as_str() {
            Some(text) => Some(text.to_owned()),
            None => integer(value).map(|number| number.to_string()),
        })
    }

    /// A list of strings, each with its own place
    pub(super) fn strings(&self, key: &'static str) -> Option<Vec<Value<String>>> {
        self.list(key, "a list of strings", "a string", |value| {
            value.as_str().map(ToOwned::to_owned)
        })
    }

    /// A list of numbers, each with its own place
    pub(super) fn integers(&self, key: &'static str) -> Option<Vec<Value<i64>>> {
        self.list(key, "a list of numbers", "a number", integer)
    }

    fn list<T>(
        &self,
        key: &'static str,
        expected: &str,
        item: &str,
        read: impl Fn(&DeValue<'t>) -> Option<T>,
    ) -> Option<Vec<Value<T>>> {
        let array = self.read(key, expected, DeValue::as_array)?;
        let mut values = Vec::new();
        for (index, found) in array.value.iter().enumerate() {
            let path = format!("{}[{index}]", array.key);
            match read(found.get_ref()) {
                Some(value) => values.push(Value {
                    value,
                    key: path,
                    span: found.span(),
                }),
                None => self.source.report(
                    &found.span(),
                    &path,
                    format!(
                        "expected {item}, found {}",
                        article(found.get_ref().type_str())
                    ),
                    None,
                ),
            }
        }
        Some(values)
    }

    /// A table below this one
    pub(super) fn table(&self, key: &'static str) -> Option<Self> {
        let table = self.read(key, "a table", DeValue::as_table)?;
        Some(self.below(table.key, table.span, table.value))
    }

    /// The tables of a table whose keys the operator chooses
    pub(super) fn named_tables(&self, key: &'static str) -> Vec<(String, Self)> {
        let Some(outer) = self.table(key) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, value) in outer.table {
            let path = outer.key(&quoted(name.get_ref()));
            match value.get_ref().as_table() {
                Some(table) => tables.push((
                    name.get_ref().to_string(),
                    self.below(path, name.span(), table),
                )),
                None => self
                    .source
                    .report(&value.span(), &path, "expected a table", None),
            }
        }
        tables
    }

    /// The tables of an array of tables, `[[key]]`
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let hint = || {
            Some(format!(
                "a {key} is written as a table of its own:\n[[{key}]]"
            ))
        };
        let Some(found) = self.take(key) else {
            return Vec::new();
        };
        let Some(array) = found.get_ref().as_array() else {
            self.source.report(
                &found.span(),
                &self.key(key),
                format!("expected [[{key}]]"),
                hint(),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            match item.get_ref().as_table() {
                Some(table) => tables.push(self.below(path, item.span(), table)),
                None => {
                    self.source
                        .report(&item.span(), &path, format!("expected [[{key}]]"), hint())
                }
            }
        }
        tables
    }

    fn below(&self, path: String, span: Range<usize>, table: &'s DeTable<'t>) -> Self {
        Self {
            source: self.source,
            table,
            path,
            span,
            taken: RefCell::default(),
        }
    }

    /// Reports what was not taken: keys to come in `later`, all others as unknown
    pub(super) fn finish(self, later: &[&'static str]) {
        let taken = self.taken.into_inner();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if taken.contains(name) {
                continue;
            }
            let path = if self.path.is_empty() {
                name.to_owned()
            } else {
                format!("{}.{name}", self.path)
            };
            if later.contains(&name) {
                self.source
                    .report(&key.span(), &path, "not supported yet", None);
                continue;
            }
            let known = taken.iter().chain(later).copied();
            let hint = match !self.path.is_empty() && TOP_LEVEL.contains(&name) {
                true => Some(format!(
                    "`{name}` is for the whole file: move it above the first [table]"
                )),
                false => closest(name, known).map(|close| format!("did you mean `{close}`?")),
            };
            self.source.report(&key.span(), &path, "unknown key", hint);
        }
    }
}

/// Keys that belong above all tables: TOML takes what follows a table for a part of it
pub(super) const TOP_LEVEL: [&str; 12] = [
    "addresses",
    "email",
    "heartbeat",
    "issuer",
    "jobs",
    "key_group",
    "key_type",
    "profile",
    "state",
    "storage",
    "terms_of_service_agreed",
    "webroot",
];

/// A key as it is written in TOML
fn quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(bare) {
        return key.to_owned();
    }
    format!("\"{key}\"")
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn article(kind: &str) -> String {
    match kind.chars().next() {
        Some('a' | 'e' | 'i' | 'o' | 'u') => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// The candidate that `word` was most likely meant to be, if any is near
pub(crate) fn closest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let mut candidates = candidates.into_iter().collect::<Vec<_>>();
    // A word that was cut short is nearer than any that was misspelt.
    if let Some(whole) = candidates
        .iter()
        .find(|whole| word.len() > 3 && whole.starts_with(word))
    {
        return Some(whole);
    }
    candidates
        .drain(..)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
