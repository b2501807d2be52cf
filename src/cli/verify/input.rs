//! Files and lists that a person names: read whole, and not without end.

use std::io::{self, stdin};
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::error::CliError;
use crate::input;

/// What a file holds, which may be a key
pub(super) fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let read = input::read(path, MOST_READ).map(Zeroizing::new);
    read.map_err(|source| unreadable(path, source))
}

/// What a list holds; `-` is stdin
pub(super) fn list(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let read = match is_stdin(path) {
        true => from_stdin(),
        false => input::read(path, MOST_READ),
    };
    let bytes = Zeroizing::new(read.map_err(|source| unreadable(path, source))?);
    match bytes.starts_with(UTF_16_LE) || bytes.starts_with(UTF_16_BE) {
        true => Err(unreadable(path, io::Error::other(UTF_16))),
        false => Ok(bytes),
    }
}

/// Whether a path stands for stdin
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn from_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input::fill(&mut bytes, stdin().lock(), MOST_READ)?;
    Ok(bytes)
}

fn unreadable(path: &Path, source: io::Error) -> CliError {
    CliError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Room for a list of a hundred thousand long lines, and for more than any chain
const MOST_READ: u64 = 16 * input::MIB;
/// How a text in UTF-16 begins, as PowerShell writes it by `>`
const UTF_16_LE: &[u8] = &[0xff, 0xfe];
const UTF_16_BE: &[u8] = &[0xfe, 0xff];
const UTF_16: &str = "it is UTF-16: save it as UTF-8";
