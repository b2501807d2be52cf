//! What may be meant by a directory that is not there: a path is soon mistyped.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::closest;
use crate::facts::Container;
use crate::finding::words;

/// A directory that is there, and whose path differs from a missing one by the spelling of one name
///
/// `None` where nothing is near. Of a crowded directory some entries alone are compared.
pub fn meant(missing: &Path) -> Option<PathBuf> {
    let is_first = |at: &&Path| at.parent().is_some_and(Path::is_dir);
    let wrong = missing.ancestors().find(is_first)?;
    let (above, rest) = (wrong.parent()?, missing.strip_prefix(wrong).ok()?);
    let word = wrong.file_name()?.to_str()?;
    let complete = |name: &str| match rest.as_os_str().is_empty() {
        true => above.join(name),
        false => above.join(name).join(rest),
    };
    let entries = fs::read_dir(above).ok()?.take(MOST_ENTRIES).flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_candidate =
        |name: &String| name.len() >= SHORTEST && name != word && complete(name).is_dir();
    let mut names: Vec<String> = names.filter(is_candidate).collect();
    names.sort();
    closest(word, names.iter().map(String::as_str)).map(complete)
}

/// The question whether another directory is meant by a key of domains.toml, with the word that leads
/// on to what else to do; empty where there is none
///
/// Where one of `containers` mounts it, that speaks for it.
pub fn question(key: &str, meant: Option<&Path>, containers: &[Container]) -> String {
    let Some(meant) = meant else {
        return String::new();
    };
    let mounts = |container: &&Container| {
        let mut mounts = container.mounts.iter();
        mounts.any(|mount| meant.starts_with(&mount.source))
    };
    let mounted = match containers.iter().find(mounts) {
        Some(container) => format!(", and {} mounts it", container.name),
        None => String::new(),
    };
    let meant = words::path(meant);
    format!("{meant} is there{mounted}: is that meant by `{key}`? Else ")
}

const MOST_ENTRIES: usize = 1000;
/// Of shorter names each is near to each other
const SHORTEST: usize = 3;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make their own files")]
mod tests {
    use super::*;

    #[test]
    fn one_misspelt_name_on_the_way_is_found_and_no_file_is_taken_for_a_directory() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        for directory in ["www/certbot/deep", "www/html", "ab"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("www/certbos"), "").unwrap();
        let check = |missing: &str, expected: Option<&str>| {
            assert_eq!(meant(&at(missing)), expected.map(at), "{missing}");
        };
        check("www/certbt", Some("www/certbot"));
        check("www/certbt/deep", Some("www/certbot/deep"));
        check("wwv/html", Some("www/html"));
        check("www/certbt/deeper", None);
        check("www/something", None);
        check("ac", None);
    }
}
