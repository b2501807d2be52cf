//! A batch in which nginx refuses a few new certificates: they are found, and the others are deployed.

use crate::support::{Host, Setting};

const NAMES: [&str; 16] = [
    "a.test", "b.test", "c.test", "d.test", "e.test", "f.test", "g.test", "h.test", "i.test",
    "j.test", "k.test", "l.test", "m.test", "n.test", "o.test", "p.test",
];

/// How nginx is told a key and a certificate that fit each other by chance alone
enum Pinned {
    /// It names the first generation's key, and blames the archive
    Key,
    /// It names the first generation's certificate, and blames the live key
    Certificate,
}

/// Renews all, where server blocks name one file of the first generation; gives those that failed, and
/// how often `nginx -t` ran
fn renew(pinned: &[(&str, Pinned)]) -> (Vec<String>, usize) {
    let host = Host::new(&Setting {
        domains: NAMES.iter().map(|name| vec![*name]).collect(),
        ..Setting::default()
    });
    host.obtain(&[]).exits(0);
    for (name, pinned) in pinned {
        let file = match pinned {
            Pinned::Key => "privkey.pem",
            Pinned::Certificate => "fullchain.pem",
        };
        pin(
            &host,
            &format!("live/{name}/{file}"),
            &format!("archive/{name}/1/{file}"),
        );
    }
    host.web.reload().expect("the first generation fits");
    let before = host.engine.commands(&["nginx", "-t"]);
    let run = host.obtain(&["--force", "--format", "json"]).exits(1);
    let report = run.json();
    let domains = report["domains"].as_array().expect("domains");
    let live = host.live();
    let mut failed = Vec::new();
    for domain in domains {
        let name = domain["name"].as_str().expect("a name");
        let generation = match domain["outcome"].as_str() {
            Some("proven") => 2,
            _ => {
                assert!(run.stdout.contains("target.test_failed"), "{run}");
                failed.push(name.to_owned());
                1
            }
        };
        assert!(
            live[name].ends_with(generation.to_string()),
            "{name}: {run}"
        );
    }
    (failed, host.engine.commands(&["nginx", "-t"]) - before)
}

/// Changes one path in nginx's configuration
fn pin(host: &Host, from: &str, to: &str) {
    for (path, bytes) in host.place.tree("nginx") {
        let text = String::from_utf8(bytes).expect("text");
        if text.contains(from) {
            let below = path.strip_prefix(host.place.path("")).expect("below it");
            let below = below.to_str().expect("text");
            host.place.write(below, text.replace(from, to));
        }
    }
}

#[test]
fn a_certificate_that_nginx_names_is_taken_out_and_the_others_are_tested_at_once() {
    let (failed, tests) = renew(&[
        ("c.test", Pinned::Certificate),
        ("n.test", Pinned::Certificate),
    ]);
    assert_eq!(failed, ["c.test", "n.test"]);
    // Before the orders, all, none, and the rest twice.
    assert_eq!(tests, 5);
}

#[test]
fn a_certificate_that_nginx_does_not_name_is_found_by_halves() {
    let (failed, tests) = renew(&[("k.test", Pinned::Key)]);
    assert_eq!(failed, ["k.test"]);
    // Two of eight, four, two and one after the first three, where one by one would be sixteen.
    assert_eq!(tests, 3 + 8);
}
