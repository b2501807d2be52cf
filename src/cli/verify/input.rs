//! Files and lists that a person names: read whole, and not without end.

use std::fs::File;
use std::io::{self, Read, stdin};
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::error::CliError;

/// What a file holds, which may be a key
pub(super) fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let read = File::open(path).and_then(whole);
    read.map_err(|source| unreadable(path, source))
}

/// What a list holds; `-` is stdin
pub(super) fn list(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let read = match is_stdin(path) {
        true => whole(stdin().lock()),
        false => File::open(path).and_then(whole),
    };
    let bytes = read.map_err(|source| unreadable(path, source))?;
    match bytes.starts_with(UTF_16_LE) || bytes.starts_with(UTF_16_BE) {
        true => Err(unreadable(path, io::Error::other(UTF_16))),
        false => Ok(bytes),
    }
}

/// Whether a path stands for stdin
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn whole(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = source.take(MOST_READ + 1).read_to_end(&mut bytes)?;
    match read as u64 > MOST_READ {
        true => Err(io::Error::other("it is longer than 16 MiB")),
        false => Ok(bytes),
    }
}

fn unreadable(path: &Path, source: io::Error) -> CliError {
    CliError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Room for a list of a hundred thousand long lines, and for more than any chain
const MOST_READ: u64 = 16 * 1024 * 1024;
/// How a text in UTF-16 begins, as PowerShell writes it by `>`
const UTF_16_LE: &[u8] = &[0xff, 0xfe];
const UTF_16_BE: &[u8] = &[0xfe, 0xff];
const UTF_16: &str = "it is UTF-16: save it as UTF-8";
