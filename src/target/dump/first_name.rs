//! What depends on the first name of a server block: `$server_name` is that name, whichever of the
//! block's names a visitor asks for.

use super::files::Files;
use super::text::{Item, Items};
use super::{KEPT, MOST_DEPTH, Place, Unjudged, place};
use crate::target::variables::names_in;

/// Where a server block with these directives uses it, in whatever block and file within
pub(super) fn uses<'f, 'd>(
    (file, items): (&'d str, Items<'f, 'd>),
    files: &'f Files<'d>,
) -> Result<Vec<Place>, Unjudged> {
    let mut found = Vec::new();
    if files.has_first_name() {
        gather(&mut found, (file, items), files, 0)?;
    }
    Ok(found)
}

fn gather<'f, 'd>(
    found: &mut Vec<Place>,
    (file, items): (&'d str, Items<'f, 'd>),
    files: &'f Files<'d>,
    depth: usize,
) -> Result<(), Unjudged> {
    if depth > MOST_DEPTH {
        return Err(Unjudged::Depth);
    }
    for item in items {
        files.spend(1)?;
        if is_used(item) {
            files.spend(KEPT)?;
            let place = place(file, item);
            if !found.contains(&place) {
                found.push(place);
            }
        }
        match (item.block(), item.first(), item.name()) {
            (None, Some(pattern), "include") => {
                for number in files.included(pattern)?.iter() {
                    gather(found, files.file(*number), files, depth + 1)?;
                }
            }
            (Some(block), _, _) => gather(found, (file, block), files, depth + 1)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a directive does something else where the name is another; what it writes to a log does
/// nothing to visitors
pub(super) fn is_used(item: Item<'_, '_>) -> bool {
    let mut words = item.arguments().iter();
    item.name() != "log_format" && words.any(|word| names_in(word).any(|name| name == FIRST_NAME))
}

/// The variable that holds the first name of a block
pub(super) const FIRST_NAME: &str = "server_name";

#[cfg(test)]
mod tests {
    use super::super::read;

    #[test]
    fn the_first_name_is_found_wherever_it_is_used() {
        let dump = "# configuration file /n/nginx.conf:
http {
map $server_name $kind { default x; }
map $host $x { default ${server_name}; }
root /www/$server_name;
log_format x $server_name;
server { server_name a.test;
 if ($host != $server_name) { return 301 https://$server_name$request_uri; }
 location / { location /x { include params; include params; } }
 return 200 $server_names$server_port;
}
server { server_name b.test; }
}

# configuration file /n/params:

fastcgi_param SERVER_NAME $server_name;
";
        let found = read(dump).unwrap();
        let places = |places: &[super::Place]| {
            let places = places.iter().map(|at| format!("{}:{}", at.file, at.line));
            places.collect::<Vec<_>>()
        };
        let [first, second] = found.servers.as_slice() else {
            panic!("there are two");
        };
        assert_eq!(
            places(&first.first_name),
            ["/n/nginx.conf:7", "/n/params:2"]
        );
        assert_eq!(places(&second.first_name), [""; 0]);
        let beside = ["/n/nginx.conf:2", "/n/nginx.conf:3", "/n/nginx.conf:4"];
        assert_eq!(places(&found.first_name), beside);
    }
}
