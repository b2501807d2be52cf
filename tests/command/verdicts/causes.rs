//! What breaks a chain, told as what it is: neither as damage, nor as another certificate's fault.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    GeneralSubtree, KeyPair, NameConstraints, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, SanType,
};

use super::{INTERMEDIATE, NAME, ROOT, check_file, domain, place, report};
use crate::support::{Authority, CLOSED, Leaf, Wish, finding, pem};

fn usual() -> Wish<'static> {
    Wish::names(&[NAME])
}

/// A file of `tests/data/unusual`
fn unusual(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/unusual");
    path.join(name).display().to_string()
}

/// The evidence and the cure of the one thing that is wrong with a file
#[track_caller]
fn told(place: &crate::support::Place, file: &str, code: &str) -> (String, String) {
    let report = check_file(place, file, &[], &[code]);
    let found = finding(&report, code);
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("evidence"), text("cure"))
}

#[test]
fn a_trusted_root_with_another_key_is_not_called_damage() {
    let place = place(&domain(NAME, CLOSED));
    let of_kind = |algorithm| {
        let key = KeyPair::generate_for(algorithm).expect("a key can be made");
        Authority::root_with("Trusted Root", key)
    };
    let others = [
        Authority::root("Trusted Root"),
        of_kind(&PKCS_ECDSA_P384_SHA384),
        of_kind(&PKCS_RSA_SHA256),
    ];
    let identified = |authority: &Authority| {
        let mut params = usual().params();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key can be made");
        authority.issue_as(params, key)
    };
    for other in &others {
        let intermediate = other.intermediate("Their Intermediate");
        for (file, leaf, signed) in [
            (
                "alone.pem",
                other.issue(&usual()).sent_with(Vec::new()),
                NAME,
            ),
            (
                "identified.pem",
                identified(other).sent_with(Vec::new()),
                NAME,
            ),
            (
                "below.pem",
                intermediate.issue(&usual()),
                "Their Intermediate",
            ),
        ] {
            place.write(file, leaf.chain_pem());
            let (evidence, cure) = told(&place, file, "served.other_key");
            assert_eq!(
                evidence,
                format!(
                    "the trusted root Trusted Root has another key than the one that signed {signed}"
                )
            );
            assert!(cure.contains("--trust"), "{cure}");
        }
    }
}

#[test]
fn a_chain_that_is_mixed_from_two_is_told_from_one_that_is_damaged() {
    let place = place(&domain(NAME, CLOSED));
    let other = ROOT.intermediate("Trusted Intermediate");
    let leaf = INTERMEDIATE.issue(&usual());
    place.write("mixed.pem", leaf.sent_with(vec![other.der()]).chain_pem());
    let (evidence, cure) = told(&place, "mixed.pem", "served.other_key");
    assert_eq!(
        evidence,
        format!(
            "Trusted Intermediate, as it is sent, has another key than the one that signed {NAME}"
        )
    );
    assert!(cure.contains("renewed"), "{cure}");
    // The right one beside it is found.
    let leaf = INTERMEDIATE.issue(&usual());
    let both = leaf.sent_with(vec![other.der(), INTERMEDIATE.der()]);
    place.write("both.pem", both.chain_pem());
    check_file(&place, "both.pem", &[], &[]);
    let mut params = usual().params();
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("a key can be made");
    let Leaf { chain, .. } = INTERMEDIATE.issue_as(params, key);
    let mut damaged = chain[0].to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let damaged = [pem(&damaged), pem(&chain[1])].concat();
    place.write("damaged.pem", damaged);
    let (_, cure) = told(&place, "damaged.pem", "served.signature");
    assert!(cure.contains("damaged"), "{cure}");
}

#[test]
fn a_signature_that_browsers_do_not_take_is_named() {
    let place = place(&domain(NAME, CLOSED));
    let roots =
        ["root-ec.pem", "root-rsa.pem"].map(|name| fs::read_to_string(unusual(name)).unwrap());
    place.write("root.pem", roots.concat());
    for (name, algorithm) in [
        ("ecdsa-sha224.pem", "ecdsa-with-SHA224"),
        ("ecdsa-sha3.pem", "ecdsa_with_SHA3-256"),
        ("rsa-sha224.pem", "sha224WithRSAEncryption"),
        ("rsa-sha3.pem", "RSA-SHA3-256"),
        ("rsa-sha512-256.pem", "sha512-256WithRSAEncryption"),
        ("pss-salt.pem", "rsassaPss (SHA-256, a salt of 20 bytes)"),
        (
            "pss-mask.pem",
            "rsassaPss (SHA-256, MGF1 with SHA-512, a salt of 32 bytes)",
        ),
    ] {
        let (evidence, _) = told(&place, &unusual(name), "served.signature_kind");
        let expected = format!("{NAME} is signed with {algorithm}, which browsers refuse");
        assert_eq!(evidence, expected);
    }
    check_file(
        &place,
        &unusual("pss-sha1.pem"),
        &[],
        &["served.weak_signature"],
    );
    for name in ["usual-ecdsa-sha512.pem", "usual-pss.pem"] {
        check_file(&place, &unusual(name), &[], &[]);
    }
}

#[test]
fn a_key_above_the_leaf_that_browsers_do_not_have_is_named() {
    let place = place(&domain(NAME, CLOSED));
    place.write("root.pem", fs::read(unusual("root-rsa.pem")).unwrap());
    for name in ["secp256k1", "pss-key"] {
        let (evidence, _) = told(&place, &unusual(&format!("{name}.pem")), "served.key_kind");
        assert!(
            evidence.contains(&format!("the key of Unusual {name} ")),
            "{evidence}"
        );
    }
    let (evidence, _) = told(&place, &unusual("large-key.pem"), "served.large_key");
    assert!(evidence.contains("RSA 8200"), "{evidence}");
    place.write("root.pem", fs::read(unusual("root-secp256k1.pem")).unwrap());
    let (evidence, _) = told(&place, &unusual("below-secp256k1.pem"), "served.key_kind");
    assert!(evidence.contains("Unusual root-secp256k1"), "{evidence}");
}

#[test]
fn a_chain_of_too_many_is_told_as_too_long() {
    let place = place(&domain(NAME, CLOSED));
    let chain = |length: usize, name: &dyn Fn(usize) -> String| {
        let mut above = vec![ROOT.intermediate(&name(0))];
        for number in 1..length {
            above.push(above[number - 1].intermediate(&name(number)));
        }
        let leaf = above[length - 1].issue(&usual());
        let sent = above.iter().rev().map(Authority::der);
        leaf.sent_with(sent.collect()).chain_pem()
    };
    let numbered = |number: usize| format!("CA {number}");
    place.write("six.pem", chain(6, &numbered));
    check_file(&place, "six.pem", &[], &[]);
    for length in [7, 12] {
        place.write("long.pem", chain(length, &numbered));
        let (evidence, _) = told(&place, "long.pem", "served.long_chain");
        assert_eq!(
            evidence,
            format!("{length} CAs stand between it and the root; Firefox follows six")
        );
    }
    // Each may be the issuer of each: the ways are too many to try.
    let root = Authority::root("One Name");
    let many: Vec<Authority> = (0..14).map(|_| root.intermediate("One Name")).collect();
    let leaf = many[13].issue(&usual());
    let sent = many.iter().rev().map(Authority::der);
    place.write("tangled.pem", leaf.sent_with(sent.collect()).chain_pem());
    place.write("root.pem", Authority::root("One Name").pem());
    let report = report(&place, &["--chain", "tangled.pem", "--name", NAME]);
    let found = finding(&report, "served.tangled_chain");
    assert_eq!(found["severity"], "failure", "{report:#}");
}

#[test]
fn name_constraints_of_other_kinds_bind_only_names_of_their_kind() {
    let place = place(&domain(NAME, CLOSED));
    let limited = ROOT.intermediate_as("Odd Intermediate", &|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::Rfc822Name("rare-books.test".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let issued = |address: Option<&str>| {
        let mut params = usual().params();
        let address = address.map(|address| address.try_into().expect("it is ASCII"));
        params
            .subject_alt_names
            .extend(address.map(SanType::Rfc822Name));
        let key = KeyPair::generate().expect("a key can be made");
        limited.issue_as(params, key).chain_pem()
    };
    place.write("without.pem", issued(None));
    check_file(&place, "without.pem", &[], &[]);
    place.write("with.pem", issued(Some("ann@rare-books.test")));
    check_file(&place, "with.pem", &[], &["served.other_constraints"]);
}
