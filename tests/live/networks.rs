//! Networks of containers: borrowed ones, those without a way for the host, and balancers.

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::nginx::Lender;
use crate::support::ports;
use crate::support::report::Report;
use crate::support::scene::{SHOP, Scene, WWW, site};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_container_in_the_network_of_another_is_proven_at_its_ports,
        a_network_without_a_way_is_told_before_an_order,
        behind_a_balancer_the_header_of_the_proxy_protocol_is_sent,
    ]
}

fn a_container_in_the_network_of_another_is_proven_at_its_ports() {
    let (http, https) = (ports::free(), ports::free());
    let local = |port: u16| ([127, 0, 0, 1], port).into();
    let lender = Lender::start(&[(local(http), 80), (local(https), 443)]);
    let scene = Scene::with(Kind::Pebble, |nginx, ca| {
        nginx.network = Some(lender.network());
        nginx.http_port = http;
        nginx.https = Some(local(https));
        ca.http_port = http;
    });
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    for outcome in ["proven", "unchanged"] {
        scene.obtain(&[SHOP]).expect(0, SHOP, outcome);
        scene.assert_serves(SHOP, &[SHOP, WWW]);
    }
    // Asked by the port alone, the one that publishes it is not taken for nginx.
    scene
        .world
        .write_config(&scene.unbound_config().domain(SHOP, &[WWW]));
    let url = format!("https://{SHOP}:{https}/");
    let output = scene.world.certd(&["why", &url, "--format", "json"]);
    let report = Report::of(output).expect_status(0);
    let words = format!("{}, whose port 443 is published", scene.nginx.name());
    assert!(report.to_string().contains(&words), "{report}");
}

fn a_network_without_a_way_is_told_before_an_order() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| nginx.https = None);
    scene.write_unchecked(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let elsewhere = ["unshare", "--net", "sh", "-c", script];
    let obtain = ["obtain", SHOP, "--format", "json"];
    let output = scene.world.start_under(&elsewhere, &obtain).wait();
    let report = Report::of(output).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.no_route"], "{report}");
    let finding = report.finding(SHOP, "target.no_route");
    let address = scene.nginx.https_address();
    assert!(finding.evidence.contains(&address), "{finding:?}");
    assert!(finding.cure.contains("`connect`"), "{finding:?}");
    assert_eq!(scene.ca.orders(), 0);
}

fn behind_a_balancer_the_header_of_the_proxy_protocol_is_sent() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW])]);
    let sites = conf::site(Flavour::Root, &[site(&[SHOP, WWW])]);
    let balanced = sites.replace("listen 443 ssl;", "listen 443 ssl proxy_protocol;");
    scene.nginx.write_conf(&balanced);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");

    // A visitor who comes without a balancer is reported as such.
    let port = scene.nginx.https_address();
    let port = port.rsplit(':').next().expect("a port");
    let url = format!("https://{SHOP}:{port}/");
    let output = scene.world.certd(&["why", &url, "--format", "json"]);
    let report = Report::of(output).expect_status(1);
    let change = &report.json()["change"];
    assert_eq!(change["code"], "connect.reset", "{report}");
    assert!(
        change["cure"].to_string().contains("proxy_protocol"),
        "{report}"
    );
}
