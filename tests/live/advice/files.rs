//! Files that a server block names beside the live ones, on a real nginx: those of one generation, and
//! those of another kind of key.

use std::process::Command;

use libtest_mimic::Trial;

use super::{GUEST, conf, foreign, lines, order_both, restart_with, why};
use crate::support::ca::Kind;
use crate::support::conf::Flavour;
use crate::support::nginx::{Mount, Nginx, NginxOptions};
use crate::support::process;
use crate::support::scene::{SHOP, Scene, WWW};
use crate::support::served;
use crate::support::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_file_of_one_generation_is_told_at_once,
        a_certificate_of_another_kind_of_key_is_no_missed_reload,
        a_strange_certificate_that_comes_first_goes_without_the_own_one,
        a_file_that_another_container_mounts_stays_as_it_is,
    ]
}

fn a_file_of_one_generation_is_told_at_once() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let default = foreign(&scene, "default.test");
    let text = |lines: &str| {
        conf(
            "",
            &format!("{default}server {{ listen 443 ssl; server_name {SHOP} {WWW};\n{lines} }}"),
        )
    };
    let live = format!("/etc/letsencrypt/live/{SHOP}/privkey.pem");
    let pinned = format!("/etc/letsencrypt/archive/{SHOP}/1/privkey.pem");
    restart_with(&scene, &text(&lines(SHOP).replace(&live, &pinned)));
    let code = "target.pinned_file";
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let told = report.finding(SHOP, code).cure;
    let (cure, report) = why(&scene, SHOP, 0);
    assert_eq!(report.json()["change"]["code"], code, "{report}");
    let check = scene.check(&[SHOP]).to_string();
    assert!(check.contains(code), "{check}");
    for cure in [told, cure.unwrap_or_default()] {
        assert!(
            cure.contains("ssl_certificate_key /etc/letsencrypt/archive/"),
            "{cure}"
        );
        assert!(
            cure.contains(&format!("\n    ssl_certificate_key {live};")),
            "{cure}"
        );
        assert!(!cure.contains("fullchain.pem"), "{cure}");
    }
    // What was not heeded stops the renewal, whose words tell the same.
    let report = scene.obtain(&["--force", SHOP]).expect(1, SHOP, "failed");
    let told = report.finding(SHOP, "target.test_failed").cure;
    assert!(told.contains(&format!("write {live} for it")), "{told}");
    restart_with(&scene, &text(&lines(SHOP)));
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert!(!report.to_string().contains(code), "{report}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(why(&scene, SHOP, 0).0, None);
}

/// Another program's certificate with a key of this kind, as `own/other.pem` and `own/other.key`
fn write_other(scene: &Scene, kind: &[&str]) -> &'static str {
    let own = scene.world.conf().join("own");
    std::fs::create_dir_all(&own).expect("a directory");
    let names = format!("subjectAltName=DNS:{SHOP},DNS:{WWW}");
    process::stdout_of(
        Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "30", "-newkey"])
            .args(kind)
            .args([
                "-subj",
                &format!("/CN={SHOP}"),
                "-addext",
                &names,
                "-keyout",
            ])
            .arg(own.join("other.key"))
            .arg("-out")
            .arg(own.join("other.pem")),
    );
    "ssl_certificate own/other.pem;\nssl_certificate_key own/other.key;\n"
}

fn a_certificate_of_another_kind_of_key_is_no_missed_reload() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let default = foreign(&scene, "default.test");
    let other = write_other(&scene, &["rsa:2048"]);
    let lines = lines(SHOP);
    for both in [format!("{other}{lines}"), format!("{lines}\n{other}")] {
        let block = format!("server {{ listen 443 ssl; server_name {SHOP} {WWW};\n{both} }}");
        restart_with(&scene, &conf("", &format!("{default}{block}")));
        scene.obtain(&[SHOP]).expect_status(0);
        let (cure, report) = why(&scene, SHOP, 0);
        assert_eq!(cure, None, "{report}");
        let text = report.json().to_string();
        assert!(
            text.contains("why.other_kind") && text.contains("own/other.pem"),
            "{report}"
        );
    }
}

fn a_strange_certificate_that_comes_first_goes_without_the_own_one() {
    let scene = Scene::new(Kind::Pebble);
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[WWW]);
    let config = config.lines(&format!("{connect}\nkey_type = \"rsa2048\""));
    scene.world.write_config(&config);
    scene.write_sites(&[]);
    scene.nginx.reload();
    scene.obtain(&[SHOP]).expect(1, SHOP, "not_served");
    let default = foreign(&scene, "default.test");
    let curve = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let other = write_other(&scene, &curve);
    let text = |other: &str| {
        let block = format!(
            "server {{ listen 443 ssl; server_name {SHOP} {WWW};\n{other}{} }}",
            lines(SHOP)
        );
        conf("", &format!("{default}{block}"))
    };
    restart_with(&scene, &text(other));
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let told = report.finding(SHOP, "proof.unknown_certificate").cure;
    let (cure, report) = why(&scene, SHOP, 1);
    for cure in [told, cure.unwrap_or_else(|| panic!("{report}"))] {
        assert!(cure.contains(" take out\n    line "), "{cure}");
        assert!(
            !cure.contains("\nto\n") && !cure.contains("live/"),
            "{cure}"
        );
    }
    restart_with(&scene, &text(""));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
}

fn a_file_that_another_container_mounts_stays_as_it_is() {
    let world = World::new();
    let shared = world.path().join("shared");
    served::write_self_signed(&shared.join("own"), &[SHOP, WWW, GUEST]);
    let protocols = "ssl_protocols TLSv1.3;\n";
    let own = "ssl_certificate /srv/inc/own/fullchain.pem;\nssl_certificate_key /srv/inc/own/privkey.pem;\n";
    crate::support::write(shared.join("tls.inc"), format!("{own}{protocols}"));
    let mount = Mount::read_only(&shared, "/srv/inc");
    let include = "include /srv/inc/tls.inc;";
    let block = |names: &str, inside: &str| {
        conf(
            "",
            &format!("server {{ listen 443 ssl; server_name {names};\n{inside} }}"),
        )
    };
    let mut options = NginxOptions::new(&world, Flavour::Root);
    options.conf = block(GUEST, include);
    options.conf_dir = world.path().join("other");
    options.mounts = vec![
        mount.clone(),
        Mount::read_only(world.webroot(), "/var/www/certbot"),
    ];
    let other = Nginx::start(options);
    let guest = served::served(&other.https_address(), GUEST).expect("it is served");
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Root, |nginx, _| {
        nginx.mounts.push(mount);
    });
    order_both(&scene);
    let default = foreign(&scene, "default.test");
    let text = |inside: &str| {
        let names = format!("{SHOP} {WWW}");
        block(&names, inside).replace(
            "server { listen 443",
            &format!("{default}server {{ listen 443"),
        )
    };
    restart_with(&scene, &text(include));
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let told = report.finding(SHOP, "proof.unknown_certificate").cure;
    let (cure, report) = why(&scene, SHOP, 1);
    for cure in [told, cure.unwrap_or_else(|| panic!("{report}"))] {
        let begin = format!(
            "/srv/inc/tls.inc is read by {} too, which mounts it",
            other.name()
        );
        assert!(cure.starts_with(&begin), "{cure}");
        let shown = cure.lines().filter(|line| line.starts_with("    ssl_"));
        let shown: Vec<&str> = shown.collect();
        restart_with(&scene, &text(&format!("{protocols}{}", shown.join("\n"))));
        scene.obtain(&[SHOP]).expect_status(0);
        scene.assert_serves(SHOP, &[SHOP, WWW]);
        other.restart();
        let seen = process::wait_for("the other nginx", || {
            served::served(&other.https_address(), GUEST).ok()
        });
        assert_eq!(seen, guest);
    }
}
