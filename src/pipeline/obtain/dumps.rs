//! What nginx prints of its configuration, and who else sees its files: each is asked for once, until
//! nginx reads it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::facts::{Container, Neighbour};
use crate::target::container::Engine;
use crate::target::dump::{self, Configuration, Unjudged};
use crate::target::listen::particular;
use crate::target::process::nginx_command;

/// What is known of the configurations of a target's containers, by their names
///
/// To print it nginx loads it whole, a thousand certificates with it, and reading it costs as much.
#[derive(Debug, Default)]
pub(super) struct Dumps(Mutex<BTreeMap<String, Arc<Asked>>>);

/// What one container answered, how often it was asked, and who sees its files
#[derive(Debug, Default)]
struct Asked {
    answer: AsyncMutex<Option<Answer>>,
    times: AtomicUsize,
    neighbours: OnceCell<Arc<[Neighbour]>>,
}

#[derive(Debug)]
enum Answer {
    /// It holds until nginx reads its files again
    Whole(Arc<Dump>),
    /// nginx prints nothing of what it refuses, as where its first certificate is missing: once that
    /// is there it does. It holds for whoever waited for it
    Refused(Arc<Dump>),
}

/// nginx's configuration in one container
#[derive(Debug)]
pub(super) struct Dump {
    /// The addresses at which it listens in particular, not at all of a family
    pub(super) addresses: BTreeSet<IpAddr>,
    /// What it says of server blocks
    pub(super) configuration: Result<Arc<Configuration>, Unjudged>,
}

impl Dump {
    /// What nginx has printed on a host of this name; of a configuration that is not judged no
    /// address is believed
    fn of(printed: &str, hostname: &str) -> Self {
        let configuration = dump::read(printed);
        let configuration = configuration.map(|read| Arc::new(read.on_host(hostname)));
        let addresses = configuration.as_ref().map(|configuration| {
            let servers = configuration
                .servers
                .iter()
                .flat_map(|server| &server.listens);
            let streams = configuration
                .streams
                .iter()
                .flat_map(|server| &server.listens);
            particular(servers.chain(streams))
        });
        Self {
            addresses: addresses.unwrap_or_default(),
            configuration,
        }
    }
}

impl Dumps {
    /// The configuration in a container; `None` where it cannot be asked
    pub(super) async fn of(&self, engine: &Engine, container: &Container) -> Option<Arc<Dump>> {
        let asked = self.asked(container);
        let before = asked.times.load(Ordering::Acquire);
        let mut answer = asked.answer.lock().await;
        match &*answer {
            Some(Answer::Whole(dump)) => return Some(Arc::clone(dump)),
            Some(Answer::Refused(dump)) if asked.times.load(Ordering::Acquire) > before => {
                return Some(Arc::clone(dump));
            }
            _ => {}
        }
        let command = nginx_command(container, &["-T"]);
        let executed = engine.exec(container, &command).await.ok()?;
        let dump = Arc::new(Dump::of(&executed.stdout, &container.hostname));
        *answer = Some(match executed.status {
            0 => Answer::Whole(Arc::clone(&dump)),
            _ => Answer::Refused(Arc::clone(&dump)),
        });
        asked.times.fetch_add(1, Ordering::Release);
        Some(dump)
    }

    /// Other containers that see files of this one
    ///
    /// The engine lists all that run for that: only advice needs them, and one list serves a run.
    pub(super) async fn neighbours_of(
        &self,
        engine: &Engine,
        container: &Container,
    ) -> Arc<[Neighbour]> {
        let asked = self.asked(container);
        let listing = async || engine.neighbours(container).await.map(Arc::from);
        let neighbours = asked.neighbours.get_or_try_init(listing).await;
        // What cannot be listed is taken to be alone.
        neighbours.cloned().unwrap_or_default()
    }

    /// Forgets all: nginx is about to read its files again
    pub(super) fn forget(&self) {
        self.all().clear();
    }

    fn asked(&self, container: &Container) -> Arc<Asked> {
        Arc::clone(self.all().entry(container.name.clone()).or_default())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Asked>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_their_own_are_those_of_the_lines_that_nginx_obeys() {
        let printed = "# configuration file /etc/nginx/nginx.conf:
http { server { listen 443 ssl; listen 192.0.2.1:443 ssl; # listen 192.0.2.9;
  listen
    [2001:db8::1]:443 ssl;
  return 200 'x; listen 192.0.2.7:443;
listen 192.0.2.6:443; ';
  listen [::]:443 ssl; server_name listen 192.0.2.8; listen unix:/x; }
server{listen 192.0.2.1;} }
stream { server { listen 192.0.2.2:25; proxy_pass x:1; } }";
        let dump = Dump::of(printed, "");
        let found: Vec<String> = dump.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    }
}
