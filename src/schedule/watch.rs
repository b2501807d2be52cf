//! Watching Docker for containers that start: what nginx serves may have changed with that.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::{Config, Nginx};
use crate::target::container::{DockerError, Engine};

/// Watches the containers of each `[nginx]` until it is dropped
pub(super) struct Watch {
    _tasks: JoinSet<()>,
    started: mpsc::UnboundedReceiver<Nginx>,
}

impl Watch {
    /// Watches the containers of all enabled domains; `patience` bounds the engine's first answer
    pub(super) fn start(config: &Config, patience: Duration) -> Self {
        let nginxes = config.enabled().filter_map(|domain| domain.nginx.clone());
        let targets: BTreeSet<Nginx> = nginxes.collect();
        let (sender, started) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for nginx in targets {
            tasks.spawn(watch(nginx, patience, sender.clone()));
        }
        Self {
            _tasks: tasks,
            started,
        }
    }

    /// Waits until a container of one of them has started; a dropped future loses none
    pub(super) async fn next(&mut self) -> Nginx {
        match self.started.recv().await {
            Some(nginx) => nginx,
            // Without a target there is nothing to wait for.
            None => std::future::pending().await,
        }
    }
}

async fn watch(nginx: Nginx, patience: Duration, started: mpsc::UnboundedSender<Nginx>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let is_first = pause == SHORTEST_PAUSE;
        let docker = &nginx.docker;
        match follow(&nginx, patience, &started, &mut pause).await {
            Err(error) if is_first => {
                tracing::warn!(docker, %error, "containers that start are not noticed");
            }
            ended => tracing::debug!(docker, ?ended, "Docker's events ended"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Tells of each container that starts, until the engine ends the stream
async fn follow(
    nginx: &Nginx,
    patience: Duration,
    started: &mpsc::UnboundedSender<Nginx>,
    pause: &mut Duration,
) -> Result<(), DockerError> {
    let engine = Engine::at(&nginx.docker, patience).await?;
    let mut starts = std::pin::pin!(engine.starts(&nginx.selector));
    // An engine that refuses says so before long.
    let mut first = match timeout(SETTLING, starts.try_next()).await {
        Ok(first) => Some(first?),
        Err(_) => None,
    };
    // Whatever started while nobody listened is told of once.
    if *pause > SHORTEST_PAUSE && first.is_none() {
        let _ = started.send(nginx.clone());
    }
    *pause = SHORTEST_PAUSE;
    loop {
        let next = match first.take() {
            Some(first) => first,
            None => starts.try_next().await?,
        };
        let Some(container) = next else { return Ok(()) };
        tracing::info!(container, "a container has started");
        let _ = started.send(nginx.clone());
    }
}

/// Time after which a stream without events is taken for one that works
const SETTLING: Duration = Duration::from_secs(5);
/// Time before the engine is asked again: at first, and at most
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
