//! Orders: what is taken, what is refused, and how long they last (RFC 8555 section 7.4).

use rcgen::KeyPair;
use serde_json::{Value, json};

use super::client::{csr, identifiers, kind};
use super::leaf::Leaf;
use super::*;

#[tokio::test]
async fn an_order_says_all_that_its_client_needs() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    let authorization = order.authorizations().remove(0);
    let expected = json!({
        "status": "pending",
        "expires": "2026-11-27T12:00:00Z",
        "identifiers": [{"type": "dns", "value": "shop.test"}],
        "authorizations": [authorization],
        "finalize": format!("{}/finalize", order.url),
        "profile": "classic",
    });
    assert_eq!(order.body, expected);
    assert_eq!(client.get(&order.url).await.good(), expected);
}

#[tokio::test]
async fn names_come_back_lower_case_sorted_and_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client
        .order(&["www.SHOP.test", "shop.test", "www.shop.test"])
        .await;
    assert_eq!(order.names(), ["shop.test", "www.shop.test"]);
    assert_eq!(order.authorizations().len(), 2);
}

#[tokio::test]
async fn identifiers_that_are_refused() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (name, expected) in [
        ("rare-books.ru", "400 rejectedIdentifier"),
        ("shop.test.ru", "400 rejectedIdentifier"),
        ("notexample.com", "400 rejectedIdentifier"),
        ("example.com.evil.ru", "400 rejectedIdentifier"),
        ("*.shop.test", "400 rejectedIdentifier"),
        ("127.0.0.1", "400 rejectedIdentifier"),
        ("shop.test.", "400 rejectedIdentifier"),
        ("b\u{fc}cher.test", "400 rejectedIdentifier"),
        ("sh op.test", "400 rejectedIdentifier"),
        ("-shop.test", "400 rejectedIdentifier"),
        ("shop..test", "400 rejectedIdentifier"),
        ("", "400 rejectedIdentifier"),
    ] {
        let payload = json!({"identifiers": identifiers(&[name])});
        assert_eq!(
            client.new_order(payload).await.problem(),
            expected,
            "{name}"
        );
    }
    let ip = json!({"identifiers": [{"type": "ip", "value": "127.0.0.1"}]});
    let refused = client.new_order(ip).await;
    assert_eq!(refused.problem(), "400 unsupportedIdentifier");
    assert_eq!(stage.ca.orders(), 0);
}

#[tokio::test]
async fn orders_that_are_refused() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let many: Vec<String> = (0..101).map(|n| format!("n{n}.test")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let shop = identifiers(&["shop.test"]);
    for (payload, expected) in [
        (json!({"identifiers": []}), "400 malformed"),
        (json!({}), "400 malformed"),
        (json!({"identifiers": identifiers(&many)}), "400 malformed"),
        (
            json!({"identifiers": identifiers(&many[..26]), "profile": "tlsserver"}),
            "400 malformed",
        ),
        (
            json!({"identifiers": shop, "notBefore": "2026-11-20T12:00:00Z"}),
            "400 malformed",
        ),
        (
            json!({"identifiers": shop, "profile": "tlsclient"}),
            "400 invalidProfile",
        ),
        (
            json!({"identifiers": shop, "profile": ""}),
            "400 invalidProfile",
        ),
        (
            json!({"identifiers": shop, "replaces": "AA"}),
            "400 malformed",
        ),
        (
            json!({"identifiers": shop, "replaces": "AA.AA"}),
            "404 malformed",
        ),
    ] {
        let reply = client.new_order(payload.clone()).await;
        assert_eq!(reply.problem(), expected, "{payload}");
    }
    let most = json!({"identifiers": identifiers(&many[..100])});
    assert_eq!(client.new_order(most).await.status, 201);
}

#[tokio::test]
async fn the_same_order_is_given_again_while_it_waits() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let first = client.order(&["shop.test", "www.shop.test"]).await;
    let same = client.order(&["www.shop.test", "shop.test"]).await;
    assert_eq!(same.url, first.url);
    let profile = json!({"profile": "tlsserver"});
    let other_profile = client
        .order_with(&["shop.test", "www.shop.test"], &profile)
        .await;
    assert_ne!(other_profile.url, first.url);
    let other = client.order(&["shop.test"]).await;
    assert_ne!(other.url, first.url);
    let key = KeyPair::generate().unwrap();
    client.complete(&stage, &first, &key).await;
    let next = client.order(&["shop.test", "www.shop.test"]).await;
    assert_ne!(next.url, first.url);
    assert_eq!(next.body["status"], "ready");
}

#[tokio::test]
async fn what_belongs_to_another_account_is_not_found() {
    let stage = Stage::new().await;
    let (client, other) = (stage.client().await, stage.client().await);
    let order = client.order(&["shop.test"]).await;
    let authorization = order.authorizations().remove(0);
    let challenge = client.get(&authorization).await.json()["challenges"][0]["url"].clone();
    let challenge = challenge.as_str().unwrap();
    for url in [&order.url, &authorization, challenge] {
        assert_eq!(other.get(url).await.problem(), "404 malformed", "{url}");
    }
    let key = KeyPair::generate().unwrap();
    let finalized = other
        .finalize(&order, &csr(&["shop.test"], None, &key))
        .await;
    assert_eq!(finalized.problem(), "404 malformed");
    client.complete(&stage, &order, &key).await;
    let certificate = client.get(&order.url).await.json()["certificate"].clone();
    let certificate = certificate.as_str().unwrap();
    assert_eq!(other.get(certificate).await.problem(), "404 malformed");
    assert_eq!(client.get(certificate).await.status, 200);
}

#[tokio::test]
async fn an_order_expires_with_the_first_of_its_authorizations() {
    for (profile, expires, before) in [
        ("classic", "2026-11-27T12:00:00Z", "2026-11-27T11:59:59Z"),
        ("tlsserver", "2026-11-20T13:00:00Z", "2026-11-20T12:59:59Z"),
        ("shortlived", "2026-11-20T13:00:00Z", "2026-11-20T12:59:59Z"),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let order = client
            .order_with(&["shop.test"], &json!({"profile": profile}))
            .await;
        assert_eq!(order.body["expires"], expires);
        client.authorize_all(&stage, &order).await;
        stage.travel(before);
        assert_eq!(client.get(&order.url).await.json()["status"], "ready");
        stage.travel(expires);
        assert_eq!(client.get(&order.url).await.json()["status"], "invalid");
        let key = KeyPair::generate().unwrap();
        let late = client
            .finalize(&order, &csr(&["shop.test"], None, &key))
            .await;
        assert_eq!(late.problem(), "403 orderNotReady");
    }
}

#[tokio::test]
async fn times_are_in_whole_seconds() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage.travel("2026-11-20T12:00:00.987654321Z");
    let order = client.order(&["shop.test"]).await;
    assert_eq!(order.body["expires"], "2026-11-27T12:00:00Z");
}

#[tokio::test]
async fn only_a_ready_order_is_finalized_and_only_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    let key = KeyPair::generate().unwrap();
    let request = csr(&["shop.test"], None, &key);
    let early = client.finalize(&order, &request).await;
    assert_eq!(early.problem(), "403 orderNotReady");
    client.complete(&stage, &order, &key).await;
    let again = client.finalize(&order, &request).await;
    assert_eq!(again.problem(), "403 orderNotReady");
    assert_eq!(stage.ca.issued().len(), 1);
}

/// Identifier of a certificate in renewal information (RFC 9773 section 4.1)
pub(super) fn identifier(chain_pem: &str) -> String {
    use x509_parser::extensions::ParsedExtension;
    use x509_parser::prelude::{FromDer, X509Certificate};
    let leaf = Leaf::of(chain_pem);
    let (_, certificate) = X509Certificate::from_der(&leaf.der).unwrap();
    let key = certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(key) = extension.parsed_extension() else {
            return None;
        };
        Some(key.key_identifier.as_ref().unwrap().0)
    });
    let serial = certificate.raw_serial();
    format!("{}.{}", jws::encode(key.unwrap()), jws::encode(serial))
}

async fn replace(client: &Client, names: &[&str], replaced: &str) -> Reply {
    let payload = json!({"identifiers": identifiers(names), "replaces": replaced});
    client.new_order(payload).await
}

#[tokio::test]
async fn an_order_replaces_a_certificate_of_its_account_and_names_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let names = ["shop.test", "www.shop.test"];
    let replaced = identifier(&client.obtain(&stage, &names).await);

    let other = stage.client().await;
    let foreign = replace(&other, &names, &replaced).await;
    assert_eq!(foreign.problem(), "403 unauthorized");
    let unrelated = replace(&client, &["blog.test"], &replaced).await;
    assert_eq!(unrelated.problem(), "400 malformed");

    let order = replace(&client, &["shop.test", "new.test"], &replaced).await;
    assert_eq!(order.status, 201);
    assert_eq!(order.json()["replaces"], replaced);
    let shown = client.get(order.header("location")).await.json();
    assert_eq!(shown["replaces"], replaced);
    for names in [&["shop.test"][..], &["shop.test", "new.test"]] {
        let twice = replace(&client, names, &replaced).await;
        assert_eq!(twice.problem(), "409 alreadyReplaced");
    }
}

#[tokio::test]
async fn a_certificate_is_free_again_once_its_replacement_is_invalid() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let replaced = identifier(&client.obtain(&stage, &["shop.test"]).await);
    let order = replace(&client, &["shop.test", "new.test"], &replaced).await;
    let pending = &order.json()["authorizations"];
    for url in pending.as_array().unwrap() {
        client.validate(url.as_str().unwrap()).await;
    }
    let shown = client.get(order.header("location")).await.json();
    assert_eq!(shown["status"], "invalid");
    let again = replace(&client, &["shop.test"], &replaced).await;
    assert_eq!(again.status, 201);
    assert_eq!(
        replace(&client, &["shop.test"], &replaced).await.problem(),
        "409 alreadyReplaced"
    );
    stage.travel("2026-11-28T12:00:00Z");
    assert_eq!(
        replace(&client, &["shop.test"], &replaced).await.status,
        201
    );
}

#[tokio::test]
async fn an_order_that_goes_invalid_says_why() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    client.authorize_all(&stage, &order).await;
    let why = Problem::new(500, "serverInternal", "the key is on holiday");
    stage.ca.mishap(Times::Next(1), Mishap::Invalid(why));
    let key = KeyPair::generate().unwrap();
    let request = csr(&["shop.test"], None, &key);
    let body: Value = client.finalize(&order, &request).await.good();
    assert_eq!(
        (body["status"].as_str(), kind(&body["error"])),
        (Some("invalid"), "serverInternal")
    );
    assert_eq!(client.get(&order.url).await.json(), body);
    let again = client.finalize(&order, &request).await;
    assert_eq!(again.problem(), "403 orderNotReady");
    client.obtain(&stage, &["shop.test"]).await;
}
