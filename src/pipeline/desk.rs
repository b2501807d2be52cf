//! The CAs of a run: each is asked for its directory once, whatever for.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use jiff::SignedDuration;

use super::Context;
use crate::acme::{AcmeError, Session};
use crate::net::http::Meter;

/// One session for each CA that was needed so far; a failure is kept for all that need it
#[derive(Default)]
pub(super) struct Desk {
    opened: BTreeMap<String, Opened>,
    meter: Meter,
}

struct Opened {
    outcome: Result<Session, AcmeError>,
    /// How far this host's clock was ahead of the CA's then
    ahead: Option<SignedDuration>,
}

impl Desk {
    /// Opens a session for each of these issuers, unless that was tried before
    ///
    /// Dropping the future leaves all as it was.
    pub(super) async fn open<'n>(
        &mut self,
        context: &Context<'_>,
        issuers: impl IntoIterator<Item = &'n str>,
    ) {
        let new = issuers
            .into_iter()
            .filter(|name| !self.opened.contains_key(*name))
            .filter_map(|name| Some((name, context.config.issuers.get(name)?)));
        let opening = new.map(|(name, issuer)| {
            let meter = self.meter.clone();
            async move {
                let (provider, proxies) = (context.provider.clone(), context.config.proxies);
                let patience = context.patience.ca;
                let opening = Session::open(name, issuer, provider, proxies, meter, patience);
                let outcome = opening.await;
                let now = context.now();
                let date = outcome.as_ref().ok().and_then(Session::date);
                let ahead = date.map(|date| now.duration_since(date));
                (name.to_owned(), Opened { outcome, ahead })
            }
        });
        let opened = join_all(opening).await;
        self.opened.extend(opened);
    }

    /// Fetches nonces for the orders that are about to begin at each CA, `jobs` at most: each is
    /// given by its number of names
    pub(super) async fn fetch_nonces(&self, orders: BTreeMap<String, Vec<usize>>, jobs: usize) {
        let fetching = orders.iter().filter_map(|(issuer, orders)| {
            let session = self.session(issuer)?;
            Some(session.fetch_nonces(&orders[..orders.len().min(jobs)]))
        });
        join_all(fetching).await;
    }

    /// What came of opening a session; `None` where that was not tried, or there is no such issuer
    pub(super) fn outcome(&self, issuer: &str) -> Option<&Result<Session, AcmeError>> {
        self.opened.get(issuer).map(|opened| &opened.outcome)
    }

    /// A CA that answers
    pub(super) fn session(&self, issuer: &str) -> Option<&Session> {
        self.outcome(issuer)?.as_ref().ok()
    }

    /// How far this host's clock is ahead of the CA's; less than zero where it is behind
    pub(super) fn ahead(&self, issuer: &str) -> Option<SignedDuration> {
        self.opened.get(issuer)?.ahead
    }

    /// The same by the CA that agrees best: one whose own clock is wrong proves nothing
    pub(super) fn least_ahead(&self) -> Option<SignedDuration> {
        let ahead = self.opened.values().filter_map(|opened| opened.ahead);
        ahead.min_by_key(|ahead| ahead.abs())
    }

    /// Why a CA cannot be believed, where that is its time and nothing else
    pub(super) fn out_of_time(&self) -> Option<&AcmeError> {
        let mut failures = self
            .opened
            .values()
            .filter_map(|one| one.outcome.as_ref().err());
        failures.find(|error| error.is_of_clock())
    }

    /// Domains that stand for a CA in CAA records
    pub(super) fn caa_identities(&self, issuer: &str) -> Vec<String> {
        let session = self.session(issuer);
        session
            .map(|session| session.caa_identities().to_vec())
            .unwrap_or_default()
    }

    /// HTTP requests so far
    pub(super) fn requests(&self) -> u64 {
        self.meter.requests()
    }
}
