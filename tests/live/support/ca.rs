//! The CA of a test: Pebble, whose bugs are not ours, or the sandbox, which can do more.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use certd_sandbox::acme::Reuse;

use super::dns::Dns;
use super::pebble::Pebble;
use super::sandbox::Sandbox;

/// Which CA a test is played with
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The CA for tests by Let's Encrypt
    Pebble,
    /// `certd_sandbox::acme`
    Sandbox,
}

/// Every kind
pub(crate) const KINDS: [Kind; 2] = [Kind::Pebble, Kind::Sandbox];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pebble => "pebble",
            Self::Sandbox => "sandbox",
        })
    }
}

/// How a CA behaves
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Share of good nonces that are refused, in percent: Pebble draws lots, the sandbox counts
    pub(crate) nonce_reject: u8,
    /// Whether a new order takes over valid authorizations; Pebble does for 1 % even if it is not to
    pub(crate) authz_reuse: Reuse,
    /// Pause before a validation, in seconds, on average half of this; `None` is no pause
    pub(crate) sleep: Option<u32>,
    /// What a new account must present
    pub(crate) accounts: Accounts,
    /// Port at which HTTP-01 tokens are asked for: the one that nginx's port 80 is published at
    pub(crate) http_port: u16,
    /// How long certificates are valid from now on; `None` is 90 days
    pub(crate) validity: Option<Duration>,
}

/// What a new account must present
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accounts {
    /// Nothing
    Open,
    /// An external account binding: [`EAB_KID`] and [`EAB_HMAC`]
    Bound,
}

impl Options {
    /// Some nonces are refused, every name is validated anew, without pauses, at `http_port`
    pub(crate) fn new(http_port: u16) -> Self {
        Self {
            nonce_reject: 5,
            authz_reuse: Reuse::Never,
            sleep: None,
            accounts: Accounts::Open,
            http_port,
            validity: None,
        }
    }
}

/// A running CA
#[derive(Debug)]
pub(crate) enum Ca {
    /// In a process of its own
    Pebble(Pebble),
    /// In this one
    Sandbox(Sandbox),
}

/// Asks whichever CA it is the same
macro_rules! either {
    ($ca:expr, $running:ident => $answer:expr) => {
        match $ca {
            Ca::Pebble($running) => $answer,
            Ca::Sandbox($running) => $answer,
        }
    };
}

impl Ca {
    /// Starts a CA that resolves names by this DNS server, and waits for it to answer
    pub(crate) fn start(kind: Kind, dns: &Dns, options: Options) -> Self {
        match kind {
            Kind::Pebble => Self::Pebble(Pebble::start(dns, options)),
            Kind::Sandbox => Self::Sandbox(Sandbox::start(dns.address(), options)),
        }
    }

    /// Ends it and starts it at the same URL: accounts, orders, counts and root are new ones
    pub(crate) fn restart(&mut self) {
        either!(self, ca => ca.restart());
    }

    /// The port of its API
    pub(crate) fn port(&self) -> u16 {
        either!(self, ca => ca.port())
    }

    /// The directory URL, at `localhost`
    pub(crate) fn directory_url(&self) -> String {
        either!(self, ca => ca.directory_url())
    }

    /// A file with the CA that its API is trusted by, as `[issuers.NAME] trust` wants it
    pub(crate) fn trust_pem_path(&self) -> PathBuf {
        either!(self, ca => ca.trust_pem_path())
    }

    /// A file with the root of the certificates that it issues, as `[verify] trust` wants it
    pub(crate) fn root_path(&self) -> PathBuf {
        either!(self, ca => ca.root_path())
    }

    /// How many intermediates follow a certificate
    pub(crate) fn intermediates(&self) -> usize {
        match self {
            Self::Pebble(_) => 1,
            Self::Sandbox(_) => 2,
        }
    }

    /// What the URL of its terms of service begins with
    pub(crate) fn terms(&self) -> &'static str {
        match self {
            Self::Pebble(_) => "data:text/plain",
            Self::Sandbox(_) => "https://ca.sandbox.test/terms",
        }
    }

    /// How many orders it accepted
    pub(crate) fn orders(&self) -> usize {
        either!(self, ca => ca.orders())
    }

    /// How many accounts were registered
    pub(crate) fn accounts(&self) -> usize {
        either!(self, ca => ca.accounts())
    }

    /// How many challenges were answered, valid or not
    pub(crate) fn validations(&self) -> usize {
        either!(self, ca => ca.validations())
    }

    /// How many certificates were issued
    pub(crate) fn certificates(&self) -> usize {
        either!(self, ca => ca.certificates())
    }

    /// How many HTTP requests were made, refused nonces included
    pub(crate) fn requests(&self) -> usize {
        either!(self, ca => ca.requests())
    }
}

/// Key identifier of [`Accounts::Bound`]
pub(crate) const EAB_KID: &str = "kid-1";

/// MAC key of [`Accounts::Bound`], in base64url, as the CA hands it out
pub(crate) const EAB_HMAC: &str =
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
