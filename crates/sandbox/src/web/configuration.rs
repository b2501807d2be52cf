//! The configuration as nginx reads it from its files: the server blocks, or the first thing
//! that nginx would not have.

use std::io;

use nginx_lint_parser::ast::Directive;
use nix::errno::Errno;

use super::directives::{self, Body, Context};
use super::listens::{Listen, Rank, Transport};
use super::text::{self, Text, emergency};
use super::{Options, place};

/// What was read
#[derive(Default)]
pub(super) struct Configuration {
    /// Path in the container and text of each file, in the order in which nginx opened them
    pub(super) files: Vec<(String, String)>,
    pub(super) servers: Vec<Server>,
}

/// A server block
#[derive(Default)]
pub(super) struct Server {
    /// File and line on which it begins
    pub(super) place: String,
    /// What stands in `server_name`, lower case
    pub(super) names: Vec<String>,
    pub(super) listens: Vec<Listen>,
    pub(super) pairs: Pairs,
    pub(super) handshakes: Handshakes,
    /// The text of `return 200`
    pub(super) page: Option<String>,
}

/// Files that `ssl_certificate` and `ssl_certificate_key` name, in their order
#[derive(Clone, Default)]
pub(super) struct Pairs {
    pub(super) certificates: Vec<String>,
    pub(super) keys: Vec<String>,
}

/// What `ssl_reject_handshake` says
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Handshakes {
    #[default]
    Answered,
    Rejected,
}

impl Configuration {
    /// Reads nginx.conf and what it includes
    ///
    /// # Errors
    /// What nginx says on stderr.
    pub(super) fn read(options: &Options) -> Result<Self, String> {
        let mut reader = Reader {
            options,
            found: Self::default(),
            http: Pairs::default(),
            events: 0,
            depth: 0,
        };
        reader.file(&place::full("nginx.conf"), Context::Main, "")?;
        if reader.events == 0 {
            return Err("nginx: [emerg] no \"events\" section in configuration\n".to_owned());
        }
        let Reader { found, http, .. } = reader;
        Ok(found.inheriting(&http))
    }

    /// What `nginx -T` prints
    pub(super) fn dump(&self) -> String {
        self.files
            .iter()
            .map(|(path, text)| format!("# configuration file {path}:\n{text}\n"))
            .collect()
    }

    fn inheriting(mut self, http: &Pairs) -> Self {
        for server in &mut self.servers {
            if server.pairs.certificates.is_empty() {
                server.pairs.certificates.clone_from(&http.certificates);
            }
            if server.pairs.keys.is_empty() {
                server.pairs.keys.clone_from(&http.keys);
            }
        }
        self
    }
}

struct Reader<'o> {
    options: &'o Options,
    found: Configuration,
    /// What stands outside of the server blocks, which is for those that have none of their own
    http: Pairs,
    events: usize,
    depth: usize,
}

impl Reader<'_> {
    /// Reads a file; `from` is where it is included, in nginx's words
    fn file(&mut self, path: &str, context: Context, from: &str) -> Result<(), String> {
        let bytes = place::read(self.options, path).map_err(|error| unread(path, &error, from))?;
        let files = &mut self.found.files;
        if !files.iter().any(|(known, _)| known == path) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            files.push((path.to_owned(), text));
        }
        let text = Text::parse(path, &bytes);
        self.directives(&text, text.directives(), context)?;
        text.end()
    }

    fn directives<'d>(
        &mut self,
        text: &Text,
        directives: impl Iterator<Item = &'d Directive>,
        context: Context,
    ) -> Result<(), String> {
        for directive in directives {
            let place = text.place_of(directive)?;
            let arguments = text::arguments(directive);
            let body = match &directive.block {
                Some(_) => Body::Block,
                None => Body::Line,
            };
            directives::check(&directive.name, context, body, arguments.len())
                .and_then(|()| self.take(&directive.name, &arguments, context, &place))
                .map_err(|words| emergency(&words, &place))?;
            if let ("include", [path]) = (directive.name.as_str(), arguments.as_slice()) {
                self.include(path, context, &place)?;
            }
            if let Some(block) = &directive.block {
                let inside = context.within(&directive.name, &arguments);
                self.directives(text, block.directives(), inside)?;
            }
        }
        Ok(())
    }

    /// Takes from a directive what matters here
    fn take(
        &mut self,
        name: &str,
        arguments: &[String],
        context: Context,
        place: &str,
    ) -> Result<(), String> {
        match (context, name) {
            (Context::Main, "events") => self.events += 1,
            (Context::Http, "server") => self.found.servers.push(Server {
                place: place.to_owned(),
                ..Server::default()
            }),
            (Context::Http, "ssl_certificate") => {
                self.http.certificates.extend_from_slice(arguments)
            }
            (Context::Http, "ssl_certificate_key") => self.http.keys.extend_from_slice(arguments),
            (Context::Server, "listen") => self.listen(Listen::parse(arguments)?)?,
            (Context::Server | Context::Home, _) => {
                if let Some(server) = self.found.servers.last_mut() {
                    server.take(name, arguments)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn listen(&mut self, listen: Listen) -> Result<(), String> {
        if listen.transport == Transport::Quic {
            return Ok(());
        }
        let address = &listen.address;
        let is_taken = |other: &Listen| other.address == *address && other.rank == Rank::Default;
        let Some((server, others)) = self.found.servers.split_last_mut() else {
            return Ok(());
        };
        if server.listens.iter().any(|other| other.address == *address) {
            return Err(format!("a duplicate listen {address}"));
        }
        if listen.rank == Rank::Default
            && others.iter().flat_map(|other| &other.listens).any(is_taken)
        {
            return Err(format!("a duplicate default server for {address}"));
        }
        server.listens.push(listen);
        Ok(())
    }

    fn include(&mut self, path: &str, context: Context, place: &str) -> Result<(), String> {
        let path = place::full(path);
        let from = format!(" in {place}");
        if self.depth == MAX_DEPTH {
            return Err(unread(&path, &Errno::EMFILE.into(), &from));
        }
        self.depth += 1;
        if place::is_pattern(&path) {
            for path in place::matching(self.options, &path) {
                self.file(&path, context, &from)?;
            }
        } else {
            self.file(&path, context, &from)?;
        }
        self.depth -= 1;
        Ok(())
    }
}

impl Server {
    fn take(&mut self, name: &str, arguments: &[String]) -> Result<(), String> {
        match (name, arguments) {
            ("server_name", names) => {
                if let Some(invalid) = names.iter().find(|name| is_invalid(name)) {
                    return Err(format!("server name \"{invalid}\" is invalid"));
                }
                let names = names.iter().map(|name| name.to_ascii_lowercase());
                self.names.extend(names);
            }
            ("ssl_certificate", [path]) => self.pairs.certificates.push(path.clone()),
            ("ssl_certificate_key", [path]) => self.pairs.keys.push(path.clone()),
            ("ssl_reject_handshake", [word]) if word == "on" => {
                self.handshakes = Handshakes::Rejected;
            }
            ("return", [status, page]) if status == "200" => self.page = Some(page.clone()),
            _ => {}
        }
        Ok(())
    }
}

fn is_invalid(name: &str) -> bool {
    name == "." || (name.starts_with('*') && (name.len() < 3 || !name.starts_with("*.")))
}

/// nginx's words for a file that it cannot read
fn unread(path: &str, error: &io::Error, from: &str) -> String {
    let number = error.raw_os_error().unwrap_or_default();
    let reason = format!("({number}: {})", Errno::from_raw(number).desc());
    // Opening a directory works; it is reading that fails.
    if number == Errno::EISDIR as i32 {
        return format!("nginx: [crit] pread() \"{path}\" failed {reason}\n");
    }
    format!("nginx: [emerg] open() \"{path}\" failed {reason}{from}\n")
}

/// How deep files may include each other; nginx goes on until it can open no more
const MAX_DEPTH: usize = 32;
