//! One pass at a given `now`: the lock is taken, the pass runs, the lock is let go.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::config::Domain;
use crate::finding::{Explain, Finding};
use crate::name::DnsName;
use crate::pipeline::defect::{Defect, caught};
use crate::pipeline::{Context, Mode, Occasion, Options, obtain};
use crate::report::{DomainReport, Outcome, Report, SCHEMA_VERSION};
use crate::store::Store;
use crate::store::files::FileError;
use crate::store::lock::{Attempt, Lock, LockError};
use crate::time::Validity;

/// One pass of `obtain` over these domains
///
/// # Errors
/// [`RunError::Busy`] when another certd works on the same state; [`RunError::Defect`] where certd
/// panics outside of the work for a domain, which ends that domain alone.
pub async fn obtain(
    context: &Context<'_>,
    options: &Options,
    domains: &[&Domain],
) -> Result<Report, RunError> {
    caught(pass(context, options, domains))
        .await
        .unwrap_or_else(|defect| Err(defect.into()))
}

async fn pass(
    context: &Context<'_>,
    options: &Options,
    domains: &[&Domain],
) -> Result<Report, RunError> {
    if options.mode == Mode::DryRun {
        return Ok(obtain::obtain(context, options, domains).await);
    }
    let lock = wait_for_lock(context.store).await?;
    context.store.sweep(&lock)?;
    Ok(obtain::obtain(context, options, domains).await)
}

async fn wait_for_lock(store: &Store) -> Result<Lock, RunError> {
    let deadline = Instant::now() + LOCK_WAIT;
    if let Attempt::Busy(holder) = store.try_lock()? {
        let seconds = LOCK_WAIT.as_secs();
        let holder = holder.unwrap_or_default();
        tracing::warn!(holder, seconds, "another certd is at work, waiting for it");
    }
    loop {
        match store.try_lock()? {
            Attempt::Taken(lock) => return Ok(lock),
            Attempt::Busy(holder) if Instant::now() >= deadline => {
                return Err(RunError::Busy { holder });
            }
            Attempt::Busy(_) => sleep(LOCK_PAUSE).await,
        }
    }
}

/// A pass that did not come about, as the failure of all its domains: nobody looks after them
pub fn put_off(
    context: &Context<'_>,
    occasion: Occasion,
    domains: &[&Domain],
    finding: &Finding,
) -> Report {
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
        command: occasion.command(),
        started,
        elapsed: Duration::ZERO,
        ca_requests: 0,
        targets: Vec::new(),
        domains: domains.collect(),
        orphans: Vec::new(),
    }
}

/// Why a pass did not come about
pub fn reason(error: &(impl Explain + 'static)) -> Finding {
    let finding = Finding::from_error(error);
    let evidence = format!("no pass comes about: {}", finding.evidence);
    Finding {
        evidence,
        ..finding
    }
}

/// The same, where another certd may hold the lock
pub fn reason_of_run(error: &RunError) -> Finding {
    let finding = reason(error);
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

/// Why a pass did not begin
#[derive(Debug, Error)]
pub enum RunError {
    /// Another certd holds the lock
    #[error("another certd is at work{}", holder.map(|id| format!(" (process {id})")).unwrap_or_default())]
    Busy {
        /// Its process identifier, where known
        holder: Option<u32>,
    },
    /// The lock cannot be tried
    #[error("the lock cannot be taken")]
    Lock(#[from] LockError),
    /// What an interrupted run left cannot be removed
    #[error("the store cannot be cleaned")]
    Sweep(#[from] FileError),
    /// certd itself failed outside of the work for any domain
    #[error(transparent)]
    Defect(#[from] Defect),
}

impl Explain for RunError {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "run.busy",
            Self::Lock(_) => "run.lock",
            Self::Sweep(_) => "run.sweep",
            Self::Defect(defect) => defect.code(),
        }
    }

    fn cure(&self) -> Option<String> {
        match self {
            Self::Busy { .. } => Some("it ends by itself: try again in a moment".to_owned()),
            Self::Lock(error) => Some(error.cure()),
            Self::Sweep(error) => error.cure(),
            Self::Defect(defect) => defect.cure(),
        }
    }
}

/// Time that a second certd waits for the first
pub const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_for_long_is_told_with_its_holder() {
        #[track_caller]
        fn check(holder: Option<u32>, evidence: &str, cure: &str) {
            let finding = reason_of_run(&RunError::Busy { holder });
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
