//! `certd demo --docker`: the sandbox's CA in front of a real nginx.

use std::process::Command;
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::nginx;
use crate::support::process::{self, wait_for};
use crate::support::world::World;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        the_story_goes_the_same_way_with_a_real_nginx,
        a_signal_removes_the_container,
        a_signal_at_any_time_leaves_no_container,
    ]
}

fn the_story_goes_the_same_way_with_a_real_nginx() {
    let world = World::new();
    let output = world
        .certd(&[
            "demo",
            "--dir",
            "demo",
            "--docker",
            &nginx::image(),
            "--format",
            "json",
        ])
        .expect_status(0);
    let report: Value = serde_json::from_str(&output.stdout).expect("a report");
    let acts = report["acts"].as_array().expect("acts");
    let steps = acts.iter().filter_map(|act| act["steps"].as_array());
    let endings: Vec<&Value> = steps.flatten().map(|step| &step["ending"]).collect();
    assert_eq!(endings, vec!["as_told"; 5], "{report:#}");
    assert_eq!(containers(&world), "");
}

fn a_signal_removes_the_container() {
    let world = World::new();
    let image = nginx::image();
    let certd = world.start_certd(&["demo", "--dir", "demo", "--docker", &image, "--serve"]);
    wait_for("the demo's container", || {
        (!containers(&world).is_empty()).then_some(())
    });
    certd.signal("INT");
    assert_eq!(certd.wait().status, Some(130));
    assert_eq!(containers(&world), "");
}

fn a_signal_at_any_time_leaves_no_container() {
    let image = nginx::image();
    for late in 0..12 {
        let world = World::new();
        let certd = world.start_certd(&["demo", "--dir", "demo", "--docker", &image]);
        // The engine creates and starts the container in these moments.
        thread::sleep(Duration::from_millis(40 * late));
        certd.signal("INT");
        certd.wait();
        assert_eq!(containers(&world), "", "after {late} times 40 ms");
    }
}

/// Identifiers of the containers that mount the demo's storage
fn containers(world: &World) -> String {
    let storage = world.path().join("demo/letsencrypt");
    let filter = format!("volume={}", storage.display());
    let mut command = Command::new("docker");
    process::stdout_of(command.args(["ps", "--all", "--quiet", "--filter", &filter]))
}
