//! Limits of the CA, and refusals that a person must do something about.

use std::time::Duration;

use certd_sandbox::acme::{Call, Limit, Problem};
use certd_sandbox::fault::Times;
use jiff::Timestamp;

use super::{Next, Row, check};

/// A problem in the place of every reply to a call
fn refusal(
    title: &'static str,
    call: Call,
    problem: Problem,
    expected: (i32, &'static str),
) -> Row {
    Row::new(title, expected, Next::BacksOff, move |host| {
        host.ca.fault(call, Times::Always, problem.clone());
    })
}

/// The same, where the same order is not placed again until a person has acted
fn for_good(row: Row) -> Row {
    Row {
        next: Next::Stops,
        ..row
    }
}

#[test]
fn every_limit_is_told_in_the_cas_words_and_waited_for() {
    // An instant that needs no filter, since the words of the CA are told as they are.
    let now: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
    let limited = |title, call, limit: Limit<'_>| {
        let problem = Problem::limited(limit, now, Duration::from_secs(7200));
        refusal(title, call, problem, (75, "acme.rate_limited"))
    };
    check(
        "limits",
        &[
            limited("accounts", Call::NewAccount, Limit::Accounts),
            limited(
                "accounts by IPv6",
                Call::NewAccount,
                Limit::AccountsPerRange,
            ),
            limited("orders", Call::NewOrder, Limit::Orders),
            limited(
                "registered domain",
                Call::NewOrder,
                Limit::RegisteredDomain("rare-books.test"),
            ),
            limited("exact set", Call::NewOrder, Limit::ExactSet),
            limited(
                "failures",
                Call::NewOrder,
                Limit::Failures("www.rare-books.test"),
            ),
            limited("at the end", Call::Finalize, Limit::ExactSet),
        ],
    );
}

#[test]
fn a_limit_without_a_time_is_waited_for_an_hour() {
    let problem = Problem::new(429, "rateLimited", "too many requests");
    check(
        "limit_without_time",
        &[refusal(
            "no Retry-After",
            Call::NewOrder,
            problem,
            (75, "acme.rate_limited"),
        )],
    );
}

#[test]
fn a_paused_account_needs_a_person_and_no_patience() {
    let url = "https://portal.ca.sandbox.test/sfe/v1/unpause?jwt=eyJhbGciOiJIUzI1NiJ9.e30.sig";
    let paused = Problem::paused("rare-books.test", url);
    let code = (1, "acme.paused");
    check(
        "paused",
        &[
            for_good(refusal("first", Call::NewOrder, paused.clone(), code)),
            for_good(refusal("renewal", Call::NewOrder, paused, code)).at_a_renewal(),
        ],
    );
}

#[test]
fn refusals_are_told_with_what_can_be_done() {
    let refused = (1, "acme.refused");
    let replaced = Problem::already_replaced("4a5b6c");
    check(
        "refusals",
        &[
            refusal("already replaced", Call::NewOrder, replaced, refused).at_a_renewal(),
            for_good(refusal(
                "deactivated",
                Call::NewOrder,
                Problem::new(
                    403,
                    "unauthorized",
                    "Account is not valid, has status \"deactivated\"",
                ),
                refused,
            )),
            for_good(refusal(
                "a name it will not have",
                Call::NewOrder,
                Problem::new(400, "rejectedIdentifier", "Error creating new order").about(
                    "www.rare-books.test",
                    "rejectedIdentifier",
                    "The ACME server refuses to issue a certificate for this domain name",
                ),
                refused,
            )),
            for_good(refusal(
                "a profile it has no more",
                Call::NewOrder,
                Problem::new(
                    400,
                    "invalidProfile",
                    "profile \"tlsclient\" is no longer offered",
                ),
                refused,
            )),
            for_good(refusal(
                "an external account",
                Call::NewAccount,
                Problem::new(
                    403,
                    "externalAccountRequired",
                    "No external account binding was given",
                ),
                refused,
            )),
            for_good(refusal(
                "a contact",
                Call::NewAccount,
                Problem::new(
                    400,
                    "invalidContact",
                    "contact email has forbidden domain \"rare-books.test\"",
                ),
                refused,
            )),
            refusal(
                "CAA, looked at once more",
                Call::Finalize,
                Problem::new(403, "caa", "Error finalizing order :: Rechecking CAA").about(
                    "www.rare-books.test",
                    "caa",
                    "CAA record for www.rare-books.test prevents issuance",
                ),
                refused,
            ),
            for_good(refusal(
                "a CSR that it will not have",
                Call::Finalize,
                Problem::new(
                    400,
                    "badCSR",
                    "Error finalizing order :: key is a known weak key",
                ),
                refused,
            )),
            for_good(refusal(
                "terms",
                Call::NewOrder,
                Problem::new(403, "userActionRequired", "Terms of service have changed")
                    .link("https://ca.sandbox.test/terms-2", "terms-of-service"),
                refused,
            )),
        ],
    );
}

#[test]
fn an_account_that_the_ca_has_forgotten_is_registered_anew() {
    let unknown = Problem::new(400, "accountDoesNotExist", "account not found");
    let row = Row::new("once", (0, ""), Next::Proven, move |host| {
        host.ca
            .fault(Call::NewOrder, Times::Next(1), unknown.clone());
    });
    check("forgotten", &[row.at_a_renewal()]);
}
