//! Which of a CA's rate limits an order would meet: token buckets, filled by time and emptied by
//! what the ledger holds.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::Due;
use crate::name::registered_domain;
use crate::store::ledger::{Entry, Ledger, Spent};
use crate::store::lineage::Lineage;

/// How much of one limit is used
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Which limit
    pub limit: Limit,
    /// What it is counted for: a name, a domain; empty for an account
    pub of: String,
    /// Tokens used, from 0 to the limit's
    pub used: u32,
    /// When there is a token again; `None` where there is one now
    pub next: Option<Timestamp>,
}

/// A rate limit of Let's Encrypt
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Stable name
    pub name: &'static str,
    /// In words, after "of"
    pub what: &'static str,
    /// Tokens in all
    pub most: u32,
    /// Time in which they all come back
    pub period: SignedDuration,
}

/// The limits of one CA
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    accounts: Limit,
    orders: Limit,
    registered_domain: Limit,
    exact_set: Limit,
    failures: Limit,
}

/// An order that is about to be placed at a CA
#[derive(Clone, Copy, Debug)]
pub struct Intent<'i> {
    /// Account URL; `None` where it would be registered first
    pub account: Option<&'i str>,
    /// Its names, sorted
    pub names: &'i [String],
    /// Whether the CA has issued for exactly these names before
    pub issuance: Issuance,
}

/// Whether a CA has issued for a set of names before
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuance {
    /// Never, as far as certd knows
    First,
    /// It has, and Let's Encrypt counts neither the order nor the registered domains
    Renewal,
}

impl Issuance {
    /// What an order from this issuer is, as its reason and the newest generation tell
    pub fn of(reason: &Due, lineage: &Lineage, issuer: &str) -> Self {
        let newest = lineage.newest();
        let newest = newest.and_then(|newest| lineage.record.generations.get(&newest));
        let found = newest.and_then(|generation| generation.issuer.as_deref());
        let is_other = found.is_some_and(|found| found != issuer);
        match reason {
            _ if is_other => Self::First,
            Due::First | Due::Names { .. } | Due::Issuer { .. } | Due::Rehearsal => Self::First,
            _ => Self::Renewal,
        }
    }
}

/// The limits of a CA that are known
///
/// <https://letsencrypt.org/docs/rate-limits/>, as of August 2026
fn limits_of(directory: &str) -> Option<Limits> {
    match directory {
        "https://acme-v02.api.letsencrypt.org/directory" => Some(PRODUCTION),
        "https://acme-staging-v02.api.letsencrypt.org/directory" => Some(STAGING),
        _ => None,
    }
}

/// The limit that leaves no room for the longest time, and when it does again; `None` where all do
pub fn blocking(usages: &[Usage]) -> Option<(&Usage, Timestamp)> {
    let blocking = usages.iter();
    let blocking = blocking.filter_map(|usage| Some((usage, usage.next?)));
    blocking.max_by_key(|(_, next)| *next)
}

/// What is used of the limits of one CA: a token bucket for each thing that it counts
///
/// Computed once from a ledger and kept up from there, so that many orders cost one look at it.
#[derive(Clone, Debug)]
pub struct Balance {
    limits: Limits,
    buckets: HashMap<Counted, Bucket>,
}

/// What a bucket counts, names sorted
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    Accounts,
    Orders {
        account: String,
    },
    ExactSet {
        names: Vec<String>,
    },
    RegisteredDomain {
        domain: String,
    },
    Failures {
        account: Option<String>,
        name: String,
    },
}

impl Balance {
    /// What a ledger says of a CA at `now`; `None` for a CA whose limits are not known
    ///
    /// What stands in the ledger after `now` was noted by a clock that was wrong, and counts for
    /// nothing.
    pub fn of(ledger: &Ledger, directory: &str, now: Timestamp) -> Option<Self> {
        let mut balance = Self {
            limits: limits_of(directory)?,
            buckets: HashMap::new(),
        };
        let entries = ledger.entries.iter();
        let counts = |entry: &&Entry| entry.directory == directory && entry.at <= now;
        let mut entries: Vec<&Entry> = entries.filter(counts).collect();
        entries.sort_by_key(|entry| entry.at);
        for entry in entries {
            balance.spend(&entry.account, &entry.spent, entry.at);
        }
        Some(balance)
    }

    /// Counts what an account spends at `now`, which is not before anything counted already
    pub fn spend(&mut self, account: &str, spent: &Spent, now: Timestamp) {
        let account = account.to_owned();
        match spent {
            Spent::Account => self.take(Counted::Accounts, now),
            Spent::Order(_) => self.take(Counted::Orders { account }, now),
            Spent::Certificate(names) => {
                for domain in registered_domains(names) {
                    self.take(Counted::RegisteredDomain { domain }, now);
                }
                let names = names.clone();
                self.take(Counted::ExactSet { names }, now);
            }
            Spent::Renewal(names) => {
                let names = names.clone();
                self.take(Counted::ExactSet { names }, now);
            }
            Spent::Failure(name) => {
                let (account, name) = (Some(account), name.clone());
                self.take(Counted::Failures { account, name }, now);
            }
        }
    }

    fn take(&mut self, counted: Counted, now: Timestamp) {
        let limit = self.limit(&counted);
        let bucket = self.buckets.entry(counted).or_default();
        bucket.take(limit, now);
    }

    const fn limit(&self, counted: &Counted) -> Limit {
        match counted {
            Counted::Accounts => self.limits.accounts,
            Counted::Orders { .. } => self.limits.orders,
            Counted::ExactSet { .. } => self.limits.exact_set,
            Counted::RegisteredDomain { .. } => self.limits.registered_domain,
            Counted::Failures { .. } => self.limits.failures,
        }
    }

    /// How much of each limit is used that an order would count for
    pub fn usage(&self, intent: Intent<'_>, now: Timestamp) -> Vec<Usage> {
        let mut all = Vec::new();
        let mut add = |of: &str, counted: Counted| {
            let limit = self.limit(&counted);
            let bucket = self.buckets.get(&counted).copied().unwrap_or_default();
            let (used, next) = bucket.used(limit, now);
            all.push(Usage {
                limit,
                of: of.to_owned(),
                used,
                next,
            });
        };
        let account = intent.account.map(ToOwned::to_owned);
        let names = intent.names.to_vec();
        let exact_set = Counted::ExactSet { names };
        // The ledger forgets sooner than a certificate expires, so it alone cannot tell a renewal.
        let is_renewal =
            intent.issuance == Issuance::Renewal || self.buckets.contains_key(&exact_set);
        match account.clone() {
            None => add("", Counted::Accounts),
            Some(account) if !is_renewal => add("", Counted::Orders { account }),
            Some(_) => {}
        }
        add("", exact_set);
        if !is_renewal {
            for domain in registered_domains(intent.names) {
                add(&domain.clone(), Counted::RegisteredDomain { domain });
            }
        }
        for name in intent.names.iter().cloned() {
            // An account that is yet to be registered has no failures of its own.
            let account = account.clone();
            add(&name.clone(), Counted::Failures { account, name });
        }
        all
    }
}

/// A token bucket: the instant at which all its tokens are back; `None` where none was ever taken
///
/// Computed in whole nanoseconds, so that a bucket that is full again is exactly full.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full: Option<i128>,
}

impl Bucket {
    fn take(&mut self, limit: Limit, now: Timestamp) {
        let (now, token) = (now.as_nanosecond(), limit.token());
        let full = self.full.map_or(now, |full| full.max(now)) + token;
        // A CA that gave more than its limit says does not give less for it later.
        self.full = Some(full.min(now + token * i128::from(limit.most)));
    }

    /// Tokens used at `now`, and when the next one comes if all are
    fn used(self, limit: Limit, now: Timestamp) -> (u32, Option<Timestamp>) {
        let token = limit.token();
        let debt = self.full.map_or(0, |full| full - now.as_nanosecond());
        // A token that is only partly back is still used.
        let used = u32::try_from((debt.max(0) + token - 1) / token).unwrap_or(limit.most);
        if used < limit.most {
            return (used, None);
        }
        let wait = debt - token * i128::from(limit.most - 1);
        let wait = SignedDuration::from_nanos(i64::try_from(wait).unwrap_or(i64::MAX));
        (
            used,
            Some(now.saturating_add(wait).unwrap_or(Timestamp::MAX)),
        )
    }
}

impl Limit {
    /// Whether it is that of all new orders of an account, whatever their names
    pub fn is_of_orders(&self) -> bool {
        self.name == PRODUCTION.orders.name
    }

    /// Time in which one token comes back, in nanoseconds
    fn token(&self) -> i128 {
        self.period.as_nanos() / i128::from(self.most)
    }
}

/// The domains that were registered by somebody, by the public suffix list
fn registered_domains(names: &[String]) -> Vec<String> {
    let mut domains: Vec<String> = names
        .iter()
        .filter_map(|name| registered_domain(name))
        .map(ToOwned::to_owned)
        .collect();
    domains.sort();
    domains.dedup();
    domains
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const THREE_HOURS: SignedDuration = SignedDuration::from_hours(3);
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
const PRODUCTION: Limits = Limits {
    accounts: Limit {
        name: "accounts",
        what: "new accounts from this address",
        most: 10,
        period: THREE_HOURS,
    },
    orders: Limit {
        name: "orders",
        what: "new orders of the account",
        most: 300,
        period: THREE_HOURS,
    },
    registered_domain: Limit {
        name: "registered_domain",
        what: "certificates for the registered domain",
        most: 50,
        period: WEEK,
    },
    exact_set: Limit {
        name: "exact_set",
        what: "certificates for exactly these names",
        most: 5,
        period: WEEK,
    },
    failures: Limit {
        name: "failures",
        what: "failed validations of the name",
        most: 5,
        period: HOUR,
    },
};
const STAGING: Limits = Limits {
    accounts: Limit {
        most: 50,
        ..PRODUCTION.accounts
    },
    orders: Limit {
        most: 1500,
        ..PRODUCTION.orders
    },
    registered_domain: Limit {
        most: 30_000,
        period: SignedDuration::from_secs(1),
        ..PRODUCTION.registered_domain
    },
    exact_set: Limit {
        most: 30_000,
        ..PRODUCTION.exact_set
    },
    failures: Limit {
        most: 200,
        ..PRODUCTION.failures
    },
};

#[cfg(test)]
mod tests;
