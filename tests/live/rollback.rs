//! Going back to the previous generation: when it must be, and when it must not.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::deploy::{ALWAYS, ignore_reloads};
use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour, Site};
use crate::support::nginx::NginxOptions;
use crate::support::process;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};
use crate::support::served;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials_at_each_ca![
        tls_that_breaks_beside_another_domains_certificate_is_rolled_back,
        tls_that_breaks_beside_an_unknown_certificate_is_rolled_back,
        an_expired_certificate_is_renewed_though_the_first_reload_does_not_take,
        tls_that_breaks_never_goes_back_to_an_expired_certificate,
        a_reload_that_does_not_take_never_goes_back_to_an_expired_certificate,
    ]
}

/// nginx.conf in which `broken` gets TLS with an RSA certificate alone, beside other sites
fn with_rsa_alone(others: &[Site<'_>], broken: Site<'_>) -> String {
    let plain = conf::site(Flavour::Root, others);
    let alone = conf::site(Flavour::Root, &[broken]).replace(
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_protocols TLSv1.2;\n        ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;",
    );
    let block = alone.rfind("    server {").expect("a server block");
    let plain = plain.replace("TLSv1.2 TLSv1.3", "TLSv1.2");
    let plain = plain.trim_end().strip_suffix('}').expect("the end of http");
    format!("{plain}{}", &alone[block..])
}

fn tls_that_breaks_beside_another_domains_certificate_is_rolled_back(ca: Kind) {
    tls_that_breaks_is_rolled_back_beside(ca, site_of(&[SHOP], MESSENGER), |scene| {
        scene.live(MESSENGER)
    });
}

fn tls_that_breaks_beside_an_unknown_certificate_is_rolled_back(ca: Kind) {
    let mut unknown = site_of(&[SHOP], "old");
    unknown.directory = "/etc/nginx/own";
    tls_that_breaks_is_rolled_back_beside(ca, unknown, |scene| {
        served::in_file(&scene.world.conf().join("own/old/fullchain.pem"))
    });
}

/// The shop's name is served with what `wrong` names, while TLS breaks for its alias
fn tls_that_breaks_is_rolled_back_beside(
    ca: Kind,
    wrong: Site<'_>,
    certificate: impl FnOnce(&Scene) -> served::Leaf,
) {
    let scene = Scene::new(ca);
    served::write_self_signed(&scene.world.conf().join("own/old"), &[SHOP]);
    let write_key_type = |key_type: &str| {
        let config = scene.domain(scene.config(), MESSENGER, &[]);
        let config = scene.domain(config, SHOP, &[WWW]);
        let line = format!("key_type = {key_type:?}");
        scene.world.write_config(&config.lines(&line));
    };
    write_key_type("rsa2048");
    let alias = site_of(&[WWW], SHOP);
    let own = [site(&[MESSENGER]), site(&[SHOP])];
    scene.nginx.write_conf(&with_rsa_alone(&own, alias));
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    let old = scene.served(WWW);

    write_key_type("p256");
    let sites = [site(&[MESSENGER]), wrong];
    scene.nginx.write_conf(&with_rsa_alone(&sites, alias));
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    let failures = report.failures(SHOP);
    assert!(failures.contains(&"proof.broken"), "{report}");
    let finding = report.finding(SHOP, "proof.broken");
    assert!(finding.evidence.contains(WWW), "{finding:?}");
    let words = "generation 1 is live and served again";
    assert!(finding.evidence.contains(words), "{finding:?}");
    assert!(report.stages(SHOP).contains(&"rollback"), "{report}");
    assert!(scene.live_target(SHOP).ends_with("1"));
    assert_eq!(scene.served(WWW), old);
    assert_eq!(scene.served(SHOP), certificate(&scene));
    assert_eq!(scene.ca.orders(), 3);
}

/// Lifetime of the certificates that a test waits for the end of
const LIFETIME: Duration = Duration::from_secs(8);

/// A scene whose CA gives certificates that live for [`LIFETIME`]
fn short_lived(ca: Kind, change: impl FnOnce(&mut NginxOptions)) -> Scene {
    Scene::with(ca, |nginx, options| {
        change(nginx);
        options.validity = Some(LIFETIME);
    })
}

/// Writes domains.toml with the shop alone, with a line for `[nginx]` and one for the domain
fn write_shop(scene: &Scene, nginx: &str, domain: &str) {
    let config = scene.domain(scene.config().lines(nginx), SHOP, &[]);
    scene.world.write_config(&config.lines(domain));
}

/// Blocks until openssl calls the live certificate expired
#[track_caller]
fn wait_expired(scene: &Scene) {
    let path = scene.world.live(SHOP, "fullchain.pem");
    let deadline = Instant::now() + 2 * LIFETIME;
    loop {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-checkend", "0", "-in"]);
        if !process::run(openssl.arg(&path)).status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "{} lives on", path.display());
        thread::sleep(Duration::from_millis(100));
    }
}

fn an_expired_certificate_is_renewed_though_the_first_reload_does_not_take(ca: Kind) {
    let scene = short_lived(ca, |nginx| {
        // Every second one reaches nginx.
        let seldom = "read -r odd </tmp/odd; if [ -z \"$odd\" ]; then echo 1 >/tmp/odd; exit 0; fi; : >/tmp/odd";
        ignore_reloads(nginx, &format!("[ -e /tmp/odd ] || : >/tmp/odd; {seldom}"));
    });
    write_shop(&scene, "reload = \"signal\"", "");
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let old = scene.served(SHOP);
    wait_expired(&scene);

    write_shop(&scene, "reload = \"exec\"", "");
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    let stages = report.target_stages();
    let reloads = stages.iter().filter(|stage| **stage == "reload").count();
    assert_eq!(reloads, 2, "tried once more: {report}");
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(SHOP, &[SHOP]);
    assert_ne!(scene.served(SHOP), old);
}

fn tls_that_breaks_never_goes_back_to_an_expired_certificate(ca: Kind) {
    let scene = short_lived(ca, |_| {});
    write_shop(&scene, "", "key_type = \"rsa2048\"");
    scene.nginx.write_conf(&with_rsa_alone(&[], site(&[SHOP])));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    wait_expired(&scene);

    write_shop(&scene, "", "key_type = \"p256\"");
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    assert!(!report.stages(SHOP).contains(&"rollback"), "{report}");
    assert!(scene.live_target(SHOP).ends_with("2"));
    let finding = report.finding(SHOP, "proof.no_tls");
    assert!(finding.evidence.contains(SHOP), "{finding:?}");

    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);
}

fn a_reload_that_does_not_take_never_goes_back_to_an_expired_certificate(ca: Kind) {
    let scene = short_lived(ca, |nginx| ignore_reloads(nginx, ALWAYS));
    write_shop(&scene, "reload = \"signal\"", "");
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    wait_expired(&scene);

    write_shop(&scene, "reload = \"exec\"", "");
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let failures = report.failures(SHOP);
    assert_eq!(failures, ["proof.previous_generation"], "{report}");
    assert!(scene.live_target(SHOP).ends_with("2"));
}
