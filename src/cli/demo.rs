//! `certd demo`: the whole loop in the sandbox, told with the real commands.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anstream::AutoStream;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Demo, Format, Global};
use super::error::CliError;
use super::{Ended, now, print_report};
use crate::config::Environment;
use crate::report::SCHEMA_VERSION;
use crate::report::demo::{DemoReport, Ending, write_act, write_summary};
use crate::sandbox::SandboxError;
use crate::sandbox::container::ContainerError;
use crate::store::files::FileError;

mod scene;
mod story;

use scene::Scene;

pub(super) async fn run(
    global: &Global,
    args: &Demo,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let (started, begun) = (now(), Instant::now());
    let mut scene = Scene::set(args, environment).await?;
    let mut teller = Teller { global };
    teller.tell(|out| scene.introduce(out))?;
    let mut acts = Vec::new();
    for act in story::ACTS {
        let act = story::play(act, &mut scene, global).await?;
        teller.tell(|out| write_act(&act, out))?;
        acts.push(act);
    }
    let report = DemoReport {
        schema_version: SCHEMA_VERSION,
        command: "demo",
        started,
        elapsed: begun.elapsed(),
        directory: scene.directory().to_owned(),
        acts,
    };
    match global.format {
        Format::Json => print_report(&report, global.format, global.color, |_, _| Ok(()))?,
        Format::Text => teller.tell(|out| write_summary(&report, out))?,
    }
    if args.serve {
        teller.tell(|out| scene.invite(out))?;
        return serve().await;
    }
    Ok(match report.ending() {
        Ending::AsTold => Ended::Well,
        Ending::Otherwise => Ended::Failed,
    })
}

/// Tells the story while it happens
struct Teller<'g> {
    global: &'g Global,
}

impl Teller<'_> {
    fn tell(
        &mut self,
        write: impl FnOnce(&mut AutoStream<io::StdoutLock<'static>>) -> io::Result<()>,
    ) -> Result<(), CliError> {
        if self.global.format != Format::Text || self.global.quiet {
            return Ok(());
        }
        let mut out = AutoStream::new(io::stdout().lock(), self.global.color.for_stdout());
        match write(&mut out).and_then(|()| out.flush()) {
            // A reader that has seen enough, such as `head`, is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.map_err(CliError::Output),
        }
    }
}

/// Waits for a signal: here it is the way to end, and no error
async fn serve() -> Result<Ended, CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
    tokio::select! {
        _ = interrupt.recv() => Ok(Ended::Signal(2)),
        _ = terminate.recv() => Ok(Ended::Signal(15)),
    }
}

/// Why the demo cannot be played
#[derive(Debug, Error)]
pub(super) enum DemoError {
    #[error("{} is not empty", path.display())]
    NotEmpty { path: PathBuf },
    #[error("cannot use {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the sandbox does not start")]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Container(#[from] ContainerError),
}

impl DemoError {
    pub(super) const fn ended(&self) -> Ended {
        match self {
            Self::NotEmpty { .. } => Ended::Usage,
            _ => Ended::Failed,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::NotEmpty { .. } => {
                Some("--dir wants a directory that is new or empty".to_owned())
            }
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
