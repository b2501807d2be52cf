//! Orders that go wrong although every call is answered well.

use certd_sandbox::acme::{Flaw, Mishap, Problem, Reuse};
use certd_sandbox::fault::Times;
use rcgen::ExtendedKeyUsagePurpose;

use super::{Next, Row, check};
use crate::support::{Authority, Host, Leaf, Setting, Wish};

fn mishap(title: &'static str, mishap: Mishap, code: &'static str) -> Row {
    Row::new(title, (1, code), Next::BacksOff, move |host| {
        host.ca.mishap(Times::Always, mishap.clone());
    })
}

#[test]
fn a_validation_that_fails_is_told_with_all_that_the_ca_says() {
    let unauthorized = Problem::new(
        403,
        "unauthorized",
        "192.0.2.7: Invalid response from http://rare-books.test/: 404",
    );
    let several = Problem::new(400, "compound", "Some names could not be validated")
        .about(
            "rare-books.test",
            "connection",
            "192.0.2.7: Connection refused",
        )
        .about("www.rare-books.test", "dns", "no valid A records found");
    let code = "acme.validation";
    check(
        "validations",
        &[
            mishap("one", Mishap::Validation(unauthorized.clone()), code),
            mishap("several", Mishap::Validation(several), code),
            mishap("at a renewal", Mishap::Validation(unauthorized), code).at_a_renewal(),
        ],
    );
}

#[test]
fn an_order_that_turns_invalid_at_the_end_is_spent() {
    let reason = Problem::new(
        403,
        "caa",
        "CAA record for rare-books.test prevents issuance",
    );
    let nameless = Problem::new(500, "serverInternal", "Error finalizing order");
    check(
        "invalid_orders",
        &[
            mishap("with a reason", Mishap::Invalid(reason), "acme.refused"),
            mishap("trouble", Mishap::Invalid(nameless), "acme.refused"),
        ],
    );
}

#[test]
fn a_chain_that_is_of_no_use_is_never_installed() {
    check(
        "unfit_chains",
        &[
            mishap("another key", Mishap::ForeignKey, "install.other_key"),
            mishap("expired", Mishap::Expired, "install.expired"),
            mishap("at a renewal", Mishap::ForeignKey, "install.other_key").at_a_renewal(),
        ],
    );
}

#[test]
fn a_chain_that_browsers_refuse_takes_the_place_of_none() {
    let flawed = |title, flaw| mishap(title, Mishap::Flawed(flaw), "install.refused_by_browsers");
    check(
        "refused_chains",
        &[
            flawed("for clients", Flaw::ForClients),
            flawed("for clients, at a renewal", Flaw::ForClients).at_a_renewal(),
            flawed("a CA's own", Flaw::Authority).at_a_renewal(),
            flawed("an unknown critical extension", Flaw::UnknownExtension).at_a_renewal(),
            mishap(
                "without its issuer",
                Mishap::Alone,
                "install.incomplete_chain",
            )
            .at_a_renewal(),
            mishap(
                "a broken signature",
                Mishap::BrokenSignature,
                "install.refused_by_browsers",
            ),
            mishap(
                "a broken signature, at a renewal",
                Mishap::BrokenSignature,
                "install.refused_by_browsers",
            )
            .at_a_renewal(),
        ],
    );
}

#[test]
fn a_chain_below_a_strange_root_takes_no_place_of_one_that_is_trusted() {
    let row = mishap("a new root", Mishap::OtherRoot, "install.untrusted").at_a_renewal();
    check("untrusted_chains", &[row]);
}

#[test]
fn a_generation_below_a_strange_root_is_not_deployed_until_its_root_is_trusted() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let strange = Authority::root("A new root");
    let names = [SHOP, "www.rare-books.test"];
    let issued = strange
        .intermediate("An issuing CA")
        .issue(&Wish::names(&names));
    host.place.archive(SHOP, 2, &issued);
    let mut record: serde_json::Value =
        serde_json::from_str(&host.place.read(&format!("state/domains/{SHOP}.json"))).unwrap();
    let second = record["generations"]["1"].clone();
    record["generations"]["2"] = second;
    for lost in ["proven_at", "renewal", "fingerprint"] {
        record["generations"]["2"]
            .as_object_mut()
            .unwrap()
            .remove(lost);
    }
    host.place
        .write(&format!("state/domains/{SHOP}.json"), record.to_string());
    host.ca.mishap(Times::Always, Mishap::OtherRoot);
    let live = host.live();
    let run = host.obtain(&[]).exits(1);
    assert!(run.stdout.contains("order: generation 2 is unfit"), "{run}");
    assert!(run.stdout.contains("✗ install.untrusted"), "{run}");
    assert_eq!(host.live(), live);
    let config = host.place.read("domains.toml");
    host.place.write("new-root.pem", strange.pem());
    let trusted = config.replace("trust = [", "trust = [\"new-root.pem\", ");
    assert_ne!(trusted, config);
    host.place.write("domains.toml", trusted);
    let run = host.obtain(&[]).exits(0);
    assert!(run.stdout.contains("generation 2 is live"), "{run}");
}

#[test]
fn a_staging_ca_may_take_the_place_of_one_that_is_trusted() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let config = host.place.read("domains.toml");
    let staging = config
        .replace("[issuers.test]", "[issuers.other]")
        .replace("issuer = \"test\"", "issuer = \"other\"");
    assert_ne!(staging, config);
    host.place.write("domains.toml", staging);
    host.ca.mishap(Times::Always, Mishap::OtherRoot);
    let run = host.obtain(&[]).exits(0);
    assert!(run.stdout.contains("generation 2 is live"), "{run}");
}

#[test]
fn a_generation_that_browsers_refuse_is_not_deployed_and_another_is_ordered() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let live = host.live();
    host.place.archive(SHOP, 2, &for_clients());
    host.ca
        .mishap(Times::Always, Mishap::Flawed(Flaw::ForClients));
    let run = host.obtain(&[]).exits(1);
    let reason = "order: generation 2 is unfit: browsers refuse it";
    assert!(run.stdout.contains(reason), "{run}");
    assert!(
        run.stdout.contains("✗ install.refused_by_browsers"),
        "{run}"
    );
    assert_eq!((host.live(), host.ca.orders()), (live.clone(), 2));
    let waiting = host.certd(&["renew"]).exits(75);
    assert!(waiting.stdout.contains("! order.backoff"), "{waiting}");
    assert_eq!((host.live(), host.ca.orders()), (live, 2));
    host.behave();
    let forced = host.obtain(&["--force"]).exits(0);
    assert!(forced.stdout.contains("generation 3 is live"), "{forced}");
    host.obtain(&[]).exits(0);
    assert_eq!(host.ca.orders(), 3);
}

#[test]
fn a_first_generation_that_browsers_refuse_is_replaced() {
    let host = Host::new(&Setting::default());
    host.place.archive(SHOP, 1, &for_clients());
    host.place.go_live(SHOP, 1);
    let run = host.obtain(&[]).exits(0);
    assert!(run.stdout.contains("generation 2 is live"), "{run}");
}

#[test]
fn a_ca_whose_proven_certificate_has_the_same_flaw_is_gone_on_with() {
    let host = Host::new(&Setting::default());
    host.place.archive(SHOP, 1, &for_clients());
    host.place.go_live(SHOP, 1);
    let proven = r#"{"version": 1, "generations": {"1": {
        "issued_at": "2026-01-01T00:00:00Z", "proven_at": "2026-01-01T00:00:00Z"}}}"#;
    host.place
        .write(&format!("state/domains/{SHOP}.json"), proven);
    host.ca
        .mishap(Times::Always, Mishap::Flawed(Flaw::ForClients));
    let run = host.obtain(&["--force"]).exits(0);
    assert!(run.stdout.contains("generation 2 is live"), "{run}");
    host.behave();
    host.ca
        .mishap(Times::Always, Mishap::Flawed(Flaw::Authority));
    host.obtain(&["--force"]).exits(1);
}

#[test]
fn a_certificate_that_comes_alone_is_taken_where_none_came_otherwise() {
    let host = Host::new(&Setting::default());
    host.ca.mishap(Times::Always, Mishap::Alone);
    host.obtain(&[]).exits(0);
    let again = host.obtain(&["--force"]).exits(0);
    assert!(again.stdout.contains("generation 2 is live"), "{again}");
}

#[test]
fn a_first_certificate_of_a_public_ca_that_comes_alone_is_live_and_not_called_proven() {
    let host = Host::new(&Setting::default());
    let config = host.place.read("domains.toml");
    let public = config.replace("issuer = \"test\"", "issuer = \"letsencrypt\"");
    host.place.write("domains.toml", public);
    let issuing = Authority::root("A root").intermediate("An issuing CA");
    let names = [SHOP, "www.rare-books.test"];
    let alone = issuing.issue(&Wish::names(&names)).sent_with(Vec::new());
    host.place.archive(SHOP, 1, &alone);
    let record = r#"{"version": 1, "generations": {"1": {
        "issuer": "letsencrypt", "issued_at": "2026-01-01T00:00:00Z"}}}"#;
    host.place
        .write(&format!("state/domains/{SHOP}.json"), record);
    let run = host.obtain(&[]).exits(1);
    assert!(run.stdout.contains("✗ install.incomplete_chain"), "{run}");
    assert!(run.stdout.contains("· order.backoff"), "{run}");
    assert!(host.live().contains_key(SHOP), "{run}");
    // Another is ordered, in its time.
    let again = host.obtain(&[]).exits(75);
    assert!(again.stdout.contains("! order.backoff"), "{again}");
}

/// A certificate that is meant for clients alone, by a CA that sends its intermediate
fn for_clients() -> Leaf {
    let issuing = Authority::root("A root").intermediate("An issuing CA");
    let names = [SHOP, "www.rare-books.test"];
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    issuing.issue(&Wish {
        usage,
        ..Wish::names(&names)
    })
}

#[test]
fn an_order_with_more_authorizations_than_names_is_refused_unread() {
    let mut row = mishap("ten thousand", Mishap::Crowded(10_000), "acme.protocol");
    row.setting.reuse = Reuse::Never;
    check("crowded", &[row]);
    let host = Host::new(&Setting::default());
    host.ca.mishap(Times::Always, Mishap::Crowded(1));
    host.obtain(&[]).exits(1);
    let requests = host.ca.requests();
    let is_read = |request: &String| request.contains("/authorization/");
    assert!(!requests.iter().any(is_read), "{requests:?}");
}

#[test]
fn an_order_that_is_processed_for_a_while_is_waited_for() {
    let row = Row::new("five looks", (0, ""), Next::Proven, |host| {
        host.ca.mishap(Times::Next(1), Mishap::Processing(Some(5)));
    });
    check("processing", &[row]);
}

const SHOP: &str = "rare-books.test";
