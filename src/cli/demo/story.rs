//! The acts: what is edited, which command runs, how it should end.

use super::scene::Scene;
use crate::cli::args::{Global, Obtain, Verify};
use crate::cli::error::CliError;
use crate::cli::{obtain, verify};
use crate::config::Environment;
use crate::report::demo::{Act, Edit, Ending, Step, StepReport};
use crate::sandbox::web::Site;

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
    /// Each domain names its own certificate, which need not exist yet
    Right,
    /// The messenger's server block names the shop's certificate, and nginx was reloaded
    Mistaken,
    /// The mistake is mended, and nginx was reloaded
    Mended,
}

#[derive(Clone, Copy, Debug)]
enum Command {
    ObtainAll,
    ObtainMessenger,
    Verify,
    VerifyMessenger,
    Renew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Well,
    Failure,
}

/// Plays one act
pub(super) async fn play(
    script: Script,
    scene: &mut Scene,
    global: &Global,
) -> Result<Act, CliError> {
    let edit = prepare(script.nginx, scene).await?;
    let mut steps = Vec::new();
    for (command, expected) in script.commands {
        let report = command.run(scene, global).await?;
        let ended = match report.is_well() {
            true => Expected::Well,
            false => Expected::Failure,
        };
        steps.push(Step {
            typed: format!("certd {}", command.typed()),
            ending: match ended == *expected {
                true => Ending::AsTold,
                false => Ending::Otherwise,
            },
            report,
        });
    }
    Ok(Act {
        title: script.title,
        edit,
        steps,
    })
}

async fn prepare(configured: Configured, scene: &mut Scene) -> Result<Option<Edit>, CliError> {
    match configured {
        Configured::Right => {
            scene.edit(&sites(MESSENGER))?;
            Ok(None)
        }
        Configured::Mistaken => {
            let edit = scene.edit(&sites(SHOP))?;
            scene.reload(MESSENGER, SHOP).await?;
            Ok(edit)
        }
        Configured::Mended => {
            scene.edit(&sites(MESSENGER))?;
            scene.reload(MESSENGER, MESSENGER).await?;
            Ok(None)
        }
    }
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
            Self::ObtainAll => "obtain --all",
            Self::ObtainMessenger => "obtain messenger.rare-books.test",
            Self::Verify => "verify",
            Self::VerifyMessenger => "verify messenger.rare-books.test",
            Self::Renew => "obtain --all --force",
        }
    }

    /// Runs the command's own code with the demo's configuration
    async fn run(self, scene: &Scene, global: &Global) -> Result<StepReport, CliError> {
        let global = Global {
            config: Some(scene.configuration()),
            ..global.clone()
        };
        let environment = Environment::default();
        let messenger = || vec![MESSENGER.to_owned()];
        let obtain = match self {
            Self::Verify | Self::VerifyMessenger => {
                let targets = match self {
                    Self::Verify => Vec::new(),
                    _ => messenger(),
                };
                let report = verify::report(&global, &Verify { targets }, &environment).await?;
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
            Self::Renew => Obtain {
                all: true,
                force: true,
                ..Obtain::default()
            },
        };
        let report = obtain::report(&global, &obtain, &environment).await?;
        Ok(StepReport::Obtain(report))
    }
}

const SHOP: &str = "rare-books.test";
const WWW: &str = "www.rare-books.test";
const MESSENGER: &str = "messenger.rare-books.test";

/// The story, told in under three seconds
pub(super) const ACTS: [Script; 3] = [
    Script {
        title: "One certificate per domain, loaded by nginx, proven by handshakes",
        nginx: Configured::Right,
        commands: &[
            (Command::ObtainAll, Expected::Well),
            (Command::Verify, Expected::Well),
        ],
    },
    Script {
        title: "The classic mistake: the messenger's server block names the shop's certificate",
        nginx: Configured::Mistaken,
        commands: &[
            (Command::VerifyMessenger, Expected::Failure),
            (Command::ObtainMessenger, Expected::Failure),
        ],
    },
    Script {
        title: "Mended, and renewed: the new certificates are the ones that are served",
        nginx: Configured::Mended,
        commands: &[
            (Command::ObtainMessenger, Expected::Well),
            (Command::Renew, Expected::Well),
        ],
    },
];
