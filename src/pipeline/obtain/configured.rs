//! nginx's configuration as a container has it, and what to write in it: what is proposed passes
//! `nginx -t` and takes no certificate from another name.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::target::Target;
use crate::config::{Domain, defaults};
use crate::facts::Container;
use crate::finding::{Finding, words};
use crate::name::DnsName;
use crate::pipeline::{Context, Work};
use crate::target::choice::{self, Choice, Inlet, Serving};
use crate::target::dump::{Configuration, Excess, ServerBlock, Tls};
use crate::target::endpoint;
use crate::target::process::is_guessed;
use crate::target::variables::is_computed;

mod site;

pub(in crate::pipeline) use site::Site;

/// What nginx's configuration says of a name
pub(in crate::pipeline) struct Configured {
    container: Container,
    /// Where the container's engine is
    engine: IpAddr,
    /// The live directory as the container sees it
    pub(in crate::pipeline) live: PathBuf,
    pub(in crate::pipeline) configuration: Arc<Configuration>,
    /// Why nothing is known of it
    excess: Option<Excess>,
}

impl Configured {
    /// The configuration of a container that sees the live directory there
    pub(in crate::pipeline) fn new(
        container: &Container,
        engine: IpAddr,
        live: PathBuf,
        configuration: impl Into<Arc<Configuration>>,
    ) -> Self {
        Self {
            container: container.clone(),
            engine,
            live,
            configuration: configuration.into(),
            excess: None,
        }
    }

    /// Name of the container
    pub(in crate::pipeline) fn container(&self) -> &str {
        &self.container.name
    }

    /// That the configuration is beyond what is judged; `None` where it was read
    pub(super) fn unjudged(&self) -> Option<Finding> {
        self.excess.map(|excess| unjudged(self.container(), excess))
    }

    /// That nginx may run with another file than the one that was read; `None` where it does not
    pub(in crate::pipeline) fn doubt(&self) -> Option<Finding> {
        doubt(&self.container)
    }

    /// The same as lines of a cure
    pub(super) fn doubt_in_words(&self) -> Option<String> {
        doubt_in_words(&self.container)
    }

    /// Where nginx sees connections to an address come in
    pub(super) fn inlet(&self, address: SocketAddr) -> Option<Inlet> {
        endpoint::inlet(&self.container, address, self.engine)
    }

    /// What serves a name at an address
    pub(super) fn serving(&self, name: &str, address: SocketAddr) -> Serving<'_> {
        match self.excess {
            Some(_) => Serving::Unknown,
            None => choice::serving(&self.configuration, name, self.inlet(address).as_ref()),
        }
    }

    /// Whether nginx awaits a balancer at an address, and closes what comes without its header
    pub(in crate::pipeline) fn awaits_header(&self, address: SocketAddr) -> bool {
        let inlet = self.inlet(address);
        inlet.is_some_and(|inlet| choice::awaits_header(&self.configuration.servers, &inlet))
    }

    /// A name of a domain at the server block that serves it
    pub(in crate::pipeline) fn site<'s>(
        &'s self,
        domain: &'s Domain,
        name: &'s str,
        block: &'s ServerBlock,
    ) -> Site<'s> {
        let names = domain.names().map(DnsName::as_str).collect();
        Site::new(self, &domain.name, names, name, block)
    }

    /// The same for a name of no domain, which has a lineage of its own
    pub(in crate::pipeline) fn site_of<'s>(
        &'s self,
        lineage: &'s DnsName,
        block: &'s ServerBlock,
    ) -> Site<'s> {
        let name = lineage.as_str();
        Site::new(self, lineage, vec![name], name, block)
    }

    /// What makes nginx serve a name of a domain that no server block lists: where one serves
    /// another name of it, the name beside that; else a block of its own
    pub(in crate::pipeline) fn to_serve(
        &self,
        domain: &Domain,
        name: &str,
        inlet: Option<&Inlet>,
    ) -> String {
        let serving = |own: &str| match inlet {
            Some(inlet) => match choice::choose(&self.configuration, own, inlet) {
                Choice::Listed { block, .. } => Some(block),
                _ => None,
            },
            None => match choice::serving(&self.configuration, own, None) {
                Serving::Listed(block) => Some(block),
                _ => None,
            },
        };
        let mut others = domain
            .names()
            .map(DnsName::as_str)
            .filter(|own| *own != name);
        let found = others.find_map(|own| Some((own, serving(own)?)));
        if let Some((own, block)) = found {
            return format!(
                "add {name} to `server_name` of the server block at {}:{}, which serves {own}",
                block.file, block.line
            );
        }
        let like = inlet.and_then(
            |inlet| match choice::choose(&self.configuration, name, inlet) {
                Choice::Default(block) => Some(block),
                _ => None,
            },
        );
        let names: Vec<&str> = domain.names().map(DnsName::as_str).collect();
        let block = self.block_to_add(&domain.name, &names, &domain.ports, like);
        format!("add this server block:\n{block}")
    }

    /// A server block for these names, which listens as another does
    fn block_to_add(
        &self,
        lineage: &DnsName,
        names: &[&str],
        ports: &[u16],
        like: Option<&ServerBlock>,
    ) -> String {
        let mut listens = like.map(listens).unwrap_or_default();
        if listens.is_empty() {
            let port = ports.first().copied().unwrap_or(defaults::PORT);
            listens = format!("    listen {} ssl;\n", self.port_inside(port));
        }
        let lines = certificate_lines(&self.live, lineage, &DIRECTIVES);
        format!(
            "server {{\n{listens}    server_name {};\n{lines}\n    # locations of the site\n}}",
            names.join(" ")
        )
    }

    /// nginx listens in the container, and the port may be another one on the host
    fn port_inside(&self, port: u16) -> u16 {
        let mut published = self.container.published.iter();
        match published.any(|published| published.container_port == port) {
            true => port,
            false => endpoint::container_port(&self.container, port),
        }
    }
}

/// The `listen` lines with TLS of a block
///
/// What else such a line says holds for all blocks of the address, and need not be repeated.
fn listens(block: &ServerBlock) -> String {
    let mut lines = String::new();
    for listen in block.listens.iter().filter(|listen| listen.tls == Tls::On) {
        let any = listen.at.ip().is_unspecified() && listen.at.is_ipv4();
        let _ = match any {
            true => writeln!(lines, "    listen {} ssl;", listen.at.port()),
            false => writeln!(lines, "    listen {} ssl;", listen.at),
        };
    }
    for socket in block.sockets.iter().filter(|socket| socket.tls == Tls::On) {
        let _ = writeln!(lines, "    listen unix:{} ssl;", socket.path);
    }
    lines
}

fn certificate_lines(live: &Path, name: &DnsName, directives: &[&str]) -> String {
    let live = live.join(name.as_str());
    let line = |directive: &&str| {
        let file = live.join(file_of(directive));
        format!("    {directive:<19} {};", words::path(&file))
    };
    let lines: Vec<String> = directives.iter().map(line).collect();
    lines.join("\n")
}

/// The file of a lineage that a directive names
fn file_of(directive: &str) -> &'static str {
    match directive {
        "ssl_certificate" => "fullchain.pem",
        _ => "privkey.pem",
    }
}

/// That nginx in a container may run with another file than `nginx -T` shows
fn doubt(container: &Container) -> Option<Finding> {
    let name = &container.name;
    is_guessed(container).then(|| {
        let evidence = format!(
            "how nginx was started in {name} cannot be seen from here: with a `-c` of its own it runs with another file than the one that was read"
        );
        Finding::note("target.options_unknown", evidence)
            .with_cure(format!("see its command line: docker top {name}"))
    })
}

/// The same as lines of a cure
pub(super) fn doubt_in_words(container: &Container) -> Option<String> {
    let Finding { evidence, cure, .. } = doubt(container)?;
    Some(format!("{evidence}; {}", cure.unwrap_or_default()))
}

/// That a configuration is beyond what is judged
pub(in crate::pipeline) fn unjudged(container: &str, excess: Excess) -> Finding {
    let evidence = format!("nginx's configuration in {container} cannot be judged: {excess}");
    Finding::note("target.config_unjudged", evidence)
        .with_cure(format!("see it with: docker exec {container} nginx -T"))
}

/// Reads nginx's configuration in the container that answers at an address
///
/// `None` where it cannot be asked or has no server block.
pub(super) async fn configured(
    context: &Context<'_>,
    target: &Target,
    works: &[Work<'_>],
    address: SocketAddr,
) -> Option<Configured> {
    let container = target.answering(works, address)?;
    let dump = target.dumps.of(&target.engine, container).await?;
    let (configuration, excess) = match &dump.configuration {
        Ok(configuration) if configuration.servers.is_empty() => return None,
        Ok(configuration) => (Arc::clone(configuration), None),
        Err(excess) => (Arc::default(), Some(*excess)),
    };
    let live = live_in_use(
        &context.config.storage.join("live"),
        &target.lives_in(context, container),
        &configuration.servers,
    )?;
    let engine = target.engine.address();
    Some(Configured {
        excess,
        ..Configured::new(container, engine, live, configuration)
    })
}

/// The path of `live/` that the configuration uses, where the storage is mounted twice
///
/// Where it uses none yet, the one that is the same as on this host.
pub(in crate::pipeline) fn live_in_use(
    host: &Path,
    lives: &[PathBuf],
    blocks: &[ServerBlock],
) -> Option<PathBuf> {
    let used = |live: &&PathBuf| {
        blocks
            .iter()
            .flat_map(ServerBlock::certificate_lines)
            .any(|line| line.path.starts_with(live))
    };
    let usual = Path::new(defaults::STORAGE).join("live");
    lives
        .iter()
        .find(used)
        .or_else(|| lives.iter().find(|live| *live == host))
        .or_else(|| lives.iter().find(|live| **live == usual))
        .or_else(|| lives.first())
        .cloned()
}

const DIRECTIVES: [&str; 2] = ["ssl_certificate", "ssl_certificate_key"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::dump;

    const SHOP: &str = "shop.test";

    fn configured(servers: &str) -> Configured {
        let dump = format!("# configuration file /etc/nginx/nginx.conf:\nhttp {{\n{servers}\n}}\n");
        let configuration = dump::read(&dump).unwrap();
        let container = Container {
            name: "web".to_owned(),
            ..Container::default()
        };
        let engine = std::net::Ipv4Addr::LOCALHOST.into();
        Configured::new(&container, engine, "/live".into(), configuration)
    }

    /// What is to be changed in the first block, so that a name of `shop.test` gets its own
    fn change(servers: &str, name: &str) -> String {
        let configured = configured(servers);
        let lineage = DnsName::parse(SHOP).unwrap();
        let names = vec![SHOP, "www.shop.test"];
        let block = &configured.configuration.servers[0];
        let site = Site::new(&configured, &lineage, names, name, block);
        site.to_change(|line| !site.is_own(line))
    }

    #[test]
    fn lines_are_changed_where_the_block_serves_the_domain_alone() {
        let found = change(
            "server { listen 443 ssl; server_name shop.test;\nssl_certificate /live/b.test/fullchain.pem;\nssl_certificate_key /live/shop.test/privkey.pem; }",
            SHOP,
        );
        let expected = "in the server block at /etc/nginx/nginx.conf:2 of web change
    line 3: ssl_certificate /live/b.test/fullchain.pem;
to
    ssl_certificate     /live/shop.test/fullchain.pem;";
        assert_eq!(found, expected);
    }

    #[test]
    fn a_block_that_serves_others_keeps_its_lines() {
        let block = |names: &str| {
            format!(
                "server {{ listen 10.0.0.5:443 ssl; listen [::]:443 ssl; listen 80; server_name {names};\nssl_certificate /live/b.test/fullchain.pem;\nssl_certificate_key /live/b.test/privkey.pem; }}"
            )
        };
        let found = change(&block("b.test shop.test"), SHOP);
        let expected = "the server block at /etc/nginx/nginx.conf:2 serves other names too: take shop.test out of its `server_name`, and add this server block:
server {
    listen 10.0.0.5:443 ssl;
    listen [::]:443 ssl;
    server_name shop.test;
    ssl_certificate     /live/shop.test/fullchain.pem;
    ssl_certificate_key /live/shop.test/privkey.pem;
    # locations of the site
}";
        assert_eq!(found, expected);
        let found = change(&block("*.test"), SHOP);
        assert!(
            found.starts_with(
                "leave it to /etc/nginx/nginx.conf:2 to serve its other names, and add"
            ),
            "{found}"
        );
    }

    #[test]
    fn a_path_with_variables_is_changed_in_its_map_for_one_name() {
        let block = "server { listen 443 ssl; server_name shop.test www.shop.test b.test;\nssl_certificate /live/$lineage/fullchain.pem;\nssl_certificate_key /live/$lineage/privkey.pem; }";
        let map = |rows: &str| format!("map $ssl_server_name $lineage {{\n{rows}\n}}\n{block}");
        let told =
            "takes the certificate of each name from variables: leave its lines as they are\n";
        #[track_caller]
        fn check(servers: &str, name: &str, told: &str, expected: &str) {
            let found = change(servers, name);
            let (_, found) = found.split_once(told).expect(&found);
            assert_eq!(found, expected);
        }
        let added = "to the map of $lineage at /etc/nginx/nginx.conf:2 add this row:\n    www.shop.test shop.test;";
        check(&map("default b.test;"), "www.shop.test", told, added);
        let changed = "in the map of $lineage change the row at /etc/nginx/nginx.conf:3 to\n    shop.test shop.test;";
        check(&map("shop.test b.test;"), SHOP, told, changed);
        // Nobody tries regular expressions here.
        let unknown = "`ssl_certificate` at /etc/nginx/nginx.conf:6 depends on $lineage: for shop.test let it come to\n    /live/shop.test/fullchain.pem\n`ssl_certificate_key` at /etc/nginx/nginx.conf:7 depends on $lineage: for shop.test let it come to\n    /live/shop.test/privkey.pem";
        check(&map("~^s b.test;"), SHOP, told, unknown);
        let by_name = block.replace("$lineage", "$ssl_server_name");
        let with_map = "beside the server blocks add this map, and write $certd_lineage for $ssl_server_name in them:\n    map $ssl_server_name $certd_lineage {\n        default $ssl_server_name;\n        www.shop.test shop.test;\n    }";
        check(&by_name, "www.shop.test", told, with_map);
    }

    #[test]
    fn an_alias_goes_to_the_block_of_its_domain() {
        let configured = configured(
            "server { listen 443 ssl; server_name shop.test; ssl_certificate /live/shop.test/fullchain.pem; }\nserver { listen 443 ssl default_server; server_name _; }",
        );
        let inlet = Inlet {
            addresses: Vec::new(),
            port: 443,
        };
        let config = "email = \"a@b.test\"\n[[domain]]\nname = \"shop.test\"\naliases = [\"www.shop.test\"]\n[[domain]]\nname = \"other.test\"\n";
        let config = crate::config::Config::parse(
            config,
            Path::new("domains.toml"),
            &crate::config::Environment::default(),
        );
        let config = config.unwrap();
        let [shop, other] = [0, 1].map(|number| &config.domains[number]);
        assert_eq!(
            configured.to_serve(shop, "www.shop.test", Some(&inlet)),
            "add www.shop.test to `server_name` of the server block at /etc/nginx/nginx.conf:2, which serves shop.test"
        );
        let found = configured.to_serve(other, "other.test", Some(&inlet));
        assert!(
            found.starts_with("add this server block:\nserver {"),
            "{found}"
        );
    }
}
