//! What this host offers: directories, containers, the CA's answer and clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;

use crate::facts::{Container, DirectoryFacts, FileSystem, Writing};
use crate::finding::{Finding, Severity, words};
use crate::store::files;
use crate::time::in_words;

/// What a directory is for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Challenges
    Webroot,
    /// Certificates
    Storage,
    /// Accounts and memory
    State,
}

impl Purpose {
    /// The key in domains.toml
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webroot => "webroot",
            Self::Storage => "storage",
            Self::State => "state",
        }
    }
}

/// What is wrong with a directory, or that nothing is
///
/// `containers` are those whose nginx is to see it, as far as they are known.
pub fn directory(
    purpose: Purpose,
    facts: &DirectoryFacts,
    containers: &[Container],
) -> Vec<Finding> {
    let mut findings = access(purpose, facts, containers);
    findings.extend(room(purpose, facts));
    if findings.is_empty() {
        let evidence = format!("`{}` is writable", purpose.as_str());
        findings.push(Finding::ok("files.fit", evidence));
    }
    findings
}

/// In which directories root has the rights of their owners, and no more; `None` where in none
pub fn acting<'d>(directories: impl IntoIterator<Item = &'d DirectoryFacts>) -> Option<Finding> {
    let mut owned: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for facts in directories {
        if let Some(owner) = &facts.acts_as {
            let path = words::path(&facts.nearest);
            owned.entry(owner).or_default().insert(path);
        }
    }
    let places = owned.iter().map(|(owner, paths)| {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        format!("of {owner} in {}", paths.join(", "))
    });
    let places: Vec<String> = places.collect();
    let evidence = format!(
        "root works with the rights of the owners of its directories: {}",
        places.join("; ")
    );
    (!places.is_empty()).then(|| Finding::note("files.acting", evidence))
}

/// Whether it is there, and may be written to
fn access(purpose: Purpose, facts: &DirectoryFacts, containers: &[Container]) -> Vec<Finding> {
    let (key, path) = (purpose.as_str(), facts.path.display());
    let mut findings = Vec::new();
    let is_missing = facts.nearest != facts.path;
    if is_missing && purpose != Purpose::State {
        let evidence = format!("`{key}` {path} does not exist");
        let question = files::question(key, facts.meant.as_deref(), containers);
        let cure = format!("{question}mkdir -p {path}, and mount it into nginx's container");
        findings.push(Finding::failure("files.missing", evidence).with_cure(cure));
        return findings;
    }
    match facts.writing {
        Writing::Allowed => {}
        Writing::Forbidden => {
            let evidence = format!("`{key}` {path} cannot be written to by this user");
            findings.push(
                Finding::failure("files.forbidden", evidence)
                    .with_cure("run certd as its owner, or as root"),
            );
        }
        Writing::ReadOnly => {
            let evidence = format!("`{key}` {path} is read-only for certd, whoever runs it");
            findings.push(
                Finding::failure("files.read_only", evidence)
                    .with_cure(files::let_write(&facts.path)),
            );
        }
    }
    findings
}

/// Whether what is written to a directory has room there, and lasts
pub fn room(purpose: Purpose, facts: &DirectoryFacts) -> Vec<Finding> {
    let (key, path) = (purpose.as_str(), facts.path.display());
    let full = (facts.free_bytes < ENOUGH_BYTES).then(|| {
        let evidence = format!(
            "{} KiB are free for `{key}` {path}",
            facts.free_bytes / 1024
        );
        Finding::failure("files.full", evidence).with_cure("make room on this file system")
    });
    let fleeting = (purpose != Purpose::Webroot).then(|| lasting(purpose, facts));
    full.into_iter().chain(fleeting.flatten()).collect()
}

/// What lies in memory or in a container's layer is lost, and ordered anew at the CA's cost
fn lasting(purpose: Purpose, facts: &DirectoryFacts) -> Option<Finding> {
    let (key, path) = (purpose.as_str(), facts.path.display());
    let (place, cure) = match facts.file_system {
        FileSystem::Disk => return None,
        FileSystem::Memory => ("a tmpfs", "choose a directory on a disk"),
        FileSystem::ContainerLayer => (
            "a container's own layer",
            "mount a volume there: what is lost must be ordered again, at the CA's cost",
        ),
    };
    let evidence = format!("`{key}` {path} lies on {place} and is lost with it");
    Some(Finding::warning("files.fleeting", evidence).with_cure(cure))
}

/// What the health check of a container says
pub fn container(container: &Container) -> Option<Finding> {
    let health = container.health.as_deref()?;
    let evidence = format!("{} is {health}", container.name);
    match health {
        "healthy" => None,
        "starting" => Some(Finding::note("docker.starting", evidence)),
        _ => Some(
            Finding::warning("docker.unhealthy", evidence).with_cure(format!(
                "docker inspect --format '{{{{json .State.Health}}}}' {}",
                container.name
            )),
        ),
    }
}

/// How far this host's clock is from the CA's
///
/// `ahead` is negative where this host is behind.
pub fn clock(ahead: SignedDuration) -> Option<Finding> {
    let off = ahead.unsigned_abs();
    if off < NOTICEABLE {
        return None;
    }
    let direction = match ahead.is_negative() {
        true => "behind",
        false => "ahead of",
    };
    let evidence = format!(
        "this host's clock is {} {direction} the CA's",
        in_words(ahead)
    );
    let harmful = match ahead.is_negative() {
        true => HARMFUL_BEHIND,
        false => DECISIVE,
    };
    let finding = match off >= harmful {
        true => Finding::failure("ca.clock", evidence),
        false => Finding::warning("ca.clock", evidence),
    };
    Some(finding.with_cure("let the clock be set by NTP: `timedatectl set-ntp true`"))
}

/// The same for a run that decides what is due: a failure from the point on at which all that it
/// decides is wrong, not only an order
pub fn clock_of_run(ahead: SignedDuration) -> Option<Finding> {
    let off = ahead.unsigned_abs();
    let severity = match () {
        () if off < DOUBTFUL => return None,
        () if off < DECISIVE => Severity::Warning,
        () => Severity::Failure,
    };
    clock(ahead).map(|finding| Finding {
        severity,
        ..finding
    })
}

/// Room for a few generations
const ENOUGH_BYTES: u64 = 1024 * 1024;
/// A clock that is off by this much is not set by anyone
const NOTICEABLE: Duration = Duration::from_secs(60);
/// New certificates are backdated by an hour: to a clock behind that they seem not valid yet
const HARMFUL_BEHIND: Duration = Duration::from_secs(50 * 60);
/// Beyond that a decision may depend on the clock: whether it does is looked at
const DOUBTFUL: Duration = Duration::from_secs(3_600);
/// A day is a seventh of the shortest life of a certificate: nothing can be decided by such a clock
const DECISIVE: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn found(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
        findings
            .iter()
            .map(|finding| (finding.code, finding.severity))
            .collect()
    }

    fn good() -> DirectoryFacts {
        DirectoryFacts {
            meant: None,
            path: "/srv/certd".into(),
            nearest: "/srv/certd".into(),
            writing: Writing::Allowed,
            acts_as: None,
            free_bytes: ENOUGH_BYTES,
            file_system: FileSystem::Disk,
        }
    }

    #[test]
    fn whose_rights_root_has_is_told_once() {
        assert_eq!(acting([&good(), &good()]), None);
        let of = |owner: &str, path: &str| DirectoryFacts {
            acts_as: Some(owner.to_owned()),
            nearest: path.into(),
            ..good()
        };
        let facts = [
            of("www", "/b"),
            of("www", "/a"),
            of("www", "/b"),
            of("user 7", "/c"),
        ];
        let finding = acting(facts.iter().chain([&good()])).unwrap();
        assert_eq!(
            (finding.code, finding.severity),
            ("files.acting", Severity::Note)
        );
        assert_eq!(
            finding.evidence,
            "root works with the rights of the owners of its directories: of user 7 in /c; of www in /a, /b"
        );
    }

    #[test]
    fn a_directory_is_judged_by_what_it_is_for() {
        #[track_caller]
        fn check(purpose: Purpose, facts: DirectoryFacts, code: &'static str, severity: Severity) {
            let findings = directory(purpose, &facts, &[]);
            assert_eq!(found(&findings), [(code, severity)], "{facts:?}");
            assert_eq!(findings[0].cure.is_some(), severity != Severity::Ok);
            let is_told = findings[0].evidence.contains("/srv/certd");
            assert_eq!(is_told, severity != Severity::Ok, "{findings:?}");
        }
        let missing = || DirectoryFacts {
            nearest: "/srv".into(),
            ..good()
        };
        let forbidden = DirectoryFacts {
            writing: Writing::Forbidden,
            ..good()
        };
        let read_only = DirectoryFacts {
            writing: Writing::ReadOnly,
            ..good()
        };
        let full = DirectoryFacts {
            free_bytes: ENOUGH_BYTES - 1,
            ..good()
        };
        let on = |file_system| DirectoryFacts {
            file_system,
            ..good()
        };
        check(Purpose::Storage, good(), "files.fit", Severity::Ok);
        check(
            Purpose::Webroot,
            missing(),
            "files.missing",
            Severity::Failure,
        );
        check(Purpose::State, missing(), "files.fit", Severity::Ok);
        check(
            Purpose::State,
            forbidden,
            "files.forbidden",
            Severity::Failure,
        );
        check(
            Purpose::Webroot,
            read_only,
            "files.read_only",
            Severity::Failure,
        );
        check(Purpose::Storage, full, "files.full", Severity::Failure);
        check(
            Purpose::Storage,
            on(FileSystem::Memory),
            "files.fleeting",
            Severity::Warning,
        );
        check(
            Purpose::State,
            on(FileSystem::ContainerLayer),
            "files.fleeting",
            Severity::Warning,
        );
        check(
            Purpose::Webroot,
            on(FileSystem::Memory),
            "files.fit",
            Severity::Ok,
        );
    }

    #[test]
    fn the_health_check_of_a_container_is_told() {
        #[track_caller]
        fn check(health: Option<&str>, expected: Option<(&'static str, Severity)>) {
            let subject = Container {
                name: "web".to_owned(),
                health: health.map(ToOwned::to_owned),
                ..Container::default()
            };
            let found = container(&subject);
            assert_eq!(
                found.map(|finding| (finding.code, finding.severity)),
                expected
            );
        }
        check(None, None);
        check(Some("healthy"), None);
        check(Some("starting"), Some(("docker.starting", Severity::Note)));
        check(
            Some("unhealthy"),
            Some(("docker.unhealthy", Severity::Warning)),
        );
    }

    #[test]
    fn a_clock_is_judged_in_both_directions() {
        #[track_caller]
        fn check(seconds: i64, severity: Option<Severity>, evidence: &str) {
            let found = clock(SignedDuration::from_secs(seconds));
            assert_eq!(found.as_ref().map(|finding| finding.severity), severity);
            let words = found.map(|finding| finding.evidence).unwrap_or_default();
            assert_eq!(words, evidence);
        }
        check(0, None, "");
        check(59, None, "");
        check(-59, None, "");
        check(
            60,
            Some(Severity::Warning),
            "this host's clock is 60 s ahead of the CA's",
        );
        check(
            -120,
            Some(Severity::Warning),
            "this host's clock is 2 min behind the CA's",
        );
        check(
            7200,
            Some(Severity::Warning),
            "this host's clock is 2 h ahead of the CA's",
        );
        check(
            -3000,
            Some(Severity::Failure),
            "this host's clock is 50 min behind the CA's",
        );
    }
}
