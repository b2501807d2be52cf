//! One pass at a given `now`: the lock is taken, the pass runs, the lock is let go.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::config::Domain;
use crate::finding::Explain;
use crate::pipeline::{Context, Mode, Options, obtain};
use crate::report::Report;
use crate::store::Store;
use crate::store::files::FileError;
use crate::store::lock::{Attempt, Lock, LockError};

/// One pass of `obtain` over these domains
///
/// # Errors
/// [`RunError::Busy`] when another certd works on the same state.
pub async fn obtain(
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
}

impl Explain for RunError {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "run.busy",
            Self::Lock(_) => "run.lock",
            Self::Sweep(_) => "run.sweep",
        }
    }

    fn cure(&self) -> Option<String> {
        match self {
            Self::Busy { .. } => Some("it ends by itself: try again in a moment".to_owned()),
            Self::Lock(_) | Self::Sweep(_) => {
                Some("run certd as the owner of the state directory, or as root".to_owned())
            }
        }
    }
}

/// Time that a second certd waits for the first
pub const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
