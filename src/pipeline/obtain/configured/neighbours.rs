//! Files that other containers see, too: what is changed there for one of them, all of them read.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Configured, whereabouts};
use crate::facts::Neighbour;
use crate::finding::words;
use crate::target::mount;

impl Configured {
    /// Another container that sees a file of this one
    pub(super) fn neighbour_at(&self, file: &Path) -> Option<&Neighbour> {
        let host = mount::on_host(&self.container, file)?;
        let sees = |neighbour: &&Neighbour| {
            let mut mounts = neighbour.mounts.iter();
            mounts.any(|mount| host.starts_with(&mount.source))
        };
        self.neighbours.iter().find(sees)
    }

    /// That others read what is to be changed in files that a text names as `FILE:LINE`; `None`
    /// where nobody does
    pub(super) fn read_beside(&self, change: &str) -> Option<String> {
        let files: BTreeSet<&str> = whereabouts::files_in(change).collect();
        let told = files.into_iter().filter_map(|file| {
            let neighbour = self.neighbour_at(Path::new(file))?;
            let name = &neighbour.name;
            let mut mounts = neighbour.mounts.iter();
            // A second one of the same kind serves the same names.
            if mounts.any(|mount| self.live.starts_with(&mount.destination)) {
                return None;
            }
            Some(format!(
                "{name} mounts {} too, and reads the change when it loads its files again: it has to see the certificates at {} then, or it does not start",
                words::whole(file),
                words::path(&self.live)
            ))
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::facts::{Container, Mount};
    use crate::target::dump::Configuration;

    #[test]
    fn a_container_that_reads_a_change_is_named_unless_it_sees_the_certificates() {
        let mount = |source: &str, destination: &str| Mount {
            source: source.into(),
            destination: destination.into(),
        };
        let container = Container {
            name: "web".to_owned(),
            mounts: vec![mount("/srv/nginx", "/etc/nginx"), mount("/le", "/le")],
            ..Container::default()
        };
        let told = |mounts: &[Mount], change: &str| {
            let engine = Ipv4Addr::LOCALHOST.into();
            let configuration = Configuration::default();
            let configured = Configured::new(&container, engine, "/le/live".into(), configuration);
            let neighbour = Neighbour {
                name: "other".to_owned(),
                mounts: mounts.to_vec(),
            };
            configured.beside(vec![neighbour]).read_beside(change)
        };
        let conf = mount("/srv/nginx", "/conf");
        let change = "change /etc/nginx/a.conf:3 and /etc/nginx/a.conf:4";
        let expected = "other mounts /etc/nginx/a.conf too, and reads the change when it loads its files again: it has to see the certificates at /le/live then, or it does not start";
        assert_eq!(
            told(std::slice::from_ref(&conf), change).as_deref(),
            Some(expected)
        );
        assert_eq!(told(&[conf, mount("/le", "/le")], change), None);
        assert_eq!(told(&[mount("/srv/nginx/b", "/conf")], change), None);
        assert_eq!(
            told(&[mount("/srv", "/conf")], "change /run/a.conf:3"),
            None
        );
    }
}
