//! A container that does not run: what its log says of it, and where nginx waits for its first
//! certificate the way out.
//!
//! nginx ends at a certificate that is not there, and while it is down nobody answers the CA's
//! challenge. A placeholder lets it start, with all its other sites, until the first certificate takes its
//! place, and nothing of its configuration is touched.

use std::path::{Path, PathBuf};

use super::configured::live_of;
use super::target::is_file_of;
use crate::config::Domain;
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

mod missed;

/// What certd can supply to a container
pub(in crate::pipeline) struct Supply<'s> {
    pub(in crate::pipeline) store: &'s Store,
    /// The domains that its nginx serves
    domains: Vec<&'s DnsName>,
    /// Their aliases, each with its domain
    aliases: Vec<(&'s DnsName, &'s DnsName)>,
}

impl<'s> Supply<'s> {
    /// What a store supplies for the domains that are served there
    pub(in crate::pipeline) fn new(store: &'s Store, domains: &[&'s Domain]) -> Self {
        let aliases = domains.iter().flat_map(|domain| {
            let aliases = domain.names().skip(1);
            aliases.map(|alias| (alias, &domain.name))
        });
        Self {
            store,
            domains: domains.iter().map(|domain| &domain.name).collect(),
            aliases: aliases.collect(),
        }
    }
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
        && let Some(missed) = supply.missed(&container, path)
    {
        return missed.finding(supply, &container, line);
    }
    let cure = stumble.and_then(|stumble| match stumble.reason {
        Reason::Forbidden => supply?.to_be_read(&container, &stumble.path),
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
    /// What to do where nginx may not read a file of one of the domains; `None` for any other file
    ///
    /// `obtain` gives `key_group` to keys before it looks at the container.
    fn to_be_read(&self, container: &Container, path: &Path) -> Option<String> {
        let lives = self.lives_in(container);
        let mut domains = self.domains.iter();
        let name = domains.find(|name| is_file_of(&lives, name, path))?;
        let web = &container.name;
        Some(format!(
            "nginx's master may not read {}. In domains.toml set `key_group` to a group that it is in; certd gives the key to that group also while {web} is down. Then:\n    certd obtain {name}\n    docker start {web}\n    certd obtain {name}",
            words::path(path)
        ))
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
    ///
    /// `first` comes before all of them; `name` is proven at the end, whatever else is.
    fn steps(&self, container: &Container, first: Option<String>, name: &DnsName) -> String {
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
        let mut steps: Vec<String> = first.into_iter().collect();
        if !issued.is_empty() {
            steps.push(format!(
                "make live what is issued already:\n    certd obtain {} --no-deploy",
                names(&issued)
            ));
        }
        if !lacking.is_empty() {
            steps.push(format!(
                "put a placeholder where nginx looks:\n{}",
                placeholder(&self.directories(&lacking))
            ));
        }
        steps.push(format!("{START}:\n{}", start(container)));
        let what = if lacking.is_empty() { PROVE } else { REPLACE };
        let mut all: Vec<&DnsName> = issued.into_iter().chain(lacking).collect();
        if !all.contains(&name) {
            all.push(name);
        }
        steps.push(format!("{what}:\n    certd obtain {}", names(&all)));
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

/// The step that starts nginx
const START: &str = "start nginx, which names the first file that it misses, and no other. If this shows a line of its log, another is missing, of no domain here: put it there, or take the block out of nginx's configuration that names it, and do this step again before the next";
/// The last step, where certificates are there
const PROVE: &str = "let certd prove it";
/// The last step, where placeholders are
const REPLACE: &str = "have certd replace each placeholder with a certificate, and prove it. A name that cannot be ordered yet keeps its placeholder, with which nginx starts and reloads; mend what is told of it, and do this step again";
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
            mounts: [
                ("/srv/certificates", "/etc/letsencrypt"),
                ("/srv/nginx", "/etc/nginx"),
            ]
            .map(|(source, destination)| Mount {
                source: source.into(),
                destination: destination.into(),
            })
            .into(),
            ..Container::default()
        };
        let names = ["shop.test", "blog.test"].map(|name| DnsName::parse(name).unwrap());
        let alias = DnsName::parse("www.shop.test").unwrap();
        let store = Store::for_reading(Path::new("/srv/certificates"), Path::new("/srv/state"));
        let supply = Supply {
            store: &store,
            domains: names.iter().collect(),
            aliases: vec![(&alias, &names[0])],
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
3. have certd replace each placeholder with a certificate, and prove it. A name that cannot be ordered yet keeps its placeholder, with which nginx starts and reloads; mend what is told of it, and do this step again:
    certd obtain shop.test blog.test"#;
        assert_eq!(finding.cure.as_deref(), Some(expected));
    }

    #[test]
    fn a_directory_of_an_alias_is_to_be_its_domains() {
        let finding = judged(&missing(
            "/etc/letsencrypt/live/www.shop.test/fullchain.pem",
        ));
        assert_eq!(finding.code, "target.first_certificate");
        assert_eq!(
            finding.evidence,
            "the container web is restarting: nginx cannot start without /etc/letsencrypt/live/www.shop.test/fullchain.pem, which never comes: www.shop.test is an alias of shop.test, whose certificate is for both"
        );
        let cure = finding.cure.unwrap_or_default();
        let begin = "while nginx is down, nobody answers the CA. In this order, on this host:
1. in nginx's configuration write /etc/letsencrypt/live/shop.test/ for /etc/letsencrypt/live/www.shop.test/ wherever it stands. This shows the lines:
    grep -rnF /etc/letsencrypt/live/www.shop.test/ /srv/nginx
2. put a placeholder where nginx looks:
    for at in /srv/certificates/live/shop.test /srv/certificates/live/blog.test; do
";
        assert!(cure.starts_with(begin), "{cure}");
        assert!(
            cure.ends_with("    certd obtain shop.test blog.test"),
            "{cure}"
        );
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
