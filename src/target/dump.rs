//! nginx's whole configuration as it stands in the container (`nginx -T`), read for its server
//! blocks: which one serves a name, and which certificate it names.

use std::path::PathBuf;

use nginx_lint_parser::ast::{Block, Config, Directive};
use nginx_lint_parser::parse_string_with_errors;

use crate::name::DnsName;

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
    /// Its own `ssl_certificate` and `ssl_certificate_key` lines
    pub certificates: Vec<CertificateLine>,
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
    /// Line in the block's file, from 1
    pub line: usize,
    /// `ssl_certificate` or `ssl_certificate_key`
    pub directive: String,
    /// The file that it names
    pub path: PathBuf,
}

/// All server blocks of a dump, in its order
///
/// A file that does not parse whole gives the blocks that can be read.
pub fn server_blocks(dump: &str) -> Vec<ServerBlock> {
    files(dump)
        .into_iter()
        .flat_map(|(file, text)| {
            let (config, _) = parse_string_with_errors(&text);
            blocks_of(&file, &config)
        })
        .collect()
}

/// The TLS server block that lists a name, exactly or by wildcard
///
/// Exact names come before wildcards, as in nginx; regular expressions are not tried.
pub fn block_for<'b>(blocks: &'b [ServerBlock], name: &DnsName) -> Option<&'b ServerBlock> {
    let secure = || blocks.iter().filter(|block| block.tls == Tls::On);
    let exact = |block: &&ServerBlock| block.names.iter().any(|listed| listed == name.as_str());
    let wildcard = |block: &&ServerBlock| {
        block
            .names
            .iter()
            .any(|listed| covers(listed, name.as_str()))
    };
    secure().find(exact).or_else(|| secure().find(wildcard))
}

/// Whether a TLS server block has a name that is a regular expression, which may match any name
pub fn has_patterns(blocks: &[ServerBlock]) -> bool {
    blocks
        .iter()
        .filter(|block| block.tls == Tls::On)
        .flat_map(|block| &block.names)
        .any(|name| name.starts_with('~'))
}

/// Whether a wildcard of `server_name` covers a name: `*.example.com` or `.example.com`
fn covers(pattern: &str, name: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix('*') {
        return suffix.starts_with('.') && name.ends_with(suffix) && name.len() > suffix.len();
    }
    match pattern.strip_prefix('.') {
        Some(parent) => name == parent || name.ends_with(pattern),
        None => false,
    }
}

/// The files of a dump with their names
fn files(dump: &str) -> Vec<(String, String)> {
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
    files
}

fn blocks_of(file: &str, config: &Config) -> Vec<ServerBlock> {
    config
        .all_directives()
        .filter(|directive| directive.is("server"))
        .filter_map(|directive| {
            let block = directive.block.as_ref()?;
            Some(server_block(file, directive, block))
        })
        .collect()
}

fn server_block(file: &str, directive: &Directive, block: &Block) -> ServerBlock {
    let own = |name: &'static str| block.directives().filter(move |inner| inner.is(name));
    let listens_secure = own("listen")
        .flat_map(|listen| &listen.args)
        .any(|argument| matches!(argument.as_str(), "ssl" | "quic"));
    let tls = if listens_secure || own("ssl").any(|ssl| ssl.first_arg_is("on")) {
        Tls::On
    } else {
        Tls::Off
    };
    ServerBlock {
        file: file.to_owned(),
        line: directive.span.start.line,
        names: own("server_name")
            .flat_map(|names| &names.args)
            .map(|name| name.as_str().to_ascii_lowercase())
            .collect(),
        tls,
        certificates: block.directives().filter_map(certificate_line).collect(),
    }
}

fn certificate_line(directive: &Directive) -> Option<CertificateLine> {
    if !directive.is("ssl_certificate") && !directive.is("ssl_certificate_key") {
        return None;
    }
    Some(CertificateLine {
        line: directive.span.start.line,
        directive: directive.name.clone(),
        path: PathBuf::from(directive.first_arg()?),
    })
}

const HEADER: &str = "# configuration file ";

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
    fn the_tls_block_of_a_name_is_found_with_its_certificate_lines() {
        let blocks = server_blocks(DUMP);
        assert_eq!(blocks.len(), 4);
        #[track_caller]
        fn check(blocks: &[ServerBlock], name: &str, expected: Option<(&str, usize)>) {
            let found = block_for(blocks, &DnsName::parse(name).unwrap());
            assert_eq!(
                found.map(|block| (block.file.as_str(), block.line)),
                expected,
                "{name}"
            );
        }
        check(
            &blocks,
            "rare-books.test",
            Some(("/etc/nginx/conf.d/shop.conf", 6)),
        );
        check(
            &blocks,
            "messenger.rare-books.test",
            Some(("/etc/nginx/conf.d/messenger.conf", 2)),
        );
        check(
            &blocks,
            "a.wild.test",
            Some(("/etc/nginx/conf.d/messenger.conf", 8)),
        );
        check(&blocks, "wild.test", None);
        check(&blocks, "other.test", None);
        let messenger = block_for(
            &blocks,
            &DnsName::parse("messenger.rare-books.test").unwrap(),
        )
        .unwrap();
        assert_eq!(messenger.certificates.len(), 1);
        assert_eq!(messenger.certificates[0].line, 4);
        assert!(!has_patterns(&blocks));
        let pattern = "# configuration file x:\nserver { listen 443 ssl; server_name ~^a; }";
        assert!(has_patterns(&server_blocks(pattern)));
    }

    #[test]
    fn a_dump_that_is_none_has_no_blocks() {
        assert_eq!(server_blocks(""), []);
        assert_eq!(server_blocks("nginx: [emerg] unexpected end of file"), []);
    }
}
