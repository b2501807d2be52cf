//! The directory, the root, and what the CA refuses to be.

use http::Method;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::json;

use super::*;

/// Whether a client that trusts the root alone accepts a chain for a name
pub(super) fn verifies(ca: &Ca, chain_pem: &str, name: &str, now: Timestamp) -> bool {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let root = ca.root_pem();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .map(Result::unwrap)
        .collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], now)
        .is_ok()
}

#[tokio::test]
async fn directory_names_every_resource_and_what_the_ca_offers() {
    let stage = Stage::new().await;
    let client = stage.stranger(Key::p256()).await;
    let base = stage.ca.directory().replace("/directory", "");
    assert_eq!(
        client.directory,
        json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/new-account"),
            "newOrder": format!("{base}/new-order"),
            "revokeCert": format!("{base}/revoke"),
            "keyChange": format!("{base}/key-change"),
            "renewalInfo": format!("{base}/renewal-info"),
            "meta": {
                "termsOfService": "https://ca.sandbox.test/terms",
                "website": "https://ca.sandbox.test/terms",
                "caaIdentities": ["ca.sandbox.test"],
                "externalAccountRequired": false,
                "profiles": {
                    "classic": "90 days, with a Common Name",
                    "tlsserver": "45 days, without a Common Name",
                    "shortlived": "160 hours, without a Common Name",
                },
            },
        })
    );
    let reply = client.plain(Method::GET, &stage.ca.directory()).await;
    assert_eq!(reply.links(), [""; 0]);
}

#[tokio::test]
async fn directory_says_where_an_external_account_is_required() {
    let stage = Stage::with(|options| options.accounts = Accounts::Bound(BTreeMap::new())).await;
    let client = stage.stranger(Key::p256()).await;
    assert_eq!(client.directory["meta"]["externalAccountRequired"], true);
}

#[tokio::test]
async fn nonces_come_by_head_and_get_uncached_and_each_once() {
    let stage = Stage::new().await;
    let client = stage.stranger(Key::p256()).await;
    let url = client.url("newNonce");
    let mut nonces = Vec::new();
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204)] {
        let reply = client.plain(method, &url).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("cache-control"), "no-store");
        let index = format!("<{}>;rel=\"index\"", stage.ca.directory());
        assert_eq!(reply.links(), [index]);
        nonces.push(reply.header("replay-nonce").to_owned());
    }
    assert_eq!(nonces[0].len(), 22);
    assert_ne!(nonces[0], nonces[1]);
}

#[tokio::test]
async fn ca_does_not_start_where_others_can_reach_it() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let clock = Clock::new(|| at("2026-11-20T12:00:00Z"));
        let mut options = Options::new(clock, "127.0.0.1:53".parse().unwrap(), 80);
        options.address = address.parse().unwrap();
        let refused = Ca::start(options).await.unwrap_err();
        assert!(
            matches!(refused, SandboxError::NotLoopback { .. }),
            "{address}: {refused}"
        );
    }
}

#[tokio::test]
async fn certificates_for_names_that_can_belong_to_somebody_do_not_verify() {
    let stage = Stage::new().await;
    let now = stage.now();
    let validity = Validity {
        not_before: at("2026-11-20T00:00:00Z"),
        not_after: at("2026-11-21T00:00:00Z"),
    };
    for (name, is_trusted) in [
        ("shop.test", true),
        ("www.example.org", true),
        ("127.0.0.1", true),
        ("www.example.org.evil.ru", false),
        ("notexample.org", false),
        ("shop.test.ru", false),
        ("bigtest", false),
        ("192.0.2.1", false),
    ] {
        let pair = stage.ca.issue(&[name], validity).unwrap();
        let found = verifies(&stage.ca, &pair.chain_pem, name, now);
        assert_eq!(found, is_trusted, "{name}");
    }
}

#[tokio::test]
async fn two_cas_have_two_roots() {
    let (one, other) = (Stage::new().await, Stage::new().await);
    let validity = Validity {
        not_before: at("2026-11-20T00:00:00Z"),
        not_after: at("2026-11-21T00:00:00Z"),
    };
    let pair = one.ca.issue(&["shop.test"], validity).unwrap();
    assert!(verifies(&one.ca, &pair.chain_pem, "shop.test", one.now()));
    assert!(!verifies(
        &other.ca,
        &pair.chain_pem,
        "shop.test",
        one.now()
    ));
}
