//! How nginx is told to reload, by what the engine says of its container.

use certd_sandbox::docker::{Call, Executed};
use certd_sandbox::fault::{Answer, Times};
use serde_json::json;

use crate::support::{Host, Setting, codes};

const RELOAD: &[&str] = &["nginx", "-s", "reload"];

/// A host whose `[nginx]` has this line too
fn with(line: &'static str) -> Host {
    Host::new(&Setting {
        nginx: line,
        ..Setting::default()
    })
}

fn signals(host: &Host) -> usize {
    let requests = host.engine.requests();
    requests
        .iter()
        .filter(|line| line.contains("/kill"))
        .count()
}

fn told(host: &Host) -> (usize, usize) {
    (signals(host), host.engine.commands(RELOAD))
}

/// Codes of all warnings and failures of an `obtain` that ends with this status
#[track_caller]
fn obtain(host: &Host, status: i32) -> Vec<String> {
    let report = host.obtain(&["--format", "json"]).exits(status).json();
    codes(&report).into_iter().map(str::to_owned).collect()
}

#[test]
fn nginx_is_told_by_a_command_where_nothing_else_is_asked_for() {
    let host = with("container = \"web\"");
    host.obtain(&[]).exits(0);
    assert_eq!(told(&host), (0, 1));
}

#[test]
fn without_commands_there_is_the_signal() {
    let host = with("container = \"web\"\ntest = false");
    host.engine.change(|container| container.restart = "no");
    assert_eq!(obtain(&host, 0), [""; 0]);
    assert_eq!(told(&host), (1, 0));
}

#[test]
fn a_signal_that_the_system_denies_is_replaced_by_a_command() {
    let host = with("container = \"web\"\nreload = \"signal\"");
    let words = "Cannot kill container: web: unknown error after kill: permission denied";
    let denied = Answer::json(500, &json!({ "message": words }));
    host.engine.fault(Call::Kill, Times::Always, denied);
    host.obtain(&[]).exits(0);
    assert_eq!(told(&host), (1, 1));
}

#[test]
fn no_signal_is_sent_where_the_engine_does_not_tell_what_gets_it() {
    let host = with("container = \"web\"\nreload = \"signal\"");
    let refused = Answer::html(403, "403 Forbidden");
    host.engine.fault(Call::Top, Times::Always, refused);
    host.obtain(&[]).exits(0);
    assert_eq!(told(&host), (0, 1));
}

#[test]
fn without_commands_and_without_a_word_of_what_gets_the_signal_nothing_is_ordered() {
    let host = with("container = \"web\"\ntest = false");
    let refused = Answer::html(403, "403 Forbidden");
    host.engine.fault(Call::Top, Times::Always, refused);
    assert_eq!(obtain(&host, 1), ["target.no_signal"]);
    assert_eq!(told(&host), (0, 0));
    assert_eq!(host.ca.orders(), 0);
}

#[test]
fn a_supervisor_gets_no_signal() {
    for supervisor in ["sh -c trap", "s6-svscan /run/service", "/bin/tini -- sh"] {
        let host = with("container = \"web\"\nreload = \"signal\"");
        host.engine.change(|container| {
            let nginx = container.processes.clone();
            container.processes = vec![supervisor.to_owned(), "sh /start.sh".to_owned()];
            container.processes.extend(nginx);
        });
        assert_eq!(obtain(&host, 0), ["target.no_signal"], "{supervisor}");
        assert_eq!(told(&host), (0, 1));
    }
}

#[test]
fn the_options_of_the_running_master_are_those_of_the_reload() {
    let host = with("container = \"web\"");
    host.engine.change(|container| {
        container.command = vec!["/start.sh".to_owned()];
        container.processes[0] = "nginx: master process nginx -c /srv/nginx.conf".to_owned();
    });
    host.obtain(&[]).exits(0);
    let own = [RELOAD, &["-c", "/srv/nginx.conf"]].concat();
    assert_eq!(host.engine.commands(&own), 1);
    assert_eq!(
        host.engine
            .commands(&["nginx", "-t", "-c", "/srv/nginx.conf"]),
        2
    );
}

#[test]
fn a_restart_policy_that_a_signal_would_undo_is_told() {
    const TOLD: &[&str] = &["target.restart_forgotten"];
    let rows = [
        ("unless-stopped", TOLD),
        ("always", TOLD),
        ("on-failure", &[]),
        ("no", &[]),
    ];
    for (restart, warnings) in rows {
        let host = with("container = \"web\"\nreload = \"signal\"");
        host.engine.change(|container| container.restart = restart);
        assert_eq!(obtain(&host, 0), warnings, "{restart}");
        assert_eq!(told(&host), (1, 0));
    }
}

#[test]
fn paths_have_the_version_that_the_engine_announces() {
    let host = with("container = \"web\"");
    host.engine.pass_versioned_paths_alone();
    host.obtain(&[]).exits(0);
}

#[test]
fn a_reload_that_nginx_refuses_costs_no_second_order() {
    let host = with("container = \"web\"");
    let words = "nginx: [error] open() \"/run/nginx.pid\" failed (2: No such file or directory)";
    let failure = Executed::failure(1, words);
    host.engine.exec_instead(RELOAD, failure);
    assert_eq!(obtain(&host, 1), ["target.reload"]);
    host.behave();
    host.obtain(&[]).exits(0);
    assert_eq!(host.ca.orders(), 1);
}

#[test]
fn the_calls_in_the_readme_are_all_that_are_made() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for lines in [
        "container = \"web\"",
        "label = \"role\"\nreload = \"signal\"",
        "label = \"role\"\nreload = \"restart\"",
    ] {
        let host = with(lines);
        host.engine
            .change(|container| *container = container.clone().label("role", "web"));
        host.obtain(&[]).exits(0);
        for request in host.engine.requests() {
            let path = request.split('?').next().unwrap_or_default();
            let segments = path.split('/').enumerate().map(|(at, segment)| match at {
                2 if segment != "json" => "ID",
                _ => segment,
            });
            let call = segments.collect::<Vec<_>>().join("/");
            assert!(
                readme.contains(&format!("`{call}`")),
                "{call} is not in README.md"
            );
        }
    }
}

#[test]
fn an_nginx_from_a_directory_of_its_own_is_told_as_that() {
    let host = with("container = \"web\"");
    host.engine.change(|container| {
        container.command = vec!["/start.sh".to_owned()];
        container.processes[0] = "nginx: master process ./nginx".to_owned();
    });
    assert_eq!(obtain(&host, 1), ["target.relative_start"]);
    let why = host
        .certd(&["why", "rare-books.test", "--format", "json"])
        .json();
    assert!(why.to_string().contains("target.relative_start"), "{why:#}");
}

#[test]
fn a_table_without_users_does_as_well() {
    let host = with("container = \"web\"\nreload = \"signal\"");
    let refused = Answer::html(400, "bad -o argument 'uid'");
    host.engine.fault(Call::Top, Times::Next(1), refused);
    assert_eq!(obtain(&host, 0), [""; 0]);
    assert_eq!(told(&host), (0, 1));
}
