//! What a certificate says of itself: its names, its time, its purpose, its strength.

use jiff::{SignedDuration, Timestamp};

use super::{Expectation, Moment};
use crate::chain::{Basic, Certificate, CriticalKind, KeyKind, Purpose, Standing};
use crate::finding::Finding;
use crate::name::is_public_suffix;
use crate::time::{display, display_apart, in_words};
use crate::verify::path::{Way, read_error};
use crate::verify::proof::covers;

/// Whether the SAN covers a name (RFC 9525); `None` where it lists the name and is malformed, which
/// is told as that
pub(super) fn name(wanted: &str, leaf: &Certificate) -> Option<Finding> {
    let is_listed = || {
        leaf.names
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(wanted))
    };
    let is_told = leaf.malformed.is_some() && !leaf.is_ca;
    let finding = name_finding(wanted, leaf);
    (finding.code != WRONG_NAME || !is_told || !is_listed()).then_some(finding)
}

fn name_finding(wanted: &str, leaf: &Certificate) -> Finding {
    if covers(&leaf.der, wanted) {
        if let Some(suffix) = public_suffix(wanted, leaf) {
            let evidence = format!("*.{suffix} would be valid for everybody below {suffix}");
            return Finding::failure(WRONG_NAME, evidence)
                .with_cure("browsers refuse it: obtain one for the name itself");
        }
        return Finding::ok("served.name", format!("valid for {wanted}"));
    }
    if leaf.names.is_empty() {
        let evidence = match &leaf.common_name {
            Some(name) => format!("it has no SAN, and its Common Name, {name}, counts nowhere"),
            None => "it has no SAN: it is for no name at all".to_owned(),
        };
        return Finding::failure("served.no_san", evidence)
            .with_cure("obtain one from a CA of today: all of them put the names into the SAN");
    }
    Finding::failure(
        WRONG_NAME,
        format!("the certificate for {wanted} is for {}", shortened(&leaf.names)),
    )
    .with_cure(format!(
        "browsers refuse it (NET::ERR_CERT_COMMON_NAME_INVALID): name the certificate of {wanted} in its server block"
    ))
}

/// The public suffix of a wildcard by which alone a name is covered
fn public_suffix<'w>(wanted: &'w str, leaf: &Certificate) -> Option<&'w str> {
    let is_listed = |name: &str| {
        let mut names = leaf.names.iter();
        names.any(|listed| listed.eq_ignore_ascii_case(name))
    };
    let (_, above) = wanted.split_once('.')?;
    let is_by_wildcard = !is_listed(wanted) && is_listed(&format!("*.{above}"));
    (is_by_wildcard && is_public_suffix(above)).then_some(above)
}

/// A leaf with an extension that must be understood, and that the verifier does not know
///
/// All else would be said by a verifier that reads no further.
pub(super) fn unknown_extension(leaf: &Certificate) -> Option<Finding> {
    let unknown = leaf.critical.as_ref()?;
    let is_read = unknown.kind.is_read();
    (!is_read).then(|| critical("it", &unknown.identifier, unknown.kind))
}

/// A leaf that the verifier does not read: all else would be said of no certificate
///
/// Of version 1 it is that it has no names, which is said.
pub(super) fn unreadable(leaf: &Certificate) -> Option<Finding> {
    if leaf.basic == Basic::Version1 && leaf.malformed.is_none() {
        return None;
    }
    let error = read_error(leaf)?;
    let reason = leaf.malformed.clone();
    let reason = reason.unwrap_or_else(|| format!("rustls does not read it ({error})"));
    Some(malformed(leaf.label(), &reason))
}

/// A certificate, which `which` names, that stands against RFC 5280
pub(super) fn malformed(which: &str, reason: &str) -> Finding {
    let evidence = format!("{which} breaks RFC 5280: {reason}");
    Finding::failure(MALFORMED, evidence)
        .with_cure("a browser refuses it: obtain one from a CA that issues for web servers")
}

/// A critical extension of a certificate, which `whose` names
pub(super) fn critical(whose: &str, identifier: &str, kind: CriticalKind) -> Finding {
    let refused = |evidence: String| {
        Finding::failure("served.critical_extension", evidence)
            .with_cure("obtain one from a CA that issues for web servers")
    };
    match kind {
        CriticalKind::Policies => Finding::warning(
            "served.critical_policies",
            format!(
                "{whose} has policies that are marked as critical, and certd cannot judge such a certificate"
            ),
        )
        .with_cure("browsers may take it; to have it judged, obtain one without critical policies"),
        CriticalKind::KeyIdentifier => refused(format!(
            "{whose} has a key identifier that is marked as critical, which RFC 5280 forbids"
        )),
        CriticalKind::PolicyMappings => refused(format!(
            "{whose} has policy mappings that are marked as critical, which Firefox does not know"
        )),
        CriticalKind::RevocationLists => refused(format!(
            "{whose} has CRL distribution points that are marked as critical, which no browser takes"
        )),
        CriticalKind::Unknown => refused(format!(
            "{whose} has a critical extension that a browser does not know: {identifier}"
        )),
    }
}

fn shortened(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(SHOWN_NAMES)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(SHOWN_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

pub(super) fn time(leaf: &Certificate, expected: &Expectation<'_>, now: Timestamp) -> Finding {
    let validity = leaf.validity;
    let left = validity.remaining(now);
    if now < validity.not_before {
        let [begins, at] = display_apart(validity.not_before, now);
        let evidence = format!("not valid before {begins}");
        let cure = match expected.moment {
            Moment::Now => {
                format!("is a clock wrong, here or where it was issued? This host's says {at}")
            }
            Moment::AskedFor => {
                format!("it was judged at {at}, as asked: `--at` takes a later day")
            }
        };
        return Finding::failure("served.not_yet_valid", evidence).with_cure(cure);
    }
    if left < SignedDuration::ZERO {
        let [ended, at] = display_apart(validity.not_after, now);
        let evidence = format!(
            "expired {} {}, at {ended}",
            in_words(left),
            match expected.moment {
                Moment::Now => "ago".to_owned(),
                Moment::AskedFor => format!("before {at}"),
            },
        );
        // One that nobody has missed for a year is more likely judged by a wrong clock.
        let cure = match expected.moment == Moment::Now && left.abs() > A_YEAR {
            true => format!("{IS_THE_CLOCK_RIGHT} It says {at}. If it is: {RENEW}"),
            false => RENEW.to_owned(),
        };
        return Finding::failure("served.expired", evidence).with_cure(cure);
    }
    let percent = (validity.remaining_fraction(now) * 100.0).round();
    let evidence = format!(
        "valid until {} ({} left, {percent}% of its life)",
        display(validity.not_after),
        in_words(left)
    );
    let least = expected.min_remaining.of(validity.lifetime());
    if left < least {
        let evidence = format!("{evidence}, below `min_remaining`: {}", in_words(least));
        let cure = match expected.own_names.is_empty() {
            true => "is it renewed by itself, and is the server reloaded then?",
            false => "does its renewal fail? See `certd status`",
        };
        return Finding::warning("served.expires_soon", evidence).with_cure(cure);
    }
    Finding::ok("served.time", evidence)
}

/// A longer life than public CAs may give, for one that begins when this one does
///
/// Chrome and Safari hold public CAs alone to it. Whether the root is a public one is not known
/// here, so it is a warning.
pub(super) fn long_life(leaf: &Certificate) -> Option<Finding> {
    let begins = leaf.validity.not_before.as_second();
    let limits = LONGEST_LIVES.iter();
    let (since, _, days) = limits.rev().find(|(_, from, _)| begins >= *from)?;
    let life = leaf.validity.lifetime();
    (life > SignedDuration::from_hours(24 * days)).then(|| {
        let evidence = format!(
            "valid for {} in all; public CAs may give {days} days since {since}",
            in_words(life)
        );
        Finding::warning("served.long_life", evidence)
            .with_cure("browsers refuse that of a public CA: obtain one with a shorter life")
    })
}

/// What the certificates of the chain must not be used for, whatever the path says
pub(super) fn purpose(way: &Way<'_>) -> Vec<Finding> {
    let leaf = way.chain.leaf();
    let mut findings = Vec::new();
    if leaf.purpose == Purpose::Other {
        findings.push(
            Finding::failure(
                "served.purpose",
                "the certificate is not meant for servers (no serverAuth)",
            )
            .with_cure("obtain one from a CA that issues for web servers"),
        );
    }
    let key_usage = |evidence: String| {
        Finding::failure("served.key_usage", evidence)
            .with_cure("obtain one from a CA that issues for web servers")
    };
    // A CA in the leaf's place is refused as that.
    let mut all = way
        .certificates()
        .filter(|one| !one.is_ca || one.fingerprint != leaf.fingerprint);
    findings.extend(all.find_map(|one| Some(malformed(one.label(), one.malformed.as_ref()?))));
    let mut all = way.certificates();
    findings.extend(all.find_map(|one| {
        let found = one.critical.as_ref().filter(|found| found.kind.is_read())?;
        Some(critical(one.label(), &found.identifier, found.kind))
    }));
    if !leaf.key_usage.signs_handshakes {
        let evidence = "its key may not sign handshakes (keyUsage without digitalSignature)";
        findings.push(key_usage(evidence.to_owned()));
    }
    let mut above = way.above();
    if let Some(above) = above.find(|above| !above.key_usage.signs_certificates) {
        let evidence = format!(
            "{} may not sign certificates (keyUsage without keyCertSign)",
            above.label()
        );
        findings.push(key_usage(evidence));
    }
    findings
}

/// Keys and signatures that browsers find too weak, or do not have
pub(super) fn weakness(way: &Way<'_>) -> Vec<Finding> {
    let all = [weak_key(way), strange_key(way), signature(way)];
    all.into_iter().flatten().collect()
}

/// A key that browsers find too short, of the leaf or of an intermediate
fn weak_key(way: &Way<'_>) -> Option<Finding> {
    let weak = way
        .certificates()
        .find(|certificate| certificate.key.is_weak())?;
    let evidence = format!("the key of {} is too short: {}", weak.label(), weak.key);
    Some(
        Finding::failure("served.weak_key", evidence)
            .with_cure("obtain one with `key_type = \"p256\"`, or with RSA of 2048 bits or more"),
    )
}

/// A key of a kind that Chrome or Firefox has not, of the leaf or of what signed on the way up
///
/// Above the leaf both have P-521 too.
fn strange_key(way: &Way<'_>) -> Option<Finding> {
    let leaf = way.chain.leaf();
    if matches!(leaf.key, KeyKind::Other | KeyKind::Ec(521)) {
        let evidence = "its key is neither RSA nor ECDSA on P-256 or P-384: Chrome has no other";
        return Some(
            Finding::failure(KEY_KIND, evidence).with_cure(
                "obtain one with `key_type = \"p256\"`, or with RSA of 2048 bits or more",
            ),
        );
    }
    let is_strange =
        |one: &&Certificate| one.signature.standing == Standing::OtherKey && !one.is_self_issued();
    if let Some(strange) = way.certificates().find(is_strange) {
        let evidence = format!(
            "{} is signed with {}: browsers have RSA and ECDSA alone",
            strange.label(),
            strange.signature.name
        );
        return Some(of_no_browser(evidence));
    }
    let strange = way.above().find(|above| above.key == KeyKind::Other)?;
    Some(strange_issuer(strange.label()))
}

/// A key of an issuer, which `label` names, of a kind that browsers do not have
pub(super) fn strange_issuer(label: &str) -> Finding {
    of_no_browser(format!(
        "the key of {label} is of a kind that browsers do not have"
    ))
}

fn of_no_browser(evidence: String) -> Finding {
    Finding::failure(KEY_KIND, evidence)
        .with_cure("obtain one from a CA whose keys are all RSA, or ECDSA on P-256, P-384 or P-521")
}

/// A signature that browsers refuse, on the leaf or on an intermediate
///
/// That of a root counts for nobody.
fn signature(way: &Way<'_>) -> Option<Finding> {
    let signed = || way.certificates().filter(|one| !one.is_self_issued());
    let refused = |one: &Certificate| {
        let (label, name) = (one.label(), &one.signature.name);
        format!("{label} is signed with {name}, which browsers refuse")
    };
    if let Some(weak) = signed().find(|one| one.signature.is_weak()) {
        return Some(
            Finding::failure("served.weak_signature", refused(weak))
                .with_cure("obtain a new one: no public CA signs so any more"),
        );
    }
    let other = signed().find(|one| one.signature.standing == Standing::Refused)?;
    Some(
        Finding::failure(SIGNATURE_KIND, refused(other)).with_cure(
            "have it issued anew with RSA or ECDSA over SHA-256, SHA-384 or SHA-512 (rsassaPss: with a salt as long as the digest)",
        ),
    )
}

/// Code of a certificate that is for other names
pub const WRONG_NAME: &str = "served.wrong_name";
/// Code of a certificate that stands against RFC 5280
pub(super) const MALFORMED: &str = "served.malformed";
/// Code of a key or a signature of a kind that browsers have not
pub(super) const KEY_KIND: &str = "served.key_kind";
/// Code of a signature that browsers refuse, though it is not weak
pub(super) const SIGNATURE_KIND: &str = "served.signature_kind";
/// How the cure begins where a clock is more likely wrong than a certificate
pub(crate) const IS_THE_CLOCK_RIGHT: &str = "is this host's clock right?";
const RENEW: &str = "renew it, and see that nginx is reloaded";
const A_YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);
/// Names of a wrong certificate that are listed
const SHOWN_NAMES: usize = 4;

/// Days that a certificate may live at most if it is issued on this day or later, in seconds since
/// 1970 too (Baseline Requirements 2.2.6 section 6.3.2)
const LONGEST_LIVES: [(&str, i64, i64); 5] = [
    ("2018-03-01", 1_519_862_400, 825),
    ("2020-09-01", 1_598_918_400, 398),
    ("2026-03-15", 1_773_532_800, 200),
    ("2027-03-15", 1_805_068_800, 100),
    ("2029-03-15", 1_868_227_200, 47),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_of_the_baseline_requirements_are_their_seconds() {
        for (day, seconds, _) in LONGEST_LIVES {
            let midnight: Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
            assert_eq!(midnight.as_second(), seconds, "{day}");
        }
    }
}
