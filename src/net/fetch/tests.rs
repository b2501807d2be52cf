use std::sync::Mutex;

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);
const IMPATIENCE: Duration = Duration::from_millis(200);
const URL: &str = "http://shop.test/.well-known/acme-challenge/t?x=1";

/// What a server does with a connection
#[derive(Clone)]
enum Manner {
    /// Reads the request and says this
    Says(Vec<u8>),
    /// The same over TLS
    SaysInTls(Vec<u8>),
    /// Says this first, as a mail server does
    Greets(&'static [u8]),
    /// Reads the request and hangs up
    HangsUp,
    /// Hangs up at once
    Drops,
    /// Says nothing, ever
    IsSilent,
}

struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hearing = heard.clone();
        let serving = tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                match &manner {
                    Manner::Says(answer) => {
                        let request = say(&mut stream, answer).await;
                        hearing.lock().expect("no panic").push(request);
                    }
                    Manner::SaysInTls(answer) => {
                        if let Ok(mut stream) = acceptor().accept(stream).await {
                            say(&mut stream, answer).await;
                        }
                    }
                    Manner::Greets(greeting) => {
                        let _ = stream.write_all(greeting).await;
                        // A process may have few files open, and those before are over.
                        silent.clear();
                        silent.push(stream);
                    }
                    Manner::HangsUp => drop(read(&mut stream).await),
                    Manner::Drops => drop(stream),
                    Manner::IsSilent => silent.push(stream),
                }
            }
        });
        Self {
            address,
            heard,
            serving,
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
    String::from_utf8(request).expect("text")
}

async fn say(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &[u8]) -> String {
    let request = read(stream).await;
    // A client that has enough may be gone.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    request
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["another.test".to_owned()]).expect("a pair");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a pair");
    TlsAcceptor::from(Arc::new(config))
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn says(answer: &str) -> Manner {
    Manner::Says(answer.as_bytes().to_vec())
}

async fn fetch(url: &str, server: &Server, patience: Duration) -> Result<Reply, FetchFailure> {
    let fetcher = Fetcher::new(Arc::new(provider()), patience);
    let url = url.parse().expect("a URL");
    fetcher.fetch(&url, server.address).await
}

#[tokio::test]
async fn the_request_names_the_host_and_not_the_address() {
    let server = Server::start(says("HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\ntoken\n")).await;
    let reply = fetch(URL, &server, PATIENCE).await;
    assert_eq!(
        reply,
        Ok(Reply {
            status: 200,
            server: Some("nginx".to_owned()),
            hsts: None,
            date: None,
            location: None,
            body: b"token\n".to_vec(),
        })
    );
    let heard = server.heard.lock().unwrap().clone();
    let lines: Vec<&str> = heard[0].lines().collect();
    assert_eq!(lines[0], "GET /.well-known/acme-challenge/t?x=1 HTTP/1.1");
    assert!(lines.contains(&"host: shop.test"), "{lines:?}");
    assert!(lines.contains(&"accept: */*"), "{lines:?}");
}

#[tokio::test]
async fn each_failure_is_told_apart() {
    let check = async |manner, patience, expected: FetchFailure| {
        let server = Server::start(manner).await;
        assert_eq!(fetch(URL, &server, patience).await, Err(expected));
    };
    check(
        Manner::HangsUp,
        PATIENCE,
        FetchFailure::Closed(URL.to_owned()),
    )
    .await;
    check(
        Manner::Drops,
        PATIENCE,
        FetchFailure::Closed(URL.to_owned()),
    )
    .await;
    check(
        Manner::IsSilent,
        IMPATIENCE,
        FetchFailure::TimedOut(URL.to_owned()),
    )
    .await;
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort";
    check(says(cut), PATIENCE, FetchFailure::Closed(URL.to_owned())).await;
    let server = Server::start(says("SSH-2.0-OpenSSH_9.6\r\n")).await;
    let failure = fetch(URL, &server, PATIENCE).await;
    assert!(
        matches!(failure, Err(FetchFailure::NotHttp(_))),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_speaks_first_is_no_http_whoever_is_faster() {
    let server = Server::start(Manner::Greets(b"220 mail.test ESMTP\r\n")).await;
    for _ in 0..500 {
        let failure = fetch(URL, &server, PATIENCE).await;
        assert!(
            matches!(failure, Err(FetchFailure::NotHttp(_))),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn nothing_that_listens_is_a_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fetcher = Fetcher::new(Arc::new(provider()), PATIENCE);
    let failure = fetcher.fetch(&URL.parse().unwrap(), address).await;
    let expected = FetchFailure::Connect(URL.to_owned(), ConnectFailure::Refused);
    assert_eq!(failure, Err(expected));
}

#[tokio::test]
async fn what_a_server_sends_is_kept_within_bounds() {
    let body = "x".repeat(1 << 20);
    let server = "s".repeat(5_000);
    let answer = format!(
        "HTTP/1.1 302 Found\r\nServer: {server}\r\nLocation: http://b\u{fc}cher.test/\u{1b}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Such a control character is against HTTP in a header, and refused by the library.
    let clean = answer.replace('\u{1b}', "");
    let reply = fetch(URL, &Server::start(says(&clean)).await, PATIENCE)
        .await
        .unwrap();
    assert_eq!(reply.body.len(), MOST_BODY);
    let kept = reply.server.unwrap();
    assert_eq!(kept.chars().count(), MOST_SERVER + 1);
    assert_eq!(reply.location.as_deref(), Some("http://b\u{fc}cher.test/"));
    let failure = fetch(URL, &Server::start(says(&answer)).await, PATIENCE).await;
    assert!(
        matches!(failure, Err(FetchFailure::NotHttp(_))),
        "{failure:?}"
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
        "x".repeat(2 * MOST_HEAD)
    );
    let failure = fetch(URL, &Server::start(says(&head)).await, PATIENCE).await;
    assert!(
        matches!(failure, Err(FetchFailure::NotHttp(_))),
        "{failure:?}"
    );
}

#[tokio::test]
async fn tls_is_spoken_with_anyone() {
    let url = "https://shop.test/t";
    let answer = b"HTTP/1.1 200 OK\r\n\r\ntoken".to_vec();
    let server = Server::start(Manner::SaysInTls(answer)).await;
    assert_eq!(fetch(url, &server, PATIENCE).await.unwrap().body, b"token");
    let plain = Server::start(says("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let expected = |failure| Err(FetchFailure::Connect(url.to_owned(), failure));
    // It reads a handshake as a request that never ends.
    assert_eq!(
        fetch(url, &Server::start(Manner::Drops).await, PATIENCE).await,
        expected(ConnectFailure::Reset)
    );
    let failure = fetch(url, &plain, IMPATIENCE).await;
    assert_eq!(failure, Err(FetchFailure::TimedOut(url.to_owned())));
}
