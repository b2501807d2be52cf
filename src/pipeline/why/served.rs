//! The last link: what handshakes show.

use super::cure::{in_particular, to_load};
use super::judge::ranked;
use super::seen::{Content, Look, Seen};
use crate::chain::Certificate;
use crate::config::Sharing;
use crate::finding::{Finding, Severity};
use crate::report::why::{Link, Step};
use crate::verify::judge::{differ, differs};

/// What handshakes show, each certificate on a line of its own, the worst for a browser first; none
/// where no certificate was seen, and no TLS was refused
pub(super) fn served(seen: &Seen<'_>) -> Vec<Step> {
    let ranked = ranked(seen);
    let shown = apart(&ranked);
    let by_container = seen.at_container();
    let is_containers = |looks: &Vec<&Look>| {
        let mut looks = looks.iter();
        by_container.is_some_and(|own| looks.any(|look| look.address == own.address))
    };
    let of_container = shown.iter().position(is_containers).unwrap_or(0);
    let step = |(number, looks): (usize, &Vec<&Look>)| {
        let mut findings = Vec::new();
        if number == of_container {
            findings.extend(not_loaded(seen));
        }
        findings.extend(in_particulars(seen, looks[0]));
        findings.extend(differing(seen, &shown, number));
        let words = match shown.len() {
            1 => words(seen, looks[0]),
            _ => at(words(seen, looks[0]), looks),
        };
        Step::new(Link::Served, words, findings)
    };
    let mut steps: Vec<Step> = match (shown.as_slice(), &seen.inside) {
        ([], None) => Vec::new(),
        ([], Some(inside)) => {
            let mut findings: Vec<Finding> = not_loaded(seen).into_iter().collect();
            findings.extend(in_particulars(seen, inside));
            let words = at(words(seen, inside), &[inside]);
            vec![Step::new(Link::Served, words, findings)]
        }
        (shown, _) => shown.iter().enumerate().map(step).collect(),
    };
    steps.extend(beside(seen));
    steps
}

/// What the container shows at addresses to which DNS does not lead, where that is not right
///
/// No visitor comes there by the name, so that it is no failure beside what is good.
fn beside<'s>(seen: &'s Seen<'_>) -> impl Iterator<Item = Step> + 's {
    let wrong = seen.beside.iter().filter(|look| !look.is_right());
    wrong.map(|look| {
        let findings = in_particulars(seen, look).collect();
        let step = Step::new(Link::Served, at(words(seen, look), &[look]), findings);
        match seen.is_good() {
            true => step.at_most(Severity::Warning),
            false => step,
        }
    })
}

/// The looks that were answered, those together that show the same
pub(super) fn apart<'l>(ranked: &[&'l Look]) -> Vec<Vec<&'l Look>> {
    let mut shown: Vec<Vec<&Look>> = Vec::new();
    for look in ranked.iter().filter(|look| look.unreached().is_none()) {
        let mut groups = shown.iter_mut();
        match groups.find(|looks| shows_the_same(looks[0], look)) {
            Some(looks) => looks.push(look),
            None => shown.push(vec![look]),
        }
    }
    shown
}

fn shows_the_same(one: &Look, other: &Look) -> bool {
    match (&one.handshake.outcome, &other.handshake.outcome) {
        (Ok(one), Ok(other)) => one.chain.first() == other.chain.first(),
        (Err(one), Err(other)) => one == other,
        _ => false,
    }
}

fn words(seen: &Seen<'_>, look: &Look) -> String {
    match look.leaf() {
        Some(leaf) => {
            let before = before_the_container(seen, look).unwrap_or_default();
            shown(seen, &leaf) + &before
        }
        None => look.handshake.outcome.as_ref().err().map_or_else(
            || "something that is no certificate".to_owned(),
            ToString::to_string,
        ),
    }
}

fn at(words: String, looks: &[&Look]) -> String {
    let places: Vec<String> = looks.iter().map(|look| look.address.to_string()).collect();
    format!("{words}, at {}", places.join(", "))
}

fn in_particulars(seen: &Seen<'_>, look: &Look) -> impl Iterator<Item = Finding> {
    let findings = look.findings.iter();
    findings.map(|finding| in_particular(seen, look, finding))
}

/// That addresses show different certificates: visitors get the one or the other
///
/// Where one shows what is installed, those that differ from it are to blame. Else no good one is:
/// neither the order of DNS nor the order in which they are told here says anything.
fn differing(seen: &Seen<'_>, shown: &[Vec<&Look>], number: usize) -> Option<Finding> {
    let fingerprint = |look: &Look| Some(look.leaf()?.fingerprint.to_string());
    let own_look = *shown.get(number)?.first()?;
    let own = fingerprint(own_look)?;
    let live = seen.stored.live.as_ref();
    let live = live.map(|live| live.fingerprint.to_string());
    let looks = || shown.iter().filter_map(|looks| looks.first());
    let mut right = looks().filter(|look| live.is_some() && fingerprint(look) == live);
    let finding = match right.next() {
        Some(right) if right.address == own_look.address => return None,
        Some(right) => differs(
            &own_look.address.to_string(),
            &own,
            &fingerprint(right)?,
            &right.address.to_string(),
        ),
        None => {
            let good = looks().filter(|look| look.is_right());
            let good: Vec<(String, String)> = good
                .filter_map(|look| Some((look.address.to_string(), fingerprint(look)?)))
                .collect();
            if good.len() < 2 || !own_look.is_right() {
                return None;
            }
            differ(&good)
        }
    };
    let is_meant = seen.domain.is_none()
        || (own_look.is_good() && seen.sharing() == Sharing::Shared)
        || own_look.findings.iter().any(is_allowed);
    Some(match is_meant {
        true => finding.at_most(Severity::Note),
        false => finding,
    })
}

/// Whether another certificate than the installed one is allowed for, as a CDN or a proxy has
fn is_allowed(finding: &Finding) -> bool {
    finding.code == "served.not_installed" && finding.severity == Severity::Note
}

/// What stands before a container that has what it should, where the judge has allowed for that
fn before_the_container(seen: &Seen<'_>, look: &Look) -> Option<String> {
    let inside = seen.inside.as_ref().filter(|_| look.is_good())?;
    look.findings.iter().find(|finding| is_allowed(finding))?;
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
    let container = nginx.configured.container();
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
    let cure = to_load(seen);
    let doubt = nginx.configured.doubt_in_words();
    let cure: Vec<String> = [cure].into_iter().chain(doubt).collect();
    Some(Finding::failure("why.not_loaded", has_changed).with_cure(cure.join("\n")))
}
