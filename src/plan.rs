//! What a run does for one domain, and why: pure functions of data and `now`.

use jiff::Timestamp;

use crate::chain::KeyType;
use crate::config::{Config, Domain};
use crate::store::lineage::{Generation, GenerationError, Lineage};
use crate::store::record::Asked;
use crate::time::{Fraction, Validity};

pub mod agenda;
pub mod alert;
pub mod backoff;
pub mod budget;
pub mod due;
pub mod renewal;
pub mod simulation;

pub use backoff::By;
pub use due::Due;

/// What is to be done for one domain
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// A new certificate is ordered
    Order {
        /// Why now
        reason: Due,
    },
    /// The newest generation is deployed and proven, without an order
    Deploy {
        /// Its number
        generation: u32,
    },
    /// Nothing is due: what is served is looked at, and that is all
    Confirm {
        /// The live generation
        generation: u32,
    },
    /// An order is due and must wait
    Wait {
        /// Why it is due
        reason: Due,
        /// When it may be tried
        until: Timestamp,
        /// How often it failed
        failures: u32,
        /// Whose word it waits for
        by: By,
    },
    /// An order is due, and the CA would refuse it until a person has acted
    Stop {
        /// Why it is due
        reason: Due,
    },
}

/// What is known of a domain when its plan is made
#[derive(Clone, Copy, Debug)]
pub struct Subject<'d> {
    /// Its configuration
    pub domain: &'d Domain,
    /// Its generations and record
    pub lineage: &'d Lineage,
    /// What an order would ask for now; needed only where the CA has refused one for good
    pub asks: Option<&'d Asked>,
    /// Why the newest generation is not to be deployed, whatever nginx is configured to do
    pub unfit: Option<&'d str>,
    /// The newest generation, or why its files are of no use; `None` where there is none
    pub newest: Option<Result<Newest<'d>, &'d GenerationError>>,
}

/// What a plan needs of the newest generation
#[derive(Clone, Copy, Debug)]
pub struct Newest<'g> {
    /// Its number
    pub number: u32,
    /// The names in its certificate
    pub names: &'g [String],
    /// Validity period of its certificate
    pub validity: Validity,
    /// Kind of its key; `None` for kinds that certd does not order
    pub key_type: Option<KeyType>,
}

impl<'g> From<&'g Generation> for Newest<'g> {
    fn from(generation: &'g Generation) -> Self {
        let leaf = generation.chain.leaf();
        Self {
            number: generation.number,
            names: &leaf.names,
            validity: leaf.validity,
            key_type: leaf.key_type,
        }
    }
}

/// What the operator asks for beyond the configuration
#[derive(Clone, Copy, Debug)]
pub struct Demand<'d> {
    /// Whether being due decides
    pub urgency: Urgency,
    /// What counts as done
    pub goal: Goal,
    /// Issuer of this run, against the configuration
    pub issuer: Option<&'d str>,
    /// Part of the lifetime left at which a certificate is due
    pub fraction: Fraction,
    /// When it is looked at next; `None` where nobody knows
    pub next: Option<Timestamp>,
}

/// What counts as done for the newest generation
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goal {
    /// It is live, and was seen served
    #[default]
    Proven,
    /// It is live (`--no-deploy`)
    Live,
}

/// Whether being due decides
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// An order is placed when one is due and the back-off has passed
    #[default]
    WhenDue,
    /// A person asks again after a check has failed, which cost the CA nothing: an order is placed
    /// when one is due, and of the back-off only what the CA itself named counts
    Again,
    /// `--force`: neither counts, but what the CA itself named does
    Now,
    /// `--force --skip-check budget`: nothing counts
    Regardless,
}

impl Urgency {
    /// Whether a person wants an order that is not due
    const fn is_forced(self) -> bool {
        matches!(self, Self::Now | Self::Regardless)
    }
}

/// The plan for one domain at `now`
///
/// A generation that is issued and not proven is deployed, never ordered again, even by force:
/// an order would cost the CA's budget and mend nothing. One that is unfit would break what is
/// served with each deployment: another is ordered. So it is by force where one was rolled back:
/// its own content may be what broke TLS.
pub fn plan(subject: Subject<'_>, demand: Demand<'_>, now: Timestamp) -> Plan {
    let reason = due::due(subject, demand, now);
    let generation = match (reason, subject.lineage.newest()) {
        (Some(reason), _) => return order_or_wait(reason, subject, demand, now),
        (None, None) => return order_or_wait(Due::First, subject, demand, now),
        (None, Some(newest)) => newest,
    };
    if !is_done(subject.lineage, generation, demand.goal) {
        let is_rolled_back = subject.lineage.record.rolled_back == Some(generation);
        let reason = match subject.unfit {
            Some(reason) => Due::Unfit {
                generation,
                reason: reason.to_owned(),
            },
            None if is_rolled_back && demand.urgency.is_forced() => Due::Forced,
            None => return Plan::Deploy { generation },
        };
        return order_or_wait(reason, subject, demand, now);
    }
    match demand.urgency.is_forced() {
        true => order_or_wait(Due::Forced, subject, demand, now),
        false => Plan::Confirm { generation },
    }
}

/// Whether nothing is to be done for a generation but to renew it in time
pub fn is_done(lineage: &Lineage, generation: u32, goal: Goal) -> bool {
    let proven = goal == Goal::Live || lineage.record.is_proven(generation);
    lineage.live == Some(generation) && proven
}

fn order_or_wait(reason: Due, subject: Subject<'_>, demand: Demand<'_>, now: Timestamp) -> Plan {
    let failures = &subject.lineage.record.order_failures;
    if let Some(refused) = &failures.refused
        && matches!(demand.urgency, Urgency::WhenDue | Urgency::Again)
    {
        return match subject.asks == Some(refused) {
            true => Plan::Stop { reason },
            false => Plan::Order { reason },
        };
    }
    let expires = match subject.newest {
        Some(Ok(newest)) => Some(newest.validity.not_after),
        _ => None,
    };
    let to_come = |at: Option<Timestamp>| at.filter(|at| *at > now);
    let named = to_come(backoff::named(failures, expires, now));
    let until = match demand.urgency {
        Urgency::WhenDue => to_come(backoff::next_try(failures, expires, now)),
        Urgency::Now | Urgency::Again => named,
        Urgency::Regardless => None,
    };
    match until {
        Some(until) => Plan::Wait {
            reason,
            until,
            failures: failures.count,
            by: named.map_or(By::Pause, |_| By::Ca),
        },
        None => Plan::Order { reason },
    }
}

/// What an order for a domain asks for, from this issuer
pub fn asked(config: &Config, domain: &Domain, issuer: &str, account: Option<String>) -> Asked {
    let eab = config
        .issuers
        .get(issuer)
        .and_then(|issuer| issuer.eab.as_ref());
    Asked {
        issuer: issuer.to_owned(),
        profile: domain.profile.clone(),
        names: domain.names().map(ToString::to_string).collect(),
        key_type: domain.key_type.to_string(),
        email: config.email.clone(),
        eab_kid: eab.map(|eab| eab.kid.clone()),
        account,
    }
}

#[cfg(test)]
mod tests;
