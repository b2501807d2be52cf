//! Where the domains of a target are verified: every family and every address at which its
//! containers answer, as far as this host has a way there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;

use super::target::Target;
use crate::config::Domain;
use crate::facts::{ConnectFailure, Container};
use crate::finding::Finding;
use crate::pipeline::{Context, Work};
use crate::target::endpoint::{self, Claim, Endpoint};

/// What a connection to an address showed
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Somebody takes connections there
    Open,
    /// Nobody does
    Closed,
    /// This host cannot reach it
    Barred(ConnectFailure),
}

/// The endpoints of one port of one container
struct Group<'t> {
    container: &'t Container,
    endpoints: Vec<Endpoint>,
}

impl Target {
    /// Where a domain is verified: `connect`, else every address at which its containers answer
    pub(super) fn endpoints(&self, domain: &Domain) -> Vec<SocketAddr> {
        if let Some(connect) = domain.connect {
            return connect.endpoints(&domain.ports);
        }
        let mut endpoints = Vec::new();
        for address in self.groups(domain).flat_map(|group| self.used(&group)) {
            if !endpoints.contains(&address) {
                endpoints.push(address);
            }
        }
        endpoints
    }

    fn groups(&self, domain: &Domain) -> impl Iterator<Item = Group<'_>> {
        let engine = self.engine.address();
        self.containers.iter().flat_map(move |container| {
            domain.ports.iter().map(move |port| Group {
                container,
                endpoints: endpoint::endpoints(container, *port, engine),
            })
        })
    }

    /// The endpoints of a group that can be reached, without those at which nginx need not listen
    /// and does not
    fn used(&self, group: &Group<'_>) -> Vec<SocketAddr> {
        let way = |endpoint: &Endpoint| self.ways.get(&endpoint.address);
        let mut all = group.endpoints.iter();
        let is_open = all.any(|endpoint| way(endpoint) == Some(&Way::Open));
        let is_used = |endpoint: &&Endpoint| match (way(endpoint), endpoint.claim) {
            (Some(Way::Barred(_)), _) => false,
            (Some(Way::Closed), Claim::Possible) => !is_open,
            _ => true,
        };
        let used = group.endpoints.iter().filter(is_used);
        used.map(|endpoint| endpoint.address).collect()
    }

    /// Connects once to each address at which a domain may be served and nobody was seen to listen
    pub(super) async fn explore(&mut self, context: &Context<'_>, works: &[Work<'_>]) {
        let observer = &context.observer();
        let mut unknown = BTreeSet::new();
        for member in &self.members {
            let domain = works[*member].domain;
            if domain.connect.is_some() {
                continue;
            }
            for group in self.groups(domain) {
                let inside = &group.container.addresses;
                let endpoints = group.endpoints.iter();
                let open = |address| self.ways.get(address) == Some(&Way::Open);
                let unseen = endpoints.filter(|endpoint| !open(&endpoint.address));
                unknown.extend(unseen.map(|endpoint| {
                    let ip = endpoint.address.ip();
                    (endpoint.address, inside.contains(&ip))
                }));
            }
        }
        let knocking = unknown.into_iter().map(|(address, is_inside)| async move {
            let knocked = observer.knock(address, KNOCK).await;
            (address, way(knocked, is_inside))
        });
        self.ways.extend(join_all(knocking).await);
    }

    /// Why a domain cannot be verified at one of its ports at all
    pub(super) fn no_way(&self, domain: &Domain) -> Option<Finding> {
        if domain.connect.is_some() {
            return None;
        }
        let mut groups = self.groups(domain);
        let lost = groups.find(|group| self.used(group).is_empty())?;
        let name = &lost.container.name;
        let Some((address, failure)) = self.barred(&lost).next() else {
            let evidence = format!("{name} has no address to verify at");
            return Some(
                Finding::failure("target.no_endpoint", evidence)
                    .with_cure("publish its TLS port, or set `connect` for the domain"),
            );
        };
        let evidence = format!("this host cannot connect to {name} at {address}: {failure}");
        Some(Finding::failure("target.no_route", evidence).with_cure(
            "set `connect` to an address at which visitors arrive, or publish its TLS port",
        ))
    }

    /// Where a domain is not verified although visitors may come there
    pub(super) fn unproven(&self, domain: &Domain) -> Option<String> {
        if domain.connect.is_some() {
            return None;
        }
        let groups: Vec<Group<'_>> = self.groups(domain).collect();
        let barred = groups.iter().flat_map(|group| self.barred(group));
        let barred: Vec<String> = barred
            .map(|(address, failure)| format!("not verified at {address}: {failure}"))
            .collect();
        (!barred.is_empty()).then(|| barred.join("; "))
    }

    fn barred<'t>(
        &'t self,
        group: &Group<'t>,
    ) -> impl Iterator<Item = (SocketAddr, &'t ConnectFailure)> + use<'t> {
        let addresses: Vec<SocketAddr> = group.endpoints.iter().map(|one| one.address).collect();
        addresses
            .into_iter()
            .filter_map(|address| match self.ways.get(&address)? {
                Way::Barred(failure) => Some((address, failure)),
                Way::Open | Way::Closed => None,
            })
    }
}

/// What a connection tells of an address, which may be one inside of the container's networks
///
/// Nothing between this host and its own bridges swallows packets: an address from which no answer
/// comes lies in a network to which it has no way, such as a macvlan.
fn way(knocked: Result<(), ConnectFailure>, is_inside: bool) -> Way {
    match knocked {
        Ok(()) => Way::Open,
        Err(failure @ (ConnectFailure::NoRoute | ConnectFailure::Unreachable(_))) => {
            Way::Barred(failure)
        }
        Err(failure @ ConnectFailure::TimedOut) if is_inside => Way::Barred(failure),
        Err(_) => Way::Closed,
    }
}

/// Time for a connection within this host
const KNOCK: Duration = Duration::from_secs(2);
