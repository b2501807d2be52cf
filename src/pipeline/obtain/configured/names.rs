//! How names are taken out of a `server_name`, which nginx refuses to find empty.

use super::Configured;
use super::listening::is_same;
use crate::target::dump::ServerBlock;

/// What to write in the `server_name` of a block, so that it lists these names no longer
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Removal<'n> {
    /// The names that it lists now, one by one or by a leading dot
    pub(super) names: Vec<&'n str>,
    /// What to do, in words that follow "in the server block at FILE:LINE"
    pub(super) words: String,
}

impl Configured {
    /// How to take names out of a block, with the file of its `server_name` where that is another
    /// one; `None` where it lists none of them itself
    pub(super) fn removal<'n>(
        &self,
        block: &ServerBlock,
        names: &[&'n str],
    ) -> Option<Removal<'n>> {
        let mut removal = removal(block, names)?;
        if let Some(hostname) = &block.hostname {
            let word = format!("`$hostname` ({hostname})");
            removal.words = replaced(&removal.words, hostname, &word);
        }
        let mut named = block.named.iter();
        let Some(place) = named.find(|place| place.file != block.file) else {
            return Some(removal);
        };
        let mut others = self.configuration.servers.iter();
        let other = others.find(|other| !is_same(other, block) && other.named.contains(place));
        let at = format!("{}:{}", place.file, place.line);
        removal.words.push_str(&match other {
            None => format!(" (it stands at {at})"),
            Some(other) => format!(
                " (it stands at {at}, which the server block at {} includes too, and stays as it is there: write the names that are left, and the other lines of {}, in place of the `include`)",
                other.place(),
                place.file
            ),
        });
        Some(removal)
    }
}

/// A text with another word in the place of one
fn replaced(text: &str, word: &str, by: &str) -> String {
    let words = text.split(' ').map(|own| match own == word {
        true => by,
        false => own,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// How to take names out of a block; `None` where it lists none of them itself
fn removal<'n>(block: &ServerBlock, names: &[&'n str]) -> Option<Removal<'n>> {
    let lists = |listed: &str| block.names.iter().any(|own| own == listed);
    let by_dot = |name: &&&str| lists(&format!(".{name}"));
    let itself: Vec<&str> = names.iter().copied().filter(|name| lists(name)).collect();
    let dotted: Vec<&str> = names.iter().filter(by_dot).copied().collect();
    let others = || {
        let others = block.names.iter().map(String::as_str);
        others.filter(|other| !other.is_empty() && !itself.contains(other))
    };
    let is_kept = |other: &str| other == "_" || other.starts_with(['.', '*', '~']);
    let mut steps = Vec::new();
    match (itself.is_empty(), others().next()) {
        (true, _) => {}
        (false, None) => steps.push(format!(
            "write `_` for {} in its `server_name`",
            itself.join(" and ")
        )),
        (false, Some(_)) => {
            let mut step = format!("take {} out of its `server_name`", itself.join(" and "));
            // What is advised for the other names may take those out, too.
            if !others().any(is_kept) {
                step.push_str(" (write `_` there where none is left)");
            }
            steps.push(step);
        }
    }
    let star = |name: &&str| format!("write `*.{name}` for `.{name}` in its `server_name`");
    steps.extend(dotted.iter().map(star));
    let names = [itself.clone(), dotted].concat();
    (!steps.is_empty()).then(|| Removal {
        names,
        words: steps.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::dump;

    #[test]
    fn no_server_name_is_left_empty() {
        #[track_caller]
        fn check(listed: &str, expected: Option<&str>) {
            let text = format!(
                "# configuration file /etc/nginx/nginx.conf:\nserver {{ server_name {listed}; }}\n"
            );
            let found = dump::read(&text).unwrap();
            let removal = removal(&found.servers[0], &["a.test", "www.a.test"]);
            let words = removal.map(|removal| removal.words);
            assert_eq!(words.as_deref(), expected, "{listed}");
        }
        check("b.test", None);
        check("*.test", None);
        check("a.test", Some("write `_` for a.test in its `server_name`"));
        check(
            "a.test www.a.test",
            Some("write `_` for a.test and www.a.test in its `server_name`"),
        );
        check(
            "a.test b.test",
            Some("take a.test out of its `server_name` (write `_` there where none is left)"),
        );
        check(
            "a.test *.b.test",
            Some("take a.test out of its `server_name`"),
        );
        check(
            ".a.test",
            Some("write `*.a.test` for `.a.test` in its `server_name`"),
        );
    }
}
