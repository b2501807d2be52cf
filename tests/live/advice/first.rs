//! nginx that waits for its first certificate: each step that certd prints leaves one that starts and
//! reloads, whichever of the names can be ordered.

use std::os::unix::fs::symlink;

use libtest_mimic::Trial;

use super::{
    conf, crash_loop, first_certificate, follow, in_a_crash_loop, lines, restarting, run_script,
    scripts_in, start_script,
};
use crate::support::ca::Kind;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW};
use crate::support::served;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_name_that_cannot_be_ordered_keeps_its_placeholder,
        a_first_certificate_behind_a_symlink_is_supplied,
        a_first_certificate_behind_a_symlink_is_no_broken_configuration,
        a_directory_of_an_alias_gets_its_domains_name,
    ]
}

/// nginx can be reloaded and started again, and the shop is served by it
#[track_caller]
fn assert_sound(scene: &Scene) {
    let (status, said) = scene.nginx.exec(&["nginx", "-t"]);
    assert_eq!(status, 0, "{said}");
    scene.nginx.reload();
    scene.nginx.restart();
    scene.assert_serves(SHOP, &[SHOP, WWW]);
}

fn a_name_that_cannot_be_ordered_keeps_its_placeholder() {
    let scene = in_a_crash_loop();
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    crash_loop(&scene);
    // Its record is not there yet.
    scene.dns.set_a(MESSENGER, &["127.0.0.9"]);
    let cure = first_certificate(&scene);
    let scripts = scripts_in(&cure);
    let (obtain, before) = scripts.split_last().expect("steps");
    for script in before {
        run_script(&scene, script);
    }
    let ready = scene.check(&[SHOP]);
    assert_eq!(ready.check_failures(SHOP), [""; 0], "{ready}");
    let followed = start_script(&scene, obtain).expect_status(1);
    assert_eq!(scene.ca.orders(), 1);
    assert!(followed.stdout.contains("http.refused"), "{followed:?}");
    assert_sound(&scene);
    let placeholder = scene.world.live(MESSENGER, "fullchain.pem");
    assert_eq!(scene.served(MESSENGER), served::in_file(&placeholder));

    scene.dns.set_a(MESSENGER, &["127.0.0.1"]);
    run_script(&scene, obtain);
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_sound(&scene);
    scene.assert_clean();
}

/// nginx.conf whose block for the shop names symlinks to its first certificate
fn behind_symlinks(scene: &Scene) -> String {
    let certs = scene.world.conf().join("certs");
    std::fs::create_dir(&certs).expect("directory can be made");
    for file in ["fullchain.pem", "privkey.pem"] {
        let target = format!("/etc/letsencrypt/live/{SHOP}/{file}");
        symlink(target, certs.join(file)).expect("link can be made");
    }
    let own = "ssl_certificate certs/fullchain.pem;\nssl_certificate_key certs/privkey.pem;";
    let block = format!("server {{ listen 443 ssl; server_name {SHOP} {WWW};\n{own} }}");
    conf("", &block)
}

fn a_first_certificate_behind_a_symlink_is_no_broken_configuration() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.nginx.write_conf(&behind_symlinks(&scene));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_sound(&scene);
}

fn a_first_certificate_behind_a_symlink_is_supplied() {
    let scene = in_a_crash_loop();
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.nginx.write_conf(&behind_symlinks(&scene));
    restarting(&scene);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let told = report.finding(SHOP, "target.first_certificate");
    let led = format!("which leads to /etc/letsencrypt/live/{SHOP}/fullchain.pem");
    assert!(told.evidence.contains(&led), "{told:?}");
    follow(&scene, &told.cure);
    assert_sound(&scene);
}

fn a_directory_of_an_alias_gets_its_domains_name() {
    let scene = in_a_crash_loop();
    scene.write_domains(&[(SHOP, &[WWW])]);
    let text = conf(
        "",
        &format!(
            "server {{ listen 443 ssl; server_name {SHOP} {WWW};\n{} }}",
            lines(WWW)
        ),
    );
    scene.nginx.write_conf(&text);
    restarting(&scene);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let cure = report.finding(SHOP, "target.first_certificate").cure;
    let scripts = scripts_in(&cure);
    let (write, rest) = scripts.split_first().expect("steps");
    let shown = run_script(&scene, write);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let (wrong, right) = (
        format!("/etc/letsencrypt/live/{WWW}/"),
        format!("/etc/letsencrypt/live/{SHOP}/"),
    );
    let told = format!("write {right} for {wrong} wherever");
    assert!(cure.contains(&told), "{cure}");
    scene.nginx.write_conf(&text.replace(&wrong, &right));
    for script in rest {
        run_script(&scene, script);
    }
    assert_sound(&scene);
}
