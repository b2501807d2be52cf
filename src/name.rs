//! DNS names as certd uses them everywhere: A-labels, lower case, no trailing dot.
//!
//! An IDN is accepted at the edge and converted once. A [`HostName`] is what a server can be asked
//! for; a [`DnsName`] is one for which a certificate can be ordered. The latter is safe as a file
//! name: it holds letters, digits, hyphens and dots only, and no empty label.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A name by which browsers reach a server, in A-label form (RFC 5890)
///
/// It may hold underscores, which DNS and TLS take although RFC 1123 gives host names none:
/// `a_b.example.com` is served well below a wildcard.
#[derive(Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name that `text` spells, converted to A-labels
    ///
    /// # Errors
    /// [`NameError`] says which rule of RFC 1035, 1123 or 5891 the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let trimmed = text.strip_suffix('.').unwrap_or(text);
        if trimmed.is_empty() {
            return Err(NameError::Empty);
        }
        if trimmed.contains('*') {
            return Err(NameError::Wildcard);
        }
        if trimmed.parse::<IpAddr>().is_ok() {
            return Err(NameError::IpAddress);
        }
        if let Some(found) = trimmed.chars().find(|c| is_foreign(*c)) {
            return Err(NameError::Character { found });
        }
        let ascii = idna::domain_to_ascii(trimmed).map_err(|_| NameError::Idna)?;
        // Full-width letters have become plain ones: a solidus, or the digits of an address.
        if let Some(found) = ascii.chars().find(|c| is_foreign(*c)) {
            return Err(NameError::Character { found });
        }
        if ascii.parse::<IpAddr>().is_ok() {
            return Err(NameError::IpAddress);
        }
        for label in ascii.split('.') {
            check_label(label)?;
        }
        if ascii.len() > MAX_NAME {
            return Err(NameError::TooLong {
                length: ascii.len(),
            });
        }
        let last = ascii.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::Number);
        }
        Ok(Self(ascii))
    }

    /// The name as text
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DnsName> for HostName {
    fn from(name: DnsName) -> Self {
        Self(name.0)
    }
}

/// A name for which a certificate can be ordered, in A-label form (RFC 5890)
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// The name that `text` spells, converted to A-labels
    ///
    /// # Errors
    /// As [`HostName::parse`], and [`NameError::Underscore`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let HostName(name) = HostName::parse(text)?;
        match name.contains('_') {
            true => Err(NameError::Underscore),
            false => Ok(Self(name)),
        }
    }

    /// The name as text
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character belongs to no host name, in ASCII or as part of an IDN
fn is_foreign(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || (c.is_ascii() && !matches!(c, '.' | '-' | '_') && !c.is_ascii_alphanumeric())
}

fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if label.len() > MAX_LABEL {
        return Err(NameError::LongLabel {
            label: label.to_owned(),
        });
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen {
            label: label.to_owned(),
        });
    }
    Ok(())
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for DnsName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Why a text is no name, or none that a certificate can be ordered for
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty
    #[error("the name is empty")]
    Empty,
    /// Two dots in a row, or one at the start
    #[error("the name has an empty label")]
    EmptyLabel,
    /// RFC 1035 section 2.3.4: at most 63 octets
    #[error("the label `{label}` has more than 63 characters")]
    LongLabel {
        /// The label at fault
        label: String,
    },
    /// RFC 1035 section 2.3.4: at most 253 characters as text
    #[error("the name has {length} characters, 253 are allowed")]
    TooLong {
        /// Length of the A-label form
        length: usize,
    },
    /// RFC 1123 section 2.1: no label starts or ends with a hyphen
    #[error("the label `{label}` starts or ends with a hyphen")]
    Hyphen {
        /// The label at fault
        label: String,
    },
    /// A character that no host name holds
    #[error("`{found}` is not allowed in a name")]
    Character {
        /// The first such character
        found: char,
    },
    /// RFC 5891: no valid A-label form exists
    #[error("the name has no valid IDNA form")]
    Idna,
    /// A number at the end: an address with a slip in it, and for browsers never a name (WHATWG
    /// URL, "ends in a number")
    #[error("it ends in a number, and is no IP address either")]
    Number,
    /// No public CA issues for one: RFC 5280 wants the syntax of RFC 1034 section 3.5
    #[error("no public CA issues for a name with `_`")]
    Underscore,
    /// It stands for many hosts, and can be validated through DNS only (RFC 8555 section 7.1.3)
    #[error("a wildcard is not the name of one host")]
    Wildcard,
    /// An IP address is another kind of identifier (RFC 8738)
    #[error("an IP address is not a DNS name")]
    IpAddress,
}

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The name that a person registers, such as `example.co.uk` for `www.example.co.uk`, by the public
/// suffix list
pub fn registered_domain(name: &str) -> Option<&str> {
    psl::domain_str(name)
}

/// Whether strangers register names below this one, as below `co.uk`
///
/// What the list does not know, and what a company offers below a name of its own, does not count.
pub fn is_public_suffix(name: &str) -> bool {
    let suffix = psl::suffix(name.as_bytes());
    suffix.is_some_and(|suffix| {
        suffix.as_bytes() == name.as_bytes()
            && suffix.is_known()
            && suffix.typ() == Some(psl::Type::Icann)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_or_refused() {
        #[track_caller]
        fn check(text: &str, expected: Result<&str, NameError>) {
            assert_eq!(
                DnsName::parse(text).as_ref().map(DnsName::as_str),
                expected.as_ref().copied(),
                "{text}"
            );
        }
        check("Example.COM", Ok("example.com"));
        check("example.com.", Ok("example.com"));
        check("bücher.example", Ok("xn--bcher-kva.example"));
        check("книга.рф", Ok("xn--80afohp.xn--p1ai"));
        check("localhost", Ok("localhost"));
        check("", Err(NameError::Empty));
        check(".", Err(NameError::Empty));
        check("a..b", Err(NameError::EmptyLabel));
        check("*.example.com", Err(NameError::Wildcard));
        check("192.0.2.1", Err(NameError::IpAddress));
        check("::1", Err(NameError::IpAddress));
        check(
            "a.example,b.example",
            Err(NameError::Character { found: ',' }),
        );
        check("a example", Err(NameError::Character { found: ' ' }));
        check("../etc", Err(NameError::Character { found: '/' }));
        check(
            "a\u{ff0f}b.example",
            Err(NameError::Character { found: '/' }),
        );
        check("\u{ff11}92.0.2.1", Err(NameError::IpAddress));
        check("a_b.example", Err(NameError::Underscore));
        check("a\u{ff3f}b.example", Err(NameError::Underscore));
        check("192.0.2.256", Err(NameError::Number));
        check("10.0.0", Err(NameError::Number));
        check("1.example", Ok("1.example"));
        check(
            "-a.example",
            Err(NameError::Hyphen {
                label: "-a".to_owned(),
            }),
        );
    }

    #[test]
    fn a_host_may_have_underscores_and_else_what_a_domain_may() {
        #[track_caller]
        fn check(text: &str, expected: Result<&str, NameError>) {
            let found = HostName::parse(text);
            let found = found.as_ref().map(HostName::as_str);
            assert_eq!(found, expected.as_ref().copied(), "{text}");
        }
        check("A_b.Example.", Ok("a_b.example"));
        check("_sip._tcp.example", Ok("_sip._tcp.example"));
        check("a\u{ff3f}b.example", Ok("a_b.example"));
        check("книга_1.рф", Ok("xn--_1-6kclylv.xn--p1ai"));
        check("_", Ok("_"));
        check("_.1", Err(NameError::Number));
        check("*.a_b.example", Err(NameError::Wildcard));
        check("a_b,c.example", Err(NameError::Character { found: ',' }));
        check(
            "a_-.example",
            Err(NameError::Hyphen {
                label: "a_-".to_owned(),
            }),
        );
    }

    #[test]
    fn long_names_and_labels_are_refused() {
        let label = "a".repeat(64);
        assert!(matches!(
            DnsName::parse(&format!("{label}.example")),
            Err(NameError::LongLabel { .. } | NameError::Idna)
        ));
        let name = vec!["a".repeat(60); 5].join(".");
        assert!(matches!(
            DnsName::parse(&name),
            Err(NameError::TooLong { .. } | NameError::Idna)
        ));
    }
}
