//! A container with the web server in it: what its state allows, and what signals do to it.

use super::Refused;
use super::answer::{Filters, Refusal};
use super::container::{Container, State};
use super::events::Events;
use super::exec::{Executed, Outcome, play};
use super::files::Files;
use crate::web::Web;

/// A container, its files and its web server
pub(super) struct Host {
    pub(super) container: Container,
    pub(super) web: Web,
    /// Exit status of the main process, when it last ended
    pub(super) exit_code: i64,
    /// What nginx wrote to its log
    pub(super) log: Vec<String>,
    files: Files,
}

impl Host {
    pub(super) fn new(container: Container, web: Web) -> Self {
        Self {
            files: files_of(&container),
            container,
            web,
            exit_code: 0,
            log: Vec::new(),
        }
    }

    /// Describes it anew, and mounts its files anew
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Container)) {
        change(&mut self.container);
        self.files = files_of(&self.container);
    }

    /// What it does: a container whose nginx did not come up has exited
    pub(super) fn state(&self) -> State {
        match self.container.state {
            State::Running if !self.web.is_running() => State::Exited,
            state => state,
        }
    }

    /// Whether a name, an identifier or the beginning of one means this container
    pub(super) fn is_meant_by(&self, reference: &str) -> bool {
        let name = reference.strip_prefix('/').unwrap_or(reference);
        name == self.container.name
            || (!reference.is_empty() && self.container.id.starts_with(reference))
    }

    /// Whether a list with these filters has it
    pub(super) fn fits(&self, filters: &Filters) -> bool {
        let container = &self.container;
        let health = container.health.map_or("none", super::Health::as_str);
        filters.any("status", |status| status == self.state().as_str())
            && filters.any("name", |pattern| matches_name(&container.name, pattern))
            && filters.any("id", |id| container.id.starts_with(id.as_str()))
            && filters.any("health", |wanted| wanted == health)
            && filters.all("label", |label| match label.split_once('=') {
                Some((key, value)) => container.labels.get(key).is_some_and(|has| has == value),
                None => container.labels.contains_key(label),
            })
    }

    /// # Errors
    /// A conflict in Docker's words, where no command can be run in it.
    pub(super) fn check_runs_commands(&self) -> Refused<()> {
        let id = &self.container.id;
        let words = match self.state() {
            State::Running => return Ok(()),
            State::Paused => format!("container {id} is paused, unpause the container before exec"),
            State::Restarting => {
                format!("container {id} is restarting, wait until the container is running")
            }
            _ => format!("container {id} is not running"),
        };
        Err(Refusal::conflict(words))
    }

    /// Runs a command, as [`play`] has it
    pub(super) fn run(&mut self, command: &[String], events: &Events) -> Executed {
        match play(command, &self.files, &self.web, &mut self.log) {
            Outcome::Ended(executed) => executed,
            Outcome::Stopped(executed) => {
                self.exit(0, events);
                executed
            }
        }
    }

    /// Sends the main process a signal
    ///
    /// A reload that nginx refuses is told in its log alone: the signal was sent all the same.
    pub(super) fn signal(&mut self, signal: Signal, events: &Events) -> Refused<()> {
        let (id, action) = (
            &self.container.id,
            format!("cannot kill container: {}", self.container.name),
        );
        match self.state() {
            State::Running | State::Restarting => {}
            State::Paused if signal.0 == KILL => {}
            State::Paused => {
                let words = format!(
                    "container {id} is paused. Unpause the container before stopping or killing"
                );
                return Err(Refusal::conflict(words).of(&action));
            }
            _ => {
                let words = format!("container {id} is not running");
                return Err(Refusal::conflict(words).of(&action));
            }
        }
        self.tell_signal(signal, events);
        match signal.0 {
            HUP if !self.is_nginx_first() => self.exit(128 + i64::from(HUP), events),
            HUP => self.log.extend(self.web.reload().err()),
            KILL => self.exit(128 + i64::from(KILL), events),
            INT | QUIT | TERM => self.exit(0, events),
            _ => {}
        }
        Ok(())
    }

    /// Whether nginx is the main process, which gets the signals
    fn is_nginx_first(&self) -> bool {
        let main = self.container.processes.first();
        main.is_some_and(|main| main.starts_with("nginx"))
    }

    /// Stops it where it runs, and starts it
    ///
    /// nginx that does not come up is no error of the engine's: the container was started, and
    /// has exited.
    pub(super) fn restart(&mut self, events: &Events) {
        if self.state().is_up() {
            self.tell_signal(Signal(TERM), events);
            self.exit(0, events);
            events.tell(&self.container, "stop", None);
        }
        self.files = files_of(&self.container);
        self.container.state = State::Running;
        events.tell(&self.container, "start", None);
        let outcome = self.web.restart();
        events.tell(&self.container, "restart", None);
        if let Err(words) = outcome {
            self.log.push(words);
            self.exit(1, events);
        }
    }

    fn tell_signal(&self, signal: Signal, events: &Events) {
        let number = signal.0.to_string();
        events.tell(&self.container, "kill", Some(("signal", &number)));
    }

    fn exit(&mut self, code: i64, events: &Events) {
        self.web.stop();
        self.container.state = State::Exited;
        self.exit_code = code;
        events.tell(
            &self.container,
            "die",
            Some(("exitCode", &code.to_string())),
        );
    }
}

fn files_of(container: &Container) -> Files {
    // Of two mounts at one place the later one covers the earlier.
    Files::mount(container.mounts.iter().chain(&container.hidden_mounts))
}

/// Docker takes a regular expression; what is understood here are its anchors
fn matches_name(name: &str, pattern: &str) -> bool {
    let (from_start, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    match (from_start, rest.strip_suffix('$')) {
        (true, Some(whole)) => name == whole,
        (true, None) => name.starts_with(rest),
        (false, Some(end)) => name.ends_with(end),
        (false, None) => name.contains(rest),
    }
}

/// A signal, by its number
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signal(u8);

impl Signal {
    /// The signal of a name or number, in each of Docker's spellings; `KILL` where none is given
    pub(super) fn parse(signal: Option<&str>) -> Refused<Self> {
        let Some(word) = signal.filter(|word| !word.is_empty()) else {
            return Ok(Self(KILL));
        };
        if let Some(number) = word.parse().ok().filter(|number| (1..=64).contains(number)) {
            return Ok(Self(number));
        }
        let upper = word.to_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        match SIGNALS.iter().find(|(of, _)| *of == name) {
            Some((_, number)) => Ok(Self(*number)),
            None => Err(Refusal::bad_request(format!("invalid signal: {word}"))),
        }
    }
}

const HUP: u8 = 1;
const INT: u8 = 2;
const QUIT: u8 = 3;
const KILL: u8 = 9;
const TERM: u8 = 15;
/// The signals that nginx knows, as Linux numbers them
const SIGNALS: [(&str, u8); 8] = [
    ("HUP", HUP),
    ("INT", INT),
    ("QUIT", QUIT),
    ("KILL", KILL),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", TERM),
    ("WINCH", 28),
];
/// Filters that a list understands
pub(super) const FILTERS: [&str; 5] = ["status", "name", "id", "health", "label"];
