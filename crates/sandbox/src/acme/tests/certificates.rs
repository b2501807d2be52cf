//! From a CSR to a chain, and revocation (RFC 8555 sections 7.4 and 7.6).

use rcgen::PublicKeyData as _;
use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::client::csr;
use super::leaf::Leaf;
use super::setup::verifies;
use super::*;

#[tokio::test]
async fn each_profile_gives_a_chain_that_verifies_to_the_root() {
    for (profile, not_after, common_name) in [
        (json!({}), "2027-02-18T11:00:00Z", Some("a.test")),
        (
            json!({"profile": "classic"}),
            "2027-02-18T11:00:00Z",
            Some("a.test"),
        ),
        (
            json!({"profile": "tlsserver"}),
            "2027-01-04T11:00:00Z",
            None,
        ),
        (
            json!({"profile": "shortlived"}),
            "2026-11-27T03:00:00Z",
            None,
        ),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let order = client.order_with(&["b.test", "a.test"], &profile).await;
        let key = KeyPair::generate().unwrap();
        let pem = client.complete(&stage, &order, &key).await;
        let leaf = Leaf::of(&pem);
        assert_eq!(leaf.validity.not_before, at("2026-11-20T11:00:00Z"));
        assert_eq!(leaf.validity.not_after, at(not_after), "{profile}");
        assert_eq!(leaf.common_name.as_deref(), common_name);
        assert_eq!(leaf.names, ["a.test", "b.test"]);
        assert!(!leaf.is_ca);
        assert_eq!(leaf.above, 2);
        for name in ["a.test", "b.test"] {
            assert!(verifies(&stage.ca, &pem, name, stage.now()));
        }
        assert!(!verifies(&stage.ca, &pem, "c.test", stage.now()));
        assert!(!verifies(
            &stage.ca,
            &pem,
            "a.test",
            at("2027-02-18T11:00:01Z")
        ));
    }
}

#[tokio::test]
async fn certificates_are_for_the_key_of_the_csr() {
    let rsa = || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (name, key) in [
        ("p384.test", p384),
        ("rsa.test", rsa()),
        ("p256.test", KeyPair::generate().unwrap()),
    ] {
        let order = client.order(&[name]).await;
        let pem = client.complete(&stage, &order, &key).await;
        let leaf = Leaf::of(&pem);
        let expected = key.subject_public_key_info();
        assert_eq!(leaf.public_key, expected, "{name}");
        assert!(verifies(&stage.ca, &pem, name, stage.now()));
    }
}

/// The Common Name that follows from names and the one asked for
async fn common_name(names: &[&str], asked: Option<&str>) -> Option<String> {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(names).await;
    client.authorize_all(&stage, &order).await;
    let key = KeyPair::generate().unwrap();
    client
        .finalize(&order, &csr(names, asked, &key))
        .await
        .good();
    Leaf::of(&stage.ca.issued()[0]).common_name
}

#[tokio::test]
async fn classic_takes_the_common_name_of_the_csr_or_its_first_short_name() {
    let long = format!("{}.{}.test", "a".repeat(60), "b".repeat(10));
    for (names, asked, expected) in [
        (&["b.test", "a.test"][..], None, Some("b.test")),
        (&["b.test", "a.test"], Some("a.test"), Some("a.test")),
        (&["b.test", "a.test"], Some("A.test"), Some("a.test")),
        (&["b.test", "a.test"], Some(""), Some("b.test")),
        (&[&long, "b.test"], None, Some("b.test")),
        (&[&long], None, None),
    ] {
        assert_eq!(
            common_name(names, asked).await.as_deref(),
            expected,
            "{names:?}"
        );
    }
}

fn changed(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["shop.test".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    params.serialize_request(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn csrs_that_are_refused_leave_the_order_ready() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    client.authorize_all(&stage, &order).await;
    let key = KeyPair::generate().unwrap();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let good = csr(&["shop.test"], None, &key);
    let mut unsigned = good.clone();
    *unsigned.last_mut().unwrap() ^= 1;
    for (what, request) in [
        ("another name", csr(&["blog.test"], None, &key)),
        (
            "one name more",
            csr(&["shop.test", "www.shop.test"], None, &key),
        ),
        ("no name", csr(&[], None, &key)),
        (
            "the name as Common Name alone",
            csr(&[], Some("shop.test"), &key),
        ),
        (
            "another Common Name",
            csr(&["shop.test"], Some("blog.test"), &key),
        ),
        (
            "an address",
            changed(|params| {
                params
                    .subject_alt_names
                    .push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
            }),
        ),
        ("Ed25519", csr(&["shop.test"], None, &ed25519)),
        ("a wrong signature", unsigned),
        ("bytes at its end", [good.as_slice(), &[0]].concat()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(
            client.finalize(&order, &request).await.problem(),
            "400 badCSR",
            "{what}"
        );
    }
    let url = order.body["finalize"].as_str().unwrap();
    for payload in [json!({}), json!({"csr": "=="}), json!({"csr": 1})] {
        assert_eq!(client.post(url, payload).await.problem(), "400 malformed");
    }
    assert_eq!(client.get(&order.url).await.json()["status"], "ready");
    client.finalize(&order, &good).await.good();
}

#[tokio::test]
async fn a_csr_for_the_account_key_is_refused() {
    let stage = Stage::new().await;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut client = stage.stranger(Key::of(&key)).await;
    client.register().await;
    let order = client.order(&["shop.test"]).await;
    client.authorize_all(&stage, &order).await;
    let reply = client
        .finalize(&order, &csr(&["shop.test"], None, &key))
        .await;
    assert_eq!(reply.problem(), "400 badCSR");
}

#[tokio::test]
async fn what_else_a_csr_asks_for_is_passed_over() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let order = client.order(&["shop.test"]).await;
    client.authorize_all(&stage, &order).await;
    let request = changed(|params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Shop");
        // Must-staple (RFC 7633), which certbot can ask for.
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
        let staple = rcgen::CustomExtension::from_oid_content(&oid, vec![48, 3, 2, 1, 5]);
        params.custom_extensions.push(staple);
    });
    client.finalize(&order, &request).await.good();
    let leaf = Leaf::of(&stage.ca.issued()[0]);
    assert!(!leaf.is_ca);
    assert_eq!(leaf.subject, "CN=shop.test");
}

/// A revocation of the leaf of a chain
fn revocation(chain_pem: &str, reason: Option<i64>) -> Value {
    let leaf = Leaf::of(chain_pem);
    let mut payload = json!({"certificate": jws::encode(&leaf.der)});
    if let Some(reason) = reason {
        payload["reason"] = json!(reason);
    }
    payload
}

#[tokio::test]
async fn an_account_revokes_its_certificate_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let pem = client.obtain(&stage, &["shop.test"]).await;
    let url = client.url("revokeCert");
    for reason in [2, 3, 6, 7, 9, 10, 300, -1] {
        let refused = client.post(&url, revocation(&pem, Some(reason))).await;
        assert_eq!(refused.problem(), "400 badRevocationReason", "{reason}");
    }
    assert_eq!(stage.ca.revoked(), 0);
    let revoked = client.post(&url, revocation(&pem, Some(4))).await;
    assert_eq!((revoked.status, revoked.body.len()), (200, 0));
    let again = client.post(&url, revocation(&pem, None)).await;
    assert_eq!(again.problem(), "400 alreadyRevoked");
    assert_eq!(stage.ca.revoked(), 1);
}

#[tokio::test]
async fn the_key_of_a_certificate_revokes_it() {
    for key in [
        KeyPair::generate().unwrap(),
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
    ] {
        let stage = Stage::new().await;
        let client = stage.client().await;
        let order = client.order(&["shop.test"]).await;
        let pem = client.complete(&stage, &order, &key).await;
        let holder = stage.stranger(Key::of(&key)).await;
        let payload = revocation(&pem, Some(1));
        let revoked = holder.post(&client.url("revokeCert"), payload).await;
        assert_eq!(revoked.status, 200, "{:?}", revoked.body);
    }
}

#[tokio::test]
async fn strangers_revoke_nothing_unless_they_hold_all_names() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let pem = client.obtain(&stage, &["shop.test", "www.shop.test"]).await;
    let url = client.url("revokeCert");
    let stranger = stage.stranger(Key::p256()).await;
    let refused = stranger.post(&url, revocation(&pem, None)).await;
    assert_eq!(refused.problem(), "403 unauthorized");
    let other = stage.client().await;
    other.obtain(&stage, &["shop.test"]).await;
    let refused = other.post(&url, revocation(&pem, None)).await;
    assert_eq!(refused.problem(), "403 unauthorized");
    other.obtain(&stage, &["www.shop.test"]).await;
    assert_eq!(other.post(&url, revocation(&pem, None)).await.status, 200);
}

#[tokio::test]
async fn what_the_ca_did_not_issue_is_not_revoked() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let url = client.url("revokeCert");
    let elsewhere = Stage::new().await;
    let pem = elsewhere
        .client()
        .await
        .obtain(&elsewhere, &["shop.test"])
        .await;
    let unknown = client.post(&url, revocation(&pem, None)).await;
    assert_eq!(unknown.problem(), "404 malformed");
    for payload in [
        json!({"certificate": "AA"}),
        json!({"certificate": "=="}),
        json!({}),
    ] {
        assert_eq!(client.post(&url, payload).await.problem(), "400 malformed");
    }
}

#[tokio::test]
async fn a_certificate_made_at_a_wish_has_its_key() {
    let stage = Stage::new().await;
    let validity = Validity {
        not_before: at("2026-01-01T00:00:00Z"),
        not_after: at("2026-02-01T00:00:00Z"),
    };
    let pair = stage.ca.issue(&["shop.test"], validity).unwrap();
    let leaf = Leaf::of(&pair.chain_pem);
    let key = KeyPair::from_pem(&pair.key_pem).unwrap();
    assert_eq!(leaf.validity, validity);
    assert_eq!(leaf.public_key, key.subject_public_key_info());
    assert!(PrivatePkcs8KeyDer::from_pem_slice(pair.key_pem.as_bytes()).is_ok());
    assert!(!verifies(
        &stage.ca,
        &pair.chain_pem,
        "shop.test",
        stage.now()
    ));
}
