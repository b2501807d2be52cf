//! certbot and lego, unmodified, and the place that they are at work in.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use certd_sandbox::dns::{self, Record, Zone};
use certd_sandbox::web::{self, Site, Web};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::ca::Options;
use super::process;
use super::sandbox::{Sandbox, runtime};

/// A CA, a web server that answers its challenges, and directories for a client
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) ca: Sandbox,
    web: Web,
    _dns: dns::Server,
    _runtime: Runtime,
    dir: TempDir,
}

impl Place {
    /// All names below `test` lead there; the CA has options that `change` has seen
    pub(crate) fn new(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        for name in ["webroot", "storage"] {
            std::fs::create_dir(dir.path().join(name)).expect("directory can be made");
        }
        let zone = Zone::new();
        zone.set("*.test", [Record::A(Ipv4Addr::LOCALHOST)]);
        let directories = web::Options {
            configuration: dir.path().join("nginx"),
            webroot: dir.path().join("webroot"),
            storage: dir.path().join("storage"),
        };
        let runtime = runtime();
        let (dns, web) = runtime.block_on(async {
            let dns = dns::Server::start((Ipv4Addr::LOCALHOST, 0).into(), zone).await;
            let web = Web::start(directories).await;
            (
                dns.expect("a DNS server starts"),
                web.expect("a web server starts"),
            )
        });
        let mut options = Options::new(web.http().port());
        options.nonce_reject = 0;
        change(&mut options);
        Self {
            ca: Sandbox::start(dns.address(), options),
            web,
            _dns: dns,
            _runtime: runtime,
            dir,
        }
    }

    /// Serves these names with what is live of `lineage`; gives the address
    #[track_caller]
    pub(crate) fn serve(&self, lineage: &str, names: &[&str]) -> String {
        let site = Site {
            names: names.iter().map(ToString::to_string).collect(),
            lineage: lineage.to_owned(),
        };
        self.web.configure(&[site]).expect("files can be written");
        self.web.reload().expect("a usable pair");
        self.web.https().to_string()
    }

    /// The chain of `lineage`, where the web server finds it
    pub(crate) fn chain(&self, lineage: &str) -> PathBuf {
        self.live(lineage).join("fullchain.pem")
    }

    fn live(&self, lineage: &str) -> PathBuf {
        self.path("storage").join("live").join(lineage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program with nothing in its environment that could lead it elsewhere
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env_clear();
        command.env("HOME", self.dir.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

/// How certbot registers
pub(crate) const REGISTER: [&str; 4] = ["register", "--agree-tos", "--email", "admin@example.com"];

/// certbot, whose configuration is the storage of the place
#[derive(Debug)]
pub(crate) struct Certbot<'p> {
    place: &'p Place,
    program: PathBuf,
}

impl<'p> Certbot<'p> {
    /// The one that tests/run.sh has installed
    pub(crate) fn new(place: &'p Place) -> Self {
        let program = std::env::var_os("CERTD_TEST_CERTBOT")
            .expect("CERTD_TEST_CERTBOT names certbot, which tests/run.sh installs");
        Self {
            place,
            program: program.into(),
        }
    }

    /// Registers with the CA
    #[track_caller]
    pub(crate) fn register(&self, arguments: &[&str]) {
        self.expect(&[&REGISTER, arguments].concat());
    }

    /// Obtains one certificate for these names by the webroot, and gives what certbot said
    #[track_caller]
    pub(crate) fn obtain(&self, names: &[&str], arguments: &[&str]) -> String {
        let webroot = self.place.path("webroot").display().to_string();
        let mut all = vec!["certonly", "--webroot", "--webroot-path", &webroot];
        // Without its name certbot would not let a lineage have another type of key.
        all.extend(["--cert-name", names[0]]);
        all.extend(names.iter().flat_map(|name| ["--domain", name]));
        all.extend(arguments);
        self.expect(&all)
    }

    /// Runs a command of certbot, which must succeed, and gives its stdout
    #[track_caller]
    pub(crate) fn expect(&self, arguments: &[&str]) -> String {
        must_succeed(arguments, &self.run(arguments))
    }

    /// Runs a command of certbot
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let Place { ca, .. } = self.place;
        let mut command = self.place.command(&self.program);
        command
            .args(["--non-interactive", "--server", &ca.directory_url()])
            .arg("--config-dir")
            .arg(self.place.path("storage"))
            .arg("--work-dir")
            .arg(self.place.path("work"))
            .arg("--logs-dir")
            .arg(self.place.path("logs"))
            .args(arguments)
            .env("REQUESTS_CA_BUNDLE", ca.trust_pem_path());
        process::run(&mut command)
    }

    /// The private key of the only account, as a JWK
    #[track_caller]
    pub(crate) fn account_key(&self) -> String {
        let accounts = self.place.path("storage").join("accounts");
        let key = ["-name", "private_key.json", "-exec", "cat", "{}", ";"];
        process::stdout_of(Command::new("find").arg(accounts).args(key))
    }

    /// A directory with all that certbot knows, to be used in place of the one it is in
    #[track_caller]
    pub(crate) fn copy_of_configuration(&self) -> String {
        let copy = self.place.path("copy");
        process::stdout_of(
            Command::new("cp")
                .arg("-a")
                .arg(self.place.path("storage"))
                .arg(&copy),
        );
        copy.display().to_string()
    }
}

/// lego, whose files are copied to where the web server looks for them
#[derive(Debug)]
pub(crate) struct Lego<'p> {
    place: &'p Place,
}

impl<'p> Lego<'p> {
    /// The one in PATH
    pub(crate) fn new(place: &'p Place) -> Self {
        Self { place }
    }

    /// Runs a command of lego for these names, which must succeed, and installs what it wrote
    #[track_caller]
    pub(crate) fn expect(&self, options: &[&str], names: &[&str], command: &[&str]) {
        let output = self.run(options, names, command);
        must_succeed(&[options, command].concat(), &output);
        if command[0] != "revoke" {
            self.install(names[0]);
        }
    }

    /// Runs a command of lego
    #[track_caller]
    pub(crate) fn run(&self, options: &[&str], names: &[&str], command: &[&str]) -> Output {
        let Place { ca, .. } = self.place;
        let mut lego = self.place.command(Path::new("lego"));
        lego.args(["--accept-tos", "--email", "admin@example.com", "--http"])
            .args(["--server", &ca.directory_url(), "--path"])
            .arg(self.place.path("lego"))
            .arg("--http.webroot")
            .arg(self.place.path("webroot"))
            .args(names.iter().flat_map(|name| ["--domains", name]))
            .args(options)
            .args(command)
            .env("LEGO_CA_CERTIFICATES", ca.trust_pem_path());
        process::run(&mut lego)
    }

    fn install(&self, name: &str) {
        let live = self.place.live(name);
        std::fs::create_dir_all(&live).expect("directory can be made");
        for (kind, file) in [("crt", "fullchain.pem"), ("key", "privkey.pem")] {
            let from = format!("lego/certificates/{name}.{kind}");
            std::fs::copy(self.place.path(&from), live.join(file)).expect("a file of lego");
        }
    }
}

#[track_caller]
fn must_succeed(arguments: &[&str], output: &Output) -> String {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n--- stdout\n{stdout}--- stderr\n{stderr}",
        output.status
    );
    stdout.into_owned()
}
