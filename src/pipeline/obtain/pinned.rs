//! Lines of nginx's configuration that name the files of one generation, below `archive/`: a renewal
//! moves the live link, and such a line stays behind.

use std::path::{Component, Path, PathBuf};

use super::configured::{Configured, configured};
use super::target::Target;
use super::words::AFTER_A_CHANGE;
use crate::config::ConfigTest;
use crate::finding::{Finding, words};
use crate::pipeline::{Context, Work};
use crate::store::ARCHIVE;
use crate::target::choice::Serving;
use crate::target::dump::ServerBlock;

/// Warns each domain of a target whose server block names one generation
///
/// nginx shows its configuration for that; one that is read already is not asked for again.
pub(super) async fn warn(context: &Context<'_>, target: &Target, works: &mut [Work<'_>]) {
    if target.nginx.test == ConfigTest::Skip {
        return;
    }
    let mut places = target
        .members
        .iter()
        .flat_map(|member| target.places(&works[*member]));
    let Some((_, address)) = places.next() else {
        return;
    };
    drop(places);
    let Some(configured) = configured(context, target, works, address).await else {
        return;
    };
    // As good as nobody pins a file: which block serves which name is asked only where one is.
    if !configured.pins_a_file() {
        return;
    }
    for member in &target.members {
        let work = &mut works[*member];
        let mut places = target.places(work).into_iter();
        let finding = places.find_map(|(name, address)| {
            let block = match configured.serving(name.as_str(), address) {
                Serving::Listed(block) => block,
                Serving::Elsewhere { .. } | Serving::Unknown | Serving::Nobody => return None,
            };
            configured.site(work.domain, name.as_str(), block).pinned()
        });
        work.findings.extend(finding.map(|(evidence, change)| {
            let cure = configured.with_next(&change, AFTER_A_CHANGE);
            Finding::warning(CODE, evidence).with_cure(cure)
        }));
    }
}

/// The same where a first certificate was deployed: later a line that is wrong stops a renewal, which
/// tells
pub(super) async fn warn_at_first(context: &Context<'_>, target: &Target, works: &mut [Work<'_>]) {
    let is_first = |member: &usize| {
        let ready = works[*member].ready.as_ref();
        ready.is_some_and(|ready| ready.previous.is_none())
    };
    if target.members.iter().any(is_first) {
        warn(context, target, works).await;
    }
}

/// What is to be written for a file of one generation; `None` for any other file
pub(super) fn instead(lives: &[PathBuf], file: &Path) -> Option<String> {
    lives.iter().find_map(|live| {
        let below = file.strip_prefix(live.parent()?.join(ARCHIVE)).ok()?;
        let parts: Vec<Component<'_>> = below.components().collect();
        let [Component::Normal(name), _, Component::Normal(file)] = parts.as_slice() else {
            return None;
        };
        let name = name.to_string_lossy();
        let meant = words::path(&live.join(&*name).join(file));
        Some(format!(
            "it is the file of one generation of {name}, which no renewal changes: write {meant} for it (`certd why {name}` shows where)"
        ))
    })
}

impl Configured {
    /// Whether any line names a file below the archive
    fn pins_a_file(&self) -> bool {
        let servers = self.configuration.servers.iter();
        let mut lines = servers.flat_map(ServerBlock::certificate_lines);
        let archive = self.archive();
        archive.is_some_and(|archive| lines.any(|line| line.path.starts_with(&archive)))
    }

    /// Where the container sees the archive of the storage
    pub(super) fn archive(&self) -> Option<PathBuf> {
        Some(self.live.parent()?.join(ARCHIVE))
    }
}

/// Of such a line
pub(in crate::pipeline) const CODE: &str = "target.pinned_file";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_one_generation_is_told_with_the_one_to_write() {
        let lives = [PathBuf::from("/le/live"), PathBuf::from("/other/live")];
        let found = instead(&lives, Path::new("/other/archive/a.test/1/privkey.pem")).unwrap();
        assert!(
            found.contains("write /other/live/a.test/privkey.pem for it"),
            "{found}"
        );
        for other in [
            "/le/live/a.test/privkey.pem",
            "/le/archive/a.test/privkey.pem",
            "/archive/a.test/1/privkey.pem",
            "/le/archive/a.test/1/x/privkey.pem",
        ] {
            assert_eq!(instead(&lives, Path::new(other)), None, "{other}");
        }
    }
}
