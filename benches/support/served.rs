//! Domains that a web server in nginx's place serves, with a Docker engine and a CA beside it.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;

use certd_sandbox::Clock;
use certd_sandbox::Validity;
use certd_sandbox::acme::{self, Ca};
use certd_sandbox::dns::{self, Zone};
use certd_sandbox::docker::{Container, Engine};
use certd_sandbox::web::{self, Site, Web};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::runtime::Runtime;

/// What serves the domains, stopped on drop
pub(crate) type Servers = (Ca, dns::Server, Web, Engine);

/// Whether the newest generation was ever seen served
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Proven,
    Issued,
}

/// Domains with one generation each, which is live, and what serves them
pub(crate) fn serve(runtime: &Runtime, home: &Path, domains: usize, state: State) -> Servers {
    let names: Vec<String> = (0..domains).map(name).collect();
    let (storage, webroot) = (home.join("storage"), home.join("webroot"));
    for directory in [&storage.join("live"), &webroot, &home.join("state/domains")] {
        fs::create_dir_all(directory).expect("a directory");
    }
    let options = web::Options {
        configuration: home.join("nginx"),
        webroot: webroot.clone(),
        storage: storage.clone(),
    };
    runtime.block_on(async {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let dns = dns::Server::start(anywhere, Zone::new()).await;
        let dns = dns.expect("a DNS server");
        let web = Web::start(options).await.expect("a web server");
        let options = acme::Options::new(Clock::new(Timestamp::now), dns.address(), 80);
        let ca = Ca::start(options).await.expect("a CA");
        write_lineages(home, &ca, &web, &names, state);
        web.restart().expect("its files are there");
        let container = Container::nginx("web", &storage, &webroot);
        let socket = home.join("docker.sock");
        let engine = Engine::start(&socket, container, web.clone()).await;
        (ca, dns, web, engine.expect("an engine"))
    })
}

/// The name of a domain, by its number
pub(crate) fn name(number: usize) -> String {
    format!("d{number}.test")
}

fn write_lineages(home: &Path, ca: &Ca, web: &Web, names: &[String], state: State) {
    fs::write(home.join("root.pem"), ca.root_pem()).expect("a file");
    let now = Timestamp::now();
    let validity = Validity {
        not_before: now - SignedDuration::from_hours(72),
        not_after: now + SignedDuration::from_hours(24 * 87),
    };
    let record = json!({"version": 1, "generations": {"1": {
        "issuer": "test",
        "issued_at": now,
        "proven_at": (state == State::Proven).then_some(now),
        "renewal": {
            "window": {"start": "3999-01-01T00:00:00Z", "end": "3999-01-02T00:00:00Z"},
            "instant": "3999-01-01T12:00:00Z",
            "next_look": now + SignedDuration::from_hours(12),
            "failures": 0,
        },
    }}});
    let mut config = format!(
        "terms_of_service_agreed = true\nissuer = \"test\"\nstorage = \"storage\"\n\
         state = \"state\"\nwebroot = \"webroot\"\n[verify]\ntrust = [\"root.pem\"]\n\
         [issuers.test]\ndirectory = {:?}\ntrust = \"root.pem\"\n\
         [nginx]\ncontainer = \"web\"\ndocker = {:?}\n",
        ca.directory(),
        home.join("docker.sock"),
    );
    let mut sites = Vec::new();
    for name in names {
        let pair = ca.issue(&[name.as_str()], validity).expect("a certificate");
        let archive = home.join("storage/archive").join(name).join("1");
        fs::create_dir_all(&archive).expect("a directory");
        let end = "-----END CERTIFICATE-----\n";
        let after_leaf = pair.chain_pem.find(end).expect("a leaf") + end.len();
        let (leaf, above) = pair.chain_pem.split_at(after_leaf);
        for (file, text) in [
            ("cert.pem", leaf),
            ("chain.pem", above),
            ("fullchain.pem", &pair.chain_pem),
            ("privkey.pem", &pair.key_pem),
        ] {
            fs::write(archive.join(file), text).expect("a file");
        }
        let live = home.join("storage/live").join(name);
        symlink(format!("../archive/{name}/1"), live).expect("a link");
        let record_file = home.join(format!("state/domains/{name}.json"));
        fs::write(record_file, record.to_string()).expect("a file");
        let port = web.https().port();
        let _ = writeln!(config, "[[domain]]\nname = {name:?}\nports = [{port}]");
        sites.push(Site {
            names: vec![name.clone()],
            lineage: name.clone(),
        });
    }
    web.configure(&sites).expect("its files are writable");
    fs::write(home.join("domains.toml"), config).expect("a file");
}
