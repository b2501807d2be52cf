//! Watching Docker for containers that start or stop: what nginx serves may have changed with that.
//!
//! Each engine is listened to once, however many targets it has: a stream for each would be a
//! connection for each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::ready;
use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::{Config, Nginx};
use crate::pipeline::defect::caught;
use crate::target::container::{DockerError, Engine, Event};
use crate::time::in_words;

mod news;

use news::{Ear, News};

/// Watches the containers of each `[nginx]` until it is dropped
pub(super) struct Watch {
    _tasks: JoinSet<()>,
    started: mpsc::UnboundedReceiver<Nginx>,
}

impl Watch {
    /// Watches the containers of all enabled domains; `patience` bounds an engine's first answer
    pub(super) fn start(config: &Config, patience: Duration) -> Self {
        let (started, receiver) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for (docker, targets) in by_engine(config) {
            let listener = Listener {
                docker,
                targets,
                patience,
                started: started.clone(),
            };
            tasks.spawn(async move {
                // An engine that certd stumbles over is listened to again, with a pause.
                while let Err(defect) = caught(listener.listen()).await {
                    tracing::error!(docker = listener.docker, %defect, "listened to again");
                    sleep(LONGEST_PAUSE).await;
                }
            });
        }
        Self {
            _tasks: tasks,
            started: receiver,
        }
    }

    /// Waits until a container of one of them has started or stopped; a dropped future loses none
    pub(super) async fn next(&mut self) -> Nginx {
        match self.started.recv().await {
            Some(nginx) => nginx,
            // Without a target there is nothing to wait for.
            None => std::future::pending().await,
        }
    }
}

/// The targets of all enabled domains, by the Docker API that knows their containers
fn by_engine(config: &Config) -> BTreeMap<String, BTreeSet<Nginx>> {
    let mut engines: BTreeMap<String, BTreeSet<Nginx>> = BTreeMap::new();
    for nginx in config.enabled().filter_map(|domain| domain.nginx.as_ref()) {
        let targets = engines.entry(nginx.docker.clone()).or_default();
        targets.insert(nginx.clone());
    }
    engines
}

/// Listens to one engine
struct Listener {
    docker: String,
    targets: BTreeSet<Nginx>,
    patience: Duration,
    started: mpsc::UnboundedSender<Nginx>,
}

impl Listener {
    async fn listen(&self) {
        let docker = &self.docker;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let is_first = pause == SHORTEST_PAUSE;
            match self.follow(&mut pause).await {
                Err(error) if is_first => {
                    tracing::warn!(docker, %error, "containers that start and stop are not noticed");
                }
                ended => tracing::debug!(docker, ?ended, "Docker's events ended"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tells of each container that starts or stops, until the engine ends the stream
    async fn follow(&self, pause: &mut Duration) -> Result<(), DockerError> {
        let engine = Engine::at(&self.docker, self.patience).await?;
        // Other people's containers start too.
        let is_of_ours = |event: &Event| {
            ready(
                self.targets
                    .iter()
                    .any(|nginx| event.is_of(&nginx.selector)),
            )
        };
        let events = std::pin::pin!(engine.events().try_filter(is_of_ours));
        let mut ear = Ear::new(events);
        // An engine that refuses says so before long.
        let first = match timeout(SETTLING, ear.next()).await {
            Ok(first) => match first? {
                Some(news) => Some(news),
                None => return Ok(()),
            },
            Err(_) => None,
        };
        // Whatever happened while nobody listened is reported once.
        if *pause > SHORTEST_PAUSE {
            self.tell(|_| true);
        }
        *pause = SHORTEST_PAUSE;
        first.iter().for_each(|news| self.note(news));
        while let Some(news) = ear.next().await? {
            self.note(&news);
        }
        Ok(())
    }

    /// Logs what has come of a container, and has it looked at, but for one that may be on its way back
    fn note(&self, news: &News) {
        let event = match news {
            News::Stopped(event) => {
                return tracing::info!(container = event.name, "a container has stopped");
            }
            News::Started(event) => {
                tracing::info!(container = event.name, "a container has started");
                event
            }
            News::Back(event, away) => {
                let container = &event.name;
                tracing::info!(container, ?away, "a container has started again");
                event
            }
            News::Lost(event) => {
                let since = in_words(SignedDuration::try_from(news::GRACE).unwrap_or_default());
                let container = &event.name;
                tracing::error!(
                    container,
                    "a container has stopped {since} ago and not started again: it serves nothing"
                );
                event
            }
        };
        self.tell(|nginx| event.is_of(&nginx.selector));
    }

    fn tell(&self, is_meant: impl Fn(&Nginx) -> bool) {
        for nginx in self.targets.iter().filter(|nginx| is_meant(nginx)) {
            // The daemon that would hear it may be gone.
            let _ = self.started.send(nginx.clone());
        }
    }
}

/// Time after which a stream without events is taken for one that works
const SETTLING: Duration = Duration::from_secs(5);
/// Time before the engine is asked again: at first, and at most
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
