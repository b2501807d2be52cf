//! Finding containers, telling them to reload, and an engine that does not answer.

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::write;

use crate::deploy::{ALWAYS, ignore_reloads};
use crate::support::conf::{self, Flavour};
use crate::support::nginx::{Mount, Nginx, NginxOptions, random};
use crate::support::scene::{SHOP, Scene, WWW, site};
use crate::support::served::served;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        two_containers_by_label_are_both_served,
        one_of_two_that_does_not_reload_is_a_failure,
        one_of_two_that_does_not_come_up_again_is_rolled_back,
        one_of_two_without_the_storage_costs_no_order,
        containers_are_found_by_compose_labels,
        a_container_is_found_by_its_id,
        no_container_costs_no_order_and_lists_those_that_run,
        a_stopped_container_costs_no_order,
        a_container_that_starts_nginx_by_a_shell_works,
        a_container_whose_nginx_has_a_configuration_of_its_own_works,
        exec_reloads_without_a_restart,
        restart_restarts,
        an_engine_without_a_socket_costs_no_order,
        a_stopped_engine_costs_no_order,
        without_test_the_proof_alone_decides,
    ]
}

/// A second container beside the scene's, with the same label, configuration and mounts
fn second(scene: &Scene, label: &str, change: impl FnOnce(&mut NginxOptions)) -> Nginx {
    let mut options = NginxOptions::new(&scene.world, Flavour::Root);
    options.labels = vec![label.to_owned()];
    change(&mut options);
    Nginx::start(options)
}

fn labelled(label: &str) -> Scene {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.labels = vec![label.to_owned()]
    });
    let config = scene
        .unbound_config()
        .lines(&format!("[nginx]\nlabel = {label:?}"));
    scene.world.write_config(&config.domain(SHOP, &[WWW]));
    scene
}

fn two_containers_by_label_are_both_served() {
    let label = format!("certd.pair={}", random());
    let scene = labelled(&label);
    let other = second(&scene, &label, |_| {});
    scene.write_sites(&[site(&[SHOP, WWW])]);

    for arguments in [&[SHOP][..], &[SHOP, "--force"]] {
        let report = scene.obtain(arguments).expect(0, SHOP, "proven");
        scene.assert_serves(SHOP, &[SHOP, WWW]);
        for name in [SHOP, WWW] {
            assert_eq!(served(&other.https_address(), name), Ok(scene.live(SHOP)));
        }
        let targets = report.json()["targets"][0]["name"].to_string();
        for container in [&scene.nginx, &other] {
            assert!(targets.contains(container.name()), "{report}");
        }
    }
    assert_eq!(scene.ca.orders(), 2);
}

fn one_of_two_that_does_not_reload_is_a_failure() {
    let label = format!("certd.pair={}", random());
    let scene = labelled(&label);
    scene.obtain(&[SHOP, "--no-deploy"]).expect(0, SHOP, "live");
    scene.write_sites(&[site(&[SHOP, WWW])]);
    let conf = std::fs::read_to_string(scene.world.conf().join("nginx.conf"));
    let other = second(&scene, &label, |nginx| {
        nginx.conf = conf.expect("nginx.conf");
        ignore_reloads(nginx, ALWAYS);
    });
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let old = scene.live(SHOP);

    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.previous_generation"]);
    let finding = report.finding(SHOP, "proof.previous_generation");
    let address = other.https_address();
    assert!(finding.evidence.contains(&address), "{finding:?}");
    assert_eq!(served(&address, SHOP), Ok(old));
    assert_eq!(scene.served(SHOP), scene.live(SHOP));
}

fn one_of_two_that_does_not_come_up_again_is_rolled_back() {
    let label = format!("certd.pair={}", random());
    let scene = labelled(&label);
    // A container keeps its files when it is restarted, and this one ends where it finds its own.
    let script = "[ ! -e /tmp/started ] || exit 1\n: >/tmp/started\nexec nginx -g 'daemon off;'\n";
    let other = second(&scene, &label, |nginx| {
        nginx.conf_dir = scene.world.path().join("other");
        std::fs::create_dir(&nginx.conf_dir).expect("directory can be made");
        write(nginx.conf_dir.join("start.sh"), script);
        nginx.command = ["sh", "/etc/nginx/start.sh"].map(str::to_owned).to_vec();
    });
    for nginx in [&scene.nginx, &other] {
        nginx.write_conf(&conf::site(Flavour::Root, &[site(&[SHOP, WWW])]));
    }
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let old = scene.served(SHOP);
    assert_eq!(served(&other.https_address(), SHOP), Ok(old.clone()));

    let config = scene
        .unbound_config()
        .lines(&format!("[nginx]\nlabel = {label:?}\nreload = \"restart\""));
    scene.world.write_config(&config.domain(SHOP, &[WWW]));
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["proof.broken"], "{report}");
    let finding = report.finding(SHOP, "proof.broken");
    let address = other.https_address();
    assert!(finding.evidence.contains(&address), "{finding:?}");
    assert!(scene.live_target(SHOP).ends_with("1"), "{report}");
    assert_eq!(scene.served(SHOP), old);
    assert_eq!(scene.served(WWW), old);
    assert_eq!(scene.generations(SHOP), ["1", "2"]);
    assert_eq!(scene.ca.orders(), 2);
}

fn one_of_two_without_the_storage_costs_no_order() {
    let label = format!("certd.pair={}", random());
    let scene = labelled(&label);
    let elsewhere = scene.world.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("directory can be made");
    let other = second(&scene, &label, |nginx| {
        nginx.mounts[0] = Mount::read_only(&elsewhere, "/etc/letsencrypt");
    });
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "target.not_mounted");
    assert!(finding.evidence.contains(other.name()), "{finding:?}");
    assert_eq!(report.ca_requests(), 0, "{report}");
    assert_eq!(scene.ca.orders(), 0);
    scene.assert_clean();
}

fn containers_are_found_by_compose_labels() {
    let (service, project) = (random(), random());
    let labels = [
        format!("com.docker.compose.service={service}"),
        format!("com.docker.compose.project={project}"),
    ];
    let scene = Scene::with(Kind::Pebble, |nginx, _| nginx.labels = labels.to_vec());
    // The same service in another project is another's.
    let stranger = second(&scene, &labels[0], |nginx| {
        nginx
            .labels
            .push("com.docker.compose.project=other".to_owned());
        nginx.mounts.clear();
    });
    let select = |lines: &str| {
        let config = scene.unbound_config().lines(&format!("[nginx]\n{lines}"));
        scene.world.write_config(&config.domain(SHOP, &[WWW]));
    };
    scene.write_sites(&[site(&[SHOP, WWW])]);

    select(&format!("service = {service:?}\nproject = {project:?}"));
    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert!(!report.to_string().contains(stranger.name()), "{report}");

    // Without a project both are meant, and the stranger has no mounts.
    select(&format!("service = {service:?}"));
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    let finding = report.finding(SHOP, "target.not_mounted");
    assert!(finding.evidence.contains(stranger.name()), "{finding:?}");
    assert_eq!(scene.ca.orders(), 1);
}

fn a_container_is_found_by_its_id() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_sites(&[site(&[SHOP])]);
    for id in [scene.nginx.id(), &scene.nginx.id()[..12]] {
        let config = scene
            .unbound_config()
            .lines(&format!("[nginx]\ncontainer = {id:?}"));
        scene.world.write_config(&config.domain(SHOP, &[]));
        scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
        scene.assert_serves(SHOP, &[SHOP]);
    }
}

fn no_container_costs_no_order_and_lists_those_that_run() {
    let scene = Scene::new(Kind::Pebble);
    for (selector, value) in [
        ("container", "no-such-container"),
        ("label", "certd.no=such"),
        ("service", "no-such-service"),
    ] {
        let lines = format!("[nginx]\n{selector} = {value:?}");
        let config = scene.unbound_config().lines(&lines);
        scene.world.write_config(&config.domain(SHOP, &[]));
        let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
        assert_eq!(report.failures(SHOP), ["target.not_found"], "{report}");
        let finding = report.finding(SHOP, "target.not_found");
        assert!(finding.evidence.contains(value), "{finding:?}");
        assert!(finding.cure.contains(scene.nginx.name()), "{finding:?}");
        assert_eq!(report.ca_requests(), 0, "{report}");
    }
    assert_eq!(scene.ca.requests(), 0);
}

fn a_stopped_container_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    scene.write_domains(&[(SHOP, &[])]);
    scene.nginx.stop();
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["target.not_running"], "{report}");
    let finding = report.finding(SHOP, "target.not_running");
    assert!(finding.evidence.contains("exited"), "{finding:?}");
    assert_eq!(scene.ca.requests(), 0);
}

fn a_container_that_starts_nginx_by_a_shell_works() {
    // The `-c` is the shell's. Compose files for certbot start nginx like this.
    let script = "while :; do sleep 3600; done & exec nginx -g 'daemon off;'";
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    });
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);
}

fn a_container_whose_nginx_has_a_configuration_of_its_own_works() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        let main = nginx.conf_dir.join("main.conf");
        write(main, &nginx.conf);
        let command = ["nginx", "-c", "/etc/nginx/main.conf", "-g", "daemon off;"];
        nginx.command = command.map(str::to_owned).to_vec();
        nginx.conf = "this is not what nginx reads".to_owned();
    });
    let config = scene.config().lines("reload = \"exec\"");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    let conf = conf::site(Flavour::Root, &[site(&[SHOP])]);
    let main = scene.world.conf().join("main.conf");
    write(main, conf);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);
}

/// Issues and renews with this `reload`; gives when the container started before and after
fn renew_with(reload: &str) -> (String, String) {
    let scene = Scene::new(Kind::Pebble);
    let config = scene.config().lines(&format!("reload = {reload:?}"));
    scene
        .world
        .write_config(&scene.domain(config, SHOP, &[WWW]));
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);

    let before = scene.nginx.started_at();
    let report = scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    (before, scene.nginx.started_at())
}

fn exec_reloads_without_a_restart() {
    let (before, after) = renew_with("exec");
    assert_eq!(before, after);
}

fn restart_restarts() {
    let (before, after) = renew_with("restart");
    assert_ne!(before, after);
}

fn an_engine_without_a_socket_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    let config = scene
        .config()
        .lines("docker = \"unix:///nonexistent.sock\"");
    scene.world.write_config(&config.domain(SHOP, &[]));
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["docker.no_socket"], "{report}");
    let finding = report.finding(SHOP, "docker.no_socket");
    assert!(
        finding.evidence.contains("/nonexistent.sock"),
        "{finding:?}"
    );
    assert_eq!(scene.ca.requests(), 0);
}

fn a_stopped_engine_costs_no_order() {
    let scene = Scene::new(Kind::Pebble);
    // What an engine that was killed leaves behind.
    let socket = scene.world.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let docker = format!("docker = \"unix://{}\"", socket.display());
    let config = scene.config().lines(&docker);
    scene.world.write_config(&config.domain(SHOP, &[]));
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), ["docker.unreachable"], "{report}");
    let finding = report.finding(SHOP, "docker.unreachable");
    assert!(finding.cure.contains("is Docker running?"), "{finding:?}");
    assert_eq!(scene.ca.requests(), 0);
}

fn without_test_the_proof_alone_decides() {
    let scene = Scene::new(Kind::Pebble);
    let config = scene.config().lines("test = false");
    scene.world.write_config(&scene.domain(config, SHOP, &[]));
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);

    let old = scene.served(SHOP);
    scene.nginx.write_conf("broken");
    scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    assert_eq!(scene.served(SHOP), old);
}
