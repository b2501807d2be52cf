//! `obtain` with its options, and doing nothing where nothing is due.

use libtest_mimic::Trial;

use crate::support::ca::{Ca, Kind, Options};
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site};
use crate::support::tree::Tree;
use crate::support::world::entries;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials_at_each_ca![
        a_second_run_changes_nothing_and_asks_no_ca,
        force_renews_with_a_new_key,
        five_generations_are_kept,
        no_deploy_makes_it_live_without_a_container,
        no_deploy_leaves_the_container_alone,
        no_deploy_with_force_makes_each_new_generation_live,
        dry_run_sends_nothing_and_writes_nothing,
        staging_installs_nothing,
        an_issuer_chosen_for_one_run_stays_chosen,
        what_is_live_and_not_served_is_deployed_again,
    ]
}

fn a_second_run_changes_nothing_and_asks_no_ca(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let (requests, storage) = (
        scene.ca.requests(),
        Tree::of(&scene.world.storage().join("live")),
    );
    let started = scene.nginx.logs();

    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(report.failures(SHOP), [""; 0], "{report}");
    assert_eq!(scene.ca.requests(), requests);
    assert_eq!(scene.ca.orders(), 1);
    assert_eq!(Tree::of(&scene.world.storage().join("live")), storage);
    assert_eq!(reloads(&scene.nginx.logs()), reloads(&started));
    let text = scene.world.certd(&["obtain", SHOP]).expect_status(0).stdout;
    assert!(text.contains("nothing to do"), "{text}");
}

/// How often nginx has read its configuration again
fn reloads(log: &str) -> usize {
    log.matches("(SIGHUP) received").count()
}

fn force_renews_with_a_new_key(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let key = |generation: &str| {
        let archive = scene.world.storage().join("archive").join(SHOP);
        std::fs::read_to_string(archive.join(generation).join("privkey.pem")).expect("a key")
    };
    let first = key("1");

    let report = scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    assert_ne!(key("2"), first);
    assert_eq!(key("1"), first);
    assert!(scene.live_target(SHOP).ends_with("2"));
    scene.assert_serves(SHOP, &[SHOP]);
    assert_eq!(scene.ca.orders(), 2);
}

fn five_generations_are_kept(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    for _ in 1..=7 {
        scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    }
    assert_eq!(scene.generations(SHOP), ["3", "4", "5", "6", "7"]);
    scene.assert_serves(SHOP, &[SHOP]);
}

fn no_deploy_makes_it_live_without_a_container(ca: Kind) {
    let scene = Scene::new(ca);
    scene
        .world
        .write_config(&scene.unbound_config().domain(SHOP, &[WWW]));

    let report = scene.obtain(&[SHOP, "--no-deploy"]).expect(0, SHOP, "live");
    assert_eq!(report.generation(SHOP), 1, "{report}");
    assert_eq!(scene.live(SHOP).sorted_names(), [SHOP, WWW]);
    // Without [nginx] nothing else can be done with it.
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.none"]);
    assert_eq!(scene.ca.orders(), 1);
}

fn no_deploy_leaves_the_container_alone(ca: Kind) {
    let scene = Scene::new(ca);
    let config = scene
        .unbound_config()
        .lines("[nginx]\ncontainer = \"no-such-container\"\ndocker = \"unix:///nonexistent.sock\"");
    scene.world.write_config(&config.domain(SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP, "--no-deploy"]).expect(0, SHOP, "live");
    assert_eq!(reloads(&scene.nginx.logs()), 0);

    // The next run proves it, without an order.
    scene.write_domains(&[(SHOP, &[])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(reloads(&scene.nginx.logs()), 1);
    assert_eq!(scene.ca.orders(), 1);
    scene.assert_serves(SHOP, &[SHOP]);
}

fn no_deploy_with_force_makes_each_new_generation_live(ca: Kind) {
    let scene = Scene::new(ca);
    scene
        .world
        .write_config(&scene.unbound_config().domain(SHOP, &[WWW]));
    let mut seen = Vec::new();
    for generation in 1..=2 {
        let report = scene.obtain(&[SHOP, "--no-deploy", "--force"]);
        let report = report.expect(0, SHOP, "live");
        assert_eq!(report.generation(SHOP), generation, "{report}");
        assert!(scene.live_target(SHOP).ends_with(generation.to_string()));
        assert_eq!(scene.live(SHOP).sorted_names(), [SHOP, WWW]);
        seen.push(scene.live(SHOP).fingerprint);
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(scene.generations(SHOP), ["1", "2"]);
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_clean();
}

fn dry_run_sends_nothing_and_writes_nothing(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);
    let untouched = Tree::of(scene.world.path());
    scene
        .obtain(&[SHOP, "--dry-run"])
        .expect(0, SHOP, "planned");
    assert_eq!(Tree::of(scene.world.path()), untouched);

    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let (untouched, requests) = (Tree::of(scene.world.path()), scene.ca.requests());
    let report = scene
        .obtain(&[SHOP, "--dry-run", "--force"])
        .expect(0, SHOP, "planned");
    let summary = report.domain(SHOP)["summary"].to_string();
    assert!(summary.contains("order"), "{report}");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(Tree::of(scene.world.path()), untouched);
    assert_eq!(scene.ca.requests(), requests);
    assert_eq!(reloads(&scene.nginx.logs()), 1);
}

fn staging_installs_nothing(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    let arguments = ["--all", "--staging", "--issuer", "test-ca"];
    let report = scene.obtain(&arguments).expect(0, SHOP, "rehearsed");
    assert_eq!(report.outcome(MESSENGER), "rehearsed", "{report}");
    assert_eq!(scene.ca.certificates(), 2);
    for directory in ["archive", "live"] {
        let found = entries(scene.world.storage().join(directory));
        assert_eq!(found, [""; 0], "{directory}");
    }
    assert_eq!(entries(scene.world.state().join("domains")), [""; 0]);
    scene.assert_clean();

    // A rehearsal for a domain with a certificate leaves that one served.
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let storage = Tree::of(&scene.world.storage().join("archive").join(SHOP));
    let old = scene.served(SHOP);
    let arguments = [SHOP, "--staging", "--issuer", "test-ca"];
    scene.obtain(&arguments).expect(0, SHOP, "rehearsed");
    assert_eq!(scene.ca.certificates(), 4);
    assert_eq!(
        Tree::of(&scene.world.storage().join("archive").join(SHOP)),
        storage
    );
    assert_eq!(scene.served(SHOP), old);
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
    assert_eq!(report.ca_requests(), 0, "{report}");
}

fn an_issuer_chosen_for_one_run_stays_chosen(ca: Kind) {
    let scene = Scene::new(ca);
    let other = Ca::start(ca, &scene.dns, Options::new(scene.nginx.http_port()));
    let config = scene
        .unbound_config()
        .issuer("other", &other.directory_url(), &other.trust_pem_path())
        .nginx(&scene.nginx);
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);

    scene
        .obtain(&[SHOP, "--issuer", "other"])
        .expect(0, SHOP, "proven");
    assert_eq!((scene.ca.orders(), other.orders()), (0, 1));
    assert!(served_by(&scene, &other), "not by the other CA");

    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!((scene.ca.orders(), other.orders()), (0, 1));

    // Asked for by name, the configured one is a change.
    scene
        .obtain(&[SHOP, "--issuer", "test-ca"])
        .expect(0, SHOP, "proven");
    assert_eq!((scene.ca.orders(), other.orders()), (1, 1));
    assert_eq!(scene.served(SHOP), scene.live(SHOP));
    assert!(served_by(&scene, &scene.ca), "not by the configured CA");
    scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
    assert_eq!(
        entries(scene.world.state().join("accounts")),
        ["other.json", "test-ca.json"]
    );
}

fn served_by(scene: &Scene, ca: &Ca) -> bool {
    let address = scene.nginx.https_address();
    crate::support::served::is_trusted(&address, SHOP, &ca.root_path())
}

fn what_is_live_and_not_served_is_deployed_again(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");

    // Somebody loads a configuration without the site, and then brings it back without a reload.
    scene.write_sites(&[]);
    scene.nginx.reload();
    let address = scene.nginx.https_address();
    crate::support::process::wait_for("end of TLS", || {
        crate::support::served::served(&address, SHOP).err()
    });
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    scene.assert_serves(SHOP, &[SHOP]);
    assert_eq!(scene.ca.orders(), 1);
}
