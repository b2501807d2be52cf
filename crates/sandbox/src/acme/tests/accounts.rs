//! Accounts, external accounts and changes of keys (RFC 8555 section 7.3).

use serde_json::{Value, json};

use super::client::mac;
use super::*;

#[tokio::test]
async fn an_account_is_made_once_and_found_again() {
    for key in [Key::p256(), Key::p384(), Key::rsa()] {
        let stage = Stage::new().await;
        let mut client = stage.stranger(key).await;
        let first = client.register().await;
        assert_eq!(first.status, 201);
        assert_eq!(
            first.json(),
            json!({
                "status": "valid",
                "contact": [],
                "termsOfServiceAgreed": true,
                "orders": format!("{}/orders", client.kid),
            })
        );
        let kid = std::mem::take(&mut client.kid);
        let second = client.register().await;
        assert_eq!((second.status, &client.kid), (200, &kid));
        client.kid.clear();
        let existing = json!({"onlyReturnExisting": true});
        let third = client.post(&client.url("newAccount"), existing).await;
        assert_eq!(
            (third.status, third.header("location")),
            (200, kid.as_str())
        );
        assert_eq!(stage.ca.accounts(), 1);
    }
}

#[tokio::test]
async fn a_key_is_the_same_with_other_members_in_its_jwk() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let url = client.url("newAccount");
    let mut jwk = client.key.jwk();
    jwk["alg"] = json!("ES256");
    jwk["use"] = json!("sig");
    jwk["kid"] = json!("mine");
    let protected = json!({
        "alg": "ES256", "nonce": client.nonce().await, "url": url, "jwk": jwk,
    });
    let jws = client
        .key
        .jws(&protected, r#"{"termsOfServiceAgreed":true}"#);
    let reply = client.send_jws(&url, &jws).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (200, client.kid.as_str())
    );
}

#[tokio::test]
async fn registrations_that_are_refused() {
    let stage = Stage::new().await;
    let client = stage.stranger(Key::p256()).await;
    let contact = |url: &str| json!({"termsOfServiceAgreed": true, "contact": [url]});
    for (payload, expected) in [
        (json!({}), "403 userActionRequired"),
        (
            json!({"termsOfServiceAgreed": false}),
            "403 userActionRequired",
        ),
        (
            json!({"onlyReturnExisting": true}),
            "400 accountDoesNotExist",
        ),
        (contact("tel:+1234"), "400 unsupportedContact"),
        (contact("mailto:nobody"), "400 invalidContact"),
        (json!([1]), "400 malformed"),
        (json!({"contact": "mailto:a@shop.test"}), "400 malformed"),
    ] {
        let reply = client
            .post(&client.url("newAccount"), payload.clone())
            .await;
        assert_eq!(reply.problem(), expected, "{payload}");
    }
    assert_eq!(stage.ca.accounts(), 0);
    let registered = stage.client().await;
    let by_kid = registered
        .post(
            &client.url("newAccount"),
            json!({"termsOfServiceAgreed": true}),
        )
        .await;
    assert_eq!(by_kid.problem(), "400 malformed");
}

#[tokio::test]
async fn weak_and_foreign_keys_are_refused() {
    let stage = Stage::new().await;
    let client = stage.stranger(Key::p256()).await;
    let url = client.url("newAccount");
    let small = jws::encode([0xff; 128]);
    let padded = jws::encode([vec![0], vec![0xff; 256]].concat());
    for jwk in [
        json!({"kty": "RSA", "e": "AQAB", "n": small}),
        json!({"kty": "RSA", "e": "AQAB", "n": padded}),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": jws::encode([1; 32])}),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({}),
    ] {
        let protected = json!({
            "alg": "ES256", "nonce": client.nonce().await, "url": url, "jwk": jwk,
        });
        let jws = client
            .key
            .jws(&protected, r#"{"termsOfServiceAgreed":true}"#);
        let reply = client.send_jws(&url, &jws).await;
        assert_eq!(reply.problem(), "400 badPublicKey", "{jwk}");
    }
}

#[tokio::test]
async fn an_account_is_shown_changed_and_deactivated_by_its_key_alone() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let shown = client.get(&client.kid).await;
    assert_eq!(shown.good()["status"], "valid");
    let contact = json!({"contact": ["mailto:admin@shop.test"]});
    let changed = client.post(&client.kid, contact.clone()).await.good();
    assert_eq!(changed["contact"], contact["contact"]);
    let refused = client.post(&client.kid, json!({"status": "revoked"})).await;
    assert_eq!(refused.problem(), "400 malformed");

    let other = stage.client().await;
    for payload in [json!({"status": "deactivated"}), json!({})] {
        let foreign = other.post(&client.kid, payload).await;
        assert_eq!(foreign.problem(), "403 unauthorized");
    }

    let gone = client
        .post(&client.kid, json!({"status": "deactivated"}))
        .await;
    assert_eq!(gone.good()["status"], "deactivated");
    let order = client.new_order(json!({"identifiers": []})).await;
    assert_eq!(order.problem(), "403 unauthorized");
    assert_eq!(client.get(&client.kid).await.problem(), "403 unauthorized");
    let mut again = client;
    again.kid.clear();
    assert_eq!(again.register().await.problem(), "403 unauthorized");
}

#[tokio::test]
async fn an_account_lists_its_own_orders() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    let other = stage.client().await;
    other.order(&["blog.test"]).await;
    let url = client.get(&client.kid).await.json()["orders"].clone();
    let url = url.as_str().unwrap();
    assert_eq!(client.get(url).await.good(), json!({"orders": [order.url]}));
    assert_eq!(other.get(url).await.problem(), "403 unauthorized");
}

/// Registers with an external account binding that `spoil` has changed
async fn bind(spoil: impl FnOnce(&mut Value, &mut Value, &mut Vec<u8>)) -> Reply {
    let known = BTreeMap::from([("customer-7".to_owned(), vec![7; 32])]);
    let stage = Stage::with(|options| options.accounts = Accounts::Bound(known)).await;
    let client = stage.stranger(Key::p256()).await;
    let url = client.url("newAccount");
    let mut protected = json!({"alg": "HS256", "kid": "customer-7", "url": url});
    let mut payload = client.key.jwk();
    let mut secret = vec![7; 32];
    spoil(&mut protected, &mut payload, &mut secret);
    let binding = match payload.is_null() {
        true => Value::Null,
        false => mac(&secret, &protected, &payload),
    };
    let payload = json!({"termsOfServiceAgreed": true, "externalAccountBinding": binding});
    client.post(&url, payload).await
}

#[tokio::test]
async fn an_external_account_is_bound_to_the_account_it_allows() {
    let reply = bind(|_, _, _| {}).await;
    assert_eq!(reply.status, 201);
    assert!(reply.json()["externalAccountBinding"]["signature"].is_string());
}

#[tokio::test]
async fn wrong_external_account_bindings_are_refused() {
    let missing = bind(|_, payload, _| *payload = Value::Null).await;
    assert_eq!(missing.problem(), "403 externalAccountRequired");
    let unknown = bind(|protected, _, _| protected["kid"] = json!("customer-8")).await;
    assert_eq!(unknown.problem(), "403 unauthorized");
    let malformed = [
        bind(|_, _, secret| *secret = vec![8; 32]).await,
        bind(|_, payload, _| *payload = Key::p256().jwk()).await,
        bind(|protected, _, _| protected["url"] = json!("https://ca.test/")).await,
        bind(|protected, _, _| protected["alg"] = json!("ES256")).await,
        bind(|protected, _, _| protected["nonce"] = json!("AAAA")).await,
    ];
    for reply in malformed {
        assert_eq!(reply.problem(), "400 malformed", "{:?}", reply.body);
    }
}

/// Changes the key of a client after `spoil` has changed the inner header and payload
async fn change_key(
    client: &Client,
    new: &Key,
    spoil: impl FnOnce(&mut Value, &mut Value),
) -> Reply {
    let url = client.url("keyChange");
    let mut protected = json!({"alg": new.algorithm(), "jwk": new.jwk(), "url": url});
    let mut payload = json!({"account": client.kid, "oldKey": client.key.jwk()});
    spoil(&mut protected, &mut payload);
    let inner = new.jws(&protected, &payload.to_string());
    client.post(&url, inner).await
}

#[tokio::test]
async fn a_changed_key_serves_and_the_old_one_does_not() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    let new = Key::rsa();
    let reply = change_key(&client, &new, |_, _| {}).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (200, client.kid.as_str())
    );
    assert_eq!(
        client.get(&client.kid).await.problem(),
        "400 badSignatureAlgorithm"
    );
    client.key = new;
    assert_eq!(client.get(&client.kid).await.status, 200);
    client.obtain(&stage, &["shop.test"]).await;
}

#[tokio::test]
async fn wrong_changes_of_keys_are_refused() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let new = Key::p256();
    let other = stage.client().await;
    for reply in [
        change_key(&client, &new, |p, _| p["url"] = json!(client.kid)).await,
        change_key(&client, &new, |p, _| p["jwk"] = Key::p256().jwk()).await,
        change_key(&client, &new, |p, _| {
            p["kid"] = json!(client.kid);
            p.as_object_mut().unwrap().remove("jwk");
        })
        .await,
        change_key(&client, &new, |_, payload| {
            payload["account"] = json!(other.kid)
        })
        .await,
        change_key(&client, &new, |_, payload| payload["oldKey"] = new.jwk()).await,
        client.post(&client.url("keyChange"), json!({})).await,
    ] {
        assert_eq!(reply.problem(), "400 malformed", "{:?}", reply.body);
    }
    for key in [&other.key, &client.key] {
        let taken = change_key(&client, key, |_, _| {}).await;
        assert_eq!(taken.problem(), "409 malformed");
        assert!(taken.header("location").contains("/account/"));
    }
    assert_eq!(client.get(&client.kid).await.status, 200);
}
