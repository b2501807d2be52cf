//! One name at the server block that serves it: whether that names the name's own certificate, and
//! what to write so that it does.

use std::fmt::Write as _;
use std::path::Path;

use super::directive::{DIRECTIVES, certificate_lines, path};
use super::first_name::first_left;
use super::listening::is_same;
use super::together::in_words;
use super::{Configured, is_computed};
use crate::chain::Chain;
use crate::name::DnsName;
use crate::target::choice::{self, Choice, Inlet};
use crate::target::dump::{CertificateLine, ServerBlock, Tls};
use crate::target::variables::{Naming, naming};

/// A name at the server block that serves it
pub(in crate::pipeline) struct Site<'s> {
    pub(super) configured: &'s Configured,
    /// Whose certificate it should get
    pub(super) lineage: &'s DnsName,
    /// All names of that lineage
    pub(super) names: Vec<&'s str>,
    /// The name that is asked for
    pub(super) name: &'s str,
    pub(super) block: &'s ServerBlock,
    shown: Shown,
    /// Where its connections come in; `None` where nobody looks at its other names
    pub(super) inlet: Option<&'s Inlet>,
    /// Ports at which the domain is to be served
    pub(super) ports: &'s [u16],
}

/// What is known of the certificate that a block serves now
#[derive(Clone)]
enum Shown {
    /// The names that it is for; none where there is none
    Names(Vec<String>),
    /// Nobody has looked: whoever comes to the block unlisted may depend on it
    Unknown,
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
            shown: Shown::Names(Vec::new()),
            inlet: None,
            ports: &[],
        }
    }

    /// The same where connections come in there: what is proposed is for all names of the domain
    pub(in crate::pipeline) fn coming_in(mut self, inlet: Option<&'s Inlet>) -> Self {
        self.inlet = inlet;
        self
    }

    /// The same for a domain that is served at these ports
    pub(super) fn at_ports(mut self, ports: &'s [u16]) -> Self {
        self.ports = ports;
        self
    }

    /// Another name of the domain at its block
    pub(super) fn beside(&self, name: &'s str, block: &'s ServerBlock) -> Self {
        let shown = match is_same(block, self.block) || has_same_files(block, self.block) {
            true => self.shown.clone(),
            false => Shown::Unknown,
        };
        Self {
            names: self.names.clone(),
            shown,
            name,
            block,
            ..*self
        }
    }

    /// The same where this certificate is served now: names that come to the block because none
    /// lists them may depend on it
    pub(in crate::pipeline) fn showing(mut self, leaf: Option<&[u8]>) -> Self {
        let chain = leaf.and_then(|leaf| Chain::from_der(vec![leaf.to_vec()]).ok());
        let names = chain.map_or_else(Vec::new, |chain| chain.leaf().names.clone());
        self.shown = Shown::Names(names);
        self
    }

    /// The same for a certificate of these names
    #[cfg(test)]
    pub(super) fn showing_names(mut self, names: Vec<String>) -> Self {
        self.shown = Shown::Names(names);
        self
    }

    pub(super) fn naming<'l>(&'l self, line: &'l CertificateLine) -> Naming<'l> {
        naming(&self.configured.configuration, self.block, line, self.name)
    }

    /// Whether a line leads to the lineage's own files for this name
    pub(in crate::pipeline) fn is_own(&self, line: &CertificateLine) -> bool {
        let own = self.configured.live.join(self.lineage.as_str());
        let naming = self.naming(line);
        naming.path().is_some_and(|path| path.starts_with(&own))
    }

    /// Whether a line names the files of one generation of the lineage
    fn is_pinned(&self, line: &CertificateLine) -> bool {
        let archive = self.configured.archive();
        let own = archive.map(|archive| archive.join(self.lineage.as_str()));
        !is_computed(line) && own.is_some_and(|own| line.path.starts_with(own))
    }

    /// That the block names the files of one generation, which no renewal changes, and what to write
    ///
    /// The generation is the lineage's own: nothing is taken from another name.
    pub(in crate::pipeline) fn pinned(&self) -> Option<(String, String)> {
        let mut lines = self.block.certificate_lines();
        let line = lines.find(|line| self.is_pinned(line))?;
        let evidence = format!(
            "`{}` at {}:{} names one generation, {}: the next one cannot be loaded there",
            line.directive,
            line.file,
            line.line,
            path(&line.path)
        );
        let is_pinned = |line: &CertificateLine| self.is_pinned(line);
        Some((evidence, self.in_place(&self.wrong(is_pinned), is_pinned)))
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
        if let Some(words) = self.configured.is_unprintable() {
            return words;
        }
        if self.block.certificate_lines().any(is_computed) {
            return self.by_variables();
        }
        let wrong = self.wrong(&is_wrong);
        match self.takes_from_others(&wrong) {
            true => self.of_their_own(),
            false => self.with_others(self.in_place(&wrong, is_wrong)),
        }
    }

    /// The lines that are to go
    ///
    /// What stands beside the blocks is for others too, and stays.
    pub(super) fn wrong(
        &self,
        is_wrong: impl Fn(&CertificateLine) -> bool,
    ) -> Vec<&'s CertificateLine> {
        let lines = self.block.certificates.iter();
        lines.filter(|line| is_wrong(line)).collect()
    }

    /// Whether other names would lose their certificate with these lines of the block
    pub(super) fn takes_from_others(&self, wrong: &[&CertificateLine]) -> bool {
        let block = self.block;
        let is_without = block.certificate_lines().next().is_none();
        let takes =
            !is_without && (wrong.is_empty() || wrong.iter().any(|line| !self.is_own(line)));
        takes && (block.names.iter().any(|name| self.is_strange(name)) || self.is_relied_on())
    }

    /// What to write in the block itself
    pub(super) fn in_place(
        &self,
        wrong: &[&CertificateLine],
        is_wrong: impl Fn(&CertificateLine) -> bool,
    ) -> String {
        let block = self.block;
        let is_right = |directive: &&&str| {
            let mut lines = block.certificate_lines();
            !lines.any(|line| line.directive == **directive && !is_wrong(line))
        };
        let directives: Vec<&str> = DIRECTIVES.iter().filter(is_right).copied().collect();
        let lines = certificate_lines(&self.configured.live, self.lineage, &directives);
        match wrong
            .iter()
            .find_map(|line| Some((line, self.other_use(line)?)))
        {
            Some((line, other)) => format!(
                "{} {other}, and stays as it is: in the server block at {} of {} write the other lines of that file in place of its `include`, and add\n{}",
                line.file,
                block.place(),
                self.configured.container(),
                certificate_lines(&self.configured.live, self.lineage, &DIRECTIVES)
            ),
            // nginx takes a certificate for each kind of key.
            None if directives.is_empty() && !wrong.is_empty() => self.to_remove(wrong),
            None => format!("{}\n{lines}", self.to_replace(wrong)),
        }
    }

    /// That these lines go, beside which the right ones stand
    fn to_remove(&self, wrong: &[&CertificateLine]) -> String {
        let mut cure = format!(
            "the server block at {} of {} has the right lines, and others beside them, whose certificate is shown: take out",
            self.block.place(),
            self.configured.container()
        );
        self.list(&mut cure, wrong);
        cure
    }

    /// In words that the lines to write follow: that these go, or that nothing goes
    fn to_replace(&self, wrong: &[&CertificateLine]) -> String {
        let block = self.block;
        let mut cure = format!(
            "in the server block at {} of {}",
            block.place(),
            self.configured.container()
        );
        cure.push_str(match wrong {
            [] => " add",
            _ => " change",
        });
        self.list(&mut cure, wrong);
        if !wrong.is_empty() {
            cure.push_str("\nto");
        }
        cure
    }

    fn list(&self, cure: &mut String, lines: &[&CertificateLine]) {
        for line in lines {
            let place = match line.file == self.block.file {
                true => format!("line {}", line.line),
                false => format!("{}:{}", line.file, line.line),
            };
            let _ = write!(
                cure,
                "\n    {place}: {} {};",
                line.directive,
                path(&line.path)
            );
        }
    }

    /// What nginx is told by `ssl_reject_handshake on`, where that keeps the name from being served,
    /// and what to write instead; `None` where it does not
    pub(in crate::pipeline) fn to_accept(&self) -> Option<(String, String)> {
        let block = self.block;
        let reject = block.rejects.as_ref()?;
        let at = format!("{}:{}", reject.file, reject.line);
        let seen = format!(
            "`ssl_reject_handshake on` at {at} refuses every handshake of the server block at {}, which lists {}",
            block.place(),
            self.name
        );
        let lines = match block.certificate_lines().next() {
            Some(_) => String::new(),
            None => format!(
                "\n{}",
                certificate_lines(&self.configured.live, self.lineage, &DIRECTIVES)
            ),
        };
        let is_of_all = self.configured.configuration.rejects.as_ref() == Some(reject);
        let cure = if block.names.iter().any(|name| self.is_strange(name)) {
            self.of_their_own()
        } else if is_of_all {
            format!(
                "in the server block at {} add\n    ssl_reject_handshake off;{lines}",
                block.place()
            )
        } else if reject.file != block.file {
            format!(
                "in the server block at {} write the other lines of {} in place of its `include`{}",
                block.place(),
                reject.file,
                if lines.is_empty() {
                    lines
                } else {
                    format!(", and add{lines}")
                }
            )
        } else {
            format!(
                "take `ssl_reject_handshake on` out at {at}{}",
                if lines.is_empty() {
                    lines
                } else {
                    format!(", and add there{lines}")
                }
            )
        };
        Some((seen, cure))
    }

    /// What to write in `server_name`, so that a block that comes later serves what both list of the
    /// domain
    pub(in crate::pipeline) fn to_leave_to(&self, later: &ServerBlock) -> String {
        let names = self.names.iter().copied();
        let of_both = |name: &&str| choice::lists(self.block, name) && choice::lists(later, name);
        let names: Vec<&str> = names.filter(of_both).collect();
        let removal = self.configured.removal(self.block, &names);
        let (removed, removal) = match removal {
            Some(removal) => (removal.names, Some(removal.words)),
            None => (Vec::new(), None),
        };
        let left = first_left(self.block, &removed);
        let first = self.configured.to_keep_first_name(self.block, &[&left]);
        let removal =
            removal.map(|words| format!("in the server block at {} {words}", self.block.place()));
        // A wildcard of both covers these, and a name itself comes before any.
        let covered: Vec<&str> = names
            .into_iter()
            .filter(|name| !removed.contains(name))
            .collect();
        let addition = (!covered.is_empty()).then(|| {
            format!(
                "add {} to `server_name` at {}",
                in_words(&covered),
                later.place()
            )
        });
        let steps: Vec<String> = removal.into_iter().chain(addition).collect();
        first.unwrap_or_default() + &steps.join(", and ")
    }

    /// Whether a name of the block is none that the lineage's certificate is for
    pub(super) fn is_strange(&self, name: &str) -> bool {
        !matches!(name, "" | "_") && !self.names.contains(&name)
    }

    /// In words, who else needs the file of a line that the block includes; `None` where nobody does
    fn other_use(&self, line: &CertificateLine) -> Option<String> {
        let is_included = line.file != self.block.file;
        let neighbour = self.configured.neighbour_at(Path::new(&line.file));
        if let Some(neighbour) = neighbour.filter(|_| is_included) {
            return Some(format!(
                "is read by {} too, which mounts it",
                neighbour.name
            ));
        }
        match self.sharer(line) {
            Some((other, Shared::Surely)) => {
                return Some(format!("is included by {} too", other.place()));
            }
            Some((other, Shared::Perhaps(file))) => {
                return Some(format!(
                    "may be a link to the same file as {file}, which {} includes",
                    other.place()
                ));
            }
            None => {}
        }
        let configuration = &self.configured.configuration;
        let inclusion = configuration.included.get(&line.file)?;
        let of_blocks = configuration.servers.iter();
        let of_blocks = of_blocks.flat_map(|block| block.certificates.iter());
        let is_it = |own: &&CertificateLine| *own == line;
        // What is left is read beside the blocks of http, or for those of another module.
        let is_used =
            line.file != self.block.file && inclusion.times > of_blocks.filter(is_it).count();
        let at = inclusion.at.iter();
        let at: Vec<String> = at.map(|at| format!("{}:{}", at.file, at.line)).collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        is_used.then(|| format!("is included more than once (at {})", in_words(&at)))
    }

    /// Another block with names of others that has the same line, by including the same file, or one
    /// that may be the same
    fn sharer(&self, line: &CertificateLine) -> Option<(&ServerBlock, Shared<'_>)> {
        let others = || {
            let others = self.configured.configuration.servers.iter();
            others.filter(|other| {
                let is_for_all = || {
                    !other
                        .names
                        .iter()
                        .any(|name| self.names.contains(&name.as_str()))
                };
                let is_for_others =
                    || is_for_all() || other.names.iter().any(|name| self.is_strange(name));
                !is_same(other, self.block) && other.tls == Tls::On && is_for_others()
            })
        };
        let has_line = |other: &&ServerBlock| {
            let mut lines = other.certificates.iter();
            lines.any(|own| own.file == line.file && own.line == line.line)
        };
        // Of two files that are included, one may be a link to the other.
        let is_included = line.file != self.block.file;
        let twin = |other: &'s ServerBlock| {
            let mut lines = other.certificate_lines();
            let is_link = |own: &&CertificateLine| {
                is_included && own.file != other.file && own.file != line.file && is_twin(own, line)
            };
            let twin = lines.find(is_link)?;
            Some((other, Shared::Perhaps(&twin.file)))
        };
        let same = others().find(has_line).map(|other| (other, Shared::Surely));
        same.or_else(|| others().find_map(twin))
    }

    /// Whether names that the certificate of now is for come to the block because none lists them
    fn is_relied_on(&self) -> bool {
        let shown = match &self.shown {
            Shown::Names(names) => names,
            Shown::Unknown => return self.configured.is_default(self.block),
        };
        let mut strange = shown.iter().filter(|name| self.is_strange(name));
        strange.any(|name| {
            // Any name will do for those that a wildcard stands for.
            let name = name.replacen('*', "certd-any", 1);
            let mut inlets = self
                .block
                .secure_listens()
                .take(MOST_PORTS)
                .map(|listen| Inlet {
                    addresses: match listen.at.ip().is_unspecified() && listen.at.is_ipv4() {
                        true => Vec::new(),
                        false => vec![listen.at.ip()],
                    },
                    port: listen.at.port(),
                });
            inlets.any(|inlet| {
                match choice::choose(&self.configured.configuration, &name, &inlet) {
                    Choice::Default(block) => is_same(block, self.block),
                    _ => false,
                }
            })
        })
    }
}

/// How a block comes to the line of an included file
enum Shared<'s> {
    /// It includes that file
    Surely,
    /// It includes this one, which may be a link to it: nginx tells files apart by their names alone
    Perhaps(&'s str),
}

/// Whether two lines would be one if their files were
fn is_twin(one: &CertificateLine, other: &CertificateLine) -> bool {
    let [one, other] = [one, other].map(|line| (line.line, &line.directive, &line.path));
    one == other
}

/// Whether two blocks serve the same certificate, since they name the same files
fn has_same_files(block: &ServerBlock, other: &ServerBlock) -> bool {
    let mut files = block.certificate_lines().peekable();
    let is_known = files.peek().is_some() && !block.certificate_lines().any(is_computed);
    let others = other.certificate_lines().map(|line| &line.path);
    is_known && files.map(|line| &line.path).eq(others)
}

/// Ports of a block that are looked at: a range may have thousands
const MOST_PORTS: usize = 64;
