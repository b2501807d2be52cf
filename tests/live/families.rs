//! IPv4 and IPv6: what visitors get who come by the one or the other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::nginx::{DualStack, HOST};
use crate::support::ports;
use crate::support::report::Report;
use crate::support::scene::{MESSENGER, SHOP, Scene, site};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_block_without_its_listen_of_ipv6_is_no_proof,
        in_the_network_of_the_host_both_families_are_proven,
        an_nginx_that_listens_on_ipv4_alone_is_proven_there,
        an_address_with_blocks_of_its_own_is_proven_too,
    ]
}

/// Both sites, of which the messenger takes all visitors who come by IPv6 to this port, but for
/// those that the shop's lines take
fn sites(port: u16, shop: &str) -> String {
    let conf = conf::site(Flavour::Root, &[site(&[SHOP]), site(&[MESSENGER])]);
    let v6 = format!("listen [::]:{port} ssl default_server;");
    [(SHOP, shop), (MESSENGER, v6.as_str())]
        .into_iter()
        .fold(conf, |conf, (name, more)| {
            let names = format!("server_name {name};");
            conf.replace(&names, &format!("{more} {names}"))
        })
        .replace("listen 443 ssl;", &format!("listen {port} ssl;"))
}

/// Where the shop's server block begins
fn block(conf: &str) -> String {
    let names = format!("server_name {SHOP};");
    let line = conf.lines().position(|line| line.contains(&names));
    let line = line.expect("the shop has a block") + 1;
    format!("/etc/nginx/nginx.conf:{}", line - 2)
}

#[track_caller]
fn assert_tells_the_line(report: &Report, conf: &str, port: u16) {
    let finding = report.finding(SHOP, "proof.other_lineage");
    assert!(finding.evidence.contains("at ["), "{finding:?}");
    assert!(finding.cure.contains(&block(conf)), "{finding:?}");
    let line = format!("listen [::]:{port} ssl;");
    assert!(finding.cure.contains(&line), "{finding:?}");
}

fn a_block_without_its_listen_of_ipv6_is_no_proof() {
    let network = DualStack::create();
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, ports::free()));
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, v6.port()));
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.network = Some(network.name());
        nginx.https = Some(v4);
        nginx.others = vec![(v6, 443)];
    });
    scene.write_domains(&[(SHOP, &[]), (MESSENGER, &[])]);
    let broken = sites(443, "");
    scene.nginx.write_conf(&broken);
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "failed");
    assert_eq!(report.outcome(MESSENGER), "proven", "{report}");
    assert_tells_the_line(&report, &broken, 443);

    // A name that leads to IPv4 alone, and one that leads to both.
    let why = |status: i32| {
        let url = format!("https://{SHOP}:{}/", v4.port());
        let output = scene.world.certd(&["why", &url, "--format", "json"]);
        let report = Report::of(output).expect_status(status);
        let change = &report.json()["change"];
        let words = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
        (words("code"), words("cure"), report)
    };
    for status in [0, 1] {
        if status == 1 {
            scene.dns.set_aaaa(SHOP, &["::1"]);
        }
        let (code, cure, report) = why(status);
        assert_eq!(code, "why.no_listen", "{report}");
        assert!(cure.contains(&block(&broken)), "{report}");
        assert!(cure.contains("listen [::]:443 ssl;"), "{report}");
    }

    // What is advised makes it right, and survives a restart.
    scene.nginx.write_conf(&sites(443, "listen [::]:443 ssl;"));
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    let (code, _, report) = why(0);
    assert_eq!(code, "", "{report}");
    scene.nginx.restart();
    scene
        .nginx
        .wait_for_challenges(|reply| reply.contains(" 404 "));
    scene.obtain(&["--all"]).expect(0, SHOP, "unchanged");

    // A later edit is noticed, though nothing is due.
    scene.nginx.write_conf(&broken);
    scene.nginx.reload();
    scene
        .nginx
        .wait_for_challenges(|reply| reply.contains(" 404 "));
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "failed");
    assert_tells_the_line(&report, &broken, 443);
    assert_eq!(scene.ca.orders(), 2);
}

/// nginx in the network of the host, and its port for TLS
fn on_the_host() -> (Scene, u16) {
    let port = ports::free();
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.network = Some(HOST.to_owned());
        nginx.conf = at_port(&nginx.conf, nginx.http_port);
    });
    let domain = |name| format!("\n[[domain]]\nname = {name:?}\nports = [{port}]");
    let config = scene.config().lines(&domain(SHOP));
    scene.world.write_config(&config.lines(&domain(MESSENGER)));
    (scene, port)
}

/// A configuration that answers challenges at another port of loopback
fn at_port(conf: &str, http: u16) -> String {
    conf.replace("listen 80 ", &format!("listen 127.0.0.1:{http} "))
}

fn in_the_network_of_the_host_both_families_are_proven() {
    let (scene, port) = on_the_host();
    let http = scene.nginx.http_port();
    let broken = at_port(&sites(port, ""), http);
    scene.nginx.write_conf(&broken);
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "failed");
    assert_eq!(report.outcome(MESSENGER), "proven", "{report}");
    assert_tells_the_line(&report, &broken, port);

    let line = format!("listen [::]:{port} ssl;");
    scene.nginx.write_conf(&at_port(&sites(port, &line), http));
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");
}

fn an_nginx_that_listens_on_ipv4_alone_is_proven_there() {
    let (scene, port) = on_the_host();
    let conf = conf::site(Flavour::Root, &[site(&[SHOP]), site(&[MESSENGER])]);
    let conf = conf.replace("listen 443 ", &format!("listen {port} "));
    scene
        .nginx
        .write_conf(&at_port(&conf, scene.nginx.http_port()));
    for outcome in ["proven", "unchanged"] {
        let report = scene.obtain(&["--all"]).expect(0, SHOP, outcome);
        assert_eq!(report.outcome(MESSENGER), outcome, "{report}");
    }
}

fn an_address_with_blocks_of_its_own_is_proven_too() {
    let (scene, port) = on_the_host();
    let http = scene.nginx.http_port();
    let conf = conf::site(Flavour::Root, &[site(&[SHOP]), site(&[MESSENGER])]);
    let all = conf.replace("listen 443 ", &format!("listen {port} "));
    // One block takes all that comes to this address, whatever the others list.
    let names = format!("server_name {MESSENGER};");
    let line = format!("listen 127.0.0.7:{port} ssl;");
    let broken = at_port(&all.replace(&names, &format!("{line} {names}")), http);
    let listen = format!("listen 127.0.0.1:{http} default_server;");
    let both = format!("{listen} {}", listen.replace("127.0.0.1", "127.0.0.7"));
    let broken = broken.replace(&listen, &both);
    scene.nginx.write_conf(&broken);
    // Nobody comes there for the shop, and its block need not listen there.
    let report = scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    assert_eq!(report.outcome(MESSENGER), "proven", "{report}");

    scene.dns.set_a(SHOP, &["127.0.0.7"]);
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "failed");
    assert_eq!(report.outcome(MESSENGER), "unchanged", "{report}");
    let finding = report.finding(SHOP, "proof.other_lineage");
    assert!(finding.evidence.contains("127.0.0.7"), "{finding:?}");
    assert!(finding.cure.contains(&line), "{finding:?}");

    let names = format!("server_name {SHOP};");
    let mended = broken.replace(&names, &format!("{line} {names}"));
    scene.nginx.write_conf(&mended);
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");

    // Where nginx listens nowhere else, that address alone counts.
    let alone = mended.replace(&format!("listen {port} ssl;"), "");
    scene.nginx.write_conf(&alone);
    scene.nginx.restart();
    scene
        .nginx
        .wait_for_challenges(|reply| reply.contains(" 404 "));
    scene.obtain(&["--all"]).expect(0, SHOP, "unchanged");
}
