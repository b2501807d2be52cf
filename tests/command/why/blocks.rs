//! Which server block nginx chooses, and what can be seen of its certificate file.

use certd_sandbox::docker::Executed;

use super::*;

#[test]
fn no_server_block_with_tls_at_the_port() {
    let host = host();
    let site = |listen: &str| {
        let lines = lines(MESSENGER);
        let text = format!("server {{ listen {listen}; server_name {MESSENGER}; {lines} }}");
        write_sites(&host, ["", ""], &[("messenger.conf", text)]);
    };
    site("8443 ssl");
    shows!(host, "no_tls", why(&host, MESSENGER, 1));
    site("443");
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.no_tls", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(
        cure.contains(" give the `listen` of port 443 its `ssl`"),
        "{cure}"
    );
    // What it says is what mends it, though nginx would refuse a second `listen 443`.
    site("443 ssl");
    host.certd(&["obtain", MESSENGER]).exits(0);
    why(&host, MESSENGER, 0);
    // A block with `ssl` for another name would turn the one that is there over to TLS.
    site("443");
    let (code, report) = change(&host, &[SHOP], 1);
    assert_eq!(code, "why.no_tls", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(
        cure.contains("one `ssl` there lets all of them speak TLS"),
        "{cure}"
    );
    assert!(!cure.contains("server {"), "{cure}");
}

#[test]
fn a_regular_expression_that_may_choose_the_block() {
    let host = host();
    configure(
        &host,
        &[(&[r"~^messenger\."], MESSENGER), (&[SHOP, WWW], SHOP)],
    );
    host.web.reload().expect("nginx accepts it");
    let run = why(&host, MESSENGER, 1);
    shows!(host, "pattern", run);
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "served.wrong_name", "{report:#}");
    let block = step(&report, "block");
    assert_eq!(block["findings"][0]["code"], "why.pattern");
    assert_eq!(block["severity"], "note");
    // A block of its own comes before any regular expression.
    configure(
        &host,
        &[
            (&[r"~^messenger\."], SHOP),
            (&[MESSENGER], MESSENGER),
            (&[SHOP, WWW], SHOP),
        ],
    );
    host.certd(&["obtain", MESSENGER]).exits(0);
    why(&host, MESSENGER, 0);
}

#[test]
fn nginx_that_is_not_to_be_asked() {
    let mut setting = Setting::two_domains();
    setting.nginx = "container = \"web\"\ntest = false";
    let host = Host::new(&setting);
    host.obtain(&[]).exits(0);
    let asked = || {
        let requests = host.engine.requests();
        requests.iter().filter(|line| line.contains("exec")).count()
    };
    let before = asked();
    let (_, report) = change(&host, &[MESSENGER], 0);
    let block = step(&report, "block");
    assert_eq!(block["findings"][0]["code"], "why.not_asked", "{report:#}");
    assert_eq!(block["severity"], "note");
    assert_eq!(report["change"], Value::Null);
    assert_eq!(asked(), before);

    // What is served shows the mistake all the same.
    configure(&host, &[(&[SHOP, WWW], SHOP), (&[MESSENGER], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    shows!(host, "not_asked", why(&host, MESSENGER, 1));
}

#[test]
fn a_certificate_file_that_cannot_be_read() {
    let host = mistaken();
    // As in an image without a shell.
    host.engine
        .exec_instead(&["cat"], Executed::failure(127, "no such program"));
    let run = why(&host, MESSENGER, 1);
    shows!(host, "unread_file", run);
    let (_, report) = change(&host, &[MESSENGER], 1);
    let file = step(&report, "file");
    assert_eq!(file["findings"][0]["code"], "why.unread_file");

    let forbidden = "cat: can't open: Permission denied";
    host.engine
        .exec_instead(&["cat"], Executed::failure(1, forbidden));
    let (_, report) = change(&host, &[SHOP], 0);
    let seen = step(&report, "file")["seen"].as_str().expect("words");
    assert!(seen.ends_with(forbidden), "{seen}");
    assert_eq!(report["change"], Value::Null);
}

#[test]
fn the_default_block_is_the_first_that_nginx_reads() {
    let host = host();
    let block = |name: &str, lineage: &str| {
        let lines = lines(lineage);
        format!("server {{ listen 443 ssl; server_name {name}; {lines} }}")
    };
    // In nginx's dump it comes before the file that is included above it.
    let after = block("last.test", SHOP);
    let first = block("first.test", MESSENGER);
    write_sites(&host, ["", &after], &[("first.conf", first)]);
    let (code, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(code, "why.no_block", "{report:#}");
    let seen = "/etc/nginx/sites/first.conf:1, the default: none lists the name";
    assert_eq!(step(&report, "block")["seen"], seen);
    // What a handshake shows agrees.
    assert_eq!(report["verdict"]["answer"], "accepted");
    assert_eq!(step(&report, "file")["severity"], "ok");
}

#[test]
fn certificates_that_stand_beside_the_server_blocks() {
    let host = host();
    let messenger = format!("server {{ listen 443 ssl; server_name {MESSENGER}; }}");
    let sites = [("messenger.conf", messenger)];
    write_sites(&host, [&lines(MESSENGER), ""], &sites);
    let (_, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(step(&report, "file")["severity"], "ok", "{report:#}");
    assert_eq!(report["change"], Value::Null);

    let shop = format!("server {{ listen 443 ssl; server_name {SHOP} {WWW}; }}");
    let [messenger] = sites;
    let sites = [messenger, ("shop.conf", shop)];
    write_sites(&host, [&lines(SHOP), ""], &sites);
    // The lines of all blocks stay: the block is given its own.
    shows!(host, "inherited", why(&host, MESSENGER, 1));
}

/// `nginx -T` that prints this in place of the container's own configuration
fn dumps(host: &Host, text: &str) {
    let stdout = format!("# configuration file /etc/nginx/nginx.conf:\n{text}");
    let executed = Executed {
        stdout,
        ..Executed::default()
    };
    host.engine.exec_instead(&["nginx", "-T"], executed);
}

#[test]
fn a_configuration_without_end_is_not_judged_and_costs_little() {
    let host = host();
    let deep = format!("{}{}", "a {\n".repeat(8000), "}".repeat(8000));
    let wide = "a;".repeat(4_000_000);
    for text in [deep, wide] {
        dumps(&host, &text);
        // A tree of it would take gigabytes.
        let certd = env!("CARGO_BIN_EXE_certd");
        let script = format!("ulimit -v 700000; exec {certd} why {MESSENGER} --format json");
        let mut command = std::process::Command::new("bash");
        command
            .args(["-c", &script])
            .current_dir(host.place.path(""))
            .env("MALLOC_ARENA_MAX", "1");
        let report = Run::of(&mut command).exits(0).json();
        let block = step(&report, "block");
        assert_eq!(block["findings"][0]["code"], "target.config_unjudged");
        assert_eq!(step(&report, "served")["severity"], "ok", "{report:#}");
    }
    // A name that is served wrong is told so all the same, and nothing is proposed blindly.
    configure(&host, &[(&[SHOP, WWW], SHOP), (&[MESSENGER], SHOP)]);
    host.web.reload().expect("nginx accepts it");
    let (code, _) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "served.wrong_name");
    let report = host.certd(&["obtain", MESSENGER, "--format", "json"]);
    let report = report.exits(1).json();
    let cure = report["domains"][0]["findings"][0]["cure"].as_str();
    let cure = cure.expect("a cure");
    assert!(cure.contains("cannot be judged"), "{cure}");
}

#[test]
fn lines_that_pass_for_those_of_another_file_are_not_judged() {
    let host = host();
    let own = lines(MESSENGER);
    // Whoever wrote a.conf gives the wrong line of it to the file of another.
    let text = format!(
        "http {{ include sites/*.conf; }}\n
# configuration file /etc/nginx/sites/a.conf:
server {{ listen 80; server_name a.test; }}
# configuration file /etc/nginx/sites/messenger.conf:
server {{ listen 443 ssl; server_name {MESSENGER}; ssl_certificate /x; ssl_certificate_key /x; }}\n
# configuration file /etc/nginx/sites/messenger.conf:
server {{ listen 443 ssl; server_name {MESSENGER}; {own} }}\n\n"
    );
    dumps(&host, &text);
    let (_, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(report["change"], Value::Null, "{report:#}");
    let finding = &step(&report, "block")["findings"][0];
    assert_eq!(finding["code"], "target.config_unjudged");
    let cure = finding["cure"].as_str().expect("a cure");
    let told = "docker exec web nginx -T | grep -n '^# configuration file '";
    assert!(cure.ends_with(told), "{cure}");
}

#[test]
fn an_alias_that_no_block_lists_goes_to_the_block_of_its_domain() {
    let host = host();
    let sites: &[(&[&str], &str)] = &[(&[MESSENGER], MESSENGER), (&[SHOP], SHOP)];
    configure(&host, sites);
    host.web.reload().expect("nginx accepts it");
    let (code, report) = change(&host, &[WWW], 1);
    assert_eq!(code, "why.no_block", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    let told = format!("add {WWW} to `server_name` of the server block at /etc/nginx/");
    assert!(cure.starts_with(&told), "{cure}");
    assert!(!cure.contains("ssl_certificate"), "{cure}");
    // `obtain` says the same.
    let report = host.obtain(&["--force", "--format", "json"]).exits(1);
    assert!(report.stdout.contains(&told), "{report}");
    // What it says is what mends it.
    configure(&host, &[(&[MESSENGER], MESSENGER), (&[SHOP, WWW], SHOP)]);
    host.obtain(&[]).exits(0);
    why(&host, WWW, 0);
}

#[test]
fn a_stream_server_in_front_of_the_blocks() {
    let host = host();
    let dump = |pass: &str| {
        let lines = lines(MESSENGER);
        format!(
            "stream {{ server {{ listen 443; ssl_preread on; proxy_pass {pass}; }} }}
http {{ server {{ listen 127.0.0.1:8443 ssl; server_name {MESSENGER}; {lines} }} }}
"
        )
    };
    dumps(&host, &dump("127.0.0.1:8443"));
    let (_, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(report["change"], Value::Null, "{report:#}");
    let seen = "/etc/nginx/nginx.conf:2 lists the name, behind the stream server at /etc/nginx/nginx.conf:1";
    assert_eq!(step(&report, "block")["seen"], seen);
    // A name that is missing behind it gets a block that listens where that one does.
    let (_, report) = change(&host, &[SHOP], 0);
    let finding = &step(&report, "block")["findings"][0];
    assert_eq!(finding["code"], "why.no_block", "{report:#}");
    let cure = finding["cure"].as_str().expect("a cure");
    assert!(cure.contains("    listen 127.0.0.1:8443 ssl;\n"), "{cure}");
    assert!(!cure.contains("listen 443"), "{cure}");
    // Where it leads elsewhere nothing is proposed.
    dumps(&host, &dump("192.0.2.7:443"));
    let (_, report) = change(&host, &[MESSENGER], 0);
    let block = step(&report, "block");
    assert_eq!(block["findings"][0]["code"], "why.stream", "{report:#}");
    assert_eq!(report["change"], Value::Null, "{report:#}");
}

#[test]
fn a_block_that_rejects_handshakes_is_the_cause() {
    let host = host();
    let lines = lines(MESSENGER);
    dumps(
        &host,
        &format!(
            "http {{ server {{ listen 443 ssl; server_name {MESSENGER}; {lines}\nssl_reject_handshake on; }} }}\n"
        ),
    );
    let (code, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(code, "why.rejected", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    let told = "take `ssl_reject_handshake on` out at /etc/nginx/nginx.conf:2";
    assert!(cure.starts_with(told), "{cure}");
}
