//! An ACME client that can do everything right and everything wrong.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac, rsa};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::Stage;
use crate::acme::jws::encode;

/// A key that signs requests
pub(super) enum Key {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    pub(super) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(super) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap())
    }

    /// The key of a certificate
    pub(super) fn of(key: &KeyPair) -> Self {
        let der = key.serialize_der();
        match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der) {
            Ok(key) => Self::P256(key),
            Err(_) => Self::Rsa(RsaKeyPair::from_pkcs8(&der).unwrap()),
        }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Rsa(_) => "RS256",
        }
    }

    pub(super) fn jwk(&self) -> Value {
        match self {
            Self::P256(key) | Self::P384(key) => {
                // An uncompressed point: one byte, then two coordinates of the same length.
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = format!("P-{}", x.len() * 8);
                json!({"crv": curve, "kty": "EC", "x": encode(x), "y": encode(y)})
            }
            Self::Rsa(key) => {
                let public = key.public_key();
                let n = encode(public.modulus().big_endian_without_leading_zero());
                let e = encode(public.exponent().big_endian_without_leading_zero());
                json!({"e": e, "kty": "RSA", "n": n})
            }
        }
    }

    pub(super) fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let text = |member: &str| jwk[member].as_str().unwrap().to_owned();
        let canonical = match self {
            Self::P256(_) | Self::P384(_) => {
                let (curve, x, y) = (text("crv"), text("x"), text("y"));
                format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::Rsa(_) => {
                let (e, n) = (text("e"), text("n"));
                format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
            }
        };
        encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::P256(key) | Self::P384(key) => {
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }

    /// A JWS with this protected header; an empty payload is one of POST-as-GET
    pub(super) fn jws(&self, protected: &Value, payload: &str) -> Value {
        let (protected, payload) = (encode(protected.to_string()), encode(payload));
        let signature = encode(self.sign(format!("{protected}.{payload}").as_bytes()));
        json!({"protected": protected, "payload": payload, "signature": signature})
    }
}

/// A JWS by a shared secret, as external account bindings are
pub(super) fn mac(secret: &[u8], protected: &Value, payload: &Value) -> Value {
    let (protected, payload) = (encode(protected.to_string()), encode(payload.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = encode(hmac::sign(
        &key,
        format!("{protected}.{payload}").as_bytes(),
    ));
    json!({"protected": protected, "payload": payload, "signature": signature})
}

/// What the CA answered
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    /// The JSON of an answer that is no refusal
    #[track_caller]
    pub(super) fn good(&self) -> Value {
        assert!(self.status < 300, "{} {:?}", self.status, self.body);
        self.json()
    }

    /// Status and type of a problem, as `400 malformed`
    #[track_caller]
    pub(super) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{} {:?}",
            self.status,
            self.body
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        format!("{} {}", self.status, kind(&problem))
    }

    /// A header as text, empty where there is none
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn links(&self) -> Vec<&str> {
        let links = self.headers.get_all("link").iter();
        links.map(|link| link.to_str().unwrap()).collect()
    }
}

/// The last part of the type of a problem
pub(super) fn kind(problem: &Value) -> &str {
    let urn = problem["type"].as_str().unwrap_or_default();
    urn.rsplit(':').next().unwrap_or_default()
}

pub(super) struct Client {
    http: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    pub(super) directory: Value,
    pub(super) key: Key,
    /// URL of the account; empty before it is registered
    pub(super) kid: String,
}

impl Client {
    pub(super) async fn new(root: &str, directory: &str, key: Key) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        let mut client = Self {
            http: hyper_util::client::legacy::Client::builder(TokioExecutor::new())
                .build(connector),
            directory: Value::Null,
            key,
            kid: String::new(),
        };
        client.directory = client.plain(Method::GET, directory).await.good();
        client
    }

    /// A resource by its name in the directory
    pub(super) fn url(&self, name: &str) -> String {
        self.directory[name].as_str().unwrap().to_owned()
    }

    pub(super) async fn plain(&self, method: Method, url: &str) -> Reply {
        let request = Request::builder().method(method).uri(url);
        self.exchange(request.body(Full::default()).unwrap())
            .await
            .unwrap()
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Reply, String> {
        let response = self.http.request(request).await;
        let (parts, body) = response.map_err(|error| error.to_string())?.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }

    /// Reads at least so much of a body, and gives how much that was
    pub(super) async fn beginning(&self, url: &str, enough: usize) -> usize {
        let request = Request::get(url).body(Full::default()).unwrap();
        let mut body = self.http.request(request).await.unwrap().into_body();
        let mut read = 0;
        while read < enough {
            let frame = body.frame().await.unwrap().unwrap();
            read += frame.into_data().unwrap().len();
        }
        read
    }

    pub(super) async fn nonce(&self) -> String {
        let reply = self.plain(Method::HEAD, &self.url("newNonce")).await;
        reply.header("replay-nonce").to_owned()
    }

    /// The protected header that is right for this URL
    pub(super) async fn protected(&self, url: &str) -> Value {
        let mut protected = json!({
            "alg": self.key.algorithm(), "nonce": self.nonce().await, "url": url,
        });
        match self.kid.as_str() {
            "" => protected["jwk"] = self.key.jwk(),
            kid => protected["kid"] = json!(kid),
        }
        protected
    }

    /// Sends any body
    pub(super) async fn send(&self, url: &str, content_type: &str, body: String) -> Reply {
        self.try_send(url, content_type, body).await.unwrap()
    }

    /// The same, for replies that have no end
    pub(super) async fn try_send(
        &self,
        url: &str,
        content_type: &str,
        body: String,
    ) -> Result<Reply, String> {
        let request = Request::post(url)
            .header("content-type", content_type)
            .body(Full::from(body))
            .unwrap();
        self.exchange(request).await
    }

    pub(super) async fn send_jws(&self, url: &str, jws: &Value) -> Reply {
        self.send(url, JOSE, jws.to_string()).await
    }

    pub(super) async fn post(&self, url: &str, payload: Value) -> Reply {
        let protected = self.protected(url).await;
        let jws = self.key.jws(&protected, &payload.to_string());
        self.send_jws(url, &jws).await
    }

    /// POST-as-GET
    pub(super) async fn get(&self, url: &str) -> Reply {
        let protected = self.protected(url).await;
        self.send_jws(url, &self.key.jws(&protected, "")).await
    }

    pub(super) async fn register(&mut self) -> Reply {
        let payload = json!({"termsOfServiceAgreed": true});
        let reply = self.post(&self.url("newAccount"), payload).await;
        self.kid = reply.header("location").to_owned();
        reply
    }

    pub(super) async fn new_order(&self, payload: Value) -> Reply {
        self.post(&self.url("newOrder"), payload).await
    }

    /// An order for these names: its URL and what it says
    pub(super) async fn order(&self, names: &[&str]) -> Order {
        self.order_with(names, &json!({})).await
    }

    pub(super) async fn order_with(&self, names: &[&str], more: &Value) -> Order {
        let mut payload = json!({"identifiers": identifiers(names)});
        for (member, value) in more.as_object().unwrap() {
            payload[member] = value.clone();
        }
        let reply = self.new_order(payload).await;
        assert_eq!(reply.status, 201, "{:?}", reply.body);
        Order {
            url: reply.header("location").to_owned(),
            body: reply.json(),
        }
    }

    /// Lets the CA validate an authorization; gives what became of it
    pub(super) async fn authorize(&self, stage: &Stage, url: &str) -> Value {
        let challenge = self.get(url).await.good()["challenges"][0].clone();
        let token = challenge["token"].as_str().unwrap();
        stage.serve(token, &format!("{token}.{}", self.key.thumbprint()));
        self.validate(url).await
    }

    /// The same, whatever is served
    pub(super) async fn validate(&self, url: &str) -> Value {
        let challenge = self.get(url).await.good()["challenges"][0].clone();
        let challenge = challenge["url"].as_str().unwrap();
        self.post(challenge, json!({})).await.good();
        loop {
            let authorization = self.get(url).await.good();
            if authorization["status"] != "pending" {
                return authorization;
            }
        }
    }

    pub(super) async fn authorize_all(&self, stage: &Stage, order: &Order) {
        for url in order.authorizations() {
            let authorization = self.authorize(stage, &url).await;
            assert_eq!(authorization["status"], "valid", "{authorization}");
        }
    }

    pub(super) async fn finalize(&self, order: &Order, csr: &[u8]) -> Reply {
        let url = order.body["finalize"].as_str().unwrap();
        self.post(url, json!({"csr": encode(csr)})).await
    }

    /// The chain of an order, its names validated and its certificate issued for this key
    pub(super) async fn complete(&self, stage: &Stage, order: &Order, key: &KeyPair) -> String {
        self.authorize_all(stage, order).await;
        let names: Vec<&str> = order.names();
        let valid = self.finalize(order, &csr(&names, None, key)).await.good();
        assert_eq!(valid["status"], "valid", "{valid}");
        let url = valid["certificate"].as_str().unwrap();
        let reply = self.get(url).await;
        assert_eq!(
            reply.header("content-type"),
            "application/pem-certificate-chain"
        );
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    pub(super) async fn obtain(&self, stage: &Stage, names: &[&str]) -> String {
        let order = self.order(names).await;
        self.complete(stage, &order, &KeyPair::generate().unwrap())
            .await
    }
}

pub(super) struct Order {
    pub(super) url: String,
    pub(super) body: Value,
}

impl Order {
    pub(super) fn authorizations(&self) -> Vec<String> {
        let urls = self.body["authorizations"].as_array().unwrap().iter();
        urls.map(|url| url.as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let identifiers = self.body["identifiers"].as_array().unwrap().iter();
        identifiers
            .map(|identifier| identifier["value"].as_str().unwrap())
            .collect()
    }
}

pub(super) fn identifiers(names: &[&str]) -> Value {
    let names = names.iter();
    names
        .map(|name| json!({"type": "dns", "value": name}))
        .collect()
}

/// A CSR for these names; its subject is empty without a Common Name
pub(super) fn csr(names: &[&str], common_name: Option<&str>, key: &KeyPair) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.serialize_request(key).unwrap().der().to_vec()
}

pub(super) const JOSE: &str = "application/jose+json";
