//! From a certificate in the archive to one that is served: what nginx's configuration can do.

use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::nginx::{Mount, NginxOptions};
use crate::support::report::Report;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};
use crate::support::served;
use crate::support::world::World;
use crate::support::write;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_at_each_ca![
        another_domains_certificate_is_named_with_the_lines_to_change,
        a_file_without_intermediates_is_named_with_the_line_to_change,
        a_certificate_without_a_server_block_is_served_after_adding_the_block_shown,
        a_name_beside_another_site_is_not_served_yet,
        an_alias_without_a_server_block_is_not_called_success,
        a_certificate_unknown_to_certd_is_described,
        a_renewal_is_ordered_once_while_nginx_refuses_its_configuration,
        a_certificate_that_no_domain_supplies_lets_the_new_one_wait,
        ten_more_runs_after_a_failed_deployment_place_no_order,
        runs_without_a_server_block_place_one_order,
        one_unreadable_key_takes_back_only_its_own_domain,
        tls_that_breaks_though_nginx_accepts_it_is_rolled_back,
        a_reload_that_never_reaches_nginx_is_not_called_success,
        a_reload_that_harms_a_domain_that_needed_nothing_is_not_called_success,
    ];
    trials.extend(crate::trials![
        once_proven_the_old_certificate_is_gone_for_good
    ]);
    trials
}

fn another_domains_certificate_is_named_with_the_lines_to_change(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    let wrong = [site(&[SHOP, WWW]), site_of(&[MESSENGER], SHOP)];
    scene.write_sites(&wrong);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");

    let report = verify(&scene, 1);
    let failures = report.endpoint_failures(MESSENGER);
    assert!(failures.contains(&"served.wrong_name"), "{report}");
    assert_eq!(report.endpoint_failures(SHOP), [""; 0], "{report}");
    let finding = report.endpoint_finding(MESSENGER, "served.wrong_name");
    assert!(finding.evidence.contains(SHOP), "{finding:?}");

    let report = scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
    assert_eq!(report.failures(MESSENGER), ["proof.other_lineage"]);
    let finding = report.finding(MESSENGER, "proof.other_lineage");
    let words = format!("the certificate of {SHOP}");
    assert!(finding.evidence.contains(&words), "{finding:?}");
    let conf = conf::site(scene.nginx.flavour(), &wrong);
    let old = format!("/etc/letsencrypt/live/{SHOP}");
    let block = line_of(&conf, &format!("server_name {MESSENGER};"), 0);
    let certificate = line_of(
        &conf,
        &format!("ssl_certificate {old}/fullchain.pem;"),
        block,
    );
    let key = line_of(
        &conf,
        &format!("ssl_certificate_key {old}/privkey.pem;"),
        block,
    );
    // `server {` stands two lines above the name.
    let own = format!("/etc/letsencrypt/live/{MESSENGER}");
    for expected in [
        format!("/etc/nginx/nginx.conf:{}", block - 2),
        format!("line {certificate}: ssl_certificate {old}/fullchain.pem;"),
        format!("line {key}: ssl_certificate_key {old}/privkey.pem;"),
        format!("{own}/fullchain.pem;"),
        format!("{own}/privkey.pem;"),
    ] {
        assert!(finding.cure.contains(&expected), "{expected}: {finding:?}");
    }
    assert_eq!(scene.ca.orders(), 2);
    // The shop is none the worse for it.
    scene.assert_serves(SHOP, &[SHOP, WWW]);

    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    let report = scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    verify(&scene, 0);
}

/// `certd verify` of everything, at this nginx
#[track_caller]
fn verify(scene: &Scene, status: i32) -> Report {
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[WWW]).lines(&connect);
    let config = config.domain(MESSENGER, &[]).lines(&connect);
    scene.world.write_config(&config);
    scene.verify(&[]).expect_status(status)
}

/// Number of the first line after line `after` with these words
#[track_caller]
fn line_of(text: &str, words: &str, after: usize) -> usize {
    let mut lines = text.lines().enumerate().skip(after);
    let found = lines.find(|(_, line)| line.trim() == words);
    found.unwrap_or_else(|| panic!("no {words} in {text}")).0 + 1
}

fn a_file_without_intermediates_is_named_with_the_line_to_change(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);
    let right = [site(&[SHOP, WWW])];
    let wrong = conf::site(scene.nginx.flavour(), &right).replace("fullchain.pem", "cert.pem");
    scene.nginx.write_conf(&wrong);

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.incomplete_chain"]);
    let finding = report.finding(SHOP, "proof.incomplete_chain");
    let live = format!("/etc/letsencrypt/live/{SHOP}");
    for expected in [
        format!("ssl_certificate {live}/cert.pem;"),
        format!("{live}/fullchain.pem;"),
    ] {
        assert!(finding.cure.contains(&expected), "{expected}: {finding:?}");
    }

    scene.write_sites(&right);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.orders(), 1);
}

fn a_certificate_without_a_server_block_is_served_after_adding_the_block_shown(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "not_served");
    assert_eq!(report.failures(SHOP), ["proof.not_served_yet"]);
    let cure = report.finding(SHOP, "proof.not_served_yet").cure;
    let live = format!("/etc/letsencrypt/live/{SHOP}/fullchain.pem");
    assert!(cure.contains(&live), "{cure}");
    assert_eq!(scene.ca.orders(), 1);
    assert_eq!(scene.live(SHOP).common_name, SHOP);

    let host = scene.world.path().display().to_string();
    assert!(!cure.contains(&host), "a path of the host: {cure}");
    let text = scene.world.certd(&["obtain", SHOP]).expect_status(1).stdout;
    assert!(text.contains(&live), "{text}");

    add_block(&scene, &cure);
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(scene.ca.orders(), 1);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
}

/// Puts the server block in `cure` into nginx.conf as it stands
#[track_caller]
fn add_block(scene: &Scene, cure: &str) {
    let start = cure.find("server {").expect("a server block");
    let end = start + cure[start..].find("\n}").expect("its end") + 2;
    let conf = conf::http_only(scene.nginx.flavour());
    let inside = conf.trim_end().strip_suffix('}').expect("the end of http");
    scene
        .nginx
        .write_conf(&format!("{inside}\n{}\n}}\n", &cure[start..end]));
}

fn a_name_beside_another_site_is_not_served_yet(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);

    // nginx answers for the messenger too, with the first block that it has.
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "proven");
    assert_eq!(report.outcome(MESSENGER), "not_served", "{report}");
    assert_eq!(report.failures(MESSENGER), ["proof.not_served_yet"]);
    assert_eq!(scene.served(MESSENGER), scene.live(SHOP));
    let cure = report.finding(MESSENGER, "proof.not_served_yet").cure;
    assert!(
        cure.contains(&format!("server_name {MESSENGER};")),
        "{cure}"
    );
}

fn an_alias_without_a_server_block_is_not_called_success(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[MESSENGER]), site(&[SHOP])]);

    let report = scene.obtain(&["--all"]).expect_status(1);
    assert_eq!(report.outcome(MESSENGER), "proven", "{report}");
    assert_ne!(report.outcome(SHOP), "proven", "{report}");
    let finding = report.finding(SHOP, "proof.not_served_yet");
    assert!(finding.evidence.contains(WWW), "{finding:?}");
    scene.assert_serves(SHOP, &[SHOP]);
}

fn a_certificate_unknown_to_certd_is_described(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    served::write_self_signed(&scene.world.conf().join("own/old"), &["old.example"]);
    let mut old = site_of(&[SHOP], "old");
    old.directory = "/etc/nginx/own";
    scene.write_sites(&[old]);

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.unknown_certificate"]);
    let finding = report.finding(SHOP, "proof.unknown_certificate");
    assert!(finding.evidence.contains("old.example"), "{finding:?}");
    // It is the default, and keeps what it serves to whoever asks for old.example.
    let line = format!("/live/{SHOP}/fullchain.pem;");
    assert!(finding.cure.contains(&line), "{finding:?}");
    assert!(
        finding
            .cure
            .contains("a copy of that block right behind it"),
        "{finding:?}"
    );
}

/// Whatever is wrong with a file, nginx goes on with what it has loaded, and answers challenges
fn a_renewal_is_ordered_once_while_nginx_refuses_its_configuration(ca: Kind) {
    let scene = Scene::with(ca, |nginx, _| {
        // No name server answers there.
        nginx.run = ["--dns", "127.0.0.1"].map(str::to_owned).to_vec();
    });
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let good = conf::site(Flavour::Root, &[site(&[SHOP, WWW])]);
    let mistaken = good.replace("ssl_protocols", "ssl_protocolls");
    let unresolved = good.replace(
        "return 200 \"$ssl_server_name\\n\";",
        "proxy_pass http://app-server;",
    );
    assert_ne!(unresolved, good);
    for (orders, broken, words, cure) in [
        (
            2,
            mistaken,
            "unknown directive \"ssl_protocolls\"",
            "mend /etc/nginx/nginx.conf:16",
        ),
        (
            3,
            unresolved,
            "host not found in upstream \"app-server\"",
            "nginx.conf:19 names app-server, which has no address",
        ),
    ] {
        let old = scene.served(SHOP);
        scene.nginx.write_conf(&broken);
        for arguments in [&[SHOP, "--force"][..], &[SHOP, "--force"], &[SHOP]] {
            let report = scene.obtain(arguments).expect(1, SHOP, "failed");
            let failures = report.failures(SHOP);
            assert_eq!(failures, ["target.config_broken"], "{report}");
            assert_eq!(report.warnings(SHOP), [""; 0], "{report}");
            let finding = report.finding(SHOP, "target.config_broken");
            assert!(finding.evidence.contains(words), "{finding:?}");
            assert!(finding.cure.contains(cure), "{finding:?}");
            assert!(finding.cure.contains(scene.nginx.name()), "{finding:?}");
            assert_eq!(scene.ca.orders(), orders, "{report}");
            assert_eq!(scene.served(SHOP), old);
            assert_eq!(scene.live(SHOP), old);
        }
        scene.nginx.write_conf(&good);
        let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
        assert_eq!(scene.ca.orders(), orders, "{report}");
        assert_ne!(scene.served(SHOP), old);
        scene.assert_serves(SHOP, &[SHOP, WWW]);
        scene.assert_clean();
    }
}

fn a_certificate_that_no_domain_supplies_lets_the_new_one_wait(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&["other.test"]), site(&[SHOP])]);

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.config_broken"]);
    let finding = report.finding(SHOP, "target.config_broken");
    let missing = "/etc/letsencrypt/live/other.test/fullchain.pem";
    assert!(finding.evidence.contains(missing), "{finding:?}");
    assert_eq!(scene.ca.orders(), 1);
    // Once the other is there, nginx must not miss this one.
    scene.write_sites(&[site(&[SHOP])]);
    scene.nginx.restart();
    scene.assert_serves(SHOP, &[SHOP]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(scene.ca.orders(), 1);
}

fn ten_more_runs_after_a_failed_deployment_place_no_order(ca: Kind) {
    let world = World::new();
    world.chown("storage", "0:0");
    let scene = Scene::in_world(ca, world, Flavour::Unprivileged, |_, _| {});
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.test_failed"]);
    for run in 1..=10 {
        let arguments: &[&str] = match run % 2 {
            0 => &[SHOP],
            _ => &[SHOP, "--force"],
        };
        let report = scene.obtain(arguments).expect(1, SHOP, "failed");
        assert_eq!(report.ca_requests(), 0, "run {run}: {report}");
    }
    assert_eq!(scene.ca.orders(), 1);
    assert_eq!(scene.ca.certificates(), 1);
    assert_eq!(scene.generations(SHOP), ["1"]);

    scene.world.chown("storage", "101:33");
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    scene.assert_serves(SHOP, &[SHOP]);
}

fn runs_without_a_server_block_place_one_order(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.obtain(&[SHOP]).expect(1, SHOP, "not_served");
    for arguments in [&[SHOP][..], &[SHOP, "--force"]] {
        let report = scene.obtain(arguments).expect(1, SHOP, "not_served");
        assert_eq!(report.ca_requests(), 0, "{report}");
        assert_eq!(report.generation(SHOP), 1, "{report}");
    }
    assert_eq!(scene.ca.orders(), 1);
}

fn one_unreadable_key_takes_back_only_its_own_domain(ca: Kind) {
    let world = World::new();
    world.chown("storage", "101:33");
    let scene = Scene::in_world(ca, world, Flavour::Unprivileged, |_, _| {});
    let third = "third.test";
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[]), (third, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER]), site(&[third])]);
    scene.obtain(&["--all"]).expect(0, third, "proven");
    let old = scene.served(third);
    let archive = scene.world.storage().join("archive");

    // New keys belong to the owner of the directory that they are made in.
    std::os::unix::fs::chown(archive.join(third), Some(0), Some(0)).expect("as root");
    let report = scene
        .obtain(&["--all", "--force"])
        .expect(1, third, "failed");
    for (domain, names) in [(SHOP, &[SHOP, WWW][..]), (MESSENGER, &[MESSENGER])] {
        assert_eq!(report.outcome(domain), "proven", "{report}");
        assert_eq!(report.generation(domain), 2, "{report}");
        assert!(scene.live_target(domain).ends_with("2"), "{domain}");
        scene.assert_serves(domain, names);
    }
    assert_eq!(report.failures(third), ["target.test_failed"]);
    let finding = report.finding(third, "target.test_failed");
    assert!(
        finding.evidence.contains("Permission denied"),
        "{finding:?}"
    );
    assert!(finding.evidence.contains("privkey.pem"), "{finding:?}");
    assert!(finding.cure.contains("key_group"), "{finding:?}");
    assert!(scene.live_target(third).ends_with("1"));
    assert_eq!(scene.served(third), old);
    scene.assert_serves(third, &[third]);
    assert_eq!(scene.generations(third), ["1", "2"]);

    // What waits in the archive is deployed without an order once the cause is mended.
    let orders = scene.ca.orders();
    scene
        .world
        .chown("storage/archive/third.test/2/privkey.pem", "101:33");
    let report = scene.obtain(&["--all"]).expect(0, third, "proven");
    assert_eq!(report.outcome(SHOP), "unchanged", "{report}");
    assert_eq!(scene.ca.orders(), orders);
    assert_ne!(scene.served(third), old);
    scene.assert_serves(third, &[third]);
}

fn tls_that_breaks_though_nginx_accepts_it_is_rolled_back(ca: Kind) {
    let scene = Scene::new(ca);
    let domain = || scene.domain(scene.config(), SHOP, &[]);
    scene
        .world
        .write_config(&domain().lines("key_type = \"rsa2048\""));
    // With an RSA suite alone a P-256 certificate leaves nothing to agree on, and `nginx -t` is
    // content with it.
    let conf = conf::site(Flavour::Root, &[site(&[SHOP])]).replace(
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_protocols TLSv1.2;\n        ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;",
    );
    scene.nginx.write_conf(&conf);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let old = scene.served(SHOP);

    scene.world.write_config(&domain());
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.broken"]);
    let finding = report.finding(SHOP, "proof.broken");
    let words = "generation 1 is live and served again";
    assert!(finding.evidence.contains(words), "{finding:?}");
    assert!(report.stages(SHOP).contains(&"rollback"), "{report}");
    assert!(scene.live_target(SHOP).ends_with("1"));
    assert_eq!(scene.served(SHOP), old);
    assert_eq!(scene.generations(SHOP), ["1", "2"]);

    // The new one waits, and is served once nginx can.
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(SHOP, &[SHOP]);
}

fn a_reload_that_never_reaches_nginx_is_not_called_success(ca: Kind) {
    let scene = Scene::with(ca, |nginx, _| ignore_reloads(nginx, ALWAYS));
    let config = |reload: &str| {
        let config = scene.config().lines(&format!("reload = {reload:?}"));
        scene.world.write_config(&scene.domain(config, SHOP, &[]));
    };
    config("signal");
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let old = scene.served(SHOP);

    config("exec");
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.previous_generation"]);
    let reloads = report.target_stages();
    let count = reloads.iter().filter(|stage| **stage == "reload").count();
    assert_eq!(count, 2, "tried once more: {report}");
    assert_eq!(scene.served(SHOP), old);
    assert_eq!(scene.ca.orders(), 2);

    config("signal");
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(SHOP, &[SHOP]);
}

fn a_reload_that_harms_a_domain_that_needed_nothing_is_not_called_success(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP]), site(&[MESSENGER])]);
    scene.obtain(&["--all"]).expect(0, MESSENGER, "proven");

    // An edit that nobody has loaded yet: the shop's renewal will.
    scene.write_sites(&[site(&[SHOP, WWW]), site_of(&[MESSENGER], SHOP)]);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "proven");
    assert_eq!(scene.served(MESSENGER), scene.live(SHOP));
    assert_eq!(report.outcome(MESSENGER), "failed", "{report}");
    let failures = report.failures(MESSENGER);
    assert_eq!(failures, ["proof.other_lineage"], "{report}");
    assert_eq!(scene.ca.orders(), 3);
}

fn once_proven_the_old_certificate_is_gone_for_good() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    // While nginx reloads, old and new workers accept connections side by side, for 100 ms.
    for renewal in 1..=20 {
        scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
        let live = scene.live(SHOP);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2 {
                        assert_eq!(scene.served(SHOP), live, "renewal {renewal}");
                    }
                });
            }
        });
    }
}

/// Puts a program before nginx that keeps `nginx -s reload` to itself, as long as `ignores` says
///
/// A signal through the engine still reaches nginx.
pub(crate) fn ignore_reloads(nginx: &mut NginxOptions, ignores: &str) {
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in '-s reload'*) {ignores} ;; esac\n\
         PATH=/usr/sbin:/usr/bin\nexport PATH\nexec nginx \"$@\"\n"
    );
    let program = nginx.conf_dir.join("before-nginx");
    write(&program, script);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("mode can be set");
    let mount = Mount::read_only(&program, "/usr/local/sbin/nginx");
    nginx.mounts.push(mount);
}

/// Every reload
pub(crate) const ALWAYS: &str = "exit 0";

/// Runs nginx below a script, as images without an init do
pub(crate) fn below_a_script(nginx: &mut NginxOptions, script: &str) {
    write(nginx.conf_dir.join("start.sh"), script);
    nginx.command = ["sh", "/etc/nginx/start.sh"].map(str::to_owned).to_vec();
}
