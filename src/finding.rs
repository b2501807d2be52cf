//! Judged facts: what certd tells an operator, each under a stable code.

use std::error::Error;
use std::io;

use schemars::JsonSchema;
use serde::Serialize;

pub mod codes;
pub mod words;

pub use words::{excerpt, one_line};

/// How much a finding matters
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Seen and good
    Ok,
    /// Worth knowing, nothing to do
    Note,
    /// Works today and may not tomorrow
    Warning,
    /// A browser refuses it, or it contradicts what certd installed
    Failure,
}

/// One judged fact
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Stable code such as `served.wrong_name`: `area.what`
    pub code: &'static str,
    /// How much it matters
    pub severity: Severity,
    /// What was seen, in one sentence without a full stop
    pub evidence: String,
    /// What to do next; may hold lines to copy. Absent where nothing is to be done
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    /// A fact that is as it should be
    pub fn ok(code: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(code, Severity::Ok, evidence)
    }

    /// A fact worth knowing
    pub fn note(code: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(code, Severity::Note, evidence)
    }

    /// A fact that will hurt later
    pub fn warning(code: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, evidence)
    }

    /// A fact that hurts now
    pub fn failure(code: &'static str, evidence: impl Into<String>) -> Self {
        Self::new(code, Severity::Failure, evidence)
    }

    fn new(code: &'static str, severity: Severity, evidence: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            evidence: without_numbers(evidence.into()),
            cure: None,
        }
    }

    /// The same finding, this severe at least
    #[must_use]
    pub fn at_least(mut self, severity: Severity) -> Self {
        self.severity = self.severity.max(severity);
        self
    }

    /// The same finding with what to do about it
    #[must_use]
    pub fn with_cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// The same finding where it can do no more harm than this
    #[must_use]
    pub fn at_most(mut self, severity: Severity) -> Self {
        self.severity = self.severity.min(severity);
        self
    }

    /// The failure that an error stands for: its text, the causes under it, its cure
    pub fn from_error<E: Explain + 'static>(error: &E) -> Self {
        if is_out_of_descriptors(error) {
            return Self::no_descriptor(chain_of_causes(error));
        }
        Self {
            code: error.code(),
            severity: Severity::Failure,
            evidence: chain_of_causes(error),
            cure: error.cure(),
        }
    }
}

impl Finding {
    /// The failure of whatever was to be opened when no descriptor was left for it
    pub fn no_descriptor(evidence: impl Into<String>) -> Self {
        Self::failure("host.descriptors", evidence).with_cure(
            "let certd have more files open: `LimitNOFILE=` in its unit, `ulimit -n` in a shell",
        )
    }
}

/// Whether an error, or one of its causes, is that this process or the system may open no more files
pub fn is_out_of_descriptors(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let system = error.downcast_ref::<io::Error>();
        if let Some(code) = system.and_then(io::Error::raw_os_error) {
            return matches!(code, EMFILE | ENFILE);
        }
        let wrapped = system.and_then(io::Error::get_ref);
        cause = wrapped
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| error.source());
    }
    false
}

/// Too many open files, of the system and of the process (errno(3)), by their numbers on Linux
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// An error that knows its code and its remedy
pub trait Explain: Error {
    /// Stable code of the failure
    fn code(&self) -> &'static str;

    /// What the operator can do; `None` where the error text says all there is
    fn cure(&self) -> Option<String>;
}

/// The error at the bottom: what the network or the system said, without the layers above it
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    loop {
        // An I/O error hides what it wraps from `source()`.
        let wrapped = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| cause.source())
        {
            Some(below) if !ended_early(cause) => cause = below,
            _ => break,
        }
    }
    if ended_early(cause) {
        return "the connection was closed early".to_owned();
    }
    without_numbers(cause.to_string())
}

/// Words of the system without the number that Rust puts behind them: `Permission denied`, not
/// `Permission denied (os error 13)`
pub fn without_numbers(mut words: String) -> String {
    while let Some(start) = words.find(NUMBER) {
        let rest = &words[start + NUMBER.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest[digits..].starts_with(')') && digits > 0 {
            true => words.replace_range(start..=start + NUMBER.len() + digits, ""),
            false => break,
        }
    }
    words
}

const NUMBER: &str = " (os error ";

fn ended_early(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// The error's text followed by each cause that adds something, joined by `: `
pub fn chain_of_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    without_numbers(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_error_is_left_out() {
        #[track_caller]
        fn check(words: &str, expected: &str) {
            assert_eq!(without_numbers(words.to_owned()), expected);
        }
        check("a: Permission denied (os error 13)", "a: Permission denied");
        check("x (os error 2), y (os error 13): z", "x, y: z");
        check("x (os error", "x (os error");
        check("x (os error )", "x (os error )");
    }

    #[test]
    fn that_no_file_can_be_opened_is_found_among_the_causes() {
        let deep = io::Error::other(io::Error::from_raw_os_error(EMFILE));
        assert!(is_out_of_descriptors(&deep));
        assert!(!is_out_of_descriptors(&io::Error::from_raw_os_error(13)));
        assert!(!is_out_of_descriptors(&io::Error::other("EMFILE")));
    }
}
