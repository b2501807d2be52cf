//! A server block that answers at port 80 before it looks for a location: written as certd shows it, the
//! CA gets its token, and visitors get what they got before.

use std::process::Command;

use libtest_mimic::Trial;

use super::{block_in, conf, lines, plain, restart_with};
use crate::support::ca::Kind;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW};
use crate::support::{process, served};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        what_certbot_leaves_at_port_80_lets_challenges_through,
        a_redirect_beside_locations_lets_challenges_through,
        the_default_block_gets_the_location_that_it_lacks,
        a_redirect_of_a_block_for_both_ports_keeps_its_target,
        a_redirect_under_a_condition_stays_beside_the_site_that_it_leads_to,
        a_name_that_has_moved_leads_where_it_did,
        a_block_that_nobody_has_read_keeps_its_redirect,
        a_catch_all_that_closes_connections_leaves_a_name_its_challenges,
        a_listen_that_awaits_a_balancer_is_named,
    ]
}

/// nginx.conf whose block at port 80 is this one, and which serves the shop
fn site(http: &str) -> String {
    let text = conf(
        "",
        &format!(
            "server {{ listen 443 ssl; server_name {SHOP} {WWW};\n{}\nreturn 200 shop; }}",
            lines(SHOP)
        ),
    );
    assert!(text.contains(OPEN), "{text}");
    text.replace(OPEN, http)
}

/// A block that lets challenges through
const OPEN: &str = "server { listen 80 default_server; location /.well-known/acme-challenge/ { root /var/www/certbot; } }";

/// The shop with its certificate
fn shop() -> Scene {
    let scene = Scene::new(Kind::Pebble);
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[WWW]).lines(&connect);
    scene.world.write_config(&config);
    scene.obtain(&[SHOP]).expect(1, SHOP, "not_served");
    restart_with(&scene, &site(OPEN));
    scene.obtain(&[SHOP]).expect(0, SHOP, "proven");
    scene
}

/// What a name is answered with TLS
fn secure(scene: &Scene, name: &str) -> String {
    let address = scene.nginx.https_address();
    let (host, port) = address.rsplit_once(':').expect("a port");
    let answer = process::stdout_of(
        Command::new("curl")
            .args(["--silent", "--insecure", "--noproxy", "*"])
            .args(["--resolve", &format!("{name}:{port}:{host}")])
            .args(["--write-out", "\n%{http_code} %{redirect_url}"])
            .arg(format!("https://{name}:{port}/")),
    );
    let said = answer.lines().map(str::trim);
    let said: Vec<&str> = said.filter(|line| !line.starts_with('<')).collect();
    said.join(" ").trim().to_owned()
}

/// What each name is answered at both ports
fn both(scene: &Scene, text: &str) -> Vec<String> {
    let mut all = answers(scene, text);
    all.extend([SHOP, WWW, MESSENGER].map(|name| secure(scene, name)));
    all
}

/// Follows what is told where a token is not served, and finds the token served and all else as it was
#[track_caller]
fn nothing_else_changes(
    scene: &Scene,
    text: &str,
    code: &str,
    follow: impl Fn(&str) -> String,
) -> Vec<String> {
    let before = both(scene, text);
    for cure in told(scene, code) {
        let changed = follow(&cure);
        assert_eq!(both(scene, &changed), before, "{changed}");
        let check = scene.check(&[SHOP]).to_string();
        assert!(!check.contains("http.wrong_body"), "{check}");
        assert!(check.matches("http.served").count() >= 2, "{check}");
        assert_eq!(both(scene, text), before);
    }
    before
}

/// The lines that a cure has one put before the first that nginx obeys
#[track_caller]
fn before_the_first(cure: &str) -> String {
    let (_, shown) = cure.split_once("path:\n").expect(cure);
    let shown = shown.lines().take_while(|line| line.starts_with("    "));
    shown.collect::<Vec<_>>().join("\n")
}

/// The cure of `obtain`, which places no order, and that of `check`
#[track_caller]
fn told(scene: &Scene, code: &str) -> [String; 2] {
    let orders = scene.ca.orders();
    let report = scene.obtain(&[SHOP, "--force"]).expect(1, SHOP, "failed");
    let told = report.finding(SHOP, code).cure;
    assert_eq!(scene.ca.orders(), orders);
    let check = scene.check(&[SHOP]);
    [told, check.check_finding(SHOP, code).cure]
}

/// Starts nginx with a text, and gives what each name is answered at port 80
fn answers(scene: &Scene, text: &str) -> Vec<String> {
    scene.nginx.write_conf(text);
    scene.nginx.restart();
    let (status, said) = scene.nginx.exec(&["nginx", "-t"]);
    assert_eq!(status, 0, "{said}\n{text}");
    let names = [SHOP, WWW, MESSENGER];
    names.map(|name| plain(scene, name)).to_vec()
}

fn what_certbot_leaves_at_port_80_lets_challenges_through() {
    let scene = shop();
    let conditions: String = [WWW, SHOP]
        .map(|name| {
            format!(
                "    if ($host = {name}) {{\n        return 301 https://$host$request_uri;\n    }} # managed by Certbot\n\n"
            )
        })
        .concat();
    let http = format!(
        "server {{\n{conditions}    listen 80;\n    server_name {SHOP} {WWW};\n    return 404; # managed by Certbot\n}}"
    );
    let text = site(&http);
    let before = answers(&scene, &text);
    assert!(before[0].contains("301"), "{before:?}");
    for cure in told(&scene, "http.wrong_body") {
        assert!(cure.contains("`if` at /etc/nginx/nginx.conf:"), "{cure}");
        assert!(cure.contains("nginx -s reload"), "{cure}");
        assert_eq!(answers(&scene, &site(block_in(&cure))), before);
        scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
        scene.assert_serves(SHOP, &[SHOP, WWW]);
        assert_eq!(answers(&scene, &text), before);
    }
}

fn a_redirect_beside_locations_lets_challenges_through() {
    let scene = shop();
    let http = "server {\n    listen 80 default_server;\n    if ($request_method = GET) {\n        return 302 https://$host/moved;\n    }\n    location /form { return 204; }\n}";
    let text = site(http);
    let before = answers(&scene, &text);
    for cure in told(&scene, "http.wrong_body") {
        let line = "    if ($request_method = GET) {\n";
        let changed = text.replace(line, &format!("{}\n{line}", before_the_first(&cure)));
        assert_eq!(answers(&scene, &changed), before);
        scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
        assert_eq!(answers(&scene, &text), before);
    }
}

fn the_default_block_gets_the_location_that_it_lacks() {
    let scene = shop();
    let http = "server {\n    listen 80 default_server;\n    location / { return 404; }\n}";
    restart_with(&scene, &site(http));
    for cure in told(&scene, "http.not_found") {
        let place = "the server block at /etc/nginx/nginx.conf:10, which answers";
        assert!(cure.contains(place), "{cure}");
        let line = cure
            .lines()
            .find(|line| line.starts_with("    location ^~"))
            .expect(&cure);
        let changed = http.replace("    location / ", &format!("{line}\n    location / "));
        restart_with(&scene, &site(&changed));
        scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
        restart_with(&scene, &site(http));
    }
}

fn a_redirect_of_a_block_for_both_ports_keeps_its_target() {
    let scene = shop();
    let (open, site) = (OPEN, site(OPEN));
    let www = format!(
        "server {{\nlisten 80;\nlisten 443 ssl;\nserver_name {WWW};\n{}\nreturn 301 https://{SHOP}$request_uri;\n}}",
        lines(SHOP)
    );
    let site = site.replace(
        &format!("server_name {SHOP} {WWW};"),
        &format!("server_name {SHOP};"),
    );
    let text = |www: &str| site.replace(open, &format!("{open}\n{www}"));
    let before = nothing_else_changes(&scene, &text(&www), "http.wrong_body", |cure| {
        text(block_in(cure))
    });
    assert_eq!(before[4], format!("301 https://{SHOP}/"));
}

fn a_redirect_under_a_condition_stays_beside_the_site_that_it_leads_to() {
    let scene = shop();
    let condition = "if ($scheme = http) { return 301 https://$host$request_uri; }";
    let text = conf(
        "",
        &format!(
            "server {{\nlisten 80;\nlisten 443 ssl;\nserver_name {SHOP} {WWW};\n{}\n{condition}\nlocation / {{ return 200 shop; }}\n}}",
            lines(SHOP)
        ),
    );
    let before = nothing_else_changes(&scene, &text, "http.wrong_body", |cure| {
        text.replace(
            condition,
            &format!("{}\n{condition}", before_the_first(cure)),
        )
    });
    assert_eq!(before[3], "shop 200");
}

fn a_name_that_has_moved_leads_where_it_did() {
    let scene = shop();
    let text = |block: &str| {
        let secure = format!(
            "server {{ listen 443 ssl; server_name {MESSENGER};\n{}\nreturn 200 new; }}",
            lines(SHOP)
        );
        conf("", &format!("{secure}\n{block}"))
    };
    let moved = format!(
        "server {{\nlisten 80;\nserver_name {SHOP} {WWW};\nreturn 301 https://{MESSENGER}$request_uri;\n}}"
    );
    let before = nothing_else_changes(&scene, &text(&moved), "http.wrong_body", |cure| {
        text(block_in(cure))
    });
    assert!(
        before[0].contains(&format!("https://{MESSENGER}/")),
        "{before:?}"
    );
}

fn a_block_that_nobody_has_read_keeps_its_redirect() {
    let scene = shop();
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().lines("test = false");
    let config = config.domain(SHOP, &[WWW]).lines(&connect);
    scene.world.write_config(&config);
    let redirect = format!("return 301 https://{MESSENGER}$request_uri;");
    let text = site(&format!(
        "server {{\nlisten 80 default_server;\n{redirect}\n}}"
    ));
    let follow = |cure: &str| {
        assert!(!cure.contains("return 301"), "{cure}");
        let shown = cure.lines().filter(|line| line.starts_with("    "));
        let mut shown: Vec<&str> = shown.collect();
        shown.reverse();
        text.replace(&redirect, &format!("{}\n{redirect}", shown.join("\n")))
    };
    let before = nothing_else_changes(&scene, &text, "http.wrong_body", follow);
    assert!(before[0].contains(MESSENGER), "{before:?}");
}

/// Starts nginx with a text, and waits until it serves the shop
#[track_caller]
fn load(scene: &Scene, text: &str) {
    scene.nginx.write_conf(text);
    scene.nginx.restart();
    let (status, said) = scene.nginx.exec(&["nginx", "-t"]);
    assert_eq!(status, 0, "{said}\n{text}");
    process::wait_for("nginx", || {
        served::served(&scene.nginx.https_address(), SHOP).ok()
    });
}

fn a_catch_all_that_closes_connections_leaves_a_name_its_challenges() {
    let scene = shop();
    let connect = format!("connect = {:?}", scene.nginx.https_address());
    let config = scene.config().domain(SHOP, &[]).lines(&connect);
    scene.world.write_config(&config);
    let closed =
        "server {\nlisten 80 default_server;\nlisten [::]:80 default_server;\nreturn 444;\n}";
    load(&scene, &site(closed));
    let check = scene.check(&[SHOP]).to_string();
    assert!(!check.contains("http.status"), "{check}");
    for cure in told(&scene, "http.reset") {
        let named = format!(
            "no server block lists {SHOP} at port 80, and the default one there, at /etc/nginx/nginx.conf:"
        );
        assert!(cure.starts_with(&named), "{cure}");
        load(&scene, &site(&format!("{closed}\n{}", block_in(&cure))));
        scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
        // Whatever else comes is closed as before.
        let (_, dump) = scene.nginx.exec(&["nginx", "-T"]);
        assert_eq!(dump.matches("return 444;").count(), 2, "{dump}");
        load(&scene, &site(closed));
    }
}

fn a_listen_that_awaits_a_balancer_is_named() {
    let scene = shop();
    let balanced = OPEN.replace("default_server;", "default_server proxy_protocol;");
    load(&scene, &site(&balanced));
    for cure in told(&scene, "http.reset") {
        let named = "(`proxy_protocol` in `listen` of the server block at /etc/nginx/nginx.conf:";
        assert!(cure.contains(named), "{cure}");
    }
    load(&scene, &site(OPEN));
    scene.obtain(&[SHOP, "--force"]).expect(0, SHOP, "proven");
}
