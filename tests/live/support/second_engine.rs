//! A Docker engine beside the machine's own, which a test may stop and start.
//!
//! It has a network of its own: one without would take the bridge of the first away.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::nginx::{image, random};
use super::process::{self, Process, wait_for};
use super::world::World;

/// A running engine, ended on drop with what it runs
pub(crate) struct Engine {
    place: TempDir,
    network: String,
    /// The option by which `nsenter` finds it
    entry: String,
    daemon: Option<Process>,
}

impl Engine {
    /// Starts an engine that knows the image with nginx
    pub(crate) fn start() -> Self {
        let network = format!("certd-test-{}", random());
        process::stdout_of(&mut ip(&["netns", "add", &network]));
        let mut engine = Self {
            place: tempfile::tempdir().expect("temporary directory"),
            entry: format!("--net=/run/netns/{network}"),
            network,
            daemon: None,
        };
        process::stdout_of(&mut ip(&["-n", &engine.network, "link", "set", "lo", "up"]));
        engine.start_daemon();
        engine.load_image();
        engine
    }

    /// Where it listens
    pub(crate) fn socket(&self) -> PathBuf {
        self.place.path().join("docker.sock")
    }

    /// What runs a program in its network, before the program
    ///
    /// The network alone is another: `ip netns exec` would hide the control groups, too.
    pub(crate) fn inside(&self) -> [&str; 2] {
        ["nsenter", &self.entry]
    }

    /// Starts nginx there, at ports 80 and 443 of its network, to run until somebody stops it
    pub(crate) fn run_nginx(&self, world: &World) {
        let volume = |source: PathBuf, target: &str| format!("{}:{target}:ro", source.display());
        let volumes = [
            volume(world.storage(), "/etc/letsencrypt"),
            volume(world.webroot(), "/var/www/certbot"),
            volume(world.conf(), "/etc/nginx"),
        ];
        let mut run = self.docker("run");
        run.args(["--detach", "--name", "nginx", "--network", "host"])
            .args(["--restart", "unless-stopped"]);
        for volume in &volumes {
            run.args(["--volume", volume]);
        }
        process::stdout_of(run.arg(image()));
    }

    /// Whether a container runs
    pub(crate) fn is_running(&self, name: &str) -> bool {
        let mut inspect = self.docker("inspect");
        let inspect = inspect.args(["--format", "{{.State.Running}}", name]);
        process::run(inspect).stdout.starts_with(b"true")
    }

    /// Stops the engine with all that it runs, and starts it again, as a host that restarts does
    pub(crate) fn restart(&mut self) {
        self.stop_daemon();
        self.start_daemon();
    }

    /// What it mounts is for itself, so that nothing stays mounted whatever ends it
    fn start_daemon(&mut self) {
        let at = |name: &str| self.place.path().join(name);
        let [enter, entry] = self.inside();
        let mut command = Command::new(enter);
        command
            .args([entry, "unshare", "--mount", "dockerd"])
            .args(["--bridge", "none", "--iptables=false"])
            .args(["--storage-driver", "vfs"])
            .arg(format!("--host=unix://{}", self.socket().display()));
        for (option, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(option).arg(at(name));
        }
        self.daemon = Some(Process::start(&mut command, &at("log")));
        wait_for("second engine", || {
            let version = process::run(&mut self.docker("version"));
            version.status.success().then_some(())
        });
    }

    fn stop_daemon(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.end();
        }
        self.daemon = None;
    }

    fn load_image(&self) {
        let archive = self.place.path().join("image.tar");
        let mut save = Command::new("docker");
        process::stdout_of(save.arg("save").arg("--output").arg(&archive).arg(image()));
        process::stdout_of(self.docker("load").arg("--input").arg(&archive));
    }

    fn docker(&self, verb: &str) -> Command {
        let mut command = Command::new("docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .arg(verb);
        command
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.docker("rm").args(["--force", "nginx"]).output();
        self.stop_daemon();
        let _ = ip(&["netns", "delete", &self.network]).output();
    }
}

fn ip(arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments);
    command
}
