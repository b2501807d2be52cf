//! What `certd verify` and `certd why` can be asked for, and what of a list cannot be used.

use std::fs;
use std::net::Ipv4Addr;

use certd_sandbox::dns::{self, Record, Zone};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::support::{
    Authority, CLOSED, Place, Run, Schema, Server, Wish, annotations, check_junit, codes, finding,
    over_80_columns, samples, tls_config,
};

/// A server whose wildcard covers names with an underscore, and the place that trusts its root
struct Scene {
    place: Place,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let root = Authority::root("Trusted Root");
        let leaf = root
            .intermediate("Trusted Intermediate")
            .issue(&Wish::names(&[
                "*.rare-books.test",
                "127.0.0.1",
                "localhost",
            ]));
        let place = Place::new();
        place.write("root.pem", root.pem());
        Self {
            place,
            server: Server::tls(tls_config(&leaf)),
        }
    }

    fn address(&self) -> String {
        self.server.address.to_string()
    }

    fn verify(&self, arguments: &[&str]) -> Run {
        let common = ["verify", "--tls-only", "--trust", "root.pem"];
        self.place.run(&[&common[..], arguments].concat())
    }

    /// A list of which two lines are good
    fn list(&self, name: &str) {
        let (address, port) = (self.address(), self.server.address.port());
        let text = format!(
            "\u{feff}# of today\r\nhttp://b.test/\r\n{address}\r\n\r\n*.c.test\n\
             d.test, e.test\nhttps://me:secret@f.test:0/\nlocalhost:{port} # caf"
        );
        // What stands in a comment may be Latin-1; a name may not.
        let bytes = [text.as_bytes(), b"\xe9\ncaf\xe9.test\n"].concat();
        self.place.write(name, bytes);
    }
}

/// A DNS server that knows these names, all of them on the loopback
fn dns(names: &[&str]) -> (Runtime, dns::Server) {
    let zone = Zone::new();
    for name in names {
        zone.add(name, Record::A(Ipv4Addr::LOCALHOST));
    }
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let anywhere = (Ipv4Addr::LOCALHOST, 0).into();
    let server = runtime.block_on(dns::Server::start(anywhere, zone));
    (runtime, server.expect("it can listen"))
}

const UNDERSCORED: &str = "a_b.rare-books.test";

#[test]
fn a_name_with_an_underscore_is_looked_at_wherever_it_is_asked_for() {
    let scene = Scene::new();
    let (port, address) = (scene.server.address.port(), scene.address());
    let (_runtime, dns) = dns(&[UNDERSCORED]);
    let target = format!("{UNDERSCORED}:{port}");
    scene.place.write("list", format!("{target}\n"));
    scene.place.write(
        "domains.toml",
        format!(
            "storage = \"storage\"\n[dns]\nservers = [\"{}\"]\n\
             [verify]\ntrust = [\"root.pem\"]\n[[domain]]\nname = \"shop.test\"\n",
            dns.address()
        ),
    );
    for arguments in [
        &[&*target][..],
        &[&format!("https://A_B.rare-books.test:{port}/")],
        &["--targets", "list"],
        &[&address, "--name", UNDERSCORED],
        &[UNDERSCORED, "--connect", &address],
    ] {
        let report = scene.verify(&[arguments, &["--format", "json"]].concat());
        let report = report.exits(0).json();
        assert_eq!(codes(&report), [""; 0]);
        assert_eq!(report["endpoints"][0]["name"], UNDERSCORED);
        assert_eq!(report["endpoints"][0]["address"], *address);
    }
    let why = scene.place.run(&["why", "--format", "json", &target]);
    let why = why.exits(0).json();
    assert_eq!(why["name"], UNDERSCORED);
    assert_eq!(why["verdict"]["answer"], "accepted", "{why:#}");
}

#[test]
fn a_name_with_an_underscore_is_never_ordered() {
    let place = Place::with(&format!("[[domain]]\nname = \"{UNDERSCORED}\"\n"));
    for command in [&["obtain", "--all"][..], &["verify"]] {
        let run = place.run(command).exits(2);
        assert!(run.stderr.contains("no public CA issues for a"), "{run}");
    }
    place.write("domains.toml", "[[domain]]\nname = \"shop.test\"\n");
    let runs: [&[&str]; 2] = [&["obtain", UNDERSCORED], &["obtain", "*.shop.test"]];
    for run in runs {
        place.run(run).exits(2);
    }
    snapshot!(place, "not_ordered", place.transcript(&runs));
}

#[test]
fn a_line_that_cannot_be_used_stops_no_other() {
    let scene = Scene::new();
    scene.list("list");
    let run = scene.verify(&["--targets", "list"]).exits(1);
    assert_eq!(run.stderr, "");
    assert_eq!(over_80_columns(&run.stdout), [""; 0]);
    assert!(!run.stdout.contains("secret"), "{run}");
    snapshot!(scene.place, "list", run.stdout);
    let report = scene.verify(&["--targets", "list", "--format", "json"]);
    let report = report.exits(1).json();
    let origins = report["endpoints"].as_array().unwrap().iter();
    let lines: Vec<_> = origins
        .map(|endpoint| (&endpoint["origin"]["line"], &endpoint["address"]))
        .collect();
    let address = json!(scene.address());
    let none = json!("");
    assert_eq!(
        lines,
        [
            (&json!(2), &none),
            (&json!(3), &address),
            (&json!(5), &none),
            (&json!(6), &none),
            (&json!(7), &none),
            (&json!(8), &address),
            (&json!(9), &none),
        ]
    );
    let mut stdin = scene
        .place
        .certd(&["verify", "--tls-only", "--targets", "-"]);
    stdin.stdin(fs::File::open(scene.place.path("list")).unwrap());
    let run = Run::of(&mut stdin).exits(1);
    assert!(run.stdout.contains("line 5 of stdin"), "{run}");
}

#[test]
fn every_format_tells_the_line_that_cannot_be_used() {
    let scene = Scene::new();
    let address = scene.address();
    scene.place.write("list", format!("*.c.test\n{address}\n"));
    let shown = |format: &str| {
        let run = scene.verify(&["--targets", "list", "--format", format]);
        let run = run.exits(1);
        assert_eq!(run.stderr, "");
        run.stdout
    };
    let log: Value = serde_json::from_str(&shown("sarif")).unwrap();
    Schema::of_data("sarif-2.1.0.schema.json").check(&log);
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "verify.no_target");
    assert_eq!(
        result["locations"][0]["physicalLocation"],
        json!({ "artifactLocation": { "uri": "list" }, "region": { "startLine": 1 } })
    );
    let xml = shown("junit");
    check_junit(&xml);
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
    assert!(xml.contains("<failure type=\"verify.no_target\""), "{xml}");
    let log = shown("github");
    let (annotations, plain) = annotations(&log);
    assert_eq!(annotations.len(), 1, "{log}");
    assert_eq!(annotations[0].command, "error");
    assert_eq!(annotations[0].properties["line"], "1");
    assert_eq!(plain, ["certd verify: 1 good, 0 with warnings, 1 failed"]);
    let samples = samples(&shown("prometheus"));
    let success: Vec<_> = samples
        .iter()
        .filter(|sample| sample.name == "certd_verify_success")
        .map(|sample| {
            (
                &*sample.labels["name"],
                &*sample.labels["address"],
                sample.value,
            )
        })
        .collect();
    assert_eq!(
        success,
        [("*.c.test", "", 0.0), ("127.0.0.1", "127.0.0.1", 1.0)]
    );
    let printed = scene.place.run(&["schema", "verify"]).exits(0).json();
    let report: Value = serde_json::from_str(&shown("json")).unwrap();
    Schema::new(printed).check(&report);
    assert_eq!(codes(&report), ["verify.no_target"]);
    let finding = finding(&report, "verify.no_target");
    assert!(
        finding["evidence"]
            .as_str()
            .unwrap()
            .contains("line 1 of list")
    );
}

#[test]
fn one_of_several_arguments_that_cannot_be_used_stops_no_other() {
    let scene = Scene::new();
    let address = scene.address();
    let report = scene.verify(&[&address, "a.test,b.test", "--format", "json"]);
    let report = report.exits(1).json();
    assert_eq!(codes(&report), ["verify.no_target"]);
    assert_eq!(report["endpoints"][0]["severity"], "ok");
    let evidence = finding(&report, "verify.no_target")["evidence"].clone();
    assert!(
        evidence.as_str().unwrap().contains("argument 2"),
        "{evidence}"
    );
    // Nothing wrote it down that a code scanner could show.
    let log = scene.verify(&[&address, "a.test,b.test", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&log.exits(1).stdout).unwrap();
    Schema::of_data("sarif-2.1.0.schema.json").check(&log);
    let location = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(
        *location,
        json!({ "artifactLocation": { "uri": "a.test%2Cb.test" } })
    );
    // Alone it is a slip of the fingers.
    let run = scene.verify(&["a.test,b.test"]).exits(2);
    assert!(run.stderr.contains("separated by blanks"), "{run}");
}

#[test]
fn waiting_ends_where_all_is_good_that_can_become_so() {
    let scene = Scene::new();
    let address = scene.address();
    let report = scene.verify(&[&address, "*.c.test", "--wait", "1h", "--format", "json"]);
    assert_eq!(codes(&report.exits(1).json()), ["verify.no_target"]);
    assert_eq!(scene.server.connections(), 1);
}

#[test]
fn a_list_in_another_encoding_is_told_as_that() {
    let place = Place::new();
    let text = format!("\u{feff}{CLOSED}\r\n");
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("list", bytes);
    let run = place.run(&["verify", "--targets", "list"]).exits(2);
    assert!(run.stderr.contains("save it as UTF-8"), "{run}");
}

#[test]
fn a_line_of_a_list_is_where_a_domain_was_asked_for() {
    let scene = Scene::new();
    let address = scene.address();
    scene.place.write(
        "domains.toml",
        format!(
            "storage = \"storage\"\n[verify]\ntrust = [\"root.pem\"]\n\
             [[domain]]\nname = \"shop.rare-books.test\"\nconnect = \"{address}\"\n"
        ),
    );
    let port = scene.server.address.port();
    let list = format!("# of today\nshop.rare-books.test:{port}\n");
    scene.place.write("list", list);
    let report = scene.verify(&["--targets", "list", "--format", "json"]);
    let report = report.json();
    let origin = &report["endpoints"][0]["origin"];
    assert_eq!(origin["line"], 2, "{report:#}");
    assert!(
        origin["file"].as_str().unwrap().ends_with("list"),
        "{report:#}"
    );
}
