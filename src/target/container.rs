//! nginx in containers, through the Docker API: finding, asking by exec, reloading.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, HostConfig, MountPoint, PortMap,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptions, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RestartContainerOptionsBuilder, TopOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio::time::timeout;

use super::dump::MOST_BYTES;
use crate::config::engine::EngineAddress;
use crate::config::{Reload, Selector};
use crate::crash;
use crate::facts::{Container, LastRun, Mount, Network, Output, Published, Restart};
use crate::finding::{one_line, root_cause};
use crate::net::engine::{self, Budget, Incoming, Peer, Response, SendError};
use crate::target::process::{self, Command, Receiver, WORKER, nginx_command};
use crate::target::words::last_words;

mod error;
mod event;
mod listening;
mod neighbours;
mod network;

pub use error::DockerError;
pub use event::{Event, Happening};
pub use listening::AtPort;
pub(crate) use listening::is_at;

/// A Docker engine
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    /// What the paths of the API begin with
    prefix: String,
    url: String,
    address: IpAddr,
    patience: Duration,
}

/// What a command in a container printed, and how it ended
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Exit status of the command
    pub status: i64,
    /// Standard output, bounded
    pub stdout: String,
    /// Standard error, bounded
    pub stderr: String,
}

/// How nginx was told to read its files again
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// `nginx -s reload` ran in the container
    ByExec,
    /// The main process got HUP
    BySignal,
    /// The container was restarted
    Restarted,
}

/// A container that does not run any more
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name
    pub name: String,
    /// The engine's word for what it does now, such as `exited`
    pub state: String,
    /// Exit status of its main process
    pub exit_code: i64,
}

/// What an engine says of a container that is known already
enum Condition {
    Runs(Box<ContainerInspectResponse>),
    Ended(Ended),
}

impl Engine {
    /// The engine at a socket path or URL, asked for the version of its API
    ///
    /// `patience` bounds each answer, and each command in a container.
    ///
    /// # Errors
    /// [`DockerError`] for a socket that is not there, a URL of another kind, and an engine that
    /// does not answer.
    pub async fn at(url: &str, patience: Duration) -> Result<Self, DockerError> {
        let (peer, address) = match EngineAddress::parse(url) {
            Some(EngineAddress::Socket(path)) if !path.exists() => {
                let path = path.to_string_lossy().into_owned();
                return Err(DockerError::NoSocket { path });
            }
            Some(EngineAddress::Socket(path)) => {
                (Peer::Socket(path.to_owned()), Ipv4Addr::LOCALHOST.into())
            }
            Some(EngineAddress::Http(url)) => (Peer::Tcp(authority(url)), host_of(url).await),
            None => {
                return Err(DockerError::Url {
                    url: url.to_owned(),
                });
            }
        };
        // bollard takes whole seconds, at least one.
        let seconds = patience.as_secs().max(1);
        let docker = Docker::connect_with_custom_transport(
            move |request| bounded(peer.clone(), request),
            Some("http://localhost"),
            seconds,
            API_DEFAULT_VERSION,
        );
        let docker = docker.map_err(|_| DockerError::Url {
            url: url.to_owned(),
        })?;
        let engine = Self {
            docker,
            prefix: String::new(),
            url: url.to_owned(),
            address,
            patience,
        };
        engine.in_its_version().await
    }

    /// The same engine, whose paths begin with the version of the API that it announces
    ///
    /// There are proxies that let only such paths pass. One that keeps the version to itself gets
    /// paths without any, which engines serve as those of their newest version.
    async fn in_its_version(self) -> Result<Self, DockerError> {
        match self.within(self.docker.clone().negotiate_version()).await {
            Ok(docker) => {
                let prefix = format!("/v{}", docker.client_version());
                let own = prefix.clone();
                let docker = docker.with_request_modifier(move |request| below(&own, request));
                Ok(Self {
                    docker,
                    prefix,
                    ..self
                })
            }
            Err(ApiError::DockerResponseServerError { .. } | ApiError::APIVersionParseError {}) => {
                Ok(self)
            }
            Err(error) => Err(self.failed("tell its version", error)),
        }
    }

    /// What the engine answers, in time for the whole of it
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let answer = timeout(self.patience, answer).await;
        answer.unwrap_or(Err(ApiError::RequestTimeoutError))
    }

    /// The same engine for an answer that has no end, and what each message of that may have
    fn streaming(&self) -> (Docker, Budget) {
        let budget = Budget::new(MOST_OF_MESSAGE);
        let (prefix, own) = (self.prefix.clone(), budget.clone());
        let docker = self.docker.clone().with_request_modifier(move |request| {
            let mut request = below(&prefix, request);
            request.extensions_mut().insert(own.clone());
            request
        });
        (docker, budget)
    }

    /// Whether the engine answers
    ///
    /// # Errors
    /// [`DockerError`] where it does not.
    pub async fn ping(&self) -> Result<(), DockerError> {
        let answered = self.within(self.docker.ping()).await;
        answered
            .map(drop)
            .map_err(|error| self.failed("ping the engine", error))
    }

    /// Address at which ports that the engine publishes on all addresses can be reached
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The running containers that a selector names; at least one
    ///
    /// # Errors
    /// [`DockerError::NotFound`] with what runs instead, [`DockerError::NotRunning`], or why the
    /// engine cannot be asked.
    pub async fn find(&self, selector: &Selector) -> Result<Vec<Container>, DockerError> {
        let ids = match selector {
            Selector::Container(name) => vec![name.clone()],
            selector => self.labelled(labels(selector)).await?,
        };
        if ids.len() > MOST_CONTAINERS {
            return Err(DockerError::TooMany {
                selector: selector.clone(),
                found: ids.len(),
                most: MOST_CONTAINERS,
            });
        }
        let mut containers = Vec::new();
        for id in ids {
            if let Some(response) = self.inspect(&id).await? {
                containers.push(self.describe(response).await?);
            }
        }
        if containers.is_empty() {
            return Err(DockerError::NotFound {
                selector: selector.clone(),
                running: self.running().await?,
            });
        }
        for container in &mut containers {
            if self.keeps_ending(container).await {
                RESTARTING.clone_into(&mut container.state);
            }
        }
        match containers
            .iter()
            .find(|container| container.state != RUNNING)
        {
            Some(stopped) => Err(DockerError::NotRunning {
                container: Box::new(stopped.clone()),
            }),
            None => Ok(containers),
        }
    }

    /// Whether a container that runs at this moment ends again as soon as nginx has read its files
    ///
    /// One that the engine never had to start again, or in which nginx has workers, does not.
    async fn keeps_ending(&self, container: &Container) -> bool {
        let mut processes = container.processes.iter();
        let has_workers = processes.any(|process| process.command.contains(WORKER));
        if container.state != RUNNING || container.restarts == 0 || has_workers {
            return false;
        }
        match container.processes.is_empty() {
            // It may have ended since.
            true => matches!(self.condition(container).await, Some(Condition::Ended(_))),
            false => last_words(&self.errors_of_last_run(container).await).is_some(),
        }
    }

    /// Reads containers again after a restart, which may have given them other addresses; gives
    /// those that do not run any more
    ///
    /// They keep what was known of them: where they should answer.
    pub async fn refresh(&self, containers: &mut [Container]) -> Vec<Ended> {
        let mut gone = Vec::new();
        for known in containers {
            match self.condition(known).await {
                Some(Condition::Runs(response)) => {
                    if let Ok(found) = self.describe(*response).await {
                        *known = found;
                    }
                }
                Some(Condition::Ended(ended)) => gone.push(ended),
                None => {}
            }
        }
        gone
    }

    /// Those of these containers that do not run any more
    ///
    /// One that cannot be asked about counts as running.
    pub async fn ended(&self, containers: &[Container]) -> Vec<Ended> {
        let mut gone = Vec::new();
        for known in containers {
            if let Some(Condition::Ended(ended)) = self.condition(known).await {
                gone.push(ended);
            }
        }
        gone
    }

    /// Whether a container runs; `None` where the engine does not tell
    async fn condition(&self, known: &Container) -> Option<Condition> {
        let inspected = self.docker.inspect_container(&known.id, None);
        let inspected = self.within(inspected).await;
        let response = inspected.ok()?;
        let state = response.state.as_ref();
        let word = state
            .and_then(|state| state.status)
            .map(|word| word.to_string());
        Some(match word {
            Some(word) if word != RUNNING => Condition::Ended(Ended {
                name: known.name.clone(),
                state: word,
                exit_code: state.and_then(|state| state.exit_code).unwrap_or_default(),
            }),
            _ => Condition::Runs(Box::new(response)),
        })
    }

    /// A container with what runs in it, as far as the engine tells
    async fn with_processes(&self, response: ContainerInspectResponse) -> Container {
        let main = response.state.as_ref().and_then(|state| state.pid);
        let main = main.and_then(|main| u32::try_from(main).ok());
        let mut described = container(response);
        if described.state == RUNNING {
            let mut rows = self.top(&described.id, process::COLUMNS).await;
            if rows.is_none() {
                rows = self.top(&described.id, process::FEWER_COLUMNS).await;
            }
            // Without a table the command line that the container was created with has to do.
            described.processes =
                process::of_table(&rows.unwrap_or_default(), main.unwrap_or_default());
        }
        described
    }

    /// The table of a container's processes; `None` where the engine does not show it
    async fn top(&self, id: &str, columns: &str) -> Option<Vec<Vec<String>>> {
        let options = TopOptionsBuilder::new().ps_args(columns).build();
        let table = self.docker.top_processes(id, Some(options));
        let table = self.within(table).await;
        table.ok()?.processes
    }

    async fn labelled(&self, labels: Vec<String>) -> Result<Vec<String>, DockerError> {
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new()
            .filters(&filters)
            .build();
        let found = self.list(Some(options)).await?;
        Ok(found
            .into_iter()
            .filter_map(|container| container.id)
            .collect())
    }

    async fn list(
        &self,
        options: Option<ListContainersOptions>,
    ) -> Result<Vec<ContainerSummary>, DockerError> {
        let listed = self.within(self.docker.list_containers(options)).await;
        listed.map_err(|error| self.failed("list containers", error))
    }

    /// Names of all running containers, for a message
    async fn running(&self) -> Result<Vec<String>, DockerError> {
        let found = self.list(None).await?;
        let mut names: Vec<String> = found
            .into_iter()
            .filter_map(|container| container.names?.into_iter().next())
            .map(|name| name.trim_start_matches('/').to_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Runs a command in a container and waits for its end
    ///
    /// # Errors
    /// [`DockerError`]; a command that ends with a status other than 0 is no error.
    pub async fn exec(
        &self,
        container: &Container,
        command: &Command,
    ) -> Result<Executed, DockerError> {
        let outcome = timeout(self.patience, self.exec_unbounded(container, command)).await;
        crash::point("ran", format_args!("{:?}", command.words));
        match outcome {
            // The engine's own time for an answer ends with that for the whole: either may be first.
            Ok(Err(DockerError::TimedOut { .. })) | Err(_) => Err(DockerError::ExecTimedOut {
                container: container.name.clone(),
                command: command.words.join(" "),
                after: self.patience,
            }),
            Ok(outcome) => outcome,
        }
    }

    async fn exec_unbounded(
        &self,
        container: &Container,
        command: &Command,
    ) -> Result<Executed, DockerError> {
        let failed = |error| self.failed(OF_COMMAND, error);
        let options = CreateExecOptions {
            cmd: Some(command.words.clone()),
            user: command.user.clone(),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let exec = self
            .docker
            .create_exec(&container.id, options)
            .await
            .map_err(failed)?;
        let (docker, budget) = self.streaming();
        let started = docker.start_exec(&exec.id, None).await.map_err(failed)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        if let StartExecResults::Attached { mut output, .. } = started {
            let failed = |error| match budget.is_spent() {
                true => DockerError::TooLong {
                    what: OF_COMMAND,
                    most: MOST_OF_MESSAGE,
                },
                false => failed(error),
            };
            while let Some(part) = output.try_next().await.map_err(failed)? {
                budget.renew();
                match part {
                    LogOutput::StdErr { message } => append(&mut stderr, &message),
                    part => append(&mut stdout, &part.into_bytes()),
                }
            }
        }
        // The exit status is known only after the output has ended.
        let ended = self.docker.inspect_exec(&exec.id).await.map_err(failed)?;
        Ok(Executed {
            status: ended.exit_code.unwrap_or(-1),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    /// The end of what a container wrote since an instant, both streams in their order
    ///
    /// Empty where the engine does not tell: not every logging driver can be read. The engine
    /// compares the instant with its own clock.
    pub async fn log_since(&self, container: &Container, since: Timestamp) -> String {
        let since = i32::try_from(since.as_second()).unwrap_or_default();
        let options = LogsOptionsBuilder::new().stdout(true).since(since);
        self.log(container, options).await
    }

    /// The end of the errors that a container wrote in its last run; empty as there
    pub async fn errors_of_last_run(&self, container: &Container) -> String {
        let began = container.last_run.began;
        let began = began.and_then(|began| i32::try_from(began.as_second()).ok());
        // To a terminal all is written as one.
        let is_terminal = container.last_run.output == Output::Terminal;
        let options = LogsOptionsBuilder::new().stdout(is_terminal);
        let options = options.since(began.unwrap_or_default());
        self.log(container, options).await
    }

    async fn log(&self, container: &Container, options: LogsOptionsBuilder) -> String {
        let options = options.stderr(true).tail(LOG_LINES).build();
        let mut log = Vec::new();
        let (docker, budget) = self.streaming();
        let read = async {
            let mut parts = std::pin::pin!(docker.logs(&container.id, Some(options)));
            while let Ok(Some(part)) = parts.try_next().await {
                budget.renew();
                append(&mut log, &part.into_bytes());
            }
        };
        // What was read until then is as good.
        let _ = timeout(self.patience, read).await;
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Makes nginx in a container read its files again; gives how
    ///
    /// Returning means that nginx was told, not that it did: only a handshake shows that. A signal
    /// that would go to another program than nginx, or that the engine may not send, is not sent:
    /// then nginx is told as with [`Reload::Exec`].
    ///
    /// # Errors
    /// [`DockerError`] when it could not be told.
    pub async fn reload(&self, container: &Container, reload: Reload) -> Result<Told, DockerError> {
        match reload {
            Reload::Signal => match process::receiver(container) {
                Receiver::Nginx => self.signal(container).await,
                Receiver::Other(_) | Receiver::Unknown => self.reload_by_exec(container).await,
            },
            Reload::Exec => self.reload_by_exec(container).await,
            Reload::Restart => {
                let options = RestartContainerOptionsBuilder::new()
                    .t(STOP_SECONDS)
                    .build();
                let restarted = self.docker.restart_container(&container.id, Some(options));
                let restarted = self.within(restarted).await;
                restarted
                    .map(|()| Told::Restarted)
                    .map_err(|error| self.failed("restart the container", error))
            }
        }
    }

    async fn signal(&self, container: &Container) -> Result<Told, DockerError> {
        let options = KillContainerOptionsBuilder::new().signal("HUP").build();
        let sent = self.docker.kill_container(&container.id, Some(options));
        let sent = self.within(sent).await;
        match sent.map_err(|error| self.failed("send HUP to the container", error)) {
            Ok(()) => Ok(Told::BySignal),
            // AppArmor, or an engine without root: the signal has not arrived.
            Err(error) if error.is_denied() => match self.reload_by_exec(container).await {
                Ok(told) => Ok(told),
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn reload_by_exec(&self, container: &Container) -> Result<Told, DockerError> {
        let command = nginx_command(container, &["-s", "reload"]);
        let executed = self.exec(container, &command).await?;
        if executed.status == 0 {
            return Ok(Told::ByExec);
        }
        let words = [executed.stderr.trim(), executed.stdout.trim()];
        Err(DockerError::ReloadFailed {
            container: container.name.clone(),
            words: words.join("\n").trim().to_owned(),
        })
    }

    fn failed(&self, what: &'static str, error: ApiError) -> DockerError {
        match error {
            ApiError::DockerResponseServerError {
                status_code,
                message,
            } => DockerError::Api {
                what,
                status: status_code,
                message: words_of(&message),
            },
            ApiError::RequestTimeoutError => DockerError::TimedOut {
                what,
                after: self.patience,
            },
            ApiError::JsonDataError { .. } | ApiError::JsonSerdeError { .. } => {
                DockerError::NotDocker {
                    url: self.url.clone(),
                }
            }
            error => match io_kind(&error) {
                Some(io::ErrorKind::PermissionDenied) => DockerError::Forbidden {
                    url: self.url.clone(),
                },
                Some(io::ErrorKind::FileTooLarge) => DockerError::TooLong {
                    what,
                    most: MOST_OF_ANSWER,
                },
                _ => DockerError::Unreachable {
                    url: self.url.clone(),
                    reason: root_cause(&error),
                },
            },
        }
    }
}

/// The labels by which a selector finds containers; none where it names one
fn labels(selector: &Selector) -> Vec<String> {
    match selector {
        Selector::Container(_) => Vec::new(),
        Selector::Label(label) => vec![label.clone()],
        Selector::Service { service, project } => {
            let project = project.iter();
            let project = project.map(|project| format!("{COMPOSE_PROJECT}={project}"));
            let service = format!("{COMPOSE_SERVICE}={service}");
            std::iter::once(service).chain(project).collect()
        }
    }
}

/// Sends a request of bollard's to an engine, whose answer is bounded
async fn bounded(peer: Peer, request: BollardRequest) -> Result<Response<Incoming>, ApiError> {
    let budget = request.extensions().get().cloned();
    let budget = budget.unwrap_or_else(|| Budget::new(MOST_OF_ANSWER));
    let answer = engine::send(&peer, budget, request).await;
    answer.map_err(|error| match error {
        SendError::Connect(err) => ApiError::IOError { err },
        SendError::Http(err) => ApiError::HyperResponseError { err },
    })
}

/// A request with this before its path
fn below(prefix: &str, request: BollardRequest) -> BollardRequest {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = format!("{prefix}{path}").parse().ok();
    // Both were parts of a URI already; if they make none, the engine gets what it got before.
    if let Ok(uri) = parts.try_into() {
        head.uri = uri;
    }
    BollardRequest::from_parts(head, body)
}

fn append(buffer: &mut Vec<u8>, part: &[u8]) {
    let room = MAX_OUTPUT.saturating_sub(buffer.len());
    buffer.extend_from_slice(&part[..part.len().min(room)]);
}

/// What the engine, or a proxy in front of it, said: without markup, on one line
fn words_of(message: &str) -> String {
    // A page's title says what its heading says again.
    let (before, rest) = message.split_once("<title>").unwrap_or((message, ""));
    let after = rest.split_once("</title>").map_or("", |(_, after)| after);
    let mut inside_tag = false;
    let bare: String = before
        .chars()
        .chain(after.chars())
        .map(|c| {
            inside_tag = c == '<' || (inside_tag && c != '>');
            if inside_tag || c == '>' { ' ' } else { c }
        })
        .collect();
    let words = bare.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        return "it gave no reason".to_owned();
    }
    one_line(&words)
}

/// The I/O error at the bottom of an API error
fn io_kind(error: &ApiError) -> Option<io::ErrorKind> {
    if let ApiError::IOError { err } = error {
        return Some(err.kind());
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}

/// Host and port in an engine's URL
fn authority(url: &str) -> String {
    let authority = url.split("://").nth(1).unwrap_or(url);
    let authority = authority.split('/').next().unwrap_or(authority);
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match has_port {
        true => authority.to_owned(),
        false => format!("{authority}:{HTTP}"),
    }
}

/// Address of the host in an engine's URL; loopback where it cannot be told
async fn host_of(url: &str) -> IpAddr {
    let addresses = tokio::net::lookup_host(authority(url)).await.ok();
    let first = addresses.and_then(|mut addresses| addresses.next());
    first.map_or_else(|| Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// A container as the API describes it in JSON; `None` where that is no description
#[cfg(any(test, fuzzing))]
pub(crate) fn of_json(response: &[u8]) -> Option<Container> {
    serde_json::from_slice(response).ok().map(container)
}

/// What is known of a container's last run
fn last_run(response: &ContainerInspectResponse) -> LastRun {
    let state = response.state.as_ref();
    let runs =
        state.is_some_and(|state| state.running == Some(true) && state.restarting != Some(true));
    let began = state.and_then(|state| state.started_at.as_ref()?.parse().ok());
    let terminal = response.config.as_ref().and_then(|config| config.tty);
    LastRun {
        began,
        exit_code: state.and_then(|state| state.exit_code).filter(|_| !runs),
        output: match terminal {
            Some(true) => Output::Terminal,
            Some(false) | None => Output::Streams,
        },
    }
}

fn container(response: ContainerInspectResponse) -> Container {
    let last_run = last_run(&response);
    let (state, health) = response.state.map_or((None, None), |state| {
        (state.status, state.health.and_then(|health| health.status))
    });
    let settings = response.network_settings.unwrap_or_default();
    let config = response.config.unwrap_or_default();
    let (labels, user) = (config.labels, config.user.unwrap_or_default());
    let host = response.host_config.unwrap_or_default();
    let restart = restart(&host);
    let restarts = response.restart_count;
    let mode = host.network_mode;
    let command = response
        .path
        .into_iter()
        .chain(response.args.unwrap_or_default());
    let mut addresses: Vec<IpAddr> = settings
        .networks
        .unwrap_or_default()
        .into_values()
        .flat_map(|network| [network.ip_address, network.global_ipv6_address])
        .filter_map(|address| address?.parse().ok())
        .collect();
    addresses.sort();
    Container {
        id: response.id.unwrap_or_default(),
        name: response
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        hostname: config.hostname.unwrap_or_default(),
        state: state.map(|state| state.to_string()).unwrap_or_default(),
        health: health
            .map(|health| health.to_string())
            .filter(|health| !["", "none"].contains(&health.as_str())),
        command: command.collect(),
        mounts: response
            .mounts
            .unwrap_or_default()
            .into_iter()
            .filter_map(mount)
            .collect(),
        published: published(settings.ports.unwrap_or_default()),
        addresses,
        network: match mode.as_deref() {
            Some("host") => Network::Host,
            _ => Network::Own,
        },
        lender: None,
        last_run,
        swarm: labels.and_then(|mut labels| labels.remove(SWARM_SERVICE)),
        user,
        processes: Vec::new(),
        restart,
        restarts: restarts
            .and_then(|count| count.try_into().ok())
            .unwrap_or_default(),
    }
}

fn restart(host: &HostConfig) -> Restart {
    let policy = host.restart_policy.as_ref();
    match policy.and_then(|policy| policy.name) {
        Some(RestartPolicyNameEnum::ALWAYS) => Restart::Always,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => Restart::UnlessStopped,
        _ => Restart::Seldom,
    }
}

fn mount(point: MountPoint) -> Option<Mount> {
    let source = point.source.filter(|source| !source.is_empty())?;
    Some(Mount {
        // A source may be given through a symlink; one that cannot be read here is kept as it is.
        source: std::fs::canonicalize(&source).unwrap_or_else(|_| source.into()),
        destination: point.destination?.into(),
    })
}

fn published(ports: PortMap) -> Vec<Published> {
    let mut published: Vec<Published> = ports
        .into_iter()
        .flat_map(|(port, bindings)| {
            bindings
                .unwrap_or_default()
                .into_iter()
                .map(move |binding| (port.clone(), binding))
        })
        .filter_map(|(port, binding)| {
            let container_port = port.strip_suffix("/tcp")?.parse().ok()?;
            let ip = binding.host_ip.filter(|ip| !ip.is_empty());
            let ip = ip.as_deref().unwrap_or("0.0.0.0").parse().ok()?;
            let host_port = binding.host_port?.parse().ok()?;
            Some(Published {
                container_port,
                host: SocketAddr::new(ip, host_port),
            })
        })
        .collect();
    published.sort_by_key(|published| (published.container_port, published.host));
    published
}

const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const SWARM_SERVICE: &str = "com.docker.swarm.service.name";
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
pub(crate) const RUNNING: &str = "running";
const RESTARTING: &str = "restarting";
/// Lines at the end of a log that are read
const LOG_LINES: &str = "200";
/// Seconds that a container has to stop before it is killed, at a restart
const STOP_SECONDS: i32 = 10;
/// The port of a URL that has none
const HTTP: u16 = 80;
/// Bytes of an answer that are read: a list of ten thousand containers has as many
const MOST_OF_ANSWER: usize = 16 << 20;
/// Bytes of a message, of those that make a stream: Docker sends a line in parts of 16 KiB
const MOST_OF_MESSAGE: usize = 1 << 20;
/// Containers of one selector that are looked at
const MOST_CONTAINERS: usize = 256;
const OF_COMMAND: &str = "run a command in the container";
/// What is cut off is longer than any dump that is judged.
const MAX_OUTPUT: usize = MOST_BYTES + 1;
