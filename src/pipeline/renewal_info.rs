//! Asking CAs when they would have certificates renewed (RFC 9773), and keeping what they say.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;
use tokio::time::timeout;

use super::defect::caught_now;
use super::desk::Desk;
use super::{Context, Work};
use crate::acme::Session;
use crate::config::Domain;
use crate::facts::{NoSuggestion, Suggestion};
use crate::plan::renewal;
use crate::store::lineage::Lineage;
use crate::store::record::Renewal;

/// A certificate whose CA is to be asked
pub(super) struct Question {
    lineage: Lineage,
    number: u32,
    issuer: String,
    leaf: Vec<u8>,
}

/// What is to be asked of these domains, where it is time to ask
pub(super) fn questions(context: &Context<'_>, domains: &[&Domain]) -> Vec<Question> {
    let domains = domains.iter();
    let questions = domains.map(|domain| caught_now(|| question(context, domain)));
    // Whatever is wrong with a domain is told when its turn comes.
    questions.filter_map(|question| question.ok()?).collect()
}

/// The issuers that are asked
pub(super) fn issuers(questions: &[Question]) -> BTreeSet<&str> {
    questions.iter().map(|one| one.issuer.as_str()).collect()
}

/// Asks the CAs, and keeps their answers
pub(super) async fn ask(context: &Context<'_>, desk: &Desk, questions: Vec<Question>) {
    stream::iter(questions)
        .map(|question| async {
            let answer = match desk.session(&question.issuer) {
                Some(session) => suggestion(session, &question.leaf).await,
                None => Err(NoSuggestion::ForNow),
            };
            let name = question.lineage.name.clone();
            if let Err(defect) = caught_now(|| keep(context, question, answer)) {
                tracing::warn!(domain = %name, %defect, "what the CA suggests is not kept");
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}

/// A certificate of this run whose CA is to be asked, by the position of its domain
pub(super) struct Fresh {
    position: usize,
    number: u32,
    issuer: String,
    leaf: Vec<u8>,
}

/// The certificates that were just issued by CAs that make suggestions
pub(super) fn fresh(desk: &Desk, works: &[Work<'_>]) -> Vec<Fresh> {
    let issued = works.iter().enumerate().filter(|(_, work)| work.is_ahead);
    let fresh = issued.filter_map(|(position, work)| {
        let ready = work.ready.as_ref()?;
        let number = ready.generation;
        let issuer = work
            .lineage
            .record
            .generations
            .get(&number)?
            .issuer
            .clone()?;
        let suggests = desk.session(&issuer).is_some_and(Session::suggests);
        suggests.then(|| Fresh {
            position,
            number,
            issuer,
            leaf: ready.leaf.der.clone(),
        })
    });
    fresh.collect()
}

/// Asks the CAs when they would have these renewed
pub(super) async fn ask_about(
    desk: &Desk,
    fresh: Vec<Fresh>,
) -> Vec<(Fresh, Result<Suggestion, NoSuggestion>)> {
    stream::iter(fresh)
        .map(|fresh| async {
            let answer = match desk.session(&fresh.issuer) {
                Some(session) => suggestion(session, &fresh.leaf).await,
                None => Err(NoSuggestion::ForNow),
            };
            (fresh, answer)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Enters the answers into the records, which are kept at the end of the run
pub(super) fn enter(
    context: &Context<'_>,
    works: &mut [Work<'_>],
    answers: Vec<(Fresh, Result<Suggestion, NoSuggestion>)>,
) {
    for (fresh, answer) in answers {
        let records = &mut works[fresh.position].lineage.record.generations;
        if let Some(record) = records.get_mut(&fresh.number) {
            record.renewal = Some(remembered(None, answer, context.now()));
        }
    }
}

/// The certificate of a domain that its CA is to be asked about now; never one that is over
fn question(context: &Context<'_>, domain: &Domain) -> Option<Question> {
    let now = context.now();
    // The record alone says so of most, and costs one file.
    let record = context.store.record(&domain.name).ok()?;
    let mut known = record.generations.values();
    if !known.any(|generation| renewal::may_ask(generation.renewal.as_ref(), now)) {
        return None;
    }
    let lineage = context.store.lineage(&domain.name).ok()?;
    let number = lineage.newest()?;
    let generation = lineage.record.generations.get(&number)?;
    let issuer = generation.issuer.clone()?;
    if !renewal::may_ask(generation.renewal.as_ref(), now) {
        return None;
    }
    let certificate = context.store.certificate(&domain.name, number).ok()?;
    let leaf = certificate.chain.leaf();
    (leaf.validity.not_after > now).then(|| Question {
        issuer,
        number,
        leaf: leaf.der.clone(),
        lineage,
    })
}

/// What a CA says of a certificate, without much patience: another run asks again
///
/// One that let so many questions in a row go unanswered is not asked again in this run: each would
/// cost as much.
async fn suggestion(session: &Session, leaf: &[u8]) -> Result<Suggestion, NoSuggestion> {
    if session.silence().length() >= AT_ONCE {
        return Err(NoSuggestion::ForNow);
    }
    match timeout(PATIENCE, session.suggestion(leaf)).await {
        Ok(answer) => {
            session.silence().end();
            answer
        }
        Err(_) => {
            session.silence().go_on();
            Err(NoSuggestion::ForNow)
        }
    }
}

fn keep(context: &Context<'_>, question: Question, answer: Result<Suggestion, NoSuggestion>) {
    let Question {
        mut lineage,
        number,
        ..
    } = question;
    let Some(generation) = lineage.record.generations.get_mut(&number) else {
        return;
    };
    let known = generation.renewal.take();
    generation.renewal = Some(remembered(known.as_ref(), answer, context.now()));
    // Whoever loses it to a power cut asks again.
    let kept = context.store.write_record(&lineage.name, &lineage.record);
    if let Err(error) = kept {
        tracing::warn!(domain = %lineage.name, %error, "what the CA suggests is not kept");
    }
}

/// What is remembered of an answer, with an instant that is chosen at random
fn remembered(
    known: Option<&Renewal>,
    answer: Result<Suggestion, NoSuggestion>,
    now: Timestamp,
) -> Renewal {
    renewal::remember(known, answer, super::chance(), now)
}

/// Certificates that are asked about at once
const AT_ONCE: usize = 16;
/// Time for one answer
const PATIENCE: Duration = Duration::from_secs(10);
