//! One pass of the daemon, and whom it tells what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Settings, Setup, log};
use crate::config::Domain;
use crate::name::DnsName;
use crate::notify::{self, Look};
use crate::pipeline::{Context, Occasion, Options, Retry};
use crate::report::Report;
use crate::run::{self, RunError};

/// Whether the dead man's switch hears of a pass
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// Of one over all domains, if all is well
    IfWell,
    Never,
}

/// One pass over these domains, and the alerts that follow from it
pub(super) async fn look(
    setup: Setup,
    settings: Arc<Settings>,
    names: BTreeSet<DnsName>,
    heartbeat: Heartbeat,
    retry: Retry,
) -> Result<Report, RunError> {
    let Settings { config, store } = &*settings;
    let context = Context::new(config, store, setup.provider, (setup.clock)());
    let options = Options {
        occasion: Occasion::Sweep,
        retry,
        ..Options::default()
    };
    let domains: Vec<&Domain> = config
        .enabled()
        .filter(|domain| names.contains(&domain.name))
        .collect();
    let report = run::obtain(&context, &options, &domains).await?;
    let mut troubles = notify::after(&context, &report, Look::AtWhatIsServed).await;
    if heartbeat == Heartbeat::IfWell {
        troubles.extend(notify::heartbeat(&context, &report).await);
    }
    troubles.iter().for_each(log::tell_trouble);
    Ok(report)
}
