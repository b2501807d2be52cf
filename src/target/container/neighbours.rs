//! Which other containers see the same files of the host: what is changed there for one of them, all
//! of them read.

use bollard::models::ContainerSummary;

use super::{DockerError, Engine, mount};
use crate::facts::{Container, Mount, Neighbour};

impl Engine {
    /// The other running containers that mount what this one mounts, each with those mounts
    ///
    /// Of one that mounts more of the host the name of its image or its command says whether nginx may
    /// read it there: programs that watch a host, or back it up, mount all of it.
    ///
    /// # Errors
    /// [`DockerError`] where the engine cannot be asked.
    pub async fn neighbours(&self, container: &Container) -> Result<Vec<Neighbour>, DockerError> {
        let listed = self.list(None).await?.into_iter();
        let others = listed.filter(|summary| summary.id.as_ref() != Some(&container.id));
        let neighbours = others.filter_map(|summary| neighbour(summary, &container.mounts));
        Ok(neighbours.collect())
    }
}

fn neighbour(summary: ContainerSummary, own: &[Mount]) -> Option<Neighbour> {
    let is_nginx = [&summary.image, &summary.command]
        .into_iter()
        .flatten()
        .any(|words| words.contains("nginx") || words.contains("openresty"));
    let name = summary.names?.into_iter().next()?;
    let mounts = summary.mounts.unwrap_or_default();
    let mounts = mounts.into_iter().filter_map(mount);
    let is_read = |mount: &Mount| {
        let mut own = own.iter();
        own.any(|own| match is_nginx {
            true => own.source.starts_with(&mount.source) || mount.source.starts_with(&own.source),
            false => own.source == mount.source,
        })
    };
    let mounts: Vec<Mount> = mounts.filter(is_read).collect();
    (!mounts.is_empty()).then(|| Neighbour {
        name: name.trim_start_matches('/').to_owned(),
        mounts,
    })
}

#[cfg(test)]
mod tests {
    use bollard::models::MountPoint;

    use super::*;

    #[test]
    fn what_mounts_the_whole_host_is_a_neighbour_only_where_nginx_runs_in_it() {
        let own = [Mount {
            source: "/certd-no-such/inc".into(),
            destination: "/etc/nginx/inc".into(),
        }];
        let is_neighbour = |image: &str, source: &str| {
            let point = MountPoint {
                source: Some(source.to_owned()),
                destination: Some("/x".to_owned()),
                ..MountPoint::default()
            };
            let summary = ContainerSummary {
                names: Some(vec!["/other".to_owned()]),
                image: Some(image.to_owned()),
                mounts: Some(vec![point]),
                ..ContainerSummary::default()
            };
            neighbour(summary, &own).is_some_and(|found| found.name == "other")
        };
        assert!(is_neighbour("nginx:alpine", "/certd-no-such/inc"));
        assert!(is_neighbour("web", "/certd-no-such/inc"));
        assert!(is_neighbour("nginx:alpine", "/certd-no-such"));
        assert!(is_neighbour("nginx:alpine", "/certd-no-such/inc/tls"));
        assert!(!is_neighbour("prom/node-exporter", "/"));
        assert!(!is_neighbour("nginx:alpine", "/certd-no-such/other"));
    }
}
