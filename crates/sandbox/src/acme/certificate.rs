//! From a CSR to a certificate, its renewal information and its end (RFC 8555 sections 7.4 and
//! 7.6, RFC 9773).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::SignedDuration;
use rcgen::KeyPair;
use serde::Deserialize;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::{Authority, Leaf};
use super::csr::Csr;
use super::edge::{By, Signed};
use super::jws;
use super::problem::Problem;
use super::profile::Subject;
use super::state::{Issued, Order, OrderStage, Status};
use super::{Mishap, Shared, Step, Window, lock};
use crate::Validity;

#[derive(Debug, Deserialize)]
struct Finalize {
    csr: String,
}

/// Issues the certificate of an order
pub(super) async fn finalize(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<u64>,
    signed: Signed,
) -> Result<Response, Problem> {
    let account = signed.account()?;
    let wanted: Finalize = jws::payload(&signed.payload)?;
    let order = shared.ready_order(id, account)?;
    let account_url = shared.url(&format!("account/{account}"));
    let (_, account_key) = shared.account_key(&account_url)?;
    let csr = Csr::parse(&jws::decode(&wanted.csr)?, &account_key)?;
    csr.check_names(&order.names)?;
    let mut permitted = Ok(());
    for name in &order.names {
        if permitted.is_ok() {
            permitted = shared.fetcher.check_caa(name, &account_url).await;
        }
    }
    // Another request may have finished the order meanwhile.
    let order = shared.ready_order(id, account)?;
    let stage = match (shared.mishaps.take(&Step::Finalize), permitted) {
        (_, Err(problem)) | (Some(Mishap::Invalid(problem)), _) => OrderStage::Invalid(problem),
        (Some(Mishap::Processing(looks)), _) => {
            OrderStage::Processing(shared.issue_for(&order, &csr)?, looks)
        }
        _ => OrderStage::Valid(shared.issue_for(&order, &csr)?),
    };
    let mut state = lock(&shared.state);
    if let Some(order) = state.orders.get_mut(&id) {
        order.stage = stage;
    }
    let body = shared.order_json(&state, id, shared.now())?;
    Ok(shared.polled(body))
}

impl Shared {
    fn ready_order(&self, id: u64, account: u64) -> Result<Order, Problem> {
        let state = lock(&self.state);
        let order = state
            .orders
            .get(&id)
            .filter(|order| order.account == account)
            .ok_or_else(|| Problem::not_found("order"))?;
        match state.order_status(order, self.now()) {
            Status::Ready => Ok(order.clone()),
            status => {
                let detail =
                    format!("Order's status ({status:?}) is not acceptable for finalization");
                Err(Problem::new(403, "orderNotReady", detail))
            }
        }
    }

    /// Signs and keeps a certificate; gives its serial number in hexadecimal
    fn issue_for(&self, order: &Order, csr: &Csr) -> Result<String, Problem> {
        let mishap = self.mishaps.take(&Step::Issue);
        let serial = serial();
        let common_name = match order.profile.subject {
            Subject::Empty => None,
            Subject::CommonName => {
                let asked = csr.common_name.iter().chain(&csr.names);
                let mut names = asked.map(String::as_str);
                names.find(|name| name.len() <= LONGEST_COMMON_NAME)
            }
        };
        let leaf = Leaf {
            names: &order.names,
            common_name,
            validity: self.validity(order, mishap.as_ref()),
            serial: serial.clone(),
            flaw: match mishap {
                Some(Mishap::Flawed(flaw)) => Some(flaw),
                _ => None,
            },
        };
        let refused = |error: rcgen::Error| Problem::new(400, "badCSR", error.to_string());
        let other = match mishap {
            Some(Mishap::OtherRoot) => Some(Authority::new(self.now()).map_err(refused)?),
            _ => None,
        };
        let authority = other.as_ref().unwrap_or(&self.authority);
        let signed = match mishap {
            Some(Mishap::ForeignKey) => {
                KeyPair::generate().and_then(|key| authority.sign(&leaf, &key))
            }
            _ => authority.sign(&leaf, &csr.key),
        };
        let certificate = signed.map_err(refused)?;
        let hex = hex(&serial);
        let above = match mishap {
            Some(Mishap::Alone) => String::new(),
            _ => authority.above_pem(),
        };
        let pem = match mishap {
            Some(Mishap::BrokenSignature) => with_broken_signature(certificate.der()),
            _ => certificate.pem(),
        };
        let issued = Issued {
            account: order.account,
            chain_pem: format!("{pem}{above}"),
            der: certificate.der().to_vec(),
            names: order.names.clone(),
            validity: leaf.validity,
            revoked: None,
        };
        lock(&self.state).certificates.insert(hex.clone(), issued);
        Ok(hex)
    }

    fn validity(&self, order: &Order, mishap: Option<&Mishap>) -> Validity {
        let lifetime = self.options.lifetime.unwrap_or(order.profile.validity);
        // As Let's Encrypt does, for clients whose clocks are slow.
        let mut not_before = self.now() - BACKDATED;
        if matches!(mishap, Some(Mishap::Expired)) {
            not_before -= lifetime;
        }
        Validity {
            not_before,
            not_after: not_before + lifetime,
        }
    }

    /// The window that Let's Encrypt would suggest: 2 % of the lifetime around two thirds of it,
    /// or around its middle if it is short
    fn usual_window(issued: &Issued) -> Window {
        let lifetime = issued
            .validity
            .not_after
            .duration_since(issued.validity.not_before);
        let from_start = match lifetime < SHORT_LIFETIME {
            true => lifetime / 2,
            false => lifetime / 3 * 2,
        };
        let middle = issued.validity.not_before + from_start;
        let (start, end) = match issued.revoked {
            // A window that has passed: renew at once.
            Some(at) => (at - BACKDATED, at),
            None => (middle - lifetime / 100, middle + lifetime / 100),
        };
        Window {
            start,
            end,
            explanation: None,
            retry_after: Some(LOOK_AGAIN),
        }
    }
}

/// Gives the certificate with its intermediates
pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    Path(serial): Path<String>,
    signed: Signed,
) -> Result<Response, Problem> {
    signed.as_get()?;
    let account = signed.account()?;
    let state = lock(&shared.state);
    let issued = state
        .certificates
        .get(&serial)
        .filter(|issued| issued.account == account)
        .ok_or_else(|| Problem::not_found("certificate"))?;
    let kind = [(CONTENT_TYPE, "application/pem-certificate-chain")];
    Ok((kind, issued.chain_pem.clone()).into_response())
}

#[derive(Debug, Deserialize)]
struct Revoke {
    certificate: String,
    reason: Option<i64>,
}

/// Revokes a certificate, for the account that ordered it or for whoever holds its key
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    signed: Signed,
) -> Result<StatusCode, Problem> {
    let wanted: Revoke = jws::payload(&signed.payload)?;
    let der = jws::decode(&wanted.certificate)?;
    let (_, certificate) = X509Certificate::from_der(&der)
        .map_err(|_| Problem::malformed("the certificate is no X.509 DER"))?;
    let mut state = lock(&shared.state);
    let serial = hex(certificate.raw_serial());
    let issued = state.certificates.get(&serial);
    let issued = issued
        .filter(|issued| issued.der == der)
        .ok_or_else(|| Problem::not_found("certificate"))?;
    let may = match signed.by() {
        By::Account(id) => {
            *id == issued.account || state.holds_all(*id, &issued.names, shared.now())
        }
        By::Key(key) => key.is_of(certificate.public_key()),
    };
    if !may {
        let detail = "neither the certificate's key nor an account that holds its names signed";
        return Err(Problem::unauthorized(detail));
    }
    if wanted
        .reason
        .is_some_and(|reason| !REASONS.contains(&reason))
    {
        let detail = "the reasons are 0, 1, 4 and 5 (RFC 5280 section 5.3.1)";
        return Err(Problem::new(400, "badRevocationReason", detail));
    }
    if issued.revoked.is_some() {
        return Err(Problem::new(
            400,
            "alreadyRevoked",
            "the certificate is revoked already",
        ));
    }
    if let Some(issued) = state.certificates.get_mut(&serial) {
        issued.revoked = Some(shared.now());
    }
    Ok(StatusCode::OK)
}

/// Says when a certificate should be renewed (RFC 9773 section 4)
pub(super) async fn renewal_info(
    State(shared): State<Arc<Shared>>,
    Path(identifier): Path<String>,
) -> Result<Response, Problem> {
    let serial = serial_of_identifier(&shared, &identifier)?;
    let usual = {
        let state = lock(&shared.state);
        let issued = state.certificates.get(&serial);
        Shared::usual_window(issued.ok_or_else(|| Problem::not_found("certificate"))?)
    };
    let window = lock(&shared.controls).window.clone().unwrap_or(usual);
    let mut body = json!({"suggestedWindow": {"start": window.start, "end": window.end}});
    if let Some(url) = window.explanation {
        body["explanationURL"] = json!(url);
    }
    let mut response = Json(body).into_response();
    if let Some(wait) = window.retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, wait.as_secs().into());
    }
    Ok(response)
}

/// The serial number in a certificate identifier (RFC 9773 section 4.1), in hexadecimal
pub(super) fn serial_of_identifier(shared: &Shared, identifier: &str) -> Result<String, Problem> {
    let malformed = || Problem::malformed(format!("{identifier:?} is no certificate identifier"));
    let (key, serial) = identifier.split_once('.').ok_or_else(malformed)?;
    if jws::decode(key).map_err(|_| malformed())? != shared.authority.key_identifier() {
        return Err(Problem::not_found("the issuer of the certificate"));
    }
    Ok(hex(&jws::decode(serial).map_err(|_| malformed())?))
}

/// A random serial number that is positive in DER as it stands
pub(super) fn serial() -> Vec<u8> {
    let mut serial = vec![0; 16];
    let _ = aws_lc_rs::rand::fill(&mut serial);
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

/// A certificate as PEM, one bit of whose signature, which stands at its end, is another
fn with_broken_signature(der: &[u8]) -> String {
    let mut der = der.to_vec();
    if let Some(byte) = der.iter_mut().nth_back(4) {
        *byte ^= 1;
    }
    let text = BASE64_STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
const SHORT_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 24);
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(6 * 3600);
/// Upper bound of RFC 5280, appendix A
const LONGEST_COMMON_NAME: usize = 64;
const REASONS: [i64; 4] = [0, 1, 4, 5];
