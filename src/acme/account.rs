//! Registering the account of an issuer once, and using it ever after.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, Key, NewAccount};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::problem::{self, AcmeError};
use super::reply::Hints;
use super::transport::Transport;
use super::{Registered, Session, repeat};
use crate::config::{Eab, Terms};
use crate::store::Store;
use crate::store::account::{AccountError, StoredAccount};
use crate::store::files;

/// What a new account is registered with
#[derive(Clone, Copy, Debug)]
pub struct Registration<'r> {
    /// Where the account is kept
    pub store: &'r Store,
    /// Contact
    pub email: Option<&'r str>,
    /// Whether registering is allowed
    pub terms: Terms,
}

impl Session {
    /// The account to order with: the stored one, or a new one that is stored before it is used
    ///
    /// # Errors
    /// [`AcmeError`]; [`AcmeError::Terms`] when there is none and none may be registered.
    pub async fn account(
        &self,
        registration: Registration<'_>,
    ) -> Result<StoredAccount, AcmeError> {
        let mut known = self.account.lock().await;
        match &*known {
            Registered::Account(account) => return Ok(account.clone()),
            Registered::Failed(error) => return Err(AcmeError::Registration(Arc::clone(error))),
            Registered::NotYet => {}
        }
        let store = registration.store;
        let stored = match store.account(&self.name, &self.issuer.directory) {
            // Whatever it was, the CA has others, and a certificate must not end for it.
            Err(error @ AccountError::Damaged { .. }) => {
                let aside = store.set_aside_account(&self.name)?;
                let aside = aside.display();
                tracing::warn!(%error, %aside, "set aside: another account is registered");
                None
            }
            stored => stored?,
        };
        let account = match stored {
            Some(account) => Ok(account),
            None => self.register(registration).await,
        };
        match account {
            Ok(account) => {
                *known = Registered::Account(account.clone());
                Ok(account)
            }
            Err(error) => {
                let error = Arc::new(error);
                *known = Registered::Failed(Arc::clone(&error));
                Err(AcmeError::Registration(error))
            }
        }
    }

    /// Registers the same key anew, after the CA said that it does not know the account
    ///
    /// Called by several orders at once it registers once.
    ///
    /// # Errors
    /// [`AcmeError`]. An account that was bound to an external one must be bound again, which
    /// takes a new key: the old file is replaced only once that has worked.
    pub(super) async fn register_again(
        &self,
        unknown: &StoredAccount,
        registration: Registration<'_>,
    ) -> Result<StoredAccount, AcmeError> {
        let mut known = self.account.lock().await;
        match &*known {
            Registered::Account(account) if account.url != unknown.url => {
                return Ok(account.clone());
            }
            _ => {}
        }
        self.check_terms(registration.terms)?;
        let account = if self.issuer.eab.is_some() {
            self.register(registration).await?
        } else {
            self.register_key(unknown, registration).await?
        };
        *known = Registered::Account(account.clone());
        Ok(account)
    }

    /// Whether there is all that registering takes, on this side
    ///
    /// # Errors
    /// [`AcmeError`] as of [`Session::account`].
    pub fn check_registration(&self, terms: Terms) -> Result<(), AcmeError> {
        self.check_terms(terms)?;
        self.external_accounts().map(drop)
    }

    /// The bindings to an external account that are tried in turn; a single `None` where the CA
    /// wants none
    fn external_accounts(&self) -> Result<Vec<Option<ExternalAccountKey>>, AcmeError> {
        match &self.issuer.eab {
            Some(eab) => Ok(external_keys(eab)?.into_iter().map(Some).collect()),
            None if self.directory.meta.external_account_required => Err(AcmeError::EabRequired {
                issuer: self.name.clone(),
            }),
            None => Ok(vec![None]),
        }
    }

    async fn register(&self, registration: Registration<'_>) -> Result<StoredAccount, AcmeError> {
        self.check_terms(registration.terms)?;
        let mut refused = None;
        for external in self.external_accounts()? {
            match self.register_with(external.as_ref(), registration).await {
                // The key may be wrapped once more.
                Err(error) if error.may_be_of_binding() => refused = refused.or(Some(error)),
                outcome => return outcome,
            }
        }
        Err(refused.unwrap_or_else(|| AcmeError::EabRequired {
            issuer: self.name.clone(),
        }))
    }

    async fn register_with(
        &self,
        external: Option<&ExternalAccountKey>,
        registration: Registration<'_>,
    ) -> Result<StoredAccount, AcmeError> {
        let contact = contact(registration.email);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new_account = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let transport = self.transport();
        let created = repeat(async || {
            let builder = Account::builder_with_http(Box::new(transport.clone()));
            let url = self.issuer.directory.clone();
            builder.create(&new_account, url, external).await
        });
        let (_, credentials) = created
            .await
            .map_err(|error| problem::explain(problem::ACCOUNT, error, transport.hints()))?;
        transport.leave_nonce();
        self.keep(&credentials, registration.store)
    }

    async fn register_key(
        &self,
        unknown: &StoredAccount,
        registration: Registration<'_>,
    ) -> Result<StoredAccount, AcmeError> {
        let transport = self.transport();
        let created = repeat(async || {
            let pkcs8 = PrivatePkcs8KeyDer::from(decode(&unknown.key)?.to_vec());
            let key = Key::from_pkcs8_der(pkcs8.clone_key())?;
            let builder = Account::builder_with_http(Box::new(transport.clone()));
            let url = self.issuer.directory.clone();
            builder
                .create_from_key((key, PrivateKeyDer::Pkcs8(pkcs8)), url)
                .await
        });
        let explain = |error| problem::explain(problem::ACCOUNT, error, transport.hints());
        let (account, credentials) = created.await.map_err(explain)?;
        let stored = self.keep(&credentials, registration.store)?;
        // Registering by key sends no contact, so it is added.
        if let Some(contact) = contact(registration.email) {
            repeat(async || account.update_contacts(&[&contact]).await)
                .await
                .map_err(explain)?;
        }
        Ok(stored)
    }

    fn check_terms(&self, terms: Terms) -> Result<(), AcmeError> {
        match terms {
            Terms::Agreed => Ok(()),
            Terms::NotAgreed => Err(AcmeError::Terms {
                url: self.terms_of_service().map(ToOwned::to_owned),
            }),
        }
    }

    fn keep(
        &self,
        credentials: &AccountCredentials,
        store: &Store,
    ) -> Result<StoredAccount, AcmeError> {
        let nonsense = |reason: &str| AcmeError::Protocol {
            what: problem::ACCOUNT,
            reason: reason.to_owned(),
        };
        let json = serde_json::to_value(credentials).map_err(|_| nonsense("no JSON form"))?;
        let field = |name: &str| {
            json.get(name)
                .and_then(Value::as_str)
                .map(ToOwned::to_owned)
        };
        let account = StoredAccount {
            directory: self.issuer.directory.clone(),
            url: field("id").ok_or_else(|| nonsense("no account URL"))?,
            key: field("key_pkcs8").ok_or_else(|| nonsense("no key"))?,
        };
        store.save_account(&self.name, &account)?;
        Ok(account)
    }

    /// What it takes to speak for an account
    pub(super) fn credentials(&self, account: StoredAccount) -> Credentials {
        Credentials {
            account,
            directory_json: self.directory_json.clone(),
        }
    }
}

/// What it takes to speak for an account
pub(super) struct Credentials {
    pub(super) account: StoredAccount,
    directory_json: Bytes,
}

impl Credentials {
    /// instant-acme's form of a stored account, without a request
    pub(super) async fn restore(&self, transport: &Transport) -> Result<Account, AcmeError> {
        let nonsense = |error: serde_json::Error| AcmeError::Directory {
            url: self.account.directory.clone(),
            reason: error.to_string(),
        };
        // With the URLs inside, instant-acme does not fetch the directory again.
        let urls: Value = serde_json::from_slice(&self.directory_json).map_err(nonsense)?;
        let credentials: AccountCredentials = serde_json::from_value(json!({
            "id": self.account.url,
            "key_pkcs8": self.account.key,
            "urls": urls,
        }))
        .map_err(nonsense)?;
        Account::builder_with_http(Box::new(transport.clone()))
            .from_credentials(credentials)
            .await
            .map_err(|error| problem::explain(problem::ACCOUNT, error, Hints::default()))
    }
}

fn contact(email: Option<&str>) -> Option<String> {
    email.map(|email| format!("mailto:{email}"))
}

fn decode(key: &str) -> Result<Zeroizing<Vec<u8>>, instant_acme::Error> {
    BASE64_URL_SAFE_NO_PAD
        .decode(key)
        .map(Zeroizing::new)
        .map_err(|_| instant_acme::Error::KeyRejected)
}

/// The keys that the file of an external account may stand for, the likeliest first
fn external_keys(eab: &Eab) -> Result<Vec<ExternalAccountKey>, AcmeError> {
    let unusable = |reason: String| AcmeError::EabKey {
        path: eab.hmac_file.clone(),
        reason,
    };
    let text = files::read_secret(&eab.hmac_file).map_err(|error| unusable(error.to_string()))?;
    let key = any_base64(text.as_bytes()).ok_or_else(|| unusable("it is no base64".to_owned()))?;
    if key.is_empty() {
        return Err(unusable("it is empty".to_owned()));
    }
    // Some CAs wrap the key in base64 once more than RFC 8555 section 7.3.4 has it.
    let inner = any_base64(&key).filter(|inner| inner.len() >= LEAST_INNER);
    let keys = std::iter::once(key).chain(inner);
    Ok(keys
        .map(|key| ExternalAccountKey::new(eab.kid.clone(), &key))
        .collect())
}

/// What a text holds in either alphabet of base64, with padding or without, on any number of lines
fn any_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        digits
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                byte => *byte,
            })
            .collect(),
    );
    let end = digits.iter().rposition(|byte| *byte != b'=');
    let key = BASE64_URL_SAFE_NO_PAD.decode(&digits[..end.map_or(0, |end| end + 1)]);
    key.ok().map(Zeroizing::new)
}

/// Bytes of a key below which a text that happens to be base64 is not taken for one that is wrapped
const LEAST_INNER: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_every_dialect_of_base64() {
        let key = [0xfb, 0xef, 0xff, 0x00, 0x10];
        for text in ["----ABA", "++__ABA", "+-_/ABA=", " --\n--ABA=\n"] {
            let read = any_base64(text.replace("++__", "++//").as_bytes());
            let first = read.expect(text)[0];
            assert_eq!(first, 0xfb, "{text}");
        }
        assert_eq!(
            any_base64(b"++//ABA=").unwrap().as_slice(),
            &any_base64(b"--__ABA").unwrap()[..]
        );
        assert_eq!(any_base64(b"++//ABA=").unwrap().len(), key.len());
        assert!(any_base64(b"s3cr*t").is_none());
        assert!(any_base64(b" \n").unwrap().is_empty());
    }
}
