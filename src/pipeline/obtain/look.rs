//! What `check` sees by the steps of `obtain` that come before an order.

use std::collections::BTreeMap;

use super::target;
use super::{changes, check, make_plan, pinned, plan_in_words, stopped, take_stock};
use crate::config::Domain;
use crate::facts::{Container, Handshake};
use crate::finding::Finding;
use crate::name::DnsName;
use crate::pipeline::preflight::Served;
use crate::pipeline::{Context, Mode, Options, Work, clock};
use crate::plan::{By, Plan};
use crate::report::check::BACKS_OFF;
use crate::time::display;

/// What obtain in this mode would find of the containers before it orders for these domains
pub(in crate::pipeline) async fn look_at_targets(
    context: &Context<'_>,
    mode: Mode,
    domains: &[&Domain],
) -> Vec<Host> {
    let options = Options {
        mode: Mode::Check,
        ..Options::default()
    };
    let mut works: Vec<Work<'_>> = domains
        .iter()
        .map(|domain| take_stock(context, &options, &clock::Standing::default(), domain))
        .collect();
    let mut targets = match mode {
        Mode::NoDeploy => Vec::new(),
        _ => target::find(context, options.mode, &mut works).await,
    };
    for target in &mut targets {
        target::make_ready(context, &options, target, &mut works).await;
    }
    let mut changes = BTreeMap::new();
    for target in &targets {
        changes.extend(changes::changes(context, target, &works).await);
        pinned::warn(context, target, &mut works).await;
    }
    let hosts = works.into_iter().enumerate().map(|(position, work)| {
        let obstacle = obstacle(context, &work);
        let names = work.names.iter().map(DnsName::as_str);
        let changes = names.filter_map(|name| Some((name.to_owned(), changes.get(name)?.clone())));
        let changes = changes.collect();
        let target = targets.iter().find(|target| target.serves(position));
        let handshakes = target.map(|target| target.handshakes(&work));
        let last = work.stages.last();
        Host {
            place: check::where_served(target, &work),
            containers: target
                .map(|target| target.containers.clone())
                .unwrap_or_default(),
            handshakes: handshakes.unwrap_or_default(),
            detail: last.map(|stage| stage.detail.clone()).unwrap_or_default(),
            findings: work.findings,
            changes,
            obstacle,
        }
    });
    hosts.collect()
}

/// Why an order that is due would not be placed now, as failed orders before it tell
fn obstacle(context: &Context<'_>, work: &Work<'_>) -> Option<Finding> {
    let failures = &work.lineage.record.order_failures;
    if failures.count == 0 {
        return None;
    }
    let newest = work.lineage.newest();
    let newest = newest.map(|number| context.store.generation(work.name(), number));
    let plan = make_plan(
        context,
        &Options::default(),
        work,
        newest.as_ref(),
        context.now(),
    );
    match plan {
        Plan::Stop { .. } => Some(stopped(failures, &plan_in_words(&plan))),
        Plan::Wait { until, by, .. } => {
            let reason = failures.reason.as_deref().unwrap_or_default();
            let until = display(until);
            let evidence = format!("no order is placed before {until}: {reason}");
            let cure = match by {
                By::Pause => "once that is mended, --force orders at once",
                By::Ca => "the CA named that time: wait for it",
            };
            Some(Finding::warning(BACKS_OFF, evidence).with_cure(cure))
        }
        _ => None,
    }
}

/// What was found of the containers of one domain
pub(in crate::pipeline) struct Host {
    /// Where they answer, and the webroot as nginx sees it
    pub(in crate::pipeline) place: Served,
    pub(in crate::pipeline) containers: Vec<Container>,
    /// With each name at each place
    pub(in crate::pipeline) handshakes: Vec<Handshake>,
    /// What was done, in a few words
    pub(in crate::pipeline) detail: String,
    pub(in crate::pipeline) findings: Vec<Finding>,
    /// What to change so that a name is served with its own certificate
    pub(in crate::pipeline) changes: BTreeMap<String, String>,
    /// Why no order would be placed now
    pub(in crate::pipeline) obstacle: Option<Finding>,
}
