//! The links inside: the server block, its certificate file, what is installed.

use jiff::Timestamp;

use super::computed::{closed_key, undecided};
use super::cure::{changing, lines, mount_whole, order_first, to_add};
use super::files::{other_kind, pinned};
use super::seen::{Astray, Chosen, Content, Look, Named, Nginx, Own, Seen, Whereabouts};
use crate::chain::Certificate;
use crate::config::{Domain, Sharing};
use crate::facts::{Container, Network};
use crate::finding::{Finding, Severity, words};
use crate::name::DnsName;
use crate::report::why::{Link, Step};
use crate::target::choice;
use crate::target::dump::{ServerBlock, StreamServer, Tls};
use crate::time::display_date;
use crate::verify::proof::covers;

/// The server block that nginx chooses; `None` without a container to ask
pub(super) fn block(seen: &Seen<'_>) -> Option<Step> {
    let Step {
        seen: words,
        mut findings,
        ..
    } = chosen_block(seen)?;
    let nginx = seen.nginx.as_ref()?.as_ref().ok();
    let doubt = nginx.and_then(|nginx| nginx.configured.doubt());
    let is_told = |doubt: &Finding| findings.iter().any(|told| told.code == doubt.code);
    findings.extend(doubt.filter(|doubt| !is_told(doubt)));
    Some(Step::new(Link::Block, words, findings))
}

fn chosen_block(seen: &Seen<'_>) -> Option<Step> {
    let (container, nginx) = (seen.container()?, seen.nginx.as_ref()?);
    let step = |words: String, findings| Some(Step::new(Link::Block, words, findings));
    let nginx = match nginx {
        Ok(nginx) => nginx,
        Err(finding) => return step(one_line_of(finding), vec![finding.clone()]),
    };
    match &nginx.chosen {
        Chosen::Default(_) | Chosen::Nobody(_) if nginx.configured.is_one_of_several() => {
            let doubt = nginx.configured.doubt().into_iter();
            let words = format!(
                "not in what the first of several masters in {} reads, and another may serve it",
                container.name
            );
            // What takes the connections is not known, so that nothing is proposed for it.
            step(words, doubt.map(as_a_failure).collect())
        }
        Chosen::Stream(server) => {
            let finding = stream(seen, server);
            step(finding.evidence.clone(), vec![finding])
        }
        Chosen::Listed(block, ignored) => {
            let words = format!("{} lists the name{}", block.place(), behind(nginx));
            let first = first_block(seen, nginx, block, ignored);
            let astray = nginx.astray.as_ref();
            let astray = astray.map(|astray| not_listening(seen, nginx, astray));
            let rejected = rejected(seen, nginx, block);
            step(
                words,
                first.into_iter().chain(rejected).chain(astray).collect(),
            )
        }
        Chosen::Default(block) => {
            let (words, finding) = default(seen, nginx, container, block);
            step(words, vec![finding])
        }
        Chosen::Pattern(block) => {
            let evidence = format!(
                "none lists the name; the regular expression in `server_name` at {} may match it, which is not tried here",
                block.place()
            );
            step(
                evidence.clone(),
                vec![Finding::note("why.pattern", evidence)],
            )
        }
        Chosen::Nobody(listing) => {
            let finding = no_tls(seen, nginx, container, listing.as_ref());
            step(finding.evidence.clone(), vec![finding])
        }
    }
}

/// What is said where a name comes to the default, and what is wrong with that
fn default(
    seen: &Seen<'_>,
    nginx: &Nginx,
    container: &Container,
    block: &ServerBlock,
) -> (String, Finding) {
    let place = block.place();
    match &nginx.astray {
        Some(astray) => (
            format!("{place}, the default at {}", astray.at),
            not_listening(seen, nginx, astray),
        ),
        None => (
            format!("{place}, the default{}: none lists the name", behind(nginx)),
            no_block(seen, nginx, container, block),
        ),
    }
}

fn as_a_failure(finding: Finding) -> Finding {
    Finding {
        severity: Severity::Failure,
        ..finding
    }
}

/// What connections came through to a block
fn behind(nginx: &Nginx) -> String {
    let places = nginx.through.iter();
    let places: Vec<String> = places
        .map(|server| format!("{}:{}", server.file, server.line))
        .collect();
    match places.is_empty() {
        true => String::new(),
        false => format!(", behind the stream server at {}", places.join(" and ")),
    }
}

/// What a stream server serves cannot be told from the configuration, so nothing is proposed
fn stream(seen: &Seen<'_>, server: &StreamServer) -> Finding {
    let passes = match server.pass.as_str() {
        "" => String::new(),
        pass => format!(" and passes them to {pass}"),
    };
    let evidence = format!(
        "the stream server at {}:{} takes connections at port {}{passes}",
        server.file, server.line, seen.inlet
    );
    Finding::note("why.stream", evidence)
}

/// Only the first line: nginx's own words stand below the verdict
fn one_line_of(finding: &Finding) -> String {
    let first = finding.evidence.lines().next().unwrap_or_default();
    first.trim_end_matches(':').to_owned()
}

/// Another block that lists the name, with the right file, comes too late
fn first_block(
    seen: &Seen<'_>,
    nginx: &Nginx,
    block: &ServerBlock,
    ignored: &[ServerBlock],
) -> Option<Finding> {
    let domain = seen.domain?;
    let names_own = |block: &&ServerBlock| {
        let site = nginx.configured.site(domain, seen.name, block);
        block.certificate_lines().any(|line| site.is_own(line))
    };
    let meant = ignored.iter().find(names_own)?;
    if names_own(&block) {
        return None;
    }
    let evidence = format!(
        "{} lists {} first, so nginx ignores {}",
        block.place(),
        seen.name,
        meant.place()
    );
    let site = nginx.configured.site(domain, seen.name, block);
    let change = site.to_leave_to(meant);
    let finding = Finding::failure("why.first_block", evidence);
    Some(finding.with_cure(changing(seen, nginx, &change)))
}

/// The block that lists the name is told to refuse handshakes
fn rejected(seen: &Seen<'_>, nginx: &Nginx, block: &ServerBlock) -> Option<Finding> {
    let domain = seen.domain?;
    let site = nginx.configured.site(domain, seen.name, block);
    let (evidence, cure) = site.to_accept()?;
    let finding = Finding::failure("why.rejected", evidence);
    Some(match nginx.own {
        Own::None => finding.with_cure(order_first(
            seen,
            &format!(
                "`certd obtain {}` orders its certificate, and shows what to change",
                domain.name
            ),
        )),
        Own::NotMounted => finding.with_cure(mount_whole(seen, nginx.configured.container())),
        Own::Seen => finding.with_cure(changing(seen, nginx, &cure)),
    })
}

/// The block that lists the name lacks the `listen` at which others take its visitors
fn not_listening(seen: &Seen<'_>, nginx: &Nginx, astray: &Astray) -> Finding {
    let evidence = format!(
        "{} lists {} and does not listen at {}, where others do: they take its visitors there",
        astray.block.place(),
        seen.name,
        astray.at
    );
    let change = nginx.configured.listens_elsewhere(
        seen.domain,
        seen.name,
        &astray.block,
        astray.at,
        Some(&astray.inlet),
    );
    Finding::failure("why.no_listen", evidence).with_cure(changing(seen, nginx, &change))
}

/// No block lists the name
fn no_block(
    seen: &Seen<'_>,
    nginx: &Nginx,
    container: &Container,
    default: &ServerBlock,
) -> Finding {
    if let Some(finding) = misspelled(seen, nginx) {
        return finding;
    }
    let evidence = format!("{}, the default: none lists the name", default.place());
    Finding::failure("why.no_block", evidence).with_cure(to_add(seen, nginx, &container.name))
}

/// A block has the name, and not as a client sends it
fn misspelled(seen: &Seen<'_>, nginx: &Nginx) -> Option<Finding> {
    let domain = seen.domain.into_iter().flat_map(Domain::names);
    let names: Vec<&str> = domain.map(DnsName::as_str).collect();
    let (block, word) = nginx.configured.misspelled(seen.name)?;
    let change = nginx.configured.to_spell(seen.name, &names)?;
    let place = block.place();
    let (code, evidence) = match word.has_commas() {
        true => (
            "why.commas",
            format!("{place} separates names by commas, which nginx takes for one name"),
        ),
        false => (
            "why.misspelled",
            format!(
                "{place} lists `{}`, which nginx compares byte by byte: browsers send {}",
                words::whole(&word.word),
                seen.name
            ),
        ),
    };
    Some(Finding::failure(code, evidence).with_cure(changing(seen, nginx, &change)))
}

/// Nothing speaks TLS at the port
fn no_tls(
    seen: &Seen<'_>,
    nginx: &Nginx,
    container: &Container,
    listing: Option<&ServerBlock>,
) -> Finding {
    let (name, port) = (seen.name, seen.inlet);
    // In the network of the host the address counts: other servers may have others.
    let is_here =
        |look: &&Look| container.network == Network::Host && look.place == Whereabouts::Here;
    let at = seen.looks.iter().find(is_here);
    let at = at.map_or_else(|| format!("port {port}"), |look| look.address.to_string());
    let evidence = format!(
        "no server block of {} listens with TLS at {at}",
        container.name
    );
    let finding = Finding::failure("why.no_tls", evidence);
    let inlet = nginx.inlet.as_ref().filter(|_| nginx.own == Own::Seen);
    let secured = seen.domain.zip(inlet);
    let secured =
        secured.and_then(|(domain, inlet)| nginx.configured.to_secure(domain, name, inlet));
    let listens = |block: &ServerBlock| {
        let mut listens = block.listens.iter();
        listens.any(|own| own.at.port() == port && own.tls == Tls::Off)
    };
    let is_free = nginx
        .inlet
        .as_ref()
        .is_none_or(|inlet| choice::plain(&nginx.configured.configuration, name, inlet).is_empty());
    let is_outer = nginx.inlet.as_ref().is_none_or(|inlet| {
        let mut addresses = inlet.addresses.iter();
        !addresses.any(std::net::IpAddr::is_loopback)
    });
    let is_inside = |block: &ServerBlock| {
        let mut secure = block.listens.iter().filter(|own| own.tls == Tls::On);
        is_outer && secure.all(|own| own.at.ip().is_loopback())
    };
    match listing {
        _ if secured.is_some() => {
            finding.with_cure(changing(seen, nginx, &secured.unwrap_or_default()))
        }
        Some(block)
            if !block.certificates.is_empty()
                && !listens(block)
                && !is_inside(block)
                && is_free =>
        {
            let change = format!(
                "in the server block at {}, which lists {name}, add\n    listen {};",
                block.place(),
                nginx.configured.listen_to_add(port, nginx.inlet.as_ref())
            );
            finding.with_cure(changing(seen, nginx, &change))
        }
        _ if seen.domain.is_none() && !is_free => finding.with_cure(format!(
            "what listens at port {port} does so without TLS: each server block there needs `ssl` and a certificate, all at once"
        )),
        _ => finding.with_cure(to_add(seen, nginx, &container.name)),
    }
}

/// The certificate file that the block names; `None` where no block is known
pub(super) fn file(seen: &Seen<'_>, now: Timestamp) -> Option<Step> {
    let Some(Ok(nginx)) = &seen.nginx else {
        return None;
    };
    let block = nginx.chosen.block()?;
    if matches!(nginx.chosen, Chosen::Default(_)) && !seen.is_good() {
        // The certificate of a block that is not meant explains nothing.
        return None;
    }
    let step = |words: String, findings| Some(Step::new(Link::File, words, findings));
    let Some(named) = &nginx.named else {
        let evidence = format!("the server block at {} names no certificate", block.place());
        return step(evidence.clone(), vec![wrong(seen, nginx, block, evidence)]);
    };
    let path = words::path(named.path.as_ref().unwrap_or(&named.line.path));
    match &named.content {
        Content::Chain(chain) => {
            let leaf = chain.leaf();
            let words = format!("{path}: {}", who(seen, leaf, now));
            let finding = judge_file(seen, nginx, block, named, leaf, &words);
            let finding = finding
                .or_else(|| closed_key(seen, nginx, block))
                .or_else(|| pinned(seen, nginx, block));
            let other = other_kind(seen, named, leaf, now);
            step(words, finding.into_iter().chain(other).collect())
        }
        Content::Missing => {
            let evidence = format!("{path} is not there in {}", nginx.configured.container());
            step(
                evidence.clone(),
                vec![missing(seen, nginx, block, evidence)],
            )
        }
        Content::Unknown(reason) => {
            let evidence = format!("{path} cannot be judged: {reason}");
            if let Some(finding) = undecided(seen, nginx, block, named, &path) {
                return step(evidence, vec![finding]);
            }
            step(
                evidence.clone(),
                vec![Finding::note("why.unread_file", evidence)],
            )
        }
    }
}

/// A certificate in the words of the storage, else in its own
pub(super) fn who(seen: &Seen<'_>, leaf: &Certificate, now: Timestamp) -> String {
    let until = display_date(leaf.validity.not_after);
    let until = match leaf.validity.not_after <= now {
        true => format!("expired {until}"),
        false => format!("until {until}"),
    };
    match seen.stored.known(leaf.fingerprint) {
        Some(known) => format!(
            "generation {} of {}, {until}",
            known.generation, known.lineage
        ),
        None => format!("a certificate of {}, {until}", leaf.label()),
    }
}

/// Whether the file is the one that the block should name
fn judge_file(
    seen: &Seen<'_>,
    nginx: &Nginx,
    block: &ServerBlock,
    named: &Named,
    leaf: &Certificate,
    words: &str,
) -> Option<Finding> {
    let is_own = |known: &&crate::verify::judge::Known| {
        seen.domain
            .is_some_and(|domain| known.lineage == domain.name.as_str())
    };
    let known = seen.stored.known(leaf.fingerprint);
    if let (Some(known), Some(live)) = (known.filter(is_own), &seen.stored.live)
        && live.fingerprint != leaf.fingerprint
    {
        return Some(old_file(seen, nginx, block, named, known.generation));
    }
    let is_of_other = known.is_some_and(|known| !is_own(&known)) && seen.domain.is_some();
    let is_foreign = known.is_none() && nginx.own == Own::Seen && seen.domain.is_some();
    let is_wrong = match seen.sharing() {
        Sharing::Shared => false,
        Sharing::Separate => is_of_other || is_foreign,
    };
    if covers(&leaf.der, seen.name) && !is_wrong {
        return None;
    }
    Some(wrong(seen, nginx, block, words.to_owned()))
}

/// The domain's own lineage, and not what is live of it
fn old_file(
    seen: &Seen<'_>,
    nginx: &Nginx,
    block: &ServerBlock,
    named: &Named,
    generation: u32,
) -> Finding {
    let container = nginx.configured.container();
    let file = named.path.as_ref().unwrap_or(&named.line.path);
    let path = words::path(file);
    let live = seen.stored.installed.as_ref();
    let live = live.and_then(|installed| installed.live.as_ref());
    let live = live.map_or(0, |live| live.generation);
    let evidence = format!(
        "{container} sees generation {generation} at {path}, and generation {live} is live"
    );
    let finding = Finding::failure("why.old_file", evidence);
    let own = seen
        .domain
        .map(|domain| nginx.configured.live.join(domain.name.as_str()));
    match own {
        Some(own) if !file.starts_with(&own) => finding.with_cure(lines(seen, nginx, block)),
        _ => finding.with_cure(mount_whole(seen, container)),
    }
}

fn missing(seen: &Seen<'_>, nginx: &Nginx, block: &ServerBlock, evidence: String) -> Finding {
    let finding = Finding::failure("why.missing_file", evidence);
    match seen.domain {
        Some(domain) if nginx.own == Own::None => finding.with_cure(order_first(
            seen,
            &format!(
                "`certd obtain {}` orders the certificate, and lets nginx load it",
                domain.name
            ),
        )),
        _ => finding.with_cure(lines(seen, nginx, block)),
    }
}

/// A file, or none at all, that is not the name's own
pub(super) fn wrong(
    seen: &Seen<'_>,
    nginx: &Nginx,
    block: &ServerBlock,
    evidence: String,
) -> Finding {
    Finding::failure("why.other_file", evidence).with_cure(lines(seen, nginx, block))
}

/// What certd has for the domain; `None` for a name of no domain
pub(super) fn installed(seen: &Seen<'_>, now: Timestamp) -> Option<Step> {
    let domain = seen.domain?;
    let step = |words: String, findings| Some(Step::new(Link::Installed, words, findings));
    if let Some(problem) = &seen.stored.problem {
        let note = problem.clone().at_most(Severity::Note);
        return step(problem.evidence.clone(), vec![note]);
    }
    if seen.is_elsewhere() {
        let storage = seen.stored.storage.display();
        let evidence = format!("not on this host: there is no {storage} here");
        let note = Finding::note("why.not_here", evidence.clone());
        return step(evidence, vec![note]);
    }
    if let Some(foreign) = &seen.stored.foreign {
        let words = foreign.evidence.clone();
        return step(words, vec![foreign.clone()]);
    }
    let obtain = format!("`certd obtain {}`", domain.name);
    let Some(live) = &seen.stored.live else {
        let evidence = format!("certd has no certificate of {}", domain.name);
        let finding = Finding::failure("why.not_installed", evidence.clone());
        let cure = format!("{obtain} orders it, and lets nginx load it");
        return step(evidence, vec![finding.with_cure(cure)]);
    };
    let words = who(seen, live, now);
    if live.validity.not_after <= now {
        let finding = Finding::failure("why.not_renewed", words.clone());
        let cure = format!("{obtain} renews it; `certd status` says why that did not happen");
        return step(words, vec![finding.with_cure(cure)]);
    }
    let newest = seen.stored.newest.unwrap_or_default();
    let known = seen.stored.known(live.fingerprint);
    let generation = known.map_or(newest, |known| known.generation);
    match newest > generation {
        true => {
            let evidence = format!("generation {newest} is issued, not live: {obtain} deploys it");
            step(
                format!("{words}; {evidence}"),
                vec![Finding::note("why.not_live", evidence)],
            )
        }
        false => step(words, Vec::new()),
    }
}
