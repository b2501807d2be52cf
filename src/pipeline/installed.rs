//! What the storage holds, by fingerprint: so that a served certificate can be named.

use std::sync::Arc;

use jiff::Timestamp;

use crate::chain::Certificate;
use crate::config::{Domain, Sharing};
use crate::name::DnsName;
use crate::pipeline::Ready;
use crate::store::Store;
use crate::verify::judge::{Installed, Known};
use crate::verify::proof::{Wanted, covers};

/// Every certificate in the archive that can be read
///
/// Costs one file read for each generation; callers ask for it when something is wrong, or when
/// they judge.
pub fn known_certificates(store: &Store) -> Arc<[Known]> {
    let names = store.lineage_names().unwrap_or_default();
    names
        .iter()
        .flat_map(|name| known_of(store, name))
        .collect()
}

/// The live certificates of other lineages that a domain may be served with: none, unless it shares
pub(super) fn sharable(store: &Store, domain: &Domain, now: Timestamp) -> Vec<Certificate> {
    if domain.sharing == Sharing::Separate {
        return Vec::new();
    }
    let names = store.lineage_names().unwrap_or_default();
    names
        .iter()
        .filter(|name| **name != domain.name)
        .filter_map(|name| store.certificate(name, store.live(name).ok()??).ok())
        .map(|generation| generation.chain.leaf().clone())
        .filter(|leaf| leaf.validity.contains(now))
        .collect()
}

/// What counts as proof for one name: the domain's own certificate, or a shared one that covers it
pub(super) fn wanted(own: &Ready, shared: &[Certificate], name: &DnsName) -> Wanted {
    let others = shared
        .iter()
        .filter(|leaf| covers(&leaf.der, name.as_str()));
    let others = others.map(|leaf| leaf.fingerprint).collect();
    Wanted::or_any_of(own.leaf.fingerprint, others).with_above(own.above.clone())
}

/// The certificates of one lineage
pub(super) fn known_of(store: &Store, name: &DnsName) -> Vec<Known> {
    let Ok(generations) = store.generations(name) else {
        return Vec::new();
    };
    generations
        .into_iter()
        .filter_map(|number| store.certificate(name, number).ok())
        .map(|generation| Known {
            lineage: name.to_string(),
            generation: generation.number,
            fingerprint: generation.chain.leaf().fingerprint,
            public_key: generation.chain.leaf().public_key.clone(),
        })
        .collect()
}

/// What a domain should be served with, among all known certificates; `None` without a live one
pub fn expected_of(store: &Store, known: &Arc<[Known]>, name: &DnsName) -> Option<Installed> {
    let live = store.live(name).ok()??;
    let is_live = |known: &&Known| known.lineage == name.as_str() && known.generation == live;
    Some(Installed {
        lineage: name.to_string(),
        live: Some(known.iter().find(is_live)?.clone()),
        all: Arc::clone(known),
    })
}
