//! What the CA remembers: accounts, orders, authorizations, certificates, nonces.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::jws::Key;
use super::problem::Problem;
use super::profile::Profile;
use crate::Validity;

/// Everything that the CA remembers
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) accounts: BTreeMap<u64, Account>,
    pub(super) orders: BTreeMap<u64, Order>,
    pub(super) authorizations: BTreeMap<u64, Authorization>,
    /// By serial number in hexadecimal
    pub(super) certificates: BTreeMap<String, Issued>,
    pub(super) validations: usize,
    /// Oldest first
    nonces: VecDeque<String>,
    last: u64,
}

/// A status of RFC 8555 section 7.1.6
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
    Deactivated,
    Expired,
}

#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) key: Key,
    pub(super) contact: Vec<String>,
    pub(super) status: Status,
    /// The external account binding, as it was sent
    pub(super) binding: Option<Value>,
}

#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) account: u64,
    pub(super) names: Vec<String>,
    pub(super) profile: Profile,
    /// Whether the client asked for the profile by its name
    pub(super) asked: Option<&'static str>,
    pub(super) replaces: Option<String>,
    pub(super) authorizations: Vec<u64>,
    pub(super) expires: Timestamp,
    pub(super) stage: OrderStage,
}

/// What an order has come to by itself; its authorizations say the rest
#[derive(Clone, Debug)]
pub(super) enum OrderStage {
    Open,
    /// The certificate is there, and is shown after so many more looks; `None` is never
    Processing(String, Option<u32>),
    /// Serial number of its certificate
    Valid(String),
    Invalid(Problem),
}

#[derive(Clone, Debug)]
pub(super) struct Authorization {
    pub(super) account: u64,
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) expires: Timestamp,
    /// The profile that it was made for: another one may allow less reuse
    pub(super) profile: Profile,
    pub(super) challenge: Challenge,
}

/// The only challenge that the sandbox offers: http-01
#[derive(Clone, Debug)]
pub(super) struct Challenge {
    pub(super) token: String,
    pub(super) status: Status,
    pub(super) validated: Option<Timestamp>,
    pub(super) error: Option<Problem>,
}

/// A certificate that the CA has issued
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) account: u64,
    pub(super) chain_pem: String,
    pub(super) der: Vec<u8>,
    pub(super) names: Vec<String>,
    pub(super) validity: Validity,
    pub(super) revoked: Option<Timestamp>,
}

impl State {
    pub(super) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn keep_nonce(&mut self, nonce: String) {
        if self.nonces.len() >= MOST_NONCES {
            self.nonces.pop_front();
        }
        self.nonces.push_back(nonce);
    }

    /// Whether the nonce was given out and not used yet
    pub(super) fn use_nonce(&mut self, nonce: &str) -> bool {
        // Clients use the latest ones, so the search begins there.
        let position = self.nonces.iter().rposition(|known| known == nonce);
        position.is_some_and(|position| self.nonces.remove(position).is_some())
    }

    pub(super) fn account_of(&self, key: &Key) -> Option<(u64, &Account)> {
        let mut accounts = self.accounts.iter();
        accounts
            .find(|(_, account)| account.key == *key)
            .map(|(id, account)| (*id, account))
    }

    pub(super) fn order_status(&self, order: &Order, now: Timestamp) -> Status {
        match &order.stage {
            OrderStage::Processing(..) => return Status::Processing,
            OrderStage::Valid(_) => return Status::Valid,
            OrderStage::Invalid(_) => return Status::Invalid,
            OrderStage::Open if now >= order.expires => return Status::Invalid,
            OrderStage::Open => {}
        }
        let mut statuses = order
            .authorizations
            .iter()
            .filter_map(|id| self.authorizations.get(id))
            .map(|authorization| authorization.status(now));
        if statuses.clone().all(|status| status == Status::Valid) {
            Status::Ready
        } else if statuses.all(|status| matches!(status, Status::Valid | Status::Pending)) {
            Status::Pending
        } else {
            Status::Invalid
        }
    }

    /// An authorization for this name that an order need not repeat: one that is valid, else one
    /// that is pending
    pub(super) fn reusable(&self, order: &Order, name: &str, now: Timestamp) -> Option<u64> {
        let with = |status: Status| {
            let mut known = self.authorizations.iter().rev();
            known.find(|(_, known)| {
                known.account == order.account
                    && known.name == name
                    && known.profile == order.profile
                    && known.status(now) == status
            })
        };
        let found = with(Status::Valid).or_else(|| with(Status::Pending));
        found.map(|(id, _)| *id)
    }

    /// Whether an account has shown that it holds all these names
    pub(super) fn holds_all(&self, account: u64, names: &[String], now: Timestamp) -> bool {
        names.iter().all(|name| {
            self.authorizations.values().any(|known| {
                known.account == account
                    && known.name == *name
                    && known.status(now) == Status::Valid
            })
        })
    }

    /// An order of this account for exactly the same that waits to be finished
    pub(super) fn same_order(&self, wanted: &Order, now: Timestamp) -> Option<u64> {
        let found = self.orders.iter().find(|(_, order)| {
            order.account == wanted.account
                && order.names == wanted.names
                && order.asked == wanted.asked
                && order.replaces == wanted.replaces
                && matches!(
                    self.order_status(order, now),
                    Status::Pending | Status::Ready
                )
        });
        found.map(|(id, _)| *id)
    }

    /// Whether an order that may still succeed, or did, replaces this certificate
    pub(super) fn is_replaced(&self, certificate: &str, now: Timestamp) -> bool {
        self.orders.values().any(|order| {
            order.replaces.as_deref() == Some(certificate)
                && self.order_status(order, now) != Status::Invalid
        })
    }
}

impl Authorization {
    pub(super) fn status(&self, now: Timestamp) -> Status {
        match self.status {
            Status::Pending | Status::Valid if now >= self.expires => Status::Expired,
            status => status,
        }
    }

    pub(super) fn to_json(&self, challenge: &Value, now: Timestamp) -> Value {
        json!({
            "identifier": {"type": "dns", "value": self.name},
            "status": self.status(now),
            "expires": self.expires,
            "challenges": [challenge],
        })
    }
}

impl Challenge {
    pub(super) fn to_json(&self, url: &str) -> Value {
        let mut json = json!({
            "type": "http-01",
            "url": url,
            "status": self.status,
            "token": self.token,
        });
        if let Some(validated) = self.validated {
            json["validated"] = json!(validated);
        }
        if let Some(error) = &self.error {
            json["error"] = json!(error);
        }
        json
    }
}

/// More than any client holds at once
const MOST_NONCES: usize = 10_000;
