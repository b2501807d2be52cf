//! How results are printed.

use std::io::{stderr, stdout};

use anstream::ColorChoice;
use clap::ValueEnum;

/// Form of a result
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs, with a version
    Json,
    /// Test cases in XML, for GitLab, Jenkins and others
    Junit,
    /// SARIF 2.1.0, for GitHub's code scanning
    Sarif,
    /// Annotations of a GitHub workflow
    Github,
    /// Metrics for the textfile collector of Prometheus
    Prometheus,
}

impl Format {
    /// Whether `verify` alone has it
    pub(in crate::cli) const fn is_of_verify(self) -> bool {
        match self {
            Self::Text | Self::Json => false,
            Self::Junit | Self::Sarif | Self::Github | Self::Prometheus => true,
        }
    }

    /// The word for it on the command line
    pub(in crate::cli) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::Github => "github",
            Self::Prometheus => "prometheus",
        }
    }
}

/// When to use colour
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    pub(in crate::cli) fn for_stdout(self) -> ColorChoice {
        self.choice(|| AutoChoice::of(&stdout()))
    }

    pub(in crate::cli) fn for_stderr(self) -> ColorChoice {
        self.choice(|| AutoChoice::of(&stderr()))
    }

    fn choice(self, auto: impl FnOnce() -> ColorChoice) -> ColorChoice {
        match self {
            Self::Auto => auto(),
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
    }
}

/// anstream's own decision: a terminal, NO_COLOR, CLICOLOR
struct AutoChoice;

impl AutoChoice {
    fn of(stream: &impl anstream::stream::RawStream) -> ColorChoice {
        anstream::AutoStream::choice(stream)
    }
}
