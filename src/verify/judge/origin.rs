//! Where a certificate comes from, held against where it should: the storage, its issuer, its
//! Common Name.

use super::Expectation;
use crate::chain::Certificate;
use crate::config::Sharing;
use crate::finding::Finding;
use crate::name::DnsName;

/// The Common Name, where there is one, must be one of the domain's own names
///
/// Browsers ignore it. certd does not: a name of another domain there means that the certificate
/// was made for that domain, which is the mistake that a shared certificate hides.
pub(super) fn common_name(
    asked: &str,
    leaf: &Certificate,
    expected: &Expectation<'_>,
) -> Option<Finding> {
    let common_name = leaf.common_name.as_deref()?;
    let own = |name: &DnsName| name.as_str().eq_ignore_ascii_case(common_name);
    if common_name.eq_ignore_ascii_case(asked) || expected.own_names.iter().any(own) {
        return None;
    }
    let evidence = format!("its Common Name is {common_name}");
    if expected.own_names.is_empty() || expected.sharing == Sharing::Shared {
        return Some(Finding::note("served.other_common_name", evidence));
    }
    Some(
        Finding::failure(
            "served.other_common_name",
            format!("{evidence}, which is none of the domain's names"),
        )
        .with_cure(format!(
            "{asked} should have a certificate of its own; to share one on purpose, set shared = true"
        )),
    )
}

pub(super) fn installed(leaf: &Certificate, expected: &Expectation<'_>) -> Option<Finding> {
    let installed = expected.installed?;
    let live = installed.live.as_ref()?;
    if leaf.fingerprint == live.fingerprint {
        let evidence = format!("generation {} is served", live.generation);
        return Some(Finding::ok("served.installed", evidence));
    }
    let known = installed
        .all
        .iter()
        .find(|known| known.fingerprint == leaf.fingerprint);
    Some(match known {
        Some(known) if known.lineage == installed.lineage => Finding::failure(
            "served.other_generation",
            format!(
                "generation {} is served, generation {} is live",
                known.generation, live.generation
            ),
        )
        .with_cure(format!(
            "nginx was not reloaded since, or the reload failed: `certd obtain {}` reloads the nginx that domains.toml names, and shows its own words where that fails",
            installed.lineage
        )),
        Some(known) if expected.sharing == Sharing::Shared => Finding::note(
            "served.other_lineage",
            format!("the certificate of {} is served", known.lineage),
        ),
        Some(known) => Finding::failure(
            "served.other_lineage",
            format!(
                "the certificate of {} is served, not that of {}",
                known.lineage, installed.lineage
            ),
        )
        .with_cure(format!(
            "the server block names live/{}/: let it name live/{}/",
            known.lineage, installed.lineage
        )),
        None if leaf.public_key == live.public_key => Finding::failure(
            "served.not_installed",
            format!(
                "another certificate for the installed key is served ({})",
                leaf.fingerprint.short()
            ),
        )
        .with_cure("another program orders with the same key: let one of the two serve this name"),
        None => Finding::failure(
            "served.not_installed",
            format!(
                "a certificate unknown to certd is served ({} from {}, {})",
                leaf.label(),
                leaf.issuer,
                leaf.fingerprint.short()
            ),
        )
        .with_cure("another program or another storage serves this name"),
    })
}

/// What the caller demands of it
pub(super) fn wanted(leaf: &Certificate, expected: &Expectation<'_>) -> Vec<Finding> {
    let fingerprint = leaf.fingerprint.to_string();
    let other = |wanted: &&str| !fingerprint.starts_with(*wanted);
    let other_fingerprint = expected.fingerprint.filter(other).map(|wanted| {
        let evidence = format!("its SHA-256 is {fingerprint}, and {wanted} was expected");
        Finding::failure("served.other_fingerprint", evidence)
            .with_cure("deploy the certificate that was expected, and reload the server")
    });
    let issuer = leaf.issuer.to_lowercase();
    let strange = |wanted: &&str| !issuer.contains(&wanted.to_lowercase());
    let other_issuer = expected.issuer.filter(strange).map(|wanted| {
        let evidence = format!("{} issued it, and {wanted} was expected", leaf.issuer);
        Finding::failure("served.other_issuer", evidence)
            .with_cure("obtain one from the CA that was expected, and reload the server")
    });
    [other_fingerprint, other_issuer]
        .into_iter()
        .flatten()
        .collect()
}
