//! certd as an operator meets it: the whole command, with clean environment, in a directory of
//! its own.
//!
//! Nothing here needs root, Docker, a CA or DNS. What certd talks to is made up on the loopback:
//! TLS servers with any chain, a Docker API on a Unix socket, a CA over HTTPS.

#![expect(
    clippy::disallowed_methods,
    reason = "a test makes its own files, as an operator would"
)]

#[macro_use]
mod support;

mod acme;
mod apart;
mod check;
mod clock;
mod config;
mod costs;
mod daemon;
mod demo;
mod docker;
mod examples;
mod faults;
mod formats;
mod hostile;
mod notify;
mod obtain;
mod proxy;
mod reload;
mod renew;
mod resume;
mod sights;
mod simulate;
mod status;
mod targets;
mod usage;
mod verdicts;
mod verify;
mod why;
mod year;
