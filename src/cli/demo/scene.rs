//! The host that the demo is played on: one directory, and servers on loopback.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstyle::Style;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::error::{DemoError, MOST_SOCKET};
use super::{Rubbish, container};
use crate::chain::{Chain, Fingerprint};
use crate::cli::args::Demo;
use crate::cli::{crypto_provider, now};
use crate::config::{Environment, defaults};
use crate::net::tls::Observer;
use crate::report::demo::{Addresses, Edit, EditKind};
use crate::store::files::{Access, Entry, Root};
use crate::target::container::Engine;
use crate::verify::proof::{Wanted, wait_for};
use certd_sandbox::acme::{self, Ca};
use certd_sandbox::dns::{self, Record, Zone};
use certd_sandbox::web::{self, Site, Web};
use certd_sandbox::{Clock, docker};

/// Everything that runs, stopped and removed on drop
///
/// The fields are dropped in this order: the servers before the files that they use.
pub(super) struct Scene {
    nginx: Nginx,
    ca: Ca,
    dns: dns::Server,
    zone: Zone,
    sites: Vec<Site>,
    calendar: Calendar,
    directory: Directory,
}

/// The time on this host: the story begins two months ago, and ends today
///
/// Certificates that are renewed in its last act are therefore good for whoever looks at them
/// afterwards.
#[derive(Clone)]
struct Calendar(Arc<AtomicBool>);

impl Calendar {
    fn now(&self) -> Timestamp {
        let today = now();
        match self.0.load(Ordering::Relaxed) {
            true => today,
            false => today.saturating_sub(BEFORE).unwrap_or(today),
        }
    }
}

/// What serves the sites
enum Nginx {
    /// A web server of the sandbox behind a Docker API of the sandbox
    Sandbox { web: Web, engine: docker::Engine },
    /// The real thing
    Container {
        container: container::Container,
        docker: String,
    },
}

/// Where the files are
struct Directory {
    path: PathBuf,
    /// Whether it is there afterwards
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Kept,
    Removed,
}

impl Directory {
    fn open(wanted: Option<&Path>, rubbish: &Rubbish) -> Result<Self, DemoError> {
        let directory = match wanted {
            Some(path) => Self {
                path: new_or_empty(path)?,
                end: End::Kept,
            },
            None => Self {
                path: rubbish.take(temporary()?),
                end: End::Removed,
            },
        };
        let length = directory.path.join(SOCKET).as_os_str().len();
        match length > MOST_SOCKET {
            true => Err(DemoError::TooDeep {
                path: directory.path.join(SOCKET),
                length,
            }),
            false => Ok(directory),
        }
    }
}

fn temporary() -> Result<TempDir, DemoError> {
    let made = tempfile::Builder::new()
        .prefix("certd-demo-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir();
    made.map_err(|source| DemoError::Directory {
        path: std::env::temp_dir(),
        source,
    })
}

fn new_or_empty(path: &Path) -> Result<PathBuf, DemoError> {
    let failed = |source| DemoError::Directory {
        path: path.to_owned(),
        source,
    };
    if path.exists() && !path.is_dir() {
        return Err(DemoError::NotADirectory {
            path: path.to_owned(),
        });
    }
    fs::create_dir_all(path).map_err(failed)?;
    let path = fs::canonicalize(path).map_err(failed)?;
    match fs::read_dir(&path).map_err(failed)?.next() {
        Some(_) => Err(DemoError::NotEmpty { path }),
        None => Ok(path),
    }
}

impl Scene {
    /// Starts everything and writes domains.toml
    pub(super) async fn set(
        args: &Demo,
        environment: &Environment,
        rubbish: &Rubbish,
    ) -> Result<Self, DemoError> {
        let directory = Directory::open(args.dir.as_deref(), rubbish)?;
        let root = directory.path.as_path();
        let files = Root::new(root.to_owned());
        for name in [WEBROOT, STORAGE, NGINX, SITES] {
            files.create_directory(&root.join(name), Entry::Everyone)?;
        }
        write_sites(root, &[])?;
        let nginx = match &args.docker {
            None => sandbox(root).await?,
            Some(image) => real(root, image, environment).await?,
        };
        let zone = Zone::new();
        for name in [SHOP, "www.rare-books.test"] {
            zone.add(name, Record::A(Ipv4Addr::LOCALHOST));
        }
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let dns = dns::Server::start(anywhere, zone.clone()).await?;
        let (http, https) = nginx.addresses();
        let calendar = Calendar(Arc::new(AtomicBool::new(false)));
        let clock = calendar.clone();
        let clock = Clock::new(move || clock.now());
        let mut options = acme::Options::new(clock, dns.address(), http.port());
        options.https_port = https.port();
        let ca = Ca::start(options).await?;
        let scene = Self {
            nginx,
            ca,
            dns,
            zone,
            sites: Vec::new(),
            calendar,
            directory,
        };
        scene.ca.tell_time(Some(scene.now()));
        scene.write("root.pem", &scene.ca.root_pem())?;
        scene.write("domains.toml", &scene.domains_toml())?;
        Ok(scene)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory.path
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.directory().join("domains.toml")
    }

    /// The time on this host
    pub(super) fn now(&self) -> Timestamp {
        self.calendar.now()
    }

    /// Two months go by
    pub(super) fn let_time_pass(&self) {
        self.calendar.0.store(true, Ordering::Relaxed);
        self.ca.tell_time(None);
    }

    /// Writes nginx's configuration, which serves nothing else until nginx is told
    pub(super) fn edit(
        &mut self,
        sites: &[Site],
        kind: EditKind,
    ) -> Result<Option<Edit>, DemoError> {
        let before = web::files(&self.sites);
        let after = web::files(sites);
        write_sites(self.directory(), sites)?;
        self.sites = sites.to_vec();
        Ok(difference(&before, &after, kind))
    }

    /// What an operator does after an edit: `nginx -s reload`, and a moment's patience until
    /// `name` is served with the certificate of `lineage`
    pub(super) async fn reload(&self, name: &str, lineage: &str) -> Result<(), DemoError> {
        match &self.nginx {
            Nginx::Sandbox { web, .. } => {
                // A configuration that nginx refuses stays as it was served.
                let _ = web.reload();
            }
            Nginx::Container { container, .. } => container.reload().await?,
        }
        let live = self.directory().join(STORAGE).join("live").join(lineage);
        let Some(wanted) = leaf_of(&live.join("fullchain.pem")) else {
            return Ok(());
        };
        let observer = Observer::new(crypto_provider(), PATIENCE);
        let (wanted, (_, https)) = (Wanted::only(wanted), self.nginx.addresses());
        // What came of it is for the next command to say.
        let _ = wait_for(&observer, name, https, &wanted, PATIENCE).await;
        Ok(())
    }

    /// Gives every name below the shop's an address, the messenger's among them
    pub(super) fn add_records(&self) {
        let everything = format!("*.{SHOP}");
        self.zone.set(&everything, [Record::A(Ipv4Addr::LOCALHOST)]);
    }

    pub(super) fn addresses(&self) -> Addresses {
        let (http, https) = self.nginx.addresses();
        let (_, docker) = self.nginx.container();
        Addresses {
            directory: self.ca.directory(),
            dns: self.dns.address(),
            http,
            https,
            docker,
        }
    }

    pub(super) fn introduce(&self, out: &mut impl Write) -> io::Result<()> {
        let parts = match &self.nginx {
            Nginx::Sandbox { .. } => "CA, DNS, nginx and Docker are",
            Nginx::Container { .. } => "nginx is real, CA and DNS are",
        };
        writeln!(
            out,
            "A host with two domains. {parts} simulated, on loopback."
        )?;
        if self.directory.end == End::Kept {
            writeln!(out, "{DIM}{}{DIM:#}", self.configuration().display())?;
        }
        Ok(())
    }

    /// What there is to say of the files when all went well
    pub(super) const fn afterwards(&self) -> &'static str {
        match self.directory.end {
            End::Kept => "",
            End::Removed => "; --serve keeps it running, --dir DIR keeps its files",
        }
    }

    /// Says what a person can try while everything runs
    pub(super) fn invite(&self, out: &mut impl Write) -> io::Result<()> {
        let at = self.addresses();
        let (ca, port) = (&at.directory, at.https.port());
        writeln!(out, "\n{BOLD}Running until Ctrl-C{BOLD:#}")?;
        writeln!(out, "  directory  {ca}")?;
        writeln!(out, "  DNS        {}, *.{SHOP} is loopback", at.dns)?;
        writeln!(
            out,
            "  sites      http://{} and https://{}",
            at.http, at.https
        )?;
        writeln!(out, "\nTo try in another terminal:")?;
        writeln!(
            out,
            "  cd {}",
            quoted(&self.directory().display().to_string())
        )?;
        // root takes none from the directory that it happens to be in.
        writeln!(out, "  export CERTD_CONFIG=domains.toml")?;
        let certd = std::env::current_exe();
        let certd = certd.map_or_else(|_| "certd".to_owned(), |path| path.display().to_string());
        let certd = quoted(&certd);
        writeln!(out, "  {certd} status")?;
        writeln!(out, "  {certd} obtain --all --force")?;
        writeln!(out, "  curl -sS --cacert root.pem {ca}")?;
        writeln!(
            out,
            "  curl -sS --cacert root.pem --resolve {SHOP}:{port}:127.0.0.1 https://{SHOP}:{port}/"
        )?;
        writeln!(
            out,
            "  LEGO_CA_CERTIFICATES=root.pem lego --server {ca} --path lego --accept-tos \\\n    --email you@example.com --domains blog.{SHOP} --http --http.webroot {WEBROOT} run"
        )?;
        writeln!(
            out,
            "\nOr make the mistake yourself: edit nginx/sites/messenger.{SHOP}.conf, and reload with"
        )?;
        match &self.nginx {
            Nginx::Sandbox { .. } => writeln!(
                out,
                "  curl -sS -X POST --unix-socket {SOCKET} 'http://docker/containers/{CONTAINER}/kill?signal=HUP'"
            )?,
            Nginx::Container { container, .. } => {
                writeln!(out, "  docker exec {} nginx -s reload", container.name())?;
            }
        }
        writeln!(out, "  {certd} verify")
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.directory().join(name);
        let files = Root::new(self.directory().to_owned());
        Ok(files.write(&path, text.as_bytes(), Access::Everyone)?)
    }

    fn domains_toml(&self) -> String {
        let (http, https) = self.nginx.addresses();
        let http_port = http.port();
        let (port, dns, directory) = (https.port(), self.dns.address(), self.ca.directory());
        let (container, docker) = self.nginx.container();
        // A path may hold anything; a string of JSON is one of TOML.
        let docker = serde_json::Value::from(docker);
        format!(
            r#"# Written by `certd demo`. Everything here is on loopback and ends with the demo.
email = "admin@example.com"
terms_of_service_agreed = true
issuer = "sandbox"
webroot = "{WEBROOT}"
storage = "{STORAGE}"
state = "state"

[issuers.sandbox]
directory = "{directory}"
trust = "root.pem"

[dns]
servers = ["{dns}"]

[preflight]
http_port = {http_port}
https_port = {port}

[nginx]
container = "{container}"
docker = {docker}

[verify]
trust = ["root.pem"]

[[domain]]
name = "rare-books.test"
aliases = ["www.rare-books.test"]
ports = [{port}]

[[domain]]
name = "messenger.rare-books.test"
ports = [{port}]
"#
        )
    }
}

impl Nginx {
    /// Where it answers HTTP and HTTPS
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        match self {
            Self::Sandbox { web, .. } => (web.http(), web.https()),
            Self::Container { container, .. } => (container.http(), container.https()),
        }
    }

    /// Name of the container, and URL of its engine
    fn container(&self) -> (&str, String) {
        match self {
            Self::Sandbox { engine, .. } => {
                (CONTAINER, format!("unix://{}", engine.socket().display()))
            }
            Self::Container { container, docker } => (container.name(), docker.clone()),
        }
    }
}

async fn sandbox(root: &Path) -> Result<Nginx, DemoError> {
    let (webroot, storage) = (root.join(WEBROOT), root.join(STORAGE));
    let mut container = docker::Container::nginx(CONTAINER, &storage, &webroot);
    container.mounts.push(docker::Mount {
        source: root.join(NGINX),
        destination: web::CONFIGURATION.into(),
    });
    let options = web::Options {
        configuration: root.join(NGINX),
        webroot,
        storage,
    };
    let web = Web::start(options).await?;
    let socket = root.join(SOCKET);
    let engine = docker::Engine::start(&socket, container, web.clone()).await?;
    Ok(Nginx::Sandbox { web, engine })
}

async fn real(root: &Path, image: &str, environment: &Environment) -> Result<Nginx, DemoError> {
    let docker = environment.docker_host.clone();
    let docker = docker.unwrap_or_else(|| defaults::DOCKER.to_owned());
    if !docker.starts_with("unix://") {
        // It would publish its ports on a loopback that is not ours.
        return Err(DemoError::FarEngine { url: docker });
    }
    Engine::at(&docker, PATIENCE).await?.ping().await?;
    let options = container::Options {
        docker: docker.clone(),
        image: image.to_owned(),
        configuration: root.join(NGINX),
        storage: root.join(STORAGE),
        webroot: root.join(WEBROOT),
    };
    Ok(Nginx::Container {
        container: container::Container::start(&options).await?,
        docker,
    })
}

/// A word as a shell reads it back
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Fingerprint of the leaf in a file of certificates
fn leaf_of(path: &Path) -> Option<Fingerprint> {
    let chain = Chain::from_pem(&fs::read(path).ok()?).ok()?;
    Some(chain.leaf().fingerprint)
}

/// Writes the files of nginx's configuration
fn write_sites(root: &Path, sites: &[Site]) -> Result<(), DemoError> {
    let path = root.join(NGINX);
    web::write(&path, sites).map_err(|source| DemoError::Directory { path, source })
}

/// The first line that differs in a file that was there before
fn difference(
    before: &[(String, String)],
    after: &[(String, String)],
    kind: EditKind,
) -> Option<Edit> {
    before.iter().find_map(|(name, old)| {
        let (_, new) = after.iter().find(|(other, _)| other == name)?;
        let mut lines = old.lines().zip(new.lines()).enumerate();
        let (number, (old, new)) = lines.find(|(_, (old, new))| old != new)?;
        Some(Edit {
            file: format!("{NGINX}/{name}"),
            line: number + 1,
            before: old.trim().to_owned(),
            after: new.trim().to_owned(),
            kind,
        })
    })
}

/// What lies between the first acts and the last, which comes two minutes before the window of a
/// certificate of 90 days ends: 60.9 days after its date, an hour before it was issued
const BEFORE: SignedDuration = SignedDuration::from_mins((60 * 24 + 20) * 60 + 34);
const WEBROOT: &str = "webroot";
const STORAGE: &str = "letsencrypt";
const NGINX: &str = "nginx";
const SOCKET: &str = "docker.sock";
const SITES: &str = "nginx/sites";
/// What most people call it
const CONTAINER: &str = "nginx_container";
const SHOP: &str = "rare-books.test";
/// Time that nginx may take to reload
const PATIENCE: Duration = Duration::from_secs(5);
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
