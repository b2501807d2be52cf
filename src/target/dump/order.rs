//! The order in which nginx reads its configuration, which is not that of the dump: there a file
//! comes after the one that includes it, while nginx reads it at the place of its `include`.
//!
//! Of server blocks that are equal otherwise nginx takes the first that it has read.

use std::collections::HashSet;

use super::files::Files;
use super::first_name::is_used;
use super::inclusion::inclusions;
use super::text::{Item, Items};
use super::{
    Bucket, CertificateLine, Configuration, Contents, KEPT, MOST_DEPTH, Map, Module, Place, REJECT,
    Row, Unjudged, Upstream, certificate_line, log_file, place as place_of, rejection,
    server_block, stream_server,
};

/// What the files hold, in the order in which nginx reads it
///
/// Files that are included inside of other blocks, such as a `location`, come last.
pub(super) fn read(files: &Files<'_>) -> Result<Configuration, Unjudged> {
    let mut reading = Reading {
        files,
        seen: HashSet::new(),
        found: Configuration::default(),
        http: Vec::new(),
        rejects: None,
        silent: Vec::new(),
    };
    for number in 0..files.len() {
        let is_seen = Level::ALL
            .iter()
            .any(|place| reading.seen.contains(&(number, *place)));
        if !is_seen {
            reading.file(number, Level::Unknown, 0)?;
        }
    }
    let Reading {
        mut found,
        http,
        rejects,
        silent,
        ..
    } = reading;
    for number in silent {
        found.servers[number].rejects.clone_from(&rejects);
    }
    found.rejects = rejects;
    if files.len() > 0 {
        let (main, items) = files.file(0);
        let beside = Contents::of(main, items, files, 0)?;
        found.error_log = beside.named("error_log").find_map(log_file);
        let user = beside.named("user").find_map(Item::first);
        found.user = user.map(str::to_owned);
    }
    let made: HashSet<&str> = found.maps.iter().map(|map| map.variable.as_str()).collect();
    let used = files.variables().filter(|name| made.contains(name));
    found.used = used.map(str::to_owned).collect();
    for block in &mut found.servers {
        files.spend(http.len() * KEPT)?;
        block.inherited = inherited(&block.certificates, &http);
    }
    let lent = found.servers.iter().flat_map(|block| {
        let lines = block.certificates.iter();
        let lent = lines.filter(|line| line.file != block.file);
        lent.map(|line| line.file.as_str())
    });
    found.included = inclusions(files, lent)?;
    Ok(found)
}

/// What holds for a block of what stands beside the blocks: the certificate and the key apart, each
/// where it names none of its own
fn inherited(certificates: &[CertificateLine], http: &[CertificateLine]) -> Vec<CertificateLine> {
    let has_own = |line: &&CertificateLine| {
        let mut own = certificates.iter();
        own.any(|own| own.directive == line.directive)
    };
    let lines = http.iter().filter(|line| !has_own(line));
    lines.cloned().collect()
}

/// In which module a directive stands
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Level {
    /// At the top of a file: the main one, or one of which nobody knows where it is included
    Unknown,
    Http,
    Stream,
    /// `mail` has server blocks of another kind
    Other,
}

impl Level {
    const ALL: [Self; 4] = [Self::Unknown, Self::Http, Self::Stream, Self::Other];

    fn within(self, block: &str) -> Self {
        match block {
            "http" => Self::Http,
            "stream" => Self::Stream,
            "mail" => Self::Other,
            _ => self,
        }
    }
}

struct Reading<'f, 'd> {
    files: &'f Files<'d>,
    /// Files by their number, each with where it was included
    seen: HashSet<(usize, Level)>,
    found: Configuration,
    /// Lines beside the server blocks
    http: Vec<CertificateLine>,
    /// The `ssl_reject_handshake on` there
    rejects: Option<Place>,
    /// Numbers of the server blocks for which that holds
    silent: Vec<usize>,
}

impl<'f, 'd> Reading<'f, 'd> {
    fn file(&mut self, number: usize, place: Level, depth: usize) -> Result<(), Unjudged> {
        // Read twice, it would say the same again.
        if self.seen.insert((number, place)) {
            let (file, items) = self.files.file(number);
            self.directives(file, items, place, depth)?;
        }
        Ok(())
    }

    fn directives(
        &mut self,
        file: &'d str,
        items: Items<'f, 'd>,
        place: Level,
        depth: usize,
    ) -> Result<(), Unjudged> {
        if depth > MOST_DEPTH {
            return Err(Unjudged::Depth);
        }
        for item in items {
            self.files.spend(1)?;
            if place == Level::Http && is_used(item) {
                self.files.spend(KEPT)?;
                self.found.first_name.push(place_of(file, item));
            }
            match (item.block(), item.first(), item.name()) {
                (None, Some(pattern), "include") => {
                    for number in self.files.included(pattern)?.iter() {
                        self.files.spend(1)?;
                        self.file(*number, place, depth + 1)?;
                    }
                }
                (None, _, REJECT) if place == Level::Http => {
                    self.rejects = rejection(file, item);
                }
                (None, Some(size), "server_names_hash_bucket_size") if place == Level::Http => {
                    self.found.server_names_bucket = Bucket::parse(size).unwrap_or_default();
                }
                (None, Some(size), "map_hash_bucket_size") => match place {
                    Level::Http => {
                        self.found.map_bucket = Bucket::parse(size).unwrap_or_default();
                    }
                    Level::Stream => {
                        self.found.stream_map_bucket = Bucket::parse(size).unwrap_or_default();
                    }
                    Level::Unknown | Level::Other => {}
                },
                (None, _, _) if place == Level::Http => {
                    self.http.extend(certificate_line(file, item));
                }
                (None, _, _) => {}
                (Some(block), _, "server") => self.server(file, item, block, place, depth)?,
                (Some(block), _, "map") => self.map(file, item, block, place, depth)?,
                (Some(block), Some(name), "upstream") if place == Level::Stream => {
                    let contents = Contents::of(file, block, self.files, depth)?;
                    self.files.spend(KEPT * contents.0.len())?;
                    let servers = contents.named("server").filter_map(Item::first);
                    self.found.upstreams.push(Upstream {
                        name: name.to_owned(),
                        servers: servers.map(str::to_owned).collect(),
                    });
                }
                (Some(block), _, name) => {
                    self.directives(file, block, place.within(name), depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn server(
        &mut self,
        file: &'d str,
        item: Item<'f, 'd>,
        block: Items<'f, 'd>,
        place: Level,
        depth: usize,
    ) -> Result<(), Unjudged> {
        if place == Level::Other {
            return Ok(());
        }
        let contents = Contents::of(file, block.clone(), self.files, depth + 1)?;
        let servers = &mut self.found;
        if place == Level::Stream {
            self.files.spend(KEPT)?;
            let server = stream_server(file, item.line(), &contents, self.files)?;
            servers.streams.push(server);
            return Ok(());
        }
        let block = server_block((file, item.line(), block), &contents, self.files)?;
        let lines = block.listen_lines.len() + block.named.len() + block.lent.len();
        let kept = block.names.len() + block.certificates.len() + lines;
        self.files.spend(KEPT * (1 + kept))?;
        if contents.rejects().is_none() {
            self.silent.push(servers.servers.len());
        }
        servers.servers.push(block);
        Ok(())
    }

    fn map(
        &mut self,
        file: &'d str,
        item: Item<'f, 'd>,
        block: Items<'f, 'd>,
        place: Level,
        depth: usize,
    ) -> Result<(), Unjudged> {
        let [key, variable] = item.arguments() else {
            return Ok(());
        };
        let contents = Contents::of(file, block, self.files, depth + 1)?;
        self.files.spend(KEPT * (1 + contents.0.len()))?;
        if place == Level::Http && !is_used(item) && contents.0.iter().any(|(_, row)| is_used(*row))
        {
            self.found.first_name.push(place_of(file, item));
        }
        let row = |(file, row): &(&'d str, Item<'f, 'd>)| Row {
            file: (*file).to_owned(),
            line: row.line(),
            pattern: row.name().to_ascii_lowercase(),
            value: row.first().unwrap_or_default().to_owned(),
        };
        self.found.maps.push(Map {
            file: file.to_owned(),
            line: item.line(),
            module: match place {
                Level::Stream => Module::Stream,
                _ => Module::Http,
            },
            key: key.as_ref().to_owned(),
            variable: variable.trim_start_matches('$').to_owned(),
            rows: contents.0.iter().map(row).collect(),
        });
        Ok(())
    }
}
