//! What the owner of a storage or a state directory may try on root, who runs certd.

use std::os::unix::fs::{chown, lchown};

use super::*;
use crate::store::files::FileError;

/// The user whose directories they are
const OWNER: u32 = 12345;

/// A place whose directories belong to somebody else; `None` without root, who alone could be led
fn of_somebody() -> Option<Place> {
    let place = nix::unistd::geteuid().is_root().then(|| {
        let own = fs::metadata("/").unwrap().gid();
        Place::with_group(Some(&own.to_string()))
    })?;
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    give(place.directory.path());
    Some(place)
}

/// Gives a directory away with all that is in it
fn give(path: &Path) {
    lchown(path, Some(OWNER), Some(OWNER)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

/// A symlink of the owner's
fn lead(from: &Path, to: &Path) {
    symlink(to, from).unwrap();
    lchown(from, Some(OWNER), Some(OWNER)).unwrap();
}

/// A file or a directory of root's, and what it was like
struct Victim {
    directory: TempDir,
    before: Vec<String>,
}

impl Victim {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = directory.path().join(name);
            fs::write(&path, "precious").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
            chown(&path, Some(0), Some(7)).unwrap();
        };
        // Names that certd would look for, write to or remove.
        for name in ["file", "privkey.pem", "a.test.json", ".certd-left"] {
            write(name);
        }
        let before = listing(directory.path());
        Self { directory, before }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(listing(self.directory.path()), self.before);
    }
}

fn listing(directory: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let (stat, text) = (fs::metadata(&path).unwrap(), fs::read_to_string(&path));
            let (mode, user, group) = (stat.mode(), stat.uid(), stat.gid());
            format!("{} {mode:o} {user} {group} {text:?}", path.display())
        })
        .collect();
    let stat = fs::metadata(directory).unwrap();
    found.push(format!("{:o} {} {}", stat.mode(), stat.uid(), stat.gid()));
    found.sort();
    found
}

#[test]
fn a_lock_that_is_no_file_of_the_owners_is_refused() {
    #[track_caller]
    fn check(make: impl Fn(&Path, &Victim)) {
        for name in ["lock", "daemon.lock"] {
            let (Some(place), victim) = (of_somebody(), Victim::new()) else {
                return;
            };
            let lock = place.path("state").join(name);
            make(&lock, &victim);
            let before = listing(victim.directory.path());
            let foretold = place.store.try_writing(None);
            assert_eq!(foretold.len(), 1, "{foretold:?}");
            let taken = match name {
                "lock" => place.store.try_lock(),
                _ => place.store.try_daemon_lock(),
            };
            let error = taken.unwrap_err();
            assert!(
                error.cure().contains(&lock.display().to_string()),
                "{error:?}"
            );
            assert_eq!(listing(victim.directory.path()), before);
        }
    }
    check(|lock, victim| lead(lock, &victim.path("file")));
    // One that would make a file of root's.
    check(|lock, victim| lead(lock, &victim.path("new")));
    check(|lock, victim| fs::hard_link(victim.path("file"), lock).unwrap());
    check(|lock, _| {
        nix::unistd::mkfifo(lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
        lchown(lock, Some(OWNER), Some(OWNER)).unwrap();
    });
    check(|lock, _| fs::create_dir(lock).unwrap());
}

#[test]
fn a_symlink_in_the_storage_or_the_state_leads_nowhere() {
    #[track_caller]
    fn check(from: &str, act: impl Fn(&Place) -> Result<(), FileError>) {
        let (Some(place), victim) = (of_somebody(), Victim::new()) else {
            return;
        };
        place.add_proven();
        give(place.directory.path());
        let from = place.path(from);
        fs::rename(&from, place.path("aside")).unwrap();
        lead(&from, victim.directory.path());
        let error = act(&place).unwrap_err();
        assert_eq!(error.code(), "store.in_the_way", "{error:?}");
        let said = format!("{} is a symlink of user {OWNER}", from.display());
        assert_eq!(error.source.to_string(), said);
        victim.is_untouched();
    }
    fn file(error: LineageError) -> FileError {
        match error {
            LineageError::File(error) | LineageError::Record(RecordError::File(error)) => error,
            other => panic!("{other:?}"),
        }
    }
    let sweep = |place: &Place| {
        let Attempt::Taken(lock) = place.store.try_lock().unwrap() else {
            panic!("the lock is free");
        };
        place.store.sweep(&lock)
    };
    let lineage = |place: &Place| Lineage {
        name: place.name.clone(),
        generations: vec![1],
        live: Some(1),
        record: Default::default(),
    };
    check("storage/archive/a.test/1", |place| {
        place.store.share_key(&place.name, 1)
    });
    for above in ["storage/archive/a.test", "storage/archive"] {
        check(above, |place| place.store.share_key(&place.name, 1));
        check(above, |place| {
            let added = place.store.add_generation(&lineage(place), &issued());
            added.map(drop).map_err(file)
        });
    }
    check("storage/live", |place| place.store.switch(&place.name, 1));
    check("state/domains", |place| {
        let saved = place.store.save_record(&place.name, &Default::default());
        saved.map_err(|error| file(error.into()))
    });
    check("state/domains", |place| {
        let aside = place.store.set_aside_record(&place.name);
        aside.map(drop).map_err(|error| file(error.into()))
    });
    check("state/orders", |place| {
        place.store.save_order_key(&place.name, "a key")
    });
    for swept in ["storage/archive", "storage/live", "state/accounts"] {
        check(swept, sweep);
    }
}

#[test]
fn what_a_symlink_leads_to_is_not_read() {
    let (Some(place), victim) = (of_somebody(), Victim::new()) else {
        return;
    };
    place.add_proven();
    let record = place.path("state/domains/a.test.json");
    fs::remove_file(&record).unwrap();
    lead(&record, &victim.path("file"));
    let error = place.store.record(&place.name).unwrap_err();
    assert!(matches!(error, RecordError::Unreadable { .. }), "{error:?}");
    let chain = place.path("storage/archive/a.test/1/fullchain.pem");
    fs::rename(&chain, place.path("chain")).unwrap();
    lead(&chain, &place.path("chain"));
    let error = place.store.generation(&place.name, 1).unwrap_err();
    assert!(error.is_unreadable(), "{error:?}");
}

#[test]
fn root_uses_the_rights_of_the_owner_and_has_its_own_again_afterwards() {
    let Some(place) = of_somebody() else { return };
    place
        .store
        .save_record(&place.name, &Default::default())
        .unwrap();
    let record = fs::metadata(place.path("state/domains/a.test.json")).unwrap();
    assert_eq!((record.uid(), record.gid()), (OWNER, OWNER));
    // What the owner may not do, root does not do for him.
    let closed = place.path("state/orders");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let error = place
        .store
        .save_order_key(&place.name, "a key")
        .unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::PermissionDenied);
    assert!(
        error.cure().unwrap().contains("rights of the owner"),
        "{error:?}"
    );
    fs::write(closed.join("of-root"), "").unwrap();
}

#[test]
fn a_check_tries_what_a_run_would_do_and_leaves_nothing() {
    let place = Place::new();
    place.add_proven();
    drop(place.store.try_lock().unwrap());
    let before = leaves(place.directory.path());
    assert!(place.store.try_writing(None).is_empty());
    assert_eq!(leaves(place.directory.path()), before);
    let Some(place) = of_somebody() else { return };
    let closed = place.path("state/orders");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let failed = place.store.try_writing(None);
    let places: Vec<&Path> = failed.iter().map(|error| error.path.as_path()).collect();
    assert_eq!(places, [closed]);
}

fn leaves(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => found.extend(leaves(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}
