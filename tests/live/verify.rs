//! `certd verify` and `certd status`.

use std::process::Command;

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::ca::Kind;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site};
use crate::support::world::{Output, World};
use crate::support::write;
use crate::support::{ports, process};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        verify_needs_no_root_no_docker_and_no_state,
        verify_judges_a_host_without_a_configuration,
        verify_tells_an_old_generation_from_the_live_one,
        verify_names_what_does_not_answer,
        verify_tells_no_route_from_a_host_that_is_gone,
        nginx_reads_of_a_file_what_verify_judges,
        verify_tells_a_group_that_browsers_lack_from_a_suite,
        status_fits_eighty_columns_and_tells_what_there_is,
    ]
}

/// A scene with both sites served, and `connect` set for each
fn served() -> Scene {
    let scene = Scene::new(Kind::Pebble);
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[WWW]).lines(&connect);
    let config = config.domain(MESSENGER, &[]).lines(&connect);
    scene.world.write_config(&config);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    scene
}

/// The group of `nobody`
const NOGROUP: u32 = 65534;

/// Runs certd as `nobody`, with this group, in `world`, which it lets everyone enter
pub(crate) fn as_nobody(world: &World, group: u32, arguments: &[&str]) -> Output {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(world.path(), open).expect("as the owner");
    // The build directory may be closed to others. Another process copies: a file that this one
    // has open for writing when another test forks cannot be run.
    let certd = world.path().join("certd");
    let mut cp = Command::new("cp");
    process::stdout_of(cp.arg(env!("CARGO_BIN_EXE_certd")).arg(&certd));
    let wrapper = [
        "setpriv",
        "--reuid=65534",
        &format!("--regid={group}"),
        "--clear-groups",
        "sh",
        "-c",
        "shift; exec ./certd \"$@\"",
        "sh",
    ];
    world.start_under(&wrapper, arguments).wait()
}

fn verify_needs_no_root_no_docker_and_no_state() {
    let scene = served();
    std::fs::remove_dir_all(scene.world.state()).expect("state can be removed");
    // The directory of the CA is closed to others.
    let root = scene.world.path().join("root.pem");
    write(root, std::fs::read(scene.ca.root_path()).expect("a root"));
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    scene.world.write_text(&format!(
        "storage = \"storage\"\nstate = \"state\"\n[verify]\ntrust = [\"root.pem\"]\n\
         [nginx]\ncontainer = \"none\"\ndocker = \"unix:///nonexistent.sock\"\n\
         [[domain]]\nname = {SHOP:?}\naliases = [{WWW:?}]\n{connect}\n\
         [[domain]]\nname = {MESSENGER:?}\n{connect}\n"
    ));
    let output = as_nobody(&scene.world, NOGROUP, &["verify"]).expect_status(0);
    for name in [SHOP, WWW, MESSENGER] {
        assert!(output.stdout.contains(name), "{}", output.stdout);
    }
    assert!(output.stdout.contains("3 good"), "{}", output.stdout);
    assert!(!scene.world.state().exists());

    // It is held against what is installed all the same, as chains may be read.
    let output = as_nobody(&scene.world, NOGROUP, &["verify", "--format", "json"]).expect_status(0);
    assert!(
        output.stdout.contains("served.installed"),
        "{}",
        output.stdout
    );
}

fn verify_judges_a_host_without_a_configuration() {
    let scene = served();
    let elsewhere = World::new();
    let host = scene.nginx.https_address();
    let output = elsewhere.certd(&["verify", &host, "--format", "json"]);
    let report = crate::support::report::Report::of(output).expect_status(1);
    let failures = report.endpoint_failures("127.0.0.1");
    // No server name is sent for an address, and no test CA is trusted there.
    assert!(failures.contains(&"served.wrong_name"), "{report}");
    assert!(
        failures.contains(&"served.incomplete_chain")
            || failures.contains(&"served.unknown_issuer"),
        "{report}"
    );
}

fn verify_tells_an_old_generation_from_the_live_one() {
    let scene = served();
    let report = scene.verify(&[]).expect_status(0);
    assert_eq!(report.endpoint_failures(SHOP), [""; 0], "{report}");

    scene
        .obtain(&[SHOP, "--force", "--no-deploy"])
        .expect(0, SHOP, "live");
    let report = scene.verify(&[SHOP]).expect_status(1);
    for name in [SHOP, WWW] {
        let failures = report.endpoint_failures(name);
        assert_eq!(failures, ["served.other_generation"], "{report}");
    }
    let finding = report.endpoint_finding(SHOP, "served.other_generation");
    let words = "generation 1 is served, generation 2 is live";
    assert!(finding.evidence.contains(words), "{finding:?}");
    // By itself the alias and the other domain are judged alone.
    let report = scene.verify(&[WWW]).expect_status(1);
    let endpoints = report.json()["endpoints"].as_array().map(Vec::len);
    assert_eq!(endpoints, Some(1), "{report}");
    scene.verify(&[MESSENGER]).expect_status(0);
}

fn verify_names_what_does_not_answer() {
    let scene = served();
    scene.nginx.stop();
    let report = scene.verify(&[SHOP]).expect_status(1);
    for name in [SHOP, WWW] {
        let failures = report.endpoint_failures(name);
        assert_eq!(failures, ["connect.refused"], "{report}");
    }
}

fn status_fits_eighty_columns_and_tells_what_there_is() {
    let scene = Scene::new(Kind::Pebble);
    let long = "a-rather-long-label-for-one-shop.and-another-one.rare-books.test";
    let issued = "issued.test";
    scene.write_domains(&[
        (SHOP, &[WWW]),
        (long, &[MESSENGER]),
        (issued, &[]),
        ("none.test", &[]),
    ]);
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[long, MESSENGER])]);
    scene.obtain(&[SHOP, long]).expect(0, long, "proven");
    scene
        .obtain(&[issued, "--no-deploy"])
        .expect(0, issued, "live");

    let text = scene.world.certd(&["status"]).expect_status(0).stdout;
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}\n{text}");
    }
    for words in [
        SHOP,
        WWW,
        MESSENGER,
        issued,
        "none.test",
        "proven",
        "live",
        "test-ca",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    // A name that was cut in two could not be looked for.
    assert!(text.contains(long), "{text}");

    let json = scene.world.certd(&["status", "--format", "json"]);
    let json: Value = serde_json::from_str(&json.expect_status(0).stdout).expect("JSON");
    let states: Vec<_> = json["lineages"]
        .as_array()
        .expect("lineages")
        .iter()
        .map(|lineage| {
            let text = |key: &str| lineage[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("state"), lineage["generation"].as_u64())
        })
        .collect();
    let expected = [
        (SHOP, "proven", Some(1)),
        (long, "proven", Some(1)),
        (issued, "live", Some(1)),
        ("none.test", "none", None),
    ]
    .map(|(name, state, generation)| (name.to_owned(), state.to_owned(), generation));
    assert_eq!(states, expected);
    let lineage = &json["lineages"][0];
    assert_eq!(
        lineage["fingerprint"].as_str().map(str::to_lowercase),
        Some(scene.live(SHOP).fingerprint)
    );
    let days = lineage["remaining_secs"].as_i64().expect("seconds") / 86_400;
    assert!((88..=90).contains(&days), "{days}");
}

fn verify_tells_no_route_from_a_host_that_is_gone() {
    // A network of its own: to some addresses there is no way, each for a reason of its own, and one
    // lies where packets get lost.
    let script = "ip link set lo up && ip route add unreachable 192.0.2.7/32 && \
                  ip route add prohibit 192.0.2.9/32 && ip route add blackhole 192.0.2.10/32 && \
                  ip link add void type veth peer name end && ip address add 198.51.100.1/24 dev void && \
                  ip link set void up && ip link set end up && exec \"$@\" \
                  verify 192.0.2.7 192.0.2.8 192.0.2.9 192.0.2.10 198.51.100.7 --timeout 1s --format json";
    let mut command = Command::new("unshare");
    command.args(["--net", "bash", "-c", script, "bash"]);
    command.arg(env!("CARGO_BIN_EXE_certd"));
    let output = process::run(command.current_dir(std::env::temp_dir()));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let code = |number: usize| report["endpoints"][number]["findings"][0]["code"].clone();
    assert_eq!(
        [code(0), code(1), code(2), code(3)],
        ["connect.no_route"; 4]
    );
    assert_eq!(code(4), "connect.timeout");
}

fn verify_tells_a_group_that_browsers_lack_from_a_suite() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |file: &str| directory.path().join(file);
    let servers = [
        ("", "ssl_ecdh_curve secp521r1;", "handshake.other_group"),
        (
            "",
            "ssl_ecdh_curve X448; ssl_protocols TLSv1.3;",
            "handshake.other_group",
        ),
        // It has suites without such an exchange too, which no browser needs.
        (
            "rsa",
            "ssl_ecdh_curve secp521r1; ssl_protocols TLSv1.2;",
            "handshake.other_group",
        ),
        (
            "",
            "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-SHA;",
            "handshake.other_cipher",
        ),
        (
            "rsa",
            "ssl_protocols TLSv1.2; ssl_ciphers DHE-RSA-AES128-GCM-SHA256;",
            "handshake.failed",
        ),
    ];
    for kind in ["", "rsa"] {
        let key = match kind {
            "rsa" => {
                rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
            }
            _ => rcgen::KeyPair::generate(),
        };
        let key = key.expect("a key");
        let params = rcgen::CertificateParams::new([SHOP.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        write(at(&format!("{kind}chain.pem")), certificate.pem());
        write(at(&format!("{kind}key.pem")), key.serialize_pem());
    }
    let ports = servers.map(|_| ports::free());
    let blocks = servers.iter().zip(ports).map(|((kind, lines, _), port)| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; {lines} ssl_certificate {kind}chain.pem; \
             ssl_certificate_key {kind}key.pem; }}\n"
        )
    });
    let blocks: String = blocks.collect();
    let conf = format!(
        "daemon off; events {{}} pid pid; error_log stderr; http {{ access_log off;\n{blocks}}}"
    );
    write(at("nginx.conf"), conf);
    let mut nginx = Command::new("nginx");
    nginx
        .arg("-p")
        .arg(directory.path())
        .args(["-c", "nginx.conf"]);
    let mut nginx = process::Process::start(&mut nginx, &at("nginx.log"));
    for ((_, lines, expected), port) in servers.iter().zip(ports) {
        nginx.wait_listening(port);
        let mut certd = Command::new(env!("CARGO_BIN_EXE_certd"));
        let connect = format!("127.0.0.1:{port}");
        certd.args(["verify", SHOP, "--connect", &connect, "--format", "json"]);
        let output = process::run(certd.current_dir(directory.path()));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = &report["endpoints"][0]["findings"];
        assert_eq!(findings[0]["code"], *expected, "{lines} {report:#}");
    }
}

fn nginx_reads_of_a_file_what_verify_judges() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |file: &str| directory.path().join(file);
    let made = |name: &str| {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    let ((first, key), (second, _)) = (made(SHOP), made(MESSENGER));
    write(at("key.pem"), &key);
    write(at("root.pem"), &first);
    let conf = format!(
        "events {{}} pid {0}/pid; error_log stderr; http {{ access_log off; server {{ listen 127.0.0.1:{1} ssl; \
         ssl_certificate {0}/chain.pem; ssl_certificate_key {0}/key.pem; }} }}",
        directory.path().display(),
        ports::free()
    );
    write(at("nginx.conf"), conf);
    let both = format!("{first}{second}");
    let renamed = |text: &str, label: &str| text.replace("CERTIFICATE", label);
    let forms = [
        (true, both.clone()),
        (true, format!("\u{feff}{both}")),
        (true, both.replace('\n', "\r\n")),
        (true, format!("{key}{both}")),
        (true, renamed(&both, "X509 CERTIFICATE")),
        (true, format!("text\n\n{first}\n\n{second}")),
        (
            true,
            format!("{}{second}", renamed(&first, "TRUSTED CERTIFICATE")),
        ),
        (false, both.replace('\n', "\r")),
        (false, both.replace('\n', "\n\n")),
        (false, format!("{}{second}", first.trim_end())),
        (false, format!("  {both}")),
        (false, both.replace("-----BEGIN", "----- BEGIN")),
        (false, format!("{}{second}", renamed(&first, "PKCS7"))),
        (false, both[..both.len() - 40].to_owned()),
    ];
    for (is_read, text) in forms {
        write(at("chain.pem"), &text);
        let mut nginx = Command::new("nginx");
        nginx
            .args(["-t", "-p"])
            .arg(directory.path())
            .arg("-c")
            .arg(at("nginx.conf"));
        let nginx = process::run(&mut nginx);
        assert_eq!(nginx.status.success(), is_read, "{text}{nginx:?}");
        let mut certd = Command::new(env!("CARGO_BIN_EXE_certd"));
        certd.args(["verify", "--trust", "root.pem", "--chain", "chain.pem"]);
        certd.args(["--key", "key.pem", "--name", SHOP, "--format", "json"]);
        let certd = process::run(certd.current_dir(directory.path()));
        let is_judged = certd.status.code() != Some(2);
        assert_eq!(is_judged, is_read, "{text}{certd:?}");
        let report = String::from_utf8_lossy(&certd.stdout);
        assert!(!is_read || report.contains("key belongs"), "{report}");
    }
}
