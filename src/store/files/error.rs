//! What a file operation failed by, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::obstacle::Obstacle;
use crate::finding::Explain;

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

    /// Whether it failed because the file system is read-only, for this process at least
    pub(in crate::store) fn is_read_only(&self) -> bool {
        self.source.kind() == io::ErrorKind::ReadOnlyFilesystem
    }

    pub(in crate::store) fn new(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// What was found where certd's own file or directory belongs, if that is why it failed
    pub fn obstacle(&self) -> Option<&Obstacle> {
        obstacle(&self.source)
    }
}

impl Explain for FileError {
    fn code(&self) -> &'static str {
        code(&self.source)
    }

    fn cure(&self) -> Option<String> {
        Some(cure(&self.path, &self.source))
    }
}

/// The code for an operation that failed, by what an operator can do about it
pub(in crate::store) fn code(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if obstacle(error).is_some() => "store.in_the_way",
        io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::IsADirectory => "store.in_the_way",
        io::ErrorKind::PermissionDenied => "store.not_writable",
        io::ErrorKind::ReadOnlyFilesystem => "files.read_only",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "store.full",
        io::ErrorKind::NotFound => "store.missing",
        _ => "store.failed",
    }
}

/// What to do about an operation on a path that failed
pub(in crate::store) fn cure(place: &Path, error: &io::Error) -> String {
    let path = place.display();
    if let Some(obstacle) = obstacle(error) {
        let path = obstacle.path.display();
        return format!(
            "certd uses no symlink and no file of others there; see what it is:\n    ls -ld {path}\n\
             remove it if nobody needs it; a directory that lies elsewhere can be\n\
             bind-mounted there"
        );
    }
    match error.kind() {
        io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::IsADirectory => {
            format!("{path} is in the way: move it away")
        }
        io::ErrorKind::PermissionDenied => permit(place),
        io::ErrorKind::NotFound => {
            let mut above = place.ancestors();
            match above.find(|above| above.is_dir()) {
                Some(above) if above != place => format!(
                    "see whether a file system is to be mounted there:\n    findmnt -T {path}\n\
                     above it, {} is there",
                    above.display()
                ),
                _ => format!("{path} is there by now: see what moves it away at times"),
            }
        }
        io::ErrorKind::StorageFull => {
            let path = directory_of(place).display();
            format!("free some space, or inodes:\n    df -h {path}\n    df -i {path}")
        }
        io::ErrorKind::QuotaExceeded => {
            let path = directory_of(place).display();
            format!("the quota for {path} is used up:\n    quota -s")
        }
        io::ErrorKind::FileTooLarge => {
            format!(
                "certd writes none so long: see whose it is, and move it away:\n    ls -l {path}"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => let_write(directory_of(place)),
        _ => format!("see what is wrong with {path}"),
    }
}

/// The directory that is there: a file in it may never have been, or have a name that nobody else knows
fn directory_of(place: &Path) -> &Path {
    let mut above = place.ancestors();
    above.find(|place| place.is_dir()).unwrap_or(place)
}

/// How a process may write to a directory that is read-only for it, though perhaps for no other
pub fn let_write(directory: &Path) -> String {
    let path = directory.display();
    format!(
        "under systemd `ReadWritePaths` lets it write there:\n    \
         systemctl edit certd certd-renew\n    [Service]\n    ReadWritePaths=-{path}\n\
         elsewhere see how it is mounted:\n    findmnt -T {path}"
    )
}

/// Who may do what this process may not
fn permit(place: &Path) -> String {
    // What was to be made there is nobody's yet.
    let whose = place.ancestors().find(|place| place.exists());
    let whose = whose.unwrap_or(place).display();
    match nix::unistd::geteuid().is_root() {
        false => format!("run certd as the owner of {whose}, or as root"),
        true => format!(
            "root works there with the rights of the owner alone: let him write to {whose}, or \
             give it to root"
        ),
    }
}

fn obstacle(error: &io::Error) -> Option<&Obstacle> {
    error.get_ref()?.downcast_ref()
}
