//! One pass of the daemon, and whom it tells what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Settings, Setup, log};
use crate::config::Domain;
use crate::finding::Finding;
use crate::name::DnsName;
use crate::notify::{self, Look, Unkept};
use crate::pipeline::defect::caught;
use crate::pipeline::{ClockCheck, Context, Occasion, Options, Retry};
use crate::report::Report;
use crate::run::{self, RunError};

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
    pub(super) clock: ClockCheck,
    /// Passes in a row, right before it, that did not come about
    pub(super) put_off: u32,
    pub(super) unkept: Unkept,
    /// When domains were last seen served, by primary name
    pub(super) seen_served: Arc<BTreeMap<String, Timestamp>>,
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
        seen_served: task.seen_served,
        clock: task.clock,
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
        Err(error) => &run::put_off(
            &context,
            options.occasion,
            &domains,
            &run::reason_of_run(error),
        ),
    };
    let telling = async {
        let served = Look::AtWhatIsServed;
        let mut troubles = notify::after(&context, report, served, &task.unkept).await;
        if pass.is_ok() && task.heartbeat == Heartbeat::IfWell {
            troubles.extend(notify::heartbeat(&context, report).await);
        }
        troubles
    };
    let troubles = caught(telling).await;
    let troubles = troubles.unwrap_or_else(|defect| vec![Finding::from_error(&defect)]);
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
        RunError::Lock(_) | RunError::Sweep(_) | RunError::Defect(_) => put_off >= 1,
    }
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
}
