//! What a container sees of webroot and storage, and what its nginx may read there.

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{Flavour, Site};
use crate::support::nginx::{Mount, Nginx, NginxOptions, Volume};
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, challenges, site, site_of};
use crate::support::served;
use crate::support::world::{Config, Directories, World, entries};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_container_without_the_webroot_costs_no_order,
        a_container_without_the_storage_costs_no_order,
        a_covered_webroot_costs_no_order,
        a_covered_storage_costs_no_order,
        a_webroot_that_was_made_anew_costs_no_order,
        a_mounted_file_is_refused_and_works_with_restart,
        a_mounted_live_directory_is_refused_and_works_with_restart,
        a_storage_mounted_twice_is_named_as_the_configuration_does,
        named_volumes_are_found,
        key_group_lets_an_unprivileged_nginx_read_the_key,
        a_key_that_nginx_cannot_read_asks_for_key_group,
        key_group_mends_a_key_that_is_there_already,
        a_symlink_in_the_webroot_is_not_followed,
        a_storage_reached_through_a_symlink_works,
    ]
}

/// Checks that `certd obtain` fails with `code` before it orders anything
#[track_caller]
fn refused(scene: &Scene, code: &str) -> String {
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), [code], "{report}");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(scene.ca.orders(), 0);
    assert_eq!(scene.ca.accounts(), 0);
    scene.assert_clean();
    let finding = report.finding(SHOP, code);
    format!("{}\n{}", finding.evidence, finding.cure)
}

fn a_container_without_the_webroot_costs_no_order() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.mounts.remove(1);
    });
    scene.write_domains(&[(SHOP, &[])]);
    let words = refused(&scene, "target.not_mounted");
    assert!(words.contains("the webroot"), "{words}");
    let webroot = scene.world.webroot().display().to_string();
    assert!(words.contains(&webroot), "{words}");
    assert!(words.contains(scene.nginx.name()), "{words}");
}

fn a_container_without_the_storage_costs_no_order() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.mounts.remove(0);
    });
    scene.write_domains(&[(SHOP, &[])]);
    let words = refused(&scene, "target.not_mounted");
    assert!(words.contains("the storage"), "{words}");
    let storage = scene.world.storage().display().to_string();
    assert!(words.contains(&storage), "{words}");
    // Nor does it with a certificate that waits in the archive.
    scene.obtain(&[SHOP, "--no-deploy"]).expect(0, SHOP, "live");
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.not_mounted"]);
    assert_eq!(scene.ca.orders(), 1);
}

fn a_covered_webroot_costs_no_order() {
    let world = World::new();
    let well_known = world.webroot().join(".well-known");
    std::fs::create_dir(&well_known).expect("directory can be made");
    let other = world.path().join("other");
    std::fs::create_dir(&other).expect("directory can be made");
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Root, |nginx, _| {
        let target = "/var/www/certbot/.well-known";
        nginx.mounts.push(Mount::read_only(&other, target));
    });
    scene.write_domains(&[(SHOP, &[])]);
    let words = refused(&scene, "target.other_directory");
    assert!(words.contains("the webroot"), "{words}");
    assert_eq!(entries(&other), [""; 0]);
}

fn a_covered_storage_costs_no_order() {
    let world = World::new();
    let (archive, other) = (world.storage().join("archive"), world.path().join("other"));
    for directory in [&archive, &other] {
        std::fs::create_dir(directory).expect("directory can be made");
    }
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Root, |nginx, _| {
        let target = "/etc/letsencrypt/archive";
        nginx.mounts.push(Mount::read_only(&other, target));
    });
    scene.write_domains(&[(SHOP, &[])]);
    let words = refused(&scene, "target.other_directory");
    assert!(words.contains("the storage"), "{words}");
}

fn a_webroot_that_was_made_anew_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    // The container keeps the directory that it was started with.
    let webroot = scene.world.webroot();
    std::fs::remove_dir(&webroot).expect("it is empty");
    std::fs::create_dir(&webroot).expect("directory can be made");
    let words = refused(&scene, "target.other_directory");
    assert!(words.contains("the webroot"), "{words}");
}

fn a_mounted_file_is_refused_and_works_with_restart() {
    refused_and_works_with_restart(|world, nginx| {
        for file in ["fullchain.pem", "privkey.pem"] {
            let target = format!("{CERTIFICATES}/{SHOP}/{file}");
            let source = world.live(SHOP, file);
            nginx.mounts.push(Mount::read_only(source, &target));
        }
    });
}

fn a_mounted_live_directory_is_refused_and_works_with_restart() {
    refused_and_works_with_restart(|world, nginx| {
        let source = world.storage().join("live").join(SHOP);
        let target = format!("{CERTIFICATES}/{SHOP}");
        nginx.mounts.push(Mount::read_only(source, &target));
    });
}

/// A container that sees no more of the storage than what `mount` gives it
fn refused_and_works_with_restart(mount: impl FnOnce(&World, &mut NginxOptions)) {
    // The certificate comes first: there is nothing to mount before it.
    let mut scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    scene.obtain(&[SHOP, "--no-deploy"]).expect(0, SHOP, "live");
    let mut options = NginxOptions::new(&scene.world, Flavour::Root);
    options.mounts.remove(0);
    mount(&scene.world, &mut options);
    options.http_port = scene.nginx.http_port();
    options.conf = crate::support::conf::site(
        Flavour::Root,
        &[Site {
            names: &[SHOP, WWW],
            lineage: Some(SHOP),
            directory: CERTIFICATES,
        }],
    );
    scene.nginx.remove();
    scene.nginx = Nginx::start(options);
    let old = scene.served(SHOP);

    // The alias makes an order due.
    scene.write_domains(&[(SHOP, &[WWW])]);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.pinned_mount"], "{report}");
    let finding = report.finding(SHOP, "target.pinned_mount");
    assert!(finding.cure.contains("reload = \"restart\""), "{finding:?}");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(scene.ca.orders(), 1);
    assert_eq!(scene.served(SHOP), old);

    let config = scene.config().lines("reload = \"restart\"");
    scene
        .world
        .write_config(&scene.domain(config, SHOP, &[WWW]));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    let report = scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 3, "{report}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.orders(), 3);
}

fn a_storage_mounted_twice_is_named_as_the_configuration_does() {
    let world = World::new();
    let again = Mount::read_only(world.storage(), "/backup");
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Root, |nginx, _| {
        nginx.mounts.push(again)
    });
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    // The first certificate is one that `nginx -t` misses, by the path of the other mount.
    let own = site(&[SHOP, WWW]);
    scene.write_sites(&[own]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);

    scene.write_sites(&[own, site_of(&[MESSENGER], SHOP)]);
    let report = scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
    assert_eq!(report.failures(MESSENGER), ["proof.other_lineage"]);
    let cure = report.finding(MESSENGER, "proof.other_lineage").cure;
    for file in ["fullchain.pem", "privkey.pem"] {
        let path = format!("/etc/letsencrypt/live/{MESSENGER}/{file};");
        assert!(cure.contains(&path), "{path}: {cure}");
    }
    assert!(!cure.contains("/backup"), "{cure}");

    scene.write_sites(&[own, site(&[MESSENGER])]);
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(scene.ca.orders(), 2);
}

fn named_volumes_are_found() {
    let (webroot, storage) = (Volume::create(), Volume::create());
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.mounts = vec![
            Mount::read_only(storage.name(), "/etc/letsencrypt"),
            Mount::read_only(webroot.name(), "/var/www/certbot"),
        ];
    });
    let directories = Directories {
        webroot: webroot.path(),
        storage: storage.path(),
        state: scene.world.state(),
    };
    let config = Config::in_directories(&directories, &scene.dns, &scene.ca).agreed();
    let config = scene.domain(config.nginx(&scene.nginx), SHOP, &[WWW]);
    scene.world.write_config(&config);
    scene.write_sites(&[site(&[SHOP, WWW])]);

    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let live = storage.path().join("live").join(SHOP).join("fullchain.pem");
    assert_eq!(scene.served(WWW), served::in_file(&live));
    assert_eq!(scene.served(SHOP), scene.served(WWW));
    // A volume is removed after its container.
    drop(scene);
}

fn key_group_lets_an_unprivileged_nginx_read_the_key() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let scene = Scene::in_world(Kind::Pebble, World::new(), Flavour::Unprivileged, |_, _| {});
    let config = scene.config().key("key_group = \"33\"");
    scene
        .world
        .write_config(&scene.domain(config, SHOP, &[WWW]));
    scene.write_sites(&[site(&[SHOP, WWW])]);

    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    let key = std::fs::metadata(scene.world.live(SHOP, "privkey.pem")).expect("a key");
    assert_eq!(key.permissions().mode() & 0o7777, 0o640);
    assert_eq!(key.gid(), 33);
    let chain = std::fs::metadata(scene.world.live(SHOP, "fullchain.pem")).expect("a chain");
    assert_eq!(chain.permissions().mode() & 0o7777, 0o644);
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
}

fn a_key_that_nginx_cannot_read_asks_for_key_group() {
    let world = World::new();
    world.chown("storage", "0:0");
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Unprivileged, |_, _| {});
    scene.write_domains(&[(SHOP, &[]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP])]);

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.test_failed"]);
    let finding = report.finding(SHOP, "target.test_failed");
    assert!(
        finding.evidence.contains("Permission denied"),
        "{finding:?}"
    );
    assert!(finding.cure.contains("key_group"), "{finding:?}");

    // The same cure is offered as long as it is not taken.
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let failures = report.failures(SHOP);
    let finding = report.finding(SHOP, failures[0]);
    assert!(finding.cure.contains("key_group"), "{finding:?}");
    assert_eq!(scene.ca.orders(), 1);
}

fn key_group_mends_a_key_that_is_there_already() {
    let world = World::new();
    world.chown("storage", "0:0");
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Unprivileged, |_, _| {});
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert!(report.to_string().contains("key_group"), "{report}");

    // What the cure says, and no more.
    let config = scene.config().key("key_group = \"33\"");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);
    assert_eq!(scene.ca.orders(), 1);
}

fn a_symlink_in_the_webroot_is_not_followed() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    let victim = scene.world.path().join("victim");
    std::fs::create_dir(&victim).expect("directory can be made");
    let well_known = scene.world.webroot().join(".well-known");
    std::os::unix::fs::symlink(&victim, well_known).expect("link can be made");

    let words = refused(&scene, "challenge.webroot");
    assert!(words.contains("symlink"), "{words}");
    assert_eq!(entries(&victim), [""; 0]);
    assert_eq!(entries(challenges(&scene.world)), [""; 0]);
}

fn a_storage_reached_through_a_symlink_works() {
    let scene = Scene::new(Kind::Pebble);
    let link = scene.world.path().join("letsencrypt");
    std::os::unix::fs::symlink(scene.world.storage(), &link).expect("link can be made");
    let directories = Directories {
        storage: link,
        ..Directories::of(&scene.world)
    };
    let config = Config::in_directories(&directories, &scene.dns, &scene.ca).agreed();
    let config = scene.domain(config.nginx(&scene.nginx), SHOP, &[]);
    scene.world.write_config(&config);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);
}

/// Where the containers of pinned mounts have their certificates
const CERTIFICATES: &str = "/certificates";
