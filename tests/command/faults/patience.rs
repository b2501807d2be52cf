//! Those who take too long, played in this process with less patience than the command has.

use std::time::Duration;

use certd::acme;
use certd::pipeline::Patience;
use certd::report::Verdict;
use certd_sandbox::acme::{Call, Mishap};
use certd_sandbox::docker;
use certd_sandbox::fault::{Fault, Times};

use super::served::{in_words, renew};
use super::{Told, compare, play_all};
use crate::support::{Host, Setting};

/// Somebody who takes too long from the beginning of the run on
struct Delay {
    title: &'static str,
    code: &'static str,
    /// Orders that were placed by the run
    orders: usize,
    /// What a run without the fault ends with
    then: Verdict,
    begin: fn(&Host),
}

const LITTLE: Duration = Duration::from_secs(1);

fn patience() -> Patience {
    Patience {
        ca: acme::Patience {
            request: LITTLE,
            order: LITTLE * 2,
        },
        engine: LITTLE,
        ..Patience::USUAL
    }
}

/// As much as it takes, and no more for an order that is never finished
fn enough() -> Patience {
    Patience {
        ca: acme::Patience {
            order: LITTLE * 5,
            ..acme::Patience::USUAL
        },
        ..Patience::USUAL
    }
}

fn play(delay: &Delay) -> Told {
    let host = Host::new(&Setting::default());
    let mut told = Told::default();
    told.expect_run(&host.obtain(&[]), 0, "before");
    let (live, orders) = (host.live(), host.ca.orders());
    (delay.begin)(&host);
    let report = renew(&host, patience(), |_| {});
    told.expect(report.verdict() == Verdict::Failed, "it failed");
    let is_told = report.domains[0]
        .findings
        .iter()
        .any(|finding| finding.code == delay.code);
    told.expect(is_told, delay.code);
    told.expect(host.live() == live, "live stays");
    told.expect_clean(&host, "afterwards");
    let placed = host.ca.orders() - orders;
    told.expect(placed == delay.orders, "the orders");
    let shown = host.place.without_directory(&in_words(&report));
    host.behave();
    let report = renew(&host, enough(), |_| {});
    told.expect(report.verdict() == delay.then, "without the fault");
    told.under(delay.title, &shown)
}

fn ca(host: &Host, call: Call, fault: Fault) {
    host.ca.fault(call, Times::Always, fault);
}

fn engine(host: &Host, call: docker::Call, fault: Fault) {
    host.engine.fault(call, Times::Always, fault);
}

#[test]
fn a_ca_that_takes_too_long_is_given_up() {
    let delay = |title, orders, begin| Delay {
        title,
        code: "acme.unreachable",
        orders,
        then: Verdict::Well,
        begin,
    };
    let delays = [
        delay("a directory that never comes", 0, |host| {
            ca(host, Call::Directory, Fault::Silent);
        }),
        delay("an order that never comes", 0, |host| {
            ca(host, Call::NewOrder, Fault::Silent);
        }),
        delay("an order that begins and stops", 0, |host| {
            ca(host, Call::NewOrder, Fault::Stalled);
        }),
        delay("a certificate that is too slow", 1, |host| {
            ca(host, Call::Certificate, Fault::Slow(LITTLE * 2));
        }),
        Delay {
            code: "acme.deadline",
            // The CA may still issue: the order is looked at a few times more.
            then: Verdict::Failed,
            ..delay("an order that is processed for ever", 1, |host| {
                host.ca.mishap(Times::Always, Mishap::Processing(None));
            })
        },
    ];
    compare("slow_ca", play_all(&delays, play));
}

#[test]
fn a_ca_that_asks_for_ages_is_looked_at_again_before_the_orders_time_is_over() {
    let host = Host::new(&Setting {
        // More than a clock can hold.
        poll_pause: Some(Duration::from_secs(i64::MAX.unsigned_abs())),
        ..Setting::default()
    });
    let report = renew(&host, enough(), |_| {});
    assert_eq!(report.verdict(), Verdict::Well, "{}", in_words(&report));
    assert_eq!(host.ca.orders(), 1);
}

/// Names of domains that are all due at once
const MANY: [&str; 12] = [
    "a.rare-books.test",
    "b.rare-books.test",
    "c.rare-books.test",
    "d.rare-books.test",
    "e.rare-books.test",
    "f.rare-books.test",
    "g.rare-books.test",
    "h.rare-books.test",
    "i.rare-books.test",
    "j.rare-books.test",
    "k.rare-books.test",
    "l.rare-books.test",
];

#[test]
fn a_ca_that_lets_orders_hang_costs_one_more_time_out_after_the_first() {
    let host = Host::new(&Setting {
        domains: MANY.map(|name| vec![name]).to_vec(),
        ..Setting::default()
    });
    ca(&host, Call::NewOrder, Fault::Silent);
    let report = renew(&host, patience(), |_| {});
    let requests = host.ca.requests();
    let tried = requests.iter().filter(|line| *line == "POST /new-order");
    // Four at once, then the probe.
    assert_eq!(tried.count(), 5);
    let later: Vec<_> = report
        .domains
        .iter()
        .filter(|domain| domain.outcome.verdict() == Verdict::Later)
        .collect();
    assert_eq!(later.len(), 7);
    for domain in later {
        let finding = domain.findings.last().expect("a reason");
        assert_eq!(finding.code, "acme.unreachable");
        let words = "the CA test does not answer, and 7 domains wait for it: ";
        assert!(finding.evidence.starts_with(words), "{finding:?}");
    }
    host.behave();
    let report = renew(&host, Patience::USUAL, |_| {});
    assert_eq!(report.verdict(), Verdict::Well, "{}", in_words(&report));
}

#[test]
fn a_directory_that_is_lost_once_is_asked_for_again_within_the_run() {
    let host = Host::new(&Setting::default());
    host.ca
        .fault(Call::Directory, Times::Next(1), Fault::Silent);
    let report = renew(&host, patience(), |_| {});
    assert_eq!(report.verdict(), Verdict::Well, "{}", in_words(&report));
}

#[test]
fn an_engine_that_takes_too_long_is_given_up() {
    let delay = |title, code, begin| Delay {
        title,
        code,
        orders: 0,
        then: Verdict::Well,
        begin,
    };
    let delays = [
        delay("a list that never comes", "docker.timeout", |host| {
            engine(host, docker::Call::Inspect, Fault::Silent);
        }),
        delay("a command that hangs", "docker.timeout", |host| {
            engine(host, docker::Call::StartExec, Fault::Stalled);
        }),
        delay("a command without end", "docker.timeout", |host| {
            engine(host, docker::Call::StartExec, Fault::Endless);
        }),
        delay("a command that is too slow", "docker.timeout", |host| {
            engine(host, docker::Call::CreateExec, Fault::Slow(LITTLE * 2));
        }),
    ];
    compare("slow_engine", play_all(&delays, play));
}
