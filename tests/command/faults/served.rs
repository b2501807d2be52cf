//! What is served after the deployment, although nginx was told to reload.

use std::time::Duration;

use certd::config::{Config, Environment};
use certd::finding::Severity;
use certd::pipeline::{Context, Event, News, Options, Patience, Progress};
use certd::plan::Urgency;
use certd::report::{Report, Stage, Verdict, text};
use certd::run;
use certd::store::Store;
use certd_sandbox::Validity;
use certd_sandbox::docker::{Executed, State};
use certd_sandbox::web::{Instead, Site};
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::aws_lc_rs;
use tokio::sync::mpsc;

use super::{Next, Row, Told, check, compare, play_all};
use crate::support::{Host, Setting, sites};

const SHOP: [&str; 2] = ["rare-books.test", "www.rare-books.test"];
const MESSENGER: &str = "messenger.rare-books.test";

/// nginx's configuration, in which the messenger's server block has these names and files
fn configured(host: &Host, names: &[&str], lineage: &str) {
    let site = |names: &[&str], lineage: &str| Site {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        lineage: lineage.to_owned(),
    };
    host.web
        .configure(&[site(&SHOP, SHOP[0]), site(names, lineage)])
        .expect("files can be written");
}

/// A further server block, with the shop's files
fn write_site(host: &Host, file: &str, directives: &str) {
    let files = format!("/etc/letsencrypt/live/{}", SHOP[0]);
    host.place.write(
        &format!("nginx/sites/{file}.conf"),
        format!(
            "server {{ {directives} ssl_certificate {files}/fullchain.pem; \
             ssl_certificate_key {files}/privkey.pem; }}\n"
        ),
    );
}

/// A mistake in nginx's configuration, which a person must mend
fn mistake(title: &str, code: &'static str, make: fn(&Host)) -> Row {
    let mended: fn(&Host) = |host| configured(host, &[MESSENGER], MESSENGER);
    let mut row = Row::new(title, (1, code), Next::Deployed(mended), make);
    row.setting = Setting::two_domains();
    row
}

#[test]
fn a_mistake_in_nginxs_configuration_is_told_with_the_lines_to_change() {
    check(
        "served_mistakes",
        &[
            mistake("another domain's files", "proof.other_lineage", |host| {
                configured(host, &[MESSENGER], SHOP[0]);
            }),
            mistake("no server block", "proof.not_served_yet", |host| {
                configured(host, &["blog.rare-books.test"], SHOP[0]);
            }),
            // The file of the farther wildcard is read first.
            mistake("a closer wildcard", "proof.other_lineage", |host| {
                configured(host, &["*.rare-books.test"], SHOP[0]);
                write_site(host, "0", "listen 443 ssl; server_name *.test;");
            }),
            mistake("another port", "proof.other_lineage", |host| {
                configured(host, &["blog.rare-books.test"], SHOP[0]);
                let listens = format!("listen 8443 ssl; server_name {MESSENGER};");
                write_site(host, "z", &listens);
            }),
        ],
    );
}

/// A fault that begins with the order: what is served before that is what may be fallen back to
struct Departure {
    title: &'static str,
    code: &'static str,
    nginx: &'static str,
    depart: fn(&Host),
}

/// What nginx shows for one of the names, instead of what it should
fn shows(title: &'static str, code: &'static str, depart: fn(&Host)) -> Departure {
    Departure {
        title,
        code,
        nginx: "container = \"web\"",
        depart,
    }
}

fn serve(host: &Host, instead: Instead) {
    host.web.serve(SHOP[1], instead).expect("it can be served");
}

/// Waits for nginx less long than the command does
const SHORT: Patience = Patience {
    first_look: Duration::from_millis(50),
    reload: Duration::from_millis(100),
    deadline: Duration::from_millis(200),
    ..Patience::USUAL
};

/// A forced renewal in this process, with less patience than the command has
pub(super) fn renew(host: &Host, patience: Patience, depart: fn(&Host)) -> Report {
    let path = host.place.path("domains.toml");
    let config = Config::read(&path, &Environment::default()).expect("it is in order");
    let store = Store::open(&config.storage, &config.state, None).expect("it can be used");
    let (sender, mut events) = mpsc::unbounded_channel::<Event>();
    let provider = aws_lc_rs::default_provider().into();
    let mut context = Context::new(&config, &store, provider, Timestamp::now());
    context.progress = Progress::to(sender);
    context.patience = patience;
    let options = Options {
        urgency: Urgency::Now,
        ..Options::default()
    };
    let domains: Vec<_> = config.domains.iter().collect();
    let work = async {
        let report = run::obtain(&context, &options, &domains).await;
        drop(context);
        report.expect("the lock is free")
    };
    let watch = async {
        while let Some(event) = events.recv().await {
            if matches!(event.news, News::Begun(Stage::Order)) {
                depart(host);
            }
        }
    };
    let (report, ()) = host.runtime.block_on(async { tokio::join!(work, watch) });
    report
}

fn play(departure: &Departure) -> Told {
    let setting = Setting {
        nginx: departure.nginx,
        ..Setting::default()
    };
    let host = Host::new(&setting);
    let mut told = Told::default();
    told.expect_run(&host.obtain(&[]), 0, "before");
    let report = renew(&host, SHORT, departure.depart);
    told.expect(report.verdict() == Verdict::Failed, "it failed");
    let findings = report.domains[0].findings.iter();
    let codes = findings
        .filter(|finding| finding.severity == Severity::Failure)
        .map(|finding| finding.code);
    told.expect(codes.eq([departure.code]), departure.code);
    told.expect_clean(&host, "afterwards");
    let shown = host.place.without_directory(&in_words(&report));
    let live: Vec<String> = host
        .live()
        .values()
        .map(|target| target.display().to_string())
        .collect();
    host.behave();
    host.web
        .configure(&sites(&setting))
        .expect("files can be written");
    told.expect(host.web.restart().is_ok(), "nginx starts again");
    host.engine
        .change(|container| container.state = State::Running);
    let requests = host.ca.requests().len();
    told.expect_run(&host.obtain(&[]), 0, "without the fault");
    told.expect(host.ca.requests().len() == requests, "the CA is not asked");
    told.under(
        departure.title,
        &format!("{shown}live: {}\n", live.join(", ")),
    )
}

pub(super) fn in_words(report: &Report) -> String {
    let mut shown = Vec::new();
    text::obtain(report, &mut shown).expect("memory can be written");
    let shown = String::from_utf8(shown).expect("it is text");
    anstream::adapter::strip_str(&shown).to_string()
}

/// A certificate of the same CA that is over
fn expired(host: &Host) {
    let now = Timestamp::now();
    let validity = Validity {
        not_before: now - SignedDuration::from_hours(2000),
        not_after: now - SignedDuration::from_hours(20),
    };
    let pair = host.ca.issue(&SHOP, validity).expect("the names are names");
    let instead = Instead::Pair {
        chain_pem: pair.chain_pem,
        key_pem: pair.key_pem,
    };
    serve(host, instead);
}

/// A configuration with which nginx starts no more, although its test passes
fn exit_on_restart(host: &Host) {
    configured(host, &[MESSENGER], MESSENGER);
    host.engine
        .exec_instead(&["nginx", "-t"], Executed::default());
}

#[test]
fn what_is_served_instead_is_told_and_a_broken_server_is_taken_back() {
    let restarted = Departure {
        nginx: "container = \"web\"\nreload = \"restart\"",
        ..shows("exit on restart", "proof.broken", exit_on_restart)
    };
    let departures = [
        shows("previous generation", "proof.previous_generation", |host| {
            serve(host, Instead::Previous);
        }),
        shows("expired", "proof.unknown_certificate", expired),
        shows("self-signed", "proof.unknown_certificate", |host| {
            serve(host, Instead::SelfSigned);
        }),
        shows("no intermediates", "proof.incomplete_chain", |host| {
            serve(host, Instead::LeafOnly);
        }),
        shows("an alert", "proof.broken", |host| {
            serve(host, Instead::Nothing);
        }),
        restarted,
    ];
    compare("served", play_all(&departures, play));
}

#[test]
fn a_generation_that_broke_tls_is_tried_again_after_a_pause_and_replaced_by_force() {
    let host = Host::new(&Setting::default());
    host.obtain(&[]).exits(0);
    let live = host.live();
    let report = renew(&host, SHORT, |host| serve(host, Instead::Nothing));
    let shown = in_words(&report);
    assert!(shown.contains("do not try generation 2 again"), "{shown}");
    host.behave();
    let waiting = host.certd(&["renew"]).exits(75);
    assert!(waiting.stdout.contains("! deploy.backoff"), "{waiting}");
    assert_eq!((host.live(), host.ca.orders()), (live, 2), "{waiting}");
    let forced = host.obtain(&["--force"]).exits(0);
    assert!(forced.stdout.contains("generation 3 is live"), "{forced}");
    assert_eq!(host.ca.orders(), 3, "{forced}");
    host.certd(&["renew"]).exits(0);
}
