//! Where a block listens, and what it takes from others by that: the first that nginx reads at a
//! socket is its default, and one `ssl` lets all blocks of a socket speak TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::directive::{self, DIRECTIVES, certificate_lines};
use super::{Configured, variables};
use crate::config::{Domain, defaults};
use crate::facts::Network;
use crate::name::DnsName;
use crate::target::choice::{self, Choice, Inlet, Serving};
use crate::target::dump::{Module, ServerBlock, StreamServer};
use crate::target::endpoint;
use crate::target::listen::{Listen, Rank};

/// Whether two are the same block of one configuration
pub(super) fn is_same(block: &ServerBlock, other: &ServerBlock) -> bool {
    block.file == other.file && block.line == other.line
}

impl Configured {
    /// Number of a block in the order in which nginx reads them
    fn number(&self, block: &ServerBlock) -> Option<usize> {
        let mut servers = self.configuration.servers.iter();
        servers.position(|other| is_same(other, block))
    }

    /// The block that is the default of an address because nginx reads it first
    pub(super) fn first_at(&self, at: SocketAddr) -> Option<(usize, &ServerBlock)> {
        choice::first_at(&self.configuration.servers, |block| {
            let mut own = block.listens.iter();
            own.find(|listen| listen.at == at).map(|listen| listen.rank)
        })
    }

    /// Whether a block takes what none lists, at one of its sockets
    pub(super) fn is_default(&self, block: &ServerBlock) -> bool {
        let at_address = |listen: &Listen| {
            let first = self.first_at(listen.at);
            listen.rank == Rank::Default || first.is_some_and(|(_, first)| is_same(first, block))
        };
        block.secure_listens().any(at_address)
            || self
                .first_at_sockets(block)
                .any(|(_, first)| is_same(first, block))
            || block
                .secure_sockets()
                .any(|socket| socket.rank == Rank::Default)
    }

    /// The blocks that are the default of the Unix sockets of one because nginx reads them first
    fn first_at_sockets<'c>(
        &'c self,
        block: &'c ServerBlock,
    ) -> impl Iterator<Item = (usize, &'c ServerBlock)> {
        block.secure_sockets().filter_map(|socket| {
            choice::first_at(&self.configuration.servers, |block| {
                let mut own = block.sockets.iter();
                own.find(|own| own.path == socket.path).map(|own| own.rank)
            })
        })
    }

    /// The block behind which one that listens as others do must stand; `None` where any place
    /// will do
    pub(super) fn behind(
        &self,
        listens: &[SocketAddr],
        like: &[&ServerBlock],
    ) -> Option<&ServerBlock> {
        let at_addresses = listens.iter().filter_map(|at| self.first_at(*at));
        let at_sockets = like.iter().flat_map(|block| self.first_at_sockets(block));
        let all = at_addresses.chain(at_sockets).map(|(number, _)| number);
        self.configuration.servers.get(all.max()?)
    }

    /// nginx listens in the container, and the port may be another one on the host
    fn port_inside(&self, port: u16) -> u16 {
        let mut published = self.container.published.iter();
        match published.any(|published| published.container_port == port) {
            true => port,
            false => endpoint::container_port(&self.container, port),
        }
    }

    /// Where a block is to listen at the first of these ports, where no other shows it
    pub(super) fn address_for(&self, ports: &[u16], inlet: Option<&Inlet>) -> SocketAddr {
        let port = ports.first().copied().unwrap_or(defaults::PORT);
        self.address_at(self.port_inside(port), inlet)
    }

    /// The arguments of a `listen` with TLS for what comes in there, where nginx has none yet
    pub(in crate::pipeline) fn listen_to_add(&self, port: u16, inlet: Option<&Inlet>) -> String {
        listen_at(self.address_at(port, inlet))
    }

    /// All addresses; in the network of the host, where nginx listens at some of its own, the one
    /// that visitors come to: another program may have the port at another
    fn address_at(&self, port: u16, inlet: Option<&Inlet>) -> SocketAddr {
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let own = inlet.and_then(|inlet| inlet.addresses.first());
        let Some(own) = own.filter(|_| self.container.network == Network::Host) else {
            return all;
        };
        let blocks = self.configuration.servers.iter();
        let listens = || blocks.clone().flat_map(|block| &block.listens);
        let is_all = |listen: &Listen| {
            let ip = listen.at.ip();
            listen.at.port() == port && ip.is_unspecified() && ip.is_ipv4() == own.is_ipv4()
        };
        let has_own = listens().any(|listen| !listen.at.ip().is_unspecified());
        match has_own && !listens().any(is_all) {
            true => SocketAddr::new(*own, port),
            false => all,
        }
    }

    /// The arguments of each `listen` of a block that a copy of it for these names has, too
    ///
    /// Where another block has all of these names from it now, the copy would take them back.
    pub(super) fn listens_to_copy(&self, block: &ServerBlock, names: &[&str]) -> Vec<String> {
        let lists = |block: &ServerBlock, name: &str| {
            let mut listed = block.names.iter();
            listed.any(|own| own.strip_prefix('.').unwrap_or(own) == name)
        };
        let is_anothers = |name: &str, at: SocketAddr| {
            let own = self.number(block).filter(|_| lists(block, name));
            let mut others = self.configuration.servers.iter().enumerate();
            others.any(|(number, other)| {
                own.is_none_or(|own| number < own)
                    && !is_same(other, block)
                    && lists(other, name)
                    && other.listens.iter().any(|listen| listen.at == at)
            })
        };
        let is_copied = |line: &&Vec<String>| {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            let Some((listen, _)) = Listen::parse(&words) else {
                return true;
            };
            let mut left = names.iter().filter(|name| !is_anothers(name, listen.at));
            let is_listed = left.clone().any(|name| lists(block, name));
            is_listed || left.by_ref().count() == names.len()
        };
        let copied = block.listen_lines.iter().filter(is_copied);
        let words = copied.map(|line| line.iter().map(|word| directive::word(word)));
        words
            .map(|words| words.collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// What to do where a block lists a name, and others listen where its connections come in
    ///
    /// Options of a socket, such as `proxy_protocol`, stand in one `listen` of it alone: none is
    /// given here, and nginx takes those that it has.
    pub(in crate::pipeline) fn listens_elsewhere(
        &self,
        domain: Option<&Domain>,
        name: &str,
        block: &ServerBlock,
        at: SocketAddr,
        inlet: Option<&Inlet>,
    ) -> String {
        if let Some(inlet) = inlet
            && let Some(server) = choice::way(&self.configuration, name, inlet).through.last()
        {
            return self.passes_elsewhere(domain, (name, block, at), inlet, server);
        }
        let mut listens = block.listens.iter();
        let same_port = listens.find(|listen| listen.at.port() == at.port());
        let mut secure = block.secure_listens();
        let is_inside = !at.ip().is_loopback() && secure.all(|listen| listen.at.ip().is_loopback());
        let Some(same_port) = same_port.filter(|_| !is_inside) else {
            return self.meant_for_others(name, block, at, inlet);
        };
        let why = match at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            true => "does not listen on IPv6".to_owned(),
            // An address of its own comes before all addresses.
            false => format!(
                "listens at {}, while others take what comes in there by a `listen` with its address",
                same_port.at
            ),
        };
        let seen = format!(
            "the server block at {} lists {name}, and {why}",
            block.place()
        );
        let missing = match block.certificate_lines().next() {
            Some(_) => String::new(),
            None => self.lines_of(domain),
        };
        let listen = format!("    listen {};{missing}", listen_at(at));
        let first = self.first_at(at);
        match first.filter(|(number, _)| self.number(block).is_some_and(|own| own < *number)) {
            None => format!("{seen}: add\n{listen}"),
            Some((_, first)) if first.borrowed.contains(&at) => format!(
                "{seen}: let it listen there too, behind the server block at {}, which takes what none lists there because nginx reads it first",
                first.place()
            ),
            // Read before the one that is first there now, it would be the default in its place.
            Some((_, first)) => format!(
                "{seen}: write `default_server` into the `listen` of {at} at {}, which takes what none lists there because nginx reads it first, and then add\n{listen}",
                first.place()
            ),
        }
    }

    fn lines_of(&self, domain: Option<&Domain>) -> String {
        let lines = |domain: &Domain| certificate_lines(&self.live, &domain.name, &DIRECTIVES);
        let lines = domain.map(|domain| format!("\n{}", lines(domain)));
        lines.unwrap_or_default()
    }

    /// A block that listens at other ports, or for this container alone, may not be meant for
    /// visitors: whoever wrote it knows
    fn meant_for_others(
        &self,
        name: &str,
        block: &ServerBlock,
        at: SocketAddr,
        inlet: Option<&Inlet>,
    ) -> String {
        let default = inlet.and_then(|inlet| self.default_for(name, inlet));
        let default = default.map(|block| format!(" from {}", block.place()));
        format!(
            "the server block at {} lists {name} and listens at {} alone, while visitors get what they see{} at {at}. If it is meant for visitors, let it listen there; if it is not, give {name} another server block there; or correct `ports` in domains.toml",
            block.place(),
            addresses(block),
            default.unwrap_or_default(),
        )
    }

    /// The block that takes a name which none lists there
    pub(super) fn default_for(&self, name: &str, inlet: &Inlet) -> Option<&ServerBlock> {
        match choice::choose(&self.configuration, name, inlet) {
            Choice::Default(block) => Some(block),
            _ => None,
        }
    }

    /// A stream server passes a name to others than the block that lists it: what it passes where
    /// is what is to be changed, and no `listen`
    fn passes_elsewhere(
        &self,
        domain: Option<&Domain>,
        (name, block, at): (&str, &ServerBlock, SocketAddr),
        inlet: &Inlet,
        server: &StreamServer,
    ) -> String {
        let seen = format!(
            "the stream server at {}:{} passes {name} to {at}, and the server block at {}, which lists it, listens at {}",
            server.file,
            server.line,
            block.place(),
            addresses(block)
        );
        let names = || {
            domain
                .into_iter()
                .flat_map(Domain::names)
                .map(DnsName::as_str)
        };
        let mut rows =
            names().find_map(|other| Some((other, self.row_to(other, block, inlet, server)?)));
        let Some((other, (map, value))) = rows.take() else {
            return format!("{seen}: let it pass {name} there");
        };
        // Other names of the block may lack theirs, too.
        let is_lacking = |own: &&str| {
            let listed = choice::serving(&self.configuration, own, Some(inlet));
            *own == name
                || matches!(listed, Serving::Elsewhere { block: own, .. } if is_same(own, block))
        };
        let lacking: Vec<&str> = names().filter(is_lacking).collect();
        let row_of = |name: &str| map.rows.iter().find(|row| row.pattern == name);
        let (there, new): (Vec<&str>, Vec<&str>) =
            lacking.into_iter().partition(|name| row_of(name).is_some());
        let changed = there
            .into_iter()
            .filter_map(|name| Some(variables::row_to_change(map, row_of(name)?, name, value)));
        let mut steps: Vec<String> = changed.collect();
        let keys = new.iter().copied();
        let room = variables::room_for_keys(&self.configuration, Module::Stream, keys);
        if !new.is_empty() {
            let rows = new.into_iter().map(|name| (name, value));
            steps.push(variables::rows_to_add(map, rows));
        }
        let steps = steps.join("\nand ");
        match room {
            Some(room) => format!("{seen}, to which it passes {other}: {room}\n{steps}"),
            None => format!("{seen}, to which it passes {other}: {steps}"),
        }
    }

    /// The row of a map by which a stream server passes a name to a block
    fn row_to<'c>(
        &'c self,
        name: &str,
        block: &ServerBlock,
        inlet: &Inlet,
        server: &StreamServer,
    ) -> Option<(&'c crate::target::dump::Map, &'c str)> {
        match choice::choose(&self.configuration, name, inlet) {
            Choice::Listed { block: chosen, .. } if is_same(chosen, block) => {}
            _ => return None,
        }
        let variable = server.pass.trim_matches(['$', '{', '}']);
        let mut maps = self.configuration.maps.iter();
        let map = maps.find(|map| map.module == Module::Stream && map.variable == variable)?;
        let mut rows = map.rows.iter();
        let row = rows.find(|row| row.pattern == name)?;
        (map.key == "$ssl_preread_server_name").then_some((map, row.value.as_str()))
    }

    /// What to do where blocks listen at a port without TLS; `None` where none listens there, and
    /// where one has TLS
    ///
    /// One `ssl` lets all of them speak TLS, those without a certificate included, with which nginx
    /// does not start.
    pub(in crate::pipeline) fn to_secure(
        &self,
        domain: &Domain,
        name: &str,
        inlet: &Inlet,
    ) -> Option<String> {
        let plain = choice::plain(&self.configuration, name, inlet);
        let names: Vec<&str> = domain.names().map(DnsName::as_str).collect();
        let (first, at) = plain.first()?;
        let is_own = first.names.iter().any(|listed| listed == name)
            && first.names.iter().all(|listed| {
                matches!(listed.as_str(), "" | "_") || names.contains(&listed.as_str())
            });
        if plain.len() == 1 && is_own && !first.borrowed.contains(at) {
            let lacks = |directive: &&&str| {
                let mut lines = first.certificate_lines();
                !lines.any(|line| line.directive == **directive)
            };
            let missing: Vec<&str> = DIRECTIVES.iter().filter(lacks).copied().collect();
            let lines = match missing.is_empty() {
                true => String::new(),
                false => format!(
                    ", and add\n{}",
                    certificate_lines(&self.live, &domain.name, &missing)
                ),
            };
            return Some(format!(
                "in the server block at {}, which lists {name}, give the `listen` of port {} its `ssl`{lines}",
                first.place(),
                at.port()
            ));
        }
        let others = match plain.len() {
            1 => "listens".to_owned(),
            2 => "and another one listen".to_owned(),
            many => format!("and {} others listen", many - 1),
        };
        Some(format!(
            "the server block at {} {others} at port {} without TLS, and one `ssl` there lets all of them speak TLS: either each of them gets its certificate and `ssl`, or {name} a port of its own",
            first.place(),
            at.port()
        ))
    }
}

/// Where a block listens with TLS
fn addresses(block: &ServerBlock) -> String {
    let all: Vec<String> = block
        .secure_listens()
        .map(|listen| listen.at.to_string())
        .chain(
            block
                .secure_sockets()
                .map(|socket| format!("unix:{}", socket.path)),
        )
        .collect();
    all.join(" and ")
}

/// The arguments of a `listen` with TLS at an address
pub(super) fn listen_at(at: SocketAddr) -> String {
    match at.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        true => format!("{} ssl", at.port()),
        false => format!("{at} ssl"),
    }
}
