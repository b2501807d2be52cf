//! `shared = true`: served on purpose with the certificate of another domain.

use libtest_mimic::Trial;

use crate::deploy::{ALWAYS, ignore_reloads};
use crate::support::ca::Kind;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};
use crate::support::served;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_shared_certificate_is_proof_for_a_name_that_it_covers,
        a_shared_certificate_is_none_for_a_name_that_it_left,
        a_shared_certificate_that_leaves_a_name_is_noticed_in_the_same_run,
        a_certificate_without_the_name_is_no_proof_though_shared,
        an_unknown_certificate_is_no_proof_though_shared,
        a_reload_that_never_reaches_nginx_is_no_success_though_shared,
    ]
}

/// domains.toml with the messenger as an alias of the shop
fn write_as_alias(scene: &Scene) {
    scene.write_domains(&[(SHOP, &[MESSENGER])]);
}

/// domains.toml with the messenger as a domain of its own, which shares
fn write_apart(scene: &Scene, nginx: &str) {
    let config = scene.domain(scene.config().lines(nginx), SHOP, &[]);
    let config = scene.domain(config, MESSENGER, &[]);
    scene.world.write_config(&config.lines("shared = true"));
}

/// A scene in which the shop's certificate covers the messenger, and is served for both
fn sharing() -> Scene {
    let scene = Scene::new(Kind::Pebble);
    write_as_alias(&scene);
    scene.write_sites(&[site(&[SHOP, MESSENGER])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    write_apart(&scene, "");
    scene
}

fn a_shared_certificate_is_proof_for_a_name_that_it_covers() {
    let scene = sharing();
    let report = scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    assert_eq!(report.failures(MESSENGER), [""; 0], "{report}");
    assert_eq!(scene.ca.orders(), 2);
    assert_eq!(scene.served(MESSENGER), scene.live(SHOP));
    assert_eq!(scene.live(MESSENGER).names, [MESSENGER]);
    let report = scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "unchanged");
    assert_eq!(report.ca_requests(), 0, "{report}");

    // With a block of its own the own certificate is as good.
    scene.write_sites(&[site(&[SHOP]), site(&[MESSENGER])]);
    let report = scene.obtain(&[MESSENGER, "--force"]);
    report.expect(0, MESSENGER, "proven");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
}

fn a_shared_certificate_is_none_for_a_name_that_it_left() {
    let scene = sharing();
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    // The shop has lost its alias, so it is due, and its new certificate leaves the messenger.
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(scene.live(SHOP).names, [SHOP]);
    let report = scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
    let failures = report.failures(MESSENGER);
    assert_eq!(failures, ["proof.other_lineage"], "{report}");
    assert_eq!(report.ca_requests(), 0, "{report}");
}

fn a_shared_certificate_that_leaves_a_name_is_noticed_in_the_same_run() {
    let scene = sharing();
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "proven");
    assert_eq!(scene.live(SHOP).names, [SHOP]);
    assert_eq!(scene.served(MESSENGER), scene.live(SHOP));
    assert_eq!(report.outcome(MESSENGER), "failed", "{report}");
    let failures = report.failures(MESSENGER);
    assert_eq!(failures, ["proof.other_lineage"], "{report}");
}

fn a_certificate_without_the_name_is_no_proof_though_shared() {
    let scene = Scene::new(Kind::Pebble);
    write_apart(&scene, "");
    scene.write_sites(&[site(&[SHOP, WWW]), site_of(&[MESSENGER], SHOP)]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    for _ in 0..2 {
        let report = scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
        let failures = report.failures(MESSENGER);
        assert_eq!(failures, ["proof.other_lineage"], "{report}");
    }
    assert_eq!(scene.ca.orders(), 2);
}

fn an_unknown_certificate_is_no_proof_though_shared() {
    let scene = sharing();
    served::write_self_signed(&scene.world.conf().join("own/old"), &[MESSENGER]);
    let mut old = site_of(&[MESSENGER], "old");
    old.directory = "/etc/nginx/own";
    scene.write_sites(&[site(&[SHOP]), old]);
    let report = scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
    let failures = report.failures(MESSENGER);
    assert_eq!(failures, ["proof.unknown_certificate"], "{report}");
    let shown = scene.served(MESSENGER);
    assert_eq!(shown.common_name, MESSENGER);
    assert_ne!(shown, scene.live(MESSENGER));
}

fn a_reload_that_never_reaches_nginx_is_no_success_though_shared() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| ignore_reloads(nginx, ALWAYS));
    write_apart(&scene, "reload = \"signal\"");
    scene.write_sites(&[site(&[SHOP]), site(&[MESSENGER])]);
    scene.obtain(&["--all"]).expect(0, MESSENGER, "proven");
    let old = scene.served(MESSENGER);

    write_apart(&scene, "reload = \"exec\"");
    let report = scene.obtain(&[MESSENGER, "--force"]);
    let report = report.expect(1, MESSENGER, "failed");
    let failures = report.failures(MESSENGER);
    assert_eq!(failures, ["proof.previous_generation"], "{report}");
    assert_eq!(scene.served(MESSENGER), old);
    assert_eq!(scene.ca.orders(), 3);

    write_apart(&scene, "reload = \"signal\"");
    let report = scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
}
