//! Judged facts: what certd tells an operator, each under a stable code.

use std::error::Error;
use std::io;

use schemars::JsonSchema;
use serde::Serialize;

pub mod codes;

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
            evidence: evidence.into(),
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
        Self {
            code: error.code(),
            severity: Severity::Failure,
            evidence: chain_of_causes(error),
            cure: error.cure(),
        }
    }
}

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
    cause.to_string()
}

fn ended_early(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Words from outside on one line: control characters, which could draw on a terminal or forge a
/// line of a report, become blanks
pub fn one_line(words: &str) -> String {
    words
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Words from outside as [`one_line`] gives them, at most this many characters of them
///
/// What is cut off is shown by an ellipsis.
pub fn excerpt(words: &str, most: usize) -> String {
    let line = one_line(words);
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
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
    text
}
