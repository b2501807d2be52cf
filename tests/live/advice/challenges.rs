//! A server block that answers at port 80 before it looks for a location: written as certd shows it, the
//! CA gets its token, and visitors get what they got before.

use libtest_mimic::Trial;

use super::{block_in, conf, lines, plain, restart_with};
use crate::support::ca::Kind;
use crate::support::scene::{MESSENGER, SHOP, Scene, WWW};

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        what_certbot_leaves_at_port_80_lets_challenges_through,
        a_redirect_beside_locations_lets_challenges_through,
        the_default_block_gets_the_location_that_it_lacks,
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
        let (_, shown) = cure.split_once("path:\n").expect(&cure);
        let shown = shown.lines().take_while(|line| line.starts_with("    "));
        let shown: Vec<&str> = shown.collect();
        let line = "    if ($request_method = GET) {\n";
        let changed = text.replace(line, &format!("{}\n{line}", shown.join("\n")));
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
