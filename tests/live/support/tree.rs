//! Everything in a directory, to see that nothing was changed there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The entries of a directory and of those below it, with what they hold
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    /// Changed by a file that came and went, too
    modified: (i64, i64),
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Directory,
    Link(PathBuf),
    File(Vec<u8>),
}

// Bytes of keys and chains would hide what differs.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let content = match &self.content {
            Content::Directory => "directory".to_owned(),
            Content::Link(target) => format!("-> {}", target.display()),
            Content::File(bytes) => format!("{} bytes", bytes.len()),
        };
        let Self { mode, modified, .. } = self;
        write!(f, "{mode:o} {content} {modified:?}")
    }
}

impl Tree {
    /// Reads `root`, which counts as an entry itself
    pub(crate) fn of(root: &Path) -> Self {
        let mut tree = Self(BTreeMap::new());
        tree.add(root);
        tree
    }

    fn add(&mut self, path: &Path) {
        let metadata = fs::symlink_metadata(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let content = if metadata.is_symlink() {
            Content::Link(fs::read_link(path).expect("link can be read"))
        } else if metadata.is_dir() {
            for entry in fs::read_dir(path).expect("directory can be read") {
                self.add(&entry.expect("entry can be read").path());
            }
            Content::Directory
        } else {
            Content::File(fs::read(path).expect("file can be read"))
        };
        let entry = Entry {
            mode: metadata.permissions().mode(),
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            content,
        };
        self.0.insert(path.to_owned(), entry);
    }

    /// Paths of the files, relative to `root`
    pub(crate) fn files(&self, root: &Path) -> Vec<String> {
        let file = |(path, entry): (&PathBuf, &Entry)| match entry.content {
            Content::File(_) => Some(path.strip_prefix(root).ok()?.display().to_string()),
            Content::Directory | Content::Link(_) => None,
        };
        self.0.iter().filter_map(file).collect()
    }
}
