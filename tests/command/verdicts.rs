//! Every verdict of `certd verify`, by a server that deserves it or by files, and no other.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use certd_sandbox::dns::{self, Failure, Record, Zone};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;
use tokio::runtime::Builder;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::support::{
    Authority, CLOSED, Leaf, Place, Run, Server, Wish, codes, element, finding, first_bytes,
    over_80_columns, pem, server_hello, tls_config, tls_config_for,
};

mod addresses;
mod causes;
mod files;

static ROOT: LazyLock<Authority> = LazyLock::new(|| Authority::root("Trusted Root"));
static INTERMEDIATE: LazyLock<Authority> =
    LazyLock::new(|| ROOT.intermediate("Trusted Intermediate"));

const NAME: &str = "shop.rare-books.test";

fn issue(wish: &Wish<'_>) -> Leaf {
    INTERMEDIATE.issue(wish)
}

/// A place that trusts the root, with these `[[domain]]`s
fn place(domains: &str) -> Place {
    let place = Place::with(&format!(
        "storage = \"storage\"\nstate = \"state\"\n\
         [preflight]\nhttp_port = 1\n\
         [verify]\ntrust = [\"root.pem\"]\ntimeout = \"20s\"\n{domains}"
    ));
    place.write("root.pem", ROOT.pem());
    place
}

/// A `[[domain]]` that is looked at there
fn domain(name: &str, address: impl std::fmt::Display) -> String {
    format!("[[domain]]\nname = \"{name}\"\nconnect = \"{address}\"\n")
}

/// The report of a run, whatever its exit status
fn report(place: &Place, arguments: &[&str]) -> Value {
    let json = [&["verify", "--format", "json"], arguments].concat();
    place.run(&json).json()
}

/// The codes of what is wrong with a file
#[track_caller]
fn check_file(place: &Place, file: &str, more: &[&str], expected: &[&str]) -> Value {
    let arguments = [&["--chain", file, "--name", NAME], more].concat();
    let report = report(place, &arguments);
    assert_eq!(codes(&report), expected, "{file} {more:?}: {report:#}");
    report
}

/// Files of `tests/data/weak`
fn weak(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/weak");
    path.join(name).display().to_string()
}

#[test]
fn twelve_ill_endpoints_have_a_verdict_each() {
    let names = |name| Wish::names(name);
    let strange = Authority::root("Strange Root");
    let tls = |leaf: &Leaf| Server::tls(tls_config(leaf));
    let plain = Server::start(|mut stream| {
        first_bytes(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let hanging = Server::start(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let year = |wish: Wish<'static>, valid| Wish { valid, ..wish };
    let servers = [
        ("wrong-name", tls(&issue(&names(&["other.test"])))),
        (
            "expired",
            tls(&issue(&year(names(&["expired.test"]), (2020, 2021)))),
        ),
        (
            "not-yet",
            tls(&issue(&year(names(&["not-yet.test"]), (2090, 2091)))),
        ),
        (
            "self-signed",
            tls(&names(&["self-signed.test"]).self_signed()),
        ),
        (
            "unknown-root",
            tls(&strange.issue(&names(&["unknown-root.test"]))),
        ),
        (
            "incomplete",
            tls(&issue(&names(&["incomplete.test"])).sent_with(Vec::new())),
        ),
        ("no-san", tls(&issue(&names(&[])))),
        (
            "soon",
            tls(&issue(&year(names(&["soon.test"]), (1971, 2041)))),
        ),
        ("plain-http", plain),
        ("reset", Server::start(drop)),
        ("hang", hanging),
    ];
    let good = tls(&issue(&names(&["good.test"])));
    let mut domains: String = servers
        .iter()
        .map(|(name, server)| domain(&format!("{name}.test"), server.address))
        .collect();
    domains.push_str(&domain("refused.test", CLOSED));
    domains.push_str(&domain("good.test", good.address));
    let place = place(&domains);
    let config = place.read("domains.toml").replace("20s", "2s");
    place.write("domains.toml", config);
    let run = place.run(&["verify"]).exits(1);
    assert_eq!(over_80_columns(&run.stdout), [""; 0]);
    snapshot!(place, "twelve", run.stdout);
    let report = report(&place, &[]);
    let endpoints = report["endpoints"].as_array().unwrap();
    let mut verdicts: Vec<&str> = endpoints
        .iter()
        .filter_map(|endpoint| endpoint["findings"][0]["code"].as_str())
        .collect();
    assert_eq!(endpoints[12]["severity"], "ok");
    verdicts.sort_unstable();
    verdicts.dedup();
    assert_eq!(verdicts.len(), 13);
}

#[test]
fn no_good_endpoint_is_called_bad() {
    let with_key = |algorithm: &'static SignatureAlgorithm| {
        let key = KeyPair::generate_for(algorithm).expect("a key can be made");
        INTERMEDIATE.issue_for(&Wish::names(&[NAME]), key)
    };
    let usual = || issue(&Wish::names(&[NAME]));
    let servers = [
        tls_config(&usual()),
        tls_config_for(&usual(), &usual(), &[&TLS13]),
        tls_config(&with_key(&PKCS_ECDSA_P384_SHA384)),
        tls_config(&with_key(&PKCS_RSA_SHA256)),
        tls_config(&issue(&Wish::names(&["*.rare-books.test"]))),
        tls_config(&issue(&Wish::names(&["a.test", "b.test", NAME]))),
        tls_config(&issue(&Wish {
            common_name: Some(NAME),
            ..Wish::names(&[NAME])
        })),
        tls_config(&ROOT.issue(&Wish::names(&[NAME])).sent_with(Vec::new())),
        tls_config(&usual().sent_with(vec![INTERMEDIATE.der(), ROOT.der()])),
    ];
    for (number, config) in servers.into_iter().enumerate() {
        // The second has the key of another certificate: the control that a fault is seen.
        let expected: &[&str] = match number {
            1 => &["served.key_unproven"],
            _ => &[],
        };
        let server = Server::tls(config);
        let report = report(&place(&domain(NAME, server.address)), &[]);
        assert_eq!(codes(&report), expected, "{number}: {report:#}");
    }
    let leaf = usual();
    let server = Server::tls(tls_config_for(&leaf, &leaf, &[&TLS12]));
    let report = report(&place(&domain(NAME, server.address)), &[]);
    assert_eq!(codes(&report), [""; 0]);
}

#[test]
fn a_chain_in_a_file_is_judged_as_a_served_one() {
    let place = place(&domain(NAME, CLOSED));
    let leaf = issue(&Wish::names(&[NAME]));
    place.write("good.pem", leaf.chain_pem());
    place.write("key.pem", leaf.key_pem());
    place.write("other.pem", issue(&Wish::names(&[NAME])).key_pem());
    check_file(&place, "good.pem", &[], &[]);
    check_file(&place, "good.pem", &["--key", "key.pem"], &[]);
    let report = check_file(
        &place,
        "good.pem",
        &["--key", "other.pem"],
        &["served.key_mismatch"],
    );
    assert_eq!(report["endpoints"][0]["address"], "good.pem");
    assert_eq!(report["endpoints"][0]["port"], Value::Null);
    check_file(
        &place,
        "good.pem",
        &["--at", "2019-12-31T23:59:59Z"],
        &["served.not_yet_valid"],
    );
    check_file(
        &place,
        "good.pem",
        &["--at", "2120-01-01T00:00:01Z"],
        &["served.expired"],
    );
    let late = ["--at", "2119-12-01T00:00:00Z", "--min-remaining", "14d"];
    check_file(&place, "good.pem", &late, &[]);
    let late = ["--at", "2119-12-20T00:00:00Z", "--min-remaining", "14d"];
    check_file(&place, "good.pem", &late, &["served.expires_soon"]);
    let server = Server::tls(tls_config(&leaf));
    place.write(
        "domains.toml",
        place
            .read("domains.toml")
            .replace(CLOSED, &server.address.to_string()),
    );
    let served = report_codes(&self::report(&place, &[]));
    let filed = report_codes(&self::report(
        &place,
        &["--chain", "good.pem", "--name", NAME, "--key", "key.pem"],
    ));
    assert_eq!(served, filed);
}

#[test]
fn strict_follows_the_lifetime_of_a_certificate() {
    let place = place(&domain(NAME, CLOSED));
    let issue = |file: &str, until: (i32, u8, u8)| {
        let mut params = Wish::names(&[NAME]).params();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().expect("a key can be made");
        place.write(file, INTERMEDIATE.issue_as(params, key).chain_pem());
    };
    issue("6-days.pem", (2026, 1, 7));
    issue("398-days.pem", (2027, 2, 3));
    let check = |file: &str, at: &str, more: &[&str], expected: &[&str]| {
        let common = ["--at", at, "--strict"];
        check_file(&place, file, &[&common[..], more].concat(), expected);
        let arguments = ["verify", "--chain", file, "--name", NAME];
        let run = place.run(&[&arguments[..], &common, more].concat());
        run.exits(i32::from(!expected.is_empty()));
    };
    let soon: &[&str] = &["served.expires_soon"];
    check("6-days.pem", "2026-01-04", &[], &[]);
    check("6-days.pem", "2026-01-06", &[], soon);
    // It could never have so much.
    check("6-days.pem", "2026-01-04", &["--min-remaining", "14d"], &[]);
    check(
        "6-days.pem",
        "2026-01-06",
        &["--min-remaining", "14d"],
        soon,
    );
    check("398-days.pem", "2026-10-01", &[], &[]);
    check("398-days.pem", "2026-11-01", &[], soon);
    check(
        "398-days.pem",
        "2026-11-01",
        &["--min-remaining", "30d"],
        &[],
    );
}

/// Every code, good ones too, in order
fn report_codes(report: &Value) -> Vec<String> {
    let findings = report["endpoints"][0]["findings"].as_array();
    findings
        .expect("a list")
        .iter()
        .map(|finding| finding["code"].as_str().expect("a code").to_owned())
        .collect()
}

#[test]
fn without_a_configuration_a_file_needs_its_root_alone() {
    let place = Place::new();
    place.write("chain.pem", issue(&Wish::names(&[NAME])).chain_pem());
    place.write("root.pem", ROOT.pem());
    check_file(&place, "chain.pem", &["--trust", "root.pem"], &[]);
    check_file(&place, "chain.pem", &[], &["served.unknown_issuer"]);
    let run = place.run(&[
        "verify",
        "--chain",
        "chain.pem",
        "--name",
        NAME,
        "--trust",
        "root.pem",
    ]);
    snapshot!(place, "file", run.exits(0).stdout);
}

#[test]
fn a_file_without_end_is_refused() {
    let place = Place::new();
    place.write("chain.pem", issue(&Wish::names(&[NAME])).chain_pem());
    let endless = "/dev/zero";
    for arguments in [
        &["--chain", endless, "--name", NAME][..],
        &["--chain", "chain.pem", "--key", endless, "--name", NAME],
        &["--targets", endless],
    ] {
        let run = place.run(&[&["verify"], arguments].concat()).exits(2);
        assert!(run.stderr.contains("longer than 16 MiB"), "{run}");
    }
}

#[test]
fn weakness_is_told_and_hides_nothing() {
    let place = place(&domain(NAME, CLOSED));
    place.write("root.pem", fs::read(weak("root.pem")).unwrap());
    check_file(&place, &weak("must-staple.pem"), &[], &[]);
    let report = check_file(&place, &weak("short-key.pem"), &[], &["served.weak_key"]);
    let evidence = finding(&report, "served.weak_key")["evidence"].clone();
    assert!(
        evidence.as_str().unwrap().contains("RSA 1024"),
        "{evidence}"
    );
    for name in ["sha1.pem", "md5.pem"] {
        let report = check_file(&place, &weak(name), &[], &["served.weak_signature"]);
        let evidence = finding(&report, "served.weak_signature")["evidence"].clone();
        let digest = &name[..3];
        assert!(evidence.as_str().unwrap().contains(digest), "{evidence}");
    }
    place.write("root.pem", ROOT.pem());
    check_file(
        &place,
        &weak("short-key.pem"),
        &["--at", "2300-01-01T00:00:00Z"],
        &[
            "served.expired",
            "served.incomplete_chain",
            "served.weak_key",
        ],
    );
}

#[test]
fn a_certificate_that_demands_a_staple_is_refused_without() {
    let leaf = issue(&Wish {
        must_staple: true,
        ..Wish::names(&[NAME])
    });
    let server = Server::tls(tls_config(&leaf));
    let report = report(&place(&domain(NAME, server.address)), &[]);
    assert_eq!(codes(&report), ["served.staple_missing"]);
    let check = |leaf: &Leaf, response: &[u8], expected: &[&str]| {
        let mut config = ServerConfig::clone(&tls_config(leaf));
        config.cert_resolver = Arc::new(Stapled(leaf.certified(response)));
        let server = Server::tls(Arc::new(config));
        let report = self::report(&place(&domain(NAME, server.address)), &[]);
        assert_eq!(codes(&report), expected, "{report:#}");
        report
    };
    let missing: &[&str] = &["served.staple_missing"];
    let revoked: &[&str] = &["served.revoked"];
    let report = check(&leaf, &ocsp(&leaf, GOOD), &[]);
    assert_eq!(report["endpoints"][0]["certificate"]["ocsp_stapled"], true);
    check(&leaf, &ocsp(&leaf, REVOKED), revoked);
    check(&leaf, &ocsp(&leaf, UNKNOWN), missing);
    let usual = issue(&Wish::names(&[NAME]));
    check(&usual, &ocsp(&usual, REVOKED), revoked);
    check(&usual, &ocsp(&usual, GOOD), &[]);
    // Of another certificate, "try later", and a success that says nothing.
    check(&leaf, &ocsp(&usual, GOOD), missing);
    check(&leaf, &[0x30, 3, 0x0a, 1, 3], missing);
    check(&leaf, &[0x30, 3, 0x0a, 1, 0], missing);
}

/// States of a certificate (RFC 6960 section 4.2.1)
const GOOD: &[u8] = &[0x80, 0];
const REVOKED: &[u8] = b"\xa1\x11\x18\x0f20260101000000Z";
const UNKNOWN: &[u8] = &[0x82, 0];

/// An OCSP response that says this of a leaf, and that nobody has signed
fn ocsp(leaf: &Leaf, state: &[u8]) -> Vec<u8> {
    let (_, x509) = X509Certificate::from_der(&leaf.chain[0]).expect("it is a certificate");
    let sha1 = [0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0];
    let digest = element(4, &[0; 20]);
    let serial = element(2, x509.raw_serial());
    let whose = element(0x30, &[&sha1[..], &digest, &digest, &serial].concat());
    let time = element(0x18, b"20260101000000Z");
    let single = element(0x30, &[&whose[..], state, &time].concat());
    let responder = element(0xa2, &digest);
    let all = element(0x30, &single);
    let data = element(0x30, &[&responder[..], &time, &all].concat());
    let algorithm = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let basic = [&data[..], &algorithm, &element(3, &[0, 0])].concat();
    let kind = [6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
    let basic = element(4, &element(0x30, &basic));
    let bytes = element(0x30, &[&kind[..], &basic].concat());
    element(0x30, &[&[0x0a, 1, 0][..], &element(0xa0, &bytes)].concat())
}

/// One certificate, with an OCSP response
#[derive(Debug)]
struct Stapled(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Stapled {
    fn resolve(
        &self,
        _: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[test]
fn a_chain_out_of_order_warns_and_needless_certificates_are_noted() {
    let place = place(&domain(NAME, CLOSED));
    let lower = INTERMEDIATE.intermediate("Lower Intermediate");
    let leaf = || lower.issue(&Wish::names(&[NAME]));
    let chain = |above: Vec<_>| leaf().sent_with(above).chain_pem();
    place.write("ordered.pem", chain(vec![lower.der(), INTERMEDIATE.der()]));
    place.write("swapped.pem", chain(vec![INTERMEDIATE.der(), lower.der()]));
    let stranger = Authority::root("Strange Root").intermediate("Strange Intermediate");
    let whole = vec![lower.der(), INTERMEDIATE.der(), ROOT.der(), stranger.der()];
    place.write("whole.pem", chain(whole));
    check_file(&place, "ordered.pem", &[], &[]);
    check_file(&place, "swapped.pem", &[], &["served.chain_order"]);
    let report = check_file(&place, "whole.pem", &[], &[]);
    for code in ["served.needless_root", "served.needless_certificate"] {
        assert_eq!(finding(&report, code)["severity"], "note");
    }
    let report = check_file(&place, "ordered.pem", &[], &[]);
    assert!(!report.to_string().contains("needless"), "{report:#}");
    let mut many = vec![lower.der(), INTERMEDIATE.der()];
    many.extend((0..3).map(|_| Authority::root("Strange Root").der()));
    place.write("many.pem", chain(many));
    let report = check_file(&place, "many.pem", &[], &[]);
    let told = report_codes(&report);
    let told = told.iter().filter(|code| *code == "served.needless_root");
    assert_eq!(told.count(), 1, "{report:#}");
    assert_eq!(
        finding(&report, "served.needless_root")["evidence"],
        "Strange Root need not be sent (it is, 3 times): whoever trusts a root has it"
    );
}

#[test]
fn what_is_wrong_above_the_leaf_is_told() {
    let place = place(&domain(NAME, CLOSED));
    let below = |change: &dyn Fn(&mut CertificateParams)| {
        let odd = ROOT.intermediate_as("Odd Intermediate", change);
        odd.issue(&Wish::names(&[NAME])).chain_pem()
    };
    let expired = below(&|params| params.not_after = date_time_ymd(2021, 1, 1));
    let for_clients = below(&|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let no_ca = below(&|params| params.is_ca = IsCa::ExplicitNoCa);
    let other = Authority::root("Trusted Root").intermediate("Trusted Intermediate");
    let mixed = issue(&Wish::names(&[NAME])).sent_with(vec![other.der()]);
    for (file, chain, code) in [
        ("expired.pem", expired, "served.intermediate_expired"),
        ("clients.pem", for_clients, "served.intermediate_purpose"),
        ("no-ca.pem", no_ca, "served.not_a_ca"),
        ("mixed.pem", mixed.chain_pem(), "served.other_key"),
    ] {
        place.write(file, chain);
        check_file(&place, file, &[], &[code]);
    }
    let report = report(&place, &["--chain", "no-ca.pem", "--name", NAME]);
    assert_eq!(
        finding(&report, "served.not_a_ca")["evidence"],
        "Odd Intermediate has issued it, and is no CA (no CA:TRUE)"
    );
}

/// A cross-signed certificate of the intermediate, by a root that nobody trusts
fn cross_signed(change: &dyn Fn(&mut CertificateParams)) -> CertificateDer<'static> {
    Authority::root("Old Root").cross_sign(&INTERMEDIATE, change)
}

#[test]
fn what_no_path_uses_is_a_note_however_ill_it_is() {
    let place = place(&domain(NAME, CLOSED));
    let until = |year| {
        cross_signed(&move |params| {
            params.not_after = date_time_ymd(year, 1, 1);
        })
    };
    let leaf = || issue(&Wish::names(&[NAME]));
    let chain = |above: Vec<_>| leaf().sent_with(above).chain_pem();
    let good = INTERMEDIATE.der();
    for (file, above) in [
        ("expired-first.pem", vec![until(2021), good.clone()]),
        ("expired-last.pem", vec![good.clone(), until(2021)]),
        ("ends-early.pem", vec![until(2100), good.clone()]),
    ] {
        place.write(file, chain(above));
        let report = check_file(&place, file, &["--strict"], &[]);
        let evidence = &finding(&report, "served.needless_certificate")["evidence"];
        assert_eq!(
            evidence,
            "Trusted Intermediate need not be sent: the way to the root does without it"
        );
    }
    // Of the same CA: the way that lasts counts, whichever is sent first.
    let short = ROOT.cross_sign(&INTERMEDIATE, &|params| {
        params.not_after = date_time_ymd(2100, 1, 1);
    });
    place.write("short-first.pem", chain(vec![short.clone(), good.clone()]));
    check_file(&place, "short-first.pem", &["--strict"], &[]);
    place.write("short-alone.pem", chain(vec![short]));
    check_file(
        &place,
        "short-alone.pem",
        &[],
        &["served.short_intermediate"],
    );
    // One that leads an old client to another root helps that client.
    place.write("cross.pem", chain(vec![good.clone(), until(2120)]));
    let report = check_file(&place, "cross.pem", &["--strict"], &[]);
    assert!(!report.to_string().contains("for nothing"), "{report:#}");
    place.write("twice.pem", chain(vec![good.clone(), good]));
    let report = check_file(&place, "twice.pem", &["--strict"], &[]);
    assert_eq!(
        finding(&report, "served.needless_certificate")["evidence"],
        "Trusted Intermediate need not be sent: it is sent twice"
    );
}

#[test]
fn what_a_ca_may_not_do_is_told_as_that() {
    let place = place(&domain(NAME, CLOSED));
    let below = |change: &dyn Fn(&mut CertificateParams)| {
        let odd = ROOT.intermediate_as("Odd Intermediate", change);
        odd.issue(&Wish::names(&[NAME])).chain_pem()
    };
    let limited = |permitted: Vec<GeneralSubtree>, excluded: Vec<GeneralSubtree>| {
        below(&|params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: permitted.clone(),
                excluded_subtrees: excluded.clone(),
            });
        })
    };
    let dns = |name: &str| vec![GeneralSubtree::DnsName(name.to_owned())];
    let wildcard_over = |excluded: Vec<GeneralSubtree>| {
        let odd = ROOT.intermediate_as("Odd Intermediate", &|params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: Vec::new(),
                excluded_subtrees: excluded.clone(),
            });
        });
        odd.issue(&Wish::names(&["*.rare-books.test"])).chain_pem()
    };
    let organization = |name: &str| {
        let mut directory = DistinguishedName::new();
        directory.push(DnType::OrganizationName, name);
        directory
    };
    let directory = organization("Elsewhere");
    // A leaf of this organization, below a CA that may issue for one
    let of_organization = |permitted: Option<&str>, excluded: Option<&str>, own: &str| {
        let subtree = |name: Option<&str>| -> Vec<GeneralSubtree> {
            let name = name.map(|name| GeneralSubtree::DirectoryName(organization(name)));
            name.into_iter().collect()
        };
        let odd = ROOT.intermediate_as("Odd Intermediate", &|params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtree(permitted),
                excluded_subtrees: subtree(excluded),
            });
        });
        let mut params = Wish::names(&[NAME]).params();
        params.distinguished_name = organization(own);
        let key = KeyPair::generate().expect("a key can be made");
        odd.issue_as(params, key).chain_pem()
    };
    let critical = |identifier: &'static [u64], content: &'static [u8]| {
        below(&move |params| {
            let mut extension = CustomExtension::from_oid_content(identifier, content.to_vec());
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        })
    };
    let revocation_lists = || {
        below(&|params| {
            // An empty DistributionPoint, as the verifier reads it.
            let content = vec![0x30, 2, 0x30, 0];
            let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 31], content);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        })
    };
    let short = ROOT.intermediate_as("Short Path", &|params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let lower = short.intermediate("Lower Intermediate");
    let too_long = lower
        .issue(&Wish::names(&[NAME]))
        .sent_with(vec![lower.der(), short.der()]);
    for (file, chain, code) in [
        (
            "elsewhere.pem",
            limited(dns("elsewhere.test"), Vec::new()),
            "served.name_constraints",
        ),
        (
            "excluded.pem",
            limited(Vec::new(), dns("rare-books.test")),
            "served.name_constraints",
        ),
        (
            "directory.pem",
            limited(vec![GeneralSubtree::DirectoryName(directory)], Vec::new()),
            "served.other_constraints",
        ),
        (
            "subdomains-alone.pem",
            limited(dns(&format!(".{NAME}")), Vec::new()),
            "served.name_constraints",
        ),
        (
            "wildcard.pem",
            wildcard_over(dns(NAME)),
            "served.name_constraints",
        ),
        (
            "absolute.pem",
            limited(dns("rare-books.test."), Vec::new()),
            "served.other_constraints",
        ),
        (
            "elsewhere-absolute.pem",
            limited(dns("elsewhere.test."), Vec::new()),
            "served.name_constraints",
        ),
        (
            "organization.pem",
            of_organization(Some("Elsewhere"), None, "Rare Books"),
            "served.name_constraints",
        ),
        (
            "not-this-organization.pem",
            of_organization(None, Some("rare  books"), "Rare Books"),
            "served.name_constraints",
        ),
        (
            "own-organization.pem",
            of_organization(Some("RARE BOOKS"), None, "Rare Books"),
            "served.other_constraints",
        ),
        (
            "another-organization.pem",
            of_organization(None, Some("Elsewhere"), "Rare Books"),
            "served.other_constraints",
        ),
        (
            "critical.pem",
            critical(&[1, 2, 3, 4], &[5, 0]),
            "served.critical_extension",
        ),
        (
            "mappings.pem",
            critical(
                &[2, 5, 29, 33],
                &[0x30, 10, 0x30, 8, 6, 2, 0x2a, 3, 6, 2, 0x2a, 4],
            ),
            "served.critical_extension",
        ),
        (
            "revocation-lists.pem",
            revocation_lists(),
            "served.critical_extension",
        ),
        (
            "key-identifier.pem",
            critical(&[2, 5, 29, 35], &[0x30, 0]),
            "served.critical_extension",
        ),
        (
            "policies.pem",
            critical(&[2, 5, 29, 36], &[0x30, 3, 0x80, 1, 0]),
            "served.critical_policies",
        ),
        ("too-long.pem", too_long.chain_pem(), "served.path_length"),
    ] {
        place.write(file, chain);
        check_file(&place, file, &[], &[code]);
    }
    place.write("inside.pem", limited(dns("rare-books.test"), Vec::new()));
    check_file(&place, "inside.pem", &[], &[]);
    // A CA whose key was rolled over issues for its own name.
    let old = ROOT.intermediate("Rolled Over");
    let new = old.intermediate("Rolled Over");
    let leaf = new.issue(&Wish::names(&[NAME]));
    place.write(
        "rolled.pem",
        leaf.sent_with(vec![new.der(), old.der()]).chain_pem(),
    );
    let report = check_file(&place, "rolled.pem", &["--strict"], &[]);
    assert!(!report.to_string().contains("for nothing"), "{report:#}");
}

#[test]
fn the_limits_of_an_operators_root_count() {
    let place = place(&domain(NAME, CLOSED));
    let check = |change: &dyn Fn(&mut CertificateParams), expected: &[&str]| {
        let root = Authority::root_as("Odd Root", change);
        place.write("root.pem", root.pem());
        let intermediate = root.intermediate("Intermediate");
        place.write(
            "chain.pem",
            intermediate.issue(&Wish::names(&[NAME])).chain_pem(),
        );
        check_file(&place, "chain.pem", &[], expected)
    };
    let refused: &[&str] = &["served.root_limits"];
    check(&|_| {}, &[]);
    let report = check(
        &|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        refused,
    );
    assert_eq!(
        finding(&report, "served.root_limits")["evidence"],
        "browsers do not take the root that is trusted, Odd Root: it allows 0 CAs below it, \
         and there are 1"
    );
    check(
        &|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)),
        &[],
    );
    check(&|params| params.is_ca = IsCa::ExplicitNoCa, refused);
    check(&|params| params.is_ca = IsCa::NoCa, refused);
    check(
        &|params| params.key_usages = vec![KeyUsagePurpose::CrlSign],
        refused,
    );
    check(
        &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        refused,
    );
    check(
        &|params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        },
        refused,
    );
    check(
        &|params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.test".to_owned())],
                excluded_subtrees: Vec::new(),
            });
        },
        &["served.name_constraints"],
    );
}

#[test]
fn a_root_in_two_versions_is_as_good_as_the_better_one() {
    let place = place(&domain(NAME, CLOSED));
    place.write("chain.pem", issue(&Wish::names(&[NAME])).chain_pem());
    let version = |change: &dyn Fn(&mut CertificateParams)| pem(&ROOT.cross_sign(&ROOT, change));
    let expired = version(&|params| params.not_after = date_time_ymd(2021, 1, 1));
    let no_ca = version(&|params| params.is_ca = IsCa::ExplicitNoCa);
    let short = version(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    for (old, code) in [
        (expired, "served.root_expired"),
        (no_ca, "served.root_limits"),
        (short, "served.root_limits"),
    ] {
        place.write("root.pem", &old);
        check_file(&place, "chain.pem", &[], &[code]);
        for both in [[&old, &ROOT.pem()], [&ROOT.pem(), &old]] {
            place.write("root.pem", both.map(String::as_str).concat());
            check_file(&place, "chain.pem", &[], &[]);
        }
    }
}

/// Extensions that do not parse, or hold nothing
const UNPARSABLE: [(&[u64], &[u8], &str); 10] = [
    (&[2, 5, 29, 14], &[5, 0], "subject key identifier"),
    (&[2, 5, 29, 15], &[5, 0], "key usage"),
    (&[2, 5, 29, 15], &[3, 1, 0], "key usage"),
    (&[2, 5, 29, 19], &[5, 0], "basic constraints"),
    (&[2, 5, 29, 31], &[5, 0], "CRL distribution points"),
    (&[2, 5, 29, 32], &[5, 0], "certificate policies"),
    (&[2, 5, 29, 35], &[5, 0], "authority key identifier"),
    (&[2, 5, 29, 37], &[5, 0], "extended key usage"),
    (&[2, 5, 29, 37], &[0x30, 0], "extended key usage"),
    (
        &[1, 3, 6, 1, 5, 5, 7, 1, 1],
        &[5, 0],
        "authority information access",
    ),
];

#[test]
fn an_extension_that_does_not_parse_or_is_there_twice_is_named_wherever_it_is() {
    let place = place(&domain(NAME, CLOSED));
    let check = |chain: String, words: &str| {
        place.write("odd.pem", chain);
        let report = check_file(&place, "odd.pem", &[], &["served.malformed"]);
        let evidence = finding(&report, "served.malformed")["evidence"].to_string();
        assert!(evidence.contains(words), "{words}: {evidence}");
    };
    let leaf = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = Wish::names(&[NAME]).params();
        change(&mut params);
        let key = KeyPair::generate().expect("a key can be made");
        INTERMEDIATE.issue_as(params, key).chain_pem()
    };
    let above = |change: &dyn Fn(&mut CertificateParams)| {
        let odd = ROOT.intermediate_as("Odd Intermediate", change);
        odd.issue(&Wish::names(&[NAME])).chain_pem()
    };
    for (identifier, content, words) in UNPARSABLE {
        let odd = |params: &mut CertificateParams| {
            params.key_usages.clear();
            params.extended_key_usages.clear();
            let extension = CustomExtension::from_oid_content(identifier, content.to_vec());
            params.custom_extensions.push(extension);
        };
        check(leaf(&odd), words);
        check(above(&odd), words);
        let root = Authority::root_as("Odd Root", &odd);
        place.write("odd-root.pem", root.pem());
        let chain = root.issue(&Wish::names(&[NAME])).sent_with(Vec::new());
        place.write("odd.pem", chain.chain_pem());
        let run = place.run(&[
            "verify",
            "--chain",
            "odd.pem",
            "--name",
            NAME,
            "--trust",
            "odd-root.pem",
        ]);
        assert_ne!(run.status, Some(0), "{words}: {run}");
    }
    let servers = [&[0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1][..], &[5, 0]];
    for (identifier, [good, other], words) in [
        (&[2, 5, 29, 37][..], servers, "extended key usage"),
        (
            &[2, 5, 29, 15],
            [&[3, 2, 1, 0x86], &[3, 2, 1, 0x86]],
            "key usage",
        ),
        (
            &[2, 5, 29, 31],
            [&[0x30, 0], &[0x30, 0]],
            "CRL distribution points",
        ),
        (&[1, 2, 3, 4], [&[5, 0], &[5, 0]], "1.2.3.4"),
    ] {
        let twice = |params: &mut CertificateParams| {
            params.key_usages.clear();
            params.extended_key_usages.clear();
            for content in [good, other] {
                let extension = CustomExtension::from_oid_content(identifier, content.to_vec());
                params.custom_extensions.push(extension);
            }
        };
        check(leaf(&twice), words);
        check(above(&twice), words);
    }
}

#[test]
fn a_leaf_that_no_browser_reads_is_told_as_that_and_not_as_another_names() {
    let place = place(&domain(NAME, CLOSED));
    let good = issue(&Wish::names(&[NAME]));
    let version = |version: u8| {
        let [from, to] = [2, version].map(|version| [0xa0, 3, 2, 1, version]);
        let leaf = INTERMEDIATE.resign(&good.chain[0], &from, &to);
        pem(&leaf) + &INTERMEDIATE.pem()
    };
    let named = |odd: &[u8]| {
        let mut params = Wish {
            common_name: Some(NAME),
            ..Wish::names(&[])
        }
        .params();
        let names = [odd, &element(0x82, NAME.as_bytes())].concat();
        let san = CustomExtension::from_oid_content(&[2, 5, 29, 17], element(0x30, &names));
        params.custom_extensions.push(san);
        let key = KeyPair::generate().expect("a key can be made");
        INTERMEDIATE.issue_as(params, key).chain_pem()
    };
    for (chain, words) in [
        (version(1), "version 2"),
        (version(3), "version 4"),
        (named(&[0xa9, 0]), "SAN"),
        (named(&[0x87, 3, 127, 0, 1]), "SAN"),
        (named(&element(0x82, "b\u{fc}cher.test".as_bytes())), "SAN"),
        (named(&element(0x82, b"b\xfccher.test")), "SAN"),
    ] {
        place.write("odd.pem", chain);
        let report = check_file(&place, "odd.pem", &[], &["served.malformed"]);
        let evidence = finding(&report, "served.malformed")["evidence"].to_string();
        assert!(evidence.contains(words), "{words}: {evidence}");
    }
    let backwards = Wish {
        valid: (2040, 2030),
        ..Wish::names(&[NAME])
    };
    place.write("odd.pem", issue(&backwards).chain_pem());
    let expected = ["served.malformed", "served.not_yet_valid"];
    check_file(&place, "odd.pem", &[], &expected);
}

#[test]
fn a_ca_with_the_name_of_its_root_is_judged_as_the_ca_that_it_is() {
    let place = place(&domain(NAME, CLOSED));
    let check = |change: &dyn Fn(&mut CertificateParams), code: &str| {
        let odd = ROOT.intermediate_as("Trusted Root", change);
        place.write("odd.pem", odd.issue(&Wish::names(&[NAME])).chain_pem());
        let report = check_file(&place, "odd.pem", &[], &[code]);
        assert!(!report.to_string().contains("needless"), "{report:#}");
    };
    check(
        &|params| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        },
        "served.critical_extension",
    );
    check(
        &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        "served.intermediate_purpose",
    );
    check(&|params| params.is_ca = IsCa::NoCa, "served.not_a_ca");
    check(
        &|params| params.is_ca = IsCa::ExplicitNoCa,
        "served.not_a_ca",
    );
    check(
        &|params| params.not_after = date_time_ymd(2021, 1, 1),
        "served.intermediate_expired",
    );
}

#[test]
fn an_issuer_that_is_sent_under_another_spelling_is_not_called_missing() {
    let place = place(&domain(NAME, CLOSED));
    let printable = "Trusted Intermediate".try_into().expect("it is printable");
    for name in [
        DnValue::PrintableString(printable),
        DnValue::Utf8String("TRUSTED Intermediate".to_owned()),
    ] {
        let leaf = INTERMEDIATE.spelt(name).issue(&Wish::names(&[NAME]));
        place.write("odd.pem", leaf.chain_pem());
        let report = check_file(&place, "odd.pem", &[], &["served.issuer_spelling"]);
        assert!(!report.to_string().contains("needless"), "{report:#}");
    }
}

#[test]
fn what_a_browser_cannot_parse_is_told() {
    let place = place(&domain(NAME, CLOSED));
    let check = |identifier: &'static [u64], content: &'static [u8]| {
        let odd = ROOT.intermediate_as("Odd Intermediate", &|params| {
            let extension = CustomExtension::from_oid_content(identifier, content.to_vec());
            params.custom_extensions.push(extension);
        });
        place.write("odd.pem", odd.issue(&Wish::names(&[NAME])).chain_pem());
        check_file(&place, "odd.pem", &[], &["served.malformed"]);
    };
    check(&[1, 3, 6, 1, 5, 5, 7, 1, 1], &[5, 0]);
    check(&[2, 5, 29, 30], &[0x30, 0]);
    let nameless = ROOT.intermediate_as("", &|params| {
        params.distinguished_name = DistinguishedName::new();
    });
    place.write("odd.pem", nameless.issue(&Wish::names(&[NAME])).chain_pem());
    check_file(&place, "odd.pem", &[], &["served.malformed"]);
}

#[test]
fn a_weak_root_is_told_as_what_it_is() {
    let place = place(&domain(NAME, CLOSED));
    let file = |name: &str| fs::read_to_string(weak(name)).expect("it is there");
    for (root, leaf, expected) in [
        (
            "root-1024.pem",
            "below-root-1024.pem",
            &["served.weak_key"][..],
        ),
        // Whoever trusts a root does not look at its signature.
        ("root-sha1.pem", "below-root-sha1.pem", &[]),
    ] {
        place.write("root.pem", file(root));
        place.write("alone.pem", file(leaf));
        place.write("with-root.pem", [file(leaf), file(root)].concat());
        for chain in ["alone.pem", "with-root.pem"] {
            let report = check_file(&place, chain, &[], expected);
            if !expected.is_empty() {
                let evidence = finding(&report, expected[0])["evidence"].to_string();
                assert!(evidence.contains("the root, Weak root-1024"), "{evidence}");
                assert!(evidence.contains("RSA 1024"), "{evidence}");
            }
        }
    }
}

#[test]
fn an_empty_subject_wants_a_critical_san() {
    let place = place(&domain(NAME, CLOSED));
    let issue = |is_critical: bool| {
        let mut params = Wish::names(&[]).params();
        let name = NAME.as_bytes();
        let length = u8::try_from(name.len()).expect("it is short");
        let content = [&[0x30, length + 2, 0x82, length], name].concat();
        let mut san = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
        san.set_criticality(is_critical);
        params.custom_extensions.push(san);
        let key = KeyPair::generate().expect("a key can be made");
        INTERMEDIATE.issue_as(params, key).chain_pem()
    };
    place.write("critical.pem", issue(true));
    check_file(&place, "critical.pem", &[], &[]);
    place.write("lax.pem", issue(false));
    check_file(&place, "lax.pem", &[], &["served.malformed"]);
}

#[test]
fn a_forged_chain_is_refused_whatever_is_sent_with_it() {
    let place = place(&domain(NAME, CLOSED));
    // Its issuer has the name of the trusted root, and another key.
    let forger = Authority::root("Trusted Root");
    let leaf = || forger.issue(&Wish::names(&[NAME]));
    let sha1 = fs::read_to_string(weak("root-sha1.pem")).expect("it is there");
    for (file, chain) in [
        ("alone.pem", leaf().sent_with(Vec::new()).chain_pem()),
        ("with-forged-root.pem", leaf().chain_pem()),
        (
            "with-root.pem",
            leaf().sent_with(vec![ROOT.der()]).chain_pem(),
        ),
        (
            "with-weak-root.pem",
            format!("{}{sha1}", leaf().sent_with(Vec::new()).chain_pem()),
        ),
    ] {
        place.write(file, chain);
        let report = report(&place, &["--chain", file, "--name", NAME]);
        assert_eq!(
            report["endpoints"][0]["severity"], "failure",
            "{file}: {report:#}"
        );
    }
}

#[test]
fn keys_are_held_to_their_use_and_kind() {
    let place = place(&domain(NAME, CLOSED));
    let with = |usages: &[KeyUsagePurpose], key: KeyPair| {
        let mut params = Wish::names(&[NAME]).params();
        params.key_usages = usages.to_vec();
        INTERMEDIATE.issue_as(params, key).chain_pem()
    };
    let p256 = || KeyPair::generate().expect("a key");
    let of = |algorithm| KeyPair::generate_for(algorithm).expect("a key");
    use KeyUsagePurpose::{DigitalSignature, KeyCertSign, KeyEncipherment};
    let below = |algorithm| {
        let odd = ROOT.intermediate_with("Odd Intermediate", of(algorithm));
        odd.issue(&Wish::names(&[NAME])).chain_pem()
    };
    let no_signer = ROOT.intermediate_as("Odd Intermediate", &|params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    for (file, chain, expected) in [
        ("usual.pem", with(&[DigitalSignature], p256()), None),
        (
            "signs.pem",
            with(&[KeyCertSign], p256()),
            Some("served.key_usage"),
        ),
        (
            "enciphers.pem",
            with(&[KeyEncipherment], of(&PKCS_RSA_SHA256)),
            Some("served.key_usage"),
        ),
        (
            "above.pem",
            no_signer.issue(&Wish::names(&[NAME])).chain_pem(),
            Some("served.key_usage"),
        ),
        (
            "ed25519.pem",
            with(&[], of(&PKCS_ED25519)),
            Some("served.key_kind"),
        ),
        (
            "p521.pem",
            with(&[], of(&PKCS_ECDSA_P521_SHA512)),
            Some("served.key_kind"),
        ),
        (
            "ed25519-above.pem",
            below(&PKCS_ED25519),
            Some("served.key_kind"),
        ),
        ("p521-above.pem", below(&PKCS_ECDSA_P521_SHA512), None),
    ] {
        place.write(file, chain);
        let expected: Vec<&str> = expected.into_iter().collect();
        check_file(&place, file, &[], &expected);
    }
    let root = Authority::root_with("Odd Root", of(&PKCS_ED25519));
    place.write("root.pem", root.pem());
    let above = root.intermediate("Usual Intermediate");
    place.write(
        "root-above.pem",
        above.issue(&Wish::names(&[NAME])).chain_pem(),
    );
    check_file(&place, "root-above.pem", &[], &["served.key_kind"]);
}

#[test]
fn what_certd_cannot_judge_is_told_from_what_nobody_can() {
    let place = place(&domain(NAME, CLOSED));
    let critical = |identifier: &[u64], content: &[u8]| {
        let mut params = Wish::names(&[NAME]).params();
        let mut extension = CustomExtension::from_oid_content(identifier, content.to_vec());
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
        let key = KeyPair::generate().expect("a key");
        INTERMEDIATE.issue_as(params, key).chain_pem()
    };
    // Any policy.
    let any = [0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x20, 0];
    place.write("policies.pem", critical(&[2, 5, 29, 32], &any));
    place.write("unknown.pem", critical(&[1, 2, 3, 4], &[5, 0]));
    check_file(&place, "policies.pem", &[], &["served.critical_policies"]);
    check_file(&place, "unknown.pem", &[], &["served.critical_extension"]);
}

#[test]
fn a_wildcard_over_a_public_suffix_covers_nobody() {
    let place = place(&domain(NAME, CLOSED));
    place.write(
        "all.pem",
        issue(&Wish::names(&["*.co.uk", "shop.org.uk"])).chain_pem(),
    );
    let judged = |name: &str| {
        let report = report(&place, &["--chain", "all.pem", "--name", name]);
        codes(&report).join(" ")
    };
    assert_eq!(judged("shop.co.uk"), "served.wrong_name");
    assert_eq!(judged("shop.org.uk"), "");
}

#[test]
fn what_ends_above_the_leaf_is_seen_coming() {
    let place = place(&domain(NAME, CLOSED));
    let ends =
        |year| move |params: &mut CertificateParams| params.not_after = date_time_ymd(year, 1, 1);
    let short = ROOT.intermediate_as("Short Intermediate", &ends(2100));
    place.write("short.pem", short.issue(&Wish::names(&[NAME])).chain_pem());
    check_file(&place, "short.pem", &[], &["served.short_intermediate"]);
    // An intermediate that is good now is not blamed beside a leaf that is not.
    let new = ROOT.intermediate_as("New Intermediate", &|params| {
        params.not_before = date_time_ymd(2025, 1, 1);
    });
    let old = Wish {
        valid: (2020, 2021),
        ..Wish::names(&[NAME])
    };
    place.write("old.pem", new.issue(&old).chain_pem());
    check_file(&place, "old.pem", &[], &["served.expired"]);
    let expired = Authority::root_as("Trusted Root", &ends(2021));
    place.write("root.pem", expired.pem());
    let below = expired.issue(&Wish::names(&[NAME])).sent_with(Vec::new());
    place.write("below.pem", below.chain_pem());
    check_file(&place, "below.pem", &[], &["served.root_expired"]);
}

#[test]
fn dates_beyond_every_calendar_are_the_last_of_all() {
    let place = place(&domain(NAME, CLOSED));
    let mut params = Wish::names(&[NAME]).params();
    params.not_after = date_time_ymd(9999, 12, 31) + Duration::from_secs(86_399);
    let leaf = INTERMEDIATE.issue_as(params, KeyPair::generate().expect("a key"));
    place.write("endless.pem", leaf.chain_pem());
    check_file(&place, "endless.pem", &[], &["served.short_intermediate"]);
}

#[test]
fn a_leaf_after_its_issuer_is_to_be_put_first() {
    let place = place(&domain(NAME, CLOSED));
    let mut leaf = issue(&Wish::names(&[NAME]));
    leaf.chain.reverse();
    place.write("reversed.pem", leaf.chain_pem());
    place.write("key.pem", leaf.key_pem());
    let report = check_file(&place, "reversed.pem", &[], &["served.leaf_not_first"]);
    assert_eq!(
        finding(&report, "served.leaf_not_first")["evidence"],
        format!("the certificate of {NAME} is number 2 of the chain, after a CA's")
    );
}

#[test]
fn a_life_that_no_public_ca_may_give_warns_unless_the_root_is_the_operators_own() {
    let place = place(&domain(NAME, CLOSED));
    let valid = |valid| {
        let wish = Wish {
            valid,
            ..Wish::names(&[NAME])
        };
        issue(&wish).chain_pem()
    };
    place.write("two-years.pem", valid((2026, 2028)));
    place.write("one-year.pem", valid((2024, 2025)));
    check_file(
        &place,
        "two-years.pem",
        &["--at", "2026-02-01T00:00:00Z"],
        &[],
    );
    // The root as one of the system's.
    let judge = |file: &str, at: &str| {
        let mut command = place.certd(&[
            "verify", "--format", "json", "--chain", file, "--name", NAME, "--at", at,
        ]);
        command.env("SSL_CERT_FILE", place.path("system.pem"));
        Run::of(&mut command).json()
    };
    place.write("system.pem", ROOT.pem());
    place.write(
        "domains.toml",
        place.read("domains.toml").replace("\"root.pem\"", ""),
    );
    let report = judge("two-years.pem", "2026-02-01T00:00:00Z");
    assert_eq!(codes(&report), ["served.long_life"]);
    let evidence = finding(&report, "served.long_life")["evidence"].clone();
    assert_eq!(
        evidence,
        "valid for 730 days in all; public CAs may give 398 days since 2020-09-01"
    );
    let report = judge("one-year.pem", "2024-02-01T00:00:00Z");
    assert_eq!(codes(&report), [""; 0]);
    // It stays one of the system's when the operator names it too.
    place.write(
        "domains.toml",
        place
            .read("domains.toml")
            .replace("trust = []", "trust = [\"root.pem\"]"),
    );
    let report = judge("two-years.pem", "2026-02-01T00:00:00Z");
    assert_eq!(codes(&report), ["served.long_life"]);
}

#[test]
fn what_is_expected_beyond_a_browsers_wishes_must_hold() {
    let leaf = issue(&Wish::names(&[NAME]));
    let server = Server::tls(tls_config(&leaf));
    let place = place(&domain(NAME, server.address));
    let report = report(&place, &[]);
    let fingerprint = report["endpoints"][0]["certificate"]["fingerprint"]
        .as_str()
        .unwrap();
    let with_colons = format!(
        "{}:{}",
        &fingerprint[..4].to_uppercase(),
        &fingerprint[4..12]
    );
    #[track_caller]
    fn check(place: &Place, arguments: &[&str], expected: &[&str]) {
        assert_eq!(
            codes(&self::report(place, arguments)),
            expected,
            "{arguments:?}"
        );
    }
    check(&place, &["--expect-fingerprint", fingerprint], &[]);
    check(&place, &["--expect-fingerprint", &with_colons], &[]);
    let other = "00000000";
    check(
        &place,
        &["--expect-fingerprint", other],
        &["served.other_fingerprint"],
    );
    check(&place, &["--expect-issuer", "trusted inter"], &[]);
    check(
        &place,
        &["--expect-issuer", "Let's Encrypt"],
        &["served.other_issuer"],
    );
    for wrong in ["abc", "not hexadecimal", ""] {
        place
            .run(&["verify", "--expect-fingerprint", wrong])
            .exits(2);
    }
}

#[test]
fn warnings_fail_with_strict_alone() {
    let soon = issue(&Wish {
        valid: (1971, 2041),
        ..Wish::names(&[NAME])
    });
    let server = Server::tls(tls_config(&soon));
    let place = place(&domain(NAME, server.address));
    place.run(&["verify"]).exits(0);
    place.run(&["verify", "--strict"]).exits(1);
    place
        .run(&["verify", "--strict", "--min-remaining", "1d"])
        .exits(0);
    place.run(&["verify", "--min-remaining", "soon"]).exits(2);
}

#[test]
fn it_waits_for_what_was_just_deployed() {
    let good = issue(&Wish::names(&[NAME]));
    let bad = issue(&Wish::names(&["other.test"]));
    let [good, bad] = [good, bad].map(|leaf| tls_config(&leaf));
    let looks = AtomicUsize::new(0);
    let server = Server::start(move |mut stream| {
        let look = looks.fetch_add(1, Ordering::SeqCst);
        shake_hands(if look < 2 { &bad } else { &good }, &mut stream);
    });
    let place = place(&domain(NAME, server.address));
    place.run(&["verify", "--wait", "60s"]).exits(0);
    assert_eq!(server.connections(), 3);
    let never = Server::tls(tls_config(&issue(&Wish::names(&["other.test"]))));
    let place = self::place(&domain(NAME, never.address));
    let run = place
        .run(&["verify", "--wait", "1500ms", "--format", "json"])
        .exits(1);
    assert_eq!(codes(&run.json()), ["served.wrong_name"]);
    // How often it looked until then is the machine's affair.
    assert!(never.connections() >= 1);
}

fn shake_hands(config: &Arc<ServerConfig>, stream: &mut TcpStream) -> Option<ServerConnection> {
    let mut tls = ServerConnection::new(config.clone()).expect("the configuration is sound");
    while tls.is_handshaking() {
        tls.complete_io(stream).ok()?;
    }
    Some(tls)
}

#[test]
fn targets_come_from_a_list_too() {
    let leaf = issue(&Wish::names(&["localhost", "127.0.0.1"]));
    let server = Server::tls(tls_config(&leaf));
    let place = Place::new();
    place.write("root.pem", ROOT.pem());
    let address = server.address;
    let list = format!(
        "# ours\nlocalhost:{}\n\n  {address} # by address\n",
        address.port()
    );
    place.write("list", &list);
    let arguments = [
        "verify",
        "--trust",
        "root.pem",
        "--format",
        "json",
        "--targets",
    ];
    let report = place
        .run(&[&arguments[..], &["list"]].concat())
        .exits(0)
        .json();
    let origins = report["endpoints"].as_array().unwrap().iter();
    let origins: Vec<_> = origins
        .map(|endpoint| (endpoint["name"].clone(), endpoint["origin"].clone()))
        .collect();
    let origin = |line| serde_json::json!({"file": "list", "line": line});
    assert_eq!(
        origins,
        [
            ("localhost".into(), origin(2)),
            ("127.0.0.1".into(), origin(4))
        ]
    );
    let mut command = place.certd(&[&arguments[..], &["-"]].concat());
    command.stdin(fs::File::open(place.path("list")).unwrap());
    let report = Run::of(&mut command).exits(0).json();
    assert_eq!(report["endpoints"][1]["origin"], Value::Null);
    place.write("empty", "# nothing\n");
    for list in ["empty", "missing"] {
        place.run(&["verify", "--targets", list]).exits(2);
    }
}

#[test]
fn another_name_and_another_address_may_be_asked_for() {
    let leaf = issue(&Wish::names(&["inner.test"]));
    let server = Server::tls(tls_config(&leaf));
    let place = Place::new();
    place.write("root.pem", ROOT.pem());
    let run = |arguments: &[&str]| {
        let common = ["verify", "--trust", "root.pem", "--format", "json"];
        place.run(&[&common[..], arguments].concat())
    };
    let address = server.address.to_string();
    let report = run(&[&address, "--name", "inner.test"]).exits(0).json();
    assert_eq!(report["endpoints"][0]["name"], "inner.test");
    let port = server.address.port();
    run(&["inner.test", "--connect", &address]).exits(0);
    run(&[&format!("inner.test:{port}"), "--connect", "127.0.0.1"]).exits(0);
    let report = run(&["outer.test", "--connect", &address]).exits(1).json();
    assert_eq!(codes(&report), ["served.wrong_name"]);
    run(&["inner.test", "--connect", "nowhere"]).exits(2);
}

/// A mail server that says this, line by line, each but the first after a line of the client's
fn mail(config: Arc<ServerConfig>, lines: &'static [&'static str]) -> Server {
    Server::start(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        for (number, line) in lines.iter().enumerate() {
            if number > 0 && reader.read_line(&mut String::new()).unwrap_or(0) == 0 {
                return;
            }
            let _ = stream.write_all(line.as_bytes());
        }
        if shake_hands(&config, &mut stream).is_some() {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    })
}

#[test]
fn mail_servers_are_judged_after_starttls() {
    let config = tls_config(&issue(&Wish::names(&["127.0.0.1"])));
    let place = Place::new();
    place.write("root.pem", ROOT.pem());
    let check = |protocol: &str, lines, expected: &[&str]| {
        let server = mail(config.clone(), lines);
        let target = server.address.to_string();
        let report = report(
            &place,
            &["--trust", "root.pem", "--starttls", protocol, &target],
        );
        assert_eq!(codes(&report), expected, "{report:#}");
    };
    check(
        "smtp",
        &["220 hi\r\n", "250-a\r\n250 STARTTLS\r\n", "220 go\r\n"],
        &[],
    );
    check("imap", &["* OK hi\r\n", "a OK go\r\n"], &[]);
    check("pop3", &["+OK hi\r\n", "+OK go\r\n"], &[]);
    let refused: &[&str] = &["handshake.no_starttls"];
    check("smtp", &["220 hi\r\n", "250 a\r\n", "502 no\r\n"], refused);
    check("imap", &["* OK hi\r\n", "a BAD no\r\n"], refused);
    check("pop3", &["+OK hi\r\n", "-ERR no\r\n"], refused);
    check("smtp", &["220 hi\r\n"], &["connect.reset"]);
    // A port that begins with TLS at once waits for the client's hello.
    let tls = Server::tls(config.clone());
    let target = tls.address.to_string();
    let arguments = ["--starttls", "smtp", "--timeout", "1s", &target];
    let report = report(&place, &arguments);
    assert_eq!(codes(&report), ["handshake.timeout"]);
}

/// A server that refuses the first hello of each look so, chooses this of the second, and refuses the
/// third
fn of_old(refusal: &'static [u8], choice: [u8; 4]) -> Server {
    let hellos = AtomicUsize::new(0);
    Server::start(move |mut stream| {
        let hello = first_bytes(&mut stream);
        let number = hellos.fetch_add(1, Ordering::SeqCst);
        let _ = match number % 3 {
            0 | 2 => stream.write_all(refusal),
            _ => {
                assert!(hello.windows(NAME.len()).any(|at| at == NAME.as_bytes()));
                stream.write_all(&server_hello(choice))
            }
        };
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

#[test]
fn a_server_of_old_says_what_it_would_speak() {
    let alert: &[u8] = b"\x15\x03\x01\x00\x02\x02\x28";
    let check = |first: &'static [u8], choice: [u8; 4], code: &str, words: &str| {
        let server = of_old(first, choice);
        let place = place(&domain(NAME, server.address));
        let report = report(&place, &[]);
        assert_eq!(codes(&report), [code], "{report:#}");
        let evidence = finding(&report, code)["evidence"].clone();
        assert!(evidence.as_str().unwrap().contains(words), "{evidence}");
        finding(&report, code)["severity"].clone()
    };
    let failure = check(alert, [3, 1, 0, 0x2f], "handshake.protocol", "TLSv1.0");
    assert_eq!(failure, "failure");
    let failure = check(
        b"\x15\x03\x01\x00\x02\x02\x46",
        [3, 2, 0, 0x35],
        "handshake.protocol",
        "TLSv1.1",
    );
    assert_eq!(failure, "failure");
    let warning = check(
        alert,
        [3, 3, 0xc0, 0x13],
        "handshake.other_cipher",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    );
    assert_eq!(warning, "warning");
    let failure = check(
        alert,
        [3, 3, 0, 0x9e],
        "handshake.old_cipher",
        "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
    );
    assert_eq!(failure, "failure");
}

#[test]
fn a_server_that_wants_another_group_is_not_told_to_change_its_suites() {
    // To the third hello it goes on with a suite that was offered in the first.
    let hellos = AtomicUsize::new(0);
    let server = Server::start(move |mut stream| {
        first_bytes(&mut stream);
        let _ = match hellos.fetch_add(1, Ordering::SeqCst) {
            0 => stream.write_all(b"\x15\x03\x01\x00\x02\x02\x28"),
            1 => stream.write_all(&server_hello([3, 3, 0xc0, 0x13])),
            _ => stream.write_all(&server_hello([3, 3, 0xc0, 0x2f])),
        };
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let place = place(&domain(NAME, server.address));
    let report = report(&place, &[]);
    assert_eq!(codes(&report), ["handshake.other_group"], "{report:#}");
    let finding = finding(&report, "handshake.other_group");
    assert_eq!(finding["severity"], "failure");
    let cure = finding["cure"].as_str().unwrap();
    assert!(cure.contains("ssl_ecdh_curve") && !cure.contains("ssl_ciphers"));
}

#[test]
fn what_is_demanded_and_not_seen_fails() {
    let server = of_old(b"\x15\x03\x01\x00\x02\x02\x28", [3, 3, 0xc0, 0x13]);
    let place = place(&domain(NAME, server.address));
    place.run(&["verify"]).exits(0);
    place
        .run(&["verify", "--expect-issuer", "Trusted"])
        .exits(1);
}

#[test]
fn a_server_that_wants_to_see_a_certificate_has_proven_its_own() {
    let leaf = issue(&Wish::names(&[NAME]));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ROOT.der()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let verifier = verifier.build().expect("a verifier");
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .expect("it has TLS 1.2")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(Stapled(leaf.certified(&[]))));
    let server = Server::tls(Arc::new(config));
    let report = report(&place(&domain(NAME, server.address)), &[]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
}

/// A web server over TLS that answers each request with this
fn web(config: &Arc<ServerConfig>, answer: &'static str) -> Server {
    let mut config = ServerConfig::clone(config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    Server::start(move |mut stream| {
        let Some(mut tls) = shake_hands(&config, &mut stream) else {
            return;
        };
        let mut stream = rustls::Stream::new(&mut tls, &mut stream);
        let mut request = [0; 4096];
        if stream.read(&mut request).unwrap_or(0) > 0 {
            let _ = stream.write_all(answer.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = stream.read(&mut request);
    })
}

const HEALTHY: &str = "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=63072000\r\n\
                       Content-Length: 20\r\n\r\n{\"status\":\"Healthy\"}";
const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_broken_application_behind_a_good_certificate_is_seen() {
    let config = tls_config(&issue(&Wish::names(&[NAME])));
    let check = |answer, probe: &str, expected: &[&str]| {
        let server = web(&config, answer);
        let place = place(&format!(
            "{}probe = {probe}\n",
            domain(NAME, server.address)
        ));
        let report = report(&place, &[]);
        assert_eq!(codes(&report), expected, "{report:#}");
        let tls_only = self::report(&place, &["--tls-only"]);
        assert_eq!(codes(&tls_only), [""; 0]);
        report
    };
    let health = format!("\"https://{NAME}/health\"");
    let table = |more: &str| format!("{{ url = {health}, {more} }}");
    let report = check(HEALTHY, &health, &[]);
    finding(&report, "probe.answer");
    check(HEALTHY, &table("text = \"Healthy\""), &[]);
    check(HEALTHY, &table("text = \"Unwell\""), &["probe.text"]);
    check(HEALTHY, &table("status = 204"), &["probe.status"]);
    check(BAD_GATEWAY, &table("status = 502"), &[]);
    let report = check(BAD_GATEWAY, &health, &["probe.status"]);
    let evidence = finding(&report, "probe.status")["evidence"].clone();
    assert_eq!(
        evidence,
        format!("https://{NAME}/health answers 502, not 200")
    );
    check("", &health, &["probe.no_answer"]);
    check("SSH-2.0-OpenSSH\r\n", &health, &["probe.no_answer"]);
}

#[test]
fn a_probe_names_a_port_that_is_not_the_usual_one() {
    let config = tls_config(&issue(&Wish::names(&[NAME])));
    let (sender, hosts) = std::sync::mpsc::channel();
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let server = Server::start(move |mut stream| {
        let Some(mut tls) = shake_hands(&config, &mut stream) else {
            return;
        };
        let mut stream = rustls::Stream::new(&mut tls, &mut stream);
        let mut request = [0; 4096];
        let read = stream.read(&mut request).unwrap_or(0);
        let request = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
        if request.starts_with("get /health") {
            let mut lines = request.lines();
            let host = lines.find_map(|line| line.strip_prefix("host: "));
            let _ = sender.send(host.map(ToOwned::to_owned));
        }
        let _ = stream.write_all(HEALTHY.as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let port = server.address.port();
    let place = place(&format!(
        "{}probe = \"https://{NAME}:{port}/health\"\n",
        domain(NAME, server.address)
    ));
    let report = report(&place, &[]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    assert_eq!(hosts.recv(), Ok(Some(format!("{NAME}:{port}"))));
}

#[test]
fn what_a_web_server_says_is_reported_and_fails_nothing() {
    let config = tls_config(&issue(&Wish::names(&[NAME])));
    let server = web(&config, HEALTHY);
    let port_80 = Server::start(|mut stream| {
        first_bytes(&mut stream);
        let _ = stream.write_all(
            b"HTTP/1.1 301 Moved\r\nLocation: https://shop.rare-books.test/\r\nContent-Length: 0\r\n\r\n",
        );
    });
    let place = place(&domain(NAME, server.address));
    let port = format!("http_port = {}", port_80.address.port());
    place.write(
        "domains.toml",
        place.read("domains.toml").replace("http_port = 1", &port),
    );
    let run = place.run(&["verify"]).exits(0);
    snapshot!(place, "web", run.stdout);
    let report = report(&place, &[]);
    assert_eq!(
        report["endpoints"][0]["http"],
        serde_json::json!({
            "status": 200, "hsts": "max-age=63072000", "redirects_to_https": true
        })
    );
    assert_eq!(report["endpoints"][0]["certificate"]["alpn"], "http/1.1");
    let before = port_80.connections();
    let report = self::report(&place, &["--tls-only"]);
    assert_eq!(report["endpoints"][0]["http"], Value::Null);
    assert_eq!(port_80.connections(), before);
}

#[test]
fn a_slow_name_delays_no_other() {
    let leaf = issue(&Wish::names(&["127.0.0.1"]));
    let server = Server::tls(tls_config(&leaf));
    let zone = Zone::new();
    zone.fail("slow.test", Failure::NoAnswer);
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let dns = runtime
        .block_on(dns::Server::start(anywhere, zone))
        .unwrap();
    let place = place(&format!(
        "[dns]\nservers = [\"{}\"]\ntimeout = \"2s\"\n[[domain]]\nname = \"{NAME}\"\n",
        dns.address()
    ));
    let target = server.address.to_string();
    let mut command = place.certd(&["verify", "slow.test", &target]);
    let mut certd = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while server.connections() == 0 {
        assert!(std::time::Instant::now() < deadline);
        // It looks at the second while it still waits for the first.
        assert!(
            certd.try_wait().unwrap().is_none(),
            "it has ended without a look"
        );
        thread::sleep(Duration::from_millis(5));
    }
    assert!(
        certd.try_wait().unwrap().is_none(),
        "it waited for the slow name"
    );
    assert_eq!(certd.wait().unwrap().code(), Some(1));
}

#[test]
fn what_is_known_of_a_domain_counts_for_each_of_its_ports_and_for_files() {
    let leaf = issue(&Wish {
        common_name: Some("other.test"),
        ..Wish::names(&["other.test", NAME])
    });
    let server = Server::tls(tls_config(&leaf));
    let port = server.address.port();
    let place = place(&format!(
        "{}ports = [{port}, 8443]\n",
        domain(NAME, "127.0.0.1")
    ));
    place.write("chain.pem", leaf.chain_pem());
    let target = format!("{NAME}:{port}");
    for arguments in [
        &[target.as_str()][..],
        &["--chain", "chain.pem", "--name", NAME],
    ] {
        let report = report(&place, arguments);
        assert_eq!(
            codes(&report),
            ["served.other_common_name"],
            "{arguments:?}"
        );
    }
    // The same under two names is one look.
    let twice = [target.to_uppercase(), target.clone()];
    let report = report(&place, &[&twice[0], &twice[1]]);
    assert_eq!(report["endpoints"].as_array().map(Vec::len), Some(1));
    place.write(
        "domains.toml",
        place
            .read("domains.toml")
            .replace("ports", "enabled = false\nports"),
    );
    place.run(&["verify"]).exits(2);
}

#[test]
fn addresses_that_serve_different_certificates_are_told_apart() {
    let serve = |listener| {
        let config = tls_config(&issue(&Wish::names(&[NAME])));
        Server::on(listener, move |mut stream| {
            shake_hands(&config, &mut stream);
            let _ = stream.read_to_end(&mut Vec::new());
        })
    };
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let _servers = [serve(first), serve(second)];
    let zone = Zone::new();
    for address in ["127.0.0.1", "127.0.0.2"] {
        zone.add(NAME, Record::A(address.parse().unwrap()));
    }
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let dns = runtime
        .block_on(dns::Server::start(anywhere, zone))
        .unwrap();
    let place = place(&format!(
        "[dns]\nservers = [\"{}\"]\n[[domain]]\nname = \"{NAME}\"\nports = [{port}]\n",
        dns.address()
    ));
    let report = report(&place, &[]);
    // Nothing is installed: the order in which DNS names the two blames neither.
    assert_eq!(codes(&report), ["served.differs"; 2], "{report:#}");
    let evidence = finding(&report, "served.differs")["evidence"].clone();
    assert!(
        evidence.as_str().unwrap().contains("127.0.0.2"),
        "{evidence}"
    );
    // Of a stranger's name it is a note, whoever asks.
    place.write(
        "domains.toml",
        place.read("domains.toml").replace(NAME, "other.test"),
    );
    let target = format!("{NAME}:{port}");
    let run = place.run(&["verify", "--strict", "--format", "json", &target]);
    let report = run.exits(0).json();
    assert_eq!(finding(&report, "served.differs")["severity"], "note");
}

#[test]
fn more_endpoints_than_files_are_looked_at_in_turn() {
    let leaf = issue(&Wish::names(&["*.many.test"]));
    let server = Server::tls(tls_config(&leaf));
    let zone = Zone::new();
    let names: Vec<String> = (0..200)
        .map(|number| format!("n{number}.many.test"))
        .collect();
    for name in &names {
        zone.add(name, Record::A("127.0.0.1".parse().unwrap()));
    }
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let dns = runtime
        .block_on(dns::Server::start(anywhere, zone))
        .unwrap();
    let place = place(&format!(
        "[dns]\nservers = [\"{}\"]\n[[domain]]\nname = \"{NAME}\"\n",
        dns.address()
    ));
    let port = server.address.port();
    let list = names.iter().map(|name| format!("{name}:{port}\n"));
    place.write("list", list.collect::<String>());
    let certd = env!("CARGO_BIN_EXE_certd");
    let script = format!("ulimit -n 60; exec {certd} verify --targets list --format json");
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]).current_dir(place.path(""));
    let report = Run::of(&mut command).exits(0).json();
    assert_eq!(report["endpoints"].as_array().unwrap().len(), 200);
}

#[test]
fn a_hostile_server_costs_its_timeout_and_nothing_else() {
    let good = Server::tls(tls_config(&issue(&Wish::names(&["good.test"]))));
    let trickling = Server::start(|mut stream| {
        first_bytes(&mut stream);
        // A handshake message that would take a year.
        let _ = stream.write_all(&[0x16, 3, 3, 0x40, 0]);
        while stream.write_all(&[2]).is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let hanging = Server::start(|mut stream| {
        first_bytes(&mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let endless = Server::start(|mut stream| {
        first_bytes(&mut stream);
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let huge = Server::start(|mut stream| {
        first_bytes(&mut stream);
        // A Certificate message of 16 MiB, in TLS 1.2 and without a ServerHello.
        let mut record = vec![0x16, 3, 3, 0x40, 0, 11, 0xff, 0xff, 0xff];
        record.resize(5 + 0x4000, 0x30);
        while stream.write_all(&record).is_ok() {
            record = vec![0x16, 3, 3, 0x40, 0];
            record.resize(5 + 0x4000, 0x30);
        }
    });
    let names: Vec<String> = (0..10_000)
        .map(|number| format!("n{number}.test"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = Server::tls(tls_config(&issue(&Wish::names(&names))));
    let servers = [
        ("good.test", &good),
        ("trickling.test", &trickling),
        ("hanging.test", &hanging),
        ("endless.test", &endless),
        ("huge.test", &huge),
        ("n1.test", &many),
    ];
    let domains: String = servers
        .iter()
        .map(|(name, server)| domain(name, server.address))
        .collect();
    let place = place(&domains);
    let config = place.read("domains.toml").replace("20s", "5s");
    place.write("domains.toml", config);
    let report = report(&place, &[]);
    let verdicts = report["endpoints"].as_array().unwrap().iter();
    let verdicts: Vec<_> = verdicts
        .map(|endpoint| endpoint["findings"][0]["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        [
            "served.name",
            "handshake.timeout",
            "handshake.timeout",
            "handshake.not_tls",
            "handshake.too_large",
            "handshake.too_large",
        ]
    );
    let elapsed = report["elapsed_millis"].as_u64().unwrap();
    // One after the other the two that say nothing would take twice as long.
    assert!((5_000..10_000).contains(&elapsed), "{elapsed}");
}

#[test]
fn a_process_that_may_open_no_more_files_blames_no_name_server() {
    let certd = env!("CARGO_BIN_EXE_certd");
    let place = place(
        "[dns]\nservers = [\"127.0.0.1:9\"]\ntimeout = \"1s\"\n[[domain]]\nname = \"other.test\"\n",
    );
    // What the process needs for itself differs from system to system, so the limit goes up to
    // where a question to the name server finds room.
    let told = (8..24).filter(|limit| {
        let words = format!("verify {NAME} --tls-only --format json");
        let script = format!("ulimit -n {limit}; exec {certd} {words}");
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &script]).current_dir(place.path(""));
        let run = Run::of(&mut command);
        assert!(!run.stdout.contains("dns.failed"), "{limit}: {run}");
        run.stdout.contains("host.descriptors")
    });
    assert!(told.count() > 0);
}
