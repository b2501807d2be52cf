//! What nginx prints of its configuration: each container is asked once, until nginx reads it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::facts::Container;
use crate::target::container::Engine;
use crate::target::dump::{self, Configuration, Unjudged};
use crate::target::listen::particular;
use crate::target::process::nginx_command;

/// What is known of the configurations of a target's containers, by their names
///
/// To print it nginx loads it whole, a thousand certificates with it, and reading it costs as much.
#[derive(Default)]
pub(super) struct Dumps(Mutex<BTreeMap<String, Arc<Dump>>>);

/// nginx's configuration in one container
pub(super) struct Dump {
    /// The addresses at which it listens in particular, not at all of a family
    pub(super) addresses: BTreeSet<IpAddr>,
    /// What it says of server blocks
    pub(super) configuration: Result<Arc<Configuration>, Unjudged>,
}

impl Dumps {
    /// The configuration in a container; `None` where it cannot be asked
    pub(super) async fn of(&self, engine: &Engine, container: &Container) -> Option<Arc<Dump>> {
        if let Some(known) = self.known().get(&container.name) {
            return Some(Arc::clone(known));
        }
        let command = nginx_command(container, &["-T"]);
        let executed = engine.exec(container, &command).await.ok()?;
        let dump = Arc::new(Dump {
            addresses: particular(&executed.stdout),
            configuration: dump::read(&executed.stdout).map(Arc::new),
        });
        // nginx prints nothing of what it refuses, as where its first certificate is missing: once
        // that is there it does.
        if executed.status == 0 {
            let name = container.name.clone();
            self.known().insert(name, Arc::clone(&dump));
        }
        Some(dump)
    }

    /// Forgets all: nginx is about to read its files again
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Dump>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
