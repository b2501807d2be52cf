//! What a report says of domains, as the words that decide what is told.

use jiff::Timestamp;

use super::Look;
use crate::config::notify::Event;
use crate::finding::{Finding, Severity};
use crate::plan::alert::{Life, Seen, State};
use crate::plan::renewal;
use crate::report::{DomainReport, Outcome, Report};
use crate::store::alerts::Alerts;
use crate::time::Fraction;

/// What a pass saw of each domain that is not well, or of which something is remembered
pub(super) fn seen<'r>(
    report: &'r Report,
    alerts: &Alerts,
    fraction: Fraction,
    look: Look,
    now: Timestamp,
) -> Vec<Seen<'r>> {
    let is_news =
        |seen: &Seen<'_>| !is_good(seen.state) || alerts.domains.contains_key(seen.domain);
    let domains = report.domains.iter();
    domains
        .filter_map(|domain| {
            Some(Seen {
                domain: &domain.name,
                state: state(domain, look)?,
                life: life(domain, fraction, now),
            })
        })
        .filter(is_news)
        .collect()
}

const fn is_good(state: State) -> bool {
    matches!(state, State::Well | State::Idle)
}

/// How a domain was; `None` where nothing was done about it
fn state(domain: &DomainReport, look: Look) -> Option<State> {
    Some(match domain.outcome {
        Outcome::Proven => State::Well,
        Outcome::Unchanged if look == Look::AtWhatIsServed => State::Well,
        Outcome::Unchanged | Outcome::Live => State::Idle,
        // Where there is no certificate yet the site waits, too.
        Outcome::Later if domain.validity.is_none() => State::Failing(Event::Failed),
        Outcome::Later => State::Waiting,
        Outcome::Drifted if shows_nothing(&domain.findings) => State::Failing(Event::Failed),
        Outcome::Drifted => State::Failing(Event::WrongCertificate),
        Outcome::NotServed | Outcome::Failed => State::Failing(failure(&domain.findings)),
        Outcome::Rehearsed | Outcome::Planned => return None,
    })
}

/// Whether there was no certificate to look at
fn shows_nothing(findings: &[Finding]) -> bool {
    let mut failures = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Failure);
    failures.any(|finding| finding.code == "proof.no_tls")
}

/// The event that a failure is
fn failure(findings: &[Finding]) -> Event {
    // The note that an order is not placed again stands beside the failure itself.
    if findings
        .iter()
        .any(|finding| STOPPED.contains(&finding.code))
    {
        return Event::Paused;
    }
    let mut failures = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Failure);
    match failures.any(|finding| WRONG.contains(&finding.code)) {
        true => Event::WrongCertificate,
        false => Event::Failed,
    }
}

fn life(domain: &DomainReport, fraction: Fraction, now: Timestamp) -> Life {
    let is_short = |validity| renewal::emergency(&validity, fraction) <= now;
    match domain.validity.is_some_and(is_short) {
        true => Life::Short,
        false => Life::Enough,
    }
}

/// Codes of what the CA refuses until a person acts
const STOPPED: [&str; 2] = ["acme.paused", "order.stopped"];
/// Codes of what is served and is not the domain's
const WRONG: [&str; 3] = [
    "proof.other_lineage",
    "proof.previous_generation",
    "proof.unknown_certificate",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Validity;

    fn report(outcome: Outcome, findings: Vec<Finding>) -> DomainReport {
        DomainReport {
            name: "shop.test".to_owned(),
            names: Vec::new(),
            outcome,
            summary: String::new(),
            generation: None,
            fingerprint: None,
            validity: Some(Validity {
                not_before: "2027-01-01T00:00:00Z".parse().unwrap(),
                not_after: "2027-04-01T00:00:00Z".parse().unwrap(),
            }),
            renewal_at: None,
            next_at: None,
            stages: Vec::new(),
            findings,
        }
    }

    #[test]
    fn an_outcome_is_well_failing_or_neither() {
        #[track_caller]
        fn check(outcome: Outcome, look: Look, expected: Option<State>) {
            assert_eq!(state(&report(outcome, Vec::new()), look), expected);
        }
        use Look::{AtWhatIsDue, AtWhatIsServed};
        check(Outcome::Proven, AtWhatIsDue, Some(State::Well));
        check(Outcome::Unchanged, AtWhatIsDue, Some(State::Idle));
        check(Outcome::Unchanged, AtWhatIsServed, Some(State::Well));
        check(Outcome::Live, AtWhatIsServed, Some(State::Idle));
        check(Outcome::Later, AtWhatIsServed, Some(State::Waiting));
        let none = DomainReport {
            validity: None,
            ..report(Outcome::Later, Vec::new())
        };
        let failed = Some(State::Failing(Event::Failed));
        assert_eq!(state(&none, AtWhatIsDue), failed);
        let wrong = State::Failing(Event::WrongCertificate);
        check(Outcome::Drifted, AtWhatIsServed, Some(wrong));
        let failed = State::Failing(Event::Failed);
        check(Outcome::Failed, AtWhatIsDue, Some(failed));
        check(Outcome::NotServed, AtWhatIsDue, Some(failed));
        check(Outcome::Planned, AtWhatIsDue, None);
        check(Outcome::Rehearsed, AtWhatIsDue, None);
    }

    #[test]
    fn a_failure_is_named_by_its_codes() {
        #[track_caller]
        fn check(findings: Vec<Finding>, expected: Event) {
            assert_eq!(failure(&findings), expected);
        }
        let refused = || Finding::failure("acme.refused", "no");
        check(vec![refused()], Event::Failed);
        let stopped = Finding::note("order.stopped", "a person must act");
        check(vec![refused(), stopped], Event::Paused);
        let other = || Finding::failure("proof.other_lineage", "another's");
        check(vec![other()], Event::WrongCertificate);
        check(
            vec![refused(), other().at_most(Severity::Warning)],
            Event::Failed,
        );
    }

    #[test]
    fn life_is_short_when_half_of_the_reserve_is_gone() {
        let report = report(Outcome::Later, Vec::new());
        // Ninety days, of which thirty are kept in reserve.
        for (now, expected) in [
            ("2027-03-16T00:00:00Z", Life::Enough),
            ("2027-03-17T12:00:00Z", Life::Short),
            ("2027-05-01T00:00:00Z", Life::Short),
        ] {
            let now = now.parse().unwrap();
            assert_eq!(life(&report, Fraction::new(1, 3), now), expected, "{now}");
        }
    }
}
