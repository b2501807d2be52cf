//! HTTP-01 answers in a webroot (RFC 8555 section 8.3): published, and removed whatever happens.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use thiserror::Error;

use crate::finding::Explain;
use crate::store::files::{Beneath, FileError};

/// Published answers; dropping it removes them
#[derive(Debug)]
#[must_use = "dropping it removes the tokens"]
pub struct Published {
    directory: Beneath,
    tokens: Vec<String>,
    /// Their files, held so that no other run takes them for abandoned
    held: Vec<File>,
}

impl Published {
    /// Writes each `(token, key authorization)` below `webroot/.well-known/acme-challenge/`
    ///
    /// Missing directories below the webroot are made. No symlink is followed there.
    ///
    /// # Errors
    /// [`ChallengeError`]; what was written before the error is removed again.
    pub fn publish<'a>(
        webroot: &Path,
        answers: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ChallengeError> {
        let mut published = Self {
            directory: Beneath::open(webroot, &WELL_KNOWN)?,
            tokens: Vec::new(),
            held: Vec::new(),
        };
        for (token, key_authorization) in answers {
            check_token(token)?;
            // Noted first, so that a file that a full disk cut short is removed too.
            published.tokens.push(token.to_owned());
            let file = published
                .directory
                .create(token, key_authorization.as_bytes())?;
            published.held.push(file);
        }
        Ok(published)
    }

    /// Writes one file into a directory that exists
    ///
    /// For a probe: a file that a container must be able to read.
    ///
    /// # Errors
    /// [`ChallengeError::Webroot`].
    pub fn in_directory(
        directory: &Path,
        name: &str,
        content: &str,
    ) -> Result<Self, ChallengeError> {
        let directory = Beneath::open(directory, &[])?;
        let file = directory.create(name, content.as_bytes())?;
        Ok(Self {
            directory,
            tokens: vec![name.to_owned()],
            held: vec![file],
        })
    }

    /// Removes tokens that an earlier run published, as far as they are there
    pub fn withdraw(webroot: &Path, tokens: &[String]) {
        let Ok(directory) = Beneath::open(webroot, &WELL_KNOWN) else {
            return;
        };
        for token in tokens.iter().filter(|token| check_token(token).is_ok()) {
            if let Err(error) = directory.remove(token) {
                tracing::warn!(%error, "token left behind");
            }
        }
    }

    /// Removes what a killed certd left in a webroot of its own looks, as far as that can be done
    ///
    /// That are files whose name begins with [`OWN`], and that no process holds.
    pub fn sweep(webroot: &Path) {
        let Ok(directory) = Beneath::open(webroot, &WELL_KNOWN) else {
            return;
        };
        let Ok(entries) = fs::read_dir(directory.path()) else {
            return;
        };
        for entry in entries.flatten() {
            if let Some(name) = entry.file_name().to_str()
                && name.starts_with(OWN)
                && let Err(error) = directory.remove_abandoned(name)
            {
                tracing::debug!(%error, "a file left behind stays");
            }
        }
    }

    /// Directory that the tokens lie in
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        for token in &self.tokens {
            if let Err(error) = self.directory.remove(token) {
                tracing::warn!(%error, "token left behind");
            }
        }
    }
}

/// Refuses what cannot be a token, for it becomes a file name
///
/// RFC 8555 section 8.3 allows the base64url alphabet alone.
pub(crate) fn check_token(token: &str) -> Result<(), ChallengeError> {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(base64url) {
        return Err(ChallengeError::Token {
            token: token.chars().take(40).collect(),
        });
    }
    Ok(())
}

/// Why an answer is not published
#[derive(Debug, Error)]
pub enum ChallengeError {
    /// The CA sent a token that is none
    #[error("the CA sent the token {token:?}, which RFC 8555 does not allow")]
    Token {
        /// Its first characters
        token: String,
    },
    /// The webroot cannot be written
    #[error("the webroot cannot be used")]
    Webroot(#[from] FileError),
}

impl Explain for ChallengeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Token { .. } => "challenge.token",
            Self::Webroot(_) => "challenge.webroot",
        }
    }

    fn cure(&self) -> Option<String> {
        match self {
            Self::Token { .. } => None,
            Self::Webroot(error) => Some(webroot_cure(error)),
        }
    }
}

fn webroot_cure(error: &FileError) -> String {
    let path = error.path.display();
    match error.source.kind() {
        _ if error.source.raw_os_error() == Some(Errno::ELOOP as i32) => symlink_cure(error),
        std::io::ErrorKind::NotFound => {
            format!("create the directory that nginx serves for the challenge: mkdir -p {path}")
        }
        std::io::ErrorKind::NotADirectory => symlink_cure(error),
        _ => format!("run certd as the owner of {path}, or as root"),
    }
}

fn symlink_cure(error: &FileError) -> String {
    let path = error.path.display();
    format!(
        "{path} is a symlink or a file: certd follows no symlink in a webroot; make it a directory"
    )
}

const WELL_KNOWN: [&str; 2] = [".well-known", "acme-challenge"];
/// How a file in a webroot begins that certd writes to read it back, and that no CA asks for
pub const OWN: &str = "certd-";
/// What a file may be called, in bytes
const MAX_TOKEN: usize = 255;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn abandoned_files_of_ones_own_are_swept_and_no_others() {
        let webroot = tempfile::tempdir().expect("a directory");
        let files = [
            ("certd-check-1", "a"),
            ("certd-check-2", "b"),
            ("order", "c"),
        ];
        let mut published = Published::publish(webroot.path(), files).expect("published");
        let directory = published.directory().to_owned();
        let left_by_a_sweep = || {
            Published::sweep(webroot.path());
            let entries = fs::read_dir(&directory).expect("a directory");
            let mut names: Vec<_> = entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(left_by_a_sweep(), files.map(|(name, _)| name));
        published.held.remove(0);
        assert_eq!(left_by_a_sweep(), ["certd-check-2", "order"]);
        // As the kernel leaves it where a process is killed.
        published.held.clear();
        std::mem::forget(published);
        assert_eq!(left_by_a_sweep(), ["order"]);
    }

    #[test]
    fn tokens_are_there_until_the_guard_is_dropped() {
        let webroot = tempfile::tempdir().unwrap();
        let published =
            Published::publish(webroot.path(), [("abc", "abc.thumb"), ("d-_E9", "d.thumb")])
                .unwrap();
        let file = webroot.path().join(".well-known/acme-challenge/abc");
        assert_eq!(fs::read_to_string(&file).unwrap(), "abc.thumb");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o644);
        assert_eq!(mode(file.parent().unwrap()), 0o755);
        drop(published);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_token_that_is_none_writes_nothing() {
        for token in [
            "",
            "../x",
            "a/b",
            "a.b",
            "a b",
            "ä",
            "a\0",
            &"x".repeat(257),
        ] {
            let webroot = tempfile::tempdir().unwrap();
            let outcome = Published::publish(webroot.path(), [("good", "x"), (token, "x")]);
            assert!(
                matches!(outcome, Err(ChallengeError::Token { .. })),
                "{token}"
            );
            let directory = webroot.path().join(".well-known/acme-challenge");
            assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "{token}");
        }
    }

    #[test]
    fn a_symlinked_directory_is_not_followed() {
        let webroot = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), webroot.path().join(".well-known")).unwrap();
        let outcome = Published::publish(webroot.path(), [("abc", "x")]);
        let error = outcome.unwrap_err();
        assert!(error.cure().unwrap().contains("symlink"), "{error:?}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_symlink_in_place_of_a_token_is_replaced_not_followed() {
        let webroot = tempfile::tempdir().unwrap();
        let directory = webroot.path().join(".well-known/acme-challenge");
        fs::create_dir_all(&directory).unwrap();
        let victim = webroot.path().join("victim");
        #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, directory.join("abc")).unwrap();
        let published = Published::publish(webroot.path(), [("abc", "abc.thumb")]).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(
            fs::read_to_string(directory.join("abc")).unwrap(),
            "abc.thumb"
        );
        drop(published);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_missing_webroot_says_what_to_create() {
        let parent = tempfile::tempdir().unwrap();
        let webroot = parent.path().join("www");
        let error = Published::publish(&webroot, [("abc", "x")]).unwrap_err();
        assert_eq!(
            error.cure().unwrap(),
            format!(
                "create the directory that nginx serves for the challenge: mkdir -p {}",
                webroot.display()
            )
        );
    }
}
