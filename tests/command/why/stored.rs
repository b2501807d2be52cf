//! What certd has of the domain: nothing, something that ended, something that is not live.

use super::*;

/// Puts a generation 2 that ends in this year beside the one that was obtained
fn second_generation(host: &Host, until: i32) {
    let mut wish = Wish::names(&[MESSENGER]);
    wish.valid = (2020, until);
    let leaf = Authority::root("Root of before").issue(&wish);
    host.place.archive(MESSENGER, 2, &leaf);
}

#[test]
fn nothing_was_obtained_yet() {
    let host = Host::new(&Setting::two_domains());
    let run = why(&host, MESSENGER, 1);
    shows!(host, "nothing_yet", run);

    // Without Docker the first that is known to lack is the certificate.
    host.certd(&["obtain", SHOP]).exits(1);
    configure(&host, &[(&[SHOP, WWW], SHOP)]);
    host.certd(&["obtain", SHOP]).exits(0);
    let config = host.place.read("domains.toml");
    host.place
        .write("domains.toml", config.replace("docker.sock", "gone.sock"));
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.not_installed", "{report:#}");
    let cure = "`certd obtain messenger.rare-books.test` orders it, and lets nginx load it";
    assert_eq!(report["change"]["cure"], cure);
    assert_eq!(report["verdict"]["answer"], "refused");
}

#[test]
fn a_file_that_no_domain_supplies() {
    let host = host();
    configure(
        &host,
        &[(&[SHOP, WWW], SHOP), (&[MESSENGER], "messenger.test")],
    );
    let (code, report) = change(&host, &[SHOP], 0);
    assert_eq!(code, "why.missing_file", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(cure.starts_with("no domain of domains.toml "), "{cure}");
    assert_eq!(report["verdict"]["answer"], "accepted");
    // A directory that is called like a domain is not the storage.
    let path = "/etc/ssl/messenger.rare-books.test/fullchain.pem";
    let key = line("ssl_certificate_key", MESSENGER);
    let text = format!(
        "server {{ listen 443 ssl; server_name {MESSENGER}; ssl_certificate {path}; {key} }}"
    );
    host.place.write("nginx/sites/zoo.conf", text);
    let (code, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(code, "why.missing_file", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    assert!(cure.starts_with("no domain of domains.toml "), "{cure}");
}

#[test]
fn another_programs_certificate_is_not_the_domains_own() {
    let host = host();
    let live = host.place.path("storage/live").join(MESSENGER);
    let generation = fs::canonicalize(&live).expect("a link");
    fs::remove_file(&live).expect("it is a link");
    fs::create_dir(&live).expect("it is gone");
    for file in ["fullchain.pem", "privkey.pem"] {
        fs::copy(generation.join(file), live.join(file)).expect("it can be copied");
    }
    fs::remove_dir_all(host.place.path("storage/archive").join(MESSENGER)).expect("it is there");
    // It is served well; what certd would do, the steps say.
    let (code, report) = change(&host, &[MESSENGER], 0);
    assert_eq!(code, "store.foreign_lineage", "{report:#}");
    let cure = report["change"]["cure"].as_str().expect("a cure");
    // Another domain keeps its certificates there, so the storage stays.
    assert!(cure.contains("1. copy what nginx has"), "{cure}");
}

#[test]
fn what_is_installed_has_expired() {
    let host = host();
    second_generation(&host, 2021);
    fs::remove_file(host.place.path("storage/live").join(MESSENGER)).expect("it is a link");
    host.place.go_live(MESSENGER, 2);
    host.web.reload().expect("nginx loads it");
    let run = why(&host, MESSENGER, 1);
    shows!(host, "not_renewed", run);
    let (code, report) = change(&host, &[MESSENGER], 1);
    assert_eq!(code, "why.not_renewed", "{report:#}");
}

#[test]
fn a_generation_that_is_not_live() {
    let host = host();
    second_generation(&host, 2120);
    let run = why(&host, MESSENGER, 0);
    shows!(host, "not_live", run);
    let (_, report) = change(&host, &[MESSENGER], 0);
    let installed = step(&report, "installed");
    assert_eq!(installed["findings"][0]["code"], "why.not_live");
    assert_eq!(installed["severity"], "note");
    assert_eq!(report["change"], Value::Null);
}
