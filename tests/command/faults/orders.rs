//! Orders that go wrong although every call is answered well.

use certd::sandbox::acme::{Mishap, Problem, Reuse};
use certd::sandbox::fault::Times;

use super::{Next, Row, check};
use crate::support::{Host, Setting};

fn mishap(title: &'static str, mishap: Mishap, code: &'static str) -> Row {
    Row::new(title, (1, code), Next::BacksOff, move |host| {
        host.ca.mishap(Times::Always, mishap.clone());
    })
}

#[test]
fn a_validation_that_fails_is_told_with_all_that_the_ca_says() {
    let unauthorized = Problem::new(
        403,
        "unauthorized",
        "192.0.2.7: Invalid response from http://rare-books.test/: 404",
    );
    let several = Problem::new(400, "compound", "Some names could not be validated")
        .about(
            "rare-books.test",
            "connection",
            "192.0.2.7: Connection refused",
        )
        .about("www.rare-books.test", "dns", "no valid A records found");
    let code = "acme.validation";
    check(
        "validations",
        &[
            mishap("one", Mishap::Validation(unauthorized.clone()), code),
            mishap("several", Mishap::Validation(several), code),
            mishap("at a renewal", Mishap::Validation(unauthorized), code).at_a_renewal(),
        ],
    );
}

#[test]
fn an_order_that_turns_invalid_at_the_end_is_spent() {
    let reason = Problem::new(
        403,
        "caa",
        "CAA record for rare-books.test prevents issuance",
    );
    let nameless = Problem::new(500, "serverInternal", "Error finalizing order");
    check(
        "invalid_orders",
        &[
            mishap("with a reason", Mishap::Invalid(reason), "acme.refused"),
            mishap("trouble", Mishap::Invalid(nameless), "acme.refused"),
        ],
    );
}

#[test]
fn a_chain_that_is_of_no_use_is_never_installed() {
    check(
        "unfit_chains",
        &[
            mishap("another key", Mishap::ForeignKey, "install.other_key"),
            mishap("expired", Mishap::Expired, "install.expired"),
            mishap("at a renewal", Mishap::ForeignKey, "install.other_key").at_a_renewal(),
        ],
    );
}

#[test]
fn an_order_with_more_authorizations_than_names_is_refused_unread() {
    let mut row = mishap("ten thousand", Mishap::Crowded(10_000), "acme.protocol");
    row.setting.reuse = Reuse::Never;
    check("crowded", &[row]);
    let host = Host::new(&Setting::default());
    host.ca.mishap(Times::Always, Mishap::Crowded(1));
    host.obtain(&[]).exits(1);
    let requests = host.ca.requests();
    let is_read = |request: &String| request.contains("/authorization/");
    assert!(!requests.iter().any(is_read), "{requests:?}");
}

#[test]
fn an_order_that_is_processed_for_a_while_is_waited_for() {
    let row = Row::new("five looks", (0, ""), Next::Proven, |host| {
        host.ca.mishap(Times::Next(1), Mishap::Processing(Some(5)));
    });
    check("processing", &[row]);
}
