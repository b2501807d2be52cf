//! Whose certificate the file is that nginx cannot start without.

use std::path::{Path, PathBuf};

use super::Supply;
use crate::facts::Container;
use crate::finding::Finding;
use crate::finding::words::{self, quoted};
use crate::name::DnsName;
use crate::pipeline::obtain::target::is_or_leads_to_file_of;
use crate::target::mount;
use crate::target::words::place;

/// A file that is missing, and that certd has something to say of
pub(super) struct Missed<'s> {
    /// The file that nginx names
    file: PathBuf,
    /// Where that leads through symlinks, if it is another
    leads_to: Option<PathBuf>,
    whose: Whose<'s>,
}

/// Whose directory it would be in
enum Whose<'s> {
    /// A domain without a live certificate
    Domain(&'s DnsName),
    /// An alias, which has no directory
    Alias {
        alias: &'s DnsName,
        domain: &'s DnsName,
        /// The directory `live/` that it is looked for in
        live: PathBuf,
    },
}

impl Supply<'_> {
    /// What a file is that a container misses; `None` for what is none of certd's
    ///
    /// Symlinks are followed on the host, as far as they lie on mounts: the container does not run.
    pub(super) fn missed(&self, container: &Container, path: &Path) -> Option<Missed<'_>> {
        let lives = self.lives_in(container);
        let led = mount::goal(container, path);
        let is_one_of = |name: &DnsName| is_or_leads_to_file_of(&lives, name, path, &led);
        let leads_to = (led != path).then(|| led.clone());
        let missed = |whose| Missed {
            file: path.to_owned(),
            leads_to,
            whose,
        };
        let mut domains = self.lacking();
        if let Some(name) = domains.find(|name| is_one_of(name)) {
            return Some(missed(Whose::Domain(name)));
        }
        let mut aliases = self.aliases.iter();
        let (alias, domain) = *aliases.find(|(alias, _)| is_one_of(alias))?;
        let mut lives = lives.iter();
        let live = lives.find(|live| path.starts_with(live) || led.starts_with(live))?;
        let live = live.clone();
        Some(missed(Whose::Alias {
            alias,
            domain,
            live,
        }))
    }
}

impl Missed<'_> {
    /// What is missing, and the way out; `line` is what nginx said
    pub(super) fn finding(
        &self,
        supply: &Supply<'_>,
        container: &Container,
        line: &str,
    ) -> Finding {
        let Container { name, state, .. } = container;
        let file = match &self.leads_to {
            Some(other) => format!(
                "{}, which leads to {}",
                words::path(&self.file),
                words::path(other)
            ),
            None => words::path(&self.file).to_string(),
        };
        let (what, first, domain) = match &self.whose {
            Whose::Domain(name) => (
                format!("the first certificate of {name}, which certd supplies"),
                None,
                *name,
            ),
            Whose::Alias {
                alias,
                domain,
                live,
            } => (
                format!(
                    "which never comes: {alias} is an alias of {domain}, whose certificate is for both"
                ),
                Some(self.to_write(container, live, (alias, domain), line)),
                *domain,
            ),
        };
        let evidence =
            format!("the container {name} is {state}: nginx cannot start without {file}, {what}");
        Finding::failure("target.first_certificate", evidence)
            .with_cure(supply.steps(container, first, domain))
    }

    /// The directory to name instead of an alias's, and where
    fn to_write(
        &self,
        container: &Container,
        live: &Path,
        (alias, domain): (&DnsName, &DnsName),
        line: &str,
    ) -> String {
        let of = |name: &DnsName| format!("{}/", words::path(&live.join(name.as_str())));
        let (wrong, right) = (of(alias), of(domain));
        if self.leads_to.is_some() {
            return format!(
                "let {} lead to {right} instead of {wrong}, and its key likewise",
                words::path(&self.file)
            );
        }
        let at = place(line).map(|place| format!(" (one is at {})", words::whole(place)));
        let at = at.unwrap_or_default();
        let write =
            format!("in nginx's configuration write {right} for {wrong} wherever it stands{at}");
        let mounts = container.mounts.iter();
        let of_nginx = mounts.filter(|mount| mount.destination.starts_with(CONFIGURATION));
        let sources: Vec<String> = of_nginx
            .map(|mount| quoted(&words::path(&mount.source)).to_string())
            .collect();
        match sources.is_empty() {
            true => write,
            false => format!(
                "{write}. This shows the lines:\n    grep -rnF {} {}",
                quoted(&wrong),
                sources.join(" ")
            ),
        }
    }
}

/// Where nginx's configuration usually is
const CONFIGURATION: &str = "/etc/nginx";
