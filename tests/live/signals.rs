//! Runs that are interrupted, and runs beside each other.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::fake_ca::{Answer, FakeCa};
use crate::support::process::wait_for;
use crate::support::scene::{SHOP, Scene, WWW, challenges, site};
use crate::support::world::{Running, World, entries};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials![
        a_second_certd_gives_up_and_says_so,
        a_second_certd_waits_for_a_short_first_one,
    ];
    trials.extend(crate::trials_at_each_ca![
        tokens_are_gone_after_success,
        tokens_are_gone_after_sigint,
        tokens_are_gone_after_sigterm,
        tokens_are_gone_after_sighup,
        a_killed_run_leaves_nothing_in_the_way,
    ]);
    trials
}

fn tokens_are_gone_after_success(ca: Kind) {
    let scene = Scene::new(ca);
    scene.write_domains(&[(SHOP, &[WWW])]);
    scene.write_sites(&[site(&[SHOP, WWW])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert!(challenges(&scene.world).is_dir());
    scene.assert_clean();
}

/// A scene whose CA asks for the tokens and never gets an answer
struct Hanging {
    scene: Scene,
    _silent: FakeCa,
}

impl Hanging {
    fn new(ca: Kind) -> Self {
        let silent = FakeCa::mute();
        let scene = Scene::with(ca, |_, options| options.http_port = silent.port());
        scene.write_domains(&[(SHOP, &[WWW])]);
        Self {
            scene,
            _silent: silent,
        }
    }

    /// Starts certd and waits until it has published both tokens
    fn start(&self) -> Running {
        let running = self.scene.world.start_certd(&["obtain", SHOP]);
        wait_for("tokens", || (tokens(&self.scene.world) == 2).then_some(()));
        running
    }
}

/// How many key authorizations are published; probes are none
fn tokens(world: &World) -> usize {
    let directory = challenges(world);
    let is_token = |name: &String| {
        let content = std::fs::read_to_string(directory.join(name));
        content.is_ok_and(|content| content.starts_with(&format!("{name}.")))
    };
    entries(&directory)
        .iter()
        .filter(|name| is_token(name))
        .count()
}

fn tokens_are_gone_after_sigint(ca: Kind) {
    tokens_are_gone_after(ca, "INT", 130);
}

fn tokens_are_gone_after_sigterm(ca: Kind) {
    tokens_are_gone_after(ca, "TERM", 143);
}

fn tokens_are_gone_after_sighup(ca: Kind) {
    tokens_are_gone_after(ca, "HUP", 129);
}

fn tokens_are_gone_after(ca: Kind, signal: &str, status: i32) {
    let hanging = Hanging::new(ca);
    let running = hanging.start();
    running.signal(signal);
    let output = running.wait().expect_status(status);
    assert!(
        output.stderr.contains("stopped by a signal"),
        "{}",
        output.stderr
    );
    let scene = &hanging.scene;
    scene.assert_clean();
    assert_eq!(scene.ca.orders(), 1);
    assert_eq!(scene.generations(SHOP), [""; 0]);
    // The lock is free again.
    scene
        .obtain(&[SHOP, "--dry-run"])
        .expect(0, SHOP, "planned");
}

fn a_killed_run_leaves_nothing_in_the_way(ca: Kind) {
    let scene = Scene::with(ca, |_, options| options.sleep = Some(10));
    let aliases: Vec<String> = (0..20).map(|number| format!("n{number}.test")).collect();
    let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
    scene.write_domains(&[(SHOP, &aliases)]);
    let running = scene.world.start_certd(&["obtain", SHOP]);
    // Pebble pauses for 0 to 9 seconds, and one pause of 21 is long.
    wait_for("tokens", || (tokens(&scene.world) == 21).then_some(()));
    running.signal("KILL");
    assert_eq!(running.wait().status, None);
    assert_eq!(tokens(&scene.world), 21);

    scene.write_domains(&[(SHOP, &[])]);
    scene.write_sites(&[site(&[SHOP])]);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP]);
}

fn a_second_certd_gives_up_and_says_so() {
    let (world, _ca, first) = holder();
    let second = world
        .certd(&["obtain", SHOP, "--no-deploy"])
        .expect_status(75);
    let words = format!("another certd is at work (process {})", first.id());
    assert!(second.stderr.contains(&words), "{}", second.stderr);
    assert!(
        second.elapsed >= Duration::from_secs(9),
        "{:?}",
        second.elapsed
    );
    assert!(
        second.elapsed < Duration::from_secs(20),
        "{:?}",
        second.elapsed
    );
    // Those that only look need no lock.
    let status = world.certd(&["status"]).expect_status(0);
    assert!(
        status.elapsed < Duration::from_secs(5),
        "{:?}",
        status.elapsed
    );
    world.certd(&["obtain", SHOP, "--dry-run"]).expect_status(0);
    drop(first);
}

fn a_second_certd_waits_for_a_short_first_one() {
    let (world, ca, first) = holder();
    let second = world.start_certd(&["obtain", SHOP, "--no-deploy"]);
    first.signal("TERM");
    first.wait().expect_status(143);
    // It goes on to ask the CA.
    wait_for("second request", || {
        (ca.requests().len() >= 2).then_some(())
    });
    second.signal("TERM");
    second.wait().expect_status(143);
    drop(world);
}

/// A certd that has the lock and waits for a CA that does not answer
fn holder() -> (World, FakeCa, Running) {
    let ca = FakeCa::start(|_, _| Answer::Silence);
    let world = World::new();
    world.write_text(&format!(
        "issuer = \"fake\"\nterms_of_service_agreed = true\n\
         webroot = \"webroot\"\nstorage = \"storage\"\nstate = \"state\"\n\
         [preflight]\nrequire = []\n\
         [issuers.fake]\ndirectory = {:?}\ntrust = {:?}\n[[domain]]\nname = {SHOP:?}\n",
        ca.directory_url(),
        ca.trust_pem_path()
    ));
    let first = world.start_certd(&["obtain", SHOP, "--no-deploy"]);
    wait_for("request", || (!ca.requests().is_empty()).then_some(()));
    (world, ca, first)
}
