//! What a reload does to the container: whether it runs on, and whether the engine starts it again.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

use libtest_mimic::Trial;

use crate::deploy::{below_a_script, ignore_reloads};
use crate::support::ca::Kind;
use crate::support::conf::{self, Flavour};
use crate::support::nginx::{Mount, NginxOptions};
use crate::support::process::{self, wait_for};
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site, site_of};
use crate::support::second_engine;
use crate::support::world::World;
use crate::support::write;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_renewal_leaves_the_engine_in_charge_of_restarts,
        after_a_renewal_the_engine_starts_nginx_with_the_host,
        a_signal_that_the_engine_would_remember_is_warned_of,
        a_script_gets_no_signal,
        a_script_that_cannot_be_told_otherwise_costs_no_order,
        an_init_passes_the_signal_on,
        a_container_that_ends_at_the_reload_is_told_with_how_to_start_it,
        a_reload_that_nginx_gives_up_is_told_in_its_own_words,
        what_nginx_writes_to_a_file_of_its_own_is_read_or_named,
        what_a_visitor_writes_into_the_log_takes_nothing_back,
        keys_that_the_workers_may_not_read_are_told_with_key_group,
        what_certd_runs_leaves_the_uploads_of_an_nginx_without_root_alone,
        a_key_that_the_master_may_not_read_goes_back,
        a_key_that_fails_at_the_reload_goes_back_where_nothing_is_tested,
        a_container_that_ends_at_its_restart_is_told_with_how_to_start_it,
    ]
}

/// What the engine remembers of a container: whether it takes it for stopped by hand
fn is_stopped_by_hand(scene: &Scene) -> bool {
    let root = Command::new("docker")
        .args(["info", "--format", "{{.DockerRootDir}}"])
        .output()
        .expect("docker can be run");
    let root = String::from_utf8_lossy(&root.stdout);
    let directory = Path::new(root.trim()).join("containers");
    let file = directory.join(scene.nginx.id()).join("config.v2.json");
    let text = std::fs::read_to_string(&file).expect("the engine's own record");
    let record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    record["HasBeenManuallyStopped"].as_bool().expect("a flag")
}

fn a_renewal_leaves_the_engine_in_charge_of_restarts() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.run = ["--restart", "unless-stopped"].map(str::to_owned).to_vec();
    });
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    for arguments in [&[SHOP][..], &[SHOP, "--force"]] {
        let report = scene.obtain(arguments).expect(0, SHOP, "proven");
        assert_eq!(report.warnings(SHOP), [""; 0], "{report}");
        assert!(!is_stopped_by_hand(&scene), "{report}");
    }
    // It is the engine's API that does it.
    scene.nginx.reload();
    assert!(is_stopped_by_hand(&scene));
}

fn after_a_renewal_the_engine_starts_nginx_with_the_host() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    scene.obtain(&[SHOP, "--no-deploy"]).expect(0, SHOP, "live");
    scene.write_sites(&[site(&[SHOP])]);

    let mut engine = second_engine::Engine::start();
    engine.run_nginx(&scene.world);
    let config = scene.unbound_config();
    let nginx = format!(
        "[nginx]\ncontainer = \"nginx\"\ndocker = \"unix://{}\"",
        engine.socket().display()
    );
    let config = config.lines(&nginx).domain(SHOP, &[]);
    scene.world.write_config(&config);
    let arguments = ["obtain", SHOP, "--format", "json"];
    let certd = scene.world.start_under(&engine.inside(), &arguments);
    let report = crate::support::report::Report::of(certd.wait());
    let report = report.expect(0, SHOP, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");

    engine.restart();
    wait_for("nginx after the engine's restart", || {
        engine.is_running("nginx").then_some(())
    });
}

fn a_signal_that_the_engine_would_remember_is_warned_of() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.run = ["--restart", "always"].map(str::to_owned).to_vec();
    });
    let config = scene.config().lines("reload = \"signal\"");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.warnings(SHOP), ["target.restart_forgotten"]);
    assert!(is_stopped_by_hand(&scene));

    // What it advises.
    scene.write_domains(&[(SHOP, &[])]);
    scene.nginx.restart();
    let report = scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    assert_eq!(report.warnings(SHOP), [""; 0], "{report}");
    assert!(!is_stopped_by_hand(&scene));
}

/// A shell as the first process, which HUP ends
const SCRIPT: &str = "nginx -g 'daemon off;' &\nwait\n";

fn a_script_gets_no_signal() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| below_a_script(nginx, SCRIPT));
    let config = scene.config().lines("reload = \"signal\"");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);
    let started = scene.nginx.started_at();
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.warnings(SHOP), ["target.no_signal"], "{report}");
    assert_eq!(scene.nginx.inspect("{{.State.Status}}"), "running");
    assert_eq!(scene.nginx.started_at(), started);
    scene.assert_serves(SHOP, &[SHOP]);
}

fn a_script_that_cannot_be_told_otherwise_costs_no_order() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| below_a_script(nginx, SCRIPT));
    let config = scene.config().lines("test = false");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.no_signal"], "{report}");
    let finding = report.finding(SHOP, "target.no_signal");
    assert!(finding.evidence.contains("sh /etc/nginx"), "{finding:?}");
    assert_eq!(scene.ca.orders(), 0);
    assert_eq!(scene.nginx.inspect("{{.State.Status}}"), "running");
}

fn an_init_passes_the_signal_on() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.run = vec!["--init".to_owned()];
    });
    let config = scene.config().lines("test = false");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.warnings(SHOP), [""; 0], "{report}");
    assert!(scene.nginx.logs().contains("(SIGHUP) received"));
}

fn a_container_that_ends_at_the_reload_is_told_with_how_to_start_it() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        ignore_reloads(
            nginx,
            "[ -s /tmp/once ] || { echo 1 >/tmp/once; kill 1; exit 0; }",
        );
    });
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.ended"], "{report}");
    let finding = report.finding(SHOP, "target.ended");
    assert!(finding.evidence.contains("exited"), "{finding:?}");
    assert!(finding.evidence.contains("nginx -s reload"), "{finding:?}");
    let start = format!("docker start {}", scene.nginx.name());
    assert!(finding.cure.contains(&start), "{finding:?}");
    assert!(!report.stages(SHOP).contains(&"rollback"), "{report}");
    assert!(scene.live_target(SHOP).ends_with("1"));

    scene.nginx.start_again();
    let report = wait_for("nginx", || {
        let report = scene.obtain(&[SHOP]);
        (report.outcome(SHOP) != "failed").then_some(report)
    });
    assert_eq!(report.ca_requests(), 0, "{report}");
    scene.assert_serves(SHOP, &[SHOP]);
    assert_eq!(scene.ca.orders(), 1);
}

/// nginx.conf of the shop with a port that a second nginx has: `nginx -t` takes no offence at that
fn taking_a_port_that_is_taken(scene: &Scene) -> String {
    let other = "pid /tmp/other.pid;\nerror_log stderr;\nevents {}\nhttp { access_log off; server { listen 8444; } }\n";
    write(scene.world.conf().join("other.conf"), other);
    let (status, words) = scene.nginx.exec(&["nginx", "-c", "/etc/nginx/other.conf"]);
    assert_eq!(status, 0, "{words}");
    let conf = conf::site(scene.nginx.flavour(), &[site(&[SHOP])]);
    conf.replace("listen 443 ssl;", "listen 443 ssl; listen 8444;")
}

fn what_nginx_writes_to_a_file_of_its_own_is_read_or_named() {
    let world = World::new();
    let logs = world.conf().with_file_name("logs");
    std::fs::create_dir(&logs).expect("it can be made");
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Root, |nginx, _| {
        let mount = format!("{}:/logs", logs.display());
        nginx.run.extend(["--volume".to_owned(), mount]);
    });
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let conf = taking_a_port_that_is_taken(&scene);
    let told = |arguments: &[&str], file: &str| {
        let log = format!("error_log {file} notice;");
        let conf = conf.replace("error_log stderr notice;", &log);
        assert!(conf.contains(&log), "{conf}");
        scene.nginx.write_conf(&conf);
        let report = scene.obtain(arguments).expect(1, SHOP, "failed");
        let code = report.failures(SHOP)[0].to_owned();
        let finding = report.finding(SHOP, &code);
        (finding.evidence, finding.cure)
    };
    let (evidence, cure) = told(&[SHOP, "--force"], "/logs/error.log");
    assert!(
        evidence.contains("[emerg]") && evidence.contains("8444"),
        "{evidence}"
    );
    assert!(!cure.contains("docker logs"), "{cure}");
    // Where that is seen from nowhere, the file is named.
    let (_, cure) = told(&[SHOP], "/tmp/own.log");
    let place = format!("/tmp/own.log in {}", scene.nginx.name());
    assert!(cure.contains(&place), "{cure}");
}

fn a_reload_that_nginx_gives_up_is_told_in_its_own_words() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");

    scene.nginx.write_conf(&taking_a_port_that_is_taken(&scene));

    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    let code = report.failures(SHOP)[0].to_owned();
    let finding = report.finding(SHOP, &code);
    assert!(finding.evidence.contains("[emerg]"), "{finding:?}");
    assert!(finding.evidence.contains("8444"), "{finding:?}");
    assert!(!finding.cure.contains("exec\""), "{finding:?}");
}

fn keys_that_the_workers_may_not_read_are_told_with_key_group() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    let conf = conf::site(scene.nginx.flavour(), &[site(&[SHOP])]);
    let by_name = conf
        .replace(&format!("live/{SHOP}/"), "live/$ssl_server_name/")
        .replace("worker_processes 1;", "user www-data;\nworker_processes 1;");
    scene.nginx.write_conf(&by_name);
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let code = report.failures(SHOP)[0].to_owned();
    let finding = report.finding(SHOP, &code);
    assert!(finding.evidence.contains("privkey.pem"), "{finding:?}");
    assert!(finding.cure.contains("key_group"), "{finding:?}");

    // What it advises.
    let config = scene.config().key("key_group = \"33\"");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    scene.assert_serves(SHOP, &[SHOP]);
}

/// A script of root that starts nginx as another user, as images with `gosu` or `su-exec` do
const STEP_DOWN: &str = "exec setpriv --reuid 101 --regid 101 --clear-groups \
    nginx -g 'daemon off; pid /tmp/nginx.pid;'\n";

/// Lends the container a program of this host, with the libraries that it needs
fn lend(nginx: &mut NginxOptions, program: &str) {
    let libraries = process::stdout_of(Command::new("ldd").arg(program));
    let own = |library: &&str| library.contains("cap-ng");
    let words = libraries.split_whitespace();
    let library = words.filter(|word| word.starts_with('/')).find(own);
    for file in [program].into_iter().chain(library) {
        nginx.mounts.push(Mount::read_only(file, file));
    }
}

/// An nginx whose master is not root in a container that is root's, beside the shop's site
fn stepped_down(reload: &str, key_group: Option<&str>) -> Scene {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.conf = without_pid(&nginx.conf);
        lend(nginx, "/usr/bin/setpriv");
        below_a_script(nginx, STEP_DOWN);
    });
    configure(&scene, reload, key_group);
    let conf = conf::site(scene.nginx.flavour(), &[site(&[SHOP])]);
    scene.nginx.write_conf(&without_pid(&conf));
    scene
}

fn without_pid(conf: &str) -> String {
    conf.replace("pid /run/nginx.pid;\n", "")
}

fn configure(scene: &Scene, reload: &str, key_group: Option<&str>) {
    let mut config = scene.config().lines(&format!("reload = \"{reload}\""));
    if let Some(group) = key_group {
        config = config.key(&format!("key_group = \"{group}\""));
    }
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
}

fn what_certd_runs_leaves_the_uploads_of_an_nginx_without_root_alone() {
    let scene = stepped_down("exec", Some("101"));
    let owners = || {
        let (_, list) = scene.nginx.exec(&["ls", "-ln", "/var/lib/nginx"]);
        let lines = list.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some((words.last()?.to_string(), words.get(2)?.to_string()))
        });
        lines.collect::<Vec<_>>()
    };
    let before = owners();
    let body = ("body".to_owned(), "101".to_owned());
    assert!(before.contains(&body), "{before:?}");
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(owners(), before);
    let why = scene.world.certd(&["why", SHOP]);
    assert!(why.stdout.contains("✓ block"), "{}", why.stdout);
    scene.world.certd(&["check", SHOP]);
    assert_eq!(owners(), before);
}

fn a_key_that_the_master_may_not_read_goes_back() {
    let scene = stepped_down("exec", Some("101"));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let first = scene.served(SHOP);

    configure(&scene, "exec", None);
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.test_failed"], "{report}");
    let finding = report.finding(SHOP, "target.test_failed");
    assert!(finding.cure.contains("user 101"), "{finding:?}");
    assert!(finding.cure.contains("key_group = \"101\""), "{finding:?}");
    scene.nginx.restart();
    wait_for("nginx with its first certificate", || {
        let served = crate::support::served::served(&scene.nginx.https_address(), SHOP);
        served.is_ok_and(|leaf| leaf == first).then_some(())
    });

    // What it advises.
    configure(&scene, "exec", Some("101"));
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(report.generation(SHOP), 2, "{report}");
}

fn a_container_that_ends_at_its_restart_is_told_with_how_to_start_it() {
    let scene = stepped_down("restart", None);
    // Nothing is tested, so that the first certificate is what nginx does not survive.
    let config = scene.config().lines("reload = \"restart\"\ntest = false");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.ended"], "{report}");
    // It was foretold.
    let foretold = report.finding(SHOP, "target.key_group");
    assert!(
        foretold.cure.contains("`key_group = \"101\"`"),
        "{foretold:?}"
    );
    let finding = report.finding(SHOP, "target.ended");
    let start = format!("docker start {}", scene.nginx.name());
    assert!(
        finding.evidence.contains("since its restart"),
        "{finding:?}"
    );
    assert!(finding.cure.contains(&start), "{finding:?}");

    // It cannot start: `key_group` is given to the key all the same.
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "target.not_running");
    assert!(finding.cure.contains("key_group"), "{finding:?}");
    assert!(finding.cure.contains(&start), "{finding:?}");
    configure(&scene, "restart", Some("101"));
    scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    scene.nginx.start_again();
    let report = wait_for("nginx", || {
        let report = scene.obtain(&[SHOP]);
        (report.outcome(SHOP) != "failed").then_some(report)
    });
    assert_eq!(report.outcome(SHOP), "proven", "{report}");
    assert_eq!(scene.ca.orders(), 1);
}

fn a_key_that_fails_at_the_reload_goes_back_where_nothing_is_tested() {
    let scene = stepped_down("signal", Some("101"));
    let untested = |key_group: Option<&str>| {
        let mut config = scene.config().lines("reload = \"signal\"\ntest = false");
        if let Some(group) = key_group {
            config = config.key(&format!("key_group = \"{group}\""));
        }
        scene.world.write_config(&scene.domain(config, SHOP, &[]));
    };
    untested(Some("101"));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let first = scene.served(SHOP);
    untested(None);
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "proof.previous_generation");
    assert!(
        finding.evidence.contains("is live and served again"),
        "{finding:?}"
    );
    assert!(finding.evidence.contains("[emerg]"), "{finding:?}");
    assert!(finding.cure.contains("key_group"), "{finding:?}");
    assert!(finding.cure.contains("nginx's master"), "{finding:?}");
    assert_eq!(scene.live(SHOP), first);
    untested(Some("101"));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
}

/// nginx writes what a URI decodes to into its log, line breaks too
fn what_a_visitor_writes_into_the_log_takes_nothing_back() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    scene.obtain(&["--all"]).expect_status(0);
    // The proof of the next one cannot be finished: an alias is served with another from now on.
    scene.write_sites(&[site(&[SHOP]), site_of(&[WWW], MESSENGER)]);
    let key = format!("/etc/letsencrypt/live/{SHOP}/privkey.pem");
    let line = format!(
        "x%22%0a2026/11/28%2012:00:00%20%5bemerg%5d%201%231:%20cannot%20load%20certificate%20key%20%22{key}%22:%20BIO_new_file()%20failed%20(Permission%20denied)%0a"
    );
    let request = format!(
        "GET /.well-known/acme-challenge/{line} HTTP/1.1\r\nHost: {SHOP}\r\nConnection: close\r\n\r\n"
    );
    let port = scene.nginx.http_port();
    let (ended, end) = mpsc::channel::<()>();
    let report = thread::scope(|scope| {
        scope.spawn(move || {
            while end.try_recv() == Err(TryRecvError::Empty) {
                let mut answer = String::new();
                let visit =
                    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
                        stream.write_all(request.as_bytes())?;
                        stream.read_to_string(&mut answer)
                    });
                visit.expect("nginx answers");
                assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
            }
        });
        let report = scene.obtain(&[SHOP, "--force"]);
        drop(ended);
        report
    });
    let forged = scene.nginx.logs();
    assert!(
        forged.contains("\n2026/11/28 12:00:00 [emerg] 1#1: cannot"),
        "{forged}"
    );
    let report = report.expect_status(1);
    assert!(!report.stages(SHOP).contains(&"rollback"), "{report}");
    assert!(!report.to_string().contains("key_group"), "{report}");
    assert!(scene.live_target(SHOP).ends_with("2"), "{report}");
}
