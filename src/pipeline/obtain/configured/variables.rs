//! Certificate lines with variables: what these come to is what is to be changed, and nothing that
//! is computed from them besides.

use std::fmt::Write as _;

use super::directive::{file_of, path, word};
use super::site::Site;
use crate::target::dump::{CertificateLine, Configuration, Map, Row};
use crate::target::variables::{Naming, is_computed};

impl Site<'_> {
    /// nginx computes the files from variables: what they come to is what is to be changed
    pub(super) fn by_variables(&self) -> String {
        let block = self.block;
        let mut cure = format!(
            "the server block at {} takes the certificate of each name from variables: leave its lines as they are",
            block.place()
        );
        let mut told: Vec<String> = Vec::new();
        let computed = block.certificate_lines().filter(|line| is_computed(line));
        for line in computed.filter(|line| !self.is_own(line)) {
            let change = self.change_of_variable(line);
            if !told.contains(&change) {
                let _ = write!(cure, "\n{change}");
                told.push(change);
            }
        }
        if told.is_empty() {
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

    fn change_of_variable(&self, line: &CertificateLine) -> String {
        let wanted = self.wanted(line);
        let text = path(&line.path);
        let place = format!("{}:{}", line.file, line.line);
        let what = match self.naming(line) {
            Naming::Computed {
                by: Some((map, row)),
                ..
            } => match (self.value_of(&map.variable), self.key(map)) {
                (Some(value), Some(key)) if self.is_free(map, row, key) => {
                    return row_of(map, row, key, &value);
                }
                (Some(value), _) => return self.map_to_add(&map.variable, &value),
                (None, _) => format!("${}, a map at {}:{}", map.variable, map.file, map.line),
            },
            Naming::Computed { by: None, .. } => match self.value_of(NAME) {
                Some(value) => return self.map_to_add(NAME, &value),
                None => text,
            },
            Naming::Unknown { variable } => format!("${variable}"),
            Naming::Fixed(file) => path(file),
        };
        format!(
            "`{}` at {place} depends on {what}: for {} let it come to\n    {}",
            line.directive,
            self.name,
            word(&wanted)
        )
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
    fn map_to_add(&self, variable: &str, value: &str) -> String {
        let map = free_name(&self.configured.configuration);
        format!(
            "beside the server blocks add this map, and write ${map} for ${variable} in the lines that name certificates and keys, nowhere else:\n    map ${NAME} ${map} {{\n        default ${variable};\n        {} {};\n    }}",
            self.name,
            word(value)
        )
    }
}

/// A name for the variable of a map that is proposed, which no other map has
fn free_name(configuration: &Configuration) -> String {
    let is_free = |name: &String| {
        let mut maps = configuration.maps.iter();
        !maps.any(|map| map.variable == *name)
    };
    let mut numbered = (2..).map(|number| format!("{MAP}_{number}"));
    Some(MAP.to_owned())
        .filter(is_free)
        .or_else(|| numbered.find(is_free))
        .unwrap_or_default()
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

/// A row for this key alone; one that is for several keeps serving those
pub(super) fn row_of(map: &Map, row: Option<&Row>, key: &str, value: &str) -> String {
    let (variable, value) = (&map.variable, word(value));
    match row {
        Some(row) if row.pattern == key => format!(
            "in the map of ${variable} change the row at {}:{} to\n    {key} {value};",
            row.file, row.line
        ),
        _ => format!(
            "to the map of ${variable} at {}:{} add this row:\n    {key} {value};",
            map.file, map.line
        ),
    }
}

/// The variable of a map that is proposed
const MAP: &str = "certd_lineage";
/// The variable that holds the name of a handshake
const NAME: &str = "ssl_server_name";
