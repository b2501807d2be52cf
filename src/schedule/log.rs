//! What came of a pass, in the daemon's log: what changed and what is wrong, nothing else.

use std::collections::BTreeSet;

use crate::finding::{Finding, Severity, one_line};
use crate::report::cause::{Cause, Causes, Findings};
use crate::report::{DomainReport, Outcome, Report, StageResult, TargetReport, Verdict};

/// Logs a pass; `troubled` are the domains that were not well before, and then those that are not
/// now
pub(super) fn tell(report: &Report, troubled: &mut BTreeSet<String>) {
    let found: Vec<Findings<'_>> = report.domains.iter().map(Findings::from).collect();
    let Causes { causes, left } = Causes::of(&found);
    for (domain, left) in report.domains.iter().zip(&left) {
        tell_domain(domain, left);
        let name = &domain.name;
        if domain.outcome.verdict() == Verdict::Failed {
            troubled.insert(name.clone());
        } else if troubled.remove(name) && domain.outcome == Outcome::Unchanged {
            tracing::info!(domain = name, "well again: {}", in_a_line(&domain.summary));
        }
    }
    causes.iter().for_each(tell_cause);
    for target in &report.targets {
        tell_target(target);
    }
    for orphan in &report.orphans {
        tracing::info!(
            domain = orphan,
            "not in the configuration: certd no longer renews it"
        );
    }
    tracing::debug!(
        domains = report.domains.len(),
        ca_requests = report.ca_requests,
        elapsed = ?report.elapsed,
        "a pass has ended"
    );
}

/// Logs what several domains have in common, once
fn tell_cause(cause: &Cause<'_>) {
    let (domains, code) = (cause.domains.len(), cause.finding.code);
    let evidence = in_a_line(&cause.finding.evidence);
    let which = cause.some_domains();
    match cause.finding.severity {
        Severity::Failure => tracing::error!(domains, which, code, "{evidence}"),
        _ => tracing::warn!(domains, which, code, "{evidence}"),
    }
    for line in cure(cause.finding) {
        match cause.finding.severity {
            Severity::Failure => tracing::error!("{line}"),
            _ => tracing::warn!("{line}"),
        }
    }
}

/// Logs a domain, and of its findings these
fn tell_domain(domain: &DomainReport, left: &[&Finding]) {
    let DomainReport {
        name: domain,
        outcome,
        summary,
        findings,
        ..
    } = domain;
    for finding in left {
        tell_finding(domain, finding);
    }
    let is_said = findings.iter().any(|finding| finding.evidence == *summary);
    match outcome.verdict() {
        _ if *outcome == Outcome::Unchanged || is_said => {}
        Verdict::Well => {
            tracing::info!(domain, outcome = outcome.as_str(), "{}", in_a_line(summary))
        }
        Verdict::Later => {
            tracing::warn!(domain, outcome = outcome.as_str(), "{}", in_a_line(summary))
        }
        Verdict::Failed => {
            tracing::error!(domain, outcome = outcome.as_str(), "{}", in_a_line(summary))
        }
    }
}

/// Logs what concerns no domain
pub(super) fn tell_trouble(finding: &Finding) {
    let code = finding.code;
    tracing::warn!(code, "{}", in_a_line(&finding.evidence));
    for line in cure(finding) {
        tracing::warn!("{line}");
    }
}

fn tell_finding(domain: &str, finding: &Finding) {
    let (code, evidence) = (finding.code, in_a_line(&finding.evidence));
    match finding.severity {
        Severity::Failure => tracing::error!(domain, code, "{evidence}"),
        Severity::Warning => tracing::warn!(domain, code, "{evidence}"),
        Severity::Note => tracing::info!(domain, code, "{evidence}"),
        Severity::Ok => return,
    }
    // Of the same level, so that whoever filters by it reads what to do too.
    for line in cure(finding) {
        match finding.severity {
            Severity::Failure => tracing::error!(domain, "{line}"),
            Severity::Warning => tracing::warn!(domain, "{line}"),
            _ => tracing::info!(domain, "{line}"),
        }
    }
}

/// What to do, a record a line: there may be lines to copy
fn cure(finding: &Finding) -> impl Iterator<Item = String> {
    let lines = finding.cure.iter().flat_map(|cure| cure.lines());
    let lines = lines.enumerate().map(|(number, line)| {
        let sign = if number == 0 { "->" } else { "  " };
        let indent = line.len() - line.trim_start().len();
        format!("{sign} {:indent$}{}", "", one_line(line))
    });
    lines.filter(|line| !line.trim().is_empty())
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
            StageResult::Done => tracing::info!(container, step, "{}", in_a_line(detail)),
            StageResult::Failed => tracing::error!(container, step, "{}", in_a_line(detail)),
        }
    }
}
