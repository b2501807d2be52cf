//! Distinguished names, held against each other.

use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Whether a distinguished name lies in the subtree of another (RFC 5280 section 4.2.1.10), both in
/// DER
///
/// Texts are compared as Chrome compares them: their kind, the case of ASCII letters and the number
/// of blanks do not count. What does not parse lies in no subtree.
pub fn is_within(name: &[u8], base: &[u8]) -> bool {
    let (Some(name), Some(base)) = (parts(name), parts(base)) else {
        return false;
    };
    name.starts_with(&base)
}

/// Whether two distinguished names in DER are one, however they are written: compared as above
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other || parts(one).is_some_and(|one| parts(other).is_some_and(|other| one == other))
}

/// The relative names of a distinguished name, each with its attributes in a fixed order
fn parts(der: &[u8]) -> Option<Vec<Vec<(String, Value)>>> {
    let (_, name) = X509Name::from_der(der).ok()?;
    let parts = name.iter_rdn().map(|part| {
        let mut attributes: Vec<_> = part.iter().map(attribute).collect();
        attributes.sort();
        attributes
    });
    Some(parts.collect())
}

/// The value of an attribute
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// What is no text, bit for bit
    Other(Vec<u8>),
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> (String, Value) {
    let value = match attribute.as_str() {
        Ok(text) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            Value::Text(words.join(" ").to_ascii_lowercase())
        }
        Err(_) => Value::Other(attribute.attr_value().data.to_vec()),
    };
    (attribute.attr_type().to_id_string(), value)
}
