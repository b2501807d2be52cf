//! Where a name leads: to another host, through a router, to a CDN, to nginx in the host's network.
//!
//! An IPv4-mapped address stands for one that no interface of this host has: nothing that goes there
//! leaves it.

use std::net::{Ipv4Addr, TcpListener};

use certd_sandbox::docker::Network;

use super::*;
use crate::support::Leaf;

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Lets the name lead to an address that is not this host's
fn lead_away(host: &Host) {
    let address = ELSEWHERE.to_ipv6_mapped();
    host.zone.set(MESSENGER, [Record::Aaaa(address)]);
}

/// Who answers there
fn stranger(host: &Host, leaf: &Leaf) -> Server {
    let listener = TcpListener::bind((ELSEWHERE, host.web.https().port()));
    Server::tls_on(listener.expect("nobody else is there"), tls_config(leaf))
}

/// Lets domains.toml hold another text in the place of this
fn edit(host: &Host, old: &str, new: &str) {
    let config = host.place.read("domains.toml");
    assert!(config.contains(old), "{config}");
    host.place.write("domains.toml", config.replace(old, new));
}

#[test]
fn an_address_at_which_another_host_answers() {
    let host = host();
    lead_away(&host);
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.elsewhere", "{report:#}");
    let evidence = report["change"]["evidence"].as_str().expect("evidence");
    assert!(evidence.contains(" does not answer, "), "{evidence}");
    assert_eq!(report["verdict"]["answer"], "unreached");

    let _other = stranger(&host, &Wish::names(&["other.test"]).self_signed());
    shows!(host, "elsewhere", why(&host, MESSENGER, 1));
}

#[test]
fn a_public_address_to_which_the_router_lets_nobody_back() {
    let listed = format!("addresses = [\"{}\"]\nemail", ELSEWHERE.to_ipv6_mapped());
    let host = host();
    lead_away(&host);
    edit(&host, "email", &listed);
    // At the loopback alone nobody else could connect, whatever the router does.
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.not_published", "{report:#}");

    let port = host.web.https().port();
    let everywhere = (Ipv4Addr::UNSPECIFIED, port).into();
    host.engine
        .change(|container| container.ports = Ports::Other(vec![(443, everywhere)]));
    shows!(host, "hairpin", why(&host, MESSENGER, 0));

    // Where the container has not what it should, that address is no excuse.
    configure(&host, &[(&[SHOP, WWW], SHOP), (&[MESSENGER], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "connect.refused", "{report:#}");
}

#[test]
fn a_cdn_with_a_certificate_of_its_own() {
    let host = host();
    lead_away(&host);
    let root = Authority::root("Root of a CDN");
    host.place.write("cdn.pem", root.pem());
    edit(
        &host,
        "[verify]\ntrust = [",
        "[verify]\ntrust = [\"cdn.pem\", ",
    );
    let leaf = root.issue(&Wish::names(&[MESSENGER]));
    let _cdn = stranger(&host, &leaf);
    shows!(host, "cdn", why(&host, MESSENGER, 0));

    // Where the container has not what it should, nobody knows whose certificate that is.
    configure(&host, &[(&[SHOP, WWW], SHOP), (&[MESSENGER], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.other_file", "{report:#}");
    assert_eq!(report["verdict"]["answer"], "contradicted");
}

#[test]
fn nginx_in_the_network_of_the_host() {
    let host = host();
    let site = |name: &str, address: &str| {
        let port = host.web.https().port();
        let lines = lines(name);
        format!(
            "server {{ listen {address}:{port} ssl; listen 443 ssl; server_name {name}; {lines} }}"
        )
    };
    let write = |address: &str| {
        let sites = [
            ("shop.conf", site(SHOP, "127.0.0.8")),
            ("messenger.conf", site(MESSENGER, address)),
        ];
        write_sites(&host, ["", ""], &sites);
    };
    write("127.0.0.1");
    host.engine
        .change(|container| container.network = Network::Host);
    let (_, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(
        step(&report, "listener")["seen"],
        "web, in the network of this host"
    );
    let block = "/etc/nginx/sites/messenger.conf:1 lists the name";
    assert_eq!(step(&report, "block")["seen"], block, "{report:#}");
    assert_eq!(report["change"], Value::Null);

    // No configuration names it then, and the kernel names the process, which is this test: the
    // container is not blamed for it.
    if let Some(report) = without_configuration(&host, 1) {
        let seen = step(&report, "listener")["seen"].as_str();
        let own = format!("(process {}) listens at port", std::process::id());
        assert!(seen.is_some_and(|seen| seen.contains(&own)), "{report:#}");
        assert_eq!(report["change"]["code"], "served.wrong_name", "{report:#}");
    }

    // At which address nginx listens counts here.
    write("127.0.0.7");
    let (_, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(report["change"]["code"], "why.no_tls", "{report:#}");
    let address = host.web.https();
    let evidence = format!("no server block of web listens with TLS at {address}");
    assert_eq!(report["change"]["evidence"], evidence);
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(
        cure.contains(&format!(" add\n    listen {address} ssl;\n")),
        "{cure}"
    );
}
