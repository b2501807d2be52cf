//! Why the demo cannot be played.

use std::io;
use std::path::PathBuf;

use certd_sandbox::SandboxError;
use thiserror::Error;

use super::container::ContainerError;
use crate::cli::Ended;
use crate::finding::Explain;
use crate::store::files::FileError;
use crate::target::container::DockerError;

/// Why the demo cannot be played
#[derive(Debug, Error)]
pub(in crate::cli) enum DemoError {
    #[error("the demo writes a configuration of its own")]
    Config,
    #[error("{} is not empty", path.display())]
    NotEmpty { path: PathBuf },
    #[error("{} is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error("{} has {length} characters, and a socket's path {MOST_SOCKET}", path.display())]
    TooDeep { path: PathBuf, length: usize },
    #[error("cannot use {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the sandbox does not start")]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error("the Docker engine at {url} may be on another machine")]
    FarEngine { url: String },
    #[error(transparent)]
    Docker(#[from] DockerError),
}

impl DemoError {
    pub(in crate::cli) const fn ended(&self) -> Ended {
        match self {
            Self::Config | Self::NotEmpty { .. } | Self::NotADirectory { .. } => Ended::Usage,
            _ => Ended::Failed,
        }
    }

    pub(in crate::cli) fn hint(&self) -> Option<String> {
        match self {
            Self::Config => Some("leave --config out, or run another command".to_owned()),
            Self::NotEmpty { .. } | Self::NotADirectory { .. } => {
                Some("--dir wants a directory that is new or empty".to_owned())
            }
            Self::TooDeep { .. } => Some("choose a shorter --dir, or another TMPDIR".to_owned()),
            Self::Directory { .. } => Some("--dir DIR plays elsewhere".to_owned()),
            Self::FarEngine { .. } => {
                Some("the demo needs one on this machine: DOCKER_HOST=unix:///...".to_owned())
            }
            Self::Docker(error) => error.cure(),
            Self::Container(ContainerError::NoImage { image }) => {
                Some(format!("docker pull {image}"))
            }
            Self::Container(_) => {
                Some("without --docker the demo needs no Docker at all".to_owned())
            }
            _ => None,
        }
    }
}

/// Most characters of a Unix socket's path on Linux
pub(super) const MOST_SOCKET: usize = 107;
