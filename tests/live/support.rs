//! The parts that the live suite is played with: a DNS server, an ACME CA,
//! nginx in a container, a directory for one certd, and an oracle.
//!
//! A live test makes a [`world::World`], starts what it needs beside it, writes
//! a domains.toml, runs certd and judges what it finds with [`served`]. All of
//! it listens on loopback and ends with the value that started it. A harness
//! failure panics with what the failing part said.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests write the files that certd reads, at the time of day"
)]

pub(crate) mod ca;
pub(crate) mod client;
pub(crate) mod conf;
pub(crate) mod dns;
pub(crate) mod fake_ca;
pub(crate) mod network;
pub(crate) mod nginx;
pub(crate) mod pebble;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod report;
pub(crate) mod sandbox;
pub(crate) mod scene;
pub(crate) mod second_engine;
pub(crate) mod served;
pub(crate) mod tree;
pub(crate) mod world;

/// Writes a file
#[track_caller]
pub(crate) fn write(path: impl AsRef<std::path::Path>, content: impl AsRef<[u8]>) {
    let path = path.as_ref();
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

pub(crate) fn a_minute_ago() -> jiff::Timestamp {
    jiff::Timestamp::now() - jiff::SignedDuration::from_mins(1)
}
