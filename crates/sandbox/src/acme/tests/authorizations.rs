//! Authorizations and challenges (RFC 8555 section 7.5): states, reuse, ends.

use serde_json::json;

use super::client::kind;
use super::*;

#[tokio::test]
async fn an_authorization_goes_from_pending_to_valid() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    let url = order.authorizations().remove(0);
    let pending = client.get(&url).await.good();
    let challenge = pending["challenges"][0].clone();
    assert_eq!(
        pending,
        json!({
            "identifier": {"type": "dns", "value": "shop.test"},
            "status": "pending",
            "expires": "2026-11-27T12:00:00Z",
            "challenges": [{
                "type": "http-01",
                "url": challenge["url"],
                "status": "pending",
                "token": challenge["token"],
            }],
        })
    );
    stage.travel("2026-11-20T12:05:00Z");
    let valid = client.authorize(&stage, &url).await;
    assert_eq!(valid["status"], "valid");
    assert_eq!(valid["expires"], "2026-12-20T12:05:00Z");
    assert_eq!(valid["challenges"][0]["status"], "valid");
    assert_eq!(valid["challenges"][0]["validated"], "2026-11-20T12:05:00Z");
    assert_eq!(client.get(&order.url).await.json()["status"], "ready");
}

#[tokio::test]
async fn a_challenge_starts_with_a_json_object_alone() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    let authorization = order.authorizations().remove(0);
    let url = client.get(&authorization).await.json()["challenges"][0]["url"].clone();
    let url = url.as_str().unwrap();
    let looked_at = client.get(url).await;
    assert_eq!(looked_at.good()["status"], "pending");
    let up = format!("<{authorization}>;rel=\"up\"");
    assert!(looked_at.links().contains(&up.as_str()));
    for payload in [json!([]), json!("go"), json!(null)] {
        assert_eq!(client.post(url, payload).await.problem(), "400 malformed");
    }
    assert_eq!(stage.ca.validations(), 0);
    let begun = client.post(url, json!({})).await.good();
    assert_eq!(begun["status"], "processing");
    client.validate(&authorization).await;
    client.post(url, json!({})).await.good();
    assert_eq!(stage.ca.validations(), 1);
}

#[tokio::test]
async fn a_failed_challenge_makes_its_authorization_and_order_invalid() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test", "www.shop.test"]).await;
    let url = order.authorizations().remove(0);
    let failed = client.validate(&url).await;
    assert_eq!(failed["status"], "invalid");
    let challenge = &failed["challenges"][0];
    assert_eq!(challenge["status"], "invalid");
    assert_eq!(kind(&challenge["error"]), "unauthorized");
    assert_eq!(client.get(&order.url).await.json()["status"], "invalid");
    let again = client.authorize(&stage, &url).await;
    assert_eq!(again["status"], "invalid");
    let gone = client.post(&url, json!({"status": "deactivated"})).await;
    assert_eq!(gone.problem(), "400 malformed");
    assert_eq!(stage.ca.validations(), 1);
    client.obtain(&stage, &["shop.test", "www.shop.test"]).await;
}

#[tokio::test]
async fn a_valid_authorization_serves_until_it_expires() {
    for (profile, before, after) in [
        ("classic", "2026-12-20T11:59:59Z", "2026-12-20T12:00:00Z"),
        ("tlsserver", "2026-11-20T18:59:59Z", "2026-11-20T19:00:00Z"),
        ("shortlived", "2026-11-20T18:59:59Z", "2026-11-20T19:00:00Z"),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let profile = json!({"profile": profile});
        let first = client.order_with(&["shop.test"], &profile).await;
        client.authorize_all(&stage, &first).await;
        let key = KeyPair::generate().unwrap();
        client.complete(&stage, &first, &key).await;
        stage.travel(before);
        let next = client.order_with(&["shop.test"], &profile).await;
        assert_eq!(next.authorizations(), first.authorizations());
        assert_eq!(next.body["status"], "ready");
        assert_eq!(next.body["expires"], after);
        stage.travel(after);
        let late = client.order_with(&["shop.test"], &profile).await;
        assert_ne!(late.authorizations(), first.authorizations());
        assert_eq!(late.body["status"], "pending");
        let expired = client.get(&first.authorizations()[0]).await.json();
        assert_eq!(expired["status"], "expired");
    }
}

#[tokio::test]
async fn a_pending_authorization_serves_two_orders() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let one = client.order(&["shop.test"]).await;
    let two = client.order(&["blog.test", "shop.test"]).await;
    assert_eq!(one.authorizations()[0], two.authorizations()[1]);
    client.authorize_all(&stage, &one).await;
    client.authorize(&stage, &two.authorizations()[0]).await;
    assert_eq!(client.get(&two.url).await.json()["status"], "ready");
}

#[tokio::test]
async fn an_authorization_serves_no_other_account_or_profile() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    client.obtain(&stage, &["shop.test"]).await;
    let profile = json!({"profile": "tlsserver"});
    let order = client.order_with(&["shop.test"], &profile).await;
    assert_eq!(order.body["status"], "pending");
    let other = stage.client().await.order(&["shop.test"]).await;
    assert_eq!(other.body["status"], "pending");
}

#[tokio::test]
async fn reuse_can_be_switched_off() {
    let stage = Stage::with(|options| options.reuse = Reuse::Never).await;
    let client = stage.client().await;
    client.obtain(&stage, &["shop.test"]).await;
    let order = client.order(&["shop.test"]).await;
    assert_eq!(order.body["status"], "pending");
}

#[tokio::test]
async fn a_deactivated_authorization_ends_its_order_and_is_not_used_again() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    client.authorize_all(&stage, &order).await;
    let url = order.authorizations().remove(0);
    let wrong = client.post(&url, json!({"status": "valid"})).await;
    assert_eq!(wrong.problem(), "400 malformed");
    let gone = client.post(&url, json!({"status": "deactivated"})).await;
    assert_eq!(gone.good()["status"], "deactivated");
    assert_eq!(client.get(&order.url).await.json()["status"], "invalid");
    let next = client.order(&["shop.test"]).await;
    assert_eq!(next.body["status"], "pending");
}

#[tokio::test]
async fn polling_comes_with_a_pause_where_one_is_set() {
    let stage = Stage::with(|options| options.poll_pause = Some(Duration::from_secs(3))).await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    for url in [&order.url, &order.authorizations()[0]] {
        assert_eq!(client.get(url).await.header("retry-after"), "3");
    }
}
