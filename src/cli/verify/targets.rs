//! What `certd verify` is to look at: words of the command line, lines of a list.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;

use super::input;
use crate::cli::error::CliError;
use crate::config::defaults;
use crate::name::DnsName;
use crate::report::verify::Origin;

/// A host to look at, and where that was asked for
pub(super) struct Target {
    /// A name, or an IP address
    pub(super) host: String,
    /// `None` where it was not given
    pub(super) port: Option<u16>,
    /// `None` for one of the command line or of stdin
    pub(super) origin: Option<Origin>,
}

impl Target {
    fn parse(text: &str, origin: Option<Origin>) -> Result<Self, CliError> {
        let (host, port) = host(text)?;
        Ok(Self { host, port, origin })
    }
}

/// The targets of the command line, then those of the list
pub(super) fn targets(words: &[String], list: Option<&Path>) -> Result<Vec<Target>, CliError> {
    let parsed = words.iter().map(|word| Target::parse(word, None));
    let mut targets = parsed.collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = list {
        targets.extend(listed(&input::list(path)?, path)?);
    }
    Ok(targets)
}

/// The targets of a list, or every line that is none
fn listed(text: &str, path: &Path) -> Result<Vec<Target>, CliError> {
    // Nobody can open stdin at a line.
    let file = Some(path).filter(|path| !input::is_stdin(path));
    let mut targets = Vec::new();
    let mut wrong = Vec::new();
    for (line, word) in words(text) {
        let file = file.map(Path::to_owned);
        match Target::parse(word, file.map(|file| Origin { file, line })) {
            Ok(target) => targets.push(target),
            Err(error) => wrong.push(refusal(line, &error)),
        }
    }
    let path = path.to_owned();
    match (targets.is_empty(), wrong.is_empty()) {
        (_, false) => Err(CliError::List { path, wrong }),
        (true, true) => Err(CliError::EmptyList { path }),
        (false, true) => Ok(targets),
    }
}

fn refusal(line: usize, error: &CliError) -> String {
    let cause = error.source().map(|cause| format!(" ({cause})"));
    format!("line {line}: {error}{}", cause.unwrap_or_default())
}

/// The lines that hold something, with their numbers
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().enumerate().filter_map(|(index, line)| {
        let word = line.split('#').next().unwrap_or_default().trim();
        (!word.is_empty()).then_some((index + 1, word))
    })
}

/// A host that is in no configuration: `HOST`, `HOST:PORT`, `[v6]:PORT`, or an https URL, of which
/// the path does not count
///
/// The port is `None` where it is not given.
fn host(text: &str) -> Result<(String, Option<u16>), CliError> {
    let refused = || CliError::Target {
        text: text.to_owned(),
    };
    if Path::new(text).is_absolute() {
        return Err(refused());
    }
    let text = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            // A password has no business here, and is not repeated.
            authority.rsplit('@').next().unwrap_or_default()
        }
        _ => text,
    };
    let port = |digits: &str| match digits.parse() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(refused()),
    };
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, digits)) => (host, port(digits.strip_prefix(':').ok_or_else(refused)?)?),
        None if text.parse::<IpAddr>().is_ok() => (text, None),
        None => match text.rsplit_once(':') {
            Some((host, digits)) => (host, port(digits)?),
            None => (text, None),
        },
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((address.to_string(), port));
    }
    if host.is_empty() || host.contains([':', '[', ']', '/']) {
        return Err(refused());
    }
    Ok((name(host)?.to_string(), port))
}

/// A name, or an IP address
pub(super) fn name_or_address(text: &str) -> Result<String, CliError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Ok(name(text)?.to_string()),
    }
}

fn name(text: &str) -> Result<DnsName, CliError> {
    DnsName::parse(text).map_err(|source| CliError::Name {
        text: text.to_owned(),
        source,
    })
}

/// The port of a protocol, where none is given
pub(super) const fn usual_port(starttls: Option<crate::cli::args::StartTls>) -> u16 {
    use crate::cli::args::StartTls;
    match starttls {
        None => defaults::PORT,
        Some(StartTls::Smtp) => 25,
        Some(StartTls::Imap) => 143,
        Some(StartTls::Pop3) => 110,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_target_a_line() {
        let text = "a.test\n\n# none\n  b.test:8443  # the bot\n[::1]:443";
        let listed = listed(text, Path::new("list")).unwrap().into_iter();
        let found: Vec<_> = listed
            .map(|target| (target.host, target.port, target.origin.unwrap().line))
            .collect();
        let expected = [
            ("a.test", None, 1),
            ("b.test", Some(8443), 4),
            ("::1", Some(443), 5),
        ];
        assert_eq!(
            found,
            expected.map(|(host, port, line)| (host.to_owned(), port, line))
        );
    }

    #[test]
    fn a_host_may_have_a_port() {
        #[track_caller]
        fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host(text).ok(), expected, "{text}");
        }
        check("a.test", Some(("a.test", None)));
        check("A.test:8443", Some(("a.test", Some(8443))));
        check("книги.test", Some(("xn--c1ajbfp.test", None)));
        check("192.0.2.1", Some(("192.0.2.1", None)));
        check("192.0.2.1:88", Some(("192.0.2.1", Some(88))));
        check("https://a.test", Some(("a.test", None)));
        check("HTTPS://a.test:8443/shop?a#b", Some(("a.test", Some(8443))));
        check("https://me:secret@[::1]/", Some(("::1", None)));
        check("::1", Some(("::1", None)));
        check("[::1]", Some(("::1", None)));
        check("[2001:db8::0:1]:443", Some(("2001:db8::1", Some(443))));
        for wrong in [
            "",
            ":443",
            "a.test:",
            "a.test:0",
            "a.test:65536",
            "[::1]443",
            "[::1",
            "a/b",
            "/etc",
            "http://a.test",
            "https://",
            "a:b:c",
            "[a.test]:443x",
        ] {
            check(wrong, None);
        }
    }
}
