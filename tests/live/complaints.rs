//! An nginx that has much to complain about beside what matters.

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::scene::{SHOP, Scene, WWW, site};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        an_error_after_many_warnings_is_shown,
        a_certificate_to_come_is_waited_for_in_spite_of_many_warnings,
    ]
}

/// nginx.conf for the shop, with more warnings before anything else than certd shows
fn with_warnings() -> String {
    let conf = conf::site(Flavour::Root, &[site(&[SHOP, WWW])]);
    // nginx warns that the low address bits are meaningless.
    let warnings = "    allow 10.0.0.1/8;\n".repeat(WARNINGS);
    conf.replace("http {\n", &format!("http {{\n{warnings}"))
}

/// How often nginx warns in `nginx -t`
#[track_caller]
fn warnings(scene: &Scene) -> usize {
    let (_, said) = scene.nginx.exec(&["nginx", "-t"]);
    let before = said.split("[emerg]").next().unwrap_or_default();
    before.matches("[warn]").count()
}

fn an_error_after_many_warnings_is_shown() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW])]);
    let broken = with_warnings().replace("ssl_protocols", "ssl_protocolls");
    scene.nginx.write_conf(&broken);
    assert_eq!(warnings(&scene), WARNINGS);

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.config_broken"]);
    let finding = report.finding(SHOP, "target.config_broken");
    let words = "[emerg] unknown directive \"ssl_protocolls\"";
    let bare = without_process(&finding.evidence);
    assert!(bare.contains(words), "{finding:?}");
    assert_eq!(scene.ca.orders(), 1);
    // People see it too, and it costs no other order.
    let text = scene.world.certd(&["obtain", SHOP]).expect_status(1).stdout;
    assert!(without_process(&text).contains(words), "{text}");
    assert_eq!(scene.ca.orders(), 1);
}

/// nginx's words without the process ids that its log has after the level, such as `31#31:`
fn without_process(words: &str) -> String {
    let mut bare = words.split(' ').collect::<Vec<_>>();
    bare.retain(|word| !word.contains('#'));
    bare.join(" ")
}

fn a_certificate_to_come_is_waited_for_in_spite_of_many_warnings() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.nginx.write_conf(&with_warnings());
    assert_eq!(warnings(&scene), WARNINGS);

    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.orders(), 1);
}

/// One more than certd shows lines
const WARNINGS: usize = 13;
