//! Certificates and handshakes that are malformed on purpose, by a seeded generator: none of them
//! ends in a panic, a hang, or a wrong "ok".

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use certd::chain::Chain;
use certd::finding::{Finding, Severity};
use certd::verify::judge::{Expectation, judge_chain};
use certd::verify::path::Trust;
use fastrand::Rng;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, SerialNumber,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ServerConfig, ServerConnection};

use crate::support::{Authority, Place, Server, Wish, tls_config};

static ROOT: LazyLock<Authority> = LazyLock::new(|| Authority::root("Trusted Root"));
static INTERMEDIATE: LazyLock<Authority> =
    LazyLock::new(|| ROOT.intermediate("Trusted Intermediate"));

const NAME: &str = "shop.rare-books.test";
const SEED: u64 = 20_261_126;
/// Far more than any of it takes; a hang is what it tells apart
const LONG: Duration = Duration::from_secs(5);

type Ders = Vec<Vec<u8>>;

/// How long this thread has been on a processor: what others do on the machine counts for nothing
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// A chain that is good: the leaf, then its issuer
fn good() -> Ders {
    let leaf = INTERMEDIATE.issue(&Wish::names(&[NAME]));
    leaf.chain.iter().map(|der| der.to_vec()).collect()
}

/// Judges chains, by the trusted root alone
struct Judge {
    trust: Trust,
}

impl Judge {
    fn new() -> Self {
        let place = Place::new();
        place.write("root.pem", ROOT.pem());
        let files: Vec<PathBuf> = vec![place.path("root.pem")];
        let algorithms = default_provider().signature_verification_algorithms;
        let trust = Trust::load(&files, algorithms).expect("a root");
        Self { trust }
    }

    /// What is wrong with a chain, the worst first; `None` where it does not parse
    fn judge(&self, ders: Ders) -> Option<Vec<Finding>> {
        let chain = Chain::from_der(ders).ok()?;
        let expected = Expectation::of_browser(&self.trust);
        let now: Timestamp = "2027-01-01T00:00:00Z".parse().expect("an instant");
        Some(judge_chain(NAME, &chain, &expected, now))
    }

    #[track_caller]
    fn refuses(&self, what: &str, ders: Ders) {
        let begun = on_processor();
        let findings = self.judge(ders);
        let taken = on_processor().saturating_sub(begun);
        assert!(taken < LONG, "{what} takes {taken:?}");
        for finding in findings.iter().flatten() {
            let words = [Some(&finding.evidence), finding.cure.as_ref()];
            for words in words.into_iter().flatten() {
                assert!(words.chars().count() < 2_000, "{what}: {words}");
                assert!(
                    !words.contains(|c: char| c.is_control()),
                    "{what}: {words:?}"
                );
            }
        }
        let worst = findings.map(|findings| findings[0].severity);
        assert!(
            worst.is_none_or(|worst| worst == Severity::Failure),
            "{what} is {worst:?}"
        );
    }
}

#[test]
fn no_certificate_that_was_changed_is_good() {
    let judge = Judge::new();
    let mut rng = Rng::with_seed(SEED);
    let good = good();
    let findings = judge.judge(good.clone()).expect("it parses");
    assert_eq!(findings[0].severity, Severity::Ok, "{findings:?}");
    for (place, count) in [(0, 150), (1, 60)] {
        for _ in 0..count {
            let mut flipped = good.clone();
            let at = rng.usize(..flipped[place].len());
            flipped[place][at] ^= 1 << rng.u32(..8);
            judge.refuses(
                &format!("certificate {place} with byte {at} changed"),
                flipped,
            );
        }
        for _ in 0..count / 3 {
            let mut cut = good.clone();
            let length = rng.usize(..cut[place].len());
            cut[place].truncate(length);
            judge.refuses(&format!("certificate {place} cut off at {length}"), cut);
        }
    }
}

#[test]
fn no_odd_encoding_is_good() {
    let judge = Judge::new();
    let mut rng = Rng::with_seed(SEED);
    let good = good();
    let leaf = &good[0];
    let content = &leaf[4..];
    let length = u32::try_from(content.len()).expect("it is short");
    let odd: [(&str, Vec<u8>); 9] = [
        ("nothing", Vec::new()),
        ("a tag alone", vec![0x30]),
        ("a byte after its end", [leaf, &[0][..]].concat()),
        ("itself twice", [&leaf[..], leaf].concat()),
        (
            "an indefinite length",
            [&[0x30, 0x80], content, &[0, 0]].concat(),
        ),
        (
            "a length of four bytes",
            [&[0x30, 0x84][..], &length.to_be_bytes(), content].concat(),
        ),
        (
            "a length beyond everything",
            [&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], content].concat(),
        ),
        (
            "ten thousand levels",
            [0x30, 0x82, 0x27, 0x10].repeat(10_000),
        ),
        ("a PEM text", b"-----BEGIN CERTIFICATE-----".to_vec()),
    ];
    for (what, der) in odd {
        judge.refuses(what, vec![der, good[1].clone()]);
    }
    for number in 0..30 {
        let noise: Vec<u8> = (0..rng.usize(..2_000)).map(|_| rng.u8(..)).collect();
        judge.refuses(&format!("noise {number}"), vec![noise, good[1].clone()]);
    }
}

/// A leaf of the intermediate with parameters of any kind
fn leaf(change: impl FnOnce(&mut CertificateParams)) -> Ders {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    let leaf = INTERMEDIATE.issue_as(params, KeyPair::generate().expect("a key"));
    leaf.chain.iter().map(|der| der.to_vec()).collect()
}

#[test]
fn fields_of_any_size_and_content_are_survived() {
    let judge = Judge::new();
    let other = |count: usize| -> Vec<rcgen::SanType> {
        let names = (0..count).map(|number| format!("n{number}.test"));
        let names = names.map(|name| rcgen::SanType::DnsName(name.try_into().expect("ASCII")));
        names.collect()
    };
    judge.refuses(
        "two thousand other names",
        leaf(|params| params.subject_alt_names = other(2_000)),
    );
    judge.refuses(
        "ten thousand other names",
        leaf(|params| params.subject_alt_names = other(10_000)),
    );
    judge.refuses(
        "a Common Name of 60,000 characters and other names",
        leaf(|params| {
            params.subject_alt_names = other(1);
            let name = "\u{1b}[2J".repeat(15_000);
            params.distinguished_name.push(DnType::CommonName, name);
        }),
    );
    judge.refuses(
        "a certificate of 1 MiB",
        leaf(|params| {
            let huge = vec![0x41; 1024 * 1024];
            let huge = CustomExtension::from_oid_content(&[1, 2, 3, 4], huge);
            params.custom_extensions.push(huge);
        }),
    );
    judge.refuses(
        "a critical extension that a browser does not know",
        leaf(|params| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        }),
    );
    judge.refuses(
        "a SAN in it twice",
        leaf(|params| {
            let san = vec![0x30, 3, 0x82, 1, b'a'];
            let second = CustomExtension::from_oid_content(&[2, 5, 29, 17], san);
            params.custom_extensions.push(second);
        }),
    );
    // What is only unusual stays what it is.
    let unusual = leaf(|params| {
        params.serial_number = Some(SerialNumber::from(vec![0x7f; 20]));
        for number in 0..200 {
            let small = CustomExtension::from_oid_content(&[1, 2, 3, number], vec![5, 0]);
            params.custom_extensions.push(small);
        }
    });
    let findings = judge.judge(unusual).expect("it parses");
    assert_eq!(findings[0].severity, Severity::Ok, "{findings:?}");
}

/// A CA of this name, signed by that issuer
fn authority(name: &str, issuer: &Issuer<'_, KeyPair>, key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signed = params.signed_by(key, issuer).expect("a certificate");
    signed.der().to_vec()
}

fn issuer(name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::new(params, KeyPair::generate().expect("a key"))
}

#[test]
fn chains_that_go_in_circles_or_nowhere_end() {
    let judge = Judge::new();
    let (one, other) = (issuer("One"), issuer("Other"));
    let issue = |by: &Issuer<'_, KeyPair>| {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        params.distinguished_name = DistinguishedName::new();
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, by).expect("a certificate");
        leaf.der().to_vec()
    };
    let loop_of_two = vec![
        issue(&one),
        authority("One", &other, one.key()),
        authority("Other", &one, other.key()),
    ];
    judge.refuses("two that sign each other", loop_of_two.clone());
    let mut with_root = loop_of_two;
    with_root.push(ROOT.der().to_vec());
    judge.refuses("a circle beside a root", with_root);
    // Each could have signed each: the ways through them are more than anybody can try.
    let same: Vec<_> = (0..14).map(|_| issuer("Same")).collect();
    let mut maze = vec![issue(&same[0])];
    for (number, by) in same.iter().enumerate() {
        maze.push(authority("Same", by, same[(number + 1) % same.len()].key()));
    }
    judge.refuses("fourteen of one name", maze);
    let mut long = vec![issue(&issuer("0"))];
    for number in 0..14 {
        let by = issuer(&(number + 1).to_string());
        let key = KeyPair::generate().expect("a key");
        long.push(authority(&number.to_string(), &by, &key));
    }
    judge.refuses("fourteen that lead nowhere", long.clone());
    long.extend(long.clone());
    judge.refuses("more than sixteen", long);
    judge.refuses("no certificate at all", Vec::new());
    judge.refuses("an issuer alone", vec![INTERMEDIATE.der().to_vec()]);
    judge.refuses("the leaf of nobody", vec![issue(&one)]);
}

/// What is done to the first bytes that a server sends
fn mangle(rng: &mut Rng, flight: &mut Vec<u8>) -> Ending {
    let at = rng.usize(..flight.len());
    match rng.u32(..7) {
        0 | 1 => flight[at] ^= 1 << rng.u32(..8),
        2 => {
            flight.truncate(at);
            return Ending::HangUp;
        }
        3 => {
            flight.truncate(at);
            return Ending::Wait;
        }
        4 => {
            let again = flight[at..].to_vec();
            flight.extend(again);
        }
        5 => {
            let noise: Vec<u8> = (0..rng.usize(1..300)).map(|_| rng.u8(..)).collect();
            flight.splice(at..at, noise);
        }
        // The head of the first record: its kind, its version, its length.
        _ => flight[rng.usize(..5)] = rng.u8(..),
    }
    Ending::GoOn
}

/// What a server does after its first bytes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    GoOn,
    HangUp,
    Wait,
}

fn serve_mangled(config: &Arc<ServerConfig>, stream: &mut TcpStream, seed: u64) -> Option<()> {
    let mut rng = Rng::with_seed(seed);
    let mut tls = ServerConnection::new(config.clone()).ok()?;
    // The hello may come in pieces.
    while tls.wants_read() && !tls.wants_write() {
        tls.read_tls(stream).ok().filter(|read| *read > 0)?;
        tls.process_new_packets().ok()?;
    }
    let mut flight = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut flight).ok()?;
    }
    let ending = mangle(&mut rng, &mut flight);
    stream.write_all(&flight).ok()?;
    match ending {
        Ending::HangUp => drop(stream.shutdown(Shutdown::Both)),
        Ending::Wait => drop(stream.read_to_end(&mut Vec::new())),
        Ending::GoOn => while tls.complete_io(stream).is_ok_and(|(read, _)| read > 0) {},
    }
    Some(())
}

#[test]
fn no_handshake_that_was_changed_is_good() {
    for (version, seed) in [
        (&rustls::version::TLS13, SEED),
        (&rustls::version::TLS12, SEED + 1000),
    ] {
        let leaf = INTERMEDIATE.issue(&Wish::names(&["*.many.test"]));
        let config = crate::support::tls_config_for(&leaf, &leaf, &[version]);
        let connection = AtomicU64::new(seed);
        let server = Server::start(move |mut stream| {
            let seed = connection.fetch_add(1, Ordering::SeqCst);
            serve_mangled(&config, &mut stream, seed);
        });
        let place = Place::new();
        place.write("root.pem", ROOT.pem());
        let hosts = (0..100).map(|number| format!("n{number}.many.test\n"));
        place.write("list", hosts.collect::<String>());
        let run = place.run(&[
            "verify",
            "--trust",
            "root.pem",
            "--targets",
            "list",
            "--connect",
            &server.address.to_string(),
            "--tls-only",
            "--timeout",
            "1s",
            "--format",
            "json",
        ]);
        let report = run.exits(1).json();
        let own = certd::chain::Fingerprint::of(&leaf.chain[0]).to_string();
        let endpoints = report["endpoints"].as_array().expect("a list");
        assert_eq!(endpoints.len(), 100);
        let good = endpoints
            .iter()
            .filter(|endpoint| endpoint["severity"] == "ok");
        for endpoint in good.clone() {
            // A byte may be changed that nobody reads; what was shown is the certificate all the same.
            assert_eq!(endpoint["certificate"]["fingerprint"], *own, "{endpoint:#}");
        }
        assert!(good.count() < 20, "{report:#}");
    }
    // And without a change it is good.
    let server = Server::tls(tls_config(
        &INTERMEDIATE.issue(&Wish::names(&["127.0.0.1"])),
    ));
    let place = Place::new();
    place.write("root.pem", ROOT.pem());
    let target = server.address.to_string();
    place
        .run(&["verify", "--trust", "root.pem", &target])
        .exits(0);
}
