//! What one issuance costs the network.

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::proxy::Proxy;
use crate::support::scene::{SHOP, Scene, site};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::trials_at_each_ca![one_issuance_needs_ten_requests];
    trials.extend(crate::trials![one_issuance_needs_eleven_round_trips]);
    trials
}

/// A scene whose CA refuses no nonce
fn quiet(ca: Kind) -> Scene {
    let scene = Scene::with(ca, |_, options| options.nonce_reject = 0);
    scene.write_sites(&[site(&[SHOP])]);
    scene
}

fn one_issuance_needs_ten_requests(ca: Kind) {
    let scene = quiet(ca);
    scene.write_domains(&[(SHOP, &[])]);
    let least = least_cost(&scene, || 0);
    assert!(least.requests <= 10, "{least:?}");
    assert!(
        least.requests >= 8,
        "no issuance can do with less: {least:?}"
    );
}

fn one_issuance_needs_eleven_round_trips() {
    // All URLs of Pebble lead through the proxy that is asked for the directory.
    let scene = quiet(Kind::Pebble);
    let proxy = Proxy::start(scene.ca.port());
    let directory = format!("https://localhost:{}/dir", proxy.port());
    let config = scene
        .unbound_config()
        .issuer("counted", &directory, &scene.ca.trust_pem_path())
        .nginx(&scene.nginx);
    let config = scene
        .domain(config, SHOP, &[])
        .lines("issuer = \"counted\"");
    scene.world.write_config(&config);
    let least = least_cost(&scene, || proxy.connections());
    assert!(least.requests + 2 * least.connections <= 11, "{least:?}");
}

/// What a renewal costs at best
#[track_caller]
fn least_cost(scene: &Scene, connections: impl Fn() -> usize) -> Cost {
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    // On a busy machine the CA does not validate at once, and then one more look is due.
    (0..5)
        .map(|_| renew(scene, &connections))
        .min()
        .expect("five measurements")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    requests: usize,
    connections: usize,
}

/// What one renewal with a challenge costs
#[track_caller]
fn renew(scene: &Scene, connections: impl Fn() -> usize) -> Cost {
    loop {
        let before = (scene.ca.requests(), connections(), scene.ca.validations());
        let report = scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
        let requests = scene.ca.requests() - before.0;
        // The report and the CA's own log agree.
        assert_eq!(report.ca_requests(), requests as u64, "{report}");
        // Pebble takes over one authorization in a hundred even when told not to.
        if scene.ca.validations() > before.2 {
            return Cost {
                requests,
                connections: connections() - before.1,
            };
        }
    }
}
