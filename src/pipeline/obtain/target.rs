//! Before any order: are the containers there, do they see the same files, is nginx's
//! configuration sound, and what is served now?

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;

use crate::challenge::Published;
use crate::config::{ConfigTest, Nginx, Reload};
use crate::facts::{Container, Handshake};
use crate::finding::Finding;
use crate::name::DnsName;
use crate::net::tls::Observer;
use crate::pipeline::{Context, Options, Work};
use crate::plan::Plan;
use crate::report::{Outcome, Stage, StageReport, StageResult};
use crate::target::container::{DockerError, Engine, nginx_command};
use crate::target::words::{Reason, complaints, stumble};
use crate::target::{endpoint, mount};
use crate::time::display;
use crate::verify::proof::{Verdict, Wanted, judge};

/// The containers behind one `[nginx]`, and the domains of this run that they serve
pub(super) struct Target {
    pub(super) nginx: Nginx,
    pub(super) engine: Engine,
    pub(super) containers: Vec<Container>,
    /// Positions among the run's domains
    pub(super) members: Vec<usize>,
    pub(super) baseline: HashMap<(DnsName, SocketAddr), Handshake>,
    pub(super) stages: Vec<StageReport>,
}

impl Target {
    pub(super) fn label(&self) -> String {
        let names: Vec<&str> = self
            .containers
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        names.join(", ")
    }

    pub(super) fn note(
        &mut self,
        stage: Stage,
        begun: Instant,
        result: StageResult,
        detail: impl Into<String>,
    ) {
        self.stages.push(StageReport {
            stage,
            result,
            detail: detail.into(),
            elapsed: begun.elapsed(),
        });
    }

    /// Where a domain is verified: `connect`, else each container's own address
    pub(super) fn endpoints(&self, work: &Work<'_>) -> Vec<SocketAddr> {
        let ports = &work.domain.ports;
        if let Some(connect) = work.domain.connect {
            return connect.endpoints(ports);
        }
        self.containers
            .iter()
            .flat_map(|container| endpoint::endpoints(container, ports, self.engine.address()))
            .collect()
    }

    /// Each name of a domain with each place where it is verified
    pub(super) fn places(&self, work: &Work<'_>) -> Vec<(DnsName, SocketAddr)> {
        let endpoints = self.endpoints(work);
        work.names
            .iter()
            .flat_map(|name| endpoints.iter().map(|endpoint| (name.clone(), *endpoint)))
            .collect()
    }

    /// The directory `live/` as a container sees it
    pub(super) fn live_in(&self, context: &Context<'_>, container: &Container) -> Option<PathBuf> {
        mount::in_container(container, &context.store.storage().join("live"))
    }
}

/// Finds the containers of all open domains; a domain whose containers are missing fails here
pub(super) async fn find(context: &Context<'_>, works: &mut [Work<'_>]) -> Vec<Target> {
    let mut groups: BTreeMap<Nginx, Vec<usize>> = BTreeMap::new();
    for (position, work) in works.iter().enumerate().filter(|(_, work)| work.is_open()) {
        if let Some(nginx) = &work.domain.nginx {
            groups.entry(nginx.clone()).or_default().push(position);
        }
    }
    let mut targets = Vec::new();
    for (nginx, members) in groups {
        let begun = Instant::now();
        match find_one(&nginx).await {
            Ok((engine, containers)) => targets.push(Target {
                nginx,
                engine,
                containers,
                members,
                baseline: HashMap::new(),
                stages: Vec::new(),
            }),
            Err(error) => {
                for member in members {
                    works[member].fail(Stage::Target, begun, &error);
                }
            }
        }
    }
    for target in &mut targets {
        take_baseline(context, target, works).await;
    }
    targets
}

async fn find_one(nginx: &Nginx) -> Result<(Engine, Vec<Container>), DockerError> {
    let engine = Engine::at(&nginx.docker).await?;
    let containers = engine.find(&nginx.selector).await?;
    Ok((engine, containers))
}

/// One handshake for each name and place, to know what worked before anything was changed
async fn take_baseline(context: &Context<'_>, target: &mut Target, works: &[Work<'_>]) {
    let observer = Observer::new(context.provider.clone(), context.config.verify.timeout);
    let places: BTreeSet<(DnsName, SocketAddr)> = target
        .members
        .iter()
        .flat_map(|member| target.places(&works[*member]))
        .collect();
    let observer = &observer;
    target.baseline = stream::iter(places)
        .map(|(name, address)| async move {
            let handshake = observer.observe(name.as_str(), address).await;
            ((name, address), handshake)
        })
        .buffer_unordered(context.config.verify.concurrency)
        .collect()
        .await;
}

/// Ends the domains that need nothing, and checks that the target is fit for the others
pub(super) async fn make_ready(
    context: &Context<'_>,
    options: &Options,
    target: &mut Target,
    works: &mut [Work<'_>],
) {
    let begun = Instant::now();
    for member in target.members.clone() {
        let work = &mut works[member];
        if target.endpoints(work).is_empty() {
            work.fail_with(Stage::Target, begun, no_endpoint(target));
        }
        confirm(context, target, work);
        refuse_pinned(context, target, work);
        if work.is_open() {
            warn_of_mounted_state(context, target, work);
        }
    }
    let detail = match target.nginx.test {
        ConfigTest::Run => {
            prove_mounts(context, options, target, works).await;
            let tested = test_before(context, target, works).await;
            format!("{}: mounts proven, {tested}", target.label())
        }
        ConfigTest::Skip => format!("{}: not asked (test = false)", target.label()),
    };
    for work in open(target, works) {
        work.done(Stage::Target, begun, detail.clone());
    }
}

/// The open domains of a target
pub(super) fn open<'w, 'c>(
    target: &Target,
    works: &'w mut [Work<'c>],
) -> impl Iterator<Item = &'w mut Work<'c>> {
    let members = target.members.clone();
    works
        .iter_mut()
        .enumerate()
        .filter(move |(position, work)| members.contains(position) && work.is_open())
        .map(|(_, work)| work)
}

fn no_endpoint(target: &Target) -> Finding {
    let evidence = format!("{} has no address to verify at", target.label());
    Finding::failure("target.no_endpoint", evidence)
        .with_cure("publish its TLS port, or set `connect` for the domain")
}

/// Where nothing is due, the baseline is the proof; what is not served is deployed again
fn confirm(context: &Context<'_>, target: &Target, work: &mut Work<'_>) {
    let (Plan::Confirm { generation }, true) = (&work.plan, work.is_open()) else {
        return;
    };
    let (generation, Some(ready)) = (*generation, &work.ready) else {
        return;
    };
    let wanted = Wanted::of(ready.leaf.fingerprint, work.domain.sharing);
    let places = target.places(work);
    let served = places.iter().all(|place| {
        let handshake = target.baseline.get(place).cloned();
        handshake.is_some_and(|handshake| matches!(judge(handshake, wanted), Verdict::Proven))
    });
    if !served {
        work.plan = Plan::Deploy { generation };
        return;
    }
    let at = crate::plan::due::renewal_time(&ready.leaf.validity, context.config.renewal_fraction);
    let summary = format!(
        "nothing to do: generation {generation} is served for {}, due from {}",
        names_in_words(work.names.len()),
        display(at)
    );
    work.end(Outcome::Unchanged, summary);
}

pub(super) fn names_in_words(names: usize) -> String {
    match names {
        1 => "its name".to_owned(),
        2 => "both names".to_owned(),
        names => format!("all {names} names"),
    }
}

/// The state holds account keys: nothing in a web server's container should see it
fn warn_of_mounted_state(context: &Context<'_>, target: &Target, work: &mut Work<'_>) {
    let state = &context.config.state;
    let seen = target
        .containers
        .iter()
        .find_map(|container| Some((container, path_in(container, state)?)));
    if let Some((container, path)) = seen {
        let finding = Finding::warning(
            "target.state_mounted",
            format!(
                "{} sees the state directory at {}",
                container.name,
                path.display()
            ),
        )
        .with_cure("account keys lie there: set `state` to a directory that is not mounted");
        work.findings.push(finding);
    }
}

/// A mount inside the lineage shows the old generation until a restart
fn refuse_pinned(context: &Context<'_>, target: &Target, work: &mut Work<'_>) {
    if !work.is_open() {
        return;
    }
    let begun = Instant::now();
    for container in &target.containers {
        let pinned = mount::pinned(container, context.store.storage(), work.name());
        let Some(first) = pinned.first() else {
            continue;
        };
        if target.nginx.reload == Reload::Restart {
            continue;
        }
        let storage = context.config.storage.display();
        let finding = Finding::failure(
            "target.pinned_mount",
            format!("{first} in {}: it pins the old generation until the container restarts", container.name),
        )
        .with_cure(format!(
            "mount the storage whole, and create the container anew:\n    {storage}:{storage}:ro\nor set reload = \"restart\" in [nginx]"
        ));
        return work.fail_with(Stage::Target, begun, finding);
    }
}

/// A file that certd wrote and that a container must be able to read
struct Probe {
    path: PathBuf,
    content: String,
    what: &'static str,
    host: PathBuf,
    /// Positions of the domains that need it
    needed_by: Vec<usize>,
}

/// Proves by exec that webroot and storage are the same directories in every container
async fn prove_mounts(
    context: &Context<'_>,
    options: &Options,
    target: &Target,
    works: &mut [Work<'_>],
) {
    let begun = Instant::now();
    for container in &target.containers {
        let mut guards = Vec::new();
        let mut probes = webroot_probes(target, container, works, &mut guards);
        if options.mode == super::Mode::Deploy {
            probes.extend(storage_probe(
                context,
                target,
                container,
                works,
                &mut guards,
            ));
        }
        for (position, finding) in read_probes(target, container, &probes).await {
            if works[position].is_open() {
                works[position].fail_with(Stage::Target, begun, finding);
            }
        }
    }
}

/// Probes in the webroots of the domains that will order
fn webroot_probes(
    target: &Target,
    container: &Container,
    works: &mut [Work<'_>],
    guards: &mut Vec<Published>,
) -> Vec<Probe> {
    let begun = Instant::now();
    let mut by_webroot: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for member in &target.members {
        let work = &works[*member];
        if work.is_open() && matches!(work.plan, Plan::Order { .. }) {
            by_webroot
                .entry(work.domain.webroot.clone())
                .or_default()
                .push(*member);
        }
    }
    let mut probes = Vec::new();
    for (webroot, members) in by_webroot {
        let name = random_name();
        let content = random_name();
        let placed = Published::publish(&webroot, [(name.as_str(), content.as_str())]);
        let published = match placed {
            Ok(published) => published,
            Err(error) => {
                for member in members {
                    works[member].fail(Stage::Target, begun, &error);
                }
                continue;
            }
        };
        let host = published.directory().join(&name);
        guards.push(published);
        match path_in(container, &host) {
            Some(path) => probes.push(Probe {
                path,
                content,
                what: "webroot",
                host: webroot,
                needed_by: members,
            }),
            None => {
                for member in members {
                    let finding = not_mounted(container, "webroot", &webroot);
                    works[member].fail_with(Stage::Target, begun, finding);
                }
            }
        }
    }
    probes
}

/// A probe in `archive/`, read through `live/../archive` as the live links are
fn storage_probe(
    context: &Context<'_>,
    target: &Target,
    container: &Container,
    works: &mut [Work<'_>],
    guards: &mut Vec<Published>,
) -> Option<Probe> {
    let begun = Instant::now();
    let storage = context.store.storage().to_owned();
    let pins = |name: &DnsName| !mount::pinned(container, &storage, name).is_empty();
    let members: Vec<usize> = target
        .members
        .iter()
        .copied()
        .filter(|member| works[*member].is_open() && !pins(works[*member].name()))
        .collect();
    if members.is_empty() {
        return None;
    }
    let (name, content) = (format!(".certd-{}", random_name()), random_name());
    match Published::in_directory(&storage.join("archive"), &name, &content) {
        Ok(published) => guards.push(published),
        Err(error) => {
            for member in members {
                works[member].fail(Stage::Target, begun, &error);
            }
            return None;
        }
    }
    let Some(live) = target.live_in(context, container) else {
        for member in members {
            let finding = not_mounted(container, "storage", &context.config.storage);
            works[member].fail_with(Stage::Target, begun, finding);
        }
        return None;
    };
    Some(Probe {
        path: live.join("../archive").join(name),
        content,
        what: "storage",
        host: context.config.storage.clone(),
        needed_by: members,
    })
}

/// A host path in the container, its symlinks resolved first
fn path_in(container: &Container, host: &Path) -> Option<PathBuf> {
    let canonical = std::fs::canonicalize(host).ok()?;
    mount::in_container(container, &canonical)
}

/// Reads all probes with one exec; only when that fails each by itself, to find the guilty one
async fn read_probes(
    target: &Target,
    container: &Container,
    probes: &[Probe],
) -> Vec<(usize, Finding)> {
    if probes.is_empty() {
        return Vec::new();
    }
    let all: Vec<&Probe> = probes.iter().collect();
    if let Ok(()) = read_together(target, container, &all).await {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for probe in probes {
        if let Err(finding) = read_together(target, container, &[probe]).await {
            findings.extend(
                probe
                    .needed_by
                    .iter()
                    .map(|member| (*member, finding.clone())),
            );
        }
    }
    findings
}

async fn read_together(
    target: &Target,
    container: &Container,
    probes: &[&Probe],
) -> Result<(), Finding> {
    let mut command = vec!["cat".to_owned()];
    command.extend(
        probes
            .iter()
            .map(|probe| probe.path.to_string_lossy().into_owned()),
    );
    let expected: String = probes.iter().map(|probe| probe.content.as_str()).collect();
    let executed = target
        .engine
        .exec(container, &command)
        .await
        .map_err(|error| Finding::from_error(&error))?;
    match (executed.status, probes.first()) {
        (0, _) if executed.stdout == expected => Ok(()),
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
        (_, Some(probe)) => Err(not_the_same(container, probe, &executed.stderr)),
        (_, None) => Ok(()),
    }
}

fn not_mounted(container: &Container, what: &str, host: &Path) -> Finding {
    let host = host.display();
    Finding::failure(
        "target.not_mounted",
        format!("the {what} {host} is not mounted in {}", container.name),
    )
    .with_cure(format!(
        "add it to the volumes of the container, and create it anew:\n    {host}:{host}:ro"
    ))
}

fn not_the_same(container: &Container, probe: &Probe, words: &str) -> Finding {
    let what = probe.what;
    let directory = probe.path.parent().unwrap_or(&probe.path).display();
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
        probe.host.display()
    ))
}

/// `nginx -t` before anything is changed
///
/// A configuration that is broken already stops the target's domains here, unless all that it
/// misses is a certificate that this run is about to supply.
async fn test_before(context: &Context<'_>, target: &Target, works: &mut [Work<'_>]) -> String {
    let mut said = "nginx -t passed".to_owned();
    if open(target, works).next().is_none() {
        return said;
    }
    let begun = Instant::now();
    for container in &target.containers {
        let broken = match test(target, container).await {
            Ok(()) => continue,
            Err(Untested::Refused { words }) => {
                if let Some(path) = supplies(context, target, container, works, &words) {
                    said = format!("nginx -t waits for {}", path.display());
                    continue;
                }
                broken_before(container, &words)
            }
            Err(Untested::Docker(error)) => Finding::from_error(&error),
        };
        for work in open(target, works) {
            work.fail_with(Stage::Target, begun, broken.clone());
        }
        break;
    }
    said
}

/// Why `nginx -t` did not pass
pub(super) enum Untested {
    /// nginx refuses its configuration: its own words
    Refused { words: String },
    /// It could not be asked
    Docker(DockerError),
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
    let words = complaints(&format!("{}\n{}", executed.stderr, executed.stdout));
    Err(Untested::Refused { words })
}

/// The file that nginx misses, if it is a certificate that this run will put there
fn supplies(
    context: &Context<'_>,
    target: &Target,
    container: &Container,
    works: &mut [Work<'_>],
    words: &str,
) -> Option<PathBuf> {
    let stumble = stumble(words).filter(|stumble| stumble.reason == Reason::Missing)?;
    let live = target.live_in(context, container)?;
    open(target, works)
        .any(|work| stumble.path.starts_with(live.join(work.name().as_str())))
        .then_some(stumble.path)
}

fn broken_before(container: &Container, words: &str) -> Finding {
    Finding::failure(
        "target.config_broken",
        format!("nginx in {} refuses its configuration already:\n{words}", container.name),
    )
    .with_cure(format!(
        "certd changed nothing. Mend the configuration until this passes:\n    docker exec {} nginx -t",
        container.name
    ))
}

/// A file name that nobody can guess and that a token may have
fn random_name() -> String {
    let mut bytes = [0; 16];
    // Without randomness the name is merely guessable, which a proof can live with.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
