//! nginx's whole configuration as it stands in the container (`nginx -T`), read for what decides
//! which certificate a name gets: server blocks, the maps and stream servers that lead to them, and
//! the certificates that they name.
//!
//! Whoever may write a site's file decides what stands in it, so what is read is bounded: beyond
//! that the configuration is not judged.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thiserror::Error;

use super::listen::{Listen, PORT, Rank};
use super::variables::names_in;
use text::{Item, Items, Texts};

mod order;
mod text;

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
    /// Variables of maps that stand elsewhere too than in lines that name certificates
    pub used: BTreeSet<String>,
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
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Excess {
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
    /// The `ssl_reject_handshake on` that holds for it, by which it has no TLS to show
    pub rejects: Option<Place>,
}

impl ServerBlock {
    /// Where it begins, as `FILE:LINE`
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
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
/// A file that does not parse whole gives what can be read of it.
///
/// # Errors
/// [`Excess`] for one that goes beyond what is judged: nothing is known of it then.
pub fn read(dump: &str) -> Result<Configuration, Excess> {
    if dump.len() > MOST_BYTES {
        return Err(Excess::Bytes);
    }
    order::read(&Files::parse(dump)?)
}

/// The files of a dump
struct Files<'d> {
    texts: Texts<'d>,
    /// Each with its name
    all: Vec<(&'d str, Range<usize>)>,
    /// Their numbers by name
    by_name: HashMap<&'d str, Vec<usize>>,
    /// What patterns of `include` were seen to mean
    meant: RefCell<HashMap<String, Rc<[usize]>>>,
    /// What may still be spent on includes
    budget: Cell<usize>,
}

impl<'d> Files<'d> {
    fn parse(dump: &'d str) -> Result<Self, Excess> {
        let mut files = Self {
            texts: Texts::default(),
            all: Vec::new(),
            by_name: HashMap::new(),
            meant: RefCell::default(),
            budget: Cell::new(BUDGET),
        };
        let (mut name, mut begin, mut at) = (None, 0, 0);
        for line in dump.split_inclusive('\n') {
            if let Some(path) = line.strip_prefix(HEADER) {
                files.add(name, &dump[begin..at])?;
                name = Some(path.trim_end().trim_end_matches(':'));
                begin = at + line.len();
            }
            at += line.len();
        }
        files.add(name, &dump[begin..])?;
        Ok(files)
    }

    /// Adds a file; what stands before the first header is of none
    fn add(&mut self, name: Option<&'d str>, text: &'d str) -> Result<(), Excess> {
        let Some(name) = name else {
            return Ok(());
        };
        let directives = self.texts.add(text)?;
        self.by_name.entry(name).or_default().push(self.all.len());
        self.all.push((name, directives));
        Ok(())
    }

    /// The name of a file, and its directives
    fn file(&self, number: usize) -> (&'d str, Items<'_, 'd>) {
        let (name, directives) = &self.all[number];
        (name, self.texts.items(directives.clone()))
    }

    /// The variables in what stands elsewhere than in lines that name certificates
    fn variables(&self) -> impl Iterator<Item = &str> {
        let texts = self.texts.all();
        let used = texts.filter(|item| !item.name().starts_with("ssl_certificate"));
        let words = used.flat_map(|item| match (item.name(), item.arguments()) {
            // The second names the variable that a map makes.
            ("map", [key, ..]) => std::slice::from_ref(key),
            (_, arguments) => arguments,
        });
        words.flat_map(|word| names_in(word))
    }

    /// Takes what a step costs: what includes each other can come to more than it takes to write
    fn spend(&self, cost: usize) -> Result<(), Excess> {
        let left = self.budget.get().checked_sub(cost);
        self.budget.set(left.ok_or(Excess::Includes)?);
        Ok(())
    }

    /// The numbers of the files that `include` means, in nginx's order; a relative path is taken
    /// from the main file's directory
    fn included(&self, pattern: &str) -> Result<Rc<[usize]>, Excess> {
        if let Some(known) = self.meant.borrow().get(pattern) {
            return Ok(Rc::clone(known));
        }
        let main = self.all.first().map(|(file, _)| Path::new(*file));
        let base = main
            .and_then(Path::parent)
            .unwrap_or_else(|| Path::new("/"));
        let path = base.join(pattern).to_string_lossy().into_owned();
        let mut meant = match path.contains(['*', '?', '[']) {
            false => self.by_name.get(path.as_str()).cloned().unwrap_or_default(),
            true if path.len() > LONGEST_PATTERN => Vec::new(),
            true => self.matching(&path)?,
        };
        // One that was included before stands where that was.
        meant.sort_by_key(|number| self.all[*number].0);
        let meant: Rc<[usize]> = meant.into();
        let mut known = self.meant.borrow_mut();
        known.insert(pattern.to_owned(), Rc::clone(&meant));
        Ok(meant)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<usize>, Excess> {
        let mut meant = Vec::new();
        for (number, (file, _)) in self.all.iter().enumerate() {
            self.spend(1 + pattern.len() * file.len() / 512)?;
            if matches_glob(pattern, file) {
                meant.push(number);
            }
        }
        Ok(meant)
    }
}

/// Whether a path fits a pattern with `*` and `?`, of which neither stands for a slash
fn matches_glob(pattern: &str, path: &str) -> bool {
    pattern.split('/').count() == path.split('/').count()
        && pattern
            .split('/')
            .zip(path.split('/'))
            .all(|(pattern, part)| matches_part(pattern.as_bytes(), part.as_bytes()))
}

/// The same without slashes; what the last star stands for grows until the rest fits
fn matches_part(pattern: &[u8], text: &[u8]) -> bool {
    let (mut wanted, mut at, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(wanted) {
            Some(b'*') => {
                star = Some((wanted + 1, at));
                wanted += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[at] => {
                wanted += 1;
                at += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (wanted, at) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[wanted..].iter().all(|byte| *byte == b'*')
}

/// Adds the directives of a block, each with its file, and those of the files that it includes
fn gather<'t, 'd>(
    found: &mut Vec<(&'d str, Item<'t, 'd>)>,
    (file, items): (&'d str, Items<'t, 'd>),
    files: &'t Files<'d>,
    depth: usize,
) -> Result<(), Excess> {
    for item in items {
        files.spend(1)?;
        match item.first() {
            Some(pattern) if item.name() == "include" => {
                if depth == MOST_DEPTH {
                    return Err(Excess::Depth);
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
    ) -> Result<Self, Excess> {
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
    fn listens(&self, files: &Files<'_>) -> Result<Vec<Listen>, Excess> {
        let mut listens = Vec::new();
        for (first, last) in self.named("listen").filter_map(listen) {
            let ports = usize::from(last - first.at.port()) + 1;
            files.spend(KEPT * ports)?;
            listens.extend(first.until(last));
        }
        Ok(listens)
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
    file: &str,
    line: usize,
    contents: &Contents<'_, '_>,
    files: &Files<'_>,
) -> Result<ServerBlock, Excess> {
    let is_on = contents
        .named("ssl")
        .any(|ssl| ssl.first().is_some_and(|state| state == "on"));
    let listens_secure = contents
        .named("listen")
        .flat_map(Item::arguments)
        .any(|argument| matches!(argument.as_ref(), "ssl" | "quic"));
    let tls = if listens_secure || is_on {
        Tls::On
    } else {
        Tls::Off
    };
    let mut listens = contents.listens(files)?;
    if contents.named("listen").next().is_none() {
        let usual = Listen::parse(&[&PORT.to_string()]);
        listens.extend(usual.map(|(listen, _)| listen));
    }
    let included = contents
        .0
        .iter()
        .filter(|(own, item)| *own != file && item.name() == "listen");
    let borrowed = included.filter_map(|(_, item)| listen(*item));
    let borrowed = borrowed.flat_map(|(first, last)| first.until(last));
    if is_on {
        listens.iter_mut().for_each(|listen| listen.tls = Tls::On);
    }
    Ok(ServerBlock {
        file: file.to_owned(),
        line,
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
    })
}

fn stream_server(
    file: &str,
    line: usize,
    contents: &Contents<'_, '_>,
    files: &Files<'_>,
) -> Result<StreamServer, Excess> {
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

fn rejection(file: &str, item: Item<'_, '_>) -> Option<Place> {
    let is_on = item.first().is_some_and(|state| state == "on");
    is_on.then(|| Place {
        file: file.to_owned(),
        line: item.line(),
    })
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
/// Steps that reading may take beyond the words: a thousand sites with ten includes take 100,000
const BUDGET: usize = 10_000_000;
/// What is kept of a directive costs as many steps as it takes memory
const KEPT: usize = 50;
/// A pattern of `include` that is longer means no file
const LONGEST_PATTERN: usize = 512;
const REJECT: &str = "ssl_reject_handshake";
const HEADER: &str = "# configuration file ";

#[cfg(test)]
mod tests {
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

# configuration file /etc/nginx/conf.d/messenger.conf:
# the messenger
server {
    listen 443 ssl; server_name messenger.rare-books.test;
    ssl_certificate /etc/letsencrypt/live/rare-books.test/fullchain.pem;
    # ssl_certificate /etc/letsencrypt/live/messenger.rare-books.test/fullchain.pem;
    location / { proxy_pass http://backend; }
}
server { listen 443 ssl; server_name *.wild.test; }
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

# configuration file /etc/nginx/snippets/deep/other.conf:
ssl_certificate /etc/letsencrypt/live/c.test/fullchain.pem;
";
        let blocks = servers(dump);
        let lines = blocks[0].certificates.iter();
        let lines: Vec<_> = lines.map(|line| (line.file.as_str(), line.line)).collect();
        assert_eq!(lines[0], ("/etc/nginx/snippets/tls.conf", 2));
        assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
    }

    #[test]
    fn blocks_stand_in_the_order_in_which_nginx_reads_them() {
        let dump = "# configuration file /etc/nginx/nginx.conf:
stream { include mixed/*.conf; server { listen 1 ssl; } }
http {
    server { listen 1; server_name first; }
    include sites/*.conf;
    server { listen 1; server_name last; }
}

# configuration file /etc/nginx/mixed/mail.conf:
server { listen 993 ssl; }

# configuration file /etc/nginx/sites/b.conf:
server { listen 1; server_name third; }
include sites/*.conf;

# configuration file /etc/nginx/sites/a.conf:
server { listen 1; server_name second; }

# configuration file /etc/nginx/odd/[a]:
server { listen 1; server_name unknown; }
";
        let blocks = servers(dump);
        let names: Vec<_> = blocks.iter().flat_map(|block| &block.names).collect();
        assert_eq!(names, ["first", "second", "third", "last", "unknown"]);
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
    fn a_pattern_of_include_stands_for_files_of_one_directory() {
        #[track_caller]
        fn check(pattern: &str, path: &str, expected: bool) {
            assert_eq!(matches_glob(pattern, path), expected, "{pattern} {path}");
        }
        check("/etc/nginx/a.conf", "/etc/nginx/a.conf", true);
        check("/etc/nginx/*.conf", "/etc/nginx/a.conf", true);
        check("/etc/*/a*b?.conf", "/etc/nginx/aabbc.conf", true);
        check("/etc/nginx/*.conf", "/etc/nginx/a/b.conf", false);
        check("/etc/nginx/*.conf", "/etc/nginx/a.config", false);
        check("/etc/nginx/*", "/etc/nginx/a", true);
        check("/etc/nginx/?", "/etc/nginx/ab", false);
        check(&"*a".repeat(30), &"a".repeat(29), false);
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

    fn excess(dump: &str) -> Option<Excess> {
        let header = "# configuration file /etc/nginx/nginx.conf:\n";
        read(&format!("{header}{dump}")).err()
    }

    #[test]
    fn blocks_that_nest_without_end_are_not_followed() {
        let nested = |depth: usize| format!("{}{}", "a {\n".repeat(depth), "}".repeat(depth));
        assert_eq!(excess(&nested(MOST_DEPTH)), None);
        assert_eq!(excess(&nested(MOST_DEPTH + 1)), Some(Excess::Depth));
        assert_eq!(excess(&nested(8000)), Some(Excess::Depth));
        assert_eq!(excess(&"a {".repeat(1_000_000)), Some(Excess::Depth));
        // Files that include each other nest as blocks do.
        let files = (0..8000).map(|number| {
            format!(
                "include f{};\n# configuration file /etc/nginx/f{number}:\n",
                number
            )
        });
        let files: String = files.collect();
        assert_eq!(excess(&files), Some(Excess::Depth));
        let in_a_block = files
            .replace("include", "server { include")
            .replace(";\n", ";}\n");
        assert_eq!(excess(&in_a_block), None);
    }

    #[test]
    fn what_is_longer_than_any_configuration_is_not_read() {
        assert_eq!(excess(&"a;".repeat(4 << 20)), Some(Excess::Bytes));
        assert_eq!(excess(&"a;".repeat(2 << 20)), Some(Excess::Words));
        assert_eq!(excess(&"#".repeat(7 << 20)), None);
        let ranges = "server { listen 1-65535; }\n".repeat(100_000);
        assert_eq!(excess(&ranges), Some(Excess::Includes));
        // One large file that many blocks include comes to more than it takes to write.
        let blocks = "server { include /x; }\n".repeat(20_000);
        let included = "a;".repeat(10_000);
        let dump = format!("{blocks}# configuration file /x:\n{included}");
        assert_eq!(excess(&dump), Some(Excess::Includes));
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
        let sites: String = (0..1000).map(site).collect();
        let dump = format!(
            "# configuration file /etc/nginx/nginx.conf:\nhttp {{ include sites/*; }}\n{sites}# configuration file /etc/nginx/snippets/tls.conf:\nssl_protocols TLSv1.2 TLSv1.3;\n"
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
