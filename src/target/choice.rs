//! Which server block nginx chooses for a name, among those that listen where a connection comes in.
//!
//! As in nginx: the address decides first, then an exact name, then the longest wildcard, then the
//! first regular expression, which is not tried here, then the default of the address.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::dump::{Configuration, Misspelled, ServerBlock, StreamServer, Tls};
use super::listen::{Listen, Peer, Rank};
use super::variables::in_stream;

/// Where a connection comes in, as the container sees it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inlet {
    /// Its addresses; empty where they are not known
    pub addresses: Vec<IpAddr>,
    /// Port in the container
    pub port: u16,
}

impl Inlet {
    /// Whether connections are known to come in by IPv6
    pub fn is_v6(&self) -> bool {
        !self.addresses.is_empty() && self.addresses.iter().all(IpAddr::is_ipv6)
    }
}

/// What nginx takes for a name
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<'b> {
    /// The block that lists the name, or a wildcard that covers it
    Listed {
        /// The block
        block: &'b ServerBlock,
        /// Those that list the same after it, which nginx ignores
        ignored: Vec<&'b ServerBlock>,
    },
    /// No block lists the name: the default one
    Default(&'b ServerBlock),
    /// No block lists the name, and a regular expression of this one may match it
    Pattern(&'b ServerBlock),
    /// A stream server takes what comes in, and leads to no server block that is known
    Stream(&'b StreamServer),
    /// No block speaks TLS there
    Nobody,
}

/// Where connections for a name end up, and what led them there
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way<'b> {
    /// The stream servers that passed them on, in their order
    pub through: Vec<&'b StreamServer>,
    /// Where they come in at last
    pub door: Door,
}

/// Where nginx's http module takes a connection
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// An address and a port
    Port(Inlet),
    /// A Unix socket
    Socket(String),
    /// None that is known: the last stream server ends TLS, or passes connections elsewhere
    Unknown,
}

/// The block that nginx chooses for a name that comes in there with TLS
pub fn choose<'b>(configuration: &'b Configuration, name: &str, inlet: &Inlet) -> Choice<'b> {
    let way = way(configuration, name, inlet);
    let there = there(configuration, &way);
    match (way.door, way.through.last()) {
        (Door::Unknown, Some(server)) => Choice::Stream(server),
        _ => choose_of(&there, name),
    }
}

/// The blocks that listen where a way ends
fn there<'b>(configuration: &'b Configuration, way: &Way<'_>) -> Vec<Candidate<'b>> {
    match &way.door {
        Door::Port(inlet) => at(&configuration.servers, inlet),
        Door::Socket(path) => at_socket(&configuration.servers, path),
        Door::Unknown => Vec::new(),
    }
}

fn choose_of<'b>(there: &[Candidate<'b>], name: &str) -> Choice<'b> {
    // One `ssl` is enough for all blocks of an address.
    if there.iter().all(|candidate| candidate.tls == Tls::Off) {
        return Choice::Nobody;
    }
    pick(there, name)
}

/// The block that nginx takes, whether or not it speaks TLS there
fn pick<'b>(there: &[Candidate<'b>], name: &str) -> Choice<'b> {
    let listening = there.iter().map(|candidate| candidate.block);
    if let Some(block) = first_best(listening.clone(), name) {
        let best = fit(block, name);
        let ignored = listening.filter(|other| *other != block && fit(other, name) == best);
        return Choice::Listed {
            block,
            ignored: ignored.collect(),
        };
    }
    if let Some(block) = listening.clone().find(|block| has_pattern(block)) {
        return Choice::Pattern(block);
    }
    let default = there
        .iter()
        .min_by_key(|candidate| candidate.rank != Rank::Default);
    default.map_or(Choice::Nobody, |candidate| Choice::Default(candidate.block))
}

/// Follows stream servers to where the http module takes connections for a name
pub fn way<'b>(configuration: &'b Configuration, name: &str, inlet: &Inlet) -> Way<'b> {
    let (mut through, mut inlet) = (Vec::new(), inlet.clone());
    while let Some(server) = stream_at(configuration, &inlet) {
        // One that passes to itself, which nginx does not refuse, leads nowhere.
        let is_new = !through.contains(&server);
        through.push(server);
        let door = match is_new {
            true => behind(configuration, name, &inlet, server),
            false => Door::Unknown,
        };
        match door {
            Door::Port(next) => inlet = next,
            door => return Way { through, door },
        }
    }
    let door = match through.is_empty() || !at(&configuration.servers, &inlet).is_empty() {
        true => Door::Port(inlet),
        false => Door::Unknown,
    };
    Way { through, door }
}

/// The stream server that takes what comes in there, before any block of the http module
fn stream_at<'b>(configuration: &'b Configuration, inlet: &Inlet) -> Option<&'b StreamServer> {
    let kinds = kinds(inlet);
    kinds.iter().find_map(|is_meant| {
        let listens = |listens: &[Listen]| {
            let mut listens = listens.iter();
            listens.any(|listen| listen.at.port() == inlet.port && is_meant(listen))
        };
        let mut streams = configuration.streams.iter();
        let mut servers = configuration.servers.iter();
        match servers.any(|block| listens(&block.listens)) {
            true => Some(None),
            false => streams.find(|server| listens(&server.listens)).map(Some),
        }
    })?
}

/// Where a stream server passes connections for a name, if that is in this nginx
fn behind(configuration: &Configuration, name: &str, inlet: &Inlet, server: &StreamServer) -> Door {
    let ends_tls = |listen: &Listen| listen.at.port() == inlet.port && listen.tls == Tls::On;
    if server.listens.iter().any(ends_tls) {
        return Door::Unknown;
    }
    let Ok(pass) = in_stream(configuration, &server.pass, name) else {
        return Door::Unknown;
    };
    let mut upstreams = configuration.upstreams.iter();
    let place = match upstreams.find(|upstream| upstream.name == pass) {
        Some(upstream) => match upstream.servers.as_slice() {
            [only] => only.clone(),
            _ => return Door::Unknown,
        },
        None => pass,
    };
    if let Some(path) = place.strip_prefix("unix:") {
        return Door::Socket(path.trim_end_matches(':').to_owned());
    }
    let place = place.replace("localhost:", "127.0.0.1:");
    match place.parse::<SocketAddr>() {
        Ok(address) if is_here(address.ip(), inlet) => Door::Port(Inlet {
            addresses: vec![address.ip()],
            port: address.port(),
        }),
        _ => Door::Unknown,
    }
}

/// Whether an address is one of the container's own
fn is_here(address: IpAddr, inlet: &Inlet) -> bool {
    let any: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    address.is_loopback() || address == any || inlet.addresses.contains(&address)
}

/// What a name is served by, as far as `server_name` tells
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving<'b> {
    /// The block that nginx chooses, or would choose where it is not known how connections come in
    Listed(&'b ServerBlock),
    /// One that lists the name, and does not listen where others take the connection
    Elsewhere {
        /// The block
        block: &'b ServerBlock,
        /// Where the others listen: address and port in the container
        at: SocketAddr,
    },
    /// A regular expression may match, which is not tried, or a stream server leads elsewhere
    Unknown,
    /// No block with TLS lists the name
    Nobody,
}

/// The block that lists a name and takes its connections
///
/// `None` is a way in that is not known. So is one to a port at which no block speaks TLS: what
/// answers there stands in front of nginx.
pub fn serving<'b>(
    configuration: &'b Configuration,
    name: &str,
    inlet: Option<&Inlet>,
) -> Serving<'b> {
    let chosen = inlet.map(|inlet| (choose(configuration, name, inlet), inlet));
    let servers = &configuration.servers;
    let secure = || servers.iter().filter(|block| block.tls == Tls::On);
    let listing = || first_best(secure(), name);
    match chosen {
        Some((Choice::Listed { block, .. }, _)) => Serving::Listed(block),
        Some((Choice::Pattern(_) | Choice::Stream(_), _)) => Serving::Unknown,
        Some((Choice::Default(_), inlet)) => {
            let there = there(configuration, &way(configuration, name, inlet));
            let at = there.first().and_then(|candidate| candidate.at);
            match (listing(), at) {
                (Some(block), Some(at)) => Serving::Elsewhere { block, at },
                _ => Serving::Nobody,
            }
        }
        Some((Choice::Nobody, _)) | None => match listing() {
            Some(block) => Serving::Listed(block),
            None if secure().any(has_pattern) => Serving::Unknown,
            None => Serving::Nobody,
        },
    }
}

/// The blocks that listen where a name's connections come in, with the address of their `listen`,
/// where none of them speaks TLS; none where one does
pub fn plain<'b>(
    configuration: &'b Configuration,
    name: &str,
    inlet: &Inlet,
) -> Vec<(&'b ServerBlock, SocketAddr)> {
    let there = there(configuration, &way(configuration, name, inlet));
    match there.iter().all(|candidate| candidate.tls == Tls::Off) {
        true => there
            .iter()
            .filter_map(|candidate| Some((candidate.block, candidate.at?)))
            .collect(),
        false => Vec::new(),
    }
}

/// The block that answers plain HTTP for a name; `None` where a regular expression may decide, and
/// where none listens there without TLS
pub fn answering<'b>(
    configuration: &'b Configuration,
    name: &str,
    inlet: &Inlet,
) -> Option<&'b ServerBlock> {
    let there = at(&configuration.servers, inlet);
    if there.iter().any(|candidate| candidate.tls == Tls::On) {
        return None;
    }
    match pick(&there, name) {
        Choice::Listed { block, .. } | Choice::Default(block) => Some(block),
        _ => None,
    }
}

/// The block that takes what none lists at a socket because nginx reads it first, with its number;
/// `None` where `default_server` says which one does, and where none listens
pub fn first_at(
    blocks: &[ServerBlock],
    is_there: impl Fn(&ServerBlock) -> Option<Rank>,
) -> Option<(usize, &ServerBlock)> {
    let mut there = blocks.iter().enumerate().filter_map(|(number, block)| {
        let rank = is_there(block)?;
        Some((number, block, rank))
    });
    let (number, block, rank) = there.next()?;
    let is_named = rank == Rank::Default || there.any(|(_, _, rank)| rank == Rank::Default);
    (!is_named).then_some((number, block))
}

/// Whether nginx awaits the header of the PROXY protocol there, and closes what comes without
///
/// One `proxy_protocol` is enough for all blocks of an address.
pub fn awaits_header(blocks: &[ServerBlock], inlet: &Inlet) -> bool {
    awaiting_header(blocks, inlet).is_some()
}

/// The first block whose `listen` has nginx await that header there
pub fn awaiting_header<'b>(blocks: &'b [ServerBlock], inlet: &Inlet) -> Option<&'b ServerBlock> {
    let mut there = listening_at(blocks, inlet).into_iter();
    let awaiting = there.find(|(_, listen)| listen.from == Peer::Balancer);
    awaiting.map(|(block, _)| block)
}

/// A block that has the name in a word that no client sends, as where commas separate names, with
/// that word
pub fn misspelled<'b>(
    blocks: &'b [ServerBlock],
    name: &str,
) -> Option<(&'b ServerBlock, &'b Misspelled)> {
    let mut all = blocks
        .iter()
        .flat_map(|block| block.misspelled.iter().map(move |word| (block, word)));
    all.find(|(_, word)| word.names.iter().any(|meant| meant == name))
}

/// Whether a block lists a name, or a wildcard that covers it
pub fn lists(block: &ServerBlock, name: &str) -> bool {
    fit(block, name).is_some()
}

/// A block of the http module that listens at a place
#[derive(Clone, Copy)]
struct Candidate<'b> {
    block: &'b ServerBlock,
    /// `None` for a Unix socket
    at: Option<SocketAddr>,
    tls: Tls,
    rank: Rank,
}

/// The blocks that listen there
fn at<'b>(blocks: &'b [ServerBlock], inlet: &Inlet) -> Vec<Candidate<'b>> {
    let listening = listening_at(blocks, inlet).into_iter();
    let candidates = listening.map(|(block, listen)| Candidate {
        block,
        at: Some(listen.at),
        tls: listen.tls,
        rank: listen.rank,
    });
    candidates.collect()
}

/// The same, each with its `listen` that is meant
fn listening_at<'b>(
    blocks: &'b [ServerBlock],
    inlet: &Inlet,
) -> Vec<(&'b ServerBlock, &'b Listen)> {
    let kinds = kinds(inlet);
    let found = kinds.iter().map(|is_meant| {
        let listening = blocks.iter().filter_map(|block| {
            let mut own = block.listens.iter();
            let listen = own.find(|listen| listen.at.port() == inlet.port && is_meant(listen))?;
            Some((block, listen))
        });
        listening.collect::<Vec<_>>()
    });
    found
        .into_iter()
        .find(|listening| !listening.is_empty())
        .unwrap_or_default()
}

/// The blocks that listen at a Unix socket
fn at_socket<'b>(blocks: &'b [ServerBlock], path: &str) -> Vec<Candidate<'b>> {
    let candidates = blocks.iter().filter_map(|block| {
        let mut sockets = block.sockets.iter();
        let socket = sockets.find(|socket| socket.path == path)?;
        Some(Candidate {
            block,
            at: None,
            tls: socket.tls,
            rank: socket.rank,
        })
    });
    candidates.collect()
}

/// Whether a `listen` is of one kind
type Kind<'i> = Box<dyn Fn(&Listen) -> bool + 'i>;

/// Which `listen` takes a connection, the most particular first: one for its address, one for all
/// of its family, one for all
fn kinds(inlet: &Inlet) -> Vec<Kind<'_>> {
    let is_v6 = inlet.is_v6();
    let any = |listen: &Listen| listen.at.ip().is_unspecified();
    let mut kinds: Vec<Kind<'_>> = vec![
        Box::new(|listen| inlet.addresses.contains(&listen.at.ip())),
        Box::new(move |listen| any(listen) && listen.at.is_ipv6() == is_v6),
    ];
    // A socket of IPv6 may take IPv4 too (`ipv6only=off`), and none of IPv4 takes IPv6.
    if !is_v6 {
        kinds.push(Box::new(any));
    }
    kinds
}

/// The first of the blocks whose names fit best
fn first_best<'b>(
    blocks: impl Iterator<Item = &'b ServerBlock>,
    name: &str,
) -> Option<&'b ServerBlock> {
    let fitting = blocks.filter_map(|block| Some((Reverse(fit(block, name)?), block)));
    fitting.min_by_key(|(fit, _)| *fit).map(|(_, block)| block)
}

fn has_pattern(block: &ServerBlock) -> bool {
    block.names.iter().any(|name| name.starts_with('~'))
}

/// How well a block's names fit; `None` where none does
fn fit(block: &ServerBlock, name: &str) -> Option<Fit> {
    block
        .names
        .iter()
        .filter_map(|listed| fit_of(listed, name))
        .max()
}

/// From the worst to the best
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// `www.example.*`, of this length
    Trailing(usize),
    /// `*.example.com`, of this length
    Leading(usize),
    Exact,
}

fn fit_of(listed: &str, name: &str) -> Option<Fit> {
    if listed == name || listed.strip_prefix('.') == Some(name) {
        return Some(Fit::Exact);
    }
    if let Some(beginning) = listed.strip_suffix(".*") {
        let rest = name.strip_prefix(beginning)?;
        return (rest.len() > 1 && rest.starts_with('.')).then_some(Fit::Trailing(listed.len()));
    }
    let suffix = listed.strip_prefix('*').unwrap_or(listed);
    (suffix.starts_with('.') && name.len() > suffix.len() && name.ends_with(suffix))
        .then_some(Fit::Leading(suffix.len()))
}

#[cfg(test)]
mod tests {
    use super::super::dump::read;
    use super::*;

    #[track_caller]
    fn server_blocks(dump: &str) -> Configuration {
        read(dump).expect("it is judged")
    }

    const DUMP: &str = "# configuration file /etc/nginx/nginx.conf:
server { listen 80 default_server; server_name plain.test; }
server { listen 443 ssl; server_name first.test; }
server { listen 443 ssl default_server; server_name _; }
server { listen 443; server_name .dot.test *.wild.test; }
server { listen 443 ssl; server_name *.deep.wild.test; }
server { listen 443 ssl; server_name FIRST.test a.test,b.test; }
server { listen 443 ssl; server_name www.trailing.*; }
server { listen 8443 ssl; server_name other.test; }
server { listen 9443 ssl; server_name ~^x; }
server { listen 10.0.0.5:7443 ssl; server_name exact.test; }
server { listen 7443 ssl; server_name any.test; }
";

    fn inlet(port: u16) -> Inlet {
        Inlet {
            addresses: Vec::new(),
            port,
        }
    }

    fn line(choice: &Choice<'_>) -> (&'static str, usize) {
        match choice {
            Choice::Listed { block, .. } => ("listed", block.line),
            Choice::Default(block) => ("default", block.line),
            Choice::Pattern(block) => ("pattern", block.line),
            Choice::Stream(server) => ("stream", server.line),
            Choice::Nobody => ("nobody", 0),
        }
    }

    /// What stands at 443 before the http module
    fn behind_a_stream(stream: &str) -> Configuration {
        server_blocks(&format!(
            "# configuration file /etc/nginx/nginx.conf:
stream {{ {stream} }}
http {{
server {{ listen 127.0.0.1:8443 ssl proxy_protocol; server_name shop.test; }}
server {{ listen unix:/run/tls.sock ssl; server_name sock.test; }}
server {{ listen 80; server_name shop.test; }}
}}
"
        ))
    }

    #[test]
    fn a_stream_server_is_followed_to_the_block_behind_it() {
        #[track_caller]
        fn check(stream: &str, name: &str, expected: (&str, usize)) {
            let configuration = behind_a_stream(stream);
            assert_eq!(line(&choose(&configuration, name, &inlet(443))), expected);
        }
        let server =
            |pass: &str| format!("server {{ listen 443; ssl_preread on; proxy_pass {pass}; }}");
        check(&server("127.0.0.1:8443"), "shop.test", ("listed", 3));
        check(&server("localhost:8443"), "other.test", ("default", 3));
        check(&server("unix:/run/tls.sock"), "sock.test", ("listed", 4));
        check(&server("192.0.2.7:8443"), "shop.test", ("stream", 1));
        check(&server("127.0.0.1:9443"), "shop.test", ("stream", 1));
        check(&server("127.0.0.1:443"), "shop.test", ("stream", 1));
        check(&server("$unknown"), "shop.test", ("stream", 1));
        let map = "map $ssl_preread_server_name $to { hostnames; shop.test here; *.far.test 192.0.2.7:443; default unix:/run/tls.sock; }
upstream here { server 127.0.0.1:8443; }";
        let by_map = format!("{map} {}", server("$to")).replace('\n', " ");
        check(&by_map, "shop.test", ("listed", 3));
        check(&by_map, "a.far.test", ("stream", 1));
        check(&by_map, "sock.test", ("listed", 4));
        let ends = "server { listen 443 ssl; proxy_pass 127.0.0.1:80; }";
        check(ends, "shop.test", ("stream", 1));
    }

    #[test]
    fn the_block_is_chosen_as_nginx_chooses() {
        let blocks = server_blocks(DUMP);
        #[track_caller]
        fn check(blocks: &Configuration, name: &str, port: u16, expected: (&str, usize)) {
            assert_eq!(
                line(&choose(blocks, name, &inlet(port))),
                expected,
                "{name}"
            );
        }
        check(&blocks, "first.test", 443, ("listed", 2));
        check(&blocks, "dot.test", 443, ("listed", 4));
        check(&blocks, "a.dot.test", 443, ("listed", 4));
        check(&blocks, "a.wild.test", 443, ("listed", 4));
        check(&blocks, "a.deep.wild.test", 443, ("listed", 5));
        check(&blocks, "www.trailing.test", 443, ("listed", 7));
        check(&blocks, "wild.test", 443, ("default", 3));
        check(&blocks, "b.test", 443, ("default", 3));
        check(&blocks, "first.test", 8443, ("default", 8));
        check(&blocks, "x.test", 9443, ("pattern", 9));
        check(&blocks, "first.test", 80, ("nobody", 0));
        check(&blocks, "first.test", 444, ("nobody", 0));
    }

    #[test]
    fn a_block_that_lists_the_same_again_is_ignored() {
        let blocks = server_blocks(DUMP);
        let Choice::Listed { ignored, .. } = choose(&blocks, "first.test", &inlet(443)) else {
            panic!("it is listed");
        };
        let lines: Vec<usize> = ignored.iter().map(|block| block.line).collect();
        assert_eq!(lines, [6]);
        let found = misspelled(&blocks.servers, "b.test").map(|(block, _)| block.line);
        assert_eq!(found, Some(6));
        assert_eq!(misspelled(&blocks.servers, "first.test"), None);
    }

    #[test]
    fn the_address_decides_before_the_name() {
        let blocks = server_blocks(DUMP);
        let mut inlet = inlet(7443);
        assert_eq!(line(&choose(&blocks, "any.test", &inlet)), ("listed", 11));
        inlet.addresses = vec!["10.0.0.5".parse().unwrap()];
        assert_eq!(line(&choose(&blocks, "any.test", &inlet)), ("default", 10));
    }

    #[test]
    fn a_block_without_its_listen_of_ipv6_does_not_take_its_visitors() {
        let blocks = server_blocks(
            "# configuration file /etc/nginx/nginx.conf:
server { listen 443 ssl; server_name shop.test; }
server { listen 443 ssl; listen [::]:443 ssl default_server; server_name other.test; }
server { listen 8443 ssl; server_name shop.test; }
",
        );
        let v6 = |port| Inlet {
            addresses: vec!["fd00::5".parse().unwrap()],
            port,
        };
        assert_eq!(
            line(&choose(&blocks, "shop.test", &inlet(443))),
            ("listed", 1)
        );
        assert_eq!(
            line(&choose(&blocks, "shop.test", &v6(443))),
            ("default", 2)
        );
        assert_eq!(
            line(&choose(&blocks, "other.test", &v6(443))),
            ("listed", 2)
        );
        assert_eq!(
            line(&choose(&blocks, "shop.test", &v6(8443))),
            ("nobody", 0)
        );
        let Serving::Elsewhere { block, at } = serving(&blocks, "shop.test", Some(&v6(443))) else {
            panic!("others take it");
        };
        assert_eq!((block.line, at.to_string()), (1, "[::]:443".to_owned()));
    }

    #[test]
    fn what_lists_a_name_elsewhere_is_told_apart() {
        let blocks = server_blocks(DUMP);
        #[track_caller]
        fn check(
            blocks: &Configuration,
            name: &str,
            port: impl Into<Option<u16>>,
            expected: (&str, usize),
        ) {
            let inlet = port.into().map(inlet);
            let found = match serving(blocks, name, inlet.as_ref()) {
                Serving::Listed(block) => ("listed", block.line),
                Serving::Elsewhere { block, .. } => ("elsewhere", block.line),
                Serving::Unknown => ("unknown", 0),
                Serving::Nobody => ("nobody", 0),
            };
            assert_eq!(found, expected, "{name}");
        }
        check(&blocks, "a.deep.wild.test", 443, ("listed", 5));
        check(&blocks, "a.deep.wild.test", None, ("listed", 5));
        check(&blocks, "other.test", 443, ("elsewhere", 8));
        check(&blocks, "other.test", 8443, ("listed", 8));
        check(&blocks, "other.test", 4433, ("listed", 8));
        check(&blocks, "x.test", 9443, ("unknown", 0));
        check(&blocks, "x.test", 443, ("nobody", 0));
        check(&blocks, "x.test", 4433, ("unknown", 0));
        check(&blocks, "x.test", None, ("unknown", 0));
        check(&blocks, "plain.test", 443, ("nobody", 0));
        let mut without = blocks.clone();
        without.servers.truncate(8);
        check(&without, "x.test", None, ("nobody", 0));
    }

    #[test]
    fn the_default_is_the_first_that_nginx_reads_not_the_first_of_the_dump() {
        let blocks = server_blocks(
            "# configuration file /etc/nginx/nginx.conf:
http {
    include sites/*.conf;
    server { listen 443 ssl; server_name last.test twice.test; }
}

# configuration file /etc/nginx/sites/one.conf:
include /etc/nginx/deep.conf;
server { listen 443 ssl; server_name second.test; }

# configuration file /etc/nginx/deep.conf:
server { listen 443 ssl; server_name first.test twice.test; }
",
        );
        let Choice::Default(block) = choose(&blocks, "other.test", &inlet(443)) else {
            panic!("no block lists it");
        };
        assert_eq!(block.file, "/etc/nginx/deep.conf");
        let Choice::Listed { block, ignored } = choose(&blocks, "twice.test", &inlet(443)) else {
            panic!("it is listed");
        };
        assert_eq!(block.file, "/etc/nginx/deep.conf");
        assert_eq!(ignored[0].file, "/etc/nginx/nginx.conf");
    }
}
