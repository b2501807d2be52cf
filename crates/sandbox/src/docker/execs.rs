//! The commands that a client created, started and may ask after.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::answer::Refusal;
use super::exec::Executed;
use super::stream::{Ending, Form};
use super::{Refused, identifier};

/// The latest commands of an engine, bounded
#[derive(Debug, Default)]
pub(super) struct Execs {
    latest: VecDeque<Exec>,
    created: u64,
}

/// A command in a container
#[derive(Clone, Debug)]
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) container: String,
    pub(super) command: Vec<String>,
    pub(super) form: Form,
    attached: Attached,
    progress: Progress,
}

/// Which outputs the client wants to hear
#[derive(Clone, Copy, Debug)]
struct Attached {
    stdout: bool,
    stderr: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Created,
    Running,
    Ended(i64),
}

impl Execs {
    /// Registers the command of a request's body
    pub(super) fn create(&mut self, container: &str, options: &Value) -> Refused<Exec> {
        let words = options["Cmd"].as_array().map_or(&[][..], Vec::as_slice);
        let command: Vec<String> = words
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect();
        if command.is_empty() {
            return Err(Refusal::bad_request("no exec command specified"));
        }
        self.created += 1;
        let is_on = |key: &str| options[key].as_bool().unwrap_or_default();
        let exec = Exec {
            id: identifier(&format!("exec {}", self.created)),
            container: container.to_owned(),
            command,
            form: if is_on("Tty") {
                Form::Raw
            } else {
                Form::Multiplexed
            },
            attached: Attached {
                stdout: is_on("AttachStdout"),
                stderr: is_on("AttachStderr"),
            },
            progress: Progress::Created,
        };
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(exec.clone());
        Ok(exec)
    }

    /// How many of the latest begin with these words
    pub(super) fn count(&self, words: &[&str]) -> usize {
        let begins = |exec: &&Exec| {
            exec.command.len() >= words.len() && exec.command.iter().zip(words).all(|(a, b)| a == b)
        };
        self.latest.iter().filter(begins).count()
    }

    pub(super) fn find(&mut self, id: &str) -> Refused<&mut Exec> {
        let mut execs = self.latest.iter_mut();
        execs
            .find(|exec| exec.id == id)
            .ok_or_else(|| Refusal::not_found(format!("No such exec instance: {id}")))
    }
}

impl Exec {
    pub(super) fn check_is_new(&self) -> Refused<()> {
        match self.progress {
            Progress::Created => Ok(()),
            Progress::Running => Err(Refusal::conflict(format!(
                "exec command {} is already running",
                self.id
            ))),
            Progress::Ended(_) => Err(Refusal::conflict(format!(
                "exec command {} has already run",
                self.id
            ))),
        }
    }

    /// Takes down how the command went; gives what the client hears of it
    ///
    /// A command whose stream does not end with its output is still at it.
    pub(super) fn record(&mut self, executed: &Executed, ending: Ending) -> Executed {
        self.progress = match ending {
            Ending::Whole => Progress::Ended(executed.status),
            _ => Progress::Running,
        };
        let mut heard = executed.clone();
        if !self.attached.stdout {
            heard.stdout.clear();
        }
        if !self.attached.stderr {
            heard.stderr.clear();
        }
        heard
    }

    /// `GET /exec/{id}/json`
    pub(super) fn inspection(&self) -> Value {
        let (program, arguments) = match self.command.split_first() {
            Some((program, arguments)) => (program.as_str(), arguments),
            None => ("", [].as_slice()),
        };
        let status = match self.progress {
            Progress::Ended(status) => Some(status),
            Progress::Created | Progress::Running => None,
        };
        json!({
            "ID": self.id,
            "ContainerID": self.container,
            "Running": self.progress == Progress::Running,
            "ExitCode": status,
            "ProcessConfig": {
                "entrypoint": program,
                "arguments": arguments,
                "tty": self.form == Form::Raw,
                "privileged": false,
            },
            "OpenStdin": false,
            "OpenStdout": self.attached.stdout,
            "OpenStderr": self.attached.stderr,
            "CanRemove": false,
            "DetachKeys": "",
            "Pid": 0,
        })
    }
}

/// Commands that the engine remembers
const KEPT: usize = 256;
