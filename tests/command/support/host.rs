//! A host on which certd is at home: a CA, DNS, nginx in a container and its Docker engine, all
//! of the sandbox, behind one `domains.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use certd_sandbox::acme::{self, Ca, Reuse};
use certd_sandbox::dns::{self, Record, Zone};
use certd_sandbox::docker::{Container, Engine, Mount};
use certd_sandbox::web::{self, Site, Web};
use certd_sandbox::{Clock, SandboxError};
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use tokio::runtime::Runtime;
use x509_parser::pem::parse_x509_pem;

use super::{Place, Run};

/// What a host is like
#[derive(Clone)]
pub(crate) struct Setting {
    /// Each with its aliases; the first name is that of the lineage
    pub(crate) domains: Vec<Vec<&'static str>>,
    /// Lines of `[nginx]` beside `docker`
    pub(crate) nginx: &'static str,
    /// What the CA takes for the time; certd takes the system's
    pub(crate) clock: Clock,
    /// Whether the CA validates a name again that it validated before
    pub(crate) reuse: Reuse,
    /// Lifetime of certificates; `None` for 90 days
    pub(crate) lifetime: Option<SignedDuration>,
    /// How long the CA asks to wait between two looks at an order
    pub(crate) poll_pause: Option<Duration>,
    /// Checks that stop a domain before an order, as in `[preflight]`
    pub(crate) require: &'static [&'static str],
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            domains: vec![vec!["rare-books.test", "www.rare-books.test"]],
            nginx: "container = \"web\"",
            clock: Clock::new(Timestamp::now),
            reuse: Reuse::WhileValid,
            lifetime: None,
            poll_pause: None,
            // What the CA says is to be seen.
            require: &[],
        }
    }
}

impl Setting {
    /// A host with a second domain, served by the same nginx
    pub(crate) fn two_domains() -> Self {
        let mut setting = Self::default();
        setting.domains.push(vec!["messenger.rare-books.test"]);
        setting
    }
}

/// The host; everything stops on drop
///
/// The fields are dropped in this order: the servers before what they run on and their files.
pub(crate) struct Host {
    pub(crate) ca: Ca,
    pub(crate) engine: Engine,
    pub(crate) web: Web,
    pub(crate) zone: Zone,
    _dns: dns::Server,
    pub(crate) runtime: Runtime,
    pub(crate) place: Place,
}

impl Host {
    pub(crate) fn new(setting: &Setting) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let host = runtime.block_on(parts(setting));
        let (place, zone, dns, web, engine, ca) = host.expect("the loopback has free ports");
        place.write("root.pem", ca.root_pem());
        place.write(
            "domains.toml",
            domains_toml(setting, &ca, &dns, &web, &place),
        );
        Self {
            ca,
            engine,
            web,
            zone,
            _dns: dns,
            runtime,
            place,
        }
    }

    /// certd with these arguments
    pub(crate) fn certd(&self, arguments: &[&str]) -> Run {
        self.place.run(arguments)
    }

    /// `certd obtain --all` with these further arguments
    pub(crate) fn obtain(&self, further: &[&str]) -> Run {
        self.place
            .run(&[["obtain", "--all"].as_slice(), further].concat())
    }

    /// Ends all faults of all parts; DNS records stay as they are
    pub(crate) fn behave(&self) {
        self.ca.behave();
        self.engine.behave();
        self.web.behave();
    }

    /// Where each lineage's live link points
    pub(crate) fn live(&self) -> BTreeMap<String, PathBuf> {
        let Ok(live) = fs::read_dir(self.place.path("storage/live")) else {
            return BTreeMap::new();
        };
        live.map(|entry| {
            let path = entry.expect("it is readable").path();
            let target = fs::read_link(&path).expect("only links are there");
            (file_name(&path), target)
        })
        .collect()
    }

    /// What a run left behind that no fault excuses: a token, an unfinished file or directory, a
    /// generation that is not whole, a live link to nowhere
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (path, _) in self.place.tree("webroot") {
            if !path.is_dir() {
                left.push(format!("a token: {}", path.display()));
            }
        }
        for below in ["storage", "state"] {
            if !self.place.path(below).exists() {
                continue;
            }
            for (path, _) in self.place.tree(below) {
                if file_name(&path).starts_with('.') {
                    left.push(format!("unfinished: {}", path.display()));
                }
            }
        }
        left.extend(self.broken());
        left
    }

    /// What not even a run that was killed may leave: a generation that is not whole, or whose key
    /// is another's; a live link to nowhere
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for generation in self.generations() {
            broken.extend(flaw(&generation));
        }
        for (name, target) in self.live() {
            let live = self.place.path("storage/live").join(&target);
            if !live.is_dir() {
                broken.push(format!("live/{name} points to nothing"));
            }
        }
        broken
    }

    /// Directories of all generations
    fn generations(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for lineage in entries(&self.place.path("storage/archive")) {
            found.extend(entries(&lineage));
        }
        // What is unfinished is no generation, and nothing names it.
        found.retain(|path| !file_name(path).starts_with('.'));
        found.sort();
        found
    }
}

type Parts = (Place, Zone, dns::Server, Web, Engine, Ca);

async fn parts(setting: &Setting) -> Result<Parts, SandboxError> {
    let place = Place::new();
    let (webroot, storage) = (place.path("webroot"), place.path("storage"));
    let mut container = Container::nginx("web", &storage, &webroot);
    container.mounts.push(Mount {
        source: place.path("nginx"),
        destination: web::CONFIGURATION.into(),
    });
    let options = web::Options {
        configuration: place.path("nginx"),
        webroot,
        storage,
    };
    let web = Web::start(options).await?;
    web.configure(&sites(setting))
        .expect("files can be written");
    let engine = Engine::start(&place.path("docker.sock"), container, web.clone()).await?;
    let zone = Zone::new();
    for name in setting.domains.iter().flatten() {
        zone.add(name, Record::A(Ipv4Addr::LOCALHOST));
    }
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let dns = dns::Server::start(anywhere, zone.clone()).await?;
    let mut options = acme::Options::new(setting.clock.clone(), dns.address(), web.http().port());
    options.reuse = setting.reuse;
    options.lifetime = setting.lifetime;
    options.poll_pause = setting.poll_pause;
    options.https_port = web.https().port();
    let ca = Ca::start(options).await?;
    Ok((place, zone, dns, web, engine, ca))
}

/// One server block a domain, with its own certificate
pub(crate) fn sites(setting: &Setting) -> Vec<Site> {
    let site = |names: &Vec<&str>| Site {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        lineage: names[0].to_owned(),
    };
    setting.domains.iter().map(site).collect()
}

fn domains_toml(setting: &Setting, ca: &Ca, dns: &dns::Server, web: &Web, place: &Place) -> String {
    let mut text = format!(
        "email = \"admin@rare-books.test\"\nterms_of_service_agreed = true\nissuer = \"test\"\n\
         storage = \"storage\"\nstate = \"state\"\nwebroot = \"webroot\"\n\
         [issuers.test]\ndirectory = \"{}\"\ntrust = \"root.pem\"\n\
         [dns]\nservers = [\"{}\"]\n[verify]\ntrust = [\"root.pem\"]\n\
         [preflight]\nhttp_port = {}\nhttps_port = {}\nrequire = {:?}\n\
         [nginx]\ndocker = \"{}\"\n{}\n",
        ca.directory(),
        dns.address(),
        web.http().port(),
        web.https().port(),
        setting.require,
        place.path("docker.sock").display(),
        setting.nginx,
    );
    for names in &setting.domains {
        let _ = write!(
            text,
            "[[domain]]\nname = \"{}\"\naliases = {:?}\nports = [{}]\n",
            names[0],
            &names[1..],
            web.https().port(),
        );
    }
    text
}

/// What is wrong with the directory of a generation
fn flaw(directory: &Path) -> Option<String> {
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let [certificate, chain, both, key] =
        ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"].map(read);
    let is_whole = !certificate.is_empty() && both == format!("{certificate}{chain}");
    let is_pair = public_key(&certificate).is_some_and(|public| {
        KeyPair::from_pem(&key).is_ok_and(|key| key.subject_public_key_info() == public)
    });
    (!is_whole || !is_pair).then(|| format!("no whole generation: {}", directory.display()))
}

/// Public key of a certificate, as DER
fn public_key(pem: &str) -> Option<Vec<u8>> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(certificate.public_key().raw.to_vec())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("it is readable").path())
        .collect()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
