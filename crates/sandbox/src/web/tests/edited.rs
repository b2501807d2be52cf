//! A configuration that somebody edits by hand, and what nginx 1.22 says of it.

use rustls::version::TLS13;

use super::*;

#[tokio::test]
async fn a_site_that_names_another_lineages_files_serves_them_once_nginx_is_told() {
    let stage = Stage::new().await;
    let (a, b) = stage.serving_two().await;
    stage.edit("b.test", |text| text.replace("live/b.test", "live/a.test"));
    assert_eq!(leaf(&stage.web, "b.test").await, Some(b.clone()));
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "b.test").await, Some(a));
    stage.edit("b.test", |text| text.replace("live/a.test", "live/b.test"));
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "b.test").await, Some(b));
}

#[tokio::test]
async fn garbage_fails_the_test_and_keeps_what_is_served() {
    let stage = Stage::new().await;
    let (_, b) = stage.serving_two().await;
    stage.edit("b.test", |text| format!("{text}garbage\n"));
    let words = "nginx: [emerg] unexpected end of file, expecting \";\" or \"}\" in \
                 /etc/nginx/sites/b.test.conf:14\n";
    let failed = "nginx: configuration file /etc/nginx/nginx.conf test failed\n";
    assert_eq!(stage.web.test(), Err(format!("{words}{failed}")));
    assert_eq!(stage.web.dump(), "");
    assert_eq!(stage.web.reload(), Err(words.to_owned()));
    assert_eq!(leaf(&stage.web, "b.test").await, Some(b));
    stage.web.restart().unwrap_err();
    assert_eq!(leaf(&stage.web, "b.test").await, None);
}

#[tokio::test]
async fn a_file_that_is_added_is_a_site_after_a_reload() {
    let stage = Stage::new().await;
    let (a, _) = stage.serving_two().await;
    let c = stage.issue("c.test", 1);
    stage.site("c.test", &tls("c.test", "live/c.test/fullchain.pem"));
    // What an editor leaves beside it is none.
    fs::write(stage.path("nginx/sites/.#c.test.conf"), "garbage").unwrap();
    fs::write(stage.path("nginx/sites/c.test.conf~"), "garbage").unwrap();
    assert_eq!(leaf(&stage.web, "c.test").await, Some(a));
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "c.test").await, Some(c));
    assert!(stage.web.dump().ends_with(
        "# configuration file /etc/nginx/sites/c.test.conf:\nserver { listen 443 ssl; \
         server_name c.test; ssl_certificate /etc/letsencrypt/live/c.test/fullchain.pem; \
         ssl_certificate_key /etc/letsencrypt/live/c.test/privkey.pem; }\n"
    ));
}

#[tokio::test]
async fn any_file_in_the_container_may_be_named() {
    let stage = Stage::new().await;
    let (_, b) = stage.serving_two().await;
    fs::write(stage.path("live/b.test/cert.pem"), pem(&b)).unwrap();
    let text = stage.edit("b.test", |text| text.replace("fullchain.pem", "cert.pem"));
    stage.web.reload().unwrap();
    assert_eq!(handshake(&stage.web, "b.test").await, Some(vec![b.clone()]));
    for (certificate, key) in [
        ("own.pem", "own.key"),
        ("./x/../own.pem", "/etc/nginx/own.key"),
    ] {
        let own = stage.pair_in_configuration("own");
        let edited = text
            .replace("/etc/letsencrypt/live/b.test/cert.pem", certificate)
            .replace("/etc/letsencrypt/live/b.test/privkey.pem", key);
        stage.site("b.test", &edited);
        stage.web.reload().unwrap();
        assert_eq!(leaf(&stage.web, "b.test").await, Some(own));
    }
    // What the container does not see is not there, however a path leads to it.
    std::os::unix::fs::symlink("/etc/hostname", stage.path("nginx/link.pem")).unwrap();
    for outside in ["/etc/hostname", "link.pem", "/etc/nginx/../hostname"] {
        stage.site(
            "b.test",
            &text.replace("/etc/letsencrypt/live/b.test/cert.pem", outside),
        );
        let words = stage.web.test().unwrap_err();
        assert!(words.contains("no such file"), "{outside}: {words}");
    }
}

#[tokio::test]
async fn a_block_without_a_certificate_shows_the_default_one_and_may_reject_handshakes() {
    let stage = Stage::new().await;
    let (a, b) = stage.serving_two().await;
    stage.site("c.test", "server { listen 443; server_name .c.test; }");
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "c.test").await, Some(a.clone()));
    stage.edit("b.test", |text| {
        text.replace("443 ssl", "443 ssl default_server")
    });
    stage.web.reload().unwrap();
    for name in ["c.test", "x.c.test", "unknown.test"] {
        assert_eq!(leaf(&stage.web, name).await, Some(b.clone()), "{name}");
    }
    let rejects = "server { listen 443 ssl; server_name c.test; ssl_reject_handshake on; }";
    stage.site("c.test", rejects);
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "c.test").await, None);
    assert_eq!(leaf(&stage.web, "a.test").await, Some(a));
}

#[tokio::test]
async fn a_block_at_another_port_is_read_and_not_served() {
    let stage = Stage::new().await;
    let (a, b) = stage.serving_two().await;
    stage.edit("b.test", |text| text.replace("listen 443", "listen 8443"));
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "b.test").await, Some(a));
    stage.edit("b.test", |text| {
        text.replace("listen 8443", "listen [::]:443")
    });
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "b.test").await, Some(b));
    // Without `ssl` anywhere the port speaks no TLS.
    for site in ["a.test", "b.test"] {
        stage.edit(site, |text| text.replace("443 ssl", "443"));
    }
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "b.test").await, None);
}

#[tokio::test]
async fn certificates_are_inherited_and_files_included() {
    let stage = Stage::new().await;
    let (a, _) = stage.serving_two().await;
    let pair = "ssl_certificate /etc/letsencrypt/live/a.test/fullchain.pem;\r\n\
                ssl_certificate_key /etc/letsencrypt/live/a.test/privkey.pem;\r\n";
    fs::write(stage.path("nginx/pair.inc"), pair).unwrap();
    stage.site("0", "include pair.inc; # for all\n");
    stage.site("b.test", "server { listen *:443 ssl; server_name b.test; }");
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "b.test").await, Some(a));
    let dump = stage.web.dump();
    assert!(dump.contains("# configuration file /etc/nginx/pair.inc:\nssl_certificate /etc"));
    stage.site("0", "include sites/0.conf;");
    let words = stage.web.test().unwrap_err();
    assert!(words.contains("(24: Too many open files)"), "{words}");
}

#[tokio::test]
async fn a_page_is_what_the_configuration_returns() {
    let stage = Stage::new().await;
    stage.serving_two().await;
    stage.edit("b.test", |text| {
        text.replace("b.test, served by", "Hello from")
    });
    stage.web.reload().unwrap();
    let answer = get(&stage.web, "b.test", &TLS13).await;
    assert!(
        answer.ends_with("\r\n\r\nHello from the sandbox\n"),
        "{answer}"
    );
    stage.site("b.test", &tls("b.test", "live/b.test/fullchain.pem"));
    stage.web.reload().unwrap();
    let answer = get(&stage.web, "b.test", &TLS13).await;
    assert!(
        answer.ends_with("b.test, served by the sandbox\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn nginx_says_where_the_configuration_is_wrong() {
    let stage = Stage::new().await;
    stage.serving_two().await;
    let check = |text: &str, expected: &str| {
        stage.site("x", text);
        let expected = expected.replace(" @", " in /etc/nginx/sites/x.conf:");
        let words = stage.web.test().unwrap_err();
        let first = words.lines().next().unwrap_or_default();
        assert_eq!(first, format!("nginx: [emerg] {expected}"), "{text}");
    };
    for (text, expected) in MISTAKES {
        check(text, expected);
    }
    let other = tls("x.test", "live/a.test/fullchain.pem").replace("x.test/priv", "b.test/priv");
    check(&other, MISMATCH);
    let half = "server { listen 443 ssl; ssl_certificate own.pem; }";
    check(
        half,
        "no \"ssl_certificate_key\" is defined for certificate \"own.pem\"",
    );
    fs::remove_file(stage.path("nginx/sites/x.conf")).unwrap();
    fs::create_dir(stage.path("nginx/sites/x.conf")).unwrap();
    let words = stage.web.test().unwrap_err();
    assert!(words.starts_with("nginx: [crit] pread() \"/etc/nginx/sites/x.conf\" failed (21: "));
}

#[tokio::test]
async fn nginx_wants_its_main_file() {
    let stage = Stage::new().await;
    let check = |expected: &str| {
        let words = stage.web.reload().unwrap_err();
        assert_eq!(words, format!("nginx: [emerg] {expected}\n"));
    };
    check("open() \"/etc/nginx/nginx.conf\" failed (2: No such file or directory)");
    stage.web.configure(&[]).unwrap();
    fs::write(stage.path("nginx/nginx.conf"), "http {}\n").unwrap();
    check("no \"events\" section in configuration");
    fs::write(
        stage.path("nginx/nginx.conf"),
        "events {}\ninclude none/*.conf;\n",
    )
    .unwrap();
    assert_eq!(stage.web.reload(), Ok(()));
    fs::write(
        stage.path("nginx/nginx.conf"),
        "events {}\ninclude none.conf;\n",
    )
    .unwrap();
    check(
        "open() \"/etc/nginx/none.conf\" failed (2: No such file or directory) in \
         /etc/nginx/nginx.conf:2",
    );
}

/// The text of a file, and what nginx says of it; ` @2` is its second line
const MISTAKES: [(&str, &str); 32] = [
    ("server {\n server_name \"x\"y;\n}\n", "unexpected \"y\" @2"),
    (
        "server {\n listen 443 ssl;\n",
        "unexpected end of file, expecting \"}\" @3",
    ),
    ("server {\n}\n}\n", "unexpected \"}\" @3"),
    ("server {\n listen 443 ssl }\n", "unexpected \"}\" @2"),
    (
        "server {\n server_name x.test # ;\n}\n",
        "unexpected \"}\" @3",
    ),
    (
        "garbage",
        "unexpected end of file, expecting \";\" or \"}\" @1",
    ),
    ("\n\ngarbage;\n", "unknown directive \"garbage\" @3"),
    ("garbage x\ny;\n}", "unknown directive \"garbage\" @2"),
    ("garbage {\n", "unknown directive \"garbage\" @1"),
    (";", "unexpected \";\" @1"),
    ("{\n}", "unexpected \"{\" @1"),
    (
        "server {\n server_name \"x;\n}\n",
        "unexpected end of file, expecting \";\" or \"}\" @4",
    ),
    ("http {}", "\"http\" directive is not allowed here @1"),
    (
        "listen 443 ssl;",
        "\"listen\" directive is not allowed here @1",
    ),
    (
        "server {\n upstream x { }\n}",
        "\"upstream\" directive is not allowed here @2",
    ),
    (
        "server {\n location / {\n ssl_certificate x;\n }\n}",
        "\"ssl_certificate\" directive is not allowed here @3",
    ),
    ("server;", "directive \"server\" has no opening \"{\" @1"),
    (
        "server {\n listen {\n }\n}",
        "directive \"listen\" is not terminated by \";\" @2",
    ),
    (
        "server x {\n}",
        "invalid number of arguments in \"server\" directive @1",
    ),
    (
        "server {\n ssl_certificate x\n ssl_certificate_key y;\n}",
        "invalid number of arguments in \"ssl_certificate\" directive @3",
    ),
    (
        "server {\n listen 443 ssl\n server_name x;\n}",
        "invalid parameter \"server_name\" @3",
    ),
    (
        "server {\n listen 443 backlog=1 https;\n}",
        "invalid parameter \"https\" @2",
    ),
    (
        "server {\n listen 65536;\n}",
        "invalid port in \"65536\" of the \"listen\" directive @2",
    ),
    (
        "server {\n listen x:y;\n}",
        "invalid port in \"x:y\" of the \"listen\" directive @2",
    ),
    (
        "server {\n listen x:443;\n}",
        "host not found in \"x:443\" of the \"listen\" directive @2",
    ),
    (
        "server {\n listen 443;\n listen *:443 ssl;\n}",
        "a duplicate listen 0.0.0.0:443 @3",
    ),
    (
        "server { listen 1 default_server; }\nserver { listen 1 default; }",
        "a duplicate default server for 0.0.0.0:1 @2",
    ),
    (
        "server {\n server_name *x.test;\n}",
        "server name \"*x.test\" is invalid @2",
    ),
    (
        "\nserver {\n listen 8443 ssl;\n}",
        "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive @2",
    ),
    (
        "server { listen 1 ssl; ssl_reject_handshake on; }\nserver { listen 1; }",
        "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive @2",
    ),
    (
        "include x/y;",
        "open() \"/etc/nginx/x/y\" failed (2: No such file or directory) @1",
    ),
    (
        "server { listen 443 ssl; ssl_certificate x.pem; ssl_certificate_key y; }",
        "cannot load certificate \"/etc/nginx/x.pem\": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen(/etc/nginx/x.pem, r) error:10000080:BIO routines::no such file)",
    ),
];
const MISMATCH: &str = "SSL_CTX_use_PrivateKey(\"/etc/letsencrypt/live/b.test/privkey.pem\") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)";

impl Stage {
    /// The leaves of the sites a.test and b.test, which are served
    async fn serving_two(&self) -> (Vec<u8>, Vec<u8>) {
        let leaves = (self.issue("a.test", 1), self.issue("b.test", 1));
        let sites = [site("a.test"), site("b.test")];
        self.web.configure(&sites).unwrap();
        self.web.reload().unwrap();
        assert_eq!(leaf(&self.web, "b.test").await, Some(leaves.1.clone()));
        leaves
    }

    /// Changes the file of a site; gives its text
    fn edit(&self, site: &str, change: impl FnOnce(&str) -> String) -> String {
        let path = self.path(&format!("nginx/sites/{site}.conf"));
        let before = fs::read_to_string(&path).unwrap();
        let text = change(&before);
        assert_ne!(text, before);
        self.site(site, &text);
        text
    }

    /// Writes the file of a site
    fn site(&self, site: &str, text: &str) {
        let path = self.path(&format!("nginx/sites/{site}.conf"));
        fs::write(path, text).unwrap();
    }

    /// Leaf of a pair of somebody's own beside nginx.conf
    fn pair_in_configuration(&self, name: &str) -> Vec<u8> {
        let (chain_pem, key_pem, der) = pair("own.test");
        fs::write(self.path(&format!("nginx/{name}.pem")), chain_pem).unwrap();
        fs::write(self.path(&format!("nginx/{name}.key")), key_pem).unwrap();
        der
    }
}

/// A server block for a name with its key and this certificate of the storage
fn tls(name: &str, certificate: &str) -> String {
    format!(
        "server {{ listen 443 ssl; server_name {name}; \
         ssl_certificate {STORAGE}/{certificate}; \
         ssl_certificate_key {STORAGE}/live/{name}/privkey.pem; }}"
    )
}

/// A certificate as text
fn pem(der: &[u8]) -> String {
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
