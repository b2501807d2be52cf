//! The order that is under way: kept, so that a run that was killed is gone on with.

use jiff::SignedDuration;

use super::order::{asked, registration, save};
use crate::acme::csr::{self, KeyAndCsr};
use crate::acme::order::Pending;
use crate::acme::{AcmeError, Session};
use crate::chain::public_key_of;
use crate::challenge::Published;
use crate::pipeline::{Context, Mode, Options, Work};
use crate::store::record::{GenerationRecord, RecordError, RunningOrder};

/// Keeps what it takes to go on with an order after a crash
///
/// A rehearsal is at another CA, and has none that is kept.
pub(super) fn keep(
    context: &Context<'_>,
    options: &Options,
    work: &mut Work<'_>,
    pending: &Pending,
    key: &KeyAndCsr,
) -> Result<(), RecordError> {
    if options.mode == Mode::Rehearse {
        return Ok(());
    }
    let tokens = pending.answers().iter().map(|answer| answer.token.clone());
    context.store.save_order_key(work.name(), &key.key_pem)?;
    work.lineage.record.order = Some(RunningOrder {
        url: pending.url().to_owned(),
        began: context.now(),
        tokens: tokens.collect(),
        tries: 0,
        asked: asked(context, options, work),
    });
    let record = &work.lineage.record;
    context.store.save_record(work.name(), record)
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
    if !is_of_order(context, work, newest) {
        return;
    }
    let asked = running.asked.clone();
    let chosen = Some(asked.issuer.clone()).filter(|issuer| *issuer != work.domain.issuer);
    let generation = GenerationRecord {
        issuer: Some(asked.issuer),
        account: asked.account,
        profile: asked.profile,
        issued_at: running.began,
        proven_at: None,
        renewal: None,
    };
    work.lineage.record.enter(newest, generation, chosen);
    save(context, work);
    work.lineage.record.order = Some(running);
    forget(context, options, work);
}

/// Whether a generation has the key of the order that is under way
fn is_of_order(context: &Context<'_>, work: &Work<'_>, generation: u32) -> bool {
    let key = context.store.order_key(work.name());
    let key = key.and_then(|key| public_key_of(key.as_bytes()).ok());
    let generation = context.store.certificate(work.name(), generation);
    key.is_some_and(|key| generation.is_ok_and(|known| known.chain.leaf().public_key == key))
}

/// Takes up the order that was under way when certd was stopped, if it is still what is wanted
pub(super) async fn take_up(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
) -> Result<Option<(Pending, KeyAndCsr)>, AcmeError> {
    if options.mode == Mode::Rehearse {
        return Ok(None);
    }
    let Some(mut running) = work.lineage.record.order.clone() else {
        return Ok(None);
    };
    let resumed = match usable_key(context, options, work, &running) {
        Some(key) => {
            // One that leads nowhere must not keep the domain from another.
            running.tries += 1;
            work.lineage.record.order = Some(running.clone());
            save(context, work);
            let account = running.asked.account.as_deref();
            let registration = registration(context);
            let pending = session.resume(&running.url, account, registration).await?;
            pending.map(|pending| (pending, key))
        }
        None => None,
    };
    if resumed.is_none() {
        forget(context, options, work);
    }
    Ok(resumed)
}

/// The kept key of a running order that is still what is wanted
fn usable_key(
    context: &Context<'_>,
    options: &Options,
    work: &Work<'_>,
    running: &RunningOrder,
) -> Option<KeyAndCsr> {
    let age = context.now().duration_since(running.began).abs();
    if age > OLDEST_ORDER
        || running.tries >= MOST_TRIES
        || running.asked != asked(context, options, work)
    {
        return None;
    }
    let key_pem = context.store.order_key(work.name())?;
    csr::with_key(&work.names, &key_pem).ok()
}

/// Forgets the order that was under way: it is over
pub(super) fn forget(context: &Context<'_>, options: &Options, work: &mut Work<'_>) {
    if options.mode == Mode::Rehearse {
        return;
    }
    if let Some(order) = work.lineage.record.order.take() {
        Published::withdraw(&work.domain.webroot, &order.tokens);
    }
    if let Err(error) = context.store.forget_order_key(work.name()) {
        tracing::warn!(domain = %work.name(), %error, "the key of an order that is over stays");
    }
}

/// Age at which an order is not taken up any more: short lives leave no time for one that hangs
const OLDEST_ORDER: SignedDuration = SignedDuration::from_hours(24);
/// How often an order is taken up
const MOST_TRIES: u32 = 3;
