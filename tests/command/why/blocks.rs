//! Which server block nginx chooses, and what can be seen of its certificate file.

use certd::sandbox::docker::Executed;

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
    // A name that no block lists is shown a block of its own.
    site("443");
    let (code, report) = change(&host, &[SHOP], 1);
    assert_eq!(code, "why.no_tls", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(cure.starts_with("add this server block:\n"), "{cure}");
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
    // What it says is what mends it.
    configure(
        &host,
        &[
            (&[r"~^messenger\.", MESSENGER], MESSENGER),
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

    write_sites(&host, [&lines(SHOP), ""], &sites);
    // The lines of all blocks stay: the block is given its own.
    shows!(host, "inherited", why(&host, MESSENGER, 1));
}
