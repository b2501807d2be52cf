#![expect(
    clippy::disallowed_methods,
    reason = "tests write the files that containers mount"
)]

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    EventsOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptionsBuilder, TopOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::fault::Answer;
use crate::web::{Options, STORAGE, WEBROOT};

mod exec;

const FULLCHAIN: &str = "live/a.test/fullchain.pem";

/// An engine with a container `web`, and a client of it
struct Place {
    directory: TempDir,
    engine: Engine,
    web: Web,
    client: Docker,
}

impl Place {
    async fn new() -> Self {
        Self::with(|container| container).await
    }

    async fn with(describe: impl FnOnce(Container) -> Container) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |below: &str| directory.path().join(below);
        for generation in ["1", "2"] {
            let generation_path = path(&format!("storage/archive/a.test/{generation}"));
            fs::create_dir_all(&generation_path).unwrap();
            fs::write(generation_path.join("fullchain.pem"), generation).unwrap();
        }
        fs::create_dir_all(path("storage/live")).unwrap();
        fs::create_dir_all(path("webroot")).unwrap();
        symlink("../archive/a.test/1", path("storage/live/a.test")).unwrap();
        let container = Container::nginx("web", &path("storage"), &path("webroot"));
        // nginx serves from another storage, since no certificate is in the container's files.
        fs::create_dir_all(path("served/live")).unwrap();
        let web = web(&path("served"), &path("webroot")).await;
        let socket = path("docker.sock");
        let engine = Engine::start(&socket, describe(container), web.clone())
            .await
            .unwrap();
        let client =
            Docker::connect_with_unix(&socket.to_string_lossy(), 5, API_DEFAULT_VERSION).unwrap();
        Self {
            directory,
            engine,
            web,
            client,
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// Lets the live link name another generation
    fn switch_to(&self, generation: &str) {
        fs::remove_file(self.path("storage/live/a.test")).unwrap();
        let target = format!("../archive/a.test/{generation}");
        symlink(target, self.path("storage/live/a.test")).unwrap();
    }

    /// How many commands the engine was asked to start
    fn started(&self) -> usize {
        let requests = self.engine.requests();
        let starts = requests
            .iter()
            .filter(|request| request.ends_with("/start"));
        starts.count()
    }

    async fn exec(&self, command: &[&str]) -> Result<Executed, Error> {
        exec(&self.client, command).await
    }

    #[track_caller]
    fn check_refused<T>(&self, outcome: Result<T, Error>, status: u16, expected: &str) {
        match outcome {
            Err(Error::DockerResponseServerError {
                status_code,
                message,
            }) => assert_eq!((status_code, message.as_str()), (status, expected)),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("not refused"),
        }
    }
}

async fn web(storage: &Path, webroot: &Path) -> Web {
    let options = Options {
        configuration: storage.join("nginx"),
        webroot: webroot.to_owned(),
        storage: storage.to_owned(),
    };
    let web = Web::start(options).await.unwrap();
    web.configure(&[]).unwrap();
    web
}

async fn exec(client: &Docker, command: &[&str]) -> Result<Executed, Error> {
    let options = CreateExecOptions {
        cmd: Some(command.to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..CreateExecOptions::default()
    };
    let exec = client.create_exec("web", options).await?;
    let started = client.start_exec(&exec.id, None::<StartExecOptions>);
    let StartExecResults::Attached { mut output, .. } = started.await? else {
        panic!("detached");
    };
    let mut executed = Executed::default();
    while let Some(part) = output.try_next().await? {
        match part {
            LogOutput::StdErr { message } => {
                executed.stderr.push_str(&String::from_utf8_lossy(&message));
            }
            part => executed.stdout.push_str(&part.to_string()),
        }
    }
    let ended = client.inspect_exec(&exec.id).await?;
    assert_eq!(ended.running, Some(ended.exit_code.is_none()));
    executed.status = ended.exit_code.unwrap_or(-1);
    Ok(executed)
}

async fn list(client: &Docker, filters: &[(&str, &str)]) -> Vec<String> {
    let filters: HashMap<&str, Vec<&str>> = filters
        .iter()
        .map(|(key, value)| (*key, vec![*value]))
        .collect();
    let options = ListContainersOptionsBuilder::new()
        .filters(&filters)
        .build();
    let name = |found: ContainerSummary| found.names.unwrap().remove(0);
    let found = client.list_containers(Some(options)).await.unwrap();
    found.into_iter().map(name).collect()
}

async fn kill(client: &Docker, signal: &str) -> Result<(), Error> {
    let options = KillContainerOptionsBuilder::new().signal(signal).build();
    client.kill_container("web", Some(options)).await
}

/// What the container wrote, as a client reads it
async fn log(client: &Docker) -> String {
    let options = LogsOptionsBuilder::new().stderr(true).build();
    let parts = client.logs("web", Some(options));
    let parts: Vec<LogOutput> = parts.try_collect().await.unwrap();
    parts.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_processes_of_a_container_are_told_as_certd_asks_for_them() {
    let place = Place::new().await;
    let options = TopOptionsBuilder::new().ps_args("-eo pid,ppid,uid,gid,supgid,args");
    let table = place.client.top_processes("web", Some(options.build()));
    let rows = table.await.unwrap().processes.unwrap();
    assert_eq!(rows[0][5], "nginx: master process nginx -g daemon off;");
    assert_eq!(rows[1][1], rows[0][0]);
    let others = place.client.top_processes("web", None).await;
    place.check_refused(others, 400, "Error running ps: exit status 1");
}

fn printed(stdout: &str) -> Executed {
    Executed {
        stdout: stdout.to_owned(),
        ..Executed::default()
    }
}

#[tokio::test]
async fn containers_are_listed_by_label_name_and_state() {
    let place = Place::with(|container| container.label("role", "web").label("certd", "")).await;
    let other = Container {
        state: State::Exited,
        ..Container::nginx("db", Path::new("/nowhere"), Path::new("/nowhere"))
    };
    let (served, webroot) = (place.path("served"), place.path("webroot"));
    place.engine.add(other, web(&served, &webroot).await);
    for (key, value, expected) in [
        ("label", "role=web", "/web"),
        ("label", "role", "/web"),
        ("label", "role=db", ""),
        ("label", "shop", ""),
        ("name", "we", "/web"),
        ("name", "^/web$", "/web"),
        ("name", "^/we$", ""),
        ("status", "running", "/web"),
        ("status", "exited", "/db"),
        ("health", "none", "/web"),
    ] {
        let found = list(&place.client, &[(key, value)]).await.join(" ");
        assert_eq!(found, expected, "{key}={value}");
    }
    assert_eq!(list(&place.client, &[]).await, ["/web"]);
    let invalid = HashMap::from([("colour", vec!["red"])]);
    let invalid = ListContainersOptionsBuilder::new()
        .filters(&invalid)
        .build();
    let refused = place.client.list_containers(Some(invalid)).await;
    place.check_refused(refused, 400, "invalid filter 'colour'");
    place.engine.remove("web");
    assert_eq!(list(&place.client, &[]).await, [""; 0]);
}

#[tokio::test]
async fn a_container_is_described_by_name_and_identifier() {
    let place = Place::with(|container| Container {
        health: Some(Health::Unhealthy),
        ..container.label("role", "web")
    })
    .await;
    let by_name = place.client.inspect_container("web", None).await.unwrap();
    let id = by_name.id.clone().unwrap();
    for reference in [&id, &id[..12]] {
        let found = place.client.inspect_container(reference, None).await;
        assert_eq!(found.unwrap(), by_name);
    }
    let state = by_name.state.unwrap();
    assert_eq!(state.status.unwrap().to_string(), "running");
    assert_eq!(
        state.health.unwrap().status.unwrap().to_string(),
        "unhealthy"
    );
    assert_eq!(by_name.name.as_deref(), Some("/web"));
    assert_eq!(by_name.config.unwrap().labels.unwrap()["role"], "web");
    let ports = by_name.network_settings.unwrap().ports.unwrap();
    let host = |port: &str| ports[port].clone().unwrap()[0].host_port.clone();
    assert!(host("80/tcp").is_some() && host("443/tcp").is_some());
    let mounts = by_name.mounts.unwrap();
    assert_eq!(mounts[0].destination.as_deref(), Some(STORAGE));
    assert_eq!(mounts[1].source.as_deref(), place.path("webroot").to_str());
    let unknown = place.client.inspect_container("shop", None).await;
    place.check_refused(unknown, 404, "No such container: shop");
}

#[tokio::test]
async fn a_changed_container_is_described_as_it_is_now() {
    let place = Place::new().await;
    place.engine.change(|container| {
        container.network = Network::Host;
        container.state = State::Restarting;
    });
    let found = place.client.inspect_container("web", None).await.unwrap();
    assert_eq!(
        found.host_config.unwrap().network_mode.as_deref(),
        Some("host")
    );
    assert_eq!(found.network_settings.unwrap().ports, Some(HashMap::new()));
    assert_eq!(found.state.unwrap().restarting, Some(true));
    place.engine.change(|container| {
        container.network = Network::Bridge;
        container.ports = Ports::Other(vec![(8443, "127.0.0.1:443".parse().unwrap())]);
    });
    let found = place.client.inspect_container("web", None).await.unwrap();
    let ports = found.network_settings.unwrap().ports.unwrap();
    let binding = &ports["8443/tcp"].as_ref().unwrap()[0];
    assert_eq!(binding.host_port.as_deref(), Some("443"));
}

#[tokio::test]
async fn nothing_can_be_run_in_or_sent_to_a_container_that_does_not_run() {
    let place = Place::new().await;
    let id = identifier("web");
    for (state, exec, sent) in [
        (State::Exited, "is not running", "is not running"),
        (State::Created, "is not running", "is not running"),
        (
            State::Paused,
            "is paused, unpause the container before exec",
            "is paused. Unpause the container before stopping or killing",
        ),
    ] {
        place.engine.change(|container| container.state = state);
        let refused = place.exec(&["nginx", "-t"]).await;
        place.check_refused(refused, 409, &format!("container {id} {exec}"));
        let refused = kill(&place.client, "HUP").await;
        let expected = format!("cannot kill container: web: container {id} {sent}");
        place.check_refused(refused, 409, &expected);
    }
}

#[tokio::test]
async fn signals_stop_a_container_and_a_restart_starts_it() {
    let place = Place::new().await;
    for (signal, expected) in [
        ("SIGHUP", 0),
        ("1", 0),
        ("USR1", 0),
        ("TERM", 0),
        ("KILL", 137),
    ] {
        kill(&place.client, signal).await.unwrap();
        let found = place.client.inspect_container("web", None).await.unwrap();
        assert_eq!(found.state.unwrap().exit_code, Some(expected), "{signal}");
        place.client.restart_container("web", None).await.unwrap();
    }
    let refused = kill(&place.client, "HANGUP").await;
    place.check_refused(refused, 400, "invalid signal: HANGUP");
    place.exec(&["nginx", "-s", "quit"]).await.unwrap();
    let found = place.client.inspect_container("web", None).await.unwrap();
    assert_eq!(found.state.unwrap().status.unwrap().to_string(), "exited");
}

#[tokio::test]
async fn events_are_told_as_they_happen_and_as_they_are_asked_for() {
    let place = Place::new().await;
    let wanted = HashMap::from([("type", vec!["container"]), ("container", vec!["web"])]);
    let options = EventsOptionsBuilder::new().filters(&wanted).build();
    let told = place
        .client
        .events(Some(options))
        .take(10)
        .try_collect::<Vec<_>>();
    let happen = async {
        while place.engine.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        kill(&place.client, "HUP").await.unwrap();
        place.exec(&["cat", "/x"]).await.unwrap();
        place.client.restart_container("web", None).await.unwrap();
        kill(&place.client, "KILL").await.unwrap();
    };
    let (told, ()) = tokio::join!(told, happen);
    let actions: Vec<String> = told
        .unwrap()
        .into_iter()
        .map(|event| event.action.unwrap())
        .collect();
    assert_eq!(
        actions.join(", "),
        "kill, exec_create: cat /x, exec_start: cat /x, exec_die, kill, die, stop, start, \
         restart, kill"
    );
}

#[tokio::test]
async fn events_end_with_the_engine() {
    let place = Place::new().await;
    let mut events = place.client.events(None);
    let (engine, client) = (place.engine, place.client);
    let stop = async {
        while engine.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(engine);
    };
    let (told, ()) = tokio::join!(events.next(), stop);
    assert!(told.is_none_or(|event| event.is_err()));
    assert!(client.ping().await.is_err());
}

#[tokio::test]
async fn requests_are_recorded_without_their_version() {
    let place = Place::new().await;
    place.client.ping().await.unwrap();
    let versioned = raw(place.engine.socket(), "GET /v1.41/version HTTP/1.1\r\n").await;
    assert!(versioned.starts_with("HTTP/1.1 200 OK"), "{versioned}");
    place.client.inspect_container("web", None).await.unwrap();
    list(&place.client, &[("label", "a=b c")]).await;
    kill(&place.client, "HUP").await.unwrap();
    let requests = place.engine.requests();
    assert_eq!(requests[0], "GET /_ping");
    assert_eq!(requests[1], "GET /version");
    assert!(requests[2].starts_with("GET /containers/web/json"));
    assert!(
        requests[3].contains("filters={\"label\":[\"a=b c\"]}"),
        "{}",
        requests[3]
    );
    assert_eq!(requests[4], "POST /containers/web/kill?signal=HUP");
}

#[tokio::test]
async fn versions_that_the_engine_does_not_know_are_refused() {
    let place = Place::new().await;
    let check = async |version: &str, status: &str, ending: &str| {
        let request = format!("GET {version}/version HTTP/1.1\r\n");
        let answer = raw(place.engine.socket(), &request).await;
        let begins = answer.starts_with(&format!("HTTP/1.1 {status}\r\n"));
        assert!(begins && answer.contains(ending), "{answer}");
    };
    let (ok, bad) = ("200 OK", "400 Bad Request");
    check("", ok, "\r\napi-version: 1.53\r\n").await;
    check("/v1.53", ok, "\"ApiVersion\":\"1.53\"").await;
    check("/v1.99", bad, "\r\napi-version: 1.53\r\n").await;
    place.engine.understand(24..=41);
    let words = "{\"message\":\"client version 1.53 is too new. Maximum supported API version is \
                 1.41\"}\n";
    check("/v1.53", bad, words).await;
    let words = "{\"message\":\"client version 1.23 is too old. Minimum supported API version is \
                 1.24, please upgrade your client to a newer version\"}\n";
    check("/v1.23", bad, words).await;
    check("/v1.41", ok, "\"ApiVersion\":\"1.41\"").await;
    check("", ok, "\"MinAPIVersion\":\"1.24\"").await;
    check(
        "/v1.41/images",
        "404 Not Found",
        "{\"message\":\"page not found\"}\n",
    )
    .await;
    place.engine.behave();
    check("/v1.53", ok, "").await;
}

/// The bytes that answer a request without a body
async fn raw(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("{request}Host: docker\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

#[tokio::test]
async fn faults_are_played_as_often_as_they_are_set() {
    let place = Place::new().await;
    let message = serde_json::json!({"message": "layer store is corrupt"});
    place
        .engine
        .fault(Call::Inspect, Times::Next(1), Answer::json(500, &message));
    let refused = place.client.inspect_container("web", None).await;
    place.check_refused(refused, 500, "layer store is corrupt");
    place.client.inspect_container("web", None).await.unwrap();
    place
        .engine
        .fault(Call::Inspect, Times::Always, Answer::html(200, "Welcome"));
    let html = place.client.inspect_container("web", None).await;
    assert!(html.is_err());
    place.engine.behave();
    place
        .engine
        .fault(Call::Inspect, Times::Next(1), Fault::CutShort);
    let cut = place.client.inspect_container("web", None).await;
    assert!(cut.is_err());
    place
        .engine
        .fault(Call::Kill, Times::Always, Answer::html(403, "Forbidden"));
    let refused = kill(&place.client, "HUP").await;
    assert!(matches!(
        refused,
        Err(Error::DockerResponseServerError {
            status_code: 403,
            ..
        })
    ));
    place.engine.fault(Call::List, Times::Always, Fault::Silent);
    let silent = timeout(Duration::from_millis(20), list(&place.client, &[])).await;
    assert!(silent.is_err());
    place.engine.behave();
    kill(&place.client, "HUP").await.unwrap();
}

#[tokio::test]
async fn clients_can_be_turned_away_with_something_that_is_no_http() {
    let place = Place::new().await;
    for words in ["SSH-2.0-OpenSSH_9.2\r\n", ""] {
        place.engine.turn_away(words);
        let heard = raw(place.engine.socket(), "GET /_ping HTTP/1.1\r\n").await;
        assert_eq!(heard, words);
        assert!(place.client.ping().await.is_err());
    }
    place.engine.behave();
    place.client.ping().await.unwrap();
}

#[tokio::test]
async fn the_socket_is_private_and_removed_with_the_engine() {
    let place = Place::new().await;
    let socket = place.engine.socket().to_owned();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let container = Container::nginx("web", Path::new("/"), Path::new("/"));
    let web = web(&place.path("served"), &place.path("webroot")).await;
    let taken = Engine::start(&socket, container, web).await;
    assert!(matches!(taken, Err(SandboxError::Listen { .. })));
    assert!(socket.exists());
    drop(place.engine);
    assert!(!socket.exists());
    assert!(place.client.ping().await.is_err());
}
