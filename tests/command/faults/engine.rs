//! A Docker engine that fails: before the order, where it costs none, and after it.

use certd_sandbox::docker::Call;
use certd_sandbox::fault::{Answer, Fault, Times};
use serde_json::json;

use super::{Next, Row, check};

/// How an engine, or a proxy in front of it, refuses a call
fn refusals() -> Vec<(&'static str, &'static str, Fault)> {
    let message = |status, words: &str| Answer::json(status, &json!({ "message": words }));
    vec![
        (
            "a proxy forbids it",
            "docker.refused",
            Answer::html(403, "403 Forbidden").into(),
        ),
        (
            "not found",
            "docker.refused",
            message(404, "No such container: web").into(),
        ),
        (
            "a conflict",
            "docker.refused",
            message(409, "container is marked for removal").into(),
        ),
        (
            "an internal error",
            "docker.refused",
            message(500, "layer store is corrupt").into(),
        ),
    ]
}

/// Replies that are none of Docker's
fn nonsense() -> Vec<(&'static str, &'static str, Fault)> {
    vec![
        (
            "a page",
            "docker.not_docker",
            Answer::html(200, "Welcome").into(),
        ),
        ("cut short", "docker.unreachable", Fault::CutShort),
    ]
}

fn rows(
    calls: &[(&str, Call)],
    faults: &[(&'static str, &'static str, Fault)],
    next: Next,
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, call) in calls {
        for (how, code, fault) in faults {
            let (call, fault) = (*call, fault.clone());
            rows.push(Row::new(
                format!("{what}: {how}"),
                (1, code),
                next,
                move |host| host.engine.fault(call, Times::Always, fault.clone()),
            ));
        }
    }
    rows
}

const BEFORE: [(&str, Call); 3] = [
    ("create a command", Call::CreateExec),
    ("start it", Call::StartExec),
    ("its end", Call::InspectExec),
];

#[test]
fn an_engine_that_refuses_what_comes_before_the_order() {
    let mut all = rows(&BEFORE, &refusals(), Next::Proven);
    let inspect = [("look at the container", Call::Inspect)];
    // A container that is not found is told as such, by the tests of containers.
    let mut faults = refusals();
    faults.remove(1);
    all.extend(rows(&inspect, &faults, Next::Proven));
    check("engine_refuses", &all);
}

#[test]
fn an_engine_that_answers_with_nonsense() {
    let calls = [
        ("look at the container", Call::Inspect),
        ("create a command", Call::CreateExec),
        ("its end", Call::InspectExec),
    ];
    let mut all = rows(&calls, &nonsense(), Next::Proven);
    let output = [("its output", Call::StartExec)];
    for (mut row, code) in rows(&output, &nonsense(), Next::Proven)
        .into_iter()
        // Output that ends early looks like that of a container which sees other files.
        .zip(["docker.unreachable", "docker.broken_off"])
    {
        row.code = code;
        all.push(row);
    }
    check("engine_nonsense", &all);
}

#[test]
fn containers_that_cannot_be_listed() {
    let list = [("list", Call::List)];
    let mut all = rows(&list, &refusals(), Next::Proven);
    all.extend(rows(&list, &nonsense(), Next::Proven));
    let all: Vec<Row> = all
        .into_iter()
        .map(|row| {
            let row = row.nginx("label = \"role=proxy\"");
            let fault = row.fault;
            Row {
                fault: Box::new(move |host| {
                    host.engine.change(|container| {
                        container
                            .labels
                            .insert("role".to_owned(), "proxy".to_owned());
                    });
                    fault(host);
                }),
                ..row
            }
        })
        .collect();
    check("engine_list", &all);
}

#[test]
fn a_reload_that_the_engine_refuses_costs_no_second_order() {
    let by_signal = |row: Row| row.nginx("container = \"web\"\nreload = \"signal\"");
    let kill = [("HUP", Call::Kill)];
    let mut all = rows(&kill, &refusals(), Next::ProvenWithoutOrder);
    all.extend(rows(
        &[("HUP at a renewal", Call::Kill)],
        &refusals()[3..],
        Next::ProvenWithoutOrder,
    ));
    if let Some(last) = all.pop() {
        all.push(last.forced());
    }
    let mut all: Vec<Row> = all.into_iter().map(by_signal).collect();
    let restart = [("restart", Call::Restart)];
    let restarts = rows(&restart, &refusals()[3..], Next::ProvenWithoutOrder);
    all.extend(
        restarts
            .into_iter()
            .map(|row| row.nginx("container = \"web\"\nreload = \"restart\"")),
    );
    check("engine_reload", &all);
}

#[test]
fn something_else_at_the_socket() {
    let row = Row::new("SSH", (1, "docker.unreachable"), Next::Proven, |host| {
        host.engine.turn_away("SSH-2.0-OpenSSH_9.2\r\n")
    });
    check("engine_none", &[row]);
}
