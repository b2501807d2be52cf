//! One name at the server block that serves it: whether that names the name's own certificate, and
//! what to write so that it does.

use std::fmt::Write as _;

use super::{Configured, DIRECTIVES, certificate_lines, file_of, is_computed};
use crate::finding::words;
use crate::name::DnsName;
use crate::target::dump::{CertificateLine, Map, Row, ServerBlock};
use crate::target::variables::{Naming, naming};

/// A name at the server block that serves it
pub(in crate::pipeline) struct Site<'s> {
    configured: &'s Configured,
    /// Whose certificate it should get
    lineage: &'s DnsName,
    /// All names of that lineage
    names: Vec<&'s str>,
    /// The name that is asked for
    name: &'s str,
    block: &'s ServerBlock,
}

impl<'s> Site<'s> {
    pub(super) fn new(
        configured: &'s Configured,
        lineage: &'s DnsName,
        names: Vec<&'s str>,
        name: &'s str,
        block: &'s ServerBlock,
    ) -> Self {
        Self {
            configured,
            lineage,
            names,
            name,
            block,
        }
    }

    fn naming<'l>(&'l self, line: &'l CertificateLine) -> Naming<'l> {
        naming(&self.configured.configuration, self.block, line, self.name)
    }

    /// Whether a line leads to the lineage's own files for this name
    pub(in crate::pipeline) fn is_own(&self, line: &CertificateLine) -> bool {
        let own = self.configured.live.join(self.lineage.as_str());
        let naming = self.naming(line);
        naming.path().is_some_and(|path| path.starts_with(&own))
    }

    /// Whether the block names files of another lineage, and none of this one
    pub(in crate::pipeline) fn names_another_lineage(&self) -> bool {
        let live = &self.configured.live;
        let is_anothers = |line: &CertificateLine| {
            let naming = self.naming(line);
            !self.is_own(line) && naming.path().is_some_and(|path| path.starts_with(live))
        };
        let mut lines = self.block.certificate_lines().peekable();
        lines.peek().is_some() && lines.all(is_anothers)
    }

    /// What to write so that the name gets its own certificate, and no other name loses its
    ///
    /// Where no line is wrong, the right ones are missing.
    pub(in crate::pipeline) fn to_change(
        &self,
        is_wrong: impl Fn(&CertificateLine) -> bool,
    ) -> String {
        let block = self.block;
        if block.certificate_lines().any(is_computed) {
            return self.by_variables();
        }
        // What stands beside the blocks is for others too, and stays.
        let wrong = || block.certificates.iter().filter(|line| is_wrong(line));
        let is_without = block.certificate_lines().next().is_none();
        let takes =
            !is_without && (wrong().next().is_none() || wrong().any(|line| !self.is_own(line)));
        if takes && block.names.iter().any(|name| self.is_strange(name)) {
            return self.block_of_its_own();
        }
        let mut cure = format!(
            "in the server block at {}:{} of {}",
            block.file,
            block.line,
            self.configured.container()
        );
        cure.push_str(match wrong().next() {
            None => " add",
            Some(_) => " change",
        });
        for line in wrong() {
            let place = match line.file == block.file {
                true => format!("line {}", line.line),
                false => format!("{}:{}", line.file, line.line),
            };
            let path = words::path(&line.path);
            let _ = write!(cure, "\n    {place}: {} {path};", line.directive);
        }
        if wrong().next().is_some() {
            cure.push_str("\nto");
        }
        let is_right = |directive: &&&str| {
            let mut lines = block.certificate_lines();
            !lines.any(|line| line.directive == **directive && !is_wrong(line))
        };
        let directives: Vec<&str> = DIRECTIVES.iter().filter(is_right).copied().collect();
        let live = &self.configured.live;
        let _ = write!(
            cure,
            "\n{}",
            certificate_lines(live, self.lineage, &directives)
        );
        cure
    }

    /// Whether a name of the block is none that the lineage's certificate is for
    fn is_strange(&self, name: &str) -> bool {
        !matches!(name, "" | "_") && !self.names.contains(&name)
    }

    /// Other names of the block would lose theirs, if its lines were changed
    fn block_of_its_own(&self) -> String {
        let block = self.block;
        let listed = |name: &&str| block.names.iter().any(|own| own == name);
        let own: Vec<&str> = self.names.iter().copied().filter(listed).collect();
        let place = format!("{}:{}", block.file, block.line);
        let (before, names) = match own.is_empty() {
            true => (
                format!("leave it to {place} to serve its other names"),
                vec![self.name],
            ),
            false => (
                format!(
                    "the server block at {place} serves other names too: take {} out of its `server_name`",
                    own.join(" and ")
                ),
                own,
            ),
        };
        let added = self
            .configured
            .block_to_add(self.lineage, &names, &[], Some(block));
        format!("{before}, and add this server block:\n{added}")
    }

    /// nginx computes the files from variables: what they come to is what is to be changed
    fn by_variables(&self) -> String {
        let block = self.block;
        let mut cure = format!(
            "the server block at {}:{} takes the certificate of each name from variables: leave its lines as they are",
            block.file, block.line
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
                words::path(&own)
            );
        }
        cure
    }

    fn change_of_variable(&self, line: &CertificateLine) -> String {
        let live = &self.configured.live;
        let wanted = live
            .join(self.lineage.as_str())
            .join(file_of(&line.directive));
        let wanted = words::path(&wanted);
        let text = words::path(&line.path);
        let place = format!("{}:{}", line.file, line.line);
        let what = match self.naming(line) {
            Naming::Computed {
                by: Some((map, row)),
                ..
            } => match (self.key(map), part_of(&text, &map.variable, &wanted)) {
                (Some(key), Some(value)) => return row_of(map, row, key, value),
                _ => format!("${}, a map at {}:{}", map.variable, map.file, map.line),
            },
            Naming::Computed { by: None, .. } => match part_of(&text, "ssl_server_name", &wanted) {
                Some(value) => return self.map_to_add(value),
                None => text.clone(),
            },
            Naming::Unknown { variable } => format!("${variable}"),
            Naming::Fixed(path) => words::path(path),
        };
        format!(
            "`{}` at {place} depends on {what}: for {} let it come to\n    {wanted}",
            line.directive, self.name
        )
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

    /// An alias has no directory of its own: a map says whose it is
    fn map_to_add(&self, value: &str) -> String {
        format!(
            "beside the server blocks add this map, and write ${MAP} for $ssl_server_name in them:\n    map $ssl_server_name ${MAP} {{\n        default $ssl_server_name;\n        {} {value};\n    }}",
            self.name
        )
    }
}

/// What a variable must come to, so that a text with it comes to what is wanted; `None` where the
/// text has other variables too
fn part_of<'w>(text: &str, variable: &str, wanted: &'w str) -> Option<&'w str> {
    let forms = [format!("${{{variable}}}"), format!("${variable}")];
    let form = forms.iter().find(|form| text.contains(form.as_str()))?;
    let (before, after) = text.split_once(form.as_str())?;
    if before.contains('$') || after.contains('$') {
        return None;
    }
    wanted.strip_prefix(before)?.strip_suffix(after)
}

/// A row for this key alone; one that is for several keeps serving those
fn row_of(map: &Map, row: Option<&Row>, key: &str, value: &str) -> String {
    let variable = &map.variable;
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
