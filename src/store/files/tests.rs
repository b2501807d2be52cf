use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::resolve::{DIRECTORY, walk};
use super::*;
use crate::finding::Explain;

#[test]
fn a_directory_that_cannot_be_synced_is_no_failure() {
    // A file system that has no fsync for directories, as CIFS and some in user space.
    let process = Directory::root(Path::new("/proc/self")).unwrap();
    assert_eq!(
        File::open("/proc/self")
            .unwrap()
            .sync_all()
            .unwrap_err()
            .kind(),
        io::ErrorKind::InvalidInput
    );
    process.sync().unwrap();
}

#[test]
fn a_path_is_resolved_alike_with_and_without_openat2() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    fs::create_dir_all(at("root/archive/a.test")).unwrap();
    fs::create_dir_all(at("elsewhere/1")).unwrap();
    symlink("../../elsewhere/1", at("root/archive/a.test/1")).unwrap();
    symlink(at("elsewhere"), at("root/archive/b.test")).unwrap();
    symlink("a.test", at("root/archive/c.test")).unwrap();
    let root = Directory::root(&at("root")).unwrap();
    let opened = File::open(at("root")).unwrap().into();
    for (path, leads_there) in [
        ("archive", true),
        ("archive/a.test", true),
        ("archive/a.test/1", false),
        ("archive/b.test", false),
        ("archive/b.test/1", false),
        ("archive/c.test", false),
        ("archive/../../elsewhere", false),
        ("..", false),
        ("missing", false),
    ] {
        let path = Path::new(path);
        assert_eq!(root.beneath(path).is_ok(), leads_there, "{path:?}");
        assert_eq!(
            walk(&opened, path, DIRECTORY).is_ok(),
            leads_there,
            "{path:?}, walked"
        );
    }
}

#[test]
fn a_new_directory_keeps_its_mode_where_others_could_have_exchanged_it() {
    let home = tempfile::tempdir().unwrap();
    let shared = home.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let settled = |mode: u32| {
        fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
        let directory = Directory::root(&shared).unwrap();
        let name = OsString::from(format!("{mode:o}"));
        directory.make(&name, Entry::Owner).unwrap();
        directory.settle(&name, Entry::Everyone).unwrap();
        fs::metadata(shared.join(name)).unwrap().mode() & 0o777
    };
    assert_eq!(settled(0o755), 0o755);
    assert_eq!(settled(0o1777), 0o755);
    assert_eq!(settled(0o777), 0o700);
    assert_eq!(settled(0o775), 0o700);
}

#[test]
fn a_directory_of_a_strangers_in_place_of_a_new_one_is_not_written_to() {
    if !geteuid().is_root() {
        // Nobody else can play the stranger.
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let directory = Directory::root(home.path()).unwrap();
    let name = OsString::from("new");
    directory.make(&name, Entry::Everyone).unwrap();
    std::os::unix::fs::chown(home.path().join(&name), Some(12345), None).unwrap();
    let error = directory.settle(&name, Entry::Everyone).unwrap_err();
    assert!(error.to_string().ends_with("of user 12345"), "{error}");
}

#[test]
fn what_failed_has_the_code_of_what_mends_it() {
    #[track_caller]
    fn check(error: io::Error, code: &str, cure: &str) {
        let error = FileError::new("write", Path::new("/nowhere/file"), error);
        assert_eq!(error.code(), code);
        let said = error.cure().unwrap();
        assert!(said.contains(cure), "{said}");
    }
    let of = |errno: nix::Error| io::Error::from(errno);
    check(of(nix::Error::ENOSPC), "store.full", "df -h");
    check(of(nix::Error::EDQUOT), "store.full", "quota");
    check(
        of(nix::Error::EROFS),
        "files.read_only",
        "ReadWritePaths=-/\n",
    );
    check(of(nix::Error::EACCES), "store.not_writable", "/");
    check(of(nix::Error::ENOENT), "store.missing", "mounted");
    check(of(nix::Error::EIO), "store.failed", "/nowhere/file");
    check(of(nix::Error::ENOTDIR), "store.in_the_way", "move it away");
}

#[test]
fn what_is_full_is_looked_at_where_it_is_there() {
    let home = tempfile::tempdir().unwrap();
    let lost = home.path().join("archive/.certd-1f2e");
    let here = home.path().display();
    let full = FileError::new("write", &lost, nix::Error::ENOSPC.into());
    let cure = format!("free some space, or inodes:\n    df -h {here}\n    df -i {here}");
    assert_eq!(full.cure().unwrap(), cure);
    let over = FileError::new("write", &lost, nix::Error::EDQUOT.into());
    let cure = format!("the quota for {here} is used up:\n    quota -s");
    assert_eq!(over.cure().unwrap(), cure);
}

#[test]
fn a_strangers_symlink_leads_root_to_his_own_directories_alone() {
    use std::os::unix::fs::{chown, lchown};
    if !geteuid().is_root() {
        // Nobody else is led to use more rights than his own.
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    for name in ["of-root", "of-stranger", "of-another", "above/inner"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    chown(at("of-stranger"), Some(12345), None).unwrap();
    chown(at("of-another"), Some(54321), None).unwrap();
    let link = |name: &str, target: &Path, owner: u32| {
        symlink(target, at(name)).unwrap();
        lchown(at(name), Some(owner), None).unwrap();
    };
    link("roots", &at("of-stranger"), 0);
    link("his", Path::new("of-stranger"), 12345);
    link("above/inner/his", Path::new("../.././his"), 12345);
    link("led", &at("of-root"), 12345);
    link("led-on", Path::new("led"), 0);
    link("astray", &at("of-another"), 12345);
    link("loop", Path::new("loop"), 0);
    let led = |name: &str| Directory::root(&at(name)).is_ok();
    let names = ["of-root", "roots", "his", "above/inner/his", "above/../his"];
    assert_eq!(names.map(led), [true; 5]);
    let names = ["led", "led-on", "astray", "loop", "missing", "led/x"];
    assert_eq!(names.map(led), [false; 6]);
    let error = Directory::root(&at("led-on")).unwrap_err();
    let said = format!("{} is a symlink of user 12345", at("led").display());
    assert_eq!(error.to_string(), said);
}
