//! The CAs, and which of them is meant.

use std::collections::BTreeMap;

use super::Checker;
use crate::config::raw::{Table, Value, closest};
use crate::config::{Eab, Issuer, defaults};

impl<'t> Checker<'_, 't> {
    pub(super) fn issuers(&self, root: &Table<'_, 't>) -> BTreeMap<String, Issuer> {
        let mut issuers: BTreeMap<String, Issuer> = defaults::ISSUERS
            .into_iter()
            .map(|(name, directory)| {
                let issuer = Issuer {
                    directory: directory.to_owned(),
                    trust: None,
                    eab: None,
                };
                (name.to_owned(), issuer)
            })
            .collect();
        for (name, table) in root.named_tables("issuers") {
            if !is_file_name(&name) {
                let message = "an issuer's name is made of letters, digits, `-` and `_`";
                self.source
                    .report(table.span(), table.path(), message, None);
            }
            let built_in = issuers.get(&name).map(|issuer| issuer.directory.clone());
            if let Some(issuer) = self.issuer_table(table, built_in) {
                issuers.insert(name, issuer);
            }
        }
        issuers
    }

    pub(super) fn issuer_table(
        &self,
        table: Table<'_, 't>,
        built_in: Option<String>,
    ) -> Option<Issuer> {
        let directory = match table.string("directory") {
            Some(value) => {
                if !value.value.starts_with("https://") || value.value.parse::<http::Uri>().is_err()
                {
                    let message = format!("\"{}\" is not an https:// URL", value.value);
                    self.mistake(&value, message, None);
                }
                Some(value.value)
            }
            None => built_in,
        };
        if directory.is_none() && !table.has("directory") {
            let key = table.key("directory");
            let message = "missing: the URL of the CA's ACME directory";
            self.source.report(table.span(), &key, message, None);
        }
        let trust = self.file(&table, "trust");
        let eab = self.eab(&table);
        table.finish(&[]);
        Some(Issuer {
            directory: directory?,
            trust,
            eab,
        })
    }

    pub(super) fn eab(&self, table: &Table<'_, 't>) -> Option<Eab> {
        let (kid, file) = self.pair(table, "eab_kid", "eab_hmac_file")?;
        Some(Eab {
            kid: kid.value,
            hmac_file: self.path(&file),
        })
    }

    /// Two keys of which none goes without the other; `None` where neither or only one can be used
    pub(super) fn pair(
        &self,
        table: &Table<'_, 't>,
        one: &'static str,
        other: &'static str,
    ) -> Option<(Value<String>, Value<String>)> {
        let (given, missing) = match (table.string(one), table.string(other)) {
            (Some(one), Some(other)) => return Some((one, other)),
            (Some(given), None) => (given, other),
            (None, Some(given)) => (given, one),
            (None, None) => return None,
        };
        if !table.has(missing) {
            self.mistake(&given, format!("`{missing}` is missing beside it"), None);
        }
        None
    }

    pub(super) fn issuer(
        &self,
        table: &Table<'_, 't>,
        issuers: &BTreeMap<String, Issuer>,
    ) -> Option<String> {
        if table.is_list("issuer") {
            let message = "a list of issuers is not supported yet";
            self.source.report(
                &table.span_of("issuer"),
                &table.key("issuer"),
                message,
                None,
            );
            table.skip("issuer");
            return None;
        }
        let value = table.string("issuer")?;
        if !issuers.contains_key(&value.value) {
            let hint = match closest(&value.value, issuers.keys().map(String::as_str)) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!(
                    "a CA of your own is added with\n[issuers.{}]\ndirectory = \"https://...\"",
                    value.value
                ),
            };
            let message = format!("\"{}\" is not a known issuer", value.value);
            self.mistake(&value, message, Some(hint));
        }
        Some(value.value)
    }
}

/// Whether an issuer's name can stand in a file name
fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
