//! The ways out where another program's lineage is where one of certd's belongs.

use std::path::{Path, PathBuf};

use super::lineage::live_target;
use super::{ARCHIVE, Store};
use crate::finding::words;
use crate::name::DnsName;

/// How a domain gets the place that something else has
#[derive(Clone, Debug)]
pub enum WayOut {
    /// The generations are certd's own, and the live link alone is not
    Link {
        /// Where they lie
        storage: PathBuf,
    },
    /// It gives way in a storage that other domains of certd keep
    Shared {
        /// That storage
        storage: PathBuf,
        /// One of them
        other: DnsName,
    },
    /// certd moves to a storage of its own
    Elsewhere,
}

impl WayOut {
    pub(super) fn cure(&self, name: &DnsName, owner: &str) -> String {
        match self {
            Self::Link { storage } => link_anew(name, &words::path(storage)),
            Self::Shared { storage, other } => give_way(name, owner, &words::path(storage), other),
            Self::Elsewhere => move_out(name.as_str()),
        }
    }
}

impl Store {
    pub(super) fn way_out(&self, name: &DnsName, found: &Path) -> WayOut {
        let storage = self.storage().to_owned();
        let is_link = found == self.live_link(name);
        if is_link && self.generations(name).is_ok_and(|own| !own.is_empty()) {
            return WayOut::Link { storage };
        }
        match self.other(name) {
            Some(other) => WayOut::Shared { storage, other },
            None => WayOut::Elsewhere,
        }
    }

    /// Another domain whose certificates lie in this storage, as far as the first names tell
    fn other(&self, name: &DnsName) -> Option<DnsName> {
        let names = self.storage.names(&self.storage().join(ARCHIVE)).ok()?;
        let names = names.iter().filter_map(|other| DnsName::parse(other).ok());
        let mut others = names.filter(|other| other != name).take(MOST_OTHERS);
        others.find(|other| {
            let link = self.storage.read_link(&self.live_link(other));
            matches!(link, Ok(Some(target)) if target.starts_with(live_target(other, "")))
        })
    }
}

/// How certd makes a live link anew that a copy of the storage did not keep
fn link_anew(name: &DnsName, storage: &str) -> String {
    format!(
        "the generations in archive/{name} are certd's, and live/{name} is not its link to one of them, as after a copy that follows links. certd makes it anew, without an order:\n\
         \x20   mv {storage}/live/{name} {storage}/{name}.before\n\
         \x20   certd obtain {name}\n\
         nginx cannot start between the two"
    )
}

/// How certd gets a storage of its own, and nginx its certificates from there
pub(super) fn move_out(domains: &str) -> String {
    format!(
        "it is left untouched, and nginx goes on with it meanwhile. In this order:\n\
         1. in domains.toml, a storage that is owned by the user who runs certd:\n\
         \x20   storage = \"{OFFERED}\"\n\
         2. mount it into the nginx container too, and create that anew:\n\
         \x20   {OFFERED}:{OFFERED}:ro\n\
         3. order the certificate, which shows what to write in nginx's files:\n\
         \x20   certd obtain {domains}\n\
         4. write that, not before: nginx cannot start without the files; again\n\
         \x20   certd obtain {domains}"
    )
}

/// How one lineage gives way in a storage that the other domains keep
///
/// With another storage certd would order for all of them anew, and nginx would go on with what
/// nobody renews.
fn give_way(name: &DnsName, owner: &str, storage: &str, other: &DnsName) -> String {
    let forget = match owner {
        "certbot" => format!("    certbot delete --cert-name {name}"),
        _ => format!(
            "    mv {storage}/live/{name} {storage}/before/{name}.live\n\
             \x20   mv {storage}/archive/{name} {storage}/before/{name}.archive\n\
             \x20  and see that the other program does not renew it any more"
        ),
    };
    format!(
        "it is left untouched, and nginx goes on with it meanwhile. {other} has its certificate here too, so the storage stays. In this order:\n\
         1. copy what nginx has:\n\
         \x20   mkdir -p {storage}/before\n\
         \x20   cp -rL --preserve=all {storage}/live/{name} {storage}/before/\n\
         2. in nginx's files write before/{name} for live/{name}, and reload nginx\n\
         3. remove the lineage, where `nginx -T` names the copy alone:\n\
         {forget}\n\
         4. order the certificate:\n\
         \x20   certd obtain {name}\n\
         5. write live/{name} again; again\n\
         \x20   certd obtain {name}"
    )
}

/// The storage that is offered where another program's lineage is in the way
const OFFERED: &str = "/etc/certd/certificates";
/// Names that are looked at for one of certd's own
const MOST_OTHERS: usize = 64;
