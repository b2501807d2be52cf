//! `certd renew --simulate`: renewals played forward, with nobody asked and nothing written.

use serde_json::Value;

use crate::support::{Authority, Place, Wish, over_80_columns};

/// Two domains at Let's Encrypt, of which one has a certificate for two years
fn place() -> Place {
    let place = Place::with(CONFIG);
    let ca = Authority::root("Root");
    let wish = Wish {
        valid: (2026, 2028),
        ..Wish::names(&[SHOP])
    };
    place.archive(SHOP, 1, &ca.issue(&wish));
    place.go_live(SHOP, 1);
    place
}

const SHOP: &str = "shop.example.com";
const CONFIG: &str = r#"
storage = "storage"
state = "state"

[renewal]
timezone = "UTC"

[[domain]]
name = "shop.example.com"

[[domain]]
name = "mail.example.com"
profile = "shortlived"
"#;

const FROM: &str = "2026-11-20T12:00:00Z";

/// What is printed of a play that begins at a fixed instant
#[track_caller]
fn simulated(place: &Place, arguments: &[&str], status: i32) -> String {
    let begin = ["renew", "--simulate", "365d", "--from", FROM];
    let run = place.run(&[&begin[..], arguments].concat()).exits(status);
    assert_eq!(run.stderr, "");
    assert_eq!(over_80_columns(&run.stdout), [""; 0], "{run}");
    run.stdout
}

#[test]
fn a_year_of_the_configured_domains_is_played() {
    let place = place();
    insta::assert_snapshot!("configured", simulated(&place, &[], 0));
}

#[test]
fn a_year_of_ten_thousand_domains_is_played() {
    let place = place();
    let arguments = ["--domains", "10000"];
    insta::assert_snapshot!("ten_thousand", simulated(&place, &arguments, 0));
}

#[test]
fn a_failure_rate_that_bites_tells_which_certificates_expire() {
    let place =
        Place::with(&CONFIG.replacen("[[domain]]", "[[domain]]\nprofile = \"shortlived\"", 1));
    let arguments = ["--domains", "200", "--failure-rate", "30%"];
    insta::assert_snapshot!("failures", simulated(&place, &arguments, 1));
}

#[test]
fn json_tells_of_a_play_what_the_text_does() {
    let place = place();
    let arguments = [
        "--domains",
        "1000",
        "--failure-rate",
        "5%",
        "--format",
        "json",
    ];
    let begin = ["renew", "--simulate", "52w", "--from", FROM];
    let run = place.run(&[&begin[..], &arguments[..]].concat()).exits(0);
    let report = run.json();
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["command"], "renew --simulate");
    assert_eq!(report["played"]["domains"], 1000);
    assert_eq!(report["played"]["cast"], "made_up");
    assert_eq!(report["played"]["until"], "2027-11-19T12:00:00Z");
    assert_eq!(
        report["least_life"]["domain"].as_str().map(str::len),
        Some("d0001.example".len())
    );
    let number = |value: &Value| value.as_u64().expect("a number");
    let orders = &report["orders"];
    assert_eq!(
        number(&orders["issued"]) + number(&orders["failed"]),
        number(&orders["placed"])
    );
    let parts = report["spread"]["parts"].as_array().expect("parts");
    let of_parts = |key: &str| parts.iter().map(|part| number(&part[key])).sum::<u64>();
    assert_eq!(of_parts("issued"), number(&orders["issued"]));
    assert_eq!(of_parts("failed"), number(&orders["failed"]));
    assert_eq!(report["put_off"][0]["limit"], "orders");
    assert_eq!(report["put_off"][0]["orders"], 700);
    // The same again, and another with another seed.
    let again = |seed: &str| {
        let seed = [&begin[..], &arguments[..], &["--seed", seed]].concat();
        place.run(&seed).exits(0).stdout
    };
    assert_eq!(again("1"), run.stdout);
    assert_ne!(again("2"), run.stdout);
}

#[test]
fn domains_without_a_certificate_at_the_end_are_for_later() {
    let place = place();
    let run = place
        .run(&["renew", "--simulate", "1d", "--domains", "700"])
        .exits(75);
    let words = "! no certificate expires in 24 h; 100 domains have none at the end";
    assert!(run.stdout.starts_with(words), "{run}");
    let words = "400 orders for up to ";
    assert!(run.stdout.contains(words), "{run}");
}

#[test]
fn a_domain_that_cannot_be_read_takes_no_part_and_is_told() {
    let place = place();
    place.write(
        "storage/archive/mail.example.com/fullchain1.pem",
        "certbot's",
    );
    let run = place.run(&["renew", "--simulate", "30d", "-q"]).exits(1);
    assert!(run.stdout.contains("a domain cannot take part"), "{run}");
    assert!(run.stdout.contains("store.foreign_lineage"), "{run}");
    assert!(run.stdout.contains("played      1 domain from"), "{run}");
}

#[test]
fn an_order_that_the_ca_refused_for_good_is_told_with_what_to_do() {
    let place = Place::with(
        "storage = \"storage\"\nstate = \"state\"\n[[domain]]\nname = \"shop.example.com\"\n",
    );
    let refused = r#"{"version": 1, "order_failures": {"count": 1, "last": "2026-01-01T00:00:00Z",
        "reason": "paused", "refused": {"issuer": "letsencrypt", "names": ["shop.example.com"],
        "key_type": "p256"}}}"#;
    place.write("state/domains/shop.example.com.json", refused);
    let run = place.run(&["renew", "--simulate", "30d"]).exits(75);
    let words = "shop.example.com: the CA has refused its order, and none is placed";
    assert!(run.stdout.contains(words), "{run}");
    assert!(run.stdout.contains("certd obtain --force"), "{run}");
}

#[test]
fn a_play_that_goes_well_is_silent_if_asked_to_be_and_writes_nothing() {
    let place = place();
    let before = place.tree("");
    let run = place.run(&["-q", "renew", "--simulate", "30d"]).exits(0);
    assert_eq!(run.stdout, "");
    assert_eq!(place.tree(""), before);
}

#[test]
fn unusable_arguments_of_a_play_are_refused_with_what_to_write() {
    let place = place();
    let runs: [&[&str]; 17] = [
        &["renew", "--simulate"],
        &["renew", "--simulate", "365"],
        &["renew", "--simulate", "1h"],
        &["renew", "--simulate", "11y"],
        &["renew", "--simulate", "99999999999y"],
        &["renew", "--simulate", "365d", "--domains", "0"],
        &["renew", "--simulate", "365d", "--domains", "100001"],
        &["renew", "--simulate", "365d", "--failure-rate", "0.05"],
        &["renew", "--simulate", "365d", "--failure-rate", "101%"],
        &["renew", "--simulate", "365d", "--failure-rate", "NaN%"],
        &["renew", "--simulate", "365d", "--seed", "one"],
        &["renew", "--simulate", "365d", "--from", "2027-01-31"],
        &[
            "renew",
            "--simulate",
            "365d",
            "--from",
            "9999-01-31T03:00:00Z",
        ],
        &["renew", "--simulate", "365d", "--dry-run"],
        &["renew", "--simulate", "365d", "--no-deploy"],
        &["renew", "--simulate", "365d", "--skip-check", "dns"],
        &["renew", "--domains", "10"],
    ];
    for run in runs {
        let run = place.run(run).exits(2);
        assert_eq!(run.stdout, "");
    }
    insta::assert_snapshot!("unusable", place.transcript(&runs));
}
