//! Telling nginx to read its files again: whether that is safe, how it is done, and whether the
//! container outlives it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;

use super::prove::can_go_back;
use super::target::{Target, is_file_of, open};
use super::words;
use crate::config::{ConfigTest, Reload};
use crate::crash;
use crate::facts::{Container, Restart};
use crate::finding::{Finding, excerpt, one_line, words as strangers};
use crate::input;
use crate::name::DnsName;
use crate::pipeline::{Context, Work};
use crate::report::{Stage, StageResult};
use crate::target::container::{Ended, Told};
use crate::target::mount::{self, Lies};
use crate::target::process::{Receiver, receiver};
use crate::target::words::{self as words_of_nginx, Reason, Stumble};

/// Says before an order what a signal would do to the containers
///
/// One that cannot be told at all fails the domain here: its certificate would never be served.
pub(super) fn foresee(target: &Target, work: &mut Work<'_>, begun: Instant) {
    if target.nginx.reload != Reload::Signal {
        return;
    }
    let test = target.nginx.test;
    for container in &target.containers {
        match receiver(container) {
            Receiver::Nginx => work.findings.extend(is_forgotten(container, test)),
            Receiver::Other(_) | Receiver::Unknown if test == ConfigTest::Skip => {
                return work.fail_with(Stage::Target, begun, cannot_be_told(container));
            }
            Receiver::Other(command) => work.findings.push(no_signal(container, command)),
            Receiver::Unknown => {}
        }
    }
}

/// After a signal through its API the engine does not start a container again (moby/moby#41302)
fn is_forgotten(container: &Container, test: ConfigTest) -> Option<Finding> {
    let name = &container.name;
    let (policy, when) = match container.restart {
        Restart::Seldom => return None,
        Restart::UnlessStopped => ("unless-stopped", "after a crash, or when the host restarts"),
        Restart::Always => ("always", "after a crash"),
    };
    let evidence = format!(
        "once it gets a signal through its API, Docker takes {name} for stopped by hand: in spite of `restart: {policy}` it does not start it again {when}"
    );
    let cure = match test {
        ConfigTest::Run => {
            "remove `reload = \"signal\"` from [nginx]: certd then runs `nginx -s reload` in the container"
        }
        ConfigTest::Skip => {
            "let certd run commands in the container, and set reload = \"exec\" in [nginx]"
        }
    };
    Some(Finding::warning("target.restart_forgotten", evidence).with_cure(cure))
}

fn no_signal(container: &Container, command: &str) -> Finding {
    let evidence = format!(
        "the main process of {} is not nginx, and HUP may end it: {}",
        container.name,
        excerpt(command, MOST_OF_COMMAND)
    );
    Finding::warning("target.no_signal", evidence).with_cure(
        "remove `reload = \"signal\"` from [nginx]: certd runs `nginx -s reload` there in any case",
    )
}

fn cannot_be_told(container: &Container) -> Finding {
    let name = &container.name;
    let seen = match receiver(container) {
        Receiver::Other(command) => format!(
            "its main process is not nginx, and HUP may end it: {}",
            excerpt(command, MOST_OF_COMMAND)
        ),
        Receiver::Nginx | Receiver::Unknown => {
            "the engine does not tell what runs in it (GET containers/ID/top)".to_owned()
        }
    };
    let evidence = format!("no signal is sent to {name}: {seen}");
    Finding::failure("target.no_signal", evidence).with_cure(
        "let certd run commands in the container (without `test = false`), or set reload = \"restart\" in [nginx]",
    )
}

/// Tells every container to reload, once; `false` where one could not be told
pub(super) async fn reload(
    context: &Context<'_>,
    target: &mut Target,
    works: &mut [Work<'_>],
) -> bool {
    let begun = Instant::now();
    target.reloaded = Some(context.now());
    for work in open(target, works) {
        work.begin(Stage::Reload);
    }
    match reload_containers(target).await {
        Ok(told) => {
            target.note(Stage::Reload, begun, StageResult::Done, how(told));
            true
        }
        Err(finding) => {
            let cure = finding.cure.clone();
            let cure = cure.unwrap_or_else(|| words::AGAIN.to_owned());
            let finding = finding.with_cure(cure);
            target.note(
                Stage::Reload,
                begun,
                StageResult::Failed,
                finding.evidence.clone(),
            );
            for work in open(target, works) {
                work.fail_with(Stage::Reload, begun, finding.clone());
            }
            false
        }
    }
}

/// Tells every container, even if one cannot be told; gives how the last was, or the first failure
pub(super) async fn reload_containers(target: &mut Target) -> Result<Told, Finding> {
    target.dumps.forget();
    let mut failure = None;
    let mut last = Told::ByExec;
    for container in &target.containers {
        let told = target.engine.reload(container, target.nginx.reload).await;
        crash::point("reloaded", &container.name);
        match told {
            Ok(told) => last = told,
            Err(error) => failure = failure.or_else(|| Some(Finding::from_error(&error))),
        }
    }
    target.told = Some(last);
    if target.nginx.reload == Reload::Restart {
        let begun = Instant::now();
        for Ended { name, state, .. } in target.engine.refresh(&mut target.containers).await {
            let detail =
                format!("{name} is {state} after the restart: docker logs --tail 20 {name}");
            target.note(Stage::Reload, begun, StageResult::Failed, detail);
        }
    }
    failure.map_or(Ok(last), Err)
}

/// What the containers, and nginx to a file of its own, have written since the reload
pub(super) async fn logs(context: &Context<'_>, target: &Target) -> Logs {
    let mut logs = Vec::new();
    if let Some(since) = target.reloaded {
        for container in &target.containers {
            let mut text = target.engine.log_since(container, since).await;
            let file = error_log(target, container).await;
            if let Some(ErrorLog::OnHost(path)) = &file {
                text.push('\n');
                text.push_str(&written_since(path, since));
            }
            logs.push(Log {
                container: container.name.clone(),
                lives: target.lives_in(context, container),
                text,
                file,
            });
        }
    }
    Logs(logs)
}

/// The file to which nginx writes what it cannot load; `None` where it names none
async fn error_log(target: &Target, container: &Container) -> Option<ErrorLog> {
    let dump = target.dumps.of(&target.engine, container).await?;
    let path = dump.configuration.as_ref().ok()?.error_log.clone()?;
    Some(match mount::lies(container, &path) {
        Lies::OnMount(mount) => match path.strip_prefix(&mount.destination) {
            Ok(rest) => ErrorLog::OnHost(mount.source.join(rest)),
            Err(_) => ErrorLog::InContainer(path),
        },
        Lies::InContainer => ErrorLog::InContainer(path),
    })
}

/// What was written to a log since the reload; nothing where it cannot be read
fn written_since(path: &Path, since: Timestamp) -> String {
    let Ok((bytes, written)) = input::tail(path, MOST_OF_LOG) else {
        return String::new();
    };
    match Timestamp::try_from(written) {
        Ok(written) => words_of_nginx::since(&String::from_utf8_lossy(&bytes), written, since),
        Err(_) => String::new(),
    }
}

/// What containers have written since the reload
#[derive(Default)]
pub(super) struct Logs(Vec<Log>);

struct Log {
    /// Name of the container
    container: String,
    /// Where it sees `live/`
    lives: Vec<PathBuf>,
    text: String,
    /// Where else nginx writes
    file: Option<ErrorLog>,
}

/// A file to which nginx writes its errors
enum ErrorLog {
    /// By its path on the host
    OnHost(PathBuf),
    /// By its path in the container
    InContainer(PathBuf),
}

impl Logs {
    /// Why nginx does not serve the certificate of a domain, in its own words
    pub(super) fn trouble(&self, name: &DnsName) -> Option<Trouble> {
        let mut logs = self.0.iter();
        logs.find_map(|log| {
            let is_own = |path: &Path| is_file_of(&log.lives, name, path);
            let line = words_of_nginx::trouble(&log.text, is_own)?;
            let stumble = words_of_nginx::stumble(line);
            let blame = match stumble.filter(|stumble| is_own(&stumble.path)) {
                Some(_) if line.contains("[emerg]") => Blame::Certificate,
                Some(_) | None => Blame::Unknown,
            };
            Some(Trouble {
                container: log.container.clone(),
                line: one_line(line),
                blame,
            })
        })
    }

    /// The finding with where else nginx may have written what it says
    ///
    /// A file that is a link to the process's own stream, as in many images, is in the container's log.
    pub(super) fn elsewhere(&self, finding: Finding) -> Finding {
        let told = finding.cure.as_ref().and_then(|cure| {
            let mut logs = self.0.iter();
            let log = logs.find(|log| cure.contains(&docker_logs(&log.container)))?;
            let command = docker_logs(&log.container);
            let file = match &log.file {
                Some(ErrorLog::OnHost(path)) => Some(strangers::path(path)),
                Some(ErrorLog::InContainer(path)) => {
                    Some(format!("{} in {}", strangers::path(path), log.container))
                }
                None => None,
            };
            match (log.text.trim().is_empty(), file) {
                (true, Some(file)) => Some(cure.replace(&command, &format!(" {file}"))),
                (true, None) => Some(format!(
                    "{cure}\n{OTHER_LOG} the file that nginx's `error_log` names"
                )),
                (false, Some(file)) => Some(format!("{cure}\n{OTHER_LOG} {file}")),
                (false, None) => None,
            }
        });
        match told {
            Some(cure) => finding.with_cure(cure),
            None => finding,
        }
    }
}

/// How a cure has a container's log read
fn docker_logs(container: &str) -> String {
    format!("\n{INDENT}{DOCKER_LOGS} {container}")
}

/// What nginx wrote to its log since the reload
pub(super) struct Trouble {
    container: String,
    line: String,
    blame: Blame,
}

/// What keeps nginx from loading its configuration
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The files of the domain's own live generation
    Certificate,
    /// Anything else, or nothing
    Unknown,
}

impl Trouble {
    /// Whether nginx loads nothing at all because of the domain's own files
    pub(super) fn is_of_the_certificate(&self) -> bool {
        self.blame == Blame::Certificate
    }

    /// Whether it says that nginx has loaded nothing
    pub(super) fn is_of_loading(&self) -> bool {
        self.line.contains("[emerg]")
    }

    /// The finding with nginx's own words, and what they call for
    pub(super) fn explain(&self, finding: Finding) -> Finding {
        let Self {
            container, line, ..
        } = self;
        let evidence = format!(
            "{}\n{container} wrote since the reload:\n{line}",
            finding.evidence
        );
        // The master reads what the configuration names itself, and its workers what depends on a name.
        let who = match line.contains("[emerg]") {
            true => ("master reads", " when it loads its configuration", "its"),
            false => ("workers read", " for each connection", "their"),
        };
        let key = match words_of_nginx::stumble(line) {
            Some(Stumble {
                path,
                reason: Reason::Forbidden,
            }) => Some(format!(
                "nginx's {} {}{}, and may not: set `key_group` to {} group in domains.toml, {}",
                who.0,
                strangers::path(&path),
                who.1,
                who.2,
                words::AFTER_A_CHANGE
            )),
            _ => None,
        };
        // Lines to change say more than the log, which may speak of something else; that the log is to
        // be read says nothing more.
        let shows_lines = |cure: &&String| {
            let mut lines = cure.lines().filter_map(|line| line.strip_prefix(INDENT));
            lines.any(|line| !line.starts_with(DOCKER_LOGS))
        };
        let lines = finding.cure.as_ref().filter(shows_lines);
        let cure = match (lines, key) {
            (Some(lines), Some(_)) if lines.contains("key_group") => lines.clone(),
            (Some(lines), Some(key)) => format!("{lines}\n{key}"),
            (Some(lines), None) => lines.clone(),
            (None, Some(key)) => key,
            (None, None) => words::AGAIN.to_owned(),
        };
        Finding {
            evidence,
            ..finding
        }
        .with_cure(cure)
    }
}

fn how(told: Told) -> &'static str {
    match told {
        Told::BySignal => "HUP sent",
        Told::ByExec => "nginx -s reload",
        Told::Restarted => "restarted",
    }
}

/// Ends what waits for containers that have ended since the reload; `false` where none has
///
/// Nothing goes back: what does not run serves no generation, and the new one has passed nginx's
/// test. A restart is another matter: a second one, with the previous generation, may succeed, and
/// only what has no other generation ends here.
pub(super) fn is_over(
    target: &Target,
    works: &mut [Work<'_>],
    ended: &[Ended],
    begun: Instant,
) -> bool {
    let Some(first) = ended.first() else {
        return false;
    };
    let finding = has_ended(first, target.told);
    let mut is_over = true;
    for member in &target.members {
        let work = &mut works[*member];
        if target.nginx.reload == Reload::Restart && can_go_back(work) {
            is_over = false;
        } else if work.is_open() || work.is_confirmed() {
            work.fail_with(Stage::Proof, begun, finding.clone());
        }
    }
    is_over
}

/// The failure of what a container served that has ended since it was told
pub(super) fn has_ended(ended: &Ended, told: Option<Told>) -> Finding {
    let Ended {
        name,
        state,
        exit_code,
    } = ended;
    let since = match told {
        Some(Told::BySignal) => "since it got HUP",
        Some(Told::Restarted) => "since its restart",
        Some(Told::ByExec) | None => "since `nginx -s reload`",
    };
    let evidence = format!("the container {name} is {state} {since} (exit status {exit_code})");
    let before = match told {
        Some(Told::BySignal) => "remove `reload = \"signal\"` from [nginx], and ",
        Some(Told::ByExec | Told::Restarted) | None => "",
    };
    Finding::failure("target.ended", evidence).with_cure(format!(
        "{before}start the container:\n    docker start {name}\nthen run `certd obtain` again: it deploys without an order. Why it ended:\n    docker logs --tail 20 {name}"
    ))
}

const OTHER_LOG: &str = "If nothing stands there, see";
/// How lines to copy begin in a cure
const INDENT: &str = "    ";
const DOCKER_LOGS: &str = "docker logs --tail 20";
/// Bytes of a log that are read
const MOST_OF_LOG: u64 = 64 * input::KIB;
/// Characters of a command line that are shown
const MOST_OF_COMMAND: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_docker_has_no_log_the_file_is_named() {
        #[track_caller]
        fn check(text: &str, file: Option<ErrorLog>, expected: &str) {
            let logs = Logs(vec![Log {
                container: "web".to_owned(),
                lives: Vec::new(),
                text: text.to_owned(),
                file,
            }]);
            let finding = Finding::failure("proof.no_tls", "seen");
            let told = logs.elsewhere(finding.with_cure("see\n    docker logs --tail 20 web"));
            assert_eq!(told.cure.as_deref(), Some(expected));
        }
        const DOCKER: &str = "see\n    docker logs --tail 20 web";
        let inside = || Some(ErrorLog::InContainer("/logs/error.log".into()));
        check(" \n", inside(), "see /logs/error.log in web");
        check(
            "",
            Some(ErrorLog::OnHost("/srv/error.log".into())),
            "see /srv/error.log",
        );
        let other = "If nothing stands there, see the file that nginx's `error_log` names";
        check("", None, &format!("{DOCKER}\n{other}"));
        let other = "If nothing stands there, see /logs/error.log in web";
        check("[notice] x", inside(), &format!("{DOCKER}\n{other}"));
        check("[notice] x", None, DOCKER);
    }

    #[test]
    fn lines_to_change_stay_beside_the_words_of_nginx() {
        #[track_caller]
        fn check(line: &str, cure: Option<&str>, expected: &str) {
            let trouble = Trouble {
                container: "web".to_owned(),
                line: line.to_owned(),
                blame: Blame::Unknown,
            };
            let finding = Finding {
                cure: cure.map(str::to_owned),
                ..Finding::failure("proof.no_tls", "seen")
            };
            let told = trouble.explain(finding);
            assert!(told.evidence.ends_with(line), "{}", told.evidence);
            assert_eq!(told.cure.as_deref(), Some(expected));
        }
        const BIND: &str = "[emerg] 1#1: bind() to 0.0.0.0:443 failed";
        const KEY: &str =
            "[error] 7#7: cannot load certificate key \"/k\": fopen: Permission denied";
        const LINES: &str =
            "change line 3 to\n    ssl_certificate /x;\nthen run `certd obtain` again";
        const GROUP: &str = "nginx's workers read /k for each connection, and may not: set `key_group` to their group in domains.toml, then run `certd obtain` again; it deploys without an order";
        check(BIND, Some(LINES), LINES);
        check(BIND, Some("is it open?"), words::AGAIN);
        check(BIND, None, words::AGAIN);
        check(
            BIND,
            Some("see\n    docker logs --tail 20 web"),
            words::AGAIN,
        );
        check(KEY, Some("is it open?"), GROUP);
        check(KEY, Some(LINES), &format!("{LINES}\n{GROUP}"));
    }
}
