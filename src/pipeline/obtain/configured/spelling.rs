//! Names that a `server_name` has, spelled as no client sends them: the word is to be written anew, and
//! no block is missing.

use super::Configured;
use crate::target::choice;
use crate::target::dump::{Misspelled, ServerBlock};

impl Configured {
    /// A block that has the name in a word that no client sends, with that
    pub(in crate::pipeline) fn misspelled(
        &self,
        name: &str,
    ) -> Option<(&ServerBlock, &Misspelled)> {
        choice::misspelled(&self.configuration.servers, name)
    }

    /// What to write for such words of these names; `None` where there is none for the first
    pub(in crate::pipeline) fn to_spell(&self, name: &str, names: &[&str]) -> Option<String> {
        self.misspelled(name)?;
        let mut steps: Vec<String> = Vec::new();
        let others = names.iter().copied().filter(|other| *other != name);
        for (name, (block, word)) in std::iter::once(name)
            .chain(others)
            .filter_map(|name| Some((name, self.misspelled(name)?)))
        {
            let at = format!("{}:{}", word.at.file, word.at.line);
            let step = match word.has_commas() {
                true => format!("in `server_name` at {at} separate the names by blanks"),
                false => format!("write {name} for `{}` in `server_name` at {at}", word.word),
            };
            let is_first = block.first_of_names() == word.word.to_ascii_lowercase();
            let first = is_first.then(|| self.to_keep_first_name(block, &[name]));
            let step = first.flatten().unwrap_or_default() + &step;
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        Some(self.with_room(names, steps.join("\nand ")))
    }
}
