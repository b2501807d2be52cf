//! What certd advises, followed to the letter on a real nginx that is restarted after each step:
//! every step leaves a host whose nginx starts, and takes nothing from another name.

#![expect(
    clippy::disallowed_methods,
    reason = "a test writes what certbot left behind"
)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use libtest_mimic::Trial;

use crate::support::ca::Kind;
use crate::support::conf::{Flavour, Site};
use crate::support::nginx::{Mount, Nginx, NginxOptions};
use crate::support::report::Report;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW, site};
use crate::support::served;
use crate::support::world::{Config, Directories, Output, World};
use crate::support::{ports, process};
use crate::verify::as_nobody;

mod addresses;
mod challenges;
mod files;
mod first;
mod names;
mod variables;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = own_trials();
    trials.extend(addresses::trials());
    trials.extend(challenges::trials());
    trials.extend(files::trials());
    trials.extend(names::trials());
    trials.extend(first::trials());
    trials.extend(variables::trials());
    trials
}

fn own_trials() -> Vec<Trial> {
    crate::trials![
        a_map_gets_a_row_and_other_names_keep_theirs,
        a_block_for_several_domains_keeps_its_certificate,
        an_alias_is_added_to_the_block_that_is_there,
        a_stream_server_in_front_is_followed,
        coming_from_certbot_nginx_can_restart_at_any_step,
        two_domains_are_taken_out_of_one_block,
        a_block_that_is_added_leaves_the_default_alone,
        a_copy_of_a_block_serves_what_the_block_did,
        a_file_that_two_blocks_include_stays_as_it_is,
        a_file_that_two_links_lead_to_stays_as_it_is,
        an_alias_that_a_wildcard_serves_comes_with_its_domain,
        names_of_one_block_get_another_together,
        a_redirect_of_the_default_goes_on,
        lines_and_names_that_are_missing_are_told_together,
        all_names_of_a_domain_get_their_rows_together,
        a_container_of_the_hosts_network_is_named_for_its_own_ports_alone,
        a_file_of_the_container_itself_is_to_be_changed_in_what_makes_it,
        nginx_that_waits_for_its_first_certificates_is_helped_up,
        nginx_that_waits_for_what_is_issued_already_is_helped_up,
        nginx_that_misses_another_sites_file_too_says_so_at_its_step,
    ]
}

/// nginx.conf that serves challenges, with this beside it in `http`, and this before `http`
fn conf(before: &str, http: &str) -> String {
    format!(
        "user root;\npid /run/nginx.pid;\nworker_processes 1;\nerror_log stderr notice;\n{before}\nevents {{}}\nhttp {{\naccess_log off;\nserver_names_hash_bucket_size 128;\nserver {{ listen 80 default_server; location /.well-known/acme-challenge/ {{ root /var/www/certbot; }} }}\n{http}\n}}\n"
    )
}

/// Two lines that name the files of a directory
fn lines(directory: &str) -> String {
    let live = format!("/etc/letsencrypt/live/{directory}");
    format!("ssl_certificate {live}/fullchain.pem;\nssl_certificate_key {live}/privkey.pem;")
}

/// Both domains; DNS of the test says nothing of where they are
fn two_domains(scene: &Scene) {
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[WWW]).lines(&connect);
    let config = config.domain(MESSENGER, &[]).lines(&connect);
    scene.world.write_config(&config);
}

/// Writes nginx.conf, and starts nginx anew, which must come up
#[track_caller]
fn restart_with(scene: &Scene, text: &str) {
    scene.nginx.write_conf(text);
    scene.nginx.restart();
    let (status, said) = scene.nginx.exec(&["nginx", "-t"]);
    assert_eq!(status, 0, "{said}\n{text}");
    scene
        .nginx
        .wait_for_challenges(|reply| reply.contains("404"));
}

/// The one cure of `certd why`
#[track_caller]
fn why(scene: &Scene, name: &str, status: i32) -> (Option<String>, Report) {
    let output = scene.world.certd(&["why", name, "--format", "json"]);
    let report = Report::of(output).expect_status(status);
    let change = report.json()["change"]["cure"].as_str().map(str::to_owned);
    (change, report)
}

/// The server block that a cure shows
#[track_caller]
fn block_in(cure: &str) -> &str {
    let begin = cure.find("server {").expect(cure);
    let end = cure[begin..].find("\n}").expect(cure);
    &cure[begin..begin + end + 2]
}

fn a_map_gets_a_row_and_other_names_keep_theirs() {
    let scene = Scene::new(Kind::Pebble);
    two_domains(&scene);
    let text = |rows: &str| {
        conf(
            "",
            &format!(
                "map $ssl_server_name $lineage {{\n{rows}default {SHOP};\n}}\nserver {{ listen 443 ssl; server_name {SHOP} {WWW} {MESSENGER};\n{} }}",
                lines("$lineage")
            ),
        )
    };
    restart_with(&scene, &text(""));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    let report = scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
    let told = report.finding(MESSENGER, "proof.other_lineage").cure;
    let row = format!("\n    {MESSENGER} {MESSENGER};\n");
    assert!(told.contains(&row), "{told}");
    let (cure, report) = why(&scene, MESSENGER, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    assert!(
        cure.contains(&row) && !cure.contains("ssl_certificate "),
        "{cure}"
    );

    restart_with(&scene, &text(&row));
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    for name in [SHOP, WWW, MESSENGER] {
        assert_eq!(why(&scene, name, 0).0, None);
    }
}

fn a_block_for_several_domains_keeps_its_certificate() {
    let scene = Scene::new(Kind::Pebble);
    two_domains(&scene);
    let text = |names: &str, added: &str| {
        let lines = lines(SHOP);
        conf(
            "",
            &format!("server {{ listen 443 ssl; server_name {names};\n{lines} }}\n{added}"),
        )
    };
    scene.write_sites(&[]);
    scene.nginx.reload();
    scene.obtain(&[SHOP]).expect(1, SHOP, "not_served");
    restart_with(&scene, &text(&format!("{SHOP} {WWW} {MESSENGER}"), ""));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.obtain(&[MESSENGER]).expect(1, MESSENGER, "failed");
    let (cure, report) = why(&scene, MESSENGER, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    assert!(cure.contains(&format!("take {MESSENGER} out of")), "{cure}");

    // The steps one by one; between them nginx starts, too.
    restart_with(&scene, &text(&format!("{SHOP} {WWW}"), ""));
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    restart_with(&scene, &text(&format!("{SHOP} {WWW}"), block_in(&cure)));
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
}

fn a_file_of_the_container_itself_is_to_be_changed_in_what_makes_it() {
    // At each start a script writes the site's file anew, outside of every mount.
    let start = "while read -r line; do echo \"$line\"; done < /etc/nginx/site.template > /run/site.conf; exec nginx -g 'daemon off;'";
    let world = World::new();
    let template = world.conf().join("site.template");
    let text = |lines: &str| {
        format!("server {{\nlisten 443 ssl;\nserver_name {SHOP} {WWW};\n{lines}\n}}\n")
    };
    let own = "ssl_certificate /etc/nginx/own/fullchain.pem;\nssl_certificate_key /etc/nginx/own/privkey.pem;";
    served::write_self_signed(&world.conf().join("own"), &[SHOP, WWW]);
    crate::support::write(&template, text(own));
    let scene = Scene::in_world(Kind::Pebble, world, Flavour::Root, |nginx, _| {
        nginx.conf = conf("", "include /run/site.conf;");
        nginx.command = ["sh", "-c", start].map(str::to_owned).to_vec();
    });
    two_domains(&scene);
    let name = scene.nginx.name();
    let told = format!(
        "/run/site.conf lies on no mount of {name}: a change made in the container is lost"
    );
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let cure = report.finding(SHOP, "proof.unknown_certificate").cure;
    assert!(
        cure.contains("/run/site.conf:1") && cure.contains(&told),
        "{cure}"
    );
    let (cure, report) = why(&scene, SHOP, 1);
    assert!(cure.is_some_and(|cure| cure.contains(&told)), "{report}");

    // Who changes the file in the container is served well, until that starts again.
    let script = format!("echo '{}' > /run/site.conf", text(&lines(SHOP)));
    assert_eq!(scene.nginx.exec(&["sh", "-c", &script]).0, 0);
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.nginx.restart();
    scene
        .nginx
        .wait_for_challenges(|reply| reply.contains("404"));
    assert!(why(&scene, SHOP, 1).0.is_some());
    // Who changes what makes it is served well from then on.
    crate::support::write(&template, text(&lines(SHOP)));
    scene.nginx.restart();
    scene
        .nginx
        .wait_for_challenges(|reply| reply.contains("404"));
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(why(&scene, SHOP, 0).0, None);

    // A file on a mount is named by its path on the host.
    restart_with(&scene, &conf("", &text(own)));
    let (cure, report) = why(&scene, SHOP, 1);
    let host = format!(
        "On the host /etc/nginx is {}. Then run ",
        scene.world.conf().display()
    );
    assert!(cure.is_some_and(|cure| cure.contains(&host)), "{report}");
}

fn an_alias_is_added_to_the_block_that_is_there() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    scene.write_sites(&[site(&[MESSENGER]), site(&[SHOP])]);
    scene.nginx.restart();
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let told = report.finding(SHOP, "proof.not_served_yet").cure;
    let (cure, _) = why(&scene, WWW, 1);
    for cure in [told, cure.unwrap_or_default()] {
        let begin =
            format!("add {WWW} to `server_name` of the server block at /etc/nginx/nginx.conf:");
        assert!(cure.starts_with(&begin), "{cure}");
        assert!(!cure.contains("server {"), "{cure}");
    }
    scene.write_sites(&[site(&[MESSENGER]), site(&[SHOP, WWW])]);
    scene.nginx.restart();
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(why(&scene, WWW, 0).0, None);
}

fn a_stream_server_in_front_is_followed() {
    let modules = "/usr/lib/nginx/modules";
    let module = format!("{modules}/ngx_stream_module.so");
    let is_apart = std::path::Path::new(&module).exists();
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        if is_apart {
            nginx.mounts.push(Mount::read_only(modules, modules));
        }
    });
    let text = |sites: &str| {
        let load = match is_apart {
            true => format!("load_module {module};"),
            false => String::new(),
        };
        let stream = "stream {\nmap $ssl_preread_server_name $to { default tls; }\nupstream tls { server 127.0.0.1:8443; }\nserver { listen 443; ssl_preread on; proxy_pass $to; }\n}";
        conf(&format!("{load}\n{stream}"), sites)
    };
    let shop = format!(
        "server {{ listen 127.0.0.1:8443 ssl; server_name {SHOP} {WWW};\n{} }}",
        lines(SHOP)
    );
    order_both(&scene);
    restart_with(&scene, &text(&shop));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    // All is well, and nothing is proposed.
    let (cure, report) = why(&scene, SHOP, 0);
    assert_eq!(cure, None, "{report}");

    let told = scene.obtain(&[MESSENGER]).expect_status(1);
    let told = told.finding(MESSENGER, "proof.not_served_yet").cure;
    let (cure, report) = why(&scene, MESSENGER, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(block_in(&told), block_in(&cure));
    restart_with(&scene, &text(&format!("{shop}\n{}", block_in(&cure))));
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
}

/// A name that no server block lists, or another program's
const GUEST: &str = "guest.test";

/// A server block with a certificate that another program made for all the names
fn foreign(scene: &Scene, names: &str) -> String {
    let own = scene.world.conf().join("own");
    served::write_self_signed(&own, &[SHOP, WWW, MESSENGER, GUEST]);
    format!(
        "server {{ listen 443 ssl; server_name {names};\nssl_certificate own/fullchain.pem;\nssl_certificate_key own/privkey.pem; }}\n"
    )
}

/// Orders both certificates, which no block names yet
fn order_both(scene: &Scene) {
    two_domains(scene);
    scene.write_sites(&[]);
    scene.nginx.reload();
    for name in [SHOP, MESSENGER] {
        scene.obtain(&[name]).expect(1, name, "not_served");
    }
}

/// The text with the block that a cure shows, at the first place that the cure allows
#[track_caller]
fn with_block(text: &str, cure: &str) -> String {
    let behind = match cure.split_once(" right behind it") {
        Some((before, _)) => before.rsplit_once("server block at /etc/nginx/nginx.conf:"),
        None => cure.split_once("behind /etc/nginx/nginx.conf:"),
    };
    let line: usize = match behind {
        Some((_, rest)) => {
            let digits = rest.split([',', ' ']).next().expect("a line");
            digits.parse().expect("a number")
        }
        // Before all others.
        None => text
            .lines()
            .position(|line| line.starts_with("http {"))
            .expect("http"),
    };
    let mut lines: Vec<&str> = text.lines().collect();
    let begin = line.saturating_sub(usize::from(behind.is_some()));
    let is_end = |line: &&str| line.ends_with('}') || line.ends_with("http {");
    let end = lines[begin..].iter().position(is_end).expect("its end");
    lines.insert(begin + end + 1, block_in(cure));
    lines.join("\n") + "\n"
}

fn two_domains_are_taken_out_of_one_block() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let text = conf("", &foreign(&scene, &format!("{SHOP} {WWW} {MESSENGER}")));
    restart_with(&scene, &text);
    let guest = scene.served(GUEST);
    let report = scene.obtain(&["--all"]).expect_status(1);
    let cure = |name: &str| report.finding(name, "proof.unknown_certificate").cure;
    let (shop, messenger) = (cure(SHOP), cure(MESSENGER));
    assert!(
        shop.contains(&format!("take {SHOP} and {WWW} out of its `server_name`")),
        "{shop}"
    );
    assert!(messenger.contains(&format!("take {MESSENGER} out of its `server_name`")));
    assert!(shop.contains("`_`") && messenger.contains("`_`"), "{shop}");
    // Both at once: no name is left.
    let listed = format!("server_name {SHOP} {WWW} {MESSENGER};");
    let text = with_block(&with_block(&text, &shop), &messenger);
    restart_with(&scene, &text.replace(&listed, "server_name _;"));
    scene.obtain(&["--all"]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(scene.served(GUEST), guest);
}

fn a_block_that_is_added_leaves_the_default_alone() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let text = conf("", &foreign(&scene, "listed.test"));
    restart_with(&scene, &text);
    let guest = scene.served(GUEST);
    let (cure, report) = why(&scene, SHOP, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    restart_with(&scene, &with_block(&text, &cure));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.served(GUEST), guest);

    // Names that come to the default without being listed keep their certificate, too.
    let text = conf("", &foreign(&scene, MESSENGER));
    restart_with(&scene, &text);
    let guest = scene.served(GUEST);
    let (cure, report) = why(&scene, MESSENGER, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    assert!(
        cure.contains(&format!("write `_` for {MESSENGER} in its `server_name`")),
        "{cure}"
    );
    let text = text.replace(&format!("server_name {MESSENGER};"), "server_name _;");
    restart_with(&scene, &with_block(&text, &cure));
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    assert_eq!(scene.served(GUEST), guest);
}

/// What a name is answered at port 80: status and `Location`
fn plain(scene: &Scene, name: &str) -> String {
    process::wait_for("an answer at port 80", || {
        let address = (Ipv4Addr::LOCALHOST, scene.nginx.http_port());
        let mut stream = TcpStream::connect(address).ok()?;
        let request = format!("GET / HTTP/1.0\r\nHost: {name}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let is_told = |line: &&str| line.starts_with("HTTP/") || line.starts_with("Location");
        let told: Vec<&str> = reply.lines().filter(is_told).collect();
        (!told.is_empty()).then(|| told.join("\n"))
    })
}

fn a_copy_of_a_block_serves_what_the_block_did() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    // Beside a default that answers nobody, the block itself serves challenges.
    let location = "location /.well-known/acme-challenge/ { root /var/www/certbot; }";
    let closed = conf("", "").replace(location, "return 444;");
    let site = format!("{location}\nlocation / {{ return 301 https://$host/moved; }}");
    let block = |names: &str| {
        let block = foreign(&scene, names).replace("ssl;", "ssl default_server; listen 80;");
        block.replace(" }\n", &format!("\n{site} }}\n"))
    };
    let restart = |blocks: &str| {
        let text = closed.replace("\n\n}\n", &format!("\n{blocks}\n}}\n"));
        scene.nginx.write_conf(&text);
        scene.nginx.restart();
        let (status, said) = scene.nginx.exec(&["nginx", "-t"]);
        assert_eq!(status, 0, "{said}\n{text}");
        plain(&scene, MESSENGER)
    };
    let before = restart(&block(&format!("{GUEST} {MESSENGER}")));
    assert!(before.contains(&format!("https://{MESSENGER}/moved")));
    let (cure, report) = why(&scene, MESSENGER, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    assert!(cure.contains("with all its lines"), "{cure}");
    let shown = block_in(&cure);
    let (head, _) = shown.split_once("    # all other lines of").expect(shown);
    let after = restart(&format!("{}{head}{site} }}\n", block(GUEST)));
    assert_eq!(after, before);
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    // The next order is answered at port 80, too.
    let report = scene.obtain(&["--force", MESSENGER]);
    report.expect(0, MESSENGER, "proven");
}

fn a_file_that_two_blocks_include_stays_as_it_is() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let own = scene.world.conf().join("own");
    served::write_self_signed(&own, &[MESSENGER, GUEST]);
    let certificate = "ssl_certificate own/fullchain.pem;\nssl_certificate_key own/privkey.pem;\n";
    let protocols = "ssl_protocols TLSv1.3;\n";
    std::fs::write(own.join("tls.conf"), format!("{certificate}{protocols}"))
        .expect("it can be written");
    let text = |messenger: &str| {
        conf(
            "",
            &format!(
                "server {{ listen 443 ssl; server_name {GUEST}; include own/tls.conf; }}\nserver {{ listen 443 ssl; server_name {MESSENGER};\n{messenger} }}"
            ),
        )
    };
    restart_with(&scene, &text("include own/tls.conf;"));
    let guest = scene.served(GUEST);
    let (cure, report) = why(&scene, MESSENGER, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    let begin = "/etc/nginx/own/tls.conf is included by /etc/nginx/nginx.conf:";
    assert!(cure.starts_with(begin), "{cure}");
    // The other lines of that file, and those shown.
    let shown = cure.lines().filter(|line| line.starts_with("    ssl_"));
    let shown: Vec<&str> = shown.collect();
    restart_with(&scene, &text(&format!("{protocols}{}", shown.join("\n"))));
    scene.obtain(&[MESSENGER]).expect(0, MESSENGER, "proven");
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    assert_eq!(scene.served(GUEST), guest);
}

fn a_file_that_two_links_lead_to_stays_as_it_is() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let own = scene.world.conf().join("own");
    served::write_self_signed(&own, &[MESSENGER, GUEST]);
    let certificate = "ssl_certificate own/fullchain.pem;\nssl_certificate_key own/privkey.pem;\n";
    let protocols = "ssl_protocols TLSv1.3;\n";
    crate::support::write(own.join("tls.inc"), format!("{certificate}{protocols}"));
    for link in ["guest.inc", "messenger.inc"] {
        std::os::unix::fs::symlink("tls.inc", own.join(link)).expect("a link can be made");
    }
    let text = |messenger: &str| {
        conf(
            "",
            &format!(
                "server {{ listen 443 ssl; server_name {GUEST}; include own/guest.inc; }}\nserver {{ listen 443 ssl; server_name {MESSENGER};\n{messenger} }}"
            ),
        )
    };
    restart_with(&scene, &text("include own/messenger.inc;"));
    let guest = scene.served(GUEST);
    let report = scene.obtain(&[MESSENGER]).expect_status(1);
    let told = report.finding(MESSENGER, "proof.unknown_certificate").cure;
    let (cure, report) = why(&scene, MESSENGER, 1);
    for cure in [told, cure.unwrap_or_else(|| panic!("{report}"))] {
        let begin = "/etc/nginx/own/messenger.inc may be a link to the same file as /etc/nginx/own/guest.inc";
        assert!(cure.starts_with(begin), "{cure}");
        let shown = cure.lines().filter(|line| line.starts_with("    ssl_"));
        let shown: Vec<&str> = shown.collect();
        restart_with(&scene, &text(&format!("{protocols}{}", shown.join("\n"))));
        scene.obtain(&[MESSENGER]).expect_status(0);
        scene.assert_serves(MESSENGER, &[MESSENGER]);
        assert_eq!(scene.served(GUEST), guest);
    }
}

/// What `obtain` says of the domain, and `why` of each of its names that is served with another
/// certificate than its own
fn told(scene: &Scene) -> Vec<String> {
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let domain = report.json()["domains"][0].clone();
    let findings = domain["findings"].as_array().expect("findings").iter();
    let cures = findings.filter_map(|finding| finding["cure"].as_str());
    let mut cures: Vec<String> = cures.map(str::to_owned).collect();
    assert_eq!(cures.len(), 1, "{report}");
    let live = scene.live(SHOP);
    for name in [SHOP, WWW] {
        if scene.served(name) != live {
            let (cure, report) = why(scene, name, 1);
            cures.push(cure.unwrap_or_else(|| panic!("{report}")));
        }
    }
    cures
}

/// Checks that all is well after one change, with nothing taken from another name
#[track_caller]
fn assert_one_step(scene: &Scene, others: &[(&str, served::Leaf)]) {
    // "proven" the first time, then "unchanged".
    scene.obtain(&[SHOP]).expect_status(0);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    for (name, leaf) in others {
        assert_eq!(scene.served(name), *leaf, "{name}");
    }
}

/// What is served for these names
fn shown(scene: &Scene, names: &[&'static str]) -> Vec<(&'static str, served::Leaf)> {
    let names = names.iter().copied();
    names.map(|name| (name, scene.served(name))).collect()
}

fn an_alias_that_a_wildcard_serves_comes_with_its_domain() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let tenants = foreign(&scene, &format!("*.{SHOP}"));
    let default = foreign(&scene, GUEST);
    let text = conf("", &format!("{default}{tenants}"));
    restart_with(&scene, &text);
    let others = shown(&scene, &[MESSENGER, GUEST, "unknown.test"]);
    for cure in told(&scene) {
        assert!(
            block_in(&cure).contains(&format!("server_name {SHOP} {WWW};")),
            "{cure}"
        );
        restart_with(&scene, &with_block(&text, &cure));
        assert_one_step(&scene, &others);
        restart_with(&scene, &text);
    }
}

fn names_of_one_block_get_another_together() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    for (listed, left) in [
        (format!("{SHOP} *.{SHOP}"), format!("*.{SHOP}")),
        (format!(".{SHOP}"), format!("*.{SHOP}")),
        (format!("{GUEST} {WWW}"), GUEST.to_owned()),
    ] {
        let default = foreign(&scene, "default.test");
        let text = |names: &str| {
            let block = default.replace("default.test", names);
            conf("", &format!("{default}{block}"))
        };
        restart_with(&scene, &text(&listed));
        let others = shown(&scene, &[MESSENGER, GUEST, "unknown.test"]);
        for cure in told(&scene) {
            assert!(
                block_in(&cure).contains(&format!("server_name {SHOP} {WWW};")),
                "{cure}"
            );
            restart_with(&scene, &with_block(&text(&left), &cure));
            assert_one_step(&scene, &others);
            restart_with(&scene, &text(&listed));
        }
    }
}

fn a_redirect_of_the_default_goes_on() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let redirect = format!("return 301 https://{SHOP}$request_uri;");
    let default = foreign(&scene, "_").replace("server_name _;", &redirect);
    let shop = format!(
        "server {{ listen 443 ssl; server_name {SHOP}; return 200 shop;\n{} }}",
        lines(SHOP)
    );
    let text = conf("", &format!("{default}{shop}"));
    restart_with(&scene, &text);
    let others = shown(&scene, &[MESSENGER, GUEST]);
    for cure in told(&scene) {
        let block = block_in(&cure);
        assert!(block.contains(&format!("server_name {WWW};")), "{cure}");
        assert!(block.contains(&redirect), "{cure}");
        restart_with(&scene, &with_block(&text, &cure));
        assert_one_step(&scene, &others);
        restart_with(&scene, &text);
    }
}

fn lines_and_names_that_are_missing_are_told_together() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let default = foreign(&scene, GUEST);
    let text = conf("", &format!("{default}{}", foreign(&scene, SHOP)));
    restart_with(&scene, &text);
    let others = shown(&scene, &[MESSENGER, GUEST]);
    for cure in told(&scene) {
        let is_told = |words: &str| assert!(cure.contains(words), "{words}: {cure}");
        is_told(&format!(
            "ssl_certificate     /etc/letsencrypt/live/{SHOP}/fullchain.pem;"
        ));
        is_told(&format!("add {WWW} to"));
        let shop = format!(
            "server {{ listen 443 ssl; server_name {SHOP} {WWW};\n{} }}",
            lines(SHOP)
        );
        restart_with(&scene, &conf("", &format!("{default}{shop}")));
        assert_one_step(&scene, &others);
        restart_with(&scene, &text);
    }
}

fn all_names_of_a_domain_get_their_rows_together() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let text = |rows: &str| {
        conf(
            "",
            &format!(
                "map $ssl_server_name $lineage {{\n{rows}default {MESSENGER};\n}}\nserver {{ listen 443 ssl; server_name {SHOP} {WWW} {MESSENGER};\n{} }}",
                lines("$lineage")
            ),
        )
    };
    restart_with(&scene, &text(""));
    let others = shown(&scene, &[MESSENGER, GUEST]);
    for cure in told(&scene) {
        let rows = cure.lines().filter(|line| line.starts_with("    "));
        let rows: String = rows.map(|row| format!("{row}\n")).collect();
        assert_eq!(rows, format!("    {SHOP} {SHOP};\n    {WWW} {SHOP};\n"));
        restart_with(&scene, &text(&rows));
        assert_one_step(&scene, &others);
        restart_with(&scene, &text(""));
    }
}

fn coming_from_certbot_nginx_can_restart_at_any_step() {
    let world = World::new();
    // What certbot left behind, as far as certd and nginx see it.
    let certbot = world.path().join("certbot");
    let lineage = certbot.join("live").join(SHOP);
    std::fs::create_dir_all(&lineage).expect("directory can be made");
    std::fs::create_dir_all(certbot.join("renewal")).expect("directory can be made");
    let renewal = certbot.join("renewal").join(format!("{SHOP}.conf"));
    std::fs::write(renewal, "version = 2.1.0\n").expect("it can be written");
    served::write_self_signed(&lineage, &[SHOP]);
    let offered = "/etc/certd/certificates";
    let text = |directory: &str| {
        let sites = [Site {
            names: &[SHOP, WWW],
            lineage: Some(SHOP),
            directory,
        }];
        crate::support::conf::site(Flavour::Root, &sites)
    };
    let storage = world.storage();
    let scene = Scene::in_world(
        Kind::Pebble,
        world,
        Flavour::Root,
        |nginx: &mut NginxOptions, _| {
            nginx.conf = text("/etc/letsencrypt/live");
            // Step 2 beside what was there: Docker cannot add a mount to a container that runs.
            nginx.mounts[0] = Mount::read_only(&certbot, "/etc/letsencrypt");
            nginx.mounts.push(Mount::read_only(&storage, offered));
        },
    );
    let config = |storage: std::path::PathBuf| {
        let directories = Directories {
            storage,
            ..Directories::of(&scene.world)
        };
        let config = Config::in_directories(&directories, &scene.dns, &scene.ca);
        let config = config.http_port(&scene.nginx).agreed().nginx(&scene.nginx);
        let connect = format!("connect = {:?}", scene.nginx.https_address());
        config.domain(SHOP, &[WWW]).lines(&connect)
    };
    scene.world.write_config(&config(certbot.clone()));
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let told = report.finding(SHOP, "store.foreign_lineage").cure;
    let (_, why) = why(&scene, SHOP, 1);
    assert!(why.json().to_string().contains("In this order"), "{why}");
    let at = |words: &str| {
        told.find(words)
            .unwrap_or_else(|| panic!("{words}: {told}"))
    };
    let order = [
        at("storage = "),
        at("mount it"),
        at("3. order"),
        at("4. write that"),
    ];
    assert!(order.is_sorted(), "{told}");
    scene.nginx.restart();

    scene.world.write_config(&config(scene.world.storage()));
    scene.nginx.restart();
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let cure = report.finding(SHOP, "proof.unknown_certificate").cure;
    assert!(
        cure.contains(&format!("{offered}/live/{SHOP}/fullchain.pem")),
        "{cure}"
    );
    scene.nginx.restart();
    scene.nginx.write_conf(&text(&format!("{offered}/live")));
    scene.nginx.restart();
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene.nginx.restart();
    scene.assert_serves(SHOP, &[SHOP, WWW]);
}

fn a_container_of_the_hosts_network_is_named_for_its_own_ports_alone() {
    let world = World::new();
    let port = ports::free();
    served::write_self_signed(&world.conf().join("own"), &["localhost"]);
    let text = format!(
        "pid /tmp/nginx.pid;\nevents {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{port} ssl; server_name localhost; ssl_certificate own/fullchain.pem; ssl_certificate_key own/privkey.pem; }} }}\n"
    );
    let nginx = Nginx::start_in_network_of_host(&world, "certd.test.of_host", &text);
    process::wait_for("nginx", || {
        served::served(&format!("127.0.0.1:{port}"), "localhost").ok()
    });
    let listener = |port: u16| {
        let target = format!("localhost:{port}");
        let output = world.certd(&["why", &target, "--format", "json"]);
        let report = Report::of(output).expect_status(1);
        let steps = report.json()["steps"].as_array().cloned();
        let mut steps = steps.into_iter().flatten();
        let found = steps.find(|step| step["link"] == "listener");
        found
            .map(|step| step["seen"].to_string())
            .unwrap_or_default()
    };
    let seen = listener(port);
    assert!(
        seen.contains(&format!("{}, in the network of this host", nginx.name())),
        "{seen}"
    );
    // Another process has another port.
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seen = listener(other.local_addr().expect("an address").port());
    let own = format!("(process {}) listens at port", std::process::id());
    assert!(seen.contains(&own), "{seen}");
    assert!(!seen.contains(nginx.name()), "{seen}");
    // Whose socket that is, the kernel tells its owner and root alone.
    let docker = std::fs::metadata(DOCKER).expect("the engine's socket");
    let target = format!(
        "localhost:{}",
        other.local_addr().expect("an address").port()
    );
    let output = as_nobody(&world, docker.gid(), &["why", &target, "--format", "json"]);
    let report = Report::of(output).expect_status(1);
    let seen = report.json().to_string();
    assert!(seen.contains("why.hidden_listener"), "{seen}");
}

/// nginx that the engine starts again and again, because files of the live directory are missing
#[track_caller]
fn crash_loop(scene: &Scene) {
    scene.write_sites(&[site(&[SHOP, WWW]), site(&[MESSENGER])]);
    restarting(scene);
}

/// Waits until the engine has started nginx a few times, which cannot start
#[track_caller]
fn restarting(scene: &Scene) {
    process::stdout_of(Command::new("docker").args(["restart", scene.nginx.name()]));
    // By then the engine waits for seconds between two starts.
    process::wait_for("a few starts", || {
        let seen = scene.nginx.inspect("{{.State.Status}} {{.RestartCount}}");
        let (state, count) = seen.trim().split_once(' ')?;
        (state == "restarting" && count.parse::<u32>().ok()? >= 5).then_some(())
    });
}

/// Follows each numbered step of a cure, as a person does who copies its lines into a shell
#[track_caller]
fn follow(scene: &Scene, cure: &str) {
    for script in scripts_in(cure) {
        run_script(scene, &script);
    }
}

/// The lines to copy of each numbered step of a cure
fn scripts_in(cure: &str) -> Vec<String> {
    let is_step = |line: &str| line.starts_with(|c: char| c.is_ascii_digit());
    let steps = cure.lines().skip_while(|line| !is_step(line));
    let steps: Vec<&str> = steps.collect();
    let steps = steps.chunk_by(|_, next| !is_step(next));
    let scripts = steps.map(|step| {
        let lines = step[1..].iter();
        let lines = lines.map(|line| line.strip_prefix("    ").expect("a line to copy"));
        lines.collect::<Vec<_>>().join("\n")
    });
    scripts.collect()
}

/// Runs a script that a cure shows; gives what it prints
#[track_caller]
fn run_script(scene: &Scene, script: &str) -> String {
    start_script(scene, script).expect_status(0).stdout
}

/// Runs a script that a cure shows
fn start_script(scene: &Scene, script: &str) -> Output {
    let script = format!("certd() {{ \"$0\" \"$@\"; }}\n{script}");
    let wrapper = ["sh", "-ec", script.as_str()];
    scene.world.start_under(&wrapper, &[]).wait()
}

/// The first failure that each command tells of a domain, with its cure
#[track_caller]
fn first_certificate(scene: &Scene) -> String {
    let code = "target.first_certificate";
    let report = scene.obtain(&[SHOP, MESSENGER]).expect(1, SHOP, "failed");
    assert_eq!(report.failures(SHOP), [code], "{report}");
    let told = report.finding(SHOP, code);
    let missing = format!("/etc/letsencrypt/live/{SHOP}/fullchain.pem");
    assert!(told.evidence.contains(&missing), "{told:?}");
    let check = scene.check(&[SHOP, MESSENGER]).to_string();
    let why = scene.world.certd(&["why", SHOP]).expect_status(1).stdout;
    for shown in [&check, &why] {
        assert!(shown.contains(code), "{shown}");
        assert!(shown.contains("certd obtain"), "{shown}");
    }
    told.cure
}

fn in_a_crash_loop() -> Scene {
    Scene::with(Kind::Pebble, |nginx, _| {
        nginx.run = ["--restart", "always"].map(str::to_owned).to_vec();
    })
}

fn nginx_that_waits_for_its_first_certificates_is_helped_up() {
    let scene = in_a_crash_loop();
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    crash_loop(&scene);
    let cure = first_certificate(&scene);
    assert_eq!(scene.ca.orders(), 0);
    follow(&scene, &cure);
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
    scene.assert_clean();
    scene.nginx.restart();
    scene
        .obtain(&[SHOP, MESSENGER])
        .expect(0, SHOP, "unchanged");
}

fn nginx_that_waits_for_what_is_issued_already_is_helped_up() {
    let scene = in_a_crash_loop();
    scene.write_domains(&[(SHOP, &[WWW]), (MESSENGER, &[])]);
    let issued = scene.obtain(&[SHOP, MESSENGER, "--no-deploy"]);
    issued.expect(0, SHOP, "live");
    for name in [SHOP, MESSENGER] {
        std::fs::remove_file(scene.world.storage().join("live").join(name)).expect("a link");
    }
    crash_loop(&scene);
    let cure = first_certificate(&scene);
    follow(&scene, &cure);
    assert_eq!(scene.ca.orders(), 2);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    scene.assert_serves(MESSENGER, &[MESSENGER]);
}

fn nginx_that_misses_another_sites_file_too_says_so_at_its_step() {
    let scene = in_a_crash_loop();
    // The messenger is no domain of certd's.
    scene.write_domains(&[(SHOP, &[WWW])]);
    crash_loop(&scene);
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let cure = report.finding(SHOP, "target.first_certificate").cure;
    let [placeholder, start, obtain] = scripts_in(&cure).try_into().expect("three steps");
    run_script(&scene, &placeholder);
    let missing = format!("/etc/letsencrypt/live/{MESSENGER}/fullchain.pem");
    let said = run_script(&scene, &start);
    assert!(said.contains(&missing), "{said}");
    assert!(
        cure.contains("put it there, or take the block out"),
        "{cure}"
    );
    // Whoever goes on is told what nginx waits for, and nothing is taken for another program's.
    let report = scene.obtain(&[SHOP]).expect(1, SHOP, "failed");
    let mut failures = report.failures(SHOP).into_iter();
    assert!(!failures.any(|code| code.starts_with("store.")), "{report}");
    let (_, report) = why(&scene, SHOP, 1);
    let told = report.json().to_string();
    assert!(told.contains(&missing), "{report}");
    assert!(told.contains("no domain here lacks it"), "{report}");
    let status = scene.world.certd(&["status"]).stdout;
    assert!(status.contains("placeholder"), "{status}");

    let lineage = scene.world.storage().join("live").join(MESSENGER);
    served::write_self_signed(&lineage, &[MESSENGER]);
    let said = run_script(&scene, &start);
    assert!(!said.contains("[emerg]"), "{said}");
    let messenger = scene.served(MESSENGER);
    run_script(&scene, &obtain);
    scene.assert_serves(SHOP, &[SHOP, WWW]);
    assert_eq!(scene.served(MESSENGER), messenger);
}

/// Where the engine listens
const DOCKER: &str = "/run/docker.sock";
