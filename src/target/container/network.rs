//! Whose network a container is in: its own, the host's, or that of another container.

use std::net::IpAddr;

use bollard::errors::Error as ApiError;
use bollard::models::ContainerInspectResponse;

use super::{DockerError, Engine, container};
use crate::facts::Container;

impl Engine {
    /// A container as the API describes it
    ///
    /// Where it shares the network of another (`network_mode: container:X`, or `service:X` of
    /// Compose), ports and addresses are those of the other: its own description has none.
    ///
    /// # Errors
    /// [`DockerError`] where the other cannot be asked about.
    pub(super) async fn describe(
        &self,
        response: ContainerInspectResponse,
    ) -> Result<Container, DockerError> {
        let lender = lender(&response);
        let own = self.with_processes(response).await;
        let Some(lender) = lender else {
            return Ok(own);
        };
        // Where it was removed its network is gone with it.
        let Some(response) = self.inspect(&lender).await? else {
            return Ok(own);
        };
        let lent = container(response);
        Ok(Container {
            published: lent.published,
            addresses: lent.addresses,
            network: lent.network,
            lender: Some(lent.name),
            ..own
        })
    }

    /// What the API says of a container; `None` where there is none of this name, or no longer
    pub(super) async fn inspect(
        &self,
        id: &str,
    ) -> Result<Option<ContainerInspectResponse>, DockerError> {
        match self.within(self.docker.inspect_container(id, None)).await {
            Ok(response) => Ok(Some(response)),
            Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(error) => Err(self.failed("inspect the container", error)),
        }
    }

    /// The driver of the network in which a container has an address, such as `macvlan`
    ///
    /// `None` where the engine does not say: a socket proxy may keep networks to itself.
    pub async fn driver_at(&self, container: &Container, ip: IpAddr) -> Option<String> {
        let whose = container.lender.as_ref().unwrap_or(&container.id);
        let response = self.inspect(whose).await.ok()??;
        let networks = response.network_settings?.networks?;
        let ip = ip.to_string();
        let network = networks.into_values().find(|network| {
            [&network.ip_address, &network.global_ipv6_address]
                .into_iter()
                .any(|own| own.as_deref() == Some(&ip))
        })?;
        let id = network.network_id?;
        let network = self.within(self.docker.inspect_network(&id, None)).await;
        network.ok()?.driver
    }
}

/// The container whose network another shares
pub(super) fn lender(response: &ContainerInspectResponse) -> Option<String> {
    let mode = response.host_config.as_ref()?.network_mode.as_ref()?;
    Some(mode.strip_prefix("container:")?.to_owned())
}
