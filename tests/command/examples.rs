//! The examples for CI systems: valid for those, and run as those run them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{
    Authority, CLOSED, Place, Run, Schema, Server, Wish, annotations, check_junit, samples,
    tls_config,
};

const ACTION: &str = "action.yml";
const GITHUB: &str = "examples/ci/github-actions.yml";
const GITLAB: &str = "examples/ci/gitlab-ci.yml";

fn yaml(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).expect("the example is there");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_examples_are_valid_for_their_systems() {
    for (file, schema) in [
        (ACTION, "github-action.schema.json"),
        (GITHUB, "github-workflow.schema.json"),
        (GITLAB, "gitlab-ci.schema.json"),
    ] {
        Schema::of_data(schema).check(&yaml(file));
    }
}

#[test]
fn no_input_is_taken_for_shell() {
    let texts = [
        steps(&yaml(ACTION)["runs"]),
        steps(&yaml(GITHUB)["jobs"]["verify"]),
    ]
    .concat();
    for step in texts {
        let run = step["run"].as_str().unwrap_or_default();
        assert!(!run.contains("${{"), "{run}");
    }
}

fn steps(of: &Value) -> Vec<Value> {
    of["steps"].as_array().expect("there are steps").clone()
}

/// A checkout in an otherwise empty directory, on a machine of a CI system
struct Machine {
    place: Place,
    path: String,
    variables: BTreeMap<String, String>,
}

impl Machine {
    /// One that has certd, with a list of what is served well at `server`, and what is not at all
    fn new(server: &Server, root: &Authority) -> Self {
        let machine = Self::without_certd(root);
        fs::create_dir(machine.file("bin")).expect("the place is writable");
        symlink(env!("CARGO_BIN_EXE_certd"), machine.file("bin/certd")).expect("it is new");
        let list = format!("# Ours\n{}\n{CLOSED}\n", server.address);
        machine.place.write("work/targets.txt", list);
        machine
    }

    fn without_certd(root: &Authority) -> Self {
        let place = Place::new();
        place.write("work/.keep", "");
        // What a machine trusts as it is set up.
        place.write("root.pem", root.pem());
        let file = |below: &str| place.path(below).to_string_lossy().into_owned();
        let variables = [
            ("CI", "true".to_owned()),
            ("SSL_CERT_FILE", file("root.pem")),
        ];
        Self {
            path: format!("{}:/usr/local/bin:/usr/bin:/bin", file("bin")),
            variables: variables.map(|(key, value)| (key.to_owned(), value)).into(),
            place,
        }
    }

    /// The variables that GitHub sets
    fn of_github(mut self) -> Self {
        self.place.write("temp/.keep", "");
        for (key, below) in [
            ("GITHUB_WORKSPACE", "work"),
            ("GITHUB_PATH", "github_path"),
            ("RUNNER_TEMP", "temp"),
        ] {
            self.place.write("github_path", "");
            let value = self.file(below).to_string_lossy().into_owned();
            self.variables.insert(key.to_owned(), value);
        }
        self.variables
            .insert("GITHUB_ACTIONS".to_owned(), "true".to_owned());
        self
    }

    /// The variables that GitLab sets
    fn of_gitlab(mut self) -> Self {
        let work = self.file("work").to_string_lossy().into_owned();
        self.variables.insert("CI_PROJECT_DIR".to_owned(), work);
        self.variables
            .insert("GITLAB_CI".to_owned(), "true".to_owned());
        self
    }

    fn file(&self, below: &str) -> PathBuf {
        self.place.path(below)
    }

    /// Runs a script by bash with these options, as CI systems do
    fn bash(&self, options: &[&str], script: &str, variables: &BTreeMap<String, String>) -> Run {
        self.place.write("script.sh", script);
        let added = self.place.read_if_there("github_path");
        let added: String = added.lines().map(|line| format!("{line}:")).collect();
        let mut command = Command::new("/bin/bash");
        command
            .args(["--noprofile", "--norc"])
            .args(options)
            .arg(self.file("script.sh"))
            .current_dir(self.file("work"))
            .env_clear()
            .env("PATH", format!("{added}{}", self.path))
            .envs(&self.variables)
            .envs(variables)
            .stdin(Stdio::null());
        Run::of(&mut command)
    }

    /// Runs the steps of a workflow's job, and gives what each printed
    fn github_job(&self, job: &Value) -> Vec<Run> {
        let mut runs = Vec::new();
        for step in steps(job) {
            if let Some(script) = step["run"].as_str() {
                runs.push(self.bash(&["-e"], script, &BTreeMap::new()));
            }
            let uses = step["uses"].as_str().unwrap_or_default();
            if uses.starts_with("your-organization/certd@") {
                runs.extend(self.action(&step["with"]));
            }
        }
        runs
    }

    /// Runs the steps of certd's own action with these inputs
    fn action(&self, with: &Value) -> Vec<Run> {
        let action = yaml(ACTION);
        let given = with.as_object().cloned().unwrap_or_default();
        let declared = action["inputs"].as_object().expect("it has inputs");
        let unknown = given.keys().find(|key| !declared.contains_key(*key));
        assert_eq!(unknown, None, "an input that the action does not have");
        let mut known = BTreeMap::from([(
            "github.action_path".to_owned(),
            env!("CARGO_MANIFEST_DIR").to_owned(),
        )]);
        for (name, input) in declared {
            let value = given
                .get(name)
                .or_else(|| input.get("default"))
                .expect("a value");
            known.insert(format!("inputs.{name}"), word(value));
        }
        let mut runs = Vec::new();
        for step in steps(&action["runs"]) {
            assert_eq!(step["shell"], "bash");
            let variables = step["env"].as_object().into_iter().flatten();
            let variables =
                variables.map(|(key, value)| (key.clone(), filled_in(&word(value), &known)));
            let script = step["run"].as_str().expect("a script");
            runs.push(self.bash(&["-e", "-o", "pipefail"], script, &variables.collect()));
        }
        runs
    }
}

/// A scalar as CI systems turn it into text
fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// A text with its one expression, if it has one, replaced by what it stands for
fn filled_in(text: &str, known: &BTreeMap<String, String>) -> String {
    match text
        .strip_prefix("${{")
        .and_then(|text| text.strip_suffix("}}"))
    {
        Some(expression) => known[expression.trim()].clone(),
        None => text.to_owned(),
    }
}

/// A server whose certificate the machine trusts, and the root that it trusts for it
fn good_server() -> (Server, Authority) {
    let root = Authority::root("Trusted Root");
    let leaf = root.intermediate("Trusted Intermediate").issue(&Wish {
        // Public CAs, which the machine's roots are taken for, had no limit then.
        valid: (1971, 2120),
        ..Wish::names(&["127.0.0.1"])
    });
    (Server::tls(tls_config(&leaf)), root)
}

#[test]
fn the_github_workflow_annotates_and_writes_what_is_uploaded() {
    let (server, root) = good_server();
    let machine = Machine::new(&server, &root).of_github();
    let job = &yaml(GITHUB)["jobs"]["verify"];
    let runs = machine.github_job(job);
    let [found, judged, written] = &runs[..] else {
        panic!("{} steps ran", runs.len());
    };
    assert_eq!((found.status, &*found.stdout), (Some(0), ""), "{found}");
    assert_eq!(judged.status, Some(1), "{judged}");
    let (annotations, plain) = annotations(&judged.stdout);
    assert_eq!(annotations.len(), 1, "{judged}");
    assert_eq!(annotations[0].properties["file"], "targets.txt");
    assert_eq!(annotations[0].properties["line"], "3");
    assert_eq!(plain, ["certd verify: 1 good, 0 with warnings, 1 failed"]);
    assert_eq!(
        (written.status, &*written.stdout),
        (Some(0), ""),
        "{written}"
    );
    // What the next step takes.
    let uploaded = steps(job)
        .iter()
        .find_map(|step| step["with"]["sarif_file"].as_str().map(ToOwned::to_owned));
    let log: Value =
        serde_json::from_str(&machine.place.read(&format!("work/{}", uploaded.unwrap()))).unwrap();
    Schema::of_data("sarif-2.1.0.schema.json").check(&log);
    assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(1));
    // With all well nothing fails.
    machine
        .place
        .write("work/targets.txt", server.address.to_string());
    for run in machine.github_job(job) {
        assert_eq!(run.status, Some(0), "{run}");
    }
    // A list that is lost fails the steps, and leaves nothing to be uploaded as good.
    fs::remove_file(machine.file("work/targets.txt")).unwrap();
    let statuses: Vec<_> = machine
        .github_job(job)
        .iter()
        .map(|run| run.status)
        .collect();
    assert_eq!(statuses, [Some(0), Some(2), Some(1)]);
}

#[test]
fn the_action_takes_every_input() {
    let (server, root) = good_server();
    let machine = Machine::new(&server, &root).of_github();
    machine.place.write(
        "work/ci/domains.toml",
        format!("[[domain]]\nname = \"shop.test\"\nconnect = \"{CLOSED}\"\n"),
    );
    let run = |with: Value| machine.action(&with).pop().expect("a step ran");
    let address = server.address.to_string();
    let targets =
        serde_json::json!({ "targets": format!("  {address}\n\t{CLOSED} "), "format": "json" });
    let report = run(targets).exits(1).json();
    assert_eq!(report["endpoints"].as_array().map(Vec::len), Some(2));
    let config = run(serde_json::json!({ "config": "ci/domains.toml" })).exits(1);
    let (found, _) = annotations(&config.stdout);
    assert_eq!(found[0].properties["file"], "ci/domains.toml");
    let written = serde_json::json!({ "targets": address, "format": "junit", "output": "certd.xml", "wait": "1s", "strict": "false" });
    assert_eq!(run(written).exits(0).stdout, "");
    check_junit(&machine.place.read("work/certd.xml"));
    // What would be an option, or a command, is a target that cannot be used; of several, each is.
    for (evil, status) in [
        ("--version", 2),
        ("$(touch${IFS}evil)", 2),
        ("`touch evil`", 1),
        ("; touch evil", 1),
    ] {
        run(serde_json::json!({ "targets": evil })).exits(status);
    }
    assert!(!machine.file("work/evil").exists());
}

#[test]
fn the_action_builds_certd_where_there_is_none() {
    let (server, root) = good_server();
    let machine = Machine::without_certd(&root).of_github();
    // Building takes minutes: this cargo looks whether it was asked in the right way, and copies.
    let cargo = format!(
        "#!/bin/bash\nset -e\nprintf '%s\\n' \"$@\" >\"$RUNNER_TEMP/asked\"\n\
         [ \"${{!#}}\" = \"$RUNNER_TEMP/certd\" ] && mkdir -p \"${{!#}}/release\"\n\
         ln -s {} \"${{!#}}/release/certd\"\n",
        env!("CARGO_BIN_EXE_certd")
    );
    machine.place.write("bin/cargo", cargo);
    fs::set_permissions(machine.file("bin/cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let with = serde_json::json!({ "targets": server.address.to_string() });
    let runs = machine.action(&with);
    for run in &runs {
        assert_eq!(run.status, Some(0), "{run}");
    }
    assert_eq!(
        runs[1].stdout,
        "certd verify: 1 good, 0 with warnings, 0 failed\n"
    );
    let asked = machine.place.read("temp/asked");
    let manifest = asked
        .lines()
        .skip_while(|word| *word != "--manifest-path")
        .nth(1);
    assert!(Path::new(manifest.unwrap()).exists(), "{asked}");
    for word in ["build", "--release", "--locked", "--no-default-features"] {
        assert!(asked.lines().any(|asked| asked == word), "{asked}");
    }
}

#[test]
fn the_gitlab_jobs_leave_the_reports_that_they_name() {
    let (server, root) = good_server();
    let machine = Machine::new(&server, &root).of_gitlab();
    let jobs = yaml(GITLAB);
    let run = |job: &str| {
        let lines = jobs[job]["script"].as_array().expect("a script").iter();
        let lines: Vec<&str> = lines.map(|line| line.as_str().expect("a line")).collect();
        machine.bash(
            &["-e", "-o", "pipefail"],
            &lines.join("\n"),
            &BTreeMap::new(),
        )
    };
    let report = |job: &str, kind: &str| {
        let name = jobs[job]["artifacts"]["reports"][kind]
            .as_str()
            .expect("a file");
        machine.place.read(&format!("work/{name}"))
    };
    let judged = run("certificates").exits(1);
    assert_eq!(
        (judged.stdout, judged.stderr),
        (String::new(), String::new())
    );
    let tests = report("certificates", "junit");
    check_junit(&tests);
    assert!(tests.contains("tests=\"2\" failures=\"1\""), "{tests}");
    assert!(tests.contains("asked for in targets.txt:3"), "{tests}");
    run("certificate-metrics").exits(0);
    let samples = samples(&report("certificate-metrics", "metrics"));
    let successes: Vec<f64> = samples
        .iter()
        .filter(|sample| sample.name == "certd_verify_success")
        .map(|sample| sample.value)
        .collect();
    assert_eq!(successes, [0.0, 1.0]);
    machine
        .place
        .write("work/targets.txt", server.address.to_string());
    run("certificates").exits(0);
    fs::remove_file(machine.file("work/targets.txt")).unwrap();
    run("certificates").exits(2);
    run("certificate-metrics").exits(1);
}
