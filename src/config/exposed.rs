//! What others may see or change that they should not: told, and nothing stops for it.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Config;
use super::notify::{Channel, Means, SecretUrl, UrlSource};
use crate::finding::Finding;

impl Config {
    /// Logs a warning of each secret that others may read, of each directory that they may write
    /// to, and of headers that travel in the clear
    pub fn warn_of_exposure(&self) {
        for finding in self.exposed() {
            let cure = finding.cure.unwrap_or_default().replace('\n', "; ");
            tracing::warn!(code = finding.code, "{}: {cure}", finding.evidence);
        }
    }

    fn exposed(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for path in self.secret_files() {
            findings.extend(readable(path));
        }
        for (key, path) in [("storage", &self.storage), ("state", &self.state)] {
            findings.extend(writable(key, path));
        }
        findings.extend(self.notify.iter().filter_map(in_the_clear));
        let mut told: Vec<Finding> = Vec::new();
        for finding in findings {
            if !told.contains(&finding) {
                told.push(finding);
            }
        }
        told
    }

    fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let eab = self.issuers.values().flat_map(|issuer| &issuer.eab);
        let eab = eab.map(|eab| eab.hmac_file.as_path());
        eab.chain(self.notify.iter().flat_map(secrets_of))
    }
}

fn secrets_of(channel: &Channel) -> Vec<&Path> {
    let files = match &channel.means {
        Means::Webhook(webhook) => [
            match &webhook.url {
                UrlSource::File(path) => Some(path),
                UrlSource::Given(_) => None,
            },
            webhook.headers_file.as_ref(),
        ],
        Means::Mail(mail) => [mail.login.as_ref().map(|login| &login.password_file), None],
        Means::Telegram(telegram) => [Some(&telegram.token_file), None],
        Means::Command(_) => [None, None],
    };
    files
        .into_iter()
        .flatten()
        .map(|path| path.as_path())
        .collect()
}

/// One that cannot be looked at is told where it is needed
fn readable(path: &Path) -> Option<Finding> {
    let mode = mode_for_others(path)?;
    (mode & 0o004 != 0).then(|| {
        let path = path.display();
        let evidence =
            format!("every user of this host may read the secret {path} (mode {mode:04o})");
        Finding::warning("config.secret_readable", evidence).with_cure(format!(
            "chmod o-rwx {path}\nand change the secret where it is from"
        ))
    })
}

fn writable(key: &str, path: &Path) -> Option<Finding> {
    let mode = mode_for_others(path)?;
    (mode & 0o002 != 0).then(|| {
        let path = path.display();
        let evidence =
            format!("every user of this host may write to `{key}` {path} (mode {mode:04o})");
        Finding::warning("config.others_write", evidence)
            .with_cure(format!("see who needs that, then: chmod o-w {path}"))
    })
}

/// The mode of something that every user of the host can come to; `None` where a directory above it
/// is closed to them
fn mode_for_others(path: &Path) -> Option<u32> {
    let real = fs::canonicalize(path).ok()?;
    let mode = |path: &Path| Some(fs::metadata(path).ok()?.mode() & 0o7777);
    for above in real.ancestors().skip(1) {
        if mode(above)? & 0o001 == 0 {
            return None;
        }
    }
    mode(&real)
}

/// A channel whose secrets travel without TLS
fn in_the_clear(channel: &Channel) -> Option<Finding> {
    let headers: fn(&str) -> String = |label| format!("what the headers of {label} hold travels");
    let (url, told) = match &channel.means {
        Means::Webhook(webhook) if webhook.headers_file.is_some() => match &webhook.url {
            UrlSource::Given(url) => (url.clone(), headers),
            UrlSource::File(path) => (url_in(path)?, headers),
        },
        Means::Telegram(telegram) => {
            let token: fn(&str) -> String = |label| format!("the token of {label} travels");
            (telegram.api.clone(), token)
        }
        Means::Webhook(_) | Means::Mail(_) | Means::Command(_) => return None,
    };
    if url.is_https() || is_loopback(url.host()) {
        return None;
    }
    let evidence = format!(
        "{} over plain http, where others may read it",
        told(&channel.label())
    );
    Some(Finding::warning("config.plain_http", evidence).with_cure("give it an https:// URL"))
}

/// The URL that stands alone in a file; what is wrong with one is told where it is needed
fn url_in(path: &Path) -> Option<SecretUrl> {
    // One that is written to by a program would be waited for.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(MOST_OF_URL).read_to_string(&mut text).ok()?;
    SecretUrl::parse(text.trim())
}

fn is_loopback(host: &str) -> bool {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let address = plain.parse::<IpAddr>();
    plain == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Bytes of a file with a URL that are read
const MOST_OF_URL: u64 = 8192;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Environment;

    #[test]
    fn secrets_that_travel_in_the_clear_are_told_wherever_the_url_stands() {
        let home = tempfile::tempdir().unwrap();
        for (name, url) in [
            ("clear", "http://alerts.test/a\n"),
            ("safe", "https://alerts.test/a\n"),
            ("inner", "http://localhost/a"),
            ("no-url", "what?"),
        ] {
            #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
            fs::write(home.path().join(name), url).unwrap();
        }
        let check = |channel: &str, expected: &[&str]| {
            let text = format!(
                "storage = \"s\"\nstate = \"t\"\n[[domain]]\nname = \"shop.test\"\n[[notify]]\n{channel}"
            );
            let path = home.path().join("domains.toml");
            let config = Config::parse(&text, &path, &Environment::default()).unwrap();
            let told = config.exposed().into_iter();
            let told: Vec<String> = told
                .filter(|finding| finding.code == "config.plain_http")
                .map(|finding| finding.evidence)
                .collect();
            let is_told = |(told, expected): (&String, &&str)| told.starts_with(expected);
            assert_eq!(told.len(), expected.len(), "{channel}: {told:?}");
            assert!(
                told.iter().zip(expected).all(is_told),
                "{channel}: {told:?}"
            );
        };
        let webhook =
            |file: &str, more: &str| format!("kind = \"webhook\"\nurl_file = \"{file}\"\n{more}");
        const HEADERS: &str = "headers_file = \"headers\"";
        let told = "what the headers of ";
        check(&webhook("clear", HEADERS), &[told]);
        check(&webhook("clear", ""), &[]);
        for file in ["safe", "inner", "no-url", "missing", "."] {
            check(&webhook(file, HEADERS), &[]);
        }
        let telegram = |api: &str| {
            format!("kind = \"telegram\"\nchat = \"1\"\ntoken_file = \"token\"\napi = \"{api}\"")
        };
        let told = "the token of ";
        check(&telegram("http://bots.test"), &[told]);
        check(&telegram("https://bots.test"), &[]);
    }

    #[test]
    fn what_is_exposed_is_told_once_each() {
        let home = tempfile::tempdir().unwrap();
        let let_in = |mode| {
            fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        };
        let_in(0o755);
        for (name, mode) in [("open", 0o644), ("closed", 0o640)] {
            let path = home.path().join(name);
            #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        for (name, mode) in [("storage", 0o777), ("state", 0o775)] {
            let path = home.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let text = r#"
            storage = "storage"
            state = "state"
            [[domain]]
            name = "shop.test"
            [[notify]]
            kind = "webhook"
            url = "http://alerts.test/a"
            headers_file = "open"
            [[notify]]
            kind = "webhook"
            url = "http://127.0.0.1/a"
            headers_file = "closed"
            [[notify]]
            kind = "webhook"
            url = "http://alerts.test/b"
            [[notify]]
            kind = "webhook"
            url = "https://alerts.test/c"
            headers_file = "open"
        "#;
        let path = home.path().join("domains.toml");
        let config = Config::parse(text, &path, &Environment::default()).unwrap();
        let codes = || {
            let exposed = config.exposed();
            exposed.into_iter().map(|finding| finding.code)
        };
        assert!(codes().eq([
            "config.secret_readable",
            "config.others_write",
            "config.plain_http"
        ]));
        // What lies in a closed directory nobody comes to.
        let_in(0o700);
        assert!(codes().eq(["config.plain_http"]));
    }
}
