//! Certificate lines with variables: what these come to is what is to be changed, and nothing that
//! is computed from them besides.

use std::fmt::Write as _;

use super::directive::{file_of, path, word};
use super::listening::is_same;
use super::site::Site;
use crate::target::choice::{self, Choice};
use crate::target::dump::{Bucket, CertificateLine, Configuration, Map, Module, Row};
use crate::target::variables::{Naming, is_computed, is_for, naming};

impl<'s> Site<'s> {
    /// nginx computes the files from variables: what they come to is what is to be changed
    pub(super) fn by_variables(&self) -> String {
        let block = self.block;
        let mut cure = format!(
            "the server block at {} takes the certificate of each name from variables, which no fixed path may replace",
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
        if changes.is_empty() {
            let own = self.configured.live.join(self.lineage.as_str());
            let _ = write!(
                cure,
                "\nfor {} they lead to {}, as they should",
                self.name,
                path(&own)
            );
        }
        // Followed in another order the name would have no TLS at all.
        let open = self.configured.to_open_key_of(block, self.lineage);
        let room = self.room_for(&changes);
        for step in open.into_iter().chain(room).chain(self.in_steps(&changes)) {
            let _ = write!(cure, "\n{step}");
        }
        cure
    }

    /// What gives nginx room for the keys of maps; `None` where it has
    fn room_for(&self, changes: &[Change<'_>]) -> Option<String> {
        let configuration = &self.configured.configuration;
        let keys = changes.iter().map(|change| change.key.as_str());
        room_for_keys(configuration, Module::Http, keys)
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
        let mut done: Vec<&Place<'_>> = Vec::new();
        let mut made = Made::of(&self.configured.configuration);
        for Change { place, .. } in changes {
            if done.contains(&place) {
                continue;
            }
            done.push(place);
            let of_place = changes.iter().filter(|change| change.place == *place);
            let rows = of_place.map(|change| (change.key.as_str(), change.value.as_str()));
            steps.push(match place {
                Place::Row(map, row) => {
                    let all = rows.map(|(key, value)| row_to_change(map, row, key, value));
                    all.collect::<Vec<_>>().join("\n")
                }
                Place::Map(map) => rows_to_add(map, rows),
                Place::Variable(variable) => map_for_variable(variable, &made.name(MAP), rows),
                Place::Line(line) => {
                    let base = match line.directive.as_str() {
                        "ssl_certificate" => MAP_OF_CERTIFICATES,
                        _ => MAP_OF_KEYS,
                    };
                    map_for_line(line, &made.name(base), rows)
                }
            });
        }
        steps
    }

    fn change_of_variable(&self, line: &'s CertificateLine) -> Change<'s> {
        let change = |place, key: &str, value| Change {
            place,
            key: key.to_owned(),
            value,
        };
        let naming = naming(&self.configured.configuration, self.block, line, self.name);
        let (map, row) = match naming {
            Naming::Computed {
                by: Some((map, row)),
                ..
            } => (map, row),
            Naming::Undecided { map } => (map, None),
            Naming::Computed { by: None, .. } => {
                return match self.value_of(NAME) {
                    Some(value) => change(Place::Variable(NAME), self.name, value),
                    None => change(Place::Line(line), self.name, self.wanted(line)),
                };
            }
            Naming::Unknown { .. } | Naming::Fixed(_) => {
                return change(Place::Line(line), self.name, self.wanted(line));
            }
        };
        let Some(value) = self.value_of(&map.variable) else {
            return change(Place::Line(line), self.name, self.wanted(line));
        };
        match self.key(map) {
            Some(key) if self.is_free(map, row, key) => match row {
                Some(row) if is_for(row, key) => change(Place::Row(map, row), &row.pattern, value),
                _ => change(Place::Map(map), key, value),
            },
            _ => change(Place::Variable(&map.variable), self.name, value),
        }
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
            // Of two files that are included, one may be a link to the other.
            let is_included = row.file != map.file;
            let mut others = configuration.maps.iter().filter(|other| *other != map);
            others.any(|other| {
                let is_link =
                    |own: &Row| is_included && own.file != other.file && is_twin(own, row);
                other.rows.iter().any(|own| own == row || is_link(own))
            })
        };
        let is_changed_for_others = row.filter(|row| is_for(row, key)).is_some_and(is_elsewhere);
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
}

/// Whether two rows would be one if their files were
fn is_twin(one: &Row, other: &Row) -> bool {
    let [one, other] = [one, other].map(|row| (row.line, &row.pattern, &row.value));
    one == other
}

/// What gives nginx room for the keys of maps of a module; `None` where it has
pub(super) fn room_for_keys<'k>(
    configuration: &Configuration,
    module: Module,
    keys: impl Iterator<Item = &'k str>,
) -> Option<String> {
    let bucket: Bucket = match module {
        Module::Http => configuration.map_bucket,
        Module::Stream => configuration.stream_map_bucket,
    };
    let size = bucket.for_names(keys)?;
    let mut maps = configuration.maps.iter();
    // nginx takes the size that holds at the first map of the module for all of them.
    let at = match maps.find(|map| map.module == module) {
        Some(first) => format!(", at {}:{}", first.file, first.line),
        None => String::new(),
    };
    Some(format!(
        "first give nginx room for long names, before the first map{at}, instead of what stands there for it:\n    map_hash_bucket_size {size};"
    ))
}

/// What lets variables come to the right files for a name
#[derive(PartialEq, Eq)]
struct Change<'c> {
    place: Place<'c>,
    /// What is looked up there
    key: String,
    /// What it has to give
    value: String,
}

/// Where that is to be written
#[derive(PartialEq, Eq)]
enum Place<'c> {
    /// This row of a map, which is for the key alone
    Row(&'c Map, &'c Row),
    /// A new row of a map
    Map(&'c Map),
    /// A map of its own, for what this variable gives now
    Variable(&'c str),
    /// A map of its own, for all that this line comes to now
    Line(&'c CertificateLine),
}

/// The variables of maps that there are, and of those that are proposed
struct Made<'c> {
    configuration: &'c Configuration,
    proposed: Vec<String>,
}

impl<'c> Made<'c> {
    fn of(configuration: &'c Configuration) -> Self {
        Self {
            configuration,
            proposed: Vec::new(),
        }
    }

    /// A name that no other map has
    fn name(&mut self, base: &str) -> String {
        let is_free = |name: &String| {
            let mut maps = self.configuration.maps.iter();
            !maps.any(|map| map.variable == *name) && !self.proposed.contains(name)
        };
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let mut names = std::iter::once(base.to_owned()).chain(numbered);
        let name = names.find(is_free).unwrap_or_default();
        self.proposed.push(name.clone());
        name
    }
}

/// A map for certificates alone, which leaves all other names with what a variable gives them
fn map_for_variable<'r>(
    variable: &str,
    map: &str,
    rows: impl Iterator<Item = (&'r str, &'r str)>,
) -> String {
    let rows = indented(rows, "        ");
    format!(
        "beside the server blocks add this map, and write ${map} for ${variable} in the lines that name certificates and keys, nowhere else:\n    map ${NAME} ${map} {{\n        default ${variable};{rows}\n    }}",
    )
}

/// A map for one line, which leaves all other names with what the line comes to for them
///
/// Where one variable stands in the paths of both the certificate and its key, no value of it leads to
/// two files that are called otherwise.
fn map_for_line<'r>(
    line: &CertificateLine,
    map: &str,
    rows: impl Iterator<Item = (&'r str, &'r str)>,
) -> String {
    let CertificateLine {
        file,
        line: number,
        directive,
        ..
    } = line;
    let (rows, now) = (indented(rows, "        "), path(&line.path));
    format!(
        "beside the server blocks add this map:\n    map ${NAME} ${map} {{\n        default {now};{rows}\n    }}\nand instead of `{directive} {now};` at {file}:{number} write\n    {directive} ${map};",
    )
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

/// The variables of maps that are proposed
const MAP: &str = "certd_lineage";
const MAP_OF_CERTIFICATES: &str = "certd_certificate";
const MAP_OF_KEYS: &str = "certd_key";
/// The variable that holds the name of a handshake
const NAME: &str = "ssl_server_name";
