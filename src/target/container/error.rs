//! What Docker can fail at, and what to do about it.

use std::time::Duration;

use thiserror::Error;

use crate::config::Selector;
use crate::config::engine::EngineAddress;
use crate::facts::Container;
use crate::finding::Explain;

/// Why Docker did not do what was asked
#[derive(Debug, Error)]
pub enum DockerError {
    /// The socket does not exist
    #[error("there is no Docker socket at {path}")]
    NoSocket {
        /// As configured
        path: String,
    },
    /// The URL is of no kind that is known
    #[error("`{url}` is no Docker API")]
    Url {
        /// As configured
        url: String,
    },
    /// The socket may not be used
    #[error("no permission to use Docker at {url}")]
    Forbidden {
        /// As configured
        url: String,
    },
    /// The engine does not answer
    #[error("the Docker engine at {url} cannot be reached: {reason}")]
    Unreachable {
        /// As configured
        url: String,
        /// Why
        reason: String,
    },
    /// Something else answers
    #[error("what answers at {url} is not Docker")]
    NotDocker {
        /// As configured
        url: String,
    },
    /// The engine took too long
    #[error("Docker did not {what} within {} s", after.as_secs())]
    TimedOut {
        /// What was asked, as a verb
        what: &'static str,
        /// The limit
        after: Duration,
    },
    /// The engine answers without end
    #[error("Docker did not {what} in {} MiB: its answer was not read on", most >> 20)]
    TooLong {
        /// What was asked, as a verb
        what: &'static str,
        /// Bytes that are read
        most: usize,
    },
    /// More containers match than are looked at
    #[error("{found} containers match {selector}; certd looks at {most} of them at most")]
    TooMany {
        /// As configured
        selector: Selector,
        /// How many
        found: usize,
        /// How many are looked at
        most: usize,
    },
    /// The engine refused
    #[error("Docker could not {what}: {message} ({status})")]
    Api {
        /// What was asked, as a verb
        what: &'static str,
        /// HTTP status
        status: u16,
        /// The engine's own words
        message: String,
    },
    /// No container matches
    #[error("no container matches: {selector}")]
    NotFound {
        /// As configured
        selector: Selector,
        /// Names of those that run
        running: Vec<String>,
    },
    /// The container is there and does not run
    #[error("the container {} is not running: its state is {}", container.name, container.state)]
    NotRunning {
        /// What the engine tells of it
        container: Box<Container>,
    },
    /// A command in the container did not end
    #[error("`{command}` in {container} did not end within {} s", after.as_secs())]
    ExecTimedOut {
        /// Where
        container: String,
        /// What
        command: String,
        /// The limit
        after: Duration,
    },
    /// `nginx -s reload` failed
    #[error("`nginx -s reload` failed in {container}: {words}")]
    ReloadFailed {
        /// Where
        container: String,
        /// nginx's own words
        words: String,
    },
}

impl DockerError {
    /// Whether the engine, or the system under it, does not let it be done
    pub fn is_denied(&self) -> bool {
        const DENIALS: [&str; 2] = ["permission denied", "operation not permitted"];
        matches!(self, Self::Api { message, .. }
            if DENIALS.iter().any(|denial| message.to_lowercase().contains(denial)))
    }
}

/// How a container that does not run is brought to run
fn to_run(container: &Container) -> String {
    let Container { name, state, .. } = container;
    match state.as_str() {
        "paused" => format!("let it go on: docker unpause {name}"),
        "created" => format!("start it: docker start {name}"),
        "restarting" => {
            format!("it stops each time it starts; see why:\n    docker logs --tail 20 {name}")
        }
        _ => format!(
            "see why it stopped, and start it:\n    docker logs --tail 20 {name}\n    docker start {name}"
        ),
    }
}

impl Explain for DockerError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoSocket { .. } => "docker.no_socket",
            Self::Url { .. } => "docker.url",
            Self::Forbidden { .. } => "docker.forbidden",
            Self::Unreachable { .. } => "docker.unreachable",
            Self::NotDocker { .. } => "docker.not_docker",
            Self::TimedOut { .. } | Self::ExecTimedOut { .. } => "docker.timeout",
            Self::Api { .. } => "docker.refused",
            Self::TooLong { .. } => "docker.too_long",
            Self::TooMany { .. } => "target.too_many",
            Self::NotFound { .. } => "target.not_found",
            Self::NotRunning { .. } => "target.not_running",
            Self::ReloadFailed { .. } => "target.reload",
        }
    }

    fn cure(&self) -> Option<String> {
        Some(match self {
            Self::NoSocket { .. } | Self::Unreachable { .. } => {
                "is Docker running? If it listens elsewhere, set `docker` in [nginx] or $DOCKER_HOST"
                    .to_owned()
            }
            Self::NotDocker { .. } => {
                "set `docker` in [nginx] or $DOCKER_HOST to the engine's socket or URL".to_owned()
            }
            Self::Url { .. } => EngineAddress::CURE.to_owned(),
            Self::Forbidden { .. } => {
                "run certd as root or as a member of the group `docker`".to_owned()
            }
            Self::Api { status: 403, .. } => {
                "a proxy in front of the engine forbids it: README.md lists the calls that certd makes"
                    .to_owned()
            }
            Self::NotFound { running, .. } if running.is_empty() => {
                "no container runs at all: start nginx first".to_owned()
            }
            Self::NotFound { running, .. } => {
                let named: Vec<&str> = running.iter().map(String::as_str).take(MOST_NAMED).collect();
                let more = match running.len() - named.len() {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                format!("running containers: {}{more}", named.join(", "))
            }
            Self::TooLong { .. } => {
                "is that the Docker engine? `docker` in [nginx] or $DOCKER_HOST names it".to_owned()
            }
            Self::TooMany { .. } => {
                "give the label to the containers of this nginx alone, or name one with `container`"
                    .to_owned()
            }
            Self::NotRunning { container } => to_run(container),
            Self::ExecTimedOut { container, .. } => format!(
                "Docker ends no command that it has started in a container: it goes on there. Find it, and end it by its number, on the engine's host:\n    docker top {container}\n    kill PID\nthen run `certd obtain` again"
            ),
            Self::TimedOut { .. } | Self::Api { .. } | Self::ReloadFailed { .. } => {
                return None;
            }
        })
    }
}

/// Containers that are named in a message
const MOST_NAMED: usize = 40;
