//! Which CAs may issue for a name (RFC 8659), and by which means (RFC 8657).

use crate::facts::dns::{
    Answer, Authority, Caa, Criticality, Dnssec, Lookup, LookupFailure, RecordData, RecordKind,
};
use crate::finding::{Finding, excerpt};
use crate::name::DnsName;

/// The CA that is to issue
#[derive(Clone, Debug, Default)]
pub struct Issuing<'i> {
    /// Domains that stand for it in CAA records (`caaIdentities`); empty where it names none
    pub identities: &'i [String],
    /// Our account at it, if there is one yet
    pub account: Option<&'i str>,
}

/// The names whose CAA records count for a name, the nearest first (RFC 8659 section 3)
pub fn tree(name: &DnsName) -> Vec<&str> {
    let text = name.as_str();
    std::iter::successors(Some(text), |at| {
        at.split_once('.').map(|(_, parent)| parent)
    })
    .collect()
}

/// What the nearest record set says
///
/// `lookups` are those of [`tree`] in order, up to and with the first one that has records or
/// fails. `authorities` are the servers of the name's zone, who may know what a resolver does not.
pub fn judge(
    name: &DnsName,
    lookups: &[Lookup],
    authorities: &[Authority],
    issuing: &Issuing<'_>,
) -> Finding {
    for lookup in lookups {
        let records = match &lookup.outcome {
            Ok(answer) => caa(answer),
            // Nothing is there, and the tree is climbed further.
            Err(LookupFailure::NoSuchName) => continue,
            Err(failure) => match said(authorities, name, lookup) {
                Some(answer) if !caa(answer).is_empty() => caa(answer),
                Some(_) => return unread(&lookup.name, failure),
                None => return unknown(&lookup.name, failure),
            },
        };
        if !records.is_empty() {
            return judge_set(name, &lookup.name, &records, issuing);
        }
    }
    Finding::ok("caa.none", format!("no CAA record restricts {name}"))
}

fn caa(answer: &Answer) -> Vec<&Caa> {
    let records = answer.records.iter();
    let records = records.filter_map(|record| match record {
        RecordData::Caa(caa) => Some(caa),
        _ => None,
    });
    records.collect()
}

/// What a server of the zone says itself, where a resolver fails for the name
fn said<'a>(authorities: &'a [Authority], name: &DnsName, lookup: &Lookup) -> Option<&'a Answer> {
    // With broken signatures the servers of the zone answer, and a CA refuses all the same.
    let is_other = lookup.name != name.as_str()
        || lookup.outcome == Err(LookupFailure::ServFail(Dnssec::Broken));
    let mut answers = authorities
        .iter()
        .filter_map(|authority| authority.said(RecordKind::Caa)?.as_ref().ok());
    answers.next().filter(|_| !is_other)
}

fn unknown(at: &str, failure: &LookupFailure) -> Finding {
    let evidence = format!("the CAA records of {at} cannot be read: {failure}");
    match failure {
        LookupFailure::ServFail(Dnssec::Broken) => Finding::failure("caa.unknown", evidence)
            .with_cure("a CA must refuse then: mend the signatures at the DNS provider, or remove the DS record at the registrar"),
        LookupFailure::ServFail(_) => Finding::failure("caa.unknown", evidence).with_cure(
            "a CA must refuse then: ask the DNS provider why its servers fail for CAA",
        ),
        _ => unread(at, failure),
    }
}

/// The failure is of the server that was asked: a CA asks others, and may well be answered
fn unread(at: &str, failure: &LookupFailure) -> Finding {
    let evidence = format!("the CAA records of {at} cannot be read from here: {failure}");
    Finding::warning("caa.unread", evidence).with_cure(
        "a CA that gets no answer either must refuse; `[dns] servers` names other servers to ask",
    )
}

fn judge_set(name: &DnsName, at: &str, records: &[&Caa], issuing: &Issuing<'_>) -> Finding {
    let strange = records.iter().filter(|record| {
        record.criticality == Criticality::Critical && !KNOWN.contains(&tag(record).as_str())
    });
    // Servers give records in any order, and a finding must not change from run to run.
    if let Some(record) = strange.map(|record| words(record)).min() {
        let evidence = format!("{at} has {record}: critical, and a CA need not know the tag");
        return Finding::failure("caa.critical", evidence)
            .with_cure("remove the record, or its critical flag");
    }
    let mut issue: Vec<Issue> = records
        .iter()
        .filter(|record| tag(record) == "issue")
        .map(|record| Issue::parse(record))
        .collect();
    issue.sort();
    issue.dedup();
    if issue.is_empty() {
        let evidence = format!("the CAA records of {at} do not restrict {name}");
        return Finding::ok("caa.none", evidence);
    }
    let names_someone = issue.iter().find(|issue| issue.domain.is_some());
    if let (true, Some(record)) = (issuing.identities.is_empty(), names_someone) {
        let evidence = format!(
            "{at} has {}, and the CA does not say which domain stands for it",
            record.words
        );
        return Finding::warning("caa.no_identity", evidence)
            .with_cure("ask the CA which domain it looks for in CAA records");
    }
    let ours = issue.iter().filter(|issue| issue.names(issuing.identities));
    let Some((refusal, record)) = ours.map(|issue| (issue.refusal(issuing), issue)).min() else {
        return forbidden(at, &issue, issuing);
    };
    match refusal {
        None => Finding::ok(
            "caa.allowed",
            format!("{at} has {}, which allows the CA", record.words),
        ),
        Some(Refusal::Method) => {
            let evidence = format!("{at} has {}, and certd uses http-01", record.words);
            Finding::failure("caa.method", evidence)
                .with_cure("add http-01 to `validationmethods` in the record, without blanks")
        }
        Some(Refusal::Account) => other_account(at, record, issuing),
    }
}

fn forbidden(at: &str, issue: &[Issue], issuing: &Issuing<'_>) -> Finding {
    let shown: Vec<&str> = issue
        .iter()
        .take(MOST_SHOWN)
        .map(|issue| issue.words.as_str())
        .collect();
    let more = match issue.len().saturating_sub(MOST_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let identity = issuing.identities.first().map(String::as_str);
    let evidence = format!(
        "{at} has {}{more}: that forbids {}",
        shown.join(", "),
        identity.unwrap_or("every CA")
    );
    let means_us = |record: &&Issue| {
        let domain = record.words.split('"').nth(1).unwrap_or_default();
        let domain = trim(domain.split(';').next().unwrap_or_default()).trim_end_matches('.');
        identity.is_some_and(|identity| identity.eq_ignore_ascii_case(domain))
    };
    if let (Some(record), Some(identity)) = (issue.iter().find(means_us), identity) {
        let evidence = format!(
            "{at} has {}: it means {identity}, and read by the letter it allows nobody",
            record.words
        );
        return Finding::failure("caa.forbidden", evidence).with_cure(format!(
            "write {identity:?} in small letters without a dot, no blank inside a parameter, and nothing after the last: Let's Encrypt passes over a record that is not well formed (RFC 8659 section 4.2)"
        ));
    }
    let cure = match identity {
        Some(identity) => format!(
            "add the record\n    {at}. CAA 0 issue \"{identity}\"\nor set `issuer` to a CA that is allowed"
        ),
        None => "add a record that allows the CA: ask it for the domain to name".to_owned(),
    };
    Finding::failure("caa.forbidden", evidence).with_cure(cure)
}

fn other_account(at: &str, record: &Issue, issuing: &Issuing<'_>) -> Finding {
    let (own, cure) = match issuing.account {
        Some(own) => (
            format!("certd's account is {own}"),
            "set `accounturi` in the record to certd's account, or remove it".to_owned(),
        ),
        None => (
            "certd has no account yet".to_owned(),
            "remove `accounturi` from the record until certd has its account, which the first order registers"
                .to_owned(),
        ),
    };
    let evidence = format!("{at} has {}, and {own}", record.words);
    Finding::failure("caa.account", evidence).with_cure(cure)
}

/// Tags are compared without regard to case (RFC 8659 section 4.1)
fn tag(record: &Caa) -> String {
    record.tag.to_ascii_lowercase()
}

/// A record as it is shown, of bounded length
fn words(record: &Caa) -> String {
    excerpt(&record.to_string(), MOST_WORDS)
}

/// An `issue` record (RFC 8659 section 4.2)
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Issue {
    words: String,
    /// `None` where the record allows nobody, being empty or malformed
    domain: Option<String>,
    parameters: Vec<(String, String)>,
}

/// Why a record that names the CA does not let it issue to us
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    Method,
    Account,
}

impl Issue {
    /// Let's Encrypt takes the grammar by the letter: a blank or a dot too many, and the record
    /// allows nobody
    fn parse(record: &Caa) -> Self {
        let (domain, rest) = match record.value.split_once(';') {
            Some((domain, rest)) => (domain, Some(rest)),
            None => (record.value.as_str(), None),
        };
        let parameters: Option<Vec<(String, String)>> = match rest.map(trim) {
            None | Some("") => Some(Vec::new()),
            Some(rest) => rest.split(';').map(parameter).collect(),
        };
        Self {
            words: words(record),
            // A value against the grammar is as good as an empty one.
            domain: Some(trim(domain).to_owned())
                .filter(|domain| parameters.is_some() && !domain.is_empty()),
            parameters: parameters.unwrap_or_default(),
        }
    }

    fn names(&self, identities: &[String]) -> bool {
        let domain = self.domain.as_ref();
        domain.is_some_and(|domain| identities.contains(domain))
    }

    /// RFC 8657 sections 3 and 4; parameters that are not known are passed over
    fn refusal(&self, issuing: &Issuing<'_>) -> Option<Refusal> {
        let refuses = |(key, value): &(String, String)| match key.as_str() {
            "validationmethods" => {
                // Let's Encrypt reads up to the first that fits, or that is no word.
                let read = value
                    .split(',')
                    .find(|method| *method == OWN || !is_method(method));
                (read != Some(OWN)).then_some(Refusal::Method)
            }
            "accounturi" => (issuing.account != Some(value)).then_some(Refusal::Account),
            _ => None,
        };
        self.parameters.iter().filter_map(refuses).min()
    }
}

/// `tag = value` (RFC 8659 section 4.2); Let's Encrypt takes no hyphen in a tag
fn parameter(text: &str) -> Option<(String, String)> {
    let (tag, value) = text.split_once('=')?;
    let (tag, value) = (trim(tag), trim(value));
    let is_tag = tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_value = value.bytes().all(|byte| byte.is_ascii_graphic());
    (is_tag && is_value).then(|| (tag.to_owned(), value.to_owned()))
}

/// RFC 8657 section 4
fn is_method(text: &str) -> bool {
    let mut bytes = text.bytes();
    !text.is_empty() && bytes.all(|byte| byte == b'-' || byte.is_ascii_alphanumeric())
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// How certd has names validated
const OWN: &str = "http-01";
/// Tags that CAs know (RFC 8659 section 4, RFC 9495)
const KNOWN: [&str; 4] = ["issue", "issuewild", "issuemail", "iodef"];
/// Records that are shown of a set
const MOST_SHOWN: usize = 8;
/// Characters that are shown of a record
const MOST_WORDS: usize = 200;

#[cfg(test)]
mod tests;
