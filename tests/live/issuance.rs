//! From domains.toml to certificates that are served.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use certd_sandbox::acme::Reuse;
use libtest_mimic::Trial;

use crate::support::ca::{KINDS, Kind};
use crate::support::report::Report;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};
use crate::support::served::{self, key_algorithm};
use crate::support::tree::Tree;
use crate::support::world::entries;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_at_each_ca![
        each_domain_gets_a_certificate_of_its_own,
        modes_and_links_are_right_whatever_the_umask,
        a_certificate_that_the_configuration_names_already_ends_well_in_one_run,
        every_key_type_is_issued_and_served,
        changed_names_are_ordered_anew,
        a_changed_key_type_is_ordered_anew,
    ];
    for ca in KINDS {
        for nonce_reject in [5, 30] {
            for authz_reuse in [Reuse::Never, Reuse::WhileValid] {
                for sleep in [None, Some(3)] {
                    let behaviour = Behaviour {
                        nonce_reject,
                        authz_reuse,
                        sleep,
                    };
                    trials.push(Trial::test(behaviour.claim(ca), move || {
                        issues_renews_and_proves(ca, behaviour);
                        Ok(())
                    }));
                }
            }
        }
    }
    trials
}

/// How a CA behaves that every client must cope with
#[derive(Clone, Copy)]
struct Behaviour {
    nonce_reject: u8,
    authz_reuse: Reuse,
    sleep: Option<u32>,
}

impl Behaviour {
    fn claim(self, ca: Kind) -> String {
        let Self {
            nonce_reject,
            authz_reuse,
            sleep,
        } = self;
        let reused = match authz_reuse {
            Reuse::Never => "no",
            Reuse::WhileValid => "all",
        };
        let sleeping = sleep.map_or("awake", |_| "sleeping");
        format!(
            "issuance::{ca}::issues_and_proves_with_{nonce_reject}_nonces_refused_{reused}_authorizations_reused_{sleeping}"
        )
    }
}

fn issues_renews_and_proves(ca: Kind, behaviour: Behaviour) {
    let scene = Scene::with(ca, |_, options| {
        options.nonce_reject = behaviour.nonce_reject;
        options.authz_reuse = behaviour.authz_reuse;
        options.sleep = behaviour.sleep;
    });
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);

    let report = scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    assert_eq!(report.outcome(MESSENGER), "proven", "{report}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(scene.ca.orders(), 2);
    assert_eq!(scene.ca.accounts(), 1);
    assert_eq!(scene.ca.validations(), 3);

    let first = scene.served(SHOP);
    let before = scene.ca.requests();
    let report = scene
        .obtain(&["--all", "--force"])
        .expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    assert_ne!(scene.served(SHOP), first);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(scene.ca.orders(), 4);
    assert_eq!(scene.ca.accounts(), 1);
    match behaviour.authz_reuse {
        Reuse::WhileValid => assert_eq!(scene.ca.validations(), 3),
        // Pebble takes 0 percent for 1.
        Reuse::Never => assert!(scene.ca.validations() > 3, "{report}"),
    }
    // Refused nonces included: the report hides none.
    let requests = scene.ca.requests() - before;
    assert_eq!(report.ca_requests(), requests as u64, "{report}");
    scene.assert_clean();
}

fn each_domain_gets_a_certificate_of_its_own(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);

    let report = scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    assert_eq!(report.outcome(MESSENGER), "proven", "{report}");

    let (shop, www, messenger) = (
        scene.served(SHOP),
        scene.served(WWW),
        scene.served(MESSENGER),
    );
    assert_eq!(shop.common_name, SHOP);
    assert_eq!(shop.sorted_names(), [SHOP, WWW]);
    assert_eq!(www, shop);
    assert_eq!(messenger.common_name, MESSENGER);
    assert_eq!(messenger.names, [MESSENGER]);
    assert_ne!(messenger.fingerprint, shop.fingerprint);
    assert_eq!(shop.chain_length, 1 + scene.ca.intermediates());
    assert_eq!(scene.live(SHOP), shop);
    assert_eq!(scene.live(MESSENGER), messenger);
    // What the report says is what openssl sees.
    assert_eq!(fingerprint(&report, SHOP), shop.fingerprint);
    assert_eq!(fingerprint(&report, MESSENGER), messenger.fingerprint);
    assert!(served::is_trusted(
        &scene.nginx.https_address(),
        WWW,
        &scene.ca.root_path()
    ));
}

fn fingerprint(report: &Report, domain: &str) -> String {
    let shown = report.domain(domain)["fingerprint"].as_str();
    shown
        .expect("a fingerprint")
        .replace(':', "")
        .to_lowercase()
}

fn modes_and_links_are_right_whatever_the_umask(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    std::fs::remove_dir(scene.world.state()).expect("it is empty");

    let umask = ["sh", "-c", "umask 077; exec \"$0\" \"$@\""];
    let run = scene.world.start_under(&umask, &["obtain", SHOP]);
    run.wait().expect_status(0);

    let storage = scene.world.storage();
    let archive = storage.join("archive").join(SHOP);
    let generation = archive.join("1");
    for directory in [
        &storage.join("live"),
        &storage.join("archive"),
        &archive,
        &generation,
    ] {
        assert_eq!(mode(directory), 0o755, "{}", directory.display());
    }
    assert_eq!(
        entries(&generation),
        ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"]
    );
    for file in ["cert.pem", "chain.pem", "fullchain.pem"] {
        assert_eq!(mode(&generation.join(file)), 0o644, "{file}");
    }
    assert_eq!(mode(&generation.join("privkey.pem")), 0o600);
    for parent in [".well-known", ".well-known/acme-challenge"] {
        assert_eq!(mode(&scene.world.webroot().join(parent)), 0o755, "{parent}");
    }
    assert_eq!(
        scene.live_target(SHOP),
        Path::new("../archive").join(SHOP).join("1")
    );
    let read = |file| std::fs::read_to_string(generation.join(file)).expect("a file in text");
    assert_eq!(read("fullchain.pem"), read("cert.pem") + &read("chain.pem"));
    assert_eq!(served::count(&read("cert.pem")), 1);
    let above = served::count(&read("chain.pem"));
    assert_eq!(above, scene.ca.intermediates());

    let state = scene.world.state();
    assert_eq!(mode(&state), 0o700);
    for file in Tree::of(&state).files(&state) {
        assert_eq!(mode(&state.join(&file)), 0o600, "{file}");
    }
    assert_eq!(entries(state.join("accounts")), ["test-ca.json"]);
}

fn mode(path: &Path) -> u32 {
    let metadata =
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o7777
}

fn a_certificate_that_the_configuration_names_already_ends_well_in_one_run(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");

    // nginx runs on, with a configuration that it could not start with.
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    let (status, words) = scene.nginx.exec(&["nginx", "-t"]);
    assert_ne!(status, 0, "{words}");
    assert!(words.contains("No such file"), "{words}");

    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.orders(), 2);
}

fn every_key_type_is_issued_and_served(ca: Kind) {
    let scene = Scene::new(ca);
    let types = [
        ("p256.test", "p256", "EC 256"),
        ("p384.test", "p384", "EC 384"),
        ("rsa2048.test", "rsa2048", "RSA 2048"),
        ("rsa4096.test", "rsa4096", "RSA 4096"),
    ];
    let config = types
        .iter()
        .fold(scene.config(), |config, (name, kind, _)| {
            scene
                .domain(config, name, &[])
                .lines(&format!("key_type = {kind:?}"))
        });
    scene.world.write_config(&config);
    let names = types.map(|(name, _, _)| [name]);
    scene.write_sites(&names.each_ref().map(|name| site(name)));

    let report = scene.obtain(&["--all"]).expect_status(0);
    for (name, _, algorithm) in types {
        assert_eq!(report.outcome(name), "proven", "{report}");
        scene.assert_serves(name, &[name]);
        let certificate = scene.world.live(name, "cert.pem");
        assert_eq!(key_algorithm(&certificate), algorithm, "{name}");
    }
}

fn changed_names_are_ordered_anew(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site_of(&[SHOP, WWW], SHOP)]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(scene.served(WWW).names, [SHOP]);

    scene.write_domains(&[(SHOP, &[WWW])]);
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.orders(), 2);

    scene.write_domains(&[(SHOP, &[])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(scene.served(SHOP).names, [SHOP]);
    assert_eq!(scene.ca.orders(), 3);
}

fn a_changed_key_type_is_ordered_anew(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");

    let config = scene.domain(scene.config(), SHOP, &[]);
    scene
        .world
        .write_config(&config.lines("key_type = \"p384\""));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let certificate = scene.world.live(SHOP, "cert.pem");
    assert_eq!(key_algorithm(&certificate), "EC 384");
    scene.assert_serves(SHOP, &[SHOP]);
    assert_eq!(scene.ca.orders(), 2);
}
