//! Paths as the container names them, and the files of the host behind them.
//!
//! The container sees two directories of the host, and nothing beside these: a path that leads
//! out of them, be it through `..` or through a link, leads to nothing.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::{CONFIGURATION, Options, STORAGE};

/// The path in full: one that is relative begins where the configuration is
pub(super) fn full(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{CONFIGURATION}/{path}")
    }
}

/// The bytes of a file at a full path
///
/// # Errors
/// What opening or reading it comes to; the system's own errors, with their numbers.
pub(super) fn read(options: &Options, path: &str) -> io::Result<Vec<u8>> {
    fs::read(on_host(options, path)?)
}

/// The full paths that a pattern fits, in the order of their bytes
///
/// Stars and question marks stand in the last component alone, and stand for no dot at its
/// beginning: an editor's `.#shop.conf` is no site.
pub(super) fn matching(options: &Options, pattern: &str) -> Vec<String> {
    let Some((directory, pattern)) = pattern.rsplit_once('/') else {
        return Vec::new();
    };
    let entries = on_host(options, directory).and_then(fs::read_dir);
    let mut paths: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && fits(pattern.as_bytes(), name.as_bytes()))
        .map(|name| format!("{directory}/{name}"))
        .collect();
    paths.sort();
    paths
}

/// Whether a path is a pattern
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?'])
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|taken| fits(rest, &name[taken..])),
        (Some((wanted, rest)), Some((byte, name))) => {
            (wanted == byte || *wanted == b'?') && fits(rest, name)
        }
        _ => false,
    }
}

fn on_host(options: &Options, path: &str) -> io::Result<PathBuf> {
    let path = without_dots(Path::new(path));
    let mounts = [
        (STORAGE, &options.storage),
        (CONFIGURATION, &options.configuration),
    ];
    for (seen, source) in mounts {
        let Ok(below) = path.strip_prefix(seen) else {
            continue;
        };
        let source = fs::canonicalize(source)?;
        let host = fs::canonicalize(source.join(below))?;
        if host.starts_with(&source) {
            return Ok(host);
        }
    }
    Err(Errno::ENOENT.into())
}

/// The path without `.` and `..`
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => drop(plain.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    plain
}
