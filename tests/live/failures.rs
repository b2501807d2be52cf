//! CAs that refuse, stumble or stop answering.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;

use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::fake_ca::{Answer, FakeCa};
use crate::support::ports;
use crate::support::report::Report;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, assert_clean, challenges, site};
use crate::support::served::write_self_signed;
use crate::support::world::{World, entries};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials![
        a_ca_that_is_down_is_a_failure_that_costs_nothing,
        a_ca_under_an_unknown_root_asks_for_trust,
        a_503_with_a_page_is_shown_without_markup,
        a_request_that_failed_is_counted,
        a_500_is_a_failure_that_costs_nothing,
        a_429_for_the_directory_waits_as_it_says,
        a_429_for_the_order_waits_as_it_says,
        a_page_instead_of_a_directory_is_named,
        a_ca_that_never_speaks_tls_is_given_up,
        a_ca_that_never_answers_is_given_up,
    ];
    trials.extend(crate::trials_at_each_ca![
        an_invalid_challenge_shows_the_words_of_the_ca_and_backs_off,
        status_says_why_an_order_failed_and_until_when_it_waits,
        a_name_that_points_elsewhere_is_explained,
        one_invalid_domain_stops_no_other,
        a_site_that_waits_for_another_ones_certificate_says_so,
        the_old_certificate_survives_a_failed_renewal,
        a_ca_that_hangs_in_one_order_costs_no_other_domain,
        a_validation_that_gets_no_answer_costs_no_other_domain,
    ]);
    trials
}

fn an_invalid_challenge_shows_the_words_of_the_ca_and_backs_off(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_unchecked(&[(SHOP, &[WWW])]);
    let conf = conf::http_only(Flavour::Root);
    let broken = conf.replace("root /var/www/certbot;", "return 404 'not here';");
    scene.nginx.write_conf(&broken);
    scene.nginx.reload();
    scene
        .nginx
        .wait_for_challenges(|reply| reply.contains("not here"));

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    // What certd sees itself stands beside it, of one name or of both: the CA need not have come
    // to the second.
    let expected = ["acme.validation", "http.not_found"];
    assert_eq!(kinds(&report), expected, "{report}");
    let finding = report.finding(SHOP, "acme.validation");
    for words in ["unauthorized", "404", SHOP] {
        let found = finding.evidence.contains(words);
        assert!(found, "{words}: {finding:?}");
    }
    assert!(finding.cure.contains("acme-challenge"), "{finding:?}");
    assert_eq!(scene.ca.orders(), 1);
    assert_eq!(scene.generations(SHOP), [""; 0]);
    scene.assert_clean();

    let report = scene.obtain(&[SHOP]).expect(75, SHOP, "later");
    assert_eq!(report.ca_requests(), 0, "{report}");
    report.finding(SHOP, "order.backoff");
    let summary = report.domain(SHOP)["summary"].to_string();
    assert!(summary.contains("--force"), "{report}");
    assert_eq!(scene.ca.orders(), 1);

    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(kinds(&report), expected, "{report}");
    assert_eq!(scene.ca.orders(), 2);

    // Once the cause is mended nothing backs off any more.
    scene.nginx.write_conf(&conf);
    scene.nginx.reload();
    scene
        .nginx
        .wait_for_challenges(|reply| !reply.contains("not here"));
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
}

/// Codes of the shop's failures, each once
fn kinds(report: &Report) -> Vec<&str> {
    let mut failures = report.failures(SHOP);
    failures.dedup();
    failures
}

fn status_says_why_an_order_failed_and_until_when_it_waits(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_unchecked(&[(SHOP, &[WWW])]);
    scene.dns.set_servfail(WWW);
    scene.obtain(&[SHOP]).expect(1, SHOP, "failed");

    let failed = lineage(&scene);
    let text = |key: &str| failed[key].as_str().unwrap_or_default().to_owned();
    assert!(text("order_failure").contains(WWW), "{failed}");
    assert!(!text("next_try").is_empty(), "{failed}");
    assert_eq!(failed["last_result"]["outcome"], "failed", "{failed}");
    let message = failed["last_result"]["message"].to_string();
    assert!(message.contains(WWW), "{failed}");
    let shown = scene.world.certd(&["status"]).expect_status(0).stdout;
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = text("order_failure");
    for expected in ["no order is placed before", &reason] {
        assert!(words.contains(expected), "{expected}: {shown}");
    }

    // One that only waits has nothing newer to say.
    scene.obtain(&[SHOP]).expect(75, SHOP, "later");
    assert_eq!(lineage(&scene), failed);
    assert_eq!(scene.ca.orders(), 1);
}

/// What `certd status` says of the only lineage
#[track_caller]
fn lineage(scene: &Scene) -> serde_json::Value {
    let status = scene.world.certd(&["status", "--format", "json"]);
    let status = status.expect_status(0).stdout;
    let mut status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    status["lineages"][0].take()
}

fn a_name_that_points_elsewhere_is_explained(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_unchecked(&[(SHOP, &[WWW])]);
    // Nothing listens there.
    scene.dns.set_a(WWW, &["127.0.0.2"]);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "acme.validation");
    for words in [WWW, "connection", "127.0.0.2"] {
        let found = finding.evidence.contains(words);
        assert!(found, "{words}: {finding:?}");
    }
    assert!(
        finding.cure.contains(&format!("port 80 of {WWW}")),
        "{finding:?}"
    );
    scene.assert_clean();

    scene.dns.set_a(WWW, &["127.0.0.1"]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
}

/// What the CA says of a name whose servers fail, and what certd sees of it
const NO_DNS: [&str; 3] = ["acme.validation", "dns.servfail", "caa.unknown"];

fn one_invalid_domain_stops_no_other(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_unchecked(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.dns.set_servfail(MESSENGER);

    let report = scene.obtain(&["--all"]).expect(1, SHOP, "proven");
    assert_eq!(report.failures(MESSENGER), NO_DNS, "{report}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.certificates(), 1);
    scene.assert_clean();
}

fn a_site_that_waits_for_another_ones_certificate_says_so(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_unchecked(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    scene.dns.set_servfail(MESSENGER);

    // nginx loads all of its configuration or nothing.
    let report = scene.obtain(&["--all"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(MESSENGER), NO_DNS, "{report}");
    assert_eq!(report.failures(SHOP), ["target.test_failed"], "{report}");
    let finding = report.finding(SHOP, "target.test_failed");
    let missing = format!("waits for /etc/letsencrypt/live/{MESSENGER}/fullchain.pem");
    assert!(finding.cure.contains(&missing), "{finding:?}");

    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(scene.ca.certificates(), 1);
}

fn the_old_certificate_survives_a_failed_renewal(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let old = scene.served(SHOP);

    scene.write_unchecked(&[(SHOP, &[WWW])]);
    scene.dns.set_servfail(WWW);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "acme.validation");
    assert!(finding.evidence.contains(WWW), "{finding:?}");
    assert_eq!(scene.served(SHOP), old);
    assert!(scene.live_target(SHOP).ends_with("1"));
    scene.assert_clean();
}

/// One run of `obtain --no-deploy` with this CA
fn ask(ca: &FakeCa) -> (World, Report) {
    let world = World::new();
    write_config(&world, ca);
    let report = obtain(&world);
    assert_eq!(entries(world.storage().join("archive")), [""; 0]);
    if challenges(&world).exists() {
        assert_clean(&world);
    }
    (world, report)
}

fn write_config(world: &World, ca: &FakeCa) {
    write_config_with(world, &ca.directory_url(), &ca.trust_pem_path());
}

fn write_config_with(world: &World, directory: &str, trust: &Path) {
    world.write_text(&format!(
        "email = \"admin@example.com\"\nterms_of_service_agreed = true\nissuer = \"fake\"\n\
         webroot = \"webroot\"\nstorage = \"storage\"\nstate = \"state\"\n\
         [preflight]\nrequire = []\n\
         [issuers.fake]\ndirectory = {directory:?}\ntrust = {trust:?}\n[[domain]]\nname = {SHOP:?}\n"
    ));
}

#[track_caller]
fn obtain(world: &World) -> Report {
    Report::of(world.certd(&["obtain", SHOP, "--no-deploy", "--format", "json"]))
}

/// A CA that does everything up to the order
fn answer_until_order(request: &str, url: &str, order: impl Fn() -> Answer) -> Answer {
    let nonce = "Replay-Nonce: bm9uY2U";
    match request {
        "GET /dir" => Answer::json(
            "200 OK",
            &[],
            &json!({
                "newNonce": format!("{url}/nonce"),
                "newAccount": format!("{url}/account"),
                "newOrder": format!("{url}/order"),
                "revokeCert": format!("{url}/revoke"),
                "keyChange": format!("{url}/key"),
            }),
        ),
        "HEAD /nonce" => Answer::json("200 OK", &[nonce], &json!({})),
        "POST /account" => Answer::json(
            "201 Created",
            &[nonce, &format!("Location: {url}/account/1")],
            &json!({ "status": "valid" }),
        ),
        "POST /order" => order(),
        _ => Answer::json("404 Not Found", &[], &json!({})),
    }
}

fn a_ca_that_is_down_is_a_failure_that_costs_nothing() {
    let world = World::new();
    let directory = format!("https://localhost:{}/dir", ports::free());
    let ca = FakeCa::mute();
    write_config_with(&world, &directory, &ca.trust_pem_path());
    let report = obtain(&world).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.unreachable"], "{report}");
    let finding = report.finding(SHOP, "acme.unreachable");
    assert!(finding.evidence.contains(&directory), "{finding:?}");
    assert!(finding.evidence.contains("refused"), "{finding:?}");
    // No back-off: it is asked again at once.
    obtain(&world).expect(1, SHOP, "failed");
}

fn a_ca_under_an_unknown_root_asks_for_trust() {
    let ca = FakeCa::start(|_, _| Answer::html("200 OK", &[], ""));
    let world = World::new();
    write_self_signed(world.path(), &["other.test"]);
    let other = world.path().join("fullchain.pem");
    write_config_with(&world, &ca.directory_url(), &other);
    let report = obtain(&world).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "acme.not_trusted");
    assert!(finding.cure.contains("`trust` in [issuers."), "{finding:?}");
    assert_eq!(ca.requests(), [""; 0]);
}

fn a_503_with_a_page_is_shown_without_markup() {
    let page = "<html><head><title>Back soon</title></head><body><h1>Back soon</h1></body></html>";
    let ca = FakeCa::start(move |_, _| Answer::html("503 Service Unavailable", &[], page));
    let (_, report) = ask(&ca);
    let report = report.expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.status"], "{report}");
    let finding = report.finding(SHOP, "acme.status");
    assert!(finding.evidence.contains("503: Back soon"), "{finding:?}");
    assert!(!finding.evidence.contains('<'), "{finding:?}");
    assert!(finding.cure.contains("later"), "{finding:?}");
}

fn a_request_that_failed_is_counted() {
    let ca = FakeCa::start(|_, _| Answer::html("503 Service Unavailable", &[], ""));
    let (_, report) = ask(&ca);
    assert!(!ca.requests().is_empty());
    assert_eq!(report.ca_requests(), ca.requests().len() as u64, "{report}");
}

fn a_500_is_a_failure_that_costs_nothing() {
    let ca = FakeCa::start(|request, url| {
        answer_until_order(request, url, || {
            let problem = json!({
                "type": "urn:ietf:params:acme:error:serverInternal",
                "detail": "the database is on fire",
            });
            let headers = ["Replay-Nonce: bm9uY2U"];
            Answer::json("500 Internal Server Error", &headers, &problem)
        })
    });
    let (world, report) = ask(&ca);
    let report = report.expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.refused"], "{report}");
    let finding = report.finding(SHOP, "acme.refused");
    let words = "the database is on fire";
    assert!(finding.evidence.contains(words), "{finding:?}");
    // The CA's trouble does not make certd wait.
    obtain(&world).expect(1, SHOP, "failed");
    let orders = |request: &&String| *request == "POST /order";
    assert!(ca.requests().iter().filter(orders).count() >= 2);
}

fn a_429_for_the_directory_waits_as_it_says() {
    let ca = FakeCa::start(|_, _| {
        Answer::html("429 Too Many Requests", &["Retry-After: 600"], "slow down")
    });
    let (_, report) = ask(&ca);
    let report = report.expect(75, SHOP, "later");
    let finding = report.finding(SHOP, "acme.status");
    assert!(finding.evidence.contains("429"), "{finding:?}");
}

fn a_429_for_the_order_waits_as_it_says() {
    let ca = FakeCa::start(|request, url| {
        answer_until_order(request, url, || {
            let problem = json!({
                "type": "urn:ietf:params:acme:error:rateLimited",
                "detail": "too many certificates for rare-books.test",
            });
            let headers = ["Replay-Nonce: bm9uY2U", "Retry-After: 600"];
            Answer::json("429 Too Many Requests", &headers, &problem)
        })
    });
    let (world, report) = ask(&ca);
    let report = report.expect(75, SHOP, "later");
    let finding = report.finding(SHOP, "acme.rate_limited");
    let words = "too many certificates for rare-books.test";
    assert!(finding.evidence.contains(words), "{finding:?}");

    // The time that the CA named is kept, and nothing is sent before it.
    let sent = ca.requests().len();
    let report = obtain(&world).expect(75, SHOP, "later");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(ca.requests().len(), sent);
    let status = world
        .certd(&["status", "--format", "json"])
        .expect_status(0);
    assert!(status.stdout.contains("next_try"), "{}", status.stdout);
}

fn a_page_instead_of_a_directory_is_named() {
    let ca = FakeCa::start(|_, _| Answer::html("200 OK", &[], "<html>Welcome</html>"));
    let (_, report) = ask(&ca);
    let report = report.expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.directory"], "{report}");
}

/// Longest time that a run may take whose CA has stopped answering
const BOUND: Duration = Duration::from_secs(80);

fn a_ca_that_never_speaks_tls_is_given_up() {
    let ca = FakeCa::mute();
    let (_, report) = ask(&ca);
    let report = report.expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.unreachable"], "{report}");
    assert!(report.elapsed() < BOUND, "{report}");
}

fn a_ca_that_never_answers_is_given_up() {
    let ca = FakeCa::start(|_, _| Answer::Silence);
    let (_, report) = ask(&ca);
    let report = report.expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["acme.unreachable"], "{report}");
    let finding = report.finding(SHOP, "acme.unreachable");
    assert!(finding.evidence.contains("did not answer"), "{finding:?}");
    assert!(report.elapsed() < BOUND, "{report}");
    // A directory that does not come in time is asked for once more.
    assert_eq!(ca.requests(), ["GET /dir", "GET /dir"]);
}

fn a_ca_that_hangs_in_one_order_costs_no_other_domain(ca: Kind) {
    let scene = Scene::new(ca);
    let hanging =
        FakeCa::start(|request, url| answer_until_order(request, url, || Answer::Silence));
    let config = scene
        .unbound_config()
        .issuer("fake", &hanging.directory_url(), &hanging.trust_pem_path())
        .nginx(&scene.nginx);
    let config = scene.domain(config, SHOP, &[WWW]);
    let config = scene
        .domain(config, MESSENGER, &[])
        .lines("issuer = \"fake\"");
    scene.world.write_config(&config);
    scene.write_sites(&[site(&[SHOP, WWW])]);

    let report = scene.obtain(&["--all"]).expect_status(1);
    assert_eq!(report.outcome(SHOP), "proven", "{report}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(report.failures(MESSENGER), ["acme.unreachable"], "{report}");
    assert!(report.elapsed() < BOUND, "{report}");
    assert!(hanging.requests().contains(&"POST /order".to_owned()));
    scene.assert_clean();
}

fn a_validation_that_gets_no_answer_costs_no_other_domain(ca: Kind) {
    let scene = Scene::new(ca);
    let third = "third.test";
    scene.write_unchecked(&[(SHOP, &[WWW]), (MESSENGER, &[]), (third, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[third])]);
    // The kernel accepts for it, and nobody reads.
    let silent = TcpListener::bind(("127.0.0.2", scene.nginx.http_port())).expect("a free port");
    scene.dns.set_a(MESSENGER, &["127.0.0.2"]);

    let report = scene.obtain(&["--all"]).expect(1, MESSENGER, "failed");
    let expected = ["acme.validation", "http.timeout"];
    assert_eq!(report.failures(MESSENGER), expected, "{report}");
    let finding = report.finding(MESSENGER, "acme.validation");
    assert!(finding.evidence.contains(MESSENGER), "{finding:?}");
    for (domain, names) in [(SHOP, &[SHOP, WWW][..]), (third, &[third])] {
        assert_eq!(report.outcome(domain), "proven", "{report}");
        scene.assert_serves(domain, names);
    }
    assert!(report.elapsed() < BOUND, "{report}");
    assert_eq!(scene.ca.orders(), 3);
    assert_eq!(scene.generations(MESSENGER), [""; 0]);
    scene.assert_clean();
    drop(silent);
}
