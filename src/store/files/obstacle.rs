//! Something else where a file or directory of certd's belongs.

use std::fmt;
use std::path::PathBuf;

/// What is in the way: certd follows no symlink below its directories
#[derive(Debug)]
pub struct Obstacle {
    /// Where
    pub path: PathBuf,
    /// Such as `a symlink`
    pub what: &'static str,
    /// Identifier of its owner
    pub user: u32,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, what, user) = (self.path.display(), self.what, self.user);
        write!(f, "{path} is {what} of user {user}")
    }
}

impl std::error::Error for Obstacle {}
