//! `$server_name` is the first name of a server block: where that is to be another one, what uses it
//! is first given the name that it stands for.

use std::collections::BTreeMap;

use super::Configured;
use super::together::in_words;
use crate::target::dump::{Place, ServerBlock};

impl Configured {
    /// What to write first, so that nothing changes where the first name of a block does; `None`
    /// where nothing depends on it
    ///
    /// `then` are the first names of the block and of a copy of it afterwards.
    pub(super) fn to_keep_first_name(&self, block: &ServerBlock, then: &[&str]) -> Option<String> {
        let now = block.first_of_names();
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
        let mut others: Vec<&str> = then.iter().copied().filter(|then| *then != now).collect();
        others.dedup();
        // No text stands for a regular expression, or for no name at all.
        if others.is_empty() || now.is_empty() || !now.chars().all(is_word) {
            return None;
        }
        let mut steps = Vec::new();
        let (own, lent): (Vec<&Place>, Vec<&Place>) = block
            .first_name
            .iter()
            .partition(|place| place.file == block.file);
        if !own.is_empty() {
            steps.push(format!(
                "first write {now} for `$server_name` at {}: it is the first name of the block, which changes",
                places(&own)
            ));
        }
        let mut by_file: BTreeMap<&str, Vec<&Place>> = BTreeMap::new();
        for place in lent {
            by_file.entry(&place.file).or_default().push(place);
        }
        steps.extend(by_file.into_iter().map(|(file, lines)| {
            format!(
                "in the server block at {} write the lines of {file} in place of its `include`, with {now} for `$server_name` at {}: it is the first name of the block, which changes",
                block.place(),
                places(&lines)
            )
        }));
        let beside = self.configuration.first_name.iter();
        steps.extend(beside.map(|place| self.of_all(place, now, &others)));
        (!steps.is_empty()).then(|| steps.join("\n") + "\n")
    }

    /// What stands beside the blocks is for all of them
    fn of_all(&self, place: &Place, now: &str, others: &[&str]) -> String {
        let at = format!("{}:{}", place.file, place.line);
        let mut maps = self.configuration.maps.iter();
        let map = maps.find(|map| map.line == place.line && map.file == place.file);
        match map.filter(|map| map.key == "$server_name" || map.key == "${server_name}") {
            Some(map) => format!(
                "in the map of ${} at {at}, which looks up `$server_name`, give {} what {now} has",
                map.variable,
                in_words(others)
            ),
            None => format!(
                "what uses `$server_name` at {at} has to come to the same for {} as for {now}",
                in_words(others)
            ),
        }
    }

    /// Names in an order that keeps the first name of a block first, where anything depends on it
    pub(super) fn in_order<'n>(&self, block: &ServerBlock, names: &[&'n str]) -> Vec<&'n str> {
        let mut names = names.to_vec();
        if !block.first_name.is_empty() || !self.configuration.first_name.is_empty() {
            names.sort_by_key(|name| *name != block.first_of_names());
        }
        names
    }
}

/// The first name that is left of a block without these
pub(super) fn first_left(block: &ServerBlock, removed: &[&str]) -> String {
    let left = block.names.iter().find_map(|listed| {
        match (removed.contains(&listed.as_str()), listed.strip_prefix('.')) {
            (true, _) => None,
            (false, Some(name)) if removed.contains(&name) => Some(format!("*.{name}")),
            (false, Some(name)) => Some(name.to_owned()),
            (false, None) => Some(listed.clone()),
        }
    });
    left.unwrap_or_else(|| "_".to_owned())
}

fn places(lines: &[&Place]) -> String {
    let lines = lines.iter().map(|at| format!("{}:{}", at.file, at.line));
    let lines: Vec<String> = lines.collect();
    in_words(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::facts::Container;
    use crate::target::dump;

    fn configured(http: &str) -> Configured {
        let params = match http.contains("/params") {
            true => "# configuration file /params:\nfastcgi_param SERVER_NAME $server_name;\n",
            false => "",
        };
        let dump = format!("# configuration file /n.conf:\nhttp {{\n{http}\n}}\n\n{params}");
        let engine = Ipv4Addr::LOCALHOST.into();
        let configuration = dump::read(&dump).unwrap();
        Configured::new(&Container::default(), engine, "/live".into(), configuration)
    }

    /// What is to be done first where a.test leaves the only block
    fn told(http: &str) -> Option<String> {
        let configured = configured(http);
        let block = &configured.configuration.servers[0];
        let left = first_left(block, &["a.test"]);
        configured.to_keep_first_name(block, &[&left, "a.test"])
    }

    const BLOCK: &str =
        "server { server_name a.test b.test; include /params;\nroot /$server_name; }";

    #[test]
    fn what_uses_the_first_name_is_told_by_its_place() {
        let own = "first write a.test for `$server_name` at /n.conf:3: it is the first name of the block, which changes\n";
        let lent = "in the server block at /n.conf:2 write the lines of /params in place of its `include`, with a.test for `$server_name` at /params:1: it is the first name of the block, which changes\n";
        assert_eq!(told(BLOCK), Some(format!("{own}{lent}")));
        let beside = format!(
            "{}\nmap $server_name $x {{ a.test 1; }}\nmap $host $y {{ default $server_name; }} include /params;",
            BLOCK.replace("include /params;", "")
        );
        let beside = told(&beside).unwrap_or_default();
        assert_eq!(
            beside,
            format!(
                "{own}in the map of $x at /n.conf:4, which looks up `$server_name`, give b.test what a.test has\nwhat uses `$server_name` at /n.conf:5 has to come to the same for b.test as for a.test\nwhat uses `$server_name` at /params:1 has to come to the same for b.test as for a.test\n"
            )
        );
        // A copy whose first name is another one than the block's that stays.
        let stays = told(&BLOCK.replace("a.test b.test", "b.test a.test")).unwrap_or_default();
        assert!(
            stays.starts_with("first write b.test for `$server_name`"),
            "{stays}"
        );
        assert_eq!(
            told("server { server_name a.test b.test; include /other; }\n"),
            None
        );
    }

    #[test]
    fn the_first_name_that_is_left_is_the_one_that_nginx_takes() {
        let check = |listed: &str, expected: &str| {
            let configured = configured(&format!("server {{ server_name {listed}; }}"));
            let block = &configured.configuration.servers[0];
            assert_eq!(first_left(block, &["a.test"]), expected, "{listed}");
        };
        check("a.test b.test", "b.test");
        check("b.test a.test", "b.test");
        check(".a.test b.test", "*.a.test");
        check(".b.test a.test", "b.test");
        check("a.test", "_");
    }
}
