//! `certd demo`: the whole loop in the sandbox, told with the real commands.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use tempfile::TempDir;
use thiserror::Error;

use super::args::{Demo, Format, Global};
use super::error::CliError;
use super::{Ended, Out, Signals, now, print, print_report};
use crate::config::Environment;
use crate::finding::Explain;
use crate::report::SCHEMA_VERSION;
use crate::report::demo::{DemoReport, Ending, write_demo, write_summary};
use crate::store::files::FileError;
use crate::target::container::DockerError;
use certd_sandbox::SandboxError;
use container::ContainerError;

mod container;
mod scene;
mod story;

use scene::Scene;

pub(super) async fn run(
    global: &Global,
    args: &Demo,
    environment: &Environment,
    rubbish: &Rubbish,
) -> Result<Ended, CliError> {
    if global.config.is_some() {
        return Err(DemoError::Config.into());
    }
    let (started, begun) = (now(), Instant::now());
    let mut scene = Scene::set(args, environment, rubbish).await?;
    let teller = Teller { global };
    teller.tell(|out| scene.introduce(out))?;
    let mut report = DemoReport {
        schema_version: SCHEMA_VERSION,
        command: "demo",
        started,
        elapsed: begun.elapsed(),
        directory: scene.directory().to_owned(),
        addresses: scene.addresses(),
        acts: Vec::new(),
    };
    for act in story::ACTS {
        report
            .acts
            .push(story::play(act, &mut scene, &teller).await?);
        if report.ending() == Ending::Otherwise {
            break;
        }
    }
    report.elapsed = begun.elapsed();
    teller.tell(|out| write_summary(&report, scene.afterwards(), out))?;
    let went_wrong = report.ending() == Ending::Otherwise;
    if !teller.tells() && !global.keeps_back(!went_wrong) {
        print_report(&report, global.format, global.color, |report, out| {
            write_demo(report, out)
        })?;
    }
    if args.serve {
        if global.format == Format::Text {
            print(global.color, |out| scene.invite(out))?;
        }
        // Here a signal is the way to end, and no error.
        return Ok(Ended::Signal(Signals::listen()?.next().await));
    }
    Ok(match went_wrong {
        false => Ended::Well,
        true => Ended::Failed,
    })
}

/// Tells the story to people, while it happens
struct Teller<'g> {
    global: &'g Global,
}

impl Teller<'_> {
    /// Whether anyone listens
    fn tells(&self) -> bool {
        self.global.format == Format::Text && !self.global.quiet
    }

    fn tell(&self, write: impl FnOnce(&mut Out) -> io::Result<()>) -> Result<(), CliError> {
        match self.tells() {
            true => print(self.global.color, write),
            false => Ok(()),
        }
    }
}

/// The temporary directory, to be removed when nothing writes to it any more
///
/// A thread may be in the middle of writing a generation when a signal ends the command.
#[derive(Debug, Default)]
pub(super) struct Rubbish(OnceCell<TempDir>);

impl Rubbish {
    /// Takes a directory, and removes it when the process ends
    fn take(&self, directory: TempDir) -> PathBuf {
        self.0.get_or_init(|| directory).path().to_owned()
    }
}

/// Why the demo cannot be played
#[derive(Debug, Error)]
pub(super) enum DemoError {
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
    pub(super) const fn ended(&self) -> Ended {
        match self {
            Self::Config | Self::NotEmpty { .. } | Self::NotADirectory { .. } => Ended::Usage,
            _ => Ended::Failed,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
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
const MOST_SOCKET: usize = 107;
