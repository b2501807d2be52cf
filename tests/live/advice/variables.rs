//! Certificates that nginx takes from variables: its workers read what these name, and every other
//! name keeps what it has.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Trial;

use super::{GUEST, assert_one_step, conf, order_both, restart_with, shown, why};
use crate::support::ca::Kind;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW};
use crate::support::served;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        the_workers_may_read_a_key_before_a_row_names_it,
        a_closed_key_behind_right_lines_is_told_with_the_group,
        one_variable_for_both_files_is_told_apart,
        an_exact_row_comes_before_a_regular_expression,
        a_map_with_hostnames_and_an_included_file_gets_what_nginx_takes,
    ]
}

/// Another program's certificate for all names, which everybody may read, as `own/x.pem` and `x.key`
fn foreign_files(scene: &Scene) {
    let own = scene.world.conf().join("own");
    served::write_self_signed(&own, &[SHOP, WWW, MESSENGER, GUEST]);
    for (from, to) in [("fullchain.pem", "x.pem"), ("privkey.pem", "x.key")] {
        fs::copy(own.join(from), own.join(to)).expect("it can be copied");
        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(own.join(to), open).expect("it is the test's");
    }
}

/// Maps of both files with these rows, and a block for the shop that takes its files from them
fn by_maps(rows: &str) -> String {
    let map = |variable: &str, file: &str| {
        let rows = rows.replace("FILE", &format!("/etc/nginx/own/{file}"));
        format!("map $ssl_server_name ${variable} {{\n{rows}\ndefault /etc/nginx/own/{file};\n}}\n")
    };
    format!(
        "{}{}server {{ listen 443 ssl; server_name {SHOP} {WWW} *.{SHOP};\nssl_certificate $crt;\nssl_certificate_key $key;\n}}",
        map("crt", "x.pem"),
        map("key", "x.key")
    )
}

/// The configuration after a cure, each of whose steps is done where it says
#[track_caller]
fn changed(text: &str, cure: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let told: Vec<&str> = cure.lines().collect();
    let mut edits = Vec::new();
    let mut added = Vec::new();
    for (number, step) in told.iter().enumerate() {
        let shown = told[number + 1..].iter();
        let shown: Vec<String> = shown
            .take_while(|line| line.starts_with("    "))
            .map(|line| (*line).to_owned())
            .collect();
        let line = || {
            let (_, rest) = step.split_once("/etc/nginx/nginx.conf:")?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<usize>().ok()
        };
        if step.contains("beside the server blocks add") {
            if let Some((_, rest)) = step.split_once("write ")
                && let Some((new, rest)) = rest.split_once(" for ")
            {
                let old = rest.split(' ').next().expect(step);
                let named = lines.iter_mut();
                let named = named.filter(|line| line.starts_with("ssl_certificate"));
                named.for_each(|line| *line = line.replace(old, new));
            }
            added.extend(shown);
        } else if step.starts_with("to the map of") {
            edits.push((line().expect(step), true, shown));
        } else if step.ends_with(" write") || step.contains(" change the row at ") {
            edits.push((line().expect(step), false, shown));
        }
    }
    edits.sort_by_key(|(line, ..)| std::cmp::Reverse(*line));
    for (line, is_added, shown) in edits {
        let from = if is_added { line } else { line - 1 };
        lines.splice(from..line, shown);
    }
    let http = lines.iter().position(|line| line == "http {");
    let behind = http.expect("http") + 1;
    lines.splice(behind..behind, added);
    lines.join("\n") + "\n"
}

/// The cures of both commands for the shop, which is served with another program's certificate
#[track_caller]
fn told(scene: &Scene) -> [String; 2] {
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let told = report.finding(SHOP, "proof.unknown_certificate").cure;
    let (cure, report) = why(scene, SHOP, 1);
    [told, cure.unwrap_or_else(|| panic!("{report}"))]
}

/// Follows the cures of both commands, each from the same configuration
#[track_caller]
fn follow(scene: &Scene, text: &str) -> [String; 2] {
    restart_with(scene, text);
    let others = shown(scene, &[MESSENGER, GUEST, "other.test"]);
    let cures = told(scene);
    for cure in &cures {
        restart_with(scene, &changed(text, cure));
        assert_one_step(scene, &others);
        restart_with(scene, text);
    }
    cures
}

/// Names of the shop that the group reads keys for
fn with_key_group(scene: &Scene, group: &str) {
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().key(&format!("key_group = {group:?}"));
    let config = config.domain(SHOP, &[WWW]).lines(&connect);
    scene.world.write_config(&config);
}

/// The group that a cure has one set, before anything that stands in `behind`
#[track_caller]
fn group_before<'c>(cure: &'c str, behind: &str) -> &'c str {
    let (_, rest) = cure.split_once("`key_group = \"").expect(cure);
    let (group, rest) = rest.split_once('"').expect(cure);
    assert!(rest.contains(behind), "{cure}");
    group
}

fn the_workers_may_read_a_key_before_a_row_names_it() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    foreign_files(&scene);
    let text = conf("", &by_maps(&format!("hostnames;\n*.{SHOP} FILE;")));
    let text = text.replace("user root;", "user nobody nogroup;");
    restart_with(&scene, &text);
    let others = shown(&scene, &[MESSENGER, GUEST]);
    for cure in told(&scene) {
        let group = group_before(&cure, "to the map of $crt");
        assert!(cure.contains(&format!("certd obtain {SHOP}")), "{cure}");
        assert_eq!(group, "65534");
    }
    // The first step gives the keys to the group, and takes nothing from anybody.
    with_key_group(&scene, "65534");
    let cures = told(&scene);
    for cure in &cures {
        assert!(!cure.contains("key_group"), "{cure}");
        restart_with(&scene, &changed(&text, cure));
        // Before certd has run again, too.
        scene.assert_serves(SHOP, &[SHOP, WWW]);
        assert_one_step(&scene, &others);
        restart_with(&scene, &text);
    }
}

fn a_closed_key_behind_right_lines_is_told_with_the_group() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    let live = "/etc/letsencrypt/live/$ssl_server_name";
    let text = conf(
        "",
        &format!(
            "server {{ listen 443 ssl; server_name {SHOP};\nssl_certificate {live}/fullchain.pem;\nssl_certificate_key {live}/privkey.pem; }}"
        ),
    );
    let text = text.replace("user root;", "user nobody nogroup;");
    restart_with(&scene, &text);
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[]).lines(&connect);
    scene.world.write_config(&config);
    let report = scene.obtain(&[SHOP]).expect_status(1);
    let code = report.failures(SHOP)[0].to_owned();
    let told = report.finding(SHOP, &code).cure;
    let (cure, report) = why(&scene, SHOP, 1);
    assert_eq!(report.json()["change"]["code"], "target.key_group");
    for cure in [told, cure.unwrap_or_default()] {
        assert_eq!(group_before(&cure, "certd obtain"), "65534");
        assert_eq!(cure.matches("key_group").count(), 1, "{cure}");
    }
    let config = scene.config().key("key_group = \"65534\"");
    scene
        .world
        .write_config(&config.domain(SHOP, &[]).lines(&connect));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    assert_eq!(why(&scene, SHOP, 0).0, None);
}

fn one_variable_for_both_files_is_told_apart() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    foreign_files(&scene);
    let text = conf(
        "",
        &format!(
            "map $ssl_server_name $c {{\ndefault /etc/nginx/own/x;\n}}\nserver {{ listen 443 ssl; server_name {SHOP} {WWW} *.{SHOP};\nssl_certificate $c.pem;\nssl_certificate_key $c.key;\n}}"
        ),
    );
    for cure in follow(&scene, &text) {
        assert!(cure.contains("default $c.key;"), "{cure}");
    }
}

fn an_exact_row_comes_before_a_regular_expression() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    foreign_files(&scene);
    let pattern = SHOP.replace('.', "\\.");
    let text = conf(
        "",
        &by_maps(&format!("volatile;\n~^(www\\.)?{pattern}$ FILE;")),
    );
    for cure in follow(&scene, &text) {
        let row = format!("\n    {WWW} /etc/letsencrypt/live/{SHOP}/privkey.pem;");
        assert!(cure.contains(&row), "{cure}");
        assert!(!cure.contains("certd_"), "{cure}");
    }
}

fn a_map_with_hostnames_and_an_included_file_gets_what_nginx_takes() {
    let scene = Scene::new(Kind::Pebble);
    order_both(&scene);
    foreign_files(&scene);
    for (variable, file) in [("crt", "x.pem"), ("key", "x.key")] {
        let rows = format!(".{SHOP} /etc/nginx/own/{file};\n");
        let path = scene.world.conf().join(format!("{variable}.rows"));
        crate::support::write(&path, rows);
    }
    let map = |variable: &str, file: &str| {
        format!(
            "map $ssl_server_name ${variable} {{\nhostnames;\ninclude {variable}.rows;\ndefault /etc/nginx/own/{file};\n}}\n"
        )
    };
    let (before, block) = by_maps("").split_once("server {").map_or_else(
        || panic!("a block"),
        |(_, block)| {
            (
                format!("{}{}", map("crt", "x.pem"), map("key", "x.key")),
                block.to_owned(),
            )
        },
    );
    follow(&scene, &conf("", &format!("{before}server {{{block}")));
}
