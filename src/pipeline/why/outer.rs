//! The links that lead to nginx: the name, DNS, the address, and who takes connections there.

use super::cure::after_a_change;
use super::judge::{is_of_address, ranked};
use super::seen::{Chosen, ConfigFile, Content, Dns, Listener, Look, Named, Seen, Whereabouts};
use crate::facts::{Container, Network};
use crate::finding::{Finding, Severity, one_line};
use crate::pipeline::obtain::{taken, to_publish};
use crate::preflight::judge::dns::scope;
use crate::report::why::{Link, Step};
use crate::verify::judge::NO_ROUTE;

/// What domains.toml says of the name
pub(super) fn name(seen: &Seen<'_>) -> Step {
    let name = seen.name;
    let known = match (seen.domain, seen.file) {
        (Some(domain), _) if domain.name.as_str() == name => "a domain of domains.toml".to_owned(),
        (Some(domain), _) => format!("an alias of {} in domains.toml", domain.name),
        (None, ConfigFile::Read) => "in no [[domain]] of domains.toml".to_owned(),
        (None, ConfigFile::Absent) => "no domains.toml to compare it with".to_owned(),
    };
    let typed = one_line(seen.typed);
    let seen = match typed.eq_ignore_ascii_case(name) {
        true => format!("{name}, {known}"),
        false => format!("{name} ({typed}), {known}"),
    };
    Step::new(Link::Name, seen, Vec::new())
}

/// What DNS says of it; `None` where it was not asked
pub(super) fn dns(seen: &Seen<'_>) -> Option<Step> {
    let Dns::Judged(findings) = &seen.dns else {
        return None;
    };
    let own = findings.iter().filter(|finding| !is_of_address(finding));
    let own: Vec<Finding> = own.cloned().collect();
    let is_bad = |finding: &&Finding| finding.severity == Severity::Failure;
    let answer = |finding: &&Finding| {
        matches!(
            finding.code,
            "dns.addresses" | "dns.alias" | "dns.alias_chain" | "dns.hosts_file"
        )
    };
    let words: Vec<&str> = match own.iter().find(is_bad) {
        Some(failure) => vec![&failure.evidence],
        None => {
            let answers = own.iter().filter(answer);
            answers.map(|finding| finding.evidence.as_str()).collect()
        }
    };
    Some(Step::new(Link::Dns, words.join("; "), own))
}

/// Where that leads; `None` without an address
pub(super) fn address(seen: &Seen<'_>) -> Option<Step> {
    let places: Vec<String> = seen.looks.iter().map(|look| place(seen, look)).collect();
    if places.is_empty() {
        return None;
    }
    let mut findings = Vec::new();
    if let Dns::Judged(judged) = &seen.dns {
        let led = judged.iter().filter(|finding| is_of_address(finding));
        // That an address is private stands beside it.
        let led = led.filter(|finding| finding.severity > Severity::Note);
        findings.extend(led.cloned());
    }
    findings.extend(elsewhere(seen));
    findings.extend(seen.looks.iter().filter_map(untried).cloned());
    Some(Step::new(Link::Address, places.join("; "), findings))
}

fn place(seen: &Seen<'_>, look: &Look) -> String {
    let scope = scope(look.address.ip());
    let scope = scope.map_or_else(String::new, |scope| format!(" ({scope})"));
    let whose = match look.place {
        _ if seen.connect.is_some() => "by `connect`",
        Whereabouts::Here => "this host",
        Whereabouts::Listed if is_excused(look) => {
            "in `addresses`, which does not answer this host: a router may not turn packets back"
        }
        _ if untried(look).is_some() => "to which this host has no route: not looked at",
        Whereabouts::Listed => "in `addresses`",
        Whereabouts::Unknown if leads_here(seen, look) => "which leads to this host",
        Whereabouts::Unknown => "which is no address of this host",
    };
    format!("{}{scope}, {whose}", look.address)
}

/// That this host has no way to an address beside one that it has
fn untried(look: &Look) -> Option<&Finding> {
    let is_note =
        |finding: &&Finding| finding.code == NO_ROUTE && finding.severity == Severity::Note;
    look.unreached().filter(is_note)
}

/// Whether no connection came about though there is a way, and nothing follows from that
fn is_excused(look: &Look) -> bool {
    look.unreached()
        .is_some_and(|finding| finding.severity < Severity::Warning && finding.code != NO_ROUTE)
}

/// Whether an address that is translated on the way shows what the container itself does
fn leads_here(seen: &Seen<'_>, look: &Look) -> bool {
    let fingerprint = |look: &Look| look.leaf().map(|leaf| leaf.fingerprint);
    let inside = seen.inside.as_ref().and_then(fingerprint);
    inside.is_some() && fingerprint(look) == inside
}

/// An address at which somebody else answers, while the container here has what it should
fn elsewhere(seen: &Seen<'_>) -> Option<Finding> {
    let inside = seen.at_container().filter(|inside| inside.is_right())?;
    let container = &seen.container()?.name;
    let is_led_astray = |look: &&Look| look.place == Whereabouts::Unknown && !look.is_good();
    let look = ranked(seen).into_iter().find(is_led_astray)?;
    let (what, way) = match look.unreached() {
        Some(_) => (
            "does not answer",
            format!(
                "open port {} in the firewall, here and at the provider",
                seen.port
            ),
        ),
        None => (
            "is served by somebody else",
            format!("let the router pass port {} on to this host", seen.port),
        ),
    };
    let evidence = format!(
        "{} {what}, while {container} has the right certificate at {}",
        look.address, inside.address
    );
    Some(
        Finding::failure("why.elsewhere", evidence).with_cure(format!(
            "let the DNS record of {} be this host's address; if it is, {way}",
            seen.name
        )),
    )
}

/// Who takes connections there
pub(super) fn listener(seen: &Seen<'_>) -> Option<Step> {
    let looks = seen.looks.iter();
    let unreached = looks.filter_map(|look| Some(not_read_yet(seen, look, look.unreached()?)));
    let unreached: Vec<Finding> = match is_explained_below(seen) {
        true => unreached
            .map(|finding| finding.at_most(Severity::Warning))
            .collect(),
        false => unreached.collect(),
    };
    let is_reached = unreached.len() < seen.looks.len();
    let (words, mut findings) = match &seen.listener {
        Listener::NoDocker(finding) => {
            (no_docker(seen, is_reached, finding), vec![finding.clone()])
        }
        Listener::Lost(finding) if seen.is_elsewhere() => (
            finding.evidence.clone(),
            vec![finding.clone().at_most(Severity::Note)],
        ),
        Listener::Lost(finding) | Listener::Stopped(finding) => {
            (finding.evidence.clone(), vec![finding.clone()])
        }
        Listener::Nobody => {
            let words = format!("no container publishes port {}", seen.port);
            let finding = nobody(seen, is_reached);
            let finding = finding.unwrap_or_else(|| unpublished(&words));
            (words, vec![finding])
        }
        Listener::Taken { named, holder, at } => {
            let finding = taken(seen.name, &named.join(" or "), holder, *at);
            (finding.evidence.clone(), vec![finding])
        }
        Listener::Process { name, pid } => {
            let (port, name) = (seen.port, one_line(name));
            let words = format!("{name} (process {pid}) listens at port {port}, and no container");
            (words, Vec::new())
        }
        Listener::Hidden(names) => {
            let finding = hidden(seen, names);
            (finding.evidence.clone(), vec![finding])
        }
        Listener::Found(container) | Listener::Perhaps(container) => {
            let words = published(seen, container);
            let finding = not_published(seen, container, is_reached);
            let is_hidden = container.network != Network::Host
                && !container
                    .published
                    .iter()
                    .any(|one| one.container_port == seen.inlet);
            let noted = is_hidden.then(|| unpublished(&words));
            (words, finding.or(noted).into_iter().collect())
        }
    };
    findings.extend(seen.barred.clone());
    findings.extend(unreached);
    if seen.looks.is_empty() && matches!(seen.listener, Listener::NoDocker(_) | Listener::Nobody) {
        return None;
    }
    Some(Step::new(Link::Listener, words, findings))
}

/// A connection that nginx closes although a block of its files serves the name: it has not read
/// them yet, more likely than not
fn not_read_yet(seen: &Seen<'_>, look: &Look, finding: &Finding) -> Finding {
    let finding = finding.clone();
    let Some(Ok(nginx)) = &seen.nginx else {
        return finding;
    };
    let has_chain = |named: &Named| matches!(named.content, Content::Chain(_));
    let is_ready =
        matches!(nginx.chosen, Chosen::Listed(..)) && nginx.named.as_ref().is_some_and(has_chain);
    let awaits_balancer = || nginx.configured.awaits_header(look.address);
    match is_ready && finding.code == "connect.reset" && !awaits_balancer() {
        true => finding.with_cure(format!(
            "nginx's files have what it needs, and nginx may not have read them since: {}",
            after_a_change(seen, nginx.configured.container())
        )),
        false => finding,
    }
}

/// Whether connections come to nothing because nginx has nothing to take them with: the link below
/// says why
fn is_explained_below(seen: &Seen<'_>) -> bool {
    let comes_to_nothing = |look: &Look| {
        let unreached = look.unreached();
        unreached.is_none_or(|finding| matches!(finding.code, "connect.refused" | "connect.reset"))
    };
    let has_nothing = match &seen.nginx {
        Some(Ok(nginx)) => matches!(nginx.chosen, Chosen::Nobody(_)),
        Some(Err(finding)) => finding.severity == Severity::Failure,
        None => false,
    };
    has_nothing && seen.looks.iter().all(comes_to_nothing)
}

/// Only root sees whose socket it is
fn hidden(seen: &Seen<'_>, names: &[String]) -> Finding {
    let port = seen.port;
    let beside = match names {
        [] => "no container publishes it".to_owned(),
        names => format!("{} may, in the network of this host", names.join(" or ")),
    };
    let evidence = format!("who listens at port {port} is not known: {beside}");
    Finding::note("why.hidden_listener", evidence).with_cure("run it as root, who sees it")
}

fn no_docker(seen: &Seen<'_>, is_reached: bool, finding: &Finding) -> String {
    let (port, reason) = (seen.port, &finding.evidence);
    match is_reached {
        true => format!("something listens at port {port}, and certd cannot see what: {reason}"),
        false => format!("nobody takes connections at port {port}; {reason}"),
    }
}

fn nobody(seen: &Seen<'_>, is_reached: bool) -> Option<Finding> {
    if is_reached || seen.looks.is_empty() || seen.is_elsewhere() {
        return None;
    }
    let port = seen.port;
    let evidence =
        format!("nobody takes connections at port {port}, and no container publishes it");
    Some(
        Finding::failure("why.not_published", evidence).with_cure(format!(
            "publish the TLS port of nginx's container, and create it anew:\n    ports: [\"{port}:443\"]"
        )),
    )
}

/// That no container publishes the port where it is served all the same: something else leads there
fn unpublished(words: &str) -> Finding {
    Finding::note("why.not_published", words)
}

fn published(seen: &Seen<'_>, container: &Container) -> String {
    let name = &container.name;
    if container.network == Network::Host {
        return format!("{name}, in the network of this host");
    }
    let at: Vec<String> = container
        .published
        .iter()
        .filter(|published| published.container_port == seen.inlet)
        .map(|published| published.host.to_string())
        .collect();
    match at.as_slice() {
        [] => format!("{name}, which publishes no port {}", seen.inlet),
        at => format!(
            "{name}, whose port {} is published at {}",
            seen.inlet,
            at.join(", ")
        ),
    }
}

/// A container that does not publish the port where connections come in
fn not_published(seen: &Seen<'_>, container: &Container, is_reached: bool) -> Option<Finding> {
    if container.network == Network::Host || is_reached || seen.looks.is_empty() {
        return None;
    }
    let (name, port) = (&container.name, seen.port);
    let takes = |look: &Look| {
        container.published.iter().any(|published| {
            let host = published.host;
            // What leads to this host through a router comes in at another address.
            let is_translated = look.place != Whereabouts::Here && !host.ip().is_loopback();
            let is_meant = host.ip().is_unspecified() || host.ip() == look.address.ip();
            host.port() == look.address.port() && (is_meant || is_translated)
        })
    };
    if seen.looks.iter().any(takes) {
        return None;
    }
    let evidence = format!(
        "{name} does not publish port {port} at {}",
        seen.looks[0].address.ip()
    );
    let inlet = seen.inlet;
    let mut published = container.published.iter();
    let cure = match published.find(|one| one.host.port() == port) {
        // Two lines for one port of the host do not go together.
        Some(one) => format!(
            "correct the record of {}, or write this in the compose file instead of \"{}:{inlet}\", and create {name} anew:\n    ports: [\"{port}:{inlet}\"]",
            seen.name, one.host
        ),
        None => to_publish(name, port, inlet),
    };
    Some(Finding::failure("why.not_published", evidence).with_cure(cure))
}
