//! Single values: what they must be, and the mistake where they are not.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Checker;
use crate::chain::KeyType;
use crate::config::defaults;
use crate::config::raw::{Table, Value, closest};

impl<'t> Checker<'_, 't> {
    pub(super) fn mistake<T>(
        &self,
        value: &Value<T>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.source.report(&value.span, &value.key, message, hint);
    }

    /// What a word stands for, if it is one of these
    pub(super) fn one_of<V: Copy>(&self, word: &Value<String>, known: &[(&str, V)]) -> Option<V> {
        let found = known.iter().find(|(name, _)| *name == word.value);
        if found.is_none() {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let hint = closest(&word.value, names.iter().copied());
            let hint = hint.map(|close| format!("did you mean \"{close}\"?"));
            let message = format!("\"{}\" is not one of {}", word.value, names.join(", "));
            self.mistake(word, message, hint);
        }
        found.map(|(_, value)| *value)
    }

    /// A path from the directory of domains.toml; an empty one would be that directory itself
    pub(super) fn path(&self, value: &Value<String>) -> PathBuf {
        if value.value.is_empty() {
            self.mistake(value, "the path is empty", None);
            return PathBuf::new();
        }
        self.base.join(&value.value)
    }

    /// A path that need not be there
    pub(super) fn file(&self, table: &Table<'_, 't>, key: &'static str) -> Option<PathBuf> {
        Some(self.path(&table.string(key)?))
    }

    pub(super) fn count(&self, value: Option<Value<i64>>, default: usize, most: usize) -> usize {
        let Some(value) = value else { return default };
        match usize::try_from(value.value) {
            Ok(count) if (1..=most).contains(&count) => count,
            _ => {
                self.mistake(&value, format!("expected a number from 1 to {most}"), None);
                default
            }
        }
    }

    /// The time for one answer
    ///
    /// It is added to clocks, which overflow: no answer is waited for that long.
    pub(super) fn timeout(&self, table: &Table<'_, 't>, default: Duration) -> Duration {
        let Some(value) = table.string("timeout") else {
            return default;
        };
        match humantime::parse_duration(&value.value) {
            Ok(duration) if duration > defaults::MAX_TIMEOUT => {
                let message = "expected a duration of at most an hour, such as \"10s\"";
                self.mistake(&value, message, None);
                default
            }
            Ok(duration) if !duration.is_zero() => duration,
            _ => {
                let hint = Some("write it with its unit: \"10s\", \"5m\", \"14d\"".to_owned());
                let message = format!("\"{}\" is not a duration", value.value);
                self.mistake(&value, message, hint);
                default
            }
        }
    }

    pub(super) fn key_type(&self, table: &Table<'_, 't>) -> Option<KeyType> {
        let known = KeyType::ALL.map(|kind| (kind.as_str(), kind));
        self.one_of(&table.string("key_type")?, &known)
    }

    pub(super) fn port(&self, value: &Value<i64>) -> Option<u16> {
        match u16::try_from(value.value) {
            Ok(port) if port > 0 => Some(port),
            _ => {
                self.mistake(value, "expected a port from 1 to 65535", None);
                None
            }
        }
    }

    pub(super) fn addresses(&self, table: &Table<'_, 't>) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for value in table.strings("addresses")? {
            // DNS and the kernel tell of an IPv4 address as such, however it is written here.
            let address = value.value.parse().map(|ip: IpAddr| ip.to_canonical());
            match address {
                Ok(address) if address.is_unspecified() || address.is_multicast() => {
                    let message = format!("{address} is the address of no host");
                    let hint = Some("name those to which DNS leads, or leave it out".to_owned());
                    self.mistake(&value, message, hint);
                }
                Ok(address) => addresses.push(address),
                Err(_) => self.mistake(&value, "expected an address such as \"192.0.2.1\"", None),
            }
        }
        Some(addresses)
    }
}
