//! What lies beside the record of an order that is under way: its key, without which a certificate
//! that was issued just before a crash is worth nothing, and the tokens that were published for it.

use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::Store;
use super::files::{Access, FileError};
use super::lineage::MOST_OF_KEY;
use crate::name::DnsName;

impl Store {
    /// Keeps the key of a running order, for its owner alone
    ///
    /// # Errors
    /// [`FileError`]; the order should not go on without.
    pub fn save_order_key(&self, name: &DnsName, key_pem: &str) -> Result<(), FileError> {
        let path = self.order_file(name, KEY);
        self.state.write(&path, key_pem.as_bytes(), Access::Owner)
    }

    /// The key of a running order; `None` where there is none that can be read
    pub fn order_key(&self, name: &DnsName) -> Option<Zeroizing<String>> {
        let bytes = self
            .state
            .read(&self.order_file(name, KEY), MOST_OF_KEY)
            .ok()?;
        match String::from_utf8(bytes) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                None
            }
        }
    }

    /// Adds tokens to those that are published for a running order
    ///
    /// They are a hint by which a killed certd's are removed from the webroot, and are not synced, as
    /// little as the tokens themselves.
    ///
    /// # Errors
    /// [`FileError`]; what is left in the webroot may stay there.
    pub fn note_order_tokens(&self, name: &DnsName, tokens: &[&str]) -> Result<(), FileError> {
        let lines = tokens.join("\n");
        let path = self.order_file(name, TOKENS);
        self.state.append(&path, lines.as_bytes()).map(drop)
    }

    /// The tokens that were published for a running order, as far as they are known
    pub fn order_tokens(&self, name: &DnsName) -> Vec<String> {
        let path = self.order_file(name, TOKENS);
        let text = self.state.read(&path, MOST_OF_TOKENS);
        let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
        let tokens = text.lines().filter(|line| !line.is_empty());
        tokens.map(ToOwned::to_owned).collect()
    }

    /// Removes the key and the tokens of an order that is over
    ///
    /// # Errors
    /// [`FileError`] for what is there and stays.
    pub fn forget_order(&self, name: &DnsName) -> Result<(), FileError> {
        for what in [TOKENS, KEY] {
            match self.state.remove(&self.order_file(name, what)) {
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Removes what belongs to orders that are not on record: certd was killed between the two
    pub(super) fn sweep_orders(&self) -> Result<(), FileError> {
        let orders = self.state().join(super::ORDERS);
        let names = self.state.names(&orders);
        for file in names.map_err(|source| FileError::new("read", &orders, source))? {
            let name = file.strip_suffix(KEY).or_else(|| file.strip_suffix(TOKENS));
            let Some(Ok(name)) = name.map(DnsName::parse) else {
                continue;
            };
            // A record that cannot be read may speak of the order.
            if self
                .record(&name)
                .is_ok_and(|record| record.order.is_none())
            {
                self.forget_order(&name)?;
            }
        }
        Ok(())
    }

    fn order_file(&self, name: &DnsName, what: &str) -> PathBuf {
        let orders = self.state().join(super::ORDERS);
        orders.join(format!("{name}{what}"))
    }
}

const KEY: &str = ".key";
const TOKENS: &str = ".tokens";
/// More than the tokens of an order with a hundred names have
const MOST_OF_TOKENS: u64 = 256 * 1024;
