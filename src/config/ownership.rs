//! Whose words domains.toml may hold: what stands there runs commands and reads files with the
//! rights of whoever runs certd.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{Gid, Group, Uid, User};
use rustix::io::Errno;

use super::ConfigError;
use crate::input;
use crate::store::files::Walk;

/// Whose configuration is believed
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Believed {
    /// Anybody's: nothing is done that stands there, only looked at
    #[default]
    Anybodys,
    /// Anybody's, and whom to trust and whom to ask for names by the words of root and of the user
    /// with this identifier alone
    AnybodysButTrust(u32),
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

    /// Opens a file, and refuses one that somebody else could have written, or put in its place
    ///
    /// Where its words count in part alone, gives what is wrong with it beside the file.
    pub(super) fn open(self, path: &Path) -> Result<(File, Option<ConfigError>), ConfigError> {
        let unjudged = || input::open(path).map_err(|source| ConfigError::read(path, source));
        match self {
            Self::Anybodys => Ok((unjudged()?, None)),
            Self::OwnAndRoots(user) => Ok((judged(path, user)?, None)),
            Self::AnybodysButTrust(user) => match judged(path, user) {
                Ok(file) => Ok((file, None)),
                Err(doubt @ ConfigError::NotSafe { .. }) => Ok((unjudged()?, Some(doubt))),
                Err(error) => Err(error),
            },
        }
    }
}

/// A file that root and the user alone could have written, open
///
/// Every directory and symlink that leads to it is judged, from `/` on, each by the descriptor by
/// which the next one is reached, and at last the open file itself: nothing is opened by a path that
/// a stranger may have led elsewhere meanwhile.
fn judged(path: &Path, user: u32) -> Result<File, ConfigError> {
    let unreadable = |source| ConfigError::read(path, source);
    let mut walk = Walk::new(path).map_err(unreadable)?;
    while let Some(passed) = walk.step().map_err(unreadable)? {
        // Nobody else could have put something in its place since: what leads there has been judged.
        let has_acl = || has_acl(&passed.path);
        let seen = Seen::of(&passed.stat);
        admit(path, &passed.path, user, &seen, has_acl)?;
    }
    let file = walk.open(input::AT_ONCE).map_err(unreadable)?;
    let seen = Seen::of(&fstat(&file).map_err(|error| unreadable(error.into()))?);
    admit(path, walk.path(), user, &seen, || has_acl(walk.path()))?;
    input::settled(path, file).map_err(unreadable)
}

/// Refuses what must not lead to a configuration
fn admit(
    path: &Path,
    at: &Path,
    user: u32,
    seen: &Seen,
    has_acl: impl FnOnce() -> bool,
) -> Result<(), ConfigError> {
    if seen.kind == Kind::Device {
        let error = io::Error::new(io::ErrorKind::InvalidInput, DEVICE);
        return Err(ConfigError::read(path, error));
    }
    let is_private = || !has_acl() && is_private(seen.user, seen.group);
    match distrust(seen, user, is_private) {
        None => Ok(()),
        Some(distrust) => Err(ConfigError::NotSafe {
            path: path.to_owned(),
            at: at.to_owned(),
            user: seen.user,
            mode: seen.mode,
            distrust,
            place: match seen.kind {
                Kind::File | Kind::Device => Place::Itself,
                Kind::Directory | Kind::Symlink => Place::OnTheWay,
            },
        }),
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
    /// A device, which is everybody's: who may write to it must not be changed
    Device,
}

impl Seen {
    fn of(found: &FileStat) -> Self {
        Self {
            kind: match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR => Kind::Directory,
                SFlag::S_IFLNK => Kind::Symlink,
                SFlag::S_IFCHR | SFlag::S_IFBLK => Kind::Device,
                _ => Kind::File,
            },
            user: found.st_uid,
            group: found.st_gid,
            mode: found.st_mode & 0o7777,
        }
    }
}

/// Why this must not lead to a configuration that `user` believes; `None` where it may
fn distrust(seen: &Seen, user: u32, is_private: impl FnOnce() -> bool) -> Option<Distrust> {
    if seen.user != 0 && seen.user != user {
        return Some(Distrust::Foreign);
    }
    // Root's group is the primary one of services that have given up everything else.
    let group_is_private = || seen.user != 0 && is_private();
    let others_write =
        seen.mode & OTHERS_WRITE != 0 || seen.mode & GROUP_WRITES != 0 && !group_is_private();
    let is_open = match seen.kind {
        // What lies in a sticky directory is its owner's to replace, and that owner is judged too.
        Kind::Directory => others_write && seen.mode & STICKY == 0,
        Kind::File => others_write,
        Kind::Symlink | Kind::Device => false,
    };
    is_open.then_some(Distrust::OthersWrite)
}

/// Whether a list names users beside owner and group: the group's bits of the mode then tell what
/// all of them may do at most (acl(5))
///
/// Where that cannot be told, it may.
fn has_acl(path: &Path) -> bool {
    let asked = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0; 0]);
    !matches!(asked, Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// Whether a group holds nobody but its user, as a user's own group does on most systems
///
/// There files are writable by the group (umask 002) and nobody gains by it.
fn is_private(user: u32, group: u32) -> bool {
    let known = User::from_uid(Uid::from_raw(user)).ok().flatten();
    let named = Group::from_gid(Gid::from_raw(group)).ok().flatten();
    let (Some(known), Some(named)) = (known, named) else {
        return false;
    };
    let is_its_name = known.name == named.name && known.gid == named.gid;
    let is_alone = named.mem.iter().all(|member| *member == known.name);
    is_its_name && is_alone && {
        let users = input::read(Path::new(USERS), MOST_OF_USERS);
        users
            .is_ok_and(|users| !is_primary_of_others(&String::from_utf8_lossy(&users), user, group))
    }
}

/// Whether a group is the primary one of another user: its own list of members leaves those out
fn is_primary_of_others(users: &str, user: u32, group: u32) -> bool {
    users.lines().any(|line| {
        let mut numbers = line.split(':').skip(2).map(str::parse::<u32>);
        let (id, primary) = (numbers.next(), numbers.next());
        primary == Some(Ok(group)) && id != Some(Ok(user))
    })
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
const DEVICE: &str = "it is a device, and no file";
/// The users of this host, as passwd(5) has them
const USERS: &str = "/etc/passwd";
/// Bytes of it: a hundred thousand users
const MOST_OF_USERS: u64 = 16 * input::MIB;
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
    use std::fs;
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
            assert_eq!(distrust(&seen, 1000, || false), expected);
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
        assert_eq!(distrust(&own_group, 1000, || true), None);
        let roots_group = Seen {
            user: 0,
            group: 0,
            ..own_group
        };
        assert_eq!(distrust(&roots_group, 1000, || true), open);
    }

    #[test]
    fn a_device_is_refused_and_its_mode_left_alone() {
        let refused = Believed::OwnAndRoots(0).open(Path::new("/dev/null"));
        let refused = refused.unwrap_err();
        assert_eq!(refused.cure(), None);
        let cause = std::error::Error::source(&refused).expect("a cause");
        assert_eq!(cause.to_string(), DEVICE);
    }

    #[test]
    fn a_group_is_shared_with_those_whose_primary_one_it_is() {
        assert!(!is_private(0, 65533), "a group that nobody knows");
        let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert!(!is_primary_of_others(users, 1000, 1000));
        let users = format!("{users}+::::::\nweb:x:33:1000::/var/www:/bin/false\n");
        assert!(is_primary_of_others(&users, 1000, 1000));
        assert!(!is_primary_of_others(&users, 0, 0));
    }

    #[test]
    fn what_a_list_lets_others_write_is_not_private() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!has_acl(file.path()));
        // Version 2; tag, permissions and identifier of each: nobody may write (acl(5)).
        let entries: [(u16, u16, u32); 5] = [
            (0x01, 6, u32::MAX),
            (0x02, 6, 65534),
            (0x04, 4, u32::MAX),
            (0x10, 6, u32::MAX),
            (0x20, 4, u32::MAX),
        ];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, may, id) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(may.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        let set = rustix::fs::setxattr(
            file.path(),
            "system.posix_acl_access",
            &list,
            rustix::fs::XattrFlags::empty(),
        );
        set.unwrap();
        assert!(has_acl(file.path()));
    }

    #[test]
    fn a_symlink_in_the_middle_of_the_way_counts() {
        use std::os::unix::fs::{lchown, symlink};
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        fs::create_dir_all(at("etc")).unwrap();
        fs::create_dir_all(at("u")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
        fs::write(at("etc/good.toml"), "").unwrap();
        symlink("../u/link", at("etc/domains.toml")).unwrap();
        symlink("../etc/good.toml", at("u/link")).unwrap();
        let fault = || match Believed::OwnAndRoots(0).open(&at("etc/domains.toml")) {
            Err(ConfigError::NotSafe { at, .. }) => Some(at),
            Ok(_) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(fault(), None);
        lchown(at("u/link"), Some(12345), None).unwrap();
        assert_eq!(fault(), Some(at("u/link")));
        lchown(at("u/link"), Some(0), None).unwrap();
        lchown(at("u"), Some(12345), None).unwrap();
        assert_eq!(fault(), Some(at("u")));
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
        let believed = |path: &str| Believed::OwnAndRoots(0).open(&at(path));
        #[track_caller]
        fn fault(outcome: Result<(File, Option<ConfigError>), ConfigError>) -> PathBuf {
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
        Believed::OwnAndRoots(12345).open(&at("link")).unwrap();
        Believed::Anybodys.open(&at("link")).unwrap();
        let (_, doubt) = Believed::AnybodysButTrust(0).open(&at("link")).unwrap();
        assert!(matches!(doubt, Some(ConfigError::NotSafe { .. })));
        chown(at("a/b/domains.toml"), Some(0), None).unwrap();
        std::os::unix::fs::lchown(at("link"), Some(12345), None).unwrap();
        assert_eq!(fault(believed("link")), at("link"));
    }
}
