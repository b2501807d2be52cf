//! What `certd verify` prints for other programs, held against their schemas and rules.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    Annotation, Authority, CLOSED, Place, Run, Sample, Schema, Server, Wish, annotations,
    check_junit, has_xmllint, samples, tls_config,
};

mod hostile;

/// Four domains of one configuration, and the servers behind them
struct Shelf {
    place: Place,
    _servers: [Server; 3],
}

impl Shelf {
    /// One that is good, one that expires soon, one with everything wrong, one that is down
    fn new() -> Self {
        let root = Authority::root("Trusted Root");
        let intermediate = root.intermediate("Trusted Intermediate");
        let serve = |wish: &Wish<'_>| Server::tls(tls_config(&intermediate.issue(wish)));
        let servers = [
            serve(&Wish::names(&["good.rare-books.test"])),
            serve(&Wish {
                valid: (1971, 2041),
                ..Wish::names(&["warned.rare-books.test"])
            }),
            serve(&Wish {
                common_name: Some("other.rare-books.test"),
                valid: (2020, 2021),
                ..Wish::names(&["other.rare-books.test"])
            }),
        ];
        let mut config = "storage = \"storage\"\nstate = \"state\"\n\
             [verify]\ntrust = [\"root.pem\"]\ntimeout = \"30s\"\n"
            .to_owned();
        let [good, warned, failed] = servers.each_ref().map(|server| server.address.to_string());
        for (name, address) in [
            ("good", &*good),
            ("warned", &warned),
            ("failed", &failed),
            ("down", CLOSED),
        ] {
            config.push_str(&format!(
                "[[domain]]\nname = \"{name}.rare-books.test\"\nconnect = \"{address}\"\n"
            ));
        }
        let place = Place::with(&config);
        place.write("root.pem", root.pem());
        Self {
            place,
            _servers: servers,
        }
    }

    /// What a format looks like; the whole of it fails
    fn shown(&self, format: &str) -> String {
        let arguments = ["verify", "--tls-only", "--format", format];
        let run = self.place.run(&arguments).exits(1);
        assert_eq!(run.stderr, "");
        run.stdout
    }

    /// Names in a snapshot for what differs from run to run
    fn compare(&self, name: &str, text: &str) {
        let mut settings = self.place.filters();
        for (pattern, name) in [
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+Z)?", "[TIME]"),
            (r#"time="\d+\.\d{3}""#, "time=\"[SECONDS]\""),
            (r"(?m)(_seconds(\{.*\})?) \d+\.\d+$", "$1 [SECONDS]"),
            (
                r"certd_verify_timestamp_seconds \d+",
                "certd_verify_timestamp_seconds [NOW]",
            ),
            (r#"port="\d{4,5}""#, "port=\"[PORT]\""),
            (r"127\.0\.0\.1%3A\d{4,5}", "127.0.0.1%3A[PORT]"),
            (r"\d+%25 of its life", "[N]%25 of its life"),
            (r"\.test/\d{4,5}", ".test/[PORT]"),
            (r#""elapsed_millis": \d+"#, "\"elapsed_millis\": [MILLIS]"),
            (r#""fingerprint": "\w+""#, "\"fingerprint\": \"[SHA256]\""),
            (r#""serial": "\w+""#, "\"serial\": \"[SERIAL]\""),
            (
                r#""remaining_fraction": [0-9.]+"#,
                "\"remaining_fraction\": [PART]",
            ),
            (r#""port": \d{4,5}"#, "\"port\": [PORT]"),
        ] {
            settings.add_filter(pattern, name);
        }
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn junit_has_a_test_for_each_endpoint_and_is_valid() {
    let shelf = Shelf::new();
    let shown = shelf.shown("junit");
    shelf.compare("junit", &shown);
    check_junit(&shown);
}

#[test]
fn sarif_has_a_result_for_each_finding_and_is_valid() {
    let shelf = Shelf::new();
    let shown = shelf.shown("sarif");
    shelf.compare("sarif", &shown);
    let log: Value = serde_json::from_str(&shown).unwrap();
    Schema::of_data("sarif-2.1.0.schema.json").check(&log);
    let run = &log["runs"][0];
    for result in run["results"].as_array().unwrap() {
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        let rule = &run["tool"]["driver"]["rules"][index];
        assert_eq!(rule["id"], result["ruleId"]);
        // What is in the table of codes is told, not the code once more.
        assert_ne!(rule["shortDescription"]["text"], rule["id"]);
    }
    let fingerprints = fingerprints(&log);
    let unique: BTreeSet<&String> = fingerprints.iter().collect();
    assert_eq!(unique.len(), fingerprints.len());
    let again: Value = serde_json::from_str(&shelf.shown("sarif")).unwrap();
    assert_eq!(fingerprints, self::fingerprints(&again));
}

fn fingerprints(log: &Value) -> Vec<String> {
    let results = log["runs"][0]["results"]
        .as_array()
        .expect("results")
        .iter();
    results
        .map(|result| result["partialFingerprints"].to_string())
        .collect()
}

#[test]
fn github_has_an_annotation_for_each_finding_and_the_worst_first() {
    let shelf = Shelf::new();
    let shown = shelf.shown("github");
    shelf.compare("github", &shown);
    let (annotations, plain) = annotations(&shown);
    let commands: Vec<&str> = annotations.iter().map(|one| one.command.as_str()).collect();
    assert_eq!(commands, ["error", "error", "error", "error", "warning"]);
    assert_eq!(plain, ["certd verify: 1 good, 1 with warnings, 2 failed"]);
}

#[test]
fn prometheus_has_samples_for_each_endpoint() {
    let shelf = Shelf::new();
    let shown = shelf.shown("prometheus");
    shelf.compare("prometheus", &shown);
    samples(&shown);
}

#[test]
fn json_is_what_the_printed_schema_says() {
    let shelf = Shelf::new();
    let shown = shelf.shown("json");
    shelf.compare("json", &shown);
    let printed = shelf.place.run(&["schema", "verify"]).exits(0);
    insta::assert_snapshot!("schema", printed.stdout);
    let schema = Schema::new(closed(printed.json()));
    let report: Value = serde_json::from_str(&shown).unwrap();
    schema.check(&report);
    // What belongs to pages and files stands in other reports.
    let root = Authority::root("Other Root");
    let leaf = root.issue(&Wish::names(&["shop.test"]));
    shelf.place.write("fullchain.pem", leaf.chain_pem());
    shelf.place.write("privkey.pem", leaf.key_pem());
    for arguments in [
        [
            "--chain",
            "fullchain.pem",
            "--name",
            "shop.test",
            "--key",
            "privkey.pem",
        ]
        .as_slice(),
        &["good.rare-books.test"],
        &[CLOSED],
    ] {
        let arguments = [&["verify", "--format", "json"], arguments].concat();
        schema.check(&shelf.place.run(&arguments).json());
    }
    let mut other = report.clone();
    other["endpoints"][0]["severity"] = json!("fatal");
    assert!(!schema.accepts(&other));
    let mut lacking = report;
    lacking["endpoints"][0]
        .as_object_mut()
        .unwrap()
        .remove("findings");
    assert!(!schema.accepts(&lacking));
}

/// The schema where no field is allowed that it does not describe
fn closed(mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut() {
        if object.contains_key("properties") {
            object.insert("additionalProperties".to_owned(), json!(false));
        }
        for value in object.values_mut() {
            *value = closed(value.take());
        }
    }
    schema
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    for (schema, wrong) in [
        (
            "sarif-2.1.0.schema.json",
            json!({ "version": "2.1.0", "runs": [{ "results": [] }] }),
        ),
        (
            "github-action.schema.json",
            json!({ "name": "x", "description": "y" }),
        ),
        (
            "github-workflow.schema.json",
            json!({ "on": "push", "jobs": { "a": { "steps": [] } } }),
        ),
        ("gitlab-ci.schema.json", json!({ "job": { "script": 1 } })),
    ] {
        assert!(!Schema::of_data(schema).accepts(&wrong), "{schema}");
    }
    let wrong = "<testsuites><testsuite name=\"x\"/></testsuites>";
    assert!(std::panic::catch_unwind(|| check_junit(wrong)).is_err() || !has_xmllint());
}

#[test]
fn an_endpoint_that_nobody_wrote_down_has_no_line() {
    let shelf = Shelf::new();
    let run = |format: &str, targets: &[&str]| {
        let arguments = [&["verify", "--tls-only", "--format", format], targets].concat();
        shelf.place.run(&arguments).stdout
    };
    let location = |targets: &[&str]| {
        let log: Value = serde_json::from_str(&run("sarif", targets)).unwrap();
        Schema::of_data("sarif-2.1.0.schema.json").check(&log);
        log["runs"][0]["results"][0]["locations"][0]["physicalLocation"].clone()
    };
    // Its own name, and neither a line nor a file that does not ask for it.
    let word = location(&["[::1]:1"]);
    assert_eq!(word, json!({ "artifactLocation": { "uri": "%3A%3A1" } }));
    let (annotation, _) = annotations(&run("github", &["[::1]:1"]));
    assert_eq!(
        annotation[0].properties.keys().collect::<Vec<_>>(),
        ["title"]
    );
    shelf
        .place
        .write("ci/targets.txt", format!("# all\n{CLOSED}\n"));
    let listed = location(&["--targets", "ci/targets.txt"]);
    assert_eq!(
        listed,
        json!({ "artifactLocation": { "uri": "ci/targets.txt" }, "region": { "startLine": 2 } })
    );
    shelf.place.write(
        "fullchain.pem",
        Authority::root("Root")
            .issue(&Wish::names(&["a.test"]))
            .chain_pem(),
    );
    let file = location(&["--chain", "fullchain.pem", "--name", "b.test"]);
    assert_eq!(
        file,
        json!({ "artifactLocation": { "uri": "fullchain.pem" } })
    );
}

#[test]
fn a_file_is_named_from_the_root_of_the_checkout() {
    let shelf = Shelf::new();
    shelf.place.write("ci/targets.txt", CLOSED);
    let file = |variable: &str, root: &str| {
        let mut command =
            shelf
                .place
                .certd(&["verify", "--format", "github", "--targets", "targets.txt"]);
        command
            .current_dir(shelf.place.path("ci"))
            .env(variable, shelf.place.path(root));
        let run = Run::of(&mut command).exits(1);
        annotations(&run.stdout).0[0].properties["file"].clone()
    };
    assert_eq!(file("GITHUB_WORKSPACE", ""), "ci/targets.txt");
    assert_eq!(file("CI_PROJECT_DIR", ""), "ci/targets.txt");
    assert_eq!(file("GITHUB_WORKSPACE", "elsewhere"), "targets.txt");
    assert_eq!(file("UNKNOWN", ""), "targets.txt");
}

#[test]
fn what_ci_shows_agrees_with_the_exit_status() {
    let shelf = Shelf::new();
    let warned = |format: &str, strict: &[&str]| {
        let name = "warned.rare-books.test";
        let arguments = [&["verify", "--tls-only", "--format", format, name], strict].concat();
        shelf.place.run(&arguments)
    };
    let good = warned("junit", &[]).exits(0).stdout;
    assert!(
        good.contains("failures=\"0\"") && good.contains("<system-out>"),
        "{good}"
    );
    let failed = warned("junit", &["--strict"]).exits(1).stdout;
    assert!(
        failed.contains("<failure type=\"served.expires_soon\""),
        "{failed}"
    );
    check_junit(&good);
    check_junit(&failed);
    let success = |run: Run| samples(&run.stdout)[0].clone();
    let sample = success(warned("prometheus", &[]).exits(0));
    assert_eq!((&*sample.name, sample.value), ("certd_verify_success", 1.0));
    assert_eq!(
        success(warned("prometheus", &["--strict"]).exits(1)).value,
        0.0
    );
}

#[test]
fn quiet_spares_people_a_good_report_and_no_program_its_file() {
    let shelf = Shelf::new();
    let quiet = |format: &str| {
        let good = "good.rare-books.test";
        let arguments = ["verify", "--tls-only", "-q", "--format", format, good];
        shelf.place.run(&arguments).exits(0).stdout
    };
    assert_eq!(quiet("text"), "");
    check_junit(&quiet("junit"));
    assert!(quiet("json").contains("\"endpoints\""));
    assert!(quiet("sarif").contains("\"results\": []"));
    assert_eq!(
        quiet("github"),
        "certd verify: 1 good, 0 with warnings, 0 failed\n"
    );
    assert!(samples(&quiet("prometheus")).len() > 5);
}

#[test]
fn an_address_that_two_hosts_have_has_one_sample_and_two_tests() {
    let shelf = Shelf::new();
    let run = |format: &str| {
        let hosts = [CLOSED, "localhost:1", CLOSED];
        let common = [
            "verify",
            "--tls-only",
            "--name",
            "a.test",
            "--format",
            format,
        ];
        let arguments = [&common[..], &hosts].concat();
        shelf.place.run(&arguments).exits(1).stdout
    };
    let success = |sample: &&Sample| sample.name == "certd_verify_success";
    assert_eq!(
        samples(&run("prometheus")).iter().filter(success).count(),
        1
    );
    assert_eq!(run("junit").matches("<testcase").count(), 2);
}

#[test]
fn no_other_command_has_the_formats_of_verify() {
    let shelf = Shelf::new();
    let commands: [&[&str]; 8] = [
        &["obtain", "--all"],
        &["renew"],
        &["run"],
        &["check"],
        &["notify", "--test"],
        &["status"],
        &["schema", "verify"],
        &["demo"],
    ];
    let before = shelf.place.tree("");
    for command in commands {
        for format in ["junit", "sarif", "github", "prometheus"] {
            let arguments = [command, &["--format", format]].concat();
            let run = shelf.place.run(&arguments).exits(2);
            assert_eq!(run.stdout, "");
            assert_eq!(
                run.stderr,
                format!(
                    "error: only `certd verify` has `--format {format}`\n\
                     hint: every other command has `text` and `json`\n"
                )
            );
        }
    }
    assert_eq!(shelf.place.tree(""), before);
}

/// What an annotation tells of a finding
fn title(annotation: &Annotation) -> &str {
    &annotation.properties["title"]
}

#[test]
fn quiet_keeps_no_report_back_from_a_program() {
    let place = Place::with(
        "storage = \"storage\"\nstate = \"state\"\n[renewal]\nschedule = \"0 3 * * *\"\n\
        [[domain]]\nname = \"shop.test\"\n",
    );
    for command in [
        &["status"][..],
        &["renew", "--dry-run"],
        &["obtain", "--all", "--dry-run"],
        &["renew", "--simulate", "10d"],
    ] {
        let run = place.run(&[command, &["-q", "--format", "json"]].concat());
        assert!(run.json().is_object(), "{command:?}");
    }
}
