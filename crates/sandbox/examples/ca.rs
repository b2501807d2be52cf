//! A CA for the CI of any ACME client: every name below `test` is on this machine.
//!
//! ```sh
//! cargo run --package certd-sandbox --example ca -- 5002 /tmp/root.pem &
//! ```
//!
//! It fetches tokens from port 5002, writes the root that clients are to trust, prints the URL of
//! its directory, and serves until it is ended.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example reads the clock, writes the root and prints"
)]

use std::error::Error;
use std::fs;
use std::future::pending;
use std::net::Ipv4Addr;

use certd_sandbox::Clock;
use certd_sandbox::acme::{Ca, Options};
use certd_sandbox::dns::{Record, Server, Zone};
use jiff::Timestamp;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, root] = arguments.as_slice() else {
        return Err("say the port of tokens and the file of the root: 5002 /tmp/root.pem".into());
    };
    let zone = Zone::new();
    zone.add("*.test", Record::A(Ipv4Addr::LOCALHOST));
    let dns = Server::start("127.0.0.1:0".parse()?, zone).await?;
    let clock = Clock::new(Timestamp::now);
    let ca = Ca::start(Options::new(clock, dns.address(), port.parse()?)).await?;
    fs::write(root, ca.root_pem())?;
    println!("{}", ca.directory());
    pending().await
}
