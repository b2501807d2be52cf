//! Advice that changes which names a block lists, on a real nginx: what depends on them stays.

use libtest_mimic::Trial;

use super::{
    GUEST, block_in, conf, foreign, order_both, plain, restart_with, shown, why, with_block,
};
use crate::support::ca::Kind;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        a_name_that_is_too_long_gets_room_first,
        a_neighbour_that_is_too_long_gets_room_before_a_second_block,
        what_uses_the_first_name_of_a_block_keeps_it,
        a_name_in_unicode_is_written_as_browsers_send_it,
        the_hosts_name_is_the_one_that_nginx_takes,
    ]
}

/// More than nginx's usual buckets hold
const LONG: &str = "a-preview-of-a-branch-with-a-long-name-12345.rare-books.test";

/// nginx.conf as distributions have it: buckets have their usual size
fn usual(http: &str) -> String {
    conf("", http).replace("server_names_hash_bucket_size 128;\n", "")
}

/// The text with the line that gives names room, where a cure shows it
fn with_room(text: &str, cure: &str) -> String {
    let mut lines = cure.lines();
    match lines.find(|line| line.contains("server_names_hash_bucket_size")) {
        Some(line) => text.replace("http {\n", &format!("http {{ {line} ")),
        None => text.to_owned(),
    }
}

/// The cures of both commands for a name that its certificate is not served for
#[track_caller]
fn told(scene: &Scene, domain: &str, name: &str) -> [String; 2] {
    let report = scene.obtain(&[domain]).expect_status(1);
    let findings = report.json()["domains"][0]["findings"].clone();
    let findings = findings.as_array().cloned().unwrap_or_default();
    let mut cures = findings
        .iter()
        .filter_map(|finding| finding["cure"].as_str());
    let told = cures.next().unwrap_or_else(|| panic!("{report}"));
    let (cure, why) = why(scene, name, 1);
    [told.to_owned(), cure.unwrap_or_else(|| panic!("{why}"))]
}

/// One domain with these aliases beside the messenger
fn write_domain(scene: &Scene, name: &str, aliases: &[&str]) {
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(name, aliases).lines(&connect);
    scene.world.write_config(&config);
}

fn a_name_that_is_too_long_gets_room_first() {
    let scene = Scene::new(Kind::Pebble);
    for (name, aliases) in [(LONG, &[][..]), (SHOP, &[LONG])] {
        write_domain(&scene, name, aliases);
        scene.write_sites(&[]);
        scene.nginx.reload();
        scene.obtain(&[name]).expect(1, name, "not_served");
        let text = usual(&foreign(&scene, GUEST));
        restart_with(&scene, &text);
        for cure in told(&scene, name, LONG) {
            restart_with(&scene, &with_room(&with_block(&text, &cure), &cure));
            scene.obtain(&[name]).expect_status(0);
            scene.assert_serves(name, &[name, LONG]);
            restart_with(&scene, &text);
        }
    }
}

fn a_neighbour_that_is_too_long_gets_room_before_a_second_block() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    // nginx makes no table of the names of a block that is alone at its address.
    let text = usual(&foreign(&scene, LONG));
    restart_with(&scene, &text);
    for cure in told(&scene, SHOP, SHOP) {
        restart_with(&scene, &with_room(&with_block(&text, &cure), &cure));
        scene.obtain(&[SHOP]).expect_status(0);
        scene.assert_serves(SHOP, &[SHOP, WWW]);
        restart_with(&scene, &text);
    }
}

/// The text after a cure that tells what to write for the first name of a block
#[track_caller]
fn with_first_name(text: &str, cure: &str) -> String {
    let (_, rest) = cure.split_once("write ").expect(cure);
    let (name, rest) = rest.split_once(" for `$server_name` at ").expect(cure);
    let (places, _) = rest.split_once(": it is").expect(cure);
    let places = places.split("/etc/nginx/nginx.conf:").skip(1);
    let places: Vec<usize> = places
        .map(|place| {
            let digits = place.split(|c: char| !c.is_ascii_digit()).next();
            digits.and_then(|digits| digits.parse().ok()).expect(cure)
        })
        .collect();
    let lines =
        text.lines()
            .enumerate()
            .map(|(number, line)| match places.contains(&(number + 1)) {
                true => line.replace("$server_name", name),
                false => line.to_owned(),
            });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn what_uses_the_first_name_of_a_block_keeps_it() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let other = foreign(&scene, "default.test");
    let block = |names: &str, certificate: &str| {
        format!(
            "server {{\nlisten 443 ssl; listen 80;\nserver_name {names};\n{certificate}\nlocation /.well-known/acme-challenge/ {{ root /var/www/certbot; }}\nif ($host != $server_name) {{ return 301 https://$server_name/home; }}\nlocation / {{\nadd_header X-Site ${{server_name}};\nreturn 302 https://$host/$kind;\n}}\n}}\n"
        )
    };
    let own = "ssl_certificate own/fullchain.pem; ssl_certificate_key own/privkey.pem;";
    let map =
        |rows: &str| format!("map $server_name $kind {{\n{SHOP} shop;\n{rows}default none;\n}}\n");
    let text = |rows: &str, block: &str| conf("", &format!("{}{other}{block}", map(rows)));
    let listed = format!("{SHOP} {WWW} {MESSENGER}");
    let before = text("", &block(&listed, own));
    restart_with(&scene, &before);
    let names = [SHOP, WWW, MESSENGER];
    let answers = |scene: &Scene| names.map(|name| plain(scene, name));
    let expected = answers(&scene);
    assert!(expected[0].contains("/shop"), "{expected:?}");
    assert!(
        expected[2].contains(&format!("https://{SHOP}/home")),
        "{expected:?}"
    );
    for (domain, moved) in [(SHOP, &names[..2]), (MESSENGER, &names[2..])] {
        let left: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !moved.contains(name))
            .collect();
        for cure in told(&scene, domain, domain) {
            let changed = with_first_name(&before, &cure);
            let (head, stays) = changed.split_once("server {\nlisten").expect(&changed);
            let stays = stays.strip_suffix("\n}\n").expect(stays);
            let stays = format!("server {{\nlisten{stays}");
            let renamed = stays.replace(&listed, &left.join(" "));
            let (lines, _) = block_in(&cure)
                .split_once("    # all other lines of")
                .expect(&cure);
            let (_, rest) = stays.split_once(own).expect(&stays);
            let rows = match cure.contains("in the map of $kind at /etc/nginx/nginx.conf:") {
                true => names.map(|name| format!("{name} shop;\n")).concat(),
                false => String::new(),
            };
            let head = head.replace(
                &map(""),
                &map("").replace(&format!("{SHOP} shop;\n"), &rows),
            );
            restart_with(&scene, &format!("{head}{renamed}\n{lines}{rest}\n}}\n"));
            assert_eq!(answers(&scene), expected, "{cure}");
            scene.obtain(&[domain]).expect_status(0);
            scene.assert_serves(domain, moved);
            restart_with(&scene, &before);
        }
    }
}

fn a_name_in_unicode_is_written_as_browsers_send_it() {
    const UNICODE: &str = "bücher.test";
    const SENT: &str = "xn--bcher-kva.test";
    let scene = Scene::new(Kind::Pebble);
    write_domain(&scene, UNICODE, &[]);
    scene.write_sites(&[]);
    scene.nginx.reload();
    scene.obtain(&[SENT]).expect(1, SENT, "not_served");
    let block = foreign(&scene, &format!("{GUEST} Bücher.test"));
    let text = conf("", &format!("{}{block}", foreign(&scene, "default.test")));
    restart_with(&scene, &text);
    let line = text
        .lines()
        .position(|line| line.contains("Bücher"))
        .expect("a line")
        + 1;
    for cure in told(&scene, SENT, SENT) {
        let step = format!(
            "write {SENT} for `Bücher.test` in `server_name` at /etc/nginx/nginx.conf:{line}"
        );
        assert!(cure.contains(&step) && !cure.contains("server {"), "{cure}");
    }
    let (_, report) = why(&scene, SENT, 1);
    assert_eq!(
        report.json()["change"]["code"],
        "why.misspelled",
        "{report}"
    );
    // Then it is a block for several names, whose certificate stays.
    let text = text.replace("Bücher.test", SENT);
    restart_with(&scene, &text);
    let others = shown(&scene, &[GUEST, "default.test"]);
    let (cure, report) = why(&scene, SENT, 1);
    let cure = cure.unwrap_or_else(|| panic!("{report}"));
    let text = with_block(&text.replace(&format!(" {SENT}"), ""), &cure);
    restart_with(&scene, &text);
    scene.obtain(&[SENT]).expect(0, SENT, "proven");
    for (name, leaf) in others {
        assert_eq!(scene.served(name), leaf, "{name}");
    }
}

fn the_hosts_name_is_the_one_that_nginx_takes() {
    let scene = Scene::with(Kind::Pebble, |nginx, _| {
        nginx.run = ["--hostname", SHOP].map(str::to_owned).to_vec();
    });
    order_both(&scene);
    let default = foreign(&scene, "default.test");
    let block = foreign(&scene, "$hostname");
    restart_with(&scene, &conf("", &format!("{default}{block}")));
    let others = shown(&scene, &["default.test", GUEST]);
    for cure in told(&scene, SHOP, SHOP) {
        assert!(cure.starts_with("in the server block at"), "{cure}");
        assert!(cure.contains(&format!("add {WWW} to")), "{cure}");
    }
    let own = block.replace("own/", &format!("/etc/letsencrypt/live/{SHOP}/"));
    let own = own.replace("$hostname", &format!("$hostname {WWW}"));
    restart_with(&scene, &conf("", &format!("{default}{own}")));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(why(&scene, SHOP, 0).0, None);
    for (name, leaf) in others {
        assert_eq!(scene.served(name), leaf, "{name}");
    }
}
