//! `certd why`: every link between a name and its certificate, looked at from the top.
//!
//! Facts are gathered first and judged afterwards. Nothing is written, ordered or reloaded, no lock
//! is taken, and no key is read.

use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;

use crate::chain::Certificate;
use crate::config::{self, Config, Domain, MinRemaining};
use crate::facts::{Container, Network};
use crate::finding::{Finding, Severity};
use crate::net::dns::{DnsError, Resolver};
use crate::net::hosts::Hosts;
use crate::net::tls::Observer;
use crate::pipeline::installed::{expected_of, known_certificates};
use crate::pipeline::obtain::stopped::Supply;
use crate::pipeline::obtain::{Way, way_to};
use crate::report::SCHEMA_VERSION;
use crate::report::why::WhyReport;
use crate::store::Store;
use crate::store::lineage::LineageError;
use crate::target::container::Engine;
use crate::target::endpoint::{Endpoint, container_port, endpoints};
use crate::time::Fraction;
use crate::verify::judge::NO_ROUTE;
use crate::verify::path::Trust;

mod computed;
mod cure;
mod docker;
mod files;
mod inner;
mod judge;
mod outer;
mod seen;
mod served;
mod view;

use seen::{Chosen, ConfigFile, Listener, Look, Next, Nginx, Presence, Seen, Stored, Whereabouts};
use view::View;

/// What is asked about
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name as A-label, or an IP address
    pub name: String,
    /// The name as it was typed
    pub typed: String,
    /// Port on which a browser connects; `None` for the domain's own
    pub port: Option<u16>,
}

/// How to look
pub struct Means<'c> {
    /// domains.toml, where there is one
    pub config: Option<&'c Config>,
    /// What this host's programs believe before DNS
    pub hosts: Hosts,
    /// Asks for addresses
    pub resolver: Result<Resolver, DnsError>,
    /// Makes handshakes
    pub observer: Observer,
    /// Roots that are believed
    pub trust: Trust,
    /// Life below which a warning is given
    pub min_remaining: MinRemaining,
    /// Docker API that is asked where no `[nginx]` names one
    pub docker: String,
}

/// Looks at every link between a name and its certificate, and judges them at `now`
///
/// Each look has its own timeout, and a link that cannot be seen stops no other.
pub async fn why(means: &Means<'_>, question: &Question, now: Timestamp) -> WhyReport {
    let begun = Instant::now();
    let seen = look(means, question, now).await;
    let steps = judge::steps(&seen, now);
    let port = seen.port;
    WhyReport {
        schema_version: SCHEMA_VERSION,
        command: "why",
        started: now,
        elapsed: begun.elapsed(),
        url: url(&question.name, port),
        name: question.name.clone(),
        port,
        domain: seen.domain.map(|domain| domain.name.to_string()),
        change: judge::change(&steps),
        verdict: judge::verdict(&seen),
        steps,
    }
}

fn url(name: &str, port: u16) -> String {
    let host = match name.contains(':') {
        true => format!("[{name}]"),
        false => name.to_owned(),
    };
    match port {
        config::defaults::PORT => format!("https://{host}/"),
        port => format!("https://{host}:{port}/"),
    }
}

/// The port that is meant, and where the domain says that connections to it go
fn door(question: &Question, domain: Option<&Domain>) -> (u16, Option<config::Connect>) {
    let ports = domain.map_or(&[][..], |domain| &domain.ports);
    let usual = ports.first().copied().unwrap_or(config::defaults::PORT);
    let port = question.port.unwrap_or(usual);
    let connect = domain.and_then(|domain| domain.connect);
    (port, connect.filter(|_| ports.contains(&port)))
}

async fn look<'q>(means: &Means<'q>, question: &'q Question, now: Timestamp) -> Seen<'q> {
    let name = question.name.as_str();
    let domain = means.domain(name);
    let (port, connect) = door(question, domain);
    let stored = domain.map(|domain| means.stored(domain, now));
    let stored = stored.unwrap_or_default();
    let view = View {
        means,
        name,
        domain,
        stored: &stored,
        now,
    };
    let outside = connect.and_then(|connect| connect.port).unwrap_or(port);
    let (dns, looks) = view.look_outside(port, connect).await;
    let (engine, listener) = find_listener(means, domain, outside, own_address(&looks)).await;
    let inlet = listener
        .container()
        .map_or(port, |container| container_port(container, outside));
    let container = engine.as_ref().zip(listener.container());
    let (open, barred) = reachable(means, container, inlet).await;
    let (inside, beside) = view.look_inside(container, &open, &looks).await;
    let own: Vec<&Look> = inside.iter().chain(&beside).collect();
    let nginx = view.read_nginx(container, inlet, &looks, &own).await;
    let (mut looks, inside, beside) = view
        .as_balancer(nginx.as_ref(), looks, inside, beside)
        .await;
    let (listener, inside, barred, nginx) = match listener {
        Listener::Perhaps(container) if has_nothing(nginx.as_ref()) => {
            (Listener::Hidden(vec![container.name]), None, None, None)
        }
        listener => (listener, inside, barred, nginx),
    };
    make_allowances(&mut looks, inside.as_ref(), &listener);
    Seen {
        name,
        typed: &question.typed,
        port,
        file: means
            .config
            .map_or(ConfigFile::Absent, |_| ConfigFile::Read),
        domain,
        dns,
        connect,
        looks,
        inside,
        beside,
        barred,
        listener,
        inlet,
        nginx,
        stored,
    }
}

async fn find_listener(
    means: &Means<'_>,
    domain: Option<&Domain>,
    port: u16,
    address: Option<IpAddr>,
) -> (Option<Engine>, Listener) {
    let nginx = domain.and_then(|domain| domain.nginx.as_ref());
    let store = means.store();
    let served = means.domains_of(nginx);
    let supply = store.as_ref().map(|store| Supply::new(store, &served));
    docker::find(means.docker_api(), nginx, port, address, supply.as_ref()).await
}

/// What is seen from this host alone, and by nobody who comes from elsewhere, counts for nothing
fn make_allowances(looks: &mut [Look], inside: Option<&Look>, listener: &Listener) {
    judge::allow_for_proxies(looks, inside);
    judge::excuse(looks, NO_ROUTE);
    if listener.container().is_some_and(is_open) {
        excuse_hairpins(looks, inside);
    }
}

/// The address of this host to which the name leads: one at which something is wrong before others
///
/// Whoever listens there is to be found, and that may be another at each.
fn own_address(looks: &[Look]) -> Option<IpAddr> {
    let own = || looks.iter().filter(|look| look.place == Whereabouts::Here);
    let bad = own().find(|look| !look.is_good());
    bad.or_else(|| own().next()).map(|look| look.address.ip())
}

/// Whether a container has nothing at the port: then it is not the one that listens there
fn has_nothing(nginx: Option<&Result<Nginx, Finding>>) -> bool {
    match nginx {
        Some(Ok(nginx)) => matches!(nginx.chosen, Chosen::Nobody(_)),
        Some(Err(_)) => true,
        None => false,
    }
}

/// The addresses of a container that this host can reach, and the finding for those that it cannot
async fn reachable(
    means: &Means<'_>,
    container: Option<(&Engine, &Container)>,
    inlet: u16,
) -> (Vec<Endpoint>, Option<Finding>) {
    let Some((engine, container)) = container else {
        return (Vec::new(), None);
    };
    let (mut open, mut barred) = (Vec::new(), None);
    for endpoint in endpoints(container, inlet, engine.address()) {
        match way_to(engine, &means.observer, container, endpoint.address).await {
            Way::Open | Way::Closed => open.push(endpoint),
            Way::Barred(why) => {
                let (name, address) = (&container.name, endpoint.address);
                let evidence = format!("this host cannot connect to {name} at {address}: {why}");
                barred = barred.or_else(|| Some(Finding::note("target.no_route", evidence)));
            }
        }
    }
    (open, barred)
}

/// Whether others than this host can connect to a container
fn is_open(container: &Container) -> bool {
    let mut ports = container.published.iter();
    container.network == Network::Host || ports.any(|port| !port.host.ip().is_loopback())
}

/// A router may not turn packets back to this host's own public address
fn excuse_hairpins(looks: &mut [Look], inside: Option<&Look>) {
    if !inside.is_some_and(Look::is_right) {
        return;
    }
    let listed = looks
        .iter_mut()
        .filter(|look| look.place == Whereabouts::Listed && look.unreached().is_some());
    for finding in listed.flat_map(|look| &mut look.findings) {
        finding.severity = finding.severity.min(Severity::Note);
    }
}

impl<'c> Means<'c> {
    /// The domain that a name belongs to
    fn domain(&self, name: &str) -> Option<&'c Domain> {
        let mut domains = self.config?.domains.iter();
        domains.find(|domain| domain.names().any(|own| own.as_str() == name))
    }

    /// The engine that is asked about a name of no domain: that of the first `[nginx]`
    fn docker_api(&self) -> &str {
        let mut domains = self.config.iter().flat_map(|config| &config.domains);
        let nginx = domains.find_map(|domain| domain.nginx.as_ref());
        nginx.map_or(&self.docker, |nginx| &nginx.docker)
    }

    fn store(&self) -> Option<Store> {
        let config = self.config?;
        Some(Store::for_reading(&config.storage, &config.state))
    }

    /// The domains that this nginx serves; all where none is named
    fn domains_of(&self, nginx: Option<&config::Nginx>) -> Vec<&Domain> {
        let domains = self.config.iter().flat_map(|config| &config.domains);
        let served = domains.filter(|domain| nginx.is_none() || domain.nginx.as_ref() == nginx);
        served.collect()
    }

    /// What the storage holds for a domain
    fn stored(&self, domain: &Domain, now: Timestamp) -> Stored {
        let (Some(config), Some(store)) = (self.config, self.store()) else {
            return Stored::default();
        };
        let problem = store.lineage_names().err();
        let known = known_certificates(&store);
        let (live, foreign) = match store.live(&domain.name) {
            Ok(live) => (live, None),
            Err(error @ (LineageError::Foreign { .. } | LineageError::Placeholder { .. })) => {
                (None, Some(Finding::from_error(&error)))
            }
            Err(_) => (None, None),
        };
        let live = live.and_then(|live| store.certificate(&domain.name, live).ok());
        let live = live.map(|live| live.chain.leaf().clone());
        let generations = store.generations(&domain.name).unwrap_or_default();
        let newest = generations.last().copied();
        let next = match (&live, newest) {
            (Some(live), _) if live.validity.not_after <= now => Next::Order,
            (Some(live), _) if is_near(live, config.renewal_fraction, now) => Next::Either,
            (None, None) => Next::Order,
            _ => Next::Deploy,
        };
        Stored {
            storage: config.storage.clone(),
            presence: match config.storage.is_dir() {
                true => Presence::Here,
                false => Presence::Absent,
            },
            installed: expected_of(&store, &known, &domain.name),
            live,
            newest,
            next,
            foreign,
            known,
            problem: problem.map(|error| Finding::from_error(&error)),
        }
    }
}

/// Whether a certificate may be renewed by a run of now
///
/// A CA may suggest a time that comes before the one that its life gives.
fn is_near(live: &Certificate, fraction: Fraction, now: Timestamp) -> bool {
    let life = live
        .validity
        .not_after
        .duration_since(live.validity.not_before);
    let left = live.validity.not_after.duration_since(now);
    left.as_secs_f64() < life.as_secs_f64() * (fraction.as_f64().max(0.5) + 0.1)
}
