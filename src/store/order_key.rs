//! The key of an order that is under way: what a certificate that was issued just before a crash
//! is worth nothing without.

use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::Store;
use super::files::{Access, FileError};
use crate::name::DnsName;

impl Store {
    /// Keeps the key of a running order, for its owner alone
    ///
    /// # Errors
    /// [`FileError`]; the order should not go on without.
    pub fn save_order_key(&self, name: &DnsName, key_pem: &str) -> Result<(), FileError> {
        self.state.write(
            &self.order_key_file(name),
            key_pem.as_bytes(),
            Access::Owner,
        )
    }

    /// The key of a running order; `None` where there is none that can be read
    pub fn order_key(&self, name: &DnsName) -> Option<Zeroizing<String>> {
        let bytes = self.state.read(&self.order_key_file(name)).ok()?;
        match String::from_utf8(bytes) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                None
            }
        }
    }

    /// Removes the key of an order that is over
    ///
    /// # Errors
    /// [`FileError`] for one that is there and stays.
    pub fn forget_order_key(&self, name: &DnsName) -> Result<(), FileError> {
        match self.state.remove(&self.order_key_file(name)) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Removes the keys of orders that are not on record: certd was killed between the two
    pub(super) fn sweep_order_keys(&self) -> Result<(), FileError> {
        let orders = self.state().join(super::ORDERS);
        let names = self.state.names(&orders);
        for file in names.map_err(|source| FileError::new("read", &orders, source))? {
            let name = file.strip_suffix(SUFFIX).map(DnsName::parse);
            let Some(Ok(name)) = name else { continue };
            // A record that cannot be read may speak of the order.
            if self
                .record(&name)
                .is_ok_and(|record| record.order.is_none())
            {
                self.forget_order_key(&name)?;
            }
        }
        Ok(())
    }

    fn order_key_file(&self, name: &DnsName) -> PathBuf {
        self.state()
            .join(super::ORDERS)
            .join(format!("{name}{SUFFIX}"))
    }
}

const SUFFIX: &str = ".key";
