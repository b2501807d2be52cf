//! The acts: what is edited, which command runs, how it should end.

use std::io::Write;

use super::Teller;
use super::scene::Scene;
use crate::cli::args::{CheckArguments, Global, Obtain, Renew, Verify};
use crate::cli::error::CliError;
use crate::cli::{check, obtain, renew, verify};
use crate::config::Environment;
use crate::report::demo::{
    Act, Edit, EditKind, Ending, Step, StepReport, write_edit, write_step, write_title,
};
use certd_sandbox::web::Site;

/// One act, as the story has it
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    title: &'static str,
    nginx: Configured,
    /// Each with how it should end
    commands: &'static [(Command, Expected)],
}

/// What nginx's configuration says before the commands
#[derive(Clone, Copy, Debug)]
enum Configured {
    /// DNS knows nothing of the messenger yet, and nginx has no TLS
    WithoutRecord,
    /// Each domain names its own certificate, which need not exist yet
    Right,
    /// The messenger's server block names the shop's certificate, and nginx was reloaded
    Mistaken,
    /// The mistake is mended, and nginx was reloaded
    Mended,
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Check,
    ObtainAll,
    ObtainMessenger,
    VerifyMessenger,
    /// Two months later
    Renew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Well,
    /// With a failure that has this code
    Finding(&'static str),
}

/// Plays one act, up to the first command that ends otherwise than it should
pub(super) async fn play(
    script: Script,
    scene: &mut Scene,
    teller: &Teller<'_>,
) -> Result<Act, CliError> {
    teller.tell(|out| write_title(script.title, out))?;
    let edit = prepare(script.nginx, scene).await?;
    if let Some(edit) = &edit {
        teller.tell(|out| write_edit(edit, out))?;
    }
    let mut steps = Vec::new();
    for (command, expected) in script.commands {
        let report = command.run(scene, teller.global).await?;
        let is_as_told = match expected {
            Expected::Well => report.is_well(),
            Expected::Finding(code) => !report.is_well() && report.codes().contains(code),
        };
        let step = Step {
            typed: format!("certd {}", command.typed()),
            ending: match is_as_told {
                true => Ending::AsTold,
                false => Ending::Otherwise,
            },
            report,
        };
        teller.tell(|out| write_step(&step, out))?;
        steps.push(step);
        if !is_as_told {
            break;
        }
    }
    teller.tell(|out| writeln!(out))?;
    Ok(Act {
        title: script.title,
        edit,
        steps,
    })
}

async fn prepare(configured: Configured, scene: &mut Scene) -> Result<Option<Edit>, CliError> {
    let (lineage, kind) = match configured {
        Configured::WithoutRecord => return Ok(None),
        Configured::Right | Configured::Mended => (MESSENGER, EditKind::Correction),
        Configured::Mistaken => (SHOP, EditKind::Mistake),
    };
    let edit = scene.edit(&sites(lineage), kind)?;
    match configured {
        Configured::Right => scene.add_records(),
        _ => scene.reload(MESSENGER, lineage).await?,
    }
    Ok(edit)
}

/// Both server blocks, the messenger's with this certificate
fn sites(messengers: &str) -> [Site; 2] {
    let site = |names: &[&str], lineage: &str| Site {
        names: names.iter().map(ToString::to_string).collect(),
        lineage: lineage.to_owned(),
    };
    [site(&[SHOP, WWW], SHOP), site(&[MESSENGER], messengers)]
}

impl Command {
    const fn typed(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::ObtainAll => "obtain --all",
            Self::ObtainMessenger => "obtain messenger.rare-books.test",
            Self::VerifyMessenger => "verify messenger.rare-books.test",
            Self::Renew => "renew",
        }
    }

    /// Runs the command's own code with the demo's configuration
    async fn run(self, scene: &Scene, global: &Global) -> Result<StepReport, CliError> {
        let global = Global {
            config: Some(scene.configuration()),
            ..global.clone()
        };
        let environment = Environment::default();
        let now = scene.now();
        let messenger = || vec![MESSENGER.to_owned()];
        let obtain = match self {
            Self::Check => {
                let arguments = CheckArguments::default();
                let report = check::report(&global, &arguments, &environment, now).await?;
                return Ok(StepReport::Check(report));
            }
            Self::VerifyMessenger => {
                let targets = messenger();
                let report = verify::report(
                    &global,
                    &Verify {
                        targets,
                        ..Verify::default()
                    },
                    &environment,
                    now,
                )
                .await?;
                return Ok(StepReport::Verify(report));
            }
            Self::ObtainMessenger => Obtain {
                domains: messenger(),
                ..Obtain::default()
            },
            Self::ObtainAll => Obtain {
                all: true,
                ..Obtain::default()
            },
            Self::Renew => {
                scene.let_time_pass();
                let (arguments, now) = (Renew::default(), scene.now());
                let report = renew::report(&global, &arguments, &environment, now).await?;
                return Ok(StepReport::Obtain(report));
            }
        };
        let report = obtain::report(&global, &obtain, &environment, now).await?;
        Ok(StepReport::Obtain(report))
    }
}

const SHOP: &str = "rare-books.test";
const WWW: &str = "www.rare-books.test";
const MESSENGER: &str = "messenger.rare-books.test";

/// The story, told in under three seconds
pub(super) const ACTS: [Script; 4] = [
    Script {
        title: "Before the CA is asked: DNS, CAA, port 80, Docker, nginx",
        nginx: Configured::WithoutRecord,
        commands: &[(Command::Check, Expected::Finding("dns.nxdomain"))],
    },
    Script {
        title: "The record is there: one certificate per domain, proven by handshakes",
        nginx: Configured::Right,
        commands: &[(Command::ObtainAll, Expected::Well)],
    },
    Script {
        title: "The classic mistake: the messenger's server block names the shop's certificate",
        nginx: Configured::Mistaken,
        commands: &[
            (
                Command::VerifyMessenger,
                Expected::Finding("served.wrong_name"),
            ),
            (
                Command::ObtainMessenger,
                Expected::Finding("proof.other_lineage"),
            ),
        ],
    },
    Script {
        title: "Mended. Two months later, in the window that the CA suggests: renewed",
        nginx: Configured::Mended,
        commands: &[(Command::Renew, Expected::Well)],
    },
];
