//! Orders, `jobs` at a time: each fills the archive and touches nothing that is live.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::spawn_blocking;
use tracing::Instrument;

use super::failed::{fail_order, fail_spent};
use super::gate::{Admission, Gate};
use super::resume::{Patience, Resumed};
use super::{accept, check, resume};
use crate::acme::account::Registration;
use crate::acme::csr::{self, KeyAndCsr};
use crate::acme::order::Wish;
use crate::acme::problem::Consequence;
use crate::acme::{AcmeError, Session};
use crate::challenge::{ChallengeError, OWN, Published};
use crate::config::defaults;
use crate::finding::{Finding, Severity, chain_of_causes};
use crate::pipeline::defect::{caught, joined};
use crate::pipeline::desk::Desk;
use crate::pipeline::{Context, Mode, Options, Work};
use crate::plan::budget::Issuance;
use crate::plan::{self, Plan};
use crate::report::{Outcome, Stage, StageResult};
use crate::store::ledger::{Entry, Spent};
use crate::store::lineage::LineageError;
use crate::store::record::{Asked, RecordError};

/// The account that would order, if there is one
pub(super) fn account_url(
    context: &Context<'_>,
    options: &Options,
    work: &Work<'_>,
) -> Option<String> {
    let issuer = issuer_of(options, work);
    crate::pipeline::account_url(context.config, context.store, issuer)
}

/// What an order for the domain asks for now
pub(super) fn asked(context: &Context<'_>, options: &Options, work: &Work<'_>) -> Asked {
    let account = account_url(context, options, work);
    plan::asked(
        context.config,
        work.domain,
        issuer_of(options, work),
        account,
    )
}

/// Places the orders that are planned
pub(super) async fn place_all(
    context: &Context<'_>,
    options: &Options,
    desk: &Desk,
    works: &mut [Work<'_>],
) {
    let gates: BTreeMap<&String, Gate> = context
        .config
        .issuers
        .keys()
        .map(|issuer| (issuer, Gate::default()))
        .collect();
    let ordering = works.iter_mut().filter(|work| must_order(work));
    let turned_away: Vec<Option<TurnedAway<'_, '_>>> = stream::iter(ordering)
        .map(|work| async {
            let issuer = issuer_of(options, work).to_owned();
            let begun = work.begin(Stage::Order);
            let gate = gates.get(&issuer);
            match caught(place_at(context, options, desk, gate, work)).await {
                Ok(None) => None,
                Ok(Some(reason)) => Some(TurnedAway {
                    work,
                    begun,
                    issuer,
                    reason,
                }),
                Err(defect) => {
                    work.fail(Stage::Order, begun, &defect);
                    None
                }
            }
        })
        .buffer_unordered(context.config.jobs)
        .collect()
        .await;
    put_off(turned_away.into_iter().flatten().collect());
}

/// A domain whose CA had stopped answering when its turn came
struct TurnedAway<'w, 'c> {
    work: &'w mut Work<'c>,
    begun: Instant,
    issuer: String,
    reason: Finding,
}

/// Ends domains that were turned away, each with the same words: it is one cause
fn put_off(turned_away: Vec<TurnedAway<'_, '_>>) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for one in &turned_away {
        *counts.entry(one.issuer.clone()).or_default() += 1;
    }
    for one in turned_away {
        let TurnedAway {
            work,
            begun,
            issuer,
            reason,
        } = one;
        let waiting = match counts.get(&issuer) {
            None | Some(1) => "1 domain waits".to_owned(),
            Some(count) => format!("{count} domains wait"),
        };
        let evidence = format!(
            "the CA {issuer} does not answer, and {waiting} for it: {}",
            reason.evidence
        );
        let code = reason.code.to_owned();
        work.note(Stage::Order, begun, StageResult::Failed, code);
        work.findings.push(Finding {
            evidence,
            ..reason.at_most(Severity::Warning)
        });
        work.is_waiting = true;
        let summary = "the CA was not asked again, nothing was spent: the next run tries it";
        work.end(Outcome::Later, summary);
    }
}

/// Places the order of a domain; gives the reason where its CA is asked for nothing more in this run
async fn place_at(
    context: &Context<'_>,
    options: &Options,
    desk: &Desk,
    gate: Option<&Gate>,
    work: &mut Work<'_>,
) -> Option<Finding> {
    let begun = Instant::now();
    let issuer = issuer_of(options, work).to_owned();
    match (desk.outcome(&issuer), gate) {
        (Some(Ok(session)), Some(gate)) => match gate.enter().await {
            Ok(admission) => place(context, options, session, admission, work).await,
            Err(reason) => return Some(reason),
        },
        (Some(Err(error)), _) => {
            let consequence = error.consequence(context.now());
            fail_order(context, options, work, begun, error, consequence);
        }
        _ => work.fail_with(Stage::Order, begun, no_issuer(&issuer)),
    }
    None
}

pub(in crate::pipeline) fn no_issuer(name: &str) -> Finding {
    Finding::failure("acme.issuer", format!("there is no issuer `{name}`"))
}

pub(super) fn must_order(work: &Work<'_>) -> bool {
    work.is_open() && matches!(work.plan, Plan::Order { .. })
}

pub(super) fn issuer_of<'o>(options: &'o Options, work: &'o Work<'_>) -> &'o str {
    match (&options.issuer, options.mode) {
        (Some(issuer), _) => issuer,
        (None, Mode::Rehearse) => defaults::STAGING_ISSUER,
        (None, _) => &work.domain.issuer,
    }
}

/// Whether the CA issued for the same names before, as the reason of the order tells
pub(super) fn issuance(options: &Options, work: &Work<'_>) -> Issuance {
    match &work.plan {
        Plan::Order { reason } => Issuance::of(reason, &work.lineage, issuer_of(options, work)),
        _ => Issuance::Renewal,
    }
}

/// One order from its first request to a generation in the archive
async fn place(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    admission: Admission<'_>,
    work: &mut Work<'_>,
) {
    let begun = Instant::now();
    let span = tracing::info_span!("order", domain = %work.name());
    let issued = issue(context, options, session, work)
        .instrument(span)
        .await;
    tell(admission, issued.as_ref().err());
    match issued {
        Ok(issued) => {
            let detail = format!(
                "{} by {}, {}",
                count(work.names.len()),
                session.issuer(),
                issued.validated
            );
            work.done(Stage::Order, begun, detail);
            accept::accept(context, options, session, work, issued).await;
        }
        Err(OrderError::Acme(error)) => {
            let consequence = error.consequence(context.now());
            fail_order(context, options, work, begun, &error, consequence);
            check::look_again(context, &error, work).await;
        }
        Err(OrderError::Unfinished(unfinished)) => {
            end_unfinished(context, options, session, work, begun, &unfinished).await;
        }
        Err(OrderError::Webroot(error)) => work.fail(Stage::Order, begun, &error),
        Err(OrderError::Publish(error)) => {
            if matches!(error, ChallengeError::Token { .. }) {
                resume::forget(context, options, work);
            }
            fail_spent(context, work, Stage::Order, begun, &error);
        }
        Err(OrderError::Unready(error)) => {
            work.fail(Stage::Order, begun, &LineageError::Record(error));
        }
        Err(OrderError::Keep(error)) => {
            fail_spent(
                context,
                work,
                Stage::Order,
                begun,
                &LineageError::Record(error),
            );
        }
        Err(error @ OrderError::Interrupted) => {
            let finding = Finding::failure("order.interrupted", error.to_string());
            work.fail_with(Stage::Order, begun, finding);
        }
    }
}

/// Tells those who wait what an order says of the CA; what failed on this host says nothing
fn tell(admission: Admission<'_>, error: Option<&OrderError>) {
    let error = match error {
        None => return admission.answered(),
        Some(OrderError::Acme(error)) => error,
        Some(OrderError::Unfinished(unfinished)) => &unfinished.error,
        Some(_) => return drop(admission),
    };
    match error.is_silence() {
        true => admission.unanswered(Finding::from_error(error)),
        false => admission.answered(),
    }
}

/// Ends the work after an order that was placed and did not give a certificate
async fn end_unfinished(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
    begun: Instant,
    unfinished: &Unfinished,
) {
    let error = &unfinished.error;
    // What only broke off is taken up by the next run.
    if error.ends_order() || unfinished.patience == Patience::Over {
        resume::forget(context, options, work);
    }
    for name in error.invalid_names() {
        let failure = Spent::Failure(name.to_owned());
        spend(context, session, &unfinished.account_url, failure);
    }
    let is_spent = unfinished.progress == Progress::Begun || error.ends_order();
    let consequence = match error.consequence(context.now()) {
        // Whatever broke, the CA has looked, or will.
        Consequence::Unspent if is_spent => Consequence::Spent,
        consequence => consequence,
    };
    fail_order(context, options, work, begun, error, consequence);
    check::look_again(context, error, work).await;
}

fn count(names: usize) -> String {
    match names {
        1 => "1 name".to_owned(),
        names => format!("{names} names"),
    }
}

/// A chain from the CA, with the key that it should belong to
pub(super) struct FromCa {
    pub(super) chain_pem: String,
    pub(super) key: KeyAndCsr,
    pub(super) account_url: String,
    validated: String,
}

async fn issue(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
) -> Result<FromCa, OrderError> {
    // A webroot that cannot be written is found out before the CA is asked for anything.
    let probe = format!(
        "{OWN}probe-{:016x}",
        u64::from_be_bytes(crate::pipeline::random())
    );
    drop(Published::publish(
        &work.domain.webroot,
        [(probe.as_str(), "")],
    )?);
    let Resumed {
        pending,
        key,
        patience,
    } = match resume::take_up(context, options, session, work).await? {
        Some(resumed) => resumed,
        None => place_anew(context, options, session, work).await?,
    };
    resume::note_tokens(context, work, &pending);
    let answers = pending
        .answers()
        .iter()
        .map(|answer| (answer.token.as_str(), answer.key_authorization.as_str()));
    let published =
        Published::publish(&work.domain.webroot, answers).map_err(OrderError::Publish)?;
    let validated = match pending.answers().len() {
        0 => "still authorized".to_owned(),
        challenges => format!("{challenges} validated by http-01"),
    };
    let account_url = pending.account_url().to_owned();
    let chain_pem = pending.finish(&key.csr).await.map_err(|error| Unfinished {
        error,
        account_url: account_url.clone(),
        patience,
        progress: Progress::Begun,
    })?;
    drop(published);
    let issued = match issuance(options, work) {
        Issuance::First => Spent::certificate(&work.names),
        Issuance::Renewal => Spent::renewal(&work.names),
    };
    spend(context, session, &account_url, issued);
    Ok(FromCa {
        chain_pem,
        key,
        account_url,
        validated,
    })
}

pub(super) fn registration<'c>(context: &Context<'c>) -> Registration<'c> {
    Registration {
        store: context.store,
        email: context.config.email.as_deref(),
        terms: context.config.terms,
    }
}

/// Places an order, and keeps what it takes to go on with it after a crash
async fn place_anew(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
) -> Result<Resumed, OrderError> {
    let names = work.names.clone();
    let key_type = work.domain.key_type;
    let key = spawn_blocking(move || csr::generate(&names, key_type)).await;
    let key = joined(key).ok_or(OrderError::Interrupted)?;
    let key = key.map_err(AcmeError::from)?;
    let unready = resume::get_ready(context, options, work, &key).await;
    unready.map_err(OrderError::Unready)?;
    let account = context.store.account(session.issuer(), session.directory());
    let is_registered = matches!(account, Ok(Some(_)));
    let replaced = replaced(context, session, work);
    let wish = Wish {
        profile: work.domain.profile.as_deref(),
        replaces: replaced
            .as_ref()
            .map(|(account, der)| (account.as_str(), der.as_slice())),
    };
    let registration = registration(context);
    let mut pending = session.begin(&work.names, wish, registration).await?;
    let kept = resume::keep(context, options, work, &pending, &key).await;
    let account_url = pending.account_url().to_owned();
    let spend = |spent| spend(context, session, &account_url, spent);
    if !is_registered {
        spend(Spent::Account);
    }
    if issuance(options, work) == Issuance::First {
        spend(Spent::order(&work.names));
    }
    kept.map_err(OrderError::Keep)?;
    let prepared = pending.prepare(&work.names).await;
    let patience = Patience::More;
    prepared.map_err(|error| Unfinished {
        error,
        account_url,
        patience,
        progress: Progress::Placed,
    })?;
    Ok(Resumed {
        pending,
        key,
        patience,
    })
}

/// The newest certificate of the domain from this CA, with the account that ordered it
fn replaced(
    context: &Context<'_>,
    session: &Session,
    work: &Work<'_>,
) -> Option<(String, Vec<u8>)> {
    let newest = work.lineage.newest()?;
    let generation = work.lineage.record.generations.get(&newest)?;
    if generation.issuer.as_deref() != Some(session.issuer()) {
        return None;
    }
    let certificate = context.store.certificate(work.name(), newest).ok()?;
    let leaf = certificate.chain.leaf();
    // One that shares no name, or is over, is replaced by nothing.
    let is_shared = work.names.iter().any(|name| leaf.lists(name));
    let counts = is_shared && leaf.validity.contains(context.now());
    counts.then(|| Some((generation.account.clone()?, leaf.der.clone())))?
}

/// Notes what a CA counts; where that cannot be kept, limits are foretold less well
fn spend(context: &Context<'_>, session: &Session, account_url: &str, spent: Spent) {
    let entry = Entry {
        at: context.now(),
        directory: session.directory().to_owned(),
        account: account_url.to_owned(),
        spent,
    };
    if let Err(error) = context.store.spend(&entry, context.now()) {
        tracing::warn!(error = chain_of_causes(&error), "the ledger cannot be kept");
    }
}

/// How far an order came that was not finished
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is there, and the CA was asked for nothing else: to go on with it costs nothing
    Placed,
    /// The CA was asked to validate, or to issue
    Begun,
}

/// An order that was placed and gave no certificate
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Unfinished {
    pub(super) error: AcmeError,
    pub(super) account_url: String,
    pub(super) patience: Patience,
    pub(super) progress: Progress,
}

/// Why there is no certificate
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// Before anything was asked of the CA
    #[error(transparent)]
    Webroot(#[from] ChallengeError),
    /// Before anything was asked of the CA: an order could not be kept
    #[error(transparent)]
    Unready(RecordError),
    /// No order was placed
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// After the order was placed
    #[error(transparent)]
    Publish(ChallengeError),
    /// After the order was placed
    #[error(transparent)]
    Unfinished(#[from] Unfinished),
    /// After the order was placed: what it takes to go on with it cannot be kept
    #[error(transparent)]
    Keep(RecordError),
    #[error("certd is being stopped")]
    Interrupted,
}
