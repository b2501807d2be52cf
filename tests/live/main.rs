//! The live suite: certd against real ACME CAs and a real nginx in a real container, and other
//! ACME clients against the CA of the sandbox.
//!
//! A test in which a CA takes part runs at Pebble and at the sandbox's CA. One that is about
//! containers, mounts or what is served runs at Pebble alone: the CA makes no difference there.
//!
//! `tests/run.sh` brings what it needs and sets CERTD_LIVE. Without that variable every test is
//! listed as ignored, and in CI that is a failure.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod support;

mod advice;
mod authority;
mod check;
mod complaints;
mod containers;
mod daemon;
mod demo;
mod deploy;
mod examples;
mod failures;
mod families;
mod interop;
mod issuance;
mod modes;
mod mounts;
mod network;
mod networks;
mod oracle;
mod places;
mod reload;
mod rollback;
mod shared;
mod signals;
mod store;
mod traffic;
mod units;
mod verify;
mod why;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests wait for containers and CAs far more than they compute.
    arguments.test_threads.get_or_insert(THREADS);
    let live = std::env::var_os("CERTD_LIVE").is_some();
    let trials: Vec<Trial> = [
        advice::trials(),
        authority::trials(),
        check::trials(),
        complaints::trials(),
        containers::trials(),
        daemon::trials(),
        demo::trials(),
        deploy::trials(),
        examples::trials(),
        failures::trials(),
        families::trials(),
        interop::trials(),
        issuance::trials(),
        modes::trials(),
        mounts::trials(),
        network::trials(),
        networks::trials(),
        oracle::trials(),
        places::trials(),
        reload::trials(),
        rollback::trials(),
        shared::trials(),
        signals::trials(),
        store::trials(),
        traffic::trials(),
        units::trials(),
        verify::trials(),
        why::trials(),
    ]
    .into_iter()
    .flatten()
    .map(|trial| trial.with_ignored_flag(!live))
    .collect();
    let count = trials.len();
    let left_out = !live && !arguments.list && !arguments.ignored && !arguments.include_ignored;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if left_out {
        return say_left_out(count);
    }
    conclusion.exit_code()
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests must see it")]
fn say_left_out(count: usize) -> ExitCode {
    eprintln!("{count} live tests were left out: tests/run.sh runs them (CERTD_LIVE is not set)");
    if std::env::var_os("CI").is_some() {
        eprintln!("leaving them out in CI is a failure");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Tests at once, where nothing else is asked for
const THREADS: usize = 6;

/// The trials of these functions, named by module and function
macro_rules! trials {
    ($($function:ident),* $(,)?) => {{
        let module = module_path!().trim_start_matches("live::");
        vec![$(libtest_mimic::Trial::test(
            format!("{module}::{}", stringify!($function)),
            || {
                $function();
                Ok(())
            },
        )),*]
    }};
}
pub(crate) use trials;

/// The same with each kind of CA, whose name stands between module and function
macro_rules! trials_at_each_ca {
    ($($function:ident),* $(,)?) => {{
        let module = module_path!().trim_start_matches("live::");
        let at = |ca: crate::support::ca::Kind| [$(libtest_mimic::Trial::test(
            format!("{module}::{ca}::{}", stringify!($function)),
            move || {
                $function(ca);
                Ok(())
            },
        )),*];
        crate::support::ca::KINDS.into_iter().flat_map(at).collect::<Vec<_>>()
    }};
}
pub(crate) use trials_at_each_ca;
