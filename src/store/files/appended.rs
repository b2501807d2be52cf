//! Files that only grow: what is added to them is a line, and is not synced.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::{Access, FileError, Root, check_own};
use crate::crash::step;

impl Root {
    /// Adds a line to a file, which is made for its owner alone where it is missing; gives its length
    /// then, in bytes
    ///
    /// Not synced: after a power cut the last lines may be missing, or cut short. Each begins with the
    /// end of the line before it, so that one that was cut short spoils no other. A file that is there
    /// must be one that [`Root::open_lock`] would take.
    ///
    /// # Errors
    /// [`FileError`] with the path; a part of the line may be there.
    pub fn append(&self, path: &Path, line: &[u8]) -> Result<u64, FileError> {
        let failed = |source| FileError::new("add to", path, source);
        let (directory, name) = self.holder(path).map_err(failed)?;
        let mut file = match directory.open(name, OFlag::O_WRONLY | OFlag::O_APPEND) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = directory.create(name).map_err(failed)?;
                directory.give(&file, Access::Owner).map_err(failed)?;
                file
            }
            opened => opened.map_err(failed)?,
        };
        check_own(&directory, name, &file).map_err(failed)?;
        let whole = [b"\n", line].concat();
        file.write_all(&whole).map_err(failed)?;
        step("appended", path).map_err(failed)?;
        Ok(file.metadata().map_err(failed)?.len())
    }

    /// Bytes that a file has; none where it cannot be opened
    pub fn length(&self, path: &Path) -> u64 {
        let file = self.open(path).and_then(|file| file.metadata());
        file.map_or(0, |file| file.size())
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        self.top()?.read(self.below(path)?)
    }
}
