//! Whether the certificates of a chain have signed each other, whoever trusts them.

use super::{Trust, read_error};
use crate::chain::{Certificate, Chain, KeyKind, Standing, is_same};

/// A certificate of a chain that no issuer of those that came with it has signed, and one of these:
/// the chain was damaged on its way, or is mixed from two
///
/// `None` where there is a way up on which all have signed, to a root that is trusted or as far as
/// certificates came; a key or a signature that certd cannot judge counts as good.
pub fn unsigned<'c>(chain: &'c Chain, trust: &Trust) -> Option<(&'c Certificate, &'c Certificate)> {
    let mut climb = Climb {
        chain,
        trust,
        seen: vec![false; chain.above().len()],
        broken: None,
    };
    match climb.is_sound(chain.leaf()) {
        true => None,
        false => climb.broken,
    }
}

/// A search for a way up, depth first; each certificate is tried once
struct Climb<'c, 't> {
    chain: &'c Chain,
    trust: &'t Trust,
    seen: Vec<bool>,
    /// The first link that does not hold
    broken: Option<(&'c Certificate, &'c Certificate)>,
}

impl<'c> Climb<'c, '_> {
    fn is_sound(&mut self, below: &'c Certificate) -> bool {
        let trust = self.trust;
        let is_by_root =
            |trust: &Trust| trust.named(below).any(|root| trust.has_signed(root, below));
        let mut sent = false;
        for (place, issuer) in self.chain.above().iter().enumerate() {
            if below.is_self_issued() || !is_same(&issuer.subject_der, &below.issuer_der) {
                continue;
            }
            sent = true;
            if self.seen[place] {
                continue;
            }
            if may_have_signed(trust, issuer, below) {
                self.seen[place] = true;
                if self.is_sound(issuer) {
                    return true;
                }
            } else {
                self.broken.get_or_insert((below, issuer));
            }
        }
        !sent || is_by_root(trust)
    }
}

/// Whether a certificate is signed with the key of another, as far as that can be judged
pub(super) fn may_have_signed(trust: &Trust, issuer: &Certificate, below: &Certificate) -> bool {
    let is_judged = below.signature.standing == Standing::Taken
        && issuer.key != KeyKind::Other
        && !issuer.key.is_weak()
        && !issuer.key.is_large()
        && read_error(issuer).is_none();
    !is_judged || trust.has_signed(issuer, below)
}
