//! Files that a person names, or that others may write: opened without a wait for a writer, and never
//! read without end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open as open_at_once};
use nix::sys::stat::Mode;

/// How a file is opened of which nobody knows yet what it is: a FIFO without a writer must not hold
/// certd up, and a terminal must not become its own
pub const AT_ONCE: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// A file to be read; a pipe only where a path of the system's names it, such as `/dev/stdin`
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::InvalidInput`] for a FIFO.
pub fn open(path: &Path) -> io::Result<File> {
    let opened = open_at_once(path, AT_ONCE, Mode::empty())?;
    settled(path, opened.into())
}

/// A file that was opened [`AT_ONCE`] at this path, made to wait for its bytes
///
/// # Errors
/// As [`open`].
pub fn settled(path: &Path, file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    let is_of_system = OF_SYSTEM.iter().any(|place| path.starts_with(place));
    if kind.is_fifo() && !is_of_system {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, FIFO));
    }
    if !kind.is_file() {
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    }
    Ok(file)
}

/// What a file holds, as far as `most` bytes
///
/// # Errors
/// As [`open`]; [`io::ErrorKind::FileTooLarge`] with [`TooLong`] for a longer one.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(open(path)?, most)
}

/// What an open file holds, as far as `most` bytes
///
/// # Errors
/// As [`read`]. A file that is too long by its own account is not read at all.
pub fn whole(file: File, most: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if size > most {
        return Err(too_long(Some(size), most));
    }
    // Room for all of it at once: a buffer that grows leaves copies of a key behind.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    fill(&mut bytes, file, most)?;
    Ok(bytes)
}

/// The end of a log that others write, `most` bytes of it, and when it was written last
///
/// # Errors
/// Those of the system, and [`io::ErrorKind::InvalidInput`] for what is no regular file: a symlink in
/// its place is not followed.
pub fn tail(path: &Path, most: u64) -> io::Result<(Vec<u8>, SystemTime)> {
    let opened = open_at_once(path, AT_ONCE | OFlag::O_NOFOLLOW, Mode::empty())?;
    let mut file = File::from(opened);
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    file.seek(SeekFrom::Start(facts.len().saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, facts.modified()?))
}

/// Adds to `bytes` what a source gives, as far as `most` bytes
///
/// # Errors
/// As [`read`].
pub fn fill(bytes: &mut Vec<u8>, source: impl Read, most: u64) -> io::Result<()> {
    match source.take(most + 1).read_to_end(bytes)? as u64 > most {
        true => Err(too_long(None, most)),
        false => Ok(()),
    }
}

/// That a file is longer than any of its kind
#[derive(Debug)]
pub struct TooLong {
    /// Its bytes; `None` where it has no length, or has grown meanwhile
    pub size: Option<u64>,
    /// Bytes that are read at most
    pub most: u64,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, unit) = match self.most {
            MIB.. => (self.most / MIB, "MiB"),
            _ => (self.most / KIB, "KiB"),
        };
        write!(f, "it is longer than {most} {unit}")?;
        match self.size {
            Some(size) => write!(f, " ({size} bytes)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TooLong {}

fn too_long(size: Option<u64>, most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, TooLong { size, most })
}

/// 1024 bytes
pub const KIB: u64 = 1024;
/// 1024 KiB
pub const MIB: u64 = 1024 * KIB;
/// Where a path names what this process has open already, as `<(...)` of a shell does
const OF_SYSTEM: [&str; 2] = ["/dev", "/proc"];
const FIFO: &str = "it is a FIFO, and no file";

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_fifo_is_refused_at_once_and_what_has_no_end_is_not_read_to_it() {
        let home = tempfile::tempdir().unwrap();
        let fifo = home.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR).unwrap();
        let refused = read(&fifo, KIB).unwrap_err();
        assert_eq!(refused.to_string(), FIFO);
        let endless = read(Path::new("/dev/zero"), 64 * KIB).unwrap_err();
        assert_eq!(endless.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(endless.to_string(), "it is longer than 64 KiB");
        let made = tempfile::NamedTempFile::new_in(home.path()).unwrap();
        made.as_file().set_len(4 * KIB * MIB).unwrap();
        let refused = read(made.path(), MIB).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "it is longer than 1 MiB (4294967296 bytes)"
        );
        made.as_file().set_len(MIB).unwrap();
        assert_eq!(read(made.path(), MIB).unwrap().len() as u64, MIB);
    }

    #[test]
    fn of_a_log_its_end_is_read_and_of_what_is_none_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        let mut made = tempfile::NamedTempFile::new_in(home.path()).unwrap();
        made.write_all(b"first\nlast\n").unwrap();
        made.persist(&path).unwrap();
        let read = |most| tail(&path, most).unwrap().0;
        assert_eq!(read(5), b"last\n");
        assert_eq!(read(KIB), b"first\nlast\n");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let fifo = home.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR).unwrap();
        for other in [link.as_path(), &fifo, home.path(), Path::new("/dev/null")] {
            assert!(tail(other, KIB).is_err(), "{}", other.display());
        }
    }

    #[test]
    fn a_pipe_of_a_shell_is_waited_for() {
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let file = open(Path::new(&path)).unwrap();
        let written = std::thread::spawn(move || writer.write_all(b"late"));
        drop(reader);
        assert_eq!(whole(file, KIB).unwrap(), b"late");
        written.join().unwrap().unwrap();
    }
}
