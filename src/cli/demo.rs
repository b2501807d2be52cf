//! `certd demo`: the whole loop in the sandbox, told with the real commands.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use tempfile::TempDir;

use super::args::{Demo, Format, Global};
use super::error::CliError;
use super::{Ended, Out, Signals, now, print, print_report};
use crate::config::Environment;
use crate::report::SCHEMA_VERSION;
use crate::report::demo::{DemoReport, Ending, write_demo, write_summary};

mod container;
pub(super) mod error;
mod scene;
mod story;

use error::DemoError;
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
