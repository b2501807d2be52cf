//! Each parser of bytes from outside, and what must hold of what it makes of them beyond that it
//! ends: the bodies of the targets in `fuzz/`, whose seeds a test runs too.

use std::borrow::Cow;
use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::{DATE, LINK, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, Uri};
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Runtime;

use crate::acme::{self, problem, renewal_info, reply};
use crate::chain::{Chain, public_key_of};
use crate::challenge;
use crate::config::notify::Event;
use crate::config::{Config, Environment, MinRemaining};
use crate::facts::dns::{Answer, Lookup, RecordKind};
use crate::facts::{ConnectFailure, Handshake, KeyProof, Opening, Served};
use crate::finding::{Finding, Severity};
use crate::name::{DnsName, HostName};
use crate::net::tls::{hello, opening};
use crate::net::{dns, fetch};
use crate::plan::alert::{self, Channels};
use crate::plan::budget::{Balance, Intent, Issuance};
use crate::plan::{backoff, renewal};
use crate::preflight::{caa, probe};
use crate::store::account::StoredAccount;
use crate::store::alerts::Alerts;
use crate::store::ledger::Ledger;
use crate::store::record::Record;
use crate::target::choice::{self, Inlet};
use crate::target::{container, dump, endpoint, mount, variables, words};
use crate::time::Window;
use crate::verify::judge::{Expectation, judge, judge_chain, pairing};
use crate::verify::path::Trust;

/// What is fed with bytes
pub type Target = fn(&[u8]);

/// By the names of their seeds and of their sources
pub const TARGETS: [(&str, Target); 13] = [
    ("ca_answer", ca_answer),
    ("chain", chain),
    ("config", config),
    ("container", container),
    ("dns_message", dns_message),
    ("http_answer", http_answer),
    ("name", name),
    ("nginx_dump", nginx_dump),
    ("nginx_words", nginx_words),
    ("redirect", redirect),
    ("state", state),
    ("tls_words", tls_words),
    ("token", token),
];

/// domains.toml
pub fn config(bytes: &[u8]) {
    let text = text(bytes);
    let parsed = Config::parse(&text, Path::new("domains.toml"), &Environment::default());
    match parsed {
        Ok(config) => config.domains.iter().for_each(|domain| {
            domain.names().for_each(assert_is_file_name);
        }),
        Err(error) => assert_printable(&error.to_string().replace('\n', " ")),
    }
}

/// A name as it is written in domains.toml, in a certificate or on the command line
pub fn name(bytes: &[u8]) {
    if let Ok(host) = HostName::parse(&text(bytes)) {
        assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host));
        assert!(ServerName::try_from(host.as_str()).is_ok(), "{host}");
    }
    let Ok(name) = DnsName::parse(&text(bytes)) else {
        return;
    };
    assert_is_file_name(&name);
    assert_eq!(DnsName::parse(name.as_str()).as_ref(), Ok(&name));
    assert!(name.as_str().parse::<IpAddr>().is_err());
    let tree = caa::tree(&name);
    assert!(tree.iter().all(|at| name.as_str().ends_with(at)));
}

fn assert_is_file_name(name: &DnsName) {
    let text = name.as_str();
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    assert!(text.bytes().all(is_plain), "{text:?}");
    assert!(!text.split('.').any(str::is_empty), "{text:?}");
    assert!((1..=253).contains(&text.len()), "{text:?}");
}

/// A DNS message, and what CAA records in it mean
pub fn dns_message(bytes: &[u8]) {
    let Ok(name) = DnsName::parse("shop.test") else {
        return;
    };
    for kind in [
        RecordKind::A,
        RecordKind::Aaaa,
        RecordKind::Caa,
        RecordKind::Ns,
    ] {
        let Some(answer) = dns::answer_in(bytes, kind) else {
            return;
        };
        assert_caa(&name, answer);
    }
}

fn assert_caa(name: &DnsName, answer: Answer) {
    let identities = ["ca.test".to_owned()];
    let issuing = caa::Issuing {
        identities: &identities,
        account: Some("https://ca.test/acct/1"),
    };
    let lookup = Lookup {
        name: name.to_string(),
        kind: RecordKind::Caa,
        outcome: Ok(answer),
    };
    assert_finding(&caa::judge(name, &[lookup], &[], &issuing));
}

/// An answer of a site to a request for a token
pub fn http_answer(bytes: &[u8]) {
    let url = Uri::from_static("http://shop.test/.well-known/acme-challenge/t");
    let Ok(reply) = RUNTIME.block_on(fetch::read(&url, bytes)) else {
        return;
    };
    assert!(reply.body.len() <= fetch::MOST_BODY);
    let server = reply.server.unwrap_or_default();
    assert!(server.chars().count() <= fetch::MOST_SERVER + 1);
    assert_printable(&server);
    assert_printable(&reply.location.unwrap_or_default());
}

/// Two redirects in a row, one on each line
pub fn redirect(bytes: &[u8]) {
    let text = text(bytes);
    let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
    let asked = Uri::from_static("http://shop.test/.well-known/acme-challenge/t");
    let from = probe::redirect(&asked, first).unwrap_or(asked);
    let Ok(target) = probe::redirect(&from, second) else {
        return;
    };
    assert!(is_of_web(&target), "{target}");
    assert!(matches!(target.port_u16(), None | Some(80 | 443)));
    let host = target.host().unwrap_or_default();
    assert!(!host.is_empty() && host.parse::<IpAddr>().is_err());
    assert!(
        target
            .to_string()
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
    );
}

fn is_of_web(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https"))
}

/// An answer of a CA: `Retry-After`, `Link`, `Date` and the body, each on a line
pub fn ca_answer(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in [RETRY_AFTER, LINK, DATE] {
        let value = parts.next().map(HeaderValue::from_bytes);
        if let Some(Ok(value)) = value {
            headers.insert(name, value);
        }
    }
    let _ = reply::date(&headers);
    let hints = reply::Hints::from_headers(&headers);
    assert_printable(hints.link.as_deref().unwrap_or_default());
    let body = parts.next().unwrap_or_default();
    let _ = acme::is_directory(body);
    if let Ok(suggestion) = renewal_info::suggestion_in(body, hints.retry_after) {
        let now = Timestamp::UNIX_EPOCH;
        let kept = renewal::remember(None, Ok(suggestion), 0.5, now);
        assert!(kept.next_look > now);
        let within = |window: Window, at| window.start <= at && at < window.end;
        let is_chosen = kept.window.zip(kept.instant);
        assert!(is_chosen.is_none_or(|(window, at)| within(window, at)));
        assert_printable(kept.explanation.as_deref().unwrap_or_default());
    }
    let mut response = Response::new(Bytes::copy_from_slice(body));
    *response.headers_mut() = headers;
    let refusal = problem::refusal("https://ca.test/order", &response);
    let error = problem::explain("the order", refusal, hints);
    let _ = error.consequence(Timestamp::UNIX_EPOCH);
    let _ = error.concerns("shop.test");
    assert_finding(&Finding::from_error(&error));
}

/// A token that a CA sent, which becomes the name of a file
pub fn token(bytes: &[u8]) {
    let text = text(bytes);
    if challenge::check_token(&text).is_ok() {
        assert!(!text.contains(['/', '.', '\0']) && !text.is_empty() && text.len() <= 255);
    }
}

/// What a server says before TLS begins, and what it chooses of old versions and suites
pub fn tls_words(bytes: &[u8]) {
    RUNTIME.block_on(async {
        for opening in [Opening::Smtp, Opening::Imap, Opening::Pop3] {
            let mut server = server_that_says(bytes).await;
            let opened = opening::open(opening, &mut server).await;
            let read = read_of(bytes, server).await;
            assert!(read.len() <= opening::MOST_READ);
            match opened {
                // The handshake is what comes after a line.
                Ok(()) => assert_eq!(read.last(), Some(&b'\n')),
                Err(failure) => assert_failure(failure),
            }
        }
        let mut server = server_that_says(bytes).await;
        let chosen = hello::choice_of_old("shop.test", &mut server).await;
        assert!(read_of(bytes, server).await.len() <= MOST_HELLO);
        chosen.into_iter().for_each(assert_failure);
        let mut server = server_that_says(bytes).await;
        let _ = hello::wants_other_group("shop.test", &mut server).await;
        assert!(read_of(bytes, server).await.len() <= MOST_HELLO);
    });
}

/// A connection to a server that says this, whatever it is told, and hangs up
async fn server_that_says(bytes: &[u8]) -> DuplexStream {
    let (here, mut there) = duplex(bytes.len() + 1);
    there.write_all(bytes).await.expect("there is room");
    there.shutdown().await.expect("it is open");
    tokio::spawn(async move { there.read_to_end(&mut Vec::new()).await });
    here
}

/// What was read of it before
async fn read_of(bytes: &[u8], mut server: DuplexStream) -> &[u8] {
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.expect("it is open");
    let (read, unread) = bytes.split_at(bytes.len() - rest.len());
    assert_eq!(unread, rest);
    read
}

fn assert_failure(failure: ConnectFailure) {
    let words = failure.to_string();
    assert_printable(&words);
    // Those of certd stand around them.
    assert!(
        words.chars().count() <= opening::MOST_WORDS + 50,
        "{words:?}"
    );
    let findings = judge(&shown(Err(failure)), &expectation(), Timestamp::UNIX_EPOCH);
    findings.iter().for_each(assert_finding);
}

/// A certificate or a chain, and a key; what is served, or lies in a file, is judged as a browser
/// would
pub fn chain(bytes: &[u8]) {
    let key = public_key_of(bytes);
    let pem = Chain::from_pem(bytes).ok();
    let sent = match &pem {
        Some(chain) => iter::once(chain.leaf())
            .chain(chain.above())
            .map(|certificate| certificate.der.clone())
            .collect(),
        None => vec![bytes.to_vec()],
    };
    let handshake = shown(Ok(Served {
        chain: sent,
        proof: KeyProof::Proven,
        protocol: String::new(),
        cipher: String::new(),
        key_exchange: String::new(),
        alpn: None,
        staple: None,
    }));
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        assert_refused(&judge(&handshake, &expectation(), now));
        if let Some(chain) = &pem {
            assert_refused(&judge_chain("shop.test", chain, &expectation(), now));
        }
    }
    if let Some(chain) = &pem {
        let own = &chain.leaf().public_key;
        assert_eq!(pairing(chain, own).severity, Severity::Ok);
        let other = key.unwrap_or_else(|_| own.iter().rev().copied().collect());
        let paired = pairing(chain, &other);
        assert_finding(&paired);
        assert_eq!(paired.severity == Severity::Ok, other == *own);
    }
}

fn assert_refused(findings: &[Finding]) {
    findings.iter().for_each(assert_finding);
    let mut severities = findings.iter().map(|finding| finding.severity);
    assert!(severities.any(|severity| severity == Severity::Failure));
}

fn shown(outcome: Result<Served, ConnectFailure>) -> Handshake {
    Handshake {
        name: "shop.test".to_owned(),
        address: (Ipv4Addr::LOCALHOST, 443).into(),
        outcome,
        elapsed: Duration::ZERO,
    }
}

fn expectation() -> Expectation<'static> {
    Expectation {
        min_remaining: MinRemaining::Duration(Duration::from_secs(86_400)),
        ..Expectation::of_browser(&TRUST)
    }
}

/// What `nginx -T` printed
pub fn nginx_dump(bytes: &[u8]) {
    let Ok(configuration) = dump::read(&text(bytes)) else {
        return;
    };
    if let Ok(name) = DnsName::parse("shop.test") {
        let inlet = Inlet {
            addresses: Vec::new(),
            port: 443,
        };
        let name = name.as_str();
        let _ = choice::choose(&configuration, name, &inlet);
        let _ = choice::serving(&configuration, name, Some(&inlet));
        let _ = choice::serving(&configuration, name, None);
        let _ = choice::misspelled(&configuration.servers, name);
        for block in &configuration.servers {
            let header = format!("# configuration file {}:", block.file);
            assert!(text(bytes).lines().any(|line| line == header), "{header}");
            for line in block.certificate_lines() {
                let naming = variables::naming(&configuration, block, line, name);
                assert!(variables::is_computed(line) || naming.path() == Some(&line.path));
            }
        }
    }
}

/// What `nginx -t` complained of
pub fn nginx_words(bytes: &[u8]) {
    let text = text(bytes);
    let _ = words::stumble(&text);
    assert!(words::complaints(&text).lines().count() <= 12);
}

/// What the Docker API says of a container
pub fn container(bytes: &[u8]) {
    let Some(container) = container::of_json(bytes) else {
        return;
    };
    let _ = mount::in_container(&container, Path::new("/var/www/certbot"));
    let engine = Ipv4Addr::LOCALHOST.into();
    let _ = endpoint::endpoints(&container, 443, engine);
}

/// What is told of a memory in which anything may stand
fn alerts(memory: &Alerts) {
    let wanted = Event::ALL.into();
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        let mut memory = memory.clone();
        let channels = memory
            .domains
            .values()
            .flat_map(|trouble| trouble.told.keys());
        let channels: Vec<String> = channels.cloned().collect();
        let all: Channels<'_> = channels.iter().map(|id| (id.clone(), &wanted)).collect();
        alert::remember(&mut memory, &[], &all, |_| true, now);
        for (domain, trouble) in memory.domains.clone() {
            for channel in &channels {
                if let Some(event) = alert::due(&trouble, channel, &wanted, now) {
                    alert::note(&mut memory, &domain, channel, event, now);
                    let told = alert::due(&memory.domains[&domain], channel, &wanted, now);
                    assert_ne!(told, Some(event));
                }
            }
        }
    }
}

/// The files that certd keeps in JSON, damaged or edited by hand
pub fn state(bytes: &[u8]) {
    let _ = serde_json::from_slice::<StoredAccount>(bytes);
    if let Ok(record) = serde_json::from_slice::<Record>(bytes) {
        let now = Timestamp::UNIX_EPOCH;
        for failures in [&record.order_failures, &record.deploy_failures] {
            let _ = backoff::next_try(failures, Some(now), now);
        }
    }
    if let Ok(memory) = serde_json::from_slice::<Alerts>(bytes) {
        alerts(&memory);
    }
    let Ok(ledger) = serde_json::from_slice::<Ledger>(bytes) else {
        return;
    };
    let directory = "https://acme-v02.api.letsencrypt.org/directory";
    let names = ["shop.test".to_owned()];
    let intent = Intent {
        account: Some("https://acme-v02.api.letsencrypt.org/acme/acct/1"),
        names: &names,
        issuance: Issuance::First,
    };
    for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        let balance = Balance::of(&ledger, directory, now).expect("its limits are known");
        for usage in balance.usage(intent, now) {
            assert!(usage.used <= usage.limit.most, "{usage:?}");
        }
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What is shown cannot draw on a terminal or forge a line of a report
fn assert_printable(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn assert_finding(finding: &Finding) {
    assert_printable(&finding.evidence);
    assert!(
        finding.evidence.chars().count() <= MOST_EVIDENCE,
        "{finding:?}"
    );
    let cure = finding.cure.as_deref().unwrap_or_default();
    assert_printable(&cure.replace('\n', " "));
    assert!(cure.chars().count() <= MOST_EVIDENCE, "{finding:?}");
    assert!(
        finding.severity < Severity::Warning || !cure.is_empty(),
        "{finding:?}"
    );
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime")
});

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Trust::load(&[], provider.signature_verification_algorithms).expect("the system's roots")
});

/// Bytes of a choice at most: two headers, version, random, session and suite (RFC 5246 section
/// 7.4.1.3)
const MOST_HELLO: usize = 5 + 4 + 34 + 1 + 32 + 2;
/// Characters of one finding: more than anyone reads
const MOST_EVIDENCE: usize = 20_000;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// Ordinary input, and whatever once broke something
    #[test]
    fn seeds_pass() {
        let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (name, target) in TARGETS {
            let source = home.join(format!("fuzz_targets/{name}.rs"));
            assert!(source.is_file(), "{}", source.display());
            let seeds = fs::read_dir(home.join("seeds").join(name)).expect("a directory");
            let seeds: Vec<Vec<u8>> = seeds
                .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
                .collect();
            assert!(!seeds.is_empty(), "{name}");
            for seed in &seeds {
                target(seed);
                // Cut off anywhere, and with a byte that is another.
                for end in 0..seed.len().min(MOST_CUTS) {
                    target(&seed[..end]);
                    let mut damaged = seed.clone();
                    damaged[end] ^= 0x41;
                    target(&damaged);
                }
            }
        }
    }

    /// Positions at which a seed is damaged
    const MOST_CUTS: usize = 400;
}
