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

    /// The way that comes nearest to a root: by signatures, or else by the names of issuers alone
    pub(super) fn likely(chain: &'c Chain, trust: &Trust) -> Self {
        let all = [Link::Signature, Link::Name];
        let found = all.into_iter().find_map(|link| {
            let mut places = Vec::new();
            let mut climb = Climb {
                chain,
                trust,
                link,
                steps: MOST_STEPS,
            };
            climb.from(chain.leaf(), &mut places).then_some(places)
        });
        Self {
            places: found.unwrap_or_else(|| chain.linked_places()),
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

/// What makes a certificate the issuer of another
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Its name, and that its key has signed
    Signature,
    /// Its name alone
    Name,
}

/// A search for a way to the name of a root, depth first
struct Climb<'c, 't> {
    chain: &'c Chain,
    trust: &'t Trust,
    link: Link,
    /// Certificates that may still be tried
    steps: usize,
}

impl Climb<'_, '_> {
    /// A CA that was sent and has the name of its root stands between the two.
    fn from(&mut self, top: &Certificate, places: &mut Vec<usize>) -> bool {
        let (chain, trust, link) = (self.chain, self.trust, self.link);
        let is_found = match link {
            Link::Signature => trust.named(top).any(|root| trust.has_signed(root, top)),
            Link::Name => trust.named(top).next().is_some(),
        };
        for (has_signed, place) in self.issuers(top) {
            let above = &chain.above()[place];
            if places.contains(&place) || self.steps == 0 {
                continue;
            }
            if is_found && (is_trusted(above, trust) || trust.is_root(above)) {
                continue;
            }
            self.steps -= 1;
            if link == Link::Signature && !has_signed {
                continue;
            }
            places.push(place);
            if self.from(above, places) {
                return true;
            }
            places.pop();
        }
        is_found
    }

    /// The certificates that bear the name of an issuer, those that have signed first, and whether
    /// they have
    fn issuers(&self, top: &Certificate) -> Vec<(bool, usize)> {
        let above = self.chain.above().iter().enumerate();
        let named = above.filter(|(_, above)| above.subject_der == top.issuer_der);
        let mut issuers: Vec<_> = named
            .map(|(place, above)| (self.trust.has_signed(above, top), place))
            .collect();
        issuers.sort_by_key(|(has_signed, _)| !has_signed);
        issuers
    }
}

/// Whether it has the key of a root, which signs for itself then
fn is_trusted(certificate: &Certificate, trust: &Trust) -> bool {
    let mut known = trust.known.iter();
    known.any(|root| root.certificate.public_key == certificate.public_key)
}

/// Certificates that are tried: a chain of sixteen of one name has more ways than anybody counts
const MOST_STEPS: usize = 100;
