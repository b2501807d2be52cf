//! Names and paths, held against the verdict of rustls's own verifier.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;
use crate::verify::path::Trust;

struct Authority {
    root: Certificate,
    issuer: Issuer<'static, KeyPair>,
    key: KeyPair,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    Authority {
        root: params.self_signed(&key).unwrap(),
        issuer: Issuer::new(params, key),
        key: KeyPair::generate().unwrap(),
    }
});

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file.as_file(), AUTHORITY.root.pem().as_bytes()).unwrap();
    let files: [PathBuf; 1] = [file.path().to_owned()];
    Trust::load(&files, default_provider().signature_verification_algorithms).unwrap()
});

static VERIFIER: LazyLock<Arc<WebPkiServerVerifier>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add(AUTHORITY.root.der().clone()).unwrap();
    let provider = Arc::new(default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap()
});

const NOW: i64 = 1_800_000_000;

fn leaf(names: Vec<SanType>) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.signed_by(&AUTHORITY.key, &AUTHORITY.issuer).unwrap()
}

fn judged(leaf: &Certificate, name: &str) -> Vec<Finding> {
    let chain = Chain::from_der(vec![leaf.der().to_vec()]).unwrap();
    let expected = Expectation::of_browser(&TRUST);
    judge_chain(
        name,
        &chain,
        &expected,
        Timestamp::from_second(NOW).unwrap(),
    )
}

/// Names near each other: the same labels, wildcards, other cases, a label more or less
fn label() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a",
        "b",
        "www",
        "shop",
        "A",
        "xn--bcher-kva",
        "test",
        "a-b",
    ])
    .prop_map(ToOwned::to_owned)
}

fn dns_name() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 1..4).prop_map(|labels| format!("{}.test", labels.join(".")))
}

fn listed() -> impl Strategy<Value = SanType> {
    let dns = |name: String| SanType::DnsName(name.try_into().unwrap());
    prop_oneof![
        4 => dns_name().prop_map(dns),
        3 => dns_name().prop_map(move |name| dns(format!("*.{name}"))),
        1 => dns_name().prop_map(move |name| dns(format!("w*.{name}"))),
        1 => dns_name().prop_map(move |name| dns(format!("a.*.{name}"))),
        1 => Just(dns("*".to_owned())),
        1 => (0..4_u8).prop_map(|last| SanType::IpAddress([192, 0, 2, last].into())),
        1 => (0..4_u16).prop_map(|last| {
            SanType::IpAddress(std::net::Ipv6Addr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]).into())
        }),
    ]
}

fn asked() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => dns_name(),
        1 => (0..4_u8).prop_map(|last| format!("192.0.2.{last}")),
        1 => (1..4_u16).prop_map(|last| format!("2001:db8::{last:x}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_name_is_covered_as_rustls_says(names in prop::collection::vec(listed(), 1..5), name in asked()) {
        let leaf = leaf(names);
        let server = ServerName::try_from(name.clone()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()));
        let verdict = VERIFIER.verify_server_cert(leaf.der(), &[], &server, &[], now);
        let findings = judged(&leaf, &name);
        let is_good = findings.iter().all(|finding| finding.severity < Severity::Failure);
        prop_assert_eq!(verdict.is_ok(), is_good, "{:?}: {:?}", verdict, findings);
        let is_covered = findings.iter().any(|finding| finding.code == "served.name");
        prop_assert_eq!(is_covered, is_good);
    }
}

#[test]
fn a_wildcard_stands_for_one_label_and_the_leftmost_alone() {
    #[track_caller]
    fn check(listed: &str, name: &str, expected: bool) {
        let leaf = leaf(vec![SanType::DnsName(listed.try_into().unwrap())]);
        let findings = judged(&leaf, name);
        let is_covered = findings.iter().any(|finding| finding.code == "served.name");
        assert_eq!(is_covered, expected, "{listed} {name}");
    }
    check("*.a.test", "b.a.test", true);
    check("*.a.test", "B.A.test", true);
    check("*.a.test", "a.test", false);
    check("*.a.test", "c.b.a.test", false);
    check("w*.a.test", "www.a.test", false);
    check("b.*.test", "b.a.test", false);
    check("xn--bcher-kva.test", "xn--bcher-kva.test", true);
}
