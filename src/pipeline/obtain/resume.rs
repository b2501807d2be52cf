//! The order that is under way: kept, so that a run that was killed is gone on with.

use jiff::SignedDuration;

use super::order::{asked, registration, save};
use crate::acme::csr::{self, KeyAndCsr};
use crate::acme::order::Pending;
use crate::acme::{AcmeError, Session};
use crate::chain::public_key_of;
use crate::challenge::Published;
use crate::pipeline::{Context, Mode, Options, Work};
use crate::store::record::{RecordError, RunningOrder};

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
    let public_key = public_key_of(key_pem.as_bytes()).ok()?;
    // Stopped after the certificate was put into the archive: that is deployed, not had again.
    let newest = work.lineage.newest();
    let newest = newest.and_then(|newest| context.store.certificate(work.name(), newest).ok());
    let is_there = newest.is_some_and(|newest| newest.chain.leaf().public_key == public_key);
    csr::with_key(&work.names, &key_pem)
        .ok()
        .filter(|_| !is_there)
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
