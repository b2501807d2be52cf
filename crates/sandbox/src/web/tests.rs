use std::fs;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

mod client;
mod edited;

use client::{get, handshake, leaf, request};

#[tokio::test]
async fn a_certificate_changes_only_when_told() {
    let stage = Stage::new().await;
    assert_eq!(leaf(&stage.web, "a.test").await, None);
    let first = stage.issue("a.test", 1);
    stage.web.configure(&[site("a.test")]).unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, None);
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(first.clone()));
    let second = stage.issue("a.test", 2);
    assert_eq!(stage.web.test(), Ok(()));
    assert_eq!(leaf(&stage.web, "a.test").await, Some(first));
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(second));
}

#[tokio::test]
async fn a_bad_reload_leaves_all_as_it_was() {
    let stage = Stage::new().await;
    let first = stage.serving("a.test").await;
    stage.issue("a.test", 2);
    fs::remove_file(stage.path("live/a.test/privkey.pem")).unwrap();
    let complaint = stage.web.reload().unwrap_err();
    assert!(complaint.contains("cannot load certificate key"));
    assert_eq!(leaf(&stage.web, "a.test").await, Some(first));
    assert!(stage.web.is_running());
}

#[tokio::test]
async fn a_bad_restart_serves_nothing_until_one_that_works() {
    let stage = Stage::new().await;
    let first = stage.serving("a.test").await;
    let hidden = stage.path("hidden");
    fs::rename(stage.path("live"), &hidden).unwrap();
    stage.web.restart().unwrap_err();
    assert!(!stage.web.is_running());
    assert_eq!(leaf(&stage.web, "a.test").await, None);
    assert_eq!(request(stage.web.http(), "a.test", "/").await, "");
    fs::rename(hidden, stage.path("live")).unwrap();
    assert!(stage.web.reload().unwrap_err().contains("nginx.pid"));
    assert_eq!(leaf(&stage.web, "a.test").await, None);
    stage.web.restart().unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(first));
    assert!(
        request(stage.web.http(), "a.test", "/")
            .await
            .contains("301")
    );
}

#[tokio::test]
async fn the_last_clone_stops_it() {
    let stage = Stage::new().await;
    let clone = stage.web.clone();
    let address = stage.web.http();
    drop(stage);
    assert!(request(address, "a.test", "/").await.contains("301"));
    drop(clone);
    // The task that listens ends when the runtime comes to it.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_name_chooses_its_site_and_any_other_the_first() {
    let stage = Stage::new().await;
    let a = stage.issue("a.test", 1);
    let b = stage.issue("b.test", 1);
    let deep = stage.issue("deep", 1);
    stage
        .web
        .configure(&[
            Site {
                names: vec!["b.test".to_owned(), "*.b.test".to_owned()],
                ..site("b.test")
            },
            Site {
                names: vec!["*.deep.b.test".to_owned()],
                lineage: "deep".to_owned(),
            },
            site("a.test"),
        ])
        .unwrap();
    stage.web.restart().unwrap();
    let web = &stage.web;
    assert_eq!(leaf(web, "b.test").await, Some(b.clone()));
    assert_eq!(leaf(web, "B.Test").await, Some(b.clone()));
    assert_eq!(leaf(web, "x.b.test").await, Some(b));
    assert_eq!(leaf(web, "x.deep.b.test").await, Some(deep.clone()));
    assert_eq!(leaf(web, "a.test").await, Some(a));
    // Of the files _.deep.b.test.conf, a.test.conf and b.test.conf the first is the default.
    assert_eq!(leaf(web, "other.test").await, Some(deep));
}

#[tokio::test]
async fn pages_name_their_site_over_both_versions_of_tls() {
    let stage = Stage::new().await;
    stage.serving("a.test").await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let answer = get(&stage.web, "a.test", version).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("a.test, served by the sandbox\n"));
    }
}

#[tokio::test]
async fn another_lineage_can_be_shown() {
    let stage = Stage::new().await;
    let own = stage.serving("a.test").await;
    let other = stage.issue("b.test", 1);
    let lineage = |name: &str| Instead::Lineage(name.to_owned());
    stage.web.serve("A.test", lineage("b.test")).unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(other));
    assert_eq!(leaf(&stage.web, "c.test").await, Some(own.clone()));
    stage.web.serve("a.test", lineage("missing")).unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, None);
    stage.web.behave();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(own));
}

#[tokio::test]
async fn the_previous_generation_can_be_shown() {
    let stage = Stage::new().await;
    let first = stage.serving("a.test").await;
    stage.web.serve("a.test", Instead::Previous).unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(first));
    let ninth = stage.issue("a.test", 9);
    stage.issue("a.test", 10);
    stage.web.reload().unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(ninth));
}

#[tokio::test]
async fn a_given_pair_a_self_signed_one_and_none_can_be_shown() {
    let stage = Stage::new().await;
    let own = stage.serving("a.test").await;
    let (chain_pem, key_pem, der) = pair("expired.test");
    let instead = Instead::Pair {
        chain_pem: chain_pem.clone(),
        key_pem,
    };
    stage.web.serve("a.test", instead).unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, Some(der.clone()));
    stage.web.serve("a.test", Instead::SelfSigned).unwrap();
    let made = leaf(&stage.web, "a.test").await.unwrap();
    assert!(made != own && made != der);
    stage.web.serve("a.test", Instead::Nothing).unwrap();
    assert_eq!(leaf(&stage.web, "a.test").await, None);
    let (_, foreign_key, _) = pair("other.test");
    let mismatched = Instead::Pair {
        chain_pem,
        key_pem: foreign_key,
    };
    assert!(matches!(
        stage.web.serve("a.test", mismatched),
        Err(SandboxError::Tls(_))
    ));
}

#[tokio::test]
async fn the_chain_can_be_left_incomplete() {
    let stage = Stage::new().await;
    let own = stage.serving("a.test").await;
    assert_eq!(handshake(&stage.web, "a.test").await.unwrap().len(), 2);
    stage.web.serve("a.test", Instead::LeafOnly).unwrap();
    assert_eq!(handshake(&stage.web, "a.test").await, Some(vec![own]));
}

#[tokio::test]
async fn challenges_come_from_the_webroot_and_all_else_is_redirected() {
    let stage = Stage::new().await;
    let http = stage.web.http();
    fs::write(stage.path("webroot/secret"), "secret").unwrap();
    fs::write(stage.path("outside"), "outside").unwrap();
    let challenges = stage.path("webroot/.well-known/acme-challenge");
    fs::write(challenges.join("to_K-en1"), "to_K-en1.thumbprint").unwrap();
    std::os::unix::fs::symlink("../../../outside", challenges.join("link")).unwrap();
    let ask = async |path: &str| {
        let path = format!("/.well-known/acme-challenge/{path}");
        request(http, "A.test:80", &path).await
    };
    let served = ask("to_K-en1").await;
    assert!(served.starts_with("HTTP/1.1 200 OK"), "{served}");
    assert!(served.ends_with("\r\n\r\nto_K-en1.thumbprint"), "{served}");
    for refused in [
        "",
        "missing",
        "link",
        "../../secret",
        "%2e%2e/%2e%2e/secret",
    ] {
        let answer = ask(refused).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{refused}: {answer}");
    }
    let elsewhere = request(http, "A.test:80", "/shop?page=2").await;
    assert!(elsewhere.starts_with("HTTP/1.1 301"), "{elsewhere}");
    assert!(elsewhere.contains("location: https://a.test/shop?page=2\r\n"));
    let asked = stage.web.requests();
    assert_eq!(asked.len(), 7);
    assert_eq!(asked[6].host, "a.test");
    assert_eq!(asked[6].path, "/shop");
}

#[tokio::test]
async fn http_departs_by_name_and_by_path() {
    let stage = Stage::new().await;
    let web = &stage.web;
    let all = || Asked::Path("/".to_owned());
    let ask = async |name: &str| request(web.http(), name, "/x").await;
    web.answer(all(), HttpInstead::Redirect("http://b.test/y".to_owned()));
    assert!(
        ask("a.test")
            .await
            .contains("location: http://b.test/y\r\n")
    );
    web.answer(all(), HttpInstead::Body("wrong".to_owned()));
    assert!(ask("a.test").await.ends_with("\r\n\r\nwrong"));
    for status in [403, 404, 500] {
        let name = Asked::Name("a.test".to_owned());
        web.answer(name, HttpInstead::Status(status));
        let answer = ask("a.test").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")));
    }
    assert!(ask("b.test").await.ends_with("wrong"));
    web.behave();
    assert!(ask("a.test").await.starts_with("HTTP/1.1 301"));
}

#[tokio::test]
async fn http_may_be_silent() {
    let stage = Stage::new().await;
    let path = Asked::Path("/.well-known/".to_owned());
    stage.web.answer(path, HttpInstead::Silence);
    let asking = request(stage.web.http(), "a.test", "/.well-known/x");
    let patience = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(patience, asking).await.is_err());
    let other = request(stage.web.http(), "a.test", "/x").await;
    assert!(other.starts_with("HTTP/1.1 301"));
}

#[tokio::test]
async fn nginx_says_what_is_wrong_with_a_file() {
    #[track_caller]
    fn check(stage: &Stage, expected: &str) {
        let expected = format!(
            "nginx: [emerg] {expected}\nnginx: configuration file /etc/nginx/nginx.conf test failed\n"
        );
        assert_eq!(stage.web.test(), Err(expected));
        assert_eq!(stage.web.dump(), "");
    }
    let stage = Stage::new().await;
    stage
        .web
        .configure(&[site("b.test"), site("a.test")])
        .unwrap();
    check(
        &stage,
        "cannot load certificate \"/etc/letsencrypt/live/a.test/fullchain.pem\": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen(/etc/letsencrypt/live/a.test/fullchain.pem, r) error:10000080:BIO routines::no such file)",
    );
    stage.issue("a.test", 1);
    stage.issue("b.test", 1);
    assert_eq!(stage.web.test(), Ok(()));
    let (chain, key) = (
        stage.path("live/b.test/fullchain.pem"),
        stage.path("live/b.test/privkey.pem"),
    );
    fs::remove_file(&key).unwrap();
    check(
        &stage,
        "cannot load certificate key \"/etc/letsencrypt/live/b.test/privkey.pem\": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen(/etc/letsencrypt/live/b.test/privkey.pem, r) error:10000080:BIO routines::no such file)",
    );
    fs::write(&key, "garbage").unwrap();
    check(
        &stage,
        "cannot load certificate key \"/etc/letsencrypt/live/b.test/privkey.pem\": PEM_read_bio_PrivateKey() failed (SSL: error:1E08010C:DECODER routines::unsupported:No supported data to decode. Input type: PEM)",
    );
    fs::copy(stage.path("live/a.test/privkey.pem"), &key).unwrap();
    check(
        &stage,
        "SSL_CTX_use_PrivateKey(\"/etc/letsencrypt/live/b.test/privkey.pem\") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)",
    );
    fs::write(&chain, "garbage").unwrap();
    check(
        &stage,
        "cannot load certificate \"/etc/letsencrypt/live/b.test/fullchain.pem\": PEM_read_bio_X509_AUX() failed (SSL: error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE)",
    );
}

#[tokio::test]
async fn the_dump_is_the_files_in_order() {
    let stage = Stage::new().await;
    stage.serving("a.test").await;
    let expected: String = files(&[site("a.test")])
        .into_iter()
        .map(|(name, text)| format!("# configuration file /etc/nginx/{name}:\n{text}\n"))
        .collect();
    assert_eq!(stage.web.dump(), expected);
    let names: Vec<String> = files(&[site("b.test"), site("*.a.test"), site("a.test")])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "nginx.conf",
            "sites/_.a.test.conf",
            "sites/a.test.conf",
            "sites/b.test.conf"
        ]
    );
    insta::assert_snapshot!(files(&[site("a.test")])[1].1, @r#"
    server {
        listen 443 ssl;
        server_name a.test;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate /etc/letsencrypt/live/a.test/fullchain.pem;
        ssl_certificate_key /etc/letsencrypt/live/a.test/privkey.pem;

        location / {
            default_type text/plain;
            return 200 "a.test, served by the sandbox\n";
        }
    }
    "#);
}

/// A web server with its directories
struct Stage {
    directory: TempDir,
    web: Web,
}

impl Stage {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let webroot = directory.path().join("webroot");
        fs::create_dir_all(webroot.join(".well-known/acme-challenge")).unwrap();
        let web = Web::start(Options {
            configuration: directory.path().join("nginx"),
            webroot,
            storage: directory.path().to_owned(),
        })
        .await
        .unwrap();
        Self { directory, web }
    }

    /// The leaf of a first generation that is served
    async fn serving(&self, lineage: &str) -> Vec<u8> {
        let first = self.issue(lineage, 1);
        self.web.configure(&[site(lineage)]).unwrap();
        self.web.reload().unwrap();
        assert_eq!(leaf(&self.web, lineage).await, Some(first.clone()));
        first
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Makes a new generation live, and gives its leaf
    fn issue(&self, lineage: &str, generation: u32) -> Vec<u8> {
        let (chain_pem, key_pem, der) = pair(lineage);
        let archive = self.path(&format!("archive/{lineage}/{generation}"));
        fs::create_dir_all(&archive).unwrap();
        fs::create_dir_all(self.path("live")).unwrap();
        fs::write(archive.join("fullchain.pem"), chain_pem).unwrap();
        fs::write(archive.join("privkey.pem"), key_pem).unwrap();
        let live = self.path(&format!("live/{lineage}"));
        let _ = fs::remove_file(&live);
        std::os::unix::fs::symlink(format!("../archive/{lineage}/{generation}"), live).unwrap();
        der
    }
}

fn site(name: &str) -> Site {
    Site {
        names: vec![name.to_owned()],
        lineage: name.to_owned(),
    }
}

/// A chain of two, its key and its leaf
fn pair(name: &str) -> (String, String, Vec<u8>) {
    let (leaf, key) = certificate(name);
    let (above, _) = certificate("ca.test");
    let chain_pem = leaf.pem() + &above.pem();
    (chain_pem, key.serialize_pem(), leaf.der().to_vec())
}

fn certificate(name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap(), key)
}
