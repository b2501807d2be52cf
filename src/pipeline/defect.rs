//! A defect of certd itself: a panic ends the work in which it happens, and nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures_util::FutureExt;
use thiserror::Error;
use tokio::task::JoinError;

use crate::finding::{Explain, excerpt};

/// A panic that was caught
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("certd has a defect: {0}")]
pub struct Defect(String);

impl Defect {
    fn of(panic: &(dyn Any + Send)) -> Self {
        let words = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(excerpt(
            words.unwrap_or("a panic without words"),
            MOST_WORDS,
        ))
    }
}

impl Explain for Defect {
    fn code(&self) -> &'static str {
        "run.defect"
    }

    fn cure(&self) -> Option<String> {
        Some(
            "run it again with `-v`, and report what it prints: what is served is untouched"
                .to_owned(),
        )
    }
}

/// What a future gives, unless it panics
///
/// The caller ends what the future worked on: its state is that of the moment of the panic. The
/// future is put on the heap, so that one inside of another does not grow the stack.
///
/// # Errors
/// [`Defect`] with the words of the panic.
pub fn caught<'w, T: 'w>(
    work: impl Future<Output = T> + 'w,
) -> impl Future<Output = Result<T, Defect>> + 'w {
    let outcome = AssertUnwindSafe(Box::pin(work)).catch_unwind();
    outcome.map(|outcome| outcome.map_err(|panic| Defect::of(&*panic)))
}

/// The same of a function
///
/// # Errors
/// [`Defect`] with the words of the panic.
pub fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T, Defect> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Defect::of(&*panic))
}

/// What a task gave, `None` where it was cancelled; a panic in it is one of whoever waits for it
pub fn joined<T>(outcome: Result<T, JoinError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

const MOST_WORDS: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let defect = caught_now(|| panic!("no {}", "room")).unwrap_err();
        assert_eq!(defect.to_string(), "certd has a defect: no room");
        assert_eq!(caught_now(|| 1), Ok(1));
    }
}
