//! Calls of the protocol that the CA answers badly, each call in turn.

use std::time::Duration;

use certd_sandbox::acme::{Call, Mishap, Problem, Reuse};
use certd_sandbox::fault::{Answer, Fault, Times};

use super::{Next, Row, check};

/// Every call of an order, with what follows from a failure there
const CALLS: [(&str, Call, Next); 9] = [
    ("the directory", Call::Directory, Next::Proven),
    ("a nonce", Call::Nonce, Next::Proven),
    ("the account", Call::NewAccount, Next::Proven),
    ("the order", Call::NewOrder, Next::Proven),
    // An order was placed: the next one waits, unless it is the same.
    ("the authorization", Call::Authorization, Next::Proven),
    ("the challenge", Call::Challenge, Next::BacksOff),
    ("the order's state", Call::Order, Next::BacksOff),
    ("finalization", Call::Finalize, Next::BacksOff),
    ("the certificate", Call::Certificate, Next::BacksOff),
];

/// A row for each call that is answered so without end
fn each(code: &'static str, fault: impl Into<Fault>) -> Vec<Row> {
    let fault = fault.into();
    // A nonce is asked for with HEAD, so there is no body that could go wrong.
    let has_no_body = matches!(fault, Fault::CutShort | Fault::Endless);
    CALLS
        .into_iter()
        .filter(|(_, call, _)| !has_no_body || *call != Call::Nonce)
        .map(|(title, call, next)| {
            let fault = fault.clone();
            let row = Row::new(title, (1, code), next, move |host| {
                host.ca.fault(call, Times::Always, fault.clone());
            });
            match call {
                Call::Order => while_processing(row),
                _ => row,
            }
        })
        .collect()
}

/// The same with an order that needs no validation: one that goes on while certd gives up would
/// end now well, now badly
fn while_processing(row: Row) -> Row {
    let mut row = row.at_a_renewal();
    row.setting.reuse = Reuse::WhileValid;
    let fault = row.fault;
    row.fault = Box::new(move |host| {
        host.ca.mishap(Times::Next(1), Mishap::Processing(Some(9)));
        fault(host);
    });
    row
}

#[test]
fn an_internal_error_at_any_call() {
    let problem = Problem::new(500, "serverInternal", "Error retrieving the account");
    let mut rows = each("acme.refused", problem);
    // The answer to HEAD has no words.
    rows[1].code = "acme.status";
    check("calls_internal_error", &rows);
}

#[test]
fn a_balancers_page_at_any_call() {
    let page = Answer::html(503, "503 Service Unavailable");
    check("calls_balancer", &each("acme.status", page));
}

#[test]
fn a_reply_that_is_cut_short_at_any_call() {
    check(
        "calls_cut_short",
        &each("acme.unreachable", Fault::CutShort),
    );
}

#[test]
fn a_reply_without_end_at_any_call() {
    check("calls_endless", &each("acme.unreachable", Fault::Endless));
}

#[test]
fn one_bad_reply_at_each_call_costs_no_second_order() {
    let rows = [
        ("cut short", Fault::CutShort),
        ("a balancer", Answer::html(502, "502 Bad Gateway").into()),
        ("slow", Fault::Slow(Duration::from_millis(200))),
    ];
    let rows = rows.map(|(title, fault)| {
        Row::new(title, (0, ""), Next::Proven, move |host| {
            for (_, call, _) in CALLS {
                host.ca.fault(call, Times::Next(1), fault.clone());
            }
        })
    });
    check("calls_once", &rows);
}

#[test]
fn a_ca_that_asks_to_come_back_later_is_obeyed() {
    let page = Answer::html(503, "503 Service Unavailable").retry_after(Duration::from_secs(3600));
    let mut rows = each("acme.status", page);
    for row in &mut rows {
        (row.status, row.next) = (75, Next::BacksOff);
    }
    check("calls_retry_after", &rows);
}

#[test]
fn nonces_that_are_refused_are_asked_for_again_until_there_is_no_hope() {
    let refusing = |percent| move |host: &crate::support::Host| host.ca.reject_nonces(percent);
    check(
        "nonces",
        &[
            Row::new("a third", (0, ""), Next::Proven, refusing(33)),
            Row::new("three of four", (0, ""), Next::Proven, refusing(75)),
            Row::new("all", (1, "acme.refused"), Next::Proven, refusing(100)),
        ],
    );
}
