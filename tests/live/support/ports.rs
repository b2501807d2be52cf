//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// A loopback port that was free for TCP and UDP a moment ago, and is given out once
///
/// The ports lie below the kernel's ephemeral range: a connection made while
/// the test runs cannot take one between this call and its use.
pub(crate) fn free() -> u16 {
    let start = std::process::id().wrapping_mul(97) % COUNT;
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + ((start + next) % COUNT) as u16;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port from {FIRST} on")
}

static NEXT: AtomicU32 = AtomicU32::new(0);

const FIRST: u16 = 20_000;
const COUNT: u32 = 12_000;
