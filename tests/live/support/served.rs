//! What is served, by openssl: an oracle that shares no code with certd.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, DnType, KeyPair};

use super::process;

/// A certificate, as openssl describes it
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// SHA-256 of the DER form, in lower-case hexadecimal digits
    pub(crate) fingerprint: String,
    /// The Common Name, empty without one
    pub(crate) common_name: String,
    /// The DNS names of the subject alternative name, as they stand
    pub(crate) names: Vec<String>,
    /// How many certificates came, this one included
    pub(crate) chain_length: usize,
}

impl Leaf {
    /// The names in alphabetical order: a CA may give them in any
    pub(crate) fn sorted_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

/// The certificate that a fresh handshake with `sni` shows at `address`
///
/// # Errors
///
/// What openssl said, where no certificate came.
pub(crate) fn served(address: &str, sni: &str) -> Result<Leaf, String> {
    let output = process::run(
        Command::new("openssl")
            .args(["s_client", "-showcerts", "-connect", address])
            .args(["-servername", sni]),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !text.contains(BEGIN) {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(describe(&text))
}

/// Whether openssl believes what `address` shows for `name`, by name, path and time, under `root`
pub(crate) fn is_trusted(address: &str, name: &str, root: &Path) -> bool {
    let output = process::run(
        Command::new("openssl")
            .args(["s_client", "-connect", address, "-servername", name])
            .args(["-verify_hostname", name, "-verify_return_error"])
            .arg("-CAfile")
            .arg(root),
    );
    output.status.success()
}

/// Algorithm and size of the key in a PEM file's certificate, such as `EC 256`
#[track_caller]
pub(crate) fn key_algorithm(path: &Path) -> String {
    let pem = std::fs::read_to_string(path).expect("a certificate can be read");
    let text = x509(&pem, &["-text"]);
    let after = |mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        rest.split_whitespace().next().map(ToOwned::to_owned)
    };
    let kind = match after("Public Key Algorithm:").as_deref() {
        Some("id-ecPublicKey") => "EC",
        Some("rsaEncryption") => "RSA",
        other => panic!("{other:?} in {text}"),
    };
    let size = after("Public-Key:").expect("a size");
    format!("{kind} {}", size.trim_start_matches('('))
}

/// How many certificates a text in PEM holds
pub(crate) fn count(pem: &str) -> usize {
    pem.matches(BEGIN).count()
}

/// The first certificate of a PEM file
#[track_caller]
pub(crate) fn in_file(path: &Path) -> Leaf {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    describe(&text)
}

/// Writes a self-signed `fullchain.pem` and `privkey.pem` for `names` into `dir`
pub(crate) fn write_self_signed(dir: &Path, names: &[&str]) {
    let owned = names
        .iter()
        .map(|&name| name.to_owned())
        .collect::<Vec<_>>();
    let mut params = CertificateParams::new(owned).expect("valid names");
    params.distinguished_name.push(DnType::CommonName, names[0]);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    std::fs::create_dir_all(dir).expect("directory can be made");
    std::fs::write(dir.join("fullchain.pem"), pem).expect("chain can be written");
    std::fs::write(dir.join("privkey.pem"), key.serialize_pem()).expect("key can be written");
}

// `openssl x509` reads the first certificate and passes over other text.
#[track_caller]
fn describe(text: &str) -> Leaf {
    let described = x509(
        text,
        &[
            "-fingerprint",
            "-sha256",
            "-subject",
            "-nameopt",
            "multiline",
            "-ext",
            "subjectAltName",
        ],
    );
    let after = |mark: &str| {
        let line = described.lines().find(|line| line.trim().starts_with(mark));
        line.and_then(|line| line.split_once('='))
            .map(|(_, value)| value.trim().to_owned())
    };
    let fingerprint = after("sha256 Fingerprint").expect("a fingerprint");
    Leaf {
        fingerprint: fingerprint.replace(':', "").to_lowercase(),
        common_name: after("commonName").unwrap_or_default(),
        names: described
            .split([',', '\n'])
            .filter_map(|part| part.trim().strip_prefix("DNS:"))
            .map(str::to_owned)
            .collect(),
        chain_length: count(text),
    }
}

#[track_caller]
fn x509(pem: &str, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["x509", "-noout"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl can be started");
    // openssl closes its input after the first certificate.
    let _ = child.stdin.take().expect("piped").write_all(pem.as_bytes());
    let output = child.wait_with_output().expect("openssl ends");
    assert!(
        output.status.success(),
        "openssl reads no certificate in {pem}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
