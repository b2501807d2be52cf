//! A Docker API on a Unix socket, with one container that sees the host's own files.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::http::{Reply, Request, converse};
use super::place::Place;

/// How a command in the container ended
#[derive(Clone, Debug, Default)]
pub(crate) struct Executed {
    pub(crate) status: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

type Answer = Box<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;
type Exec = Box<dyn Fn(&[String]) -> Option<Executed> + Send + Sync>;

/// Where an engine departs from a healthy one; `None` is the healthy answer
pub(crate) struct Behaviour {
    /// What the container named `web` looks like
    pub(crate) container: Value,
    pub(crate) answer: Answer,
    pub(crate) exec: Exec,
}

impl Behaviour {
    /// An engine with a healthy container `web`, which mounts storage and webroot where they are
    pub(crate) fn healthy(place: &Place) -> Self {
        Self {
            container: inspected(place),
            answer: Box::new(|_| None),
            exec: Box::new(|_| None),
        }
    }
}

/// What Docker tells of a healthy container in this place
pub(crate) fn inspected(place: &Place) -> Value {
    let mount = |below: &str| {
        let path = place.path(below);
        json!({"Type": "bind", "Source": path, "Destination": path, "RW": false})
    };
    json!({
        "Id": "1f7c0ffee",
        "Name": "/web",
        "Path": "nginx",
        "Args": ["-g", "daemon off;"],
        "State": {"Status": "running", "Running": true},
        "Mounts": [mount("storage"), mount("webroot")],
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Ports": {}, "Networks": {"bridge": {"IPAddress": "127.0.0.1"}}},
    })
}

/// A listening engine, stopped on drop
pub(crate) struct Engine {
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    commands: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// An engine at `docker.sock` of the place
    pub(crate) fn start(place: &Place, behaviour: Behaviour) -> Self {
        let socket = place.path("docker.sock");
        let listener = UnixListener::bind(&socket).expect("the socket can be made");
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let commands = Arc::<Mutex<Vec<String>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let state = Arc::new(State {
            behaviour,
            executed: Mutex::default(),
            requests: requests.clone(),
            commands: commands.clone(),
        });
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = state.clone();
                thread::spawn(move || converse(stream, |request| state.answer(request)));
            }
        });
        Self {
            socket,
            requests,
            commands,
            stop,
            thread: Some(thread),
        }
    }

    /// The requests so far, as `GET /containers/web/json`
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Engine {
    /// The commands that were to be run so far, their words joined by blanks
    pub(crate) fn commands(&self) -> Vec<String> {
        let commands = self.commands.lock();
        commands.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    behaviour: Behaviour,
    /// The commands that were run; a command's place is its identifier
    executed: Mutex<Vec<Executed>>,
    requests: Arc<Mutex<Vec<String>>>,
    commands: Arc<Mutex<Vec<String>>>,
}

impl State {
    fn answer(&self, request: &Request) -> Reply {
        let mut request = request.clone();
        if let Some(("", rest)) = request.path.split_once("/v1.") {
            let path = rest.find('/').map_or("", |slash| &rest[slash..]);
            request.path = path.to_owned();
        }
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request.line());
        match (self.behaviour.answer)(&request) {
            Some(reply) => reply,
            None => self.healthy(&request),
        }
    }

    fn healthy(&self, request: &Request) -> Reply {
        let container = &self.behaviour.container;
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["containers", "json"]) => {
                let id = &container["Id"];
                Reply::json(200, &json!([{"Id": id, "Names": [container["Name"]]}]))
            }
            ("GET", ["containers", id, "json"])
                if *id == "web" || container["Id"].as_str() == Some(id) =>
            {
                Reply::json(200, container)
            }
            ("GET", ["version"]) => Reply::json(200, &json!({"ApiVersion": "1.41"})),
            ("GET", ["containers", _, "top"]) => {
                let master = ["4242", "4241", "nginx: master process nginx -g daemon off;"];
                let titles = ["PID", "PPID", "COMMAND"];
                Reply::json(200, &json!({"Titles": titles, "Processes": [master]}))
            }
            ("POST", ["containers", _, "exec"]) => self.create_exec(&request.json()),
            ("POST", ["exec", id, "start"]) => Reply::Raw(self.start_exec(id)),
            ("GET", ["exec", id, "json"]) => {
                let status = self.executed(id).status;
                Reply::json(
                    200,
                    &json!({"ID": id, "Running": false, "ExitCode": status}),
                )
            }
            ("POST", ["containers", _, "kill" | "restart"]) => {
                Reply::new(204, "application/json", "")
            }
            _ => Reply::json(404, &json!({"message": "No such container"})),
        }
    }

    fn create_exec(&self, options: &Value) -> Reply {
        let command: Vec<String> = options["Cmd"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(ToOwned::to_owned))
            .collect();
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.push(command.join(" "));
        drop(commands);
        let outcome = (self.behaviour.exec)(&command).unwrap_or_else(|| execute(&command));
        let mut executed = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        executed.push(outcome);
        Reply::json(201, &json!({"Id": (executed.len() - 1).to_string()}))
    }

    /// The multiplexed stream that follows the upgrade
    fn start_exec(&self, id: &str) -> Vec<u8> {
        let executed = self.executed(id);
        let mut bytes = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: \
            application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\n\
            Upgrade: tcp\r\n\r\n"
            .to_vec();
        for (stream, text) in [(1, &executed.stdout), (2, &executed.stderr)] {
            if text.is_empty() {
                continue;
            }
            let length = u32::try_from(text.len()).expect("it is short");
            bytes.extend([stream, 0, 0, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    fn executed(&self, id: &str) -> Executed {
        let executed = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        let found = id.parse().ok().and_then(|id: usize| executed.get(id));
        found.cloned().unwrap_or_default()
    }
}

/// `cat` and `nginx` in a container whose files are the host's
fn execute(command: &[String]) -> Executed {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cat", paths @ ..] => {
            let mut executed = Executed::default();
            for path in paths {
                match fs::read_to_string(path) {
                    Ok(text) => executed.stdout.push_str(&text),
                    Err(error) => {
                        executed.status = 1;
                        executed.stderr = format!("cat: {path}: {error}");
                    }
                }
            }
            executed
        }
        ["nginx", ..] => Executed {
            stderr: "nginx: configuration file /etc/nginx/nginx.conf test is successful\n"
                .to_owned(),
            ..Executed::default()
        },
        _ => Executed {
            status: 127,
            ..Executed::default()
        },
    }
}
