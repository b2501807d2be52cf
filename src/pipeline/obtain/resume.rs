//! The order that is under way: kept, so that a run that was killed is gone on with.

use jiff::SignedDuration;
use tokio::task::spawn_blocking;

use super::failed::note_unsaved;
use super::order::{OrderError, Progress, Unfinished, asked, registration};
use crate::acme::csr::{self, KeyAndCsr};
use crate::acme::order::Pending;
use crate::acme::problem::Consequence;
use crate::acme::{AcmeError, Session};
use crate::chain::{Fingerprint, public_key_of};
use crate::challenge::Published;
use crate::pipeline::defect::joined;
use crate::pipeline::{Context, Mode, Options, Work};
use crate::store::Store;
use crate::store::files::FileError;
use crate::store::record::{GenerationRecord, RecordError, RunningOrder};

/// Does what waits for the disk on a thread of its own: all orders of a run share one
pub(super) async fn on_disk<T, E>(
    context: &Context<'_>,
    work: impl FnOnce(&Store) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<FileError> + Send + 'static,
{
    let store = context.store.clone();
    let done = joined(spawn_blocking(move || work(&store)).await);
    done.unwrap_or_else(|| Err(FileError::interrupted().into()))
}

/// Keeps the key of an order that is about to be placed, and shows that its URL can be kept
///
/// One that was placed before and is still on record keeps its own key until the new one is there.
pub(super) async fn get_ready(
    context: &Context<'_>,
    options: &Options,
    work: &Work<'_>,
    key: &KeyAndCsr,
) -> Result<(), RecordError> {
    if options.mode == Mode::Rehearse {
        return Ok(());
    }
    let (name, record) = (work.name().clone(), work.lineage.record.clone());
    let key_pem = key.key_pem.clone();
    on_disk(context, move |store| {
        if record.order.is_none() {
            store.save_order_key(&name, &key_pem)?;
        }
        store.try_record(&name, &record)
    })
    .await
}

/// Keeps what it takes to go on with an order after a crash, as soon as its URL is known
///
/// A rehearsal is at another CA, and has none that is kept.
pub(super) async fn keep(
    context: &Context<'_>,
    options: &Options,
    work: &mut Work<'_>,
    pending: &Pending,
    key: &KeyAndCsr,
) -> Result<(), RecordError> {
    if options.mode == Mode::Rehearse {
        return Ok(());
    }
    let asked = asked(context, options, work);
    let record = &mut work.lineage.record;
    let before = record.order.replace(RunningOrder {
        url: pending.url().to_owned(),
        began: context.now(),
        tokens: Vec::new(),
        tries: 0,
        unanswered: 0,
        asked,
    });
    let record = record.clone();
    let name = work.name().clone();
    let key_pem = before.map(|_| key.key_pem.clone());
    on_disk(context, move |store| {
        if let Some(key_pem) = key_pem {
            store.save_order_key(&name, &key_pem)?;
        }
        store.save_record(&name, &record)
    })
    .await
}

/// Notes the tokens that are about to be published, so that they are withdrawn after a kill
pub(super) fn note_tokens(context: &Context<'_>, work: &Work<'_>, pending: &Pending) {
    // A rehearsal has no order that is kept.
    if work.lineage.record.order.is_none() {
        return;
    }
    let known = context.store.order_tokens(work.name());
    let tokens = pending.answers().iter().map(|answer| answer.token.as_str());
    let new: Vec<&str> = tokens
        .filter(|token| !known.iter().any(|known| known == token))
        .collect();
    if new.is_empty() {
        return;
    }
    if let Err(error) = context.store.note_order_tokens(work.name(), &new) {
        tracing::warn!(domain = %work.name(), %error, "tokens are published that a kill would leave");
    }
}

/// Withdraws what an earlier run, which was killed, may have published for the order under way
pub(super) fn withdraw(context: &Context<'_>, work: &Work<'_>) {
    if let Some(order) = &work.lineage.record.order {
        let mut tokens = context.store.order_tokens(work.name());
        tokens.extend(order.tokens.iter().cloned());
        Published::withdraw(&work.domain.webroot, &tokens);
    }
}

/// An order that was taken up
pub(super) struct Resumed {
    pub(super) pending: Pending,
    pub(super) key: KeyAndCsr,
    pub(super) patience: Patience,
}

/// Whether an order is kept that breaks off once more
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// For the next run
    More,
    /// It was tried often, and for long
    Over,
}

/// Ends the order of a run that was killed after it had put the certificate into the archive
///
/// Without what the order tells of it nobody would know who issued it, nor name it to the CA as
/// the one that is replaced.
pub(super) fn settle(context: &Context<'_>, options: &Options, work: &mut Work<'_>) {
    if !matches!(options.mode, Mode::Deploy | Mode::NoDeploy) {
        return;
    }
    let record = &work.lineage.record;
    let (Some(newest), Some(running)) = (work.lineage.newest(), record.order.clone()) else {
        return;
    };
    let Some(fingerprint) = fingerprint_by_order(context, work, newest) else {
        return;
    };
    let asked = running.asked;
    let chosen = Some(asked.issuer.clone()).filter(|issuer| *issuer != work.domain.issuer);
    let generation = GenerationRecord {
        issuer: Some(asked.issuer),
        account: asked.account,
        profile: asked.profile,
        issued_at: running.began,
        proven_at: None,
        fingerprint: Some(fingerprint.to_string()),
        renewal: None,
    };
    withdraw(context, work);
    work.lineage.record.enter(newest, generation, chosen);
    match context.store.save_record(work.name(), &work.lineage.record) {
        Ok(()) => forget_files(context, work),
        Err(error) => {
            work.is_ahead = true;
            note_unsaved(work, &error);
        }
    }
}

/// The fingerprint of a generation, if that has the key of the order that is under way
fn fingerprint_by_order(
    context: &Context<'_>,
    work: &Work<'_>,
    generation: u32,
) -> Option<Fingerprint> {
    let key = context.store.order_key(work.name())?;
    let key = public_key_of(key.as_bytes()).ok()?;
    let generation = context.store.certificate(work.name(), generation).ok()?;
    let leaf = generation.chain.leaf();
    (leaf.public_key == key).then_some(leaf.fingerprint)
}

/// Takes up the order that was under way when certd was stopped, if it is still what is wanted
///
/// One that is issued is tried once more, however old it is: its certificate is counted already.
pub(super) async fn take_up(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
) -> Result<Option<Resumed>, OrderError> {
    if options.mode == Mode::Rehearse {
        return Ok(None);
    }
    let Some(running) = work.lineage.record.order.clone() else {
        return Ok(None);
    };
    let Some(key) = usable_key(context, options, work, &running) else {
        forget(context, options, work);
        return Ok(None);
    };
    let age = age(context, work, &running);
    let account = running.asked.account.as_deref();
    let looked = session
        .resume(&running.url, account, registration(context))
        .await;
    let resumed = match looked {
        Ok(Some(pending)) => go_on(context, work, running, age, pending).await?,
        Ok(None) => None,
        Err(error) => return unanswered(context, work, running, age, error).await,
    };
    if resumed.is_none() {
        forget(context, options, work);
    }
    Ok(resumed.map(|(pending, patience)| Resumed {
        pending,
        key,
        patience,
    }))
}

/// Counts a poll that the CA answered; gives the order with what must be published, unless it leads
/// nowhere: it must not keep the domain from another
async fn go_on(
    context: &Context<'_>,
    work: &mut Work<'_>,
    mut running: RunningOrder,
    age: Age,
    mut pending: Pending,
) -> Result<Option<(Pending, Patience)>, OrderError> {
    running.tries += 1;
    let (is_old, tried) = (age == Age::Old, running.tries > MOST_TRIES);
    work.lineage.record.order = Some(running);
    save_aside(context, work).await;
    if !pending.is_issued() && (is_old || tried) {
        return Ok(None);
    }
    let patience = match is_old && tried {
        true => Patience::Over,
        false => Patience::More,
    };
    match pending.prepare(&work.names).await {
        Ok(()) => Ok(Some((pending, patience))),
        Err(error) if error.ends_order() => Ok(None),
        Err(error) => Err(OrderError::Unfinished(Unfinished {
            error,
            account_url: pending.account_url().to_owned(),
            patience,
            progress: Progress::Placed,
        })),
    }
}

/// Counts a poll without a useful answer; an order that stays silent is left for another, and on
/// record until that is placed
async fn unanswered(
    context: &Context<'_>,
    work: &mut Work<'_>,
    mut running: RunningOrder,
    age: Age,
    error: AcmeError,
) -> Result<Option<Resumed>, OrderError> {
    if matches!(error.consequence(context.now()), Consequence::Later(_)) {
        return Err(error.into());
    }
    running.unanswered += 1;
    let is_silent = running.unanswered >= MOST_TRIES;
    work.lineage.record.order = Some(running);
    save_aside(context, work).await;
    match age == Age::Old && is_silent {
        true => Ok(None),
        false => Err(error.into()),
    }
}

/// The kept key of a running order that is still what is wanted
fn usable_key(
    context: &Context<'_>,
    options: &Options,
    work: &Work<'_>,
    running: &RunningOrder,
) -> Option<KeyAndCsr> {
    if running.asked != asked(context, options, work) {
        return None;
    }
    let key_pem = context.store.order_key(work.name())?;
    csr::with_key(&work.names, &key_pem).ok()
}

/// Whether another order would be better than one that hangs
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Young,
    Old,
}

/// Where little life is left, or none, there is no time for an order that hangs
fn age(context: &Context<'_>, work: &Work<'_>, running: &RunningOrder) -> Age {
    let left = work
        .newest
        .map(|validity| validity.remaining(context.now()));
    let left = left.unwrap_or(SignedDuration::ZERO);
    let oldest = (left / 4).clamp(SHORT_WAIT, OLDEST_ORDER);
    match context.now().duration_since(running.began).abs() > oldest {
        true => Age::Old,
        false => Age::Young,
    }
}

/// Forgets the order that was under way: it is over
pub(super) fn forget(context: &Context<'_>, options: &Options, work: &mut Work<'_>) {
    if options.mode == Mode::Rehearse {
        return;
    }
    withdraw(context, work);
    work.lineage.record.order = None;
    forget_files(context, work);
}

/// Removes the key and the tokens of an order that no record tells of any more
pub(super) fn forget_files(context: &Context<'_>, work: &Work<'_>) {
    if let Err(error) = context.store.forget_order(work.name()) {
        tracing::warn!(domain = %work.name(), %error, "the files of an order that is over stay");
    }
}

async fn save_aside(context: &Context<'_>, work: &mut Work<'_>) {
    let (name, record) = (work.name().clone(), work.lineage.record.clone());
    let saved = on_disk(context, move |store| store.save_record(&name, &record)).await;
    if let Err(error) = saved {
        note_unsaved(work, &error);
    }
}

/// Age at which an order is old
const OLDEST_ORDER: SignedDuration = SignedDuration::from_hours(24);
/// The same, where hardly any life is left
const SHORT_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// How often an order is taken up, or not heard of
const MOST_TRIES: u32 = 3;
