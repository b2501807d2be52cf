//! What is said when a certificate is not proven: what is served instead, and what to change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::target::Target;
use crate::chain::{Chain, Fingerprint};
use crate::config::{Domain, defaults};
use crate::facts::{ConnectFailure, Container};
use crate::finding::{Finding, words};
use crate::name::DnsName;
use crate::pipeline::installed::known_certificates;
use crate::pipeline::{Context, Work};
use crate::report::Outcome;
use crate::target::choice::{self, Serving};
use crate::target::dump::{CertificateLine, ServerBlock, server_blocks};
use crate::target::endpoint;
use crate::target::process::nginx_command;
use crate::target::words::{Reason, Stumble};
use crate::time::display_date;
use crate::verify::judge::Known;
use crate::verify::proof::{Proof, Verdict};

/// Whose file nginx stumbled over
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guilt {
    /// The domain's own
    Own,
    /// Another domain's, or none that certd manages
    Others,
}

/// What a rollback achieved
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Healing {
    /// The previous generation is served
    Served,
    /// It is not
    StillBroken,
}

/// nginx refused its configuration after the switch
pub(super) fn refused(
    name: &DnsName,
    container: &str,
    said: &str,
    stumble: Option<&Stumble>,
    guilt: Guilt,
) -> Finding {
    let finding = Finding::failure(
        "target.test_failed",
        format!("nginx -t failed in {container}:\n{said}"),
    );
    match (guilt, stumble) {
        (Guilt::Own, Some(Stumble { reason: Reason::Forbidden, .. })) => finding.with_cure(format!(
            "nginx's user may not read the key of {name}: set `key_group` to its group in domains.toml"
        )),
        (Guilt::Others, Some(stumble)) => finding.with_cure(format!(
            "{name} waits for {}: mend that, then run certd again; it deploys without an order",
            words::path(&stumble.path)
        )),
        _ => finding.with_cure(AGAIN),
    }
}

/// TLS broke after the reload, and the previous generation is live again
pub(super) fn rolled_back(proof: &Proof, previous: u32, healing: Healing) -> Finding {
    let reason = match &proof.verdict {
        Verdict::Broken(failure) => failure.to_string(),
        Verdict::KeyUnproven { reason } => reason.clone(),
        Verdict::Proven { .. } | Verdict::Other { .. } | Verdict::Incomplete { .. } => {
            "another certificate".to_owned()
        }
    };
    let after = match healing {
        Healing::Served => format!("generation {previous} is live and served again"),
        Healing::StillBroken => {
            format!("generation {previous} is live again, and TLS is still broken")
        }
    };
    Finding::failure(
        "proof.broken",
        format!(
            "TLS broke for {} at {} ({reason}): {after}",
            proof.name, proof.address
        ),
    )
    .with_cure("see nginx's log; the next run tries the new generation again, without an order")
}

/// TLS broke after the reload, and the new generation had to stay
pub(super) fn not_rolled_back(proof: &Proof) -> Finding {
    Finding::failure(
        "proof.broken",
        format!(
            "TLS broke for {} at {}, and the live link could not be set back",
            proof.name, proof.address
        ),
    )
    .with_cure("see nginx's log, and that the storage can be written")
}

/// What nginx's configuration says of a name
pub(in crate::pipeline) struct Configured {
    container: Container,
    /// Where the container's engine is
    engine: IpAddr,
    /// The live directory as the container sees it
    pub(in crate::pipeline) live: PathBuf,
    blocks: Vec<ServerBlock>,
}

impl Configured {
    /// The configuration of a container that sees the live directory there
    pub(in crate::pipeline) fn new(
        container: &Container,
        engine: IpAddr,
        live: PathBuf,
        blocks: Vec<ServerBlock>,
    ) -> Self {
        Self {
            container: container.clone(),
            engine,
            live,
            blocks,
        }
    }

    /// Name of the container
    pub(in crate::pipeline) fn container(&self) -> &str {
        &self.container.name
    }

    /// What serves a name at an address
    pub(super) fn serving(&self, name: &str, address: SocketAddr) -> Serving<'_> {
        let inlet = endpoint::inlet(&self.container, address, self.engine);
        choice::serving(&self.blocks, name, inlet.as_ref())
    }

    /// Whether nginx awaits a balancer at an address, and closes what comes without its header
    pub(in crate::pipeline) fn awaits_header(&self, address: SocketAddr) -> bool {
        let inlet = endpoint::inlet(&self.container, address, self.engine);
        inlet.is_some_and(|inlet| choice::awaits_header(&self.blocks, &inlet))
    }

    /// Whether a server block names files of another lineage, and none of this one
    pub(super) fn names_another_lineage(&self, block: &ServerBlock, name: &DnsName) -> bool {
        let own = self.live.join(name.as_str());
        let is_anothers = |path: &Path| path.starts_with(&self.live) && !path.starts_with(&own);
        let mut lines = block.certificate_lines().peekable();
        lines.peek().is_some() && lines.all(|line| is_anothers(&line.path))
    }
}

/// Why a name is not served with its certificate, and what to change
pub(super) fn not_proven(
    context: &Context<'_>,
    configured: Option<&Configured>,
    work: &Work<'_>,
    proof: &Proof,
) -> (Outcome, Finding) {
    let Some(configured) = configured else {
        return (outcome(work), served_instead(context, work, proof));
    };
    match configured.serving(&proof.name, proof.address) {
        Serving::Unknown => (outcome(work), served_instead(context, work, proof)),
        Serving::Nobody => (
            outcome(work),
            no_server_block(work, &proof.name, configured),
        ),
        Serving::Elsewhere { block, at } => {
            let finding = served_instead(context, work, proof);
            let cure = listens_elsewhere(&proof.name, block, at);
            let cure = format!("{cure}\n{AFTER_A_CHANGE}");
            (Outcome::Failed, finding.with_cure(cure))
        }
        Serving::Listed(block) => {
            let finding = served_instead(context, work, proof);
            let finding = match proof.verdict {
                Verdict::Broken(_) => finding.with_cure(not_listening(proof, block)),
                _ => with_lines(finding, work, proof, block, configured),
            };
            (Outcome::Failed, finding)
        }
    }
}

fn not_listening(proof: &Proof, block: &ServerBlock) -> String {
    format!(
        "the server block at {}:{} serves {}: does it `listen` at the port behind {}, with ssl, and is `ports` right?",
        block.file, block.line, proof.name, proof.address
    )
}

/// What to do where a block lists a name, and others listen where its connections come in
///
/// Options of a socket, such as `default_server`, stand in one `listen` of it alone: none is given
/// here, and nginx takes those that it has.
pub(in crate::pipeline) fn listens_elsewhere(
    name: &str,
    block: &ServerBlock,
    at: SocketAddr,
) -> String {
    let place = format!("{}:{}", block.file, block.line);
    let mut listens = block.listens.iter();
    let same_port = listens.find(|listen| listen.at.port() == at.port());
    let why = match same_port {
        Some(_) if at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            "does not listen on IPv6".to_owned()
        }
        // An address of its own comes before all addresses.
        Some(listen) => format!(
            "listens at {}, while others take what comes in there by a `listen` with its address",
            listen.at
        ),
        None => format!("does not listen at port {}", at.port()),
    };
    let line = match at.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        true => format!("listen {} ssl;", at.port()),
        false => format!("listen {at} ssl;"),
    };
    let or = match same_port {
        Some(_) => "",
        None => "\nor correct `ports` in domains.toml;",
    };
    format!("the server block at {place} lists {name}, and {why}: add\n    {line}{or}")
}

/// A lineage that was never served is not broken by that: it waits for its server block
fn outcome(work: &Work<'_>) -> Outcome {
    let record = &work.lineage.record;
    let ever = record
        .generations
        .values()
        .any(|generation| generation.proven_at.is_some());
    if ever {
        Outcome::Failed
    } else {
        Outcome::NotServed
    }
}

/// Reads nginx's configuration in the container that answers at an address
///
/// `None` where it cannot be asked or has no server block.
pub(super) async fn configured(
    context: &Context<'_>,
    target: &Target,
    works: &[Work<'_>],
    address: SocketAddr,
) -> Option<Configured> {
    let answers = |container: &&Container| {
        let engine = target.engine.address();
        target.members.iter().any(|member| {
            let ports = &works[*member].domain.ports;
            let mut own = ports
                .iter()
                .flat_map(|port| endpoint::endpoints(container, *port, engine));
            own.any(|own| own.address == address)
        })
    };
    let containers = &target.containers;
    let container = containers
        .iter()
        .find(answers)
        .or_else(|| containers.first())?;
    let command = nginx_command(container, &["-T"]);
    let executed = target.engine.exec(container, &command).await.ok()?;
    let blocks = server_blocks(&executed.stdout);
    if blocks.is_empty() {
        return None;
    }
    let live = live_in_use(
        &context.config.storage.join("live"),
        &target.lives_in(context, container),
        &blocks,
    )?;
    let engine = target.engine.address();
    Some(Configured::new(container, engine, live, blocks))
}

/// The path of `live/` that the configuration uses, where the storage is mounted twice
///
/// Where it uses none yet, the one that is the same as on this host.
pub(in crate::pipeline) fn live_in_use(
    host: &Path,
    lives: &[PathBuf],
    blocks: &[ServerBlock],
) -> Option<PathBuf> {
    let used = |live: &&PathBuf| {
        blocks
            .iter()
            .flat_map(ServerBlock::certificate_lines)
            .any(|line| line.path.starts_with(live))
    };
    let usual = Path::new(defaults::STORAGE).join("live");
    lives
        .iter()
        .find(used)
        .or_else(|| lives.iter().find(|live| *live == host))
        .or_else(|| lives.iter().find(|live| **live == usual))
        .or_else(|| lives.first())
        .cloned()
}

fn no_server_block(work: &Work<'_>, name: &str, configured: &Configured) -> Finding {
    Finding::failure(
        "proof.not_served_yet",
        format!(
            "issued, not served yet: no server block of {} serves {name} with TLS",
            configured.container()
        ),
    )
    .with_cure(format!(
        "add a server block, then run certd again; it deploys without an order:\n{}",
        block_to_add(work.domain, configured)
    ))
}

/// The server block that a domain lacks
pub(in crate::pipeline) fn block_to_add(domain: &Domain, configured: &Configured) -> String {
    let names: Vec<&str> = domain.names().map(DnsName::as_str).collect();
    let port = domain.ports.first().copied().unwrap_or(defaults::PORT);
    // nginx listens in the container, and the port may be another one on the host.
    let container = &configured.container;
    let mut published = container.published.iter();
    let port = match published.any(|published| published.container_port == port) {
        true => port,
        false => endpoint::container_port(container, port),
    };
    let lines = certificate_lines(&configured.live, &domain.name, "    ");
    format!(
        "server {{\n    listen {port} ssl;\n    server_name {};\n{lines}\n    # locations of the site\n}}",
        names.join(" ")
    )
}

fn certificate_lines(live: &Path, name: &DnsName, indent: &str) -> String {
    let live = live.join(name.as_str());
    format!(
        "{indent}ssl_certificate     {0}/fullchain.pem;\n{indent}ssl_certificate_key {0}/privkey.pem;",
        words::path(&live)
    )
}

/// Whether a line names the file that holds the leaf alone
pub(super) fn names_no_intermediates(line: &CertificateLine) -> bool {
    line.path.ends_with("cert.pem")
}

/// Adds the lines of the server block that must be changed
fn with_lines(
    finding: Finding,
    work: &Work<'_>,
    proof: &Proof,
    block: &ServerBlock,
    configured: &Configured,
) -> Finding {
    let own = configured.live.join(work.name().as_str());
    let is_wrong = |line: &&CertificateLine| match proof.verdict {
        Verdict::Incomplete { .. } => names_no_intermediates(line),
        _ => !line.path.starts_with(&own),
    };
    let place = format!("{}:{}", block.file, block.line);
    let is_right = |line| !is_wrong(&line);
    let mut lines = block.certificate_lines().peekable();
    if lines.peek().is_some() && lines.all(is_right) {
        let own = match proof.verdict {
            Verdict::Other { .. } => finding.cure.as_deref(),
            _ => None,
        };
        let own = own.map(|own| format!("\n{own}")).unwrap_or_default();
        return finding.with_cure(format!(
            "the server block at {place} names the right files, so {0} did not load them: see\n    docker logs --tail 20 {0}{own}",
            configured.container()
        ));
    }
    // What stands beside the blocks is for others too, and stays.
    let wrong: Vec<_> = block.certificates.iter().filter(is_wrong).collect();
    finding.with_cure(format!(
        "{}\n{AFTER_A_CHANGE}",
        lines_to_change(work.name(), block, configured, &wrong)
    ))
}

/// The lines of a server block that must be others; without any the right ones are missing
pub(in crate::pipeline) fn lines_to_change(
    name: &DnsName,
    block: &ServerBlock,
    configured: &Configured,
    wrong: &[&CertificateLine],
) -> String {
    use std::fmt::Write as _;
    let mut cure = format!(
        "in the server block at {}:{} of {}",
        block.file,
        block.line,
        configured.container()
    );
    if wrong.is_empty() {
        cure.push_str(" add");
    } else {
        cure.push_str(" change");
        for line in wrong {
            let place = match line.file == block.file {
                true => format!("line {}", line.line),
                false => format!("{}:{}", line.file, line.line),
            };
            let _ = write!(
                cure,
                "\n    {place}: {} {};",
                line.directive,
                words::path(&line.path)
            );
        }
        cure.push_str("\nto");
    }
    let _ = write!(
        cure,
        "\n{}",
        certificate_lines(&configured.live, name, "    ")
    );
    cure
}

/// What a name is served with, where it is not its own certificate
fn served_instead(context: &Context<'_>, work: &Work<'_>, proof: &Proof) -> Finding {
    let place = format!("{} at {}", proof.name, proof.address);
    let chain = match &proof.verdict {
        Verdict::Other { chain } => chain,
        Verdict::Broken(failure) => return no_tls(&place, failure),
        Verdict::KeyUnproven { reason } => {
            return Finding::failure("proof.key_unproven", format!("{place}: {reason}"));
        }
        Verdict::Incomplete { missing } => return incomplete(&place, *missing),
        Verdict::Proven { .. } => return Finding::ok("proof.proven", place),
    };
    let shown = chain.first().map(|leaf| Fingerprint::of(leaf));
    let known = known_certificates(context.store);
    let known = known.iter().find(|known| Some(known.fingerprint) == shown);
    match known {
        Some(Known {
            lineage,
            generation,
            ..
        }) if lineage == work.name().as_str() => Finding::failure(
            "proof.previous_generation",
            format!(
                "{place} is still served with generation {generation}: the reload did not take, twice"
            ),
        )
        .with_cure("nginx's log says why it did not load the new one: docker logs --tail 20, then run certd again; it deploys without an order"),
        Some(Known { lineage, .. }) => Finding::failure(
            "proof.other_lineage",
            format!("{place} is served with the certificate of {lineage}, not its own"),
        ),
        None => Finding::failure(
            "proof.unknown_certificate",
            format!(
                "{place} is served with a certificate unknown to certd: {}",
                label(chain, context.now())
            ),
        ),
    }
}

fn incomplete(place: &str, missing: usize) -> Finding {
    let intermediates = match missing {
        1 => "its intermediate certificate".to_owned(),
        missing => format!("{missing} of its intermediate certificates"),
    };
    let evidence =
        format!("{place} is served without {intermediates}: curl and most programs refuse it");
    Finding::failure("proof.incomplete_chain", evidence)
        .with_cure("let `ssl_certificate` name fullchain.pem, not cert.pem, then run certd again; it deploys without an order")
}

fn label(chain: &[Vec<u8>], now: Timestamp) -> String {
    match Chain::from_der(chain.to_vec()) {
        Ok(chain) => {
            let leaf = chain.leaf();
            let over = match leaf.validity.not_after {
                until if until <= now => format!(", expired {}", display_date(until)),
                _ => String::new(),
            };
            format!(
                "{}{over}, issued by {} ({})",
                leaf.label(),
                leaf.issuer,
                leaf.fingerprint.short()
            )
        }
        Err(error) => error.to_string(),
    }
}

fn no_tls(place: &str, failure: &ConnectFailure) -> Finding {
    Finding::failure("proof.no_tls", format!("{place}: {failure}"))
        .with_cure("is the TLS port of nginx open and published?")
}

/// What to do when lines of nginx's configuration have been changed
pub(super) const AFTER_A_CHANGE: &str = "then run certd again; it deploys without an order";
/// What to do about a target that fails after the certificate was issued
pub(super) const AGAIN: &str = "mend it, then run certd again: it deploys without an order";
