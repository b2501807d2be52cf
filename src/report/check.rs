//! What `certd check` found, domain by domain.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Check;
use crate::finding::{Finding, Severity};
use crate::time::serialize_millis;

/// All domains that were looked at
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// Version of this JSON form
    pub schema_version: u32,
    /// Always `check`
    pub command: &'static str,
    /// When it began
    pub started: Timestamp,
    /// How long it took
    #[serde(rename = "elapsed_millis", serialize_with = "serialize_millis")]
    pub elapsed: Duration,
    /// One entry for each domain, in the order of the configuration
    pub domains: Vec<DomainCheck>,
}

impl CheckReport {
    /// What becomes of the least ready
    pub fn readiness(&self) -> Readiness {
        let all = self.domains.iter().map(|domain| domain.readiness);
        all.max().unwrap_or(Readiness::Ready)
    }
}

impl CheckReport {
    /// The worst that was found
    pub fn severity(&self) -> Severity {
        let groups = self.domains.iter().flat_map(|domain| &domain.groups);
        let names = self.domains.iter().flat_map(|domain| &domain.names);
        let of_domains = groups.flat_map(|group| &group.findings);
        let all = of_domains.chain(names.flat_map(NameFindings::all));
        let worst = all.map(|finding| finding.severity).max();
        worst.unwrap_or(Severity::Ok)
    }
}

/// What would become of an order
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// It should succeed
    Ready,
    /// It must wait: for a limit of the CA, or after orders that failed
    Later,
    /// It would fail, or is not placed
    NotReady,
}

impl Readiness {
    /// The word for it in text
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Later => "later",
            Self::NotReady => "not ready",
        }
    }
}

/// What was found for one domain
#[derive(Clone, Debug, Serialize)]
pub struct DomainCheck {
    /// Primary name
    pub name: String,
    /// What it comes to
    pub readiness: Readiness,
    /// What concerns the domain as a whole
    pub groups: Vec<Group>,
    /// What concerns each name
    pub names: Vec<NameFindings>,
}

/// Findings of one kind
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What they are about
    pub about: &'static str,
    /// The worst first
    pub findings: Vec<Finding>,
}

/// What was found out about one name
#[derive(Clone, Debug, Serialize)]
pub struct NameFindings {
    /// The name
    pub name: String,
    /// For each kind of check what was found, the worst first
    pub checks: BTreeMap<Check, Vec<Finding>>,
}

impl NameFindings {
    /// Makes warnings of failures of checks that are not required
    fn lower(&mut self, is_required: impl Fn(Check) -> bool) {
        let checks = self.checks.iter_mut();
        let idle = checks.filter(|(check, _)| !is_required(**check));
        let failed = idle
            .flat_map(|(_, findings)| findings)
            .filter(|finding| finding.severity == Severity::Failure);
        for finding in failed {
            finding.severity = Severity::Warning;
            finding
                .evidence
                .push_str(" (not required, so it stops no order)");
        }
    }

    /// What is wrong by these checks
    pub fn failures(&self, of: impl Fn(Check) -> bool) -> impl Iterator<Item = &Finding> {
        self.checks
            .iter()
            .filter(move |(check, _)| of(**check))
            .flat_map(|(_, findings)| findings)
            .filter(|finding| finding.severity == Severity::Failure)
    }

    /// Everything that was found, with the kind of check that found it
    pub fn each(&self) -> impl Iterator<Item = (Check, &Finding)> {
        let checks = self.checks.iter();
        checks.flat_map(|(check, findings)| findings.iter().map(|finding| (*check, finding)))
    }

    /// Everything that was found
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.checks.values().flatten()
    }
}

impl Group {
    /// Findings about something
    pub fn new(about: &'static str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self { about, findings }
    }
}

impl DomainCheck {
    /// Adds a finding to a group, which stops no order
    pub fn add(&mut self, about: &'static str, note: Finding) {
        let mut groups = self.groups.iter_mut();
        match groups.find(|group| group.about == about) {
            Some(group) => group.findings.push(note),
            None => self.groups.push(Group::new(about, vec![note])),
        }
    }

    /// What was found, and what it comes to when these checks of names are required
    ///
    /// Failures of the others become warnings: they stop no order.
    pub fn new(
        name: String,
        groups: Vec<Group>,
        mut names: Vec<NameFindings>,
        is_required: impl Fn(Check) -> bool,
    ) -> Self {
        for name in &mut names {
            name.lower(&is_required);
        }
        let failure = |finding: &Finding| finding.severity == Severity::Failure;
        let of_domain = groups.iter().flat_map(|group| &group.findings);
        let of_names = names.iter().flat_map(NameFindings::all);
        let fails = of_domain.clone().chain(of_names).any(failure);
        let is_exhausted = of_domain.clone().any(|finding| finding.code == EXHAUSTED);
        let backs_off = of_domain.clone().any(|finding| finding.code == BACKS_OFF);
        let waits = backs_off || is_exhausted && is_required(Check::Budget);
        let readiness = match (fails, waits) {
            (true, _) => Readiness::NotReady,
            (false, true) => Readiness::Later,
            (false, false) => Readiness::Ready,
        };
        Self {
            name,
            readiness,
            groups,
            names,
        }
    }
}

/// Code of the finding that a limit leaves no room
pub const EXHAUSTED: &str = "budget.exhausted";
/// Code of the finding that failed orders make the next one wait
pub const BACKS_OFF: &str = "order.backoff";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_what_would_become_of_an_order() {
        #[track_caller]
        fn check(of_domain: &[Finding], of_name: (Check, Finding), expected: Readiness) {
            let names = vec![NameFindings {
                name: "shop.test".to_owned(),
                checks: BTreeMap::from([(of_name.0, vec![of_name.1])]),
            }];
            let groups = vec![Group::new("ca", of_domain.to_vec())];
            let is_required = |check| [Check::Dns, Check::Budget].contains(&check);
            let domain = DomainCheck::new("shop.test".to_owned(), groups, names, is_required);
            assert_eq!(domain.readiness, expected);
        }
        let (good, bad) = (Finding::ok("a.b", "x"), Finding::failure("a.b", "x"));
        let waits = Finding::warning(EXHAUSTED, "x");
        let warning = Finding::warning("a.b", "x");
        check(&[], (Check::Dns, good.clone()), Readiness::Ready);
        check(&[], (Check::Dns, warning.clone()), Readiness::Ready);
        check(&[], (Check::Dns, bad.clone()), Readiness::NotReady);
        // What is not required is shown, and stops nothing.
        check(&[], (Check::Http, bad.clone()), Readiness::Ready);
        check(
            std::slice::from_ref(&waits),
            (Check::Dns, good.clone()),
            Readiness::Later,
        );
        check(
            &[waits.clone(), bad.clone()],
            (Check::Dns, good),
            Readiness::NotReady,
        );
        check(&[waits], (Check::Dns, bad), Readiness::NotReady);
    }

    #[test]
    fn the_worst_of_a_group_comes_first() {
        let findings = vec![
            Finding::ok("a.b", "1"),
            Finding::failure("a.b", "2"),
            Finding::note("a.b", "3"),
            Finding::failure("a.b", "4"),
        ];
        let group = Group::new("ca", findings);
        let order: Vec<&str> = group
            .findings
            .iter()
            .map(|found| &*found.evidence)
            .collect();
        assert_eq!(order, ["2", "4", "3", "1"]);
    }
}
