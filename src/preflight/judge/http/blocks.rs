//! What nginx's configuration needs so that it serves a token: a location, and nothing before it.

use std::path::Path;

use http::Uri;

use super::{Site, last};
use crate::facts::fetch::{Fetch, FetchFailure, Hop, Whose};
use crate::facts::{Claim, Gate};
use crate::finding::words;

/// What to do where the right file is not found: whose answer it is decides
pub(super) fn location(site: Site<'_>, fetch: &Fetch) -> String {
    let block = block(site);
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
        Some(gate) => {
            beside_default(site, gate).unwrap_or_else(|| in_block(gate, &location_of(site)))
        }
        // Without its text, nothing of it is to be moved: a redirect has a target of its own.
        None => format!(
            "the server block that answers for {} at port 80 needs this location, instead of another that it has for this path:\n    {}\nAn `if`, `return` or `rewrite` beside the locations comes before all of them, and may stay; this before the first of them lets challenges through:\n    {PASS}",
            site.name,
            location_of(site)
        ),
    }
}

/// A block of its own for a name that the default one answers by closing the connection
fn beside_default(site: Site<'_>, gate: &Gate) -> Option<String> {
    let (Claim::Default { listens }, Some(closes)) = (&gate.claim, &gate.closes) else {
        return None;
    };
    if listens.is_empty() {
        return None;
    }
    let listens = listens.iter();
    let listens: String = listens.map(|at| format!("    listen {at};\n")).collect();
    Some(format!(
        "no server block lists {name} at port 80, and the default one there, at {}, closes the connection (`return 444` at {closes}). Add this server block after it:\nserver {{\n{listens}    server_name {name};\n    {}\n    location / {{ return 444; }}\n}}\n{}",
        gate.place,
        location_of(site),
        gate.next,
        name = site.name,
    ))
}

/// What to do about a connection that is closed without an answer
pub(super) fn closed(site: Site<'_>, fetch: &Fetch) -> String {
    if let Some(cure) = for_balancers(site, fetch) {
        return cure;
    }
    match (site.gate, fetch.hops.as_slice()) {
        (None, []) => format!(
            "is it nginx that listens there, and does it speak plain HTTP on port 80? It closes connections so, too, by `return 444`, and where `listen` has `proxy_protocol`; else {}",
            block(site)
        ),
        _ => block(site),
    }
}

/// What to do where nginx closes what comes without a balancer's header, as a CA does
pub(super) fn for_balancers(site: Site<'_>, fetch: &Fetch) -> Option<String> {
    let is_closed = matches!(fetch.outcome, Err(FetchFailure::Closed(_)));
    // The container was asked with that header, too.
    if !is_closed || fetch.whose != Whose::Public || !fetch.hops.is_empty() {
        return None;
    }
    let gate = site.gate?;
    let balanced = gate.balanced.as_ref()?;
    Some(format!(
        "nginx awaits the header of a balancer there (`proxy_protocol` in `listen` of the server block at {balanced}), and closes what comes without it. If a balancer stands in front, {name} has to lead to that: correct its record. If none does, take `proxy_protocol` out of each `listen` for port 80\n{}",
        gate.next,
        name = site.name,
    ))
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

/// Lets a request for a token go on to the locations, past what stands beside them
const PASS: &str = "if ($uri ~ ^/[.]well-known/acme-challenge/) { break; }";
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// What servers that read nginx's configuration call themselves
const NGINX: [&str; 4] = ["nginx", "openresty", "angie", "tengine"];
