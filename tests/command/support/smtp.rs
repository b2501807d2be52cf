//! As much of SMTP as a mail needs: STARTTLS or TLS from the first byte, a login, and refusals.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::server::Server;

/// A mail as it was handed over
#[derive(Clone, Debug, Default)]
pub(crate) struct Letter {
    /// What the client called itself
    pub(crate) hello: String,
    /// Whether it came over TLS
    pub(crate) is_protected: bool,
    /// Name and password of the login
    pub(crate) login: Option<(String, String)>,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    /// Head and body, lines ended by LF
    pub(crate) text: String,
}

/// How a server is
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// TLS, where it has any
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whether TLS begins with the first byte
    pub(crate) is_implicit: bool,
    /// Recipients that it does not know
    pub(crate) unknown: &'static [&'static str],
    /// The password that it wants
    pub(crate) password: Option<&'static str>,
    /// Whether it hangs up where a client would part
    pub(crate) hangs_up: bool,
}

/// A listening server, stopped on drop
pub(crate) struct Smtp {
    pub(crate) server: Server,
    letters: Arc<Mutex<Vec<Letter>>>,
}

impl Smtp {
    pub(crate) fn start(manner: Manner) -> Self {
        let letters = Arc::<Mutex<Vec<Letter>>>::default();
        let kept = letters.clone();
        let server = Server::start(move |stream| {
            // A client that has enough ends the conversation with an error.
            let _ = serve(stream, &manner, &kept);
        });
        Self { server, letters }
    }

    /// The mails that were taken
    pub(crate) fn letters(&self) -> Vec<Letter> {
        let letters = self.letters.lock();
        letters.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, manner: &Manner, letters: &Mutex<Vec<Letter>>) -> io::Result<()> {
    let mut talk = Talk {
        manner,
        letters,
        letter: Letter::default(),
    };
    if !manner.is_implicit {
        stream.write_all(b"220 smtp.test ESMTP\r\n")?;
        if talk.hold(&mut stream)? == End::Over {
            return Ok(());
        }
    }
    let Some(tls) = &manner.tls else {
        return Ok(());
    };
    let tls = ServerConnection::new(tls.clone()).expect("the configuration is sound");
    let mut stream = StreamOwned::new(tls, stream);
    talk.letter.is_protected = true;
    if manner.is_implicit {
        stream.write_all(b"220 smtp.test ESMTP\r\n")?;
    }
    talk.hold(&mut stream).map(drop)
}

#[derive(PartialEq, Eq)]
enum End {
    Over,
    Protected,
}

struct Talk<'t> {
    manner: &'t Manner,
    letters: &'t Mutex<Vec<Letter>>,
    letter: Letter,
}

impl Talk<'_> {
    fn hold(&mut self, stream: &mut (impl Read + Write)) -> io::Result<End> {
        while let Some(line) = line(stream)? {
            let (word, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
            let reply = match word.to_ascii_uppercase().as_str() {
                "EHLO" => self.greet(rest),
                "STARTTLS" => {
                    stream.write_all(b"220 go on\r\n")?;
                    return Ok(End::Protected);
                }
                "AUTH" => self.log_in(rest),
                "MAIL" => {
                    self.letter.sender = address(rest);
                    "250 ok".to_owned()
                }
                "RCPT" => self.name(&address(rest)),
                "DATA" => {
                    stream.write_all(b"354 go on\r\n")?;
                    self.letter.text = text(stream)?;
                    let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
                    letters.push(self.letter.clone());
                    "250 taken".to_owned()
                }
                "QUIT" if self.manner.hangs_up => return Ok(End::Over),
                "QUIT" => "221 bye".to_owned(),
                _ => "500 what?".to_owned(),
            };
            stream.write_all(format!("{reply}\r\n").as_bytes())?;
        }
        Ok(End::Over)
    }

    fn greet(&mut self, name: &str) -> String {
        self.letter.hello = name.to_owned();
        match (&self.manner.tls, self.letter.is_protected) {
            (Some(_), false) => "250-smtp.test\r\n250 STARTTLS".to_owned(),
            _ => "250-smtp.test\r\n250 AUTH PLAIN LOGIN".to_owned(),
        }
    }

    /// `PLAIN` with its initial response (RFC 4616); what is wrong is repeated, as some servers do
    fn log_in(&mut self, rest: &str) -> String {
        let encoded = rest.split_whitespace().nth(1).unwrap_or_default();
        let response = BASE64_STANDARD.decode(encoded).unwrap_or_default();
        let response = String::from_utf8(response).unwrap_or_default();
        let mut parts = response.split('\0').skip(1).map(ToOwned::to_owned);
        let login = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let is_right = self.manner.password.is_none_or(|wanted| wanted == login.1);
        let reply = match is_right {
            true => "235 welcome".to_owned(),
            false => format!(
                "535 5.7.8 {} with {} is wrong ({encoded})",
                login.0, login.1
            ),
        };
        self.letter.login = Some(login);
        reply
    }

    fn name(&mut self, recipient: &str) -> String {
        if self.manner.unknown.contains(&recipient) {
            return "550 5.1.1 no such user here".to_owned();
        }
        self.letter.recipients.push(recipient.to_owned());
        "250 ok".to_owned()
    }
}

fn address(argument: &str) -> String {
    let (_, rest) = argument.split_once('<').unwrap_or_default();
    rest.split('>').next().unwrap_or_default().to_owned()
}

fn text(stream: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    while let Some(line) = line(stream)?.filter(|line| line != ".") {
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push('\n');
    }
    Ok(text)
}

/// One line without its end; byte by byte, because TLS may begin behind it
fn line(stream: &mut impl Read) -> io::Result<Option<String>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte)? == 1 {
        match byte[0] {
            b'\n' => return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned())),
            byte => line.push(byte),
        }
    }
    Ok(None)
}
