//! Which of a CA's rate limits an order would meet: token buckets, filled by time and emptied by
//! what the ledger holds.

use jiff::{SignedDuration, Timestamp};

use crate::store::ledger::{Ledger, Spent};

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

/// An order that is about to be placed
#[derive(Clone, Copy, Debug)]
pub struct Intent<'i> {
    /// Directory URL of the CA
    pub directory: &'i str,
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

/// The limits of a CA that are known
///
/// <https://letsencrypt.org/docs/rate-limits/>, as of August 2026
pub fn limits_of(directory: &str) -> Option<Limits> {
    match directory {
        "https://acme-v02.api.letsencrypt.org/directory" => Some(PRODUCTION),
        "https://acme-staging-v02.api.letsencrypt.org/directory" => Some(STAGING),
        _ => None,
    }
}

/// How much of each limit is used that an order would count for
pub fn usage(ledger: &Ledger, limits: &Limits, intent: Intent<'_>, now: Timestamp) -> Vec<Usage> {
    let entries = || {
        let at_this_ca = ledger
            .entries
            .iter()
            .filter(|entry| entry.directory == intent.directory);
        at_this_ca.filter(move |entry| entry.at <= now)
    };
    let times = |counts: &dyn Fn(&str, &Spent) -> bool| -> Vec<Timestamp> {
        let counted = entries().filter(|entry| counts(&entry.account, &entry.spent));
        counted.map(|entry| entry.at).collect()
    };
    let mut all = Vec::new();
    let mut add = |limit: Limit, of: &str, times: Vec<Timestamp>| {
        let (used, next) = drain(limit, &times, now);
        all.push(Usage {
            limit,
            of: of.to_owned(),
            used,
            next,
        });
    };
    let same = |spent: &Spent| matches!(spent, Spent::Certificate(names) | Spent::Renewal(names) if names == intent.names);
    // The ledger forgets sooner than a certificate expires, so it alone cannot tell a renewal.
    let is_renewal =
        intent.issuance == Issuance::Renewal || entries().any(|entry| same(&entry.spent));
    match intent.account {
        None => add(
            limits.accounts,
            "",
            times(&|_, spent| *spent == Spent::Account),
        ),
        Some(account) if !is_renewal => add(
            limits.orders,
            "",
            times(&|by, spent| by == account && matches!(spent, Spent::Order(_))),
        ),
        Some(_) => {}
    }
    add(limits.exact_set, "", times(&|_, spent| same(spent)));
    if !is_renewal {
        for domain in registered_domains(intent.names) {
            let counts = |_: &str, spent: &Spent| match spent {
                Spent::Certificate(names) => registered_domains(names).contains(&domain),
                _ => false,
            };
            add(limits.registered_domain, &domain, times(&counts));
        }
    }
    for name in intent.names {
        let counts = |by: &str, spent: &Spent| {
            // An account that is yet to be registered has no failures of its own.
            intent.account.is_some_and(|account| account == by)
                && matches!(spent, Spent::Failure(failed) if failed == name)
        };
        add(limits.failures, name, times(&counts));
    }
    all
}

/// Tokens used at `now`, and when the next one comes if all are
///
/// Reckoned in whole nanoseconds, so that a bucket that is full again is exactly full: `debt` is
/// how long it takes from `last` until all tokens are back.
fn drain(limit: Limit, times: &[Timestamp], now: Timestamp) -> (u32, Option<Timestamp>) {
    let whole = limit.period.as_nanos();
    let token = whole / i128::from(limit.most);
    let since = |from: Timestamp, to: Timestamp| to.duration_since(from).as_nanos();
    let mut times = times.to_vec();
    times.sort_unstable();
    let mut debt = 0;
    let mut last = Timestamp::MIN;
    for at in times {
        // A CA that gave more than its limit says does not give less for it later.
        debt = ((debt - since(last, at)).max(0) + token).min(token * i128::from(limit.most));
        last = at;
    }
    debt = (debt - since(last, now)).max(0);
    // A token that is only partly back is still used.
    let used = u32::try_from((debt + token - 1) / token).unwrap_or(limit.most);
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

/// The domains that were registered by somebody, by the public suffix list
fn registered_domains(names: &[String]) -> Vec<String> {
    let mut domains: Vec<String> = names
        .iter()
        .filter_map(|name| psl::domain_str(name))
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
