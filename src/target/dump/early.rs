//! What a server block does with every request before nginx looks for a location: the directives of the
//! rewrite module that stand beside its locations. A location that is added is never reached behind
//! them.

use std::fmt::Write as _;

use super::text::{Item, Items, word};
use super::{Contents, Files, KEPT, Place, Unjudged, place};

/// The directives that come before every location of a server block
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Early {
    /// The first of those that may end or change a request, each with its name
    pub lines: Vec<(String, Place)>,
    /// Where the first of them comes into the block: its line, or that of an `include`
    pub from: Place,
    /// The block taken apart; `None` where its locations, or what it includes, have to stay behind
    /// them
    pub apart: Option<Apart>,
    /// The `return 444` by which it closes every connection: nothing comes before it
    pub closes: Option<Place>,
}

/// A server block taken apart, in lines as they are to be typed
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// What stays beside its locations
    pub beside: Vec<String>,
    /// What can stand in a location as well
    pub early: Vec<String>,
}

/// What comes before the locations of a block with these directives; `None` where nothing does
pub(super) fn early(
    (file, items): (&str, Items<'_, '_>),
    contents: &Contents<'_, '_>,
    files: &Files<'_>,
) -> Result<Option<Early>, Unjudged> {
    let mut lines = Vec::new();
    for (file, item) in &contents.0 {
        if lines.len() < MOST_LINES && ends_requests(*item, files)? {
            let name = match closes(*item) {
                true => format!("return {CLOSE}"),
                false => item.name().to_owned(),
            };
            lines.push((name, place(file, *item)));
        }
    }
    let Some((_, first)) = lines.first().cloned() else {
        return Ok(None);
    };
    files.spend(KEPT * (1 + lines.len()))?;
    let is_own = contents.0.iter().all(|(own, _)| *own == file);
    let own: Vec<Item<'_, '_>> = items.collect();
    let includes = own.iter().filter(|item| item.name() == "include");
    // The file of the first may be included by a file: what this block itself has leads to it.
    let from = match first.file == file {
        true => first,
        false => match includes.clone().next() {
            Some(include) => place(file, *include),
            None => first,
        },
    };
    let apart = match is_own && includes.clone().next().is_none() {
        true => apart(&own, files)?,
        false => None,
    };
    let is_obeyed = |item: &Item<'_, '_>| OBEYED.contains(&item.name());
    let mut obeyed = contents.0.iter().filter(|(_, item)| is_obeyed(item));
    let closing = obeyed.next().filter(|(_, item)| closes(*item));
    Ok(Some(Early {
        lines,
        from,
        apart,
        closes: closing.map(|(file, item)| place(file, *item)),
    }))
}

/// Whether a directive has nginx close the connection without an answer
fn closes(item: Item<'_, '_>) -> bool {
    item.name() == "return" && item.first() == Some(CLOSE)
}

fn apart(own: &[Item<'_, '_>], files: &Files<'_>) -> Result<Option<Apart>, Unjudged> {
    let (mut beside, mut early) = (Vec::new(), Vec::new());
    for item in own {
        let kept = match item.name() {
            "if" | "return" | "set" | "break" => &mut early,
            // In a location it would be followed again for what it has rewritten.
            "rewrite" => return Ok(None),
            // No location has them from the block around it.
            "try_files" | "stub_status" => return Ok(None),
            "location" if is_of_challenges(*item) => continue,
            _ if item.block().is_some() => return Ok(None),
            _ => &mut beside,
        };
        files.spend(KEPT)?;
        if !write(*item, "", kept, files)? {
            return Ok(None);
        }
    }
    Ok(Some(Apart { beside, early }))
}

/// Writes a directive as it is typed; `false` where it cannot stand in a location as well
fn write(
    item: Item<'_, '_>,
    indent: &str,
    lines: &mut Vec<String>,
    files: &Files<'_>,
) -> Result<bool, Unjudged> {
    files.spend(1)?;
    if item.name() == "rewrite" {
        return Ok(false);
    }
    let mut line = format!("{indent}{}", item.name());
    for argument in item.arguments() {
        let _ = write!(line, " {}", word(argument));
    }
    let Some(block) = item.block() else {
        lines.push(format!("{line};"));
        return Ok(true);
    };
    if item.name() != "if" {
        return Ok(false);
    }
    lines.push(format!("{line} {{"));
    for inner in block {
        if !write(inner, &format!("{indent}    "), lines, files)? {
            return Ok(false);
        }
    }
    lines.push(format!("{indent}}}"));
    Ok(true)
}

/// Whether a location is for challenges alone
fn is_of_challenges(item: Item<'_, '_>) -> bool {
    let path = item.arguments().last();
    path.is_some_and(|path| path.trim_end_matches('/') == CHALLENGES)
}

/// Whether a directive answers a request, or leads it elsewhere, before a location is looked for
fn ends_requests(item: Item<'_, '_>, files: &Files<'_>) -> Result<bool, Unjudged> {
    let Some(block) = item.block() else {
        return Ok(matches!(item.name(), "return" | "rewrite"));
    };
    if item.name() != "if" {
        return Ok(false);
    }
    for inner in block {
        files.spend(1)?;
        if ends_requests(inner, files)? {
            return Ok(true);
        }
    }
    Ok(false)
}

const CHALLENGES: &str = "/.well-known/acme-challenge";
/// What of the rewrite module may do something else than the directives behind it
const OBEYED: [&str; 4] = ["break", "if", "return", "rewrite"];
/// The status with which nginx closes a connection
const CLOSE: &str = "444";
/// Lines that are named to a person
const MOST_LINES: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    fn early(inside: &str, behind: &str) -> Option<Early> {
        let text = format!(
            "# configuration file /n/nginx.conf:\nhttp {{ server {{\n{inside}\n}} }}\n\n{behind}"
        );
        let found = read(&text).expect("it is judged");
        found.servers[0].early.clone()
    }

    const CERTBOT: &str = "if ($host = a.test) {
    return 301 https://$host$request_uri;
} # managed by Certbot
listen 80;
server_name a.test;
return 404; # managed by Certbot";

    #[test]
    fn what_certbot_leaves_behind_is_taken_apart() {
        let found = early(CERTBOT, "").unwrap();
        let lines: Vec<String> = found
            .lines
            .iter()
            .map(|(name, place)| format!("{name} {}:{}", place.file, place.line))
            .collect();
        assert_eq!(lines, ["if /n/nginx.conf:2", "return /n/nginx.conf:7"]);
        assert_eq!(found.from.line, 2);
        let apart = found.apart.unwrap();
        assert_eq!(apart.beside, ["listen 80;", "server_name a.test;"]);
        let expected = [
            "if ($host = a.test) {",
            "    return 301 https://$host$request_uri;",
            "}",
            "return 404;",
        ];
        assert_eq!(apart.early, expected);
    }

    #[test]
    fn a_block_whose_locations_are_reached_stays_whole() {
        let is_apart = |inside: &str| early(inside, "").map(|early| early.apart.is_some());
        for inside in [
            "location / { return 404; }",
            "set $a b;",
            "if ($a) { set $b c; }",
            "listen 80;",
        ] {
            assert_eq!(is_apart(inside), None, "{inside}");
        }
        for inside in [
            "rewrite ^ /x last;",
            "if ($a) { rewrite ^ /x last; }",
            "return 301 https://a.test/; location / { root /x; }",
            "if ($a) { rewrite ^ /x last; } location /y { root /x; }",
            "return 404; content_by_lua_block { return 1 }",
            "if ($scheme = http) { return 301 https://a.test/; } try_files $uri /index.html;",
        ] {
            assert_eq!(is_apart(inside), Some(false), "{inside}");
        }
        for inside in [
            "return 404; location ^~ /.well-known/acme-challenge/ { root /x; }",
            "if ($uri ~ \"^/a b\\.c\") { return 403; } set $x y;",
        ] {
            assert_eq!(is_apart(inside), Some(true), "{inside}");
        }
    }

    #[test]
    fn a_block_that_closes_connections_says_where() {
        let closes = |inside: &str| early(inside, "")?.closes.map(|place| place.line);
        assert_eq!(closes("listen 80;\nreturn 444;"), Some(3));
        assert_eq!(closes("set $a b;\nreturn 444;\nreturn 404;"), Some(3));
        for inside in [
            "if ($a) { return 403; } return 444;",
            "if ($a) { break; } return 444;",
            "return 404; return 444;",
            "if ($a) { return 444; }",
            "location / { return 444; }",
            "return 301 https://a.test/;",
        ] {
            assert_eq!(closes(inside), None, "{inside}");
        }
        let named = early("return 444;", "").unwrap().lines.remove(0).0;
        assert_eq!(named, "return 444");
    }

    #[test]
    fn what_is_shown_is_read_as_it_was() {
        let inside = "if ($uri ~ \"^/a b\\.c\") { return 403; } return 301 \"https://a.test/{x}\";";
        let shown = early(inside, "").unwrap().apart.unwrap().early.join("\n");
        let again = early(&shown, "").unwrap().apart.unwrap().early.join("\n");
        assert_eq!(shown, again);
        assert!(shown.contains("\"https://a.test/{x}\""), "{shown}");
    }

    #[test]
    fn a_line_of_an_include_is_met_where_the_block_includes_it() {
        let behind = "# configuration file /n/redirect:\nreturn 301 https://$host$request_uri;\n";
        let found = early("listen 80;\ninclude redirect;", behind).unwrap();
        assert_eq!(found.lines[0].1.file, "/n/redirect");
        assert_eq!(
            (found.from.file.as_str(), found.from.line),
            ("/n/nginx.conf", 3)
        );
        assert_eq!(found.apart, None);
    }
}
