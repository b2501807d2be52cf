//! The last link: what handshakes show.

use super::cure::in_particular;
use super::seen::{Content, Look, Seen};
use crate::chain::Certificate;
use crate::finding::{Finding, Severity};
use crate::report::why::{Link, Step};

/// What handshakes show; `None` where no certificate was seen, and no TLS was refused
pub(super) fn served(seen: &Seen<'_>) -> Option<Step> {
    let reached = seen.looks.iter().filter(|look| look.unreached().is_none());
    let worst = reached.max_by_key(|look| look.worst());
    let (look, is_inside) = match (worst, &seen.inside) {
        (Some(worst), _) => (worst, false),
        (None, inside) => (inside.as_ref()?, true),
    };
    let words = match look.leaf() {
        Some(leaf) => {
            let before = before_the_container(seen, look).unwrap_or_default();
            shown(seen, &leaf) + &before
        }
        None => look.handshake.outcome.as_ref().err().map_or_else(
            || "something that is no certificate".to_owned(),
            ToString::to_string,
        ),
    };
    let words = match is_inside {
        true => format!("{words}, at {}", look.address),
        false => words,
    };
    let mut findings: Vec<Finding> = not_loaded(seen).into_iter().collect();
    findings.extend(
        look.findings
            .iter()
            .map(|finding| in_particular(seen, look, finding)),
    );
    Some(Step::new(Link::Served, words, findings))
}

/// What stands before a container that has what it should, where the judge has allowed for that
fn before_the_container(seen: &Seen<'_>, look: &Look) -> Option<String> {
    let allowed = |finding: &Finding| {
        finding.code == "served.not_installed" && finding.severity == Severity::Note
    };
    let inside = seen.inside.as_ref().filter(|_| look.is_good())?;
    look.findings.iter().find(|finding| allowed(finding))?;
    let (own, container) = (inside.leaf()?, seen.container()?);
    Some(format!(
        ": a CDN or a proxy; {} behind it shows {}",
        container.name,
        shown(seen, &own)
    ))
}

fn shown(seen: &Seen<'_>, leaf: &Certificate) -> String {
    let fingerprint = leaf.fingerprint.short();
    match seen.stored.known(leaf.fingerprint) {
        Some(known) => format!(
            "generation {} of {} ({fingerprint})",
            known.generation, known.lineage
        ),
        None if leaf.issuer.is_empty() => format!("{} ({fingerprint})", leaf.label()),
        None => format!("{} ({fingerprint}) from {}", leaf.label(), leaf.issuer),
    }
}

/// nginx has not read the file since it changed
fn not_loaded(seen: &Seen<'_>) -> Option<Finding> {
    let Some(Ok(nginx)) = &seen.nginx else {
        return None;
    };
    let Content::Chain(chain) = &nginx.named.as_ref()?.content else {
        return None;
    };
    let served = seen.at_container().and_then(Look::leaf)?;
    let leaf = chain.leaf();
    if served.fingerprint == leaf.fingerprint {
        return None;
    }
    let container = &nginx.configured.container;
    let has_changed = match (
        seen.stored.known(served.fingerprint),
        seen.stored.known(leaf.fingerprint),
    ) {
        (Some(old), Some(new)) if old.lineage == new.lineage => format!(
            "{container} still serves generation {}, and its file holds generation {}",
            old.generation, new.generation
        ),
        _ => format!(
            "{container} serves {}, and its file holds {}",
            served.fingerprint.short(),
            leaf.fingerprint.short()
        ),
    };
    let cure = match seen.domain {
        Some(domain) if domain.nginx.is_some() => format!(
            "nginx was not reloaded since: `certd obtain {}` does it, without an order",
            domain.name
        ),
        _ => format!("reload nginx:\n    docker exec {container} nginx -s reload"),
    };
    Some(Finding::failure("why.not_loaded", has_changed).with_cure(cure))
}
