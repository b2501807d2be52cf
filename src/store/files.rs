//! The only writer of files: atomic, synced, with the right mode and owner whatever the umask.
//!
//! A file is complete and on disk before it has its name. New files take owner and group of the
//! directory that they are made in, so that a storage owned by a service stays its own.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tempfile::Builder;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crash::step;
use crate::finding::Explain;

mod beneath;

pub use beneath::Beneath;

/// Who may read a file
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// 0644
    Everyone,
    /// 0600
    Owner,
    /// 0640, for the group with this identifier
    Group(u32),
}

/// Who may enter a directory
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// 0755
    Everyone,
    /// 0700
    Owner,
}

impl Entry {
    const fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o755,
            Self::Owner => 0o700,
        }
    }
}

/// Writes a file in one step: it holds the old bytes or the new ones, never a part
///
/// # Errors
/// [`FileError`] with the path; the old file is untouched then.
pub fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let directory = parent(path);
    let failed = |source| FileError::new("write", path, source);
    let mut file = Builder::new()
        .prefix(UNFINISHED)
        .disable_cleanup(LEAVE_BEHIND)
        .tempfile_in(directory)
        .map_err(failed)?;
    step("begun", path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    give(file.as_file(), directory, access).map_err(failed)?;
    step("written", path).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    step("renamed", path).map_err(failed)?;
    sync_directory(directory).map_err(failed)
}

/// Makes a directory, if it is not there, with exactly this mode
///
/// # Errors
/// [`FileError`] with the path.
pub fn create_directory(path: &Path, entry: Entry) -> Result<(), FileError> {
    let failed = |source| FileError::new("create", path, source);
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            return Ok(());
        }
        Err(error) => return Err(failed(error)),
    }
    step("made", path).map_err(failed)?;
    finish_directory(path, entry).map_err(failed)?;
    sync_directory(parent(path)).map_err(failed)?;
    step("finished", path).map_err(failed)
}

/// A file to be written: its name, its bytes, and who may read it
pub type NewFile<'f> = (&'f str, &'f [u8], Access);

/// Makes a directory with all its files appear in one step, complete and synced
///
/// # Errors
/// [`FileError`]; nothing has the final name then.
pub fn create_complete(path: &Path, files: &[NewFile<'_>]) -> Result<(), FileError> {
    let above = parent(path);
    let failed = |source| FileError::new("write", path, source);
    let unfinished = Builder::new()
        .prefix(UNFINISHED)
        .disable_cleanup(LEAVE_BEHIND)
        .tempdir_in(above)
        .map_err(failed)?;
    finish_directory_like(unfinished.path(), above, Entry::Everyone).map_err(failed)?;
    for (name, bytes, access) in files {
        create_synced(&unfinished.path().join(name), bytes, *access).map_err(failed)?;
        step("written", &path.join(name)).map_err(failed)?;
    }
    sync_directory(unfinished.path()).map_err(failed)?;
    // After the rename the guard has nothing left to remove.
    rename(unfinished.path(), path).map_err(failed)?;
    step("renamed", path).map_err(failed)?;
    sync_directory(above).map_err(failed)
}

fn create_synced(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes)?;
    give(&file, parent(path), access)?;
    file.sync_all()
}

/// Points a symlink at a target in one step, whether or not it existed
///
/// # Errors
/// [`FileError`] with the link; it still names its old target then.
pub fn point(link: &Path, target: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::new("switch", link, source);
    let unfinished = unfinished(link);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    symlink(target, &unfinished).map_err(failed)?;
    step("linked", link).map_err(failed)?;
    rename(&unfinished, link).map_err(failed)?;
    step("pointed", link).map_err(failed)?;
    sync_directory(parent(link)).map_err(failed)
}

/// Puts a file that makes no sense out of the way, beside those that were put there before
///
/// Gives where it is.
///
/// # Errors
/// [`FileError`]; the file is where it was.
pub fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let failed = |source| FileError::new("set aside", path, source);
    let numbered = |number: u32| {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".damaged");
        if number > 1 {
            aside.push(format!("-{number}"));
        }
        PathBuf::from(aside)
    };
    let mut free = (1..MOST_ASIDE)
        .map(numbered)
        .filter(|aside| !aside.exists());
    let aside = free.next().unwrap_or_else(|| numbered(MOST_ASIDE));
    rename(path, &aside).map_err(failed)?;
    step("set aside", path).map_err(failed)?;
    sync_directory(parent(path)).map_err(failed)?;
    Ok(aside)
}

/// Damaged files of one name that are kept
const MOST_ASIDE: u32 = 100;

/// Removes what an interrupted run left unfinished in a directory
///
/// What another process holds is its own: `certd check` takes no lock.
///
/// # Errors
/// [`FileError`] with the path that could not be read or removed.
pub fn sweep(directory: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::new("clean", directory, source);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && !is_held(&entry.path()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn is_held(path: &Path) -> bool {
    let file = open_itself(path, OFlag::O_NONBLOCK);
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The names in a directory, those left out that are not UTF-8
///
/// # Errors
/// [`FileError`] with the path that could not be read.
pub fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let failed = |source| FileError::new("read", directory, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// The directories in a directory, symlinks left out
///
/// # Errors
/// [`FileError`] with the path that could not be read.
pub fn directories(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |source| FileError::new("read", directory, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a file, a symlink, or a directory with all that is in it
///
/// A directory loses its name first: it is there whole, or not at all.
///
/// # Errors
/// [`FileError`] with the path.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::new("remove", path, source);
    let kind = fs::symlink_metadata(path).map_err(failed)?;
    if kind.is_dir() {
        let nameless = unfinished(path);
        rename(path, &nameless).map_err(failed)?;
        step("nameless", path).map_err(failed)?;
        fs::remove_dir_all(nameless).map_err(failed)?;
    } else {
        fs::remove_file(path).map_err(failed)?;
    }
    step("removed", path).map_err(failed)
}

/// Lets a group read a file that is there already; its owner keeps it
///
/// # Errors
/// [`FileError`] with the path; only its owner and root may do so.
pub fn share(path: &Path, group: u32) -> Result<(), FileError> {
    let failed = |source| FileError::new("share", path, source);
    let file = open_itself(path, OFlag::empty()).map_err(failed)?;
    let now = file.metadata().map_err(failed)?;
    let owner = fs::metadata(parent(path)).map_err(failed)?.uid();
    if !now.is_file() || now.nlink() != 1 || now.uid() != owner {
        // Whoever owns the storage could otherwise have any file of root's shared.
        let reason = "it is no file of the storage's owner";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, reason)));
    }
    if now.gid() == group && now.mode() & 0o040 != 0 {
        return Ok(());
    }
    fchown(&file, None, Some(group)).map_err(failed)?;
    step("given", path).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(0o640))
        .map_err(failed)?;
    step("shared", path).map_err(failed)
}

/// What a file with a secret of the operator's holds, as far as 64 KiB
///
/// # Errors
/// Those of reading it, and [`io::ErrorKind::InvalidData`] for one that is no UTF-8.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path)?;
    file.take(MOST_OF_SECRET).read_to_string(&mut text)?;
    Ok(text)
}

/// A file that is made for the lock, or opened if it is there
///
/// # Errors
/// [`FileError`] with the path.
pub fn open_lock(path: &Path) -> Result<File, FileError> {
    let failed = |source| FileError::new("open", path, source);
    #[expect(clippy::disallowed_methods, reason = "this module is the writer")]
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    step("opened", path).map_err(failed)?;
    give(&file, parent(path), Access::Owner).map_err(failed)?;
    Ok(file)
}

/// Mode and owner of a new file, set on the open file before anything can read it by name
fn give(file: &File, directory: &Path, access: Access) -> io::Result<()> {
    let mode = match access {
        Access::Everyone => 0o644,
        Access::Owner => 0o600,
        Access::Group(_) => 0o640,
    };
    own_like(file, &fs::metadata(directory)?)?;
    if let Access::Group(group) = access {
        fchown(file, None, Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

fn own_like(file: impl std::os::fd::AsFd, model: &fs::Metadata) -> io::Result<()> {
    let file = file.as_fd();
    let own = File::from(file.try_clone_to_owned()?).metadata()?;
    if own.uid() == model.uid() && own.gid() == model.gid() {
        return Ok(());
    }
    match fchown(file, Some(model.uid()), Some(model.gid())) {
        // Only root can give files away; without root they stay the user's own.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_root() => Ok(()),
        outcome => outcome,
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn finish_directory(path: &Path, entry: Entry) -> io::Result<()> {
    finish_directory_like(path, parent(path), entry)
}

fn finish_directory_like(path: &Path, above: &Path, entry: Entry) -> io::Result<()> {
    let directory = open_itself(path, OFlag::O_DIRECTORY)?;
    own_like(&directory, &fs::metadata(above)?)?;
    directory.set_permissions(Permissions::from_mode(entry.mode()))
}

/// Opens what has this name, never what a symlink there leads to
#[expect(clippy::disallowed_methods, reason = "this module is the writer")]
fn open_itself(path: &Path, flags: OFlag) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(true)
        .custom_flags((flags | OFlag::O_NOFOLLOW).bits())
        .open(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What has this name soon, or had it until now: a sweep removes it
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.starts_with(UNFINISHED) {
        true => path.to_owned(),
        false => parent(path).join(format!("{UNFINISHED}{name}")),
    }
}

/// The directory that holds `path`; the working directory for a bare file name
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[expect(clippy::disallowed_methods, reason = "this module is the writer")]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

#[expect(clippy::disallowed_methods, reason = "this module is the writer")]
fn create_new(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // A key is never readable by others, not even before its mode is set.
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A file operation that failed, with its path
#[derive(Debug, Error)]
#[error("cannot {operation} {}", path.display())]
pub struct FileError {
    /// What was tried, as a verb
    pub operation: &'static str,
    /// On which path
    pub path: PathBuf,
    /// Why it failed
    pub source: io::Error,
}

impl FileError {
    /// The error of work that was stopped before its end
    pub fn interrupted() -> Self {
        Self::new(
            "finish",
            Path::new("the work"),
            io::ErrorKind::Interrupted.into(),
        )
    }

    fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

impl Explain for FileError {
    fn code(&self) -> &'static str {
        "store.not_writable"
    }

    fn cure(&self) -> Option<String> {
        Some(cure(&self.path, &self.source))
    }
}

/// What to do about an operation on a path that failed
pub(super) fn cure(place: &Path, error: &io::Error) -> String {
    let path = place.display();
    match error.kind() {
        io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::IsADirectory => {
            format!("{path} is in the way: move it away")
        }
        io::ErrorKind::PermissionDenied => {
            // What was to be made there is nobody's yet.
            let whose = place.ancestors().find(|place| place.exists());
            let whose = whose.unwrap_or(place).display();
            format!("run certd as the owner of {whose}, or as root")
        }
        io::ErrorKind::StorageFull => format!("free some space for {path}"),
        io::ErrorKind::ReadOnlyFilesystem => format!("{path} is on a read-only file system"),
        _ => format!("see what is wrong with {path}"),
    }
}

const MOST_OF_SECRET: u64 = 64 * 1024;
/// Prefix of what has not got its final name yet
const UNFINISHED: &str = ".certd-";

/// Tests stop between two writes and must find what a killed process would leave.
const LEAVE_BEHIND: bool = cfg!(test);
