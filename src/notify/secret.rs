//! Files with secrets: read when they are needed, and kept nowhere.

use std::path::Path;

use super::error::Undelivered;
use crate::store::files;

/// What a file with a secret holds, without the blanks around it
pub(super) fn secret(path: &Path) -> Result<String, Undelivered> {
    match files::read_secret(path) {
        Ok(text) => Ok(text.trim().to_owned()),
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
