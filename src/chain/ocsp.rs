//! What an OCSP response says of a certificate (RFC 6960 section 4.2.1).
//!
//! Its signature and its age are not looked at: a server that staples a false one harms itself.

use x509_parser::asn1_rs::{Any, Class, FromDer, Tag};

use super::{Certificate, hex};

/// What a response says of a certificate, the worst last
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// That it is not revoked
    Good,
    /// Nothing: it does not parse, knows nothing, or is of another certificate
    Unknown,
    /// That it is revoked
    Revoked,
}

/// What this response says of this certificate
pub fn status(response: &[u8], of: &Certificate) -> Status {
    read(response, &of.serial).unwrap_or(Status::Unknown)
}

fn read(response: &[u8], serial: &str) -> Option<Status> {
    let response = elements(response).next()?;
    let mut parts = elements(response.data);
    if parts.next()?.data != SUCCESSFUL {
        return None;
    }
    let bytes = elements(parts.next()?.data).next()?;
    let (_kind, basic) = two(bytes.data)?;
    let basic = elements(basic.data).next()?;
    let data = elements(basic.data).next()?;
    // Its version, its responder and its time come before, each under another tag.
    let all = elements(data.data).find(|part| part.tag() == Tag::Sequence && is_universal(part))?;
    let all = elements(all.data).filter_map(|single| {
        let (whose, status) = two(single.data)?;
        let own = elements(whose.data).nth(3)?;
        (hex(own.data) == serial).then(|| match (is_universal(&status), status.tag().0) {
            (false, 0) => Status::Good,
            (false, 1) => Status::Revoked,
            _ => Status::Unknown,
        })
    });
    all.max()
}

fn is_universal(element: &Any<'_>) -> bool {
    element.class() == Class::Universal
}

fn two(content: &[u8]) -> Option<(Any<'_>, Any<'_>)> {
    let mut parts = elements(content);
    Some((parts.next()?, parts.next()?))
}

/// The elements one after another, up to the first that does not parse
fn elements(mut content: &[u8]) -> impl Iterator<Item = Any<'_>> {
    std::iter::from_fn(move || {
        let (rest, element) = Any::from_der(content).ok()?;
        content = rest;
        Some(element)
    })
}

const SUCCESSFUL: &[u8] = &[0];
