//! nginx in a container of its own.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::conf::{self, Flavour};
use super::ports;
use super::process::{self, POLL, START};
use super::world::World;

/// What a container gets
#[derive(Clone, Debug)]
pub(crate) struct NginxOptions {
    /// As whom nginx runs
    pub(crate) flavour: Flavour,
    /// The first nginx.conf; [`conf::http_only`] by default
    pub(crate) conf: String,
    /// The host's directory that becomes `/etc/nginx`
    pub(crate) conf_dir: PathBuf,
    /// Bind mounts and volumes, beside `/etc/nginx`
    pub(crate) mounts: Vec<Mount>,
    /// Labels, each `KEY=VALUE`
    pub(crate) labels: Vec<String>,
    /// Loopback port that the HTTP port is published at
    pub(crate) http_port: u16,
    /// Loopback address that the HTTPS port is published at; `None` leaves it to the network
    pub(crate) https: Option<SocketAddr>,
    /// Loopback addresses that other ports of the container are published at
    pub(crate) others: Vec<(SocketAddr, u16)>,
    /// The network that it is in, such as `host`; `None` is Docker's usual one
    pub(crate) network: Option<String>,
    /// Further options of `docker run`
    pub(crate) run: Vec<String>,
    /// What runs in the container; empty is the image's own, nginx in the foreground
    pub(crate) command: Vec<String>,
}

/// A directory, file or named volume seen in the container
#[derive(Clone, Debug)]
pub(crate) struct Mount(String);

impl Mount {
    /// `source`, a path of the host or the name of a volume, read-only at `target`
    pub(crate) fn read_only(source: impl AsRef<Path>, target: &str) -> Self {
        Self(format!("{}:{target}:ro", source.as_ref().display()))
    }
}

impl NginxOptions {
    /// nginx as `flavour` with the usual mounts: storage and webroot of `world`, whole and read-only
    pub(crate) fn new(world: &World, flavour: Flavour) -> Self {
        Self {
            flavour,
            conf: conf::http_only(flavour),
            conf_dir: world.conf(),
            mounts: vec![
                Mount::read_only(world.storage(), "/etc/letsencrypt"),
                Mount::read_only(world.webroot(), "/var/www/certbot"),
            ],
            labels: Vec::new(),
            http_port: ports::free(),
            https: Some((Ipv4Addr::LOCALHOST, ports::free()).into()),
            others: Vec::new(),
            network: None,
            run: Vec::new(),
            command: Vec::new(),
        }
    }
}

/// A running container, removed on drop
#[derive(Debug)]
pub(crate) struct Nginx {
    name: String,
    id: String,
    options: NginxOptions,
}

impl Nginx {
    /// Starts the container and waits until nginx answers at its HTTP port
    pub(crate) fn start(options: NginxOptions) -> Self {
        std::fs::create_dir_all(&options.conf_dir).expect("conf directory can be made");
        let name = format!("certd-test-{}", random());
        let nginx = Self {
            id: String::new(),
            name,
            options,
        };
        nginx.write_conf(&nginx.options.conf);
        // From here on a panic removes what there is of the container.
        let id = process::stdout_of(&mut nginx.run_command());
        let mut nginx = nginx;
        nginx.id = id;
        nginx.wait_answering();
        nginx
    }

    /// nginx in the network of this host, with this label, and this nginx.conf beside what lies there
    pub(crate) fn start_in_network_of_host(world: &World, label: &str, conf: &str) -> Self {
        let options = NginxOptions {
            conf: conf.to_owned(),
            ..NginxOptions::new(world, Flavour::Root)
        };
        let nginx = Self {
            id: String::new(),
            name: format!("certd-test-{}", random()),
            options,
        };
        nginx.write_conf(conf);
        let mount = Mount::read_only(world.conf(), "/etc/nginx");
        let mut command = docker("run");
        command
            .args(["--detach", "--network", "host", "--name", &nginx.name])
            .args(["--label", &format!("certd.test.run={}", run_id())])
            .args(["--label", label])
            .args(["--volume", &mount.0]);
        for mount in &nginx.options.mounts {
            command.args(["--volume", &mount.0]);
        }
        let id = process::stdout_of(command.arg(image()));
        let mut nginx = nginx;
        nginx.id = id;
        nginx
    }

    /// The container's name
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The container's full id
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// As whom nginx runs
    pub(crate) fn flavour(&self) -> Flavour {
        self.options.flavour
    }

    /// Loopback port that the HTTP port is published at
    pub(crate) fn http_port(&self) -> u16 {
        self.options.http_port
    }

    /// Where TLS can be reached from here: the published address, else the one in the network
    pub(crate) fn https_address(&self) -> String {
        if let Some(published) = self.options.https {
            return published.to_string();
        }
        let address = self.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        format!("{address}:{}", self.flavour().https_port())
    }

    /// Replaces nginx.conf, without a reload
    pub(crate) fn write_conf(&self, text: &str) {
        let path = self.options.conf_dir.join("nginx.conf");
        std::fs::write(path, text).expect("nginx.conf can be written");
    }

    /// Exit status and whole output of a command in the container
    pub(crate) fn exec(&self, arguments: &[&str]) -> (i32, String) {
        let output = process::run(docker("exec").arg(&self.name).args(arguments));
        let text = [output.stdout, output.stderr].concat();
        let status = output.status.code().unwrap_or(-1);
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    /// Tells nginx to read its configuration again, as certd's `signal` does
    pub(crate) fn reload(&self) {
        process::stdout_of(docker("kill").args(["--signal", "HUP", &self.name]));
    }

    /// Everything that nginx has logged so far
    pub(crate) fn logs(&self) -> String {
        let output = process::run(docker("logs").arg(&self.name));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Stops the container and keeps it
    pub(crate) fn stop(&self) {
        process::stdout_of(docker("stop").args(["--time", "2", &self.name]));
    }

    /// Stops the container and starts it again, as an operator would
    pub(crate) fn restart(&self) {
        process::stdout_of(docker("restart").args(["--time", "2", &self.name]));
    }

    /// Removes the container, which frees its ports
    pub(crate) fn remove(&self) {
        process::stdout_of(docker("rm").args(["--force", "--volumes", &self.name]));
    }

    /// What `docker inspect` prints in this format
    pub(crate) fn inspect(&self, format: &str) -> String {
        process::stdout_of(docker("inspect").args(["--format", format, &self.name]))
    }

    /// Starts the container again, as an operator would
    pub(crate) fn start_again(&self) {
        process::stdout_of(docker("start").arg(&self.name));
    }

    /// When the container's main process started, as Docker writes it: changes with a restart
    pub(crate) fn started_at(&self) -> String {
        self.inspect("{{.State.StartedAt}}")
    }

    /// Waits until nginx has answered an unknown challenge as `wanted` for a while
    #[track_caller]
    pub(crate) fn wait_for_challenges(&self, wanted: impl Fn(&str) -> bool) {
        let ask = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http_port())).ok()?;
            let request = b"GET /.well-known/acme-challenge/x HTTP/1.0\r\n\r\n";
            stream.write_all(request).ok()?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).ok()?;
            Some(reply)
        };
        // nginx stops its old workers 100 ms after it has started new ones.
        let mut since = None;
        process::wait_for("answer of the new configuration", || {
            if !ask().is_some_and(|reply| wanted(&reply)) {
                since = None;
                return None;
            }
            let since = *since.get_or_insert_with(Instant::now);
            (since.elapsed() > Duration::from_millis(200)).then_some(())
        });
    }

    fn run_command(&self) -> Command {
        let options = &self.options;
        let flavour = options.flavour;
        let mut command = docker("run");
        command
            .args(["--detach", "--name", &self.name])
            .args(["--user", flavour.user()])
            .args(["--label", &format!("certd.test.run={}", run_id())]);
        let http = (Ipv4Addr::LOCALHOST, options.http_port).into();
        let https = options.https.map(|host| (host, flavour.https_port()));
        for (host, container) in [(http, flavour.http_port())]
            .into_iter()
            .chain(https)
            .chain(options.others.iter().copied())
        {
            // In the network of the host, or of another container, there is nothing to publish.
            let network = options.network.as_deref().unwrap_or_default();
            if network != HOST && !network.starts_with("container:") {
                command.args(["--publish", &format!("{host}:{container}")]);
            }
        }
        if let Some(network) = &options.network {
            command.args(["--network", network]);
        }
        for label in &options.labels {
            command.args(["--label", label]);
        }
        let conf = Mount::read_only(&options.conf_dir, "/etc/nginx");
        for Mount(mount) in options.mounts.iter().chain([&conf]) {
            command.args(["--volume", mount]);
        }
        command.args(&options.run);
        command.arg(image()).args(&options.command);
        command
    }

    // A connection alone proves nothing: Docker's proxy accepts it for nginx.
    #[track_caller]
    fn wait_answering(&self) {
        let deadline = Instant::now() + START;
        while !answers(self.http_port()) {
            if Instant::now() > deadline {
                panic!("{} does not answer:\n{}", self.name, self.logs());
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It fails only for a container that never came to be.
        let _ = docker("rm")
            .args(["--force", "--volumes", &self.name])
            .output();
    }
}

/// A named Docker volume, removed on drop
///
/// Declare it before the container that uses it: a volume in use stays.
#[derive(Debug)]
pub(crate) struct Volume {
    name: String,
}

impl Volume {
    /// Makes an empty volume
    pub(crate) fn create() -> Self {
        let name = format!("certd-test-{}", random());
        let label = format!("certd.test.run={}", run_id());
        process::stdout_of(docker("volume").args(["create", "--label", &label, &name]));
        Self { name }
    }

    /// Its name
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The host's directory that holds its files
    pub(crate) fn path(&self) -> PathBuf {
        let format = "{{.Mountpoint}}";
        let inspect = ["inspect", "--format", format, &self.name];
        process::stdout_of(docker("volume").args(inspect)).into()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = docker("volume").args(["rm", &self.name]).output();
    }
}

/// A Docker network with IPv4 and IPv6, removed on drop
///
/// Declare it before the container that is in it: a network in use stays.
#[derive(Debug)]
pub(crate) struct DualStack {
    name: String,
}

impl DualStack {
    /// Makes one
    pub(crate) fn create() -> Self {
        let random = random();
        let (name, label) = (
            format!("certd-test-{random}"),
            format!("certd.test.run={}", run_id()),
        );
        let subnet = format!(
            "fd{}:{}:{}::/64",
            &random[..2],
            &random[2..6],
            &random[6..10]
        );
        let create = [
            "create", "--label", &label, "--ipv6", "--subnet", &subnet, &name,
        ];
        process::stdout_of(docker("network").args(create));
        Self { name }
    }

    /// Its name
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }
}

impl Drop for DualStack {
    fn drop(&mut self) {
        let _ = docker("network").args(["rm", &self.name]).output();
    }
}

/// A container whose network others share, removed on drop
///
/// Declare it before those: it must outlive them.
#[derive(Debug)]
pub(crate) struct Lender {
    name: String,
}

impl Lender {
    /// Starts one that publishes these ports
    pub(crate) fn start(ports: &[(SocketAddr, u16)]) -> Self {
        let name = format!("certd-test-{}", random());
        let mut command = docker("run");
        command
            .args(["--detach", "--name", &name])
            .args(["--label", &format!("certd.test.run={}", run_id())]);
        for (host, container) in ports {
            command.args(["--publish", &format!("{host}:{container}")]);
        }
        process::stdout_of(command.arg(image()).args(["sleep", "600"]));
        Self { name }
    }

    /// What `--network` gets of those that share it
    pub(crate) fn network(&self) -> String {
        format!("container:{}", self.name)
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        let _ = docker("rm").args(["--force", &self.name]).output();
    }
}

/// The network of the host
pub(crate) const HOST: &str = "host";

fn docker(verb: &str) -> Command {
    let mut command = Command::new("docker");
    command.arg(verb);
    command
}

/// The image with nginx that the tests use
pub(crate) fn image() -> String {
    std::env::var("CERTD_TEST_NGINX_IMAGE").unwrap_or_else(|_| "certd-nginx-test:local".to_owned())
}

// tests/run.sh removes by this label what a killed test run leaves behind.
fn run_id() -> String {
    std::env::var("CERTD_TEST_RUN").unwrap_or_else(|_| std::process::id().to_string())
}

/// Twelve hexadecimal digits that no other test has
pub(crate) fn random() -> String {
    format!("{:012x}", RandomState::new().build_hasher().finish() >> 16)
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(START));
    let mut first = [0; 5];
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut first).is_ok()
        && first == *b"HTTP/"
}
