//! Before any order: are the containers there, do they see the same files, is nginx's
//! configuration sound, and what is served now?

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;

use super::dumps::Dumps;
use super::ways::Way;
use super::{drift, mounts, reload, renewal_time};
use crate::config::{ConfigTest, Nginx};
use crate::facts::{ConnectFailure, Container, Handshake};
use crate::finding::{Finding, one_line, words};
use crate::name::DnsName;
use crate::pipeline::defect::Defect;
use crate::pipeline::installed;
use crate::pipeline::{Context, Mode, Occasion, Options, Ready, Work};
use crate::plan::Plan;
use crate::preflight::probe::Doors;
use crate::report::{Stage, StageReport, StageResult};
use crate::target::container::{DockerError, Engine, Told};
use crate::target::process::nginx_command;
use crate::target::words::{Reason, Stumble, complaints, stumble};
use crate::target::{endpoint, mount};
use crate::time::display;
use crate::verify::proof::{Verdict, judge};

/// The containers behind one `[nginx]`, and the domains of this run that they serve
pub(super) struct Target {
    pub(super) nginx: Nginx,
    pub(super) engine: Engine,
    pub(super) containers: Vec<Container>,
    /// Their configurations, as far as they were asked for
    pub(super) dumps: Dumps,
    /// Positions among the run's domains, ascending
    pub(super) members: Vec<usize>,
    /// What is known of the addresses at which the containers may answer
    pub(super) ways: HashMap<SocketAddr, Way>,
    /// Addresses at which nginx awaits the PROXY protocol of a balancer
    pub(super) balanced: BTreeSet<SocketAddr>,
    pub(super) baseline: HashMap<(DnsName, SocketAddr), Handshake>,
    /// How nginx was last told to reload in this run
    pub(super) told: Option<Told>,
    /// When it was first told
    pub(super) reloaded: Option<Timestamp>,
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

    /// Whether the domain at this position is one of its own
    pub(super) fn serves(&self, position: usize) -> bool {
        self.members.binary_search(&position).is_ok()
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

    /// Ports 80 and 443 of each container
    pub(super) fn doors(&self) -> Vec<Doors> {
        let engine = self.engine.address();
        let door = |container: &Container, port| {
            let endpoints = endpoint::endpoints(container, port, engine);
            endpoints.first().map(|endpoint| endpoint.address)
        };
        let doors = self.containers.iter().filter_map(|container| {
            Some(Doors {
                http: door(container, 80)?,
                https: door(container, 443),
            })
        });
        doors.collect()
    }

    /// Where the containers see a directory of this host; `None` where none does
    pub(super) fn seen_at(&self, directory: &Path) -> Option<PathBuf> {
        let mut paths = self
            .containers
            .iter()
            .flat_map(|container| mount::in_container(container, directory));
        paths.next()
    }

    /// Each name of a domain with each place where it is verified
    pub(super) fn places(&self, work: &Work<'_>) -> Vec<(DnsName, SocketAddr)> {
        let endpoints = self.endpoints(work.domain);
        work.names
            .iter()
            .flat_map(|name| endpoints.iter().map(|endpoint| (name.clone(), *endpoint)))
            .collect()
    }

    /// What was served for a domain before anything was changed
    pub(super) fn handshakes(&self, work: &Work<'_>) -> Vec<Handshake> {
        let places = self.places(work).into_iter();
        places
            .filter_map(|place| self.baseline.get(&place).cloned())
            .collect()
    }

    /// The directory `live/` as a container sees it; several where it is mounted more than once
    pub(super) fn lives_in(&self, context: &Context<'_>, container: &Container) -> Vec<PathBuf> {
        mount::in_container(container, &context.store.storage().join("live"))
    }
}

/// Finds the containers of all open domains; a domain whose containers are missing fails here
pub(super) async fn find(context: &Context<'_>, works: &mut [Work<'_>]) -> Vec<Target> {
    let mut groups: BTreeMap<Nginx, Vec<usize>> = BTreeMap::new();
    for (position, work) in works.iter().enumerate().filter(|(_, work)| work.is_open()) {
        if let Some(nginx) = &work.domain.nginx {
            work.begin(Stage::Target);
            groups.entry(nginx.clone()).or_default().push(position);
        }
    }
    let mut targets = Vec::new();
    for (nginx, members) in groups {
        let begun = Instant::now();
        match find_one(context, &nginx).await {
            Ok((engine, containers)) => targets.push(Target {
                nginx,
                engine,
                containers,
                dumps: Dumps::default(),
                members,
                ways: HashMap::new(),
                balanced: BTreeSet::new(),
                baseline: HashMap::new(),
                told: None,
                reloaded: None,
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
        target.explore(context, works).await;
        take_baseline(context, target, works).await;
    }
    targets
}

async fn find_one(
    context: &Context<'_>,
    nginx: &Nginx,
) -> Result<(Engine, Vec<Container>), DockerError> {
    let engine = Engine::at(&nginx.docker, context.patience.engine).await?;
    let containers = engine.find(&nginx.selector).await?;
    Ok((engine, containers))
}

/// One handshake for each name and place, to know what worked before anything was changed
async fn take_baseline(context: &Context<'_>, target: &mut Target, works: &[Work<'_>]) {
    let places: BTreeSet<(DnsName, SocketAddr)> = target
        .members
        .iter()
        .flat_map(|member| target.places(&works[*member]))
        .collect();
    target.baseline = shake_hands(context, target, places).await;
    let is_closed =
        |handshake: &&Handshake| matches!(handshake.outcome, Err(ConnectFailure::Reset));
    let closed = target.baseline.values().filter(is_closed);
    let closed = closed.map(|handshake| handshake.address).collect();
    if target.learn_balanced(context, works, closed).await {
        let all = target.baseline.keys();
        let again = all.filter(|(_, address)| target.balanced.contains(address));
        let again = again.cloned().collect();
        let seen = shake_hands(context, target, again).await;
        target.baseline.extend(seen);
    }
}

async fn shake_hands(
    context: &Context<'_>,
    target: &Target,
    places: BTreeSet<(DnsName, SocketAddr)>,
) -> HashMap<(DnsName, SocketAddr), Handshake> {
    let observer = &target.observer(context);
    let looking = places.into_iter().map(|(name, address)| async move {
        let handshake = observer.observe(name.as_str(), address).await;
        ((name, address), handshake)
    });
    looking.collect::<FuturesUnordered<_>>().collect().await
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
        if let Some(finding) = target.no_way(work.domain) {
            work.fail_with(Stage::Target, begun, finding);
        }
        confirm(context, options, target, work);
    }
    if options.occasion == Occasion::Sweep {
        drift::look(context, target, works).await;
    }
    for member in target.members.clone() {
        let work = &mut works[member];
        if options.mode != Mode::Check {
            share_keys(context, work);
        }
        mounts::refuse_pinned(context, target, work);
        if work.is_open() {
            mounts::warn_of_mounted_state(context, target, work);
            reload::foresee(target, work, begun);
        }
    }
    let detail = match target.nginx.test {
        ConfigTest::Run => {
            mounts::prove_mounts(context, target, works).await;
            let tested = test_before(context, target, works).await;
            format!("{}: mounts proven, {tested}", target.label())
        }
        ConfigTest::Skip => format!("{}: not asked (test = false)", target.label()),
    };
    for work in open(target, works) {
        let detail = match target.unproven(work.domain) {
            Some(unproven) => format!("{detail}; {unproven}"),
            None => detail.clone(),
        };
        work.done(Stage::Target, begun, detail);
    }
}

/// The open domains of a target
pub(super) fn open<'w, 'c>(
    target: &'w Target,
    works: &'w mut [Work<'c>],
) -> impl Iterator<Item = &'w mut Work<'c>> {
    works
        .iter_mut()
        .enumerate()
        .filter(|(position, work)| target.serves(*position) && work.is_open())
        .map(|(_, work)| work)
}

/// Ends the open domains of a target in whose work certd itself failed
pub(super) fn fail_members(
    target: &Target,
    works: &mut [Work<'_>],
    stage: Stage,
    begun: Instant,
    defect: &Defect,
) {
    open(target, works).for_each(|work| work.fail(stage, begun, defect));
}

/// Where nothing is due, the baseline is the proof; what is not served is deployed again, unless
/// it is a sweep that finds it
///
/// A reload for another domain may still change what is served: then it is proven once more.
fn confirm(context: &Context<'_>, options: &Options, target: &Target, work: &mut Work<'_>) {
    let (Plan::Confirm { generation }, true) = (&work.plan, work.is_open()) else {
        return;
    };
    let (generation, Some(ready)) = (*generation, &work.ready) else {
        return;
    };
    let shared = installed::sharable(context.store, work.domain, context.now());
    let places = target.places(work);
    let served = places.iter().all(|place| {
        let wanted = installed::wanted(ready, &shared, &place.0);
        let handshake = target.baseline.get(place).cloned();
        handshake
            .is_some_and(|handshake| matches!(judge(handshake, &wanted), Verdict::Proven { .. }))
    });
    match options.occasion {
        _ if served => work.confirmed = Some(nothing_to_do(context, work, ready)),
        Occasion::Sweep => {}
        Occasion::ByHand | Occasion::Timer => work.plan = Plan::Deploy { generation },
    }
}

/// What is said of a domain whose live generation is served
pub(super) fn nothing_to_do(context: &Context<'_>, work: &Work<'_>, ready: &Ready) -> String {
    format!(
        "nothing to do: generation {} is served for {}, due from {}",
        ready.generation,
        names_in_words(work.names.len()),
        display(renewal_time(context, work, ready))
    )
}

/// Gives `key_group` the keys that were written before it was set
fn share_keys(context: &Context<'_>, work: &mut Work<'_>) {
    let newest = work.lineage.newest();
    let generations = [
        work.lineage.live,
        newest.filter(|newest| work.lineage.live != Some(*newest)),
    ];
    for generation in generations.into_iter().flatten().filter(|_| work.is_open()) {
        if let Err(error) = context.store.share_key(work.name(), generation) {
            // nginx may be able to read it all the same, and its test will tell.
            tracing::warn!(domain = %work.name(), generation, %error, "key not shared");
        }
    }
}

pub(super) fn names_in_words(names: usize) -> String {
    match names {
        1 => "its name".to_owned(),
        2 => "both names".to_owned(),
        names => format!("all {names} names"),
    }
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
        let Err(untested) = test(target, container).await else {
            continue;
        };
        if let Some(path) = supplied(context, target, container, works, &untested) {
            said = format!("nginx -t waits for {}", words::path(&path));
            continue;
        }
        let broken = untested.finding();
        for work in open(target, works) {
            work.fail_with(Stage::Target, begun, broken.clone());
        }
        break;
    }
    said
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
            } => broken_before(container, words, stumble.as_ref()),
            Self::NoNginx { container, words } => Finding::failure(
                "target.no_nginx",
                format!("{container} has no `nginx`:\n{words}"),
            )
            .with_cure(
                "is it the right container? test = false in [nginx] goes without `nginx -t`",
            ),
            Self::Docker(error) => Finding::from_error(error),
        }
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
    if matches!(executed.status, 126 | 127) {
        let words = format!("{}{}", executed.stderr.trim(), executed.stdout.trim());
        return Err(Untested::NoNginx {
            container: container.name.clone(),
            words: one_line(&words),
        });
    }
    let said = format!("{}\n{}", executed.stderr, executed.stdout);
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
    let Untested::Refused { stumble, .. } = untested else {
        return None;
    };
    let stumble = stumble.as_ref()?;
    let lives = target.lives_in(context, container);
    let mends = |work: &Work<'_>| match stumble.reason {
        Reason::Missing => true,
        Reason::Other => matches!(work.plan, Plan::Order { .. }),
        Reason::Forbidden => false,
    };
    open(target, works)
        .any(|work| is_file_of(&lives, work.name(), &stumble.path) && mends(work))
        .then(|| stumble.path.clone())
}

/// Whether a path is one of the four files of a live generation
pub(super) fn is_file_of(lives: &[PathBuf], name: &DnsName, path: &Path) -> bool {
    lives.iter().any(|live| {
        let directory = live.join(name.as_str());
        FILES.iter().any(|file| directory.join(file) == path)
    })
}

fn broken_before(container: &Container, words: &str, stumble: Option<&Stumble>) -> Finding {
    Finding::failure(
        "target.config_broken",
        format!("nginx in {} refuses its configuration already:\n{words}", container.name),
    )
    .with_cure(match stumble {
        Some(Stumble { path, reason: Reason::Forbidden }) => format!(
            "certd changed nothing. nginx's user may not read {}: set `key_group` to its group in domains.toml",
            words::path(path)
        ),
        _ => format!(
            "certd changed nothing. Mend the configuration until this passes:\n    docker exec {} nginx -t",
            container.name
        ),
    })
}

const FILES: [&str; 4] = ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"];
