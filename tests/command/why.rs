//! `certd why`: every link between a name and its certificate, and the one thing to change.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use certd_sandbox::dns::Record;
use certd_sandbox::docker::{Call, Ports, State};
use certd_sandbox::fault::{Answer, Times};
use certd_sandbox::web::{Instead, Site};
use certd_sandbox::{docker, web};
use serde_json::Value;

use crate::support::{
    Authority, Host, Place, Run, Server, Setting, Wish, over_80_columns, tls_config,
};

const SHOP: &str = "rare-books.test";
const WWW: &str = "www.rare-books.test";
const MESSENGER: &str = "messenger.rare-books.test";

/// A host on which both domains are served with their certificates
fn host() -> Host {
    let host = Host::new(&Setting::two_domains());
    host.obtain(&[]).exits(0);
    host
}

/// nginx with these server blocks, each with the lineage whose files it names
fn configure(host: &Host, sites: &[(&[&str], &str)]) {
    let sites: Vec<Site> = sites
        .iter()
        .map(|(names, lineage)| Site {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            lineage: (*lineage).to_owned(),
        })
        .collect();
    host.web.configure(&sites).expect("it can be written");
}

/// The mistake of every host with two domains
fn mistaken() -> Host {
    let host = host();
    configure(&host, &[(&[SHOP, WWW], SHOP), (&[MESSENGER], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    host
}

/// Runs `certd why` for a name, and sees that it changes nothing and fits a screen
#[track_caller]
fn why(host: &Host, name: &str, status: i32) -> Run {
    let tree = || [host.place.tree("storage"), host.place.tree("webroot")].concat();
    let (before, asked) = (tree(), host.ca.requests().len());
    let run = host.certd(&["why", name]).exits(status);
    assert_eq!(tree(), before);
    assert_eq!(host.ca.requests().len(), asked);
    assert_fits(&run);
    run
}

#[track_caller]
fn assert_fits(run: &Run) {
    // Lines to be copied stay whole.
    let wide = over_80_columns(&run.stdout);
    let is_prose = |line: &&str| !line.contains("ssl_certificate") && !line.contains("server_name");
    assert!(!wide.iter().any(is_prose), "{wide:?}");
    assert!(run.stdout.lines().count() <= 24, "{run}");
}

/// Code of the one thing to change, and the whole report
#[track_caller]
fn change(host: &Host, arguments: &[&str], status: i32) -> (String, Value) {
    let arguments = [&["why", "--format", "json"], arguments].concat();
    let report = host.certd(&arguments).exits(status).json();
    let code = report["change"]["code"].as_str().unwrap_or_default();
    (code.to_owned(), report)
}

/// What is seen of `localhost` without domains.toml; `None` where the machine has one of its own
#[track_caller]
fn without_configuration(host: &Host, status: i32) -> Option<Value> {
    if PathBuf::from("/etc/certd/domains.toml").exists() {
        return None;
    }
    let elsewhere = Place::new();
    let target = format!("localhost:{}", host.web.https().port());
    let mut certd = elsewhere.certd(&["why", &target, "--format", "json"]);
    certd.env("SSL_CERT_FILE", host.place.path("root.pem"));
    certd.env("DOCKER_HOST", host.engine.socket());
    Some(Run::of(&mut certd).exits(status).json())
}

/// What was seen of a link
#[track_caller]
fn step<'r>(report: &'r Value, link: &str) -> &'r Value {
    let mut steps = report["steps"].as_array().expect("steps").iter();
    let found = steps.find(|step| step["link"] == link);
    found.unwrap_or_else(|| panic!("no {link} in {report:#}"))
}

/// One of the two files of a server block, as the container sees it
fn line(directive: &str, lineage: &str) -> String {
    let file = match directive {
        "ssl_certificate" => "fullchain",
        _ => "privkey",
    };
    format!("{directive} {}/live/{lineage}/{file}.pem;", web::STORAGE)
}

/// Both of them
fn lines(lineage: &str) -> String {
    ["ssl_certificate", "ssl_certificate_key"]
        .map(|directive| line(directive, lineage))
        .join(" ")
}

/// nginx with these files of `sites` alone, and with this in `http` around their `include`
fn write_sites(host: &Host, http: [&str; 2], sites: &[(&str, String)]) {
    configure(host, &[]);
    let [before, after] = http;
    let main = format!("events {{}}\nhttp {{\n{before}\ninclude sites/*.conf;\n{after}\n}}\n");
    host.place.write("nginx/nginx.conf", main);
    for (file, text) in sites {
        host.place.write(&format!("nginx/sites/{file}"), text);
    }
    host.web.reload().expect("nginx accepts it");
}

fn url(host: &Host, name: &str) -> String {
    format!("https://{name}:{}/path?query", host.web.https().port())
}

/// Snapshots of hosts name the port, too
macro_rules! shows {
    ($host:expr, $name:expr, $run:expr) => {{
        let mut settings = $host.place.filters();
        let port = $host.web.https().port().to_string();
        settings.add_filter(&format!(r"\b{port}\b"), "[PORT]");
        settings.add_filter(r"\(TTL [^)]*\)", "(TTL [TTL])");
        settings.add_filter(r"\b[0-9a-f]{8}\b", "[FINGERPRINT]");
        // Where the words after it are wrapped, no other filter sees it.
        settings.add_filter(r"\b\d+% of\b", "[N]% of");
        settings.bind(|| insta::assert_snapshot!($name, $run));
    }};
}

mod addresses;
mod blocks;
mod laptop;
mod several;
mod stored;

#[test]
fn a_name_that_gets_its_certificate() {
    let host = host();
    shows!(host, "good", why(&host, &url(&host, WWW), 0));
}

#[test]
fn the_classic_mistake_is_told_with_the_lines_to_write() {
    let host = mistaken();
    let run = why(&host, MESSENGER, 1);
    shows!(host, "classic", run);
    // What it says is what mends it.
    configure(&host, &[(&[SHOP, WWW], SHOP), (&[MESSENGER], MESSENGER)]);
    host.certd(&["obtain", MESSENGER]).exits(0);
    why(&host, MESSENGER, 0);
}

#[test]
fn a_name_that_dns_does_not_know() {
    let host = host();
    host.zone.remove(MESSENGER);
    shows!(host, "nxdomain", why(&host, MESSENGER, 1));
}

#[test]
fn an_address_at_which_nothing_listens() {
    let host = host();
    host.zone
        .set(MESSENGER, [Record::A(Ipv4Addr::new(127, 0, 0, 9))]);
    shows!(host, "refused", why(&host, MESSENGER, 1));
}

#[test]
fn an_address_that_is_another_hosts() {
    let host = host();
    let config = host.place.read("domains.toml");
    let config = format!("addresses = [\"127.0.0.1\"]\n{config}");
    host.place.write("domains.toml", config);
    host.zone
        .set(MESSENGER, [Record::A(Ipv4Addr::new(127, 0, 0, 9))]);
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "dns.elsewhere", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(
        cure.contains("correct `addresses` in domains.toml; else"),
        "{cure}"
    );
}

#[test]
fn a_container_that_is_stopped() {
    let host = host();
    host.engine
        .change(|container| container.state = State::Exited);
    host.web.stop();
    shows!(host, "stopped", why(&host, MESSENGER, 1));
}

#[test]
fn a_container_that_publishes_no_port() {
    let host = host();
    host.zone
        .set(MESSENGER, [Record::A(Ipv4Addr::new(127, 0, 0, 9))]);
    host.engine
        .change(|container| container.ports = Ports::Hidden);
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.not_published", "{report:#}");
}

#[test]
fn a_generation_that_was_not_loaded() {
    let host = host();
    host.certd(&["obtain", MESSENGER, "--force", "--no-deploy"])
        .exits(0);
    let run = why(&host, MESSENGER, 1);
    shows!(host, "not_loaded", run);
    host.certd(&["obtain", MESSENGER]).exits(0);
    why(&host, MESSENGER, 0);
}

#[test]
fn without_docker_it_stops_at_what_the_network_shows() {
    let host = mistaken();
    let config = host.place.read("domains.toml");
    let config = config.replace("docker.sock", "gone.sock");
    host.place.write("domains.toml", config);
    shows!(host, "no_docker", why(&host, MESSENGER, 1));
    let (_, report) = change(&host, &[SHOP], 0);
    assert_eq!(report["verdict"]["answer"], "accepted");
}

#[test]
fn a_name_in_no_server_block() {
    let host = host();
    configure(&host, &[(&[SHOP, WWW], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    shows!(host, "no_block", why(&host, MESSENGER, 1));
}

#[test]
fn names_between_commas_and_a_block_that_comes_first() {
    let host = host();
    let commas = format!("{SHOP},{WWW},{MESSENGER}");
    configure(
        &host,
        &[(&["a.test", SHOP, WWW], SHOP), (&[&commas], MESSENGER)],
    );
    host.web.reload().expect("nginx accepts it");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.commas", "{report:#}");

    configure(
        &host,
        &[(&["a.test", MESSENGER], SHOP), (&[MESSENGER], MESSENGER)],
    );
    host.web.reload().expect("nginx accepts it");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.first_block", "{report:#}");
}

#[test]
fn a_domain_without_a_certificate_is_to_be_obtained_first() {
    let host = Host::new(&Setting::two_domains());
    configure(&host, &[(&[SHOP, WWW], SHOP)]);
    host.certd(&["obtain", SHOP]).exits(0);
    configure(&host, &[(&[SHOP, WWW], SHOP), (&[MESSENGER], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.other_file", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(cure.starts_with("`certd obtain messenger"), "{cure}");
}

#[test]
fn a_certificate_file_that_is_not_there() {
    let host = host();
    fs::remove_file(host.place.path("storage/live").join(MESSENGER)).expect("it is a link");
    let (code, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(code, "why.missing_file", "{report:#}");
    // nginx still serves what it has read, and does not come up again without the file.
    assert_eq!(report["verdict"]["answer"], "accepted");
    assert_eq!(report["steps"][4]["severity"], "warning");
}

#[test]
fn a_configuration_that_nginx_refuses() {
    let host = mistaken();
    host.place
        .write("nginx/sites/zoo.conf", "server { listen 443 ssl;");
    shows!(host, "broken", why(&host, MESSENGER, 1));
}

#[test]
fn a_mount_that_shows_an_old_generation() {
    let host = host();
    let old = host.place.path("storage/archive").join(MESSENGER).join("1");
    let destination = PathBuf::from(web::STORAGE).join("live").join(MESSENGER);
    host.engine.change(|container| {
        container.mounts.push(docker::Mount {
            source: old,
            destination,
        });
    });
    host.certd(&["obtain", MESSENGER, "--force", "--no-deploy"])
        .exits(0);
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.old_file", "{report:#}");
}

#[test]
fn a_handshake_that_is_refused_or_shows_a_stranger() {
    let host = host();
    host.web
        .serve(MESSENGER, Instead::SelfSigned)
        .expect("it can be made");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.not_loaded", "{report:#}");
    assert_eq!(report["verdict"]["answer"], "refused");
    host.web
        .serve(MESSENGER, Instead::Nothing)
        .expect("it can be made");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert!(code.starts_with("handshake."), "{report:#}");
}

#[test]
fn a_second_master_is_told_and_nothing_is_claimed_of_what_it_serves() {
    let host = host();
    configure(&host, &[(&[SHOP, WWW], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    host.engine.change(|container| {
        container.processes = [
            "sh /start.sh",
            "nginx: master process nginx",
            "sh /second.sh",
            "nginx: master process nginx -c /b.conf",
        ]
        .map(str::to_owned)
        .to_vec();
    });
    let obtain = ["obtain", MESSENGER, "--format", "json"];
    let obtain = host.certd(&obtain).exits(1).json().to_string();
    let check = ["check", MESSENGER, "--format", "json"];
    let check = host.certd(&check).json().to_string();
    let (code, why) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "target.several_masters", "{why:#}");
    for told in [obtain, check, why.to_string()] {
        assert!(told.contains("2 masters of nginx run in web"), "{told}");
        assert!(!told.contains("no server block"), "{told}");
        assert!(!told.contains("add this"), "{told}");
        assert!(
            told.contains("docker exec web nginx -s reload -c /b.conf"),
            "{told}"
        );
    }
}

#[test]
fn what_was_read_may_not_be_what_runs_where_nobody_tells_how_nginx_was_started() {
    let host = mistaken();
    let code = "target.options_unknown";
    let told = |host: &Host| {
        let (_, why) = change(host, &[MESSENGER], 1);
        let obtain = ["obtain", MESSENGER, "--format", "json"];
        let obtain = host.certd(&obtain).exits(1).json();
        (why.to_string(), obtain["domains"][0]["findings"][0].clone())
    };
    let (why, _) = told(&host);
    assert!(!why.contains(code), "{why}");
    host.engine
        .fault(Call::Top, Times::Always, Answer::html(403, "403 Forbidden"));
    let (why, _) = told(&host);
    assert!(!why.contains(code), "{why}");
    // A script hides with which options it starts nginx.
    host.engine.change(|container| {
        container.command = ["sh", "/start.sh"].map(str::to_owned).to_vec();
    });
    let (why, obtain) = told(&host);
    assert!(why.contains(code), "{why}");
    for told in [&why, &obtain.to_string()] {
        assert!(told.contains("docker top web"), "{told}");
    }
}

#[test]
fn without_a_configuration_the_container_is_found_by_its_port() {
    let host = mistaken();
    let Some(report) = without_configuration(&host, 1) else {
        return;
    };
    let seen = step(&report, "listener")["seen"].as_str();
    assert!(
        seen.is_some_and(|seen| seen.starts_with("web, ")),
        "{report:#}"
    );
    assert_eq!(report["change"]["code"], "why.no_block", "{report:#}");

    host.engine
        .change(|container| container.state = State::Paused);
    let report = without_configuration(&host, 1).unwrap_or_default();
    assert_eq!(report["change"]["code"], "target.not_running", "{report:#}");

    // What is down publishes nothing any more: who has the port now is named, not the container.
    host.engine
        .change(|container| container.state = State::Exited);
    host.web.stop();
    let report = without_configuration(&host, 1).unwrap_or_default();
    let seen = step(&report, "listener")["seen"].as_str();
    let own = format!("(process {}) listens at port", std::process::id());
    assert!(seen.is_some_and(|seen| seen.contains(&own)), "{report:#}");
    assert_eq!(report["verdict"]["answer"], "unreached");
}

#[test]
fn a_file_that_says_nothing_of_the_name_is_in_nobodys_way() {
    let host = host();
    let elsewhere = Place::new();
    let target = format!("localhost:{}", host.web.https().port());
    let ask = |command: &str| {
        let mut certd = elsewhere.certd(&[command, &target, "--format", "json"]);
        certd.env("SSL_CERT_FILE", host.place.path("root.pem"));
        certd.env("DOCKER_HOST", host.engine.socket());
        let run = Run::of(&mut certd).exits(1);
        let report = run.json();
        assert_eq!(report["command"], command, "{run}");
        run
    };
    // What it says otherwise counts, without a single domain.
    elsewhere.write("domains.toml", "[verify]\ntimeout = \"5s\"\n");
    ask("why");
    let run = ask("verify");
    assert!(!run.stderr.contains("left aside"), "{run}");
    // Another program's.
    elsewhere.write("domains.toml", "[registrar]\nlogin = \"me\"\n");
    ask("why");
    let run = ask("verify");
    assert!(run.stderr.contains("left aside"), "{run}");
    // One that is named is meant.
    for command in ["why", "verify"] {
        let mut certd = elsewhere.certd(&[command, &target, "--config", "domains.toml"]);
        Run::of(&mut certd).exits(2);
    }
}

#[test]
fn a_root_of_ones_own_is_trusted() {
    let root = Authority::root("Root of a laptop");
    let server = Server::tls(tls_config(&root.issue(&Wish::names(&["localhost"]))));
    let place = Place::with("storage = \"storage\"\n[[domain]]\nname = \"shop.test\"\n");
    place.write("root.pem", root.pem());
    place.write("other.pem", Authority::root("Root of somebody else").pem());
    let target = format!("localhost:{}", server.address.port());
    let answer = |trust: &[&str], status: i32| {
        let arguments = [&["why", &target, "--format", "json"], trust].concat();
        place.run(&arguments).exits(status).json()["verdict"]["answer"].clone()
    };
    let both = ["--trust", "other.pem", "--trust", "root.pem"];
    assert_eq!(answer(&both[..2], 1), "refused");
    assert_eq!(answer(&both, 0), "accepted");
}

#[test]
fn json_holds_every_link_and_the_change() {
    let host = mistaken();
    let (_, report) = change(&host, &[&url(&host, MESSENGER)], 1);
    let text = serde_json::to_string_pretty(&report).expect("it is JSON");
    let mut settings = host.place.filters();
    let port = host.web.https().port().to_string();
    settings.add_filter(&format!(r"\b{port}\b"), "[PORT]");
    settings.add_filter(r"\(TTL [^)]*\)", "(TTL [TTL])");
    settings.add_filter(r"\b[0-9a-f]{8}\b", "[FINGERPRINT]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[INSTANT]");
    settings.add_filter(r#""elapsed_millis": \d+"#, "\"elapsed_millis\": [MILLIS]");
    settings.bind(|| insta::assert_snapshot!("json", text));
}

#[test]
fn quiet_shows_what_needs_attention_alone() {
    let host = mistaken();
    let quiet = |name: &str| host.certd(&["-q", "why", name]);
    assert_eq!(quiet(SHOP).exits(0).stdout, "");
    assert!(quiet(MESSENGER).exits(1).stdout.contains("->"));
}

#[test]
fn colour_marks_signs_and_words_alone() {
    let host = mistaken();
    let mut certd = host.place.certd(&["why", MESSENGER, "--color", "always"]);
    let coloured = Run::of(certd.env_remove("NO_COLOR")).exits(1).stdout;
    let plain = host.certd(&["why", MESSENGER]).exits(1).stdout;
    let mut inside = false;
    let stripped: String = coloured
        .chars()
        .filter(|c| {
            let is_escape = inside || *c == '\u{1b}';
            inside = is_escape && *c != 'm';
            !is_escape
        })
        .collect();
    assert_eq!(stripped, plain);
    assert!(coloured.contains("\u{1b}[31m✗"), "{coloured:?}");
}

#[test]
fn what_is_no_https_url_is_refused() {
    let place = Place::new();
    let runs: [&[&str]; 6] = [
        &["why"],
        &["why", "http://shop.example.com/"],
        &["why", "ftp://shop.example.com/"],
        &["why", "https://"],
        &["why", "shop.example.com:https"],
        &["why", "https://shop,example.com/"],
    ];
    for run in runs {
        place.run(run).exits(2);
    }
    snapshot!(place, "unusable", place.transcript(&runs));
}
