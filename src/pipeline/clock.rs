//! Whether this host's clock can be believed: a run of a timer decides by it, and whoever decides by
//! a clock that is weeks behind finds nothing due, and says that all is well.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::timeout;

use super::desk::Desk;
use super::{ClockCheck, Context, Options};
use crate::finding::{Finding, Severity};
use crate::preflight::judge::host;

/// What is known of this host's clock
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// How far it is ahead of a CA's; `None` where none has said
    ahead: Option<SignedDuration>,
    /// What is wrong with it
    finding: Option<Finding>,
}

impl Standing {
    /// What the CAs that were asked say of it
    pub(super) fn by(desk: &Desk) -> Self {
        let ahead = desk.least_ahead();
        let finding = match ahead {
            Some(ahead) => host::clock_of_run(ahead),
            None => desk.out_of_time().map(Finding::from_error),
        };
        Self { ahead, finding }
    }

    /// Why nothing may be decided by it
    pub(super) fn failure(&self) -> Option<&Finding> {
        let finding = self.finding.as_ref();
        finding.filter(|finding| finding.severity == Severity::Failure)
    }

    /// By how much it is off, and what is said of that, where decisions may depend on it
    pub(super) fn doubt(&self) -> Option<(SignedDuration, &Finding)> {
        self.ahead.zip(self.finding.as_ref())
    }
}

/// Asks for the time where the run has nothing else to ask: one CA for its directory
///
/// One that does not answer soon is no reason to fail a run that needs nothing of it.
pub(super) async fn ask(context: &Context<'_>, options: &Options, desk: &mut Desk) {
    if options.clock != ClockCheck::Always || desk.requests() > 0 {
        return;
    }
    let Some(domain) = context.config.enabled().next() else {
        return;
    };
    let asked = desk.open(context, [domain.issuer.as_str()]);
    if timeout(PATIENCE, asked).await.is_err() {
        tracing::debug!(issuer = domain.issuer, "no CA says what time it is");
    }
}

/// Time for the answer of a CA that is asked for the time alone
const PATIENCE: Duration = Duration::from_secs(10);
