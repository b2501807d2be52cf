//! One pass of the daemon, and whom it tells what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Settings, Setup, log};
use crate::config::Domain;
use crate::finding::Finding;
use crate::name::DnsName;
use crate::notify::{self, Look, Unkept};
use crate::pipeline::{Context, Occasion, Options, Retry};
use crate::report::{DomainReport, Outcome, Report, SCHEMA_VERSION};
use crate::run::{self, RunError};
use crate::store::Store;
use crate::time::Validity;

/// Whether the dead man's switch hears of a pass
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// Of one over all domains, if all is well
    IfWell,
    Never,
}

/// What a pass is about
pub(super) struct Task {
    pub(super) domains: BTreeSet<DnsName>,
    pub(super) heartbeat: Heartbeat,
    pub(super) retry: Retry,
    /// Passes in a row, right before it, that did not come about
    pub(super) put_off: u32,
    pub(super) unkept: Unkept,
}

/// One pass over some domains, and the alerts that follow from it
pub(super) async fn look(
    setup: Setup,
    settings: Arc<Settings>,
    task: Task,
) -> Result<Report, RunError> {
    let Settings { config, store } = &*settings;
    let context = Context::new(config, store, setup.provider, (setup.clock)());
    let options = Options {
        occasion: Occasion::Sweep,
        retry: task.retry,
        ..Options::default()
    };
    let domains: Vec<&Domain> = config
        .enabled()
        .filter(|domain| task.domains.contains(&domain.name))
        .collect();
    let pass = run::obtain(&context, &options, &domains).await;
    let report = match &pass {
        Ok(report) => report,
        Err(error) if !is_trouble(error, task.put_off) => return pass,
        Err(error) => &put_off(&context, &domains, error),
    };
    let mut troubles = notify::after(&context, report, Look::AtWhatIsServed, &task.unkept).await;
    if pass.is_ok() && task.heartbeat == Heartbeat::IfWell {
        troubles.extend(notify::heartbeat(&context, report).await);
    }
    troubles.iter().for_each(log::tell_trouble);
    pass
}

/// Whether it is one that a pass did not come about, after so many others in a row
///
/// A command that runs beside the daemon is none: most end before the next try, a minute later, and
/// the orders of many domains before the one after that, ten minutes later.
const fn is_trouble(error: &RunError, put_off: u32) -> bool {
    match error {
        RunError::Busy { .. } => put_off >= 2,
        RunError::Lock(_) | RunError::Sweep(_) => put_off >= 1,
    }
}

/// A pass that did not come about, as the failure of all its domains: nobody looks after them
fn put_off(context: &Context<'_>, domains: &[&Domain], error: &RunError) -> Report {
    let finding = finding(error);
    let (started, _) = context.started;
    let domains = domains.iter();
    let domains = domains.map(|domain| DomainReport {
        name: domain.name.to_string(),
        names: domain.names().map(ToString::to_string).collect(),
        outcome: Outcome::Failed,
        summary: finding.evidence.clone(),
        generation: None,
        fingerprint: None,
        validity: live(context.store, &domain.name),
        renewal_at: None,
        next_at: None,
        stages: Vec::new(),
        findings: vec![finding.clone()],
    });
    Report {
        schema_version: SCHEMA_VERSION,
        command: "run",
        started,
        elapsed: Duration::ZERO,
        ca_requests: 0,
        targets: Vec::new(),
        domains: domains.collect(),
        orphans: Vec::new(),
    }
}

fn finding(error: &RunError) -> Finding {
    let mut finding = Finding::from_error(error);
    finding.evidence = format!("no pass comes about: {}", finding.evidence);
    match error {
        // That it ends by itself was not true: it has lasted for several passes.
        RunError::Busy { holder: Some(id) } => finding.with_cure(format!(
            "see what it does:\n    ps -o pid,etime,args -p {id}"
        )),
        _ => finding,
    }
}

/// Validity of what is live, if that can be read
fn live(store: &Store, name: &DnsName) -> Option<Validity> {
    let number = store.live(name).ok().flatten()?;
    let generation = store.certificate(name, number).ok()?;
    Some(generation.chain.leaf().validity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_beside_the_daemon_is_no_trouble_at_once() {
        let busy = RunError::Busy { holder: None };
        let told = |put_off| is_trouble(&busy, put_off);
        assert_eq!([0, 1, 2, 9].map(told), [false, false, true, true]);
    }

    #[test]
    fn a_lock_that_is_held_for_long_is_told_with_its_holder() {
        #[track_caller]
        fn check(holder: Option<u32>, evidence: &str, cure: &str) {
            let finding = finding(&RunError::Busy { holder });
            assert_eq!(finding.evidence, evidence);
            assert_eq!(finding.cure.as_deref(), Some(cure));
        }
        check(
            Some(12),
            "no pass comes about: another certd is at work (process 12)",
            "see what it does:\n    ps -o pid,etime,args -p 12",
        );
        check(
            None,
            "no pass comes about: another certd is at work",
            "it ends by itself: try again in a moment",
        );
    }
}
