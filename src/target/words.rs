//! What nginx said in `nginx -t`, read for the file that it stumbled over.

use std::path::PathBuf;

/// A file that nginx could not load, from its own words
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stumble {
    /// The file, as nginx sees it
    pub path: PathBuf,
    /// What was wrong with it
    pub reason: Reason,
}

/// Why nginx could not load a file
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is not there
    Missing,
    /// nginx's user may not read it
    Forbidden,
    /// Anything else: damaged, or a key of another certificate
    Other,
}

/// The certificate or key file that `nginx -t` stumbled over; `None` for any other complaint
///
/// nginx stops at the first such file, so there is at most one.
pub fn stumble(output: &str) -> Option<Stumble> {
    let line = output.lines().find(|line| {
        line.contains("[emerg]")
            && CERTIFICATE_COMPLAINTS
                .iter()
                .any(|words| line.contains(words))
    })?;
    let path = line.split('"').nth(1)?;
    let reason = if line.contains("No such file") || line.contains("no such file") {
        Reason::Missing
    } else if line.contains("Permission denied") || line.contains("permission denied") {
        Reason::Forbidden
    } else {
        Reason::Other
    };
    Some(Stumble {
        path: PathBuf::from(path),
        reason,
    })
}

/// nginx's complaints alone: errors before warnings, the success lines left out
pub fn complaints(output: &str) -> String {
    let lines = || {
        output
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let is_warning = |line: &&str| line.contains("[warn]") || line.contains("[notice]");
    let errors = lines().filter(|line| !is_warning(line) && !line.contains("syntax is ok"));
    let shown: Vec<&str> = errors
        .chain(lines().filter(is_warning))
        .take(MAX_LINES)
        .collect();
    shown.join("\n")
}

const CERTIFICATE_COMPLAINTS: [&str; 4] = [
    "cannot load certificate",
    "BIO_new_file(",
    "SSL_CTX_use_certificate",
    "SSL_CTX_use_PrivateKey",
];
const MAX_LINES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_and_the_reason_are_found() {
        #[track_caller]
        fn check(output: &str, expected: Option<(&str, Reason)>) {
            let expected = expected.map(|(path, reason)| Stumble {
                path: path.into(),
                reason,
            });
            assert_eq!(stumble(output), expected);
        }
        check(
            "nginx: [emerg] cannot load certificate \"/etc/letsencrypt/live/a.test/fullchain.pem\": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen(/etc/letsencrypt/live/a.test/fullchain.pem, r) error:10000080:BIO routines::no such file)\nnginx: configuration file /etc/nginx/nginx.conf test failed\n",
            Some((
                "/etc/letsencrypt/live/a.test/fullchain.pem",
                Reason::Missing,
            )),
        );
        check(
            "2027/01/01 00:00:00 [emerg] 31#31: cannot load certificate key \"/k/privkey.pem\": BIO_new_file() failed (SSL: error:8000000D:system library::Permission denied:calling fopen(/k/privkey.pem, r))",
            Some(("/k/privkey.pem", Reason::Forbidden)),
        );
        check(
            "nginx: [emerg] SSL_CTX_use_PrivateKey(\"/k/privkey.pem\") failed (SSL: error:0B080074:x509 certificate routines:X509_check_private_key:key values mismatch)",
            Some(("/k/privkey.pem", Reason::Other)),
        );
        check(
            "nginx: [emerg] unexpected \"}\" in /etc/nginx/nginx.conf:12",
            None,
        );
        check(
            "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok",
            None,
        );
    }

    #[test]
    fn only_complaints_are_shown() {
        assert_eq!(
            complaints("nginx: the configuration file x syntax is ok\nnginx: [warn] y\n"),
            "nginx: [warn] y"
        );
        let many = "nginx: [warn] x\n".repeat(20) + "nginx: [emerg] y\n";
        assert_eq!(complaints(&many).lines().next(), Some("nginx: [emerg] y"));
    }
}
