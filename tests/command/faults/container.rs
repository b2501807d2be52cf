//! Containers that are not what they should be.

use certd_sandbox::docker::{Container, Executed, Health, State};

use super::{Next, Row, check};
use crate::support::Host;

/// What a person does about a container that does not run
fn started(host: &Host) {
    host.engine
        .change(|container| container.state = State::Running);
}

fn changed(change: impl Fn(&mut Container) + Send + Sync + 'static) -> impl Fn(&Host) {
    move |host| host.engine.change(&change)
}

#[test]
fn a_container_that_does_not_run_costs_no_order() {
    let code = (1, "target.not_running");
    let mut rows: Vec<Row> = [
        ("created", State::Created),
        ("exited", State::Exited),
        ("restarting", State::Restarting),
        ("paused", State::Paused),
        ("dead", State::Dead),
        ("being removed", State::Removing),
    ]
    .into_iter()
    .map(|(title, state)| {
        Row::new(title, code, Next::Helped(started), move |host| {
            host.engine.change(|container| container.state = state);
        })
    })
    .collect();
    rows.push(Row::new(
        "gone",
        (1, "target.not_found"),
        Next::Helped(|host| {
            let place = &host.place;
            let container = Container::nginx("web", &place.path("storage"), &place.path("webroot"));
            host.engine.add(container, host.web.clone());
        }),
        |host| host.engine.remove("web"),
    ));
    check("container_states", &rows);
}

#[test]
fn health_is_not_asked_for_because_a_handshake_says_more() {
    let unhealthy =
        |health| changed(move |container: &mut Container| container.health = Some(health));
    check(
        "container_health",
        &[
            Row::new(
                "unhealthy",
                (0, ""),
                Next::Proven,
                unhealthy(Health::Unhealthy),
            ),
            Row::new(
                "starting",
                (0, ""),
                Next::Proven,
                unhealthy(Health::Starting),
            ),
        ],
    );
}

/// Commands that end so
fn ends(title: &'static str, code: &'static str, command: &'static str, with: Executed) -> Row {
    let words: Vec<&str> = command.split(' ').collect();
    Row::new(title, (1, code), Next::Proven, move |host| {
        host.engine.exec_instead(&words, with.clone());
    })
}

#[test]
fn commands_that_cannot_be_run_or_fail_cost_no_order() {
    let missing = Executed {
        status: 127,
        stdout: "OCI runtime exec failed: exec failed: unable to start container process: exec: \
                 \"nginx\": executable file not found in $PATH: unknown\r\n"
            .to_owned(),
        ..Executed::default()
    };
    let forbidden = Executed::failure(126, "sh: nginx: Permission denied\n");
    let broken = "nginx: [emerg] unknown directive \"sever\" in /etc/nginx/conf.d/a.conf:3\n\
                  nginx: configuration file /etc/nginx/nginx.conf test failed\n";
    check(
        "container_commands",
        &[
            ends("no cat", "target.no_cat", "cat", Executed::failure(127, "")),
            ends(
                "cat fails",
                "target.other_directory",
                "cat",
                Executed::failure(1, "cat: x\n"),
            ),
            ends("no nginx", "target.no_nginx", "nginx", missing),
            ends("nginx forbidden", "target.no_nginx", "nginx", forbidden),
        ],
    );
    // nginx goes on with what it has loaded: the order is made, once, and waits.
    let unresolved = "nginx: [emerg] host not found in upstream \"app\" in /etc/nginx/a.conf:7\n\
                      nginx: configuration file /etc/nginx/nginx.conf test failed\n";
    let waits = |title, executed| {
        let mut row = ends(title, "target.config_broken", "nginx -t", executed);
        row.next = Next::ProvenWithoutOrder;
        row
    };
    check(
        "broken_configuration",
        &[
            waits("configuration broken", Executed::failure(1, broken)),
            waits("at a renewal", Executed::failure(1, broken)).forced(),
            waits(
                "upstream without an address",
                Executed::failure(1, unresolved),
            ),
            waits("killed", Executed::failure(137, "")),
        ],
    );
}

#[test]
fn nginx_that_refuses_the_reload_is_reloaded_by_the_next_run() {
    let refused = "nginx: [error] invalid PID number \"\" in \"/run/nginx.pid\"\n";
    let row = ends(
        "invalid PID",
        "target.reload",
        "nginx -s reload",
        Executed::failure(1, refused),
    );
    let mut row = row.nginx("container = \"web\"\nreload = \"exec\"");
    row.next = Next::ProvenWithoutOrder;
    check("container_reload", &[row]);
}
