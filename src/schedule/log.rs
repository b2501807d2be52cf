//! What came of a pass, in the daemon's log: what changed and what is wrong, nothing else.

use std::collections::BTreeSet;

use crate::finding::{Finding, Severity, one_line};
use crate::report::{DomainReport, Outcome, Report, StageResult, TargetReport, Verdict};

/// Logs a pass; `troubled` are the domains that were not well before, and then those that are not
/// now
pub(super) fn tell(report: &Report, troubled: &mut BTreeSet<String>) {
    for domain in &report.domains {
        tell_domain(domain);
        let name = &domain.name;
        if domain.outcome.verdict() == Verdict::Failed {
            troubled.insert(name.clone());
        } else if troubled.remove(name) && domain.outcome == Outcome::Unchanged {
            tracing::info!(domain = name, "well again: {}", domain.summary);
        }
    }
    for target in &report.targets {
        tell_target(target);
    }
    for orphan in &report.orphans {
        tracing::info!(
            domain = orphan,
            "not in the configuration: nobody renews it"
        );
    }
    tracing::debug!(
        domains = report.domains.len(),
        ca_requests = report.ca_requests,
        elapsed = ?report.elapsed,
        "a pass has ended"
    );
}

fn tell_domain(domain: &DomainReport) {
    let DomainReport {
        name: domain,
        outcome,
        summary,
        findings,
        ..
    } = domain;
    for finding in findings {
        tell_finding(domain, finding);
    }
    let is_said = findings.iter().any(|finding| finding.evidence == *summary);
    match outcome.verdict() {
        _ if *outcome == Outcome::Unchanged || is_said => {}
        Verdict::Well => tracing::info!(domain, outcome = outcome.as_str(), "{summary}"),
        Verdict::Later => tracing::warn!(domain, outcome = outcome.as_str(), "{summary}"),
        Verdict::Failed => tracing::error!(domain, outcome = outcome.as_str(), "{summary}"),
    }
}

/// Logs what concerns no domain
pub(super) fn tell_trouble(finding: &Finding) {
    let (code, words) = (finding.code, words_of(finding));
    tracing::warn!(code, "{words}");
}

fn tell_finding(domain: &str, finding: &Finding) {
    let (code, words) = (finding.code, words_of(finding));
    match finding.severity {
        Severity::Failure => tracing::error!(domain, code, "{words}"),
        Severity::Warning => tracing::warn!(domain, code, "{words}"),
        Severity::Note => tracing::info!(domain, code, "{words}"),
        Severity::Ok => {}
    }
}

/// What was seen, and what to do
fn words_of(finding: &Finding) -> String {
    let evidence = in_a_line(&finding.evidence);
    match &finding.cure {
        Some(cure) => format!("{evidence} -> {}", in_a_line(cure)),
        None => evidence,
    }
}

/// Words of several lines as one: a log is searched by the line
fn in_a_line(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).collect();
    one_line(&lines.join("; "))
}

fn tell_target(target: &TargetReport) {
    for stage in &target.stages {
        let (container, step, detail) = (&target.name, stage.stage.as_str(), &stage.detail);
        match stage.result {
            StageResult::Done => tracing::info!(container, step, "{detail}"),
            StageResult::Failed => tracing::error!(container, step, "{detail}"),
        }
    }
}
