//! What nginx said in `nginx -t`, read for the file that it stumbled over.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;

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
        (line.contains("[emerg]") || line.contains("[error]")) && is_of_certificate(line)
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

/// The line of nginx's log that says why it does not serve a certificate
///
/// The last that names one of its files, which `is_own` tells: an earlier one may be of the time
/// before the file was there. Without one, the first that says why nothing was loaded. What went
/// wrong with one visitor's connection is left out: scanners ask for all kinds of names.
pub fn trouble(log: &str, is_own: impl Fn(&Path) -> bool) -> Option<&str> {
    let names_own = |line: &&str| stumble(line).is_some_and(|found| is_own(&found.path));
    let is_grave = |line: &&str| {
        GRAVE.iter().any(|level| line.contains(level)) && !line.contains(", client: ")
    };
    let lines = || log.lines().map(str::trim);
    lines()
        .rev()
        .find(names_own)
        .or_else(|| lines().find(is_grave))
}

/// What of the end of nginx's error log was written since an instant
///
/// Its lines have the time of the container's clock face, in a zone that nobody tells. When the file
/// was written last tells what that face showed then.
pub fn since(log: &str, written: Timestamp, since: Timestamp) -> String {
    let last = log.lines().rev().find_map(stamp);
    let Some(last) = last else {
        return String::new();
    };
    // A line has whole seconds.
    let since = Timestamp::from_second(since.as_second()).unwrap_or(since);
    let mut is_new = false;
    let new = log.lines().filter(|line| {
        if let Some(stamp) = stamp(line) {
            let age = last.duration_since(stamp);
            is_new = written.checked_sub(age).is_ok_and(|at| at >= since);
        }
        is_new
    });
    new.collect::<Vec<_>>().join("\n")
}

/// The time that a line of an error log begins with
fn stamp(line: &str) -> Option<DateTime> {
    DateTime::strptime(STAMP, line.get(..STAMP_LENGTH)?).ok()
}

/// The line at the end of a log with which nginx gave up its start; `None` where it ends otherwise
///
/// It says so twice, and a script that started it may have a word after it.
pub fn last_words(log: &str) -> Option<&str> {
    let lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last = lines.rev().take(LAST_LINES);
    last.find(|line| line.contains("[emerg]"))
}

/// Where in nginx's configuration a complaint of it points, as `FILE:LINE`
pub fn place(complaint: &str) -> Option<&str> {
    let (_, place) = complaint.trim().rsplit_once(" in ")?;
    let (file, line) = place.rsplit_once(':')?;
    let is_place =
        file.starts_with('/') && !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit());
    is_place.then_some(place)
}

/// The host of an upstream for which nginx found no address; `None` for any other complaint
pub fn unresolved(complaint: &str) -> Option<&str> {
    let (_, rest) = complaint.split_once("host not found in ")?;
    rest.split('"').nth(1)
}

fn is_of_certificate(line: &str) -> bool {
    let mut complaints = CERTIFICATE_COMPLAINTS.iter();
    complaints.any(|words| line.contains(words))
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

/// Levels of nginx's log at which it does not do what it was told
const GRAVE: [&str; 3] = ["[emerg]", "[alert]", "[crit]"];
const CANNOT_LOAD: &str = "cannot load certificate";
const CERTIFICATE_COMPLAINTS: [&str; 4] = [
    CANNOT_LOAD,
    "BIO_new_file(",
    "SSL_CTX_use_certificate",
    "SSL_CTX_use_PrivateKey",
];
const MAX_LINES: usize = 12;
/// How a line of an error log begins
const STAMP: &str = "%Y/%m/%d %H:%M:%S";
const STAMP_LENGTH: usize = "2026/11/28 12:00:00".len();
/// Lines at the end of a log among which the last words are
const LAST_LINES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_in_any_zone_what_was_written_since_is_found() {
        let log = "cut off, [emerg] 1#1: old
2026/11/28 15:00:00 [emerg] 1#1: old
2026/11/28 15:00:09 [emerg] 1#1: bind() failed
 and a line of its own
2026/11/28 15:00:10 [notice] 1#1: done";
        let written: Timestamp = "2026-11-28T12:00:10.4Z".parse().unwrap();
        #[track_caller]
        fn check(log: &str, written: Timestamp, at: &str, expected: usize) {
            let found = since(log, written, at.parse().unwrap());
            assert_eq!(found.lines().count(), expected, "{found}");
        }
        check(log, written, "2026-11-28T12:00:09.9Z", 3);
        check(log, written, "2026-11-28T12:00:05Z", 3);
        check(log, written, "2026-11-28T11:59:00Z", 4);
        check(log, written, "2026-11-28T12:00:11Z", 0);
        check("no time in it", written, "2026-11-28T11:59:00Z", 0);
        check("2026/11/28 15:00:0ß", written, "2026-11-28T11:59:00Z", 0);
    }

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
    fn the_line_that_says_why_nothing_was_loaded_is_found() {
        const HANDSHAKE: &str = "2027/01/01 00:00:00 [crit] 7#7: *1 SSL_do_handshake() failed (SSL: error:0A00006C) while SSL handshaking, client: 127.0.0.1, server: 0.0.0.0:443";
        const BIND: &str = "2027/01/01 00:00:00 [emerg] 1#1: bind() to 0.0.0.0:443 failed (98: Address already in use)";
        const KEY: &str = "2027/01/01 00:00:01 [error] 7#7: *2 cannot load certificate key \"/k/privkey.pem\": BIO_new_file() failed (SSL: error:8000000D:system library::Permission denied) while SSL handshaking, client: 127.0.0.1, server: 0.0.0.0:443";
        const NOTICE: &str = "2027/01/01 00:00:00 [notice] 1#1: signal 1 (SIGHUP) received";
        #[track_caller]
        fn check(lines: &[&str], expected: Option<&str>) {
            let is_own = |path: &Path| path.starts_with("/k");
            assert_eq!(trouble(&lines.join("\n"), is_own), expected);
        }
        check(&[NOTICE, HANDSHAKE], None);
        check(&[NOTICE, BIND, HANDSHAKE], Some(BIND));
        check(&[KEY, BIND, NOTICE], Some(KEY));
        // Before the deployment there was nothing yet.
        let missing = KEY.replace("Permission denied", "No such file or directory");
        check(&[&missing, KEY, NOTICE], Some(KEY));
        // Another site's, for which somebody asked.
        let other = KEY.replace("/k/", "/nowhere/");
        check(&[NOTICE, &other], None);
        check(&[&other, BIND], Some(BIND));
        assert_eq!(stumble(KEY).unwrap().reason, Reason::Forbidden);
        check(&[], None);
    }

    #[test]
    fn the_words_with_which_nginx_gave_up_are_at_the_end() {
        const GAVE_UP: &str =
            "nginx: [emerg] host not found in upstream \"app\" in /etc/nginx/a.conf:3";
        #[track_caller]
        fn check(log: &str, expected: Option<&str>) {
            assert_eq!(last_words(log), expected);
        }
        check(&format!("[notice] start\n{GAVE_UP}\n"), Some(GAVE_UP));
        check(
            &format!("{GAVE_UP}\nentrypoint: nginx has ended\n"),
            Some(GAVE_UP),
        );
        let later = "2027/01/01 [notice] 1#1: signal 15 (SIGTERM) received, exiting\n".repeat(4);
        check(&format!("{GAVE_UP}\n{later}"), None);
        check("", None);
    }

    #[test]
    fn a_complaint_names_its_place_and_the_host_without_an_address() {
        #[track_caller]
        fn check(complaint: &str, at: Option<&str>, host: Option<&str>) {
            assert_eq!((place(complaint), unresolved(complaint)), (at, host));
        }
        check(
            "2027/01/01 [emerg] 7#7: host not found in upstream \"app\" in /etc/nginx/a.conf:3",
            Some("/etc/nginx/a.conf:3"),
            Some("app"),
        );
        check(
            "nginx: [emerg] host not found in \"nowhere:8080\" of the \"listen\" directive in /x:1",
            Some("/x:1"),
            Some("nowhere:8080"),
        );
        check(
            "nginx: [emerg] unexpected end of file, expecting \"}\" in /x:2",
            Some("/x:2"),
            None,
        );
        check(
            "nginx: [emerg] cannot load certificate \"/k\": in 12:3",
            None,
            None,
        );
        check("", None, None);
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
