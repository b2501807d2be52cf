//! What a server says over HTTP beside its certificate: HSTS, whether http:// redirects, and a
//! domain's probe.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Http, Means, Subject};
use crate::config::{Probe, defaults};
use crate::facts::Opening;
use crate::facts::fetch::FetchFailure;
use crate::finding::{Finding, Severity, excerpt};
use crate::net::fetch::page::page;
use crate::net::fetch::{Fetcher, Reply};
use crate::net::tls::Connection;
use crate::report::verify::HttpReport;
use crate::time::display;

/// Whether pages are asked for at all: not of what begins in the clear, which is mail
pub(super) fn are_asked(means: &Means, subject: &Subject) -> bool {
    means.http != Http::Left && subject.opening == Opening::Direct
}

/// What `/` is answered with over a connection whose both sides agreed to HTTP
///
/// `None` where that is not wanted, or there is no answer: a server that has a certificate need
/// not be a web server. The time is what the server takes for it.
pub(super) async fn over_tls(
    means: &Means,
    subject: &Subject,
    connection: Option<Connection>,
) -> Option<(HttpReport, Option<Timestamp>)> {
    let connection = connection.filter(|connection| connection.protocol().is_some())?;
    if !are_asked(means, subject) {
        return None;
    }
    let url = url("https", &subject.name, "/")?;
    let reply = timeout(means.timeout, page(&url, connection)).await;
    let reply = reply.ok()?.ok()?;
    let report = HttpReport {
        status: Some(reply.status),
        hsts: reply.hsts,
        redirects_to_https: None,
    };
    Some((report, reply.date))
}

/// Asks for the clocks where a certificate is out of time, all else is well, and the server's clock
/// differs from this host's
pub(super) fn doubt_the_clock(findings: &mut [Finding], date: Timestamp, now: Timestamp) {
    let ahead = now.duration_since(date);
    let mut failures = findings
        .iter_mut()
        .filter(|finding| finding.severity == Severity::Failure);
    if let (Some(finding), None) = (failures.next(), failures.next())
        && OUT_OF_TIME.contains(&finding.code)
        && ahead.unsigned_abs() > CLOCKS_DIFFER
    {
        finding.cure = Some(format!(
            "the server's clock says {}, and this host's {}: set the one that is wrong (`timedatectl set-ntp true`) before anything else",
            display(date),
            display(now)
        ));
    }
}

/// Verdicts that depend on the clock of whoever looks
const OUT_OF_TIME: [&str; 2] = ["served.expired", "served.not_yet_valid"];
/// Clocks that differ by more are not both right
const CLOCKS_DIFFER: Duration = Duration::from_secs(3_600);

/// Whether http:// at this address redirects to https://; `None` where it does not answer
///
/// Asked for beside the usual port of https://, or beside that of a domain, whichever it has.
pub(super) async fn redirects_to_https(
    means: &Means,
    subject: &Subject,
    address: SocketAddr,
) -> Option<bool> {
    let Http::Asked { port } = means.http else {
        return None;
    };
    if address.port() != defaults::PORT && subject.domain.is_none() {
        return None;
    }
    let url = url("http", &subject.name, "/")?;
    let fetcher = Fetcher::new(means.observer.provider(), means.timeout);
    let address = SocketAddr::new(address.ip(), port);
    let reply = fetcher.fetch(&url, address).await.ok()?;
    let location = reply.location.unwrap_or_default().to_ascii_lowercase();
    Some((300..400).contains(&reply.status) && location.starts_with("https://"))
}

/// A page that says that the application is down
pub(super) fn trouble(subject: &Subject, page: &HttpReport) -> Option<Finding> {
    let status = page.status.filter(|status| (500..600).contains(status))?;
    let evidence = format!("https://{}/ answers {status}", subject.name);
    Some(Finding::note("site.server_error", evidence).with_cure(cure(status)))
}

/// What a domain's probe is answered with at this address, judged
///
/// A port in its URL counts, and else that of the address.
pub(super) async fn probe(means: &Means, probe: &Probe, address: SocketAddr) -> Finding {
    let port = probe.url.port_u16().unwrap_or_else(|| address.port());
    let address = SocketAddr::new(address.ip(), port);
    let name = probe.url.host().unwrap_or_default();
    let (handshake, connection) = means.observer.meet(name, address, Opening::Direct).await;
    let reply = match (handshake.outcome, connection) {
        (Err(failure), _) => Err(FetchFailure::Connect(probe.url.to_string(), failure)),
        (Ok(_), None) => Err(FetchFailure::Closed(probe.url.to_string())),
        (Ok(_), Some(connection)) => {
            match timeout(means.timeout, page(&probe.url, connection)).await {
                Ok(reply) => reply,
                Err(_) => Err(FetchFailure::TimedOut(probe.url.to_string())),
            }
        }
    };
    judge(probe, reply)
}

/// What an answer to a probe says of the application
fn judge(probe: &Probe, reply: Result<Reply, FetchFailure>) -> Finding {
    let Probe { url, status, text } = probe;
    let reply = match reply {
        Ok(reply) => reply,
        Err(failure) => {
            let evidence = format!("{url}: {}", in_words(&failure));
            return Finding::failure("probe.no_answer", evidence).with_cure(
                "the certificate may be good, and what stands behind it is not: see nginx's log",
            );
        }
    };
    if reply.status != *status {
        let evidence = format!("{url} answers {}, not {status}", reply.status);
        return Finding::failure("probe.status", evidence).with_cure(cure(reply.status));
    }
    let body = String::from_utf8_lossy(&reply.body);
    match text.as_ref().filter(|text| !body.contains(text.as_str())) {
        Some(text) => {
            let evidence = format!(
                "{url} answers {status} without {text:?}: {:?}",
                excerpt(&body, MOST_SHOWN)
            );
            Finding::failure("probe.text", evidence)
                .with_cure("is it the right application, and is all that it needs up?")
        }
        None => Finding::ok("probe.answer", format!("{url} answers {status}")),
    }
}

fn in_words(failure: &FetchFailure) -> String {
    match failure {
        FetchFailure::Connect(_, failure) => failure.to_string(),
        FetchFailure::TimedOut(_) => "it takes the request and does not answer".to_owned(),
        FetchFailure::NotHttp(reason) => format!("what it answers is no HTTP ({reason})"),
        // Nothing is followed, so that the others do not come about.
        _ => "it closes the connection without an answer".to_owned(),
    }
}

fn cure(status: u16) -> &'static str {
    match status {
        500..600 => {
            "the application behind nginx is down or fails: `docker ps` shows it, its log says why"
        }
        300..400 => "a redirect is not followed: let `probe` name the page at its end",
        _ => "let `probe` name a page that there is, with the status that it answers",
    }
}

fn url(scheme: &str, name: &str, path: &str) -> Option<Uri> {
    let host = match name.parse() {
        Ok(IpAddr::V6(_)) => format!("[{name}]"),
        _ => name.to_owned(),
    };
    format!("{scheme}://{host}{path}").parse().ok()
}

/// Characters of a page that are shown
const MOST_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status,
            server: None,
            hsts: None,
            date: None,
            location: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_certificate_is_not_blamed_where_the_clocks_differ() {
        #[track_caller]
        fn check(date: &str, beside: Option<Finding>, is_asked: bool) {
            let expired = Finding::failure("served.expired", "expired").with_cure("renew it");
            let mut findings = vec![expired];
            findings.extend(beside);
            let now = "2039-10-01T12:00:00Z".parse().unwrap();
            doubt_the_clock(&mut findings, date.parse().unwrap(), now);
            let cure = findings[0].cure.as_deref().unwrap_or_default();
            let asks = cure.starts_with(
                "the server's clock says 2026-11-28 12:00 UTC, and this host's 2039-10-01 12:00 UTC",
            );
            assert_eq!(asks, is_asked, "{cure}");
        }
        let then = "2026-11-28T12:00:00Z";
        check(then, None, true);
        check(then, Some(Finding::note("served.needless", "")), true);
        check(then, Some(Finding::failure("served.wrong_name", "")), false);
        check("2039-10-01T12:59:00Z", None, false);
    }

    #[test]
    fn a_probe_wants_its_status_and_its_text() {
        #[track_caller]
        fn check(answer: Result<Reply, FetchFailure>, text: Option<&str>, code: &str) {
            let probe = Probe {
                url: "https://a.test/health".parse().unwrap(),
                status: 200,
                text: text.map(ToOwned::to_owned),
            };
            let finding = judge(&probe, answer);
            assert_eq!(finding.code, code);
            let is_good = code == "probe.answer";
            assert_eq!(finding.severity == Severity::Ok, is_good);
            assert_eq!(finding.cure.is_none(), is_good);
        }
        let healthy = r#"{"status":"Healthy"}"#;
        check(Ok(reply(200, healthy)), None, "probe.answer");
        check(Ok(reply(200, healthy)), Some("Healthy"), "probe.answer");
        check(Ok(reply(200, healthy)), Some("healthy"), "probe.text");
        check(Ok(reply(502, "Bad Gateway")), None, "probe.status");
        check(Ok(reply(301, "")), Some("x"), "probe.status");
        let closed = FetchFailure::Closed("https://a.test/health".to_owned());
        check(Err(closed), None, "probe.no_answer");
    }
}
