//! Files that are written to see whether that works, and removed at once.

use std::io::{self, Write};
use std::path::Path;

use super::unfinished::{Unfinished, under_a_free_name};
use super::{Access, FileError, Root};
use crate::crash::step;

impl Root {
    /// Does what [`Root::write`] does to a file in a directory, and removes it; nothing where there
    /// is no such directory yet
    ///
    /// # Errors
    /// As [`Root::write`].
    pub fn try_writing(&self, path: &Path, access: Access) -> Result<(), FileError> {
        let failed = |source| FileError::new("write to", path, source);
        let directory = match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            outcome => outcome.map_err(failed)?,
        };
        let (unfinished, mut file) = Unfinished::file(&directory).map_err(failed)?;
        // A sweep leaves what is locked; where there are no locks it takes what is certd's anyway.
        let _ = file.try_lock();
        let (name, ()) = (|| {
            file.write_all(b"a probe")?;
            directory.give(&file, access)?;
            file.sync_all()?;
            under_a_free_name(|name| directory.rename(&unfinished.name, name))
        })()
        .map_err(failed)?;
        drop(unfinished);
        directory.sync().map_err(failed)?;
        directory.remove(&name).map_err(failed)
    }

    /// Asks the system whether files may be made in a directory, and makes none
    ///
    /// # Errors
    /// [`FileError`] with the path.
    pub fn admits(&self, path: &Path) -> Result<(), FileError> {
        let asked = self
            .directory(path)
            .and_then(|directory| directory.admits());
        asked.map_err(|source| FileError::new("write to", path, source))
    }

    /// Shows that a file could be written now: writes these bytes beside it, and removes them
    ///
    /// Not synced: it tells of rights and of room, and costs no wait for the disk.
    ///
    /// # Errors
    /// As [`Root::write`].
    pub fn try_write(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
        let failed = |source| FileError::new("write", path, source);
        let (directory, _) = self.holder(path).map_err(failed)?;
        let (unfinished, mut file) = Unfinished::file(&directory).map_err(failed)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| directory.give(&file, access));
        step("tried", path).map_err(failed)?;
        written
            .and_then(|()| directory.remove(&unfinished.name))
            .map_err(failed)
    }
}
