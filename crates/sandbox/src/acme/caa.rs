//! Whether CAA records let this CA issue (RFC 8659, RFC 8657).

use hickory_resolver::proto::rr::rdata::CAA;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::edge::IDENTITY;
use super::fetch::Fetcher;
use super::problem::Problem;

impl Fetcher {
    /// Checks the record set that is nearest to the name, going up the tree
    pub(super) async fn check_caa(&self, name: &str, account_url: &str) -> Result<(), Problem> {
        let mut at = name;
        loop {
            let found = self.records(at, RecordType::CAA).await?;
            let records: Vec<&CAA> = found
                .iter()
                .filter_map(|data| match data {
                    RData::CAA(caa) => Some(caa),
                    _ => None,
                })
                .collect();
            if !records.is_empty() {
                return match permits(&records, account_url) {
                    true => Ok(()),
                    false => {
                        let detail = format!("CAA record for {at} prevents issuance");
                        Err(Problem::new(403, "caa", detail))
                    }
                };
            }
            match at.split_once('.') {
                Some((_, parent)) => at = parent,
                None => return Ok(()),
            }
        }
    }
}

fn permits(records: &[&CAA], account_url: &str) -> bool {
    let is_known = |tag: &str| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(tag));
    if records
        .iter()
        .any(|record| record.issuer_critical && !is_known(&record.tag))
    {
        return false;
    }
    let mut issue = records
        .iter()
        .filter(|record| record.tag.eq_ignore_ascii_case("issue"))
        .peekable();
    // A set without `issue` says nothing of names that are no wildcards.
    issue.peek().is_none() || issue.any(|record| names_us(record, account_url))
}

fn names_us(record: &CAA, account_url: &str) -> bool {
    // The DNS library reads such a value too, but not with the spaces that RFC 8659 section 4.2
    // allows around its parts.
    let Ok(value) = std::str::from_utf8(&record.value) else {
        return false;
    };
    let (issuer, parameters) = value.split_once(';').unwrap_or((value, ""));
    let issuer = issuer.trim().trim_end_matches('.');
    let mut parameters = parameters
        .split(';')
        .map(str::trim)
        .filter(|parameter| !parameter.is_empty());
    issuer.eq_ignore_ascii_case(IDENTITY)
        && parameters.all(|parameter| permits_this(parameter, account_url))
}

/// Whether one parameter leaves room for this account and for http-01 (RFC 8657)
fn permits_this(parameter: &str, account_url: &str) -> bool {
    let Some((tag, value)) = parameter.split_once('=') else {
        return false;
    };
    match (tag.trim(), value.trim()) {
        ("validationmethods", methods) => methods.split(',').any(|method| method == "http-01"),
        ("accounturi", url) => url == account_url,
        _ => true,
    }
}

const KNOWN: [&str; 3] = ["issue", "issuewild", "iodef"];
