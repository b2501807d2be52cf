//! nginx's whole configuration as it stands in the container (`nginx -T`), read for what decides
//! which certificate a name gets: server blocks, the maps and stream servers that lead to them, and
//! the certificates that they name.
//!
//! Whoever may write a site's file decides what stands in it, so what is read is bounded, and no line
//! is taken for one of another file (`files`): where that cannot be told the configuration is not
//! judged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::listen::{Listen, PORT, Rank};
use crate::finding::words;
use files::Files;
use text::{Item, Items};

mod bucket;
mod early;
mod files;
mod first_name;
mod glob;
mod inclusion;
mod order;
mod redirect;
mod spelling;
mod text;

pub use bucket::Bucket;
pub use early::{Apart, Early};
pub use inclusion::Inclusion;
pub use redirect::Redirect;
pub use spelling::Misspelled;
pub use text::word;

/// What a dump holds, in the order in which nginx reads it
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The server blocks of the http module
    pub servers: Vec<ServerBlock>,
    /// The server blocks of the stream module
    pub streams: Vec<StreamServer>,
    /// The maps of both
    pub maps: Vec<Map>,
    /// The upstreams of the stream module
    pub upstreams: Vec<Upstream>,
    /// The `ssl_reject_handshake on` beside the server blocks
    pub rejects: Option<Place>,
    /// The first file that `error_log` names beside all blocks, where nginx says what it cannot load
    pub error_log: Option<PathBuf>,
    /// As whom `user` has nginx's workers run; `None` where it does not say so
    pub user: Option<String>,
    /// Room for the names of one bucket of server blocks, in bytes
    pub server_names_bucket: Bucket,
    /// The same of maps
    pub map_bucket: Bucket,
    /// The same of maps of the stream module
    pub stream_map_bucket: Bucket,
    /// Where `$server_name` is used beside the server blocks
    pub first_name: Vec<Place>,
    /// Variables of maps that stand elsewhere too than in lines that name certificates
    pub used: BTreeSet<String>,
    /// How nginx comes to the files from which server blocks have certificate lines
    pub included: BTreeMap<String, Inclusion>,
}

/// Where a directive begins
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Configuration file, as nginx sees it
    pub file: String,
    /// Line in the file, from 1
    pub line: usize,
}

/// Why a configuration is not judged
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unjudged {
    /// It is longer than [`MOST_BYTES`]
    #[error("it is longer than {} MiB", MOST_BYTES >> 20)]
    Bytes,
    /// It has more words than are read
    #[error("it has more than a million words")]
    Words,
    /// Its blocks nest deeper than [`MOST_DEPTH`]
    #[error("its blocks and includes nest deeper than {MOST_DEPTH}")]
    Depth,
    /// What it includes again and again, or the ports of its ranges, are more than is followed
    #[error("its includes and ranges of ports come to more than is followed")]
    Includes,
    /// A line looks like the header of a file that does not begin there
    #[error(
        "the line `# configuration file {}:` stands in it where nginx prints none",
        words::whole(file)
    )]
    Header {
        /// The file that it names
        file: String,
    },
    /// It is not nginx's language as it is known here
    #[error("what stands at {}:{line} is not understood", words::whole(file))]
    Syntax {
        /// Configuration file, as nginx sees it
        file: String,
        /// Line in the file, from 1
        line: usize,
    },
}

/// A `server` block of the http module
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerBlock {
    /// Configuration file, as nginx sees it
    pub file: String,
    /// Line on which the block begins, from 1
    pub line: usize,
    /// Arguments of `server_name`, lower case
    pub names: Vec<String>,
    /// Whether it listens with TLS
    pub tls: Tls,
    /// Where it takes TCP connections
    pub listens: Vec<Listen>,
    /// The Unix sockets at which it takes connections
    pub sockets: Vec<Socket>,
    /// `ssl_certificate` and `ssl_certificate_key` lines: its own, and those that it includes
    pub certificates: Vec<CertificateLine>,
    /// Such lines beside the server blocks, where it has none of its own
    pub inherited: Vec<CertificateLine>,
    /// Those of `listens` that stand in a file that it includes
    pub borrowed: Vec<SocketAddr>,
    /// The arguments of its `listen` lines that another block of the same sockets may repeat
    pub listen_lines: Vec<Vec<String>>,
    /// Where its `server_name` lines stand
    pub named: Vec<Place>,
    /// The one of `names` for which `$hostname` stands there; `None` where it does not
    pub hostname: Option<String>,
    /// Words of `server_name` that no client sends as they are written
    pub misspelled: Vec<Misspelled>,
    /// Where it uses `$server_name`, which is the first of its names
    pub first_name: Vec<Place>,
    /// Files that it includes with lines in which a copy of it differs: where it listens, its names
    /// and its certificates
    pub lent: BTreeSet<String>,
    /// The `ssl_reject_handshake on` that holds for it, by which it has no TLS to show
    pub rejects: Option<Place>,
    /// How it leads visitors elsewhere; `None` where it does not
    pub redirect: Option<Redirect>,
    /// What it does with a request before nginx looks for a location, where it takes plain HTTP;
    /// `None` where it does nothing then
    pub early: Option<Early>,
}

impl Configuration {
    /// The same on a host of this name, for which `$hostname` stands in `server_name`
    #[must_use]
    pub fn on_host(mut self, hostname: &str) -> Self {
        let hostname = hostname.to_ascii_lowercase();
        for block in &mut self.servers {
            let names = block.names.iter_mut();
            for name in names.filter(|name| *name == "$hostname") {
                name.clone_from(&hostname);
                block.hostname = Some(hostname.clone());
            }
        }
        self
    }
}

impl ServerBlock {
    /// Where it begins, as `FILE:LINE`
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// What `$server_name` is in it; empty where it has no name
    pub fn first_of_names(&self) -> &str {
        let first = self.names.first().map_or("", String::as_str);
        first.strip_prefix('.').unwrap_or(first)
    }

    /// Where it takes TCP connections with TLS
    pub fn secure_listens(&self) -> impl Iterator<Item = &Listen> {
        self.listens.iter().filter(|listen| listen.tls == Tls::On)
    }

    /// The Unix sockets at which it takes connections with TLS
    pub fn secure_sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(|socket| socket.tls == Tls::On)
    }

    /// The lines that hold for it, its own first
    pub fn certificate_lines(&self) -> impl Iterator<Item = &CertificateLine> {
        self.certificates.iter().chain(&self.inherited)
    }
}

/// A Unix socket at which a server block takes connections
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its path
    pub path: String,
    /// Whether it has `ssl`
    pub tls: Tls,
    /// Whether it takes what no server block lists
    pub rank: Rank,
}

/// Whether a server block listens with TLS
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// `listen ... ssl` or `quic`, or `ssl on`
    On,
    /// Plain HTTP only
    Off,
}

/// A `server` block of the stream module, which takes connections before HTTP is spoken
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamServer {
    /// Configuration file, as nginx sees it
    pub file: String,
    /// Line on which the block begins, from 1
    pub line: usize,
    /// Where it takes TCP connections
    pub listens: Vec<Listen>,
    /// Argument of `proxy_pass`; empty where it has none
    pub pass: String,
}

/// A `map` block
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Configuration file, as nginx sees it
    pub file: String,
    /// Line on which the block begins, from 1
    pub line: usize,
    /// Whose variable it makes
    pub module: Module,
    /// What it looks up, such as `$ssl_server_name`
    pub key: String,
    /// Name of the variable that it makes, without the dollar
    pub variable: String,
    /// Its rows
    pub rows: Vec<Row>,
}

/// A row of a map
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Configuration file, as nginx sees it
    pub file: String,
    /// Line in the file, from 1
    pub line: usize,
    /// What is looked up, lower case
    pub pattern: String,
    /// What it gives
    pub value: String,
}

/// A module with variables of its own
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// `http`
    Http,
    /// `stream`
    Stream,
}

/// An `upstream` of the stream module
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name
    pub name: String,
    /// Where it passes connections
    pub servers: Vec<String>,
}

/// A line that names a certificate or its key
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateLine {
    /// Configuration file, as nginx sees it; another than the block's where that includes it
    pub file: String,
    /// Line in the file, from 1
    pub line: usize,
    /// `ssl_certificate` or `ssl_certificate_key`
    pub directive: String,
    /// The file that it names, with the variables in it
    pub path: PathBuf,
}

/// Reads a dump
///
/// # Errors
/// [`Unjudged`] for one that goes beyond what is judged, and for one of which nobody can tell what
/// stands in which file: nothing is known of it then.
pub fn read(dump: &str) -> Result<Configuration, Unjudged> {
    if dump.len() > MOST_BYTES {
        return Err(Unjudged::Bytes);
    }
    order::read(&Files::parse(dump)?)
}

/// Adds the directives of a block, each with its file, and those of the files that it includes
fn gather<'t, 'd>(
    found: &mut Vec<(&'d str, Item<'t, 'd>)>,
    (file, items): (&'d str, Items<'t, 'd>),
    files: &'t Files<'d>,
    depth: usize,
) -> Result<(), Unjudged> {
    for item in items {
        files.spend(1)?;
        match item.first() {
            Some(pattern) if item.name() == "include" => {
                if depth == MOST_DEPTH {
                    return Err(Unjudged::Depth);
                }
                for number in files.included(pattern)?.iter() {
                    gather(found, files.file(*number), files, depth + 1)?;
                }
            }
            _ => found.push((file, item)),
        }
    }
    Ok(())
}

/// What a server block holds, whichever module it is of
struct Contents<'t, 'd>(Vec<(&'d str, Item<'t, 'd>)>);

impl<'t, 'd> Contents<'t, 'd> {
    fn of(
        file: &'d str,
        items: Items<'t, 'd>,
        files: &'t Files<'d>,
        depth: usize,
    ) -> Result<Self, Unjudged> {
        let mut found = Vec::new();
        gather(&mut found, (file, items), files, depth)?;
        Ok(Self(found))
    }

    fn named(&self, name: &'static str) -> impl Iterator<Item = Item<'t, 'd>> {
        let all = self.0.iter();
        all.filter(move |(_, item)| item.name() == name)
            .map(|(_, item)| *item)
    }

    /// One for each port; a range of ports costs as much as if each were written
    fn listens(&self, files: &Files<'_>) -> Result<Vec<Listen>, Unjudged> {
        let mut listens = Vec::new();
        for (first, last) in self.named("listen").filter_map(listen) {
            let ports = usize::from(last - first.at.port()) + 1;
            files.spend(KEPT * ports)?;
            listens.extend(first.until(last));
        }
        Ok(listens)
    }

    /// Where its `server_name` lines stand, and their words that no client sends
    fn server_names(&self) -> (Vec<Place>, Vec<Misspelled>) {
        let all = self.0.iter();
        let named = all.filter(|(_, item)| item.name() == "server_name");
        let misspelled = named.clone();
        let misspelled = misspelled.flat_map(|(file, item)| spelling::misspelled(file, *item));
        let places = named.map(|(file, item)| place(file, *item));
        (places.collect(), misspelled.collect())
    }

    /// Files other than the block's with lines in which a copy of it differs
    fn lent(&self, own: &str) -> BTreeSet<String> {
        let differs = |name: &str| {
            matches!(
                name,
                "listen" | "server_name" | "ssl_certificate" | "ssl_certificate_key" | REJECT
            )
        };
        let all = self.0.iter();
        let lent = all.filter(|(file, item)| *file != own && differs(item.name()));
        lent.map(|(file, _)| (*file).to_owned()).collect()
    }

    /// Whether anything of a server block speaks TLS, and at which addresses it listens how
    fn tls_and_listens(&self, files: &Files<'_>) -> Result<(Tls, Vec<Listen>), Unjudged> {
        let is_on = self
            .named("ssl")
            .any(|ssl| ssl.first().is_some_and(|state| state == "on"));
        let listens_secure = self
            .named("listen")
            .flat_map(Item::arguments)
            .any(|argument| matches!(argument.as_ref(), "ssl" | "quic"));
        let mut listens = self.listens(files)?;
        if self.named("listen").next().is_none() {
            let usual = Listen::parse(&[&PORT.to_string()]);
            listens.extend(usual.map(|(listen, _)| listen));
        }
        if is_on {
            listens.iter_mut().for_each(|listen| listen.tls = Tls::On);
        }
        let tls = match listens_secure || is_on {
            true => Tls::On,
            false => Tls::Off,
        };
        Ok((tls, listens))
    }

    /// Where it says that it rejects handshakes, or that it does not; `None` where it says neither
    fn rejects(&self) -> Option<Option<Place>> {
        let all = self.0.iter();
        all.filter(|(_, item)| item.name() == REJECT)
            .map(|(file, item)| rejection(file, *item))
            .next_back()
    }
}

fn server_block(
    (file, line, items): (&str, usize, Items<'_, '_>),
    contents: &Contents<'_, '_>,
    files: &Files<'_>,
) -> Result<ServerBlock, Unjudged> {
    let (tls, listens) = contents.tls_and_listens(files)?;
    let included = contents.0.iter().filter(|(own, _)| *own != file);
    let borrowed = included.filter(|(_, item)| item.name() == "listen");
    let borrowed = borrowed.filter_map(|(_, item)| listen(*item));
    let borrowed = borrowed.flat_map(|(first, last)| first.until(last));
    let takes_plain = listens.iter().any(|listen| listen.tls == Tls::Off);
    let early = match takes_plain {
        true => early::early((file, items.clone()), contents, files)?,
        false => None,
    };
    let (named, misspelled) = contents.server_names();
    Ok(ServerBlock {
        file: file.to_owned(),
        line,
        listen_lines: contents.named("listen").map(repeatable).collect(),
        named,
        hostname: None,
        misspelled,
        first_name: first_name::uses((file, items.clone()), files)?,
        lent: contents.lent(file),
        names: contents
            .named("server_name")
            .flat_map(Item::arguments)
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        tls,
        listens,
        sockets: contents.named("listen").filter_map(socket).collect(),
        certificates: contents
            .0
            .iter()
            .filter_map(|(file, item)| certificate_line(file, *item))
            .collect(),
        inherited: Vec::new(),
        borrowed: borrowed.map(|listen| listen.at).collect(),
        rejects: contents.rejects().flatten(),
        redirect: redirect::redirect(contents, files)?,
        early,
    })
}

fn stream_server(
    file: &str,
    line: usize,
    contents: &Contents<'_, '_>,
    files: &Files<'_>,
) -> Result<StreamServer, Unjudged> {
    let pass = contents.named("proxy_pass").find_map(Item::first);
    Ok(StreamServer {
        file: file.to_owned(),
        line,
        listens: contents.listens(files)?,
        pass: pass.unwrap_or_default().to_owned(),
    })
}

/// The first port of a `listen`, and its last one
fn listen(item: Item<'_, '_>) -> Option<(Listen, u16)> {
    let arguments = item.arguments().iter().map(AsRef::as_ref);
    Listen::parse(&arguments.collect::<Vec<_>>())
}

/// What a `listen` says that a second one of its socket may say too
///
/// nginx refuses a second `default_server` and second options of a socket.
fn repeatable(item: Item<'_, '_>) -> Vec<String> {
    let may_stand = |word: &str| matches!(word, "ssl" | "quic" | "http2" | "proxy_protocol");
    let mut arguments = item.arguments().iter();
    let place = arguments.next().into_iter();
    let words = place.chain(arguments.filter(|word| may_stand(word)));
    words.map(|word| word.clone().into_owned()).collect()
}

fn socket(item: Item<'_, '_>) -> Option<Socket> {
    let (place, parameters) = item.arguments().split_first()?;
    let has = |word: &str| parameters.iter().any(|parameter| parameter == word);
    Some(Socket {
        path: place.strip_prefix("unix:")?.to_owned(),
        tls: if has("ssl") { Tls::On } else { Tls::Off },
        rank: match has("default_server") || has("default") {
            true => Rank::Default,
            false => Rank::Ordinary,
        },
    })
}

/// The file of an `error_log`; `None` for a socket, a stream of the process, and a path that starts
/// from where nginx was built to run
fn log_file(item: Item<'_, '_>) -> Option<PathBuf> {
    let path = PathBuf::from(item.first()?);
    let is_file = path.is_absolute() && !path.starts_with("/dev") && !path.starts_with("/proc");
    is_file.then_some(path)
}

fn rejection(file: &str, item: Item<'_, '_>) -> Option<Place> {
    let is_on = item.first().is_some_and(|state| state == "on");
    is_on.then(|| place(file, item))
}

fn place(file: &str, item: Item<'_, '_>) -> Place {
    Place {
        file: file.to_owned(),
        line: item.line(),
    }
}

fn certificate_line(file: &str, item: Item<'_, '_>) -> Option<CertificateLine> {
    if !matches!(item.name(), "ssl_certificate" | "ssl_certificate_key") {
        return None;
    }
    Some(CertificateLine {
        file: file.to_owned(),
        line: item.line(),
        directive: item.name().to_owned(),
        path: PathBuf::from(item.first()?),
    })
}

/// Bytes of a dump that are judged: a thousand sites of sixty directives are 2.5 MiB
pub const MOST_BYTES: usize = 8 << 20;
/// Blocks and includes within each other: what people write ends at ten
pub const MOST_DEPTH: usize = 100;
/// What is kept of a directive costs as many steps as it takes memory
const KEPT: usize = 50;
const REJECT: &str = "ssl_reject_handshake";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[track_caller]
    fn servers(dump: &str) -> Vec<ServerBlock> {
        read(dump).expect("it is judged").servers
    }

    const DUMP: &str = r#"nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
# configuration file /etc/nginx/nginx.conf:
events {}
http {
    include /etc/nginx/conf.d/*.conf;
}

# configuration file /etc/nginx/conf.d/messenger.conf:
# the messenger
server {
    listen 443 ssl; server_name messenger.rare-books.test;
    ssl_certificate /etc/letsencrypt/live/rare-books.test/fullchain.pem;
    # ssl_certificate /etc/letsencrypt/live/messenger.rare-books.test/fullchain.pem;
    location / { proxy_pass http://backend; }
}
server { listen 443 ssl; server_name *.wild.test; }

# configuration file /etc/nginx/conf.d/shop.conf:
server {
    listen 80;
    server_name rare-books.test messenger.rare-books.test;
    location /.well-known/acme-challenge/ { root /var/www/certbot; }
}
server {
    listen 443 ssl;
    server_name Rare-Books.test www.rare-books.test;
    ssl_certificate "/etc/letsencrypt/live/rare-books.test/fullchain.pem";
    ssl_certificate_key /etc/letsencrypt/live/rare-books.test/privkey.pem;
}
"#;

    #[test]
    fn blocks_are_read_with_their_certificate_lines() {
        let blocks = servers(DUMP);
        assert_eq!(blocks.len(), 4);
        let messenger = &blocks[0];
        assert_eq!(messenger.file, "/etc/nginx/conf.d/messenger.conf");
        assert_eq!((messenger.line, messenger.tls), (2, Tls::On));
        assert_eq!(messenger.names, ["messenger.rare-books.test"]);
        assert_eq!(messenger.certificates.len(), 1);
        assert_eq!(messenger.certificates[0].line, 4);
    }

    #[test]
    fn lines_of_included_files_count_as_the_blocks_own() {
        let dump = "# configuration file /etc/nginx/nginx.conf:
server { listen 443 ssl; server_name a.test; include snippets/*.conf; }

# configuration file /etc/nginx/snippets/tls.conf:
# what all share
ssl_certificate /etc/letsencrypt/live/b.test/fullchain.pem;
";
        let blocks = servers(dump);
        let lines = blocks[0].certificates.iter();
        let lines: Vec<_> = lines.map(|line| (line.file.as_str(), line.line)).collect();
        assert_eq!(lines, [("/etc/nginx/snippets/tls.conf", 2)]);
    }

    #[test]
    fn blocks_stand_in_the_order_in_which_nginx_reads_them() {
        let dump = "# configuration file /etc/nginx/nginx.conf:
stream { include mixed/*.conf; server { listen 1 ssl; } }
http {
    server { listen 1; server_name first; location / { include odd/[a-b]; } }
    include sites/*.conf;
    server { listen 1; server_name last; }
}

# configuration file /etc/nginx/mixed/mail.conf:
server { listen 993 ssl; }

# configuration file /etc/nginx/odd/a:
server { listen 1; server_name unknown; }

# configuration file /etc/nginx/sites/a.conf:
server { listen 1; server_name second; }
include third.conf;
include sites/../mixed/none*;

# configuration file /etc/nginx/third.conf:
server { listen 1; server_name third; }

# configuration file /etc/nginx/sites/b.conf:
include third.conf;
server { listen 1; server_name fourth; }
";
        let blocks = servers(dump);
        let names: Vec<_> = blocks.iter().flat_map(|block| &block.names).collect();
        let expected = ["first", "second", "third", "fourth", "last", "unknown"];
        assert_eq!(names, expected);
    }

    const SITES: &str = "# configuration file /etc/nginx/nginx.conf:
http { include /etc/nginx/sites/*.conf; }

";
    const VICTIM: &str = "
# configuration file /etc/nginx/sites/victim.conf:
server { listen 443 ssl; server_name victim.test; }

";

    /// What is read of the sites `a.conf` and `victim.conf`, as `FILE:LINE NAME`
    fn beside_the_victim(site: &str) -> Result<Vec<String>, Unjudged> {
        let site = format!("# configuration file /etc/nginx/sites/a.conf:\n{site}\n");
        let read = read(&format!("{SITES}{site}{VICTIM}"))?;
        let blocks = read.servers.iter();
        Ok(blocks
            .map(|block| format!("{} {}", block.place(), block.names.join(" ")))
            .collect())
    }

    #[test]
    fn a_header_that_nginx_did_not_print_is_a_comment_or_makes_nothing_known() {
        let forged = |file: &str| format!("# configuration file {file}:\n");
        let victim = forged("/etc/nginx/sites/victim.conf");
        let block = "server { listen 443 ssl; server_name forged.test; }\n";
        let is_known_as = |site: &str, place: &str| {
            let expected = [
                format!("/etc/nginx/sites/{place}"),
                "/etc/nginx/sites/victim.conf:1 victim.test".to_owned(),
            ];
            assert_eq!(
                beside_the_victim(site).as_deref(),
                Ok(&expected[..]),
                "{site}"
            );
        };
        let own = "a.conf:1 a.test";
        // Inside of a block, a directive or a value it is what nginx takes it for.
        for inside in [
            format!("server {{ server_name a.test;\n{victim}}}\n"),
            format!("server {{ server_name a.test; location / {{\n{victim}}} }}\n"),
            format!("server {{ server_name\n{victim}a.test; }}\n"),
            format!("server {{ server_name a.test; return 200 \"\n{victim}\"; }}\n"),
            format!("server {{ server_name a.test; return 200 '\n{victim}}}'; }}\n"),
            format!("server {{ server_name a.test; return 200 x\\\n{victim}; }}\n"),
        ] {
            is_known_as(&inside, own);
        }
        // No file of nginx's has such a name, and no header such an end.
        for other in [
            "# configuration file for a.test:\n",
            "# configuration file /etc/nginx/sites/victim.conf\n",
            "# configuration file /etc/nginx/sites/victim.conf:\r\n",
            " # configuration file /etc/nginx/sites/victim.conf:\n",
            "# configuration file :\n",
        ] {
            is_known_as(
                &format!("{other}server {{ server_name a.test; }}\n"),
                "a.conf:2 a.test",
            );
        }
        let unknown = |site: &str, file: &str| {
            let expected = Unjudged::Header {
                file: file.to_owned(),
            };
            assert_eq!(beside_the_victim(site), Err(expected), "{site}");
        };
        // Seen twice, which of both is nginx's own is not told by what stands behind them.
        unknown(&format!("{victim}{block}"), "/etc/nginx/sites/victim.conf");
        let copy = VICTIM.trim_start();
        unknown(copy, "/etc/nginx/sites/victim.conf");
        unknown(
            &forged("/etc/nginx/sites/a.conf"),
            "/etc/nginx/sites/a.conf",
        );
        unknown(&forged("/etc/nginx/nginx.conf"), "/etc/nginx/nginx.conf");
        // Nothing includes it, or nginx opens another one first.
        for file in [
            "/etc/nginx/sites/old/x.conf",
            "/etc/nginx/sites/.x.conf",
            "/etc/nginx/sites/A.conf",
            "/etc/nginx/snippets/tls.conf",
        ] {
            unknown(&format!("{}{block}", forged(file)), file);
        }
    }

    #[test]
    fn a_file_that_another_includes_later_is_not_forged_before() {
        let site = "# configuration file /etc/nginx/vhost.d/b.test.evil:\nssl_certificate /x;\n";
        let dump = |before: &str, behind: &str| {
            format!(
                "{SITES}# configuration file /etc/nginx/sites/a.conf:\n{before}\n\
                 # configuration file /etc/nginx/sites/b.conf:\n\
                 server {{ listen 443 ssl; include /etc/nginx/vhost.d/b.test*; }}\n\n{behind}"
            )
        };
        let own = "# configuration file /etc/nginx/vhost.d/b.test_own:\nssl_certificate /y;\n\n";
        let blocks = servers(&dump("", own));
        assert_eq!(blocks[0].certificates[0].path, PathBuf::from("/y"));
        let file = match read(&dump(site, own)) {
            Err(Unjudged::Header { file }) => file,
            other => panic!("{other:?}"),
        };
        assert_eq!(file, "/etc/nginx/vhost.d/b.test.evil");
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        for (site, line) in [
            ("server {", 1),
            ("server { server_name a.test;\n}\n}", 3),
            ("server_name a.test", 1),
            ("server { return 200 \"\n", 2),
            (";", 1),
            ("a { content_by_lua_block {\n return {\n }", 1),
            (
                "a { content_by_lua_block { x = [[\n# configuration file /x:\n]] } }",
                1,
            ),
        ] {
            let text = format!("# configuration file /etc/nginx/nginx.conf:\n{site}");
            let expected = Unjudged::Syntax {
                file: "/etc/nginx/nginx.conf".to_owned(),
                line,
            };
            assert_eq!(read(&text), Err(expected), "{site}");
        }
    }

    #[test]
    fn certificates_beside_the_blocks_are_for_those_that_name_none() {
        let dump = "# configuration file /etc/nginx/nginx.conf:
http {
    server { listen 443 ssl; server_name none; }
    server { listen 443 ssl; server_name both; ssl_certificate a; ssl_certificate_key a; }
    server { listen 443 ssl; server_name half; ssl_certificate a; }
    include snippets/tls.conf;
}
mail { ssl_certificate mail; server { listen 993 ssl; } }

# configuration file /etc/nginx/snippets/tls.conf:
ssl_certificate beside;
ssl_certificate_key beside;
";
        let blocks = servers(dump);
        let paths = |block: &ServerBlock| -> Vec<String> {
            let lines = block.certificate_lines();
            lines
                .map(|line| format!("{} {}", line.directive, line.path.display()))
                .collect()
        };
        let lines = ["ssl_certificate", "ssl_certificate_key"];
        let of = |paths: [&str; 2]| [0, 1].map(|at| format!("{} {}", lines[at], paths[at]));
        assert_eq!(paths(&blocks[0]), of(["beside", "beside"]));
        assert_eq!(paths(&blocks[1]), of(["a", "a"]));
        assert_eq!(paths(&blocks[2]), of(["a", "beside"]));
        assert!(blocks[0].certificates.is_empty());
        assert_eq!(blocks[0].inherited[0].file, "/etc/nginx/snippets/tls.conf");
        assert_eq!(blocks.len(), 3);
    }

    #[test]
    fn the_log_is_the_file_beside_all_blocks() {
        #[track_caller]
        fn check(main: &str, expected: Option<&str>) {
            let dump = format!("# configuration file /etc/nginx/nginx.conf:\n{main}\n");
            let found = read(&dump).unwrap().error_log;
            assert_eq!(found.as_deref(), expected.map(Path::new), "{main}");
        }
        check(
            "error_log /logs/a.log notice; error_log /logs/b.log;",
            Some("/logs/a.log"),
        );
        check(
            "error_log stderr; error_log syslog:server=x; error_log memory:1m; error_log /b;",
            Some("/b"),
        );
        check("error_log /dev/stderr notice;", None);
        check("error_log logs/error.log;", None);
        check("http { error_log /a; server { error_log /b; } }", None);
        check(
            "include log;\n# configuration file /etc/nginx/log:\nerror_log /included;",
            Some("/included"),
        );
    }

    #[test]
    fn the_user_of_the_workers_is_the_one_beside_all_blocks() {
        let found = |main: &str| {
            let dump = format!("# configuration file /etc/nginx/nginx.conf:\n{main}\n");
            read(&dump).unwrap().user
        };
        assert_eq!(found("user www-data web;").as_deref(), Some("www-data"));
        assert_eq!(found("http { server { user x; } }"), None);
    }

    #[test]
    fn a_dump_that_is_none_has_no_blocks() {
        assert_eq!(servers(""), []);
        assert_eq!(servers("nginx: [emerg] unexpected end of file"), []);
    }

    #[test]
    fn a_word_is_read_to_its_end_as_nginx_reads_it() {
        let dump = r#"# configuration file /etc/nginx/nginx.conf:
server {
    listen 443 ssl;
    server_name "~^(?<sub>\w{2,3})\.a\.test$" 'b.test' c\ d.test; # } not a brace
    ssl_certificate /live/$lineage/full"chain".pem;
    ssl_certificate_key /live/${lineage}/privkey.pem;
}
"#;
        let blocks = servers(dump);
        let names = [r"~^(?<sub>\w{2,3})\.a\.test$", "b.test", r"c\ d.test"];
        assert_eq!(blocks[0].names, names);
        let paths = blocks[0].certificates.iter();
        let paths: Vec<String> = paths.map(|line| line.path.display().to_string()).collect();
        let expected = [
            "/live/$lineage/full\"chain\".pem",
            "/live/${lineage}/privkey.pem",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn what_stands_in_lua_is_no_configuration() {
        let dump = "# configuration file /etc/nginx/nginx.conf:
server {
    content_by_lua_block {
        -- it's } here
        local text = \"} server {\" --[[ } ]] .. [=[ } ]=]
        if text then return { 1 } end
    }
    server_name a.test;
}
";
        assert_eq!(servers(dump)[0].names, ["a.test"]);
    }

    fn excess(dump: &str) -> Option<Unjudged> {
        let header = "# configuration file /etc/nginx/nginx.conf:\n";
        read(&format!("{header}{dump}")).err()
    }

    #[test]
    fn blocks_that_nest_without_end_are_not_followed() {
        let nested = |depth: usize| format!("{}{}", "a {\n".repeat(depth), "}".repeat(depth));
        assert_eq!(excess(&nested(MOST_DEPTH)), None);
        assert_eq!(excess(&nested(MOST_DEPTH + 1)), Some(Unjudged::Depth));
        assert_eq!(excess(&nested(8000)), Some(Unjudged::Depth));
        assert_eq!(excess(&"a {".repeat(1_000_000)), Some(Unjudged::Depth));
        // Files that include each other nest as blocks do.
        let files = (0..8000).map(|number| {
            format!(
                "include f{};\n# configuration file /etc/nginx/f{number}:\n",
                number
            )
        });
        let files: String = files.collect();
        assert_eq!(excess(&files), Some(Unjudged::Depth));
        let in_a_block = files
            .replace("include", "server { include")
            .replace(";\n", ";}\n");
        assert_eq!(excess(&in_a_block), Some(Unjudged::Depth));
    }

    #[test]
    fn what_is_longer_than_any_configuration_is_not_read() {
        assert_eq!(excess(&"a;".repeat(4 << 20)), Some(Unjudged::Bytes));
        assert_eq!(excess(&"a;".repeat(2 << 20)), Some(Unjudged::Words));
        assert_eq!(excess(&"#".repeat(7 << 20)), None);
        let ranges = "server { listen 1-65535; }\n".repeat(100_000);
        assert_eq!(excess(&ranges), Some(Unjudged::Includes));
        // One large file that many blocks include comes to more than it takes to write.
        let blocks = "server { include /x; }\n".repeat(20_000);
        let included = "a;".repeat(10_000);
        let dump = format!("{blocks}# configuration file /x:\n{included}");
        assert_eq!(excess(&dump), Some(Unjudged::Includes));
    }

    #[test]
    fn a_thousand_sites_are_read() {
        let site = |number: usize| {
            let locations = "    location /static/ { root /srv/www; expires 30d; add_header Cache-Control public; }\n";
            format!(
                "\n# configuration file /etc/nginx/sites/{number}.conf:
server {{ listen 80; listen [::]:80; server_name shop-{number}.test; return 301 https://$host$request_uri; }}
server {{
    listen 443 ssl; listen [::]:443 ssl; server_name shop-{number}.test www.shop-{number}.test;
    ssl_certificate /etc/letsencrypt/live/shop-{number}.test/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/shop-{number}.test/privkey.pem;
    include snippets/tls.conf;
    include /etc/nginx/vhost.d/shop-{number}.test*;
{}}}
",
                locations.repeat(12)
            )
        };
        let tls =
            "# configuration file /etc/nginx/snippets/tls.conf:\nssl_protocols TLSv1.2 TLSv1.3;\n";
        let sites: String = (1001..2000).map(site).collect();
        let dump = format!(
            "# configuration file /etc/nginx/nginx.conf:\nhttp {{ include sites/*; }}\n{}{tls}{sites}",
            site(1000)
        );
        let blocks = servers(&dump);
        assert_eq!(blocks.len(), 2000);
        assert_eq!(blocks[1].certificates.len(), 2);
        assert!(dump.len() > 1 << 20);
    }

    #[test]
    fn maps_and_stream_servers_are_read_with_their_places() {
        let dump = "# configuration file /etc/nginx/nginx.conf:
stream {
    map $ssl_preread_server_name $to { A.test 127.0.0.1:8443; include rows; }
    upstream far { server 192.0.2.7:443; }
    server { listen 443; proxy_pass $to; }
}
http { map $ssl_server_name $lineage { default b.test; } }

# configuration file /etc/nginx/rows:
c.test far;
";
        let configuration = read(dump).unwrap();
        let rows = configuration.maps.iter().flat_map(|map| &map.rows);
        let rows: Vec<String> = rows
            .map(|row| format!("{}:{} {} {}", row.file, row.line, row.pattern, row.value))
            .collect();
        let expected = [
            "/etc/nginx/nginx.conf:2 a.test 127.0.0.1:8443",
            "/etc/nginx/rows:1 c.test far",
            "/etc/nginx/nginx.conf:6 default b.test",
        ];
        assert_eq!(rows, expected);
        let modules: Vec<Module> = configuration.maps.iter().map(|map| map.module).collect();
        assert_eq!(modules, [Module::Stream, Module::Http]);
        assert_eq!(configuration.upstreams[0].servers, ["192.0.2.7:443"]);
        let server = &configuration.streams[0];
        assert_eq!((server.line, server.pass.as_str()), (4, "$to"));
        assert_eq!(configuration.servers, []);
    }
}
