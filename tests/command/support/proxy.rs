//! A proxy on the loopback: tunnels for CONNECT, and requests that name the whole URL.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::Server;

/// A proxy that wants this login, and remembers what it was asked for
pub(crate) struct Proxy {
    server: Server,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let notes = asked.clone();
        let server = Server::start(move |client| {
            // A client that has gone away is no failure of the proxy's.
            let _ = serve(client, &notes);
        });
        Self { server, asked }
    }

    /// Its URL, with the login that it wants
    pub(crate) fn url(&self) -> String {
        format!("http://{LOGIN}@{}", self.server.address)
    }

    /// Methods and targets of the requests so far, sorted, each once
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

fn serve(mut client: TcpStream, notes: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    if !head.to_ascii_lowercase().contains(ENCODED) {
        return client.write_all(b"HTTP/1.1 407 Login\r\ncontent-length: 0\r\n\r\n");
    }
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    notes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(format!("{method} {target}"));
    let server = match method {
        "CONNECT" => {
            let server = TcpStream::connect(target)?;
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            server
        }
        _ => {
            let whole = target.strip_prefix("http://").unwrap_or_default();
            let (authority, path) = whole.split_once('/').unwrap_or((whole, ""));
            let mut server = TcpStream::connect(authority)?;
            let head = head.replacen(target, &format!("/{path}"), 1);
            server.write_all(head.as_bytes())?;
            server
        }
    };
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upstream = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    let _ = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = upstream.join();
    Ok(())
}

/// A user and a password
const LOGIN: &str = "certd:s3cret";
/// The same in base64, in small letters
const ENCODED: &str = "proxy-authorization: basic y2vydgq6cznjcmv0";
