//! All names of a domain where connections come in: with what one of them lacks is told what the
//! others lack, so that one change is enough.

use std::net::SocketAddr;

use super::directive;
use super::first_name::first_left;
use super::listening::is_same;
use super::site::Site;
use crate::target::choice::{self, Choice, Inlet, Serving};
use crate::target::dump::{CertificateLine, Redirect, ServerBlock};
use crate::target::variables::is_computed;

/// The names of a domain, by what serves them
#[derive(Default)]
struct Names<'c> {
    /// Those that no block lists
    unlisted: Vec<&'c str>,
    /// The default, which answers them
    default: Option<&'c ServerBlock>,
    /// Those of blocks that serve others too, and keep their lines for that
    shared: Vec<(&'c str, &'c ServerBlock)>,
    /// Those of blocks that serve them with their certificate, or will with other lines
    settled: Vec<(&'c str, &'c ServerBlock)>,
    /// Those of them whose blocks need other lines, each block once
    wrong: Vec<(&'c str, &'c ServerBlock)>,
}

/// Whether a block serves a name of the domain as it should
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Right,
    /// Its lines can be changed
    Wrong,
    /// Others need its lines
    Shared,
    /// Variables name other files
    Unknown,
}

impl<'s> Site<'s> {
    /// What to write for all names where the block of this one gets other lines, in these words
    pub(super) fn with_others(&self, change: String) -> String {
        let Some(inlet) = self.inlet else {
            return change;
        };
        let mut names = self.sorted(inlet);
        names.wrong.retain(|(_, block)| !is_same(block, self.block));
        names.shared.retain(|(name, _)| *name != self.name);
        names.settled.insert(0, (self.name, self.block));
        self.steps(&names, Some(change))
    }

    /// What to write for all names where others need the lines of this one's block
    pub(super) fn of_their_own(&self) -> String {
        let own = (self.name, self.block);
        let Some(inlet) = self.inlet else {
            let shared = match self.configured.removal(self.block, &self.names) {
                Some(removal) => removal.names,
                None => vec![self.name],
            };
            let shared = shared.into_iter().map(|name| (name, self.block));
            let names = Names {
                shared: shared.collect(),
                ..Names::default()
            };
            return self.steps(&names, None);
        };
        let mut names = self.sorted(inlet);
        names.settled.retain(|(name, _)| *name != self.name);
        names.wrong.retain(|(name, _)| *name != self.name);
        if !names.shared.iter().any(|(name, _)| *name == self.name) {
            names.shared.push(own);
        }
        self.steps(&names, None)
    }

    /// What to write for all names where no block lists this one, and its block is the default
    pub(super) fn to_list(&self, inlet: &Inlet) -> String {
        self.steps(&self.sorted(inlet), None)
    }

    fn sorted(&self, inlet: &Inlet) -> Names<'s> {
        let configuration = &self.configured.configuration;
        let mut names = Names::default();
        for name in self.names.iter().copied() {
            match choice::choose(configuration, name, inlet) {
                Choice::Default(block) => {
                    // One that is listed elsewhere needs another `listen`.
                    let serving = choice::serving(configuration, name, Some(inlet));
                    if serving == Serving::Nobody {
                        names.unlisted.push(name);
                        names.default = Some(block);
                    }
                }
                Choice::Listed { block, .. } if block.rejects.is_none() => {
                    let fit = self.beside(name, block).fit();
                    let is_new = |known: &[(&str, &ServerBlock)]| {
                        !known.iter().any(|(_, known)| is_same(known, block))
                    };
                    match fit {
                        Fit::Right => names.settled.push((name, block)),
                        Fit::Wrong => {
                            names.settled.push((name, block));
                            if is_new(&names.wrong) {
                                names.wrong.push((name, block));
                            }
                        }
                        Fit::Shared => names.shared.push((name, block)),
                        Fit::Unknown => {}
                    }
                }
                _ => {}
            }
        }
        names
    }

    fn fit(&self) -> Fit {
        let lines = || self.block.certificate_lines();
        let is_right = lines().next().is_some() && lines().all(|line| self.is_own(line));
        // Those of another kind of key may stand beside its own.
        let has_own = |directive: &&str| {
            lines().any(|line| line.directive == **directive && self.is_own(line))
        };
        if is_right || directive::DIRECTIVES.iter().all(has_own) {
            return Fit::Right;
        }
        if lines().any(is_computed) {
            return Fit::Unknown;
        }
        match self.takes_from_others(&self.wrong(|line| !self.is_own(line))) {
            true => Fit::Shared,
            false => Fit::Wrong,
        }
    }

    /// The steps, in an order in which each leaves all other names what they have; first nginx gets
    /// room for names that are added
    fn steps(&self, names: &Names<'s>, change: Option<String>) -> String {
        let is_of_its_block = change.is_some() && names.wrong.is_empty();
        let mut steps: Vec<String> = change.into_iter().collect();
        for (name, block) in &names.wrong {
            let site = self.beside(name, block);
            let is_wrong = |line: &CertificateLine| !site.is_own(line);
            steps.push(site.in_place(&site.wrong(is_wrong), is_wrong));
        }
        let home = self.home(names);
        let default = names.default.filter(|default| {
            home.is_none_or(|(_, home)| !is_same(home, default)) && default.rejects.is_none()
        });
        let redirect = default.and_then(|default| Some((default, default.redirect.as_ref()?)));
        let (mut lacking, unlisted) = (names.shared.clone(), names.unlisted.as_slice());
        match (unlisted.is_empty(), home, redirect) {
            (true, _, _) => {}
            (false, Some(_), Some((default, redirect))) => {
                steps.push(self.to_redirect(unlisted, default, redirect));
            }
            (false, Some((own, home)), None) => {
                let mut step = match is_of_its_block && is_same(home, self.block) {
                    true => format!("add {} to its `server_name`", in_words(unlisted)),
                    false => format!(
                        "add {} to `server_name` of the server block at {}, which serves {own}",
                        in_words(unlisted),
                        home.place()
                    ),
                };
                if let Some(default) = default {
                    step.push_str(&format!(
                        "; until then the default at {} answers for {}",
                        default.place(),
                        it(unlisted)
                    ));
                }
                steps.push(step);
            }
            (false, None, _) => {
                let default = names.default;
                lacking.extend(unlisted.iter().filter_map(|name| Some((*name, default?))));
            }
        }
        if !lacking.is_empty() {
            steps.push(self.block_of_their_own(names, &lacking, redirect));
        }
        let steps = steps.join("\nand ");
        match unlisted.is_empty() && lacking.is_empty() {
            true => steps,
            false => self.configured.with_room(&self.names, steps),
        }
    }

    /// The block to which names can be added that none lists, with a name that it serves
    fn home(&self, names: &Names<'s>) -> Option<(&'s str, &'s ServerBlock)> {
        let suits = |(_, block): &&(&'s str, &'s ServerBlock)| {
            let mut unlisted = names.unlisted.iter();
            unlisted.all(|name| {
                let site = self.beside(name, block);
                let mut lines = block.certificate_lines();
                !lines.any(|line| is_computed(line) && !site.is_own(line))
            })
        };
        names.settled.iter().find(suits).copied()
    }

    /// A block that does for these names what the default does, with their certificate
    fn to_redirect(&self, names: &[&str], default: &ServerBlock, redirect: &Redirect) -> String {
        let body = match redirect {
            Redirect::Whole(words) => {
                let words: Vec<String> = words.iter().map(|word| directive::word(word)).collect();
                format!("return {};", words.join(" "))
            }
            Redirect::Parts => format!("# what {} does for {}", default.place(), it(names)),
        };
        let added =
            self.configured
                .block_to_add(self.lineage, names, self.otherwise(), &[default], &body);
        let first = match redirect {
            Redirect::Whole(_) => None,
            Redirect::Parts => self.configured.to_keep_first_name(default, &names[..1]),
        };
        let first = first.unwrap_or_default();
        format!(
            "{first}the default at {} redirects {}: to keep that, {added}",
            default.place(),
            in_words(names)
        )
    }

    /// What serves names that lack a block: copies of those that serve them now, or a new one
    fn block_of_their_own(
        &self,
        names: &Names<'s>,
        lacking: &[(&'s str, &'s ServerBlock)],
        redirect: Option<(&ServerBlock, &Redirect)>,
    ) -> String {
        let mut blocks: Vec<&ServerBlock> = Vec::new();
        for (_, block) in lacking {
            if !blocks.iter().any(|known| is_same(known, block)) {
                blocks.push(block);
            }
        }
        let all = self.names.iter().copied();
        let all: Vec<&str> = all
            .filter(|name| lacking.iter().any(|(own, _)| own == name))
            .collect();
        let is_of = |name: &str, block: &ServerBlock| {
            let mut shared = names.shared.iter();
            shared.any(|(own, known)| *own == name && is_same(known, block))
        };
        let is_shared = |block: &&ServerBlock| all.iter().any(|name| is_of(name, block));
        let sources: Vec<&ServerBlock> = blocks.iter().copied().filter(is_shared).collect();
        let Some(first) = sources.first() else {
            let added = self.configured.block_to_add(
                self.lineage,
                &all,
                self.otherwise(),
                &blocks,
                LOCATIONS,
            );
            return match redirect {
                Some((default, _)) if !names.unlisted.is_empty() => format!(
                    "the default at {} answers {} now, and redirects: {added}",
                    default.place(),
                    in_words(&all)
                ),
                _ => added,
            };
        };
        // Those that none lists come with the first.
        let is_alone = |name: &str| !sources.iter().any(|block| is_of(name, block));
        let copies = sources.iter().map(|block| {
            let is_in =
                |name: &str| is_of(name, block) || (is_same(block, first) && is_alone(name));
            let copied: Vec<&str> = all.iter().copied().filter(|name| is_in(name)).collect();
            let moved: Vec<&str> = copied
                .iter()
                .copied()
                .filter(|name| is_of(name, block))
                .collect();
            self.copy(block, &moved, &copied)
        });
        copies.collect::<Vec<String>>().join("\nand ")
    }

    /// A copy of a block for names that it serves now, and what goes from the block itself
    ///
    /// A new block would lose what the old one has besides: its other ports, who may enter, where it
    /// redirects. Right behind it the copy is the default of no socket, and comes before whatever
    /// lists the same names later.
    fn copy(&self, block: &ServerBlock, moved: &[&str], names: &[&str]) -> String {
        let place = block.place();
        let names = self.configured.in_order(block, names);
        let removal = self.configured.removal(block, moved);
        let removed = removal.as_ref().map_or(&[][..], |removal| &removal.names);
        let left = first_left(block, removed);
        let then: Vec<&str> = [left.as_str()]
            .into_iter()
            .chain(names.first().copied())
            .collect();
        let first = self
            .configured
            .to_keep_first_name(block, &then)
            .unwrap_or_default();
        let before = match removal {
            Some(removal) => format!(
                "the server block at {place} serves other names too: {}",
                removal.words
            ),
            None => format!("leave it to the server block at {place} to serve its other names"),
        };
        let listens = self.configured.listens_to_copy(block, &names);
        let body = format!("# all other lines of {place}");
        let rejects = match block.rejects {
            Some(_) => ", its `ssl_reject_handshake`",
            None => "",
        };
        let lent: Vec<&str> = block.lent.iter().map(String::as_str).collect();
        let lent = match lent.as_slice() {
            [] => String::new(),
            files => format!(
                ", and the other lines of {} for the `include`",
                in_words(files)
            ),
        };
        let copy = self.configured.block_text(
            self.lineage,
            &names,
            (&listens, block.rejects.as_ref()),
            &body,
        );
        format!(
            "{first}{before}, and put a copy of that block right behind it, with all its lines (locations, redirects, access rules); in the copy write these for its `listen` and `server_name`{rejects} and the lines that name its certificate{lent}:\n{copy}"
        )
    }

    /// Where a block is to listen where nobody shows it
    fn otherwise(&self) -> SocketAddr {
        self.configured.address_for(self.ports, self.inlet)
    }
}

/// Names as a sentence has them
pub(super) fn in_words(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn it(names: &[&str]) -> &'static str {
    match names {
        [_] => "it",
        _ => "them",
    }
}

/// What a server block needs besides, for whoever writes it
pub(super) const LOCATIONS: &str = "# locations of the site";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Domain, Environment};
    use crate::facts::Container;
    use crate::pipeline::obtain::Configured;
    use crate::target::dump;

    const B: &str = "ssl_certificate /live/b.test/f; ssl_certificate_key /live/b.test/k;";
    const OWN: &str = "ssl_certificate /live/shop.test/f; ssl_certificate_key /live/shop.test/k;";
    const DEFAULT: &str = "server { listen 443 ssl default_server; }";

    fn domain() -> Domain {
        let config = "email = \"a@b.test\"\n[[domain]]\nname = \"shop.test\"\naliases = [\"www.shop.test\", \"eu.shop.test\"]\n";
        let config = Config::parse(config, Path::new("domains.toml"), &Environment::default());
        config.unwrap().domains.remove(0)
    }

    /// What is advised for a name of `shop.test` where nginx.conf has these blocks from line 4 on
    fn told(servers: &[String], name: &str) -> String {
        let configured = configured(servers);
        let (domain, inlet) = (domain(), inlet());
        match choice::serving(&configured.configuration, name, Some(&inlet)) {
            Serving::Listed(block) => {
                let site = configured
                    .site(&domain, name, block)
                    .coming_in(Some(&inlet));
                site.to_change(|line| !site.is_own(line))
            }
            Serving::Nobody => configured.to_serve(&domain, name, Some(&inlet), None),
            Serving::Elsewhere { block, at } => {
                configured.listens_elsewhere(Some(&domain), name, block, at, Some(&inlet))
            }
            Serving::Unknown => panic!("{name} is not known"),
        }
    }

    fn inlet() -> Inlet {
        Inlet {
            addresses: Vec::new(),
            port: 443,
        }
    }

    fn configured(servers: &[String]) -> Configured {
        let dump = format!(
            "# configuration file /nginx.conf:\nuser root; http {{\n\n\n{}\n}}\n",
            servers.join("\n")
        );
        let container = Container {
            name: "web".to_owned(),
            ..Container::default()
        };
        let engine = Ipv4Addr::LOCALHOST.into();
        let configuration = dump::read(&dump).unwrap();
        Configured::new(&container, engine, "/live".into(), configuration)
    }

    fn block(names: &str, inside: &str) -> String {
        format!("server {{ listen 443 ssl; server_name {names}; {inside} }}")
    }

    /// A copy of the block at a line, for these names
    fn copied(line: usize, names: &str) -> String {
        let body = format!("# all other lines of /nginx.conf:{line}");
        let text = added(names, &body).replace("add this server block:\n", "");
        format!(
            "put a copy of that block right behind it, with all its lines (locations, redirects, access rules); in the copy write these for its `listen` and `server_name` and the lines that name its certificate:\n{text}"
        )
    }

    fn added(names: &str, body: &str) -> String {
        format!(
            "add this server block:
server {{
    listen 443 ssl;
    server_name {names};
    ssl_certificate     /live/shop.test/fullchain.pem;
    ssl_certificate_key /live/shop.test/privkey.pem;
    {body}
}}"
        )
    }

    #[track_caller]
    fn check(servers: &[String], names: &[&str], expected: &str) {
        for name in names {
            assert_eq!(told(servers, name), expected, "{name}");
        }
    }

    const ALL: [&str; 3] = ["shop.test", "www.shop.test", "eu.shop.test"];

    #[test]
    fn names_without_a_block_of_their_own_get_one_together() {
        let all = added(&ALL.join(" "), LOCATIONS);
        let default = || DEFAULT.to_owned();
        check(&[default()], &ALL, &all);
        let copy = copied(5, &ALL.join(" "));
        let wildcard = format!(
            "leave it to the server block at /nginx.conf:5 to serve its other names, and {copy}"
        );
        check(&[default(), block("*.shop.test", B)], &ALL, &wildcard);
        let dotted = format!(
            "the server block at /nginx.conf:5 serves other names too: write `*.shop.test` for `.shop.test` in its `server_name`, and {copy}"
        );
        check(&[default(), block(".shop.test", B)], &ALL, &dotted);
        let several = [
            default(),
            block("a.test shop.test", B),
            block("eu.shop.test b.test", B),
        ];
        let expected = format!(
            "the server block at /nginx.conf:5 serves other names too: take shop.test out of its `server_name` (write `_` there where none is left), and {}\nand the server block at /nginx.conf:6 serves other names too: take eu.shop.test out of its `server_name` (write `_` there where none is left), and {}",
            copied(5, "shop.test www.shop.test"),
            copied(6, "eu.shop.test")
        );
        check(&several, &ALL, &expected);
    }

    #[test]
    fn a_block_of_the_domain_takes_the_names_that_none_lists() {
        let servers = [DEFAULT.to_owned(), block("shop.test", OWN)];
        let expected = "add www.shop.test and eu.shop.test to `server_name` of the server block at /nginx.conf:5, which serves shop.test; until then the default at /nginx.conf:4 answers for them";
        check(&servers, &ALL[1..], expected);
        // A tenant of a wildcard keeps its content.
        let servers = [
            DEFAULT.to_owned(),
            block("shop.test", OWN),
            block("eu.shop.*", B),
        ];
        let expected = format!(
            "add www.shop.test to `server_name` of the server block at /nginx.conf:5, which serves shop.test; until then the default at /nginx.conf:4 answers for it\nand leave it to the server block at /nginx.conf:6 to serve its other names, and {}",
            copied(6, "eu.shop.test")
        );
        check(&servers, &ALL[1..], &expected);
    }

    #[test]
    fn lines_are_changed_in_all_blocks_of_the_domain_at_once() {
        let servers = [
            DEFAULT.to_owned(),
            block("shop.test", B),
            block("eu.shop.test", B),
        ];
        let change = |line: usize| {
            format!(
                "in the server block at /nginx.conf:{line} of web change
    line {line}: ssl_certificate /live/b.test/f;
    line {line}: ssl_certificate_key /live/b.test/k;
to
    ssl_certificate     /live/shop.test/fullchain.pem;
    ssl_certificate_key /live/shop.test/privkey.pem;"
            )
        };
        let add = "add www.shop.test to `server_name` of the server block at /nginx.conf:";
        let until = "; until then the default at /nginx.conf:4 answers for it";
        let (first, second) = (change(5), change(6));
        check(
            &servers,
            &ALL[..2],
            &format!("{first}\nand {second}\nand {add}5, which serves shop.test{until}"),
        );
        check(
            &servers,
            &ALL[2..],
            &format!("{second}\nand {first}\nand {add}6, which serves eu.shop.test{until}"),
        );
        let alone = [DEFAULT.to_owned(), block("shop.test eu.shop.test", B)];
        let expected = format!("{first}\nand add www.shop.test to its `server_name`{until}");
        check(&alone, &["shop.test", "eu.shop.test"], &expected);
    }

    #[test]
    fn the_lines_of_a_default_that_nobody_looked_at_stay() {
        let servers = [
            block("eu.shop.test", B),
            block("shop.test www.shop.test", OWN),
        ];
        let found = told(&servers, "eu.shop.test");
        assert!(
            found.starts_with("in the server block at /nginx.conf:4"),
            "{found}"
        );
        let servers = [
            block("eu.shop.test", &B.replace("b.test", "c.test")),
            block("shop.test www.shop.test", B),
        ];
        let found = told(&servers, "shop.test");
        let expected = "and the server block at /nginx.conf:4 serves other names too: write `_` for eu.shop.test in its `server_name`, and put a copy of that block right behind it, with all its lines";
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn a_default_with_the_certificate_that_was_looked_at_gets_other_lines() {
        let servers = [
            block("eu.shop.test", B),
            block("shop.test www.shop.test", B),
        ];
        let configured = configured(&servers);
        let (domain, inlet) = (domain(), inlet());
        let block = &configured.configuration.servers[1];
        let found = |shown: &[&str]| {
            let shown = shown.iter().map(|name| (*name).to_owned()).collect();
            let site = configured.site(&domain, "shop.test", block);
            let site = site.coming_in(Some(&inlet)).showing_names(shown);
            site.to_change(|line| !site.is_own(line))
        };
        let own = found(&ALL);
        let change = "\nand in the server block at /nginx.conf:4 of web change\n";
        assert!(own.contains(change) && !own.contains("server {"), "{own}");
        // Who else it is for may come to the default without being listed.
        let strange = found(&["shop.test", "guest.test"]);
        assert!(strange.contains("put a copy of that block"), "{strange}");
    }

    #[test]
    fn a_redirect_by_the_default_is_kept_in_the_new_block() {
        let check = |inside: &str, begin: &str, body: &str| {
            let default = format!("server {{ listen 443 ssl default_server; {inside} }}");
            let servers = [default, block("shop.test eu.shop.test", OWN)];
            let expected = format!("{begin}{}", added("www.shop.test", body));
            check(&servers, &["www.shop.test"], &expected);
        };
        let begin = "the default at /nginx.conf:4 redirects www.shop.test: to keep that, ";
        let whole = "return 301 https://shop.test$request_uri;";
        check(whole, begin, whole);
        check(
            &format!("location / {{ {whole} }}"),
            begin,
            "# what /nginx.conf:4 does for it",
        );
        // Without a block of the domain it is a new site.
        let servers = [format!(
            "server {{ listen 443 ssl default_server; {whole} }}"
        )];
        let found = told(&servers, "shop.test");
        let expected = format!(
            "the default at /nginx.conf:4 answers shop.test, www.shop.test and eu.shop.test now, and redirects: {}",
            added(&ALL.join(" "), LOCATIONS)
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn variables_come_to_the_right_files_for_all_names_at_once() {
        let lines = |variable: &str| {
            format!(
                "ssl_certificate /live/{variable}/fullchain.pem; ssl_certificate_key /live/{variable}/privkey.pem;"
            )
        };
        let map = "map $ssl_server_name $lineage { default b.test;\nshop.test b.test; }";
        let servers = [map.to_owned(), block(&ALL.join(" "), &lines("$lineage"))];
        let told = "the server block at /nginx.conf:6 takes the certificate of each name from variables, which no fixed path may replace\n";
        let rows = format!(
            "{told}in the map of $lineage change the row at /nginx.conf:5 to
    shop.test shop.test;
to the map of $lineage at /nginx.conf:4 add these rows:
    www.shop.test shop.test;
    eu.shop.test shop.test;"
        );
        check(&servers, &ALL, &rows);
        let by_name = [block(&ALL.join(" "), &lines("$ssl_server_name"))];
        let new_map = format!(
            "{}beside the server blocks add this map, and write $certd_lineage for $ssl_server_name in the lines that name certificates and keys, nowhere else:
    map $ssl_server_name $certd_lineage {{
        default $ssl_server_name;
        www.shop.test shop.test;
        eu.shop.test shop.test;
    }}",
            told.replace(":6", ":4")
        );
        check(&by_name, &ALL[1..], &new_map);
    }

    #[test]
    fn a_stream_map_gets_the_rows_of_all_names() {
        let listening = |port: u16, names: &str| {
            format!("server {{ listen 127.0.0.1:{port} ssl; server_name {names}; {B} }}")
        };
        let servers = [
            listening(9443, "old.test"),
            listening(8443, &ALL.join(" ")),
            "}\nstream {\nmap $ssl_preread_server_name $to { shop.test web; default old; }"
                .to_owned(),
            "upstream web { server 127.0.0.1:8443; }\nupstream old { server 127.0.0.1:9443; }"
                .to_owned(),
            "server { listen 443; ssl_preread on; proxy_pass $to; }".to_owned(),
        ];
        for name in &ALL[1..] {
            let found = told(&servers, name);
            assert!(
                found.ends_with("add these rows:\n    www.shop.test web;\n    eu.shop.test web;"),
                "{found}"
            );
        }
    }

    #[test]
    fn all_names_leave_a_block_that_comes_first() {
        #[track_caller]
        fn check(first: &str, later: &str, expected: &str) {
            let configured = configured(&[block(first, B), block(later, OWN)]);
            let domain = domain();
            let [first, later] = configured.configuration.servers.as_slice() else {
                panic!("there are two");
            };
            for name in ["shop.test", "www.shop.test"] {
                let site = configured.site(&domain, name, first);
                assert_eq!(site.to_leave_to(later), expected);
            }
        }
        check(
            "shop.test www.shop.test b.test",
            "shop.test www.shop.test",
            "in the server block at /nginx.conf:4 take shop.test and www.shop.test out of its `server_name` (write `_` there where none is left)",
        );
        check(
            "shop.test www.shop.test eu.shop.test",
            "shop.test www.shop.test",
            "in the server block at /nginx.conf:4 take shop.test and www.shop.test out of its `server_name` (write `_` there where none is left)",
        );
        check(
            "*.shop.test",
            "*.shop.test",
            "add www.shop.test and eu.shop.test to `server_name` at /nginx.conf:5",
        );
    }
}
