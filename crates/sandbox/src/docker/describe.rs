//! The engine's documents: of itself, of a container and of a list of them.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::container::{Mount, Network, Ports, State};
use super::events::{EPOCH, IMAGE};
use super::host::Host;

/// `GET /version`
pub(super) fn version(versions: &RangeInclusive<u32>) -> Value {
    json!({
        "Platform": {"Name": "certd sandbox"},
        "Version": VERSION,
        "ApiVersion": format!("1.{}", versions.end()),
        "MinAPIVersion": format!("1.{}", versions.start()),
        "Os": "linux",
        "Arch": std::env::consts::ARCH,
    })
}

/// One entry of `GET /containers/json`
pub(super) fn summary(host: &Host) -> Value {
    let (container, state) = (&host.container, host.state());
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": IMAGE,
        "ImageID": format!("sha256:{}", super::identifier(IMAGE)),
        "Command": container.command.join(" "),
        "Created": EPOCH,
        "Ports": ports(host).iter().map(|(inside, outside)| json!({
            "IP": outside.ip(),
            "PrivatePort": inside,
            "PublicPort": outside.port(),
            "Type": "tcp",
        })).collect::<Vec<_>>(),
        "Labels": container.labels,
        "State": state.as_str(),
        "Status": status(host),
        "HostConfig": {"NetworkMode": container.network.as_str()},
        "NetworkSettings": {"Networks": networks(host)},
        "Mounts": mounts(&container.mounts),
    })
}

/// `GET /containers/{id}/json`
pub(super) fn inspection(host: &Host) -> Value {
    let container = &host.container;
    let (path, arguments) = match container.command.split_first() {
        Some((path, arguments)) => (path.as_str(), arguments),
        None => ("", [].as_slice()),
    };
    json!({
        "Id": container.id,
        "Created": TIME,
        "Path": path,
        "Args": arguments,
        "State": state(host),
        "Image": format!("sha256:{}", super::identifier(IMAGE)),
        "Name": format!("/{}", container.name),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": {
            "Binds": container.mounts.iter().map(bind).collect::<Vec<_>>(),
            "NetworkMode": container.network.as_str(),
            "PortBindings": bindings(&configured(host)),
            "RestartPolicy": {"Name": container.restart, "MaximumRetryCount": 0},
        },
        "Mounts": mounts(&container.mounts),
        "Config": {
            "Image": IMAGE,
            "Cmd": container.command,
            "Labels": container.labels,
            "Tty": false,
        },
        "NetworkSettings": {"Ports": bindings(&ports(host)), "Networks": networks(host)},
    })
}

/// `GET /containers/{id}/top`, asked for identifier, parent, user, groups and arguments
pub(super) fn processes(host: &Host) -> Value {
    let (uid, gid) = host.container.user;
    let lines = host.container.processes.iter().zip(pid()..);
    let rows: Vec<Value> = lines
        .map(|(line, id)| {
            let (id, parent) = (id.to_string(), (id - 1).to_string());
            json!([id, parent, uid.to_string(), gid.to_string(), "-", line])
        })
        .collect();
    json!({"Titles": ["PID", "PPID", "UID", "GID", "SUPGID", "COMMAND"], "Processes": rows})
}

fn state(host: &Host) -> Value {
    let state = host.state();
    let mut document = json!({
        "Status": state.as_str(),
        "Running": state.is_up(),
        "Paused": state == State::Paused,
        "Restarting": state == State::Restarting,
        "OOMKilled": false,
        "Dead": state == State::Dead,
        "Pid": if state.is_up() { pid() } else { 0 },
        "ExitCode": if state.is_up() { 0 } else { host.exit_code },
        "Error": "",
        "StartedAt": if state == State::Created { NEVER } else { TIME },
        "FinishedAt": if state.is_up() || state == State::Created { NEVER } else { TIME },
    });
    if let Some(health) = host.container.health {
        document["Health"] = json!({"Status": health.as_str(), "FailingStreak": 0, "Log": []});
    }
    document
}

/// The state in the words of `docker ps`
fn status(host: &Host) -> String {
    let health = match host.container.health {
        Some(super::Health::Starting) => " (health: starting)",
        Some(super::Health::Healthy) => " (healthy)",
        Some(super::Health::Unhealthy) => " (unhealthy)",
        None => "",
    };
    match host.state() {
        State::Created => "Created".to_owned(),
        State::Running => format!("Up 1 second{health}"),
        State::Paused => "Up 1 second (Paused)".to_owned(),
        State::Restarting => format!("Restarting ({}) 1 second ago", host.exit_code),
        State::Removing => "Removal In Progress".to_owned(),
        State::Exited => format!("Exited ({}) 1 second ago", host.exit_code),
        State::Dead => "Dead".to_owned(),
    }
}

/// What is published while the container runs, each with its port inside
fn ports(host: &Host) -> Vec<(u16, SocketAddr)> {
    if !host.state().is_up() || host.container.network == Network::Host {
        return Vec::new();
    }
    configured(host)
}

/// What is published whenever the container runs in a network of its own
fn configured(host: &Host) -> Vec<(u16, SocketAddr)> {
    match &host.container.ports {
        Ports::Web => vec![(80, host.web.http()), (443, host.web.https())],
        Ports::Hidden => Vec::new(),
        Ports::Other(ports) => ports.clone(),
    }
}

fn bindings(ports: &[(u16, SocketAddr)]) -> Value {
    let mut bindings = Map::new();
    for (inside, outside) in ports {
        let binding =
            json!({"HostIp": outside.ip().to_string(), "HostPort": outside.port().to_string()});
        let bound = bindings
            .entry(format!("{inside}/tcp"))
            .or_insert_with(|| json!([]));
        if let Value::Array(bound) = bound {
            bound.push(binding);
        }
    }
    Value::Object(bindings)
}

fn networks(host: &Host) -> Value {
    let network = host.container.network;
    let inside = host
        .container
        .address
        .filter(|_| network == Network::Bridge);
    match (network, inside) {
        (Network::Bridge, None) => json!({}),
        (_, inside) => {
            let up = inside.filter(|_| host.state().is_up());
            let address = up.map(|address| address.to_string()).unwrap_or_default();
            json!({network.as_str(): {"IPAddress": address}})
        }
    }
}

fn mounts(mounts: &[Mount]) -> Vec<Value> {
    mounts
        .iter()
        .map(|mount| {
            json!({
                "Type": "bind",
                "Source": mount.source,
                "Destination": mount.destination,
                "Mode": "ro",
                "RW": false,
                "Propagation": "rprivate",
            })
        })
        .collect()
}

fn bind(mount: &Mount) -> String {
    format!(
        "{}:{}:ro",
        mount.source.display(),
        mount.destination.display()
    )
}

pub(super) const VERSION: &str = "29.3.1";
/// When everything began that began
const TIME: &str = "2026-01-01T00:00:00Z";
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The process that stands for that of nginx: its sockets are this one's
fn pid() -> u32 {
    std::process::id()
}
