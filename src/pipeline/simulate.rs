//! `certd renew --simulate`: what is configured and installed, played forward. No lock, no network.

use jiff::{SignedDuration, Timestamp};

use super::{account_url, budget};
use crate::config::{Config, Domain};
use crate::finding::{Finding, chain_of_causes};
use crate::name::DnsName;
use crate::plan;
use crate::plan::simulation::{Actor, Held, Play};
use crate::report::simulation::{Cast, Played};
use crate::store::Store;
use crate::store::ledger::Ledger;
use crate::store::lineage::Lineage;
use crate::store::record::Record;
use crate::time::schedule::Schedule;

/// What is asked of a play beyond the configuration
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// When it begins
    pub from: Timestamp,
    /// How long it lasts
    pub span: SignedDuration,
    /// Part of the orders that fail, from 0.0 to 1.0
    pub failure_rate: f64,
    /// Where chance begins
    pub seed: u64,
    /// How many domains are made up, in place of those of the configuration
    pub made_up: Option<usize>,
}

/// A play that is ready, what to say of it, and what stood in its way
#[derive(Debug)]
pub struct Scene {
    /// The play
    pub play: Play,
    /// What is played
    pub played: Played,
    /// Why a domain could not take part, or the play tells less than it could
    pub findings: Vec<Finding>,
}

/// The play of these domains, or of made-up ones that are like the first of them
///
/// Reads certificates and records, and no key. A domain that cannot be read takes no part:
/// `certd renew` would do nothing for it either.
pub fn scene(
    config: &Config,
    store: &Store,
    schedule: &Schedule,
    domains: &[&Domain],
    wish: Wish,
) -> Scene {
    let mut findings = Vec::new();
    let (cast, actors, ledger) = match (wish.made_up, domains) {
        (Some(count), [like, ..]) => {
            let actors = made_up(config, like, count).collect();
            (Cast::MadeUp, actors, Ledger::default())
        }
        _ => {
            let actors = all_configured(config, store, domains, &mut findings);
            let ledger = store.ledger().unwrap_or_else(|error| {
                findings.push(budget::unknown(&error));
                Ledger::default()
            });
            (Cast::Configured, actors, ledger)
        }
    };
    let Wish {
        from,
        failure_rate,
        seed,
        ..
    } = wish;
    let until = from.saturating_add(wish.span).unwrap_or(Timestamp::MAX);
    Scene {
        findings,
        played: Played {
            domains: actors.len(),
            cast,
            from,
            until,
            failure_rate,
            seed,
        },
        play: Play {
            from,
            until,
            schedule: schedule.clone(),
            fraction: config.renewal_fraction,
            ledger,
            failure_rate,
            seed,
            actors,
        },
    }
}

/// The domains that can be read
fn all_configured(
    config: &Config,
    store: &Store,
    domains: &[&Domain],
    findings: &mut Vec<Finding>,
) -> Vec<Actor> {
    let actors = domains.iter().filter_map(|domain| {
        let actor = configured(config, store, domain);
        actor.map_err(|finding| findings.push(finding)).ok()
    });
    actors.collect()
}

/// A domain as it stands on disk
fn configured(config: &Config, store: &Store, domain: &Domain) -> Result<Actor, Finding> {
    let lineage = store.lineage(&domain.name);
    let lineage = lineage.map_err(|error| Finding::from_error(&error))?;
    let newest = lineage.newest();
    let newest = newest.map(|number| store.certificate(&domain.name, number));
    if let Some(Err(error)) = &newest
        && error.is_unreadable()
    {
        let finding = Finding::failure("store.unreadable", chain_of_causes(error));
        return Err(finding.with_cure("run certd as the owner of the storage, or as root"));
    }
    let account = account_url(config, store, &domain.issuer);
    let is_refused = lineage.record.order_failures.refused.is_some();
    let asks = || plan::asked(config, domain, &domain.issuer, account.clone());
    Ok(Actor {
        asks: is_refused.then(asks),
        newest: newest.map(|newest| newest.map(|generation| Held::from(&generation))),
        lineage,
        ..actor(config, domain.clone(), account.clone())
    })
}

/// So many domains without a certificate, each registered by somebody of its own
fn made_up(config: &Config, like: &Domain, count: usize) -> impl Iterator<Item = Actor> {
    let width = count.to_string().len();
    (1..=count).filter_map(move |number| {
        // A name that nobody can have (RFC 2606).
        let name = DnsName::parse(&format!("d{number:0width$}.example")).ok()?;
        let domain = Domain {
            name,
            aliases: Vec::new(),
            ..like.clone()
        };
        Some(actor(config, domain, None))
    })
}

/// A domain of which nothing is installed
fn actor(config: &Config, domain: Domain, account: Option<String>) -> Actor {
    let issuer = config.issuers.get(&domain.issuer);
    Actor {
        directory: issuer
            .map(|issuer| issuer.directory.clone())
            .unwrap_or_default(),
        account,
        asks: None,
        lineage: Lineage {
            name: domain.name.clone(),
            generations: Vec::new(),
            live: None,
            record: Record::default(),
        },
        newest: None,
        domain,
    }
}
