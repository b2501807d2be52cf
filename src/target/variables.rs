//! What a text with variables comes to for a name, as far as nginx's configuration tells: the name
//! itself, and maps whose rows are literal.

use std::path::{Path, PathBuf};

use super::dump::{CertificateLine, Configuration, Map, Module, Row, ServerBlock};

/// What a certificate line names for one name
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming<'c> {
    /// The same file for every name
    Fixed(&'c Path),
    /// A file that depends on the name
    Computed {
        /// The file for this name
        path: PathBuf,
        /// The map that it comes from, with the row; `None` for the name itself
        by: Option<(&'c Map, Option<&'c Row>)>,
    },
    /// A file that a row of this map decides, whose regular expressions are not tried
    Undecided {
        /// The map, whose value stands in the line itself
        map: &'c Map,
    },
    /// A file that depends on a variable whose value cannot be told
    Unknown {
        /// The variable, without the dollar
        variable: String,
    },
}

impl Naming<'_> {
    /// The file; `None` where it cannot be told
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Fixed(path) => Some(path),
            Self::Computed { path, .. } => Some(path),
            Self::Undecided { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// Whether nginx computes a line's file for each connection
pub fn is_computed(line: &CertificateLine) -> bool {
    line.path.to_string_lossy().contains('$')
}

/// What a line of a server block names for a name that it serves
pub fn naming<'c>(
    configuration: &'c Configuration,
    block: &ServerBlock,
    line: &'c CertificateLine,
    name: &str,
) -> Naming<'c> {
    if !is_computed(line) {
        return Naming::Fixed(&line.path);
    }
    let mut reading = Reading {
        configuration,
        module: Module::Http,
        name,
        // In the handshake no request has named a host: nginx takes the block's first name.
        host: block.names.first().map_or("", String::as_str),
        by: None,
        undecided: None,
        room: MOST_STEPS,
    };
    match (
        reading.value(&line.path.to_string_lossy()),
        reading.undecided,
    ) {
        (Ok(path), _) => Naming::Computed {
            path: path.into(),
            by: reading.by,
        },
        (Err(variable), Some(map)) if map.variable == variable => Naming::Undecided { map },
        (Err(variable), _) => Naming::Unknown { variable },
    }
}

/// What a text of the stream module comes to for a name
///
/// # Errors
/// The variable whose value cannot be told.
pub fn in_stream(configuration: &Configuration, text: &str, name: &str) -> Result<String, String> {
    let mut reading = Reading {
        configuration,
        module: Module::Stream,
        name,
        host: "",
        by: None,
        undecided: None,
        room: MOST_STEPS,
    };
    reading.value(text)
}

struct Reading<'c, 'n> {
    configuration: &'c Configuration,
    module: Module,
    name: &'n str,
    host: &'n str,
    /// The first map that gave a value
    by: Option<(&'c Map, Option<&'c Row>)>,
    /// The map whose regular expressions keep a value from being told
    undecided: Option<&'c Map>,
    /// How many more variables are followed: maps may go round in a circle
    room: usize,
}

impl<'c> Reading<'c, '_> {
    fn value(&mut self, text: &str) -> Result<String, String> {
        let mut value = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            value.push_str(&rest[..at]);
            let (variable, after) = variable(&rest[at + 1..]);
            value.push_str(&self.variable(variable)?);
            rest = after;
        }
        value.push_str(rest);
        Ok(value)
    }

    fn variable(&mut self, variable: &str) -> Result<String, String> {
        let unknown = || variable.to_owned();
        self.room = self.room.checked_sub(1).ok_or_else(unknown)?;
        let mut maps = self.configuration.maps.iter();
        let own = |map: &&Map| map.module == self.module && map.variable == variable;
        let Some(map) = maps.find(own) else {
            return match (self.module, variable) {
                (Module::Http, "ssl_server_name") | (Module::Stream, "ssl_preread_server_name") => {
                    Ok(self.name.to_owned())
                }
                (Module::Http, "host" | "server_name") => Ok(self.host.to_owned()),
                _ => Err(unknown()),
            };
        };
        // The map that is named is the one whose value stands in the text itself.
        let before = self.by;
        let key = self.value(&map.key)?;
        self.by = before;
        let Some(row) = row(map, &key.to_ascii_lowercase()) else {
            self.undecided = Some(map);
            return Err(unknown());
        };
        let text = row.map_or("", |row| row.value.as_str());
        let value = self.value(text)?;
        self.by = before.or(Some((map, row)));
        Ok(value)
    }
}

/// The row of a map that fits, if any; `None` where a regular expression may fit, which is not tried
fn row<'m>(map: &'m Map, key: &str) -> Option<Option<&'m Row>> {
    let rows = || map.rows.iter().filter(|row| !is_parameter(row));
    if let Some(row) = rows().find(|row| is_for(row, key)) {
        return Some(Some(row));
    }
    // What stands before the parameter is taken letter by letter.
    let is_hostnames = |row: &Row| is_parameter(row) && row.pattern == HOSTNAMES;
    if let Some(at) = map.rows.iter().position(is_hostnames) {
        let rows = || map.rows[at..].iter().filter(|row| !is_parameter(row));
        let leading = |row: &&Row| {
            let suffix = row.pattern.strip_prefix('*').unwrap_or(&row.pattern);
            let is_itself = row.pattern.strip_prefix('.') == Some(key);
            suffix.starts_with('.') && (key.ends_with(suffix) || is_itself)
        };
        let trailing = |row: &&Row| {
            let beginning = row.pattern.strip_suffix('*');
            beginning
                .is_some_and(|beginning| beginning.ends_with('.') && key.starts_with(beginning))
        };
        let longest = |row: &&Row| row.pattern.len();
        let found = rows().filter(leading).max_by_key(longest);
        if let Some(row) = found.or_else(|| rows().filter(trailing).max_by_key(longest)) {
            return Some(Some(row));
        }
    }
    if rows().any(|row| row.pattern.starts_with('~')) {
        return None;
    }
    Some(map.rows.iter().find(|row| row.pattern == DEFAULT))
}

/// Whether a row is for this key alone: nginx looks for such a row before any other
pub fn is_for(row: &Row, key: &str) -> bool {
    row.pattern.strip_prefix('\\').unwrap_or(&row.pattern) == key
}

/// Whether a line of a map is no row of it, or the one for all that no other is for
fn is_parameter(row: &Row) -> bool {
    let is_alone = row.value.is_empty() && PARAMETERS.contains(&row.pattern.as_str());
    is_alone || row.pattern == DEFAULT
}

/// The variables that stand in a text, without their dollars
pub(super) fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let after = text.split('$').skip(1);
    after.map(|rest| variable(rest).0)
}

/// The variable at the beginning of a text, and what follows it
fn variable(text: &str) -> (&str, &str) {
    if let Some(rest) = text.strip_prefix('{')
        && let Some((variable, rest)) = rest.split_once('}')
    {
        return (variable, rest);
    }
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let end = text.find(|letter| !is_of_name(letter));
    text.split_at(end.unwrap_or(text.len()))
}

/// Words of a map that are parameters where they stand alone
const PARAMETERS: [&str; 2] = [HOSTNAMES, "volatile"];
const HOSTNAMES: &str = "hostnames";
const DEFAULT: &str = "default";
/// Variables that one text is followed through
const MOST_STEPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::super::dump::read;
    use super::*;

    #[test]
    fn a_path_with_variables_is_followed_for_one_name() {
        let configuration = read(
            r"# configuration file /etc/nginx/nginx.conf:
http {
map $ssl_server_name $lineage { hostnames; b.test two; *.c.test three; .d.test four; e.* five; default one; }
map $lineage $file { two /two.pem; default /live/${lineage}x.pem; }
map $ssl_server_name $guess { volatile; ~^a 1; b.test 2; }
map $ssl_server_name $late { *.c.test one; hostnames; .b.test two; \hostnames four; default three; }
map $host $of_host { first.test yes; default no; }
map $round $round { default x; }
server { listen 443 ssl; server_name first.test second.test;
ssl_certificate /live/$ssl_server_name/f.pem;
ssl_certificate /live/$lineage/f.pem;
ssl_certificate $file;
ssl_certificate /live/$guess/f.pem;
ssl_certificate /live/$of_host/f.pem;
ssl_certificate /live/$round/f.pem;
ssl_certificate /live/$http_x/f.pem;
ssl_certificate /live/fixed/f.pem;
ssl_certificate /live/$late/f.pem;
}
}
",
        )
        .unwrap();
        let block = &configuration.servers[0];
        let check = |number: usize, name: &str, expected: Result<&str, &str>| {
            let naming = naming(&configuration, block, &block.certificates[number], name);
            let found = match &naming {
                Naming::Unknown { variable } => Err(variable.as_str()),
                Naming::Undecided { map } => Err(map.variable.as_str()),
                naming => Ok(naming.path().unwrap().to_str().unwrap()),
            };
            assert_eq!(found, expected, "{number} {name}");
        };
        check(0, "b.test", Ok("/live/b.test/f.pem"));
        check(1, "b.test", Ok("/live/two/f.pem"));
        check(1, "a.c.test", Ok("/live/three/f.pem"));
        check(1, "c.test", Ok("/live/one/f.pem"));
        check(1, "d.test", Ok("/live/four/f.pem"));
        check(1, "a.d.test", Ok("/live/four/f.pem"));
        check(1, "e.org", Ok("/live/five/f.pem"));
        check(2, "b.test", Ok("/two.pem"));
        check(2, "x.test", Ok("/live/onex.pem"));
        check(3, "b.test", Ok("/live/2/f.pem"));
        check(3, "a.test", Err("guess"));
        check(4, "second.test", Ok("/live/yes/f.pem"));
        check(5, "b.test", Err("round"));
        check(6, "b.test", Err("http_x"));
        check(7, "b.test", Ok("/live/fixed/f.pem"));
        check(8, "*.c.test", Ok("/live/one/f.pem"));
        check(8, "a.c.test", Ok("/live/three/f.pem"));
        check(8, "a.b.test", Ok("/live/two/f.pem"));
        check(8, "hostnames", Ok("/live/four/f.pem"));
        let undecided = naming(&configuration, block, &block.certificates[3], "a.test");
        assert!(matches!(undecided, Naming::Undecided { map } if map.variable == "guess"));
        let Naming::Computed {
            by: Some((map, Some(row))),
            ..
        } = naming(&configuration, block, &block.certificates[1], "b.test")
        else {
            panic!("it comes from a map");
        };
        assert_eq!((map.line, row.pattern.as_str()), (2, "b.test"));
    }
}
