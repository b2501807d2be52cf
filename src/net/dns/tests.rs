use std::sync::Arc;

use super::*;
use certd_sandbox::dns::{Criticality as Flag, Failure, Record as Entry, Server, Zone};

const PATIENCE: Duration = Duration::from_secs(5);
const IMPATIENCE: Duration = Duration::from_millis(200);

async fn start(address: &str, zone: &Zone) -> Server {
    let address = address.parse().expect("an address");
    Server::start(address, zone.clone())
        .await
        .expect("a server")
}

fn resolver(server: SocketAddr, timeout: Duration) -> Resolver {
    Resolver::new(&[server], timeout).expect("a resolver")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn a(address: &str) -> Entry {
    Entry::A(address.parse().expect("an address"))
}

fn answer_of(aliases: &[&str], records: Vec<RecordData>) -> Answer {
    Answer {
        aliases: aliases.iter().map(ToString::to_string).collect(),
        records,
        ttl: Some(Duration::ZERO),
    }
}

#[tokio::test]
async fn each_kind_of_record_is_told_with_the_aliases_that_lead_to_it() {
    let zone = Zone::new();
    zone.add("shop.test", a("192.0.2.1"));
    zone.add("shop.test", a("192.0.2.2"));
    zone.add("shop.test", Entry::Aaaa("2001:db8::1".parse().unwrap()));
    zone.add("shop.test", Entry::Ns("NS1.shop.test".to_owned()));
    zone.add("www.test", Entry::Cname("Web.test".to_owned()));
    zone.add("web.test", Entry::Cname("shop.test".to_owned()));
    let server = start("127.0.0.1:0", &zone).await;
    let resolver = resolver(server.address(), PATIENCE);
    let check = async |name: &str, kind, expected: Answer| {
        let found = resolver.lookup(name, kind).await;
        assert_eq!((found.name.as_str(), found.kind), (name, kind));
        assert_eq!(found.outcome, Ok(expected));
    };
    let v4 = ["192.0.2.1", "192.0.2.2"].map(|address| RecordData::Address(ip(address)));
    let v6 = vec![RecordData::Address(ip("2001:db8::1"))];
    check("shop.test", RecordKind::A, answer_of(&[], v4.to_vec())).await;
    check("shop.test", RecordKind::Aaaa, answer_of(&[], v6.clone())).await;
    check(
        "www.test",
        RecordKind::A,
        answer_of(&["web.test", "shop.test"], v4.to_vec()),
    )
    .await;
    check(
        "www.test",
        RecordKind::Aaaa,
        answer_of(&["web.test", "shop.test"], v6),
    )
    .await;
    let ns = vec![RecordData::NameServer("ns1.shop.test".to_owned())];
    check("shop.test", RecordKind::Ns, answer_of(&[], ns)).await;
    check("shop.test", RecordKind::Caa, answer_of(&[], Vec::new())).await;
    let found = resolver.addresses("www.test").await;
    assert_eq!(
        found,
        Ok(vec![ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1")])
    );
}

#[tokio::test]
async fn caa_is_told_with_its_flag_and_its_tag_in_lower_case() {
    let zone = Zone::new();
    for (criticality, tag) in [(Flag::NonCritical, "ISSUE"), (Flag::Critical, "tbs")] {
        zone.add(
            "shop.test",
            Entry::Caa {
                criticality,
                tag: tag.to_owned(),
                value: "CA.test; a=b".to_owned(),
            },
        );
    }
    zone.add("www.test", Entry::Cname("shop.test".to_owned()));
    let server = start("127.0.0.1:0", &zone).await;
    let resolver = resolver(server.address(), PATIENCE);
    let caa = |criticality, tag: &str| {
        RecordData::Caa(Caa {
            criticality,
            tag: tag.to_owned(),
            value: "CA.test; a=b".to_owned(),
        })
    };
    let records = vec![
        caa(Criticality::NonCritical, "issue"),
        caa(Criticality::Critical, "tbs"),
    ];
    for (name, aliases) in [("shop.test", &[][..]), ("www.test", &["shop.test"][..])] {
        let found = resolver.lookup(name, RecordKind::Caa).await;
        assert_eq!(found.outcome, Ok(answer_of(aliases, records.clone())));
    }
}

#[tokio::test]
async fn each_failure_is_told_apart() {
    let zone = Zone::new();
    zone.fail("broken.test", Failure::ServFail);
    zone.fail("refused.test", Failure::Refused);
    zone.fail("silent.test", Failure::NoAnswer);
    zone.add("lost.test", Entry::Cname("nowhere.test".to_owned()));
    zone.set("bare.test", []);
    let server = start("127.0.0.1:0", &zone).await;
    let check =
        async |name: &str, timeout, expected: Result<(), LookupFailure>, error: DnsError| {
            let resolver = resolver(server.address(), timeout);
            for kind in [RecordKind::A, RecordKind::Caa] {
                let found = resolver.lookup(name, kind).await;
                assert_eq!(found.outcome.map(drop), expected, "{name} {kind}");
            }
            assert_eq!(resolver.addresses(name).await, Err(error));
        };
    let missing = || Err(LookupFailure::NoSuchName);
    check("nowhere.test", PATIENCE, missing(), DnsError::NoSuchName).await;
    check("lost.test", PATIENCE, missing(), DnsError::NoSuchName).await;
    check("bare.test", PATIENCE, Ok(()), DnsError::NoAddress).await;
    let refused = LookupFailure::Refused;
    let error = DnsError::Failed("REFUSED".to_owned());
    check("refused.test", PATIENCE, Err(refused), error).await;
    let servfail = LookupFailure::ServFail(Dnssec::NotTheCause);
    let error = DnsError::Failed("SERVFAIL".to_owned());
    check("broken.test", PATIENCE, Err(servfail), error).await;
    let silence = Err(LookupFailure::TimedOut);
    check("silent.test", IMPATIENCE, silence, DnsError::TimedOut).await;
}

#[tokio::test]
async fn no_server_at_all_is_no_answer() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let found = resolver(socket.local_addr().unwrap(), IMPATIENCE)
        .lookup("shop.test", RecordKind::A)
        .await;
    assert_eq!(found.outcome, Err(LookupFailure::TimedOut));
}

#[tokio::test]
async fn localhost_is_not_asked_for() {
    let server = start("127.0.0.1:0", &Zone::new()).await;
    let found = resolver(server.address(), PATIENCE)
        .addresses("localhost")
        .await;
    assert_eq!(found, Ok(vec![ip("127.0.0.1")]));
    assert_eq!(server.queries(), []);
}

/// What a server says to a question without the CD bit
#[derive(Clone, Copy)]
enum Unchecked {
    ServFail,
    /// An empty answer from the first question with the CD bit on
    ServFailAtFirst,
}

/// A server that validates, of a zone with broken signatures: with the CD bit it has an answer
async fn validating(unchecked: Unchecked) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
    let address = socket.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let mut has_recovered = false;
        let mut message = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut message).await {
            let is_unchecked = message[3] & 0x10 != 0;
            let answers = is_unchecked || has_recovered;
            has_recovered |= is_unchecked && matches!(unchecked, Unchecked::ServFailAtFirst);
            message[2] |= 0x80;
            message[3] = (message[3] & 0x10) | if answers { 0 } else { 2 };
            let _ = socket.send_to(&message[..length], peer).await;
        }
    });
    (address, serving)
}

#[tokio::test]
async fn broken_signatures_are_told_from_a_broken_server() {
    let (address, serving) = validating(Unchecked::ServFail).await;
    let found = resolver(address, PATIENCE)
        .lookup("shop.test", RecordKind::A)
        .await;
    assert_eq!(found.outcome, Err(LookupFailure::ServFail(Dnssec::Broken)));
    serving.abort();
}

#[tokio::test]
async fn a_server_that_recovers_is_believed() {
    let (address, serving) = validating(Unchecked::ServFailAtFirst).await;
    let found = resolver(address, PATIENCE)
        .lookup("shop.test", RecordKind::A)
        .await;
    assert_eq!(found.outcome, Ok(Answer::default()));
    serving.abort();
}

/// Two servers of one zone, on one port of two addresses
async fn zone_servers(zones: [&Zone; 2]) -> [Server; 2] {
    loop {
        let first = start("127.0.0.2:0", zones[0]).await;
        let second = SocketAddr::new(ip("127.0.0.3"), first.address().port());
        // Another program may have the port there.
        if let Ok(second) = Server::start(second, zones[1].clone()).await {
            return [first, second];
        }
    }
}

#[tokio::test]
async fn the_servers_of_a_zone_are_asked_themselves() {
    let (near, one, other) = (Zone::new(), Zone::new(), Zone::new());
    for name in ["ns1.host.test", "ns2.host.test", "ns3.host.test"] {
        near.add("shop.test", Entry::Ns(name.to_owned()));
    }
    near.add("ns1.host.test", a("127.0.0.2"));
    near.add("ns2.host.test", a("127.0.0.3"));
    near.add("alias.other.test", Entry::Cname("shop.test".to_owned()));
    one.add("www.shop.test", a("192.0.2.1"));
    other.fail("www.shop.test", Failure::Refused);
    let [first, second] = zone_servers([&one, &other]).await;
    let server = start("127.0.0.1:0", &near).await;
    let resolver = resolver(server.address(), PATIENCE);
    let found = resolver
        .authorities("www.shop.test", first.address().port())
        .await;
    let said = |outcome: &Result<Answer, LookupFailure>| {
        let addresses = |answer: &Answer| answer.addresses().collect::<Vec<_>>();
        outcome.as_ref().map(addresses).map_err(Clone::clone)
    };
    let said: Vec<_> = found
        .iter()
        .map(|found| {
            let lookups = found.lookups.iter();
            let said: Vec<_> = lookups
                .map(|lookup| (lookup.kind, said(&lookup.outcome)))
                .collect();
            (found.server.as_str(), found.address, said)
        })
        .collect();
    let refused = || Err(LookupFailure::Refused);
    assert_eq!(
        said,
        [
            (
                "ns1.host.test",
                first.address(),
                vec![
                    (RecordKind::A, Ok(vec![ip("192.0.2.1")])),
                    (RecordKind::Aaaa, Ok(vec![])),
                    (RecordKind::Caa, Ok(vec![])),
                ]
            ),
            (
                "ns2.host.test",
                second.address(),
                vec![
                    (RecordKind::A, refused()),
                    (RecordKind::Aaaa, refused()),
                    (RecordKind::Caa, refused()),
                ]
            ),
        ]
    );
    // The zone of an alias is not the zone of what it points to.
    assert_eq!(
        resolver
            .authorities("alias.other.test", first.address().port())
            .await,
        []
    );
    assert_eq!(
        resolver
            .authorities("unknown.test", first.address().port())
            .await,
        []
    );
}

#[tokio::test]
async fn where_no_server_of_a_zone_ever_answers_few_are_asked() {
    let (near, silent) = (Zone::new(), Zone::new());
    near.add("test", Entry::Ns("ns.host.test".to_owned()));
    for number in 0..20 {
        let name = format!("{number}.shop.test");
        near.add(&name, Entry::Ns("ns.host.test".to_owned()));
        silent.fail(&name, Failure::NoAnswer);
    }
    near.add("ns.host.test", a("127.0.0.4"));
    let closed = start("127.0.0.4:0", &silent).await;
    let port = closed.address().port();
    let server = start("127.0.0.1:0", &near).await;
    let resolver = resolver(server.address(), IMPATIENCE);
    for number in 0..20 {
        let found = resolver
            .clone()
            .authorities(&format!("{number}.shop.test"), port)
            .await;
        let timed_out = |lookup: &Lookup| lookup.outcome == Err(LookupFailure::TimedOut);
        assert!(found[0].lookups.iter().all(timed_out), "{found:?}");
    }
    let asked: std::collections::BTreeSet<String> = closed
        .queries()
        .into_iter()
        .map(|question| question.name)
        .collect();
    assert_eq!(asked.len() * KINDS.len(), SILENT_SERVERS);
}
