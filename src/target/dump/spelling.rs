//! Words of `server_name` that no client sends: nginx compares byte by byte, and says nothing of a
//! word that nothing equals.

use super::Place;
use super::text::Item;
use crate::name::DnsName;

/// A word of `server_name` that stands for names which it does not list
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misspelled {
    /// As it is written
    pub word: String,
    /// The names that are meant, as clients send them
    pub names: Vec<String>,
    /// Where the `server_name` stands
    pub at: Place,
}

impl Misspelled {
    /// Whether it is several names, separated by commas
    pub fn has_commas(&self) -> bool {
        self.word.contains(',')
    }
}

pub(super) fn misspelled(file: &str, item: Item<'_, '_>) -> Vec<Misspelled> {
    let words = item.arguments().iter().filter_map(|word| {
        let names = meant(word)?;
        Some(Misspelled {
            word: word.clone().into_owned(),
            names,
            at: super::place(file, item),
        })
    });
    words.collect()
}

/// The names that a word stands for; `None` where it lists them as it is
fn meant(word: &str) -> Option<Vec<String>> {
    let is_plain = word.is_ascii() && !word.contains([',', ':', '/']) && !word.ends_with('.');
    if is_plain || word.starts_with('~') || word.contains('$') {
        return None;
    }
    let names = word.split(',').filter_map(|part| {
        let part = part.split_once("://").map_or(part, |(_, rest)| rest);
        let part = part.split(['/', ':']).next()?;
        let name = DnsName::parse(part.trim_end_matches('.')).ok()?;
        Some(name.as_str().to_owned())
    });
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_no_client_sends_is_told_with_the_names_that_it_stands_for() {
        #[track_caller]
        fn check(word: &str, expected: &[&str]) {
            assert_eq!(meant(word).unwrap_or_default(), expected, "{word}");
        }
        check("b\u{fc}cher.test", &["xn--bcher-kva.test"]);
        check("B\u{dc}CHER.test", &["xn--bcher-kva.test"]);
        check("a.test,www.a.test", &["a.test", "www.a.test"]);
        check("a.test,", &["a.test"]);
        check("a.test.", &["a.test"]);
        check("a.test:443", &["a.test"]);
        check("https://a.test/", &["a.test"]);
        for right in [
            "a.test", "A.test", "*.a.test", ".a.test", "www.a.*", "", "_",
        ] {
            check(right, &[]);
        }
        for other in [
            "~^(a|b),x\\.test$",
            "$hostname",
            "192.0.2.1",
            "[2001:db8::1]",
            ".",
        ] {
            check(other, &[]);
        }
    }
}
