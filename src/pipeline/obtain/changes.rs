//! What to change in nginx's configuration, told before an order.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::configured::{Configured, configured};
use super::target::Target;
use super::words::AFTER_A_CHANGE;
use crate::chain::Fingerprint;
use crate::config::Sharing;
use crate::finding::words;
use crate::name::DnsName;
use crate::pipeline::{Context, Work};
use crate::target::choice::Serving;
use crate::target::dump::CertificateLine;

/// What to change for each name that is served with another certificate than its domain's live one
///
/// Empty where every name has its own, or nginx's configuration cannot be read.
pub(super) async fn changes(
    context: &Context<'_>,
    target: &Target,
    works: &[Work<'_>],
) -> BTreeMap<String, String> {
    let mut strange: Vec<Strange<'_>> = Vec::new();
    for work in target.members.iter().map(|member| &works[*member]) {
        if work.domain.sharing == Sharing::Shared {
            continue;
        }
        let live = work.lineage.live;
        let live = live.and_then(|live| context.store.certificate(work.name(), live).ok());
        let live = live.map(|generation| generation.chain.leaf().fingerprint);
        for (name, address) in target.places(work) {
            let seen = target.baseline.get(&(name.clone(), address));
            let served = seen.and_then(|seen| seen.outcome.as_ref().ok());
            let shown = served.and_then(|served| served.chain.first());
            if let Some(leaf) = shown.filter(|leaf| live != Some(Fingerprint::of(leaf))) {
                strange.push(Strange {
                    work,
                    name,
                    address,
                    leaf,
                });
            }
        }
    }
    let Some(Strange { address, .. }) = strange.first() else {
        return BTreeMap::new();
    };
    let Some(configured) = configured(context, target, works, *address).await else {
        return BTreeMap::new();
    };
    let changes = strange.into_iter();
    changes
        .filter_map(|strange| {
            let change = to_change(&strange, &configured)?;
            let change = match configured.doubt_in_words() {
                Some(doubt) if change != doubt => format!("{change}\n{doubt}"),
                _ => change,
            };
            Some((strange.name.to_string(), change))
        })
        .collect()
}

/// A name that is served with another certificate than its domain's live one
struct Strange<'s> {
    work: &'s Work<'s>,
    name: DnsName,
    address: SocketAddr,
    /// The certificate, in DER
    leaf: &'s [u8],
}

/// What makes nginx serve a name with its domain's certificate; `None` where that cannot be told
fn to_change(strange: &Strange<'_>, configured: &Configured) -> Option<String> {
    let Strange {
        work,
        name,
        address,
        leaf,
    } = strange;
    let address = *address;
    let (domain, container) = (work.name(), configured.container());
    let is_first = work.lineage.newest().is_none();
    let inlet = configured.inlet(address);
    let with_next = |change: &str| Some(configured.with_next(change, AFTER_A_CHANGE));
    let block = match configured.serving(name.as_str(), address) {
        Serving::Listed(block) => block,
        Serving::Elsewhere { block, at } => {
            let (domain, inlet) = (Some(work.domain), inlet.as_ref());
            let change = configured.listens_elsewhere(domain, name.as_str(), block, at, inlet);
            return with_next(&change);
        }
        Serving::Unknown if is_first => return None,
        Serving::Unknown => {
            return configured.by_pattern(domain, name.as_str(), inlet.as_ref()?);
        }
        // Another nginx beside it may serve the name.
        Serving::Nobody if configured.is_one_of_several() => return configured.doubt_in_words(),
        Serving::Nobody if is_first => {
            return Some(format!(
                "no server block of {container} serves {name} yet: `certd obtain {domain}` orders its certificate, and shows the one to add"
            ));
        }
        Serving::Nobody => {
            let (shown, inlet) = (Some(*leaf), inlet.as_ref());
            let change = configured.to_serve(work.domain, name.as_str(), inlet, shown);
            let change = format!("no server block of {container} serves {name}: {change}");
            return with_next(&change);
        }
    };
    let place = block.place();
    let site = configured
        .site(work.domain, name.as_str(), block)
        .showing(Some(leaf))
        .coming_in(inlet.as_ref());
    let wrong = |line: &CertificateLine| !site.is_own(line);
    let named = block.certificate_lines().find(|line| wrong(line));
    let named = named.map(|line| words::path(&line.path));
    let change = || with_next(&site.to_change(wrong));
    Some(match (is_first, named) {
        (true, Some(named)) => format!(
            "the server block at {place} of {container} names {named}: `certd obtain {domain}` orders a certificate of its own, and shows what to change"
        ),
        (true, None) => format!(
            "`certd obtain {domain}` orders its certificate and lets nginx load it: the server block at {place} of {container} waits for it"
        ),
        (false, None) if block.certificate_lines().next().is_none() => return change(),
        (false, None) => format!(
            "the server block at {place} of {container} names the right files: `certd obtain {domain}` lets nginx load them, without an order"
        ),
        (false, Some(_)) => return change(),
    })
}
