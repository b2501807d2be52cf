//! A real nginx in a real container, for `certd demo --docker`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use certd_sandbox::web::{STORAGE, WEBROOT};

/// A container that is removed on drop
#[derive(Debug)]
pub(super) struct Container {
    docker: Docker,
    url: String,
    name: String,
    http: SocketAddr,
    https: SocketAddr,
}

/// What a container is made of
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// The engine, as a URL
    pub docker: String,
    /// An image with nginx that is there already
    pub image: String,
    /// What nginx sees as `/etc/nginx`
    pub configuration: PathBuf,
    /// What it sees as [`STORAGE`]
    pub storage: PathBuf,
    /// What it sees as [`WEBROOT`]
    pub webroot: PathBuf,
}

/// Why there is no container
#[derive(Debug, Error)]
pub(crate) enum ContainerError {
    /// The engine has no such image
    #[error("the Docker engine has no image `{image}`")]
    NoImage {
        /// As asked for
        image: String,
    },
    /// The engine refused
    #[error("the Docker engine at {docker} refused")]
    Engine {
        /// Its URL
        docker: String,
        /// Why
        source: ApiError,
    },
    /// It publishes no port
    #[error("the container publishes no port {port}")]
    Port {
        /// The port in the container
        port: u16,
    },
    /// nginx does not answer
    #[error("nginx in the container does not answer: {log}")]
    Mute {
        /// What it wrote
        log: String,
    },
}

impl Container {
    /// Creates and starts a container, and waits until its nginx answers at port 80
    ///
    /// # Errors
    /// [`ContainerError`]; nothing is left behind then.
    pub(super) async fn start(options: &Options) -> Result<Self, ContainerError> {
        let failed = |source| ContainerError::Engine {
            docker: options.docker.clone(),
            source,
        };
        // The guard is there before the container: a future that is dropped in the middle of
        // creating it must not leave it behind.
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut container = Self {
            docker: connect(&options.docker).map_err(failed)?,
            url: options.docker.clone(),
            name: new_name(),
            http: nowhere,
            https: nowhere,
        };
        let docker = &container.docker;
        let query = CreateContainerOptionsBuilder::new()
            .name(&container.name)
            .build();
        let created = docker.create_container(Some(query), body(options)).await;
        created.map_err(|error| match error {
            ApiError::DockerResponseServerError {
                status_code: 404, ..
            } => ContainerError::NoImage {
                image: options.image.clone(),
            },
            error => failed(error),
        })?;
        docker
            .start_container(&container.name, None)
            .await
            .map_err(failed)?;
        let inspected = docker
            .inspect_container(&container.name, None)
            .await
            .map_err(failed)?;
        let ports = inspected.network_settings.and_then(|network| network.ports);
        let published = |port: u16| {
            let bindings = ports.as_ref()?.get(&format!("{port}/tcp"))?.as_ref()?;
            let host: u16 = bindings.first()?.host_port.as_ref()?.parse().ok()?;
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, host)))
        };
        container.http = published(80).ok_or(ContainerError::Port { port: 80 })?;
        container.https = published(443).ok_or(ContainerError::Port { port: 443 })?;
        container.wait_for_nginx().await?;
        Ok(container)
    }

    /// Its name
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where its port 80 is published
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where its port 443 is published
    pub(super) fn https(&self) -> SocketAddr {
        self.https
    }

    /// Tells nginx to read its files again
    ///
    /// # Errors
    /// [`ContainerError::Engine`] where it could not be told.
    pub(super) async fn reload(&self) -> Result<(), ContainerError> {
        let query = KillContainerOptionsBuilder::new().signal("HUP").build();
        let told = self.docker.kill_container(&self.name, Some(query)).await;
        told.map_err(|source| ContainerError::Engine {
            docker: self.url.clone(),
            source,
        })
    }

    async fn wait_for_nginx(&self) -> Result<(), ContainerError> {
        for _ in 0..TRIES {
            if let Ok(Ok(())) = timeout(PAUSE * 10, answers(self.http)).await {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        Err(ContainerError::Mute {
            log: self.log().await,
        })
    }

    /// The end of what it wrote
    async fn log(&self) -> String {
        let query = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail("5")
            .build();
        let lines = self.docker.logs(&self.name, Some(query));
        let lines: Vec<String> = lines
            .filter_map(async |line| Some(line.ok()?.to_string().trim().to_owned()))
            .collect()
            .await;
        lines.join(" ")
    }
}

impl Drop for Container {
    /// Removes the container: from a thread of its own, because a drop cannot wait, and over a
    /// connection of its own, because the old one stands still meanwhile
    fn drop(&mut self) {
        let Ok(docker) = connect(&self.url) else {
            return;
        };
        let name = self.name.clone();
        let removing = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            // What cannot be removed is told of by nobody: its label is `certd.demo`.
            let removed = async { timeout(REMOVAL, remove(&docker, &name)).await };
            let _ = runtime.block_on(removed);
        });
        let _ = removing.join();
    }
}

/// Removes a container until the engine knows it no more
///
/// The engine may still be creating or starting it for a request that nobody waits for any more:
/// only a container that was seen missing for a while is not there.
async fn remove(docker: &Docker, name: &str) {
    let mut missing = 0;
    while missing < SEEN_MISSING {
        let query = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        match docker.remove_container(name, Some(query)).await {
            Ok(()) => return,
            Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => missing += 1,
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

/// A name that no other container has
fn new_name() -> String {
    let mut bytes = [0; 4];
    // The library documents no failure of its generator that it survives.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    format!("certd-demo-{:08x}", u32::from_be_bytes(bytes))
}

fn connect(url: &str) -> Result<Docker, ApiError> {
    match url.strip_prefix("unix://") {
        Some(path) => Docker::connect_with_unix(path, API_SECONDS, API_DEFAULT_VERSION),
        None => Docker::connect_with_http(url, API_SECONDS, API_DEFAULT_VERSION),
    }
}

fn body(options: &Options) -> ContainerCreateBody {
    let anywhere = || {
        Some(vec![PortBinding {
            host_ip: Some(Ipv4Addr::LOCALHOST.to_string()),
            host_port: Some(String::new()),
        }])
    };
    let ports = ["80/tcp", "443/tcp"];
    let mount = |host: &Path, inside: &str| Mount {
        typ: Some(MountType::BIND),
        source: Some(host.display().to_string()),
        target: Some(inside.to_owned()),
        read_only: Some(true),
        ..Mount::default()
    };
    ContainerCreateBody {
        image: Some(options.image.clone()),
        exposed_ports: Some(ports.iter().map(ToString::to_string).collect()),
        labels: Some(HashMap::from([(LABEL.to_owned(), String::new())])),
        host_config: Some(HostConfig {
            mounts: Some(vec![
                mount(&options.configuration, "/etc/nginx"),
                mount(&options.storage, STORAGE),
                mount(&options.webroot, WEBROOT),
            ]),
            port_bindings: Some(HashMap::from(
                ports.map(|port| (port.to_owned(), anywhere())),
            )),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Whether HTTP is spoken there: a published port accepts connections before nginx listens
async fn answers(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    match stream.read(&mut [0; 16]).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Label of the demo's containers
const LABEL: &str = "certd.demo";
const API_SECONDS: u64 = 30;
/// Time for removing a container
const REMOVAL: Duration = Duration::from_secs(10);
/// Looks in a row that find no container
const SEEN_MISSING: u32 = 10;
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);
