//! What name servers say of a name, held against what a CA needs.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use jiff::SignedDuration;

use crate::facts::dns::{Answer, Authority, Dnssec, Lookup, LookupFailure, RecordKind};
use crate::finding::{Finding, excerpt};
use crate::name::HostName;
use crate::time::in_words;

/// What DNS said of one name
#[derive(Clone, Debug)]
pub struct NameFacts {
    /// The name
    pub name: HostName,
    /// The servers that were asked for it
    pub asked: Vec<SocketAddr>,
    /// Its IPv4 addresses
    pub a: Lookup,
    /// Its IPv6 addresses
    pub aaaa: Lookup,
    /// What the servers of its zone say themselves; empty where none was found
    pub authorities: Vec<Authority>,
}

impl NameFacts {
    /// The addresses that a CA will see
    ///
    /// A resolver that answers from a hosts file, from an inner zone or from a cache is no witness
    /// of what a public CA sees; the servers of the zone are, and it may ask any of them.
    pub fn addresses(&self, issuer: IssuerKind) -> Vec<IpAddr> {
        let mut seen = Vec::new();
        for lookup in [&self.a, &self.aaaa] {
            for address in self.view(lookup, issuer).addresses {
                // An IPv4 address that is written as IPv6 is reached by IPv4.
                if !seen.contains(&address) && !seen.contains(&address.to_canonical()) {
                    seen.push(address);
                }
            }
        }
        seen
    }

    /// What the servers of the zone say of one family; `None` where none of them said anything
    fn published(&self, kind: RecordKind) -> Option<BTreeSet<IpAddr>> {
        self.sets(kind).reduce(|mut all, more| {
            all.extend(more);
            all
        })
    }

    fn view(&self, lookup: &Lookup, issuer: IssuerKind) -> View {
        let answer = lookup.outcome.as_ref().ok();
        let here: Vec<IpAddr> = answer.into_iter().flat_map(Answer::addresses).collect();
        let published = match (issuer, &lookup.outcome) {
            // Its servers sign nothing anew for being asked: a CA that validates refuses the name.
            (_, Err(LookupFailure::ServFail(Dnssec::Broken))) | (IssuerKind::Private, _) => None,
            (IssuerKind::Public, _) => self.published(lookup.kind),
        };
        match published {
            Some(published) if !published.is_empty() => View {
                of: match here.iter().copied().collect::<BTreeSet<IpAddr>>() == published {
                    true => Witness::Resolver,
                    false => Witness::Zone,
                },
                addresses: published.into_iter().collect(),
            },
            // Of an alias that leads out of the zone its servers know no address.
            _ => View {
                addresses: here,
                of: Witness::Resolver,
            },
        }
    }

    /// Whether one of the zone's servers says what the resolver says
    fn is_said_by_one(&self, lookup: &Lookup) -> bool {
        let Some(here) = addresses_in(&lookup.outcome) else {
            return false;
        };
        self.sets(lookup.kind).any(|said| said == here)
    }

    /// What each server of the zone says of one family, where it says anything
    fn sets(&self, kind: RecordKind) -> impl Iterator<Item = BTreeSet<IpAddr>> {
        let said = self.authorities.iter();
        said.filter_map(move |authority| addresses_in(authority.said(kind)?))
    }

    /// The servers that were asked, in words
    fn who(&self) -> String {
        let servers = self.asked.iter().map(|server| match server.port() {
            53 => server.ip().to_string(),
            _ => server.to_string(),
        });
        match servers.collect::<Vec<_>>().join(" or ") {
            none if none.is_empty() => "DNS".to_owned(),
            servers => servers,
        }
    }
}

/// The addresses in an answer; `None` where there is none
fn addresses_in(outcome: &Result<Answer, LookupFailure>) -> Option<BTreeSet<IpAddr>> {
    match outcome {
        Ok(answer) => Some(answer.addresses().collect()),
        Err(LookupFailure::NoSuchName) => Some(BTreeSet::new()),
        Err(_) => None,
    }
}

/// Addresses of one family as a CA may see them
struct View {
    addresses: Vec<IpAddr>,
    of: Witness,
}

/// Who knows what a CA will see
#[derive(Clone, Copy, PartialEq, Eq)]
enum Witness {
    Resolver,
    /// The servers of the zone, which contradict the resolver
    Zone,
}

/// What the answers are held against
#[derive(Clone, Debug)]
pub struct Policy<'p> {
    /// The host's public addresses (`addresses`); empty where they are not known
    pub own: &'p [IpAddr],
    /// Who will look
    pub issuer: IssuerKind,
}

/// From where a CA looks
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerKind {
    /// From the internet: one of the built-in issuers
    Public,
    /// Perhaps from inside: a private or test CA
    Private,
}

/// Everything worth saying of a name's addresses, the worst first
pub fn judge(facts: &NameFacts, policy: &Policy<'_>) -> Vec<Finding> {
    let answers: Vec<(&Lookup, &Answer)> = [&facts.a, &facts.aaaa]
        .into_iter()
        .filter_map(|lookup| Some((lookup, lookup.outcome.as_ref().ok()?)))
        .collect();
    let mut findings = Vec::new();
    findings.extend(aliases(&facts.name, &answers));
    let mut addresses = Vec::new();
    for lookup in [&facts.a, &facts.aaaa] {
        let view = facts.view(lookup, policy.issuer);
        // Where the servers disagree among themselves, that is what is said.
        if view.of == Witness::Zone && !facts.is_said_by_one(lookup) {
            findings.push(other_view(facts, lookup, &view.addresses));
        }
        findings.extend(elsewhere(facts, lookup, &view.addresses, policy));
        addresses.extend(view.addresses);
    }
    findings.extend(lacking(facts, &addresses));
    findings.extend(of_no_host(&facts.name, &addresses));
    findings.extend(reserved(&facts.name, &addresses, policy.issuer));
    findings.extend(disagreement(facts, policy));
    if !addresses.is_empty() {
        if answers
            .iter()
            .any(|(_, answer)| answer.addresses().next().is_some())
        {
            findings.push(seen(facts, &answers));
        }
        if policy.issuer == IssuerKind::Public {
            findings.extend(unasked(facts));
        }
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What keeps a name from having addresses, or from having those of one family
fn lacking(facts: &NameFacts, seen: &[IpAddr]) -> Option<Finding> {
    let name = &facts.name;
    let has_none = |answer: &Answer| answer.addresses().next().is_none();
    match (&facts.a.outcome, &facts.aaaa.outcome) {
        // The servers of the zone know better than the resolver that fails.
        (Err(_), Err(_)) if !seen.is_empty() => [&facts.a, &facts.aaaa]
            .into_iter()
            .filter_map(|lookup| lookup.outcome.as_ref().err())
            .find(|failure| **failure == LookupFailure::ServFail(Dnssec::Broken))
            .map(|failure| no_answer(facts, failure)),
        (Err(failure), Err(_)) => Some(no_answer(facts, failure)),
        // A family without records does not make up for one that failed.
        (Ok(answer), Err(failure)) | (Err(failure), Ok(answer))
            if has_none(answer) && seen.is_empty() =>
        {
            Some(no_answer(facts, failure))
        }
        (Ok(_), Err(failure)) => half_an_answer(facts, RecordKind::Aaaa, failure),
        (Err(failure), Ok(_)) => half_an_answer(facts, RecordKind::A, failure),
        (Ok(_), Ok(_)) => seen.is_empty().then(|| no_address(name)),
    }
}

fn other_view(facts: &NameFacts, lookup: &Lookup, published: &[IpAddr]) -> Finding {
    let here: Vec<IpAddr> = match &lookup.outcome {
        Ok(answer) => answer.addresses().collect(),
        Err(_) => Vec::new(),
    };
    let said = match (&lookup.outcome, here.as_slice()) {
        (Err(failure), _) => failure.to_string(),
        (Ok(_), []) => "nothing".to_owned(),
        (Ok(_), here) => list(here),
    };
    let evidence = format!(
        "of the {} record of {} {} says {said}, the servers of the zone say {}",
        lookup.kind,
        facts.name,
        facts.who(),
        list(published)
    );
    Finding::warning("dns.other_view", evidence).with_cure(
        "a CA sees what the zone says: a cache still holds what was, or a hosts file or an inner zone answers here; `[dns] servers` names other servers",
    )
}

/// That nobody could say whether a change has reached all servers of the zone
fn unasked(facts: &NameFacts) -> Option<Finding> {
    let asked = |authority: &Authority| {
        let mut lookups = authority.lookups.iter();
        lookups.any(|lookup| {
            !matches!(
                lookup.outcome,
                Err(LookupFailure::TimedOut | LookupFailure::Failed(_))
            )
        })
    };
    if facts.authorities.iter().any(asked) {
        return None;
    }
    let why = match facts.authorities.first() {
        None => "none was found".to_owned(),
        Some(authority) => format!("port 53 of {} is closed from here", authority.server),
    };
    let evidence = format!("the servers of the zone were not asked: {why}");
    Some(Finding::note("dns.zone_unasked", evidence))
}

fn no_answer(facts: &NameFacts, failure: &LookupFailure) -> Finding {
    let (name, who) = (&facts.name, facts.who());
    let (code, evidence, cure) = match failure {
        LookupFailure::NoSuchName => (
            "dns.nxdomain",
            format!("{who}: {name} does not exist (NXDOMAIN)"),
            format!("correct the name, or add an A record for {name} that points to this host; a new record takes 5 to 30 minutes to show everywhere"),
        ),
        LookupFailure::ServFail(Dnssec::Broken) => (
            "dns.dnssec",
            format!("DNSSEC of {name} is broken: {who} says SERVFAIL, and answers with validation switched off"),
            "mend the signatures at the DNS provider, or remove the DS record at the registrar; CAs must refuse such a name".to_owned(),
        ),
        LookupFailure::ServFail(Dnssec::NotTheCause) => (
            "dns.servfail",
            format!("the name servers of {name} fail: {who} says SERVFAIL"),
            "ask the DNS provider: the zone is not loaded, or its servers cannot be reached".to_owned(),
        ),
        LookupFailure::Refused => (
            "dns.refused",
            format!("{who} refuses to answer for {name} (REFUSED)"),
            "it does not serve this host, or does not know the zone: `[dns] servers` names others".to_owned(),
        ),
        LookupFailure::TimedOut => (
            "dns.timeout",
            format!("no answer for {name} from {who} in time"),
            "can this host reach its DNS servers? `[dns] servers` names others".to_owned(),
        ),
        LookupFailure::NoDescriptor => {
            return Finding::no_descriptor(format!("{name} could not be asked for: {failure}"));
        }
        LookupFailure::Failed(reason) => (
            "dns.failed",
            format!("DNS failed for {name}, asked of {who}: {reason}"),
            "try again; if it stays, `[dns] servers` names others".to_owned(),
        ),
    };
    Finding::failure(code, evidence).with_cure(cure)
}

/// One family has an answer and the other none; NXDOMAIN cannot be both true and false
fn half_an_answer(facts: &NameFacts, kind: RecordKind, failure: &LookupFailure) -> Option<Finding> {
    let is_broken = *failure == LookupFailure::ServFail(Dnssec::Broken);
    if facts.published(kind).is_some() && !is_broken {
        return None;
    }
    let evidence = format!(
        "{} has addresses, and to the question for {kind} {} says {failure}",
        facts.name,
        facts.who()
    );
    Some(Finding::warning("dns.half_answer", evidence).with_cure(
        "a CA asks for A and AAAA, and may refuse: ask the DNS provider why one of them fails",
    ))
}

fn no_address(name: &HostName) -> Finding {
    let evidence = format!("{name} has neither an A nor an AAAA record");
    Finding::failure("dns.no_address", evidence).with_cure(format!(
        "add an A record for {name} that points to this host"
    ))
}

fn aliases(name: &HostName, answers: &[(&Lookup, &Answer)]) -> Option<Finding> {
    let aliases = &answers
        .iter()
        .find(|(_, answer)| !answer.aliases.is_empty())?
        .1
        .aliases;
    let shown: Vec<String> = aliases
        .iter()
        .take(2 * MOST_ALIASES)
        .map(|alias| excerpt(alias, MOST_NAME))
        .collect();
    let chain = format!("{name} -> {}", shown.join(" -> "));
    if aliases.len() <= MOST_ALIASES {
        return Some(Finding::note("dns.alias", format!("an alias: {chain}")));
    }
    let evidence = format!("{} aliases in a row: {chain}", aliases.len());
    Some(
        Finding::warning("dns.alias_chain", evidence)
            .with_cure("resolvers give up on long chains: point the name closer to its address"),
    )
}

/// Addresses at which no host can be, from wherever one looks
fn of_no_host(name: &HostName, addresses: &[IpAddr]) -> Option<Finding> {
    let named = addresses
        .iter()
        .filter_map(|address| Some(format!("{address} ({})", no_host(*address)?)));
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        return None;
    }
    let evidence = format!("{name} points to {}", join(&named));
    Some(match named.len() == addresses.len() {
        true => Finding::failure("dns.no_host", evidence)
            .with_cure("no site can be there: publish the address of this host instead"),
        false => Finding::warning("dns.no_host", evidence)
            .with_cure("remove these records: no site can be there"),
    })
}

/// Why no host has this address; `None` where one may
fn no_host(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        address if address.is_multicast() => Some("multicast"),
        address if address.is_unspecified() => Some("unspecified"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("broadcast"),
        _ => None,
    }
}

/// Addresses that nobody on the internet can reach, though a host may have them
fn reserved(name: &HostName, addresses: &[IpAddr], issuer: IssuerKind) -> Option<Finding> {
    let unreachable: Vec<String> = addresses
        .iter()
        .filter(|address| no_host(**address).is_none())
        .filter_map(|address| Some(format!("{address} ({})", scope(*address)?)))
        .collect();
    if unreachable.is_empty() {
        return None;
    }
    let evidence = format!("{name} points to {}", join(&unreachable));
    Some(match issuer {
        IssuerKind::Private => Finding::note("dns.private_address", evidence),
        IssuerKind::Public if addresses.iter().all(|address| scope(*address).is_some()) => {
            Finding::failure("dns.private_address", evidence).with_cure(
                "a public CA cannot connect there: publish the host's public address; if it is published, this host's DNS server gives an inner view, and `[dns] servers` names others",
            )
        }
        // Let's Encrypt passes over such addresses where there are others.
        IssuerKind::Public => Finding::warning("dns.private_address", evidence)
            .with_cure("remove these records: nobody on the internet can connect there"),
    })
}

/// That the hosts file of this host leads a name there, whatever DNS says
pub fn by_hosts_file(name: &str, addresses: &[IpAddr]) -> Finding {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let evidence = format!(
        "by this host's /etc/hosts, before DNS, {name} leads to {}",
        addresses.join(", ")
    );
    Finding::note("dns.hosts_file", evidence)
}

/// Why an address is not reachable from the internet; `None` where it is
pub fn scope(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => scope_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            // Such an address stands for IPv4 inside a host, and never on a wire.
            Some(v4) => scope_v4(v4).or(Some("IPv4-mapped")),
            None => scope_v6(v6),
        },
    }
}

/// RFC 6890 and the registry of special-purpose addresses that it began
fn scope_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some("loopback"),
        (10, ..) | (192, 168, _) => Some("private"),
        (172, 16..=31, _) => Some("private"),
        (169, 254, _) => Some("link-local"),
        (100, 64..=127, _) => Some("shared by a carrier"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("for documentation"),
        (198, 18..=19, _) => Some("for benchmarks"),
        (0, ..) | (192, 0, 0) => Some("reserved"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved"),
        _ => None,
    }
}

fn scope_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [first, second, ..] = address.segments();
    match (first, second) {
        _ if address.is_loopback() => Some("loopback"),
        _ if address.is_unspecified() => Some("reserved"),
        (0xfc00..=0xfdff, _) => Some("private"),
        (0xfe80..=0xfebf, _) => Some("link-local"),
        (0x2001, 0x0db8) | (0x3fff, 0..=0x0fff) => Some("for documentation"),
        (0x2001, 0..=0x01ff) | (0x2002, _) => Some("reserved"),
        (0xff00..=0xffff, _) => Some("multicast"),
        (0x2000..=0x3fff, _) => None,
        _ => Some("reserved"),
    }
}

/// Addresses that are not this host's, judged for each family alone
fn elsewhere(
    facts: &NameFacts,
    lookup: &Lookup,
    view: &[IpAddr],
    policy: &Policy<'_>,
) -> Option<Finding> {
    let (kind, own, name) = (lookup.kind, policy.own, &facts.name);
    if own.is_empty() {
        return None;
    }
    let is_own = |address: &&IpAddr| own.contains(&address.to_canonical());
    let (ours, mut others): (Vec<IpAddr>, Vec<IpAddr>) = view.iter().partition(is_own);
    if policy.issuer == IssuerKind::Public {
        // A public CA does not go to addresses that nobody can reach: they have their own finding.
        others.retain(|address| scope(*address).is_none());
    }
    if others.is_empty() {
        return None;
    }
    let family: Vec<IpAddr> = own
        .iter()
        .filter(|address| address.is_ipv6() == (kind == RecordKind::Aaaa))
        .copied()
        .collect();
    let others = list(&others);
    if ours.is_empty() {
        let evidence = match family.is_empty() {
            true => format!("the {kind} record of {name} is {others}, and this host has none"),
            false => format!(
                "the {kind} record of {name} is {others}, this host is {} by `addresses`",
                list(&family)
            ),
        };
        let cure = match family.is_empty() {
            true => format!("remove the {kind} record, or add the address to `addresses`"),
            // Which of the two is out of date nobody here knows: providers give other addresses.
            false => format!(
                "if this host has {others} now, correct `addresses` in domains.toml; else correct the {kind} record, and wait for its TTL{}",
                ttl_of(lookup)
            ),
        };
        return Some(Finding::failure("dns.elsewhere", evidence).with_cure(cure));
    }
    let here = addresses_in(&lookup.outcome);
    let mut sets = facts.sets(kind).chain(here);
    let is_ours = |address: &IpAddr| own.contains(address);
    if !sets.any(|set| set.iter().any(is_ours) && !set.iter().all(is_ours)) {
        // No server has both: some have the old and some the new, which is told as such.
        return None;
    }
    let evidence = format!(
        "{name} has several {kind} records, and {others} is not this host ({})",
        list(&ours)
    );
    Some(
        Finding::failure("dns.one_of_several", evidence).with_cure(format!(
            "remove {others}, or add it to `addresses` if it is this host's: a CA takes any of them, and so do visitors"
        )),
    )
}

fn ttl_of(lookup: &Lookup) -> String {
    let ttl = lookup.outcome.as_ref().ok().and_then(|answer| answer.ttl);
    ttl.filter(|ttl| !ttl.is_zero())
        .map(|ttl| format!(" ({})", span(ttl)))
        .unwrap_or_default()
}

fn list(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    join(&texts)
}

/// The first few, and how many there are beside
fn join(texts: &[String]) -> String {
    let shown = texts[..texts.len().min(MOST_SHOWN)].join(", ");
    match texts.len().saturating_sub(MOST_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Servers of one zone that say different things: a change has not reached them all
fn disagreement(facts: &NameFacts, policy: &Policy<'_>) -> Option<Finding> {
    [RecordKind::A, RecordKind::Aaaa]
        .into_iter()
        .find_map(|kind| disagreement_on(facts, kind, policy))
}

/// For each family alone: a server that fails for one of them has said nothing of it
///
/// A failure where one of them leads to another host: the CA may ask that one.
fn disagreement_on(facts: &NameFacts, kind: RecordKind, policy: &Policy<'_>) -> Option<Finding> {
    let is_alias = [&facts.a, &facts.aaaa]
        .into_iter()
        .filter_map(|lookup| lookup.outcome.as_ref().ok())
        .any(|answer| !answer.aliases.is_empty());
    let said: Vec<(&str, BTreeSet<IpAddr>, Option<Duration>)> = facts
        .authorities
        .iter()
        .filter_map(|authority| {
            let said = authority.said(kind)?;
            let addresses = addresses_in(said)?;
            let ttl = said.as_ref().ok().and_then(|answer| answer.ttl);
            // Of an alias that leads out of the zone, its servers know no address.
            let counts = !is_alias || !addresses.is_empty();
            counts.then_some((authority.server.as_str(), addresses, ttl))
        })
        .collect();
    let (first, first_said, _) = said.first()?;
    let (other, other_said, _) = said.iter().find(|(_, said, _)| said != first_said)?;
    let words = |addresses: &BTreeSet<IpAddr>| match addresses.is_empty() {
        true => "nothing".to_owned(),
        false => list(&addresses.iter().copied().collect::<Vec<_>>()),
    };
    let evidence = format!(
        "the servers of the zone disagree on the {kind} record of {}: {} says {}, {} says {}",
        facts.name,
        excerpt(first, MOST_NAME),
        words(first_said),
        excerpt(other, MOST_NAME),
        words(other_said)
    );
    // What a cache took from either of them it may keep for so long.
    let ttl = said.iter().filter_map(|(.., ttl)| *ttl).max();
    let cure = match ttl.filter(|ttl| !ttl.is_zero()) {
        Some(ttl) => format!(
            "a change is not everywhere yet: wait {} and look again",
            span(ttl)
        ),
        None => "a change is not everywhere yet: wait until all servers have it".to_owned(),
    };
    let is_foreign = |address: &IpAddr| {
        !policy.own.contains(&address.to_canonical()) && scope(*address).is_none()
    };
    let leads_away = said.iter().any(|(_, said, _)| said.iter().any(is_foreign));
    let is_harmful = leads_away && !policy.own.is_empty() && policy.issuer == IssuerKind::Public;
    let finding = match is_harmful {
        true => Finding::failure("dns.disagreement", evidence),
        false => Finding::warning("dns.disagreement", evidence),
    };
    Some(finding.with_cure(cure))
}

fn span(ttl: Duration) -> String {
    in_words(SignedDuration::try_from(ttl).unwrap_or(SignedDuration::MAX))
}

/// What was seen, with how long a change of it takes
fn seen(facts: &NameFacts, answers: &[(&Lookup, &Answer)]) -> Finding {
    let parts: Vec<String> = answers
        .iter()
        .filter(|(_, answer)| answer.addresses().next().is_some())
        .map(|(lookup, answer)| {
            let addresses: Vec<IpAddr> = answer.addresses().collect();
            let ttl = answer.ttl.map(|ttl| format!(" (TTL {})", span(ttl)));
            format!(
                "{} {}{}",
                lookup.kind,
                list(&addresses),
                ttl.unwrap_or_default()
            )
        })
        .collect();
    let evidence = format!("{} by {}", parts.join(", "), facts.who());
    Finding::ok("dns.addresses", evidence)
}

/// Aliases in a row that every resolver follows
const MOST_ALIASES: usize = 8;
/// Addresses that are shown of many
const MOST_SHOWN: usize = 8;
/// Characters that a name may have
const MOST_NAME: usize = 253;

#[cfg(test)]
mod tests;
