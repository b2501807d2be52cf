//! What `certd verify` is to look at: words of the command line, lines of a list.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use super::input;
use crate::cli::error::{CliError, TARGETS};
use crate::cli::why::without_credentials;
use crate::config::defaults;
use crate::finding::{excerpt, words};
use crate::name::{HostName, NameError};
use crate::pipeline::verify::Unusable;
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
///
/// What cannot be used keeps no other from being looked at. Alone on the command line it is a slip
/// of the fingers, and an error.
pub(super) fn targets(
    words: &[String],
    list: Option<&Path>,
) -> Result<Vec<Result<Target, Unusable>>, CliError> {
    if let ([word], None) = (words, list) {
        return Ok(vec![Ok(Target::parse(word, None)?)]);
    }
    let words = words.iter().enumerate().map(|(index, word)| {
        let place = Place::Argument(index + 1);
        Target::parse(word, None).map_err(|error| unusable(word, place, &error))
    });
    let mut targets: Vec<_> = words.collect();
    if let Some(path) = list {
        let listed = listed(&input::list(path)?, path);
        if listed.is_empty() {
            let path = path.to_owned();
            return Err(CliError::EmptyList { path });
        }
        targets.extend(listed);
    }
    Ok(targets)
}

/// What each line of a list asks for
fn listed(bytes: &[u8], path: &Path) -> Vec<Result<Target, Unusable>> {
    // Nobody can open stdin at a line.
    let file = Some(path).filter(|path| !input::is_stdin(path));
    let targets = lines(bytes).map(|(line, text)| {
        let place = Place::Line(line, file);
        match text {
            Ok(text) => {
                Target::parse(text, place.origin()).map_err(|error| unusable(text, place, &error))
            }
            Err(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                Err(unusable(&text, place, &CliError::NoText))
            }
        }
    });
    targets.collect()
}

/// The lines that hold something, with their numbers, and as bytes where they are no UTF-8
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<&str, &[u8]>)> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    let texts = lines.map(|(index, line)| {
        // What follows may be in any encoding.
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let text = std::str::from_utf8(line).map(str::trim);
        (index + 1, text.map_err(|_| line.trim_ascii()))
    });
    texts.filter(|(_, text)| !matches!(text, Ok("")))
}

/// Where a target was asked for
#[derive(Clone, Copy)]
enum Place<'p> {
    /// A word of the command line, counted from 1
    Argument(usize),
    /// A line of this list, or of stdin
    Line(usize, Option<&'p Path>),
}

impl Place<'_> {
    fn origin(self) -> Option<Origin> {
        match self {
            Self::Line(line, Some(file)) => Some(Origin {
                file: file.to_owned(),
                line,
            }),
            Self::Line(_, None) | Self::Argument(_) => None,
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(number) => write!(f, "argument {number}"),
            Self::Line(line, Some(file)) => write!(f, "line {line} of {}", words::path(file)),
            Self::Line(line, None) => write!(f, "line {line} of stdin"),
        }
    }
}

/// What stands there and cannot be looked at, with why and what to write instead
fn unusable(text: &str, place: Place<'_>, error: &CliError) -> Unusable {
    let cause = error.source().map(|cause| format!(" ({cause})"));
    let cause = cause.unwrap_or_default();
    let cure = match (error, place) {
        (CliError::Name { source, .. }, Place::Line(..)) if separates(source) => {
            Some("write each target on a line of its own".to_owned())
        }
        _ => error.hint(),
    };
    Unusable {
        text: excerpt(&without_credentials(text), MOST_SHOWN),
        evidence: format!("{place} is not looked at: {error}{cause}"),
        cure: cure.unwrap_or_else(|| TARGETS.to_owned()),
        origin: place.origin(),
    }
}

/// Whether several names were written as one
fn separates(error: &NameError) -> bool {
    matches!(
        error,
        NameError::Character {
            found: ',' | ' ' | ';'
        }
    )
}

/// A host that is in no configuration: `HOST`, `HOST:PORT`, `[v6]:PORT`, or an https URL, of which
/// the path does not count
///
/// The port is `None` where it is not given.
fn host(text: &str) -> Result<(String, Option<u16>), CliError> {
    let refused = || CliError::Target {
        text: without_credentials(text),
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
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
            return Err(CliError::PlainHttp {
                text: without_credentials(text),
            });
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

fn name(text: &str) -> Result<HostName, CliError> {
    HostName::parse(text).map_err(|source| CliError::Name {
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

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Characters of an unusable target that are repeated
const MOST_SHOWN: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_target_a_line() {
        let text = "a.test\n\n# none\n  b.test:8443  # the bot\n[::1]:443";
        let listed = listed(text.as_bytes(), Path::new("list")).into_iter();
        let found: Vec<_> = listed
            .filter_map(Result::ok)
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
