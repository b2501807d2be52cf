//! What has no final name yet: a kill leaves it, and the next run's sweep takes it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Entry;
use super::directory::{Directory, Kind};

/// What has not got its final name, and is removed unless it gets one
pub(super) struct Unfinished<'d> {
    above: &'d Directory,
    pub(super) name: OsString,
    kind: Kind,
    end: End,
}

/// What becomes of something unfinished
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Removed,
    Kept,
}

impl<'d> Unfinished<'d> {
    pub(super) fn file(above: &'d Directory) -> io::Result<(Self, File)> {
        let (name, file) = under_a_free_name(|name| above.create(name))?;
        Ok((Self::new(above, name, Kind::File), file))
    }

    pub(super) fn directory(above: &'d Directory) -> io::Result<(Self, Directory)> {
        let entry = Entry::Everyone;
        let (name, ()) = under_a_free_name(|name| above.make(name, entry))?;
        let unfinished = Self::new(above, name, Kind::Directory);
        let directory = above.settle(&unfinished.name, entry)?;
        Ok((unfinished, directory))
    }

    fn new(above: &'d Directory, name: OsString, kind: Kind) -> Self {
        Self {
            above,
            name,
            kind,
            end: End::Removed,
        }
    }

    pub(super) fn rename(mut self, name: &OsStr) -> io::Result<()> {
        self.above.rename(&self.name, name)?;
        self.end = End::Kept;
        Ok(())
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Tests stop between two writes and must find what a killed process would leave.
        if self.end == End::Kept || cfg!(test) {
            return;
        }
        // The next run's sweep takes what stays.
        let _ = match self.kind {
            Kind::Directory => self.above.remove_directory(&self.name),
            _ => self.above.remove(&self.name),
        };
    }
}

/// Makes something under a name that no other process uses
pub(super) fn under_a_free_name<T>(
    mut make: impl FnMut(&OsStr) -> io::Result<T>,
) -> io::Result<(OsString, T)> {
    // A killed process may have had the same identifier, as in a container each one has.
    for _ in 0..MOST_LEFTOVERS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!("{UNFINISHED}{}-{number}", std::process::id()));
        match make(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => return outcome.map(|made| (name, made)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What has this name soon, or had it until now: a sweep removes it
pub(super) fn unfinished(name: &OsStr) -> OsString {
    match name.as_bytes().starts_with(UNFINISHED.as_bytes()) {
        true => name.to_owned(),
        false => {
            let mut unfinished = OsString::from(UNFINISHED);
            unfinished.push(name);
            unfinished
        }
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);
/// Prefix of what has not got its final name yet
pub(super) const UNFINISHED: &str = ".certd-";
/// Names that are tried for something unfinished
const MOST_LEFTOVERS: u32 = 1000;
