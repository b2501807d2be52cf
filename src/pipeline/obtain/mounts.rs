//! Whether the containers see the same webroot and storage as this host: their mounts are read,
//! and proven by files that certd writes and the containers read back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::target::Target;
use crate::challenge::{ChallengeError, OWN, Published};
use crate::config::Reload;
use crate::facts::{Container, User};
use crate::finding::{Finding, words};
use crate::pipeline::{Context, Work};
use crate::plan::Plan;
use crate::report::Stage;
use crate::target::mount;
use crate::target::process::{Command, user_of_master};

/// The state holds account keys: nothing in a web server's container should see it
pub(super) fn warn_of_mounted_state(context: &Context<'_>, target: &Target, work: &mut Work<'_>) {
    let state = &context.config.state;
    let seen = target
        .containers
        .iter()
        .find_map(|container| Some((container, paths_in(container, state).into_iter().next()?)));
    if let Some((container, path)) = seen {
        let finding = Finding::warning(
            "target.state_mounted",
            format!(
                "{} sees the state directory at {}",
                container.name,
                words::path(&path)
            ),
        )
        .with_cure("account keys lie there: set `state` to a directory that is not mounted");
        work.findings.push(finding);
    }
}

/// Keys are for their owner alone as long as no group is named: nginx names them, and starts no more
pub(super) fn warn_of_closed_keys(context: &Context<'_>, target: &Target, work: &mut Work<'_>) {
    if context.config.key_group.is_some() {
        return;
    }
    let containers = target.containers.iter();
    let mut masters = containers.filter_map(|one| Some((&one.name, user_of_master(one)?)));
    // The owner of the storage is asked for where a master is not root, and nowhere else.
    let is_strange = |user: &User| {
        let storage = fs::metadata(context.store.storage());
        storage.is_ok_and(|storage| storage.uid() != user.uid)
    };
    let Some((name, user)) = masters.find(|(_, user)| is_strange(user)) else {
        return;
    };
    let evidence = format!(
        "nginx's master in {name} runs as user {} with group {}, and may not read the keys, which are for their owner alone",
        user.uid, user.gid
    );
    work.findings
        .push(Finding::warning("target.key_group", evidence).with_cure(format!(
            "set `key_group = \"{}\"` in domains.toml before nginx's configuration names a key: nginx would not start again",
            user.gid
        )));
}

/// A mount inside the lineage shows the old generation until a restart
pub(super) fn refuse_pinned(context: &Context<'_>, target: &Target, work: &mut Work<'_>) {
    if !work.is_open() {
        return;
    }
    let begun = Instant::now();
    for container in &target.containers {
        let pinned = mount::pinned(container, context.store.storage(), work.name());
        let Some(first) = pinned.first() else {
            continue;
        };
        let (source, destination) = (words::path(&first.source), words::path(&first.destination));
        if target.nginx.reload == Reload::Restart {
            continue;
        }
        let storage = context.config.storage.display();
        let finding = Finding::failure(
            "target.pinned_mount",
            format!("{source} is mounted at {destination} in {}: it pins the old generation until the container restarts", container.name),
        )
        .with_cure(if target.lives_in(context, container).is_empty() {
            format!(
                "mount the storage whole, and create the container anew:\n    {storage}:{storage}:ro\nor set reload = \"restart\" in [nginx]"
            )
        } else {
            format!(
                "the storage is mounted whole already: remove this mount, and let the server block name the files below live/{}/",
                work.name()
            )
        });
        return work.fail_with(Stage::Target, begun, finding);
    }
}

/// A directory of this host that a container must see too
struct Needed {
    what: What,
    /// As configured
    host: PathBuf,
    /// Positions of the domains that need it
    by: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Webroot,
    Storage,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Webroot => "webroot",
            Self::Storage => "storage",
        }
    }
}

/// A file that certd wrote for a container to read; dropping it removes the file
struct Probe {
    needed: Needed,
    /// As the container sees it: where one of these holds the content, all is well
    paths: Vec<PathBuf>,
    content: String,
    _published: Published,
}

/// Proves by exec that webroot and storage are the same directories in every container
pub(super) async fn prove_mounts(context: &Context<'_>, target: &Target, works: &mut [Work<'_>]) {
    let begun = Instant::now();
    for container in &target.containers {
        let mut needed = webroots(target, works);
        needed.extend(storage(context, target, container, works));
        let mut probes = Vec::new();
        for needed in needed {
            match place(context, target, container, needed) {
                Ok(probe) => probes.push(probe),
                Err((members, finding)) => fail(works, &members, begun, &finding),
            }
        }
        for (members, finding) in read_probes(target, container, &probes).await {
            fail(works, &members, begun, &finding);
        }
    }
}

fn fail(works: &mut [Work<'_>], members: &[usize], begun: Instant, finding: &Finding) {
    for member in members {
        let work = &mut works[*member];
        if work.is_open() {
            work.fail_with(Stage::Target, begun, finding.clone());
        }
    }
}

/// The webroots of the domains that will order
fn webroots(target: &Target, works: &[Work<'_>]) -> Vec<Needed> {
    let mut by_webroot: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for member in &target.members {
        let work = &works[*member];
        if work.is_open() && matches!(work.plan, Plan::Order { .. }) {
            by_webroot
                .entry(&work.domain.webroot)
                .or_default()
                .push(*member);
        }
    }
    by_webroot
        .into_iter()
        .map(|(webroot, by)| Needed {
            what: What::Webroot,
            host: webroot.to_owned(),
            by,
        })
        .collect()
}

/// The storage, for the domains whose lineage is not mounted by itself
fn storage(
    context: &Context<'_>,
    target: &Target,
    container: &Container,
    works: &[Work<'_>],
) -> Option<Needed> {
    let storage = context.store.storage();
    let pins = |work: &Work<'_>| !mount::pinned(container, storage, work.name()).is_empty();
    let by: Vec<usize> = target
        .members
        .iter()
        .copied()
        .filter(|member| works[*member].is_open() && !pins(&works[*member]))
        .collect();
    (!by.is_empty()).then(|| Needed {
        what: What::Storage,
        host: context.config.storage.clone(),
        by,
    })
}

/// Writes a file where it is needed, and finds its path in the container
///
/// The one in the storage lies in `archive/` and is read through `live/../archive`, which is the
/// way that a live link goes.
fn place(
    context: &Context<'_>,
    target: &Target,
    container: &Container,
    needed: Needed,
) -> Result<Probe, (Vec<usize>, Finding)> {
    let (name, content) = (format!("{OWN}{}", random_name()), random_name());
    let storage = context.store.storage();
    // Before the first generation, and before `check` as well, there is no archive.
    let archive = Some(storage.join("archive")).filter(|archive| archive.is_dir());
    let parts: &[&str] = if archive.is_some() { &["archive"] } else { &[] };
    let published = match needed.what {
        What::Webroot => Published::publish(&needed.host, [(name.as_str(), content.as_str())]),
        What::Storage => Published::in_directory(storage, parts, &format!(".{name}"), &content),
    };
    let published = match published {
        Ok(published) => published,
        Err(ChallengeError::Webroot(error)) if needed.what == What::Storage => {
            return Err((needed.by, Finding::from_error(&error)));
        }
        Err(error) => {
            let finding = Finding {
                cure: error.cure_beside(std::slice::from_ref(container)),
                ..Finding::from_error(&error)
            };
            return Err((needed.by, finding));
        }
    };
    let paths: Vec<PathBuf> = match needed.what {
        What::Webroot => paths_in(container, published.directory())
            .into_iter()
            .map(|path| path.join(&name))
            .collect(),
        What::Storage if archive.is_none() => mount::in_container(container, storage)
            .into_iter()
            .map(|storage| storage.join(format!(".{name}")))
            .collect(),
        What::Storage => target
            .lives_in(context, container)
            .into_iter()
            .map(|live| live.join("../archive").join(format!(".{name}")))
            .collect(),
    };
    if paths.is_empty() {
        let finding = not_mounted(container, &needed);
        return Err((needed.by, finding));
    }
    Ok(Probe {
        needed,
        paths,
        content,
        _published: published,
    })
}

/// A host path in the container, its symlinks resolved first
fn paths_in(container: &Container, host: &Path) -> Vec<PathBuf> {
    match fs::canonicalize(host) {
        Ok(canonical) => mount::in_container(container, &canonical),
        Err(_) => Vec::new(),
    }
}

/// Reads all probes with one exec; only when that fails each by itself, to find the guilty one
async fn read_probes(
    target: &Target,
    container: &Container,
    probes: &[Probe],
) -> Vec<(Vec<usize>, Finding)> {
    if probes.is_empty() {
        return Vec::new();
    }
    let first: Vec<(&Probe, &Path)> = probes
        .iter()
        .filter_map(|probe| Some((probe, probe.paths.first()?.as_path())))
        .collect();
    if read(target, container, &first).await.is_ok() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for probe in probes {
        if let Err(finding) = read_anywhere(target, container, probe).await {
            findings.push((probe.needed.by.clone(), finding));
        }
    }
    findings
}

async fn read_anywhere(
    target: &Target,
    container: &Container,
    probe: &Probe,
) -> Result<(), Finding> {
    let mut outcome = Ok(());
    for path in &probe.paths {
        outcome = read(target, container, &[(probe, path)]).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The engine ended the output before the command did
fn broken_off(container: &Container) -> Finding {
    let evidence = format!("the output of a command in {} broke off", container.name);
    Finding::failure("docker.broken_off", evidence).with_cure(
        "the Docker engine, or a proxy in front of it, is in trouble: run `certd obtain` again",
    )
}

async fn read(
    target: &Target,
    container: &Container,
    probes: &[(&Probe, &Path)],
) -> Result<(), Finding> {
    let mut command = vec!["cat".to_owned()];
    command.extend(
        probes
            .iter()
            .map(|(_, path)| path.to_string_lossy().into_owned()),
    );
    let expected: String = probes
        .iter()
        .map(|(probe, _)| probe.content.as_str())
        .collect();
    let executed = target
        .engine
        .exec(container, &Command::new(command))
        .await
        .map_err(|error| Finding::from_error(&error))?;
    match (executed.status, probes.first()) {
        (0, _) if executed.stdout == expected => Ok(()),
        // It has not ended, as far as the engine knows.
        (..0, _) => Err(broken_off(container)),
        (126 | 127, _) => Err(Finding::failure(
            "target.no_cat",
            format!(
                "{} has no `cat`, so certd cannot prove what it sees",
                container.name
            ),
        )
        .with_cure(
            "use an image with `cat`, or set test = false in [nginx] to go without this proof",
        )),
        (_, Some((probe, path))) => Err(not_the_same(container, probe, path, &executed.stderr)),
        (_, None) => Ok(()),
    }
}

fn not_mounted(container: &Container, needed: &Needed) -> Finding {
    let (what, host) = (needed.what.as_str(), needed.host.display());
    Finding::failure(
        "target.not_mounted",
        format!("the {what} {host} is not mounted in {}", container.name),
    )
    .with_cure(format!(
        "add it to the volumes of the container, and create it anew:\n    {host}:{host}:ro"
    ))
}

fn not_the_same(container: &Container, probe: &Probe, path: &Path, words: &str) -> Finding {
    let what = probe.needed.what.as_str();
    let directory = words::path(path.parent().unwrap_or(path));
    let said = words.trim();
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(" ({said})")
    };
    Finding::failure(
        "target.other_directory",
        format!("{} does not read the {what} at {directory}: a file written on this host is not seen there{said}", container.name),
    )
    .with_cure(format!(
        "{} must be mounted, readable and not covered by another mount",
        probe.needed.host.display()
    ))
}

/// A file name that nobody can guess and that a token may have
fn random_name() -> String {
    format!("{:032x}", u128::from_be_bytes(crate::pipeline::random()))
}
