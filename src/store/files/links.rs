//! Symlinks: made, read, and put in the place of another or of a directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{Directory, Kind};
use super::unfinished::{under_a_free_name, unfinished};
use super::{FileError, Root, remove};
use crate::crash::step;

impl Root {
    /// Points a symlink at a target in one step, whether or not it existed
    ///
    /// Until its directory is synced ([`Root::sync`]) a power cut may bring the old target back.
    ///
    /// # Errors
    /// [`FileError`] with the link; it still names its old target then.
    pub fn point(&self, link: &Path, target: &Path) -> Result<(), FileError> {
        let failed = |source| FileError::new("switch", link, source);
        let (directory, name) = self.holder(link).map_err(failed)?;
        let unfinished = unfinished_link(&directory, link, target).map_err(failed)?;
        directory.rename(&unfinished, name).map_err(failed)?;
        step("pointed", link).map_err(failed)
    }

    /// What a symlink holds; `None` where there is nothing
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::InvalidInput`] for what is no symlink.
    pub fn read_link(&self, link: &Path) -> io::Result<Option<PathBuf>> {
        let read = self
            .holder(link)
            .and_then(|(directory, name)| directory.read_link(name));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Points a symlink at a target where a directory is, which is removed then
    ///
    /// Both change their names in one step, so that whoever opens a file there finds one at any moment;
    /// where the file system has no such step, nothing is there between two.
    ///
    /// # Errors
    /// [`FileError`] with the link; the directory is there still.
    pub fn replace(&self, link: &Path, target: &Path) -> Result<(), FileError> {
        let failed = |source| FileError::new("switch", link, source);
        let (directory, name) = self.holder(link).map_err(failed)?;
        let unfinished = unfinished_link(&directory, link, target).map_err(failed)?;
        let replaced = match directory.exchange(&unfinished, name) {
            Err(error) if is_unknown(&error) => {
                in_two_steps(&directory, &unfinished, name).map_err(failed)?
            }
            outcome => outcome.map(|()| unfinished).map_err(failed)?,
        };
        step("pointed", link).map_err(failed)?;
        remove(&directory, &replaced, Kind::Directory)
    }
}

/// Makes a link beside the one whose place it is to take; what an earlier run left there goes
fn unfinished_link(directory: &Directory, link: &Path, target: &Path) -> io::Result<OsString> {
    let name = link.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let unfinished = unfinished(name);
    match directory.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    directory.link(&unfinished, target)?;
    step("linked", link)?;
    Ok(unfinished)
}

/// The same by two renames; gives the name that the directory has then
fn in_two_steps(directory: &Directory, unfinished: &OsStr, name: &OsStr) -> io::Result<OsString> {
    let (aside, ()) = under_a_free_name(|free| directory.rename(name, free))?;
    if let Err(error) = directory.rename(unfinished, name) {
        directory.rename(&aside, name)?;
        return Err(error);
    }
    Ok(aside)
}

/// Whether the system or the file system cannot exchange names
fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "tests make what is to be replaced"
    )]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn without_an_exchange_two_renames_do_and_a_failed_one_is_undone() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("a.test")).unwrap();
        std::fs::write(at("a.test/key"), "key").unwrap();
        let directory = Directory::root(root.path()).unwrap();
        let (link, name) = (OsStr::new("link"), OsStr::new("a.test"));
        assert!(in_two_steps(&directory, link, name).is_err());
        assert!(at("a.test/key").is_file());
        symlink("elsewhere", at("link")).unwrap();
        let aside = in_two_steps(&directory, link, name).unwrap();
        assert!(at("a.test").is_symlink());
        assert!(root.path().join(aside).join("key").is_file());
    }
}
