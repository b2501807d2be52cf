//! A directory for one certd, and certd in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ca::Ca;
use super::dns::Dns;
use super::nginx::Nginx;
use super::process::{self, POLL};

/// A temporary directory with webroot, storage, state, conf and domains.toml
#[derive(Debug)]
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    /// Makes the directories, all empty
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["webroot", "storage", "state", "conf"] {
            std::fs::create_dir(dir.path().join(name)).expect("directory can be made");
        }
        Self { dir }
    }

    /// The directory that holds all the others
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What `webroot` is set to
    pub(crate) fn webroot(&self) -> PathBuf {
        self.path().join("webroot")
    }

    /// What `storage` is set to
    pub(crate) fn storage(&self) -> PathBuf {
        self.path().join("storage")
    }

    /// What `state` is set to
    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The directory for nginx.conf
    pub(crate) fn conf(&self) -> PathBuf {
        self.path().join("conf")
    }

    /// A file of the live generation of `lineage`
    pub(crate) fn live(&self, lineage: &str, file: &str) -> PathBuf {
        self.storage().join("live").join(lineage).join(file)
    }

    /// Gives a file, or a directory with all that is in it, to another owner
    #[track_caller]
    pub(crate) fn chown(&self, path: &str, owner: &str) {
        let path = self.path().join(path);
        process::stdout_of(Command::new("chown").args(["-R", owner]).arg(path));
    }

    /// Writes domains.toml
    pub(crate) fn write_config(&self, config: &Config) {
        let Config {
            top,
            preflight,
            tables,
            dns,
        } = config;
        let preflight: String = preflight
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        self.write_text(&format!(
            "{top}\n[dns]\nservers = [\"{dns}\"]\n\n[preflight]\n{preflight}\n{tables}"
        ));
    }

    /// Writes domains.toml as it stands
    pub(crate) fn write_text(&self, config: &str) {
        std::fs::write(self.path().join("domains.toml"), config).expect("domains.toml");
    }

    /// Runs certd to its end, or fails after two minutes
    #[track_caller]
    pub(crate) fn certd(&self, arguments: &[&str]) -> Output {
        self.start_certd(arguments).wait()
    }

    /// Starts certd in this directory, with an environment of its own
    #[track_caller]
    pub(crate) fn start_certd(&self, arguments: &[&str]) -> Running {
        self.start_under(&[], arguments)
    }

    /// The same, as the last arguments of another program such as `setpriv`
    #[track_caller]
    pub(crate) fn start_under(&self, wrapper: &[&str], arguments: &[&str]) -> Running {
        let certd = env!("CARGO_BIN_EXE_certd");
        let program = [wrapper, &[certd], arguments].concat();
        let outputs = tempfile::tempdir().expect("temporary directory");
        let file = |name| File::create(outputs.path().join(name)).expect("output file");
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        // Root does not look in the current directory unasked.
        if self.path().join("domains.toml").exists() {
            command.env("CERTD_CONFIG", "domains.toml");
        }
        for kept in ["PATH", "DOCKER_HOST", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        let started = Instant::now();
        let child = command.spawn().expect("certd can be started");
        Running {
            child,
            started,
            outputs,
        }
    }
}

/// A certd that is running, killed on drop
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    started: Instant,
    outputs: TempDir,
}

impl Running {
    /// Its process identifier
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        process::stdout_of(Command::new("kill").args(["-s", signal, &pid]));
    }

    /// Everything written to stderr so far
    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Waits for the end, up to two minutes
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("certd can be waited for") {
                break status;
            }
            if self.started.elapsed() > DEADLINE {
                panic!("certd still runs after {DEADLINE:?}:\n{}", self.stderr());
            }
            thread::sleep(POLL);
        };
        Output {
            status: status.code(),
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
            elapsed: self.started.elapsed(),
        }
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.outputs.path().join(name)).expect("output file");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where `wait` has seen the end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run of certd left
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The exit status, `None` after a signal
    pub(crate) status: Option<i32>,
    /// What it wrote to stdout
    pub(crate) stdout: String,
    /// What it wrote to stderr
    pub(crate) stderr: String,
    /// From the start to the end of the process
    pub(crate) elapsed: Duration,
}

impl Output {
    /// The same output, after a check of its status that shows both streams when it fails
    #[track_caller]
    pub(crate) fn expect_status(self, expected: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(
            self.status,
            Some(expected),
            "\n--- stdout\n{stdout}--- stderr\n{stderr}"
        );
        self
    }
}

/// A domains.toml in the making: its keys, and the tables after them
#[derive(Clone, Debug)]
pub(crate) struct Config {
    top: String,
    dns: SocketAddr,
    preflight: BTreeMap<&'static str, String>,
    tables: String,
}

/// The directories that a domains.toml names
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    /// `webroot`
    pub(crate) webroot: PathBuf,
    /// `storage`
    pub(crate) storage: PathBuf,
    /// `state`
    pub(crate) state: PathBuf,
}

impl Directories {
    /// Those of `world`
    pub(crate) fn of(world: &World) -> Self {
        Self {
            webroot: world.webroot(),
            storage: world.storage(),
            state: world.state(),
        }
    }
}

impl Config {
    /// Everything but targets and domains: issuer `test-ca`, the directories of `world`, DNS, trust
    pub(crate) fn new(world: &World, dns: &Dns, ca: &Ca) -> Self {
        Self::in_directories(&Directories::of(world), dns, ca)
    }

    /// The same with other directories
    pub(crate) fn in_directories(directories: &Directories, dns: &Dns, ca: &Ca) -> Self {
        let Directories {
            webroot,
            storage,
            state,
        } = directories;
        let top = format!(
            r#"email = "admin@example.com"
issuer = "test-ca"
webroot = {webroot:?}
storage = {storage:?}
state = {state:?}
"#
        );
        let tables = format!(
            r#"[verify]
trust = [{:?}]
"#,
            ca.root_path()
        );
        let empty = Self {
            top,
            dns: dns.address(),
            preflight: BTreeMap::new(),
            tables,
        };
        empty.issuer("test-ca", &ca.directory_url(), &ca.trust_pem_path())
    }

    /// Agrees to the terms of service
    pub(crate) fn agreed(self) -> Self {
        self.key("terms_of_service_agreed = true")
    }

    /// Adds `[issuers.NAME]`; [`Self::lines`] adds to it
    pub(crate) fn issuer(self, name: &str, directory: &str, trust: &Path) -> Self {
        self.lines(&format!(
            "\n[issuers.{name}]\ndirectory = {directory:?}\ntrust = {trust:?}"
        ))
    }

    /// Adds a line above the tables
    pub(crate) fn key(mut self, line: &str) -> Self {
        let _ = writeln!(self.top, "{line}");
        self
    }

    /// Adds lines below the tables so far, where they belong to the last one
    pub(crate) fn lines(mut self, lines: &str) -> Self {
        let _ = writeln!(self.tables, "{lines}");
        self
    }

    /// Adds `[nginx]` with the container's name; [`Self::lines`] adds to it
    pub(crate) fn nginx(self, nginx: &Nginx) -> Self {
        self.http_port(nginx)
            .lines(&format!("\n[nginx]\ncontainer = {:?}", nginx.name()))
    }

    /// Lets certd ask another DNS server than the CA does
    pub(crate) fn dns(self, dns: SocketAddr) -> Self {
        Self { dns, ..self }
    }

    /// Says where the CA's port 80 is
    pub(crate) fn http_port(mut self, nginx: &Nginx) -> Self {
        let port = nginx.http_port().to_string();
        self.preflight.insert("http_port", port);
        self
    }

    /// Lets nothing that shows before an order stop it: the CA itself is to say no
    pub(crate) fn unchecked(mut self) -> Self {
        self.preflight.insert("require", "[]".to_owned());
        self
    }

    /// Adds a `[[domain]]`; [`Self::lines`] adds to it
    pub(crate) fn domain(self, name: &str, aliases: &[&str]) -> Self {
        let table = format!("\n[[domain]]\nname = {name:?}\naliases = {aliases:?}");
        self.lines(&table)
    }
}

/// Longest run of certd that a test waits for
const DEADLINE: Duration = Duration::from_secs(120);

/// The names of the entries of a directory, sorted; empty where there is none
pub(crate) fn entries(dir: impl AsRef<Path>) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let name = |entry: std::fs::DirEntry| entry.file_name();
    let mut names = entries
        .filter_map(Result::ok)
        .map(name)
        .map(|name| OsStr::to_string_lossy(&name).into_owned())
        .collect::<Vec<_>>();
    names.sort();
    names
}
