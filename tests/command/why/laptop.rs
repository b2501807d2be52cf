//! A domain of domains.toml, looked at from a machine that has neither the storage nor Docker.

use super::several::{Laptop, NAME, two_servers};
use super::*;

/// The same machine, whose domains.toml has the name
fn laptop(port: u16, root: &Authority) -> Laptop {
    let laptop = Laptop::new(port, root);
    let config = laptop.place.read("domains.toml");
    let config = config.replace("\"other.test\"", &format!("\"{NAME}\""));
    laptop.place.write("domains.toml", config);
    fs::remove_dir(laptop.place.path("storage")).expect("it is empty");
    laptop
}

#[test]
fn the_storage_is_on_another_host() {
    let root = Authority::root("Root of a laptop");
    let strange = root.issue(&Wish::names(&["strange.test"]));
    let (_servers, port) = two_servers(&strange, &strange);
    let laptop = laptop(port, &root);
    let (report, text) = laptop.why(1);
    assert_eq!(report["change"]["code"], "served.wrong_name", "{report:#}");
    let installed = step(&report, "installed");
    assert_eq!(installed["findings"][0]["code"], "why.not_here");
    assert_eq!(installed["severity"], "note");
    laptop
        .filters()
        .bind(|| insta::assert_snapshot!("laptop", text));

    // With a storage of its own the machine is certd's, and the certificate lacks.
    fs::create_dir(laptop.place.path("storage")).expect("it is not there");
    let (report, _) = laptop.why(1);
    assert_eq!(report["change"]["code"], "why.not_installed", "{report:#}");
}

#[test]
fn what_is_served_right_needs_no_storage_here() {
    let root = Authority::root("Root of a laptop");
    let good = root.issue(&Wish::names(&[NAME]));
    let (_servers, port) = two_servers(&good, &good);
    let (report, _) = laptop(port, &root).why(0);
    assert_eq!(report["verdict"]["answer"], "accepted", "{report:#}");
    assert_eq!(report["change"], Value::Null, "{report:#}");
}
