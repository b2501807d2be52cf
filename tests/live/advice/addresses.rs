//! Several nginx of one host, each at an address of its own: whose socket a name leads to decides, and
//! no `listen` is advised that another process owns.

use std::net::Ipv4Addr;

use libtest_mimic::Trial;
use serde_json::Value;

use super::lines;
use crate::support::ca::Kind;
use crate::support::conf::Flavour;
use crate::support::nginx::{Nginx, NginxOptions, random};
use crate::support::report::Report;
use crate::support::scene::{SHOP, Scene};
use crate::support::world::{Config, World};
use crate::support::{ports, process, served};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        whose_socket_a_name_leads_to_is_told_by_address_and_port,
        what_visitors_of_this_host_see_counts_for_the_proof,
    ]
}

const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 63);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 64);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 65);

/// nginx in the network of this host with a label, which has this port at one address, with these blocks beside
fn nginx_at(world: &World, label: &str, at: (Ipv4Addr, u16), beside: &str) -> Nginx {
    let (at, port) = at;
    served::write_self_signed(&world.conf().join("own"), &["other.test"]);
    let own = "ssl_certificate own/fullchain.pem; ssl_certificate_key own/privkey.pem;";
    let text = format!(
        "pid /tmp/nginx.pid;\nevents {{}}\nhttp {{ access_log off;\nserver {{ listen {at}:{port} ssl; server_name other.test; {own} }}\n{beside}\n}}\n"
    );
    let nginx = Nginx::start_in_network_of_host(world, label, &text);
    process::wait_for("nginx", || {
        served::served(&format!("{at}:{port}"), "other.test").ok()
    });
    nginx
}

/// What `why` says of a link, and what it would change
fn why(world: &World, target: &str, link: &str) -> (String, Value) {
    let report = Report::of(world.certd(&["why", target, "--format", "json"]));
    let report = report.expect_status(1);
    let report = report.json();
    let steps = report["steps"].as_array().cloned();
    let found = steps
        .into_iter()
        .flatten()
        .find(|step| step["link"] == link);
    let seen = found.map(|step| step["seen"].to_string());
    (seen.unwrap_or_default(), report["change"].clone())
}

fn whose_socket_a_name_leads_to_is_told_by_address_and_port() {
    let scene = Scene::new(Kind::Pebble);
    let port = ports::free();
    let label = format!("certd.test.pair={}", random());
    let worlds = [World::new(), World::new()];
    let first = nginx_at(&worlds[0], &label, (FIRST, port), "");
    let second = nginx_at(&scene.world, &label, (SECOND, port), "");
    // What is published at a third address has nothing to do with the others.
    let third = Nginx::start(NginxOptions {
        https: Some((THIRD, port).into()),
        ..NginxOptions::new(&worlds[1], Flavour::Root)
    });
    let all = [(FIRST, &first), (SECOND, &second), (THIRD, &third)];
    for (at, name) in all.map(|(at, nginx)| (at, nginx.name())) {
        let (seen, _) = why(&World::new(), &format!("{at}:{port}"), "listener");
        assert!(seen.contains(name), "{at}: {seen}");
    }

    // The domain is to be served by the second, and DNS leads to the first.
    let config = scene.unbound_config().nginx(&second);
    let config = config.domain(SHOP, &[]).lines(&format!("ports = [{port}]"));
    scene.world.write_config(&config);
    scene.dns.set_a(SHOP, &[&FIRST.to_string()]);
    let (seen, change) = why(&scene.world, SHOP, "listener");
    let holder = format!("{} takes connections at {FIRST}:{port}", first.name());
    assert!(seen.contains(&holder), "{seen}");
    assert_eq!(change["code"], "target.taken", "{change:#}");
    assert!(!change.to_string().contains("listen "), "{change:#}");

    // Of two containers that are meant it is the one that has the socket.
    let pair = format!("\n[nginx]\nlabel = {label:?}");
    let config = scene.unbound_config().lines(&pair);
    let config = config.domain(SHOP, &[]).lines(&format!("ports = [{port}]"));
    scene.world.write_config(&config);
    scene.dns.set_a(SHOP, &[&SECOND.to_string()]);
    let (seen, _) = why(&scene.world, SHOP, "listener");
    assert!(seen.contains(second.name()), "{seen}");
}

fn what_visitors_of_this_host_see_counts_for_the_proof() {
    let scene = Scene::new(Kind::Pebble);
    let port = ports::free();
    let domain = |config: Config| {
        let config = config.domain(SHOP, &[]);
        config.lines(&format!("ports = [{port}]"))
    };
    scene.world.write_config(&domain(scene.unbound_config()));
    scene.obtain(&[SHOP, "--no-deploy"]).expect(0, SHOP, "live");
    let other = World::new();
    let first = nginx_at(&other, "certd.test.of_host", (FIRST, port), "");
    let lines = lines(SHOP);
    // Nobody but this host comes to loopback.
    let block = format!("server {{ listen 127.0.0.1:{port} ssl; server_name {SHOP}; {lines} }}");
    for beside in ["", &block] {
        let second = nginx_at(&scene.world, "certd.test.of_host", (SECOND, port), beside);
        let config = domain(scene.unbound_config().nginx(&second));
        scene.world.write_config(&config);
        scene.dns.set_a(SHOP, &[&FIRST.to_string()]);
        let report = scene.obtain(&[SHOP]).expect_status(1);
        let told = report.finding(SHOP, "target.taken");
        let holder = format!("{} takes connections at {FIRST}:{port}", first.name());
        assert!(told.evidence.contains(&holder), "{report}");
        assert!(!report.to_string().contains("listen 1"), "{report}");
        // Where the names lead to it, it is proven there.
        if !beside.is_empty() {
            scene.dns.set_a(SHOP, &["127.0.0.1"]);
            scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
        }
    }
}
