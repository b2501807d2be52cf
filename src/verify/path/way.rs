//! The certificates of a chain by which its leaf leads up.

use webpki::VerifiedPath;

use super::Trust;
use crate::chain::{Certificate, Chain};

/// The leaf of a chain and the certificates above it that make one path
#[derive(Clone, Debug)]
pub struct Way<'c> {
    /// The chain
    pub chain: &'c Chain,
    /// Places in [`Chain::above`], from the leaf's issuer up
    pub places: Vec<usize>,
}

impl<'c> Way<'c> {
    /// The leaf alone, whatever came with it
    pub(in crate::verify) const fn of_leaf(chain: &'c Chain) -> Self {
        Self {
            chain,
            places: Vec::new(),
        }
    }

    /// The way that the verifier took
    pub(super) fn of(chain: &'c Chain, path: &VerifiedPath<'_>) -> Self {
        let places = path.intermediate_certificates().filter_map(|certificate| {
            let mut above = chain.above().iter();
            above.position(|above| above.der == certificate.der().as_ref())
        });
        Self {
            chain,
            places: places.collect(),
        }
    }

    /// The way that comes nearest to a root, by the names of issuers alone
    pub(super) fn likely(chain: &'c Chain, trust: &Trust) -> Self {
        let mut places = Vec::new();
        let mut steps = MOST_STEPS;
        let is_found = climb(chain, trust, chain.leaf(), &mut places, &mut steps);
        Self {
            places: match is_found {
                true => places,
                false => chain.linked_places(),
            },
            chain,
        }
    }

    /// The certificates above the leaf, its issuer first
    pub fn above(&self) -> impl Iterator<Item = &'c Certificate> {
        let above = self.chain.above();
        self.places.iter().map(move |place| &above[*place])
    }

    /// The leaf and what is above it
    pub fn certificates(&self) -> impl Iterator<Item = &'c Certificate> {
        std::iter::once(self.chain.leaf()).chain(self.above())
    }

    /// The last of them
    pub fn top(&self) -> &'c Certificate {
        self.above().last().unwrap_or_else(|| self.chain.leaf())
    }
}

/// Looks for a way from `top` to the name of a root, depth first
///
/// A CA that was sent and has the name of its root stands between the two.
fn climb(
    chain: &Chain,
    trust: &Trust,
    top: &Certificate,
    places: &mut Vec<usize>,
    steps: &mut usize,
) -> bool {
    let is_found = trust.named(top).next().is_some();
    for (place, above) in chain.above().iter().enumerate() {
        if above.subject_der != top.issuer_der || places.contains(&place) || *steps == 0 {
            continue;
        }
        if is_found && (is_trusted(above, trust) || trust.is_root(above)) {
            continue;
        }
        *steps -= 1;
        places.push(place);
        if climb(chain, trust, above, places, steps) {
            return true;
        }
        places.pop();
    }
    is_found
}

/// Whether it has the key of a root, which signs for itself then
fn is_trusted(certificate: &Certificate, trust: &Trust) -> bool {
    let mut known = trust.known.iter();
    known.any(|root| root.certificate.public_key == certificate.public_key)
}

/// Certificates that are tried: a chain of sixteen of one name has more ways than anybody counts
const MOST_STEPS: usize = 100;
