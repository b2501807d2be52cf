//! Who takes part in a play: domains, and the CAs that they order from.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::authority::{self, Authority};
use super::{Actor, Held, PutOff};
use crate::facts::{NoSuggestion, Suggestion};
use crate::plan::budget::{Balance, Intent, Issuance, Limit, Usage};
use crate::plan::renewal::{self, Moment};
use crate::plan::{Demand, Due, Goal, Plan, Subject, Urgency, backoff, due, plan};
use crate::store::ledger::{Ledger, Spent, sorted};
use crate::store::record::{GenerationRecord, Renewal};
use crate::time::{Fraction, Validity, Window};

/// A CA, as its domains spend at it
pub(super) struct Ca {
    pub(super) directory: String,
    /// The last run in which its limit of all orders left no room
    pub(super) exhausted: Option<Timestamp>,
    /// `None` where no limits are known
    balance: Option<Balance>,
    account: Option<String>,
}

/// How an order ends
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Issued,
    Failed,
}

impl Ca {
    pub(super) fn new(actor: &Actor, ledger: &Ledger, now: Timestamp) -> Self {
        Self {
            directory: actor.directory.clone(),
            exhausted: None,
            balance: Balance::of(ledger, &actor.directory, now),
            account: actor.account.clone(),
        }
    }

    /// How much of each limit is used that an order would count for
    pub(super) fn usage(&self, member: &Member, issuance: Issuance, now: Timestamp) -> Vec<Usage> {
        let intent = Intent {
            account: self.account.as_deref(),
            names: &member.names,
            issuance,
        };
        let balance = self.balance.as_ref();
        balance
            .map(|balance| balance.usage(intent, now))
            .unwrap_or_default()
    }

    /// Counts what an order spent
    pub(super) fn count(
        &mut self,
        member: &Member,
        issuance: Issuance,
        outcome: Outcome,
        now: Timestamp,
    ) {
        let names = || member.names.clone();
        let registration = self.account.is_none().then_some(Spent::Account);
        let order = (issuance == Issuance::First).then(|| Spent::Order(names()));
        let end = match (outcome, issuance) {
            (Outcome::Issued, Issuance::First) => Spent::Certificate(names()),
            (Outcome::Issued, Issuance::Renewal) => Spent::Renewal(names()),
            (Outcome::Failed, _) => Spent::Failure(member.name()),
        };
        let account = self.account.get_or_insert_default();
        if let Some(balance) = &mut self.balance {
            for spent in registration.into_iter().chain(order).chain([end]) {
                balance.spend(account, &spent, now);
            }
        }
    }

    fn authority(&self, actor: &Actor) -> Authority {
        match (&self.balance, &actor.newest) {
            (Some(_), _) => Authority::LetsEncrypt,
            (None, Some(Ok(held))) => Authority::Other {
                lifetime: held.validity.lifetime(),
            },
            (None, _) => Authority::Other {
                lifetime: authority::LIFETIME,
            },
        }
    }
}

/// A domain, as the play goes on
pub(super) struct Member {
    pub(super) actor: Actor,
    /// Position of its CA
    pub(super) ca: usize,
    /// The limit that its order waits for, since when
    pub(super) waits: Option<(Limit, Timestamp)>,
    authority: Authority,
    /// Sorted
    names: Vec<String>,
}

impl Member {
    pub(super) fn new(actor: Actor, position: usize, ca: &Ca) -> Self {
        let names: Vec<_> = actor.domain.names().cloned().collect();
        Self {
            ca: position,
            waits: None,
            authority: ca.authority(&actor),
            names: sorted(&names),
            actor,
        }
    }

    pub(super) fn name(&self) -> String {
        self.actor.domain.name.to_string()
    }

    /// Its certificate, where it has one that can be used
    pub(super) fn held(&self) -> Option<&Held> {
        self.actor.newest.as_ref()?.as_ref().ok()
    }

    /// What is to be done for it in a run, when the next one comes at `next`
    pub(super) fn plan(&self, fraction: Fraction, now: Timestamp, next: Option<Timestamp>) -> Plan {
        let newest = self.actor.newest.as_ref();
        let subject = Subject {
            domain: &self.actor.domain,
            lineage: &self.actor.lineage,
            asks: self.actor.asks.as_ref(),
            unfit: None,
            newest: newest.map(|newest| newest.as_ref().map(Held::as_newest)),
        };
        let demand = Demand {
            urgency: Urgency::WhenDue,
            goal: Goal::Proven,
            issuer: None,
            fraction,
            next,
        };
        plan(subject, demand, now)
    }

    /// What an order of it is to its CA
    pub(super) fn issuance(&self, reason: &Due) -> Issuance {
        Issuance::of(reason, &self.actor.lineage, &self.actor.domain.issuer)
    }

    /// Asks the CA when it would have the certificate renewed, where it is time to ask
    pub(super) fn ask(&mut self, now: Timestamp, chance: &mut Rng) {
        let Some(held) = self.held() else { return };
        let (number, validity) = (held.number, held.validity);
        let generations = &mut self.actor.lineage.record.generations;
        let Some(generation) = generations.get_mut(&number) else {
            return;
        };
        let known = generation.renewal.as_ref();
        let is_valid = now < validity.not_after;
        if generation.issuer.is_some() && is_valid && renewal::may_ask(known, now) {
            let answer = suggestion(self.authority, known, &validity);
            let answer = answer.ok_or(NoSuggestion::LongTerm);
            let renewal = renewal::remember(known, answer, chance.f64(), now);
            generation.renewal = Some(renewal);
        }
    }

    /// When the certificate is renewed; `None` without one
    pub(super) fn moment(&self, fraction: Fraction) -> Option<Moment> {
        let held = self.held()?;
        let name = self.actor.domain.name.as_str();
        let record = &self.actor.lineage.record;
        let (number, validity) = (held.number, &held.validity);
        Some(due::moment(record, number, validity, fraction, name))
    }

    /// The window that the CA suggested for its certificate
    pub(super) fn window(&self) -> Option<Window> {
        self.renewal()?.window
    }

    fn renewal(&self) -> Option<&Renewal> {
        let generations = &self.actor.lineage.record.generations;
        generations.get(&self.held()?.number)?.renewal.as_ref()
    }

    /// Deploys what waited in the archive
    pub(super) fn prove(&mut self, number: u32, now: Timestamp) {
        let lineage = &mut self.actor.lineage;
        lineage.live = Some(number);
        let generations = &mut lineage.record.generations;
        let record = generations.entry(number);
        record
            .or_insert_with(|| GenerationRecord::of_unknown_origin(now))
            .proven_at = Some(now);
    }

    /// Gives the instant of the next try
    pub(super) fn fail(&mut self, now: Timestamp) -> Timestamp {
        let expires = self.held().map(|held| held.validity.not_after);
        let failures = &mut self.actor.lineage.record.order_failures;
        let failed = now.saturating_add(ORDER_TAKES).unwrap_or(now);
        failures.add("play", failed, None, "it failed in the play".to_owned());
        backoff::next_try(failures, expires, failed).unwrap_or(failed)
    }

    /// Takes a new certificate, deployed and seen served
    pub(super) fn install(&mut self, now: Timestamp, chance: &mut Rng) {
        let domain = &self.actor.domain;
        let validity = self.authority.validity(domain.profile.as_deref(), now);
        let answer = suggestion(self.authority, None, &validity);
        let record = GenerationRecord {
            issuer: Some(domain.issuer.clone()),
            profile: domain.profile.clone(),
            proven_at: Some(now),
            renewal: answer.map(|answer| renewal::remember(None, Ok(answer), chance.f64(), now)),
            ..GenerationRecord::of_unknown_origin(now)
        };
        let lineage = &mut self.actor.lineage;
        let number = lineage.newest().unwrap_or_default().saturating_add(1);
        lineage.generations = vec![number];
        lineage.live = Some(number);
        lineage.record.generations = [(number, record)].into();
        lineage.record.issuer_override = None;
        lineage.record.order_failures.clear();
        self.actor.newest = Some(Ok(Held {
            number,
            names: self.names.clone(),
            validity,
            key_type: Some(domain.key_type),
        }));
    }

    /// Ends its wait for a limit, if it waits
    pub(super) fn end_wait(&mut self, now: Timestamp) -> Option<PutOff> {
        let (limit, since) = self.waits.take()?;
        let waited = now.duration_since(since);
        Some(PutOff { limit, waited })
    }
}

/// What the CA answers: what it said before, where it is known to have said something
fn suggestion(
    authority: Authority,
    known: Option<&Renewal>,
    validity: &Validity,
) -> Option<Suggestion> {
    let said = known.and_then(|known| known.window);
    Some(Suggestion {
        window: said.or_else(|| authority.window(validity))?,
        explanation: None,
        retry_after: authority::RETRY_AFTER,
    })
}

/// Time from the beginning of a run to the failure of an order
const ORDER_TAKES: SignedDuration = SignedDuration::from_mins(1);
