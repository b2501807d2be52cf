#![expect(
    clippy::disallowed_methods,
    reason = "a test makes the files that certd must not touch"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::account::{AccountError, StoredAccount};
use super::lineage::{GenerationError, Issued, Lineage, LineageError};
use super::lock::Attempt;
use super::record::{Failures, GenerationRecord, RecordError};
use super::*;
use crate::crash::writer;

mod strangers;

struct Place {
    directory: TempDir,
    store: Store,
    name: DnsName,
}

impl Place {
    fn new() -> Self {
        Self::with_group(None)
    }

    fn with_group(group: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = directory.path().join("storage");
        fs::create_dir(&storage).unwrap();
        fs::set_permissions(&storage, fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(&storage, &directory.path().join("state"), group).unwrap();
        Self {
            directory,
            store,
            name: DnsName::parse("a.test").unwrap(),
        }
    }

    fn lineage(&self) -> Lineage {
        self.store.lineage(&self.name).unwrap()
    }

    /// Adds a generation, makes it live, and remembers it as proven
    fn add_proven(&self) -> u32 {
        let mut lineage = self.lineage();
        let number = self.store.add_generation(&lineage, &issued()).unwrap();
        self.store.switch(&self.name, number).unwrap();
        lineage.record.generations.insert(number, proven());
        self.store.save_record(&self.name, &lineage.record).unwrap();
        number
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }
}

fn issued() -> Issued {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let leaf = params.self_signed(&key).unwrap().pem();
    let above = CertificateParams::new(vec!["ca.test".to_owned()]).unwrap();
    let above = above.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Issued {
        chain_pem: format!("{leaf}\n{}", above.pem()),
        key_pem: Zeroizing::new(key.serialize_pem()),
    }
}

fn proven() -> GenerationRecord {
    GenerationRecord {
        issuer: Some("letsencrypt".to_owned()),
        account: Some("https://ca.test/account/1".to_owned()),
        profile: None,
        issued_at: "2027-01-01T00:00:00Z".parse().unwrap(),
        proven_at: Some("2027-01-01T00:00:01Z".parse().unwrap()),
        fingerprint: None,
        renewal: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_generation_has_its_files_modes_and_a_relative_link() {
    let place = Place::new();
    let issued = issued();
    let number = place
        .store
        .add_generation(&place.lineage(), &issued)
        .unwrap();
    place.store.switch(&place.name, number).unwrap();
    let directory = place.path("storage/archive/a.test/1");
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    assert_eq!(number, 1);
    assert_eq!(read("fullchain.pem"), issued.chain_pem, "stored verbatim");
    assert_eq!(read("cert.pem") + &read("chain.pem"), issued.chain_pem);
    assert_eq!(read("cert.pem").matches("BEGIN").count(), 1);
    assert_eq!(read("privkey.pem"), *issued.key_pem);
    for file in ["cert.pem", "chain.pem", "fullchain.pem"] {
        assert_eq!(mode(&directory.join(file)), 0o644, "{file}");
    }
    assert_eq!(mode(&directory.join("privkey.pem")), 0o600);
    for open in [
        "storage/live",
        "storage/archive",
        "storage/archive/a.test",
        "storage/archive/a.test/1",
    ] {
        assert_eq!(mode(&place.path(open)), 0o755, "{open}");
    }
    for closed in ["state", "state/accounts", "state/domains"] {
        assert_eq!(mode(&place.path(closed)), 0o700, "{closed}");
    }
    let target = fs::read_link(place.path("storage/live/a.test")).unwrap();
    assert_eq!(target, Path::new("../archive/a.test/1"));
    assert_eq!(place.lineage().live, Some(1));
}

#[test]
fn a_key_group_may_read_keys_and_nothing_else_changes() {
    let own = fs::metadata(".").unwrap().gid();
    let place = Place::with_group(Some(&own.to_string()));
    place
        .store
        .add_generation(&place.lineage(), &issued())
        .unwrap();
    let key = place.path("storage/archive/a.test/1/privkey.pem");
    assert_eq!(mode(&key), 0o640);
    assert_eq!(fs::metadata(&key).unwrap().gid(), own);
    assert_eq!(
        mode(&place.path("storage/archive/a.test/1/cert.pem")),
        0o644
    );
}

#[test]
fn new_files_belong_to_the_owner_of_their_directory() {
    if !nix::unistd::geteuid().is_root() {
        // Without root there is only one owner, and it is the same by nature.
        return;
    }
    let place = Place::new();
    let archive = place.path("storage/archive");
    std::os::unix::fs::chown(&archive, Some(101), Some(33)).unwrap();
    place
        .store
        .add_generation(&place.lineage(), &issued())
        .unwrap();
    for made in [
        "a.test",
        "a.test/1",
        "a.test/1/privkey.pem",
        "a.test/1/fullchain.pem",
    ] {
        let metadata = fs::metadata(archive.join(made)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (101, 33), "{made}");
    }
}

#[test]
fn an_unknown_key_group_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let error = Store::open(
        directory.path(),
        &directory.path().join("state"),
        Some("no-such-group"),
    );
    assert!(matches!(error, Err(StoreError::KeyGroup { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_storage_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("typing-error");
    let error = Store::open(&storage, &directory.path().join("state"), None).unwrap_err();
    assert!(error.cure().unwrap().contains("mkdir -p"), "{error}");
    assert!(!storage.exists());
}

/// Whatever the live link names is a complete generation whose key matches
fn assert_consistent(store: &Store, name: &DnsName, step: usize) -> Option<u32> {
    let live = store.live(name).unwrap();
    if let Some(number) = live {
        store
            .generation(name, number)
            .unwrap_or_else(|error| panic!("step {step}: live generation {number}: {error}"));
    }
    for number in store.generations(name).unwrap() {
        store
            .generation(name, number)
            .unwrap_or_else(|error| panic!("step {step}: generation {number}: {error}"));
    }
    live
}

#[test]
fn a_crash_between_any_two_writes_leaves_the_old_pair_or_the_new_one() {
    let mut finished = false;
    let mut seen = Vec::new();
    for step in 0..200 {
        let place = Place::new();
        place.add_proven();
        let lineage = place.lineage();
        let issued = issued();
        writer::stop_after(step);
        let outcome = (|| {
            let number = place.store.add_generation(&lineage, &issued)?;
            place.store.switch(&place.name, number)?;
            let mut record = lineage.record.clone();
            record.generations.insert(number, proven());
            place.store.save_record(&place.name, &record)?;
            Ok::<_, LineageError>(())
        })();
        writer::never_stop();
        seen.push(assert_consistent(&place.store, &place.name, step));
        let Ok(Attempt::Taken(lock)) = place.store.try_lock() else {
            panic!("the lock is free");
        };
        place.store.sweep(&lock).unwrap();
        let leftovers = leftovers(place.directory.path());
        assert_eq!(leftovers, Vec::<PathBuf>::new(), "step {step}");
        place.lineage();
        if outcome.is_ok() {
            finished = true;
            break;
        }
    }
    assert!(finished, "the writer has fewer than 200 steps");
    assert!(seen.len() > 10, "every write is a step: {}", seen.len());
    let switched = seen.iter().position(|live| *live == Some(2)).unwrap();
    assert!(
        seen[..switched].iter().all(|live| *live == Some(1)),
        "{seen:?}"
    );
    assert!(
        seen[switched..].iter().all(|live| *live == Some(2)),
        "{seen:?}"
    );
}

/// Files that have not got their final name
fn leftovers(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(".certd-")
        {
            found.push(path.clone());
        }
        if path.is_dir() && !path.is_symlink() {
            found.extend(leftovers(&path));
        }
    }
    found
}

#[test]
fn sweeping_takes_the_unfinished_and_leaves_the_rest() {
    let place = Place::new();
    place.add_proven();
    for unfinished in [
        "storage/archive/.certd-abc",
        "storage/archive/a.test/.certd-abc",
    ] {
        fs::create_dir(place.path(unfinished)).unwrap();
        fs::write(place.path(unfinished).join("privkey.pem"), "half").unwrap();
    }
    symlink("nowhere", place.path("storage/live/.certd-a.test")).unwrap();
    fs::write(place.path("state/domains/.certd-xyz"), "half").unwrap();
    fs::write(place.path("state/.certd-xyz"), "half").unwrap();
    fs::write(place.path("storage/live/README"), "certbot's").unwrap();
    let held = place.path("storage/archive/.certd-held");
    fs::write(&held, "a probe of `certd check`").unwrap();
    let holder = fs::File::open(&held).unwrap();
    holder.lock().unwrap();
    let Attempt::Taken(lock) = place.store.try_lock().unwrap() else {
        panic!("the lock is free");
    };
    place.store.sweep(&lock).unwrap();
    assert_eq!(leftovers(place.directory.path()), [held]);
    drop(holder);
    place.store.sweep(&lock).unwrap();
    assert_eq!(leftovers(place.directory.path()), Vec::<PathBuf>::new());
    assert!(place.path("storage/live/README").exists());
    assert_eq!(place.lineage().live, Some(1));
}

#[test]
fn the_key_of_an_order_that_is_not_on_record_is_swept() {
    let place = Place::new();
    let Attempt::Taken(lock) = place.store.try_lock().unwrap() else {
        panic!("the lock is free");
    };
    let record = |order: Value| {
        let record = serde_json::from_value(json!({"order": order})).unwrap();
        place.store.save_record(&place.name, &record).unwrap();
    };
    place.store.save_order_key(&place.name, "a key").unwrap();
    record(json!({
        "url": "https://ca.test/order/1",
        "began": "2027-01-01T00:00:00Z",
        "asked": {"issuer": "letsencrypt", "names": ["a.test"]},
    }));
    place.store.sweep(&lock).unwrap();
    assert!(place.store.order_key(&place.name).is_some());
    record(Value::Null);
    place.store.sweep(&lock).unwrap();
    assert!(place.store.order_key(&place.name).is_none());
}

#[test]
fn five_generations_are_kept_and_never_a_live_or_unproven_one_goes() {
    #[track_caller]
    fn check(generations: u32, live: u32, unproven: &[u32], expected: &[u32]) {
        let place = Place::new();
        for _ in 0..generations {
            place.add_proven();
        }
        place.store.switch(&place.name, live).unwrap();
        let mut lineage = place.lineage();
        for number in unproven {
            lineage
                .record
                .generations
                .get_mut(number)
                .unwrap()
                .proven_at = None;
        }
        let removed = place.store.prune(&lineage).unwrap();
        assert_eq!(removed, expected);
        let left: Vec<u32> = (1..=generations)
            .filter(|number| !expected.contains(number))
            .collect();
        assert_eq!(place.lineage().generations, left);
    }
    check(5, 5, &[], &[]);
    check(7, 7, &[], &[1, 2]);
    check(7, 1, &[], &[2]);
    check(7, 7, &[2], &[1]);
    check(8, 2, &[1, 3], &[]);
}

#[test]
fn generations_go_whose_record_is_lost_once_the_live_one_is_proven_again() {
    let place = Place::new();
    for _ in 0..8 {
        place.add_proven();
    }
    fs::remove_file(place.path("state/domains/a.test.json")).unwrap();
    let mut lineage = place.lineage();
    assert_eq!(place.store.prune(&lineage).unwrap(), [0u32; 0]);
    lineage.record.generations.insert(8, proven());
    assert_eq!(place.store.prune(&lineage).unwrap(), [1, 2, 3]);
    // One that is newer than the live one may wait to be deployed.
    let place = Place::new();
    for _ in 0..8 {
        place.add_proven();
    }
    place.store.switch(&place.name, 2).unwrap();
    let mut lineage = place.lineage();
    lineage.record.generations.retain(|number, _| *number == 2);
    assert_eq!(place.store.prune(&lineage).unwrap(), [1]);
}

#[test]
fn another_programs_lineage_is_left_alone() {
    #[track_caller]
    fn check(make: impl Fn(&Place)) {
        let place = Place::new();
        make(&place);
        let error = place.store.lineage(&place.name).unwrap_err();
        assert!(matches!(error, LineageError::Foreign { .. }), "{error:?}");
        let cure = error.cure().unwrap();
        // Nothing is to be named before it is there.
        let [storage, order, write] = ["storage = ", "certd obtain a.test", "4. write that"]
            .map(|words| cure.find(words).expect(&cure));
        assert!(storage < order && order < write, "{cure}");
    }
    check(|place| fs::create_dir(place.path("storage/live/a.test")).unwrap());
    check(|place| symlink("/somewhere/else", place.path("storage/live/a.test")).unwrap());
    check(|place| symlink("../archive/b.test/1", place.path("storage/live/a.test")).unwrap());
    check(|place| {
        fs::create_dir_all(place.path("storage/archive/a.test")).unwrap();
        fs::write(
            place.path("storage/archive/a.test/privkey1.pem"),
            "certbot's",
        )
        .unwrap();
    });
}

/// What the steps to a first certificate put where the live link belongs
fn put_placeholder(place: &Place) -> PathBuf {
    let directory = place.path("storage/live/a.test");
    fs::create_dir(&directory).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name = rcgen::DnType::CommonName;
    params
        .distinguished_name
        .push(name, placeholder::PLACEHOLDER);
    let pem = params.self_signed(&key).unwrap().pem();
    for (file, text) in [
        ("privkey.pem", key.serialize_pem()),
        ("fullchain.pem", pem.clone()),
        ("chain.pem", pem),
    ] {
        fs::write(directory.join(file), text).unwrap();
    }
    directory
}

#[test]
fn the_first_generation_takes_the_place_of_a_placeholder() {
    let place = Place::new();
    let directory = put_placeholder(&place);
    let lineage = place.lineage();
    assert_eq!(lineage.live, None);
    let number = place.store.add_generation(&lineage, &issued()).unwrap();
    assert!(directory.join("fullchain.pem").is_file());
    place.store.switch(&place.name, number).unwrap();
    assert_eq!(place.lineage().live, Some(1));
    assert_eq!(leftovers(place.directory.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_crash_leaves_the_placeholder_or_the_first_generation() {
    let mut finished = false;
    for step in 0..50 {
        let place = Place::new();
        let directory = put_placeholder(&place);
        let number = place.store.add_generation(&place.lineage(), &issued());
        writer::stop_after(step);
        let outcome = place.store.switch(&place.name, number.unwrap());
        writer::never_stop();
        let chain = fs::read(directory.join("fullchain.pem")).unwrap();
        let key = fs::read_to_string(directory.join("privkey.pem")).unwrap();
        let chain = crate::chain::Chain::from_pem(&chain).unwrap();
        let public = crate::chain::public_key_of(key.as_bytes()).unwrap();
        assert_eq!(public, chain.leaf().public_key, "step {step}");
        let Ok(Attempt::Taken(lock)) = place.store.try_lock() else {
            panic!("the lock is free");
        };
        place.store.sweep(&lock).unwrap();
        assert_eq!(leftovers(place.directory.path()), Vec::<PathBuf>::new());
        if outcome.is_ok() {
            finished = true;
            break;
        }
    }
    assert!(finished);
}

#[test]
fn what_is_more_than_a_placeholder_is_another_programs() {
    let place = Place::new();
    let directory = put_placeholder(&place);
    fs::write(directory.join("README"), "mine").unwrap();
    let error = place.store.lineage(&place.name).unwrap_err();
    assert!(matches!(error, LineageError::Foreign { .. }), "{error:?}");
    assert!(place.store.switch(&place.name, 1).is_err());
    assert!(directory.join("README").is_file());
}

#[test]
fn certbot_is_named_when_its_renewal_file_is_there() {
    let place = Place::new();
    fs::create_dir(place.path("storage/live/a.test")).unwrap();
    fs::create_dir(place.path("storage/renewal")).unwrap();
    fs::write(place.path("storage/renewal/a.test.conf"), "").unwrap();
    let error = place.store.lineage(&place.name).unwrap_err();
    assert!(error.to_string().ends_with("belongs to certbot"), "{error}");
}

#[test]
fn a_live_link_to_a_generation_that_is_gone_counts_as_none() {
    let place = Place::new();
    place.add_proven();
    place.store.switch(&place.name, 9).unwrap();
    assert_eq!(place.lineage().live, None);
}

#[test]
fn a_key_of_another_certificate_is_found_out() {
    let place = Place::new();
    place.add_proven();
    let key = place.path("storage/archive/a.test/1/privkey.pem");
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let mismatch = place.store.generation(&place.name, 1);
    assert!(matches!(mismatch, Err(GenerationError::Mismatch)));
    fs::remove_file(&key).unwrap();
    let missing = place.store.generation(&place.name, 1);
    assert!(matches!(missing, Err(GenerationError::Read { .. })));
    place.store.certificate(&place.name, 1).unwrap();
}

fn account(directory: &str) -> StoredAccount {
    StoredAccount {
        directory: directory.to_owned(),
        url: format!("{directory}/account/1"),
        key: BASE64_URL_SAFE_NO_PAD.encode(KeyPair::generate().unwrap().serialize_der()),
    }
}

#[test]
fn an_account_belongs_to_one_directory_url_and_is_never_lost() {
    let place = Place::new();
    let first = account("https://first.test/dir");
    place.store.save_account("ca", &first).unwrap();
    assert_eq!(mode(&place.path("state/accounts/ca.json")), 0o600);
    let found = |directory: &str| place.store.account("ca", directory).unwrap();
    assert_eq!(found("https://first.test/dir").unwrap().url, first.url);
    assert!(found("https://second.test/dir").is_none());
    place
        .store
        .save_account("ca", &account("https://second.test/dir"))
        .unwrap();
    assert!(found("https://second.test/dir").is_some());
    // It is found again, from one switch of URLs to the next, and at the same host too.
    assert_eq!(found("https://first.test/dir").unwrap().key, first.key);
    let third = account("https://first.test/other");
    place.store.save_account("ca", &third).unwrap();
    place
        .store
        .save_account("ca", &account("https://second.test/dir"))
        .unwrap();
    assert_eq!(found("https://first.test/dir").unwrap().key, first.key);
    assert_eq!(found("https://first.test/other").unwrap().key, third.key);
}

#[test]
fn an_account_that_an_earlier_version_put_beside_another_is_found() {
    let place = Place::new();
    let (first, second) = (
        account("https://first.test/dir"),
        account("https://second.test/dir"),
    );
    place.store.save_account("ca", &second).unwrap();
    let text = serde_json::to_vec(&first).unwrap();
    fs::write(place.path("state/accounts/ca.first.test.json"), text).unwrap();
    let found = place.store.account("ca", &first.directory).unwrap();
    assert_eq!(found.unwrap().key, first.key);
}

#[test]
fn a_key_that_cannot_sign_is_damage() {
    let place = Place::new();
    let mut damaged = account("https://first.test/dir");
    damaged.key = "AAAA".to_owned();
    place.store.save_account("ca", &damaged).unwrap();
    let error = place.store.account("ca", &damaged.directory).unwrap_err();
    assert!(matches!(error, AccountError::Damaged { .. }), "{error}");
    assert!(!error.to_string().contains("AAAA"), "{error}");
}

#[test]
fn no_error_and_no_debug_output_holds_an_accounts_key() {
    let place = Place::new();
    let secret = account("https://first.test/dir");
    let shown = format!("{secret:?}");
    assert!(!shown.contains(&secret.key), "{shown}");
    let path = place.path("state/accounts/ca.json");
    fs::write(
        &path,
        r#"{"directory": "x", "key": "c2VjcmV0LWtleQ", "url": 7}"#,
    )
    .unwrap();
    let error = place.store.account("ca", "x").unwrap_err();
    assert!(matches!(error, AccountError::Damaged { .. }));
    assert!(
        !format!("{error} {error:?}").contains("c2VjcmV0"),
        "{error:?}"
    );
}

#[test]
fn one_process_holds_the_lock() {
    let place = Place::new();
    let Attempt::Taken(lock) = place.store.try_lock().unwrap() else {
        panic!("the lock is free");
    };
    let Attempt::Busy(holder) = place.store.try_lock().unwrap() else {
        panic!("the lock is held");
    };
    assert_eq!(holder, Some(std::process::id()));
    drop(lock);
    assert!(matches!(place.store.try_lock().unwrap(), Attempt::Taken(_)));
}

#[test]
fn failures_are_counted_apart_by_what_they_are() {
    let mut failures = Failures::default();
    let at = "2027-01-01T00:00:00Z".parse().unwrap();
    let counts = ["a", "a", "b", "a", "b", "c", "c"].map(|class| {
        failures.add(class, at, None, String::new());
        failures.count
    });
    assert_eq!(counts, [1, 2, 1, 3, 2, 1, 2]);
    let text = serde_json::to_string(&failures).unwrap();
    assert_eq!(serde_json::from_str::<Failures>(&text).unwrap(), failures);
    failures.clear();
    assert_eq!(failures, Failures::default());
    // As certd kept them before.
    let old = r#"{"count": 3, "last": "2027-01-01T00:00:00Z", "reason": "refused"}"#;
    let mut old: Failures = serde_json::from_str(old).unwrap();
    old.add("a", at, None, String::new());
    assert_eq!(old.count, 1);
}

#[test]
fn what_is_set_aside_stays_beside_what_was_before() {
    let place = Place::new();
    for (text, kept) in [
        ("one", "damaged"),
        ("two", "damaged-2"),
        ("three", "damaged-3"),
    ] {
        fs::write(place.path("state/domains/a.test.json"), text).unwrap();
        let aside = place.store.set_aside_record(&place.name).unwrap();
        assert_eq!(
            aside,
            place.path(&format!("state/domains/a.test.json.{kept}"))
        );
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
    }
}

#[test]
fn a_record_of_a_later_certd_is_not_damaged_whatever_its_shape() {
    let place = Place::new();
    for text in [r#"{"version": 2, "generations": []}"#, r#"{"version": 2}"#] {
        fs::write(place.path("state/domains/a.test.json"), text).unwrap();
        let error = place.store.record(&place.name).unwrap_err();
        assert!(
            matches!(error, RecordError::Newer { version: 2, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_record_survives_and_a_damaged_one_is_not_overwritten() {
    let place = Place::new();
    let mut record = place.store.record(&place.name).unwrap();
    record.generations.insert(3, proven());
    record.order_failures.add(
        "acme.refused",
        "2027-01-01T00:00:00Z".parse().unwrap(),
        None,
        "refused".to_owned(),
    );
    place.store.save_record(&place.name, &record).unwrap();
    assert_eq!(place.store.record(&place.name).unwrap(), record);
    let path = place.path("state/domains/a.test.json");
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, "{").unwrap();
    let error = place.store.lineage(&place.name).unwrap_err();
    assert!(matches!(
        error,
        LineageError::Record(RecordError::Damaged { .. })
    ));
    fs::write(&path, r#"{"version": 2}"#).unwrap();
    let error = place.store.lineage(&place.name).unwrap_err();
    assert!(matches!(
        error,
        LineageError::Record(RecordError::Newer { version: 2, .. })
    ));
}

#[test]
fn a_file_that_is_far_too_long_is_not_read_and_ends_its_domain_alone() {
    let place = Place::new();
    let number = place.add_proven();
    let grow = |path: &Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(4 << 30).unwrap();
    };
    #[track_caller]
    fn check(error: &dyn std::error::Error, path: &Path, most: &str) {
        let source = error.source().unwrap().to_string();
        assert!(error.to_string().contains(&path.display().to_string()));
        assert_eq!(
            source,
            format!("it is longer than {most} (4294967296 bytes)")
        );
    }
    let directory = place.store.archive(&place.name).join(number.to_string());
    for (file, most) in [("privkey.pem", "64 KiB"), ("fullchain.pem", "1 MiB")] {
        let path = directory.join(file);
        grow(&path);
        let error = place.store.generation(&place.name, number).unwrap_err();
        check(&error, &path, most);
    }
    let path = place.path("state/domains/a.test.json");
    grow(&path);
    let error = place.store.lineage(&place.name).unwrap_err();
    assert_eq!(error.code(), "store.record");
    let LineageError::Record(error) = error else {
        panic!("{error:?}");
    };
    check(&error, &path, "1 MiB");
    let other = DnsName::parse("b.test").unwrap();
    place.store.lineage(&other).unwrap();
}
