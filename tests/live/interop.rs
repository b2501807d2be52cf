//! Clients that others wrote, unmodified, with the CA of the sandbox: it is no toy.
//!
//! Neither certd nor a container takes part. What counts is what the clients wrote, what a web
//! server makes of it, and what the CA has seen.

use certd_sandbox::acme::Reuse;
use jiff::SignedDuration;
use libtest_mimic::Trial;

use crate::support::ca::{Accounts, EAB_HMAC, EAB_KID};
use crate::support::client::{Certbot, Lego, Place, REGISTER};
use crate::support::scene::{SHOP, WWW};
use crate::support::served::{self, Leaf, key_algorithm};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        certbot_obtains_renews_and_revokes,
        certbot_renews_when_the_ca_says_so,
        certbot_gets_the_keys_and_profiles_that_it_asks_for,
        certbot_changes_and_deactivates_its_account,
        certbot_says_why_a_name_was_not_validated,
        certbot_registers_with_an_external_account,
        certbot_copes_with_refused_nonces,
        lego_obtains_renews_and_revokes,
        lego_gets_the_keys_that_it_asks_for,
        lego_deactivates_authorizations,
        lego_registers_with_an_external_account,
        lego_copes_with_refused_nonces,
    ]
}

/// Checks that each name is served with the certificate of the shop, under the CA's root
#[track_caller]
fn assert_serves(place: &Place, names: &[&str]) -> Leaf {
    let address = place.serve(SHOP, names);
    let leaf = served::served(&address, SHOP).expect("a certificate");
    assert_eq!(leaf.sorted_names(), names);
    for name in names {
        let root = place.ca.root_path();
        assert!(served::is_trusted(&address, name, &root), "{name}");
    }
    leaf
}

fn certbot_obtains_renews_and_revokes() {
    let place = Place::new(|_| {});
    let certbot = Certbot::new(&place);
    certbot.register(&[]);
    certbot.obtain(&[SHOP, WWW], &[]);
    let first = assert_serves(&place, &[SHOP, WWW]);
    // The account signs with RS256, as those of certd never do.
    assert!(certbot.account_key().contains(r#""kty": "RSA""#));

    certbot.expect(&FORCE);
    assert_ne!(assert_serves(&place, &[SHOP, WWW]), first);
    let counts = (
        place.ca.accounts(),
        place.ca.orders(),
        place.ca.certificates(),
    );
    assert_eq!(counts, (1, 2, 2));

    // By the account first, and then by the key of the certificate itself.
    let kept = ["--no-delete-after-revoke", "--reason", "superseded"];
    certbot.expect(&[&["revoke", "--cert-name", SHOP], &kept[..]].concat());
    assert_eq!(place.ca.revoked(), 1);
    certbot.obtain(&[SHOP, WWW], &["--force-renewal"]);
    let chain = place.chain(SHOP);
    let key = chain.with_file_name("privkey.pem");
    let [chain, key] = [chain, key].map(|path| path.display().to_string());
    let by_key = ["revoke", "--cert-path", &chain, "--key-path", &key];
    certbot.expect(&[&by_key[..], &kept].concat());
    assert_eq!(place.ca.revoked(), 2);
}

fn certbot_renews_when_the_ca_says_so() {
    let place = Place::new(|_| {});
    let certbot = Certbot::new(&place);
    certbot.register(&[]);
    certbot.obtain(&[SHOP], &[]);
    for (hours, orders) in [(1, 1), (-2, 2)] {
        place.ca.suggest_window(SignedDuration::from_hours(hours));
        certbot.expect(&FORCE[..2]);
        assert_eq!(place.ca.orders(), orders);
    }
}

fn certbot_gets_the_keys_and_profiles_that_it_asks_for() {
    let place = Place::new(|_| {});
    let certbot = Certbot::new(&place);
    certbot.register(&[]);
    for (wanted, algorithm, common_name) in [
        ("--key-type ecdsa", "EC 256", SHOP),
        ("--elliptic-curve secp384r1", "EC 384", SHOP),
        ("--key-type rsa --rsa-key-size 3072", "RSA 3072", SHOP),
        (
            "--key-type ecdsa --required-profile tlsserver",
            "EC 256",
            "",
        ),
    ] {
        let mut arguments = vec!["--force-renewal"];
        arguments.extend(wanted.split(' '));
        certbot.obtain(&[SHOP], &arguments);
        let leaf = assert_serves(&place, &[SHOP]);
        assert_eq!(leaf.common_name, common_name, "{wanted}");
        let key = key_algorithm(&place.chain(SHOP));
        assert_eq!(key, algorithm, "{wanted}");
    }
}

fn certbot_changes_and_deactivates_its_account() {
    let place = Place::new(|_| {});
    let certbot = Certbot::new(&place);
    certbot.register(&[]);
    certbot.expect(&["update_account", "--email", "ops@example.com"]);
    let shown = certbot.expect(&["show_account"]);
    assert!(shown.contains("ops@example.com"), "{shown}");
    certbot.obtain(&[SHOP], &[]);

    // certbot forgets the account with it, and so does it in a copy.
    let copy = certbot.copy_of_configuration();
    certbot.expect(&["unregister", "--config-dir", &copy]);
    let refused = certbot.run(&FORCE);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("the account is deactivated"), "{said}");
    assert_eq!((place.ca.accounts(), place.ca.certificates()), (1, 1));
}

fn certbot_says_why_a_name_was_not_validated() {
    let place = Place::new(|_| {});
    let certbot = Certbot::new(&place);
    certbot.register(&[]);
    let said = certbot.obtain(&[SHOP, "nowhere.example"], &["--allow-subset-of-names"]);
    assert!(said.contains("DNS problem: NXDOMAIN"), "{said}");
    // It has ordered again, without that name.
    assert_serves(&place, &[SHOP]);
    assert_eq!(place.ca.orders(), 2);
}

fn certbot_registers_with_an_external_account() {
    let place = Place::new(|options| options.accounts = Accounts::Bound);
    let certbot = Certbot::new(&place);
    let bound = |hmac| ["--eab-kid", EAB_KID, "--eab-hmac-key", hmac];
    let refused = certbot.run(&[&REGISTER[..], &bound(WRONG_HMAC)].concat());
    assert!(!refused.status.success());
    assert_eq!(place.ca.accounts(), 0);
    certbot.register(&bound(EAB_HMAC));
    assert_eq!(place.ca.accounts(), 1);
    certbot.obtain(&[SHOP], &[]);
    assert_serves(&place, &[SHOP]);
}

fn certbot_copes_with_refused_nonces() {
    for percent in NONCES_REFUSED {
        let place = Place::new(|options| options.nonce_reject = percent);
        let certbot = Certbot::new(&place);
        certbot.register(&[]);
        certbot.obtain(&[SHOP, WWW], &[]);
        assert_serves(&place, &[SHOP, WWW]);
    }
}

fn lego_obtains_renews_and_revokes() {
    let place = Place::new(|_| {});
    let lego = Lego::new(&place);
    lego.expect(&[], &[SHOP, WWW], &["run"]);
    let first = assert_serves(&place, &[SHOP, WWW]);

    lego.expect(&[], &[SHOP, WWW], &RENEW);
    assert_ne!(assert_serves(&place, &[SHOP, WWW]), first);
    let counts = (
        place.ca.accounts(),
        place.ca.orders(),
        place.ca.certificates(),
    );
    assert_eq!(counts, (1, 2, 2));

    lego.expect(&[], &[SHOP], &["revoke", "--reason", "4"]);
    assert_eq!(place.ca.revoked(), 1);
}

fn lego_gets_the_keys_that_it_asks_for() {
    for (key_type, algorithm) in [
        ("ec256", "EC 256"),
        ("ec384", "EC 384"),
        ("rsa2048", "RSA 2048"),
    ] {
        let place = Place::new(|_| {});
        Lego::new(&place).expect(&["--key-type", key_type], &[SHOP], &["run"]);
        assert_eq!(assert_serves(&place, &[SHOP]).common_name, SHOP);
        assert_eq!(key_algorithm(&place.chain(SHOP)), algorithm);
    }
}

fn lego_deactivates_authorizations() {
    let place = Place::new(|options| options.authz_reuse = Reuse::WhileValid);
    let lego = Lego::new(&place);
    lego.expect(&[], &[SHOP, WWW], &["run"]);
    let relinquish = ["--always-deactivate-authorizations", "true"];
    for (more, validations) in [(&[][..], 2), (&relinquish, 2), (&[], 4)] {
        lego.expect(&[], &[SHOP, WWW], &[&RENEW, more].concat());
        assert_eq!(place.ca.validations(), validations, "{more:?}");
    }
}

fn lego_registers_with_an_external_account() {
    let place = Place::new(|options| options.accounts = Accounts::Bound);
    let lego = Lego::new(&place);
    let bound = |hmac| ["--eab", "--kid", EAB_KID, "--hmac", hmac];
    let refused = lego.run(&bound(WRONG_HMAC), &[SHOP], &["run"]);
    assert!(!refused.status.success());
    assert_eq!(place.ca.accounts(), 0);
    lego.expect(&bound(EAB_HMAC), &[SHOP], &["run"]);
    assert_eq!(place.ca.accounts(), 1);
    assert_serves(&place, &[SHOP]);
}

fn lego_copes_with_refused_nonces() {
    for percent in NONCES_REFUSED {
        let place = Place::new(|options| options.nonce_reject = percent);
        Lego::new(&place).expect(&[], &[SHOP, WWW], &["run"]);
        assert_serves(&place, &[SHOP, WWW]);
    }
}

/// Renewal by certbot of what is not due yet
const FORCE: [&str; 3] = ["renew", "--no-random-sleep-on-renew", "--force-renewal"];

/// Renewal by lego of what has less left than any certificate of the CA
const RENEW: [&str; 4] = ["renew", "--days", "100", "--no-random-sleep"];

/// A key that the CA does not have for [`EAB_KID`]
const WRONG_HMAC: &str = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU";

/// Shares of good nonces that are refused, in percent
const NONCES_REFUSED: [u8; 2] = [5, 20];
