//! How files are named to a CI system: by their path in the checkout that it works on.

use std::path::{Component, Path, PathBuf};

/// A checkout, and where in it the command runs
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
    directory: PathBuf,
}

impl Checkout {
    /// The checkout at `root`, for a command that runs in `directory`; both absolute
    ///
    /// A directory that lies elsewhere is taken for the root itself.
    pub fn new(root: &Path, directory: &Path) -> Self {
        let root = match directory.starts_with(root) {
            true => root,
            false => directory,
        };
        Self {
            root: root.to_owned(),
            directory: directory.to_owned(),
        }
    }

    /// The path of a file below the root; the absolute one where it lies elsewhere
    pub(super) fn path(&self, file: &Path) -> PathBuf {
        let file = without_dots(&self.directory.join(file));
        match file.strip_prefix(&self.root) {
            Ok(below) => below.to_owned(),
            Err(_) => file,
        }
    }

    /// The same as a URI: a relative reference, or one with `file:` (RFC 8089)
    pub(super) fn uri(&self, file: &Path) -> String {
        let path = self.path(file);
        let encoded = encoded(&path.to_string_lossy());
        match path.is_absolute() {
            true => format!("file://{encoded}"),
            false => encoded,
        }
    }
}

/// The path without `.` and `..`, by its words alone: nothing is asked of the file system
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// A path with everything escaped that could be taken for another part of a URI (RFC 3986
/// section 2.1), a colon too: before the first `/` it would end a scheme
pub(super) fn encoded(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_path_in_the_checkout() {
        #[track_caller]
        fn check(directory: &str, file: &str, expected: &str) {
            let checkout = Checkout::new(Path::new("/work/site"), Path::new(directory));
            assert_eq!(checkout.uri(Path::new(file)), expected);
        }
        check("/work/site", "domains.toml", "domains.toml");
        check("/work/site", "./ci/../domains.toml", "domains.toml");
        check("/work/site", "/work/site/ci/targets.txt", "ci/targets.txt");
        check("/work/site/ci", "targets.txt", "ci/targets.txt");
        check("/work/site/ci", "../targets.txt", "targets.txt");
        check(
            "/work/site",
            "/etc/certd/domains.toml",
            "file:///etc/certd/domains.toml",
        );
        check("/work/site", "../other/x.toml", "file:///work/other/x.toml");
        check("/work/site", "a b:c%.toml", "a%20b%3Ac%25.toml");
        // Run elsewhere, the place itself is what names are relative to.
        check("/tmp", "targets.txt", "targets.txt");
        check("/work/sites", "targets.txt", "targets.txt");
    }
}
