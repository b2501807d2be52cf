//! `certd why` at a real nginx: the block that it chooses, and what it has loaded.

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::ca::Kind;
use crate::support::report::Report;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![the_first_broken_link_is_told_until_none_is]
}

/// What `why` has of a link
#[track_caller]
fn seen<'r>(report: &'r Report, link: &str) -> &'r Value {
    let steps = report.json()["steps"].as_array();
    let found = steps
        .into_iter()
        .flatten()
        .find(|step| step["link"] == link);
    found.unwrap_or_else(|| panic!("no {link}: {report}"))
}

#[track_caller]
fn why(scene: &Scene, status: i32, code: Option<&str>) -> Report {
    let output = scene.world.certd(&["why", MESSENGER, "--format", "json"]);
    let report = Report::of(output).expect_status(status);
    assert_eq!(report.json()["change"]["code"].as_str(), code, "{report}");
    report
}

fn the_first_broken_link_is_told_until_none_is() {
    let scene = Scene::new(Kind::Pebble);
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[WWW]).lines(&connect);
    let config = config.domain(MESSENGER, &[]).lines(&connect);
    scene.world.write_config(&config);
    scene.write_sites(&[site(&[SHOP, WWW]), site_of(&[MESSENGER], SHOP)]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");

    let report = why(&scene, 1, Some("why.other_file"));
    assert_eq!(report.json()["verdict"]["answer"], "refused", "{report}");
    let block = seen(&report, "block")["seen"].as_str().unwrap_or_default();
    assert!(block.starts_with("/etc/nginx/nginx.conf:"), "{report}");
    let cure = report.json()["change"]["cure"].as_str().unwrap_or_default();
    let own = format!("/etc/letsencrypt/live/{MESSENGER}/fullchain.pem;");
    assert!(cure.contains(&own), "{report}");
    let listener = seen(&report, "listener")["seen"].as_str();
    let name = scene.nginx.name();
    assert!(
        listener.is_some_and(|seen| seen.starts_with(name)),
        "{report}"
    );

    // The right lines, and no reload.
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    why(&scene, 1, Some("why.not_loaded"));
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    why(&scene, 0, None);

    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    why(&scene, 1, Some("why.no_block"));

    scene.nginx.stop();
    let report = why(&scene, 1, Some("target.not_running"));
    assert_eq!(report.json()["verdict"]["answer"], "unreached", "{report}");
    scene.assert_clean();
}
