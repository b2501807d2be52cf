//! Words from outside that would break a format, in every place where there are any.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use certd::finding::words::{whole, without_marks};
use certd::finding::{Finding, Severity};
use certd::report::verify::checkout::Checkout;
use certd::report::verify::{
    EndpointReport, HttpReport, Origin, ServedCertificate, VerifyReport, github, junit, prometheus,
    sarif,
};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

use super::title;
use crate::support::{Authority, Place, Schema, Wish, annotations, check_junit, samples};

static SARIF: LazyLock<Schema> = LazyLock::new(|| Schema::of_data("sarif-2.1.0.schema.json"));
static JSON: LazyLock<Schema> = LazyLock::new(|| {
    let schema = VerifyReport::schema();
    Schema::new(super::closed(
        serde_json::to_value(schema).expect("a schema is JSON"),
    ))
});

/// Pieces that end, begin or forge something in one of the formats
const PIECES: [&str; 34] = [
    "\0",
    "\u{1b}[2J",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "::error::",
    "\n::error::forged",
    "##[error]",
    "]]>",
    "<!--",
    "<failure>",
    "&",
    "&amp;",
    "\"",
    "'",
    "\\",
    "\\n",
    "%0A",
    "%",
    ",",
    ":",
    "=",
    "} 1",
    "\n# TYPE",
    "{0}",
    "](https://evil.test)",
    "\u{85}",
    "\u{9b}",
    "\u{2028}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{202e}",
    "x",
];

fn words() -> impl Strategy<Value = String> {
    let pieces = vec(select(&PIECES[..]), 0..6).prop_map(|pieces| pieces.concat());
    prop_oneof![pieces, any::<String>()]
}

fn findings() -> impl Strategy<Value = Vec<Finding>> {
    let finding = (
        select(&["served.expired", "connect.refused", "new.unknown"][..]),
        select(
            &[
                Severity::Ok,
                Severity::Note,
                Severity::Warning,
                Severity::Failure,
            ][..],
        ),
        words(),
        option::of(words()),
    );
    let finding = finding.prop_map(|(code, severity, evidence, cure)| Finding {
        code,
        severity,
        evidence,
        cure,
    });
    vec(finding, 0..4).prop_map(|mut findings| {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    })
}

fn certificate(words: String) -> ServedCertificate {
    ServedCertificate {
        common_name: Some(words.clone()),
        names: vec![words.clone()],
        issuer: words.clone(),
        serial: "01".to_owned(),
        fingerprint: "00".repeat(32),
        not_before: Timestamp::UNIX_EPOCH,
        not_after: Timestamp::MAX,
        remaining_fraction: 0.5,
        chain_length: 2,
        protocol: "TLSv1.3".to_owned(),
        cipher: words.clone(),
        key_exchange: String::new(),
        post_quantum: false,
        alpn: Some(words.clone()),
        key: "p256".to_owned(),
        signature: words.clone(),
        crl: Some(words.clone()),
        ocsp: Some(words),
        ocsp_stapled: false,
        scts: 0,
    }
}

fn endpoint() -> impl Strategy<Value = EndpointReport> {
    let names = (
        words(),
        option::of(words()),
        words(),
        option::of(1..=u16::MAX),
    );
    let seen = (option::of(words()), option::of(words()), findings());
    let origin = option::of((words(), 0..9_usize));
    (names, origin, seen, any::<u32>()).prop_map(
        |((name, domain, address, port), origin, (subject, hsts, findings), millis)| {
            let severity = findings
                .first()
                .map_or(Severity::Ok, |worst| worst.severity);
            let origin = origin.map(|(file, line)| Origin {
                file: PathBuf::from(file),
                line,
            });
            let http = hsts.map(|hsts| HttpReport {
                status: Some(200),
                hsts: Some(hsts),
                redirects_to_https: Some(false),
            });
            EndpointReport {
                name,
                domain,
                address,
                port,
                origin,
                severity,
                certificate: subject.map(certificate),
                http,
                findings,
                elapsed: Duration::from_millis(millis.into()),
            }
        },
    )
}

fn report() -> impl Strategy<Value = VerifyReport> {
    vec(endpoint(), 0..5).prop_map(|endpoints| VerifyReport {
        schema_version: 1,
        command: "verify",
        started: Timestamp::UNIX_EPOCH,
        elapsed: Duration::from_millis(1_500),
        endpoints,
    })
}

proptest! {
    #[test]
    fn no_words_break_a_format(report in report()) {
        check_json(&report);
        check_github(&report);
        check_sarif(&report);
        check_metrics(&report);
        check_xml(&junit_of(&report));
    }
}

/// xmllint takes a while to start, so it sees all at once
#[test]
fn no_words_break_the_schema_of_junit() {
    let pieces = PIECES.iter().map(|piece| (*piece).to_owned());
    let finding = |severity, words: &str| Finding {
        code: "served.expired",
        severity,
        evidence: words.to_owned(),
        cure: Some(words.to_owned()),
    };
    let endpoints = pieces.map(|words| EndpointReport {
        name: words.clone(),
        domain: None,
        address: words.clone(),
        port: Some(443),
        origin: None,
        severity: Severity::Failure,
        certificate: None,
        http: None,
        findings: vec![
            finding(Severity::Failure, &words),
            finding(Severity::Note, &words),
        ],
        elapsed: Duration::MAX,
    });
    let report = VerifyReport {
        schema_version: 1,
        command: "verify",
        started: Timestamp::UNIX_EPOCH,
        elapsed: Duration::from_secs(1_234_567),
        endpoints: endpoints.collect(),
    };
    check_junit(&junit_of(&report));
}

fn junit_of(report: &VerifyReport) -> String {
    let mut out = Vec::new();
    junit::write(report, Severity::Failure, &mut out).expect("a buffer takes all");
    String::from_utf8(out).expect("UTF-8")
}

fn checkout() -> Checkout {
    Checkout::new(Path::new("/work"), Path::new("/work"))
}

fn told(report: &VerifyReport) -> usize {
    let findings = report
        .endpoints
        .iter()
        .flat_map(|endpoint| &endpoint.findings);
    findings
        .filter(|finding| finding.severity > Severity::Ok)
        .count()
}

fn check_json(report: &VerifyReport) {
    JSON.check(&serde_json::to_value(report).expect("a report is JSON"));
}

fn check_github(report: &VerifyReport) {
    let mut out = Vec::new();
    github::write(report, &checkout(), &mut out).expect("a buffer takes all");
    let log = String::from_utf8(out).expect("UTF-8");
    let (annotations, plain) = annotations(&log);
    // As many as there are findings, each whole, and one line beside them.
    assert_eq!(annotations.len(), told(report), "{log:?}");
    assert_eq!(plain.len(), 1, "{log:?}");
    for annotation in &annotations {
        assert!(["error", "warning", "notice"].contains(&&*annotation.command));
        assert!(title(annotation).contains('.'), "{log:?}");
        let keys: Vec<&str> = annotation.properties.keys().map(String::as_str).collect();
        assert!(
            keys == ["title"] || keys == ["file", "line", "title"],
            "{log:?}"
        );
    }
    let is_hidden = |c: char| c.is_control() && c != '\n';
    assert!(!log.contains(is_hidden), "{log:?}");
}

fn check_sarif(report: &VerifyReport) {
    let mut out = Vec::new();
    sarif::write(report, &checkout(), &mut out).expect("a buffer takes all");
    let log: Value = serde_json::from_slice(&out).expect("JSON");
    SARIF.check(&log);
    let results = log["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), told(report));
    for result in results {
        let text = result["message"]["text"].as_str().expect("a text");
        assert!(!text.contains("]("), "{text:?}");
    }
}

fn check_metrics(report: &VerifyReport) {
    let mut out = Vec::new();
    prometheus::write(report, Severity::Failure, &mut out).expect("a buffer takes all");
    let text = String::from_utf8(out).expect("UTF-8");
    let samples = samples(&text);
    for sample in samples
        .iter()
        .filter(|sample| sample.name == "certd_verify_success")
    {
        let name = &sample.labels["name"];
        assert!(
            report
                .endpoints
                .iter()
                .any(|endpoint| *without_marks(&whole(&endpoint.name)) == **name),
            "{text}"
        );
    }
}

fn check_xml(xml: &str) {
    let allowed = |c: char| match c {
        '\n' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        other => !other.is_control(),
    };
    assert!(xml.chars().all(allowed), "{xml:?}");
    let mut reader = Reader::from_str(xml);
    let mut depth = 0;
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(start) => {
                depth += 1;
                assert!(
                    start.attributes().all(|attribute| attribute.is_ok()),
                    "{xml}"
                );
            }
            Event::Empty(empty) => assert!(
                empty.attributes().all(|attribute| attribute.is_ok()),
                "{xml}"
            ),
            Event::End(_) => depth -= 1,
            Event::Comment(_) | Event::CData(_) | Event::PI(_) => panic!("forged: {xml}"),
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{xml}");
}

/// What a stranger may write into a certificate to be obeyed by whoever prints it
const COMMANDS: [&str; 12] = [
    "::error::forged",
    " ::set-output name=a::b",
    "a\n::error::forged",
    "a\r::error::forged",
    "a\u{2028}::error::forged",
    "a-::error::forged by a name that is longer than the eighty columns of a line of text",
    "##[error]forged",
    "##vso[task.setvariable variable=a]b",
    "\u{1b}]0;forged\u{7}\u{9b}2J",
    "shop\u{202e}tset.\u{2066}a\u{2069}",
    "shop\u{200b}\u{feff}\u{ad}.test\u{e0041}",
    "<!channel> <https://evil.test|here> & @everyone",
];

#[test]
fn no_common_name_is_obeyed_in_any_format() {
    let root = Authority::root("Trusted Root");
    let place = Place::new();
    place.write("root.pem", root.pem());
    for (number, command) in COMMANDS.iter().enumerate() {
        let wish = Wish {
            common_name: Some(command),
            ..Wish::names(&["other.test"])
        };
        let chain = format!("{number}.pem");
        place.write(&chain, root.issue(&wish).chain_pem());
        for format in ["text", "json", "junit", "sarif", "github", "prometheus"] {
            let words = ["verify", "--chain", &chain, "--name", "shop.test"];
            let more = ["--trust", "root.pem", "--format", format];
            let run = place.run(&[&words[..], &more].concat()).exits(1);
            for (stream, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
                check_obeyed_by_nothing(format, &format!("{command:?} {stream}"), text);
            }
        }
    }
}

/// Holds a text against what runners of CI jobs and terminals obey, and readers do not see
#[track_caller]
fn check_obeyed_by_nothing(format: &str, what: &str, text: &str) {
    let is_hidden = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' | '\u{e0000}'..='\u{e0fff}')
    };
    assert!(!text.contains(is_hidden), "{format}, {what}: {text:?}");
    for line in text.lines() {
        // An annotation is a command by itself, and what stands behind it is not looked at.
        let of_certd = ["::error title=", "::notice title="];
        let own = format == "github" && of_certd.iter().any(|own| line.starts_with(own));
        let is_command = line.trim_start().starts_with("::") || line.contains("##");
        assert!(own || !is_command, "{format}, {what}: {line:?}");
    }
}
