//! `nginx -t`: before anything is changed, and what stands in the way where it does not pass.

use std::path::PathBuf;
use std::time::Instant;

use futures_util::future::join_all;

use super::configured::{doubt_in_words, whereabouts};
use super::order::must_order;
use super::target::{Target, is_or_leads_to_file_of, open};
use super::words::AFTER_A_CHANGE;
use crate::facts::{Container, User};
use crate::finding::{Finding, Severity, one_line, words};
use crate::pipeline::{ClockCheck, Context, Mode, Occasion, Options, Work};
use crate::plan::Plan;
use crate::report::Stage;
use crate::target::container::DockerError;
use crate::target::mount;
use crate::target::process::{by_hand, nginx_command, relative_start, user_of_master};
use crate::target::words::{Reason, Stumble, complaints, place, stumble, unresolved};

/// What `nginx -t` said before anything was changed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It passed, misses what this run supplies, or was not asked
    Usable,
    /// nginx refused a configuration that it does not run with
    Refused,
}

/// `nginx -t` before anything is changed; gives what it said, in a few words
///
/// A configuration that is broken already stops the target's domains, unless all that it misses
/// is a certificate that this run is about to supply. An order is placed all the same where one
/// is due: nginx goes on with what it has loaded, so that challenges are answered as before, and
/// the checks that follow see whether they are. Its certificate waits in the archive, and no
/// later run orders it again.
pub(super) async fn before(
    context: &Context<'_>,
    options: &Options,
    target: &mut Target,
    works: &mut [Work<'_>],
) -> String {
    if open(target, works).next().is_none() {
        foretell(options, target, works).await;
        return PASSED.to_owned();
    }
    let begun = Instant::now();
    let untested = match test_as_it_is(context, target, works).await {
        Tested::Passed => return PASSED.to_owned(),
        Tested::Waits(file) => return format!("nginx -t waits for {}", words::path(&file)),
        Tested::Barred(untested) => untested,
    };
    let finding = untested.finding();
    let is_refused = matches!(untested, Untested::Refused { .. });
    if is_refused && options.mode == Mode::Deploy {
        target.before = Before::Refused;
    }
    for work in open(target, works) {
        match target.before {
            Before::Refused if must_order(work) => {
                work.findings
                    .push(finding.clone().at_most(Severity::Warning));
            }
            _ => work.fail_with(Stage::Target, begun, finding.clone()),
        }
    }
    "nginx -t fails, and the order does not wait for that".to_owned()
}

/// Warns where nothing is due, and a renewal could not be deployed
///
/// A person who looks, and the daemon's look at all domains, are worth a `nginx -t` for each container. A
/// timer, which looks at nothing where nothing is due, and the daemon's other looks are not.
async fn foretell(options: &Options, target: &Target, works: &mut [Work<'_>]) {
    let is_worth_it = match options.occasion {
        Occasion::ByHand => true,
        Occasion::Sweep => options.clock == ClockCheck::Always,
        Occasion::Timer => false,
    };
    let mut members = target.members.iter();
    if !is_worth_it || !members.any(|member| works[*member].is_confirmed()) {
        return;
    }
    let tests = target.containers.iter().map(|one| test(target, one));
    let tests = join_all(tests).await.into_iter();
    let Some(finding) = tests.filter_map(Result::err).map(|one| one.looms()).next() else {
        return;
    };
    for member in &target.members {
        let work = &mut works[*member];
        if work.is_confirmed() {
            work.findings.push(finding.clone());
        }
    }
}

/// What `nginx -t` says of the configuration as it is
pub(super) enum Tested {
    Passed,
    /// It misses this certificate file, which this run supplies
    Waits(PathBuf),
    /// Nothing can be loaded
    Barred(Untested),
}

/// Asks each container for what it says of its configuration as it is
pub(super) async fn test_as_it_is(
    context: &Context<'_>,
    target: &Target,
    works: &mut [Work<'_>],
) -> Tested {
    let mut tested = Tested::Passed;
    for container in &target.containers {
        let Err(untested) = test(target, container).await else {
            continue;
        };
        match supplied(context, target, container, works, &untested) {
            Some(file) => tested = Tested::Waits(file),
            None => return Tested::Barred(untested),
        }
    }
    tested
}

/// Why `nginx -t` did not pass
pub(super) enum Untested {
    /// nginx refuses its configuration
    Refused {
        container: Box<Container>,
        /// Its own words, the worst first
        words: String,
        /// The certificate file that it stumbled over
        stumble: Option<Stumble>,
    },
    /// What was asked is not what runs: that was started from a directory that nobody tells
    Elsewhere {
        container: String,
        /// What is relative to that directory
        start: String,
        words: String,
    },
    /// There is no `nginx` to ask
    NoNginx { container: String, words: String },
    /// It could not be asked
    Docker(DockerError),
}

impl Untested {
    /// The failure that it is, before certd has changed anything
    pub(super) fn finding(&self) -> Finding {
        match self {
            Self::Refused {
                container,
                words,
                stumble,
            } => {
                let cure = to_mend(container, words, stumble.as_ref());
                broken(&container.name, words, "")
                    .with_cure(format!("certd changed nothing: {cure}"))
            }
            Self::NoNginx { container, words } => Finding::failure(
                "target.no_nginx",
                format!("{container} has no `nginx`:\n{words}"),
            )
            .with_cure(
                "is it the right container? test = false in [nginx] goes without `nginx -t`",
            ),
            Self::Elsewhere {
                container,
                start,
                words,
            } => {
                let evidence = format!("{}:\n{words}", not_what_runs(container, start));
                Finding::failure("target.relative_start", evidence).with_cure(ABSOLUTE)
            }
            Self::Docker(error) => Finding::from_error(error),
        }
    }

    /// The warning where nothing is due
    fn looms(&self) -> Finding {
        let finding = match self {
            Self::Refused {
                container,
                words,
                stumble,
            } => {
                let name = &container.name;
                let cure = to_mend(container, words, stumble.as_ref());
                broken(name, words, "").with_cure(format!(
                    "{cure}\nUntil then {name} goes on with what it has loaded, could not start again, and no renewal can be deployed"
                ))
            }
            _ => self.finding(),
        };
        finding.at_most(Severity::Warning)
    }

    /// The failure of a domain whose new generation waits until it passes
    pub(super) fn puts_off(&self) -> Finding {
        let Self::Refused {
            container,
            words,
            stumble,
        } = self
        else {
            return self.finding();
        };
        let name = &container.name;
        let cure = to_mend(container, words, stumble.as_ref());
        let evidence = "the new certificate is issued, and waits: ";
        broken(name, words, evidence).with_cure(format!(
            "{cure}\n{AFTER_A_CHANGE}. Until then {name} goes on with what it has loaded, and could not start again"
        ))
    }
}

/// Asks a container's nginx whether it accepts its configuration
pub(super) async fn test(target: &Target, container: &Container) -> Result<(), Untested> {
    let command = nginx_command(container, &["-t"]);
    let executed = target
        .engine
        .exec(container, &command)
        .await
        .map_err(Untested::Docker)?;
    if executed.status == 0 {
        return Ok(());
    }
    let said = format!("{}\n{}", executed.stderr, executed.stdout);
    let is_missing = matches!(executed.status, 126 | 127);
    let container_name = || container.name.clone();
    let start = relative_start(container);
    if let Some(start) = start.filter(|start| is_missing || said.contains(start.as_str())) {
        return Err(Untested::Elsewhere {
            container: container_name(),
            start,
            words: one_line(&said),
        });
    }
    if is_missing {
        return Err(Untested::NoNginx {
            container: container_name(),
            words: one_line(&said),
        });
    }
    let words = match complaints(&said) {
        // A process that was killed says nothing.
        none if none.is_empty() => format!("(no words, exit status {})", executed.status),
        words => words,
    };
    Err(Untested::Refused {
        container: Box::new(container.clone()),
        words,
        stumble: stumble(&said),
    })
}

/// The file that nginx stumbles over, if this run will put a good one in its place
///
/// One that is missing is supplied by any deployment, a damaged one by an order. One that nginx
/// may not read would be as unreadable afterwards.
fn supplied(
    context: &Context<'_>,
    target: &Target,
    container: &Container,
    works: &mut [Work<'_>],
    untested: &Untested,
) -> Option<PathBuf> {
    let Untested::Refused {
        stumble: Some(stumble),
        ..
    } = untested
    else {
        return None;
    };
    let lives = target.lives_in(context, container);
    let goal = mount::goal(container, &stumble.path);
    let is_own = |name| is_or_leads_to_file_of(&lives, name, &stumble.path, &goal);
    let mends = |work: &Work<'_>| match stumble.reason {
        Reason::Missing => true,
        Reason::Other => matches!(work.plan, Plan::Order { .. }),
        Reason::Forbidden => false,
    };
    open(target, works)
        .any(|work| is_own(work.name()) && mends(work))
        .then(|| stumble.path.clone())
}

fn broken(container: &str, words: &str, before: &str) -> Finding {
    let evidence =
        format!("{before}nginx in {container} cannot load its current configuration:\n{words}");
    Finding::failure(BROKEN, evidence)
}

/// That nginx in a container was not started from where certd's commands start
pub(in crate::pipeline) fn not_what_runs(container: &str, start: &str) -> String {
    let start = one_line(start);
    format!(
        "nginx in {container} was started with `{start}` from a directory that certd cannot see, so that what certd runs is not what runs there"
    )
}

/// Who may not read what, and what helps
pub(super) fn may_not_read(container: &Container, what: &str) -> String {
    let Some(User { uid, gid, .. }) = user_of_master(container) else {
        return format!(
            "nginx's user may not read {what}: set `key_group` to its group in domains.toml"
        );
    };
    format!(
        "nginx's master in {} runs as user {uid} with group {gid}, and may not read {what}: set `key_group = \"{gid}\"` in domains.toml, or make that user the owner of the storage",
        container.name
    )
}

/// How the first of nginx's complaints is met
fn to_mend(container: &Container, words: &str, stumble: Option<&Stumble>) -> String {
    let name = &container.name;
    let mut until = format!("until this passes:\n    {}", by_hand(container, &["-t"]));
    let first = words.lines().next().unwrap_or_default();
    for more in [whereabouts(container, first), doubt_in_words(container)] {
        until.extend(more.iter().flat_map(|more| ["\n", more]));
    }
    match (stumble, unresolved(first), place(first)) {
        (
            Some(Stumble {
                path,
                reason: Reason::Forbidden,
            }),
            ..,
        ) => may_not_read(container, &words::path(path)),
        (_, Some(host), Some(place)) => format!(
            "{place} names {}, which has no address in {name}: start what it names, or take it out, {until}",
            one_line(host)
        ),
        (_, None, Some(place)) => format!("mend {place} {until}"),
        _ => format!("mend the configuration {until}"),
    }
}

/// What helps where nginx was started from a directory that nobody tells
pub(in crate::pipeline) const ABSOLUTE: &str = "start nginx by an absolute path, with absolute paths in -p and -c; test = false in [nginx] goes without its test";
const PASSED: &str = "nginx -t passed";
/// The code of a configuration that is broken already
pub(super) const BROKEN: &str = "target.config_broken";
