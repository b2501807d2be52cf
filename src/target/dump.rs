//! nginx's whole configuration as it stands in the container (`nginx -T`), read for its server
//! blocks, and the certificates that they name.

use std::path::{Path, PathBuf};

use nginx_lint_parser::ast::{Block, Config, Directive};
use nginx_lint_parser::parse_string_with_errors;

use super::listen::{Listen, PORT};

mod order;

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
    /// `ssl_certificate` and `ssl_certificate_key` lines: its own, and those that it includes
    pub certificates: Vec<CertificateLine>,
    /// Such lines beside the server blocks, where it has none of its own
    pub inherited: Vec<CertificateLine>,
}

impl ServerBlock {
    /// The lines that hold for it, its own first
    pub fn certificate_lines(&self) -> impl Iterator<Item = &CertificateLine> {
        self.certificates.iter().chain(&self.inherited)
    }
}

/// Whether a server block listens with TLS
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// `listen ... ssl` or `quic`, or `ssl on`
    On,
    /// Plain HTTP only
    Off,
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
    /// The file that it names
    pub path: PathBuf,
}

/// Whether a dump is short and flat enough to be parsed
///
/// nginx reads thousands of nested blocks, and the parser goes down into each on the stack; it keeps
/// several hundred bytes for each directive. Braces are counted with and without those in comments
/// and quotes, so that no way of reading them goes deeper.
pub fn is_judged(dump: &str) -> bool {
    let (mut all, mut own, mut directives) = (0_usize, 0_usize, 0_usize);
    let mut place = Place::Between;
    for c in dump.chars() {
        let is_own = matches!(place, Place::Between | Place::Word);
        match c {
            '{' => {
                all += 1;
                own += usize::from(is_own);
                directives += 1;
            }
            '}' => {
                all = all.saturating_sub(1);
                own = own.saturating_sub(usize::from(is_own));
            }
            ';' => directives += 1,
            _ => {}
        }
        if all.max(own) > MOST_NESTED || directives > MOST_DIRECTIVES {
            return false;
        }
        place = place.after(c);
    }
    dump.len() <= MOST_BYTES
}

/// Where in a configuration a character stands
#[derive(Clone, Copy)]
enum Place {
    /// Between two words
    Between,
    /// In a word without quotes
    Word,
    /// In a comment
    Comment,
    /// In a word with this quote
    Quoted(char),
    /// After a backslash in a word with this quote
    Escaped(char),
}

impl Place {
    fn after(self, c: char) -> Self {
        match (self, c) {
            (Self::Escaped(quote), _) => Self::Quoted(quote),
            (Self::Quoted(quote), '\\') => Self::Escaped(quote),
            (Self::Quoted(quote), c) if c == quote => Self::Between,
            (Self::Quoted(_), _) => self,
            (Self::Comment, '\n') => Self::Between,
            (Self::Comment, _) => self,
            (Self::Between, '#') => Self::Comment,
            (Self::Between, '"' | '\'') => Self::Quoted(c),
            (_, '{' | '}' | ';') => Self::Between,
            (_, c) if c.is_whitespace() => Self::Between,
            _ => Self::Word,
        }
    }
}

/// All server blocks of a dump, in the order in which nginx reads them
///
/// A file that does not parse whole gives the blocks that can be read, and a dump that is not
/// judged gives none.
pub fn server_blocks(dump: &str) -> Vec<ServerBlock> {
    if !is_judged(dump) {
        return Vec::new();
    }
    order::read(&Files::parse(dump))
}

/// The files of a dump, each with its name
struct Files(Vec<(String, Config)>);

impl Files {
    fn parse(dump: &str) -> Self {
        let mut files: Vec<(String, String)> = Vec::new();
        for line in dump.lines() {
            match line.strip_prefix(HEADER) {
                Some(path) => files.push((path.trim_end_matches(':').to_owned(), String::new())),
                None => {
                    if let Some((_, text)) = files.last_mut() {
                        text.push_str(line);
                        text.push('\n');
                    }
                }
            }
        }
        let parsed = files
            .into_iter()
            .map(|(file, text)| (file, parse_string_with_errors(&text).0));
        Self(parsed.collect())
    }

    /// The files that `include` means, each with its number, in nginx's order; a relative path is
    /// taken from the main file's directory
    fn included(&self, pattern: &str) -> Vec<(usize, &str, &Config)> {
        let main = self.0.first().map(|(file, _)| Path::new(file));
        let base = main
            .and_then(Path::parent)
            .unwrap_or_else(|| Path::new("/"));
        let pattern = base.join(pattern).to_string_lossy().into_owned();
        let all = self.0.iter().enumerate();
        let mut meant: Vec<(usize, &str, &Config)> = all
            .filter(|(_, (file, _))| matches_glob(&pattern, file))
            .map(|(number, (file, config))| (number, file.as_str(), config))
            .collect();
        // One that was included before stands where that was.
        meant.sort_by_key(|(_, file, _)| *file);
        meant
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

fn server_block(file: &str, directive: &Directive, block: &Block, files: &Files) -> ServerBlock {
    let (mut directives, mut room) = (Vec::new(), MOST_INCLUDES);
    for inner in block.directives() {
        add(&mut directives, file, inner, files, &mut room);
    }
    let own = |name: &'static str| {
        let all = directives.iter();
        all.filter(move |(_, inner)| inner.is(name))
            .map(|(_, inner)| *inner)
    };
    let is_on = own("ssl").any(|ssl| ssl.first_arg_is("on"));
    let listens_secure = own("listen")
        .flat_map(|listen| &listen.args)
        .any(|argument| matches!(argument.as_str(), "ssl" | "quic"));
    let tls = if listens_secure || is_on {
        Tls::On
    } else {
        Tls::Off
    };
    let mut listens: Vec<Listen> = own("listen").filter_map(listen).collect();
    if own("listen").next().is_none() {
        listens.extend(Listen::parse(&[&PORT.to_string()]));
    }
    if is_on {
        listens.iter_mut().for_each(|listen| listen.tls = Tls::On);
    }
    ServerBlock {
        file: file.to_owned(),
        line: directive.span.start.line,
        names: own("server_name")
            .flat_map(|names| &names.args)
            .map(|name| name.as_str().to_ascii_lowercase())
            .collect(),
        tls,
        listens,
        certificates: directives
            .iter()
            .filter_map(|(file, inner)| certificate_line(file, inner))
            .collect(),
        inherited: Vec::new(),
    }
}

/// Adds a directive of a server block with its file, or those of the files that it includes
fn add<'f>(
    found: &mut Vec<(&'f str, &'f Directive)>,
    file: &'f str,
    directive: &'f Directive,
    files: &'f Files,
    room: &mut usize,
) {
    match directive.first_arg() {
        Some(pattern) if directive.is("include") => {
            for (_, file, config) in files.included(pattern) {
                let Some(left) = room.checked_sub(1) else {
                    return;
                };
                *room = left;
                for inner in config.directives() {
                    add(found, file, inner, files, room);
                }
            }
        }
        _ => found.push((file, directive)),
    }
}

fn listen(directive: &Directive) -> Option<Listen> {
    let arguments = directive.args.iter().map(|argument| argument.as_str());
    Listen::parse(&arguments.collect::<Vec<_>>())
}

fn certificate_line(file: &str, directive: &Directive) -> Option<CertificateLine> {
    if !directive.is("ssl_certificate") && !directive.is("ssl_certificate_key") {
        return None;
    }
    Some(CertificateLine {
        file: file.to_owned(),
        line: directive.span.start.line,
        directive: directive.name.clone(),
        path: PathBuf::from(directive.first_arg()?),
    })
}

/// Files that one block includes: nginx refuses a circle, and a dump that is none may hold one
const MOST_INCLUDES: usize = 64;
const HEADER: &str = "# configuration file ";

/// Blocks in each other that are followed
const MOST_NESTED: usize = 100;
/// A thousand sites have a few dozen directives each
const MOST_DIRECTIVES: usize = 150_000;
/// Bytes of a dump that are read
const MOST_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

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
        let blocks = server_blocks(DUMP);
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
include snippets/tls.conf;

# configuration file /etc/nginx/snippets/deep/other.conf:
ssl_certificate /etc/letsencrypt/live/c.test/fullchain.pem;
";
        let blocks = server_blocks(dump);
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
        let blocks = server_blocks(dump);
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
        let blocks = server_blocks(dump);
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
    fn what_nests_without_end_or_is_too_long_is_not_parsed() {
        let within = |inside: &str| format!("{HEADER}/etc/nginx/nginx.conf:\n{inside}");
        let deep = |open: &str| within(&format!("http {{ {} ", open.repeat(8000)));
        for open in ["a {", "a { # }\n", "a { b '}';", "# {\n", "a {'"] {
            assert!(!is_judged(&deep(open)), "{open}");
            assert_eq!(server_blocks(&deep(open)), [], "{open}");
        }
        assert!(!is_judged(&within(&"a;".repeat(MOST_DIRECTIVES + 1))));
        assert!(!is_judged(&within(&"a".repeat(MOST_BYTES))));

        let site = "server { listen 443 ssl; server_name a.test; location / { return 200; } }\n";
        let sites = within(&format!("http {{ {} }}", site.repeat(1000)));
        assert!(is_judged(&sites));
        assert_eq!(server_blocks(&sites).len(), 1000);
    }

    #[test]
    fn a_dump_that_is_none_has_no_blocks() {
        assert_eq!(server_blocks(""), []);
        assert_eq!(server_blocks("nginx: [emerg] unexpected end of file"), []);
    }
}
