//! Whose words domains.toml may hold: what stands there runs commands and reads files with the
//! rights of whoever runs certd.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User};

use super::ConfigError;

/// Whose configuration is believed
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Believed {
    /// Anybody's: nothing is done that stands there, only looked at
    #[default]
    Anybodys,
    /// Root's and that of the user with this identifier
    OwnAndRoots(u32),
}

impl Believed {
    /// Whether a file in the current directory counts that nobody named
    ///
    /// Root stands in other people's directories.
    pub(super) fn searches_here(self) -> bool {
        self != Self::OwnAndRoots(0)
    }

    /// Refuses a file that somebody else could have written, or put in its place
    ///
    /// What leads to it is judged as named and as it lies once all symlinks are resolved.
    pub(super) fn admit(self, path: &Path) -> Result<(), ConfigError> {
        let Self::OwnAndRoots(user) = self else {
            return Ok(());
        };
        let unreadable = |source| ConfigError::read(path, source);
        let named = std::path::absolute(path).map_err(unreadable)?;
        let real = fs::canonicalize(path).map_err(unreadable)?;
        for leads_there in [&real, &named] {
            for at in leads_there.ancestors() {
                let seen = Seen::at(at).map_err(unreadable)?;
                if let Some(distrust) = distrust(&seen, user, is_private) {
                    return Err(ConfigError::NotSafe {
                        path: path.to_owned(),
                        at: at.to_owned(),
                        user: seen.user,
                        mode: seen.mode,
                        distrust,
                        place: match at == real {
                            true => Place::Itself,
                            false => Place::OnTheWay,
                        },
                    });
                }
            }
        }
        Ok(())
    }
}

/// What is at fault
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file
    Itself,
    /// A directory or a symlink that leads to it
    OnTheWay,
}

/// Why something may hold a stranger's words
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It is neither root's nor one's own
    Foreign,
    /// Others may write to it
    OthersWrite,
}

/// What decides over a file or a directory
struct Seen {
    kind: Kind,
    user: u32,
    group: u32,
    /// Permissions and sticky bit
    mode: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    Symlink,
}

impl Seen {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            kind: match found.file_type() {
                kind if kind.is_dir() => Kind::Directory,
                kind if kind.is_symlink() => Kind::Symlink,
                _ => Kind::File,
            },
            user: found.uid(),
            group: found.gid(),
            mode: found.mode() & 0o7777,
        })
    }
}

/// Why this must not lead to a configuration that `user` believes; `None` where it may
fn distrust(seen: &Seen, user: u32, is_private: impl FnOnce(u32, u32) -> bool) -> Option<Distrust> {
    if seen.user != 0 && seen.user != user {
        return Some(Distrust::Foreign);
    }
    let others_write = seen.mode & OTHERS_WRITE != 0
        || seen.mode & GROUP_WRITES != 0 && !is_private(seen.user, seen.group);
    let is_open = match seen.kind {
        // What lies in a sticky directory is its owner's to replace, and that owner is judged too.
        Kind::Directory => others_write && seen.mode & STICKY == 0,
        Kind::File => others_write,
        Kind::Symlink => false,
    };
    is_open.then_some(Distrust::OthersWrite)
}

/// Whether a group holds nobody but its user, as a user's own group does on most systems
///
/// There files are writable by the group (umask 002) and nobody gains by it.
fn is_private(user: u32, group: u32) -> bool {
    let user = User::from_uid(Uid::from_raw(user)).ok().flatten();
    let group = Group::from_gid(Gid::from_raw(group)).ok().flatten();
    let (Some(user), Some(group)) = (user, group) else {
        return false;
    };
    let is_its_name = user.name == group.name && user.gid == group.gid;
    is_its_name && group.mem.iter().all(|member| *member == user.name)
}

/// What to do about a configuration that is not safe to use
pub(super) fn cure(file: &Path, at: &Path, distrust: Distrust, place: Place) -> String {
    let (path, at) = (file.display(), at.display());
    match (place, distrust) {
        (Place::Itself, Distrust::Foreign) => format!(
            "read it through, then make it root's:\n    chown root: {at}\nor run certd as its owner"
        ),
        (Place::Itself, Distrust::OthersWrite) => {
            format!("read it through, then:\n    chmod go-w {at}")
        }
        (Place::OnTheWay, _) => format!(
            "read it through, then keep it where root alone can write; paths in it that are \
             relative count from there:\n    install -D -m 644 {path} {USUAL}"
        ),
    }
}

/// A place that root alone writes to
pub(super) const USUAL: &str = "/etc/certd/domains.toml";
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// A path and its modes as people read them: `0777`
pub(super) fn in_words(at: &Path, user: u32, mode: u32, distrust: Distrust) -> String {
    let at = at.display();
    match distrust {
        Distrust::Foreign => format!("{at} belongs to user {user} (mode {mode:04o})"),
        Distrust::OthersWrite => {
            format!("others may write to {at} (owner {user}, mode {mode:04o})")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn words_are_believed_of_root_and_of_oneself_alone() {
        #[track_caller]
        fn check(kind: Kind, user: u32, mode: u32, expected: Option<Distrust>) {
            let seen = Seen {
                kind,
                user,
                group: 50,
                mode,
            };
            assert_eq!(distrust(&seen, 1000, |_, _| false), expected);
        }
        let (foreign, open) = (Some(Distrust::Foreign), Some(Distrust::OthersWrite));
        check(Kind::File, 0, 0o644, None);
        check(Kind::File, 1000, 0o600, None);
        check(Kind::File, 1001, 0o644, foreign);
        check(Kind::File, 1000, 0o664, open);
        check(Kind::File, 1000, 0o646, open);
        // For a file the sticky bit means nothing.
        check(Kind::File, 1000, 0o1646, open);
        check(Kind::Directory, 0, 0o755, None);
        check(Kind::Directory, 0, 0o1777, None);
        check(Kind::Directory, 0, 0o777, open);
        check(Kind::Directory, 1000, 0o775, open);
        check(Kind::Directory, 1001, 0o1777, foreign);
        check(Kind::Symlink, 1000, 0o777, None);
        check(Kind::Symlink, 1001, 0o777, foreign);
        let own_group = Seen {
            kind: Kind::File,
            user: 1000,
            group: 1000,
            mode: 0o664,
        };
        assert_eq!(distrust(&own_group, 1000, |_, _| true), None);
    }

    #[test]
    fn a_user_whose_group_has_his_name_shares_with_nobody() {
        assert!(is_private(0, 0), "root's own group");
        assert!(!is_private(0, 65533), "a group that nobody knows");
    }

    #[test]
    fn every_directory_and_symlink_on_the_way_counts() {
        use std::os::unix::fs::{PermissionsExt, chown, symlink};
        if !nix::unistd::geteuid().is_root() {
            // Nobody else can give a file away.
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        let mode = |path: &str, mode| {
            fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        let believed = |path: &str| Believed::OwnAndRoots(0).admit(&at(path));
        #[track_caller]
        fn fault(outcome: Result<(), ConfigError>) -> PathBuf {
            match outcome {
                Err(ConfigError::NotSafe { at, .. }) => at,
                other => panic!("{other:?}"),
            }
        }
        fs::create_dir_all(at("a/b")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
        fs::write(at("a/b/domains.toml"), "").unwrap();
        symlink(at("a/b/domains.toml"), at("link")).unwrap();
        believed("a/b/domains.toml").unwrap();
        believed("link").unwrap();
        mode("a", 0o777);
        assert_eq!(fault(believed("a/b/domains.toml")), at("a"));
        assert_eq!(fault(believed("link")), at("a"));
        mode("a", 0o1777);
        believed("a/b/domains.toml").unwrap();
        chown(at("a/b"), Some(12345), None).unwrap();
        assert_eq!(fault(believed("a/b/domains.toml")), at("a/b"));
        chown(at("a/b"), Some(0), None).unwrap();
        chown(at("a/b/domains.toml"), Some(12345), None).unwrap();
        assert_eq!(fault(believed("link")), at("a/b/domains.toml"));
        Believed::OwnAndRoots(12345).admit(&at("link")).unwrap();
        Believed::Anybodys.admit(&at("link")).unwrap();
        chown(at("a/b/domains.toml"), Some(0), None).unwrap();
        std::os::unix::fs::lchown(at("link"), Some(12345), None).unwrap();
        assert_eq!(fault(believed("link")), at("link"));
    }
}
