//! The addresses of one name: each is looked at once, and none is blamed for what another shows.

use std::io::Read;
use std::net::TcpListener;

use certd_sandbox::dns::{self, Record, Zone};
use tokio::runtime::{Builder, Runtime};

use super::{NAME, ROOT, issue, place, report, shake_hands};
use crate::support::{Leaf, Place, Server, Wish, codes, tls_config};

fn on(listener: TcpListener, leaf: &Leaf) -> Server {
    let config = tls_config(leaf);
    Server::on(listener, move |mut stream| {
        shake_hands(&config, &mut stream);
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// A place where the name has these records, and the DNS server with its runtime
fn with_records(records: Vec<Record>, port: u16) -> (Place, dns::Server, Runtime) {
    let zone = Zone::new();
    for record in records {
        zone.add(NAME, record);
    }
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let anywhere = "127.0.0.1:0".parse().expect("an address");
    let server = runtime
        .block_on(dns::Server::start(anywhere, zone))
        .expect("the loopback has free ports");
    let place = place(&format!(
        "[dns]\nservers = [\"{}\"]\n[[domain]]\nname = \"{NAME}\"\nports = [{port}]\n",
        server.address()
    ));
    (place, server, runtime)
}

#[test]
fn an_address_that_dns_gives_twice_is_looked_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _server = on(listener, &issue(&Wish::names(&[NAME])));
    let once = || Record::A("127.0.0.1".parse().unwrap());
    let records = vec![
        once(),
        once(),
        Record::Aaaa("::ffff:127.0.0.1".parse().unwrap()),
    ];
    let (place, _dns, _runtime) = with_records(records, port);
    let report = report(&place, &[]);
    assert_eq!(
        report["endpoints"].as_array().unwrap().len(),
        1,
        "{report:#}"
    );
    assert_eq!(
        report["endpoints"][0]["address"],
        format!("127.0.0.1:{port}")
    );
    assert_eq!(codes(&report), [""; 0], "{report:#}");
}

#[test]
fn a_good_address_is_not_blamed_for_what_a_bad_one_shows() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let expired = Wish {
        valid: (2020, 2021),
        ..Wish::names(&[NAME])
    };
    // The good one is the first that DNS gives, and then the last.
    for addresses in [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]] {
        let listeners = [first.try_clone().unwrap(), second.try_clone().unwrap()];
        let leaves = [issue(&Wish::names(&[NAME])), issue(&expired)];
        let _servers: Vec<Server> = listeners
            .into_iter()
            .zip(&leaves)
            .map(|(listener, leaf)| on(listener, leaf))
            .collect();
        let records = addresses.map(|address| Record::A(address.parse().unwrap()));
        let (place, _dns, _runtime) = with_records(records.to_vec(), port);
        let report = report(&place, &[]);
        let endpoints = report["endpoints"].as_array().unwrap();
        let at = |address: &str| {
            let mut endpoints = endpoints.iter();
            let address = format!("{address}:{port}");
            endpoints
                .find(|endpoint| endpoint["address"] == address)
                .unwrap()
        };
        assert_eq!(at("127.0.0.1")["severity"], "ok", "{report:#}");
        assert_eq!(at("127.0.0.2")["severity"], "failure", "{report:#}");
        assert_eq!(
            codes(&report),
            ["served.differs", "served.expired"],
            "{report:#}"
        );
    }
}

#[test]
fn two_moments_within_one_minute_are_told_apart() {
    let place = place("");
    place.write(
        "chain.pem",
        ROOT.issue(&Wish::names(&[NAME]))
            .sent_with(Vec::new())
            .chain_pem(),
    );
    let told = |at: &str| {
        let report = report(
            &place,
            &["--chain", "chain.pem", "--name", NAME, "--at", at],
        );
        report["endpoints"][0]["findings"][0]["evidence"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        told("2120-01-01T00:00:01Z"),
        "expired 1 s before 2120-01-01 00:00:01 UTC, at 2120-01-01 00:00:00 UTC"
    );
    assert_eq!(
        told("2019-12-31T23:59:59Z"),
        "not valid before 2020-01-01 00:00 UTC"
    );
    assert_eq!(
        told("2120-01-01T00:01:00Z"),
        "expired 60 s before 2120-01-01 00:01 UTC, at 2120-01-01 00:00 UTC"
    );
}
