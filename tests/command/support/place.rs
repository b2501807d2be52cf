//! A directory with a configuration, and runs of certd in it.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use insta::Settings;
use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use super::Leaf;

/// A directory in which certd runs, with an empty `storage` and `webroot`
pub(crate) struct Place {
    root: PathBuf,
    _directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        // Lines are wrapped: a path must have the same length everywhere.
        let directory = tempfile::tempdir_in("/tmp").expect("/tmp is writable");
        let root = fs::canonicalize(directory.path()).expect("it is there");
        for below in ["storage", "webroot"] {
            fs::create_dir(root.join(below)).expect("it is writable");
        }
        Self {
            root,
            _directory: directory,
        }
    }

    /// A place with this `domains.toml`
    pub(crate) fn with(config: &str) -> Self {
        let place = Self::new();
        place.write("domains.toml", config);
        place
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Writes a file, its directories made where they are missing
    pub(crate) fn write(&self, below: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(below);
        let parent = path.parent().expect("it lies in the place");
        fs::create_dir_all(parent).expect("the place is writable");
        fs::write(path, bytes).expect("the place is writable");
    }

    /// Writes a file that its owner alone may read
    pub(crate) fn write_secret(&self, below: &str, bytes: impl AsRef<[u8]>) {
        use std::os::unix::fs::PermissionsExt;
        self.write(below, bytes);
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.path(below), mode).expect("the place is writable");
    }

    pub(crate) fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below))
            .unwrap_or_else(|error| panic!("cannot read {below}: {error}"))
    }

    /// The same; empty where there is no such file
    pub(crate) fn read_if_there(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap_or_default()
    }

    /// Puts a generation into the archive, as certd lays it out
    pub(crate) fn archive(&self, name: &str, generation: u32, leaf: &Leaf) {
        let directory = format!("storage/archive/{name}/{generation}");
        let chain = leaf.chain_pem();
        let end = "-----END CERTIFICATE-----\n";
        let first = chain.find(end).expect("a certificate") + end.len();
        self.write(&format!("{directory}/fullchain.pem"), &chain);
        self.write(&format!("{directory}/cert.pem"), &chain[..first]);
        self.write(&format!("{directory}/chain.pem"), &chain[first..]);
        self.write(&format!("{directory}/privkey.pem"), leaf.key_pem());
    }

    /// Makes a generation live
    pub(crate) fn go_live(&self, name: &str, generation: u32) {
        let live = self.path("storage/live");
        fs::create_dir_all(&live).expect("the place is writable");
        symlink(format!("../archive/{name}/{generation}"), live.join(name))
            .expect("nothing is live yet");
    }

    /// Every file below a directory with its bytes, and every symlink with its target
    pub(crate) fn tree(&self, below: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        walk(&self.path(below), &mut found);
        found.sort();
        found
    }

    /// certd with these arguments, its standard streams not set yet
    pub(crate) fn certd(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_certd"));
        command.args(arguments).env("PATH", search_path());
        // Root does not look in the current directory unasked.
        let looks_only = arguments
            .iter()
            .any(|word| ["verify", "why"].contains(word));
        if geteuid().is_root() && !looks_only && self.path("domains.toml").exists() {
            command.env("CERTD_CONFIG", "domains.toml");
        }
        command
    }

    /// The same, by a user to whom things can be forbidden: under root by `nobody`, to whom the
    /// place is given
    pub(crate) fn certd_without_rights(&self, arguments: &[&str]) -> Command {
        if !geteuid().is_root() {
            return self.certd(arguments);
        }
        let mut command = self.command(self.copy_for_nobody());
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        command
    }

    /// The same where these commands of a shell have changed what is mounted, and who may do what,
    /// for this run alone; `None` for whoever may not mount anything
    pub(crate) fn certd_without_rights_where(
        &self,
        changes: &str,
        arguments: &[&str],
    ) -> Option<Command> {
        if !geteuid().is_root() {
            return None;
        }
        let mut command = self.command("unshare");
        command
            .args(["--mount", "sh", "-ec"])
            .arg(format!(
                "{changes}\nexec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups \"$0\" \"$@\""
            ))
            .arg(self.copy_for_nobody())
            .args(arguments)
            .env("PATH", search_path());
        Some(command)
    }

    /// A program in this place, with nothing of the environment of the tests
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env_clear()
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// A copy of certd that `nobody` can run, in a place that is his
    fn copy_for_nobody(&self) -> PathBuf {
        // The build directory may be closed to others. Another process copies: a file that this
        // one has open for writing when another test forks cannot be run.
        let copy = self.path("certd");
        let mut cp = Command::new("cp");
        let copied = cp.arg(env!("CARGO_BIN_EXE_certd")).arg(&copy).status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "certd can be copied"
        );
        give(&self.root);
        copy
    }

    /// Runs certd to its end
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.certd(arguments))
    }

    /// What several runs show, one after the other, as on a terminal
    pub(crate) fn transcript(&self, runs: &[&[&str]]) -> String {
        runs.iter().fold(String::new(), |mut text, arguments| {
            let run = self.run(arguments);
            let _ = writeln!(text, "$ certd {}\n{run}", arguments.join(" "));
            text
        })
    }

    /// A text with the place's directory named, not shown: for snapshots of several places
    pub(crate) fn without_directory(&self, text: &str) -> String {
        text.replace(&*self.root.to_string_lossy(), "[DIR]")
    }

    /// Names in a snapshot for what differs from run to run
    pub(crate) fn filters(&self) -> Settings {
        let mut settings = Settings::clone_current();
        settings.set_omit_expression(true);
        settings.set_prepend_module_to_snapshot(true);
        settings.add_filter(&self.root.to_string_lossy(), "[DIR]");
        for (pattern, name) in [
            (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "[TIME]"),
            (r"\b\d{4}-\d\d-\d\d\b", "[DAY]"),
            (r"\d+ days", "[N] days"),
            (r"\d+ (s|min) ago", "[ELAPSED] ago"),
            (r"\d+% of its life", "[N]% of its life"),
            (r"(?m) +(<1 ms|\d+ ms|\d+\.\d\d s)$", " [ELAPSED]"),
            (r"in (<1 ms|\d+ ms|\d+\.\d\d s)", "in [ELAPSED]"),
            (r"(127\.0\.0\.\d+|\[::1\]|localhost):\d{4,5}\b", "$1:[PORT]"),
            (r"(show |\(|, )[0-9a-f]{8}\b", "${1}[FINGERPRINT]"),
        ] {
            settings.add_filter(pattern, name);
        }
        settings
    }
}

fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

fn walk(path: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    let kind = fs::symlink_metadata(path).expect("it is there");
    if kind.is_symlink() {
        let target = fs::read_link(path).expect("it is a symlink");
        found.push((
            path.to_owned(),
            target.to_string_lossy().into_owned().into_bytes(),
        ));
    } else if kind.is_dir() {
        found.push((path.to_owned(), Vec::new()));
        for entry in fs::read_dir(path).expect("it is readable") {
            walk(&entry.expect("it is readable").path(), found);
        }
    } else {
        found.push((path.to_owned(), fs::read(path).expect("it is readable")));
    }
}

/// A finished run
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().expect("certd can be started");
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// The run, whose exit status must be this one
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self}");
        self
    }

    /// stdout as JSON
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self
            .status
            .map_or_else(|| "by a signal".to_owned(), |status| status.to_string());
        writeln!(f, "exit {status}")?;
        if !self.stdout.is_empty() {
            write!(f, "--- stdout\n{}", self.stdout)?;
        }
        if !self.stderr.is_empty() {
            write!(f, "--- stderr\n{}", self.stderr)?;
        }
        Ok(())
    }
}

/// All findings of a report, of its domains and its endpoints
fn findings(report: &Value) -> impl Iterator<Item = &Value> {
    ["domains", "endpoints"]
        .into_iter()
        .filter_map(|key| report.get(key)?.as_array())
        .flatten()
        .filter_map(|part| part.get("findings")?.as_array())
        .flatten()
}

/// Codes of the findings of a report that are neither good nor mere notes, sorted
pub(crate) fn codes(report: &Value) -> Vec<&str> {
    let mut codes: Vec<&str> = findings(report)
        .filter(|finding| finding["severity"] == "failure" || finding["severity"] == "warning")
        .filter_map(|finding| finding["code"].as_str())
        .collect();
    codes.sort_unstable();
    codes
}

/// The first finding of a report with this code
#[track_caller]
pub(crate) fn finding<'r>(report: &'r Value, code: &str) -> &'r Value {
    findings(report)
        .find(|finding| finding["code"] == code)
        .unwrap_or_else(|| panic!("no {code} in {report:#}"))
}

/// The lines of a text that a terminal of 80 columns would break
pub(crate) fn over_80_columns(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.chars().count() > 80)
        .collect()
}

/// Gives a directory, with all that is in it, to `nobody`
fn give(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("it can be listed") {
            give(&entry.expect("an entry").path());
        }
    }
}

const NOBODY: u32 = 65534;
