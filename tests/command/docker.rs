//! Docker in all its moods: each failure is told with its cure, and costs no order.

use std::fmt::Write as _;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use certd::finding::Explain as _;
use certd::target::container;
use certd_sandbox::docker::Call;
use certd_sandbox::fault::{Fault, Times};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use crate::support::{
    Behaviour, CLOSED, Engine, Executed, Host, Place, Reply, Run, Server, Setting, codes,
    inspected, over_80_columns,
};

const NAME: &str = "shop.rare-books.test";

/// Runs against engines, and what was shown of them
#[derive(Default)]
struct Gallery {
    shown: String,
    wrong: Vec<String>,
}

impl Gallery {
    /// A run against an engine that departs from a healthy one must fail with this code, before
    /// the CA hears of it
    fn check(
        &mut self,
        title: &str,
        code: &str,
        selector: &str,
        behave: impl FnOnce(&Place, &mut Behaviour),
    ) {
        let place = Place::new();
        let mut behaviour = Behaviour::healthy(&place);
        behave(&place, &mut behaviour);
        let engine = Engine::start(&place, behaviour);
        let socket = place.path("docker.sock");
        self.check_at(title, code, selector, &socket.to_string_lossy(), &place);
        drop(engine);
    }

    fn check_at(&mut self, title: &str, code: &str, selector: &str, docker: &str, place: &Place) {
        let ca = Server::start(drop);
        place.write("domains.toml", config(&ca, selector, docker));
        let run = place.run(&["obtain", NAME]);
        let report = place.run(&["obtain", NAME, "--format", "json"]).json();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                self.wrong.push(format!("{title}: {what}"));
            }
        };
        expect(run.status == Some(1), "exit 1");
        expect(run.stderr.is_empty(), "nothing on stderr");
        expect(codes(&report) == [code], code);
        expect(ca.connections() == 0, "the CA hears nothing");
        // What is to be copied is kept whole, and so is a path.
        let mut long = over_80_columns(&run.stdout);
        long.retain(|line| !line.contains(&*place.path("").to_string_lossy()));
        expect(long.is_empty(), "80 columns");
        let left = [place.tree("webroot"), place.tree("storage")].concat();
        expect(
            left.iter().all(|(path, _)| path.is_dir()),
            "nothing is left",
        );
        let shown = place.without_directory(&run.stdout);
        let _ = writeln!(self.shown, "# {title}\n{shown}");
    }

    /// Everything that was shown is as in the snapshot, and as expected
    #[track_caller]
    fn compare(self, name: &str) {
        snapshot!(Place::new(), name, self.shown);
        assert_eq!(self.wrong, [""; 0]);
    }
}

fn config(ca: &Server, selector: &str, docker: &str) -> String {
    format!(
        "terms_of_service_agreed = true\nissuer = \"test\"\n\
         storage = \"storage\"\nstate = \"state\"\nwebroot = \"webroot\"\n\
         [issuers.test]\ndirectory = \"https://{}/directory\"\n\
         [nginx]\n{selector}\ndocker = \"{docker}\"\n\
         [[domain]]\nname = \"{NAME}\"\nports = [1]\n",
        ca.address
    )
}

const BY_NAME: &str = "container = \"web\"";

#[test]
fn an_engine_that_cannot_be_asked() {
    let mut gallery = Gallery::default();
    for docker in ["/nowhere/docker.sock", "unix:///nowhere/docker.sock"] {
        let place = Place::new();
        gallery.check_at("no socket", "docker.no_socket", BY_NAME, docker, &place);
    }
    let place = Place::new();
    let socket = place.path("docker.sock");
    let socket = socket.to_string_lossy();
    drop(UnixListener::bind(&*socket).unwrap());
    gallery.check_at(
        "a stopped engine's socket",
        "docker.unreachable",
        BY_NAME,
        &socket,
        &place,
    );
    let place = Place::new();
    place.write("docker.sock", "");
    let file = place.path("docker.sock");
    gallery.check_at(
        "a file for a socket",
        "docker.unreachable",
        BY_NAME,
        &file.to_string_lossy(),
        &place,
    );
    let place = Place::new();
    let tcp = format!("tcp://{CLOSED}");
    gallery.check_at("no engine", "docker.unreachable", BY_NAME, &tcp, &place);
    gallery.compare("unreachable");
}

#[test]
fn what_is_no_docker_api_is_refused_wherever_it_stands() {
    const CURE: &str = "use a socket path, unix:///PATH, or tcp://HOST:PORT";
    for url in [
        "ssh://root@host",
        "https://127.0.0.1:2376",
        "docker.sock",
        "tcp://",
        "unix://",
    ] {
        let (ca, place) = (Server::start(drop), Place::new());
        let text = config(&ca, BY_NAME, url);
        place.write("domains.toml", &text);
        let run = place.run(&["obtain", NAME]).exits(2);
        let words = format!("\"{url}\" is no Docker API");
        for expected in [words.as_str(), CURE, "`nginx.docker`"] {
            assert!(run.stderr.contains(expected), "{expected}: {run}");
        }
        let line = format!("docker = \"{url}\"\n");
        place.write("domains.toml", text.replace(&line, ""));
        let arguments = ["obtain", NAME, "--format", "json"];
        let run = Run::of(place.certd(&arguments).env("DOCKER_HOST", url)).exits(1);
        assert_eq!(codes(&run.json()), ["docker.url"], "{run}");
        assert!(run.stdout.contains(CURE), "{run}");
        assert_eq!(ca.connections(), 0);
    }
}

#[test]
fn a_socket_without_the_right_to_use_it() {
    use std::os::unix::fs::PermissionsExt;
    let (ca, place) = (Server::start(drop), Place::new());
    let engine = Engine::start(&place, Behaviour::healthy(&place));
    let socket = place.path("docker.sock");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
    let text = config(&ca, BY_NAME, &socket.to_string_lossy());
    place.write("domains.toml", text);
    let arguments = ["obtain", NAME, "--format", "json"];
    let run = Run::of(&mut place.certd_without_rights(&arguments)).exits(1);
    assert_eq!(codes(&run.json()), ["docker.forbidden"]);
    assert!(run.stdout.contains("the group `docker`"), "{run}");
    assert_eq!(ca.connections(), 0);
    drop(engine);
}

#[test]
fn an_engine_that_answers_something_else() {
    let mut gallery = Gallery::default();
    let mut check = |title: &str, code: &str, reply: Reply| {
        gallery.check(title, code, BY_NAME, |_, behaviour| {
            behaviour.answer = Box::new(move |_| Some(reply.clone()));
        });
    };
    check(
        "a socket proxy forbids",
        "docker.refused",
        Reply::new(
            403,
            "text/html",
            "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n\
             </body></html>",
        ),
    );
    check(
        "an internal error",
        "docker.refused",
        Reply::json(500, &json!({"message": "layer store is corrupt"})),
    );
    check(
        "an internal error without words",
        "docker.refused",
        Reply::new(500, "text/plain", ""),
    );
    check(
        "no HTTP",
        "docker.unreachable",
        Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
    );
    check("no answer", "docker.unreachable", Reply::Raw(Vec::new()));
    check(
        "half an answer",
        "docker.unreachable",
        Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"Id\":".to_vec()),
    );
    check(
        "no JSON",
        "docker.not_docker",
        Reply::new(200, "text/html", "<html>Welcome</html>"),
    );
    check(
        "other JSON",
        "docker.not_docker",
        Reply::json(200, &json!([1, 2])),
    );
    gallery.compare("other_answers");
}

#[test]
fn a_container_that_is_not_there_or_does_not_run() {
    let mut gallery = Gallery::default();
    let none = |_: &Place, behaviour: &mut Behaviour| {
        behaviour.answer = Box::new(|request| {
            let filtered = request.query.contains("filters");
            (request.line() == "GET /containers/json" && filtered)
                .then(|| Reply::json(200, &json!([])))
        });
    };
    gallery.check(
        "another name",
        "target.not_found",
        "container = \"nginx\"",
        |_, behaviour| {
            behaviour.answer = Box::new(|request| {
                (request.line() == "GET /containers/json").then(|| {
                    Reply::json(
                        200,
                        &json!([
                            {"Id": "2", "Names": ["/shop_db_1"]},
                            {"Id": "1", "Names": ["/shop_web_1", "/shop_db_1/web"]},
                            {"Id": "3"},
                        ]),
                    )
                })
            });
        },
    );
    gallery.check(
        "nothing runs",
        "target.not_found",
        "container = \"nginx\"",
        |_, behaviour| {
            behaviour.answer = Box::new(|request| {
                (request.line() == "GET /containers/json").then(|| Reply::json(200, &json!([])))
            });
        },
    );
    gallery.check(
        "no label",
        "target.not_found",
        "label = \"certd=yes\"",
        none,
    );
    gallery.check(
        "no service",
        "target.not_found",
        "service = \"web\"\nproject = \"shop\"",
        none,
    );
    for state in ["exited", "paused", "restarting", "created", "dead"] {
        gallery.check(state, "target.not_running", BY_NAME, |_, behaviour| {
            behaviour.container["State"] = json!({"Status": state, "Running": state == "paused"});
        });
    }
    gallery.check(
        "neither port nor address",
        "target.no_endpoint",
        BY_NAME,
        |_, behaviour| {
            behaviour.container["NetworkSettings"] = json!({"Ports": {}, "Networks": {}});
        },
    );
    gallery.compare("containers");
}

#[test]
fn a_container_that_sees_other_files() {
    let mut gallery = Gallery::default();
    let mount = |source: &str, destination: &str| json!({"Type": "bind", "Source": source, "Destination": destination});
    let with_mounts = |mounts: fn(&Place) -> Vec<(String, String)>| {
        move |place: &Place, behaviour: &mut Behaviour| {
            let mounts: Vec<Value> = mounts(place)
                .iter()
                .map(|(source, destination)| mount(source, destination))
                .collect();
            behaviour.container["Mounts"] = json!(mounts);
        }
    };
    gallery.check(
        "no mounts",
        "target.not_mounted",
        BY_NAME,
        with_mounts(|_| Vec::new()),
    );
    gallery.check(
        "no storage",
        "target.not_mounted",
        BY_NAME,
        with_mounts(|place| vec![same(place, "webroot")]),
    );
    gallery.check(
        "no webroot",
        "target.not_mounted",
        BY_NAME,
        with_mounts(|place| vec![same(place, "storage")]),
    );
    gallery.check(
        "a mount that pins",
        "target.pinned_mount",
        BY_NAME,
        with_mounts(|place| {
            let live = place.path(&format!("storage/live/{NAME}"));
            vec![
                same(place, "webroot"),
                (
                    live.to_string_lossy().into_owned(),
                    "/certificate".to_owned(),
                ),
            ]
        }),
    );
    gallery.check(
        "a mount that pins one file",
        "target.pinned_mount",
        BY_NAME,
        with_mounts(|place| {
            let file = place.path(&format!("storage/archive/{NAME}/1/fullchain.pem"));
            vec![
                same(place, "storage"),
                same(place, "webroot"),
                (file.to_string_lossy().into_owned(), "/cert.pem".to_owned()),
            ]
        }),
    );
    let cat = |below: &'static str, executed: Executed| {
        move |_: &Place, behaviour: &mut Behaviour| {
            behaviour.exec = Box::new(move |command| {
                let reads = command[0] == "cat" && command.iter().any(|word| word.contains(below));
                reads.then(|| executed.clone())
            });
        }
    };
    let missing = |path: &str| Executed {
        status: 1,
        stderr: format!("cat: {path}: No such file or directory\n"),
        ..Executed::default()
    };
    gallery.check(
        "another webroot under the mount",
        "target.other_directory",
        BY_NAME,
        cat("webroot", missing("/var/www/certbot/.well-known")),
    );
    gallery.check(
        "another storage under the mount",
        "target.other_directory",
        BY_NAME,
        cat("storage", missing("/etc/letsencrypt/archive")),
    );
    gallery.check(
        "other bytes",
        "target.other_directory",
        BY_NAME,
        cat(
            "storage",
            Executed {
                stdout: "something else".to_owned(),
                ..Executed::default()
            },
        ),
    );
    gallery.check(
        "no cat",
        "target.no_cat",
        BY_NAME,
        cat(
            "",
            Executed {
                status: 127,
                stdout: "OCI runtime exec failed: exec: \"cat\": executable file not found in \
                         $PATH: unknown"
                    .to_owned(),
                ..Executed::default()
            },
        ),
    );
    gallery.compare("mounts");
}

fn same(place: &Place, below: &str) -> (String, String) {
    let path = place.path(below).to_string_lossy().into_owned();
    (path.clone(), path)
}

#[test]
fn a_container_in_which_nothing_can_be_run() {
    let mut gallery = Gallery::default();
    let exec = |reply: Reply| {
        move |_: &Place, behaviour: &mut Behaviour| {
            behaviour.answer = Box::new(move |request| {
                let creates = request.method == "POST" && request.path.ends_with("/exec");
                creates.then(|| reply.clone())
            });
        }
    };
    gallery.check(
        "a socket proxy forbids exec",
        "docker.refused",
        BY_NAME,
        exec(Reply::new(
            403,
            "text/html",
            "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n\
             </body></html>",
        )),
    );
    gallery.check(
        "the container has gone",
        "docker.refused",
        BY_NAME,
        exec(Reply::json(
            409,
            &json!({"message": "Container 1f7c0ffee is not running"}),
        )),
    );
    let nginx = |executed: Executed| {
        move |_: &Place, behaviour: &mut Behaviour| {
            behaviour.exec =
                Box::new(move |command| (command[0] == "nginx").then(|| executed.clone()));
        }
    };
    gallery.check(
        "no nginx in it",
        "target.no_nginx",
        BY_NAME,
        nginx(Executed {
            status: 127,
            stdout: "OCI runtime exec failed: exec failed: unable to start container process: \
                     exec: \"nginx\": executable file not found in $PATH: unknown"
                .to_owned(),
            ..Executed::default()
        }),
    );
    gallery.compare("exec");
}

#[test]
fn an_engine_that_says_nothing_is_given_up_after_thirty_seconds() {
    let place = Place::new();
    let behaviour = Behaviour {
        answer: Box::new(|_| Some(Reply::Silence)),
        ..Behaviour::healthy(&place)
    };
    let engine = Engine::start(&place, behaviour);
    let ca = Server::start(drop);
    let socket = place.path("docker.sock");
    place.write(
        "domains.toml",
        config(&ca, BY_NAME, &socket.to_string_lossy()),
    );
    let report = place
        .run(&["obtain", NAME, "--format", "json"])
        .exits(1)
        .json();
    assert_eq!(codes(&report), ["docker.timeout"]);
    assert_eq!(ca.connections(), 0);
    drop(engine);
}

#[test]
fn test_false_asks_for_no_exec_at_all() {
    let place = Place::new();
    let behaviour = Behaviour {
        container: inspected(&place),
        answer: Box::new(|request| {
            let exec = request.path.contains("exec");
            exec.then(|| Reply::new(403, "text/plain", "forbidden"))
        }),
        exec: Box::new(|_| None),
    };
    let engine = Engine::start(&place, behaviour);
    let ca = Server::start(drop);
    let socket = place.path("docker.sock");
    let selector = "container = \"web\"\ntest = false";
    place.write(
        "domains.toml",
        config(&ca, selector, &socket.to_string_lossy()),
    );
    let report = place
        .run(&["obtain", NAME, "--format", "json"])
        .exits(1)
        .json();
    // It came as far as the CA, which is none.
    assert_eq!(codes(&report), ["acme.unreachable"]);
    assert!(ca.connections() > 0);
    let looks = [
        "GET /version",
        "GET /containers/web/json",
        "GET /containers/1f7c0ffee/top",
    ];
    assert_eq!(engine.requests(), looks);
}

#[test]
fn a_container_that_was_removed_meanwhile_hides_none_that_is_there() {
    let place = Place::new();
    let mut behaviour = Behaviour::healthy(&place);
    behaviour.answer = Box::new(|request| {
        let all = [
            json!({"Id": "90ce", "Names": ["/gone"]}),
            json!({"Id": "1f7c0ffee", "Names": ["/web"]}),
        ];
        (request.line() == "GET /containers/json").then(|| Reply::json(200, &json!(all)))
    });
    let engine = Engine::start(&place, behaviour);
    let url = format!("unix://{}", place.path("docker.sock").display());
    let arguments = ["why", CLOSED, "--format", "json"];
    let report = Run::of(place.certd(&arguments).env("DOCKER_HOST", url)).json();
    let requests = engine.requests();
    for asked in [
        "GET /containers/90ce/json",
        "GET /containers/1f7c0ffee/json",
    ] {
        assert!(requests.iter().any(|line| line == asked), "{requests:?}");
    }
    assert!(
        !report.to_string().contains("No such container"),
        "{report:#}"
    );
}

#[test]
fn an_answer_without_end_is_read_no_further_than_certd_has_use_for() {
    for call in [Call::Version, Call::Inspect] {
        let host = Host::new(&Setting::default());
        host.engine.fault(call, Times::Always, Fault::Endless);
        let certd = env!("CARGO_BIN_EXE_certd");
        // Without a bound it would take some gigabytes until its time is over.
        let script = format!(
            "ulimit -v 700000; exec {certd} --config domains.toml obtain --all --format json"
        );
        let mut command = std::process::Command::new("bash");
        command
            .args(["-c", &script])
            .current_dir(host.place.path(""))
            .env("MALLOC_ARENA_MAX", "1");
        let report = Run::of(&mut command).exits(1).json();
        assert_eq!(codes(&report), ["docker.too_long"], "{call:?}");
    }
}

#[test]
fn a_stream_of_events_is_bounded_by_what_one_of_them_may_have() {
    let host = Host::new(&Setting::default());
    host.engine
        .fault(Call::Events, Times::Always, Fault::Endless);
    let url = host.engine.socket().to_string_lossy().into_owned();
    let first = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let engine = container::Engine::at(&url, Duration::from_secs(30)).await;
        let engine = engine.unwrap();
        let first = std::pin::pin!(engine.events()).try_next().await;
        first.map(|_| ()).map_err(|error| error.code())
    });
    assert_eq!(first, Err("docker.too_long"));
}

#[test]
fn a_label_of_more_containers_than_any_host_has_is_refused_before_each_is_asked() {
    let place = Place::new();
    let mut behaviour = Behaviour::healthy(&place);
    behaviour.answer = Box::new(|request| {
        let all = (0..300).map(|number| json!({"Id": format!("{number:x}"), "Names": ["/web"]}));
        let all: Vec<Value> = all.collect();
        (request.line() == "GET /containers/json").then(|| Reply::json(200, &json!(all)))
    });
    let engine = Engine::start(&place, behaviour);
    let ca = Server::start(drop);
    let socket = place.path("docker.sock");
    place.write(
        "domains.toml",
        config(&ca, "label = \"certd.reload\"", &socket.to_string_lossy()),
    );
    let run = place.run(&["obtain", NAME, "--format", "json"]).exits(1);
    assert_eq!(codes(&run.json()), ["target.too_many"]);
    assert_eq!(engine.requests(), ["GET /version", "GET /containers/json"]);
}
