//! `certd why`.

use std::net::IpAddr;

use jiff::Timestamp;

use super::args::{Global, Why};
use super::error::CliError;
use super::{Ended, crypto_provider, now, optional, print_report};
use crate::config::{Config, Environment, defaults};
use crate::finding::Severity;
use crate::name::HostName;
use crate::net::dns::Resolver;
use crate::net::hosts::Hosts;
use crate::net::tls::Observer;
use crate::pipeline::why::{Means, Question, why};
use crate::report::text;
use crate::report::why::{Answer, WhyReport};
use crate::verify::path::Trust;

pub(super) async fn run(
    global: &Global,
    args: &Why,
    environment: &Environment,
) -> Result<Ended, CliError> {
    let report = report(global, args, environment, now()).await?;
    if !global.keeps_back(report.severity() < Severity::Warning) {
        print_report(&report, global.format, global.color, |report, out| {
            text::why(report, out)
        })?;
    }
    Ok(match report.verdict.answer {
        Answer::Accepted | Answer::Unjudged => Ended::Well,
        Answer::Contradicted | Answer::Refused | Answer::Unreached => Ended::Failed,
    })
}

async fn report(
    global: &Global,
    args: &Why,
    environment: &Environment,
    now: Timestamp,
) -> Result<WhyReport, CliError> {
    let question = question(&args.url)?;
    let config = optional::config(global, environment)?;
    let means = means(config.as_ref(), args, environment)?;
    Ok(why(&means, &question, now).await)
}

fn means<'c>(
    config: Option<&'c Config>,
    args: &Why,
    environment: &Environment,
) -> Result<Means<'c>, CliError> {
    let provider = crypto_provider();
    let algorithms = provider.signature_verification_algorithms;
    let configured = config.map_or(&[][..], |config| &config.verify.trust);
    let trust = [configured, args.trust.as_slice()].concat();
    let dns = config.map(|config| &config.dns);
    let timeout = config.map_or(defaults::VERIFY_TIMEOUT, |config| config.verify.timeout);
    let docker = environment.docker_host.as_deref();
    Ok(Means {
        config,
        hosts: Hosts::of_system(),
        resolver: Resolver::new(
            dns.map_or(&[], |dns| dns.servers.as_slice()),
            dns.map_or(defaults::DNS_TIMEOUT, |dns| dns.timeout),
        ),
        trust: Trust::load(&trust, algorithms)?,
        observer: Observer::new(provider, timeout),
        min_remaining: config.map_or(defaults::MIN_REMAINING, |config| {
            config.verify.min_remaining
        }),
        docker: docker.unwrap_or(defaults::DOCKER).to_owned(),
    })
}

/// What a URL, a name or HOST:PORT asks about; path and credentials are left out
fn question(text: &str) -> Result<Question, CliError> {
    let refused = || CliError::Url {
        text: without_credentials(text),
    };
    let (rest, port) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
            (rest, Some(defaults::PORT))
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
            return Err(CliError::PlainHttp {
                text: without_credentials(text),
            });
        }
        Some(_) => return Err(refused()),
        // A bare name stands for the domain: its own port counts.
        None => (text, None),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, given) = split_port(authority).ok_or_else(refused)?;
    let given = match given {
        Some(given) => Some(given.parse().map_err(|_| refused())?),
        None => None,
    };
    if host.is_empty() || given == Some(0) {
        return Err(refused());
    }
    let name = match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => HostName::parse(host)
            .map_err(|source| CliError::Name {
                text: host.to_owned(),
                source,
            })?
            .to_string(),
    };
    Ok(Question {
        name,
        typed: host.to_owned(),
        port: given.or(port),
    })
}

/// The text as it may be shown
pub(super) fn without_credentials(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}{}", &rest[start..])
}

/// Host and port of an authority; `None` where the brackets of an IPv6 address are wrong
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match port {
            "" => Some((host, None)),
            port => Some((host, Some(port.strip_prefix(':')?))),
        };
    }
    if authority.parse::<IpAddr>().is_ok() {
        return Some((authority, None));
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_a_name_and_host_and_port_are_understood() {
        #[track_caller]
        fn check(text: &str, expected: Option<(&str, Option<u16>)>) {
            let found = question(text).ok();
            let found = found
                .as_ref()
                .map(|found| (found.name.as_str(), found.port));
            assert_eq!(found, expected, "{text}");
        }
        check("https://Example.com", Some(("example.com", Some(443))));
        check(
            "HTTPS://example.com/a?b#c",
            Some(("example.com", Some(443))),
        );
        check(
            "https://example.com:8443/",
            Some(("example.com", Some(8443))),
        );
        check(
            "https://me:secret@example.com/",
            Some(("example.com", Some(443))),
        );
        check(
            "https://[2001:db8::1]:8443/",
            Some(("2001:db8::1", Some(8443))),
        );
        check(
            "https://книга.рф/",
            Some(("xn--80afohp.xn--p1ai", Some(443))),
        );
        check("example.com", Some(("example.com", None)));
        check("example.com/path", Some(("example.com", None)));
        check("example.com:8443", Some(("example.com", Some(8443))));
        check("192.0.2.1", Some(("192.0.2.1", None)));
        check("[::1]:443", Some(("::1", Some(443))));
        check("::1", Some(("::1", None)));
        check("http://example.com", None);
        check("ftp://example.com", None);
        check("https://", None);
        check("", None);
        check("/etc/passwd", None);
        check("example.com:0", None);
        check("example.com:https", None);
        check("[example.com]:443", None);
        check("*.example.com", None);
    }

    #[test]
    fn credentials_are_shown_nowhere() {
        let shown = |text: &str| question(text).map(drop).map_err(|error| error.to_string());
        assert_eq!(
            shown("http://me:secret@example.com/@"),
            Err("`http://example.com/@` is plain HTTP, and https is what is looked at".to_owned())
        );
        assert_eq!(
            shown("https://me:secret@example.com:0"),
            Err("`https://example.com:0` is no https URL".to_owned())
        );
    }
}
