//! Renewal information (RFC 9773), and a year with it.

use http::Method;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::leaf::Leaf;
use super::orders::identifier;
use super::setup::verifies;
use super::*;

async fn ask(client: &Client, identifier: &str) -> Reply {
    let url = format!("{}/{identifier}", client.url("renewalInfo"));
    client.plain(Method::GET, &url).await
}

#[tokio::test]
async fn windows_lie_where_lets_encrypt_puts_them() {
    for (profile, start, end) in [
        ("classic", "2027-01-18T13:24:00Z", "2027-01-20T08:36:00Z"),
        ("tlsserver", "2026-12-20T00:12:00Z", "2026-12-20T21:48:00Z"),
        ("shortlived", "2026-11-23T17:24:00Z", "2026-11-23T20:36:00Z"),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let order = client
            .order_with(&["shop.test"], &json!({"profile": profile}))
            .await;
        let key = KeyPair::generate().unwrap();
        let pem = client.complete(&stage, &order, &key).await;
        let reply = ask(&client, &identifier(&pem)).await;
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("retry-after"), "21600");
        assert_eq!(
            reply.good(),
            json!({"suggestedWindow": {"start": start, "end": end}})
        );
    }
}

#[tokio::test]
async fn windows_can_be_set_and_given_back() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let certificate = identifier(&client.obtain(&stage, &["shop.test"]).await);
    let usual = ask(&client, &certificate).await.good();
    stage.ca.set_window(Some(Window {
        start: at("2026-11-21T00:00:00Z"),
        end: at("2026-11-20T00:00:00Z"),
        explanation: Some("https://ca.sandbox.test/why".to_owned()),
        retry_after: None,
    }));
    let reply = ask(&client, &certificate).await;
    assert_eq!(reply.header("retry-after"), "");
    assert_eq!(
        reply.good(),
        json!({
            "suggestedWindow": {"start": "2026-11-21T00:00:00Z", "end": "2026-11-20T00:00:00Z"},
            "explanationURL": "https://ca.sandbox.test/why",
        })
    );
    stage.ca.set_window(None);
    assert_eq!(ask(&client, &certificate).await.good(), usual);
}

#[tokio::test]
async fn a_revoked_certificate_is_to_be_renewed_at_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let pem = client.obtain(&stage, &["shop.test"]).await;
    let leaf = Leaf::of(&pem);
    let payload = json!({"certificate": jws::encode(&leaf.der)});
    let revoked = client.post(&client.url("revokeCert"), payload).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(
        ask(&client, &identifier(&pem)).await.good()["suggestedWindow"],
        json!({"start": "2026-11-20T11:00:00Z", "end": "2026-11-20T12:00:00Z"})
    );
}

#[tokio::test]
async fn identifiers_that_belong_to_no_certificate_are_refused() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let right = identifier(&client.obtain(&stage, &["shop.test"]).await);
    let (key, serial) = right.split_once('.').unwrap();
    for (wrong, expected) in [
        (format!("{key}.AAAA"), "404 malformed"),
        (format!("AAAA.{serial}"), "404 malformed"),
        (format!("{key}=.{serial}"), "400 malformed"),
        (format!("{key}.{serial}=="), "400 malformed"),
        (format!("{key}{serial}"), "400 malformed"),
        (format!("{key}.{serial}.AA"), "400 malformed"),
    ] {
        assert_eq!(ask(&client, &wrong).await.problem(), expected, "{wrong}");
    }
}

#[tokio::test]
async fn a_client_lives_through_a_year() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut pem = client.obtain(&stage, &["shop.test"]).await;
    let mut renewals = Vec::new();
    while stage.now() < at("2027-11-20T12:00:00Z") {
        let replaced = identifier(&pem);
        let info = ask(&client, &replaced).await.good();
        let start: Value = info["suggestedWindow"]["start"].clone();
        stage.travel(start.as_str().unwrap());
        assert!(verifies(&stage.ca, &pem, "shop.test", stage.now()));
        let order = client
            .order_with(&["shop.test"], &json!({"replaces": replaced}))
            .await;
        let key = KeyPair::generate().unwrap();
        pem = client.complete(&stage, &order, &key).await;
        renewals.push(start.as_str().unwrap()[..10].to_owned());
    }
    assert_eq!(
        renewals,
        [
            "2027-01-18",
            "2027-03-18",
            "2027-05-16",
            "2027-07-14",
            "2027-09-11",
            "2027-11-09",
            "2028-01-07",
        ]
    );
    assert_eq!(stage.ca.issued().len(), 8);
    // Each renewal comes 59 days after the one before, so no authorization serves twice.
    assert_eq!(stage.ca.validations(), 8);
    assert!(verifies(&stage.ca, &pem, "shop.test", stage.now()));
}
