//! Certificate lines with variables: what these come to is what is to be changed, and nothing that
//! is computed from them besides.

use std::fmt::Write as _;

use super::directive::{file_of, path, word};
use super::listening::is_same;
use super::site::Site;
use crate::target::choice::{self, Choice};
use crate::target::dump::{CertificateLine, Configuration, Map, Row};
use crate::target::variables::{Naming, is_computed, naming};

impl<'s> Site<'s> {
    /// nginx computes the files from variables: what they come to is what is to be changed
    pub(super) fn by_variables(&self) -> String {
        let block = self.block;
        let mut cure = format!(
            "the server block at {} takes the certificate of each name from variables: leave its lines as they are",
            block.place()
        );
        let mut changes: Vec<Change<'_>> = Vec::new();
        for name in self.names_here() {
            let site = self.beside(name, self.block);
            let lines = self.block.certificate_lines();
            for line in lines.filter(|line| is_computed(line) && !site.is_own(line)) {
                let change = site.change_of_variable(line);
                if !changes.contains(&change) {
                    changes.push(change);
                }
            }
        }
        for step in self.in_steps(&changes) {
            let _ = write!(cure, "\n{step}");
        }
        if changes.is_empty() {
            let own = self.configured.live.join(self.lineage.as_str());
            let _ = write!(
                cure,
                "\nfor {} they lead to {}, as they should",
                self.name,
                path(&own)
            );
        }
        cure
    }

    /// The names of the domain that the block serves, the one that is asked for among them
    fn names_here(&self) -> Vec<&'s str> {
        let is_here = |name: &&str| {
            let chosen = self
                .inlet
                .map(|inlet| choice::choose(&self.configured.configuration, name, inlet));
            *name == self.name
                || matches!(chosen, Some(Choice::Listed { block, .. }) if is_same(block, self.block))
        };
        self.names.iter().copied().filter(is_here).collect()
    }

    /// What is to be changed, with the rows of one map together
    fn in_steps(&self, changes: &[Change<'_>]) -> Vec<String> {
        let mut steps = Vec::new();
        let mut done: Vec<&str> = Vec::new();
        for change in changes {
            match change {
                Change::Words(words) => steps.push(words.clone()),
                Change::Row {
                    map,
                    row,
                    key,
                    value,
                } => match row {
                    Some(row) => steps.push(row_to_change(map, row, key, value)),
                    None if done.contains(&map.variable.as_str()) => {}
                    None => {
                        done.push(&map.variable);
                        let rows = changes.iter().filter_map(|change| match change {
                            Change::Row {
                                map: own,
                                row: None,
                                key,
                                value,
                            } if own == map => Some((key.as_str(), value.as_str())),
                            _ => None,
                        });
                        steps.push(rows_to_add(map, rows));
                    }
                },
                Change::Map { variable, .. } if done.contains(&variable.as_str()) => {}
                Change::Map { variable, .. } => {
                    let before = done.len();
                    done.push(variable);
                    let rows = changes.iter().filter_map(|change| match change {
                        Change::Map {
                            variable: own,
                            name,
                            value,
                        } if own == variable => Some((*name, value.as_str())),
                        _ => None,
                    });
                    steps.push(self.map_to_add(variable, before, rows));
                }
            }
        }
        steps
    }

    fn change_of_variable(&self, line: &'s CertificateLine) -> Change<'s> {
        let wanted = self.wanted(line);
        let text = path(&line.path);
        let place = format!("{}:{}", line.file, line.line);
        let new_map = |variable: &str, value: String| Change::Map {
            variable: variable.to_owned(),
            name: self.name,
            value,
        };
        let naming = naming(&self.configured.configuration, self.block, line, self.name);
        let what = match naming {
            Naming::Computed {
                by: Some((map, row)),
                ..
            } => match (self.value_of(&map.variable), self.key(map)) {
                (Some(value), Some(key)) if self.is_free(map, row, key) => {
                    return Change::Row {
                        map,
                        row: row.filter(|row| row.pattern == key),
                        key: key.to_owned(),
                        value,
                    };
                }
                (Some(value), _) => return new_map(&map.variable, value),
                (None, _) => format!("${}, a map at {}:{}", map.variable, map.file, map.line),
            },
            Naming::Computed { by: None, .. } => match self.value_of(NAME) {
                Some(value) => return new_map(NAME, value),
                None => text,
            },
            Naming::Unknown { variable } => format!("${variable}"),
            Naming::Fixed(file) => path(file),
        };
        Change::Words(format!(
            "`{}` at {place} depends on {what}: for {} let it come to\n    {}",
            line.directive,
            self.name,
            word(&wanted)
        ))
    }

    /// The file that a line should come to
    fn wanted(&self, line: &CertificateLine) -> String {
        let own = self.configured.live.join(self.lineage.as_str());
        let wanted = own.join(file_of(&line.directive));
        wanted.to_string_lossy().into_owned()
    }

    /// What a variable must come to for the name; `None` where that cannot be told, and where the
    /// certificate and the key would need different values
    fn value_of(&self, variable: &str) -> Option<String> {
        let lines = self.block.certificate_lines();
        let depend = lines.filter(|line| {
            let text = line.path.to_string_lossy();
            forms(variable).iter().any(|form| text.contains(form))
        });
        let mut values = depend.map(|line| {
            let wanted = self.wanted(line);
            part_of(&line.path.to_string_lossy(), variable, &wanted).map(str::to_owned)
        });
        let first = values.next()??;
        let is_one = values.all(|value| value.as_ref() == Some(&first));
        is_one.then_some(first)
    }

    /// Whether a row of a map is for the name's certificate alone: what else the map decides stays
    fn is_free(&self, map: &Map, row: Option<&Row>, key: &str) -> bool {
        let configuration = &self.configured.configuration;
        let has = |pattern: &str| map.rows.iter().any(|row| row.pattern == pattern);
        // With `hostnames` nginx takes `.name` for the name too, and refuses it twice.
        let is_refused = has("hostnames") && has(&format!(".{key}"));
        let is_elsewhere = |row: &Row| {
            let mut others = configuration.maps.iter().filter(|other| *other != map);
            others.any(|other| other.rows.contains(row))
        };
        let is_changed_for_others = row
            .filter(|row| row.pattern == key)
            .is_some_and(is_elsewhere);
        !configuration.used.contains(&map.variable) && !is_refused && !is_changed_for_others
    }

    /// What a map of its variable looks up for the name alone; `None` where others share it
    fn key(&self, map: &Map) -> Option<&str> {
        match map.key.as_str() {
            "$ssl_server_name" => Some(self.name),
            // It is the block's first name, whichever name a visitor asks for.
            "$host" | "$server_name" => {
                let is_shared = self.block.names.iter().any(|name| self.is_strange(name));
                self.block
                    .names
                    .first()
                    .filter(|_| !is_shared)
                    .map(String::as_str)
            }
            _ => None,
        }
    }

    /// A map for certificates alone, which leaves all other names with what a variable gives them
    ///
    /// `before` is how many maps are proposed beside it.
    fn map_to_add<'r>(
        &self,
        variable: &str,
        before: usize,
        rows: impl Iterator<Item = (&'r str, &'r str)>,
    ) -> String {
        let map = free_name(&self.configured.configuration, before);
        let rows = indented(rows, "        ");
        format!(
            "beside the server blocks add this map, and write ${map} for ${variable} in the lines that name certificates and keys, nowhere else:\n    map ${NAME} ${map} {{\n        default ${variable};{rows}\n    }}",
        )
    }
}

/// What lets variables come to the right files for a name
#[derive(PartialEq, Eq)]
enum Change<'c> {
    /// A row of a map: this one, or a new one
    Row {
        map: &'c Map,
        row: Option<&'c Row>,
        key: String,
        value: String,
    },
    /// A map of its own, for what the variable gives now
    Map {
        variable: String,
        name: &'c str,
        value: String,
    },
    /// What a person has to find
    Words(String),
}

/// A name for the variable of a map that is proposed, which no other map has; the first, second, ...
fn free_name(configuration: &Configuration, before: usize) -> String {
    let is_free = |name: &String| {
        let mut maps = configuration.maps.iter();
        !maps.any(|map| map.variable == *name)
    };
    let numbered = (2..).map(|number| format!("{MAP}_{number}"));
    let mut free = std::iter::once(MAP.to_owned())
        .chain(numbered)
        .filter(is_free);
    free.nth(before).unwrap_or_default()
}

fn forms(variable: &str) -> [String; 2] {
    [format!("${{{variable}}}"), format!("${variable}")]
}

/// What a variable must come to, so that a text with it comes to what is wanted; `None` where the
/// text has other variables too
fn part_of<'w>(text: &str, variable: &str, wanted: &'w str) -> Option<&'w str> {
    let forms = forms(variable);
    let form = forms.iter().find(|form| text.contains(form.as_str()))?;
    let (before, after) = text.split_once(form.as_str())?;
    if before.contains('$') || after.contains('$') {
        return None;
    }
    wanted.strip_prefix(before)?.strip_suffix(after)
}

/// A row that is for this key alone
pub(super) fn row_to_change(map: &Map, row: &Row, key: &str, value: &str) -> String {
    format!(
        "in the map of ${} change the row at {}:{} to\n    {key} {};",
        map.variable,
        row.file,
        row.line,
        word(value)
    )
}

/// Rows for these keys alone; one that is for several keeps serving those
pub(super) fn rows_to_add<'r>(map: &Map, rows: impl Iterator<Item = (&'r str, &'r str)>) -> String {
    let rows = indented(rows, "    ");
    let these = match rows.matches('\n').count() {
        1 => "this row",
        _ => "these rows",
    };
    format!(
        "to the map of ${} at {}:{} add {these}:{rows}",
        map.variable, map.file, map.line
    )
}

/// Rows, each on a line of its own
fn indented<'r>(rows: impl Iterator<Item = (&'r str, &'r str)>, indent: &str) -> String {
    rows.map(|(key, value)| format!("\n{indent}{key} {};", word(value)))
        .collect()
}

/// The variable of a map that is proposed
const MAP: &str = "certd_lineage";
/// The variable that holds the name of a handshake
const NAME: &str = "ssl_server_name";
