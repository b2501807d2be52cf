//! The calls of the Engine API, with and without a version in the path.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::answer::{Query, Refusal, decode, document};
use super::describe;
use super::host::{self, Host, Signal};
use super::stream::{self, Ending};
use super::{Call, Paths, Refused, Shared, events};
use crate::lock;

/// Answers a request, or breaks off when the engine stops
pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let mut response = tokio::select! {
        response = respond(&shared, request) => response,
        () = shared.stopped.wait() => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped").into_response()
        }
    };
    // Clients learn from any answer, an error included, which version they may speak.
    let newest = format!("1.{}", lock(&shared.versions).end());
    identify(response.headers_mut(), &newest);
    response
}

async fn respond(shared: &Shared, request: Request) -> Response {
    let uri = request.uri().clone();
    let (version, path) = split_version(uri.path());
    let query = uri.query().unwrap_or_default();
    shared.record(request.method(), path, query);
    if let Err(refusal) = check_version(shared, version, path) {
        return refusal.into_response();
    }
    let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some((call, reference)) = route(request.method(), &segments) else {
        return Refusal::not_found("page not found").into_response();
    };
    let ending = match depart(shared, call).await {
        Departure::Output(ending) => ending,
        Departure::Answer(response) => return response,
    };
    let query = Query::parse(query);
    let outcome = match call {
        Call::Ping => Ok(ping()),
        Call::Version => Ok(ok(&describe::version(&lock(&shared.versions)))),
        Call::List => list(shared, &query),
        Call::Inspect => shared.with(reference, |host| Ok(ok(&describe::inspection(host)))),
        Call::Top => top(shared, reference, &query),
        Call::Logs => shared.with(reference, |host| Ok(stream::log(&host.log))),
        Call::CreateExec => create_exec(shared, reference, request).await,
        Call::StartExec => start_exec(shared, reference, request, ending).await,
        Call::InspectExec => lock(&shared.execs)
            .find(reference)
            .map(|exec| ok(&exec.inspection())),
        Call::Kill => kill(shared, reference, &query),
        Call::Restart => restart(shared, reference),
        Call::Events => listen(shared, &query),
    };
    outcome.unwrap_or_else(Refusal::into_response)
}

/// What a fault makes of a call
enum Departure {
    /// It is served; output of a command ends so
    Output(Ending),
    /// This is the answer
    Answer(Response),
}

async fn depart(shared: &Shared, call: Call) -> Departure {
    let Some(fault) = shared.faults.take(&call) else {
        return Departure::Output(Ending::Whole);
    };
    let of_stream = match call {
        Call::StartExec => Ending::of(&fault),
        _ => None,
    };
    match of_stream {
        Some(ending) => Departure::Output(ending),
        None => match fault.play().await {
            Some(response) => Departure::Answer(response),
            None => Departure::Output(Ending::Whole),
        },
    }
}

/// The minor version in a path, and the path without it
///
/// A version that is no number is part of the path, and there is no such page.
fn split_version(path: &str) -> (Option<u32>, &str) {
    let versioned = path.strip_prefix("/v1.").and_then(|rest| {
        let (minor, _) = rest.split_once('/')?;
        Some((minor.parse().ok()?, &rest[minor.len()..]))
    });
    match versioned {
        Some((minor, rest)) => (Some(minor), rest),
        None => (None, path),
    }
}

fn check_version(shared: &Shared, version: Option<u32>, path: &str) -> Refused<()> {
    let is_open = version.is_some() || ["/_ping", "/version"].contains(&path);
    if !is_open && *lock(&shared.paths) == Paths::Versioned {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden"));
    }
    let (Some(asked), versions) = (version, lock(&shared.versions).clone()) else {
        return Ok(());
    };
    if asked > *versions.end() {
        let newest = versions.end();
        return Err(Refusal::bad_request(format!(
            "client version 1.{asked} is too new. Maximum supported API version is 1.{newest}"
        )));
    }
    if asked < *versions.start() {
        let oldest = versions.start();
        return Err(Refusal::bad_request(format!(
            "client version 1.{asked} is too old. Minimum supported API version is 1.{oldest}, \
             please upgrade your client to a newer version"
        )));
    }
    Ok(())
}

/// The call, and the container or command that it is about
fn route<'p>(method: &Method, segments: &[&'p str]) -> Option<(Call, &'p str)> {
    Some(match (method.as_str(), segments) {
        ("GET" | "HEAD", ["_ping"]) => (Call::Ping, ""),
        ("GET", ["version"]) => (Call::Version, ""),
        ("GET", ["events"]) => (Call::Events, ""),
        ("GET", ["containers", "json"]) => (Call::List, ""),
        ("GET", ["containers", id, "json"]) => (Call::Inspect, id),
        ("GET", ["containers", id, "top"]) => (Call::Top, id),
        ("GET", ["containers", id, "logs"]) => (Call::Logs, id),
        ("POST", ["containers", id, "exec"]) => (Call::CreateExec, id),
        ("POST", ["containers", id, "kill"]) => (Call::Kill, id),
        ("POST", ["containers", id, "restart"]) => (Call::Restart, id),
        ("POST", ["exec", id, "start"]) => (Call::StartExec, id),
        ("GET", ["exec", id, "json"]) => (Call::InspectExec, id),
        _ => return None,
    })
}

fn list(shared: &Shared, query: &Query) -> Refused<Response> {
    let filters = query.filters(&host::FILTERS)?;
    // A state that is asked for by name is listed without further asking.
    let stopped_too = query.is_on("all") || filters.has("status");
    let wanted = |host: &&Host| (stopped_too || host.state().is_up()) && host.fits(&filters);
    let hosts = lock(&shared.hosts);
    let found: Vec<Value> = hosts.iter().filter(wanted).map(describe::summary).collect();
    Ok(ok(&json!(found)))
}

/// The processes of a container; of all that `ps` can be asked for, what certd asks for
fn top(shared: &Shared, id: &str, query: &Query) -> Refused<Response> {
    shared.with(id, |host| {
        if !host.state().is_up() {
            let words = format!("Container {} is not running", host.container.id);
            return Err(Refusal::conflict(words));
        }
        match query.value("ps_args") {
            Some("-eo pid,ppid,uid,gid,supgid,args") => Ok(ok(&describe::processes(host))),
            _ => Err(Refusal::bad_request("Error running ps: exit status 1")),
        }
    })
}

async fn create_exec(shared: &Shared, id: &str, request: Request) -> Refused<Response> {
    let options = body(request).await?;
    shared.with(id, |host| {
        host.check_runs_commands()?;
        let exec = lock(&shared.execs).create(&host.container.id, &options)?;
        let action = format!("exec_create: {}", exec.command.join(" "));
        let attribute = Some(("execID", exec.id.as_str()));
        shared.events.tell(&host.container, action, attribute);
        Ok(document(StatusCode::CREATED, &json!({"Id": exec.id})))
    })
}

async fn start_exec(
    shared: &Shared,
    id: &str,
    mut request: Request,
    ending: Ending,
) -> Refused<Response> {
    let upgrade = stream::upgrade(&mut request);
    let options = body(request).await?;
    let exec = lock(&shared.execs).find(id)?.clone();
    exec.check_is_new()?;
    let executed = shared.with(&exec.container, |host| {
        host.check_runs_commands()?;
        let tell = |host: &Host, action: String| {
            let attribute = Some(("execID", exec.id.as_str()));
            shared.events.tell(&host.container, action, attribute);
        };
        tell(host, format!("exec_start: {}", exec.command.join(" ")));
        let executed = match shared.instead_of(&exec.command) {
            Some(executed) => executed,
            None => host.run(&exec.command, &shared.events),
        };
        if ending == Ending::Whole {
            tell(host, "exec_die".to_owned());
        }
        Ok(executed)
    })?;
    // The status is there before the stream ends: clients ask for it then.
    let heard = lock(&shared.execs).find(id)?.record(&executed, ending);
    if options["Detach"].as_bool().unwrap_or_default() {
        return Ok(Response::new(Body::empty()));
    }
    let stopped = shared.stopped.clone();
    let stopped = async move { stopped.wait().await };
    Ok(stream::respond(upgrade, exec.form, &heard, ending, stopped))
}

fn kill(shared: &Shared, id: &str, query: &Query) -> Refused<Response> {
    let signal = Signal::parse(query.value("signal"))?;
    shared.with(id, |host| host.signal(signal, &shared.events))?;
    Ok(no_content())
}

fn restart(shared: &Shared, id: &str) -> Refused<Response> {
    shared.with(id, |host| {
        host.restart(&shared.events);
        Ok(no_content())
    })
}

fn listen(shared: &Shared, query: &Query) -> Refused<Response> {
    let filters = query.filters(&events::FILTERS)?;
    let stopped = shared.stopped.clone();
    let stopped = Box::pin(async move { stopped.wait().await });
    let lines = shared.events.lines(filters).take_until(stopped);
    let mut response = Response::new(Body::from_stream(lines));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// The JSON of a request's body; an object without members where it is empty
async fn body(request: Request) -> Refused<Value> {
    let invalid = || Refusal::bad_request("invalid JSON");
    let bytes = to_bytes(request.into_body(), MAX_BODY)
        .await
        .map_err(|_| invalid())?;
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(&bytes).map_err(|_| invalid())
}

fn ok(value: &Value) -> Response {
    document(StatusCode::OK, value)
}

fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn ping() -> Response {
    let mut response = Response::new(Body::from("OK"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

fn identify(headers: &mut HeaderMap, newest: &str) {
    let server = format!("Docker/{} (linux)", describe::VERSION);
    let fields = [
        (HeaderName::from_static("api-version"), newest),
        (HeaderName::from_static("ostype"), "linux"),
        (SERVER, &server),
    ];
    for (name, value) in fields {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
}

/// Bytes of a request's body
const MAX_BODY: usize = 1024 * 1024;
