//! From tables to a [`Config`]: every key read, every value checked, every mistake noted.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeTable;

use super::engine::EngineAddress;
use super::raw::{Source, Table, Value, closest};
use super::{
    Check, Config, ConfigTest, Demand, Dns, Eab, Environment, Issuer, MinRemaining, Mistake, Nginx,
    Preflight, Reload, Selector, Terms, Verify, defaults,
};
use jiff::tz::TimeZone;

use crate::chain::KeyType;
use crate::facts::Proxies;
use crate::time::Fraction;
use crate::time::schedule::Schedule;

mod domain;
mod notify;

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
            webroot: self.path(root.string("webroot"), defaults::WEBROOT),
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
            storage: self.path(root.string("storage"), defaults::STORAGE),
            state: self.path(root.string("state"), defaults::STATE),
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
            let mut domains = config.domains.iter();
            let Some(open) = domains.find(|domain| directory.starts_with(&domain.webroot)) else {
                continue;
            };
            let message = format!("it lies in the `webroot` of {}", open.name);
            let hint = "nginx may show the world the keys in it: choose a directory of its own";
            let hint = Some(hint.to_owned());
            self.source.report(&root.span_of(key), key, message, hint);
        }
    }

    fn mistake<T>(&self, value: &Value<T>, message: impl Into<String>, hint: Option<String>) {
        self.source.report(&value.span, &value.key, message, hint);
    }

    fn email(&self, root: &Table<'_, 't>) -> Option<String> {
        let email = root.string("email")?;
        self.mailbox(&email);
        Some(email.value)
    }

    fn path(&self, value: Option<Value<String>>, default: &str) -> PathBuf {
        match value {
            Some(value) if value.value.is_empty() => {
                self.mistake(&value, "the path is empty", None);
                PathBuf::new()
            }
            Some(value) => self.base.join(value.value),
            None => PathBuf::from(default),
        }
    }

    fn count(&self, value: Option<Value<i64>>, default: usize, most: usize) -> usize {
        let Some(value) = value else { return default };
        match usize::try_from(value.value) {
            Ok(count) if (1..=most).contains(&count) => count,
            _ => {
                self.mistake(&value, format!("expected a number from 1 to {most}"), None);
                default
            }
        }
    }

    fn duration(&self, value: Option<Value<String>>, default: Duration) -> Duration {
        let Some(value) = value else { return default };
        match humantime::parse_duration(&value.value) {
            Ok(duration) if !duration.is_zero() => duration,
            _ => {
                let hint = Some("write it with its unit: \"10s\", \"5m\", \"14d\"".to_owned());
                let message = format!("\"{}\" is not a duration", value.value);
                self.mistake(&value, message, hint);
                default
            }
        }
    }

    fn key_type(&self, table: &Table<'_, 't>) -> Option<KeyType> {
        let value = table.string("key_type")?;
        let found = KeyType::from_str(&value.value).ok();
        if found.is_none() {
            let all = KeyType::ALL.map(KeyType::as_str).join(", ");
            let message = format!("\"{}\" is not one of {all}", value.value);
            self.mistake(&value, message, None);
        }
        found
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
            verify.trust.push(self.base.join(file.value));
        }
        verify.timeout = self.duration(table.string("timeout"), verify.timeout);
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
        dns.timeout = self.duration(table.string("timeout"), dns.timeout);
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
            preflight.require.clear();
            for word in words {
                let known = defaults::REQUIRE
                    .into_iter()
                    .find(|check| check.as_str() == word.value);
                match known {
                    Some(check) => drop(preflight.require.insert(check)),
                    None => {
                        let all = defaults::REQUIRE.map(Check::as_str).join(", ");
                        self.mistake(
                            &word,
                            format!("\"{}\" is not one of {all}", word.value),
                            None,
                        );
                    }
                }
            }
        }
        preflight.timeout = self.duration(table.string("timeout"), preflight.timeout);
        table.finish(&[]);
        preflight
    }

    fn port(&self, value: &Value<i64>) -> Option<u16> {
        match u16::try_from(value.value) {
            Ok(port) if port > 0 => Some(port),
            _ => {
                self.mistake(value, "expected a port from 1 to 65535", None);
                None
            }
        }
    }

    fn addresses(&self, table: &Table<'_, 't>) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for value in table.strings("addresses")? {
            match value.value.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => self.mistake(&value, "expected an address such as \"192.0.2.1\"", None),
            }
        }
        Some(addresses)
    }

    fn issuers(&self, root: &Table<'_, 't>) -> BTreeMap<String, Issuer> {
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

    fn issuer_table(&self, table: Table<'_, 't>, built_in: Option<String>) -> Option<Issuer> {
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
        let trust = table.string("trust").map(|file| self.base.join(file.value));
        let eab = self.eab(&table);
        table.finish(&[]);
        Some(Issuer {
            directory: directory?,
            trust,
            eab,
        })
    }

    fn eab(&self, table: &Table<'_, 't>) -> Option<Eab> {
        let (kid, file) = self.pair(table, "eab_kid", "eab_hmac_file")?;
        Some(Eab {
            kid: kid.value,
            hmac_file: self.base.join(file.value),
        })
    }

    /// Two keys of which none goes without the other; `None` where neither or only one can be used
    fn pair(
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

    fn issuer(&self, table: &Table<'_, 't>, issuers: &BTreeMap<String, Issuer>) -> Option<String> {
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

    /// What a table is silent about comes from the top level, if it has an `[nginx]`
    fn nginx(&self, table: Table<'_, 't>, inherited: Option<&Nginx>) -> Option<Nginx> {
        let selector = self.selector(&table);
        let docker = table.string("docker").map(|docker| {
            if EngineAddress::parse(&docker.value).is_none() {
                let message = format!("\"{}\" is no Docker API", docker.value);
                self.mistake(&docker, message, Some(EngineAddress::CURE.to_owned()));
            }
            docker.value
        });
        let reload = self.reload(&table);
        let test = table.boolean("test").map(|test| match test.value {
            true => ConfigTest::Run,
            false => ConfigTest::Skip,
        });
        let test = test
            .or_else(|| inherited.map(|nginx| nginx.test))
            .unwrap_or_default();
        table.finish(&[]);
        Some(Nginx {
            selector: selector?,
            docker: docker
                .or_else(|| inherited.map(|nginx| nginx.docker.clone()))
                .or_else(|| self.environment.docker_host.clone())
                .unwrap_or_else(|| defaults::DOCKER.to_owned()),
            reload: reload
                .or_else(|| {
                    let alike = inherited.filter(|nginx| nginx.test == test);
                    alike.map(|nginx| nginx.reload)
                })
                .unwrap_or(match test {
                    ConfigTest::Run => Reload::Exec,
                    // Where nothing may be run in a container there is nothing but a signal.
                    ConfigTest::Skip => Reload::Signal,
                }),
            test,
        })
    }

    fn selector(&self, table: &Table<'_, 't>) -> Option<Selector> {
        let container = table.string("container");
        let label = table.string("label");
        let service = table.string("service");
        let project = table.string("project");
        if let (Some(project), None) = (&project, &service) {
            self.mistake(project, "`service` is missing beside it", None);
        }
        let given = [&container, &label, &service];
        for empty in given.iter().filter_map(|value| value.as_ref()) {
            if empty.value.is_empty() {
                self.mistake(empty, "is empty", None);
            }
        }
        let present = SELECTORS.iter().filter(|key| table.has(key)).count();
        if present != 1 {
            let hint = "for example: container = \"nginx_container\"".to_owned();
            let message = "expected exactly one of `container`, `label` and `service`";
            self.source
                .report(table.span(), table.path(), message, Some(hint));
            return None;
        }
        let selector = container
            .map(|name| Selector::Container(name.value))
            .or_else(|| label.map(|label| Selector::Label(label.value)));
        selector.or_else(|| {
            service.map(|service| Selector::Service {
                service: service.value,
                project: project.map(|project| project.value),
            })
        })
    }

    fn reload(&self, table: &Table<'_, 't>) -> Option<Reload> {
        let value = table.string("reload")?;
        match value.value.as_str() {
            "signal" => Some(Reload::Signal),
            "exec" => Some(Reload::Exec),
            "restart" => Some(Reload::Restart),
            other => {
                let message = format!("\"{other}\" is not one of signal, exec, restart");
                self.mistake(&value, message, None);
                None
            }
        }
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

const SELECTORS: [&str; 3] = ["container", "label", "service"];
const MAX_CONCURRENCY: usize = 1024;
