//! nginx's configuration as a container has it, and what to write in it: what is proposed passes
//! `nginx -t` and takes no certificate from another name.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::target::Target;
use crate::config::{Domain, defaults};
use crate::facts::{Container, Neighbour};
use crate::finding::{Finding, excerpt, words};
use crate::name::DnsName;
use crate::pipeline::{Context, Work};
use crate::target::choice::{self, Choice, Inlet, Serving};
use crate::target::dump::{Configuration, Place, ServerBlock, Unjudged};
use crate::target::endpoint;
use crate::target::process::{by_hand, by_hand_for, is_guessed, masters};
use crate::target::variables::is_computed;

mod directive;
mod first_name;
mod listening;
mod names;
mod neighbours;
mod readers;
mod site;
mod spelling;
mod together;
mod variables;
mod whereabouts;

pub(in crate::pipeline) use directive::path;
pub(in crate::pipeline) use site::Site;
use together::LOCATIONS;
pub(in crate::pipeline) use whereabouts::whereabouts;

/// What nginx's configuration says of a name
pub(in crate::pipeline) struct Configured {
    container: Container,
    /// Where the container's engine is
    engine: IpAddr,
    /// The live directory as the container sees it
    pub(in crate::pipeline) live: PathBuf,
    /// The same directory on this host; `None` where it is not here
    host_live: Option<PathBuf>,
    pub(in crate::pipeline) configuration: Arc<Configuration>,
    /// Other containers that see files of this one
    neighbours: Arc<[Neighbour]>,
    /// Why nothing is known of it
    unjudged: Option<Unjudged>,
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
            host_live: None,
            configuration: configuration.into(),
            neighbours: Arc::default(),
            unjudged: None,
        }
    }

    /// The same beside other containers that see files of this one
    pub(in crate::pipeline) fn beside(self, neighbours: impl Into<Arc<[Neighbour]>>) -> Self {
        Self {
            neighbours: neighbours.into(),
            ..self
        }
    }

    /// The same where the live directory is there on this host
    pub(in crate::pipeline) fn with_live_on_host(self, live: PathBuf) -> Self {
        Self {
            host_live: Some(live),
            ..self
        }
    }

    /// Name of the container
    pub(in crate::pipeline) fn container(&self) -> &str {
        &self.container.name
    }

    /// That the configuration is beyond what is judged; `None` where it was read
    pub(super) fn unjudged(&self) -> Option<Finding> {
        let reason = self.unjudged.as_ref();
        reason.map(|reason| unjudged(&self.container, reason))
    }

    /// That nginx may run with another file than the one that was read; `None` where it does not
    pub(in crate::pipeline) fn doubt(&self) -> Option<Finding> {
        doubt(&self.container)
    }

    /// Whether another nginx runs beside the one whose configuration it is
    pub(in crate::pipeline) fn is_one_of_several(&self) -> bool {
        masters(&self.container).nth(1).is_some()
    }

    /// The same as lines of a cure
    pub(in crate::pipeline) fn doubt_in_words(&self) -> Option<String> {
        doubt_in_words(&self.container)
    }

    /// A change of the configuration, where the files lie that it names, and what comes after it
    pub(in crate::pipeline) fn with_next(&self, change: &str, next: &str) -> String {
        let change = match self.read_beside(change) {
            Some(told) => format!("{change}\n{told}"),
            None => change.to_owned(),
        };
        whereabouts::with_next(&self.container, &change, next)
    }

    /// Where nginx sees connections to an address come in
    pub(super) fn inlet(&self, address: SocketAddr) -> Option<Inlet> {
        endpoint::inlet(&self.container, address, self.engine)
    }

    /// What serves a name at an address
    pub(super) fn serving(&self, name: &str, address: SocketAddr) -> Serving<'_> {
        match &self.unjudged {
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
        Site::new(self, &domain.name, names, name, block).at_ports(&domain.ports)
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

    /// What makes nginx serve a name of a domain that no server block lists, and the others that it
    /// lacks: where a block serves one of them, the names beside that; else a block of their own
    ///
    /// `shown` is the certificate that the name is served with now, in DER.
    pub(in crate::pipeline) fn to_serve(
        &self,
        domain: &Domain,
        name: &str,
        inlet: Option<&Inlet>,
        shown: Option<&[u8]>,
    ) -> String {
        if let Some(words) = self.is_unprintable() {
            return words;
        }
        let names: Vec<&str> = domain.names().map(DnsName::as_str).collect();
        if let Some(spelled) = self.to_spell(name, &names) {
            return spelled;
        }
        if let Some(secure) = inlet.and_then(|inlet| self.to_secure(domain, name, inlet)) {
            return self.with_room(&names, secure);
        }
        if let Some(inlet) = inlet
            && let Some(default) = self.default_for(name, inlet)
        {
            let site = self.site(domain, name, default).showing(shown);
            return site.to_list(inlet);
        }
        self.with_room(&names, self.to_add(domain, name, &names, inlet))
    }

    /// A change of server names, with the room that nginx needs for these
    ///
    /// Those of all blocks count: nginx makes no table of the names of one that is alone at its
    /// address, and does once another listens there.
    fn with_room(&self, names: &[&str], change: String) -> String {
        let bucket = self.configuration.server_names_bucket;
        let listed = self.configuration.servers.iter();
        let listed = listed.flat_map(|block| block.names.iter().map(String::as_str));
        match bucket.for_names(names.iter().copied().chain(listed)) {
            Some(size) => format!(
                "first give nginx room for long names, in `http`, instead of what stands there for it:\n    server_names_hash_bucket_size {size};\n{change}"
            ),
            None => change,
        }
    }

    /// A name to add beside another one of its domain, or a block for all of these names
    fn to_add(&self, domain: &Domain, name: &str, names: &[&str], inlet: Option<&Inlet>) -> String {
        let serving = |own: &str| match choice::serving(&self.configuration, own, None) {
            Serving::Listed(block) if inlet.is_none() => Some(block),
            _ => None,
        };
        let mut others = names.iter().filter(|own| **own != name);
        match others.find_map(|own| Some((own, serving(own)?))) {
            Some((own, block)) => format!(
                "add {name} to `server_name` of the server block at {}, which serves {own}",
                block.place()
            ),
            None => {
                let at = self.address_for(&domain.ports, inlet);
                self.block_to_add(&domain.name, names, at, &[], LOCATIONS)
            }
        }
    }

    /// What to do for a name that a regular expression may choose the block for
    ///
    /// Nobody tries regular expressions here; what a block takes from one, it takes from no name that
    /// it lists.
    pub(in crate::pipeline) fn by_pattern(
        &self,
        lineage: &DnsName,
        name: &str,
        inlet: &Inlet,
    ) -> Option<String> {
        let Choice::Pattern(block) = choice::choose(&self.configuration, name, inlet) else {
            return None;
        };
        let own = path(&self.live.join(lineage.as_str()));
        Some(format!(
            "whether the regular expression at {} takes {name} is not tried here: the server block that serves {name} has to name the files in {own}, and if it serves others too, {name} needs one of its own behind the default. Listed beside the expression, {name} would leave empty what that captures",
            block.place()
        ))
    }

    /// That no line of nginx can name a file of the storage; `None` where one can
    fn is_unprintable(&self) -> Option<String> {
        let live = self.live.to_string_lossy();
        live.contains('$').then(|| {
            format!(
                "nginx takes the dollar in {} for a variable: mount the storage at a path without one",
                words::path(&self.live)
            )
        })
    }

    /// A server block for these names, which listens as others do, and where it must stand
    ///
    /// Where no other shows it, it listens at the address that is given.
    fn block_to_add(
        &self,
        lineage: &DnsName,
        names: &[&str],
        otherwise: SocketAddr,
        like: &[&ServerBlock],
        body: &str,
    ) -> String {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for listen in like.iter().flat_map(|block| block.secure_listens()) {
            if !addresses.contains(&listen.at) {
                addresses.push(listen.at);
            }
        }
        let mut sockets: Vec<String> = Vec::new();
        for socket in like.iter().flat_map(|block| block.secure_sockets()) {
            let word = directive::word(&format!("unix:{}", socket.path));
            if !sockets.contains(&word) {
                sockets.push(word);
            }
        }
        if addresses.is_empty() && sockets.is_empty() {
            addresses.push(otherwise);
        }
        // What else such a line says holds for all blocks of the address, and need not be repeated.
        let at_addresses = addresses.iter().map(|at| listening::listen_at(*at));
        let at_sockets = sockets.iter().map(|socket| format!("{socket} ssl"));
        let listens: Vec<String> = at_addresses.chain(at_sockets).collect();
        let block = self.block_text(lineage, names, (&listens, None), body);
        let where_to = match self.behind(&addresses, like) {
            Some(first) => format!(
                " behind {}, in that file or one that is read later",
                first.place()
            ),
            None => String::new(),
        };
        format!("add this server block{where_to}:\n{block}")
    }

    /// The text of a server block that listens so, for these names; a handshake that is rejected
    /// there is let in
    fn block_text(
        &self,
        lineage: &DnsName,
        names: &[&str],
        (listens, rejects): (&[String], Option<&Place>),
        body: &str,
    ) -> String {
        let mut block = "server {\n".to_owned();
        for listen in listens {
            let _ = writeln!(block, "    listen {listen};");
        }
        let _ = writeln!(block, "    server_name {};", names.join(" "));
        if rejects.or(self.configuration.rejects.as_ref()).is_some() {
            block.push_str("    ssl_reject_handshake off;\n");
        }
        let lines = directive::certificate_lines(&self.live, lineage, &directive::DIRECTIVES);
        format!("{block}{lines}\n    {body}\n}}")
    }
}

/// That nginx in a container may run with another file than `nginx -T` shows, or that there is a
/// second one
fn doubt(container: &Container) -> Option<Finding> {
    let name = &container.name;
    let mut all = masters(container);
    if let (Some(first), more @ 1..) = (all.next(), all.count()) {
        let evidence = format!(
            "{} masters of nginx run in {name}. What was read and reloaded is that of process {} alone ({}); which of them takes a connection cannot be seen from here",
            more + 1,
            first.id,
            excerpt(&first.command, MOST_OF_COMMAND)
        );
        let others = masters(container).skip(1);
        let reloads = others.map(|other| by_hand_for(container, other, &["-s", "reload"]));
        let reloads: Vec<String> = reloads.collect();
        return Some(
            Finding::note("target.several_masters", evidence).with_cure(format!(
                "see them with `docker top {name}`, and run each in a container of its own. Until then certd reloads the first alone; what loads new certificates elsewhere:\n    {}",
                reloads.join("\n    ")
            )),
        );
    }
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
pub(in crate::pipeline) fn unjudged(container: &Container, reason: &Unjudged) -> Finding {
    let name = &container.name;
    let evidence = format!("nginx's configuration in {name} cannot be judged: {reason}");
    let dump = by_hand(container, &["-T"]);
    let cure = match reason {
        Unjudged::Header { .. } => format!(
            "a comment of a site's file is written as nginx writes the headers of `nginx -T`: write it in other words. Where it stands:\n    {dump} | grep -n '^# configuration file '"
        ),
        _ => format!("see it with: {dump}"),
    };
    Finding::note("target.config_unjudged", evidence).with_cure(cure)
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
    let (configuration, unjudged) = match &dump.configuration {
        Ok(configuration) if configuration.servers.is_empty() => return None,
        Ok(configuration) => (Arc::clone(configuration), None),
        Err(reason) => (Arc::default(), Some(reason.clone())),
    };
    let live = live_in_use(
        &context.config.storage.join("live"),
        &target.lives_in(context, container),
        &configuration.servers,
    )?;
    let engine = target.engine.address();
    let neighbours = target.dumps.neighbours_of(&target.engine, container).await;
    Some(Configured {
        unjudged,
        ..Configured::new(container, engine, live, configuration)
            .beside(neighbours)
            .with_live_on_host(context.store.storage().join("live"))
    })
}

/// The live directory of a storage, as the engine names it
pub(in crate::pipeline) fn live_of(storage: &Path) -> PathBuf {
    let storage = std::fs::canonicalize(storage).unwrap_or_else(|_| storage.to_owned());
    storage.join("live")
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

/// Characters of a command line that are shown
const MOST_OF_COMMAND: usize = 60;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::facts::{Network, Process, User};
    use crate::target::dump::{self, CertificateLine};

    const SHOP: &str = "shop.test";

    fn configured(servers: &str) -> Configured {
        // A text with another file ends `http` itself.
        let end = match servers.contains("# configuration file ") {
            true => "",
            false => "}\n",
        };
        let dump =
            format!("# configuration file /etc/nginx/nginx.conf:\nhttp {{\n{servers}\n{end}");
        let configuration = dump::read(&dump).unwrap();
        let container = Container {
            name: "web".to_owned(),
            processes: of_root(),
            ..Container::default()
        };
        let engine = Ipv4Addr::LOCALHOST.into();
        Configured::new(&container, engine, "/live".into(), configuration)
    }

    /// nginx whose workers are root, too, and read every key
    fn of_root() -> Vec<Process> {
        let root = User {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        };
        let titles = ["nginx: master process nginx", "nginx: worker process"];
        let processes = titles.into_iter().zip(1..).map(|(title, id)| Process {
            id,
            parent: id - 1,
            command: title.to_owned(),
            user: Some(root.clone()),
        });
        processes.collect()
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
        let expected = "the server block at /etc/nginx/nginx.conf:2 serves other names too: take shop.test out of its `server_name` (write `_` there where none is left), and put a copy of that block right behind it, with all its lines (locations, redirects, access rules); in the copy write these for its `listen` and `server_name` and the lines that name its certificate:
server {
    listen 10.0.0.5:443 ssl;
    listen [::]:443 ssl;
    listen 80;
    server_name shop.test;
    ssl_certificate     /live/shop.test/fullchain.pem;
    ssl_certificate_key /live/shop.test/privkey.pem;
    # all other lines of /etc/nginx/nginx.conf:2
}";
        assert_eq!(found, expected);
        let found = change(&block("*.test"), SHOP);
        assert!(
            found.starts_with(
                "leave it to the server block at /etc/nginx/nginx.conf:2 to serve its other names, and put a copy"
            ),
            "{found}"
        );
    }

    #[test]
    fn a_path_with_variables_is_changed_in_its_map_for_one_name() {
        let block = "server { listen 443 ssl; server_name shop.test www.shop.test b.test;\nssl_certificate /live/$lineage/fullchain.pem;\nssl_certificate_key /live/$lineage/privkey.pem; }";
        let map = |rows: &str| format!("map $ssl_server_name $lineage {{\n{rows}\n}}\n{block}");
        let told = "from variables, which no fixed path may replace\n";
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
        // Before any regular expression nginx looks for a row of the name itself.
        let added = added.replace("www.shop.test", SHOP);
        check(&map("~^s b.test;"), SHOP, told, &added);
        check(&map("volatile; ~^s b.test;"), SHOP, told, &added);
        check(
            &map("\\shop.test b.test;"),
            SHOP,
            told,
            &changed.replace("    shop", "    \\shop"),
        );
        let by_name = block.replace("$lineage", "$ssl_server_name");
        let with_map = "beside the server blocks add this map, and write $certd_lineage for $ssl_server_name in the lines that name certificates and keys, nowhere else:\n    map $ssl_server_name $certd_lineage {\n        default $ssl_server_name;\n        www.shop.test shop.test;\n    }";
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
            configured.to_serve(shop, "www.shop.test", Some(&inlet), None),
            "add www.shop.test to `server_name` of the server block at /etc/nginx/nginx.conf:2, which serves shop.test; until then the default at /etc/nginx/nginx.conf:3 answers for it"
        );
        let found = configured.to_serve(other, "other.test", Some(&inlet), None);
        assert!(
            found.starts_with("add this server block:\nserver {"),
            "{found}"
        );
    }

    /// What is to be changed in the block that begins at a line, where a certificate for these names
    /// is served
    fn change_at(servers: &str, line: usize, shown: &[&str]) -> String {
        let configured = configured(servers);
        let lineage = DnsName::parse(SHOP).unwrap();
        let mut blocks = configured.configuration.servers.iter();
        let block = blocks.find(|block| block.line == line).unwrap();
        let site = Site::new(&configured, &lineage, vec![SHOP], SHOP, block);
        let shown = shown.iter().map(|name| (*name).to_owned()).collect();
        site.showing_names(shown)
            .to_change(|line| !site_is_own(line))
    }

    fn site_is_own(line: &CertificateLine) -> bool {
        line.path.starts_with("/live/shop.test")
    }

    const B: &str =
        "ssl_certificate /live/b.test/fullchain.pem; ssl_certificate_key /live/b.test/privkey.pem;";

    #[test]
    fn a_file_that_another_block_includes_keeps_its_lines() {
        let text = |other: &str| {
            format!(
                "server {{ listen 443 ssl; server_name shop.test; include tls; }}\nserver {{ listen 443 ssl; server_name {other}; include tls; }}\n}}\n# configuration file /etc/nginx/tls:\n{B}\n"
            )
        };
        let found = change_at(&text("b.test"), 2, &[]);
        let expected = "/etc/nginx/tls is included by /etc/nginx/nginx.conf:3 too, and stays as it is: in the server block at /etc/nginx/nginx.conf:2 of web write the other lines of that file in place of its `include`, and add
    ssl_certificate     /live/shop.test/fullchain.pem;
    ssl_certificate_key /live/shop.test/privkey.pem;";
        assert_eq!(found, expected);
        // Where all who include it are of the domain, its lines are changed.
        let found = change_at(&text("shop.test"), 2, &[]);
        assert!(found.contains("change\n    /etc/nginx/tls:1: "), "{found}");
    }

    #[test]
    fn a_file_that_may_be_linked_to_by_another_name_keeps_its_lines() {
        let text = |line: &str| {
            format!(
                "server {{ listen 443 ssl; server_name shop.test; include tls; }}\nserver {{ listen 443 ssl; server_name b.test; include link; }}\n}}\n# configuration file /etc/nginx/tls:\n{B}\n\n# configuration file /etc/nginx/link:\n{line}\n"
            )
        };
        let found = change_at(&text(B), 2, &[]);
        let expected = "/etc/nginx/tls may be a link to the same file as /etc/nginx/link, which /etc/nginx/nginx.conf:3 includes, and stays as it is: in the server block at /etc/nginx/nginx.conf:2 of web write the other lines of that file in place of its `include`, and add
    ssl_certificate     /live/shop.test/fullchain.pem;
    ssl_certificate_key /live/shop.test/privkey.pem;";
        assert_eq!(found, expected);
        // What stands on another line, or names another file, is no link to it.
        for other in [&format!("\n{B}"), &B.replace("b.test", "c.test")] {
            let found = change_at(&text(other), 2, &[]);
            assert!(found.contains("change\n    /etc/nginx/tls:1: "), "{found}");
        }
    }

    #[test]
    fn the_default_keeps_the_certificate_of_names_that_none_lists() {
        let text = |rank: &str| {
            format!(
                "server {{ listen 443 ssl{rank}; server_name shop.test; {B} }}\nserver {{ listen 443 ssl; server_name c.test; }}"
            )
        };
        let others = [SHOP, "b.test"];
        let found = change_at(&text(" default_server"), 2, &others);
        let begin = "the server block at /etc/nginx/nginx.conf:2 serves other names too: write `_` for shop.test in its `server_name`, and put a copy of that block right behind it,";
        assert!(found.starts_with(begin), "{found}");
        assert_eq!(
            change_at(&text(""), 2, &others),
            change_at(&text(" default_server"), 2, &others)
        );
        // Names that others list, and those of the domain, do not depend on it.
        for shown in [&[SHOP, "c.test"][..], &[SHOP], &[]] {
            let found = change_at(&text(""), 2, shown);
            assert!(found.starts_with("in the server block at"), "{found}");
        }
        let found = change_at(&text(""), 2, &["*.test"]);
        assert!(found.contains("put a copy of that block"), "{found}");
    }

    #[test]
    fn a_new_block_stands_behind_the_default_of_its_sockets() {
        let text = |rank: &str| {
            format!(
                "server {{ listen [::]:443 ssl{rank}; listen 443 ssl{rank}; server_name b.test; {B} }}"
            )
        };
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let found = configured(text).to_serve(&domain(""), SHOP, Some(&inlet(&[])), None);
            assert!(
                found.contains(&format!("add this server block{expected}:\nserver {{\n")),
                "{found}"
            );
        }
        check(
            &text(""),
            " behind /etc/nginx/nginx.conf:2, in that file or one that is read later",
        );
        check(&text(" default_server"), "");
    }

    #[test]
    fn a_copy_listens_wherever_the_block_does() {
        let shown = |listens: &str, others: &str, names: &str| {
            let text = format!(
                "server {{ {listens} listen 443 ssl; server_name {names}; {B} }}\nserver {{ listen 443 ssl default_server; }}\n{others}"
            );
            let found = change(&text, SHOP);
            let (_, block) = found.split_once("server {\n").expect(&found);
            let lines = block.lines().map(str::trim);
            let lines = lines.filter(|line| line.starts_with("listen "));
            lines.collect::<Vec<_>>().join(" ")
        };
        let check = |listens: &str, expected: &str| {
            let expected = format!("{expected} listen 443 ssl;");
            assert_eq!(shown(listens, "", "b.test shop.test"), expected);
        };
        check("listen 80;", "listen 80;");
        // What nginx refuses to read twice is left out.
        check(
            "listen [::]:80 default_server ipv6only=on; listen 8443 quic reuseport; listen unix:/run/x ssl backlog=9;",
            "listen [::]:80; listen 8443 quic; listen unix:/run/x ssl;",
        );
        check(
            "listen localhost:8443-8445 ssl http2 proxy_protocol deferred;",
            "listen localhost:8443-8445 ssl http2 proxy_protocol;",
        );
        // What another block has from the name at another port, it keeps.
        let plain = "server { listen 80; server_name shop.test; }";
        for (names, expected) in [
            ("b.test shop.test", "listen 80; listen 443 ssl;"),
            ("*.test", "listen 443 ssl;"),
        ] {
            assert_eq!(shown("listen 80;", plain, names), expected);
        }
    }

    #[test]
    fn lines_of_an_include_are_written_into_the_copy() {
        let text = |other: &str| {
            format!(
                "server {{ listen 443 ssl; include names; include tls; }}\n{other}\n}}\n# configuration file /etc/nginx/names:\nserver_name shop.test b.test;\n\n# configuration file /etc/nginx/tls:\n{B}\n"
            )
        };
        let lent = "that name its certificate, and the other lines of /etc/nginx/names and /etc/nginx/tls for the `include`:\nserver {";
        let found = change(&text(""), SHOP);
        let place =
            "(write `_` there where none is left) (it stands at /etc/nginx/names:1), and put";
        assert!(found.contains(place) && found.contains(lent), "{found}");
        let found = change(&text("server { listen 80; include names; }"), SHOP);
        let place = "(it stands at /etc/nginx/names:1, which the server block at /etc/nginx/nginx.conf:3 includes too, and stays as it is there: write the names that are left, and the other lines of /etc/nginx/names, in place of the `include`), and put";
        assert!(found.contains(place) && found.contains(lent), "{found}");
    }

    #[test]
    fn a_file_that_is_included_beside_the_blocks_keeps_its_lines() {
        let own = "server { listen 443 ssl; server_name shop.test; include tls; }";
        let file = format!("\n# configuration file /etc/nginx/tls:\n{B}\n");
        let found = change_at(&format!("{own}\ninclude tls;\n}}{file}"), 2, &[]);
        let expected = "/etc/nginx/tls is included more than once (at /etc/nginx/nginx.conf:2 and /etc/nginx/nginx.conf:3), and stays as it is: in the server block at /etc/nginx/nginx.conf:2 of web write";
        assert!(found.starts_with(expected), "{found}");
        let stream = "}\nstream { include tls; server { listen 8883 ssl; } }";
        let found = change_at(&format!("{own}\n{stream}{file}"), 2, &[]);
        assert!(found.contains("tls is included more than once"), "{found}");
        let found = change_at(&format!("{own}\n}}{file}"), 2, &[]);
        assert!(found.starts_with("in the server block at"), "{found}");
    }

    #[test]
    fn a_name_that_a_dot_lists_later_is_served_by_the_copy_before_that() {
        let text = format!(
            "server {{ listen 443 ssl; server_name first.test; }}\nserver {{ listen 443 ssl; server_name shop.test other.test; {B} }}\nserver {{ listen 443 ssl; server_name .shop.test; {B} }}"
        );
        let found = change_at(&text, 3, &[]);
        let begin = "the server block at /etc/nginx/nginx.conf:3 serves other names too: take shop.test out of its `server_name` (write `_` there where none is left), and put a copy of that block right behind it";
        assert!(found.starts_with(begin), "{found}");
    }

    #[test]
    fn a_block_that_is_added_in_the_hosts_network_listens_at_its_address_alone() {
        #[track_caller]
        fn check(servers: &str, network: Network, expected: &str) {
            let mut configured = configured(servers);
            configured.container.network = network;
            let inlet = inlet(&["127.79.9.9"]);
            let found = configured.to_serve(&domain(""), SHOP, Some(&inlet), None);
            assert!(
                found.contains(&format!("    listen {expected};\n")),
                "{found}"
            );
            assert_eq!(configured.listen_to_add(443, Some(&inlet)), expected);
        }
        let own = "server { listen 127.79.1.81:443 ssl; server_name b.test; }";
        check(own, Network::Host, "127.79.9.9:443 ssl");
        check(own, Network::Own, "443 ssl");
        check("server { listen 80; }", Network::Host, "443 ssl");
        let other = "server { listen [::1]:443 ssl; }";
        check(other, Network::Host, "127.79.9.9:443 ssl");
    }

    #[test]
    fn a_leading_dot_becomes_a_star() {
        let text = format!(
            "server {{ listen 443 ssl default_server; }}\nserver {{ listen 443 ssl; server_name .shop.test; {B} }}"
        );
        let found = change_at(&text, 3, &[]);
        let expected = "the server block at /etc/nginx/nginx.conf:3 serves other names too: write `*.shop.test` for `.shop.test` in its `server_name`, and put a copy of that block right behind it,";
        assert!(found.starts_with(expected), "{found}");
        let block = ":\nserver {\n    listen 443 ssl;\n    server_name shop.test;\n";
        assert!(found.contains(block), "{found}");
    }

    #[test]
    fn a_map_that_decides_more_than_certificates_gets_no_row() {
        let block = "server { listen 443 ssl; server_name shop.test www.shop.test; root /www/$site;\nssl_certificate /live/$site/fullchain.pem;\nssl_certificate_key /live/$site/privkey.pem; }";
        let text = format!(
            "map $ssl_server_name $site {{ default b.test; www.shop.test www.shop.test; }}\n{block}"
        );
        let found = change(&text, "www.shop.test");
        let expected = "beside the server blocks add this map, and write $certd_lineage for $site in the lines that name certificates and keys, nowhere else:\n    map $ssl_server_name $certd_lineage {\n        default $site;\n        www.shop.test shop.test;\n    }";
        assert!(found.ends_with(expected), "{found}");
    }

    #[test]
    fn a_row_that_nginx_would_refuse_is_not_proposed() {
        let text = |row: &str, lines: &str| {
            format!(
                "map $ssl_server_name $crt {{ hostnames; default /x; {row} }}\nserver {{ listen 443 ssl; server_name shop.test *.shop.test; {lines} }}"
            )
        };
        let apart = "ssl_certificate $crt.pem; ssl_certificate_key $crt.key;";
        let found = change(&text(".shop.test /x;", apart), SHOP);
        let expected = "the server block at /etc/nginx/nginx.conf:3 takes the certificate of each name from variables, which no fixed path may replace
beside the server blocks add this map:
    map $ssl_server_name $certd_certificate {
        default $crt.pem;
        shop.test /live/shop.test/fullchain.pem;
    }
and instead of `ssl_certificate $crt.pem;` at /etc/nginx/nginx.conf:3 write
    ssl_certificate $certd_certificate;
beside the server blocks add this map:
    map $ssl_server_name $certd_key {
        default $crt.key;
        shop.test /live/shop.test/privkey.pem;
    }
and instead of `ssl_certificate_key $crt.key;` at /etc/nginx/nginx.conf:3 write
    ssl_certificate_key $certd_key;";
        assert_eq!(found, expected);
        let together = "ssl_certificate $crt/fullchain.pem; ssl_certificate_key $crt/privkey.pem;";
        let found = change(&text(".shop.test /x;", together), SHOP);
        assert!(
            found.contains("map $ssl_server_name $certd_lineage {"),
            "{found}"
        );
        let found = change(&text("*.shop.test /x;", together), SHOP);
        assert!(
            found.ends_with("add this row:\n    shop.test /live/shop.test;"),
            "{found}"
        );
    }

    #[test]
    fn a_name_that_nginx_has_no_room_for_gets_some_first() {
        let name = format!("{}.shop.test", "a".repeat(40));
        let room = "first give nginx room";
        let server = |sizes: &str| {
            let text = format!("{sizes} server {{ listen 443 ssl default_server; }}");
            let domain = domain(&format!("{name:?}"));
            configured(&text).to_serve(&domain, &name, Some(&inlet(&[])), None)
        };
        let told = server("");
        assert!(told.starts_with("first give nginx"), "{told}");
        assert!(
            told.contains("    server_names_hash_bucket_size 128;\nadd "),
            "{told}"
        );
        assert!(!server("server_names_hash_bucket_size 128;").contains(room));
        let map = |sizes: &str| {
            let text = format!(
                "{sizes} map $ssl_server_name $l {{ default b.test; }}\nserver {{ listen 443 ssl; server_name {name}; ssl_certificate /live/$l/fullchain.pem; }}"
            );
            let configured = configured(&text);
            let lineage = DnsName::parse(SHOP).unwrap();
            let block = &configured.configuration.servers[0];
            let site = Site::new(&configured, &lineage, vec![&name], &name, block);
            site.to_change(|line| !site.is_own(line))
        };
        let told = map("");
        let expected = "before the first map, at /etc/nginx/nginx.conf:2, instead of what stands there for it:\n    map_hash_bucket_size 128;\nto the map";
        assert!(told.contains(expected), "{told}");
        assert!(!map("map_hash_bucket_size 128;").contains(room));
    }

    #[test]
    fn a_change_that_adds_no_name_needs_no_room_for_one_whatever_its_file_is_called() {
        let long = format!("{}.b.test", "b".repeat(60));
        let servers = format!(
            "include server_names.conf;\nserver {{ listen 443 ssl; server_name {long}; {B} }}\n}}\n# configuration file /etc/nginx/server_names.conf:\nserver {{ listen 443 ssl; server_name shop.test; {B} }}\n"
        );
        let found = change(&servers, SHOP);
        assert!(
            found
                .starts_with("in the server block at /etc/nginx/server_names.conf:1 of web change"),
            "{found}"
        );
    }

    #[test]
    fn a_storage_with_blanks_in_its_path_is_quoted() {
        let mut configured = configured(&format!(
            "server {{ listen 443 ssl; server_name shop.test; {B} }}"
        ));
        let lineage = DnsName::parse(SHOP).unwrap();
        let told = |configured: &Configured| {
            let block = &configured.configuration.servers[0];
            let site = Site::new(configured, &lineage, vec![SHOP], SHOP, block);
            site.to_change(|_| true)
        };
        configured.live = "/my live".into();
        let found = told(&configured);
        let line = "\n    ssl_certificate     \"/my live/shop.test/fullchain.pem\";";
        assert!(found.contains(line), "{found}");
        configured.live = "/my$live".into();
        let found = told(&configured);
        assert!(!found.contains("ssl_certificate"), "{found}");
    }

    fn domain(aliases: &str) -> Domain {
        let config = format!(
            "email = \"a@b.test\"\n[[domain]]\nname = \"shop.test\"\naliases = [{aliases}]\n"
        );
        let config = crate::config::Config::parse(
            &config,
            Path::new("domains.toml"),
            &crate::config::Environment::default(),
        );
        config.unwrap().domains.remove(0)
    }

    fn inlet(address: &[&str]) -> Inlet {
        Inlet {
            addresses: address
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            port: 443,
        }
    }

    /// What is said of a name that a block lists which does not listen where it comes in
    fn elsewhere(http: &str, inlet: &Inlet, name: &str) -> String {
        let configured = configured(http);
        let domain = domain("\"www.shop.test\"");
        let serving = choice::serving(&configured.configuration, name, Some(inlet));
        let Serving::Elsewhere { block, at } = serving else {
            panic!("{serving:?}");
        };
        configured.listens_elsewhere(Some(&domain), name, block, at, Some(inlet))
    }

    #[test]
    fn a_listen_that_is_added_makes_no_other_block_the_default() {
        let text = |own: &str, rank: &str| {
            let own = format!("server {{ listen 443 ssl; server_name shop.test; {own} }}\n");
            let other = format!(
                "server {{ listen 443 ssl; listen [::]:443 ssl{rank}; server_name b.test; {B} }}\n"
            );
            [own, other]
        };
        let v6 = inlet(&["fd00::5"]);
        let [own, other] = text(B, "");
        let found = elsewhere(&format!("{own}{other}"), &v6, SHOP);
        let expected = "the server block at /etc/nginx/nginx.conf:2 lists shop.test, and does not listen on IPv6: write `default_server` into the `listen` of [::]:443 at /etc/nginx/nginx.conf:3, which takes what none lists there because nginx reads it first, and then add\n    listen [::]:443 ssl;";
        assert_eq!(found, expected);
        let found = elsewhere(&format!("{other}{own}"), &v6, SHOP);
        assert!(
            found.ends_with("on IPv6: add\n    listen [::]:443 ssl;"),
            "{found}"
        );
        let [own, other] = text(B, " default_server");
        let found = elsewhere(&format!("{own}{other}"), &v6, SHOP);
        assert!(
            found.ends_with("on IPv6: add\n    listen [::]:443 ssl;"),
            "{found}"
        );
        // Nothing speaks TLS without a certificate.
        let [own, other] = text("", " default_server");
        let found = elsewhere(&format!("{own}{other}"), &v6, SHOP);
        assert!(
            found.contains("ssl;\n    ssl_certificate     /live/shop.test/"),
            "{found}"
        );
    }

    #[test]
    fn a_block_for_other_ports_or_loopback_is_not_shown_to_visitors() {
        for listen in ["127.0.0.1:8443", "127.0.0.1:443", "8443"] {
            let text = format!(
                "server {{ listen 443 ssl default_server; {B} }}\nserver {{ listen {listen} ssl; server_name shop.test; {B} }}"
            );
            let found = elsewhere(&text, &inlet(&["10.0.0.5"]), SHOP);
            assert!(!found.contains("\n"), "{found}");
            assert!(
                found.contains("visitors get what they see from /etc/nginx/nginx.conf:2"),
                "{found}"
            );
        }
    }

    #[test]
    fn a_row_that_a_stream_map_lacks_is_named() {
        let text = |row: &str| {
            format!(
                "server {{ listen 127.0.0.1:9443 ssl; server_name old.test; {B} }}\nserver {{ listen 127.0.0.1:8443 ssl; server_name shop.test www.shop.test; {B} }}\n}}\nstream {{\nmap $ssl_preread_server_name $to {{ {row} default old; }}\nupstream web {{ server 127.0.0.1:8443; }}\nupstream old {{ server 127.0.0.1:9443; }}\nserver {{ listen 443; ssl_preread on; proxy_pass $to; }}"
            )
        };
        let found = elsewhere(&text("shop.test web;"), &inlet(&[]), "www.shop.test");
        let expected = "the stream server at /etc/nginx/nginx.conf:9 passes www.shop.test to 127.0.0.1:9443, and the server block at /etc/nginx/nginx.conf:3, which lists it, listens at 127.0.0.1:8443, to which it passes shop.test: to the map of $to at /etc/nginx/nginx.conf:6 add this row:\n    www.shop.test web;";
        assert_eq!(found, expected);
        let found = elsewhere(&text(""), &inlet(&[]), "www.shop.test");
        assert!(
            found.ends_with("8443: let it pass www.shop.test there"),
            "{found}"
        );
    }

    #[test]
    fn ssl_comes_with_a_certificate_and_to_no_block_of_others() {
        let told = |http: &str| {
            let configured = configured(http);
            configured.to_serve(&domain(""), SHOP, Some(&inlet(&[])), None)
        };
        let alone = "server { listen 443; server_name shop.test; }";
        assert_eq!(
            told(alone),
            "in the server block at /etc/nginx/nginx.conf:2, which lists shop.test, give the `listen` of port 443 its `ssl`, and add
    ssl_certificate     /live/shop.test/fullchain.pem;
    ssl_certificate_key /live/shop.test/privkey.pem;"
        );
        let with_other = format!("{alone}\nserver {{ listen 443; server_name b.test; }}");
        for http in [
            with_other.as_str(),
            "server { listen 443; server_name b.test; }",
        ] {
            let found = told(http);
            assert!(
                found.contains("one `ssl` there lets all of them speak TLS"),
                "{found}"
            );
            assert!(!found.contains('\n'), "{found}");
        }
    }

    #[test]
    fn a_block_that_rejects_handshakes_is_named_with_its_line() {
        let told = |http: &str| {
            let configured = configured(http);
            let lineage = DnsName::parse(SHOP).unwrap();
            let block = &configured.configuration.servers[0];
            let site = Site::new(&configured, &lineage, vec![SHOP], SHOP, block);
            site.to_accept()
        };
        let block = |inside: &str| {
            format!("server {{ listen 443 ssl; server_name shop.test; {B}\n{inside} }}")
        };
        assert_eq!(told(&block("")), None);
        let (seen, cure) = told(&block("ssl_reject_handshake on;")).unwrap();
        assert_eq!(
            seen,
            "`ssl_reject_handshake on` at /etc/nginx/nginx.conf:3 refuses every handshake of the server block at /etc/nginx/nginx.conf:2, which lists shop.test"
        );
        assert_eq!(
            cure,
            "take `ssl_reject_handshake on` out at /etc/nginx/nginx.conf:3"
        );
        let of_all = |inside: &str| format!("{}\nssl_reject_handshake on;", block(inside));
        let (_, cure) = told(&of_all("")).unwrap();
        assert_eq!(
            cure,
            "in the server block at /etc/nginx/nginx.conf:2 add\n    ssl_reject_handshake off;"
        );
        assert_eq!(told(&of_all("ssl_reject_handshake off;")), None);
        // A block that is added says so, too.
        let configured =
            configured("ssl_reject_handshake on; server { listen 443 ssl default_server; }");
        let added = configured.to_serve(&domain(""), SHOP, Some(&inlet(&[])), None);
        assert!(
            added.contains("\n    ssl_reject_handshake off;\n"),
            "{added}"
        );
    }

    #[test]
    fn a_name_that_a_regular_expression_may_take_gets_no_lines_to_copy() {
        let configured =
            configured(r"server { listen 443 ssl; server_name ~^(?<site>.+)\.test$; }");
        let lineage = DnsName::parse(SHOP).unwrap();
        let told = configured.by_pattern(&lineage, SHOP, &inlet(&[])).unwrap();
        assert!(
            told.contains("the regular expression at /etc/nginx/nginx.conf:2"),
            "{told}"
        );
        assert!(!told.contains('\n'), "{told}");
    }
}
