//! certd's JSON report of `obtain`, `verify` and `check`.

use serde_json::Value;

use super::world::Output;

/// A run with `--format json`; a failed look into it shows the whole output
#[derive(Clone, Debug)]
pub(crate) struct Report {
    json: Value,
    output: Output,
}

/// One finding
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// What was seen
    pub(crate) evidence: String,
    /// What to do; empty without a cure
    pub(crate) cure: String,
}

impl Report {
    /// Reads the report on stdout
    #[track_caller]
    pub(crate) fn of(output: Output) -> Self {
        let Output { stdout, stderr, .. } = &output;
        let json = serde_json::from_str(stdout)
            .unwrap_or_else(|error| panic!("no JSON: {error}\n{stdout}\n{stderr}"));
        Self { json, output }
    }

    /// The same report, after a check of the exit status
    #[track_caller]
    pub(crate) fn expect_status(self, expected: i32) -> Self {
        self.output.clone().expect_status(expected);
        self
    }

    /// The same report, after checks of the exit status and of the outcome of `domain`
    #[track_caller]
    pub(crate) fn expect(self, status: i32, domain: &str, outcome: &str) -> Self {
        let report = self.expect_status(status);
        assert_eq!(report.outcome(domain), outcome, "{report}");
        report
    }

    /// How long the process ran
    pub(crate) fn elapsed(&self) -> std::time::Duration {
        self.output.elapsed
    }

    /// The whole report
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    /// HTTP requests sent to CAs
    #[track_caller]
    pub(crate) fn ca_requests(&self) -> u64 {
        let requests = self.json["ca_requests"].as_u64();
        requests.unwrap_or_else(|| panic!("no ca_requests: {self}"))
    }

    /// How the run ended for a domain
    #[track_caller]
    pub(crate) fn outcome(&self, domain: &str) -> &str {
        let outcome = self.domain(domain)["outcome"].as_str();
        outcome.unwrap_or_else(|| panic!("no outcome: {self}"))
    }

    /// The generation that the run was about
    #[track_caller]
    pub(crate) fn generation(&self, domain: &str) -> u64 {
        let generation = self.domain(domain)["generation"].as_u64();
        generation.unwrap_or_else(|| panic!("no generation: {self}"))
    }

    /// Codes of a domain's failures
    #[track_caller]
    pub(crate) fn failures(&self, domain: &str) -> Vec<&str> {
        codes(self.domain(domain), "failure")
    }

    /// Codes of a domain's warnings
    #[track_caller]
    pub(crate) fn warnings(&self, domain: &str) -> Vec<&str> {
        codes(self.domain(domain), "warning")
    }

    /// A finding of a domain
    #[track_caller]
    pub(crate) fn finding(&self, domain: &str, code: &str) -> Finding {
        self.find(&self.domain(domain)["findings"], code)
    }

    /// Names of a domain's stages, in order
    #[track_caller]
    pub(crate) fn stages(&self, domain: &str) -> Vec<&str> {
        let stages = self.domain(domain)["stages"].as_array();
        let stages = stages.unwrap_or_else(|| panic!("no stages: {self}"));
        stages
            .iter()
            .filter_map(|stage| stage["stage"].as_str())
            .collect()
    }

    /// Names of the stages of the only target, in order
    #[track_caller]
    pub(crate) fn target_stages(&self) -> Vec<&str> {
        let stages = self.json["targets"][0]["stages"].as_array();
        let stages = stages.unwrap_or_else(|| panic!("no target: {self}"));
        stages
            .iter()
            .filter_map(|stage| stage["stage"].as_str())
            .collect()
    }

    /// Codes of the failures at an endpoint, in a report of `verify`
    #[track_caller]
    pub(crate) fn endpoint_failures(&self, name: &str) -> Vec<&str> {
        codes(self.entry("endpoints", name), "failure")
    }

    /// A finding at an endpoint, in a report of `verify`
    #[track_caller]
    pub(crate) fn endpoint_finding(&self, name: &str, code: &str) -> Finding {
        self.find(&self.entry("endpoints", name)["findings"], code)
    }

    /// Whether an order for a domain should succeed, in a report of `check`
    #[track_caller]
    pub(crate) fn readiness(&self, domain: &str) -> &str {
        let readiness = self.domain(domain)["readiness"].as_str();
        readiness.unwrap_or_else(|| panic!("no readiness: {self}"))
    }

    /// Codes of the failures of a domain and its names, in a report of `check`
    #[track_caller]
    pub(crate) fn check_failures(&self, domain: &str) -> Vec<&str> {
        let all = checked(self.domain(domain));
        all.filter(|finding| finding["severity"] == "failure")
            .filter_map(|finding| finding["code"].as_str())
            .collect()
    }

    /// A finding of a domain or one of its names, in a report of `check`
    #[track_caller]
    pub(crate) fn check_finding(&self, domain: &str, code: &str) -> Finding {
        let mut all = checked(self.domain(domain));
        let found = all.find(|finding| finding["code"] == code);
        Finding::of(found.unwrap_or_else(|| panic!("no finding {code}: {self}")))
    }

    /// The entry of a domain
    #[track_caller]
    pub(crate) fn domain(&self, name: &str) -> &Value {
        self.entry("domains", name)
    }

    #[track_caller]
    fn entry(&self, list: &str, name: &str) -> &Value {
        let mut entries = self.json[list].as_array().into_iter().flatten();
        let found = entries.find(|entry| entry["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {list}: {self}"))
    }

    #[track_caller]
    fn find(&self, findings: &Value, code: &str) -> Finding {
        let mut all = findings.as_array().into_iter().flatten();
        let found = all
            .find(|finding| finding["code"] == code)
            .unwrap_or_else(|| panic!("no finding {code}: {self}"));
        Finding::of(found)
    }
}

impl Finding {
    fn of(finding: &Value) -> Self {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        Self {
            evidence: text("evidence"),
            cure: text("cure"),
        }
    }
}

/// What `check` found of a domain, and then of its names
fn checked(domain: &Value) -> impl Iterator<Item = &Value> {
    let entries = |value: &'static str| domain[value].as_array().into_iter().flatten();
    let groups = entries("groups").map(|group| &group["findings"]);
    let checks = entries("names").filter_map(|name| name["checks"].as_object());
    let lists = groups.chain(checks.flat_map(|checks| checks.values()));
    lists.filter_map(Value::as_array).flatten()
}

fn codes<'r>(entry: &'r Value, severity: &str) -> Vec<&'r str> {
    let findings = entry["findings"].as_array();
    findings
        .into_iter()
        .flatten()
        .filter(|finding| finding["severity"] == severity)
        .filter_map(|finding| finding["code"].as_str())
        .collect()
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Output { stdout, stderr, .. } = &self.output;
        write!(f, "\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }
}
