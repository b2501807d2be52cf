//! What nginx's configuration needs so that it serves a token: a location, and nothing before it.

use std::path::Path;

use http::Uri;

use super::{Site, last};
use crate::facts::Gate;
use crate::facts::fetch::{Fetch, Hop};
use crate::finding::words;

/// What to do where the right file is not found: whose answer it is decides
pub(super) fn location(site: Site<'_>, fetch: &Fetch) -> String {
    let block = match fetch.hops.len() {
        0 | 1 => block(site),
        _ => block_without_redirect(site),
    };
    match stranger(site, last(fetch)) {
        Some(server) => format!(
            "{server} answers, not nginx: let nginx have port 80, or let {server} pass /.well-known/acme-challenge/ on to it; then {block}"
        ),
        None => block,
    }
}

/// What answered for the name, where it says that it is not nginx
///
/// What answers for another name, to which nginx may redirect, can be anything.
pub(super) fn stranger<'h>(site: Site<'_>, hop: Option<&'h Hop>) -> Option<&'h str> {
    let url: Uri = hop?.url.parse().ok()?;
    let is_of_name = url.host()?.eq_ignore_ascii_case(site.name.as_str());
    let server = hop?.server.as_deref().filter(|_| is_of_name)?;
    let words = server.to_ascii_lowercase();
    let is_nginx = NGINX.iter().any(|nginx| words.contains(nginx));
    (!is_nginx).then_some(server)
}

/// What nginx's configuration needs
///
/// With `^~` no regular expression, such as one that denies hidden files, comes before it. Two
/// locations of one path keep nginx from starting.
pub(super) fn block(site: Site<'_>) -> String {
    if let Some(above) = above_well_known(site.root) {
        return format!(
            "`webroot` is the directory that holds `.well-known`: set it to {}",
            above.display()
        );
    }
    match site.gate {
        Some(gate) => in_block(gate, &location_of(site)),
        None => format!(
            "{}\nAn `if`, `return` or `rewrite` beside the locations comes before all of them; this before the first of them lets challenges through:\n    {PASS}",
            in_unknown_block(site)
        ),
    }
}

fn in_unknown_block(site: Site<'_>) -> String {
    format!(
        "the server block of {} for port 80 needs this location, instead of another that it has for this path:\n    {}",
        site.name,
        location_of(site)
    )
}

fn location_of(site: Site<'_>) -> String {
    let root = site.root.to_string_lossy();
    format!(
        "location ^~ {CHALLENGES} {{ root {}; }}",
        words::whole(&root)
    )
}

/// What the block that answers needs: a location alone, where nothing comes before that
fn in_block(gate: &Gate, location: &str) -> String {
    let Gate { place, next, .. } = gate;
    if gate.early.is_empty() {
        return format!(
            "the server block at {place}, which answers there, needs this location, instead of another that it has for this path:\n    {location}\n{next}"
        );
    }
    let obeyed = format!(
        "the server block at {place}, which answers there, obeys {} before any location",
        gate.early.join(", ")
    );
    match &gate.apart {
        Some((beside, early)) => {
            let indented = |lines: &[String], indent: &str| -> String {
                let lines = lines.iter().map(|line| format!("{indent}{line}\n"));
                lines.collect()
            };
            format!(
                "{obeyed}: let them stand in one, and write the whole block so:\nserver {{\n{}    {location}\n    location / {{\n{}    }}\n}}\n{next}",
                indented(beside, "    "),
                indented(early, "        ")
            )
        }
        None => format!(
            "{obeyed}: put these lines before the first of them, at {}, instead of another location that it has for this path:\n    {PASS}\n    {location}\n{next}",
            gate.from
        ),
    }
}

/// The directory that holds `.well-known`, where the webroot lies in it
fn above_well_known(root: &Path) -> Option<&Path> {
    let is_within = |path: &&Path| path.file_name().is_some_and(|name| name == ".well-known");
    root.ancestors().find(is_within)?.parent()
}

/// The same where a redirect comes before it: nginx obeys a `return` beside the locations first
pub(super) fn block_without_redirect(site: Site<'_>) -> String {
    if site.gate.is_some() || above_well_known(site.root).is_some() {
        return block(site);
    }
    format!(
        "{}\nand its redirect in another location, not beside them:\n    location / {{ return 301 https://$host$request_uri; }}",
        in_unknown_block(site)
    )
}

/// Lets a request for a token go on to the locations, past what stands beside them
const PASS: &str = "if ($uri ~ ^/[.]well-known/acme-challenge/) { break; }";
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// What servers that read nginx's configuration call themselves
const NGINX: [&str; 4] = ["nginx", "openresty", "angie", "tengine"];
