//! What is said when a certificate is not proven: what is served instead, and what to change.

use std::path::PathBuf;

use jiff::Timestamp;

use super::configured::{Configured, whereabouts};
use super::pinned;
use super::target::Target;
use super::tested::may_not_read;
use crate::chain::{Chain, Fingerprint};
use crate::facts::{ConnectFailure, Container};
use crate::finding::{Finding, words};
use crate::name::DnsName;
use crate::pipeline::installed::known_certificates;
use crate::pipeline::{Context, Work};
use crate::report::Outcome;
use crate::target::choice::Serving;
use crate::target::dump::{CertificateLine, ServerBlock};
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
    container: &Container,
    said: &str,
    stumble: Option<&Stumble>,
    guilt: Guilt,
    lives: &[PathBuf],
) -> Finding {
    let finding = Finding::failure(
        "target.test_failed",
        format!("nginx -t failed in {}:\n{said}", container.name),
    );
    match (guilt, stumble) {
        (
            Guilt::Own,
            Some(Stumble {
                reason: Reason::Forbidden,
                ..
            }),
        ) => finding.with_cure(may_not_read(container, &format!("the key of {name}"))),
        (Guilt::Others, Some(stumble)) => finding.with_cure(match pinned::instead(lives, &stumble.path) {
            Some(instead) => format!("{name} waits for {}: {instead}, {AFTER_A_CHANGE}", words::path(&stumble.path)),
            None => format!(
            "{name} waits for {}: mend that, then run `certd obtain` again; it deploys without an order",
            words::path(&stumble.path)
        )}),
        _ => match whereabouts(container, said) {
            Some(place) => finding.with_cure(format!("{AGAIN}\n{place}")),
            None => finding.with_cure(AGAIN),
        },
    }
}

/// TLS broke after the reload, and the previous generation is live again
///
/// `container` is the one that answered.
pub(super) fn rolled_back(
    work: &Work<'_>,
    container: &str,
    proof: &Proof,
    previous: u32,
    healing: Healing,
) -> Finding {
    let (name, newest) = (work.name(), work.ready.as_ref());
    let newest = newest.map_or(previous, |ready| ready.generation);
    let place = format!("{} at {}", proof.name, proof.address);
    let broken = |reason: &str| ("proof.broken", format!("TLS broke for {place} ({reason})"));
    let (code, what) = match &proof.verdict {
        Verdict::Broken(failure) => broken(&failure.to_string()),
        Verdict::KeyUnproven { reason } => broken(reason),
        Verdict::Proven { .. } | Verdict::Other { .. } | Verdict::Incomplete { .. } => (
            "proof.previous_generation",
            format!("nginx cannot load the new certificate of {place}"),
        ),
    };
    let after = match healing {
        Healing::Served => format!("generation {previous} is live and served again"),
        Healing::StillBroken => {
            format!("generation {previous} is live again, and TLS is still broken")
        }
    };
    Finding::failure(code, format!("{what}: {after}")).with_cure(format!(
        "see what nginx says of it:\n    docker logs --tail 20 {container}\nOnce that is mended, `certd obtain {name}` tries generation {newest} again at once, without an order; `certd obtain {name} --force` orders another"
    ))
}

/// TLS broke after the reload, and the new generation had to stay
pub(super) fn not_rolled_back(container: &str, proof: &Proof) -> Finding {
    Finding::failure(
        "proof.broken",
        format!(
            "TLS broke for {} at {}, and the live link could not be set back",
            proof.name, proof.address
        ),
    )
    .with_cure(format!(
        "see that the storage can be written, and what nginx says:\n    docker logs --tail 20 {container}"
    ))
}

/// Why a name is not served with its certificate, and what to change
///
/// `container` is the one that answered.
pub(super) fn not_proven(
    context: &Context<'_>,
    target: &Target,
    container: &str,
    configured: Option<&Configured>,
    work: &Work<'_>,
    proof: &Proof,
) -> (Outcome, Finding) {
    if let Some(finding) = target.taken(&proof.name, proof.address) {
        return (outcome(work), finding);
    }
    let served = || served_instead(context, container, work, proof);
    let Some(configured) = configured else {
        return (outcome(work), served());
    };
    if let Some(finding) = configured.unjudged() {
        return (outcome(work), served().with_cure(finding.evidence));
    }
    let (outcome, finding) = match configured.serving(&proof.name, proof.address) {
        Serving::Unknown => {
            let inlet = configured.inlet(proof.address);
            let cure = inlet
                .and_then(|inlet| configured.by_pattern(work.name(), &proof.name, &inlet))
                .map(|cure| configured.with_next(&cure, AFTER_A_CHANGE));
            let finding = served();
            let finding = match cure {
                Some(cure) => finding.with_cure(cure),
                None => finding,
            };
            return (outcome(work), finding);
        }
        // Another nginx beside it may serve the name.
        Serving::Nobody if configured.is_one_of_several() => (outcome(work), served()),
        Serving::Nobody => (outcome(work), no_server_block(work, proof, configured)),
        Serving::Elsewhere { block, at } => {
            let inlet = configured.inlet(proof.address);
            let domain = Some(work.domain);
            let cure = configured.listens_elsewhere(domain, &proof.name, block, at, inlet.as_ref());
            let cure = configured.with_next(&cure, AFTER_A_CHANGE);
            (Outcome::Failed, served().with_cure(cure))
        }
        Serving::Listed(block) => {
            let finding = match proof.verdict {
                Verdict::Broken(_) => served().with_cure(to_listen(work, proof, block, configured)),
                _ => with_lines(served(), work, proof, block, configured),
            };
            (Outcome::Failed, finding)
        }
    };
    let Some(doubt) = configured.doubt_in_words() else {
        return (outcome, finding);
    };
    let cure: Vec<String> = finding.cure.iter().cloned().chain([doubt]).collect();
    (outcome, finding.with_cure(cure.join("\n")))
}

/// What lets a block that lists a name shake hands for it
fn to_listen(
    work: &Work<'_>,
    proof: &Proof,
    block: &ServerBlock,
    configured: &Configured,
) -> String {
    let site = configured.site(work.domain, &proof.name, block);
    match site.to_accept() {
        Some((seen, cure)) => configured.with_next(&format!("{seen}: {cure}"), AFTER_A_CHANGE),
        None => {
            let open = configured.to_open_key_of(block, work.name());
            open.unwrap_or_else(|| not_listening(proof, block))
        }
    }
}

fn not_listening(proof: &Proof, block: &ServerBlock) -> String {
    format!(
        "the server block at {} serves {}: does it `listen` at the port behind {}, with ssl, and is `ports` right?",
        block.place(),
        proof.name,
        proof.address
    )
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

fn no_server_block(work: &Work<'_>, proof: &Proof, configured: &Configured) -> Finding {
    let name = &proof.name;
    Finding::failure(
        "proof.not_served_yet",
        format!(
            "issued, not served yet: no server block of {} serves {name} with TLS",
            configured.container()
        ),
    )
    .with_cure({
        let inlet = configured.inlet(proof.address);
        let change = configured.to_serve(work.domain, name, inlet.as_ref(), shown(proof));
        configured.with_next(&change, AFTER_A_CHANGE)
    })
}

/// The certificate that was shown instead of the domain's own, in DER
fn shown(proof: &Proof) -> Option<&[u8]> {
    match &proof.verdict {
        Verdict::Other { chain } => chain.first().map(Vec::as_slice),
        _ => None,
    }
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
    let inlet = configured.inlet(proof.address);
    let site = configured
        .site(work.domain, &proof.name, block)
        .showing(shown(proof))
        .coming_in(inlet.as_ref());
    let is_wrong = |line: &CertificateLine| match proof.verdict {
        Verdict::Incomplete { .. } => names_no_intermediates(line),
        _ => !site.is_own(line),
    };
    let place = block.place();
    let mut lines = block.certificate_lines().peekable();
    if lines.peek().is_some() && lines.all(|line| !is_wrong(line)) {
        let own = match proof.verdict {
            Verdict::Other { .. } => finding.cure.as_deref(),
            _ => None,
        };
        let own = own.map(|own| format!("\n{own}")).unwrap_or_default();
        if let Some(open) = configured.to_open_key_of(block, work.name()) {
            return finding.with_cure(format!(
                "the server block at {place} names the right files; {open}"
            ));
        }
        return finding.with_cure(format!(
            "the server block at {place} names the right files, so {0} did not load them: see\n    docker logs --tail 20 {0}{own}",
            configured.container()
        ));
    }
    finding.with_cure(configured.with_next(&site.to_change(is_wrong), AFTER_A_CHANGE))
}

/// What a name is served with, where it is not its own certificate
fn served_instead(
    context: &Context<'_>,
    container: &str,
    work: &Work<'_>,
    proof: &Proof,
) -> Finding {
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
        .with_cure(format!(
            "nginx's log says why it did not load the new one:\n    docker logs --tail 20 {container}\n{AFTER_A_CHANGE}"
        )),
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
        .with_cure("let `ssl_certificate` name fullchain.pem, not cert.pem, then run `certd obtain` again; it deploys without an order")
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
pub(super) const AFTER_A_CHANGE: &str =
    "then run `certd obtain` again; it deploys without an order";
/// What to do about a target that fails after the certificate was issued
pub(super) const AGAIN: &str =
    "mend it, then run `certd obtain` again: it deploys without an order";
