//! Why there is no configuration, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::ownership::{self, Distrust, Place};
use crate::finding::one_line;

/// A mistake in domains.toml
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1
    pub line: usize,
    /// Path of the key, such as `domain[2].aliases`; empty for a syntax error
    pub key: String,
    /// What is wrong
    pub message: String,
    /// What to write instead
    pub hint: Option<String>,
}

/// Whether a file was found in the current directory
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    /// There is none
    Missing,
    /// There is one, and root does not look there
    PassedOver(PathBuf),
    /// The user may not enter the directory
    Closed,
}

/// Why there is no configuration
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No file was named and none stands in the usual places
    #[error("no configuration: {}", nowhere(here))]
    NotFound {
        /// Whether the current directory has one
        here: Here,
    },
    /// Somebody else could have written it
    #[error("{} is not safe to use: {}", path.display(), ownership::in_words(at, *user, *mode, *distrust))]
    NotSafe {
        /// The file
        path: PathBuf,
        /// The file, or what leads to it
        at: PathBuf,
        /// Identifier of its owner
        user: u32,
        /// Its permissions
        mode: u32,
        /// What is wrong with it
        distrust: Distrust,
        /// Which of the two it is
        place: Place,
    },
    /// The file cannot be read
    #[error("cannot read {}", path.display())]
    Read {
        /// The file
        path: PathBuf,
        /// Why
        source: std::io::Error,
    },
    /// The file is larger than any configuration
    #[error("{} is larger than 4 MiB", path.display())]
    TooLarge {
        /// The file
        path: PathBuf,
    },
    /// The file is no UTF-8
    #[error("{} is not UTF-8 (line {line})", path.display())]
    NotText {
        /// The file
        path: PathBuf,
        /// Line of the first byte that is not UTF-8, from 1
        line: usize,
    },
    /// The file holds mistakes
    #[error("{}", describe(path, mistakes))]
    Mistakes {
        /// The file
        path: PathBuf,
        /// All of them, by line
        mistakes: Vec<Mistake>,
    },
}

impl ConfigError {
    /// What to do about it
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::NotFound { here } => Some(match here {
                Here::PassedOver(here) => format!(
                    "if it is yours: certd --config {} ...; else see who put it there",
                    here.display()
                ),
                Here::Missing | Here::Closed => {
                    "name one with --config, or write the smallest one that works: see \
                         README.md"
                        .to_owned()
                }
            }),
            Self::NotSafe {
                path,
                at,
                distrust,
                place,
                ..
            } => Some(ownership::cure(path, at, *distrust, *place)),
            Self::Read { path, .. } if self.is_forbidden() => Some(let_in(path)),
            _ => None,
        }
    }

    /// Whether the file is there and may not be read
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
    }

    pub(super) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}

fn nowhere(here: &Here) -> String {
    match here {
        Here::Missing => format!("neither ./domains.toml nor {} exists", ownership::USUAL),
        Here::PassedOver(here) => format!(
            "{} does not exist, and root does not read ./{} unasked",
            ownership::USUAL,
            here.display()
        ),
        Here::Closed => format!(
            "{} does not exist, and this user may not look into the current directory",
            ownership::USUAL
        ),
    }
}

/// What to do where the user of certd may not read a file, or not enter a directory on the way to it
fn let_in(path: &Path) -> String {
    let is_seen = |path: &Path| path.symlink_metadata().is_ok();
    let above = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let above = above.ancestors().skip(1);
    match above.into_iter().find(|above| is_seen(above)) {
        // Everything else that lies there has a mode of its own.
        Some(closed) if !is_seen(path) && Path::new(ownership::USUAL).starts_with(closed) => {
            format!(
                "let the user of certd enter it: chmod 755 {}",
                closed.display()
            )
        }
        Some(closed) if !is_seen(path) => format!(
            "the user of certd may not enter {}: keep the file elsewhere, such as at {}",
            closed.display(),
            ownership::USUAL
        ),
        _ => format!("let the user of certd read {}", path.display()),
    }
}

/// Number of the line on which an offset lies, from 1
pub(super) fn line_of(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

fn describe(path: &Path, mistakes: &[Mistake]) -> String {
    use fmt::Write as _;
    let count = match mistakes.len() {
        1 => "a mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    let mut text = format!("{} has {count}", path.display());
    for mistake in mistakes {
        let _ = write!(text, "\n  line {}: ", mistake.line);
        if !mistake.key.is_empty() {
            let _ = write!(text, "`{}`: ", one_line(&mistake.key));
        }
        text.push_str(&one_line(&mistake.message));
        for line in mistake.hint.iter().flat_map(|hint| hint.lines()) {
            let _ = write!(text, "\n    {}", one_line(line));
        }
    }
    text
}
