//! From tables to a [`Config`]: every key read, every value checked, every mistake noted.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::raw::{Source, Table, Value, closest};
use super::{
    Config, Demand, Dns, Domain, Environment, MinRemaining, Mistake, Nginx, Preflight, Terms,
    Verify, defaults,
};
use jiff::tz::TimeZone;

use crate::chain::KeyType;
use crate::facts::Proxies;
use crate::time::Fraction;
use crate::time::schedule::Schedule;

mod domain;
mod issuers;
mod nginx;
mod notify;
mod values;

/// The configuration in `text`, or every mistake in it
pub(super) fn config(
    text: &str,
    path: &Path,
    environment: &Environment,
    demand: Demand,
) -> Result<Config, Vec<Mistake>> {
    let source = Source::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        match bare_switch(text, span.start) {
            Some((word, meant)) => source.report(
                &span,
                "",
                format!("expected true or false, found {word}"),
                Some(format!("write {meant}, without quotes")),
            ),
            None => source.report(&span, "", error.message(), None),
        }
    }
    if !errors.is_empty() {
        return Err(source.into_mistakes());
    }
    // Paths are shown to people who stand in another directory.
    let path_here = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let config = Checker {
        source: &source,
        base: path_here.parent().unwrap_or_else(|| Path::new("/")),
        environment,
        demand,
    }
    .config(Table::root(&source, &document), path);
    let mistakes = source.into_mistakes();
    if mistakes.is_empty() {
        Ok(config)
    } else {
        Err(mistakes)
    }
}

/// The word for true or false of another language that is the value in the line at an offset, and
/// what it means: quotes, which the parser asks for, would not make it either
fn bare_switch(text: &str, at: usize) -> Option<(&str, bool)> {
    let begin = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let (_, value) = text.get(begin..)?.lines().next()?.split_once('=')?;
    let word = value.split('#').next()?.trim();
    match word.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" => Some((word, true)),
        "no" | "off" | "false" => Some((word, false)),
        _ => None,
    }
}

struct Checker<'s, 't> {
    source: &'s Source<'t>,
    base: &'s Path,
    environment: &'s Environment,
    demand: Demand,
}

/// What a domain takes from the top level where it is silent itself
struct Inherited {
    issuer: String,
    profile: Option<String>,
    key_type: KeyType,
    webroot: PathBuf,
    nginx: Option<Nginx>,
    addresses: Vec<IpAddr>,
}

/// What may have been meant, or why none is known
fn time_zone_hint(name: &str) -> String {
    let known: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    match closest(name, known.iter().map(String::as_str)) {
        Some(close) => format!("did you mean {close:?}?"),
        None if known.len() < 2 => "install tzdata, or leave it out".to_owned(),
        None => {
            "its name is that of a file below /usr/share/zoneinfo: \"Europe/Berlin\"".to_owned()
        }
    }
}

impl<'t> Checker<'_, 't> {
    fn config(&self, root: Table<'_, 't>, path: &Path) -> Config {
        let issuers = self.issuers(&root);
        let inherited = Inherited {
            issuer: self
                .issuer(&root, &issuers)
                .unwrap_or_else(|| defaults::ISSUER.to_owned()),
            profile: root.string("profile").map(|profile| profile.value),
            key_type: self.key_type(&root).unwrap_or_default(),
            webroot: self
                .file(&root, "webroot")
                .unwrap_or_else(|| defaults::WEBROOT.into()),
            nginx: root
                .table("nginx")
                .and_then(|table| self.nginx(table, None)),
            addresses: self.addresses(&root).unwrap_or_default(),
        };
        let (renewal_fraction, schedule, jitter) = self.renewal(&root);
        let config = Config {
            path: path.to_owned(),
            email: self.email(&root),
            terms: match root.boolean("terms_of_service_agreed") {
                Some(Value { value: true, .. }) => Terms::Agreed,
                _ => Terms::NotAgreed,
            },
            jobs: self.count(root.integer("jobs"), defaults::JOBS, defaults::MAX_JOBS),
            key_group: root.string("key_group").map(|group| group.value),
            storage: self
                .file(&root, "storage")
                .unwrap_or_else(|| defaults::STORAGE.into()),
            state: self
                .file(&root, "state")
                .unwrap_or_else(|| defaults::STATE.into()),
            renewal_fraction,
            schedule,
            jitter,
            verify: self.verify(&root, renewal_fraction),
            dns: self.dns(&root),
            proxies: match root.boolean("ignore_proxy") {
                Some(Value { value: true, .. }) => Proxies::None,
                _ => Proxies::OfEnvironment,
            },
            preflight: self.preflight(&root),
            domains: self.domains(&root, &inherited, &issuers),
            notify: self.channels(&root),
            heartbeat: self.heartbeat(&root),
            issuers,
        };
        let is_given = !config.storage.as_os_str().is_empty();
        if is_given && config.state.starts_with(&config.storage) {
            let message = "`state` lies in `storage`, which nginx's container sees";
            let hint = "account keys lie in `state`: choose a directory of its own".to_owned();
            self.source
                .report(&root.span_of("state"), "state", message, Some(hint));
        }
        self.keys_apart(&config, &root);
        root.finish(&["target", "status"]);
        config
    }

    /// nginx shows the world what lies below a webroot
    fn keys_apart(&self, config: &Config, root: &Table<'_, 't>) {
        for (key, directory) in [("storage", &config.storage), ("state", &config.state)] {
            // Every path begins with an empty one, which is a mistake of its own.
            let given = |domain: &&Domain| !domain.webroot.as_os_str().is_empty();
            let mut domains = config.domains.iter().filter(given);
            let Some(open) = domains.find(|domain| directory.starts_with(&domain.webroot)) else {
                continue;
            };
            let message = format!("it lies in the `webroot` of {}", open.name);
            let hint = "nginx may show the world the keys in it: choose a directory of its own";
            let hint = Some(hint.to_owned());
            self.source.report(&root.span_of(key), key, message, hint);
        }
    }

    fn email(&self, root: &Table<'_, 't>) -> Option<String> {
        let email = root.string("email")?;
        self.mailbox(&email);
        Some(email.value)
    }

    fn renewal(&self, root: &Table<'_, 't>) -> (Fraction, Option<Schedule>, Duration) {
        let usual = Schedule::parse(defaults::SCHEDULE).ok();
        let Some(table) = root.table("renewal") else {
            return (defaults::RENEWAL_FRACTION, usual, defaults::JITTER);
        };
        let fraction = table.string("fraction").and_then(|value| {
            let parsed = value.value.parse().ok();
            if parsed.is_none() {
                self.mistake(&value, "expected a fraction such as \"1/3\"", None);
            }
            parsed
        });
        let mut schedule = usual;
        if let Some(value) = table.string("schedule") {
            match Schedule::parse(&value.value) {
                Ok(given) => schedule = Some(given),
                Err(error) => {
                    let hint = format!(
                        "minute, hour, day, month, weekday: {:?}",
                        defaults::SCHEDULE
                    );
                    self.mistake(&value, format!("{:?}: {error}", value.value), Some(hint));
                }
            }
        }
        if let Some(value) = table.string("timezone") {
            match TimeZone::get(&value.value) {
                Ok(zone) => schedule = schedule.map(|schedule| schedule.in_zone(zone)),
                Err(_) => {
                    let message = format!("this host knows no time zone {:?}", value.value);
                    self.mistake(&value, message, Some(time_zone_hint(&value.value)));
                }
            }
        }
        let jitter = self.jitter(&table).unwrap_or(defaults::JITTER);
        table.finish(&[]);
        let fraction = fraction.unwrap_or(defaults::RENEWAL_FRACTION);
        (fraction, schedule, jitter)
    }

    fn jitter(&self, table: &Table<'_, 't>) -> Option<Duration> {
        let value = table.string("jitter")?;
        let parsed = humantime::parse_duration(&value.value).ok();
        let jitter = parsed.filter(|jitter| *jitter <= defaults::MAX_JITTER);
        if jitter.is_none() {
            let message = "expected a duration of at most a day, such as \"1h\"";
            self.mistake(&value, message, None);
        }
        jitter
    }

    fn verify(&self, root: &Table<'_, 't>, renewal: Fraction) -> Verify {
        let mut verify = Verify {
            trust: Vec::new(),
            timeout: defaults::VERIFY_TIMEOUT,
            concurrency: defaults::VERIFY_CONCURRENCY,
            min_remaining: MinRemaining::Usual(renewal),
        };
        let Some(table) = root.table("verify") else {
            return verify;
        };
        for file in table.strings("trust").unwrap_or_default() {
            verify.trust.push(self.path(&file));
        }
        verify.timeout = self.timeout(&table, verify.timeout);
        verify.concurrency = self.count(
            table.integer("concurrency"),
            verify.concurrency,
            MAX_CONCURRENCY,
        );
        if let Some(value) = table.string("min_remaining") {
            match value.value.parse() {
                Ok(least) => verify.min_remaining = least,
                Err(message) => self.mistake(&value, message, None),
            }
        }
        table.finish(&[]);
        verify
    }

    fn dns(&self, root: &Table<'_, 't>) -> Dns {
        let mut dns = Dns {
            servers: Vec::new(),
            timeout: defaults::DNS_TIMEOUT,
        };
        let Some(table) = root.table("dns") else {
            return dns;
        };
        for server in table.strings("servers").unwrap_or_default() {
            match (
                server.value.parse::<SocketAddr>(),
                server.value.parse::<IpAddr>(),
            ) {
                (Ok(address), _) => dns.servers.push(address),
                (_, Ok(ip)) => dns.servers.push(SocketAddr::new(ip, 53)),
                _ => self.mistake(
                    &server,
                    "expected an address such as \"192.0.2.53:53\"",
                    None,
                ),
            }
        }
        dns.timeout = self.timeout(&table, dns.timeout);
        table.finish(&[]);
        dns
    }

    fn preflight(&self, root: &Table<'_, 't>) -> Preflight {
        let mut preflight = Preflight {
            http_port: defaults::HTTP_PORT,
            https_port: defaults::PORT,
            require: defaults::REQUIRE.into(),
            timeout: defaults::PREFLIGHT_TIMEOUT,
        };
        let Some(table) = root.table("preflight") else {
            return preflight;
        };
        for (key, port) in [
            ("http_port", &mut preflight.http_port),
            ("https_port", &mut preflight.https_port),
        ] {
            if let Some(value) = table.integer(key) {
                *port = self.port(&value).unwrap_or(*port);
            }
        }
        if let Some(words) = table.strings("require") {
            let known = defaults::REQUIRE.map(|check| (check.as_str(), check));
            let required = words.iter().filter_map(|word| self.one_of(word, &known));
            preflight.require = required.collect();
        }
        preflight.timeout = self.timeout(&table, preflight.timeout);
        table.finish(&[]);
        preflight
    }
}

const MAX_CONCURRENCY: usize = 1024;
