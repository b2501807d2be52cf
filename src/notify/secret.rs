//! Files with secrets: read when they are needed, and kept nowhere.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::Undelivered;

/// What a file with a secret holds, without the blanks around it
pub(super) fn secret(path: &Path) -> Result<String, Undelivered> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST_OF_FILE).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text.trim().to_owned()),
        Err(source) => Err(Undelivered::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The error for a file with a secret that holds something else
pub(super) fn content(path: &Path, wanted: &str) -> Undelivered {
    Undelivered::Content {
        path: path.to_owned(),
        wanted: wanted.to_owned(),
    }
}

const MOST_OF_FILE: u64 = 64 * 1024;
