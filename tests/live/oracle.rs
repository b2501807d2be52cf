//! OpenSSL's verdict beside certd's: on chains in files, and on servers.
//!
//! Where the two differ the case stands in the table of README.md, with its reason, and nowhere
//! else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Trial;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::support::ports;
use crate::support::process::{self, Process};
use crate::support::write;

pub(crate) fn trials() -> Vec<Trial> {
    crate::trials![
        openssl_agrees_on_every_chain_in_a_file,
        openssl_agrees_on_every_server,
    ]
}

const NAME: &str = "shop.rare-books.test";

/// A chain to be judged, with its key
struct Case {
    id: &'static str,
    /// The leaf first
    chain: Vec<String>,
    key: String,
}

struct Authority {
    pem: String,
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn root(name: &str) -> Self {
        let params = authority(name);
        let key = KeyPair::generate().expect("a key");
        Self {
            pem: params.self_signed(&key).expect("a root").pem(),
            params,
            key,
        }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer());
        Self {
            pem: signed.expect("an intermediate").pem(),
            params,
            key,
        }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

/// Every kind of chain that the tests of `certd verify` have, by rcgen
fn cases(root: &Authority) -> Vec<Case> {
    let intermediate = root.below(authority("Trusted Intermediate"));
    let strange = Authority::root("Strange Root");
    let key = || KeyPair::generate().expect("a key");
    let issue = |id, params: &CertificateParams, key: KeyPair, by: &Authority, above: &[&str]| {
        let signed = params.signed_by(&key, &by.issuer()).expect("a leaf");
        let above = above.iter().map(|pem| (*pem).to_owned());
        Case {
            id,
            chain: std::iter::once(signed.pem()).chain(above).collect(),
            key: key.serialize_pem(),
        }
    };
    let usual = |id, params: &CertificateParams| {
        issue(id, params, key(), &intermediate, &[&intermediate.pem])
    };
    let changed = |id, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = leaf(&[NAME]);
        change(&mut params);
        usual(id, &params)
    };
    let with_key = |id, algorithm| {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        issue(id, &leaf(&[NAME]), key, &intermediate, &[&intermediate.pem])
    };
    let below = |id, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = authority("Odd Intermediate");
        change(&mut params);
        let odd = root.below(params);
        issue(id, &leaf(&[NAME]), key(), &odd, &[&odd.pem])
    };
    let self_signed = {
        let key = key();
        Case {
            id: "self-signed",
            chain: vec![leaf(&[NAME]).self_signed(&key).expect("a leaf").pem()],
            key: key.serialize_pem(),
        }
    };
    let lower = intermediate.below(authority("Lower Intermediate"));
    vec![
        usual("good", &leaf(&[NAME])),
        usual("several-names", &leaf(&["a.test", NAME])),
        usual("wildcard", &leaf(&["*.rare-books.test"])),
        usual("wildcard-of-two-labels", &leaf(&["*.test"])),
        usual("wrong-name", &leaf(&["other.test"])),
        with_key("p384", &PKCS_ECDSA_P384_SHA384),
        with_key("rsa2048", &PKCS_RSA_SHA256),
        with_key("ed25519", &PKCS_ED25519),
        with_key("p521", &PKCS_ECDSA_P521_SHA512),
        changed("for-signing-certificates", &|params| {
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }),
        changed("for-handshakes", &|params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }),
        changed("critical-policies", &|params| {
            let any = vec![0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x20, 0];
            let mut policies = CustomExtension::from_oid_content(&[2, 5, 29, 32], any);
            policies.set_criticality(true);
            params.custom_extensions.push(policies);
        }),
        changed("expired", &|params| {
            params.not_after = date_time_ymd(2021, 1, 1)
        }),
        changed("not-yet-valid", &|params| {
            params.not_before = date_time_ymd(2090, 1, 1)
        }),
        changed("common-name-of-another", &|params| {
            params.distinguished_name = named("other.test");
        }),
        changed("no-san", &|params| {
            params.subject_alt_names.clear();
            params.distinguished_name = named(NAME);
        }),
        changed("for-clients", &|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        changed("for-anything", &|params| params.extended_key_usages.clear()),
        changed("ca-as-leaf", &|params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        changed("unknown-critical-extension", &|params| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        }),
        issue("by-the-root", &leaf(&[NAME]), key(), root, &[]),
        issue("incomplete", &leaf(&[NAME]), key(), &intermediate, &[]),
        issue(
            "unknown-root",
            &leaf(&[NAME]),
            key(),
            &strange,
            &[&strange.pem],
        ),
        issue(
            "with-the-root",
            &leaf(&[NAME]),
            key(),
            &intermediate,
            &[&intermediate.pem, &root.pem],
        ),
        issue(
            "out-of-order",
            &leaf(&[NAME]),
            key(),
            &lower,
            &[&intermediate.pem, &lower.pem],
        ),
        below("intermediate-expired", &|params| {
            params.not_after = date_time_ymd(2021, 1, 1);
        }),
        below("intermediate-for-clients", &|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }),
        below("intermediate-may-not-sign", &|params| {
            params.key_usages = vec![KeyUsagePurpose::CrlSign];
        }),
        below("intermediate-is-no-ca", &|params| {
            params.is_ca = IsCa::ExplicitNoCa
        }),
        below("intermediate-for-other-names", &|params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.test".to_owned())],
                excluded_subtrees: Vec::new(),
            });
        }),
        self_signed,
    ]
}

/// What rcgen makes not: short keys and weak digests, below a root of their own
fn weak(directory: &Path) -> Vec<Case> {
    let script = "set -eu
        openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -sha256 \
            -days 3650 -subj '/CN=Weak Root'
        for kind in short-key:1024:sha256 sha1:2048:sha1 md5:2048:md5; do
            IFS=: read -r name bits digest <<<\"$kind\"
            printf '%s\\n' subjectAltName=DNS:shop.rare-books.test extendedKeyUsage=serverAuth >ext
            openssl req -newkey rsa:$bits -nodes -keyout $name.key -out $name.csr -subj /
            openssl x509 -req -in $name.csr -CA root.pem -CAkey root.key -CAcreateserial \
                -out $name.pem -days 365 -$digest -extfile ext
        done";
    process::stdout_of(
        Command::new("bash")
            .args(["-c", script])
            .current_dir(directory),
    );
    let read = |file: String| std::fs::read_to_string(directory.join(file)).expect("it is made");
    ["short-key", "sha1", "md5"]
        .map(|id| Case {
            id,
            chain: vec![read(format!("{id}.pem"))],
            key: read(format!("{id}.key")),
        })
        .into()
}

/// A directory with every case, and the roots that are trusted
struct Bench {
    directory: TempDir,
    cases: Vec<Case>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Authority::root("Trusted Root");
        let mut cases = cases(&root);
        cases.extend(weak(directory.path()));
        let weak_root = std::fs::read_to_string(directory.path().join("root.pem"));
        let roots = [root.pem, weak_root.expect("it is made")].concat();
        write(directory.path().join("roots.pem"), roots);
        for Case { id, chain, key } in &cases {
            let file = |kind: &str| directory.path().join(format!("{id}.{kind}"));
            write(file("leaf"), &chain[0]);
            write(file("above"), chain[1..].concat());
            write(file("full"), chain.concat());
            write(file("key"), key);
        }
        Self { directory, cases }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        command
            .env("SSL_CERT_FILE", "/dev/null")
            .env_remove("SSL_CERT_DIR");
        command.stdin(Stdio::null());
        command
    }

    fn certd(&self, arguments: &[&str]) -> Verdict {
        let mut command = self.command(env!("CARGO_BIN_EXE_certd"));
        command.args(["verify", "--trust", "roots.pem", "--tls-only"]);
        let output = process::run(command.args(arguments));
        match String::from_utf8_lossy(&output.stdout).contains("cannot judge") {
            true => Verdict::Unjudged,
            false => Verdict::of(&output),
        }
    }

    fn openssl(&self, arguments: &[&str]) -> Verdict {
        Verdict::of(&process::run(self.command("openssl").args(arguments)))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

/// What a program says of a chain
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    /// certd's alone: it has no cipher suite that the server has
    Unjudged,
}

impl Verdict {
    fn of(output: &Output) -> Self {
        match output.status.code() {
            Some(0) => Self::Good,
            Some(1 | 2) => Self::Bad,
            _ => panic!("{output:?}"),
        }
    }
}

/// The cases in README's table: whether OpenSSL takes what certd refuses
fn known_differences() -> Vec<(String, Verdict)> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("it is there");
    let (_, table) = readme
        .split_once("| case | certd | OpenSSL | why |")
        .expect("the table is there");
    let rows = table.lines().skip(2);
    let rows = rows.take_while(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let verdict = match cells[2] {
            "refuses" => Verdict::Bad,
            "takes" => Verdict::Good,
            "cannot judge" => Verdict::Unjudged,
            other => panic!("{other:?} in {row}"),
        };
        (cells[1].trim_matches('`').to_owned(), verdict)
    })
    .collect()
}

/// Holds the verdicts against each other, and the differences against the table
#[track_caller]
fn compare(verdicts: &[(&str, Verdict, Verdict)]) {
    let known = known_differences();
    let wrong: Vec<_> = verdicts
        .iter()
        .filter(|(id, certd, openssl)| {
            let difference = known.iter().find(|(known, _)| known == id);
            difference.map_or(certd != openssl, |(_, expected)| {
                certd != expected || certd == openssl
            })
        })
        .collect();
    assert!(wrong.is_empty(), "id, certd, OpenSSL: {wrong:?}");
}

fn openssl_agrees_on_every_chain_in_a_file() {
    let bench = Bench::new();
    let verdicts: Vec<_> = bench
        .cases
        .iter()
        .map(|case| {
            let file = |kind: &str| format!("{}.{kind}", case.id);
            let certd = bench.certd(&[
                "--chain",
                &file("full"),
                "--key",
                &file("key"),
                "--name",
                NAME,
            ]);
            // Level 2 is what Debian's OpenSSL demands in a handshake.
            let mut arguments = vec![
                "verify",
                "-auth_level",
                "2",
                "-purpose",
                "sslserver",
                "-verify_hostname",
                NAME,
                "-CAfile",
                "roots.pem",
            ];
            let (above, leaf) = (file("above"), file("leaf"));
            if case.chain.len() > 1 {
                arguments.extend(["-untrusted", &above]);
            }
            arguments.push(&leaf);
            (case.id, certd, bench.openssl(&arguments))
        })
        .collect();
    compare(&verdicts);
    // The cases are good and bad ones, and those of the table are among them.
    let count = |verdict| {
        verdicts
            .iter()
            .filter(|(_, certd, _)| *certd == verdict)
            .count()
    };
    assert!(
        count(Verdict::Good) >= 8 && count(Verdict::Bad) >= 14,
        "{verdicts:?}"
    );
}

/// A server of OpenSSL's with these options, and where it listens
fn serve(bench: &Bench, case: &Case, options: &[&str]) -> (Process, String) {
    let port = ports::free();
    let address = format!("127.0.0.1:{port}");
    let file = |kind: &str| format!("{}.{kind}", case.id);
    let mut command = bench.command("openssl");
    command.args(["s_server", "-quiet", "-accept", &address]);
    command.args(["-cert", &file("leaf"), "-key", &file("key")]);
    if case.chain.len() > 1 {
        command.args(["-cert_chain", &file("above")]);
    }
    let log = bench.path(&format!("{port}.log"));
    let mut server = Process::start(command.args(options), &log);
    server.wait_listening(port);
    (server, address)
}

/// What certd and OpenSSL say of a server
fn look(bench: &Bench, case: &Case, options: &[&str]) -> (Verdict, Verdict) {
    let (_server, address) = serve(bench, case, options);
    let certd = bench.certd(&[&address, "--name", NAME]);
    let openssl = bench.openssl(&[
        "s_client",
        "-connect",
        &address,
        "-servername",
        NAME,
        "-verify_hostname",
        NAME,
        "-CAfile",
        "roots.pem",
        "-verify_return_error",
    ]);
    (certd, openssl)
}

fn openssl_agrees_on_every_server() {
    let bench = Bench::new();
    // A server may have what its client would refuse.
    let any: &[&str] = &["-cipher", "DEFAULT@SECLEVEL=0"];
    // OpenSSL does not read an Ed25519 key of rcgen's, which has its public half beside it.
    let cases = bench.cases.iter().filter(|case| case.id != "ed25519");
    let usual = cases.map(|case| (case.id, case, any));
    let of = |id| bench.cases.iter().find(|case| case.id == id);
    let (good, rsa) = (of("good").expect("a case"), of("rsa2048").expect("a case"));
    let kinds: [(&str, &Case, &[&str]); 6] = [
        ("tls1.2", good, &["-tls1_2"]),
        ("tls1.3", good, &["-tls1_3"]),
        ("tls1.1", rsa, TLS11),
        ("cbc", rsa, &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"]),
        ("static-rsa", rsa, STATIC_RSA),
        (
            "dhe",
            rsa,
            &["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"],
        ),
    ];
    let verdicts: Vec<_> = usual
        .chain(kinds)
        .map(|(id, case, options)| {
            let (certd, openssl) = look(&bench, case, options);
            (id, certd, openssl)
        })
        .collect();
    compare(&verdicts);
    let is_looked_at = |id: &str| verdicts.iter().any(|(looked_at, ..)| *looked_at == id);
    let mut known = known_differences().into_iter();
    assert!(known.all(|(id, _)| is_looked_at(&id) || id == "ed25519"));
    let old = told(&bench, rsa, TLS11);
    assert!(old.contains("nothing newer than TLSv1.1"), "{old}");
    let other = told(&bench, rsa, STATIC_RSA);
    assert!(other.contains("TLS_RSA_WITH_AES_128_GCM_SHA256"), "{other}");
    assert!(other.contains("a browser may connect"), "{other}");
}

const TLS11: &[&str] = &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
const STATIC_RSA: &[&str] = &["-tls1_2", "-cipher", "AES128-GCM-SHA256"];

/// What certd says of a server with these options, in one line
fn told(bench: &Bench, case: &Case, options: &[&str]) -> String {
    let (_server, address) = serve(bench, case, options);
    let mut certd = bench.command(env!("CARGO_BIN_EXE_certd"));
    certd.args(["verify", "--trust", "roots.pem", &address, "--name", NAME]);
    let output = process::run(&mut certd);
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
