//! `[[domain]]`: names, ports, and what is set for one domain alone.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::super::raw::{Table, Value};
use super::super::{Connect, Domain, Issuer, Sharing, defaults};
use super::{Checker, Inherited};
use crate::name::{DnsName, NameError};

impl<'t> Checker<'_, 't> {
    /// Every `[[domain]]`; a name may stand in one of them once
    pub(super) fn domains(
        &self,
        root: &Table<'_, 't>,
        inherited: &Inherited,
        issuers: &BTreeMap<String, Issuer>,
    ) -> Vec<Domain> {
        let tables = root.tables("domain");
        if tables.is_empty() && !root.has("domain") {
            let hint = "[[domain]]\nname = \"example.com\"".to_owned();
            let message = "there is no domain; add at least one";
            self.source.report(&(0..0), "domain", message, Some(hint));
        }
        let mut seen = HashMap::new();
        tables
            .into_iter()
            .filter_map(|table| self.domain(table, inherited, issuers, &mut seen))
            .collect()
    }

    fn domain(
        &self,
        table: Table<'_, 't>,
        inherited: &Inherited,
        issuers: &BTreeMap<String, Issuer>,
        seen: &mut HashMap<DnsName, String>,
    ) -> Option<Domain> {
        let name = self.primary_name(&table, seen);
        let aliases = self.aliases(&table, seen);
        let domain = Domain {
            issuer: self
                .issuer(&table, issuers)
                .unwrap_or_else(|| inherited.issuer.clone()),
            profile: table
                .string("profile")
                .map(|profile| profile.value)
                .or_else(|| inherited.profile.clone()),
            key_type: self.key_type(&table).unwrap_or(inherited.key_type),
            webroot: table.string("webroot").map_or_else(
                || inherited.webroot.clone(),
                |path| self.base.join(path.value),
            ),
            nginx: match table.table("nginx") {
                Some(nginx) => self.nginx(nginx, inherited.nginx.as_ref()),
                None => inherited.nginx.clone(),
            },
            ports: self.ports(&table),
            connect: self.connect(&table),
            addresses: self
                .addresses(&table)
                .unwrap_or_else(|| inherited.addresses.clone()),
            sharing: match table.boolean("shared") {
                Some(Value { value: true, .. }) => Sharing::Shared,
                _ => Sharing::Separate,
            },
            enabled: table.boolean("enabled").is_none_or(|enabled| enabled.value),
            aliases,
            name: name?,
        };
        table.finish(&["probe"]);
        Some(domain)
    }

    fn primary_name(
        &self,
        table: &Table<'_, 't>,
        seen: &mut HashMap<DnsName, String>,
    ) -> Option<DnsName> {
        match table.string("name") {
            Some(value) => self.name(&value, seen),
            None if table.has("name") => None,
            None => {
                let key = table.key("name");
                self.source.report(table.span(), &key, "missing", None);
                None
            }
        }
    }

    fn aliases(&self, table: &Table<'_, 't>, seen: &mut HashMap<DnsName, String>) -> Vec<DnsName> {
        let values = table.strings("aliases").unwrap_or_default();
        if let Some(value) = values.get(defaults::MAX_NAMES - 1) {
            let message = format!("a certificate has at most {} names", defaults::MAX_NAMES);
            self.mistake(value, message, None);
        }
        values
            .iter()
            .filter_map(|value| self.name(value, seen))
            .collect()
    }

    fn name(&self, value: &Value<String>, seen: &mut HashMap<DnsName, String>) -> Option<DnsName> {
        let name = match DnsName::parse(&value.value) {
            Ok(name) => name,
            Err(error) => {
                let hint = match error {
                    NameError::Character { found: ',' | ' ' } => {
                        Some("one name in `name`, the others as a list: aliases = [\"a\", \"b\"]")
                    }
                    NameError::Character { found: ':' | '/' } => {
                        Some("a name alone, without https://, port and path")
                    }
                    _ => None,
                };
                let hint = hint.map(ToOwned::to_owned);
                self.mistake(value, format!("\"{}\": {error}", value.value), hint);
                return None;
            }
        };
        if let Some(first) = seen.insert(name.clone(), value.key.clone()) {
            self.mistake(value, format!("{name} stands in `{first}` already"), None);
        }
        Some(name)
    }

    fn ports(&self, table: &Table<'_, 't>) -> Vec<u16> {
        let Some(values) = table.integers("ports") else {
            return vec![defaults::PORT];
        };
        let mut ports = Vec::new();
        if values.is_empty() {
            let key = table.key("ports");
            let message = "expected at least one port";
            self.source
                .report(&table.span_of("ports"), &key, message, None);
        }
        ports.extend(values.iter().filter_map(|value| self.port(value)));
        ports
    }

    fn connect(&self, table: &Table<'_, 't>) -> Option<Connect> {
        let value = table.string("connect")?;
        if let Ok(address) = value.value.parse::<SocketAddr>()
            && address.port() != 0
        {
            return Some(Connect {
                address: address.ip(),
                port: Some(address.port()),
            });
        }
        let whole = value.value.as_str();
        let bracketed = whole
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match bracketed.unwrap_or(whole).parse() {
            Ok(address) => Some(Connect {
                address,
                port: None,
            }),
            Err(_) => {
                let message = "expected \"ADDRESS\" or \"ADDRESS:PORT\"";
                self.mistake(&value, message, None);
                None
            }
        }
    }
}
