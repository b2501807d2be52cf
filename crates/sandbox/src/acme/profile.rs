//! What the CA issues by which profile: those of Let's Encrypt, as they are in November 2026.

use jiff::SignedDuration;

/// Rules for one kind of certificate
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What an order asks for it by
    pub name: &'static str,
    /// What the directory says of it
    pub description: &'static str,
    /// Lifetime of certificates
    pub validity: SignedDuration,
    /// Whether the subject has a Common Name
    pub subject: Subject,
    /// How long a valid authorization is used again
    pub reuse: SignedDuration,
    /// How long an authorization may stay pending
    pub pending: SignedDuration,
    /// How long an order may take
    pub order: SignedDuration,
    /// Names in one certificate
    pub most_names: usize,
}

/// What stands in a certificate's subject
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One of the names
    CommonName,
    /// Nothing
    Empty,
}

impl Profile {
    /// The profile with this name
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.into_iter().find(|profile| profile.name == name)
    }
}

/// All profiles; the first one is for orders that ask for none
pub const PROFILES: [Profile; 3] = [
    Profile {
        name: "classic",
        description: "90 days, with a Common Name",
        validity: SignedDuration::from_hours(90 * 24),
        subject: Subject::CommonName,
        reuse: SignedDuration::from_hours(30 * 24),
        pending: SignedDuration::from_hours(7 * 24),
        order: SignedDuration::from_hours(7 * 24),
        most_names: 100,
    },
    Profile {
        name: "tlsserver",
        description: "45 days, without a Common Name",
        validity: SignedDuration::from_hours(45 * 24),
        ..SHORT
    },
    Profile {
        name: "shortlived",
        description: "160 hours, without a Common Name",
        validity: SignedDuration::from_hours(160),
        ..SHORT
    },
];

const SHORT: Profile = Profile {
    name: "",
    description: "",
    validity: SignedDuration::ZERO,
    subject: Subject::Empty,
    reuse: SignedDuration::from_hours(7),
    pending: SignedDuration::from_hours(1),
    order: SignedDuration::from_hours(8),
    most_names: 25,
};
