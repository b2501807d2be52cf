//! Who listens at a port of the host, where no configuration names the container.

use std::net::IpAddr;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use tokio::task::spawn_blocking;

use super::super::owner::{Owner, owner};
use super::{DockerError, Engine, RUNNING, published};
use crate::facts::{Container, Network, Published};
use crate::target::process::runs_nginx;

/// Who takes connections at a port of the host
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtPort {
    /// These containers; empty where none does
    Containers(Vec<Container>),
    /// A process of the host, and no container
    Process {
        /// What it is called
        name: String,
        /// Its number
        pid: u32,
    },
    /// Somebody who cannot be seen; these run nginx in the network of the host
    Perhaps(Vec<Container>),
}

impl Engine {
    /// The containers that take connections at a TCP port of the host, published or not; at this
    /// address, one of the host's own, where one is given
    ///
    /// Those that publish it; else that whose process listens there, as far as the kernel tells;
    /// else those that publish the port at another address, or would publish it, if they ran, each
    /// with its ports as configured.
    ///
    /// # Errors
    /// [`DockerError`] where the engine cannot be asked.
    pub async fn at_port(&self, port: u16, at: Option<IpAddr>) -> Result<AtPort, DockerError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let listed = self.list(Some(options)).await?;
        let found = self.publishing(&listed, port, at).await?;
        if !found.is_empty() {
            return Ok(AtPort::Containers(found));
        }
        let is_of_host = |container: &Container| {
            container.state == RUNNING
                && container.network == Network::Host
                && runs_nginx(container)
        };
        let would = |container: &Container| {
            let mut ports = container.published.iter();
            let mut is_meant = |published: &Published| {
                let host = published.host;
                host.port() == port && is_at(Some(host.ip()), at)
            };
            container.state != RUNNING && ports.any(&mut is_meant)
        };
        let all = self.inspect_all(listed.iter().take(MOST)).await?;
        // What is paused holds its ports, and publishes none.
        let is_paused = |one: &&Container| would(one) && one.state == PAUSED;
        if let Some(paused) = all.iter().find(is_paused) {
            return Ok(AtPort::Containers(vec![paused.clone()]));
        }
        // What listens where another engine is, this host's kernel does not know.
        let owner = match self.address.is_loopback() {
            true => spawn_blocking(move || owner(port, at))
                .await
                .unwrap_or(Owner::Hidden),
            false => Owner::Hidden,
        };
        let of_host = || all.iter().filter(|one| is_of_host(one)).cloned().collect();
        Ok(match owner {
            Owner::Process {
                name,
                pid,
                container,
            } => match all.iter().find(|one| Some(&one.id) == container.as_ref()) {
                Some(found) => AtPort::Containers(vec![found.clone()]),
                None => AtPort::Process { name, pid },
            },
            Owner::Hidden => AtPort::Perhaps(of_host()),
            Owner::Nobody => {
                let elsewhere = self.publishing(&listed, port, None).await?;
                AtPort::Containers(match elsewhere.is_empty() {
                    true => all.into_iter().filter(would).collect(),
                    false => elsewhere,
                })
            }
        })
    }

    /// The containers that publish a port, or those with nginx that share the network of one
    async fn publishing(
        &self,
        listed: &[ContainerSummary],
        port: u16,
        at: Option<IpAddr>,
    ) -> Result<Vec<Container>, DockerError> {
        let publishing = listed.iter().filter(|one| publishes(one, port, at));
        let found = self.inspect_all(publishing.take(MOST)).await?;
        let borrowing = listed.iter().filter(|one| borrows_from(one, &found));
        let borrowers = self.inspect_all(borrowing.take(MOST)).await?.into_iter();
        // What publishes a port for another is no nginx: a VPN, or a container that waits.
        let serving = borrowers.filter(runs_nginx);
        let serving: Vec<Container> = serving.filter(|one| one.state == RUNNING).collect();
        Ok(if serving.is_empty() { found } else { serving })
    }

    async fn inspect_all(
        &self,
        summaries: impl Iterator<Item = &ContainerSummary>,
    ) -> Result<Vec<Container>, DockerError> {
        let mut found = Vec::new();
        for id in summaries.filter_map(|summary| summary.id.as_deref()) {
            // What was removed since the list was made is none of them.
            let Some(response) = self.inspect(id).await? else {
                continue;
            };
            let configured = response.host_config.as_ref();
            let configured = configured.and_then(|config| config.port_bindings.clone());
            let mut one = self.describe(response).await?;
            if one.state != RUNNING {
                // What does not run publishes nothing, and says what it would.
                one.published = published(configured.unwrap_or_default());
            }
            found.push(one);
        }
        Ok(found)
    }
}

fn publishes(summary: &ContainerSummary, port: u16, at: Option<IpAddr>) -> bool {
    let mut ports = summary.ports.iter().flatten();
    ports.any(|published| {
        let ip = published.ip.as_deref().and_then(|ip| ip.parse().ok());
        published.public_port == Some(port) && is_at(ip, at)
    })
}

/// Whether what is published at an address, or at all, is published at this one
pub(crate) fn is_at(published: Option<IpAddr>, at: Option<IpAddr>) -> bool {
    let pair = published.zip(at);
    pair.is_none_or(|(ip, at)| ip.is_unspecified() || ip == at.to_canonical())
}

/// Whether a container shares the network of one of these
fn borrows_from(summary: &ContainerSummary, lenders: &[Container]) -> bool {
    let mode = summary.host_config.as_ref();
    let mode = mode.and_then(|config| config.network_mode.as_deref());
    let lender = mode.and_then(|mode| mode.strip_prefix("container:"));
    lender.is_some_and(|lender| lenders.iter().any(|one| one.id == lender))
}

const PAUSED: &str = "paused";
/// Containers that are looked at one by one
const MOST: usize = 64;
