use std::net::SocketAddr;

use super::*;
use crate::facts::dns::RecordData;
use crate::finding::Severity;

const OWN: [&str; 2] = ["1.2.3.4", "2606:4700::4"];

type Outcome = Result<Answer, LookupFailure>;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn says(addresses: &[&str]) -> Outcome {
    aliased(&[], addresses)
}

fn aliased(aliases: &[&str], addresses: &[&str]) -> Outcome {
    let addresses = addresses.iter().map(|address| ip(address));
    Ok(Answer {
        aliases: aliases.iter().map(ToString::to_string).collect(),
        records: addresses.map(RecordData::Address).collect(),
        ttl: Some(Duration::from_secs(300)),
    })
}

fn lookup(kind: RecordKind, outcome: Outcome) -> Lookup {
    Lookup {
        name: "shop.test".to_owned(),
        kind,
        outcome,
    }
}

fn facts(a: Outcome, aaaa: Outcome) -> NameFacts {
    NameFacts {
        name: HostName::parse("shop.test").expect("a name"),
        asked: vec![SocketAddr::new(ip("127.0.0.53"), 53)],
        a: lookup(RecordKind::A, a),
        aaaa: lookup(RecordKind::Aaaa, aaaa),
        authorities: vec![authority("ns.test", refused(), refused())],
    }
}

/// What a server says that was asked, and is of no help
fn refused() -> Outcome {
    Err(LookupFailure::Refused)
}

fn authority(server: &str, a: Outcome, aaaa: Outcome) -> Authority {
    Authority {
        server: server.to_owned(),
        address: SocketAddr::new(ip("127.0.0.1"), 53),
        lookups: vec![lookup(RecordKind::A, a), lookup(RecordKind::Aaaa, aaaa)],
    }
}

/// What a public CA, and a host with [`OWN`], make of it
fn judged(facts: &NameFacts) -> Vec<Finding> {
    let own = OWN.map(ip);
    let policy = Policy {
        own: &own,
        issuer: IssuerKind::Public,
    };
    judge(facts, &policy)
}

fn found(findings: &[Finding]) -> Vec<(&'static str, Severity)> {
    findings
        .iter()
        .map(|finding| (finding.code, finding.severity))
        .collect()
}

const SEEN: (&str, Severity) = ("dns.addresses", Severity::Ok);

#[test]
fn a_name_that_points_here_is_good() {
    let findings = judged(&facts(says(&OWN[..1]), says(&OWN[1..])));
    assert_eq!(found(&findings), [SEEN]);
    assert_eq!(
        findings[0].evidence,
        "A 1.2.3.4 (TTL 5 min), AAAA 2606:4700::4 (TTL 5 min) by 127.0.0.53"
    );
    assert_eq!(found(&judged(&facts(says(&OWN[..1]), says(&[])))), [SEEN]);
    assert_eq!(found(&judged(&facts(says(&[]), says(&OWN[1..])))), [SEEN]);
}

#[test]
fn without_an_answer_the_reason_is_told_apart() {
    #[track_caller]
    fn check(failure: LookupFailure, code: &'static str) {
        let findings = judged(&facts(Err(failure.clone()), Err(failure.clone())));
        assert_eq!(found(&findings), [(code, Severity::Failure)]);
        assert!(findings[0].cure.is_some());
        // A family without records does not make up for one that fails.
        for half in [
            facts(Err(failure.clone()), says(&[])),
            facts(says(&[]), Err(failure.clone())),
        ] {
            assert_eq!(
                found(&judged(&half)),
                [(code, Severity::Failure)],
                "{half:?}"
            );
        }
        // With addresses of one family a CA goes on.
        let half = [("dns.half_answer", Severity::Warning), SEEN];
        assert_eq!(
            found(&judged(&facts(says(&OWN[..1]), Err(failure.clone())))),
            half
        );
        assert_eq!(found(&judged(&facts(Err(failure), says(&OWN[1..])))), half);
    }
    check(LookupFailure::NoSuchName, "dns.nxdomain");
    check(LookupFailure::ServFail(Dnssec::Broken), "dns.dnssec");
    check(LookupFailure::ServFail(Dnssec::NotTheCause), "dns.servfail");
    check(LookupFailure::Refused, "dns.refused");
    check(LookupFailure::TimedOut, "dns.timeout");
    check(LookupFailure::Failed("NotImp".to_owned()), "dns.failed");
}

#[test]
fn a_name_without_addresses_fails() {
    let findings = judged(&facts(says(&[]), says(&[])));
    assert_eq!(found(&findings), [("dns.no_address", Severity::Failure)]);
}

#[test]
fn aliases_are_shown_and_long_chains_warned_of() {
    #[track_caller]
    fn check(length: usize, expected: (&'static str, Severity)) {
        let aliases: Vec<String> = (0..length)
            .map(|number| format!("a{number}.test"))
            .collect();
        let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
        let findings = judged(&facts(aliased(&aliases, &OWN[..1]), says(&[])));
        assert!(found(&findings).contains(&expected), "{findings:?}");
        assert!(
            findings
                .iter()
                .all(|finding| finding.evidence.len() < 1_000)
        );
    }
    check(1, ("dns.alias", Severity::Note));
    check(8, ("dns.alias", Severity::Note));
    check(9, ("dns.alias_chain", Severity::Warning));
    check(500, ("dns.alias_chain", Severity::Warning));
    let findings = judged(&facts(aliased(&["b.test", "c.test"], &OWN[..1]), says(&[])));
    assert_eq!(
        findings[0].evidence,
        "an alias: shop.test -> b.test -> c.test"
    );
}

#[test]
fn addresses_of_special_purpose_are_known() {
    #[track_caller]
    fn check(address: &str, expected: Option<&str>) {
        assert_eq!(scope(ip(address)), expected, "{address}");
    }
    check("127.0.0.1", Some("loopback"));
    check("10.0.0.1", Some("private"));
    check("172.15.255.255", None);
    check("172.16.0.1", Some("private"));
    check("172.31.255.255", Some("private"));
    check("172.32.0.1", None);
    check("192.168.0.1", Some("private"));
    check("192.167.255.255", None);
    check("169.254.169.254", Some("link-local"));
    check("100.63.255.255", None);
    check("100.64.0.1", Some("shared by a carrier"));
    check("100.128.0.1", None);
    check("192.0.2.1", Some("for documentation"));
    check("198.51.100.1", Some("for documentation"));
    check("203.0.113.1", Some("for documentation"));
    check("198.18.0.1", Some("for benchmarks"));
    check("0.0.0.0", Some("reserved"));
    check("224.0.0.1", Some("multicast"));
    check("255.255.255.255", Some("reserved"));
    check("8.8.8.8", None);
    check("::1", Some("loopback"));
    check("::", Some("reserved"));
    check("fd00::1", Some("private"));
    check("fe80::1", Some("link-local"));
    check("ff02::1", Some("multicast"));
    check("2001:db8::1", Some("for documentation"));
    check("3fff::1", Some("for documentation"));
    check("3fff:1000::1", None);
    check("2001::1", Some("reserved"));
    check("2001:200::1", None);
    check("2002:102:304::1", Some("reserved"));
    check("64:ff9b::1", Some("reserved"));
    check("2606:4700::1", None);
    check("::ffff:10.0.0.1", Some("private"));
    check("::ffff:8.8.8.8", Some("IPv4-mapped"));
}

#[test]
fn at_an_address_that_no_host_has_no_site_can_be_whoever_looks() {
    #[track_caller]
    fn check(a: &[&str], aaaa: &[&str], issuer: IssuerKind, expected: &[(&str, Severity)]) {
        let policy = Policy { own: &[], issuer };
        let findings = judge(&facts(says(a), says(aaaa)), &policy);
        let found = found(&findings);
        let found: Vec<_> = found.into_iter().filter(|found| *found != SEEN).collect();
        assert_eq!(found, expected, "{findings:?}");
    }
    const FAILS: (&str, Severity) = ("dns.no_host", Severity::Failure);
    const WARNS: (&str, Severity) = ("dns.no_host", Severity::Warning);
    for issuer in [IssuerKind::Public, IssuerKind::Private] {
        for address in ["224.0.0.1", "255.255.255.255", "0.0.0.0"] {
            check(&[address], &[], issuer, &[FAILS]);
            check(&[address, "1.2.3.4"], &[], issuer, &[WARNS]);
        }
        for address in ["ff02::1", "::", "::ffff:224.0.0.1"] {
            check(&[], &[address], issuer, &[FAILS]);
        }
    }
    let private = |severity| ("dns.private_address", severity);
    let both = ["224.0.0.1", "10.0.0.1"];
    let expected = [private(Severity::Failure), WARNS];
    check(&both, &[], IssuerKind::Public, &expected);
    let expected = [WARNS, private(Severity::Note)];
    check(&both, &[], IssuerKind::Private, &expected);
}

#[test]
fn an_address_that_nobody_reaches_fails_where_there_is_no_other() {
    #[track_caller]
    fn check(a: &[&str], aaaa: &[&str], issuer: IssuerKind, expected: Option<Severity>) {
        let policy = Policy { own: &[], issuer };
        let findings = judge(&facts(says(a), says(aaaa)), &policy);
        let found = findings
            .iter()
            .find(|finding| finding.code == "dns.private_address");
        assert_eq!(
            found.map(|finding| finding.severity),
            expected,
            "{findings:?}"
        );
    }
    check(
        &["10.0.0.1"],
        &[],
        IssuerKind::Public,
        Some(Severity::Failure),
    );
    check(
        &["10.0.0.1"],
        &["fd00::1"],
        IssuerKind::Public,
        Some(Severity::Failure),
    );
    check(
        &["1.2.3.4"],
        &["fd00::1"],
        IssuerKind::Public,
        Some(Severity::Warning),
    );
    check(
        &["10.0.0.1"],
        &[],
        IssuerKind::Private,
        Some(Severity::Note),
    );
    check(&["1.2.3.4"], &["2606:4700::4"], IssuerKind::Public, None);
}

#[test]
fn addresses_are_held_against_ours_for_each_family() {
    #[track_caller]
    fn check(own: &[&str], a: &[&str], aaaa: &[&str], expected: &[&str]) {
        let own: Vec<IpAddr> = own.iter().map(|address| ip(address)).collect();
        let policy = Policy {
            own: &own,
            issuer: IssuerKind::Public,
        };
        let findings = judge(&facts(says(a), says(aaaa)), &policy);
        let failures: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Failure)
            .map(|finding| finding.code)
            .collect();
        assert_eq!(failures, expected, "{findings:?}");
    }
    check(&OWN, &OWN[..1], &OWN[1..], &[]);
    check(&[], &["9.9.9.9"], &["2606:4700::9"], &[]);
    check(&OWN, &["9.9.9.9"], &[], &["dns.elsewhere"]);
    check(&OWN, &OWN[..1], &["2606:4700::9"], &["dns.elsewhere"]);
    check(&OWN[..1], &OWN[..1], &["2606:4700::9"], &["dns.elsewhere"]);
    check(&OWN, &["1.2.3.4", "9.9.9.9"], &[], &["dns.one_of_several"]);
    check(
        &OWN,
        &["9.9.9.9"],
        &["2606:4700::9"],
        &["dns.elsewhere", "dns.elsewhere"],
    );
    // A public CA passes over what it cannot reach.
    check(&OWN, &["1.2.3.4", "10.0.0.1"], &["fd00::1"], &[]);
    check(&["10.0.0.1"], &["10.0.0.1"], &[], &["dns.private_address"]);
}

#[test]
fn what_the_zone_says_counts_more_than_what_this_host_sees() {
    let mut inner = facts(says(&["127.0.1.1"]), says(&[]));
    assert_eq!(
        found(&judged(&inner))[0],
        ("dns.private_address", Severity::Failure)
    );
    inner.authorities = vec![authority("ns1.test", says(&OWN[..1]), says(&[]))];
    let findings = judged(&inner);
    assert_eq!(
        found(&findings),
        [("dns.other_view", Severity::Warning), SEEN]
    );
    assert_eq!(
        findings[0].evidence,
        "of the A record of shop.test 127.0.0.53 says 127.0.1.1, the servers of the zone say 1.2.3.4"
    );
    // A CA inside may well see what this host sees.
    let policy = Policy {
        own: &[],
        issuer: IssuerKind::Private,
    };
    let findings = judge(&inner, &policy);
    assert_eq!(
        found(&findings),
        [("dns.private_address", Severity::Note), SEEN]
    );
    // And the other way about: the zone names another host.
    let mut moved = facts(says(&OWN[..1]), says(&[]));
    moved.authorities = vec![authority("ns1.test", says(&["9.9.9.9"]), says(&[]))];
    assert_eq!(
        found(&judged(&moved))[0],
        ("dns.elsewhere", Severity::Failure)
    );
}

#[test]
fn a_cache_that_still_denies_a_name_is_no_reason_to_refuse() {
    #[track_caller]
    fn check(a: Outcome, aaaa: Outcome, said: &str) {
        let mut fresh = facts(a, aaaa);
        fresh.authorities = vec![authority("ns1.test", says(&OWN[..1]), says(&[]))];
        let findings = judged(&fresh);
        assert_eq!(found(&findings), [("dns.other_view", Severity::Warning)]);
        let evidence = format!(
            "of the A record of shop.test 127.0.0.53 says {said}, the servers of the zone say 1.2.3.4"
        );
        assert_eq!(findings[0].evidence, evidence);
        assert_eq!(fresh.addresses(IssuerKind::Public), [ip("1.2.3.4")]);
        assert_eq!(fresh.addresses(IssuerKind::Private), [] as [IpAddr; 0]);
    }
    let missing = || Err(LookupFailure::NoSuchName);
    let broken = || Err(LookupFailure::ServFail(Dnssec::NotTheCause));
    check(missing(), missing(), "NXDOMAIN");
    check(says(&[]), says(&[]), "nothing");
    check(broken(), broken(), "SERVFAIL");
    check(broken(), says(&[]), "SERVFAIL");
}

#[test]
fn servers_of_the_zone_do_not_make_up_for_broken_dnssec() {
    let broken = || Err(LookupFailure::ServFail(Dnssec::Broken));
    #[track_caller]
    fn check(a: Outcome, aaaa: Outcome, expected: (&str, Severity)) {
        let mut facts = facts(a, aaaa);
        facts.authorities = vec![authority("ns1.test", says(&OWN[..1]), says(&OWN[1..]))];
        assert_eq!(found(&judged(&facts))[0], expected);
    }
    let dnssec = ("dns.dnssec", Severity::Failure);
    check(broken(), broken(), dnssec);
    check(broken(), says(&[]), ("dns.other_view", Severity::Warning));
    let fails = Err(LookupFailure::ServFail(Dnssec::NotTheCause));
    check(broken(), fails, dnssec);
    let half = ("dns.half_answer", Severity::Warning);
    check(says(&OWN[..1]), broken(), half);
}

#[test]
fn an_address_that_a_cache_does_not_know_yet_is_judged_too() {
    let mut stale = facts(says(&OWN[..1]), says(&[]));
    stale.authorities = vec![authority(
        "ns1.test",
        says(&["1.2.3.4", "9.9.9.9"]),
        says(&[]),
    )];
    let findings = judged(&stale);
    let several = ("dns.one_of_several", Severity::Failure);
    let view = ("dns.other_view", Severity::Warning);
    assert_eq!(found(&findings), [several, view, SEEN]);
    let all = [ip("1.2.3.4"), ip("9.9.9.9")];
    assert_eq!(stale.addresses(IssuerKind::Public), all);
    // One that was removed is no matter any more.
    let mut removed = facts(says(&["1.2.3.4", "9.9.9.9"]), says(&[]));
    removed.authorities = vec![authority("ns1.test", says(&OWN[..1]), says(&[]))];
    assert_eq!(found(&judged(&removed)), [view, SEEN]);
}

#[test]
fn what_a_public_ca_sees_is_what_is_probed() {
    let mut moved = facts(says(&["9.9.9.9"]), says(&OWN[1..]));
    moved.authorities = vec![authority("ns1.test", says(&OWN[..1]), says(&OWN[1..]))];
    assert_eq!(moved.addresses(IssuerKind::Public), OWN.map(ip));
    let here = [ip("9.9.9.9"), ip(OWN[1])];
    assert_eq!(moved.addresses(IssuerKind::Private), here);
}

#[test]
fn servers_of_a_zone_that_cannot_be_asked_are_noted_for_a_public_ca() {
    #[track_caller]
    fn check(authorities: Vec<Authority>, issuer: IssuerKind, expected: Option<&str>) {
        let unasked = NameFacts {
            authorities,
            ..facts(says(&OWN[..1]), says(&[]))
        };
        let findings = judge(&unasked, &Policy { own: &[], issuer });
        let found = findings
            .iter()
            .find(|finding| finding.code == "dns.zone_unasked");
        assert_eq!(found.map(|finding| finding.evidence.as_str()), expected);
        assert!(found.is_none_or(|finding| finding.severity == Severity::Note));
    }
    let silent = || Err(LookupFailure::TimedOut);
    let closed = || authority("ns1.test", silent(), silent());
    let none = "the servers of the zone were not asked: none was found";
    let shut = "the servers of the zone were not asked: port 53 of ns1.test is closed from here";
    check(Vec::new(), IssuerKind::Public, Some(none));
    check(vec![closed()], IssuerKind::Public, Some(shut));
    check(vec![closed()], IssuerKind::Private, None);
    let one = authority("ns2.test", says(&OWN[..1]), says(&[]));
    check(vec![closed(), one], IssuerKind::Public, None);
}

#[test]
fn servers_of_a_zone_that_differ_are_told_of_with_the_time_to_wait() {
    #[track_caller]
    fn check(answers: [(Outcome, Outcome); 2], expected: Option<&str>) {
        let mut facts = facts(says(&OWN[..1]), says(&OWN[1..]));
        let servers = ["ns1.test", "ns2.test"].into_iter().zip(answers);
        facts.authorities = servers
            .map(|(server, (a, aaaa))| authority(server, a, aaaa))
            .collect();
        let findings = judged(&facts);
        let found = findings
            .iter()
            .find(|finding| finding.code == "dns.disagreement");
        assert_eq!(found.map(|finding| finding.evidence.as_str()), expected);
        assert!(found.is_none_or(|finding| finding.severity >= Severity::Warning));
    }
    let both = || (says(&OWN[..1]), says(&OWN[1..]));
    check([both(), both()], None);
    check(
        [both(), (says(&["1.2.3.5"]), says(&OWN[1..]))],
        Some(
            "the servers of the zone disagree on the A record of shop.test: ns1.test says 1.2.3.4, ns2.test says 1.2.3.5",
        ),
    );
    check(
        [both(), (says(&OWN[..1]), says(&[]))],
        Some(
            "the servers of the zone disagree on the AAAA record of shop.test: ns1.test says 2606:4700::4, ns2.test says nothing",
        ),
    );
    let missing = || Err(LookupFailure::NoSuchName);
    check(
        [both(), (missing(), missing())],
        Some(
            "the servers of the zone disagree on the A record of shop.test: ns1.test says 1.2.3.4, ns2.test says nothing",
        ),
    );
    // One that does not answer has said nothing.
    let silent = || Err(LookupFailure::TimedOut);
    check([both(), (silent(), silent())], None);
    check([both(), (says(&OWN[..1]), silent())], None);
    check([(Err(LookupFailure::Refused), silent()), both()], None);
}

#[test]
fn the_time_to_wait_is_the_longest_that_a_cache_may_keep() {
    let with_ttl = |outcome: Outcome, ttl| {
        outcome.map(|answer| Answer {
            ttl: Some(Duration::from_secs(ttl)),
            ..answer
        })
    };
    let cure = |first, second| {
        let mut facts = facts(says(&OWN[..1]), says(&[]));
        facts.authorities = vec![
            authority("ns1.test", with_ttl(says(&OWN[..1]), first), says(&[])),
            authority("ns2.test", with_ttl(says(&["1.2.3.5"]), second), says(&[])),
        ];
        let findings = judged(&facts);
        // A CA may ask either of them, and no server has both.
        let disagree = ("dns.disagreement", Severity::Failure);
        assert_eq!(found(&findings)[0], disagree);
        let several = |finding: &Finding| finding.code == "dns.one_of_several";
        assert!(!findings.iter().any(several), "{findings:?}");
        findings[0].cure.clone().unwrap()
    };
    assert_eq!(
        cure(60, 3600),
        "a change is not everywhere yet: wait 60 min and look again"
    );
    assert_eq!(
        cure(0, 0),
        "a change is not everywhere yet: wait until all servers have it"
    );
}

#[test]
fn servers_that_do_not_know_where_an_alias_leads_do_not_disagree() {
    let mut facts = facts(aliased(&["cdn.test"], &OWN[..1]), says(&[]));
    facts.authorities = vec![
        authority("ns1.test", says(&OWN[..1]), says(&[])),
        authority("ns2.test", says(&[]), says(&[])),
    ];
    assert_eq!(
        found(&judged(&facts)),
        [("dns.alias", Severity::Note), SEEN]
    );
}

#[test]
fn many_addresses_make_no_long_evidence() {
    let many: Vec<String> = (0..4_000u32)
        .map(|number| Ipv4Addr::from(0x0900_0000 + number).to_string())
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let findings = judged(&facts(says(&many), says(&[])));
    assert_eq!(
        found(&findings),
        [("dns.elsewhere", Severity::Failure), SEEN]
    );
    for finding in findings {
        assert!(finding.evidence.len() < 500, "{finding:?}");
        assert!(finding.evidence.contains("and 3992 more"), "{finding:?}");
    }
}
