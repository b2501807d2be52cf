//! What is to be said of the right files of a server block: that a renewal leaves them behind, and that
//! others stand beside them.

use jiff::Timestamp;

use super::cure::changing;
use super::inner::who;
use super::seen::{Content, Named, Nginx, Seen};
use crate::chain::Certificate;
use crate::finding::{Finding, words};
use crate::pipeline::obtain::PINNED;
use crate::target::dump::ServerBlock;

/// A certificate for clients that take another kind of key, which certd does not renew
pub(super) fn other_kind(
    seen: &Seen<'_>,
    named: &Named,
    shown: &Certificate,
    now: Timestamp,
) -> Option<Finding> {
    seen.domain?;
    named.beside.iter().find_map(|other| {
        let Content::Chain(chain) = &other.content else {
            return None;
        };
        let leaf = chain.leaf();
        let is_same = std::mem::discriminant(&leaf.key) == std::mem::discriminant(&shown.key);
        if is_same || seen.stored.known(leaf.fingerprint).is_some() {
            return None;
        }
        let evidence = format!(
            "clients that take {} alone, no {}, get another certificate, which certd does not renew: {}, {}, by {}:{}",
            leaf.key,
            shown.key,
            words::path(other.path.as_ref().unwrap_or(&other.line.path)),
            who(seen, leaf, now),
            other.line.file,
            other.line.line
        );
        Some(match leaf.validity.not_after <= now {
            true => Finding::warning("why.other_kind", evidence)
                .with_cure("renew it by the program that made it, or take the line out, with that of its key"),
            false => Finding::note("why.other_kind", evidence),
        })
    })
}

/// Right files that no renewal changes
pub(super) fn pinned(seen: &Seen<'_>, nginx: &Nginx, block: &ServerBlock) -> Option<Finding> {
    let site = nginx.configured.site(seen.domain?, seen.name, block);
    let (evidence, change) = site.pinned()?;
    Some(Finding::warning(PINNED, evidence).with_cure(changing(seen, nginx, &change)))
}
