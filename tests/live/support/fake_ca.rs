//! A CA in trouble: an HTTPS server that answers what a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::pebble::write_api_certificate;
use super::ports;

/// What the server does with a request
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This status line, these headers and this body
    Reply {
        /// Such as `503 Service Unavailable`
        status: &'static str,
        /// Each `Name: value`
        headers: Vec<String>,
        /// The body
        body: String,
    },
    /// Nothing, as long as the client waits
    Silence,
}

impl Answer {
    /// JSON, or a problem document
    pub(crate) fn json(status: &'static str, headers: &[&str], body: &serde_json::Value) -> Self {
        let kind = match body.get("type") {
            Some(_) => "application/problem+json",
            None => "application/json",
        };
        let mut headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
        headers.push(format!("Content-Type: {kind}"));
        Self::Reply {
            status,
            headers,
            body: body.to_string(),
        }
    }

    /// A page as a balancer sends it
    pub(crate) fn html(status: &'static str, headers: &[&str], body: &str) -> Self {
        let mut headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
        headers.push("Content-Type: text/html".to_owned());
        Self::Reply {
            status,
            headers,
            body: body.to_owned(),
        }
    }
}

/// The server
#[derive(Debug)]
pub(crate) struct FakeCa {
    dir: TempDir,
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl FakeCa {
    /// A server that answers each request, `GET /dir` say, with what `answer` makes of it
    ///
    /// The second argument of `answer` is the server's URL, without a slash at its end.
    pub(crate) fn start(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        write_api_certificate(dir.path());
        let tls = Arc::new(server_config(&dir));
        let answer = Arc::new(answer);
        Self::listen(dir, move |stream, requests, url| {
            let tls = ServerConnection::new(Arc::clone(&tls)).map_err(io::Error::other)?;
            serve(StreamOwned::new(tls, stream), &*answer, requests, url)
        })
    }

    /// A server that accepts connections and never sends a byte, not even of TLS
    pub(crate) fn mute() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        write_api_certificate(dir.path());
        Self::listen(dir, |mut stream, _, _| {
            io::copy(&mut stream, &mut io::sink()).map(|_| ())
        })
    }

    fn listen(
        dir: TempDir,
        handle: impl Fn(TcpStream, &Mutex<Vec<String>>, &str) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let port = ports::free();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (seen, stop) = (Arc::clone(&requests), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (handle, seen) = (handle.clone(), Arc::clone(&seen));
                // A client that hangs up is none of the server's concern.
                thread::spawn(move || handle(stream, &seen, &format!("https://localhost:{port}")));
            }
        });
        Self {
            dir,
            port,
            requests,
            stopped,
        }
    }

    /// Its port
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its directory URL
    pub(crate) fn directory_url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The CA that it is trusted by
    pub(crate) fn trust_pem_path(&self) -> PathBuf {
        self.dir.path().join("api-ca.pem")
    }

    /// Every request so far, as `METHOD /path`
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic holds it").clone()
    }
}

impl Drop for FakeCa {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Only a connection wakes the thread up.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn server_config(dir: &TempDir) -> ServerConfig {
    let file = |name| dir.path().join(name);
    let certificate = CertificateDer::from_pem_file(file("api.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(file("api.key")).expect("a key");
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a key that matches")
}

/// Answers requests until the client has enough
fn serve(
    stream: StreamOwned<ServerConnection, TcpStream>,
    answer: &dyn Fn(&str, &str) -> Answer,
    requests: &Mutex<Vec<String>>,
    url: &str,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream)? {
        requests
            .lock()
            .expect("no panic holds it")
            .push(request.clone());
        let Answer::Reply {
            status,
            headers,
            body,
        } = answer(&request, url)
        else {
            return io::copy(&mut stream, &mut io::sink()).map(|_| ());
        };
        let headers: String = headers
            .iter()
            .map(|header| format!("{header}\r\n"))
            .collect();
        let body = match request.starts_with("HEAD ") {
            true => String::new(),
            false => body,
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        stream.get_mut().write_all((head + &body).as_bytes())?;
        stream.get_mut().flush()?;
    }
    Ok(())
}

/// The next request's method and path, its body read and dropped; `None` at the end
fn read_request(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut first = String::new();
    if stream.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    io::copy(&mut stream.take(length), &mut io::sink())?;
    let words: Vec<&str> = first.split(' ').take(2).collect();
    Ok(Some(words.join(" ")))
}
