//! Accounts at the CA: registered once, bound, lost and found again.

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::ca::{Accounts, EAB_HMAC, EAB_KID, Kind};
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site};
use crate::support::world::{Config, entries};
use crate::support::write;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials_at_each_ca![
        terms_that_are_not_agreed_to_register_no_account,
        an_account_binding_that_is_required_and_given_works,
        an_account_binding_that_is_missing_is_asked_for,
        an_account_binding_of_no_use_registers_no_account,
        a_ca_that_forgot_the_account_gets_the_same_key_once,
        a_changed_directory_url_is_another_account,
        many_domains_register_one_account,
    ]
}

fn terms_that_are_not_agreed_to_register_no_account(ca: Kind) {
    let scene = Scene::new(ca);
    let config = Config::new(&scene.world, &scene.dns, &scene.ca);
    for answer in ["", "terms_of_service_agreed = false"] {
        let config = config.clone().key(answer).nginx(&scene.nginx);
        scene.world.write_config(&scene.domain(config, SHOP, &[]));
        let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
        assert_eq!(report.failures(SHOP), ["acme.terms"], "{report}");
        let finding = report.finding(SHOP, "acme.terms");
        let words = "terms_of_service_agreed = true";
        assert!(finding.cure.contains(words), "{finding:?}");
        assert!(finding.cure.contains(scene.ca.terms()), "{finding:?}");
    }
    assert_eq!(scene.ca.accounts(), 0);
    assert_eq!(scene.ca.orders(), 0);
    assert_eq!(entries(scene.world.state().join("accounts")), [""; 0]);
    scene.assert_clean();
}

/// A scene whose CA wants an account binding, with this in `[issuers.test-ca]`
fn bound(ca: Kind, lines: &str) -> Scene {
    let scene = Scene::with(ca, |_, options| options.accounts = Accounts::Bound);
    let config = scene.unbound_config().lines(lines).nginx(&scene.nginx);
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);
    let key = scene.world.path().join("hmac");
    write(key, format!("{EAB_HMAC}\n"));
    scene
}

fn an_account_binding_that_is_required_and_given_works(ca: Kind) {
    let scene = bound(
        ca,
        &format!("eab_kid = {EAB_KID:?}\neab_hmac_file = \"hmac\""),
    );
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    assert_eq!(scene.ca.accounts(), 1);
    // The secret stays where it was.
    let state = scene.world.state();
    for file in crate::support::tree::Tree::of(&state).files(&state) {
        let text = std::fs::read_to_string(state.join(&file)).expect("a file in text");
        assert!(!text.contains(EAB_HMAC), "{file}");
    }
}

fn an_account_binding_that_is_missing_is_asked_for(ca: Kind) {
    let scene = bound(ca, "");
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.eab"], "{report}");
    let finding = report.finding(SHOP, "acme.eab");
    for words in ["eab_kid", "eab_hmac_file", "[issuers.test-ca]"] {
        assert!(finding.cure.contains(words), "{words}: {finding:?}");
    }
    assert_eq!(scene.ca.accounts(), 0);
    assert_eq!(entries(scene.world.state().join("accounts")), [""; 0]);
}

fn an_account_binding_of_no_use_registers_no_account(ca: Kind) {
    let scene = bound(
        ca,
        &format!("eab_kid = {EAB_KID:?}\neab_hmac_file = \"hmac\""),
    );
    let hmac = scene.world.path().join("hmac");
    write(&hmac, "not base64url!");
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.eab"], "{report}");
    let finding = report.finding(SHOP, "acme.eab");
    let path = hmac.display().to_string();
    assert!(finding.evidence.contains(&path), "{finding:?}");
    assert!(!report.to_string().contains("not base64url!"), "{report}");

    // A key that the CA does not know for this identifier.
    write(&hmac, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU");
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.refused"], "{report}");
    assert_eq!(scene.ca.accounts(), 0);
    assert_eq!(entries(scene.world.state().join("accounts")), [""; 0]);
}

fn a_ca_that_forgot_the_account_gets_the_same_key_once(ca: Kind) {
    let mut scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    let key = account(&scene)["key"].clone();

    scene.ca.restart();
    assert_eq!(scene.ca.accounts(), 0);
    let report = scene
        .obtain(&["--all", "--force"])
        .expect(0, SHOP, "proven");
    assert_eq!(report.outcome(MESSENGER), "proven", "{report}");
    assert_eq!(scene.ca.accounts(), 1);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(account(&scene)["key"], key);

    scene
        .obtain(&["--all", "--force"])
        .expect(0, SHOP, "proven");
    assert_eq!(scene.ca.accounts(), 1);
}

fn account(scene: &Scene) -> Value {
    let file = scene.world.state().join("accounts/test-ca.json");
    let text = std::fs::read_to_string(file).expect("an account");
    serde_json::from_str(&text).expect("JSON")
}

fn a_changed_directory_url_is_another_account(ca: Kind) {
    let scene = Scene::new(ca);
    let move_to = |url: &str| {
        let config = Config::new(&scene.world, &scene.dns, &scene.ca).agreed();
        let trust = scene.ca.trust_pem_path();
        let config = config.issuer("moving", url, &trust);
        let config = config.nginx(&scene.nginx);
        let config = scene.domain(config, SHOP, &[]).lines("issuer = \"moving\"");
        scene.world.write_config(&config);
    };
    scene.write_sites(&[site(&[SHOP])]);
    move_to(&scene.ca.directory_url());
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let file = scene.world.state().join("accounts/moving.json");
    let first = std::fs::read_to_string(&file).expect("an account");

    // The same CA by another URL, of which certd cannot know that it is the same.
    let url = scene.ca.directory_url().replace("localhost", "127.0.0.1");
    move_to(&url);
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    assert_eq!(scene.ca.accounts(), 2);
    let second = std::fs::read_to_string(&file).expect("an account");
    assert!(second.contains(&url), "{url}");
    assert_ne!(first, second);
}

fn many_domains_register_one_account(ca: Kind) {
    let scene = Scene::new(ca);
    let names: Vec<String> = (0..12).map(|number| format!("d{number}.test")).collect();
    let config = scene.unbound_config().key("jobs = 12");
    let config = names
        .iter()
        .fold(config, |config, name| config.domain(name, &[]));
    scene.world.write_config(&config);
    let report = scene.obtain(&["--all", "--no-deploy"]).expect_status(0);
    for name in &names {
        assert_eq!(report.outcome(name), "live", "{report}");
    }
    assert_eq!(scene.ca.accounts(), 1);
    assert_eq!(scene.ca.orders(), 12);
    scene.assert_clean();
}
