//! HTTP-01 answers in a webroot (RFC 8555 section 8.3): published, and removed whatever happens.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

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
        };
        for (token, key_authorization) in answers {
            check_token(token)?;
            // Noted first, so that a file that a full disk cut short is removed too.
            published.tokens.push(token.to_owned());
            published
                .directory
                .create(token, key_authorization.as_bytes())?;
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
        directory.create(name, content.as_bytes())?;
        Ok(Self {
            directory,
            tokens: vec![name.to_owned()],
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

    /// Removes what a killed certd left in a webroot of its own looks
    ///
    /// That are files with a name that begins so, written before an instant.
    ///
    /// # Errors
    /// [`ChallengeError::Webroot`].
    pub fn sweep(webroot: &Path, prefix: &str, before: SystemTime) -> Result<(), ChallengeError> {
        let directory = Beneath::open(webroot, &WELL_KNOWN)?;
        let Ok(entries) = fs::read_dir(directory.path()) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let written = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old = written.is_ok_and(|written| written < before);
            if let Some(name) = name
                .to_str()
                .filter(|name| is_old && name.starts_with(prefix))
            {
                // One that cannot be removed keeps no other from it.
                let _ = directory.remove(name);
            }
        }
        Ok(())
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
/// What a file may be called, in bytes
const MAX_TOKEN: usize = 255;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn old_tokens_of_ones_own_are_swept_and_no_others() {
        let webroot = tempfile::tempdir().expect("a directory");
        let tokens = [
            ("certd-check-1", "a"),
            ("certd-check-2", "b"),
            ("order", "c"),
        ];
        let published = Published::publish(webroot.path(), tokens).expect("published");
        let directory = published.directory().to_owned();
        std::mem::forget(published);
        let left = || {
            let entries = fs::read_dir(&directory).expect("a directory");
            let mut names: Vec<_> = entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        let sweep = |before: SystemTime| {
            Published::sweep(webroot.path(), "certd-", before).expect("it can be swept");
            left().len()
        };
        let written = fs::metadata(directory.join("order")).and_then(|file| file.modified());
        let written = written.expect("a time");
        assert_eq!(sweep(written - std::time::Duration::from_secs(60)), 3);
        assert_eq!(sweep(written + std::time::Duration::from_secs(60)), 1);
        assert_eq!(left(), ["order"]);
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
