//! `[[domain]]`: names, ports, and what is set for one domain alone.

use std::collections::{BTreeMap, HashMap};

use http::Uri;
use http::uri::Scheme;

use super::super::raw::{Table, Value};
use super::super::{Connect, Demand, Domain, Issuer, Probe, Sharing, defaults};
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
        // A misspelt one is told as that.
        let is_missing = tables.is_empty() && self.demand == Demand::Domains;
        if is_missing && !root.has("domain") && !root.has("domains") {
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
            webroot: self
                .file(&table, "webroot")
                .unwrap_or_else(|| inherited.webroot.clone()),
            nginx: match table.table("nginx") {
                Some(nginx) => self.nginx(nginx, inherited.nginx.as_ref()),
                None => inherited.nginx.clone(),
            },
            ports: self.ports(&table),
            connect: self.connect(&table),
            probe: self.probe(&table, name.as_ref().into_iter().chain(&aliases)),
            line: self.source.line_of(table.span()),
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
        table.finish(&[]);
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
                    NameError::Wildcard => {
                        Some("name each host: wildcards need dns-01, which is not supported yet")
                    }
                    NameError::Underscore => Some(
                        "take a name with `-`; `certd verify` looks at the other without a [[domain]]",
                    ),
                    _ => None,
                };
                let hint = hint.map(ToOwned::to_owned);
                self.mistake(value, format!("\"{}\": {error}", value.value), hint);
                return None;
            }
        };
        if let Some(first) = seen.insert(name.clone(), value.key.clone()) {
            self.mistake(value, format!("{name} is already in `{first}`"), None);
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

    /// A URL, or a table of a URL and what is expected
    fn probe<'n>(
        &self,
        table: &Table<'_, 't>,
        mut names: impl Iterator<Item = &'n DnsName>,
    ) -> Option<Probe> {
        if !table.is_table("probe") {
            return Some(Probe {
                url: self.probe_url(&table.string("probe")?, &mut names)?,
                status: defaults::PROBE_STATUS,
                text: None,
            });
        }
        let table = table.table("probe")?;
        let url = table.string("url");
        if !table.has("url") {
            let key = table.key("url");
            self.source.report(table.span(), &key, "missing", None);
        }
        let status = table.integer("status").map(|value| {
            let status = u16::try_from(value.value).ok();
            let status = status.filter(|status| (100..600).contains(status));
            status.unwrap_or_else(|| {
                self.mistake(&value, "expected an HTTP status, such as 200", None);
                defaults::PROBE_STATUS
            })
        });
        let text = table.string("text").map(|text| text.value);
        table.finish(&[]);
        Some(Probe {
            url: self.probe_url(&url?, &mut names)?,
            status: status.unwrap_or(defaults::PROBE_STATUS),
            text: text.filter(|text| !text.is_empty()),
        })
    }

    fn probe_url<'n>(
        &self,
        value: &Value<String>,
        names: &mut impl Iterator<Item = &'n DnsName>,
    ) -> Option<Uri> {
        let url = value.value.parse::<Uri>().ok();
        let Some(url) = url.filter(|url| url.scheme() == Some(&Scheme::HTTPS)) else {
            let message = format!("\"{}\" is not an https:// URL", value.value);
            self.mistake(value, message, None);
            return None;
        };
        let authority = url.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            // Not repeated: it may hold a password.
            self.mistake(value, "a probe takes no user and no password", None);
            return None;
        }
        // The URL type takes any digits for a port.
        let has_port = authority.len() > url.host().map_or(0, str::len);
        if has_port && url.port_u16().is_none_or(|port| port == 0) {
            let message = format!("\"{url}\" needs a port from 1 to 65535, or none");
            self.mistake(value, message, None);
            return None;
        }
        let host = url.host().unwrap_or_default();
        if !names.any(|name| name.as_str().eq_ignore_ascii_case(host)) {
            let message = format!("\"{host}\" is none of the domain's names");
            self.mistake(value, message, None);
            return None;
        }
        Some(url)
    }

    fn connect(&self, table: &Table<'_, 't>) -> Option<Connect> {
        let value = table.string("connect")?;
        match value.value.parse() {
            Ok(connect) => Some(connect),
            Err(message) => {
                self.mistake(&value, message, None);
                None
            }
        }
    }
}
