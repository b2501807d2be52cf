//! The self-signed certificate that stands for a first one until nginx has read it.

use std::path::Path;

use super::Store;
use super::lineage::{CHAIN, FULLCHAIN, MOST_OF_CHAIN, PRIVKEY};
use crate::chain::Chain;

/// The Common Name by which it is known
pub const PLACEHOLDER: &str = "placeholder";

impl Store {
    /// Whether a directory holds what the steps to a first certificate put there, and nothing else
    pub(super) fn is_placeholder(&self, directory: &Path) -> bool {
        let Ok(names) = self.storage.names(directory) else {
            return false;
        };
        let mut names = names.iter().map(String::as_str);
        if !names.all(|name| [CHAIN, FULLCHAIN, PRIVKEY].contains(&name)) {
            return false;
        }
        let chain = self.storage.read(&directory.join(FULLCHAIN), MOST_OF_CHAIN);
        let chain = chain.ok().and_then(|pem| Chain::from_pem(&pem).ok());
        chain.is_some_and(|chain| {
            let leaf = chain.leaf();
            leaf.is_self_issued() && leaf.common_name.as_deref() == Some(PLACEHOLDER)
        })
    }
}
