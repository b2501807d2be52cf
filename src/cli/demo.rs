//! `certd demo`: the whole loop in the sandbox, told with the real commands.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use thiserror::Error;

use super::args::{Demo, Format, Global};
use super::error::CliError;
use super::{Ended, Out, Signals, now, print, print_report};
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
    let is_told = global.format == Format::Text && !global.quiet;
    let tell = |write: &dyn Fn(&mut Out) -> io::Result<()>| match is_told {
        true => print(global.color, write),
        false => Ok(()),
    };
    tell(&|out| scene.introduce(out))?;
    let mut acts = Vec::new();
    for act in story::ACTS {
        let act = story::play(act, &mut scene, global).await?;
        tell(&|out| write_act(&act, out))?;
        acts.push(act);
    }
    let report = DemoReport {
        schema_version: SCHEMA_VERSION,
        command: "demo",
        started,
        elapsed: begun.elapsed(),
        directory: scene.directory().to_owned(),
        addresses: scene.addresses(),
        acts,
    };
    tell(&|out| write_summary(&report, out))?;
    let must_be_told = !global.quiet || report.ending() == Ending::Otherwise;
    if !is_told && must_be_told {
        print_report(&report, global.format, global.color, |report, out| {
            report.acts.iter().try_for_each(|act| write_act(act, out))?;
            write_summary(report, out)
        })?;
    }
    if args.serve {
        tell(&|out| scene.invite(out))?;
        // Here a signal is the way to end, and no error.
        return Ok(Ended::Signal(Signals::listen()?.next().await));
    }
    Ok(match report.ending() {
        Ending::AsTold => Ended::Well,
        Ending::Otherwise => Ended::Failed,
    })
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
            Self::Sandbox(SandboxError::Listen { source, .. })
                if source.kind() == io::ErrorKind::InvalidInput =>
            {
                Some("a socket's path is short: choose another --dir, or another TMPDIR".to_owned())
            }
            Self::Container(_) => {
                Some("without --docker the demo needs no Docker at all".to_owned())
            }
            _ => None,
        }
    }
}
