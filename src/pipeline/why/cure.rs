//! What to do about a link: lines to write, commands to run.

use super::seen::{Chosen, Content, Look, Next, Nginx, Own, Seen};
use crate::finding::Finding;
use crate::name::DnsName;
use crate::target::dump::ServerBlock;
use crate::target::process::by_hand;
use crate::verify::judge;

/// How nginx comes to read its files again
pub(super) fn after_a_change(seen: &Seen<'_>, container: &str) -> String {
    match seen.domain {
        Some(domain) if domain.nginx.is_some() => {
            format!("run `certd obtain {}`: it {}", domain.name, reloads(seen))
        }
        _ => format!("reload nginx: {}", reload_by_hand(seen, container)),
    }
}

/// A change of nginx's configuration, where the files lie that it names, and what comes after it
pub(super) fn changing(seen: &Seen<'_>, nginx: &Nginx, change: &str) -> String {
    let after = after_a_change(seen, nginx.configured.container());
    nginx.configured.with_next(change, &format!("then {after}"))
}

/// The command by which a person makes nginx read its files again
pub(super) fn reload_by_hand(seen: &Seen<'_>, container: &str) -> String {
    const RELOAD: [&str; 2] = ["-s", "reload"];
    match seen.container() {
        Some(container) => by_hand(container, &RELOAD),
        None => format!("docker exec {container} nginx -s reload"),
    }
}

/// What helps where nginx has not loaded what is there: whether anybody told it to, and it failed,
/// cannot be seen from outside
pub(super) fn to_load(seen: &Seen<'_>) -> String {
    const SINCE: &str = "was not reloaded since, or the reload failed";
    match (seen.domain, seen.container()) {
        (Some(domain), _) if domain.nginx.is_some() => format!(
            "nginx {SINCE}: `certd obtain {}` {}, and shows nginx's own words where that fails",
            domain.name,
            reloads(seen)
        ),
        (_, Some(container)) => format!(
            "nginx {SINCE}: reload it, and read what it says where that changes nothing\n    {}\n    docker logs --tail 20 {}",
            reload_by_hand(seen, &container.name),
            container.name
        ),
        _ => format!(
            "the server {SINCE}: reload it, and read its error log where that changes nothing"
        ),
    }
}

/// What `certd obtain` does beside a reload
pub(super) fn reloads(seen: &Seen<'_>) -> &'static str {
    match seen.stored.next {
        Next::Deploy => "reloads nginx, without an order",
        Next::Either => "reloads nginx, and renews the certificate if it is due",
        Next::Order => "orders the certificate, and reloads nginx",
    }
}

/// What is to be done where the domain has no certificate yet: this, unless another program's
/// lineage is in its way
pub(super) fn order_first(seen: &Seen<'_>, cure: &str) -> String {
    let foreign = seen.stored.foreign.as_ref();
    let steps = foreign.and_then(|foreign| foreign.cure.clone());
    steps.unwrap_or_else(|| cure.to_owned())
}

/// What makes nginx serve a name that no block lists
pub(super) fn to_add(seen: &Seen<'_>, nginx: &Nginx, container: &str) -> String {
    let name = seen.name;
    match seen.domain {
        Some(domain) if nginx.own == Own::None => order_first(
            seen,
            &format!(
                "`certd obtain {}` orders its certificate, and shows what to add",
                domain.name
            ),
        ),
        Some(domain) => {
            let (inlet, shown) = (nginx.inlet.as_ref(), shown(seen, nginx));
            let configured = &nginx.configured;
            let change = configured.to_serve(domain, name, inlet, shown.as_deref());
            changing(seen, nginx, &change)
        }
        None if DnsName::parse(name).is_ok() => format!(
            "no `[[domain]]` of domains.toml has {name}: add it there, then run `certd obtain {name}`, which orders its certificate and shows the server block"
        ),
        None => format!(
            "add {name} to `server_name` of its server block, then {}",
            after_a_change(seen, container)
        ),
    }
}

/// What to write in the block, or what comes before that
pub(super) fn lines(seen: &Seen<'_>, nginx: &Nginx, block: &ServerBlock) -> String {
    let (name, container) = (seen.name, nginx.configured.container());
    let lineage = match (seen.domain, nginx.own) {
        (Some(domain), Own::None) => {
            let cure = format!(
                "`certd obtain {}` orders a certificate of its own, and shows what to write at {}",
                domain.name,
                block.place()
            );
            return order_first(seen, &cure);
        }
        (Some(_), Own::NotMounted) => return mount_whole(seen, container),
        (Some(domain), Own::Seen) => Ok(domain.name.clone()),
        // No CA issues for an underscore, and certd orders for no address.
        (None, own) if own == Own::Seen || DnsName::parse(name).is_err() => DnsName::parse(name),
        (None, _) => {
            return format!(
                "add {name} to domains.toml, then run `certd obtain {name}`: it orders a certificate, and shows what to write at {}",
                block.place()
            );
        }
    };
    let Ok(lineage) = lineage else {
        return format!("name the certificate of {name} at {}", block.place());
    };
    let site = match seen.domain {
        Some(domain) => nginx.configured.site(domain, name, block),
        None => nginx.configured.site_of(&lineage, block),
    };
    let site = site
        .showing(shown(seen, nginx).as_deref())
        .coming_in(nginx.inlet.as_ref());
    let change = site.to_change(|line| !site.is_own(line));
    changing(seen, nginx, &change)
}

/// The certificate that the name is served with now, in DER
fn shown(seen: &Seen<'_>, nginx: &Nginx) -> Option<Vec<u8>> {
    let named = nginx.named.as_ref().and_then(|named| match &named.content {
        Content::Chain(chain) => Some(chain.leaf().der.clone()),
        Content::Missing | Content::Unknown(_) => None,
    });
    named.or_else(|| Some(seen.at_container()?.leaf()?.der))
}

/// What shows a container the generations that come
pub(super) fn mount_whole(seen: &Seen<'_>, container: &str) -> String {
    let storage = seen.stored.storage.display();
    format!(
        "mount the storage whole, not a copy or a part, and create {container} anew:\n    {storage}:{storage}:ro"
    )
}

/// What to do where a regular expression may match the name
fn by_pattern(seen: &Seen<'_>) -> Option<String> {
    let nginx = seen.nginx.as_ref()?.as_ref().ok()?;
    let (domain, inlet) = (seen.domain?, nginx.inlet.as_ref()?);
    if nginx.own == Own::None {
        return None;
    }
    let cure = nginx
        .configured
        .by_pattern(&domain.name, seen.name, inlet)?;
    Some(changing(seen, nginx, &cure))
}

fn asks_for_the_clock(finding: &Finding) -> bool {
    let cure = finding.cure.as_deref();
    cure.is_some_and(|cure| cure.starts_with(judge::IS_THE_CLOCK_RIGHT))
}

/// The same with a cure for this domain: a command to be copied, a path to be written
pub(super) fn in_particular(seen: &Seen<'_>, look: &Look, finding: &Finding) -> Finding {
    // What certd would do here, it does on its own host alone.
    let Some(domain) = seen.domain.filter(|_| !seen.is_elsewhere()) else {
        return finding.clone();
    };
    if STRANGE.contains(&finding.code)
        && let Some(cure) = by_pattern(seen)
    {
        return finding.clone().with_cure(cure);
    }
    let name = &domain.name;
    let other = look.leaf().and_then(|leaf| {
        let known = seen.stored.known(leaf.fingerprint)?;
        (known.lineage != name.as_str()).then(|| known.lineage.clone())
    });
    if let Some(Ok(nginx)) = &seen.nginx
        && let Chosen::Listed(block, _) = &nginx.chosen
        && finding.code == "served.wrong_name"
    {
        return finding.clone().with_cure(lines(seen, nginx, block));
    }
    let cure = match (finding.code, other) {
        ("served.other_generation", _) => to_load(seen),
        // A year ago: the clock is asked for first.
        ("served.expired", _) if asks_for_the_clock(finding) => return finding.clone(),
        ("served.expired", _) => {
            format!("`certd obtain {name}` renews it; `certd status` says why that did not happen")
        }
        ("served.wrong_name", Some(other)) if seen.stored.live.is_some() => format!(
            "it is the certificate of {other}: give {0} a server block that names live/{name}/ (or that one, if it serves {0} alone), then run\n    certd obtain {name}",
            seen.name
        ),
        ("served.wrong_name", Some(_)) => {
            format!("`certd obtain {name}` orders a certificate of its own")
        }
        _ => return finding.clone(),
    };
    finding.clone().with_cure(cure)
}

/// Codes of a certificate that is not the name's own
const STRANGE: [&str; 3] = [
    "served.wrong_name",
    "served.other_lineage",
    "served.not_installed",
];
