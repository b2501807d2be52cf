//! CAA (RFC 8659) with `validationmethods` and `accounturi` (RFC 8657).

use rcgen::KeyPair;

use super::super::super::dns::{Criticality, Failure};
use super::client::{csr, kind};
use super::*;

fn caa(tag: &str, value: &str) -> Record {
    Record::Caa {
        criticality: Criticality::NonCritical,
        tag: tag.to_owned(),
        value: value.to_owned(),
    }
}

fn critical(tag: &str) -> Record {
    Record::Caa {
        criticality: Criticality::Critical,
        tag: tag.to_owned(),
        value: String::new(),
    }
}

/// Type of the problem with a name, or its status
async fn validate(stage: &Stage, client: &Client, name: &str) -> String {
    let order = client.order(&[name]).await;
    let url = order.authorizations().remove(0);
    let authorization = client.authorize(stage, &url).await;
    match authorization["status"].as_str() {
        Some("invalid") => kind(&authorization["challenges"][0]["error"]).to_owned(),
        status => status.unwrap().to_owned(),
    }
}

#[tokio::test]
async fn records_of_a_name_say_who_may_issue() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let with = |parameters: &str| caa("issue", &format!("ca.sandbox.test{parameters}"));
    let own = format!("; accounturi={}", client.kid);
    let other = format!("; accounturi={}0", client.kid);
    let rows: Vec<(&str, Vec<Record>)> = vec![
        ("valid", vec![]),
        ("valid", vec![with("")]),
        ("valid", vec![caa("ISSUE", "CA.Sandbox.TEST")]),
        ("valid", vec![with(".")]),
        ("caa", vec![caa("issue", "letsencrypt.org")]),
        ("valid", vec![caa("issue", "letsencrypt.org"), with("")]),
        ("caa", vec![caa("issue", ";")]),
        ("caa", vec![caa("issue", "")]),
        ("caa", vec![caa("issue", "%%%%")]),
        ("caa", vec![caa("issue", "sandbox.test")]),
        ("valid", vec![caa("issuewild", ";")]),
        ("valid", vec![caa("iodef", "mailto:admin@shop.test")]),
        ("valid", vec![caa("unknown", "x")]),
        ("caa", vec![critical("unknown")]),
        ("caa", vec![with(""), critical("unknown")]),
        ("valid", vec![critical("issuewild")]),
        ("valid", vec![with("; validationmethods=http-01")]),
        ("valid", vec![with(";validationmethods=dns-01,http-01")]),
        (
            "valid",
            vec![caa(
                "issue",
                " ca.sandbox.test ; validationmethods = http-01 ",
            )],
        ),
        ("valid", vec![with("; policy=ev")]),
        ("caa", vec![with("; validationmethods=dns-01")]),
        ("caa", vec![with("; validationmethods=")]),
        ("caa", vec![with("; nonsense")]),
        ("valid", vec![with(&own)]),
        ("caa", vec![with(&other)]),
        ("valid", vec![with(&other), with(&own)]),
        ("caa", vec![with(&format!("{own}{other}"))]),
        (
            "caa",
            vec![with(&format!("{own}; validationmethods=dns-01"))],
        ),
    ];
    for (number, (expected, mut records)) in rows.into_iter().enumerate() {
        let name = format!("shop{number}.test");
        let shown = format!("{records:?}");
        records.push(Record::A(Ipv4Addr::LOCALHOST));
        stage.zone.set(&name, records);
        assert_eq!(validate(&stage, &client, &name).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn the_nearest_records_up_the_tree_count() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let here = Record::A(Ipv4Addr::LOCALHOST);
    let us = caa("issue", "ca.sandbox.test");
    let them = caa("issue", "letsencrypt.org");
    stage.zone.add("closed.test", them.clone());
    stage.zone.add("a.b.closed.test", here.clone());
    stage
        .zone
        .set("open.closed.test", [here.clone(), us.clone()]);
    stage.zone.set(
        "hidden.closed.test",
        [here.clone(), caa("iodef", "mailto:a@b.test")],
    );
    stage.zone.set(
        "alias.test",
        [Record::Cname("target.other.test".to_owned())],
    );
    stage.zone.set("target.other.test", [here.clone(), them]);
    stage
        .zone
        .set("alias.closed.test", [Record::Cname("free.test".to_owned())]);
    stage.zone.set("free.test", [here]);
    for (name, expected) in [
        ("a.b.closed.test", "caa"),
        ("open.closed.test", "valid"),
        ("hidden.closed.test", "valid"),
        ("alias.test", "caa"),
        ("alias.closed.test", "caa"),
        ("free.test", "valid"),
    ] {
        assert_eq!(validate(&stage, &client, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_failure_is_no_permission() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage
        .zone
        .add("www.shop.test", Record::A(Ipv4Addr::LOCALHOST));
    for failure in [Failure::ServFail, Failure::Refused] {
        stage.zone.fail("shop.test", failure);
        assert_eq!(validate(&stage, &client, "www.shop.test").await, "dns");
    }
}

#[tokio::test]
async fn caa_is_looked_at_again_before_a_certificate_is_issued() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    client.authorize_all(&stage, &order).await;
    stage
        .zone
        .set("shop.test", [caa("issue", "letsencrypt.org")]);
    let key = KeyPair::generate().unwrap();
    let body = client
        .finalize(&order, &csr(&["shop.test"], None, &key))
        .await
        .good();
    assert_eq!(body["status"], "invalid");
    assert_eq!(kind(&body["error"]), "caa");
    assert_eq!(stage.ca.issued().len(), 0);
}
