//! How a server block leads visitors to another place, which a name loses that another block lists.

use super::text::{Item, Items};
use super::{Contents, Files, KEPT, Unjudged};
use crate::target::variables::names_in;

/// How a server block redirects what comes to it
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// All of it, by a `return` with these arguments, which would do the same in another block
    Whole(Vec<String>),
    /// Some of it, in a location or under a condition, or by what is told apart nowhere else
    Parts,
}

/// How a block with these contents redirects; `None` where it does not
pub(super) fn redirect(
    contents: &Contents<'_, '_>,
    files: &Files<'_>,
) -> Result<Option<Redirect>, Unjudged> {
    // Before it looks for a location, nginx follows these in their order.
    let (mut is_conditional, mut found) = (false, None);
    for (_, item) in &contents.0 {
        match (item.name(), item.block()) {
            ("return", None) if !leads_away(*item) => return Ok(found),
            ("return", None) => {
                files.spend(KEPT)?;
                let words = item
                    .arguments()
                    .iter()
                    .map(|word| word.clone().into_owned());
                let is_whole = !is_conditional && is_portable(*item);
                return Ok(Some(match is_whole {
                    true => Redirect::Whole(words.collect()),
                    false => Redirect::Parts,
                }));
            }
            ("if", Some(block)) => {
                is_conditional = true;
                if leads_away_within(block, files)? {
                    found = Some(Redirect::Parts);
                }
            }
            ("rewrite", None) => {
                is_conditional = true;
                if leads_away(*item) {
                    found = Some(Redirect::Parts);
                }
            }
            _ => {}
        }
    }
    for (_, item) in &contents.0 {
        if let ("location", Some(block)) = (item.name(), item.block())
            && leads_away_within(block, files)?
        {
            return Ok(Some(Redirect::Parts));
        }
    }
    Ok(found)
}

fn leads_away_within(block: Items<'_, '_>, files: &Files<'_>) -> Result<bool, Unjudged> {
    for item in block {
        files.spend(1)?;
        let is_found = match item.block() {
            Some(block) => leads_away_within(block, files)?,
            None => leads_away(item),
        };
        if is_found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a directive sends visitors to another address
fn leads_away(item: Item<'_, '_>) -> bool {
    let is_url = |word: &str| {
        ["http://", "https://", "$scheme"]
            .iter()
            .any(|begin| word.starts_with(begin))
    };
    let words: Vec<&str> = item.arguments().iter().map(AsRef::as_ref).collect();
    match (item.name(), words.as_slice()) {
        ("return", [url]) => is_url(url),
        ("return", [code, _]) => matches!(*code, "301" | "302" | "303" | "307" | "308"),
        ("rewrite", [_, url, flags @ ..]) => {
            is_url(url)
                || flags
                    .iter()
                    .any(|flag| matches!(*flag, "redirect" | "permanent"))
        }
        _ => false,
    }
}

/// Whether each variable in it is of the request, and the same in every block
fn is_portable(item: Item<'_, '_>) -> bool {
    let mut names = item.arguments().iter().flat_map(|word| names_in(word));
    names.all(|name| OF_THE_REQUEST.contains(&name))
}

/// Variables that no block makes
const OF_THE_REQUEST: [&str; 8] = [
    "args",
    "host",
    "http_host",
    "is_args",
    "query_string",
    "request_uri",
    "scheme",
    "uri",
];

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[track_caller]
    fn check(inside: &str, expected: Option<Redirect>) {
        let text = format!(
            "# configuration file /etc/nginx/nginx.conf:\nhttp {{ server {{ listen 443 ssl; {inside} }} }}\n"
        );
        let found = read(&text).expect("it is judged");
        assert_eq!(found.servers[0].redirect, expected, "{inside}");
    }

    #[test]
    fn a_return_for_all_is_told_from_one_for_some() {
        let whole = |words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned());
            Some(Redirect::Whole(words.collect()))
        };
        check(
            "return 301 https://a.test/;",
            whole(&["301", "https://a.test/"]),
        );
        check(
            "return 308 \"https://a.test$request_uri\";",
            whole(&["308", "https://a.test$request_uri"]),
        );
        check("return https://a.test/;", whole(&["https://a.test/"]));
        // nginx follows it before it looks for a location.
        check(
            "location / { return 404; } return 302 https://a.test/;",
            whole(&["302", "https://a.test/"]),
        );
        for inside in [
            "location / { return 301 https://a.test/; }",
            "location / { if ($x) { rewrite ^ https://a.test/; } }",
            "rewrite ^(.*)$ https://a.test$1 permanent;",
            "rewrite ^ /moved redirect;",
            "if ($host = b.test) { return 301 https://a.test/; } return 404;",
            "if ($request_method = PUT) { return 405; } return 301 https://a.test/;",
            // What another block would not know.
            "set $to a.test; return 301 https://$to/;",
            "return 301 https://$server_name/;",
        ] {
            check(inside, Some(Redirect::Parts));
        }
        for inside in [
            "",
            "return 404;",
            "return 444;",
            "return 200 https://a.test/;",
            "location / { return 403; }",
            "rewrite ^ /index.php last;",
            "return 404; location / { return 301 https://a.test/; }",
        ] {
            check(inside, None);
        }
    }
}
