//! Orders, `jobs` at a time: each fills the archive and touches nothing that is live.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::{certificate_in_words, ready};
use crate::acme::account::Registration;
use crate::acme::csr::{self, KeyAndCsr};
use crate::acme::problem::Consequence;
use crate::acme::reply::RetryAfter;
use crate::acme::{AcmeError, Session};
use crate::challenge::{ChallengeError, Published};
use crate::config::defaults;
use crate::finding::{Explain, Finding, Severity, chain_of_causes};
use crate::install;
use crate::net::http::Meter;
use crate::pipeline::{Context, Mode, Options, Work};
use crate::plan::{Plan, backoff};
use crate::report::{Outcome, Stage, StageResult};
use crate::store::files::FileError;
use crate::store::lineage::{Issued, LineageError};
use crate::store::record::{GenerationRecord, RecordError};
use crate::time::display;

/// Places the orders that are planned; gives the number of HTTP requests that they took
pub(super) async fn place_all(
    context: &Context<'_>,
    options: &Options,
    works: &mut [Work<'_>],
) -> u64 {
    let meter = Meter::default();
    let sessions = open_sessions(context, options, works, &meter).await;
    let ordering = works.iter_mut().filter(|work| must_order(work));
    stream::iter(ordering)
        .map(|work| async {
            let issuer = issuer_of(options, work).to_owned();
            let begun = work.begin(Stage::Order);
            match sessions.get(&issuer) {
                Some(Ok(session)) => place(context, options, session, work).await,
                Some(Err(error)) => fail_order(context, work, begun, error, error.consequence()),
                None => work.fail_with(Stage::Order, begun, no_issuer(&issuer)),
            }
        })
        .buffer_unordered(context.config.jobs)
        .collect::<Vec<()>>()
        .await;
    meter.requests()
}

fn no_issuer(name: &str) -> Finding {
    Finding::failure("acme.issuer", format!("there is no issuer `{name}`"))
}

fn must_order(work: &Work<'_>) -> bool {
    work.is_open() && matches!(work.plan, Plan::Order { .. })
}

fn issuer_of<'o>(options: &'o Options, work: &'o Work<'_>) -> &'o str {
    match (&options.issuer, options.mode) {
        (Some(issuer), _) => issuer,
        (None, Mode::Rehearse) => defaults::STAGING_ISSUER,
        (None, _) => &work.domain.issuer,
    }
}

/// One session for each issuer that is needed; a failure is kept for its domains
async fn open_sessions(
    context: &Context<'_>,
    options: &Options,
    works: &[Work<'_>],
    meter: &Meter,
) -> BTreeMap<String, Result<Session, AcmeError>> {
    let needed: BTreeSet<&str> = works
        .iter()
        .filter(|work| must_order(work))
        .map(|work| issuer_of(options, work))
        .collect();
    needed
        .into_iter()
        .filter_map(|name| Some((name, context.config.issuers.get(name)?)))
        .map(|(name, issuer)| async move {
            let provider = context.provider.clone();
            let patience = context.patience.ca;
            let session = Session::open(name, issuer, provider, meter.clone(), patience).await;
            (name.to_owned(), session)
        })
        .collect::<FuturesUnordered<_>>()
        .collect()
        .await
}

/// One order from its first request to a generation in the archive
async fn place(context: &Context<'_>, options: &Options, session: &Session, work: &mut Work<'_>) {
    let begun = Instant::now();
    match issue(context, session, work).await {
        Ok(issued) => {
            let detail = format!(
                "{} by {}, {}",
                count(work.names.len()),
                session.issuer(),
                issued.validated
            );
            work.done(Stage::Order, begun, detail);
            accept(context, options, session, work, issued).await;
        }
        Err(OrderError::Acme(error)) => {
            let consequence = error.consequence();
            fail_order(context, work, begun, &error, consequence);
        }
        Err(OrderError::Unfinished(error)) => {
            let consequence = match error.consequence() {
                // Whatever broke, the order was placed.
                Consequence::Unspent => Consequence::Spent,
                consequence => consequence,
            };
            fail_order(context, work, begun, &error, consequence);
        }
        Err(OrderError::Webroot(error)) => work.fail(Stage::Order, begun, &error),
        Err(OrderError::Publish(error)) => fail_spent(context, work, Stage::Order, begun, &error),
        Err(error @ OrderError::Interrupted) => {
            let finding = Finding::failure("order.interrupted", error.to_string());
            work.fail_with(Stage::Order, begun, finding);
        }
    }
}

fn count(names: usize) -> String {
    match names {
        1 => "1 name".to_owned(),
        names => format!("{names} names"),
    }
}

/// A chain from the CA, with the key that it should belong to
struct FromCa {
    chain_pem: String,
    key: KeyAndCsr,
    account_url: String,
    validated: String,
}

async fn issue(
    context: &Context<'_>,
    session: &Session,
    work: &Work<'_>,
) -> Result<FromCa, OrderError> {
    // A webroot that cannot be written is found out before the CA is asked for anything.
    drop(Published::publish(&work.domain.webroot, [(PROBE, "")])?);
    let registration = Registration {
        store: context.store,
        email: context.config.email.as_deref(),
        terms: context.config.terms,
    };
    let names = work.names.clone();
    let key_type = work.domain.key_type;
    let key = spawn_blocking(move || csr::generate(&names, key_type));
    let profile = work.domain.profile.as_deref();
    let pending = session.begin(&work.names, profile, registration).await?;
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
    let key = key
        .await
        .map_err(|_| OrderError::Interrupted)?
        .map_err(AcmeError::from)?;
    let chain_pem = pending
        .finish(&key.csr)
        .await
        .map_err(OrderError::Unfinished)?;
    drop(published);
    Ok(FromCa {
        chain_pem,
        key,
        account_url,
        validated,
    })
}

/// Looks at what the CA sent and puts it into the archive
async fn accept(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
    from_ca: FromCa,
) {
    let begun = work.begin(Stage::Install);
    let inspected = install::inspect(
        &from_ca.chain_pem,
        &from_ca.key.key_pem,
        &work.names,
        context.now(),
    );
    let chain = match inspected {
        Ok(chain) => chain,
        Err(unfit) => return fail_spent(context, work, Stage::Install, begun, &unfit),
    };
    let words = certificate_in_words(chain.leaf(), context.now());
    if options.mode == Mode::Rehearse {
        work.done(Stage::Install, begun, format!("{words}; dropped"));
        let summary = format!(
            "{} issued a certificate, nothing was installed",
            session.issuer()
        );
        return work.end(Outcome::Rehearsed, summary);
    }
    let stored = archive(context, options, session, work, from_ca).await;
    match stored {
        Ok(generation) => {
            let generation = crate::store::lineage::Generation {
                number: generation,
                chain,
            };
            work.done(
                Stage::Install,
                begun,
                format!("generation {}, {words}", generation.number),
            );
            work.ready = Some(ready(context, &work.lineage, generation));
        }
        Err(error) => fail_spent(context, work, Stage::Install, begun, &error),
    }
}

/// Writes the generation and its record; both are synced when this returns
async fn archive(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
    from_ca: FromCa,
) -> Result<u32, LineageError> {
    let issued = Issued {
        chain_pem: from_ca.chain_pem,
        key_pem: from_ca.key.key_pem,
    };
    let store = context.store.clone();
    let mut lineage = work.lineage.clone();
    let record = GenerationRecord {
        issuer: Some(session.issuer().to_owned()),
        account: Some(from_ca.account_url),
        profile: work.domain.profile.clone(),
        issued_at: context.now(),
        proven_at: None,
    };
    let chosen = options
        .issuer
        .clone()
        .filter(|issuer| *issuer != work.domain.issuer);
    let written = spawn_blocking(move || {
        let number = store.add_generation(&lineage, &issued)?;
        lineage.generations.push(number);
        lineage.record.generations.insert(number, record);
        lineage.record.issuer_override = chosen;
        lineage.record.order_failures.clear();
        store.save_record(&lineage.name, &lineage.record)?;
        Ok::<_, LineageError>((number, lineage))
    });
    let (number, lineage) = match written.await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(interrupted()),
    };
    work.lineage = lineage;
    Ok(number)
}

fn interrupted() -> LineageError {
    LineageError::Record(RecordError::File(FileError::interrupted()))
}

/// Ends the work after an error of the CA, and remembers it at once where it cost something
fn fail_order(
    context: &Context<'_>,
    work: &mut Work<'_>,
    begun: Instant,
    error: &AcmeError,
    consequence: Consequence,
) {
    match consequence {
        Consequence::Unspent => work.fail(Stage::Order, begun, error),
        Consequence::Spent => fail_spent(context, work, Stage::Order, begun, error),
        Consequence::Later(RetryAfter(wait)) => {
            let now = context.now();
            let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
            let failures = &mut work.lineage.record.order_failures;
            failures.add(now, Some(until), chain_of_causes(error));
            let until = backoff::next_try(failures).unwrap_or(until);
            postpone(work, begun, error, until);
            save(context, work);
        }
    }
}

/// Ends the work after something was spent at the CA for nothing, and remembers it at once
fn fail_spent<E: Explain + 'static>(
    context: &Context<'_>,
    work: &mut Work<'_>,
    stage: Stage,
    begun: Instant,
    error: &E,
) {
    let failures = &mut work.lineage.record.order_failures;
    failures.add(context.now(), None, chain_of_causes(error));
    let next = backoff::next_try(failures);
    save(context, work);
    work.fail(stage, begun, error);
    if let Some(until) = next {
        let evidence = no_order_before(until);
        work.findings.push(Finding::note("order.backoff", evidence));
    }
}

fn no_order_before(until: Timestamp) -> String {
    let until = display(until);
    format!("no order is placed before {until}; --force tries now")
}

/// Keeps the record now: a run that is stopped must not forget what it cost the CA
fn save(context: &Context<'_>, work: &mut Work<'_>) {
    if let Err(error) = context.store.save_record(work.name(), &work.lineage.record) {
        let evidence = chain_of_causes(&error);
        work.findings
            .push(Finding::warning("store.record", evidence));
    }
}

/// Ends the work without a failure: the CA named a time
fn postpone(work: &mut Work<'_>, begun: Instant, error: &AcmeError, until: Timestamp) {
    let finding = Finding::from_error(error);
    work.note(
        Stage::Order,
        begun,
        StageResult::Failed,
        finding.code.to_owned(),
    );
    work.findings.push(Finding {
        severity: Severity::Warning,
        ..finding
    });
    work.end(Outcome::Later, no_order_before(until));
}

/// Why there is no certificate
#[derive(Debug, thiserror::Error)]
enum OrderError {
    /// Before anything was asked of the CA
    #[error(transparent)]
    Webroot(#[from] ChallengeError),
    /// No order was placed, or its challenges could not be read
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// After the order was placed
    #[error(transparent)]
    Publish(ChallengeError),
    /// After the order was placed
    #[error(transparent)]
    Unfinished(AcmeError),
    #[error("certd is being stopped")]
    Interrupted,
}

/// Name of the empty file that shows that the webroot can be written
const PROBE: &str = "certd-probe";
