//! Names that the CA cannot validate: DNS, CAA, and what nginx answers to the challenge.

use certd_sandbox::acme::IDENTITY;
use certd_sandbox::dns::{Criticality, Failure, Record};
use certd_sandbox::web::{Asked, HttpInstead};

use super::{Next, Row, check};
use crate::support::Host;

const NAME: &str = "rare-books.test";
const WWW: &str = "www.rare-books.test";

fn row(title: &'static str, fault: impl Fn(&Host) + Send + Sync + 'static) -> Row {
    Row::new(title, (1, "acme.validation"), Next::BacksOff, fault)
}

/// Sets DNS right again: it is no fault that the host could end by itself
fn mended(mut row: Row) -> Row {
    row.next = Next::Helped(|host| {
        use std::net::Ipv4Addr;
        host.obtain(&[]).exits(75);
        for name in [NAME, WWW] {
            host.zone.set(name, [Record::A(Ipv4Addr::LOCALHOST)]);
        }
        host.obtain(&["--force"]).exits(0);
    });
    row
}

#[test]
fn names_that_dns_does_not_lead_here() {
    let rows = [
        row("NXDOMAIN", |host| host.zone.remove(WWW)),
        row("no address", |host| host.zone.set(WWW, [])),
        row("SERVFAIL", |host| host.zone.fail(WWW, Failure::ServFail)),
        row("no answer", |host| host.zone.fail(WWW, Failure::NoAnswer)),
        row("refused", |host| host.zone.fail(NAME, Failure::Refused)),
    ];
    check("dns", &rows.map(mended));
}

fn caa(host: &Host, criticality: Criticality, tag: &str, value: String) {
    let (tag, record) = (tag.to_owned(), value);
    host.zone.add(
        NAME,
        Record::Caa {
            criticality,
            tag,
            value: record,
        },
    );
}

#[test]
fn caa_records_that_forbid_it() {
    let issue = |title, value: String| {
        row(title, move |host| {
            caa(host, Criticality::NonCritical, "issue", value.clone());
        })
    };
    let rows = [
        issue("another CA", "letsencrypt.org".to_owned()),
        issue("no CA at all", ";".to_owned()),
        issue(
            "another account",
            format!("{IDENTITY}; accounturi=https://ca.sandbox.test/account/1"),
        ),
        issue(
            "another method",
            format!("{IDENTITY}; validationmethods=dns-01"),
        ),
        row("a critical tag", |host| {
            caa(host, Criticality::Critical, "tbs", "unknown".to_owned());
        }),
    ];
    check("caa", &rows.map(mended));
}

fn answered(title: &'static str, name: &'static str, instead: HttpInstead) -> Row {
    row(title, move |host| {
        host.web
            .answer(Asked::Name(name.to_owned()), instead.clone());
    })
}

#[test]
fn challenges_that_are_answered_otherwise() {
    let elsewhere = "https://www.rare-books.test/welcome".to_owned();
    let circle = "http://rare-books.test$request_uri".to_owned();
    check(
        "challenges",
        &[
            answered("forbidden", NAME, HttpInstead::Status(403)),
            answered("not found", WWW, HttpInstead::Status(404)),
            answered("a broken application", NAME, HttpInstead::Status(502)),
            answered("a page", NAME, HttpInstead::Body("Welcome\n".to_owned())),
            answered("nothing in it", NAME, HttpInstead::Body(String::new())),
            answered("silence", WWW, HttpInstead::Silence),
            answered(
                "to a port without TLS",
                NAME,
                HttpInstead::Redirect(elsewhere),
            ),
            answered("in a circle", NAME, HttpInstead::Redirect(circle)),
        ],
    );
}

#[test]
fn a_redirect_to_where_the_token_is_does_no_harm() {
    let row = Row::new("to the other name", (0, ""), Next::Proven, |host| {
        let there = "http://rare-books.test$request_uri".to_owned();
        host.web
            .answer(Asked::Name(WWW.to_owned()), HttpInstead::Redirect(there));
    });
    check("redirected", &[row]);
}
