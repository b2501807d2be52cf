//! A ClientHello to learn what a server would choose that rustls has no handshake with.
//!
//! rustls has neither the versions before TLS 1.2 nor suites without forward secrecy or an AEAD, and
//! of the groups for a key exchange those that Chrome has.
//! Only the first message is sent, and only the server's choice is read: a certificate that came
//! over such a connection proves nothing.

use rustls::CipherSuite;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::facts::ConnectFailure;

/// What the server chooses of versions and suites that are not offered otherwise
///
/// `None` where it wants none of these either.
pub(crate) async fn choice_of_old<S>(name: &str, stream: &mut S) -> Option<ConnectFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let [major, minor] = choice(name, &OLD, stream).await?;
    let session = stream.read_u8().await.ok()?;
    // At most 32 bytes (RFC 5246 section 7.4.1.3), which end before the suite.
    let mut session_id = vec![0; usize::from(session.min(32))];
    stream.read_exact(&mut session_id).await.ok()?;
    let suite = CipherSuite::from(stream.read_u16().await.ok()?);
    Some(match (major, minor) {
        (3, 0) => ConnectFailure::OldProtocol("SSLv3".to_owned()),
        (3, 1) => ConnectFailure::OldProtocol("TLSv1.0".to_owned()),
        (3, 2) => ConnectFailure::OldProtocol("TLSv1.1".to_owned()),
        _ => ConnectFailure::OtherCipher(match suite.as_str() {
            Some(name) => name.to_owned(),
            None => format!("0x{:04x}", u16::from(suite)),
        }),
    })
}

/// Whether the server would go on if it were offered groups for the key exchange beside those that
/// rustls and Chrome have: all else is as they offer it
pub(crate) async fn wants_other_group<S>(name: &str, stream: &mut S) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    choice(name, &OTHER_GROUPS, stream).await.is_some()
}

/// The version in the server's answer to a hello, if it goes on with the handshake
async fn choice<S>(name: &str, offer: &Offer, stream: &mut S) -> Option<[u8; 2]>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&client_hello(name, offer)).await.ok()?;
    let mut head = [0; RECORD + HANDSHAKE + VERSION_AND_RANDOM];
    stream.read_exact(&mut head).await.ok()?;
    let [
        HANDSHAKE_RECORD,
        _,
        _,
        _,
        _,
        SERVER_HELLO,
        _,
        _,
        _,
        major,
        minor,
        ..,
    ] = head
    else {
        return None;
    };
    Some([major, minor])
}

/// What a hello offers
struct Offer {
    suites: &'static [u16],
    groups: &'static [u16],
    signatures: &'static [u16],
    /// Versions for the extension that TLS 1.3 brought (RFC 8446 section 4.2.1); none sends it not
    versions: &'static [u16],
}

/// As RFC 5246 section 7.4.1.2 and RFC 8446 section 4.1.2 describe it
fn client_hello(name: &str, offer: &Offer) -> Vec<u8> {
    let mut extensions = Vec::new();
    if name.parse::<std::net::IpAddr>().is_err() {
        let mut server_name = vec![0];
        server_name.extend(with_length(name.as_bytes()));
        extensions.extend(extension(0, &with_length(&server_name)));
    }
    extensions.extend(extension(10, &with_length(&bytes(offer.groups))));
    // Uncompressed points alone.
    extensions.extend(extension(11, &[1, 0]));
    extensions.extend(extension(13, &with_length(&bytes(offer.signatures))));
    let versions = bytes(offer.versions);
    if let Ok(length @ 1..) = u8::try_from(versions.len()) {
        extensions.extend(extension(43, &[&[length], versions.as_slice()].concat()));
        // No share of a key: the server says first which group it wants.
        extensions.extend(extension(51, &[0, 0]));
    }
    // Its content matters to nobody: no key is ever made of it.
    let mut hello = vec![3, 3];
    hello.extend([0x43; 32]);
    hello.push(0);
    hello.extend(with_length(&bytes(offer.suites)));
    hello.extend([1, 0]);
    hello.extend(with_length(&extensions));
    let mut handshake = vec![1, 0];
    handshake.extend(with_length(&hello));
    let mut record = vec![HANDSHAKE_RECORD, 3, 1];
    record.extend(with_length(&handshake));
    record
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(content)].concat()
}

/// The bytes, after their number in two bytes; a name has 253 at most, and the rest is constant
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn bytes(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

const RECORD: usize = 5;
const HANDSHAKE: usize = 4;
const VERSION_AND_RANDOM: usize = 34;
const HANDSHAKE_RECORD: u8 = 22;
const SERVER_HELLO: u8 = 2;

/// What servers of the last twenty years may have beside what rustls has, the better ones first:
/// ECDHE with CBC, DHE, static RSA, 3DES, RC4; the last is no suite, but asks for nothing unusual
/// in renegotiations (RFC 5746 section 3.3)
const OLD: Offer = Offer {
    suites: &[
        0xc024, 0xc028, 0xc023, 0xc027, 0xc00a, 0xc014, 0xc009, 0xc013, 0x009f, 0x009e, 0x006b,
        0x0067, 0x0039, 0x0033, 0x009d, 0x009c, 0x003d, 0x003c, 0x0035, 0x002f, 0xc012, 0x0016,
        0x000a, 0x0005, 0x00ff,
    ],
    // x25519, secp256r1, secp384r1, secp521r1
    groups: &[0x001d, 0x0017, 0x0018, 0x0019],
    // ECDSA, RSA-PSS and RSA over SHA-256 to SHA-512, then over SHA-1
    signatures: &[
        0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201,
    ],
    versions: &[],
};
/// The suites and groups of rustls, then secp521r1, x448, the curves of Brainpool, and finite fields
/// (RFC 7919)
///
/// Those of rustls do not lead to a choice of their own: a server that takes one has not refused. They
/// tell that a certificate with such a key is welcome.
const OTHER_GROUPS: Offer = Offer {
    suites: &[
        0x1302, 0x1301, 0x1303, 0xc02c, 0xc02b, 0xc030, 0xc02f, 0xcca9, 0xcca8, 0x00ff,
    ],
    groups: &[
        0x001d, 0x0017, 0x0018, 0x0019, 0x001e, 0x001a, 0x001b, 0x001c, 0x001f, 0x0020, 0x0021,
        0x0100, 0x0101,
    ],
    signatures: &[
        0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601,
    ],
    versions: &[0x0304, 0x0303],
};

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::runtime::Builder;

    use super::*;

    fn server_hello(version: [u8; 2], session: &[u8], suite: u16) -> Vec<u8> {
        let mut hello = version.to_vec();
        hello.extend([7; 32]);
        hello.push(u8::try_from(session.len()).unwrap());
        hello.extend(session);
        hello.extend(suite.to_be_bytes());
        hello.push(0);
        let mut handshake = vec![SERVER_HELLO, 0];
        handshake.extend(with_length(&hello));
        let mut record = vec![HANDSHAKE_RECORD, 3, 1];
        record.extend(with_length(&handshake));
        record
    }

    #[track_caller]
    fn check(server: &[u8], expected: Option<ConnectFailure>) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut here, mut there) = duplex(4096);
            there.write_all(server).await.unwrap();
            there.shutdown().await.unwrap();
            assert_eq!(choice_of_old("a.test", &mut here).await, expected);
        });
    }

    #[test]
    fn a_servers_choice_is_told_by_its_name() {
        let old = |version: &str| Some(ConnectFailure::OldProtocol(version.to_owned()));
        let other = |suite: &str| Some(ConnectFailure::OtherCipher(suite.to_owned()));
        check(&server_hello([3, 1], &[], 0x002f), old("TLSv1.0"));
        check(&server_hello([3, 2], &[1; 32], 0x0035), old("TLSv1.1"));
        let cbc = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
        check(&server_hello([3, 3], &[1; 32], 0xc013), other(cbc));
        check(&server_hello([3, 3], &[], 0xfafa), other("0xfafa"));
    }

    #[test]
    fn what_is_no_choice_is_none() {
        check(b"", None);
        check(b"\x15\x03\x03\x00\x02\x02\x28", None);
        check(
            b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n\r\n",
            None,
        );
        let whole = server_hello([3, 1], &[], 0x002f);
        check(&whole[..whole.len() - 3], None);
    }
}
