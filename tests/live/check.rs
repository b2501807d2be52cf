//! `certd check`, and the same looks before an order: what the host can see costs the CA nothing.
//!
//! Of the four troubles of a shared nginx the first two, DNS and port 80, stop an order. The other
//! two, an old certificate that is served and an application that is down behind a good one, are
//! told and stop nothing: a certificate can be had.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use certd_sandbox::dns::{Record, Server, Zone};
use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::nginx::NginxOptions;
use crate::support::report::Finding;
use crate::support::sandbox::runtime;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials![
        one_of_several_addresses_that_is_not_ours_costs_no_order,
        ipv6_that_answers_nobody_costs_no_order,
        a_redirect_to_another_host_costs_no_order,
        a_redirect_to_a_host_that_is_down_costs_no_order,
        a_location_with_a_login_costs_no_order,
        a_location_that_is_missing_costs_no_order,
        an_upstream_that_is_down_costs_no_order,
        a_webroot_that_is_not_mounted_costs_no_order,
        a_port_80_that_is_not_published_costs_no_order,
        an_nginx_that_is_stopped_costs_no_order,
        what_a_visitor_wrote_before_nginx_was_stopped_decides_nothing,
        ten_domains_take_a_second_or_two,
    ];
    trials.extend(crate::trials_at_each_ca![
        a_host_that_is_ready_is_told_so_and_gets_its_certificate,
        an_address_of_another_host_costs_no_order,
        a_caa_record_that_forbids_costs_no_order,
        the_messenger_that_dns_does_not_lead_to_is_told_how,
        the_messenger_that_is_not_reached_is_told_how,
        the_messenger_with_the_certificate_of_the_shop_is_told_how,
        an_application_that_is_down_is_told_and_stops_nothing,
    ]);
    trials
}

/// Checks that `check` and `obtain` name `code` for the shop, and that the CA gave its directory
/// at most: no account, no order, no validation
#[track_caller]
fn stopped(scene: &Scene, code: &str) -> Finding {
    stopped_at(scene, SHOP, code)
}

#[track_caller]
fn stopped_at(scene: &Scene, domain: &str, code: &str) -> Finding {
    let log = || {
        let ca = &scene.ca;
        [ca.accounts(), ca.orders(), ca.validations()]
    };
    let (before, requests) = (log(), scene.ca.requests());
    let report = scene.check(&[domain]).expect_status(1);
    assert_eq!(report.readiness(domain), "not_ready", "{report}");
    let failures = report.check_failures(domain);
    assert!(failures.contains(&code), "{code}: {report}");
    let finding = report.check_finding(domain, code);
    assert!(!finding.cure.is_empty(), "{report}");
    assert_eq!(scene.ca.requests(), requests + 1, "the directory");

    let report = scene.obtain(&[domain]).expect(1, domain, "failed");
    let failures = report.failures(domain);
    assert!(failures.contains(&code), "{code}: {report}");
    assert_eq!(report.finding(domain, code).cure, finding.cure, "{report}");
    // The directory, and for a known account the nonce of an order that may come.
    assert!(report.ca_requests() <= 2, "{report}");
    assert!(scene.ca.requests() <= requests + 3);
    assert_eq!(log(), before);
    scene.assert_clean();
    finding
}

#[track_caller]
fn assert_says(finding: &Finding, words: &[&str]) {
    let Finding { evidence, cure } = finding;
    for words in words {
        let found = evidence.contains(words) || cure.contains(words);
        assert!(found, "{words}: {finding:?}");
    }
}

fn a_host_that_is_ready_is_told_so_and_gets_its_certificate(ca: Kind) {
    let scene = Scene::new(ca);
    let config = scene.config().key(OWN);
    scene.write_config(config, &[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    let report = scene.check(&[]).expect_status(0);
    for domain in [SHOP, MESSENGER] {
        assert_eq!(report.readiness(domain), "ready", "{report}");
        assert_eq!(report.check_failures(domain), [""; 0], "{report}");
        report.check_finding(domain, "http.served");
        report.check_finding(domain, "docker.ready");
    }
    assert_eq!(scene.ca.requests(), 1);
    scene.assert_clean();
    scene.obtain(&["--all"]).expect(0, MESSENGER, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.orders(), 2);
}

fn an_address_of_another_host_costs_no_order(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_config(scene.config().key(OWN), &[(SHOP, &[WWW])]);
    scene.dns.set_a(WWW, &["127.0.0.9"]);
    let finding = stopped(&scene, "dns.elsewhere");
    assert_says(&finding, &[WWW, "127.0.0.9", "correct the A record"]);
}

fn one_of_several_addresses_that_is_not_ours_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_config(scene.config().key(OWN), &[(SHOP, &[WWW])]);
    scene.dns.set_a(WWW, &["127.0.0.1", "127.0.0.9"]);
    let finding = stopped(&scene, "dns.one_of_several");
    assert_says(&finding, &[WWW, "remove 127.0.0.9"]);
}

fn ipv6_that_answers_nobody_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW])]);
    // The container is published on IPv4 alone.
    scene.dns.set_aaaa(WWW, &["::1"]);
    let finding = stopped(&scene, "http.dead_ipv6");
    assert_says(&finding, &["[::1]", &format!("AAAA record of {WWW}")]);
}

fn a_caa_record_that_forbids_costs_no_order(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);
    // The alias has no record of its own, and takes that of the name above it.
    scene.dns.set_caa(SHOP, ";");
    let finding = stopped(&scene, "caa.forbidden");
    assert_says(&finding, &[SHOP, "0 issue \";\""]);
}

/// nginx whose server block for port 80 holds `inside`, and no location of its own for challenges
fn scene_with(inside: &str, change: impl FnOnce(&mut NginxOptions)) -> Scene {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.conf = nginx.conf.replace(CHALLENGES, "").replace(DEFAULT, inside);
        change(nginx);
    });
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene
}

fn a_redirect_to_another_host_costs_no_order() {
    let inside = format!("location / {{ return 301 http://{OLD_SHOP}$request_uri; }}");
    let other = "server { listen 81; return 200 'the old shop'; }";
    let inside = format!("{inside} }}\n{other}\nserver {{ listen 82;");
    let scene = scene_with(&inside, |nginx| {
        let address = (OTHER_HOST, nginx.http_port).into();
        nginx.others.push((address, 81));
    });
    scene.dns.set_a(OLD_SHOP, &[&OTHER_HOST.to_string()]);
    let finding = stopped(&scene, "http.wrong_body");
    let there = format!("http://{OLD_SHOP}/.well-known/acme-challenge/");
    assert_says(&finding, &[&there, "the old shop", CHALLENGES]);
}

fn a_redirect_to_a_host_that_is_down_costs_no_order() {
    let inside = format!("location / {{ return 301 http://{OLD_SHOP}$request_uri; }}");
    let scene = scene_with(&inside, |_| {});
    scene.dns.set_a(OLD_SHOP, &[&OTHER_HOST.to_string()]);
    let finding = stopped(&scene, "http.redirect_nowhere");
    assert_says(&finding, &[OLD_SHOP, CHALLENGES]);
}

fn a_location_with_a_login_costs_no_order() {
    let login = "auth_basic shop; auth_basic_user_file /etc/nginx/users;";
    let inside = format!("location / {{ {login} root /var/www/certbot; }}");
    let scene = scene_with(&inside, |_| {});
    let finding = stopped(&scene, "http.login");
    assert_says(&finding, &["401", "nginx", "auth_basic off;"]);
}

fn a_location_that_is_missing_costs_no_order() {
    let scene = scene_with("location / { root /usr/share/nginx/html; }", |_| {});
    let finding = stopped(&scene, "http.not_found");
    assert_says(&finding, &["404", "nginx", CHALLENGES]);
}

fn an_upstream_that_is_down_costs_no_order() {
    let scene = scene_with("location / { proxy_pass http://127.0.0.1:9; }", |_| {});
    let finding = stopped(&scene, "http.server_error");
    assert_says(&finding, &["502", "nginx", CHALLENGES]);
}

fn a_webroot_that_is_not_mounted_costs_no_order() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.mounts.remove(1);
    });
    scene.write_domains(&[(SHOP, &[WWW])]);
    let finding = stopped(&scene, "target.not_mounted");
    let webroot = scene.world.webroot().display().to_string();
    assert_says(&finding, &[&webroot, scene.nginx.name()]);
    // Nor is its token found.
    let report = scene.check(&[SHOP]);
    report.check_finding(SHOP, "http.not_found");
}

fn a_port_80_that_is_not_published_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW])]);
    // The container itself answers right, and nothing stands between this host and its address.
    scene.dns.set_a(WWW, &[&OTHER_HOST.to_string()]);
    let finding = stopped(&scene, "http.refused");
    assert_says(
        &finding,
        &[
            "refused",
            "its port 80 is published at",
            "correct the record",
        ],
    );
}

fn what_a_visitor_wrote_before_nginx_was_stopped_decides_nothing() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    let file = format!("/etc/letsencrypt/live/{SHOP}/fullchain.pem");
    let line = format!(
        "x%22%0anginx:%20%5bemerg%5d%20cannot%20load%20certificate%20%22{file}%22:%20BIO_new_file()%20failed%20(SSL:%20No%20such%20file)%0a"
    );
    let request = format!(
        "GET /.well-known/acme-challenge/{line} HTTP/1.1\r\nHost: {SHOP}\r\nConnection: close\r\n\r\n"
    );
    let port = scene.nginx.http_port();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("nginx listens");
    stream.write_all(request.as_bytes()).expect("it takes it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let forged = scene.nginx.logs();
    assert!(forged.contains("\nnginx: [emerg] cannot load"), "{forged}");
    scene.nginx.stop();
    let finding = stopped(&scene, "target.not_running");
    let finding = format!("{finding:?}");
    assert!(!finding.contains("last words"), "{finding}");
    assert!(!finding.contains("placeholder"), "{finding}");
}

fn an_nginx_that_is_stopped_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.nginx.stop();
    let finding = stopped(&scene, "target.not_running");
    assert_says(&finding, &[scene.nginx.name(), "docker logs"]);
    let report = scene.check(&[SHOP]);
    let finding = report.check_finding(SHOP, "http.refused");
    assert_says(&finding, &["is nginx running"]);
}

/// A shared nginx before its cure: the shop is served, and the messenger's server block names its
/// certificate
fn shop_and_messenger(ca: Kind) -> Scene {
    let scene = Scene::new(ca);
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().key(OWN).domain(SHOP, &[WWW]).lines(&connect);
    let config = config.domain(MESSENGER, &[]).lines(&connect);
    scene.world.write_config(&config);
    scene.write_sites(&[site(&[SHOP, WWW]), site_of(&[MESSENGER], SHOP)]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene
}

fn the_messenger_that_dns_does_not_lead_to_is_told_how(ca: Kind) {
    let scene = shop_and_messenger(ca);
    scene.dns.set_a(MESSENGER, &["127.0.0.9"]);
    let finding = stopped_at(&scene, MESSENGER, "dns.elsewhere");
    let cure = "correct the A record, and wait for its TTL";
    assert_says(&finding, &[MESSENGER, "127.0.0.9", cure]);

    // The server of the other tests knows every name.
    let (runtime, zone) = (runtime(), Zone::new());
    zone.add(SHOP, Record::A(Ipv4Addr::LOCALHOST));
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), zone);
    let server = runtime.block_on(server).expect("a DNS server starts");
    let config = scene.config().key(OWN).dns(server.address());
    scene.write_config(config, &[(SHOP, &[]), (MESSENGER, &[])]);
    let finding = stopped_at(&scene, MESSENGER, "dns.nxdomain");
    let cure = format!("add an A record for {MESSENGER} that points to this host");
    assert_says(&finding, &["NXDOMAIN", &cure, "5 to 30 minutes"]);
    let report = scene.check(&[SHOP]).expect_status(0);
    assert_eq!(report.readiness(SHOP), "ready", "{report}");
}

fn the_messenger_that_is_not_reached_is_told_how(ca: Kind) {
    let scene = shop_and_messenger(ca);
    // "Failed authorization procedure": what answers is not the file.
    let sites = [site(&[SHOP, WWW]), site_of(&[MESSENGER], SHOP)];
    let conf = conf::site(Flavour::Root, &sites);
    let without = conf.replace(
        CHALLENGES,
        "location /.well-known/ { return 404 'not here'; }",
    );
    scene.nginx.write_conf(&without);
    scene.nginx.reload();
    let is_new = |reply: &str| reply.contains("not here");
    scene.nginx.wait_for_challenges(is_new);
    let finding = stopped_at(&scene, MESSENGER, "http.not_found");
    assert_says(&finding, &[MESSENGER, "404", CHALLENGES]);

    // "Connection refused".
    scene.nginx.stop();
    let finding = stopped_at(&scene, MESSENGER, "target.not_running");
    assert_says(&finding, &[scene.nginx.name(), "docker logs"]);
    let report = scene.check(&[MESSENGER]);
    let finding = report.check_finding(MESSENGER, "http.refused");
    assert_says(&finding, &["refused", "is nginx running", "port 80"]);
}

fn the_messenger_with_the_certificate_of_the_shop_is_told_how(ca: Kind) {
    let scene = shop_and_messenger(ca);
    let report = scene.verify(&[MESSENGER]).expect_status(1);
    let finding = report.endpoint_finding(MESSENGER, "served.wrong_name");
    assert_says(&finding, &[SHOP]);
    // An order succeeds: what it brings is wanted, and the path to it is told.
    let report = scene.check(&[MESSENGER]).expect_status(0);
    assert_eq!(report.readiness(MESSENGER), "ready", "{report}");
    let finding = report.check_finding(MESSENGER, "served.wrong_name");
    let path = format!("/etc/letsencrypt/live/{SHOP}/fullchain.pem");
    assert_says(&finding, &[SHOP, "/etc/nginx/nginx.conf:", &path]);
    let report = scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
    assert_eq!(report.failures(MESSENGER), ["proof.other_lineage"]);
    let finding = report.finding(MESSENGER, "proof.other_lineage");
    let old = format!("ssl_certificate /etc/letsencrypt/live/{SHOP}/fullchain.pem;");
    let new = format!("/etc/letsencrypt/live/{MESSENGER}/fullchain.pem;");
    assert_says(&finding, &["/etc/nginx/nginx.conf:", &old, &new]);
    // Now that there is one, `check` tells the lines too.
    let report = scene.check(&[MESSENGER]).expect_status(0);
    let finding = report.check_finding(MESSENGER, "served.wrong_name");
    assert_says(&finding, &["/etc/nginx/nginx.conf:", &old, &new]);

    // The right path, and no restart: certd's reload is what was missing.
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    let report = scene.verify(&[MESSENGER]).expect_status(1);
    report.endpoint_finding(MESSENGER, "served.wrong_name");
    let report = scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(scene.ca.orders(), 2);

    let renewed = scene.obtain(&[MESSENGER, "--force", "--no-deploy"]);
    renewed.expect(0, MESSENGER, "live");
    let report = scene.verify(&[MESSENGER]).expect_status(1);
    let finding = report.endpoint_finding(MESSENGER, "served.other_generation");
    let seen = "generation 1 is served, generation 2 is live";
    assert_says(&finding, &[seen, "reload"]);
}

fn an_application_that_is_down_is_told_and_stops_nothing(ca: Kind) {
    let scene = shop_and_messenger(ca);
    let sites = [site(&[SHOP, WWW]), site(&[MESSENGER])];
    let conf = conf::site(Flavour::Root, &sites);
    let answer = "return 200 \"$ssl_server_name\\n\";";
    assert!(conf.contains(answer), "{conf}");
    let down = conf.replace(answer, "proxy_pass http://127.0.0.1:9;");
    scene.nginx.write_conf(&down);
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.verify(&[MESSENGER]).expect_status(0);
    let report = scene.check(&[MESSENGER]).expect_status(0);
    assert_eq!(report.readiness(MESSENGER), "ready", "{report}");
    let finding = report.check_finding(MESSENGER, "site.server_error");
    assert_says(&finding, &["502", "nginx", "application"]);
}

fn ten_domains_take_a_second_or_two() {
    let scene = Scene::new(Kind::Pebble);
    let names: Vec<[String; 2]> = (0..10)
        .map(|number| {
            [
                format!("shop-{number}.test"),
                format!("www.shop-{number}.test"),
            ]
        })
        .collect();
    let config = names.iter().fold(scene.config(), |config, [name, alias]| {
        scene.domain(config, name, &[alias])
    });
    scene.world.write_config(&config);
    let report = scene.check(&[]).expect_status(0);
    assert_eq!(scene.ca.requests(), 1, "{report}");
    assert!(report.elapsed() < BOUND, "{report}");
}

/// `addresses` of a host that is reached at loopback
const OWN: &str = "addresses = [\"127.0.0.1\"]";
/// A name at [`OTHER_HOST`]
const OLD_SHOP: &str = "old.rare-books.test";
/// Where the host of the tests has another one
const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// What nginx's configuration has for challenges, and what `check` tells to add
const CHALLENGES: &str = "location ^~ /.well-known/acme-challenge/ { root /var/www/certbot; }";
/// What it has for everything else
const DEFAULT: &str = "location / { return 301 https://$host$request_uri; }";
/// A second or two, and what a busy machine adds
const BOUND: Duration = Duration::from_secs(6);
