//! Who listens, by Docker, and what its nginx is configured to serve.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::timeout;

use super::seen::{Astray, Chosen, Content, Listener, Named, Nginx, Own, Presence, Stored};
use crate::chain::{Chain, Fingerprint};
use crate::config::{self, ConfigTest, Domain};
use crate::facts::Container;
use crate::finding::{Finding, Severity, one_line, words};
use crate::pipeline::obtain::stopped::{self, Supply};
use crate::pipeline::obtain::{
    ABSOLUTE, Configured, Holder, find_holder, is_file_of, live_in_use, live_of, not_what_runs,
    unjudged, whereabouts,
};
use crate::target::choice::{self, Choice, Inlet, Serving};
use crate::target::container::{AtPort, DockerError, Engine, is_at};
use crate::target::dump::{self, CertificateLine, Configuration, ServerBlock, StreamServer, Tls};
use crate::target::mount;
use crate::target::process::{Command, by_hand, nginx_command, relative_start};
use crate::target::variables::naming;
use crate::target::words::{Reason, Stumble, complaints, stumble};
use crate::verify::proof::covers;

/// The engine and the container that takes connections at a port of this host; at this address of it,
/// where the name leads to one
pub(super) async fn find(
    docker: &str,
    nginx: Option<&config::Nginx>,
    port: u16,
    at: Option<IpAddr>,
    supply: Option<&Supply<'_>>,
) -> (Option<Engine>, Listener) {
    let url = nginx.map_or(docker, |nginx| &nginx.docker);
    let engine = match Engine::at(url, PATIENCE).await {
        Ok(engine) => engine,
        Err(error) => return (None, Listener::NoDocker(absent(&error))),
    };
    let found = match nginx {
        Some(nginx) => engine.find(&nginx.selector).await.map(AtPort::Containers),
        // Many containers are looked at one by one.
        None => match timeout(PATIENCE, engine.at_port(port, at)).await {
            Ok(found) => found,
            Err(_) => Err(DockerError::TimedOut {
                what: "describe its containers",
                after: PATIENCE,
            }),
        },
    };
    let listener = match found {
        Ok(AtPort::Containers(containers)) => {
            let shown = at.filter(|_| nginx.is_some());
            let shown = shown.map(|at| SocketAddr::new(at, port));
            let holder = match shown {
                Some(shown) => find_holder(&engine, &containers, shown).await,
                None => None,
            };
            match holder.zip(shown) {
                Some((Holder::Own(container), _)) => Listener::Found(*container),
                Some((Holder::Other(holder), at)) => Listener::Taken {
                    named: containers.into_iter().map(|one| one.name).collect(),
                    holder,
                    at,
                },
                None => pick(&engine, containers, port, at, supply).await,
            }
        }
        Ok(AtPort::Process { name, pid }) => Listener::Process { name, pid },
        Ok(AtPort::Perhaps(mut containers)) => match containers.len() {
            1 => Listener::Perhaps(containers.remove(0)),
            _ => Listener::Hidden(containers.into_iter().map(|one| one.name).collect()),
        },
        Err(error @ DockerError::NotFound { .. }) => Listener::Lost(Finding::from_error(&error)),
        Err(DockerError::NotRunning { container }) => {
            Listener::Stopped(stopped::explain(&engine, container, supply).await)
        }
        Err(error) => Listener::NoDocker(absent(&error)),
    };
    (Some(engine), listener)
}

/// Of several containers the one that publishes the port, at this address before others
async fn pick(
    engine: &Engine,
    containers: Vec<Container>,
    port: u16,
    at: Option<IpAddr>,
    supply: Option<&Supply<'_>>,
) -> Listener {
    let publishes = |container: &Container, at: Option<IpAddr>| {
        let mut ports = container.published.iter();
        ports.any(|one| one.host.port() == port && is_at(Some(one.host.ip()), at))
    };
    let mut wanted = [at, None].into_iter();
    let chosen = wanted
        .find_map(|at| containers.iter().find(|one| publishes(one, at)))
        .or_else(|| containers.first());
    match chosen {
        None => Listener::Nobody,
        Some(container) if container.state != RUNNING => {
            let container = Box::new(container.clone());
            Listener::Stopped(stopped::explain(engine, container, supply).await)
        }
        Some(container) => Listener::Found(container.clone()),
    }
}

/// That Docker cannot be asked is no fault of the site
fn absent(error: &DockerError) -> Finding {
    Finding::from_error(error).at_most(Severity::Note)
}

/// What is to be found in a container
pub(super) struct Search<'s> {
    pub(super) engine: &'s Engine,
    pub(super) container: &'s Container,
    /// How domains.toml names it
    pub(super) nginx: Option<&'s config::Nginx>,
    /// All that domains.toml names
    pub(super) domains: &'s [Domain],
    pub(super) name: &'s str,
    /// Primary name of the domain, or the name itself
    pub(super) lineage: &'s str,
    /// certd's storage on this host; empty without a configuration
    pub(super) storage: &'s Path,
    /// Where connections come in, as the container sees it; at least one
    pub(super) inlets: Vec<Inlet>,
    /// The certificates that handshakes showed
    pub(super) shown: Vec<Fingerprint>,
    pub(super) stored: &'s Stored,
}

impl Search<'_> {
    /// The block that nginx chooses, and its certificate file
    ///
    /// # Errors
    /// The finding that says why nginx's configuration cannot be read.
    pub(super) async fn run(&self) -> Result<Nginx, Finding> {
        if self
            .nginx
            .is_some_and(|nginx| nginx.test == ConfigTest::Skip)
        {
            let evidence = "nginx is not asked for its configuration (test = false)";
            return Err(Finding::note("why.not_asked", evidence));
        }
        let configuration = self.configuration().await?;
        let chosen = self.choose(&configuration);
        let named = match chosen.block() {
            Some(block) => self.named(&configuration, block).await,
            None => None,
        };
        let (live, own) = self.own(&configuration.servers, named.as_ref()).await;
        let inlet = self.inlets.first().cloned();
        let way = inlet
            .as_ref()
            .map(|inlet| choice::way(&configuration, self.name, inlet));
        let through = way.map(|way| way.through).unwrap_or_default();
        let through: Vec<StreamServer> = through.into_iter().cloned().collect();
        let astray = self.astray(&configuration);
        let neighbours = self.engine.neighbours(self.container).await;
        let configured =
            Configured::new(self.container, self.engine.address(), live, configuration)
                .beside(neighbours.unwrap_or_default());
        Ok(Nginx {
            astray,
            configured: match self.stored.presence {
                Presence::Here => configured.with_live_on_host(live_of(self.storage)),
                Presence::Absent => configured,
            },
            chosen,
            through,
            inlet,
            named,
            own,
        })
    }

    async fn configuration(&self) -> Result<Configuration, Finding> {
        let name = &self.container.name;
        let command = nginx_command(self.container, &["-T"]);
        let executed = self.engine.exec(self.container, &command).await;
        let executed = executed.map_err(|error| absent(&error))?;
        match executed.status {
            0 => match dump::read(&executed.stdout) {
                Ok(configuration) => Ok(configuration.on_host(&self.container.hostname)),
                Err(reason) => Err(unjudged(self.container, &reason)),
            },
            126 | 127 if let Some(start) = relative_start(self.container) => {
                let evidence = not_what_runs(name, &start);
                Err(Finding::note("target.relative_start", evidence).with_cure(ABSOLUTE))
            }
            126 | 127 => {
                let evidence = format!("{name} has no nginx: how it chooses cannot be seen");
                Err(Finding::note("target.no_nginx", evidence))
            }
            _ => {
                let said = format!("{}\n{}", executed.stderr, executed.stdout);
                Err(match stumble(&said) {
                    Some(Stumble {
                        path,
                        reason: Reason::Missing,
                    }) => self.waits(&path),
                    _ => refused(self.container, &complaints(&said)),
                })
            }
        }
    }

    /// nginx waits for a file that a domain supplies, or that nothing does
    fn waits(&self, path: &Path) -> Finding {
        let name = &self.container.name;
        let lives = mount::in_container(self.container, &live_of(self.storage));
        let mut domains = self.domains.iter().map(|domain| &domain.name);
        let supplier = domains.find(|domain| is_file_of(&lives, domain, path));
        let path = words::path(path);
        let evidence = format!("nginx in {name} waits for {path}, which is not there");
        Finding::failure("why.missing_file", evidence).with_cure(match supplier {
            Some(domain) => format!("`certd obtain {domain}` supplies it, and lets nginx load it"),
            None => format!(
                "no domain of domains.toml supplies it: correct the path until this passes\n    {}",
                by_hand(self.container, &["-t"])
            ),
        })
    }

    fn choose(&self, configuration: &Configuration) -> Chosen {
        let Some(inlet) = self.inlets.first() else {
            return Chosen::Nobody(None);
        };
        match choice::choose(configuration, self.name, inlet) {
            Choice::Listed { block, ignored } => {
                Chosen::Listed(block.clone(), ignored.into_iter().cloned().collect())
            }
            Choice::Default(block) => Chosen::Default(block.clone()),
            Choice::Pattern(block) => Chosen::Pattern(block.clone()),
            Choice::Stream(server) => Chosen::Stream(server.clone()),
            Choice::Nobody => {
                let lists = |block: &&ServerBlock| block.names.iter().any(|own| own == self.name);
                let mut listing = configuration.servers.iter().filter(lists);
                // One with TLS at another port is meant rather than one that redirects.
                let secure = listing.clone().find(|block| block.tls == Tls::On);
                Chosen::Nobody(secure.or_else(|| listing.next()).cloned())
            }
        }
    }

    /// The first way in at which the default takes what another block lists
    fn astray(&self, configuration: &Configuration) -> Option<Astray> {
        let mut inlets = self.inlets.iter();
        inlets.find_map(
            |inlet| match choice::serving(configuration, self.name, Some(inlet)) {
                Serving::Elsewhere { block, at } => Some(Astray {
                    block: block.clone(),
                    at,
                    inlet: inlet.clone(),
                }),
                Serving::Listed(_) | Serving::Unknown | Serving::Nobody => None,
            },
        )
    }

    /// The certificate that is shown, of those that a block names: one for each kind of key
    async fn named(&self, configuration: &Configuration, block: &ServerBlock) -> Option<Named> {
        let lines = block.certificate_lines();
        let lines = lines.filter(|line| line.directive == "ssl_certificate");
        let mut all = Vec::new();
        for line in lines.take(MOST_KINDS) {
            all.push(self.read_line(configuration, block, line).await);
        }
        let is_shown = |named: &Named| match &named.content {
            Content::Chain(chain) => self.shown.contains(&chain.leaf().fingerprint),
            Content::Missing | Content::Unknown(_) => false,
        };
        let chosen = all.iter().position(is_shown).unwrap_or_default();
        let mut named = (chosen < all.len()).then(|| all.remove(chosen))?;
        named.beside = all;
        Some(named)
    }

    async fn read_line(
        &self,
        configuration: &Configuration,
        block: &ServerBlock,
        line: &CertificateLine,
    ) -> Named {
        let naming = naming(configuration, block, line, self.name);
        let content = match naming.path() {
            Some(path) if path.to_string_lossy().starts_with("data:") => {
                Content::Unknown("it stands in a variable, not in a file".to_owned())
            }
            Some(path) => self.read(&Path::new(CONFIGURATION).join(path)).await,
            None => Content::Unknown("nginx takes it from a variable".to_owned()),
        };
        Named {
            path: naming.path().map(Path::to_owned),
            line: line.clone(),
            content,
            beside: Vec::new(),
        }
    }

    /// A certificate file as the container sees it; keys are asked for nowhere
    async fn read(&self, path: &Path) -> Content {
        let command = Command::new(vec!["cat".to_owned(), path.display().to_string()]);
        let executed = match self.engine.exec(self.container, &command).await {
            Ok(executed) => executed,
            Err(error) => return Content::Unknown(error.to_string()),
        };
        match executed.status {
            0 => match Chain::from_pem(executed.stdout.as_bytes()) {
                Ok(chain) => Content::Chain(Box::new(chain)),
                Err(error) => Content::Unknown(error.to_string()),
            },
            126 | 127 => Content::Unknown("the container has no `cat` to read it with".to_owned()),
            _ if executed.stderr.contains("No such file") => Content::Missing,
            _ => Content::Unknown(one_line(&executed.stderr)),
        }
    }

    /// Where the container sees `live/`, and whether the name has a certificate of its own there
    async fn own(&self, blocks: &[ServerBlock], named: Option<&Named>) -> (PathBuf, Own) {
        // Of a domain that certd is to look after, no other program's certificate is its own.
        if self.stored.presence == Presence::Here {
            let installed = self.stored.installed.as_ref();
            let is_live = installed.is_some_and(|installed| installed.live.is_some());
            let host = live_of(self.storage);
            let lives = mount::in_container(self.container, &host);
            return match (live_in_use(&host, &lives, blocks), is_live) {
                (Some(in_use), true) => (in_use, Own::Seen),
                (None, true) => (host, Own::NotMounted),
                (in_use, false) => (in_use.unwrap_or(host), Own::None),
            };
        }
        // Another program's lineages lie side by side, too.
        let beside = named.and_then(|named| named.path.as_deref()?.parent()?.parent());
        let Some(live) = beside else {
            return (self.storage.join("live"), Own::None);
        };
        let own = live.join(self.lineage).join("fullchain.pem");
        let is_own = match self.read(&own).await {
            Content::Chain(chain) => covers(&chain.leaf().der, self.name),
            _ => false,
        };
        (live.to_owned(), if is_own { Own::Seen } else { Own::None })
    }
}

/// nginx shows no configuration that it cannot use; it goes on with the one that it read before
fn refused(container: &Container, words: &str) -> Finding {
    let name = &container.name;
    if let Some(start) = relative_start(container).filter(|start| words.contains(start.as_str())) {
        let evidence = format!("{}:\n{words}", not_what_runs(name, &start));
        return Finding::note("target.relative_start", evidence).with_cure(ABSOLUTE);
    }
    let evidence = format!("nginx in {name} refuses its configuration:\n{words}");
    let mut cure = format!(
        "mend it until this passes; nginx goes on with what it read before:\n    {}",
        by_hand(container, &["-t"])
    );
    let place = whereabouts(container, words.lines().next().unwrap_or_default());
    cure.extend(place.iter().flat_map(|place| ["\n", place]));
    Finding::failure("target.config_broken", evidence).with_cure(cure)
}

const RUNNING: &str = "running";
/// Certificates of a block that are read: RSA, ECDSA, and what may come
const MOST_KINDS: usize = 4;
/// nginx takes relative paths from here, unless it was built otherwise
const CONFIGURATION: &str = "/etc/nginx";
/// For one answer of the engine, and for one command in a container: a person waits
const PATIENCE: Duration = Duration::from_secs(10);
