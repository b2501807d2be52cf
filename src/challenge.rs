//! HTTP-01 answers in a webroot (RFC 8555 section 8.3): published, and removed whatever happens.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use thiserror::Error;

use crate::facts::Container;
use crate::finding::Explain;
use crate::store::files::{self, Absent, Beneath, FileError};

/// Published answers; dropping it removes them
#[derive(Debug)]
#[must_use = "dropping it removes the tokens"]
pub struct Published {
    directory: Beneath,
    /// Tokens and their files, which are held so that no other run takes them for abandoned
    tokens: Vec<(String, File)>,
}

impl Published {
    /// Writes each `(token, key authorization)` below `webroot/.well-known/acme-challenge/`
    ///
    /// Missing directories below the webroot are made. No symlink is followed there, and a token
    /// is refused that names what is there already.
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
            published.answer_again(webroot, token, key_authorization)?;
        }
        Ok(published)
    }

    /// As [`Self::answer`]; a directory that a look of another certd has made and removed meanwhile is
    /// made again
    fn answer_again(
        &mut self,
        webroot: &Path,
        token: &str,
        key_authorization: &str,
    ) -> Result<(), ChallengeError> {
        match self.answer(token, key_authorization) {
            Err(ChallengeError::Webroot(error)) if error.source.kind() == ErrorKind::NotFound => {
                self.directory = Beneath::open(webroot, &WELL_KNOWN)?;
                self.answer(token, key_authorization)
            }
            outcome => outcome,
        }
    }

    /// What is missing of the directory that the tokens lie in: dropping it removes again what has come
    /// of it and holds nothing; `None` where nothing is missing
    pub fn absent(webroot: &Path) -> Option<Absent> {
        Absent::note(webroot, &WELL_KNOWN)
    }

    /// Writes one file into a directory that exists, at `root/part/part`
    ///
    /// For a probe: a file that a container must be able to read.
    ///
    /// # Errors
    /// [`ChallengeError::Webroot`].
    pub fn in_directory(
        root: &Path,
        parts: &[&str],
        name: &str,
        content: &str,
    ) -> Result<Self, ChallengeError> {
        let mut published = Self {
            directory: Beneath::open(root, parts)?,
            tokens: Vec::new(),
        };
        published.add(name, content)?;
        Ok(published)
    }

    fn answer(&mut self, token: &str, key_authorization: &str) -> Result<(), ChallengeError> {
        match self.add(token, key_authorization) {
            Err(ChallengeError::Webroot(error))
                if error.source.kind() == ErrorKind::AlreadyExists =>
            {
                // A CA may ask for an answer again that a killed run of this account left.
                let answer = key_authorization.as_bytes();
                let _ = self
                    .directory
                    .remove_own(token, |found| answer.starts_with(found));
                self.add(token, key_authorization)
            }
            outcome => outcome,
        }
    }

    fn add(&mut self, name: &str, content: &str) -> Result<(), ChallengeError> {
        let file = self.directory.create(name, content.as_bytes())?;
        self.tokens.push((name.to_owned(), file));
        Ok(())
    }

    /// Removes tokens that an earlier run published, as far as they are there
    ///
    /// A file that holds anything but the beginning of an answer to its token is somebody else's.
    pub fn withdraw(webroot: &Path, tokens: &[String]) {
        let Some(directory) = Beneath::existing(webroot, &WELL_KNOWN) else {
            return;
        };
        for token in tokens.iter().filter(|token| check_token(token).is_ok()) {
            let answer = format!("{token}.");
            let is_own = |found: &[u8]| {
                found.starts_with(answer.as_bytes()) || answer.as_bytes().starts_with(found)
            };
            if let Err(error) = directory.remove_own(token, is_own) {
                tracing::warn!(%error, "token left behind");
            }
        }
    }

    /// Removes what a killed certd left in a webroot of its own looks, as far as that can be done
    ///
    /// That are files whose name begins with [`OWN`], and that no process holds.
    pub fn sweep(webroot: &Path) {
        let Some(directory) = Beneath::existing(webroot, &WELL_KNOWN) else {
            return;
        };
        let names = directory.names().unwrap_or_default();
        for name in names.iter().filter(|name| name.starts_with(OWN)) {
            if let Err(error) = directory.remove_abandoned(name) {
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
        for (token, file) in &self.tokens {
            if let Err(error) = self.directory.remove(token, file) {
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

impl ChallengeError {
    /// What to do about it, where these containers are to see the webroot
    pub fn cure_beside(&self, containers: &[Container]) -> Option<String> {
        match self {
            Self::Webroot(error) => Some(webroot_cure(error, containers)),
            Self::Token { .. } => None,
        }
    }
}

impl Explain for ChallengeError {
    fn code(&self) -> &'static str {
        match self {
            Self::Token { .. } => "challenge.token",
            Self::Webroot(_) => "challenge.webroot",
        }
    }

    fn cure(&self) -> Option<String> {
        self.cure_beside(&[])
    }
}

fn webroot_cure(error: &FileError, containers: &[Container]) -> String {
    let path = error.path.display();
    if let Some(obstacle) = error.obstacle() {
        let (path, what) = (obstacle.path.display(), obstacle.what);
        return format!(
            "{path} is {what}: certd follows no symlink in a webroot; make it a directory"
        );
    }
    match error.source.kind() {
        ErrorKind::NotFound => {
            let meant = files::meant(&error.path);
            let question = files::question("webroot", meant.as_deref(), containers);
            format!(
                "{question}create the directory that nginx serves for the challenge: mkdir -p {path}"
            )
        }
        ErrorKind::NotADirectory => {
            format!("{path} is a file: make it a directory")
        }
        ErrorKind::AlreadyExists => format!(
            "certd replaces no file in a webroot: see what it is, and whether another ACME \
             client uses this webroot:\n    ls -l {path}"
        ),
        _ => error.cure().unwrap_or_default(),
    }
}

/// Where tokens lie below a webroot
pub const WELL_KNOWN: [&str; 2] = [".well-known", "acme-challenge"];
/// How a file in a webroot begins that certd writes to read it back, and that no CA asks for
pub const OWN: &str = "certd-";
/// What a file may be called, in bytes
const MAX_TOKEN: usize = 255;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

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
        published.tokens.remove(0);
        assert_eq!(left_by_a_sweep(), ["certd-check-2", "order"]);
        // As the kernel leaves it where a process is killed.
        let held = std::mem::take(&mut published.tokens);
        drop(held);
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
    fn a_token_that_names_what_is_there_is_refused_and_leaves_it() {
        #[track_caller]
        fn check(make: impl Fn(&Path), is_there: impl Fn(&Path) -> bool) {
            let webroot = tempfile::tempdir().unwrap();
            let directory = webroot.path().join(".well-known/acme-challenge");
            fs::create_dir_all(&directory).unwrap();
            write(&webroot.path().join("victim"), "precious");
            let place = directory.join("abc");
            make(&place);
            let outcome = Published::publish(webroot.path(), [("abc", "abc.thumb")]);
            let error = outcome.unwrap_err();
            assert_eq!(error.code(), "challenge.webroot");
            assert!(error.cure().unwrap().contains("ls -l"), "{error:?}");
            assert!(is_there(&place), "by publish");
            Published::withdraw(webroot.path(), &["abc".to_owned()]);
            assert!(is_there(&place), "by withdraw");
            let victim = fs::read_to_string(webroot.path().join("victim"));
            assert_eq!(victim.unwrap(), "precious");
        }
        check(
            |place| symlink("../../victim", place).unwrap(),
            Path::is_symlink,
        );
        check(|place| fs::create_dir(place).unwrap(), Path::is_dir);
        check(
            |place| write(place, "a page of somebody else"),
            |place| fs::read_to_string(place).is_ok_and(|text| text == "a page of somebody else"),
        );
    }

    #[test]
    fn a_file_that_took_the_place_of_a_token_is_not_withdrawn() {
        let webroot = tempfile::tempdir().unwrap();
        let published = Published::publish(webroot.path(), [("abc", "abc.thumb")]).unwrap();
        let place = published.directory().join("abc");
        fs::remove_file(&place).unwrap();
        write(&place, "precious");
        drop(published);
        assert_eq!(fs::read_to_string(&place).unwrap(), "precious");
    }

    #[test]
    fn what_a_killed_run_published_is_withdrawn_however_much_it_had_written() {
        for content in ["", "ab", "abc.", "abc.thumbprint"] {
            let webroot = tempfile::tempdir().unwrap();
            let place = webroot.path().join(".well-known/acme-challenge/abc");
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            write(&place, content);
            Published::withdraw(webroot.path(), &["abc".to_owned()]);
            assert!(!place.exists(), "{content:?}");
        }
    }

    #[test]
    fn an_answer_that_a_killed_run_left_is_published_anew() {
        for content in ["", "abc.th", "abc.thumb"] {
            let webroot = tempfile::tempdir().unwrap();
            let place = webroot.path().join(".well-known/acme-challenge/abc");
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            write(&place, content);
            let published = Published::publish(webroot.path(), [("abc", "abc.thumb")]).unwrap();
            assert_eq!(fs::read_to_string(&place).unwrap(), "abc.thumb");
            drop(published);
            assert!(!place.exists());
        }
    }

    #[test]
    fn whoever_exchanges_directories_while_certd_publishes_gains_nothing() {
        if !nix::unistd::geteuid().is_root() {
            // Whoever is not root has nothing to give.
            return;
        }
        for _ in 0..PUBLICATIONS {
            let webroot = tempfile::tempdir().unwrap();
            // A directory of root's that the webroot's owner can rename, and not use.
            let victim = webroot.path().join("victim");
            fs::create_dir(&victim).unwrap();
            fs::set_permissions(&victim, fs::Permissions::from_mode(0o700)).unwrap();
            let before = fs::metadata(&victim).unwrap();
            std::os::unix::fs::chown(webroot.path(), Some(12345), Some(12345)).unwrap();
            let has_ended = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    while !has_ended.load(std::sync::atomic::Ordering::Relaxed) {
                        exchange(webroot.path());
                    }
                });
                drop(Published::publish(webroot.path(), [("abc", "abc.thumb")]));
                has_ended.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            let entries = fs::read_dir(webroot.path()).unwrap();
            let mut found = entries.map(|entry| entry.unwrap().metadata().unwrap());
            let after = found.find(|found| found.ino() == before.ino()).unwrap();
            assert_eq!(
                (after.uid(), after.gid(), after.mode()),
                (before.uid(), before.gid(), before.mode())
            );
        }
    }

    /// Puts the victim where certd has just made a directory
    fn exchange(webroot: &Path) {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        let (made, victim) = (webroot.join(".well-known"), webroot.join("victim"));
        let flags = RenameFlags::RENAME_EXCHANGE;
        let _ = renameat2(AT_FDCWD, &made, AT_FDCWD, &victim, flags);
    }

    const PUBLICATIONS: usize = 300;

    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
    }

    #[test]
    fn what_was_missing_goes_again_once_it_is_empty_and_what_was_there_stays() {
        let webroot = tempfile::tempdir().unwrap();
        let at = |path: &str| webroot.path().join(path);
        let absent = Published::absent(webroot.path()).unwrap();
        drop(Published::publish(webroot.path(), [("abc", "abc.x")]).unwrap());
        assert!(at(".well-known/acme-challenge").is_dir());
        drop(absent);
        assert!(!at(".well-known").exists());

        fs::create_dir(at(".well-known")).unwrap();
        let absent = Published::absent(webroot.path()).unwrap();
        drop(Published::publish(webroot.path(), [("abc", "abc.x")]).unwrap());
        drop(absent);
        assert!(at(".well-known").is_dir());
        assert!(!at(".well-known/acme-challenge").exists());

        let absent = Published::absent(webroot.path()).unwrap();
        let published = Published::publish(webroot.path(), [("abc", "abc.x")]).unwrap();
        drop(absent);
        drop(published);
        assert!(Published::absent(webroot.path()).is_none());
    }

    #[test]
    fn a_directory_that_goes_before_the_token_is_written_is_made_again() {
        let webroot = tempfile::tempdir().unwrap();
        let mut published = Published::publish(webroot.path(), []).unwrap();
        fs::remove_dir(webroot.path().join(".well-known/acme-challenge")).unwrap();
        let answered = published.answer_again(webroot.path(), "abc", "abc.x");
        assert!(answered.is_ok(), "{answered:?}");
        let token = webroot.path().join(".well-known/acme-challenge/abc");
        assert_eq!(fs::read_to_string(token).unwrap(), "abc.x");
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
