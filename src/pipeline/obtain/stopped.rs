//! A container that does not run: what its log says of it, and where nginx waits for its first
//! certificate the way out.
//!
//! nginx ends at a certificate that is not there, and while it is down nobody answers the CA's
//! challenge. A placeholder that it reads once lets it start, with all its other sites, and nothing
//! of its configuration is touched.

use std::path::{Path, PathBuf};

use super::configured::live_of;
use super::target::is_file_of;
use crate::facts::Container;
use crate::finding::words::quoted;
use crate::finding::{Finding, one_line, words};
use crate::name::DnsName;
use crate::store::Store;
use crate::store::placeholder::PLACEHOLDER;
use crate::target::container::{DockerError, Engine};
use crate::target::mount;
use crate::target::process::by_hand;
use crate::target::words::{Reason, Stumble, last_words, stumble};

/// What certd can supply to a container
pub(in crate::pipeline) struct Supply<'s> {
    pub(in crate::pipeline) store: &'s Store,
    /// The domains that its nginx serves
    pub(in crate::pipeline) domains: Vec<&'s DnsName>,
}

/// Why a container does not run, and what to do
pub(in crate::pipeline) async fn explain(
    engine: &Engine,
    container: Box<Container>,
    supply: Option<&Supply<'_>>,
) -> Finding {
    let log = match ENDED.contains(&container.state.as_str()) {
        true => engine.errors_of_last_run(&container).await,
        // It was stopped on purpose, or never started.
        false => String::new(),
    };
    judge(container, &log, supply)
}

fn judge(container: Box<Container>, log: &str, supply: Option<&Supply<'_>>) -> Finding {
    if !container.last_run.tells_why_it_ended() {
        return ended(
            container,
            log.lines().rev().find(|line| !line.trim().is_empty()),
        );
    }
    let Some(line) = last_words(log) else {
        return Finding::from_error(&DockerError::NotRunning { container });
    };
    let stumble = stumble(line);
    if let Some((supply, Stumble { path, reason })) = supply.zip(stumble.as_ref())
        && *reason == Reason::Missing
        && let Some(name) = supply.supplier(&container, path)
    {
        let Container {
            name: web, state, ..
        } = &*container;
        let evidence = format!(
            "the container {web} is {state}: nginx cannot start without {}, the first certificate of {name}, which certd supplies",
            words::path(path)
        );
        return Finding::failure("target.first_certificate", evidence)
            .with_cure(supply.steps(&container));
    }
    let cure = stumble.and_then(|stumble| match stumble.reason {
        Reason::Forbidden => supply?.to_be_read(&container, &stumble),
        Reason::Missing => Some(to_be_there(&container, &stumble.path)),
        Reason::Other => None,
    });
    let finding = Finding::from_error(&DockerError::NotRunning { container });
    Finding {
        evidence: format!("{}; its last words:\n{}", finding.evidence, one_line(line)),
        cure: cure.or(finding.cure),
        ..finding
    }
}

/// A container whose log does not tell what ended it: a visitor may have written the line
fn ended(container: Box<Container>, last: Option<&str>) -> Finding {
    let finding = Finding::from_error(&DockerError::NotRunning { container });
    match last {
        None => finding,
        Some(line) => Finding {
            evidence: format!(
                "{}; the last line of its log:\n{}",
                finding.evidence,
                one_line(line)
            ),
            ..finding
        },
    }
}

impl Supply<'_> {
    /// The domain without a live certificate that a file belongs to, as the container sees it
    fn supplier(&self, container: &Container, path: &Path) -> Option<&DnsName> {
        let lives = self.lives_in(container);
        let mut domains = self.lacking();
        domains.find(|name| is_file_of(&lives, name, path))
    }

    /// What to do where nginx may not read a file of one of the domains; `None` for any other file
    ///
    /// `obtain` gives `key_group` to keys before it looks at the container.
    fn to_be_read(&self, container: &Container, stumble: &Stumble) -> Option<String> {
        let Stumble { path, reason } = stumble;
        let lives = self.lives_in(container);
        let mut domains = self.domains.iter();
        let name = domains.find(|name| is_file_of(&lives, name, path))?;
        let web = &container.name;
        (*reason == Reason::Forbidden).then(|| {
            format!(
                "nginx's master may not read {}. In domains.toml set `key_group` to a group that it is in; certd gives the key to that group also while {web} is down. Then:\n    certd obtain {name}\n    docker start {web}\n    certd obtain {name}",
                words::path(path)
            )
        })
    }

    /// The directory `live/` as a container sees it
    fn lives_in(&self, container: &Container) -> Vec<PathBuf> {
        mount::in_container(container, &live_of(self.store.storage()))
    }

    /// The domains that have nothing in the place of a live certificate
    ///
    /// nginx names the first file that it misses, and would stumble over the next one then.
    fn lacking(&self) -> impl Iterator<Item = &DnsName> {
        let domains = self.domains.iter().copied();
        domains.filter(|name| self.store.live_link(name).symlink_metadata().is_err())
    }

    /// The way out, each step of which leaves nginx no worse
    fn steps(&self, container: &Container) -> String {
        let has_one = |name: &DnsName| {
            let generations = self.store.generations(name).unwrap_or_default();
            let newest = generations.last();
            newest.is_some_and(|newest| self.store.certificate(name, *newest).is_ok())
        };
        let (issued, lacking): (Vec<&DnsName>, Vec<&DnsName>) =
            self.lacking().partition(|name| has_one(name));
        let names = |names: &[&DnsName]| {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            names.join(" ")
        };
        let mut steps = Vec::new();
        if !issued.is_empty() {
            steps.push(format!(
                "make live what is issued already:\n    certd obtain {} --no-deploy",
                names(&issued)
            ));
        }
        let directories = self.directories(&lacking);
        if !lacking.is_empty() {
            steps.push(format!(
                "put a placeholder where nginx looks:\n{}",
                placeholder(&directories)
            ));
        }
        steps.push(format!(
            "start nginx, which names the first file that it misses, and no other. If this shows a line of its log, another is missing, of no domain here: put it there, or take the block out of nginx's configuration that names it, and do this step again before the next:\n{}",
            start(container)
        ));
        if !lacking.is_empty() {
            steps.push(format!(
                "remove the placeholder, which nginx has read by now:\n    rm -r {directories}"
            ));
        }
        let all: Vec<&DnsName> = issued.into_iter().chain(lacking).collect();
        steps.push(format!(
            "let certd supply it, and prove it:\n    certd obtain {}",
            names(&all)
        ));
        let steps = steps.iter().zip(1..);
        let steps: Vec<String> = steps
            .map(|(step, number)| format!("{number}. {step}"))
            .collect();
        format!(
            "while nginx is down, nobody answers the CA. In this order, on this host:\n{}",
            steps.join("\n")
        )
    }

    /// The live directories of these domains, as a shell takes them
    fn directories(&self, names: &[&DnsName]) -> String {
        let directories = names.iter().map(|name| self.store.live_link(name));
        let directories: Vec<String> = directories.map(|at| quoted(&words::path(&at))).collect();
        directories.join(" ")
    }
}

/// What to do about a file that no domain supplies
fn to_be_there(container: &Container, path: &Path) -> String {
    format!(
        "nginx cannot start without {}, and no domain here lacks it: put it there, or take the block out of nginx's configuration that names it. It names one missing file at a time; this shows the next, if there is one:\n{}",
        words::path(path),
        start(container)
    )
}

/// What starts nginx, and waits until it runs or says in its log why it does not
///
/// Of what it said before, nothing counts.
fn start(container: &Container) -> String {
    let Container { name, .. } = container;
    format!(
        "    docker stop {name}; sleep 1; at=$(date +%s); docker start {name}
    until {}; do
        docker logs --since \"$at\" {name} 2>&1 | grep -F '[emerg]' && break
        sleep 1
    done",
        by_hand(container, &["-s", "reload"])
    )
}

/// What makes a certificate that nobody believes, and that lets nginx start
fn placeholder(directories: &str) -> String {
    format!(
        "    for at in {directories}; do
        mkdir -p \"$at\"
        openssl req -x509 -newkey rsa:2048 -nodes -days 7 \\
            -subj /CN={PLACEHOLDER} -keyout \"$at/privkey.pem\" \\
            -out \"$at/fullchain.pem\"
        cp \"$at/fullchain.pem\" \"$at/chain.pem\"
        chmod -R a+rX \"$at\"
    done"
    )
}

/// Words of the engine for a container whose main process has ended by itself
const ENDED: [&str; 3] = ["exited", "restarting", "dead"];

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    use crate::facts::{LastRun, Mount, Output};

    /// What is said of a container that is being started again and again
    fn judged(log: &str) -> Finding {
        judged_after(
            log,
            LastRun {
                began: Some(Timestamp::UNIX_EPOCH),
                exit_code: Some(1),
                output: Output::Streams,
            },
        )
    }

    fn judged_after(log: &str, last_run: LastRun) -> Finding {
        let container = Container {
            name: "web".to_owned(),
            state: "restarting".to_owned(),
            last_run,
            mounts: vec![Mount {
                source: "/srv/certificates".into(),
                destination: "/etc/letsencrypt".into(),
            }],
            ..Container::default()
        };
        let names = ["shop.test", "blog.test"].map(|name| DnsName::parse(name).unwrap());
        let store = Store::for_reading(Path::new("/srv/certificates"), Path::new("/srv/state"));
        let supply = Supply {
            store: &store,
            domains: names.iter().collect(),
        };
        judge(Box::new(container), log, Some(&supply))
    }

    fn missing(path: &str) -> String {
        format!(
            "nginx: [emerg] cannot load certificate \"{path}\": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen({path}, r))\n"
        )
    }

    #[test]
    fn the_steps_to_a_first_certificate_leave_nginxs_configuration_alone() {
        let finding = judged(&missing("/etc/letsencrypt/live/shop.test/fullchain.pem"));
        assert_eq!(finding.code, "target.first_certificate");
        assert_eq!(
            finding.evidence,
            "the container web is restarting: nginx cannot start without /etc/letsencrypt/live/shop.test/fullchain.pem, the first certificate of shop.test, which certd supplies"
        );
        let expected = r#"while nginx is down, nobody answers the CA. In this order, on this host:
1. put a placeholder where nginx looks:
    for at in /srv/certificates/live/shop.test /srv/certificates/live/blog.test; do
        mkdir -p "$at"
        openssl req -x509 -newkey rsa:2048 -nodes -days 7 \
            -subj /CN=placeholder -keyout "$at/privkey.pem" \
            -out "$at/fullchain.pem"
        cp "$at/fullchain.pem" "$at/chain.pem"
        chmod -R a+rX "$at"
    done
2. start nginx, which names the first file that it misses, and no other. If this shows a line of its log, another is missing, of no domain here: put it there, or take the block out of nginx's configuration that names it, and do this step again before the next:
    docker stop web; sleep 1; at=$(date +%s); docker start web
    until docker exec web nginx -s reload; do
        docker logs --since "$at" web 2>&1 | grep -F '[emerg]' && break
        sleep 1
    done
3. remove the placeholder, which nginx has read by now:
    rm -r /srv/certificates/live/shop.test /srv/certificates/live/blog.test
4. let certd supply it, and prove it:
    certd obtain shop.test blog.test"#;
        assert_eq!(finding.cure.as_deref(), Some(expected));
    }

    #[test]
    fn what_certd_does_not_supply_is_told_in_nginxs_own_words() {
        #[track_caller]
        fn check(log: &str, expected: &str) {
            let finding = judged(log);
            assert_eq!(finding.code, "target.not_running");
            assert_eq!(finding.evidence, expected);
        }
        const STATE: &str = "the container web is not running: its state is restarting";
        check("", STATE);
        let other = missing("/etc/letsencrypt/live/other.test/fullchain.pem");
        check(
            &other,
            &format!("{STATE}; its last words:\n{}", other.trim()),
        );
        let cure = judged(&other).cure.unwrap_or_default();
        let begin = "nginx cannot start without /etc/letsencrypt/live/other.test/fullchain.pem, and no domain here lacks it: ";
        assert!(cure.starts_with(begin), "{cure}");
        let unresolved = "nginx: [emerg] host not found in upstream \"app\" in /etc/nginx/a.conf:3";
        check(
            unresolved,
            &format!("{STATE}; its last words:\n{unresolved}"),
        );
    }

    #[test]
    fn a_line_that_a_visitor_may_have_written_decides_nothing() {
        let forged = missing("/etc/letsencrypt/live/shop.test/fullchain.pem");
        let failed = LastRun {
            began: Some(Timestamp::UNIX_EPOCH),
            exit_code: Some(1),
            output: Output::Streams,
        };
        assert_eq!(
            judged_after(&forged, failed).code,
            "target.first_certificate"
        );
        let by_signal = |exit_code| LastRun {
            exit_code,
            ..failed
        };
        let on_a_terminal = LastRun {
            output: Output::Terminal,
            ..failed
        };
        let of_any_run = LastRun {
            began: None,
            ..failed
        };
        for last_run in [
            by_signal(Some(0)),
            by_signal(Some(137)),
            by_signal(Some(143)),
            on_a_terminal,
            of_any_run,
        ] {
            let finding = judged_after(&forged, last_run);
            assert_eq!(finding.code, "target.not_running", "{last_run:?}");
            let quoted = format!("; the last line of its log:\n{}", forged.trim());
            assert!(finding.evidence.ends_with(&quoted), "{}", finding.evidence);
        }
    }

    #[test]
    fn a_shell_takes_a_path_as_one_word() {
        assert_eq!(quoted("/srv/a-b.test"), "/srv/a-b.test");
        assert_eq!(quoted("/srv/it's $x"), r"'/srv/it'\''s $x'");
    }
}
