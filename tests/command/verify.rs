//! `certd verify` against servers that are made up: each problem by its own name, all at once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, LazyLock, mpsc};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;

use crate::support::{
    Authority, CLOSED, Leaf, Place, Run, Server, Wish, codes, finding, first_bytes,
    over_80_columns, tls_config, tls_config_for,
};

/// A CA with an intermediate, as public ones are
struct Pki {
    root: Authority,
    intermediate: Authority,
}

static TRUSTED: LazyLock<Pki> = LazyLock::new(|| Pki::new("Trusted"));
static STRANGE: LazyLock<Pki> = LazyLock::new(|| Pki::new("Strange"));

impl Pki {
    fn new(name: &str) -> Self {
        let root = Authority::root(&format!("{name} Root"));
        let intermediate = root.intermediate(&format!("{name} Intermediate"));
        Self { root, intermediate }
    }

    fn issue(&self, wish: &Wish<'_>) -> Leaf {
        self.intermediate.issue(wish)
    }
}

const NAME: &str = "shop.rare-books.test";
const ALIAS: &str = "www.shop.rare-books.test";

/// A place whose one domain is verified at this address; `extra` goes into its `[[domain]]`
fn place(address: &str, extra: &str) -> Place {
    let place = Place::with(&format!(
        "storage = \"storage\"\nstate = \"state\"\n\
         [verify]\ntrust = [\"root.pem\"]\ntimeout = \"30s\"\n\
         [[domain]]\nname = \"{NAME}\"\nconnect = \"{address}\"\n{extra}\n"
    ));
    place.write("root.pem", TRUSTED.root.pem());
    place
}

/// The codes of what is wrong with a server for the domain
#[track_caller]
fn check(server: &Server, expected: &[&str]) -> Value {
    let place = place(&server.address.to_string(), "");
    let run = place.run(&["verify", "--format", "json"]);
    let report = run.json();
    assert_eq!(codes(&report), expected, "{report:#}");
    let failed = report["endpoints"][0]["severity"] == "failure";
    run.exits(i32::from(failed));
    report
}

#[track_caller]
fn check_leaf(leaf: &Leaf, expected: &[&str]) -> Value {
    check(&Server::tls(tls_config(leaf)), expected)
}

#[test]
fn a_good_chain_is_good_at_either_version_of_tls() {
    let leaf = TRUSTED.issue(&Wish::names(&[NAME]));
    for (version, words) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let report = check(&Server::tls(tls_config_for(&leaf, &leaf, &[version])), &[]);
        assert_eq!(report["endpoints"][0]["certificate"]["protocol"], words);
    }
}

#[test]
fn a_good_endpoint_takes_a_few_short_lines() {
    let leaf = TRUSTED.issue(&Wish {
        common_name: Some(NAME),
        ..Wish::names(&[NAME, ALIAS])
    });
    let server = Server::tls(tls_config(&leaf));
    let place = place(
        &server.address.to_string(),
        &format!("aliases = [\"{ALIAS}\"]"),
    );
    let run = place.run(&["verify"]).exits(0);
    assert_eq!(run.stderr, "");
    assert_eq!(over_80_columns(&run.stdout), [""; 0]);
    snapshot!(place, "good", run.stdout);
}

#[test]
fn every_problem_of_a_bad_endpoint_is_told_with_its_cure() {
    let leaf = STRANGE.issue(&Wish {
        common_name: Some("other.rare-books.test"),
        valid: (2020, 2021),
        ..Wish::names(&["other.rare-books.test"])
    });
    let server = Server::tls(tls_config(
        &leaf.sent_with(vec![STRANGE.intermediate.der(), STRANGE.root.der()]),
    ));
    let place = place(&server.address.to_string(), "");
    let run = place.run(&["verify"]).exits(1);
    assert_eq!(run.stderr, "");
    assert_eq!(over_80_columns(&run.stdout), [""; 0]);
    snapshot!(place, "bad", run.stdout);
    let coloured = Run::of(
        place
            .certd(&["verify", "--color", "always"])
            .env_remove("NO_COLOR"),
    );
    assert!(coloured.stdout.contains("\u{1b}[31m✗"), "{coloured}");
}

#[test]
fn problems_of_a_certificate_are_told_apart_and_listed_together() {
    let names = Wish::names(&[NAME]);
    let expired = Wish {
        valid: (2020, 2021),
        ..names.clone()
    };
    let other = Wish::names(&["other.rare-books.test"]);
    check_leaf(&TRUSTED.issue(&other), &["served.wrong_name"]);
    check_leaf(&TRUSTED.issue(&Wish::names(&[])), &["served.no_san"]);
    check_leaf(&TRUSTED.issue(&expired), &["served.expired"]);
    check_leaf(
        &TRUSTED.issue(&Wish {
            valid: (2090, 2091),
            ..names.clone()
        }),
        &["served.not_yet_valid"],
    );
    check_leaf(&names.self_signed(), &["served.self_signed"]);
    check_leaf(
        &STRANGE
            .issue(&names)
            .sent_with(vec![STRANGE.intermediate.der(), STRANGE.root.der()]),
        &["served.unknown_issuer"],
    );
    check_leaf(&STRANGE.issue(&names), &["served.unknown_issuer"]);
    check_leaf(
        &TRUSTED.issue(&names).sent_with(Vec::new()),
        &["served.incomplete_chain"],
    );
    check_leaf(
        &TRUSTED.issue(&Wish {
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            ..names.clone()
        }),
        &["served.purpose"],
    );
    check_leaf(
        &TRUSTED.issue(&Wish {
            is_ca: true,
            ..names.clone()
        }),
        &["served.ca_as_leaf"],
    );
    check_leaf(
        &STRANGE
            .issue(&Wish {
                valid: (2020, 2021),
                common_name: Some("other.rare-books.test"),
                ..other
            })
            .sent_with(vec![STRANGE.intermediate.der(), STRANGE.root.der()]),
        &[
            "served.expired",
            "served.other_common_name",
            "served.unknown_issuer",
            "served.wrong_name",
        ],
    );
    check_leaf(
        &expired.self_signed(),
        &["served.expired", "served.self_signed"],
    );
    check_leaf(
        &TRUSTED.issue(&expired).sent_with(Vec::new()),
        &["served.expired", "served.incomplete_chain"],
    );
}

#[test]
fn certificates_in_any_order_with_strangers_among_them_make_a_chain() {
    let leaf = TRUSTED.issue(&Wish::names(&[NAME]));
    let above = vec![
        STRANGE.root.der(),
        TRUSTED.root.der(),
        TRUSTED.intermediate.der(),
    ];
    check_leaf(&leaf.sent_with(above), &["served.chain_order"]);
}

#[test]
fn a_chain_longer_than_any_real_one_is_refused_and_one_of_sixteen_is_not() {
    for (above, expected) in [(15, [].as_slice()), (16, &["served.unreadable"])] {
        let leaf = TRUSTED.issue(&Wish::names(&[NAME]));
        let chain = leaf.sent_with(vec![TRUSTED.intermediate.der(); above]);
        check_leaf(&chain, expected);
    }
}

#[test]
fn a_server_without_the_certificates_key_proves_nothing() {
    let good = TRUSTED.issue(&Wish::names(&[NAME]));
    let other = TRUSTED.issue(&Wish::names(&[NAME]));
    for version in [&TLS12, &TLS13] {
        let server = Server::tls(tls_config_for(&good, &other, &[version]));
        let report = check(&server, &["served.key_unproven"]);
        let evidence = finding(&report, "served.key_unproven")["evidence"].clone();
        assert!(
            evidence.as_str().unwrap().contains("certificate's key"),
            "{evidence}"
        );
    }
}

#[test]
fn a_connection_that_shows_no_certificate_says_why() {
    #[track_caller]
    fn answers(bytes: &'static [u8], expected: &str) {
        let server = Server::start(move |mut stream| {
            first_bytes(&mut stream);
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        check(&server, &[expected]);
    }
    answers(b"", "connect.reset");
    answers(
        b"\x15\x03\x03\x00\x02\x02\x70",
        "handshake.unrecognized_name",
    );
    answers(b"\x15\x03\x03\x00\x02\x02\x46", "handshake.protocol");
    answers(b"\x15\x03\x03\x00\x02\x02\x28", "handshake.failed");
    answers(b"\x15\x03\x03\x00\x02\x02\xc8", "handshake.failed");
    answers(
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
        "handshake.not_tls",
    );
    answers(b"\x16\x03\x03\x00\x04\x02\x00", "connect.reset");
    answers(&[0x16, 0x03, 0x03, 0xff, 0xff, 0, 0, 0], "handshake.failed");
}

#[test]
fn a_server_of_another_protocol_that_speaks_first_is_not_tls() {
    for greeting in ["SSH-2.0-OpenSSH_9.2\r\n", "220 mail.test ESMTP\r\n"] {
        let server = Server::start(move |mut stream: TcpStream| {
            let _ = stream.write_all(greeting.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        });
        check(&server, &["handshake.not_tls"]);
    }
}

#[test]
fn a_server_that_drops_the_connection_before_reading_is_a_reset() {
    let server = Server::start(drop);
    check(&server, &["connect.reset"]);
}

#[test]
fn a_port_where_nothing_listens_is_refused() {
    let place = place(CLOSED, "");
    let run = place.run(&["verify"]).exits(1);
    snapshot!(place, "refused", run.stdout);
}

#[test]
fn a_server_that_says_nothing_times_out_and_delays_no_other() {
    let good = Arc::new(Server::tls(tls_config(
        &TRUSTED.issue(&Wish::names(&["mail.rare-books.test"])),
    )));
    let (given_up, is_served) = mpsc::channel();
    let silent = Server::start({
        let good = Arc::clone(&good);
        move |mut stream| {
            // Its end is the client's time-out.
            let _ = stream.read_to_end(&mut Vec::new());
            let _ = given_up.send(good.connections() > 0);
        }
    });
    let place = place(
        &silent.address.to_string(),
        &format!(
            "[[domain]]\nname = \"mail.rare-books.test\"\nconnect = \"{}\"",
            good.address
        ),
    );
    let config = place.read("domains.toml").replace("30s", "5s");
    place.write("domains.toml", config);
    let report = place.run(&["verify", "--format", "json"]).exits(1).json();
    assert_eq!(codes(&report), ["handshake.timeout"]);
    assert_eq!(report["endpoints"][1]["severity"], "ok");
    assert_eq!(is_served.recv(), Ok(true), "the other waited for it");
}

#[test]
fn little_life_left_is_a_warning_and_no_failure() {
    let leaf = TRUSTED.issue(&Wish {
        valid: (1971, 2036),
        ..Wish::names(&[NAME])
    });
    let server = Server::tls(tls_config(&leaf));
    let report = check(&server, &["served.expires_soon"]);
    assert_eq!(report["endpoints"][0]["severity"], "warning");
    let address = server.address.to_string();
    let least = |least: &str| {
        let place = place(&address, "");
        let config = place.read("domains.toml").replace(
            "[verify]\n",
            &format!("[verify]\nmin_remaining = \"{least}\"\n"),
        );
        place.write("domains.toml", config);
        let report = place.run(&["verify", "--format", "json"]).exits(0).json();
        codes(&report).join(" ")
    };
    assert_eq!(least("1/1000"), "");
    assert_eq!(least("1d"), "");
    assert_eq!(least("99/100"), "served.expires_soon");
    assert_eq!(least("10 years"), "served.expires_soon");
}

#[test]
fn the_common_name_of_another_domain_is_a_failure_unless_it_is_shared() {
    let leaf = TRUSTED.issue(&Wish {
        common_name: Some("other.rare-books.test"),
        ..Wish::names(&["other.rare-books.test", NAME, ALIAS])
    });
    let server = Server::tls(tls_config(&leaf));
    check(&server, &["served.other_common_name"]);
    let address = server.address.to_string();
    let shared = place(&address, "shared = true");
    let report = shared.run(&["verify", "--format", "json"]).exits(0).json();
    assert_eq!(
        finding(&report, "served.other_common_name")["severity"],
        "note"
    );
    // A CA may promote an alias to the Common Name.
    let alias = TRUSTED.issue(&Wish {
        common_name: Some(ALIAS),
        ..Wish::names(&[NAME, ALIAS])
    });
    let server = Server::tls(tls_config(&alias));
    let place = place(
        &server.address.to_string(),
        &format!("aliases = [\"{ALIAS}\"]"),
    );
    let report = place.run(&["verify", "--format", "json"]).exits(0).json();
    assert_eq!(codes(&report), [""; 0]);
}

#[test]
fn a_host_that_is_in_no_configuration_is_judged_by_its_san_alone() {
    let leaf = TRUSTED.issue(&Wish {
        common_name: Some("other.rare-books.test"),
        ..Wish::names(&["other.rare-books.test", "localhost", "127.0.0.1"])
    });
    let server = Server::tls(tls_config(&leaf));
    let place = place("192.0.2.1:443", "");
    let target = server.address.to_string();
    let report = place
        .run(&["verify", "--format", "json", &target])
        .exits(0)
        .json();
    assert_eq!(codes(&report), [""; 0]);
    assert_eq!(
        finding(&report, "served.other_common_name")["severity"],
        "note"
    );
    assert_eq!(report["endpoints"][0]["name"], "127.0.0.1");
}

#[test]
fn localhost_is_the_loopback_without_dns() {
    let leaf = TRUSTED.issue(&Wish::names(&["localhost"]));
    let server = Server::tls(tls_config(&leaf));
    let place = place("192.0.2.1:443", "");
    let target = format!("localhost:{}", server.address.port());
    let report = place
        .run(&["verify", "--format", "json", &target])
        .exits(0)
        .json();
    assert_eq!(
        report["endpoints"][0]["address"],
        server.address.to_string()
    );
}

#[test]
fn ipv6_is_looked_at_as_any_other() {
    let leaf = TRUSTED.issue(&Wish::names(&[NAME, "::1"]));
    // A machine without IPv6 has nothing to look at.
    let Some(server) = Server::tls_v6(tls_config(&leaf)) else {
        return;
    };
    let place = place(&server.address.to_string(), "");
    let target = server.address.to_string();
    let report = place
        .run(&["verify", "--format", "json", NAME, &target])
        .exits(0)
        .json();
    assert_eq!(report["endpoints"][0]["address"], target);
    assert_eq!(report["endpoints"][1]["name"], "::1");
}

#[test]
fn a_name_without_dns_says_so_and_asks_only_the_configured_server() {
    let place = Place::with(
        "[dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"200ms\"\n\
         [[domain]]\nname = \"example.com\"\n",
    );
    let report = place
        .run(&["verify", "--format", "json", "shop.test"])
        .exits(1)
        .json();
    let code = codes(&report).join(" ");
    assert!(code == "dns.failed" || code == "dns.timeout", "{report:#}");
    assert_eq!(report["endpoints"][0]["address"], "port 443");
}

#[test]
fn no_configuration_is_needed() {
    let leaf = TRUSTED.issue(&Wish::names(&["127.0.0.1"]));
    let server = Server::tls(tls_config(&leaf));
    let place = Place::new();
    let target = server.address.to_string();
    let run = place.run(&["verify", &target]).exits(1);
    assert_eq!(run.stderr, "");
    // The root is not among the system's, and nothing else is wrong.
    snapshot!(place, "without_configuration", run.stdout);
    // What the operator named must be there, though.
    place
        .run(&["verify", &target, "--config", "missing.toml"])
        .exits(2);
}

#[test]
fn an_alias_is_looked_at_alone_and_a_domain_with_all_its_names() {
    let leaf = TRUSTED.issue(&Wish::names(&[NAME, ALIAS]));
    let server = Server::tls(tls_config(&leaf));
    let place = place(
        &server.address.to_string(),
        &format!(
            "aliases = [\"{ALIAS}\"]\n\
             [[domain]]\nname = \"off.test\"\nconnect = \"{CLOSED}\"\nenabled = false"
        ),
    );
    let names = |targets: &[&str]| {
        let arguments = [&["verify", "--format", "json"], targets].concat();
        let report = place.run(&arguments).json();
        let endpoints = report["endpoints"].as_array().unwrap().clone();
        endpoints
            .iter()
            .map(|endpoint| endpoint["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), [NAME, ALIAS]);
    assert_eq!(names(&[NAME]), [NAME, ALIAS]);
    assert_eq!(names(&[ALIAS]), [ALIAS]);
    // A domain that is switched off is looked at when it is asked for.
    assert_eq!(names(&["off.test"]), ["off.test"]);
}

#[test]
fn a_good_certificate_that_is_not_the_installed_one_is_a_failure() {
    let wish = Wish::names(&[NAME]);
    let [first, second, strange] = [(); 3].map(|()| TRUSTED.issue(&wish));
    let other = TRUSTED.issue(&Wish::names(&[NAME, "other.rare-books.test"]));
    let verify = |served: &Leaf, extra: &str| {
        let server = Server::tls(tls_config(served));
        let place = place(&server.address.to_string(), extra);
        place.archive(NAME, 1, &first);
        place.archive(NAME, 2, &second);
        place.go_live(NAME, 2);
        place.archive("other.rare-books.test", 1, &other);
        place.go_live("other.rare-books.test", 1);
        place.run(&["verify", "--format", "json"]).json()
    };
    #[track_caller]
    fn check(report: &Value, code: &str, severity: &str, evidence: &str) {
        let finding = finding(report, code);
        assert_eq!(finding["severity"], severity, "{finding}");
        let found = finding["evidence"].as_str().unwrap();
        assert!(found.contains(evidence), "{found}");
    }
    let installed = verify(&second, "");
    check(&installed, "served.installed", "ok", "generation 2");
    assert_eq!(codes(&installed), [""; 0]);
    check(
        &verify(&first, ""),
        "served.other_generation",
        "failure",
        "generation 1 is served, generation 2 is live",
    );
    check(
        &verify(&other, ""),
        "served.other_lineage",
        "failure",
        "the certificate of other.rare-books.test is served",
    );
    check(
        &verify(&other, "shared = true"),
        "served.other_lineage",
        "note",
        "the certificate of other.rare-books.test is served",
    );
    check(
        &verify(&strange, ""),
        "served.not_installed",
        "failure",
        "unknown to certd",
    );
    let shared = verify(&strange, "shared = true");
    check(
        &shared,
        "served.not_installed",
        "failure",
        "unknown to certd",
    );
}

#[test]
fn a_trust_file_that_is_of_no_use_is_named() {
    let place = place(CLOSED, "");
    let runs: [&[&str]; 1] = [&["verify"]];
    let mut shown = String::new();
    for content in [None, Some("no PEM"), Some(""), Some(BROKEN_PEM)] {
        match content {
            Some(content) => place.write("root.pem", content),
            None => std::fs::remove_file(place.path("root.pem")).unwrap(),
        }
        place.run(runs[0]).exits(2);
        shown.push_str(&place.transcript(&runs));
    }
    snapshot!(place, "trust_files", shown);
}

#[test]
fn json_holds_everything_that_was_seen() {
    let leaf = TRUSTED.issue(&Wish {
        common_name: Some(NAME),
        ..Wish::names(&[NAME, ALIAS])
    });
    let server = Server::tls(tls_config(&leaf));
    let place = place(&server.address.to_string(), "");
    let report = place.run(&["verify", "--format", "json"]).exits(0).json();
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["command"], "verify");
    let endpoint = &report["endpoints"][0];
    assert_eq!(endpoint["domain"], NAME);
    assert_eq!(endpoint["address"], server.address.to_string());
    assert!(endpoint["elapsed_millis"].is_u64());
    let certificate = &endpoint["certificate"];
    assert_eq!(certificate["common_name"], NAME);
    assert_eq!(certificate["names"], serde_json::json!([NAME, ALIAS]));
    assert_eq!(certificate["issuer"], "CN=Trusted Intermediate");
    assert_eq!(certificate["not_before"], "2020-01-01T00:00:00Z");
    assert_eq!(certificate["not_after"], "2120-01-01T00:00:00Z");
    assert_eq!(certificate["chain_length"], 2);
    assert_eq!(certificate["fingerprint"].as_str().map(str::len), Some(64));
    let codes: Vec<&str> = endpoint["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        ["served.name", "served.time", "served.path", "served.key"]
    );
}

#[test]
fn words_of_a_certificate_cannot_draw_on_the_terminal() {
    let evil = "evil\u{1b}[2J\n✓ shop.rare-books.test  proven\u{9b}31m";
    let leaf = Authority::root(evil).issue(&Wish {
        common_name: Some(&format!("{evil} too")),
        ..Wish::names(&[NAME])
    });
    let server = Server::tls(tls_config(&leaf));
    let place = place(&server.address.to_string(), "");
    let run = place.run(&["verify", "--color", "always"]).exits(1);
    assert!(!run.stdout.contains("\u{1b}[2J"), "{:?}", run.stdout);
    assert!(!run.stdout.contains('\u{9b}'), "{:?}", run.stdout);
    let forged = run.stdout.lines().filter(|line| line.starts_with('✓'));
    assert_eq!(forged.count(), 0, "{:?}", run.stdout);
}

const BROKEN_PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
