//! The usual scene: one nginx, one CA, one certd.

use std::path::PathBuf;

use super::ca::{Ca, Kind, Options};
use super::conf::{self, Flavour, Site};
use super::dns::Dns;
use super::nginx::{Nginx, NginxOptions};
use super::report::Report;
use super::served::{self, Leaf};
use super::world::{Config, World, entries};

/// nginx with the usual mounts, a CA that validates through it, and a directory for certd
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) nginx: Nginx,
    pub(crate) ca: Ca,
    pub(crate) dns: Dns,
    pub(crate) world: World,
}

impl Scene {
    /// nginx as root; the CA validates every name anew
    pub(crate) fn new(ca: Kind) -> Self {
        Self::with(ca, |_, _| {})
    }

    /// The same, with options that `change` has seen
    pub(crate) fn with(ca: Kind, change: impl FnOnce(&mut NginxOptions, &mut Options)) -> Self {
        Self::in_world(ca, World::new(), Flavour::Root, change)
    }

    /// The same in a world that was prepared, with nginx as `flavour`
    pub(crate) fn in_world(
        ca: Kind,
        world: World,
        flavour: Flavour,
        change: impl FnOnce(&mut NginxOptions, &mut Options),
    ) -> Self {
        let mut nginx = NginxOptions::new(&world, flavour);
        let mut options = Options::new(nginx.http_port);
        change(&mut nginx, &mut options);
        let dns = Dns::start();
        Self {
            nginx: Nginx::start(nginx),
            ca: Ca::start(ca, &dns, options),
            dns,
            world,
        }
    }

    /// domains.toml up to `[nginx] container`, without a domain
    pub(crate) fn config(&self) -> Config {
        self.unbound_config().nginx(&self.nginx)
    }

    /// domains.toml without `[nginx]` and without a domain
    pub(crate) fn unbound_config(&self) -> Config {
        Config::new(&self.world, &self.dns, &self.ca)
            .http_port(&self.nginx)
            .agreed()
    }

    /// Adds a domain that is served at this nginx's TLS port
    pub(crate) fn domain(&self, config: Config, name: &str, aliases: &[&str]) -> Config {
        let port = self.nginx.flavour().https_port();
        config
            .domain(name, aliases)
            .lines(&format!("ports = [{port}]"))
    }

    /// Writes a domains.toml with these domains
    pub(crate) fn write_domains(&self, domains: &[(&str, &[&str])]) {
        self.write_config(self.config(), domains);
    }

    /// The same, where the CA itself is to say no: nothing that shows before an order stops it
    pub(crate) fn write_unchecked(&self, domains: &[(&str, &[&str])]) {
        self.write_config(self.config().unchecked(), domains);
    }

    /// Writes a domains.toml that begins with `config` and has these domains
    pub(crate) fn write_config(&self, config: Config, domains: &[(&str, &[&str])]) {
        let config = domains.iter().fold(config, |config, domain| {
            self.domain(config, domain.0, domain.1)
        });
        self.world.write_config(&config);
    }

    /// Replaces nginx.conf by one with these server blocks, without a reload
    pub(crate) fn write_sites(&self, sites: &[Site<'_>]) {
        self.nginx
            .write_conf(&conf::site(self.nginx.flavour(), sites));
    }

    /// Runs `certd obtain ... --format json`
    #[track_caller]
    pub(crate) fn obtain(&self, arguments: &[&str]) -> Report {
        self.json("obtain", arguments)
    }

    /// Runs `certd verify ... --format json`
    #[track_caller]
    pub(crate) fn verify(&self, arguments: &[&str]) -> Report {
        self.json("verify", arguments)
    }

    /// Runs `certd check ... --format json`
    #[track_caller]
    pub(crate) fn check(&self, arguments: &[&str]) -> Report {
        self.json("check", arguments)
    }

    #[track_caller]
    fn json(&self, command: &str, arguments: &[&str]) -> Report {
        let arguments = [&[command], arguments, &["--format", "json"]].concat();
        Report::of(self.world.certd(&arguments))
    }

    /// What a fresh handshake with `name` shows
    #[track_caller]
    pub(crate) fn served(&self, name: &str) -> Leaf {
        let address = self.nginx.https_address();
        served::served(&address, name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The certificate that the live link of `lineage` leads to
    #[track_caller]
    pub(crate) fn live(&self, lineage: &str) -> Leaf {
        served::in_file(&self.world.live(lineage, "fullchain.pem"))
    }

    /// Where the live link of `lineage` leads
    pub(crate) fn live_target(&self, lineage: &str) -> PathBuf {
        let link = self.world.storage().join("live").join(lineage);
        std::fs::read_link(&link).unwrap_or_else(|error| panic!("{}: {error}", link.display()))
    }

    /// Checks that each name gets the live certificate of `lineage`, which covers it
    #[track_caller]
    pub(crate) fn assert_serves(&self, lineage: &str, names: &[&str]) {
        let live = self.live(lineage);
        for name in names {
            assert_eq!(self.served(name), live, "{name}");
            assert!(live.names.iter().any(|own| own == name), "{name}: {live:?}");
        }
    }

    /// Numbers of the generations in the archive of `lineage`
    pub(crate) fn generations(&self, lineage: &str) -> Vec<String> {
        entries(self.world.storage().join("archive").join(lineage))
    }

    /// Checks that neither a token nor a probe nor anything unfinished was left behind
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_clean(&self.world);
    }
}

/// Checks that neither a token nor a probe nor anything unfinished was left behind
#[track_caller]
pub(crate) fn assert_clean(world: &World) {
    assert_eq!(entries(challenges(world)), [""; 0], "tokens");
    for directory in ["archive", "live"] {
        let names = entries(world.storage().join(directory));
        let hidden = names.iter().find(|name| name.starts_with('.'));
        assert_eq!(hidden, None, "{directory}");
    }
}

/// Where the tokens go
pub(crate) fn challenges(world: &World) -> PathBuf {
    world.webroot().join(".well-known/acme-challenge")
}

/// A site whose server block names its own certificate
pub(crate) fn site<'a>(names: &'a [&'a str]) -> Site<'a> {
    site_of(names, names[0])
}

/// A site whose server block names the certificate of `lineage`
pub(crate) fn site_of<'a>(names: &'a [&'a str], lineage: &'a str) -> Site<'a> {
    Site {
        names,
        lineage: Some(lineage),
        ..Site::default()
    }
}

/// The book shop
pub(crate) const SHOP: &str = "rare-books.test";
/// Its alias
pub(crate) const WWW: &str = "www.rare-books.test";
/// The messenger that came later
pub(crate) const MESSENGER: &str = "messenger.rare-books.test";
