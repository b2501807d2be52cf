//! Before any order: are the containers there, do they see the same files, and what is served
//! now?

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;

use super::dumps::Dumps;
use super::tested::{self, Before};
use super::ways::Way;
use super::{drift, mounts, reload, renewal_time, stopped};
use crate::config::{ConfigTest, Domain, Nginx};
use crate::facts::{ConnectFailure, Container, Handshake};
use crate::finding::Finding;
use crate::name::DnsName;
use crate::pipeline::defect::{Defect, caught};
use crate::pipeline::installed;
use crate::pipeline::{Context, Mode, Occasion, Options, Ready, Work};
use crate::plan::Plan;
use crate::preflight::judge::http::Inlet;
use crate::preflight::probe::Doors;
use crate::report::{Stage, StageReport, StageResult};
use crate::target::container::{DockerError, Engine, Told};
use crate::target::{endpoint, mount};
use crate::time::display;
use crate::verify::proof::{Verdict, judge};

/// The containers behind one `[nginx]`, and the domains of this run that they serve
pub(super) struct Target {
    pub(super) nginx: Nginx,
    pub(super) engine: Engine,
    pub(super) containers: Vec<Container>,
    /// Their configurations, as far as they were asked for
    pub(super) dumps: Arc<Dumps>,
    /// Positions among the run's domains, ascending
    pub(super) members: Vec<usize>,
    /// What is known of the addresses at which the containers may answer
    pub(super) ways: HashMap<SocketAddr, Way>,
    /// Where DNS leads names, where that was asked
    pub(super) resolved: HashMap<DnsName, Vec<IpAddr>>,
    /// Addresses of the host to which DNS leads, and at which nginx does not listen in particular
    pub(super) led: BTreeSet<IpAddr>,
    /// Who else than nginx has the sockets there; `None` where nobody else is seen
    pub(super) holders: HashMap<SocketAddr, Option<String>>,
    /// Addresses of the host at which nginx listens for others than the visitors of a domain
    pub(super) astray: HashMap<DnsName, BTreeSet<IpAddr>>,
    /// Addresses at which nginx awaits the PROXY protocol of a balancer
    pub(super) balanced: BTreeSet<SocketAddr>,
    pub(super) baseline: HashMap<(DnsName, SocketAddr), Handshake>,
    /// How nginx was last told to reload in this run
    pub(super) told: Option<Told>,
    /// When it was first told
    pub(super) reloaded: Option<Timestamp>,
    /// What `nginx -t` said before anything was changed
    pub(super) before: Before,
    /// Defects of certd that showed at a domain, until they are told
    pub(super) defects: Mutex<Vec<(usize, Defect)>>,
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

    /// Where port 80 of each container is published
    pub(super) fn inlets(&self) -> Vec<Inlet> {
        let inlets = self.containers.iter().map(|container| {
            let published = container.published.iter();
            let published = published.filter(|published| published.container_port == 80);
            Inlet {
                container: container.name.clone(),
                network: container.network,
                published: published.map(|published| published.host).collect(),
            }
        });
        inlets.collect()
    }

    /// Where the containers see a directory of this host; `None` where none does
    pub(super) fn seen_at(&self, directory: &Path) -> Option<PathBuf> {
        let mut paths = self
            .containers
            .iter()
            .flat_map(|container| mount::in_container(container, directory));
        paths.next()
    }

    /// The container that answers at an address, the first where none is known to
    pub(super) fn answering(&self, works: &[Work<'_>], address: SocketAddr) -> Option<&Container> {
        let engine = self.engine.address();
        let answers = |container: &&Container| {
            self.members.iter().any(|member| {
                let ports = works[*member].domain.ports.iter();
                let mut own = ports.flat_map(|port| endpoint::endpoints(container, *port, engine));
                own.any(|own| own.address == address)
            })
        };
        let mut containers = self.containers.iter();
        let found = containers.find(answers);
        found.or_else(|| self.containers.first())
    }

    /// Its name
    pub(super) fn name_at(&self, works: &[Work<'_>], address: SocketAddr) -> String {
        let container = self.answering(works, address);
        container
            .map(|container| container.name.clone())
            .unwrap_or_default()
    }

    /// What was found for a domain; a defect is kept, to be told of it
    pub(super) fn unless_defect<T>(&self, member: usize, found: Result<T, Defect>) -> Option<T> {
        let defects = || self.defects.lock().unwrap_or_else(PoisonError::into_inner);
        found
            .map_err(|defect| defects().push((member, defect)))
            .ok()
    }

    /// Ends the domains at which a defect showed
    pub(super) fn fail_of_defects(&self, works: &mut [Work<'_>], stage: Stage, begun: Instant) {
        let mut defects = self.defects.lock().unwrap_or_else(PoisonError::into_inner);
        for (member, defect) in defects.drain(..) {
            let work = &mut works[member];
            if work.end.is_none() {
                work.fail(stage, begun, &defect);
            }
        }
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
///
/// Keys get their group before that: a container whose nginx may not read one does not start.
pub(super) async fn find(context: &Context<'_>, mode: Mode, works: &mut [Work<'_>]) -> Vec<Target> {
    let mut groups: BTreeMap<Nginx, Vec<usize>> = BTreeMap::new();
    for (position, work) in works.iter().enumerate().filter(|(_, work)| work.is_open()) {
        if let Some(nginx) = &work.domain.nginx {
            work.begin(Stage::Target);
            if mode != Mode::Check {
                share_keys(context, work);
            }
            groups.entry(nginx.clone()).or_default().push(position);
        }
    }
    let mut targets = Vec::new();
    for (nginx, members) in groups {
        let begun = Instant::now();
        let domains = members.iter().map(|member| works[*member].domain);
        match find_one(context, &nginx, domains.collect()).await {
            Ok((engine, containers)) => targets.push(Target {
                nginx,
                engine,
                containers,
                dumps: Arc::default(),
                members,
                ways: HashMap::new(),
                resolved: HashMap::new(),
                astray: HashMap::new(),
                led: BTreeSet::new(),
                holders: HashMap::new(),
                balanced: BTreeSet::new(),
                baseline: HashMap::new(),
                told: None,
                reloaded: None,
                before: Before::Usable,
                defects: Mutex::default(),
                stages: Vec::new(),
            }),
            Err(finding) => {
                for member in members {
                    works[member].fail_with(Stage::Target, begun, finding.clone());
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
    domains: Vec<&Domain>,
) -> Result<(Engine, Vec<Container>), Finding> {
    let engine = Engine::at(&nginx.docker, context.patience.engine).await;
    let engine = engine.map_err(|error| Finding::from_error(&error))?;
    match engine.find(&nginx.selector).await {
        Ok(containers) => Ok((engine, containers)),
        Err(DockerError::NotRunning { container }) => {
            let supply = stopped::Supply::new(context.store, &domains);
            Err(stopped::explain(&engine, container, Some(&supply)).await)
        }
        Err(error) => Err(Finding::from_error(&error)),
    }
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
    if target.learn_balanced(works, closed).await {
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
        let seen = caught(observer.observe(name.as_str(), address)).await;
        ((name, address), seen)
    });
    let seen: Vec<_> = looking.collect::<FuturesUnordered<_>>().collect().await;
    let seen = seen.into_iter().filter_map(|(place, seen)| match seen {
        Ok(handshake) => Some((place, handshake)),
        // Nothing is known of the place then. It shows again when the domain is proven.
        Err(defect) => {
            tracing::error!(name = %place.0, %defect, "no baseline");
            None
        }
    });
    seen.collect()
}

/// Ends the domains that need nothing, and checks that the target is fit for the others
pub(super) async fn make_ready(
    context: &Context<'_>,
    options: &Options,
    target: &mut Target,
    works: &mut [Work<'_>],
) {
    let begun = Instant::now();
    target.warn_of_unpublished(works).await;
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
        mounts::refuse_pinned(context, target, work);
        if work.is_open() {
            mounts::warn_of_mounted_state(context, target, work);
            mounts::warn_of_closed_keys(context, target, work);
            reload::foresee(target, work, begun);
        }
    }
    let detail = match target.nginx.test {
        ConfigTest::Run => {
            mounts::prove_mounts(context, target, works).await;
            let tested = tested::before(context, options, target, works).await;
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
fn share_keys(context: &Context<'_>, work: &Work<'_>) {
    let newest = work.lineage.newest();
    let generations = [
        work.lineage.live,
        newest.filter(|newest| work.lineage.live != Some(*newest)),
    ];
    for generation in generations.into_iter().flatten() {
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

/// Whether a path is one of the four files of a live generation
pub(in crate::pipeline) fn is_file_of(lives: &[PathBuf], name: &DnsName, path: &Path) -> bool {
    lives.iter().any(|live| {
        let directory = live.join(name.as_str());
        FILES.iter().any(|file| directory.join(file) == path)
    })
}

/// The same for a path or where it leads through symlinks: a live link leads on to the archive
pub(super) fn is_or_leads_to_file_of(
    lives: &[PathBuf],
    name: &DnsName,
    path: &Path,
    goal: &Path,
) -> bool {
    is_file_of(lives, name, path) || is_file_of(lives, name, goal)
}

const FILES: [&str; 4] = ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"];
