//! Whether a new certificate is due, and the reason in words.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::renewal::{self, Moment};
use super::{Demand, Newest, Subject};
use crate::chain::{Fingerprint, KeyType};
use crate::name::DnsName;
use crate::store::record::Record;
use crate::time::{Fraction, Validity, display, in_words};

/// Why a certificate is ordered
#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// The domain has none yet
    First,
    /// The newest generation's files are missing or do not belong together
    Damaged {
        /// What is wrong with them
        reason: String,
    },
    /// The newest generation must not be deployed
    Unfit {
        /// Its number
        generation: u32,
        /// Why
        reason: String,
    },
    /// The names in domains.toml are not those of the certificate
    Names {
        /// Names that the certificate lacks
        added: Vec<String>,
        /// Names that domains.toml no longer lists
        removed: Vec<String>,
    },
    /// `key_type` was changed
    KeyType {
        /// What domains.toml asks for
        wanted: KeyType,
    },
    /// `profile` was changed
    Profile {
        /// What domains.toml asks for; `None` for the CA's default
        wanted: Option<String>,
    },
    /// Another issuer is wanted
    Issuer {
        /// Who issued the newest generation
        found: String,
        /// Who should
        wanted: String,
    },
    /// It has expired
    Expired {
        /// How long ago
        ago: SignedDuration,
    },
    /// Little life is left
    Lifetime {
        /// How much
        left: SignedDuration,
    },
    /// The CA would have it renewed now
    Suggested {
        /// When its window ends
        until: Timestamp,
        /// A page that says why
        explanation: Option<String>,
    },
    /// The operator asked for it
    Forced,
    /// The operator asked for a rehearsal
    Rehearsal,
}

/// Why the subject's newest generation must be replaced; `None` if it need not be
pub fn due(subject: Subject<'_>, demand: Demand<'_>, now: Timestamp) -> Option<Due> {
    let newest = match subject.newest? {
        Ok(newest) => newest,
        Err(error) => {
            return Some(Due::Damaged {
                reason: error.to_string(),
            });
        }
    };
    names(subject, newest)
        .or_else(|| expired(&newest.validity, now))
        .or_else(|| moment_has_come(subject, demand, newest, now))
        .or_else(|| key_type(subject, newest))
        .or_else(|| issuer(subject, demand, newest.number))
        .or_else(|| profile(subject, newest.number))
}

fn names(subject: Subject<'_>, newest: Newest<'_>) -> Option<Due> {
    let lists = |name: &DnsName| {
        let mut listed = newest.names.iter();
        listed.any(|listed| listed.eq_ignore_ascii_case(name.as_str()))
    };
    let added: Vec<String> = subject
        .domain
        .names()
        .filter(|name| !lists(name))
        .map(ToString::to_string)
        .collect();
    let removed: Vec<String> = newest
        .names
        .iter()
        .filter(|listed| {
            !subject
                .domain
                .names()
                .any(|name| listed.eq_ignore_ascii_case(name.as_str()))
        })
        .cloned()
        .collect();
    (!added.is_empty() || !removed.is_empty()).then_some(Due::Names { added, removed })
}

fn expired(validity: &Validity, now: Timestamp) -> Option<Due> {
    let left = validity.remaining(now);
    (left <= SignedDuration::ZERO).then_some(Due::Expired { ago: left })
}

fn moment_has_come(
    subject: Subject<'_>,
    demand: Demand<'_>,
    newest: Newest<'_>,
    now: Timestamp,
) -> Option<Due> {
    let (name, validity) = (subject.domain.name.as_str(), &newest.validity);
    let record = &subject.lineage.record;
    let moment = moment(record, newest.number, validity, demand.fraction, name);
    if !moment.has_come(now, demand.next) {
        return None;
    }
    Some(match moment {
        Moment::Suggested { window, .. } => Due::Suggested {
            until: window.end,
            explanation: record
                .generations
                .get(&newest.number)
                .and_then(|generation| generation.renewal.as_ref()?.explanation.clone()),
        },
        Moment::Lifetime { .. } | Moment::Emergency { .. } => Due::Lifetime {
            left: validity.remaining(now),
        },
    })
}

/// When the newest certificate of a domain, with this number and validity, is renewed
///
/// One that is young is replaced for its CA's wish at once (the CA may be about to revoke it), but
/// not again and again: a CA whose windows are always past would get an order with each look, and
/// Let's Encrypt issues five a week for the same names.
#[must_use]
pub fn moment(
    record: &Record,
    number: u32,
    validity: &Validity,
    fraction: Fraction,
    domain: &str,
) -> Moment {
    // A number of its own for each domain, and the same on every host.
    let digest = Fingerprint::of(domain.as_bytes()).to_string();
    let seed = u64::from_str_radix(&digest[..16.min(digest.len())], 16).unwrap_or_default();
    let generation = record.generations.get(&number);
    let renewal = generation.and_then(|generation| generation.renewal.as_ref());
    let rests = rests_until(record, number, validity);
    renewal::moment(renewal, validity, fraction, seed).not_before(rests)
}

/// The end of a certificate's youth, a tenth of its life or 36 hours, where it took the place of a
/// young one for its CA's wish already
fn rests_until(record: &Record, number: u32, validity: &Validity) -> Option<Timestamp> {
    let youth = (validity.lifetime() / 10).min(SignedDuration::from_hours(36));
    let issued = record.generations.get(&number)?.issued_at;
    let (_, before) = record.generations.range(..number).next_back()?;
    let wished = before.renewal.as_ref().and_then(|renewal| renewal.instant);
    let is_crowded = wished.is_some_and(|at| at <= issued)
        && issued.duration_since(before.issued_at) < youth * CROWDED;
    is_crowded
        .then(|| validity.not_before.saturating_add(youth).ok())
        .flatten()
}

/// Youths within which no second certificate is replaced for its CA's wish
const CROWDED: i32 = 4;

fn key_type(subject: Subject<'_>, newest: Newest<'_>) -> Option<Due> {
    let wanted = subject.domain.key_type;
    (newest.key_type != Some(wanted)).then_some(Due::KeyType { wanted })
}

fn issuer(subject: Subject<'_>, demand: Demand<'_>, number: u32) -> Option<Due> {
    // Without a record nobody knows who issued it, and that alone is no reason to order.
    let record = &subject.lineage.record;
    let found = record.generations.get(&number)?.issuer.as_deref()?;
    let wanted = demand.issuer.unwrap_or(&subject.domain.issuer);
    let accepted = demand
        .issuer
        .is_none()
        .then_some(record.issuer_override.as_deref())
        .flatten();
    (found != wanted && Some(found) != accepted).then(|| Due::Issuer {
        found: found.to_owned(),
        wanted: wanted.to_owned(),
    })
}

fn profile(subject: Subject<'_>, number: u32) -> Option<Due> {
    let generation = subject.lineage.record.generations.get(&number)?;
    // Without an issuer the profile is as unknown.
    generation.issuer.as_ref()?;
    let wanted = &subject.domain.profile;
    (generation.profile != *wanted).then(|| Due::Profile {
        wanted: wanted.clone(),
    })
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("no certificate yet"),
            Self::Damaged { reason } => write!(f, "the files are damaged: {reason}"),
            Self::Unfit { generation, reason } => {
                write!(f, "generation {generation} is unfit: {reason}")
            }
            Self::Names { added, removed } => {
                f.write_str("names changed:")?;
                for name in added {
                    write!(f, " +{name}")?;
                }
                for name in removed {
                    write!(f, " -{name}")?;
                }
                Ok(())
            }
            Self::KeyType { wanted } => write!(f, "key type changed to {wanted}"),
            Self::Profile {
                wanted: Some(wanted),
            } => write!(f, "profile changed to {wanted}"),
            Self::Profile { wanted: None } => f.write_str("profile removed"),
            Self::Issuer { found, wanted } => write!(f, "issuer changed from {found} to {wanted}"),
            Self::Expired { ago } => write!(f, "expired {} ago", in_words(*ago)),
            Self::Lifetime { left } => write!(f, "{} left", in_words(*left)),
            Self::Suggested { until, explanation } => {
                write!(f, "the CA asks for it before {}", display(*until))?;
                match explanation {
                    Some(url) => write!(f, ", see {url}"),
                    None => Ok(()),
                }
            }
            Self::Rehearsal => f.write_str("a rehearsal"),
            Self::Forced => f.write_str("asked for with --force"),
        }
    }
}
