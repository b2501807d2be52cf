//! What is served: the server blocks that listen at the TLS port, with their certificates.

use std::cmp::Reverse;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::configuration::{Configuration, Handshakes, Server};
use super::listens::{Rank, Transport};
use super::text::emergency;
use super::{Options, STORAGE, files, place};

/// A server block that is served
pub(super) struct Served {
    names: Vec<String>,
    /// What it shows
    pub(super) page: String,
    /// The directory in `live` whose certificate it names; `None` where it names another file
    pub(super) lineage: Option<String>,
    /// `None` where handshakes are rejected
    pub(super) key: Option<Arc<CertifiedKey>>,
}

/// The server blocks of the TLS port, the default one first
///
/// The certificates of all others are loaded too: nginx does so, whoever can reach them.
///
/// # Errors
/// What nginx says of a certificate that is missing or cannot be loaded.
pub(super) fn load(
    configuration: &Configuration,
    options: &Options,
) -> Result<Vec<Served>, String> {
    let keys = configuration
        .servers
        .iter()
        .map(|server| first_pair(server, options))
        .collect::<Result<Vec<_>, _>>()?;
    all_have_certificates(&configuration.servers)?;
    let mut chosen: Vec<(&Server, Rank, Option<Arc<CertifiedKey>>)> = configuration
        .servers
        .iter()
        .zip(keys)
        .filter_map(|(server, key)| Some((server, rank_at_tls_port(server)?, key)))
        .collect();
    chosen.sort_by_key(|(_, rank, _)| *rank != Rank::Default);
    let is_tls = |(server, ..): &(&Server, _, _)| {
        let mut listens = server.listens.iter();
        listens.any(|listen| listen.port == Some(HTTPS) && listen.transport == Transport::Tls)
    };
    // Without `ssl` in any of the blocks nginx speaks HTTP there, which nobody does here.
    if !chosen.iter().any(is_tls) {
        return Ok(Vec::new());
    }
    let default = chosen.first().and_then(|(.., key)| key.clone());
    let served = chosen.into_iter().map(|(server, _, key)| Served {
        names: server.names.clone(),
        page: page(server),
        lineage: server
            .pairs
            .certificates
            .first()
            .and_then(|path| lineage(path)),
        key: match server.handshakes {
            Handshakes::Rejected => None,
            Handshakes::Answered => key.or_else(|| default.clone()),
        },
    });
    Ok(served.collect())
}

/// The site for a name: the one that lists it, else its longest wildcard, else the first
///
/// A name that ends in a star and one that is a regular expression fit nothing here.
pub(super) fn site_for<'s>(served: &'s [Served], name: Option<&str>) -> Option<&'s Served> {
    let name = name.map(str::to_ascii_lowercase);
    let fit = |listed: &String| {
        let name = name.as_ref()?;
        if listed == name || listed.strip_prefix('.') == Some(name) {
            return Some(usize::MAX);
        }
        let suffix = listed.strip_prefix('*').unwrap_or(listed);
        (suffix.starts_with('.') && name.ends_with(suffix)).then_some(suffix.len())
    };
    // The minimum is the first of equals, which is what nginx keeps.
    served
        .iter()
        .min_by_key(|served| Reverse(served.names.iter().filter_map(fit).max()))
}

/// The pair that a server block shows, the first of those that it names; all are loaded
fn first_pair(server: &Server, options: &Options) -> Result<Option<Arc<CertifiedKey>>, String> {
    let (certificates, keys) = (&server.pairs.certificates, &server.pairs.keys);
    if let Some(last) = certificates
        .last()
        .filter(|_| keys.len() < certificates.len())
    {
        return Err(format!(
            "nginx: [emerg] no \"ssl_certificate_key\" is defined for certificate \"{last}\"\n"
        ));
    }
    let pairs = certificates.iter().zip(keys);
    let loaded = pairs.map(|(certificate, key)| files::load(options, certificate, key));
    let loaded = loaded.collect::<Result<Vec<_>, _>>()?;
    Ok(loaded.into_iter().next())
}

/// Whether nginx finds a certificate wherever it needs one
///
/// It needs one in the default block of each address alone, as the others show that one where
/// they have none; unless the default block rejects handshakes.
fn all_have_certificates(servers: &[Server]) -> Result<(), String> {
    let listens = || servers.iter().flat_map(|server| &server.listens);
    for secure in listens().filter(|listen| listen.transport == Transport::Tls) {
        let mut members: Vec<(&Server, Rank)> = servers
            .iter()
            .filter_map(|server| {
                let mut own = server.listens.iter();
                let listen = own.find(|listen| listen.address == secure.address)?;
                Some((server, listen.rank))
            })
            .collect();
        members.sort_by_key(|(_, rank)| *rank != Rank::Default);
        let needs = match members.first() {
            Some((default, _)) if default.handshakes == Handshakes::Rejected => members.as_slice(),
            first => first.map(std::slice::from_ref).unwrap_or_default(),
        };
        let has_none = |(server, _): &&(&Server, Rank)| {
            server.pairs.certificates.is_empty() && server.handshakes == Handshakes::Answered
        };
        if let Some((server, _)) = needs.iter().find(has_none) {
            let words = "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive";
            return Err(emergency(words, &server.place));
        }
    }
    Ok(())
}

/// How a server block stands at the TLS port; `None` where it does not listen there
fn rank_at_tls_port(server: &Server) -> Option<Rank> {
    let mut listens = server.listens.iter();
    listens
        .find(|listen| listen.port == Some(HTTPS))
        .map(|listen| listen.rank)
}

fn lineage(certificate: &str) -> Option<String> {
    let live = place::full(certificate);
    let below = live.strip_prefix(STORAGE)?.strip_prefix("/live/")?;
    let (lineage, _) = below.split_once('/')?;
    Some(lineage.to_owned())
}

/// The text that it returns, else one that names it
fn page(server: &Server) -> String {
    let title = || {
        server
            .names
            .first()
            .map_or("a site without a name", String::as_str)
    };
    let given = server.page.clone();
    given.unwrap_or_else(|| format!("{}, served by the sandbox\n", title()))
}

/// The one port in the container that is published for TLS
const HTTPS: u16 = 443;
