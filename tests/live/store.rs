//! A storage that is not certd's alone, or not what it should be.

use std::os::unix::fs::symlink;
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::Site;
use crate::support::process;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site};
use crate::support::served::write_self_signed;
use crate::support::tree::Tree;
use crate::support::world::{Config, Directories};
use crate::support::write;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials_at_each_ca![
        a_lineage_of_certbot_is_left_untouched,
        a_real_live_directory_is_left_untouched,
        a_lineage_gives_way_in_a_storage_that_others_keep,
        a_storage_that_a_copy_has_changed_costs_no_order,
        a_missing_storage_is_not_made,
        a_missing_webroot_costs_no_order,
        a_damaged_generation_is_replaced,
        a_lost_state_costs_one_account_and_no_order,
    ]
}

fn a_lineage_of_certbot_is_left_untouched(ca: Kind) {
    let scene = Scene::new(ca);
    let storage = scene.world.storage();
    let archive = storage.join("archive").join(SHOP);
    let live = storage.join("live").join(SHOP);
    for directory in [&archive, &live, &storage.join("renewal")] {
        std::fs::create_dir_all(directory).expect("directory can be made");
    }
    let made = scene.world.path().join("made");
    write_self_signed(&made, &[SHOP, WWW]);
    for (from, kind) in [("fullchain.pem", "fullchain"), ("privkey.pem", "privkey")] {
        let file = format!("{kind}1.pem");
        std::fs::copy(made.join(from), archive.join(&file)).expect("file can be copied");
        let target = format!("../../archive/{SHOP}/{file}");
        symlink(target, live.join(from)).expect("link can be made");
    }
    let renewal = storage.join("renewal").join(format!("{SHOP}.conf"));
    write(renewal, "version = 2.1.0\n");
    check_untouched(&scene, "certbot");
}

fn a_real_live_directory_is_left_untouched(ca: Kind) {
    let scene = Scene::new(ca);
    let live = scene.world.storage().join("live").join(SHOP);
    std::fs::create_dir(scene.world.storage().join("archive")).expect("directory can be made");
    write_self_signed(&live, &[SHOP]);
    check_untouched(&scene, "another program");
}

fn a_lineage_gives_way_in_a_storage_that_others_keep(ca: Kind) {
    let scene = Scene::new(ca);
    let storage = scene.world.storage();
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    for directory in ["live", "archive"] {
        std::fs::create_dir_all(storage.join(directory).join(SHOP)).expect("it can be made");
    }
    write_self_signed(&storage.join("live").join(SHOP), &[SHOP, WWW]);
    let own = site(&[SHOP, WWW]);
    let copied = Site {
        directory: "/etc/letsencrypt/before",
        ..site(&[SHOP, WWW])
    };
    scene.write_sites(&[own, site(&[MESSENGER])]);
    scene.nginx.reload();
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    let (orders, served) = (scene.ca.orders(), scene.served(MESSENGER));

    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let cure = report.finding(SHOP, "store.foreign_lineage").cure;
    assert!(cure.contains(MESSENGER), "{cure}");
    let step = |number: usize| {
        let (_, step) = cure.split_once(&format!("{number}. ")).expect("a step");
        let step = step.split(&format!("{}. ", number + 1)).next();
        let lines = step.unwrap_or_default().lines();
        let commands = lines.filter_map(|line| line.strip_prefix("    "));
        commands.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let run = |number: usize| {
        for line in step(number) {
            process::stdout_of(Command::new("sh").args(["-c", &line]));
        }
    };
    run(1);
    scene.write_sites(&[copied, site(&[MESSENGER])]);
    scene.nginx.restart();
    run(3);
    scene.nginx.restart();
    assert_eq!(step(4), [format!("certd obtain {SHOP}")]);
    scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    scene.nginx.restart();
    scene.write_sites(&[own, site(&[MESSENGER])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.nginx.restart();
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.ca.orders(), orders + 1);
    assert_eq!(scene.served(MESSENGER).fingerprint, served.fingerprint);
}

fn a_storage_that_a_copy_has_changed_costs_no_order(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let (storage, orders) = (scene.world.storage(), scene.ca.orders());
    let followed = "mv \"$0\" \"$0.old\" && cp -rL \"$0.old\" \"$0\" && rm -r \"$0.old\"";
    let live = storage.join("live").join(SHOP);
    process::stdout_of(Command::new("sh").args(["-c", followed]).arg(&live));
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let cure = report.finding(SHOP, "store.foreign_lineage").cure;
    let moved = cure.lines().find(|line| line.starts_with("    mv "));
    process::stdout_of(Command::new("sh").args(["-c", moved.expect(&cure)]));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(scene.ca.orders(), orders);
    scene.nginx.restart();
    scene.assert_serves(SHOP, &[SHOP]);
}

/// Checks that certd leaves the lineage of the shop alone, offers a way, and goes on with others
#[track_caller]
fn check_untouched(scene: &Scene, owner: &str) {
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    scene.nginx.reload();
    let storage = scene.world.storage();
    let untouched = Tree::of(&storage);

    for arguments in [&[SHOP][..], &[SHOP, "--force"], &[SHOP, "--no-deploy"]] {
        let report = scene.obtain(arguments).expect(1, SHOP, "failed");
        let code = "store.foreign_lineage";
        assert_eq!(report.failures(SHOP), [code], "{report}");
        let finding = report.finding(SHOP, code);
        assert!(finding.evidence.contains(owner), "{finding:?}");
        for words in ["storage = ", "nginx", "untouched"] {
            assert!(finding.cure.contains(words), "{words}: {finding:?}");
        }
        assert_eq!(Tree::of(&storage), untouched);
    }
    assert_eq!(scene.ca.orders(), 0);

    let live = Tree::of(&storage.join("live").join(SHOP));
    let report = scene.obtain(&["--all"]).expect(1, MESSENGER, "proven");
    assert_eq!(report.outcome(SHOP), "failed", "{report}");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(Tree::of(&storage.join("live").join(SHOP)), live);
    assert_eq!(scene.ca.orders(), 1);
}

fn a_missing_storage_is_not_made(ca: Kind) {
    let scene = Scene::new(ca);
    let missing = scene.world.path().join("misspelt");
    let directories = Directories {
        storage: missing.clone(),
        ..Directories::of(&scene.world)
    };
    let config = Config::in_directories(&directories, &scene.dns, &scene.ca).agreed();
    let config = scene.domain(config.nginx(&scene.nginx), SHOP, &[]);
    scene.world.write_config(&config);
    let output = scene.world.certd(&["obtain", SHOP]).expect_status(1);
    let path = missing.display().to_string();
    assert!(output.stderr.contains(&path), "{}", output.stderr);
    assert!(output.stderr.contains("mkdir -p"), "{}", output.stderr);
    assert!(!missing.exists());
    assert_eq!(scene.ca.requests(), 0);
}

fn a_missing_webroot_costs_no_order(ca: Kind) {
    let scene = Scene::new(ca);
    let directories = Directories {
        webroot: scene.world.path().join("misspelt"),
        ..Directories::of(&scene.world)
    };
    let config = Config::in_directories(&directories, &scene.dns, &scene.ca).agreed();
    let config = scene.domain(config.nginx(&scene.nginx), SHOP, &[]);
    scene.world.write_config(&config);
    for arguments in [&[SHOP][..], &[SHOP, "--no-deploy"]] {
        let report = scene.obtain(arguments).expect(1, SHOP, "failed");
        assert_eq!(report.failures(SHOP), ["challenge.webroot"], "{report}");
        let finding = report.finding(SHOP, "challenge.webroot");
        let path = directories.webroot.display().to_string();
        assert!(finding.cure.contains(&path), "{finding:?}");
    }
    assert!(!directories.webroot.exists());
    assert_eq!(scene.ca.orders(), 0);
}

fn a_damaged_generation_is_replaced(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[]), (MESSENGER, &[])]);
    scene.write_sites(&[site(&[SHOP]), site(&[MESSENGER])]);
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    let (key, other) = (
        scene.world.live(SHOP, "privkey.pem"),
        scene.world.live(MESSENGER, "privkey.pem"),
    );
    let damage = |bytes: &[u8]| write(&key, bytes);

    // Another domain's key: nginx would refuse the pair at its next start.
    damage(&std::fs::read(other).expect("a key"));
    let report = scene.obtain(&[SHOP]).expect_status(0);
    assert_eq!(report.outcome(SHOP), "proven", "{report}");
    assert_eq!(report.generation(SHOP), 2, "{report}");
    scene.assert_serves(SHOP, &[SHOP]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(scene.ca.orders(), 3);
}

fn a_lost_state_costs_one_account_and_no_order(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    std::fs::remove_dir_all(scene.world.state()).expect("state can be removed");

    let report = scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(report.ca_requests(), 0, "{report}");
    scene.obtain(&[SHOP]).expect(0, SHOP, "unchanged");
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
    assert_eq!(scene.ca.accounts(), 2);
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(SHOP, &[SHOP]);
}
