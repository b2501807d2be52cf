//! Who listens at a port of the host, where no configuration names the container.

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;

use super::{DockerError, Engine, RUNNING, published};
use crate::facts::{Container, Network};
use crate::target::process::runs_nginx;

impl Engine {
    /// The containers that take connections at a TCP port of the host, published or not
    ///
    /// Those that publish it; else those that run nginx in the host's own network; else those that
    /// would publish it, if they ran, each with its ports as configured. Empty where there is none.
    ///
    /// # Errors
    /// [`DockerError`] where the engine cannot be asked.
    pub async fn at_port(&self, port: u16) -> Result<Vec<Container>, DockerError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let listed = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(|error| self.failed("list containers", error))?;
        let publishing = listed.iter().filter(|summary| publishes(summary, port));
        let found = self.inspect_all(publishing).await?;
        if !found.is_empty() {
            let borrowing = listed.iter().filter(|one| borrows_from(one, &found));
            let borrowers = self.inspect_all(borrowing).await?.into_iter();
            // What publishes a port for another is no nginx: a VPN, or a container that waits.
            let serving = borrowers.filter(runs_nginx);
            let serving: Vec<Container> = serving.filter(|one| one.state == RUNNING).collect();
            return Ok(if serving.is_empty() { found } else { serving });
        }
        let is_of_host = |container: &Container| {
            container.state == RUNNING
                && container.network == Network::Host
                && runs_nginx(container)
        };
        let would = |container: &Container| {
            let mut ports = container.published.iter();
            container.state != RUNNING && ports.any(|published| published.host.port() == port)
        };
        let all = self.inspect_all(listed.iter().take(MOST)).await?;
        let of_host: Vec<Container> = all.iter().filter(|one| is_of_host(one)).cloned().collect();
        Ok(match of_host.is_empty() {
            true => all.into_iter().filter(would).collect(),
            false => of_host,
        })
    }

    async fn inspect_all(
        &self,
        summaries: impl Iterator<Item = &ContainerSummary>,
    ) -> Result<Vec<Container>, DockerError> {
        let mut found = Vec::new();
        for id in summaries.filter_map(|summary| summary.id.as_deref()) {
            let inspected = self.docker.inspect_container(id, None).await;
            let response =
                inspected.map_err(|error| self.failed("inspect the container", error))?;
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

fn publishes(summary: &ContainerSummary, port: u16) -> bool {
    let mut ports = summary.ports.iter().flatten();
    ports.any(|published| published.public_port == Some(port))
}

/// Whether a container shares the network of one of these
fn borrows_from(summary: &ContainerSummary, lenders: &[Container]) -> bool {
    let mode = summary.host_config.as_ref();
    let mode = mode.and_then(|config| config.network_mode.as_deref());
    let lender = mode.and_then(|mode| mode.strip_prefix("container:"));
    lender.is_some_and(|lender| lenders.iter().any(|one| one.id == lender))
}

/// Containers that are looked at one by one
const MOST: usize = 64;
