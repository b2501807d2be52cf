//! Where the files are that have to be changed: nginx names them by their paths in its container, and a
//! container that is created anew has lost every change to a file that is on no mount.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use crate::facts::{Container, Mount};
use crate::finding::words;
use crate::target::mount::{self, Lies};

/// Where the files of nginx are to be changed that a text names as `FILE:LINE`; `None` where each is
/// on the host what it is in the container, and where none is named
pub(in crate::pipeline) fn whereabouts(container: &Container, text: &str) -> Option<String> {
    let (mut told, mut own) = (Vec::new(), Vec::new());
    for file in files_in(text) {
        match mount::lies(container, Path::new(file)) {
            Lies::OnMount(mount) => told.extend(on_host(&container.name, mount, Path::new(file))),
            Lies::InContainer => own.push(words::whole(file)),
        }
    }
    told.extend(in_container(&container.name, own));
    let mut seen = BTreeSet::new();
    told.retain(|line| seen.insert(line.clone()));
    (!told.is_empty()).then(|| told.join("\n"))
}

/// A change of nginx's configuration, where the files lie that it names, and what comes after it
pub(super) fn with_next(container: &Container, change: &str, next: &str) -> String {
    let Some(place) = whereabouts(container, change) else {
        return format!("{change}\n{next}");
    };
    match place.ends_with('.') {
        true => {
            let (first, rest) = next.split_at(next.chars().next().map_or(0, char::len_utf8));
            format!("{change}\n{place} {}{rest}", first.to_uppercase())
        }
        // What ends with a command to be copied has nothing behind it.
        false => format!("{change}\n{place}\n{next}"),
    }
}

fn on_host(name: &str, mount: &Mount, file: &Path) -> Option<String> {
    let (source, destination) = (&mount.source, &mount.destination);
    let place = format!(
        "On the host {} is {}",
        words::path(destination),
        words::path(source)
    );
    match destination == file {
        // Editors put a new file in the place of the old one, which the mount holds on to.
        true => Some(format!(
            "{place}, mounted by itself: {name} may see a change only after\n    docker restart {name}"
        )),
        false => (source != destination).then(|| format!("{place}.")),
    }
}

fn in_container(name: &str, mut files: Vec<String>) -> Option<String> {
    files.sort();
    files.dedup();
    let lie = match files.len() {
        0 => return None,
        1 => "lies",
        _ => "lie",
    };
    Some(format!(
        "{} {lie} on no mount of {name}: a change made in the container is lost when that is created anew, if not at its next start. Change the image or the template behind it, and create {name} anew.",
        files.join(" and ")
    ))
}

/// The files that a text names as `FILE:LINE`
pub(super) fn files_in(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().filter_map(file_of)
}

/// The file of a word `FILE:LINE`; `None` for any other word
fn file_of(word: &str) -> Option<&str> {
    let word = word.trim_start_matches(['`', '"', '\'', '(']);
    let word = word.trim_end_matches(|c: char| !c.is_ascii_digit());
    let (file, line) = word.rsplit_once(':')?;
    let is_line = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
    let path = Path::new(file);
    let is_plain = || !path.components().any(|part| part == Component::ParentDir);
    (is_line && path.is_absolute() && is_plain()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mounts: &[(&str, &str)], text: &str, expected: &[&str]) {
        let mounts = mounts.iter().map(|(source, destination)| Mount {
            source: source.into(),
            destination: destination.into(),
        });
        let container = Container {
            name: "web".to_owned(),
            mounts: mounts.collect(),
            ..Container::default()
        };
        let found = whereabouts(&container, text);
        let found: Vec<&str> = found
            .as_deref()
            .map(str::lines)
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    const LOST: &str = "/etc/nginx/a.conf lies on no mount of web: a change made in the container is lost when that is created anew, if not at its next start. Change the image or the template behind it, and create web anew.";
    const CHANGE: &str = "in the server block at /etc/nginx/a.conf:2 of web change\n    /etc/nginx/a.conf:4: ssl_certificate /x;";

    #[test]
    fn a_file_on_no_mount_is_told_to_be_the_containers_own() {
        check(&[], CHANGE, &[LOST]);
        check(&[("/srv/le", "/etc/letsencrypt")], CHANGE, &[LOST]);
        check(&[("/srv", "/etc/nginx/a.conf.d")], CHANGE, &[LOST]);
        check(
            &[],
            "nginx: [emerg] unknown directive \"x\" in /etc/nginx/a.conf:3",
            &[LOST],
        );
        check(&[], "(`/etc/nginx/a.conf:3`),", &[LOST]);
        let both = LOST.replace("a.conf lies", "a.conf and /x lie");
        check(&[], "/x:1 /etc/nginx/a.conf:3 /x:2", &[&both]);
    }

    #[test]
    fn a_file_on_a_mount_is_named_by_the_hosts_path() {
        let place = "On the host /etc/nginx is /srv/nginx.";
        let two = format!("{CHANGE} and /etc/nginx/b.conf:1");
        check(&[("/srv/nginx", "/etc/nginx")], &two, &[place]);
        check(&[("/etc/nginx", "/etc/nginx")], &two, &[]);
        let deeper = [("/srv/b", "/etc/nginx/b"), ("/srv/nginx", "/etc/nginx")];
        check(
            &deeper,
            "/etc/nginx/b/c.conf:3",
            &["On the host /etc/nginx/b is /srv/b."],
        );
        let alone = [
            "On the host /etc/nginx/a.conf is /srv/a.conf, mounted by itself: web may see a change only after",
            "    docker restart web",
        ];
        check(&[("/srv/a.conf", "/etc/nginx/a.conf")], CHANGE, &alone);
    }

    #[test]
    fn what_comes_next_stands_behind_it() {
        let mut container = Container {
            name: "web".to_owned(),
            ..Container::default()
        };
        let told =
            |container: &Container| with_next(container, CHANGE, "then run `certd obtain` again");
        assert_eq!(
            told(&container),
            format!("{CHANGE}\n{LOST} Then run `certd obtain` again")
        );
        let mount = |source: &str, destination: &str| Mount {
            source: source.into(),
            destination: destination.into(),
        };
        container.mounts = vec![mount("/etc", "/etc")];
        assert_eq!(
            told(&container),
            format!("{CHANGE}\nthen run `certd obtain` again")
        );
        container.mounts.push(mount("/x", "/etc/nginx/a.conf"));
        let told = told(&container);
        let end = "\n    docker restart web\nthen run `certd obtain` again";
        assert!(told.ends_with(end), "{told}");
    }

    #[test]
    fn what_is_no_file_with_a_line_is_passed_over() {
        for text in [
            "docker restart web",
            "    /srv/le:/etc/letsencrypt:ro",
            "add listen 127.0.0.1:443 ssl; at 12:46:14, see https://shop.test:443/ and ./a.conf:3",
            "proxy_pass unix:/run/x:3; /etc/nginx/../x:3",
        ] {
            check(&[], text, &[]);
        }
    }
}
