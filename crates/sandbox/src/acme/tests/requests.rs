//! Signatures, nonces, URLs and methods (RFC 8555 section 6).

use http::Method;
use serde_json::{Value, json};

use super::client::JOSE;
use super::*;

/// A right request to show the account, spoilt by `spoil`, and the refusal
async fn check(expected: &str, spoil: impl FnOnce(&mut Value, &mut Value)) {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut protected = client.protected(&client.kid).await;
    let mut after = json!({});
    spoil(&mut protected, &mut after);
    let mut jws = client.key.jws(&protected, "");
    for (member, value) in after.as_object().unwrap() {
        jws[member] = value.clone();
    }
    let reply = client.send_jws(&client.kid, &jws).await;
    assert_eq!(reply.problem(), expected);
    assert_eq!(reply.header("replay-nonce").len(), 22);
}

#[tokio::test]
async fn wrong_protected_headers_are_refused() {
    check("400 badNonce", |p, _| p["nonce"] = json!("AAAA")).await;
    check("400 badNonce", |p, _| {
        p.as_object_mut().unwrap().remove("nonce");
    })
    .await;
    check("403 unauthorized", |p, _| {
        p["url"] = json!("https://ca.test/")
    })
    .await;
    check("403 unauthorized", |p, _| {
        p.as_object_mut().unwrap().remove("url");
    })
    .await;
    for algorithm in ["none", "HS256", "RS256", "ES384", "es256"] {
        check("400 badSignatureAlgorithm", |p, _| {
            p["alg"] = json!(algorithm);
        })
        .await;
    }
    check("400 malformed", |p, _| p["jwk"] = Key::p256().jwk()).await;
    check("400 malformed", |p, _| {
        p.as_object_mut().unwrap().remove("kid");
    })
    .await;
    check("400 accountDoesNotExist", |p, _| p["kid"] = json!("1")).await;
    check("400 accountDoesNotExist", |p, _| {
        p["kid"] = json!(
            p["kid"]
                .as_str()
                .unwrap()
                .replace("account/1", "account/01")
        );
    })
    .await;
    check("400 accountDoesNotExist", |p, _| {
        p["kid"] = json!(format!("{}0", p["kid"].as_str().unwrap()));
    })
    .await;
}

#[tokio::test]
async fn jws_that_are_not_what_was_signed_are_refused() {
    check("400 malformed", |_, after| after["payload"] = json!("e30")).await;
    check("400 malformed", |_, after| {
        after["signature"] = json!(jws::encode([1; 64]));
    })
    .await;
    check("400 malformed", |_, after| after["signature"] = json!("=")).await;
    check("400 malformed", |_, after| after["protected"] = json!("?")).await;
    check("400 malformed", |_, after| after["header"] = json!({})).await;
    check("400 malformed", |_, after| after["signatures"] = json!([])).await;
}

#[tokio::test]
async fn a_refused_algorithm_comes_with_those_that_are_known() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut protected = client.protected(&client.kid).await;
    protected["alg"] = json!("none");
    let jws = client.key.jws(&protected, "");
    let problem = client.send_jws(&client.kid, &jws).await.json();
    assert_eq!(problem["algorithms"], json!(["ES256", "ES384", "RS256"]));
}

#[tokio::test]
async fn a_signature_in_der_is_refused() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let protected = client.protected(&client.kid).await;
    let mut jws = client.key.jws(&protected, "");
    let fixed = jws::decode(jws["signature"].as_str().unwrap()).unwrap();
    let integer = |number: &[u8]| [&[2, 33, 0], number].concat();
    let der = [
        &[48, 70][..],
        &integer(&fixed[..32]),
        &integer(&fixed[32..]),
    ]
    .concat();
    jws["signature"] = json!(jws::encode(der));
    assert_eq!(
        client.send_jws(&client.kid, &jws).await.problem(),
        "400 malformed"
    );
}

#[tokio::test]
async fn a_nonce_serves_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let protected = client.protected(&client.kid).await;
    let jws = client.key.jws(&protected, "");
    assert_eq!(client.send_jws(&client.kid, &jws).await.status, 200);
    let again = client.send_jws(&client.kid, &jws).await;
    assert_eq!(again.problem(), "400 badNonce");
}

#[tokio::test]
async fn the_nonce_of_a_reply_serves_for_the_next_request() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let first = client.get(&client.kid).await;
    let mut protected = client.protected(&client.kid).await;
    protected["nonce"] = json!(first.header("replay-nonce"));
    let jws = client.key.jws(&protected, "");
    assert_eq!(client.send_jws(&client.kid, &jws).await.status, 200);
}

#[tokio::test]
async fn only_jose_json_is_taken() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (content_type, expected) in [
        ("application/json", "415 malformed"),
        ("text/plain", "415 malformed"),
        ("", "415 malformed"),
    ] {
        let protected = client.protected(&client.kid).await;
        let body = client.key.jws(&protected, "").to_string();
        let reply = client.send(&client.kid, content_type, body).await;
        assert_eq!(reply.problem(), expected);
    }
    for body in ["", "[]", "{}", "\u{0}", r#"{"protected":"","payload":""}"#] {
        let reply = client.send(&client.kid, JOSE, body.to_owned()).await;
        assert_eq!(reply.problem(), "400 malformed", "{body:?}");
    }
}

#[tokio::test]
async fn get_is_refused_where_it_must_be_signed() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    let authorization = order.authorizations().remove(0);
    for url in [
        &client.kid,
        &order.url,
        &authorization,
        &client.url("newOrder"),
    ] {
        let reply = client.plain(Method::GET, url).await;
        assert_eq!(reply.problem(), "405 malformed", "{url}");
    }
}

#[tokio::test]
async fn the_directory_and_nonces_come_by_post_as_get_too() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let directory = client.get(&stage.ca.directory()).await;
    assert_eq!(directory.good(), client.directory);
    let nonce = client.get(&client.url("newNonce")).await;
    assert_eq!(nonce.status, 204);
    assert_eq!(nonce.header("replay-nonce").len(), 22);
    let wrong = client.post(&client.url("newNonce"), json!({})).await;
    assert_eq!(wrong.problem(), "400 malformed");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let base = stage.ca.directory().replace("/directory", "");
    for path in [
        "/",
        "/order",
        "/order/99",
        "/authorization/99",
        "/challenge/99",
    ] {
        let reply = client.get(&format!("{base}{path}")).await;
        assert_eq!(reply.problem(), "404 malformed", "{path}");
    }
    let certificate = client.get(&format!("{base}/certificate/00")).await;
    assert_eq!(certificate.problem(), "404 malformed");
}

#[tokio::test]
async fn requests_are_counted_in_order() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    client.get(&client.kid).await;
    assert_eq!(
        stage.ca.requests(),
        [
            "GET /directory",
            "HEAD /nonce",
            "POST /new-account",
            "HEAD /nonce",
            "POST /account/1",
        ]
    );
    assert_eq!(stage.ca.accounts(), 1);
}
