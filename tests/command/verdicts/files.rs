//! Files with certificates, read as nginx reads them: nothing in them is passed over in silence.

use super::{INTERMEDIATE, NAME, ROOT, check_file, domain, issue, place};
use crate::support::{CLOSED, Place, Wish, pem};

/// A place with a leaf and its intermediate, in PEM
fn parts() -> (Place, String, String) {
    let place = place(&domain(NAME, CLOSED));
    let leaf = issue(&Wish::names(&[NAME]));
    place.write("key.pem", leaf.key_pem());
    (place, pem(&leaf.chain[0]), INTERMEDIATE.pem())
}

#[test]
fn a_chain_in_every_form_that_nginx_reads_is_judged() {
    let (place, leaf, above) = parts();
    let old = |text: &str| text.replace("CERTIFICATE", "X509 CERTIFICATE");
    for (file, chain) in [
        ("usual.pem", format!("{leaf}{above}")),
        ("mark.pem", format!("\u{feff}{leaf}{above}")),
        ("marks.pem", format!("\u{feff}{leaf}\u{feff}{above}")),
        ("old.pem", format!("{}{}", old(&leaf), old(&above))),
        (
            "windows.pem",
            format!("{leaf}{above}").replace('\n', "\r\n"),
        ),
        (
            "blanks.pem",
            format!("{leaf}{above}").replace("-----\n", "-----  \n"),
        ),
        (
            "between.pem",
            format!("subject=CN = x\n\n{leaf}\n\n{above}\n"),
        ),
        (
            "unfinished.pem",
            format!("{leaf}{above}").trim_end().to_owned(),
        ),
    ] {
        place.write(file, chain);
        check_file(&place, file, &["--key", "key.pem"], &[]);
    }
    // A key may have the mark too, and stand in the same file.
    let key = place.read("key.pem");
    place.write("key.pem", format!("\u{feff}{key}"));
    place.write("all.pem", format!("{key}{leaf}{above}"));
    check_file(&place, "all.pem", &["--key", "key.pem"], &[]);
}

#[test]
fn a_file_of_which_nginx_would_pass_over_a_certificate_is_refused_at_its_line() {
    let (place, leaf, above) = parts();
    let end = leaf.lines().count();
    let glued = format!("{}{above}", leaf.trim_end());
    let trusted = above.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let half: String = above
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    for (chain, line, words) in [
        (glued, end, "put a newline between"),
        (format!("  {leaf}{above}"), 1, "does not stand alone"),
        (format!("text {leaf}{above}"), 1, "does not stand alone"),
        (
            format!("{leaf}{above}").replace("-----BEGIN", "----- BEGIN"),
            1,
            "does not stand alone",
        ),
        (
            format!("{leaf}{above}").replace('\n', "\r"),
            1,
            "does not stand alone",
        ),
        (leaf.replace('\n', "\n\n"), 2, "an empty line"),
        (format!("{leaf}{half}"), end + 1, "no end"),
        (format!("{leaf}{trusted}"), end + 1, "TRUSTED CERTIFICATE"),
        (
            leaf.replace("END CERTIFICATE-----", "END CERTIFICATE"),
            end,
            "not the end",
        ),
        (leaf.replace("CERTIFICATE", "PKCS7"), 1, "PKCS7"),
        (leaf.replacen('M', "*", 1), 1, "base64"),
    ] {
        place.write("odd.pem", &chain);
        let run = place
            .run(&["verify", "--chain", "odd.pem", "--name", NAME])
            .exits(2);
        let told = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(&format!("line {line}: ")), "{told}\n{chain}");
        assert!(told.contains(words), "{told}\n{chain}");
    }
}

#[test]
fn no_root_of_a_trust_file_is_passed_over() {
    let (place, leaf, above) = parts();
    place.write("full.pem", format!("{leaf}{above}"));
    let root = ROOT.pem();
    place.write("root.pem", format!("\u{feff}{root}"));
    check_file(&place, "full.pem", &[], &[]);
    place.write("root.pem", format!("{}{root}", above.trim_end()));
    let run = place
        .run(&["verify", "--chain", "full.pem", "--name", NAME])
        .exits(2);
    let line = above.lines().count();
    assert!(
        run.stderr.contains(&format!("line {line}: ")),
        "{}",
        run.stderr
    );
}
