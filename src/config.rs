//! domains.toml: found, read, checked, and turned into a configuration that holds no mistake.
//!
//! All mistakes are reported at once, each with its line and key. What parses is valid: nothing
//! after this module checks a name, a duration or a reference to an issuer again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::Serialize;

use crate::chain::KeyType;
use crate::facts::Proxies;
use crate::input;
use crate::name::DnsName;
use crate::time::Fraction;
use crate::time::schedule::Schedule;
use notify::{Channel, SecretUrl};

pub use error::{ConfigError, Here, Mistake};
pub use ownership::{Believed, Distrust, Place};
pub(crate) use raw::closest;
pub use remaining::MinRemaining;

use error::line_of;

mod check;
pub mod defaults;
pub mod engine;
mod error;
mod exposed;
pub mod notify;
mod ownership;
mod raw;
mod remaining;

/// What domains.toml says, complete with defaults
#[derive(Clone, Debug)]
pub struct Config {
    /// File that it was read from
    pub path: PathBuf,
    /// ACME contact address
    pub email: Option<String>,
    /// Whether an account may be registered
    pub terms: Terms,
    /// Domains worked on at once
    pub jobs: usize,
    /// Group that may read private keys
    pub key_group: Option<String>,
    /// Directory of `live/` and `archive/`
    pub storage: PathBuf,
    /// Directory of accounts, records and the lock
    pub state: PathBuf,
    /// Part of the lifetime left at which a certificate is due
    pub renewal_fraction: Fraction,
    /// When a timer or the daemon looks at what is due
    pub schedule: Option<Schedule>,
    /// How much later than that the daemon looks at most
    pub jitter: Duration,
    /// `[verify]`
    pub verify: Verify,
    /// `[dns]`
    pub dns: Dns,
    /// `[preflight]`
    pub preflight: Preflight,
    /// Built-in issuers and those of `[issuers]`
    pub issuers: BTreeMap<String, Issuer>,
    /// Whether the proxies that the environment names are used
    pub proxies: Proxies,
    /// Every `[[domain]]`, in the order of the file
    pub domains: Vec<Domain>,
    /// Every `[[notify]]`, in the order of the file
    pub notify: Vec<Channel>,
    /// URL that is called after every good sweep
    pub heartbeat: Option<SecretUrl>,
}

/// What a command wants of the file
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// At least one domain
    Domains,
    /// Whatever it holds
    Nothing,
}

impl Config {
    /// The configuration in a file
    ///
    /// `environment` gives what the file leaves to it. Relative paths are taken relative to the
    /// file's directory.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read or holds mistakes; the caller shows it as is.
    pub fn read(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        Self::read_for(path, environment, Demand::Domains)
    }

    /// The same for a command that can do without domains
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn read_for(
        path: &Path,
        environment: &Environment,
        demand: Demand,
    ) -> Result<Self, ConfigError> {
        let (file, doubt) = environment.believed.open(path)?;
        let bytes = input::whole(file, MAX_FILE).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => ConfigError::TooLarge {
                path: path.to_owned(),
            },
            _ => ConfigError::read(path, error),
        })?;
        let text = String::from_utf8(bytes).map_err(|error| ConfigError::NotText {
            path: path.to_owned(),
            line: line_of(error.as_bytes(), error.utf8_error().valid_up_to()),
        })?;
        let mut config = Self::parse_for(&text, path, environment, demand)?;
        if let Some(doubt) = doubt {
            config.trust_nobody(&doubt);
        }
        Ok(config)
    }

    /// Leaves aside what a stranger may have written of roots and resolvers: with his own he could
    /// have any server shown as proven
    fn trust_nobody(&mut self, doubt: &ConfigError) {
        let ignored = self.verify.trust.len() + self.dns.servers.len();
        self.verify.trust.clear();
        self.dns.servers.clear();
        if ignored > 0 {
            tracing::warn!(
                reason = %doubt,
                "its [verify] trust and [dns] servers are ignored: name the file by --config to use them"
            );
        }
    }

    /// The configuration in a text that stands in the file `path`
    ///
    /// # Errors
    /// [`ConfigError::Mistakes`] with every mistake in it.
    pub fn parse(text: &str, path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        Self::parse_for(text, path, environment, Demand::Domains)
    }

    fn parse_for(
        text: &str,
        path: &Path,
        environment: &Environment,
        demand: Demand,
    ) -> Result<Self, ConfigError> {
        check::config(text, path, environment, demand).map_err(|mistakes| ConfigError::Mistakes {
            path: path.to_owned(),
            mistakes,
        })
    }

    /// Where the file is looked for: the flag, `$CERTD_CONFIG`, `./domains.toml`,
    /// `/etc/certd/domains.toml`
    ///
    /// Root does not look in the current directory, unless it only looks at what is served.
    ///
    /// # Errors
    /// [`ConfigError::NotFound`] when none of the last two exists and neither of the first two is
    /// given.
    pub fn locate(flag: Option<&Path>, environment: &Environment) -> Result<PathBuf, ConfigError> {
        let named = flag.or(environment.config.as_deref());
        if let Some(path) = named {
            return Ok(path.to_owned());
        }
        let usual = Path::new(ownership::USUAL);
        let here = Path::new("domains.toml");
        let searches_here = environment.believed.searches_here();
        let here = match (here.symlink_metadata(), searches_here) {
            (Ok(_), true) => return Ok(here.to_owned()),
            (Ok(_), false) => Here::PassedOver(here.to_owned()),
            (Err(error), true) if error.kind() == io::ErrorKind::PermissionDenied => Here::Closed,
            (Err(_), _) => Here::Missing,
        };
        // What may not be looked at is not missing: that it cannot be read is told when it is.
        match usual.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ConfigError::NotFound { here })
            }
            _ => Ok(usual.to_owned()),
        }
    }

    /// The domain whose primary name was most likely meant, if any is near
    pub fn closest_domain(&self, name: &DnsName) -> Option<&DnsName> {
        let distance = |known: &DnsName| strsim::damerau_levenshtein(known.as_str(), name.as_str());
        let names = self.domains.iter().map(|domain| &domain.name);
        let nearest = names.min_by_key(|known| distance(known))?;
        (distance(nearest) <= MOST_TYPOS).then_some(nearest)
    }

    /// The domains that are looked after, in the order of the file
    pub fn enabled(&self) -> impl Iterator<Item = &Domain> {
        self.domains.iter().filter(|domain| domain.enabled)
    }

    /// The domain with this primary name
    pub fn domain(&self, name: &DnsName) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.name == *name)
    }
}

/// What the process environment adds to a configuration
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$CERTD_CONFIG`
    pub config: Option<PathBuf>,
    /// `$DOCKER_HOST`
    pub docker_host: Option<String>,
    /// Whose files are believed
    pub believed: Believed,
}

/// Whether the CA's terms of service were agreed to
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terms {
    /// `terms_of_service_agreed = true`
    Agreed,
    /// No account is registered
    #[default]
    NotAgreed,
}

/// One `[[domain]]`: a primary name and its aliases, which share one certificate
#[derive(Clone, Debug)]
pub struct Domain {
    /// Primary name, which also names the lineage
    pub name: DnsName,
    /// Further names of the certificate, in the order given
    pub aliases: Vec<DnsName>,
    /// Key into [`Config::issuers`]
    pub issuer: String,
    /// ACME profile
    pub profile: Option<String>,
    /// Kind of key
    pub key_type: KeyType,
    /// Directory below which `.well-known/acme-challenge/` is served
    pub webroot: PathBuf,
    /// The nginx that serves it; `None` where nothing is to be reloaded
    pub nginx: Option<Nginx>,
    /// Ports on which the certificate is served
    pub ports: Vec<u16>,
    /// Where to verify instead
    pub connect: Option<Connect>,
    /// What the application behind its certificate must answer
    pub probe: Option<Probe>,
    /// Public addresses that its names must resolve to; empty where any will do
    pub addresses: Vec<IpAddr>,
    /// Whether another lineage's certificate that covers the names is accepted
    pub sharing: Sharing,
    /// Whether `--all` takes it
    pub enabled: bool,
    /// Line of its `[[domain]]`, from 1
    pub line: usize,
}

impl Domain {
    /// The primary name, then the aliases
    pub fn names(&self) -> impl Iterator<Item = &DnsName> {
        std::iter::once(&self.name).chain(&self.aliases)
    }
}

/// Whether a domain may be served with another lineage's certificate
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Only its own certificate will do
    #[default]
    Separate,
    /// `shared = true`: any that covers the name
    Shared,
}

/// `probe`: a page, and what is expected of it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// An https:// URL
    pub url: Uri,
    /// HTTP status; a redirect is not followed
    pub status: u16,
    /// Words that its body holds, near its beginning
    pub text: Option<String>,
}

/// `connect`: an address, and a port where it differs from the domain's ports
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Address to connect to
    pub address: IpAddr,
    /// Port to connect to; `None` for each of the domain's ports
    pub port: Option<u16>,
}

impl Connect {
    /// The socket addresses to verify at, for a domain with these ports
    pub fn endpoints(&self, ports: &[u16]) -> Vec<SocketAddr> {
        match self.port {
            Some(port) => vec![SocketAddr::new(self.address, port)],
            None => ports
                .iter()
                .map(|port| SocketAddr::new(self.address, *port))
                .collect(),
        }
    }
}

impl FromStr for Connect {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<SocketAddr>()
            && address.port() != 0
        {
            return Ok(Self {
                address: address.ip().to_canonical(),
                port: Some(address.port()),
            });
        }
        let bracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match bracketed.unwrap_or(text).parse::<IpAddr>() {
            Ok(address) => Ok(Self {
                address: address.to_canonical(),
                port: None,
            }),
            Err(_) => Err("expected \"ADDRESS\" or \"ADDRESS:PORT\""),
        }
    }
}

/// An ACME CA that certificates may be ordered from
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Directory URL (RFC 8555 section 7.1.1)
    pub directory: String,
    /// PEM file of roots that replace the system's for this issuer's API
    pub trust: Option<PathBuf>,
    /// External account binding (RFC 8555 section 7.3.4)
    pub eab: Option<Eab>,
}

/// Credentials of an external account
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eab {
    /// Key identifier that the CA gave
    pub kid: String,
    /// File with the base64url HMAC key; read when an account is registered
    pub hmac_file: PathBuf,
}

/// `[nginx]`: how to find the container and make it pick a certificate up
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nginx {
    /// Which containers
    pub selector: Selector,
    /// Docker API: a socket path, or a URL with `unix://`, `tcp://` or `http://`
    pub docker: String,
    /// How it reloads
    pub reload: Reload,
    /// Whether `nginx -t` is asked
    pub test: ConfigTest,
}

/// Which containers are the target
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// By name or identifier
    Container(String),
    /// By label, `key` or `key=value`
    Label(String),
    /// By compose labels
    Service {
        /// Compose service
        service: String,
        /// Compose project; `None` for any
        project: Option<String>,
    },
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container {name}"),
            Self::Label(label) => write!(f, "label {label}"),
            Self::Service {
                service,
                project: None,
            } => write!(f, "compose service {service}"),
            Self::Service {
                service,
                project: Some(project),
            } => write!(f, "compose service {service} of project {project}"),
        }
    }
}

/// How nginx is told to read its files again
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reload {
    /// SIGHUP to the container's main process, through the Docker API
    ///
    /// The engine takes such a container for one that was stopped by hand, and does not start it
    /// again by its restart policy (moby/moby#41302).
    Signal,
    /// `nginx -s reload` in the container
    #[default]
    Exec,
    /// The container is restarted
    Restart,
}

/// Whether the configuration is tested before a reload
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigTest {
    /// `nginx -t` runs in the container
    #[default]
    Run,
    /// `test = false`: for API proxies that forbid exec
    Skip,
}

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Servers to ask; empty for the system's
    pub servers: Vec<SocketAddr>,
    /// Time for one question
    pub timeout: Duration,
}

/// `[preflight]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// Where the CA's port 80 is
    pub http_port: u16,
    /// Where its port 443 is, to which a site may redirect
    pub https_port: u16,
    /// Checks that stop a domain before an order
    pub require: BTreeSet<Check>,
    /// Time for one connection, and for one request
    pub timeout: Duration,
}

/// A check of a name that can be required
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Its addresses
    Dns,
    /// Its CAA records
    Caa,
    /// Whether a token is served
    Http,
    /// Whether the CA's rate limits leave room
    Budget,
}

impl Check {
    /// All of them
    pub const ALL: [Self; 4] = [Self::Dns, Self::Caa, Self::Http, Self::Budget];

    /// The word for it in the configuration and in options
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Caa => "caa",
            Self::Http => "http",
            Self::Budget => "budget",
        }
    }
}

/// `[verify]`
#[derive(Clone, Debug, PartialEq)]
pub struct Verify {
    /// PEM files added to the system roots
    pub trust: Vec<PathBuf>,
    /// Time for one connection and handshake
    pub timeout: Duration,
    /// Connections at once
    pub concurrency: usize,
    /// Life below which a warning is given
    pub min_remaining: MinRemaining,
}

/// Letters that a mistyped domain may differ by: other domains differ by more
const MOST_TYPOS: usize = 2;
/// Bytes of a configuration: ten thousand domains have one MiB
const MAX_FILE: u64 = 4 * input::MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written() {
        let text = "addresses = [\"::ffff:127.0.0.5\"]\n[[domain]]\nname = \"shop.test\"\n\
                    connect = \"[::ffff:127.0.0.6]:8443\"\n[[domain]]\nname = \"wiki.test\"\n\
                    connect = \"::ffff:127.0.0.7\"\n";
        let path = Path::new("domains.toml");
        let config = Config::parse(text, path, &Environment::default()).unwrap();
        let [shop, wiki] = &config.domains[..] else {
            panic!("two domains: {config:?}");
        };
        assert_eq!(shop.addresses, [IpAddr::from([127, 0, 0, 5])]);
        let found = |domain: &Domain| domain.connect.as_ref().unwrap().endpoints(&[443]);
        assert_eq!(found(shop), [SocketAddr::from(([127, 0, 0, 6], 8443))]);
        assert_eq!(found(wiki), [SocketAddr::from(([127, 0, 0, 7], 443))]);
    }
}
