//! How the CA fails on demand.

use http::Method;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use super::super::super::fault::Answer;
use super::client::{JOSE, csr, identifiers, kind};
use super::leaf::Leaf;
use super::setup::verifies;
use super::*;

#[tokio::test]
async fn good_nonces_are_refused_evenly_at_the_rate_that_is_set() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (percent, expected) in [(0, 0), (10, 1), (50, 5), (100, 10), (250, 10)] {
        stage.ca.reject_nonces(percent);
        let mut refused = 0;
        for _ in 0..10 {
            let reply = client.get(&client.kid).await;
            if reply.status != 200 {
                assert_eq!(reply.problem(), "400 badNonce");
                assert_eq!(reply.header("replay-nonce").len(), 22);
                refused += 1;
            }
        }
        assert_eq!(refused, expected, "{percent} %");
    }
    stage.ca.behave();
    assert_eq!(client.get(&client.kid).await.status, 200);
}

#[tokio::test]
async fn each_limit_comes_with_its_words_and_when_to_retry() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let after =
        "retry after 2026-11-20 13:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/";
    for (limit, words, anchor) in [
        (
            Limit::Accounts,
            "too many new registrations (10) from this IP address in the last 3h0m0s",
            "new-registrations-per-ip-address",
        ),
        (
            Limit::AccountsPerRange,
            "too many new registrations (500) from this /48 subnet of IPv6 addresses in the last 3h0m0s",
            "new-registrations-per-ipv6-range",
        ),
        (
            Limit::Orders,
            "too many new orders (300) from this account in the last 3h0m0s",
            "new-orders-per-account",
        ),
        (
            Limit::RegisteredDomain("shop.test"),
            "too many certificates (50) already issued for \"shop.test\" in the last 168h0m0s",
            "new-certificates-per-registered-domain",
        ),
        (
            Limit::ExactSet,
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
            "new-certificates-per-exact-set-of-identifiers",
        ),
        (
            Limit::Failures("shop.test"),
            "too many failed authorizations (5) for \"shop.test\" in the last 1h0m0s",
            "authorization-failures-per-identifier-per-account",
        ),
    ] {
        let problem = Problem::limited(limit, stage.now(), Duration::from_secs(3600));
        stage.ca.fault(Call::NewOrder, Times::Next(1), problem);
        let reply = client.new_order(json!({})).await;
        assert_eq!(reply.problem(), "429 rateLimited");
        assert_eq!(reply.header("retry-after"), "3600");
        assert_eq!(reply.header("replay-nonce").len(), 22);
        assert_eq!(reply.json()["detail"], format!("{words}, {after}#{anchor}"));
    }
}

#[tokio::test]
async fn a_paused_name_comes_with_the_link_that_ends_the_pause() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let problem = Problem::paused("shop.test", "https://ca.sandbox.test/unpause?jwt=x");
    stage.ca.fault(Call::NewOrder, Times::Next(1), problem);
    let reply = client.new_order(json!({})).await;
    assert_eq!(reply.problem(), "429 rateLimited");
    assert_eq!(
        reply.json()["detail"],
        "Your account is temporarily prevented from requesting certificates for shop.test and possibly others. Please visit: https://ca.sandbox.test/unpause?jwt=x"
    );
}

#[tokio::test]
async fn problems_are_answered_as_often_as_asked_for() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let payload = json!({"identifiers": identifiers(&["shop.test"])});
    let replaced = Problem::already_replaced("0a1b");
    stage.ca.fault(Call::NewOrder, Times::Next(2), replaced);
    for expected in ["409 alreadyReplaced", "409 alreadyReplaced"] {
        assert_eq!(client.new_order(payload.clone()).await.problem(), expected);
    }
    assert_eq!(client.new_order(payload.clone()).await.status, 201);
    let broken = Problem::new(500, "serverInternal", "Error creating new order");
    stage.ca.fault(Call::NewOrder, Times::Always, broken);
    for _ in 0..3 {
        let reply = client.new_order(payload.clone()).await;
        assert_eq!(reply.problem(), "500 serverInternal");
    }
    stage.ca.behave();
    assert_eq!(client.new_order(payload).await.status, 201);
}

#[tokio::test]
async fn a_page_of_a_balancer_has_no_headers_of_the_ca() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let page = Answer::html(503, "Service Unavailable").retry_after(Duration::from_secs(9));
    stage.ca.fault(Call::Account, Times::Next(1), page);
    let reply = client.get(&client.kid).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("content-type"), "text/html");
    assert_eq!(reply.header("retry-after"), "9");
    assert_eq!(reply.header("replay-nonce"), "");
    assert_eq!(reply.links(), [""; 0]);
    assert!(reply.body.starts_with(b"<html>"));
}

#[tokio::test]
async fn every_kind_of_call_fails_when_told_to() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let base = stage.ca.directory().replace("/directory", "");
    for (call, method, path) in [
        (Call::Directory, Method::GET, "directory"),
        (Call::Nonce, Method::HEAD, "nonce"),
        (Call::NewAccount, Method::POST, "new-account"),
        (Call::Account, Method::POST, "account/1"),
        (Call::KeyChange, Method::POST, "key-change"),
        (Call::NewOrder, Method::POST, "new-order"),
        (Call::Order, Method::POST, "order/1"),
        (Call::Authorization, Method::POST, "authorization/1"),
        (Call::Challenge, Method::POST, "challenge/1"),
        (Call::Finalize, Method::POST, "order/1/finalize"),
        (Call::Certificate, Method::POST, "certificate/00"),
        (Call::Revoke, Method::POST, "revoke"),
        (Call::RenewalInfo, Method::GET, "renewal-info/x"),
    ] {
        stage.ca.fault(call, Times::Next(1), Answer::status(502));
        let url = format!("{base}/{path}");
        let reply = client.plain(method.clone(), &url).await;
        assert_eq!(reply.status, 502, "{path}");
        assert_ne!(client.plain(method, &url).await.status, 502, "{path}");
    }
}

#[tokio::test]
async fn a_reply_is_cut_short() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage
        .ca
        .fault(Call::Account, Times::Next(1), Fault::CutShort);
    let cut = client.try_send(&client.kid, JOSE, String::new()).await;
    assert!(cut.is_err());
    assert_eq!(client.get(&client.kid).await.status, 200);
}

#[tokio::test]
async fn a_reply_has_no_end() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage
        .ca
        .fault(Call::Directory, Times::Next(1), Fault::Endless);
    let read = client.beginning(&stage.ca.directory(), 1 << 20).await;
    assert!(read >= 1 << 20);
}

#[tokio::test]
async fn replies_stall_stay_out_or_come_late() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let directory = stage.ca.directory();
    for fault in [Fault::Stalled, Fault::Silent] {
        stage.ca.fault(Call::Directory, Times::Next(1), fault);
        let reply = client.plain(Method::GET, &directory);
        let outcome = tokio::time::timeout(Duration::from_millis(50), reply).await;
        assert!(outcome.is_err());
    }
    let slow = Fault::Slow(Duration::from_millis(1));
    stage.ca.fault(Call::Directory, Times::Next(1), slow);
    let late = client.plain(Method::GET, &directory).await;
    assert_eq!(late.good(), client.directory);
}

#[tokio::test]
async fn a_validation_fails_with_a_given_problem_and_its_parts() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let problem = Problem::new(403, "compound", "several things are wrong")
        .about("shop.test", "dns", "no address")
        .about("shop.test", "caa", "not allowed");
    stage.ca.mishap(Times::Next(1), Mishap::Validation(problem));
    let order = client.order(&["shop.test"]).await;
    let url = order.authorizations().remove(0);
    let failed = client.authorize(&stage, &url).await;
    assert_eq!(
        failed["challenges"][0]["error"],
        json!({
            "type": "urn:ietf:params:acme:error:compound",
            "detail": "several things are wrong",
            "status": 403,
            "subproblems": [
                {
                    "type": "urn:ietf:params:acme:error:dns",
                    "detail": "no address",
                    "identifier": {"type": "dns", "value": "shop.test"},
                },
                {
                    "type": "urn:ietf:params:acme:error:caa",
                    "detail": "not allowed",
                    "identifier": {"type": "dns", "value": "shop.test"},
                },
            ],
        })
    );
    client.obtain(&stage, &["shop.test"]).await;
}

/// An order that is ready, and a CSR for it
async fn ready(stage: &Stage, client: &Client) -> (client::Order, KeyPair, Vec<u8>) {
    let order = client.order(&["shop.test"]).await;
    client.authorize_all(stage, &order).await;
    let key = KeyPair::generate().unwrap();
    let request = csr(&["shop.test"], None, &key);
    (order, key, request)
}

#[tokio::test]
async fn a_chain_is_for_another_key() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage.ca.mishap(Times::Next(1), Mishap::ForeignKey);
    let order = client.order(&["shop.test"]).await;
    let key = KeyPair::generate().unwrap();
    let pem = client.complete(&stage, &order, &key).await;
    let leaf = Leaf::of(&pem);
    let own = key.subject_public_key_info();
    assert_ne!(leaf.public_key, own);
    assert!(verifies(&stage.ca, &pem, "shop.test", stage.now()));
}

#[tokio::test]
async fn a_chain_had_expired_when_it_was_issued() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage.ca.mishap(Times::Next(1), Mishap::Expired);
    let pem = client.obtain(&stage, &["shop.test"]).await;
    let leaf = Leaf::of(&pem);
    assert_eq!(leaf.validity.not_after, at("2026-11-20T11:00:00Z"));
    assert!(!verifies(&stage.ca, &pem, "shop.test", stage.now()));
    let good = client.obtain(&stage, &["shop.test"]).await;
    assert!(verifies(&stage.ca, &good, "shop.test", stage.now()));
}

#[tokio::test]
async fn processing_lasts_for_so_many_looks() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage.ca.mishap(Times::Next(1), Mishap::Processing(Some(2)));
    let (order, _, request) = ready(&stage, &client).await;
    let mut seen: Vec<Value> = Vec::new();
    seen.push(client.finalize(&order, &request).await.good());
    for _ in 0..3 {
        seen.push(client.get(&order.url).await.good());
    }
    let statuses: Vec<&str> = seen
        .iter()
        .map(|body| body["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["processing", "processing", "processing", "valid"]
    );
    assert!(seen[2]["certificate"].is_null());
    assert!(seen[3]["certificate"].is_string());
}

#[tokio::test]
async fn processing_lasts_for_ever() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    stage.ca.mishap(Times::Next(1), Mishap::Processing(None));
    let (order, _, request) = ready(&stage, &client).await;
    client.finalize(&order, &request).await.good();
    for _ in 0..20 {
        assert_eq!(client.get(&order.url).await.json()["status"], "processing");
    }
}

#[tokio::test]
async fn mishaps_end_with_their_count_or_with_behave() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let problem = Problem::new(500, "serverInternal", "no luck");
    stage.ca.mishap(Times::Always, Mishap::Validation(problem));
    for _ in 0..2 {
        let order = client.order(&["shop.test"]).await;
        let failed = client.authorize(&stage, &order.authorizations()[0]).await;
        assert_eq!(kind(&failed["challenges"][0]["error"]), "serverInternal");
    }
    stage.ca.behave();
    client.obtain(&stage, &["shop.test"]).await;
}
