//! Orders, `jobs` at a time: each fills the archive and touches nothing that is live.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tracing::Instrument;

use super::failed::{fail_order, fail_spent};
use super::resume::{Patience, Resumed};
use super::{certificate_in_words, check, ready, resume};
use crate::acme::account::Registration;
use crate::acme::csr::{self, KeyAndCsr};
use crate::acme::order::Wish;
use crate::acme::problem::Consequence;
use crate::acme::{AcmeError, Session};
use crate::chain::Fingerprint;
use crate::challenge::{ChallengeError, OWN, Published};
use crate::config::defaults;
use crate::finding::{Finding, chain_of_causes};
use crate::install;
use crate::net::http::Meter;
use crate::pipeline::{Context, Mode, Options, Work, renewal_info};
use crate::plan::budget::Issuance;
use crate::plan::{self, Plan};
use crate::report::{Outcome, Stage};
use crate::store::files::FileError;
use crate::store::ledger::{Entry, Spent};
use crate::store::lineage::{Issued, LineageError};
use crate::store::record::{Asked, GenerationRecord, RecordError};

/// The CAs of a run, each with one session; a failure is kept for its domains
pub(super) struct Desk {
    sessions: BTreeMap<String, Result<Session, AcmeError>>,
    meter: Meter,
}

impl Desk {
    /// Opens a session for each issuer that is needed
    pub(super) async fn open(context: &Context<'_>, options: &Options, works: &[Work<'_>]) -> Self {
        let meter = Meter::default();
        let needed: BTreeSet<&str> = works
            .iter()
            .filter(|work| must_order(work))
            .map(|work| issuer_of(options, work))
            .collect();
        let sessions = needed
            .into_iter()
            .filter_map(|name| Some((name, context.config.issuers.get(name)?)))
            .map(|(name, issuer)| {
                let meter = meter.clone();
                async move {
                    let (provider, proxies) = (context.provider.clone(), context.config.proxies);
                    let patience = context.patience.ca;
                    let session = Session::open(name, issuer, provider, proxies, meter, patience);
                    (name.to_owned(), session.await)
                }
            })
            .collect::<FuturesUnordered<_>>()
            .collect()
            .await;
        Self { sessions, meter }
    }

    fn session(&self, options: &Options, work: &Work<'_>) -> Option<&Session> {
        self.sessions.get(issuer_of(options, work))?.as_ref().ok()
    }

    /// Whether the domain's CA answers
    pub(super) fn is_open(&self, options: &Options, work: &Work<'_>) -> bool {
        self.session(options, work).is_some()
    }

    /// What the domain's CA takes for the time
    pub(super) fn date(&self, options: &Options, work: &Work<'_>) -> Option<Timestamp> {
        self.session(options, work)?.date()
    }

    /// Domains that stand for the domain's CA in CAA records
    pub(super) fn caa_identities(&self, options: &Options, work: &Work<'_>) -> Vec<String> {
        let session = self.session(options, work);
        session
            .map(|session| session.caa_identities().to_vec())
            .unwrap_or_default()
    }
}

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

/// Places the orders that are planned; gives the number of HTTP requests of the whole run
pub(super) async fn place_all(
    context: &Context<'_>,
    options: &Options,
    desk: &Desk,
    works: &mut [Work<'_>],
) -> u64 {
    let ordering = works.iter_mut().filter(|work| must_order(work));
    stream::iter(ordering)
        .map(|work| async {
            let issuer = issuer_of(options, work).to_owned();
            let begun = work.begin(Stage::Order);
            match desk.sessions.get(&issuer) {
                Some(Ok(session)) => place(context, options, session, work).await,
                Some(Err(error)) => {
                    let consequence = error.consequence(context.now());
                    fail_order(context, options, work, begun, error, consequence);
                }
                None => work.fail_with(Stage::Order, begun, no_issuer(&issuer)),
            }
        })
        .buffer_unordered(context.config.jobs)
        .collect::<Vec<()>>()
        .await;
    desk.meter.requests()
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
async fn place(context: &Context<'_>, options: &Options, session: &Session, work: &mut Work<'_>) {
    let begun = Instant::now();
    let span = tracing::info_span!("order", domain = %work.name());
    match issue(context, options, session, work)
        .instrument(span)
        .await
    {
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
struct FromCa {
    chain_pem: String,
    key: KeyAndCsr,
    account_url: String,
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
    resume::keep_tokens(context, options, work, &pending).map_err(OrderError::Keep)?;
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
    let key = key.map_err(|_| OrderError::Interrupted)?;
    let key = key.map_err(AcmeError::from)?;
    resume::get_ready(context, options, work, &key).map_err(OrderError::Unready)?;
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
    let kept = resume::keep(context, options, work, &pending, &key);
    let account_url = pending.account_url().to_owned();
    let spend = |spent| spend(context, session, &account_url, spent);
    if !is_registered {
        spend(Spent::Account);
    }
    if issuance(options, work) == Issuance::First {
        spend(Spent::order(&work.names));
    }
    kept.map_err(OrderError::Keep)?;
    let prepared = pending.prepare().await;
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
    if let Err(error) = context.store.spend(&[entry], context.now()) {
        tracing::warn!(error = chain_of_causes(&error), "the ledger cannot be kept");
    }
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
        Err(unfit) => {
            resume::forget(context, options, work);
            return fail_spent(context, work, Stage::Install, begun, &unfit);
        }
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
    let fingerprint = chain.leaf().fingerprint;
    let stored = archive(context, options, session, work, from_ca, fingerprint).await;
    match stored {
        Ok(generation) => {
            let generation = crate::store::lineage::Generation {
                number: generation,
                chain,
                damaged: Vec::new(),
            };
            work.done(
                Stage::Install,
                begun,
                format!("generation {}, {words}", generation.number),
            );
            let leaf = &generation.chain.leaf().der;
            let suggested = renewal_info::suggestion(session, leaf).await;
            let records = &mut work.lineage.record.generations;
            if let (true, Some(record)) = (session.suggests(), records.get_mut(&generation.number))
            {
                record.renewal = Some(renewal_info::remembered(None, suggested, context.now()));
            }
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
    fingerprint: Fingerprint,
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
        fingerprint: Some(fingerprint.to_string()),
        renewal: None,
    };
    let chosen = options
        .issuer
        .clone()
        .filter(|issuer| *issuer != work.domain.issuer);
    let written = spawn_blocking(move || {
        let number = store.add_generation(&lineage, &issued)?;
        lineage.generations.push(number);
        let order = lineage.record.order.clone();
        lineage.record.enter(number, record, chosen);
        store.save_record(&lineage.name, &lineage.record)?;
        lineage.record.order = order;
        Ok::<_, LineageError>((number, lineage))
    });
    let (number, lineage) = match written.await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(interrupted()),
    };
    work.lineage = lineage;
    resume::forget(context, options, work);
    Ok(number)
}

fn interrupted() -> LineageError {
    LineageError::Record(RecordError::File(FileError::interrupted()))
}

/// How far an order came that was not finished
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is there, and the CA was asked for nothing else: to go on with it costs nothing
    Placed,
    /// The CA was asked to validate, or to issue
    Begun,
}

/// An order that was placed, and what became of it
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
