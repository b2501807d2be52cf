//! Files that nginx computes for each name: where they cannot be told, and who reads their keys.

use super::inner::wrong;
use super::seen::{Named, Nginx, Own, Seen};
use crate::config::Sharing;
use crate::finding::Finding;
use crate::target::dump::ServerBlock;

/// A file that depends on what is not followed, where another certificate than the live one is served
pub(super) fn undecided(
    seen: &Seen<'_>,
    nginx: &Nginx,
    block: &ServerBlock,
    named: &Named,
    path: &str,
) -> Option<Finding> {
    if named.path.is_some() || nginx.own != Own::Seen || seen.domain.is_none() {
        return None;
    }
    let shown = seen.at_container()?.leaf()?;
    let live = seen.stored.live.as_ref()?;
    if shown.fingerprint == live.fingerprint || seen.sharing() == Sharing::Shared {
        return None;
    }
    let evidence = format!(
        "{path} depends on what is not followed here, and comes to a certificate of {}",
        shown.label()
    );
    Some(wrong(seen, nginx, block, evidence))
}

/// The right files, whose key nginx's workers may not read for a connection
pub(super) fn closed_key(seen: &Seen<'_>, nginx: &Nginx, block: &ServerBlock) -> Option<Finding> {
    let domain = seen
        .domain
        .filter(|_| nginx.own == Own::Seen && !seen.is_good())?;
    let site = nginx.configured.site(domain, seen.name, block);
    let mut lines = block.certificate_lines();
    if !lines.all(|line| site.is_own(line)) {
        return None;
    }
    let open = nginx.configured.to_open_key_of(block, &domain.name)?;
    let evidence = format!(
        "{} takes the key from a variable, and nginx's workers may not read it",
        block.place()
    );
    Some(Finding::failure("target.key_group", evidence).with_cure(open))
}
