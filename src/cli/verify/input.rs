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
pub(super) fn list(path: &Path) -> Result<String, CliError> {
    let read = match is_stdin(path) {
        true => whole(stdin().lock()),
        false => File::open(path).and_then(whole),
    };
    let text = read.and_then(|bytes| {
        let text = String::from_utf8(bytes.to_vec());
        text.map_err(|_| io::Error::other("it is no UTF-8"))
    });
    text.map_err(|source| unreadable(path, source))
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
