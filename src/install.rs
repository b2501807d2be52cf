//! From what the CA sent to a generation: looked at closely before anything is touched.

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::chain::{self, Chain, ChainError, KeyError};
use crate::finding::Explain;
use crate::name::DnsName;
use crate::time::display;

/// The chain in `chain_pem`, found fit for these names and this key
///
/// # Errors
/// [`Unfit`] with the first thing that is wrong. Nothing was written: the chain is dropped.
pub fn inspect(
    chain_pem: &str,
    key_pem: &str,
    names: &[DnsName],
    now: Timestamp,
) -> Result<Chain, Unfit> {
    let chain = Chain::from_pem(chain_pem.as_bytes())?;
    let leaf = chain.leaf();
    if leaf.public_key != chain::public_key_of(key_pem.as_bytes())? {
        return Err(Unfit::OtherKey);
    }
    if let Some(missing) = names.iter().find(|name| !leaf.lists(name)) {
        return Err(Unfit::MissingName {
            missing: missing.clone(),
            found: leaf.names.join(", "),
        });
    }
    let validity = leaf.validity;
    if validity.not_before > now.saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX) {
        return Err(Unfit::NotYetValid {
            from: validity.not_before,
            now,
        });
    }
    if validity.not_after <= now || validity.lifetime() <= SignedDuration::ZERO {
        return Err(Unfit::Expired {
            until: validity.not_after,
            now,
        });
    }
    Ok(chain)
}

/// Why a chain that the CA sent is not installed
#[derive(Debug, Error)]
pub enum Unfit {
    /// It does not parse
    #[error("the CA sent no usable chain")]
    Chain(#[from] ChainError),
    /// The fresh key cannot be read back
    #[error("the fresh key cannot be read")]
    Key(#[from] KeyError),
    /// It certifies another key
    #[error("the CA sent a certificate for another key")]
    OtherKey,
    /// A name is not in it
    #[error("the certificate lacks {missing}, it lists {found}")]
    MissingName {
        /// The name that was ordered
        missing: DnsName,
        /// The names in it
        found: String,
    },
    /// Its validity lies in the future
    #[error("the certificate is valid from {} only, now is {}", display(*from), display(*now))]
    NotYetValid {
        /// Start of its validity
        from: Timestamp,
        /// This host's clock
        now: Timestamp,
    },
    /// Browsers refuse it for what it says of itself
    #[error("browsers refuse the certificate that the CA sent: {reason}")]
    RefusedByBrowsers {
        /// What is wrong with it
        reason: String,
    },
    /// It came without the certificate of its issuer, which the CA sent with the last one
    #[error("the CA sent the certificate alone, without that of its issuer: {missing}")]
    Incomplete {
        /// That issuer
        missing: String,
    },
    /// As [`Self::Incomplete`], and there was none before that it could be worse than
    #[error("the CA sent the certificate alone, without that of its issuer: {missing}")]
    Alone {
        /// That issuer
        missing: String,
    },
    /// This host trusts the last one of that CA, and not this one
    #[error(
        "this host does not trust the certificate that the CA sent, as it does the one that is live: {reason}"
    )]
    Untrusted {
        /// The domain
        domain: DnsName,
        /// Why
        reason: String,
        /// When one is taken all the same, for what is live ends soon
        until: Timestamp,
    },
    /// It is over already
    #[error("the certificate expired at {}, now is {}", display(*until), display(*now))]
    Expired {
        /// End of its validity
        until: Timestamp,
        /// This host's clock
        now: Timestamp,
    },
}

impl Explain for Unfit {
    fn code(&self) -> &'static str {
        match self {
            Self::Chain(_) | Self::Key(_) => "install.unreadable",
            Self::OtherKey => "install.other_key",
            Self::MissingName { .. } => "install.missing_name",
            Self::NotYetValid { .. } => "install.not_yet_valid",
            Self::Expired { .. } => "install.expired",
            Self::RefusedByBrowsers { .. } => "install.refused_by_browsers",
            Self::Incomplete { .. } | Self::Alone { .. } => "install.incomplete_chain",
            Self::Untrusted { .. } => "install.untrusted",
        }
    }

    fn cure(&self) -> Option<String> {
        let cure = match self {
            Self::NotYetValid { .. } | Self::Expired { .. } => {
                "is this host's clock right? See: timedatectl"
            }
            Self::RefusedByBrowsers { .. } => {
                "nothing was installed; if it happens again, tell the CA, or set another `profile` or `issuer`"
            }
            Self::Incomplete { .. } => {
                "nothing was installed; if it happens again, tell the CA. Where its root signs directly, name that in `[verify] trust`"
            }
            Self::Alone { .. } => {
                "it is live, for there was none before, and many clients refuse it; `certd obtain --force` orders another. If that comes alone too, tell the CA"
            }
            Self::Untrusted { domain, until, .. } => {
                return Some(format!(
                    "what is live stays. The CA may have a new root: update ca-certificates on this host, or name that root in `[verify] trust`; then run `certd obtain --force {domain}`. From {} on one is taken as it comes, for what is live ends",
                    display(*until)
                ));
            }
            _ => "nothing was installed; if it happens again, tell the CA",
        };
        Some(cure.to_owned())
    }
}

/// A CA dates certificates back by up to an hour, and clocks differ by seconds, not more.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn issued(names: &[&str], from: i32, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn only_a_fit_chain_is_accepted() {
        let names = ["a.test", "www.a.test"].map(|name| DnsName::parse(name).unwrap());
        let now = "2027-06-01T00:00:00Z".parse().unwrap();
        let code = |chain: &str, key: &str| {
            inspect(chain, key, &names, now)
                .err()
                .map(|unfit| unfit.code())
        };
        let (good, key) = issued(&["a.test", "www.a.test"], 2027, 2028);
        let (other, other_key) = issued(&["a.test"], 2027, 2028);
        assert_eq!(code(&good, &key), None);
        assert_eq!(code(&good, &other_key), Some("install.other_key"));
        assert_eq!(code(&other, &other_key), Some("install.missing_name"));
        assert_eq!(code("", &key), Some("install.unreadable"));
        assert_eq!(code("no PEM", &key), Some("install.unreadable"));
        let (future, key) = issued(&["a.test", "www.a.test"], 2028, 2029);
        assert_eq!(code(&future, &key), Some("install.not_yet_valid"));
        let (past, key) = issued(&["a.test", "www.a.test"], 2025, 2026);
        assert_eq!(code(&past, &key), Some("install.expired"));
        let (reversed, key) = issued(&["a.test", "www.a.test"], 2027, 2026);
        assert_eq!(code(&reversed, &key), Some("install.expired"));
    }
}
