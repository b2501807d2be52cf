//! The links judged from the top, what a browser gets, and the one thing to change: pure functions
//! of what was seen.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::seen::{Dns, Look, Seen, UNJUDGED};
use super::{inner, outer, served};
use crate::finding::{Finding, Severity};
use crate::report::why::{Answer, Change, Judgement, Link, Step};

/// Every link that could be looked at, from the top
///
/// Where a browser gets what it should, an odd link above is a warning: something else makes up
/// for it.
pub(super) fn steps(seen: &Seen<'_>, now: Timestamp) -> Vec<Step> {
    let links = [
        Some(outer::name(seen)),
        outer::dns(seen),
        outer::address(seen),
        outer::listener(seen),
        inner::block(seen),
        inner::file(seen, now),
        inner::installed(seen, now),
    ];
    let is_good = seen.is_good();
    let spared = |step: Step| match step.link {
        // With `connect`, a handshake says nothing of DNS.
        Link::Dns if seen.connect.is_some() => step,
        Link::Served => step,
        _ if is_good => step.at_most(Severity::Warning),
        _ => step,
    };
    let links = links.into_iter().flatten().chain(served::served(seen));
    links.map(spared).collect()
}

/// The one thing to change: the first link from the top that is broken
///
/// What only warns comes after every failure, as it may work for years, and after what keeps the
/// verdict from being one.
pub(super) fn change(steps: &[Step]) -> Option<Change> {
    let all = || {
        steps.iter().flat_map(|step| {
            let findings = step.findings.iter();
            findings.map(|finding| (step.link, finding))
        })
    };
    let of = |severity| all().find(|(_, finding)| finding.severity == severity);
    let unjudged = || all().find(|(_, finding)| finding.code == UNJUDGED);
    let (link, finding) = of(Severity::Failure)
        .or_else(unjudged)
        .or_else(|| of(Severity::Warning))?;
    Some(Change {
        link,
        code: finding.code,
        evidence: finding.evidence.clone(),
        cure: finding.cure.clone().unwrap_or_default(),
    })
}

/// What a browser gets
pub(super) fn verdict(seen: &Seen<'_>) -> Judgement {
    let judgement = |answer, finding: &Finding| Judgement {
        answer,
        reason: finding.evidence.clone(),
    };
    let failing = |findings: &[Finding]| -> Option<Finding> {
        let mut findings = findings.iter();
        let found = findings.find(|finding| finding.severity == Severity::Failure);
        found.cloned()
    };
    if let Dns::Judged(findings) = &seen.dns
        && let Some(finding) = failing(findings).filter(|finding| !is_of_address(finding))
    {
        return judgement(Answer::Unreached, &finding);
    }
    let ranked = ranked(seen);
    let Some(worst) = ranked.first() else {
        return Judgement {
            answer: Answer::Unreached,
            reason: "there is no address to look at".to_owned(),
        };
    };
    match answer(worst) {
        (answer, Some(finding)) => Judgement {
            answer,
            reason: match served::apart(&ranked).as_slice() {
                [] | [_] => finding.evidence.clone(),
                _ => at(worst, &finding.evidence),
            },
        },
        (_, None) => accepted(seen, &ranked),
    }
}

/// All looks, that which is worst for a browser first
pub(super) fn ranked<'s>(seen: &'s Seen<'_>) -> Vec<&'s Look> {
    let mut looks: Vec<&Look> = seen.looks.iter().collect();
    let rank = |look: &Look| match answer(look).0 {
        Answer::Unreached => 4,
        Answer::Refused => 3,
        Answer::Contradicted => 2,
        Answer::Unjudged => 1,
        Answer::Accepted => 0,
    };
    looks.sort_by_key(|look| Reverse((rank(look), look.worst())));
    looks
}

/// What a browser gets at one address, and the finding that says so; `None` where it is accepted
fn answer(look: &Look) -> (Answer, Option<&Finding>) {
    let failures = || {
        let findings = look.findings.iter();
        findings.filter(|finding| finding.severity == Severity::Failure)
    };
    if let Some(unreached) = look.unreached().filter(|_| !look.is_good()) {
        return (Answer::Unreached, Some(unreached));
    }
    let refused = failures().find(|finding| !CONTRADICTIONS.contains(&finding.code));
    match (refused, failures().next(), look.unjudged()) {
        (Some(finding), _, _) => (Answer::Refused, Some(finding)),
        (None, Some(finding), _) => (Answer::Contradicted, Some(finding)),
        (None, None, Some(finding)) => (Answer::Unjudged, Some(finding)),
        (None, None, None) => (Answer::Accepted, None),
    }
}

/// The evidence, with the address of which it speaks
fn at(look: &Look, evidence: &str) -> String {
    let address = look.address.to_string();
    match evidence.starts_with(&address) {
        true => evidence.to_owned(),
        false => format!("{address}: {evidence}"),
    }
}

fn accepted(seen: &Seen<'_>, ranked: &[&Look]) -> Judgement {
    let is_of_time =
        |finding: &&Finding| matches!(finding.code, "served.expires_soon" | "served.time");
    let mut findings = ranked.iter().flat_map(|look| &look.findings);
    let reason = findings.find(is_of_time);
    let reason = reason.map(|finding| finding.evidence.clone());
    // Where this host does not reach its own public address, the container speaks for it.
    let inside = || {
        let inside = seen.inside.as_ref()?;
        let finding = inside.findings.iter().find(is_of_time)?;
        Some(format!("at {} it is {}", inside.address, finding.evidence))
    };
    Judgement {
        answer: Answer::Accepted,
        reason: reason.or_else(inside).unwrap_or_default(),
    }
}

/// Whether DNS answers, and leads elsewhere
pub(super) fn is_of_address(finding: &Finding) -> bool {
    OF_ADDRESS.contains(&finding.code)
}

/// Takes the sting out of what a browser gets around: an address that takes no connection beside
/// one that does, and one of a kind that this host has no way to
///
/// No browser goes on to another address after a connection that was closed in the handshake:
/// that one is spared only beside an address where all is well.
pub(super) fn excuse(looks: &mut [Look], no_route: &str) {
    let is_good = looks.iter().any(Look::is_good);
    let is_reached = looks.iter().any(|look| look.unreached().is_none());
    for look in looks {
        let address = look.address;
        for finding in &mut look.findings {
            let (is_excused, most) = match finding.code {
                code if code == no_route => (is_reached, Severity::Note),
                "connect.reset" => (is_good, Severity::Warning),
                code if code.starts_with("connect.") => (is_reached, Severity::Warning),
                _ => continue,
            };
            if !is_excused {
                continue;
            }
            finding.severity = finding.severity.min(most);
            if most == Severity::Warning {
                finding.cure = Some(format!(
                    "browsers fall back to another address: let {address} be served too, or remove its record"
                ));
            }
        }
    }
}

/// A certificate that browsers accept at a public address, where the container itself shows the
/// installed one: a CDN or a proxy stands there, with a certificate of its own
pub(super) fn allow_for_proxies(looks: &mut [Look], inside: Option<&Look>) {
    if !inside.is_some_and(Look::is_right) {
        return;
    }
    let foreign = looks.iter_mut().flat_map(|look| &mut look.findings);
    for finding in foreign.filter(|finding| finding.code == "served.not_installed") {
        finding.severity = finding.severity.min(Severity::Note);
    }
}

/// What contradicts the storage, and is nothing to a browser
const CONTRADICTIONS: [&str; 4] = [
    "served.not_installed",
    "served.other_common_name",
    "served.other_generation",
    "served.other_lineage",
];
const OF_ADDRESS: [&str; 3] = ["dns.elsewhere", "dns.one_of_several", "dns.private_address"];

#[cfg(test)]
mod tests {
    use super::*;

    fn step(link: Link, findings: Vec<Finding>) -> Step {
        Step::new(link, "seen", findings)
    }

    fn failure(code: &'static str) -> Finding {
        Finding::failure(code, "evidence").with_cure(code)
    }

    fn warning(code: &'static str) -> Finding {
        Finding::warning(code, "evidence").with_cure(code)
    }

    #[test]
    fn the_first_broken_link_from_the_top_is_changed() {
        #[track_caller]
        fn check(steps: &[Step], expected: Option<(Link, &str)>) {
            let change = change(steps);
            let found = change.as_ref().map(|change| (change.link, change.code));
            assert_eq!(found, expected);
            assert!(change.is_none_or(|change| !change.cure.is_empty()));
        }
        let dns = || step(Link::Dns, vec![failure("dns.nxdomain")]);
        let address = || step(Link::Address, vec![failure("dns.elsewhere")]);
        let listener = || step(Link::Listener, vec![failure("connect.refused")]);
        let stopped = || step(Link::Listener, vec![failure("target.not_running")]);
        let block = || step(Link::Block, vec![failure("why.no_block")]);
        let file = || step(Link::File, vec![failure("why.other_file")]);
        let missing = || step(Link::File, vec![failure("why.missing_file")]);
        let old = || step(Link::Served, vec![failure("why.not_loaded")]);
        let expired = || step(Link::Served, vec![failure("served.expired")]);
        let good = || step(Link::Name, Vec::new());
        let odd = || step(Link::Listener, vec![warning("why.not_published")]);
        let noted = || step(Link::Listener, vec![Finding::note("docker.no_socket", "x")]);

        check(&[], None);
        check(&[good(), noted()], None);
        check(
            &[good(), dns(), address()],
            Some((Link::Dns, "dns.nxdomain")),
        );
        check(
            &[good(), address(), listener()],
            Some((Link::Address, "dns.elsewhere")),
        );
        check(
            &[listener(), block()],
            Some((Link::Listener, "connect.refused")),
        );
        check(
            &[stopped(), file()],
            Some((Link::Listener, "target.not_running")),
        );
        check(
            &[block(), file(), old()],
            Some((Link::Block, "why.no_block")),
        );
        check(&[file(), expired()], Some((Link::File, "why.other_file")));
        check(&[missing(), old()], Some((Link::File, "why.missing_file")));
        check(&[noted(), old()], Some((Link::Served, "why.not_loaded")));
        check(&[good(), expired()], Some((Link::Served, "served.expired")));
        // A warning above does not hide a failure below, and counts where there is none.
        check(&[odd(), expired()], Some((Link::Served, "served.expired")));
        check(
            &[odd(), good()],
            Some((Link::Listener, "why.not_published")),
        );
    }

    #[test]
    fn of_two_failures_of_one_link_the_first_counts() {
        let both = vec![failure("target.not_running"), failure("connect.refused")];
        let change = change(&[step(Link::Listener, both)]);
        assert_eq!(change.map(|change| change.code), Some("target.not_running"));
    }
}
