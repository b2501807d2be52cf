//! Who reads a key: nginx's master where a line names the file, its workers for each connection where
//! the path holds a variable. What the master may read as root, they may not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Configured, is_computed};
use crate::facts::User;
use crate::finding::words;
use crate::name::DnsName;
use crate::target::dump::ServerBlock;
use crate::target::process::{user_of_master, user_of_workers};

/// Owner, group and mode of a key on this host
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// As whom nginx's workers run
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workers<'c> {
    /// By the engine's table of processes
    Known(&'c User),
    /// By `user` in nginx's configuration, a name of the container's
    Named(&'c str),
    /// Nobody tells
    Unknown,
}

impl Configured {
    /// What comes before a variable names the key of a lineage, so that nginx's workers may read it;
    /// `None` where they may
    pub(in crate::pipeline) fn to_open_key(&self, lineage: &DnsName) -> Option<String> {
        let live = self.host_live.as_deref();
        let rights = live.and_then(|live| rights(&live.join(lineage.as_str()).join(KEY)));
        let own = self.live.join(lineage.as_str()).join(KEY);
        to_open(self.workers(), rights, (lineage, &own), self.container())
    }

    /// The same where the lines of a block take keys from variables, and for no other block
    pub(in crate::pipeline) fn to_open_key_of(
        &self,
        block: &ServerBlock,
        lineage: &DnsName,
    ) -> Option<String> {
        let mut lines = block.certificate_lines();
        lines
            .any(|line| line.directive == "ssl_certificate_key" && is_computed(line))
            .then(|| self.to_open_key(lineage))?
    }

    fn workers(&self) -> Workers<'_> {
        let seen = user_of_workers(&self.container);
        // A master that is not root cannot run its workers as anybody else.
        match seen.or_else(|| user_of_master(&self.container)) {
            Some(user) => Workers::Known(user),
            None => match &self.configuration.user {
                Some(name) => Workers::Named(name),
                None => Workers::Unknown,
            },
        }
    }
}

fn rights(key: &Path) -> Option<Rights> {
    let found = fs::metadata(key).ok()?;
    Some(Rights {
        uid: found.uid(),
        gid: found.gid(),
        mode: found.mode(),
    })
}

/// `own` is the key as nginx sees it
fn to_open(
    workers: Workers<'_>,
    rights: Option<Rights>,
    (lineage, own): (&DnsName, &Path),
    container: &str,
) -> Option<String> {
    let key = words::path(own);
    let why = "with a variable in its path a key is read by nginx's workers, not by its master";
    let (who, group) = match workers {
        Workers::Known(User { uid: 0, .. }) | Workers::Named("root") => return None,
        Workers::Known(user) if rights.is_some_and(|rights| may_read(user, rights)) => return None,
        _ if rights.is_some_and(|rights| rights.mode & FOR_ALL != 0) => return None,
        Workers::Known(User { uid, gid, .. }) => (format!("user {uid}"), format!("\"{gid}\"")),
        Workers::Named(name) => (
            format!("{name}, as whom they run,"),
            format!(
                "the number that `docker exec {container} id -g {}` prints",
                words::quoted(name)
            ),
        ),
        Workers::Unknown => (
            "they".to_owned(),
            format!(
                "the number of their group, as `docker top {container} -eo uid,gid,args` shows it"
            ),
        ),
    };
    let Some(rights) = rights else {
        return Some(format!(
            "first see that nginx's workers may read {key}: {why}"
        ));
    };
    let mut step = match (workers, rights.mode & FOR_GROUP) {
        // Nobody tells whether they are in that group.
        (Workers::Named(_) | Workers::Unknown, 1..) => format!(
            "first see that nginx's workers are in group {}, which may read {key}: {why}",
            rights.gid
        ),
        _ => format!(
            "first let nginx's workers read {key}: {why}, and {who} may not. In domains.toml set `key_group = {group}`, then run\n    certd obtain {lineage}\nwhich gives that group the keys, whatever else it says"
        ),
    };
    if let (Workers::Known(_), 1..) = (workers, rights.mode & FOR_GROUP) {
        step.push_str(&format!(
            "; group {} has them now, and who reads them by that has to be in the new one",
            rights.gid
        ));
    }
    if matches!(workers, Workers::Known(User { gid: NOGROUP, .. })) {
        step.push_str("; whatever else runs in that group on this host may read them, too");
    }
    Some(step)
}

fn may_read(user: &User, key: Rights) -> bool {
    let is_of_group = user.gid == key.gid || user.groups.contains(&key.gid);
    let bits = match (user.uid == key.uid, is_of_group) {
        (true, _) => FOR_OWNER,
        (false, true) => FOR_GROUP,
        (false, false) => FOR_ALL,
    };
    key.mode & bits != 0
}

const KEY: &str = "privkey.pem";
const FOR_OWNER: u32 = 0o400;
const FOR_GROUP: u32 = 0o040;
const FOR_ALL: u32 = 0o004;
/// The group of programs that own nothing, many of which may run
const NOGROUP: u32 = 65534;

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: User = User {
        uid: 65534,
        gid: 65534,
        groups: Vec::new(),
    };
    const CLOSED: Rights = Rights {
        uid: 0,
        gid: 0,
        mode: 0o100600,
    };

    fn told(workers: Workers<'_>, rights: Option<Rights>) -> Option<String> {
        let lineage = DnsName::parse("shop.test").unwrap();
        let own = Path::new("/live/shop.test/privkey.pem");
        to_open(workers, rights, (&lineage, own), "web")
    }

    #[test]
    fn workers_that_may_not_read_a_key_get_their_group_first() {
        let expected = "first let nginx's workers read /live/shop.test/privkey.pem: with a variable in its path a key is read by nginx's workers, not by its master, and user 65534 may not. In domains.toml set `key_group = \"65534\"`, then run
    certd obtain shop.test
which gives that group the keys, whatever else it says; whatever else runs in that group on this host may read them, too";
        assert_eq!(
            told(Workers::Known(&NOBODY), Some(CLOSED)).as_deref(),
            Some(expected)
        );
        let named = told(Workers::Named("www-data"), Some(CLOSED)).unwrap();
        assert!(
            named.contains("`docker exec web id -g www-data`"),
            "{named}"
        );
        let unknown = told(Workers::Unknown, Some(CLOSED)).unwrap();
        assert!(unknown.contains("`docker top web"), "{unknown}");
        let unseen = told(Workers::Unknown, None).unwrap();
        assert!(!unseen.contains("key_group"), "{unseen}");
    }

    #[test]
    fn workers_that_may_read_a_key_are_left_alone() {
        let root = User {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        };
        let member = User {
            groups: vec![7],
            ..NOBODY
        };
        let mode = |gid: u32, mode: u32| {
            Some(Rights {
                gid,
                mode,
                ..CLOSED
            })
        };
        assert_eq!(told(Workers::Known(&root), Some(CLOSED)), None);
        assert_eq!(told(Workers::Named("root"), None), None);
        assert_eq!(told(Workers::Known(&member), mode(7, 0o640)), None);
        assert_eq!(told(Workers::Known(&NOBODY), mode(65534, 0o640)), None);
        assert_eq!(told(Workers::Unknown, mode(0, 0o644)), None);
        let other = told(Workers::Known(&NOBODY), mode(7, 0o640)).unwrap();
        assert!(other.contains("group 7 has them now"), "{other}");
        let unknown = told(Workers::Unknown, mode(7, 0o640)).unwrap();
        assert!(unknown.contains("are in group 7"), "{unknown}");
    }
}
