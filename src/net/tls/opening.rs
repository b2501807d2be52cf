//! What is said in the clear before TLS begins: a mail server is asked for it, a server behind a
//! balancer wants to hear of whom it comes.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::facts::{ConnectFailure, Opening};
use crate::finding::excerpt;

/// Says what has to be said until the server awaits a TLS handshake
///
/// Not a byte of what follows is read: the handshake's are the next.
///
/// # Errors
/// [`ConnectFailure::NoStartTls`] with what the server said instead, [`ConnectFailure::Reset`]
/// where it hung up.
pub(crate) async fn open<S>(opening: Opening, stream: &mut S) -> Result<(), ConnectFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut dialogue = Dialogue { stream, read: 0 };
    match opening {
        Opening::Direct => Ok(()),
        // Version 1 of the header, from somebody whose address is not told.
        Opening::Proxied => dialogue.say("PROXY UNKNOWN").await,
        Opening::Smtp => {
            dialogue.expect(is_smtp_reply, "220").await?;
            dialogue.say("EHLO certd.invalid").await?;
            dialogue.expect(is_smtp_reply, "250").await?;
            dialogue.say("STARTTLS").await?;
            dialogue.expect(is_smtp_reply, "220").await
        }
        Opening::Imap => {
            dialogue.expect(|_| true, "* ").await?;
            dialogue.say("a STARTTLS").await?;
            dialogue.expect(|line| line.starts_with("a "), "a OK").await
        }
        Opening::Pop3 => {
            dialogue.expect(|_| true, "+OK").await?;
            dialogue.say("STLS").await?;
            dialogue.expect(|_| true, "+OK").await
        }
    }
}

/// Whether a line is the last of a reply (RFC 5321 section 4.2.1): `250-` has more to come
fn is_smtp_reply(line: &str) -> bool {
    line.as_bytes().get(3) != Some(&b'-')
}

struct Dialogue<'s, S> {
    stream: &'s mut S,
    /// Bytes that the server has said so far
    read: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<'_, S> {
    async fn say(&mut self, words: &str) -> Result<(), ConnectFailure> {
        let line = format!("{words}\r\n");
        let said = self.stream.write_all(line.as_bytes()).await;
        said.map_err(|_| ConnectFailure::Reset)
    }

    /// Reads up to the line that is the answer, which must begin so
    async fn expect(
        &mut self,
        is_answer: impl Fn(&str) -> bool,
        beginning: &str,
    ) -> Result<(), ConnectFailure> {
        loop {
            let line = self.line().await?;
            if !is_answer(&line) {
                continue;
            }
            return match line
                .to_ascii_uppercase()
                .starts_with(&beginning.to_ascii_uppercase())
            {
                true => Ok(()),
                false => Err(ConnectFailure::NoStartTls(excerpt(&line, MOST_WORDS))),
            };
        }
    }

    /// The next line, without its end
    ///
    /// Byte by byte, so that nothing of the handshake is taken.
    async fn line(&mut self) -> Result<String, ConnectFailure> {
        let mut line = Vec::new();
        loop {
            // Lines without end count as a line without one.
            if self.read == MOST_READ {
                return Err(ConnectFailure::NoStartTls("it never ends".to_owned()));
            }
            let byte = self.stream.read_u8().await;
            let byte = byte.map_err(|_| ConnectFailure::Reset)?;
            self.read += 1;
            if byte == b'\n' {
                break;
            }
            line.push(byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// Bytes that a server may say before TLS begins: greetings and lists of abilities are short
pub(crate) const MOST_READ: usize = 16 * 1024;
/// Characters that are shown of a refusal
pub(crate) const MOST_WORDS: usize = 100;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::runtime::Builder;

    use super::*;

    /// What comes of an opening where the server says all this at once
    fn check(opening: Opening, server: &str, expected: Result<(), ConnectFailure>) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut here, mut there) = duplex(64 * 1024);
            there.write_all(server.as_bytes()).await.unwrap();
            there.write_all(b"\x16").await.unwrap();
            if expected == Err(ConnectFailure::Reset) {
                there.shutdown().await.unwrap();
            }
            assert_eq!(open(opening, &mut here).await, expected, "{server:?}");
            if expected.is_ok() {
                assert_eq!(here.read_u8().await.unwrap(), 0x16);
            }
        });
    }

    #[test]
    fn tls_begins_right_after_the_servers_consent() {
        check(Opening::Direct, "", Ok(()));
        let smtp = "220-mail.test\r\n220 ESMTP\r\n250-mail.test\r\n250 STARTTLS\r\n220 Go\r\n";
        check(Opening::Smtp, smtp, Ok(()));
        check(Opening::Smtp, &smtp.replace('\r', ""), Ok(()));
        check(
            Opening::Imap,
            "* OK ready\r\n* note\r\na ok begin\r\n",
            Ok(()),
        );
        check(Opening::Pop3, "+OK ready\r\n+OK begin\r\n", Ok(()));
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        #[track_caller]
        fn refused(opening: Opening, server: &str, words: &str) {
            let expected = ConnectFailure::NoStartTls(words.to_owned());
            check(opening, server, Err(expected));
        }
        refused(Opening::Smtp, "554 go away\r\n", "554 go away");
        let no_tls = "220 hi\r\n250 mail.test\r\n502 not \u{1b}implemented\r\n";
        refused(Opening::Smtp, no_tls, "502 not \\u{1b}implemented");
        refused(Opening::Imap, "* OK\r\na BAD what\r\n", "a BAD what");
        refused(Opening::Pop3, "-ERR busy\r\n", "-ERR busy");
        let endless = "x".repeat(MOST_READ + 1);
        refused(Opening::Pop3, &endless, "it never ends");
    }

    #[test]
    fn empty_lines_without_end_are_not_read_for_ever() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut here, mut there) = duplex(64 * 1024);
            let server = format!("* OK\n{}", "\n".repeat(2 * MOST_READ));
            there.write_all(server.as_bytes()).await.unwrap();
            there.shutdown().await.unwrap();
            let endless = ConnectFailure::NoStartTls("it never ends".to_owned());
            assert_eq!(open(Opening::Imap, &mut here).await, Err(endless));
            let mut rest = Vec::new();
            here.read_to_end(&mut rest).await.unwrap();
            assert_eq!(server.len() - rest.len(), MOST_READ);
        });
    }

    #[test]
    fn a_server_that_hangs_up_is_a_reset() {
        check(Opening::Smtp, "220 hi\r\n", Err(ConnectFailure::Reset));
        // The byte after it is no line.
        check(Opening::Imap, "", Err(ConnectFailure::Reset));
    }
}
