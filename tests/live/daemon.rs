//! `certd run` before a real nginx and a real Docker engine.

#![expect(
    clippy::disallowed_methods,
    reason = "a window begins so long from now"
)]

use std::time::Duration;

use certd_sandbox::acme::{self, Window};
use jiff::{SignedDuration, Timestamp};
use libtest_mimic::Trial;

use crate::support::ca::{Ca, Kind};
use crate::support::process::wait_for;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};
use crate::support::world::Running;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials![
        it_renews_by_itself_inside_the_window_and_proves_it,
        a_container_that_is_restarted_is_looked_at_again,
    ];
    trials.extend(crate::trials_at_each_ca![
        it_obtains_what_is_missing_and_ends_well
    ]);
    trials
}

fn wait_for_words(daemon: &Running, words: &str) {
    wait_for(words, || daemon.stderr().contains(words).then_some(()));
}

fn it_renews_by_itself_inside_the_window_and_proves_it() {
    // Too young a certificate is not renewed for a window alone: these are three days old.
    let scene = Scene::with(Kind::Sandbox, |_, options| {
        options.validity = Some(Duration::from_secs(87 * 86_400));
    });
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    let Ca::Sandbox(ca) = &scene.ca else {
        unreachable!("it is the sandbox's")
    };
    let start = Timestamp::now() + SignedDuration::from_secs(20);
    let window = Window {
        start,
        end: start + SignedDuration::from_secs(2),
        explanation: None,
        retry_after: Some(Duration::from_secs(3_600)),
    };
    ca.set_window(Some(window));
    let daemon = scene.world.start_certd(&["run"]);
    wait_for_words(&daemon, "generation 1 is served for both names");
    wait_for("the CA's wish is known", || {
        let asked = acme::Ca::requests(ca);
        let is_wish = |request: &String| request.contains("renewal-info");
        asked.iter().any(is_wish).then_some(())
    });
    // What comes next is as old, and would be replaced at once for the same wish.
    ca.set_window(None);
    let first = scene.served(SHOP);
    assert!(Timestamp::now() < start, "the window has begun already");
    wait_for_words(&daemon, "generation 2 is served for both names");
    assert!(Timestamp::now() > start);
    assert_ne!(scene.served(SHOP), first);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!((ca.orders(), ca.replacements()), (2, 1));
    daemon.signal("TERM");
    daemon.wait().expect_status(0);
    scene.assert_clean();
}

fn a_container_that_is_restarted_is_looked_at_again() {
    let scene = Scene::new(Kind::Sandbox);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    let daemon = scene.world.start_certd(&["run"]);
    wait_for_words(&daemon, "generation 1 is served for its name");
    wait_for_words(&daemon, "generation 1 is served for both names");
    scene.write_sites(&[site(&[SHOP, WWW]), site_of(&[MESSENGER], SHOP)]);
    scene.nginx.restart();
    wait_for_words(&daemon, "a container has started again");
    wait_for_words(&daemon, "code=\"proof.other_lineage\"");
    // The lines to change follow.
    wait_for_words(&daemon, "ssl_certificate");
    assert_eq!(scene.ca.orders(), 2);
    daemon.signal("TERM");
    daemon.wait().expect_status(0);
}

fn it_obtains_what_is_missing_and_ends_well(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    let daemon = scene.world.start_certd(&["run"]);
    wait_for_words(&daemon, "generation 1 is served for both names");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    // Beside the idle daemon a command just works.
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    daemon.signal("TERM");
    daemon.wait().expect_status(0);
    scene.assert_clean();
}
