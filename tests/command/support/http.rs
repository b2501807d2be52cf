//! As much of HTTP/1.1 as the stubs need.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde_json::Value;

/// A request as it came in
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path without its query
    pub(crate) path: String,
    pub(crate) query: String,
    /// In lower case, as they came
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Method and path, such as `GET /directory`
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The value of a header, whose name is in lower case
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON, null where it is none
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let (mut length, mut headers) = (0, Vec::new());
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(':') else {
                break;
            };
            let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
            if name == "content-length" {
                length = value.parse().unwrap_or(0);
            }
            headers.push((name, value));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        Ok(Some(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body,
        }))
    }
}

/// What is answered
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A whole answer
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes as they are, and the end of the connection
    Raw(Vec<u8>),
    /// Nothing, until the client has gone
    Silence,
}

impl Reply {
    pub(crate) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole {
            status,
            headers: vec![("Content-Type".to_owned(), kind.to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// Answers requests on a connection until one side ends it
pub(crate) fn converse(
    stream: impl Read + Write,
    answer: impl Fn(&Request) -> Reply,
) -> io::Result<()> {
    let mut stream = BufReader::new(Both(stream));
    while let Some(request) = Request::read(&mut stream)? {
        let out = &mut stream.get_mut().0;
        match answer(&request) {
            Reply::Whole {
                status,
                headers,
                body,
            } => {
                write!(out, "HTTP/1.1 {status} Words\r\n")?;
                for (name, value) in headers {
                    write!(out, "{name}: {value}\r\n")?;
                }
                write!(out, "Content-Length: {}\r\n\r\n", body.len())?;
                if request.method != "HEAD" {
                    out.write_all(&body)?;
                }
                out.flush()?;
            }
            Reply::Raw(bytes) => {
                out.write_all(&bytes)?;
                return out.flush();
            }
            Reply::Silence => {
                stream.read_to_end(&mut Vec::new())?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A stream whose reading half is buffered and whose writing half is not
struct Both<S>(S);

impl<S: Read> Read for Both<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}
