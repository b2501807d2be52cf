//! The host that the demo is played on: one directory, and servers on loopback.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anstyle::Style;
use tempfile::TempDir;

use super::DemoError;
use crate::chain::{Chain, Fingerprint};
use crate::cli::args::Demo;
use crate::cli::{crypto_provider, now};
use crate::config::{Environment, defaults};
use crate::net::tls::Observer;
use crate::report::demo::{Addresses, Edit};
use crate::sandbox::acme::{self, Ca};
use crate::sandbox::dns::{self, Record, Zone};
use crate::sandbox::web::{self, Site, Web};
use crate::sandbox::{Clock, container, docker};
use crate::store::files::{self, Access, Entry};
use crate::verify::proof::{Wanted, wait_for};

/// Everything that runs, stopped and removed on drop
///
/// The fields are dropped in this order: the servers before the files that they use.
pub(super) struct Scene {
    nginx: Nginx,
    ca: Ca,
    dns: dns::Server,
    sites: Vec<Site>,
    directory: Directory,
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
enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn open(wanted: Option<&Path>) -> Result<Self, DemoError> {
        let Some(path) = wanted else {
            let made = tempfile::Builder::new().prefix("certd-demo-").tempdir();
            let failed = |source| DemoError::Directory {
                path: std::env::temp_dir(),
                source,
            };
            return made.map(Self::Temporary).map_err(failed);
        };
        let failed = |source| DemoError::Directory {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        if fs::read_dir(&path).map_err(failed)?.next().is_some() {
            return Err(DemoError::NotEmpty { path });
        }
        Ok(Self::Kept(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

impl Scene {
    /// Starts everything and writes domains.toml
    pub(super) async fn set(args: &Demo, environment: &Environment) -> Result<Self, DemoError> {
        let directory = Directory::open(args.dir.as_deref())?;
        let root = directory.path();
        for name in [WEBROOT, STORAGE, NGINX, SITES] {
            files::create_directory(&root.join(name), Entry::Everyone)?;
        }
        write_sites(root, &[])?;
        let nginx = match &args.docker {
            None => sandbox(root).await?,
            Some(image) => real(root, image, environment).await?,
        };
        let zone = Zone::new();
        for name in ["rare-books.test", "*.rare-books.test"] {
            zone.add(name, Record::A(Ipv4Addr::LOCALHOST));
        }
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let dns = dns::Server::start(anywhere, zone).await?;
        let (http, https) = nginx.addresses();
        let mut options = acme::Options::new(Clock::new(now), dns.address(), http.port());
        options.https_port = https.port();
        let ca = Ca::start(options).await?;
        let scene = Self {
            nginx,
            ca,
            dns,
            sites: Vec::new(),
            directory,
        };
        scene.write("root.pem", &scene.ca.root_pem())?;
        scene.write("domains.toml", &scene.domains_toml())?;
        Ok(scene)
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.directory().join("domains.toml")
    }

    /// Writes nginx's configuration, which serves nothing else until nginx is told
    pub(super) fn edit(&mut self, sites: &[Site]) -> Result<Option<Edit>, DemoError> {
        let before = web::files(&self.sites);
        let after = web::files(sites);
        write_sites(self.directory(), sites)?;
        if let Nginx::Sandbox { web, .. } = &self.nginx {
            web.configure(sites);
        }
        self.sites = sites.to_vec();
        Ok(difference(&before, &after))
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
        let nginx = match &self.nginx {
            Nginx::Sandbox { .. } => "a web server, a Docker API",
            Nginx::Container { .. } => "nginx in a container",
        };
        writeln!(
            out,
            "A host with two domains, on loopback: a CA, DNS, {nginx}."
        )?;
        writeln!(out, "{DIM}{}{DIM:#}\n", self.configuration().display())
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
        writeln!(out, "  cd {}", self.directory().display())?;
        let certd = std::env::current_exe();
        let certd = certd.map_or_else(|_| "certd".to_owned(), |path| path.display().to_string());
        writeln!(out, "  {certd} status")?;
        writeln!(out, "  curl --cacert root.pem {ca}")?;
        writeln!(
            out,
            "  curl --cacert root.pem --resolve {SHOP}:{port}:127.0.0.1 https://{SHOP}:{port}/"
        )?;
        writeln!(
            out,
            "  LEGO_CA_CERTIFICATES=root.pem lego --server {ca} --path lego --accept-tos \\\n    --email you@example.com --domains blog.{SHOP} --http --http.webroot {WEBROOT} run"
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<(), DemoError> {
        let path = self.directory().join(name);
        Ok(files::write(&path, text.as_bytes(), Access::Everyone)?)
    }

    fn domains_toml(&self) -> String {
        let (_, https) = self.nginx.addresses();
        let (port, dns, directory) = (https.port(), self.dns.address(), self.ca.directory());
        let (container, docker) = self.nginx.container();
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

[nginx]
container = "{container}"
docker = "{docker}"

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
    let container = docker::Container::nginx(CONTAINER, &storage, &webroot);
    let web = Web::start(web::Options { webroot, storage }).await?;
    let socket = root.join("docker.sock");
    let engine = docker::Engine::start(&socket, container, web.clone()).await?;
    Ok(Nginx::Sandbox { web, engine })
}

async fn real(root: &Path, image: &str, environment: &Environment) -> Result<Nginx, DemoError> {
    let docker = environment.docker_host.clone();
    let docker = docker.unwrap_or_else(|| defaults::DOCKER.to_owned());
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

/// Fingerprint of the leaf in a file of certificates
fn leaf_of(path: &Path) -> Option<Fingerprint> {
    let chain = Chain::from_pem(&fs::read(path).ok()?).ok()?;
    Some(chain.leaf().fingerprint)
}

/// Writes the files of nginx's configuration
fn write_sites(root: &Path, sites: &[Site]) -> Result<(), DemoError> {
    for (name, text) in web::files(sites) {
        let path = root.join(NGINX).join(name);
        files::write(&path, text.as_bytes(), Access::Everyone)?;
    }
    Ok(())
}

/// The first line that differs in a file that was there before
fn difference(before: &[(String, String)], after: &[(String, String)]) -> Option<Edit> {
    before.iter().find_map(|(name, old)| {
        let (_, new) = after.iter().find(|(other, _)| other == name)?;
        let mut lines = old.lines().zip(new.lines()).enumerate();
        let (number, (old, new)) = lines.find(|(_, (old, new))| old != new)?;
        Some(Edit {
            file: format!("{NGINX}/{name}"),
            line: number + 1,
            before: old.trim().to_owned(),
            after: new.trim().to_owned(),
        })
    })
}

const WEBROOT: &str = "webroot";
const STORAGE: &str = "letsencrypt";
const NGINX: &str = "nginx";
const SITES: &str = "nginx/sites";
/// What most people call it
const CONTAINER: &str = "nginx_container";
const SHOP: &str = "rare-books.test";
/// Time that nginx may take to reload
const PATIENCE: Duration = Duration::from_secs(5);
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
