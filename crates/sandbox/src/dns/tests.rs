use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;

use super::*;
use crate::SandboxError;

const LOCAL: &str = "127.0.0.1:0";

#[tokio::test]
async fn addresses_are_answered_whatever_the_case_of_the_name() {
    let zone = Zone::new();
    zone.add("Shop.test.", a(1));
    zone.add("shop.test", a(2));
    zone.add("shop.test", Record::Aaaa("2001:db8::7".parse().unwrap()));
    let server = start(zone).await;
    assert_eq!(
        ask(&server, "sHOP.test", "A").await,
        ["192.0.2.1", "192.0.2.2"]
    );
    assert_eq!(ask(&server, "shop.test", "AAAA").await, ["2001:db8::7"]);
    let asked = |kind: &str| Question {
        name: "shop.test".to_owned(),
        kind: kind.to_owned(),
    };
    assert_eq!(server.queries(), [asked("A"), asked("AAAA")]);
}

#[tokio::test]
async fn aliases_are_followed_and_all_in_the_answer() {
    let zone = Zone::new();
    zone.add("www.test", cname("Web.test."));
    zone.add("web.test", cname("host.test"));
    zone.add("host.test", a(1));
    zone.add("lost.test", cname("nowhere.test"));
    let server = start(zone).await;
    assert_eq!(
        ask(&server, "www.test", "A").await,
        ["Web.test.", "host.test.", "192.0.2.1"]
    );
    assert_eq!(ask(&server, "www.test", "CNAME").await, ["Web.test."]);
    assert_eq!(ask(&server, "lost.test", "A").await, ["NXDOMAIN"]);
}

#[test]
fn a_loop_of_aliases_gives_what_was_collected() {
    let zone = Zone::new();
    zone.add("a.test", cname("b.test"));
    zone.add("b.test", cname("A.test"));
    let answer = zone.find("a.test", RecordType::A, Checking::Enabled);
    assert_eq!(answer.outcome, Outcome::Found);
    assert_eq!(
        answer.found,
        [
            ("a.test".to_owned(), cname("b.test")),
            ("b.test".to_owned(), cname("A.test"))
        ]
    );
}

#[tokio::test]
async fn caa_comes_over_with_unknown_tags_and_the_critical_flag() {
    let zone = Zone::new();
    let caa = |criticality, tag: &str, value: &str| Record::Caa {
        criticality,
        tag: tag.to_owned(),
        value: value.to_owned(),
    };
    zone.add(
        "shop.test",
        caa(Criticality::NonCritical, "issue", "ca.test"),
    );
    zone.add("shop.test", caa(Criticality::Critical, "tbs", "Unknown"));
    zone.add("shop.test", Record::Ns("ns.test".to_owned()));
    zone.add("shop.test", Record::Txt("t".repeat(300)));
    let server = start(zone).await;
    assert_eq!(
        ask(&server, "shop.test", "CAA").await,
        ["0 issue \"ca.test\"", "128 tbs \"Unknown\""]
    );
    assert_eq!(ask(&server, "shop.test", "NS").await, ["ns.test."]);
    assert_eq!(ask(&server, "shop.test", "TXT").await, ["t".repeat(300)]);
}

#[tokio::test]
async fn nothing_there_and_no_such_name_differ() {
    let zone = Zone::new();
    zone.add("shop.test", a(1));
    zone.add("deep.below.test", a(2));
    zone.set("bare.test", []);
    let server = start(zone.clone()).await;
    assert_eq!(ask(&server, "shop.test", "AAAA").await, ["NODATA"]);
    assert_eq!(ask(&server, "below.test", "A").await, ["NODATA"]);
    assert_eq!(ask(&server, "bare.test", "A").await, ["NODATA"]);
    assert_eq!(ask(&server, "low.test", "A").await, ["NXDOMAIN"]);
    zone.remove("shop.test");
    assert_eq!(ask(&server, "shop.test", "A").await, ["NXDOMAIN"]);
}

#[tokio::test]
async fn the_closest_wildcard_answers_for_what_is_not_there() {
    let zone = Zone::new();
    zone.add("*.test", a(1));
    zone.add("*.shop.test", a(2));
    zone.add("there.shop.test", Record::Txt(String::from("here")));
    let server = start(zone).await;
    assert_eq!(ask(&server, "any.test", "A").await, ["192.0.2.1"]);
    assert_eq!(ask(&server, "a.b.shop.test", "A").await, ["192.0.2.2"]);
    assert_eq!(ask(&server, "there.shop.test", "A").await, ["NODATA"]);
    assert_eq!(ask(&server, "a.there.shop.test", "A").await, ["NXDOMAIN"]);
}

#[tokio::test]
async fn failures_last_until_the_name_is_set() {
    let zone = Zone::new();
    zone.add("shop.test", a(1));
    zone.add("www.test", cname("shop.test"));
    let server = start(zone.clone()).await;
    zone.fail("shop.test", Failure::ServFail);
    assert_eq!(ask(&server, "shop.test", "A").await, ["Server Failure"]);
    assert_eq!(ask(&server, "www.test", "A").await, ["Server Failure"]);
    zone.fail("shop.test", Failure::Refused);
    assert_eq!(ask(&server, "shop.test", "A").await, ["Query Refused"]);
    zone.fail("shop.test", Failure::NoAnswer);
    let impatient = resolver(server.address(), Duration::from_millis(100));
    let error = impatient.lookup("shop.test.", RecordType::A).await;
    assert!(matches!(error, Err(NetError::Timeout)), "{error:?}");
    zone.set("shop.test", [a(2)]);
    assert_eq!(ask(&server, "shop.test", "A").await, ["192.0.2.2"]);
    zone.set("bad.test", [cname("no..name")]);
    assert_eq!(ask(&server, "bad.test", "A").await, ["Server Failure"]);
}

#[tokio::test]
async fn an_answer_too_long_for_udp_comes_over_tcp() {
    let zone = Zone::new();
    for number in 0..200 {
        zone.add("crowd.test", a(number));
    }
    let server = start(zone).await;
    assert_eq!(ask(&server, "crowd.test", "A").await.len(), 200);
}

#[tokio::test]
async fn two_servers_may_disagree() {
    let (one, other) = (Zone::new(), Zone::new());
    one.add("shop.test", a(1));
    other.add("shop.test", a(2));
    let first = start(one).await;
    let second = Server::start("127.0.0.2:0".parse().unwrap(), other)
        .await
        .unwrap();
    assert_ne!(first.address().ip(), second.address().ip());
    assert_eq!(ask(&first, "shop.test", "A").await, ["192.0.2.1"]);
    assert_eq!(ask(&second, "shop.test", "A").await, ["192.0.2.2"]);
}

#[tokio::test]
async fn it_listens_on_loopback_alone() {
    let address: SocketAddr = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(
        Server::start(address, Zone::new()).await,
        Err(SandboxError::NotLoopback { address: refused }) if refused == address
    ));
}

async fn start(zone: Zone) -> Server {
    Server::start(LOCAL.parse().unwrap(), zone).await.unwrap()
}

fn a(last: u8) -> Record {
    Record::A(Ipv4Addr::new(192, 0, 2, last))
}

fn cname(target: &str) -> Record {
    Record::Cname(target.to_owned())
}

/// The data of the answer, or the reason why there is none
async fn ask(server: &Server, name: &str, kind: &str) -> Vec<String> {
    match resolver(server.address(), Duration::from_secs(5))
        .lookup(format!("{name}."), kind.parse().unwrap())
        .await
    {
        Ok(lookup) => lookup
            .answers()
            .iter()
            .map(|record| record.data.to_string())
            .collect(),
        Err(error) => vec![reason(&error)],
    }
}

fn reason(error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::ResponseCode(code)) => code.to_string(),
        NetError::Dns(DnsError::NoRecordsFound(found)) => {
            assert!(found.soa.is_some());
            match found.response_code {
                ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
                ResponseCode::NoError => "NODATA".to_owned(),
                code => code.to_string(),
            }
        }
        other => other.to_string(),
    }
}

fn resolver(server: SocketAddr, patience: Duration) -> TokioResolver {
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut config.connections {
        connection.port = server.port();
    }
    let mut builder = TokioResolver::builder_with_config(
        ResolverConfig::from_parts(None, Vec::new(), vec![config]),
        TokioRuntimeProvider::default(),
    );
    let options = builder.options_mut();
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.attempts = 1;
    options.timeout = patience;
    builder.build().unwrap()
}
