//! What a certificate above a leaf says of itself that lets no path lead over it.

use super::Way;
use crate::chain::{Basic, Certificate, CriticalKind, NameLimits, is_within};

/// Why no path leads over a certificate
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is no CA
    NoAuthority,
    /// More CAs stand below it than it allows
    PathLength {
        /// As many as there may be
        allowed: u32,
        /// As many as there are
        found: usize,
    },
    /// It has a critical extension that the verifier does not know
    Critical {
        /// Which
        identifier: String,
        /// Of which kind
        kind: CriticalKind,
    },
    /// It may not issue for a name of the leaf
    Forbids(String),
}

/// The first certificate above the leaf with such a flaw
pub(super) fn above_the_leaf<'c>(way: &Way<'c>) -> Option<(&'c Certificate, Flaw)> {
    let mut above = way.above().enumerate();
    above.find_map(|(below, certificate)| Some((certificate, of(certificate, below)?)))
}

/// The flaw of a certificate with so many CAs below it
pub(super) fn of(certificate: &Certificate, below: usize) -> Option<Flaw> {
    if let Some(critical) = certificate
        .critical
        .as_ref()
        .filter(|found| !found.kind.is_read())
    {
        return Some(Flaw::Critical {
            identifier: critical.identifier.clone(),
            kind: critical.kind,
        });
    }
    if certificate.malformed.is_some() {
        // It is told as that, wherever the way leads.
        return None;
    }
    let Basic::Authority { path_length } = certificate.basic else {
        return Some(Flaw::NoAuthority);
    };
    let allowed =
        path_length.filter(|allowed| below > usize::try_from(*allowed).unwrap_or(below))?;
    Some(Flaw::PathLength {
        allowed,
        found: below,
    })
}

/// A name of the leaf for which this CA may not issue
///
/// An address counts where addresses are limited at all: the verifier has found it outside.
pub(super) fn forbidden_name(above: &Certificate, names: &[String]) -> Option<String> {
    let limits = above.name_limits.as_ref()?;
    let mut names = names.iter();
    names.find(|name| is_forbidden(limits, name)).cloned()
}

/// A subject below this CA that both browsers find outside of its name constraints
///
/// Chrome passes over an empty subject beside a SAN, and Firefox refuses every name where any is
/// excluded: where the two differ nothing is said.
pub(super) fn forbidden_subject<'c>(
    above: &Certificate,
    mut below: impl Iterator<Item = &'c Certificate>,
) -> Option<String> {
    let limits = above.name_limits.as_ref()?;
    let outside = below.find(|certificate| {
        let is_within = |base: &Vec<u8>| is_within(&certificate.subject_der, base);
        let permitted = &limits.permitted_subjects;
        let is_permitted = permitted.is_empty() || permitted.iter().any(is_within);
        !certificate.subject.is_empty()
            && (!is_permitted || limits.excluded_subjects.iter().any(is_within))
    })?;
    Some(outside.subject.clone())
}

fn is_forbidden(limits: &NameLimits, name: &str) -> bool {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return limits.limits_addresses;
    }
    let absolute = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let name = absolute(name);
    let is_permitted = |base: &String| is_below(&name, &absolute(base));
    let is_excluded = |base: &String| {
        let base = absolute(base);
        is_below(&name, &base) || covers_one_below(&name, &base)
    };
    let permitted = &limits.permitted;
    let is_free = permitted.is_empty() || permitted.iter().any(is_permitted);
    !is_free || limits.excluded.iter().any(is_excluded)
}

/// Whether a name lies below a base, or is it: a dot before the base lets subdomains alone in, as
/// Chrome and the verifier read it
fn is_below(name: &str, base: &str) -> bool {
    match name.strip_suffix(base) {
        None => false,
        Some("") => true,
        Some(before) => base.is_empty() || base.starts_with('.') || before.ends_with('.'),
    }
}

/// Whether a wildcard stands for the base, among other names
fn covers_one_below(name: &str, base: &str) -> bool {
    let parent = base.split_once('.').map(|(_, parent)| parent);
    name.strip_prefix("*.")
        .is_some_and(|below| Some(below) == parent)
}
