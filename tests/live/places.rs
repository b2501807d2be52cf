//! Where proof is taken: container addresses, several ports, IPv6, `connect`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::ports;
use crate::support::scene::{SHOP, Scene, WWW, site};
use crate::support::served::served;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_port_that_is_not_published_is_proven_in_the_containers_network,
        two_ports_are_both_proven,
        one_of_two_ports_without_tls_is_named,
        one_of_two_ports_that_loses_tls_is_rolled_back,
        a_port_published_at_ipv6_alone_is_proven_there,
        connect_takes_an_ipv6_address,
    ]
}

fn a_port_that_is_not_published_is_proven_in_the_containers_network() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| nginx.https = None);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    for arguments in [&[SHOP][..], &[SHOP, "--force"]] {
        let report = scene.obtain(arguments).expect(0, SHOP, "proven");
        report.finding(SHOP, "target.not_published");
        scene.assert_serves(SHOP, &[SHOP, WWW]);
    }
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
    report.finding(SHOP, "target.not_published");
    assert_eq!(report.ca_requests(), 0, "{report}");

    // It was this place that decided.
    scene.write_sites(&[]);
    let report = scene.obtain(&[SHOP, "--force"]).expect_status(1);
    let address = scene.nginx.https_address();
    assert!(!address.starts_with("127."), "{address}");
    assert!(report.to_string().contains(&address), "{report}");
}

/// An nginx with two TLS ports, and what the second one is published at
struct TwoPorts {
    scene: Scene,
    second: SocketAddr,
}

impl TwoPorts {
    fn new() -> Self {
        let second = (Ipv4Addr::LOCALHOST, ports::free()).into();
        let scene = Scene::with(Kind::Pebble, |nginx, _| nginx.others = vec![(second, 8443)]);
        let config = scene.config().domain(SHOP, &[WWW]);
        let config = config.lines("ports = [443, 8443]");
        scene.world.write_config(&config);
        Self { scene, second }
    }

    /// Writes a server block that listens at the second port too, with or without `ssl`
    fn listen(&self, second: &str) {
        let conf = conf::site(Flavour::Root, &[site(&[SHOP, WWW])]);
        let both = format!("listen 443 ssl;\n        {second}");
        self.scene
            .nginx
            .write_conf(&conf.replace("listen 443 ssl;", &both));
    }
}

fn two_ports_are_both_proven() {
    let both = TwoPorts::new();
    let scene = &both.scene;
    both.listen("listen 8443 ssl;");
    for arguments in [&[SHOP][..], &[SHOP, "--force"]] {
        scene.obtain(arguments).expect(0, SHOP, "proven");
        scene.assert_serves(SHOP, &[SHOP, WWW]);
        for name in [SHOP, WWW] {
            let shown = served(&both.second.to_string(), name);
            assert_eq!(shown, Ok(scene.live(SHOP)), "{name}");
        }
    }
}

fn one_of_two_ports_without_tls_is_named() {
    let both = TwoPorts::new();
    let scene = &both.scene;
    both.listen("listen 8443;");
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.no_tls"], "{report}");
    let finding = report.finding(SHOP, "proof.no_tls");
    let address = both.second.to_string();
    assert!(finding.evidence.contains(&address), "{finding:?}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);

    // The first port alone is not called success by the next run either.
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.ca_requests(), 0, "{report}");
    both.listen("listen 8443 ssl;");
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(served(&address, WWW), Ok(scene.live(SHOP)));
    assert_eq!(scene.ca.orders(), 1);
}

fn one_of_two_ports_that_loses_tls_is_rolled_back() {
    let both = TwoPorts::new();
    let scene = &both.scene;
    both.listen("listen 8443 ssl;");
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let old = scene.served(SHOP);

    both.listen("listen 8443;");
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.broken"], "{report}");
    let finding = report.finding(SHOP, "proof.broken");
    let address = both.second.to_string();
    assert!(finding.evidence.contains(&address), "{finding:?}");
    // The certificate was not to blame, and certd does not claim that going back has helped.
    assert!(finding.evidence.contains("still broken"), "{finding:?}");
    assert!(scene.live_target(SHOP).ends_with("1"));
    assert_eq!(scene.served(SHOP), old);
}

fn a_port_published_at_ipv6_alone_is_proven_there() {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, ports::free()));
    let scene = Scene::with(Kind::Pebble, |nginx, _| nginx.https = Some(address));
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    for arguments in [&[SHOP][..], &[SHOP, "--force"]] {
        scene.obtain(arguments).expect(0, SHOP, "proven");
        scene.assert_serves(SHOP, &[SHOP, WWW]);
    }
    // It was this place that decided.
    scene.write_sites(&[]);
    let report = scene.obtain(&[SHOP, "--force"]).expect_status(1);
    assert!(
        report.to_string().contains(&address.to_string()),
        "{report}"
    );
}

fn connect_takes_an_ipv6_address() {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, ports::free()));
    let scene = Scene::with(Kind::Pebble, |nginx, _| nginx.others = vec![(address, 443)]);
    let connect = |to: SocketAddr| {
        let line = format!("connect = \"{to}\"");
        let config = scene.config().domain(SHOP, &[WWW]).lines(&line);
        scene.world.write_config(&config);
    };
    scene.write_sites(&[site(&[SHOP, WWW])]);
    connect(address);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(served(&address.to_string(), WWW), Ok(scene.live(SHOP)));
    scene.verify(&[]).expect_status(0);

    // Where nobody listens there is no proof, whatever the container publishes.
    let closed = SocketAddr::from((Ipv6Addr::LOCALHOST, ports::free()));
    connect(closed);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "proof.no_tls");
    assert!(
        finding.evidence.contains(&closed.to_string()),
        "{finding:?}"
    );
    assert_eq!(scene.ca.orders(), 1);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
}
